//! How a service is opened: its memory, its pools, what it remembers and how many it lets in.

use core::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::guidance::ConceptType;
use crate::spike::SpikeTime;

/// Pools of the largest service.
pub const POOLS_MAX: usize = 64;

/// A pool: what the concepts of one type may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// The type, which names the pool.
    pub concept_type: ConceptType,
    /// Bytes at the start of the memory whose pages are touched at open. Each column begins in a chunk of 2 MiB of its own; pages
    /// behind these bytes, and metadata, are touched when first used. At most the quota; together at most the capacity.
    pub initial_bytes: usize,
    /// Bytes that the pool's concepts may take, each rounded to its size class, heads included. Any number;
    /// the quotas of all pools together may exceed the capacity. (What the pool has in a region file that is opened stays, and
    /// counts, even if it is more.)
    pub quota_bytes: usize,
    /// Bytes of the quota that only requests with a first spike at or before `reserve_spike` may use. At most the quota.
    pub reserve_bytes: usize,
    /// The latest first spike that may use the reserve.
    pub reserve_spike: SpikeTime,
    /// Pools that serve when this one is full, tried in order: others of the service, each once.
    pub alternatives: Vec<ConceptType>,
}

impl PoolConfig {
    /// A pool of `quota_bytes` bytes: nothing made ready, no reserve, no alternatives.
    pub fn new(concept_type: ConceptType, quota_bytes: usize) -> Self {
        Self { concept_type, initial_bytes: 0, quota_bytes, reserve_bytes: 0, reserve_spike: SpikeTime::NONE, alternatives: Vec::new() }
    }
}

/// How a service is opened.
///
/// The default has 256 MiB of anonymous memory in 64 columns, a pool that may use all of it for each constant of
/// [`ConceptType`], 65,536 remembered decisions for an hour each, 1,024 permits with a second's wait, and guidance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationServiceConfig {
    /// A region file, created or opened with every concept that is in it; `None` for anonymous memory. It is the service's own: its roots
    /// 14 and 15, and every block. With a block in it that is not the service's, or without a concept that it had when it was closed,
    /// it is refused ([`Error::Format`](crate::Error::Format)); but where a process died, what no root names and was not published is
    /// freed.
    pub path: Option<PathBuf>,
    /// Bytes of memory for concepts, 1 to 1 TiB, rounded up to 2 MiB.
    pub capacity_bytes: usize,
    /// Columns, 1 to 65,536.
    pub columns: u32,
    /// At most 64 pools, one for a type at most, at least one.
    pub pool_configurations: Vec<PoolConfig>,
    /// Decisions that are remembered, 128 bytes each. 0: none; above 16,777,216 counts as that.
    pub allocation_cache_size: usize,
    /// How long a decision is remembered.
    pub allocation_cache_ttl: Duration,
    /// Requests of a batch whose hints are known before the first of them is placed, at least 1.
    pub batch_size: usize,
    /// Allocations, batches and updates that may run at the same time, at least 1.
    pub max_concurrent_allocations: usize,
    /// How long a caller waits to be let in. Zero: not at all.
    pub admission_timeout: Duration,
    /// Whether meaning and neighbours decide the column; else a hash of the id does.
    pub guidance: bool,
    /// Enters the hashes by which ids are found and, without guidance, placed. Who lets strangers choose ids gives one that they
    /// cannot know; the same seed and calls on one thread give the same offsets. (The hashes in a region file have a random number
    /// of the file's own.)
    pub seed: u64,
}

impl Default for AllocationServiceConfig {
    fn default() -> Self {
        let capacity_bytes = 256 << 20;
        Self {
            path: None,
            capacity_bytes,
            columns: 64,
            pool_configurations: ConceptType::ALL.map(|concept_type| PoolConfig::new(concept_type, capacity_bytes)).to_vec(),
            allocation_cache_size: 1 << 16,
            allocation_cache_ttl: Duration::from_secs(3600),
            batch_size: 1024,
            max_concurrent_allocations: 1024,
            admission_timeout: Duration::from_secs(1),
            guidance: true,
            seed: 0,
        }
    }
}

/// Why a service was not opened, or could not be synchronised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocationServiceError {
    /// A part of the config is out of its range.
    #[error("{what} is {given}; it must be {allowed}")]
    Invalid {
        /// The part.
        what: &'static str,
        /// What was given.
        given: String,
        /// What may be given.
        allowed: &'static str,
    },
    /// The memory could not be had, or not be brought to disk.
    #[error("the service's memory: {0}")]
    Arena(#[from] Error),
}

impl AllocationServiceConfig {
    /// Whether every part is in its range; capacity and columns are left to the arena.
    pub(super) fn validate(&self) -> Result<(), AllocationServiceError> {
        ensure(self.max_concurrent_allocations > 0, "the number of concurrent allocations", &0, "at least 1")?;
        ensure(self.batch_size > 0, "batch_size", &0, "at least 1")?;
        let pools = &self.pool_configurations;
        ensure(
            (1..=POOLS_MAX).contains(&pools.len()),
            "the list of pools",
            &format_args!("{} pools long", pools.len()),
            "1 to 64 pools long",
        )?;
        let mut initial = 0_usize;
        for (index, pool) in pools.iter().enumerate() {
            let name = pool.concept_type;
            let is_first = pools[..index].iter().all(|other| other.concept_type != name);
            ensure(
                is_first,
                "the list of pools",
                &format_args!("one with two pools for the type {name}"),
                "one with one pool for a type at most",
            )?;
            let fits = pool.initial_bytes <= pool.quota_bytes;
            ensure(fits, "initial_bytes", &format_args!("{} in pool {name}", pool.initial_bytes), "at most the pool's quota_bytes")?;
            let fits = pool.reserve_bytes <= pool.quota_bytes;
            ensure(fits, "reserve_bytes", &format_args!("{} in pool {name}", pool.reserve_bytes), "at most the pool's quota_bytes")?;
            for (place, other) in pool.alternatives.iter().enumerate() {
                let known = *other != name && pools.iter().any(|pool| pool.concept_type == *other);
                ensure(known, "alternatives", &format_args!("{other} in pool {name}"), "another pool of the service")?;
                let is_first = !pool.alternatives[..place].contains(other);
                ensure(is_first, "alternatives", &format_args!("{other} twice in pool {name}"), "each pool once at most")?;
            }
            initial = initial.saturating_add(pool.initial_bytes);
        }
        ensure(initial <= self.capacity_bytes, "initial_bytes", &format_args!("{initial} in all pools"), "at most the capacity together")
    }
}

fn ensure(holds: bool, what: &'static str, given: &dyn fmt::Display, allowed: &'static str) -> Result<(), AllocationServiceError> {
    if holds { Ok(()) } else { Err(AllocationServiceError::Invalid { what, given: given.to_string(), allowed }) }
}
