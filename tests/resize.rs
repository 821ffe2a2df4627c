//! A reallocation leaves a block where it is, if that can be, and needs no memory for a smaller one.
#![cfg(all(not(loom), not(miri)))]

#[path = "common/promises.rs"]
mod promises;

use core::ptr::NonNull;

use engram::{Arena, BatchFlags, Column, Error, Maintained, Request, SpikeTime};
use promises::{CHUNK, Random, SPAN, arena, built, column, held, layout, verify};

/// Whether the first bytes of a block are 7.
fn is_filled(block: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: the block is ours, has these bytes, and all were written.
    unsafe { std::slice::from_raw_parts(block.as_ptr(), bytes) }.iter().all(|&byte| byte == 7)
}

/// A block that nearly fills the arena grows and shrinks all the same: there is no room for two of it.
#[test]
fn a_large_block_grows_into_what_is_free_behind_it_and_gives_back_what_it_has_too_much() {
    let arena = arena(9 * CHUNK);
    let holder = held(&arena, 1);
    for by_holder in [false, true] {
        let small = holder.alloc(64, 16, SpikeTime::NONE).unwrap();
        let block = arena.alloc(Some(column(1)), layout(300 << 10, 16), SpikeTime::NONE).unwrap();
        // SAFETY: the block is ours; so is all of it below.
        unsafe { block.write_bytes(7, 300 << 10) };
        let before = arena.metrics();
        for size in [800 << 10, CHUNK, 3 * CHUNK + 1, 8 * CHUNK, 5 * CHUNK, 2 * CHUNK, CHUNK - 1, 400 << 10] {
            let none = SpikeTime::NONE;
            // SAFETY: as above.
            let same = unsafe { if by_holder { holder.realloc(block, size, none) } else { arena.realloc(block, size, none) } };
            assert_eq!(same, Ok(block), "{size}");
            assert!(is_filled(block, 300 << 10));
            let usable = arena.usable_size(block.as_ptr()).unwrap();
            assert_eq!(Some(usable), arena.good_size(size));
            // SAFETY: as above.
            unsafe { block.write_bytes(7, usable) };
            assert_eq!(arena.metrics().bytes_live, usable as u64 + 64, "{size}");
            verify(&arena);
        }
        let now = arena.metrics();
        assert_eq!((now.allocs, now.frees, now.failed), (before.allocs, before.frees, before.failed), "nothing has moved");
        // What it gave back serves again.
        let rest = arena.alloc(Some(column(2)), layout(7 * CHUNK, 16), SpikeTime::NONE).unwrap();
        for block in [rest, block, small] {
            // SAFETY: nothing uses it any more.
            unsafe { arena.free(block).unwrap() };
        }
        assert_eq!(arena.metrics().bytes_live, 0);
    }
}

#[test]
fn a_large_block_moves_if_what_follows_it_is_taken_and_stays_within_its_columns_limit() {
    const LARGE: usize = 320 << 10;
    let arena = arena(8 * CHUNK);
    let alloc = |size| (size > 0).then(|| arena.alloc(Some(column(1)), layout(size, 16), SpikeTime::NONE).unwrap());
    for (before, bytes, behind, larger) in [
        (0, LARGE, LARGE, 400 << 10),
        (0, LARGE, LARGE, 3 * CHUNK),
        (0, 2 * CHUNK, CHUNK, 3 * CHUNK),
        (0, LARGE, CHUNK, 3 * CHUNK),
        (LARGE, LARGE, 0, 3 * CHUNK),
    ] {
        let others = [alloc(before)];
        let block = alloc(bytes).unwrap();
        let others = [others[0], alloc(behind)];
        let limit = |bytes| arena.limit_column(column(1), bytes).unwrap();
        // SAFETY: the blocks are ours, and are not used after they were freed.
        unsafe {
            block.write_bytes(7, bytes);
            limit(Some(before + bytes + behind));
            assert!(matches!(arena.realloc(block, larger, SpikeTime::NONE), Err(Error::Quota { .. })));
            limit(None);
            let moved = arena.realloc(block, larger, SpikeTime::NONE).unwrap();
            assert!(moved != block && is_filled(moved, bytes));
            verify(&arena);
            for block in others.into_iter().flatten().chain([moved]) {
                arena.free(block).unwrap();
            }
            let all = alloc(8 * CHUNK).expect("nothing of what was looked at is kept");
            arena.free(all).unwrap();
        }
    }
}

/// Seen with: chunks that stay taken when one behind them is not free.
#[test]
fn of_chunks_that_a_block_cannot_have_all_none_is_kept() {
    let arena = arena(4 * CHUNK);
    let alloc = |size| arena.alloc(Some(column(1)), layout(size, 16), SpikeTime::NONE).unwrap();
    let [block, between, _behind] = [CHUNK; 3].map(alloc);
    // SAFETY: the blocks are ours, and are not used after they were freed.
    unsafe {
        arena.free(between).unwrap();
        assert!(matches!(arena.realloc(block, 3 * CHUNK, SpikeTime::NONE), Err(Error::NoMemory { .. })));
    }
    verify(&arena);
    (0..2).for_each(|_| _ = alloc(CHUNK));
}

/// Spans that are empty, but still a column's, are free memory to a block in front of them, too. Seen with: a block that looks at what
/// follows it once, before all that is free is brought together.
#[test]
fn a_large_block_grows_into_what_becomes_free_behind_it() {
    for (by_holder, limited) in [(false, false), (true, false), (false, true), (true, true)] {
        let arena = arena(if limited { 4 * CHUNK } else { CHUNK });
        let block = arena.alloc(Some(column(1)), layout(CHUNK / 2, 16), SpikeTime::NONE).unwrap();
        let holder = held(&arena, 1);
        let small: Vec<_> = (0..CHUNK / 2 / 4096).map(|_| holder.alloc(4096, 16, SpikeTime::NONE).unwrap()).collect();
        // SAFETY: the blocks are ours, and are not used after they were freed.
        unsafe {
            block.write_bytes(7, CHUNK / 2);
            for small in small {
                arena.free(small).unwrap();
            }
            arena.limit_column(column(1), limited.then_some(CHUNK)).unwrap();
            assert_eq!(arena.metrics().bytes_committed, CHUNK as u64, "the column keeps what is empty");
            let same = if by_holder {
                holder.realloc(block, CHUNK, SpikeTime::NONE)
            } else {
                drop(holder);
                arena.realloc(block, CHUNK, SpikeTime::NONE)
            };
            assert_eq!(same, Ok(block), "by the holder: {by_holder}, limited: {limited}");
        }
        assert!(is_filled(block, CHUNK / 2));
        assert_eq!(arena.metrics().failed, 0);
        verify(&arena);
    }
}

#[test]
fn what_a_block_gives_back_where_it_is_is_zeroed_if_freed_memory_is() {
    let arena = built(Arena::builder().capacity(4 * CHUNK).columns(2).zero_freed(true));
    let block = arena.alloc(None, layout(4 * CHUNK, 16), SpikeTime::NONE).unwrap();
    // SAFETY: the blocks are ours.
    unsafe {
        block.write_bytes(7, 4 * CHUNK);
        for (kept, given) in [(2 * CHUNK, 2 * CHUNK), (400 << 10, CHUNK - (416 << 10))] {
            assert_eq!(arena.realloc(block, kept, SpikeTime::NONE), Ok(block));
            let next = arena.alloc(None, layout(given, 16), SpikeTime::NONE).unwrap();
            assert!(next > block && std::slice::from_raw_parts(next.as_ptr(), given).iter().all(|&byte| byte == 0));
            assert!(is_filled(block, kept));
        }
    }
}

/// Who makes a block smaller has the memory for it already.
#[test]
fn a_block_becomes_smaller_where_no_memory_is_free_at_all() {
    let arena = arena(CHUNK);
    let holder = held(&arena, 1);
    for size in [4096, 100_000, CHUNK] {
        let blocks: Vec<_> = std::iter::from_fn(|| holder.alloc(size, 16, SpikeTime::NONE).ok()).collect();
        let failed = arena.metrics().failed;
        for &block in &blocks {
            // SAFETY: the block is ours.
            unsafe {
                block.write_bytes(7, size);
                assert!(matches!(holder.realloc(block, 0, SpikeTime::NONE), Err(Error::ZeroSize)));
                let smaller = holder.realloc(block, 60, SpikeTime::NONE).unwrap();
                assert!(is_filled(smaller, 60));
                let smaller = arena.realloc(smaller, 17, SpikeTime::NONE).unwrap();
                assert!(is_filled(smaller, 17));
                arena.free(smaller).unwrap();
            }
        }
        assert_eq!(arena.metrics().failed - failed, blocks.len() as u64, "of 0 bytes alone");
        assert_eq!(holder.last_error(), Error::ZeroSize);
        verify(&arena);
    }
}

#[test]
fn a_block_becomes_smaller_though_its_column_is_at_its_limit() {
    let arena = arena(4 * CHUNK);
    let block = arena.alloc(Some(column(1)), layout(4096, 16), SpikeTime::NONE).unwrap();
    arena.limit_column(column(1), Some(SPAN)).unwrap();
    // SAFETY: the block is ours.
    unsafe {
        block.write_bytes(7, 4096);
        assert!(matches!(arena.alloc(Some(column(1)), layout(60, 16), SpikeTime::NONE), Err(Error::Quota { .. })));
        assert_eq!(arena.realloc(block, 60, SpikeTime::NONE), Ok(block));
    }
    assert!(is_filled(block, 4096));
    verify(&arena);
}

/// A way to allocate in column 1, which `holder` holds but for the first.
#[derive(Clone, Copy, Debug)]
enum Way {
    NotHeld,
    HeldByAnother,
    ByHolder,
    InBatchOfHolder,
    InBatch,
}

impl Way {
    const ALL: [Self; 5] = [Self::NotHeld, Self::HeldByAnother, Self::ByHolder, Self::InBatchOfHolder, Self::InBatch];

    fn alloc(self, arena: &Arena, holder: Option<&Column>, size: usize, align: usize) -> NonNull<u8> {
        let (spike, mut out) = (SpikeTime::NONE, [core::ptr::null_mut()]);
        match (self, holder) {
            (Self::ByHolder, Some(holder)) => holder.alloc(size, align, spike).unwrap(),
            (Self::InBatchOfHolder, Some(holder)) => {
                assert_eq!(holder.alloc_batch(size, align, spike, &mut out), 1);
                NonNull::new(out[0]).unwrap()
            }
            (Self::InBatch, _) => {
                let request = Request { size, align, column: Some(column(1)), spike };
                assert_eq!(arena.alloc_batch(&[request], BatchFlags::empty(), &mut out), Ok(1));
                NonNull::new(out[0]).unwrap()
            }
            _ => arena.alloc(Some(column(1)), layout(size, align), spike).unwrap(),
        }
    }

    fn holder(self, arena: &Arena) -> Option<Column<'_>> {
        (!matches!(self, Self::NotHeld | Self::InBatch)).then(|| held(arena, 1))
    }
}

/// Seen with: the natural alignment of the class kept; the alignment not noted in any one of the ways.
#[test]
fn a_reallocated_block_takes_no_more_than_its_alignment_needs() {
    for way in Way::ALL {
        for align in [32, 64, 1024, 4096] {
            for size in [4096, 8192, 32 << 10, 64 << 10, 256 << 10] {
                let arena = arena(16 * CHUNK);
                let holder = way.holder(&arena);
                let mut block = way.alloc(&arena, holder.as_ref(), size, align);
                for to in [100_000, 20_000, 5000, 100, 9, 40_000] {
                    // SAFETY: the block is ours.
                    block = unsafe { arena.realloc(block, to, SpikeTime::NONE) }.unwrap();
                    let fresh = way.alloc(&arena, holder.as_ref(), to, align);
                    let [usable, needed] = [block, fresh].map(|block| arena.usable_size(block.as_ptr()));
                    assert!(block.addr().get().is_multiple_of(align), "{way:?}: {size} aligned to {align}, then {to}");
                    assert_eq!(usable, needed, "{way:?}: {size} aligned to {align}, then {to}");
                }
                drop(holder);
                verify(&arena);
            }
        }
    }
}

/// Blocks of all alignments beside each other, freed and reallocated in no order.
/// Seen with: each block's alignment taken for its span's; a larger one noted by the holder alone.
#[test]
fn each_block_keeps_its_alignment_whatever_others_asked_for() {
    let mut random = Random(11);
    for round in 0..20 {
        let arena = arena(16 * CHUNK);
        let mut blocks: Vec<(NonNull<u8>, usize)> = Vec::new();
        for _ in 0..10 {
            let holder = (random.below(2) == 0).then(|| held(&arena, 1));
            for _ in 0..500 {
                let size = || [100, 500, 1000, 4000, 8192, 16_000, 32 << 10, 50_000, 128 << 10];
                let (size, align) = (size()[random.below(9)], 16 << random.below(12));
                if blocks.len() < 60 || random.below(3) == 0 && blocks.len() < 120 {
                    let ways = if holder.is_some() { &Way::ALL[1..] } else { &Way::ALL[..] };
                    let block = ways[random.below(ways.len())].alloc(&arena, holder.as_ref(), size, align);
                    blocks.push((block, align));
                    continue;
                }
                let place = random.below(blocks.len());
                let (block, align) = blocks[place];
                // SAFETY: the block is ours, here and below.
                let freed = unsafe {
                    match (&holder, random.below(3)) {
                        (Some(holder), 0) => holder.free(block).map(|()| None),
                        (_, 1) => arena.free(block).map(|()| None),
                        (Some(holder), _) => holder.realloc(block, size, SpikeTime::NONE).map(Some),
                        (None, _) => arena.realloc(block, size, SpikeTime::NONE).map(Some),
                    }
                };
                match freed.unwrap() {
                    None => _ = blocks.swap_remove(place),
                    Some(moved) => {
                        assert!(moved.addr().get().is_multiple_of(align), "round {round}: {size} aligned to {align}");
                        blocks[place].0 = moved;
                    }
                }
            }
        }
        verify(&arena);
    }
}

/// Seen with: the alignment of what any column serves not noted.
#[test]
fn what_another_column_serves_in_scarcity_keeps_its_alignment() {
    const SIZE: usize = SPAN / 2;
    for filled in 0..4 {
        for is_held in [false, true] {
            let (arena, spike) = (arena(CHUNK), SpikeTime::NONE);
            let holder = is_held.then(|| held(&arena, filled));
            let alloc = |index: Option<u32>, align| arena.alloc(index.map(column), layout(SIZE, align), spike);
            let mut blocks: Vec<_> = core::iter::from_fn(|| alloc(Some(filled), 64).ok()).collect();
            // SAFETY: nothing uses the blocks any more, here and below.
            unsafe { arena.free(blocks.remove(9)) }.unwrap();
            let block = alloc(None, 4096).unwrap();
            for block in blocks {
                // SAFETY: as above.
                unsafe { arena.free(block) }.unwrap();
            }
            // SAFETY: the block is ours.
            let block = unsafe { arena.realloc(block, 9, spike) }.unwrap();
            assert!(block.addr().get().is_multiple_of(4096));
            assert_eq!(arena.usable_size(block.as_ptr()), Some(4096), "column {filled}, held: {is_held}");
            drop(holder);
            verify(&arena);
        }
    }
}

#[test]
fn what_a_span_served_before_does_not_count() {
    for way in Way::ALL {
        let arena = arena(CHUNK);
        let alloc = |align| way.alloc(&arena, way.holder(&arena).as_ref(), 8192, align);
        let block = alloc(4096);
        // SAFETY: nothing uses it any more.
        unsafe { arena.free(block) }.unwrap();
        while arena.maintain(core::time::Duration::MAX) == Ok(Maintained::More) {}
        let again = alloc(64);
        assert_eq!(again, block);
        // SAFETY: the block is ours.
        let again = unsafe { arena.realloc(again, 9, SpikeTime::NONE) }.unwrap();
        assert_eq!(arena.usable_size(again.as_ptr()), Some(64), "{way:?}");
        verify(&arena);
    }
}
