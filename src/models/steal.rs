//! Thieves of empty spans, against the holder, who frees, and each other.

use std::sync::Arc;

use super::fixture::{Arena, Holder, SPAN, block, check, offset};
use crate::column::remote::clear;
use crate::map::{Entry, Owner, SpanId, set_owned};
use crate::span::{Inbox, Parked, Pending};
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
use loom::thread::{self, JoinHandle};

/// What a span looks like that somebody took away: nobody's, without blocks.
fn assert_gone(arena: &Arena) {
    assert!(arena.page.owner() == Owner::NONE, "a span of two owners");
    for word in 0..2 {
        assert_eq!(arena.live[word].load(Relaxed) | arena.remote[word].load(Relaxed), 0, "a block in a span that is given back");
    }
}

/// A thief at column 0: whether it took the span away.
fn thief(arena: &Arc<Arena>) -> JoinHandle<bool> {
    let arena = arena.clone();
    thread::spawn(move || arena.steal(0))
}

/// A span that a thief takes away while the holder takes back what it has accepted of it.
/// Seen with: `accept` not setting "busy"; setting it after `Pending::take`; the holder clearing it relaxed, or
/// the thief looking at it relaxed; `is_empty` not looking at it; `steal` taking the pending units before it
/// is sure.
#[test]
fn a_span_is_taken_away_or_taken_back_and_not_both() {
    check(2, || {
        let arena = Arena::new([3, 0]);
        assert!(arena.free(block(0, 0)));
        let other = {
            let arena = arena.clone();
            thread::spawn(move || assert!(arena.free(block(0, 1))))
        };
        let thief = thief(&arena);
        let mut holder = Holder::new(&arena, 0);
        holder.accept();
        holder.collect();
        other.join().unwrap();
        let stolen = thief.join().unwrap();
        holder.take_the_rest();
        assert_eq!(holder.freed[0], if stolen { 0 } else { 3 }, "a slot that is lost, or given twice");
        if stolen {
            assert_gone(&arena);
        } else {
            assert!(arena.page.owner().is_column(0));
        }
        assert!(arena.pending.is_quiet());
    });
}

/// The same across units, one of which is waiting while the other is announced.
/// Seen with: `accept` not setting "busy"; the holder clearing it relaxed; `is_empty` not looking at it.
#[test]
fn a_span_with_units_that_wait_is_not_taken_away() {
    check(2, || {
        let arena = Arena::new([1, 1]);
        assert!(arena.free(block(0, 0)));
        let mut holder = Holder::new(&arena, 0);
        assert!(holder.accept());
        assert!(arena.free(block(1, 0)));
        let thief = {
            let arena = arena.clone();
            thread::spawn(move || assert!(!arena.steal(0), "a span with a unit that waits"))
        };
        holder.collect();
        holder.accept();
        thief.join().unwrap();
        holder.take_the_rest();
        assert_eq!(holder.freed, [1, 1], "a slot that is lost");
    });
}

/// A span whose slots are handed out again after the holder took them back, and freed again: taken away in
/// this life or not, no free is lost and none is believed twice.
/// Seen with: `Inbox::take` storing instead of exchanging.
#[test]
fn a_slot_that_was_taken_back_and_given_again_is_in_one_place() {
    check(3, || {
        let arena = Arena::new([1, 0]);
        assert!(arena.free(block(0, 0)));
        let thief = thief(&arena);
        let mut holder = Holder::new(&arena, 0);
        holder.accept();
        holder.collect();
        let again = holder.freed[0] == 1;
        if again {
            assert!(arena.page.owner().is_column(0), "a slot of a span that was taken away");
            holder.freed[0] = 0;
            set_owned(&arena.live[0], 1);
            assert!(arena.free(block(0, 0)), "a block of a span that was taken away");
        }
        let stolen = thief.join().unwrap();
        holder.take_the_rest();
        assert_eq!(holder.freed[0], u64::from(!stolen), "a slot that is lost, or given twice");
        assert!(!stolen || arena.page.owner() == Owner::NONE);
    });
}

/// A double free by the holder that is believed because a thief is just taking the span away.
/// Seen with: `not_given` looking at the live bits before the remote bits; at the remote bits relaxed.
#[test]
fn a_block_that_another_thread_freed_is_not_freed_again_by_the_holder_of_a_span_that_is_taken_away() {
    check(3, || {
        let arena = Arena::new([1, 0]);
        assert!(arena.free(block(0, 0)));
        let thief = thief(&arena);
        let mut holder = Holder::new(&arena, 0);
        assert!(!holder.free(block(0, 0)), "freed twice");
        assert!(thief.join().unwrap());
        assert_gone(&arena);
    });
}

/// A span with a block in it that is freed just now.
/// Seen with: `is_empty` looking at the live bits alone; at the first unit alone; `steal` not clearing the maps.
#[test]
fn a_span_is_taken_away_after_its_last_block_is_freed() {
    check(3, || {
        let arena = Arena::new([1, 1]);
        assert!(arena.free(block(0, 0)));
        let other = {
            let arena = arena.clone();
            thread::spawn(move || assert!(arena.free(block(1, 0)), "a block in a span that was taken away"))
        };
        let stolen = arena.steal(0);
        other.join().unwrap();
        assert_ne!(stolen, arena.steal(0), "a span that is lost, or taken twice");
        assert_gone(&arena);
    });
}

/// A span that a reset frees while a thief takes it away; or a thief that comes back late to a span that was
/// reset, and takes it away with the blocks of its next life.
/// Seen with: `begin_reset` storing its mark instead of comparing; not looking whose the span is; leaving the
/// claim; leaving no mark; `claim` of a span that is being reset; `take_claimed` as a plain store; `steal`
/// claiming after it has looked, and not before.
#[test]
fn a_span_is_taken_away_or_reset_and_not_both() {
    check(3, || {
        let arena = Arena::new([3, 0]);
        assert!(arena.free(block(0, 0)) && arena.free(block(0, 1)));
        let thief = thief(&arena);
        let reset = arena.page.begin_reset(0);
        if reset {
            assert_eq!(clear(&arena.live[0], &arena.remote[0]), 0);
            arena.page.end_reset();
            // Handed out again, and freed by others but for one.
            set_owned(&arena.live[0], 1);
            set_owned(&arena.live[0], 2);
            assert!(arena.free(block(0, 0)), "a block of a span that was taken away");
        }
        let stolen = thief.join().unwrap();
        assert_ne!(stolen, reset, "a span that nobody has, or two");
        if stolen {
            assert_gone(&arena);
        } else {
            assert_eq!(arena.live[0].load(Relaxed), 3, "a block that is lost");
            assert!(arena.page.owner().is_column(0) && !arena.steal(0));
            assert!(arena.free(block(0, 1)) && arena.steal(0));
        }
    });
}

/// A span that two thieves get.
/// Seen with: `Inbox::take` storing instead of exchanging; `steal` taking the pending units before it is sure.
#[test]
fn one_of_two_thieves_gets_the_span() {
    check(2, || {
        let arena = Arena::new([3, 0]);
        assert!(arena.free(block(0, 0)));
        let thieves = [(); 2].map(|()| {
            let arena = arena.clone();
            thread::spawn(move || arena.steal(0))
        });
        assert!(arena.free(block(0, 1)));
        let stolen = thieves.into_iter().fold(0, |stolen, thief| stolen + u32::from(thief.join().unwrap()));
        let rest = u32::from(arena.steal(0));
        assert_eq!(stolen + rest, 1, "a span that is lost, or taken twice");
        assert_gone(&arena);
    });
}

/// A span that was taken away before its last free was announced, and has a next owner, of whom
/// something is freed: it must not rest in an inbox of its former column, where its next owner hears of nothing.
/// Seen with: the freer pushing onto the inbox of whose the block was, without another look; `steal` clearing
/// "queued" before it has the span, or never; `pass_on` doing nothing.
#[test]
fn nothing_of_the_next_owner_is_lost_when_the_last_free_is_announced_late() {
    check(3, || {
        let arena = Arena::new([3, 0]);
        assert!(arena.free(block(0, 0)));
        let late = {
            let arena = arena.clone();
            thread::spawn(move || assert!(arena.free(block(0, 1))))
        };
        let mut second = Holder::new(&arena, 1);
        let stolen = arena.steal(0);
        if stolen {
            arena.page.set(Owner::column(1), offset(1));
            set_owned(&arena.live[1], 1);
            assert!(arena.free(block(1, 0)));
            second.accept();
        }
        late.join().unwrap();
        if stolen {
            assert!(arena.inbox[0].is_empty(), "a span that waits for a holder who rests");
            second.take_the_rest();
            assert_eq!(second.freed, [0, 1], "a block that is lost");
        } else {
            assert!(arena.steal(0));
        }
        assert_eq!(arena.remote[0].load(Relaxed) | arena.remote[1].load(Relaxed), 0);
    });
}

/// The same with the span inside a run by then, of the same cell: taken away, or given back by the holder
/// who collected the block before it was announced. Who finds the span must not list it, or pass it on
/// for ever.
/// Seen with: `is_of` not looking at the head; `pass_on` not looking at it; `accept` setting "busy" of spans
/// that are not its own.
#[test]
fn a_late_announcement_of_a_span_inside_a_run_is_dropped() {
    for by_thief in [true, false] {
        check(3, move || {
            let arena = Arena::new([3, 0]);
            assert!(arena.free(block(0, 0)));
            let mut holder = Holder::new(&arena, 0);
            if !by_thief {
                assert!(holder.accept());
            }
            let late = {
                let arena = arena.clone();
                thread::spawn(move || assert!(arena.free(block(0, 1))))
            };
            let gone = if by_thief {
                arena.steal(0)
            } else {
                holder.collect();
                holder.freed[0] == 3
            };
            if gone {
                // The second span of a run.
                arena.page.set(Owner::NONE, 0);
                arena.page.write(Entry::new(Owner::column(0), offset(0)).after(1));
            }
            holder.accept();
            late.join().unwrap();
            let mut accepted = 0;
            while holder.accept() {
                accepted += 1;
                assert!(accepted <= 2, "a span that comes again and again");
            }
            if gone {
                assert!(!holder.is_waiting() && arena.busy.load(Relaxed) == 0, "a listed span in a run");
                assert!(arena.pending.is_quiet());
            } else {
                holder.take_the_rest();
                assert_eq!(holder.freed[0], 3);
            }
        });
    }
}

/// Units of a former span that the holder believes to be its own, because the span was taken away and has
/// a new owner between two looks.
/// Seen with: the owner looked at by a plain load in `is_still`; before the summary.
#[test]
fn the_holder_does_not_use_a_span_that_was_taken_away() {
    check(3, || {
        let arena = Arena::new([1, 0]);
        assert!(arena.free(block(0, 0)));
        let summary = Arc::new(AtomicU64::new(0));
        let thief = {
            let (arena, summary) = (arena.clone(), summary.clone());
            thread::spawn(move || {
                if arena.steal(0) {
                    // As whoever sets a span up does.
                    summary.store(2, Relaxed);
                    arena.page.set(Owner::column(1), offset(1));
                }
            })
        };
        // As `rest_of_word_span` does.
        if arena.page.owner().is_column(0) {
            assert!(summary.load(Relaxed) == 0 || !arena.page.is_still(0), "units of the next owner");
        }
        thief.join().unwrap();
    });
}

/// Three spans of one cell, their inbox, and the place for chains.
struct Spans {
    pending: [Pending; 3],
    inbox: Inbox,
    parked: Parked,
}

impl Spans {
    fn pending(&self, span: SpanId) -> &Pending {
        &self.pending[span.index() - 1]
    }

    fn push(&self, span: SpanId) {
        assert!(self.pending(span).announce(1), "a span that is queued");
        self.inbox.push(span, self.pending(span));
    }

    /// A thief's walk that takes every span away; returns how many. As `Core::rob` and `Core::leave`.
    fn rob(&self, mut chain: SpanId, leave: impl Fn(SpanId)) -> u32 {
        let mut spans = 0;
        while chain != SpanId::NONE {
            let Some(rest) = self.pending(chain).unlink() else {
                leave(chain);
                return spans;
            };
            assert_eq!(self.pending(chain).take(), 1, "a span that comes twice");
            spans += 1;
            chain = rest;
        }
        spans
    }

    fn leave(&self, rest: SpanId) {
        if !self.inbox.put_back(rest) {
            self.parked.park(rest, self.pending(rest));
        }
    }

    fn steal(&self) -> u32 {
        let mut spans = 0;
        let mut rest = self.parked.take();
        while rest != SpanId::NONE {
            let next = Parked::after(self.pending(rest));
            spans += self.rob(rest, |rest| self.leave(rest));
            rest = next;
        }
        spans + self.rob(self.inbox.take(), |rest| self.leave(rest))
    }
}

/// Chains that are lost behind a span that was not linked yet when a thief came upon it.
/// Seen with: `put_back` storing instead of comparing; what does not go back dropped.
#[test]
fn no_chain_is_lost_behind_a_span_that_is_not_linked() {
    check(3, || {
        let spans = Arc::new(Spans { pending: [(); 3].map(|()| Pending::new()), inbox: Inbox::new(), parked: Parked::new() });
        spans.push(SpanId(1));
        let others = [2, 3].map(|span| {
            let spans = spans.clone();
            thread::spawn(move || spans.push(SpanId(span)))
        });
        let mut stolen = spans.steal();
        stolen += spans.steal();
        for other in others {
            other.join().unwrap();
        }
        stolen += spans.steal();
        assert_eq!(stolen, 3, "a span that is lost");
        assert!(spans.pending.iter().all(Pending::is_quiet) && spans.inbox.is_empty());
    });
}

/// The same with two thieves that park at the same time.
/// Seen with: `park` storing instead of comparing; forgetting what was parked before.
#[test]
fn two_thieves_park_without_losing_a_chain() {
    check(2, || {
        let spans = Arc::new(Spans { pending: [(); 3].map(|()| Pending::new()), inbox: Inbox::new(), parked: Parked::new() });
        for span in 1..3 {
            assert!(spans.pending(SpanId(span)).announce(1));
        }
        let thieves = [1, 2].map(|span| {
            let spans = spans.clone();
            thread::spawn(move || spans.parked.park(SpanId(span), spans.pending(SpanId(span))))
        });
        let count = |spans: &Spans| {
            let mut chain = spans.parked.take();
            let mut count = 0;
            while chain != SpanId::NONE {
                chain = Parked::after(spans.pending(chain));
                count += 1;
            }
            count
        };
        let parked = count(&spans);
        for thief in thieves {
            thief.join().unwrap();
        }
        assert_eq!(parked + count(&spans), 2, "a chain that is lost, or parked twice");
    });
}
