//! Metrics: as a struct, JSON, `OpenMetrics`.

use core::ffi::c_char;

use super::arena::{arena_of, engram_arena};
use super::status::{ENGRAM_OK, Text, engram_status, fail};
use crate::error::Error;
use crate::metrics::Metrics;

/// An arena's counters. It grows at the end only; exact while nothing runs. They begin when the arena is opened, in a region file too:
/// the blocks found there count as given then, and all that is told of the time before is 0.
#[repr(C)]
pub struct engram_metrics {
    /// Bytes of this struct that were filled.
    pub struct_size: u32,
    /// Columns.
    pub columns: u32,
    /// Bytes of user memory.
    pub bytes_capacity: u64,
    /// Bytes in spans handed to columns.
    pub bytes_committed: u64,
    /// Bytes in blocks, rounded to their classes.
    pub bytes_live: u64,
    /// The highest of them, and what the stacks of cells kept then; never falls while the arena is open. What is allocated or moved in
    /// a column while it is held, but not through its handle, counts when metrics are taken, and is left out in between. What others
    /// freed of a held column counts until the column takes it back, so that for one column it is at most the highest
    /// `bytes_committed`. What several columns had at one moment is known when metrics are taken: in between it may be too
    /// low, or too high by what one column had after another.
    pub bytes_peak: u64,
    /// Blocks given, or found at the opening; moved reallocations included. `allocs - frees` blocks are live.
    pub allocs: u64,
    /// Blocks taken back; moved reallocations and resets included.
    pub frees: u64,
    /// Of them, not through the handle of the block's column.
    pub remote_frees: u64,
    /// Allocations refused; those of a batch that is undone, or of a held column, count as one. Calls of which nothing is tried (a
    /// handle or array that is NULL, unknown flags, a batch that is too long) are not counted.
    pub failed: u64,
    /// Frees refused.
    pub misuse: u64,
    /// Compare-and-swaps that had to be tried again.
    pub retries: u64,
    /// Batch calls.
    pub batches: u64,
}

/// Takes a snapshot. `struct_size` is `sizeof(engram_metrics)`; another size is `ENGRAM_E_INVALID`. Any,
/// no lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_metrics_get(arena: *const engram_arena, out: *mut engram_metrics, struct_size: usize) -> engram_status {
    let expected = size_of::<engram_metrics>();
    // SAFETY: the caller's promise.
    let arena = unsafe { arena_of(arena) }.and_then(|arena| {
        if out.is_null() {
            Err(Error::Null("out"))
        } else if struct_size == expected {
            Ok(arena)
        } else {
            Err(Error::StructSize { asked: struct_size, expected })
        }
    });
    match arena {
        Ok(arena) => {
            let Metrics {
                columns,
                bytes_capacity,
                bytes_committed,
                bytes_live,
                bytes_peak,
                allocs,
                frees,
                remote_frees,
                failed,
                misuse,
                retries,
                batches,
            } = arena.metrics();
            let struct_size = expected as u32;
            // SAFETY: not null, and the caller says that it has this size.
            unsafe {
                out.write(engram_metrics {
                    struct_size,
                    columns,
                    bytes_capacity,
                    bytes_committed,
                    bytes_live,
                    bytes_peak,
                    allocs,
                    frees,
                    remote_frees,
                    failed,
                    misuse,
                    retries,
                    batches,
                });
            }
            ENGRAM_OK
        }
        Err(error) => fail(error),
    }
}

unsafe fn write_text(
    arena: *const engram_arena,
    buffer: *mut c_char,
    capacity: usize,
    write: impl FnOnce(&Metrics, &mut Text) -> core::fmt::Result,
) -> usize {
    // SAFETY: the caller's promise: NULL, or `capacity` bytes.
    let mut text = unsafe { Text::new(buffer, capacity) };
    // SAFETY: the caller's promise.
    match unsafe { arena_of(arena) } {
        Ok(arena) => {
            let _ = write(&arena.metrics(), &mut text);
            text.finish()
        }
        Err(error) => {
            fail(error);
            text.finish()
        }
    }
}

/// Writes a snapshot as one JSON object, as `snprintf` would; no newline at the end. Any, no lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_metrics_json(arena: *const engram_arena, buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { write_text(arena, buffer, capacity, Metrics::write_json) }
}

/// Writes a snapshot as `OpenMetrics` text, as `snprintf` would. Any, no lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_metrics_openmetrics(arena: *const engram_arena, buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's promise.
    unsafe { write_text(arena, buffer, capacity, Metrics::write_openmetrics) }
}
