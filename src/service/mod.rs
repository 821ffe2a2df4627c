//! The memory allocation service: concepts by id and type, on top of an arena.
//!
//! - [`pool`]: the bytes that concepts of one type hold, against the type's quota;
//! - [`admission`]: how many callers are inside at a time, and who is next.

#![allow(dead_code)] // TEMPORARY: until the service uses them

pub(crate) mod admission;
pub(crate) mod pool;
