//! One thread allocates, another frees. An operation is an allocation and its free, which go on at the same time.
//!
//! The blocks go through a ring by the batch, so that passing them on costs little: two shared counters are written
//! once for each batch, and the ring holds enough batches that neither thread waits for long.

use super::each;
use super::together::{self, wait_until};
use crate::heap::{Block, Heap, Peer};
use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

const SIZE: usize = 64;
const BATCH: usize = 128;
const BATCHES: usize = 32;
const OPERATIONS: usize = 8192 * BATCH;

/// One turn, with two new threads.
pub fn run(peer: &Peer) -> f64 {
    let ring = Ring::new();
    let time = together::run(
        peer,
        |heap, line| line.lap(|| (0..OPERATIONS / BATCH).for_each(|turn| ring.fill(turn, heap))),
        |heap, line| line.lap(|| (0..OPERATIONS / BATCH).for_each(|turn| ring.drain(turn, heap))),
    );
    each(time, OPERATIONS)
}

/// A counter on cache lines of its own (two: the processor fetches them in pairs).
#[repr(align(128))]
struct Counter(AtomicUsize);

struct Ring {
    batches: Vec<[AtomicPtr<u64>; BATCH]>,
    filled: Counter,
    drained: Counter,
}

impl Ring {
    fn new() -> Self {
        let empty = || [const { AtomicPtr::new(null_mut()) }; BATCH];
        Self {
            batches: (0..BATCHES).map(|_| empty()).collect(),
            filled: Counter(AtomicUsize::new(0)),
            drained: Counter(AtomicUsize::new(0)),
        }
    }

    /// Allocates the batch of this turn; the allocating thread's.
    fn fill(&self, turn: usize, heap: &Heap) {
        // Acquire: what the other thread did with the batch that was here is over.
        wait_until(|| turn - self.drained.0.load(Ordering::Acquire) < BATCHES);
        for cell in &self.batches[turn % BATCHES] {
            cell.store(heap.alloc(SIZE).into_raw(), Ordering::Relaxed);
        }
        // Release: the pointers, and what was written to the blocks, come before.
        self.filled.0.store(turn + 1, Ordering::Release);
    }

    /// Reads and frees the batch of this turn; the freeing thread's.
    fn drain(&self, turn: usize, heap: &Heap) {
        // Acquire: pairs with the release in `fill`.
        wait_until(|| self.filled.0.load(Ordering::Acquire) > turn);
        for cell in &self.batches[turn % BATCHES] {
            // SAFETY: `fill` put a block here for this turn, and each turn is drained once.
            let block = unsafe { Block::from_raw(cell.load(Ordering::Relaxed)) };
            black_box(block.read());
            heap.free(block);
        }
        // Release: the pointers are read before `fill` writes others.
        self.drained.0.store(turn + 1, Ordering::Release);
    }
}
