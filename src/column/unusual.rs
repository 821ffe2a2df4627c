//! What the fast path leaves: sizes above 4 KiB, alignments above 16 bytes, frees of blocks that are
//! not plainly the holder's.

use super::block::Hold;
use super::cell::Cell;
use super::core::{Core, Misuse, asked_for};
use super::held::{Asked, Handle};
use super::refill::refilling_runs;
use super::remote::not_given;
use super::rows::{CellId, Row, medium_cell_of};
use crate::error::{Error, Result};
use crate::map::{Entry, Granule, Owner, SpanId};
use crate::size_class::{CHUNK, GRANULE, MEDIUM_MAX, SMALL_MAX, SPAN, class_of};
use crate::spike::SpikeTime;
use crate::sync::{Ordering::Relaxed, Ordering::SeqCst, bump};
use core::sync::atomic::compiler_fence;

/// Where a request is served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    /// By slots of this cell.
    Cell(CellId),
    /// By whole spans or chunks.
    Large {
        /// Bytes asked for.
        size: usize,
        /// Their alignment.
        align: usize,
    },
}

impl Core {
    /// Checks a request and says where it is served.
    #[inline(always)]
    pub(crate) fn route(&self, size: usize, align: usize, spike: u32) -> Result<Route> {
        let align = if align == 0 { GRANULE } else { align };
        if !align.is_power_of_two() || align > CHUNK {
            return Err(Error::Alignment(align));
        }
        if size == 0 {
            return Err(Error::ZeroSize);
        }
        let capacity = self.region.capacity();
        if size > capacity {
            return Err(Error::SizeAboveCapacity { asked: size, capacity });
        }
        if align <= GRANULE {
            return Ok(if size > MEDIUM_MAX {
                Route::Large { size, align }
            } else if size > SMALL_MAX {
                Route::Cell(CellId::in_row(Row::Medium, class_of(size)))
            } else {
                // First, so that the zone's row is told from others once.
                let class = class_of(size);
                Route::Cell(CellId::in_row(self.row_of_zone(SpikeTime::from_nanos(spike).zone()), class))
            });
        }
        if self.region.is_given() {
            self.check_alignment(align)?;
        }
        if align > SPAN {
            return Ok(Route::Large { size, align });
        }
        // Slots of a class lie at multiples of its size (C2), and every multiple of a power of two
        // up to the class' step is a class: the rounded size is one whose slots are all aligned.
        // By a mask: a division is what the compiler makes of `next_multiple_of`.
        let rounded = (size + (align - 1)) & !(align - 1);
        Ok(if rounded > MEDIUM_MAX {
            Route::Large { size, align }
        } else if rounded > SMALL_MAX {
            Route::Cell(CellId::in_row(Row::MediumAligned, class_of(rounded)))
        } else {
            Route::Cell(CellId::in_row(Row::Aligned, class_of(rounded)))
        })
    }
}

impl Core {
    /// Given memory has the alignment that it has.
    #[cold]
    fn check_alignment(&self, align: usize) -> Result<()> {
        let most = self.region.alignment();
        if align > most { Err(Error::AlignmentHere { asked: align, most }) } else { Ok(()) }
    }

    /// Notes the alignment that the block at `p` asked for, which lies in a span of aligned or published blocks: a reallocation keeps
    /// the largest of the span. Before anybody else knows of the block.
    pub(crate) fn note_asked(&self, p: *mut u8, align: usize) {
        if let Some(granule) = self.granule(p) {
            self.note_another(granule, align, false);
        }
    }

    /// The same, of a block that the column's holder has given, perhaps.
    #[inline(always)]
    fn note_another(&self, granule: Granule, align: usize, by_holder: bool) {
        self.note_alignment(align);
        let owner = self.page(granule.span()).owner();
        let meta = self.span(owner.head(granule.span()));
        let asked = align.trailing_zeros();
        if by_holder && !owner.is_shared() && meta.away.load(Relaxed) == 1 {
            // S4: the only slot that is away is the block's, so no other block is there: what was asked for before is over.
            meta.align.store(asked, Relaxed);
        } else {
            // Others may note theirs at the same time.
            meta.align.fetch_max(asked, Relaxed);
        }
        // What the program stores with the block in hand comes after.
        compiler_fence(SeqCst);
    }

    /// Given memory must have the alignments again that blocks asked for, when the arena is opened again.
    pub(crate) fn note_alignment(&self, align: usize) {
        if align > GRANULE && self.region.is_given() {
            self.header.note_alignment(align);
        }
    }

    /// A number for what serves a request, whatever its zone: a size class and whether it is aligned,
    /// or spans and an alignment (up to a granule they are one). Blocks served by the same may stand for each other. Below 2^40.
    pub(crate) fn served_by(&self, size: usize, align: usize) -> u64 {
        match self.route(size, align, u32::MAX) {
            Ok(Route::Cell(id)) => (id.class() << 1 | usize::from(id.is_aligned())) as u64,
            Ok(Route::Large { size, align }) => u64::from(Self::spans_of_large(size)) << 8 | u64::from(align.max(GRANULE).trailing_zeros()),
            Err(_) => 0,
        }
    }
}

impl Handle {
    /// Allocates what the fast path does not.
    #[cold]
    #[inline(never)]
    extern "C" fn alloc_unusual(&self, size: usize, align: usize, spike: u32) -> *mut u8 {
        match self.core().route(size, align, spike) {
            Ok(Route::Cell(id)) => self.alloc_aligned(id, size, align),
            Ok(Route::Large { size, align }) => self.alloc_large(size, align),
            Err(error) => {
                self.refuse(error);
                self.not_given()
            }
        }
    }

    /// Allocates from one of our cells of aligned blocks.
    #[inline(always)]
    fn alloc_aligned(&self, id: CellId, size: usize, align: usize) -> *mut u8 {
        let cell = self.cell(id);
        match cell.pop() {
            Some(granule) => {
                let p = self.give(granule);
                if self.is_noted(granule, align) { p } else { noting(self, granule, align) }
            }
            None => refilling_aligned(self, Asked::aligned(size, align), cell),
        }
    }

    /// As [`Core::note_asked`], of a block that the column has just given.
    pub(crate) fn note_asked(&self, p: *mut u8, align: usize) {
        if let Some(granule) = self.core().granule(p)
            && !self.is_noted(granule, align)
        {
            noting(self, granule, align);
        }
    }

    /// Whether nothing is left to do to note what a block asked for.
    #[inline(always)]
    fn is_noted(&self, granule: Granule, align: usize) -> bool {
        let meta = self.span(self.head_of(granule.span()));
        let (noted, asked) = (meta.align.load(Relaxed), align.trailing_zeros());
        // With one slot away: see `note_another`.
        noted == asked || noted > asked && meta.away.load(Relaxed) != 1
    }

    /// Allocates whole spans.
    #[cold]
    #[inline(never)]
    extern "C" fn alloc_large(&self, size: usize, align: usize) -> *mut u8 {
        let ask = || self.core().alloc_large(self.index(), size, align);
        match ask().or_else(|error| self.ask_again(error, ask)) {
            Ok((p, bytes)) => {
                bump(&self.block().holder.other_allocs, 1);
                self.block().open.bytes_by_others.fetch_sub(bytes, Relaxed);
                self.report();
                p
            }
            Err(error) => {
                self.refuse(asked_for(error, size, align));
                self.not_given()
            }
        }
    }

    /// Frees what the fast path does not, or says what is wrong.
    fn free_anywhere(&self, granule: Granule) -> bool {
        match self.entry_at(granule) {
            Some(entry) => self.free_of(granule, entry.owner()),
            None => self.refuse_free(granule, Misuse::NoBlock),
        }
    }

    /// The same in a span whose owner is known.
    #[inline(always)]
    fn free_of(&self, granule: Granule, owner: Owner) -> bool {
        if owner.is_column(self.index()) { self.free_checked(granule, owner) } else { self.free_elsewhere(granule, owner) }
    }

    fn refuse_free(&self, granule: Granule, misuse: Misuse) -> bool {
        self.refuse(misuse.of(self.pointer_at(granule)))
    }

    /// Frees a block in a span of ours, or says what is wrong.
    #[inline(never)]
    fn free_checked(&self, granule: Granule, owner: Owner) -> bool {
        let core = self.core();
        let place = core.place_under(granule, owner);
        let not_given = not_given(self.live_word(granule), self.remote_word(granule)) & granule.bit() != 0;
        if not_given || self.block().holds.all().any(|held| held == granule) {
            return self.refuse_free(granule, Core::not_live(granule, place));
        }
        if core.options.zero_freed {
            core.zero(granule, place.class().bytes as usize);
        }
        self.hold_back(granule, core.cell(self.index(), place.cell.offset()));
        true
    }

    /// The other column whose holder gives and takes such blocks; not with `ZERO_FREED`.
    #[inline(always)]
    fn elsewhere(&self, owner: Owner) -> Option<u32> {
        owner.holder().filter(|&index| index != self.index() && self.knows_own())
    }

    /// Frees a block of another column, a shared or a large one.
    fn free_elsewhere(&self, granule: Granule, owner: Owner) -> bool {
        match self.core().free_unheld(granule, owner) {
            Ok(freed) => {
                if freed.index() == self.index() {
                    bump(&self.block().holder.other_frees, 1);
                    self.block().open.count_freed(freed.granules());
                } else {
                    self.count_away(freed.index(), freed.granules());
                }
                true
            }
            Err(misuse) => self.refuse_free(granule, misuse),
        }
    }
}

/// Allocates from an empty cell of aligned blocks.
#[cold]
#[inline(never)]
extern "C" fn refilling_aligned(handle: &Handle, asked: Asked, cell: Cell) -> *mut u8 {
    let p = refilling_runs(handle, asked, cell);
    let granule = if p.is_null() { None } else { handle.core().granule(p) };
    match granule {
        Some(granule) if !handle.is_noted(granule, asked.align()) => noting(handle, granule, asked.align()),
        _ => p,
    }
}

/// Notes what a block of a column asked for, whose span says something else, and hands it out.
#[cold]
#[inline(never)]
extern "C" fn noting(handle: &Handle, granule: Granule, align: usize) -> *mut u8 {
    handle.core().note_another(granule, align, true);
    handle.address(granule)
}

/// Sizes above the small classes.
#[cold]
#[inline(never)]
pub(crate) extern "C" fn above_small(handle: &Handle, size: usize, align: usize, spike: u32) -> *mut u8 {
    // What `route` would find, sooner.
    if (align & !GRANULE == 0 || is_below_a_granule(align))
        && let Some(offset) = medium_cell_of(size)
    {
        let cell = handle.cell_at(offset);
        return match cell.pop() {
            Some(granule) => handle.give(granule),
            None => refilling_runs(handle, Asked::unaligned(size), cell),
        };
    }
    handle.alloc_unusual(size, align, spike)
}

/// Alignments other than a granule's, and sizes of up to 4 KiB. Not one with `above_small`: with two ways out, the compiler keeps
/// two plain branches on the fast path.
#[cold]
#[inline(never)]
pub(crate) extern "C" fn unusual_align(handle: &Handle, size: usize, align: usize, spike: u32) -> *mut u8 {
    // Always so: said for the table's bound.
    if size <= SMALL_MAX && is_below_a_granule(align) {
        handle.alloc_small(size, align, spike)
    } else {
        handle.alloc_unusual(size, align, spike)
    }
}

/// Whether it is an alignment that each block has: of a type of up to 8 bytes, say.
#[inline(always)]
const fn is_below_a_granule(align: usize) -> bool {
    // A power of two, and none of the bits above. (Or 0, which means a granule's.)
    align & (align.wrapping_sub(1) | !(GRANULE - 1)) == 0
}

/// Blocks of a span that is not plainly ours: of a run of ours, or of a span of ours into which others have freed, or of any of ours
/// once that was so. The remote bit counts too; it was set after the span was marked, which is how we got here.
#[cold]
#[inline(never)]
pub(crate) extern "C" fn free_seen(handle: &Handle, granule: Granule, entry: Entry) -> i32 {
    let owner = entry.owner();
    if handle.is_own(owner) {
        handle.watch();
        return handle.free_own_seen(Hold::Small, granule, entry);
    }
    if handle.is_own_run(owner) { handle.free_own_seen(Hold::Run, granule, entry) } else { freeing_elsewhere(handle, granule, owner) }
}

/// Blocks of another column, most likely.
#[cold]
#[inline(never)]
extern "C" fn freeing_elsewhere(handle: &Handle, granule: Granule, owner: Owner) -> i32 {
    let Some(index) = handle.elsewhere(owner) else { return freeing_rare(handle, granule, owner) };
    let Some(sent) = handle.core().free_remote(granule, index, owner) else { return refusing(handle, granule, owner) };
    handle.count_away(index, sent.granules);
    if sent.to_push { announcing(handle, sent.head) } else { handle.freed_status.get() }
}

/// Pushes a span onto its inbox.
#[cold]
#[inline(never)]
extern "C" fn announcing(handle: &Handle, head: SpanId) -> i32 {
    handle.core().announce(head);
    handle.freed_status.get()
}

/// Nothing is live there.
#[cold]
#[inline(never)]
extern "C" fn refusing(handle: &Handle, granule: Granule, owner: Owner) -> i32 {
    handle.refuse_free(granule, handle.core().why_not_live(granule, owner));
    handle.not_freed()
}

/// Shared and large blocks, blocks that are to be zeroed, and what is no block.
#[cold]
#[inline(never)]
extern "C" fn freeing_rare(handle: &Handle, granule: Granule, owner: Owner) -> i32 {
    if handle.free_of(granule, owner) { handle.freed_status.get() } else { handle.not_freed() }
}

/// Pointers that are not plainly a block of the column.
#[cold]
#[inline(never)]
pub(crate) extern "C" fn free_unusual(handle: &Handle, granule: Granule) -> i32 {
    // NULL, from C, lies outside every arena, so the usual way need not look for it.
    if handle.pointer_at(granule).is_null() || handle.free_anywhere(granule) { handle.freed_status.get() } else { handle.not_freed() }
}

/// A pointer to a slot of ours that is not handed out, most likely. The live bit of the block held back is clear already: it must not
/// stay so, or a refill would take it for one of its unit's free slots (S3).
#[cold]
#[inline(never)]
pub(crate) extern "C" fn free_not_given(handle: &Handle, granule: Granule) -> i32 {
    handle.finish_holds();
    free_unusual(handle, granule)
}
