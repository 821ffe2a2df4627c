//! The region: one reservation of address space with everything of an arena in it.
//!
//! It is made at open, for the whole capacity: growing is flipping a bit, never a system call, and what is
//! not touched costs nothing. It is anonymous memory, a *region file*, or memory that the caller gave; the
//! layout is the same:
//!
//! ```text
//! | header |   | user memory, chunk by chunk        |   | chunk index | pages | spans | maps | columns |
//! '-4 KiB--'   '-2 MiB aligned (given memory: 32 KiB) '   '------ metadata, all zero at first ---------'
//!            gap                                     a page that nobody uses
//! ```
//!
//! The [`header`] says where things are. Metadata comes last, so that a file can grow: user memory becomes
//! longer, and the metadata is laid out anew behind it (see `Core::grow`).
//!
//! Inside the region everything refers by index, counted from one chunk *before* user memory:
//! chunk 0 (spans 0..64, granules 0..131072) does not exist, so that index 0 means "none"
//! and fresh, zeroed metadata is a valid, empty arena.
//!
//! Invariants
//! - **R1** the mapping outlives every table laid over it; it neither moves nor shrinks.
//! - **R2** sections are disjoint, aligned as their entries must be, and inside the mapping; fresh ones are zero. They begin at
//!   multiples of 128 bytes (from 4096 bytes on of 4096), but for those of [`Layout::section_at`], at a place of a fresh page that
//!   is chosen for them.
//! - **R3** the system's pages are no larger than [`PAGE`]: what it does to whole pages it does to those bytes alone. Asked for at each
//!   open ([`check_pages`]).

mod file;
pub(crate) mod header;
mod mapping;
mod opener;
mod snapshot;

use core::ops::Range;
use core::ptr::NonNull;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::size_class::{CHUNK, CHUNK_SPANS, GRANULE, SPAN, SPAN_GRANULES};
use crate::sync::{AtomicU64, Ordering::Relaxed};
pub(crate) use file::{RegionFile, TRUNCATED, is_open_elsewhere, named};
use header::{Copied, Header};
pub(crate) use mapping::{Mapping, Scratch, check_pages};
use opener::Opener;

/// Largest capacity in bytes.
pub(crate) const CAPACITY_MAX: usize = 1 << 40;
/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// Bytes of a pair of cache lines, which processors fetch together: what one section has of them, no other has.
const LINES: usize = 128;
/// Bytes from the start of a region to its user memory: a page for the header, and up to the next span.
const HEAD: usize = SPAN;

/// Types that may be laid over the region's zeroed memory.
///
/// # Safety
/// All-zero bytes are a valid value, and dropping does nothing. Fields that several threads use at the same time are atomics; whoever
/// uses another field, such as a handle's, names the invariant that makes it one thread's at a time (L1).
pub(crate) unsafe trait Plain {}

// SAFETY: an atomic integer of the same layout as its integer.
unsafe impl Plain for crate::sync::AtomicU64 {}
// SAFETY: as above.
unsafe impl Plain for crate::sync::AtomicU32 {}

/// A table in the region. `Copy`: a view, valid as long as the mapping (R1).
pub(crate) struct Table<T> {
    first: *const T,
    len: usize,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Table<T> {}

impl<T: Plain> Table<T> {
    /// The entry at `index`. Indices come from ids, which are kept inside the arena where they are
    /// made (S1 in `span`): debug builds check it again.
    #[inline(always)]
    pub(crate) fn at(&self, index: usize) -> &T {
        debug_assert!(index < self.len, "{index} of {}", self.len);
        // SAFETY: R1 and R2: `first..first+len` is inside the mapping, initialised, and `Plain`.
        unsafe { &*self.first.add(index) }
    }

    /// The address of the first entry.
    pub(crate) fn as_ptr(&self) -> *const T {
        self.first
    }

    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Mapping {
    /// The table of a section of what starts at byte `start` of this mapping.
    pub(crate) fn table<T: Plain>(&self, start: usize, section: Section) -> Table<T> {
        let first = start + section.offset;
        let table = self.base().as_ptr().wrapping_add(first).cast::<T>();
        assert!(first + section.len * size_of::<T>() <= self.len() && table.is_aligned(), "R2");
        Table { first: table, len: section.len }
    }
}

/// Where a section lies in the metadata, and how many entries it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    offset: usize,
    len: usize,
    bytes: usize,
}

impl Section {
    /// Its bytes in a region whose metadata starts at `metadata`.
    pub(crate) const fn range(&self, metadata: usize) -> Range<usize> {
        metadata + self.offset..metadata + self.offset + self.bytes
    }

    /// The bytes there of some of its entries.
    pub(crate) const fn part(&self, metadata: usize, entries: Range<usize>) -> Range<usize> {
        let (start, each) = (metadata + self.offset, self.bytes / self.len);
        start + entries.start * each..start + entries.end * each
    }

    /// The entries of which some of these bytes are.
    pub(crate) const fn entries(&self, metadata: usize, bytes: Range<usize>) -> Range<usize> {
        let (start, each) = (metadata + self.offset, self.bytes / self.len);
        (bytes.start - start) / each..(bytes.end - start).div_ceil(each)
    }
}

/// The layout of a region, computed before it is mapped. All sizes in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    end: usize,
}

impl Layout {
    /// Appends a section of `len` entries of `size` bytes.
    pub(crate) fn section(&mut self, len: usize, size: usize) -> Section {
        let bytes = len * size;
        // Small ones share a page.
        let offset = self.end.next_multiple_of(if bytes < PAGE { LINES } else { PAGE });
        self.end = offset + bytes;
        Section { offset, len, bytes }
    }

    /// The same, beginning `phase` bytes after a page's start.
    pub(crate) fn section_at(&mut self, phase: usize, len: usize, size: usize) -> Section {
        self.end = self.end.next_multiple_of(PAGE) + phase;
        let section = Section { offset: self.end, len, bytes: len * size };
        self.end += section.bytes;
        section
    }

    /// Bytes of metadata so far, in whole pages.
    pub(crate) fn bytes(&self) -> usize {
        self.end.next_multiple_of(PAGE)
    }
}

/// Where the parts of a region lie, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Chunks of user memory.
    pub(crate) chunks: usize,
    /// Where user memory starts.
    pub(crate) data: usize,
    /// Where the metadata starts.
    pub(crate) metadata: usize,
    /// Bytes of it.
    pub(crate) metadata_bytes: usize,
}

impl Extent {
    /// Of a new region.
    pub(crate) const fn fresh(chunks: usize, metadata_bytes: usize) -> Self {
        Self::with_data_at(HEAD, chunks, metadata_bytes)
    }

    const fn with_data_at(data: usize, chunks: usize, metadata_bytes: usize) -> Self {
        Self { chunks, data, metadata: data + chunks * CHUNK + PAGE, metadata_bytes }
    }

    /// The same region with more chunks: its parts lie as those of a new one.
    pub(crate) const fn grown(self, chunks: usize, metadata_bytes: usize) -> Self {
        Self::with_data_at(self.data, chunks, metadata_bytes)
    }

    /// Where the metadata goes before it goes where `to` says, so that it is never laid over the one that holds: behind both, if
    /// they overlap.
    pub(crate) fn on_the_way(self, to: Self) -> Self {
        let overlap = to.metadata < self.bytes() && self.metadata < to.bytes();
        if overlap && self != to { Self { metadata: to.bytes().max(self.bytes()), ..to } } else { to }
    }

    /// Bytes that the region takes while it becomes `to`.
    pub(crate) fn bytes_on_the_way(self, to: Self) -> usize {
        self.on_the_way(to).bytes().max(self.bytes())
    }

    /// Bytes of the whole region.
    pub(crate) const fn bytes(&self) -> usize {
        self.metadata + self.metadata_bytes
    }

    /// A new region for `chunks` chunks in `memory`: user memory is aligned as well as its length allows, at least
    /// to a span.
    pub(crate) fn in_memory(memory: &Given, chunks: usize, metadata_bytes: usize) -> Result<Self> {
        let needed = Self::fresh(chunks, metadata_bytes).bytes();
        if memory.bytes < needed {
            return Err(Error::GivenMemory { needed, given: memory.bytes });
        }
        let start = memory.base.addr().get();
        let aligned = |align: u32| Self::with_data_at((start + PAGE).next_multiple_of(1 << align) - start, chunks, metadata_bytes);
        let mut align = CHUNK.ilog2();
        while align > SPAN.ilog2() && aligned(align).bytes() > memory.bytes {
            align -= 1;
        }
        Ok(aligned(align))
    }
}

/// Memory that the caller gave: the whole region lies in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) base: NonNull<u8>,
    pub(crate) bytes: usize,
}

// SAFETY: an address and a length; who opens a region in the memory says that it is theirs.
unsafe impl Send for Given {}
// SAFETY: as above.
unsafe impl Sync for Given {}

/// What given memory is called in errors.
pub(crate) const GIVEN: &str = "the given memory";

impl Given {
    /// A copy of the header that is there, if it is one.
    pub(crate) fn header(&self) -> Copied {
        // SAFETY: who opens a region in the memory says that these bytes are theirs; `open_memory` looked at their number.
        Copied::from_bytes(unsafe { core::slice::from_raw_parts(self.base.as_ptr(), PAGE.min(self.bytes)) })
    }
}

/// Where a region is to lie.
#[derive(Clone, Debug)]
pub(crate) enum Backing {
    /// In memory of its own.
    Anonymous,
    /// In a file.
    File {
        /// Its path.
        path: PathBuf,
        /// It must not exist.
        create_new: bool,
    },
    /// In memory that the caller gives.
    Given(Given),
}

/// How a region is mapped.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own, in both faces")]
pub(crate) struct RegionOptions {
    /// Touch every page of user memory at open, and the first bytes of the metadata.
    pub(crate) prefault: bool,
    /// How many of them.
    pub(crate) prefault_metadata: usize,
    /// Keep it in memory.
    pub(crate) lock: bool,
    /// Ask for huge pages: for user memory, and for metadata that is touched at open.
    pub(crate) huge_pages: bool,
    /// Of a file: do not reserve its disk space.
    pub(crate) sparse: bool,
}

/// The region of an open arena.
pub(crate) struct Region {
    mapping: Mapping,
    /// Where the region starts, in bytes from the mapping's start.
    start: usize,
    extent: Extent,
    /// Where granule 0 would lie: one chunk before the data. Every free begins with it.
    origin: *mut u8,
    /// The file that it lies in, if any.
    file: Option<RegionFile>,
    opened_by: Opener,
}

impl Region {
    /// Maps anonymous memory. May call the system.
    pub(crate) fn anonymous(extent: Extent, options: RegionOptions) -> Result<Self> {
        let (mapping, start) = Self::reserve(extent.data, extent.bytes())?;
        Self::over(mapping, start, extent, None, options)
    }

    /// Maps a file of `bytes` bytes: those of the extent, and more if it is to grow. Calls the system.
    pub(crate) fn in_file(extent: Extent, bytes: usize, file: RegionFile, options: RegionOptions) -> Result<Self> {
        let (mapping, start) = Self::reserve(extent.data, bytes)?;
        mapping.lay_file(start, &file, bytes)?;
        Self::over(mapping, start, extent, Some(file), options)
    }

    /// A copy of what a file says of its region, the header and the metadata, in memory of its own: whatever becomes of
    /// the file, the copy can be read. User memory is not copied; it reads as zero, and takes none.
    pub(crate) fn copied(extent: Extent, file: RegionFile) -> Result<Self> {
        let (mapping, start) = Self::reserve(extent.data, extent.bytes())?;
        let region = Self::over(mapping, start, extent, Some(file), RegionOptions::default())?;
        let Some(file) = &region.file else { return Ok(region) };
        for part in core::iter::once(0..PAGE).chain(file.written(extent.metadata..extent.bytes())) {
            // SAFETY: R2: the extent is inside the mapping, which is ours, and over which no table is laid yet.
            let bytes = unsafe { core::slice::from_raw_parts_mut(region.at(part.start), part.len()) };
            file.read(bytes, part.start)?;
        }
        Ok(region)
    }

    /// Lays a region over the first `bytes` bytes of given memory: those of the extent, and more if it is to grow. It is to be
    /// prepared.
    pub(crate) fn in_memory(extent: Extent, bytes: usize, memory: Given) -> Self {
        assert!(bytes <= memory.bytes, "R2");
        Self::laid_over(Mapping::given(Given { bytes, ..memory }), 0, extent, None)
    }

    /// Address space for a region, and where in it the region starts, so that user memory, at `data`, is aligned to a chunk.
    fn reserve(data: usize, bytes: usize) -> Result<(Mapping, usize)> {
        let mapping = Mapping::anonymous(bytes + CHUNK)?;
        let base = mapping.base().addr().get();
        let start = (base + data).next_multiple_of(CHUNK) - data - base;
        Ok((mapping, start))
    }

    fn over(mapping: Mapping, start: usize, extent: Extent, file: Option<RegionFile>, options: RegionOptions) -> Result<Self> {
        let mut region = Self::laid_over(mapping, start, extent, file);
        region.prepare(options)?;
        Ok(region)
    }

    fn laid_over(mapping: Mapping, start: usize, extent: Extent, file: Option<RegionFile>) -> Self {
        assert!(start + extent.bytes() <= mapping.len(), "R2");
        let origin = mapping.base().as_ptr().wrapping_add(start + extent.data).wrapping_sub(CHUNK);
        Self { mapping, start, extent, origin, file, opened_by: Opener::this() }
    }

    /// Asks for huge pages, locks the region into memory and touches it, as far as that is asked for. May call the system.
    ///
    /// # Errors
    /// [`Error::Os`] if it cannot be locked.
    pub(crate) fn prepare(&mut self, options: RegionOptions) -> Result<()> {
        // Before it is locked, which takes the pages.
        self.ask_for_huge_pages(options);
        if options.lock {
            self.mapping.lock()?;
        }
        self.prefault(options);
        Ok(())
    }

    /// As it was when the region was opened, where its parts lie by now; what is locked is so up to the end of the mapping.
    pub(crate) fn prepare_anew(&self, options: RegionOptions) {
        self.ask_for_huge_pages(options);
        self.prefault(options);
    }

    fn ask_for_huge_pages(&self, options: RegionOptions) {
        if options.huge_pages {
            self.mapping.ask_for_huge_pages(self.start + self.extent.data, self.capacity(), true);
            if options.prefault && self.is_anonymous() {
                self.mapping.ask_for_huge_pages(self.start + self.extent.metadata, options.prefault_metadata, true);
            }
        }
    }

    fn prefault(&self, options: RegionOptions) {
        if !options.prefault {
            return;
        }
        self.mapping.prefault(self.start, PAGE);
        self.mapping.prefault(self.start + self.extent.metadata, options.prefault_metadata);
        self.touch(self.capacity());
        if self.is_anonymous() {
            // To gather small pages to huge ones later would make whoever touches them meanwhile fault.
            self.mapping.ask_for_huge_pages(self.start + self.extent.metadata, options.prefault_metadata, false);
            self.mapping.ask_for_huge_pages(self.start + self.extent.data, self.capacity(), false);
        }
    }

    /// The table of a section of this region's metadata.
    pub(crate) fn table<T: Plain>(&self, section: Section) -> Table<T> {
        self.table_at(self.extent.metadata, section)
    }

    /// The same of metadata that starts at byte `metadata` of the region.
    pub(crate) fn table_at<T: Plain>(&self, metadata: usize, section: Section) -> Table<T> {
        self.mapping.table(self.start + metadata, section)
    }

    /// The region's header.
    pub(crate) fn header(&self) -> Header {
        Header::new(self.mapping.table(self.start, Section { offset: 0, len: header::WORDS, bytes: PAGE }))
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.mapping.base().as_ptr().wrapping_add(self.start + offset)
    }

    /// Where its parts lie.
    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    /// What it lies in, for errors.
    pub(crate) fn name(&self) -> &'static str {
        self.file.as_ref().map_or(GIVEN, RegionFile::name)
    }

    /// The file that it lies in.
    pub(crate) fn file(&self) -> Option<&RegionFile> {
        self.file.as_ref()
    }

    /// Whether it lies in memory that the caller gave.
    pub(crate) fn is_given(&self) -> bool {
        self.mapping.is_given()
    }

    /// Whether another process opened it, of which this one is a forked child.
    pub(crate) fn is_inherited(&self) -> bool {
        !self.opened_by.is_this()
    }

    /// Whether it lies in a file that another process opened, of which this one is a forked child: all that is done to it here is
    /// done to the parent's, too.
    pub(crate) fn is_parents(&self) -> bool {
        self.file.is_some() && self.is_inherited()
    }

    /// Whether it is memory of its own, and of nobody else.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.file.is_none() && !self.is_given()
    }

    /// The new region in the file, or the grown one, is whole: it stays.
    pub(crate) fn keep(&mut self) {
        let bytes = self.extent.bytes();
        if let Some(file) = &mut self.file {
            file.keep(bytes);
        }
    }

    /// What a growth that was killed has left behind the region goes back to the disk.
    pub(crate) fn cut_off(&mut self) {
        let whole = self.extent.bytes();
        if self.file.as_ref().is_some_and(|file| file.bytes().is_ok_and(|bytes| bytes > whole)) {
            self.keep();
        }
    }

    /// The region's parts lie elsewhere from now on, inside what is mapped.
    pub(crate) fn set_extent(&mut self, extent: Extent) {
        assert!(self.start + extent.bytes() <= self.mapping.len() && extent.data == self.extent.data, "R2");
        self.extent = extent;
    }

    /// Where granule 0 would lie: one chunk before the data. Not to be read.
    pub(crate) fn origin(&self) -> *mut u8 {
        self.origin
    }

    /// The largest alignment that user memory has: of a chunk, but perhaps less in given memory.
    pub(crate) fn alignment(&self) -> usize {
        let start = self.origin.addr().wrapping_add(CHUNK);
        CHUNK.min(1 << start.trailing_zeros())
    }

    /// One past the last granule.
    pub(crate) fn granules(&self) -> u64 {
        ((self.extent.chunks + 1) * CHUNK_SPANS * SPAN_GRANULES) as u64
    }

    /// Bytes of user memory.
    pub(crate) fn capacity(&self) -> usize {
        self.extent.chunks * CHUNK
    }

    /// Touches the first `bytes` of user memory.
    pub(crate) fn touch(&self, bytes: usize) {
        self.mapping.prefault(self.start + self.extent.data, bytes.min(self.capacity()));
    }

    /// Bytes of the region's pages, metadata included, that this process has touched, if the system tells. Calls the system.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        self.mapping.resident_bytes(self.file.is_some())
    }

    /// Gives pages of user memory, counted from the start of a span, back to the system, after which they may read as zero.
    /// Whether the system took them. Only of anonymous memory. Calls the system. The caller owns the pages.
    pub(crate) fn decommit(&self, span: usize, pages: Range<usize>) -> bool {
        let end = span * SPAN + pages.end * PAGE;
        assert!(self.is_anonymous() && span >= CHUNK_SPANS && end <= (self.extent.chunks + 1) * CHUNK, "R2");
        let start = self.origin.addr() + span * SPAN + pages.start * PAGE - self.mapping.base().addr().get();
        !pages.is_empty() && self.mapping.decommit(start, pages.len() * PAGE)
    }

    /// The parts of a range of the region's bytes that may hold something else than zeros: all of
    /// it, but for the holes of a file.
    pub(crate) fn written(&self, range: Range<usize>) -> Vec<Range<usize>> {
        self.file.as_ref().map_or_else(|| vec![range.clone()], |file| file.written(range.clone()))
    }

    /// The same of what its file has behind it, up to byte `end`; there is nothing behind other memory.
    pub(crate) fn written_behind(&self, end: usize) -> Vec<Range<usize>> {
        self.file.as_ref().map_or_else(Vec::new, |file| file.written(self.extent.bytes()..end))
    }

    /// Calls `each` with each part that [`Region::written`] has. Takes no host memory.
    pub(crate) fn each_written(&self, range: Range<usize>, mut each: impl FnMut(Range<usize>)) {
        match &self.file {
            Some(file) => file.each_written(range, each),
            None => each(range),
        }
    }

    /// Zeroes bytes of the region that nobody uses meanwhile; pages that are zero are only read.
    pub(crate) fn zero(&self, range: Range<usize>) {
        assert!(range.end <= self.mapping.len() - self.start, "R2");
        for start in range.clone().step_by(PAGE) {
            let bytes = PAGE.min(range.end - start);
            // SAFETY: R2, as just asserted; the caller says that nobody else uses these bytes.
            let page = unsafe { core::slice::from_raw_parts_mut(self.at(start), bytes) };
            if page.iter().any(|&byte| byte != 0) {
                page.fill(0);
            }
        }
    }

    /// Copies whole words of the region, from byte `from` on, a multiple of 8. Others may write meanwhile: each word is one that was there.
    pub(crate) fn read(&self, from: usize, words: &mut [u64]) {
        assert!(from.is_multiple_of(8) && from + size_of_val(words) <= self.extent.bytes(), "R2");
        for (word, at) in words.iter_mut().zip((from..).step_by(8)) {
            // SAFETY: R1, R2, as just asserted; aligned, as regions start on a page; atomic, as others may write.
            *word = unsafe { AtomicU64::from_ptr(self.at(at).cast()) }.load(Relaxed);
        }
    }

    /// Copies bytes of the region to another place of it that nobody uses.
    pub(crate) fn copy(&self, from: Range<usize>, to: usize) {
        let most = self.mapping.len() - self.start;
        assert!(from.end <= most && to + from.len() <= most, "R2");
        // SAFETY: R2, as just asserted; nobody uses either place meanwhile.
        unsafe { self.at(to).copy_from(self.at(from.start), from.len()) };
    }

    /// Brings what was written to the file's disk; of other memory there is nothing to bring. Blocks.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn sync(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        self.mapping.sync(self.start, self.extent.bytes()).map_err(|error| file.refused("bring it to disk", &error))
    }
}

/// The chunks that a capacity of `bytes` takes.
///
/// # Errors
/// [`Error::Capacity`] if it is 0 or above the largest.
pub(crate) fn chunks_for(bytes: usize) -> Result<usize> {
    if bytes == 0 || bytes > CAPACITY_MAX { Err(Error::Capacity(bytes)) } else { Ok(bytes.div_ceil(CHUNK)) }
}

const _: () = assert!(SPAN_GRANULES * GRANULE * CHUNK_SPANS == CHUNK);
