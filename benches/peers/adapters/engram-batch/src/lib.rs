//! engram behind the face that the runner loads, placing whole populations: each in one ordered batch, in an arena that nothing
//! was allocated from before. The runner keeps this variant to one thread.

#[path = "../../engram/src/abi.rs"]
mod abi;
#[path = "../../engram/src/capacity.rs"]
mod capacity;
#[path = "../../engram/src/open.rs"]
mod open;

use core::ffi::c_void;
use core::ptr::null_mut;
use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering};
use engram as _;
use open::{fail, open};

const COLUMN: u32 = 0;
const ALIGN: usize = 16;

/// The arena of the last population; null before the first. One thread: plain loads and stores.
static ARENA: AtomicPtr<abi::Arena> = AtomicPtr::new(null_mut());

/// Places a population: a block of `size` bytes for each of `count` spike times, in nanoseconds, in their order in `out`.
///
/// # Safety
/// `spikes_ns` and `out` are `count` long; all blocks of the last population have been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_alloc_batch(size: usize, spikes_ns: *const u32, count: usize, out: *mut *mut c_void) {
    let last = ARENA.swap(open(0), Ordering::Relaxed);
    // SAFETY: nobody has the last arena any more; null is fine.
    let closed = unsafe { abi::engram_arena_close(last) };
    if closed != abi::OK {
        fail("arena_close", closed);
    }
    // SAFETY: the caller's promise.
    let spikes_ns = unsafe { slice::from_raw_parts(spikes_ns, count) };
    let request = |&ttfs_ns| abi::Request { size, align: ALIGN, column: COLUMN, ttfs_ns };
    let requests: Vec<_> = spikes_ns.iter().map(request).collect();
    let flags = abi::BATCH_ATOMIC | abi::BATCH_ORDERED;
    let arena = ARENA.load(Ordering::Relaxed);
    // SAFETY: the arena is open; there are `count` requests and places.
    let served = unsafe { abi::engram_alloc_batch(arena, requests.as_ptr(), count, flags, out, null_mut()) };
    if served != abi::OK {
        fail("alloc_batch", served);
    }
}

/// Allocates `size` bytes; null if there are none, or no population was placed.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc(size: usize) -> *mut c_void {
    // SAFETY: an open arena, or null.
    unsafe { abi::engram_alloc(ARENA.load(Ordering::Relaxed), COLUMN, size, ALIGN, abi::TTFS_NONE) }
}

/// Frees a block.
///
/// # Safety
/// `block` is of the last population, or comes from [`ad_alloc`] or [`ad_realloc`] after it, and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_free(block: *mut c_void) {
    // SAFETY: the block's arena is open; misuse aborts (ARENA_ABORT), so the status is always OK.
    unsafe { abi::engram_free(ARENA.load(Ordering::Relaxed), block) };
}

/// Makes a block `new_size` bytes long; null if there is no room.
///
/// # Safety
/// As [`ad_free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_realloc(block: *mut c_void, _old_size: usize, new_size: usize) -> *mut c_void {
    // SAFETY: the block's arena is open.
    unsafe { abi::engram_realloc(ARENA.load(Ordering::Relaxed), block, new_size, abi::TTFS_NONE) }
}
