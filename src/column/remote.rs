//! A free by a thread that does not hold the block's column, and how the holder takes it back.
//!
//! ```text
//! any thread                                   holder
//! 1 remote bit set? error                      a unlink the span from the inbox
//! 2 a held-back free is this block? error      b take the set of pending units
//! 3 live bit clear? error                      c later, a unit at a time: look at the remote bits,
//! 4 mark the span "seen"                         clear the live bits, then the remote bits
//! 5 set the remote bit; was set? error
//! 6 announce the unit; not yet queued?
//!   push the span
//! ```
//!
//! Why this order. (4) before (5): the holder's own free tests the whole owner word, so that it
//! notices blocks that others freed. (1) before (3): the holder clears the live bit of a block that
//! others freed *before* its remote bit, so that one of the two tests sees a block that others
//! freed. (2) before (3): it clears the live bit of the block that it held back *before* it holds back
//! the next, so that one of the two tests sees a block that the holder freed. (5) before (6), (b)
//! before (c): every bit set before (b) is collected, every later one is announced anew. A unit that waits for
//! (c) and is announced again is left to that announcement (`Pending::not_again`): else it would find nothing. Even so an
//! announcement may be late: its block was collected with others of its unit, or the span was taken away
//! (see `steal`), and it may have a new life by then, with the same holder or another. So who finds nothing
//! where something was announced looks once more, who is about to push a span looks whose it is, and who finds a span
//! in its inbox that is not its own passes it on. One read-
//! modify-write a free, one more for the first of a unit, three
//! more for the first of a span; none of them is a loop: wait-free.
//!
//! A span that others have freed whole may be taken out of the inbox by somebody else: see `steal`.

use core::num::NonZeroU64;

use crate::map::{Entry, Granule, PageEntry, SpanId, clear_owned};
use crate::span::{Inbox, Pending};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// What a free from another thread touches.
pub(crate) struct RemoteFree<'a> {
    /// The page entry of the span in which the block starts.
    pub(crate) page: &'a PageEntry,
    pub(crate) hold: &'a AtomicU64,
    pub(crate) live: &'a AtomicU64,
    pub(crate) remote: &'a AtomicU64,
}

impl RemoteFree<'_> {
    /// Whether the block at `granule` is handed out and was freed by nobody.
    pub(crate) fn is_live(&self, granule: Granule) -> bool {
        is_live(self.hold, self.live, self.remote, granule)
    }

    /// Frees the block at `granule` (steps 1 to 5). `None` if it is not handed out, and then nothing has
    /// changed. Else the caller announces its unit, and if that says so pushes the span onto the inbox of
    /// whose it is by then: if it was taken away it would rest in that of its former column, whose holder perhaps
    /// rests too. `locate` says what the caller has to know of the span for that: once the bit is set,
    /// the span may get a new life.
    #[inline(always)]
    pub(crate) fn free<T>(&self, granule: Granule, locate: impl FnOnce(Entry) -> T) -> Option<T> {
        if !self.is_live(granule) {
            return None;
        }
        let entry = self.page.read();
        let located = locate(entry);
        if !entry.owner().is_seen() {
            self.page.mark_seen();
        }
        let bit = granule.bit();
        // Release: the program's use of the block comes before its next owner's. Sequentially
        // consistent for `announce`.
        (self.remote.fetch_or(bit, Ordering::SeqCst) & bit == 0).then_some(located)
    }
}

/// Steps 1 to 3: whether the block at `granule` is handed out and was freed by nobody. Any thread may
/// ask; exact if the block's last free came before.
#[inline(always)]
pub(crate) fn is_live(hold: &AtomicU64, live: &AtomicU64, remote: &AtomicU64, granule: Granule) -> bool {
    // Acquire, both: who sees a remote bit cleared, or another free held back, sees the live bit
    // that was cleared before. So the live bit itself may be relaxed.
    remote.load(Ordering::Acquire) & granule.bit() == 0
        && hold.load(Ordering::Acquire) != granule.0
        && live.load(Ordering::Relaxed) & granule.bit() != 0
}

/// The same for the holder of the column: all places of a word but those of blocks that are handed out and were freed by
/// nobody else. (Which block it holds back it knows.)
#[inline(always)]
pub(crate) fn not_given(live: &AtomicU64, remote: &AtomicU64) -> u64 {
    // Acquire, and first: who takes the span away at this moment clears the live bits before the remote bits (see `steal`).
    remote.load(Ordering::Acquire) | !live.load(Ordering::Relaxed)
}

/// What was taken back of a unit.
pub(crate) struct Collected {
    /// The blocks.
    pub(crate) freed: u64,
    /// Whether others have freed more of it meanwhile: then it must be collected again.
    pub(crate) more: bool,
}

/// Takes back what others freed among `bits` of a word (step c): clears the live bits and the
/// remote bits, in that order. (A bit whose block is not live comes from two threads freeing one
/// block at the same instant, and is dropped; but if the slot was handed out again before, the bit takes
/// it from its new owner: LIMITS.md names this.)
#[inline(always)]
pub(crate) fn collect(live: &AtomicU64, remote: &AtomicU64, bits: u64) -> Collected {
    // Acquire: the freeing threads' use of the blocks comes before what we do with them.
    let freed = remote.load(Ordering::Acquire) & bits;
    let given = live.load(Ordering::Relaxed);
    live.store(given & !freed, Ordering::Relaxed);
    // Release: who sees the remote bits cleared sees the live bits cleared, recovery too (Y2); and who sets one later
    // sees that its unit was taken from the pending ones.
    remote.fetch_and(!freed, Ordering::SeqCst);
    Collected { freed: given & freed, more: remote.load(Ordering::Relaxed) & bits != 0 }
}

/// The same of a whole word, whose lowest block is handed out again at once: it stays live, only its remote bit goes.
///
/// If every live block of the word is marked, nobody may mark another one, and none becomes live but by us: a store clears the remote
/// bits, which waits for nothing. (A read-modify-write waits until all that we stored before has reached its cache line, in blocks
/// that other processors have used last.)
#[inline(always)]
pub(crate) fn collect_and_give(live: &AtomicU64, remote: &AtomicU64) -> Collected {
    // As in `collect`, and as in `hand_over`.
    let marked = remote.load(Ordering::Acquire);
    let given = live.load(Ordering::Relaxed);
    if marked == given {
        live.store(given & given.wrapping_neg(), Ordering::Relaxed);
        remote.store(0, Ordering::Release);
        return Collected { freed: given, more: false };
    }
    let freed = given & marked;
    live.store(given & !(freed & freed.wrapping_sub(1)), Ordering::Relaxed);
    remote.fetch_and(!marked, Ordering::SeqCst);
    Collected { freed, more: remote.load(Ordering::Relaxed) != 0 }
}

/// A block that others freed, on its way to its next owner.
pub(crate) struct HandedOver {
    /// Its place in the word; `None` if nothing was freed.
    pub(crate) place: Option<u32>,
    /// Whether others have freed more of the word.
    pub(crate) more: bool,
}

/// Takes the lowest block back that others freed among `bits` of a word, and hands it out again (step c):
/// it stays live, only its remote bit goes.
#[inline(always)]
pub(crate) fn hand_over(remote: &AtomicU64, bits: u64) -> HandedOver {
    // Acquire: as in `collect`.
    let Some(freed) = NonZeroU64::new(remote.load(Ordering::Acquire) & bits) else {
        remote.fetch_and(u64::MAX, Ordering::SeqCst);
        return HandedOver { place: None, more: remote.load(Ordering::Relaxed) & bits != 0 };
    };
    let place = freed.trailing_zeros();
    if !hand_slot_over(remote, place) {
        // Cannot be: only the holder takes remote bits back.
        return HandedOver { place: None, more: true };
    }
    // Looked at afterwards, like in `collect`: a read-modify-write, also one that changes nothing, meets every
    // bit whose announcement was covered by the one that brought us here. What is freed from here on is
    // announced anew.
    HandedOver { place: Some(place), more: remote.load(Ordering::Relaxed) & bits != 0 }
}

/// The same of a unit that is one slot, at `place` of the word: whether it was freed, and is handed out again.
#[inline(always)]
pub(crate) fn hand_slot_over(remote: &AtomicU64, place: u32) -> bool {
    // One bit of the old value: a single instruction, not a loop.
    let bit = 1_u64.wrapping_shl(place);
    // Acquire: as in `collect`; release: as in `hand_over`. It meets the bit if its announcement was covered by the one
    // that brought us here; a bit that is set from here on is announced anew.
    remote.fetch_and(!bit, Ordering::SeqCst) & bit != 0
}

/// The same by a store, if that is enough (see [`collect_and_give`]). Else false, and nothing has changed.
#[inline(always)]
pub(crate) fn hand_slot_over_at_once(live: &AtomicU64, remote: &AtomicU64, place: u32) -> bool {
    let bit = 1_u64.wrapping_shl(place);
    // Acquire: as in `collect`.
    let marked = remote.load(Ordering::Acquire);
    if marked != live.load(Ordering::Relaxed) || marked & bit == 0 {
        return false;
    }
    // Release: as in `collect`.
    remote.store(marked ^ bit, Ordering::Release);
    true
}

/// Clears the live bits and the remote bits of a word, in that order, for whoever owns all of it.
/// Returns the blocks that nobody had freed.
pub(crate) fn clear(live: &AtomicU64, remote: &AtomicU64) -> u64 {
    let given = live.load(Ordering::Relaxed);
    live.store(0, Ordering::Relaxed);
    // Acquire: as in `collect`.
    let freed = if remote.load(Ordering::Relaxed) == 0 { 0 } else { remote.swap(0, Ordering::SeqCst) };
    given & !freed
}

/// The holder's side of (2) and (3): the block held back before, whose live word is `live_of_held`, is freed, and then, if
/// `is_given` says that it is handed out, `granule` is held back. In this order, so that a second free of the block held back
/// finds it free like any other. If it is not handed out, the caller finishes what the one before has left to do.
#[inline(always)]
pub(crate) fn hold_instead(
    hold: &AtomicU64,
    live_of_held: &AtomicU64,
    held: Granule,
    granule: Granule,
    is_given: impl FnOnce() -> bool,
) -> bool {
    clear_owned(live_of_held, held.bit());
    let given = is_given();
    if given {
        // Release: who sees the new hold sees that the live bit of the one before is clear, recovery too (Y2).
        hold.store(granule.0, Ordering::Release);
    }
    given
}

/// A span that is on its way through an inbox, in the hands of who took it out: nobody else
/// clears its flag "queued" meanwhile (S6), so nobody else can take it out of an inbox.
pub(crate) struct Incoming<'a> {
    pub(crate) span: SpanId,
    pub(crate) page: &'a PageEntry,
    /// Whether its holder may have it in a list (S7).
    pub(crate) busy: &'a AtomicU32,
    pub(crate) pending: &'a Pending,
}

/// A span that its holder took out of a chain.
pub(crate) struct Arrival {
    /// The units that were announced.
    pub(crate) units: u64,
    /// Whether the span is the cell's.
    pub(crate) ours: bool,
}

impl Incoming<'_> {
    /// Whether it is the first span of its run: others may be in an inbox for their former life.
    #[inline(always)]
    pub(crate) fn is_head(&self) -> bool {
        self.page.owner().head(self.span) == self.span
    }

    /// Whether it belongs to the cell at offset `cell` of column `index`, as the first span of its run.
    #[inline(always)]
    pub(crate) fn is_of(&self, index: u32, cell: u32) -> bool {
        let entry = self.page.read();
        entry.owner().is_column(index) && entry.owner().head(self.span) == self.span && entry.cell() == cell
    }

    /// Takes the span out of its chain (step a); the rest of it. `None` if its pusher has not linked it yet.
    #[inline(always)]
    pub(crate) fn unlink(&self) -> Option<SpanId> {
        self.pending.unlink()
    }

    /// The holder of a column takes the units of a span that it unlinked from what was in the inbox of one of its cells
    /// (step b). Whether it is `ours` was asked since: only we give our spans a cell, and nobody takes this one away while
    /// it is in our hands, so it is ours after the units exactly if it was before.
    #[inline(always)]
    pub(crate) fn accept(&self, ours: bool) -> Arrival {
        if ours {
            // Published by the release in `take`, to whoever finds the span in an inbox next (S7).
            self.busy.store(1, Ordering::Relaxed);
        }
        Arrival { units: self.pending.take(), ours }
    }

    /// Passes on `units` of a span that was found in the inbox of a cell whose it is not, or not any
    /// more. (Nobody announces units of a span that continues a run: they are of its former life.)
    pub(crate) fn pass_on<'a>(&self, units: u64, inbox: impl FnOnce(u32, u32) -> &'a Inbox) {
        if let Some(index) = self.page.owner().holder()
            && units != 0
            && self.is_head()
            && self.pending.announce(units)
        {
            inbox(index, self.page.cell()).push(self.span, self.pending);
        }
    }
}
