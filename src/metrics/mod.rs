//! Metrics: what an arena holds and what was done with it, taken without stopping anybody.
//!
//! Every column counts for itself; a snapshot adds them up. What a snapshot says fits together:
//! `allocs - frees` is `live_blocks` because it is defined so, and frees are read before
//! allocations, so that no block seems freed that was never given. It is exact while nothing runs.
//!
//! `bytes_peak` is taken where slots leave their spans and come back, not at every block: what the stacks
//! of the cells keep counts as well (at most 48 slots and 32 KiB a cell in use, four slots of large
//! ones), so that it is never below the highest `bytes_live` of a column and its holder. What a column has
//! had on top of its present slots counts from its last report on (when it is released or reset, and with
//! every large block), and what others freed of it from its holder's next look (an allocation without
//! holding, a report): with several columns, or frees by others, the peak is off by at most that much.

mod text;

use crate::arena::Arena;
use crate::column::core::{Core, span_bytes};
use crate::map::Granule;
use crate::size_class::CLASSES;
use crate::sync::Ordering::{Acquire, Relaxed};

/// A snapshot of an arena's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Columns.
    pub columns: u32,
    /// Bytes of user memory.
    pub bytes_capacity: u64,
    /// Bytes in spans handed to columns.
    pub bytes_committed: u64,
    /// Bytes in blocks, rounded to their classes.
    pub bytes_live: u64,
    /// The highest of them, and what cells kept then.
    pub bytes_peak: u64,
    /// Blocks given, moved reallocations included.
    pub allocs: u64,
    /// Blocks taken back, moved reallocations and resets included.
    pub frees: u64,
    /// Of them, not through the handle of the block's column.
    pub remote_frees: u64,
    /// Allocations refused, for whatever reason.
    pub failed: u64,
    /// Frees refused.
    pub misuse: u64,
    /// Compare-and-swaps that had to be tried again.
    pub retries: u64,
    /// Batch calls.
    pub batches: u64,
}

impl Metrics {
    /// Blocks that are handed out.
    pub const fn live_blocks(&self) -> u64 {
        self.allocs - self.frees
    }
}

/// What one column adds to a snapshot.
#[derive(Default)]
struct Sum {
    spans: u64,
    live: i64,
    above: i64,
    allocs: u64,
    frees: u64,
    remote: u64,
}

impl Core {
    fn add_column(&self, index: u32, sum: &mut Sum) {
        let block = self.block(index);
        let (holder, open) = (&block.holder, &block.open);
        sum.spans += open.spans();
        // Acquire: frees are read before the allocations that they belong to.
        let by_others = open.frees_by_others.load(Acquire);
        let away = holder.away_frees.load(Acquire);
        let hold = holder.hold();
        let held = u64::from(hold != Granule(0));
        let mut kept = held * u64::from(self.place(hold).class().bytes);
        sum.frees += by_others + away + held + holder.other_frees.load(Acquire);
        sum.remote += by_others + away;
        sum.allocs += open.allocs_by_others.load(Relaxed) + holder.other_allocs.load(Relaxed);
        for id in holder.used_cells() {
            let (allocs, frees, stack) = self.cell(index, id.offset()).counts();
            sum.allocs += allocs;
            sum.frees += frees;
            kept += stack * u64::from(CLASSES[id.class()].bytes);
        }
        let unheard = open.balance_of_others().wrapping_sub(holder.bytes_seen.load(Relaxed)) as i64;
        let (balance, peak) = if holder.is_set_up() { self.handle(index).balance() } else { (0, 0) };
        sum.live += balance - unheard - kept as i64;
        sum.above = sum.above.max(peak - balance + unheard + kept as i64);
    }
}

impl Arena {
    /// A snapshot. Any thread, no lock; takes a step for each column in use and each of its cells.
    pub fn metrics(&self) -> Metrics {
        let core = &self.core;
        let counters = core.counters();
        let mut sum = Sum::default();
        for index in core.used_columns() {
            core.add_column(index, &mut sum);
        }
        counters.raise_peak(sum.live);
        let peak = counters.peak.load(Relaxed).max(sum.live + sum.above);
        Metrics {
            columns: self.columns(),
            bytes_capacity: self.capacity() as u64,
            bytes_committed: span_bytes(sum.spans) as u64,
            bytes_live: sum.live.max(0).cast_unsigned(),
            bytes_peak: peak.max(0).cast_unsigned().min(self.capacity() as u64),
            allocs: sum.allocs.max(sum.frees),
            frees: sum.frees,
            remote_frees: sum.remote,
            failed: counters.failed.load(Relaxed),
            misuse: counters.misuse.load(Relaxed),
            retries: counters.retries.load(Relaxed),
            batches: counters.batches.load(Relaxed),
        }
    }
}
