//! Vectors that grow by about a half by reallocation, one at random each time, and are freed when all have grown. An
//! operation is a reallocation; a vector's first allocation and its free are timed with its reallocations, about 22.

use super::each;
use super::random::{Random, below};
use crate::heap::{Block, Heap};
use std::time::Instant;

const VECTORS: usize = 200;
const FIRST: usize = 16;
const GROWN: usize = 100 << 10;
const TURNS: usize = 5;

/// Several turns, in each of which all vectors grow.
pub fn run(heap: &Heap, seed: u64) -> f64 {
    let mut random = Random::new(seed);
    let mut growing: Vec<(Block, usize)> = Vec::with_capacity(VECTORS);
    let mut grown: Vec<Block> = Vec::with_capacity(VECTORS);
    let mut operations = 0;
    let start = Instant::now();
    for _ in 0..TURNS {
        growing.extend((0..VECTORS).map(|_| (heap.alloc(FIRST), FIRST)));
        while !growing.is_empty() {
            let drawn = random.draw();
            let (block, size) = growing.swap_remove(below(growing.len(), drawn));
            let larger = grow(size, drawn);
            let block = heap.realloc(block, size, larger);
            operations += 1;
            if larger < GROWN {
                growing.push((block, larger));
            } else {
                grown.push(block);
            }
        }
        grown.drain(..).for_each(|block| heap.free(block));
    }
    each(start.elapsed(), operations)
}

/// The size that comes after `size`: 23, 24 or 25 sixteenths of it.
#[inline]
fn grow(size: usize, drawn: u64) -> usize {
    size * (23 + (drawn & 0xffff) as usize % 3) / 16
}
