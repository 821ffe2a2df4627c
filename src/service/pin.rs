//! A concept's content for whoever hands it back, as the C face does: see [`pins`](super::pins).

use core::ptr::NonNull;

use super::service::MemoryAllocationService;
use super::slot::Slot;
use crate::guidance::AllocationError;

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

    /// Hands a pin back, on any thread. Once it is not counted any more the service may be closed (E3), even before this returns:
    /// so there is no reference to it by then.
    ///
    /// # Safety
    /// It is a pin of this service, which is open.
    #[expect(clippy::needless_pass_by_value, reason = "it is handed back: there is one end to each pin")]
    pub(crate) unsafe fn unpin(service: NonNull<Self>, pin: Pin) {
        // SAFETY: E3: it is open, as the pin that the caller hands back is counted.
        let pins = unsafe { service.as_ref() }.pins.clone();
        pins.unpin(pin.block, || {
            // SAFETY: E3: it is still counted.
            let service = unsafe { service.as_ref() };
            // A forked child has the parent's pins, too, and it is the parent that gives back what is in its file.
            if !service.arena.is_parents() {
                // SAFETY: E2: it is retired, so that nobody can find it, and this was its last pin.
                unsafe { service.spare.give_back(&service.arena, pin.block) };
            }
        });
    }

    /// Hands a pin of this service back, which stays open.
    #[cfg(test)]
    pub(super) fn hand_back(&self, pin: Pin) {
        // SAFETY: it is this service's, and the reference to it outlives the call.
        unsafe { Self::unpin(NonNull::from(self), pin) };
    }

    /// Pins that were not handed back yet, or whose end is not over.
    pub(crate) fn pinned(&self) -> u64 {
        self.pins.count()
    }
}

#[cfg(test)]
mod tests;
