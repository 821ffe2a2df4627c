use super::*;
use crate::SpikeTime;
use core::alloc::Layout;

#[test]
fn what_lies_in_one_piece_is_not_fragmented() {
    let arena = Arena::builder().capacity(8 << 20).columns(1).build().unwrap();
    assert!(fragmentation(&arena).abs() < 1e-9);
    let wide = Layout::from_size_align(2 << 20, 16).unwrap();
    let blocks: Vec<_> = (0..4).map(|_| arena.alloc(None, wide, SpikeTime::NONE).unwrap()).collect();
    assert!(fragmentation(&arena).abs() < 1e-9, "nothing is free");
    // SAFETY: a block of ours.
    unsafe { arena.free(blocks[0]).unwrap() };
    // SAFETY: as above.
    unsafe { arena.free(blocks[2]).unwrap() };
    assert!((fragmentation(&arena) - 0.5).abs() < 1e-9, "two pieces of the same size");
}
