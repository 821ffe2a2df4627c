//! WordNet in spike order: what placing concepts by column and spike time is worth to whoever visits them by spike.
//!
//! Every synset of WordNet 3.0 becomes a record ([`records`]), placed three times: by malloc as they come, by engram one by
//! one, each with its column and spike time, and by engram in one ordered batch ([`store`]). Then all are visited in spike
//! order ([`visit`]): over all columns at once, and column after column; from a list of addresses, and along a chain in which
//! each record holds the next one's address; warm, and from caches flushed before. A plain walk over malloc's records in the
//! order of their addresses shows what the best order costs.
//!
//! Every walk adds up all bytes that it visits: a record that is not as it was written is found.

pub mod records;
mod store;
#[cfg(test)]
mod tests;
mod visit;

use std::time::Instant;

use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::wordnet::{Order, VisitRow, WordNetReport};
use crate::stats::Spread;
use records::{COLUMNS, Concept, Concepts};
use store::Store;
use visit::{Caches, Visits};

/// What the section is called while it runs.
const NAME: &str = "wordnet";

/// Steps of progress that [`measure`] takes.
pub const fn steps(rounds: u32) -> u64 {
    rounds as u64 + 2
}

/// The ways of visiting, in the order of the report.
const WAYS: [(Order, bool, bool); 8] = [
    (Order::All, false, false),
    (Order::All, false, true),
    (Order::All, true, false),
    (Order::All, true, true),
    (Order::ColumnByColumn, false, false),
    (Order::ColumnByColumn, false, true),
    (Order::ColumnByColumn, true, false),
    (Order::ColumnByColumn, true, true),
];

/// Places and visits them.
///
/// # Errors
/// [`Failure`] if the shipped file is damaged or the arena refuses the records.
pub fn measure(rounds: u32, progress: &Progress) -> Result<WordNetReport, Failure> {
    progress.stage(NAME, "reading 117,659 concepts");
    let concepts = Concepts::shipped()?;
    progress.step();
    progress.stage(NAME, "placing them three times");
    let stores = [Store::malloc(&concepts), Store::singles(&concepts)?, Store::batch(&concepts)?];
    progress.step();

    let by_spike = concepts.order(|concept| (0, concept.spike_ns));
    let by_column = concepts.order(|concept| (concept.column, concept.spike_ns));
    let mut bench = Bench { concepts: &concepts, caches: Caches::new(), series: Default::default(), damaged: 0 };
    for round in 1..=rounds {
        progress.stage(NAME, &format!("round {round} of {rounds}"));
        for turn in 0..stores.len() {
            // Another placement goes first in each round.
            let which = (turn + round as usize) % stores.len();
            bench.visit(Order::All, which, &stores[which], &by_spike);
            bench.visit(Order::ColumnByColumn, which, &stores[which], &by_column);
        }
        let plain = stores[0].order_of_addresses();
        bench.visit(Order::All, 3, &stores[0], &plain);
        progress.step();
    }
    Ok(bench.report(&stores, rounds))
}

/// The visits so far.
struct Bench<'a> {
    concepts: &'a Concepts,
    caches: Caches,
    /// For each way and each placement (the fourth is the plain walk), nanoseconds a visit in each round.
    series: [[Vec<f64>; 4]; 8],
    damaged: u64,
}

impl Bench<'_> {
    /// All ways of visiting one placement in one order.
    fn visit(&mut self, order: Order, placement: usize, store: &Store, sequence: &[u32]) {
        let visits = Visits::new(store, sequence);
        for (way, (_, cold, dependent)) in WAYS.iter().enumerate().filter(|(_, way)| way.0 == order) {
            if *cold {
                self.caches.flush();
            } else {
                self.check(visits.walk(*dependent));
            }
            let began = Instant::now();
            let sum = visits.walk(*dependent);
            let elapsed = began.elapsed();
            self.check(sum);
            self.series[way][placement].push(elapsed.as_nanos() as f64 / sequence.len().max(1) as f64);
        }
    }

    fn check(&mut self, sum: u64) {
        self.damaged += u64::from(sum != self.concepts.sum());
    }

    fn report(self, stores: &[Store; 3], rounds: u32) -> WordNetReport {
        let rows = WAYS.into_iter().zip(self.series).map(|((order, cold, dependent), series)| {
            let [malloc, singles, batch, plain] = series.map(Spread::of);
            VisitRow { order, dependent, cold, malloc, singles, batch, plain }
        });
        let mut rows: Vec<_> = rows.collect();
        // The plain walk is of all records: the same for both orders.
        let (all, by_column) = rows.split_at_mut(WAYS.len() / 2);
        by_column.iter_mut().zip(all).for_each(|(row, of_all)| row.plain = of_all.plain);
        let spikes = || self.concepts.iter().map(|concept: &Concept| concept.spike_ns);
        WordNetReport {
            concepts: self.concepts.len(),
            record_bytes: self.concepts.record_bytes(),
            columns: COLUMNS,
            spikes: (spikes().min().unwrap_or(0), spikes().max().unwrap_or(0)),
            rounds,
            committed_bytes: (stores[1].committed(), stores[2].committed()),
            rows,
            damaged: self.damaged,
        }
    }
}
