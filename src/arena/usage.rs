//! How an arena's memory is used, as a whole.

use core::ptr::NonNull;

use super::Arena;
use crate::metrics::Metrics;
use crate::size_class::{CHUNK_SPANS, SPAN};
use crate::span::IndexWords;

/// Where a block lies of a size that ordered batches order: up to 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Berth {
    /// Usable bytes of the block, its class'.
    pub(crate) bytes: u32,
    /// The span's number: the same for all blocks in it, and for no others.
    pub(crate) span: u32,
}

impl Arena {
    /// A snapshot. Any thread, no lock; takes a step for each column in use and each of its cells.
    pub fn metrics(&self) -> Metrics {
        self.core.metrics()
    }

    /// Where a block that is handed out lies; `None` if it is above 4 KiB, or not of the arena. Looks at nothing but the page entry of
    /// its span. Wait-free, any thread; as of this moment.
    pub(crate) fn berth(&self, block: NonNull<u8>) -> Option<Berth> {
        let place = self.core.place(self.core.granule(block.as_ptr())?);
        place.owner.index().filter(|_| !place.owner.is_large())?;
        let class = place.class();
        (!class.is_medium()).then_some(Berth { bytes: class.bytes, span: place.head.0 })
    }

    /// The size class and the column of a block of up to 256 KiB that is handed out.
    pub(crate) fn kind_of(&self, block: NonNull<u8>) -> Option<(usize, u32)> {
        let place = self.core.place(self.core.granule(block.as_ptr())?);
        (!place.owner.is_large()).then(|| Some((place.cell.class(), place.owner.index()?)))?
    }

    /// Spans that are nobody's, as of this moment. Looks at every chunk.
    pub(crate) fn free_spans(&self) -> u64 {
        let free = |chunk| if self.core.index.is_free(chunk) { u64::MAX } else { self.core.chunk(chunk).map.free() };
        self.core.chunk_ids().map(|chunk| u64::from(free(chunk).count_ones())).sum()
    }

    /// Makes the first `bytes` of user memory ready: the lowest, which are handed out first. The arena is the
    /// caller's alone.
    pub(crate) fn touch(&mut self, bytes: usize) {
        self.core.region.touch(bytes);
    }

    /// Bytes of 4 KiB pages, metadata included, that this process has touched; those of the spans that are somebody's, as of this moment,
    /// where the system does not tell. Calls the system.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let taken = || self.capacity() as u64 - self.free_spans() * SPAN as u64;
        self.core.region.resident_bytes().unwrap_or_else(taken)
    }

    /// Bytes of the longest run of free spans, as of this moment. Looks at every chunk.
    pub(crate) fn longest_free_bytes(&self) -> u64 {
        let (mut longest, mut run) = (0_u64, 0_u64);
        for chunk in self.core.chunk_ids() {
            let map = if self.core.index.is_free(chunk) { u64::MAX } else { self.core.chunk(chunk).map.free() };
            if map == u64::MAX {
                run += CHUNK_SPANS as u64;
            } else {
                longest = longest.max(run + u64::from(map.trailing_ones()));
                longest = longest.max(longest_run(map));
                run = u64::from(map.leading_ones());
            }
        }
        longest.max(run) * SPAN as u64
    }
}

/// The longest run of set bits.
fn longest_run(mut map: u64) -> u64 {
    let mut run = 0;
    // Each round shortens every run by one.
    while map != 0 {
        map &= map << 1;
        run += 1;
    }
    run
}

#[cfg(test)]
mod tests;
