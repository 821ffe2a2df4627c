//! What the page table and the maps show: the heap map, and what each column has.
//!
//! Both are pictures of a moment, taken while others change the tables, or from tables that lie: every number is checked
//! before it is used (see `recover`), and what cannot be is left out. [`Arena::verify`] says what is wrong.

use super::Arena;
use crate::column::core::{Core, span_bytes};
use crate::column::rows::{CellId, Row};
use crate::map::{ChunkId, SpanId};
use crate::recover::Head;
use crate::size_class::{CHUNK_SPANS, Class};
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
        /// What the blocks are for.
        kind: BlockKind,
    },
    /// Blocks of one class that were published, or allocated while somebody else held the column.
    Shared {
        /// The column.
        column: u32,
        /// Bytes of a slot.
        class_bytes: u32,
        /// Slots that are handed out.
        live: u32,
        /// Slots of the span or run.
        slots: u32,
        /// What the blocks are for.
        kind: BlockKind,
    },
    /// The span before goes on.
    Run,
    /// A large block starts here.
    Large {
        /// The column.
        column: u32,
    },
}

/// What the blocks of a span are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// For spike times of some zones. An arena that is small for its columns has neighbouring zones in the same spans.
    Zones {
        /// The first of them.
        first: u8,
        /// The last.
        last: u8,
    },
    /// For requests with an alignment above 16 bytes.
    Aligned,
    /// For ordered batches.
    Ordered,
    /// For requests above 4 KiB, whatever their zone.
    Medium,
    /// For publications.
    Published,
}

/// What a chunk of 2 MiB serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkView {
    /// Its number, from 0 at the start of user memory.
    pub index: u32,
    /// Its spans.
    pub spans: [SpanView; CHUNK_SPANS],
}

impl Arena {
    /// What each chunk and span serves, in address order. Any thread; a picture of a moment, and
    /// exact while nothing runs. Takes host memory.
    pub fn map(&self) -> Vec<ChunkView> {
        self.core.picture(&self.core.used_chunks())
    }
}

/// What a column has, by the maps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Holdings {
    /// Blocks that are handed out.
    pub(crate) blocks: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Spans.
    pub(crate) spans: u64,
}

impl Holdings {
    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { blocks: self.blocks + other.blocks, bytes: self.bytes + other.bytes, spans: self.spans + other.spans }
    }
}

impl Core {
    /// The heap map; chunks that are not among `used` are free.
    pub(crate) fn picture(&self, used: &[ChunkId]) -> Vec<ChunkView> {
        let free = |chunk: ChunkId| ChunkView { index: chunk.0 - 1, spans: [SpanView::Free; CHUNK_SPANS] };
        let mut map: Vec<_> = self.chunk_ids().map(free).collect();
        for (span, found) in self.heads(used.iter().copied(), Self::read_owned) {
            let Ok(head) = found else { continue };
            let Some(view) = self.view(span, head) else { continue };
            for rest in span.0..span.0 + head.spans() {
                let rest = SpanId(rest);
                map[rest.chunk().index() - 1].spans[rest.place() as usize] = if rest == span { view } else { SpanView::Run };
            }
        }
        map
    }

    fn view(&self, span: SpanId, head: Head) -> Option<SpanView> {
        let (column, cell, shared) = match head {
            Head::Free => return None,
            Head::Large { index, .. } => return Some(SpanView::Large { column: index }),
            Head::Slots { index, cell, shared } => (index, cell, shared),
        };
        let class = cell.class_of();
        let (class_bytes, live, slots, kind) = (class.bytes, self.live_slots(span, head, class), u32::from(class.slots), self.kind(cell));
        Some(if shared {
            SpanView::Shared { column, class_bytes, live, slots, kind }
        } else {
            SpanView::Small { column, class_bytes, live, slots, kind }
        })
    }

    fn kind(&self, cell: CellId) -> BlockKind {
        match cell.row() {
            Some(Row::Zone(row) | Row::NarrowZone(row)) => {
                let (first, last) = self.rows().zones_of(row);
                BlockKind::Zones { first: first as u8, last: last as u8 }
            }
            Some(Row::Aligned) => BlockKind::Aligned,
            Some(Row::Ordered) => BlockKind::Ordered,
            Some(Row::Medium | Row::MediumAligned) => BlockKind::Medium,
            None => BlockKind::Published,
        }
    }

    /// Blocks of a span of some class that are handed out and freed by nobody, those held back not counted off.
    fn live_slots(&self, span: SpanId, head: Head, class: &Class) -> u32 {
        // H3: of shared blocks remote bits say nothing.
        let shared = matches!(head, Head::Slots { shared: true, .. });
        let freed = |word| if shared { 0 } else { self.remote.at(word).load(Relaxed) };
        let live = |word| (self.live.at(word).load(Relaxed) & !freed(word)).count_ones();
        // No more than there are, whatever the maps say.
        head.words(span).map(live).sum::<u32>().min(u32::from(class.slots))
    }

    /// What each column has, by its number; nothing lies outside of the chunks `used`.
    pub(crate) fn holdings(&self, used: &[ChunkId]) -> Vec<Holdings> {
        let mut all = vec![Holdings::default(); self.column_count() as usize];
        self.each_holding(used.iter().copied(), |index, holdings| all[index as usize] = all[index as usize].and(holdings));
        all
    }

    /// Calls `each` with columns, and with what they have in a span or run, or as a large block. Takes no host memory.
    pub(crate) fn each_holding(&self, used: impl Iterator<Item = ChunkId>, mut each: impl FnMut(u32, Holdings)) {
        for (span, found) in self.heads(used, Self::read_owned) {
            let Ok(head) = found else { continue };
            let (index, blocks, bytes) = match head {
                Head::Free => continue,
                Head::Large { index, spans } => {
                    (index, self.live_word(span.first()).load(Relaxed) & 1, span_bytes(u64::from(spans)) as u64)
                }
                Head::Slots { index, cell, shared } => {
                    let class = cell.class_of();
                    let held = if shared { 0 } else { self.held_back_in(index, span, head) };
                    let blocks = self.live_slots(span, head, class).saturating_sub(held);
                    (index, u64::from(blocks), u64::from(class.bytes))
                }
            };
            each(index, Holdings { blocks, bytes: blocks * bytes, spans: u64::from(head.spans()) });
        }
    }

    /// How many of the blocks whose frees the column's holder holds back count as live among those of a span or run.
    fn held_back_in(&self, index: u32, span: SpanId, head: Head) -> u32 {
        let words = head.words(span);
        let held = self.block(index).holds.all().filter(|held| {
            words.contains(&held.word()) && (self.live_word(*held).load(Relaxed) & !self.remote_word(*held).load(Relaxed)) & held.bit() != 0
        });
        held.count() as u32
    }
}
