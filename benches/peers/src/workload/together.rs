//! Two threads that begin at the same moment.

use crate::heap::{Heap, Peer};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// From when to when a thread did the work that counts.
pub struct Lap {
    start: Instant,
    end: Instant,
}

/// Where each thread waits for the other.
pub struct StartLine(AtomicU32);

impl StartLine {
    /// Waits for the other thread, then times `work`.
    pub fn lap(&self, work: impl FnOnce()) -> Lap {
        self.0.fetch_add(1, Ordering::AcqRel);
        wait_until(|| self.0.load(Ordering::Acquire) == 2);
        let start = Instant::now();
        work();
        Lap {
            start,
            end: Instant::now(),
        }
    }
}

/// Runs both on threads of their own, which begin and end here. The time from the first start to the last end.
pub fn run<L, R>(peer: &Peer, left: L, right: R) -> Duration
where
    L: FnOnce(&Heap, &StartLine) -> Lap + Send,
    R: FnOnce(&Heap, &StartLine) -> Lap + Send,
{
    let line = StartLine(AtomicU32::new(0));
    let (left, right) = thread::scope(|scope| {
        let left = scope.spawn(|| left(&peer.enter(), &line));
        let right = scope.spawn(|| right(&peer.enter(), &line));
        (join(left), join(right))
    });
    left.end.max(right.end) - left.start.min(right.start)
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
