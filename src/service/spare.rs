//! Whether memory is scarce, and where it has slots to spare.
//!
//! Every column that has a concept of a size takes a span of 32 KiB for it, or a run of spans: with many columns and sizes all
//! of them are soon taken, and hold little. So once they are *scarce* a concept whose column has no slot for it is served
//! from whatever column has one, before a fresh span is taken: the last spans are for sizes of which no slot is left.
//!
//! ```text
//! plentiful   its column: a slot, or a fresh span
//! scarce      its column: a slot --> any column: a slot --> its column: a fresh span, or one that frees have
//!             emptied --> any column: a larger slot
//! ```
//!
//! Which spans frees have emptied is found by the search that is the last resort before a refusal. It is made before a larger
//! slot is given once so much was given back since it found none that it pays: else memory that held large concepts, all freed,
//! would hold no more small ones than it has slots.
//!
//! A *lead* for each size class says where slots are looked for first, and whether it is worth it to look elsewhere. Leads are
//! hints, kept by those who find, free and take: a wrong one costs a span, or the last resort before a refusal, and that looks
//! everywhere.

use core::array;
use core::ptr::NonNull;

use super::slot::Slot;
use crate::arena::{Arena, Kept};
use crate::column::ColumnId;
use crate::size_class::{CLASS_COUNT, CLASSES, MEDIUM_MAX, SMALL_CLASSES, SPAN, class_of};
use crate::spike::SpikeTime;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicI64, AtomicU32, AtomicU64};

/// Spans are scarce if less than this part of them is free, and what is taken is in use to less than this: placement costs half
/// of the memory at most, and is worth it where columns fill their spans.
const FREE: (u64, u64) = (1, 2);
const IN_USE: (u64, u64) = (3, 4);
/// Or if less than one in so many is free: the last are for what comes next.
const LAST: u64 = 8;
/// Free spans are counted anew after so many were taken, or asked for where they are scarce, as there are chunks: a look at a
/// chunk each, on average.
const CHUNKS: u64 = 64;
/// Empty spans are searched for again once this part of the memory was given back, and a span at least.
const SEARCH: usize = 64;

/// Where slots of a class are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Lead(u32);

impl Lead {
    /// Nowhere: there are none.
    const NOWHERE: Self = Self(u32::MAX);
    const ONLY: u32 = 1 << 31;

    /// In this column first.
    const fn first(column: u32) -> Self {
        Self(column)
    }

    /// In this column, and in no other.
    const fn only(column: u32) -> Self {
        Self(column | Self::ONLY)
    }

    const fn column(self) -> u32 {
        self.0 & !Self::ONLY
    }

    const fn is_only(self) -> bool {
        self.0 & Self::ONLY != 0
    }

    /// The same once a column has another slot.
    fn and(self, column: u32) -> Self {
        match self {
            Self::NOWHERE => Self::only(column),
            only if only == Self::only(column) => only,
            _ => Self::first(column),
        }
    }
}

/// What is known of memory that is free, or on its way to be.
pub(super) struct Spare {
    /// Slots that were discarded.
    pub(super) discarded: AtomicU64,
    /// Of these, those that came back, or do so with the last of their pins. Neither number falls: that one has changed says that
    /// something came back, whatever others discard and give back.
    pub(super) given_back: AtomicU64,
    /// 1 if spans are scarce, when they were last counted.
    scarce: AtomicU32,
    /// Spans that may be taken before they are counted anew.
    uncounted: AtomicI64,
    /// Bytes given back since no empty span was found.
    unsearched: AtomicU64,
    leads: [AtomicU32; CLASS_COUNT],
}

impl Spare {
    pub(super) fn new() -> Self {
        let leads = array::from_fn(|_| AtomicU32::new(Lead::first(0).0));
        Self {
            discarded: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
            scarce: AtomicU32::new(0),
            uncounted: AtomicI64::new(0),
            unsearched: AtomicU64::new(0),
            leads,
        }
    }

    /// Whether spans are scarce, as far as is known.
    pub(super) fn is_scarce(&self) -> bool {
        self.scarce.load(Relaxed) != 0
    }

    /// So many spans were taken, or else it is time to look whether they still are scarce. Concepts use `used` bytes in all.
    pub(super) fn count_down(&self, arena: &Arena, spans: u64, used: impl FnOnce() -> u64) {
        if self.uncounted.fetch_sub(spans.cast_signed(), Relaxed) <= 0 {
            self.count(arena, used());
        }
    }

    #[cold]
    fn count(&self, arena: &Arena, used: u64) {
        let all = (arena.capacity() / SPAN) as u64;
        let free = arena.free_spans();
        let taken = all.saturating_sub(free) * SPAN as u64;
        let above = free.saturating_sub(all * FREE.0 / FREE.1);
        let scarce = above == 0 && used * IN_USE.1 < taken * IN_USE.0 || free < all / LAST;
        self.uncounted.store(above.max(all / CHUNKS).cast_signed(), Relaxed);
        if scarce && self.scarce.swap(1, Relaxed) == 0 {
            // Where slots were freed and taken meanwhile was not noted, and neither was how much.
            self.leads.iter().for_each(|lead| lead.store(Lead::first(0).0, Relaxed));
            self.unsearched.store(arena.capacity() as u64, Relaxed);
        } else if !scarce {
            self.scarce.store(0, Relaxed);
        }
    }

    /// Serves a request for `bytes` of a column where spans are scarce, and says from which column. `None`: there is no slot of its
    /// class or of a larger small one, and no span, or it takes more than slots.
    pub(super) fn serve(&self, arena: &Arena, column: u32, bytes: usize, spike: SpikeTime) -> Option<(NonNull<u8>, u32)> {
        if bytes > MEDIUM_MAX {
            return None;
        }
        if let Kept::Slot(block, column) = arena.alloc_kept_in(column, bytes, spike) {
            return Some((block, column));
        }
        let class = class_of(bytes);
        if let Some(found) = self.find(arena, class, spike) {
            return Some(found);
        }
        if let Some(block) = arena.alloc_growing(column, bytes, spike) {
            self.note(class, column);
            return Some((block, column));
        }
        let pays = (arena.capacity() / SEARCH).max(SPAN) as u64;
        if class + 1 < SMALL_CLASSES && self.unsearched.load(Relaxed) >= pays {
            if let Ok(block) = arena.alloc_at_length(Some(ColumnId::new(column)), bytes, 0, spike) {
                self.note(class, column);
                return Some((block, column));
            }
            self.unsearched.store(0, Relaxed);
        }
        (class + 1..SMALL_CLASSES).find_map(|larger| self.find(arena, larger, spike))
    }

    /// A slot of a class in whatever column.
    fn find(&self, arena: &Arena, class: usize, spike: SpikeTime) -> Option<(NonNull<u8>, u32)> {
        let lead = Lead(self.leads[class].load(Relaxed));
        if lead == Lead::NOWHERE {
            return None;
        }
        let bytes = CLASSES[class].bytes as usize;
        let mut kept = arena.alloc_kept_in(lead.column(), bytes, spike);
        if !(lead.is_only() || matches!(kept, Kept::Slot(..))) {
            kept = arena.alloc_kept_from(lead.column() + 1, bytes, spike);
        }
        let next = match kept {
            Kept::Slot(_, column) if column != lead.column() => Lead::first(column),
            Kept::Nothing => Lead::NOWHERE,
            _ => lead,
        };
        if next != lead {
            // Who noted something meanwhile knows better.
            let _ = self.leads[class].compare_exchange(lead.0, next.0, Relaxed, Relaxed);
        }
        match kept {
            Kept::Slot(block, column) => Some((block, column)),
            _ => None,
        }
    }

    /// A column has slots of a class that it had not.
    fn note(&self, class: usize, column: u32) {
        let lead = &self.leads[class];
        let mut now = Lead(lead.load(Relaxed));
        while now.and(column) != now {
            match lead.compare_exchange_weak(now.0, now.and(column).0, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(other) => now = Lead(other),
            }
        }
    }

    /// A column has given a block for `bytes` out of what it has, or of a fresh span: it lies at the start of one then. (Or
    /// sometimes else: the next count is early.)
    pub(super) fn note_grown(&self, arena: &Arena, block: NonNull<u8>, bytes: usize, used: impl FnOnce() -> u64) {
        if self.is_scarce()
            && let Some((class, column)) = arena.kind_of(block)
        {
            self.note(class, column);
        }
        if arena.offset_of(block.as_ptr()).is_some_and(|offset| offset.is_multiple_of(SPAN)) {
            let spans = if bytes <= MEDIUM_MAX { u64::from(CLASSES[class_of(bytes)].spans) } else { bytes.div_ceil(SPAN) as u64 };
            self.count_down(arena, spans, used);
        }
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// As of [`Arena::free`]; and the block is one.
    pub(super) unsafe fn give_back(&self, arena: &Arena, block: NonNull<u8>) {
        let kind = if self.is_scarce() { arena.kind_of(block) } else { None };
        // What a file's next user takes anew does not look like a service's (B4).
        Slot::at(block).clear_mark();
        // SAFETY: the caller's promise.
        let freed = unsafe { arena.free_at_once(block) };
        debug_assert!(freed.is_ok(), "{freed:?}");
        if let Some((class, column)) = kind {
            self.note(class, column);
            self.unsearched.fetch_add(CLASSES[class].bytes.into(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::alloc::Layout;
    use core::cell::Cell;

    use super::*;

    #[test]
    fn a_lead_remembers_one_column_and_whether_it_is_the_only_one() {
        let one = Lead::NOWHERE.and(7);
        assert!(one.is_only() && one.column() == 7);
        assert!(one.and(7) == one);
        let two = one.and(9);
        assert!(!two.is_only() && two.column() == 9);
        assert!(!two.and(9).is_only() && Lead::NOWHERE != one);
    }

    /// An arena of two chunks of 64 spans, of which so many are free.
    fn with_free(spans: usize) -> Arena {
        let arena = Arena::builder().capacity(4 << 20).columns(4).build().unwrap();
        for taken in [64, 64 - spans] {
            block(&arena, 0, taken * SPAN);
        }
        assert_eq!(arena.free_spans(), spans as u64);
        arena
    }

    fn block(arena: &Arena, column: u32, bytes: usize) -> NonNull<u8> {
        arena.alloc(Some(ColumnId::new(column)), Layout::from_size_align(bytes, 1).unwrap(), SpikeTime::NONE).unwrap()
    }

    /// Who knows that spans are scarce, and of no slot.
    fn scarce() -> Spare {
        let spare = Spare::new();
        spare.scarce.store(1, Relaxed);
        spare.leads.iter().for_each(|lead| lead.store(Lead::NOWHERE.0, Relaxed));
        spare
    }

    fn lead(spare: &Spare, bytes: usize) -> Lead {
        Lead(spare.leads[class_of(bytes)].load(Relaxed))
    }

    fn column_for(spare: &Spare, arena: &Arena, column: u32, bytes: usize) -> Option<u32> {
        spare.serve(arena, column, bytes, SpikeTime::NONE).map(|(_, column)| column)
    }

    #[test]
    fn spans_are_scarce_by_use_or_when_the_last_eighth_is_begun_and_plentiful_again_after() {
        let spare = Spare::new();
        let counted = |free: usize, used_spans: usize| {
            spare.count(&with_free(free), (used_spans * SPAN) as u64);
            spare.is_scarce()
        };
        assert!(!counted(48, 80), "what is taken is in use");
        assert!(counted(48, 59), "three of four of what is taken would be 60");
        assert!(!counted(48, 60));
        assert!(!counted(16, 112), "an eighth is left");
        assert!(counted(15, 113), "less is left");
        assert!(!counted(16, 112));
    }

    #[test]
    fn where_spans_are_scarce_they_are_not_counted_for_each_request() {
        let (arena, spare, counts) = (with_free(10), scarce(), Cell::new(0));
        for _ in 0..30 {
            spare.count_down(&arena, 1, || {
                counts.set(counts.get() + 1);
                0
            });
        }
        assert!((5..=15).contains(&counts.get()), "{}", counts.get());
        assert!(spare.is_scarce());
    }

    /// Seen with: a large block that counts as one span.
    #[test]
    fn all_spans_of_a_large_block_count_until_the_next_look() {
        let (arena, spare) = (with_free(48), Spare::new());
        spare.uncounted.store(100, Relaxed);
        for (bytes, left) in [(1 << 20, 68), (64, 67)] {
            spare.note_grown(&arena, block(&arena, 1, bytes), bytes, || 0);
            assert_eq!(spare.uncounted.load(Relaxed), left, "{bytes} bytes");
        }
    }

    #[test]
    fn leads_begin_anew_when_spans_are_scarce_again() {
        let spare = scarce();
        spare.count(&with_free(16), 112 * SPAN as u64);
        assert!(!spare.is_scarce() && lead(&spare, 64) == Lead::NOWHERE);
        spare.count(&with_free(15), 113 * SPAN as u64);
        assert!(spare.is_scarce() && lead(&spare, 64) == Lead::first(0));
        assert_eq!(spare.unsearched.load(Relaxed), 4 << 20, "all may have been emptied");
        // As long as they are scarce, what was noted holds.
        spare.leads[class_of(64)].store(Lead::only(3).0, Relaxed);
        spare.count(&with_free(15), 113 * SPAN as u64);
        assert!(lead(&spare, 64) == Lead::only(3));
    }

    #[test]
    fn a_columns_own_slots_come_before_those_of_others() {
        let (arena, spare) = (with_free(15), scarce());
        for column in [0, 1] {
            // More than a stack holds, so that a span is left in the list.
            let blocks: Vec<_> = (0..200).map(|_| block(&arena, column, 64)).collect();
            // SAFETY: ours, and not used again.
            blocks.into_iter().for_each(|block| unsafe { spare.give_back(&arena, block) });
        }
        spare.leads[class_of(64)].store(Lead::first(0).0, Relaxed);
        assert_eq!([1, 0, 1].map(|column| column_for(&spare, &arena, column, 64)), [1, 0, 1].map(Some));
        assert_eq!(column_for(&spare, &arena, 2, 64), Some(0));
        assert_eq!(arena.free_spans(), 13);
    }

    #[test]
    fn a_slot_is_found_wherever_it_was_taken_or_given_back() {
        let (arena, spare) = (with_free(15), scarce());
        // The span that column 3 had to take serves the others.
        assert_eq!([3, 0, 1].map(|column| column_for(&spare, &arena, column, 96)), [Some(3); 3]);
        // So does one that was taken in the usual way,
        spare.note_grown(&arena, block(&arena, 2, 160), 160, || 0);
        assert_eq!([0, 1].map(|column| column_for(&spare, &arena, column, 160)), [Some(2); 2]);
        // and the slot of what was freed: there is no other. Seen with: the free held back.
        let filled: Vec<_> = (0..SPAN / 224).map(|_| block(&arena, 1, 224)).collect();
        let freed = filled[17];
        // SAFETY: ours, and not used again.
        unsafe { spare.give_back(&arena, freed) };
        assert_eq!(column_for(&spare, &arena, 0, 224), Some(1));
        assert_eq!(arena.free_spans(), 12);
    }

    /// Seen with: a column at which somebody is taken for one without slots.
    #[test]
    fn a_lead_to_a_column_that_somebody_holds_stays() {
        let (arena, spare) = (with_free(15), scarce());
        spare.note_grown(&arena, block(&arena, 2, 160), 160, || 0);
        let held = arena.column(ColumnId::new(2)).unwrap();
        assert!(spare.find(&arena, class_of(160), SpikeTime::NONE).is_none());
        drop(held);
        assert!(spare.find(&arena, class_of(160), SpikeTime::NONE).is_some_and(|(_, column)| column == 2));
    }

    /// Seen with: slots of its own size alone.
    #[test]
    fn a_request_for_which_nothing_else_is_left_is_served_from_a_larger_slot_of_any_column() {
        let (arena, spare) = (with_free(1), scarce());
        spare.note_grown(&arena, block(&arena, 2, 160), 160, || 0);
        assert_eq!([1, 3].map(|column| column_for(&spare, &arena, column, 64)), [Some(2); 2]);
    }

    /// Seen with: a search for each request.
    #[test]
    fn what_was_searched_for_in_vain_is_not_searched_for_again_before_more_was_given_back() {
        let (arena, spare) = (with_free(0), scarce());
        spare.unsearched.store(4 << 20, Relaxed);
        assert_eq!(column_for(&spare, &arena, 1, 64), None);
        assert_eq!(spare.unsearched.load(Relaxed), 0);
    }

    #[test]
    fn a_search_remembers_where_it_found_a_slot_or_that_there_is_none() {
        let (arena, spare) = (with_free(15), scarce());
        block(&arena, 2, 64);
        spare.leads[class_of(64)].store(Lead::first(0).0, Relaxed);
        assert!(spare.find(&arena, class_of(64), SpikeTime::NONE).is_some_and(|(_, column)| column == 2));
        assert!(lead(&spare, 64) == Lead::first(2));
        spare.leads[class_of(96)].store(Lead::first(0).0, Relaxed);
        assert!(spare.find(&arena, class_of(96), SpikeTime::NONE).is_none() && lead(&spare, 96) == Lead::NOWHERE);
    }
}
