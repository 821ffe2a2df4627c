//! A service on a region file: every committed concept is there again.

#![cfg(unix)]

#[path = "common/child.rs"]
mod child;
#[path = "common/folder.rs"]
mod folder;

mod allocation_service_tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use super::child;
    use super::folder::Folder;
    use engram::service::{AllocationServiceConfig, AllocationServiceError, MemoryAllocationService, PoolConfig};
    use engram::{AllocationError, AllocationRequest, Arena, ConceptType, Error, SpikeTime};

    fn config(path: &Path) -> AllocationServiceConfig {
        AllocationServiceConfig { path: Some(path.to_owned()), capacity_bytes: 32 << 20, columns: 8, ..AllocationServiceConfig::default() }
    }

    fn open(path: &Path) -> MemoryAllocationService {
        MemoryAllocationService::open(config(path)).unwrap()
    }

    fn request(index: usize) -> AllocationRequest {
        let concept_type = [ConceptType::ENTITY, ConceptType::EVENT][index % 2];
        let mut request = AllocationRequest::new(format!("concept {index}"), concept_type, format!("content of the concept {index} "));
        request.locality_hints = vec![format!("concept {}", index / 2), format!("concept {}", index.saturating_sub(1))];
        request
    }

    /// All that is known of a concept.
    #[derive(Clone, Debug, PartialEq)]
    struct Known {
        concept_type: ConceptType,
        content: Vec<u8>,
        version: u64,
        spike: SpikeTime,
        column: u32,
    }

    fn all(service: &MemoryAllocationService) -> BTreeMap<String, Known> {
        let known = |id: &String| {
            let guard = service.read(id).unwrap();
            Known {
                concept_type: *guard.concept_type(),
                content: guard.to_vec(),
                version: guard.version(),
                spike: guard.spike(),
                column: service.column_of(id).unwrap(),
            }
        };
        service
            .concept_ids()
            .into_iter()
            .map(|id| {
                let known = known(&id);
                (id, known)
            })
            .collect()
    }

    fn used(service: &MemoryAllocationService) -> Vec<(String, u64)> {
        service.get_allocation_metrics().pool_statistics.iter().map(|pool| (pool.pool_id.clone(), pool.used_bytes)).collect()
    }

    /// Concepts allocated, updated, freed, linked, in batches and one by one, and maintained.
    fn populate(service: &MemoryAllocationService) {
        for index in 0..200 {
            service.allocate_memory(request(index)).unwrap();
        }
        service.batch_allocate_memory((200..300).map(request).collect()).unwrap();
        for result in service.batch_allocate_each((290..400).map(request).collect()) {
            let _ = result;
        }
        for index in (0..400).step_by(3) {
            service.update(&format!("concept {index}"), &format!("a longer text, of the second version, of concept {index}")).unwrap();
        }
        for index in (0..400).step_by(7) {
            service.deallocate_memory(format!("concept {index}").as_str().into()).unwrap();
        }
        service.link("concept 1", "concept 398").unwrap();
        while service.maintain(Duration::from_millis(5)).more {}
    }

    #[test]
    fn every_concept_is_there_again_with_all_that_is_known_of_it() {
        let folder = Folder::new("service-reopen");
        let service = open(&folder.file("concepts"));
        populate(&service);
        let (concepts, pools, cut) = (all(&service), used(&service), service.get_allocation_metrics().edge_cut);
        assert!(!service.was_recovered() && concepts.len() > 300 && cut > 0.0);
        drop(service);
        for _ in 0..2 {
            let service = open(&folder.file("concepts"));
            assert!(!service.was_recovered());
            assert_eq!(all(&service), concepts);
            assert_eq!(used(&service), pools);
            let metrics = service.get_allocation_metrics();
            assert_eq!((metrics.active_allocations, metrics.total_allocations), (concepts.len() as u64, 0), "counts are of this opening");
            assert!(metrics.pool_statistics.iter().all(|pool| pool.allocations + pool.deallocations + pool.expansions == 0));
            assert!((metrics.edge_cut - cut).abs() < 1e-12, "{} and {cut}", metrics.edge_cut);
        }
        // What was freed is free: a new concept takes its id, an old one keeps it.
        let service = open(&folder.file("concepts"));
        service.allocate_memory(request(0)).unwrap();
        service.deallocate_memory("concept 2".into()).unwrap();
        let metrics = service.get_allocation_metrics();
        assert_eq!((metrics.active_allocations, metrics.total_allocations), (concepts.len() as u64, 1));
        assert!(matches!(service.allocate_memory(request(1)), Err(AllocationError::AlreadyExists { .. })));
        assert_eq!(service.update("concept 1", "x").unwrap().memory_slot.version, concepts["concept 1"].version + 1);
    }

    /// More edges than are forgotten at once: what is left of them is not the next concept's of that id.
    #[test]
    fn a_hub_that_is_freed_and_allocated_again_has_the_edges_that_it_gets_then() {
        let folder = Folder::new("service-hub");
        for guidance in [false, true] {
            let path = folder.file(if guidance { "guided" } else { "hashed" });
            let config = || AllocationServiceConfig { guidance, path: Some(path.clone()), ..AllocationServiceConfig::default() };
            let service = MemoryAllocationService::open(config()).unwrap();
            let hub = || AllocationRequest::new("hub", ConceptType::ENTITY, "a hub");
            service.allocate_memory(hub()).unwrap();
            for leaf in 0..1000 {
                let mut request = AllocationRequest::new(format!("leaf {leaf}"), ConceptType::ENTITY, format!("{leaf}"));
                request.locality_hints = vec!["hub".to_owned()];
                service.allocate_memory(request).unwrap();
            }
            let cut = |service: &MemoryAllocationService| service.get_allocation_metrics().edge_cut;
            for maintained in [false, true] {
                service.deallocate_memory("hub".into()).unwrap();
                while maintained && service.maintain(Duration::from_millis(5)).more {}
                service.allocate_memory(hub()).unwrap();
                assert!(cut(&service) < 1e-12, "an edge that was forgotten");
                let of_leaf = |leaf: u32| service.column_of(&format!("leaf {leaf}"));
                let home = service.column_of("hub");
                let near = (0..1000).filter(|&leaf| of_leaf(leaf) == home).take(3);
                let far = (0..1000).filter(|&leaf| of_leaf(leaf) != home).take(1);
                let linked: Vec<_> = near.chain(far).collect();
                for leaf in &linked {
                    service.link("hub", &format!("leaf {leaf}")).unwrap();
                }
                let one_of = 1.0 / f64::from(u32::try_from(linked.len()).unwrap());
                assert!((cut(&service) - one_of).abs() < 1e-12, "{} of {linked:?}", cut(&service));
            }
            let before = cut(&service);
            drop(service);
            let service = MemoryAllocationService::open(config()).unwrap();
            assert!((cut(&service) - before).abs() < 1e-12, "{} and {before}", cut(&service));
        }
    }

    /// A concept is freed at the moment at which another is allocated that hints at it: whichever was first, the file says the same.
    #[test]
    fn edges_that_are_made_known_while_others_are_forgotten_are_in_the_file_if_they_are_in_memory() {
        const PAIRS: usize = 5_000;
        let folder = Folder::new("service-edges");
        let path = folder.file("concepts");
        let config =
            || AllocationServiceConfig { guidance: false, columns: 2, path: Some(path.clone()), ..AllocationServiceConfig::default() };
        let service = MemoryAllocationService::open(config()).unwrap();
        let hinting = |id: String, hint: &str| {
            let mut request = AllocationRequest::new(id, ConceptType::ENTITY, "");
            request.locality_hints = vec![hint.to_owned()];
            service.allocate_memory(request).unwrap();
        };
        (0..PAIRS).for_each(|pair| hinting(format!("x{pair}"), "x0"));
        let meet = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for pair in 1..PAIRS {
                    meet.wait();
                    service.deallocate_memory(format!("x{pair}").as_str().into()).unwrap();
                }
            });
            for pair in 1..PAIRS {
                meet.wait();
                hinting(format!("y{pair}"), &format!("x{pair}"));
            }
        });
        (1..PAIRS).for_each(|pair| hinting(format!("x{pair}"), "x0"));
        while service.maintain(Duration::from_millis(5)).more {}
        let cut = service.get_allocation_metrics().edge_cut;
        drop(service);
        let service = MemoryAllocationService::open(config()).unwrap();
        let again = service.get_allocation_metrics().edge_cut;
        assert!(cut > 0.0 && (again - cut).abs() < 1e-12, "{again} and {cut}");
    }

    fn entity(id: impl Into<String>, content: impl Into<String>, hint: &str) -> AllocationRequest {
        let mut request = AllocationRequest::new(id, ConceptType::ENTITY, content);
        request.locality_hints = vec![hint.to_owned()];
        request
    }

    fn cut(service: &MemoryAllocationService) -> f64 {
        service.get_allocation_metrics().edge_cut
    }

    /// Allocates concepts as large as a block of the log until there is no memory for one. How many.
    fn fill(service: &MemoryAllocationService) -> usize {
        let large =
            |index| service.allocate_memory(AllocationRequest::new(format!("large {index}"), ConceptType::EVENT, "x".repeat(16_000)));
        (0..10_000).take_while(|&index| large(index).is_ok()).count()
    }

    #[test]
    fn a_file_that_is_full_is_opened_again_with_all_its_edges() {
        let folder = Folder::new("service-full");
        let config = || AllocationServiceConfig { capacity_bytes: 2 << 20, columns: 2, ..config(&folder.file("concepts")) };
        let service = MemoryAllocationService::open(config()).unwrap();
        let mut last = 0;
        let refused = loop {
            match service.allocate_memory(entity(format!("{last}"), "x".repeat(900), &format!("{}", last / 2))) {
                Ok(_) => last += 1,
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, AllocationError::OutOfMemory { .. }) && last > 1000, "{refused} after {last}");
        let (concepts, before) = (all(&service), cut(&service));
        drop(service);
        for _ in 0..3 {
            let service = MemoryAllocationService::open(config()).unwrap();
            assert_eq!(all(&service), concepts);
            assert!(before > 0.0 && (cut(&service) - before).abs() < 1e-12, "{} and {before}", cut(&service));
        }
    }

    /// As many edges as would fill the file twice come and go, and nobody maintains.
    #[test]
    fn the_log_of_edges_takes_no_more_than_what_is_live_needs() {
        let folder = Folder::new("service-log");
        let config = || AllocationServiceConfig { capacity_bytes: 2 << 20, columns: 2, ..config(&folder.file("concepts")) };
        let service = MemoryAllocationService::open(config()).unwrap();
        for index in 0..300 {
            service.allocate_memory(entity(format!("kept {index}"), "", &format!("kept {}", index / 2))).unwrap();
        }
        let before = cut(&service);
        for round in 0..100_000 {
            let id = format!("temporary {}", round % 10);
            service.allocate_memory(entity(&*id, "", "kept 0")).unwrap();
            service.deallocate_memory(id.as_str().into()).unwrap();
        }
        // Of 64 spans of the file, whole ones.
        for index in 0..40 {
            service.allocate_memory(AllocationRequest::new(format!("large {index}"), ConceptType::EVENT, "x".repeat(32_000))).unwrap();
        }
        assert!((cut(&service) - before).abs() < 1e-12);
        drop(service);
        assert!((cut(&MemoryAllocationService::open(config()).unwrap()) - before).abs() < 1e-12);
    }

    /// What says nothing in the log goes although there is hardly memory, and nothing is lost of the memory that there is.
    #[test]
    fn maintenance_of_a_full_file_takes_no_memory() {
        let folder = Folder::new("service-full-maintained");
        let config = || AllocationServiceConfig { capacity_bytes: 4 << 20, columns: 2, ..config(&folder.file("concepts")) };
        let service = MemoryAllocationService::open(config()).unwrap();
        for index in 0..5_000 {
            service.allocate_memory(entity(format!("kept {index}"), "", &format!("kept {}", index / 2))).unwrap();
        }
        for round in 0..50_000 {
            let id = format!("temporary {}", round % 10);
            service.allocate_memory(entity(&*id, "", "kept 0")).unwrap();
            service.deallocate_memory(id.as_str().into()).unwrap();
        }
        let large = fill(&service);
        service.deallocate_memory("large 0".into()).unwrap();
        service.deallocate_memory("large 1".into()).unwrap();
        for _ in 0..100 {
            service.maintain(Duration::from_millis(5));
        }
        assert!(large > 2 && fill(&service) >= 2, "memory for two of {large} was there");
    }

    #[test]
    fn an_edge_for_which_there_is_no_room_is_known_neither_in_memory_nor_in_the_file() {
        let folder = Folder::new("service-no-room");
        let config = || AllocationServiceConfig { capacity_bytes: 2 << 20, columns: 2, ..config(&folder.file("concepts")) };
        let service = MemoryAllocationService::open(config()).unwrap();
        let id = |index: usize| format!("{index}");
        for index in 0..4_000 {
            service.allocate_memory(AllocationRequest::new(id(index), ConceptType::ENTITY, "")).unwrap();
        }
        service.link("0", "1").unwrap();
        fill(&service);
        let refused = (1..3_999).find(|&index| service.link(&id(index), &id(index + 1)).is_err()).unwrap();
        for _ in 0..3 {
            let error = service.link(&id(refused), &id(refused + 1)).unwrap_err();
            assert!(matches!(error, AllocationError::OutOfMemory { .. }), "{error}");
        }
        let before = cut(&service);
        drop(service);
        let service = MemoryAllocationService::open(config()).unwrap();
        assert!((cut(&service) - before).abs() < 1e-12, "{} and {before}", cut(&service));
        // Ends find room, and make it.
        (0..refused).for_each(|index| drop(service.deallocate_memory(id(index).as_str().into()).unwrap()));
        assert!(cut(&service) < 1e-12);
        service.link(&id(refused), &id(refused + 1)).unwrap();
        let before = cut(&service);
        drop(service);
        let service = MemoryAllocationService::open(config()).unwrap();
        (0..refused).for_each(|index| drop(service.allocate_memory(AllocationRequest::new(id(index), ConceptType::ENTITY, "")).unwrap()));
        assert!((cut(&service) - before).abs() < 1e-12);
    }

    #[test]
    fn every_concept_is_there_although_nobody_closed() {
        let folder = Folder::new("service-unclosed");
        let service = open(&folder.file("concepts"));
        populate(&service);
        let (concepts, pools, cut) = (all(&service), used(&service), service.get_allocation_metrics().edge_cut);
        let copy = folder.file("copy");
        std::fs::copy(folder.file("concepts"), &copy).unwrap();
        let again = open(&copy);
        assert!(again.was_recovered());
        assert_eq!(all(&again), concepts);
        assert_eq!(used(&again), pools);
        assert!((again.get_allocation_metrics().edge_cut - cut).abs() < 1e-12);
        for id in concepts.keys() {
            again.deallocate_memory(id.as_str().into()).unwrap();
        }
        assert!(used(&again).iter().all(|(_, used)| *used == 0));
        drop(again);
        let again = open(&copy);
        assert!(all(&again).is_empty());
    }

    /// What a process had just taken when it died holds what was stored there before.
    #[test]
    fn a_block_in_which_nothing_is_written_yet_is_no_concept_whatever_was_stored_there() {
        let folder = Folder::new("service-stale");
        let (path, killed) = (folder.file("concepts"), folder.file("killed"));
        let service = open(&path);
        populate(&service);
        let before = all(&service);
        // What slots begin with where they are in no file, wherever a block may begin.
        let text = "engramc1";
        service.allocate_memory(AllocationRequest::new("ten bytes.", ConceptType::ENTITY, text.repeat(25_000))).unwrap();
        service.deallocate_memory("ten bytes.".into()).unwrap();
        drop(service);
        // What was not yet given back is by then.
        drop(open(&path));
        let arena = engram::Arena::builder().capacity(32 << 20).columns(8).path(&path).build().unwrap();
        let layout = core::alloc::Layout::new::<[u64; 100]>();
        let mut looks_like_one = false;
        while !looks_like_one {
            let block = arena.alloc(None, layout, SpikeTime::NONE).unwrap();
            // SAFETY: the block has these bytes, and in a file all are initialised.
            looks_like_one = unsafe { block.cast::<[u8; 8]>().read() } == text.as_bytes();
        }
        std::fs::copy(&path, &killed).unwrap();
        let service = open(&killed);
        assert!(service.was_recovered() && all(&service) == before);
    }

    /// Of a file the system keeps pages in memory that nobody has touched.
    #[cfg(target_os = "linux")]
    #[test]
    fn utilization_is_of_the_pages_that_were_touched_in_a_file_too() {
        for folder in [Folder::new("service-touched"), Folder::in_memory("service-touched")] {
            let path = folder.file("concepts");
            let service = open(&path);
            for number in 0..20_000 {
                let content = "some content ".repeat(1 + number % 20);
                service.allocate_memory(AllocationRequest::new(format!("concept {number}"), ConceptType::ENTITY, content)).unwrap();
            }
            let used = service.get_allocation_metrics().memory_utilization;
            drop(service);
            let again = open(&path).get_allocation_metrics().memory_utilization;
            assert!(used > 0.6 && again > 0.4, "{used} {again}, {folder:?}", folder = folder.path());
        }
    }

    /// Maintenance lets some lie in larger slots, which is not charged. Seen with: what is found charged for its slot.
    #[test]
    fn pools_hold_what_they_held_whatever_slots_maintenance_moved_their_concepts_to() {
        let folder = Folder::new("lodgers");
        let service = open(&folder.file("concepts"));
        let content = |index: usize| format!("{index} {}", "x".repeat(index % 20 * 16 + 100));
        for index in 0..1000 {
            service.allocate_memory(AllocationRequest::new(index.to_string(), ConceptType::ENTITY, content(index))).unwrap();
        }
        for index in 700..1000_usize {
            service.deallocate_memory(index.to_string().into()).unwrap();
        }
        let held = used(&service);
        while service.maintain(Duration::from_secs(60)).more {}
        assert!(service.get_allocation_metrics().relocations > 300);
        assert_eq!(used(&service), held);
        drop(service);
        let service = open(&folder.file("concepts"));
        assert_eq!(used(&service), held);
        assert!((0..700).all(|index| *service.read(&index.to_string()).unwrap() == *content(index).as_bytes()));
    }

    #[test]
    fn a_region_needs_the_pools_of_its_concepts_and_quotas_hold_for_what_it_has() {
        let folder = Folder::new("service-pools");
        let service = open(&folder.file("concepts"));
        populate(&service);
        let (before, pools) = (all(&service).len(), used(&service));
        drop(service);
        let less = |pools| AllocationServiceConfig { pool_configurations: pools, ..config(&folder.file("concepts")) };
        let error = MemoryAllocationService::open(less(vec![PoolConfig::new(ConceptType::ENTITY, 1 << 20)])).unwrap_err();
        assert!(matches!(&error, AllocationServiceError::Invalid { .. }) && error.to_string().contains("event"), "{error}");
        // What is refused is left alone: the region has not learnt of the pools that it was to be opened with.
        let other = ConceptType::new("another").unwrap();
        let known = std::fs::read(folder.file("concepts")).unwrap();
        let refused = less(vec![PoolConfig::new(ConceptType::ENTITY, 1 << 20), PoolConfig::new(other, 1 << 20)]);
        MemoryAllocationService::open(refused).unwrap_err();
        let has = |bytes: &[u8], name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
        assert!(has(&known, b"event") && !has(&std::fs::read(folder.file("concepts")).unwrap(), b"another"));
        // In another order, one of them with a quota that is exceeded already.
        let config = less(vec![PoolConfig::new(ConceptType::EVENT, 1), PoolConfig::new(ConceptType::ENTITY, 1 << 20)]);
        let service = MemoryAllocationService::open(config).unwrap();
        assert_eq!(all(&service).len(), before);
        for (id, bytes) in pools.iter().filter(|(_, bytes)| *bytes != 0) {
            assert!(used(&service).contains(&(id.clone(), *bytes)));
        }
        let mut event = request(1);
        event.concept_id = "new".to_owned();
        assert!(matches!(service.allocate_memory(event), Err(AllocationError::QuotaExceeded { .. })));
    }

    #[test]
    fn a_region_may_be_opened_with_other_pools_as_often_as_its_concepts_have_theirs() {
        let folder = Folder::new("service-many-pools");
        let pools = |round: usize| {
            let others = (0..62).map(move |index| PoolConfig::new(ConceptType::new(&format!("pool-{round}-{index}")).unwrap(), 1 << 20));
            [ConceptType::ENTITY, ConceptType::EVENT].map(|known| PoolConfig::new(known, 1 << 20)).into_iter().chain(others).collect()
        };
        let open = |round| {
            let config = AllocationServiceConfig { pool_configurations: pools(round), ..config(&folder.file("concepts")) };
            MemoryAllocationService::open(config).unwrap()
        };
        let service = open(0);
        populate(&service);
        let (before, bytes) = (all(&service), used(&service)[..2].to_vec());
        drop(service);
        for round in 1..7 {
            let service = open(round);
            assert_eq!((all(&service), used(&service)[..2].to_vec()), (before.clone(), bytes.clone()));
            // What lies in a pool that was named anew is found there.
            let name = format!("pool-{round}-61");
            service.allocate_memory(AllocationRequest::new("new", ConceptType::new(&name).unwrap(), "content")).unwrap();
            drop(service);
            let service = open(round);
            assert_eq!(service.read("new").unwrap().concept_type().as_str(), name);
            assert!(used(&service).iter().any(|(id, bytes)| *id == name && *bytes > 0));
            service.deallocate_memory("new".into()).unwrap();
        }
    }

    /// The same variant says why a service was not opened and why it was not synchronised.
    #[test]
    fn what_failed_of_a_service_s_memory_is_not_said_to_be_its_opening() {
        let error = AllocationServiceError::from(Error::File { name: "concepts", what: "bring it to disk", code: 5 });
        assert!(error.to_string().starts_with("the service's memory: concepts: the system refused to bring it to disk: "), "{error}");
    }

    #[test]
    fn a_region_of_another_program_is_refused_and_left_alone() {
        let folder = Folder::new("service-foreign");
        let arena = engram::Arena::builder().capacity(32 << 20).columns(8).path(folder.file("concepts")).build().unwrap();
        let layout = core::alloc::Layout::new::<[u64; 8]>();
        let block = arena.alloc(None, layout, SpikeTime::NONE).unwrap();
        let offset = arena.offset_of(block.as_ptr()).unwrap();
        drop(arena);
        let error = MemoryAllocationService::open(config(&folder.file("concepts"))).unwrap_err();
        assert!(matches!(error, AllocationServiceError::Arena(Error::Format { .. })), "{error}");
        let arena = engram::Arena::builder().capacity(32 << 20).columns(8).path(folder.file("concepts")).build().unwrap();
        assert!(arena.usable_size(arena.at(offset).unwrap()).is_some());
    }

    fn arena(path: &Path) -> Arena {
        Arena::builder().capacity(32 << 20).columns(8).path(path).build().unwrap()
    }

    /// A block of the program's own.
    type Take = fn(&Arena, core::alloc::Layout) -> core::ptr::NonNull<u8>;

    fn is_refused(path: &Path) -> bool {
        match MemoryAllocationService::open(config(path)) {
            Ok(_) => false,
            Err(AllocationServiceError::Arena(Error::Format { .. })) => true,
            Err(error) => panic!("{error}"),
        }
    }

    /// Seen with: closed files judged as others; roots that nobody looks at; publications that nobody looks at.
    #[test]
    fn a_block_of_the_programs_own_in_a_service_s_file_is_not_freed() {
        let folder = Folder::new("service-program");
        let (path, killed) = (folder.file("concepts"), folder.file("killed"));
        let service = open(&path);
        populate(&service);
        let before = all(&service);
        drop(service);
        let layout = core::alloc::Layout::new::<[u64; 100]>();
        let unnamed: Take = |arena, layout| arena.alloc(None, layout, SpikeTime::NONE).unwrap();
        let rooted: Take = |arena, layout| {
            let block = arena.alloc(None, layout, SpikeTime::NONE).unwrap();
            arena.set_root(3, arena.offset_of(block.as_ptr()).unwrap() as u64).unwrap();
            block
        };
        let published: Take = |arena, layout| {
            let block = arena.publish_root(None, layout, SpikeTime::NONE, 3).unwrap();
            arena.set_root(3, 0).unwrap();
            block
        };
        for (take, stays_after_a_kill) in [(unnamed, false), (rooted, true), (published, true)] {
            let of_program = arena(&path);
            let block = take(&of_program, layout);
            let offset = of_program.offset_of(block.as_ptr()).unwrap();
            std::fs::copy(&path, &killed).unwrap();
            drop(of_program);
            assert!(is_refused(&path), "it was closed: nothing is left of what was on its way");
            assert_eq!(is_refused(&killed), stays_after_a_kill);
            let of_program = arena(&path);
            let block = core::ptr::NonNull::new(of_program.at(offset).unwrap()).unwrap();
            // SAFETY: the program's block, still there.
            unsafe { of_program.free(block) }.unwrap();
            of_program.set_root(3, 0).unwrap();
            drop(of_program);
            assert_eq!(all(&open(&path)), before);
        }
    }

    /// The superblock is published, and where memory is scarce the slots beside it serve as well. Seen with: all that was published refused
    /// in a closed file, and in one whose process died.
    #[test]
    fn a_concept_that_lay_beside_the_superblock_is_the_services_also_when_it_was_freed() {
        let folder = Folder::new("service-beside");
        let (path, killed) = (folder.file("concepts"), folder.file("killed"));
        let config = |path: &Path| AllocationServiceConfig { capacity_bytes: 4 << 20, columns: 1, ..config(path) };
        let open = |path: &Path| MemoryAllocationService::open(config(path)).unwrap();
        let service = open(&path);
        let full = |service: &MemoryAllocationService| {
            let allocate = |id: &usize| service.allocate_memory(entity(id.to_string(), "x".repeat(13_000), "")).is_ok();
            (0..10_000).take_while(allocate).count()
        };
        let count = full(&service);
        for id in 0..count {
            service.deallocate_memory(id.to_string().as_str().into()).unwrap();
            if id % 40 == 0 {
                std::fs::copy(&path, &killed).unwrap();
                assert_eq!(all(&open(&killed)).len(), count - 1 - id);
            }
        }
        drop(service);
        let service = open(&path);
        assert_eq!((all(&service).len(), full(&service)), (0, count));
    }

    /// Seen with: all that a root names refused.
    #[test]
    fn a_root_that_names_where_a_concept_lay_does_no_harm() {
        let folder = Folder::new("service-named");
        let (path, killed) = (folder.file("concepts"), folder.file("killed"));
        let service = open(&path);
        let content = service.allocate_memory(entity("cat", "purrs", "")).unwrap().memory_slot.offset as usize;
        drop(service);
        let of_program = arena(&path);
        let is_block = |offset: &usize| of_program.usable_size(of_program.at(*offset).unwrap()).is_some();
        let block = (0..content).rev().find(is_block).unwrap();
        of_program.set_root(3, block as u64).unwrap();
        drop(of_program);
        let service = open(&path);
        service.update("cat", "sleeps").unwrap();
        std::fs::copy(&path, &killed).unwrap();
        drop(service);
        for path in [&path, &killed] {
            assert_eq!(&*open(path).read("cat").unwrap(), b"sleeps");
        }
    }

    /// Seen with: what the region says of its closing believed alone.
    #[test]
    fn what_a_kill_left_goes_though_another_program_has_opened_and_closed_the_region() {
        let folder = Folder::new("service-repaired");
        let (path, killed) = (folder.file("concepts"), folder.file("killed"));
        let service = open(&path);
        populate(&service);
        let before = all(&service);
        std::fs::copy(&path, &killed).unwrap();
        let repaired = arena(&killed);
        assert!(repaired.was_recovered());
        // As far as the service had come with a concept.
        repaired.alloc(None, core::alloc::Layout::new::<[u64; 100]>(), SpikeTime::NONE).unwrap();
        drop(repaired);
        for _ in 0..2 {
            let service = open(&killed);
            assert!(!service.was_recovered() && all(&service) == before);
        }
    }

    /// Seen with: a child that says so too.
    #[test]
    fn a_forked_child_that_drops_its_parents_service_does_not_say_that_it_is_closed() {
        let folder = Folder::new("service-forked");
        let (path, killed) = (folder.file("concepts"), folder.file("killed"));
        let service = open(&path);
        service.allocate_memory(request(1)).unwrap();
        let ended = child::fork(|_| {
            // SAFETY: the child's copy, which nobody else drops there.
            drop(unsafe { core::ptr::read(&raw const service) });
        });
        assert_eq!(ended.end, child::End::Exit(0));
        std::fs::copy(&path, &killed).unwrap();
        let repaired = arena(&killed);
        repaired.alloc(None, core::alloc::Layout::new::<[u64; 100]>(), SpikeTime::NONE).unwrap();
        drop(repaired);
        assert_eq!(all(&open(&killed)).len(), 1);
    }

    /// What its parent was about to give back, it has, too, and comes by it when a thread that pinned the service is over, or the service
    /// is. Seen with: a child that gives it back.
    #[test]
    fn a_forked_child_that_ends_changes_nothing_in_its_parents_file() {
        let folder = Folder::in_memory("service-forked-ends");
        let path = folder.file("concepts");
        let config = AllocationServiceConfig { capacity_bytes: 2 << 20, columns: 1, ..config(&path) };
        let service = MemoryAllocationService::open(config.clone()).unwrap();
        (0..100).for_each(|index| drop(service.allocate_memory(request(index)).unwrap()));
        let content = |round: usize| format!("what it is in round {round}");
        // A thread comes by in every 128th epoch that it pins: each child has pinned another number of them.
        for round in 0..600 {
            (0..round % 3).for_each(|_| drop(service.read("concept 0").unwrap()));
            service.update(&format!("concept {}", round % 100), &content(round)).unwrap();
            let before = std::fs::read(&path).unwrap();
            let ended = child::fork(|_| {
                if round < 300 {
                    // SAFETY: the child has this thread alone, which ends with it.
                    unsafe { libc::exit(0) };
                }
                // SAFETY: the child's copy, which nobody else drops there.
                drop(unsafe { core::ptr::read(&raw const service) });
            });
            assert_eq!(ended.end, child::End::Exit(0));
            assert!(std::fs::read(&path).unwrap() == before, "round {round}");
        }
        drop(service);
        let service = MemoryAllocationService::open(config).unwrap();
        assert!((0..100).all(|index| *service.read(&format!("concept {index}")).unwrap() == *content(500 + index).as_bytes()));
    }

    /// The file is as long as it was, and still says whether its process died: what it was opened with before is all right again.
    /// Seen with: what lies behind the region cut off before it grows; what lies behind what it would grow to.
    #[test]
    fn a_region_that_is_refused_does_not_grow_and_is_still_to_be_recovered() {
        let folder = Folder::new("service-refused");
        let pools = |types: &[ConceptType]| types.iter().map(|&concept_type| PoolConfig::new(concept_type, 1 << 20)).collect();
        let config = |name: &str, capacity_bytes, types: &[ConceptType]| AllocationServiceConfig {
            capacity_bytes,
            pool_configurations: pools(types),
            ..config(&folder.file(name))
        };
        let both = [ConceptType::ENTITY, ConceptType::EVENT];
        let service = MemoryAllocationService::open(config("closed", 4 << 20, &both)).unwrap();
        (0..100).for_each(|index| drop(service.allocate_memory(request(index)).unwrap()));
        let concepts = all(&service);
        std::fs::copy(folder.file("closed"), folder.file("killed")).unwrap();
        drop(service);
        let length = |name: &str| std::fs::metadata(folder.file(name)).unwrap().len();
        for (name, died) in [("closed", false), ("killed", true)] {
            let region = length(name);
            // What somebody else has put behind the region is there, too, as long as the file is refused.
            let mut file = std::fs::File::options().append(true).open(folder.file(name)).unwrap();
            // In the one file farther behind than the region would reach.
            file.set_len(region + if died { 32 << 20 } else { 0 }).unwrap();
            std::io::Write::write_all(&mut file, b"a line that was appended\n").unwrap();
            let before = length(name);
            for capacity in [4 << 20, 8 << 20] {
                let refused = MemoryAllocationService::open(config(name, capacity, &both[..1])).unwrap_err();
                assert!(matches!(refused, AllocationServiceError::Invalid { .. }), "{refused}");
                assert_eq!(length(name), before);
                assert!(std::fs::read(folder.file(name)).unwrap().ends_with(b"a line that was appended\n"));
            }
            let service = MemoryAllocationService::open(config(name, 4 << 20, &both)).unwrap();
            assert_eq!((service.was_recovered(), all(&service)), (died, concepts.clone()));
            drop(service);
            // Who is not refused grows it.
            let service = MemoryAllocationService::open(config(name, 8 << 20, &both)).unwrap();
            assert!(!service.was_recovered() && all(&service) == concepts && length(name) > region);
        }
    }

    #[test]
    fn another_programs_region_that_is_refused_is_its_owners_as_before() {
        let folder = Folder::new("service-refused-foreign");
        let builder = |name: &str| engram::Arena::builder().capacity(4 << 20).columns(8).path(folder.file(name));
        let arena = builder("closed").build().unwrap();
        let block = arena.alloc(None, core::alloc::Layout::new::<[u64; 8]>(), SpikeTime::NONE).unwrap();
        let offset = arena.offset_of(block.as_ptr()).unwrap();
        std::fs::copy(folder.file("closed"), folder.file("killed")).unwrap();
        drop(arena);
        for (name, died) in [("closed", false), ("killed", true)] {
            let refused = MemoryAllocationService::open(config(&folder.file(name))).unwrap_err();
            assert!(matches!(refused, AllocationServiceError::Arena(Error::Format { .. })), "{refused}");
            let arena = builder(name).build().unwrap();
            assert_eq!(arena.was_recovered(), died);
            assert!(arena.usable_size(arena.at(offset).unwrap()).is_some());
        }
    }

    #[test]
    fn what_an_alternative_served_is_updated_there_once_the_pool_of_its_type_is_gone() {
        let folder = Folder::new("alternative");
        let path = folder.file("s.engram");
        let event = PoolConfig::new(ConceptType::EVENT, 1 << 20);
        let entity = PoolConfig { alternatives: vec![ConceptType::EVENT], ..PoolConfig::new(ConceptType::ENTITY, 0) };
        let open_with = |pools| MemoryAllocationService::open(AllocationServiceConfig { pool_configurations: pools, ..config(&path) });
        let service = open_with(vec![entity, event.clone()]).unwrap();
        let served = service.allocate_memory(AllocationRequest::new("a", ConceptType::ENTITY, "first")).unwrap();
        assert_eq!(served.memory_pool_id, "event");
        drop(service);
        // It has every pool that has concepts.
        let service = open_with(vec![event]).unwrap();
        let updated = service.update("a", "second").unwrap();
        assert_eq!((updated.memory_pool_id.as_str(), updated.memory_slot.version), ("event", 2));
        assert_eq!((&*service.read("a").unwrap(), *service.read("a").unwrap().concept_type()), (&b"second"[..], ConceptType::ENTITY));
        service.deallocate_memory("a".into()).unwrap();
        assert_eq!(used(&service), [("event".to_owned(), 0)]);
    }
}
