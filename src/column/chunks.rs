//! A column's chunks: where its spans come from.
//!
//! The holder keeps a list of the column's chunks with free spans. When it is empty, the column
//! reserves the lowest free chunk; when there is none, any chunk's free spans serve, whoever
//! reserved it (that search looks at every chunk: see `scarce`).

use super::held::Handle;
use crate::map::{ChunkId, SpanId};
use crate::span::IndexWords;
use crate::sync::Ordering::Relaxed;

/// Chunks of the list in which a run is looked for before a new chunk is reserved.
const LOOKS: u32 = 4;

impl Handle {
    /// Takes `spans` (1 to 64) spans in a row from the column's chunks or from a new one. Bounded.
    #[inline(always)]
    pub(crate) fn take_spans(&self, spans: u32) -> Option<SpanId> {
        let mut chunk = self.block().holder.chunks();
        for _ in 0..LOOKS {
            if chunk == ChunkId::NONE {
                break;
            }
            let meta = self.chunk(chunk);
            let (place, failed) = if spans == 1 { meta.map.claim_one() } else { meta.map.claim(spans, 1) };
            if failed != 0 {
                self.core().count_retries(u64::from(failed));
            }
            if let Some(place) = place {
                return Some(chunk.span(place));
            }
            let next = meta.next();
            if meta.map.free() == 0 && chunk == self.block().holder.chunks() {
                meta.listed.store(0, Relaxed);
                self.block().holder.set_chunks(next);
            }
            chunk = next;
        }
        self.reserve_chunk(spans)
    }

    /// Reserves the lowest free chunk and takes its first `spans` spans.
    fn reserve_chunk(&self, spans: u32) -> Option<SpanId> {
        let core = self.core();
        let (chunk, failed) = core.index.claim_first();
        if failed != 0 {
            core.count_retries(u64::from(failed));
        }
        let chunk = chunk?;
        let meta = core.chunk(chunk);
        meta.owner.store(self.index() + 1, Relaxed);
        meta.dirty.store(1, Relaxed);
        meta.map.open(spans);
        meta.listed.store(0, Relaxed);
        self.list_chunk(chunk);
        Some(chunk.span(0))
    }

    /// Lists a chunk of the column that has free spans again.
    #[inline(always)]
    pub(crate) fn list_chunk(&self, chunk: ChunkId) {
        let meta = self.chunk(chunk);
        if meta.owner.load(Relaxed) == self.index() + 1 && meta.listed.load(Relaxed) == 0 {
            let holder = &self.block().holder;
            meta.listed.store(1, Relaxed);
            meta.next.store(holder.chunks().0, Relaxed);
            holder.set_chunks(chunk);
        }
    }

    /// Gives the column's wholly free chunks back to the arena. Grows with the listed chunks.
    pub(crate) fn release_free_chunks(&self) {
        let core = self.core();
        let holder = &self.block().holder;
        let mut chunk = holder.chunks();
        holder.set_chunks(ChunkId::NONE);
        while chunk != ChunkId::NONE {
            let meta = core.chunk(chunk);
            let next = meta.next();
            meta.listed.store(0, Relaxed);
            if meta.map.claim_all() {
                meta.owner.store(0, Relaxed);
                core.index.give(chunk);
            } else if meta.map.free() != 0 {
                self.list_chunk(chunk);
            }
            chunk = next;
        }
    }
}
