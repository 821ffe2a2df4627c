//! engram's Rust face behind the face that the runner loads: what a Rust program pays that has its column in a variable,
//! with `Column`'s functions inlined. The runner keeps this variant to one thread.

#[path = "../../engram/src/capacity.rs"]
mod capacity;

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use engram::{Arena, Column, ColumnId, SpikeTime};
use std::process::exit;

const COLUMNS: u32 = 64;
const ALIGN: usize = 16;

struct OneThread(UnsafeCell<Option<Column<'static>>>);

// SAFETY: the runner keeps this variant to one thread (the module's own words).
unsafe impl Sync for OneThread {}

static COLUMN: OneThread = OneThread(UnsafeCell::new(None));

/// The column.
///
/// # Safety
/// After [`ad_init`].
#[inline]
unsafe fn column() -> &'static Column<'static> {
    // SAFETY: one thread; `ad_init` put it there, and nothing changes it afterwards.
    unsafe { (*COLUMN.0.get()).as_ref().unwrap_unchecked() }
}

/// Opens the arena and takes a column, for good.
#[unsafe(no_mangle)]
pub extern "C" fn ad_init() {
    // A refused free would cost nothing and leak: make it fatal instead.
    let builder = Arena::builder().capacity(capacity::capacity()).columns(COLUMNS).abort_on_misuse(true);
    let column = builder.build().and_then(|arena| Box::leak(Box::new(arena)).column(ColumnId::new(0)));
    match column {
        // SAFETY: one thread, before any other use.
        Ok(column) => unsafe { *COLUMN.0.get() = Some(column) },
        Err(error) => {
            eprintln!("engram: no column to hold: {error}");
            exit(1)
        }
    }
}

/// Allocates `size` bytes; null if there are none.
#[unsafe(no_mangle)]
pub extern "C" fn ad_alloc(size: usize) -> *mut c_void {
    // SAFETY: after `ad_init`.
    let block = unsafe { column() }.alloc(size, ALIGN, SpikeTime::NONE);
    block.map_or(null_mut(), |block| block.as_ptr().cast())
}

/// Frees a block.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or [`ad_realloc`], and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_free(block: *mut c_void) {
    // SAFETY: after `ad_init`; the caller's promise covers the block, which is not null.
    let freed = unsafe { column().free(NonNull::new_unchecked(block.cast())) };
    // Misuse aborts.
    debug_assert!(freed.is_ok());
}

/// Makes a block `new_size` bytes long; null if there is no room.
///
/// # Safety
/// `block` comes from [`ad_alloc`] or this function, and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ad_realloc(block: *mut c_void, _old_size: usize, new_size: usize) -> *mut c_void {
    // SAFETY: after `ad_init`; the caller's promise covers the block, which is not null.
    let block = unsafe { column().realloc(NonNull::new_unchecked(block.cast()), new_size, SpikeTime::NONE) };
    block.map_or(null_mut(), |block| block.as_ptr().cast())
}
