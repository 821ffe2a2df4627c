//! The memory allocation service through its face: what it promises, under one thread and under many.
#![cfg(not(loom))]

#[path = "common/service.rs"]
mod opened;

mod allocation_service_tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
    use std::thread;
    use std::time::{Duration, Instant};

    use engram::service::{
        AllocationEngine, AllocationError, AllocationPriority, AllocationRequest, AllocationServiceConfig, AllocationServiceError,
        AllocationStrategyType, ConceptType, DeallocationRequest, MemoryAllocationService, MultiColumnProcessor, Occupied, PoolConfig,
        PoolStatistics, SpikeTime, TtfsIntegrationService,
    };

    use super::opened::{entity, open, settle, small, used};

    #[test]
    fn a_concept_is_stored_read_updated_and_freed() {
        let service = open(small());
        let result = service.allocate_memory(entity("cat", "purrs")).unwrap();
        assert_eq!(result.memory_slot.version, 1);
        assert!(result.memory_slot.size_bytes >= 5);
        assert_eq!(result.memory_slot.column, result.cortical_column_id);
        assert_eq!(result.memory_pool_id, "entity");
        assert!(result.guided && !result.cache_hit);
        assert!((0.0..=1.0).contains(&result.confidence_score));
        assert_eq!(service.column_of("cat"), Some(result.cortical_column_id));
        assert_eq!(&*service.read("cat").unwrap(), b"purrs");

        let updated = service.update("cat", "sleeps, mostly").unwrap();
        assert_eq!(updated.memory_slot.version, 2);
        assert_eq!(updated.cortical_column_id, result.cortical_column_id);
        let guard = service.read("cat").unwrap();
        assert_eq!((&*guard, guard.version(), guard.concept_type()), (&b"sleeps, mostly"[..], 2, &ConceptType::ENTITY));
        assert_eq!(guard.spike(), updated.ttfs_encoding.first_spike);
        drop(guard);
        assert_eq!(service.get_allocation_metrics().total_allocations, 1, "an update is no allocation");

        let before = used(&service, ConceptType::ENTITY);
        let freed = service.deallocate_memory("cat".into()).unwrap();
        assert_eq!((freed.concept_id.as_str(), freed.pool_id.as_str()), ("cat", "entity"));
        assert_eq!(freed.freed_memory_size as u64, before);
        assert_eq!(used(&service, ConceptType::ENTITY), 0);
        assert!(matches!(service.read("cat"), Err(AllocationError::NotFound { .. })));
        assert_eq!(service.column_of("cat"), None);
    }

    #[test]
    fn a_service_is_made_of_parts() {
        let parts = (AllocationEngine::default(), TtfsIntegrationService::default(), MultiColumnProcessor::default());
        let service = MemoryAllocationService::new(parts.0, parts.1, parts.2, small()).unwrap();
        let metrics = service.get_allocation_metrics();
        assert_eq!((metrics.total_allocations, metrics.active_allocations), (0, 0));
        assert!((metrics.memory_utilization - 1.0).abs() < 1e-9 && metrics.fragmentation_level.abs() < 1e-9);
        assert_eq!(metrics.pool_statistics.len(), 8);
    }

    #[test]
    fn whatever_the_service_gives_crosses_threads() {
        fn crosses<T: Send + Sync>() {}
        crosses::<MemoryAllocationService>();
        crosses::<AllocationError>();
        crosses::<AllocationServiceError>();
        crosses::<engram::AllocationResult>();
        crosses::<engram::AllocationMetrics>();
    }

    #[test]
    fn each_refusal_says_why_and_changes_nothing() {
        let service = open(small());
        service.allocate_memory(entity("cat", "purrs")).unwrap();
        let unknown = ConceptType::new("unknown").unwrap();
        let refused = [
            service.allocate_memory(entity("cat", "again")).unwrap_err(),
            service.allocate_memory(AllocationRequest::new("dog", unknown, "")).unwrap_err(),
            service.allocate_memory(entity("", "")).unwrap_err(),
            service.update("dog", "").unwrap_err(),
            service.deallocate_memory("dog".into()).unwrap_err(),
            service.read("dog").unwrap_err(),
            service.link("cat", "dog").unwrap_err(),
        ];
        assert!(matches!(refused[0], AllocationError::AlreadyExists { .. }));
        assert!(matches!(refused[1], AllocationError::PoolNotFound { .. }));
        assert!(matches!(refused[2], AllocationError::Invalid { .. }));
        assert!(refused[3..].iter().all(|error| matches!(error, AllocationError::NotFound { .. })));
        assert_eq!(&*service.read("cat").unwrap(), b"purrs");
        assert_eq!(service.concept_ids(), ["cat"]);
        let metrics = service.get_allocation_metrics();
        assert_eq!((metrics.total_allocations, metrics.active_allocations), (1, 1));
    }

    /// Seen with: the winner's field learning, its column noted as used, and the decision remembered, before there is memory.
    #[test]
    fn a_refusal_changes_nothing_about_where_later_ones_lie() {
        let words = ["cat", "dog", "sun", "moon", "tax", "law", "sea", "ship", "atom", "star", "wine", "bread"];
        let text = |number: usize| {
            let mut random = number as u64 + 1;
            let word = |_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                words[(random >> 33) as usize % words.len()]
            };
            (0..12).map(word).collect::<Vec<_>>().join(" ")
        };
        let placed_after = |refusals: usize| {
            let pools = vec![PoolConfig::new(ConceptType::ENTITY, 1 << 30), PoolConfig::new(ConceptType::EVENT, 0)];
            let service = open(AllocationServiceConfig { pool_configurations: pools, ..small() });
            let store = |number: usize| {
                let granted = service.allocate_memory(entity(number.to_string(), text(number))).unwrap();
                (granted.memory_slot.column, granted.memory_slot.offset, granted.cache_hit)
            };
            let mut placed: Vec<_> = (0..100).map(store).collect();
            for number in 0..refusals {
                let no_room = AllocationRequest::new("refused", ConceptType::EVENT, text(number + 1000));
                let mut no_memory = entity("refused", text(number + 2000));
                no_memory.resource_requirements.memory_size = 15 << 20;
                for _again in 0..2 {
                    let refused = service.allocate_memory(no_room.clone()).unwrap_err();
                    assert!(matches!(refused, AllocationError::QuotaExceeded { .. }), "{refused}");
                    let refused = service.allocate_memory(no_memory.clone()).unwrap_err();
                    assert!(matches!(refused, AllocationError::OutOfMemory { .. }), "{refused}");
                }
            }
            placed.extend((100..200).map(store));
            (placed, service.get_allocation_metrics().cache_hit_rate)
        };
        assert_eq!(placed_after(50), placed_after(0));
    }

    #[test]
    fn a_config_out_of_range_is_refused_and_the_error_names_the_part() {
        let refused = |config| MemoryAllocationService::open(config).map(drop).unwrap_err().to_string();
        let pool = |name| PoolConfig::new(name, 1 << 20);
        let path = refused(AllocationServiceConfig { path: Some("no such folder/region".into()), ..small() });
        assert!(path.contains("no such folder/region") && path.contains("open it"), "{path}");
        let columns = refused(AllocationServiceConfig { columns: 0, ..small() });
        assert!(columns.contains("column"), "{columns}");
        let permits = refused(AllocationServiceConfig { max_concurrent_allocations: 0, ..small() });
        assert!(permits.starts_with("the number of concurrent allocations is 0"), "{permits}");
        let none = refused(AllocationServiceConfig { pool_configurations: vec![], ..small() });
        assert!(none.contains("1 to 64 pools"), "{none}");
        let twice = AllocationServiceConfig { pool_configurations: vec![pool(ConceptType::EVENT), pool(ConceptType::EVENT)], ..small() };
        assert!(refused(twice).contains("two pools for the type event"));
        let other = PoolConfig { alternatives: vec![ConceptType::SPATIAL], ..pool(ConceptType::EVENT) };
        assert!(refused(AllocationServiceConfig { pool_configurations: vec![other], ..small() }).contains("another pool of the service"));
        // Seen with: each counted as a refusal of its own.
        let twice = PoolConfig { alternatives: vec![ConceptType::ENTITY, ConceptType::ENTITY], ..pool(ConceptType::EVENT) };
        let twice = AllocationServiceConfig { pool_configurations: vec![pool(ConceptType::ENTITY), twice], ..small() };
        assert_eq!(refused(twice), "alternatives is entity twice in pool event; it must be each pool once at most");
        let capacity = MemoryAllocationService::open(AllocationServiceConfig { capacity_bytes: 0, ..small() });
        assert!(matches!(capacity, Err(AllocationServiceError::Arena(_))));
    }

    #[test]
    fn the_service_does_what_a_map_would_whatever_is_asked() {
        let service = open(small());
        let mut expected: HashMap<String, String> = HashMap::new();
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for step in 0..20_000 {
            let id = format!("concept-{}", next(300));
            let content = "x".repeat(next(400) as usize) + &step.to_string();
            match next(4) {
                0 | 1 => {
                    let mut request = entity(id.clone(), content.clone());
                    request.locality_hints = (0..next(4)).map(|_| format!("concept-{}", next(400))).collect();
                    let result = service.allocate_memory(request);
                    assert_eq!(result.is_err(), expected.contains_key(&id), "{result:?}");
                    expected.entry(id).or_insert(content);
                }
                2 => {
                    let result = service.update(&id, &content);
                    assert_eq!(result.is_ok(), expected.contains_key(&id), "{result:?}");
                    if let Some(old) = expected.get_mut(&id) {
                        *old = content;
                    }
                }
                _ => assert_eq!(service.deallocate_memory(DeallocationRequest::from(id.clone())).is_ok(), expected.remove(&id).is_some()),
            }
            if step % 1000 == 0 {
                service.maintain(Duration::from_micros(300));
                for (id, content) in &expected {
                    assert_eq!(&*service.read(id).unwrap(), content.as_bytes());
                }
                let mut ids = service.concept_ids();
                ids.sort();
                let mut all: Vec<_> = expected.keys().cloned().collect();
                all.sort();
                assert_eq!(ids, all);
                let metrics = service.get_allocation_metrics();
                assert_eq!(metrics.active_allocations, expected.len() as u64);
            }
        }
        for id in expected.keys() {
            service.deallocate_memory(id.as_str().into()).unwrap();
        }
        assert_eq!(used(&service, ConceptType::ENTITY), 0);
    }

    #[test]
    fn memory_of_what_was_freed_serves_again_and_again() {
        let service = open(AllocationServiceConfig { capacity_bytes: 4 << 20, columns: 2, ..AllocationServiceConfig::default() });
        // Sixteen times what fits.
        for round in 0..64 {
            for index in 0..32 {
                service.allocate_memory(entity(format!("{round}-{index}"), "x".repeat(30_000))).unwrap();
            }
            for index in 0..32 {
                service.deallocate_memory(format!("{round}-{index}").into()).unwrap();
            }
        }
        assert_eq!(used(&service, ConceptType::ENTITY), 0);
    }

    #[test]
    fn an_update_is_served_from_what_was_freed_just_now() {
        for bytes in [200, 3_900, 100_000] {
            let service = open(AllocationServiceConfig { capacity_bytes: 4 << 20, columns: 1, ..AllocationServiceConfig::default() });
            let content = "x".repeat(bytes);
            let served = (0..1 << 20).take_while(|n| service.allocate_memory(entity(format!("{n}"), content.as_str())).is_ok()).count();
            for freed in 1..4 {
                service.deallocate_memory(format!("{freed}").as_str().into()).unwrap();
                service.update("0", &content).unwrap_or_else(|error| panic!("{served} of {bytes} bytes: {error}"));
            }
        }
    }

    #[test]
    fn of_all_who_race_for_an_id_one_wins() {
        let service = open(small());
        for round in 0..200 {
            let won = AtomicUsize::new(0);
            thread::scope(|scope| {
                for mine in 0..4 {
                    let (service, won) = (&service, &won);
                    scope.spawn(move || match service.allocate_memory(entity(format!("id-{round}"), mine.to_string())) {
                        Ok(_) => {
                            won.fetch_add(1, Relaxed);
                        }
                        Err(error) => assert!(matches!(error, AllocationError::AlreadyExists { .. }), "{error}"),
                    });
                }
            });
            assert_eq!(won.load(Relaxed), 1);
        }
        assert_eq!(service.get_allocation_metrics().active_allocations, 200);
    }

    #[test]
    fn readers_see_whole_versions_while_others_update_free_and_maintain() {
        let service = open(small());
        let content = |number: usize| number.to_string().repeat(50 + number % 100);
        for id in 0..20 {
            service.allocate_memory(entity(id.to_string(), content(0))).unwrap();
        }
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Relaxed) {
                        for id in 0..20 {
                            let Ok(guard) = service.read(&id.to_string()) else { continue };
                            let text = core::str::from_utf8(&guard).expect("whole text").to_owned();
                            let number = (0..text.len()).find_map(|end| text[..=end].parse().ok().filter(|&n: &usize| content(n) == text));
                            assert!(number.is_some(), "a torn read: {text}");
                            thread::yield_now();
                            assert_eq!(&*guard, text.as_bytes(), "pinned bytes changed");
                        }
                    }
                });
            }
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    service.maintain(Duration::from_millis(1));
                }
            });
            let end = Instant::now() + Duration::from_secs(1);
            let mut number = 1;
            while Instant::now() < end {
                let id = (number % 20).to_string();
                if number % 7 == 0 {
                    service.deallocate_memory(id.as_str().into()).unwrap();
                    service.allocate_memory(entity(id, content(number))).unwrap();
                } else {
                    service.update(&id, &content(number)).unwrap();
                }
                number += 1;
            }
            done.store(true, Relaxed);
        });
        assert_eq!(service.get_allocation_metrics().active_allocations, 20);
    }

    #[test]
    fn a_guard_pins_what_others_free() {
        let service = open(small());
        service.allocate_memory(entity("cat", "purrs")).unwrap();
        let guard = service.read("cat").unwrap();
        service.deallocate_memory("cat".into()).unwrap();
        assert_eq!(used(&service, ConceptType::ENTITY), 0);
        for index in 0..1000 {
            service.allocate_memory(entity(format!("other-{index}"), "XXXXX")).unwrap();
        }
        assert_eq!(&*guard, b"purrs");
    }

    #[test]
    fn a_quota_is_kept_to_the_byte_by_any_number_of_threads() {
        let mut pool = PoolConfig::new(ConceptType::ENTITY, 100_000);
        pool.alternatives = vec![ConceptType::EVENT];
        let event = PoolConfig::new(ConceptType::EVENT, 50_000);
        let service = open(AllocationServiceConfig { pool_configurations: vec![pool, event], ..small() });
        let refused = AtomicUsize::new(0);
        thread::scope(|scope| {
            for mine in 0..4 {
                let (service, refused) = (&service, &refused);
                scope.spawn(move || {
                    for index in 0..500 {
                        match service.allocate_memory(entity(format!("{mine}-{index}"), "x".repeat(100 + index % 300))) {
                            Ok(result) => assert!(["entity", "event"].contains(&result.memory_pool_id.as_str())),
                            Err(AllocationError::QuotaExceeded { quota_bytes, used_bytes, asked_bytes, .. }) => {
                                assert!(quota_bytes == 100_000 && used_bytes + asked_bytes > quota_bytes);
                                refused.fetch_add(1, Relaxed);
                            }
                            Err(error) => panic!("{error}"),
                        }
                        let metrics = service.get_allocation_metrics();
                        assert!(
                            metrics
                                .pool_statistics
                                .iter()
                                .all(|pool| pool.used_bytes <= pool.quota_bytes && pool.peak_bytes <= pool.quota_bytes)
                        );
                    }
                });
            }
        });
        assert!(refused.load(Relaxed) > 0);
        let pools = service.get_allocation_metrics().pool_statistics;
        assert!(pools[0].alternatives_served > 0 && pools[0].used_bytes > 99_000 && pools[1].used_bytes > 49_000);
    }

    #[test]
    fn a_reserve_is_kept_for_early_spikes() {
        let mut pool = PoolConfig::new(ConceptType::ENTITY, 10_000);
        (pool.reserve_bytes, pool.reserve_spike) = (5_000, SpikeTime::from_millis(2.9).unwrap());
        let service = open(AllocationServiceConfig { pool_configurations: vec![pool], ..small() });
        let fill = |priority, name: &str| {
            (0..1000)
                .map(|index| AllocationRequest { priority, ..entity(format!("{name}-{index}"), "x".repeat(400)) })
                .take_while(|request| service.allocate_memory(request.clone()).is_ok())
                .count()
        };
        let late = fill(AllocationPriority::Low, "late");
        let early = fill(AllocationPriority::Critical, "early");
        assert!(late > 5 && early > 5, "{late} {early}");
        let error = service.allocate_memory(entity("one-more", "x".repeat(400))).unwrap_err();
        assert!(matches!(error, AllocationError::QuotaExceeded { kept_bytes: 5_000, .. }), "{error}");
    }

    #[test]
    fn more_memory_than_there_can_be_is_refused_and_nothing_is_written() {
        let service = open(small());
        for wanted in (0..64).map(|less| usize::MAX - less).chain([usize::MAX / 2, 1 << 40]) {
            let mut request = entity("huge", "x".repeat(500));
            request.resource_requirements.memory_size = wanted;
            let refused = |result: Result<_, _>| assert!(matches!(result, Err(AllocationError::OutOfMemory { .. })), "{wanted}");
            refused(service.allocate_memory(request.clone()).map(drop));
            refused(service.batch_allocate_memory(vec![request.clone()]).map(drop));
            service.batch_allocate_each(vec![request]).into_iter().for_each(|result| refused(result.map(drop)));
        }
        assert_eq!(used(&service, ConceptType::ENTITY), 0);
    }

    /// When every span is some column's, one whose column has no slot of its class is served from another that has.
    #[test]
    fn a_concept_is_refused_only_when_no_column_has_memory_for_it() {
        for guidance in [false, true] {
            let service = open(AllocationServiceConfig { columns: 64, guidance, ..small() });
            let mut state = 1_u64;
            let mut stored = Vec::new();
            let refused = loop {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let mut request = entity(format!("id {state}"), "");
                request.resource_requirements.memory_size = 16 + (state >> 33) as usize % 1000;
                match service.allocate_memory(request) {
                    Ok(result) => stored.push(result),
                    Err(error) => break error,
                }
            };
            assert!(matches!(refused, AllocationError::OutOfMemory { .. }), "{refused}");
            let bytes: usize = stored.iter().map(|result| result.memory_slot.size_bytes).sum();
            // Contents alone, without headers and ids; the largest find no slot any more, small ones would.
            assert!(bytes > (16 << 20) / 100 * 40, "{} concepts, {bytes} bytes", stored.len());
            service.allocate_memory(entity("small", "")).unwrap();
            // Each is where it is said to be.
            for result in &stored {
                assert_eq!(result.memory_slot.column, result.cortical_column_id);
            }
            for id in service.concept_ids() {
                assert!(service.column_of(&id).is_some());
            }
        }
    }

    #[test]
    fn repeated_patterns_are_decided_once() {
        let service = open(small());
        for index in 0..1000 {
            let result = service.allocate_memory(entity(index.to_string(), format!("pattern {}", index % 10))).unwrap();
            assert_eq!(result.cache_hit, index >= 10, "request {index}");
        }
        let rate = service.get_allocation_metrics().cache_hit_rate;
        assert!(rate > 0.7, "{rate}");
    }

    /// A decision is remembered for an hour; what it was decided by may have moved meanwhile.
    #[test]
    fn a_remembered_decision_follows_its_neighbours() {
        let service = open(small());
        let near = |id: &str, hint: &str| {
            let mut request = entity(id, format!("what is near {hint}"));
            request.locality_hints = vec![hint.to_owned()];
            service.allocate_memory(request).unwrap()
        };
        let first = near("first", "hub");
        let others = (0..8).map(|index| near(&format!("other {index}"), &format!("hint {index}")));
        let elsewhere = others.into_iter().position(|other| other.cortical_column_id != first.cortical_column_id).expect("eight columns");
        // The hub comes, and lies elsewhere.
        service.deallocate_memory("first".into()).unwrap();
        let hub = near("hub", &format!("other {elsewhere}"));
        assert_ne!(hub.cortical_column_id, first.cortical_column_id);
        let second = near("second", "hub");
        assert!(second.cache_hit && second.ttfs_encoding == first.ttfs_encoding);
        assert_eq!(second.cortical_column_id, hub.cortical_column_id);
    }

    #[test]
    fn unguided_requests_are_served_and_say_so() {
        let service = open(AllocationServiceConfig { guidance: false, ..small() });
        let columns: std::collections::HashSet<_> = (0..100)
            .map(|index| {
                let result = service.allocate_memory(entity(index.to_string(), "same content")).unwrap();
                assert!(!result.guided && !result.cache_hit);
                result.cortical_column_id
            })
            .collect();
        assert_eq!(columns.len(), 8);
        settle(&service);
        assert_eq!(service.get_allocation_metrics().active_allocations, 100);
    }

    #[test]
    fn the_same_calls_place_the_same_though_concepts_go() {
        // The table of ids is replaced now and then, which holds back what is freed.
        let run = || {
            let service = open(AllocationServiceConfig { capacity_bytes: 64 << 20, columns: 16, ..AllocationServiceConfig::default() });
            let mut places = Vec::new();
            let mut state = 9_u64;
            let mut below = |most: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % most
            };
            for i in 0..30_000 {
                let content = format!("{} {}", below(5000), "x".repeat(below(60) as usize));
                places.push(service.allocate_memory(entity(i.to_string(), content)).expect("there is room").memory_slot.offset);
                if i % 7 == 0 {
                    _ = service.deallocate_memory(below(i + 1).to_string().as_str().into());
                }
            }
            places
        };
        let (one, other) = (run(), run());
        let differ = one.iter().zip(&other).filter(|(one, other)| one != other).count();
        assert_eq!(differ, 0);
    }

    #[test]
    fn the_same_calls_place_the_same() {
        let run = || {
            let service = open(small());
            let places: Vec<_> = (0..500)
                .map(|index| {
                    let mut request = entity(index.to_string(), format!("content {}", index * 7919 % 501));
                    request.locality_hints = vec![(index / 2).to_string(), (index * 31 % 700).to_string()];
                    service.allocate_memory(request).unwrap().memory_slot
                })
                .collect();
            // With time enough that no call ends early: where it does is a matter of chance.
            while service.maintain(Duration::from_secs(60)).more {}
            (places, service.concept_ids())
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn metrics_are_json_and_one_exposition_for_service_and_arena() {
        let service = open(small());
        service.allocate_memory(entity("cat", "purrs")).unwrap();
        let mut text = String::new();
        service.get_allocation_metrics().write_json(&mut text).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((json["total_allocations"].as_u64(), json["pool_statistics"][0]["pool_id"].as_str()), (Some(1), Some("entity")));
        let mut text = String::new();
        service.write_openmetrics(&mut text).unwrap();
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
        let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let distinct: std::collections::HashSet<_> = families.iter().collect();
        assert_eq!(families.len(), distinct.len(), "a family is told once");
        for line in ["engram_service_concepts 1", "engram_pool_allocations_total{pool=\"entity\"} 1", "engram_allocs_total 1"] {
            assert!(text.lines().any(|of| of == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_texts_have_the_numbers_of_the_metrics() {
        let mut pool = PoolConfig::new(ConceptType::ENTITY, 1_000);
        pool.alternatives = vec![ConceptType::EVENT];
        let pools = vec![pool, PoolConfig::new(ConceptType::EVENT, 20_000)];
        let service = open(AllocationServiceConfig { pool_configurations: pools, ..small() });
        for index in 0..100 {
            service.allocate_memory(entity(index.to_string(), "x".repeat(1 + index % 300))).unwrap();
        }
        service.deallocate_memory("7".into()).unwrap();
        assert!(service.allocate_memory(entity("large", "x".repeat(30_000))).is_err());
        let metrics = service.get_allocation_metrics();
        let [mut json, mut text] = [String::new(), String::new()];
        metrics.write_json(&mut json).unwrap();
        service.write_openmetrics(&mut text).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let has = |name: &str, value: f64| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
            assert!((line.parse::<f64>().unwrap() - value).abs() < 1e-9, "{name} {line}, not {value}");
        };
        let times = [
            ("p50", "0.5", metrics.allocation_time_p50),
            ("p99", "0.99", metrics.allocation_time_p99),
            ("max", "1", metrics.allocation_time_max),
        ];
        for (name, quantile, time) in times {
            assert_eq!(json[format!("allocation_time_{name}_ns")].as_u64().map(Duration::from_nanos), Some(time));
            has(&format!("engram_service_allocation_time_seconds{{quantile=\"{quantile}\"}}"), time.as_secs_f64());
        }
        for (index, pool) in metrics.pool_statistics.iter().enumerate() {
            let numbers = [
                ("quota_bytes", pool.quota_bytes, ""),
                ("used_bytes", pool.used_bytes, ""),
                ("peak_bytes", pool.peak_bytes, ""),
                ("reserve_bytes", pool.reserve_bytes, ""),
                ("allocations", pool.allocations, "_total"),
                ("deallocations", pool.deallocations, "_total"),
                ("refusals", pool.refusals, "_total"),
                ("expansions", pool.expansions, "_total"),
                ("alternatives_served", pool.alternatives_served, "_total"),
            ];
            for (name, value, total) in numbers {
                assert_eq!(json["pool_statistics"][index][name], value, "{name}");
                has(&format!("engram_pool_{name}{total}{{pool=\"{}\"}}", pool.pool_id), u32::try_from(value).unwrap().into());
            }
        }
    }

    #[test]
    fn what_is_read_often_is_served_so_from_then_on() {
        let service = open(small());
        for id in ["hot", "cold"] {
            assert_eq!(service.allocate_memory(entity(id, "short")).unwrap().allocation_strategy, AllocationStrategyType::Balanced);
        }
        (0..10_000).for_each(|_| drop(service.read("hot").unwrap()));
        assert_eq!(settle(&service), 1, "it has moved to an earlier zone");
        assert_eq!(service.update("hot", "short too").unwrap().allocation_strategy, AllocationStrategyType::HighPerformance);
        assert_eq!(service.update("cold", "short too").unwrap().allocation_strategy, AllocationStrategyType::Balanced);
    }

    #[test]
    fn an_update_is_no_new_allocation_whichever_pool_serves_it() {
        let mut pool = PoolConfig::new(ConceptType::ENTITY, 1_000);
        pool.alternatives = vec![ConceptType::EVENT];
        let pools = vec![pool, PoolConfig::new(ConceptType::EVENT, 100_000)];
        let service = open(AllocationServiceConfig { pool_configurations: pools, ..small() });
        service.allocate_memory(entity("cat", "purrs")).unwrap();
        let updated = service.update("cat", &"x".repeat(2_000)).unwrap();
        assert_eq!(updated.memory_pool_id, "event");
        let metrics = service.get_allocation_metrics();
        assert_eq!((metrics.total_allocations, metrics.active_allocations), (1, 1));
        assert_eq!(used(&service, ConceptType::ENTITY), 0);
        assert_eq!(service.deallocate_memory("cat".into()).unwrap().pool_id, "event");
        assert_eq!((used(&service, ConceptType::EVENT), service.get_allocation_metrics().active_allocations), (0, 0));
    }

    /// Seen with: what was freed of each pool read together with what was allocated of it.
    #[test]
    fn a_snapshot_adds_up_while_updates_bring_concepts_from_pool_to_pool() {
        // What is updated is too large for its pool; and it takes a while to come from the one to the other.
        let own = PoolConfig { alternatives: vec![ConceptType::EVENT], ..PoolConfig::new(ConceptType::ENTITY, 3000) };
        let between = (0..60).map(|index| PoolConfig::new(ConceptType::new(&format!("between-{index}")).unwrap(), 1000));
        let pools = core::iter::once(own).chain(between).chain([PoolConfig::new(ConceptType::EVENT, 100_000)]).collect();
        let service = open(AllocationServiceConfig { pool_configurations: pools, ..small() });
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for mine in 0..3 {
                let (service, over) = (&service, &over);
                scope.spawn(move || {
                    let id = mine.to_string();
                    while !over.load(Relaxed) {
                        service.allocate_memory(entity(id.as_str(), "short")).unwrap();
                        assert_eq!(service.update(&id, &"x".repeat(4000)).unwrap().memory_pool_id, "event");
                        service.deallocate_memory(id.as_str().into()).unwrap();
                    }
                });
            }
            let (mut wrong, end) = (Vec::new(), Instant::now() + Duration::from_millis(700));
            while wrong.is_empty() && Instant::now() < end {
                let metrics = service.get_allocation_metrics();
                let sum = |count: fn(&PoolStatistics) -> u64| metrics.pool_statistics.iter().map(count).sum::<u64>();
                let (allocated, freed) = (sum(|pool| pool.allocations), sum(|pool| pool.deallocations));
                if (metrics.total_allocations, metrics.active_allocations + freed) != (allocated, allocated) {
                    wrong.push(metrics);
                }
            }
            over.store(true, Relaxed);
            assert!(wrong.is_empty(), "{wrong:?}");
        });
    }

    /// Seen with: an update that spikes by the priority that it read before it waited for its turn.
    #[test]
    fn an_update_spikes_by_the_priority_of_the_concept_that_it_changes() {
        let service = open(small());
        let over = AtomicBool::new(false);
        let latest = engram::service::first_spike(0.75).unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                let (service, over) = (&service, &over);
                scope.spawn(move || {
                    // Long, so that much can happen while it is looked at.
                    let content = "some longer content ".repeat(200);
                    while !over.load(Relaxed) {
                        let _ = service.update("x", &content);
                    }
                });
            }
            let (mut updated, mut late, end) = (0, None, Instant::now() + Duration::from_secs(30));
            while updated < 300 && late.is_none() && Instant::now() < end {
                for priority in [AllocationPriority::Low, AllocationPriority::Critical] {
                    service.allocate_memory(AllocationRequest { priority, ..entity("x", "abc") }).unwrap();
                    for _ in 0..if priority == AllocationPriority::Critical { 1000 } else { 0 } {
                        let guard = service.read("x").unwrap();
                        if guard.version() > 1 {
                            updated += 1;
                            late = Some(guard.spike()).filter(|&spike| spike > latest);
                            break;
                        }
                    }
                    service.deallocate_memory("x".into()).unwrap();
                }
            }
            over.store(true, Relaxed);
            assert!(updated > 0 && late.is_none(), "{late:?}");
        });
    }

    /// Seen with: rich content told by the text alone, whenever it was read.
    #[test]
    fn reading_changes_nothing_about_what_an_embedding_has_said() {
        let service = open(small());
        let embedding = |id: u16| (0..384_u16).map(|index| f32::from((index * 37 + id * 101) % 97) / 48.0 - 1.0).collect();
        for id in 0..200_u16 {
            let request = AllocationRequest { semantic_embedding: Some(embedding(id)), ..entity(id.to_string(), "a b ".repeat(100)) };
            assert_eq!(service.allocate_memory(request).unwrap().allocation_strategy, AllocationStrategyType::HighComplexity);
        }
        settle(&service);
        (0..200_u16).for_each(|id| drop(service.read(&id.to_string()).unwrap()));
        assert_eq!(service.maintain(Duration::MAX).relocated, 0);
    }

    #[test]
    fn past_the_timeout_a_caller_is_told_that_all_are_busy() {
        let service = open(AllocationServiceConfig { max_concurrent_allocations: 1, admission_timeout: Duration::ZERO, ..small() });
        let busy = AtomicUsize::new(0);
        let end = Instant::now() + Duration::from_secs(30);
        thread::scope(|scope| {
            for mine in 0..4 {
                let (service, busy) = (&service, &busy);
                scope.spawn(move || {
                    let id = format!("mine-{mine}");
                    while busy.load(Relaxed) == 0 && Instant::now() < end {
                        match service.allocate_memory(entity(id.as_str(), "x".repeat(2000))) {
                            Ok(_) => drop(service.deallocate_memory(id.as_str().into()).unwrap()),
                            Err(AllocationError::Busy { what: Occupied::Permits { permits: 1, .. } }) => {
                                busy.fetch_add(1, Relaxed);
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
        });
        assert!(busy.load(Relaxed) > 0);
    }

    #[test]
    fn each_strategy_has_its_requests() {
        let service = open(small());
        let strategy = |request| service.allocate_memory(request).unwrap().allocation_strategy;
        assert_eq!(strategy(entity("plain", "short")), AllocationStrategyType::Balanced);
        let mut hot = entity("hot", "short");
        hot.resource_requirements.expected_accesses_per_s = 1000.0;
        assert_eq!(strategy(hot), AllocationStrategyType::HighPerformance);
        let mut large = entity("large", "short");
        large.resource_requirements.memory_size = 100_000;
        assert_eq!(strategy(large), AllocationStrategyType::ResourceOptimized);
        let updated = service.update("large", "short, too").unwrap();
        assert!(updated.memory_slot.size_bytes >= 100_000, "the room that was wanted stays");
        assert_eq!(updated.allocation_strategy, AllocationStrategyType::ResourceOptimized);
        let words: Vec<_> = (0..200_u64).map(|index| format!("{:x}", index.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        assert_eq!(strategy(entity("rich", words.join(" "))), AllocationStrategyType::HighComplexity);
    }
}
