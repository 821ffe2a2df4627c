//! What other threads freed, on its way to the holder.
//!
//! Each span has a set of *pending units*: units with bits in the remote map that nobody has
//! announced yet to the holder. Who turns the set from empty to not empty pushes the span onto
//! the inbox of its cell, with one exchange; the holder takes the whole inbox with one exchange and
//! walks it at leisure.
//!
//! ```text
//! inbox --> span 9 --> span 4 --> end        push(7):   1. head.swap(7) returned 9
//!             ^                                         2. 7.next = 9
//! span 7 -----' (between 1 and 2 its next is "unlinked": the holder stops there and comes back)
//! ```
//!
//! Neither side ever waits: a push is two stores, and a holder that meets an unlinked span keeps
//! it as the place to go on from (S6).

use crate::map::SpanId;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

const UNLINKED: u32 = 0;
const END: u32 = u32::MAX;

/// What comes after a span in a chain taken from an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Its pusher has not linked it yet: come back later.
    Unlinked,
    /// It was the last.
    End,
    /// This one.
    Span(SpanId),
}

/// The remote side of a span; on a line of its own.
#[repr(C)]
pub(crate) struct Pending {
    units: AtomicU64,
    next: AtomicU32,
}

impl Pending {
    /// Nothing pending, for models.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { units: AtomicU64::new(0), next: AtomicU32::new(UNLINKED) }
    }

    /// Announces `unit`. True if the set was empty: then the caller must push the span.
    /// Release: the remote bit comes before; acquire: the holder's unlinking does.
    pub(crate) fn announce(&self, unit: u32) -> bool {
        self.announce_all(1 << unit)
    }

    /// Announces several units.
    pub(crate) fn announce_all(&self, units: u64) -> bool {
        self.units.fetch_or(units, Ordering::AcqRel) == 0
    }

    /// Takes the set, after `unlink`: from here on the span may be pushed again.
    pub(crate) fn take(&self) -> u64 {
        self.units.swap(0, Ordering::AcqRel)
    }

    /// The set, for checks.
    pub(crate) fn units(&self) -> u64 {
        self.units.load(Ordering::Relaxed)
    }

    /// Takes the span out of a chain, if it is linked.
    pub(crate) fn unlink(&self) -> Next {
        match self.next.load(Ordering::Acquire) {
            UNLINKED => Next::Unlinked,
            next => {
                // Relaxed: published by the release in `take`, which comes before any other push.
                self.next.store(UNLINKED, Ordering::Relaxed);
                if next == END { Next::End } else { Next::Span(SpanId(next)) }
            }
        }
    }
}

/// Spans of one cell with units pending, latest first.
#[repr(transparent)]
pub(crate) struct Inbox(AtomicU32);

impl Inbox {
    /// Empty, for models.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Pushes a span that is in no inbox: wait-free.
    pub(crate) fn push(&self, span: SpanId, pending: &Pending) {
        let before = self.0.swap(span.0, Ordering::AcqRel);
        // Release: who follows the link sees the span's units.
        pending.next.store(if before == 0 { END } else { before }, Ordering::Release);
    }

    /// Takes all; walk it with [`Pending::unlink`].
    pub(crate) fn take(&self) -> SpanId {
        if self.0.load(Ordering::Relaxed) == 0 {
            return SpanId::NONE;
        }
        SpanId(self.0.swap(0, Ordering::AcqRel))
    }

    /// Whether anything is in it at this moment.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}
