use std::collections::HashSet;

use crate::arena::Arena;
use crate::column::holding::ColumnId;
use crate::size_class::CHUNK;
use crate::spike::SpikeTime;

/// A chunk that is in no list though it may have free spans. Seen with: another chunk chosen after the last look.
#[test]
fn a_chunk_that_others_have_emptied_is_not_forgotten() {
    let arena = Arena::builder().capacity(16 * CHUNK).columns(1).build().unwrap();
    let column = arena.column(ColumnId::new(0)).unwrap();
    let alloc = || column.alloc(4096, 16, SpikeTime::NONE).unwrap();
    let blocks: Vec<_> = (0..6 * CHUNK / 4096).map(|_| alloc()).collect();
    let chunk_of = |block: &core::ptr::NonNull<u8>| arena.core.granule(block.as_ptr()).unwrap().span().chunk();
    // Of each of five chunks five spans of eight blocks.
    for chunk in blocks.chunk_by(|a, b| chunk_of(a) == chunk_of(b)).take(5) {
        // SAFETY: nothing uses the blocks afterwards.
        chunk[..40].iter().for_each(|&block| unsafe { column.free(block) }.unwrap());
    }
    let map_of = |chunk| &arena.core.chunk(chunk).map;
    let taken: Vec<_> = arena.core.chunk_ids().filter(|&chunk| blocks.iter().any(|block| chunk_of(block) == chunk)).collect();
    let taken: Vec<_> =
        taken.into_iter().flat_map(|chunk| std::iter::from_fn(move || Some((chunk, map_of(chunk).claim(1, 1).0?)))).collect();
    assert!(taken.len() >= 20, "{}", taken.len());
    (0..100).for_each(|_| _ = alloc());
    for (chunk, place) in taken {
        map_of(chunk).give_one(place);
    }
    arena.verify().unwrap();
}

/// Chunks that are resident for what one would hold. Seen with: no look at what large blocks have left over.
#[test]
fn what_large_blocks_leave_over_serves_small_ones_and_is_given_back() {
    for large_goes_first in [false, true] {
        let arena = Arena::builder().capacity(4 * CHUNK).columns(2).build().unwrap();
        let column = arena.column(ColumnId::new(0)).unwrap();
        let alloc = |size| column.alloc(size, 16, SpikeTime::NONE).unwrap();
        let large = alloc(1 << 20);
        // A chunk for single spans and eleven spans more, and runs of four.
        let others: Vec<_> = [4096; 600].into_iter().chain([100_000; 3]).map(alloc).collect();
        let chunks: HashSet<_> = others.iter().chain([&large]).map(|block| arena.offset_of(block.as_ptr()).unwrap() / CHUNK).collect();
        assert_eq!(chunks.len(), 2);
        arena.verify().unwrap();
        // SAFETY: nothing uses the blocks afterwards.
        let free = |block| unsafe { column.free(block) }.unwrap();
        if large_goes_first {
            free(large);
        }
        others.into_iter().for_each(free);
        if !large_goes_first {
            free(large);
        }
        arena.verify().unwrap();
        drop(column);
        // All chunks in a row: the one that was adopted is there again.
        let all = core::alloc::Layout::from_size_align(4 * CHUNK, 16).unwrap();
        let whole = arena.alloc(Some(ColumnId::new(1)), all, SpikeTime::NONE);
        assert!(whole.is_ok(), "{large_goes_first}: {whole:?}");
        arena.verify().unwrap();
    }
}
#[test]
fn what_another_column_has_in_the_chunk_that_a_large_block_left_is_its_own() {
    let arena = Arena::builder().capacity(4 * CHUNK).columns(2).build().unwrap();
    let [one, other] = [0, 1].map(|index| arena.column(ColumnId::new(index)).unwrap());
    let chunk_of = |block: core::ptr::NonNull<u8>| arena.offset_of(block.as_ptr()).unwrap() / CHUNK;
    let large = one.alloc(1 << 20, 16, SpikeTime::NONE).unwrap();
    // SAFETY: nothing uses the block afterwards.
    unsafe { one.free(large) }.unwrap();
    assert_eq!(chunk_of(other.alloc(4096, 16, SpikeTime::NONE).unwrap()), chunk_of(large));
    // Single spans up to the last ten of a chunk, then a run.
    for size in [4096; 8 * 54].into_iter().chain([100_000]) {
        assert_ne!(chunk_of(one.alloc(size, 16, SpikeTime::NONE).unwrap()), chunk_of(large), "{size} bytes");
    }
    drop([one, other]);
    arena.verify().unwrap();
}
#[test]
fn runs_that_were_given_back_are_taken_before_another_chunk_is() {
    let arena = Arena::builder().capacity(4 * CHUNK).columns(1).build().unwrap();
    let column = arena.column(ColumnId::new(0)).unwrap();
    let alloc = || column.alloc(100_000, 16, SpikeTime::NONE).unwrap();
    let chunk_of = |block: &core::ptr::NonNull<u8>| arena.offset_of(block.as_ptr()).unwrap() / CHUNK;
    // Runs of 13 spans, of four blocks each: four in each of two chunks.
    let blocks: Vec<_> = (0..32).map(|_| alloc()).collect();
    assert_eq!(blocks.iter().map(chunk_of).collect::<Vec<_>>(), [[0; 16], [1; 16]].concat());
    // SAFETY: nothing uses the blocks afterwards.
    blocks[16..].iter().for_each(|&block| unsafe { column.free(block) }.unwrap());
    assert_eq!([(); 12].map(|()| chunk_of(&alloc())), [1; 12]);
    arena.verify().unwrap();
}
