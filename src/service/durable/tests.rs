use super::*;
use crate::service::{AllocationRequest, AllocationServiceConfig, MemoryAllocationService};

#[test]
fn a_superblock_that_was_being_made_is_made_anew_whatever_was_stored_there_before() {
    let arena = Arena::builder().capacity(2 << 20).columns(1).build().unwrap();
    let layout = core::alloc::Layout::from_size_align(1000, 16).unwrap();
    let blocks: Vec<_> = core::iter::from_fn(|| arena.alloc(None, layout, SpikeTime::NONE).ok()).collect();
    for block in blocks {
        // SAFETY: ours, as large, and not used afterwards.
        unsafe { block.write_bytes(0xa5, layout.size()) };
        // SAFETY: as above.
        unsafe { arena.free(block) }.unwrap();
    }
    // As far as a process came that was killed then.
    arena.set_root(MAKING_ROOT, MAKING).unwrap();
    arena.publish_root(None, core::alloc::Layout::new::<Superblock>(), SpikeTime::NONE, ROOT).unwrap();
    assert_eq!(Durable::superblock_of(&arena).unwrap(), None);
    let made = Durable::make_superblock(&arena).unwrap();
    assert_eq!((Durable::superblock_of(&arena).unwrap(), arena.metrics().live_blocks()), (Some(made), 1));
    assert_eq!(arena.root(MAKING_ROOT), Ok(0));
    // Where there is more than it, it is whole, whatever that root says. Seen with: no look at what else there is.
    arena.alloc_sized(None, 64, 16, SpikeTime::NONE).unwrap();
    arena.set_root(MAKING_ROOT, MAKING).unwrap();
    assert_eq!(Durable::superblock_of(&arena).unwrap(), Some(made));
    // SAFETY: M1: the superblock.
    unsafe { made.as_ref() }.magic.store(0xa5, Relaxed);
    assert!(Durable::superblock_of(&arena).is_err());
}

fn file(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("engram-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// A closed file with 50 concepts, and what it is opened with.
fn fifty(name: &str) -> (std::path::PathBuf, AllocationServiceConfig) {
    let path = file(name);
    let config = AllocationServiceConfig { path: Some(path.clone()), capacity_bytes: 2 << 20, columns: 2, ..Default::default() };
    let service = MemoryAllocationService::open(config.clone()).unwrap();
    for index in 0..50 {
        service.allocate_memory(AllocationRequest::new(format!("c{index}"), ConceptType::ALL[index % 8], "content")).unwrap();
    }
    service.link("c1", "c2").unwrap();
    (path, config)
}

fn arena_of(config: &AllocationServiceConfig) -> Arena {
    Arena::builder().capacity(config.capacity_bytes).columns(config.columns).path(config.path.as_ref().unwrap()).build().unwrap()
}

/// Either the file is refused as damaged, or the concepts are there: whether that is so.
fn is_refused(config: &AllocationServiceConfig) -> bool {
    use crate::service::AllocationServiceError;
    match MemoryAllocationService::open(config.clone()) {
        Ok(service) => {
            assert_eq!(service.concept_ids().len(), 50);
            false
        }
        Err(AllocationServiceError::Arena(Error::Format { .. })) => true,
        Err(error) => panic!("{error}"),
    }
}

/// Seen with: no checksum of the mark; none of names; one of names without their lengths.
#[test]
#[cfg_attr(miri, ignore = "region files")]
fn a_bit_of_the_superblock_that_flips_is_damage_or_does_not_matter() {
    let (path, config) = fifty("flips");
    let killed = AllocationServiceConfig { path: Some(file("flips-killed")), ..config.clone() };
    let flip = |arena: &Arena, word: usize, bit: u32| {
        let block = Durable::at_root(arena).unwrap().cast::<AtomicU64>();
        // SAFETY: M1: the superblock is made of such words, and has more.
        unsafe { block.add(word).as_ref() }.fetch_xor(1 << bit, Relaxed);
    };
    let pools = core::mem::offset_of!(Superblock, pools) / 8;
    // Magic, mark and its checksum, state, sum, log; a batch; a name, and a part of what has none.
    for word in (0..7).chain(pools..pools + 5).chain(pools + 8 * 5..pools + 8 * 5 + 2) {
        for bit in 0..64 {
            let arena = arena_of(&config);
            flip(&arena, word, bit);
            std::fs::copy(&path, killed.path.as_ref().unwrap()).unwrap();
            drop(arena);
            let refused = is_refused(&config);
            // What a killed process had, and was at with the log or a batch, nobody knows.
            assert!(is_refused(&killed) == refused || [4, 5].contains(&word), "word {word}, bit {bit}");
            let is_said_twice = word < 6 || (pools..pools + 5).contains(&word);
            assert!(refused || !is_said_twice, "word {word}, bit {bit}");
            let arena = arena_of(&config);
            if refused {
                flip(&arena, word, bit);
            }
            drop(arena);
        }
        assert!(!is_refused(&config), "word {word}: it is as it was");
    }
    let service = MemoryAllocationService::open(config).unwrap();
    assert_eq!(service.cortex.edges(), 1);
    drop(service);
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(killed.path.unwrap()).unwrap();
}

/// Seen with: a closed file judged as one that was not closed.
#[test]
#[cfg_attr(miri, ignore = "region files")]
fn a_bit_of_a_slots_mark_that_flips_in_a_closed_file_is_damage() {
    let (path, config) = fifty("slot-flips");
    let mark_of_one = |arena: &Arena| {
        let mut slot = None;
        // SAFETY: M1: a live block, the superblock.
        let superblock = unsafe { Durable::at_root(arena).unwrap().as_ref() };
        arena
            .each_block(|_, block, _| {
                // SAFETY: M1: a live block has at least two words.
                let word = unsafe { block.cast::<AtomicU64>().as_ref() };
                if Durable::counts(superblock, word.load(Relaxed)) {
                    slot = Some(block.cast::<AtomicU64>());
                }
                Ok(())
            })
            .unwrap();
        slot.unwrap()
    };
    for bit in 0..64 {
        let arena = arena_of(&config);
        let mark = mark_of_one(&arena);
        let offset = arena.offset_of(mark.as_ptr().cast()).unwrap();
        // SAFETY: M1: as above.
        unsafe { mark.as_ref() }.fetch_xor(1 << bit, Relaxed);
        drop(arena);
        assert!(is_refused(&config), "bit {bit}");
        let arena = arena_of(&config);
        let mark = arena.at(offset).unwrap().cast::<u64>();
        // SAFETY: the block is still there, and nobody else uses it.
        unsafe { *mark ^= 1 << bit };
    }
    assert!(!is_refused(&config));
    std::fs::remove_file(path).unwrap();
}

/// As it is if a bit of the live map, or of the remote map, flips. Seen with: no look at what they come to.
#[test]
#[cfg_attr(miri, ignore = "region files")]
fn a_concept_that_is_missing_in_a_closed_file_is_damage() {
    use crate::service::AllocationServiceError;
    let (path, config) = fifty("missing");
    let killed = AllocationServiceConfig { path: Some(file("missing-killed")), ..config.clone() };
    let service = MemoryAllocationService::open(config.clone()).unwrap();
    // One of them has come and gone, and others were moved and stored anew.
    service.allocate_memory(AllocationRequest::new("gone", ConceptType::ENTITY, "content")).unwrap();
    service.deallocate_memory("gone".into()).unwrap();
    (0..50).step_by(7).for_each(|index| _ = service.update(&format!("c{index}"), "another content").unwrap());
    let block = service.registry.find("c7").unwrap().block().unwrap();
    let offset = service.arena.offset_of(block.as_ptr()).unwrap();
    drop(service);
    assert!(!is_refused(&config), "all are there");
    let arena = arena_of(&config);
    // SAFETY: nobody uses it.
    unsafe { arena.free(NonNull::new(arena.at(offset).unwrap()).unwrap()) }.unwrap();
    std::fs::copy(&path, killed.path.as_ref().unwrap()).unwrap();
    drop(arena);
    match MemoryAllocationService::open(config) {
        Err(AllocationServiceError::Arena(Error::Format { why, .. })) => assert!(why.contains("missing"), "{why}"),
        other => panic!("{:?}", other.map(|service| service.concept_ids().len())),
    }
    // What was on its way when a process died, nobody knows.
    assert_eq!(MemoryAllocationService::open(killed.clone()).unwrap().concept_ids().len(), 49);
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(killed.path.unwrap()).unwrap();
}

/// Seen with: hashes without the mark.
#[test]
fn the_mark_of_a_region_enters_the_hashes_of_ids_in_its_log() {
    let entries = [1, 2].map(|number| {
        let path = std::env::temp_dir().join(format!("engram-hashes-{number}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let config = AllocationServiceConfig { path: Some(path.clone()), capacity_bytes: 4 << 20, columns: 2, ..Default::default() };
        let service = MemoryAllocationService::open(config).unwrap();
        for id in ["cat", "feline"] {
            service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "purrs")).unwrap();
        }
        service.link("cat", "feline").unwrap();
        let log = service.durable.as_ref().unwrap().superblock().log.load(Relaxed);
        let block = service.arena.at(log as usize).unwrap().cast::<[u64; 4]>();
        // SAFETY: M1: the log's first block, in which two words come before the first entry.
        let [_, _, one, other] = unsafe { block.read() };
        std::fs::remove_file(&path).unwrap();
        [one, other]
    });
    assert!(entries.as_flattened().iter().all(|&hash| hash % 2 == 1), "an edge");
    assert!(entries[0][0] != entries[1][0] && entries[0][1] != entries[1][1]);
}

/// Seen with: a batch that waits for a record with a permit in its hand.
#[test]
fn who_waits_for_a_record_keeps_no_permit_from_others() {
    let path = std::env::temp_dir().join(format!("engram-records-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let config = AllocationServiceConfig {
        path: Some(path.clone()),
        capacity_bytes: 4 << 20,
        columns: 2,
        max_concurrent_allocations: 1,
        admission_timeout: Duration::from_secs(60),
        ..AllocationServiceConfig::default()
    };
    let service = MemoryAllocationService::open(config).unwrap();
    let durable = service.durable.as_ref().unwrap();
    let begin = || durable.begin(|| SpikeTime::NONE, Duration::ZERO);
    let mut begun: Vec<_> = (0..BATCHES).map(|_| begin().unwrap()).collect();
    assert!(begin().is_err());
    let request = |id: &str| AllocationRequest::new(id, ConceptType::ENTITY, "purrs");
    let (waited, alone, done) = std::thread::scope(|scope| {
        let batch = scope.spawn(|| service.batch_allocate_memory(vec![request("waits")]).map(|served| served.len()));
        while durable.gate.waiting() == 0 {
            std::thread::yield_now();
        }
        let (done, is_done) = std::sync::mpsc::channel();
        let alone = scope.spawn(|| {
            let alone = service.allocate_memory(request("alone")).map(|_| ());
            drop(done);
            alone
        });
        let went = is_done.recv_timeout(Duration::from_secs(20));
        begun.pop();
        (batch.join().unwrap(), alone.join().unwrap(), went)
    });
    assert_eq!((waited, alone, done), (Ok(1), Ok(()), Err::<(), _>(std::sync::mpsc::RecvTimeoutError::Disconnected)));
    drop(begun);
    std::fs::remove_file(path).unwrap();
}

/// Seen with: the service's permits in the message, as if there were 256.
#[test]
fn where_the_records_of_batches_are_taken_the_error_says_so_and_only_batches_wait() {
    use crate::guidance::{AllocationError, Occupied};
    let path = file("records-taken");
    let config = AllocationServiceConfig {
        path: Some(path.clone()),
        capacity_bytes: 4 << 20,
        columns: 2,
        admission_timeout: Duration::ZERO,
        ..AllocationServiceConfig::default()
    };
    let service = MemoryAllocationService::open(config).unwrap();
    let durable = service.durable.as_ref().unwrap();
    let begun: Vec<_> = (0..BATCHES).map(|_| durable.begin(|| SpikeTime::NONE, Duration::ZERO).unwrap()).collect();
    let batch = |id: &str| vec![AllocationRequest::new(id, ConceptType::ENTITY, "purrs")];
    let refused = service.batch_allocate_memory(batch("cat")).unwrap_err();
    assert_eq!(refused, AllocationError::Busy { what: Occupied::FilePermits { permits: BATCHES, waited: Duration::ZERO } });
    assert!(service.batch_allocate_each(batch("cat"))[0].is_ok());
    drop(begun);
    service.batch_allocate_memory(batch("feline")).unwrap();
    std::fs::remove_file(path).unwrap();
}

/// What a test of a file has: a service in it, and a way to open a copy of the file as it is at that moment.
fn in_a_file(name: &str, test: impl Fn(&MemoryAllocationService, &dyn Fn() -> core::result::Result<MemoryAllocationService, Error>)) {
    use crate::service::AllocationServiceError;
    let [path, copy] = ["", "-copy"].map(|end| std::env::temp_dir().join(format!("engram-{name}{end}-{}", std::process::id())));
    let open = |path: &std::path::PathBuf| {
        let config = AllocationServiceConfig { path: Some(path.clone()), capacity_bytes: 4 << 20, columns: 2, ..Default::default() };
        MemoryAllocationService::open(config).map_err(|error| match error {
            AllocationServiceError::Arena(error) => error,
            other => panic!("{other}"),
        })
    };
    let _ = std::fs::remove_file(&path);
    let service = open(&path).unwrap();
    test(&service, &|| {
        std::fs::copy(&path, &copy).unwrap();
        open(&copy)
    });
    drop(std::fs::remove_file(copy));
    std::fs::remove_file(path).unwrap();
}

/// Where memory is scarce it may be on its way to be a concept, or back, when the process dies. Seen with: all that was published
/// refused.
#[test]
fn what_lies_beside_the_superblock_of_a_file_that_nobody_closed_goes_like_any_other() {
    in_a_file("beside", |service, reopened| {
        let take = || service.arena.alloc_sized(None, 13_000, 16, SpikeTime::NONE);
        let beside = |block: &NonNull<u8>| service.arena.lie_together(*block, service.durable.as_ref().unwrap().superblock.cast());
        assert!(core::iter::from_fn(|| take().ok()).filter(beside).count() > 0);
        assert_eq!(reopened().unwrap().arena.metrics().live_blocks(), 1);
    });
}

/// B1, wherever they lie. Seen with: the last one that is found kept.
#[test]
fn of_several_slots_of_a_concept_the_one_with_the_highest_version_counts() {
    use crate::guidance::{AllocationPriority, AllocationStrategyType};
    use crate::service::slot::{Concept, Slot};
    in_a_file("versions", |service, reopened| {
        let pool = service.pool_number(service.find_pool(ConceptType::ENTITY).unwrap());
        let mut blocks = [(); 3].map(|()| service.arena.alloc_sized(None, 128, 16, SpikeTime::NONE).unwrap());
        blocks.sort_unstable();
        for (block, version) in blocks.into_iter().zip([1, 3, 2]) {
            let content = [b'0' + version];
            let concept = Concept {
                id: "cat",
                concept_type: ConceptType::ENTITY,
                content: &content,
                version: version.into(),
                spike: SpikeTime::NONE,
                wanted: 0,
                accesses: 0.0,
                priority: AllocationPriority::Normal,
                strategy: AllocationStrategyType::Balanced,
                pool,
            };
            // SAFETY: V1: the block is ours, and as large.
            unsafe { Slot::write(block, &concept, service.mark()) };
        }
        let service = reopened().unwrap();
        let read = service.read("cat").unwrap();
        assert_eq!((&*read, read.version()), (&b"3"[..], 3));
        // It, and the superblock.
        assert_eq!(service.arena.metrics().live_blocks(), 2);
    });
}

/// Seen with: no look at the slot's checksum.
#[test]
fn a_file_with_a_damaged_slot_is_refused_and_says_so() {
    in_a_file("damaged-slot", |service, reopened| {
        service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, "purrs")).unwrap();
        let block = service.registry.find("cat").unwrap().block().unwrap();
        // SAFETY: the first byte of the content, which nobody reads meanwhile.
        let change = || unsafe { *block.add(crate::service::slot::Slot::at(block).content_at()).as_ptr() ^= 1 };
        change();
        let refused = reopened().unwrap_err();
        assert!(matches!(refused, Error::Format { why, .. } if why.contains("slot of a concept")), "{refused}");
        change();
        assert_eq!(&*reopened().unwrap().read("cat").unwrap(), b"purrs");
    });
}

/// Seen with: blocks that are followed however often they come.
#[test]
fn a_file_whose_log_leads_back_to_itself_is_refused_and_says_so() {
    in_a_file("log-circle", |service, reopened| {
        for id in ["cat", "feline"] {
            service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "purrs")).unwrap();
        }
        service.link("cat", "feline").unwrap();
        let first = service.durable.as_ref().unwrap().superblock().log.load(Relaxed);
        // SAFETY: M1: the log's first block, which begins with what leads to the next.
        let next = unsafe { service.arena.at(first as usize).unwrap().cast::<AtomicU64>().as_ref() }.unwrap();
        next.store(first, Relaxed);
        let refused = reopened().unwrap_err();
        assert!(matches!(refused, Error::Format { why, .. } if why.contains("log of its edges")), "{refused}");
        next.store(0, Relaxed);
        reopened().unwrap();
    });
}

/// Seen with: maintenance that leaves the log as it is.
#[test]
fn maintenance_compacts_the_log_once_half_of_it_says_nothing_any_more() {
    in_a_file("log-compacted", |service, _| {
        service.allocate_memory(AllocationRequest::new("hub", ConceptType::ENTITY, "a hub")).unwrap();
        for leaf in 0..500 {
            let request = AllocationRequest::new(leaf.to_string(), ConceptType::ENTITY, "a leaf");
            service.allocate_memory(AllocationRequest { locality_hints: vec!["hub".to_owned()], ..request }).unwrap();
        }
        (0..500).for_each(|leaf: u32| _ = service.deallocate_memory(leaf.to_string().into()).unwrap());
        let blocks = || service.durable.as_ref().unwrap().log.blocks().len();
        assert_eq!(blocks(), 1);
        while service.maintain(Duration::from_secs(60)).more {}
        assert_eq!(blocks(), 0);
    });
}

/// Leaves of 40 hubs, each of whose edges is in the log.
fn leaves(service: &MemoryAllocationService, leaves: core::ops::Range<u32>) {
    for leaf in leaves {
        let request = AllocationRequest::new(leaf.to_string(), ConceptType::ENTITY, "");
        let hub = format!("hub {}", leaf % 40);
        service.allocate_memory(AllocationRequest { locality_hints: vec![hub], ..request }).unwrap();
    }
}

/// Seen with: edges that take all there is; a log that is cut off behind its last edge.
#[test]
fn a_log_has_room_for_ends_also_when_it_was_compacted() {
    in_a_file("log-room", |service, _| {
        let durable = service.durable.as_ref().unwrap();
        // Of the 1,023 entries of a block they leave 128.
        for (range, blocks) in [(0..895, 1), (895..1000, 2)] {
            leaves(service, range);
            assert_eq!(durable.log.blocks().len(), blocks);
        }
        for (kept, blocks) in [(1000, 2), (800, 1), (0, 0)] {
            let mut edges = 0;
            let keep = |_, _| {
                edges += 1;
                edges <= kept
            };
            durable.log.retain(&service.arena, &durable.superblock().log, keep).unwrap();
            assert_eq!(durable.log.blocks().len(), blocks, "{kept} edges");
        }
    });
}

/// Else each block would take as long as reading all. Seen with: no note of what was left.
#[test]
fn a_log_of_which_much_is_live_grows_to_several_times_that_before_it_is_compacted() {
    in_a_file("log-grows", |service, _| {
        leaves(service, 0..2000);
        let mut most = 0;
        for _ in 0..3500 {
            let request = AllocationRequest::new("comes and goes", ConceptType::ENTITY, "");
            service.allocate_memory(AllocationRequest { locality_hints: vec!["hub 1".to_owned()], ..request }).unwrap();
            service.deallocate_memory("comes and goes".into()).unwrap();
            most = most.max(service.durable.as_ref().unwrap().log.blocks().len());
        }
        assert!((6..=9).contains(&most), "{most} blocks");
    });
}

/// Seen with: edges written each time that they are said; ends of what has no edges.
#[test]
fn what_says_nothing_new_is_not_written_into_the_log() {
    in_a_file("log-known", |service, _| {
        let blocks = || service.durable.as_ref().unwrap().log.blocks().len();
        for id in ["cat", "feline", "lonely"] {
            service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "purrs")).unwrap();
        }
        service.deallocate_memory("lonely".into()).unwrap();
        assert_eq!(blocks(), 0);
        // More than a block has entries.
        (0..1100).for_each(|_| service.link("feline", "cat").unwrap());
        assert_eq!(blocks(), 1);
    });
}

/// However few edges there were, or even none: room was made for one that was known, or of a concept to itself. Seen with: a log
/// that is compacted only once it has half a block of entries.
#[test]
fn a_file_of_which_all_was_freed_holds_as_much_as_a_new_one_whatever_was_linked() {
    in_a_file("log-emptied", |service, _| {
        let request = |id: &str, content: String| AllocationRequest::new(id, ConceptType::ENTITY, content);
        let free = |id: &str| drop(service.deallocate_memory(id.into()).unwrap());
        // A chunk.
        let is_there_room = || service.allocate_memory(request("large", "x".repeat(2_093_056))).map(|_| free("large"));
        let blocks = || service.durable.as_ref().unwrap().log.blocks().len();
        let longest = || service.arena.longest_free_bytes();
        let as_new = (0, longest(), Ok(()));
        is_there_room().unwrap();
        let emptied = [0, 1, 100].map(|edges| {
            // The log's block comes to lie in another chunk than the superblock.
            (0..33).for_each(|index| drop(service.allocate_memory(request(&format!("full{index}"), "y".repeat(60_000))).unwrap()));
            service.link("full0", "full0").unwrap();
            for index in 0..edges {
                let request = request(&format!("near{index}"), "z".to_owned());
                service.allocate_memory(AllocationRequest { locality_hints: vec!["full0".to_owned()], ..request }).unwrap();
            }
            assert_eq!(blocks(), 1);
            service.concept_ids().iter().for_each(|id| free(id));
            while service.maintain(Duration::from_secs(60)).more {}
            (blocks(), longest(), is_there_room())
        });
        assert_eq!(emptied, [(); 3].map(|()| as_new.clone()));
    });
}

/// Seen with: a log that is compacted after the arena's turn, and the next call not told.
#[test]
fn once_maintenance_has_no_more_to_do_no_block_of_the_log_is_left_to_give_back() {
    in_a_file("log-tidied", |service, _| {
        let allocate = |id: &str, hints: &[&str]| {
            let request = AllocationRequest::new(id, ConceptType::ENTITY, "y".repeat(600));
            let locality_hints = hints.iter().map(|&hint| hint.to_owned()).collect();
            service.allocate_memory(AllocationRequest { locality_hints, ..request }).unwrap();
        };
        let settled = || {
            while service.maintain(Duration::from_secs(60)).more {}
            service.arena.free_spans()
        };
        allocate("cat", &[]);
        let free = settled();
        service.link("cat", "cat").unwrap();
        assert_eq!(settled(), free, "room for what was known");
        allocate("dog", &["cat"]);
        assert_eq!(settled(), free - 1, "an edge");
        service.deallocate_memory("cat".into()).unwrap();
        assert_eq!(settled(), free, "no edge any more");
    });
}

/// Seen with: a commit that is left out; a mark without the batch's number.
#[test]
#[cfg_attr(miri, ignore = "region files")]
fn of_batches_at_the_same_time_those_count_that_are_committed() {
    in_a_file("batches-apart", |service, _| {
        let durable = service.durable.as_ref().unwrap();
        let begin = || durable.begin(|| SpikeTime::NONE, Duration::ZERO).unwrap();
        let counts = |mark| Durable::counts(durable.superblock(), mark);
        let (one, other) = (begin(), begin());
        assert!(!counts(one.mark) && !counts(other.mark));
        one.commit();
        assert!(counts(one.mark) && !counts(other.mark));
        let left = one.mark;
        drop(one);
        // It has the same record.
        begin().commit();
        let again = begin();
        again.commit();
        assert!(counts(again.mark) && !counts(left) && !counts(other.mark));
    });
}

/// Seen with: a batch's slot that is let pass in a closed file; one that a root names, taken for a program's.
#[test]
#[cfg_attr(miri, ignore = "region files")]
fn what_has_a_batchs_mark_goes_from_a_file_that_was_not_closed_and_is_damage_in_a_closed_one() {
    let (path, config) = fifty("batch-mark");
    let killed = AllocationServiceConfig { path: Some(file("batch-mark-killed")), ..config.clone() };
    let arena = arena_of(&config);
    // SAFETY: M1: a live block, the superblock.
    let superblock = unsafe { Durable::at_root(&arena).unwrap().as_ref() };
    let mark = superblock.mark.load(Relaxed);
    let mut slot = None;
    arena
        .each_block(|_, block, _| {
            slot = slot.or(Some(Slot::at(block)).filter(|slot| slot.mark() == mark));
            Ok(())
        })
        .unwrap();
    let slot = slot.unwrap();
    slot.set_mark(mark ^ (BATCH_MARK | 3 << NUMBER_BITS | 7));
    // A program may note where a concept lay.
    arena.set_root(3, arena.offset_of(slot.block().as_ptr()).unwrap() as u64).unwrap();
    superblock.state.store(OPEN, Relaxed);
    std::fs::copy(&path, killed.path.as_ref().unwrap()).unwrap();
    superblock.state.store(CLOSED, Relaxed);
    drop(arena);
    let Err(error) = MemoryAllocationService::open(config) else { panic!("it is damaged") };
    assert!(error.to_string().contains("the mark of a concept in it is damaged"), "{error}");
    assert_eq!(MemoryAllocationService::open(killed.clone()).unwrap().concept_ids().len(), 49);
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(killed.path.unwrap()).unwrap();
}

/// What is taken anew would look like a concept if the process died before it is written. Seen with: marks that stay when a file is
/// opened that was not closed.
#[test]
#[cfg_attr(miri, ignore = "region files")]
fn what_an_opening_frees_has_no_mark_any_more() {
    in_a_file("marks-go", |service, copied| {
        for index in 0..20 {
            service.allocate_memory(AllocationRequest::new(format!("c{index}"), ConceptType::ENTITY, "purrs")).unwrap();
        }
        // An older version, as a kill leaves it beside the newer one.
        let node = service.registry.find("c7").unwrap();
        let old = Slot::at(node.block().unwrap());
        service.update("c7", "sleeps").unwrap();
        old.set_mark(service.mark());
        let again = copied().unwrap();
        assert_eq!(&*again.read("c7").unwrap(), b"sleeps");
        let with_the_mark = (0..again.arena.capacity()).step_by(16).filter(|&offset| {
            let word = again.arena.at(offset).unwrap().cast::<u64>();
            // SAFETY: a word of user memory, which nobody else uses meanwhile.
            unsafe { word.read() == again.mark() }
        });
        assert_eq!(with_the_mark.count(), 20);
    });
}

/// To compact is to read all of it. Seen with: one entry, and not two, for each edge that is known.
#[test]
#[cfg_attr(miri, ignore = "region files")]
fn a_log_is_compacted_by_maintenance_once_half_of_it_says_nothing() {
    in_a_file("log-half", |service, _| {
        leaves(service, 0..2000);
        let durable = service.durable.as_ref().unwrap();
        let free =
            |leaves: core::ops::Range<u32>| leaves.for_each(|leaf| drop(service.deallocate_memory(leaf.to_string().into()).unwrap()));
        let blocks = || {
            durable.compact(&service.arena, service.cortex.edges()).unwrap();
            durable.log.blocks().len()
        };
        free(0..500);
        assert_eq!(blocks(), 3);
        free(500..1050);
        assert_eq!(blocks(), 2);
    });
}
