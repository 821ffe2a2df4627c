//! The fast path: allocation and free by the holder of a column.
//!
//! Two functions, read top to bottom; everything that is not usual is out of line. A free checks
//! its own block, but makes the stores of the one before it, whose addresses are long known: it
//! *holds one free back* (see DECISIONS.md for what that brings). The live bit of the one before is cleared
//! before the check, so that a second free of it needs no test of its own.
//!
//! ```text
//! alloc   size -> cell offset, spike time -> row  |  pop a slot  |  set its live bit
//! free p  p -> granule  |  owner is us?
//!         the held one before: clear its live bit  |  p live?  hold p's granule, push the one before onto its cell
//! ```
//!
//! The handle lies outside the region and holds what an operation needs: addresses, and the tables
//! from sizes and spike times to cells.
//!
//! Invariants
//! - **L1** who uses a handle has the lease of its column: nobody else reads or writes what is not atomic, but as L4 says.
//! - **L2** the *balance* is the granules that are away from the column's spans (S4): those of blocks, of what stacks keep, and of
//!   what others freed and the holder has not taken back; `peak` is the highest balance that was noted.
//!   `level` = `i64::MAX` - (`peak` - balance), wrapping: negative exactly if the balance is above the
//!   peak. So a refill only adds, and the comparison that finds a new peak is left to the next spill. What was freed by others and
//!   is taken back or handed out again was away all the time: it is counted in `again`. An operation without holding the column leaves
//!   what others freed by then out of the level (`heard`), which its end sets right; a holder does not, for want of the instructions.
//!   So bytes live = 16 * (balance of `level` + `heard` + `again`) - `bytes_by_others` - what stacks keep.
//! - **L3** a holder that has met a block of a span that others freed into is *watchful* until it releases the column, or maintenance
//!   comes by while nobody holds it: all its frees look at the remote map, too. Spans of both kinds come up in no order, so that a
//!   processor could not tell which way the next free goes.
//! - **L4** a handle's `block` is set once, before the first page entry names the column as owner of spans with a holder: who has
//!   read such an entry may read it without the lease.
//! - **L5** bytes that a holder frees of one other column are added up, and that column is told of them (`bytes_by_others`) once they
//!   are more than 16 KiB, a block of a third column is freed, or the holder reports: telling locks a line that all who free there
//!   write. So of each other holder there may be 16 KiB that a column does not know of; a snapshot does.

use core::cell::Cell as Field;
use core::mem::MaybeUninit;

use super::block::{ColumnBlock, Hold, OpenSide};
use super::cell::Cell;
use super::core::{Core, asked_for, span_bytes};
use super::refill::refilling;
use super::remote::{hold_instead, not_given};
use super::rows::{BySize, CellId};
use super::spill::{spilling, spilling_run};
use super::unusual::{above_small, free_not_given, free_seen, free_unusual, unusual_align};
use crate::error::Error;
use crate::map::{ChunkId, Entry, Granule, Owner, PageEntry, SpanId, set_owned};
use crate::size_class::{Class, GRANULE, SMALL_MAX, SPAN_GRANULES, SPAN_WORDS, Width};
use crate::span::{ChunkMeta, IndexWords, SpanMeta};
use crate::spike::{ZONES, octave, zone_of_octave};
use crate::sync::{AtomicI64, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, bump, by_one_register, opaque};

/// What a face notes of a call that is refused; the status of a refused free, which is not 0. So the C face's calls have nothing to
/// do after a step that may refuse, and need no stack frame.
pub(crate) type Note = fn(Error) -> i32;

/// The status of a refused free that nobody wants noted. The Rust face asks why; of the C face's it is a handle that was given back:
/// `ENGRAM_E_INVALID`.
pub(crate) const NOT_NOTED: i32 = -2; // `ffi` checks that they are one

/// Granules that a holder frees of another column before that one is told (L5): 16 KiB.
const AWAY_MOST: u64 = 1024;

/// The owner of no span.
const NOBODY: u32 = u32::MAX;

/// What is asked for of a cell, in one register: at most 256 KiB, and above them the alignment, or less if that is a granule's.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Asked(usize);

impl Asked {
    /// So many bytes, aligned to at most a granule.
    #[inline(always)]
    pub(crate) fn unaligned(size: usize) -> Self {
        Self(size)
    }

    /// So many bytes with an alignment of up to a span.
    #[inline(always)]
    pub(crate) fn aligned(size: usize, align: usize) -> Self {
        Self(align << 32 | size)
    }

    /// The bytes of what is aligned to at most a granule.
    #[inline(always)]
    pub(crate) fn size(self) -> usize {
        self.0
    }

    /// The alignment of what is aligned to more.
    #[inline(always)]
    pub(crate) fn align(self) -> usize {
        self.0 >> 32
    }

    /// An error that is told of the slot that would have done, told of this.
    #[inline(always)]
    fn of(self, error: Error) -> Error {
        asked_for(error, self.0 & u32::MAX as usize, self.align())
    }
}

/// What the holder of a column works with.
#[repr(C, align(128))]
pub(crate) struct Handle {
    origin: Field<*mut u8>,
    granules: Field<u64>,
    pages: Field<*const PageEntry>,
    live: Field<*const AtomicU64>,
    remote: Field<*const AtomicU64>,
    spans: Field<*const SpanMeta>,
    chunks: Field<*const ChunkMeta>,
    block: Field<*const u8>,
    /// What the owner of a span must be for a free to be fast; nobody once the holder is *watchful* (L3), and with `ZERO_FREED`.
    owner: Field<u32>,
    /// Its index plus one, as `Owner::column` has it; 0 before it is set up.
    number: Field<u32>,
    level: AtomicI64,
    peak: AtomicI64,
    /// Granules that others freed and the holder has taken back, or handed out again.
    again: AtomicU64,
    /// The status of a free that went well, 0. Read, not written into the code: if the
    /// compiler knew it, a free that spills would come back for it and need a stack frame.
    pub(crate) freed_status: Field<i32>,
    /// What it must be, whether or not others freed blocks of the span, for the watchful way; nobody with `ZERO_FREED`.
    own: Field<u32>,
    /// What was read of the page entries of the blocks held back, whose cells count; that of the sink, at offset 0, if none is.
    held_entries: [Field<Entry>; 2],
    core: Field<*const Core>,
    /// The chunk that single spans are taken from; else the one that does not exist.
    single: Field<*const ChunkMeta>,
    /// What the holder's face notes of refused calls, if anything.
    note: Field<Option<Note>>,
    /// Why the last call on this handle was refused.
    error: Field<MaybeUninit<Error>>,
    /// The first span of that chunk.
    single_first: Field<SpanId>,
    /// The first chunk of the leaf of the chunk index from which the column's last chunk came.
    leaf_first: Field<ChunkId>,
    /// That leaf.
    leaf: Field<*const AtomicU64>,
    /// The row of cells for each octave of spike time.
    rows: [Field<*const u8>; 32],
    /// Bytes from such a row to the cell of each size.
    by_size: Field<*const BySize>,
    /// Of the cells in such rows.
    width: Field<Width>,
    /// Bytes of the column that the arena's counters know of.
    told: Field<i64>,
    /// Granules of what others freed that the level leaves out already; 0 while somebody holds the column (L2).
    heard: AtomicI64,
    /// The column of which the holder freed blocks last.
    away: Field<u32>,
    /// Granules of them that it was not told of (L5).
    away_granules: AtomicU64,
    /// What the latest allocation from a cell asks for that needed more than its stack and its word.
    asked: Field<Asked>,
}

// SAFETY: zero is valid: null pointers, and an uninitialised error; `set_up` comes before any use.
// Fields that are not atomic are used by the lease's holder alone (L1), but for `block` (L4).
unsafe impl crate::region::Plain for Handle {}

const _: () = assert!(size_of::<Handle>() == 512);

impl Handle {
    /// Makes the handle ready, at the column's first use in this process. The caller has the lease.
    #[inline(always)]
    pub(crate) fn set_up(&self, core: &Core, index: u32) {
        if !self.is_set_up() {
            self.set_up_first(core, index);
        }
    }

    /// Whether it was made ready.
    #[inline(always)]
    pub(crate) fn is_set_up(&self) -> bool {
        !self.core.get().is_null()
    }

    #[cold]
    #[inline(never)]
    fn set_up_first(&self, core: &Core, index: u32) {
        let block = core.columns.start(index);
        self.origin.set(core.region.origin());
        self.granules.set(core.region.granules());
        self.pages.set(core.pages.as_ptr());
        self.live.set(core.live.as_ptr());
        self.remote.set(core.remote.as_ptr());
        self.spans.set(core.spans.as_ptr());
        self.chunks.set(core.chunks.as_ptr());
        self.block.set(block);
        self.own.set(if core.options.zero_freed { NOBODY } else { Owner::column(index).0 });
        self.trust();
        self.number.set(Owner::column(index).0);
        self.held_entries.iter().for_each(|entry| entry.set(Entry::SINK));
        self.level.store(i64::MAX, Relaxed);
        self.error.set(MaybeUninit::new(Error::NotHeld));
        let rows = core.rows();
        self.by_size.set(rows.by_size());
        self.width.set(rows.width());
        let row_of: [_; ZONES] =
            core::array::from_fn(|zone| block.wrapping_add(rows.start_of(if core.options.no_zones { 0 } else { zone })));
        for (octave, row) in self.rows.iter().enumerate() {
            row.set(row_of[zone_of_octave(octave)]);
        }
        self.set_single(ChunkId::NONE, self.chunk(ChunkId::NONE));
        self.look_in_leaf(core.index.leaf_of(ChunkId::NONE));
        self.core.set(core);
        core.block(index).holder.note_set_up();
        core.note_used(index);
    }

    /// Allocates; null if refused, and then `error` says why. Everything out of
    /// the usual way is a function of its own that is left by a jump, so that the usual way, and each step
    /// after it, needs no stack frame; they are `extern "C"`, through which nothing unwinds.
    #[inline(always)]
    pub(crate) fn alloc(&self, size: usize, align: usize, spike: u32) -> *mut u8 {
        if size > SMALL_MAX {
            return above_small(self, size, align, spike);
        }
        if align & !GRANULE != 0 {
            return unusual_align(self, size, align, spike);
        }
        self.alloc_small(size, align, spike)
    }

    /// Allocates up to [`SMALL_MAX`] bytes with an ordinary alignment, at most a granule's.
    #[inline(always)]
    pub(crate) fn alloc_small(&self, size: usize, align: usize, spike: u32) -> *mut u8 {
        let cell = self.cell_for(size, align, spike);
        match cell.pop() {
            Some(granule) => self.give(granule),
            None => refilling(self, Asked::unaligned(size), cell),
        }
    }

    /// Allocates up to [`SMALL_MAX`] bytes with an ordinary alignment, if the stack of their cell has a slot.
    #[inline(always)]
    pub(crate) fn alloc_from_stack(&self, size: usize, align: usize, spike: u32) -> Option<*mut u8> {
        self.cell_for(size, align, spike).pop().map(|granule| self.give(granule))
    }

    /// The cell that serves up to [`SMALL_MAX`] bytes with an ordinary alignment.
    #[inline(always)]
    fn cell_for(&self, size: usize, align: usize, spike: u32) -> Cell {
        let row = self.rows[octave(spike, align)].get();
        // SAFETY: L1: set up; a row of cells, and the offset of a cell in it. Size 0 leads to the cell
        // that is always empty.
        unsafe { Cell::new(row, self.by_size()[size] as usize) }.by_one_register()
    }

    /// Bytes from a zone's row to the cell of each small size.
    #[inline(always)]
    fn by_size(&self) -> &'static BySize {
        // SAFETY: L1: `set_up` wrote it, the address of a static.
        unsafe { &*self.by_size.get() }
    }

    /// Hands a slot out.
    #[inline(always)]
    pub(crate) fn give(&self, granule: Granule) -> *mut u8 {
        set_owned(self.live_word(granule), granule.bit());
        self.address(granule)
    }

    /// The address of a granule.
    #[inline(always)]
    pub(crate) fn address(&self, granule: Granule) -> *mut u8 {
        self.origin.get().wrapping_add(granule.0 as usize * GRANULE)
    }

    /// Frees a block; false if refused, and then `error` says why.
    #[inline(always)]
    pub(crate) fn free(&self, p: *mut u8) -> bool {
        self.free_as(p, |_| true, |status| status == 0)
    }

    /// The same; 0, or what the face notes. Out of the usual way as `alloc`.
    #[inline(always)]
    pub(crate) fn free_status(&self, p: *mut u8) -> i32 {
        self.free_as(p, |handle| handle.freed_status.get(), |status| status)
    }

    #[inline(always)]
    fn free_as<R>(&self, p: *mut u8, freed: impl FnOnce(&Self) -> R, other: impl FnOnce(i32) -> R) -> R {
        let granule = self.granule_at(p);
        let Some(entry) = self.entry_at(granule) else { return other(free_unusual(self, granule)) };
        if entry.owner().0 != self.owner.get() {
            return other(free_seen(self, granule, entry));
        }
        // A block of one of our spans that nobody else has freed any of.
        self.free_if(Hold::Small, granule, entry, |live| live.load(Relaxed) & granule.bit() != 0, freed, other)
    }

    /// The granule at `p`; one beyond all that there are, if `p` is before the chunk that does not exist, or not on a granule's start.
    #[inline(always)]
    fn granule_at(&self, p: *mut u8) -> Granule {
        Granule((p.addr().wrapping_sub(self.origin.get().addr()) as u64).rotate_right(4))
    }

    /// The other way. So a free needs no register for its pointer: it goes on with the granule, whatever it is.
    #[inline(always)]
    pub(crate) fn pointer_at(&self, granule: Granule) -> *mut u8 {
        self.origin.get().wrapping_add(granule.0.rotate_left(4) as usize)
    }

    /// What the page entry of a granule's span says, if it lies in user memory, or in the chunk before it that does not exist, of
    /// which no span has an owner.
    #[inline(always)]
    pub(crate) fn entry_at(&self, granule: Granule) -> Option<Entry> {
        if granule.0 >= self.granules.get() {
            return None;
        }
        // SAFETY: the granule is inside the region (just checked), so its span has an entry (R2).
        Some(unsafe { &*self.pages.get().add(granule.span_index()) }.read())
    }

    /// Whether a span of this owner is ours, whether or not others freed blocks of it (not with `ZERO_FREED`).
    #[inline(always)]
    pub(crate) fn is_own(&self, owner: Owner) -> bool {
        owner.unseen().0 == self.own.get()
    }

    /// The same of a run.
    #[inline(always)]
    pub(crate) fn is_own_run(&self, owner: Owner) -> bool {
        owner.unseen() == Owner(self.own.get()).in_run()
    }

    /// Whether frees of our own blocks take the usual way: not with `ZERO_FREED`.
    #[inline(always)]
    pub(crate) fn knows_own(&self) -> bool {
        self.own.get() != NOBODY
    }

    /// From here on every free looks at the remote map (L3).
    #[inline(always)]
    pub(crate) fn watch(&self) {
        self.owner.set(NOBODY);
    }

    /// From here on only those in spans that others freed into do.
    pub(crate) fn trust(&self) {
        self.owner.set(self.own.get());
    }

    /// Frees a block of one of our spans, or runs, of which others may have freed blocks: the remote bit counts too.
    #[inline(always)]
    pub(crate) fn free_own_seen(&self, hold: Hold, granule: Granule, entry: Entry) -> i32 {
        let is_given = |live: &_| not_given(live, self.remote_word(granule)) & granule.bit() == 0;
        self.free_if(hold, granule, entry, is_given, |handle| handle.freed_status.get(), |status| status)
    }

    /// Frees a block of one of our spans, if `is_given` says so of its live word. All is done that the block of its kind that was
    /// held back before has left to do, its live bit first.
    #[inline(always)]
    fn free_if<R>(
        &self,
        hold: Hold,
        granule: Granule,
        entry: Entry,
        is_given: impl FnOnce(&AtomicU64) -> bool,
        freed: impl FnOnce(&Self) -> R,
        other: impl FnOnce(i32) -> R,
    ) -> R {
        let (block, live) = (self.block.get(), self.live.get());
        // SAFETY: L1: set up, so this is the column's block (R1).
        let holds = unsafe { &(*block.cast::<ColumnBlock>()).holds };
        let (held, held_entry) = (holds.of(hold), &self.held_entries[hold as usize]);
        // SAFETY: both were checked against `granules` (R2), the one when it was freed. Granule 0 stands for "none held"; its
        // word belongs to no span.
        let (live_of_held, live) = unsafe { (&*live.add(held.word()), &*live.add(granule.word())) };
        if !hold_instead(holds.word(hold), live_of_held, held, granule, || is_given(live)) {
            return other(free_not_given(self, granule));
        }
        // SAFETY: page entries of our spans hold offsets of cells in our block (M3), as did that of the block held before; or else
        // it is the block's start: a sink, always full (K1).
        let before = unsafe { Cell::new(block, held_entry.get().cell() as usize) }.by_one_register();
        held_entry.set(entry);
        if before.push(held) {
            return freed(self);
        }
        other(match hold {
            Hold::Small => spilling(self, before, held),
            Hold::Run => spilling_run(self, before, held),
        })
    }

    /// Holds the free of `granule` back, and does what the one of its kind that was held before has left to do.
    pub(crate) fn hold_back(&self, granule: Granule, cell: Cell) {
        let hold = if cell.is_medium() { Hold::Run } else { Hold::Small };
        self.finish_hold(hold);
        self.held_entries[hold as usize].set(Entry::new(self.as_owner(), self.offset_of(cell)));
        self.block().holds.set(hold, granule);
    }

    #[inline(always)]
    pub(crate) fn live_word(&self, granule: Granule) -> &AtomicU64 {
        // SAFETY: granules come from our own cells or were checked against `granules` (S1, R2).
        unsafe { &*self.live.get().add(granule.word()) }
    }

    #[inline(always)]
    pub(crate) fn block(&self) -> &ColumnBlock {
        // SAFETY: L1 or L4: set up, so this is the column's block (R1). Only its named parts are reached
        // through the reference; cells have the table's own pointer.
        unsafe { &*self.block.get().cast() }
    }

    /// What is known of a span.
    #[inline(always)]
    pub(crate) fn span(&self, span: SpanId) -> &SpanMeta {
        // SAFETY: S1, R2: ids are inside the arena, and the table has an entry for each.
        unsafe { &*self.spans.get().add(span.index()) }
    }

    /// What is known of the span that a granule lies in.
    #[inline(always)]
    pub(crate) fn span_of(&self, granule: Granule) -> &SpanMeta {
        // By one shift and a mask, and added up once: a free that spills takes four instructions less than with an index.
        let offset = (granule.0 as usize / (SPAN_GRANULES / size_of::<SpanMeta>())) & !(size_of::<SpanMeta>() - 1);
        // SAFETY: S1, R2: granules are inside the arena, and the table has an entry for each span.
        unsafe { &*by_one_register(self.spans.get().byte_add(offset)) }
    }

    /// What is known of a chunk.
    #[inline(always)]
    pub(crate) fn chunk(&self, chunk: ChunkId) -> &ChunkMeta {
        // SAFETY: as for spans.
        unsafe { &*self.chunks.get().add(chunk.index()) }
    }

    /// The chunk that single spans are taken from; else the one that does not exist.
    #[inline(always)]
    pub(crate) fn single(&self) -> ChunkId {
        self.single_first.get().chunk()
    }

    /// What is known of it.
    #[inline(always)]
    pub(crate) fn single_meta(&self) -> &ChunkMeta {
        // SAFETY: L1: set up, so it is in the table of chunks (R1).
        unsafe { &*self.single.get() }
    }

    /// One of its spans.
    #[inline(always)]
    pub(crate) fn single_span(&self, place: u32) -> SpanId {
        SpanId(self.single_first.get().0 | place)
    }

    /// Single spans are taken from `chunk` from here on, or from none.
    #[inline(always)]
    pub(crate) fn set_single(&self, chunk: ChunkId, meta: &ChunkMeta) {
        self.single.set(meta);
        self.single_first.set(chunk.span(0));
    }

    /// Chunks are looked for first in this leaf from here on.
    pub(crate) fn look_in_leaf(&self, (leaf, first): (&AtomicU64, ChunkId)) {
        self.leaf.set(leaf);
        self.leaf_first.set(first);
    }

    /// The leaf of the chunk index in which chunks are looked for first, and its first chunk.
    #[inline(always)]
    pub(crate) fn leaf(&self) -> (&AtomicU64, ChunkId) {
        // SAFETY: L1: set up, so it is a word of the chunk index (R1).
        (unsafe { &*self.leaf.get() }, self.leaf_first.get())
    }

    /// The page entry of a span.
    #[inline(always)]
    pub(crate) fn page(&self, span: SpanId) -> &PageEntry {
        // SAFETY: as for spans.
        unsafe { &*self.pages.get().add(span.index()) }
    }

    /// The first span of the run that a span of ours goes on with.
    #[inline(always)]
    pub(crate) fn head_of(&self, span: SpanId) -> SpanId {
        self.page(span).owner().head(span)
    }

    /// The remote word of a granule.
    #[inline(always)]
    pub(crate) fn remote_word(&self, granule: Granule) -> &AtomicU64 {
        // SAFETY: as for the live map: both have a word for every 64 granules of the region.
        unsafe { &*self.remote.get().add(granule.word()) }
    }

    /// The live word of a unit, below [`SPAN_WORDS`], of a span.
    #[inline(always)]
    pub(crate) fn live_unit(&self, span: SpanId, unit: u32) -> &AtomicU64 {
        debug_assert!((unit as usize) < SPAN_WORDS);
        // SAFETY: S1, R2: the map has as many words for each span.
        unsafe { &*self.live.get().add(span.index() * SPAN_WORDS + unit as usize) }
    }

    /// The remote word of a unit, below [`SPAN_WORDS`], of a span.
    #[inline(always)]
    pub(crate) fn remote_unit(&self, span: SpanId, unit: u32) -> &AtomicU64 {
        debug_assert!((unit as usize) < SPAN_WORDS);
        // SAFETY: as for the live map.
        unsafe { &*self.remote.get().add(span.index() * SPAN_WORDS + unit as usize) }
    }

    /// The arena's tables.
    #[inline(always)]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: L1: set up; the core outlives its handles (it owns their memory).
        unsafe { &*self.core.get() }
    }

    /// Whose the spans of a class are.
    #[inline(always)]
    pub(crate) fn owner_for(&self, class: &Class) -> Owner {
        if class.is_medium() { self.as_owner().in_run() } else { self.as_owner() }
    }

    /// The column's number.
    #[inline(always)]
    pub(crate) fn index(&self) -> u32 {
        self.number.get() - 1
    }

    /// Whose the column's spans and chunks are.
    #[inline(always)]
    pub(crate) fn as_owner(&self) -> Owner {
        Owner(self.number.get())
    }

    /// The cell with this number.
    pub(crate) fn cell(&self, id: CellId) -> Cell {
        self.cell_at(id.offset())
    }

    /// The cell at `offset` bytes from the block, where one lies.
    #[inline(always)]
    pub(crate) fn cell_at(&self, offset: u32) -> Cell {
        // SAFETY: L1 or L4: set up; the caller says that a cell lies there.
        unsafe { Cell::new(self.block.get(), offset as usize) }
    }

    /// The number of one of our cells.
    #[inline(always)]
    pub(crate) fn id_of(&self, cell: Cell) -> CellId {
        CellId::at_offset(self.offset_of(cell))
    }

    /// Bytes from the column's block to one of our cells.
    #[inline(always)]
    pub(crate) fn offset_of(&self, cell: Cell) -> u32 {
        (cell.as_ptr().addr() - self.block.get().addr()) as u32
    }

    /// Whether one of our cells lies at `offset` bytes from the column's block.
    #[inline(always)]
    pub(crate) fn is_at(&self, cell: Cell, offset: u32) -> bool {
        self.block.get().wrapping_add(offset as usize) == cell.as_ptr()
    }

    /// Sets one of our cells up for its first use.
    #[cold]
    pub(crate) fn set_cell_up(&self, cell: Cell) {
        let id = self.id_of(cell);
        cell.set_up(id.of_cell());
        self.block().holder.note_cell(id);
    }

    /// The same, of a zone's cell of a class that is known.
    #[inline(always)]
    pub(crate) fn set_up_as(&self, cell: Cell, class: &Class) {
        cell.set_up(class.of_cells[self.width.get() as usize]);
        self.block().holder.note_cell(self.id_of(cell));
    }

    /// The blocks held back, if any, are freed for good.
    pub(crate) fn finish_holds(&self) {
        self.finish_hold(Hold::Small);
        self.finish_hold(Hold::Run);
    }

    fn finish_hold(&self, hold: Hold) {
        let (holds, held_entry) = (&self.block().holds, &self.held_entries[hold as usize]);
        let held = holds.of(hold);
        if held == Granule(0) {
            return;
        }
        let cell = self.cell_at(held_entry.replace(Entry::SINK).cell());
        hold_instead(holds.word(hold), self.live_word(held), held, Granule(0), || true);
        if !cell.push(held) {
            self.spill(cell, held);
        }
    }

    /// Counts granules that others freed and that are handed out again (L2).
    #[inline(always)]
    pub(crate) fn count_again(&self, granules: u64) {
        bump(&self.again, granules);
    }

    /// Counts granules that others freed and that went back (L2).
    pub(crate) fn count_back(&self, granules: u64) {
        self.count_again(granules);
        self.count_taken(granules as i64);
    }

    /// Counts a block of another column that the holder freed (L5).
    #[inline(always)]
    pub(crate) fn count_away(&self, index: u32, granules: u64) {
        bump(&self.block().holder.away_frees, 1);
        if self.away.get() != index {
            self.tell_away();
            self.away.set(index);
        }
        let sum = self.away_granules.load(Relaxed) + granules;
        self.away_granules.store(sum, Relaxed);
        if sum > AWAY_MOST {
            self.tell_away();
        }
    }

    /// Tells the other column what it was not told of.
    #[inline(always)]
    fn tell_away(&self) {
        let granules = self.away_granules.load(Relaxed);
        if granules != 0 {
            // First: who takes a snapshot in between takes freed blocks for live, but none twice for freed.
            self.away_granules.store(0, Relaxed);
            self.core().block(self.away.get()).open.count_freed(granules);
        }
    }

    /// Bytes that the holder freed of another column, which was not told of them.
    pub(crate) fn away_bytes(&self) -> u64 {
        self.away_granules.load(Relaxed) * GRANULE as u64
    }

    /// Counts granules that left their spans (L2). Whether that is a new peak is looked at when some go back.
    #[inline(always)]
    pub(crate) fn count_given(&self, granules: u64) {
        self.level.store(self.level.load(Relaxed).wrapping_add(granules as i64), Relaxed);
    }

    /// Counts granules that went back (L2).
    #[inline(always)]
    pub(crate) fn count_taken(&self, granules: i64) {
        let level = self.level.load(Relaxed);
        if level < 0 {
            // It is above the peak (it has wrapped): by so much (`level - i64::MAX`, in two instructions). No call, so that a spill
            // needs no stack frame.
            let above = opaque((level & i64::MAX).cast_unsigned() + 1).cast_signed();
            self.level.store(i64::MAX, Relaxed);
            // Release: who sees the new peak sees no level above the old one.
            self.peak.store(self.peak.load(Relaxed).wrapping_add(above), Release);
        }
        self.level.store(self.level.load(Relaxed).wrapping_sub(granules), Relaxed);
    }

    /// Bytes in blocks and stacks of the column, and by how much the level was above what it is, and the most that it was (L2). Any
    /// thread may ask; exact while the column is at rest.
    pub(crate) fn bytes(&self, open: &OpenSide) -> (i64, i64, i64) {
        let peak = self.peak.load(Acquire);
        let level = balance_of(self.level.load(Relaxed), peak);
        let highest = peak.max(level);
        let balance = level + self.heard.load(Relaxed) + self.again.load(Relaxed).cast_signed();
        let bytes = (balance * GRANULE as i64).wrapping_sub(open.bytes_by_others.load(Relaxed).cast_signed());
        (bytes, (highest - level) * GRANULE as i64, highest * GRANULE as i64)
    }

    /// Words that change with what others do, and with what is taken back of it.
    pub(crate) fn heard_of(&self) -> [u64; 2] {
        [self.again.load(Acquire), self.heard.load(Acquire).cast_unsigned()].map(|granules| granules.wrapping_mul(GRANULE as u64))
    }

    /// Leaves what others freed, and was not taken back, out of the level.
    pub(crate) fn hear_of_others(&self) {
        let freed = self.block().open.bytes_by_others.load(Relaxed).cast_signed() / GRANULE as i64;
        self.leave_out(freed.wrapping_sub(self.again.load(Relaxed).cast_signed()).max(0));
    }

    /// What the level left out may have been taken back since.
    pub(crate) fn hear_again(&self) {
        if self.heard.load(Relaxed) != 0 {
            self.hear_of_others();
        }
    }

    /// The level is all of the balance again.
    pub(crate) fn forget_others(&self) {
        self.leave_out(0);
    }

    fn leave_out(&self, granules: i64) {
        let more = granules - self.heard.load(Relaxed);
        if more != 0 {
            self.heard.store(granules, Relaxed);
            self.count_taken(more);
        }
    }

    /// Takes into account which spans thieves took away: what was away from them is not any more.
    pub(crate) fn hear_of_thieves(&self) {
        let stolen = self.block().open.bytes_stolen.swap(0, Relaxed);
        if stolen != 0 {
            self.count_back(stolen / GRANULE as u64);
        }
    }

    /// Reports the column's bytes to the arena's counters, and starts a new peak.
    pub(crate) fn report(&self) {
        self.hear_of_thieves();
        self.tell_away();
        let open = &self.block().open;
        let (bytes, above, peak) = self.bytes(open);
        // What is live lies in spans.
        let bytes = bytes.min(span_bytes(open.spans()) as i64);
        self.core().report(bytes - self.told.get(), above, peak);
        self.told.set(bytes);
        self.peak.store((peak - above) / GRANULE as i64, Relaxed);
        self.level.store(i64::MAX, Relaxed);
    }

    /// What is noted of refused calls from here on, if anything.
    pub(crate) fn set_note(&self, note: Option<Note>) {
        self.note.set(note);
    }

    /// What is noted of refused calls, taken away.
    pub(crate) fn take_note(&self) -> Option<Note> {
        self.note.take()
    }

    /// Remembers what is asked for, for `nowhere`: every way that leads there does.
    #[inline(always)]
    pub(crate) fn remember(&self, asked: Asked) {
        self.asked.set(asked);
    }

    /// What is asked for is refused, for the reason that is known.
    #[cold]
    #[inline(always)]
    pub(crate) fn nowhere(&self) -> *mut u8 {
        self.refuse(self.asked.get().of(self.error()));
        self.not_given()
    }

    /// An allocation is refused, for the reason that is known. If it is to be noted, it is counted here; else by the caller.
    #[cold]
    #[inline(never)]
    pub(crate) extern "C" fn not_given(&self) -> *mut u8 {
        if let Some(note) = self.note.get() {
            note(self.failed());
        }
        core::ptr::null_mut()
    }

    /// The same of a free, which aborts if the arena is to.
    #[cold]
    pub(crate) fn not_freed(&self) -> i32 {
        self.note.get().map_or(NOT_NOTED, |note| note(self.misused()))
    }

    /// Knows why a call is refused.
    #[cold]
    pub(crate) fn refuse(&self, error: Error) -> bool {
        self.error.set(MaybeUninit::new(error));
        false
    }

    /// Why the last call was refused.
    pub(crate) fn error(&self) -> Error {
        // SAFETY: L1: `set_up` wrote it, and errors are plain values.
        unsafe { self.error.get().assume_init() }
    }
}

/// The balance that `level` stands for under `peak` (L2).
const fn balance_of(level: i64, peak: i64) -> i64 {
    peak.wrapping_sub(i64::MAX.wrapping_sub(level))
}
