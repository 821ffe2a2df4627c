//! From a cell back to its spans.
//!
//! ```text
//! a slot of a full cell --> the summary bit of its unit; all slots there? the span goes back to its chunk
//! ```
//!
//! As in `refill`, every step is a function of its own that is left by a jump; what they do is in methods, which a flush uses too.

use super::cell::Cell;
use super::held::Handle;
use crate::map::{Granule, SpanId};
use crate::span::SpanMeta;
use crate::sync::Ordering::Relaxed;

/// A freed slot of a full small cell goes back to its span. Its live bit is clear. Or nothing was held back, and the cell is the sink.
#[cold]
#[inline(never)]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.engram.spill"))]
pub(crate) extern "C" fn spilling(handle: &Handle, cell: Cell, granule: Granule) -> i32 {
    let Some(reciprocal) = cell.small_reciprocal() else { return handle.freed_status.get() };
    cell.count_spill();
    handle.count_taken(cell.granules() as i64);
    let meta = handle.span_of(granule);
    let away = meta.away.load(Relaxed) - 1;
    meta.away.store(away, Relaxed);
    if away == 0 {
        return emptying(handle, cell, granule, meta);
    }
    handle.slot_to_span(cell, granule.span(), meta, granule.in_span(), reciprocal.get());
    handle.freed_status.get()
}

/// That span is empty and goes back to its chunk.
#[cold]
#[inline(never)]
extern "C" fn emptying(handle: &Handle, cell: Cell, granule: Granule, meta: &SpanMeta) -> i32 {
    let head = granule.span();
    handle.leave_cell(cell, head, meta);
    handle.return_span(head);
    handle.freed_status.get()
}

/// The same of a full medium cell.
#[cold]
#[inline(never)]
pub(crate) extern "C" fn spilling_run(handle: &Handle, cell: Cell, granule: Granule) -> i32 {
    if granule == Granule(0) {
        return handle.freed_status.get();
    }
    cell.count_spill();
    handle.count_taken(cell.granules() as i64);
    let head = handle.head_of(granule.span());
    let meta = handle.span(head);
    let away = meta.away.load(Relaxed) - 1;
    meta.away.store(away, Relaxed);
    if away == 0 {
        return emptying_run(handle, cell, head, meta);
    }
    handle.slot_to_span(cell, head, meta, granule.0 - head.first().0, cell.class().reciprocal);
    handle.freed_status.get()
}

/// That run is empty and goes back to its chunk.
#[cold]
#[inline(never)]
extern "C" fn emptying_run(handle: &Handle, cell: Cell, head: SpanId, meta: &SpanMeta) -> i32 {
    handle.leave_cell(cell, head, meta);
    handle.return_run(cell, head);
    handle.freed_status.get()
}

impl Handle {
    /// A freed slot of a full cell goes back to its span. Its live bit is clear.
    pub(crate) fn spill(&self, cell: Cell, granule: Granule) {
        cell.count_spill();
        self.slot_back(cell, granule);
    }

    /// A slot that no stack keeps goes back to its span.
    pub(crate) fn slot_back(&self, cell: Cell, granule: Granule) {
        let span = granule.span();
        let class = cell.class();
        let head = if cell.is_medium() { self.head_of(span) } else { span };
        let meta = self.span(head);
        self.count_taken(cell.granules() as i64);
        let away = meta.away.load(Relaxed) - 1;
        meta.away.store(away, Relaxed);
        if away == 0 {
            self.give_span_back(cell, head, meta);
        } else {
            self.slot_to_span(cell, head, meta, granule.0 - head.first().0, class.reciprocal);
        }
    }

    /// A free slot, `granule` granules from the start of its span, or run, `head`, goes under the summary.
    #[inline(always)]
    fn slot_to_span(&self, cell: Cell, head: SpanId, meta: &SpanMeta, granule: u64, reciprocal: u32) {
        let unit = (granule * u64::from(reciprocal)) >> 32;
        let summary = self.listed_summary(cell, head, meta);
        meta.summary.store(summary | 1_u64.wrapping_shl(unit as u32), Relaxed);
    }

    /// Puts the slots of the cell's word back under their span's summary.
    pub(crate) fn put_word_back(&self, cell: Cell) {
        let word = cell.word_bits();
        if word == 0 {
            return;
        }
        let head = cell.word_span();
        let meta = self.span(head);
        let units = if cell.is_by_word() { 1 << ((cell.word_base().0 - head.first().0) / 64) } else { word };
        if cell.counted() == 0 {
            self.count_slots_back(cell, meta, word);
        }
        cell.drop_word();
        self.put_under_summary(cell, head, meta, units);
        if meta.away.load(Relaxed) == 0 {
            self.give_span_back(cell, head, meta);
        }
    }

    /// Counts the slots `free` of a span, which others freed, as back in it (S4, L2).
    pub(crate) fn count_slots_back(&self, cell: Cell, meta: &SpanMeta, free: u64) {
        let slots = free.count_ones();
        meta.away.store(meta.away.load(Relaxed) - slots, Relaxed);
        self.count_back(u64::from(slots) * cell.granules());
    }

    /// Gives an empty span or run (S4) back to its chunk.
    pub(crate) fn give_span_back(&self, cell: Cell, head: SpanId, meta: &SpanMeta) {
        self.leave_cell(cell, head, meta);
        if cell.is_medium() {
            self.return_run(cell, head);
        } else {
            self.return_span(head);
        }
    }

    /// Gives an empty run that is in no cell back to its chunk.
    #[inline(always)]
    fn return_run(&self, cell: Cell, head: SpanId) {
        self.core().return_spans(self.index(), head, u32::from(cell.class().spans));
        self.note_run_back(head.chunk(), self.chunk(head.chunk()), head.place());
    }

    /// Takes an empty span or run out of its cell.
    #[inline(always)]
    fn leave_cell(&self, cell: Cell, head: SpanId, meta: &SpanMeta) {
        if meta.summary.load(Relaxed) | meta.collect.load(Relaxed) != 0 {
            self.unlist(cell, meta);
            meta.summary.store(0, Relaxed);
            meta.collect.store(0, Relaxed);
        }
        if cell.word_span() == head {
            cell.drop_word();
        }
    }

    /// Gives an empty span that is in no cell back to its chunk.
    #[inline(always)]
    fn return_span(&self, head: SpanId) {
        let chunk = head.chunk();
        let meta = self.chunk(chunk);
        self.page(head).leave();
        self.block().open.refund(1);
        meta.map.give_one(head.place());
        self.note_single_back(chunk, meta);
    }
}
