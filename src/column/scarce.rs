//! When no fresh span is to be had: everything that is free somewhere is brought together before a
//! request is refused.
//!
//! ```text
//! 1  the column's other cells of the same class, its shared spans          bounded
//! 2  free spans of any chunk, whoever reserved it                          one look a chunk
//! 3  give back: what our cells keep, what others freed; then 1 and 2 again a step a kept slot or unit
//! 4  the same for every column whose lease is free; for columns that are   the same, for all columns
//!    held, take the spans that others have freed whole
//! 5  refuse
//! ```
//!
//! Steps 2 to 5 are not bounded by P2: they take about 60 instructions for each chunk, 20 for each
//! cell in use and 30 for each slot that a cell keeps or unit that others freed. Lock-free.

use super::cell::{Cell, CellId, SMALL_ROWS};
use super::core::Core;
use super::held::Handle;
use crate::error::Error;
use crate::map::{Granule, Owner, SpanId};
use crate::size_class::{CHUNK_SPANS, CLASSES, SPAN_WORDS};
use crate::sync::Ordering::Relaxed;

impl Handle {
    /// Allocates from a cell that could not be refilled, or refuses. `error` says why it could not.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_scarce(&self, cell: Cell) -> *mut u8 {
        match self.find_scarce(cell) {
            Some(p) => p,
            None => core::ptr::null_mut(),
        }
    }

    fn find_scarce(&self, cell: Cell) -> Option<*mut u8> {
        if let Some(p) = self.alloc_from_kin(cell) {
            return Some(p);
        }
        let at_limit = matches!(self.error(), Error::Quota { .. });
        if !at_limit && let Some(granule) = self.grow_anywhere(cell) {
            return Some(self.give(cell, granule));
        }
        self.flush();
        if let Some(p) = self.alloc_from_kin(cell) {
            return Some(p);
        }
        if let Some(granule) = self.refill_from_spans(cell).or_else(|| self.grow(cell)).or_else(|| self.grow_anywhere(cell)) {
            return Some(self.give(cell, granule));
        }
        if at_limit {
            return None;
        }
        self.core().flush_others(self.index());
        if let Some(granule) = self.refill_from_spans(cell).or_else(|| self.grow(cell)).or_else(|| self.grow_anywhere(cell)) {
            return Some(self.give(cell, granule));
        }
        let granule = self.core().claim_shared_anywhere(self.index(), cell.id())?;
        Some(self.give_shared(cell, granule))
    }

    /// A slot of the same class that the column has elsewhere.
    fn alloc_from_kin(&self, cell: Cell) -> Option<*mut u8> {
        let id = cell.id();
        for row in 0..SMALL_ROWS {
            let Some(kin) = id.sibling(row).filter(|kin| !kin.is_aligned()).map(|kin| self.cell(kin)) else { continue };
            if kin.is_set_up()
                && let Some(granule) = kin.pop().or_else(|| self.refill_from_spans(kin))
            {
                return Some(self.give(kin, granule));
            }
        }
        self.core().claim_shared(self.index(), id).map(|granule| self.give_shared(cell, granule))
    }

    /// Hands out a slot of a shared span.
    fn give_shared(&self, cell: Cell, granule: Granule) -> *mut u8 {
        let holder = &self.block().holder;
        crate::sync::bump(&holder.other_allocs, 1);
        self.count_given(i64::from(cell.bytes()));
        self.core().address(granule)
    }

    /// Takes a fresh span from whatever chunk has one, for an empty cell.
    fn grow_anywhere(&self, cell: Cell) -> Option<Granule> {
        let id = cell.id();
        let spans = u32::from(CLASSES[id.class()].spans);
        if !self.charge(spans) {
            return None;
        }
        let Some(head) = self.core().take_anywhere(spans, 1) else {
            self.block().open.refund(spans);
            self.refuse(Error::NoMemory { size: cell.bytes() as usize, align: 16 });
            return None;
        };
        Some(self.set_span_up(cell, id, id.class(), head))
    }

    /// Brings everything together that is free in the arena, for a large block.
    pub(crate) fn make_room(&self) {
        self.flush();
        self.core().flush_others(self.index());
    }

    /// Gives back what the column's cells keep, takes back what others freed, and gives empty spans
    /// and chunks back. Afterwards every free slot lies under its span's summary.
    pub(crate) fn flush(&self) {
        self.finish_hold();
        for id in self.block().holder.used_cells() {
            let cell = self.cell(id);
            self.collect_all(cell);
            self.empty_stack(cell);
            self.put_word_back(cell);
        }
        self.release_free_chunks();
    }

    /// Gives what a cell's stack keeps back to the spans.
    pub(crate) fn empty_stack(&self, cell: Cell) {
        while let Some(granule) = cell.evict_entry() {
            self.slot_to_span(cell, granule);
        }
    }

    /// Takes back all that others freed of a cell's spans.
    pub(crate) fn collect_all(&self, cell: Cell) {
        while self.accept(cell).is_some() {}
        let mut span = cell.list();
        while span != SpanId::NONE {
            let core = self.core();
            let meta = core.span(span);
            let next = meta.next();
            let class = &CLASSES[meta.class.load(Relaxed) as usize];
            let mut waiting = meta.collect.load(Relaxed);
            let any = waiting != 0;
            while waiting != 0 {
                self.collect_unit(span, meta, class, waiting.trailing_zeros());
                waiting &= waiting - 1;
            }
            if any && meta.spilled.load(Relaxed) == u32::from(class.slots) {
                self.give_span_back(cell, span, meta, class);
            }
            span = next;
        }
    }
}

impl Core {
    /// Brings together what is free in all columns but `index`.
    #[cold]
    pub(crate) fn flush_others(&self, index: u32) {
        for other in self.used_columns().filter(|&other| other != index) {
            if let Some(handle) = self.lease(other) {
                handle.flush();
                handle.block().open.lease.give_back();
            } else {
                self.reclaim_from_held(other);
            }
        }
        for chunk in self.chunk_ids() {
            if self.chunk(chunk).map.free() == u64::MAX {
                self.sweep_chunk(chunk);
            }
        }
    }

    /// Takes the spans of a held column whose every block was freed by others: its holder keeps
    /// nothing of them (a kept slot is not live), and cannot accept them any more once they are
    /// reclaimed.
    fn reclaim_from_held(&self, index: u32) {
        for chunk in self.chunk_ids() {
            let used = !self.chunk(chunk).map.free();
            if self.chunk(chunk).owner.load(Relaxed) == 0 {
                continue;
            }
            for place in (0..CHUNK_SPANS as u32).filter(|place| used >> place & 1 != 0) {
                let span = chunk.span(place);
                let page = self.page(span);
                let owner = page.owner();
                if owner.is_column(index) && self.head_of(span) == span && self.is_freed_by_others(span, page.cell()) && page.reclaim(index)
                {
                    self.clear_freed(span);
                    let spans = u32::from(CLASSES[CellId::at_offset(page.cell()).class()].spans);
                    self.return_spans(index, span, spans);
                }
            }
        }
    }

    /// Whether every slot of the span was freed by others.
    fn is_freed_by_others(&self, head: SpanId, cell: u32) -> bool {
        let class = &CLASSES[CellId::at_offset(cell).class()];
        let words = SPAN_WORDS * class.spans as usize;
        let first = head.first().word();
        let freed: u32 =
            (first..first + words).map(|word| (self.live.at(word).load(Relaxed) & self.remote.at(word).load(Relaxed)).count_ones()).sum();
        freed == u32::from(class.slots)
    }

    /// Clears the maps of a span that the caller owns.
    fn clear_freed(&self, head: SpanId) {
        let class = &CLASSES[self.span(head).class.load(Relaxed) as usize];
        let first = head.first().word();
        for word in first..first + SPAN_WORDS * class.spans as usize {
            self.live.at(word).store(0, Relaxed);
            self.remote.at(word).swap(0, crate::sync::Ordering::AcqRel);
        }
    }

    /// Whose the span is, for walks: not the continuation of a run.
    pub(crate) fn head_owner(&self, span: SpanId) -> Option<Owner> {
        let owner = self.page(span).owner();
        (owner != Owner::NONE && (owner.is_large() || self.head_of(span) == span)).then_some(owner)
    }
}
