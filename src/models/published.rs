//! Publication: who gives a slot, and who takes it back.

use std::sync::Arc;

use super::fixture::check;
use crate::span::{Claim, PublishedSlot};
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};
use loom::cell::UnsafeCell;
use loom::thread;

/// A slot, its content, and how often it is a block that somebody has.
struct Slot {
    live: AtomicU64,
    remote: AtomicU64,
    content: UnsafeCell<u32>,
    blocks: AtomicU32,
}

// SAFETY: the content is used by whoever has the block: that is the question.
unsafe impl Sync for Slot {}
// SAFETY: as above.
unsafe impl Send for Slot {}

impl Slot {
    fn new(live: u64) -> Arc<Self> {
        let (live, remote) = (AtomicU64::new(live), AtomicU64::new(0));
        Arc::new(Self { blocks: AtomicU32::new(live.load(Relaxed) as u32), live, remote, content: UnsafeCell::new(0) })
    }

    fn slot(&self) -> PublishedSlot<'_> {
        PublishedSlot { live: &self.live, remote: &self.remote, bit: 1 }
    }

    /// Publishes the slot, if it is free.
    fn publish(&self) -> bool {
        let ours = self.slot().claim() == Claim::Ours;
        if ours {
            assert_eq!(self.blocks.fetch_add(1, Relaxed), 0, "one slot is two blocks");
            self.content.with_mut(|content| {
                // SAFETY: loom checks that nobody else has it.
                unsafe { *content += 1 }
            });
            self.slot().give(|| {});
        }
        ours
    }

    /// Takes the block back, if it is one.
    fn unpublish(&self) -> bool {
        let slot = self.slot();
        if !slot.claim_back() {
            return false;
        }
        self.content.with_mut(|content| {
            // SAFETY: as above.
            unsafe { *content += 1 }
        });
        assert_eq!(self.blocks.fetch_sub(1, Relaxed), 1, "one block is taken back twice");
        assert!(slot.take_back());
        slot.end();
        true
    }
}

/// The bug: two publish one slot. Seen with: `claim` without its second look at the live bit; the remote bit set by a
/// load and a store.
#[test]
fn of_two_who_publish_a_slot_one_has_it() {
    check(3, || {
        let slot = Slot::new(0);
        let other = slot.clone();
        let thread = thread::spawn(move || other.publish());
        let ours = slot.publish();
        let theirs = thread.join().unwrap();
        assert!(ours != theirs || !ours, "both have it");
        assert!(ours || theirs, "nobody has it, though it was free");
    });
}

/// The bug: two take one block back. Seen with: `claim_back` without its second look at the live bit.
#[test]
fn of_two_who_take_a_block_back_one_does() {
    check(3, || {
        let slot = Slot::new(1);
        let other = slot.clone();
        let thread = thread::spawn(move || other.unpublish());
        let ours = slot.unpublish();
        assert!(ours != thread.join().unwrap(), "it was taken back twice, or never");
        assert_eq!(slot.live.load(Relaxed) | slot.remote.load(Relaxed), 0);
    });
}

/// The bug: a slot is published anew before its last block is done with. Seen with: `take_back` and `end` relaxed. (`end` alone is seen by the models above.)
#[test]
fn who_publishes_a_slot_that_was_taken_back_comes_after_its_last_use() {
    check(3, || {
        let slot = Slot::new(1);
        let other = slot.clone();
        let thread = thread::spawn(move || other.unpublish());
        let published = slot.publish();
        assert!(thread.join().unwrap());
        assert_eq!(slot.live.load(Relaxed), u64::from(published));
        assert_eq!(slot.remote.load(Relaxed), 0);
    });
}
