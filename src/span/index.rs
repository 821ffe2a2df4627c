//! Which chunks are nobody's: one bit a chunk, with two levels of summary above, so that the lowest
//! free chunk of a terabyte is found in three bit scans.
//!
//! ```text
//! top      1 0 ...            a set bit: the word below may have one
//! middle   1 0 0 1 ...
//! leaves   00010110 00000000  a set bit: the chunk is free (S2: the only truth)
//! ```
//!
//! The upper levels are hints that may be set too often but, once nothing is in flight, never too
//! seldom: who frees sets leaf, middle, top in this order; who empties a word, or comes upon an empty one,
//! clears the bit above and then looks again.

use core::num::NonZeroU64;

use crate::map::ChunkId;
use crate::sync::{AtomicU64, Ordering};

/// How often a claim starts again when others are claiming too.
const TRIES: u32 = 8;

/// The words of an index, wherever they lie.
pub(crate) trait IndexWords {
    /// Word `index` of `level` (0: leaves, 1: middle, 2: top).
    fn word(&self, level: usize, index: usize) -> &AtomicU64;
    /// Words of a level.
    fn words(&self, level: usize) -> usize;

    /// Whether any chunk may be free: one look at the top.
    fn may_have_any(&self) -> bool {
        (0..self.words(2)).any(|top| self.word(2, top).load(Ordering::Relaxed) != 0)
    }

    /// Claims the lowest free chunk. Also returns how many tries failed because another thread was faster.
    fn claim_first(&self) -> (Option<ChunkId>, u32) {
        let mut failed = 0;
        for top in 0..self.words(2) {
            while failed < TRIES {
                let Some(middle) = lowest(self.word(2, top)) else { break };
                let middle = top * 64 + middle;
                // An empty word costs no try: its bit above is cleared, and is not met again until a chunk below comes back. (Who claims in
                // one word alone leaves that bit set: one search for each column meets it.)
                let Some(leaf) = lowest(self.word(1, middle)) else {
                    self.settle(2, middle);
                    continue;
                };
                let leaf = middle * 64 + leaf;
                let Some(bit) = lowest(self.word(0, leaf)) else {
                    self.settle(1, leaf);
                    continue;
                };
                let chunk = ChunkId((leaf * 64 + bit) as u32);
                if self.claim(chunk) {
                    return (Some(chunk), failed);
                }
                failed += 1;
            }
        }
        (None, failed)
    }

    /// The leaf that a chunk's bit lies in, and the leaf's first chunk.
    fn leaf_of(&self, chunk: ChunkId) -> (&AtomicU64, ChunkId) {
        let leaf = chunk.index() / 64;
        (self.word(0, leaf), ChunkId((leaf * 64) as u32))
    }

    /// Whether this chunk is free at the moment.
    fn is_free(&self, chunk: ChunkId) -> bool {
        self.word(0, chunk.index() / 64).load(Ordering::Relaxed) >> (chunk.index() % 64) & 1 != 0
    }

    /// Claims this chunk if it is free.
    fn claim(&self, chunk: ChunkId) -> bool {
        let (leaf, bit) = (chunk.index() / 64, 1 << (chunk.index() % 64));
        // Acquire: pairs with `give`.
        let claimed = self.word(0, leaf).fetch_and(!bit, Ordering::Acquire) & bit != 0;
        if claimed && self.word(0, leaf).load(Ordering::Relaxed) == 0 {
            self.settle(1, leaf);
        }
        claimed
    }

    /// Gives a chunk back; the caller owned it whole.
    fn give(&self, chunk: ChunkId) {
        let (leaf, bit) = (chunk.index() / 64, 1 << (chunk.index() % 64));
        // Release: pairs with the claims: what was done with the chunk before comes first.
        self.word(0, leaf).fetch_or(bit, Ordering::Release);
        self.raise(1, leaf);
    }

    /// Gives all chunks from `first` to before `end`, a word of them at a time; the caller owned them whole.
    #[cfg(not(loom))]
    fn give_all(&self, first: ChunkId, end: ChunkId) {
        let mut next = first.index();
        while next < end.index() {
            let leaf = next / 64;
            let after = end.index().min((leaf + 1) * 64);
            let bits = (u64::MAX >> (64 - (after - next))) << (next % 64);
            // Release, as in `give`.
            self.word(0, leaf).fetch_or(bits, Ordering::Release);
            self.raise(1, leaf);
            next = after;
        }
    }

    /// Sets the bit of word `below` in `level` and the one above it.
    fn raise(&self, level: usize, below: usize) {
        self.word(level, below / 64).fetch_or(1 << (below % 64), Ordering::AcqRel);
        if level < 2 {
            self.raise(level + 1, below / 64);
        }
    }

    /// Clears the bit of word `below` in `level` if that word is empty; looks again afterwards,
    /// because a chunk may have been given meanwhile.
    fn settle(&self, level: usize, below: usize) {
        if self.word(level - 1, below).load(Ordering::Acquire) != 0 {
            return;
        }
        let bit = 1 << (below % 64);
        // AcqRel: the look below must not come before it; a giver's `raise` of the same word comes
        // either before it, and then its chunk is seen below, or after it.
        self.word(level, below / 64).fetch_and(!bit, Ordering::AcqRel);
        if self.word(level - 1, below).load(Ordering::Acquire) != 0 {
            self.raise(level, below);
        } else if level < 2 {
            self.settle(level + 1, below / 64);
        }
    }
}

/// Claims the lowest free chunk of one leaf, whose first one is `first`: one try, wait-free. If it was the last, the bit above is
/// left to the next search.
#[inline(always)]
pub(crate) fn claim_in(leaf: &AtomicU64, first: ChunkId) -> Option<ChunkId> {
    let place = NonZeroU64::new(leaf.load(Ordering::Relaxed))?.trailing_zeros();
    let bit = 1_u64.wrapping_shl(place);
    // Acquire: pairs with `give`.
    (leaf.fetch_and(!bit, Ordering::Acquire) & bit != 0).then_some(ChunkId(first.0 | place))
}

fn lowest(word: &AtomicU64) -> Option<usize> {
    let bits = word.load(Ordering::Relaxed);
    (bits != 0).then(|| bits.trailing_zeros() as usize)
}

/// The index of an arena's region.
#[cfg(not(loom))]
#[derive(Clone, Copy)]
pub(crate) struct ChunkIndex {
    pub(crate) leaves: crate::region::Table<AtomicU64>,
    pub(crate) middle: crate::region::Table<AtomicU64>,
    pub(crate) top: crate::region::Table<AtomicU64>,
}

#[cfg(not(loom))]
impl IndexWords for ChunkIndex {
    #[inline(always)]
    fn word(&self, level: usize, index: usize) -> &AtomicU64 {
        match level {
            0 => self.leaves.at(index),
            1 => self.middle.at(index),
            _ => self.top.at(index),
        }
    }

    #[inline(always)]
    fn words(&self, level: usize) -> usize {
        match level {
            0 => self.leaves.len(),
            1 => self.middle.len(),
            _ => self.top.len(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
