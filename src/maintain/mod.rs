//! Bounded background work, on the caller's thread, never inside an allocation.
//!
//! One step looks after one column whose lease is free (takes back what others freed, gives back
//! what its cells keep, empty spans to their chunks, empty chunks to the arena), or gives one free
//! chunk's memory back to the system. A cursor remembers where to go on.

use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::map::ChunkId;
use crate::size_class::CHUNK;
use crate::span::IndexWords;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

/// Whether maintenance has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintained {
    /// A whole round is done.
    All,
    /// The budget was used up first.
    More,
}

impl Arena {
    /// Maintains the arena for about `budget`: it stops after the step in which the budget ends.
    /// Held columns are left to their holders. Calls the system.
    ///
    /// # Errors
    /// [`Error::Maintaining`] if another thread is at it.
    pub fn maintain(&self, budget: Duration) -> Result<Maintained> {
        self.maintain_and_count(budget).map(|(maintained, _)| maintained)
    }

    /// The same; also how many bytes went back to the system.
    pub(crate) fn maintain_and_count(&self, budget: Duration) -> Result<(Maintained, u64)> {
        let counters = self.core.counters();
        if counters.maintaining.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            return Err(Error::Maintaining);
        }
        let start = Instant::now();
        let columns = u64::from(self.columns());
        let end = columns + self.core.chunks.len() as u64;
        let mut at = counters.cursor.load(Relaxed);
        let mut chunks = 0;
        while at < end {
            let worked = if at < columns {
                self.tend_column(at as u32)
            } else {
                let decommitted = self.decommit_chunk((at - columns) as u32);
                chunks += u64::from(decommitted);
                decommitted
            };
            at += 1;
            if worked && start.elapsed() >= budget {
                break;
            }
        }
        let result = if at < end { Maintained::More } else { Maintained::All };
        counters.cursor.store(if at < end { at } else { 0 }, Relaxed);
        counters.maintaining.store(0, Release);
        Ok((result, chunks * CHUNK as u64))
    }

    /// Brings a column's free memory together, if its lease is free. False if there was nothing to do.
    fn tend_column(&self, index: u32) -> bool {
        if self.core.block(index).open.spans() == 0 {
            return false;
        }
        let Some(handle) = self.core.lease(index) else { return false };
        handle.flush();
        handle.report();
        handle.block().open.lease.give_back();
        true
    }

    /// Gives a free chunk's memory back to the system, unless the arena is to stay in memory.
    fn decommit_chunk(&self, index: u32) -> bool {
        let (core, chunk) = (&self.core, ChunkId(index));
        let keep = core.options.region.prefault || core.options.region.lock;
        if chunk == ChunkId::NONE {
            return false;
        }
        core.sweep_chunk(chunk);
        let meta = core.chunk(chunk);
        if keep || meta.dirty.load(Relaxed) == 0 || !core.index.is_free(chunk) || !core.index.claim(chunk) {
            return false;
        }
        core.region.decommit(chunk.index());
        meta.dirty.store(0, Relaxed);
        core.index.give(chunk);
        true
    }
}
