//! Stepping this process through the calls that it marks.
//!
//! ```text
//! place ──► straight line of instructions ──► jump, call or return
//!                                             int3: the handler notes the line, and where it goes on
//! ```
//!
//! What runs between two jumps is known from the code alone, so it is enough to stop at each jump. There a breakpoint stands in
//! place of the instruction; the handler does what the instruction would have done, takes the breakpoint away, and sets the next
//! one at the end of the line that begins there. (The processor's trap flag, which stops after every single instruction, tells the
//! same, and takes a hundred times as long on a virtual machine.) An instruction that repeats itself (`rep movsb`) counts once.

use std::cell::UnsafeCell;
use std::collections::{HashMap, HashSet};
use std::ffi::{c_int, c_void};
use std::ops::Range;

use iced_x86::{Code, ConditionCode, Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, OpKind, Register};

/// The instruction that traps.
const BREAKPOINT: u8 = 0xcc;
/// Most instructions of an operation whose path is kept.
const PATH: usize = 1 << 22;
/// Most lines, instructions in them, and pages on which they end. Room for them is there before anything is stepped through: the
/// handler may have stopped the heap's own code.
const LINES: usize = 1 << 14;
const CODE: usize = 1 << 18;
const PAGES: usize = 1 << 12;
/// Bytes of the longest instruction.
const LONGEST: usize = 15;
const PAGE: usize = 4096;

/// One call, stepped through.
pub(crate) struct Stepped<'a> {
    /// What it returned.
    pub(crate) result: u64,
    /// The address of each instruction in order, but for the call itself.
    pub(crate) path: &'a [usize],
}

impl Stepped<'_> {
    /// Instructions from the call to the return, both included.
    pub(crate) fn instructions(&self) -> usize {
        self.path.len() + 1
    }

    /// Whether the kernel was entered.
    pub(crate) fn called_the_system(&self) -> bool {
        self.path.iter().any(|&at| enters_the_kernel(decode(at).code()))
    }
}

/// What the handler notes. One thread of this program runs at a time.
struct Trace(UnsafeCell<State>);

#[derive(Default)]
struct State {
    path: Vec<usize>,
    /// By the place where they begin.
    lines: HashMap<usize, Line>,
    /// The places of the instructions of all lines.
    code: Vec<usize>,
    /// Calls that have not returned.
    depth: usize,
    /// The end of the line that is being executed, and the byte that was there before the breakpoint.
    stop: Option<(Instruction, u8)>,
    /// Pages of code that may be written to.
    writable: HashSet<usize>,
}

/// Instructions that follow each other, up to one that goes elsewhere.
struct Line {
    /// Their places: a part of those of all lines.
    code: Range<usize>,
    end: Instruction,
}

// SAFETY: touched by the only thread that runs: by the handler while a call is stepped through, else by `Stepper`.
unsafe impl Sync for Trace {}

static TRACE: std::sync::LazyLock<Trace> = std::sync::LazyLock::new(|| Trace(UnsafeCell::default()));

/// The right to step; there is one.
pub(crate) struct Stepper {
    trace: &'static Trace,
}

impl Stepper {
    /// Installs the handler. To be called once.
    pub(crate) fn install() -> Self {
        let state = State {
            path: Vec::with_capacity(PATH),
            lines: HashMap::with_capacity(LINES),
            code: Vec::with_capacity(CODE),
            writable: HashSet::with_capacity(PAGES),
            ..State::default()
        };
        // SAFETY: nothing is stepped through yet.
        unsafe { *TRACE.0.get() = state };
        // SAFETY: plain numbers and pointers, for which zero is valid.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_stop as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler touches its own state only.
        let installed = unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()) };
        assert_eq!(installed, 0, "SIGTRAP can be handled");
        Self { trace: &TRACE }
    }

    /// Calls the C function at `function` with up to six arguments, step by step.
    ///
    /// # Safety
    /// `function` is the address of a C function for which these are valid arguments.
    pub(crate) unsafe fn step(&mut self, function: *const c_void, arguments: [u64; 6]) -> Stepped<'_> {
        // SAFETY: nothing is stepped through at the moment.
        let state = unsafe { &mut *self.trace.0.get() };
        state.path.clear();
        state.depth = 1;
        state.go_on_at(function.addr());
        // SAFETY: the caller's promise; arguments that a function does not take lie in registers that it does not look at.
        let result = unsafe {
            let function: extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64 = std::mem::transmute(function);
            function(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
        };
        // SAFETY: as above; the next call needs `self` again.
        Stepped { result, path: unsafe { &(*self.trace.0.get()).path } }
    }
}

impl State {
    /// Notes the line that begins there, and lets its end trap.
    fn go_on_at(&mut self, place: usize) {
        assert!(self.lines.len() < LINES && self.writable.len() < PAGES, "room for more code");
        let line = self.lines.entry(place).or_insert_with(|| Line::from(place, &mut self.code));
        let code = &self.code[line.code.clone()];
        assert!(self.path.len() + code.len() <= PATH, "an operation of more than {PATH} instructions");
        self.path.extend_from_slice(code);
        let at = line.end.ip() as usize;
        if self.writable.insert(at / PAGE) {
            let page = std::ptr::with_exposed_provenance_mut(at / PAGE * PAGE);
            // SAFETY: a page of code of this process, whose copy of it is its own.
            let made = unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) };
            assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        }
        // SAFETY: code, which was just made writable; nothing else runs, and the handler puts the byte back before anything
        // that may lie there is called.
        let byte = unsafe { std::ptr::with_exposed_provenance_mut::<u8>(at).replace(BREAKPOINT) };
        self.stop = Some((line.end, byte));
    }
}

impl Line {
    /// The one that begins there; the places of its instructions are added to `code`. Nothing in it has a breakpoint.
    fn from(place: usize, code: &mut Vec<usize>) -> Self {
        let (first, mut at) = (code.len(), place);
        loop {
            let instruction = decode(at);
            assert!(code.len() < CODE, "room for more code");
            code.push(at);
            if instruction.flow_control() != FlowControl::Next && !enters_the_kernel(instruction.code()) {
                return Self { code: first..code.len(), end: instruction };
            }
            at = instruction.next_ip() as usize;
        }
    }
}

/// Called at the end of each line.
unsafe extern "C" fn on_stop(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: this handler runs once at a time, and its state is nobody else's meanwhile.
    let state = unsafe { &mut *TRACE.0.get() };
    let (end, byte) = state.stop.take().expect("a breakpoint was set");
    // SAFETY: as where it was set.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(end.ip() as usize).write(byte) };
    // SAFETY: the kernel gives the handler of SA_SIGINFO a ucontext.
    let mut registers = Registers(unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs });
    assert_eq!(registers.get(libc::REG_RIP), end.ip() + 1, "a trap that is not the breakpoint's");
    state.depth = match end.flow_control() {
        FlowControl::Call | FlowControl::IndirectCall => state.depth + 1,
        FlowControl::Return => state.depth - 1,
        _ => state.depth,
    };
    if state.depth == 0 {
        // The return from the call: executed as it stands.
        registers.set(libc::REG_RIP, end.ip());
    } else {
        let place = registers.follow(&end);
        registers.set(libc::REG_RIP, place);
        state.go_on_at(place as usize);
    }
}

/// The registers of what was interrupted.
struct Registers<'a>(&'a mut [libc::greg_t; 23]);

impl Registers<'_> {
    fn get(&self, register: c_int) -> u64 {
        self.0[register.cast_unsigned() as usize].cast_unsigned()
    }

    fn set(&mut self, register: c_int, value: u64) {
        self.0[register.cast_unsigned() as usize] = value.cast_signed();
    }

    /// Does what the instruction at the end of a line does. Where it goes on.
    fn follow(&mut self, end: &Instruction) -> u64 {
        match end.flow_control() {
            FlowControl::UnconditionalBranch => end.near_branch_target(),
            FlowControl::ConditionalBranch if self.holds(end.condition_code()) => end.near_branch_target(),
            FlowControl::ConditionalBranch => end.next_ip(),
            FlowControl::IndirectBranch => self.target(end),
            FlowControl::Call | FlowControl::IndirectCall => {
                let place = if end.flow_control() == FlowControl::Call { end.near_branch_target() } else { self.target(end) };
                let top = self.get(libc::REG_RSP) - 8;
                self.set(libc::REG_RSP, top);
                // SAFETY: the interrupted function's stack, on which it was about to call: nothing of it lies there.
                unsafe { std::ptr::with_exposed_provenance_mut::<u64>(top as usize).write(end.next_ip()) };
                place
            }
            FlowControl::Return => {
                let top = self.get(libc::REG_RSP);
                assert_eq!(end.op_count(), 0, "a return of the C ABI takes nothing off the stack");
                self.set(libc::REG_RSP, top + 8);
                read(top)
            }
            other => panic!("{other:?} at {:#x}", end.ip()),
        }
    }

    /// Where an indirect jump or call leads.
    fn target(&self, end: &Instruction) -> u64 {
        if end.op0_kind() == OpKind::Register {
            return self.of(end.op0_register());
        }
        read(
            end.virtual_address(0, 0, |register, _, _| Some(if register.is_segment_register() { 0 } else { self.of(register) }))
                .expect("plain"),
        )
    }

    /// A register of 64 bits.
    fn of(&self, register: Register) -> u64 {
        self.get(match register {
            Register::RAX => libc::REG_RAX,
            Register::RBX => libc::REG_RBX,
            Register::RCX => libc::REG_RCX,
            Register::RDX => libc::REG_RDX,
            Register::RSI => libc::REG_RSI,
            Register::RDI => libc::REG_RDI,
            Register::RBP => libc::REG_RBP,
            Register::RSP => libc::REG_RSP,
            Register::R8 => libc::REG_R8,
            Register::R9 => libc::REG_R9,
            Register::R10 => libc::REG_R10,
            Register::R11 => libc::REG_R11,
            Register::R12 => libc::REG_R12,
            Register::R13 => libc::REG_R13,
            Register::R14 => libc::REG_R14,
            Register::R15 => libc::REG_R15,
            other => panic!("an address in {other:?}"),
        })
    }

    /// Whether a jump is taken (Intel's manual, volume 1, appendix B).
    fn holds(&self, condition: ConditionCode) -> bool {
        let flags = self.get(libc::REG_EFL);
        let [carry, parity, zero, sign, overflow] = [0, 2, 6, 7, 11].map(|bit| flags >> bit & 1 == 1);
        match condition {
            ConditionCode::o => overflow,
            ConditionCode::no => !overflow,
            ConditionCode::b => carry,
            ConditionCode::ae => !carry,
            ConditionCode::e => zero,
            ConditionCode::ne => !zero,
            ConditionCode::be => carry || zero,
            ConditionCode::a => !(carry || zero),
            ConditionCode::s => sign,
            ConditionCode::ns => !sign,
            ConditionCode::p => parity,
            ConditionCode::np => !parity,
            ConditionCode::l => sign != overflow,
            ConditionCode::ge => sign == overflow,
            ConditionCode::le => zero || sign != overflow,
            ConditionCode::g => !zero && sign == overflow,
            ConditionCode::None => panic!("a jump by a counter"),
        }
    }
}

/// A word of this process's memory that the code which is stepped through is about to read.
fn read(address: u64) -> u64 {
    // SAFETY: what is stepped through would read it now.
    unsafe { std::ptr::with_exposed_provenance::<u64>(address as usize).read_unaligned() }
}

/// The instruction at `at`, which this process executes.
fn decode(at: usize) -> Instruction {
    let within = |bytes| {
        // SAFETY: code that is executed; the caller says how much of it there is.
        let bytes = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(at), bytes) };
        let mut decoder = Decoder::with_ip(64, bytes, at as u64, DecoderOptions::NONE);
        (decoder.decode(), decoder.last_error())
    };
    match within(LONGEST.min(PAGE - at % PAGE)) {
        // It goes on on the next page, so that there is one.
        (_, DecoderError::NoMoreBytes) => within(LONGEST),
        whole => whole,
    }
    .0
}

/// Whether an instruction enters the kernel.
fn enters_the_kernel(code: Code) -> bool {
    matches!(code, Code::Syscall | Code::Sysenter | Code::Int_imm8)
}
