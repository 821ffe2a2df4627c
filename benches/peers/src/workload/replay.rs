//! Replays a recorded run, in its order, on one thread. An operation is an allocation or a free.
//!
//! Where the recording has two threads their operations are followed in the order in which they happened: keeping that
//! order across two threads would cost more than the allocator does.

use super::cold::fill_caches;
use super::each;
use crate::heap::{Block, Heap};
use crate::trace::Trace;
use std::time::{Duration, Instant};

/// Short traces are replayed as often as it takes for so many operations.
const OPERATIONS: usize = 500_000;

/// Turns that each begin with cold caches.
const COLD_TURNS: usize = 5;

/// Nanoseconds for an operation.
pub fn run(heap: &Heap, trace: &Trace) -> f64 {
    turns(heap, trace, OPERATIONS / trace.steps.len().max(1) + 1, || ())
}

/// The same, each turn from cold caches.
pub fn run_cold(heap: &Heap, trace: &Trace) -> f64 {
    turns(heap, trace, COLD_TURNS, fill_caches)
}

/// Nanoseconds for an operation. Blocks that the recording leaves live are freed between turns, untimed. A first turn that
/// is not timed writes to every page of every block: an allocator that lays its blocks out differently the next time
/// would else meet pages that it has never touched, and what is timed would be the system's page faults.
fn turns(heap: &Heap, trace: &Trace, turns: usize, before: impl Fn()) -> f64 {
    let mut places = Places::new(trace.places);
    places.replay(heap, trace, Block::touch_pages);
    places.empty(heap);
    let mut time = Duration::ZERO;
    for _ in 0..turns {
        before();
        let start = Instant::now();
        places.replay(heap, trace, |_, _| ());
        time += start.elapsed();
        places.empty(heap);
    }
    each(time, turns * trace.steps.len())
}

/// Where the blocks of a trace are kept.
pub struct Places(Vec<Option<Block>>);

impl Places {
    /// Empty ones, all of their memory in use.
    pub fn new(count: usize) -> Self {
        Self((0..count).map(|_| None).collect())
    }

    /// Replays the trace once; `use_block` gets each block and its size when it is allocated.
    #[inline]
    pub fn replay(&mut self, heap: &Heap, trace: &Trace, use_block: impl Fn(&Block, usize)) {
        for step in &trace.steps {
            let place = &mut self.0[step.place as usize];
            if step.size == 0 {
                if let Some(block) = place.take() {
                    heap.free(block);
                }
            } else {
                let block = heap.alloc(step.size as usize);
                use_block(&block, step.size as usize);
                *place = Some(block);
            }
        }
    }

    fn empty(&mut self, heap: &Heap) {
        self.0.iter_mut().filter_map(Option::take).for_each(|block| heap.free(block));
    }
}
