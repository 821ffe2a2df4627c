//! Checking every invariant, while nothing else runs; and the heap map.

use super::Arena;
use crate::column::cell::{Cell, CellId};
use crate::column::core::Core;
use crate::error::{Error, Result};
use crate::map::{ChunkId, Granule, Owner, SpanId};
use crate::size_class::{CHUNK_SPANS, CLASSES, pattern};
use crate::span::{IndexWords, SharedKey};
use crate::sync::Ordering::Relaxed;

/// What a span of 32 KiB serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpanView {
    /// Nothing.
    #[default]
    Free,
    /// Blocks of one class, for the holder of a column.
    Small {
        /// The column.
        column: u32,
        /// Bytes of a slot.
        class_bytes: u32,
        /// Slots that are handed out.
        live: u32,
        /// Slots of the span or run.
        slots: u32,
    },
    /// Blocks of one class that were allocated while somebody else held the column.
    Shared {
        /// The column.
        column: u32,
        /// Bytes of a slot.
        class_bytes: u32,
        /// Slots that are handed out.
        live: u32,
        /// Slots of the span or run.
        slots: u32,
    },
    /// The span before goes on.
    Run,
    /// A large block starts here.
    Large {
        /// The column.
        column: u32,
    },
}

/// What a chunk of 2 MiB serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkView {
    /// Its number, from 0 at the start of user memory.
    pub index: u32,
    /// Its spans.
    pub spans: [SpanView; CHUNK_SPANS],
}

fn broken<T>(invariant: &'static str, at: u64) -> Result<T> {
    Err(Error::Broken { invariant, at })
}

fn check(holds: bool, invariant: &'static str, at: u64) -> Result<()> {
    if holds { Ok(()) } else { broken(invariant, at) }
}

impl Arena {
    /// What each chunk and span serves, in address order. Any thread; a picture of a moment, and
    /// exact while nothing runs.
    pub fn map(&self) -> Vec<ChunkView> {
        let core = &self.core;
        core.chunk_ids()
            .map(|chunk| {
                let mut spans = [SpanView::Free; CHUNK_SPANS];
                let mut run = 0;
                let used = if core.chunk(chunk).owner.load(Relaxed) == 0 { 0 } else { !core.chunk(chunk).map.free() };
                for (place, view) in (0..).zip(&mut spans) {
                    if run > 0 {
                        run -= 1;
                        *view = SpanView::Run;
                    } else if used >> place & 1 != 0 {
                        (*view, run) = core.view(chunk.span(place));
                    }
                }
                ChunkView { index: chunk.0 - 1, spans }
            })
            .collect()
    }

    /// Checks every invariant of the module docs. Only meaningful while nothing else uses the arena;
    /// columns may be held. Takes time that grows with the arena.
    ///
    /// # Errors
    /// [`Error::Broken`] names the first invariant that does not hold.
    pub fn verify(&self) -> Result<()> {
        self.core.verify_chunks()?;
        let mut spans = vec![0_u64; self.columns() as usize];
        let mut result = Ok(());
        self.core.each_head(|head, owner| {
            result = self.core.verify_head(head, owner, &mut spans);
            result.is_ok()
        });
        result?;
        for index in self.core.used_columns() {
            check(self.core.block(index).open.spans() == spans[index as usize], "committed", u64::from(index))?;
            self.core.verify_cells(index)?;
            self.core.verify_listed_chunks(index)?;
        }
        let metrics = self.metrics();
        check(metrics.bytes_live == self.core.live_bytes(), "L2", metrics.bytes_live)
    }
}

impl Core {
    fn view(&self, span: SpanId) -> (SpanView, u32) {
        let owner = self.page(span).owner();
        let Some(column) = owner.index() else { return (SpanView::Run, 0) };
        if owner.is_large() {
            return (SpanView::Large { column }, self.span(span).spans.load(Relaxed).saturating_sub(1));
        }
        let class = &CLASSES[self.span(span).class.load(Relaxed) as usize];
        let (class_bytes, slots, live) = (class.bytes, u32::from(class.slots), self.live_slots(span));
        let run = u32::from(class.spans) - 1;
        if owner.is_shared() {
            (SpanView::Shared { column, class_bytes, live, slots }, run)
        } else {
            (SpanView::Small { column, class_bytes, live, slots }, run)
        }
    }

    /// Blocks of a span that are handed out and freed by nobody, the one held back not counted off.
    fn live_slots(&self, head: SpanId) -> u32 {
        self.words_of(head).map(|word| (self.live.at(word).load(Relaxed) & !self.remote.at(word).load(Relaxed)).count_ones()).sum()
    }

    /// Bytes of all blocks that are handed out.
    fn live_bytes(&self) -> u64 {
        let mut bytes = 0;
        self.each_head(|head, owner| {
            if owner.is_large() {
                bytes += u64::from(self.span(head).spans.load(Relaxed)) * crate::size_class::SPAN as u64;
            } else {
                let class = &CLASSES[self.span(head).class.load(Relaxed) as usize];
                bytes += u64::from(self.live_slots(head)) * u64::from(class.bytes);
            }
            true
        });
        for index in self.used_columns() {
            let held = self.block(index).holder.hold();
            if held != Granule(0) {
                bytes -= u64::from(self.place(held).class().bytes);
            }
        }
        bytes
    }

    /// S2: a chunk in the index is nobody's and has no span in its map; spans that are free in the
    /// map, and those of free chunks, have no owner and no live block.
    fn verify_chunks(&self) -> Result<()> {
        for chunk in self.chunk_ids() {
            let meta = self.chunk(chunk);
            let free = self.index.is_free(chunk);
            check(!free || (meta.map.free() == 0 && meta.owner.load(Relaxed) == 0), "S2", u64::from(chunk.0))?;
            for place in 0..CHUNK_SPANS as u32 {
                let span = chunk.span(place);
                if free || meta.map.free() >> place & 1 != 0 {
                    check(self.page(span).owner().index().is_none(), "M3", u64::from(span.0))?;
                    let first = span.first().word();
                    let empty = (first..first + 32).all(|word| self.live.at(word).load(Relaxed) == 0);
                    check(empty, "M1", u64::from(span.0))?;
                }
            }
        }
        Ok(())
    }

    /// S8: the chunks that a column's holder has in its list, and those that it has not.
    fn verify_listed_chunks(&self, index: u32) -> Result<()> {
        let mut listed = std::collections::HashSet::new();
        let mut chunk = self.block(index).holder.chunks();
        while chunk != ChunkId::NONE {
            check(listed.insert(chunk.0), "S8", u64::from(chunk.0))?;
            chunk = self.chunk(chunk).next();
        }
        for chunk in self.chunk_ids() {
            let meta = self.chunk(chunk);
            let ours = meta.owner.load(Relaxed) == Owner::column(index).0;
            let unlisted = meta.unlisted.load(Relaxed) == Owner::column(index).0;
            check(listed.contains(&chunk.0) != unlisted || !ours && !unlisted, "S8", u64::from(chunk.0))?;
            check(ours || !listed.contains(&chunk.0) && !unlisted, "S8", u64::from(chunk.0))?;
        }
        Ok(())
    }

    fn verify_head(&self, head: SpanId, owner: Owner, spans: &mut [u64]) -> Result<()> {
        let at = u64::from(head.0);
        let Some(index) = owner.index().filter(|&index| index < self.column_count()) else { return broken("M3", at) };
        let meta = self.span(head);
        if owner.is_large() {
            spans[index as usize] += u64::from(meta.spans.load(Relaxed));
            return check(self.live_word(head.first()).load(Relaxed) == 1, "M1", at);
        }
        let page = self.page(head);
        let id = CellId::at_offset(page.cell());
        let class_index = meta.class.load(Relaxed) as usize;
        check(id.is_valid() && id.class() == class_index, "M3", at)?;
        let class = &CLASSES[class_index];
        spans[index as usize] += u64::from(class.spans);
        for span in head.0..head.0 + u32::from(class.spans) {
            check(self.head_of(SpanId(span)) == head && self.page(SpanId(span)).cell() == page.cell(), "M3", u64::from(span))?;
        }
        let starts = self.words_of(head).enumerate().all(|(index, word)| {
            let starts = slot_starts(class_index, index as u64);
            (self.live.at(word).load(Relaxed) | self.remote.at(word).load(Relaxed)) & !starts == 0
        });
        check(starts, "M1", at)?;
        let live: u32 = self.words_of(head).map(|word| self.live.at(word).load(Relaxed).count_ones()).sum();
        if owner.is_shared() {
            let key = SharedKey { column: index, cell: id.0 };
            return check(meta.shared.is_open_for(key) && meta.shared.taken() == live, "H1", at);
        }
        let stray = self.words_of(head).any(|word| self.remote.at(word).load(Relaxed) & !self.live.at(word).load(Relaxed) != 0);
        check(!stray, "M2", at)?;
        let summary = meta.summary.load(Relaxed);
        check((summary | meta.collect.load(Relaxed)) & !class.units == 0, "S3", at)?;
        let kept = self.kept_of(self.cell(index, page.cell()), head);
        check(live + kept == meta.away.load(Relaxed), "S4", at)
    }

    /// Slots of a span that the stack of its cell keeps, or its word without counting them (K3).
    fn kept_of(&self, cell: Cell, head: SpanId) -> u32 {
        let word = cell.word().take(if cell.counted() == 0 { 64 } else { 0 });
        cell.stack().chain(word).filter(|granule| self.head_of(granule.span()) == head).count() as u32
    }

    /// The cells of a column: what they keep is free, once, and theirs; their lists are the spans
    /// with summaries.
    fn verify_cells(&self, index: u32) -> Result<()> {
        let mut seen = std::collections::HashSet::new();
        for id in self.block(index).holder.used_cells() {
            let cell = self.cell(index, id.offset());
            for granule in cell.stack().chain(cell.word()) {
                let place = self.place(granule);
                let ours = place.owner.is_column(index) && place.cell == id.offset();
                let free = self.live_word(granule).load(Relaxed) & granule.bit() == 0;
                check(ours && free && seen.insert(granule.0), "S3", granule.0)?;
            }
            let mut listed = 0;
            let mut span = cell.list();
            let mut before = SpanId::NONE;
            while span != SpanId::NONE {
                let meta = self.span(span);
                check(meta.summary.load(Relaxed) | meta.collect.load(Relaxed) != 0 && meta.prev() == before, "S5", u64::from(span.0))?;
                (before, span, listed) = (span, meta.next(), listed + 1);
                check(listed <= self.spans.len(), "S5", u64::from(id.0))?;
            }
            let (mut with_summary, mut links) = (0, 0);
            self.each_head(|head, owner| {
                let meta = self.span(head);
                let ours = owner.is_column(index) && self.page(head).cell() == id.offset();
                if ours && meta.summary.load(Relaxed) | meta.collect.load(Relaxed) != 0 {
                    with_summary += 1;
                } else if ours {
                    links |= meta.next().0 | meta.prev().0;
                }
                true
            });
            check(listed == with_summary && links == 0, "S5", u64::from(id.0))?;
        }
        Ok(())
    }
}

/// The slot starts of a class in word `index` of its span or run.
fn slot_starts(class_index: usize, index: u64) -> u64 {
    let class = &CLASSES[class_index];
    if class.by_word {
        return pattern(class_index, index as u32);
    }
    let stride = u64::from(class.granules);
    (0..u64::from(class.slots))
        .map(|slot| slot * stride)
        .filter(|start| start / 64 == index)
        .fold(0, |word, start| word | 1 << (start % 64))
}
