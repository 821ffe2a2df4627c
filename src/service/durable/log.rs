//! The log of edges: what is known to belong together, in the order in which it came to be known.
//!
//! ```text
//! block   next | - | entry | entry | ...          entry   two ids, by their hashes: an edge
//!                                                         an id and END: all its edges so far are forgotten
//! ```
//!
//! The second word of an entry is written before the first, and a block is zero before it is linked: so what is there
//! is whole. Ids stand for concepts, and hashes of 64 bits for ids: of a million concepts two have the same with a
//! probability of 3 in 100 million.

use core::ptr::NonNull;
use std::collections::{HashMap, HashSet};
use twox_hash::XxHash3_128;

use parking_lot::Mutex;

use crate::column::ColumnId;
use crate::error::{Error, Result};
use crate::spike::SpikeTime;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::{Arena, guidance::Linked};

/// Bytes of a block.
const BLOCK: usize = 16 << 10;
const WORDS: usize = BLOCK / 8;
/// Words before the first entry.
const HEAD: usize = 2;
/// In place of a second id: the first one is no more. (Hashes of ids are odd.)
const END: u64 = 2;
/// Where concepts do not lie in the way: any column would do.
const COLUMN: ColumnId = ColumnId::new(0);

/// An id, in the log.
pub(super) fn hash(id: &[u8]) -> u64 {
    XxHash3_128::oneshot(id) as u64 | 1
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
pub(super) struct Log(Mutex<Tail>);

struct Tail {
    last: Option<Block>,
    /// Words of it that are used.
    used: usize,
    entries: u64,
}

/// What a log says of the concepts that there are.
pub(super) struct Edges {
    /// Each once.
    pub(super) edges: Vec<(u64, u64)>,
    /// All blocks of the log, by their offsets.
    pub(super) blocks: Vec<usize>,
}

impl Log {
    /// Reads the log that begins at `first`, of the concepts in `known`.
    pub(super) fn read(arena: &Arena, first: &AtomicU64, known: impl Fn(u64) -> bool) -> Result<Edges> {
        let damaged = || Error::Format { name: arena.name(), why: "the log of its edges is damaged" };
        let (mut blocks, mut entries) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        let mut next = first.load(Acquire);
        while next != 0 {
            let offset = usize::try_from(next).map_err(|_| damaged())?;
            let block = arena.at(offset).and_then(NonNull::new).ok_or_else(damaged)?;
            if arena.usable_size(block.as_ptr()) < Some(BLOCK) || !seen.insert(offset) {
                return Err(damaged());
            }
            blocks.push(offset);
            let block = Block(block.cast());
            let (pairs, _) = block.words()[HEAD..].as_chunks::<2>();
            // The first word is written last: without it there is no entry.
            entries.extend(pairs.iter().map(|[a, b]| (a.load(Acquire), b.load(Relaxed))).take_while(|&(a, _)| a != 0));
            next = block.words()[0].load(Acquire);
        }
        let mut ended = HashMap::new();
        for (at, &(id, other)) in entries.iter().enumerate() {
            if other == END {
                ended.insert(id, at);
            }
        }
        let lives = |id: u64, at: usize| known(id) && ended.get(&id).is_none_or(|&end| end < at);
        let mut edges: Vec<_> = entries
            .iter()
            .enumerate()
            .filter(|&(at, &(a, b))| b != END && lives(a, at) && lives(b, at))
            .map(|(_, &(a, b))| (a.min(b), a.max(b)))
            .collect();
        edges.sort_unstable();
        edges.dedup();
        Ok(Edges { edges, blocks })
    }

    /// A log of these edges and no others takes the place of the one at `first`, in one store. The old one's blocks
    /// are the caller's.
    pub(super) fn rewrite(arena: &Arena, first: &AtomicU64, edges: &[(u64, u64)]) -> Result<Self> {
        let mut tail = Tail { last: None, used: WORDS, entries: 0 };
        let head = AtomicU64::new(0);
        for &(a, b) in edges {
            tail.append(arena, &head, a, b)?;
        }
        // Release: all of it comes before.
        first.store(head.load(Relaxed), Release);
        Ok(Self(Mutex::new(tail)))
    }

    /// Makes an edge known by `link`, and notes it if it is new (B3).
    pub(super) fn link(&self, arena: &Arena, first: &AtomicU64, ends: [&[u8]; 2], link: impl FnOnce() -> Linked) -> Result<()> {
        let mut tail = self.0.lock();
        if link() == Linked::New { tail.append(arena, first, hash(ends[0]), hash(ends[1])) } else { Ok(()) }
    }

    /// Notes that a concept is no more and its edges are forgotten, if `forget` says that it had any (B3). Nobody makes an edge known
    /// between the one and the other.
    pub(super) fn end(&self, arena: &Arena, first: &AtomicU64, id: &[u8], forget: impl FnOnce() -> bool) -> Result<()> {
        let mut tail = self.0.lock();
        if forget() { tail.append(arena, first, hash(id), END) } else { Ok(()) }
    }

    /// Entries, those that say nothing any more included.
    pub(super) fn entries(&self) -> u64 {
        self.0.lock().entries
    }

    /// Puts a log that says the same in fewer entries in this one's place, and frees this one.
    pub(super) fn compact(&self, arena: &Arena, first: &AtomicU64) -> Result<()> {
        let mut tail = self.0.lock();
        let found = Self::read(arena, first, |_| true)?;
        let new = Self::rewrite(arena, first, &found.edges)?;
        *tail = new.0.into_inner();
        for offset in found.blocks {
            if let Some(block) = arena.at(offset).and_then(NonNull::new) {
                // SAFETY: B3: a block of the old log, to which nothing leads any more.
                unsafe { arena.free(block)? };
            }
        }
        Ok(())
    }
}

impl Tail {
    fn append(&mut self, arena: &Arena, first: &AtomicU64, a: u64, b: u64) -> Result<()> {
        if self.used + 2 > WORDS {
            let new = Block::new(arena)?;
            let next = self.last.as_ref().map_or(first, |last| &last.words()[0]);
            // Release: it is zero before anything leads to it.
            next.store(new.offset(arena), Release);
            (self.last, self.used) = (Some(new), HEAD);
        }
        if let Some(last) = &self.last {
            last.words()[self.used + 1].store(b, Relaxed);
            // Release: the entry is whole once it is there.
            last.words()[self.used].store(a, Release);
            self.used += 2;
            self.entries += 1;
        }
        Ok(())
    }
}
