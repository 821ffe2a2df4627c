//! Columns: shards of the arena with free lists of their own, each held by one thread at a time.
//!
//! ```text
//! lease    who has the column                 block     what of a column lies in the region
//! cell     the lines in front of the slots    rows      where the cells lie in the block
//! held     the fast path: alloc and free      unusual   what the fast path leaves
//! refill   from spans to an empty cell        spill     from a full cell back to its spans
//! list     a cell's spans with free slots     chunks    where a column's spans come from
//! remote   frees by who does not hold it      collect   what they freed comes back to a cell
//! holding  what a program sees of it: `Column`
//! inspect  whose a block is, how large        resize    where a block is, or by moving it
//! large    whole spans and chunks             shared    allocation without the lease
//! scarce   before a request is refused        steal     what others freed of a column that is held
//! many     many blocks of one size at once
//! walk     all blocks of a column, reset  publish   blocks that a word in the arena names, or that are free
//! core     the tables that all of it stands on
//! shape    where these lie in the region
//! lines    where the code of the fast path lies
//! ```
//!
//! The invariants are named where the data is: K in [`cell`], L in [`held`], and those of the
//! layers above, R (region), M (map), S and H (span), C (size classes).

#[cfg(not(loom))]
pub(crate) mod block;
#[cfg(not(loom))]
pub(crate) mod cell;
#[cfg(not(loom))]
mod chunks;
#[cfg(not(loom))]
mod collect;
#[cfg(not(loom))]
pub(crate) mod core;
#[cfg(not(loom))]
pub(crate) mod held;
#[cfg(not(loom))]
mod holding;
#[cfg(not(loom))]
mod inspect;
#[cfg(not(loom))]
mod large;
pub(crate) mod lease;
#[cfg(all(target_os = "linux", not(any(loom, miri))))]
mod lines;
#[cfg(not(loom))]
mod list;
#[cfg(not(loom))]
mod many;
#[cfg(not(loom))]
pub(crate) mod publish;
#[cfg(not(loom))]
mod refill;
pub(crate) mod remote;
#[cfg(not(loom))]
mod resize;
#[cfg(not(loom))]
pub(crate) mod rows;
#[cfg(not(loom))]
pub(crate) mod scarce;
#[cfg(not(loom))]
pub(crate) mod shape;
#[cfg(not(loom))]
mod shared;
#[cfg(not(loom))]
mod spill;
pub(crate) mod steal;
#[cfg(not(loom))]
pub(crate) mod unusual;
#[cfg(not(loom))]
mod walk;

#[cfg(not(loom))]
pub(crate) use holding::Leased;
#[cfg(not(loom))]
pub use holding::{Block, Column, ColumnId};
#[cfg(not(loom))]
pub(crate) use inspect::Live;
