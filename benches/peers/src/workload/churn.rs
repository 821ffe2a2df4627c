//! Replace one of many live blocks at random. An operation is the free of one block and the allocation of another, the
//! random number included.

use super::each;
use crate::heap::{Block, Heap};
use std::time::Instant;

/// Sixteen sizes, each as likely as the others.
pub type Sizes = [usize; 16];

/// 64 bytes, always.
pub const FIXED: Sizes = [64; 16];
/// Small blocks mostly, up to a kibibyte.
pub const MIXED: Sizes = [
    16, 16, 24, 32, 32, 40, 48, 64, 64, 96, 128, 160, 256, 384, 512, 1024,
];

/// The live blocks.
pub struct Churn {
    blocks: Vec<Option<Block>>,
    sizes: &'static Sizes,
    random: u64,
}

impl Churn {
    /// `live` blocks, each replaced about once, so that their order in memory is not that of their allocation.
    pub fn new(heap: &Heap, live: usize, sizes: &'static Sizes, seed: u64) -> Self {
        // Any number but 0 starts the generator; an odd multiplier keeps seeds apart.
        let random = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut churn = Self {
            blocks: Vec::with_capacity(live),
            sizes,
            random,
        };
        for _ in 0..live {
            let size = sizes[(churn.draw() & 15) as usize];
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
        let random = self.draw();
        // The high half, scaled to the number of places.
        let index = ((random >> 32) * self.blocks.len() as u64) >> 32;
        let size = self.sizes[(random & 15) as usize];
        (&mut self.blocks[index as usize], size)
    }

    /// Frees every block.
    pub fn end(self, heap: &Heap) {
        self.blocks
            .into_iter()
            .flatten()
            .for_each(|block| heap.free(block));
    }

    /// xorshift64 (Marsaglia 2003).
    #[inline]
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
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
