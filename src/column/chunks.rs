//! A column's chunks: where its spans come from.
//!
//! The holder keeps a list of the column's chunks with free spans. When it is empty, the column
//! reserves the lowest free chunk; when there is none, any chunk's free spans serve, whoever
//! reserved it (that search looks at every chunk: see `scarce`).

use core::num::NonZeroU64;

use super::held::Handle;
use crate::map::{ChunkId, SpanId};
use crate::span::{ChunkMeta, IndexWords};
use crate::sync::Ordering::Relaxed;

/// Chunks of the list in which a run is looked for before a new chunk is reserved: the first, and then those that were not
/// looked at for longest.
const LOOKS: u32 = 4;

impl Handle {
    /// Takes `spans` (1 to 64) spans in a row from the column's chunks or from a new one. Bounded.
    #[inline(always)]
    pub(crate) fn take_spans(&self, spans: u32) -> Option<SpanId> {
        let mut chunk = self.block().holder.chunks();
        for look in 0..LOOKS {
            if chunk == ChunkId::NONE {
                break;
            }
            let meta = self.chunk(chunk);
            let (place, failed) = if spans == 1 { meta.map.claim_one() } else { meta.map.claim(spans, 1) };
            if failed != 0 {
                self.core().count_retries(u64::from(failed));
            }
            let next = meta.next();
            if meta.map.free() == 0 && chunk == self.block().holder.chunks() {
                self.unlist_first(meta);
            }
            if let Some(place) = place {
                return Some(chunk.span(place));
            }
            chunk = if look == 0 { self.rove(next) } else { next };
            self.rover.set(chunk.0);
        }
        self.reserve_chunk(spans)
    }

    /// Where a look for a run goes on after the first chunk of the list: where the last one ended, if that is still in the
    /// list, and else at `second`. A list has many chunks with room for small runs only, behind which others would be hidden.
    fn rove(&self, second: ChunkId) -> ChunkId {
        let rover = ChunkId(self.rover.get());
        let meta = self.chunk(rover);
        // S8: then it is in our list, and what follows it as well.
        let listed = meta.owner.load(Relaxed) == self.as_owner().0 && meta.unlisted.load(Relaxed) == 0;
        if rover != ChunkId::NONE && listed { rover } else { second }
    }

    /// Claims the lowest free span of the column's first chunk, and counts it against the column's limit.
    #[inline(always)]
    pub(crate) fn claim_first_span(&self) -> Option<SpanId> {
        // Without one it is the chunk that does not exist, which has no free spans.
        let chunk = self.block().holder.chunks();
        let meta = self.chunk(chunk);
        let free = NonZeroU64::new(meta.map.free())?;
        let open = &self.block().open;
        if !open.charge(1) {
            return None;
        }
        let place = free.trailing_zeros();
        if !meta.map.claim_place(place) {
            open.refund(1);
            return None;
        }
        if free.is_power_of_two() {
            self.unlist_first(meta);
        }
        Some(chunk.span(place))
    }

    /// Claims the first span of a free chunk beside the column's last one, and counts it against the
    /// column's limit. Only if the column has no chunk in its list.
    #[inline(always)]
    pub(crate) fn claim_near_chunk(&self) -> Option<SpanId> {
        let open = &self.block().open;
        if self.block().holder.chunks() != ChunkId::NONE || !open.charge(1) {
            return None;
        }
        let Some(chunk) = self.core().index.claim_in(self.leaf.get() as usize) else {
            open.refund(1);
            return None;
        };
        self.open_chunk(chunk, 1, ChunkId::NONE);
        Some(chunk.span(0))
    }

    /// The first chunk of the list has no free span any more.
    #[inline(always)]
    fn unlist_first(&self, meta: &ChunkMeta) {
        meta.unlisted.store(self.as_owner().0, Relaxed);
        self.block().holder.set_chunks(meta.next());
    }

    /// Reserves the lowest free chunk and takes its first `spans` spans.
    fn reserve_chunk(&self, spans: u32) -> Option<SpanId> {
        let core = self.core();
        let (chunk, failed) = core.index.claim_first();
        if failed != 0 {
            core.count_retries(u64::from(failed));
        }
        let chunk = chunk?;
        self.leaf.set(core.index.leaf_of(chunk) as u32);
        self.open_chunk(chunk, spans, self.block().holder.chunks());
        Some(chunk.span(0))
    }

    /// Opens a claimed chunk, whose first `taken` spans are taken, and lists it before `next`, the first.
    #[inline(always)]
    fn open_chunk(&self, chunk: ChunkId, taken: u32, next: ChunkId) {
        let (meta, holder) = (self.chunk(chunk), &self.block().holder);
        meta.owner.store(self.as_owner().0, Relaxed);
        meta.dirty.store(1, Relaxed);
        meta.map.open(taken);
        meta.next.store(next.0, Relaxed);
        holder.set_chunks(chunk);
    }

    /// Lists a chunk of the column that has free spans again.
    #[inline(always)]
    pub(crate) fn list_chunk(&self, chunk: ChunkId, meta: &ChunkMeta) {
        if meta.unlisted.load(Relaxed) == self.as_owner().0 {
            meta.unlisted.store(0, Relaxed);
            self.link_chunk(chunk, meta);
        }
    }

    #[inline(always)]
    fn link_chunk(&self, chunk: ChunkId, meta: &ChunkMeta) {
        let holder = &self.block().holder;
        meta.next.store(holder.chunks().0, Relaxed);
        holder.set_chunks(chunk);
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
            if meta.map.claim_all() {
                meta.owner.store(0, Relaxed);
                core.index.give(chunk);
            } else if meta.map.free() != 0 {
                self.link_chunk(chunk, meta);
            } else {
                meta.unlisted.store(self.as_owner().0, Relaxed);
            }
            chunk = next;
        }
    }
}
