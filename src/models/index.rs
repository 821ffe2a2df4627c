//! The chunk index: leaves tell the truth, the levels above are never set too seldom.

use std::sync::Arc;

use super::fixture::check;
use crate::map::ChunkId;
use crate::span::{IndexWords, claim_in};
use crate::sync::AtomicU64;
use loom::thread;

/// An index of two leaves.
struct Index {
    leaves: [AtomicU64; 2],
    upper: [AtomicU64; 2],
}

impl IndexWords for Index {
    fn word(&self, level: usize, index: usize) -> &AtomicU64 {
        if level == 0 { &self.leaves[index] } else { &self.upper[level - 1] }
    }

    fn words(&self, level: usize) -> usize {
        if level == 0 { 2 } else { 1 }
    }
}

impl Index {
    /// The chunks of `leaves` are free.
    fn new(leaves: [u64; 2]) -> Arc<Self> {
        let middle = u64::from(leaves[0] != 0) | u64::from(leaves[1] != 0) << 1;
        Arc::new(Self { leaves: leaves.map(AtomicU64::new), upper: [middle, u64::from(middle != 0)].map(AtomicU64::new) })
    }

    /// Claims all that is left, when nobody else runs any more.
    fn rest(&self) -> Vec<ChunkId> {
        core::iter::from_fn(|| self.claim_first().0).collect()
    }
}

/// A free chunk that is never found again, because the bit above its word was cleared for good.
/// Seen with: `settle` not looking again after it cleared a bit; `give` raising before it sets the leaf.
#[test]
fn a_chunk_that_is_given_while_its_word_runs_empty_is_found() {
    check(3, || {
        let index = Index::new([0b10, 0]);
        let giver = {
            let index = index.clone();
            thread::spawn(move || index.give(ChunkId(2)))
        };
        let claimed = index.claim_first().0;
        giver.join().unwrap();
        let mut found = index.rest();
        found.extend(claimed);
        found.sort();
        assert_eq!(found, [ChunkId(1), ChunkId(2)]);
    });
}

/// The same a level higher: the chunk lies under another leaf.
/// Seen with: `raise` setting the top before the middle.
#[test]
fn a_chunk_that_is_given_while_the_leaf_beside_runs_empty_is_found() {
    check(3, || {
        let index = Index::new([0b10, 0]);
        let giver = {
            let index = index.clone();
            thread::spawn(move || index.give(ChunkId(65)))
        };
        let claimed = index.claim_first().0;
        giver.join().unwrap();
        let mut found = index.rest();
        found.extend(claimed);
        found.sort();
        assert_eq!(found, [ChunkId(1), ChunkId(65)]);
    });
}

/// A chunk that two threads get, or that is lost when both empty words.
/// Seen with: `claim` believing a look instead of what its read-modify-write returned.
#[test]
fn two_claimers_get_two_chunks() {
    check(3, || {
        let index = Index::new([0b10, 0b1]);
        let other = {
            let index = index.clone();
            thread::spawn(move || index.claim_first().0)
        };
        let mine = index.claim_first().0;
        let other = other.join().unwrap();
        let mut found = index.rest();
        found.extend(mine);
        found.extend(other);
        found.sort();
        assert_eq!(found, [ChunkId(1), ChunkId(64)]);
    });
}

/// A chunk that two threads get, or that is not found again, because one of them leaves the bit above an empty leaf.
/// Seen with: `claim_in` believing its look; `claim_first` giving up at an empty leaf.
#[test]
fn one_who_claims_in_a_leaf_and_one_who_searches_get_two_chunks() {
    check(3, || {
        let index = Index::new([0b10, 0b1]);
        let other = {
            let index = index.clone();
            thread::spawn(move || claim_in(index.word(0, 0), ChunkId(0)))
        };
        let mine = index.claim_first().0;
        let other = other.join().unwrap();
        assert!(mine.is_some(), "a free chunk that is not found");
        index.give(ChunkId(2));
        let mut found = index.rest();
        found.extend(mine);
        found.extend(other);
        found.sort();
        assert_eq!(found, [ChunkId(1), ChunkId(2), ChunkId(64)]);
    });
}
