//! Content that stays until it is handed back.

use core::ffi::{c_char, c_void};
use core::ptr::{NonNull, null, null_mut};

use super::concept::{id_of, required};
use super::service::{engram_service, service_of};
use super::status::{ENGRAM_OK, Failure, engram_status, fail, fail_with};
use crate::error::Error;
use crate::service::{MemoryAllocationService, Pin};

/// A concept's content as it was when it was pinned.
pub struct engram_pin {
    /// Open: it is not closed while something is pinned.
    service: NonNull<engram_service>,
    pin: Pin,
}

/// Pins a concept's content, without copying it: `*bytes` and `*length` say where it lies until
/// `engram_service_unpin`, and until then it neither changes nor moves, whatever other threads do: not when the concept
/// is updated, moved or deallocated. Its memory is not given again before that either, though it no longer counts
/// against the quota. Counts as an access. The pin may be handed back on another thread; while it is held,
/// `engram_service_close` is `ENGRAM_E_BUSY`.
///
/// `ENGRAM_E_NULL` if `service`, `id`, `bytes`, `length` or `out` is NULL, `ENGRAM_E_INVALID` if the id is not 1 to
/// 255 bytes of UTF-8, `ENGRAM_E_NOT_FOUND` if it is not allocated; then `*bytes` and `*out` are NULL and `*length` is 0.
/// Any; waits for nobody but others that pin, for a few instructions. Now and then it gives back what others freed, up
/// to 512 blocks. Takes host memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_pin(
    service: *mut engram_service,
    id: *const c_char,
    id_length: usize,
    bytes: *mut *const c_void,
    length: *mut usize,
    out: *mut *mut engram_pin,
) -> engram_status {
    let outs = [("bytes", bytes.is_null()), ("length", length.is_null()), ("out", out.is_null())];
    // SAFETY: where not null: the caller's promise.
    unsafe {
        if !bytes.is_null() {
            bytes.write(null());
        }
        if !length.is_null() {
            length.write(0);
        }
        if !out.is_null() {
            out.write(null_mut());
        }
    }
    let pinned = (|| {
        required(&outs)?;
        // SAFETY: the caller's promise.
        let (service, id) = unsafe { (service_of(service)?, id_of(id, id_length, "id")?) };
        Ok::<_, Failure>(service.pin(id)?)
    })();
    match (pinned, NonNull::new(service)) {
        (Ok(pin), Some(service)) => {
            let content = pin.content();
            // SAFETY: none is null; the caller's promise.
            unsafe {
                bytes.write(content.as_ptr().cast::<u8>().cast_const().cast());
                length.write(content.len());
                out.write(Box::into_raw(Box::new(engram_pin { service, pin })));
            }
            ENGRAM_OK
        }
        (Err(failure), _) => fail_with(&failure),
        (Ok(_), None) => fail(Error::Null("service")),
    }
}

/// Hands a pin back, once; its bytes must not be used afterwards. NULL: `ENGRAM_E_NULL`. Any thread, also another than
/// the one that pinned; waits for nobody but others that pin, for a few instructions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_unpin(pin: *mut engram_pin) -> engram_status {
    if pin.is_null() {
        return fail(Error::Null("pin"));
    }
    // SAFETY: made by `engram_service_pin`, and handed back once.
    let engram_pin { service, pin } = *unsafe { Box::from_raw(pin) };
    // SAFETY: the service is open: while something is pinned it is not closed. No reference to it is left once the pin has ended:
    // from then on it may be.
    unsafe { MemoryAllocationService::unpin(NonNull::from(&service.as_ref().service), pin) };
    ENGRAM_OK
}
