//! Metrics as text: JSON and `OpenMetrics`, written into anything that takes strings.

use super::Metrics;
use core::fmt::{self, Write};

/// A counter's name, its value, its unit's suffix and what it is.
struct Line {
    name: &'static str,
    value: u64,
    counter: bool,
    help: &'static str,
}

impl Metrics {
    fn lines(&self) -> [Line; 12] {
        let gauge = |name, value, help| Line { name, value, counter: false, help };
        let counter = |name, value, help| Line { name, value, counter: true, help };
        [
            gauge("columns", u64::from(self.columns), "Columns."),
            gauge("bytes_capacity", self.bytes_capacity, "Bytes of user memory."),
            gauge("bytes_committed", self.bytes_committed, "Bytes in spans handed to columns."),
            gauge("bytes_live", self.bytes_live, "Bytes in blocks, rounded to their classes."),
            gauge("bytes_peak", self.bytes_peak, "Highest bytes in blocks and in the stacks of cells."),
            counter("allocs", self.allocs, "Blocks given."),
            counter("frees", self.frees, "Blocks taken back."),
            counter("remote_frees", self.remote_frees, "Blocks taken back not through the handle of their column."),
            counter("failed", self.failed, "Allocations refused."),
            counter("misuse", self.misuse, "Frees refused."),
            counter("retries", self.retries, "Compare-and-swaps tried again."),
            counter("batches", self.batches, "Batch calls."),
        ]
    }

    /// Writes one JSON object, without a newline at the end.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut impl Write) -> fmt::Result {
        for (index, line) in self.lines().iter().enumerate() {
            let before = if index == 0 { "{" } else { "," };
            write!(out, "{before}\"{}\":{}", line.name, line.value)?;
        }
        out.write_char('}')
    }

    /// Writes an `OpenMetrics` exposition, `# EOF` included.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_openmetrics(&self, out: &mut impl Write) -> fmt::Result {
        for line in self.lines() {
            let (kind, suffix) = if line.counter { ("counter", "_total") } else { ("gauge", "") };
            let name = OpenName(line.name);
            writeln!(out, "# TYPE {name} {kind}")?;
            if name.is_bytes() {
                writeln!(out, "# UNIT {name} bytes")?;
            }
            writeln!(out, "# HELP {name} {}", line.help)?;
            writeln!(out, "{name}{suffix} {}", line.value)?;
        }
        out.write_str("# EOF\n")
    }
}

/// A metric's name as `OpenMetrics` wants it: the unit last.
struct OpenName(&'static str);

impl OpenName {
    fn is_bytes(&self) -> bool {
        self.0.starts_with("bytes_")
    }
}

impl fmt::Display for OpenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.strip_prefix("bytes_") {
            Some(what) => write!(f, "engram_{what}_bytes"),
            None => write!(f, "engram_{}", self.0),
        }
    }
}
