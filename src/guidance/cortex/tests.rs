use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use super::*;
use crate::guidance::homes::CONCEPTS;
use crate::guidance::replace::STEP_TIES;
use crate::guidance::strategy::AllocationStrategyType::{Balanced, ResourceOptimized};

const NONE: Voters = Voters::NONE;

fn cortex(columns: u32, voters: Voters) -> Cortex {
    MultiColumnProcessor::new().with_voters(voters).start(columns)
}

impl Cortex {
    /// Placed as usual, with a few features.
    fn place_few(&self, concept: u32, features: &[f32]) -> Winner {
        self.place_folded(concept, &Folded::few(features), &Balanced.placement())
    }
}

/// Small numbers that look random, the same in every run.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % bound
    }

    fn feature(&mut self, bound: u16) -> f32 {
        f32::from(self.below(u32::from(bound)) as u16)
    }
}

/// What steps came to until there was nothing to do.
#[derive(Default, PartialEq, Debug)]
struct Settled {
    moves: Vec<(u32, u32)>,
    free: Vec<u32>,
}

fn settle(cortex: &Cortex) -> Settled {
    let mut settled = Settled::default();
    loop {
        let before = cortex.edges_read();
        let step = cortex.step();
        let read = cortex.edges_read() - before;
        assert!(read <= STEP_TIES, "{read} edges read in a step");
        match step {
            Step::Idle => return settled,
            Step::Worked => {}
            Step::Free(numbers) => settled.free.extend(numbers),
            Step::Move(group) => {
                for &concept in &group.concepts {
                    cortex.relocated(concept, group.column);
                    settled.moves.push((concept, group.column));
                }
            }
        }
    }
}

/// A graph, by number of arrival: the neighbours of each concept.
type Neighbours = Vec<Vec<u32>>;

/// Places all, each with all its neighbours as hints.
fn place_all(cortex: &Cortex, neighbours: &Neighbours) {
    for (concept, hints) in (0..).zip(neighbours) {
        for &hint in hints {
            cortex.link(concept, hint);
        }
        cortex.place_few(concept, &[]);
    }
}

fn balance(cortex: &Cortex, columns: u32) -> f64 {
    let fullest = (0..columns).map(|column| cortex.load(column)).max().unwrap_or(0);
    f64::from(fullest) * f64::from(columns) / f64::from(cortex.live())
}

/// All of `WordNet`'s concepts that have edges.
fn wordnet() -> Neighbours {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/wordnet-edges.tsv.zst");
    let packed = std::fs::read(file).unwrap();
    let mut text = String::new();
    ruzstd::decoding::StreamingDecoder::new(packed.as_slice()).unwrap().read_to_string(&mut text).unwrap();
    let edges: Vec<_> = text.lines().skip(1).map(|line| line.split_once('\t').unwrap()).collect();
    let ids: BTreeSet<_> = edges.iter().flat_map(|&(a, b)| [a, b]).collect();
    let numbers: BTreeMap<_, _> = ids.into_iter().zip(0_u32..).collect();
    let mut neighbours = vec![Vec::new(); numbers.len()];
    for (a, b) in edges {
        let (a, b) = (numbers[a], numbers[b]);
        neighbours[a as usize].push(b);
        neighbours[b as usize].push(a);
    }
    neighbours
}

/// The same graph, arriving in another order.
fn shuffled(neighbours: &Neighbours) -> Neighbours {
    let mut random = Random(7);
    let mut order: Vec<u32> = (0..neighbours.len() as u32).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last as u32 + 1) as usize);
    }
    let mut other = vec![Vec::new(); neighbours.len()];
    for (concept, hints) in neighbours.iter().enumerate() {
        other[order[concept] as usize] = hints.iter().map(|&hint| order[hint as usize]).collect();
    }
    other
}

#[test]
#[cfg_attr(miri, ignore = "thousands of concepts")]
fn no_column_ever_has_more_than_a_tenth_above_the_mean_once_the_mean_is_sixty_four() {
    let columns = 8;
    let cortex = cortex(columns, Voters::ALL);
    for concept in 0..6000 {
        // All of them belong to the first one.
        cortex.link(concept, 0);
        cortex.link(concept, concept / 2);
        cortex.place_few(concept, &[1.0]);
        assert!(concept < 64 * columns || balance(&cortex, columns) <= 1.1, "{} after {concept}", balance(&cortex, columns));
    }
}

#[test]
fn ties_go_to_the_lowest_column() {
    let cortex = cortex(4, Voters { structural: 1.0, ..NONE });
    assert!(cortex.place_in(1, 2) && cortex.place_in(2, 1) && cortex.place_in(3, 3));
    (1..4).for_each(|neighbour| _ = cortex.link(0, neighbour));
    let winner = cortex.place_few(0, &[]);
    assert_eq!((winner.column, winner.confidence), (1, 0.0));
    assert!(winner.spike < SpikeTime::NONE);
}

#[test]
fn if_nobody_spikes_the_least_loaded_column_is_recruited() {
    let cortex = cortex(3, NONE);
    let columns: Vec<_> = (0..7).map(|concept| cortex.place_few(concept, &[1.0]).column).collect();
    assert_eq!(columns, [0, 1, 2, 0, 1, 2, 0]);
    let winner = cortex.place_few(9, &[1.0]);
    assert_eq!((winner.column, winner.spike, winner.confidence, winner.drive), (1, SpikeTime::NONE, 0.0, 0.0));
}

#[test]
fn an_early_spike_is_a_strong_drive() {
    let cortex = cortex(2, Voters { structural: 1.0, ..NONE });
    cortex.place_in(1, 1);
    cortex.link(0, 1);
    let winner = cortex.place_few(0, &[]);
    assert!((winner.drive - 1.0).abs() < 1e-6 && (winner.confidence - 1.0).abs() < 1e-6);
    let at = SpikeTime::from_nanos;
    assert!((at(2_107_200)..at(2_107_220)).contains(&winner.spike), "{:?}", winner.spike);
}

#[test]
fn without_the_structural_voter_neighbours_do_not_matter() {
    let of = |voters| {
        let cortex = cortex(4, voters);
        cortex.place_in(1, 3);
        cortex.link(0, 1);
        cortex.place_few(0, &[]).column
    };
    assert_eq!(of(Voters { temporal: 0.0, ..Voters::ALL }), 3);
    assert_eq!(of(Voters { structural: 0.0, temporal: 0.0, ..Voters::ALL }), 0);
}

#[test]
fn without_the_semantic_voter_content_does_not_matter() {
    let of = |voters| {
        let cortex = cortex(4, voters);
        cortex.place_few(0, &[0.0, 1.0]);
        cortex.place_few(1, &[1.0, 0.0]);
        cortex.place_few(2, &[1.0, 0.1]).column
    };
    let semantic = Voters { semantic: 0.2, exception: 0.3, ..NONE };
    assert_eq!((of(semantic), of(Voters { semantic: 0.0, ..semantic })), (1, 2));
}

#[test]
fn without_the_temporal_voter_recent_use_does_not_matter() {
    let of = |voters| {
        let cortex = cortex(4, voters);
        cortex.place_in(0, 2);
        cortex.place_in(1, 1);
        cortex.accessed(0);
        cortex.accessed(17);
        cortex.place_few(2, &[]).column
    };
    let temporal = Voters { temporal: 0.2, ..NONE };
    assert_eq!((of(temporal), of(NONE)), (2, 0));
}

#[test]
fn without_the_exception_voter_what_is_new_goes_to_the_nearest_column() {
    let of = |voters| {
        let cortex = cortex(4, voters);
        cortex.place_few(0, &[1.0, 0.0]);
        cortex.place_few(1, &[0.55, 1.0]).column
    };
    let content = Voters { semantic: 0.1, ..NONE };
    assert_eq!((of(Voters { exception: 0.3, ..content }), of(content)), (1, 0));
}

#[test]
fn content_alone_does_not_let_one_column_take_everything() {
    let cortex = cortex(8, Voters { semantic: 1.0, ..NONE });
    for concept in 0..400_u16 {
        cortex.place_few(u32::from(concept), &[1.0, f32::from(concept % 7) / 7.0, f32::from(concept % 3) / 3.0]);
    }
    let loads: Vec<_> = (0..8).map(|column| cortex.load(column)).collect();
    assert!(loads.iter().all(|&load| load <= 60), "{loads:?}");
}

#[test]
fn a_remembered_column_is_refused_when_it_is_full() {
    let cortex = cortex(2, NONE);
    let entered = (0..200).filter(|&concept| cortex.place_in(concept, 0)).count();
    assert_eq!((entered, cortex.load(0), cortex.load(1), cortex.column(199)), (64, 64, 0, None));
    assert!(!cortex.place_in(300, 2));
    cortex.relocated(301, 2);
    assert_eq!((cortex.live(), cortex.load(2)), (64, 0), "a column that does not exist");
}

#[test]
#[cfg_attr(miri, ignore = "thousands of concepts")]
fn the_same_calls_give_the_same_columns_and_moves() {
    let run = || {
        let (cortex, mut random) = (cortex(16, Voters::ALL), Random(3));
        let mut columns = Vec::new();
        for concept in 0..4000 {
            for _ in 0..3 {
                cortex.link(concept, if random.below(5) == 0 { random.below(4000) } else { concept / 50 * 50 + random.below(50) });
            }
            let features = [random.feature(9), random.feature(9), 1.0];
            columns.push(cortex.place_few(concept, &features));
            if random.below(9) == 0 {
                cortex.remove(random.below(concept + 1), |_| ());
            }
        }
        (columns, settle(&cortex))
    };
    let (first, second) = (run(), run());
    assert!(first == second);
    assert!(first.1.moves.len() > 100);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of concepts")]
fn a_hub_of_twenty_thousand_edges_keeps_to_the_bound_of_a_step() {
    let hub: Neighbours = (0..20_001)
        .map(|concept| if concept == 0 { (1..20_001).collect() } else { vec![0, (concept - 1) / 10 * 10 + concept % 10 + 1] })
        .collect();
    for order in [hub.clone(), shuffled(&hub)] {
        let cortex = cortex(16, Voters::ALL);
        place_all(&cortex, &order);
        let before = cortex.cut();
        settle(&cortex);
        assert!(cortex.cut().share() <= before.share() && balance(&cortex, 16) <= 1.1);
        assert!(cortex.edges_read() > 20_000);
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of concepts")]
fn edges_to_hubs_are_dropped_a_few_at_a_time_and_all_in_the_end() {
    let cortex = cortex(4, Voters::ALL);
    let (hubs, spokes) = (0..40, 40..20_040);
    hubs.clone().for_each(|hub| _ = cortex.place_few(hub, &[]));
    for spoke in spokes.clone() {
        hubs.clone().for_each(|hub| _ = cortex.link(spoke, hub));
        cortex.place_few(spoke, &[]);
    }
    let edges = cortex.edges();
    let mut free = Vec::new();
    cortex.remove(40, |number| free.push(number));
    assert!((1..=4).contains(&(edges - cortex.edges())), "{} dropped at once", edges - cortex.edges());
    assert!(free.is_empty());
    while free.is_empty() {
        match cortex.step() {
            Step::Free(numbers) => free = numbers,
            step => assert_eq!(step, Step::Worked),
        }
    }
    assert_eq!((free, cortex.edges()), (vec![40], edges - 40));

    cortex.remove(41, |number| panic!("{number} has edges still"));
    cortex.place_few(41, &[]);
    let edges = cortex.edges();
    while cortex.step() != Step::Idle {}
    assert_eq!(cortex.edges(), edges, "who comes again in time keeps the rest");
}

#[test]
#[cfg_attr(miri, ignore = "thousands of concepts")]
fn a_grid_a_star_and_a_random_graph_all_end_better_than_they_came() {
    let mut random = Random(5);
    let grid = |cell: u32| vec![cell.saturating_sub(1), (cell + 1).min(3599), cell.saturating_sub(60), (cell + 60).min(3599)];
    let graphs: [Neighbours; 3] = [
        (0..3600).map(grid).collect(),
        (0..3600).map(|concept| if concept % 100 == 0 { (concept + 1..concept + 100).collect() } else { vec![] }).collect(),
        (0..3600).map(|_| (0..3).map(|_| random.below(3600)).collect()).collect(),
    ];
    for graph in graphs {
        let cortex = cortex(8, Voters::ALL);
        place_all(&cortex, &shuffled(&graph));
        let before = cortex.cut().share();
        let moved = settle(&cortex).moves.len();
        assert!(cortex.cut().share() < before && balance(&cortex, 8) <= 1.1);
        assert!(moved <= 3600 * 5 / 4, "{moved} moves");
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of concepts")]
fn wordnet_is_cut_at_few_edges_after_few_moves_in_either_order() {
    let natural = wordnet();
    let random = shuffled(&natural);
    for (order, columns, most) in [(&natural, 64, 0.147), (&random, 1024, 0.25)] {
        let cortex = cortex(columns, Voters::ALL);
        place_all(&cortex, order);
        let moves = settle(&cortex).moves.len();
        let (cut, balance) = (cortex.cut(), balance(&cortex, columns));
        assert!(cut.edges == cortex.edges() && balance <= 1.1 && moves <= natural.len());
        assert!(cut.share() <= most, "{columns} columns: {:.3}", cut.share());
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of concepts")]
fn an_edge_learnt_later_brings_concepts_together() {
    let cortex = cortex(8, Voters::ALL);
    let pairs = 2000;
    for concept in 0..2 * pairs {
        cortex.link(concept, concept ^ 1);
        cortex.place_few(concept, &[]);
    }
    settle(&cortex);
    assert_eq!(cortex.cut().cut, 0);
    let strangers: Vec<_> = (0..100).map(|turn| (turn * 20, turn * 20 + 11)).collect();
    for &(a, b) in &strangers {
        assert_eq!(cortex.link(a, b), Linked::New);
    }
    let cut = cortex.cut().cut;
    let moved = settle(&cortex).moves.len() as u64;
    assert!(cut > 20 && cortex.cut().cut == 0, "{cut}, then {}", cortex.cut().cut);
    assert!(moved <= 4 * cut, "{moved} moves for {cut} edges");
    assert_eq!(settle(&cortex), Settled::default());
}

#[test]
#[cfg_attr(miri, ignore = "thousands of concepts")]
fn after_many_have_gone_the_others_are_evened_out() {
    let cortex = cortex(8, NONE);
    (0..8000).for_each(|concept| _ = cortex.place_few(concept, &[]));
    (0..8000).filter(|concept| concept % 8 < 4 && concept > &100).for_each(|concept| cortex.remove(concept, |_| ()));
    assert!(balance(&cortex, 8) > 1.9);
    settle(&cortex);
    assert!(balance(&cortex, 8) <= 1.1);
}

#[test]
fn a_removed_concept_takes_its_edges_along_and_numbers_become_free() {
    let cortex = cortex(4, Voters::ALL);
    for (a, b) in [(0, 1), (0, 2), (1, 2), (0, 3)] {
        cortex.link(a, b);
    }
    (0..2).for_each(|concept| _ = cortex.place_few(concept, &[]));
    let mut free = Vec::new();
    cortex.remove(0, |number| free.push(number));
    free.sort_unstable();
    assert_eq!((free, cortex.edges(), cortex.live(), cortex.column(0)), (vec![0, 3], 1, 1, None), "2 is still hinted at, by 1");
    cortex.remove(0, |number| assert_eq!(number, 0));
    assert_eq!(cortex.live(), 1);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of concepts")]
fn a_hub_goes_in_bounded_steps_and_its_number_is_free_at_the_end() {
    let cortex = cortex(4, Voters::ALL);
    (0..=20_000).for_each(|concept| _ = cortex.link(0, concept));
    (0..10_000).for_each(|concept| _ = cortex.place_few(concept, &[]));
    let mut free = Vec::new();
    cortex.remove(0, |number| free.push(number));
    assert!(free.len() <= 256 && !free.contains(&0) && cortex.edges() == 20_000 - 256);
    free.extend(settle(&cortex).free);
    assert_eq!((cortex.edges(), free.last()), (0, Some(&0)));
    assert_eq!(free.iter().copied().collect::<BTreeSet<_>>(), (10_000..=20_000).chain([0]).collect());
    assert_eq!(free.len(), 10_002, "each once");
}

#[test]
fn edges_beyond_the_bound_are_dropped_and_counted_and_concepts_placed_all_the_same() {
    let cortex = MultiColumnProcessor::new().with_limits(GraphLimits { edges: 10, bytes: 1 << 20 }).start(4);
    for concept in 0..100 {
        cortex.link(concept, concept + 1);
        cortex.place_few(concept, &[]);
    }
    assert_eq!((cortex.edges(), cortex.dropped_edges(), cortex.live()), (10, 90, 100));
    settle(&cortex);
    assert!(cortex.bytes() > 10 * 8);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of concepts")]
fn threads_may_do_everything_at_once() {
    let (columns, each) = (16, 3000);
    let cortex = cortex(columns, Voters::ALL);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let cortex = &cortex;
            scope.spawn(move || {
                let mut random = Random(thread);
                for turn in 0..each {
                    let concept = turn * 3 + thread;
                    cortex.link(concept, random.below(3 * each));
                    cortex.link(concept, concept.saturating_sub(3));
                    cortex.place_few(concept, &[random.feature(5), 1.0]);
                    cortex.accessed(random.below(3 * each));
                    if turn % 10 == 9 {
                        cortex.remove(concept - 3, |_| ());
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..20_000 {
                if let Step::Move(group) = cortex.step() {
                    // The service finds out whether a concept still exists; here all that are placed do.
                    let there = group.concepts.iter().filter(|&&concept| cortex.column(concept).is_some());
                    there.for_each(|&concept| cortex.relocated(concept, group.column));
                }
            }
        });
    });
    let placed = (0..3 * each).filter(|&concept| cortex.column(concept).is_some()).count() as u32;
    assert_eq!(placed, cortex.live());
    let mut loads = vec![0; columns as usize];
    (0..3 * each).filter_map(|concept| cortex.column(concept)).for_each(|column| loads[column as usize] += 1);
    assert_eq!(loads, (0..columns).map(|column| cortex.load(column)).collect::<Vec<_>>());
    settle(&cortex);
    assert!(balance(&cortex, columns) <= 1.1);
}

#[test]
fn the_strategy_of_a_request_weighs_content_and_load() {
    let place = |effect: Placement, busy: u32| {
        let cortex = cortex(4, Voters { structural: 0.8, semantic: 0.1, ..NONE });
        cortex.place_folded(0, &Folded::few(&[0.0, 1.0]), &Balanced.placement());
        let near = cortex.column(0).unwrap();
        cortex.place_few(1, &[1.0]);
        // Two neighbours in column 3, one, and what is like it, in another.
        (10..10 + busy).for_each(|concept| assert!(cortex.place_in(concept, 3)));
        (0..1).chain(10..12).for_each(|neighbour| _ = cortex.link(100, neighbour));
        (cortex.place_folded(100, &Folded::few(&[0.0, 1.0]), &effect).column, near)
    };
    let usual = Balanced.placement();
    assert_eq!(place(usual, 2).0, 3, "structure first");
    let (column, near) = place(Placement { content_weight: 0.5, ..usual }, 2);
    assert_eq!(column, near, "content first");
    assert_eq!(place(Placement { content_weight: 0.0, ..usual }, 28).0, 3);
    let (column, near) = place(Placement { content_weight: 0.0, ..ResourceOptimized.placement() }, 28);
    assert_eq!(column, near, "where there is room");
}

#[test]
fn what_got_no_memory_leaves_its_column_and_keeps_its_edges() {
    let cortex = cortex(4, Voters::ALL);
    cortex.link(0, 1);
    cortex.place_few(0, &[1.0]);
    cortex.place_few(7, &[1.0]);
    assert!(!cortex.unplace(0), "it is still hinted at");
    assert!(cortex.unplace(7) && cortex.unplace(7), "nothing is known of it");
    assert_eq!((cortex.live(), cortex.edges(), cortex.column(0), cortex.column(7)), (0, 1, None, None));
    assert_eq!((0..4).map(|column| cortex.load(column)).sum::<u32>(), 0);
}

#[test]
fn no_number_and_no_weight_is_too_much() {
    let odd = [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, -1.0, f32::MIN_POSITIVE, 1.0];
    let all = Voters { structural: f32::MAX, semantic: f32::MAX, temporal: f32::MAX, exception: f32::MAX };
    for voters in odd.map(|weight| Voters { structural: weight, ..Voters::ALL }).into_iter().chain([all]) {
        let cortex = cortex(0, voters);
        let numbers = [0, 1, 63, 64, 1 << 20, CONCEPTS, u32::MAX - 1, u32::MAX];
        for (&concept, &weight) in numbers.iter().zip(odd.iter().cycle()) {
            cortex.link(concept, concept ^ 1);
            cortex.link(concept, 1);
            let effect = Placement { content_weight: weight.into(), load_weight: weight.into(), ..Balanced.placement() };
            let winner = cortex.place_folded(concept, &Folded::few(&[weight, 1.0]), &effect);
            assert!(winner.column == 0 && (0.0..=1.0).contains(&winner.confidence) && winner.drive.is_finite());
            assert_eq!(cortex.column(concept), (concept < CONCEPTS).then_some(0));
            cortex.accessed(concept);
            cortex.relocated(concept, concept);
            assert!(!cortex.place_in(concept, u32::MAX));
        }
        assert_eq!((cortex.live(), cortex.load(u32::MAX)), (5, 0));
        settle(&cortex);
        for concept in numbers {
            cortex.remove(concept, |_| ());
        }
        settle(&cortex);
        assert_eq!((cortex.live(), cortex.edges()), (0, 0));
    }
}
