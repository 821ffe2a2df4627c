//! The memory allocation service: memory for concepts, by meaning.
//!
//! ```text
//! allocate --> guidance: first spike, strategy, column ----> pool: quota, reserve, alternatives
//!                                                                 |
//! read ------> registry: id --> slot <---- the arena: a block of that column and zone
//!                                 ^
//! maintain ---- moves it: to its neighbours, into spike order, together, to where what is hot lies
//! ```
//!
//! ```text
//! config      how it is opened               result      what it answers
//! slot        a concept in memory            registry    which concepts there are, a node each
//! node        what is known of an id         ids         from ids to nodes
//! epoch       who still reads what           text        metrics as JSON and OpenMetrics
//! pool        what a type may take           admission   who is let in next
//! engine      how a request is served        latencies   how long operations took
//! allocation  allocate, update               batch       many at once
//! batches     those of them under way        lock        parking_lot's lock, or loom's
//! concepts    read, deallocate, link, list   pins, pin   content that stays for longer
//! upkeep      maintenance                discards    what readers may still see, until it is given back
//! durable     what a region file keeps, and reopening
//! service     the parts together, metrics    spare       where slots are left, when spans are scarce
//! lent        the arena, which closes with it
//! ```
//!
//! Everything is synchronous, and may be called from any number of threads. Readers wait for no writer: a
//! concept's bytes never change; an update or a move puts a new slot beside the old one and swaps, and the old one
//! is given back when no reader is pinned that might have found it (crossbeam-epoch). Whoever reads gives back now and then
//! what others freed, up to 512 blocks, and takes the lock of pins for a few instructions then. No block waits for the thread that
//! discarded it: whoever needs memory gets what all have discarded. (Host memory may: up to 64 nodes of ids that are no more lie with
//! a thread until it comes by again, or ends.)
//!
//! Who changes one concept waits for whoever is changing the same one: mostly a few microseconds, but as long as memory is looked
//! for before a refusal, up to 20 ms of waiting for readers included, and in a region file as long as the log of edges is
//! compacted. And at the gate, if all permits are taken.
//!
//! Concepts with a number from 2^28 on ([`CONCEPTS`](crate::guidance::CONCEPTS)) are served, but no column is remembered for them:
//! [`column_of`](MemoryAllocationService::column_of) knows none, and maintenance leaves them where they are. Ids that are only
//! hinted at have numbers, too; a number is given again once nothing is known of its id.

pub(crate) mod admission;
#[cfg(not(loom))]
mod allocation;
#[cfg(not(loom))]
mod batch;
pub(crate) mod batches;
#[cfg(not(loom))]
mod concepts;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod discards;
#[cfg(not(loom))]
mod durable;
#[cfg(not(loom))]
mod engine;
#[cfg(not(loom))]
mod epoch;
pub(crate) mod ids;
#[cfg(not(loom))]
mod latencies;
#[cfg(not(loom))]
mod lent;
pub(crate) mod lock;
pub(crate) mod node;
#[cfg(not(loom))]
mod pin;
pub(crate) mod pins;
pub(crate) mod pool;
#[cfg(not(loom))]
mod registry;
#[cfg(not(loom))]
mod result;
#[cfg(not(loom))]
#[expect(clippy::module_inception, reason = "the service's own module")]
mod service;
#[cfg(not(loom))]
mod slot;
#[cfg(not(loom))]
mod spare;
#[cfg(not(loom))]
mod text;
#[cfg(not(loom))]
mod upkeep;

#[cfg(not(loom))]
pub use crate::guidance::{
    AllocationError, AllocationPriority, AllocationRequest, AllocationStrategyType, ConceptType, DeallocationRequest, MultiColumnProcessor,
    Occupied, ResourceRequirements, TtfsEncoding, TtfsIntegrationService, first_spike,
};
#[cfg(not(loom))]
pub use crate::spike::SpikeTime;
#[cfg(not(loom))]
pub use concepts::ConceptGuard;
#[cfg(not(loom))]
pub use config::{AllocationServiceConfig, AllocationServiceError, POOLS_MAX, PoolConfig};
#[cfg(not(loom))]
pub use engine::AllocationEngine;
#[cfg(not(loom))]
pub(crate) use pin::Pin;
#[cfg(not(loom))]
pub use pool::PoolStatistics;
#[cfg(not(loom))]
pub(crate) use result::Granted;
#[cfg(not(loom))]
pub use result::{AllocationMetrics, AllocationResult, DeallocationResult, MaintenanceReport, MemorySlot};
#[cfg(not(loom))]
pub use service::MemoryAllocationService;
