//! The report: what was measured, as data ([`Report`], which is also the JSON document) and as text.
//!
//! [`replay`] and [`wordnet`] hold the data of either part, [`text`] writes both, [`map`] draws the heap, [`style`] knows
//! whether colours and block characters are wanted.

pub mod concepts;
pub mod map;
pub mod replay;
pub mod style;
pub mod text;
pub mod wordnet;

use serde::Serialize;

use crate::clock::Clock;
use concepts::ConceptsReport;
use replay::ReplayReport;
use wordnet::WordNetReport;

/// All that a run has to say. Times are in nanoseconds, sizes in bytes.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The program's version.
    pub engram: &'static str,
    /// The clock of single operations.
    pub clock: Clock,
    /// Each trace.
    pub replays: Vec<ReplayReport>,
    /// WordNet in spike order, in the main run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wordnet: Option<WordNetReport>,
    /// WordNet through the service, in the main run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concepts: Option<ConceptsReport>,
}

impl Report {
    /// What is not as it should be, in one line; none if all is well.
    pub fn complaint(&self) -> Option<String> {
        let replays = self.replays.iter().filter_map(ReplayReport::complaint);
        let all: Vec<_> = replays
            .chain(self.wordnet.as_ref().and_then(WordNetReport::complaint))
            .chain(self.concepts.as_ref().and_then(ConceptsReport::complaint))
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}
