//! Why the service refused.

use core::fmt;
use std::time::Duration;

use super::concept_type::ConceptType;
use crate::error::Error;

/// Why a call to the service was refused. Nothing has changed when one is returned, but counts; and what an undone batch had been
/// served for a moment is in the peaks of pools, and in what columns have learnt.
///
/// Sizes are in bytes. Each message says what was asked and what was possible, so that it alone is
/// enough to act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocationError {
    /// The pool's quota would be exceeded, or what is left of it is kept for earlier spikes.
    #[error(
        "pool {pool} may hold {quota_bytes} bytes, holds {used_bytes} and keeps {kept_bytes} for earlier spikes; {asked_bytes} more were asked for"
    )]
    QuotaExceeded {
        /// The pool's type.
        pool: ConceptType,
        /// What the request would add, rounded to its size class.
        asked_bytes: u64,
        /// What the pool holds.
        used_bytes: u64,
        /// What it may hold.
        quota_bytes: u64,
        /// The reserve that this request spikes too late for; 0 if it may use all.
        kept_bytes: u64,
    },
    /// The service has no pool for the type.
    #[error("there is no pool for the type {concept_type}; this service has pools for {}", listed(known))]
    PoolNotFound {
        /// The type asked for.
        concept_type: ConceptType,
        /// The types that have pools.
        known: Vec<ConceptType>,
    },
    /// No concept has the id.
    #[error("no concept with the id {concept_id:?} is allocated; allocate it first")]
    NotFound {
        /// The id asked for.
        concept_id: String,
    },
    /// A concept has the id already.
    #[error("a concept with the id {concept_id:?} is already allocated; update it, or deallocate it first")]
    AlreadyExists {
        /// The id asked for.
        concept_id: String,
    },
    /// The pool would allow it, but no free memory would serve it.
    #[error("no free memory would serve {asked_bytes} bytes; the service has {capacity_bytes} bytes in all")]
    OutOfMemory {
        /// Bytes asked for, the concept's own head included.
        asked_bytes: u64,
        /// The service's capacity.
        capacity_bytes: u64,
    },
    /// Others have what it takes; it may be tried again.
    #[error("{what}")]
    Busy {
        /// What others have.
        what: Occupied,
    },
    /// An argument out of its range.
    #[error("{what} is {given}; it must be {allowed}")]
    Invalid {
        /// The argument.
        what: &'static str,
        /// What was given.
        given: String,
        /// What may be given.
        allowed: &'static str,
    },
    /// The arena below failed in a way that no argument explains: a bug here, or the system.
    #[error("{what} failed: {error}")]
    Internal {
        /// What was being done.
        what: &'static str,
        /// What the arena said.
        error: Error,
    },
}

/// What others have, so that a call is [`Busy`](AllocationError::Busy).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Occupied {
    /// The permits of the service: none became free in time.
    #[error("all {permits} permits were taken for {waited:?}; try again, or raise the admission timeout or the number of permits")]
    Permits {
        /// How many may run at the same time.
        permits: usize,
        /// How long the call waited.
        waited: Duration,
    },
    /// The permits that a region file has for batches that are all or nothing: none became free in time.
    #[error(
        "all {permits} permits that a region file has for batches that are all or nothing were taken for {waited:?}; try again, or raise \
         the admission timeout, or have each request served on its own"
    )]
    FilePermits {
        /// How many may run at the same time; always as many.
        permits: usize,
        /// How long the call waited.
        waited: Duration,
    },
    /// The concept: a batch under way has allocated it, and may still undo that. It is not waited for.
    #[error(
        "the concept {concept_id:?} is part of a batch that is under way, and may be undone; try again once the batch has been answered"
    )]
    Concept {
        /// Its id.
        concept_id: String,
    },
}

impl AllocationError {
    /// `what` is `given`, but must be `allowed`.
    #[cold]
    pub(crate) fn invalid(what: &'static str, given: &dyn fmt::Display, allowed: &'static str) -> Self {
        Self::Invalid { what, given: given.to_string(), allowed }
    }
}

/// The names, with commas between them.
fn listed(types: &[ConceptType]) -> String {
    let names: Vec<_> = types.iter().map(ConceptType::as_str).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
