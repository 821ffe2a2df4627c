//! TLSF (the crate `rlsf`) behind the face that the runner loads: one pool of 1 GiB, touched only where it is used.
//!
//! It takes no lock and knows no threads, so the runner calls it from one thread only.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut, slice_from_raw_parts_mut};
use rlsf::Tlsf;

const POOL: usize = 1 << 30;
const ALIGN: usize = 16;

/// 28 first levels of 32 lists each: blocks up to the whole pool.
type Heap = Tlsf<'static, u32, u32, 28, 32>;

struct OneThread(UnsafeCell<Heap>);

// SAFETY: the runner keeps this peer to one thread (the module's own words).
unsafe impl Sync for OneThread {}

static HEAP: OneThread = OneThread(UnsafeCell::new(Heap::new()));

/// Gives the heap its pool.
///
/// # Panics
/// If there is no memory for the pool; a panic ends the process here.
#[unsafe(no_mangle)]
pub extern "C" fn ad_init() {
    let pool = NonNull::new(slice_from_raw_parts_mut(map(POOL), POOL)).expect("a mapping is never null");
    // SAFETY: one thread; the mapping is ours alone and is never unmapped.
    let inserted = unsafe { (*HEAP.0.get()).insert_free_block_ptr(pool) };
    assert!(inserted.is_some(), "TLSF refused its pool");
}

/// Allocates `size` bytes; null if there are none.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc(size: usize) -> *mut c_void {
    let Ok(layout) = Layout::from_size_align(size, ALIGN) else {
        return null_mut();
    };
    // SAFETY: one thread.
    let block = unsafe { (*HEAP.0.get()).allocate(layout) };
    block.map_or(null_mut(), |block| block.as_ptr().cast())
}

/// Frees a block.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or [`ad_realloc`], and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_free(block: *mut c_void) {
    // SAFETY: one thread; the caller's promise covers the block, which `ad_alloc` aligned to ALIGN and which is not null.
    unsafe { (*HEAP.0.get()).deallocate(NonNull::new_unchecked(block.cast()), ALIGN) }
}

/// Makes a block `new_size` bytes long; null if there is no room.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or this function, and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_realloc(block: *mut c_void, _old_size: usize, new_size: usize) -> *mut c_void {
    let Ok(layout) = Layout::from_size_align(new_size, ALIGN) else {
        return null_mut();
    };
    // SAFETY: one thread; the caller's promise covers the block, which `ad_alloc` aligned to ALIGN and which is not null.
    let block = unsafe {
        let block = NonNull::new_unchecked(block.cast());
        (*HEAP.0.get()).reallocate(block, layout)
    };
    block.map_or(null_mut(), |block| block.as_ptr().cast())
}

fn map(bytes: usize) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping touches no memory in use.
    let memory = unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "cannot map {bytes} bytes for TLSF");
    memory.cast()
}
