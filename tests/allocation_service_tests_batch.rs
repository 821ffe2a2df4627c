//! Batches of the allocation service: what is all or none, what others see of it meanwhile, and who is served first.
#![cfg(not(loom))]

#[path = "common/service.rs"]
mod opened;

mod allocation_service_tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::time::{Duration, Instant};

    use engram::service::{
        AllocationError, AllocationPriority, AllocationRequest, AllocationServiceConfig, ConceptType, Occupied, PoolConfig,
    };

    use super::opened::{entity, open, small};

    #[test]
    fn a_batch_is_all_or_none_and_answered_in_order() {
        let service = open(small());
        let requests: Vec<_> = (0..100).map(|index| entity(format!("id-{index}"), format!("content {index}"))).collect();
        let results = service.batch_allocate_memory(requests.clone()).unwrap();
        assert_eq!(results.len(), 100);
        for (index, result) in results.iter().enumerate() {
            assert_eq!(service.column_of(&format!("id-{index}")), Some(result.cortical_column_id));
            assert_eq!(&*service.read(&format!("id-{index}")).unwrap(), format!("content {index}").as_bytes());
        }
        let mut more: Vec<_> = (100..200).map(|index| entity(format!("id-{index}"), "new")).collect();
        more.push(entity("id-5", "there already"));
        assert!(matches!(service.batch_allocate_memory(more.clone()), Err(AllocationError::AlreadyExists { .. })));
        let metrics = service.get_allocation_metrics();
        assert_eq!((metrics.total_allocations, metrics.active_allocations), (100, 100));
        let each = service.batch_allocate_each(more);
        assert_eq!(each.iter().filter(|result| result.is_ok()).count(), 100);
        assert!(matches!(each[100], Err(AllocationError::AlreadyExists { .. })));
        assert!(service.batch_allocate_memory(vec![]).unwrap().is_empty());
    }

    #[test]
    fn a_batch_that_is_undone_takes_nothing_that_others_allocated_meanwhile() {
        for each in [false, true] {
            let service = open(small());
            service.allocate_memory(entity("there", "")).unwrap();
            let fillers = (0..10).map(|n| format!("filler{n}"));
            let ids = std::iter::once("x".to_owned()).chain(fillers).chain(["there".to_owned()]);
            let batch: Vec<_> = ids.map(|id| entity(id, "of the batch")).collect();
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Relaxed) {
                        if each {
                            service.batch_allocate_each(batch.clone());
                            batch[1..batch.len() - 1]
                                .iter()
                                .for_each(|own| drop(service.deallocate_memory(own.concept_id.as_str().into())));
                        } else {
                            service.batch_allocate_memory(batch.clone()).unwrap_err();
                        }
                    }
                });
                let end = Instant::now() + Duration::from_millis(700);
                while Instant::now() < end {
                    let _ = service.deallocate_memory("x".into());
                    if service.allocate_memory(entity("x", "of its own")).is_ok() {
                        // From here on nobody frees it.
                        for _ in 0..100 {
                            let content = service.read("x").map(|content| content.to_vec());
                            if content.as_deref() != Ok(b"of its own") {
                                done.store(true, Relaxed);
                                panic!("{content:?}");
                            }
                        }
                    }
                }
                done.store(true, Relaxed);
            });
        }
    }

    /// Whether an answer of what a batch may have under way is a success. Else it is not there, or may still be undone.
    fn is_done<T>(answer: Result<T, AllocationError>) -> bool {
        match answer {
            Ok(_) => true,
            Err(AllocationError::NotFound { .. } | AllocationError::Busy { what: Occupied::Concept { .. } }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Seen with: whoever asks may free and update what lies there, whether or not it stands.
    #[test]
    fn what_a_batch_may_still_undo_nobody_else_frees_or_updates() {
        for each in [false, true] {
            // Of the second type there is room for none: all of a batch are undone, and each is served again by spike.
            let config = AllocationServiceConfig {
                pool_configurations: vec![PoolConfig::new(ConceptType::ENTITY, 1 << 20), PoolConfig::new(ConceptType::EVENT, 64)],
                ..small()
            };
            let service = open(config);
            let ids: Vec<_> = (0..60).map(|n| format!("of the batch {n}")).collect();
            let mut batch: Vec<_> = ids.iter().map(|id| entity(id, "as allocated")).collect();
            batch.push(AllocationRequest::new(
                "refused",
                ConceptType::EVENT,
                "too large for its pool, whatever else lies there, so that all is undone",
            ));
            let done = AtomicBool::new(false);
            let (mut freed, mut updated) = (0_u64, 0_u64);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        if each {
                            let answers = service.batch_allocate_each(batch.clone());
                            assert!(answers.last().unwrap().is_err());
                            for (id, answer) in ids.iter().zip(answers) {
                                // It stands: nobody else frees this half.
                                if id.ends_with(['1', '3', '5', '7', '9']) {
                                    answer.unwrap();
                                    let content = service.read(id).unwrap();
                                    assert_eq!(content.version() > 1, &*content == b"updated", "an update that was answered is lost");
                                    drop(content);
                                    service.deallocate_memory(id.as_str().into()).unwrap();
                                }
                            }
                        } else {
                            service.batch_allocate_memory(batch.clone()).unwrap_err();
                        }
                    }
                    done.store(true, Relaxed);
                });
                while !done.load(Relaxed) {
                    for id in &ids {
                        if id.ends_with(['1', '3', '5', '7', '9']) {
                            updated += u64::from(is_done(service.update(id, "updated")));
                        } else {
                            freed += u64::from(is_done(service.deallocate_memory(id.as_str().into())));
                        }
                        let metrics = service.get_allocation_metrics();
                        assert!(metrics.pool_statistics.iter().all(|pool| pool.deallocations <= pool.allocations), "{metrics:?}");
                    }
                }
            });
            if !each {
                assert_eq!((freed, updated), (0, 0));
                assert_eq!(service.get_allocation_metrics().total_allocations, 0);
            }
        }
    }

    #[test]
    fn a_batch_that_is_undone_forgets_no_edge_that_others_made_known() {
        let config = || AllocationServiceConfig { guidance: false, ..small() };
        let columns = open(config());
        let column = |id: String| columns.allocate_memory(entity(id, "")).unwrap().cortical_column_id;
        let first = column("x".to_owned());
        let other = (0..64).map(|n| format!("y{n}")).find(|id| column(id.clone()) != first).unwrap();
        for all in [true, false] {
            let service = open(config());
            service.allocate_memory(entity("there", "")).unwrap();
            let mut x = entity("x", "");
            x.locality_hints = vec![other.clone()];
            service.allocate_memory(x).unwrap();
            let batch = vec![entity(other.clone(), ""), entity("there", "")];
            if all {
                service.batch_allocate_memory(batch).unwrap_err();
                service.allocate_memory(entity(other.clone(), "")).unwrap();
            } else {
                assert!(service.batch_allocate_each(batch)[0].is_ok());
            }
            assert!((service.get_allocation_metrics().edge_cut - 1.0).abs() < 1e-9, "the one edge, between two columns");
        }
    }

    /// Each is served in spike order: of two with one id the earlier gets it, wherever it stands.
    #[test]
    fn of_a_batch_in_which_two_have_one_id_the_earliest_gets_it() {
        let service = open(small());
        let urgent = |id: &str, content: &str| AllocationRequest { priority: AllocationPriority::Critical, ..entity(id, content) };
        let batch = vec![entity("other", "x"), entity("it", "late"), urgent("it", "early"), entity("it", "last")];
        let each = service.batch_allocate_each(batch);
        assert_eq!(each.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false]);
        assert!(matches!(each[1], Err(AllocationError::AlreadyExists { .. })));
        assert_eq!(&*service.read("it").unwrap(), b"early");
        let metrics = service.get_allocation_metrics();
        assert_eq!((metrics.total_allocations, metrics.active_allocations), (2, 2));
    }

    /// While a reader is pinned, what is undone stays where it is: there is no room for the batch a second time.
    #[test]
    fn a_batch_undoes_nothing_for_an_id_that_is_taken() {
        let service = open(AllocationServiceConfig { capacity_bytes: 8 << 20, ..small() });
        service.allocate_memory(entity("5999", "taken")).unwrap();
        let guard = service.read("5999").unwrap();
        let batch: Vec<_> = (0..6000).map(|id| entity(id.to_string(), "x".repeat(900))).collect();
        let each = service.batch_allocate_each(batch);
        let refused: Vec<_> = (0..each.len()).filter(|&place| each[place].is_err()).collect();
        assert!(refused == [5999] && matches!(each[5999], Err(AllocationError::AlreadyExists { .. })), "{refused:?}");
        drop(guard);
        let all = vec![entity("one", ""), entity("5999", ""), entity("two", "")];
        assert!(matches!(service.batch_allocate_memory(all), Err(AllocationError::AlreadyExists { .. })));
        assert_eq!((service.column_of("one"), service.column_of("two")), (None, None));
    }

    #[test]
    fn in_a_scarce_batch_the_urgent_are_served() {
        let pool = PoolConfig::new(ConceptType::ENTITY, 20_000);
        let service = open(AllocationServiceConfig { pool_configurations: vec![pool], ..small() });
        let priorities = [AllocationPriority::Low, AllocationPriority::Critical, AllocationPriority::Normal, AllocationPriority::High];
        let requests: Vec<_> = (0..80)
            .map(|index| AllocationRequest { priority: priorities[index % 4], ..entity(index.to_string(), "x".repeat(400)) })
            .collect();
        let results = service.batch_allocate_each(requests.clone());
        let latest = results.iter().flatten().map(|result| result.ttfs_encoding.first_spike).max().unwrap();
        assert!(results.iter().any(Result::is_err));
        for (request, result) in requests.iter().zip(&results) {
            if request.priority == AllocationPriority::Critical {
                assert!(result.as_ref().is_ok_and(|result| result.ttfs_encoding.first_spike <= latest), "{result:?}");
            }
            if request.priority == AllocationPriority::Low {
                assert!(result.is_err());
            }
        }
        let served = results.iter().flatten().count() as u64;
        let metrics = service.get_allocation_metrics();
        let pool = &metrics.pool_statistics[0];
        assert_eq!((pool.allocations, pool.deallocations, pool.refusals), (served, 0, 80 - served));
        assert_eq!((metrics.active_allocations, service.concept_ids().len() as u64), (served, served));
    }

    #[test]
    fn of_a_batch_the_urgent_have_their_own_pool_and_others_its_alternative() {
        let mut pool = PoolConfig::new(ConceptType::ENTITY, 20_000);
        pool.alternatives = vec![ConceptType::EVENT];
        let pool_configurations = vec![pool, PoolConfig::new(ConceptType::EVENT, 100_000)];
        let service = open(AllocationServiceConfig { pool_configurations, ..small() });
        let priorities = [AllocationPriority::Low, AllocationPriority::Critical];
        let requests: Vec<_> = (0..80)
            .map(|index| AllocationRequest { priority: priorities[index % 2], ..entity(index.to_string(), "x".repeat(400)) })
            .collect();
        let results = service.batch_allocate_memory(requests).unwrap();
        let of = |pool| results.iter().filter(move |result| result.memory_pool_id == pool).map(|result| result.ttfs_encoding.first_spike);
        assert!(of("entity").max() <= of("event").min());
        let metrics = service.get_allocation_metrics();
        let by_others = of("event").count() as u64;
        let counted: Vec<_> =
            metrics.pool_statistics.iter().map(|pool| (pool.allocations, pool.refusals, pool.alternatives_served)).collect();
        assert!(by_others > 0);
        assert_eq!(counted, [(80 - by_others, by_others, by_others), (by_others, 0, by_others)]);
    }
}
