//! Admission: at most so many callers are inside at a time, and those who wait go in by spike time.
//!
//! ```text
//!          enter                         leave
//!   ---------------->  [ inside ]  ---------------->
//!          | no permit is free, or somebody waits
//!          v
//!   waiting room: | 9 ms | 4 ms | none | 4 ms |   in order of arrival; the first 4 ms is next
//! ```
//!
//! The gate's word holds the permits that are free and whether somebody waits. While nobody does,
//! entering is one compare-and-swap and leaving one addition; no lock, no host allocation. Everything else
//! happens under the lock of the waiting room (`room.rs` has its order).
//!
//! Invariants:
//!
//! - **A1, the bound**: who is inside has taken a permit out of the word, and puts one back when leaving.
//! - **A2, the queue**: while the word says that somebody waits, permits are taken only under the lock, for
//!   the waiter who is next. Nobody passes the queue.
//! - **A3, the flag**: whenever the lock is free, the word says that somebody waits exactly if the room is
//!   not empty.
//! - **A4, no lost wake-up**: when the lock is released with somebody in the room, no permit is free, or who
//!   put it back is on the way to the lock. The flag and the permits are one word: who leaves before a
//!   waiter sets the flag is seen by that waiter, who leaves after it sees the flag.
//! - **A5, no starvation**: a waiter is passed over by at most [`PASSED`](room::PASSED) callers who came later, whatever its
//!   spike. So, with `n` waiting when it comes, it is at worst the `n + PASSED + 1`st to go in from then on.

use core::time::Duration;

use crate::spike::SpikeTime;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

mod room;
mod seat;
#[cfg(all(test, not(loom)))]
mod tests;

use super::lock::{Mutex, MutexGuard};
use room::Room;
use seat::Patience;

/// Lets a number of callers in at a time.
pub(crate) struct Gate {
    word: Word,
    room: Mutex<Room>,
    permits: usize,
}

/// The right to be inside, until it is dropped.
#[must_use = "dropping it is leaving"]
pub(crate) struct Permit<'a> {
    gate: &'a Gate,
}

/// A caller that was not let in in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// How long it waited.
    pub(crate) waited: Duration,
}

impl Gate {
    /// A gate with `permits` permits; 0 counts as 1.
    pub(crate) fn new(permits: usize) -> Self {
        let permits = permits.clamp(1, isize::MAX as usize);
        Self { word: Word::new(permits as u64), room: Mutex::new(Room::new()), permits }
    }

    /// How many may be inside.
    pub(crate) fn permits(&self) -> usize {
        self.permits
    }

    /// Goes in, if need be after waiting. Those who wait go in in order of `spike`, ties in order of arrival;
    /// none is passed over by more than [`PASSED`](room::PASSED) later callers. With a `timeout` of zero it never waits:
    /// it goes in if a permit is free and nobody waits.
    ///
    /// # Errors
    /// [`Refused`] if it was not its turn within `timeout`. Who is given a permit just then, goes in.
    pub(crate) fn enter(&self, spike: SpikeTime, timeout: Duration) -> Result<Permit<'_>, Refused> {
        if let Some(permit) = self.try_enter() {
            return Ok(permit);
        }
        if timeout.is_zero() {
            return Err(Refused { waited: Duration::ZERO });
        }
        self.wait(spike, timeout)
    }

    /// Goes in if a permit is free and nobody waits. Lock-free.
    pub(crate) fn try_enter(&self) -> Option<Permit<'_>> {
        self.word.try_take().then(|| Permit { gate: self })
    }

    #[cold]
    fn wait(&self, spike: SpikeTime, timeout: Duration) -> Result<Permit<'_>, Refused> {
        let mut patience = Patience::new(timeout);
        let mut room = self.room.lock();
        let (ticket, seat) = room.take_seat(spike);
        self.word.somebody_waits();
        // A permit may have become free before the flag was set: nobody else would give it out.
        self.let_in(&mut room);
        while room.is_waiting(ticket) {
            if patience.is_over() {
                room.give_up(ticket);
                self.let_in(&mut room);
                return Err(Refused { waited: patience.waited() });
            }
            room = seat.wait(&self.room, room, &mut patience);
        }
        Ok(Permit { gate: self })
    }

    /// Somebody waits, and a permit became free.
    #[cold]
    fn call_the_next(&self) {
        self.let_in(&mut self.room.lock());
    }

    /// Gives the permits that are free to those who are next. Then A3 and A4 hold.
    fn let_in(&self, room: &mut MutexGuard<'_, Room>) {
        while !room.is_empty() {
            if !self.word.take_for_the_next() {
                return;
            }
            room.call_the_next();
        }
        self.word.nobody_waits();
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.room.lock().len()
    }

    /// Whether all permits are free and nobody waits.
    #[cfg(test)]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.word.is(self.permits as u64) && self.waiting() == 0
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.gate.word.put_back() {
            self.gate.call_the_next();
        }
    }
}

/// The permits that are free and, in the top bit, whether somebody waits. Changed by read-modify-writes
/// only, so that a permit carries what all who left before did (their Release reaches every later Acquire).
#[repr(align(64))]
struct Word(AtomicU64);

impl Word {
    const WAITING: u64 = 1 << 63;

    fn new(permits: u64) -> Self {
        Self(AtomicU64::new(permits))
    }

    /// Takes a permit, if one is free and nobody waits. Lock-free.
    #[inline]
    fn try_take(&self) -> bool {
        let mut word = self.0.load(Relaxed);
        while word != 0 && word & Self::WAITING == 0 {
            // Acquire, with `put_back`: what was done inside by those who left.
            match self.0.compare_exchange_weak(word, word - 1, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(other) => word = other,
            }
        }
        false
    }

    /// Puts a permit back. Whether somebody waits for it. Wait-free.
    #[inline]
    fn put_back(&self) -> bool {
        // Release, with those who take it. One addition, not a look and an addition: a waiter who sets the
        // flag between the two would be left waiting.
        self.0.fetch_add(1, Release) & Self::WAITING != 0
    }

    /// Under the lock, with somebody in the room. Relaxed: who sees the flag takes the lock, and is after
    /// the one who set it there.
    fn somebody_waits(&self) {
        self.0.fetch_or(Self::WAITING, Relaxed);
    }

    /// Under the lock, with nobody in the room.
    fn nobody_waits(&self) {
        self.0.fetch_and(!Self::WAITING, Relaxed);
    }

    /// Under the lock, with somebody in the room: takes a permit for the one who is next, if one is free. A
    /// permit that is put back right after the look is not lost: who put it back saw the flag.
    fn take_for_the_next(&self) -> bool {
        if self.0.load(Relaxed) == Self::WAITING {
            return false;
        }
        // The flag is set, so nobody takes permits but the holder of the lock (A2): there still is one.
        // Acquire as in `try_take`; the lock takes it on to the one who is next.
        self.0.fetch_sub(1, Acquire);
        true
    }

    #[cfg(test)]
    fn is(&self, word: u64) -> bool {
        self.0.load(Relaxed) == word
    }
}
