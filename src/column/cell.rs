//! Cells: the few cache lines in front of the free slots of one (column, size class, zone).
//!
//! ```text
//! offset  0   8      16     24             32    40      48     52      56
//!         n | word | base | of the class | out | frees | list | drain | counted
//! offset  64      68     72
//!         inbox | hint | e[0] e[1] ... e[limit-1]
//! ```
//!
//! An allocation pops `e[n-1]`, or else takes slots of `word`, the free slots of one unit (granule
//! `base + bit * step`), or else refills. A free pushes, or else spills to the span's summary. Entries
//! are granules. The inbox and the hint are anybody's: what others freed, and the shared span that had room lately. They share
//! a line with the bottom of the stack, which is written to seldom enough: once for each span that others begin to free into.
//!
//! A column has a row of small cells for ordered batches, two rows of medium cells, ordinary and aligned, a row for requests with
//! an alignment above 16 bytes, and then a row for each zone. Cells of the first four are
//! *narrow*: their stacks have room for seven. Row by row, class by class: the cells of one zone lie side by side, seven
//! lines apart, so that their first lines spread over all sets of a cache (narrow ones two apart, over half of them). An arena in a
//! file or in given memory that is small for its columns has rows for the first zones only, and neighbouring zones share one
//! ([`Rows`]). An arena whose many columns are each used a little, as a service's, has narrow cells for its zones, too, behind the
//! place of the wide ones, which nothing ever touches: what a column uses of a zone then lies on one page or two instead of three.
//!
//! ```text
//! cells   ordered | medium | medium, aligned | small, aligned | zone 0 | zone 1 | ... | zone 7 | zone 0 | ... | zone 7
//!         '-------------------- narrow: 128 bytes -----------' '--- wide: 448 bytes ---------' '-- or narrow --------'
//! ```
//!
//! Invariants
//! - **K1** only the holder of the column writes a cell, but for its inbox and hint, and what comes from its class only once; a
//!   zeroed cell is empty, and full at the same time (n = limit = 0): its first use goes through the slow
//!   paths, which set it up.
//! - **K2** allocations = frees + out - n: `out` counts the slots that left their span less those that went back to it. (What others
//!   freed is not among the frees, and leaves its span again when it is handed out.)
//! - **K3** the slots of the word are counted as free by their span (`counted` = 1) or, as long as the
//!   word came from what others freed, not yet (0): see S4.

use core::num::{NonZeroU32, NonZeroU64};
use core::sync::atomic::compiler_fence;

use crate::map::{Entry, Granule, SpanId};
use crate::region::PAGE;
use crate::size_class::{
    CLASS_COUNT, Class, MEDIUM_MAX, NARROW_STACK, OfCell, SMALL_CLASSES, SMALL_MAX, SMALL_STACK, WORD_CLASS_GRANULES, Width, class_of,
};
use crate::span::{Inbox, SharedKey};
use crate::spike::ZONES;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst, bump, by_one_register, opaque};

use super::block::CELLS_OFFSET;

/// The first line of a cell.
#[repr(C)]
pub(crate) struct CellHead {
    /// Entries of the stack.
    n: AtomicU64,
    word: AtomicU64,
    base: AtomicU64,
    class: AtomicU64,
    out: AtomicU64,
    frees: AtomicU64,
    list: AtomicU32,
    drain: AtomicU32,
    counted: AtomicU32,
    reserved: u32,
}

/// What anybody writes of a cell.
#[repr(C)]
pub(crate) struct OpenHead {
    pub(crate) inbox: Inbox,
    hint: AtomicU32,
}

impl OpenHead {
    /// The shared span of the cell that had room lately. A hint: its state decides.
    #[inline(always)]
    pub(crate) fn hint(&self) -> &AtomicU32 {
        &self.hint
    }
}

/// How often a cell's counts are looked at again while its holder changes them.
const LOOKS: u32 = 16;
const HEAD_BYTES: usize = size_of::<CellHead>() + size_of::<OpenHead>();
/// Bytes of a wide cell, of a zone's row.
const WIDE_CELL: usize = HEAD_BYTES + 8 * SMALL_STACK;
/// Bytes of a narrow cell.
const NARROW_CELL: usize = HEAD_BYTES + 8 * NARROW_STACK;
const _: () = assert!(HEAD_BYTES == 72 && WIDE_CELL == 7 * 64 && NARROW_CELL == 2 * 64);

const MEDIUM_CLASSES: usize = CLASS_COUNT - SMALL_CLASSES;
/// Cells of a row of small cells: the last is never used, that of size 0.
const ROW_CELLS: usize = SMALL_CLASSES + 1;
/// Narrow cells before those of medium classes: the row of ordered batches. Of its smaller sizes the cells lie on the block's first
/// page, which is in use anyway.
const MEDIUM_FIRST: usize = ROW_CELLS;
/// Narrow cells before the row of small aligned ones.
const ALIGNED_FIRST: usize = MEDIUM_FIRST + 2 * MEDIUM_CLASSES;
/// Narrow cells.
const NARROW_CELLS: usize = ALIGNED_FIRST + ROW_CELLS;
const NARROW_BYTES: usize = NARROW_CELLS * NARROW_CELL;
/// Bytes of a zone's row.
const ROW_BYTES: usize = ROW_CELLS * WIDE_CELL;
/// Bytes before the narrow rows of zones.
const NARROW_ROWS_START: usize = NARROW_BYTES + ZONES * ROW_BYTES;
/// Bytes of a zone's row of narrow cells.
const NARROW_ROW_BYTES: usize = ROW_CELLS * NARROW_CELL;
/// Lines of 64 bytes that the block of a column with all rows takes: above the highest cell number.
const BLOCK_LINES: usize = (CELLS_OFFSET + NARROW_ROWS_START + ZONES * NARROW_ROW_BYTES) / 64;
/// Pages that it takes.
pub(crate) const BLOCK_PAGES: usize = BLOCK_LINES.div_ceil(PAGE_LINES);
/// Lines of a page.
const PAGE_LINES: usize = PAGE / 64;
const _: () = assert!(PAGE_LINES == u64::BITS as usize);

/// A row of small cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// Of requests with an alignment above 16 bytes.
    Aligned,
    /// Of ordered batches.
    Ordered,
    /// Of a zone, or several: the number of the row.
    Zone(usize),
    /// Of a zone, of narrow cells.
    NarrowZone(usize),
}

/// How many rows for zones an arena's columns have: 8, 4, 2 or 1 of wide cells, or 8 of narrow ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Log2 of the zones that share a row.
    shift: u32,
    width: Width,
}

impl Rows {
    /// A row for each zone.
    pub(crate) const ALL: Self = Self::with_all_zones(Width::Wide);

    /// A row of narrow cells for each zone.
    pub(crate) const NARROW: Self = Self::with_all_zones(Width::Narrow);

    /// A row for each zone, of such cells.
    pub(crate) const fn with_all_zones(width: Width) -> Self {
        Self { shift: 0, width }
    }

    /// All with wide cells that there are, most rows first.
    pub(crate) const CHOICES: [Self; 4] =
        [Self::ALL, Self { shift: 1, ..Self::ALL }, Self { shift: 2, ..Self::ALL }, Self { shift: 3, ..Self::ALL }];

    /// Their number.
    pub(crate) const fn zones(self) -> usize {
        ZONES >> self.shift
    }

    /// As a number, for the header of a region file: log2 of the zones that share a row, or one more than any of them.
    pub(crate) const fn number(self) -> u32 {
        match self.width {
            Width::Wide => self.shift,
            Width::Narrow => Self::CHOICES.len() as u32,
        }
    }

    /// The other way; `None` if it is none.
    pub(crate) fn numbered(number: u32) -> Option<Self> {
        Self::CHOICES.into_iter().chain([Self::NARROW]).find(|rows| rows.number() == number)
    }

    /// The row of a zone.
    pub(crate) const fn of_zone(self, zone: usize) -> Row {
        match self.width {
            Width::Wide => Row::Zone(zone >> self.shift),
            Width::Narrow => Row::NarrowZone(zone),
        }
    }

    /// The first and the last zone of a row.
    pub(crate) const fn zones_of(self, row: usize) -> (usize, usize) {
        (row << self.shift, ((row + 1) << self.shift) - 1)
    }

    /// Bytes from the first cell's place to the end of the last. With narrow rows the place of the wide ones is among them, which stays
    /// unused.
    pub(crate) const fn bytes(self) -> usize {
        match self.width {
            Width::Wide => NARROW_BYTES + self.zones() * ROW_BYTES,
            Width::Narrow => NARROW_ROWS_START + ZONES * NARROW_ROW_BYTES,
        }
    }

    /// Bytes from a column's block to the first cell of a zone's row.
    pub(crate) const fn start_of(self, zone: usize) -> usize {
        CellId::small(self.of_zone(zone), 0).offset() as usize
    }

    /// Bytes from a zone's row to the cell of each small size.
    pub(crate) const fn by_size(self) -> &'static BySize {
        match self.width {
            Width::Wide => &BY_SIZE.0,
            Width::Narrow => &NARROW_BY_SIZE.0,
        }
    }

    /// Of the cells in a zone's row.
    pub(crate) const fn width(self) -> Width {
        self.width
    }

    /// Every row of small cells.
    pub(crate) fn all(self) -> impl Iterator<Item = Row> {
        [Row::Aligned, Row::Ordered].into_iter().chain((0..self.zones()).map(move |row| self.of_zone(row << self.shift)))
    }

    /// Every cell.
    pub(crate) fn ids(self) -> impl Iterator<Item = CellId> {
        (0..BLOCK_PAGES).flat_map(move |page| self.on_page(page))
    }

    /// The cells that start on a page of the block.
    pub(crate) fn on_page(self, page: usize) -> impl Iterator<Item = CellId> {
        let first = page * PAGE_LINES;
        // The lines of the page before that many bytes of cells.
        let before = |bytes: usize| match ((CELLS_OFFSET + bytes) / 64).saturating_sub(first) {
            lines @ ..PAGE_LINES => (1 << lines) - 1,
            _ => u64::MAX,
        };
        let others = match self.width {
            Width::Wide => 0,
            Width::Narrow => before(NARROW_ROWS_START) & !before(NARROW_BYTES),
        };
        let mut lines = STARTS.get(page).copied().unwrap_or(0) & before(self.bytes()) & !others;
        core::iter::from_fn(move || {
            let line = NonZeroU64::new(lines)?.trailing_zeros();
            lines &= lines - 1;
            Some(CellId(first as u32 + line))
        })
    }

    /// Whether a cell starts there, in a column with these rows.
    pub(crate) const fn have(self, id: CellId) -> bool {
        let start = id.start();
        let others = matches!(self.width, Width::Narrow) && NARROW_BYTES <= start && start < NARROW_ROWS_START;
        id.is_valid() && start < self.bytes() && !others
    }
}

/// A cell's number in its column: the line on which it starts, counted from the start of the column's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellId(pub(crate) u32);

impl CellId {
    /// The cell of a small class in `row`.
    pub(crate) const fn small(row: Row, class: usize) -> Self {
        let start = match row {
            Row::Aligned => (ALIGNED_FIRST + class) * NARROW_CELL,
            Row::Ordered => class * NARROW_CELL,
            Row::Zone(row) => NARROW_BYTES + row * ROW_BYTES + class * WIDE_CELL,
            Row::NarrowZone(row) => NARROW_ROWS_START + row * NARROW_ROW_BYTES + class * NARROW_CELL,
        };
        Self::starting(start)
    }

    /// The cell of a medium class.
    pub(crate) const fn medium(aligned: bool, class: usize) -> Self {
        let index = MEDIUM_FIRST + aligned as usize * MEDIUM_CLASSES + class - SMALL_CLASSES;
        Self::starting(index * NARROW_CELL)
    }

    /// The cell that starts so many bytes from the first one.
    const fn starting(start: usize) -> Self {
        Self(((CELLS_OFFSET + start) / 64) as u32)
    }

    /// In place of a cell, for the spans of published blocks of a class: none lies there.
    pub(crate) const fn published(class: usize) -> Self {
        Self((PUBLISHED_FIRST + class) as u32)
    }

    /// Whether it stands for published blocks, and not for a cell.
    #[inline(always)]
    pub(crate) const fn is_published(self) -> bool {
        self.0 >= PUBLISHED_FIRST as u32
    }

    /// Whether it stands for the published blocks of a class that there is.
    pub(crate) const fn is_published_class(self) -> bool {
        self.is_published() && self.0 < (PUBLISHED_FIRST + CLASS_COUNT) as u32
    }

    /// The cell at `offset` bytes from its column's block.
    #[inline(always)]
    pub(crate) const fn at_offset(offset: u32) -> Self {
        Self(offset / 64)
    }

    /// The cell that the slots of a span belong to.
    #[inline(always)]
    pub(crate) const fn of(entry: Entry) -> Self {
        Self::at_offset(entry.cell())
    }

    /// Bytes from the column's block to the cell.
    #[inline(always)]
    pub(crate) const fn offset(self) -> u32 {
        self.0 * 64
    }

    /// Bytes from the column's first cell.
    const fn start(self) -> usize {
        // Saturating: who frees a block twice may read the cell of a span that is being given back.
        (self.offset() as usize).saturating_sub(CELLS_OFFSET)
    }

    /// Whether its stack has room for few.
    const fn width(self) -> Width {
        if self.start() < NARROW_BYTES || self.start() >= NARROW_ROWS_START { Width::Narrow } else { Width::Wide }
    }

    /// The page of its column's block on which it starts.
    #[inline(always)]
    pub(crate) const fn page(self) -> usize {
        self.0 as usize / PAGE_LINES
    }

    /// Whether a cell starts there, in a column with all rows: not for the cells of size 0, which are never used.
    const fn is_valid(self) -> bool {
        self.page() < BLOCK_PAGES && STARTS[self.page()] >> (self.0 as usize % PAGE_LINES) & 1 != 0
    }

    /// Its size class. What was read of a span that is being given back may be no cell: then any class will do.
    #[inline(always)]
    pub(crate) fn class(self) -> usize {
        usize::from(CLASS_OF_LINE[self.0 as usize % CLASS_LINES])
    }

    /// The same, with all that is known of it.
    #[inline(always)]
    pub(crate) fn class_of(self) -> &'static Class {
        Class::at(self.class() as u32)
    }

    /// The row of a small class that it is in; `None` of a medium class, and for what stands for published blocks.
    pub(crate) const fn row(self) -> Option<Row> {
        if self.is_published() {
            return None;
        }
        let start = self.start();
        if start >= NARROW_ROWS_START {
            return Some(Row::NarrowZone((start - NARROW_ROWS_START) / NARROW_ROW_BYTES));
        }
        if start >= NARROW_BYTES {
            return Some(Row::Zone((start - NARROW_BYTES) / ROW_BYTES));
        }
        match start / NARROW_CELL {
            ..MEDIUM_FIRST => Some(Row::Ordered),
            MEDIUM_FIRST..ALIGNED_FIRST => None,
            _ => Some(Row::Aligned),
        }
    }

    /// Whether its blocks were asked for with an alignment above 16 bytes.
    pub(crate) const fn is_aligned(self) -> bool {
        let index = self.start() / NARROW_CELL;
        MEDIUM_FIRST + MEDIUM_CLASSES <= index && index < NARROW_CELLS
    }

    /// What it takes over from its class.
    pub(crate) fn of_cell(self) -> OfCell {
        self.class_of().of_cells[self.width() as usize]
    }
}

const fn starts() -> [u64; BLOCK_PAGES] {
    let mut starts = [0; BLOCK_PAGES];
    let mut line = CELLS_OFFSET / 64;
    while line < BLOCK_LINES {
        let start = line * 64 - CELLS_OFFSET;
        let is_one = if start < NARROW_BYTES {
            let index = start / NARROW_CELL;
            start.is_multiple_of(NARROW_CELL) && index != MEDIUM_FIRST - 1 && index != NARROW_CELLS - 1
        } else if start >= NARROW_ROWS_START {
            let in_row = (start - NARROW_ROWS_START) % NARROW_ROW_BYTES;
            in_row.is_multiple_of(NARROW_CELL) && in_row / NARROW_CELL < SMALL_CLASSES
        } else {
            let in_row = (start - NARROW_BYTES) % ROW_BYTES;
            in_row.is_multiple_of(WIDE_CELL) && in_row / WIDE_CELL < SMALL_CLASSES
        };
        starts[line / PAGE_LINES] |= (is_one as u64) << (line % PAGE_LINES);
        line += 1;
    }
    starts
}

/// The lines of each page of a block on which cells start, a bit each.
static STARTS: [u64; BLOCK_PAGES] = starts();

/// Lines of the table of classes: a power of two, so that a masked number needs no check.
const CLASS_LINES: usize = 4096;
/// What stands for published blocks of the first class. Region files have these numbers: they do not change with the rows.
const PUBLISHED_FIRST: usize = CLASS_LINES - CLASS_COUNT;
const _: () = assert!(BLOCK_LINES <= PUBLISHED_FIRST && CLASS_LINES <= SharedKey::CELLS);

const fn class_of_line() -> [u8; CLASS_LINES] {
    let mut classes = [0; CLASS_LINES];
    let mut line = CELLS_OFFSET / 64;
    while line < CLASS_LINES {
        let start = line * 64 - CELLS_OFFSET;
        classes[line] = if line >= PUBLISHED_FIRST {
            line - PUBLISHED_FIRST
        } else if line >= BLOCK_LINES {
            // No cell.
            0
        } else if start >= NARROW_ROWS_START {
            (start - NARROW_ROWS_START) % NARROW_ROW_BYTES / NARROW_CELL
        } else if start >= NARROW_BYTES {
            (start - NARROW_BYTES) % ROW_BYTES / WIDE_CELL
        } else {
            match start / NARROW_CELL {
                index @ ..MEDIUM_FIRST => index,
                index @ MEDIUM_FIRST..ALIGNED_FIRST => SMALL_CLASSES + (index - MEDIUM_FIRST) % MEDIUM_CLASSES,
                index => index - ALIGNED_FIRST,
            }
        } as u8;
        line += 1;
    }
    classes
}

/// The class of the cell on each line, and of the published ones after them.
static CLASS_OF_LINE: [u8; CLASS_LINES] = class_of_line();

/// Bytes from a zone's row to the cell of each small size; for size 0, to one that is always empty.
pub(crate) type BySize = [u16; SMALL_MAX + 1];

const fn by_size(cell_bytes: usize) -> BySize {
    let mut offsets = [(SMALL_CLASSES * cell_bytes) as u16; SMALL_MAX + 1];
    let mut size = 1;
    while size <= SMALL_MAX {
        offsets[size] = (class_of(size) * cell_bytes) as u16;
        size += 1;
    }
    offsets
}

/// A table that starts with a page. Where its entries lie in their pages is the same in every build then: a load waits for a store
/// before it at the same place of another page, and live words are stored all the time (see `LIVE_PHASE`).
#[repr(align(4096))]
struct OnPage<T>(T);

static BY_SIZE: OnPage<BySize> = OnPage(by_size(WIDE_CELL));
static NARROW_BY_SIZE: OnPage<BySize> = OnPage(by_size(NARROW_CELL));

/// Bytes that [`MEDIUM_CELL_OF_SIZE`] takes together: every medium class ends at a multiple of them.
const MEDIUM_STEP: usize = SMALL_MAX / 8;

const fn medium_cell_of_size() -> [u16; MEDIUM_MAX / MEDIUM_STEP] {
    let mut offsets = [0; MEDIUM_MAX / MEDIUM_STEP];
    let mut step = SMALL_MAX / MEDIUM_STEP;
    while step < offsets.len() {
        offsets[step] = CellId::medium(false, class_of((step + 1) * MEDIUM_STEP)).offset() as u16;
        step += 1;
    }
    offsets
}

/// Bytes from a column's block to the cell of each size above the small ones, [`MEDIUM_STEP`] of them at a time.
static MEDIUM_CELL_OF_SIZE: [u16; MEDIUM_MAX / MEDIUM_STEP] = medium_cell_of_size();

/// Bytes from a column's block to the cell of a medium size; `None` above those.
#[inline(always)]
pub(crate) fn medium_cell_of(size: usize) -> Option<u32> {
    debug_assert!(size > SMALL_MAX);
    MEDIUM_CELL_OF_SIZE.get((size - 1) / MEDIUM_STEP).map(|&offset| u32::from(offset))
}

/// A cell of a column. `Copy`: a pointer into the region (R1).
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Cell(*const CellHead);

impl Cell {
    /// The cell at `offset` bytes from `block`.
    ///
    /// # Safety
    /// `block` is a column's block or one of its rows, and a cell lies at `offset`.
    #[inline(always)]
    pub(crate) unsafe fn new(block: *const u8, offset: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { block.add(offset).cast() })
    }

    /// The same cell, for the fast path: each pop and push loads the counter that the one before stored.
    #[inline(always)]
    pub(crate) fn by_one_register(self) -> Self {
        Self(by_one_register(self.0))
    }

    #[inline(always)]
    fn head(&self) -> &CellHead {
        // SAFETY: made by `new`: a cell of a mapped region (R1); atomics.
        unsafe { &*self.0 }
    }

    #[inline(always)]
    fn entry(&self, index: u64) -> &AtomicU64 {
        // SAFETY: entries follow the heads; K1: index < limit, which is at most the cell's room.
        unsafe { &*self.0.add(1).cast::<OpenHead>().add(1).cast::<AtomicU64>().add(index as usize) }
    }

    /// What anybody writes of it.
    #[inline(always)]
    pub(crate) fn open<'a>(self) -> &'a OpenHead {
        // SAFETY: it follows the cell's head, in the mapped region (R1); atomics.
        unsafe { &*self.0.add(1).cast() }
    }

    /// Whether the cell may have free slots: it has one, or is told of one.
    pub(crate) fn may_have_slots(self) -> bool {
        let (head, open) = (self.head(), self.open());
        let kept = head.n.load(Relaxed) | self.word_bits();
        let listed = self.list().0 | self.drain().0 | open.hint.load(Relaxed);
        kept != 0 || listed != SpanId::NONE.0 || !open.inbox.is_empty()
    }

    /// Takes the latest slot of the stack.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<Granule> {
        let head = self.head();
        // Its sign says that it was 0: one instruction and a jump. Else the compiler compares first, or keeps both numbers.
        let below = head.n.load(Relaxed).wrapping_sub(1);
        if below.cast_signed() < 0 {
            return None;
        }
        let below = opaque(below);
        head.n.store(below, Relaxed);
        Some(Granule(self.entry(below).load(Relaxed)))
    }

    /// Keeps a freed slot, if there is room.
    #[inline(always)]
    pub(crate) fn push(&self, granule: Granule) -> bool {
        let head = self.head();
        let n = head.n.load(Relaxed);
        if n as u8 == self.limit() {
            return false;
        }
        self.entry(n).store(granule.0, Relaxed);
        head.n.store(n + 1, Relaxed);
        // Last: no load of the next operation waits for this store, which changes memory in one instruction.
        compiler_fence(SeqCst);
        bump(&head.frees, 1);
        true
    }

    /// Takes the lowest slot of the word, and moves up to three more onto the empty stack, so that they
    /// will be taken in order of address. `None` if the word is empty; else the slot, and how many were taken.
    #[inline(always)]
    pub(crate) fn pop_ahead(&self) -> Option<(Granule, u32)> {
        let (head, mut word) = (self.head(), self.word());
        let first = word.next()?;
        let mut ahead = 0_u64;
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
        head.n.store(head.n.load(Relaxed) + ahead, Relaxed);
        head.word.store(word.bits, Relaxed);
        Some((first, ahead as u32 + 1))
    }

    /// The checked-out slots, lowest first.
    #[inline(always)]
    pub(crate) fn word(&self) -> Slots {
        self.word_of(self.granules())
    }

    /// The same of a cell whose slots have so many granules, for checks, too.
    #[inline(always)]
    pub(crate) fn word_of(&self, granules: u64) -> Slots {
        let head = self.head();
        let step = if granules < WORD_CLASS_GRANULES { 1 } else { granules };
        Slots { bits: head.word.load(Relaxed), base: head.base.load(Relaxed), step }
    }

    /// The checked-out word's bits.
    pub(crate) fn word_bits(&self) -> u64 {
        self.head().word.load(Relaxed)
    }

    /// Changes which slots of the word are left.
    #[inline(always)]
    pub(crate) fn set_word(&self, bits: u64) {
        self.head().word.store(bits, Relaxed);
    }

    /// Gives the checked-out word up: its slots are under the summary, or their span is given back.
    #[inline(always)]
    pub(crate) fn drop_word(&self) {
        self.set_word(0);
    }

    /// Forgets where its word, which is empty, was checked out from.
    pub(crate) fn forget_unit(&self) {
        self.head().base.store(0, Relaxed);
    }

    /// Counts slots that left their span.
    #[inline(always)]
    pub(crate) fn count_out(&self, slots: u64) {
        bump(&self.head().out, slots);
    }

    /// Counts a slot that went back to its span.
    #[inline(always)]
    fn count_in(&self) {
        bump(&self.head().out, 1_u64.wrapping_neg());
    }

    /// Counts a freed slot that went past the full stack to its span.
    #[inline(always)]
    pub(crate) fn count_spill(&self) {
        // First: who looks in between sees one allocation too few, not one too many.
        self.count_in();
        bump(&self.head().frees, 1);
    }

    /// Whether it was used before.
    #[inline(always)]
    pub(crate) fn is_set_up(&self) -> bool {
        self.granules() != 0
    }

    /// Whether it checks units out, which takes room for a few slots on its stack. Else its word is always empty: what is
    /// free stays with its run, but for one slot at most.
    #[inline(always)]
    pub(crate) fn checks_out(&self) -> bool {
        self.limit() > 1
    }

    /// First use. The stack of a narrow cell has room for less than the class says.
    #[inline(always)]
    pub(crate) fn set_up(&self, class: OfCell) {
        self.head().class.store(class.to_bits(), Relaxed);
    }

    /// What comes from its class; zero before it is set up. For the holder.
    #[inline(always)]
    fn of_class(&self) -> OfCell {
        // SAFETY: K1: nobody but the holder, who asks, writes it. Not an atomic load: of that no part alone would be read.
        unsafe { self.head().class.as_ptr().cast::<OfCell>().read() }
    }

    /// Entries that the stack may hold; 0 before it is set up.
    #[inline(always)]
    fn limit(&self) -> u8 {
        self.of_class().stack
    }

    /// Granules of a slot.
    #[inline(always)]
    pub(crate) fn granules(&self) -> u64 {
        u64::from(self.of_class().granules)
    }

    /// Whether units of its spans are words (else slots); it is set up.
    #[inline(always)]
    pub(crate) fn is_by_word(&self) -> bool {
        self.granules() < WORD_CLASS_GRANULES
    }

    /// Its class' number; it is set up.
    #[inline(always)]
    pub(crate) fn class_index(&self) -> u32 {
        u32::from(self.of_class().index)
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
        NonZeroU32::new(self.of_class().reciprocal)
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
        head.counted.store(counted, Relaxed);
    }

    /// Whether the word's slots are counted as free by their span (K3): 1, else 0.
    #[inline(always)]
    pub(crate) fn counted(&self) -> u32 {
        self.head().counted.load(Relaxed)
    }

    /// Takes the latest entry of the stack out of the cell, on its way back to its span.
    pub(crate) fn evict_entry(&self) -> Option<Granule> {
        if self.head().n.load(Relaxed) == 0 {
            return None;
        }
        // First, as in `count_spill`.
        self.count_in();
        self.pop()
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

    /// Whether its numbers are such as a cell of this place can have (K1), for checks: of one that is not, nothing else may
    /// be asked. `granules` is one past the last granule.
    pub(crate) fn is_sound(&self, id: CellId, granules: u64) -> bool {
        let head = self.head();
        // Atomic: its holder may set it up at this moment.
        let of_class = OfCell::of_bits(head.class.load(Relaxed));
        let (n, limit) = (head.n.load(Relaxed), u64::from(of_class.stack));
        if limit <= 1 && self.word_bits() != 0 {
            return false;
        }
        if of_class.granules == 0 {
            return limit == 0 && n == 0;
        }
        of_class == id.of_cell() && n <= limit && self.counted() <= 1 && self.word_base().0 < granules
    }

    /// How many entries its stack has, for whoever does not hold it: a number as a stack may have, whatever a file holds.
    fn entries(&self) -> u64 {
        self.head().n.load(Acquire) & u64::from(u8::MAX)
    }

    /// Entries of the stack, for checks.
    pub(crate) fn stack(&self) -> impl Iterator<Item = Granule> + '_ {
        (0..self.entries()).map(|index| Granule(self.entry(index).load(Relaxed)))
    }

    /// Blocks allocated from it, freed through it (K2), and slots in its stack. Of a cell in use the numbers are of
    /// slightly different moments, and may be some allocations behind.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let head = self.head();
        // Acquire: one after the other. They are of one moment if none has changed in between. In this order: a push, a spill or a
        // refill that comes in between hides what was given, and shows nothing that was not.
        let look = || (head.frees.load(Acquire), head.out.load(Acquire), self.entries());
        let mut now = look();
        for _ in 0..LOOKS {
            let before = now;
            now = look();
            if now == before {
                break;
            }
        }
        let (frees, out, stack) = now;
        // A slot may be in the stack before it is counted as out of its span.
        let allocs = frees.wrapping_add(out).wrapping_sub(stack).cast_signed().max(0);
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
        let small = |row| (0..SMALL_CLASSES).map(move |class| (CellId::small(row, class), class));
        let medium = |aligned| (SMALL_CLASSES..CLASS_COUNT).map(move |class| (CellId::medium(aligned, class), class));
        let rows = || Rows::ALL.all().filter(|row| *row != Row::Ordered).chain((0..ZONES).map(Row::NarrowZone));
        let cells = small(Row::Ordered).chain(medium(false)).chain(medium(true)).chain(rows().flat_map(small));
        let have = |id| Rows::ALL.have(id) || Rows::NARROW.have(id);
        let mut end = CELLS_OFFSET as u32;
        let mut valid = 0;
        for (id, class) in cells {
            assert!(have(id) && id.offset() >= end, "{id:?}");
            assert_eq!((CellId::at_offset(id.offset()), id.class()), (id, class));
            assert_eq!(id.row().map_or_else(|| CellId::medium(id.is_aligned(), class), |row| CellId::small(row, class)), id);
            let room = usize::from(id.of_cell().stack) * 8;
            end = id.offset() + (HEAD_BYTES + room) as u32;
            valid += 1;
        }
        assert!(end as usize <= CELLS_OFFSET + Rows::NARROW.bytes());
        assert_eq!((0..CLASS_LINES as u32 + 9).filter(|&line| have(CellId(line))).count(), valid);
        for rows in [Rows::ALL, Rows::NARROW] {
            let cell_of = |size: usize| CellId((rows.start_of(5) + usize::from(rows.by_size()[size])) as u32 / 64);
            for size in 1..=SMALL_MAX {
                let id = CellId::small(rows.of_zone(5), class_of(size));
                assert_eq!((cell_of(size), id.width()), (id, rows.width()));
            }
            assert!(!cell_of(0).is_valid());
        }
        for size in SMALL_MAX + 1..=MEDIUM_MAX {
            assert_eq!(medium_cell_of(size), Some(CellId::medium(false, class_of(size)).offset()));
        }
        assert_eq!(medium_cell_of(MEDIUM_MAX + 1), None);
    }

    #[test]
    fn fewer_rows_have_the_first_cells_of_all() {
        for rows in Rows::CHOICES {
            assert_eq!(Rows::numbered(rows.number()), Some(rows));
            for zone in 0..ZONES {
                assert!(matches!(rows.of_zone(zone), Row::Zone(row) if (rows.zones_of(row).0..=rows.zones_of(row).1).contains(&zone)));
                assert!(rows.have(CellId::small(rows.of_zone(zone), SMALL_CLASSES - 1)));
            }
            let last = CellId::small(Row::Zone(rows.zones() - 1), SMALL_CLASSES - 1);
            assert!(rows.have(last) && !rows.have(CellId(last.0 + WIDE_CELL as u32 / 64)));
            assert!(!rows.have(CellId::small(Row::Zone(rows.zones()), 0)));
        }
        let ids: Vec<_> = Rows::NARROW.ids().collect();
        assert_eq!(ids.len(), Rows::ALL.ids().count());
        for zone in 0..ZONES {
            assert!(ids.contains(&CellId::small(Rows::NARROW.of_zone(zone), 7)) && !ids.contains(&CellId::small(Row::Zone(zone), 7)));
        }
        assert_eq!((Rows::numbered(4), Rows::numbered(5)), (Some(Rows::NARROW), None));
        for class in 0..CLASS_COUNT {
            let id = CellId::published(class);
            assert!(id.is_published() && !Rows::ALL.have(id) && !id.is_aligned());
            assert_eq!((CellId::at_offset(id.offset()), id.class()), (id, class));
        }
    }
}
