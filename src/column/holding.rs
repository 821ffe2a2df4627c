//! Taking a column, and what a program does with it: [`Column`].

use core::marker::PhantomData;
use core::ptr::NonNull;
use std::io::Write;

use super::core::{Core, Misuse, asked_for};
use super::held::Handle;
use super::inspect::Live;
use super::rows::CellId;
use super::scarce::Kept;
use super::unusual::Route;
use crate::error::{Error, Result};
use crate::map::Owner;
use crate::size_class::{GRANULE, MEDIUM_MAX, SMALL_CLASSES, SMALL_MAX};
use crate::spike::SpikeTime;
use crate::sync::Ordering::{Relaxed, Release};

/// A column's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ColumnId(u32);

impl ColumnId {
    /// Column `index`, counted from 0. Whether an arena has it is checked where it is used.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// Its number.
    pub const fn index(self) -> u32 {
        self.0
    }
}

/// A block that is handed out, as [`Column::walk`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its first byte.
    pub start: NonNull<u8>,
    /// Bytes that may be used.
    pub usable: usize,
}

/// A held column: the wait-free fast path. One thread at a time holds it (`Send`, not `Sync`);
/// dropping it lets others take it. Blocks stay valid. (A forked child that drops one of its parent's file changes nothing.)
///
/// ```
/// use engram::{Arena, ColumnId, SpikeTime};
/// # fn main() -> engram::Result<()> {
/// let arena = Arena::builder().capacity(4 << 20).columns(2).build()?;
/// let column = arena.column(ColumnId::new(0))?;
/// let block = column.alloc(96, 16, SpikeTime::from_nanos(3_000_000))?;
/// // SAFETY: the block is ours, and nothing uses it afterwards.
/// unsafe { column.free(block)? };
/// # Ok(())
/// # }
/// ```
pub struct Column<'a> {
    handle: &'a Handle,
    _not_sync: PhantomData<*const ()>,
}

// SAFETY: L1: the lease is the permission to use the handle, and it moves with the value.
unsafe impl Send for Column<'_> {}

impl<'a> Column<'a> {
    pub(crate) fn acquire(core: &'a Core, id: ColumnId) -> Result<Self> {
        Ok(Self { handle: Handle::acquire(core, id.index())?, _not_sync: PhantomData })
    }

    /// Its number.
    pub fn id(&self) -> ColumnId {
        ColumnId(self.handle.index())
    }

    /// Allocates `size` bytes (1 to the capacity) aligned to `align` (a power of two up to 2 MiB; 0
    /// means 16), in the zone of `spike`. The content is undefined. No system call. Wait-free up to 4 KiB, but for the last resort
    /// before a refusal, which is lock-free and looks through the arena; above, a claim of fresh spans is tried at most eight times
    /// while others claim in the same chunk, and above 256 KiB it is lock-free. README tells how many machine instructions.
    ///
    /// # Errors
    /// [`Error::ZeroSize`], [`Error::SizeAboveCapacity`], [`Error::Alignment`], [`Error::AlignmentHere`] (in given memory),
    /// [`Error::NoMemory`], [`Error::Quota`].
    #[inline]
    pub fn alloc(&self, size: usize, align: usize, spike: SpikeTime) -> Result<NonNull<u8>> {
        let p = self.handle.alloc(size, align, spike.raw());
        NonNull::new(p).ok_or_else(|| self.handle.failed())
    }

    /// As [`Column::alloc`], and the first `size` bytes are zero. Takes time that grows with `size`.
    ///
    /// # Errors
    /// As [`Column::alloc`].
    pub fn alloc_zeroed(&self, size: usize, align: usize, spike: SpikeTime) -> Result<NonNull<u8>> {
        let p = self.alloc(size, align, spike)?;
        // SAFETY: the block is ours alone and has at least `size` bytes.
        unsafe { p.write_bytes(0, size) };
        Ok(p)
    }

    /// Frees a block of this arena, of another column too. Wait-free, no system call;
    /// README tells how many machine instructions.
    ///
    /// # Safety
    /// Nothing uses the block afterwards. (A pointer that is not a block is an error, not undefined.)
    ///
    /// # Errors
    /// [`Error::BadPointer`], [`Error::DoubleFree`]; nothing has changed then.
    #[inline]
    pub unsafe fn free(&self, p: NonNull<u8>) -> Result<()> {
        if self.handle.free(p.as_ptr()) { Ok(()) } else { Err(self.handle.misused()) }
    }

    /// Resizes a block: in place if its size class stays, or if it is above 256 KiB and what follows it is free or becomes so,
    /// else moved, in its own column if that is this one; alignment and content (up to the smaller size) are kept. A smaller block
    /// that there is no memory for stays as large as it is. If refused the block stays as it is. Time grows with the bytes moved.
    ///
    /// # Safety
    /// Nothing else uses the block meanwhile, and nothing uses the old address if it moved.
    ///
    /// # Errors
    /// As [`Column::alloc`] and [`Column::free`].
    pub unsafe fn realloc(&self, p: NonNull<u8>, size: usize, spike: SpikeTime) -> Result<NonNull<u8>> {
        let (core, before) = (self.handle.core(), self.handle.error());
        let alloc = |live: Live| {
            if live.column == self.handle.index() {
                NonNull::new(self.handle.alloc(size, live.align, spike.raw())).ok_or_else(|| self.handle.error())
            } else {
                core.try_alloc_for(live.column, size, live.align, spike.raw())
            }
        };
        // It is one call: what it refuses is counted once, and what was tried in vain before it was served is not told.
        let note = self.handle.take_note();
        // SAFETY: the caller's promise; and `alloc` gives a block of `size` bytes.
        let result = unsafe { core.realloc(p, size, alloc, |p| self.free(p)) };
        self.handle.set_note(note);
        // What was tried in vain before a block stayed as it is was not refused.
        self.handle.refuse(result.err().unwrap_or(before));
        if size > MEDIUM_MAX {
            // One of ours may have grown where it is.
            self.handle.report();
        }
        result
    }

    /// Fills `out` with blocks of one size; returns how many were served, from the front, the others
    /// are null, and [`Column::last_error`] says why. Wait-free, or lock-free, for each block as [`Column::alloc`].
    pub fn alloc_batch(&self, size: usize, align: usize, spike: SpikeTime, out: &mut [*mut u8]) -> usize {
        self.handle.core().counters().batches.fetch_add(1, Relaxed);
        // The batch is one call: what it refuses is counted once.
        let note = self.handle.take_note();
        let served = self.handle.alloc_many(size, align, spike.raw(), out);
        self.handle.set_note(note);
        if served < out.len() {
            self.handle.failed();
        }
        out[served..].fill(core::ptr::null_mut());
        served
    }

    /// After a refused call on this column: why it was refused. At other times it may be of an earlier call, whoever held the column
    /// then, or why one of the places had no memory in which a call looked that was served in the end; [`Error::NotHeld`] at first.
    pub fn last_error(&self) -> Error {
        self.handle.error()
    }

    /// Frees every block of the column at once, those allocated without holding it too. Takes a step
    /// for each chunk of the arena and each word of the column's spans, whatever the blocks.
    ///
    /// # Safety
    /// Nothing uses any block of the column afterwards, and meanwhile no other thread frees one, or allocates or publishes in the
    /// column.
    pub unsafe fn reset(&self) {
        self.handle.reset();
    }

    /// Visits the column's blocks in address order until `visit` returns false. The visitor may free
    /// blocks, and those are not visited; blocks allocated meanwhile may be visited or not.
    pub fn walk(&self, mut visit: impl FnMut(Block) -> bool) {
        self.handle.walk(|p, usable| NonNull::new(p).is_none_or(|start| visit(Block { start, usable })));
    }

    /// Whether a program holds it at all: false only for a handle of the C face that was given back.
    pub(crate) fn is_held(&self) -> bool {
        self.handle.block().open.lease.is_held()
    }

    pub(crate) fn into_handle(self) -> &'a Handle {
        let handle = self.handle;
        core::mem::forget(self);
        handle
    }

    /// # Safety
    /// `handle` came from [`Column::into_handle`] and was not given back since.
    pub(crate) unsafe fn from_handle(handle: &'a Handle) -> Self {
        Self { handle, _not_sync: PhantomData }
    }
}

impl Drop for Column<'_> {
    fn drop(&mut self) {
        // A forked child has it, too, and drops it where it was forked. It is its parent's that holds the file's.
        if !self.handle.core().region.is_parents() {
            self.handle.release();
        }
    }
}

impl core::fmt::Debug for Column<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Column").field(&self.handle.index()).finish()
    }
}

/// A column's handle, leased for one operation, a search or a step of maintenance: dropped, it gives the lease back.
pub(crate) struct Leased<'a>(&'a Handle);

impl core::ops::Deref for Leased<'_> {
    type Target = Handle;

    #[inline(always)]
    fn deref(&self) -> &Handle {
        self.0
    }
}

impl Drop for Leased<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.block().open.lease.give_back();
    }
}

impl Leased<'_> {
    /// Gives the lease back, with the level set right that left out what others had freed (L2).
    #[inline(always)]
    pub(crate) fn end(self) {
        self.hear_of_others();
    }

    /// Allocates, and gives the lease back so.
    fn end_with(self, alloc: impl FnOnce(&Handle) -> Option<*mut u8>) -> Option<NonNull<u8>> {
        let p = alloc(&self);
        self.end();
        NonNull::new(p?)
    }
}

impl Handle {
    /// Takes the column's lease, to hold it.
    pub(crate) fn acquire(core: &Core, index: u32) -> Result<&Self> {
        core.check_column(index)?;
        let held = core.block(index).open.lease.try_hold();
        let handle = held.then(|| core.with_lease(index)).ok_or(Error::ColumnHeld(index))?;
        handle.forget_others();
        Ok(handle)
    }

    /// Gives the lease back; the next holder sees all that was done.
    pub(crate) fn release(&self) {
        self.finish_holds();
        self.report();
        self.trust();
        self.set_note(None);
        self.block().open.lease.give_back();
    }

    /// Counts a refused allocation and says why.
    #[cold]
    pub(crate) fn failed(&self) -> Error {
        self.core().counters().failed.fetch_add(1, Relaxed);
        self.error()
    }

    /// Counts a refused free and says why; aborts if the arena is to.
    #[cold]
    pub(crate) fn misused(&self) -> Error {
        self.core().misused(self.error())
    }
}

/// Says in one line what was misused, and ends the process, whatever becomes of the line: nothing here panics, which somebody might
/// catch, or waits for a lock, which in a forked child may be taken for good.
#[cold]
fn abort_with(error: Error) -> ! {
    let mut line = [0; 256];
    let mut rest = &mut line[..];
    // No message of misuse is so long; what did not fit would be left out.
    let _ = writeln!(rest, "engram: {error}");
    let length = 256 - rest.len();
    // SAFETY: it stays open, if it is; what the program has closed is only written to in vain.
    #[cfg(unix)]
    let mut output = core::mem::ManuallyDrop::new(unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(2) });
    #[cfg(not(unix))]
    let mut output = std::io::stderr();
    let _ = output.write_all(&line[..length]);
    std::process::abort()
}

impl Core {
    /// Counts a refused free, and aborts with one line if the arena is to.
    #[cold]
    pub(crate) fn misused(&self, error: Error) -> Error {
        self.counters().misuse.fetch_add(1, Relaxed);
        if self.options.abort {
            abort_with(error);
        }
        error
    }

    /// Allocates for column `index` without holding it, if that takes no more than its lease and a slot of a stack: the usual
    /// case. Else nothing has changed, and `alloc_for` serves.
    #[inline(always)]
    pub(crate) fn alloc_at_once(&self, index: u32, size: usize, align: usize, spike: u32) -> Option<NonNull<u8>> {
        if index >= self.column_count() || size > SMALL_MAX || align & !GRANULE != 0 {
            return None;
        }
        let lease = &self.block(index).open.lease;
        if !lease.try_take() {
            return None;
        }
        let handle = self.handle(index);
        let p = if handle.is_set_up() { handle.alloc_from_stack(size, align, spike) } else { None };
        lease.give_back();
        NonNull::new(p?)
    }

    /// Allocates for column `index` without holding it: with its lease for this one operation if it
    /// is free, else from its shared spans. Lock-free.
    pub(crate) fn alloc_for(&self, index: u32, size: usize, align: usize, spike: u32) -> Result<NonNull<u8>> {
        self.try_alloc_for(index, size, align, spike).map_err(|error| self.counted(error, size, align))
    }

    /// The same for a request that names no column: `index` is asked first, and if no memory would serve it there, the others.
    pub(crate) fn alloc_for_any(&self, index: u32, size: usize, align: usize, spike: u32) -> Result<NonNull<u8>> {
        let tried = self.try_alloc_for(index, size, align, spike).or_else(|error| match error {
            Error::NoMemory { .. } => self.alloc_from_any(size, align, spike).ok_or(error),
            _ => Err(error),
        });
        tried.map_err(|error| self.counted(error, size, align))
    }

    /// A free slot of whatever column, for a request that names none and that no free span would serve. Looks at all columns, then at
    /// every span in use.
    pub(crate) fn alloc_from_any(&self, size: usize, align: usize, spike: u32) -> Option<NonNull<u8>> {
        let p = self.alloc_kept(size, align, spike, 0).or_else(|| self.shared_slot_of_any(size, align, spike))?;
        if align > GRANULE {
            self.note_asked(p.as_ptr(), align);
        }
        Some(p)
    }

    /// Counts a refused allocation, and says what was asked for.
    #[cold]
    pub(crate) fn counted(&self, error: Error, size: usize, align: usize) -> Error {
        self.counters().failed.fetch_add(1, Relaxed);
        asked_for(error, size, align)
    }

    /// As `alloc_for`; what is refused is not counted.
    pub(crate) fn try_alloc_for(&self, index: u32, size: usize, align: usize, spike: u32) -> Result<NonNull<u8>> {
        if let Some(handle) = self.lease(index) {
            let p = NonNull::new(handle.alloc(size, align, spike));
            let result = p.ok_or_else(|| handle.error());
            handle.end();
            return result;
        }
        self.alloc_without_lease(index, size, align, spike)
    }

    /// A free slot that some column keeps, of the class that serves such a request, or, of up to 4 KiB, of the next `larger`
    /// ones, the least that the first such column has: when no span is free any more, each is a column's, and of one class. Looks
    /// at all columns.
    pub(crate) fn alloc_kept(&self, size: usize, align: usize, spike: u32, larger: usize) -> Option<NonNull<u8>> {
        // Large blocks are taken from anywhere already.
        let Route::Cell(id) = self.route(size, align, spike).ok()? else { return None };
        let Some(row) = id.row().filter(|_| larger != 0 && id.class() < SMALL_CLASSES) else {
            return match self.alloc_kept_from(0, id) {
                Kept::Slot(p, _) => Some(p),
                Kept::Nothing | Kept::Unsure => None,
            };
        };
        let classes = id.class()..=(id.class() + larger).min(SMALL_CLASSES - 1);
        self.used_columns().find_map(|index| match self.lease(index) {
            Some(handle) => handle.end_with(|handle| handle.alloc_kept_of(row, classes.clone())),
            None => classes.clone().find_map(|class| self.shared_slot(index, CellId::in_row(row, class))),
        })
    }

    /// A free slot of a cell like this one in whatever column, from this one on.
    pub(crate) fn alloc_kept_from(&self, first: u32, id: CellId) -> Kept {
        let mut missing = Kept::Nothing;
        let (from, before) = (self.used_columns().filter(|&index| index >= first), self.used_columns().take_while(|&index| index < first));
        for index in from.chain(before) {
            match self.alloc_kept_in(index, id) {
                Kept::Nothing => {}
                Kept::Unsure => missing = Kept::Unsure,
                slot @ Kept::Slot(..) => return slot,
            }
        }
        missing
    }

    /// A free slot of a cell like this one in this column.
    pub(crate) fn alloc_kept_in(&self, index: u32, id: CellId) -> Kept {
        if !self.is_used(index) {
            return Kept::Nothing;
        }
        match self.lease(index) {
            Some(handle) => handle.end_with(|handle| handle.alloc_kept(id)).map_or(Kept::Nothing, |p| Kept::Slot(p, index)),
            None => self.shared_slot(index, id).map_or(Kept::Unsure, |p| Kept::Slot(p, index)),
        }
    }

    /// Allocates for column `index` without holding it from what it has, or from fresh spans, wherever they lie: unlike `alloc_for`,
    /// it looks for nothing else, and counts no refusal. Lock-free.
    pub(crate) fn alloc_growing(&self, index: u32, size: usize, align: usize, spike: u32) -> Option<NonNull<u8>> {
        let route = self.route(size, align, spike).ok()?;
        if let Route::Cell(id) = route
            && let Some(handle) = self.lease(index)
        {
            return handle.end_with(|handle| handle.alloc_growing(id));
        }
        let (p, bytes) = self.try_without_lease(index, route).ok()?;
        self.note_alloc_by_others(index, bytes);
        Some(p)
    }

    /// A slot of a shared span of a column that somebody holds.
    fn shared_slot(&self, index: u32, id: CellId) -> Option<NonNull<u8>> {
        let granule = self.claim_shared::<false>(index, id)?;
        self.note_alloc_by_others(index, u64::from(id.class_of().bytes));
        NonNull::new(self.address(granule))
    }

    /// The same of whatever column: of any zone, of an aligned or a published span. Looks at every span in use.
    fn shared_slot_of_any(&self, size: usize, align: usize, spike: u32) -> Option<NonNull<u8>> {
        let Route::Cell(id) = self.route(size, align, spike).ok()? else { return None };
        let (granule, index) = self.claim_shared_of_any(id)?;
        self.note_alloc_by_others(index, u64::from(id.class_of().bytes));
        NonNull::new(self.address(granule))
    }

    pub(crate) fn note_alloc_by_others(&self, index: u32, bytes: u64) {
        let open = &self.block(index).open;
        open.allocs_by_others.fetch_add(1, Relaxed);
        open.bytes_by_others.fetch_sub(bytes, Relaxed);
    }

    /// The handle of a column whose lease is free, leased to the caller for one operation.
    pub(crate) fn lease(&self, index: u32) -> Option<Leased<'_>> {
        self.block(index).open.lease.try_take().then(|| Leased(self.with_lease(index)))
    }

    /// The handle of a column whose lease the caller has just taken.
    fn with_lease(&self, index: u32) -> &Handle {
        let handle = self.handle(index);
        handle.set_up(self, index);
        handle.hear_of_others();
        handle
    }

    pub(crate) fn alloc_without_lease(&self, index: u32, size: usize, align: usize, spike: u32) -> Result<NonNull<u8>> {
        if align > GRANULE {
            return self.alloc_aligned_without_lease(index, size, align, spike);
        }
        self.alloc_routed_without_lease(index, self.route(size, align, spike)?)
    }

    #[cold]
    #[inline(never)]
    fn alloc_aligned_without_lease(&self, index: u32, size: usize, align: usize, spike: u32) -> Result<NonNull<u8>> {
        let route = self.route(size, align, spike)?;
        let p = self.alloc_routed_without_lease(index, route)?;
        if let Route::Cell(_) = route {
            self.note_asked(p.as_ptr(), align);
        }
        Ok(p)
    }

    #[inline(always)]
    fn alloc_routed_without_lease(&self, index: u32, route: Route) -> Result<NonNull<u8>> {
        let ask = || self.try_without_lease(index, route);
        let (p, bytes) = ask().or_else(|error| {
            let again = self.ask_again(index, error, ask);
            again.or_else(|error| self.shared_slot_anywhere(index, route).ok_or(error))
        })?;
        self.note_alloc_by_others(index, bytes);
        Ok(p)
    }

    fn shared_slot_anywhere(&self, index: u32, route: Route) -> Option<(NonNull<u8>, u64)> {
        let Route::Cell(id) = route else { return None };
        let granule = self.claim_shared_anywhere(index, id)?;
        Some((NonNull::new(self.address(granule))?, u64::from(id.class_of().bytes)))
    }

    /// Frees a block as the holder of its column, for this one operation, if nobody holds it: less is written than through the remote
    /// map, and it is not held back: the next request finds it. Else as [`Core::free_for`]. Wait-free.
    pub(crate) fn free_at_once(&self, p: *mut u8) -> Result<()> {
        let owner = self.granule(p).map(|granule| self.page(granule.span()).owner());
        let Some(handle) = owner.and_then(Owner::holder).and_then(|index| self.lease(index)) else { return self.free_for(p) };
        let result = if handle.free(p) { Ok(()) } else { Err(handle.error()) };
        handle.finish_holds();
        handle.end();
        result.map_err(|error| self.misused(error))
    }

    /// Frees a block without any column held: wait-free.
    pub(crate) fn free_for(&self, p: *mut u8) -> Result<()> {
        let granule = self.granule(p).ok_or(Misuse::NoBlock);
        match granule.and_then(|granule| self.free_unheld(granule, self.page(granule.span()).owner())) {
            Ok(freed) => {
                let open = &self.block(freed.index()).open;
                // Release: pairs with the snapshot, which reads frees before allocations.
                open.frees_by_others.fetch_add(1, Release);
                open.count_freed(freed.granules());
                Ok(())
            }
            Err(misuse) => Err(self.misused(misuse.of(p))),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
