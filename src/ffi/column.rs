//! A held column: the wait-free fast path.

use core::ffi::{c_int, c_void};
use core::ptr::{NonNull, null_mut};

use super::alloc::block;
use super::arena::{arena_of, engram_arena};
use super::batch::{ENTRIES_MAX, slots, too_many};
use super::cancel::Uncancelled;
use super::status::{ENGRAM_OK, engram_status, fail};
use crate::column::held::Handle;
use crate::column::{Column, ColumnId};
use crate::error::{Error, Result};
use crate::spike::SpikeTime;

/// A held column.
pub struct engram_column {
    handle: Handle,
}

/// The handle behind a column.
#[inline(always)]
unsafe fn handle_of<'a>(column: *const engram_column) -> Option<&'a Handle> {
    // SAFETY: the caller's promise: null, or a column that it holds.
    unsafe { column.as_ref() }.map(|column| &column.handle)
}

/// The column of a handle, for one call: it is not released at the end.
unsafe fn column_of<'a>(column: *const engram_column) -> Result<core::mem::ManuallyDrop<Column<'a>>> {
    // SAFETY: the caller's promise.
    let handle = unsafe { handle_of(column) }.ok_or(Error::Null("column"))?;
    // SAFETY: it came from `engram_column_acquire`, and is not given back by this.
    Ok(core::mem::ManuallyDrop::new(unsafe { Column::from_handle(handle) }))
}

/// The same of a handle that was not given back: for calls that need not be fast.
unsafe fn held_of<'a>(column: *const engram_column) -> Result<core::mem::ManuallyDrop<Column<'a>>> {
    // SAFETY: the caller's promise.
    let column = unsafe { column_of(column) }?;
    if column.is_held() { Ok(column) } else { Err(Error::NotHeld) }
}

#[cold]
#[inline(never)]
extern "C" fn no_column_to_free() -> engram_status {
    fail(Error::Null("column"))
}

#[cold]
#[inline(never)]
extern "C" fn no_column() -> *mut c_void {
    fail(Error::Null("column"));
    null_mut()
}

/// Holds a column; NULL in `*out` on failure. `ENGRAM_E_BUSY` if somebody holds it, or if another thread that allocates, searches for
/// memory or maintains has it for longer than some microseconds: try again. Any, RT, bounded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_column_acquire(arena: *mut engram_arena, index: u32, out: *mut *mut engram_column) -> engram_status {
    if out.is_null() {
        return fail(Error::Null("out"));
    }
    // SAFETY: not null; the caller's promise.
    unsafe { out.write(null_mut()) };
    // SAFETY: the caller's promise.
    match unsafe { arena_of(arena) }.and_then(|arena| arena.column(ColumnId::new(index))) {
        Ok(column) => {
            let handle = column.into_handle();
            // Errors are remembered for the thread.
            handle.set_note(Some(fail));
            let handle: *const Handle = handle;
            // SAFETY: as above. The handle lives as long as the arena.
            unsafe { out.write(handle.cast_mut().cast()) };
            ENGRAM_OK
        }
        Err(error) => fail(error),
    }
}

/// Lets others hold the column; its blocks stay valid. NULL is fine; `ENGRAM_E_INVALID` if it is not
/// held. Holder, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_column_release(column: *mut engram_column) -> engram_status {
    if column.is_null() {
        return ENGRAM_OK;
    }
    // SAFETY: the caller's promise.
    match unsafe { held_of(column) } {
        Ok(column) => {
            drop(core::mem::ManuallyDrop::into_inner(column));
            ENGRAM_OK
        }
        Err(error) => fail(error),
    }
}

/// The column's number; 0 for NULL. Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_column_index(column: *const engram_column) -> u32 {
    // SAFETY: the caller's promise.
    match unsafe { column_of(column) } {
        Ok(column) => column.id().index(),
        Err(error) => {
            fail(error);
            0
        }
    }
}

/// As `engram_alloc`, from the held column: a bounded number of machine instructions, which README tells,
/// unless memory is scarce. Holder, RT; wait-free up to 4 KiB but for the last resort before a refusal, which is lock-free. Above, a
/// claim of fresh spans is tried at most eight times while others claim in the same chunk; above 256 KiB lock-free.
#[unsafe(no_mangle)]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.engram.alloc"))]
pub unsafe extern "C" fn engram_column_alloc(column: *mut engram_column, size: usize, align: usize, ttfs_ns: u32) -> *mut c_void {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle_of(column) }) else {
        return no_column();
    };
    handle.alloc(size, align, ttfs_ns).cast()
}

/// As `engram_free`, a bounded number of machine instructions, which README tells; a block of another
/// column is freed too. Holder, RT, wait-free.
#[unsafe(no_mangle)]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".text.engram.free"))]
pub unsafe extern "C" fn engram_column_free(column: *mut engram_column, p: *mut c_void) -> engram_status {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle_of(column) }) else {
        return no_column_to_free();
    };
    handle.free_status(p.cast())
}

/// `engram_realloc` for the column's holder: a block of this column moves as `engram_column_alloc` and `engram_column_free` would
/// move it; one of another column stays in that. NULL `p` is `engram_column_alloc` aligned to 16. (`engram_realloc` does not know
/// who holds the column: it moves the holder's blocks, too, to spans that the holder does not allocate from.) Holder, lock-free;
/// time grows with the bytes moved.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_column_realloc(column: *mut engram_column, p: *mut c_void, size: usize, ttfs_ns: u32) -> *mut c_void {
    let Some(p) = NonNull::new(p.cast()) else {
        // SAFETY: the caller's promise.
        return unsafe { engram_column_alloc(column, size, 0, ttfs_ns) };
    };
    // SAFETY: the caller's promise; it gives the old block up if this succeeds.
    block(unsafe { column_of(column) }.and_then(|column| unsafe { column.realloc(p, size, SpikeTime::from_nanos(ttfs_ns)) }))
}

/// Fills `out` with `count` blocks of one size; returns how many were served, from the front; the
/// others are NULL. `out` may be NULL if `count` is 0. More entries than memory can hold are `ENGRAM_E_INVALID`, and `out` stays as it
/// is. Holder, RT for each block; wait-free or lock-free as `engram_column_alloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_column_alloc_batch(
    column: *mut engram_column,
    size: usize,
    align: usize,
    ttfs_ns: u32,
    count: usize,
    out: *mut *mut c_void,
) -> usize {
    // SAFETY: the caller's promise.
    let Some(out) = (unsafe { slots(out, count, ENTRIES_MAX) }) else {
        fail(Error::Null("out"));
        return 0;
    };
    // SAFETY: the caller's promise.
    match unsafe { column_of(column) } {
        Ok(_) if count > ENTRIES_MAX => {
            fail(too_many(count));
            0
        }
        Ok(column) => {
            let served = column.alloc_batch(size, align, SpikeTime::from_nanos(ttfs_ns), out);
            if served < count {
                fail(column.last_error());
            }
            served
        }
        Err(error) => {
            out.fill(null_mut());
            fail(error);
            0
        }
    }
}

/// Frees every block of the column at once. Meanwhile no other thread may free one of them, as of two frees of one block, or allocate
/// or publish in the column: its block might be given twice. `ENGRAM_E_INVALID` if it is not held. Holder; takes a step for
/// each chunk of the arena and each word of the column's spans.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_column_reset(column: *mut engram_column) -> engram_status {
    // SAFETY: the caller's promise.
    match unsafe { held_of(column) } {
        Ok(column) => {
            // SAFETY: the caller gives all blocks of the column up.
            unsafe { column.reset() };
            ENGRAM_OK
        }
        Err(error) => fail(error),
    }
}

/// Calls `visit(user, block, usable)` for each block of the column in address order, until it returns
/// nonzero (`ENGRAM_OK` then too). It may free blocks, and those are not visited; blocks allocated meanwhile may be visited or not.
/// `ENGRAM_E_INVALID` if the column is not held. Holder; takes a step for each chunk of the arena and each word of the column's spans.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_column_walk(
    column: *mut engram_column,
    visit: Option<unsafe extern "C" fn(user: *mut c_void, block: *mut c_void, usable: usize) -> c_int>,
    user: *mut c_void,
) -> engram_status {
    let _uncancelled = Uncancelled::new();
    // SAFETY: the caller's promise.
    match unsafe { held_of(column) }.and_then(|column| visit.map(|visit| (column, visit)).ok_or(Error::Null("visit"))) {
        Ok((column, visit)) => {
            // SAFETY: the caller's function, called as it was declared.
            column.walk(|block| unsafe { visit(user, block.start.as_ptr().cast(), block.usable) } == 0);
            ENGRAM_OK
        }
        Err(error) => fail(error),
    }
}
