//! Checking invariants while nothing else runs: in an arena, or in the copy of a region file that may lie.
//!
//! ```text
//! chunks   the chunk index          <-->  chunk maps                               S2
//! cells    stacks, words            <-->  what a cell can be                       K1 S1 S3
//! heads    page entries, both maps  <-->  chunk maps, what is known of spans       M1 M2 M3 H1 S2 S3 S4
//! lists    cells' lists; inboxes    <-->  summaries; announcements                 S5 S6
//!          columns' lists of chunks <-->  what chunks say                          S8
//! ```
//!
//! What was written by somebody else is no index before it was compared with what there is: no table is read outside of
//! its bounds, and no chain is followed without end. What is found is told, up to a number of each invariant, and the
//! search goes on behind it.

use std::collections::{HashMap, HashSet};

use super::Arena;
use super::Holdings;
use crate::column::cell::CellId;
use crate::column::core::Core;
use crate::error::{Error, Result};
use crate::map::{ChunkId, Granule, Owner, SpanId};
use crate::recover::Head;
use crate::size_class::{CHUNK_SPANS, slot_starts};
use crate::span::{ChunkMeta, IndexWords, LISTS, Next, SharedKey};
use crate::sync::Ordering::Relaxed;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Finding {
    /// The invariant's name, as in the module docs and in ARCHITECTURE.md; "committed" if a column's spans are not as many as are
    /// counted against its limit.
    pub invariant: &'static str,
    /// Where: a granule, span, chunk, cell or column number, as `what` says.
    pub at: u64,
    /// What is wrong, in a sentence.
    pub what: String,
    /// It is about what is derived: opening the region makes it anew, and no block is lost.
    pub derived: bool,
}

impl Arena {
    /// Checks the invariants that ARCHITECTURE.md lists as checked, not all that are stated. Only meaningful while nothing else uses
    /// the arena (columns may be held): beside a thread that works it may find invariants broken that hold. Takes time that grows with
    /// the arena.
    ///
    /// # Errors
    /// [`Error::Broken`] names the first of them that does not hold.
    pub fn verify(&self) -> Result<()> {
        let chunks = self.core.used_chunks();
        let broken = |invariant, at| Err(Error::Broken { invariant, at });
        if let Some(first) = self.core.findings(&chunks, 1).first() {
            return broken(first.invariant, first.at);
        }
        let (metrics, live) = (self.core.metrics(), self.core.holdings(&chunks).iter().map(|column| column.bytes).sum::<u64>());
        if metrics.bytes_live == live { Ok(()) } else { broken("L2", metrics.bytes_live) }
    }
}

impl Core {
    /// What does not hold, up to `most` findings of each invariant. Nothing is known of chunks that are not among `used`.
    pub(crate) fn findings(&self, used: &[ChunkId], most: usize) -> Vec<Finding> {
        let (found, told, kept, strays, with_room) = (Vec::new(), HashMap::new(), HashMap::new(), Vec::new(), HashMap::new());
        let mut check = Check { core: self, used, most, found, told, kept, strays, with_room };
        check.chunks();
        check.chunk_lists();
        check.cells();
        check.heads();
        check.lists();
        check.inboxes();
        check.committed(&self.holdings(used));
        check.found
    }
}

impl Core {
    fn is_free_span(&self, span: SpanId) -> bool {
        let chunk = span.chunk();
        self.index.is_free(chunk) || self.chunk(chunk).map.free() >> span.place() & 1 != 0
    }
}

/// A slot, by whom it is kept, and whether its span counts it as away (K3).
#[derive(Clone, Copy)]
struct KeptSlot {
    granule: Granule,
    index: u32,
    id: CellId,
    away: bool,
}

struct Check<'a> {
    core: &'a Core,
    used: &'a [ChunkId],
    most: usize,
    found: Vec<Finding>,
    /// How many of each invariant.
    told: HashMap<&'static str, usize>,
    /// Slots that stacks and words keep, by the words of the maps that they are in.
    kept: HashMap<usize, Vec<KeptSlot>>,
    /// Those of them that are no free slots of the cells that keep them.
    strays: Vec<KeptSlot>,
    /// Spans with units under their summary or to be collected, by column and cell.
    with_room: HashMap<(u32, u32), usize>,
}

impl<'a> Check<'a> {
    /// Notes that an invariant about what is derived does not hold.
    fn derived(&mut self, holds: bool, invariant: &'static str, at: impl Into<u64>, what: impl FnOnce() -> String) {
        self.note(holds, invariant, at.into(), true, what);
    }

    /// Notes that an invariant about what nothing else tells does not hold.
    fn truth(&mut self, holds: bool, invariant: &'static str, at: impl Into<u64>, what: impl FnOnce() -> String) {
        self.note(holds, invariant, at.into(), false, what);
    }

    fn note(&mut self, holds: bool, invariant: &'static str, at: u64, derived: bool, what: impl FnOnce() -> String) {
        if holds {
            return;
        }
        let told = self.told.entry(invariant).or_default();
        if *told < self.most {
            *told += 1;
            self.found.push(Finding { invariant, at, what: what(), derived });
        }
    }

    /// Whether there is such a span.
    fn has(&self, span: SpanId) -> bool {
        (CHUNK_SPANS..self.core.spans.len()).contains(&span.index())
    }

    /// Columns in use, and their cells, as far as they may be in use.
    fn used_cells(&self) -> impl Iterator<Item = (u32, CellId)> + use<'a> {
        let core = self.core;
        let cells = move |index| core.block(index).holder.cells_near_used(core.rows()).map(move |id| (index, id));
        core.used_columns().filter(|&index| index < core.column_count()).flat_map(cells)
    }

    /// S2: a chunk in the index is nobody's and has no span in its map; the levels above the index know of it.
    fn chunks(&mut self) {
        let core = self.core;
        for level in 1..3 {
            for (below, word) in (0..core.index.words(level - 1)).map(|below| (below, core.index.word(level - 1, below))) {
                let known = core.index.word(level, below / 64).load(Relaxed) >> (below % 64) & 1 != 0;
                let holds = word.load(Relaxed) == 0 || known;
                self.derived(holds, "S2", below as u64, || format!("word {below} of level {} of the chunk index is not found", level - 1));
            }
        }
        for chunk in core.chunk_ids() {
            let meta = core.chunk(chunk);
            let holds = !core.index.is_free(chunk) || (meta.map.free() == 0 && meta.owner.load(Relaxed) == 0);
            self.derived(holds, "S2", chunk.0, || format!("chunk {} is in the chunk index, and somebody's", chunk.0));
        }
    }

    /// S8: the chunks that a column's holder has in its lists, those that wait, and what they say themselves.
    fn chunk_lists(&mut self) {
        let core = self.core;
        let (mut listed, mut quiet) = (HashMap::new(), HashMap::new());
        for index in core.used_columns().filter(|&index| index < core.column_count()) {
            let holder = &core.block(index).holder;
            for list in 1..=LISTS {
                let (first, filled) = (holder.first_of(list), holder.filled() >> list & 1 != 0);
                let holds = filled == (first != ChunkId::NONE);
                self.derived(holds, "S8", index, || format!("column {index} does not know whether list {list} has chunks"));
                self.chain(index, first, ChunkMeta::next, |at| listed.insert(at.0, (index, list)).is_none());
            }
            self.chain(index, holder.waiting(), ChunkMeta::after, |at| quiet.insert(at.0, index).is_none());
        }
        // Of those that wait for nothing and are in no list, a column has one: the chunk for single spans. Which one its handle knows,
        // which is not in a region file; nor may it be asked while somebody holds the column.
        let mut singles = HashMap::new();
        let known: HashMap<_, _> = core.used_columns().filter_map(|index| Some((index, self.single_of(index)?))).collect();
        for chunk in core.chunk_ids() {
            let meta = core.chunk(chunk);
            let holder = Owner(meta.owner.load(Relaxed)).holder();
            let (list, quiet) = (listed.get(&chunk.0).copied(), quiet.get(&chunk.0).copied());
            let lists = list.map_or(meta.list() == 0, |list| Some(list.0) == holder && list.1 == meta.list());
            let told = Owner(meta.told.load(Relaxed)).index();
            let waits = quiet.is_some();
            let is_of = |holder: u32| *known.get(&holder).unwrap_or(&chunk) == chunk && singles.insert(holder, chunk).is_none();
            let is_single = !waits && told.is_none() && list.is_none() && holder.is_some_and(is_of);
            let tells = if waits { quiet == holder && told.is_none() } else { told == holder || is_single };
            self.derived(lists && tells, "S8", chunk.0, || format!("chunk {} is not where it says", chunk.0));
        }
    }

    /// The chunk from which column `index` takes single spans, if its handle may be asked.
    fn single_of(&self, index: u32) -> Option<ChunkId> {
        let core = self.core;
        let lease = &(index < core.column_count()).then(|| core.block(index))?.open.lease;
        if !lease.try_take() {
            return None;
        }
        let handle = core.handle(index);
        let single = handle.is_set_up().then(|| handle.single());
        lease.give_back();
        single
    }

    /// Follows a chain of chunks of column `index`; `is_new` of each.
    fn chain(&mut self, index: u32, first: ChunkId, after: fn(&ChunkMeta) -> ChunkId, mut is_new: impl FnMut(ChunkId) -> bool) {
        let mut chunk = first;
        while chunk != ChunkId::NONE {
            let once = chunk.index() < self.core.chunks.len() && is_new(chunk);
            self.derived(once, "S8", chunk.0, || {
                format!("the chunks of column {index} name chunk {}, which there is not, or twice", chunk.0)
            });
            if !once {
                break;
            }
            chunk = after(self.core.chunk(chunk));
        }
    }

    /// K1, and what cells keep.
    fn cells(&mut self) {
        let core = self.core;
        let strange = core.used_columns().find(|&index| index >= core.column_count());
        let at = strange.unwrap_or(0);
        self.derived(strange.is_none(), "S1", at, || format!("column {at} is in use, and there is none"));
        for index in core.used_columns().filter(|&index| index < core.column_count()) {
            let strange = core.block(index).holder.strange_page(core.rows());
            let at = strange.unwrap_or(0) as u64;
            self.derived(strange.is_none(), "K1", at, || format!("cells on page {at} of column {index} are in use, and there are none"));
        }
        for (index, id) in self.used_cells() {
            let cell = core.cell(index, id.offset());
            let sound = cell.is_sound(id, core.region.granules());
            self.derived(sound, "K1", id.0, || format!("cell {} of column {index} has numbers that no such cell has", id.0));
            if sound {
                let granules = u64::from(id.class_of().granules);
                let slots =
                    cell.stack().map(|granule| (granule, true)).chain(cell.word_of(granules).map(|granule| (granule, cell.counted() == 0)));
                for (granule, away) in slots {
                    let kept = self.kept.entry(granule.word()).or_default();
                    let once = kept.iter().all(|other| other.granule != granule);
                    kept.push(KeptSlot { granule, index, id, away });
                    self.derived(once, "S3", granule.0, || format!("granule {:#x} is kept twice by cells", granule.0));
                }
            }
        }
    }

    /// What page entries, maps and the entries of spans say of each other.
    fn heads(&mut self) {
        let core = self.core;
        // Whole chunks of large blocks, in address order: nothing need be known of them.
        let mut whole = Vec::new();
        for (span, found) in core.heads(self.used, Core::read_owned) {
            match found {
                Err(damage) => self.truth(false, damage.invariant, span.0, || format!("span {}: {}", span.0, damage.what)),
                Ok(Head::Free) => self.free_span(span),
                Ok(head @ Head::Large { .. }) => {
                    self.taken(span, head);
                    self.large(span, head);
                    if head.spans() > CHUNK_SPANS as u32 {
                        whole.push(span.chunk().0..span.chunk().0 + head.spans() / CHUNK_SPANS as u32);
                    }
                }
                Ok(head @ Head::Slots { index, cell, shared }) => {
                    self.taken(span, head);
                    self.run(span, head, cell);
                    if shared {
                        self.shared(span, head, index, cell);
                    } else {
                        self.held(span, head, index, cell);
                    }
                }
            }
        }
        for chunk in core.chunk_ids().filter(|chunk| self.used.binary_search(chunk).is_err()) {
            let free = core.is_free_span(chunk.span(0)) || {
                let at = whole.partition_point(|whole| whole.end <= chunk.0);
                whole.get(at).is_some_and(|whole| whole.contains(&chunk.0))
            };
            self.derived(free, "S2", chunk.0, || format!("chunk {} is nobody's, and not free", chunk.0));
        }
        // Those of free slots are gone by now.
        let mut strays = core::mem::take(&mut self.strays);
        strays.extend(self.kept.drain().flat_map(|(_, kept)| kept));
        strays.sort_unstable_by_key(|stray| stray.granule);
        for KeptSlot { granule, index, id, .. } in strays {
            self.derived(false, "S3", granule.0, || {
                format!("granule {:#x} is kept by cell {} of column {index}, and no free slot of its spans", granule.0, id.0)
            });
        }
    }

    /// S2: what is somebody's is not free.
    fn taken(&mut self, span: SpanId, head: Head) {
        let core = self.core;
        let free = (span.0..span.0 + head.spans()).map(SpanId).find(|&span| core.is_free_span(span));
        let at = free.map_or(0, |span| span.0);
        self.derived(free.is_none(), "S2", at, || format!("span {at} is free, and somebody's"));
    }

    /// A span that nothing starts in: it is nobody's, free, and without a block.
    fn free_span(&mut self, span: SpanId) {
        let core = self.core;
        let mut words = Head::Free.words(span);
        let live = words.any(|word| core.live.at(word).load(Relaxed) != 0);
        self.truth(!live, "M1", span.0, || format!("a block is live in span {}, which is nobody's", span.0));
        let owner = core.page(span).owner();
        if let Some(index) = owner.index() {
            let head = core.head_of(span).0;
            self.derived(false, "M3", span.0, || format!("span {} of column {index} goes on with span {head}, which does not", span.0));
            return;
        }
        self.derived(core.is_free_span(span), "S2", span.0, || format!("span {} is nobody's, and not free", span.0));
    }

    fn large(&mut self, span: SpanId, head: Head) {
        let core = self.core;
        let mut words = head.words(span);
        let first = words.next().map_or(0, |word| core.live.at(word).load(Relaxed));
        self.derived(first & 1 != 0, "M1", span.0, || format!("the large block at span {} has its spans, and is not live", span.0));
        let others = first & !1 != 0 || words.any(|word| core.live.at(word).load(Relaxed) != 0);
        self.truth(!others, "M1", span.0, || format!("in the large block at span {} other blocks are live", span.0));
        let owned = (span.0 + 1..span.0 + head.spans()).find(|&rest| core.page(SpanId(rest)).owner() != Owner::NONE);
        let at = owned.unwrap_or(0);
        self.truth(owned.is_none(), "M3", at, || format!("span {at}, inside the large block at span {}, belongs to somebody", span.0));
    }

    /// M3, and M1 and M2 as far as slots start where bits are.
    fn run(&mut self, head: SpanId, found: Head, cell: CellId) {
        let core = self.core;
        let owner = core.page(head).owner();
        for span in (head.0 + 1..head.0 + found.spans()).map(SpanId) {
            let page = core.page(span);
            let goes_on = core.head_of(span) == head && page.cell() == cell.offset() && page.owner().is_as(owner);
            self.derived(goes_on, "M3", span.0, || format!("span {} does not go on with the run at span {}", span.0, head.0));
        }
        for (place, word) in found.words(head).enumerate() {
            let starts = slot_starts(cell.class(), place as u64);
            let (live, remote) = (core.live.at(word).load(Relaxed), core.remote.at(word).load(Relaxed));
            self.truth(live & !starts == 0, "M1", head.0, || format!("in span {} a block is live where no slot starts", head.0));
            self.derived(remote & !starts == 0, "M2", head.0, || format!("in span {} a block was freed where no slot starts", head.0));
        }
    }

    fn live_in(&self, head: SpanId, found: Head) -> u32 {
        found.words(head).map(|word| self.core.live.at(word).load(Relaxed).count_ones()).sum()
    }

    fn shared(&mut self, head: SpanId, found: Head, index: u32, cell: CellId) {
        let (state, live) = (&self.core.span(head).shared, self.live_in(head, found));
        let (open, taken) = (state.is_open_for(SharedKey { column: index, cell: cell.0 }), state.taken());
        self.derived(open && taken == live, "H1", head.0, || {
            format!("shared span {} has {live} live blocks, and {taken} slots taken{}", head.0, if open { "" } else { " for another cell" })
        });
    }

    fn held(&mut self, head: SpanId, found: Head, index: u32, id: CellId) {
        let core = self.core;
        let (meta, class) = (core.span(head), id.class_of());
        let says_so = core.page(head).owner().is_run() == class.is_medium();
        self.derived(says_so, "M3", head.0, || format!("span {} does not say whether its slots are of a medium class", head.0));
        let stray = found.words(head).any(|word| core.remote.at(word).load(Relaxed) & !core.live.at(word).load(Relaxed) != 0);
        self.derived(!stray, "M2", head.0, || format!("in span {} a block was freed by others that is not live", head.0));
        let (summary, collect) = (meta.summary.load(Relaxed), meta.collect.load(Relaxed));
        let units = (summary | collect) & !class.units;
        self.derived(units == 0, "S3", head.0, || format!("span {} has units {units:#x} under its summary that it has not", head.0));
        if summary | collect != 0 {
            *self.with_room.entry((index, id.0)).or_default() += 1;
        } else {
            let linked = meta.next() != SpanId::NONE || meta.prev() != SpanId::NONE;
            self.derived(!linked, "S5", head.0, || format!("span {} is in no list, and has links", head.0));
        }
        let (mut kept, mut lost) = (0, None);
        for (place, word) in found.words(head).enumerate() {
            let mut free = slot_starts(id.class(), place as u64) & !core.live.at(word).load(Relaxed);
            for slot in self.kept.remove(&word).unwrap_or_default() {
                if (slot.index, slot.id) == (index, id) && free & slot.granule.bit() != 0 {
                    free &= !slot.granule.bit();
                    kept += u32::from(slot.away);
                } else {
                    self.strays.push(slot);
                }
            }
            while free != 0 {
                let granule = Granule(word as u64 * 64 + u64::from(free.trailing_zeros()));
                free &= free - 1;
                if summary >> class.unit(granule.0 - head.first().0) & 1 == 0 {
                    lost = Some(granule);
                }
            }
        }
        let at = lost.map_or(0, |granule| granule.0);
        self.derived(lost.is_none(), "S3", at, || format!("granule {at:#x}, a free slot of span {}, is nowhere", head.0));
        let (live, away) = (self.live_in(head, found), meta.away.load(Relaxed));
        self.derived(live + kept == away, "S4", head.0, || {
            format!("span {} has {live} live blocks, its cell keeps {kept} slots, and {away} are away", head.0)
        });
    }

    /// S5: the lists of cells are the spans with summaries.
    fn lists(&mut self) {
        let (core, mut seen) = (self.core, HashSet::new());
        for (index, id) in self.used_cells() {
            let said = |what: String| format!("the list of cell {} of column {index} {what}", id.0);
            let (mut span, mut before, mut listed) = (core.cell(index, id.offset()).list(), SpanId::NONE, 0);
            while span != SpanId::NONE {
                if !self.has(span) {
                    self.derived(false, "S1", span.0, || said(format!("names span {}, which there is not", span.0)));
                    break;
                }
                if !seen.insert(span.0) {
                    self.derived(false, "S5", span.0, || said(format!("goes in a circle, or into another list, at span {}", span.0)));
                    break;
                }
                let (meta, page) = (core.span(span), core.page(span));
                let belongs = page.owner().is_column(index) && page.cell() == id.offset();
                let has_room = meta.summary.load(Relaxed) | meta.collect.load(Relaxed) != 0;
                self.derived(belongs && has_room && meta.prev() == before, "S5", span.0, || said(format!("is wrong at span {}", span.0)));
                (before, span, listed) = (span, meta.next(), listed + 1);
            }
            let with_room = self.with_room.get(&(index, id.0)).copied().unwrap_or(0);
            self.derived(listed == with_room, "S5", id.0, || said(format!("has {listed} spans; {with_room} have free slots")));
        }
    }

    /// S6: what others freed of is in one chain, which ends: of an inbox, of what is left of one, or of what is parked.
    fn inboxes(&mut self) {
        let core = self.core;
        let columns = core.used_columns().filter(|&index| index < core.column_count());
        // Of every cell: a span of a former owner may have gone to one that was never used.
        let cells = columns.flat_map(|index| core.rows().ids().map(move |id| core.cell(index, id.offset())));
        let mut chains: Vec<_> = cells.flat_map(|cell| [cell.open().inbox.first(), cell.drain()]).collect();
        let mut parked = core.counters().parked.first();
        for _ in 0..core.spans.len() {
            if !self.has(parked) {
                break;
            }
            chains.push(parked);
            parked = crate::span::Parked::after(&core.span(parked).pending);
        }
        let mut seen = HashSet::new();
        for mut span in chains.into_iter().filter(|&first| first != SpanId::NONE) {
            loop {
                if !self.has(span) {
                    self.derived(false, "S1", span.0, || format!("an inbox names span {}, which there is not", span.0));
                    break;
                }
                let pending = &core.span(span).pending;
                self.derived(pending.is_queued(), "S6", span.0, || format!("span {} is in an inbox, and does not know", span.0));
                if !seen.insert(span.0) {
                    self.derived(false, "S6", span.0, || format!("span {} is in inboxes twice", span.0));
                    break;
                }
                match pending.next() {
                    Next::Span(next) => span = next,
                    Next::End => break,
                    Next::Unlinked => {
                        self.derived(false, "S6", span.0, || format!("the chain of an inbox breaks off at span {}", span.0));
                        break;
                    }
                }
            }
        }
        for span in self.used.iter().flat_map(|chunk| (0..CHUNK_SPANS as u32).map(|place| chunk.span(place))) {
            let holds = !core.span(span).pending.is_queued() || seen.contains(&span.0);
            self.derived(holds, "S6", span.0, || format!("span {} is on its way to its column, and in no inbox", span.0));
        }
    }

    /// Spans are counted against their column's limit.
    fn committed(&mut self, holdings: &[Holdings]) {
        for index in self.core.used_columns().filter(|&index| index < self.core.column_count()) {
            let (counted, has) = (self.core.block(index).open.spans(), holdings[index as usize].spans);
            self.derived(counted == has, "committed", index, || format!("column {index} has {has} spans, and {counted} are counted"));
        }
    }
}
