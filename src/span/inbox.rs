//! What other threads freed, on its way to the holder.
//!
//! Each span has a set of *pending units*: units with bits in the remote map that the holder has not
//! been told of, and a flag that says that the span is on its way. Who sets the flag pushes the span
//! onto the inbox of its cell, with one exchange; the holder takes the whole inbox with one exchange
//! and walks it at leisure.
//!
//! ```text
//! inbox --> span 9 --> span 4 --> end        push(7):   1. head.swap(7) returned 9
//!             ^                                         2. 7.next = 9
//! span 7 -----' (between 1 and 2 its next is "unlinked": the holder cannot go on there yet)
//! ```
//!
//! Neither side ever waits or tries again: a push is an exchange and a store, and a holder that meets an
//! unlinked span puts it back and has what came meanwhile instead, in one exchange ([`Inbox::exchange`]): its pusher may be
//! interrupted for long, and everything behind it is hidden until then, but nothing that comes later. (Who takes the inbox without
//! holding the column has nowhere to keep that: see [`Inbox::put_back`] and [`Parked`].) No read-modify-write here needs more of
//! the old value than one bit, so that each is one instruction and not a loop (x86-64 has no "or"
//! that returns what was there).

use crate::map::SpanId;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// What a link holds: nothing yet, or one more than the next span's number, which is 0 at the end of a chain.
const UNLINKED: u32 = 0;
const END: u32 = 1;

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
    queued: AtomicU32,
    next: AtomicU32,
    /// The next chain that is parked.
    aside: AtomicU32,
}

impl Pending {
    /// Nothing pending, for models.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { units: AtomicU64::new(0), queued: AtomicU32::new(0), next: AtomicU32::new(UNLINKED), aside: AtomicU32::new(0) }
    }

    /// Whether it is as in fresh memory.
    #[cfg(not(loom))]
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_quiet() && self.next.load(Ordering::Relaxed) | self.aside.load(Ordering::Relaxed) == 0
    }

    /// Makes it so, while nobody else uses the span.
    #[cfg(not(loom))]
    pub(crate) fn reset(&self) {
        self.units.store(0, Ordering::Relaxed);
        for word in [&self.queued, &self.next, &self.aside] {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Announces units whose remote bits are set. True if the caller must push the span.
    ///
    /// Sequentially consistent throughout, like the remote bit before and [`Pending::take`]: a freer
    /// stores a bit, then looks at the units, then at the flag; the holder clears the flag, then takes
    /// the units, then the bits. Whichever look comes too early for the one comes in time for the other.
    pub(crate) fn announce(&self, units: u64) -> bool {
        if self.units.load(Ordering::SeqCst) & units != units {
            self.units.fetch_or(units, Ordering::SeqCst);
        }
        self.queued.load(Ordering::SeqCst) == 0 && self.queued.swap(1, Ordering::SeqCst) == 0
    }

    /// Takes the set, after `unlink`: from here on the span may be pushed again.
    pub(crate) fn take(&self) -> u64 {
        self.queued.swap(0, Ordering::SeqCst);
        self.units.swap(0, Ordering::SeqCst)
    }

    /// The units among `waiting` that were not announced again since they were taken. The others are left to their announcement:
    /// it would find nothing if they were collected before.
    #[inline(always)]
    pub(crate) fn not_again(&self, waiting: u64) -> u64 {
        // Relaxed: who does not see an announcement leaves it to find nothing.
        waiting & !self.units.load(Ordering::Relaxed)
    }

    /// Whether nothing is pending, for checks and while the column is reset.
    pub(crate) fn is_quiet(&self) -> bool {
        self.units.load(Ordering::SeqCst) == 0 && self.queued.load(Ordering::SeqCst) == 0
    }

    /// Whether it is in an inbox, or on its way there or from there, for checks.
    #[cfg(not(loom))]
    pub(crate) fn is_queued(&self) -> bool {
        self.queued.load(Ordering::SeqCst) != 0
    }

    /// What comes after the span: a look, for who does not have the chain.
    pub(crate) fn next(&self) -> Next {
        match self.next.load(Ordering::Acquire) {
            UNLINKED => Next::Unlinked,
            END => Next::End,
            next => Next::Span(SpanId(next - 1)),
        }
    }

    /// Takes the span out of a chain: the next one, none at the end. `None` if it is not linked yet.
    #[inline(always)]
    pub(crate) fn unlink(&self) -> Option<SpanId> {
        let link = self.next.load(Ordering::Acquire);
        if link == UNLINKED {
            return None;
        }
        // Relaxed: published by the release in `take` or `push`, which comes before any other push.
        self.next.store(UNLINKED, Ordering::Relaxed);
        Some(SpanId(link - 1))
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

    /// The span that was pushed last: a look.
    pub(crate) fn first(&self) -> SpanId {
        SpanId(self.0.load(Ordering::Acquire))
    }

    /// Puts back what is left of a chain whose first span is not linked yet, and takes all that was pushed meanwhile. Whoever pushes
    /// from here on does so in front of that span.
    #[inline(always)]
    pub(crate) fn exchange(&self, rest: SpanId) -> SpanId {
        // Release: who takes the chain again sees what we did to the spans before it.
        SpanId(self.0.swap(rest.0, Ordering::AcqRel))
    }

    /// Puts back what is left of a chain whose first span is not linked yet. False if something is
    /// in the inbox: only its pusher may say what comes after that span.
    pub(crate) fn put_back(&self, rest: SpanId) -> bool {
        self.0.compare_exchange(0, rest.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Pushes a span that is in no inbox: wait-free.
    pub(crate) fn push(&self, span: SpanId, pending: &Pending) {
        let before = self.0.swap(span.0, Ordering::AcqRel);
        // Release: who follows the link sees the span's units.
        pending.next.store(before + 1, Ordering::Release);
    }

    /// Takes all; walk it with [`Pending::unlink`].
    pub(crate) fn take(&self) -> SpanId {
        if self.is_empty() { SpanId::NONE } else { self.take_all() }
    }

    /// The same for who has seen that there is something in it, most likely.
    #[inline(always)]
    pub(crate) fn take_all(&self) -> SpanId {
        SpanId(self.0.swap(0, Ordering::AcqRel))
    }

    /// Whether nothing is in it at this moment.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// Rests of chains, each behind a span that was not linked yet and could not be put back into its inbox.
#[repr(transparent)]
pub(crate) struct Parked(AtomicU32);

impl Parked {
    /// Empty, for models.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Parks the chain that begins with `rest`, which is the caller's: lock-free.
    pub(crate) fn park(&self, rest: SpanId, pending: &Pending) {
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            pending.aside.store(before, Ordering::Relaxed);
            // Nothing is ever taken from the middle, so it does not matter if `before` was taken and
            // parked again meanwhile.
            match self.0.compare_exchange_weak(before, rest.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => before = now,
            }
        }
    }

    /// Takes all; the next one is [`Parked::after`].
    pub(crate) fn take(&self) -> SpanId {
        if self.0.load(Ordering::Relaxed) == 0 {
            return SpanId::NONE;
        }
        SpanId(self.0.swap(0, Ordering::AcqRel))
    }

    /// The chain that was parked last: a look, for checks.
    #[cfg(not(loom))]
    pub(crate) fn first(&self) -> SpanId {
        SpanId(self.0.load(Ordering::Acquire))
    }

    /// The chain after the one that begins with the span of `pending`.
    pub(crate) fn after(pending: &Pending) -> SpanId {
        SpanId(pending.aside.load(Ordering::Relaxed))
    }
}
