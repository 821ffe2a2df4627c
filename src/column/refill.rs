//! Between a cell and its spans: refilling an empty cell, and spilling from a full one.
//!
//! ```text
//! refill    the word --> the cell's list --> what others freed (inbox) --> a fresh span --> a fresh chunk
//!           a few slots  a unit of a span    a unit of a span
//! spill     summary bit of the slot's unit; all slots there? give the span back
//! ```
//!
//! Every step is bounded: no loop runs over spans or frees (P2). Each is a function of its own that is
//! left by a jump, so that none pays for the next and none needs a stack frame; what they do is in
//! methods, which the search in `scarce` uses too. A unit may turn out to have nothing (its announcement
//! came late: see `remote`): then there is one more look before a fresh span is taken (`looking_again`).

use core::num::{NonZeroU32, NonZeroU64};

use super::cell::Cell;
use super::chunks::Single;
use super::core::each_in_fours;
use super::held::{Asked, Handle};
use super::remote::{Arrival, Collected, Incoming, collect, collect_and_give, hand_over, hand_slot_over};
use crate::error::Error;
use crate::map::{Entry, Granule, Owner, SpanId};
use crate::size_class::{Class, SPAN_WORDS, pattern, small_class_of};
use crate::span::SpanMeta;
use crate::sync::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::compiler_fence;

/// Allocates what was asked for (its class is the cell's) for a small cell with an empty stack: from its word, or else says by
/// which step.
#[cold]
#[inline(never)]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.engram.refill"))]
pub(crate) extern "C" fn refilling(handle: &Handle, asked: Asked, cell: Cell) -> *mut u8 {
    // The look comes first, so that nothing is worked out for a word that is empty.
    if cell.word_bits() != 0
        && let Some(granule) = handle.take_word(cell)
    {
        return handle.give(granule);
    }
    if cell.small_reciprocal().is_none() {
        return beginning(handle, asked, cell);
    }
    let head = cell.list();
    if head != SpanId::NONE {
        return checking_out(handle, asked, cell, head);
    }
    let drain = cell.drain();
    // Both at once: neither has anything, most often.
    if (drain == SpanId::NONE) & cell.open().inbox.is_empty() {
        return claiming(handle, asked, cell);
    }
    if drain == SpanId::NONE { receiving(handle, asked, cell) } else { taking_back(handle, asked, cell, drain) }
}

/// The same for an empty cell without a word: from the first span in its list.
#[cold]
#[inline(never)]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.engram.check_out"))]
extern "C" fn checking_out(handle: &Handle, asked: Asked, cell: Cell, head: SpanId) -> *mut u8 {
    handle.remember(asked);
    let meta = handle.span(head);
    match handle.take_listed(cell, head, meta) {
        Some(granule) => handle.give(granule),
        None => collecting(handle, head, cell),
    }
}

/// The same for a span with no unit under its summary: from what others freed of it.
#[cold]
#[inline(never)]
extern "C" fn collecting(handle: &Handle, head: SpanId, cell: Cell) -> *mut u8 {
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
    match handle.take_waiting_slot(cell, head, handle.span(head)) {
        Some(granule) => handle.address(granule),
        None => looking_again(handle, cell),
    }
}

/// The same for a cell without spans in its list: from what others freed.
#[cold]
#[inline(never)]
extern "C" fn receiving(handle: &Handle, asked: Asked, cell: Cell) -> *mut u8 {
    handle.remember(asked);
    // None, if a thief was faster: the span that does not exist is never linked.
    handle.take_back(cell.open().inbox.take_all(), cell, true)
}

/// The same: from a fresh span of the column's chunk for single ones.
#[cold]
#[inline(never)]
extern "C" fn claiming(handle: &Handle, asked: Asked, cell: Cell) -> *mut u8 {
    claiming_for(handle, asked, cell, cell.class())
}

/// The same for a cell of this class.
#[inline(always)]
fn claiming_for(handle: &Handle, asked: Asked, cell: Cell, class: &'static Class) -> *mut u8 {
    match handle.claim_first_span() {
        Single::Span(span) => handle.give_first(cell, class, span, handle.as_owner()),
        Single::Last(span) => filling(handle, span, cell, class),
        Single::None => opening(handle, asked, cell, class),
    }
}

/// That was the chunk's last span.
#[cold]
#[inline(never)]
extern "C" fn filling(handle: &Handle, span: SpanId, cell: Cell, class: &'static Class) -> *mut u8 {
    if handle.leave_single() { choosing(handle, span, cell, class) } else { giving(handle, span, cell, class) }
}

/// The same for a column that has other chunks with free spans.
#[cold]
#[inline(never)]
extern "C" fn choosing(handle: &Handle, span: SpanId, cell: Cell, class: &'static Class) -> *mut u8 {
    handle.choose_next_single();
    giving(handle, span, cell, class)
}

/// Hands out the first slot of that span.
#[cold]
#[inline(never)]
extern "C" fn giving(handle: &Handle, span: SpanId, cell: Cell, class: &'static Class) -> *mut u8 {
    handle.give_first(cell, class, span, handle.as_owner())
}

/// From what others freed: goes on with a chain that was taken from the inbox before.
#[cold]
#[inline(never)]
extern "C" fn taking_back(handle: &Handle, asked: Asked, cell: Cell, span: SpanId) -> *mut u8 {
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

/// The same for a cell that was never used: from a fresh span. Or size 0 was asked for, which leads to a cell of its own.
#[cold]
#[inline(never)]
extern "C" fn beginning(handle: &Handle, asked: Asked, cell: Cell) -> *mut u8 {
    let Some(class) = small_class_of(asked.size()) else { return refusing(handle) };
    handle.set_up_as(cell, class);
    claiming_for(handle, asked, cell, class)
}

/// The same for a column without free spans in its chunks: from a fresh chunk.
#[cold]
#[inline(never)]
extern "C" fn opening(handle: &Handle, asked: Asked, cell: Cell, class: &'static Class) -> *mut u8 {
    if let Some((span, owner)) = handle.claim_near_chunk() {
        return handle.give_first(cell, class, span, owner);
    }
    handle.remember(asked);
    growing_at_large(handle, cell)
}

/// That was size 0.
#[cold]
#[inline(never)]
extern "C" fn refusing(handle: &Handle) -> *mut u8 {
    handle.refuse(Error::ZeroSize);
    handle.not_given()
}

/// Allocates for a medium cell with an empty stack, or one of aligned blocks: `refilling`, without the short ways to fresh spans.
#[cold]
#[inline(never)]
pub(crate) extern "C" fn refilling_runs(handle: &Handle, asked: Asked, cell: Cell) -> *mut u8 {
    if cell.word_bits() != 0
        && let Some(granule) = handle.take_word(cell)
    {
        return handle.give(granule);
    }
    let head = cell.list();
    if head == SpanId::NONE { taking_run(handle, asked, cell) } else { checking_out(handle, asked, cell, head) }
}

/// The same for a cell without spans in its list: from what others freed, or else from a fresh run.
#[cold]
#[inline(never)]
extern "C" fn taking_run(handle: &Handle, asked: Asked, cell: Cell) -> *mut u8 {
    if !cell.is_set_up() {
        return beginning_runs(handle, asked, cell);
    }
    if let Some(span) = Handle::first_arrival(cell) {
        return taking_back(handle, asked, cell, span);
    }
    handle.remember(asked);
    growing_at_large(handle, cell)
}

/// The same for a cell that was never used: from a fresh run.
#[cold]
#[inline(never)]
extern "C" fn beginning_runs(handle: &Handle, asked: Asked, cell: Cell) -> *mut u8 {
    handle.remember(asked);
    handle.set_cell_up(cell);
    growing_at_large(handle, cell)
}

/// What was announced was not there, was not ours or could not be reached: one more look at what the cell has and what others
/// freed. (A fresh span each time would be memory without end, however much is free.)
#[cold]
#[inline(never)]
extern "C" fn looking_again(handle: &Handle, cell: Cell) -> *mut u8 {
    match handle.refill_from_spans(cell) {
        Some(granule) => handle.give(granule),
        None => growing_at_large(handle, cell),
    }
}

/// Allocates for an empty cell without spans: from a fresh span or run of any of the column's chunks, a
/// new chunk, or else from wherever anything is free. What was asked for is remembered.
#[cold]
#[inline(never)]
extern "C" fn growing_at_large(handle: &Handle, cell: Cell) -> *mut u8 {
    match handle.grow(cell) {
        Some(granule) => handle.give(granule),
        None => handle.alloc_scarce(cell),
    }
}

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
    /// A slot for a cell with an empty stack, without growing.
    pub(crate) fn refill_from_spans(&self, cell: Cell) -> Option<Granule> {
        if let Some(granule) = self.take_word(cell) {
            return Some(granule);
        }
        let head = cell.list();
        if head == SpanId::NONE {
            let Accepted::Units(head, units) = self.accept(cell) else { return None };
            self.put_to_collect(cell, head, units);
            return self.take_waiting(cell, head);
        }
        let meta = self.span(head);
        self.take_listed(cell, head, meta).or_else(|| self.take_waiting(cell, head))
    }

    /// A slot of the cell's word, and a few more onto the stack.
    #[inline(always)]
    fn take_word(&self, cell: Cell) -> Option<Granule> {
        let (granule, taken) = cell.pop_ahead()?;
        self.count_out(cell, self.span(cell.word_span()), taken, cell.counted());
        Some(granule)
    }

    /// Counts `slots` of a span that its cell gives, or keeps in its stack; `counted` of each slot as in K3.
    #[inline(always)]
    pub(crate) fn count_out(&self, cell: Cell, meta: &SpanMeta, slots: u32, counted: u32) {
        let granules = u64::from(slots) * cell.granules();
        cell.count_out(u64::from(slots));
        if counted != 0 {
            meta.away.store(meta.away.load(Relaxed) + slots, Relaxed);
            self.count_given(granules);
        } else {
            self.count_again(granules);
        }
    }

    /// The span of an ordered batch's last word, if it is still the cell's and has units above that word under its summary, and
    /// those units.
    pub(crate) fn rest_of_word_span(&self, cell: Cell) -> Option<(SpanId, u64)> {
        let (base, head) = (cell.word_base(), cell.word_span());
        let page = self.page(head);
        let entry = page.read();
        let ours = entry.owner().is_column(self.index()) && entry.cell() == self.offset_of(cell);
        let above = (u64::MAX << ((base.0 - head.first().0) / 64)) << 1;
        // A span without units under its summary may be taken away at this moment (see `steal`).
        let has = ours && self.span(head).summary.load(Relaxed) & above != 0 && page.is_still(self.index());
        has.then_some((head, above))
    }

    /// Checks a unit of the first span in the cell's list out that has slots under the summary, and takes its first slot.
    /// The cell is empty.
    #[inline(always)]
    fn take_listed(&self, cell: Cell, head: SpanId, meta: &SpanMeta) -> Option<Granule> {
        let units = NonZeroU64::new(meta.summary.load(Relaxed))?;
        let rest = units.get() & (units.get() - 1);
        if !cell.is_by_word() {
            let left = if cell.checks_out() { 0 } else { rest };
            meta.summary.store(left, Relaxed);
            if left | meta.collect.load(Relaxed) == 0 {
                self.unlist_first_span(cell, meta);
            }
            return self.take_first(cell, meta, head.first(), units.get() ^ left, cell.granules(), 1);
        }
        let left = rest;
        meta.summary.store(left, Relaxed);
        if left | meta.collect.load(Relaxed) == 0 {
            self.unlist_first_span(cell, meta);
        }
        self.take_unit(cell, head, meta, units.trailing_zeros())
    }

    /// Checks `unit` of a span out, which was under its summary, and takes its first slot. The cell is empty.
    #[inline(always)]
    fn take_unit(&self, cell: Cell, head: SpanId, meta: &SpanMeta, unit: u32) -> Option<Granule> {
        let base = Granule((u64::from(head.0) * SPAN_WORDS as u64 + u64::from(unit)) * 64);
        // S3: the cell is empty, so every slot of the unit that is not live is ours to take.
        let free = pattern(cell.class_index() as usize, unit) & !self.live_unit(head, unit).load(Relaxed);
        self.take_first(cell, meta, base, free, 1, 1)
    }

    /// Checks the free slots `free` of a unit out, `step` granules a bit, and takes the lowest; `counted` as in K3.
    #[inline(always)]
    fn take_first(&self, cell: Cell, meta: &SpanMeta, base: Granule, free: u64, step: u64, counted: u32) -> Option<Granule> {
        let place = NonZeroU64::new(free)?.trailing_zeros();
        cell.check_out(base, free & (free - 1), counted);
        self.count_out(cell, meta, 1, counted);
        Some(Granule(base.0 + u64::from(place) * step))
    }

    /// A block of the first span in the cell's list, of a unit to be collected. The cell is empty, and so is
    /// the span's summary.
    fn take_waiting(&self, cell: Cell, head: SpanId) -> Option<Granule> {
        let meta = self.span(head);
        if cell.is_by_word() { self.take_waiting_unit(cell, head, meta) } else { self.take_waiting_slot(cell, head, meta) }
    }

    /// The same where units are slots: the block is handed over.
    #[inline(always)]
    fn take_waiting_slot(&self, cell: Cell, head: SpanId, meta: &SpanMeta) -> Option<Granule> {
        let units = NonZeroU64::new(meta.collect.load(Relaxed))?;
        let granule = Granule(head.first().0 + u64::from(units.trailing_zeros()) * cell.granules());
        let found = hand_slot_over(self.remote_word(granule), granule.place());
        self.leave_waiting(cell, meta, units.get() & (units.get() - 1));
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
    fn first_arrival(cell: Cell) -> Option<SpanId> {
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

    /// Lists a span that had no units with free slots, and is about to have some (S5).
    #[inline(always)]
    fn list(&self, cell: Cell, head: SpanId, meta: &SpanMeta) {
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
    fn listed_summary(&self, cell: Cell, head: SpanId, meta: &SpanMeta) -> u64 {
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
    fn unlist_first_span(&self, cell: Cell, meta: &SpanMeta) {
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

    /// Takes a fresh span or run for an empty cell, and its first slot.
    pub(crate) fn grow(&self, cell: Cell) -> Option<Granule> {
        let spans = u32::from(cell.class().spans);
        if !self.charge(spans) {
            return None;
        }
        let Some(head) = self.take_spans(spans) else {
            self.block().open.refund(spans);
            self.refuse(Error::NoMemory { size: cell.class().bytes as usize, align: 16 });
            return None;
        };
        self.set_run_up(cell, head);
        Some(head.first())
    }

    /// Counts spans against the column's limit.
    #[inline(always)]
    pub(crate) fn charge(&self, spans: u32) -> bool {
        self.block().open.charge(spans) || self.refuse(self.core().quota(self.index(), spans))
    }

    /// Hands out the first slot of an owned, charged span, which goes to an empty small cell with an empty list.
    #[inline(always)]
    fn give_first(&self, cell: Cell, class: &Class, span: SpanId, owner: Owner) -> *mut u8 {
        let meta = self.span(span);
        self.check_first_out(cell, class, span);
        if cell.is_by_word() {
            meta.summary.store(class.later_units, Relaxed);
            cell.set_list(span);
        }
        self.own(span, meta, Entry::new(owner, self.offset_of(cell)));
        // No slot of an empty span is live.
        let first = span.first();
        self.live_word(first).store(first.bit(), Relaxed);
        self.address(first)
    }

    /// Gives an owned, charged span or run to an empty cell, and takes its first slot.
    pub(crate) fn set_run_up(&self, cell: Cell, head: SpanId) {
        let (class, meta) = (cell.class(), self.span(head));
        let entry = Entry::new(self.owner_for(class), self.offset_of(cell));
        self.own(head, meta, entry);
        self.check_first_out(cell, class, head);
        if class.later_units != 0 {
            self.put_under_summary(cell, head, meta, class.later_units);
        }
        // A copy, so that its address is loaded once.
        let pages = self.core().pages;
        each_in_fours(1..usize::from(class.spans), |after| pages.at(head.index() + after).write(entry.after(after as u32)));
    }

    /// Gives an owned, charged span, or the first of a run, to the cell that its page entry will name.
    #[inline(always)]
    fn own(&self, head: SpanId, meta: &SpanMeta, entry: Entry) {
        meta.away.store(1, Relaxed);
        self.page(head).write(entry);
        // One thing after the other, and the live bit of its first block last (Y1): there are not registers enough for all at once.
        compiler_fence(SeqCst);
    }

    /// Checks the first unit of a fresh span out, and counts its first slot as taken.
    #[inline(always)]
    fn check_first_out(&self, cell: Cell, class: &Class, head: SpanId) {
        // Every class has a slot at its span's start (C2): bit 0, which is taken at once.
        cell.check_out(head.first(), class.first_word, 1);
        cell.count_out(1);
        self.count_given(cell.granules());
    }

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

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::arena::Arena;
    use crate::column::holding::ColumnId;
    use crate::error::Error;
    use crate::spike::SpikeTime;

    /// An announcement with nothing behind it: it came so late that its block was collected before. Seen with: a fresh span as soon
    /// as nothing is found.
    #[test]
    fn what_others_freed_is_found_behind_an_announcement_that_came_late() {
        for size in [64, 1024] {
            let arena = Arena::builder().capacity(4 << 20).columns(1).build().unwrap();
            let column = arena.column(ColumnId::new(0)).unwrap();
            let span = || (0..(32 << 10) / size).map(|_| column.alloc(size, 16, SpikeTime::NONE).unwrap()).collect::<Vec<_>>();
            let (freed, late) = (span(), span());
            let before = arena.metrics().bytes_committed;
            // SAFETY: nothing uses the block afterwards.
            unsafe { arena.free(freed[9]) }.unwrap();
            let late = arena.core.granule(late[0].as_ptr()).unwrap().span();
            assert!(arena.core.span(late).pending.announce(1));
            arena.core.announce(late);
            assert_eq!(column.alloc(size, 16, SpikeTime::NONE), Ok(freed[9]));
            assert_eq!(arena.metrics().bytes_committed, before);
            arena.verify().unwrap();
        }
    }

    /// The same when nothing is free any more. Seen with: the bytes of a slot; what was asked for before.
    #[test]
    fn who_finds_nothing_behind_an_announcement_is_told_what_was_asked_for() {
        for (size, align) in [(60, 16), (1000, 16), (60, 64), (1000, 64), (5000, 16), (5000, 64)] {
            let arena = Arena::builder().capacity(4 << 20).columns(1).build().unwrap();
            let column = arena.column(ColumnId::new(0)).unwrap();
            let blocks: Vec<_> = core::iter::from_fn(|| column.alloc(size - 1, align, SpikeTime::NONE).ok()).collect();
            let late = arena.core.granule(blocks[0].as_ptr()).unwrap().span();
            assert!(arena.core.span(late).pending.announce(1));
            arena.core.announce(late);
            assert_eq!(column.alloc(size, align, SpikeTime::NONE), Err(Error::NoMemory { size, align }));
            assert_eq!(column.last_error(), Error::NoMemory { size, align });
            arena.verify().unwrap();
        }
    }
}
