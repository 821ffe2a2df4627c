//! When no fresh span is to be had: everything that is free somewhere is brought together before a
//! request is refused.
//!
//! ```text
//! 1  the frees that are held back; the column's other cells of the same
//!    class, its shared spans                                               bounded
//! 2  free spans of any chunk, whoever reserved it                          one look a chunk
//! 3  give back: what our cells keep, what others freed; then 1 and 2 again a step a kept slot or unit
//! 4  the same for every column whose lease is free                         the same, for all columns
//!    from every other one: spans that others freed whole (see `steal`)     one look a cell and a span in an inbox
//! 5  the column's shared spans wherever they lie; for who names no column
//!    what all others keep, and their shared spans                          one look a span in use
//! 6  once more what found nothing, if a chunk was on its way between two hands (see `passing`)
//! 7  refuse
//! ```
//!
//! Steps 2 to 5 are not bounded by P2: they take about 60 instructions for each chunk, 20 for each
//! cell in use and 30 for each slot that a cell keeps or unit that others freed, and, in columns that others
//! hold, a few for each unit of a span that is looked at. Lock-free.
//!
//! What else a held column keeps stays with it: the slots in its cells, and spans that are not empty or
//! that its holder has begun to take back. The holder gives it up by allocating, or by releasing the column.

use super::cell::Cell;
use super::collect::Accepted;
use super::core::Core;
use super::held::Handle;
use super::rows::{CellId, Row};
use crate::error::{Error, Result};
use crate::map::{Entry, Granule, SpanId};
use crate::size_class::SMALL_CLASSES;
use crate::span::SpanMeta;
use crate::sync::Ordering::Relaxed;
use core::ptr::NonNull;

// `alloc_kept_of` has a bit for each.
const _: () = assert!(SMALL_CLASSES <= u64::BITS as usize);

/// What a search among the slots that columns keep has found.
pub(crate) enum Kept {
    /// A block, and its column.
    Slot(NonNull<u8>, u32),
    /// None of the columns has any.
    Nothing,
    /// Nothing, but others held columns that may have some.
    Unsure,
}

/// Asks again for what was refused: at the column's limit when its `own` memory was brought together, which counts against it; and
/// then, but for the limit, when all was. (As long as it is at its limit, what others keep does not help.)
fn again<T>(core: &Core, refused: Error, ask: impl Fn() -> Result<T>, own: impl FnOnce(), all: impl FnOnce()) -> Result<T> {
    let below_limit = match refused {
        Error::Quota { .. } => {
            own();
            ask()
        }
        _ => Err(refused),
    };
    let mut result = below_limit;
    if matches!(result, Err(Error::NoMemory { .. })) {
        all();
        core.passings.ask(|| {
            result = ask();
            (!matches!(result, Err(Error::NoMemory { .. }))).then_some(())
        });
    }
    result
}

impl Handle {
    /// Allocates from a cell that could not be refilled, or refuses. `error` says why it could not.
    #[cold]
    #[inline(never)]
    pub(crate) extern "C" fn alloc_scarce(&self, cell: Cell) -> *mut u8 {
        self.find_scarce(cell).unwrap_or_else(|| self.nowhere())
    }

    /// The same; `None` if refused, which is neither counted nor noted.
    pub(crate) fn find_scarce(&self, cell: Cell) -> Option<*mut u8> {
        // Who replaces block by block in a full arena frees one and asks for one like it.
        self.finish_holds();
        if let Some(granule) = cell.pop().or_else(|| self.refill_from_spans(cell)) {
            return Some(self.give(granule));
        }
        if let Some(p) = self.alloc_from_kin(cell) {
            return Some(p);
        }
        let at_limit = || matches!(self.error(), Error::Quota { .. });
        if !at_limit()
            && let Some(granule) = self.grow_anywhere(cell)
        {
            return Some(self.give(granule));
        }
        self.flush();
        if let Some(p) = self.alloc_from_kin(cell) {
            return Some(p);
        }
        if let Some(granule) = self.refill_from_spans(cell).or_else(|| self.grow(cell)).or_else(|| self.grow_anywhere(cell)) {
            return Some(self.give(granule));
        }
        // What the column kept counted against its limit, and is given back.
        if !at_limit() {
            let core = self.core();
            core.flush_others(Some(self.index()));
            let found = core.passings.ask(|| {
                // Spans of ours that were on a wrong way have come, perhaps.
                let kin = self.alloc_from_kin(cell);
                let own = || self.refill_from_spans(cell).or_else(|| self.grow(cell)).or_else(|| self.grow_anywhere(cell));
                kin.or_else(|| own().map(|granule| self.give(granule)))
            });
            if found.is_some() {
                return found;
            }
        }
        let granule = self.core().claim_shared_anywhere(self.index(), self.id_of(cell))?;
        Some(self.give_shared(cell, granule))
    }

    /// A slot of the same class that the column has elsewhere.
    pub(crate) fn alloc_from_kin(&self, cell: Cell) -> Option<*mut u8> {
        let (id, core) = (self.id_of(cell), self.core());
        let found = match id.row() {
            Some(Row::Medium) => self.alloc_from_row(Row::MediumAligned, id),
            Some(Row::Ordered | Row::Zone(_) | Row::NarrowZone(_)) => core.rows().small().find_map(|row| self.alloc_from_row(row, id)),
            // A block's row tells whether a reallocation keeps an alignment.
            Some(Row::Aligned | Row::MediumAligned) | None => None,
        };
        if found.is_some() || !self.block().holder.may_use(id) {
            return found;
        }
        core.claim_shared::<false>(self.index(), id).map(|granule| self.give_shared(cell, granule))
    }

    /// A slot that the cell of the same class in another row has.
    #[inline(always)]
    fn alloc_from_row(&self, row: Row, id: CellId) -> Option<*mut u8> {
        let kin = CellId::in_row(row, id.class());
        if kin == id { None } else { self.alloc_from_used(kin) }
    }

    /// A slot that a cell has, if it was ever used.
    #[inline(always)]
    fn alloc_from_used(&self, id: CellId) -> Option<*mut u8> {
        let cell = self.block().holder.may_use(id).then(|| self.cell(id)).filter(Cell::is_set_up)?;
        self.alloc_from_cell(cell)
    }

    /// A slot that a cell has. A function of its own, so that a look at cells that were not used is short.
    #[inline(never)]
    fn alloc_from_cell(&self, cell: Cell) -> Option<*mut u8> {
        cell.pop().or_else(|| self.refill_from_spans(cell)).map(|granule| self.give(granule))
    }

    /// A slot that the column has for such a cell, of whatever zone: no span is taken for it. Bounded.
    pub(crate) fn alloc_kept(&self, id: CellId) -> Option<*mut u8> {
        self.alloc_from_used(id).or_else(|| self.alloc_from_kin(self.cell(id)))
    }

    /// The same of the least of these small classes that the column has a slot of.
    pub(crate) fn alloc_kept_of(&self, row: Row, classes: core::ops::RangeInclusive<usize>) -> Option<*mut u8> {
        let near = self.block().holder.cells_near_used(self.core().rows());
        let small = near.filter(|id| classes.contains(&id.class()));
        let mut found = small.filter(|&id| self.cell(id).may_have_slots()).fold(0_u64, |found, id| found | 1 << id.class());
        while found != 0 {
            if let Some(p) = self.alloc_kept(CellId::in_row(row, found.trailing_zeros() as usize)) {
                return Some(p);
            }
            found &= found - 1;
        }
        None
    }

    /// A slot of a cell, or of a fresh span for it, wherever that lies; nothing else is looked for. One look a chunk.
    pub(crate) fn alloc_growing(&self, id: CellId) -> Option<*mut u8> {
        let cell = self.cell(id);
        if !cell.is_set_up() {
            self.set_cell_up(cell);
        }
        let kept = cell.pop().or_else(|| self.refill_from_spans(cell));
        kept.or_else(|| self.grow(cell)).or_else(|| self.grow_anywhere(cell)).map(|granule| self.give(granule))
    }

    /// Hands out a slot of a shared span.
    fn give_shared(&self, cell: Cell, granule: Granule) -> *mut u8 {
        let holder = &self.block().holder;
        crate::sync::bump(&holder.other_allocs, 1);
        let bytes = u64::from(self.id_of(cell).class_of().bytes);
        self.block().open.bytes_by_others.fetch_sub(bytes, Relaxed);
        self.core().address(granule)
    }

    /// Takes a fresh span from whatever chunk has one, for an empty cell.
    fn grow_anywhere(&self, cell: Cell) -> Option<Granule> {
        let spans = u32::from(cell.class().spans);
        if !self.charge(spans) {
            return None;
        }
        let Some(head) = self.core().take_anywhere(spans, 1) else {
            self.block().open.refund(spans);
            self.refuse(Error::NoMemory { size: cell.class().bytes as usize, align: 16 });
            return None;
        };
        // Ours, perhaps: others gave spans of it back, and could not list it.
        self.list_anew(head.chunk());
        self.set_run_up(cell, head);
        Some(head.first())
    }

    /// Asks for a large block once more, as [`Core::ask_again`] does.
    pub(crate) fn ask_again<T>(&self, refused: Error, ask: impl Fn() -> Result<T>) -> Result<T> {
        let others = || {
            self.flush();
            self.core().flush_others(Some(self.index()));
        };
        again(self.core(), refused, ask, || self.flush(), others)
    }

    /// Gives back what the column's cells keep, takes back what others freed, and gives empty spans
    /// and chunks back. Afterwards every free slot lies under its span's summary.
    pub(crate) fn flush(&self) {
        self.core().unpark();
        self.hear_of_thieves();
        self.finish_holds();
        let cells = self.block().holder.cells_near_used(self.core().rows()).map(|id| self.cell(id));
        for cell in cells.filter(Cell::is_set_up) {
            self.collect_all(cell);
            self.empty_stack(cell);
            self.put_word_back(cell);
        }
        self.release_free_chunks();
        self.hear_again();
    }

    /// Gives what a cell's stack keeps back to the spans.
    pub(crate) fn empty_stack(&self, cell: Cell) {
        while let Some(granule) = cell.evict_entry() {
            self.slot_back(cell, granule);
        }
    }

    /// Takes back all that others freed of a cell's spans.
    pub(crate) fn collect_all(&self, cell: Cell) {
        // Two chains may begin with a span that is not linked yet, the one in the inbox and the one that came out of it; not more.
        let mut unlinked = 0;
        while unlinked < 2 {
            match self.accept(cell) {
                Accepted::Nothing => break,
                Accepted::Unlinked => unlinked += 1,
                Accepted::Other => unlinked = 0,
                Accepted::Units(span, units) => {
                    unlinked = 0;
                    self.put_to_collect(cell, span, units);
                }
            }
        }
        let mut span = cell.list();
        while span != SpanId::NONE {
            let core = self.core();
            let meta = core.span(span);
            let next = meta.next();
            self.collect_span(cell, span, meta);
            span = next;
        }
    }
}

impl Handle {
    /// Takes back what others freed of a span in the cell's list.
    fn collect_span(&self, cell: Cell, span: SpanId, meta: &SpanMeta) {
        let mut waiting = meta.collect.load(Relaxed);
        if waiting == 0 {
            return;
        }
        let (mut summary, mut left) = (meta.summary.load(Relaxed), 0);
        while waiting != 0 {
            let unit = waiting.trailing_zeros();
            waiting &= waiting - 1;
            let (_, found) = self.collect_unit(cell, span, unit);
            if found.freed != 0 {
                summary |= 1 << unit;
                self.count_slots_back(cell, meta, found.freed);
            }
            if found.more {
                left |= 1 << unit;
            }
        }
        if summary | left == 0 {
            self.unlist(cell, meta);
        }
        meta.summary.store(summary, Relaxed);
        meta.collect.store(left, Relaxed);
        if meta.away.load(Relaxed) == 0 {
            self.give_span_back(cell, span, meta);
        }
    }
}

impl Core {
    /// Brings together what is free in all columns but `index`, the caller's, if it has one: all of
    /// columns that nobody holds, spans that others freed whole of those that somebody holds.
    #[cold]
    pub(crate) fn flush_others(&self, index: Option<u32>) {
        self.unpark();
        for other in self.used_columns().filter(|&other| Some(other) != index) {
            self.flush_column(other);
        }
        for chunk in self.chunk_ids() {
            if self.chunk(chunk).map.free() == u64::MAX {
                self.sweep_chunk(chunk);
            }
        }
    }

    /// Brings together what is free in one column: all of it, or if somebody holds it the spans that others freed whole.
    fn flush_column(&self, index: u32) {
        if let Some(handle) = self.lease(index) {
            handle.flush();
        } else {
            self.steal_from(index);
        }
    }

    /// Asks once more for what column `index` was refused without its lease, when what may serve it was brought together.
    #[cold]
    pub(crate) fn ask_again<T>(&self, index: u32, refused: Error, ask: impl Fn() -> Result<T>) -> Result<T> {
        let own = || {
            if self.is_used(index) {
                self.flush_column(index);
            }
        };
        again(self, refused, ask, own, || self.flush_others(None))
    }

    /// What the span's page entry says, for walks: not of nobody's, nor of the continuation of a run.
    pub(crate) fn head_entry(&self, span: SpanId) -> Option<Entry> {
        let entry = self.page(span).read();
        let owner = entry.owner();
        (owner.index().is_some() && owner.head(span) == span).then_some(entry)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
