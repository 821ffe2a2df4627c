//! What is reported of one replay.

use engram::Metrics;
use serde::Serialize;

use super::map::{self, Chunk};
use crate::replay::peak::Peak;
use crate::replay::play::Faults;
use crate::stats::{Pair, Spread};

/// One trace, replayed. Times are in nanoseconds, sizes in bytes.
#[derive(Debug, Serialize)]
pub struct ReplayReport {
    /// The trace.
    pub name: String,
    /// Operations in it.
    pub operations: usize,
    /// Blocks that it allocates.
    pub objects: u32,
    /// Its threads, each on a thread of its own here.
    pub threads: usize,
    /// Frees by another thread than the one that allocated.
    pub cross_thread_frees: u64,
    /// The most that is live at once, as asked for.
    pub peak_live_bytes: u64,
    /// Columns of the arena.
    pub columns: u32,
    /// Capacity of the arena.
    pub capacity_bytes: usize,
    /// The arena of the rounds had all its pages touched when it was opened.
    pub prefaulted: bool,
    /// What opening it took, in milliseconds.
    pub open_ms: f64,
    /// Rounds that counted.
    pub rounds: u32,
    /// Content was stamped and checked.
    pub verified: bool,
    /// The driver without an allocator, for each operation.
    pub driver_ns: Spread,
    /// The calls alone, for each operation: wall time over operations, all threads side by side.
    pub calls_ns: Pair<Spread>,
    /// Page faults in a round of the calls alone; none where the system does not tell.
    pub page_faults: Option<Pair<Spread>>,
    /// With every block stamped and every stamp checked.
    pub content_ns: Option<Pair<Spread>>,
    /// Single calls.
    pub single_ns: Pair<Single>,
    /// Growth of resident memory.
    pub memory: Pair<Peak>,
    /// What went wrong, in all passes.
    pub faults: Pair<Faults>,
    /// The arena's own metrics at the end of the trace, in its exact order.
    pub metrics: MetricsReport,
    /// The heap at its peak; in JSON only the chunks that are in use.
    #[serde(serialize_with = "map::serialize_used")]
    pub map: Vec<Chunk>,
}

/// The time of single calls, each clocked: medians over the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Single {
    /// Half of them take no longer.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 9,999 of 10,000.
    pub p9999: f64,
    /// The longest one, whatever interrupted it.
    pub worst: f64,
    /// The longest that is as long in every round: interruptions by the system drop out.
    pub worst_common_to_all_rounds: f64,
}

/// The arena's metrics, named as in the C header.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MetricsReport {
    pub bytes_capacity: u64,
    pub bytes_committed: u64,
    pub bytes_live: u64,
    pub bytes_peak: u64,
    pub allocs: u64,
    pub frees: u64,
    pub remote_frees: u64,
    pub failed: u64,
    pub misuse: u64,
    pub retries: u64,
    pub batches: u64,
}

impl From<Metrics> for MetricsReport {
    fn from(metrics: Metrics) -> Self {
        Self {
            bytes_capacity: metrics.bytes_capacity,
            bytes_committed: metrics.bytes_committed,
            bytes_live: metrics.bytes_live,
            bytes_peak: metrics.bytes_peak,
            allocs: metrics.allocs,
            frees: metrics.frees,
            remote_frees: metrics.remote_frees,
            failed: metrics.failed,
            misuse: metrics.misuse,
            retries: metrics.retries,
            batches: metrics.batches,
        }
    }
}

impl ReplayReport {
    /// What is not as it should be, in one line; none if all is well.
    pub fn complaint(&self) -> Option<String> {
        let (malloc, engram) = (self.faults.malloc, self.faults.engram);
        let wrong = [
            (engram.refused, "operations refused by engram"),
            (engram.free_refused, "frees of live blocks refused by engram"),
            (engram.damaged, "blocks of engram's with content that is not their own"),
            (engram.misaligned, "blocks of engram's at a wrong alignment"),
            (malloc.refused, "operations refused by malloc"),
            (malloc.misaligned, "blocks of malloc's at a wrong alignment"),
            (malloc.damaged, "blocks of malloc's with content that is not their own"),
        ];
        let mut said: Vec<_> = wrong.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if engram.refused > 0 {
            said.push(format!("a larger --capacity than {} bytes may serve them", self.capacity_bytes));
        }
        (!said.is_empty()).then(|| format!("{}: {}", self.name, said.join(", ")))
    }
}
