//! Several threads, each replacing one of its own 1,000 blocks of mixed sizes. The time is that of all together for each
//! operation of one thread: twice as many threads at no cost would show the time of one.

use super::churn::Churn;
use super::each;
use super::sizes::MIXED;
use super::together;
use crate::heap::Peer;

const LIVE: usize = 1_000;
const OPERATIONS: usize = 500_000;

/// One turn, with so many new threads.
pub fn run(peer: &Peer, threads: usize, seed: u64) -> f64 {
    let time = together::run(peer, threads, |thread, heap, line| {
        let seed = threads as u64 * seed + thread as u64;
        let mut churn = Churn::new(heap, LIVE, &MIXED, seed);
        let lap = line.lap(|| churn.replace(heap, OPERATIONS));
        churn.end(heap);
        lap
    });
    each(time, OPERATIONS)
}
