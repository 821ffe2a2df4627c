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
