//! From a stimulus to its first spike: how strong it is, and how long a neuron takes to answer it.
//!
//! ```text
//! stimulus --> features --> information, tone --> salience --.
//! expected accesses ----------------> familiarity -----------+--> strength in the band --> first spike
//! priority --------------------------------------> band -----'    0.1 to 1                 66 to 2.1 ms
//! ```
//!
//! # The first spike
//!
//! A leaky integrate-and-fire neuron under a constant input `x` reaches its threshold `theta` after
//! `t = tau ln(x / (x - theta))` (Gerstner and Kistler 2002, "Spiking Neuron Models", section 4.1); at or below the
//! threshold it never does. Here `tau` is 20 ms and `theta` 0.1. Others:
//! - Nengo's `LIFRate`, without refractory time, is one over the same time; `tests/crosscheck` compares.
//! - snnTorch's `latency_code` has the same formula, but gives an input at or below the threshold the
//!   latest spike of all. Here it is no spike.
//!
//! # The strength
//!
//! The priority sets the band, `(low, high]`; the place in it says how much there is to spike for:
//!
//! ```text
//! strength    = high - (high - low) * (1 - 1/64) * (1 - salience) * (1 - familiarity)
//! salience    = 7/8 information + 1/8 (1 + tone / sqrt(1 + tone^2)) / 2
//! familiarity = a / (a + h),   a = log2(1 + accesses per second),   h = log2(1 + 1000)
//! ```
//!
//! - Salience and familiarity are independent causes: each raises the strength, neither lowers it (a noisy or;
//!   Pearl 1988, "Probabilistic Reasoning in Intelligent Systems", section 4.3.2). Unknown accesses, 0, leave
//!   the place to the stimulus alone.
//! - *Information* ([`Features::information`]): more to a stimulus excites more neurons, and the stronger
//!   stimulus is answered sooner: that is what a first-spike code is (Thorpe, Delorme and Van Rullen 2001,
//!   "Spike-based strategies for rapid processing").
//! - *Tone* ([`Features::tone`]) gives stimuli of equal information times of their own, and nearly equal
//!   stimuli nearly equal times.
//! - *Familiarity* saturates as a sensory neuron's response does (Naka and Rushton 1966, "S-potentials
//!   from colour units in the retina of fish"), in the logarithm of the rate (Fechner's law): each further
//!   tenfold counts for a little less, and 1,000 accesses a second for half.
//! - The 1/64 keeps the weakest request of a band above the band's lower end. So bands lie at least 15 us
//!   apart, and the weakest request of all, at 66 ms, within the usual range of first spikes.
//!
//! How strongly a stimulus excites the cortical columns is no part of it. That changes as they learn,
//! and a spike must not: one stimulus, priority and rate have one first spike, today, after a restart,
//! and when an earlier decision is remembered. Among the columns their own spikes decide.

use core::f64::consts::LN_2;

use super::error::AllocationError;
use super::features::Features;
use super::request::{AllocationPriority, Stimulus, check_accesses};
use crate::spike::SpikeTime;

/// The membrane's time constant in milliseconds.
pub const TAU_MS: f64 = 20.0;
/// The strength at and below which there is no spike.
pub const THETA: f64 = 0.1;

/// How much of the salience is tone; the rest is information.
const TONE_PART: f64 = 1.0 / 8.0;
/// How far the weakest place of a band lies above its lower end, as a part of the band.
const FLOOR: f64 = 1.0 / 64.0;
/// Accesses a second that count for half, unless told otherwise.
const HALF_ACCESSES_PER_S: f64 = 1000.0;

/// When a neuron that is driven by `strength` first spikes: `tau ln(x / (x - theta))`, rounded to the nearest
/// nanosecond; [`SpikeTime::NONE`] at or below the threshold, 0.1.
///
/// Of two strengths the greater never spikes later. It spikes earlier, by a nanosecond or more, if they
/// are apart by more than `5e-7 x (x - 0.1)` (4.5e-7 at 1): above 4,000,000 all spike at 0 ns. The
/// latest spike, at the number after 0.1, is at 730 ms: nothing is cut off at that end. The same bits on
/// every platform.
///
/// ```
/// use engram::{SpikeTime, guidance::first_spike};
/// # fn main() -> Result<(), engram::AllocationError> {
/// assert_eq!(first_spike(0.5)?, SpikeTime::from_nanos(4_462_871));
/// assert_eq!(first_spike(0.1)?, SpikeTime::NONE);
/// assert!(first_spike(f64::NAN).is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`AllocationError::Invalid`] if `strength` is not a number, infinite or negative.
pub fn first_spike(strength: f64) -> Result<SpikeTime, AllocationError> {
    if !strength.is_finite() || strength < 0.0 {
        return Err(AllocationError::invalid("strength", &format_args!("{strength:?}"), "finite and at least 0"));
    }
    Ok(spike_of(strength))
}

/// `strength` is finite and at least 0.
fn spike_of(strength: f64) -> SpikeTime {
    // The subtraction first, so that it is exact near the threshold, where it decides.
    let above = strength - THETA;
    if above <= 0.0 { SpikeTime::NONE } else { to_nearest_nano(TAU_MS * libm::log(strength / above)) }
}

/// `ms` is at least 0 and below 4294.967295.
#[expect(clippy::cast_sign_loss, reason = "it has no sign")]
fn to_nearest_nano(ms: f64) -> SpikeTime {
    SpikeTime::from_nanos((ms * 1e6 + 0.5) as u32)
}

impl SpikeTime {
    /// A spike `ms` milliseconds after the stimulus, 0 to 4294.9, to the nearest nanosecond.
    ///
    /// # Errors
    /// [`AllocationError::Invalid`] if `ms` is out of that range or not a number.
    pub fn from_millis(ms: f64) -> Result<Self, AllocationError> {
        if (0.0..=4294.9).contains(&ms) {
            Ok(to_nearest_nano(ms))
        } else {
            Err(AllocationError::invalid("a spike time in milliseconds", &format_args!("{ms:?}"), "0 to 4294.9"))
        }
    }
}

impl AllocationPriority {
    /// The band of strengths, `(low, high]`.
    pub const fn band(self) -> (f64, f64) {
        match self {
            Self::Low => (0.1, 0.35),
            Self::Normal => (0.35, 0.55),
            Self::High => (0.55, 0.75),
            Self::Critical => (0.75, 1.0),
        }
    }
}

/// A stimulus as a time: what the encoder makes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TtfsEncoding {
    /// When it first spikes.
    pub first_spike: SpikeTime,
    /// How strong it is, within the band of its priority.
    pub strength: f64,
}

/// The encoder of first spikes (time to first spike, TTFS). Plain data: any number of threads may use one.
///
/// ```
/// use engram::AllocationPriority::{Critical, Normal};
/// use engram::guidance::{Stimulus, TtfsIntegrationService};
/// # fn main() -> Result<(), engram::AllocationError> {
/// let encoder = TtfsIntegrationService::new();
/// let cat = Stimulus::Content(b"a cat is a small carnivore that purrs");
/// let normal = encoder.encode(cat, Normal, 0.0)?;
/// assert!(encoder.encode(cat, Critical, 0.0)?.first_spike < normal.first_spike);
/// assert!(encoder.encode(cat, Normal, 100.0)?.first_spike < normal.first_spike);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TtfsIntegrationService {
    /// log2(1 + accesses a second that count for half).
    half: f64,
}

impl TtfsIntegrationService {
    /// An encoder for which 1,000 accesses a second count for half.
    pub fn new() -> Self {
        Self { half: log2_of_1_and(HALF_ACCESSES_PER_S) }
    }

    /// An encoder for which `accesses_per_s` (above 0, finite) count for half: best about the middle, on a
    /// logarithmic scale, of the rates that are to be told apart.
    ///
    /// # Errors
    /// [`AllocationError::Invalid`] if `accesses_per_s` is out of that range.
    pub fn with_half_at(accesses_per_s: f64) -> Result<Self, AllocationError> {
        let half = log2_of_1_and(accesses_per_s);
        if half.is_finite() && half > 0.0 {
            Ok(Self { half })
        } else {
            Err(AllocationError::invalid("accesses_per_s", &accesses_per_s, "finite and above 0"))
        }
    }

    /// The first spike of a request. Takes time that grows with the stimulus, content up to 4 KiB. No
    /// lock, no host allocation, the same bits on every platform.
    ///
    /// # Errors
    /// [`AllocationError::Invalid`] if an embedding is empty or not finite throughout, or the accesses are negative or
    /// not finite.
    pub fn encode(
        &self,
        stimulus: Stimulus<'_>,
        priority: AllocationPriority,
        expected_accesses_per_s: f32,
    ) -> Result<TtfsEncoding, AllocationError> {
        self.encode_features(&Features::of(stimulus)?, priority, expected_accesses_per_s)
    }

    /// As [`TtfsIntegrationService::encode`], with the features at hand. Bounded: two logarithms.
    ///
    /// # Errors
    /// [`AllocationError::Invalid`] if the accesses are negative or not finite.
    pub fn encode_features(
        &self,
        features: &Features,
        priority: AllocationPriority,
        expected_accesses_per_s: f32,
    ) -> Result<TtfsEncoding, AllocationError> {
        check_accesses(expected_accesses_per_s)?;
        let strength = strength(priority, salience(features), self.familiarity(expected_accesses_per_s));
        Ok(TtfsEncoding { first_spike: spike_of(strength), strength })
    }

    fn familiarity(&self, accesses_per_s: f32) -> f64 {
        let accesses = log2_of_1_and(f64::from(accesses_per_s));
        accesses / (accesses + self.half)
    }
}

impl Default for TtfsIntegrationService {
    fn default() -> Self {
        Self::new()
    }
}

fn log2_of_1_and(accesses_per_s: f64) -> f64 {
    libm::log1p(accesses_per_s) / LN_2
}

/// The place in the band; salience and familiarity are 0 to 1.
fn strength(priority: AllocationPriority, salience: f64, familiarity: f64) -> f64 {
    let (low, high) = priority.band();
    high - (high - low) * (1.0 - FLOOR) * (1.0 - salience) * (1.0 - familiarity)
}

fn salience(features: &Features) -> f64 {
    let tone = features.tone();
    let squashed = 0.5 + tone / (2.0 * (1.0 + tone * tone).sqrt());
    features.information() + TONE_PART * (squashed - features.information())
}

#[cfg(test)]
mod tests;
