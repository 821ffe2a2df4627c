//! A chunk's map: who claims a span owns it.

use std::sync::Arc;

use super::fixture::check;
use crate::map::Owner;
use crate::span::ChunkMap;
use crate::sync::AtomicU32;
use crate::sync::Ordering::Relaxed;
use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};

/// The spans of a claim as bits.
fn run(place: Option<u32>, spans: u32) -> u64 {
    place.map_or(0, |place| (u64::MAX >> (64 - spans)) << place)
}

/// Threads that claim so many spans each.
fn claimers(map: &Arc<ChunkMap>, spans: [u32; 2]) -> [JoinHandle<u64>; 2] {
    spans.map(|spans| {
        let map = map.clone();
        thread::spawn(move || run(map.claim(spans, 1).0, spans))
    })
}

/// Each span of `all` is in one of the runs, or free.
fn each_is_once(map: &ChunkMap, others: [JoinHandle<u64>; 2], mine: u64, all: u64) {
    let [first, second] = others.map(|other| other.join().unwrap());
    assert_eq!((first & second) | (first & mine) | (second & mine), 0, "a span that is claimed twice");
    assert_eq!(first | second | mine | map.free(), all, "a span that is lost");
}

/// A span that is in two runs, or in none and not free either.
/// Seen with: `ChunkMap::try_claim` storing what is left instead of exchanging it.
#[test]
fn runs_that_overlap_are_claimed_once() {
    check(3, || {
        let map = Arc::new(ChunkMap::new(0b1_1111));
        let others = claimers(&map, [3, 2]);
        let mine = run(map.claim(1, 1).0, 1);
        each_is_once(&map, others, mine, 0b1_1111);
    });
}

/// One span that two threads get.
/// Seen with: `ChunkMap::try_claim` storing what is left instead of exchanging it.
#[test]
fn a_span_is_claimed_once() {
    check(3, || {
        let map = Arc::new(ChunkMap::new(0b11));
        let others = claimers(&map, [1, 1]);
        let mine = run(map.claim(1, 1).0, 1);
        let [first, second] = others.map(|other| other.join().unwrap());
        assert_eq!(mine.count_ones() + first.count_ones() + second.count_ones(), 2);
        assert_eq!(mine | first | second, 0b11);
        assert_eq!(map.free(), 0);
    });
}

/// What follows a block that grows, taken by another at the same time.
/// Seen with: `ChunkMap::claim_at` storing what is left instead of exchanging it.
#[test]
fn what_follows_a_block_is_taken_by_it_or_by_another() {
    check(3, || {
        let map = Arc::new(ChunkMap::new(0b1_1110));
        let others = claimers(&map, [3, 1]);
        let mine = run(map.claim_at(1, 2).then_some(1), 2);
        each_is_once(&map, others, mine, 0b1_1110);
    });
}

/// A span whose last owner still writes to it, or wrote what the new owner does not see.
/// Seen with: `ChunkMap::give` relaxed; `ChunkMap::claim` relaxed.
#[test]
fn what_the_last_owner_did_comes_before_what_the_next_one_does() {
    check(3, || {
        let chunk = Arc::new((ChunkMap::new(0), UnsafeCell::new(0)));
        let giver = {
            let chunk = chunk.clone();
            thread::spawn(move || {
                // SAFETY: the giver owns the span until it gives it.
                chunk.1.with_mut(|span| unsafe { *span = 1 });
                chunk.0.give(0, 2);
            })
        };
        let claim = |claimed: Option<u32>| {
            if claimed == Some(0) {
                // SAFETY: the span is ours; loom reports it if the giver's access is not before.
                assert_eq!(chunk.1.with(|span| unsafe { *span }), 1);
            }
        };
        claim(chunk.0.claim(2, 1).0);
        claim(chunk.0.claim(1, 1).0);
        giver.join().unwrap();
    });
}

/// A chunk that is given back to the arena with a span of it in somebody's hands.
/// Seen with: `ChunkMap::claim_all` looking first and storing then.
#[test]
fn a_chunk_is_claimed_whole_or_in_parts_and_not_both() {
    check(3, || {
        let map = Arc::new(ChunkMap::new(u64::MAX));
        let others = claimers(&map, [1, 2]);
        let whole = map.claim_all();
        let [one, two] = others.map(|other| other.join().unwrap());
        assert_eq!(one & two, 0, "a span that is claimed twice");
        if whole {
            assert_eq!((one, two, map.free()), (0, 0, 0), "claimed whole and in parts");
        } else {
            assert_eq!(one | two | map.free(), u64::MAX);
        }
    });
}

/// Chunks that are claimed whole before the last span's owner is done with it.
/// Seen with: `ChunkMap::claim_all` relaxed; `ChunkMap::give_one` relaxed.
#[test]
fn a_whole_chunk_comes_after_its_last_span() {
    check(3, || {
        let chunk = Arc::new((ChunkMap::new(u64::MAX << 1), UnsafeCell::new(0)));
        let giver = {
            let chunk = chunk.clone();
            thread::spawn(move || {
                // SAFETY: the giver owns the span until it gives it.
                chunk.1.with_mut(|span| unsafe { *span = 1 });
                chunk.0.give_one(0);
            })
        };
        if chunk.0.claim_all() {
            // SAFETY: the span is ours; loom reports it if the giver's access is not before.
            assert_eq!(chunk.1.with(|span| unsafe { *span }), 1);
            chunk.0.open(1);
            assert_eq!(chunk.0.free(), u64::MAX << 1);
        }
        giver.join().unwrap();
    });
}

/// A chunk of large blocks that goes to the arena though its column's holder has made it its own, or that nobody has.
/// Seen with: `ChunkMap::disown` believing what `sweep` has seen of the owner before it claimed the chunk.
#[test]
fn what_large_blocks_leave_over_is_adopted_or_swept() {
    check(3, || {
        // The first span is a large block's.
        let chunk = Arc::new((ChunkMap::new(u64::MAX << 1), AtomicU32::new(Owner::large(5).0)));
        let free_large = {
            let chunk = chunk.clone();
            thread::spawn(move || {
                chunk.0.give_one(0);
                chunk.0.free() == u64::MAX && chunk.0.sweep(&chunk.1)
            })
        };
        let (place, _) = chunk.0.claim(1, 1);
        if let Some(place) = place {
            assert!(ChunkMap::adopt(&chunk.1, 5));
            chunk.0.give_one(place);
        }
        let swept = free_large.join().unwrap();
        assert_ne!(swept, place.is_some(), "both have it, or nobody");
        let left = (Owner(chunk.1.load(Relaxed)), chunk.0.free());
        assert_eq!(left, if swept { (Owner::NONE, 0) } else { (Owner::column(5), u64::MAX) });
    });
}
