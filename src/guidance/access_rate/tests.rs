use super::*;

const SECOND: u64 = 1_000_000_000;

#[test]
fn an_access_fades_by_half_every_half_life() {
    let mut rate = AccessRate::default();
    rate.record(SECOND);
    let fresh = rate.per_s(SECOND);
    assert!(fresh > 0.0);
    assert_eq!(rate.per_s(11 * SECOND).to_bits(), (fresh / 2.0).to_bits());
    assert_eq!(rate.per_s(21 * SECOND).to_bits(), (fresh / 4.0).to_bits());
}

#[test]
fn accesses_of_a_long_time_are_not_those_of_this_instant() {
    let per_s = |accesses: u32, seconds: u64| {
        let mut rate = AccessRate::since(SECOND);
        rate.record_many(accesses, (seconds + 1) * SECOND);
        rate.per_s((seconds + 1) * SECOND)
    };
    // As many as would be 50 a second, if they all came now.
    assert!((per_s(722, 0) - 50.0).abs() < 0.1);
    // One in an hour, and one a second: long enough for the rate to settle.
    assert!((per_s(722, 722 * 3600) - 1.0 / 3600.0).abs() < 1e-9);
    assert!((per_s(722, 722) - 1.0).abs() < 1e-9);
}

#[test]
fn a_steady_rate_is_the_same_however_often_it_is_looked_at() {
    for every in [SECOND / 100, SECOND, 60 * SECOND] {
        let mut rate = AccessRate::default();
        (1..=10_000).for_each(|look| rate.record_many((every / (SECOND / 100)) as u32, look * every));
        assert!((rate.per_s(10_000 * every) - 100.0).abs() < 0.1, "every {every} ns: {}", rate.per_s(10_000 * every));
    }
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    let mut rate = AccessRate::default();
    rate.record(20 * SECOND);
    rate.record(5 * SECOND);
    assert_eq!(rate, AccessRate { count: 2.0, as_of_ns: 20 * SECOND });
    assert_eq!(rate.per_s(0).to_bits(), rate.per_s(20 * SECOND).to_bits());
}

#[test]
fn what_was_never_accessed_has_rate_0() {
    assert!(AccessRate::default().per_s(u64::MAX).abs() < f64::MIN_POSITIVE);
}
