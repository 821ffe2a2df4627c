//! Between a cell and its spans: refilling an empty cell, and spilling from a full one.
//!
//! ```text
//! refill    the cell's list --> what others freed (inbox) --> a fresh span     first that has a slot
//!              check out one unit: its free slots become the cell's word
//! spill     summary bit of the slot's unit; all slots there? give the span back
//! ```
//!
//! Every step is bounded: no loop runs over slots, spans or frees (P2). The one that runs over
//! units drops units without a free slot, which only two threads freeing one block at the same
//! instant leave behind.

use super::cell::{Cell, CellId};
use super::core::quota;
use super::held::Handle;
use super::remote::collect;
use crate::error::Error;
use crate::map::{Granule, Owner, SpanId};
use crate::size_class::{CLASSES, Class, pattern};
use crate::span::{Next, SpanMeta};
use crate::sync::Ordering::Relaxed;

impl Handle {
    /// Allocates from an empty cell.
    #[cold]
    #[inline]
    pub(crate) fn alloc_refilling(&self, cell: Cell) -> *mut u8 {
        if !cell.is_set_up() && !self.set_cell_up(cell) {
            return core::ptr::null_mut();
        }
        match self.refill(cell) {
            Some(granule) => self.give(cell, granule),
            None => self.alloc_scarce(cell),
        }
    }

    /// A slot for an empty cell (n = 0, no word), from wherever its class has or gets one.
    pub(crate) fn refill(&self, cell: Cell) -> Option<Granule> {
        if let Some(granule) = self.refill_from_spans(cell) {
            return Some(granule);
        }
        self.grow(cell)
    }

    /// A slot from the spans that the cell has, those that others freed into included.
    pub(crate) fn refill_from_spans(&self, cell: Cell) -> Option<Granule> {
        loop {
            let mut span = cell.list();
            if span == SpanId::NONE {
                span = self.accept(cell)?;
            }
            if let Some(granule) = self.check_out(cell, span, u64::MAX) {
                return Some(granule);
            }
        }
    }

    /// A slot for an ordered batch: the next of the cell's word, the next untouched unit of its
    /// span, a fresh span, or else whatever there is. The cell's stack is empty.
    pub(crate) fn next_in_order(&self, cell: Cell) -> Option<Granule> {
        if let Some(granule) = cell.pop_word() {
            return Some(granule);
        }
        let core = self.core();
        let (base, head) = (cell.word_base(), cell.word_span());
        let page = core.page(head);
        if page.owner().is_column(self.index()) && page.cell() == cell.id().offset() {
            let unit = (base.0 - head.first().0) / 64;
            let above = (u64::MAX << unit) << 1;
            if core.span(head).summary.load(Relaxed) & above != 0 {
                return self.check_out(cell, head, above);
            }
        }
        self.grow(cell).or_else(|| self.refill(cell))
    }

    /// Checks a unit of a span in the cell's list out, one of `among`. The cell is empty.
    #[inline(always)]
    fn check_out(&self, cell: Cell, head: SpanId, among: u64) -> Option<Granule> {
        let core = self.core();
        let meta = core.span(head);
        let class_index = meta.class.load(Relaxed) as usize;
        let class = &CLASSES[class_index];
        let summary = meta.summary.load(Relaxed);
        let waiting = meta.collect.load(Relaxed);
        let ready = summary & !waiting;
        let (base, word, taken);
        if class.by_word {
            let unit = (summary & among).trailing_zeros();
            taken = 1 << unit;
            base = Granule(head.first().0 + u64::from(unit) * 64);
            if waiting & taken != 0 {
                self.collect_unit(head, meta, class, unit);
            }
            // S3: the cell is empty, so every slot of the unit that is not live is ours to take.
            word = pattern(class_index, unit) & !self.live_word(base).load(Relaxed);
        } else {
            base = head.first();
            if ready == 0 {
                let unit = summary.trailing_zeros();
                taken = summary & summary.wrapping_neg();
                word = if self.collect_unit(head, meta, class, unit) == 0 { 0 } else { taken };
            } else {
                taken = ready;
                word = ready;
            }
        }
        let slots = word.count_ones();
        meta.spilled.store(meta.spilled.load(Relaxed) - slots, Relaxed);
        meta.summary.store(summary & !taken, Relaxed);
        if summary == taken {
            self.unlist(cell, head, meta);
        }
        cell.check_out(base, word, slots);
        cell.pop_word()
    }

    /// Takes back what others freed of a unit; the slots then lie under the summary. Returns how many.
    pub(crate) fn collect_unit(&self, head: SpanId, meta: &SpanMeta, class: &Class, unit: u32) -> u32 {
        let core = self.core();
        let (granule, bits) = if class.by_word {
            (Granule(head.first().0 + u64::from(unit) * 64), u64::MAX)
        } else {
            let granule = Granule(head.first().0 + u64::from(unit) * u64::from(class.stride));
            (granule, granule.bit())
        };
        let freed = collect(self.live_word(granule), core.remote_word(granule), bits).count_ones();
        meta.spilled.store(meta.spilled.load(Relaxed) + freed, Relaxed);
        let waiting = meta.collect.load(Relaxed) & !(1 << unit);
        meta.collect.store(waiting, Relaxed);
        if waiting == 0 {
            core.page(head).settle();
        }
        freed
    }

    /// Takes the next span that others freed into from the cell's inbox; it is in the cell's list then.
    pub(crate) fn accept(&self, cell: Cell) -> Option<SpanId> {
        let core = self.core();
        let id = cell.id();
        let mut span = cell.drain();
        if span == SpanId::NONE {
            span = self.block().inbox(id).take();
            if span == SpanId::NONE {
                return None;
            }
        }
        let meta = core.span(span);
        match meta.pending.unlink() {
            Next::Unlinked => {
                cell.set_drain(span);
                return None;
            }
            Next::End => cell.set_drain(SpanId::NONE),
            Next::Span(next) => cell.set_drain(next),
        }
        let page = core.page(span);
        if page.cell() != id.offset() || !page.accept(self.index()) {
            self.forward(span);
            return None;
        }
        let units = meta.pending.take() & CLASSES[id.class()].units;
        meta.collect.store(meta.collect.load(Relaxed) | units, Relaxed);
        self.put_under_summary(cell, span, meta, units);
        Some(span)
    }

    /// A span in our inbox that is another's by now: passes on what is pending of it.
    #[cold]
    fn forward(&self, span: SpanId) {
        let core = self.core();
        let (meta, page) = (core.span(span), core.page(span));
        let units = meta.pending.take();
        let owner = page.owner();
        if let (Some(index), false) = (owner.index(), owner.is_shared() || owner.is_large()) {
            if units != 0 && meta.pending.announce_all(units) {
                page.mark_queued();
                core.block(index).inbox(CellId::at_offset(page.cell())).push(span, &meta.pending);
            }
        }
    }

    /// Sets summary bits, and lists the span if it had none.
    #[inline(always)]
    pub(crate) fn put_under_summary(&self, cell: Cell, head: SpanId, meta: &SpanMeta, units: u64) {
        let summary = meta.summary.load(Relaxed);
        meta.summary.store(summary | units, Relaxed);
        if summary == 0 {
            let next = cell.list();
            meta.next.store(next.0, Relaxed);
            meta.prev.store(0, Relaxed);
            if next != SpanId::NONE {
                self.core().span(next).prev.store(head.0, Relaxed);
            }
            cell.set_list(head);
        }
    }

    /// Takes a span out of its cell's list.
    #[inline(always)]
    fn unlist(&self, cell: Cell, head: SpanId, meta: &SpanMeta) {
        let (next, prev) = (meta.next(), meta.prev());
        if next != SpanId::NONE {
            self.core().span(next).prev.store(prev.0, Relaxed);
        }
        if cell.list() == head {
            cell.set_list(next);
        } else {
            self.core().span(prev).next.store(next.0, Relaxed);
        }
    }

    /// Takes a fresh span or run for an empty cell and checks its first unit out.
    pub(crate) fn grow(&self, cell: Cell) -> Option<Granule> {
        let id = cell.id();
        let class_index = id.class();
        let spans = u32::from(CLASSES[class_index].spans);
        if !self.charge(spans) {
            return None;
        }
        let Some(head) = self.take_spans(spans) else {
            self.block().open.refund(spans);
            self.refuse(Error::NoMemory { size: cell.bytes() as usize, align: 16 });
            return None;
        };
        Some(self.set_span_up(cell, id, class_index, head))
    }

    /// Counts spans against the column's limit.
    pub(crate) fn charge(&self, spans: u32) -> bool {
        match self.block().open.charge(spans) {
            Ok(()) => true,
            Err((used, limit)) => self.refuse(quota(self.index(), limit, used, spans)),
        }
    }

    /// Gives an owned, charged span or run to an empty cell and checks its first unit out.
    pub(crate) fn set_span_up(&self, cell: Cell, id: CellId, class_index: usize, head: SpanId) -> Granule {
        let core = self.core();
        let class = &CLASSES[class_index];
        let meta = core.span(head);
        meta.class.store(class_index as u32, Relaxed);
        meta.collect.store(0, Relaxed);
        let (word, left, slots);
        if class.by_word {
            word = pattern(class_index, 0);
            left = class.units & !1;
            slots = word.count_ones();
        } else {
            word = class.units;
            left = 0;
            slots = u32::from(class.slots);
        }
        meta.spilled.store(u32::from(class.slots) - slots, Relaxed);
        meta.summary.store(0, Relaxed);
        if left != 0 {
            self.put_under_summary(cell, head, meta, left);
        }
        let owner = Owner::column(self.index());
        for span in head.0..head.0 + u32::from(class.spans) {
            core.span(SpanId(span)).head.store(head.0, Relaxed);
            core.page(SpanId(span)).set(owner, id.offset());
        }
        cell.check_out(head.first(), word, slots);
        // The word is not empty: every class has a slot at its span's start (C2).
        cell.pop_word().unwrap_or(head.first())
    }

    /// A freed slot of a full cell goes back to its span. Its live bit is clear.
    #[cold]
    #[inline]
    pub(crate) fn spill(&self, cell: Cell, granule: Granule) {
        // The sink, or a cell's first use: nothing was held.
        if granule == Granule(0) {
            return;
        }
        cell.count_spill();
        self.slot_to_span(cell, granule);
    }

    /// A free slot that no cell keeps goes under its span's summary; an empty span is given back.
    pub(crate) fn slot_to_span(&self, cell: Cell, granule: Granule) {
        let core = self.core();
        let head = core.head_of(granule.span());
        let meta = core.span(head);
        let class = &CLASSES[meta.class.load(Relaxed) as usize];
        let unit = class.unit(granule.0 - head.first().0);
        self.put_under_summary(cell, head, meta, 1 << unit);
        let spilled = meta.spilled.load(Relaxed) + 1;
        meta.spilled.store(spilled, Relaxed);
        if spilled == u32::from(class.slots) {
            self.give_span_back(cell, head, meta, class);
        }
    }

    /// Gives an empty span (S4) back to its chunk.
    pub(crate) fn give_span_back(&self, cell: Cell, head: SpanId, meta: &SpanMeta, class: &Class) {
        self.unlist(cell, head, meta);
        meta.summary.store(0, Relaxed);
        self.core().return_spans(self.index(), head, u32::from(class.spans));
        self.list_chunk(head.chunk());
    }
}
