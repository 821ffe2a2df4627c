//! The inbox of a cell: spans on their way to the holder.

use std::sync::Arc;

use super::fixture::{Arena, Holder, block, check, offset};
use crate::map::{Owner, SpanId, set_owned};
use crate::span::{Inbox, Pending};
use crate::sync::Ordering::Relaxed;
use loom::thread;

/// A late announcement puts a span into the inbox of its last owner; what was freed of it since it has
/// a new owner would wait for ever.
/// Seen with: `pass_on` doing nothing.
#[test]
fn nothing_of_a_span_s_next_owner_is_lost_when_it_is_found_in_the_inbox_of_the_last() {
    check(3, || {
        let arena = Arena::new([3, 0]);
        // The first block of the unit is freed and its unit is waiting.
        assert!(arena.free(block(0, 0)));
        let mut first = Holder::new(&arena, 0);
        assert!(first.accept());
        let late = {
            let arena = arena.clone();
            thread::spawn(move || assert!(arena.free(block(0, 1))))
        };
        let mut second = Holder::new(&arena, 1);
        let mut given = false;
        first.collect();
        if first.freed[0] == 3 {
            // Empty: the next owner takes it, and one of its blocks is freed by another.
            given = true;
            arena.page.set(Owner::NONE, 0);
            arena.page.set(Owner::column(1), offset(1));
            set_owned(&arena.live[1], 1);
            assert!(arena.free(block(1, 0)));
            first.accept();
            second.accept();
        }
        late.join().unwrap();
        if given {
            while first.accept() {}
            second.take_the_rest();
            assert_eq!(second.freed[1], 1, "a block that is lost");
            assert_eq!(arena.remote[1].load(Relaxed), 0);
        } else {
            first.take_the_rest();
            assert_eq!(arena.live[0].load(Relaxed), 0);
        }
    });
}

/// The same with the next owner at work at the same time: what was announced for it is passed on to it, and
/// not to whom the span belonged before.
/// Seen with: `pass_on` doing nothing.
#[test]
fn nothing_of_a_span_s_next_owner_is_lost_while_the_last_one_finds_it() {
    check(2, || {
        let arena = Arena::new([3, 0]);
        assert!(arena.free(block(0, 0)));
        let mut first = Holder::new(&arena, 0);
        assert!(first.accept());
        let late = {
            let arena = arena.clone();
            thread::spawn(move || assert!(arena.free(block(0, 1))))
        };
        first.collect();
        if first.freed[0] != 3 {
            // Not empty yet: the model above.
            late.join().unwrap();
            return;
        }
        arena.page.set(Owner::NONE, 0);
        let next = {
            let arena = arena.clone();
            thread::spawn(move || {
                arena.page.set(Owner::column(1), offset(1));
                set_owned(&arena.live[1], 1);
                assert!(arena.free(block(1, 0)));
                let mut second = Holder::new(&arena, 1);
                second.accept();
                second
            })
        };
        first.accept();
        late.join().unwrap();
        let mut second = next.join().unwrap();
        while first.accept() {}
        second.take_the_rest();
        assert_eq!(second.freed[1], 1, "a block that is lost");
    });
}

/// Two spans, 1 and 2, and the inbox of their cell.
struct Spans {
    pending: [Pending; 2],
    inbox: Inbox,
}

impl Spans {
    fn new() -> Arc<Self> {
        Arc::new(Self { pending: [Pending::new(), Pending::new()], inbox: Inbox::new() })
    }

    fn pending(&self, span: SpanId) -> &Pending {
        &self.pending[span.index() - 1]
    }

    fn announce(&self, span: SpanId, units: u64) {
        if self.pending(span).announce(units) {
            self.inbox.push(span, self.pending(span));
        }
    }
}

/// Who walks the inbox of [`Spans`].
#[derive(Default)]
struct Walker {
    rest: Option<SpanId>,
    units: [u64; 2],
    steps: u32,
}

impl Walker {
    /// Goes on until nothing is there, or nothing but spans that are not linked yet. True in the first case.
    fn walk(&mut self, spans: &Spans) -> bool {
        let mut unlinked = 0;
        loop {
            let span = self.rest.take().unwrap_or_else(|| spans.inbox.take());
            if span == SpanId::NONE {
                return true;
            }
            let Some(rest) = spans.pending(span).unlink() else {
                let meanwhile = spans.inbox.exchange(span);
                self.rest = (meanwhile != SpanId::NONE).then_some(meanwhile);
                unlinked += 1;
                if self.rest.is_none() || unlinked == 2 {
                    return false;
                }
                continue;
            };
            unlinked = 0;
            self.units[span.index() - 1] |= spans.pending(span).take();
            self.rest = (rest != SpanId::NONE).then_some(rest);
            self.steps += 1;
            assert!(self.steps <= 3, "a span in the inbox that nobody pushed");
        }
    }
}

/// A span that is lost, or comes twice, when others push between the holder's exchange and its walk.
/// Seen with: `Inbox::push` linking a first span to nothing (unlinked) instead of the end.
#[test]
fn a_span_comes_once_however_pushes_and_the_walk_meet() {
    check(3, || {
        let spans = Spans::new();
        let others = [1, 2].map(|span| {
            let spans = spans.clone();
            thread::spawn(move || spans.announce(SpanId(span), 1))
        });
        let mut walker = Walker::default();
        walker.walk(&spans);
        for other in others {
            other.join().unwrap();
        }
        assert!(walker.walk(&spans), "a span that is never linked");
        assert_eq!((walker.units, walker.steps), ([1, 1], 2));
        assert!(spans.pending.iter().all(Pending::is_quiet) && spans.inbox.is_empty());
    });
}

/// A pusher that is interrupted before it links its span hides what was pushed before, and nothing that is pushed after: else a
/// holder would go on to fresh memory for as long as it is interrupted.
/// Seen with: the walker keeping the span in place of `Inbox::exchange`.
#[test]
fn what_is_pushed_after_a_span_that_is_not_linked_is_found() {
    check(3, || {
        let spans = Spans::new();
        let other = {
            let spans = spans.clone();
            thread::spawn(move || spans.announce(SpanId(1), 1))
        };
        let mut walker = Walker::default();
        let interrupted = !walker.walk(&spans);
        spans.announce(SpanId(2), 1);
        walker.walk(&spans);
        assert!(!interrupted || walker.units[1] == 1, "a span that is hidden");
        other.join().unwrap();
        assert!(walker.walk(&spans), "a span that is never linked");
        assert_eq!((walker.units, walker.steps), ([1, 1], 2));
        assert!(spans.pending.iter().all(Pending::is_quiet) && spans.inbox.is_empty());
    });
}

/// Units that are announced while their span is taken out: announced too late for this walk, and not
/// pushed for the next.
/// Seen with: `Pending::take` taking the units before it clears the flag; `announce` looking at the flag
/// before it sets the units; `unlink` leaving the link of a span that it took out.
#[test]
fn a_span_that_was_taken_out_is_pushed_again_for_what_is_announced_after() {
    check(3, || {
        let spans = Spans::new();
        let other = {
            let spans = spans.clone();
            thread::spawn(move || {
                spans.announce(SpanId(1), 1);
                spans.announce(SpanId(2), 1);
                spans.announce(SpanId(1), 2);
            })
        };
        let mut walker = Walker::default();
        walker.walk(&spans);
        other.join().unwrap();
        assert!(walker.walk(&spans), "a span that is never linked");
        assert_eq!(walker.units, [3, 1]);
        assert!(spans.pending.iter().all(Pending::is_quiet) && spans.inbox.is_empty());
    });
}
