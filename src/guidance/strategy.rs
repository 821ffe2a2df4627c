//! How a request is served: four strategies, the first that matches, each with its effect on placement.
//!
//! ```text
//!                     when                       content   load     zones
//!                                                weight    weight   earlier
//! HighComplexity      content dense and long     0.2       1        0
//! HighPerformance     read often                 0.05      1        1
//! ResourceOptimized   large content              0.05      2        0
//! Balanced            all others                 0.1       1        0
//! ```
//!
//! - **Content weight**: what likeness counts for beside known edges when a column is chosen. In placing
//!   WordNet by its edges, content was worth 0.05 to 0.2 of the vote. Rich content compares well and gets
//!   most; what is read often, and what is large, should lie where it is reached from.
//! - **Load weight**: what a column's load counts for against it. Large content fills columns up: it goes where
//!   there is room.
//! - **Zones earlier**: what is read often lies with what spikes an octave sooner, so that few pages hold
//!   all that is hot. The first spike itself stays as it is; only the place changes.

use core::fmt;

use crate::size_class::SMALL_MAX;
use crate::spike::SpikeTime;

/// Dense content has at least this information. Of texts of three WordNet glosses, 285 bytes, 99 in 100
/// have it; short records and what repeats itself have not.
pub const DENSE_INFORMATION: f64 = 0.7;
/// Long content has at least as many bytes as a feature vector has components, 256: it fills the vector,
/// and what its likeness to others says is more than chance.
pub const LONG_BYTES: usize = super::features::DIMENSIONS;
/// Read often means at least once in each time constant of the membrane, 20 ms: 50 a second. What one
/// access excites has not faded when the next one comes.
pub const FREQUENT_PER_S: f64 = 1000.0 / super::encoder::TAU_MS;
/// What was read often stays so down to half of that: a rate near the threshold does not change the
/// strategy back and forth.
pub const STILL_FREQUENT_PER_S: f64 = FREQUENT_PER_S / 2.0;
/// Large content, or as much as is asked for, is above 4 KiB, a page: its slot lies in a run of spans for its size, outside the zones.
/// (So does that of some smaller content, as id, type and a head lie before it: what is remembered of a request does not depend on
/// its id.)
pub const LARGE_BYTES: usize = SMALL_MAX + 1;

/// How a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AllocationStrategyType {
    /// Rich content: likeness counts more.
    HighComplexity,
    /// Read often: an earlier zone, near its neighbours.
    HighPerformance,
    /// Large content: where there is room.
    ResourceOptimized,
    /// None of these.
    Balanced,
}

impl AllocationStrategyType {
    /// In the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::HighComplexity, Self::HighPerformance, Self::ResourceOptimized, Self::Balanced];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HighComplexity => "HighComplexity",
            Self::HighPerformance => "HighPerformance",
            Self::ResourceOptimized => "ResourceOptimized",
            Self::Balanced => "Balanced",
        }
    }

    /// What it means for the place of a concept.
    pub const fn placement(self) -> Placement {
        let usual = Placement { content_weight: 0.1, load_weight: 1.0, zones_earlier: 0 };
        match self {
            Self::HighComplexity => Placement { content_weight: 0.2, ..usual },
            Self::HighPerformance => Placement { content_weight: 0.05, zones_earlier: 1, ..usual },
            Self::ResourceOptimized => Placement { content_weight: 0.05, load_weight: 2.0, ..usual },
            Self::Balanced => usual,
        }
    }
}

impl fmt::Display for AllocationStrategyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a strategy changes about the place of a concept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Weight of likeness in the choice of a column, 0 to 1; known edges have the rest.
    pub content_weight: f64,
    /// What a column's load counts for against it; 1 is usual, 0 would be not at all.
    pub load_weight: f64,
    /// Zones before that of the spike time.
    pub zones_earlier: u8,
}

impl Placement {
    /// The spike time by which the arena is to place a concept that spikes at `spike`: an octave earlier
    /// for each zone. What does not spike stays so.
    pub const fn spike(&self, spike: SpikeTime) -> SpikeTime {
        match spike.as_nanos() {
            Some(nanos) => SpikeTime::from_nanos(match nanos.checked_shr(self.zones_earlier as u32) {
                Some(earlier) => earlier,
                None => 0,
            }),
            None => SpikeTime::NONE,
        }
    }
}

/// What a strategy is chosen by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// How much there is to the content, 0 to 1: [`Features::information`](super::Features::information).
    pub information: f64,
    /// Bytes of the content.
    pub content_bytes: usize,
    /// Bytes that the slot must hold of content: those that there are, or that are asked for.
    pub slot_bytes: usize,
    /// Accesses a second that the caller expects; 0 if unknown.
    pub expected_per_s: f64,
    /// Accesses a second that were observed lately ([`AccessRate`](super::AccessRate)); 0 if none.
    pub observed_per_s: f64,
}

/// The strategy for a request, and what it means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strategy {
    /// Which one.
    pub strategy_type: AllocationStrategyType,
    /// Its effect.
    pub placement: Placement,
}

impl Strategy {
    /// The first strategy that matches. `before` is the one that the concept had so far, if any:
    /// [`HighPerformance`](AllocationStrategyType::HighPerformance) is left at a lower rate than it is
    /// entered at. A few comparisons.
    ///
    /// ```
    /// use engram::guidance::{AllocationStrategyType::{Balanced, HighPerformance}, Evidence, Strategy};
    /// let read = |observed_per_s| Evidence { observed_per_s, ..Evidence::default() };
    /// assert_eq!(Strategy::of(&read(40.0), None).strategy_type, Balanced);
    /// assert_eq!(Strategy::of(&read(50.0), None).strategy_type, HighPerformance);
    /// assert_eq!(Strategy::of(&read(40.0), Some(HighPerformance)).strategy_type, HighPerformance);
    /// assert_eq!(Strategy::of(&read(20.0), Some(HighPerformance)).strategy_type, Balanced);
    /// ```
    pub fn of(evidence: &Evidence, before: Option<AllocationStrategyType>) -> Self {
        use AllocationStrategyType::{Balanced, HighComplexity, HighPerformance, ResourceOptimized};
        let frequent = if before == Some(HighPerformance) { STILL_FREQUENT_PER_S } else { FREQUENT_PER_S };
        let strategy_type = if evidence.information >= DENSE_INFORMATION && evidence.content_bytes >= LONG_BYTES {
            HighComplexity
        } else if evidence.expected_per_s.max(evidence.observed_per_s) >= frequent {
            HighPerformance
        } else if evidence.slot_bytes >= LARGE_BYTES {
            ResourceOptimized
        } else {
            Balanced
        };
        Self { strategy_type, placement: strategy_type.placement() }
    }
}

#[cfg(test)]
mod tests;
