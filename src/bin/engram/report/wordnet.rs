//! What is reported of WordNet in spike order.

use serde::Serialize;

use crate::stats::Spread;

/// Visits of all concepts in spike order. Times are in nanoseconds a visit.
#[derive(Debug, Serialize)]
pub struct WordNetReport {
    /// Concepts.
    pub concepts: usize,
    /// Bytes of their records, headers included.
    pub record_bytes: u64,
    /// Columns that they are spread over.
    pub columns: u32,
    /// The earliest and the latest spike, in nanoseconds after the stimulus.
    pub spikes: (u32, u32),
    /// Rounds that counted.
    pub rounds: u32,
    /// Bytes in spans after single allocations, and after the batch.
    pub committed_bytes: (u64, u64),
    /// Each way of visiting.
    pub rows: Vec<VisitRow>,
    /// Walks that found another content than was put there.
    pub damaged: u64,
}

/// One way of visiting, in each placement.
#[derive(Debug, Serialize)]
pub struct VisitRow {
    /// In which order.
    pub order: Order,
    /// Each visit finds the next one's address in the record before, instead of in a list.
    pub dependent: bool,
    /// From caches that were flushed.
    pub cold: bool,
    /// Placed by malloc as they came.
    pub malloc: Spread,
    /// Placed by engram, one by one, each in the zone of its spike.
    pub singles: Spread,
    /// Placed by engram in one ordered batch.
    pub batch: Spread,
    /// Malloc's, but visited in the order of their addresses: a plain walk.
    pub plain: Spread,
}

/// The order of visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// All concepts by spike time.
    All,
    /// Column after column, each by spike time.
    ColumnByColumn,
}

impl WordNetReport {
    /// What is not as it should be, in one line; none if all is well.
    pub fn complaint(&self) -> Option<String> {
        (self.damaged > 0).then(|| format!("wordnet: {} walks found content that is not the concepts' own", self.damaged))
    }
}
