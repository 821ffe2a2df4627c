//! What maintenance of the service brings: neighbours together, few pages, an order by first spike, nothing left sparse.
#![cfg(not(loom))]

#[path = "common/service.rs"]
mod opened;

mod allocation_service_tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::thread;
    use std::time::Duration;

    use engram::SpanView;
    use engram::service::{AllocationServiceConfig, ConceptType, MemoryAllocationService};

    use super::opened::{entity, open, settle, small, used};

    #[test]
    fn maintenance_brings_neighbours_together() {
        let service = open(AllocationServiceConfig { columns: 4, ..small() });
        // Four cliques of 50, whose edges become known last.
        for index in 0..200 {
            service.allocate_memory(entity(index.to_string(), format!("word{} word{}", index * 7919, index * 104_729))).unwrap();
        }
        for index in 0..200_usize {
            for other in (index + 4..200).step_by(4) {
                service.link(&index.to_string(), &other.to_string()).unwrap();
            }
        }
        let before = service.get_allocation_metrics();
        let relocated = settle(&service);
        let after = service.get_allocation_metrics();
        assert!(after.edge_cut < 0.1 && after.edge_cut < before.edge_cut, "{} to {}", before.edge_cut, after.edge_cut);
        assert_eq!(after.relocations, relocated);
        for index in 0..200 {
            let guard = service.read(&index.to_string()).unwrap();
            assert_eq!((&*guard, guard.version()), (format!("word{} word{}", index * 7919, index * 104_729).as_bytes(), 1));
        }
    }

    #[test]
    fn maintenance_leaves_few_concepts_alone_that_lie_perfectly() {
        let service = open(AllocationServiceConfig { columns: 64, ..small() });
        // Four cliques of 50, each in a column of its own; 60 columns have nobody.
        for index in 0..200 {
            let mut request = entity(index.to_string(), "content");
            request.locality_hints = (index / 50 * 50..index / 50 * 50 + 50).filter(|&id| id != index).map(|id| id.to_string()).collect();
            service.allocate_memory(request).unwrap();
        }
        let before = service.get_allocation_metrics().edge_cut;
        let relocated = settle(&service);
        let after = service.get_allocation_metrics().edge_cut;
        assert!(before == 0.0 && after == 0.0, "{before} to {after} by {relocated} moves");
    }

    #[test]
    fn maintenance_gives_each_hub_a_column_with_its_leaves() {
        let service = open(small());
        // Eight hubs, which nobody is known to belong to yet, and then 300 leaves of each.
        for index in 0..8 * 301 {
            let mut request = entity(index.to_string(), "content");
            request.locality_hints = if index < 8 { vec![] } else { vec![((index - 8) / 300).to_string()] };
            service.allocate_memory(request).unwrap();
        }
        let before = service.get_allocation_metrics().edge_cut;
        settle(&service);
        let after = service.get_allocation_metrics().edge_cut;
        assert!(before > 0.5 && after < 0.05, "{before} to {after}");
    }

    /// The bits of a number, mixed (splitmix64).
    fn mixed(number: u64) -> u64 {
        let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits ^ (bits >> 31)
    }

    /// Of a hub's edges the search sees a sample; who followed that alone would tear the others.
    #[test]
    fn maintenance_leaves_no_more_edges_cut_where_hubs_share_their_leaves() {
        let service = open(AllocationServiceConfig { columns: 64, ..small() });
        // Four hubs, and 8,000 leaves, each of about two of them, which come in no order.
        let knows = |leaf: u64, hub: u64| leaf >= 4 && mixed(4 * leaf + hub).is_multiple_of(2);
        for index in (0..8004).map(|turn| turn * 5003 % 8004) {
            let mut request = entity(index.to_string(), "content");
            request.locality_hints = (0..4).filter(|&hub| knows(index, hub)).map(|hub| hub.to_string()).collect();
            service.allocate_memory(request).unwrap();
        }
        let before = service.get_allocation_metrics().edge_cut;
        let relocated = settle(&service);
        let after = service.get_allocation_metrics().edge_cut;
        assert!(after <= before, "{before} to {after} by {relocated} moves");
    }

    /// Communities larger than a column's mean, which arrival gathers nevertheless: to even the columns out would tear them apart.
    #[test]
    fn maintenance_leaves_no_more_edges_cut_where_columns_have_few_concepts() {
        for (columns, count, community) in [(8, 150, 30), (16, 400, 64), (64, 1000, 30), (64, 3333, 12)] {
            let service = open(AllocationServiceConfig { columns, ..small() });
            for index in 0..count {
                let mut request = entity(index.to_string(), "content");
                let (first, place) = (index / community * community, index % community);
                request.locality_hints = [1, 5, 7, 11].map(|step| (first + (place + step) % community).to_string()).to_vec();
                service.allocate_memory(request).unwrap();
            }
            let before = service.get_allocation_metrics().edge_cut;
            let relocated = settle(&service);
            let after = service.get_allocation_metrics().edge_cut;
            assert!(after <= before, "{count} in {columns} columns: {before} to {after} by {relocated} moves");
        }
    }

    /// Each edge that it saves takes many moves, but most of the edges that are cut need not be.
    #[test]
    fn maintenance_of_what_lies_well_but_could_lie_much_better_moves_a_part_of_it() {
        let service = open(AllocationServiceConfig { columns: 4, ..small() });
        for index in 0..4000_usize {
            let mut request = entity(index.to_string(), "content");
            request.locality_hints = [index.checked_sub(1), Some(index + 1)].into_iter().flatten().map(|id| id.to_string()).collect();
            service.allocate_memory(request).unwrap();
        }
        let before = service.get_allocation_metrics().edge_cut;
        let relocated = settle(&service);
        let after = service.get_allocation_metrics().edge_cut;
        assert!(after * 2.0 < before && relocated <= 4000, "{before} to {after} by {relocated} moves");
    }

    #[test]
    fn maintenance_lays_neighbours_onto_few_pages() {
        const GROUPS: usize = 100;
        let service = open(AllocationServiceConfig { columns: 8, ..small() });
        let ids: Vec<_> = (0..GROUPS * 16).map(|index| format!("{index:04}")).collect();
        for id in &ids {
            service.allocate_memory(entity(id.clone(), id.repeat(30))).unwrap();
        }
        // Rings of 16, whose edges become known last, and whose members came far apart.
        for (index, id) in ids.iter().enumerate() {
            service.link(id, &ids[(index + GROUPS) % ids.len()]).unwrap();
        }
        let pages = || {
            let page = |id: &String| service.read(id).unwrap().as_ptr().addr() >> 12;
            let of = |group: usize| (0..16).map(|turn| page(&ids[group + turn * GROUPS])).collect::<std::collections::HashSet<_>>().len();
            (0..GROUPS).map(of).sum::<usize>()
        };
        let before = pages();
        settle(&service);
        assert!(before > 10 * GROUPS && pages() < 3 * GROUPS, "{before} to {}", pages());
    }

    #[test]
    fn once_maintenance_has_no_more_to_do_nothing_is_left_of_what_has_moved() {
        let service = open(small());
        for i in 0..4000 {
            let mut request = entity(format!("c{i}"), "x".repeat(20 + i * 7 % 150));
            request.locality_hints = vec![format!("c{}", i * 997 % 4000)];
            service.allocate_memory(request).unwrap();
        }
        for i in (0..4000).step_by(3) {
            service.update(&format!("c{i}"), "updated").unwrap();
        }
        // In small steps, so that the arena is tended while there is still something on its way back.
        while service.maintain(Duration::from_micros(100)).more {}
        let (mut live, mut empty) = (0, 0);
        for span in service.heap_map().iter().flat_map(|chunk| &chunk.spans) {
            if let SpanView::Small { live: blocks, .. } = span {
                live += blocks;
                empty += u32::from(*blocks == 0);
            }
        }
        assert_eq!((live, empty), (4000, 0), "blocks, and spans without any");
    }

    #[test]
    fn after_churn_maintenance_sorts_by_first_spike() {
        let service = open(AllocationServiceConfig { capacity_bytes: 64 << 20, columns: 2, ..AllocationServiceConfig::default() });
        let content = |index: usize| format!("{index} {}", "word ".repeat(index * 7919 % 23));
        (0..4000).for_each(|index| drop(service.allocate_memory(entity(index.to_string(), content(index))).unwrap()));
        for index in (0..4000).step_by(2) {
            service.deallocate_memory(index.to_string().into()).unwrap();
        }
        for index in (0..4000).step_by(2) {
            service.allocate_memory(entity(index.to_string(), content(index * 3))).unwrap();
        }
        // Of neighbours in address order within a column: how many spike in the wrong order.
        let disorder = || {
            let spikes: Vec<_> =
                service.concept_ids().iter().map(|id| (service.column_of(id), service.read(id).unwrap().spike())).collect();
            spikes.windows(2).filter(|pair| pair[0].0 == pair[1].0 && pair[0].1 > pair[1].1).count()
        };
        let before = disorder();
        let relocated = settle(&service);
        let after = disorder();
        assert!(relocated > 0 && after < before / 2, "{before} to {after}, {relocated} relocated");
    }

    /// Fails if less than three of four spans would do.
    fn assert_compact(service: &MemoryAllocationService) {
        let (taken, needed) = spans(service);
        assert!(taken * 3 <= needed * 4, "{taken} spans for what {needed} would hold");
    }

    /// Concepts `0..16_000` of 60 to 459 bytes in two columns, laid out by first spike: maintenance has nothing left to do.
    fn laid_out() -> (MemoryAllocationService, HashMap<String, String>) {
        let service = open(AllocationServiceConfig { capacity_bytes: 64 << 20, columns: 2, ..AllocationServiceConfig::default() });
        let content = |index: usize| format!("{index} ").repeat(400)[..60 + index * 7919 % 400].to_owned();
        let concepts: HashMap<_, _> = (0..16_000).map(|index| (index.to_string(), content(index))).collect();
        for index in 0..16_000 {
            let id = index.to_string();
            let content = concepts[&id].clone();
            service.allocate_memory(entity(id, content)).unwrap();
        }
        for index in (0..16_000).step_by(3) {
            let id = index.to_string();
            service.deallocate_memory(id.as_str().into()).unwrap();
            service.allocate_memory(entity(id.as_str(), concepts[&id].as_str())).unwrap();
        }
        // With time enough that no call ends early: when it does is a matter of chance.
        while service.maintain(Duration::from_secs(60)).more {}
        assert_eq!(settle(&service), 0);
        (service, concepts)
    }

    /// Frees three of four concepts, here and there.
    fn thin_out(service: &MemoryAllocationService, concepts: &mut HashMap<String, String>) {
        for index in (0..16_000_u64).filter(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 != 0) {
            let id = index.to_string();
            service.deallocate_memory(id.as_str().into()).unwrap();
            concepts.remove(&id).unwrap();
        }
    }

    /// Spans in use, and the fewest in which the same blocks have room, each column's and class' in spans of its own.
    fn spans(service: &MemoryAllocationService) -> (usize, usize) {
        let mut groups = HashMap::<_, (u32, u32)>::new();
        let mut taken = 0;
        for span in service.heap_map().iter().flat_map(|chunk| &chunk.spans) {
            if let SpanView::Small { column, class_bytes, live, slots, .. } = *span {
                groups.entry((column, class_bytes)).or_insert((0, slots)).0 += live;
                taken += 1;
            }
        }
        (taken, groups.values().map(|(live, slots)| live.div_ceil(*slots) as usize).sum())
    }

    /// Chunks in use.
    fn chunks(service: &MemoryAllocationService) -> usize {
        service.heap_map().iter().filter(|chunk| chunk.spans.iter().any(|span| *span != SpanView::Free)).count()
    }

    fn assert_whole(service: &MemoryAllocationService, concepts: &HashMap<String, String>) {
        assert_eq!(service.concept_ids().len(), concepts.len());
        for (id, content) in concepts {
            let guard = service.read(id).unwrap();
            assert_eq!((&*guard, guard.version()), (content.as_bytes(), 1));
        }
    }

    /// Neighbours in address order of each column, size of slots and chunk that spike in the wrong order: where the spans for a size
    /// go on in another chunk, that may lie before.
    fn disorder(service: &MemoryAllocationService) -> usize {
        let map: HashMap<_, _> = service.heap_map().iter().map(|chunk| (chunk.index as usize, chunk.spans)).collect();
        // The first concept lies in the lowest chunk that has any.
        let has_any = |spans: &[SpanView]| spans.iter().any(|span| matches!(span, SpanView::Small { .. }));
        let lowest = map.iter().filter(|(_, spans)| has_any(&spans[..])).map(|(index, _)| *index).min();
        let mut base = None;
        let mut last = HashMap::new();
        let wrong = service.concept_ids().into_iter().filter(|id| {
            let guard = service.read(id).unwrap();
            let (address, spike) = (guard.as_ptr().addr(), guard.spike());
            let chunk = address >> 21;
            let base = *base.get_or_insert(chunk - lowest.unwrap());
            let SpanView::Small { column, class_bytes, .. } = map[&(chunk - base)][address >> 15 & 63] else { panic!("{id}") };
            last.insert((column, class_bytes), (chunk, spike)).is_some_and(|(last, before)| last == chunk && before > spike)
        });
        wrong.count()
    }

    #[test]
    fn maintenance_compacts_what_frees_have_left_sparse_and_keeps_its_order() {
        let (service, mut concepts) = laid_out();
        assert_eq!(disorder(&service), 0);
        thin_out(&service, &mut concepts);
        let charged = used(&service, ConceptType::ENTITY);
        let (before, in_use) = (service.get_allocation_metrics(), chunks(&service));
        let (taken, needed) = spans(&service);
        assert!(taken * 2 > needed * 3, "{taken} spans for what {needed} would hold");
        let moved = settle(&service);
        let after = service.get_allocation_metrics();
        let (taken, needed) = spans(&service);
        assert_eq!(taken, needed);
        assert!(moved > 0 && moved <= concepts.len() as u64, "each at most once: {moved}");
        assert!(after.memory_utilization > before.memory_utilization * 2.0);
        assert!(chunks(&service) <= in_use);
        assert_eq!((used(&service, ConceptType::ENTITY), settle(&service)), (charged, 0));
        assert_eq!(disorder(&service), 0);
        assert_whole(&service, &concepts);
    }

    #[test]
    fn what_a_reader_holds_stays_where_it_is_while_all_around_it_is_compacted() {
        let (service, mut concepts) = laid_out();
        thin_out(&service, &mut concepts);
        let held: Vec<_> = concepts.iter().take(50).map(|(id, content)| (service.read(id).unwrap(), content.clone())).collect();
        settle(&service);
        // Whatever others write into memory that was given back too early.
        for index in 0..2000 {
            let id = format!("new-{index}");
            let content = "x".repeat(60 + index * 7919 % 400);
            service.allocate_memory(entity(id.as_str(), content.as_str())).unwrap();
            concepts.insert(id, content);
        }
        assert!(held.iter().all(|(guard, content)| **guard == *content.as_bytes()));
        drop(held);
        assert_whole(&service, &concepts);
        for index in 0..2000 {
            let id = format!("new-{index}");
            service.deallocate_memory(id.as_str().into()).unwrap();
            concepts.remove(&id);
        }
        settle(&service);
        assert_compact(&service);
        assert_whole(&service, &concepts);
    }

    #[test]
    fn maintenance_compacts_while_others_allocate_read_and_free() {
        let (service, mut concepts) = laid_out();
        thin_out(&service, &mut concepts);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let (service, concepts, done) = (&service, &concepts, &done);
            scope.spawn(move || {
                while !done.load(Relaxed) {
                    for (id, content) in concepts {
                        assert_eq!(*service.read(id).unwrap(), *content.as_bytes());
                    }
                }
            });
            scope.spawn(move || {
                while !done.load(Relaxed) {
                    for index in 0..200 {
                        let id = format!("mine-{index}");
                        service.allocate_memory(entity(id.as_str(), "x".repeat(60 + index))).unwrap();
                        service.deallocate_memory(id.as_str().into()).unwrap();
                    }
                }
            });
            let mut moved = 0;
            for _ in 0..100_000 {
                moved += service.maintain(Duration::from_micros(200)).relocated;
                if moved as usize > concepts.len() / 2 {
                    break;
                }
            }
            done.store(true, Relaxed);
            assert!(moved as usize > concepts.len() / 2, "{moved}");
        });
        settle(&service);
        assert_compact(&service);
        assert_whole(&service, &concepts);
    }

    #[test]
    fn the_same_calls_compact_the_same() {
        let run = || {
            let (service, mut concepts) = laid_out();
            thin_out(&service, &mut concepts);
            let before = service.get_allocation_metrics().relocations;
            while service.maintain(Duration::from_secs(60)).more {}
            assert!(service.get_allocation_metrics().relocations > before);
            let ids = service.concept_ids();
            let addresses: Vec<_> = ids.iter().map(|id| service.read(id).unwrap().as_ptr().addr()).collect();
            let first = addresses.iter().min().copied().unwrap();
            let offsets: Vec<_> = addresses.into_iter().map(|address| address - first).collect();
            (ids, offsets)
        };
        assert!(run() == run());
    }

    /// Whoever maintains in the pauses of something else has no time to speak of.
    #[test]
    fn maintenance_without_a_budget_comes_to_an_end() {
        let service = open(small());
        for id in 0..2000 {
            service.allocate_memory(entity(id.to_string(), "content")).unwrap();
        }
        let guard = service.read("1").unwrap();
        for id in (0..2000).step_by(2) {
            service.deallocate_memory(id.to_string().as_str().into()).unwrap();
        }
        // With a reader who holds everything up, and without.
        let ends = || (0..200_000).any(|_| !service.maintain(Duration::ZERO).more);
        assert!(ends());
        drop(guard);
        assert!(ends());
        settle(&service);
        assert!(ends());
    }

    /// Whether maintenance ends before so many steps, and a small one that belongs to two immovable ones rests from then on.
    fn ends(service: &MemoryAllocationService, steps: u32) -> bool {
        (0..steps).any(|_| !service.maintain(Duration::ZERO).more) && service.maintain(Duration::MAX).relocated == 0
    }

    /// A concept above 1 MiB is never moved. Seen with: of a group those move that can.
    #[test]
    fn maintenance_ends_where_small_concepts_belong_to_some_that_cannot_move() {
        let service = open(AllocationServiceConfig { capacity_bytes: 64 << 20, columns: 2, ..AllocationServiceConfig::default() });
        let huge = "x".repeat(1_200_000);
        let put = |id: &str, content: &str, near: &[String]| {
            let mut request = entity(id, content);
            request.locality_hints = near.to_vec();
            service.allocate_memory(request).unwrap();
        };
        for (side, content) in [("left", "left"), ("right", "right and quite different")] {
            put(&format!("{side}0"), content, &[]);
            (1..40).for_each(|one| put(&format!("{side}{one}"), content, &[one - 1, one / 2].map(|other| format!("{side}{other}"))));
        }
        put("huge left", &huge, &["left5".to_owned()]);
        put("small", "small", &["huge left".to_owned()]);
        put("huge right", &huge, &["right5".to_owned()]);
        assert!(ends(&service, 100_000));
        assert_ne!(service.column_of("huge left"), service.column_of("huge right"));
        for (one, other) in [("small", "huge right"), ("huge left", "huge right")] {
            service.link(one, other).unwrap();
            assert!(ends(&service, 100_000), "{one}, {other}");
        }
    }

    /// Small graphs with some concepts above 1 MiB, in which edges come one by one. Seen with: as above.
    #[test]
    fn maintenance_ends_whatever_cannot_move() {
        for seed in 0..20 {
            let mut turn = seed << 32;
            let mut below = |bound: u64| {
                turn += 1;
                mixed(turn) % bound
            };
            let service = open(AllocationServiceConfig { capacity_bytes: 32 << 20, columns: 4, ..AllocationServiceConfig::default() });
            for id in 0..80 {
                let mut request = entity(id.to_string(), "x".repeat(if id % 8 == 0 { 1_100_000 } else { 100 }));
                request.locality_hints = (0..below(4)).map(|_| below(80).to_string()).collect();
                service.allocate_memory(request).unwrap();
            }
            for round in 0..40 {
                service.link(&below(80).to_string(), &below(80).to_string()).unwrap();
                assert!(ends(&service, 100_000), "seed {seed}, round {round}");
            }
        }
    }
}
