//! The waiting room: who waits, and who is next. Pure order, no atomics; all under the room's lock.
//!
//! Next is the earliest spike, of equal spikes the first who came; but if the one who has waited longest
//! was passed over by [`PASSED`] who came later, it is next. To look at that one is enough: whoever passes a
//! waiter passes all who came before it, too, so the longest wait has the most who passed. So nobody is
//! passed over more often.
//!
//! Those who wait are threads that sleep: a few, or a few hundred. To look at each of them once for a call is
//! nothing beside waking one, and keeps the order of arrival for free.

use std::sync::Arc;

use super::seat::Seat;
use crate::spike::SpikeTime;

/// Callers who came later and go in before a waiter, at most. Small enough that a request without a spike
/// waits for about one batch of others, large enough that spike order is what decides otherwise.
pub(crate) const PASSED: u32 = 64;

/// Who waits, in order of arrival.
pub(super) struct Room {
    waiters: Vec<Waiter>,
    tickets: u64,
}

struct Waiter {
    ticket: u64,
    spike: SpikeTime,
    /// Who came later and went in.
    passed: u32,
    seat: Arc<Seat>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { waiters: Vec::new(), tickets: 0 }
    }

    /// Comes in to wait. The ticket is no other waiter's; the seat is where it is called.
    pub(super) fn take_seat(&mut self, spike: SpikeTime) -> (u64, Arc<Seat>) {
        let ticket = self.tickets;
        self.tickets += 1;
        let seat = Arc::new(Seat::new());
        self.waiters.push(Waiter { ticket, spike, passed: 0, seat: seat.clone() });
        (ticket, seat)
    }

    /// Whether the one with the ticket has not been called yet.
    pub(super) fn is_waiting(&self, ticket: u64) -> bool {
        self.place(ticket).is_some()
    }

    /// The one with the ticket waits no more.
    pub(super) fn give_up(&mut self, ticket: u64) {
        if let Some(place) = self.place(ticket) {
            self.waiters.remove(place);
        }
    }

    /// Calls the one who is next, who waits no more. Its ticket, if anybody waits.
    pub(super) fn call_the_next(&mut self) -> Option<u64> {
        let place = self.next()?;
        let called = self.waiters.remove(place);
        for earlier in &mut self.waiters[..place] {
            earlier.passed += 1;
        }
        called.seat.call();
        Some(called.ticket)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// The place of the one who is next (A5).
    fn next(&self) -> Option<usize> {
        if self.waiters.first()?.passed >= PASSED {
            return Some(0);
        }
        // Of equal ones, the first.
        (0..self.waiters.len()).min_by_key(|&place| self.waiters[place].spike)
    }

    fn place(&self, ticket: u64) -> Option<usize> {
        // Tickets only grow, and so are in order.
        self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }
}
