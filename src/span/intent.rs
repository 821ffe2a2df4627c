//! What a publication or an unpublication that is under way is about, so that recovery can tell what became of it (see
//! `column::publish`).

use crate::map::Granule;
use crate::sync::{AtomicU64, Ordering, Ordering::Relaxed};

/// In place of a block: the intent is somebody's, and says nothing.
const TAKEN: u64 = u64::MAX;

/// A block, and the place that is to name it, or that named it; or nobody's (block 0).
#[repr(C)]
pub(crate) struct Intent {
    /// The block's granule.
    block: AtomicU64,
    /// The place's code (see `column::publish::Place`).
    place: AtomicU64,
}

/// Takes the name away that is at a place: of several who do, one does. Acquire: pairs with who named the block; release: the intent
/// comes before.
pub(crate) fn take_name(place: &AtomicU64, name: u64) -> bool {
    place.compare_exchange(name, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

impl Intent {
    /// Nobody's, for models.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { block: AtomicU64::new(0), place: AtomicU64::new(0) }
    }

    /// Takes it, if it is nobody's: one look.
    pub(crate) fn try_take(&self) -> bool {
        self.block.load(Relaxed) == 0 && self.block.compare_exchange(0, TAKEN, Ordering::Acquire, Relaxed).is_ok()
    }

    /// Notes a block and a place, in an intent that the caller has. Release: the place comes before.
    pub(crate) fn set(&self, block: Granule, place: u64) {
        self.place.store(place, Relaxed);
        self.block.store(block.0, Ordering::Release);
    }

    /// Gives it up. Release: what was under way is over.
    pub(crate) fn clear(&self) {
        self.block.store(0, Ordering::Release);
    }

    /// It says nothing any more, if it is about this block: whose it is has not come to give it up. The slot is the caller's, and
    /// free. Relaxed: it was noted before the last block was taken back, which the caller has seen; and the next live bit, set by
    /// a release, comes after this.
    pub(crate) fn forget(&self, block: Granule) {
        if self.block.load(Relaxed) == block.0 {
            let _ = self.block.compare_exchange(block.0, TAKEN, Relaxed, Relaxed);
        }
    }

    /// The block and the place's code, if it says any.
    pub(crate) fn noted(&self) -> Option<(Granule, u64)> {
        let block = self.block.load(Relaxed);
        (block != 0 && block != TAKEN).then(|| (Granule(block), self.place.load(Relaxed)))
    }
}
