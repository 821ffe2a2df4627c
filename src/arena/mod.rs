//! The arena: opened once, used by any number of threads, closed by dropping it.
//!
//! ```text
//! builder --> Arena --column(id)--> Column   wait-free, one thread at a time
//!               |---- alloc, free, realloc   any thread, lock-free; a free is wait-free
//!               |---- publish, roots, snapshot, sync   what a region file is for: see `persist`
//!               '---- batches, metrics, map, verify, maintain
//! ```
//!
//! This layer ties the others together and has no mechanism of its own.

mod alike;
mod batch;
mod persist;
mod picture;
mod usage;
mod verify;

use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use std::path::PathBuf;

use crate::column::core::{Core, Options};
use crate::column::rows::CellId;
use crate::column::shape::Shape;
use crate::column::unusual::Route;
use crate::column::{Column, ColumnId, Live};
use crate::error::{Error, Result};
use crate::recover::recover;
use crate::region::header::Found;
use crate::region::{Backing, Given, RegionOptions};
use crate::size_class::{SMALL_CLASSES, Width, good_size};
use crate::spike::SpikeTime;
use crate::sync::{AtomicU32, Ordering::Relaxed};

pub(crate) use crate::column::scarce::Kept;
pub(crate) use batch::{AsRequest, REQUESTS_MAX, RUN, Served, Words};
pub use batch::{BatchFlags, Request};
pub(crate) use picture::Holdings;
pub use picture::{BlockKind, ChunkView, SpanView};
pub(crate) use usage::Berth;
pub use verify::Finding;

/// Bytes of user memory if nothing else is asked for.
const DEFAULT_CAPACITY: usize = 64 << 20;
/// Columns if nothing else is asked for.
const DEFAULT_COLUMNS: u32 = 64;

/// What an arena is made from; checked as a whole by [`ArenaBuilder::build`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ArenaBuilder {
    pub(crate) options: Options,
    pub(crate) backing: Backing,
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
            width: Width::Wide,
        };
        Self { options, backing: Backing::Anonymous }
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

    /// Touches every page of user memory and of the metadata at open, so that later accesses do not fault. Default off. (The columns'
    /// part of the metadata, 200 KiB each, or less in a file, is left out if it takes more than user memory and more than 64 MiB. In a
    /// file on a disk the first store to a page faults once more whenever the system has written it back, [`Arena::sync`] included;
    /// in a file in memory (tmpfs) none does.)
    pub fn prefault(mut self, on: bool) -> Self {
        self.options.region.prefault = on;
        self
    }

    /// Keeps the arena in memory (`mlock`). Default off. Of given memory, as much as the arena takes: it is unlocked when the arena is
    /// closed, or not opened, also if the program had locked it itself; not in a forked child.
    pub fn lock(mut self, on: bool) -> Self {
        self.options.region.lock = on;
        self
    }

    /// Asks for huge pages (`madvise`); falls back silently. Default off. Together with [`prefault`](Self::prefault), what is touched at
    /// open is touched in huge pages, and none are made later: to make one makes whoever touches it meanwhile fault. Opening takes longer
    /// where the system has to make room for them.
    pub fn huge_pages(mut self, on: bool) -> Self {
        self.options.region.huge_pages = on;
        self
    }

    /// Whether a single allocation goes to the zone of its spike time. Default on.
    pub fn zones(mut self, on: bool) -> Self {
        self.options.no_zones = !on;
        self
    }

    /// Columns that take little memory each, for many of them that keep little each; frees by the dozen take longer. Only in memory
    /// of its own.
    pub(crate) fn narrow(mut self) -> Self {
        self.options.width = Width::Narrow;
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

    /// Puts the arena into a region file: it is created if it does not exist (or has length 0, or its creation was cut
    /// short), else opened, and then the columns must be the file's, and the capacity the file's or larger. Everything
    /// that was not freed is there again, at the same offsets. A file is open once at a time. Default: memory of its own.
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.backing = Backing::File { path: path.into(), create_new: false };
        self
    }

    /// The same, and the file must not exist.
    pub fn new_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.backing = Backing::File { path: path.into(), create_new: true };
        self
    }

    /// Puts the arena into memory that the caller gives; of its own it takes only the columns' handles, 512 bytes each. The memory
    /// must start at a multiple of 4096, and be zeroed or hold an arena. It may lie elsewhere when the arena is opened again, but not
    /// where it has less than the largest alignment, above 16 bytes, of the blocks that the arena has served.
    /// [`ArenaBuilder::size`] says how much is needed.
    ///
    /// # Safety
    /// The memory is readable and writable, is used by nobody else as long as the arena is open, and outlives it.
    pub unsafe fn memory(mut self, start: NonNull<u8>, bytes: usize) -> Self {
        self.backing = Backing::Given(Given { base: start, bytes });
        self
    }

    /// Of a region file: does not reserve its disk space at open. On a full disk a write into the arena then ends the
    /// process (SIGBUS). Default off.
    pub fn sparse(mut self, on: bool) -> Self {
        self.options.region.sparse = on;
        self
    }

    /// Bytes that such an arena takes in a file or in given memory, metadata included: what
    /// [`ArenaBuilder::memory`] needs at least. (In memory of its own it takes more address space, and touches less.)
    ///
    /// # Errors
    /// As [`ArenaBuilder::build`], but for the system's refusals.
    pub fn size(&self) -> Result<usize> {
        Ok(Shape::fitted(&self.options)?.bytes())
    }

    /// Opens the arena. May block: it calls the system.
    ///
    /// # Errors
    /// [`Error::Capacity`](crate::Error::Capacity),
    /// [`Error::ColumnCount`](crate::Error::ColumnCount),
    /// [`Error::Os`](crate::Error::Os),
    /// [`Error::PageSize`](crate::Error::PageSize);
    /// of a region file [`Error::File`](crate::Error::File),
    /// [`Error::FileBusy`](crate::Error::FileBusy),
    /// [`Error::FileExists`](crate::Error::FileExists),
    /// [`Error::Format`](crate::Error::Format),
    /// [`Error::Columns`](crate::Error::Columns),
    /// [`Error::Shrinks`](crate::Error::Shrinks);
    /// of given memory the last three, [`Error::GivenMemory`](crate::Error::GivenMemory),
    /// [`Error::GivenAlignment`](crate::Error::GivenAlignment), and [`Error::Config`](crate::Error::Config) if it does not start at a
    /// multiple of 4096, or reaches beyond the end of the address space.
    pub fn build(self) -> Result<Arena> {
        self.build_if(|_| Ok::<_, Error>(())).map(|(arena, ())| arena)
    }

    /// The same, if `judge` does not refuse what is in the arena, which it only reads. A region that is refused is as long as it
    /// was, and closed if it was: all that is in it is there, and if its process had died, who opens it next hears of it.
    pub(crate) fn build_if<T, E>(self, judge: impl FnOnce(&Arena) -> core::result::Result<T, E>) -> core::result::Result<(Arena, T), E>
    where
        E: From<Error>,
    {
        alike::know_the_processor();
        let asked = self.options.capacity;
        let (core, found) = Core::open(self.options, &self.backing)?;
        // Handles know where their core lies: it does not move once one is used.
        let core = Box::new(core);
        recover(&core, found)?;
        let recovered = matches!(found, Found::Unclosed(_));
        // Not yet closed by being dropped.
        let arena = ManuallyDrop::new(Arena { core, recovered });
        let judged = judge(&arena);
        // SAFETY: read once: what it is read from is neither used nor dropped afterwards.
        let mut core = unsafe { core::ptr::read(&raw const arena.core) };
        if judged.is_err() && !recovered {
            core.close();
        }
        let judged = judged?;
        if core.is_to_grow(asked)? {
            let (grown, as_found) = core.grow(asked)?;
            core = Box::new(grown);
            recover(&core, as_found)?;
        } else {
            core.region.cut_off();
        }
        Ok((Arena { core, recovered }, judged))
    }
}

/// A lock-free real-time arena. Dropping it closes it and unmaps everything: no block may be used afterwards, until a
/// region file, or given memory, is opened again.
///
/// Host memory, that of the global allocator, is taken by [`ArenaBuilder`], [`Arena::map`] and [`Arena::snapshot`], by the text of an
/// error of the system, and by a [`RegionView`](crate::RegionView); dropping the arena frees what opening took. Nothing else takes any:
/// an arena may be what the global allocator is made of, if these have their memory from elsewhere.
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
    recovered: bool,
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl Arena {
    /// A builder with the defaults: 64 MiB, 64 columns.
    pub fn builder() -> ArenaBuilder {
        ArenaBuilder::default()
    }

    /// Holds a column. No system call; bounded.
    ///
    /// # Errors
    /// [`Error::ColumnOutOfRange`](crate::Error::ColumnOutOfRange), [`Error::ColumnHeld`](crate::Error::ColumnHeld): somebody holds it, or
    /// another thread that allocates, searches for memory or maintains has it for longer than some microseconds: try again.
    pub fn column(&self, id: ColumnId) -> Result<Column<'_>> {
        Column::acquire(&self.core, id)
    }

    /// Allocates in a column without holding it; `None`: in the calling thread's home column, or in any other if that has no
    /// memory for it. Lock-free, no system call. The content is undefined.
    ///
    /// # Errors
    /// [`Error::ZeroSize`](crate::Error::ZeroSize),
    /// [`Error::SizeAboveCapacity`](crate::Error::SizeAboveCapacity),
    /// [`Error::Alignment`](crate::Error::Alignment) (above 2 MiB),
    /// [`Error::AlignmentHere`](crate::Error::AlignmentHere) (in given memory),
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
        match column.and_then(|id| self.alloc_at_once(id, size, align, spike)) {
            Some(p) => Ok(p),
            None => self.alloc_at_length(column, size, align, spike),
        }
    }

    /// The same out of the usual.
    pub(crate) fn alloc_at_length(&self, column: Option<ColumnId>, size: usize, align: usize, spike: SpikeTime) -> Result<NonNull<u8>> {
        let index = self.column_or_home(column).inspect_err(|_| {
            self.core.counters().failed.fetch_add(1, Relaxed);
        })?;
        match column {
            Some(_) => self.core.alloc_for(index, size, align, spike.raw()),
            None => self.core.alloc_for_any(index, size, align, spike.raw()),
        }
    }

    /// Allocates from whatever column keeps a free slot that would serve, perhaps a larger one than is usual, and says from
    /// which. Looks at all columns.
    pub(crate) fn alloc_kept(&self, size: usize, spike: SpikeTime) -> Option<(NonNull<u8>, u32)> {
        let p = self.core.alloc_kept(size, 0, spike.raw(), SMALL_CLASSES)?;
        Some((p, self.core.page(self.core.granule(p.as_ptr())?.span()).owner().index()?))
    }

    /// A slot that this column keeps for such a request, of up to 256 KiB, in whatever zone; no span is taken for it.
    pub(crate) fn alloc_kept_in(&self, column: u32, size: usize, spike: SpikeTime) -> Kept {
        self.cell_for(size, spike).map_or(Kept::Nothing, |id| self.core.alloc_kept_in(column, id))
    }

    /// The same of whatever column, from this one on.
    pub(crate) fn alloc_kept_from(&self, first: u32, size: usize, spike: SpikeTime) -> Kept {
        self.cell_for(size, spike).map_or(Kept::Nothing, |id| self.core.alloc_kept_from(first, id))
    }

    fn cell_for(&self, size: usize, spike: SpikeTime) -> Option<CellId> {
        match self.core.route(size, 0, spike.raw()) {
            Ok(Route::Cell(id)) => Some(id),
            _ => None,
        }
    }

    /// Allocates in a column from what it has, or from free spans wherever they lie. Before it fails it looks at each chunk once, and at
    /// nothing else: it leaves out the last resort.
    pub(crate) fn alloc_growing(&self, column: u32, size: usize, spike: SpikeTime) -> Option<NonNull<u8>> {
        self.core.alloc_growing(column, size, 0, spike.raw())
    }

    /// The same in the usual case; else `None`, and nothing has changed.
    #[inline(always)]
    pub(crate) fn alloc_at_once(&self, column: ColumnId, size: usize, align: usize, spike: SpikeTime) -> Option<NonNull<u8>> {
        self.core.alloc_at_once(column.index(), size, align, spike.raw())
    }

    /// As [`Arena::free`]; as the holder of the block's column, if nobody holds it.
    ///
    /// # Safety
    /// The same.
    ///
    /// # Errors
    /// The same.
    pub(crate) unsafe fn free_at_once(&self, p: NonNull<u8>) -> Result<()> {
        self.core.free_at_once(p.as_ptr())
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

    /// Resizes a block: in place if its size class stays, or if it is above 256 KiB and what follows it is free or becomes so,
    /// else moved within its column; alignment and content (up to the smaller size) are kept. A smaller block that there is no
    /// memory for stays as large as it is. If refused the block stays as it is. Time grows with the bytes moved.
    ///
    /// # Safety
    /// Nothing else uses the block meanwhile, and nothing uses the old address if it moved.
    ///
    /// # Errors
    /// As [`Arena::alloc`] and [`Arena::free`].
    pub unsafe fn realloc(&self, p: NonNull<u8>, size: usize, spike: SpikeTime) -> Result<NonNull<u8>> {
        let alloc = |live: Live| self.core.try_alloc_for(live.column, size, live.align, spike.raw());
        // SAFETY: the caller's promise; and `alloc` gives a block of `size` bytes.
        unsafe { self.core.realloc(p, size, alloc, |p| self.core.free_for(p.as_ptr())) }
    }

    /// Whether `p` points into the arena's user memory.
    pub fn contains(&self, p: *const u8) -> bool {
        self.offset_of(p).is_some()
    }

    /// Bytes from the start of user memory to `p`, if `p` lies in it. Stays true however often, and
    /// wherever, the arena is opened.
    pub fn offset_of(&self, p: *const u8) -> Option<usize> {
        self.core.offset(p).map(|offset| offset as usize)
    }

    /// The other way: the address at an offset below the capacity.
    pub fn at(&self, offset: usize) -> Option<*mut u8> {
        (offset < self.capacity()).then(|| self.core.data().wrapping_add(offset))
    }

    /// Bytes that a block may use, `None` if `p` is not a block that is handed out. Wait-free.
    pub fn usable_size(&self, p: *const u8) -> Option<usize> {
        self.core.live_block(p).ok().map(|live| live.bytes)
    }

    /// What a request of `size` bytes, aligned to at most 16, really takes, `None` if this arena can never serve it. With a larger
    /// alignment ask for the size rounded up to a multiple of it.
    pub fn good_size(&self, size: usize) -> Option<usize> {
        good_size(size, self.capacity())
    }

    /// Limits the spans that a column may have to `bytes`, `None` for no limit; rounded down to
    /// spans of 32 KiB. What the column has above a new limit it keeps. While a request that the limit does not allow is being
    /// refused, another thread's that it would allow may be refused, too. Any thread. A region file keeps the limit.
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
