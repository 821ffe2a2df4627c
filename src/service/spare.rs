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
mod tests;
