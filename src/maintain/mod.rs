//! Bounded background work, on the caller's thread, never inside an allocation.
//!
//! One step looks after one column whose lease is free (takes back what others freed, gives back
//! what its cells keep, empty spans to their chunks, empty chunks to the arena), or after one chunk: gives it back to
//! the arena if it is empty, and the memory of its free spans to the system. A cursor remembers where to go on.

use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::column::{ColumnId, Leased};
use crate::error::{Error, Result};
use crate::map::{ChunkId, Owner, SpanId};
use crate::region::PAGE;
use crate::size_class::{CHUNK_SPANS, SPAN};
use crate::span::IndexWords;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

#[cfg(all(test, not(loom)))]
mod tests;

/// Steps with nothing to do after which the clock is read; after each other step it is.
const IDLE_STEPS: u32 = 16;

/// Whether maintenance has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintained {
    /// A whole round is done; and, as far as the budget lasted, once more what earlier calls of the round had passed.
    All,
    /// The budget was used up first.
    More,
}

impl Arena {
    /// Maintains the arena for about `budget`: it stops after the step in which the budget ends, or a few more if there was nothing
    /// to do. Each call gets on, whatever the budget.
    /// Held columns are left to their holders. Calls the system.
    ///
    /// # Errors
    /// [`Error::Maintaining`] if another thread is at it.
    pub fn maintain(&self, budget: Duration) -> Result<Maintained> {
        self.maintain_and_count(budget).map(|(maintained, _)| maintained)
    }

    /// The same; also how many bytes went back to the system.
    pub(crate) fn maintain_and_count(&self, budget: Duration) -> Result<(Maintained, u64)> {
        let counters = self.core.counters();
        if counters.maintaining.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            return Err(Error::Maintaining);
        }
        let start = Instant::now();
        let end = u64::from(self.columns()) + self.core.chunks.len() as u64;
        let begun = counters.cursor.load(Relaxed);
        let (mut at, mut spans) = (begun, 0);
        let is_used_up = self.maintain_up_to(end, &mut at, &mut spans, start, budget);
        let result = if at < end { Maintained::More } else { Maintained::All };
        if at == end {
            at = 0;
            // What the calls before have passed may have changed since.
            if !is_used_up {
                self.maintain_up_to(begun, &mut at, &mut spans, start, budget);
                at = 0;
            }
        }
        counters.cursor.store(at, Relaxed);
        counters.maintaining.store(0, Release);
        Ok((result, spans * SPAN as u64))
    }

    /// Takes steps from `at` up to `end`, and counts the spans given back. True if the budget was used up.
    fn maintain_up_to(&self, end: u64, at: &mut u64, spans: &mut u64, start: Instant, budget: Duration) -> bool {
        let columns = u64::from(self.columns());
        let mut idle = 0;
        while *at < end {
            let worked = if *at < columns {
                self.tend_column(*at as u32)
            } else {
                let decommitted = self.decommit_chunk((*at - columns) as u32);
                *spans += decommitted;
                decommitted > 0
            };
            *at += 1;
            idle = if worked { IDLE_STEPS } else { idle + 1 };
            if idle >= IDLE_STEPS {
                idle = 0;
                if start.elapsed() >= budget {
                    return true;
                }
            }
        }
        false
    }

    /// Brings a column's free memory together, if its lease is free. False if there was nothing to do.
    fn tend_column(&self, index: u32) -> bool {
        // Of a column that was never used not even its block is touched, which lies on pages of its own.
        if !self.core.is_used(index) || self.core.block(index).open.spans() == 0 {
            return false;
        }
        let Some(handle) = self.core.lease(index) else { return false };
        handle.flush();
        handle.report();
        // As one that is released: who uses the column for single operations alone never releases it (L3).
        handle.trust();
        true
    }

    /// Before blocks of one size are laid out anew in a column, by ordered batches: takes back what others freed of the
    /// column, and lets the blocks begin in a span of their own, not behind what was left untouched before. Nothing happens if
    /// somebody holds the column. A step: grows with the column's cells, its spans with free slots, and its chunks.
    pub(crate) fn begin_order(&self, column: ColumnId, size: usize) {
        let Some(handle) = self.lease(column) else { return };
        handle.begin_order(size);
        handle.report();
    }

    /// Afterwards: gives the pages behind the last of them back to the system, which the span's former blocks may have
    /// touched. Nothing happens if somebody holds the column. Bounded; calls the system.
    pub(crate) fn end_order(&self, column: ColumnId, size: usize) {
        if !self.decommits() {
            return;
        }
        let Some(handle) = self.lease(column) else { return };
        if let Some((span, bytes)) = handle.last_in_order(size) {
            let _ = self.core.region.decommit(span.index(), bytes.div_ceil(PAGE)..SPAN / PAGE);
        }
    }

    /// Takes back what others freed of the column, and gives the pages of these spans of its small blocks back to the system in which
    /// no block lies: former ones may have touched them. Nothing happens if somebody holds the column. A step, as `begin_order`, and
    /// grows with the spans, too; calls the system.
    pub(crate) fn decommit_between(&self, column: ColumnId, spans: impl IntoIterator<Item = u32>) {
        if !self.decommits() {
            return;
        }
        let Some(handle) = self.lease(column) else { return };
        handle.flush();
        handle.report();
        for span in spans {
            let mut free = handle.pages_without_blocks(SpanId(span));
            while free != 0 {
                let first = free.trailing_zeros();
                let run = (free >> first).trailing_ones();
                let _ = self.core.region.decommit(span as usize, first as usize..(first + run) as usize);
                free &= !(((1 << run) - 1) << first);
            }
        }
    }

    /// A column's handle, if there is such a column and nobody holds it.
    fn lease(&self, column: ColumnId) -> Option<Leased<'_>> {
        self.core.check_column(column.index()).ok()?;
        self.core.lease(column.index())
    }

    /// Whether memory goes back to the system: not if the arena is to stay in memory, lies in a file (whose space stays
    /// reserved) or in given memory.
    fn decommits(&self) -> bool {
        let options = self.core.options.region;
        !options.prefault && !options.lock && self.core.region.is_anonymous()
    }

    /// Gives a chunk back to the arena if it is empty, and its free spans to the system, unless the arena keeps them. Not if
    /// somebody holds the column that reserved the chunk. The number of spans that the system got.
    fn decommit_chunk(&self, index: u32) -> u64 {
        let (core, chunk) = (&self.core, ChunkId(index));
        if chunk == ChunkId::NONE {
            return 0;
        }
        self.take_back(chunk);
        if !self.decommits() {
            return 0;
        }
        let meta = core.chunk(chunk);
        if meta.dirty.load(Relaxed) == 0 {
            return 0;
        }
        if core.index.is_free(chunk) {
            if !core.index.claim(chunk) {
                return 0;
            }
            let spans = self.decommit_run(chunk, 0, CHUNK_SPANS as u32);
            meta.dirty.store(0, Relaxed);
            core.index.give(chunk);
            return spans;
        }
        let owner = Owner(meta.owner.load(Relaxed));
        let Some(column) = owner.index() else { return 0 };
        if owner.is_large() {
            return self.decommit_spans(chunk);
        }
        // With the lease, so that the holder does not find the chunk empty meanwhile, and forgets it.
        let Some(_leased) = core.lease(column) else { return 0 };
        self.decommit_spans(chunk)
    }

    /// Gives a wholly free chunk back to the arena, unless somebody holds the column that reserved it. That column may have no span
    /// left to be tended for, and the chunk may be in none of its lists: the holder takes a chunk out that a large block has whole.
    fn take_back(&self, chunk: ChunkId) {
        let (core, meta) = (&self.core, self.core.chunk(chunk));
        if meta.map.free() != u64::MAX {
            return;
        }
        core.sweep_chunk(chunk);
        if let Some(column) = Owner(meta.owner.load(Relaxed)).holder()
            && let Some(handle) = core.lease(column)
        {
            handle.list_anew(chunk);
            handle.release_free_chunks();
        }
    }

    /// Gives the spans of a chunk back to the system that are free, and were used since that was last done. Their number.
    fn decommit_spans(&self, chunk: ChunkId) -> u64 {
        let map = &self.core.chunk(chunk).map;
        let mut spans = 0;
        let mut place = 0;
        while place < CHUNK_SPANS as u32 {
            let first = place;
            while place < CHUNK_SPANS as u32 && self.claim_used(chunk, place) {
                place += 1;
            }
            let run = place - first;
            if run > 0 {
                spans += self.decommit_run(chunk, first, run);
                map.give(first, run);
            }
            place += 1;
        }
        spans
    }

    /// Gives `run` spans of a chunk, from place `first` on, to the system; the caller owns them. Their number, or 0 if the system
    /// does not take them.
    fn decommit_run(&self, chunk: ChunkId, first: u32, run: u32) -> u64 {
        let core = &self.core;
        if !core.region.decommit(chunk.span(first).index(), 0..run as usize * (SPAN / PAGE)) {
            return 0;
        }
        (first..first + run).for_each(|place| core.page(chunk.span(place)).set_unused());
        u64::from(run)
    }

    /// Claims a span, if it is free and its memory was used.
    fn claim_used(&self, chunk: ChunkId, place: u32) -> bool {
        let (map, page) = (&self.core.chunk(chunk).map, self.core.page(chunk.span(place)));
        if map.free() >> place & 1 == 0 || !map.claim_place(place) {
            return false;
        }
        let used = page.was_used();
        if !used {
            map.give_one(place);
        }
        used
    }
}
