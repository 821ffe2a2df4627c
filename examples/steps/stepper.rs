//! Single-stepping this process through the calls that it marks.
//!
//! The processor's trap flag is set right before the call, so that every instruction from the call on
//! raises SIGTRAP; the handler counts, notes where the next instruction lies, and clears the flag
//! when the call has returned.

use std::arch::asm;
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};

/// The trap flag of the flags register.
const TRAP: u64 = 1 << 8;
/// Most instructions of an operation whose path is kept.
const PATH: usize = 1 << 22;

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
        self.path.iter().any(|&at| is_system_call(at))
    }
}

/// What the handler notes; this program has one thread.
struct Trace(UnsafeCell<State>);

struct State {
    end: usize,
    path: Vec<usize>,
}

// SAFETY: touched by the only thread: by the handler while a call is stepped through, else by `Stepper`.
unsafe impl Sync for Trace {}

static TRACE: Trace = Trace(UnsafeCell::new(State { end: 0, path: Vec::new() }));

/// The right to step; there is one.
pub(crate) struct Stepper {
    trace: &'static Trace,
}

impl Stepper {
    /// Installs the handler. To be called once.
    pub(crate) fn install() -> Self {
        // SAFETY: nothing is stepped through yet.
        unsafe { (*TRACE.0.get()).path.reserve_exact(PATH) };
        // SAFETY: plain numbers and pointers, for which zero is valid.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_step as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
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
        unsafe { (*self.trace.0.get()).path.clear() };
        // SAFETY: the caller's promise.
        let result = unsafe { call_with_traps(function, arguments) };
        // SAFETY: as above; the next call needs `self` again.
        Stepped { result, path: unsafe { &(*self.trace.0.get()).path } }
    }
}

/// # Safety
/// As [`Stepper::step`].
unsafe fn call_with_traps(function: *const c_void, arguments: [u64; 6]) -> u64 {
    let result;
    // SAFETY: a call by the C ABI; the flags are pushed and popped in pairs, and the first instruction
    // that traps is the call.
    unsafe {
        asm!(
            "pushfq",
            "or qword ptr [rsp], {trap}",
            "popfq",
            "call r12",
            trap = const TRAP,
            in("r12") function,
            inout("rdi") arguments[0] => _, inout("rsi") arguments[1] => _, inout("rdx") arguments[2] => _,
            inout("rcx") arguments[3] => _, inout("r8") arguments[4] => _, inout("r9") arguments[5] => _,
            lateout("rax") result,
            clobber_abi("C"),
        );
    }
    result
}

/// Called before each instruction after the call, with the address of that instruction.
unsafe extern "C" fn on_step(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives the handler of SA_SIGINFO a ucontext.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    // SAFETY: this handler runs once at a time, and its state is nobody else's meanwhile.
    let state = unsafe { &mut *TRACE.0.get() };
    let at = registers[libc::REG_RIP as usize].cast_unsigned() as usize;
    if state.path.is_empty() {
        let stack = std::ptr::with_exposed_provenance::<usize>(registers[libc::REG_RSP as usize].cast_unsigned() as usize);
        // SAFETY: the call was just executed: the top of the stack is its return address.
        state.end = unsafe { stack.read() };
    }
    if at == state.end {
        registers[libc::REG_EFL as usize] &= !TRAP.cast_signed();
    } else {
        assert!(state.path.len() < PATH, "an operation of more than {PATH} instructions");
        state.path.push(at);
    }
}

/// Whether the instruction at `at` enters the kernel.
fn is_system_call(at: usize) -> bool {
    // SAFETY: the process has executed what lies there.
    let bytes = unsafe { std::ptr::with_exposed_provenance::<[u8; 2]>(at).read() };
    matches!(bytes, [0x0f, 0x05 | 0x34] | [0xcd, 0x80])
}
