use super::*;
use crate::guidance::{AllocationRequest, ConceptType};
use crate::service::AllocationServiceConfig;
use crate::spike::SpikeTime;

pub(super) fn settle(service: &MemoryAllocationService) {
    while service.maintain(Duration::from_secs(60)).more {}
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

/// Seen with: whoever has the number is moved.
#[test]
fn a_plan_does_not_move_who_came_with_the_number_of_another() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 2, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let allocate = |id: &str| service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "purrs")).unwrap();
    let number = |id: &str| service.registry.find(id).unwrap().number;
    let moves = |id: &str| {
        let before = service.column_of(id).unwrap();
        let mut upkeep = Upkeep { moving: [(number(id), 1 - before)].into(), ..Upkeep::default() };
        assert!(service.step_place(&mut upkeep, &mut MaintenanceReport::default()) == Went::More && upkeep.moving.is_empty());
        service.column_of(id).unwrap() != before
    };
    allocate("cat");
    allocate("feline");
    service.link("cat", "feline").unwrap();
    // A plan has seen them.
    settle(&service);
    assert!(moves("cat"));
    let old = number("cat");
    service.deallocate_memory("cat".into()).unwrap();
    allocate("dog");
    assert_eq!(number("dog"), old);
    assert!(!moves("dog"));
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

/// Seen with: a block that is forgotten; one that is too small taken.
#[test]
fn a_block_into_which_a_concept_cannot_move_is_given_back() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, "purrs")).unwrap();
    let node = service.registry.find("cat").unwrap();
    let before = service.arena.metrics().live_blocks();
    let gives_back = |bytes| {
        let block = service.arena.alloc_sized(None, bytes, 16, SpikeTime::NONE).unwrap();
        assert!(!service.relocate(&node, 0, Some(block)));
        assert_eq!(service.arena.metrics().live_blocks(), before);
    };
    // Too small, and much too large.
    [16, 4096].into_iter().for_each(gives_back);
    let _held = node.lock().unwrap();
    gives_back(64);
}

/// It may have cooled by then. Seen with: no note of it.
#[test]
fn what_is_served_as_read_often_is_looked_at_in_the_next_round_too() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, "purrs")).unwrap();
    settle(&service);
    assert!(!service.upkeep.try_lock().unwrap().hot);
    (0..5000).for_each(|_| drop(service.read("cat").unwrap()));
    settle(&service);
    assert!(service.upkeep.try_lock().unwrap().hot);
}

/// Only who brought it knows how rich it is. Seen with: it reconsidered like any other.
#[test]
fn rich_content_stays_so_however_often_it_is_read() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let rich = (0..200_u32).map(|word| (word.wrapping_mul(2_654_435_761) >> 8).to_string()).collect::<Vec<_>>().join(" ");
    service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, rich)).unwrap();
    let node = service.registry.find("cat").unwrap();
    let strategy = || node.try_lock().unwrap().strategy;
    assert_eq!(strategy(), Some(AllocationStrategyType::HighComplexity));
    (0..5000).for_each(|_| drop(service.read("cat").unwrap()));
    settle(&service);
    assert_eq!(strategy(), Some(AllocationStrategyType::HighComplexity));
}

/// Seen with: the arena's turn only after all others.
#[test]
fn in_every_other_call_what_others_need_comes_first() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 2, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    for id in 0..1000 {
        service.allocate_memory(AllocationRequest::new(id.to_string(), ConceptType::ENTITY, "x".repeat(1000))).unwrap();
    }
    (50..1000).for_each(|id: u32| _ = service.deallocate_memory(id.to_string().into()).unwrap());
    let ready = || service.pools[service.find_pool(ConceptType::ENTITY).unwrap()].reserved_bytes();
    let before = ready();
    for call in 1..=4 {
        assert!(service.maintain(Duration::ZERO).more, "there is more to do than in {call} steps");
    }
    assert!(ready() < before);
}

/// Seen with: the round that follows what was given back left to the next call.
#[test]
fn maintenance_without_a_limit_leaves_nothing_to_do() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 8, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    for id in 0..1000 {
        service.allocate_memory(AllocationRequest::new(id.to_string(), ConceptType::ENTITY, "x".repeat(3000))).unwrap();
    }
    settle(&service);
    // Too few for a layout; in calls that begin with the arena, and in others.
    for id in 0..4 {
        service.deallocate_memory(id.to_string().into()).unwrap();
        assert!(!service.maintain(Duration::MAX).more, "after the free of {id}");
        assert_eq!(service.spare.given_back.load(Acquire), service.spare.discarded.load(Relaxed));
    }
}

/// Seen with: what was not given back in time forgotten; the columns that its round had passed.
#[test]
fn once_maintenance_has_no_more_to_do_nothing_is_left_to_give_back_however_little_time_it_had() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 8, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    for id in 0..1000 {
        service.allocate_memory(AllocationRequest::new(id.to_string(), ConceptType::ENTITY, "x".repeat(3000))).unwrap();
    }
    settle(&service);
    // One after which there is nothing else to do, and all others.
    for ids in [0..1, 1..1000] {
        ids.for_each(|id: u32| _ = service.deallocate_memory(id.to_string().into()).unwrap());
        while service.maintain(Duration::ZERO).more {}
        assert_eq!(service.spare.given_back.load(Acquire), service.spare.discarded.load(Relaxed));
    }
    assert_eq!(service.arena.maintain_and_count(Duration::MAX), Ok((Maintained::All, 0)));
}

/// Seen with: nothing that is forgotten.
#[test]
fn without_guidance_what_is_known_of_the_dead_is_forgotten_all_the_same() {
    let config = AllocationServiceConfig { capacity_bytes: 16 << 20, columns: 4, guidance: false, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    service.allocate_memory(AllocationRequest::new("hub", ConceptType::ENTITY, "purrs")).unwrap();
    let leaves = 20_000;
    for leaf in 0..leaves {
        let request = AllocationRequest::new(leaf.to_string(), ConceptType::ENTITY, "");
        service.allocate_memory(AllocationRequest { locality_hints: vec!["hub".to_owned()], ..request }).unwrap();
    }
    settle(&service);
    service.deallocate_memory("hub".into()).unwrap();
    assert!(service.cortex.edges() > 0, "more than one call forgets");
    settle(&service);
    assert_eq!(service.cortex.edges(), 0);
}

/// Seen with: a budget that ends, and nothing that is left.
#[test]
fn what_was_discarded_and_not_given_back_when_the_budget_ends_is_more_to_do() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    (0..50).for_each(|index| drop(service.allocate_memory(AllocationRequest::new(index.to_string(), ConceptType::ENTITY, "x")).unwrap()));
    (0..50).for_each(|index: u32| drop(service.deallocate_memory(index.to_string().into()).unwrap()));
    let left = || service.spare.discarded.load(Relaxed) - service.spare.given_back.load(Relaxed);
    let mut upkeep = Upkeep::default();
    let mut calls = 0;
    while left() != 0 {
        let more = service.collect(Instant::now(), Duration::ZERO, &mut upkeep);
        assert!(more || left() == 0, "{} are left", left());
        calls += 1;
    }
    assert!(calls > 1);
    assert!(!service.collect(Instant::now(), Duration::ZERO, &mut upkeep));
}
