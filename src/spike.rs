//! Spike times: how urgent an allocation is, and which zone of memory that means.
//!
//! A [`SpikeTime`] is the latency from stimulus to first spike in nanoseconds; smaller is more
//! urgent. Its *rank* is a coarse logarithm, one octave a step, that spreads the usual range of
//! first-spike latencies (2 to 100 ms) over the eight zones of a column:
//!
//! ```text
//! zone   0        1        2        3        4        5        6        7
//! from   0 ns     2.1 ms   4.2 ms   8.4 ms   16.8 ms  33.6 ms  67.1 ms  134 ms, and no spike
//! ```

/// Zones of a column; each has cells and spans of its own.
pub(crate) const ZONES: usize = 8;

/// Nanoseconds from stimulus to first spike; smaller is more urgent.
///
/// ```
/// use engram::SpikeTime;
/// assert!(SpikeTime::from_nanos(2_000_000) < SpikeTime::NONE);
/// assert_eq!(SpikeTime::from_nanos(3_000_000).zone(), 1);
/// assert_eq!(SpikeTime::NONE.as_nanos(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SpikeTime(u32);

impl SpikeTime {
    /// No spike: the lowest priority.
    pub const NONE: Self = Self(u32::MAX);

    /// A spike `nanos` nanoseconds after the stimulus; `u32::MAX` is [`SpikeTime::NONE`].
    pub const fn from_nanos(nanos: u32) -> Self {
        Self(nanos)
    }

    /// The time in nanoseconds; `None` for no spike.
    pub const fn as_nanos(self) -> Option<u32> {
        if self.0 == Self::NONE.0 { None } else { Some(self.0) }
    }

    /// The time in nanoseconds; `u32::MAX` for no spike.
    pub(crate) const fn raw(self) -> u32 {
        self.0
    }

    /// The zone of its rank, 0 (earliest) to 7: `floor(log2(ns)) - 20`, kept within the range.
    pub const fn zone(self) -> usize {
        zone_of_octave((self.0 | 1).ilog2() as usize)
    }
}

impl Default for SpikeTime {
    fn default() -> Self {
        Self::NONE
    }
}

/// The zone of spike times whose base-2 logarithm is `octave` (0 to 31).
pub(crate) const fn zone_of_octave(octave: usize) -> usize {
    let zone = octave.saturating_sub(20);
    if zone < ZONES { zone } else { ZONES - 1 }
}

/// The base-2 logarithm of a spike time in nanoseconds, rounded down; of 0 one of the earliest zone. `align` is the request's
/// alignment, at most 16.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub(crate) fn octave(ns: u32, align: usize) -> usize {
    debug_assert!(zone_of_octave(align) == 0);
    // `bsr` keeps its destination if the source is zero (AMD says so of its processors; all of Intel's do): the alignment then,
    // which is an octave of zone 0. And so it waits for what was in its destination. The compiler would take `rax`, which is what
    // the last allocation returned, and each would wait for the one before; an alignment is known long before.
    let octave: usize;
    // SAFETY: registers alone; the place of a bit of a 32-bit number, or what was there, at most 16.
    unsafe {
        core::arch::asm!("bsr {0:e}, {1:e}", inlateout(reg) align => octave, in(reg) ns, options(pure, nomem, nostack));
        core::hint::assert_unchecked(octave < 32);
    }
    octave
}

/// The base-2 logarithm of a spike time in nanoseconds, rounded down; 0 of 0.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline(always)]
pub(crate) fn octave(ns: u32, _align: usize) -> usize {
    (ns | 1).ilog2() as usize
}

#[cfg(test)]
mod tests;
