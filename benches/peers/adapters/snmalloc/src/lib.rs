//! snmalloc behind the face that the runner loads.

use core::ffi::c_void;

/// Allocates `size` bytes; null if there are none.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc(size: usize) -> *mut c_void {
    // SAFETY: it takes any size.
    unsafe { snmalloc_sys::sn_malloc(size) }
}

/// Frees a block.
///
/// # Safety
/// `block` comes from [`ad_alloc`] and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_free(block: *mut c_void) {
    // SAFETY: the caller's promise is the one that it asks for.
    unsafe { snmalloc_sys::sn_free(block) }
}
