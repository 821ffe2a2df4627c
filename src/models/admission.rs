//! The gate: never more inside than permits, no waiter that is not called, no permit that is lost.
//!
//! Loom ends a model in which nobody can go on: a lost wake-up is such an end.

use core::time::Duration;
use std::sync::Arc;

use super::fixture::check;
use crate::service::admission::Gate;
use crate::spike::SpikeTime;
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
use loom::thread;

/// No clock in a model: this one never ends.
const FOR_EVER: Duration = Duration::MAX;
/// And this one ends when the lock was free once.
const A_MOMENT: Duration = Duration::from_secs(1);

fn millis(ms: u32) -> SpikeTime {
    SpikeTime::from_nanos(ms * 1_000_000)
}

/// A gate, and what the one inside counts with plain loads and stores: two inside at a time, and one that does not
/// see what was done before it, both show as a count that is wrong.
struct Guarded {
    gate: Gate,
    entered: AtomicU64,
}

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Self { gate: Gate::new(1), entered: AtomicU64::new(0) })
    }

    /// Goes in, counts itself, leaves. Whether it got in.
    fn visit(&self, spike: SpikeTime, timeout: Duration) -> bool {
        let Ok(_permit) = self.gate.enter(spike, timeout) else { return false };
        let entered = self.entered.load(Relaxed);
        self.entered.store(entered + 1, Relaxed);
        true
    }
}

/// Two inside with one permit; a waiter that sleeps for ever.
/// Seen with: `Word::try_take` storing instead of exchanging; exchanging relaxed; not minding the flag. `Word::put_back` relaxed;
/// looking before it adds. `Word::take_for_the_next` relaxed; not looking whether a permit is free. `Room::call_the_next` not
/// calling. `Gate::let_in` leaving the flag set.
#[test]
fn never_more_are_inside_than_permits() {
    check(3, || {
        let guarded = Guarded::new();
        let visitors = [7, 3].map(|ms| {
            let guarded = guarded.clone();
            thread::spawn(move || assert!(guarded.visit(millis(ms), FOR_EVER)))
        });
        assert!(guarded.visit(millis(5), FOR_EVER));
        for visitor in visitors {
            visitor.join().unwrap();
        }
        assert_eq!(guarded.entered.load(Relaxed), 3, "two were inside at a time");
        assert!(guarded.gate.is_at_rest());
    });
}

/// Three inside with two permits.
/// Seen with: `Word::try_take` storing instead of exchanging; `Word::take_for_the_next` not looking whether a permit is free.
#[test]
fn of_three_with_two_permits_one_waits() {
    check(2, || {
        let shared = Arc::new((Gate::new(2), AtomicU64::new(0)));
        let visit = |shared: &(Gate, AtomicU64)| {
            let permit = shared.0.enter(millis(5), FOR_EVER).unwrap_or_else(|_| panic!("for ever"));
            assert!(shared.1.fetch_add(1, Relaxed) < 2, "three are inside");
            shared.1.fetch_sub(1, Relaxed);
            drop(permit);
        };
        let visitors = [(); 2].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || visit(&shared))
        });
        visit(&shared);
        for visitor in visitors {
            visitor.join().unwrap();
        }
        assert!(shared.0.is_at_rest());
    });
}

/// A leaver that does not see the one who begins to wait, who does not see the permit.
/// Seen with: `Word::put_back` looking before it adds. `Gate::wait` not looking for a permit after setting the flag; looking
/// before. `Room::call_the_next` not calling.
#[test]
fn who_begins_to_wait_while_another_leaves_goes_in() {
    check(5, || {
        let guarded = Guarded::new();
        let permit = guarded.gate.enter(millis(5), Duration::ZERO).unwrap_or_else(|_| panic!("nobody is inside"));
        let waiter = {
            let guarded = guarded.clone();
            thread::spawn(move || assert!(guarded.visit(millis(7), FOR_EVER)))
        };
        guarded.entered.store(1, Relaxed);
        drop(permit);
        waiter.join().unwrap();
        assert_eq!(guarded.entered.load(Relaxed), 2);
        assert!(guarded.gate.is_at_rest());
    });
}

/// A permit that is given to a waiter which is just giving up, while another one waits for it.
/// Seen with: `Gate::wait` giving up without asking whether it was called; giving up and staying in the room.
#[test]
fn who_gives_up_loses_no_permit() {
    check(3, || {
        let guarded = Guarded::new();
        let permit = guarded.gate.enter(millis(5), Duration::ZERO).unwrap_or_else(|_| panic!("nobody is inside"));
        let impatient = {
            let guarded = guarded.clone();
            thread::spawn(move || guarded.visit(millis(3), A_MOMENT))
        };
        let patient = {
            let guarded = guarded.clone();
            thread::spawn(move || assert!(guarded.visit(millis(7), FOR_EVER)))
        };
        drop(permit);
        let both = impatient.join().unwrap();
        patient.join().unwrap();
        assert_eq!(guarded.entered.load(Relaxed), 1 + u64::from(both));
        assert!(guarded.gate.is_at_rest(), "a permit is gone, or somebody waits still");
    });
}
