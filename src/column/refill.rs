//! Refilling an empty cell.
//!
//! ```text
//! the word --> the cell's list --> what others freed --> a fresh span --> a fresh chunk
//! a few slots  a unit of a span    see `collect`
//! ```
//!
//! Every step is bounded: no loop runs over spans or frees (P2). Each is a function of its own that is
//! left by a jump, so that none pays for the next and none needs a stack frame; what they do is in
//! methods, which the search in `scarce` uses too.

use core::num::NonZeroU64;
use core::sync::atomic::compiler_fence;

use super::cell::Cell;
use super::chunks::Single;
use super::collect::{Accepted, collecting, receiving, taking_back};
use super::core::each_in_fours;
use super::held::{Asked, Handle};
use crate::error::Error;
use crate::map::{Entry, Granule, Owner, SpanId};
use crate::size_class::{Class, SPAN_WORDS, pattern, small_class_of};
use crate::span::SpanMeta;
use crate::sync::Ordering::{Relaxed, SeqCst};

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
pub(super) extern "C" fn looking_again(handle: &Handle, cell: Cell) -> *mut u8 {
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
    pub(super) fn take_first(&self, cell: Cell, meta: &SpanMeta, base: Granule, free: u64, step: u64, counted: u32) -> Option<Granule> {
        let place = NonZeroU64::new(free)?.trailing_zeros();
        cell.check_out(base, free & (free - 1), counted);
        self.count_out(cell, meta, 1, counted);
        Some(Granule(base.0 + u64::from(place) * step))
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
}
