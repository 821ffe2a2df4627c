//! What a snapshot reads of counters that others are counting in.
//!
//! The counters of a column need its tables, which no model has; the orders here are those of
//! `Core::free_for` and `Core::add_column`.

use std::sync::Arc;

use super::fixture::check;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use loom::thread;

/// A snapshot with more frees than allocations.
/// Seen with: the free counted relaxed; the frees read relaxed; the allocations read first.
#[test]
fn a_snapshot_shows_no_free_without_its_allocation() {
    check(3, || {
        let counts = Arc::new([0, 0, 0].map(AtomicU64::new));
        let giver = {
            let counts = counts.clone();
            thread::spawn(move || {
                let [allocs, _, block] = &*counts;
                allocs.fetch_add(1, Relaxed);
                // The program hands the block to the other thread.
                block.store(1, Release);
            })
        };
        let freer = {
            let counts = counts.clone();
            thread::spawn(move || {
                let [_, frees, block] = &*counts;
                if block.load(Acquire) == 1 {
                    frees.fetch_add(1, Release);
                }
            })
        };
        let [allocs, frees, _] = &*counts;
        let frees = frees.load(Acquire);
        let allocs = allocs.load(Relaxed);
        assert!(frees <= allocs);
        giver.join().unwrap();
        freer.join().unwrap();
    });
}
