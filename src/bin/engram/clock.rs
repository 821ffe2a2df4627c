//! The clock for single operations.
//!
//! On x86-64 the time-stamp counter, fenced so that only the measured call lies between both readings, and calibrated
//! against [`Instant`]; elsewhere [`Instant`] itself. What reading it costs is measured and reported, never subtracted.

use std::time::{Duration, Instant};

/// How ticks become nanoseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Clock {
    /// What is read.
    pub source: &'static str,
    /// Nanoseconds in a tick.
    pub ns_per_tick: f64,
    /// What two readings with nothing between them are apart, in nanoseconds: the median.
    pub overhead_ns: f64,
}

impl Clock {
    /// Calibrates it, in a twentieth of a second.
    pub fn calibrate() -> Self {
        let (began, start) = (Instant::now(), self::start());
        while began.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let (ticks, elapsed) = (stop().saturating_sub(start), began.elapsed());
        let ns_per_tick = elapsed.as_nanos() as f64 / ticks.max(1) as f64;
        let mut empty: Vec<u64> = (0..10_000).map(|_| (self::start(), stop())).map(|(a, b)| b.saturating_sub(a)).collect();
        empty.sort_unstable();
        Self { source: SOURCE, ns_per_tick, overhead_ns: empty[empty.len() / 2] as f64 * ns_per_tick }
    }
}

#[cfg(target_arch = "x86_64")]
const SOURCE: &str = "rdtsc, fenced";
#[cfg(not(target_arch = "x86_64"))]
const SOURCE: &str = "the system's monotonic clock";

/// A reading before the call: nothing of the call starts before it.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn start() -> u64 {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: both instructions are in every x86-64.
    unsafe {
        _mm_lfence();
        let ticks = _rdtsc();
        _mm_lfence();
        ticks
    }
}

/// A reading after the call: all of the call is done before it.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn stop() -> u64 {
    start()
}

#[cfg(not(target_arch = "x86_64"))]
fn origin() -> Instant {
    static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// A reading before the call.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn start() -> u64 {
    u64::try_from(origin().elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A reading after the call.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn stop() -> u64 {
    start()
}
