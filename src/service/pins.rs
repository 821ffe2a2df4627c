//! Pins: content that stays for longer than a reader's epoch should, and whose end may be on another thread.
//!
//! A [`ConceptGuard`](super::ConceptGuard) keeps everything that is freed while it lives. A pin keeps one block:
//!
//! ```text
//! pin     in an epoch: finds the block, counts it here
//! discard after the epoch: is it counted?  no --> freed;  yes --> marked as retired
//! unpin   the last: is it retired?  yes --> freed;  no --> forgotten
//! ```
//!
//! Invariants
//! - **E1** who pins counts the block while its epoch is pinned in which it found the block. A block is
//!   retired after all epochs in which it could be found (V2): so its retirement comes after every pin, and no pin
//!   after it.
//! - **E2** counting, retiring and the end of a pin hold the lock: exactly one of them, the retirement of an
//!   unpinned block or the end of a retired block's last pin, says that the block is to be freed.
//! - **E3** a pin is counted until its end is over, the freeing of its block included: whoever finds none counted may close the
//!   service.

use core::ptr::NonNull;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::lock::Mutex;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

/// Which blocks are pinned.
pub(crate) struct Pins {
    /// Pins that have begun and not ended: whether a look at the map is worth it.
    pins: AtomicU64,
    blocks: Mutex<HashMap<usize, Pinned>>,
}

#[derive(Default)]
struct Pinned {
    pins: u64,
    retired: bool,
}

impl Pins {
    /// None.
    pub(crate) fn new() -> Self {
        Self { pins: AtomicU64::new(0), blocks: Mutex::new(HashMap::new()) }
    }

    /// Counts a block that the caller found in the epoch that it still has pinned (E1).
    pub(crate) fn pin(&self, block: NonNull<u8>) {
        // Relaxed: E1: the end of the epoch brings it to whoever retires the block.
        self.pins.fetch_add(1, Relaxed);
        self.blocks.lock().entry(block.addr().get()).or_default().pins += 1;
    }

    /// A block that nobody can find any more is retired: true if it is to be freed now (E2).
    pub(crate) fn retires(&self, block: NonNull<u8>) -> bool {
        // Relaxed: as above: a pin of this block is seen. Acquire: of one that has ended, so is what it read.
        if self.pins.load(Acquire) == 0 {
            return true;
        }
        match self.blocks.lock().get_mut(&block.addr().get()) {
            None => true,
            Some(pinned) => {
                pinned.retired = true;
                false
            }
        }
    }

    /// Ends a pin, and has the block freed if it is to be now (E2).
    pub(crate) fn unpin(&self, block: NonNull<u8>, free: impl FnOnce()) {
        if self.was_last(block) {
            free();
        }
        // Last, E3. Release, with `retires` and `count`.
        self.pins.fetch_sub(1, Release);
    }

    /// Takes a pin out of the map: whether it was the last one of a retired block.
    fn was_last(&self, block: NonNull<u8>) -> bool {
        let mut blocks = self.blocks.lock();
        let Entry::Occupied(mut pinned) = blocks.entry(block.addr().get()) else { return false };
        pinned.get_mut().pins -= 1;
        pinned.get().pins == 0 && pinned.remove().retired
    }

    /// Whether a block is pinned at this moment.
    pub(crate) fn holds(&self, block: NonNull<u8>) -> bool {
        // Relaxed: a pin that comes at the same time may be seen or not.
        self.pins.load(Relaxed) != 0 && self.blocks.lock().contains_key(&block.addr().get())
    }

    /// Pins that have begun, and whose end is not over. Acquire: of those that have ended, it is (E3).
    pub(crate) fn count(&self) -> u64 {
        self.pins.load(Acquire)
    }

    /// Pinned blocks, and how many of them are retired.
    #[cfg(all(test, not(loom)))]
    pub(super) fn blocks(&self) -> (usize, usize) {
        let blocks = self.blocks.lock();
        (blocks.len(), blocks.values().filter(|pinned| pinned.retired).count())
    }
}
