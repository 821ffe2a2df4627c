//! Guidance: what a request means, and so where its memory should lie and how soon it is served.
//!
//! ```text
//! AllocationRequest ----> DecisionKey --> DecisionCache: decided before? --------------------.
//!   |                                              | no                                      |
//!   '-> Stimulus: embedding, or else content       v                                         v
//!   |     '-> Features -----> TtfsIntegrationService ------> first spike ----------------> Decision
//!   |           |-----------> Strategy (and AccessRate) ---> weights, zone, order -----------^
//!   |           '---------.                                     |                            |
//!   '-> hints --------> Cortex: columns compete <---------------' ---> column --------------'
//! ```
//!
//! ```text
//! concept_type  the names of the pools             error        why the service refuses
//! request       what it is asked for, checked      features     a stimulus as a vector, hashed
//! encoder       how strong, and how soon it spikes
//! access_rate   how often it was read lately       strategy     how it is served
//! decision      how requests like it were decided
//!
//! Where a concept belongs, decided when it comes and again as evidence grows:
//! tally         sums under few keys                net          what the search sees of a graph
//! homes         the column of each, loads, limits  graph        which concepts belong together
//! field         receptive fields, learning         recent       columns used lately
//! columns       the competition of the four voters group        one visit: a concept or a group moves
//! level         clusters, and clusters of clusters plan         where all concepts should live
//! trim          what of a plan is worth its moves  replace      steps of re-placement
//! cortex        all of it behind one door
//! ```
//!
//! A module uses only those above it or before it in its line. The requests and errors of the service are
//! here, and not with the service, because guidance reads the ones and gives the others.
//!
//! Everything is bounded work, the same bits on every platform, and any number of threads may call it. Down to
//! `decision` it is plain data: no lock, no system call, no host allocation but for errors and the cache's
//! table. From there on host memory grows with concepts and edges, and lists of edges have locks.

#![expect(clippy::cast_precision_loss, reason = "counts and nanoseconds, far below 2^53 where a part in 2^53 would matter")]
#![expect(clippy::doc_markdown, reason = "WordNet and LIFRate are names")]

#[cfg(not(loom))]
use core::alloc::Layout;

mod access_rate;
mod concept_type;
pub mod decision;
pub mod encoder;
mod error;
pub mod features;
mod request;
pub mod strategy;

// The cortex has locks and threads' own memory, which no model replaces.
#[cfg(not(loom))]
mod columns;
#[cfg(not(loom))]
mod cortex;
#[cfg(not(loom))]
mod field;
#[cfg(not(loom))]
mod graph;
#[cfg(not(loom))]
mod group;
#[cfg(not(loom))]
mod homes;
#[cfg(not(loom))]
mod level;
#[cfg(not(loom))]
mod net;
#[cfg(not(loom))]
mod plan;
#[cfg(not(loom))]
mod recent;
#[cfg(not(loom))]
mod replace;
#[cfg(not(loom))]
mod tally;
#[cfg(not(loom))]
mod trim;

pub use access_rate::{AccessRate, HALF_LIFE_S};
#[cfg(not(loom))]
pub use columns::{Voters, Winner};
pub use concept_type::ConceptType;
#[cfg(not(loom))]
pub use cortex::{Cortex, MultiColumnProcessor};
pub use decision::{Decision, DecisionCache, DecisionKey, Recall, Undecided};
pub use encoder::{TtfsEncoding, TtfsIntegrationService, first_spike};
pub use error::{AllocationError, Occupied};
pub use features::Features;
#[cfg(not(loom))]
pub(crate) use field::Folded;
#[cfg(not(loom))]
pub use graph::{Cut, GraphLimits, Linked};
#[cfg(not(loom))]
pub use homes::CONCEPTS;
#[cfg(not(loom))]
pub use replace::{Move, STEP_TIES, Step};
pub(crate) use request::Asked;
pub use request::{
    AllocationPriority, AllocationRequest, CONCEPT_ID_MAX, CONTENT_MAX, DeallocationRequest, ResourceRequirements, Stimulus,
};
#[cfg(not(loom))]
pub(crate) use request::{check_content, is_concept_id};
pub use strategy::{AllocationStrategyType, Evidence, Placement, Strategy};

/// A list of so many, or the layout of it if there is not so much host memory.
#[cfg(not(loom))]
fn list_of<T>(many: u32, make: impl FnMut() -> T) -> Result<Box<[T]>, Layout> {
    let (many, mut list) = (many as usize, Vec::new());
    list.try_reserve_exact(many).map_err(|_| Layout::array::<T>(many).unwrap_or(Layout::new::<T>()))?;
    list.extend(core::iter::repeat_with(make).take(many));
    Ok(list.into())
}
