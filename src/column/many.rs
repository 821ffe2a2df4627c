//! Many blocks of one size at once.
//!
//! ```text
//! stack   one by one, the latest first
//! word    its slots, lowest first                                  one change of the live map
//! list    whole units of the first span, lowest unit first         one change for each unit; what lies there one behind the
//!                                                                  other is given so
//! else    one block in the usual way, which refills the cell; and again from the top
//! ```
//!
//! An ordered batch has a cell of its own, without a stack. Its blocks come from the word and the units above it in the same span,
//! and then from a fresh span.

use core::ops::Range;
use core::slice::IterMut;

use super::cell::Cell;
use super::core::asked_for;
use super::held::Handle;
use super::rows::{CellId, Row};
use super::unusual::Route;
use crate::map::{Granule, SpanId, set_owned};
use crate::region::PAGE;
use crate::size_class::{GRANULE, SMALL_CLASSES, SPAN, SPAN_WORDS, pattern, small_class_of};
use crate::sync::Ordering::Relaxed;

/// Granules of a page; `pages_without_blocks` has a bit for each page of a span.
const PAGE_GRANULES: usize = PAGE / GRANULE;
const _: () = assert!(SPAN / PAGE < u32::BITS as usize);

impl Handle {
    /// Fills `out` with blocks of one size, from the front; returns how many were served. If not all were, `error` says why, and
    /// the rest of `out` is as it was.
    pub(crate) fn alloc_many(&self, size: usize, align: usize, spike: u32, out: &mut [*mut u8]) -> usize {
        let cell = match self.core().route(size, align, spike) {
            Ok(Route::Cell(id)) => Some(self.cell(id)),
            _ => None,
        };
        let mut served = 0;
        loop {
            if let Some(cell) = cell {
                let before = served;
                served += self.give_kept(cell, &mut out[served..]);
                if align > GRANULE {
                    out[before..served].iter().for_each(|&p| self.note_asked(p, align));
                }
            }
            let Some(place) = out.get_mut(served) else { return served };
            let p = self.alloc(size, align, spike);
            if p.is_null() {
                return served;
            }
            *place = p;
            served += 1;
        }
    }

    /// The same for an ordered batch: small blocks from untouched memory. Also whether they are known to lie in address order.
    pub(crate) fn alloc_many_ordered(&self, size: usize, align: usize, spike: u32, out: &mut [*mut u8]) -> (usize, bool) {
        let id = match self.core().route(size, align, spike) {
            Ok(Route::Cell(id)) if !id.is_aligned() && id.class() < SMALL_CLASSES => id,
            _ => return (self.alloc_many(size, align, spike, out), false),
        };
        let cell = self.cell(CellId::in_row(Row::Ordered, id.class()));
        if !cell.is_set_up() {
            self.set_cell_up(cell);
        }
        let (mut served, mut in_order) = (0, true);
        loop {
            // What others filled, or a search for memory.
            self.empty_stack(cell);
            // Each is of one span, the lowest first, and the word's above the slot that was taken with it below.
            served += self.give_word(cell, &mut out[served..]);
            if served < out.len()
                && let Some((head, above)) = self.rest_of_word_span(cell)
            {
                let after = served;
                served += self.give_units(cell, head, above, &mut out[served..]);
                // Where units are slots, those that were freed since lie below the word's.
                in_order &= after == 0 || after == served || out[after - 1] < out[after];
            }
            if served == out.len() {
                debug_assert!(!in_order || out.is_sorted());
                return (served, in_order);
            }
            let p = if let Some(granule) = self.grow(cell).or_else(|| self.refill_from_spans(cell)) {
                self.give(granule)
            } else {
                in_order = false;
                self.find_scarce(cell).unwrap_or(core::ptr::null_mut())
            };
            if p.is_null() {
                self.refuse(asked_for(self.error(), size, align));
                return (served, in_order);
            }
            in_order &= served == 0 || out[served - 1] < p;
            out[served] = p;
            served += 1;
        }
    }

    /// The cell that serves ordered batches with blocks of `size`, if it was used.
    fn ordered_cell(&self, size: usize) -> Option<Cell> {
        let class = small_class_of(size)?;
        let cell = self.cell(CellId::in_row(Row::Ordered, usize::from(class.index)));
        cell.is_set_up().then_some(cell)
    }

    /// Brings the column's free memory together, and lets the next ordered blocks of `size` begin in a fresh span.
    pub(crate) fn begin_order(&self, size: usize) {
        self.flush();
        if let Some(cell) = self.ordered_cell(size) {
            // Its word is empty: it was put back.
            cell.forget_unit();
        }
    }

    /// The span that the last ordered block of `size` came from, and the bytes of it up to the end of its last block. `None`
    /// if it is empty, or is not ours any more. As long as we hold the column, nobody allocates or takes away what is behind.
    pub(crate) fn last_in_order(&self, size: usize) -> Option<(SpanId, usize)> {
        let cell = self.ordered_cell(size)?;
        let head = cell.word_span();
        let page = self.page(head);
        let entry = page.read();
        if !entry.owner().is_column(self.index()) || entry.cell() != self.offset_of(cell) {
            return None;
        }
        let live = |unit: u32| self.live_unit(head, unit).load(Relaxed);
        let unit = (0..SPAN_WORDS as u32).rev().find(|&unit| live(unit) != 0)?;
        let granules = u64::from(unit) * 64 + u64::from(live(unit).checked_ilog2()?) + cell.granules();
        // A thief takes spans alone of which all slots are live. It has not taken this one before we looked, and so finds
        // the slots behind as we have, and leaves it: nobody but us makes them live.
        page.is_still(self.index()).then_some((head, granules as usize * GRANULE))
    }

    /// The pages of a span in which no block lies, a bit for each, the first lowest: none if the span is not one of small blocks, or
    /// not ours (any more). As long as we hold the column, nobody allocates there or takes the span away.
    pub(crate) fn pages_without_blocks(&self, span: SpanId) -> u32 {
        let place = self.core().place(span.first());
        if !place.owner.is_column(self.index()) || place.head != span || place.class().spans > 1 {
            return 0;
        }
        let mut taken = 0_u32;
        for unit in 0..SPAN_WORDS {
            let mut live = self.live_unit(span, unit as u32).load(Relaxed);
            while live != 0 {
                let first = unit * 64 + live.trailing_zeros() as usize;
                let last = first + usize::from(place.class().granules) - 1;
                (first / PAGE_GRANULES..=last / PAGE_GRANULES).for_each(|page| taken |= 1 << page);
                live &= live - 1;
            }
        }
        // Part of a slot lies in each page, and that one is not live then: no thief takes the span, as in `last_in_order`.
        let free = !taken & ((1 << (SPAN / PAGE)) - 1);
        if free != 0 && self.page(span).is_still(self.index()) { free } else { 0 }
    }

    /// Gives what the cell and the first spans in its list have; how many that were.
    fn give_kept(&self, cell: Cell, out: &mut [*mut u8]) -> usize {
        let mut given = 0;
        while let Some(place) = out.get_mut(given)
            && let Some(granule) = cell.pop()
        {
            *place = self.give(granule);
            given += 1;
        }
        given += self.give_word(cell, &mut out[given..]);
        while given < out.len() && cell.list() != SpanId::NONE {
            let more = self.give_units(cell, cell.list(), u64::MAX, &mut out[given..]);
            if more == 0 {
                break;
            }
            given += more;
        }
        given
    }

    /// Gives slots of the cell's word; how many.
    fn give_word(&self, cell: Cell, out: &mut [*mut u8]) -> usize {
        let (word, base) = (cell.word_bits(), cell.word_base());
        if word == 0 || out.is_empty() {
            return 0;
        }
        let mut places = out.iter_mut();
        let left =
            if cell.is_by_word() { self.give_of_word(base, word, &mut places) } else { self.give_slots(cell, base, word, &mut places) };
        let empty = places.len();
        let given = out.len() - empty;
        cell.set_word(left);
        self.count_out(cell, self.span(base.span()), given as u32, cell.counted());
        given
    }

    /// Gives the slots of a listed span that lie in the units `among` under its summary, lowest first; how many. What is left of
    /// the last unit becomes the cell's word. The cell is empty, or no place is left.
    fn give_units(&self, cell: Cell, head: SpanId, among: u64, out: &mut [*mut u8]) -> usize {
        let meta = self.span(head);
        let summary = meta.summary.load(Relaxed);
        let mut units = summary & among;
        if units == 0 || out.is_empty() {
            return 0;
        }
        let mut places = out.iter_mut();
        if cell.is_by_word() {
            let (mut unit, mut rest) = (0, 0);
            while units != 0 && places.len() != 0 {
                unit = units.trailing_zeros();
                let live = |unit| self.live_unit(head, unit).load(Relaxed);
                // Each has a slot for one place at least. A single one is found without.
                let next = (unit..SPAN_WORDS as u32).take(places.len());
                let untouched = next.take_while(|&unit| units >> unit & 1 != 0 && live(unit) == 0).count() as u32;
                if untouched > 1 {
                    (unit, rest) = self.give_untouched(cell, head, unit..unit + untouched, &mut places);
                } else {
                    // S3: the cell is empty, so every slot of the unit that is not live is ours to take.
                    let free = pattern(cell.class_index() as usize, unit) & !live(unit);
                    rest = self.give_of_word(unit_base(head, unit), free, &mut places);
                }
                units &= u64::MAX << unit << 1;
            }
            cell.check_out(unit_base(head, unit), rest, 1);
        } else {
            units = self.give_slots(cell, head.first(), units, &mut places);
            if cell.checks_out() {
                cell.check_out(head.first(), units, 1);
                units = 0;
            }
        }
        let empty = places.len();
        let given = out.len() - empty;
        self.count_out(cell, meta, given as u32, 1);
        self.leave_under_summary(cell, meta, summary & !among | units);
        given
    }

    /// Gives slots of one word of the live map, lowest first; those that are left.
    #[inline(always)]
    fn give_of_word(&self, base: Granule, slots: u64, places: &mut IterMut<*mut u8>) -> u64 {
        let (start, mut left) = (self.address(base), slots);
        while left != 0 {
            let Some(place) = places.next() else { break };
            *place = start.wrapping_add(left.trailing_zeros() as usize * GRANULE);
            left &= left - 1;
        }
        set_owned(self.live_word(base), slots ^ left);
        left
    }

    /// Gives slots of units in a row in which none is live: one lies behind the other. The last unit that it came to, and the slots
    /// of that one that are left.
    #[inline(always)]
    fn give_untouched(&self, cell: Cell, head: SpanId, units: Range<u32>, places: &mut IterMut<*mut u8>) -> (u32, u64) {
        let (class, index) = (cell.class(), cell.class_index() as usize);
        let granules = u32::from(class.granules);
        let first = units.start * 64 + pattern(index, units.start).trailing_zeros();
        let slots = (units.end * 64).div_ceil(granules).min(u32::from(class.slots)) - first / granules;
        let given = places.len().min(slots as usize);
        let (now, later) = core::mem::take(places).into_slice().split_at_mut(given);
        *places = later.iter_mut();
        let (start, step) = (self.address(Granule(head.first().0 + u64::from(first))), granules as usize * GRANULE);
        // By their numbers, so that several are made at once.
        now.iter_mut().enumerate().for_each(|(slot, place)| *place = start.wrapping_add(slot * step));
        let end = first + given as u32 * granules;
        for unit in units.clone() {
            let slots = pattern(index, unit);
            let left = if (unit + 1) * 64 <= end { 0 } else { slots & u64::MAX << (end % 64) };
            set_owned(self.live_unit(head, unit), slots ^ left);
            if left != 0 {
                return (unit, left);
            }
        }
        (units.end - 1, 0)
    }

    /// The same where units are slots.
    #[inline(always)]
    fn give_slots(&self, cell: Cell, base: Granule, slots: u64, places: &mut IterMut<*mut u8>) -> u64 {
        let (granules, mut left) = (cell.granules(), slots);
        while left != 0 {
            let Some(place) = places.next() else { break };
            *place = self.give(Granule(base.0 + u64::from(left.trailing_zeros()) * granules));
            left &= left - 1;
        }
        left
    }
}

/// The first granule of a unit that is a word.
#[inline(always)]
fn unit_base(head: SpanId, unit: u32) -> Granule {
    Granule(head.first().0 + u64::from(unit) * 64)
}
