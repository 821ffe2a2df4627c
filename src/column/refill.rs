//! Between a cell and its spans: refilling an empty cell, and spilling from a full one.
//!
//! ```text
//! refill    the word --> the cell's list --> what others freed (inbox) --> a fresh span
//!           a few slots  a unit of a span    the next span of it
//! spill     summary bit of the slot's unit; all slots there? give the span back
//! ```
//!
//! Every step is bounded: no loop runs over spans or frees (P2). A unit may turn out to have nothing
//! (its announcement came late: see `remote`); after a few of those the cell grows instead. Each step
//! is a function of its own that is left by a jump, so that none pays for the next.

use super::cell::{Cell, CellId};
use super::held::{Face, Handle};
use super::remote::{Incoming, collect};
use crate::error::Error;
use crate::map::{ChunkId, Granule, Owner, SpanId};
use crate::size_class::{CLASSES, WORD_UNITS, pattern};
use crate::span::SpanMeta;
use crate::sync::Ordering::{Relaxed, Release};

/// Units without a free slot that a refill drops before it gives up and grows.
const EMPTY_UNITS: u32 = 2;

/// Allocates for a cell with an empty stack: from its word. (Size and alignment only keep their
/// registers.)
#[cold]
#[inline(never)]
pub(crate) extern "C" fn refilling<F: Face>(handle: &Handle, _size: usize, _align: usize, cell: Cell) -> *mut u8 {
    if !cell.has_word() {
        return checking_out::<F>(handle, cell);
    }
    let meta = handle.span(cell.word_span());
    let ahead = cell.pop_ahead();
    meta.spilled.store(meta.spilled.load(Relaxed) - ahead, Relaxed);
    match cell.pop() {
        Some(granule) => handle.give(cell, granule),
        None => core::ptr::null_mut(),
    }
}

/// Allocates for an empty cell: from the spans in its list.
#[cold]
#[inline(never)]
extern "C" fn checking_out<F: Face>(handle: &Handle, cell: Cell) -> *mut u8 {
    let span = cell.list();
    if span == SpanId::NONE {
        return taking_back::<F>(handle, cell);
    }
    match handle.check_out(cell, span, u64::MAX) {
        Some(granule) => handle.give(cell, granule),
        None => taking_back::<F>(handle, cell),
    }
}

/// Allocates for an empty cell without spans in its list: from what others freed.
#[cold]
#[inline(never)]
extern "C" fn taking_back<F: Face>(handle: &Handle, cell: Cell) -> *mut u8 {
    if !cell.is_set_up() {
        return first_use::<F>(handle, cell);
    }
    if cell.drain() == SpanId::NONE && handle.block().inbox(cell.id()).is_empty() {
        return growing::<F>(handle, cell);
    }
    match handle.refill_from_spans(cell) {
        Some(granule) => handle.give(cell, granule),
        None => growing::<F>(handle, cell),
    }
}

/// Sets a cell up for its first use.
#[cold]
#[inline(never)]
extern "C" fn first_use<F: Face>(handle: &Handle, cell: Cell) -> *mut u8 {
    if handle.set_cell_up(cell) {
        return growing::<F>(handle, cell);
    }
    F::not_given(handle);
    core::ptr::null_mut()
}

/// Allocates for an empty cell without spans: from a fresh span of the column's first chunk.
#[cold]
#[inline(never)]
extern "C" fn growing<F: Face>(handle: &Handle, cell: Cell) -> *mut u8 {
    let chunk = handle.block().holder.chunks();
    if cell.is_medium() || chunk == ChunkId::NONE || !handle.block().open.charge(1) {
        return growing_at_large::<F>(handle, cell);
    }
    let (Some(place), _) = handle.chunk(chunk).map.claim_one() else {
        handle.block().open.refund(1);
        return growing_at_large::<F>(handle, cell);
    };
    let granule = handle.set_span_up(cell, chunk.span(place));
    handle.give(cell, granule)
}

/// Allocates for an empty cell without spans: from a fresh span or run of any of the column's chunks, a
/// new chunk, or else from wherever anything is free.
#[cold]
#[inline(never)]
extern "C" fn growing_at_large<F: Face>(handle: &Handle, cell: Cell) -> *mut u8 {
    match handle.grow(cell) {
        Some(granule) => handle.give(cell, granule),
        None => handle.alloc_scarce::<F>(cell),
    }
}

/// A freed slot of a full cell goes back to its span. Its live bit is clear.
#[cold]
#[inline(never)]
pub(crate) extern "C" fn spilling<F: Face>(handle: &Handle, cell: Cell, granule: Granule) -> F::Freed {
    // The sink: nothing was held.
    if granule == Granule(0) {
        return F::freed(handle);
    }
    if cell.is_medium() {
        return spilling_at_large::<F>(handle, cell, granule);
    }
    cell.count_spill();
    handle.slot_to_span(cell, granule, granule.span());
    F::freed(handle)
}

/// The same for a slot of a run.
#[cold]
#[inline(never)]
extern "C" fn spilling_at_large<F: Face>(handle: &Handle, cell: Cell, granule: Granule) -> F::Freed {
    handle.spill(cell, granule);
    F::freed(handle)
}

impl Handle {
    /// A slot for a cell with an empty stack, without growing.
    pub(crate) fn refill_from_spans(&self, cell: Cell) -> Option<Granule> {
        if let Some(granule) = self.pop_word(cell) {
            return Some(granule);
        }
        for _ in 0..EMPTY_UNITS {
            let mut span = cell.list();
            if span == SpanId::NONE {
                span = self.accept(cell)?;
            }
            if let Some(granule) = self.check_out(cell, span, u64::MAX) {
                return Some(granule);
            }
        }
        None
    }

    /// A slot of the cell's word.
    #[inline(always)]
    pub(crate) fn pop_word(&self, cell: Cell) -> Option<Granule> {
        let granule = cell.pop_word()?;
        let meta = self.span(cell.word_span());
        meta.spilled.store(meta.spilled.load(Relaxed) - 1, Relaxed);
        Some(granule)
    }

    /// A slot for an ordered batch: the next of the cell's word, the next untouched unit of its
    /// span, a fresh span, or else whatever there is. The cell's stack is empty.
    pub(crate) fn next_in_order(&self, cell: Cell) -> Option<Granule> {
        if let Some(granule) = self.pop_word(cell) {
            return Some(granule);
        }
        let core = self.core();
        let (base, head) = (cell.word_base(), cell.word_span());
        let page = core.page(head);
        if page.owner().is_column(self.index()) && page.cell() == cell.id().offset() {
            let unit = (base.0 - head.first().0) / 64;
            let above = (u64::MAX << unit) << 1;
            // A span without units under its summary may be taken away at this moment (see `steal`).
            if core.span(head).summary.load(Relaxed) & above != 0
                && page.is_still(self.index())
                && let Some(granule) = self.check_out(cell, head, above)
            {
                return Some(granule);
            }
        }
        self.grow(cell).or_else(|| self.refill_from_spans(cell))
    }

    /// Checks a unit of a span in the cell's list out, one of `among`, and takes its first slot. The
    /// cell is empty.
    #[inline(always)]
    fn check_out(&self, cell: Cell, head: SpanId, among: u64) -> Option<Granule> {
        let meta = self.span(head);
        let summary = meta.summary.load(Relaxed);
        let waiting = meta.collect.load(Relaxed);
        let unit = ((summary | waiting) & among).trailing_zeros();
        let bit = 1_u64.wrapping_shl(unit);
        let (base, word, left);
        if cell.is_by_word() {
            base = Granule(head.first().0 + u64::from(unit) * 64);
            if waiting & bit != 0 {
                self.collect_unit(cell, head, meta, unit);
            }
            left = summary & !bit;
            // S3: the cell is empty, so every slot of the unit that is not live is ours to take.
            word = pattern(cell.class(), unit) & !self.live_word(base).load(Relaxed);
        } else {
            base = head.first();
            left = 0;
            word = if summary != 0 {
                summary
            } else if self.collect_unit(cell, head, meta, unit) {
                bit
            } else {
                0
            };
        }
        meta.summary.store(left, Relaxed);
        if left | (waiting & meta.collect.load(Relaxed)) == 0 {
            self.unlist(cell, meta);
        }
        let granule = cell.check_out_and_pop(base, word)?;
        meta.spilled.store(meta.spilled.load(Relaxed) - 1, Relaxed);
        Some(granule)
    }

    /// Takes back what others freed of a unit; whether there was anything. The unit goes on waiting
    /// if others have freed more of it meanwhile.
    #[inline(always)]
    pub(crate) fn collect_unit(&self, cell: Cell, head: SpanId, meta: &SpanMeta, unit: u32) -> bool {
        let granule = Granule(head.first().0 + u64::from(unit) * cell.unit_granules());
        let bits = if cell.is_by_word() { u64::MAX } else { granule.bit() };
        let collected = collect(self.live_word(granule), self.remote_word(granule), bits);
        meta.spilled.store(meta.spilled.load(Relaxed) + collected.freed.count_ones(), Relaxed);
        if !collected.more {
            meta.collect.store(meta.collect.load(Relaxed) & !(1_u64.wrapping_shl(unit)), Relaxed);
        }
        collected.freed != 0
    }

    /// Takes the next span that others freed into from the cell's inbox; it is in the cell's list then.
    pub(crate) fn accept(&self, cell: Cell) -> Option<SpanId> {
        let mut span = cell.drain();
        if span == SpanId::NONE {
            span = self.block().inbox(cell.id()).take();
            if span == SpanId::NONE {
                return None;
            }
        }
        let meta = self.span(span);
        let incoming = Incoming { span, page: self.page(span), head: &meta.head, busy: &meta.busy, pending: &meta.pending };
        let Some(arrival) = incoming.accept(self.index(), cell.id().offset()) else {
            cell.set_drain(span);
            return None;
        };
        cell.set_drain(arrival.rest);
        if !arrival.ours {
            let core = self.core();
            incoming.pass_on(arrival.units, |index, cell| core.block(index).inbox(CellId::at_offset(cell)));
            return None;
        }
        // None of them: taken by the time the span was pushed, or of its former life (see `remote`).
        let units = arrival.units & CLASSES[cell.class()].units;
        if units == 0 {
            if meta.summary.load(Relaxed) | meta.collect.load(Relaxed) == 0 {
                meta.busy.store(0, Release);
            }
            return None;
        }
        self.list(cell, span, meta);
        meta.collect.store(meta.collect.load(Relaxed) | units, Relaxed);
        Some(span)
    }

    /// Whether a call of `accept` that yielded no span may be followed by one that does: not if the
    /// inbox was empty, or the pusher of `before`, what was left of a chain then, is not done yet.
    pub(crate) fn may_accept_more(cell: Cell, before: SpanId) -> bool {
        let rest = cell.drain();
        rest != SpanId::NONE && rest != before
    }

    /// Lists a span that is about to have units with free slots, if it had none (S5).
    #[inline(always)]
    fn list(&self, cell: Cell, head: SpanId, meta: &SpanMeta) {
        if meta.summary.load(Relaxed) | meta.collect.load(Relaxed) == 0 {
            let next = cell.list();
            meta.next.store(next.0, Relaxed);
            meta.prev.store(0, Relaxed);
            if next != SpanId::NONE {
                self.span(next).prev.store(head.0, Relaxed);
            }
            cell.set_list(head);
        }
    }

    /// Sets summary bits, and lists the span if it had none.
    #[inline(always)]
    pub(crate) fn put_under_summary(&self, cell: Cell, head: SpanId, meta: &SpanMeta, units: u64) {
        self.list(cell, head, meta);
        meta.summary.store(meta.summary.load(Relaxed) | units, Relaxed);
    }

    /// Takes a span out of its cell's list.
    #[inline(always)]
    pub(crate) fn unlist(&self, cell: Cell, meta: &SpanMeta) {
        let (next, prev) = (meta.next(), meta.prev());
        if next != SpanId::NONE {
            self.span(next).prev.store(prev.0, Relaxed);
        }
        if prev == SpanId::NONE {
            cell.set_list(next);
        } else {
            self.span(prev).next.store(next.0, Relaxed);
        }
        // Release: who sees it sees what we took back, and our last look at the span's links (S7).
        meta.busy.store(0, Release);
    }

    /// Takes a fresh span or run for an empty cell, and its first slot.
    pub(crate) fn grow(&self, cell: Cell) -> Option<Granule> {
        let spans = cell.spans();
        if !self.charge(spans) {
            return None;
        }
        let Some(head) = self.take_spans(spans) else {
            self.block().open.refund(spans);
            self.refuse(Error::NoMemory { size: cell.bytes() as usize, align: 16 });
            return None;
        };
        Some(self.set_span_up(cell, head))
    }

    /// Counts spans against the column's limit.
    #[inline(always)]
    pub(crate) fn charge(&self, spans: u32) -> bool {
        self.block().open.charge(spans) || self.refuse(self.core().quota(self.index(), spans))
    }

    /// Gives an owned, charged span or run to an empty cell, and takes its first slot.
    #[inline(always)]
    pub(crate) fn set_span_up(&self, cell: Cell, head: SpanId) -> Granule {
        let meta = self.span(head);
        let first = head.first();
        meta.class.store(cell.class() as u32, Relaxed);
        meta.spilled.store(cell.slots() - 1, Relaxed);
        meta.head.store(head.0, Relaxed);
        // Every class has a slot at its span's start (C2): bit 0, which is taken at once.
        if cell.is_by_word() {
            cell.check_out(first, pattern(cell.class(), 0) & !1);
            self.put_under_summary(cell, head, meta, WORD_UNITS & !1);
        } else {
            cell.check_out(first, CLASSES[cell.class()].units & !1);
        }
        cell.count_out(1);
        let (owner, offset) = (Owner::column(self.index()), cell.id().offset());
        self.page(head).set(owner, offset);
        for span in head.0 + 1..head.0 + cell.spans() {
            self.span(SpanId(span)).head.store(head.0, Relaxed);
            self.page(SpanId(span)).set(owner, offset);
        }
        first
    }

    /// A freed slot of a full cell goes back to its span. Its live bit is clear.
    pub(crate) fn spill(&self, cell: Cell, granule: Granule) {
        cell.count_spill();
        self.slot_back(cell, granule);
    }

    /// A slot that no stack keeps goes back to its span.
    pub(crate) fn slot_back(&self, cell: Cell, granule: Granule) {
        let span = granule.span();
        self.slot_to_span(cell, granule, if cell.is_medium() { self.span(span).head() } else { span });
    }

    /// A free slot goes under the summary of its span, or run, `head`; an empty one is given back.
    #[inline(always)]
    fn slot_to_span(&self, cell: Cell, granule: Granule, head: SpanId) {
        let meta = self.span(head);
        let unit = cell.unit(granule.0 - head.first().0);
        self.put_under_summary(cell, head, meta, 1_u64.wrapping_shl(unit));
        let spilled = meta.spilled.load(Relaxed) + 1;
        meta.spilled.store(spilled, Relaxed);
        if spilled == cell.slots() {
            self.give_span_back(cell, head, meta);
        }
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
        cell.drop_word();
        self.put_under_summary(cell, head, meta, units);
        if meta.spilled.load(Relaxed) == cell.slots() {
            self.give_span_back(cell, head, meta);
        }
    }

    /// Gives an empty span (S4) back to its chunk.
    #[inline(always)]
    pub(crate) fn give_span_back(&self, cell: Cell, head: SpanId, meta: &SpanMeta) {
        self.unlist(cell, meta);
        meta.summary.store(0, Relaxed);
        meta.collect.store(0, Relaxed);
        if cell.word_span() == head {
            cell.drop_word();
        }
        if cell.is_medium() {
            self.return_run(head, cell.spans());
        } else {
            self.page(head).clear();
            self.block().open.refund(1);
            self.chunk(head.chunk()).map.give_one(head.place());
        }
        self.list_chunk(head.chunk());
    }

    #[cold]
    #[inline(never)]
    fn return_run(&self, head: SpanId, spans: u32) {
        self.core().return_spans(self.index(), head, spans);
    }
}
