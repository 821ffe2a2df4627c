//! One thread allocates, others free. An operation is an allocation and its free, which go on at the same time.
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

/// One turn, with a new thread that allocates blocks of these sizes, one after the other, and so many that free them.
pub fn run(peer: &Peer, frees: usize, sizes: &Sizes) -> f64 {
    let ring = Ring::new(frees);
    let time = together::run(peer, 1 + frees, |thread, heap, line| match thread.checked_sub(1) {
        None => line.lap(|| (0..TURNS).for_each(|turn| ring.fill(turn, heap, sizes))),
        Some(first) => line.lap(|| (first..TURNS).step_by(frees).for_each(|turn| ring.drain(turn, heap))),
    });
    each(time, TURNS * BATCH)
}

/// A counter on cache lines of its own (two: the processor fetches them in pairs).
#[repr(align(128))]
struct Counter(AtomicUsize);

struct Ring {
    batches: Vec<[AtomicPtr<u64>; BATCH]>,
    filled: Counter,
    /// Of each thread that frees, which do so in turn.
    drained: Vec<Counter>,
}

impl Ring {
    fn new(frees: usize) -> Self {
        let empty = || [const { AtomicPtr::new(null_mut()) }; BATCH];
        Self {
            batches: (0..BATCHES).map(|_| empty()).collect(),
            filled: Counter(AtomicUsize::new(0)),
            drained: (0..frees).map(|_| Counter(AtomicUsize::new(0))).collect(),
        }
    }

    /// Allocates the batch of this turn; the allocating thread's.
    fn fill(&self, turn: usize, heap: &Heap, sizes: &Sizes) {
        if let Some(before) = turn.checked_sub(BATCHES) {
            let frees = self.drained.len();
            // Acquire: what was done with the batch that was here is over.
            wait_until(|| self.drained[before % frees].0.load(Ordering::Acquire) > before / frees);
        }
        for (index, cell) in self.batches[turn % BATCHES].iter().enumerate() {
            let block = heap.alloc(sizes[index % sizes.len()]);
            cell.store(block.into_raw(), Ordering::Relaxed);
        }
        // Release: the pointers, and what was written to the blocks, come before.
        self.filled.0.store(turn + 1, Ordering::Release);
    }

    /// Reads and frees the batch of this turn; for the thread whose turn it is.
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
        self.drained[turn % self.drained.len()].0.store(turn / self.drained.len() + 1, Ordering::Release);
    }
}
