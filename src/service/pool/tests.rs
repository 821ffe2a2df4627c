use super::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed as Plain};
use std::thread;

const LATE: SpikeTime = SpikeTime::NONE;

fn limits(quota_bytes: u64) -> Limits {
    Limits { initial_bytes: 0, quota_bytes, reserve_bytes: 0, reserve_spike: LATE }
}

fn pool(limits: Limits) -> Pool {
    Pool::new(ConceptType::EVENT, limits, &[])
}

fn millis(ms: u32) -> SpikeTime {
    SpikeTime::from_nanos(ms * 1_000_000)
}

#[test]
fn the_quota_holds_to_the_byte() {
    let pool = pool(limits(100));
    pool.charge(99, LATE).unwrap();
    assert_eq!(pool.charge(2, LATE), Err(Full { asked: 2, used: 99, quota: 100, kept: 0 }));
    pool.charge(1, LATE).unwrap();
    assert!(pool.charge(1, LATE).is_err());
    assert!(pool.charge(u64::MAX, LATE).is_err(), "no sum runs over");
    pool.refund(50);
    assert!(pool.charge(51, LATE).is_err());
    pool.charge(50, LATE).unwrap();
    assert_eq!(pool.used_bytes(), 100);
}

#[test]
fn to_ask_for_room_changes_nothing_and_says_what_a_charge_would() {
    let pool = pool(Limits { reserve_bytes: 30, reserve_spike: millis(5), ..limits(100) });
    pool.charge(60, LATE).unwrap();
    let before = pool.statistics(pool.deallocations());
    for (bytes, spike) in [(10, LATE), (40, millis(5))] {
        assert_eq!(pool.room(bytes, spike), Ok(()));
        assert_eq!(pool.room(bytes + 1, spike), pool.charge(bytes + 1, spike));
    }
    assert_eq!(pool.room(u64::MAX, LATE), Err(Full { asked: u64::MAX, used: 60, quota: 100, kept: 30 }), "no sum runs over");
    assert_eq!((pool.statistics(pool.deallocations()), pool.reserved_bytes()), (before, 60));
}

#[test]
fn the_reserve_is_for_spikes_at_or_before_its_time() {
    let pool = pool(Limits { reserve_bytes: 30, reserve_spike: millis(5), ..limits(100) });
    assert_eq!(pool.charge(71, LATE), Err(Full { asked: 71, used: 0, quota: 100, kept: 30 }));
    pool.charge(70, LATE).unwrap();
    assert!(pool.charge(1, SpikeTime::from_nanos(5_000_001)).is_err());
    pool.charge(10, millis(5)).unwrap();
    pool.charge(20, millis(0)).unwrap();
    assert_eq!(pool.charge(1, millis(0)), Err(Full { asked: 1, used: 100, quota: 100, kept: 0 }));
    pool.refund(30);
    assert!(pool.charge(1, LATE).is_err(), "what is given back fills the reserve first");
}

#[test]
fn a_reserve_above_the_quota_is_the_whole_quota() {
    let pool = pool(Limits { reserve_bytes: 1_000, reserve_spike: millis(5), ..limits(100) });
    assert_eq!(pool.charge(1, LATE), Err(Full { asked: 1, used: 0, quota: 100, kept: 100 }));
    pool.charge(100, millis(5)).unwrap();
    assert_eq!(pool.statistics(pool.deallocations()).reserve_bytes, 100);
}

#[test]
fn a_refusal_says_what_was_asked_and_what_was_possible() {
    let full = Full { asked: 96, used: 4_000, quota: 4_096, kept: 64 };
    let message = full.error(ConceptType::EVENT).to_string();
    assert_eq!(message, "pool event may hold 4096 bytes, holds 4000 and keeps 64 for earlier spikes; 96 more were asked for");
}

#[test]
fn the_peak_stays_when_use_falls() {
    let pool = pool(limits(100));
    pool.charge(60, LATE).unwrap();
    pool.refund(40);
    pool.charge(30, LATE).unwrap();
    let statistics = pool.statistics(pool.deallocations());
    assert_eq!((statistics.used_bytes, statistics.peak_bytes), (50, 60));
}

#[test]
fn what_was_found_is_used_and_ready_and_at_its_peak_whatever_the_quota() {
    let pool = pool(Limits { initial_bytes: 2_000, ..limits(1_000) });
    assert_eq!(pool.reserved_bytes(), 1_000, "at most the quota counts");
    pool.charge_found(1_500);
    assert_eq!((pool.used_bytes(), pool.reserved_bytes()), (1_500, 1_500));
    // Before anybody asked.
    pool.refund(1_500);
    let statistics = pool.statistics(pool.deallocations());
    assert_eq!((statistics.used_bytes, statistics.peak_bytes, pool.found()), (0, 1_500, 1));
    assert_eq!((statistics.allocations, statistics.expansions), (0, 0));
}

#[test]
fn what_is_ready_grows_by_half_up_to_the_quota() {
    let pool = pool(Limits { initial_bytes: 100, ..limits(400) });
    let mut steps = Vec::new();
    for _ in 0..400 {
        pool.charge(1, LATE).unwrap();
        if steps.last() != Some(&pool.reserved_bytes()) {
            steps.push(pool.reserved_bytes());
        }
    }
    assert_eq!(steps, [100, 150, 225, 337, 400]);
    assert_eq!(pool.statistics(pool.deallocations()).expansions, 4);
}

#[test]
fn what_is_ready_grows_at_least_to_what_is_used() {
    let pool = pool(limits(u64::MAX));
    for (bytes, reserved) in [(1, 1), (1, 2), (1, 3), (1, 4), (996, 1_000), (u64::MAX - 1_000, u64::MAX)] {
        pool.charge(bytes, LATE).unwrap();
        assert_eq!(pool.reserved_bytes(), reserved);
    }
}

#[test]
fn what_is_ready_shrinks_by_half_while_less_than_a_quarter_is_used() {
    let pool = pool(Limits { initial_bytes: 100, ..limits(10_000) });
    pool.charge(1_000, LATE).unwrap();
    pool.refund(750);
    assert_eq!(pool.shrink(), 0, "a quarter is used");
    pool.refund(1);
    assert_eq!((pool.shrink(), pool.reserved_bytes()), (500, 500));
    assert_eq!(pool.shrink(), 0, "half is used");
    pool.charge(251, LATE).unwrap();
    assert_eq!(pool.statistics(pool.deallocations()).expansions, 1, "twice the use fits before it grows again");
    pool.refund(500);
    assert_eq!([(); 4].map(|()| pool.shrink()), [250, 125, 25, 0]);
    assert_eq!(pool.reserved_bytes(), 100, "never below what it began with");
}

#[test]
fn the_counts_are_those_of_the_callers() {
    let pool = Pool::new(ConceptType::EVENT, limits(100), &[ConceptType::TEMPORAL, ConceptType::ENTITY]);
    for _ in 0..3 {
        pool.charge(10, LATE).unwrap();
        pool.count_allocation();
    }
    pool.refund(10);
    pool.count_deallocation();
    pool.count_alternative();
    (0..2).for_each(|_| pool.count_refusal());
    let statistics = pool.statistics(pool.deallocations());
    assert_eq!((statistics.allocations, statistics.deallocations, statistics.alternatives_served), (3, 1, 1));
    assert_eq!(statistics.refusals, 2);
    assert_eq!((statistics.pool_id.as_str(), statistics.concept_type), ("event", pool.concept_type()));
    assert_eq!(pool.alternatives(), [ConceptType::TEMPORAL, ConceptType::ENTITY]);
}

#[test]
fn threads_at_the_edge_of_the_quota_never_see_it_exceeded() {
    const QUOTA: u64 = 300;
    const KEPT: u64 = 100;
    let pool = pool(Limits { initial_bytes: 64, reserve_bytes: KEPT, reserve_spike: millis(5), ..limits(QUOTA) });
    let done = AtomicBool::new(false);
    let watch = || {
        let mut peak = 0;
        while !done.load(Plain) {
            assert!(pool.used_bytes() <= QUOTA);
            let statistics = pool.statistics(pool.deallocations());
            assert!(statistics.used_bytes <= QUOTA && statistics.used_bytes <= statistics.peak_bytes);
            assert!(statistics.peak_bytes >= peak, "a peak that falls");
            assert!(statistics.deallocations <= statistics.allocations);
            peak = statistics.peak_bytes;
            pool.shrink();
        }
        peak
    };
    let work = |seed: u64| {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
        let mut held = Vec::new();
        let (mut charged, mut refused) = (0, 0);
        for _ in 0..30_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let bytes = random % 97 + 1;
            let spike = if random & 1 << 40 == 0 { LATE } else { millis(1) };
            match pool.charge(bytes, spike) {
                Ok(()) => {
                    pool.count_allocation();
                    held.push(bytes);
                    charged += 1;
                }
                Err(full) => {
                    pool.count_refusal();
                    assert!(full.used <= QUOTA && full.used + bytes > QUOTA - full.kept, "refused though there was room");
                    assert_eq!(full.kept, if spike == LATE { KEPT } else { 0 });
                    refused += 1;
                }
            }
            if held.len() > 7 || (random >> 41).is_multiple_of(8) {
                for bytes in held.drain(..) {
                    pool.refund(bytes);
                    pool.count_deallocation();
                }
            }
        }
        held.drain(..).for_each(|bytes| {
            pool.refund(bytes);
            pool.count_deallocation();
        });
        (charged, refused)
    };
    thread::scope(|scope| {
        let watcher = scope.spawn(watch);
        let workers: Vec<_> = (0..8).map(|seed| scope.spawn(move || work(seed))).collect();
        let results: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Plain);
        let peak = watcher.join().unwrap();
        let (charged, refused) = results.into_iter().map(Result::unwrap).fold((0, 0), |sum, result| (sum.0 + result.0, sum.1 + result.1));
        let statistics = pool.statistics(pool.deallocations());
        assert_eq!((statistics.allocations, statistics.deallocations, statistics.refusals), (charged, charged, refused));
        assert_eq!(statistics.used_bytes, 0);
        assert!(refused > 0 && statistics.peak_bytes > QUOTA - KEPT && statistics.peak_bytes >= peak);
    });
}

/// Seen with: a peak that is told and not kept; none that is as high as what is used at that moment.
#[test]
fn the_peak_that_a_snapshot_told_of_a_charge_under_way_stays() {
    let pool = pool(limits(100));
    // The charge has come as far as this.
    pool.counts.used.fetch_add(70, Relaxed);
    assert_eq!(pool.statistics(0).peak_bytes, 70);
    pool.counts.used.fetch_sub(70, Relaxed);
    assert_eq!(pool.statistics(0).peak_bytes, 70);
}
