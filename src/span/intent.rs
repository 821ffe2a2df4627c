//! What a publication or an unpublication that is under way is about, so that recovery can tell what became of it (see
//! `column::publish`).

use crate::map::Granule;
use crate::sync::{AtomicU64, Ordering, Ordering::Relaxed};

/// In place of a block: the intent is somebody's, and says nothing.
const TAKEN: u64 = u64::MAX;
/// Set with a block: what is said of it is only proposed.
const PROPOSED: u64 = 1 << 63;

/// A block, and the place that is to name it, or that named it; or nobody's (block 0).
#[repr(C)]
pub(crate) struct Intent {
    /// The block's granule.
    block: AtomicU64,
    /// The place's code (see `column::publish::Place`).
    place: AtomicU64,
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

    /// Takes the name of a block away that is at a place: of several who do, one does. Then the intent, which is the caller's, says so,
    /// and had said it before. Wait-free.
    ///
    /// It is proposed first, which recovery passes over, and said only if the place still named the block after that: who takes the
    /// name away then sees the proposal, and with it whoever gives the slot anew elsewhere, who forgets it.
    pub(crate) fn take_name(&self, block: Granule, place: &AtomicU64, code: u64, name: u64) -> bool {
        self.place.store(code, Relaxed);
        // Release: the place comes before.
        self.block.store(block.0 | PROPOSED, Ordering::Release);
        // AcqRel, a read-modify-write: pairs with the exchange below, of another who takes the name away afterwards.
        let still = place.fetch_or(0, Ordering::AcqRel) == name;
        let said = still && self.block.compare_exchange(block.0 | PROPOSED, block.0, Ordering::AcqRel, Relaxed).is_ok();
        // Acquire: pairs with who named the block; release: the intent comes before.
        said && place.compare_exchange(name, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Gives it up. Release: what was under way is over.
    pub(crate) fn clear(&self) {
        self.block.store(0, Ordering::Release);
    }

    /// It says nothing any more, nor proposes anything, if it is about this block and any place but `here`, where the block is to be
    /// named: whose it is has not come to give it up. The slot is the caller's, and free. (Who takes the name away that the block will
    /// have here may take it for that of the former one: then what it says is true.)
    ///
    /// Acquire: the place comes with the block. Relaxed: it was noted before the last block was taken back, which the caller has seen; and
    /// the next live bit, set by a release, comes after this.
    pub(crate) fn forget(&self, block: Granule, here: u64) {
        if self.block.load(Ordering::Acquire) & !PROPOSED == block.0 && self.place.load(Relaxed) != here {
            // In this order: a proposal may become what is said, and not the other way.
            for said in [block.0 | PROPOSED, block.0] {
                let _ = self.block.compare_exchange(said, TAKEN, Relaxed, Relaxed);
            }
        }
    }

    /// The block and the place's code, if it says any.
    pub(crate) fn noted(&self) -> Option<(Granule, u64)> {
        let block = self.block.load(Relaxed);
        (block != 0 && block & PROPOSED == 0).then(|| (Granule(block), self.place.load(Relaxed)))
    }
}
