use super::*;
use crate::service::discards::tests::large;
use crate::service::{AllocationServiceConfig, PoolConfig};

/// Seen with: every error of the arena taken for a want of memory.
#[test]
fn what_no_want_of_memory_explains_is_told_as_it_is() {
    let config = AllocationServiceConfig { capacity_bytes: 2 << 20, columns: 2, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let refused = |column, bytes| service.block(column, bytes, SpikeTime::NONE, &WaitBudget::new()).err();
    let error = Error::ColumnOutOfRange { asked: 2, columns: 2 };
    assert_eq!(refused(2, 64), Some(AllocationError::Internal { what: "allocating a block", error }));
    let full = AllocationError::OutOfMemory { asked_bytes: 2 << 20, capacity_bytes: 2 << 20 };
    service.block(0, 64, SpikeTime::NONE, &WaitBudget::new()).unwrap();
    assert_eq!(refused(1, 2 << 20), Some(full));
}

/// Seen with: an update that does not ask for the batch; what it has allocated not found, though it can be read; or told to exist, and to
/// be updated or freed first.
#[test]
fn as_long_as_a_batch_may_be_undone_what_it_has_allocated_can_be_read_and_is_busy_for_whoever_changes_it() {
    let service = MemoryAllocationService::open(AllocationServiceConfig { columns: 2, ..AllocationServiceConfig::default() }).unwrap();
    let cat = || AllocationRequest::new("cat", ConceptType::ENTITY, "purrs");
    service.allocate_memory(cat()).unwrap();
    let under_way = service.batches.begin();
    service.registry.find("cat").unwrap().lock().unwrap().batch = under_way.number;
    let busy = AllocationError::Busy { what: Occupied::Concept { concept_id: "cat".to_owned() } };
    assert_eq!(service.update("cat", "sleeps").unwrap_err(), busy);
    assert_eq!(service.deallocate_memory("cat".into()).unwrap_err(), busy);
    assert_eq!(service.allocate_memory(cat()).unwrap_err(), busy);
    assert_eq!(service.batch_allocate_memory(vec![cat()]).unwrap_err(), busy);
    assert_eq!(service.batch_allocate_each(vec![cat()])[0].as_ref().unwrap_err(), &busy);
    assert_eq!(&*service.read("cat").unwrap(), b"purrs");
    drop(under_way);
    assert!(matches!(service.allocate_memory(cat()), Err(AllocationError::AlreadyExists { .. })));
    service.update("cat", "sleeps").unwrap();
    service.deallocate_memory("cat".into()).unwrap();
}

/// Seen with: it stays where it is charged.
#[test]
fn an_update_of_what_an_alternative_has_served_goes_to_the_pool_of_its_type_once_that_has_room() {
    let entity = PoolConfig { alternatives: vec![ConceptType::EVENT], ..PoolConfig::new(ConceptType::ENTITY, 1000) };
    let pool_configurations = vec![entity, PoolConfig::new(ConceptType::EVENT, 1 << 20)];
    let config = AllocationServiceConfig { columns: 2, pool_configurations, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let allocate = |id: &str| service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "x".repeat(600))).unwrap();
    assert_eq!([allocate("first"), allocate("second")].map(|served| served.memory_pool_id), ["entity", "event"]);
    assert_eq!(service.update("second", &"y".repeat(600)).unwrap().memory_pool_id, "event", "its own is full");
    service.deallocate_memory("first".into()).unwrap();
    assert_eq!(service.update("second", "z").unwrap().memory_pool_id, "entity");
    assert!(service.pools[0].used_bytes() > 0 && service.pools[1].used_bytes() == 0);
}

/// Seen with: the wait left out.
#[test]
fn the_time_that_a_batch_took_includes_its_wait_for_a_permit() {
    const WAIT: Duration = Duration::from_millis(20);
    let config = AllocationServiceConfig {
        columns: 2,
        max_concurrent_allocations: 1,
        admission_timeout: Duration::from_secs(60),
        ..AllocationServiceConfig::default()
    };
    let service = MemoryAllocationService::open(config).unwrap();
    let permit = service.gate.try_enter().unwrap();
    let served = std::thread::scope(|scope| {
        let request = |id: &str| AllocationRequest::new(id, ConceptType::ENTITY, "purrs");
        let requests = vec![request("a"), request("b")];
        let batch = scope.spawn(|| service.batch_allocate_memory(requests).unwrap());
        while service.gate.waiting() == 0 {
            std::thread::yield_now();
        }
        std::thread::sleep(WAIT);
        drop(permit);
        batch.join().unwrap()
    });
    assert!(served.iter().all(|served| served.allocation_time >= WAIT), "{served:?}");
}

/// Seen with: what is known of its column left as it was.
#[test]
fn an_update_that_comes_to_lie_in_another_column_is_found_there() {
    let pool_configurations = vec![PoolConfig::new(ConceptType::ENTITY, 8 << 20)];
    let config = AllocationServiceConfig {
        capacity_bytes: 8 << 20,
        columns: 2,
        guidance: false,
        pool_configurations,
        ..AllocationServiceConfig::default()
    };
    let service = MemoryAllocationService::open(config).unwrap();
    let stored = (0..10_000).take_while(|&id| service.allocate_memory(large(id)).is_ok()).count();
    let lies_in = |id: &String, column| service.column_of(id) == Some(column);
    let of = |column| (0..stored).map(|id| id.to_string()).filter(|id| lies_in(id, column)).take(2).collect::<Vec<_>>();
    let id = of(0).remove(0);
    for id in of(1) {
        service.deallocate_memory(id.as_str().into()).unwrap();
    }
    assert_eq!(service.update(&id, &"y".repeat(3000)).unwrap().memory_slot.column, 1);
    assert_eq!(service.column_of(&id), Some(1));
}

/// What a pool had room for may be served by a larger slot. Seen with: refusals of those who refused before counted again.
#[test]
fn a_request_is_refused_by_a_pool_once_however_often_that_is_asked() {
    let entity = PoolConfig { alternatives: vec![ConceptType::EVENT], ..PoolConfig::new(ConceptType::ENTITY, 100) };
    let pool_configurations = vec![entity, PoolConfig::new(ConceptType::EVENT, 1000)];
    let config = AllocationServiceConfig { columns: 2, pool_configurations, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let ask =
        |bytes, counted| service.first_with_room(0, false, counted, |pool| pool.room(bytes, SpikeTime::NONE)).map_err(|full| full.quota);
    let refusals = || [0, 1].map(|pool: usize| service.pools[pool].statistics(service.pools[pool].deallocations()).refusals);
    assert_eq!((ask(200, 0), refusals()), (Ok((1, 1)), [1, 0]));
    assert_eq!((ask(2000, 1), refusals()), (Err(100), [1, 1]));
    assert_eq!((ask(50, 0), refusals()), (Ok((0, 0)), [1, 1]));
}
