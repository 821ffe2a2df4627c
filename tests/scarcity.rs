//! A request is refused only when nothing that could serve it is free: empty spans and chunks of any
//! column and class, memory that other threads freed (of a column whose holder rests: whole spans), what
//! released columns keep in their cells, and the free slots of the request's own column in whatever zone,
//! row or shared span.
//!
//! Memory that stays in a cell, an inbox, a list or a chunk that nobody looks through before a
//! request is refused would break it.
#![cfg(all(not(loom), not(miri)))]

#[cfg(target_os = "linux")]
#[path = "common/child.rs"]
mod child;
#[path = "common/promises.rs"]
mod promises;

use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};
use std::collections::HashSet;
use std::time::Duration;

use engram::{Arena, BatchFlags, Column, ColumnId, Error, Maintained, Request, Result, SpikeTime};
use promises::{CHUNK, Loose, Random, SPAN, arena, built, column, free_elsewhere, held, in_zone, layout, verify};

const SIZES: [usize; 9] = [16, 48, 96, 1000, 4096, 5000, 36 << 10, 300 << 10, CHUNK];
/// Of what a fresh arena takes, in percent.
const LEAST: usize = 97;
const THREADS: usize = 2;

/// By whom a block is asked for.
#[derive(Clone, Copy)]
enum Asking<'a> {
    /// The holder of a column.
    Holder(&'a Column<'a>),
    /// Nobody in particular, for a column.
    Anybody(&'a Arena, u32),
}

impl Asking<'_> {
    fn alloc(self, size: usize, align: usize, spike: SpikeTime) -> Result<NonNull<u8>> {
        match self {
            Self::Holder(holder) => holder.alloc(size, align, spike),
            Self::Anybody(arena, index) => arena.alloc(Some(column(index)), layout(size, align), spike),
        }
    }

    /// Allocates in the zones that `zone` gives for block after block, until refused.
    fn fill_with(self, size: usize, align: usize, zone: impl Fn(usize) -> u32) -> Vec<Loose> {
        let mut blocks = Vec::new();
        loop {
            match self.alloc(size, align, in_zone(zone(blocks.len()))) {
                Ok(block) => blocks.push(Loose(block)),
                Err(error) => {
                    assert!(matches!(error, Error::NoMemory { .. } | Error::Quota { .. }), "{error}");
                    return blocks;
                }
            }
        }
    }

    /// Allocates in one zone until refused.
    fn fill(self, size: usize) -> Vec<Loose> {
        self.fill_with(size, 16, |_| 3)
    }

    /// Allocates in all zones until refused.
    fn fill_zones(self, size: usize) -> Vec<Loose> {
        self.fill_with(size, 16, |index| index as u32 % 8)
    }
}

/// Blocks of a size that a fresh arena gives to the holder of a column.
fn fresh(capacity: usize, size: usize) -> usize {
    let arena = arena(capacity);
    Asking::Holder(&held(&arena, 1)).fill(size).len()
}

/// Fills an arena with each size as `first` does, frees all of it in threads that hold nothing, and
/// fails unless `second` can fill it with each other size.
fn refilled(capacity: usize, sizes: &[usize], first: impl Fn(&Arena, usize) -> Vec<Loose>, second: impl Fn(&Arena, usize) -> usize) {
    let fresh: Vec<_> = sizes.iter().map(|&size| fresh(capacity, size)).collect();
    for &before in sizes {
        for (&size, &most) in sizes.iter().zip(&fresh) {
            let arena = arena(capacity);
            free_elsewhere(&arena, &first(&arena, before), THREADS);
            assert_full(&arena, (before, size), most, second(&arena, size));
        }
    }
}

/// The same by one holder, who keeps the column all the time.
fn refilled_by_the_holder(capacity: usize, sizes: &[usize]) {
    let fresh: Vec<_> = sizes.iter().map(|&size| fresh(capacity, size)).collect();
    for &before in sizes {
        for (&size, &most) in sizes.iter().zip(&fresh) {
            let arena = arena(capacity);
            let holder = held(&arena, 1);
            free_elsewhere(&arena, &Asking::Holder(&holder).fill_zones(before), THREADS);
            assert_full(&arena, (before, size), most, Asking::Holder(&holder).fill(size).len());
        }
    }
}

/// What stacks keep, and what others freed and nobody has collected, makes a span look used. Seen with: runs at the lowest place where
/// they fit, which left half of the blocks without room.
#[test]
fn spans_that_are_not_known_to_be_empty_yet_cost_no_room_beside_them() {
    for size in [36 << 10, 70_000, 131_072, 236_990, 256 << 10, 300 << 10, 1 << 20] {
        for by_holder in [false, true] {
            let fill = |arena: &Arena| {
                let holder = by_holder.then(|| held(arena, 0));
                holder.as_ref().map_or(Asking::Anybody(arena, 0), Asking::Holder).fill(size).len()
            };
            let arena = arena(4 * CHUNK);
            for index in 0..4 {
                let holder = held(&arena, index);
                let blocks: Vec<_> = (0..24).map(|at| Loose(holder.alloc(16 << (at % 8), 16, in_zone(at % 8)).expect("a block"))).collect();
                drop(holder);
                free_elsewhere(&arena, &blocks, 1);
            }
            assert_eq!(fill(&arena), fill(&built(Arena::builder().capacity(4 * CHUNK))), "{size} bytes, {by_holder}");
        }
    }
}

/// Fails unless `count` blocks are nearly as many as a fresh arena has.
fn assert_full(arena: &Arena, (before, size): (usize, usize), most: usize, count: usize) {
    assert!(count * 100 >= most * LEAST, "{count} of {most} blocks of {size} bytes after {before}");
    verify(arena);
}

fn by_holder(arena: &Arena, index: u32, size: usize) -> Vec<Loose> {
    Asking::Holder(&held(arena, index)).fill_zones(size)
}

fn unheld(arena: &Arena, index: u32, size: usize) -> Vec<Loose> {
    Asking::Anybody(arena, index).fill(size)
}

/// From the shared spans of a column that is held.
fn while_held(arena: &Arena, index: u32, size: usize) -> Vec<Loose> {
    let _holder = held(arena, index);
    Asking::Anybody(arena, index).fill(size)
}

#[test]
fn a_holder_is_given_again_what_others_freed_of_its_column_in_any_size() {
    refilled_by_the_holder(CHUNK, &SIZES);
}

#[test]
fn a_column_at_its_limit_is_given_again_what_others_freed_of_it_in_any_size() {
    for before in SIZES {
        for size in SIZES {
            let arena = arena(4 * CHUNK);
            arena.limit_column(column(1), Some(CHUNK)).expect("the column exists");
            free_elsewhere(&arena, &by_holder(&arena, 1, before), THREADS);
            assert_full(&arena, (before, size), fresh(CHUNK, size), Asking::Holder(&held(&arena, 1)).fill(size).len());
        }
    }
}

#[test]
fn another_holder_is_given_what_was_freed_of_a_released_column() {
    refilled(CHUNK, &SIZES, |arena, size| by_holder(arena, 1, size), |arena, size| by_holder(arena, 2, size).len());
}

#[test]
fn who_holds_nothing_is_given_what_was_freed_of_a_released_column() {
    refilled(CHUNK, &SIZES, |arena, size| by_holder(arena, 1, size), |arena, size| unheld(arena, 2, size).len());
    refilled(CHUNK, &SIZES, |arena, size| by_holder(arena, 1, size), |arena, size| unheld(arena, 1, size).len());
}

#[test]
fn who_holds_nothing_is_given_what_was_freed_while_another_holds_the_column_asked_for() {
    refilled(CHUNK, &SIZES, |arena, size| by_holder(arena, 1, size), |arena, size| while_held(arena, 2, size).len());
}

#[test]
fn what_was_freed_of_shared_spans_serves_everybody() {
    refilled(CHUNK, &SIZES, |arena, size| while_held(arena, 1, size), |arena, size| by_holder(arena, 1, size).len());
    refilled(CHUNK, &SIZES, |arena, size| while_held(arena, 1, size), |arena, size| by_holder(arena, 2, size).len());
    refilled(CHUNK, &SIZES, |arena, size| while_held(arena, 1, size), |arena, size| while_held(arena, 2, size).len());
}

/// Sizes that spans and runs of a held column serve.
const SLOTS: [usize; 7] = [16, 48, 96, 1000, 4096, 5000, 36 << 10];

/// A holder fills the arena and rests, with the column in its hands; others free all of it. `second` must be
/// able to fill it with each size, small, medium or large.
fn refilled_while_the_holder_rests(capacity: usize, befores: &[usize], sizes: &[usize], second: impl Fn(&Arena, usize) -> usize) {
    let fresh: Vec<_> = sizes.iter().map(|&size| fresh(capacity, size)).collect();
    for &before in befores {
        for (&size, &most) in sizes.iter().zip(&fresh) {
            let arena = arena(capacity);
            let holder = held(&arena, 1);
            free_elsewhere(&arena, &Asking::Holder(&holder).fill_zones(before), THREADS);
            assert_full(&arena, (before, size), most, second(&arena, size));
            drop(holder);
            verify(&arena);
        }
    }
}

#[test]
fn another_holder_is_given_what_others_freed_of_a_column_whose_holder_rests() {
    refilled_while_the_holder_rests(CHUNK, &SLOTS, &SIZES, |arena, size| by_holder(arena, 2, size).len());
}

#[test]
fn who_holds_nothing_is_given_what_others_freed_of_a_column_whose_holder_rests() {
    refilled_while_the_holder_rests(CHUNK, &SLOTS, &SIZES, |arena, size| unheld(arena, 2, size).len());
    refilled_while_the_holder_rests(CHUNK, &SLOTS, &SIZES, |arena, size| while_held(arena, 2, size).len());
    // From the shared spans of that very column.
    refilled_while_the_holder_rests(CHUNK, &SLOTS, &SIZES, |arena, size| unheld(arena, 1, size).len());
}

#[test]
fn a_larger_arena_is_given_to_others_while_a_holder_rests_too() {
    let (befores, sizes) = ([16, 48, 1000, 5000], [96, 4096, 36 << 10, CHUNK]);
    refilled_while_the_holder_rests(64 << 20, &befores, &sizes, |arena, size| by_holder(arena, 2, size).len());
    refilled_while_the_holder_rests(64 << 20, &befores, &sizes, |arena, size| while_held(arena, 2, size).len());
}

#[test]
fn what_was_taken_away_from_a_holder_who_rests_comes_back_to_it_when_it_is_free_again() {
    for before in SLOTS {
        let arena = arena(CHUNK);
        let holder = held(&arena, 1);
        for size in SLOTS {
            let blocks = Asking::Holder(&holder).fill_zones(before);
            assert!(blocks.len() * 100 >= fresh(CHUNK, before) * LEAST, "{} blocks of {before} bytes", blocks.len());
            free_elsewhere(&arena, &blocks, THREADS);
            free_elsewhere(&arena, &by_holder(&arena, 2, size), THREADS);
            verify(&arena);
        }
    }
}

#[test]
fn an_ordered_batch_goes_on_in_its_column_after_its_blocks_were_taken_away() {
    for size in [16, 96, 1000] {
        let arena = arena(CHUNK);
        let holder = held(&arena, 1);
        let batch = |index| {
            let requests = vec![Request { size, align: 16, column: Some(column(index)), spike: in_zone(5) }; fresh(CHUNK, size)];
            let mut out = vec![null_mut(); requests.len()];
            let served = arena.alloc_batch(&requests, BatchFlags::ORDERED, &mut out).expect("all of it is free");
            assert_eq!(served, out.len());
            out.into_iter().filter_map(NonNull::new).map(Loose).collect::<Vec<_>>()
        };
        for index in [2, 1, 3] {
            free_elsewhere(&arena, &batch(index), THREADS);
            free_elsewhere(&arena, &Asking::Holder(&holder).fill(5000), THREADS);
            verify(&arena);
        }
    }
}

#[test]
fn a_span_with_one_block_in_it_stays_with_its_column() {
    for size in SLOTS {
        let arena = arena(CHUNK);
        let holder = held(&arena, 1);
        let blocks = Asking::Holder(&holder).fill(size);
        let kept = blocks[blocks.len() / 2];
        // SAFETY: the test's own block, of at least a byte.
        unsafe { kept.0.write(0xa5) };
        let others: Vec<_> = blocks.iter().copied().filter(|&block| block != kept).collect();
        free_elsewhere(&arena, &others, THREADS);
        let given = by_holder(&arena, 2, size);
        assert!(!given.contains(&kept) && given.len() < others.len() + 1);
        for block in &given {
            // SAFETY: as above.
            unsafe { block.0.write(0x5a) };
        }
        // SAFETY: as above.
        assert_eq!(unsafe { kept.0.read() }, 0xa5);
        verify(&arena);
        free_elsewhere(&arena, &[kept], 1);
        free_elsewhere(&arena, &given, THREADS);
        assert!(Asking::Holder(&holder).fill(size).len() * 100 >= blocks.len() * LEAST);
        verify(&arena);
    }
}

#[test]
fn a_larger_arena_is_given_again_in_another_size_too() {
    for sizes in [[16, 36 << 10], [48, 4096], [1000, CHUNK], [5000, 300 << 10]] {
        refilled_by_the_holder(64 << 20, &sizes);
        refilled(64 << 20, &sizes, |arena, size| by_holder(arena, 1, size), |arena, size| by_holder(arena, 2, size).len());
        refilled(64 << 20, &sizes, |arena, size| by_holder(arena, 1, size), |arena, size| while_held(arena, 2, size).len());
    }
}

/// A column that goes on to fresh chunks while there is room in its own would break it.
#[test]
fn who_replaces_blocks_of_many_spans_stays_in_the_chunks_that_he_has() {
    let arena = arena(1 << 30);
    let (holder, mut random) = (held(&arena, 0), Random(88_172_645_463_325_252));
    let mut chunks = HashSet::new();
    let mut alloc = |random: &mut Random| {
        let block = holder.alloc(4097 + random.below(60 << 10), 16, SpikeTime::NONE).unwrap();
        chunks.insert(block.addr().get() / CHUNK);
        block
    };
    let mut blocks: Vec<_> = (0..500).map(|_| alloc(&mut random)).collect();
    for _ in 0..40_000 {
        let block = &mut blocks[random.below(500)];
        // SAFETY: nothing uses the block afterwards.
        unsafe { holder.free(*block) }.unwrap();
        *block = alloc(&mut random);
    }
    let live = arena.metrics().bytes_live as usize;
    assert!(chunks.len() * CHUNK < 2 * live, "{} chunks for {live} bytes", chunks.len());
}

/// A unit of a span that is announced again, and collected before that is heard, would leave an announcement with nothing behind
/// it; if a fresh span served then, it would take memory without end.
#[test]
fn who_replaces_blocks_that_anybody_frees_stays_in_the_memory_that_he_has() {
    for size in [16, 112, 1000] {
        let arena = arena(64 << 20);
        let holder = held(&arena, 0);
        for ask in [Asking::Holder(&holder), Asking::Anybody(&arena, 1)] {
            let mut random = Random(88_172_645_463_325_252);
            let mut blocks: Vec<_> = (0..2000).map(|_| ask.alloc(size, 16, SpikeTime::NONE).unwrap()).collect();
            let before = arena.metrics().bytes_committed;
            for _ in 0..200_000 {
                let block = &mut blocks[random.below(2000)];
                // SAFETY: nothing uses the block afterwards.
                unsafe { arena.free(*block) }.unwrap();
                *block = ask.alloc(size, 16, SpikeTime::NONE).unwrap();
            }
            assert_eq!(arena.metrics().bytes_committed, before, "{size} bytes");
        }
        verify(&arena);
    }
}

/// A fresh span as soon as the one that had room lately is full, or a free that leads allocations to another span each time so that
/// none becomes empty, would fill the arena with spans that have few blocks.
#[test]
fn who_replaces_blocks_of_a_column_that_another_holds_keeps_few_shared_spans() {
    let arena = arena(64 << 20);
    let _holder = held(&arena, 0);
    let (ask, mut random) = (Asking::Anybody(&arena, 0), Random(88_172_645_463_325_252));
    let alloc = |random: &mut Random| ask.alloc(16 + random.below(240), 16, SpikeTime::NONE).unwrap();
    let mut blocks: Vec<_> = (0..20_000).map(|_| alloc(&mut random)).collect();
    for _ in 0..100_000 {
        let block = &mut blocks[random.below(20_000)];
        // SAFETY: nothing uses the block afterwards.
        unsafe { arena.free(*block) }.unwrap();
        *block = alloc(&mut random);
    }
    let metrics = arena.metrics();
    assert!(2 * metrics.bytes_live > metrics.bytes_committed, "{} of {} bytes", metrics.bytes_live, metrics.bytes_committed);
    verify(&arena);
}

/// Leaves an arena in which everything was freed, by holders and by others, in all columns.
fn used_and_freed(capacity: usize) -> Arena {
    let arena = arena(capacity);
    for size in SIZES {
        let holders: Vec<_> = (0..4).map(|index| held(&arena, index)).collect();
        let blocks: Vec<_> = (0..40_000)
            .map_while(|index| Asking::Holder(&holders[index % 4]).alloc(size, 16, in_zone(index as u32 % 8)).ok())
            .map(Loose)
            .collect();
        let (by_holder, by_others) = blocks.split_at(blocks.len() / 2);
        for (index, block) in by_holder.iter().enumerate() {
            // SAFETY: the test's own blocks, forgotten.
            unsafe { holders[index % 4].free(block.0) }.expect("it is handed out");
        }
        free_elsewhere(&arena, by_others, THREADS);
    }
    assert_eq!(arena.metrics().live_blocks(), 0);
    arena
}

/// Fails unless one block takes all of an arena that is empty.
fn assert_whole(arena: &Arena, ask: impl Fn(&Arena) -> Result<NonNull<u8>>) {
    let block = ask(arena).expect("the whole arena is free");
    assert_eq!(arena.usable_size(block.as_ptr()), Some(arena.capacity()));
    verify(arena);
    // SAFETY: the test's own block, forgotten.
    unsafe { arena.free(block) }.expect("it is handed out");
    verify(arena);
}

#[test]
fn a_block_as_large_as_the_arena_is_given_when_everything_was_freed() {
    for capacity in [CHUNK, 64 << 20] {
        let ask = |arena: &Arena, index| Asking::Anybody(arena, index).alloc(capacity, 16, SpikeTime::NONE);
        assert_whole(&used_and_freed(capacity), |arena| ask(arena, 0));
        assert_whole(&used_and_freed(capacity), |arena| held(arena, 3).alloc(capacity, 16, SpikeTime::NONE));
    }
}

#[test]
fn it_is_given_while_another_holds_a_column_with_nothing_in_it() {
    for capacity in [CHUNK, 64 << 20] {
        let arena = built(Arena::builder().capacity(capacity).columns(2));
        free_elsewhere(&arena, &by_holder(&arena, 0, 96), THREADS);
        let _holder = held(&arena, 1);
        assert_whole(&arena, |arena| Asking::Anybody(arena, 1).alloc(capacity, 16, SpikeTime::NONE));
    }
}

#[test]
fn a_block_as_large_as_the_arena_is_given_after_maintenance_too() {
    for capacity in [CHUNK, 64 << 20] {
        let arena = used_and_freed(capacity);
        assert_eq!(arena.maintain(Duration::from_secs(60)), Ok(Maintained::All));
        assert_eq!(arena.metrics().bytes_committed, 0);
        assert_whole(&arena, |arena| held(arena, 2).alloc(capacity, 16, SpikeTime::NONE));
    }
}

/// Fills the arena as `first` says, frees every second block as `free` says, and fails unless
/// `second` can have all of them, while one column is held.
fn slots_serve(
    fill: impl Fn(&Arena, &Column) -> Vec<Loose>,
    free: impl Fn(&Arena, &Column, NonNull<u8>) -> Result<()>,
    second: impl Fn(&Arena, &Column) -> Result<NonNull<u8>>,
) {
    let arena = arena(2 * CHUNK);
    let holder = held(&arena, 1);
    let blocks = fill(&arena, &holder);
    for block in blocks.iter().skip(1).step_by(2) {
        free(&arena, &holder, block.0).expect("it is handed out");
    }
    let given = core::iter::from_fn(|| second(&arena, &holder).ok()).count();
    assert_eq!(given, blocks.len() / 2, "blocks given of those that are free");
    verify(&arena);
}

fn free_by_holder(_: &Arena, holder: &Column, block: NonNull<u8>) -> Result<()> {
    // SAFETY: the test's own block, forgotten.
    unsafe { holder.free(block) }
}

fn free_by_anybody(arena: &Arena, _: &Column, block: NonNull<u8>) -> Result<()> {
    // SAFETY: as above.
    unsafe { arena.free(block) }
}

#[test]
fn the_columns_own_slots_of_another_zone_serve() {
    for size in [16, 48, 1000, 4096] {
        let fill = |_: &Arena, holder: &Column| Asking::Holder(holder).fill(size);
        slots_serve(fill, free_by_holder, |_, holder| holder.alloc(size, 16, in_zone(6)));
        slots_serve(fill, free_by_anybody, |_, holder| holder.alloc(size, 16, in_zone(6)));
    }
}

#[test]
fn the_columns_own_aligned_slots_serve_small_requests_without_alignment() {
    for size in [64, 1024, 4096] {
        let fill = |_: &Arena, holder: &Column| Asking::Holder(holder).fill_with(size, 64, |_| 3);
        slots_serve(fill, free_by_holder, |_, holder| holder.alloc(size, 16, in_zone(3)));
        slots_serve(fill, free_by_anybody, |_, holder| holder.alloc(size, 16, in_zone(3)));
    }
}

#[test]
fn the_columns_own_aligned_slots_serve_medium_requests_without_alignment() {
    for size in [8 << 10, 36 << 10] {
        let fill = |_: &Arena, holder: &Column| Asking::Holder(holder).fill_with(size, 64, |_| 3);
        slots_serve(fill, free_by_holder, |_, holder| holder.alloc(size, 16, in_zone(3)));
    }
}

#[test]
fn shared_slots_serve_the_columns_holder() {
    for size in [16, 48, 1000, 4096, 5000, 36 << 10] {
        let fill = |arena: &Arena, holder: &Column| Asking::Anybody(arena, holder.id().index()).fill(size);
        slots_serve(fill, free_by_holder, |_, holder| holder.alloc(size, 16, in_zone(3)));
        slots_serve(fill, free_by_anybody, |_, holder| holder.alloc(size, 16, in_zone(7)));
    }
}

/// Fills the shared spans of a column up to a limit of one and a half chunks.
fn fill_to_the_limit(arena: &Arena, holder: &Column, size: usize) -> Vec<Loose> {
    arena.limit_column(holder.id(), Some(3 * CHUNK / 2)).expect("the column exists");
    Asking::Anybody(arena, holder.id().index()).fill(size)
}

#[test]
fn shared_slots_serve_the_columns_holder_at_its_limit_too() {
    for size in [48, 1000] {
        let fill = |arena: &Arena, holder: &Column| fill_to_the_limit(arena, holder, size);
        slots_serve(fill, free_by_anybody, |_, holder| holder.alloc(size, 16, in_zone(3)));
    }
}

#[test]
fn shared_slots_serve_the_columns_holder_at_its_limit_in_another_zone_too() {
    for size in [48, 1000] {
        let fill = |arena: &Arena, holder: &Column| fill_to_the_limit(arena, holder, size);
        slots_serve(fill, free_by_anybody, |_, holder| holder.alloc(size, 16, in_zone(7)));
    }
}

#[test]
fn shared_slots_serve_who_holds_nothing() {
    for size in [48, 1000, 5000] {
        for zone in [3, 7] {
            let fill = |arena: &Arena, holder: &Column| Asking::Anybody(arena, holder.id().index()).fill(size);
            let second = |arena: &Arena, _: &Column| arena.alloc(Some(column(1)), layout(size, 16), in_zone(zone));
            slots_serve(fill, free_by_anybody, second);
        }
    }
}

#[test]
fn shared_slots_serve_who_holds_nothing_at_the_columns_limit_too() {
    for size in [48, 1000] {
        for zone in [3, 7] {
            let fill = |arena: &Arena, holder: &Column| fill_to_the_limit(arena, holder, size);
            let second = |arena: &Arena, _: &Column| arena.alloc(Some(column(1)), layout(size, 16), in_zone(zone));
            slots_serve(fill, free_by_anybody, second);
        }
    }
}

#[test]
fn the_columns_own_slots_serve_an_ordered_batch_and_its_slots_serve_single_requests() {
    let size = 96;
    let arena = arena(CHUNK);
    let blocks = Asking::Anybody(&arena, 1).fill(size);
    let every_second = |blocks: &[Loose]| blocks.iter().copied().step_by(2).collect::<Vec<_>>();
    free_elsewhere(&arena, &every_second(&blocks), THREADS);
    let request = Request { size, align: 16, column: Some(column(1)), spike: in_zone(5) };
    let requests = vec![request; blocks.len().div_ceil(2)];
    let mut out = vec![null_mut(); requests.len()];
    assert_eq!(arena.alloc_batch(&requests, BatchFlags::ORDERED, &mut out), Ok(requests.len()));
    verify(&arena);
    let batch: Vec<_> = out.into_iter().filter_map(NonNull::new).map(Loose).collect();
    let freed = every_second(&batch);
    free_elsewhere(&arena, &freed, THREADS);
    assert_eq!(by_holder(&arena, 1, size).len(), freed.len());
    verify(&arena);
}

#[test]
fn a_terabyte_of_address_space_opens_serves_both_of_its_ends_and_closes() {
    let columns = 1 << 16;
    let arena = built(Arena::builder().capacity(1 << 40).columns(columns));
    let most = Asking::Anybody(&arena, 0).alloc((1 << 40) - CHUNK, 16, SpikeTime::NONE).expect("it is free");
    let last = held(&arena, columns - 1).alloc(4096, 16, SpikeTime::NONE).expect("the last chunk is free");
    assert_eq!(arena.offset_of(most.as_ptr()), Some(0));
    assert!(arena.offset_of(last.as_ptr()).is_some_and(|offset| offset >= (1 << 40) - CHUNK));
    for p in [most, last] {
        // SAFETY: the test's own blocks, of at least a byte; freed once and forgotten.
        unsafe {
            p.write(1);
            arena.free(p).expect("it is handed out");
        }
    }
    assert_eq!(arena.metrics().live_blocks(), 0);
    verify(&arena);
}

/// Bytes of memory that this process has.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of the status");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

#[cfg(target_os = "linux")]
#[test]
fn as_many_columns_as_can_be_open_in_4_mib_of_memory_and_each_serves() {
    // In a child, whose memory is its own.
    let outcome = child::fork(|report| {
        let before = resident();
        let arena = built(Arena::builder().capacity(64 << 20).columns(1 << 16));
        let taken = resident() - before;
        for index in 0..1 << 16 {
            let block = held(&arena, index).alloc(64, 16, SpikeTime::NONE).expect("there is memory");
            // SAFETY: the test's own block, forgotten.
            unsafe { arena.free(block) }.expect("it is handed out");
        }
        assert_eq!(arena.metrics().live_blocks(), 0);
        verify(&arena);
        report.say(&taken.to_string());
    });
    let taken: usize = outcome.last().parse().unwrap_or_else(|_| panic!("{outcome:?}"));
    assert!(taken < 4 << 20, "{taken} bytes");
}

/// Who names no column is served from whatever column has a slot, when each span is some column's.
#[test]
fn a_request_for_any_column_is_refused_only_when_no_column_has_a_slot() {
    let arena = arena(CHUNK);
    let mut blocks = Vec::new();
    while let Ok(block) = arena.alloc(Some(column(1)), layout(64, 16), SpikeTime::NONE) {
        blocks.push(Loose(block));
    }
    // One of each span is free: all of them are column 1's.
    let spare: Vec<_> = blocks.iter().step_by(512).map(|block| block.0).collect();
    for &block in &spare {
        // SAFETY: a block of ours.
        unsafe { arena.free(block).unwrap() };
    }
    let ask = || arena.alloc(None, layout(64, 16), SpikeTime::NONE);
    for _ in &spare {
        ask().unwrap();
    }
    assert!(matches!(ask(), Err(Error::NoMemory { size: 64, .. })));
    assert_eq!(arena.metrics().failed, 2, "each request that is refused counts once");
    arena.verify().unwrap();
}

#[test]
fn a_batch_for_any_column_takes_slots_of_whatever_column() {
    for (flags, served, counted) in [(BatchFlags::empty(), 8, 2), (BatchFlags::ATOMIC, 0, 1), (BatchFlags::ORDERED, 8, 2)] {
        let arena = arena(CHUNK);
        let all: Vec<_> = std::iter::from_fn(|| arena.alloc(Some(column(1)), layout(64, 16), SpikeTime::NONE).ok()).collect();
        for &block in all.iter().step_by(512).take(8) {
            // SAFETY: a block of ours.
            unsafe { arena.free(block).unwrap() };
        }
        // The latest are not served.
        let request = |index: u32| Request { size: 64, align: 16, column: None, spike: SpikeTime::from_nanos(20 - index) };
        let requests: Vec<_> = (0..10).map(request).collect();
        let (mut out, failed) = ([null_mut(); 10], arena.metrics().failed);
        let result = arena.alloc_batch(&requests, flags, &mut out);
        assert_eq!(out.iter().filter(|block| !block.is_null()).count(), served, "{result:?}");
        assert!(out[..2].iter().all(|block| block.is_null()), "{out:?}");
        assert!(!flags.contains(BatchFlags::ORDERED) || out[2..].iter().rev().is_sorted(), "{out:?}");
        assert_eq!(arena.metrics().failed - failed, counted, "each request that is refused counts once, a batch that is undone too");
        verify(&arena);
    }
}

/// To put an ordered batch in order, blocks of whatever column are not exchanged for those of requests that name one.
#[test]
fn an_ordered_batch_gives_who_names_a_column_blocks_of_that_column() {
    // One of them is the thread's own.
    for named in (0..arena(CHUNK).columns()).filter(|&named| named != 1) {
        let arena = arena(CHUNK);
        let all: Vec<_> = std::iter::from_fn(|| arena.alloc(Some(column(1)), layout(64, 16), SpikeTime::NONE).ok()).collect();
        let of_others = all.len() - 512;
        for &block in all[..of_others].iter().step_by(64).chain(&all[of_others..]) {
            // SAFETY: a block of ours.
            unsafe { arena.free(block).unwrap() };
        }
        let request = |index: u32| Request {
            size: 64,
            align: 16,
            column: index.is_multiple_of(2).then_some(column(named)),
            spike: SpikeTime::from_nanos(2_000 - index),
        };
        let requests: Vec<_> = (0..1_200).map(request).collect();
        let mut out = vec![null_mut(); requests.len()];
        arena.alloc_batch(&requests, BatchFlags::ORDERED, &mut out).unwrap_err();
        let holder = held(&arena, 1);
        let mut others = HashSet::new();
        holder.walk(|block| others.insert(block.start.as_ptr()));
        assert!(out.iter().any(|block| others.contains(block)), "no slot of another column was needed");
        assert!(!out.iter().step_by(2).any(|block| others.contains(block)), "column {named} was named");
        verify(&arena);
    }
}

/// Seen with: the bytes of the slot that would have served it, aligned to 16; an alignment of 0.
#[test]
fn who_is_refused_is_told_what_was_asked_for() {
    for (align, told) in [(64, 64), (16, 16), (0, 16)] {
        let arena = arena(CHUNK);
        let request = |column| Request { size: 700, align, column, spike: SpikeTime::NONE };
        let asked = Error::NoMemory { size: 700, align: told };
        let mut out = vec![null_mut(); CHUNK / 700 + 1];
        let holder = held(&arena, 1);
        assert!(holder.alloc_batch(700, align, SpikeTime::NONE, &mut out) < out.len());
        assert_eq!(holder.last_error(), asked);
        assert_eq!(holder.alloc(700, align, SpikeTime::NONE), Err(asked));
        for column in [None, Some(column(0)), Some(column(1))] {
            for flags in [BatchFlags::empty(), BatchFlags::ORDERED, BatchFlags::ATOMIC] {
                assert_eq!(arena.alloc_batch(&[request(column)], flags, &mut out[..1]), Err(asked));
            }
        }
    }
}

/// The slots of a shared span are free to all, whatever was asked for when it was taken.
#[test]
fn a_request_for_any_column_is_served_from_any_shared_span() {
    let another_zone = |arena: &Arena| arena.alloc(Some(column(1)), layout(128, 16), in_zone(1)).map(drop);
    let aligned = |arena: &Arena| arena.alloc(Some(column(1)), layout(128, 64), SpikeTime::NONE).map(drop);
    let published = |arena: &Arena| arena.publish_root(Some(column(1)), layout(128, 16), SpikeTime::NONE, 0).map(drop);
    for take in [&another_zone as &dyn Fn(&Arena) -> Result<()>, &aligned, &published] {
        let arena = arena(CHUNK);
        let holder = held(&arena, 1);
        take(&arena).unwrap();
        drop(holder);
        while arena.alloc(Some(column(0)), layout(128, 16), SpikeTime::NONE).is_ok() {}
        // One is taken; and the arena's first slot, which would be named by 0, is never published.
        for _ in 2..SPAN / 128 {
            arena.alloc(None, layout(128, 16), SpikeTime::NONE).expect("a slot of the shared span");
        }
        let _last = arena.alloc(None, layout(128, 16), SpikeTime::NONE);
        assert!(arena.alloc(Some(column(1)), layout(128, 16), SpikeTime::NONE).is_err(), "none is left");
        let metrics = arena.metrics();
        assert_eq!(metrics.bytes_live, 128 * (metrics.allocs - metrics.frees));
        arena.verify().unwrap();
    }
}

/// Published blocks too are anybody's slots, for a publication that names no column.
#[test]
fn a_publication_for_any_column_is_served_from_any_published_span() {
    let arena = arena(4 << 20);
    let publish = |column, root| arena.publish_root(column, layout(128, 16), SpikeTime::NONE, root);
    publish(Some(column(1)), 0).unwrap();
    while arena.alloc(Some(column(0)), layout(SPAN, 16), SpikeTime::NONE).is_ok() {}
    let before = arena.metrics();
    // Whatever column is this thread's home, one of the two has no memory for it.
    for root in 1..4 {
        assert_eq!(publish(Some(column(0)), root), Err(Error::NoMemory { size: 128, align: 16 }));
    }
    std::thread::scope(|scope| {
        for root in 4..8 {
            let publish = &publish;
            scope.spawn(move || publish(None, root).expect("a slot of the published span").addr());
        }
    });
    assert_eq!(arena.metrics().bytes_live, before.bytes_live + 4 * 128);
    arena.verify().unwrap();
    for root in 4..8 {
        // SAFETY: nothing uses the block.
        unsafe { arena.unpublish_root(root) }.unwrap();
    }
    assert_eq!(arena.metrics().bytes_live, before.bytes_live);
    verify(&arena);
}

/// What others freed whole of a column that somebody holds counts against its limit no longer than until somebody asks.
#[test]
fn a_held_column_at_its_limit_serves_others_from_what_others_freed() {
    let (arena, limited) = (arena(4 << 20), ColumnId::new(0));
    arena.limit_column(limited, Some(CHUNK / 2)).unwrap();
    let holder = held(&arena, 0);
    for block in Asking::Holder(&holder).fill(4096) {
        // SAFETY: nothing uses the block any more.
        unsafe { arena.free(block.0) }.unwrap();
    }
    let request = |index: u32, size, nanos| Request { size, align: 16, column: Some(column(index)), spike: SpikeTime::from_nanos(nanos) };
    // Of what was never taken too little is left for the second request: it makes room, and not for the third alone.
    for _ in 0..760 {
        arena.alloc(Some(column(1)), layout(4096, 16), SpikeTime::NONE).unwrap();
    }
    let requests = [request(0, 4096, 1), request(1, 40 << 10, 2), request(0, 4096, 3)];
    assert_eq!(arena.alloc_batch(&requests, BatchFlags::empty(), &mut [null_mut(); 3]), Ok(3));
    verify(&arena);
}

#[test]
fn a_column_at_its_limit_publishes_in_what_is_free_of_it() {
    for size in [64, 4096, 20_000, 300 << 10] {
        let (arena, limited) = (arena(4 << 20), Some(column(0)));
        arena.limit_column(ColumnId::new(0), Some(CHUNK / 2)).unwrap();
        for block in Asking::Anybody(&arena, 0).fill(64) {
            // SAFETY: nothing uses the block any more.
            unsafe { arena.free(block.0) }.unwrap();
        }
        arena.publish_root(limited, layout(size, 16), SpikeTime::NONE, 0).unwrap();
        verify(&arena);
    }
}

/// Has `index` keep a slot of each of eight spans, which count as its own.
fn keep_eight_spans(arena: &Arena, index: u32) {
    let blocks: Vec<_> = (0..64).map(|_| arena.alloc(Some(column(index)), layout(4096, 16), SpikeTime::NONE).unwrap()).collect();
    // One of each span first: the cell keeps what comes before its stack is full.
    for first in 0..8 {
        for block in blocks.iter().skip(first).step_by(8) {
            // SAFETY: nothing uses the block any more.
            unsafe { held(arena, index).free(*block) }.unwrap();
        }
    }
}

/// At its limit a column first gives back what it keeps itself; what others keep may be what it lacks then.
#[test]
fn a_column_at_its_limit_for_what_it_keeps_itself_is_served_from_what_others_keep_too() {
    type Ask = fn(&Arena, usize) -> Result<NonNull<u8>>;
    let (by_holder, by_anybody): (Ask, Ask) = (
        |arena, size| held(arena, 0).alloc(size, 16, SpikeTime::NONE),
        |arena, size| arena.alloc(Some(column(0)), layout(size, 16), SpikeTime::NONE),
    );
    let published: Ask = |arena, size| arena.publish_root(Some(column(0)), layout(size, 16), SpikeTime::NONE, 0);
    // Nine spans in a row, and twelve.
    for size in [35_000, 12 * SPAN] {
        for ask in [by_holder, by_anybody, published] {
            let arena = arena(CHUNK);
            arena.limit_column(column(0), Some(16 * SPAN)).unwrap();
            keep_eight_spans(&arena, 0);
            keep_eight_spans(&arena, 1);
            arena.alloc(Some(column(2)), layout(CHUNK - 16 * SPAN, 16), SpikeTime::NONE).unwrap();
            ask(&arena, size).unwrap();
            verify(&arena);
        }
    }
}

#[test]
fn a_large_request_above_its_columns_limit_leaves_other_columns_as_they_are() {
    let arena = Arena::builder().capacity(8 << 20).columns(2).build().unwrap();
    let (kept, limited) = (Some(ColumnId::new(0)), ColumnId::new(1));
    arena.limit_column(limited, Some(0)).unwrap();
    let blocks: Vec<_> = (0..5000).map(|_| arena.alloc(kept, Layout::new::<[u64; 8]>(), SpikeTime::NONE).unwrap()).collect();
    for block in blocks {
        // SAFETY: nothing uses the block any more.
        unsafe { arena.free(block) }.unwrap();
    }
    let before = arena.metrics().bytes_committed;
    assert!(before > 0, "what others freed is kept");
    let large = Layout::new::<[u8; 300 << 10]>();
    assert!(matches!(arena.alloc(Some(limited), large, SpikeTime::NONE), Err(Error::Quota { .. })));
    assert_eq!(arena.metrics().bytes_committed, before);
    assert!(matches!(arena.publish_root(Some(limited), large, SpikeTime::NONE, 0), Err(Error::Quota { .. })));
    assert_eq!(arena.metrics().bytes_committed, before);
    let held = arena.column(limited).unwrap();
    assert!(matches!(held.alloc(300 << 10, 16, SpikeTime::NONE), Err(Error::Quota { .. })));
    assert_eq!(arena.metrics().bytes_committed, before);
}

/// Two threads allocate and free a block each, and nothing else lives: between two blocks the arena's only chunk is in neither's hands
/// and nowhere else. (A thread that is stopped right there still has the other refused, some forty times: hence not none at all.) Seen with: no
/// chunk waited for, on a machine with nothing else to do, when each tenth request was refused.
#[test]
fn a_chunk_that_goes_from_hand_to_hand_serves_each_that_asks_for_it() {
    let arena = built(Arena::builder().capacity(CHUNK).columns(2));
    for size in [300 << 10, 64] {
        let replaces = || {
            let mut refused = 0;
            for _ in 0..100_000 {
                match arena.alloc(None, layout(size, 16), SpikeTime::NONE) {
                    // SAFETY: a block of ours, forgotten.
                    Ok(block) => unsafe { arena.free(block) }.expect("it is handed out"),
                    Err(_) => refused += 1,
                }
            }
            refused
        };
        let refused: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(replaces)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not fail")).sum()
        });
        println!("{refused} of 200,000 of {size} bytes");
        assert!(refused < 2000, "{refused} of 200,000 of {size} bytes");
    }
    verify(&arena);
}
