//! The service's metrics as JSON.

use core::ffi::c_char;
use core::fmt::{self, Write};

use super::service::{engram_service, service_of};
use super::status::{Text, fail_with};
use crate::service::{AllocationMetrics, PoolStatistics};

/// Writes a snapshot as one JSON object, as `snprintf` would: at most `capacity` bytes with the NUL; returns the full
/// length without it. No newline at the end. A snapshot is taken in each call: ask for the length, and the text may
/// have grown a little by the next.
///
/// The names are `total_allocations`, `active_allocations`, `average_allocation_time_ns`, `allocation_time_p50_ns`,
/// `allocation_time_p99_ns`, `allocation_time_max_ns` (nanoseconds, waiting included), `memory_utilization`,
/// `fragmentation_level`, `cache_hit_rate`, `edge_cut` (0 to 1), retries, relocations, and `pool_statistics`, an array with an
/// object for each pool in the order of the config: `pool_id` and `concept_type` (its name), `quota_bytes`, `used_bytes`,
/// `peak_bytes`, `reserve_bytes`, allocations, deallocations, refusals, expansions, `alternatives_served`.
///
/// `buffer` may be NULL. NULL service: 0, and the text is empty. Any; calls the system, and takes time that grows with
/// the concepts and the capacity.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_metrics_json(service: *const engram_service, buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's promise: NULL, or `capacity` bytes.
    let mut text = unsafe { Text::new(buffer, capacity) };
    // SAFETY: the caller's promise.
    match unsafe { service_of(service) } {
        Ok(service) => {
            let _ = write_metrics(&service.get_allocation_metrics(), &mut text);
        }
        Err(failure) => {
            fail_with(&failure);
        }
    }
    text.finish()
}

fn write_metrics(metrics: &AllocationMetrics, out: &mut Text) -> fmt::Result {
    let AllocationMetrics {
        total_allocations,
        active_allocations,
        average_allocation_time,
        allocation_time_p50,
        allocation_time_p99,
        allocation_time_max,
        memory_utilization,
        fragmentation_level,
        cache_hit_rate,
        retries,
        relocations,
        edge_cut,
        pool_statistics,
    } = metrics;
    write!(out, r#"{{"total_allocations":{total_allocations},"active_allocations":{active_allocations}"#)?;
    for (name, time) in [
        ("average_allocation_time", average_allocation_time),
        ("allocation_time_p50", allocation_time_p50),
        ("allocation_time_p99", allocation_time_p99),
        ("allocation_time_max", allocation_time_max),
    ] {
        write!(out, r#","{name}_ns":{}"#, time.as_nanos())?;
    }
    write!(out, r#","memory_utilization":{memory_utilization},"fragmentation_level":{fragmentation_level}"#)?;
    write!(out, r#","cache_hit_rate":{cache_hit_rate},"retries":{retries},"relocations":{relocations}"#)?;
    write!(out, r#","edge_cut":{edge_cut},"pool_statistics":["#)?;
    for (index, pool) in pool_statistics.iter().enumerate() {
        if index > 0 {
            out.write_char(',')?;
        }
        write_pool(pool, out)?;
    }
    out.write_str("]}")
}

/// Names have no byte that JSON would want escaped.
fn write_pool(pool: &PoolStatistics, out: &mut Text) -> fmt::Result {
    let PoolStatistics {
        pool_id,
        concept_type,
        quota_bytes,
        used_bytes,
        peak_bytes,
        reserve_bytes,
        allocations,
        deallocations,
        refusals,
        expansions,
        alternatives_served,
    } = pool;
    write!(out, r#"{{"pool_id":"{pool_id}","concept_type":"{concept_type}""#)?;
    for (name, value) in [
        ("quota_bytes", quota_bytes),
        ("used_bytes", used_bytes),
        ("peak_bytes", peak_bytes),
        ("reserve_bytes", reserve_bytes),
        ("allocations", allocations),
        ("deallocations", deallocations),
        ("refusals", refusals),
        ("expansions", expansions),
        ("alternatives_served", alternatives_served),
    ] {
        write!(out, r#","{name}":{value}"#)?;
    }
    out.write_char('}')
}
