//! What is reported of WordNet through the service.

use std::path::PathBuf;

use serde::Serialize;

/// A load of the graph and what became of it.
#[derive(Debug, Serialize)]
pub struct ConceptsReport {
    /// Concepts.
    pub concepts: usize,
    /// Known edges.
    pub edges: usize,
    /// Columns.
    pub columns: u32,
    /// The first load: every decision is new.
    pub fresh: Load,
    /// The second: decisions are remembered.
    pub again: Load,
    /// Nanoseconds of a read of what is in the caches.
    pub read_ns: f64,
    /// Memory utilisation after the first load.
    pub utilization: f64,
    /// Edges cut, by what decided.
    pub worth: Vec<Worth>,
    /// Pages that a spreading activation touches.
    pub pages: ActivationPages,
    /// Maintenance after the first load.
    pub maintenance: Maintenance,
    /// First spikes by priority.
    pub spikes: Vec<Spikes>,
    /// The pools.
    pub pools: Vec<PoolRow>,
    /// A pool that is too small.
    pub refusals: Refusals,
    /// The heap map, if it could be written.
    pub page: Option<PathBuf>,
    /// Contents that were not as they were stored.
    pub damaged: u64,
}

/// Allocations of all concepts, one by one.
#[derive(Debug, Serialize)]
pub struct Load {
    /// Allocations a second.
    pub a_second: f64,
    /// The time that half of them took at most.
    pub p50_ns: u32,
    /// The time that 99 of 100 took at most.
    pub p99_ns: u32,
    /// The time that 9,999 of 10,000 took at most.
    pub p9999_ns: u32,
    /// The longest.
    pub worst_ns: u32,
    /// The share whose decision was remembered.
    pub hits: f64,
}

/// What a way of deciding is worth.
#[derive(Debug, Serialize)]
pub struct Worth {
    /// Which way.
    pub name: String,
    /// The share of edges between two columns.
    pub cut: f64,
}

/// Pages of 4 KiB that hold what a spreading activation of two steps reaches, on average.
#[derive(Debug, Serialize)]
pub struct ActivationPages {
    /// Placed by a hash of the id.
    pub hashed: f64,
    /// Placed by guidance, as loaded.
    pub loaded: f64,
    /// After maintenance.
    pub maintained: f64,
}

/// Maintenance until nothing was left to do.
#[derive(Debug, Serialize)]
pub struct Maintenance {
    /// How long it took.
    pub seconds: f64,
    /// Calls of 2 ms each.
    pub calls: u64,
    /// Moves for each concept.
    pub relocations_a_concept: f64,
    /// The share of edges between two columns afterwards.
    pub cut: f64,
    /// Memory utilisation afterwards.
    pub utilization: f64,
}

/// First spikes of a priority.
#[derive(Debug, Serialize)]
pub struct Spikes {
    /// Which one.
    pub priority: &'static str,
    /// The earliest, in milliseconds.
    pub earliest_ms: f64,
    /// The middle one.
    pub median_ms: f64,
    /// The latest.
    pub latest_ms: f64,
    /// Different times among them.
    pub distinct: usize,
    /// Contents encoded.
    pub of: usize,
}

/// A pool after both loads.
#[derive(Debug, Serialize)]
pub struct PoolRow {
    /// Its name.
    pub pool: String,
    /// Bytes used.
    pub used_bytes: u64,
    /// The most.
    pub peak_bytes: u64,
    /// Allocations.
    pub allocations: u64,
    /// How often it grew.
    pub expansions: u64,
}

/// A batch for a pool that cannot hold it.
#[derive(Debug, Serialize)]
pub struct Refusals {
    /// Requests.
    pub asked: usize,
    /// Critical ones that were served.
    pub served_critical: usize,
    /// Normal ones that were served.
    pub served_normal: usize,
    /// The pool's quota.
    pub quota_bytes: u64,
    /// What it used in the end.
    pub used_bytes: u64,
    /// One of the refusals.
    pub message: String,
}

impl ConceptsReport {
    /// What is not as it should be, in one line; none if all is well.
    pub fn complaint(&self) -> Option<String> {
        (self.damaged > 0).then(|| format!("concepts: {} contents are not as they were stored", self.damaged))
    }
}
