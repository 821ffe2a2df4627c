//! Shared spans: claims, frees, and the closing of an empty one.

use std::sync::Arc;

use super::fixture::{check, offset};
use crate::column::lease::Lease;
use crate::map::{Owner, PageEntry, set_owned};
use crate::span::{SharedKey, SharedState, claim_bit};
use crate::sync::Ordering::{AcqRel, Relaxed};
use crate::sync::{AtomicU32, AtomicU64};
use loom::cell::UnsafeCell;
use loom::thread;

const KEY: SharedKey = SharedKey { column: 0, cell: 0 };

/// A shared span of two slots, as the column's code uses it.
struct Span {
    page: PageEntry,
    state: SharedState,
    live: AtomicU64,
    /// How often it was closed.
    closed: AtomicU32,
    /// What is in the block of the first slot.
    block: UnsafeCell<u32>,
}

// SAFETY: the block is its owner's alone: loom checks it.
unsafe impl Sync for Span {}

impl Span {
    /// An open span with the slots of `live` taken.
    fn new(live: u64) -> Arc<Self> {
        let span = Self {
            page: PageEntry::new(Owner::shared(0), offset(0)),
            state: SharedState::new(),
            live: AtomicU64::new(live),
            closed: AtomicU32::new(0),
            block: UnsafeCell::new(0),
        };
        span.state.open(KEY, live.count_ones());
        Arc::new(span)
    }

    /// A slot, if the span is shared and has room.
    fn claim(&self) -> Option<u64> {
        if !self.page.owner().is_shared_of(0) || !self.state.reserve(KEY, 2, &mut 0) {
            return None;
        }
        let bit = claim_bit(&self.live, 3, &mut 0).expect("a reservation without a slot");
        assert!(self.page.owner().is_shared_of(0), "a block whose span nobody owns");
        Some(1 << bit)
    }

    /// Frees a slot. True if that closed the span, and the caller owns it.
    fn free(&self, bit: u64) -> bool {
        assert_ne!(self.live.fetch_and(!bit, AcqRel) & bit, 0);
        let closed = self.state.release(1);
        if closed {
            assert_eq!(self.live.load(Relaxed), 0, "closed with blocks in it");
            self.closed.fetch_add(1, Relaxed);
            self.page.set(Owner::NONE, 0);
        }
        closed
    }
}

/// Blocks of another column that a walk shows, because their span was given back and taken anew after it looked whose it is.
/// Seen with: the page entry looked at by a plain load in `still_says`.
#[test]
fn a_walk_shows_no_block_of_a_span_that_was_given_back() {
    check(3, || {
        let span = Span::new(1);
        let other = {
            let span = span.clone();
            thread::spawn(move || {
                if span.free(1) {
                    // As for another column.
                    span.live.fetch_or(2, Relaxed);
                    span.page.set(Owner::shared(1), offset(1));
                }
            })
        };
        // As `Handle::walk` does.
        let entry = span.page.read();
        if entry.owner().is_shared_of(0) {
            let blocks = span.live.load(Relaxed);
            assert!(blocks & 2 == 0 || !span.page.still_says(entry), "a block of the next owner");
        }
        other.join().unwrap();
    });
}

/// A block of a span that seems to be nobody's, because a claimer that came back late finds the span
/// open before it is set up.
/// Seen with: the state opened before the page entries are set, the order of an earlier `alloc_shared`.
#[test]
fn who_claims_a_slot_of_a_span_that_is_opened_can_free_it() {
    check(3, || {
        let span = Span::new(1);
        let claimer = {
            let span = span.clone();
            thread::spawn(move || {
                if let Some(bit) = span.claim() {
                    span.free(bit);
                }
            })
        };
        if span.free(1) {
            // It is taken again, for the same cell.
            span.live.fetch_or(1, Relaxed);
            span.page.set(Owner::shared(0), offset(0));
            span.state.open(KEY, 1);
        }
        claimer.join().unwrap();
    });
}

/// Two claimers that both get the last slot: a reservation too many.
/// Seen with: `SharedState::reserve` not looking at the number of slots.
#[test]
fn the_last_slot_goes_to_one_of_two_claimers() {
    check(3, || {
        let span = Span::new(1);
        let other = {
            let span = span.clone();
            thread::spawn(move || span.claim())
        };
        let mine = span.claim();
        let other = other.join().unwrap();
        assert!(mine.is_some() != other.is_some());
        assert_eq!((span.live.load(Relaxed), span.state.taken()), (3, 2));
    });
}

/// Two claimers that begin at the same slot, and both get it.
/// Seen with: `claim_bit` believing its own look instead of what its read-modify-write returned.
#[test]
fn two_claimers_get_two_slots() {
    check(3, || {
        let span = Span::new(0);
        span.state.open(KEY, 0);
        let other = {
            let span = span.clone();
            thread::spawn(move || span.claim())
        };
        let mine = span.claim().unwrap();
        assert_eq!(mine | other.join().unwrap().unwrap(), 3);
    });
}

/// What the last owner of a slot still does in its block while the next one is at it. (The reservation may be of another slot: it says
/// nothing of this one.)
/// Seen with: the bit claimed relaxed in `claim_bit`.
#[test]
fn the_last_use_of_a_block_comes_before_the_next_owners_first() {
    check(3, || {
        let span = Span::new(1);
        let freer = {
            let span = span.clone();
            thread::spawn(move || {
                // SAFETY: the block is this thread's until it frees it.
                span.block.with_mut(|content| unsafe { *content = 1 });
                span.free(1);
            })
        };
        if span.claim() == Some(1) {
            // SAFETY: the block is ours: the model fails if that is not so.
            span.block.with_mut(|content| unsafe { *content = 2 });
        }
        freer.join().unwrap();
    });
}

/// A reservation whose slot is not there yet: the claimer would spin.
/// Seen with: `SharedState::reserve` relaxed; `release` relaxed.
#[test]
fn a_reservation_made_after_a_free_finds_the_freed_slot() {
    check(3, || {
        let span = Span::new(3);
        let freer = {
            let span = span.clone();
            thread::spawn(move || assert!(!span.free(2)))
        };
        let claimed = span.claim();
        assert!(claimed.is_none_or(|bit| bit == 2));
        freer.join().unwrap();
        assert_eq!(span.live.load(Relaxed), 1 | claimed.unwrap_or(0));
        assert_eq!(span.state.taken(), span.live.load(Relaxed).count_ones());
    });
}

/// An open span that is closed under a claimer, or a closed one that gives a slot.
/// Seen with: `SharedState::release` storing 0 without looking whether somebody reserved meanwhile;
/// `reserve` not looking whether the span is open.
#[test]
fn a_span_is_closed_or_claimed_from_and_not_both() {
    check(3, || {
        let span = Span::new(1);
        let claimer = {
            let span = span.clone();
            thread::spawn(move || span.claim())
        };
        let closed = span.free(1);
        let claimed = claimer.join().unwrap();
        assert!(closed != claimed.is_some());
        assert_eq!(span.state.is_open_for(KEY), !closed);
        if let Some(bit) = claimed {
            assert!(span.free(bit), "the last one closes it");
        }
        assert!(span.claim().is_none(), "a slot of a closed span");
    });
}

/// An empty span that nobody gives back, or two threads do.
/// Seen with: `SharedState::release` never closing; closing without the compare-and-swap.
#[test]
fn an_empty_span_is_closed_once() {
    check(3, || {
        let span = Span::new(3);
        let others = [1, 2].map(|bit| {
            let span = span.clone();
            thread::spawn(move || span.free(bit))
        });
        let mine = span.claim().is_some_and(|bit| span.free(bit));
        let closed = others.into_iter().map(|other| other.join().unwrap()).fold(u32::from(mine), |sum, one| sum + u32::from(one));
        assert_eq!(closed, 1);
        assert_eq!(span.closed.load(Relaxed), 1);
    });
}

/// A slot that is given by the holder's plain stores and by a claimer too, when the lease changes hands.
/// Seen with: `Lease::give_back` relaxed; `Lease::try_take` relaxed.
#[test]
fn with_the_lease_or_without_each_block_is_given_once() {
    check(3, || {
        let span = Span::new(0);
        span.state.open(KEY, 0);
        let column = Arc::new((Lease::new(), AtomicU64::new(0), span));
        let alloc = |column: &(Lease, AtomicU64, Arc<Span>)| {
            let (lease, live, span) = column;
            if !lease.try_take() {
                return span.claim().unwrap();
            }
            let bit = 1 << live.load(Relaxed).trailing_ones();
            set_owned(live, bit);
            lease.give_back();
            bit << 8
        };
        let others = [(); 2].map(|()| {
            let column = column.clone();
            thread::spawn(move || alloc(&column))
        });
        let mut given = alloc(&column);
        for other in others {
            let block = other.join().unwrap();
            assert_eq!(given & block, 0, "a block that is given twice");
            given |= block;
        }
        assert_eq!(given, column.1.load(Relaxed) << 8 | column.2.live.load(Relaxed));
    });
}
