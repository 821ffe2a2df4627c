//! Nodes: of all who race for an id one wins, readers find whole slots, and nothing is lost with a node that dies.

use core::ptr::NonNull;
use std::sync::Arc;

use super::fixture::check;
use crate::service::node::Node;
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
use loom::thread;

/// A node, and two slots, each whole once it is not 0.
struct Raced {
    node: Node,
    slots: [AtomicU64; 2],
}

impl Raced {
    fn new() -> Arc<Self> {
        Arc::new(Self { node: Node::new("id", 0), slots: [AtomicU64::new(0), AtomicU64::new(0)] })
    }

    /// The address of a slot stands for its block.
    fn block(&self, slot: usize) -> NonNull<u8> {
        NonNull::from(&self.slots[slot]).cast()
    }

    /// Allocates the id into a slot: the steps of `MemoryAllocationService::allocate`. `None` if the node is dead.
    fn allocate(&self, slot: usize) -> Option<bool> {
        let state = self.node.lock()?;
        if self.node.block().is_some() {
            return Some(false);
        }
        self.slots[slot].store(1, Relaxed);
        self.node.set_block(&state, Some(self.block(slot)));
        Some(true)
    }

    /// What a reader sees of the slot that it finds.
    fn read(&self) -> Option<u64> {
        let block = self.node.block()?;
        self.slots.iter().find(|slot| NonNull::from(*slot).cast() == block).map(|slot| slot.load(Relaxed))
    }
}

/// Two winners of one id; a slot that a reader finds before it is whole.
/// Seen with: `Raced::allocate` not looking whether the id is allocated; looking before it has the lock. `Node::set_block`
/// relaxed; `Node::block` relaxed.
#[test]
fn one_of_two_who_race_wins_and_readers_find_whole_slots() {
    check(3, || {
        let raced = Raced::new();
        let others = [0, 1].map(|slot| {
            let raced = raced.clone();
            thread::spawn(move || raced.allocate(slot))
        });
        assert_ne!(raced.read(), Some(0), "a slot that is not whole");
        let won = others.map(|other| other.join().unwrap() == Some(true));
        assert!(won[0] != won[1], "{won:?}");
        assert_eq!(raced.node.block(), Some(raced.block(usize::from(won[1]))), "the winner's");
    });
}

/// An id that is allocated in a node that is dead: nobody would find it again.
/// Seen with: `Node::die` not looking for a block; `Node::lock` not looking whether the node is dead.
#[test]
fn nothing_is_lost_with_a_node_that_dies() {
    check(3, || {
        let raced = Raced::new();
        let undertaker = {
            let raced = raced.clone();
            thread::spawn(move || raced.node.try_lock().is_some_and(|mut state| raced.node.die(&mut state)))
        };
        let allocated = raced.allocate(0);
        let died = undertaker.join().unwrap();
        assert_ne!(died, allocated.is_some(), "dead and allocated, or neither");
    });
}
