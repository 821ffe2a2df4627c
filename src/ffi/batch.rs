//! Many blocks in one call.

use core::ffi::c_void;
use core::ptr::null_mut;

use super::arena::{arena_of, column_of, engram_arena};
use super::status::{ENGRAM_OK, engram_status, fail};
use crate::arena::{AsRequest, BatchFlags, REQUESTS_MAX, RUN, Request, Served, Words};
use crate::error::Error;
use crate::spike::SpikeTime;

/// All or none.
pub const ENGRAM_BATCH_ATOMIC: u32 = 1 << 0;
/// Within a column and size class, addresses ascend with spike time; from untouched memory if there is some. (Above 256 KiB: within a
/// column, size in spans of 32 KiB and alignment, all up to 16 bytes being one.)
pub const ENGRAM_BATCH_ORDERED: u32 = 1 << 1;

/// One allocation of a batch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct engram_request {
    /// Bytes, 1 to the capacity.
    pub size: usize,
    /// A power of two up to 2 MiB; 0 = 16.
    pub align: usize,
    /// The column, or `ENGRAM_COLUMN_ANY`, as of `engram_alloc`.
    pub column: u32,
    /// Nanoseconds to the first spike, or `ENGRAM_TTFS_NONE`.
    pub ttfs_ns: u32,
}

impl AsRequest for engram_request {
    #[inline(always)]
    fn request(self) -> Request {
        let Self { size, align, column, ttfs_ns } = self;
        Request { size, align, column: column_of(column), spike: SpikeTime::from_nanos(ttfs_ns) }
    }

    #[inline(always)]
    fn words(self) -> Words {
        [self.size as u64, self.align as u64, u64::from(self.ttfs_ns) << 32 | u64::from(self.column)]
    }

    #[cfg(all(target_endian = "little", target_pointer_width = "64"))]
    #[inline(always)]
    fn words_of<'a>(requests: &'a [Self], _buffer: &'a mut [Words; RUN]) -> &'a [Words] {
        const { assert!(size_of::<Self>() == size_of::<Words>() && align_of::<Self>() == align_of::<Words>()) };
        // SAFETY: just asserted; its fields are those of the words in their order, the low half of the last one first.
        unsafe { core::slice::from_raw_parts(requests.as_ptr().cast(), requests.len()) }
    }
}

/// No memory holds more requests: an array that is said to be longer is neither read nor written.
pub(crate) const ENTRIES_MAX: usize = isize::MAX as usize / size_of::<engram_request>();
const _: () = assert!(REQUESTS_MAX < ENTRIES_MAX);

/// A count of entries above that.
pub(crate) const fn too_many(asked: usize) -> Error {
    Error::ArrayLength { asked, most: ENTRIES_MAX }
}

/// The caller's output, `None` if it is null and has entries; empty if it has more than `most`, which are no more than memory holds.
///
/// # Safety
/// `out` has `count` writable entries, or is null, or `count` is above `most`.
pub(crate) unsafe fn slots<'a>(out: *mut *mut c_void, count: usize, most: usize) -> Option<&'a mut [*mut u8]> {
    if out.is_null() {
        return (count == 0).then_some(&mut []);
    }
    let count = if count > most { 0 } else { count };
    // SAFETY: not null; the caller's promise; no longer than memory can be.
    Some(unsafe { core::slice::from_raw_parts_mut(out.cast(), count) })
}

/// Allocates many blocks, the earliest spike first: `out[i]` answers `requests[i]`, NULL where refused;
/// `served` may be NULL, and both arrays if there are no requests. Returns `ENGRAM_OK`, or the status of the first request
/// refused in the order of serving; with `ENGRAM_BATCH_ATOMIC` every `out[i]` is NULL then, and `*served` 0.
/// `ENGRAM_E_INVALID`: a flag that is not known, or more than 2^31 requests, and then `out` stays as it is. In a region file each
/// block counts by itself: if the process is killed in the middle, those served so far are there. Any, lock-free; time grows with n log
/// n.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_alloc_batch(
    arena: *mut engram_arena,
    requests: *const engram_request,
    count: usize,
    flags: u32,
    out: *mut *mut c_void,
    served: *mut usize,
) -> engram_status {
    if !served.is_null() {
        // SAFETY: not null; the caller's promise.
        unsafe { served.write(0) };
    }
    // SAFETY: the caller's promise.
    let Some(out) = (unsafe { slots(out, count, REQUESTS_MAX) }) else { return fail(Error::Null("out")) };
    // SAFETY: the caller's promises: an arena, and `count` requests.
    let result = match unsafe { arena_of(arena) } {
        _ if requests.is_null() && count > 0 => Err(Error::Null("requests")),
        Err(error) => Err(error),
        Ok(_) if count > REQUESTS_MAX => Err(Error::BatchLength(count)),
        Ok(arena) => {
            // SAFETY: not null; the caller says that it has `count` entries; no longer than memory can be.
            let requests = if count == 0 { &[] } else { unsafe { core::slice::from_raw_parts(requests, count) } };
            BatchFlags::from_bits(flags).and_then(|flags| arena.serve_batch(requests, flags, out))
        }
    };
    let Served { blocks, refused } = result.unwrap_or_else(|error| {
        out.fill(null_mut());
        Served { blocks: 0, refused: Some(error) }
    });
    if !served.is_null() {
        // SAFETY: not null; the caller's promise.
        unsafe { served.write(blocks) };
    }
    refused.map_or(ENGRAM_OK, fail)
}

#[cfg(all(test, not(loom)))]
mod tests;
