//! What the service answers.

use std::time::Duration;

use super::pool::PoolStatistics;
use crate::guidance::{AllocationStrategyType, Strategy, TtfsEncoding};

/// Where a concept lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySlot {
    /// Bytes from the start of the service's memory to the content's first byte. No two concepts have the same.
    pub offset: u64,
    /// Bytes that the content may take there.
    pub size_bytes: usize,
    /// The column.
    pub column: u32,
    /// 1 when it is allocated, one more with each update. Relocation leaves it.
    pub version: u64,
}

/// How a concept was allocated.
#[derive(Clone, Debug, PartialEq)]
pub struct AllocationResult {
    /// Where it lies.
    pub memory_slot: MemorySlot,
    /// How the place was reached: pool, strategy, column, zone.
    pub allocation_path: Vec<String>,
    /// The name of the winning column's pathway; the same for a column in every service.
    pub neural_pathway_id: String,
    /// When the request first spikes.
    pub ttfs_encoding: TtfsEncoding,
    /// The column, the same as the slot's.
    pub cortical_column_id: u32,
    /// How long it took, waiting included; but for the texts of this answer.
    pub allocation_time: Duration,
    /// How clear the column's victory was, 0 to 1; 0 if no guidance decided.
    pub confidence_score: f64,
    /// The pool that served; not the type's own if that was full and has alternatives.
    pub memory_pool_id: String,
    /// How it was served.
    pub allocation_strategy: AllocationStrategyType,
    /// Whether the decision was remembered.
    pub cache_hit: bool,
    /// Whether guidance chose the column; else a hash of the id.
    pub guided: bool,
}

/// What is answered, in numbers. [`AllocationResult`] has texts, which take more time and memory than all the rest: not everybody
/// wants them, and of a batch not before it stands.
#[derive(Clone, Copy)]
pub(crate) struct Granted {
    pub(crate) memory_slot: MemorySlot,
    pub(crate) ttfs_encoding: TtfsEncoding,
    pub(crate) allocation_time: Duration,
    pub(crate) confidence_score: f64,
    /// The number of the pool that served.
    pub(crate) pool: usize,
    pub(crate) strategy: Strategy,
    pub(crate) cache_hit: bool,
    pub(crate) guided: bool,
}

impl AllocationResult {
    /// How long it took in whole milliseconds, waiting included.
    pub fn allocation_time_ms(&self) -> u64 {
        self.allocation_time.as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// What a deallocation gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeallocationResult {
    /// The concept's id.
    pub concept_id: String,
    /// Bytes by which the pool's used bytes have fallen.
    pub freed_memory_size: usize,
    /// How long it took.
    pub deallocation_time: Duration,
    /// The pool that had served it.
    pub pool_id: String,
}

/// A snapshot of the service's counters. Times are zero as long as nothing was allocated.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AllocationMetrics {
    /// Concepts allocated since open; updates and relocations are none. What a batch has allocated is counted when nothing can undo it any
    /// more: mostly all at once, when the batch is over.
    pub total_allocations: u64,
    /// Concepts that live, those that were there at open included: they, and all that was allocated, less all that was freed. What a
    /// batch under way has allocated is not in it before it is counted as allocated, though it can be read and is listed already. What is
    /// freed and allocated anew while the counters are read may be in it twice: then it is above what lived at any moment.
    pub active_allocations: u64,
    /// Mean time of an allocation, waiting included.
    pub average_allocation_time: Duration,
    /// The time that half of the allocations took at most.
    pub allocation_time_p50: Duration,
    /// The time that 99 of 100 took at most.
    pub allocation_time_p99: Duration,
    /// The longest. (This and the two before it are up to 1 % more than was measured, and a minute at most.)
    pub allocation_time_max: Duration,
    /// Bytes of live concepts (content, id and head) over bytes of the 4 KiB pages, the arena's own metadata included,
    /// that this process has touched; 1 if none lives.
    pub memory_utilization: f64,
    /// 1 less the largest free run over all that is free, 0 to 1.
    pub fragmentation_level: f64,
    /// Decisions that were remembered over all decisions; 0 if there were none.
    pub cache_hit_rate: f64,
    /// Compare-and-swaps that had to be tried again.
    pub retries: u64,
    /// Concepts that maintenance moved.
    pub relocations: u64,
    /// Known edges between live concepts whose ends lie in different columns, over all of them; 0 if there are none.
    pub edge_cut: f64,
    /// Each pool, in the order of the config.
    pub pool_statistics: Vec<PoolStatistics>,
}

/// What maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaintenanceReport {
    /// Concepts moved.
    pub relocated: u64,
    /// Bytes given back to the system.
    pub decommitted_bytes: u64,
    /// Whether there is more to do.
    pub more: bool,
}
