//! jemalloc behind the face that the runner loads.

use core::ffi::c_void;

/// Allocates `size` bytes; null if there are none.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc(size: usize) -> *mut c_void {
    // SAFETY: it takes any size.
    unsafe { tikv_jemalloc_sys::malloc(size) }
}

/// Frees a block.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or [`ad_realloc`], and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_free(block: *mut c_void) {
    // SAFETY: the caller's promise is the one that it asks for.
    unsafe { tikv_jemalloc_sys::free(block) }
}

/// Makes a block `new_size` bytes long; null if there is no room.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or this function, and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_realloc(block: *mut c_void, _old_size: usize, new_size: usize) -> *mut c_void {
    // SAFETY: the caller's promise is the one that it asks for.
    unsafe { tikv_jemalloc_sys::realloc(block, new_size) }
}
