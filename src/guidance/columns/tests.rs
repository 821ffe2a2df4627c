use super::*;
use crate::guidance::graph::GraphLimits;
use crate::guidance::strategy::AllocationStrategyType;

const NONE: Voters = Voters::NONE;
const USUAL: Placement = AllocationStrategyType::Balanced.placement();

struct World {
    graph: Graph,
    homes: Homes,
    columns: Columns,
}

impl World {
    fn new(columns: u32, voters: Voters) -> Self {
        Self {
            graph: Graph::new(GraphLimits::default()),
            homes: Homes::try_new(columns).unwrap(),
            columns: Columns::try_new(columns, voters).unwrap(),
        }
    }

    fn decide(&self, concept: u32, features: &[f32]) -> Winner {
        self.decide_by(concept, features, USUAL)
    }

    fn decide_by(&self, concept: u32, features: &[f32], effect: Placement) -> Winner {
        self.columns.decide(&self.graph, &self.homes, concept, &Folded::few(features), &effect)
    }
}

#[test]
fn a_drive_spikes_when_the_encoder_says() {
    let spike = |drive| Contest { first: Some((drive, 0)), second: 0.0 }.winner(1).spike;
    for drive in [1.0, 0.75, 0.5, 0.25] {
        assert_eq!(spike(drive), first_spike(drive.into()).unwrap());
    }
    assert!(spike(0.100_001) < SpikeTime::NONE);
}

#[test]
fn the_strongest_wins_ties_go_to_the_lowest_and_the_gap_is_the_confidence() {
    let mut contest = Contest::default();
    for (column, drive) in [(5, 0.4), (3, 0.8), (2, 0.8), (9, 0.8), (1, 0.1)] {
        contest.enter(column, drive);
    }
    let winner = contest.winner(7);
    assert_eq!((winner.column, winner.drive, winner.confidence), (2, 0.8, 0.0));
    let mut contest = Contest::default();
    contest.enter(1, 0.2);
    contest.enter(0, 0.8);
    assert!((contest.winner(7).confidence - 0.75).abs() < 1e-6);
    assert!((Contest { first: Some((0.5, 0)), second: 0.0 }.winner(7).confidence - 1.0).abs() < 1e-6);
}

#[test]
fn in_silence_the_least_loaded_column_is_recruited() {
    let recruited = |column| Winner { column, drive: 0.0, spike: SpikeTime::NONE, confidence: 0.0 };
    assert_eq!(Contest { first: Some((SILENT, 0)), second: 0.0 }.winner(3), recruited(3), "at the threshold there is no spike");
    let world = World::new(4, NONE);
    [0, 0, 1, 3].iter().enumerate().for_each(|(concept, &column)| world.homes.enter(concept as u32, column));
    assert_eq!(world.decide(9, &[1.0]), recruited(2));
}

#[test]
fn neighbours_vote_and_those_to_come_share_a_quarter() {
    let world = World::new(8, Voters { structural: 1.0, ..NONE });
    for (concept, column) in [(1, 5), (2, 5), (3, 6), (4, 7)] {
        world.homes.enter(concept, column);
    }
    (1..4).for_each(|neighbour| _ = world.graph.link(0, neighbour));
    let winner = world.decide(0, &[]);
    assert_eq!(winner.column, 5);
    assert!((winner.confidence - 0.5).abs() < 0.05, "two votes to one, nearly: {}", winner.confidence);
    // 11 and 12 are hinted at; 4 waits for one of them, 1 and 3 for the other.
    for (a, b) in [(10, 11), (4, 11), (20, 12), (1, 12), (3, 12)] {
        world.graph.link(a, b);
    }
    assert_eq!(world.decide(10, &[]).column, 7);
    let shared = world.decide(20, &[]);
    assert_eq!((shared.column, shared.spike < SpikeTime::NONE), (6, true), "an eighth each: the column with more room");
}

#[test]
fn a_full_column_takes_no_part() {
    let world = World::new(2, Voters { structural: 1.0, ..NONE });
    (1..=64).for_each(|concept| world.homes.enter(concept, 1));
    world.graph.link(0, 1);
    assert_eq!(world.decide(0, &[]).column, 0);
}

#[test]
fn content_breaks_ties_between_columns_with_votes_and_looks_no_further() {
    let world = World::new(8, Voters { structural: 0.8, semantic: 0.1, ..NONE });
    world.homes.enter(1, 3);
    world.homes.enter(2, 6);
    world.graph.link(0, 1);
    world.graph.link(0, 2);
    world.columns.learn(3, &Folded::few(&[1.0, 0.0]));
    world.columns.learn(6, &Folded::few(&[0.0, 1.0]));
    world.columns.learn(7, &Folded::few(&[0.5, 0.5]));
    assert_eq!([[1.0, 0.1], [0.1, 1.0], [0.5, 0.5]].map(|features| world.decide(0, &features).column), [3, 6, 3]);
}

#[test]
fn weights_that_are_none_switch_a_voter_off() {
    let columns = Columns::try_new(0, Voters { structural: f32::NAN, semantic: -1.0, temporal: f32::INFINITY, exception: 2.0 }).unwrap();
    assert_eq!(columns.voters, Voters { exception: 2.0, ..NONE });
}

#[test]
fn the_strategy_says_what_content_counts_for() {
    let at = |semantic, content_weight| {
        let world = World::new(8, Voters { structural: 0.8, semantic, ..NONE });
        for (concept, column) in [(1, 3), (2, 3), (3, 6)] {
            world.homes.enter(concept, column);
            world.graph.link(0, concept);
        }
        world.columns.learn(3, &Folded::few(&[1.0, 0.0]));
        world.columns.learn(6, &Folded::few(&[0.0, 1.0]));
        // Two neighbours in column 3, one and all likeness in column 6.
        world.decide_by(0, &[0.0, 1.0], Placement { content_weight, ..USUAL }).column
    };
    let weights = [0.0, 0.05, 0.2, 0.5, 1.0, f64::INFINITY, f64::NAN, -1.0];
    assert_eq!(weights.map(|weight| at(0.1, weight)), [3, 3, 3, 6, 6, 6, 3, 3]);
    assert_eq!(weights.map(|weight| at(0.0, weight)), [3; 8], "a voter that is switched off stays so");
}

#[test]
fn the_strategy_says_what_load_counts_for() {
    let world = World::new(4, Voters { structural: 1.0, ..NONE });
    (0..32).for_each(|concept| world.homes.enter(concept, 1));
    (32..42).for_each(|concept| world.homes.enter(concept, 2));
    for neighbour in [0, 1, 32] {
        world.graph.link(100, neighbour);
    }
    // Column 1: 2 (1 - 32/64)^l; column 2: (1 - 10/64)^l.
    let at = |load_weight| world.decide_by(100, &[], Placement { load_weight, ..USUAL }).column;
    assert_eq!([0.0, 1.0, 2.0, 1e300, f64::NAN, -1.0].map(at), [1, 1, 2, 2, 1, 1]);
    (42..74).for_each(|concept| world.homes.enter(concept, 1));
    assert_eq!(at(0.0), 2, "the limit holds all the same");
}
