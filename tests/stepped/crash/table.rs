//! What the child owns, in memory that outlives it: a table of blocks. Before each operation the child notes in its
//! block's entry what it is about to do, and afterwards what came of it, by plain stores; so the entries of a
//! killed process say what must be live, what must not, and what was in flight.

use core::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use engram::{Arena, Result};

/// Entries.
pub(crate) const ENTRIES: usize = 1024;

/// What becomes of an entry's block.
pub(crate) mod state {
    pub(crate) const EMPTY: u32 = 0;
    /// Being allocated: `size` bytes.
    pub(crate) const ALLOCATING: u32 = 1;
    pub(crate) const LIVE: u32 = 2;
    pub(crate) const FREEING: u32 = 3;
    /// Being reallocated: to `to_size` bytes.
    pub(crate) const MOVING: u32 = 4;
    /// Reallocated: to `to_offset`.
    pub(crate) const MOVED: u32 = 5;
    pub(crate) const PUBLISHING: u32 = 6;
    /// Live, and `place` names it.
    pub(crate) const PUBLISHED: u32 = 7;
    pub(crate) const UNPUBLISHING: u32 = 8;
}

/// A place that names nothing yet, or a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Root(usize),
    /// A word at this offset.
    Word(usize),
}

impl Place {
    const WORDS: u64 = 1 << 62;

    fn code(self) -> u64 {
        match self {
            Self::Root(slot) => slot as u64,
            Self::Word(offset) => Self::WORDS | offset as u64,
        }
    }

    pub(crate) fn of(code: u64) -> Self {
        if code & Self::WORDS == 0 { Self::Root(code as usize) } else { Self::Word((code & !Self::WORDS) as usize) }
    }

    /// What it names.
    pub(crate) fn name(self, arena: &Arena) -> usize {
        match self {
            Self::Root(slot) => arena.root(slot).unwrap() as usize,
            Self::Word(_) => {
                // SAFETY: a word of a live block, which is only written by publications.
                unsafe { AtomicU64::from_ptr(self.word(arena).as_ptr()) }.load(Acquire) as usize
            }
        }
    }

    fn word(self, arena: &Arena) -> NonNull<u64> {
        let Self::Word(offset) = self else { unreachable!("a root") };
        NonNull::new(arena.at(offset).unwrap().cast()).unwrap()
    }
}

#[repr(C)]
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) state: AtomicU32,
    /// Among threads of the child: whose turn it is.
    taken: AtomicU32,
    pub(crate) column: AtomicU32,
    pub(crate) offset: AtomicU64,
    pub(crate) size: AtomicU64,
    /// How many of its bytes are `stamp`, again and again.
    pub(crate) stamped: AtomicU64,
    pub(crate) stamp: AtomicU64,
    pub(crate) to_offset: AtomicU64,
    pub(crate) to_size: AtomicU64,
    pub(crate) place: AtomicU64,
}

/// All of it; zero is valid and empty.
#[repr(C)]
pub(crate) struct Table {
    /// 0 before the operation that is watched, 1 during, 2 after it.
    pub(crate) phase: AtomicU32,
    /// A column that is being reset, plus 1.
    pub(crate) resetting: AtomicU32,
    /// The same, when it has been.
    pub(crate) reset: AtomicU32,
    /// At most so many bytes of a block are stamped.
    pub(crate) stamp_limit: AtomicU64,
    stamps: AtomicU64,
    /// From where an empty entry is looked for.
    next: AtomicU64,
    pub(crate) entries: [Entry; ENTRIES],
}

/// The content of a stamped block.
pub(crate) fn is_stamped(p: *const u8, stamp: u64, bytes: usize) -> bool {
    let words = bytes / 8;
    // SAFETY: the block has these bytes.
    let whole = (0..words).all(|index| unsafe { p.cast::<u64>().add(index).read_unaligned() } == stamp);
    // SAFETY: as above.
    whole && (words * 8..bytes).all(|index| unsafe { p.add(index).read() } == stamp.to_le_bytes()[index % 8])
}

impl Table {
    /// A table that this process and its children share.
    pub(crate) fn shared() -> &'static Self {
        // SAFETY: new memory, which is never unmapped: zero is a table, whose fields are atomic.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let memory = libc::mmap(core::ptr::null_mut(), size_of::<Self>(), protection, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0);
            assert_ne!(memory, libc::MAP_FAILED);
            &*memory.cast()
        }
    }

    /// Empty again, while no child uses it.
    pub(crate) fn clear(&self) {
        // SAFETY: zero is an empty table, and all of it is atomic integers.
        unsafe { core::ptr::from_ref(self).cast_mut().write_bytes(0, 1) };
        self.stamp_limit.store(u64::MAX, Relaxed);
    }

    /// All of it, while no child runs.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: memory that is mapped and initialised; the caller says that nobody writes.
        unsafe { core::slice::from_raw_parts((&raw const *self).cast(), size_of::<Self>()) }
    }

    /// An entry that no thread of the child uses.
    pub(crate) fn take(&self, index: usize) -> Option<Taken<'_>> {
        let entry = &self.entries[index];
        entry.taken.compare_exchange(0, 1, AcqRel, Relaxed).is_ok().then(|| Taken { table: self, entry })
    }

    /// Takes an empty entry.
    pub(crate) fn empty(&self) -> Taken<'_> {
        loop {
            let index = self.next.fetch_add(1, Relaxed) as usize % ENTRIES;
            if let Some(taken) = self.take(index).filter(|taken| taken.state() == state::EMPTY) {
                return taken;
            }
        }
    }

    /// After a crash: an entry whose block is there has it, and the others are empty.
    pub(crate) fn settle(&self, alive: &[(usize, usize)]) {
        let states: Vec<_> = self.entries.iter().map(|entry| entry.state.load(Relaxed)).collect();
        for entry in &self.entries {
            entry.taken.store(0, Relaxed);
            entry.state.store(state::EMPTY, Relaxed);
        }
        for &(index, offset) in alive {
            let entry = &self.entries[index];
            entry.offset.store(offset as u64, Relaxed);
            if states[index] == state::MOVED {
                let size = entry.to_size.load(Relaxed);
                entry.size.store(size, Relaxed);
                entry.stamped.store(entry.stamped.load(Relaxed).min(size), Relaxed);
            }
            if states[index] == state::PUBLISHING {
                entry.stamped.store(0, Relaxed);
            }
            let published = [state::PUBLISHING, state::PUBLISHED, state::UNPUBLISHING].contains(&states[index]);
            entry.state.store(if published { state::PUBLISHED } else { state::LIVE }, Relaxed);
        }
        for word in [&self.phase, &self.resetting, &self.reset] {
            word.store(0, Relaxed);
        }
    }

    /// Runs a reset of a column whose blocks nobody else touches.
    pub(crate) fn reset(&self, column: u32, reset: impl FnOnce()) {
        self.resetting.store(column + 1, Release);
        reset();
        self.reset.store(column + 1, Release);
        self.resetting.store(0, Release);
        self.forget_column(column);
        self.reset.store(0, Release);
    }

    /// Empties the entries of a column that was reset.
    pub(crate) fn forget_column(&self, column: u32) {
        for entry in self.entries.iter().filter(|entry| entry.column.load(Relaxed) == column) {
            entry.state.store(state::EMPTY, Release);
        }
    }
}

/// An entry that this thread uses.
pub(crate) struct Taken<'a> {
    table: &'a Table,
    pub(crate) entry: &'a Entry,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.entry.taken.store(0, Release);
    }
}

impl Taken<'_> {
    pub(crate) fn state(&self) -> u32 {
        self.entry.state.load(Acquire)
    }

    fn set(&self, state: u32) {
        self.entry.state.store(state, Release);
    }

    pub(crate) fn block(&self, arena: &Arena) -> NonNull<u8> {
        NonNull::new(arena.at(self.entry.offset.load(Relaxed) as usize).unwrap()).unwrap()
    }

    /// Notes that `size` bytes of a column are about to be allocated.
    pub(crate) fn intend(&self, column: u32, size: usize) {
        self.entry.column.store(column, Relaxed);
        self.entry.size.store(size as u64, Relaxed);
        self.entry.stamped.store(0, Relaxed);
        self.set(state::ALLOCATING);
    }

    /// Notes the block, and stamps it.
    pub(crate) fn given(&self, arena: &Arena, p: Option<NonNull<u8>>) {
        let Some(p) = p else { return self.set(state::EMPTY) };
        self.entry.offset.store(arena.offset_of(p.as_ptr()).unwrap() as u64, Relaxed);
        self.set(state::LIVE);
        self.stamp(p);
    }

    /// Stamps a block: what it says is true at each moment.
    fn stamp(&self, p: NonNull<u8>) {
        let stamp = self.table.stamps.fetch_add(1, Relaxed).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.entry.stamped.store(0, Release);
        let bytes = self.entry.size.load(Relaxed).min(self.table.stamp_limit.load(Relaxed)) as usize;
        for index in 0..bytes / 8 {
            // SAFETY: the block has these bytes.
            unsafe { p.cast::<u64>().add(index).write_unaligned(stamp) };
        }
        for index in bytes / 8 * 8..bytes {
            // SAFETY: as above.
            unsafe { p.add(index).write(stamp.to_le_bytes()[index % 8]) };
        }
        self.entry.stamp.store(stamp, Relaxed);
        self.entry.stamped.store(bytes as u64, Release);
    }

    /// Allocates; false if it was refused.
    pub(crate) fn alloc(&self, arena: &Arena, column: u32, size: usize, alloc: impl FnOnce() -> Result<NonNull<u8>>) -> bool {
        self.intend(column, size);
        let block = alloc().ok();
        self.given(arena, block);
        block.is_some()
    }

    /// A block of words that name nothing, from which places may be taken.
    pub(crate) fn make_places(&self, arena: &Arena) -> usize {
        self.entry.stamped.store(0, Release);
        let p = self.block(arena);
        // SAFETY: the block has these bytes, which this thread alone uses.
        unsafe { p.write_bytes(0, self.entry.size.load(Relaxed) as usize) };
        arena.offset_of(p.as_ptr()).unwrap()
    }

    pub(crate) fn free(&self, arena: &Arena, free: impl FnOnce(NonNull<u8>) -> Result<()>) {
        self.set(state::FREEING);
        free(self.block(arena)).unwrap();
        self.set(state::EMPTY);
    }

    pub(crate) fn realloc(&self, arena: &Arena, size: usize, realloc: impl FnOnce(NonNull<u8>) -> Result<NonNull<u8>>) -> bool {
        let entry = self.entry;
        entry.to_size.store(size as u64, Relaxed);
        self.set(state::MOVING);
        let Ok(to) = realloc(self.block(arena)) else {
            self.set(state::LIVE);
            return false;
        };
        entry.to_offset.store(arena.offset_of(to.as_ptr()).unwrap() as u64, Relaxed);
        self.set(state::MOVED);
        entry.stamped.store(entry.stamped.load(Relaxed).min(size as u64), Relaxed);
        entry.size.store(size as u64, Relaxed);
        entry.offset.store(entry.to_offset.load(Relaxed), Relaxed);
        self.set(state::LIVE);
        true
    }

    /// Publishes a block at a place that names nothing; false if it was refused.
    pub(crate) fn publish(&self, arena: &Arena, column: u32, size: usize, place: Place) -> bool {
        self.entry.column.store(column, Relaxed);
        self.entry.size.store(size as u64, Relaxed);
        self.entry.stamped.store(0, Relaxed);
        self.entry.place.store(place.code(), Relaxed);
        self.set(state::PUBLISHING);
        let layout = core::alloc::Layout::from_size_align(size, 16).unwrap();
        let column = Some(engram::ColumnId::new(column));
        let published = match place {
            Place::Root(slot) => arena.publish_root(column, layout, engram::SpikeTime::NONE, slot),
            // SAFETY: a word of a live block that nobody else writes.
            Place::Word(_) => unsafe { arena.publish(column, layout, engram::SpikeTime::NONE, place.word(arena)) },
        };
        let Ok(p) = published else {
            self.set(state::EMPTY);
            return false;
        };
        self.entry.offset.store(arena.offset_of(p.as_ptr()).unwrap() as u64, Relaxed);
        self.set(state::PUBLISHED);
        self.stamp(p);
        true
    }

    pub(crate) fn unpublish(&self, arena: &Arena) {
        let place = self.place();
        self.set(state::UNPUBLISHING);
        match place {
            // SAFETY: nothing uses the block afterwards.
            Place::Root(slot) => unsafe { arena.unpublish_root(slot) },
            // SAFETY: as above; a word of a live block that nobody else writes.
            Place::Word(_) => unsafe { arena.unpublish(place.word(arena)) },
        }
        .unwrap();
        self.set(state::EMPTY);
    }

    /// Checks that the block has its content.
    pub(crate) fn check(&self, arena: &Arena) {
        let (stamp, stamped) = (self.entry.stamp.load(Relaxed), self.entry.stamped.load(Relaxed));
        assert!(is_stamped(self.block(arena).as_ptr(), stamp, stamped as usize), "a block has another content");
    }

    pub(crate) fn place(&self) -> Place {
        Place::of(self.entry.place.load(Relaxed))
    }
}
