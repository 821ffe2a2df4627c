//! Batches of a held column: whatever keeps the free slots - the stack, the word, units of listed spans, what others
//! freed, fresh spans - each is given once, and what the batch leaves is found again.
//!
//! A unit given whole and left under the summary, slots of the last unit forgotten, a live bit not set or a slot not
//! counted would break it.
#![cfg(not(loom))]

#[path = "common/promises.rs"]
mod promises;

use core::ptr::{NonNull, null_mut};

use engram::{Arena, Column};
use promises::{Random, arena, held};

/// One or two of each kind of class: units that are words of many slots and of few, units that are slots, runs with a word,
/// with one slot in the stack, and with none.
const SIZES: [usize; 14] = [1, 16, 48, 64, 112, 250, 480, 500, 512, 1000, 4096, 5000, 36_000, 100_000];

/// Fills `out` and checks the blocks: all there, apart from each other and from `others`, and counted.
fn batch(arena: &Arena, holder: &Column<'_>, size: usize, count: usize, others: &[NonNull<u8>]) -> Vec<NonNull<u8>> {
    let before = arena.metrics();
    let mut out = vec![null_mut(); count];
    assert_eq!(holder.alloc_batch(size, 0, engram::SpikeTime::NONE, &mut out), count);
    let blocks: Vec<_> = out.into_iter().map(|p| NonNull::new(p).expect("served")).collect();
    let mut all: Vec<_> = blocks.iter().chain(others).map(|p| p.addr().get()).collect();
    all.sort_unstable();
    let room = arena.good_size(size).expect("a size that there is");
    assert!(all.windows(2).all(|pair| pair[1] - pair[0] >= room), "{size}: two blocks at one place");
    let after = arena.metrics();
    assert_eq!((after.allocs - before.allocs, after.frees - before.frees), (count as u64, 0), "{size}");
    arena.verify().expect("every invariant holds");
    blocks
}

fn free(arena: &Arena, holder: &Column<'_>, block: NonNull<u8>, by_other: bool) {
    // SAFETY: the test's own block, forgotten.
    let freed = if by_other { unsafe { arena.free(block) } } else { unsafe { holder.free(block) } };
    freed.expect("it is handed out");
}

#[test]
fn each_free_slot_is_given_once_whatever_keeps_it() {
    let mut random = Random(5);
    for size in SIZES {
        let arena = arena(128 << 20);
        let holder = held(&arena, 1);
        let mut live: Vec<NonNull<u8>> = Vec::new();
        for round in 0..40 {
            let count = random.below(if size < 5000 { 700 } else { 30 });
            let blocks = batch(&arena, &holder, size, count, &live);
            live.extend(blocks);
            let keep = random.below(100);
            live.retain(|&block| {
                let kept = random.below(100) < keep;
                if !kept {
                    free(&arena, &holder, block, round % 3 == 0 && random.below(2) == 0);
                }
                kept
            });
            arena.verify().expect("every invariant holds");
        }
        for block in live.drain(..) {
            free(&arena, &holder, block, false);
        }
        arena.verify().expect("every invariant holds");
    }
}

#[test]
fn what_a_batch_leaves_of_a_span_is_given_next() {
    for size in [16, 64, 500, 1000, 4096] {
        let arena = arena(16 << 20);
        let holder = held(&arena, 0);
        // Less than a span has, so that a part of it is left, and of its last unit too.
        let mut live = batch(&arena, &holder, size, (32 << 10) / size * 2 / 3 - 1, &[]);
        let span = |block: &NonNull<u8>| block.addr().get() >> 15;
        let first = span(&live[0]);
        for _ in 0..3 {
            let more = batch(&arena, &holder, size, 1, &live);
            assert_eq!(span(&more[0]), first, "{size}: from another span while the first has slots");
            live.extend(more);
        }
    }
}

#[test]
fn a_batch_that_is_refused_in_part_gives_what_there_is() {
    for size in SIZES {
        let arena = arena(2 << 20);
        let holder = held(&arena, 0);
        let room = arena.good_size(size).expect("a size that there is");
        let mut out = vec![null_mut(); (3 << 20) / room];
        let served = holder.alloc_batch(size, 0, engram::SpikeTime::NONE, &mut out);
        assert!(served * room > (2 << 20) * 3 / 4 && served * room <= 2 << 20, "{size}: {served}");
        assert!(out[..served].iter().all(|p| !p.is_null()) && out[served..].iter().all(|p| p.is_null()));
        assert!(matches!(holder.last_error(), engram::Error::NoMemory { .. }), "{:?}", holder.last_error());
        assert_eq!((arena.metrics().allocs, arena.metrics().failed), (served as u64, 1));
        arena.verify().expect("every invariant holds");
    }
}
