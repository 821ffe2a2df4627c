//! One arena without anybody holding a column: any thread allocates from column 0.

use crate::abi;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The column.
pub const COLUMN: u32 = 0;
/// The alignment of every block.
pub const ALIGN: usize = 16;

/// The arena; null before it is opened, and then nothing is allocated.
pub static ARENA: AtomicPtr<abi::Arena> = AtomicPtr::new(null_mut());

/// Allocates `size` bytes; null if there are none.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc(size: usize) -> *mut c_void {
    // SAFETY: an open arena, or null.
    unsafe { abi::engram_alloc(ARENA.load(Ordering::Acquire), COLUMN, size, ALIGN, abi::TTFS_NONE) }
}

/// Frees a block.
///
/// # Safety
/// `block` comes from the arena that is open now, and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_free(block: *mut c_void) {
    // SAFETY: the block's arena is open; misuse aborts (ARENA_ABORT), so the status is always OK.
    unsafe { abi::engram_free(ARENA.load(Ordering::Acquire), block) };
}

/// Makes a block `new_size` bytes long; null if there is no room.
///
/// # Safety
/// As [`ad_free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_realloc(block: *mut c_void, _old_size: usize, new_size: usize) -> *mut c_void {
    // SAFETY: the block's arena is open; the caller's promise.
    unsafe { abi::engram_realloc(ARENA.load(Ordering::Acquire), block, new_size, abi::TTFS_NONE) }
}
