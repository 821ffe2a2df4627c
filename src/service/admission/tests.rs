use super::room::PASSED;
use super::*;
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, Mutex as StdMutex};
use std::thread;
use std::time::Instant;

const FOR_EVER: Duration = Duration::MAX;

fn millis(ms: u32) -> SpikeTime {
    SpikeTime::from_nanos(ms * 1_000_000)
}

fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never happened");
        thread::sleep(Duration::from_micros(50));
    }
}

/// The places, in `spikes`, of callers who came one after the other while the only permit was taken, in the
/// order in which they went in.
fn order_of_going_in(spikes: &[SpikeTime]) -> Vec<usize> {
    let gate = Gate::new(1);
    let order = StdMutex::new(Vec::new());
    thread::scope(|scope| {
        let permit = gate.enter(SpikeTime::NONE, Duration::ZERO).unwrap();
        for (place, &spike) in spikes.iter().enumerate() {
            let (gate, order) = (&gate, &order);
            scope.spawn(move || {
                let _permit = gate.enter(spike, FOR_EVER).unwrap();
                order.lock().unwrap().push(place);
            });
            until(|| gate.waiting() == place + 1);
        }
        drop(permit);
    });
    assert!(gate.is_at_rest());
    order.into_inner().unwrap()
}

#[test]
fn callers_who_wait_go_in_by_spike_and_equal_ones_by_arrival() {
    let spikes = [millis(9), millis(4), SpikeTime::NONE, millis(4), millis(2), SpikeTime::NONE, millis(9)];
    assert_eq!(order_of_going_in(&spikes), [4, 1, 3, 0, 6, 2, 5]);
}

#[test]
fn nobody_is_passed_over_by_more_than_the_stated_number_of_later_callers() {
    let mut spikes = vec![millis(50), SpikeTime::NONE];
    spikes.resize(2 + PASSED as usize + 20, millis(1));
    let mut expected: Vec<_> = (2..2 + PASSED as usize).collect();
    // Both were passed by as many; the first who came goes first.
    expected.extend([0, 1]);
    expected.extend(2 + PASSED as usize..spikes.len());
    assert_eq!(order_of_going_in(&spikes), expected);
}

#[test]
fn a_newcomer_does_not_pass_the_queue_though_a_permit_is_free() {
    let gate = Gate::new(2);
    // Somebody waits, and the permits are free: as it is for a moment when one is put back.
    let (ticket, _) = gate.room.lock().take_seat(millis(5));
    gate.word.somebody_waits();
    assert_eq!(gate.enter(millis(1), Duration::ZERO).err(), Some(Refused { waited: Duration::ZERO }), "that one waits for nothing");
    // The early one is next by order, and the second permit is for the one who waits.
    let permit = gate.enter(millis(1), FOR_EVER).unwrap();
    assert!(!gate.room.lock().is_waiting(ticket));
    drop(permit);
    let permit = gate.enter(millis(1), Duration::ZERO).unwrap();
    assert!(gate.enter(millis(1), Duration::ZERO).is_err(), "the one who waited is inside");
    drop(permit);

    let gate = Gate::new(1);
    let (ticket, _) = gate.room.lock().take_seat(millis(5));
    gate.word.somebody_waits();
    assert!(gate.enter(millis(6), Duration::from_millis(1)).is_err(), "a later one leaves the permit to the one who waits");
    assert!(!gate.room.lock().is_waiting(ticket));
}

#[test]
fn without_patience_it_is_refused_at_once_unless_a_permit_is_free() {
    let gate = Gate::new(1);
    let permit = gate.enter(SpikeTime::NONE, Duration::ZERO).unwrap();
    assert_eq!(gate.enter(millis(1), Duration::ZERO).err(), Some(Refused { waited: Duration::ZERO }));
    drop(permit);
    drop(gate.enter(SpikeTime::NONE, Duration::ZERO).unwrap());
    assert!(gate.is_at_rest());
}

#[test]
fn past_the_timeout_it_is_refused_and_nothing_is_lost() {
    let gate = Gate::new(1);
    let permit = gate.enter(SpikeTime::NONE, Duration::ZERO).unwrap();
    let start = Instant::now();
    let refused = gate.enter(millis(1), Duration::from_millis(20)).err().unwrap();
    assert!(refused.waited >= Duration::from_millis(20) && refused.waited <= start.elapsed());
    assert!(gate.word.is(0), "nobody waits any more");
    drop(permit);
    assert!(gate.is_at_rest());
    drop(gate.enter(SpikeTime::NONE, Duration::ZERO).unwrap());
}

#[test]
fn who_gives_up_leaves_the_others_in_their_order() {
    let gate = Gate::new(1);
    thread::scope(|scope| {
        let permit = gate.enter(SpikeTime::NONE, Duration::ZERO).unwrap();
        let waiter = scope.spawn(|| drop(gate.enter(millis(9), FOR_EVER).unwrap()));
        until(|| gate.waiting() == 1);
        assert!(gate.enter(millis(1), Duration::from_millis(5)).is_err());
        assert_eq!(gate.waiting(), 1);
        drop(permit);
        waiter.join().unwrap();
    });
    assert!(gate.is_at_rest());
}

#[test]
fn a_panic_inside_puts_the_permit_back() {
    let gate = Gate::new(1);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _permit = gate.enter(SpikeTime::NONE, Duration::ZERO).unwrap();
        panic!("inside");
    }));
    assert!(result.is_err());
    assert!(gate.is_at_rest());
    drop(gate.enter(SpikeTime::NONE, Duration::ZERO).unwrap());
}

#[test]
fn any_number_of_permits_works() {
    assert_eq!(Gate::new(0).permits(), 1);
    let gate = Gate::new(usize::MAX);
    let permits: Vec<_> = (0..100).map(|_| gate.enter(SpikeTime::NONE, Duration::ZERO).unwrap()).collect();
    drop(permits);
    assert!(gate.is_at_rest());
}

#[test]
fn many_threads_are_never_more_inside_than_permits() {
    const THREADS: u32 = 16;
    const ENTERS: u32 = 2_000;
    for permits in [1, 3] {
        let gate = Gate::new(permits);
        let inside = AtomicUsize::new(0);
        let start = Barrier::new(THREADS as usize);
        let work = |thread: u32| {
            start.wait();
            let mut entered = 0;
            for round in 0..ENTERS {
                let timeout = match (round + thread) % 4 {
                    0 => Duration::ZERO,
                    1 => Duration::from_micros(20),
                    _ => FOR_EVER,
                };
                match gate.enter(millis((round * 7 + thread * 13) % 100), timeout) {
                    Ok(_permit) => {
                        assert!(inside.fetch_add(1, SeqCst) < permits, "too many inside");
                        if round % 16 == 0 {
                            thread::yield_now();
                        }
                        inside.fetch_sub(1, SeqCst);
                        entered += 1;
                    }
                    Err(_) => assert!(timeout != FOR_EVER),
                }
            }
            entered
        };
        let entered: u32 = thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert!(entered >= THREADS * ENTERS / 2, "all who wait for ever go in");
        assert!(gate.is_at_rest());
    }
}

#[derive(Clone, Debug)]
enum Event {
    Comes(u32),
    IsCalled,
    GivesUp(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        10 => (0..4_u32).prop_map(Event::Comes),
        9 => Just(Event::IsCalled),
        1 => any::<usize>().prop_map(Event::GivesUp),
    ];
    proptest::collection::vec(event, 0..600)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// Against the rule in its plainest form: all who ever came and went in are remembered.
    #[test]
    fn the_room_calls_by_spike_and_lets_nobody_be_passed_over_too_often(events in events()) {
        let mut room = Room::new();
        let mut waiting: Vec<(u32, u64)> = Vec::new();
        let mut called: Vec<u64> = Vec::new();
        // Who went in while this one waited, and came later.
        let passed = |called: &[u64], ticket: u64| called.iter().filter(|&&other| other > ticket).count();
        for event in events {
            match event {
                Event::Comes(spike) => {
                    let (ticket, _) = room.take_seat(SpikeTime::from_nanos(spike));
                    waiting.push((spike, ticket));
                }
                Event::IsCalled => {
                    let overdue = waiting.iter().copied().filter(|waiter| passed(&called, waiter.1) >= PASSED as usize).min_by_key(|waiter| waiter.1);
                    let next = overdue.or(waiting.iter().copied().min());
                    let ticket = room.call_the_next();
                    prop_assert_eq!(ticket, next.map(|waiter| waiter.1));
                    waiting.retain(|waiter| Some(waiter.1) != ticket);
                    called.extend(ticket);
                }
                Event::GivesUp(pick) if !waiting.is_empty() => {
                    let (_, ticket) = waiting.remove(pick % waiting.len());
                    room.give_up(ticket);
                    prop_assert!(!room.is_waiting(ticket));
                }
                Event::GivesUp(_) => {}
            }
            for waiter in &waiting {
                prop_assert!(room.is_waiting(waiter.1) && passed(&called, waiter.1) <= PASSED as usize);
            }
            prop_assert_eq!(room.len(), waiting.len());
        }
    }
}
