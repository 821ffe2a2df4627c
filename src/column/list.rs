//! The list of a cell: its spans with free slots that no cell keeps (S5). A span is in it as long as one of its units is under its
//! summary, or is to be collected.

use super::cell::Cell;
use super::held::Handle;
use crate::map::SpanId;
use crate::span::SpanMeta;
use crate::sync::Ordering::Relaxed;

impl Handle {
    /// Lists a span that had no units with free slots, and is about to have some (S5).
    #[inline(always)]
    pub(super) fn list(&self, cell: Cell, head: SpanId, meta: &SpanMeta) {
        let next = cell.list();
        if next != SpanId::NONE {
            meta.next.store(next.0, Relaxed);
            self.span(next).prev.store(head.0, Relaxed);
        }
        cell.set_list(head);
    }

    /// Notes units of a span that others freed slots of, and lists it if it had none.
    pub(crate) fn put_to_collect(&self, cell: Cell, head: SpanId, units: u64) {
        let meta = self.span(head);
        let waiting = meta.collect.load(Relaxed);
        if meta.summary.load(Relaxed) | waiting == 0 {
            self.list(cell, head, meta);
        }
        meta.collect.store(waiting | units, Relaxed);
    }

    /// Sets summary bits, and lists the span if it had none.
    #[inline(always)]
    pub(crate) fn put_under_summary(&self, cell: Cell, head: SpanId, meta: &SpanMeta, units: u64) {
        let summary = self.listed_summary(cell, head, meta);
        meta.summary.store(summary | units, Relaxed);
    }

    /// The summary of a span that is about to have more units under it: lists the span if it had none.
    #[inline(always)]
    pub(super) fn listed_summary(&self, cell: Cell, head: SpanId, meta: &SpanMeta) -> u64 {
        let summary = meta.summary.load(Relaxed);
        if summary | meta.collect.load(Relaxed) == 0 {
            self.list(cell, head, meta);
        }
        summary
    }

    /// Leaves units of a listed span under its summary, or none.
    pub(crate) fn leave_under_summary(&self, cell: Cell, meta: &SpanMeta, units: u64) {
        meta.summary.store(units, Relaxed);
        if units | meta.collect.load(Relaxed) == 0 {
            self.unlist(cell, meta);
        }
    }

    /// Takes the first span out of its cell's list.
    #[inline(always)]
    pub(super) fn unlist_first_span(&self, cell: Cell, meta: &SpanMeta) {
        let next = meta.next();
        if next != SpanId::NONE {
            meta.next.store(0, Relaxed);
            self.span(next).prev.store(0, Relaxed);
        }
        cell.set_list(next);
        meta.leave_alone();
    }

    /// Takes a span out of its cell's list.
    #[inline(always)]
    pub(crate) fn unlist(&self, cell: Cell, meta: &SpanMeta) {
        let (next, prev) = (meta.next(), meta.prev());
        if next != SpanId::NONE {
            meta.next.store(0, Relaxed);
            self.span(next).prev.store(prev.0, Relaxed);
        }
        if prev == SpanId::NONE {
            cell.set_list(next);
        } else {
            meta.prev.store(0, Relaxed);
            self.span(prev).next.store(next.0, Relaxed);
        }
        meta.leave_alone();
    }
}
