//! The log of edges: what is known to belong together, in the order in which it came to be known.
//!
//! ```text
//! block   next | - | entry | entry | ...          entry   two ids, by their hashes: an edge
//!                                                         an id and END: all its edges so far are forgotten
//!                                                         an id and another less one: the edge of the two is forgotten
//!                                                         NOTHING, and anything
//! ```
//!
//! The second word of an entry is written before the first, and a block is zero before it is linked: so what is there
//! is whole. The log ends with the first entry that is zero. Ids stand for concepts, and hashes of 63 bits for ids: of a
//! million concepts two have the same with a probability of 5.4 in 100 million. The region's mark, a random number, enters them, so that
//! who chooses ids cannot know which have the same.
//!
//! It is compacted in its own blocks, so that this needs no memory, and says the same at any instant:
//!
//! ```text
//! 1 from the end on    an edge that ended since          -> NOTHING       no end is needed any more
//! 2 from the start on  an end                            -> NOTHING
//!                      an edge    -> moved up over what is said elsewhere: no end lies between any more
//! 3 blocks behind the last edge are cut off, and what is left behind it in its block is zeroed, from the end on
//! ```

use core::ptr::NonNull;
use std::collections::HashSet;
use twox_hash::XxHash3_128;

use parking_lot::Mutex;

use crate::Arena;
use crate::column::ColumnId;
use crate::error::{Error, Result};
use crate::guidance::Linked;
use crate::spike::SpikeTime;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

/// Bytes of a block.
const BLOCK: usize = 16 << 10;
const WORDS: usize = BLOCK / 8;
/// Words before the first entry.
const HEAD: usize = 2;
/// Entries of a block.
const ENTRIES: usize = (WORDS - HEAD) / 2;
/// In place of a second id: the first one is no more. (Hashes of ids are odd, and even less one above it.)
const END: u64 = 2;
/// In place of a first id: the entry says nothing.
const NOTHING: u64 = 2;
/// Entries that edges leave to ends, which thus find room where there is no memory for another block; and ends after which it
/// is worth the time to make room for an edge then.
const FOR_ENDS: usize = 128;
/// Where concepts do not lie in the way: any column would do.
const COLUMN: ColumnId = ColumnId::new(0);

/// An id, in the log of a region with this mark.
pub(super) fn hash(mark: u64, id: &[u8]) -> u64 {
    (XxHash3_128::oneshot_with_seed(mark, id) as u64 | 1).max(END + 3)
}

/// An entry of what has ended, by the hashes of ids.
#[derive(Clone, Copy)]
pub(super) struct Ending(u64, u64);

impl Ending {
    /// All edges of a concept.
    pub(super) fn of_all(id: u64) -> Self {
        Self(id, END)
    }

    /// One edge, whichever of its ends made it known.
    pub(super) fn of_edge([one, other]: [u64; 2]) -> Self {
        Self(one, other - 1)
    }
}

/// What the entries behind one have ended.
#[derive(Default)]
struct Ended {
    ids: HashSet<u64, foldhash::fast::RandomState>,
    edges: HashSet<(u64, u64), foldhash::fast::RandomState>,
}

impl Ended {
    fn note(&mut self, Ending(a, b): Ending) {
        if b == END {
            self.ids.insert(a);
        } else {
            self.edges.insert(ends(a, b + 1));
        }
    }

    fn has(&self, a: u64, b: u64) -> bool {
        self.ids.contains(&a) || self.ids.contains(&b) || self.edges.contains(&ends(a, b))
    }
}

/// Both ends of an edge, the same in either order.
fn ends(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

/// Whether the second word of an entry is that of an end. (Hashes of ids are odd.)
fn is_end(b: u64) -> bool {
    b.is_multiple_of(2)
}

/// A block of the log.
#[derive(Clone, Copy)]
struct Block(NonNull<[AtomicU64; WORDS]>);

// SAFETY: R1: atomics in the region.
unsafe impl Send for Block {}

impl Block {
    fn words(&self) -> &[AtomicU64; WORDS] {
        // SAFETY: M1, R1: a live block of the region of that size, which is the log's.
        unsafe { self.0.as_ref() }
    }

    /// A new, empty block; nothing leads to it yet.
    fn new(arena: &Arena) -> Result<Self> {
        let block = arena.alloc_sized(Some(COLUMN), BLOCK, 16, SpikeTime::NONE)?;
        // SAFETY: M1: the block was just given to us, and is as large.
        unsafe { block.write_bytes(0, BLOCK) };
        Ok(Self(block.cast()))
    }

    fn offset(self, arena: &Arena) -> u64 {
        arena.offset_of(self.0.as_ptr().cast()).unwrap_or(0) as u64
    }
}

/// The log of an open service. Appends come one after the other.
#[derive(Default)]
pub(super) struct Log(Mutex<Entries>);

/// Its entries, through all blocks.
#[derive(Default)]
struct Entries {
    blocks: Vec<Block>,
    /// Entries that are written.
    used: usize,
    /// Ends among them.
    ends: usize,
    /// Entries that were left when it was compacted.
    left: usize,
}

impl Log {
    /// The log that begins at `first`. Nothing is changed.
    pub(super) fn find(arena: &Arena, first: &AtomicU64) -> Result<Self> {
        let damaged = || Error::Format { name: arena.name(), why: "the log of its edges is damaged" };
        let mut blocks = Vec::new();
        let mut seen = HashSet::new();
        let mut next = first.load(Acquire);
        while next != 0 {
            let offset = usize::try_from(next).map_err(|_| damaged())?;
            let block = arena.at(offset).and_then(NonNull::new).ok_or_else(damaged)?;
            if arena.usable_size(block.as_ptr()) < Some(BLOCK) || !seen.insert(offset) {
                return Err(damaged());
            }
            let block = Block(block.cast());
            blocks.push(block);
            next = block.words()[0].load(Acquire);
        }
        let mut entries = Entries { blocks, used: 0, ends: 0, left: 0 };
        // The first word is written last: without it there is no entry.
        entries.used = (0..entries.room()).take_while(|&at| entries.at(at)[0].load(Acquire) != 0).count();
        Ok(Self(Mutex::new(entries)))
    }

    /// All its blocks.
    pub(super) fn blocks(&self) -> HashSet<NonNull<u8>> {
        self.0.lock().blocks.iter().map(|block| block.0.cast()).collect()
    }

    /// Makes an edge known by `link`, and notes it if it is new (B3). Without room for it nothing is made known.
    pub(super) fn link(
        &self,
        arena: &Arena,
        first: &AtomicU64,
        ends: impl FnOnce() -> [u64; 2],
        link: impl FnOnce() -> Linked,
    ) -> Result<()> {
        let mut entries = self.0.lock();
        if let Err(refused) = entries.make_room(arena, first, 1 + FOR_ENDS) {
            if entries.ends < FOR_ENDS {
                return Err(refused);
            }
            entries.retain(arena, first, None, |_, _| true)?;
            entries.make_room(arena, first, 1 + FOR_ENDS)?;
        }
        if link() == Linked::New {
            let [one, other] = ends();
            entries.append(one, other);
        }
        Ok(())
    }

    /// Notes what has ended, if `forget` says that there was any of it (B3). Nobody makes an edge known between the one and the other.
    pub(super) fn end(&self, arena: &Arena, first: &AtomicU64, ending: Ending, forget: impl FnOnce() -> bool) -> Result<()> {
        let mut entries = self.0.lock();
        if !forget() {
            return Ok(());
        }
        if entries.make_room(arena, first, 1).is_err() {
            return entries.retain(arena, first, Some(ending), |_, _| true);
        }
        entries.append(ending.0, ending.1);
        Ok(())
    }

    /// Does something while nobody makes an edge known or forgets one.
    pub(super) fn while_edges_stay<T>(&self, act: impl FnOnce() -> T) -> T {
        let _entries = self.0.lock();
        act()
    }

    /// Compacts it if most of it says nothing any more, or all of it, while `edges` are known. Whether it gave blocks back.
    pub(super) fn compact(&self, arena: &Arena, first: &AtomicU64, edges: u64) -> Result<bool> {
        let mut entries = self.0.lock();
        // Room is made for an edge before it is known whether it is new.
        let is_unused = entries.used == 0 && !entries.blocks.is_empty();
        let most = if edges == 0 { 0 } else { 2 * edges as usize + ENTRIES / 2 };
        let blocks = entries.blocks.len();
        if is_unused || entries.ends != 0 && entries.used >= most {
            entries.retain(arena, first, None, |_, _| true)?;
        }
        Ok(entries.blocks.len() < blocks)
    }

    /// Leaves only those edges that `keep` wants, of each of which it hears in the order in which they came to be known.
    pub(super) fn retain(&self, arena: &Arena, first: &AtomicU64, keep: impl FnMut(u64, u64) -> bool) -> Result<()> {
        self.0.lock().retain(arena, first, None, keep)
    }
}

impl Entries {
    /// Entries that the blocks have room for.
    fn room(&self) -> usize {
        self.blocks.len() * ENTRIES
    }

    fn at(&self, at: usize) -> &[AtomicU64; 2] {
        &self.blocks[at / ENTRIES].words()[HEAD..].as_chunks().0[at % ENTRIES]
    }

    /// What leads to block `index`.
    fn link_to<'a>(&'a self, first: &'a AtomicU64, index: usize) -> &'a AtomicU64 {
        if index == 0 { first } else { &self.blocks[index - 1].words()[0] }
    }

    /// Makes room for `more` entries, fewer than a block has. If the log has become four times what it was compacted to, and a
    /// block, it is compacted, which takes as long as reading it: seldom enough to be a small part of what the appends took.
    fn make_room(&mut self, arena: &Arena, first: &AtomicU64, more: usize) -> Result<()> {
        if self.room() - self.used >= more {
            return Ok(());
        }
        if self.ends != 0 && self.used + FOR_ENDS >= 4 * self.left + ENTRIES {
            self.retain(arena, first, None, |_, _| true)?;
            if self.room() - self.used >= more {
                return Ok(());
            }
        }
        let new = Block::new(arena)?;
        // Release: it is zero before anything leads to it.
        self.link_to(first, self.blocks.len()).store(new.offset(arena), Release);
        self.blocks.push(new);
        Ok(())
    }

    /// There is room.
    fn append(&mut self, a: u64, b: u64) {
        self.put(self.used, a, b);
        self.used += 1;
        self.ends += usize::from(is_end(b));
    }

    /// Writes an entry in place of one that says nothing, or nothing that others do not say.
    fn put(&self, at: usize, a: u64, b: u64) {
        let [one, other] = self.at(at);
        if one.load(Relaxed) != 0 {
            // Release: whoever says the same comes before.
            one.store(NOTHING, Release);
        }
        // Release: it is nothing by then.
        other.store(b, Release);
        // Release: the entry is whole once it is there.
        one.store(a, Release);
    }

    /// Leaves those edges that did not end, `ending` being its last entry, and that `keep` wants, and nothing else. Needs no
    /// memory of the arena.
    fn retain(&mut self, arena: &Arena, first: &AtomicU64, ending: Option<Ending>, mut keep: impl FnMut(u64, u64) -> bool) -> Result<()> {
        let mut ended = Ended::default();
        if let Some(ending) = ending {
            ended.note(ending);
        }
        for at in (0..self.used).rev() {
            let [one, other] = self.at(at);
            let (a, b) = (one.load(Relaxed), other.load(Relaxed));
            if is_end(b) {
                ended.note(Ending(a, b));
            } else if ended.has(a, b) {
                one.store(NOTHING, Release);
            }
        }
        let mut left = 0;
        for at in 0..self.used {
            let [one, other] = self.at(at);
            let (a, b) = (one.load(Relaxed), other.load(Relaxed));
            if a == NOTHING {
                continue;
            }
            if is_end(b) || !keep(a, b) {
                // Release: all that it ended is nothing by then.
                one.store(NOTHING, Release);
                continue;
            }
            if left < at {
                self.put(left, a, b);
            }
            left += 1;
        }
        let needed = if left == 0 { 0 } else { (left + FOR_ENDS).div_ceil(ENTRIES).min(self.blocks.len()) };
        if needed < self.blocks.len() {
            // Release: all that is left is said before.
            self.link_to(first, needed).store(0, Release);
        }
        let cut = self.blocks.split_off(needed);
        for at in (left..self.used.min(self.room())).rev() {
            // Release: in this order, so that nothing comes to light again behind what is appended.
            self.at(at)[0].store(0, Release);
        }
        (self.used, self.ends, self.left) = (left, 0, left);
        for block in cut {
            // SAFETY: B3: a block of the log to which nothing leads any more.
            unsafe { arena.free(block.0.cast())? };
        }
        Ok(())
    }
}
