use super::*;
use crate::guidance::graph::GraphLimits;

/// Cliques of five in a ring, each in one of two columns; then some concepts that are nowhere.
fn ring() -> (Graph, Level) {
    let graph = Graph::new(GraphLimits::default());
    let mut level = Level::lowest(120);
    for concept in 0..100 {
        for other in concept + 1..(concept / 5 + 1) * 5 {
            graph.link(concept, other);
        }
        graph.link(concept / 5 * 5, (concept / 5 * 5 + 5) % 100);
        level.column.push(concept / 50);
    }
    for concept in 100..120 {
        graph.link(concept, concept - 100);
        level.column.push(NOWHERE);
    }
    graph.link(3, 500);
    (graph, level)
}

fn coarser(graph: &Graph, level: &mut Level, limit: u32) -> Level {
    let mut coarsening = {
        let nodes = level.len();
        Coarsening::new(graph, level, nodes, 100, limit)
    };
    let mut read = 0;
    loop {
        if let Some(above) = coarsening.step(graph, level, &mut read) {
            assert!(read > 0 && coarsening.bytes() > 0 && above.bytes() > 0);
            return above;
        }
    }
}

#[test]
fn clusters_stay_within_columns_and_sizes_and_sum_up_what_they_hold() {
    let (graph, mut level) = ring();
    let above = coarser(&graph, &mut level, 64);
    assert!((4..=40).contains(&above.len()), "{} clusters of 20 cliques", above.len());
    assert_eq!((0..above.len() as u32).map(|node| above.weight(node)).sum::<u32>(), 100);
    let mut row = Vec::new();
    let mut inside = 0;
    for concept in 0..100_u32 {
        let cluster = level.cluster[concept as usize];
        assert_eq!(above.planned(cluster), level.planned(concept));
        assert!(above.weight(cluster) <= 8);
        assert!(level.whole(&graph, concept, 100, &mut row));
        inside += row.iter().filter(|tie| tie.node < 100 && level.cluster[tie.node as usize] == cluster).count();
    }
    let mut between = 0;
    for node in 0..above.len() as u32 {
        assert!(above.whole(&graph, node, 100, &mut row));
        for tie in &row {
            let back = above.ties(tie.node).unwrap().iter().find(|back| back.node == node);
            assert_eq!(back.map(|back| back.weight), Some(tie.weight), "as heavy from both ends");
            between += tie.weight as usize;
        }
    }
    assert_eq!(inside + between, 2 * 220, "20 cliques of ten edges and the ring of twenty");
}

/// Seen with: clusters as heavy as their part of a column.
#[test]
fn a_cluster_weighs_no_more_than_16_nodes_do_on_average() {
    let (graph, mut level) = (Graph::new(GraphLimits::default()), Level::lowest(60));
    for concept in 0..60 {
        (0..concept).for_each(|other| _ = graph.link(concept, other));
        level.column.push(0);
    }
    let mut coarsening = Coarsening::new(&graph, &mut level, 60, 60, 10_000);
    let above = loop {
        if let Some(above) = coarsening.step(&graph, &mut level, &mut 0) {
            break above;
        }
    };
    assert_eq!((0..above.len() as u32).map(|node| above.weight(node)).max(), Some(16));
}

#[test]
fn a_star_is_a_cluster_as_heavy_as_it_may_be_and_holds_one_hub() {
    let (graph, mut level) = (Graph::new(GraphLimits::default()), Level::lowest(400));
    for concept in 0..400 {
        graph.link(concept, concept % 2);
        level.column.push(0);
    }
    graph.link(0, 1);
    let mut coarsening = Coarsening::new(&graph, &mut level, 400, 400, 440).with_stars(150);
    let above = loop {
        if let Some(above) = coarsening.step(&graph, &mut level, &mut 0) {
            break above;
        }
    };
    let (one, other) = (level.cluster[0], level.cluster[1]);
    assert_ne!(one, other);
    assert_eq!((above.weight(one), above.weight(other)), (150, 150));
    assert!((2..400).all(|leaf| [one, other].contains(&level.cluster[leaf]) == (above.weight(level.cluster[leaf]) == 150)));
}

#[test]
fn long_rows_come_as_samples_of_the_same_weight_or_not_at_all() {
    let (graph, mut level) = ring();
    let above = coarser(&graph, &mut level, 64);
    let longest = (0..above.len() as u32).max_by_key(|&node| above.ties(node).unwrap().len()).unwrap();
    let (mut all, mut row) = (Vec::new(), Vec::new());
    assert!(above.whole(&graph, longest, 100, &mut all) && all.len() > 1);
    above.sample(&graph, longest, 1, &mut row);
    assert_eq!(row, [Tie { node: all[0].node, weight: all[0].weight * all.len() as u32 }]);
    assert!(!above.whole(&graph, longest, 1, &mut row) && row.is_empty());
}

#[test]
fn the_level_below_follows_and_those_that_are_nowhere_stay_there() {
    let (graph, mut level) = ring();
    let mut above = coarser(&graph, &mut level, 64);
    above.column.fill(7);
    level.follow(&above, 0..60);
    level.follow(&above, 60..120);
    assert!((0..100).all(|concept| level.planned(concept) == 7));
    assert!((100..130).all(|concept| level.planned(concept) == NOWHERE));
}
