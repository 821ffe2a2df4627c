//! The rounds of a replay: each plays the passes with both allocators, and the series that come of it.

use engram::Arena;

use super::heap::{Heap, Malloc, Nothing};
use super::plan::Plan;
use super::play::{Calls, Content, Faults, Pass, Timed, play};
use super::playing;
use super::table::Table;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::report::replay::Single;
use crate::stats::{Pair, Spread, quantile};

/// What the rounds share.
pub struct Rounds<'a> {
    plan: &'a Plan,
    table: &'a mut Table,
    arena: &'a Arena,
    verify: bool,
    /// What went wrong so far.
    pub faults: Pair<Faults>,
}

/// What one round measured.
pub struct Round {
    driver: f64,
    calls: Pair<f64>,
    page_faults: Pair<Option<f64>>,
    content: Option<Pair<f64>>,
    ticks: Pair<Vec<u32>>,
}

/// One pass with one allocator.
struct Sample<P> {
    ns_per_operation: f64,
    page_faults: Option<f64>,
    passes: Vec<P>,
    faults: Faults,
}

impl<'a> Rounds<'a> {
    /// With both heaps as they are.
    pub fn new(plan: &'a Plan, table: &'a mut Table, arena: &'a Arena, verify: bool) -> Self {
        Self { plan, table, arena, verify, faults: Pair::default() }
    }

    /// One round of everything; which allocator goes first alternates with its number.
    ///
    /// # Errors
    /// [`Failure::Engram`] if a column is not to be had.
    pub fn play(&mut self, number: u32) -> Result<Round, Failure> {
        let engram_first = !number.is_multiple_of(2);
        let calls = self.both(engram_first, |_| Calls)?;
        let driver = self.one(&Nothing, |_| Calls)?.ns_per_operation;
        let content = if self.verify { Some(self.both(engram_first, |_| Content)?) } else { None };
        let lengths: Vec<usize> = self.plan.scripts.iter().map(|script| script.steps.len()).collect();
        let timed = self.both(engram_first, |thread| Timed(Vec::with_capacity(lengths[thread])))?;
        Ok(Round {
            driver,
            page_faults: calls.each_ref().map(|sample| sample.page_faults),
            calls: calls.map(|sample| sample.ns_per_operation),
            content: content.map(|both| both.map(|sample| sample.ns_per_operation)),
            ticks: timed.map(|sample| sample.passes.into_iter().flat_map(|pass| pass.0).collect()),
        })
    }

    /// Both allocators, one after the other.
    fn both<P: Pass>(&mut self, engram_first: bool, pass: impl Fn(usize) -> P + Copy) -> Result<Pair<Sample<P>>, Failure> {
        let arena = self.arena;
        let pair = if engram_first {
            let engram = self.one(arena, pass)?;
            Pair { malloc: self.one(&Malloc, pass)?, engram }
        } else {
            Pair { malloc: self.one(&Malloc, pass)?, engram: self.one(arena, pass)? }
        };
        self.faults.malloc = self.faults.malloc.and(pair.malloc.faults);
        self.faults.engram = self.faults.engram.and(pair.engram.faults);
        Ok(pair)
    }

    fn one<H: Heap, P: Pass>(&mut self, heap: &H, pass: impl Fn(usize) -> P) -> Result<Sample<P>, Failure> {
        let passes = (0..self.plan.threads()).map(pass).collect();
        let mut played = play(heap, self.plan, self.table, passes).map_err(playing)?;
        Ok(Sample {
            ns_per_operation: played.wall.as_nanos() as f64 / self.plan.operations().max(1) as f64,
            page_faults: played.page_faults.map(|faults| faults as f64),
            passes: std::mem::take(&mut played.passes),
            faults: played.clear(self.plan, self.table),
        })
    }
}

/// The rounds so far, by what was measured.
#[derive(Default)]
pub struct Series {
    driver: Vec<f64>,
    calls: Pair<Vec<f64>>,
    page_faults: Pair<Vec<f64>>,
    content: Pair<Vec<f64>>,
    single: Pair<SingleRounds>,
}

impl Series {
    /// One more.
    pub fn add(&mut self, round: Round) {
        self.driver.push(round.driver);
        self.calls.push(round.calls);
        if let Pair { malloc: Some(malloc), engram: Some(engram) } = round.page_faults {
            self.page_faults.push(Pair { malloc, engram });
        }
        if let Some(content) = round.content {
            self.content.push(content);
        }
        self.single.malloc.add(round.ticks.malloc);
        self.single.engram.add(round.ticks.engram);
    }

    /// In brief.
    pub fn sum_up(self, clock: Clock) -> Sums {
        let spread = |series: Pair<Vec<f64>>| (!series.malloc.is_empty()).then(|| series.map(Spread::of));
        Sums {
            driver_ns: Spread::of(self.driver),
            calls_ns: self.calls.map(Spread::of),
            content_ns: spread(self.content),
            page_faults: spread(self.page_faults),
            single_ns: self.single.map(|rounds| rounds.sum_up(clock)),
        }
    }
}

/// All rounds in brief.
pub struct Sums {
    /// The driver without an allocator.
    pub driver_ns: Spread,
    /// The calls alone.
    pub calls_ns: Pair<Spread>,
    /// With content, if it was verified.
    pub content_ns: Option<Pair<Spread>>,
    /// Page faults during the calls alone, if the system tells.
    pub page_faults: Option<Pair<Spread>>,
    /// Single calls.
    pub single_ns: Pair<Single>,
}

/// Quantiles of single calls in each round, and the least that each call took in any.
#[derive(Default)]
struct SingleRounds {
    quantiles: [Vec<f64>; 4],
    least: Vec<u32>,
}

impl SingleRounds {
    fn add(&mut self, mut ticks: Vec<u32>) {
        if self.least.is_empty() {
            self.least.clone_from(&ticks);
        }
        for (least, ticks) in self.least.iter_mut().zip(&ticks) {
            *least = (*least).min(*ticks);
        }
        ticks.sort_unstable();
        for (rounds, share) in self.quantiles.iter_mut().zip([0.5, 0.99, 0.9999, 1.0]) {
            rounds.push(f64::from(quantile(&ticks, share)));
        }
    }

    fn sum_up(self, clock: Clock) -> Single {
        let [p50, p99, p9999, worst] = self.quantiles.map(|rounds| Spread::of(rounds).median * clock.ns_per_tick);
        let common = self.least.into_iter().max().unwrap_or(0);
        Single { p50, p99, p9999, worst, worst_common_to_all_rounds: f64::from(common) * clock.ns_per_tick }
    }
}
