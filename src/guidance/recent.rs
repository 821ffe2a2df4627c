//! Recent co-access: which columns were used just now.
//!
//! The last [`KEPT`] columns that differ from the one before, newest first, weigh 1/2, 1/4, 1/8 ...
//! Each thread writes a ring of its own, up to [`RINGS`] threads: what one thread uses together belongs
//! together, and threads do not disturb each other. An access to the column used last only reads.

use crate::sync::AtomicU32;
use crate::sync::Ordering::Relaxed;

/// Columns that are remembered.
pub(crate) const KEPT: usize = 8;
/// Rings; threads beyond share them.
const RINGS: usize = 16;

static THREADS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The ring of this thread.
    static RING: usize = THREADS.fetch_add(1, Relaxed) as usize % RINGS;
}

#[repr(align(64))]
struct Ring {
    /// Columns, or `u32::MAX`: none yet.
    columns: [AtomicU32; KEPT],
    /// Columns written, ever.
    written: AtomicU32,
}

/// The columns used lately, for each thread.
pub(crate) struct Recent {
    rings: Box<[Ring]>,
}

impl Recent {
    /// Nothing used yet.
    pub(crate) fn new() -> Self {
        let ring = || Ring { columns: [const { AtomicU32::new(u32::MAX) }; KEPT], written: AtomicU32::new(0) };
        Self { rings: (0..RINGS).map(|_| ring()).collect() }
    }

    fn ring(&self) -> &Ring {
        // While a thread ends its ring may be gone: then any will do.
        &self.rings[RING.try_with(|ring| *ring).unwrap_or(0)]
    }

    /// `column` is used now.
    pub(crate) fn used(&self, column: u32) {
        let ring = self.ring();
        let written = ring.written.load(Relaxed);
        if ring.columns[written.wrapping_sub(1) as usize % KEPT].load(Relaxed) != column {
            // Two threads in one ring may overwrite each other's column: one of them is forgotten.
            ring.columns[written as usize % KEPT].store(column, Relaxed);
            ring.written.store(written.wrapping_add(1), Relaxed);
        }
    }

    /// The columns used lately by this thread, newest first, with their weights. A column may come
    /// more than once.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        let ring = self.ring();
        let written = ring.written.load(Relaxed);
        let mut weight = 1.0;
        (1..=KEPT as u32).map_while(move |age| {
            weight /= 2.0;
            let column = ring.columns[written.wrapping_sub(age) as usize % KEPT].load(Relaxed);
            (column != u32::MAX).then_some((column, weight))
        })
    }
}

#[cfg(test)]
mod tests;
