//! The derived, made from nothing: settled maps and page entries are all that is read.

use core::ops::Range;

use super::truth::Head;
use crate::column::Leased;
use crate::column::block::ColumnBlock;
use crate::column::core::{Core, span_bytes};
use crate::column::held::Handle;
use crate::column::rows::CellId;
use crate::map::{ChunkId, Entry, Owner, SpanId};
use crate::size_class::{CHUNK_SPANS, Class, SPAN_WORDS, slot_starts};
use crate::span::IndexWords;
use crate::sync::{AtomicI64, Ordering::Relaxed};

impl Core {
    /// Rebuilds all that is derived. The region is settled, and nobody uses it.
    pub(crate) fn rebuild(&self, chunks: &[ChunkId]) {
        let metadata = self.region.extent().metadata;
        for section in self.shape.derived() {
            for part in self.region.written(section.range(metadata)) {
                self.region.zero(part);
            }
        }
        let columns = self.written_columns();
        for &index in &columns {
            // The limit, which its program has set, stays.
            let block = self.shape.block(metadata, index);
            let limit = block.start + ColumnBlock::LIMIT;
            self.region.zero(block.start..limit);
            self.region.zero(limit + size_of::<AtomicI64>()..block.end);
            self.block(index).open.restart();
        }
        let mut leased = Vec::new();
        let mut with_room = Vec::new();
        self.each_found(chunks, |span, head| match head {
            Head::Free => self.rebuild_free(span.0..span.0 + 1),
            Head::Large { index, spans } => self.rebuild_large(span, index, spans),
            Head::Slots { index, cell, shared: true } => self.rebuild_shared(span, index, cell),
            Head::Slots { index, cell, shared: false } => {
                if self.rebuild_slots(self.leased(index, &mut leased), span, cell) {
                    with_room.push(span);
                }
            }
        });
        // From the highest down: what is listed last is used first.
        for &span in with_room.iter().rev() {
            if let Some(index) = self.page(span).owner().index() {
                self.list_room(self.leased(index, &mut leased), span);
            }
        }
        let mut used = chunks.iter().copied().peekable();
        for chunk in self.chunk_ids() {
            if used.next_if_eq(&chunk).is_some() {
                self.rebuild_chunk(chunk);
            } else if self.chunk(chunk).owner.load(Relaxed) == 0 {
                // Nothing is known of it, and it is no part of a large block.
                self.index.give(chunk);
            }
        }
        for &chunk in chunks.iter().rev() {
            if let Some(index) = Owner(self.chunk(chunk).owner.load(Relaxed)).holder()
                && self.chunk(chunk).map.free() != 0
            {
                self.leased(index, &mut leased).list_anew(chunk);
            }
        }
        for index in columns {
            self.block(index).open.note_had();
        }
        for handle in leased {
            handle.report();
        }
    }

    /// The handle of a column, leased until all is rebuilt.
    fn leased<'a>(&'a self, index: u32, leased: &mut Vec<Leased<'a>>) -> &'a Handle {
        let handle = self.handle(index);
        if let Some(new) = self.lease(index) {
            leased.push(new);
        }
        handle
    }

    /// Spans in which no block starts: of many only those are looked at of which anything is known, as holes say the same.
    fn rebuild_free(&self, all: Range<u32>) {
        let [pages, spans, live, remote] = self.shape.known();
        for (section, map) in [(live, &self.live), (remote, &self.remote)] {
            for word in self.entries_of(section, SPAN_WORDS, all.clone()) {
                if map.at(word).load(Relaxed) != 0 {
                    map.at(word).store(0, Relaxed);
                }
            }
        }
        for span in self.entries_of(pages, 1, all.clone()) {
            let page = self.pages.at(span);
            if page.owner() != Owner::NONE || page.cell() > 1 {
                page.leave();
            }
        }
        for span in self.entries_of(spans, 1, all) {
            self.spans.at(span).forget();
        }
    }

    fn rebuild_large(&self, span: SpanId, index: u32, spans: u32) {
        self.rebuild_free(span.0 + 1..span.0 + spans);
        let meta = self.span(span);
        meta.forget_links();
        self.page(span).set(Owner::large(index), 0);
        self.count_found(index, spans, 1, span_bytes(u64::from(spans)) as u64);
    }

    fn rebuild_shared(&self, span: SpanId, index: u32, cell: CellId) {
        let class = cell.class_of();
        self.rebuild_run(span, Owner::shared(index), cell, class);
        let live = self.live_in(span, class);
        self.open_shared(span, index, cell, live);
        if live < u32::from(class.slots) {
            self.hint_at(index, cell.offset()).store(span.0, Relaxed);
        }
        self.count_found(index, u32::from(class.spans), u64::from(live), u64::from(live) * u64::from(class.bytes));
    }

    /// Counts what is there as if it had just been allocated without the lease.
    fn count_found(&self, index: u32, spans: u32, blocks: u64, bytes: u64) {
        let open = &self.block(index).open;
        open.add_found(spans);
        open.allocs_by_others.fetch_add(blocks, Relaxed);
        open.bytes_by_others.fetch_sub(bytes, Relaxed);
        self.note_used(index);
    }

    /// A span or run that the column's holder gives and takes the slots of. True if it has room.
    fn rebuild_slots(&self, handle: &Handle, span: SpanId, id: CellId) -> bool {
        let class = id.class_of();
        self.rebuild_run(span, handle.owner_for(class), id, class);
        let cell = handle.cell(id);
        if !cell.is_set_up() {
            handle.set_cell_up(cell);
        }
        let live = self.live_in(span, class);
        self.span(span).away.store(live, Relaxed);
        handle.block().open.add_found(u32::from(class.spans));
        cell.count_out(u64::from(live));
        handle.count_given(u64::from(live) * u64::from(class.granules));
        live < u32::from(class.slots)
    }

    /// Lists a span under its cell, with the units that have free slots (S3, S5).
    fn list_room(&self, handle: &Handle, span: SpanId) {
        let meta = self.span(span);
        let id = CellId::at_offset(self.page(span).cell());
        let class = id.class_of();
        let mut units = 0;
        for (place, word) in (span.first().word()..).take(usize::from(class.spans) * SPAN_WORDS).enumerate() {
            let mut free = slot_starts(id.class(), place as u64) & !self.live.at(word).load(Relaxed);
            while free != 0 {
                let granule = place as u64 * 64 + u64::from(free.trailing_zeros());
                units |= 1 << class.unit(granule);
                free &= free - 1;
            }
        }
        handle.put_under_summary(handle.cell(id), span, meta, units);
    }

    /// The spans of a run, as a holder or a thread without the lease sets them up (Y3).
    fn rebuild_run(&self, head: SpanId, owner: Owner, cell: CellId, class: &Class) {
        for after in 0..u32::from(class.spans) {
            let span = SpanId(head.0 + after);
            self.span(span).forget_links();
            self.page(span).write(Entry::new(owner, cell.offset()).after(after));
        }
    }

    fn live_in(&self, head: SpanId, class: &Class) -> u32 {
        let first = head.first().word();
        (first..first + usize::from(class.spans) * SPAN_WORDS).map(|word| self.live.at(word).load(Relaxed).count_ones()).sum()
    }

    /// A chunk's map and owner, from its spans'.
    fn rebuild_chunk(&self, chunk: ChunkId) {
        let meta = self.chunk(chunk);
        if meta.map.free() != 0 || meta.owner.load(Relaxed) != 0 {
            // A part of a large block, which has it whole.
            return;
        }
        let (mut free, mut owner, mut place) = (0, Owner::NONE, 0);
        while place < CHUNK_SPANS as u32 {
            let span = chunk.span(place);
            let owned = self.page(span).owner();
            let Some(index) = owned.index() else {
                free |= 1 << place;
                place += 1;
                continue;
            };
            if owner == Owner::NONE {
                owner = if owned.holder().is_some() { Owner::column(index) } else { Owner::large(index) };
            }
            let meta = self.span(span);
            let spans = if owned.is_large() { meta.spans.load(Relaxed) } else { 1 };
            for whole in 1..spans.div_ceil(CHUNK_SPANS as u32) {
                let whole = self.chunk(ChunkId(chunk.0 + whole));
                whole.owner.store(Owner::large(index).0, Relaxed);
                whole.dirty.store(1, Relaxed);
            }
            place += spans;
        }
        if free == u64::MAX {
            self.index.give(chunk);
        } else {
            meta.map.restore(free);
            meta.owner.store(owner.0, Relaxed);
            // Listed later, if it has room (S8).
            meta.told.store(if owner.holder().is_some() { owner.0 } else { 0 }, Relaxed);
            meta.dirty.store(1, Relaxed);
        }
    }
}
