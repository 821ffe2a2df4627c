//! The column in a variable, set once: what a C program pays that holds its column so. The runner keeps this variant to
//! one thread.

use crate::abi::Column;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

static COLUMN: AtomicPtr<Column> = AtomicPtr::new(null_mut());

/// The column; null if none is held.
#[inline]
pub fn column() -> *mut Column {
    // One thread: a plain load.
    COLUMN.load(Ordering::Relaxed)
}

/// Makes `column` the one.
pub fn set_column(column: *mut Column) {
    COLUMN.store(column, Ordering::Relaxed);
}
