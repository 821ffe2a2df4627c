//! What is counted of states that programs seldom meet: where the usual bounds of an allocation or a free do not hold.

use engram::ffi::ENGRAM_TTFS_NONE;

use crate::arena::Arena;
use crate::count::Counter;

/// All of them, in the order of the table.
pub(crate) const ALL: &[fn(&mut Counter)] = &[
    full_chunks,
    all_freed_at_the_limit,
    beside_runs,
    far_chunks,
    first_of_all,
    shared_spans,
    large,
    beside_shared_spans,
    scattered,
    few_spans,
];

const CHUNK: usize = 2 << 20;

/// 32 columns have all chunks, which are full but the last, and another one asks.
fn full_chunks(counter: &mut Counter) {
    let arena = Arena::open(32 * CHUNK);
    let held: Vec<_> = (0..32).map(|index| arena.hold(index)).collect();
    for column in &held {
        column.alloc(64, ENGRAM_TTFS_NONE);
    }
    for column in &held[..31] {
        (0..504).for_each(|_| _ = column.alloc(4096, ENGRAM_TTFS_NONE));
    }
    let column = arena.hold(32);
    for size in (16..=640).step_by(16) {
        column.count_alloc(counter, "31 of 32 chunks full: allocation", size, ENGRAM_TTFS_NONE);
    }
}

/// A column at its limit, whose stacks keep all that it has, is asked for sizes that it has none of.
fn all_freed_at_the_limit(counter: &mut Counter) {
    let arena = Arena::open(128 * CHUNK);
    let column = arena.hold(1);
    let blocks: Vec<_> = (0..100).map(|at| column.alloc(16 + 16 * (at % 63), 1 << (18 + at % 10))).collect();
    let spans = blocks.iter().map(|block| block.addr() >> 15).collect::<std::collections::HashSet<_>>().len();
    arena.limit(1, spans << 15);
    for block in blocks {
        column.free(block);
    }
    for size in [2000, 3000, 4000, 2500, 1100] {
        column.count_alloc(counter, "at the column's limit, all freed: allocation", size, ENGRAM_TTFS_NONE);
    }
}

/// A column that grows by small blocks and such of some spans.
fn beside_runs(counter: &mut Counter) {
    let arena = Arena::open(128 * CHUNK);
    let column = arena.hold(1);
    for at in 0..1000 {
        column.alloc(4097 + at * 13 % 60_000, ENGRAM_TTFS_NONE);
        for size in [1 + at * 7 % 4096, 1 + at * 11 % 4096] {
            column.count_alloc(counter, "growth beside blocks above 4 KiB: allocation", size, ENGRAM_TTFS_NONE);
        }
    }
}

/// Columns' first blocks, where others have the chunks of the first word of their index.
fn far_chunks(counter: &mut Counter) {
    let arena = Arena::open(128 * CHUNK);
    let column = arena.hold(0);
    (0..63).for_each(|_| _ = column.alloc(CHUNK, ENGRAM_TTFS_NONE));
    for index in 1..20 {
        arena.hold(index).count_alloc(counter, "first of a column, 126 MiB in use: allocation", 64, ENGRAM_TTFS_NONE);
    }
}

/// The first block of an arena, with an alignment above 16 bytes.
fn first_of_all(counter: &mut Counter) {
    for chunks in [1, 2, 32, 128] {
        let arena = Arena::open(chunks * CHUNK);
        let row = "first of an arena, aligned to 32 bytes: allocation";
        arena.hold(1).count_aligned(counter, [row, row], 64, 32, ENGRAM_TTFS_NONE);
    }
}

/// Blocks that were allocated in a column by others while it was held.
fn shared_spans(counter: &mut Counter) {
    let arena = Arena::open(32 * CHUNK);
    let (owner, other) = (arena.hold(1), arena.hold(2));
    let given = || [16, 64, 1000, 4096].into_iter().flat_map(|size| (0..50).map(move |_| size)).map(|size| arena.alloc(1, size));
    for (holder, row) in [(&owner, "of a shared span: free"), (&other, "of a shared span: free by another column's holder")] {
        for block in given().collect::<Vec<_>>() {
            holder.count_free(counter, row, block);
        }
    }
}

/// Blocks above 256 KiB: of a part of a chunk, and of 128 chunks.
fn large(counter: &mut Counter) {
    let arena = Arena::open(512 * CHUNK);
    let column = arena.hold(1);
    for (size, allocation, free) in [(1 << 20, "1 MiB: allocation", "1 MiB: free"), (128 * CHUNK, "256 MiB: allocation", "256 MiB: free")] {
        let blocks: Vec<_> = (0..3).map(|_| column.count_alloc(counter, allocation, size, ENGRAM_TTFS_NONE)).collect();
        for block in blocks {
            column.count_free(counter, free, block);
        }
    }
}

/// What others allocate of a column that is held and has eight chunks of shared spans that are full.
fn beside_shared_spans(counter: &mut Counter) {
    let arena = Arena::open(128 * CHUNK);
    let _column = arena.hold(1);
    (0..700).for_each(|_| _ = arena.alloc(1, 48));
    (0..8 * 64 * 8).for_each(|_| _ = arena.alloc(1, 4096));
    for _ in 0..1500 {
        arena.count_alloc(counter, "held by another, eight chunks full: allocation", 48);
    }
}

/// A batch where one slot of sixteen is free.
fn scattered(counter: &mut Counter) {
    let arena = Arena::open(32 * CHUNK);
    let column = arena.hold(1);
    let blocks: Vec<_> = (0..32_000).map(|_| column.alloc(64, ENGRAM_TTFS_NONE)).collect();
    for block in blocks.into_iter().step_by(16) {
        column.free(block);
    }
    column.count_batch(counter, "batch of 500 of a held column, one slot of 16 free: each block", 64, 500);
}

/// A column whose spans another's holder has freed, one, two or three of a class at a time: with a fresh span at hand, and without.
fn few_spans(counter: &mut Counter) {
    let rows = ["few spans that others freed: allocation", "few spans that others freed, at the column's limit: allocation"];
    for (row, limited) in rows.into_iter().zip([false, true]) {
        for size in [64, 512, 1000, 4096] {
            for spans in 1..4 {
                let arena = Arena::open(32 * CHUNK);
                let (owner, other) = (arena.hold(1), arena.hold(2));
                let count = spans * (32 << 10) / size;
                let blocks: Vec<_> = (0..count).map(|_| owner.alloc(size, ENGRAM_TTFS_NONE)).collect();
                if limited {
                    arena.limit(1, spans << 15);
                }
                for block in blocks {
                    other.free(block);
                }
                (0..count).for_each(|_| _ = owner.count_alloc(counter, row, size, ENGRAM_TTFS_NONE));
            }
        }
    }
}
