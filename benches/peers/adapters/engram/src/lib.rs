//! engram behind the face that the runner loads: each thread holds a column, and its allocations go there.
//!
//! A program written for engram has the held column in a variable; malloc's shape forces a look-up by thread.
//!
//! The packages of engram's variants in the C face are built from this source too, each with features of its own.

mod abi;
mod capacity;
#[cfg(feature = "held")]
mod held;
mod open;
#[cfg(feature = "spikes")]
mod spikes;
#[cfg(not(feature = "held"))]
mod thread;

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use engram as _;
#[cfg(feature = "held")]
use held::{column, set_column};
use open::{COLUMNS, fail, open};
#[cfg(feature = "spikes")]
use spikes::spike;
#[cfg(not(feature = "held"))]
use thread::{column, set_column};

const ALIGN: usize = 16;

/// The one arena, once [`ad_init`] has opened it.
static ARENA: AtomicPtr<abi::Arena> = AtomicPtr::new(null_mut());

/// Opens the arena.
#[unsafe(no_mangle)]
pub extern "C" fn ad_init() {
    let zones = if cfg!(feature = "nozones") { abi::ARENA_NO_ZONES } else { 0 };
    let pages = if cfg!(feature = "prefault") { abi::ARENA_PREFAULT | abi::ARENA_HUGE_PAGES } else { 0 };
    let arena = open(zones | pages);
    // Pairs with the load in `ad_thread`: another thread sees the arena opened.
    ARENA.store(arena, Ordering::Release);
}

/// Takes the first column that nobody holds, a dead thread's too.
#[unsafe(no_mangle)]
pub extern "C" fn ad_thread() {
    let arena = ARENA.load(Ordering::Acquire);
    for index in 0..COLUMNS {
        let mut column = null_mut();
        // SAFETY: the arena is open and never closed; `column` is a live variable.
        match unsafe { abi::engram_column_acquire(arena, index, &raw mut column) } {
            abi::OK => return set_column(column),
            abi::E_BUSY => {}
            status => fail("column_acquire", status),
        }
    }
    fail("column_acquire", abi::E_BUSY);
}

/// Gives the calling thread's column back.
#[unsafe(no_mangle)]
pub extern "C" fn ad_thread_end() {
    // SAFETY: this thread holds the column since `ad_thread`.
    let status = unsafe { abi::engram_column_release(column()) };
    if status != abi::OK {
        fail("column_release", status);
    }
    set_column(null_mut());
}

/// Allocates `size` bytes; null if there are none.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc(size: usize) -> *mut c_void {
    // SAFETY: this thread holds the column since `ad_thread`.
    unsafe { abi::engram_column_alloc(column(), size, ALIGN, spike()) }
}

/// Allocates `size` bytes for what spikes so many nanoseconds from now; null if there are none.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc_spiking(size: usize, spike_ns: u32) -> *mut c_void {
    // SAFETY: this thread holds the column since `ad_thread`.
    unsafe { abi::engram_column_alloc(column(), size, ALIGN, spike_ns) }
}

/// Frees a block.
///
/// # Safety
/// `block` comes from [`ad_alloc`], [`ad_alloc_spiking`] or [`ad_realloc`], and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_free(block: *mut c_void) {
    // SAFETY: this thread holds the column since `ad_thread`; misuse aborts (ARENA_ABORT), so the status is always OK.
    unsafe { abi::engram_column_free(column(), block) };
}

/// Makes a block `new_size` bytes long; null if there is no room.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or this function, is `old_size` bytes long and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_realloc(block: *mut c_void, _old_size: usize, new_size: usize) -> *mut c_void {
    // SAFETY: this thread holds the column since `ad_thread`; the caller's promise.
    unsafe { abi::engram_column_realloc(column(), block, new_size, spike()) }
}

/// No spike, which is the usual.
#[cfg(not(feature = "spikes"))]
fn spike() -> u32 {
    abi::TTFS_NONE
}
