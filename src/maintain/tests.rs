use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};

use super::*;
use crate::arena::{BatchFlags, Request};
use crate::spike::SpikeTime;

const COLUMN: ColumnId = ColumnId::new(0);

fn arena() -> Arena {
    Arena::builder().capacity(4 << 20).columns(1).build().unwrap()
}

fn lay_out(arena: &Arena, count: usize, size: usize) -> Vec<NonNull<u8>> {
    let request = |rank| Request { size, align: 0, column: Some(COLUMN), spike: SpikeTime::from_nanos(rank as u32) };
    let requests: Vec<_> = (0..count).map(request).collect();
    let mut blocks = vec![null_mut(); count];
    assert_eq!(arena.alloc_batch(&requests, BatchFlags::ORDERED, &mut blocks), Ok(count));
    blocks.into_iter().filter_map(NonNull::new).collect()
}

fn free(arena: &Arena, blocks: &[NonNull<u8>]) {
    for block in blocks {
        // SAFETY: the test's own block, forgotten.
        unsafe { arena.free(*block) }.unwrap();
    }
}

/// The span of the last block.
fn span(arena: &Arena, blocks: &[NonNull<u8>]) -> u32 {
    arena.berth(*blocks.last().unwrap()).unwrap().span
}

#[test]
fn what_is_laid_out_anew_begins_in_a_span_of_its_own() {
    for size in [64, 1024] {
        let arena = arena();
        let (first, other) = (lay_out(&arena, 10, size), lay_out(&arena, 10, 128));
        let held = arena.column(COLUMN).unwrap();
        arena.begin_order(COLUMN, size);
        drop(held);
        let second = lay_out(&arena, 10, size);
        assert_eq!(span(&arena, &second), span(&arena, &first), "somebody held the column");
        arena.begin_order(COLUMN, size);
        let third = lay_out(&arena, 10, size);
        assert_ne!(span(&arena, &third), span(&arena, &first));
        assert_eq!(span(&arena, &lay_out(&arena, 10, size)), span(&arena, &third));
        assert_eq!(span(&arena, &lay_out(&arena, 10, 128)), span(&arena, &other), "another size");
        arena.verify().unwrap();
        let before = arena.metrics().bytes_committed;
        free(&arena, &first);
        free(&arena, &second);
        arena.begin_order(COLUMN, size);
        assert_eq!(arena.metrics().bytes_committed, before - SPAN as u64, "the span before is empty");
        arena.begin_order(ColumnId::new(7), size);
        arena.begin_order(COLUMN, 1 << 20);
        arena.verify().unwrap();
    }
}

#[test]
#[cfg(not(miri))]
fn after_a_layout_the_pages_behind_its_last_block_are_the_systems_again() {
    for (size, count, pages) in [(64, 10, 1), (64, 65, 2), (1024, 5, 2), (4096, 8, 8)] {
        let arena = arena();
        let former = lay_out(&arena, SPAN / size, size);
        // SAFETY: blocks of ours, of that size.
        former.iter().for_each(|block| unsafe { block.write_bytes(1, size) });
        let old = span(&arena, &former);
        free(&arena, &former);
        arena.begin_order(COLUMN, size);
        let blocks = lay_out(&arena, count, size);
        assert_eq!(span(&arena, &blocks), old, "its pages were touched");
        // SAFETY: as above.
        blocks.iter().for_each(|block| unsafe { block.write_bytes(2, size) });
        let before = arena.resident_bytes();
        arena.end_order(COLUMN, size);
        assert_eq!(before - arena.resident_bytes(), (8 - pages) * 4096, "{count} of {size}");
        for block in &blocks {
            // SAFETY: as above.
            let content = unsafe { core::slice::from_raw_parts(block.as_ptr(), size) };
            assert!(content.iter().all(|byte| *byte == 2));
        }
        assert_eq!(span(&arena, &lay_out(&arena, 1, size)) == old, pages < 8, "the rest serves what comes next");
        arena.verify().unwrap();
    }
}

#[test]
fn an_arena_that_is_to_stay_in_memory_keeps_those_pages() {
    let arena = Arena::builder().capacity(4 << 20).columns(1).prefault(true).build().unwrap();
    let blocks = lay_out(&arena, 10, 64);
    let before = arena.resident_bytes();
    arena.end_order(COLUMN, 64);
    assert_eq!(arena.resident_bytes(), before);
    drop(blocks);
}

#[test]
#[cfg(not(miri))]
fn pages_of_a_span_in_which_no_block_lies_are_the_systems_again() {
    // Of 1,152 bytes the fourth block lies in two pages, and so does the eighth.
    for (size, left, pages) in [(64, &[70][..], 1), (1152, &[3], 2), (1152, &[0, 7, 27], 4), (4096, &[1, 6], 2)] {
        let arena = arena();
        let blocks = lay_out(&arena, SPAN / size, size);
        // SAFETY: blocks of ours, of that size.
        blocks.iter().for_each(|block| unsafe { block.write_bytes(1, size) });
        let (span, before) = (span(&arena, &blocks), arena.resident_bytes());
        arena.decommit_between(COLUMN, [span]);
        assert_eq!(arena.resident_bytes(), before, "all are live");
        let freed: Vec<_> = (0..blocks.len()).filter(|index| !left.contains(index)).map(|index| blocks[index]).collect();
        free(&arena, &freed);
        let held = arena.column(COLUMN).unwrap();
        let before = arena.resident_bytes();
        arena.decommit_between(COLUMN, [span]);
        assert_eq!(arena.resident_bytes(), before, "somebody holds the column");
        drop(held);
        let before = arena.resident_bytes();
        arena.decommit_between(COLUMN, [span]);
        assert_eq!(before - arena.resident_bytes(), (8 - pages) * 4096, "{left:?} of {size}");
        for index in left {
            // SAFETY: as above.
            let content = unsafe { core::slice::from_raw_parts(blocks[*index].as_ptr(), size) };
            assert!(content.iter().all(|byte| *byte == 1));
        }
        arena.decommit_between(COLUMN, [span + 1]);
        arena.verify().unwrap();
    }
}

#[test]
fn a_berth_is_that_of_a_block_of_at_most_4_kib() {
    let arena = arena();
    for size in [1, 64, 100, 4096] {
        let blocks = lay_out(&arena, 3, size);
        let berths: Vec<_> = blocks.iter().map(|block| arena.berth(*block).unwrap()).collect();
        assert_eq!(Some(berths[0].bytes as usize), arena.good_size(size));
        assert!(berths.iter().all(|berth| *berth == berths[0]));
    }
    for size in [4097, 100_000, 1 << 20] {
        assert_eq!(arena.berth(lay_out(&arena, 1, size)[0]), None);
    }
    assert_eq!(arena.berth(NonNull::from(&arena).cast()), None);
}

#[test]
fn a_budget_ends_though_there_is_nothing_to_do_and_the_round_does_too() {
    let arena = Arena::builder().capacity(1 << 30).columns(1000).build().unwrap();
    let steps = 1000 + (1_u32 << 30) / (2 << 20) + 1;
    let mut calls = 1;
    while arena.maintain(Duration::ZERO).unwrap() == Maintained::More {
        calls += 1;
    }
    assert_eq!(calls, steps.div_ceil(IDLE_STEPS));
    assert_eq!(arena.maintain(Duration::MAX).unwrap(), Maintained::All);
}

#[test]
fn a_call_with_time_left_looks_again_at_what_the_calls_before_had_passed() {
    let arena = Arena::builder().capacity(64 << 20).columns(64).build().unwrap();
    let blocks: Vec<_> = (0..1000).map(|_| arena.alloc(Some(COLUMN), Layout::new::<[u8; 4096]>(), SpikeTime::NONE).unwrap()).collect();
    assert_eq!(arena.maintain(Duration::ZERO), Ok(Maintained::More));
    free(&arena, &blocks);
    assert_eq!(arena.maintain(Duration::MAX), Ok(Maintained::All));
    assert_eq!(arena.metrics().bytes_committed, 0);
}

/// Bytes that a whole round gives back to the system, of all that was allocated and freed.
#[cfg(not(miri))]
fn given_back(arena: &Arena) -> u64 {
    let blocks: Vec<_> = (0..100).map(|_| written(arena, 4096)).collect();
    free(arena, &blocks);
    let (maintained, bytes) = arena.maintain_and_count(Duration::MAX).unwrap();
    assert_eq!((maintained, arena.metrics().bytes_committed), (Maintained::All, 0));
    bytes
}

fn written(arena: &Arena, bytes: usize) -> NonNull<u8> {
    let block = arena.alloc(Some(COLUMN), Layout::from_size_align(bytes, 1).unwrap(), SpikeTime::NONE).unwrap();
    // SAFETY: a block of ours, of that size.
    unsafe { block.write_bytes(1, bytes) };
    block
}

#[test]
#[cfg(not(miri))]
fn what_is_free_goes_back_to_the_system_once() {
    let arena = arena();
    let blocks: Vec<_> = (0..100).map(|_| written(&arena, 4096)).collect();
    free(&arena, &blocks);
    let before = arena.resident_bytes();
    assert_eq!(arena.maintain_and_count(Duration::MAX), Ok((Maintained::All, (CHUNK_SPANS * SPAN) as u64)));
    assert!(before - arena.resident_bytes() >= 100 * 4096);
    assert_eq!(arena.maintain_and_count(Duration::MAX), Ok((Maintained::All, 0)));
    // Of the same chunk two spans are used anew, and one of them becomes free.
    let (kept, freed) = (written(&arena, 4096), written(&arena, 64));
    free(&arena, &[freed]);
    let before = arena.resident_bytes();
    assert_eq!(arena.maintain_and_count(Duration::MAX), Ok((Maintained::All, SPAN as u64)));
    assert_eq!(before - arena.resident_bytes(), 4096);
    assert_eq!(arena.maintain_and_count(Duration::MAX), Ok((Maintained::All, 0)));
    free(&arena, &[kept]);
    arena.verify().unwrap();
}

/// As of a program that has locked all its memory. Seen with: what the system does not take counted all the same.
#[cfg(target_os = "linux")]
#[test]
#[cfg(not(miri))]
fn what_the_system_does_not_take_is_not_counted() {
    let arena = arena();
    let block = written(&arena, 4096);
    // SAFETY: a page of ours.
    assert_eq!(unsafe { libc::mlock(block.as_ptr().cast(), 4096) }, 0);
    free(&arena, &[block]);
    assert_eq!(arena.maintain_and_count(Duration::MAX), Ok((Maintained::All, 0)));
    // SAFETY: as above.
    assert_eq!(unsafe { libc::munlock(block.as_ptr().cast(), 4096) }, 0);
    // It is offered again once something of its chunk was used anew.
    let block = written(&arena, 4096);
    free(&arena, &[block]);
    assert_eq!(arena.maintain_and_count(Duration::MAX), Ok((Maintained::All, (CHUNK_SPANS * SPAN) as u64)));
    arena.verify().unwrap();
}

#[test]
fn what_large_blocks_leave_goes_back_though_somebody_holds_the_column() {
    let arena = arena();
    let blocks = [512 << 10, 512 << 10].map(|bytes| written(&arena, bytes));
    free(&arena, &blocks[..1]);
    let held = arena.column(COLUMN).unwrap();
    assert_eq!(arena.maintain_and_count(Duration::MAX), Ok((Maintained::All, 512 << 10)));
    drop(held);
}

/// Seen with: chunks of a large block that are not known to have been used.
#[test]
fn what_a_block_of_several_chunks_leaves_goes_back() {
    let arena = arena();
    let bytes = 2 * CHUNK_SPANS * SPAN;
    free(&arena, &[written(&arena, bytes)]);
    assert_eq!(arena.maintain_and_count(Duration::MAX), Ok((Maintained::All, bytes as u64)));
}

#[test]
#[cfg(not(miri))]
fn memory_that_is_not_the_arenas_alone_stays_as_it_is() {
    let builder = || Arena::builder().capacity(4 << 20).columns(1);
    let bytes = builder().size().unwrap();
    let layout = Layout::from_size_align(bytes, CHUNK_SPANS * SPAN).unwrap();
    // SAFETY: the layout is not empty.
    let memory = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap();
    // SAFETY: it is ours alone, zeroed, and outlives the arena.
    let given = unsafe { builder().memory(memory, bytes) }.build().unwrap();
    assert_eq!(given_back(&given), 0);
    drop(given);
    // SAFETY: the arena is closed.
    unsafe { std::alloc::dealloc(memory.as_ptr(), layout) };

    let path = std::env::temp_dir().join(format!("engram-maintained-{}", std::process::id()));
    let in_file = builder().new_file(&path).build().unwrap();
    assert_eq!(given_back(&in_file), 0);
    drop(in_file);
    std::fs::remove_file(path).unwrap();

    assert_eq!(given_back(&builder().prefault(true).build().unwrap()), 0);
    // Where the system lets us.
    if let Ok(locked) = builder().lock(true).build() {
        assert_eq!(given_back(&locked), 0);
    }
}

#[test]
fn without_a_budget_a_call_does_one_thing() {
    let arena = Arena::builder().capacity(16 << 20).columns(4).build().unwrap();
    for column in 0..4 {
        let block = arena.alloc(Some(ColumnId::new(column)), Layout::new::<u64>(), SpikeTime::NONE).unwrap();
        free(&arena, &[block]);
    }
    for tended in 1..=4 {
        assert_eq!(arena.maintain(Duration::ZERO), Ok(Maintained::More));
        assert_eq!(arena.metrics().bytes_committed, (4 - tended) * SPAN as u64);
    }
}

/// The chunks that are some column's.
fn reserved(arena: &Arena) -> usize {
    arena.core.chunk_ids().filter(|&chunk| arena.core.chunk(chunk).owner.load(Relaxed) != 0).count()
}

/// Others find fresh chunks then, not only the spans of chunks that are a column's, in a search. Seen with: columns passed over
/// that have no span, and chunks that no list has.
#[test]
fn the_chunks_that_a_holder_has_emptied_are_given_back() {
    for (prefault, with_large) in [(false, false), (true, false), (false, true)] {
        let arena = Arena::builder().capacity(4 << 21).columns(2).prefault(prefault).build().unwrap();
        let column = arena.column(COLUMN).unwrap();
        let runs = || core::iter::from_fn(|| column.alloc(100_000, 16, SpikeTime::NONE).ok());
        // SAFETY: the blocks are ours, and nothing uses them afterwards.
        let free = |block: &_| unsafe { column.free(*block) }.unwrap();
        let large = |size| {
            let layout = Layout::from_size_align(size, 16).unwrap();
            arena.alloc(Some(ColumnId::new(1)), layout, SpikeTime::NONE).unwrap()
        };
        if with_large {
            // A chunk of the column's that is in no list: it was looked at while a large block had it whole.
            let blocks: Vec<_> = runs().take(20).collect();
            blocks.iter().for_each(free);
            let others = [large(2 << 21), large(1 << 21)];
            let blocks: Vec<_> = runs().collect();
            others.iter().chain(&blocks).for_each(free);
        } else {
            let blocks: Vec<_> = runs().collect();
            blocks.iter().for_each(free);
        }
        assert_ne!(reserved(&arena), 0);
        drop(column);
        arena.maintain(Duration::from_secs(10)).unwrap();
        assert_eq!(reserved(&arena), 0, "prefaulted: {prefault}, with large blocks: {with_large}");
        arena.verify().unwrap();
    }
}

/// Seen with: a look at each column's block.
#[test]
#[cfg(not(miri))]
fn columns_that_were_never_used_are_not_touched() {
    let arena = Arena::builder().capacity(4 << 20).columns(4096).build().unwrap();
    let blocks = lay_out(&arena, 10, 64);
    let before = arena.resident_bytes();
    while arena.maintain(Duration::from_secs(10)) != Ok(Maintained::All) {}
    assert!(arena.resident_bytes() <= before, "{before} bytes were touched, and {} are", arena.resident_bytes());
    drop(blocks);
}
