use super::*;
use crate::service::AllocationServiceConfig;

fn given_back(service: &MemoryAllocationService) -> u64 {
    service.spare.given_back.load(Acquire)
}

/// Another thread may give it back while memory is looked for, and others discard as much at the same time.
#[test]
fn what_came_back_since_a_search_began_is_worth_another() {
    let service = MemoryAllocationService::open(AllocationServiceConfig { columns: 2, ..AllocationServiceConfig::default() }).unwrap();
    for id in ["a", "b", "c"] {
        service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "content")).unwrap();
    }
    let free = |id: &str| _ = service.deallocate_memory(id.into()).unwrap();
    let later = || Instant::now() + Duration::from_secs(60);
    let before = given_back(&service);
    assert!(!service.reclaim(before, later()), "nothing is to come");
    free("a");
    while given_back(&service) == before {
        service.epoch.pin().flush();
    }
    assert!(service.reclaim(before, Instant::now()), "nothing is left that could come, but something came");
    let pinned = service.epoch.pin();
    free("b");
    free("c");
    assert!(service.reclaim(before, Instant::now()), "more was discarded than came");
    let now = given_back(&service);
    assert!(!service.reclaim(now, Instant::now()), "it is held up");
    drop(pinned);
    assert!(service.reclaim(now, later()));
}

/// Seen with: every error of the arena taken for a want of memory.
#[test]
fn what_no_want_of_memory_explains_is_told_as_it_is() {
    let config = AllocationServiceConfig { capacity_bytes: 2 << 20, columns: 2, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let refused = |column, bytes| service.block(column, bytes, SpikeTime::NONE).err();
    let error = Error::ColumnOutOfRange { asked: 2, columns: 2 };
    assert_eq!(refused(2, 64), Some(AllocationError::Internal { what: "allocating a block", error }));
    let full = AllocationError::OutOfMemory { asked_bytes: 2 << 20, capacity_bytes: 2 << 20 };
    service.block(0, 64, SpikeTime::NONE).unwrap();
    assert_eq!(refused(1, 2 << 20), Some(full));
}
