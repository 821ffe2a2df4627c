use crate::arena::Arena;
use crate::column::holding::ColumnId;
use crate::error::Error;
use crate::spike::SpikeTime;

/// An announcement with nothing behind it: it came so late that its block was collected before. Seen with: a fresh span as soon
/// as nothing is found.
#[test]
fn what_others_freed_is_found_behind_an_announcement_that_came_late() {
    for size in [64, 1024] {
        let arena = Arena::builder().capacity(4 << 20).columns(1).build().unwrap();
        let column = arena.column(ColumnId::new(0)).unwrap();
        let span = || (0..(32 << 10) / size).map(|_| column.alloc(size, 16, SpikeTime::NONE).unwrap()).collect::<Vec<_>>();
        let (freed, late) = (span(), span());
        let before = arena.metrics().bytes_committed;
        // SAFETY: nothing uses the block afterwards.
        unsafe { arena.free(freed[9]) }.unwrap();
        let late = arena.core.granule(late[0].as_ptr()).unwrap().span();
        assert!(arena.core.span(late).pending.announce(1));
        arena.core.announce(late);
        assert_eq!(column.alloc(size, 16, SpikeTime::NONE), Ok(freed[9]));
        assert_eq!(arena.metrics().bytes_committed, before);
        arena.verify().unwrap();
    }
}

/// The same when nothing is free any more. Seen with: the bytes of a slot; what was asked for before.
#[test]
fn who_finds_nothing_behind_an_announcement_is_told_what_was_asked_for() {
    for (size, align) in [(60, 16), (1000, 16), (60, 64), (1000, 64), (5000, 16), (5000, 64)] {
        let arena = Arena::builder().capacity(4 << 20).columns(1).build().unwrap();
        let column = arena.column(ColumnId::new(0)).unwrap();
        let blocks: Vec<_> = core::iter::from_fn(|| column.alloc(size - 1, align, SpikeTime::NONE).ok()).collect();
        let late = arena.core.granule(blocks[0].as_ptr()).unwrap().span();
        assert!(arena.core.span(late).pending.announce(1));
        arena.core.announce(late);
        assert_eq!(column.alloc(size, align, SpikeTime::NONE), Err(Error::NoMemory { size, align }));
        assert_eq!(column.last_error(), Error::NoMemory { size, align });
        arena.verify().unwrap();
    }
}

/// What others freed last waits while a fresh span is used, and no longer. Seen with: no fresh span; the span put back into the inbox, so that it waits again.
#[test]
fn the_span_that_others_freed_into_last_waits_while_a_fresh_one_is_used() {
    for size in [64, 1024] {
        let arena = Arena::builder().capacity(4 << 20).columns(1).build().unwrap();
        let column = arena.column(ColumnId::new(0)).unwrap();
        let alloc = || column.alloc(size, 16, SpikeTime::NONE).unwrap();
        let span = || (0..(32 << 10) / size).map(|_| alloc()).collect::<Vec<_>>();
        let first = span();
        let before = arena.metrics().bytes_committed;
        // SAFETY: nothing uses the block afterwards.
        unsafe { arena.free(first[9]) }.unwrap();
        assert!(!span().contains(&first[9]), "it did not wait");
        assert_eq!(arena.metrics().bytes_committed, before + (32 << 10));
        assert_eq!(alloc(), first[9]);
        arena.verify().unwrap();
    }
}

/// Of several spans the one that came last waits, and no fresh one is used. Seen with: the last one first.
#[test]
fn of_spans_that_others_freed_into_the_last_waits_for_the_others() {
    for size in [64, 1024] {
        let arena = Arena::builder().capacity(4 << 20).columns(1).build().unwrap();
        let column = arena.column(ColumnId::new(0)).unwrap();
        let alloc = || column.alloc(size, 16, SpikeTime::NONE).unwrap();
        let spans = [(); 3].map(|()| (0..(32 << 10) / size).map(|_| alloc()).collect::<Vec<_>>());
        let before = arena.metrics().bytes_committed;
        for span in &spans {
            // SAFETY: nothing uses the block afterwards.
            unsafe { arena.free(span[9]) }.unwrap();
        }
        assert_eq!([alloc(), alloc(), alloc()], [spans[1][9], spans[2][9], spans[0][9]]);
        assert_eq!(arena.metrics().bytes_committed, before);
        arena.verify().unwrap();
    }
}

/// However often others free, what waits is less than three spans of a class. Seen with: a fresh span whenever others have freed something.
#[test]
fn what_others_free_waits_in_few_spans() {
    for size in [64, 600, 1024, 4096] {
        let arena = Arena::builder().capacity(16 << 20).columns(1).build().unwrap();
        let column = arena.column(ColumnId::new(0)).unwrap();
        let alloc = || column.alloc(size, 16, SpikeTime::NONE).unwrap();
        let mut blocks: Vec<_> = (0..(1 << 20) / size).map(|_| alloc()).collect();
        let before = arena.metrics().bytes_committed;
        let mut state = 1_usize;
        for round in 0..20 * blocks.len() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // In no order, then in that of allocation, then of few blocks.
            let index = match round * 3 / (20 * blocks.len()) {
                0 => (state >> 33) % blocks.len(),
                1 => round % blocks.len(),
                _ => (state >> 33) % 40,
            };
            // SAFETY: nothing uses the block afterwards.
            unsafe { arena.free(blocks[index]) }.unwrap();
            blocks[index] = alloc();
            assert!(arena.metrics().bytes_committed <= before + 3 * (32 << 10), "{size} bytes, round {round}");
        }
        arena.verify().unwrap();
    }
}
