//! Where the cells of a column lie in its block: rows of cells, one for each class.
//!
//! ```text
//! line  0      10        108      204               300              398      741   2799     3142     3240   3828
//!       | head | ordered | medium | medium, aligned | small, aligned | zone 0 | ... | zone 7 | zone 0 | ...  | zone 7 |
//!              '-------------- narrow: 2 lines a cell -------------' ' wide: 7 lines a cell ''----- or narrow ------'
//! ```
//!
//! A line is 64 bytes, and the line on which a cell starts is its number ([`CellId`]). [`BANDS`] is this drawing as a table, and all
//! else here follows from it.
//!
//! The row for ordered batches comes first: the cells of its smaller sizes lie on the block's first page, which is in use anyway. The
//! cells of a zone lie side by side, seven lines apart, so that their first lines spread over all sets of a cache (narrow ones
//! two apart, over half of them).
//!
//! Which of the zones' rows there are depends on the arena ([`Rows`]). One in a file or in given memory that is small for its columns has
//! the first ones only, and neighbouring zones share one. One whose many columns are each used a little, as a service's, has narrow
//! cells for its zones, behind the place of the wide ones, which nothing ever touches: what a column uses of a zone then lies on
//! one page or two instead of three.

use core::num::NonZeroU64;

use super::block::CELLS_OFFSET;
use super::cell::bytes_of;
use crate::map::Entry;
use crate::region::PAGE;
use crate::size_class::{CLASS_COUNT, Class, MEDIUM_MAX, OfCell, SMALL_CLASSES, SMALL_MAX, Width, class_of};
use crate::span::SharedKey;
use crate::spike::ZONES;

/// A row of cells: what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// Ordered batches; small classes.
    Ordered,
    /// Medium classes.
    Medium,
    /// Medium classes with an alignment above 16 bytes.
    MediumAligned,
    /// Small classes with an alignment above 16 bytes.
    Aligned,
    /// A zone, or several: the number of the row.
    Zone(usize),
    /// A zone, of narrow cells.
    NarrowZone(usize),
}

/// Rows of one purpose, one behind the other.
struct Band {
    /// The first of them.
    first: Row,
    /// The line on which its first cell starts, counted from the start of the column's block.
    line: usize,
    /// How many rows.
    rows: usize,
    /// The classes of a row, one cell each.
    classes: Classes,
    /// Of its cells.
    width: Width,
}

/// The classes of a row.
struct Classes {
    first: usize,
    count: usize,
    /// Cells at the row's end that are never used: that of size 0, which leads there, and so to its error, without a test in the
    /// fast path.
    unused: usize,
}

const SMALL: Classes = Classes { first: 0, count: SMALL_CLASSES, unused: 1 };
const MEDIUM: Classes = Classes { first: SMALL_CLASSES, count: CLASS_COUNT - SMALL_CLASSES, unused: 0 };

/// Where the rows lie. The lines are in region files: they do not change.
#[rustfmt::skip]
const BANDS: &[Band; 6] = &[
    Band { first: Row::Ordered,       line: 10,   rows: 1,     classes: SMALL,  width: Width::Narrow },
    Band { first: Row::Medium,        line: 108,  rows: 1,     classes: MEDIUM, width: Width::Narrow },
    Band { first: Row::MediumAligned, line: 204,  rows: 1,     classes: MEDIUM, width: Width::Narrow },
    Band { first: Row::Aligned,       line: 300,  rows: 1,     classes: SMALL,  width: Width::Narrow },
    Band { first: Row::Zone(0),       line: 398,  rows: ZONES, classes: SMALL,  width: Width::Wide },
    Band { first: Row::NarrowZone(0), line: 3142, rows: ZONES, classes: SMALL,  width: Width::Narrow },
];

/// Lines of the block of a column with all rows: above the highest cell number. Each band begins where the one before it ends.
const BLOCK_LINES: usize = {
    let mut line = CELLS_OFFSET / 64;
    let mut index = 0;
    while index < BANDS.len() {
        assert!(BANDS[index].line == line);
        line = BANDS[index].end();
        index += 1;
    }
    line
};
/// Pages that it takes.
pub(crate) const BLOCK_PAGES: usize = BLOCK_LINES.div_ceil(PAGE_LINES);
/// Lines of a page.
const PAGE_LINES: usize = PAGE / 64;
const _: () = assert!(PAGE_LINES == u64::BITS as usize);

impl Band {
    /// Whether a cell lies there, if it is one.
    #[inline(always)]
    const fn has(&self, id: CellId) -> bool {
        self.line <= id.0 as usize && (id.0 as usize) < self.end()
    }

    /// Lines of a cell.
    #[inline(always)]
    const fn cell_lines(&self) -> usize {
        bytes_of(self.width) / 64
    }

    /// Lines of a row.
    #[inline(always)]
    const fn row_lines(&self) -> usize {
        (self.classes.count + self.classes.unused) * self.cell_lines()
    }

    /// The first line behind it.
    #[inline(always)]
    const fn end(&self) -> usize {
        self.line + self.rows * self.row_lines()
    }

    /// The line on which the cell of a class in one of its rows starts.
    #[inline(always)]
    const fn line_of(&self, row: usize, class: usize) -> usize {
        self.line + row * self.row_lines() + (class - self.classes.first) * self.cell_lines()
    }

    /// The other way: the row and the class of the cell that starts there, if one does.
    const fn find(&self, id: CellId) -> Option<(Row, usize)> {
        if !self.has(id) {
            return None;
        }
        let line = id.0 as usize - self.line;
        let (row, in_row) = (line / self.row_lines(), line % self.row_lines());
        let index = in_row / self.cell_lines();
        if !in_row.is_multiple_of(self.cell_lines()) || index >= self.classes.count {
            return None;
        }
        let row = match self.first {
            Row::Zone(_) => Row::Zone(row),
            Row::NarrowZone(_) => Row::NarrowZone(row),
            only => only,
        };
        Some((row, self.classes.first + index))
    }
}

/// Which rows for zones an arena's columns have: 8, 4, 2 or 1 of wide cells, or 8 of narrow ones.
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

    /// Whether a row is one of theirs.
    const fn has(self, row: Row) -> bool {
        match (row, self.width) {
            (Row::Zone(row), Width::Wide) => row < self.zones(),
            (Row::Zone(_), Width::Narrow) | (Row::NarrowZone(_), Width::Wide) => false,
            _ => true,
        }
    }

    /// Bytes from the first cell's place to the end of the last. With narrow rows the place of the wide ones is among them, which stays
    /// unused.
    pub(crate) const fn bytes(self) -> usize {
        let after_last = match self.width {
            Width::Wide => Row::Zone(self.zones()),
            Width::Narrow => Row::NarrowZone(self.zones()),
        };
        CellId::in_row(after_last, 0).offset() as usize - CELLS_OFFSET
    }

    /// Bytes from a column's block to the first cell of a zone's row.
    pub(crate) const fn start_of(self, zone: usize) -> usize {
        CellId::in_row(self.of_zone(zone), 0).offset() as usize
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
    pub(crate) fn small(self) -> impl Iterator<Item = Row> {
        [Row::Aligned, Row::Ordered].into_iter().chain((0..self.zones()).map(move |row| self.of_zone(row << self.shift)))
    }

    /// Every cell.
    pub(crate) fn ids(self) -> impl Iterator<Item = CellId> {
        (0..BLOCK_PAGES).flat_map(move |page| self.on_page(page))
    }

    /// The lines of a page of the block on which cells start, a bit each.
    fn starts(self, page: usize) -> u64 {
        STARTS[self.number() as usize].get(page).copied().unwrap_or(0)
    }

    /// The cells that start on a page of the block.
    pub(crate) fn on_page(self, page: usize) -> impl Iterator<Item = CellId> {
        let mut lines = self.starts(page);
        core::iter::from_fn(move || {
            let line = NonZeroU64::new(lines)?.trailing_zeros();
            lines &= lines - 1;
            Some(CellId((page * PAGE_LINES) as u32 + line))
        })
    }

    /// Whether a cell starts there.
    pub(crate) fn have(self, id: CellId) -> bool {
        self.starts(id.page()) >> (id.0 as usize % PAGE_LINES) & 1 != 0
    }
}

/// A cell's number in its column: the line on which it starts, counted from the start of the column's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellId(pub(crate) u32);

impl CellId {
    /// The cell of a class in a row that is of such classes.
    #[inline(always)]
    pub(crate) const fn in_row(row: Row, class: usize) -> Self {
        let [ordered, medium, medium_aligned, aligned, zones, narrow_zones] = BANDS;
        // Each by itself, so that nothing of the table is looked up when a program runs.
        let line = match row {
            Row::Ordered => ordered.line_of(0, class),
            Row::Medium => medium.line_of(0, class),
            Row::MediumAligned => medium_aligned.line_of(0, class),
            Row::Aligned => aligned.line_of(0, class),
            Row::Zone(row) => zones.line_of(row, class),
            Row::NarrowZone(row) => narrow_zones.line_of(row, class),
        };
        Self(line as u32)
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

    /// The page of its column's block on which it starts.
    #[inline(always)]
    pub(crate) const fn page(self) -> usize {
        self.0 as usize / PAGE_LINES
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

    /// Its row and its class, if a cell of any column starts there.
    const fn place(self) -> Option<(Row, usize)> {
        let (mut place, mut index) = (None, 0);
        while place.is_none() && index < BANDS.len() {
            place = BANDS[index].find(self);
            index += 1;
        }
        place
    }

    /// Its row; `None` for what stands for published blocks.
    pub(crate) fn row(self) -> Option<Row> {
        self.place().map(|(row, _)| row)
    }

    /// Whether its blocks were asked for with an alignment above 16 bytes.
    pub(crate) fn is_aligned(self) -> bool {
        let [_, _, medium_aligned, aligned, ..] = BANDS;
        medium_aligned.has(self) || aligned.has(self)
    }

    /// What it takes over from its class.
    pub(crate) fn of_cell(self) -> OfCell {
        let [.., zones, _] = BANDS;
        let width = if zones.has(self) { zones.width } else { Width::Narrow };
        self.class_of().of_cells[width as usize]
    }
}

/// For each number of [`Rows`] and each page of a block: the lines on which cells start, a bit each.
static STARTS: [[u64; BLOCK_PAGES]; Rows::CHOICES.len() + 1] = {
    let mut starts = [[0; BLOCK_PAGES]; Rows::CHOICES.len() + 1];
    let mut number = 0;
    while number < starts.len() {
        let rows = if number < Rows::CHOICES.len() { Rows::CHOICES[number] } else { Rows::NARROW };
        assert!(rows.number() as usize == number);
        let mut line = 0;
        while line < BLOCK_LINES {
            if let Some((row, _)) = CellId(line as u32).place()
                && rows.has(row)
            {
                starts[number][line / PAGE_LINES] |= 1 << (line % PAGE_LINES);
            }
            line += 1;
        }
        number += 1;
    }
    starts
};

/// Lines of the table of classes: a power of two, so that a masked number needs no check.
const CLASS_LINES: usize = 4096;
/// What stands for published blocks of the first class. Region files have these numbers: they do not change with the rows.
const PUBLISHED_FIRST: usize = CLASS_LINES - CLASS_COUNT;
const _: () = assert!(BLOCK_LINES <= PUBLISHED_FIRST && CLASS_LINES <= SharedKey::CELLS);

/// The class of the cell that starts on each line, and of the published ones after them.
static CLASS_OF_LINE: [u8; CLASS_LINES] = {
    let mut classes = [0; CLASS_LINES];
    let mut line = 0;
    while line < CLASS_LINES {
        if line >= PUBLISHED_FIRST {
            classes[line] = (line - PUBLISHED_FIRST) as u8;
        } else if let Some((_, class)) = CellId(line as u32).place() {
            classes[line] = class as u8;
        }
        line += 1;
    }
    classes
};

/// Bytes from a zone's row to the cell of each small size; for size 0, to one that is always empty.
pub(crate) type BySize = [u16; SMALL_MAX + 1];

const fn by_size(width: Width) -> BySize {
    let mut offsets = [(SMALL_CLASSES * bytes_of(width)) as u16; SMALL_MAX + 1];
    let mut size = 1;
    while size <= SMALL_MAX {
        offsets[size] = (class_of(size) * bytes_of(width)) as u16;
        size += 1;
    }
    offsets
}

/// A table that starts with a page. Where its entries lie in their pages is the same in every build then: a load waits for a store
/// before it at the same place of another page, and live words are stored all the time (see `LIVE_PHASE`).
#[repr(align(4096))]
struct OnPage<T>(T);

static BY_SIZE: OnPage<BySize> = OnPage(by_size(Width::Wide));
static NARROW_BY_SIZE: OnPage<BySize> = OnPage(by_size(Width::Narrow));

/// Bytes that [`MEDIUM_CELL_OF_SIZE`] takes together: every medium class ends at a multiple of them.
const MEDIUM_STEP: usize = SMALL_MAX / 8;

/// Bytes from a column's block to the cell of each size above the small ones, [`MEDIUM_STEP`] of them at a time.
static MEDIUM_CELL_OF_SIZE: [u16; MEDIUM_MAX / MEDIUM_STEP] = {
    let mut offsets = [0; MEDIUM_MAX / MEDIUM_STEP];
    let mut step = SMALL_MAX / MEDIUM_STEP;
    while step < offsets.len() {
        offsets[step] = CellId::in_row(Row::Medium, class_of((step + 1) * MEDIUM_STEP)).offset() as u16;
        step += 1;
    }
    offsets
};

/// Bytes from a column's block to the cell of a medium size; `None` above those.
#[inline(always)]
pub(crate) fn medium_cell_of(size: usize) -> Option<u32> {
    debug_assert!(size > SMALL_MAX);
    MEDIUM_CELL_OF_SIZE.get((size - 1) / MEDIUM_STEP).map(|&offset| u32::from(offset))
}

#[cfg(test)]
mod tests;
