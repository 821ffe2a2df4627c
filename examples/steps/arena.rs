//! An arena and a held column by the C face, plainly and step by step.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{null_mut, with_exposed_provenance_mut};

use engram::ffi::{
    ENGRAM_BATCH_ORDERED, ENGRAM_OK, ENGRAM_TTFS_NONE, engram_arena, engram_arena_config, engram_column, engram_request, engram_status,
};

use crate::count::Counter;
use crate::face::face;

/// A block, or null.
pub(crate) type Block = *mut c_void;
/// A row of the table.
pub(crate) type RowName = &'static str;

/// An open arena.
pub(crate) struct Arena(*mut engram_arena);

impl Arena {
    /// Opens one with the usual number of columns.
    pub(crate) fn open(capacity: usize) -> Self {
        Self::open_with(capacity, None)
    }

    /// Opens one.
    pub(crate) fn open_with(capacity: usize, columns: Option<u32>) -> Self {
        let mut config = MaybeUninit::<engram_arena_config>::uninit();
        let mut arena = null_mut();
        // SAFETY: both outputs are ours; the config is set up before it is used.
        let status = unsafe {
            (face().engram_arena_config_init)(config.as_mut_ptr(), size_of::<engram_arena_config>());
            (*config.as_mut_ptr()).capacity = capacity;
            columns.inspect(|&columns| (*config.as_mut_ptr()).columns = columns);
            (face().engram_arena_open)(config.as_ptr(), &raw mut arena)
        };
        assert_eq!(status, ENGRAM_OK);
        Self(arena)
    }

    /// Holds a column.
    pub(crate) fn hold(&self, index: u32) -> Held<'_> {
        let mut column = null_mut();
        // SAFETY: the arena is open; the output is ours.
        assert_eq!(unsafe { (face().engram_column_acquire)(self.0, index, &raw mut column) }, ENGRAM_OK);
        Held { column, _arena: self }
    }

    /// Limits the bytes of a column.
    pub(crate) fn limit(&self, index: u32, bytes: usize) {
        // SAFETY: the arena is open.
        assert_eq!(unsafe { (face().engram_column_limit)(self.0, index, bytes) }, ENGRAM_OK);
    }

    /// Allocates by any thread's call.
    pub(crate) fn alloc(&self, index: u32, size: usize) -> Block {
        // SAFETY: the arena is open.
        let block = touched(exposed(unsafe { (face().engram_alloc)(self.0, index, size, 16, ENGRAM_TTFS_NONE) }));
        assert!(!block.is_null());
        block
    }

    /// Counts an allocation in column 1 by any thread's call.
    pub(crate) fn count_alloc(&self, counter: &mut Counter, row: RowName, size: usize) -> Block {
        let arguments = [exposed(self.0), 1, size as u64, 16, ENGRAM_TTFS_NONE.into(), 0];
        // SAFETY: the function's arguments, for an open arena.
        touched(unsafe { counter.call(|_| row, 1, face().engram_alloc as *const c_void, arguments) })
    }

    /// Counts a free by any thread's call.
    pub(crate) fn count_free(&self, counter: &mut Counter, row: RowName, block: Block) {
        let arguments = [exposed(self.0), exposed(block), 0, 0, 0, 0];
        // SAFETY: the function's arguments; nothing uses the block afterwards.
        let status = unsafe { counter.call(|_| row, 1, face().engram_free as *const c_void, arguments) };
        assert_eq!(status as i32, ENGRAM_OK);
    }

    /// Counts an ordered batch, and its blocks.
    pub(crate) fn count_ordered_batch(&self, counter: &mut Counter, row: RowName, requests: &[engram_request]) {
        let mut out = vec![null_mut::<c_void>(); requests.len()];
        let (first, count) = (exposed(requests.as_ptr().cast_mut()), requests.len() as u64);
        let arguments = [exposed(self.0), first, count, ENGRAM_BATCH_ORDERED.into(), exposed(out.as_mut_ptr()), 0];
        // SAFETY: the function's arguments; both arrays have `count` entries.
        let status = unsafe { counter.call(|_| row, requests.len(), face().engram_alloc_batch as *const c_void, arguments) };
        assert_eq!(status as i32, ENGRAM_OK);
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: it is open, and no column outlives it.
        let status = unsafe { (face().engram_arena_close)(self.0) };
        assert_eq!(status, ENGRAM_OK);
    }
}

/// A held column.
pub(crate) struct Held<'a> {
    column: *mut engram_column,
    _arena: &'a Arena,
}

impl Held<'_> {
    /// Allocates.
    pub(crate) fn alloc(&self, size: usize, spike: u32) -> Block {
        // SAFETY: the column is held.
        touched(exposed(unsafe { (face().engram_column_alloc)(self.column, size, 16, spike) }))
    }

    /// Frees.
    pub(crate) fn free(&self, block: Block) {
        // SAFETY: the column is held, and nothing uses the block afterwards.
        assert_eq!(unsafe { (face().engram_column_free)(self.column, block) }, ENGRAM_OK);
    }

    /// Counts an allocation, in the row `refused` if it is.
    pub(crate) fn count_alloc_or(&self, counter: &mut Counter, rows: [RowName; 2], size: usize, spike: u32) -> Block {
        self.count_aligned(counter, rows, size, 16, spike)
    }

    /// Counts an allocation with an alignment, in the row `refused` if it is.
    pub(crate) fn count_aligned(
        &self,
        counter: &mut Counter,
        [row, refused]: [RowName; 2],
        size: usize,
        align: usize,
        spike: u32,
    ) -> Block {
        let arguments = [exposed(self.column), size as u64, align as u64, spike.into(), 0, 0];
        let name = |block| if block == 0 { refused } else { row };
        // SAFETY: the function's arguments, for a held column.
        touched(unsafe { counter.call(name, 1, face().engram_column_alloc as *const c_void, arguments) })
    }

    /// Counts an allocation that must be served.
    pub(crate) fn count_alloc(&self, counter: &mut Counter, row: RowName, size: usize, spike: u32) -> Block {
        let block = self.count_alloc_or(counter, [row, row], size, spike);
        assert!(!block.is_null(), "{row}: refused");
        block
    }

    /// Counts a batch of one size, and its blocks.
    pub(crate) fn count_batch(&self, counter: &mut Counter, row: RowName, size: usize, count: usize) {
        let mut out = vec![null_mut::<c_void>(); count];
        let arguments = [exposed(self.column), size as u64, 16, ENGRAM_TTFS_NONE.into(), count as u64, exposed(out.as_mut_ptr())];
        // SAFETY: the function's arguments; `out` has `count` entries.
        let served = unsafe { counter.call(|_| row, count, face().engram_column_alloc_batch as *const c_void, arguments) };
        assert_eq!(served, count as u64);
    }

    /// Counts a free.
    pub(crate) fn count_free(&self, counter: &mut Counter, row: RowName, block: Block) {
        assert_eq!(self.count_free_as(counter, row, block), ENGRAM_OK);
    }

    /// Counts a free of what is no live block.
    pub(crate) fn count_misuse(&self, counter: &mut Counter, row: RowName, pointer: Block) {
        assert_ne!(self.count_free_as(counter, row, pointer), ENGRAM_OK);
    }

    fn count_free_as(&self, counter: &mut Counter, row: RowName, pointer: Block) -> engram_status {
        let arguments = [exposed(self.column), exposed(pointer), 0, 0, 0, 0];
        // SAFETY: the function's arguments; nothing uses the block afterwards.
        let status = unsafe { counter.call(|_| row, 1, face().engram_column_free as *const c_void, arguments) };
        status as engram_status
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: it is held.
        assert_eq!(unsafe { (face().engram_column_release)(self.column) }, ENGRAM_OK);
    }
}

/// An address as the C function's argument.
fn exposed<T>(pointer: *mut T) -> u64 {
    pointer.expose_provenance() as u64
}

/// The block at an address, written to as a program would; null stays null.
fn touched(address: u64) -> Block {
    let block = with_exposed_provenance_mut::<c_void>(address as usize);
    if !block.is_null() {
        // SAFETY: a block that was just allocated: at least 16 bytes.
        unsafe { block.cast::<u8>().write_bytes(1, 16) };
    }
    block
}
