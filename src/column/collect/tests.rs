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
