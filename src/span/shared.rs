//! Shared spans: where threads allocate that do not hold the column and cannot have its lease.
//!
//! A shared span has no cell: its live words are the whole truth, changed by single atomic
//! operations. One word of state says whose it is and how many slots are taken, so that a
//! claim *reserves* a slot first (compare-and-swap: lock-free), which keeps the span from being
//! closed, and then finds a clear bit; a free clears the bit and then the reservation (wait-free).
//!
//! ```text
//! state   63     62..44    43..32    31..0
//!         open   column    cell      slots taken          0 = closed
//! ```
//!
//! Invariants
//! - **H1** slots taken >= live bits of the span: a reservation comes before its bit, and goes after it.
//! - **H2** only an open span without reservations is closed, and who closes it owns it.
//! - **H3** a remote bit of a shared span is set by who looks for a slot to publish, one at a time, with a reservation; while the slot is
//!   free, it is theirs. Of a block it says nothing (see [`super::published`]). So with a reservation a slot without both bits will
//!   be found.

use crate::sync::{AtomicU64, Ordering};

const OPEN: u64 = 1 << 63;
const COLUMN_SHIFT: u32 = 44;
const CELL_SHIFT: u32 = 32;
const TAKEN: u64 = (1 << 32) - 1;

/// Whose a shared span is: a column and the number of one of its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedKey {
    pub(crate) column: u32,
    pub(crate) cell: u32,
}

impl SharedKey {
    /// Numbers that a cell may have.
    #[cfg(not(loom))]
    pub(crate) const CELLS: usize = 1 << (COLUMN_SHIFT - CELL_SHIFT);

    const fn open(self) -> u64 {
        OPEN | (self.column as u64) << COLUMN_SHIFT | (self.cell as u64) << CELL_SHIFT
    }
}

/// The state of a span as a shared one; zero: it is not.
#[repr(transparent)]
pub(crate) struct SharedState(AtomicU64);

impl SharedState {
    /// A closed span, for models.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether it is as in fresh memory.
    #[cfg(not(loom))]
    pub(crate) fn is_fresh(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Makes it so, while nobody else uses the span.
    #[cfg(not(loom))]
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Opens the span for `key` with `taken` slots taken; the caller owns it.
    pub(crate) fn open(&self, key: SharedKey, taken: u32) {
        self.0.store(key.open() | u64::from(taken), Ordering::Release);
    }

    /// Reserves one of `slots`. Counts failed compare-and-swaps in `retries`.
    pub(crate) fn reserve(&self, key: SharedKey, slots: u32, retries: &mut u64) -> bool {
        let mut state = self.0.load(Ordering::Relaxed);
        loop {
            if state & !TAKEN != key.open() || state & TAKEN >= u64::from(slots) {
                return false;
            }
            // Acquire: pairs with `open` and with `release`, so that a clear bit will be found (H1).
            match self.0.compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => {
                    *retries += 1;
                    state = now;
                }
            }
        }
    }

    /// Gives up `slots` reservations whose bits are clear. True if that closed the span: the
    /// caller owns it then (H2). Release: the cleared bits come before.
    pub(crate) fn release(&self, slots: u32) -> bool {
        let left = self.0.fetch_sub(u64::from(slots), Ordering::AcqRel) - u64::from(slots);
        left & TAKEN == 0 && self.0.compare_exchange(left, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether it is an open span of `key`, for checks.
    pub(crate) fn is_open_for(&self, key: SharedKey) -> bool {
        self.0.load(Ordering::Relaxed) & !TAKEN == key.open()
    }

    /// Whether it is an open span of the same cell as `other` with one of its `slots` not taken: a look.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn has_room_like(&self, other: &Self, slots: u32) -> bool {
        let (state, other) = (self.0.load(Ordering::Relaxed), other.0.load(Ordering::Relaxed));
        (state ^ other) & !TAKEN == 0 && state & TAKEN < u64::from(slots)
    }

    /// Slots taken.
    pub(crate) fn taken(&self) -> u32 {
        self.0.load(Ordering::Relaxed) as u32
    }
}

/// Claims a clear bit among `pattern` in `word`; the caller has a reservation. `None` if all of
/// this word's are set at the moment.
pub(crate) fn claim_bit(word: &AtomicU64, pattern: u64, retries: &mut u64) -> Option<u32> {
    let mut live = word.load(Ordering::Relaxed);
    loop {
        let clear = pattern & !live;
        if clear == 0 {
            return None;
        }
        let place = clear.trailing_zeros();
        // Acquire: pairs with the free that cleared the bit, so that its writes to the block come before.
        let bit = 1 << place;
        if word.fetch_or(bit, Ordering::Acquire) & bit == 0 {
            return Some(place);
        }
        *retries += 1;
        live = word.load(Ordering::Relaxed);
    }
}
