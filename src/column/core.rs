//! The core: the tables of an open arena, and what does not belong to one column.

use super::block::ColumnBlock;
use super::cell::Cell;
use super::held::Handle;
use super::remote::RemoteFree;
use crate::error::{Error, Result};
use crate::map::{ChunkId, Granule, Owner, PageEntry, SpanId};
use crate::region::{Layout, Mapping, Plain, Region, RegionOptions, Section, Table, chunks_for};
use crate::size_class::{CHUNK, CHUNK_SPANS, Class, GRANULE, SPAN, SPAN_WORDS};
use crate::span::{ChunkIndex, ChunkMeta, IndexWords, Parked, SpanMeta};
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Most columns of an arena.
pub(crate) const COLUMNS_MAX: u32 = 1 << 16;

/// What an arena is opened with. Checked by [`Shape::of`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) capacity: usize,
    pub(crate) columns: u32,
    pub(crate) region: RegionOptions,
    /// Misuse prints one line and aborts.
    pub(crate) abort: bool,
    /// Freed memory is zeroed.
    pub(crate) zero_freed: bool,
    /// Single allocations ignore their spike time.
    pub(crate) no_zones: bool,
}

/// Counters of the whole arena; cold paths only.
#[repr(C, align(128))]
pub(crate) struct Counters {
    /// Allocations refused.
    pub(crate) failed: AtomicU64,
    /// Frees refused.
    pub(crate) misuse: AtomicU64,
    /// Compare-and-swaps and claims that had to be tried again.
    pub(crate) retries: AtomicU64,
    /// Batch calls.
    pub(crate) batches: AtomicU64,
    /// Live bytes of all columns, as far as they have reported.
    pub(crate) reported: crate::sync::AtomicI64,
    /// The highest of them.
    pub(crate) peak: crate::sync::AtomicI64,
    /// 1 while a thread maintains the arena.
    pub(crate) maintaining: AtomicU32,
    /// Where maintenance goes on: a column, then chunks.
    pub(crate) cursor: AtomicU64,
    /// Chains that nobody could walk to their end.
    pub(crate) parked: Parked,
}

impl Counters {
    /// The peak is at least `bytes`. A lost race leaves the higher of the two.
    pub(crate) fn raise_peak(&self, bytes: i64) {
        let mut peak = self.peak.load(Relaxed);
        while bytes > peak {
            match self.peak.compare_exchange_weak(peak, bytes, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => peak = now,
            }
        }
    }
}

// SAFETY: atomics; zero is a valid count.
unsafe impl Plain for Counters {}

/// Where everything lies in a region of given columns and chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) chunks: usize,
    index: [Section; 3],
    chunk_metas: Section,
    counters: Section,
    used: Section,
    blocks: Section,
    pages: Section,
    spans: Section,
    live: Section,
    remote: Section,
    layout: Layout,
}

impl Shape {
    /// The shape of an arena with `options`.
    ///
    /// # Errors
    /// [`Error::Capacity`], [`Error::ColumnCount`].
    pub(crate) fn of(options: &Options) -> Result<Self> {
        let chunks = chunks_for(options.capacity)?;
        if options.columns == 0 || options.columns > COLUMNS_MAX {
            return Err(Error::ColumnCount(options.columns));
        }
        let all = chunks + 1;
        let spans = all * CHUNK_SPANS;
        let mut layout = Layout::default();
        let word = size_of::<AtomicU64>();
        let leaves = all.div_ceil(64);
        let middle = leaves.div_ceil(64);
        let index = [leaves, middle, middle.div_ceil(64)].map(|words| layout.section(words, word));
        Ok(Self {
            chunks,
            index,
            chunk_metas: layout.section(all, size_of::<ChunkMeta>()),
            counters: layout.section(1, size_of::<Counters>()),
            used: layout.section(options.columns.div_ceil(64) as usize, word),
            pages: layout.section(spans, size_of::<PageEntry>()),
            spans: layout.section(spans, size_of::<SpanMeta>()),
            live: layout.section(spans * SPAN_WORDS, word),
            remote: layout.section(spans * SPAN_WORDS, word),
            blocks: layout.section(options.columns as usize, size_of::<ColumnBlock>()),
            layout,
        })
    }

    /// Bytes of metadata that prefaulting touches: all, but for the columns' blocks, which come last,
    /// if they take more than user memory.
    fn prefaulted(&self) -> usize {
        let blocks = self.blocks.bytes(size_of::<ColumnBlock>());
        if blocks <= self.chunks * CHUNK { self.layout.bytes() } else { self.layout.bytes() - blocks }
    }

    /// Bytes that such an arena takes, metadata included.
    pub(crate) fn bytes(&self) -> usize {
        self.layout.bytes().next_multiple_of(CHUNK) + self.chunks * CHUNK
    }
}

/// An open arena's tables.
pub(crate) struct Core {
    pub(crate) region: Region,
    pub(crate) options: Options,
    pub(crate) index: ChunkIndex,
    pub(crate) chunks: Table<ChunkMeta>,
    pub(crate) pages: Table<PageEntry>,
    pub(crate) spans: Table<SpanMeta>,
    pub(crate) live: Table<AtomicU64>,
    pub(crate) remote: Table<AtomicU64>,
    pub(crate) columns: Table<ColumnBlock>,
    used: Table<AtomicU64>,
    counters: Table<Counters>,
    handles: Table<Handle>,
    _handles: Mapping,
}

// SAFETY: all shared state is atomic; what is not (handles) is reached only with the column's lease.
unsafe impl Send for Core {}
// SAFETY: as above.
unsafe impl Sync for Core {}

impl Core {
    /// Maps the region and opens an empty arena in it. May call the system.
    pub(crate) fn open(options: Options) -> Result<Self> {
        let shape = Shape::of(&options)?;
        let metadata = RegionOptions { prefault_metadata: shape.prefaulted(), ..options.region };
        let region = Region::anonymous(shape.layout, shape.chunks, metadata)?;
        let mut layout = Layout::default();
        let handles = layout.section(options.columns as usize, size_of::<Handle>());
        let mapping = Mapping::anonymous(layout.bytes())?;
        let core = Self {
            index: ChunkIndex {
                leaves: region.table(shape.index[0]),
                middle: region.table(shape.index[1]),
                top: region.table(shape.index[2]),
            },
            chunks: region.table(shape.chunk_metas),
            counters: region.table(shape.counters),
            used: region.table(shape.used),
            columns: region.table(shape.blocks),
            pages: region.table(shape.pages),
            spans: region.table(shape.spans),
            live: region.table(shape.live),
            remote: region.table(shape.remote),
            handles: mapping.table(handles),
            _handles: mapping,
            region,
            options: Options { capacity: shape.chunks * CHUNK, ..options },
        };
        for chunk in core.chunk_ids() {
            core.index.give(chunk);
        }
        Ok(core)
    }

    /// Columns of the arena.
    pub(crate) fn column_count(&self) -> u32 {
        self.options.columns
    }

    /// Checks a column's number.
    pub(crate) fn check_column(&self, index: u32) -> Result<()> {
        let columns = self.column_count();
        if index < columns { Ok(()) } else { Err(Error::ColumnOutOfRange { asked: index, columns }) }
    }

    /// The handle of a column; to be used by who has its lease.
    #[inline(always)]
    pub(crate) fn handle(&self, index: u32) -> &Handle {
        self.handles.at(index as usize)
    }

    /// A column's block.
    #[inline(always)]
    pub(crate) fn block(&self, index: u32) -> &ColumnBlock {
        self.columns.at(index as usize)
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.counters.at(0)
    }

    /// Counts failed tries.
    pub(crate) fn count_retries(&self, failed: u64) {
        if failed != 0 {
            self.counters().retries.fetch_add(failed, Relaxed);
        }
    }

    /// A column's balance has changed by `bytes`, and was at most `above` higher meanwhile.
    pub(crate) fn report(&self, bytes: i64, above: i64) {
        let counters = self.counters();
        let reported = counters.reported.fetch_add(bytes, Relaxed) + bytes;
        counters.raise_peak(reported + above);
    }

    /// Notes that a column is in use, for those who look through all of them.
    pub(crate) fn note_used(&self, index: u32) {
        let word = self.used.at(index as usize / 64);
        if word.load(Relaxed) >> (index % 64) & 1 == 0 {
            word.fetch_or(1 << (index % 64), Relaxed);
        }
    }

    /// The columns in use, in order.
    pub(crate) fn used_columns(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.used.len()).flat_map(|word| {
            let bits = self.used.at(word).load(Relaxed);
            (0..64).filter(move |bit| bits >> bit & 1 != 0).map(move |bit| word as u32 * 64 + bit)
        })
    }

    /// The chunks, in address order.
    pub(crate) fn chunk_ids(&self) -> impl Iterator<Item = ChunkId> + use<> {
        (1..self.chunks.len() as u32).map(ChunkId)
    }

    /// The granule at `p`, if `p` lies in user memory on a granule's start.
    #[inline(always)]
    pub(crate) fn granule(&self, p: *const u8) -> Option<Granule> {
        // A pointer off the grid has bits in the four highest places after the rotation.
        let granule = (p.addr().wrapping_sub(self.region.origin().addr()) as u64).rotate_right(4);
        (granule < self.region.granules()).then_some(Granule(granule))
    }

    /// The address of a granule.
    #[inline(always)]
    pub(crate) fn address(&self, granule: Granule) -> *mut u8 {
        self.region.origin().wrapping_add(granule.0 as usize * GRANULE)
    }

    /// The live word of a granule.
    #[inline(always)]
    pub(crate) fn live_word(&self, granule: Granule) -> &AtomicU64 {
        self.live.at(granule.word())
    }

    /// The remote word of a granule.
    #[inline(always)]
    pub(crate) fn remote_word(&self, granule: Granule) -> &AtomicU64 {
        self.remote.at(granule.word())
    }

    /// The page entry of a span.
    #[inline(always)]
    pub(crate) fn page(&self, span: SpanId) -> &PageEntry {
        self.pages.at(span.index())
    }

    /// What is known of a span.
    #[inline(always)]
    pub(crate) fn span(&self, span: SpanId) -> &SpanMeta {
        self.spans.at(span.index())
    }

    /// What is known of a chunk.
    #[inline(always)]
    pub(crate) fn chunk(&self, chunk: ChunkId) -> &ChunkMeta {
        self.chunks.at(chunk.index())
    }

    /// The cell that the slots of `span` belong to, in column `index`.
    pub(crate) fn cell(&self, index: u32, offset: u32) -> Cell {
        Cell::of(self.columns, index, offset)
    }

    /// The first span of the run of a span that is not large.
    #[inline(always)]
    pub(crate) fn head_of(&self, span: SpanId) -> SpanId {
        self.span(span).head()
    }

    /// Where a block lies: its span's owner, the run's first span, class and unit. `granule` may be
    /// any granule of the run.
    #[inline(always)]
    pub(crate) fn place(&self, granule: Granule) -> Place {
        let page = self.page(granule.span());
        let owner = page.owner();
        if owner.index().is_none() || owner.is_large() {
            let head = granule.span();
            return Place { owner, cell: page.cell(), head, class: self.span(head).class.load(Relaxed) };
        }
        self.place_in_run(granule, owner)
    }

    /// The same for a granule of a span, or run of spans, of slots, whose owner is known.
    #[inline(always)]
    pub(crate) fn place_in_run(&self, granule: Granule, owner: Owner) -> Place {
        let head = self.head_of(granule.span());
        Place { owner, cell: self.page(granule.span()).cell(), head, class: self.span(head).class.load(Relaxed) }
    }

    /// Frees the block at `granule`, in a span of `owner`, from a thread that does not hold its column:
    /// wait-free.
    #[inline(always)]
    pub(crate) fn free_unheld(&self, granule: Granule, owner: Owner) -> core::result::Result<Freed, Misuse> {
        let Some(index) = owner.index() else { return Err(Misuse::NoBlock) };
        if owner.is_large() {
            return self.free_large(granule, index);
        }
        if self.options.zero_freed { self.zero_and_free(granule, index, owner) } else { self.free_slot(granule, index, owner) }
    }

    #[inline(always)]
    fn free_slot(&self, granule: Granule, index: u32, owner: Owner) -> core::result::Result<Freed, Misuse> {
        if owner.is_shared() { self.free_shared(granule, index) } else { self.free_remote(granule, index) }
    }

    #[cold]
    #[inline(never)]
    fn zero_and_free(&self, granule: Granule, index: u32, owner: Owner) -> core::result::Result<Freed, Misuse> {
        let place = self.place_in_run(granule, owner);
        let live = if owner.is_shared() {
            self.live_word(granule).load(Relaxed) & granule.bit() != 0
        } else {
            self.remote_free(granule, index).is_live(granule)
        };
        if live {
            self.zero(granule, place.class().bytes as usize);
        }
        self.free_slot(granule, index, owner)
    }

    /// Frees a block of column `index`, which somebody else holds: wait-free.
    #[inline(never)]
    fn free_remote(&self, granule: Granule, index: u32) -> core::result::Result<Freed, Misuse> {
        let located = self.remote_free(granule, index).free(granule, || {
            let head = self.head_of(granule.span());
            let class = Class::at(self.span(head).class.load(Relaxed));
            (head, class.unit(granule.0 - head.first().0), class.granules)
        });
        let Some((head, unit, granules)) = located else {
            return Err(Self::not_live(granule, self.place_in_run(granule, Owner::column(index))));
        };
        if self.span(head).pending.announce(1 << unit) {
            self.announce(head);
        }
        Ok(Freed::new(index, u64::from(granules)))
    }

    #[inline(always)]
    fn remote_free(&self, granule: Granule, index: u32) -> RemoteFree<'_> {
        RemoteFree {
            page: self.page(granule.span()),
            hold: self.block(index).holder.hold_word(),
            live: self.live_word(granule),
            remote: self.remote_word(granule),
        }
    }

    /// What is wrong with freeing a granule that starts no block that is handed out: the start of a slot
    /// was freed before or never given, anything else is no block.
    #[cold]
    #[inline(never)]
    pub(crate) fn not_live(granule: Granule, place: Place) -> Misuse {
        let offset = granule.0 - place.head.first().0;
        let class = place.class();
        let slot = offset / u64::from(class.granules);
        let starts = offset.is_multiple_of(u64::from(class.granules)) && slot < u64::from(class.slots);
        if starts { Misuse::Twice } else { Misuse::NoBlock }
    }

    /// Zeroes a block that is being freed.
    pub(crate) fn zero(&self, granule: Granule, bytes: usize) {
        // SAFETY: M1: the block is live and its owner gives it up, so nobody else touches it.
        unsafe { self.address(granule).write_bytes(0, bytes) };
    }

    /// Gives `spans` spans back to their chunk. The caller owns them, and no block is in them.
    #[inline(always)]
    pub(crate) fn return_spans(&self, index: u32, head: SpanId, spans: u32) {
        for span in head.0..head.0 + spans {
            self.page(SpanId(span)).leave();
        }
        self.block(index).open.refund(spans);
        self.chunk(head.chunk()).map.give(head.place(), spans);
    }
}

/// Where a block lies.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) owner: Owner,
    /// Bytes from the column's block to the cell.
    pub(crate) cell: u32,
    pub(crate) head: SpanId,
    class: u32,
}

impl Place {
    /// Its class; not for large blocks.
    pub(crate) fn class(&self) -> &'static Class {
        Class::at(self.class)
    }
}

/// A block that was freed: whose it was, and its granules; in one register.
#[derive(Clone, Copy)]
pub(crate) struct Freed(u64);

impl Freed {
    const COLUMN_BITS: u32 = 18;

    pub(crate) const fn new(index: u32, granules: u64) -> Self {
        Self(granules << Self::COLUMN_BITS | index as u64)
    }

    /// The column's index.
    pub(crate) const fn index(self) -> u32 {
        self.0 as u32 & ((1 << Self::COLUMN_BITS) - 1)
    }

    pub(crate) const fn granules(self) -> u64 {
        self.0 >> Self::COLUMN_BITS
    }
}

/// Why a pointer was not freed.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Misuse {
    /// No block starts there.
    NoBlock,
    /// The block there is free.
    Twice,
}

impl Misuse {
    /// The error, for a free of `p`.
    pub(crate) fn of(self, p: *const u8) -> Error {
        match self {
            Self::NoBlock => Error::BadPointer(p.addr()),
            Self::Twice => Error::DoubleFree(p.addr()),
        }
    }
}

/// Bytes of `spans` spans.
pub(crate) const fn span_bytes(spans: u64) -> usize {
    spans as usize * SPAN
}

impl Core {
    /// Counts `spans` spans against the limit of column `index`.
    pub(crate) fn charge(&self, index: u32, spans: u32) -> Result<()> {
        let open = &self.block(index).open;
        if open.charge(spans) { Ok(()) } else { Err(self.quota(index, spans)) }
    }

    /// The error for `spans` more spans than the limit of column `index` allows.
    #[cold]
    pub(crate) fn quota(&self, index: u32, spans: u32) -> Error {
        let open = &self.block(index).open;
        let (limit, used) = (open.limit().unwrap_or(0), open.spans());
        Error::Quota { column: index, limit: span_bytes(limit), used: span_bytes(used), asked: span_bytes(u64::from(spans)) }
    }
}
