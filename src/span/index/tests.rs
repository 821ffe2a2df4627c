use super::*;

/// An index of 64 leaves.
struct Index([Vec<AtomicU64>; 3]);

impl IndexWords for Index {
    fn word(&self, level: usize, index: usize) -> &AtomicU64 {
        &self.0[level][index]
    }

    fn words(&self, level: usize) -> usize {
        self.0[level].len()
    }
}

#[test]
fn chunks_given_together_are_those_given_one_by_one() {
    let empty = || Index([130, 3, 1].map(|words| (0..words).map(|_| AtomicU64::new(0)).collect()));
    let words = |index: &Index| index.0.iter().flatten().map(|word| word.load(Ordering::Relaxed)).collect::<Vec<_>>();
    for (first, end) in [(0, 0), (0, 1), (1, 64), (63, 64), (64, 64), (1, 130), (7, 4096), (4095, 4097), (100, 130 * 64), (0, 130 * 64)] {
        let (together, single) = (empty(), empty());
        together.give_all(ChunkId(first), ChunkId(end));
        (first..end).for_each(|chunk| single.give(ChunkId(chunk)));
        assert_eq!(words(&together), words(&single), "{first}..{end}");
    }
}

#[test]
fn a_free_chunk_is_found_however_many_leaves_were_emptied_before_it() {
    let index = Index([64, 1, 1].map(|words| (0..words).map(|_| AtomicU64::new(0)).collect()));
    (0..64).for_each(|leaf| index.give(ChunkId(leaf * 64 + 5)));
    for leaf in 0..63 {
        let (word, first) = index.leaf_of(ChunkId(leaf * 64 + 9));
        assert_eq!(claim_in(word, first), Some(ChunkId(leaf * 64 + 5)));
        assert_eq!(claim_in(word, first), None);
    }
    assert_eq!(index.claim_first(), (Some(ChunkId(63 * 64 + 5)), 0));
    assert_eq!(index.claim_first(), (None, 0));
}
