//! Where everything lies in a region's metadata.
//!
//! ```text
//! metadata   chunk index | chunk metas | counters | used | intents | page entries | span metas | live map | remote map | hints | blocks
//! ```
//!
//! A shape follows from the number of chunks, of columns, and of the rows of cells that a column has, and from nothing else: so a
//! region's header need not say more ([`Described`]), and a region that grows has the shape of a new one.

use super::block::{Blocks, ColumnBlock};
use super::core::{COLUMNS_MAX, Counters, Options};
use super::publish::INTENTS;
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::map::PageEntry;
use crate::region::header::Described;
use crate::region::{Extent, Layout, Region, RegionOptions, Section, chunks_for};
use crate::size_class::{CHUNK, CHUNK_SPANS, CLASS_COUNT, SPAN_WORDS};
use crate::span::{ChunkMeta, Intent, SpanMeta};
use crate::sync::{AtomicI64, AtomicU32, AtomicU64};

/// Where everything lies in the metadata of a region of given columns and chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) chunks: usize,
    pub(super) columns: u32,
    pub(super) rows: Rows,
    pub(super) index: [Section; 3],
    pub(super) chunk_metas: Section,
    pub(super) counters: Section,
    pub(super) used: Section,
    pub(super) intents: Section,
    /// Of published classes, for each column.
    pub(super) hints: Section,
    pub(super) pages: Section,
    pub(super) spans: Section,
    pub(super) live: Section,
    pub(super) remote: Section,
    /// The last: prefaulting may leave them out.
    pub(super) blocks: Section,
    pub(super) layout: Layout,
}

/// Metadata takes at most so much of the capacity, if fewer rows of cells can bring that about.
const METADATA_PERCENT: usize = 3;

/// Prefaulting touches the columns' blocks up to so many bytes, however small user memory is: those of 327 columns with all rows.
const BLOCKS_TOUCHED: usize = 64 << 20;

/// Bytes from a page's start to the page entries. A load waits for a store before it at the same place of another page, and in some
/// arenas, by where their pages lie in memory, for long. So the first spans' entries and live words have other places in their
/// pages than the cells of common sizes, the handles and the held free.
const PAGES_PHASE: usize = 0x200;
/// The same to the live map.
const LIVE_PHASE: usize = 0x4b0;

impl Shape {
    /// The shape of an arena with `options` in memory of its own: pages that are not touched cost nothing.
    ///
    /// # Errors
    /// [`Error::Capacity`], [`Error::ColumnCount`].
    pub(crate) fn of(options: &Options) -> Result<Self> {
        Self::with_rows(options, Rows::with_all_zones(options.width))
    }

    /// The shape of an arena with `options` in a file or in given memory, where every page counts: with as many rows
    /// of cells as leave metadata at 3 % of the capacity.
    ///
    /// # Errors
    /// As [`Shape::of`].
    pub(crate) fn fitted(options: &Options) -> Result<Self> {
        let mut shape = Self::of(options)?;
        for rows in Rows::CHOICES {
            shape = Self::with_rows(options, rows)?;
            let capacity = shape.chunks * CHUNK;
            if (shape.bytes() - capacity) * 100 <= capacity * METADATA_PERCENT {
                break;
            }
        }
        Ok(shape)
    }

    fn with_rows(options: &Options, rows: Rows) -> Result<Self> {
        let chunks = chunks_for(options.capacity)?;
        if options.columns == 0 || options.columns > COLUMNS_MAX {
            return Err(Error::ColumnCount(options.columns));
        }
        let all = chunks + 1;
        let spans = all * CHUNK_SPANS;
        let columns = options.columns as usize;
        let mut layout = Layout::default();
        let word = size_of::<AtomicU64>();
        let leaves = all.div_ceil(64);
        let middle = leaves.div_ceil(64);
        let index = [leaves, middle, middle.div_ceil(64)].map(|words| layout.section(words, word));
        Ok(Self {
            chunks,
            columns: options.columns,
            rows,
            index,
            chunk_metas: layout.section(all, size_of::<ChunkMeta>()),
            counters: layout.section(1, size_of::<Counters>()),
            used: layout.section(columns.div_ceil(64), word),
            intents: layout.section(INTENTS, size_of::<Intent>()),
            pages: layout.section_at(PAGES_PHASE, spans, size_of::<PageEntry>()),
            spans: layout.section(spans, size_of::<SpanMeta>()),
            live: layout.section_at(LIVE_PHASE, spans * SPAN_WORDS, word),
            remote: layout.section(spans * SPAN_WORDS, word),
            hints: layout.section(columns * CLASS_COUNT, size_of::<AtomicU32>()),
            blocks: Blocks::section(&mut layout, options.columns, rows),
            layout,
        })
    }

    /// The shape that a header describes; `None` if no such arena has a region of that extent.
    pub(super) fn described(options: &Options, described: Described) -> Option<Self> {
        let Described { columns, rows, extent } = described;
        let options = Options { columns, capacity: extent.chunks * CHUNK, ..*options };
        let shape = Self::with_rows(&options, Rows::numbered(rows)?).ok()?;
        (shape.layout.bytes() == extent.metadata_bytes).then_some(shape)
    }

    /// What this shape and extent become with the capacity that `options` ask for; they stay if it is smaller. If it is the same, only
    /// the metadata may have to move: a growth was killed before it had come to its place.
    pub(super) fn grown(&self, options: &Options, extent: Extent) -> Result<(Self, Extent)> {
        let shape = Self::with_rows(options, self.rows)?;
        if shape.chunks < self.chunks {
            return Ok((*self, extent));
        }
        Ok((shape, extent.grown(shape.chunks, shape.layout.bytes())))
    }

    /// The extent of a new region of this shape.
    pub(super) fn extent(&self) -> Extent {
        Extent::fresh(self.chunks, self.layout.bytes())
    }

    /// What the header of a region of this shape says.
    pub(super) fn describe(&self, extent: Extent) -> Described {
        Described { columns: self.columns, rows: self.rows.number(), extent }
    }

    /// Bytes of metadata that prefaulting touches: all, but for the columns' blocks, which come last,
    /// if they take more than user memory and [`BLOCKS_TOUCHED`].
    fn prefaulted(&self) -> usize {
        let blocks = self.columns as usize * Blocks::stride(self.rows);
        if blocks <= BLOCKS_TOUCHED.max(self.chunks * CHUNK) { self.layout.bytes() } else { self.layout.bytes() - blocks }
    }

    /// Bytes that such an arena takes, metadata included.
    pub(crate) fn bytes(&self) -> usize {
        self.extent().bytes()
    }

    /// How its region is mapped.
    pub(super) fn region_options(&self, options: &Options) -> RegionOptions {
        RegionOptions { prefault_metadata: self.prefaulted(), ..options.region }
    }

    /// The shape of a region that was found, if it is what `options` ask for or smaller.
    pub(super) fn found(options: &Options, described: Described) -> Result<Self> {
        let shape = Self::described(options, described).ok_or(Error::Config("its header is damaged: it describes no arena"))?;
        if described.columns != options.columns {
            return Err(Error::Columns { has: described.columns, asked: options.columns });
        }
        if shape.chunks > chunks_for(options.capacity)? {
            return Err(Error::Shrinks { has: shape.chunks * CHUNK, asked: options.capacity });
        }
        Ok(shape)
    }

    /// Where the columns' blocks lie, in a region whose metadata starts at `metadata`.
    pub(crate) fn blocks(&self, metadata: usize) -> core::ops::Range<usize> {
        self.blocks.range(metadata)
    }

    /// Where the block of column `index` lies.
    pub(crate) fn block(&self, metadata: usize, index: u32) -> core::ops::Range<usize> {
        let (blocks, stride) = (self.blocks(metadata), Blocks::stride(self.rows));
        let start = blocks.start + index as usize * stride;
        start..start + stride
    }

    /// What is known of the spans: the truth, with what is derived from it in between.
    pub(crate) fn known(&self) -> [Section; 4] {
        [self.pages, self.spans, self.live, self.remote]
    }

    /// Copies what is known of the spans, and the columns' limits, to where another shape and extent have it; all else there is zero.
    pub(super) fn copy_known(&self, from: Extent, shape: &Self, to: Extent, region: &Region) {
        for part in region.written(to.metadata..to.bytes()) {
            region.zero(part);
        }
        for (old, new) in self.known().into_iter().zip(shape.known()) {
            let (old, new) = (old.range(from.metadata), new.range(to.metadata));
            for part in region.written(old.clone()) {
                region.copy(part.clone(), new.start + (part.start - old.start));
            }
        }
        for index in 0..self.columns {
            // What a program has set, and nothing else of a column's block.
            let limit = |shape: &Self, extent: Extent| shape.block(extent.metadata, index).start + ColumnBlock::LIMIT;
            let (from, to) = (limit(self, from), limit(shape, to));
            if !region.written(from..from + 1).is_empty() {
                region.copy(from..from + size_of::<AtomicI64>(), to);
            }
        }
    }

    /// The parts of the metadata that are derived: all but what is known of the spans, and the columns' blocks.
    pub(crate) fn derived(&self) -> [Section; 8] {
        let [leaves, middle, top] = self.index;
        [leaves, middle, top, self.chunk_metas, self.counters, self.used, self.intents, self.hints]
    }
}
