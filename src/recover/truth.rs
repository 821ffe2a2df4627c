//! What the memory is, read from a region that may lie, and brought to rest.

use core::ops::Range;

use crate::column::core::{Core, span_bytes};
use crate::column::rows::CellId;
use crate::error::{Error, Result};
use crate::map::{ChunkId, Granule, SpanId};
use crate::region::Section;
use crate::size_class::{CHUNK, CHUNK_SPANS, SPAN_WORDS, slot_starts};
use crate::sync::Ordering::{Relaxed, Release};

/// What starts at a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Nothing: no block of the span is live.
    Free,
    /// Slots of a span or run.
    Slots { index: u32, cell: CellId, shared: bool },
    /// A large block.
    Large { index: u32, spans: u32 },
}

impl Head {
    /// Spans from it to the next head.
    pub(crate) fn spans(self) -> u32 {
        match self {
            Self::Free => 1,
            Self::Slots { cell, .. } => u32::from(cell.class_of().spans),
            Self::Large { spans, .. } => spans,
        }
    }
}

impl Head {
    /// The words of the maps that it covers, if it is at `span`.
    pub(crate) fn words(self, span: SpanId) -> Range<usize> {
        let first = span.first().word();
        first..first + self.spans() as usize * SPAN_WORDS
    }
}

/// What a span's entries say that cannot be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damage {
    /// The invariant that is broken.
    pub(crate) invariant: &'static str,
    /// How.
    pub(crate) what: &'static str,
    /// The same, for who opens the region.
    why: &'static str,
}

/// What starts at a span, or what is wrong there.
pub(crate) type Found = core::result::Result<Head, Damage>;

macro_rules! damage {
    ($what:literal, $invariant:literal) => {
        Damage { invariant: $invariant, what: $what, why: concat!("it is damaged: ", $what, " (", $invariant, ")") }
    };
}

impl Core {
    /// The entries of `spans`, `each` for a span, in a section of what is known of them, as far as they may be something. Of more spans
    /// than a chunk has, those in a file's holes are passed over: they read as zero, and to look would fill them.
    pub(super) fn entries_of(&self, section: Section, each: usize, spans: Range<u32>) -> impl Iterator<Item = usize> + use<> {
        let entries = spans.start as usize * each..spans.end as usize * each;
        let (all, parts) = if spans.len() > CHUNK_SPANS {
            let metadata = self.region.extent().metadata;
            let parts = self.region.written(section.part(metadata, entries));
            (None, parts.into_iter().map(|part| section.entries(metadata, part)).collect())
        } else {
            (Some(entries), Vec::new())
        };
        all.into_iter().chain(parts).flatten()
    }

    /// The words of a map that a head at `span` covers, as far as they may be set.
    fn words_in(&self, map: Section, span: SpanId, head: Head) -> impl Iterator<Item = usize> + use<> {
        self.entries_of(map, SPAN_WORDS, span.0..span.0 + head.spans())
    }

    /// The chunks of which anything is known, in address order.
    pub(crate) fn used_chunks(&self) -> Vec<ChunkId> {
        let mut used = vec![false; self.chunks.len()];
        self.each_used(|chunks| used[chunks].fill(true));
        self.chunk_ids().filter(|chunk| used[chunk.index()]).collect()
    }

    /// Calls `each` with ranges of the numbers of these chunks, in no order, of some more than once. Takes no host memory.
    pub(crate) fn each_used(&self, mut each: impl FnMut(Range<usize>)) {
        let (chunks, metadata) = (self.chunks.len(), self.region.extent().metadata);
        if self.region.file().is_none() {
            return each(0..chunks);
        }
        for section in self.shape.known() {
            let whole = section.range(metadata);
            let bytes = whole.len() / chunks;
            let index = |at: usize| (at - whole.start) / bytes;
            self.region.each_written(whole.clone(), |part| each(index(part.start)..(index(part.end - 1) + 1).min(chunks)));
        }
    }

    /// Looks at every head of chunks that were audited, in address order. What was under another head then, which is gone
    /// by now, has not been audited: it is nothing, if it is damaged.
    pub(crate) fn each_found(&self, chunks: &[ChunkId], mut each: impl FnMut(SpanId, Head)) {
        let sound = |core: &Self, span| {
            let head = core.read_head(span).and_then(|head| core.check_starts(span, head, false));
            Ok(head.unwrap_or(Head::Free))
        };
        for (span, head) in self.heads(chunks.iter().copied(), sound) {
            each(span, head.unwrap_or(Head::Free));
        }
    }

    /// What `read` finds at every span of `chunks` that no head before it covers, in address order. Where it finds damage,
    /// nothing is covered.
    pub(crate) fn heads(
        &self,
        chunks: impl Iterator<Item = ChunkId>,
        read: impl Fn(&Self, SpanId) -> Found,
    ) -> impl Iterator<Item = (SpanId, Found)> {
        let mut next = SpanId::NONE;
        let spans = chunks.flat_map(|chunk| (0..CHUNK_SPANS as u32).map(move |place| chunk.span(place)));
        spans.filter_map(move |span| {
            let head = (span >= next).then(|| read(self, span))?;
            next = SpanId(span.0 + head.map_or(1, Head::spans));
            Some((span, head))
        })
    }

    fn damaged(&self, damage: Damage) -> Error {
        Error::Format { name: self.region.name(), why: damage.why }
    }

    /// What starts at a span that no head before it covers.
    fn read_head(&self, span: SpanId) -> Found {
        let head = self.read_owned(span)?;
        let live = match head {
            Head::Free => false,
            Head::Slots { .. } => head.words(span).any(|word| self.live.at(word).load(Relaxed) != 0),
            Head::Large { .. } => self.live_word(span.first()).load(Relaxed) & 1 != 0,
        };
        Ok(if live { head } else { Head::Free })
    }

    /// The same, whether or not anything is live: whose the span is.
    pub(crate) fn read_owned(&self, span: SpanId) -> Found {
        let (page, meta) = (self.page(span), self.span(span));
        let owner = page.owner();
        let Some(index) = owner.index() else { return Ok(Head::Free) };
        if index >= self.column_count() {
            return Err(damage!("a span belongs to a column that there is not", "M3"));
        }
        if owner.is_large() {
            let spans = meta.spans.load(Relaxed);
            let in_chunk = (1..=CHUNK_SPANS as u32 - span.place()).contains(&spans);
            let chunks = span.place() == 0 && spans.is_multiple_of(CHUNK_SPANS as u32);
            let fits = spans != 0 && u64::from(span.0) + u64::from(spans) <= (self.chunks.len() * CHUNK_SPANS) as u64;
            if !fits || !(in_chunk || chunks) {
                return Err(damage!("a large block reaches beyond its memory", "M3"));
            }
            if meta.align.load(Relaxed) > CHUNK.trailing_zeros() {
                return Err(damage!("a large block has an alignment that none has", "M3"));
            }
            return Ok(Head::Large { index, spans });
        }
        if owner.head(span) != span {
            // What is left of a run that is gone (Y3).
            return Ok(Head::Free);
        }
        let cell = CellId::at_offset(page.cell());
        let known = cell.offset() == page.cell() && (self.rows().have(cell) || owner.is_shared() && cell.is_published_class());
        if !known {
            return Err(damage!("a span belongs to a cell that there is not", "M3"));
        }
        let head = Head::Slots { index, cell, shared: owner.is_shared() };
        if span.place() + head.spans() > CHUNK_SPANS as u32 {
            return Err(damage!("a run of spans reaches beyond its chunk", "M3"));
        }
        Ok(head)
    }

    /// Checks that blocks start only where they can; with `strict` also that none starts where nothing is.
    fn check_starts(&self, span: SpanId, head: Head, strict: bool) -> Found {
        let [.., live, _] = self.shape.known();
        for word in self.words_in(live, span, head) {
            let place = word - span.first().word();
            let live = self.live.at(word).load(Relaxed);
            let starts = match head {
                Head::Free => 0,
                Head::Slots { cell, .. } => slot_starts(cell.class(), place as u64),
                Head::Large { .. } => u64::from(place == 0),
            };
            if live & !starts != 0 && (strict || head != Head::Free) {
                return Err(damage!("a block starts where none can", "M1"));
            }
        }
        Ok(head)
    }

    /// Checks that what is read later is in its range; of a closed region, also that no block starts where
    /// nothing is.
    pub(crate) fn audit(&self, chunks: &[ChunkId], strict: bool) -> Result<()> {
        for (span, head) in self.heads(chunks.iter().copied(), Self::read_head) {
            head.and_then(|head| self.check_starts(span, head, strict)).map_err(|damage| self.damaged(damage))?;
        }
        Ok(())
    }

    /// Brings to rest what was in flight (Y1 to Y5).
    pub(crate) fn settle(&self, chunks: &[ChunkId]) {
        let columns = self.written_columns();
        for &index in &columns {
            if self.block(index).holder.is_resetting() {
                self.settle_reset(chunks, index);
            }
            self.settle_holds(index);
        }
        self.settle_frees(chunks);
    }

    /// The columns of whose blocks anything is known.
    pub(crate) fn written_columns(&self) -> Vec<u32> {
        let blocks = self.shape.blocks(self.region.extent().metadata);
        let stride = self.columns.bytes_each();
        let mut columns: Vec<u32> = self
            .region
            .written(blocks.clone())
            .into_iter()
            .flat_map(|part| (part.start - blocks.start) / stride..=(part.end - 1 - blocks.start) / stride)
            .map(|index| index as u32)
            .collect();
        columns.dedup();
        columns
    }

    /// A reset that was begun is finished (Y4).
    fn settle_reset(&self, chunks: &[ChunkId], index: u32) {
        let [.., live, _] = self.shape.known();
        self.each_found(chunks, |span, head| {
            let ours = matches!(head, Head::Slots { index: owner, .. } | Head::Large { index: owner, .. } if owner == index);
            if ours {
                for word in self.words_in(live, span, head) {
                    self.zero_found(head, word, self.live.at(word).load(Relaxed));
                    self.live.at(word).store(0, Relaxed);
                }
            }
        });
    }

    /// The blocks that a column held back are free (Y2).
    fn settle_holds(&self, index: u32) {
        for held in self.block(index).holds.all() {
            if held.0 < self.region.granules() && self.page(held.span()).owner().is_column(index) {
                let live = self.live_word(held);
                live.store(live.load(Relaxed) & !held.bit(), Relaxed);
            }
        }
    }

    /// What others freed is free (Y2), and what was being published or unpublished and is not named (Y5); and no word of the
    /// remote map is set any more.
    fn settle_frees(&self, chunks: &[ChunkId]) {
        let unnamed = self.unnamed();
        let [.., remote] = self.shape.known();
        self.each_found(chunks, |span, head| {
            let publishes = self.publishes(span, head);
            for word in self.words_in(remote, span, head) {
                let remote = self.remote.at(word);
                let freed = remote.load(Relaxed);
                if freed != 0 {
                    if !publishes {
                        self.free_found(head, word, freed);
                    }
                    // Release: the live bits are cleared before (Y2).
                    remote.store(0, Release);
                }
            }
            if publishes {
                let words = head.words(span);
                unnamed
                    .iter()
                    .filter(|block| words.contains(&block.word()))
                    .for_each(|block| self.free_found(head, block.word(), block.bit()));
            }
        });
    }

    /// Blocks of a word are free, as far as they are live.
    fn free_found(&self, head: Head, word: usize, blocks: u64) {
        let live = self.live.at(word);
        let given = live.load(Relaxed);
        // An unpublication takes the name away before it zeroes.
        self.zero_found(head, word, given & blocks);
        live.store(given & !blocks, Relaxed);
    }

    /// Zeroes blocks of a word which are free from here on, if freed memory is to be zero: whoever died had perhaps not come to it.
    fn zero_found(&self, head: Head, word: usize, mut blocks: u64) {
        if !self.options.zero_freed {
            return;
        }
        let bytes = match head {
            Head::Free => return,
            Head::Slots { cell, .. } => cell.class_of().bytes as usize,
            Head::Large { spans, .. } => span_bytes(u64::from(spans)),
        };
        while blocks != 0 {
            self.zero(Granule(word as u64 * 64 + u64::from(blocks.trailing_zeros())), bytes);
            blocks &= blocks - 1;
        }
    }

    /// Whether the blocks of a head were, or can be, published: then remote bits say nothing of them (H3).
    fn publishes(&self, span: SpanId, head: Head) -> bool {
        match head {
            Head::Free => false,
            Head::Slots { cell, .. } => cell.is_published(),
            Head::Large { .. } => self.span(span).published.load(Relaxed) != 0,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
