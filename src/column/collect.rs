//! What others freed comes back to a cell: the steps of a refill that take it out of the cell's inbox, or out of a span in the cell's
//! list, and hand it out again. What those who free do, and why in that order: see `remote`.
//!
//! A unit may turn out to have nothing (its announcement came late: see `remote`): then there is one more look before a fresh span
//! is taken (`looking_again`).

use core::num::{NonZeroU32, NonZeroU64};

use super::cell::Cell;
use super::held::{Asked, Handle};
use super::refill::looking_again;
use super::remote::{Arrival, Collected, Incoming, collect, collect_and_give, hand_over, hand_slot_over, hand_slot_over_at_once};
use crate::map::{Granule, SpanId};
use crate::size_class::SPAN_WORDS;
use crate::span::SpanMeta;
use crate::sync::Ordering::Relaxed;

/// Allocates for an empty cell whose list begins with a span that has no unit under its summary: from what others freed of it.
#[cold]
#[inline(never)]
pub(super) extern "C" fn collecting(handle: &Handle, head: SpanId, cell: Cell) -> *mut u8 {
    if !cell.is_by_word() {
        return handing_over(handle, head, cell);
    }
    match handle.take_waiting_unit(cell, head, handle.span(head)) {
        Some(granule) => handle.address(granule),
        None => looking_again(handle, cell),
    }
}

/// The same for a cell whose units are slots.
#[cold]
#[inline(never)]
extern "C" fn handing_over(handle: &Handle, head: SpanId, cell: Cell) -> *mut u8 {
    let meta = handle.span(head);
    let Some((units, granule)) = Handle::waiting_slot(cell, head, meta) else { return looking_again(handle, cell) };
    if !hand_slot_over_at_once(handle.live_word(granule), handle.remote_word(granule), granule.place()) {
        return handing_over_beside(handle, granule, cell, units, meta);
    }
    handle.leave_waiting(cell, meta, units & (units - 1));
    handle.give_again(cell, granule)
}

/// The same of a slot whose word has others that are live, most likely.
#[cold]
#[inline(never)]
extern "C" fn handing_over_beside(handle: &Handle, granule: Granule, cell: Cell, units: u64, meta: &SpanMeta) -> *mut u8 {
    match handle.take_slot(cell, granule, units, meta) {
        Some(granule) => handle.address(granule),
        None => looking_again(handle, cell),
    }
}

/// The same for a cell without spans in its list: from what others freed.
#[cold]
#[inline(never)]
pub(super) extern "C" fn receiving(handle: &Handle, asked: Asked, cell: Cell) -> *mut u8 {
    handle.remember(asked);
    // None, if a thief was faster: the span that does not exist is never linked.
    handle.take_back(cell.open().inbox.take_all(), cell, true)
}

/// From what others freed: goes on with a chain that was taken from the inbox before.
#[cold]
#[inline(never)]
pub(super) extern "C" fn taking_back(handle: &Handle, asked: Asked, cell: Cell, span: SpanId) -> *mut u8 {
    handle.remember(asked);
    handle.take_back(span, cell, !cell.is_medium())
}

/// Hands out again what others freed of the lowest of `units`, of a span that is in no list. Of a class whose units are
/// words.
#[cold]
#[inline(never)]
extern "C" fn bringing_unit_in(handle: &Handle, units: u64, cell: Cell, head: SpanId, meta: &SpanMeta) -> *mut u8 {
    // Only the units that there are, and perhaps none of them: taken by the time the span was pushed, or of its former
    // life (see `remote`).
    let Some(units) = NonZeroU32::new(units as u32) else { return missing(handle, cell, meta) };
    let unit = units.trailing_zeros();
    let found = hand_over(handle.remote_unit(head, unit), u64::MAX);
    let units = u64::from(units.get() & units.get().wrapping_sub(u32::from(!found.more)));
    let Some(place) = found.place else { return finding_nothing(handle, units, cell, head, meta) };
    let granule = || Granule((u64::from(head.0) * SPAN_WORDS as u64 + u64::from(unit)) * 64 + u64::from(place));
    if units == 0 {
        return bringing_last(handle, granule(), cell, meta);
    }
    meta.collect.store(units, Relaxed);
    cell.set_list(head);
    handle.give_again(cell, granule())
}

/// That was the last of the span's units: it stays in no list.
#[cold]
#[inline(never)]
extern "C" fn bringing_last(handle: &Handle, granule: Granule, cell: Cell, meta: &SpanMeta) -> *mut u8 {
    meta.leave_alone();
    handle.give_again(cell, granule)
}

/// The same of a class whose units are slots.
#[cold]
#[inline(never)]
extern "C" fn bringing_slot_in(handle: &Handle, units: u64, cell: Cell, head: SpanId, meta: &SpanMeta) -> *mut u8 {
    let Some(units) = NonZeroU64::new(units & cell.class().units) else { return missing(handle, cell, meta) };
    let granule = Granule(head.first().0 + u64::from(units.trailing_zeros()) * cell.granules());
    let left = units.get() & (units.get() - 1);
    if !hand_slot_over(handle.remote_word(granule), granule.place()) {
        return finding_nothing(handle, left, cell, head, meta);
    }
    Handle::list_arrived(cell, head, meta, left);
    handle.give_again(cell, granule)
}

/// Nothing was freed of the first unit; `units` are left.
#[cold]
#[inline(never)]
extern "C" fn finding_nothing(handle: &Handle, units: u64, cell: Cell, head: SpanId, meta: &SpanMeta) -> *mut u8 {
    Handle::list_arrived(cell, head, meta, units);
    looking_again(handle, cell)
}

/// A span from the inbox has nothing to take back; the cell has no list.
#[cold]
#[inline(never)]
extern "C" fn missing(handle: &Handle, cell: Cell, meta: &SpanMeta) -> *mut u8 {
    meta.leave_alone();
    looking_again(handle, cell)
}

/// A span from the inbox is not the cell's any more.
#[cold]
#[inline(never)]
extern "C" fn passing_on(handle: &Handle, units: u64, cell: Cell, span: SpanId) -> *mut u8 {
    handle.pass_on(span, units);
    looking_again(handle, cell)
}

/// What came out of a cell's inbox.
pub(crate) enum Accepted {
    /// A span of the cell, and units of it that others freed slots of.
    Units(SpanId, u64),
    /// A span that is not the cell's, or without such units.
    Other,
    /// Nothing yet: the first span is not linked.
    Unlinked,
    /// Nothing.
    Nothing,
}

impl Handle {
    /// A block of the first span in the cell's list, of a unit to be collected. The cell is empty, and so is
    /// the span's summary.
    pub(super) fn take_waiting(&self, cell: Cell, head: SpanId) -> Option<Granule> {
        let meta = self.span(head);
        if cell.is_by_word() { self.take_waiting_unit(cell, head, meta) } else { self.take_waiting_slot(cell, head, meta) }
    }

    /// The units of a span that wait, which are slots, and the first of them.
    #[inline(always)]
    fn waiting_slot(cell: Cell, head: SpanId, meta: &SpanMeta) -> Option<(u64, Granule)> {
        let units = NonZeroU64::new(meta.collect.load(Relaxed))?;
        Some((units.get(), Granule(head.first().0 + u64::from(units.trailing_zeros()) * cell.granules())))
    }

    /// The same where units are slots: the block is handed over.
    #[inline(always)]
    fn take_waiting_slot(&self, cell: Cell, head: SpanId, meta: &SpanMeta) -> Option<Granule> {
        let (units, granule) = Self::waiting_slot(cell, head, meta)?;
        self.take_slot(cell, granule, units, meta)
    }

    /// The same of `granule`, the first of these units of a span.
    #[inline(always)]
    fn take_slot(&self, cell: Cell, granule: Granule, units: u64, meta: &SpanMeta) -> Option<Granule> {
        let found = hand_slot_over(self.remote_word(granule), granule.place());
        self.leave_waiting(cell, meta, units & units.wrapping_sub(1));
        found.then(|| {
            self.count_block_again(cell);
            granule
        })
    }

    /// The same where units are words: all of the unit is taken back and checked out, and its first block handed over.
    #[inline(always)]
    fn take_waiting_unit(&self, cell: Cell, head: SpanId, meta: &SpanMeta) -> Option<Granule> {
        let Some(units) = NonZeroU32::new(meta.pending.not_again(meta.collect.load(Relaxed)) as u32) else {
            self.leave_waiting(cell, meta, 0);
            return None;
        };
        let unit = units.trailing_zeros();
        let found = collect_and_give(self.live_unit(head, unit), self.remote_unit(head, unit));
        self.leave_waiting(cell, meta, u64::from(units.get() & units.get().wrapping_sub(u32::from(!found.more))));
        let base = Granule((u64::from(head.0) * SPAN_WORDS as u64 + u64::from(unit)) * 64);
        self.take_first(cell, meta, base, found.freed, 1, 0)
    }

    /// Units of the first span in the cell's list are left to be collected, or none.
    #[inline(always)]
    fn leave_waiting(&self, cell: Cell, meta: &SpanMeta, units: u64) {
        meta.collect.store(units, Relaxed);
        if units == 0 {
            self.unlist_first_span(cell, meta);
        }
    }

    /// Takes back what others freed of a unit: its slots, as a word from the granule on. They are not
    /// counted as free yet (K3).
    #[inline(always)]
    pub(crate) fn collect_unit(&self, cell: Cell, head: SpanId, unit: u32) -> (Granule, Collected) {
        if cell.is_by_word() {
            let base = Granule(head.first().0 + u64::from(unit) * 64);
            return (base, collect(self.live_word(base), self.remote_word(base), u64::MAX));
        }
        let granule = Granule(head.first().0 + u64::from(unit) * cell.granules());
        let found = collect(self.live_word(granule), self.remote_word(granule), granule.bit());
        let freed = if found.freed == 0 { 0 } else { 1_u64.wrapping_shl(unit) };
        (head.first(), Collected { freed, more: found.more })
    }

    /// The next span that others freed into, of a cell with an empty list: of the chain that was taken out of the inbox,
    /// or else out of the inbox.
    #[inline(always)]
    pub(super) fn first_arrival(cell: Cell) -> Option<SpanId> {
        let span = cell.drain();
        let span = if span == SpanId::NONE { cell.open().inbox.take() } else { span };
        (span != SpanId::NONE).then_some(span)
    }

    /// Hands out a block of `span`, the first one of what came out of the cell's inbox. The cell has no list. `alone`: its spans are
    /// single ones, so that none goes on with a run.
    #[inline(always)]
    fn take_back(&self, span: SpanId, cell: Cell, alone: bool) -> *mut u8 {
        let meta = self.span(span);
        let Some(arrival) = self.accept_first(cell, span, meta, alone) else { return looking_again(self, cell) };
        if !arrival.ours {
            return passing_on(self, arrival.units, cell, span);
        }
        if cell.is_by_word() {
            bringing_unit_in(self, arrival.units, cell, span, meta)
        } else {
            bringing_slot_in(self, arrival.units, cell, span, meta)
        }
    }

    /// A span came out of the inbox; what is left of its units is listed. The cell has no list.
    #[inline(always)]
    fn list_arrived(cell: Cell, head: SpanId, meta: &SpanMeta, left: u64) {
        if left == 0 {
            meta.leave_alone();
        } else {
            // It was in no list (S5), and is the only one now.
            meta.collect.store(left, Relaxed);
            cell.set_list(head);
        }
    }

    /// Counts a block that others freed, and hands it out again: it is live.
    #[inline(always)]
    fn give_again(&self, cell: Cell, granule: Granule) -> *mut u8 {
        self.count_block_again(cell);
        self.address(granule)
    }

    /// Counts a block that others freed and that is handed out again.
    #[inline(always)]
    fn count_block_again(&self, cell: Cell) {
        cell.count_out(1);
        self.count_again(cell.granules());
    }

    /// Takes `span` out of its chain, the first of what came out of the cell's inbox, if it is linked. Else the chain goes back, and
    /// what came meanwhile takes its place. `alone` as in `take_back`.
    #[inline(always)]
    fn accept_first(&self, cell: Cell, span: SpanId, meta: &SpanMeta, alone: bool) -> Option<Arrival> {
        let incoming = Incoming::of(span, self.page(span), meta);
        let Some(rest) = incoming.unlink() else {
            cell.set_drain(cell.open().inbox.exchange(span));
            return None;
        };
        cell.set_drain(rest);
        let entry = incoming.page.read();
        let owner = entry.owner();
        let ours = owner.is_column(self.index()) && self.is_at(cell, entry.cell()) && (alone || owner.head(span) == span);
        Some(incoming.accept(ours))
    }

    /// Takes the next span that others freed into from the cell's inbox, and the units of it.
    pub(crate) fn accept(&self, cell: Cell) -> Accepted {
        let Some(span) = Self::first_arrival(cell) else { return Accepted::Nothing };
        let Some(arrival) = self.accept_first(cell, span, self.span(span), false) else { return Accepted::Unlinked };
        if !arrival.ours {
            self.pass_on(span, arrival.units);
            return Accepted::Other;
        }
        // None of them: taken by the time the span was pushed, or of its former life (see `remote`).
        let units = arrival.units & cell.class().units;
        let meta = self.span(span);
        if units == 0 && meta.summary.load(Relaxed) | meta.collect.load(Relaxed) == 0 {
            meta.leave_alone();
        }
        if units == 0 { Accepted::Other } else { Accepted::Units(span, units) }
    }

    #[cold]
    #[inline(never)]
    fn pass_on(&self, span: SpanId, units: u64) {
        let core = self.core();
        core.incoming(span).pass_on(units, |index, cell| core.inbox(index, cell));
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
