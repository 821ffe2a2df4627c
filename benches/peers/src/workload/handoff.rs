//! One thread allocates, another frees. An operation is an allocation and its free, which go on at the same time.
//!
//! The blocks go through a ring by the batch, so that passing them on costs little: two shared counters are written
//! once for each batch, and the ring holds enough batches that neither thread waits for long.

use super::each;
use super::sizes::Sizes;
use super::together::{self, wait_until};
use crate::heap::{Block, Heap, Peer};
use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

const BATCH: usize = 128;
const BATCHES: usize = 32;
const TURNS: usize = 8192;

/// One turn, with two new threads and blocks of these sizes, one after the other.
pub fn run(peer: &Peer, sizes: &Sizes) -> f64 {
    let ring = Ring::new();
    let time = together::run(peer, 2, |thread, heap, line| {
        if thread == 0 {
            line.lap(|| (0..TURNS).for_each(|turn| ring.fill(turn, heap, sizes)))
        } else {
            line.lap(|| (0..TURNS).for_each(|turn| ring.drain(turn, heap)))
        }
    });
    each(time, TURNS * BATCH)
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
    fn fill(&self, turn: usize, heap: &Heap, sizes: &Sizes) {
        // Acquire: what the other thread did with the batch that was here is over.
        wait_until(|| turn - self.drained.0.load(Ordering::Acquire) < BATCHES);
        for (index, cell) in self.batches[turn % BATCHES].iter().enumerate() {
            let block = heap.alloc(sizes[index % sizes.len()]);
            cell.store(block.into_raw(), Ordering::Relaxed);
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
