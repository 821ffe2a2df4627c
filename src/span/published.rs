//! A slot that is published and taken back: how its live bit and its remote bit change hands (see `column::publish`).
//!
//! ```text
//! live remote
//!   0    0     free               claim --> 0 1 --> give --> 1 1 --> 1 0
//!   1    0     a block            take_back --> 0 0
//! ```
//!
//! Who turns the remote bit of a free slot on has the slot until it turns the bit off (H3). Who looks for a slot, finds it free and
//! comes late turns the bit of a block on, notices, and turns it off again: so of a block the remote bit says nothing, and who takes
//! it back neither looks at it nor changes it.

use crate::sync::{AtomicU64, Ordering};

/// The words of a slot's bits.
#[derive(Clone, Copy)]
pub(crate) struct PublishedSlot<'a> {
    pub(crate) live: &'a AtomicU64,
    pub(crate) remote: &'a AtomicU64,
    pub(crate) bit: u64,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The slot is the caller's, and free.
    Ours,
    /// It is a block, or somebody else's.
    Taken,
    /// It became so while the caller looked.
    Lost,
}

impl PublishedSlot<'_> {
    /// Claims a free slot: wait-free.
    pub(crate) fn claim(&self) -> Claim {
        if (self.live.load(Ordering::Relaxed) | self.remote.load(Ordering::Relaxed)) & self.bit != 0 {
            return Claim::Taken;
        }
        // Acquire: pairs with `end`: if it was published meanwhile, that is seen.
        if self.remote.fetch_or(self.bit, Ordering::AcqRel) & self.bit != 0 {
            return Claim::Lost;
        }
        if self.is_live() {
            self.end();
            return Claim::Lost;
        }
        Claim::Ours
    }

    /// Whether it is a block. Acquire: pairs with who gave it, or took it back, so that its last block's uses come before.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire) & self.bit != 0
    }

    /// The slot, which is the caller's, is a block from here on. In this order, so that it is never another's to claim.
    pub(crate) fn give(&self) {
        self.live.fetch_or(self.bit, Ordering::AcqRel);
        self.end();
    }

    /// The block is none any more, and the slot anybody's. False if somebody has freed it in the same instant.
    pub(crate) fn take_back(&self) -> bool {
        self.live.fetch_and(!self.bit, Ordering::AcqRel) & self.bit != 0
    }

    /// The caller has it no more. Release: pairs with the next claim.
    fn end(&self) {
        self.remote.fetch_and(!self.bit, Ordering::AcqRel);
    }
}
