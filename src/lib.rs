//! **engram**: a synchronous, lock-free, real-time arena allocator over memory-mapped regions.
//!
//! An [`Arena`] is one region of memory, mapped at open. It is divided into *columns*, shards with
//! free lists of their own: a thread that holds one ([`Arena::column`]) allocates and frees in a
//! bounded number of instructions, without locks and system calls; any thread may free any block,
//! wait-free, and allocate without holding a column, lock-free. Every allocation carries a
//! [`SpikeTime`], how soon its owner fires first, which chooses where it lies and, in batches, who
//! is served first. Misuse (double frees, foreign and interior pointers) is caught, but for two threads
//! that free one block at the same instant with nothing ordering them.
//!
//! ```
//! use engram::{Arena, ColumnId, SpikeTime};
//! # fn main() -> engram::Result<()> {
//! let arena = Arena::builder().capacity(16 << 20).columns(4).build()?;
//! let column = arena.column(ColumnId::new(2))?;
//! let synapse = column.alloc(64, 16, SpikeTime::from_nanos(4_462_871))?;
//! // SAFETY: the block is ours, and nothing uses it after the first free.
//! unsafe {
//!     column.free(synapse)?;
//!     assert!(column.free(synapse).is_err(), "a double free is an error and changes nothing");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! On an arena stands [`MemoryAllocationService`]: memory for the concepts of a knowledge graph, in pools with quotas, placed
//! by what they mean, whom they know and how soon they spike. See [`service`].
//!
//! The layers, each using only those above it: `sync`, `error`, `spike`, `size_class`, `region`,
//! `map`, `span`, `column`, `metrics`, `recover`, `arena`, `watch`, `maintain`, `guidance`, `service`, `ffi`. ARCHITECTURE.md draws them.

// The models use a part of each layer.
#![cfg_attr(loom, allow(dead_code, unused_imports))]

mod sync;

mod error;

mod spike;

mod size_class;

#[cfg(not(loom))]
mod region;

mod map;

mod span;

mod column;

#[cfg(not(loom))]
mod metrics;

#[cfg(not(loom))]
mod recover;

#[cfg(not(loom))]
mod arena;

#[cfg(not(loom))]
mod watch;

#[cfg(not(loom))]
mod maintain;

pub mod guidance;

pub mod service;

#[cfg(not(loom))]
pub mod ffi;

#[cfg(loom)]
mod models;

/// Its programs are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(not(loom))]
pub use arena::{Arena, ArenaBuilder, BatchFlags, BlockKind, ChunkView, Finding, Request, SpanView};
#[cfg(not(loom))]
pub use column::{Block, Column, ColumnId};
pub use error::{Error, Result};
pub use guidance::{AllocationError, AllocationPriority, AllocationRequest, ConceptType, DeallocationRequest, ResourceRequirements};
#[cfg(not(loom))]
pub use maintain::Maintained;
#[cfg(not(loom))]
pub use metrics::Metrics;
#[cfg(not(loom))]
pub use service::{
    AllocationMetrics, AllocationResult, AllocationServiceConfig, AllocationServiceError, ConceptGuard, DeallocationResult,
    MaintenanceReport, MemoryAllocationService, MemorySlot, PoolConfig,
};
pub use spike::SpikeTime;
#[cfg(not(loom))]
pub use watch::{ColumnView, RegionInfo, RegionState, RegionView};
