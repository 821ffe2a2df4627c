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
