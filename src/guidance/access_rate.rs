//! How often something is accessed, as far as lately tells.

use core::f64::consts::LN_2;

/// Seconds after which an access counts for half: long enough for a rate of one in a few seconds,
/// short enough to notice within a minute that it has ended.
pub const HALF_LIFE_S: f64 = 10.0;

/// An estimate of accesses a second: a count in which each access fades by half every 10 s.
///
/// For a steady rate `r` the count settles at `r * 10 s / ln 2`. Plain data: who shares one between
/// threads guards it. Times are nanoseconds of any one clock; one that goes back counts as standing still.
///
/// ```
/// use engram::guidance::AccessRate;
/// let mut rate = AccessRate::default();
/// for access in 0..10_000 {
///     rate.record(access * 10_000_000); // every 10 ms
/// }
/// let now = 10_000 * 10_000_000;
/// assert!((rate.per_s(now) - 100.0).abs() < 1.0);
/// assert!(rate.per_s(now + 10_000_000_000) < 51.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AccessRate {
    count: f64,
    as_of_ns: u64,
}

impl AccessRate {
    /// Counts an access at `now_ns`.
    pub fn record(&mut self, now_ns: u64) {
        self.record_many(1, now_ns);
    }

    /// Counts `accesses` accesses at `now_ns`, of which it is not known when they were.
    pub fn record_many(&mut self, accesses: u32, now_ns: u64) {
        self.count = self.count_at(now_ns) + f64::from(accesses);
        self.as_of_ns = self.as_of_ns.max(now_ns);
    }

    /// Accesses a second as of `now_ns`; never negative.
    pub fn per_s(&self, now_ns: u64) -> f64 {
        self.count_at(now_ns) * LN_2 / HALF_LIFE_S
    }

    fn count_at(&self, now_ns: u64) -> f64 {
        let passed_s = now_ns.saturating_sub(self.as_of_ns) as f64 / 1e9;
        self.count * libm::exp2(-passed_s / HALF_LIFE_S)
    }
}

#[cfg(test)]
mod tests {
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
}
