//! One run: concepts come one after the other, each with its hints, then re-placement until it is done.
#![allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]

use std::time::{Duration, Instant};

use engram::guidance::AllocationStrategyType::Balanced;
use engram::guidance::{Cortex, Features, MultiColumnProcessor, Step, Stimulus, Voters};

use crate::input::Input;

/// What a run does.
#[derive(Clone, Copy)]
pub struct Task {
    pub columns: u32,
    pub voters: Voters,
    /// Whether edges to concepts that are yet to come are known.
    pub ahead: bool,
    /// Whether re-placement follows.
    pub settle: bool,
}

/// Where concepts came to lie, and how long that took.
#[derive(Default)]
pub struct Outcome {
    pub first_cut: f64,
    pub first_balance: f64,
    pub cut: f64,
    pub balance: f64,
    /// For each concept.
    pub relocations: f64,
    pub decision: Duration,
    /// For each concept.
    pub settling: Duration,
    pub step: Duration,
    pub longest_step: Duration,
    pub most_read: u64,
    /// For each concept.
    pub bytes: f64,
}

/// Concepts with what is known of them, and all edges, to judge by.
pub struct Arrivals {
    hints: Vec<Vec<u32>>,
    features: Vec<Features>,
    edges: Vec<(u32, u32)>,
}

/// Whether one of so many edges is this one.
fn is_known(edge: (u32, u32), known: u32) -> bool {
    let mixed = (u64::from(edge.0) << 32 | u64::from(edge.1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) % u64::from(known) == 0
}

impl Arrivals {
    /// One of `known` edges is known.
    pub fn new(input: &Input, known: u32) -> Self {
        let mut hints = vec![Vec::new(); input.texts.len()];
        for &(a, b) in input.edges.iter().filter(|&&edge| is_known(edge, known)) {
            hints[a as usize].push(b);
            hints[b as usize].push(a);
        }
        let features = input.texts.iter().filter_map(|text| Features::of(Stimulus::Content(text.as_bytes())).ok()).collect();
        Self { hints, features, edges: input.edges.clone() }
    }

    fn count(&self) -> f64 {
        self.hints.len().max(1) as f64
    }

    fn cut(&self, column: impl Fn(u32) -> Option<u32>) -> f64 {
        let cut = self.edges.iter().filter(|(a, b)| column(*a) != column(*b)).count();
        cut as f64 / self.edges.len().max(1) as f64
    }

    /// Placed by a hash of the number.
    pub fn hashed(&self, columns: u32) -> Outcome {
        let column = |concept: u32| Some((concept.wrapping_mul(0x9e37_79b1) >> 8) % columns);
        Outcome { first_cut: self.cut(column), ..Outcome::default() }
    }

    fn balance(&self, cortex: &Cortex, columns: u32) -> f64 {
        let most = (0..columns).map(|column| cortex.load(column)).max().unwrap_or(0);
        f64::from(most) * f64::from(columns) / self.count()
    }

    /// Placed as the task says.
    pub fn run(&self, task: Task) -> Outcome {
        let cortex = MultiColumnProcessor::new().with_voters(task.voters).start(task.columns);
        let mut outcome = Outcome::default();
        let began = Instant::now();
        for (concept, (hints, features)) in (0..).zip(self.hints.iter().zip(&self.features)) {
            for &hint in hints.iter().filter(|&&hint| task.ahead || hint < concept) {
                cortex.link(concept, hint);
            }
            cortex.place(concept, features, &Balanced.placement());
        }
        outcome.decision = began.elapsed().div_f64(self.count());
        outcome.first_cut = self.cut(|concept| cortex.column(concept));
        outcome.first_balance = self.balance(&cortex, task.columns);
        if task.settle {
            self.settle(&cortex, &mut outcome);
            outcome.cut = self.cut(|concept| cortex.column(concept));
            outcome.balance = self.balance(&cortex, task.columns);
        }
        outcome
    }

    fn settle(&self, cortex: &Cortex, outcome: &mut Outcome) {
        let (mut steps, mut relocations, mut bytes) = (0, 0_u32, 0);
        let mut read = cortex.edges_read();
        loop {
            let began = Instant::now();
            let step = cortex.step();
            let took = began.elapsed();
            outcome.settling += took;
            outcome.longest_step = outcome.longest_step.max(took);
            let now = cortex.edges_read();
            outcome.most_read = outcome.most_read.max(now - read);
            read = now;
            steps += 1;
            bytes = bytes.max(cortex.bytes());
            match step {
                Step::Idle => break,
                Step::Worked | Step::Free(_) => {}
                Step::Move(group) => {
                    for concept in group.concepts {
                        cortex.relocated(concept, group.column);
                        relocations += 1;
                    }
                }
            }
        }
        outcome.step = outcome.settling / steps;
        outcome.settling = outcome.settling.div_f64(self.count());
        outcome.relocations = f64::from(relocations) / self.count();
        outcome.bytes = bytes as f64 / self.count();
    }
}
