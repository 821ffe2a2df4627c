//! Every operation once, in a size that an interpreter can bear: under Miri it shows that the unsafe code
//! keeps to the rules of references, provenance and data races. It passes as an ordinary test too.
//!
//! ```text
//! MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --test miri
//! ```
#![cfg(not(loom))]

use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};
use core::time::Duration;
use std::thread;

use engram::{Arena, BatchFlags, ColumnId, Error, Request, Result, SpikeTime};

const SOON: SpikeTime = SpikeTime::from_nanos(40_000);
const LATE: SpikeTime = SpikeTime::from_nanos(9_000_000);

fn arena() -> Arena {
    Arena::builder().capacity(4 << 20).columns(2).build().unwrap()
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap()
}

/// Writes to the first and last byte, as the owner of a block may.
fn touch(p: NonNull<u8>, size: usize) {
    // SAFETY: the caller owns the block, which has `size` bytes.
    unsafe {
        p.write(1);
        p.add(size - 1).write(2);
    }
}

/// A block that goes to another thread.
struct Sent(NonNull<u8>);

// SAFETY: whoever has it owns the block.
unsafe impl Send for Sent {}

impl Sent {
    fn free(self, arena: &Arena) -> Result<()> {
        // SAFETY: the block is ours, and nothing uses it afterwards.
        unsafe { arena.free(self.0) }
    }
}

#[test]
fn a_holder_allocates_resizes_walks_and_frees() {
    let arena = arena();
    let column = arena.column(ColumnId::new(0)).unwrap();
    for (size, align) in [(16, 16), (100, 64), (3000, 16), (5000, 4096), (40 << 10, 16), (300 << 10, 16)] {
        let p = column.alloc(size, align, SOON).unwrap();
        touch(p, size);
        assert!(arena.usable_size(p.as_ptr()).unwrap() >= size);
        assert_eq!(arena.at(arena.offset_of(p.as_ptr()).unwrap()), Some(p.as_ptr()));
        let mut seen = 0;
        column.walk(|block| {
            seen += usize::from(block.start == p);
            true
        });
        assert_eq!(seen, 1);
        // SAFETY: the block is ours, and nothing uses it after its free.
        unsafe {
            assert!(column.free(p.add(16)).is_err());
            column.free(p).unwrap();
            assert!(column.free(p).is_err());
        }
    }
    let p = column.alloc_zeroed(64, 16, LATE).unwrap();
    touch(p, 64);
    // SAFETY: ours; the old address is not used again.
    let p = unsafe { column.realloc(p, 200, LATE) }.unwrap();
    // SAFETY: ours, and the content came along.
    unsafe {
        assert_eq!((p.read(), p.add(63).read()), (1, 2));
        column.free(p).unwrap();
    }
    // A large one, which stays where it is.
    let p = column.alloc(300 << 10, 16, LATE).unwrap();
    for size in [400 << 10, 300 << 10] {
        // SAFETY: ours.
        assert_eq!(unsafe { column.realloc(p, size, LATE) }, Ok(p));
        touch(p, size);
    }
    // SAFETY: ours, and not used again.
    unsafe { column.free(p).unwrap() };
    assert_eq!(arena.metrics().live_blocks(), 0);
}

#[test]
fn batches_and_reset() {
    let arena = arena();
    let requests: Vec<_> = (0..6)
        .map(|i| Request { size: 32 + i, align: 16, column: Some(ColumnId::new(i as u32 % 2)), spike: if i < 3 { LATE } else { SOON } })
        .collect();
    let mut out = [null_mut(); 6];
    assert_eq!(arena.alloc_batch(&requests, BatchFlags::default(), &mut out).unwrap(), 6);
    for p in out {
        touch(NonNull::new(p).unwrap(), 32);
    }
    let column = arena.column(ColumnId::new(0)).unwrap();
    let mut out = [null_mut(); 4];
    assert_eq!(column.alloc_batch(48, 16, SOON, &mut out), 4);
    // SAFETY: none of the column's blocks is used again.
    unsafe { column.reset() };
    assert_eq!(arena.metrics().live_blocks(), 3);
    let p = column.alloc(48, 16, SOON).unwrap();
    touch(p, 48);
}

#[test]
fn without_a_column_and_while_somebody_holds_it() {
    let arena = arena();
    let id = ColumnId::new(1);
    let free = arena.alloc(Some(id), layout(80), LATE).unwrap();
    let held = arena.column(id).unwrap();
    assert_eq!(arena.column(id).unwrap_err(), Error::ColumnHeld(1));
    let blocks = [80, 80, 6000, 100 << 10].map(|size| {
        let p = arena.alloc(Some(id), layout(size), LATE).unwrap();
        touch(p, size);
        p
    });
    let zeroed = arena.alloc_zeroed(Some(id), layout(32), SOON).unwrap();
    // SAFETY: ours until freed.
    unsafe {
        assert_eq!(zeroed.read(), 0);
        let moved = arena.realloc(zeroed, 500, SOON).unwrap();
        arena.free(moved).unwrap();
        held.free(free).unwrap();
        for p in blocks {
            arena.free(p).unwrap();
            assert!(arena.free(p).is_err());
        }
    }
    drop(held);
    arena.maintain(Duration::from_secs(60)).unwrap();
    assert_eq!(arena.metrics().live_blocks(), 0);
}

#[test]
fn another_thread_frees_while_the_holder_allocates() {
    let arena = arena();
    let column = arena.column(ColumnId::new(0)).unwrap();
    let sent: Vec<_> = (0..24).map(|_| Sent(column.alloc(200, 16, SOON).unwrap())).collect();
    let taken = thread::scope(|scope| {
        let other = scope.spawn(|| {
            for block in sent {
                touch(block.0, 200);
                block.free(&arena).unwrap();
            }
            // And allocates where the other holds.
            Sent(arena.alloc(Some(ColumnId::new(0)), layout(200), SOON).unwrap())
        });
        for _ in 0..24 {
            let p = column.alloc(200, 16, SOON).unwrap();
            touch(p, 200);
            // SAFETY: ours, and not used again.
            unsafe { column.free(p) }.unwrap();
        }
        other.join().unwrap()
    });
    taken.free(&arena).unwrap();
    drop(column);
    assert_eq!(arena.metrics().live_blocks(), 0);
    // The next holder, in another thread, gets what came back.
    thread::scope(|scope| {
        scope.spawn(|| {
            let column = arena.column(ColumnId::new(0)).unwrap();
            let p = column.alloc(200, 16, SOON).unwrap();
            touch(p, 200);
        });
    });
    assert_eq!(arena.metrics().live_blocks(), 1);
}
