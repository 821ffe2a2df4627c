//! The engine: from what is known of a request to how it is served.

use crate::guidance::{AllocationRequest, Asked, Evidence, Features, Strategy};

/// Decides how a request is served: by what it holds, how often it is read, and what it takes.
///
/// Plain data; any number of threads may use one. The strategies, their thresholds and their effects are in
/// [`guidance::strategy`](crate::guidance::strategy).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AllocationEngine {}

impl AllocationEngine {
    /// An engine with the documented thresholds.
    pub const fn new() -> Self {
        Self {}
    }

    /// How a request is served whose features are known.
    pub fn determine_strategy(&self, request: &AllocationRequest, features: &Features) -> Strategy {
        self.strategy_of(&request.asked(), features)
    }

    /// The same, for a request whose content may be any bytes.
    #[expect(clippy::unused_self, reason = "the engine decides, whatever an engine may hold one day")]
    pub(super) fn strategy_of(&self, request: &Asked, features: &Features) -> Strategy {
        let evidence = Evidence {
            information: features.information(),
            content_bytes: request.content.len(),
            slot_bytes: request.bytes(),
            expected_per_s: f64::from(request.resource_requirements.expected_accesses_per_s),
            observed_per_s: 0.0,
        };
        Strategy::of(&evidence, None)
    }
}

#[cfg(test)]
mod tests;
