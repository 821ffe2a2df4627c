//! The lease of a column: who holds it may write what belongs to its holder.
//!
//! One compare-and-swap takes it, one store gives it back. What a holder did is visible to the
//! next: its release pairs with the acquire of the next `try_take`.

use crate::sync::{AtomicU32, Ordering};

/// Free (0) or held (1).
#[repr(transparent)]
pub(crate) struct Lease(AtomicU32);

impl Lease {
    /// Free, for models.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Takes the lease if it is free.
    #[inline(always)]
    pub(crate) fn try_take(&self) -> bool {
        self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Gives it back; the caller has it.
    #[inline(always)]
    pub(crate) fn give_back(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether somebody has it at this moment.
    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}
