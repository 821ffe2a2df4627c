use super::*;
use crate::{Arena, ColumnId, SpikeTime};

#[test]
fn a_snapshot_has_no_more_than_the_capacity_though_spans_were_counted_twice() {
    let arena = Arena::builder().capacity(2 << 20).columns(2).build().unwrap();
    let metrics = arena.core.metrics_of(Counts::default(), 65, 65 << 15, 65 << 15);
    assert_eq!([metrics.bytes_committed, metrics.bytes_live, metrics.bytes_peak], [2 << 20; 3]);
}

/// A free that is held back and is pushed while a snapshot is taken. Seen with: what is held back read before the cells, and no
/// `told_frees`; without the latter alone, in one run of five.
#[test]
fn neither_frees_nor_allocations_fall_from_one_snapshot_to_the_next() {
    const TIMES: u64 = if cfg!(miri) { 20 } else { 300_000 };
    let arena = Arena::builder().capacity(2 << 20).columns(1).build().unwrap();
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            for _ in 0..TIMES {
                // Each time the free is pushed when the column is released.
                let column = arena.column(ColumnId::new(0)).unwrap();
                let block = column.alloc(64, 16, SpikeTime::NONE).unwrap();
                // SAFETY: nothing uses the block afterwards.
                unsafe { column.free(block) }.unwrap();
            }
        });
        let mut before = Metrics::default();
        while !holder.is_finished() {
            let now = arena.metrics();
            assert!(now.frees >= before.frees && now.allocs >= before.allocs, "{before:?} and then {now:?}");
            before = now;
        }
    });
    let over = arena.metrics();
    assert_eq!((over.allocs, over.frees), (TIMES, TIMES));
}

/// Seen with: no `away_bytes` in a look.
#[test]
fn what_the_holder_of_another_column_frees_is_live_no_more() {
    let arena = Arena::builder().capacity(8 << 20).columns(3).build().unwrap();
    let [ours, theirs, third] = [0, 1, 2].map(|index| arena.column(ColumnId::new(index)).unwrap());
    let blocks: Vec<_> = (0..400).map(|_| ours.alloc(64, 16, SpikeTime::NONE).unwrap()).collect();
    let other = third.alloc(100_000, 16, SpikeTime::NONE).unwrap();
    let rest = arena.metrics().bytes_live - 400 * 64;
    for (freed, &block) in (1..).zip(&blocks) {
        // SAFETY: nothing uses the block afterwards.
        unsafe { theirs.free(block) }.unwrap();
        assert_eq!(arena.metrics().bytes_live, (400 - freed) * 64 + rest);
    }
    // SAFETY: as above.
    unsafe { theirs.free(other) }.unwrap();
    assert_eq!(arena.metrics().bytes_live, 0);
    drop(theirs);
    assert_eq!(arena.metrics().bytes_live, 0);
}
/// Seen with: none told.
#[test]
fn what_had_to_be_tried_again_is_told() {
    let arena = Arena::builder().capacity(2 << 20).columns(1).build().unwrap();
    arena.core.count_retries(3);
    assert_eq!(arena.metrics().retries, 3);
}
