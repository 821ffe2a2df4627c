//! The region: one reservation of address space with everything of an arena in it.
//!
//! It is made at open, for the whole capacity, without reserving swap: growing is flipping a bit,
//! never a system call, and what is not touched costs nothing. Metadata comes first, user memory
//! after it, aligned to a chunk:
//!
//! ```text
//! | chunk index | chunks | page table | span metadata | live map | remote map | columns | ... |####|####| ...
//! '------------------- metadata, all zero at first ---------------------------------------' ^ data, 2 MiB aligned
//! ```
//!
//! Inside the region everything refers by index, counted from one chunk *before* the data:
//! chunk 0 (spans 0..64, granules 0..131072) does not exist, so that index 0 means "none"
//! and fresh, zeroed metadata is a valid, empty arena.
//!
//! Invariants
//! - **R1** the mapping outlives every table laid over it; it neither moves nor shrinks.
//! - **R2** sections are disjoint, aligned to 4096 bytes, and inside the mapping; fresh ones are zero.

mod mapping;

use crate::error::{Error, Result};
use crate::size_class::{CHUNK, CHUNK_SPANS, GRANULE, SPAN, SPAN_GRANULES};
pub(crate) use mapping::Mapping;

/// Largest capacity in bytes.
pub(crate) const CAPACITY_MAX: usize = 1 << 40;
const PAGE: usize = 4096;

/// Types that may be laid over the region's zeroed memory.
///
/// # Safety
/// All-zero bytes are a valid value, every shared field is an atomic, and dropping does nothing.
pub(crate) unsafe trait Plain {}

// SAFETY: an atomic integer of the same layout as its integer.
unsafe impl Plain for crate::sync::AtomicU64 {}

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

/// Where a section lies and how many entries it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    offset: usize,
    len: usize,
}

impl Mapping {
    /// The table of a section that was laid out for this mapping.
    pub(crate) fn table<T: Plain>(&self, section: Section) -> Table<T> {
        let end = section.offset + section.len * size_of::<T>();
        assert!(end <= self.len() && align_of::<T>() <= PAGE, "R2");
        // SAFETY: R2, as just asserted.
        let first = unsafe { self.base().add(section.offset) };
        Table { first: first.as_ptr().cast(), len: section.len }
    }
}

impl Section {
    /// Bytes that it takes, for entries of `size` bytes.
    pub(crate) const fn bytes(&self, size: usize) -> usize {
        (self.len * size).next_multiple_of(PAGE)
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
        let offset = self.end;
        self.end = (offset + len * size).next_multiple_of(PAGE);
        Section { offset, len }
    }

    /// Bytes of metadata so far.
    pub(crate) fn bytes(&self) -> usize {
        self.end
    }
}

/// The region of an open arena.
pub(crate) struct Region {
    mapping: Mapping,
    /// Where granule 0 would lie: one chunk before the data. Every free begins with it.
    origin: *mut u8,
    chunks: usize,
}

/// How a region is mapped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RegionOptions {
    /// Touch every page of user memory at open, and the first bytes of the metadata.
    pub(crate) prefault: bool,
    /// How many of them.
    pub(crate) prefault_metadata: usize,
    /// Keep it in memory.
    pub(crate) lock: bool,
    /// Ask for huge pages.
    pub(crate) huge_pages: bool,
}

impl Region {
    /// Maps anonymous memory for `layout` and `chunks` chunks of data. May call the system.
    pub(crate) fn anonymous(layout: Layout, chunks: usize, options: RegionOptions) -> Result<Self> {
        // One chunk more than needed, so that the data can be aligned.
        let mapping = Mapping::anonymous(layout.bytes() + (chunks + 1) * CHUNK)?;
        let start = mapping.base().addr().get();
        let data = (start + layout.bytes()).next_multiple_of(CHUNK) - start;
        let origin = mapping.base().as_ptr().wrapping_add(data).wrapping_sub(CHUNK);
        let region = Self { mapping, origin, chunks };
        if options.huge_pages {
            region.mapping.ask_for_huge_pages(data, chunks * CHUNK);
        }
        if options.lock {
            region.mapping.lock()?;
        }
        if options.prefault {
            region.mapping.prefault(0, options.prefault_metadata);
            region.mapping.prefault(data, chunks * CHUNK);
        }
        Ok(region)
    }

    /// The table of a section of this region's layout.
    pub(crate) fn table<T: Plain>(&self, section: Section) -> Table<T> {
        self.mapping.table(section)
    }

    /// Where granule 0 would lie: one chunk before the data. Not to be read.
    pub(crate) fn origin(&self) -> *mut u8 {
        self.origin
    }

    /// One past the last granule.
    pub(crate) fn granules(&self) -> u64 {
        ((self.chunks + 1) * CHUNK_SPANS * SPAN_GRANULES) as u64
    }

    /// Bytes of user memory.
    pub(crate) fn capacity(&self) -> usize {
        self.chunks * CHUNK
    }

    /// Touches the first `bytes` of user memory; no thread but the caller's may know the region yet.
    pub(crate) fn touch(&self, bytes: usize) {
        let start = self.origin.addr() + CHUNK - self.mapping.base().addr().get();
        self.mapping.prefault(start, bytes.min(self.capacity()));
    }

    /// Bytes of the region's pages, metadata included, that are in memory. Calls the system.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.mapping.resident_bytes()
    }

    /// Gives the memory of `spans` spans from span `first` of user memory on back to the system: it reads as zero
    /// afterwards. Calls the system. The caller owns the spans.
    pub(crate) fn decommit(&self, first: usize, spans: usize) {
        assert!(first >= CHUNK_SPANS && first + spans <= (self.chunks + 1) * CHUNK_SPANS, "R2");
        let start = self.origin.addr() + first * SPAN - self.mapping.base().addr().get();
        self.mapping.decommit(start, spans * SPAN);
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
