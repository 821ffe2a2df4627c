//! What was discarded, and how it comes back.
//!
//! ```text
//! discard --> waits here, for all to see --> 64 together to the epoch --> nobody is pinned any more --> the arena
//!             (whoever needs memory hands it over)                        (and no pin holds the block)
//! ```
//!
//! A reader may have found a slot just before it was discarded, so its block is given back only when nobody is pinned who might have
//! (V2). No block waits for the thread that discarded it: until as many wait that it pays to hand them to the epoch, they wait where
//! whoever needs memory finds them.

use core::cell::Cell;
use core::ptr::NonNull;
use std::time::{Duration, Instant};

use super::service::MemoryAllocationService;
use super::slot::Slot;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

#[cfg(test)]
pub(super) mod tests;

/// How long a call waits for memory that readers still had pinned a moment ago, however many requests it has: longer than a thread
/// that reads is interrupted for others, mostly.
const RECLAIM: Duration = Duration::from_millis(20);
/// Discarded blocks that are handed to the epoch together.
const DISCARDS: usize = 64;
/// Collections after which something is given back if nobody is pinned: what is discarded waits for two epochs.
pub(super) const EPOCHS: u32 = 4;

/// How long a call may still wait for memory that is on its way: a batch of many requests that are refused does not wait for each.
pub(super) struct WaitBudget(Cell<Duration>);

impl WaitBudget {
    /// That of a call that has not waited yet.
    pub(super) const fn new() -> Self {
        Self(Cell::new(RECLAIM))
    }

    /// A request begins to wait.
    pub(super) fn begin(&self) -> Waiting<'_> {
        Waiting { patience: self, until: Instant::now() + self.0.get() }
    }
}

/// A request that waits, or looks again for what came: both take of the call's patience.
pub(super) struct Waiting<'c> {
    patience: &'c WaitBudget,
    pub(super) until: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.patience.0.set(self.until.saturating_duration_since(Instant::now()));
    }
}

/// A block on its way to whoever gives it back.
pub(super) struct SendBlock(NonNull<u8>);
// SAFETY: V2: it is but an address until nobody else uses the block, which any thread may free then.
unsafe impl Send for SendBlock {}

impl MemoryAllocationService {
    /// Waits until more was given back of what was discarded than the caller has seen before it looked for memory. Whether it was: by
    /// whichever thread, and however much is discarded meanwhile. What nobody holds up is not waited for, and comes whenever `until` is.
    pub(super) fn reclaim(&self, given_back: u64, until: Instant) -> bool {
        let mut collections = 0;
        loop {
            let now = self.spare.given_back.load(Acquire);
            if now != given_back {
                return true;
            }
            if self.spare.discarded.load(Relaxed) == now {
                return false;
            }
            self.collect_once();
            if self.spare.given_back.load(Acquire) != given_back {
                return true;
            }
            collections += 1;
            if Instant::now() < until {
                // Whoever is pinned gets a chance to go on.
                std::thread::yield_now();
            } else if collections >= EPOCHS {
                return false;
            }
        }
    }

    /// Gives a slot's block back, once nobody is pinned who might have found it (V2). Blocks are handed to the epoch together: one by
    /// one they would lie with this thread, which may rest for long.
    pub(super) fn discard(&self, slot: Slot) {
        if self.put_aside(slot) >= DISCARDS {
            self.collect_once();
        }
    }

    /// The same, until the next collection: nothing comes back by this. How many wait.
    pub(super) fn put_aside(&self, slot: Slot) -> usize {
        slot.set_mark(Slot::retired(self.mark()));
        self.spare.discarded.fetch_add(1, Relaxed);
        let mut discards = self.discards.lock();
        discards.push(SendBlock(slot.block()));
        discards.len()
    }

    /// Hands what was discarded to the epoch, and gives back what nobody is pinned for any more, of some of it: what is
    /// discarded waits for two epochs, so it comes back by the [`EPOCHS`]th call.
    pub(super) fn collect_once(&self) {
        let mut waiting = std::mem::take(&mut *self.discards.lock());
        if waiting.is_empty() {
            self.epoch.pin().flush();
        }
        while !waiting.is_empty() {
            self.hand_over(waiting.split_off(waiting.len().saturating_sub(DISCARDS)));
        }
    }

    /// Hands discarded blocks to the epoch, for whichever thread comes by when nobody is pinned any more who might have found them.
    fn hand_over(&self, blocks: Vec<SendBlock>) {
        let guard = self.epoch.pin();
        let (arena, pins, spare) = (self.arena.weak(), self.pins.clone(), self.spare.clone());
        // SAFETY: V2: nobody can find the slots any more, and who found one is pinned before. The closure owns all
        // that it touches: the arena is open while it has it, or gone and then there is nothing to give back.
        unsafe {
            guard.defer_unchecked(move || {
                // A forked child comes by here when it ends, or drops what was its parent's. The parent gives back what is in its file.
                let arena = arena.upgrade().filter(|arena| !arena.is_parents());
                for block in blocks {
                    if let Some(arena) = &arena
                        && pins.retires(block.0)
                    {
                        // A block that was given once is taken back once: this cannot be refused.
                        spare.give_back(arena, block.0);
                    }
                    // Release: who sees that it came back finds it.
                    spare.given_back.fetch_add(1, Release);
                }
            });
        }
        // What is not flushed would lie with this thread, until it comes by again.
        guard.flush();
    }
}
