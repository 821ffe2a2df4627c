//! Frees by threads that do not hold the column, against its holder.

use std::sync::Arc;

use super::fixture::{Arena, Holder, block, check};
use crate::column::remote::{hand_slot_over, hand_slot_over_at_once};
use crate::map::Granule;
use crate::sync::AtomicU32;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use loom::thread;

/// A double free that is believed because the holder is just taking the block back.
/// Seen with: the live bit tested before the remote bit in `is_live`; `collect` clearing the remote bits first.
#[test]
fn a_block_that_another_thread_freed_is_not_freed_again_while_it_is_collected() {
    check(3, || {
        let arena = Arena::new([1, 0]);
        let other = {
            let arena = arena.clone();
            thread::spawn(move || {
                assert!(arena.free(block(0, 0)));
                assert!(!arena.free(block(0, 0)), "freed twice");
            })
        };
        let mut holder = Holder::new(&arena, 0);
        holder.accept();
        holder.collect();
        other.join().unwrap();
    });
}

/// The same of a block that is taken back with its unit, whose first block is handed over.
/// Seen with: the remote bits cleared relaxed in `collect_and_give`, by a read-modify-write or by a store.
#[test]
fn a_block_that_another_thread_freed_is_not_freed_again_while_its_unit_is_taken_back() {
    check(3, || {
        let arena = Arena::new([3, 0]);
        let other = {
            let arena = arena.clone();
            thread::spawn(move || {
                assert!(arena.free(block(0, 0)));
                assert!(arena.free(block(0, 1)));
                assert!(!arena.free(block(0, 1)), "freed twice");
            })
        };
        let mut holder = Holder::new(&arena, 0);
        holder.accept();
        holder.collect_and_give();
        other.join().unwrap();
    });
}

/// Two threads free a block each while the holder accepts and collects.
fn two_freers(live: [u64; 2], blocks: [(u64, u64); 2]) {
    check(2, move || {
        let arena = Arena::new(live);
        let others = blocks.map(|(word, bit)| {
            let arena = arena.clone();
            thread::spawn(move || assert!(arena.free(block(word, bit))))
        });
        let mut holder = Holder::new(&arena, 0);
        holder.accept();
        holder.collect();
        for other in others {
            other.join().unwrap();
        }
        holder.take_the_rest();
        assert_eq!(holder.freed, live, "a slot that is lost");
        for word in 0..2 {
            assert_eq!(arena.live[word].load(Relaxed) | arena.remote[word].load(Relaxed), 0);
        }
    });
}

/// A slot that is lost because the other's announcement seemed to cover it, or taken back twice.
/// Seen with: `collect` clearing the whole live word.
#[test]
fn what_two_threads_free_in_one_word_comes_back_once() {
    two_freers([3, 0], [(0, 0), (0, 1)]);
}

/// Two threads free a block each while the holder hands one of them over; its next owner frees it again, or keeps it.
fn one_is_handed_over(live: [u64; 2], hand_over: fn(&mut Holder) -> Option<Granule>, again: bool) {
    check(2, move || {
        let arena = Arena::new(live);
        let others = [block(0, 0), if live[1] == 0 { block(0, 1) } else { block(1, 0) }].map(|granule| {
            let arena = arena.clone();
            thread::spawn(move || assert!(arena.free(granule)))
        });
        let mut holder = Holder::new(&arena, 0);
        holder.accept();
        let given = hand_over(&mut holder);
        if let (Some(granule), true) = (given, again) {
            assert!(arena.free(granule), "its next owner's free");
        }
        for other in others {
            other.join().unwrap();
        }
        holder.take_the_rest();
        for word in 0..2 {
            let given = given.filter(|given| !again && given.word() == block(word as u64, 0).word());
            let kept = given.map_or(0, Granule::bit);
            assert_eq!(holder.freed[word], live[word] & !kept, "a slot that is lost");
            assert_eq!((arena.live[word].load(Relaxed), arena.remote[word].load(Relaxed)), (kept, 0));
        }
    });
}

/// A block that is lost because its unit seemed to have no more.
/// Seen with: `hand_over` saying that there is no more.
#[test]
fn what_else_was_freed_in_the_unit_of_a_block_that_is_handed_over_is_not_lost() {
    one_is_handed_over([3, 0], Holder::hand_over, false);
}

/// A free that is lost, or refused, because the block was just handed over.
/// Seen with: `hand_over` clearing all remote bits of the word.
#[test]
fn a_block_that_is_handed_over_can_be_freed_again() {
    one_is_handed_over([3, 0], Holder::hand_over, true);
}

/// The same where all of the unit is taken back, and its first block handed over.
/// Seen with: `collect_and_give` saying that there is no more, or clearing the remote bits by a store whatever else is live.
#[test]
fn what_is_freed_while_a_unit_is_taken_back_and_its_first_block_handed_over_is_not_lost() {
    one_is_handed_over([3, 0], Holder::collect_and_give, false);
}

/// A free that is refused because the block was just taken back.
/// Seen with: `collect_and_give` clearing the first block's live bit with the others.
#[test]
fn the_first_block_of_a_unit_that_is_taken_back_can_be_freed_again() {
    one_is_handed_over([3, 0], Holder::collect_and_give, true);
}

/// The same where a unit is one slot: whether its bit was set is all that is looked at.
/// Seen with: `hand_slot_over` leaving the remote bit.
#[test]
fn a_slot_that_is_handed_over_is_not_lost_and_can_be_freed_again() {
    one_is_handed_over([1, 1], Holder::hand_slot_over, false);
    one_is_handed_over([1, 1], Holder::hand_slot_over, true);
}

/// A free that is lost because another slot of its word is handed over at that moment.
/// Seen with: `hand_slot_over_at_once` clearing the bit by a store whatever else is live.
#[test]
fn what_is_freed_beside_a_slot_that_is_handed_over_is_not_lost() {
    check(3, || {
        let arena = Arena::new([3, 0]);
        assert!(arena.free(block(0, 0)));
        let other = {
            let arena = arena.clone();
            thread::spawn(move || assert!(arena.free(block(0, 1))))
        };
        let (live, remote) = (&arena.live[0], &arena.remote[0]);
        assert!(hand_slot_over_at_once(live, remote, 0) || hand_slot_over(remote, 0));
        other.join().unwrap();
        assert_eq!((live.load(Relaxed), remote.load(Relaxed)), (3, 2));
    });
}

/// The same across units: a unit that is announced while the span is on its way.
/// Seen with: `Pending::announce` looking at the flag before it sets the units; `Pending::take` taking the
/// units before it clears the flag.
#[test]
fn what_two_threads_free_in_two_words_comes_back_once() {
    two_freers([1, 1], [(0, 0), (1, 0)]);
}

/// The holder's plain store to a live word that undoes a free by another thread, or loses its own.
/// Seen with: `collect` clearing the whole live word.
#[test]
fn the_holder_frees_other_blocks_of_a_word_that_others_free_in() {
    check(3, || {
        let arena = Arena::new([0b1111, 0]);
        let other = {
            let arena = arena.clone();
            thread::spawn(move || assert!(arena.free(block(0, 0))))
        };
        let mut holder = Holder::new(&arena, 0);
        assert!(holder.free(block(0, 1)));
        holder.accept();
        assert!(holder.free(block(0, 2)));
        holder.collect();
        other.join().unwrap();
        holder.take_the_rest();
        assert_eq!(holder.freed[0], 1);
        // Bit 2 is held back, bit 3 was never freed.
        assert_eq!(arena.live[0].load(Relaxed), 0b1100);
        assert_eq!(arena.hold[0].load(Relaxed), block(0, 2).0);
    });
}

/// A double free that is believed because the holder is just holding another block back instead.
/// Seen with: the live bit tested before the held block in `is_live`; the hold changed before the
/// live bit is cleared in `hold_instead`.
#[test]
fn a_block_that_the_holder_freed_is_not_freed_again_by_another_thread() {
    check(3, || {
        let arena = Arena::new([3, 0]);
        let mut holder = Holder::new(&arena, 0);
        assert!(holder.free(block(0, 0)));
        let other = {
            let arena = arena.clone();
            thread::spawn(move || assert!(!arena.free(block(0, 0)), "freed twice"))
        };
        assert!(holder.free(block(0, 1)));
        holder.accept();
        holder.collect();
        other.join().unwrap();
        assert!(!holder.accept(), "a refused free changes nothing");
        assert_eq!(arena.remote[0].load(Relaxed), 0);
    });
}

/// A double free by the holder whose fast path did not notice that others freed blocks of the span.
/// Seen with: no `mark_seen` in `RemoteFree::free`.
#[test]
fn a_block_that_another_thread_freed_is_not_freed_again_by_the_holder() {
    check(3, || {
        let arena = Arena::new([3, 0]);
        let done = Arc::new(AtomicU32::new(0));
        let other = {
            let (arena, done) = (arena.clone(), done.clone());
            thread::spawn(move || {
                assert!(arena.free(block(0, 0)));
                done.store(1, Release);
            })
        };
        let mut holder = Holder::new(&arena, 0);
        for step in 0..3 {
            match step {
                0 => {
                    holder.accept();
                }
                1 => holder.collect(),
                _ => assert!(holder.free(block(0, 1))),
            }
            if done.load(Acquire) == 1 {
                assert!(!holder.free(block(0, 0)), "freed twice");
            }
        }
        other.join().unwrap();
        assert!(!holder.free(block(0, 0)), "freed twice");
        holder.take_the_rest();
        assert_eq!(holder.freed[0], 1);
    });
}
