//! The one door to atomics: `std`'s, or loom's under `cfg(loom)`.
//!
//! Every lock-free structure of the crate is built of the types below, so that a loom model
//! runs the code that ships and not a copy of it. No other module names `std::sync::atomic`.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

/// A read-modify-write that is not atomic: for words that one thread writes (the holder of a
/// column) and others only read. On x86-64 it compiles to one plain instruction.
#[inline(always)]
pub(crate) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}
