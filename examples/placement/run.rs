//! One run: concepts come one after the other, each with its hints; then maintenance.

use std::time::{Duration, Instant};

use engram::guidance::AllocationStrategyType::Balanced;
use engram::guidance::{Cortex, MultiColumnProcessor, Step, Voters};

use crate::input::Graph;

/// What came of it, and how long that took.
#[derive(Default)]
pub struct Outcome {
    pub concepts: f64,
    pub cut_on_arrival: f64,
    pub cut: f64,
    /// The fullest column, as a multiple of the mean.
    pub balance: f64,
    pub relocations: u32,
    pub link: Duration,
    pub places: Vec<Duration>,
    pub steps: Vec<Duration>,
    pub most_read: u64,
    pub bytes: f64,
    /// Cut and relocations if maintenance runs after every 1,000 concepts.
    pub growing: (f64, u32),
}

fn timed<T>(times: &mut Vec<Duration>, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = act();
    times.push(began.elapsed());
    result
}

fn cut(cortex: &Cortex, graph: &Graph) -> f64 {
    let cut = graph.edges.iter().filter(|(a, b)| cortex.column(*a) != cortex.column(*b)).count();
    cut as f64 / graph.edges.len().max(1) as f64
}

/// All concepts come, and are placed, with maintenance each time that so many have come.
pub fn arrive(graph: &Graph, columns: u32, voters: Voters, maintained: usize) -> (Cortex, Outcome) {
    let cortex = MultiColumnProcessor::new().with_voters(voters).start(columns);
    let mut outcome = Outcome { concepts: graph.features.len().max(1) as f64, ..Outcome::default() };
    let mut links = 0;
    for (concept, (hints, features)) in (0..).zip(graph.hints.iter().zip(&graph.features)) {
        let began = Instant::now();
        for &hint in hints {
            cortex.link(concept, hint);
        }
        outcome.link += began.elapsed();
        links += hints.len() as u32;
        timed(&mut outcome.places, || cortex.place(concept, features, &Balanced.placement()));
        if outcome.places.len().is_multiple_of(maintained) {
            maintain(&cortex, &mut outcome);
        }
    }
    outcome.link /= links.max(1);
    outcome.places.sort_unstable();
    outcome.cut_on_arrival = cut(&cortex, graph);
    (cortex, outcome)
}

/// Steps until there is nothing to do; every move is made.
pub fn maintain(cortex: &Cortex, outcome: &mut Outcome) {
    loop {
        let read = cortex.edges_read();
        let step = timed(&mut outcome.steps, || cortex.step());
        outcome.most_read = outcome.most_read.max(cortex.edges_read() - read);
        outcome.bytes = outcome.bytes.max(cortex.bytes() as f64);
        match step {
            Step::Idle => return,
            Step::Worked | Step::Free(_) => {}
            Step::Move(group) => {
                outcome.relocations += group.concepts.len() as u32;
                group.concepts.iter().for_each(|&concept| cortex.relocated(concept, group.column));
            }
        }
    }
}

/// One run: all come, then maintenance; and another one in which maintenance runs all the while.
pub fn run(graph: &Graph, columns: u32) -> Outcome {
    let (cortex, mut outcome) = arrive(graph, columns, Voters::ALL, usize::MAX);
    maintain(&cortex, &mut outcome);
    outcome.steps.sort_unstable();
    outcome.cut = cut(&cortex, graph);
    let fullest = (0..columns).map(|column| cortex.load(column)).max().unwrap_or(0);
    outcome.balance = f64::from(fullest) * f64::from(columns) / outcome.concepts;
    let (cortex, mut growing) = arrive(graph, columns, Voters::ALL, 1000);
    maintain(&cortex, &mut growing);
    outcome.growing = (cut(&cortex, graph), growing.relocations);
    outcome
}
