//! Where there are more columns and sizes than spans, nearly all of the memory serves before anything is refused.
#![cfg(not(loom))]

#[path = "common/service.rs"]
mod opened;

mod allocation_service_tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::thread;
    use std::time::{Duration, Instant};

    use engram::service::{AllocationError, AllocationRequest, AllocationServiceConfig, ConceptType, MemoryAllocationService, PoolConfig};

    use super::opened::{entity, open, settle, used};

    /// A service whose one pool may have all of its memory.
    fn narrow(capacity_bytes: usize, columns: u32) -> MemoryAllocationService {
        let pool_configurations = vec![PoolConfig::new(ConceptType::ENTITY, capacity_bytes)];
        open(AllocationServiceConfig { capacity_bytes, columns, pool_configurations, ..AllocationServiceConfig::default() })
    }

    struct Random(u64);

    impl Random {
        fn within(&mut self, from: usize, to: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            from + (self.0 >> 33) as usize % (to - from + 1)
        }
    }

    /// Content of so many bytes, of a few words that many others have too.
    fn content(random: &mut Random, bytes: usize) -> String {
        let mut content = format!("w{} w{} ", random.within(0, 5000), random.within(0, 5000));
        content.extend(std::iter::repeat_n('q', bytes));
        content.truncate(bytes);
        content
    }

    /// Stores `count` concepts of `from` to `to` bytes, or until one is refused. How many were stored.
    fn load(service: &MemoryAllocationService, name: &str, count: usize, from: usize, to: usize) -> usize {
        let mut random = Random(7);
        for number in 0..count {
            let bytes = random.within(from, to);
            match service.allocate_memory(entity(format!("{name}{number}"), content(&mut random, bytes))) {
                Ok(result) => assert_eq!(result.memory_slot.column, result.cortical_column_id),
                Err(AllocationError::OutOfMemory { .. }) => return number,
                Err(error) => panic!("{error}"),
            }
        }
        count
    }

    fn used_percent(service: &MemoryAllocationService, capacity: usize) -> usize {
        used(service, ConceptType::ENTITY) as usize * 100 / capacity
    }

    /// Such a batch is served twice: as asked, until there is not room for one, and then by spike. Seen with: each time counted.
    #[test]
    fn what_a_scarce_batch_decides_is_new_and_counts_once() {
        let pool_configurations = vec![PoolConfig::new(ConceptType::ENTITY, 64 * 99)];
        let service = open(AllocationServiceConfig { pool_configurations, ..AllocationServiceConfig::default() });
        let requests = || (0..100).map(|index| entity(index.to_string(), format!("t {index}"))).collect();
        let served: Vec<_> = service.batch_allocate_each(requests()).into_iter().flatten().collect();
        assert!(served.len() == 99 && served.iter().all(|result| !result.cache_hit));
        let rate = service.get_allocation_metrics().cache_hit_rate;
        assert!(rate.abs() < 1e-9, "{rate}");
        service.concept_ids().into_iter().for_each(|id| _ = service.deallocate_memory(id.into()).unwrap());
        let again = service.batch_allocate_each(requests()).into_iter().flatten().filter(|result| result.cache_hit).count();
        let rate = service.get_allocation_metrics().cache_hit_rate;
        assert!(again == 99 && (rate - 0.5).abs() < 1e-9, "{again} {rate}");
    }

    /// A counter that falls is taken for one that began anew.
    #[test]
    fn counts_never_fall_while_batches_are_undone() {
        const BATCH: usize = 500;
        let service = narrow(8 << 20, 4);
        service.allocate_memory(entity("taken".to_owned(), "content".to_owned())).unwrap();
        let requests = |last: usize| -> Vec<_> {
            let taken = entity("taken".to_owned(), "x".repeat(last));
            (0..BATCH).map(|id| entity(format!("c{id}"), "content".to_owned())).chain([taken]).collect()
        };
        thread::scope(|scope| {
            let batches = scope.spawn(|| {
                for _ in 0..100 {
                    // Its last one is there already, or there is no room for it: then it is served again, and undone again.
                    service.batch_allocate_memory(requests(1)).unwrap_err();
                    service.batch_allocate_memory(requests(9 << 20)).unwrap_err();
                    // One that stands.
                    let each = service.batch_allocate_each(requests(1));
                    assert_eq!(each.iter().filter(|result| result.is_ok()).count(), BATCH);
                    (0..BATCH).for_each(|id| _ = service.deallocate_memory(format!("c{id}").into()).unwrap());
                }
            });
            let (mut allocations, mut refusals) = (0, 0);
            while !batches.is_finished() {
                let now = service.get_allocation_metrics();
                let pool = &now.pool_statistics[0];
                assert!(pool.allocations >= allocations && pool.refusals >= refusals, "{allocations} {refusals} {pool:?}");
                assert_eq!(now.total_allocations, now.active_allocations + pool.deallocations);
                (allocations, refusals) = (pool.allocations, pool.refusals);
            }
        });
        let now = service.get_allocation_metrics();
        assert_eq!((now.total_allocations, now.active_allocations), (100 * BATCH as u64 + 1, 1));
    }

    /// What is left is a slot that is larger than what a pool may have.
    #[test]
    fn a_larger_slot_is_charged_as_a_whole_to_whichever_pool_has_room_for_it() {
        let pool = |concept_type, quota_bytes| PoolConfig::new(concept_type, quota_bytes);
        let (small, large) = (150, 1 << 20);
        let alone = pool(ConceptType::EVENT, small);
        let helped = PoolConfig { alternatives: vec![ConceptType::ABSTRACT], ..pool(ConceptType::SPATIAL, small) };
        let pool_configurations = vec![pool(ConceptType::ENTITY, 2 << 20), alone, helped, pool(ConceptType::ABSTRACT, large)];
        let config = AllocationServiceConfig { capacity_bytes: 2 << 20, columns: 1, pool_configurations, ..Default::default() };
        let service = open(config);
        let stored = load(&service, "id", usize::MAX, 1000, 1000);
        assert!(stored > 1000, "{stored}");
        service.deallocate_memory("id7".into()).unwrap();

        let tiny = |concept_type| AllocationRequest { concept_type, ..entity("tiny", "content") };
        match service.allocate_memory(tiny(ConceptType::EVENT)) {
            Err(AllocationError::QuotaExceeded {
                pool: ConceptType::EVENT, asked_bytes: 1000.., used_bytes: 0, quota_bytes: 150, ..
            }) => {}
            other => panic!("{other:?}"),
        }
        let metrics = service.get_allocation_metrics();
        assert_eq!(metrics.pool_statistics.iter().map(|pool| pool.refusals).sum::<u64>(), 1);
        let served = service.allocate_memory(tiny(ConceptType::SPATIAL)).unwrap();
        assert_eq!((served.memory_pool_id.as_str(), used(&service, ConceptType::SPATIAL)), ("abstract", 0));
        assert!(served.memory_slot.size_bytes >= 1000);
    }

    /// Two of them fill a chunk.
    const LARGE: usize = (1 << 20) - 4096;

    /// A service of 8 MiB with five large concepts in a pool that may have so much more.
    fn with_large(more: u64) -> MemoryAllocationService {
        let with_quota = |quota: u64| {
            let pool_configurations = vec![PoolConfig::new(ConceptType::ENTITY, quota.try_into().unwrap())];
            let service = open(AllocationServiceConfig {
                capacity_bytes: 8 << 20,
                columns: 2,
                pool_configurations,
                ..AllocationServiceConfig::default()
            });
            (0..5).for_each(|id| _ = service.allocate_memory(sized(&format!("large {id}"), LARGE)).unwrap());
            service
        };
        let used = used(&with_quota(1 << 40), ConceptType::ENTITY);
        with_quota(used + more)
    }

    fn sized(id: &str, bytes: usize) -> AllocationRequest {
        let mut request = entity(id, "");
        request.resource_requirements.memory_size = bytes;
        request
    }

    /// A request that is refused for want of memory waits for it before. Seen with: the pool charged meanwhile.
    #[test]
    fn what_no_memory_serves_takes_no_room_from_what_fits() {
        let service = with_large((5 << 20) + (32 << 10));
        let (over, before) = (AtomicBool::new(false), used(&service, ConceptType::ENTITY));
        // What is freed while it is pinned is waited for.
        let pinned = service.read("large 0").unwrap();
        service.deallocate_memory("large 0".into()).unwrap();
        thread::scope(|scope| {
            let hopeless = scope.spawn(|| {
                while !over.load(Relaxed) {
                    service.allocate_memory(sized("hopeless", (6 << 20) - 4096)).unwrap_err();
                }
            });
            let (mut refused, mut peak) = (None, 0);
            for round in 0..20 {
                thread::sleep(Duration::from_millis(3));
                let fits = format!("fits {round}");
                refused = refused.or(service.allocate_memory(sized(&fits, 40_000)).err());
                _ = service.deallocate_memory(fits.as_str().into());
                peak = service.get_allocation_metrics().pool_statistics[0].peak_bytes;
            }
            over.store(true, Relaxed);
            hopeless.join().unwrap();
            assert_eq!((refused, peak), (None, before));
        });
        drop(pinned);
    }

    /// Seen with: the peak raised, and the pool expanded, before there is memory.
    #[test]
    fn a_refusal_for_want_of_memory_leaves_the_pool_as_it_was() {
        let service = with_large(1 << 30);
        let pool = || service.get_allocation_metrics().pool_statistics;
        let before = pool();
        let hopeless = || (0..3).map(|id| sized(&id.to_string(), 7 << 20)).collect();
        let refused = [
            service.allocate_memory(sized("hopeless", 7 << 20)).unwrap_err(),
            service.update("large 1", &"x".repeat(5 << 20)).unwrap_err(),
            service.batch_allocate_memory(hopeless()).unwrap_err(),
            service.batch_allocate_each(hopeless()).remove(1).unwrap_err(),
        ];
        assert!(refused.iter().all(|error| matches!(error, AllocationError::OutOfMemory { .. })), "{refused:?}");
        assert_eq!(pool(), before);
    }

    /// Each column's first concept of a size takes a span for many: not the last ones.
    #[test]
    fn the_last_spans_are_kept_for_sizes_that_have_none() {
        let capacity = 64 << 20;
        let service = narrow(capacity, 1024);
        assert_eq!(load(&service, "small", 10_000, 50, 149), 10_000);
        assert!(used_percent(&service, capacity) < 5);
        let stored = load(&service, "large", usize::MAX, 1000, 1000);
        assert!(used_percent(&service, capacity) >= 50, "{stored} concepts of 1000 bytes, {} %", used_percent(&service, capacity));
        for id in service.concept_ids() {
            assert!(service.column_of(&id).is_some());
            assert!(!service.read(&id).unwrap().is_empty());
        }
    }

    #[test]
    fn columns_share_what_is_left_until_most_of_it_is_in_use() {
        for (capacity, columns, least) in [(16 << 20, 64, 70), (16 << 20, 1024, 50)] {
            let service = narrow(capacity, columns);
            let stored = load(&service, "id", usize::MAX, 20, 2000);
            let percent = used_percent(&service, capacity);
            assert!(percent >= least, "{columns} columns: {stored} concepts, {percent} %");
        }
    }

    /// Also of sizes whose slots come in runs of spans.
    #[test]
    fn columns_share_runs_too() {
        let capacity = 64 << 20;
        let service = narrow(capacity, 64);
        let stored = load(&service, "id", usize::MAX, 5000, 20_000);
        let percent = used_percent(&service, capacity);
        assert!(percent >= 70, "{stored} concepts, {percent} %");
    }

    /// Of any number of threads; and once all is freed all of it is free.
    #[test]
    fn threads_share_what_is_left_too() {
        let capacity = 16 << 20;
        let service = narrow(capacity, 256);
        for round in 0..2 {
            let threads = 4;
            let stored: usize = thread::scope(|scope| {
                let load = |thread| load(&service, &format!("{round} {thread} "), usize::MAX, 20, 2000);
                let loads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || load(thread))).collect();
                loads.into_iter().map(|load| load.join().unwrap()).sum()
            });
            let percent = used_percent(&service, capacity);
            assert!(percent >= 65, "round {round}: {stored} concepts, {percent} %");
            let ids = service.concept_ids();
            assert_eq!(ids.len(), stored);
            thread::scope(|scope| {
                for part in ids.chunks(ids.len().div_ceil(threads)) {
                    let service = &service;
                    scope.spawn(move || part.iter().for_each(|id| drop(service.deallocate_memory(id.as_str().into()).unwrap())));
                }
            });
            assert_eq!(used(&service, ConceptType::ENTITY), 0);
            settle(&service);
        }
        // What a thread discarded may be given back a moment after it was joined, when its locals are dropped.
        let start = Instant::now();
        loop {
            let mut all = entity("all", "");
            all.resource_requirements.memory_size = capacity - 4096;
            if service.allocate_memory(all).is_ok() {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", service.heap_map());
            settle(&service);
        }
    }

    /// As long as columns fill their spans, or half of the memory is free, each concept lies where it should.
    #[test]
    fn where_memory_is_plentiful_columns_keep_their_concepts() {
        let pool_configurations = vec![PoolConfig::new(ConceptType::ENTITY, usize::MAX)];
        let with = |capacity_bytes| AllocationServiceConfig {
            capacity_bytes,
            columns: 8,
            guidance: false,
            pool_configurations: pool_configurations.clone(),
            ..AllocationServiceConfig::default()
        };
        let (narrow, wide) = (open(with(16 << 20)), open(with(256 << 20)));
        let mut random = Random(7);
        for number in 0..66_000 {
            let bytes = random.within(50, 149);
            let request = || {
                let mut request = entity(format!("id{number}"), "");
                request.resource_requirements.memory_size = bytes;
                request
            };
            let columns = [&narrow, &wide].map(|service| service.allocate_memory(request()).unwrap().cortical_column_id);
            assert_eq!(columns[0], columns[1], "{number}, {} %", used_percent(&narrow, 16 << 20));
        }
        assert!(used_percent(&narrow, 16 << 20) > 60);
    }

    /// What was freed of another column is found again, whatever its size was, as long as it is enough.
    #[test]
    fn in_full_memory_what_is_freed_serves_what_comes() {
        let service = narrow(8 << 20, 256);
        let stored = load(&service, "id", usize::MAX, 20, 2000);
        let mut random = Random(9);
        for round in 0..2000 {
            let number = random.within(0, stored - 1);
            let id = format!("id{number}");
            let bytes = service.read(&id).unwrap().len();
            service.deallocate_memory(id.as_str().into()).unwrap();
            let again = service.allocate_memory(entity(id, content(&mut random, bytes)));
            assert!(again.is_ok(), "round {round}: {bytes} bytes: {again:?}");
        }
    }

    /// Seen with: each block handed to the epoch by itself, which keeps some with the thread that discarded them.
    #[test]
    fn what_a_thread_has_freed_serves_others_while_it_rests() {
        for bytes in [1 << 20, 100_000, 3000, 100] {
            let service = narrow(8 << 20, 2);
            let allocate = |id: usize| service.allocate_memory(entity(id.to_string(), "x".repeat(bytes))).is_ok();
            let stored = (0..100_000).take_while(|&id| allocate(id)).count();
            let freed = stored.min(40);
            let (rest, resting) = std::sync::mpsc::channel::<()>();
            thread::scope(|scope| {
                let (done, is_done) = std::sync::mpsc::channel();
                let service = &service;
                scope.spawn(move || {
                    (0..freed).for_each(|id| drop(service.deallocate_memory(id.to_string().as_str().into()).unwrap()));
                    done.send(()).unwrap();
                    // It is alive, and does nothing.
                    let _ = resting.recv();
                });
                is_done.recv().unwrap();
                let served = (0..freed).take_while(|id| allocate(200_000 + id)).count();
                drop(rest);
                assert_eq!(served, freed, "of {bytes} bytes");
            });
        }
    }

    /// Spans that were emptied come before slots that are larger than what is asked for.
    #[test]
    fn once_all_is_freed_small_concepts_find_as_much_as_in_new_memory() {
        for columns in [1, 64] {
            let new = load(&narrow(4 << 20, columns), "small", usize::MAX, 100, 100);
            let service = narrow(4 << 20, columns);
            let large = load(&service, "large", usize::MAX, 1000, 1000);
            (0..large).for_each(|number| _ = service.deallocate_memory(format!("large{number}").into()).unwrap());
            let stored = load(&service, "small", usize::MAX, 100, 100);
            assert!(stored * 100 >= new * 98, "{stored} of {new} concepts in {columns} columns");
        }
    }

    /// A move that finds no memory costs little: maintenance comes to its end.
    #[test]
    fn maintenance_in_scarce_memory_comes_to_an_end() {
        let service = narrow(64 << 20, 1024);
        load(&service, "small", 10_000, 50, 149);
        let start = Instant::now();
        let mut calls = 0;
        while service.maintain(Duration::from_millis(2)).more {
            calls += 1;
            assert!(calls < 200, "{:?}", start.elapsed());
        }
    }
}
