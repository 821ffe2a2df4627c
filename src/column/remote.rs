//! A free by a thread that does not hold the block's column, and how the holder takes it back.
//!
//! ```text
//! any thread                                   holder
//! 1 mark the span "seen"                       a unlink the span from the inbox
//! 2 the held-back free is this block? error    b take the set of pending units
//! 3 live bit clear? error                      c later, a unit at a time: take the remote bits,
//! 4 set the remote bit; was set? error           clear the live bits
//! 5 announce the unit; not yet queued?
//!   push the span
//! ```
//!
//! Why this order. (1) before (4): the holder's own free tests the whole owner word, so that it
//! notices blocks that others freed. (2) before (3): the holder clears the live bit of the block
//! that it held back *before* it holds back the next, so that one of the two tests sees a block that
//! the holder freed. (4) before (5), (b) before (c): every bit set before (b) is collected, every
//! later one is announced anew. One read-modify-write a free, one more for the first of a unit, three
//! more for the first of a span; none of them is a loop: wait-free.

use crate::map::{Granule, PageEntry, SpanId};
use crate::span::{Inbox, Pending};
use crate::sync::{AtomicU64, Ordering};

/// What a free from another thread touches.
pub(crate) struct RemoteFree<'a> {
    /// The page entry of the span in which the block starts.
    pub(crate) page: &'a PageEntry,
    /// That span, or the first of its run.
    pub(crate) head: SpanId,
    pub(crate) hold: &'a AtomicU64,
    pub(crate) live: &'a AtomicU64,
    pub(crate) remote: &'a AtomicU64,
    pub(crate) pending: &'a Pending,
    pub(crate) inbox: &'a Inbox,
}

impl RemoteFree<'_> {
    /// Whether the block at `granule` is handed out and was freed by nobody.
    pub(crate) fn is_live(&self, granule: Granule) -> bool {
        self.hold.load(Ordering::Acquire) != granule.0
            && self.live.load(Ordering::Acquire) & granule.bit() != 0
            && self.remote.load(Ordering::Relaxed) & granule.bit() == 0
    }

    /// Frees the block at `granule`, in unit `unit` of its span. False if it is not handed out, and
    /// then nothing has changed.
    pub(crate) fn free(&self, granule: Granule, unit: u32) -> bool {
        if !self.page.owner().is_seen() {
            self.page.mark_seen();
        }
        if self.hold.load(Ordering::Acquire) == granule.0 {
            return false;
        }
        let bit = granule.bit();
        if self.live.load(Ordering::Acquire) & bit == 0 {
            return false;
        }
        // Release: the program's use of the block comes before its next owner's. Sequentially
        // consistent for `announce`.
        if self.remote.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
            return false;
        }
        if self.pending.announce(1 << unit) {
            self.inbox.push(self.head, self.pending);
        }
        true
    }
}

/// Takes back what others freed of one word: clears the remote bits and the live bits, and returns
/// those that were live. (A bit whose block is not live comes from two threads freeing one block at
/// the same instant, and is dropped.)
pub(crate) fn collect_word(live: &AtomicU64, remote: &AtomicU64) -> u64 {
    // Acquire: the freeing threads' use of the blocks comes before what we do with them.
    take_back(live, remote.swap(0, Ordering::SeqCst))
}

/// The same for one block.
pub(crate) fn collect_bit(live: &AtomicU64, remote: &AtomicU64, bit: u64) -> u64 {
    take_back(live, remote.fetch_and(!bit, Ordering::SeqCst) & bit)
}

fn take_back(live: &AtomicU64, freed: u64) -> u64 {
    let given = live.load(Ordering::Relaxed);
    live.store(given & !freed, Ordering::Relaxed);
    given & freed
}
