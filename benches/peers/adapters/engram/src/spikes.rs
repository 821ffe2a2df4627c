//! Spike times between 1 and 200 ms that go round all zones. The runner keeps these variants to one thread.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Two times in each of the eight zones; those that follow each other are in different ones.
const MILLISECONDS: [u32; 16] = [5, 90, 1, 24, 160, 3, 48, 12, 2, 120, 30, 7, 200, 15, 4, 60];

static TURN: AtomicUsize = AtomicUsize::new(0);

/// The next allocation's spike time, in nanoseconds.
#[inline]
pub fn spike() -> u32 {
    // One thread: a plain load and store.
    let turn = TURN.load(Ordering::Relaxed);
    TURN.store(turn.wrapping_add(1), Ordering::Relaxed);
    MILLISECONDS[turn % MILLISECONDS.len()] * 1_000_000
}
