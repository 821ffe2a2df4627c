//! Guards and pins: what a reader has found stays as it is until it lets go, whoever moves or frees it meanwhile.
//!
//! crossbeam-epoch is taken at its word, which a lock stands for: readers pin it for reading, and who has it for
//! writing comes after everybody who was pinned.

use core::ptr::NonNull;
use std::sync::Arc;

use super::fixture::check;
use crate::service::node::Node;
use crate::service::pins::Pins;
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
use loom::cell::UnsafeCell;
use loom::sync::RwLock;
use loom::thread;

/// What a block holds once it was given back, and before it was given.
const NOBODYS: u64 = 0;

/// A concept that lies in the first of two blocks.
struct Moved {
    node: Node,
    /// Plain memory: loom fails if it is written while, or not after, it is read.
    blocks: [UnsafeCell<u64>; 2],
    epoch: RwLock<()>,
    pins: Pins,
    freed: AtomicU64,
}

// SAFETY: whether blocks are used one after the other is what is asked; loom watches it.
unsafe impl Sync for Moved {}

impl Moved {
    fn new() -> Arc<Self> {
        let moved = Arc::new(Self {
            node: Node::new("id", 0),
            blocks: [UnsafeCell::new(1), UnsafeCell::new(NOBODYS)],
            epoch: RwLock::new(()),
            pins: Pins::new(),
            freed: AtomicU64::new(0),
        });
        moved.node.set_block(&moved.node.lock().unwrap(), Some(moved.at(0)));
        moved
    }

    fn at(&self, block: usize) -> NonNull<u8> {
        NonNull::from(&self.blocks[block]).cast()
    }

    fn content(&self, at: NonNull<u8>) -> u64 {
        // SAFETY: see `Sync`: loom watches it.
        self.blocks[usize::from(at == self.at(1))].with(|content| unsafe { content.read() })
    }

    fn free(&self, at: NonNull<u8>) {
        // SAFETY: see `Sync`: loom watches it.
        self.blocks[usize::from(at == self.at(1))].with_mut(|content| unsafe { content.write(NOBODYS) });
        self.freed.fetch_add(1, Relaxed);
    }

    /// Moves the concept to the second block: the steps of a relocation or an update. Or frees it.
    fn leave(&self, to: Option<u64>) {
        {
            let state = self.node.lock().unwrap();
            if let Some(content) = to {
                // SAFETY: see `Sync`: loom watches it.
                self.blocks[1].with_mut(|block| unsafe { block.write(content) });
            }
            self.node.set_block(&state, to.map(|_| self.at(1)));
        }
        // What `discard` defers.
        drop(self.epoch.write().unwrap());
        if self.pins.retires(self.at(0)) {
            self.free(self.at(0));
        }
    }
}

/// A reader whose block is given to somebody else while it reads, or that finds one which is not whole.
/// Seen with: `Node::set_block` relaxed; `Node::block` relaxed.
#[test]
fn what_a_guard_has_found_stays_while_it_is_moved() {
    check(3, || {
        let moved = Moved::new();
        let mover = {
            let moved = moved.clone();
            thread::spawn(move || moved.leave(Some(2)))
        };
        {
            let _pinned = moved.epoch.read().unwrap();
            let found = moved.node.block().unwrap();
            let content = moved.content(found);
            assert_ne!(content, NOBODYS, "a block that is nobody's");
            assert_eq!(moved.content(found), content, "a block that changes under its reader");
        }
        mover.join().unwrap();
        assert_eq!(moved.freed.load(Relaxed), 1);
    });
}

/// A pinned block that is given to somebody else, freed twice, or never.
/// Seen with: `Pins::retires` true whatever is pinned; `Pins::retires` not marking the block; `Pins::was_last` false, or true,
/// whatever was retired; the end of `Pins::unpin` relaxed; `Pins::retires` looking relaxed.
#[test]
fn a_pinned_block_is_freed_once_by_the_last_that_needs_it() {
    check(3, || {
        let moved = Moved::new();
        let reader = {
            let moved = moved.clone();
            thread::spawn(move || {
                let found = {
                    let _pinned = moved.epoch.read().unwrap();
                    let found = moved.node.block();
                    found.inspect(|&block| moved.pins.pin(block))
                };
                let Some(found) = found else { return };
                assert_ne!(moved.content(found), NOBODYS, "a pinned block that is nobody's");
                moved.pins.unpin(found, || moved.free(found));
            })
        };
        moved.leave(None);
        reader.join().unwrap();
        assert_eq!((moved.freed.load(Relaxed), moved.pins.count()), (1, 0));
    });
}

/// A service that is closed, because nothing is pinned any more, before the last pin's block was freed.
/// Seen with: a count that `Pins::unpin` lowers before the block is freed, or relaxed; `Pins::count` relaxed.
#[test]
fn who_finds_no_pin_counted_comes_after_the_end_of_all() {
    check(3, || {
        let moved = Moved::new();
        let block = moved.at(0);
        moved.pins.pin(block);
        moved.leave(None);
        let holder = {
            let moved = moved.clone();
            thread::spawn(move || moved.pins.unpin(moved.at(0), || moved.free(moved.at(0))))
        };
        if moved.pins.count() == 0 {
            assert_eq!(moved.content(block), NOBODYS, "it was not freed");
        }
        holder.join().unwrap();
        assert_eq!((moved.freed.load(Relaxed), moved.pins.count()), (1, 0));
    });
}
