use std::collections::{BTreeMap, BTreeSet};

use super::*;

const MANY: GraphLimits = GraphLimits { edges: u64::MAX, bytes: u64::MAX };

fn neighbours(graph: &Graph, concept: u32) -> Vec<u32> {
    let mut row = Vec::new();
    assert!(graph.whole(concept, usize::MAX, &mut row));
    row.iter().map(|tie| tie.node).collect()
}

fn changes(graph: &Graph) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    for shard in 0.. {
        match graph.take_changes(shard, usize::MAX, |concept| assert!(all.insert(concept), "G3: {concept} twice")) {
            Some(more) => assert!(!more),
            None => break,
        }
    }
    all
}

#[test]
fn a_hint_from_both_ends_is_one_edge_and_none_leads_back_to_its_start() {
    let graph = Graph::new(MANY);
    assert_eq!(graph.link(3, 70), Linked::New);
    assert_eq!(graph.link(70, 3), Linked::Known);
    assert_eq!(graph.link(3, 3), Linked::Known);
    assert_eq!(graph.link(3, 67), Linked::New, "both in one shard");
    assert_eq!((graph.edges(), graph.changes(), graph.degree(3), graph.degree(1000)), (2, 2, 2, 0));
    assert_eq!((neighbours(&graph, 3), neighbours(&graph, 67)), (vec![70, 67], vec![3]));
}

#[test]
fn both_lists_agree_whatever_is_linked_and_forgotten_and_memory_comes_back() {
    let graph = Graph::new(MANY);
    let mut model: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    let mut state = 1_u32;
    let mut next = |bound: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % bound
    };
    for _ in 0..20_000 {
        let (a, b) = (next(300), next(300));
        if next(40) == 0 {
            let mut lonely = BTreeSet::new();
            assert!(graph.forget(a, usize::MAX, |concept| assert!(lonely.insert(concept))));
            for other in model.remove(&a).unwrap_or_default() {
                let left = model.get_mut(&other).unwrap();
                left.remove(&a);
                assert_eq!(left.is_empty(), lonely.contains(&other));
            }
        } else if a != b {
            let new = model.entry(a).or_default().insert(b);
            model.entry(b).or_default().insert(a);
            assert_eq!(graph.link(a, b), if new { Linked::New } else { Linked::Known });
        }
    }
    for concept in 0..300 {
        let expected = model.get(&concept).cloned().unwrap_or_default();
        assert_eq!(neighbours(&graph, concept).into_iter().collect::<BTreeSet<_>>(), expected, "G1");
        assert_eq!(graph.degree(concept), expected.len(), "G1");
    }
    assert_eq!(graph.edges(), model.values().map(BTreeSet::len).sum::<usize>() as u64 / 2);
    (0..300).for_each(|concept| _ = graph.forget(concept, usize::MAX, |_| ()));
    assert_eq!((graph.edges(), graph.bytes()), (0, (SHARDS * PAGE * size_of::<Node>()) as u64), "G2: the pages are left");
}

#[test]
fn at_the_bound_new_edges_are_dropped_and_counted() {
    let few = Graph::new(GraphLimits { edges: 2, bytes: u64::MAX });
    assert_eq!([(0, 1), (1, 2), (2, 3), (0, 1)].map(|(a, b)| few.link(a, b)), [Linked::New, Linked::New, Linked::Dropped, Linked::Known]);
    assert_eq!((few.edges(), few.dropped(), neighbours(&few, 3)), (2, 1, vec![]));
    assert!(few.forget(0, 1, |_| ()));
    assert_eq!(few.link(2, 3), Linked::New, "there is room again");

    let small = Graph::new(GraphLimits { edges: u64::MAX, bytes: 40_000 });
    let kept = (1..2000).filter(|&concept| small.link(0, concept * 64) == Linked::New).count() as u64;
    assert!((100..2000).contains(&kept) && small.bytes() <= 40_000, "G2: {kept} edges in {} bytes", small.bytes());
    assert_eq!((small.edges(), small.dropped()), (kept, 1999 - kept));
    assert_eq!(small.link(u32::MAX, 0), Linked::Dropped);
    assert_eq!(small.link(CONCEPTS - 1, 0), Linked::Dropped, "its page is too far");
}

#[test]
fn a_concept_keeps_so_many_edges_and_no_more() {
    let graph = Graph::new(MANY);
    let kept = (1..DEGREE_MOST as u32 + 10).filter(|&concept| graph.link(concept, 0) == Linked::New).count();
    assert_eq!((kept, graph.degree(0), graph.dropped()), (DEGREE_MOST, DEGREE_MOST, 9));
    assert!(graph.forget(7, 1, |_| ()));
    assert_eq!(graph.link(0, u32::from(u16::MAX) + 9), Linked::New);
}

#[test]
fn a_hub_is_read_in_a_sample_that_stands_for_all_of_it() {
    let graph = Graph::new(MANY);
    (1..=20_000).for_each(|concept| _ = graph.link(0, concept));
    let mut row = Vec::new();
    graph.sample(0, ROW_MOST, &mut row);
    let stands_for: u32 = row.iter().map(|tie| tie.weight).sum();
    assert!(row.len() <= ROW_MOST && (20_000..20_100).contains(&stands_for), "{} ties for {stands_for}", row.len());
    assert!(!graph.whole(0, ROW_MOST, &mut row) && row.is_empty());
    assert!(graph.whole(7, ROW_MOST, &mut row) && row == [Tie { node: 0, weight: 1 }]);
}

#[test]
fn a_hub_is_forgotten_in_bounded_pieces() {
    let graph = Graph::new(MANY);
    (1..=1000).for_each(|concept| _ = graph.link(0, concept));
    graph.link(1, 2);
    let (mut calls, mut lonely) = (1, Vec::new());
    while !graph.forget(0, 256, |concept| lonely.push(concept)) {
        calls += 1;
    }
    assert_eq!((calls, lonely.len(), graph.edges()), (4, 998, 1));
    assert!(graph.forget(0, 0, |_| ()), "nothing is left");
}

#[test]
fn changes_are_told_once() {
    let graph = Graph::new(MANY);
    (1..5).for_each(|concept| _ = graph.link(0, concept * 64));
    graph.touch(64);
    graph.touch(9);
    graph.touch(1 << 20);
    assert_eq!(graph.take_changes(0, 2, |_| ()), Some(true));
    assert_eq!(changes(&graph).len(), 3);
    assert!(changes(&graph).is_empty());
    graph.touch(64);
    graph.forget(128, 9, |_| ());
    assert_eq!(changes(&graph), [0, 64, 128].into());
}

#[test]
fn the_cut_counts_edges_between_placed_concepts() {
    let graph = Graph::new(MANY);
    for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 0), (3, 400)] {
        graph.link(a, b);
    }
    let cut = graph.cut(|concept| (concept < 4).then_some(concept / 2));
    assert_eq!((cut, cut.share()), (Cut { edges: 4, cut: 2 }, 0.5));
    assert!(graph.cut(|_| None).share().abs() < f64::EPSILON);
}

#[test]
fn threads_that_link_from_both_ends_make_each_edge_once() {
    let graph = Graph::new(MANY);
    let new: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let graph = &graph;
                scope.spawn(move || {
                    let edges = (0..4000).map(|edge| (edge % 97, 97 + edge % 89));
                    edges.filter(|&(a, b)| if thread % 2 == 0 { graph.link(a, b) } else { graph.link(b, a) } == Linked::New).count() as u32
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let distinct: BTreeSet<_> = (0..4000).map(|edge| (edge % 97, edge % 89)).collect();
    assert_eq!((u64::from(new), graph.edges()), (distinct.len() as u64, distinct.len() as u64));
    let ends: usize = (0..200).map(|concept| neighbours(&graph, concept).into_iter().collect::<BTreeSet<_>>().len()).sum();
    assert_eq!(ends, 2 * distinct.len(), "G1");
}
