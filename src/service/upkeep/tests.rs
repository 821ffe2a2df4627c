use super::*;
use crate::guidance::{AllocationPriority, AllocationRequest, ConceptType};
use crate::service::AllocationServiceConfig;

fn settle(service: &MemoryAllocationService) {
    while service.maintain(Duration::from_secs(60)).more {}
}

#[test]
fn what_is_pinned_stays_in_its_slot_when_its_neighbours_are_laid_out_anew() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let block = |id: &str| service.registry.find(id).unwrap().block();
    for index in 0..1000 {
        service.allocate_memory(AllocationRequest::new(index.to_string(), ConceptType::ENTITY, "purrs")).unwrap();
    }
    let (pin, before, other) = (service.pin("500").unwrap(), block("500"), block("800"));
    for index in (0..1000).filter(|index| index % 100 != 0) {
        service.deallocate_memory(index.to_string().as_str().into()).unwrap();
    }
    settle(&service);
    assert_eq!(block("500"), before);
    assert_ne!(block("800"), other);
    service.hand_back(pin);
    assert_eq!(&*service.read("500").unwrap(), b"purrs");
}

/// Contents may be large: what is hot moves one by one. Seen with: as many at a time as are looked at.
#[test]
fn of_what_is_read_often_each_moves_in_a_step_of_its_own() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    for index in 0..20 {
        service.allocate_memory(AllocationRequest::new(index.to_string(), ConceptType::ENTITY, "purrs")).unwrap();
    }
    settle(&service);
    (0..20).for_each(|index| (0..5000).for_each(|_| drop(service.read(&index.to_string()).unwrap())));
    let (mut moved, mut hot) = (Vec::new(), false);
    let mut upkeep = Upkeep::default();
    let mut report = MaintenanceReport::default();
    while !hot {
        hot = service.step_warm(&mut upkeep, &mut report) == Went::Done;
        moved.push(core::mem::take(&mut report.relocated));
    }
    assert_eq!((moved.iter().sum::<u64>(), moved.iter().max()), (20, Some(&1)));
}

/// A service that was full, and in which two are left: `small`, in a slot of the larger size of those that filled it, and `other`.
fn emptied() -> MemoryAllocationService {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 2, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let allocate = |id: &str, bytes| service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "x".repeat(bytes)));
    allocate("other", 3000).unwrap();
    let filled = (0..10_000).map(|index: u32| index.to_string()).take_while(|id| allocate(id, 1500).is_ok()).count();
    let free = |id: usize| service.deallocate_memory(id.to_string().into()).unwrap();
    free(0);
    allocate("small", 100).unwrap();
    (1..filled).for_each(|id| _ = free(id));
    settle(&service);
    service
}

/// Moves a concept to a column: how often it was tried, if it has moved.
fn tries(service: &MemoryAllocationService, id: &str, column: u32) -> Option<u32> {
    let node = service.registry.find(id).unwrap();
    (1..=8).find(|_| service.relocate(&node, column, None))
}

#[test]
fn maintenance_notices_that_spans_are_scarce_no_more() {
    let service = emptied();
    let column = service.column_of("other").unwrap();
    // It looks once in as many moves as there are chunks, four.
    assert!(tries(&service, "other", 1 - column).is_some_and(|tries| tries <= 4));
}

#[test]
fn a_pool_is_charged_for_the_slot_that_a_move_leads_to() {
    let service = emptied();
    let node = service.registry.find("small").unwrap();
    let held = || (service.used_bytes(), node.lock().unwrap().bytes, service.arena.usable_size(node.block().unwrap().as_ptr()).unwrap());
    let (used, charged, usable) = held();
    assert!(charged > 1500 && usable as u64 == charged);
    tries(&service, "small", 1 - service.column_of("small").unwrap()).unwrap();
    let (now_used, now_charged, now_usable) = held();
    assert!(now_charged < 300 && now_usable as u64 == now_charged);
    assert_eq!(used - now_used, charged - now_charged);
    service.deallocate_memory("small".into()).unwrap();
    service.deallocate_memory("other".into()).unwrap();
    assert_eq!(service.used_bytes(), 0);
}

/// A list of half of the concepts leaves the other half in the spans that it empties. Seen with: lists that are good for ever, and with
/// no word of what was put off.
#[test]
fn what_changes_faster_than_it_is_laid_out_is_put_off_until_it_does_not() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let allocate = |id: usize| {
        let content = format!("{} {}", id.wrapping_mul(0x9e37_79b9) % 1000, "x".repeat(150));
        service.allocate_memory(AllocationRequest::new(id.to_string(), ConceptType::ENTITY, content)).unwrap();
    };
    let free = |id: usize| _ = service.deallocate_memory(id.to_string().into()).unwrap();
    (0..2000).for_each(allocate);
    (0..2000).step_by(3).for_each(free);
    let is_laid = || matches!(service.upkeep.lock().sort, Sort::Lay(_));
    while !is_laid() {
        assert_eq!(service.maintain(Duration::ZERO).relocated, 0);
    }
    (1..2000).step_by(3).for_each(free);
    (2000..2500).for_each(allocate);
    let report = service.maintain(Duration::MAX);
    assert!(report.relocated == 0 && report.more && !is_laid(), "{report:?}");
    let report = service.maintain(Duration::MAX);
    assert!(report.relocated > 500, "{report:?}");
    settle(&service);
    assert_eq!(service.maintain(Duration::MAX), MaintenanceReport::default());
}

#[test]
#[cfg(not(miri))]
fn one_that_is_left_of_a_span_keeps_its_own_pages_alone() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let content = "x".repeat(900);
    let allocate = |id: &str| service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, content.as_str())).unwrap();
    allocate("left");
    let touched = service.arena.resident_bytes();
    // 32 of these have room in a span.
    (1..32).for_each(|index| _ = allocate(&index.to_string()));
    assert!(service.arena.resident_bytes() - touched >= 7 * PAGE as u64);
    (1..32).for_each(|index| _ = service.deallocate_memory(index.to_string().into()).unwrap());
    settle(&service);
    let more = service.arena.resident_bytes().saturating_sub(touched);
    assert!(more < 7 * PAGE as u64, "{more} bytes more than before the others came");
    assert_eq!(&*service.read("left").unwrap(), content.as_bytes());
    (1..32).for_each(|index| _ = allocate(&index.to_string()));
    assert!((1..32).all(|index| *service.read(&index.to_string()).unwrap() == *content.as_bytes()));
}

#[test]
fn a_group_is_sparse_if_three_of_four_of_its_spans_or_pages_would_do() {
    let tally = |blocks: &[(usize, u32)]| {
        let mut tally = Tally::default();
        for (address, span) in blocks {
            tally.add(NonNull::new(core::ptr::without_provenance_mut(*address)).unwrap(), Berth { bytes: 1024, span: *span });
        }
        (tally.is_sparse(Group { column: 0, bytes: 1024 }, 0), tally.is_disordered())
    };
    let spread = |blocks: usize, apart: usize| (1..=blocks).map(|index| (index * apart, 0)).collect::<Vec<_>>();
    assert_eq!(tally(&[]), (false, false));
    assert_eq!(tally(&spread(16, 1024)), (false, false), "17 KiB, five pages for four");
    assert_eq!(tally(&spread(16, 2048)), (true, false), "nine pages for four");
    assert_eq!(tally(&[(4096, 1), (5120, 2)]), (true, false), "two spans for one");
    let spans = |count: u32| (0..96).map(|index| (4096 + index as usize * 1024, index * count / 96)).collect::<Vec<_>>();
    assert_eq!((tally(&spans(3)), tally(&spans(4)), tally(&spans(5))), ((false, false), (false, false), (true, false)));
    let mut swapped = spread(16, 1024);
    swapped[..4].reverse();
    assert_eq!(tally(&swapped), (false, true));
}

#[test]
fn beyond_full_pages_is_what_lies_on_one_that_has_room_for_more() {
    let beyond = |bytes, blocks| Group { column: 0, bytes }.beyond_full_pages(blocks);
    assert_eq!([0, 1, 3, 4, 7, 8, 32, 33].map(|blocks| beyond(1024, blocks)), [0, 1, 3, 0, 3, 0, 0, 1]);
    // 13 of 304 bytes lie on a page, 26 on two, 107 in a span.
    assert_eq!([13, 14, 26, 27, 107, 108].map(|blocks| beyond(304, blocks)), [0, 1, 0, 1, 0, 1]);
}

/// Seen with: no `lodge`, and with lodgers for whose slots the pool is charged.
#[test]
#[cfg(not(miri))]
fn what_fills_no_page_of_its_own_lodges_with_a_larger_size_and_its_pool_does_not_notice() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let content = |index: usize| format!("{index} {}", "x".repeat(index % 20 * 16 + 100));
    let allocate = |index: usize| {
        service.allocate_memory(AllocationRequest::new(index.to_string(), ConceptType::ENTITY, content(index))).unwrap();
    };
    (0..80).for_each(allocate);
    (60..80).for_each(|index: usize| _ = service.deallocate_memory(index.to_string().into()).unwrap());
    let blocks = || (0..60).map(|index: usize| service.registry.find(&index.to_string()).unwrap().block().unwrap());
    let pages = || blocks().map(|block| block.addr().get() / PAGE).collect::<HashSet<_>>().len();
    let classes = || blocks().map(|block| service.arena.berth(block).unwrap().bytes).collect::<BTreeSet<_>>();
    let (before, used, all) = (pages(), service.used_bytes(), classes());
    settle(&service);
    assert!(before >= 14 && pages() <= 7, "{} of {before} pages", pages());
    assert!(classes().is_subset(&all) && service.used_bytes() == used);
    assert!((0..60).all(|index| *service.read(&index.to_string()).unwrap() == *content(index).as_bytes()));
    let places: Vec<_> = blocks().collect();
    service.maintain(Duration::MAX);
    assert!(blocks().eq(places));
    (0..60).for_each(|index: usize| _ = service.deallocate_memory(index.to_string().into()).unwrap());
    assert_eq!(service.used_bytes(), 0);
}

/// Seen with: hosts of any size.
#[test]
fn a_large_group_that_lies_well_is_not_laid_out_for_the_sake_of_a_page() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let allocate = |id: usize, bytes: usize| {
        service.allocate_memory(AllocationRequest::new(id.to_string(), ConceptType::ENTITY, "x".repeat(bytes))).unwrap();
    };
    let free = |id: usize| _ = service.deallocate_memory(id.to_string().into()).unwrap();
    (0..500).for_each(|id| allocate(id, 950));
    (0..100).for_each(free);
    settle(&service);
    (100..500).step_by(7).for_each(free);
    allocate(0, 880);
    assert!(service.maintain(Duration::MAX).relocated <= 1);
}

/// Who changes a concept may have its node locked for as long as memory is looked for. Seen with: a wait for it in either place, and
/// with no next round.
#[test]
fn what_somebody_else_has_locked_is_passed_over_and_reconsidered_in_the_next_round() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 2, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, "purrs")).unwrap();
    settle(&service);
    (0..5000).for_each(|_| drop(service.read("cat").unwrap()));
    let node = service.registry.find("cat").unwrap();
    let (column, held) = (service.column_of("cat").unwrap(), node.lock().unwrap());
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (service, node) = (&service, &node);
        scope.spawn(move || done.send((service.relocate(node, 1 - column, None), service.maintain(Duration::from_secs(60)).relocated)));
        let went = is_done.recv_timeout(Duration::from_secs(10));
        drop(held);
        assert_eq!(went, Ok((false, 0)), "it waited");
    });
    assert_eq!(service.maintain(Duration::from_secs(60)).relocated, 1);
}

/// Seen with: each moves by itself; blocks that are not given back.
#[test]
fn of_a_group_all_move_or_nobody_does() {
    let config = AllocationServiceConfig { capacity_bytes: 16 << 20, columns: 2, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let allocate = |id: &str, bytes| {
        service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "x".repeat(bytes))).unwrap();
        service.registry.find(id).unwrap()
    };
    let [small, medium, other, huge] = [("small", 100), ("medium", 600_000), ("other", 600_001), ("huge", 1_200_000)]
        .map(|(id, bytes)| (id, allocate(id, bytes)))
        .map(|(id, node)| (service.column_of(id), node));
    settle(&service);
    let column = 1 - small.0.unwrap();
    // So that there is a slot for the small one, whatever else is full.
    let keeper = allocate("keeper", 100);
    service.relocate(&keeper, column, None);
    settle(&service);
    let relocated = service.relocations.load(Relaxed);
    let together = |nodes: &[&Arc<Node>]| {
        let concepts = nodes.iter().map(|node| node.number).collect();
        let moved = service.relocate_together(&Move { concepts, column, together: true });
        settle(&service);
        moved
    };
    let is_there = |node: &Arc<Node>| service.cortex.column(node.number) == Some(column);
    let before = service.arena.metrics().bytes_live;
    assert_eq!(together(&[&small.1, &huge.1]), Err(huge.1.number), "it is too large");
    assert_eq!(together(&[&small.1, &other.1, &medium.1]), Err(other.1.number), "they are, together");
    {
        let _changed = medium.1.lock();
        assert_eq!(
            service.relocate_together(&Move { concepts: vec![small.1.number, medium.1.number], column, together: true }),
            Err(medium.1.number)
        );
    }
    let gone = allocate("gone", 100);
    service.deallocate_memory("gone".into()).unwrap();
    assert_eq!(together(&[&small.1, &gone]), Err(gone.number));
    let filled = (0..10_000).map(|index: u32| index.to_string());
    let filled: Vec<_> = filled
        .take_while(|id| service.allocate_memory(AllocationRequest::new(id.as_str(), ConceptType::ENTITY, "x".repeat(300_000))).is_ok())
        .collect();
    let full = service.arena.metrics().bytes_live;
    let moved = together(&[&small.1, &medium.1]);
    assert_eq!((moved, service.arena.metrics().bytes_live), (Err(medium.1.number), full), "there is no room for it");
    assert!(!is_there(&small.1) && service.relocations.load(Relaxed) == relocated);
    for id in filled {
        service.deallocate_memory(id.as_str().into()).unwrap();
    }
    settle(&service);
    // It looks whether spans still are scarce once in as many moves as there are chunks, eight.
    assert!((0..8).any(|_| together(&[&small.1, &medium.1]) == Ok(())));
    assert!(is_there(&small.1) && is_there(&medium.1) && service.relocations.load(Relaxed) == relocated + 2);
    assert_eq!(service.arena.metrics().bytes_live, before);
    assert_eq!(service.read("medium").unwrap().len(), 600_000);
}

/// Seen with: maintenance that leaves pools as they are.
#[test]
fn what_a_pool_has_ready_falls_in_maintenance_once_little_of_it_is_used() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    for id in 0..1000 {
        service.allocate_memory(AllocationRequest::new(id.to_string(), ConceptType::ENTITY, "x".repeat(1000))).unwrap();
    }
    (0..1000).for_each(|id: u32| _ = service.deallocate_memory(id.to_string().into()).unwrap());
    let ready = || service.pools[service.find_pool(ConceptType::ENTITY).unwrap()].reserved_bytes();
    let before = ready();
    settle(&service);
    assert!(before >= 1_000_000 && ready() <= before / 2, "{} of {before}", ready());
}

/// Seen with: a rank like that of all others.
#[test]
fn who_has_no_neighbours_comes_behind_all_who_have_in_spike_order() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let allocate = |id: &str, priority, hints: &[&str]| {
        let locality_hints = hints.iter().map(|&hint| hint.to_owned()).collect();
        let request = AllocationRequest::new(id, ConceptType::ENTITY, "the same");
        service.allocate_memory(AllocationRequest { priority, locality_hints, ..request }).unwrap();
    };
    allocate("a", AllocationPriority::Low, &[]);
    allocate("b", AllocationPriority::Critical, &[]);
    allocate("c", AllocationPriority::Low, &[]);
    allocate("d", AllocationPriority::Low, &["c"]);
    let mut list = List::default();
    while service.list(&mut list) == Went::More {}
    let id = |place: &Place| String::from_utf8_lossy(service.registry.numbered(place.number).unwrap().id()).into_owned();
    assert_eq!(list.places.iter().map(id).collect::<Vec<_>>(), ["c", "d", "b", "a"]);
}

/// Seen with: a block that is forgotten.
#[test]
fn a_block_into_which_a_concept_cannot_move_is_given_back() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, "purrs")).unwrap();
    let node = service.registry.find("cat").unwrap();
    let _held = node.lock().unwrap();
    let before = service.arena.metrics().live_blocks();
    let block = service.arena.alloc_sized(None, 64, 16, SpikeTime::NONE).unwrap();
    assert!(!service.relocate(&node, 0, Some(block)));
    assert_eq!(service.arena.metrics().live_blocks(), before);
}
