use super::*;
use crate::SpikeTime;
use core::alloc::Layout;

#[test]
fn the_longest_run_of_bits_is_found() {
    for (map, run) in [(0, 0), (1, 1), (u64::MAX, 64), (0b1011_0111, 3), (0b11 << 62, 2)] {
        assert_eq!(longest_run(map), run);
    }
}

#[test]
fn the_longest_run_of_free_spans_goes_through_chunks() {
    let arena = Arena::builder().capacity(8 << 20).columns(1).build().unwrap();
    assert_eq!(arena.longest_free_bytes(), 8 << 20);
    let wide = Layout::from_size_align(2 << 20, 16).unwrap();
    let blocks: Vec<_> = (0..4).map(|_| arena.alloc(None, wide, SpikeTime::NONE).unwrap()).collect();
    assert_eq!(arena.longest_free_bytes(), 0, "nothing is free");
    // SAFETY: a block of ours.
    unsafe { arena.free(blocks[0]).unwrap() };
    // SAFETY: as above.
    unsafe { arena.free(blocks[2]).unwrap() };
    assert_eq!(arena.longest_free_bytes(), 2 << 20, "two pieces of the same size");
    // SAFETY: as above.
    unsafe { arena.free(blocks[1]).unwrap() };
    assert_eq!(arena.longest_free_bytes(), 6 << 20);
}

/// Seen with: what is free at the end of a chunk, or at the start of one, not added to what lies beside it.
#[test]
fn the_longest_run_of_free_spans_may_begin_and_end_inside_chunks() {
    let arena = Arena::builder().capacity(8 << 20).columns(1).build().unwrap();
    let spans = |count: usize| Layout::from_size_align(count * SPAN, 16).unwrap();
    let half = |_| arena.alloc(None, spans(CHUNK_SPANS / 2), SpikeTime::NONE).unwrap();
    let blocks: Vec<_> = (0..8).map(half).collect();
    assert_eq!(arena.longest_free_bytes(), 0);
    let mut free = blocks.clone();
    free.sort_unstable();
    // The second half of the first chunk, the second chunk, the first half of the third; and all of the last.
    for index in [1, 2, 3, 4, 6, 7] {
        // SAFETY: a block of ours.
        unsafe { arena.free(free[index]).unwrap() };
    }
    assert_eq!(arena.longest_free_bytes(), 4 << 20);
}
