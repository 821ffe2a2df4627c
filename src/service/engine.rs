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
mod tests {
    use super::*;
    use crate::guidance::AllocationStrategyType::{Balanced, HighComplexity, HighPerformance, ResourceOptimized};
    use crate::guidance::{ConceptType, ResourceRequirements};
    use crate::service::MemoryAllocationService;

    #[test]
    fn a_request_is_served_by_the_strategy_that_the_engine_determines() {
        let service = MemoryAllocationService::open(crate::AllocationServiceConfig::default()).unwrap();
        let text = "a cat is a small carnivore with soft fur and sharp claws that purrs, hunts mice at night and sleeps through the day; "
            .to_owned()
            + "dogs are larger, bark at strangers, fetch what is thrown, and follow whoever feeds them wherever they go, as wolves did \
               before; neither of them likes the other's company much, or water";
        for (content, memory_size, expected_accesses_per_s, strategy) in [
            (&*text, 0, 0.0, HighComplexity),
            ("a cat", 0, 1000.0, HighPerformance),
            ("a cat", 100_000, 0.0, ResourceOptimized),
            ("a cat", 0, 0.0, Balanced),
        ] {
            let mut request = AllocationRequest::new(format!("{strategy}"), ConceptType::ENTITY, content);
            request.resource_requirements = ResourceRequirements { memory_size, expected_accesses_per_s };
            let features = Features::of(request.stimulus()).unwrap();
            assert_eq!(AllocationEngine::new().determine_strategy(&request, &features).strategy_type, strategy);
            let result = service.allocate_memory(request).unwrap();
            assert_eq!(result.allocation_strategy, strategy);
            assert_eq!(u128::from(result.allocation_time_ms()), result.allocation_time.as_millis());
        }
    }
}
