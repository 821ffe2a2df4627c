//! What a region file is for: blocks that survive, names that lead to them, copies.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::path::Path;

use super::Arena;
use crate::column::{ColumnId, core::asked_for, publish::Place};
use crate::error::{Error, Result};
use crate::spike::SpikeTime;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

impl Arena {
    /// Whether the region had not been closed when it was opened: its process died, and the arena was recovered.
    pub fn was_recovered(&self) -> bool {
        self.recovered
    }

    /// Whether it lies in a file that another process opened, of which this one is a forked child.
    pub(crate) fn is_parents(&self) -> bool {
        self.core.region.is_parents()
    }

    /// Whether a block that is handed out was published.
    pub(crate) fn is_published(&self, block: NonNull<u8>) -> bool {
        self.core.granule(block.as_ptr()).is_some_and(|granule| {
            let place = self.core.place(granule);
            if place.owner.is_large() { self.core.span(place.head).published.load(Relaxed) != 0 } else { place.cell.is_published() }
        })
    }

    /// Whether two blocks that are handed out lie in one span, or run.
    pub(crate) fn lie_together(&self, block: NonNull<u8>, other: NonNull<u8>) -> bool {
        let head = |block: NonNull<u8>| self.core.granule(block.as_ptr()).map(|granule| self.core.place(granule).head);
        head(block) == head(other)
    }

    /// What the region lies in, for errors.
    pub(crate) fn name(&self) -> &'static str {
        self.core.region.name()
    }

    /// Calls `each` with the column, the start and the usable bytes of every block, in address order, as long as it does not
    /// fail. While nobody uses the arena, after it was opened.
    pub(crate) fn each_block(&self, mut each: impl FnMut(u32, NonNull<u8>, usize) -> Result<()>) -> Result<()> {
        let mut result = Ok(());
        self.core.each_block(|column, p, usable| {
            result = NonNull::new(p).map_or(Ok(()), |block| each(column, block, usable));
            result.is_ok()
        });
        result
    }

    /// Allocates a block as [`Arena::alloc`] does and stores its offset at `place`, in one step as far as a crash can tell:
    /// afterwards the block is live if and only if `place` names it. Lock-free, no system call. The content is undefined.
    /// [`Arena::free`], and [`Arena::realloc`] if the block moves, leave `place` as it is: it is to be changed then.
    ///
    /// # Safety
    /// `place` is a word of a block of this arena that nobody else reads or writes, but by atomic operations, meanwhile; until the
    /// publication has returned only an unpublication changes it. (Whether a block is there is not checked.)
    ///
    /// # Errors
    /// As [`Arena::alloc`]; [`Error::Place`] for what is not aligned or lies outside user memory, [`Error::Publishing`].
    pub unsafe fn publish(&self, column: Option<ColumnId>, layout: Layout, spike: SpikeTime, place: NonNull<u64>) -> Result<NonNull<u8>> {
        self.publish_sized(column, layout.size(), layout.align(), spike, place.as_ptr())
    }

    /// As [`Arena::publish`], with the alignment still to be checked (0 means 16).
    pub(crate) fn publish_sized(
        &self,
        column: Option<ColumnId>,
        size: usize,
        align: usize,
        spike: SpikeTime,
        place: *mut u64,
    ) -> Result<NonNull<u8>> {
        self.publish_in(column, size, align, spike, || self.core.place_at(place))
    }

    /// The same at any place; a refusal is counted.
    fn publish_in<'a>(
        &'a self,
        column: Option<ColumnId>,
        size: usize,
        align: usize,
        spike: SpikeTime,
        place: impl FnOnce() -> Result<Place<'a>>,
    ) -> Result<NonNull<u8>> {
        let any = column.is_none();
        let published = self.column_or_home(column).and_then(|index| self.core.publish(index, any, size, align, spike.raw(), place()?));
        published.map_err(|error| {
            self.core.counters().failed.fetch_add(1, Relaxed);
            asked_for(error, size, align)
        })
    }

    /// As [`Arena::publish`], and the name is stored in a root (see [`Arena::root`]), which until this has returned only an unpublication
    /// changes.
    ///
    /// # Errors
    /// As [`Arena::alloc`]; [`Error::Root`], [`Error::Publishing`].
    pub fn publish_root(&self, column: Option<ColumnId>, layout: Layout, spike: SpikeTime, slot: usize) -> Result<NonNull<u8>> {
        self.publish_in(column, layout.size(), layout.align(), spike, || self.core.root_place(slot))
    }

    /// Frees the block that `place` names, and stores 0 there, in one step as far as a crash can tell. Wait-free, no
    /// system call. The block was published.
    ///
    /// # Safety
    /// As [`Arena::publish`]; nothing uses the block afterwards.
    ///
    /// # Errors
    /// [`Error::Place`], [`Error::NoName`], [`Error::NotPublished`], [`Error::BadPointer`], [`Error::DoubleFree`],
    /// [`Error::Publishing`]; nothing has changed then.
    pub unsafe fn unpublish(&self, place: NonNull<u64>) -> Result<()> {
        self.unpublish_at(place.as_ptr())
    }

    pub(crate) fn unpublish_at(&self, place: *mut u64) -> Result<()> {
        self.unpublish_in(self.core.place_at(place))
    }

    /// The same in any place, or none. A refusal is misuse, unless no block is at fault.
    fn unpublish_in(&self, place: Result<Place<'_>>) -> Result<()> {
        place.and_then(|place| self.core.unpublish(place)).map(|_| ()).map_err(|error| match error {
            Error::Place(_) | Error::Root(_) | Error::Publishing => error,
            error => self.core.misused(error),
        })
    }

    /// As [`Arena::unpublish`], of the block that a root names.
    ///
    /// # Safety
    /// Nothing uses the block afterwards.
    ///
    /// # Errors
    /// As [`Arena::unpublish`]; [`Error::Root`].
    pub unsafe fn unpublish_root(&self, slot: usize) -> Result<()> {
        self.unpublish_in(self.core.root_place(slot))
    }

    /// One of 16 words that a region keeps for its program, 0 at first: an offset, so that the program finds its data
    /// again. Any thread, atomic.
    ///
    /// # Errors
    /// [`Error::Root`].
    pub fn root(&self, slot: usize) -> Result<u64> {
        self.core.header.root(slot).map(|word| word.load(Acquire)).ok_or(Error::Root(slot))
    }

    /// Sets such a word. Any thread, atomic; not while something is published there. The first block of an arena has offset 0,
    /// too: a published block never has.
    ///
    /// # Errors
    /// [`Error::Root`].
    pub fn set_root(&self, slot: usize, offset: u64) -> Result<()> {
        self.core.header.root(slot).map(|word| word.store(offset, Release)).ok_or(Error::Root(slot))
    }

    /// Brings all that was written to the disk of the region file; of other memory there is nothing to bring. After
    /// it has returned, and as long as nothing is written, the file outlives a loss of power. Blocks.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn sync(&self) -> Result<()> {
        self.core.region.sync()
    }

    /// Copies the arena, whatever it lies in, into a region file, which is a closed one: opening it is going back to
    /// this moment. The file is written under another name, brought to disk and renamed: it is there whole or not at
    /// all. Its permissions are those of what it replaces, or else of the region's own file, or else of any new file. While nothing
    /// else uses the arena. Blocks. Takes host memory: if that comes from the arena itself, it is in the copy, too, as blocks that
    /// nobody frees.
    ///
    /// # Errors
    /// [`Error::ArenaHeld`] while a column is held; [`Error::Format`] if what is there is no file; [`Error::FileBusy`] if the file
    /// is a region that somebody has open, also since the copy was begun; [`Error::File`], also if what is there cannot be opened to see
    /// that, or its folder cannot be opened to bring the name to disk. Nothing is replaced then, but if it is that last step, the name's,
    /// which the system refuses: the message says so.
    pub fn snapshot(&self, path: impl AsRef<Path>) -> Result<()> {
        match self.held_column() {
            Some(column) => Err(Error::ArenaHeld(column)),
            None => self.core.region.snapshot(path.as_ref(), &self.core.written_parts()),
        }
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests;
