//! Large blocks: whole spans of one chunk, or whole chunks in a row. Any thread gives and takes
//! them, without any lease: the spans are claimed in the chunks' maps, and the live bit, changed by a
//! read-modify-write, decides which of two frees is the first.
//!
//! Chunks that large blocks reserve are marked (`owner` with the large flag): no holder lists them,
//! and the free that leaves one empty gives it back. The column's holder adopts such a chunk when it takes
//! spans that large blocks have left over (`chunks`): from then on it is one of those that it reserved.

use super::core::{Core, Freed, Misuse, span_bytes};
use crate::error::{Error, Result};
use crate::map::{ChunkId, Granule, Owner, SpanId};
use crate::size_class::{CHUNK, CHUNK_SPANS, SPAN, SPAN_GRANULES};
use crate::span::IndexWords;
use crate::sync::Ordering::{AcqRel, Relaxed};

/// Spans of a chunk.
pub(super) const CHUNK_SPANS_U32: u32 = CHUNK_SPANS as u32;

impl Core {
    /// Allocates `size` bytes as whole spans or chunks, for column `index`. Returns the block and
    /// its bytes. Lock-free; looks at each chunk once in the worst case, and claims each chunk of
    /// a block above 2 MiB.
    pub(crate) fn alloc_large(&self, index: u32, size: usize, align: usize) -> Result<(*mut u8, u64)> {
        let (head, spans) = self.take_large(index, size, align)?;
        let first = head.first();
        self.live_word(first).fetch_or(first.bit(), Relaxed);
        self.page(head).set(Owner::large(index), 0);
        self.note_used(index);
        Ok((self.address(first), span_bytes(u64::from(spans)) as u64))
    }

    /// The spans of a large block: above a chunk, those of whole chunks.
    pub(crate) fn spans_of_large(size: usize) -> u32 {
        (if size <= CHUNK { size.div_ceil(SPAN) } else { size.div_ceil(CHUNK) * CHUNK_SPANS }) as u32
    }

    /// Takes the spans of a large block, and notes what it is; they are the caller's, and nobody's block yet. The
    /// first of them, and their number.
    pub(crate) fn take_large(&self, index: u32, size: usize, align: usize) -> Result<(SpanId, u32)> {
        let spans = Self::spans_of_large(size);
        let open = &self.block(index).open;
        self.charge(index, spans)?;
        let head = if spans <= CHUNK_SPANS_U32 {
            self.take_open(index, spans, (align / SPAN).max(1) as u32)
        } else {
            self.take_chunks(index, spans / CHUNK_SPANS_U32)
        };
        let Some(head) = head else {
            open.refund(spans);
            return Err(Error::NoMemory { size, align });
        };
        self.note_alignment(align);
        let meta = self.span(head);
        meta.spans.store(spans, Relaxed);
        meta.align.store(align.trailing_zeros(), Relaxed);
        meta.published.store(0, Relaxed);
        Ok((head, spans))
    }

    /// Gives back the spans of a large block that is not live any more.
    pub(crate) fn leave_large(&self, index: u32, head: SpanId, spans: u32) {
        if spans <= CHUNK_SPANS_U32 {
            self.return_open(index, head, spans);
        } else {
            self.page(head).leave();
            self.block(index).open.refund(spans);
            for chunk in 0..spans / CHUNK_SPANS_U32 {
                self.give_chunk(ChunkId(head.chunk().0 + chunk));
            }
        }
    }

    /// Frees the large block whose span `granule` lies in.
    #[inline(never)]
    pub(crate) fn free_large(&self, granule: Granule, index: u32) -> core::result::Result<Freed, Misuse> {
        let head = granule.span();
        if granule != head.first() {
            return Err(Misuse::NoBlock);
        }
        let spans = self.span(head).spans.load(Relaxed);
        let live = self.live_word(granule);
        if live.load(Relaxed) & granule.bit() == 0 {
            return Err(Misuse::Twice);
        }
        if self.options.zero_freed {
            self.zero(granule, span_bytes(u64::from(spans)));
        }
        // AcqRel: the first of two frees wins, and the program's use of the block comes before.
        if live.fetch_and(!granule.bit(), AcqRel) & granule.bit() == 0 {
            return Err(Misuse::Twice);
        }
        self.leave_large(index, head, spans);
        Ok(Freed::new(index, u64::from(spans) * SPAN_GRANULES as u64))
    }

    /// Takes `spans` (1 to 64) spans in a row for column `index` without its lease: from the chunk
    /// of its last large block, a new chunk, or else any chunk.
    pub(crate) fn take_open(&self, index: u32, spans: u32, align: u32) -> Option<SpanId> {
        let open = &self.block(index).open;
        let hint = ChunkId(open.large_chunk.load(Relaxed));
        if hint != ChunkId::NONE
            && let Some(head) = self.take_from(hint, spans, align)
        {
            return Some(head);
        }
        let open_chunk = || {
            let (chunk, failed) = self.index.claim_first();
            self.count_retries(u64::from(failed));
            let meta = self.chunk(chunk?);
            meta.owner.store(Owner::large(index).0, Relaxed);
            meta.dirty.store(1, Relaxed);
            meta.map.open(spans);
            chunk
        };
        // Where there is none nothing passes: who finds nothing does not disturb its own look (Z1).
        let opened = if self.index.may_have_any() { self.passings.pass(open_chunk) } else { None };
        let Some(chunk) = opened else { return self.take_anywhere(spans, align) };
        open.large_chunk.store(chunk.0, Relaxed);
        Some(chunk.span(0))
    }

    /// Gives spans back that `take_open` took.
    pub(crate) fn return_open(&self, index: u32, head: SpanId, spans: u32) {
        let chunk = head.chunk();
        self.return_spans(index, head, spans);
        if self.chunk(chunk).map.free() == u64::MAX {
            self.sweep_chunk(chunk);
        } else {
            self.block(index).open.large_chunk.store(chunk.0, Relaxed);
        }
    }

    /// Gives a wholly free chunk that no holder lists back to the arena.
    pub(crate) fn sweep_chunk(&self, chunk: ChunkId) {
        let meta = self.chunk(chunk);
        self.passings.pass(|| {
            if meta.map.sweep(&meta.owner) {
                self.index.give(chunk);
            }
        });
    }

    /// Spans in a row from any chunk that has them: looks at each once, mostly to see that it has none.
    pub(crate) fn take_anywhere(&self, spans: u32, align: u32) -> Option<SpanId> {
        self.chunk_ids().filter(|&chunk| self.chunk(chunk).map.free() != 0).find_map(|chunk| self.take_from(chunk, spans, align))
    }

    fn take_from(&self, chunk: ChunkId, spans: u32, align: u32) -> Option<SpanId> {
        let (place, failed) = self.chunk(chunk).map.claim(spans, align);
        self.count_retries(u64::from(failed));
        place.map(|place| chunk.span(place))
    }

    /// `count` chunks in a row, each nobody's or wholly free: the lowest such run.
    fn take_chunks(&self, index: u32, count: u32) -> Option<SpanId> {
        let mut first = ChunkId(1);
        // Looked at before any is taken: those of a run that is too short would pass, and be given back (Z1).
        let is_free =
            |&chunk: &ChunkId| chunk.index() < self.chunks.len() && (self.index.is_free(chunk) || self.chunk(chunk).map.free() == u64::MAX);
        let look = |first: ChunkId| match (first.0..first.0 + count).map(ChunkId).find(|chunk| !is_free(chunk)) {
            Some(taken) => Err(taken),
            None => self.passings.pass(|| self.take_chunks_from(index, first, count)),
        };
        while let Err(taken) = look(first) {
            first = ChunkId(taken.0 + 1);
            if first.index() >= self.chunks.len() {
                return None;
            }
        }
        Some(first.span(0))
    }

    /// Takes `count` chunks in a row, each nobody's or wholly free, from this one on.
    ///
    /// # Errors
    /// The first one that is neither, perhaps one after the last that there is. Nothing has changed then.
    pub(crate) fn take_chunks_from(&self, index: u32, first: ChunkId, count: u32) -> core::result::Result<(), ChunkId> {
        let chunks = (first.0..first.0 + count).map(ChunkId);
        if let Some(taken) = chunks.clone().find(|&chunk| chunk.index() >= self.chunks.len() || !self.take_chunk(chunk)) {
            (first.0..taken.0).for_each(|chunk| self.give_chunk(ChunkId(chunk)));
            return Err(taken);
        }
        for meta in chunks.map(|chunk| self.chunk(chunk)) {
            meta.dirty.store(1, Relaxed);
            if meta.owner.load(Relaxed) == 0 {
                meta.owner.store(Owner::large(index).0, Relaxed);
            }
        }
        Ok(())
    }

    /// Takes one whole chunk, if it is nobody's, or reserved but wholly free.
    fn take_chunk(&self, chunk: ChunkId) -> bool {
        if self.chunk(chunk).map.free() == u64::MAX {
            self.chunk(chunk).map.claim_all()
        } else {
            self.index.is_free(chunk) && self.index.claim(chunk)
        }
    }

    /// Gives a chunk that the caller owns whole to whom it belongs.
    pub(crate) fn give_chunk(&self, chunk: ChunkId) {
        let meta = self.chunk(chunk);
        if meta.map.disown(&meta.owner) {
            self.index.give(chunk);
        }
    }
}
