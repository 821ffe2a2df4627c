//! How a service is opened.

use core::ffi::{CStr, c_char};
use core::time::Duration;

use super::arena::path_of;
use super::concept::type_of;
use super::status::{ENGRAM_OK, Failure, engram_status, fail};
use crate::error::Error;
use crate::service::{AllocationError, AllocationServiceConfig, AllocationServiceError, POOLS_MAX, PoolConfig};
use crate::spike::SpikeTime;

/// A pool: what the concepts of one type may take. Zeroed, but for type and quota, it has nothing ready and
/// keeps nothing back.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct engram_pool_config {
    /// The type, which names the pool: 1 to 32 bytes of `a-z`, `0-9`, `_` and `-`; not NULL. Copied.
    pub r#type: *const c_char,
    /// Its bytes.
    pub type_length: usize,
    /// Bytes at the start of the memory whose pages are touched at open; at most the quota, and in all pools at most the capacity.
    /// Each column begins in a chunk of 2 MiB of its own; pages behind these bytes, and metadata, are touched when first used.
    pub initial_bytes: u64,
    /// Bytes that the pool's concepts may take, each rounded to its size class; never exceeded. Any number. (What the pool
    /// has in a region file that is opened stays, and counts, even if it is more.)
    pub quota_bytes: u64,
    /// Bytes of the quota that only requests with a first spike at or before `reserve_ttfs_ns` may use; at most
    /// the quota.
    pub reserve_bytes: u64,
    /// Nanoseconds to the latest first spike that may use the reserve; `ENGRAM_TTFS_NONE`: every request may.
    pub reserve_ttfs_ns: u32,
    /// Zero.
    pub reserved: u32,
}

/// What a service is opened with; set it up with `engram_service_config_init`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct engram_service_config {
    /// Set by `engram_service_config_init`.
    pub struct_size: u32,
    /// 1 to 65536; default 64.
    pub columns: u32,
    /// Region file, or NULL (default): anonymous memory. It is created, or opened with every concept that is in it. It is the service's
    /// own: its roots 14 and 15, and every block. With a block in it that is not the service's, or without a concept that it had when it was
    /// closed, it is refused (`ENGRAM_E_FORMAT`); but where a process died, what no root names and was not published is freed.
    pub path: *const c_char,
    /// Bytes of memory for concepts, 1 to 1 TiB; default 256 MiB; rounded up to 2 MiB.
    pub capacity: u64,
    /// The pools, one for a type at most; not NULL if `pool_count` is above 0.
    pub pools: *const engram_pool_config,
    /// Their number, at most 64. 0 (default): a pool for each of entity, abstract, event, category, relationship,
    /// property, temporal and spatial, each with a quota of the capacity.
    pub pool_count: usize,
    /// Decisions that are remembered, 128 bytes each; 0: none; default 65,536; above 16,777,216 counts as that.
    pub cache_entries: u32,
    /// Milliseconds for which they are remembered; 0: not at all; default 3,600,000.
    pub cache_ttl_ms: u32,
    /// Allocations, batches and updates that may run at the same time, at least 1; default 1,024.
    pub max_concurrent: u32,
    /// Milliseconds that a call waits for its turn, then `ENGRAM_E_BUSY`; 0: it does not wait; default 1,000.
    pub admission_timeout_ms: u32,
    /// 1 (default): meaning and neighbours decide the column; 0: a hash of the id does.
    pub guidance: u32,
    /// Zero.
    pub reserved: [u32; 7],
    /// Enters that hash, and those by which ids are found; default 0.
    pub seed: u64,
}

impl engram_service_config {
    fn default_config() -> Self {
        let config = AllocationServiceConfig::default();
        Self {
            struct_size: size_of::<Self>() as u32,
            columns: config.columns,
            path: core::ptr::null(),
            capacity: config.capacity_bytes as u64,
            pools: core::ptr::null(),
            pool_count: 0,
            cache_entries: config.allocation_cache_size as u32,
            cache_ttl_ms: config.allocation_cache_ttl.as_millis() as u32,
            max_concurrent: config.max_concurrent_allocations as u32,
            admission_timeout_ms: config.admission_timeout.as_millis() as u32,
            guidance: u32::from(config.guidance),
            reserved: [0; 7],
            seed: config.seed,
        }
    }

    /// # Safety
    /// `pools` is null or has `pool_count` pools, and their types are null or of their lengths.
    unsafe fn pools(&self) -> Result<Vec<PoolConfig>, Failure> {
        if self.pool_count == 0 {
            let quota = bytes(self.capacity);
            let default = AllocationServiceConfig::default().pool_configurations;
            return Ok(default.iter().map(|pool| PoolConfig::new(pool.concept_type, quota)).collect());
        }
        if self.pools.is_null() {
            return Err(Error::Null("pools").into());
        }
        if self.pool_count > POOLS_MAX {
            let given = self.pool_count.to_string();
            return Err(
                AllocationServiceError::Invalid { what: "pool_count", given, allowed: "1 to 64, or 0 for the default pools" }.into()
            );
        }
        // SAFETY: not null; the caller's promise.
        let pools = unsafe { core::slice::from_raw_parts(self.pools, self.pool_count) };
        if pools.iter().any(|pool| pool.r#type.is_null()) {
            return Err(Error::Null("a pool's type").into());
        }
        let each = pools.iter().map(|pool| {
            if pool.reserved != 0 {
                return Err(Error::Reserved.into());
            }
            Ok(PoolConfig {
                initial_bytes: bytes(pool.initial_bytes),
                reserve_bytes: bytes(pool.reserve_bytes),
                reserve_spike: SpikeTime::from_nanos(pool.reserve_ttfs_ns),
                // SAFETY: the caller's promise.
                ..PoolConfig::new(unsafe { type_of(pool.r#type, pool.type_length, "a pool's type") }?, bytes(pool.quota_bytes))
            })
        });
        each.collect()
    }

    /// # Safety
    /// As [`engram_service_config::pools`].
    unsafe fn config(&self) -> Result<AllocationServiceConfig, Failure> {
        // SAFETY: the caller's promise.
        let pool_configurations = unsafe { self.pools() }?;
        if self.reserved != [0; 7] {
            return Err(Error::Reserved.into());
        }
        if self.guidance > 1 {
            return Err(AllocationError::invalid("guidance", &self.guidance, "0 or 1").into());
        }
        // SAFETY: the caller's promise: NULL, or it ends with a NUL.
        let path = (!self.path.is_null()).then(|| path_of(unsafe { CStr::from_ptr(self.path) })).transpose()?;
        Ok(AllocationServiceConfig {
            path,
            capacity_bytes: bytes(self.capacity),
            columns: self.columns,
            pool_configurations,
            allocation_cache_size: self.cache_entries as usize,
            allocation_cache_ttl: Duration::from_millis(self.cache_ttl_ms.into()),
            max_concurrent_allocations: self.max_concurrent as usize,
            admission_timeout: Duration::from_millis(self.admission_timeout_ms.into()),
            guidance: self.guidance == 1,
            seed: self.seed,
            ..AllocationServiceConfig::default()
        })
    }
}

/// Bytes of an address space of 64 bits; of a smaller one all, which no capacity has.
fn bytes(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The config behind a pointer that is null or valid. Only `struct_size` is read if it is not ours.
///
/// # Safety
/// `config` is null or points to a struct of the size that it says, and its pointers are null or valid.
pub(crate) unsafe fn service_config_of(config: *const engram_service_config) -> Result<AllocationServiceConfig, Failure> {
    if config.is_null() {
        return Err(Error::Null("config").into());
    }
    let expected = size_of::<engram_service_config>();
    // SAFETY: not null, and every version of the struct starts with its size.
    let asked = unsafe { (&raw const (*config).struct_size).read() } as usize;
    if asked != expected {
        return Err(Error::StructSize { asked, expected }.into());
    }
    // SAFETY: the caller says that it has this size, and that its pointers are valid.
    unsafe { config.read().config() }
}

/// Sets a config to its defaults. `struct_size` is `sizeof(engram_service_config)`; another size is
/// `ENGRAM_E_INVALID`, and then nothing is written. NULL: `ENGRAM_E_NULL`. Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_service_config_init(config: *mut engram_service_config, struct_size: usize) -> engram_status {
    if config.is_null() {
        return fail(Error::Null("config"));
    }
    let expected = size_of::<engram_service_config>();
    if struct_size != expected {
        return fail(Error::StructSize { asked: struct_size, expected });
    }
    // SAFETY: not null, and the caller says that it has this size.
    unsafe { config.write(engram_service_config::default_config()) };
    ENGRAM_OK
}

#[cfg(test)]
mod tests;
