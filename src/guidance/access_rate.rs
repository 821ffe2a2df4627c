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
    /// The rate of something that exists from `now_ns` on and was not accessed yet: what [`record_many`](Self::record_many) is told
    /// first is spread over the time since then.
    #[must_use]
    pub fn since(now_ns: u64) -> Self {
        Self { count: 0.0, as_of_ns: now_ns }
    }

    /// Counts an access at `now_ns`.
    pub fn record(&mut self, now_ns: u64) {
        self.add(1.0, now_ns);
    }

    /// Counts `accesses` accesses, of which is known that they came between the last that were counted, or the time that
    /// [`since`](Self::since) was told, and `now_ns`: as if they had come at equal distances.
    pub fn record_many(&mut self, accesses: u32, now_ns: u64) {
        let half_lives = self.passed_s(now_ns) / HALF_LIFE_S;
        // What is left of accesses that came evenly, on average; all of them, if no time has passed.
        let left = if half_lives > 0.0 { -libm::expm1(-half_lives * LN_2) / (half_lives * LN_2) } else { 1.0 };
        self.add(f64::from(accesses) * left, now_ns);
    }

    fn add(&mut self, count: f64, now_ns: u64) {
        self.count = self.count_at(now_ns) + count;
        self.as_of_ns = self.as_of_ns.max(now_ns);
    }

    /// Accesses a second as of `now_ns`; never negative.
    pub fn per_s(&self, now_ns: u64) -> f64 {
        self.count_at(now_ns) * LN_2 / HALF_LIFE_S
    }

    fn count_at(&self, now_ns: u64) -> f64 {
        self.count * libm::exp2(-self.passed_s(now_ns) / HALF_LIFE_S)
    }

    /// Seconds since something was counted.
    fn passed_s(&self, now_ns: u64) -> f64 {
        now_ns.saturating_sub(self.as_of_ns) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests;
