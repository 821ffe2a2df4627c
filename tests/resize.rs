//! A reallocation leaves a block where it is, if that can be, and needs no memory for a smaller one.
#![cfg(all(not(loom), not(miri)))]

#[path = "common/promises.rs"]
mod promises;

use core::ptr::NonNull;

use engram::{Arena, Error, SpikeTime};
use promises::{CHUNK, arena, built, column, held, layout, verify};

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
