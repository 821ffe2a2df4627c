//! Resizing a block: where it is, or else by moving it.
//!
//! A block stays where it is if its class stays. A large one gives back what it has above its new length, or takes the spans that
//! follow it, if they are free. All else moves; but a smaller block that is nowhere to be had stays as large as it is.

use core::ptr::NonNull;

use super::core::{Core, span_bytes};
use super::inspect::Live;
use super::large::CHUNK_SPANS_U32;
use super::unusual::Route;
use crate::error::{Error, Result};
use crate::map::{ChunkId, SpanId};
use crate::size_class::{SPAN, SPAN_GRANULES};
use crate::sync::Ordering::Relaxed;

impl Core {
    /// Resizes the block at `p` to `size` bytes; the content, up to the smaller size, is kept. `alloc` and `free` serve it if it
    /// moves; what `alloc` refuses is counted here.
    ///
    /// # Safety
    /// Nothing else uses the block meanwhile, and nothing uses the old address if it moved. `alloc` gives a block of `size` bytes.
    pub(crate) unsafe fn realloc(
        &self,
        p: NonNull<u8>,
        size: usize,
        alloc: impl FnOnce(Live) -> Result<NonNull<u8>>,
        free: impl FnOnce(NonNull<u8>) -> Result<()>,
    ) -> Result<NonNull<u8>> {
        let live = self.live_block(p.as_ptr()).map_err(|error| self.misused(error))?;
        if self.resize(live, size) {
            return Ok(p);
        }
        let to = match alloc(live) {
            Ok(to) => to,
            // What was brought together in vain for all of it may lie behind the block.
            Err(Error::NoMemory { .. } | Error::Quota { .. }) if size <= live.bytes || self.resize(live, size) => return Ok(p),
            Err(error) => return Err(self.counted(error, size, live.align)),
        };
        // SAFETY: M1: both blocks are live, so they are distinct; and they have at least these bytes.
        unsafe { to.copy_from_nonoverlapping(p, live.bytes.min(size)) };
        free(p)?;
        Ok(to)
    }

    /// Makes a block `size` bytes long where it is, if that can be. If not, nothing has changed.
    fn resize(&self, live: Live, size: usize) -> bool {
        match (self.route(size, live.align, u32::MAX), live.large) {
            (Ok(Route::Cell(id)), None) => id.class_of().bytes as usize == live.bytes,
            (Ok(Route::Large { size, .. }), Some(head)) => self.resize_large(live, head, Self::spans_of_large(size)),
            _ => false,
        }
    }

    /// Makes a large block `spans` long where it is, if that can be.
    fn resize_large(&self, live: Live, head: SpanId, spans: u32) -> bool {
        let had = (live.bytes / SPAN) as u32;
        let open = &self.block(live.column).open;
        if spans > had {
            if !self.grow_large(live.column, head, had, spans) {
                return false;
            }
            open.bytes_by_others.fetch_sub(span_bytes(u64::from(spans - had)) as u64, Relaxed);
            if let Some(handle) = self.lease(live.column) {
                handle.report();
            }
        } else if spans < had {
            if self.options.zero_freed {
                self.zero(SpanId(head.0 + spans).first(), span_bytes(u64::from(had - spans)));
            }
            self.shrink_large(live.column, head, had, spans);
            open.count_freed(u64::from(had - spans) * SPAN_GRANULES as u64);
        }
        true
    }

    /// Takes the spans that follow a large block of `had` spans, up to `spans` of them, if the column's limit allows.
    fn grow_large(&self, index: u32, head: SpanId, had: u32, spans: u32) -> bool {
        let place = head.place();
        // A block above a chunk is one of whole chunks.
        let fits = if spans <= CHUNK_SPANS_U32 { place + spans <= CHUNK_SPANS_U32 } else { place == 0 };
        let open = &self.block(index).open;
        if !fits || !open.charge(spans - had) {
            return false;
        }
        let map = &self.chunk(head.chunk()).map;
        let (from, more) = (place + had.min(CHUNK_SPANS_U32), spans.min(CHUNK_SPANS_U32) - had.min(CHUNK_SPANS_U32));
        if more == 0 || map.claim_at(from, more) {
            let after = ChunkId(head.chunk().0 + had.div_ceil(CHUNK_SPANS_U32));
            let chunks = spans.div_ceil(CHUNK_SPANS_U32) - had.div_ceil(CHUNK_SPANS_U32);
            if self.take_chunks_from(index, after, chunks).is_ok() {
                // Y3: it is that long from here on, and all of it is its own.
                self.span(head).spans.store(spans, Relaxed);
                return true;
            }
            if more != 0 {
                map.give(from, more);
            }
        }
        open.refund(spans - had);
        false
    }

    /// Gives back what a large block of `had` spans has above `spans`.
    pub(crate) fn shrink_large(&self, index: u32, head: SpanId, had: u32, spans: u32) {
        let after = SpanId(head.0 + spans);
        // Y3: it is that long from here on, and what follows is nobody's block.
        self.span(head).spans.store(spans, Relaxed);
        let (here, kept) = (had.min(CHUNK_SPANS_U32), spans.min(CHUNK_SPANS_U32));
        if kept < here {
            self.return_open(index, after, here - kept);
        }
        self.block(index).open.refund((had - here) - (spans - kept));
        for chunk in spans.div_ceil(CHUNK_SPANS_U32)..had.div_ceil(CHUNK_SPANS_U32) {
            self.give_chunk(ChunkId(head.chunk().0 + chunk));
        }
    }
}
