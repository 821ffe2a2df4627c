//! Metrics: what an arena holds and what was done with it, taken without stopping anybody.
//!
//! Every column counts for itself; a snapshot adds them up. What a snapshot says fits together:
//! `allocs - frees` is `live_blocks` because it is defined so, and no more are told freed than given: frees are read before the
//! allocations that they belong to, but for the up to two that a column holds back. Neither falls from one snapshot to the next. It is
//! exact while nothing runs. It begins when the arena is opened: in a region that is opened again the blocks that are there count as
//! given then, and nothing else is known of the time before.
//!
//! `bytes_peak` never falls while the arena is open, and is never below a `bytes_live` that a snapshot said. In between it is taken
//! where slots leave their spans and come back, not at every block, and is never below the highest `bytes_live` of any one column,
//! blocks in shared spans and large ones left out. What the stacks of a column's cells keep counts as well (at most 47 slots and 32 KiB a cell in
//! use, or four slots; one of blocks above 32 KiB, none above 64 KiB), and what others freed of it and the column has not taken
//! back yet: so for one column it is above the highest `bytes_live` by that, and never above the highest `bytes_committed`.
//! (Holders of other columns tell it of what they free by up to 4 KiB, or a block, at once, or when they report.)
//! (An allocation without holding the column leaves out what others freed before.)
//! Of several columns nobody knows what they had at one moment, but when a snapshot is taken. What one has given back since its last
//! report (when it is released, reset or maintained, and with every large block) is added to what all others have then, or
//! reported last. So between snapshots the peak may be too low by what others had and gave back in between, and too high by
//! what they got, or lost, since: it is never above the sum of the highest that each column had.

mod text;

use crate::column::block::ColumnBlock;
use crate::column::core::{Core, span_bytes};
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed};

/// A snapshot of an arena's counters. They begin when the arena is opened, in a region file too: the blocks found there count as given
/// then, and all that is told of the time before is 0.
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
    /// The highest of them, what cells kept then, and what others had freed of a column that it had not taken back; never falls while the
    /// arena is open.
    /// Of several columns at once it is exact only when a snapshot is taken.
    pub bytes_peak: u64,
    /// Blocks given, or found at the opening; moved reallocations included.
    pub allocs: u64,
    /// Blocks taken back, moved reallocations and resets included.
    pub frees: u64,
    /// Of them, not through the handle of the block's column.
    pub remote_frees: u64,
    /// Allocations refused; those of a batch that is undone, or of a held column
    /// ([`Column::alloc_batch`](crate::Column::alloc_batch)), count as one. A batch of which nothing is tried, because its output
    /// has another length or it is too long, is not counted.
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
    peak: i64,
    counts: Counts,
}

/// Times that a column is looked at again if much was done in it meanwhile.
const LOOKS: usize = 4;

/// One look at a column.
#[derive(Default)]
struct Look {
    counts: Counts,
    live: i64,
    /// By how much the column's bytes were higher than those of its blocks are.
    above: i64,
    /// The most that they were.
    peak: i64,
}

/// What was done in a column, as far as its counters in the region say.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Blocks given.
    pub(crate) allocs: u64,
    /// Blocks taken back.
    pub(crate) frees: u64,
    /// Of them, not through the column's handle.
    pub(crate) remote: u64,
    /// Bytes of the slots that the stacks of its cells keep.
    stacks: u64,
}

impl Counts {
    /// Both. Wrapping: the counters of a damaged region may be any.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            allocs: self.allocs.wrapping_add(other.allocs),
            frees: self.frees.wrapping_add(other.frees),
            remote: self.remote.wrapping_add(other.remote),
            stacks: self.stacks.wrapping_add(other.stacks),
        }
    }
}

impl Core {
    /// What was done in a column. Needs nothing but what lies in the region, and believes none of it.
    pub(crate) fn counts(&self, index: u32) -> Counts {
        let ColumnBlock { holder, holds, open, .. } = self.block(index);
        // Acquire: frees are read before the allocations that they belong to.
        let by_others = open.frees_by_others.load(Acquire);
        let away = holder.away_frees.load(Acquire);
        let remote = by_others.wrapping_add(away);
        let frees = remote.wrapping_add(holder.other_frees.load(Acquire));
        let allocs = open.allocs_by_others.load(Relaxed).wrapping_add(holder.other_allocs.load(Relaxed));
        let cells = holder.cells_near_used(self.rows()).map(|id| {
            let (allocs, frees, stack) = self.cell(index, id.offset()).counts();
            Counts { allocs, frees, remote: 0, stacks: stack * u64::from(id.class_of().bytes) }
        });
        let mut counts = cells.fold(Counts { allocs, frees, remote, stacks: 0 }, Counts::and);
        // Last: what was held back when a cell's frees were read, and is pushed by now, is in neither; before, it would be in both.
        counts.frees = counts.frees.wrapping_add(holds.all().count() as u64);
        counts
    }

    fn add_column(&self, index: u32, sum: &mut Sum) {
        let open = &self.block(index).open;
        // Who is interrupted while it looks sees numbers of moments far apart: of a few looks the one counts during which the
        // least was done.
        let handle = self.handle(index);
        let done = || {
            let [again, heard] = handle.heard_of();
            [open.bytes_by_others.load(Acquire), handle.away_bytes(), again, heard]
        };
        let (mut look, mut least) = (Look::default(), u64::MAX);
        for _ in 0..LOOKS {
            let before = done();
            let now = self.look_at(index);
            let moved = before.iter().zip(done()).map(|(&from, to)| (to.wrapping_sub(from) as i64).unsigned_abs());
            let moved = moved.fold(0, u64::saturating_add);
            if moved < least {
                (look, least) = (now, moved);
            }
            if moved == 0 {
                break;
            }
        }
        sum.spans += open.spans_told();
        sum.counts = sum.counts.and(look.counts);
        sum.live += look.live;
        sum.above = sum.above.max(look.above);
        sum.peak = sum.peak.max(look.peak);
    }

    fn look_at(&self, index: u32) -> Look {
        let (block, handle) = (self.block(index), self.handle(index));
        let held: u64 = block.holds.all().map(|held| u64::from(self.place(held).class().bytes)).sum();
        let counts = self.counts(index);
        let kept = (counts.stacks + held) as i64;
        let (bytes, above, peak) = if block.holder.is_set_up() {
            handle.bytes(&block.open)
        } else {
            (block.open.bytes_by_others.load(Relaxed).wrapping_neg().cast_signed(), 0, 0)
        };
        Look { counts, live: bytes - kept - handle.away_bytes().cast_signed(), above: above + kept, peak }
    }

    /// A snapshot. Any thread, no lock; takes a step for each column in use and each of its cells.
    pub(crate) fn metrics(&self) -> Metrics {
        let counters = self.counters();
        let mut sum = Sum::default();
        for index in self.used_columns() {
            self.add_column(index, &mut sum);
        }
        // A holder at work hides some for a moment (`Cell::counts`, and frees that it holds back): what was told before was so.
        let no_fewer = |told: &AtomicU64, now: u64| now.max(told.fetch_max(now, Relaxed));
        sum.counts.frees = no_fewer(&counters.told_frees, sum.counts.frees);
        sum.counts.allocs = no_fewer(&counters.told_allocs, sum.counts.allocs.max(sum.counts.frees));
        // What is live lies in spans.
        sum.live = sum.live.min(span_bytes(sum.spans) as i64);
        counters.raise_peak(sum.peak.max(sum.live + sum.above));
        self.metrics_of(sum.counts, sum.spans, sum.live.max(0).cast_unsigned(), counters.peak.load(Relaxed))
    }

    /// A snapshot of what was counted: of all columns together, and of the arena as a whole.
    pub(crate) fn metrics_of(&self, counts: Counts, spans: u64, bytes_live: u64, peak: i64) -> Metrics {
        let (counters, capacity) = (self.counters(), self.region.capacity() as u64);
        // A span that changed hands meanwhile may have been counted for both columns.
        let bytes_committed = (span_bytes(spans) as u64).min(capacity);
        let bytes_live = bytes_live.min(bytes_committed);
        Metrics {
            columns: self.column_count(),
            bytes_capacity: capacity,
            bytes_committed,
            bytes_live,
            bytes_peak: peak.max(0).cast_unsigned().min(capacity).max(bytes_live),
            allocs: counts.allocs.max(counts.frees),
            frees: counts.frees,
            remote_frees: counts.remote,
            failed: counters.failed.load(Relaxed),
            misuse: counters.misuse.load(Relaxed),
            retries: counters.retries.load(Relaxed),
            batches: counters.batches.load(Relaxed),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
