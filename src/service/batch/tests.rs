use super::*;
use crate::guidance::{AllocationPriority, ConceptType};
use crate::service::AllocationServiceConfig;

fn service() -> MemoryAllocationService {
    let config = AllocationServiceConfig {
        capacity_bytes: 8 << 20,
        columns: 2,
        max_concurrent_allocations: 1,
        admission_timeout: Duration::ZERO,
        ..AllocationServiceConfig::default()
    };
    MemoryAllocationService::open(config).unwrap()
}

/// The later ones first.
fn requests() -> Vec<AllocationRequest> {
    use AllocationPriority::{Critical, High, Low, Normal};
    let request = |priority: AllocationPriority| {
        let request = AllocationRequest::new(format!("{priority:?}"), ConceptType::ENTITY, "purrs");
        AllocationRequest { priority, ..request }
    };
    [Low, Normal, High, Critical].map(request).into()
}

/// The places of what is refused, as told, and their ids.
fn refused(service: &MemoryAllocationService, requests: &[AllocationRequest]) -> Vec<usize> {
    let asked: Vec<_> = requests.iter().map(AllocationRequest::asked).collect();
    let mut places = Vec::new();
    service.batch_each_asked(&asked, |place, answer| {
        assert!(answer.is_err());
        places.push(place);
    });
    places
}

/// Seen with: refusals told as they were asked; the same of a batch that was not let in.
#[test]
fn what_a_batch_is_refused_is_told_in_spike_order() {
    let (service, requests) = (service(), requests());
    let permit = service.gate.try_enter();
    assert_eq!(refused(&service, &requests), [3, 2, 1, 0], "busy");
    drop(permit);
    for request in &requests {
        service.allocate_memory(request.clone()).unwrap();
    }
    assert_eq!(refused(&service, &requests), [3, 2, 1, 0], "they are there");
}

/// Seen with: no note of them, of either kind of batch.
#[test]
fn what_the_allocations_of_a_batch_took_is_in_the_metrics() {
    for all in [true, false] {
        let service = service();
        if all {
            service.batch_allocate_memory(requests()).unwrap();
        } else {
            service.batch_allocate_each(requests()).into_iter().for_each(|answer| drop(answer.unwrap()));
        }
        let metrics = service.get_allocation_metrics();
        assert_eq!(metrics.total_allocations, 4);
        assert!(metrics.allocation_time_max >= metrics.average_allocation_time && metrics.average_allocation_time > Duration::ZERO);
    }
}

/// Seen with: answers in the order in which they were served.
#[test]
fn a_scarce_batch_that_is_all_or_nothing_is_answered_as_it_was_asked() {
    use crate::service::PoolConfig;
    let mut pool = PoolConfig::new(ConceptType::ENTITY, 100);
    pool.alternatives = vec![ConceptType::EVENT];
    let pool_configurations = vec![pool, PoolConfig::new(ConceptType::EVENT, 10_000)];
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 2, pool_configurations, ..Default::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let answers = service.batch_allocate_memory(requests()).unwrap();
    let pools: Vec<_> = answers.iter().map(|answer| answer.memory_pool_id.as_str()).collect();
    assert_eq!(pools, ["event", "event", "event", "entity"]);
    assert!(answers.is_sorted_by(|one, next| one.ttfs_encoding.first_spike > next.ttfs_encoding.first_spike));
}

/// Where there is room it is the first as asked. Seen with: an id that two have, taken for a want of room; a batch that goes on.
#[test]
fn what_a_batch_that_is_all_or_nothing_is_refused_for_is_the_first_as_asked() {
    let (service, requests) = (service(), requests());
    let first = |requests: &[AllocationRequest]| {
        let asked: Vec<_> = requests.iter().map(AllocationRequest::asked).collect();
        let Err((place, error)) = service.batch_all_asked(&asked) else { panic!("it was served") };
        assert!(matches!(error, AllocationError::AlreadyExists { .. }), "{error}");
        place
    };
    // The second of the two spikes first.
    let both = [requests[0].clone(), AllocationRequest { concept_id: requests[0].concept_id.clone(), ..requests[3].clone() }];
    assert_eq!(first(&both), 1);
    for request in &requests {
        service.allocate_memory(request.clone()).unwrap();
    }
    assert_eq!(first(&requests), 0);
}

/// Seen with: numbers that stay.
#[test]
fn a_batch_that_is_over_is_not_under_way_while_others_are() {
    let service = service();
    let number = service.batches.begin().number;
    let other = service.batches.begin();
    assert!(!service.batches.has(number) && service.batches.has(other.number) && !service.batches.has(0));
}
