//! A column's block: everything of one column that lies in the region.
//!
//! ```text
//! | sink | held frees | what the holder writes | what anybody writes | cells ... |
//! ```
//!
//! Blocks start on pages of their own, so that a column that is not used costs nothing, and the
//! holder's lines are not those that others write. How many cells follow depends on the arena
//! ([`Rows`]): [`Blocks`] knows where each block starts.

use core::cell::UnsafeCell;

use super::cell::Cell;
use super::lease::Lease;
use super::rows::{BLOCK_PAGES, CellId, Rows};
use crate::map::{ChunkId, Granule};
use crate::region::{Layout, Region, Section, Table};
use crate::size_class::GRANULE;
use crate::span::LISTS;
use crate::sync::{AtomicI64, AtomicU32, AtomicU64, Ordering, Ordering::Relaxed};

/// Notes of a block's pages: a power of two, so that a masked number needs no check.
const PAGE_NOTES: usize = 64;
const _: () = assert!(BLOCK_PAGES <= PAGE_NOTES);

/// Of which kind a held-back free is. Each kind has its own, so that what a run's free takes never comes upon that of a small
/// block.
#[derive(Clone, Copy)]
pub(crate) enum Hold {
    /// Of a small class.
    Small,
    /// Of a medium class.
    Run,
}

impl Hold {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Small, Self::Run];
}

/// The frees that the holder holds back, one of each kind: blocks that are free, but whose live bits and pushes the next free of
/// the kind does. Granule 0 is none.
#[repr(C, align(64))]
pub(crate) struct Holds([AtomicU64; 2]);

impl Holds {
    /// The one of a kind.
    #[inline(always)]
    pub(crate) fn of(&self, hold: Hold) -> Granule {
        // Acquire, for other threads: pairs with `hold_instead`. See `remote`.
        Granule(self.word(hold).load(Ordering::Acquire))
    }

    /// Holds `granule` back. Release: the live bit of the one before was cleared before, so that
    /// who sees the new hold sees that too.
    pub(crate) fn set(&self, hold: Hold, granule: Granule) {
        self.word(hold).store(granule.0, Ordering::Release);
    }

    /// The word of a kind, for other threads.
    #[inline(always)]
    pub(crate) fn word(&self, hold: Hold) -> &AtomicU64 {
        &self.0[hold as usize]
    }

    /// Those that there are.
    pub(crate) fn all(&self) -> impl Iterator<Item = Granule> {
        Hold::ALL.map(|hold| self.of(hold)).into_iter().filter(|&held| held != Granule(0))
    }
}

/// What the holder writes; others read it for metrics.
#[repr(C, align(128))]
pub(crate) struct HolderSide {
    /// 1 once a holder has set its handle up.
    set_up: AtomicU32,
    /// 1 while the holder resets the column.
    resetting: AtomicU32,
    /// The lists that have chunks, a bit each.
    filled: AtomicU32,
    /// Frees by the holder that went past the cells: large and shared blocks, resets.
    pub(crate) other_frees: AtomicU64,
    /// Allocations by the holder that went past the cells.
    pub(crate) other_allocs: AtomicU64,
    /// Frees by the holder of blocks of other columns.
    pub(crate) away_frees: AtomicU64,
    /// The pages of the block that have cells that were used, or whose columns have shared spans for them: 1. Anybody may set one.
    pages: [AtomicU32; PAGE_NOTES],
    /// The first chunk of each list of chunks with free spans: list 1 first (S8).
    lists: [AtomicU32; LISTS as usize],
    /// The first chunk that waits to be put in a list.
    waiting: AtomicU32,
}

/// More spans than any arena has.
const MOST_SPANS: i64 = 1 << 32;

/// What any thread writes.
#[repr(C, align(128))]
pub(crate) struct OpenSide {
    /// Who may write the holder's side.
    pub(crate) lease: Lease,
    /// Spans of the column, and what its limit leaves out: negative exactly if the limit is exceeded.
    spans: AtomicI64,
    /// What the limit leaves out: `i64::MAX` - limit; 0: no limit.
    left_out: AtomicI64,
    /// The chunk from which spans were last taken, or to which they were given, without the lease.
    pub(crate) large_chunk: AtomicU32,
    /// Frees of the column's blocks that did not go through its handle.
    pub(crate) frees_by_others: AtomicU64,
    /// Allocations without the lease.
    pub(crate) allocs_by_others: AtomicU64,
    /// Bytes of the one less those of the other, wrapping, the holder's large and shared blocks among them. One word: whoever is
    /// interrupted between two looks would take what came in between for a difference.
    pub(crate) bytes_by_others: AtomicU64,
    /// Bytes of the spans that thieves took away, and that the holder does not know of.
    pub(crate) bytes_stolen: AtomicU64,
    /// Spans that the column had when its limit was set, or when the arena was opened again: it may keep those above the limit.
    had: AtomicU64,
}

/// A column's block, up to its cells.
#[repr(C, align(128))]
pub(crate) struct ColumnBlock {
    /// The first line of a cell; of one that is always full nothing behind it is reached. `UnsafeCell`: a reference to the block
    /// promises nothing about what cells write, and this is one.
    sink: UnsafeCell<[u64; 8]>,
    pub(crate) holds: Holds,
    pub(crate) holder: HolderSide,
    pub(crate) open: OpenSide,
}

impl ColumnBlock {
    /// Bytes from a block's start to the column's limit, the one thing in it that a reopened region keeps.
    pub(crate) const LIMIT: usize = core::mem::offset_of!(Self, open) + core::mem::offset_of!(OpenSide, left_out);
}

/// Bytes from a block's start to its first cell.
pub(crate) const CELLS_OFFSET: usize = size_of::<ColumnBlock>();

// SAFETY: atomics throughout; zero: nobody's, empty.
unsafe impl crate::region::Plain for ColumnBlock {}

/// A byte of a block or its cells: only its address is used.
#[repr(transparent)]
struct Byte(UnsafeCell<u8>);

// SAFETY: any byte is valid, and nobody reads or writes one as such.
unsafe impl crate::region::Plain for Byte {}

/// The blocks of all columns: a table whose entries are followed by cells. `Copy`: a view (R1).
#[derive(Clone, Copy)]
pub(crate) struct Blocks {
    bytes: Table<Byte>,
    stride: usize,
    /// Bytes of a column's cells.
    cells_bytes: u32,
}

impl Blocks {
    /// Bytes from a block to the next.
    pub(crate) const fn stride(rows: Rows) -> usize {
        (CELLS_OFFSET + rows.bytes()).next_multiple_of(4096)
    }

    /// The section for the blocks of `columns` columns.
    pub(crate) fn section(layout: &mut Layout, columns: u32, rows: Rows) -> Section {
        layout.section(columns as usize * Self::stride(rows), 1)
    }

    /// The blocks in a section that was laid out for them.
    pub(crate) fn new(region: &Region, section: Section, rows: Rows) -> Self {
        Self { bytes: region.table(section), stride: Self::stride(rows), cells_bytes: rows.bytes() as u32 }
    }

    /// Bytes from one block to the next.
    pub(crate) fn bytes_each(&self) -> usize {
        self.stride
    }

    /// Where block `index` starts.
    #[inline(always)]
    pub(crate) fn start(&self, index: u32) -> *const u8 {
        let offset = index as usize * self.stride;
        debug_assert!(offset < self.bytes.len());
        self.bytes.as_ptr().wrapping_add(offset).cast()
    }

    /// Block `index`.
    #[inline(always)]
    pub(crate) fn at(&self, index: u32) -> &ColumnBlock {
        // SAFETY: R1, R2: a block of the table, aligned to a page, `Plain`. Its cells are only reached through
        // `Cell`, by the table's own pointer.
        unsafe { &*self.start(index).cast() }
    }

    /// `offset`, if a cell may lie that many bytes from a block, and else that of the first one. What was read of a span that
    /// has another owner by now may be no cell of this column's; and for published spans there is none.
    #[inline(always)]
    pub(crate) fn cell_near(&self, offset: u32) -> u32 {
        let in_cells = offset.wrapping_sub(CELLS_OFFSET as u32);
        CELLS_OFFSET as u32 + if in_cells < self.cells_bytes { in_cells } else { 0 }
    }

    /// A cell of block `index`, which has it.
    #[inline(always)]
    pub(crate) fn cell_of(&self, index: u32, id: CellId) -> Cell {
        debug_assert!(id.offset() as usize <= self.stride);
        // SAFETY: R1, R2: the offset is inside the block.
        unsafe { Cell::new(self.start(index), id.offset() as usize) }
    }

    /// The cell at `offset` bytes from block `index`, or another one of the column's.
    #[inline(always)]
    pub(crate) fn cell(&self, index: u32, offset: u32) -> Cell {
        // SAFETY: R1, R2: the offset is inside the block.
        unsafe { Cell::new(self.start(index), self.cell_near(offset) as usize) }
    }
}

impl HolderSide {
    /// Notes that the column's handle is set up. Release: so it is for who sees this.
    pub(crate) fn note_set_up(&self) {
        self.set_up.store(1, Ordering::Release);
    }

    /// Notes that a reset begins, or is over. A reset that is cut short is finished by recovery (Y4): nothing is
    /// cleared before the one, nor after the other.
    pub(crate) fn set_resetting(&self, resetting: bool) {
        self.resetting.swap(u32::from(resetting), Ordering::AcqRel);
    }

    /// Whether a reset has begun.
    pub(crate) fn is_resetting(&self) -> bool {
        self.resetting.load(Ordering::Acquire) != 0
    }

    /// Whether the column ever had a holder.
    pub(crate) fn is_set_up(&self) -> bool {
        self.set_up.load(Ordering::Acquire) != 0
    }

    /// The first chunk that waits to be put in a list.
    #[inline(always)]
    pub(crate) fn waiting(&self) -> ChunkId {
        ChunkId(self.waiting.load(Relaxed))
    }

    #[inline(always)]
    pub(crate) fn set_waiting(&self, chunk: ChunkId) {
        self.waiting.store(chunk.0, Relaxed);
    }

    /// The lists that have chunks, a bit each.
    #[inline(always)]
    pub(crate) fn filled(&self) -> u32 {
        self.filled.load(Relaxed)
    }

    /// The first chunk of a list, 1 to [`LISTS`].
    #[inline(always)]
    pub(crate) fn first_of(&self, list: u32) -> ChunkId {
        ChunkId(self.lists[(list - 1) as usize].load(Relaxed))
    }

    /// Makes `chunk` the first of a list, and returns the one before.
    #[inline(always)]
    pub(crate) fn put_first(&self, list: u32, chunk: ChunkId) -> ChunkId {
        let first = &self.lists[(list - 1) as usize];
        let before = ChunkId(first.load(Relaxed));
        first.store(chunk.0, Relaxed);
        self.filled.store(self.filled() | 1 << list, Relaxed);
        before
    }

    /// If `chunk` is the first of a list, makes `next` the first, or the list an empty one. Whether it was.
    #[inline(always)]
    pub(crate) fn drop_first(&self, list: u32, chunk: ChunkId, next: ChunkId) -> bool {
        let first = &self.lists[(list - 1) as usize];
        let was = first.load(Relaxed) == chunk.0;
        if was {
            first.store(next.0, Relaxed);
            if next == ChunkId::NONE {
                self.filled.store(self.filled() ^ 1 << list, Relaxed);
            }
        }
        was
    }

    /// Notes that a cell is in use.
    #[inline(always)]
    pub(crate) fn note_cell(&self, cell: CellId) {
        self.pages[cell.page() % PAGE_NOTES].store(1, Relaxed);
    }

    /// Whether a cell lies on a page of the block that has any in use: else it is not, and its page was never touched.
    pub(crate) fn may_use(&self, cell: CellId) -> bool {
        self.pages[cell.page() % PAGE_NOTES].load(Relaxed) != 0
    }

    /// The cells on those pages that have any in use. So pages that were never touched are not.
    pub(crate) fn cells_near_used(&self, rows: Rows) -> impl Iterator<Item = CellId> + '_ {
        let pages = self.pages.iter().enumerate().filter(|(_, noted)| noted.load(Relaxed) != 0);
        pages.flat_map(move |(page, _)| rows.on_page(page))
    }

    /// A page that is noted to have cells in use, and has none with these rows, for checks.
    pub(crate) fn strange_page(&self, rows: Rows) -> Option<usize> {
        (0..PAGE_NOTES).find(|&page| self.pages[page].load(Relaxed) != 0 && rows.on_page(page).next().is_none())
    }
}

impl OpenSide {
    /// Counts `spans` more spans, if the limit allows.
    #[inline(always)]
    pub(crate) fn charge(&self, spans: u32) -> bool {
        let spans = i64::from(spans);
        if self.spans.fetch_add(spans, Relaxed).wrapping_add(spans) < 0 {
            self.spans.fetch_sub(spans, Relaxed);
            return false;
        }
        true
    }

    /// Counts the bytes of a block that was freed past the cells, or not by the holder.
    #[inline(always)]
    pub(crate) fn count_freed(&self, granules: u64) {
        self.bytes_by_others.fetch_add(granules * GRANULE as u64, Relaxed);
    }

    /// No span is the column's any more, and however many may be found; its limit stays, if it is one.
    pub(crate) fn restart(&self) {
        let left_out = self.left_out.load(Relaxed).max(0);
        self.left_out.store(left_out, Relaxed);
        self.spans.store(left_out, Relaxed);
        self.had.store(MOST_SPANS.cast_unsigned(), Relaxed);
    }

    /// Whatever its limit, the column may keep what it has; it gets none as long as it is above.
    pub(crate) fn note_had(&self) {
        self.had.store(self.spans(), Relaxed);
    }

    /// Counts spans that are the column's already, whatever its limit.
    pub(crate) fn add_found(&self, spans: u32) {
        self.spans.fetch_add(i64::from(spans), Relaxed);
    }

    /// The column has `spans` fewer.
    #[inline(always)]
    pub(crate) fn refund(&self, spans: u32) {
        self.spans.fetch_sub(i64::from(spans), Relaxed);
    }

    /// Spans of the column, and those for which it is being refused at this moment.
    pub(crate) fn spans(&self) -> u64 {
        // Kept within reason: a limit that is being set at this moment shows in one word before the other.
        self.spans.load(Relaxed).wrapping_sub(self.left_out.load(Relaxed)).clamp(0, MOST_SPANS).cast_unsigned()
    }

    /// The same, without what is being refused. What the column has above its limit, it had when that was set.
    pub(crate) fn spans_told(&self) -> u64 {
        let most = self.limit().map_or(u64::MAX, |limit| limit.max(self.had.load(Relaxed)));
        self.spans().min(most)
    }

    /// Spans that it may have, `None` for no limit.
    pub(crate) fn limit(&self) -> Option<u64> {
        let left_out = self.left_out.load(Relaxed);
        // Below zero only in a damaged region.
        (left_out > 0).then(|| (i64::MAX - left_out).cast_unsigned())
    }

    /// Limits the column to `spans`, `None` for no limit.
    pub(crate) fn set_limit(&self, spans: Option<u64>) {
        let left_out = spans.map_or(0, |spans| (i64::MAX.cast_unsigned() - spans.min(i64::MAX.cast_unsigned() - 1)).cast_signed());
        // Nothing is told of by a limit before it is known what is there.
        self.had.store(MOST_SPANS.cast_unsigned(), Relaxed);
        let before = self.left_out.swap(left_out, Relaxed);
        self.spans.fetch_add(left_out.wrapping_sub(before), Relaxed);
        // Whoever is charged from here on is judged by this limit.
        self.note_had();
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
