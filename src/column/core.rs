//! The core: the tables of an open arena, and what does not belong to one column.

use super::block::{Blocks, ColumnBlock, Hold};
use super::cell::Cell;
use super::held::Handle;
use super::remote::RemoteFree;
use super::rows::{CellId, Row, Rows};
use super::shape::Shape;
use crate::error::{Error, Result};
use crate::map::{ChunkId, Granule, Owner, PageEntry, SpanId};
use crate::region::header::{Copied, Described, Found, Header};
use crate::region::{
    Backing, Extent, GIVEN, Given, Layout, Mapping, PAGE, Plain, Region, RegionFile, RegionOptions, TRUNCATED, Table, check_pages, named,
};
use crate::size_class::{CHUNK, CLASS_COUNT, Class, GRANULE, SPAN, Width};
use crate::span::{ChunkIndex, ChunkMeta, Inbox, IndexWords, Intent, Parked, Passings, SpanMeta};
use crate::sync::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::path::Path;

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
    /// Of zones' cells, if the arena has memory of its own: narrow ones take less for each column, and bursts of frees longer.
    pub(crate) width: Width,
}

impl Options {
    /// Those of a region that is only looked at.
    fn described(described: Described) -> Self {
        let Described { columns, extent, .. } = described;
        let region = RegionOptions::default();
        Self { capacity: extent.chunks * CHUNK, columns, region, abort: false, zero_freed: false, no_zones: false, width: Width::Wide }
    }
}

/// How often a region that grows meanwhile is looked at.
const LOOKS: u32 = 8;

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
    pub(crate) reported: AtomicI64,
    /// The highest of them.
    pub(crate) peak: AtomicI64,
    /// The most allocations that a snapshot has told of.
    pub(crate) told_allocs: AtomicU64,
    /// The most frees.
    pub(crate) told_frees: AtomicU64,
    /// 1 while a thread maintains the arena.
    pub(crate) maintaining: AtomicU32,
    /// Where maintenance goes on: a column, then chunks.
    pub(crate) cursor: AtomicU64,
    /// Chains that nobody could walk to their end.
    pub(crate) parked: Parked,
    /// Intents of publications that were ever taken: those behind are nobody's.
    pub(crate) intents: AtomicU32,
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

/// An open arena's tables.
pub(crate) struct Core {
    pub(crate) region: Region,
    pub(crate) options: Options,
    pub(crate) shape: Shape,
    pub(crate) header: Header,
    pub(crate) index: ChunkIndex,
    pub(crate) chunks: Table<ChunkMeta>,
    pub(crate) pages: Table<PageEntry>,
    pub(crate) spans: Table<SpanMeta>,
    pub(crate) live: Table<AtomicU64>,
    pub(crate) remote: Table<AtomicU64>,
    pub(crate) columns: Blocks,
    hints: Table<AtomicU32>,
    used: Table<AtomicU64>,
    pub(crate) intents: Table<Intent>,
    counters: Table<Counters>,
    handles: Table<Handle>,
    handles_mapping: Mapping,
    pub(crate) passings: Passings,
}

// SAFETY: all shared state is atomic; what is not (handles) is reached only with the column's lease (L1), but for what does not
// change once others may reach it (L4).
unsafe impl Send for Core {}
// SAFETY: as above.
unsafe impl Sync for Core {}

impl Core {
    /// Opens a region, or makes a new one: then the arena in it is empty. What is said of one that was there before is
    /// checked, but not yet what is in it; it has not been changed. May call the system.
    pub(crate) fn open(options: Options, backing: &Backing) -> Result<(Self, Found)> {
        check_pages()?;
        match backing {
            Backing::Anonymous => {
                let shape = Shape::of(&options)?;
                let region = Region::anonymous(shape.extent(), shape.region_options(&options))?;
                let core = Self::over(region, &shape, options)?;
                core.found_new();
                Ok((core, Found::Nothing))
            }
            Backing::File { path, create_new } => Self::open_file(options, RegionFile::open(path, *create_new)?),
            Backing::Given(memory) => Self::open_memory(options, *memory),
        }
    }

    fn open_file(options: Options, mut file: RegionFile) -> Result<(Self, Found)> {
        let found = match file.header()? {
            None => Found::Nothing,
            Some(header) => header.read().map_err(|why| file.damaged(why))?,
        };
        let sparse = options.region.sparse;
        let (Found::Closed(described) | Found::Unclosed(described)) = found else {
            let shape = Shape::fitted(&options)?;
            let header = Copied::new(shape.describe(shape.extent()));
            file.create(&header, shape.extent().bytes(), sparse)?;
            let region = Region::in_file(shape.extent(), shape.bytes(), file, shape.region_options(&options))?;
            let mut core = Self::over(region, &shape, options)?;
            core.found_new();
            core.region.keep();
            return Ok((core, Found::Nothing));
        };
        let shape = Shape::found(&options, described).map_err(|why| match why {
            Error::Config(why) => file.damaged(why),
            why => why,
        })?;
        if file.bytes()? < described.extent.bytes() {
            return Err(file.damaged(TRUNCATED));
        }
        let (from, to) = (described.extent, shape.grown(&options, described.extent)?.1);
        let bytes = from.bytes_on_the_way(to);
        if to == from {
            file.reserve(bytes, sparse)?;
        } else {
            file.grow(bytes, sparse)?;
        }
        let region = Region::in_file(from, bytes, file, shape.region_options(&options))?;
        Ok((Self::over(region, &shape, options)?, found))
    }

    fn open_memory(options: Options, memory: Given) -> Result<(Self, Found)> {
        if !memory.base.addr().get().is_multiple_of(PAGE) {
            return Err(Error::Config("the given memory must start at a multiple of 4096"));
        }
        if memory.base.addr().get().checked_add(memory.bytes).is_none_or(|end| end > isize::MAX as usize) {
            return Err(Error::Config("the given memory reaches beyond the end of the address space; its size cannot be right"));
        }
        let fresh = Shape::fitted(&options)?;
        let damaged = |why| Error::Format { name: GIVEN, why };
        let found = match (memory.bytes >= PAGE).then(|| memory.header()) {
            None => return Err(Error::GivenMemory { needed: fresh.bytes(), given: memory.bytes }),
            Some(header) if header.is_zero() => Found::Nothing,
            Some(header) => header.read().map_err(damaged)?,
        };
        let (Found::Closed(described) | Found::Unclosed(described)) = found else {
            let extent = Extent::in_memory(&memory, fresh.chunks, fresh.layout.bytes())?;
            let mut region = Region::in_memory(extent, extent.bytes(), memory);
            region.prepare(fresh.region_options(&options))?;
            region.zero(extent.metadata..extent.bytes());
            let core = Self::over(region, &fresh, options)?;
            core.found_new();
            return Ok((core, Found::Nothing));
        };
        let shape = Shape::found(&options, described).map_err(|why| match why {
            Error::Config(why) => damaged(why),
            why => why,
        })?;
        let needed = described.extent.bytes_on_the_way(shape.grown(&options, described.extent)?.1);
        if memory.bytes < needed {
            return Err(Error::GivenMemory { needed, given: memory.bytes });
        }
        let mut region = Region::in_memory(described.extent, needed, memory);
        let (has, needed) = (region.alignment(), region.header().alignment());
        if needed > has {
            return Err(Error::GivenAlignment { at: memory.base.addr().get(), has, needed });
        }
        region.prepare(shape.region_options(&options))?;
        Ok((Self::over(region, &shape, options)?, found))
    }

    /// Lays the tables over a copy of what the region file at `path` says of itself at this moment, whoever has it open.
    /// Nothing but the header was checked: every number in the tables may be any.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Format`].
    pub(crate) fn look(path: &Path) -> Result<(Self, Found)> {
        let described = |file: &RegionFile| -> Result<(Found, Described)> {
            let header = file.header()?.ok_or_else(|| file.damaged("it is empty: no region yet"))?;
            match header.read().map_err(|why| file.damaged(why))? {
                Found::Nothing => Err(file.damaged("no region yet: it is being created, or its creation was cut short")),
                found @ (Found::Closed(described) | Found::Unclosed(described)) => Ok((found, described)),
            }
        };
        // A region that grows meanwhile has its metadata elsewhere from then on. It grows only when it is opened.
        for _ in 0..LOOKS {
            let file = RegionFile::look(path)?;
            let (found, first) = described(&file)?;
            let options = Options::described(first);
            let shape = Shape::described(&options, first).ok_or_else(|| file.damaged("its header is damaged: it describes no arena"))?;
            let fits = |file: &RegionFile| Ok(file.bytes()? >= first.extent.bytes());
            let region = if fits(&file)? { Region::copied(first.extent, file) } else { Err(file.damaged(TRUNCATED)) };
            // By then it may have grown, and what it took on the way may be cut off.
            let file = RegionFile::look(path)?;
            if described(&file)?.1 == first {
                // What was cut off while it was read may have read as a hole.
                return if fits(&file)? { Ok((Self::over(region?, &shape, options)?, found)) } else { Err(file.damaged(TRUNCATED)) };
            }
        }
        Err(Error::Format { name: named(path), why: "it was opened and grown again and again while it was read" })
    }

    /// Lays the tables over a region.
    fn over(region: Region, shape: &Shape, options: Options) -> Result<Self> {
        let handles = map_handles(&options)?;
        Ok(Self::lay(region, shape, options, handles))
    }

    fn lay(region: Region, shape: &Shape, options: Options, (handles_mapping, handles): (Mapping, Table<Handle>)) -> Self {
        Self {
            index: ChunkIndex {
                leaves: region.table(shape.index[0]),
                middle: region.table(shape.index[1]),
                top: region.table(shape.index[2]),
            },
            chunks: region.table(shape.chunk_metas),
            counters: region.table(shape.counters),
            used: region.table(shape.used),
            intents: region.table(shape.intents),
            hints: region.table(shape.hints),
            columns: Blocks::new(&region, shape.blocks, shape.rows),
            pages: region.table(shape.pages),
            spans: region.table(shape.spans),
            live: region.table(shape.live),
            remote: region.table(shape.remote),
            handles,
            handles_mapping,
            passings: Passings::new(),
            header: region.header(),
            region,
            shape: *shape,
            options: Options { capacity: shape.chunks * CHUNK, ..options },
        }
    }

    /// Makes a new, empty arena of a zeroed region.
    fn found_new(&self) {
        self.header.write(&Copied::new(self.shape.describe(self.region.extent())));
        self.index.give_all(ChunkId(1), ChunkId(self.chunks.len() as u32));
        self.header.set_open();
    }

    /// The same arena with the capacity that was asked for, for which there is room: what is known of the spans is copied
    /// to where it belongs then, by way of a place aside if it would overlap what holds. It has to be recovered once more; it was
    /// just now, so nothing else is worth keeping.
    ///
    /// # Errors
    /// [`Error::Os`] if the system has no memory for the handles: then the region is as it was, and closed.
    pub(crate) fn grow(self, capacity: usize) -> Result<(Self, Found)> {
        let options = Options { capacity, ..self.options };
        let (mut shape, mut extent) = (self.shape, self.region.extent());
        let (grown, to) = shape.grown(&options, extent)?;
        let Self { mut region, header, handles_mapping, .. } = self;
        // First: what has begun to grow cannot fail. Nobody has a handle yet, and as many as before have room again.
        drop(handles_mapping);
        let handles = map_handles(&options).inspect_err(|_| header.set_closed())?;
        // What an earlier try, or another program, has left behind the region is not to be found in what it becomes.
        for part in region.written_behind(extent.bytes_on_the_way(to)) {
            region.zero(part);
        }
        while extent != to {
            let next = extent.on_the_way(to);
            shape.copy_known(extent, &grown, next, &region);
            header.set_extent(next);
            // What was metadata becomes user memory, perhaps: it is not to be found there, unless the process is killed just now.
            for part in region.written(extent.metadata..extent.bytes()) {
                region.zero(part);
            }
            (shape, extent) = (grown, next);
        }
        region.set_extent(to);
        region.keep();
        region.prepare_anew(shape.region_options(&options));
        Ok((Self::lay(region, &shape, options, handles), Found::Unclosed(shape.describe(to))))
    }

    /// Whether a region with this capacity is laid out otherwise: it is larger, or a growth was killed before the metadata had come to
    /// its place.
    pub(crate) fn is_to_grow(&self, capacity: usize) -> Result<bool> {
        let (_, to) = self.shape.grown(&Options { capacity, ..self.options }, self.region.extent())?;
        Ok(to != self.region.extent())
    }

    /// The parts of the region that may have been written to: the header, the chunks that were used, the metadata.
    pub(crate) fn written_parts(&self) -> Vec<core::ops::Range<usize>> {
        let extent = self.region.extent();
        let used = self.chunk_ids().filter(|&chunk| self.chunk(chunk).dirty.load(Relaxed) != 0);
        let chunks = used.map(|chunk| extent.data + (chunk.index() - 1) * CHUNK).map(|start| start..start + CHUNK);
        core::iter::once(0..PAGE).chain(chunks).chain(core::iter::once(extent.metadata..extent.bytes())).collect()
    }

    /// Closes the region: nothing is in flight, and nothing will be. In a forked child it stays open: its parent goes on with it.
    pub(crate) fn close(&self) {
        if !self.region.is_inherited() {
            self.header.set_closed();
        }
    }

    /// The rows of cells that columns have.
    pub(crate) fn rows(&self) -> Rows {
        self.shape.rows
    }

    /// The row of cells for a spike time's zone.
    pub(crate) fn row_of_zone(&self, zone: usize) -> Row {
        self.shape.rows.of_zone(if self.options.no_zones { 0 } else { zone })
    }

    /// The inbox of the cell at `offset` bytes from the block of column `index`, which has spans of its own (L4). What was
    /// read of a span that has another owner by now may be the offset of no cell: then any inbox will do.
    #[inline(always)]
    pub(crate) fn inbox(&self, index: u32, offset: u32) -> &Inbox {
        &self.handle(index).cell_at(self.columns.cell_near(offset)).open().inbox
    }

    /// The word for the shared span of a cell that had room lately, or of a published class. A hint: its state decides.
    #[inline(always)]
    pub(crate) fn hint<const PUBLISHED: bool>(&self, index: u32, id: CellId) -> &AtomicU32 {
        if PUBLISHED {
            return self.published_hint(index, id.offset());
        }
        self.columns.cell_of(index, id).open().hint()
    }

    /// The same of a cell that is given by its offset.
    #[inline(always)]
    pub(crate) fn hint_at(&self, index: u32, offset: u32) -> &AtomicU32 {
        if self.columns.cell_near(offset) == offset {
            self.columns.cell(index, offset).open().hint()
        } else {
            self.published_hint(index, offset)
        }
    }

    #[cold]
    #[inline(never)]
    fn published_hint(&self, index: u32, offset: u32) -> &AtomicU32 {
        self.hints.at(index as usize * CLASS_COUNT + CellId::at_offset(offset).class())
    }

    /// Columns of the arena.
    #[inline(always)]
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
        self.columns.at(index)
    }

    /// The block of a column that has spans which its holder gives and takes the slots of: a load less than [`Core::block`].
    #[inline(always)]
    pub(crate) fn held_block(&self, index: u32) -> &ColumnBlock {
        // L4: who owned such a span first had set the handle up.
        self.handle(index).block()
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

    /// A column's bytes have changed by `bytes`; they were at most `above` higher meanwhile, and `peak` at most.
    pub(crate) fn report(&self, bytes: i64, above: i64, peak: i64) {
        let counters = self.counters();
        let reported = counters.reported.fetch_add(bytes, Relaxed) + bytes;
        counters.raise_peak(peak.max(reported + above));
    }

    /// Notes that a column is in use, for those who look through all of them.
    pub(crate) fn note_used(&self, index: u32) {
        let word = self.used.at(index as usize / 64);
        if word.load(Relaxed) >> (index % 64) & 1 == 0 {
            word.fetch_or(1 << (index % 64), Relaxed);
        }
    }

    /// Whether a column is in use.
    pub(crate) fn is_used(&self, index: u32) -> bool {
        self.used.at(index as usize / 64).load(Relaxed) >> (index % 64) & 1 != 0
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

    /// The granule at `p`, if `p` lies on a granule's start in user memory, or in the chunk before it that does not exist.
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

    /// The cell at `offset` bytes from the block of column `index`; the first one if none can lie there.
    pub(crate) fn cell(&self, index: u32, offset: u32) -> Cell {
        self.columns.cell(index, offset)
    }

    /// The first span of a span's run; itself for a large block.
    #[inline(always)]
    pub(crate) fn head_of(&self, span: SpanId) -> SpanId {
        self.page(span).owner().head(span)
    }

    /// The size class of a span's slots, or of its run's; any for a span without. As of this moment.
    #[inline(always)]
    pub(crate) fn class_of(&self, span: SpanId) -> &'static Class {
        CellId::of(self.page(span).read()).class_of()
    }

    /// Where a block lies: its span's owner, the run's first span, class and unit. `granule` may be
    /// any granule of the run.
    #[inline(always)]
    pub(crate) fn place(&self, granule: Granule) -> Place {
        self.place_under(granule, self.page(granule.span()).owner())
    }

    /// The same for a granule whose span's owner is known.
    #[inline(always)]
    pub(crate) fn place_under(&self, granule: Granule, owner: Owner) -> Place {
        let head = owner.head(granule.span());
        Place { owner, cell: CellId::of(self.page(granule.span()).read()), head }
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
        if owner.is_shared() {
            return self.free_shared(granule, index, owner);
        }
        let Some(sent) = self.free_remote(granule, index, owner) else { return Err(self.why_not_live(granule, owner)) };
        if sent.to_push {
            self.announce(sent.head);
        }
        Ok(Freed::new(index, sent.granules))
    }

    #[cold]
    #[inline(never)]
    fn zero_and_free(&self, granule: Granule, index: u32, owner: Owner) -> core::result::Result<Freed, Misuse> {
        let place = self.place_under(granule, owner);
        let live = if owner.is_shared() {
            self.live_word(granule).load(Relaxed) & granule.bit() != 0
        } else {
            self.remote_free(granule, index, owner).is_live(granule)
        };
        if live {
            self.zero(granule, place.class().bytes as usize);
        }
        self.free_slot(granule, index, owner)
    }

    /// Frees a block of column `index`, in a span of `owner`, through the remote map: wait-free. `None` if none is live there.
    #[inline(always)]
    pub(crate) fn free_remote(&self, granule: Granule, index: u32, owner: Owner) -> Option<Sent> {
        let (head, unit, granules) = self.remote_free(granule, index, owner).free(granule, |entry| {
            let head = entry.owner().head(granule.span());
            let class = CellId::of(entry).class_of();
            (head, class.unit(granule.0 - head.first().0), class.granules)
        })?;
        let to_push = self.span(head).pending.announce(1 << unit);
        Some(Sent { head, granules: u64::from(granules), to_push })
    }

    /// What is wrong with a free in a span of `owner` that finds no live block.
    #[cold]
    #[inline(never)]
    pub(crate) fn why_not_live(&self, granule: Granule, owner: Owner) -> Misuse {
        Self::not_live(granule, self.place_under(granule, owner))
    }

    #[inline(always)]
    fn remote_free(&self, granule: Granule, index: u32, owner: Owner) -> RemoteFree<'_> {
        let hold = if owner.is_run() { Hold::Run } else { Hold::Small };
        RemoteFree {
            page: self.page(granule.span()),
            hold: self.held_block(index).holds.word(hold),
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
        // A copy, so that its address is loaded once.
        let pages = self.pages;
        each_in_fours(head.index()..head.index() + spans as usize, |span| pages.at(span).leave());
        self.block(index).open.refund(spans);
        self.chunk(head.chunk()).map.give(head.place(), spans);
    }
}

/// Maps the handles of an arena's columns, all zero. Calls the system.
fn map_handles(options: &Options) -> Result<(Mapping, Table<Handle>)> {
    let mut layout = Layout::default();
    let handles = layout.section(options.columns as usize, size_of::<Handle>());
    let mut mapping = Mapping::anonymous(layout.bytes())?;
    if options.region.lock {
        mapping.lock()?;
    }
    if options.region.prefault {
        mapping.prefault(0, layout.bytes());
    }
    let handles = mapping.table(0, handles);
    Ok((mapping, handles))
}

/// The same error, told of the request and not of the slot that would have served it. Alignment 0 asks for the least.
pub(crate) fn asked_for(error: Error, size: usize, align: usize) -> Error {
    if let Error::NoMemory { .. } = error { Error::NoMemory { size, align: align.max(GRANULE) } } else { error }
}

/// Where a block lies.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) owner: Owner,
    pub(crate) cell: CellId,
    pub(crate) head: SpanId,
}

impl Place {
    /// Its class; not for large blocks.
    pub(crate) fn class(&self) -> &'static Class {
        self.cell.class_of()
    }
}

/// A block that was freed through the remote map.
pub(crate) struct Sent {
    /// Its span, or the first of its run.
    pub(crate) head: SpanId,
    /// Its size.
    pub(crate) granules: u64,
    /// Whether the span is to be pushed onto its inbox ([`Core::announce`]).
    pub(crate) to_push: bool,
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

/// Calls `each` with each of some numbers, four a turn; the last turn may repeat up to three of them. For the spans of a run, which
/// are most of what taking it and giving it back costs.
#[inline(always)]
pub(crate) fn each_in_fours(numbers: core::ops::Range<usize>, mut each: impl FnMut(usize)) {
    let (mut next, end) = (numbers.start, numbers.end);
    if numbers.len() < 4 {
        numbers.for_each(each);
        return;
    }
    while next + 4 < end {
        (0..4).for_each(|step| each(next + step));
        next += 4;
    }
    (0..4).for_each(|step| each(end - 4 + step));
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
