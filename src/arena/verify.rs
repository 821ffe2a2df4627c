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
//!
//! A look takes no host memory before it has found something: an arena may be what its program has host memory from, and may then not
//! change while it is looked at. What a look remembers lies in words (`Noted`) that whoever looks has ready: an arena has them from the
//! system (`Scratch`) and looks for one finding, of which it notes no more than invariant and place.

use std::collections::BTreeMap;

use super::Arena;
use crate::column::cell::Cell;
use crate::column::core::Core;
use crate::column::rows::CellId;
use crate::error::{Error, Result};
use crate::map::{ChunkId, Granule, Owner, SpanId};
use crate::recover::Head;
use crate::region::Scratch;
use crate::size_class::{CHUNK_SPANS, slot_starts};
use crate::span::{ChunkMeta, IndexWords, LISTS, Next, Parked, SharedKey};
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
    /// the arena, and no host memory: what it works in it maps, and unmaps. Calls the system.
    ///
    /// # Errors
    /// [`Error::Broken`] names the first of them that does not hold. [`Error::Os`].
    pub fn verify(&self) -> Result<()> {
        let (core, needs) = (&self.core, Needs::of(&self.core));
        let mut scratch = Scratch::new(needs.words(core))?;
        let mut check = Check::new(core, needs, scratch.words(), 0);
        core.each_used(|chunks| chunks.for_each(|chunk| _ = check.noted.used.add(chunk)));
        check.all();
        let live = core.metrics().bytes_live;
        let counted = (check.live_bytes != live).then_some(("L2", live));
        check.first.or(counted).map_or(Ok(()), |(invariant, at)| Err(Error::Broken { invariant, at }))
    }
}

impl Core {
    /// What does not hold, up to `most` findings of each invariant. Nothing is known of chunks that are not among `used`.
    pub(crate) fn findings(&self, used: &[ChunkId], most: usize) -> Vec<Finding> {
        let needs = Needs::of(self);
        let mut words = vec![0; needs.words(self)];
        let mut check = Check::new(self, needs, &mut words, most);
        for chunk in used {
            check.noted.used.add(chunk.index());
        }
        check.all();
        check.found
    }
}

impl Core {
    fn is_free_span(&self, span: SpanId) -> bool {
        let chunk = span.chunk();
        self.index.is_free(chunk) || self.chunk(chunk).map.free() >> span.place() & 1 != 0
    }
}

/// A slot that a stack or word keeps, and by whom it is kept, in words that sort by the slot.
#[derive(Clone, Copy)]
struct KeptSlot {
    granule: Granule,
    index: u32,
    id: CellId,
    /// Its span counts it as away (K3).
    away: bool,
    /// It was found to be a free slot of the cell that keeps it.
    found: bool,
}

impl KeptSlot {
    fn of(words: [u64; 2]) -> Self {
        let [granule, by] = words;
        let (index, id) = ((by >> 32) as u32, CellId(by as u32 >> 2));
        Self { granule: Granule(granule), index, id, away: by & 2 != 0, found: by & 1 != 0 }
    }

    fn words(self) -> [u64; 2] {
        [self.granule.0, u64::from(self.index) << 32 | u64::from(self.id.0) << 2 | u64::from(self.away) << 1 | u64::from(self.found)]
    }
}

/// A set of numbers, a bit each.
#[derive(Default)]
struct Bits<'m>(&'m mut [u64]);

impl Bits<'_> {
    fn has(&self, number: usize) -> bool {
        self.0[number / 64] >> (number % 64) & 1 != 0
    }

    /// Whether it is new.
    fn add(&mut self, number: usize) -> bool {
        let new = !self.has(number);
        self.0[number / 64] |= 1 << (number % 64);
        new
    }
}

/// Pairs of words, as many as there were when they were counted: of a region that changes meanwhile, no more.
struct Pairs<'m> {
    all: &'m mut [[u64; 2]],
    count: usize,
}

impl Pairs<'_> {
    fn push(&mut self, pair: [u64; 2]) {
        if let Some(place) = self.all.get_mut(self.count) {
            *place = pair;
            self.count += 1;
        }
    }

    fn sort(&mut self) {
        self.all[..self.count].sort_unstable();
    }

    /// The pairs whose first words are among these, once they are sorted.
    fn within(&mut self, first: core::ops::Range<u64>) -> &mut [[u64; 2]] {
        let all = &mut self.all[..self.count];
        let (from, to) = (all.partition_point(|pair| pair[0] < first.start), all.partition_point(|pair| pair[0] < first.end));
        &mut all[from..to]
    }
}

/// Of what a look has to remember, what only looking tells how many there are.
#[derive(Clone, Copy)]
struct Needs {
    /// Slots that stacks and words keep.
    kept: usize,
    /// Cells that may be in use.
    cells: usize,
}

impl Needs {
    fn of(core: &Core) -> Self {
        used_cells(core).fold(Self { kept: 0, cells: 0 }, |needs, (index, id)| {
            let kept = sound_cell(core, index, id).map_or(0, |cell| kept_by(&cell, id).count());
            Self { kept: needs.kept + kept, cells: needs.cells + 1 }
        })
    }

    /// Words that the notes take.
    fn words(self, core: &Core) -> usize {
        let (chunks, columns, spans) = (core.chunks.len(), core.column_count() as usize, core.spans.len());
        2 * (self.kept + self.cells) + 2 * chunks + 3 * columns + 2 * chunks.div_ceil(64) + 2 * spans.div_ceil(64)
    }
}

/// What a look remembers.
struct Noted<'m> {
    /// The slots that stacks and words keep ([`KeptSlot`]), in the order of the slots.
    kept: Pairs<'m>,
    /// Of each column and cell, in order, the spans with units under their summary or to be collected.
    with_room: Pairs<'m>,
    /// Of each chunk, the column above the list in whose chain it is; and the column for which it waits. One more each: 0 is none.
    listed: &'m mut [u64],
    quiet: &'m mut [u64],
    /// Of each column, the chunk for single spans as its handle knows it, or more than any chunk's number if that was not asked; the
    /// chunk that was found to be it; and its spans.
    known: &'m mut [u64],
    singles: &'m mut [u64],
    spans: &'m mut [u64],
    /// Chunks of which anything is known.
    used: Bits<'m>,
    /// Chunks of large blocks of more than one: nothing need be known of them.
    whole: Bits<'m>,
    /// Spans that are in the list of a cell; spans that are in an inbox.
    in_list: Bits<'m>,
    in_inbox: Bits<'m>,
}

impl<'m> Noted<'m> {
    /// Nothing yet; `words` are zero.
    fn new(core: &Core, needs: Needs, words: &'m mut [u64]) -> Self {
        let (chunks, columns, spans) = (core.chunks.len(), core.column_count() as usize, core.spans.len());
        let mut rest = words;
        let mut take = |count| {
            let (taken, left) = core::mem::take(&mut rest).split_at_mut(count);
            rest = left;
            taken
        };
        let [kept, with_room] = [needs.kept, needs.cells].map(|pairs| Pairs { all: take(2 * pairs).as_chunks_mut().0, count: 0 });
        let [listed, quiet] = [chunks; 2].map(&mut take);
        let [known, singles, of_columns] = [columns; 3].map(&mut take);
        let [used, whole, in_list, in_inbox] = [chunks, chunks, spans, spans].map(|count| Bits(take(count.div_ceil(64))));
        Self { kept, with_room, listed, quiet, known, singles, spans: of_columns, used, whole, in_list, in_inbox }
    }
}

/// Columns in use, and their cells, as far as they may be in use.
fn used_cells(core: &Core) -> impl Iterator<Item = (u32, CellId)> {
    let cells = move |index| core.block(index).holder.cells_near_used(core.rows()).map(move |id| (index, id));
    core.used_columns().filter(|&index| index < core.column_count()).flat_map(cells)
}

/// A column's cell, if its numbers are such as it may have.
fn sound_cell(core: &Core, index: u32, id: CellId) -> Option<Cell> {
    Some(core.cell(index, id.offset())).filter(|cell| cell.is_sound(id, core.region.granules()))
}

/// The slots that a cell's stack and word keep, and whether their span counts them as away.
fn kept_by(cell: &Cell, id: CellId) -> impl Iterator<Item = (Granule, bool)> {
    let away = cell.counted() == 0;
    let word = cell.word_of(u64::from(id.class_of().granules)).map(move |granule| (granule, away));
    cell.stack().map(|granule| (granule, true)).chain(word)
}

/// By what a cell sorts among those of all columns.
fn cell_key(index: u32, id: CellId) -> u64 {
    u64::from(index) << 32 | u64::from(id.0)
}

/// More than any chunk's number.
const NOT_ASKED: u64 = u64::MAX;

struct Check<'a> {
    core: &'a Core,
    most: usize,
    found: Vec<Finding>,
    /// Of what was found first, invariant and place.
    first: Option<(&'static str, u64)>,
    /// How many of each invariant.
    told: BTreeMap<&'static str, usize>,
    noted: Noted<'a>,
    /// Bytes in blocks.
    live_bytes: u64,
}

impl<'a> Check<'a> {
    fn new(core: &'a Core, needs: Needs, words: &'a mut [u64], most: usize) -> Self {
        let noted = Noted::new(core, needs, words);
        Self { core, most, found: Vec::new(), first: None, told: BTreeMap::new(), noted, live_bytes: 0 }
    }

    /// Once it is noted which chunks are used.
    fn all(&mut self) {
        self.chunks();
        self.chunk_lists();
        self.cells();
        self.heads();
        self.lists();
        self.inboxes();
        self.committed();
    }

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
        self.first.get_or_insert((invariant, at));
        if self.most == 0 {
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
        for index in core.used_columns().filter(|&index| index < core.column_count()) {
            let holder = &core.block(index).holder;
            for list in 1..=LISTS {
                let (first, filled) = (holder.first_of(list), holder.filled() >> list & 1 != 0);
                let holds = filled == (first != ChunkId::NONE);
                self.derived(holds, "S8", index, || format!("column {index} does not know whether list {list} has chunks"));
                let is_in = (u64::from(index) + 1) << 32 | u64::from(list);
                self.chain(index, first, ChunkMeta::next, |noted, at| core::mem::replace(&mut noted.listed[at.index()], is_in) == 0);
            }
            let waits = u64::from(index) + 1;
            self.chain(index, holder.waiting(), ChunkMeta::after, |noted, at| core::mem::replace(&mut noted.quiet[at.index()], waits) == 0);
        }
        // Of those that wait for nothing and are in no list, a column has one: the chunk for single spans. Which one its handle knows,
        // which is not in a region file; nor may it be asked while somebody holds the column.
        self.noted.known.fill(NOT_ASKED);
        for index in core.used_columns().filter(|&index| index < core.column_count()) {
            self.noted.known[index as usize] = self.single_of(index).map_or(NOT_ASKED, |chunk| u64::from(chunk.0));
        }
        for chunk in core.chunk_ids() {
            let meta = core.chunk(chunk);
            let holder = Owner(meta.owner.load(Relaxed)).holder();
            let noted = &mut self.noted;
            let (list, quiet) = (noted.listed[chunk.index()], (noted.quiet[chunk.index()] as u32).checked_sub(1));
            let column = ((list >> 32) as u32).checked_sub(1);
            let lists = list as u32 == meta.list() && (column.is_none() || column == holder);
            let told = Owner(meta.told.load(Relaxed)).index();
            let (list, waits) = (column, quiet.is_some());
            let is_of = |holder: u32| {
                let at = holder as usize;
                let known = noted.known.get(at).is_some_and(|&known| known == NOT_ASKED || known == u64::from(chunk.0));
                known && core::mem::replace(&mut noted.singles[at], u64::from(chunk.0)) == 0
            };
            let is_single = !waits && told.is_none() && list.is_none() && holder.is_some_and(is_of);
            let tells = if waits { quiet == holder && told.is_none() } else { told == holder || is_single };
            self.derived(lists && tells, "S8", chunk.0, || format!("chunk {} is not where it says", chunk.0));
        }
    }

    /// The chunk from which column `index` takes single spans, if its handle may be asked.
    fn single_of(&self, index: u32) -> Option<ChunkId> {
        let core = self.core;
        let lease = &core.block(index).open.lease;
        if !lease.try_take() {
            return None;
        }
        let handle = core.handle(index);
        let single = handle.is_set_up().then(|| handle.single());
        lease.give_back();
        single
    }

    /// Follows a chain of chunks of column `index`; `is_new` notes each.
    fn chain(&mut self, index: u32, first: ChunkId, after: fn(&ChunkMeta) -> ChunkId, is_new: impl Fn(&mut Noted, ChunkId) -> bool) {
        let mut chunk = first;
        while chunk != ChunkId::NONE {
            let once = chunk.index() < self.core.chunks.len() && is_new(&mut self.noted, chunk);
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
        for (index, id) in used_cells(core) {
            self.noted.with_room.push([cell_key(index, id), 0]);
            let cell = sound_cell(core, index, id);
            self.derived(cell.is_some(), "K1", id.0, || format!("cell {} of column {index} has numbers that no such cell has", id.0));
            for (granule, away) in cell.iter().flat_map(|cell| kept_by(cell, id)) {
                self.noted.kept.push(KeptSlot { granule, index, id, away, found: false }.words());
            }
        }
        self.noted.with_room.sort();
        self.noted.kept.sort();
        for place in 1..self.noted.kept.count {
            let [[before, _], [granule, _]] = [place - 1, place].map(|place| self.noted.kept.all[place]);
            self.derived(before != granule, "S3", granule, || format!("granule {granule:#x} is kept twice by cells"));
        }
    }

    /// What page entries, maps and the entries of spans say of each other.
    fn heads(&mut self) {
        let core = self.core;
        let used = core::mem::take(&mut self.noted.used);
        for (span, found) in core.heads(core.chunk_ids().filter(|chunk| used.has(chunk.index())), Core::read_owned) {
            match found {
                Err(damage) => self.truth(false, damage.invariant, span.0, || format!("span {}: {}", span.0, damage.what)),
                Ok(Head::Free) => self.free_span(span),
                Ok(head @ Head::Large { .. }) => {
                    self.taken(span, head);
                    self.large(span, head);
                    if head.spans() > CHUNK_SPANS as u32 {
                        let first = span.chunk().index();
                        (first..first + head.spans() as usize / CHUNK_SPANS).for_each(|chunk| _ = self.noted.whole.add(chunk));
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
        for chunk in core.chunk_ids() {
            let known = used.has(chunk.index()) || self.noted.whole.has(chunk.index());
            let free = known || core.is_free_span(chunk.span(0));
            self.derived(free, "S2", chunk.0, || format!("chunk {} is nobody's, and not free", chunk.0));
        }
        self.noted.used = used;
        for place in 0..self.noted.kept.count {
            let KeptSlot { granule, index, id, found, .. } = KeptSlot::of(self.noted.kept.all[place]);
            self.derived(found, "S3", granule.0, || {
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
            let key = cell_key(index, id);
            self.noted.with_room.within(key..key + 1).iter_mut().for_each(|cell| cell[1] += 1);
        } else {
            let linked = meta.next() != SpanId::NONE || meta.prev() != SpanId::NONE;
            self.derived(!linked, "S5", head.0, || format!("span {} is in no list, and has links", head.0));
        }
        let (mut kept, mut lost) = (0, None);
        for (place, word) in found.words(head).enumerate() {
            let mut free = slot_starts(id.class(), place as u64) & !core.live.at(word).load(Relaxed);
            for pair in self.noted.kept.within(word as u64 * 64..(word as u64 + 1) * 64) {
                let slot = KeptSlot::of(*pair);
                if (slot.index, slot.id) == (index, id) && free & slot.granule.bit() != 0 {
                    free &= !slot.granule.bit();
                    kept += u32::from(slot.away);
                    *pair = KeptSlot { found: true, ..slot }.words();
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
        let core = self.core;
        for (index, id) in used_cells(core) {
            let said = |what: String| format!("the list of cell {} of column {index} {what}", id.0);
            let (mut span, mut before, mut listed) = (core.cell(index, id.offset()).list(), SpanId::NONE, 0);
            while span != SpanId::NONE {
                if !self.has(span) {
                    self.derived(false, "S1", span.0, || said(format!("names span {}, which there is not", span.0)));
                    break;
                }
                if !self.noted.in_list.add(span.index()) {
                    self.derived(false, "S5", span.0, || said(format!("goes in a circle, or into another list, at span {}", span.0)));
                    break;
                }
                let (meta, page) = (core.span(span), core.page(span));
                let belongs = page.owner().is_column(index) && page.cell() == id.offset();
                let has_room = meta.summary.load(Relaxed) | meta.collect.load(Relaxed) != 0;
                self.derived(belongs && has_room && meta.prev() == before, "S5", span.0, || said(format!("is wrong at span {}", span.0)));
                (before, span, listed) = (span, meta.next(), listed + 1);
            }
            let key = cell_key(index, id);
            let with_room = self.noted.with_room.within(key..key + 1).first().map_or(0, |cell| cell[1]);
            self.derived(listed == with_room, "S5", id.0, || said(format!("has {listed} spans; {with_room} have free slots")));
        }
    }

    /// S6: what others freed of is in one chain, which ends: of an inbox, of what is left of one, or of what is parked.
    fn inboxes(&mut self) {
        let core = self.core;
        let columns = core.used_columns().filter(|&index| index < core.column_count());
        // Of every cell: a span of a former owner may have gone to one that was never used.
        let cells = columns.flat_map(|index| core.rows().ids().map(move |id| core.cell(index, id.offset())));
        cells.flat_map(|cell| [cell.open().inbox.first(), cell.drain()]).for_each(|first| self.inbox(first));
        let mut parked = core.counters().parked.first();
        for _ in 0..core.spans.len() {
            if !self.has(parked) {
                break;
            }
            self.inbox(parked);
            parked = Parked::after(&core.span(parked).pending);
        }
        for chunk in core.chunk_ids() {
            if !self.noted.used.has(chunk.index()) {
                continue;
            }
            for span in (0..CHUNK_SPANS as u32).map(|place| chunk.span(place)) {
                let holds = !core.span(span).pending.is_queued() || self.noted.in_inbox.has(span.index());
                self.derived(holds, "S6", span.0, || format!("span {} is on its way to its column, and in no inbox", span.0));
            }
        }
    }

    /// S6, of the chain that begins at `span`, if there is one.
    fn inbox(&mut self, mut span: SpanId) {
        if span == SpanId::NONE {
            return;
        }
        loop {
            if !self.has(span) {
                self.derived(false, "S1", span.0, || format!("an inbox names span {}, which there is not", span.0));
                return;
            }
            let pending = &self.core.span(span).pending;
            self.derived(pending.is_queued(), "S6", span.0, || format!("span {} is in an inbox, and does not know", span.0));
            if !self.noted.in_inbox.add(span.index()) {
                self.derived(false, "S6", span.0, || format!("span {} is in inboxes twice", span.0));
                return;
            }
            match pending.next() {
                Next::Span(next) => span = next,
                Next::End => return,
                Next::Unlinked => {
                    self.derived(false, "S6", span.0, || format!("the chain of an inbox breaks off at span {}", span.0));
                    return;
                }
            }
        }
    }

    /// Spans are counted against their column's limit.
    fn committed(&mut self) {
        let core = self.core;
        let (spans, live) = (&mut self.noted.spans, &mut self.live_bytes);
        let used = core.chunk_ids().filter(|chunk| self.noted.used.has(chunk.index()));
        core.each_holding(used, |index, holdings| {
            spans[index as usize] += holdings.spans;
            *live += holdings.bytes;
        });
        for index in core.used_columns().filter(|&index| index < core.column_count()) {
            let (counted, has) = (core.block(index).open.spans(), self.noted.spans[index as usize]);
            self.derived(counted == has, "committed", index, || format!("column {index} has {has} spans, and {counted} are counted"));
        }
    }
}
