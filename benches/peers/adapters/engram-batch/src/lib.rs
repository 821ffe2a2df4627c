//! engram behind the face that the runner loads, placing whole populations: each in one ordered batch, in an arena that nothing
//! was allocated from before. The runner keeps this variant to one thread.

#[path = "../../engram/src/abi.rs"]
mod abi;
#[path = "../../engram/src/capacity.rs"]
mod capacity;
#[path = "../../engram/src/open.rs"]
mod open;
#[path = "../../engram/src/unheld.rs"]
mod unheld;

use core::ffi::c_void;
use core::ptr::null_mut;
use core::slice;
use core::sync::atomic::Ordering;
use engram as _;
use open::{fail, open};
use unheld::{ALIGN, ARENA, COLUMN};

/// Places a population: a block of `size` bytes for each of `count` spike times, in nanoseconds, in their order in `out`.
///
/// # Safety
/// `spikes_ns` and `out` are `count` long; all blocks of the last population have been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_alloc_batch(size: usize, spikes_ns: *const u32, count: usize, out: *mut *mut c_void) {
    // Of the last population; null before the first. One thread: plain loads and stores.
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
