//! The service's metrics as JSON.

use core::ffi::c_char;

use super::cancel::Uncancelled;
use super::service::{engram_service, service_of};
use super::status::{Text, fail_with};

/// Writes a snapshot as one JSON object, as `snprintf` would: at most `capacity` bytes with the NUL; returns the full
/// length without it. No newline at the end. A snapshot is taken in each call: ask for the length, and the text may
/// have grown a little by the next.
///
/// The names are `total_allocations`, `active_allocations` (what is freed and allocated anew meanwhile may be in it twice; what a batch
/// has allocated is in both, and in its pool's allocations, when nothing can undo it any more: mostly when the batch is over),
/// `average_allocation_time_ns`, `allocation_time_p50_ns`, `allocation_time_p99_ns`, `allocation_time_max_ns` (nanoseconds, waiting
/// included), `memory_utilization`, `fragmentation_level`, `cache_hit_rate`, `edge_cut` (0 to 1), retries, relocations, and
/// `pool_statistics`, an array with an object for each pool in the order of the config: `pool_id` and `concept_type` (its name),
/// `quota_bytes`, `used_bytes`, `peak_bytes`, `reserve_bytes`, allocations, deallocations, refusals, expansions, `alternatives_served`.
///
/// `buffer` may be NULL. NULL service: 0, and the text is empty. Any; calls the system, and takes time that grows with
/// the concepts and the capacity.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_metrics_json(service: *const engram_service, buffer: *mut c_char, capacity: usize) -> usize {
    let _uncancelled = Uncancelled::new();
    // SAFETY: the caller's promise: NULL, or `capacity` bytes.
    let mut text = unsafe { Text::new(buffer, capacity) };
    // SAFETY: the caller's promise.
    match unsafe { service_of(service) } {
        Ok(service) => {
            let _ = service.get_allocation_metrics().write_json(&mut text);
        }
        Err(failure) => {
            fail_with(&failure);
        }
    }
    text.finish()
}
