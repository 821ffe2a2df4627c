//! The arena: opened once, used by any number of threads, closed by dropping it.
//!
//! ```text
//! builder --> Arena --column(id)--> Column   wait-free, one thread at a time
//!               |---- alloc, free, realloc   any thread, lock-free; a free is wait-free
//!               '---- batches, metrics, map, verify, maintain
//! ```
//!
//! This layer ties the others together and has no mechanism of its own.

mod batch;
mod usage;
mod verify;

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::column::core::{Core, Options, Shape};
use crate::column::{Column, ColumnId};
use crate::error::Result;
use crate::region::RegionOptions;
use crate::size_class::good_size;
use crate::spike::SpikeTime;
use crate::sync::{AtomicU32, Ordering::Relaxed};

pub(crate) use batch::Served;
pub use batch::{BatchFlags, Request};
pub use verify::{ChunkView, SpanView};

/// Bytes of user memory if nothing else is asked for.
const DEFAULT_CAPACITY: usize = 64 << 20;
/// Columns if nothing else is asked for.
const DEFAULT_COLUMNS: u32 = 64;

/// What an arena is made from; checked as a whole by [`ArenaBuilder::build`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ArenaBuilder {
    pub(crate) options: Options,
}

impl Default for ArenaBuilder {
    fn default() -> Self {
        let options = Options {
            capacity: DEFAULT_CAPACITY,
            columns: DEFAULT_COLUMNS,
            region: RegionOptions::default(),
            abort: false,
            zero_freed: false,
            no_zones: false,
        };
        Self { options }
    }
}

impl ArenaBuilder {
    /// Bytes of user memory, 1 to 1 TiB, rounded up to 2 MiB. Default 64 MiB. Address space only:
    /// memory is taken as it is touched.
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.options.capacity = bytes;
        self
    }

    /// Columns, 1 to 65,536. Default 64.
    pub fn columns(mut self, columns: u32) -> Self {
        self.options.columns = columns;
        self
    }

    /// Touches every page of user memory at open, so that later accesses do not fault. Default off.
    pub fn prefault(mut self, on: bool) -> Self {
        self.options.region.prefault = on;
        self
    }

    /// Keeps the arena in memory (`mlock`). Default off.
    pub fn lock(mut self, on: bool) -> Self {
        self.options.region.lock = on;
        self
    }

    /// Asks for huge pages; falls back silently. Default off.
    pub fn huge_pages(mut self, on: bool) -> Self {
        self.options.region.huge_pages = on;
        self
    }

    /// Whether a single allocation goes to the zone of its spike time. Default on.
    pub fn zones(mut self, on: bool) -> Self {
        self.options.no_zones = !on;
        self
    }

    /// Zeroes freed memory before it can be given again; a free then takes time that grows with the
    /// block. Default off.
    pub fn zero_freed(mut self, on: bool) -> Self {
        self.options.zero_freed = on;
        self
    }

    /// Misuse (a bad pointer, a double free) prints one line and aborts. Default off.
    pub fn abort_on_misuse(mut self, on: bool) -> Self {
        self.options.abort = on;
        self
    }

    /// Bytes of address space that such an arena takes, metadata included.
    ///
    /// # Errors
    /// As [`ArenaBuilder::build`], but for the system's refusals.
    pub fn size(&self) -> Result<usize> {
        Ok(Shape::of(&self.options)?.bytes())
    }

    /// Opens the arena. May block: it calls the system.
    ///
    /// # Errors
    /// [`Error::Capacity`](crate::Error::Capacity),
    /// [`Error::ColumnCount`](crate::Error::ColumnCount),
    /// [`Error::Os`](crate::Error::Os).
    pub fn build(self) -> Result<Arena> {
        Ok(Arena { core: Box::new(Core::open(self.options)?) })
    }
}

/// A lock-free real-time arena. Dropping it unmaps everything: no block may be used afterwards.
///
/// ```
/// use core::alloc::Layout;
/// use engram::{Arena, SpikeTime};
/// # fn main() -> engram::Result<()> {
/// let arena = Arena::builder().capacity(8 << 20).build()?;
/// let block = arena.alloc(None, Layout::new::<[f32; 24]>(), SpikeTime::NONE)?;
/// assert_eq!(arena.usable_size(block.as_ptr()), Some(96));
/// // SAFETY: the block is ours, and nothing uses it afterwards.
/// unsafe { arena.free(block)? };
/// # Ok(())
/// # }
/// ```
pub struct Arena {
    pub(crate) core: Box<Core>,
}

impl Arena {
    /// A builder with the defaults: 64 MiB, 64 columns.
    pub fn builder() -> ArenaBuilder {
        ArenaBuilder::default()
    }

    /// Holds a column. Lock-free.
    ///
    /// # Errors
    /// [`Error::ColumnOutOfRange`](crate::Error::ColumnOutOfRange),
    /// [`Error::ColumnHeld`](crate::Error::ColumnHeld).
    pub fn column(&self, id: ColumnId) -> Result<Column<'_>> {
        Column::acquire(&self.core, id)
    }

    /// Allocates in a column, `None` for the calling thread's home column, without holding it.
    /// Lock-free, no system call. The content is undefined.
    ///
    /// # Errors
    /// [`Error::ZeroSize`](crate::Error::ZeroSize),
    /// [`Error::SizeAboveCapacity`](crate::Error::SizeAboveCapacity),
    /// [`Error::Alignment`](crate::Error::Alignment) (above 2 MiB),
    /// [`Error::ColumnOutOfRange`](crate::Error::ColumnOutOfRange),
    /// [`Error::NoMemory`](crate::Error::NoMemory),
    /// [`Error::Quota`](crate::Error::Quota).
    pub fn alloc(&self, column: Option<ColumnId>, layout: Layout, spike: SpikeTime) -> Result<NonNull<u8>> {
        self.alloc_sized(column, layout.size(), layout.align(), spike)
    }

    /// As [`Arena::alloc`], and the memory is zero. Takes time that grows with the size.
    ///
    /// # Errors
    /// As [`Arena::alloc`].
    pub fn alloc_zeroed(&self, column: Option<ColumnId>, layout: Layout, spike: SpikeTime) -> Result<NonNull<u8>> {
        let p = self.alloc(column, layout, spike)?;
        // SAFETY: the block is ours alone and has at least the layout's bytes.
        unsafe { p.write_bytes(0, layout.size()) };
        Ok(p)
    }

    /// As [`Arena::alloc`], with the alignment still to be checked (0 means 16).
    pub(crate) fn alloc_sized(&self, column: Option<ColumnId>, size: usize, align: usize, spike: SpikeTime) -> Result<NonNull<u8>> {
        let index = self.column_or_home(column).inspect_err(|_| {
            self.core.counters().failed.fetch_add(1, Relaxed);
        })?;
        self.core.alloc_for(index, size, align, spike.raw())
    }

    /// Frees a block. Any thread, wait-free, no system call.
    ///
    /// # Safety
    /// Nothing uses the block afterwards. (A pointer that is not a block is an error, not undefined.)
    ///
    /// # Errors
    /// [`Error::BadPointer`](crate::Error::BadPointer),
    /// [`Error::DoubleFree`](crate::Error::DoubleFree); nothing has changed then.
    pub unsafe fn free(&self, p: NonNull<u8>) -> Result<()> {
        self.core.free_for(p.as_ptr())
    }

    /// Resizes a block: in place if its size class stays, else moved within its column; alignment and
    /// content (up to the smaller size) are kept. If refused the block stays as it is.
    ///
    /// # Safety
    /// Nothing else uses the block meanwhile, and nothing uses the old address if it moved.
    ///
    /// # Errors
    /// As [`Arena::alloc`] and [`Arena::free`].
    pub unsafe fn realloc(&self, p: NonNull<u8>, size: usize, spike: SpikeTime) -> Result<NonNull<u8>> {
        let core = &self.core;
        let live = core.live_block(p.as_ptr()).map_err(|error| core.misused(error))?;
        if core.stays(live, size) {
            return Ok(p);
        }
        let to = core.alloc_for(live.column, size, live.align, spike.raw())?;
        // SAFETY: both blocks are live and distinct, and have at least these bytes.
        unsafe { to.copy_from_nonoverlapping(p, live.bytes.min(size)) };
        core.free_for(p.as_ptr())?;
        Ok(to)
    }

    /// Whether `p` points into the arena's user memory.
    pub fn contains(&self, p: *const u8) -> bool {
        self.offset_of(p).is_some()
    }

    /// Bytes from the start of user memory to `p`, if `p` lies in it. Stays true however often, and
    /// wherever, the arena is opened.
    pub fn offset_of(&self, p: *const u8) -> Option<usize> {
        let offset = p.addr().wrapping_sub(self.start().addr());
        (offset < self.capacity()).then_some(offset)
    }

    /// The other way: the address at an offset below the capacity.
    pub fn at(&self, offset: usize) -> Option<*mut u8> {
        (offset < self.capacity()).then(|| self.start().wrapping_add(offset))
    }

    fn start(&self) -> *mut u8 {
        self.core.region.origin().wrapping_add(crate::size_class::CHUNK)
    }

    /// Bytes that a block may use, `None` if `p` is not a block that is handed out. Wait-free.
    pub fn usable_size(&self, p: *const u8) -> Option<usize> {
        self.core.live_block(p).ok().map(|live| live.bytes)
    }

    /// What a request of `size` bytes really takes, `None` if this arena can never serve it.
    pub fn good_size(&self, size: usize) -> Option<usize> {
        good_size(size, self.capacity())
    }

    /// Limits the spans that a column may have to `bytes`, `None` for no limit; rounded down to
    /// spans of 32 KiB. What the column has above a new limit it keeps. Any thread.
    ///
    /// # Errors
    /// [`Error::ColumnOutOfRange`](crate::Error::ColumnOutOfRange).
    pub fn limit_column(&self, column: ColumnId, bytes: Option<usize>) -> Result<()> {
        self.core.check_column(column.index())?;
        let spans = bytes.map(|bytes| (bytes / crate::size_class::SPAN) as u64);
        self.core.block(column.index()).open.set_limit(spans);
        Ok(())
    }

    /// Bytes of user memory.
    pub fn capacity(&self) -> usize {
        self.core.region.capacity()
    }

    /// Columns.
    pub fn columns(&self) -> u32 {
        self.core.column_count()
    }

    /// The first column that is held at this moment.
    pub(crate) fn held_column(&self) -> Option<u32> {
        self.core.used_columns().find(|&index| self.core.block(index).open.lease.is_held())
    }

    pub(crate) fn column_or_home(&self, column: Option<ColumnId>) -> Result<u32> {
        match column {
            Some(id) => self.core.check_column(id.index()).map(|()| id.index()),
            None => Ok(home() % self.columns()),
        }
    }
}

impl core::fmt::Debug for Arena {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Arena").field("capacity", &self.capacity()).field("columns", &self.columns()).finish_non_exhaustive()
    }
}

/// The calling thread's number, counted in the order in which threads first asked.
fn home() -> u32 {
    const UNKNOWN: u32 = u32::MAX;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static HOME: core::cell::Cell<u32> = const { core::cell::Cell::new(UNKNOWN) };
    }
    HOME.with(|home| {
        if home.get() == UNKNOWN {
            home.set(NEXT.fetch_add(1, Relaxed));
        }
        home.get()
    })
}
