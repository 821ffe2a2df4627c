use std::time::Duration;

use super::super::tests::settle;
use super::*;
use crate::guidance::{AllocationPriority, AllocationRequest, ConceptType};
use crate::service::AllocationServiceConfig;

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
    let id = |place: &Listed| String::from_utf8_lossy(service.registry.numbered(place.number).unwrap().id()).into_owned();
    assert_eq!(list.places.iter().map(id).collect::<Vec<_>>(), ["c", "d", "b", "a"]);
}

/// Seen with: who has left the column since it was listed brought back.
#[test]
fn who_has_left_the_column_when_it_is_laid_out_stays_away() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 2, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    for index in 0..10 {
        service.allocate_memory(AllocationRequest::new(index.to_string(), ConceptType::ENTITY, "purrs")).unwrap();
    }
    let mut list = List::default();
    while service.list(&mut list) == Went::More {}
    let mut layout = Layout::new(list.places, None);
    let group = layout.group().unwrap();
    let node = service.registry.numbered(layout.places.first().unwrap().number).unwrap();
    assert!(service.relocate(&node, 1 - group.column, None));
    while layout.places.first().is_some_and(|place| place.group == group) {
        service.lay(&mut layout.places, group, true, &mut MaintenanceReport::default());
    }
    assert_eq!(service.cortex.column(node.number), Some(1 - group.column));
    let block = node.block().unwrap();
    assert_eq!(service.arena.kind_of(block).map(|(_, column)| column), Some(1 - group.column));
}
