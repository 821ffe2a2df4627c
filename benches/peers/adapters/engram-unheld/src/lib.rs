//! engram behind the face that the runner loads, with nobody holding a column: all threads allocate from the same one,
//! which is as contended as it can be.

#[path = "../../engram/src/abi.rs"]
mod abi;
#[path = "../../engram/src/capacity.rs"]
mod capacity;
#[path = "../../engram/src/open.rs"]
mod open;

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use engram as _;

const COLUMN: u32 = 0;
const ALIGN: usize = 16;

/// The one arena, once [`ad_init`] has opened it, before any thread begins.
static ARENA: AtomicPtr<abi::Arena> = AtomicPtr::new(null_mut());

/// Opens the arena.
#[unsafe(no_mangle)]
pub extern "C" fn ad_init() {
    ARENA.store(open::open(0), Ordering::Release);
}

/// Allocates `size` bytes; null if there are none.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc(size: usize) -> *mut c_void {
    // SAFETY: the arena is open and never closed.
    unsafe { abi::engram_alloc(ARENA.load(Ordering::Acquire), COLUMN, size, ALIGN, abi::TTFS_NONE) }
}

/// Frees a block.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or [`ad_realloc`], and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_free(block: *mut c_void) {
    // SAFETY: as above; misuse aborts (ARENA_ABORT), so the status is always OK.
    unsafe { abi::engram_free(ARENA.load(Ordering::Acquire), block) };
}

/// Makes a block `new_size` bytes long; null if there is no room.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or this function, and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_realloc(block: *mut c_void, _old_size: usize, new_size: usize) -> *mut c_void {
    // SAFETY: as above; the caller's promise.
    unsafe { abi::engram_realloc(ARENA.load(Ordering::Acquire), block, new_size, abi::TTFS_NONE) }
}
