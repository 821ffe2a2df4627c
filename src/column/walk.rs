//! Walking a column's blocks in address order, and freeing all of them at once.
//!
//! Both go through the chunks of the arena and the spans in use: one look for each chunk and used
//! span, one step for each word of the column's own spans, whatever the number of blocks.

use super::block::ColumnBlock;
use super::core::{Core, span_bytes};
use super::held::Handle;
use super::remote::clear;
use super::rows::CellId;
use crate::map::{Entry, Granule, Owner, SpanId};
use crate::size_class::{Class, SPAN_WORDS};
use crate::sync::Ordering::{AcqRel, Relaxed};
use crate::sync::bump;

impl Core {
    /// Calls `each` for the first span of everything in use, and what its page entry says, in address order, until it returns false.
    pub(crate) fn each_head(&self, mut each: impl FnMut(SpanId, Entry) -> bool) {
        for chunk in self.chunk_ids() {
            let mut used = if self.chunk(chunk).owner.load(Relaxed) == 0 { 0 } else { !self.chunk(chunk).map.free() };
            while used != 0 {
                let place = used.trailing_zeros();
                let span = chunk.span(place);
                used &= used - 1;
                let Some(entry) = self.head_entry(span) else { continue };
                // The spans of what is visited are passed over, whatever becomes of it meanwhile.
                let end = place + self.spans_of(span, entry);
                used &= if end < 64 { u64::MAX << end } else { 0 };
                if !each(span, entry) {
                    return;
                }
            }
        }
    }

    /// Spans of a run or a large block in its first chunk.
    fn spans_of(&self, head: SpanId, entry: Entry) -> u32 {
        if entry.owner().is_large() {
            self.span(head).spans.load(Relaxed).clamp(1, 64)
        } else {
            u32::from(CellId::of(entry).class_of().spans)
        }
    }

    /// Words of the maps of a span or run with slots of this class.
    fn words_of(head: SpanId, class: &Class) -> core::ops::Range<usize> {
        let first = head.first().word();
        first..first + SPAN_WORDS * usize::from(class.spans)
    }

    /// Calls `each` with the column, the start and the usable bytes of every block, in address order, until it returns
    /// false. While nobody uses the arena, and nothing is held back: after it was opened.
    pub(crate) fn each_block(&self, mut each: impl FnMut(u32, *mut u8, usize) -> bool) {
        self.each_head(|head, entry| {
            let Some(index) = entry.owner().index() else { return true };
            if entry.owner().is_large() {
                return each(index, self.address(head.first()), span_bytes(u64::from(self.span(head).spans.load(Relaxed))));
            }
            let class = CellId::of(entry).class_of();
            let bytes = class.bytes as usize;
            Self::words_of(head, class).all(|word| {
                let mut blocks = self.blocks_of_word(word, entry.owner(), []);
                while blocks != 0 {
                    let granule = Granule(word as u64 * 64 + u64::from(blocks.trailing_zeros()));
                    blocks &= blocks - 1;
                    if !each(index, self.address(granule), bytes) {
                        return false;
                    }
                }
                true
            })
        });
    }

    /// The blocks of a word of `owner` that nobody has freed; `held` are the frees that are held back.
    fn blocks_of_word(&self, word: usize, owner: Owner, held: impl IntoIterator<Item = Granule>) -> u64 {
        // H3: of shared blocks remote bits say nothing.
        let freed = if owner.is_shared() { 0 } else { self.remote.at(word).load(Relaxed) };
        let live = self.live.at(word).load(Relaxed) & !freed;
        held.into_iter().filter(|held| held.word() == word).fold(live, |live, held| live & !held.bit())
    }
}

impl Handle {
    /// Calls `visit` with each block of the column and its usable bytes, in address order, until
    /// it returns false.
    pub(crate) fn walk(&self, mut visit: impl FnMut(*mut u8, usize) -> bool) {
        let core = self.core();
        core.each_head(|head, entry| {
            if entry.owner().index() != Some(self.index()) {
                return true;
            }
            // The visitor, other threads that free and thieves (see `steal`) may give the span back at any moment, and then it is
            // somebody else's: what was read of it counts only if its page entry says the same afterwards.
            let is_left = || core.page(head).still_says(entry);
            if entry.owner().is_large() {
                let granule = head.first();
                let live = core.live_word(granule).load(Relaxed) & granule.bit() != 0 && is_left();
                return !live || visit(core.address(granule), span_bytes(u64::from(core.span(head).spans.load(Relaxed))));
            }
            let class = CellId::of(entry).class_of();
            let left = |word| {
                let blocks = core.blocks_of_word(word, entry.owner(), self.block().holds.all());
                if blocks != 0 && is_left() { blocks } else { 0 }
            };
            Core::words_of(head, class).all(|word| {
                let mut blocks = left(word);
                while blocks != 0 {
                    let granule = Granule(word as u64 * 64 + u64::from(blocks.trailing_zeros()));
                    blocks &= blocks - 1;
                    if !visit(core.address(granule), class.bytes as usize) {
                        return false;
                    }
                    if blocks != 0 {
                        blocks &= left(word); // the visitor may have freed others than the one that it was shown
                    }
                }
                true
            })
        });
    }

    /// Frees every block of the column.
    pub(crate) fn reset(&self) {
        let core = self.core();
        self.flush();
        self.block().holder.set_resetting(true);
        core.each_head(|head, entry| {
            let owner = entry.owner();
            if owner.index() == Some(self.index()) {
                if owner.is_large() {
                    self.reset_large(head);
                } else if owner.is_shared() {
                    self.reset_shared(head);
                } else if core.page(head).begin_reset(self.index()) {
                    self.reset_span(head);
                }
            }
            true
        });
        self.block().holder.set_resetting(false);
        self.release_free_chunks();
        self.report();
    }

    fn reset_large(&self, head: SpanId) {
        let core = self.core();
        if let Ok(freed) = core.free_large(head.first(), self.index()) {
            self.count_past_cells(1, freed.granules());
        }
    }

    fn reset_shared(&self, head: SpanId) {
        let core = self.core();
        let id = CellId::of(core.page(head).read());
        let class = id.class_of();
        let mut slots = 0;
        for word in Core::words_of(head, class) {
            let live = core.live.at(word);
            if live.load(Relaxed) != 0 {
                self.zero_blocks(word, live.load(Relaxed), class.bytes as usize);
                // As in `free_shared`.
                slots += live.swap(0, AcqRel).count_ones();
            }
        }
        self.count_past_cells(slots, u64::from(slots) * u64::from(class.granules));
        if slots != 0 {
            core.release_shared(self.index(), head, id, class, slots);
        }
    }

    /// Frees the blocks of one of the column's spans, of which a reset has begun. The column is
    /// flushed: all its free slots lie under the summary.
    fn reset_span(&self, head: SpanId) {
        let core = self.core();
        let meta = core.span(head);
        let class = core.class_of(head);
        let cell = self.cell(CellId::at_offset(core.page(head).cell()));
        let mut slots = 0;
        for word in Core::words_of(head, class) {
            let (live, remote) = (core.live.at(word), core.remote.at(word));
            self.zero_blocks(word, live.load(Relaxed) & !remote.load(Relaxed), class.bytes as usize);
            slots += clear(live, remote).count_ones();
        }
        bump(&self.block().holder.other_frees, u64::from(slots));
        // Others freed the rest of what was away.
        let away = meta.away.load(Relaxed);
        self.count_taken(i64::from(slots) * i64::from(class.granules));
        self.count_back(u64::from(away - slots) * u64::from(class.granules));
        meta.away.store(0, Relaxed);
        self.put_under_summary(cell, head, meta, class.units);
        meta.collect.store(0, Relaxed);
        // A span that another thread is pushing onto our inbox at this moment stays ours (S6).
        if meta.pending.is_quiet() {
            self.give_span_back(cell, head, meta);
        } else {
            core.page(head).end_reset();
        }
    }

    fn zero_blocks(&self, word: usize, mut blocks: u64, bytes: usize) {
        if self.core().options.zero_freed {
            while blocks != 0 {
                self.core().zero(Granule(word as u64 * 64 + u64::from(blocks.trailing_zeros())), bytes);
                blocks &= blocks - 1;
            }
        }
    }

    /// Counts large or shared blocks that a reset freed.
    fn count_past_cells(&self, blocks: u32, granules: u64) {
        let ColumnBlock { holder, open, .. } = self.block();
        bump(&holder.other_frees, u64::from(blocks));
        open.count_freed(granules);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
