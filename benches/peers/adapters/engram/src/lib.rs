//! engram behind the face that the runner loads: each thread holds a column, and its allocations go there.
//!
//! A program written for engram has the held column in a variable; malloc's shape forces a look-up by thread.

mod abi;
mod thread;

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use engram as _;
use std::process::exit;

const COLUMNS: u32 = 64;
const CAPACITY: usize = 1 << 30;
const ALIGN: usize = 16;

/// The one arena, once [`ad_init`] has opened it.
static ARENA: AtomicPtr<abi::Arena> = AtomicPtr::new(null_mut());

/// Opens the arena: `ENGRAM_PEERS_CAPACITY` bytes, 1 GiB if unset.
#[unsafe(no_mangle)]
pub extern "C" fn ad_init() {
    let mut config = abi::ArenaConfig::default_config()
        .unwrap_or_else(|status| fail("arena_config_init", status));
    config.capacity = capacity();
    config.columns = COLUMNS;
    // A refused free would cost nothing and leak: make it fatal instead.
    config.flags = abi::ARENA_ABORT;
    let mut arena = null_mut();
    // SAFETY: both point to live variables; the path in the config is null.
    let status = unsafe { abi::engram_arena_open(&raw const config, &raw mut arena) };
    if status != abi::OK {
        fail("arena_open", status);
    }
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
            abi::OK => return thread::set_column(column),
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
    let status = unsafe { abi::engram_column_release(thread::column()) };
    if status != abi::OK {
        fail("column_release", status);
    }
    thread::set_column(null_mut());
}

/// Allocates `size` bytes; null if there are none.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc(size: usize) -> *mut c_void {
    // SAFETY: this thread holds the column since `ad_thread`.
    unsafe { abi::engram_column_alloc(thread::column(), size, ALIGN, abi::TTFS_NONE) }
}

/// Frees a block.
///
/// # Safety
/// `block` comes from [`ad_alloc`] and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_free(block: *mut c_void) {
    // SAFETY: this thread holds the column since `ad_thread`; misuse aborts (ARENA_ABORT), so the status is always OK.
    unsafe { abi::engram_column_free(thread::column(), block) };
}

fn capacity() -> usize {
    let Ok(text) = std::env::var("ENGRAM_PEERS_CAPACITY") else {
        return CAPACITY;
    };
    text.parse().unwrap_or_else(|_| {
        eprintln!("engram: ENGRAM_PEERS_CAPACITY is not a number of bytes: {text:?}");
        exit(1)
    })
}

fn fail(call: &str, status: abi::Status) -> ! {
    eprintln!("engram: engram_{call} failed with status {status}");
    exit(1)
}
