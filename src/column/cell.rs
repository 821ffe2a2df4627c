//! Cells: the few cache lines in front of the free slots of one (column, size class, zone).
//!
//! ```text
//! offset  0   4       8      16     24       32    40       48     52      56           60         62      63
//!         n | limit | word | base | pushes | out | spills | list | drain | reciprocal | granules | class | counted
//! offset  64
//!         e[0] e[1] ... e[limit-1]
//! ```
//!
//! An allocation pops `e[n-1]`, or else takes slots of `word`, the free slots of one unit (granule
//! `base + bit * step`), or else refills. A free pushes, or else spills to the span's summary. Entries
//! are granules.
//!
//! A column has ten rows of small cells, one for each zone, one for requests with an alignment above
//! 16 bytes and one for ordered batches, and two rows of medium ones, ordinary and aligned.
//! [row][class]: the cells of one zone lie side by side, seven lines apart, so that their first
//! lines spread over all sets of a cache.
//!
//! Invariants
//! - **K1** only the holder of the column writes a cell, and what comes from its class only once; a
//!   zeroed cell is empty, and full at the same time (n = limit = 0): its first use goes through the slow
//!   paths, which set it up.
//! - **K2** allocations = pushes + out - n, and frees = pushes + spills: `out` counts the slots that left
//!   their span less those that went back past the stack's top, `spills` the frees that met a full stack.
//! - **K3** the slots of the word are counted as free by their span (`counted` = 1) or, as long as the
//!   word came from what others freed, not yet (0): see S4.

use core::cell::Cell as Slot;
use core::num::{NonZeroU32, NonZeroU64};

use crate::map::{Granule, SpanId};
use crate::region::Table;
use crate::size_class::{CLASS_COUNT, Class, MEDIUM_STACK, SMALL_CLASSES, SMALL_MAX, SMALL_STACK, WORD_CLASS_GRANULES, class_of};
use crate::spike::ZONES;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, bump};

use super::block::{CELLS_OFFSET, ColumnBlock};

/// The first line of a cell.
#[repr(C)]
pub(crate) struct CellHead {
    n: AtomicU32,
    limit: Slot<u32>,
    word: AtomicU64,
    base: AtomicU64,
    pushes: AtomicU64,
    out: AtomicU64,
    spills: AtomicU64,
    list: AtomicU32,
    drain: AtomicU32,
    /// Of a small class; 0 for others, and for the sink, so that one test tells both from small ones.
    reciprocal: Slot<u32>,
    granules: Slot<u16>,
    class: Slot<u8>,
    counted: Slot<u8>,
}

const HEAD_BYTES: usize = size_of::<CellHead>();
/// Bytes of a small cell.
pub(crate) const SMALL_CELL: usize = HEAD_BYTES + 8 * SMALL_STACK;
/// Bytes of a medium cell.
pub(crate) const MEDIUM_CELL: usize = HEAD_BYTES + 8 * MEDIUM_STACK;
const _: () = assert!(HEAD_BYTES == 64 && SMALL_CELL == 7 * 64 && MEDIUM_CELL == 2 * 64);

/// The row of requests with an alignment above 16 bytes.
pub(crate) const ALIGNED_ROW: usize = ZONES;
/// The row of ordered batches.
pub(crate) const ORDERED_ROW: usize = ZONES + 1;
/// Rows of small cells.
pub(crate) const SMALL_ROWS: usize = ZONES + 2;
/// Bytes of a row of small cells, and one cell that is never used: that of size 0.
pub(crate) const ROW_BYTES: usize = (SMALL_CLASSES + 1) * SMALL_CELL;
const MEDIUM_CLASSES: usize = CLASS_COUNT - SMALL_CLASSES;
const SMALL_BYTES: usize = SMALL_ROWS * ROW_BYTES;
/// Lines of 64 bytes that all cells of a column take: one more than the highest cell number.
pub(crate) const CELL_LINES: usize = CELLS_BYTES / 64;
/// Bytes of all cells of a column.
pub(crate) const CELLS_BYTES: usize = SMALL_BYTES + 2 * MEDIUM_CLASSES * MEDIUM_CELL;

/// A cell's number in its column: the line on which it starts, counted from the column's first cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellId(pub(crate) u32);

impl CellId {
    /// The cell of a small class in `row`.
    pub(crate) const fn small(row: usize, class: usize) -> Self {
        Self(((row * ROW_BYTES + class * SMALL_CELL) / 64) as u32)
    }

    /// The cell of a medium class.
    pub(crate) const fn medium(aligned: bool, class: usize) -> Self {
        let index = aligned as usize * MEDIUM_CLASSES + class - SMALL_CLASSES;
        Self(((SMALL_BYTES + index * MEDIUM_CELL) / 64) as u32)
    }

    /// The cell at `offset` bytes from its column's block.
    #[inline(always)]
    pub(crate) const fn at_offset(offset: u32) -> Self {
        // Saturating: who frees a block twice may read the cell of a span that is being given back.
        Self(offset.saturating_sub(CELLS_OFFSET as u32) / 64)
    }

    /// Bytes from the column's block to the cell.
    #[inline(always)]
    pub(crate) const fn offset(self) -> u32 {
        self.0 * 64 + CELLS_OFFSET as u32
    }

    /// Bytes from the column's first cell.
    const fn start(self) -> usize {
        self.0 as usize * 64
    }

    /// Whether a cell starts there: not for the cells of size 0, which are never used.
    pub(crate) const fn is_valid(self) -> bool {
        let start = self.start();
        if start < SMALL_BYTES {
            (start % ROW_BYTES).is_multiple_of(SMALL_CELL) && start % ROW_BYTES / SMALL_CELL < SMALL_CLASSES
        } else {
            start < CELLS_BYTES && (start - SMALL_BYTES).is_multiple_of(MEDIUM_CELL)
        }
    }

    /// Its size class.
    pub(crate) const fn class(self) -> usize {
        let start = self.start();
        if start < SMALL_BYTES {
            start % ROW_BYTES / SMALL_CELL
        } else {
            SMALL_CLASSES + (start - SMALL_BYTES) / MEDIUM_CELL % MEDIUM_CLASSES
        }
    }

    /// Whether its blocks were asked for with an alignment above 16 bytes.
    pub(crate) const fn is_aligned(self) -> bool {
        let start = self.start();
        if start < SMALL_BYTES { start / ROW_BYTES == ALIGNED_ROW } else { start >= SMALL_BYTES + MEDIUM_CLASSES * MEDIUM_CELL }
    }
}

const fn cell_of_size() -> [u16; SMALL_MAX + 1] {
    let mut offsets = [(SMALL_CLASSES * SMALL_CELL) as u16; SMALL_MAX + 1];
    let mut size = 1;
    while size <= SMALL_MAX {
        offsets[size] = (class_of(size) * SMALL_CELL) as u16;
        size += 1;
    }
    offsets
}

/// Bytes from a row to the cell of a size; for size 0, to one that is always empty.
pub(crate) static CELL_OF_SIZE: [u16; SMALL_MAX + 1] = cell_of_size();

/// A cell of a column. `Copy`: a pointer into the region (R1).
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Cell(*const CellHead);

impl Cell {
    /// The cell at `offset` bytes from block `index` of `columns`.
    pub(crate) fn of(columns: Table<ColumnBlock>, index: u32, offset: u32) -> Self {
        debug_assert!((index as usize) < columns.len() && (offset as usize) < size_of::<ColumnBlock>());
        // SAFETY: R1, R2: block `index` is in the table, and the offset inside the block.
        unsafe { Self::new(columns.as_ptr().add(index as usize).cast(), offset as usize) }
    }

    /// The cell at `offset` bytes from `block`.
    ///
    /// # Safety
    /// `block` is a column's block or one of its rows, and a cell lies at `offset`.
    #[inline(always)]
    pub(crate) unsafe fn new(block: *const u8, offset: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { block.add(offset).cast() })
    }

    #[inline(always)]
    fn head(&self) -> &CellHead {
        // SAFETY: made by `new` or `of`: a cell of a mapped region (R1), all atomics.
        unsafe { &*self.0 }
    }

    #[inline(always)]
    fn entry(&self, index: u32) -> &AtomicU64 {
        // SAFETY: entries follow the head; K1: index < limit, which is at most the cell's room.
        unsafe { &*self.0.add(1).cast::<AtomicU64>().add(index as usize) }
    }

    /// Takes the latest slot of the stack.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<Granule> {
        let head = self.head();
        let n = head.n.load(Relaxed).wrapping_sub(1);
        // As a signed number: one instruction less than a test for zero.
        if n.cast_signed() < 0 {
            return None;
        }
        head.n.store(n, Relaxed);
        Some(Granule(self.entry(n).load(Relaxed)))
    }

    /// Keeps a freed slot, if there is room.
    #[inline(always)]
    pub(crate) fn push(&self, granule: Granule) -> bool {
        let head = self.head();
        let n = head.n.load(Relaxed);
        if n == head.limit.get() {
            return false;
        }
        self.entry(n).store(granule.0, Relaxed);
        head.n.store(n + 1, Relaxed);
        bump(&head.pushes, 1);
        true
    }

    /// Takes the lowest slot of the word, if it has one. The caller counts it.
    #[inline(always)]
    pub(crate) fn pop_word(&self) -> Option<Granule> {
        let mut word = self.word();
        let granule = word.next();
        self.head().word.store(word.bits, Relaxed);
        granule
    }

    /// Takes the lowest slot of the word, and moves up to three more onto the empty stack, so that they
    /// will be taken in order of address. `None` if the word is empty; else the slot, and how many were taken.
    #[inline(always)]
    pub(crate) fn pop_ahead(&self) -> Option<(Granule, u32)> {
        let (head, mut word) = (self.head(), self.word());
        let first = word.next()?;
        let mut ahead = 0;
        if let Some(second) = word.next() {
            ahead = 1;
            if let Some(third) = word.next() {
                ahead = 2;
                if let Some(fourth) = word.next() {
                    ahead = 3;
                    self.entry(0).store(fourth.0, Relaxed);
                }
                self.entry(ahead - 2).store(third.0, Relaxed);
            }
            self.entry(ahead - 1).store(second.0, Relaxed);
        }
        head.n.store(ahead, Relaxed);
        head.word.store(word.bits, Relaxed);
        Some((first, ahead + 1))
    }

    /// The checked-out slots, lowest first.
    #[inline(always)]
    pub(crate) fn word(&self) -> Slots {
        let head = self.head();
        Slots { bits: head.word.load(Relaxed), base: head.base.load(Relaxed), step: self.step() }
    }

    /// Granules from one bit of the word to the next.
    #[inline(always)]
    fn step(&self) -> u64 {
        if self.is_by_word() { 1 } else { self.granules() }
    }

    /// The checked-out word's bits.
    pub(crate) fn word_bits(&self) -> u64 {
        self.head().word.load(Relaxed)
    }

    /// Gives the checked-out word up: its slots are under the summary, or their span is given back.
    #[inline(always)]
    pub(crate) fn drop_word(&self) {
        self.head().word.store(0, Relaxed);
    }

    /// Counts slots that left their span.
    #[inline(always)]
    pub(crate) fn count_out(&self, slots: u64) {
        bump(&self.head().out, slots);
    }

    /// Counts a freed slot that went past the full stack to its span.
    #[inline(always)]
    pub(crate) fn count_spill(&self) {
        bump(&self.head().spills, 1);
    }

    /// Whether it was used before.
    #[inline(always)]
    pub(crate) fn is_set_up(&self) -> bool {
        self.head().limit.get() != 0
    }

    /// First use.
    #[inline(always)]
    pub(crate) fn set_up(&self, class: &Class) {
        let head = self.head();
        head.reciprocal.set(class.cell_reciprocal);
        head.granules.set(class.granules);
        head.class.set(class.index);
        head.counted.set(class.counted);
        head.limit.set(class.stack);
    }

    /// Granules of a slot.
    #[inline(always)]
    pub(crate) fn granules(&self) -> u64 {
        u64::from(self.head().granules.get())
    }

    /// Whether units of its spans are words (else slots); it is set up.
    #[inline(always)]
    pub(crate) fn is_by_word(&self) -> bool {
        self.granules() < WORD_CLASS_GRANULES
    }

    /// Its class' number; it is set up.
    #[inline(always)]
    pub(crate) fn class_index(&self) -> u32 {
        u32::from(self.head().class.get())
    }

    /// Its class; it is set up.
    #[inline(always)]
    pub(crate) fn class(&self) -> &'static Class {
        Class::at(self.class_index())
    }

    /// Whether its slots lie in runs of spans; it is set up.
    #[inline(always)]
    pub(crate) fn is_medium(&self) -> bool {
        self.class_index() >= SMALL_CLASSES as u32
    }

    /// What [`Class::unit`] multiplies with; `None` if it is medium, or the sink.
    #[inline(always)]
    pub(crate) fn small_reciprocal(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.head().reciprocal.get())
    }

    /// Its address.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.0.cast()
    }

    /// Checks a word out: the bits of `word` are free slots from granule `base` on; `counted` as in K3.
    #[inline(always)]
    pub(crate) fn check_out(&self, base: Granule, word: u64, counted: u32) {
        let head = self.head();
        head.base.store(base.0, Relaxed);
        head.word.store(word, Relaxed);
        head.counted.set(counted as u8);
    }

    /// Whether the word's slots are counted as free by their span (K3): 1, else 0.
    #[inline(always)]
    pub(crate) fn counted(&self) -> u32 {
        u32::from(self.head().counted.get())
    }

    /// Takes the latest entry of the stack out of the cell, on its way back to its span.
    pub(crate) fn evict_entry(&self) -> Option<Granule> {
        let granule = self.pop()?;
        bump(&self.head().out, 1_u64.wrapping_neg());
        Some(granule)
    }

    /// The span that the word was checked out from.
    #[inline(always)]
    pub(crate) fn word_span(&self) -> SpanId {
        self.word_base().span()
    }

    /// The lowest granule of the unit that the word was checked out from.
    #[inline(always)]
    pub(crate) fn word_base(&self) -> Granule {
        Granule(self.head().base.load(Relaxed))
    }

    /// Entries of the stack, for checks.
    pub(crate) fn stack(&self) -> impl Iterator<Item = Granule> + '_ {
        (0..self.head().n.load(Relaxed)).map(|index| Granule(self.entry(index).load(Relaxed)))
    }

    /// Blocks allocated from it, freed through it (K2), and slots in its stack. Of a cell in use the numbers are of
    /// slightly different moments.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let head = self.head();
        let stack = u64::from(head.n.load(Relaxed));
        let pushes = head.pushes.load(Relaxed);
        let frees = pushes.wrapping_add(head.spills.load(Relaxed));
        // A slot may be in the stack before it is counted.
        let allocs = pushes.wrapping_add(head.out.load(Relaxed)).wrapping_sub(stack).cast_signed().max(0);
        (allocs.cast_unsigned(), frees, stack)
    }

    /// The first span with free slots that no cell keeps (S5).
    #[inline(always)]
    pub(crate) fn list(&self) -> SpanId {
        SpanId(self.head().list.load(Relaxed))
    }

    #[inline(always)]
    pub(crate) fn set_list(&self, span: SpanId) {
        self.head().list.store(span.0, Relaxed);
    }

    /// The rest of a chain that was taken from the inbox.
    pub(crate) fn drain(&self) -> SpanId {
        SpanId(self.head().drain.load(Relaxed))
    }

    pub(crate) fn set_drain(&self, span: SpanId) {
        self.head().drain.store(span.0, Relaxed);
    }
}

/// Free slots of one unit, lowest first.
pub(crate) struct Slots {
    bits: u64,
    base: u64,
    step: u64,
}

impl Iterator for Slots {
    type Item = Granule;

    #[inline(always)]
    fn next(&mut self) -> Option<Granule> {
        let bits = NonZeroU64::new(self.bits)?;
        self.bits &= self.bits - 1;
        Some(Granule(self.base + u64::from(bits.trailing_zeros()) * self.step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_a_place_of_its_own_and_is_found_there() {
        let small = (0..SMALL_ROWS).flat_map(|row| (0..SMALL_CLASSES).map(move |class| (CellId::small(row, class), class, SMALL_CELL)));
        let medium = [false, true]
            .into_iter()
            .flat_map(|aligned| (SMALL_CLASSES..CLASS_COUNT).map(move |class| (CellId::medium(aligned, class), class, MEDIUM_CELL)));
        let mut end = CELLS_OFFSET as u32;
        let mut valid = 0;
        for (id, class, bytes) in small.chain(medium) {
            assert!(id.is_valid() && id.offset() >= end, "{id:?}");
            assert_eq!((CellId::at_offset(id.offset()), id.class()), (id, class));
            end = id.offset() + bytes as u32;
            valid += 1;
        }
        assert!(end as usize <= CELLS_OFFSET + CELLS_BYTES);
        assert_eq!((0..CELL_LINES as u32).filter(|&line| CellId(line).is_valid()).count(), valid);
        for (size, &offset) in CELL_OF_SIZE.iter().enumerate().skip(1) {
            assert_eq!(u32::from(offset) + CELLS_OFFSET as u32, CellId::small(0, class_of(size)).offset());
        }
        assert!(!CellId(u32::from(CELL_OF_SIZE[0]) / 64).is_valid());
    }
}
