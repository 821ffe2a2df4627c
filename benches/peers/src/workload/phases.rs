//! Allocate so many, free them all in the same order, again and again. An operation is an allocation and its free.

use super::each;
use crate::heap::{Block, Heap};
use std::time::Instant;

const SIZE: usize = 64;
const OPERATIONS: usize = 2_000_000;

/// `count` allocations and `count` frees.
pub fn run(heap: &Heap, count: usize) -> f64 {
    if count == 1 { pairs(heap) } else { batches(heap, count) }
}

fn pairs(heap: &Heap) -> f64 {
    let start = Instant::now();
    for _ in 0..OPERATIONS {
        heap.free(heap.alloc(SIZE));
    }
    each(start.elapsed(), OPERATIONS)
}

fn batches(heap: &Heap, count: usize) -> f64 {
    let mut blocks: Vec<Block> = Vec::with_capacity(count);
    let start = Instant::now();
    for _ in 0..OPERATIONS / count {
        blocks.extend((0..count).map(|_| heap.alloc(SIZE)));
        blocks.drain(..).for_each(|block| heap.free(block));
    }
    each(start.elapsed(), OPERATIONS)
}
