//! Replace one of many live blocks at random. An operation is the free of one block and the allocation of another, the
//! random number included.

use super::each;
use super::random::{Random, below};
use super::sizes::Sizes;
use crate::heap::{Block, Heap};
use std::time::Instant;

/// The live blocks.
pub struct Churn {
    blocks: Vec<Option<Block>>,
    sizes: &'static Sizes,
    random: Random,
}

impl Churn {
    /// `live` blocks, each replaced about once, so that their order in memory is not that of their allocation.
    pub fn new(heap: &Heap, live: usize, sizes: &'static Sizes, seed: u64) -> Self {
        let mut churn = Self { blocks: Vec::with_capacity(live), sizes, random: Random::new(seed) };
        for _ in 0..live {
            let size = sizes[(churn.random.draw() & 15) as usize];
            churn.blocks.push(Some(heap.alloc(size)));
        }
        churn.replace(heap, live);
        churn
    }

    /// Replaces a block, `times` times.
    pub fn replace(&mut self, heap: &Heap, times: usize) {
        for _ in 0..times {
            let (place, size) = self.pick();
            if let Some(block) = place.take() {
                heap.free(block);
            }
            *place = Some(heap.alloc(size));
        }
    }

    /// The next place to replace, and the size of what comes there.
    #[inline]
    pub fn pick(&mut self) -> (&mut Option<Block>, usize) {
        let drawn = self.random.draw();
        let size = self.sizes[(drawn & 15) as usize];
        let index = below(self.blocks.len(), drawn);
        (&mut self.blocks[index], size)
    }

    /// Frees every block.
    pub fn end(self, heap: &Heap) {
        self.blocks.into_iter().flatten().for_each(|block| heap.free(block));
    }
}

/// One of `live` blocks at a time.
pub fn run(heap: &Heap, live: usize, sizes: &'static Sizes, seed: u64) -> f64 {
    // Large sets miss the caches and take longer for each.
    let times = if live > 10_000 { 500_000 } else { 1_000_000 };
    let mut churn = Churn::new(heap, live, sizes, seed);
    let start = Instant::now();
    churn.replace(heap, times);
    let time = start.elapsed();
    churn.end(heap);
    each(time, times)
}
