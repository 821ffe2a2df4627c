//! A population of neurons is visited in the order in which they spike: what the order of its blocks in memory is worth.
//! The limit is the order of the blocks' addresses, in which they are visited as well.
//!
//! The blocks are allocated in random order of their spike times, and then each is replaced twice, in random order: freed, and
//! allocated again with the same time. An allocator that places a whole population at once does that instead. Only the visits
//! are timed. Each reads the first bytes of its block: where the blocks lie comes from a list, so that the processor fetches
//! several at once, or from the block before.

#[cfg(test)]
mod tests;

use super::cold::fill_caches;
use super::each;
use super::random::{Random, below};
use crate::heap::{Block, Chain, Heap};
use std::time::Instant;

/// What is timed, in the order of the values.
pub const KINDS: [&str; 6] =
    ["independent, warm", "independent, cold", "independent, flushed", "dependent, warm", "dependent, cold", "dependent, flushed"];

const POPULATION: usize = 200_000;
const REPLACED: usize = 2;
/// Walks before the first that is timed: so many it takes until a large shared cache keeps what is visited again and again.
const SETTLING: usize = 7;
/// Warm walks that are timed together.
const REPEATS: usize = 2;

/// Nanoseconds for a visit of each of [`KINDS`], in spike order and then in the order of addresses.
pub fn run(heap: &Heap, size: usize, seed: u64) -> Vec<f64> {
    let mut population = populate(heap, size, seed);
    population.sort_by_key(|(spike_ns, _)| *spike_ns);
    let mut blocks: Vec<Block> = population.into_iter().map(|(_, block)| block).collect();
    let mut values = walks(&blocks, size);
    blocks.sort_unstable_by_key(Block::address);
    values.extend(walks(&blocks, size));
    blocks.drain(..).for_each(|block| heap.free(block));
    values
}

/// Blocks with their spike times, which fill the eight zones alike: from 2^20 to 2^28 ns, as many in each octave.
fn populate(heap: &Heap, size: usize, seed: u64) -> Vec<(u32, Block)> {
    let mut random = Random::new(seed);
    let spikes: Vec<u32> = (0..POPULATION).map(|_| spike_ns(&mut random)).collect();
    if let Some(blocks) = heap.alloc_batch(size, &spikes) {
        return spikes.into_iter().zip(blocks).collect();
    }
    let mut blocks: Vec<Option<Block>> = spikes.iter().map(|&spike_ns| Some(heap.alloc_spiking(size, spike_ns))).collect();
    let mut order: Vec<usize> = (0..POPULATION).collect();
    for _ in 0..REPLACED {
        shuffle(&mut order, &mut random);
        for &index in &order {
            if let Some(block) = blocks[index].take() {
                heap.free(block);
            }
            blocks[index] = Some(heap.alloc_spiking(size, spikes[index]));
        }
    }
    spikes.into_iter().zip(blocks.into_iter().flatten()).collect()
}

fn spike_ns(random: &mut Random) -> u32 {
    let drawn = random.draw();
    let octave = 1 << (20 + (drawn >> 61));
    octave + (drawn & 0xffff_ffff) as u32 % octave
}

fn shuffle(order: &mut [usize], random: &mut Random) {
    for end in (1..order.len()).rev() {
        order.swap(end, below(end + 1, random.draw()));
    }
}

fn walks(blocks: &[Block], size: usize) -> Vec<f64> {
    let independent = by_cache(blocks, size, || list_walk(blocks));
    let chain = Chain::new(blocks);
    let dependent = by_cache(blocks, size, || chain.walk());
    [independent, dependent].concat()
}

#[inline(never)]
fn list_walk(blocks: &[Block]) -> u64 {
    blocks.iter().map(Block::read).sum()
}

/// Nanoseconds for a visit: after other walks; with the caches full of something else; with none of it in any cache.
fn by_cache(blocks: &[Block], size: usize, walk: impl Fn() -> u64) -> [f64; 3] {
    timed(&walk, SETTLING, size);
    let warm = timed(&walk, REPEATS, size);
    fill_caches();
    let cold = timed(&walk, 1, size);
    blocks.iter().for_each(Block::flush);
    fill_caches();
    [warm, cold, timed(&walk, 1, size)]
}

/// Nanoseconds for a visit in so many walks; every block holds its size.
fn timed(walk: &impl Fn() -> u64, times: usize, size: usize) -> f64 {
    let start = Instant::now();
    let sum: u64 = (0..times).map(|_| walk()).sum();
    let time = start.elapsed();
    assert_eq!(sum, (times * POPULATION * size) as u64, "each walk visits every block once, and it holds its size");
    each(time, times * POPULATION)
}
