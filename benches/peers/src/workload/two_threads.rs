//! Two threads, each replacing one of its own 1,000 blocks of mixed sizes. The time is that of both together for each
//! operation of one thread: twice as many threads at no cost would show the time of one.

use super::churn::{Churn, MIXED};
use super::each;
use super::together::{self, Lap, StartLine};
use crate::heap::{Heap, Peer};

const LIVE: usize = 1_000;
const OPERATIONS: usize = 500_000;

/// One turn, with two new threads.
pub fn run(peer: &Peer, seed: u64) -> f64 {
    let work = |seed| {
        move |heap: &Heap, line: &StartLine| -> Lap {
            let mut churn = Churn::new(heap, LIVE, &MIXED, seed);
            let lap = line.lap(|| churn.replace(heap, OPERATIONS));
            churn.end(heap);
            lap
        }
    };
    each(
        together::run(peer, work(2 * seed), work(2 * seed + 1)),
        OPERATIONS,
    )
}
