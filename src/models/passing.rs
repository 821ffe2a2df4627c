//! Chunks on their way: who looks while one is in nobody's hands looks again.

use std::sync::Arc;

use super::fixture::check;
use crate::span::{ASKS, Passings};
use crate::sync::AtomicU64;
use crate::sync::Ordering::{AcqRel, Relaxed, Release};
use loom::thread;

/// A chunk that is free all the time, but for its way from one hand to the next, is found, or was on its way each time.
/// Seen with: `begun` read again by a relaxed load; counted after the chunk was hidden; `ended` counted before it has come.
#[test]
fn a_chunk_that_is_free_is_overlooked_only_while_it_is_on_its_way() {
    check(3, || {
        let (passings, map) = (Arc::new(Passings::new()), Arc::new(AtomicU64::new(1)));
        let other = {
            let (passings, map) = (passings.clone(), map.clone());
            thread::spawn(move || {
                passings.pass(|| {
                    map.swap(0, AcqRel);
                    map.store(1, Release);
                });
            })
        };
        let mut asked = 0;
        let found = passings.ask(|| {
            asked += 1;
            (map.load(Relaxed) == 1).then_some(())
        });
        assert!(found.is_some() || asked == ASKS, "it was refused after {asked}");
        other.join().unwrap();
    });
}
