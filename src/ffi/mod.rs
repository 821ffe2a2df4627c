//! The C face: a thin skin over the crate, declared in `include/engram.h`.
//!
//! Handles are opaque. A null handle, or any other required pointer that is null, gives
//! [`ENGRAM_E_NULL`] (or NULL, or 0) before anything else is looked at. Functions that can fail return a
//! status; allocations return NULL and leave the reason with [`engram_last_error`]. Nothing unwinds:
//! a panic, which would be a bug here, aborts. The header is made from this module: run
//! `ENGRAM_WRITE_HEADER=1 cargo test --test header`.
//!
//! Thread rules: "any" = any threads at once; "holder" = one thread at a time. Step rules: "RT" =
//! bounded steps, no lock, no system call; "lock-free"; "blocking".

#![allow(non_camel_case_types)] // the names are C's
#![allow(clippy::missing_safety_doc)] // the module's docs give the one rule: pointers are null or valid

mod alloc;
mod arena;
mod batch;
mod cancel;
mod column;
mod concept;
mod metrics;
mod persist;
mod pin;
mod service;
mod service_config;
mod service_metrics;
mod status;

pub use alloc::*;
pub use arena::*;
pub use batch::*;
pub use column::*;
pub use concept::*;
pub use metrics::*;
pub use persist::*;
pub use pin::*;
pub use service::*;
pub use service_config::*;
pub use service_metrics::*;
pub use status::*;

// What a held column answers of itself is a status of this face.
const _: () = assert!(crate::column::held::NOT_NOTED == ENGRAM_E_INVALID);
