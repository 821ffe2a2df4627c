//! What the memory is, in one place: the live map, the remote map, the page table.
//!
//! One bit for each granule of 16 bytes, 64 to a word; a bit stands for the block that *starts*
//! there, so that one bit test tells a block from an interior pointer and from unused memory.
//!
//! ```text
//! granules   0    1    2    3    4    5    6    7    8 ...       page table, one entry a span
//! memory    [ 48-byte slot ][ 48-byte slot ][ 48-byte ...        owner | cell
//! live       1    0    0    1    0    0    0    0    0 ...       who may touch it, and which
//! remote     0    0    0    1    0    0    0    0    0 ...       cell its slots belong to
//! ```
//!
//! Invariants
//! - **M1** a live bit is set exactly for the blocks that were handed out and not taken back. In a
//!   span of a held column only the holder changes it; in a shared span, and for large blocks, it
//!   is changed by atomic read-modify-writes alone.
//! - **M2** a remote bit is set by who frees a block of a column that it does not hold; the column's
//!   holder clears it together with the live bit when it takes the block back. (In a shared span it is H3 that holds, and a large
//!   block has none.)
//! - **M3** every span of a run has the run's owner and cell, because slots start in all of them, and says how far back the run's
//!   first span lies; one whose holder gives and takes slots of a medium class says so. A free span, and the continuation of a
//!   large block, has no owner: no block starts there.

use crate::size_class::{CHUNK_SPANS, SPAN_GRANULES};
use crate::sync::{AtomicU64, Ordering};

/// A granule's number, counted from one chunk before the data; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct Granule(pub(crate) u64);

impl Granule {
    /// The map word that holds its bit.
    #[inline(always)]
    pub(crate) const fn word(self) -> usize {
        (self.0 >> 6) as usize
    }

    /// Its bit in that word.
    #[inline(always)]
    pub(crate) const fn bit(self) -> u64 {
        1 << (self.0 & 63)
    }

    /// The place of that bit.
    #[inline(always)]
    pub(crate) const fn place(self) -> u32 {
        self.0 as u32 % 64
    }

    /// The span it lies in.
    #[inline(always)]
    pub(crate) const fn span(self) -> SpanId {
        SpanId(self.span_index() as u32)
    }

    /// Granules from that span's start.
    #[inline(always)]
    pub(crate) const fn in_span(self) -> u64 {
        self.0 % SPAN_GRANULES as u64
    }

    /// That span's number, for tables.
    #[inline(always)]
    pub(crate) const fn span_index(self) -> usize {
        (self.0 / SPAN_GRANULES as u64) as usize
    }
}

/// A span's number; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct SpanId(pub(crate) u32);

impl SpanId {
    /// No span.
    pub(crate) const NONE: Self = Self(0);

    /// Its first granule.
    #[inline(always)]
    pub(crate) const fn first(self) -> Granule {
        Granule(self.0 as u64 * SPAN_GRANULES as u64)
    }

    /// The chunk it lies in.
    #[inline(always)]
    pub(crate) const fn chunk(self) -> ChunkId {
        ChunkId(self.0 / CHUNK_SPANS as u32)
    }

    /// Its place in the chunk, 0 to 63.
    #[inline(always)]
    pub(crate) const fn place(self) -> u32 {
        self.0 % CHUNK_SPANS as u32
    }

    #[inline(always)]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A chunk's number; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct ChunkId(pub(crate) u32);

impl ChunkId {
    /// No chunk.
    pub(crate) const NONE: Self = Self(0);

    /// Its span at `place` (0 to 63).
    #[inline(always)]
    pub(crate) const fn span(self, place: u32) -> SpanId {
        SpanId(self.0 * CHUNK_SPANS as u32 + place)
    }

    #[inline(always)]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who owns a span: a column, and how its blocks are given and taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Owner(pub(crate) u32);

impl Owner {
    const COLUMN: u32 = (1 << 18) - 1;
    /// Spans back to the first one of the run.
    const BACK: u32 = (CHUNK_SPANS as u32 - 1) << Self::BACK_SHIFT;
    const BACK_SHIFT: u32 = 18;
    const RUN: u32 = 1 << 26;
    const RESETTING: u32 = 1 << 27;
    const SEEN: u32 = 1 << 28;
    const CLAIMED: u32 = 1 << 29;
    const SHARED: u32 = 1 << 30;
    const LARGE: u32 = 1 << 31;

    /// Nobody: no block starts here (M3).
    pub(crate) const NONE: Self = Self(0);

    /// The holder of column `index` gives and takes the blocks; others free through the remote map.
    pub(crate) const fn column(index: u32) -> Self {
        Self(index + 1)
    }

    /// The same, of a span whose slots are of a medium class: the holder's frees there go another way than those of small blocks.
    #[inline(always)]
    pub(crate) const fn in_run(self) -> Self {
        Self(self.0 | Self::RUN)
    }

    /// Whether it is a holder's, of a medium class.
    pub(crate) const fn is_run(self) -> bool {
        self.0 & Self::RUN != 0
    }

    /// Any thread gives and takes blocks of column `index` by single bits of the live map.
    pub(crate) const fn shared(index: u32) -> Self {
        Self((index + 1) | Self::SHARED)
    }

    /// One block of column `index` starts at the span's start.
    pub(crate) const fn large(index: u32) -> Self {
        Self((index + 1) | Self::LARGE)
    }

    /// The first span of the run that goes on with `span`, whose owner it is; itself for a single span, a large block, and nobody's.
    #[inline(always)]
    pub(crate) const fn head(self, span: SpanId) -> SpanId {
        SpanId(span.0.wrapping_sub((self.0 & Self::BACK) >> Self::BACK_SHIFT))
    }

    /// The column's index, `None` for nobody.
    #[inline(always)]
    pub(crate) const fn index(self) -> Option<u32> {
        (self.0 & Self::COLUMN).checked_sub(1)
    }

    /// Whether it is column `index`'s, given and taken by its holder.
    #[inline(always)]
    pub(crate) const fn is_column(self, index: u32) -> bool {
        self.0 & (Self::COLUMN | Self::SHARED | Self::LARGE) == index + 1
    }

    /// Whether it is column `index`'s, given and taken by any thread.
    #[inline(always)]
    pub(crate) const fn is_shared_of(self, index: u32) -> bool {
        self.0 & (Self::COLUMN | Self::SHARED | Self::LARGE) == Self::shared(index).0
    }

    pub(crate) const fn is_shared(self) -> bool {
        self.0 & Self::SHARED != 0
    }

    pub(crate) const fn is_large(self) -> bool {
        self.0 & Self::LARGE != 0
    }

    /// Whether the other owner is the same, of the same kind; what is only marked for a while does not count.
    #[cfg(not(loom))]
    pub(crate) const fn is_as(self, other: Self) -> bool {
        let lasting = Self::COLUMN | Self::RUN | Self::SHARED | Self::LARGE;
        self.0 & lasting == other.0 & lasting
    }

    /// The index of the column whose holder gives and takes the blocks, if it is one's.
    #[inline(always)]
    pub(crate) const fn holder(self) -> Option<u32> {
        if self.0 & (Self::SHARED | Self::LARGE) != 0 { None } else { self.index() }
    }

    /// The same, whether or not other threads may have freed blocks of the span, or look at it (see
    /// `steal`), and wherever in its run it lies.
    #[inline(always)]
    pub(crate) const fn unseen(self) -> Self {
        Self(self.0 & !(Self::SEEN | Self::CLAIMED | Self::BACK))
    }

    /// Whether other threads may have freed blocks of the span since it was taken.
    #[inline(always)]
    pub(crate) const fn is_seen(self) -> bool {
        self.0 & Self::SEEN != 0
    }
}

/// What a page entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Entry(u64);

impl Entry {
    /// Of no span: leads to the sink at the start of a column's block.
    pub(crate) const SINK: Self = Self(0);

    /// Of the first span of a run, or of a single one.
    #[inline(always)]
    pub(crate) const fn new(owner: Owner, cell: u32) -> Self {
        Self(owner.0 as u64 | (cell as u64) << 32)
    }

    /// The same, of the span that comes `spans` (0 to 63) after the first one.
    #[inline(always)]
    pub(crate) const fn after(self, spans: u32) -> Self {
        Self(self.0 + ((spans as u64) << Owner::BACK_SHIFT))
    }

    /// The span's owner.
    #[inline(always)]
    pub(crate) const fn owner(self) -> Owner {
        Owner(self.0 as u32)
    }

    /// Bytes from the column's block to the cell that its slots belong to.
    #[inline(always)]
    pub(crate) const fn cell(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// With another mark on its owner.
    const fn marked(self, mark: u32) -> Self {
        Self(self.0 | mark as u64)
    }
}

/// An entry of the page table: one for each span. Owner and cell are one word, so that nobody sees the one without the other.
#[repr(transparent)]
pub(crate) struct PageEntry(AtomicU64);

/// In place of the cell of a span that nobody owns: its memory reads as zero.
const UNUSED: u32 = 0;
/// Its memory was used. (No cell lies there.)
const USED: u32 = 1;

impl PageEntry {
    /// A fresh entry, for models.
    #[cfg(loom)]
    pub(crate) fn new(owner: Owner, cell: u32) -> Self {
        Self(AtomicU64::new(Entry::new(owner, cell).0))
    }

    /// What it says. Acquire: pairs with `set`'s release, so that who sees an owner sees the span set up.
    #[inline(always)]
    pub(crate) fn read(&self) -> Entry {
        Entry(self.0.load(Ordering::Acquire))
    }

    /// The same, of the owner alone.
    #[inline(always)]
    pub(crate) fn owner(&self) -> Owner {
        self.read().owner()
    }

    /// The same, of the cell alone.
    #[inline(always)]
    pub(crate) fn cell(&self) -> u32 {
        self.read().cell()
    }

    /// Sets what it says; the caller owns the span, and no block starts in it yet.
    #[inline(always)]
    pub(crate) fn write(&self, entry: Entry) {
        self.0.store(entry.0, Ordering::Release);
    }

    /// The same, of a single span, or the first of a run.
    #[inline(always)]
    pub(crate) fn set(&self, owner: Owner, cell: u32) {
        self.write(Entry::new(owner, cell));
    }

    /// Gives the span up: nobody's, no block starts in it any more, and its memory was used.
    #[inline(always)]
    pub(crate) fn leave(&self) {
        self.set(Owner::NONE, USED);
    }

    /// Whether the memory of a span that nobody owns was used since it was last given to the system; to be asked,
    /// and set to "no", by who has claimed the span. (After a block of several chunks it may be used all the same.)
    pub(crate) fn was_used(&self) -> bool {
        self.cell() != UNUSED
    }

    /// The span's memory was given to the system.
    pub(crate) fn set_unused(&self) {
        self.set(Owner::NONE, UNUSED);
    }

    /// Marks that a remote free is about to happen (before its bit is set, so that the holder,
    /// whose fast path compares the whole owner, never misses it).
    pub(crate) fn mark_seen(&self) {
        self.0.fetch_or(u64::from(Owner::SEEN), Ordering::AcqRel);
    }

    /// Whether the span is column `index`'s, given and taken by its holder, so that all that was
    /// read of it before was read while it was. A read-modify-write: who takes the span away comes
    /// after it, and so does all that its next owner writes.
    pub(crate) fn is_still(&self, index: u32) -> bool {
        Entry(self.0.fetch_or(0, Ordering::AcqRel)).owner().is_column(index)
    }

    /// Whether the span says what it said, so that all that was read of it before was read while it did; what is only marked for a
    /// while does not count. A read-modify-write: see `is_still`.
    pub(crate) fn still_says(&self, entry: Entry) -> bool {
        let marks = u64::from(Owner::SEEN | Owner::CLAIMED | Owner::RESETTING);
        (self.0.fetch_or(0, Ordering::AcqRel) ^ entry.0) & !marks == 0
    }

    /// Claims the span of a held column for a thief, unless it says something else by now or is
    /// being reset. Only who took the span out of its inbox may claim it, so there is one claim at a
    /// time; any new owner, and a reset, ends it. Acquire: all that is read of the span from here on is
    /// at least as new as the owner.
    pub(crate) fn claim(&self, entry: Entry) -> bool {
        entry.owner().0 & (Owner::CLAIMED | Owner::RESETTING) == 0 && self.change(entry, entry.marked(Owner::CLAIMED))
    }

    /// Takes the span away that said `entry` when it was claimed; false if the claim has ended. The caller owns it
    /// then.
    pub(crate) fn take_claimed(&self, entry: Entry) -> bool {
        self.change(entry.marked(Owner::CLAIMED), Entry::new(Owner::NONE, USED))
    }

    /// Gives the claim up, if it has not ended.
    pub(crate) fn unclaim(&self) {
        self.unmark(Owner::CLAIMED);
    }

    /// The holder of column `index` begins to reset the span, and ends any claim. False if the span
    /// is not the column's, or not any more.
    pub(crate) fn begin_reset(&self, index: u32) -> bool {
        let mut entry = self.read();
        while entry.owner().is_column(index) {
            let unclaimed = Entry(entry.0 & !u64::from(Owner::CLAIMED));
            if self.change(entry, unclaimed.marked(Owner::RESETTING)) {
                return true;
            }
            entry = self.read();
        }
        false
    }

    /// The reset is over, and the span still the column's.
    pub(crate) fn end_reset(&self) {
        self.unmark(Owner::RESETTING);
    }

    fn unmark(&self, mark: u32) {
        self.0.fetch_and(!u64::from(mark), Ordering::AcqRel);
    }

    /// Acquire and release: of a thief and a reset one gets the span, and sees what the other did to it.
    fn change(&self, from: Entry, to: Entry) -> bool {
        self.0.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

#[cfg(not(loom))]
// SAFETY: an atomic; zero is `Owner::NONE`.
unsafe impl crate::region::Plain for PageEntry {}

#[cfg(not(loom))]
const _: () = assert!(size_of::<PageEntry>() == 8);

/// Sets `bit` in a live word that only the caller writes (M1: a held column's span).
#[inline(always)]
pub(crate) fn set_owned(word: &AtomicU64, bit: u64) {
    // Relaxed: the block reaches another thread through the program's own synchronisation, and the
    // bit with it; the next holder sees it through the lease.
    let old = word.load(Ordering::Relaxed);
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
    word.store(old | bit, Ordering::Relaxed);
    // Y1: what the program stores with the block in hand comes after, also where this is inlined into it. No instruction.
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
}

/// Clears `bit` in a live word that only the caller writes. What recovery must see after it (Y2) is a release.
#[inline(always)]
pub(crate) fn clear_owned(word: &AtomicU64, bit: u64) {
    let old = word.load(Ordering::Relaxed);
    // Through a register, as above: the next load of the word waits longer for one instruction that changes memory.
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
    word.store(old & !bit, Ordering::Relaxed);
}
