//! Threads that begin at the same moment.

use crate::heap::{Heap, Peer};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// From when to when work was done that counts.
#[derive(Clone, Copy)]
pub struct Lap {
    start: Instant,
    end: Instant,
}

impl Lap {
    /// From the first start to the last end of two.
    fn with(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Where each thread waits for the others.
pub struct StartLine {
    threads: usize,
    arrived: AtomicUsize,
}

impl StartLine {
    /// Waits for the other threads, then times `work`.
    pub fn lap(&self, work: impl FnOnce()) -> Lap {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        wait_until(|| self.arrived.load(Ordering::Acquire) == self.threads);
        let start = Instant::now();
        work();
        Lap { start, end: Instant::now() }
    }
}

/// Runs `work` on `threads` threads, which begin and end here; it gets the thread's number, from 0. The time from the
/// first start to the last end.
pub fn run<W>(peer: &Peer, threads: usize, work: W) -> Duration
where
    W: Fn(usize, &Heap, &StartLine) -> Lap + Sync,
{
    let line = StartLine { threads, arrived: AtomicUsize::new(0) };
    let laps = thread::scope(|scope| {
        let (work, line) = (&work, &line);
        let spawned: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread, &peer.enter(), line))).collect();
        spawned.into_iter().map(join).reduce(Lap::with)
    });
    laps.map_or(Duration::ZERO, |all| all.end - all.start)
}

fn join(thread: ScopedJoinHandle<'_, Lap>) -> Lap {
    thread.join().expect("a workload does not panic")
}

/// Spins, and leaves the processor to others when that takes long.
pub fn wait_until(condition: impl Fn() -> bool) {
    for turn in 1_u32.. {
        if condition() {
            return;
        }
        if turn.is_multiple_of(1024) {
            thread::yield_now();
        } else {
            spin_loop();
        }
    }
}
