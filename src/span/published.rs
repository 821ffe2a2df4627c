//! A slot that is published and taken back: how its live bit and its remote bit change hands (see `column::publish`).
//!
//! ```text
//! live remote
//!   0    0     free               claim --> 0 1 --> give --> 1 1 --> 1 0
//!   1    0     a block            claim_back --> 1 1 --> take_back --> 0 1 --> end --> 0 0
//! ```
//!
//! Who turns the remote bit on has the slot until it turns the bit off: nobody else gives it, or takes it back.

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
        // Acquire: pairs with `end`, so that the last block's uses come before.
        if self.remote.fetch_or(self.bit, Ordering::AcqRel) & self.bit != 0 {
            return Claim::Lost;
        }
        if self.is_live() {
            // It was published meanwhile.
            self.end();
            return Claim::Lost;
        }
        Claim::Ours
    }

    /// Whether it is a block. Acquire: pairs with who gave it, or takes it back.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire) & self.bit != 0
    }

    /// The slot, which is the caller's, is a block from here on; `name` comes in between. Each step is a
    /// read-modify-write, or a release: recovery relies on their order (Y5).
    pub(crate) fn give(&self, name: impl FnOnce()) {
        self.live.fetch_or(self.bit, Ordering::AcqRel);
        name();
        self.end();
    }

    /// Claims a block, to take it back: wait-free. False if it is none, or somebody else takes it back.
    pub(crate) fn claim_back(&self) -> bool {
        if !self.is_live() || self.remote.fetch_or(self.bit, Ordering::AcqRel) & self.bit != 0 {
            return false;
        }
        let still = self.is_live();
        if !still {
            self.end();
        }
        still
    }

    /// The block, which the caller has claimed back, is none any more. False if somebody has freed it in the same instant.
    pub(crate) fn take_back(&self) -> bool {
        self.live.fetch_and(!self.bit, Ordering::AcqRel) & self.bit != 0
    }

    /// The caller has it no more. Release: all that was done to it comes before the next claim.
    pub(crate) fn end(&self) {
        self.remote.fetch_and(!self.bit, Ordering::AcqRel);
    }
}
