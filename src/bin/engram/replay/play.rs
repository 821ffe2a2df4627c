//! Plays a plan against an allocator: the threads, the loop around the calls, and what each pass does besides.
//!
//! A [`Pass`] says what is done around each call, at compile time, so that a pass costs only what it asks for:
//!
//! | pass | content | clock around each call | order |
//! |---|---|---|---|
//! | [`Calls`] | one byte written to each new block | no | object by object |
//! | [`Timed`] | one byte written to each new block | yes | object by object |
//! | [`Content`] | every block stamped, every stamp checked | no | object by object |
//! | [`Exact`] | as the caller wants | no | the trace's own |

use std::ptr::NonNull;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::heap::{Heap, Local};
use super::plan::{Kind, Plan, Script, Step};
use super::stamp;
use super::table::Table;
use crate::{clock, resident};

/// What is done around the calls of one thread.
pub trait Pass: Send {
    /// Blocks are stamped and checked.
    const CONTENT: bool;
    /// The threads keep the order of the trace, not only that of each object.
    const EXACT: bool = false;

    /// Around one call.
    #[inline]
    fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        call()
    }

    /// After the step of this number.
    #[inline]
    fn after(&mut self, _step: usize) {}
}

/// The calls alone.
pub struct Calls;
impl Pass for Calls {
    const CONTENT: bool = false;
}

/// Every block stamped, every stamp checked.
pub struct Content;
impl Pass for Content {
    const CONTENT: bool = true;
}

/// The time of every single call, in ticks of [`clock`].
pub struct Timed(pub Vec<u32>);
impl Pass for Timed {
    const CONTENT: bool = false;

    #[inline]
    fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = clock::start();
        let result = call();
        let ticks = clock::stop().saturating_sub(start);
        self.0.push(u32::try_from(ticks).unwrap_or(u32::MAX));
        result
    }
}

/// The trace's own order; something is looked at after one step.
pub struct Exact<'a, const CONTENT: bool> {
    /// The step.
    pub at: Option<usize>,
    /// The look.
    pub look: &'a (dyn Fn() + Sync),
}
impl<const CONTENT: bool> Pass for Exact<'_, CONTENT> {
    const CONTENT: bool = CONTENT;
    const EXACT: bool = true;

    fn after(&mut self, step: usize) {
        if self.at == Some(step) {
            (self.look)();
        }
    }
}

/// What went wrong; all 0 if nothing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Faults {
    /// Allocations and reallocations refused.
    pub refused: u64,
    /// Blocks whose content was not their own.
    pub damaged: u64,
    /// Blocks at an address that is not a multiple of their alignment.
    pub misaligned: u64,
    /// Frees of live blocks refused.
    pub free_refused: u64,
}

impl Faults {
    /// Both together.
    pub const fn and(self, other: Self) -> Self {
        Self {
            refused: self.refused + other.refused,
            damaged: self.damaged + other.damaged,
            misaligned: self.misaligned + other.misaligned,
            free_refused: self.free_refused + other.free_refused,
        }
    }

    /// Anything at all.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// A plan that was played; its blocks are still there.
pub struct Played<L, P> {
    /// From the first start of a thread to the last end.
    pub wall: Duration,
    /// Page faults meanwhile, where the system tells.
    pub page_faults: Option<u64>,
    /// What went wrong.
    pub faults: Faults,
    /// The passes, with what they noted.
    pub passes: Vec<P>,
    locals: Vec<L>,
}

/// Plays the plan, each of its threads on a thread of its own, and returns when all are done.
///
/// # Errors
/// What the allocator says if a thread cannot have its share.
pub fn play<'h, H: Heap, P: Pass>(heap: &'h H, plan: &Plan, table: &mut Table, passes: Vec<P>) -> engram::Result<Played<H::Local<'h>, P>> {
    table.reset(plan.threads());
    let table = &*table;
    let locals = (0..passes.len() as u32).map(|thread| heap.enter(thread)).collect::<engram::Result<Vec<_>>>()?;
    let faults_before = resident::page_faults();
    let start = &Barrier::new(plan.threads());
    let done: Vec<_> = std::thread::scope(|scope| {
        let each = locals.into_iter().zip(passes).zip(&plan.scripts).enumerate();
        let threads: Vec<_> = each
            .map(|(thread, ((mut local, mut pass), script))| {
                scope.spawn(move || {
                    table.enter(thread);
                    start.wait();
                    let began = Instant::now();
                    let faults = Player { table, local: &mut local, pass: &mut pass }.play(script);
                    (began, Instant::now(), faults, local, pass)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });

    let page_faults = resident::page_faults().zip(faults_before).map(|(after, before)| after - before);
    let began = done.iter().map(|thread| thread.0).min();
    let ended = done.iter().map(|thread| thread.1).max();
    let wall = began.zip(ended).map_or(Duration::ZERO, |(began, ended)| ended - began);
    let mut played = Played { wall, page_faults, faults: Faults::default(), passes: Vec::new(), locals: Vec::new() };
    for (_, _, faults, local, pass) in done {
        played.faults = played.faults.and(faults);
        played.locals.push(local);
        played.passes.push(pass);
    }
    Ok(played)
}

impl<L: Local, P: Pass> Played<L, P> {
    /// Checks and frees the blocks that the trace left behind; all that went wrong, in playing too.
    pub fn clear(mut self, plan: &Plan, table: &Table) -> Faults {
        let mut faults = self.faults;
        for left in &plan.leftovers {
            let Some(block) = NonNull::new(table.pointer(left.object)) else {
                continue;
            };
            let local = &mut self.locals[usize::from(left.thread)];
            // SAFETY: the threads have ended; the table has the block's last place and the plan its last size.
            unsafe {
                faults.damaged += u64::from(P::CONTENT && !stamp::is_whole(block, left.size, left.size, left.object));
                faults.free_refused += u64::from(!local.release(block, left.size, left.align));
            }
        }
        faults
    }
}

/// One thread of a replay.
struct Player<'a, L, P> {
    table: &'a Table,
    local: &'a mut L,
    pass: &'a mut P,
}

impl<L: Local, P: Pass> Player<'_, L, P> {
    fn play(&mut self, script: &Script) -> Faults {
        let mut faults = Faults::default();
        let mut sizes_before = script.sizes_before.iter();
        let mut runs = script.runs.iter();
        let mut run = None;
        for (index, step) in script.steps.iter().enumerate() {
            if P::EXACT && step.starts_run() {
                run = runs.next();
                run.inspect(|run| self.table.await_baton(run.turn));
            }
            if step.awaits() {
                self.table.await_turn(step.object, step.turn);
            }
            match step.kind() {
                Kind::Allocate => self.allocate(*step, &mut faults),
                Kind::Free => self.release(*step, &mut faults),
                Kind::Reallocate => {
                    let before = sizes_before.next().copied().unwrap_or(1);
                    self.resize(*step, before, &mut faults);
                }
            }
            if step.publishes() {
                self.table.publish(step.object, step.turn);
            }
            self.pass.after(index);
            if P::EXACT && step.ends_run() {
                run.inspect(|run| self.table.pass_baton(run.turn, run.next));
            }
        }
        faults
    }

    #[inline]
    fn allocate(&mut self, step: Step, faults: &mut Faults) {
        let block = self.pass.call(|| self.local.allocate(step.size(), step.align()));
        self.table.set_pointer(step.object, block);
        match NonNull::new(block) {
            // SAFETY: a new block of this size, ours until it is handed over (J1).
            Some(block) => unsafe { Self::fill(block, step, faults) },
            None => faults.refused += 1,
        }
    }

    #[inline]
    fn release(&mut self, step: Step, faults: &mut Faults) {
        // None: it was refused, and counted then.
        let Some(block) = NonNull::new(self.table.pointer(step.object)) else {
            return;
        };
        let (size, align) = (step.size(), step.align());
        // SAFETY: J1: the block is live (T2), of this size, and ours alone now.
        unsafe {
            if P::CONTENT && !stamp::is_whole(block, size, size, step.object) {
                faults.damaged += 1;
            }
            if !self.pass.call(|| self.local.release(block, size, align)) {
                faults.free_refused += 1;
            }
        }
    }

    fn resize(&mut self, step: Step, before: usize, faults: &mut Faults) {
        let Some(block) = NonNull::new(self.table.pointer(step.object)) else {
            return;
        };
        let (size, align) = (step.size(), step.align());
        // SAFETY: J1: the block is live (T2), of the size before, and ours alone now.
        let moved = unsafe {
            if P::CONTENT && !stamp::is_whole(block, before, before, step.object) {
                faults.damaged += 1;
            }
            self.pass.call(|| self.local.resize(block, before, align, size))
        };
        let Some(moved) = NonNull::new(moved) else {
            // The block stays, of a size that the plan does not know: it is given back, and counted as gone.
            faults.refused += 1;
            // SAFETY: a refused reallocation leaves the block as it was.
            let freed = unsafe { self.local.release(block, before, align) };
            faults.free_refused += u64::from(!freed);
            self.table.set_pointer(step.object, std::ptr::null_mut());
            return;
        };
        self.table.set_pointer(step.object, moved.as_ptr());
        // SAFETY: a block of the new size, with the content that fits of the one before.
        unsafe {
            if P::CONTENT && !stamp::is_whole(moved, before, before.min(size), step.object) {
                faults.damaged += 1;
            }
            Self::fill(moved, step, faults);
        }
    }

    /// Writes what the pass writes to a block.
    ///
    /// # Safety
    /// `block` has the step's size and is the caller's alone.
    #[inline]
    unsafe fn fill(block: NonNull<u8>, step: Step, faults: &mut Faults) {
        if P::CONTENT {
            // SAFETY: the caller's promise.
            unsafe { stamp::write(block, step.size(), step.object) };
            if block.as_ptr().addr() & (step.align() - 1) != 0 {
                faults.misaligned += 1;
            }
        } else {
            // SAFETY: a block has at least one byte; volatile, so that the write is made.
            unsafe { block.as_ptr().write_volatile(step.object as u8) };
        }
    }
}
