//! Allocation and free from any thread, without holding a column.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use super::arena::{arena_of, column_of, engram_arena};
use super::batch::{ENTRIES_MAX, too_many};
use super::status::{ENGRAM_OK, engram_status, fail, status};
use crate::ColumnId;
use crate::error::{Error, Result};
use crate::spike::SpikeTime;

/// A block, or NULL with the reason remembered.
pub(crate) fn block(result: Result<NonNull<u8>>) -> *mut c_void {
    match result {
        Ok(p) => p.as_ptr().cast(),
        Err(error) => {
            fail(error);
            null_mut()
        }
    }
}

/// Allocates `size` bytes (1 to the capacity; 0 is `ENGRAM_E_INVALID`) in `column`
/// (`ENGRAM_COLUMN_ANY`: the thread's own, or any other if that has no memory for it), aligned to `align` (a power
/// of two up to 2 MiB; 0 = 16), in the zone of `ttfs_ns`. The content is undefined. NULL if refused:
/// `ENGRAM_E_NO_MEMORY` only if no empty span of any column, and no free slot of this one, would serve it (of any one, with
/// `ENGRAM_COLUMN_ANY`). Of a column that another thread holds only its shared spans can, and those of which others freed every
/// block. Any, lock-free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_alloc(arena: *mut engram_arena, column: u32, size: usize, align: usize, ttfs_ns: u32) -> *mut c_void {
    // SAFETY: the caller's promise: null, or an open arena. (No column has the number that stands for the thread's own.)
    let served = unsafe { arena.as_ref() }.and_then(|open| {
        let spike = SpikeTime::from_nanos(ttfs_ns);
        open.arena.alloc_at_once(ColumnId::new(column), size, align, spike)
    });
    match served {
        Some(p) => p.as_ptr().cast(),
        None => alloc_at_length(arena, column, size, align, ttfs_ns),
    }
}

/// The same out of the usual: a function of its own that is left for by a jump, so that the usual way needs no stack frame.
#[cold]
#[inline(never)]
extern "C" fn alloc_at_length(arena: *mut engram_arena, column: u32, size: usize, align: usize, ttfs_ns: u32) -> *mut c_void {
    // SAFETY: the caller's promise.
    let arena = unsafe { arena_of(arena) };
    block(arena.and_then(|arena| arena.alloc_at_length(column_of(column), size, align, SpikeTime::from_nanos(ttfs_ns))))
}

/// As `engram_alloc`, and the first `size` bytes are zero. Any, lock-free; time grows with `size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_alloc_zeroed(
    arena: *mut engram_arena,
    column: u32,
    size: usize,
    align: usize,
    ttfs_ns: u32,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    let p = unsafe { engram_alloc(arena, column, size, align, ttfs_ns) };
    if !p.is_null() {
        // SAFETY: the block is ours alone and has at least `size` bytes.
        unsafe { p.cast::<u8>().write_bytes(0, size) };
    }
    p
}

/// Resizes a block: in place if its size class stays, or if it is above 256 KiB and what follows it is free or becomes so,
/// else moved within its column; alignment and content are kept. A smaller block that there is no memory for stays as
/// large as it is. NULL `p` is `engram_alloc` with `ENGRAM_COLUMN_ANY`. If refused (size 0 too) NULL,
/// and the block stays as it is. In a region file a block that moves is two until this returns: if the process is killed in the
/// middle, the one to come may be there as well. Any, lock-free; time grows with the bytes moved.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_realloc(arena: *mut engram_arena, p: *mut c_void, size: usize, ttfs_ns: u32) -> *mut c_void {
    let spike = SpikeTime::from_nanos(ttfs_ns);
    // SAFETY: the caller's promise.
    let arena = match unsafe { arena_of(arena) } {
        Ok(arena) => arena,
        Err(error) => return block(Err(error)),
    };
    block(match NonNull::new(p.cast()) {
        None => arena.alloc_sized(None, size, 0, spike),
        // SAFETY: the caller gives the old block up if this succeeds.
        Some(p) => unsafe { arena.realloc(p, size, spike) },
    })
}

/// Frees a block; NULL is fine. `ENGRAM_E_DOUBLE_FREE` for the start of a slot that is not handed out,
/// in a span that still serves its class, `ENGRAM_E_BAD_POINTER` for any other pointer; nothing has
/// changed then. Any, RT, wait-free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_free(arena: *mut engram_arena, p: *mut c_void) -> engram_status {
    // SAFETY: the caller's promise.
    let arena = match unsafe { arena_of(arena) } {
        Ok(arena) => arena,
        Err(error) => return fail(error),
    };
    // SAFETY: the caller gives the block up.
    NonNull::new(p.cast()).map_or(ENGRAM_OK, |p| status(unsafe { arena.free(p) }))
}

/// Bytes that a block may use; 0 if `p` is NULL, foreign, or not handed out. Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_usable_size(arena: *const engram_arena, p: *const c_void) -> usize {
    // SAFETY: the caller's promise.
    match unsafe { arena_of(arena) } {
        Ok(arena) => arena.usable_size(p.cast()).unwrap_or(0),
        Err(error) => {
            fail(error);
            0
        }
    }
}

/// What a request of `size` bytes really takes, aligned to at most 16; 0 if it is never served. With a larger
/// alignment ask for `size` rounded up to a multiple of it. Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_good_size(arena: *const engram_arena, size: usize) -> usize {
    // SAFETY: the caller's promise.
    match unsafe { arena_of(arena) } {
        Ok(arena) => arena.good_size(size).unwrap_or(0),
        Err(error) => {
            fail(error);
            0
        }
    }
}

/// Frees many blocks: all that it can, NULL entries are fine, and so is NULL for an array of none. Returns the first
/// error. Any, RT for each block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_free_batch(arena: *mut engram_arena, pointers: *const *mut c_void, count: usize) -> engram_status {
    // SAFETY: the caller's promise.
    let arena = match unsafe { arena_of(arena) } {
        Ok(arena) => arena,
        Err(error) => return fail(error),
    };
    if pointers.is_null() && count > 0 {
        return fail(Error::Null("pointers"));
    }
    if count > ENTRIES_MAX {
        return fail(too_many(count));
    }
    let mut first = Ok(());
    for index in 0..count {
        // SAFETY: not null; the caller says that it has `count` entries.
        let p = unsafe { pointers.add(index).read() };
        if let Some(p) = NonNull::new(p.cast()) {
            // SAFETY: the caller gives the blocks up.
            let freed = unsafe { arena.free(p) };
            first = first.and(freed);
        }
    }
    status(first)
}
