//! Pins: content that stays for longer than a reader's epoch should, and whose end may be on another thread.
//!
//! A [`ConceptGuard`](super::ConceptGuard) keeps everything that is freed while it lives. A pin keeps one block:
//!
//! ```text
//! pin     in an epoch: finds the block, counts it here
//! discard after the epoch: is it counted?  no --> freed;  yes --> marked as retired
//! unpin   the last: is it retired?  yes --> freed;  no --> forgotten
//! ```
//!
//! Invariants
//! - **E1** who pins counts the block while its epoch is pinned in which it found the block. A block is
//!   retired after all epochs in which it could be found (V2): so its retirement comes after every pin, and no pin
//!   after it.
//! - **E2** counting, retiring and the end of a pin hold the lock: exactly one of them, the retirement of an
//!   unpinned block or the end of a retired block's last pin, says that the block is to be freed.

use core::ptr::NonNull;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::service::MemoryAllocationService;
use super::slot::Slot;
use crate::guidance::AllocationError;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

/// Which blocks are pinned.
#[derive(Default)]
pub(super) struct Pins {
    /// Pins that have begun and not ended: whether a look at the map is worth it.
    pins: AtomicU64,
    blocks: Mutex<HashMap<usize, Pinned>>,
}

#[derive(Default)]
struct Pinned {
    pins: u64,
    retired: bool,
}

impl Pins {
    /// Counts a block that the caller found in the epoch that it still has pinned (E1).
    fn pin(&self, block: NonNull<u8>) {
        // Relaxed: E1: the end of the epoch brings it to whoever retires the block.
        self.pins.fetch_add(1, Relaxed);
        self.blocks.lock().entry(block.addr().get()).or_default().pins += 1;
    }

    /// A block that nobody can find any more is retired: true if it is to be freed now (E2).
    pub(super) fn retires(&self, block: NonNull<u8>) -> bool {
        // Relaxed: as above: a pin of this block is seen. Acquire: of one that has ended, so is what it read.
        if self.pins.load(Acquire) == 0 {
            return true;
        }
        match self.blocks.lock().get_mut(&block.addr().get()) {
            None => true,
            Some(pinned) => {
                pinned.retired = true;
                false
            }
        }
    }

    /// Ends a pin: true if the block is to be freed now (E2).
    fn unpin(&self, block: NonNull<u8>) -> bool {
        let mut blocks = self.blocks.lock();
        let mut free = false;
        if let Entry::Occupied(mut pinned) = blocks.entry(block.addr().get()) {
            pinned.get_mut().pins -= 1;
            if pinned.get().pins == 0 {
                free = pinned.remove().retired;
            }
        }
        // Release, with `retires`; under the lock, so that what is counted is in the map.
        self.pins.fetch_sub(1, Release);
        free
    }
}

/// A concept's content that neither changes nor moves until the pin is handed back.
pub(crate) struct Pin {
    block: NonNull<u8>,
    content: NonNull<[u8]>,
}

// SAFETY: E1, E2: it stands for a count, which any thread may have and give up; the content does not change (V1).
unsafe impl Send for Pin {}

impl Pin {
    /// The content; valid until the pin is handed back.
    pub(crate) fn content(&self) -> NonNull<[u8]> {
        self.content
    }
}

impl MemoryAllocationService {
    /// Pins a concept's content as it is now. Counts as an access. Takes a lock for a few instructions, and host
    /// memory.
    pub(crate) fn pin(&self, concept_id: &str) -> Result<Pin, AllocationError> {
        let epoch = self.epoch.pin();
        let block = self.access(concept_id)?;
        self.pins.pin(block);
        Ok(Pin { block, content: NonNull::from(Slot::at(block).read(&epoch).content) })
    }

    /// Hands a pin of this service back, on any thread.
    #[expect(clippy::needless_pass_by_value, reason = "it is handed back: there is one end to each pin")]
    pub(crate) fn unpin(&self, pin: Pin) {
        if self.pins.unpin(pin.block) {
            // SAFETY: E2: it is retired, so that nobody can find it, and this was its last pin.
            let freed = unsafe { self.arena.free(pin.block) };
            debug_assert!(freed.is_ok(), "{freed:?}");
        }
    }

    /// Pins that were not handed back yet.
    pub(crate) fn pinned(&self) -> u64 {
        self.pins.pins.load(Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guidance::{AllocationRequest, ConceptType};
    use crate::service::AllocationServiceConfig;
    use std::time::{Duration, Instant};

    /// Waits until all pinned blocks are retired.
    fn collect(service: &MemoryAllocationService) {
        let start = Instant::now();
        while !service.pins.blocks.lock().values().all(|pinned| pinned.retired) {
            assert!(start.elapsed() < Duration::from_secs(60), "they are not retired");
            service.maintain(Duration::from_millis(1));
            std::thread::yield_now();
        }
    }

    fn live(service: &MemoryAllocationService) -> u64 {
        service.arena.metrics().bytes_live
    }

    #[test]
    fn a_pinned_block_is_kept_by_each_of_its_pins_and_freed_with_the_last_on_any_thread() {
        let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 2, ..AllocationServiceConfig::default() };
        let service = MemoryAllocationService::open(config).unwrap();
        let empty = live(&service);
        service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, "purrs")).unwrap();
        let (first, second) = (service.pin("cat").unwrap(), service.pin("cat").unwrap());
        service.update("cat", "sleeps").unwrap();
        let third = service.pin("cat").unwrap();
        assert_eq!(service.pinned(), 3);
        service.deallocate_memory("cat".into()).unwrap();
        collect(&service);
        let pinned = live(&service);
        assert!(pinned > empty);
        // SAFETY: neither is handed back.
        unsafe { assert_eq!((first.content().as_ref(), third.content().as_ref()), (&b"purrs"[..], &b"sleeps"[..])) };
        service.unpin(first);
        assert_eq!(live(&service), pinned);
        std::thread::scope(|scope| scope.spawn(|| service.unpin(second)).join().unwrap());
        let one = live(&service);
        assert!(empty < one && one < pinned);
        service.unpin(third);
        assert_eq!((live(&service), service.pinned()), (empty, 0));
        assert!(service.pins.blocks.lock().is_empty());
    }

    #[test]
    fn a_pin_that_ended_before_its_block_is_retired_leaves_the_block_alone() {
        let service = MemoryAllocationService::open(AllocationServiceConfig::default()).unwrap();
        service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, "purrs")).unwrap();
        let before = live(&service);
        let pin = service.pin("cat").unwrap();
        service.unpin(pin);
        assert_eq!(live(&service), before);
        assert_eq!(&*service.read("cat").unwrap(), b"purrs");
    }
}
