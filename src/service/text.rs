//! The service's metrics as text: JSON, and one `OpenMetrics` exposition for the service and its arena.

use core::fmt::{self, Write};
use std::time::Duration;

use super::pool::PoolStatistics;
use super::result::AllocationMetrics;
use super::service::MemoryAllocationService;

/// A pool's numbers: name, value, whether it only grows, what it is.
fn numbers(pool: &PoolStatistics) -> [(&'static str, u64, bool, &'static str); 9] {
    [
        ("quota_bytes", pool.quota_bytes, false, "Bytes that a pool's concepts may take."),
        ("used_bytes", pool.used_bytes, false, "Bytes that they take."),
        ("peak_bytes", pool.peak_bytes, false, "The most that they took."),
        ("reserve_bytes", pool.reserve_bytes, false, "Bytes of the quota kept for early spikes."),
        ("allocations", pool.allocations, true, "Concepts allocated in a pool."),
        ("deallocations", pool.deallocations, true, "Concepts deallocated from it."),
        ("refusals", pool.refusals, true, "Requests that it had no room for."),
        ("expansions", pool.expansions, true, "Times that it grew beyond what was ready."),
        ("alternatives_served", pool.alternatives_served, true, "Requests that one pool served for another."),
    ]
}

impl AllocationMetrics {
    /// Its shares of a whole, 0 to 1.
    fn shares(&self) -> [(&'static str, f64, &'static str); 4] {
        [
            ("memory_utilization", self.memory_utilization, "Bytes of live concepts over bytes of touched pages."),
            ("fragmentation_level", self.fragmentation_level, "1 less the largest free run over all that is free."),
            ("cache_hit_rate", self.cache_hit_rate, "Decisions remembered over all."),
            ("edge_cut", self.edge_cut, "Known edges between two columns over all."),
        ]
    }

    fn times(&self) -> [(&'static str, &'static str, Duration); 3] {
        [
            ("allocation_time_p50", "0.5", self.allocation_time_p50),
            ("allocation_time_p99", "0.99", self.allocation_time_p99),
            ("allocation_time_max", "1", self.allocation_time_max),
        ]
    }

    /// Writes one JSON object, without a newline at the end: the fields by their names, times in nanoseconds with `_ns`
    /// after the name.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, r#"{{"total_allocations":{},"active_allocations":{}"#, self.total_allocations, self.active_allocations)?;
        write!(out, r#","average_allocation_time_ns":{}"#, self.average_allocation_time.as_nanos())?;
        for (name, _, time) in self.times() {
            write!(out, r#","{name}_ns":{}"#, time.as_nanos())?;
        }
        for (name, share, _) in self.shares() {
            write!(out, r#","{name}":{share}"#)?;
        }
        write!(out, r#","retries":{},"relocations":{},"pool_statistics":["#, self.retries, self.relocations)?;
        for (index, pool) in self.pool_statistics.iter().enumerate() {
            let before = if index == 0 { "" } else { "," };
            // Names have no byte that JSON would want escaped.
            write!(out, r#"{before}{{"pool_id":"{}","concept_type":"{}""#, pool.pool_id, pool.concept_type)?;
            for (name, value, ..) in numbers(pool) {
                write!(out, r#","{name}":{value}"#)?;
            }
            out.write_char('}')?;
        }
        out.write_str("]}")
    }

    fn write_openmetrics(&self, out: &mut impl Write) -> fmt::Result {
        for (name, value, counter, help) in [
            ("allocations", self.total_allocations, true, "Concepts allocated."),
            ("concepts", self.active_allocations, false, "Concepts that live."),
            ("relocations", self.relocations, true, "Concepts that maintenance moved."),
        ] {
            family(out, &format!("engram_service_{name}"), counter, help)?;
            writeln!(out, "engram_service_{name}{} {value}", if counter { "_total" } else { "" })?;
        }
        for (name, share, help) in self.shares() {
            family(out, &format!("engram_service_{name}"), false, help)?;
            writeln!(out, "engram_service_{name} {share}")?;
        }
        let times = "engram_service_allocation_time_seconds";
        writeln!(out, "# TYPE {times} summary\n# UNIT {times} seconds\n# HELP {times} Time of an allocation, waiting included.")?;
        for (_, quantile, time) in self.times() {
            writeln!(out, "{times}{{quantile=\"{quantile}\"}} {}", time.as_secs_f64())?;
        }
        writeln!(out, "{times}_count {}", self.total_allocations)?;
        let Some(first) = self.pool_statistics.first() else { return Ok(()) };
        for (index, (name, _, counter, help)) in numbers(first).into_iter().enumerate() {
            family(out, &format!("engram_pool_{name}"), counter, help)?;
            for pool in &self.pool_statistics {
                let total = if counter { "_total" } else { "" };
                writeln!(out, "engram_pool_{name}{total}{{pool=\"{}\"}} {}", pool.pool_id, numbers(pool)[index].1)?;
            }
        }
        Ok(())
    }
}

/// What comes before the values of a metric.
fn family(out: &mut impl Write, name: &str, counter: bool, help: &str) -> fmt::Result {
    writeln!(out, "# TYPE {name} {}", if counter { "counter" } else { "gauge" })?;
    if name.ends_with("_bytes") {
        writeln!(out, "# UNIT {name} bytes")?;
    }
    writeln!(out, "# HELP {name} {help}")
}

impl MemoryAllocationService {
    /// Writes an `OpenMetrics` exposition of the service and its arena, `# EOF` included. Takes a snapshot: see
    /// [`MemoryAllocationService::get_allocation_metrics`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_openmetrics(&self, out: &mut impl Write) -> fmt::Result {
        self.get_allocation_metrics().write_openmetrics(out)?;
        self.arena.metrics().write_openmetrics(out)
    }
}
