//! A pool's account: the quota at every instant, the reserve, the peak, the watermark, the snapshot.

use std::sync::Arc;

use super::fixture::check;
use crate::guidance::ConceptType;
use crate::service::pool::{Limits, Pool};
use crate::spike::SpikeTime;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use loom::thread;

const EARLY: SpikeTime = SpikeTime::from_nanos(1_000_000);
const LATE: SpikeTime = SpikeTime::NONE;

fn pool(initial_bytes: u64, quota_bytes: u64, reserve_bytes: u64) -> Pool {
    let limits = Limits { initial_bytes, quota_bytes, reserve_bytes, reserve_spike: EARLY };
    Pool::new(ConceptType::EVENT, limits, &[])
}

/// A quota that is exceeded, be it for an instant; a charge that is refused because of one that is itself refused.
/// Seen with: `Pool::charge` adding, and taking back what was too much; storing instead of exchanging; looking for room
/// before its loop only.
#[test]
fn of_two_at_the_edge_of_the_quota_one_is_refused() {
    check(3, || {
        let pool = Arc::new(pool(0, 10, 0));
        let chargers = [6, 5].map(|bytes| {
            let pool = pool.clone();
            thread::spawn(move || pool.charge(bytes, LATE))
        });
        for _ in 0..2 {
            assert!(pool.used_bytes() <= 10, "above the quota");
        }
        let refused: Vec<_> = chargers.into_iter().filter_map(|charger| charger.join().unwrap().err()).collect();
        assert_eq!(refused.len(), 1, "one fits, and only one");
        assert_eq!(refused[0].used + refused[0].asked, 11, "the refusal names what was used by the other");
    });
}

/// A refund that is lost. Seen with: `Pool::refund` loading and storing; `Pool::charge` storing.
#[test]
fn no_refund_is_lost() {
    check(3, || {
        let pool = Arc::new(pool(0, 10, 0));
        pool.charge(6, LATE).unwrap();
        let freer = {
            let pool = pool.clone();
            thread::spawn(move || pool.refund(6))
        };
        // Fits beside the six, so that there are two to lose.
        pool.charge(1, LATE).unwrap();
        let charged = pool.charge(9, LATE).is_ok();
        freer.join().unwrap();
        assert_eq!(pool.used_bytes(), if charged { 10 } else { 1 });
    });
}

/// Late requests that take the reserve; an early one that is refused for theirs.
/// Seen with: `Pool::charge` keeping nothing; adding and taking back; storing instead of exchanging; looking for room before
/// its loop only.
#[test]
fn late_requests_leave_the_reserve_to_early_ones() {
    check(3, || {
        let pool = Arc::new(pool(0, 10, 4));
        let late = [4, 4].map(|bytes| {
            let pool = pool.clone();
            thread::spawn(move || pool.charge(bytes, LATE).is_ok())
        });
        assert!(pool.charge(4, EARLY).is_ok(), "the reserve is taken");
        let late = late.map(|late| u64::from(late.join().unwrap()));
        assert!(late[0] + late[1] <= 1, "both took 8 of 6");
        assert_eq!(pool.used_bytes(), 4 + 4 * (late[0] + late[1]));
    });
}

/// A peak that is lower than what was used.
/// Seen with: `raise` storing instead of exchanging; `Pool::grow` storing instead of exchanging.
#[test]
fn the_peak_is_the_most_that_was_used() {
    check(3, || {
        let pool = Arc::new(pool(0, 100, 0));
        let charger = {
            let pool = pool.clone();
            thread::spawn(move || pool.charge(6, LATE).unwrap())
        };
        pool.charge(5, LATE).unwrap();
        charger.join().unwrap();
        pool.refund(4);
        let statistics = pool.statistics(pool.deallocations());
        assert_eq!((statistics.used_bytes, statistics.peak_bytes), (7, 11));
        assert!(pool.reserved_bytes() >= 11);
    });
}

/// A watermark that is lowered below what a charge has just taken.
/// Seen with: `Pool::shrink` not looking at `used` again; looking with a load; writing it relaxed. `Pool::charge` exchanging
/// relaxed.
#[test]
fn the_watermark_is_not_lowered_below_what_is_used() {
    check(3, || {
        let pool = Arc::new(pool(1, 100, 0));
        pool.charge(16, LATE).unwrap();
        pool.refund(15);
        let shrinker = {
            let pool = pool.clone();
            thread::spawn(move || pool.shrink())
        };
        pool.charge(11, LATE).unwrap();
        let fell = shrinker.join().unwrap();
        assert_eq!(pool.used_bytes(), 12);
        assert!(pool.reserved_bytes() >= 12, "used is above the watermark");
        assert!(fell <= 8);
    });
}

/// A snapshot whose parts do not go together.
/// Seen with: `Pool::count_deallocation` relaxed. `Pool::statistics` reading the deallocations relaxed; reading the allocations
/// first; taking the peak as it finds it; not writing the peak that it reports.
#[test]
fn a_snapshot_is_consistent() {
    check(3, || {
        let shared = Arc::new((pool(0, 10, 0), AtomicU64::new(0)));
        let giver = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (pool, concept) = &*shared;
                pool.charge(6, LATE).unwrap();
                pool.count_allocation();
                concept.store(1, Release);
            })
        };
        let freer = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (pool, concept) = &*shared;
                if concept.load(Acquire) == 1 {
                    pool.refund(6);
                    pool.count_deallocation();
                }
            })
        };
        let pool = &shared.0;
        let mut peak = 0;
        for _ in 0..2 {
            let statistics = pool.statistics(pool.deallocations());
            assert!(statistics.deallocations <= statistics.allocations, "freed, but never allocated");
            assert!(statistics.used_bytes <= statistics.peak_bytes, "more is used than ever was");
            assert!(statistics.used_bytes <= 10);
            assert!(peak <= statistics.peak_bytes, "a peak that falls");
            peak = statistics.peak_bytes;
        }
        giver.join().unwrap();
        freer.join().unwrap();
        assert_eq!(pool.statistics(pool.deallocations()).peak_bytes, 6);
    });
}
