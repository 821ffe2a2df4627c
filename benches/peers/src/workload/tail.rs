//! The slowest single operations while one of many blocks of mixed sizes is replaced at random: each allocation and
//! each free is timed alone, in cycles of the time stamp counter, less what the timing itself takes.

use super::churn::Churn;
use super::sizes::MIXED;
use crate::heap::Heap;
use std::arch::x86_64::{_mm_lfence, _rdtsc};

const OPERATIONS: usize = 100_000;
/// Cycles that are told apart; more than that counts as that.
const LIMIT: usize = 1 << 16;

/// The cycles that 99 % of the operations, and 99.99 %, stay within.
pub fn run(heap: &Heap, live: usize, seed: u64) -> [f64; 2] {
    let mut churn = Churn::new(heap, live, &MIXED, seed);
    let mut cycles = vec![0_u32; LIMIT];
    let own = (0..1000).map(|_| timed(|| ()).1).min().unwrap_or(0);
    let mut count = |taken: u64| {
        let less = usize::try_from(taken.saturating_sub(own)).unwrap_or(LIMIT);
        cycles[less.min(LIMIT - 1)] += 1;
    };
    for _ in 0..OPERATIONS {
        let (place, size) = churn.pick();
        if let Some(block) = place.take() {
            count(timed(|| heap.free(block)).1);
        }
        let (block, taken) = timed(|| heap.alloc(size));
        count(taken);
        *place = Some(block);
    }
    churn.end(heap);
    [within(&cycles, 0.99), within(&cycles, 0.9999)]
}

/// The cycles that `part` of the operations counted stay within.
fn within(cycles: &[u32], part: f64) -> f64 {
    let total: u32 = cycles.iter().sum();
    let enough = f64::from(total) * part;
    let mut so_far = 0.0;
    let place = cycles.iter().position(|&count| {
        so_far += f64::from(count);
        so_far >= enough
    });
    place.unwrap_or(LIMIT) as f64
}

#[inline]
fn timed<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let start = stamp();
    let result = work();
    (result, stamp() - start)
}

/// The time stamp counter, when all before is done and nothing after has begun.
#[inline]
fn stamp() -> u64 {
    // SAFETY: every x86-64 processor has both instructions.
    unsafe {
        _mm_lfence();
        let stamp = _rdtsc();
        _mm_lfence();
        stamp
    }
}
