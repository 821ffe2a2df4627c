//! rpmalloc behind the face that the runner loads. It wants to be told of every thread that begins and ends.

use core::ffi::c_void;

/// Sets the process's heap up.
///
/// # Panics
/// If rpmalloc refuses; a panic ends the process here.
#[unsafe(no_mangle)]
pub extern "C" fn ad_init() {
    // SAFETY: called once, before anything else.
    let status = unsafe { rpmalloc_sys::rpmalloc_initialize() };
    assert_eq!(status, 0, "rpmalloc_initialize failed");
}

/// Gives the calling thread a heap.
#[unsafe(no_mangle)]
pub extern "C" fn ad_thread() {
    // SAFETY: after `ad_init`; a second call on one thread changes nothing.
    unsafe { rpmalloc_sys::rpmalloc_thread_initialize() }
}

/// Takes the calling thread's heap back.
#[unsafe(no_mangle)]
pub extern "C" fn ad_thread_end() {
    // SAFETY: the thread allocates nothing after this.
    unsafe { rpmalloc_sys::rpmalloc_thread_finalize() }
}

/// Allocates `size` bytes; null if there are none.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc(size: usize) -> *mut c_void {
    // SAFETY: it takes any size.
    unsafe { rpmalloc_sys::rpmalloc(size) }
}

/// Frees a block.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or [`ad_realloc`], and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_free(block: *mut c_void) {
    // SAFETY: the caller's promise is the one that it asks for.
    unsafe { rpmalloc_sys::rpfree(block) }
}

/// Makes a block `new_size` bytes long; null if there is no room.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or this function, and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_realloc(block: *mut c_void, _old_size: usize, new_size: usize) -> *mut c_void {
    // SAFETY: the caller's promise is the one that it asks for.
    unsafe { rpmalloc_sys::rprealloc(block, new_size) }
}
