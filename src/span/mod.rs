//! Spans, runs and chunks: taking memory, giving it back, and what is known of each piece.
//!
//! ```text
//! chunk index   one bit a chunk: set = nobody's            claim: the lowest set bit
//! chunk         one word, a bit a span: set = free         claim: the lowest set bit, or a run of them
//! span          summary: one bit a unit: set = free slots of it lie in no cell
//! ```
//!
//! A column reserves whole chunks, and takes spans from them; when no chunk is left, any chunk's
//! free spans serve. A span belongs to one cell (column, size class, zone) until it is empty.
//!
//! Invariants
//! - **S1** ids are made from the index, from a chunk's map, or from a granule inside the region.
//! - **S2** a set bit in a chunk's map, and a set bit in the chunk index, belongs to nobody: who
//!   clears it by a read-modify-write owns the span, or the chunk.
//! - **S3** a free slot of a held column's span is in the stack of its cell, in the word that the
//!   cell has checked out, under the summary bit of its unit, or marked in the remote map.
//! - **S4** `away` counts a span's slots that are handed out, in a stack, or in a word that is not counted (K3); those under
//!   the summary or in a counted word are not away. A span with none away is empty, and is given back.
//! - **S5** a span is in its cell's list exactly if it has units under its summary or to be collected; one that
//!   is in no list has no links.
//! - **S6** a span is in an inbox at most once: who sets its flag "queued" pushes it, and only who took
//!   it out of the inbox clears the flag.
//! - **S7** a span of a held column that is "queued", not "busy", and all of whose slots are handed out and
//!   marked in the remote map is known to its holder through an inbox alone: who took it out of that
//!   inbox may take it away (see `column::steal`).
//! - **S8** a chunk that a column reserved for its holder is in one of three states: in the list that `list` names (0: in none),
//!   and `told` names the column; it waits, and `told` is 0; or it is the one for single spans, in no list, and `told` is 0. Of
//!   all other chunks both are 0.

mod chunk;
mod inbox;
mod index;
mod intent;
mod passing;
mod published;
mod shared;

pub(crate) use chunk::{ChunkMap, FRESH_LIST, LISTS, list_of_run};
pub(crate) use inbox::{Inbox, Next, Parked, Pending};
#[cfg(not(loom))]
pub(crate) use index::ChunkIndex;
pub(crate) use index::{IndexWords, claim_in};
pub(crate) use intent::Intent;
#[cfg(loom)]
pub(crate) use passing::ASKS;
pub(crate) use passing::Passings;
pub(crate) use published::{Claim, PublishedSlot};
pub(crate) use shared::{SharedKey, SharedState, claim_bit};

#[cfg(not(loom))]
use crate::map::{ChunkId, SpanId};
#[cfg(not(loom))]
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::Release};

/// What is known of a span, or of the first span of a run. The first line is written by the
/// holder of the span's column (relaxed: metrics and other processes only read it), the second
/// by any thread.
#[cfg(not(loom))]
#[repr(C, align(128))]
pub(crate) struct SpanMeta {
    /// Units with free slots that no cell keeps (S3).
    pub(crate) summary: AtomicU64,
    /// Units of which others freed slots that are still to be collected from the remote map.
    pub(crate) collect: AtomicU64,
    /// Next span in the cell's list; 0 ends it.
    pub(crate) next: AtomicU32,
    /// The one before; 0 for the first.
    pub(crate) prev: AtomicU32,
    /// Slots neither under the summary nor in a counted word (S4).
    pub(crate) away: AtomicU32,
    /// Large blocks: spans of the block.
    pub(crate) spans: AtomicU32,
    /// Large blocks: log2 of the alignment asked for. Aligned and published blocks: of the largest that any of the span asked for, since
    /// it was taken or had no other block; whoever is given a block raises it. Of other spans it means nothing.
    pub(crate) align: AtomicU32,
    /// 1 from before the holder takes the pending units until the span leaves the cell's list (S7).
    pub(crate) busy: AtomicU32,
    /// Large blocks: 1 if it was published.
    pub(crate) published: AtomicU32,
    reserved: [u32; 5],
    /// What other threads freed of it.
    pub(crate) pending: Pending,
    /// A shared span's column, class and count.
    pub(crate) shared: SharedState,
}

#[cfg(not(loom))]
// SAFETY: atomics throughout; zero: no units, no links, nothing pending, not shared.
unsafe impl crate::region::Plain for SpanMeta {}

/// What is known of a chunk. What comes before `told` is anybody's, the rest belongs to the holder of the column that
/// reserved it.
#[cfg(not(loom))]
#[repr(C, align(128))]
pub(crate) struct ChunkMeta {
    /// Its free spans (S2).
    pub(crate) map: ChunkMap,
    /// The column that reserved it plus one, with the large flag if no holder lists it; 0 for nobody.
    pub(crate) owner: AtomicU32,
    /// Whether anything was ever written to it since it was last given to the system.
    pub(crate) dirty: AtomicU32,
    line: [u32; 12],
    /// The column that reserved it plus one, if it is to wait when a single span comes back; else 0 (S8).
    pub(crate) told: AtomicU32,
    /// The next one that waits.
    pub(crate) after: AtomicU32,
    /// Which of the column's lists it is in, 0 if in none (S8).
    pub(crate) list: AtomicU32,
    /// Next chunk of that list; 0 ends it.
    pub(crate) next: AtomicU32,
    /// The one before; anything for the first.
    pub(crate) prev: AtomicU32,
}

#[cfg(not(loom))]
// SAFETY: atomics throughout; zero: no free spans, nobody's.
unsafe impl crate::region::Plain for ChunkMeta {}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<SpanMeta>() == 128 && core::mem::offset_of!(SpanMeta, pending) == 64);
    assert!(size_of::<ChunkMeta>() == 128 && core::mem::offset_of!(ChunkMeta, told) == 64);
};

#[cfg(not(loom))]
impl SpanMeta {
    /// Its holder has it in no list any more. Release: who sees it sees what was taken back, and the
    /// holder's last look at the span's links (S7).
    #[inline(always)]
    pub(crate) fn leave_alone(&self) {
        self.busy.store(0, Release);
    }

    /// Forgets all but what its slots are: no list, inbox or count knows it. Nobody else uses it.
    pub(crate) fn forget_links(&self) {
        self.summary.store(0, Relaxed);
        self.collect.store(0, Relaxed);
        for word in [&self.next, &self.prev, &self.away, &self.busy] {
            word.store(0, Relaxed);
        }
        self.pending.reset();
        self.shared.reset();
    }

    /// Forgets all: it is nobody's. If there is nothing to forget, nothing is written.
    pub(crate) fn forget(&self) {
        let words = [&self.next, &self.prev, &self.away, &self.spans, &self.align, &self.busy, &self.published];
        let known = words.iter().any(|word| word.load(Relaxed) != 0)
            || self.summary.load(Relaxed) | self.collect.load(Relaxed) != 0
            || !self.pending.is_fresh()
            || !self.shared.is_fresh();
        if known {
            self.forget_links();
            for word in words {
                word.store(0, Relaxed);
            }
        }
    }

    pub(crate) fn next(&self) -> SpanId {
        SpanId(self.next.load(Relaxed))
    }

    pub(crate) fn prev(&self) -> SpanId {
        SpanId(self.prev.load(Relaxed))
    }
}

#[cfg(not(loom))]
impl ChunkMeta {
    pub(crate) fn list(&self) -> u32 {
        self.list.load(Relaxed)
    }

    pub(crate) fn next(&self) -> ChunkId {
        ChunkId(self.next.load(Relaxed))
    }

    pub(crate) fn prev(&self) -> ChunkId {
        ChunkId(self.prev.load(Relaxed))
    }

    pub(crate) fn after(&self) -> ChunkId {
        ChunkId(self.after.load(Relaxed))
    }
}
