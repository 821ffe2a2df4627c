//! Which batches are under way.

use smallvec::SmallVec;

use super::lock::Mutex;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicU32, AtomicU64};

/// The batches under way. What one of them has allocated may still be undone: until it stands it is busy for all who would free or
/// change it.
pub(crate) struct Batches {
    /// Batches begun, which number them.
    begun: AtomicU64,
    /// How many are under way.
    many: AtomicU32,
    numbers: Mutex<SmallVec<[u64; 4]>>,
}

impl Batches {
    /// None.
    pub(crate) fn new() -> Self {
        Self { begun: AtomicU64::new(0), many: AtomicU32::new(0), numbers: Mutex::new(SmallVec::new()) }
    }

    /// Begins a batch: it is under way until what is returned is dropped, once it has counted what it allocated, or undone it.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        let number = self.begun.fetch_add(1, Relaxed) + 1;
        self.numbers.lock().push(number);
        self.many.fetch_add(1, Relaxed);
        UnderWay { batches: self, number }
    }

    /// Whether the batch with this number is under way; 0 is none. The caller has the lock of a node that it found the number in: so
    /// the batch is counted in `many`, if it is.
    pub(crate) fn has(&self, number: u64) -> bool {
        // Acquire: of a batch that is over, the count of what it allocated comes before that of who takes it back.
        number != 0 && self.many.load(Acquire) != 0 && self.numbers.lock().contains(&number)
    }
}

/// A batch, until it stands or is undone.
pub(crate) struct UnderWay<'a> {
    batches: &'a Batches,
    /// Its number, which is not 0.
    pub(crate) number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        // Release, with `has`.
        self.batches.many.fetch_sub(1, Release);
        self.batches.numbers.lock().retain(|number| *number != self.number);
    }
}
