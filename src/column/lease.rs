//! The lease of a column: who has it may write what belongs to its holder.
//!
//! One compare-and-swap takes it, for one operation or for as long as a program holds the column; one store gives it back. What
//! its holder did is visible to the next: its release pairs with the acquire of the next `try_take` or `try_hold`.

use crate::sync::{AtomicU32, Ordering};

const FREE: u32 = 0;
/// Taken for one operation, a search or a step of maintenance.
const TAKEN: u32 = 1;
/// Held by a program.
const HELD: u32 = 2;

/// How often who wants to hold a column looks again while somebody has it for one operation: an ordinary one is over by then, a search,
/// a batch or a step of maintenance may not be. (A model looks a few times.)
const LOOKS: u32 = if cfg!(loom) { 2 } else { 256 };

/// Who has a column.
#[repr(transparent)]
pub(crate) struct Lease(AtomicU32);

impl Lease {
    /// Free, for models.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// Takes the lease for one operation, if it is free.
    #[inline(always)]
    pub(crate) fn try_take(&self) -> bool {
        self.0.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the lease for as long as a program likes, if nobody holds it. Bounded: who has it for one operation only is waited for,
    /// but not for long.
    pub(crate) fn try_hold(&self) -> bool {
        for _ in 0..LOOKS {
            // A look first: a compare-and-swap takes the line away from whoever is waited for.
            match self.0.load(Ordering::Relaxed) {
                FREE if self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok() => return true,
                HELD => return false,
                _ => core::hint::spin_loop(),
            }
        }
        false
    }

    /// Gives it back; the caller has it.
    #[inline(always)]
    pub(crate) fn give_back(&self) {
        debug_assert!(cfg!(loom) || self.0.load(Ordering::Relaxed) != FREE, "L1: a lease is given back once");
        self.0.store(FREE, Ordering::Release);
    }

    /// Whether a program holds it at this moment.
    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed) == HELD
    }
}
