//! Guidance: what a request means, and so where its memory should lie and how soon it is served.
//!
//! ```text
//! AllocationRequest ----> DecisionKey --> DecisionCache: decided before? --------------------.
//!   |                                              | no                                      |
//!   '-> Stimulus: embedding, or else content       v                                         v
//!         '-> Features -----> TtfsIntegrationService ------> first spike ----------------> Decision
//!               |                                                                            ^
//!               '-----------> Strategy (and AccessRate) ---> weights, zone, order -----------'
//! ```
//!
//! ```text
//! concept_type  the names of the pools             error        why the service refuses
//! request       what it is asked for, checked      features     a stimulus as a vector, hashed
//! encoder       how strong, and how soon it spikes
//! access_rate   how often it was read lately       strategy     how it is served
//! decision      how requests like it were decided
//! ```
//!
//! A module uses only those above it or before it in its line. The requests and errors of the service are
//! here, and not with the service, because guidance reads the ones and gives the others.
//!
//! Everything here is plain data and bounded work: no lock, no system call, no host allocation but for
//! errors and the cache's table, the same bits on every platform. Any number of threads may call it.

#![expect(clippy::cast_precision_loss, reason = "counts and nanoseconds, far below 2^53 where a part in 2^53 would matter")]
#![expect(clippy::doc_markdown, reason = "WordNet and LIFRate are names")]

mod access_rate;
mod concept_type;
pub mod decision;
pub mod encoder;
mod error;
pub mod features;
mod request;
pub mod strategy;

pub use access_rate::{AccessRate, HALF_LIFE_S};
pub use concept_type::ConceptType;
pub use decision::{Decision, DecisionCache, DecisionKey, Recall, Undecided};
pub use encoder::{TtfsEncoding, TtfsIntegrationService, first_spike};
pub use error::AllocationError;
pub use features::Features;
pub use request::{
    AllocationPriority, AllocationRequest, CONCEPT_ID_MAX, CONTENT_MAX, DeallocationRequest, ResourceRequirements, Stimulus,
};
pub use strategy::{AllocationStrategyType, Evidence, Placement, Strategy};
