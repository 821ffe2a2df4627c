//! Chunks on their way between two hands.
//!
//! Who takes a chunk from the index opens it a moment later, and the free that leaves a chunk empty claims all of it before it gives it
//! to the index: in between it is neither there nor has it free spans. Who looks for memory in that moment has not seen all there is,
//! so a refusal counts only if no chunk was on its way while it looked:
//!
//! ```text
//! begun  5          6                  the look on the left counts: it began when all that had begun had ended, and none has
//! ended     5            6             begun when it ends; the one on the right does not
//! looks       '---'   '----'
//! ```
//!
//! A holder that opens a chunk for its own column, on the bounded way, is not counted.
//!
//! Invariants
//! - **Z1** a passing is counted as begun before the chunk is hidden, and as ended after it has come.

use crate::sync::AtomicU64;
use crate::sync::Ordering::{AcqRel, Acquire, Release};

/// How often is looked for memory at most.
pub(crate) const ASKS: u32 = if cfg!(loom) { 2 } else { 16 };
/// How often is looked, before each, whether all chunks have come: some 20 us. Whoever has one may not be running.
const LOOKS: u32 = if cfg!(loom) { 2 } else { 500 };

/// Chunks that have left a hand, and that have come to the next, in this process since the arena was opened.
pub(crate) struct Passings {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Passings {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { begun: AtomicU64::new(0), ended: AtomicU64::new(0) }
    }

    /// Does what takes a chunk from one hand to the next, or would. Wait-free but for that.
    pub(crate) fn pass<T>(&self, pass: impl FnOnce() -> T) -> T {
        // AcqRel: a look whose end is counted before this one has seen nothing of what comes below (`ask`).
        self.begun.fetch_add(1, AcqRel);
        let passed = pass();
        // Release: who sees it sees the chunk where it is now.
        self.ended.fetch_add(1, Release);
        passed
    }

    /// How many have begun.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Acquire)
    }

    /// Looks for memory by `ask`, and again if a chunk was on its way meanwhile. Lock-free: 16 times at most, and each time waits some
    /// 20 us at most.
    pub(crate) fn ask<T>(&self, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
        for _ in 0..ASKS {
            let quiet = self.wait();
            let found = ask();
            // A read-modify-write, as the other one: of two, one comes first. If it is this one, all that was seen came before that
            // passing, else the numbers differ.
            if found.is_some() || quiet.is_some_and(|begun| self.begun.fetch_add(0, AcqRel) == begun) {
                return found;
            }
        }
        None
    }

    /// Waits until all have ended, but not for long. How many had begun then.
    fn wait(&self) -> Option<u64> {
        for _ in 0..LOOKS {
            // In this order: what begins in between has not ended.
            let ended = self.ended.load(Acquire);
            if self.begun.load(Acquire) == ended {
                return Some(ended);
            }
            core::hint::spin_loop();
        }
        None
    }
}
