//! What a service keeps in a region file beside its concepts' slots, so that it is there again when it is reopened.
//!
//! ```text
//! root 14 --- set while the superblock is made
//! root 15 --> superblock: names of pools | batches under way | log --> block --> block     edges, as they came to be known
//! slots, anywhere: each describes itself
//! ```
//!
//! A file is what its live blocks are: slots with a mark, the superblock and the log. Every other live block of a file that was not
//! closed was on its way to be one, or to be given back, when the process died, and is freed when the file is opened. (But what another
//! root names, or what was published, is a program's, if it has no mark of the service's: then the file is refused. The superblock is
//! published, and where memory is scarce concepts may lie beside it.)
//!
//! Invariants
//! - **B1** a concept is there if and only if a slot of it has the region's mark, a random number: memory that is taken anew holds what
//!   was stored there before, any bytes, and must not look like a slot. Of two, which there are while it is updated or
//!   moved, the one with the higher version counts. The mark is written last, and an old slot's is cleared under the node's
//!   lock before the change is answered.
//! - **B2** slots of a batch that is all or nothing have the batch's mark, which counts exactly when the batch's record
//!   says that it is committed: one store. The record stays until all of its slots have the ordinary mark.
//! - **B3** an edge is in the log before its link is answered, and a concept's end after the edges that end with it; both
//!   in the order in which the graph learnt of them. What the log says of concepts that are no more says nothing.
//! - **B4** a file that its service has closed has no live blocks but superblock, log, slots that count, and such as were
//!   discarded and not given back yet, which have the mark's complement until then. So in it a mark that is none is damage.
//!   It is closed if its region is, and its superblock says so: the region alone may have been closed by another program, after
//!   a kill. The superblock says so from a close to the next opening: it is said before the first change that there is something under
//!   way, and after the last that there is nothing. With that it says what the checksums of all slots that count come to: so a slot that
//!   is live no more is damage, too.
//!
//! A store that recovery relies on is a release, or comes under a lock after what it stands for.

mod log;
mod reopen;

pub(super) use reopen::Judged;

use core::hash::{BuildHasher, Hasher};
use core::ptr::NonNull;
use std::hash::RandomState;
use std::time::Duration;

use twox_hash::XxHash3_128;

use super::admission::{Gate, Permit, Refused};
use super::pool::Pool;
use super::slot::Slot;
use crate::Arena;
use crate::error::{Error, Result};
use crate::guidance::{ConceptType, Linked};
use crate::spike::SpikeTime;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

use log::{Ending, Log, hash};

/// The root that leads to the superblock.
const ROOT: usize = 15;
/// The root that is [`MAKING`] until the superblock is whole: the memory that it gets may hold what another program stored there.
const MAKING_ROOT: usize = 14;
/// No offset: "making.." in ASCII.
const MAKING: u64 = u64::from_le_bytes(*b"making..");
/// "engrams5" in ASCII.
const MAGIC: u64 = u64::from_le_bytes(*b"engrams5");
/// A service has the file open, or had when it died: "svc open" in ASCII.
const OPEN: u64 = u64::from_le_bytes(*b"svc open");
/// None has, and nothing is under way (B4): "svc shut" in ASCII.
const CLOSED: u64 = u64::from_le_bytes(*b"svc shut");
/// Batches that may be under way.
pub(super) const BATCHES: usize = 256;
/// Names of pools that a region knows: four times as many as a service has, so that those of pools that it has no more are kept a while.
const POOLS: usize = 256;
/// Bits of a batch's number, and where its record's index begins in a mark.
const NUMBER_BITS: u32 = 40;
/// Whether a batch's record is committed.
const COMMITTED: u64 = 1 << 62;
/// Whether it is anybody's.
const CLAIMED: u64 = 1 << 63;
/// What the mark of a batch begins with, but for the region's mark, which it is mixed with.
const BATCH_MARK: u64 = 0xba7c << 48;

/// The name of a pool. The length comes last, with a checksum of name and length above its eight bits; 0 for none.
#[repr(C)]
struct PoolName {
    length: AtomicU64,
    name: [AtomicU64; ConceptType::LONGEST / 8],
}

/// A pool's name that is none.
#[derive(PartialEq, Eq)]
struct DamagedName;

/// What the root leads to. All zero but for the first four words: no pools, no batches, no log.
#[repr(C)]
struct Superblock {
    /// Written last.
    magic: AtomicU64,
    /// What slots that count are marked with; it enters the hashes of ids in the log.
    mark: AtomicU64,
    /// Its checksum: with another mark every slot would look like what a kill left.
    mark_check: AtomicU64,
    /// [`OPEN`] or [`CLOSED`].
    state: AtomicU64,
    /// What all slots that count came to when it was closed, a [`Sum`] (B4).
    sum: AtomicU64,
    /// The offset of the log's first block, 0 for none.
    log: AtomicU64,
    batches: [AtomicU64; BATCHES],
    pools: [PoolName; POOLS],
}

/// Which slots there are, in whatever order they come: their checksums, added up.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Sum(u64);

impl Sum {
    /// One more.
    pub(super) fn add(&mut self, slot: Slot) {
        self.0 = self.0.wrapping_add(slot.known_checksum());
    }
}

/// A service's part of a region file.
pub(super) struct Durable {
    superblock: NonNull<Superblock>,
    /// The region's mark.
    mark: u64,
    /// The number in the region of each of the service's pools.
    pools: Box<[u8]>,
    /// Batches so far.
    batches: AtomicU64,
    /// As many may be under way as there are records.
    gate: Gate,
    log: Log,
}

// SAFETY: R1: the superblock is made of atomics, in the region, which outlives the service's use of it.
unsafe impl Send for Durable {}
// SAFETY: as above.
unsafe impl Sync for Durable {}

/// A batch that is all or nothing, under way (B2). Dropped without being committed, it never was.
pub(super) struct Batch<'a> {
    record: &'a AtomicU64,
    number: u64,
    /// What its slots are marked with.
    pub(super) mark: u64,
    /// Given back when the record is free.
    _permit: Permit<'a>,
}

impl Batch<'_> {
    /// From here on its slots count.
    pub(super) fn commit(&self) {
        // After all slots (B2).
        self.record.store(CLAIMED | COMMITTED | self.number, Release);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.record.store(0, Release);
    }
}

impl Durable {
    fn superblock(&self) -> &Superblock {
        // SAFETY: M1, R1: a live block of the region, as large, made of atomics; the arena outlives the service's parts.
        unsafe { self.superblock.as_ref() }
    }

    /// The region's mark.
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    /// The number in the region of a pool of the service.
    pub(super) fn pool_number(&self, pool: usize) -> u8 {
        self.pools[pool]
    }

    /// Begins a batch; where too many are under way, after waiting for its turn by `spike`, `timeout` at most.
    pub(super) fn begin(&self, spike: impl FnOnce() -> SpikeTime, timeout: Duration) -> core::result::Result<Batch<'_>, Refused> {
        let permit = self.gate.try_enter().map_or_else(|| self.gate.enter(spike(), timeout), Ok)?;
        let number = self.batches.fetch_add(1, Relaxed) & ((1 << NUMBER_BITS) - 1);
        let free = |record: &AtomicU64| record.compare_exchange(0, CLAIMED | number, Acquire, Relaxed).is_ok();
        // With a permit there is a free one, though others may take it, and leave one that was passed, while it is looked for.
        let index = loop {
            if let Some(index) = self.superblock().batches.iter().position(free) {
                break index;
            }
        };
        let mark = self.mark ^ (BATCH_MARK | (index as u64) << NUMBER_BITS | number);
        Ok(Batch { record: &self.superblock().batches[index], number, mark, _permit: permit })
    }

    /// Bytes that an edge takes in the log.
    pub(super) const EDGE_BYTES: u64 = 16;

    /// Makes an edge known by `link`, and keeps it if it is new (B3).
    pub(super) fn link(&self, arena: &Arena, ids: [&[u8]; 2], link: impl FnOnce() -> Linked) -> Result<()> {
        self.log.link(arena, &self.superblock().log, || ids.map(|id| hash(self.mark, id)), link)
    }

    /// A concept is no more, and its edges are forgotten by `forget`, which says whether it had any (B3).
    pub(super) fn end(&self, arena: &Arena, id: &[u8], forget: impl FnOnce() -> bool) -> Result<()> {
        self.log.end(arena, &self.superblock().log, Ending::of_all(hash(self.mark, id)), forget)
    }

    /// An edge is forgotten by `unlink`, which says whether there was one (B3).
    pub(super) fn unlink(&self, arena: &Arena, ids: [&[u8]; 2], unlink: impl FnOnce() -> bool) -> Result<()> {
        self.log.end(arena, &self.superblock().log, Ending::of_edge(ids.map(|id| hash(self.mark, id))), unlink)
    }

    /// Does something while nobody makes an edge known or forgets one (B3).
    pub(super) fn while_edges_stay<T>(&self, act: impl FnOnce() -> T) -> T {
        self.log.while_edges_stay(act)
    }

    /// Compacts the log if most of it says nothing any more, or all of it, while `edges` are known. Meanwhile, up to a hundred nanoseconds
    /// for each entry, who makes an edge known waits. Whether it gave blocks back.
    pub(super) fn compact(&self, arena: &Arena, edges: u64) -> Result<bool> {
        self.log.compact(arena, &self.superblock().log, edges)
    }

    /// Nothing is under way any more, and nothing will be, and these slots count (B4).
    pub(super) fn note_closed(&self, slots: &Sum) {
        self.superblock().sum.store(slots.0, Relaxed);
        self.superblock().state.store(CLOSED, Release);
    }

    /// Whether a mark is a slot's: the ordinary one, or that of a batch that is committed (B1, B2).
    fn counts(superblock: &Superblock, mark: u64) -> bool {
        let of_a_batch = Self::is_of_a_batch(superblock, mark);
        let mark = mark ^ superblock.mark.load(Relaxed);
        if !of_a_batch {
            return mark == 0;
        }
        let record = &superblock.batches[(mark >> NUMBER_BITS) as usize % BATCHES];
        record.load(Relaxed) == CLAIMED | COMMITTED | (mark & ((1 << NUMBER_BITS) - 1))
    }

    /// Whether a mark is that of a slot of a batch, committed or not.
    fn is_of_a_batch(superblock: &Superblock, mark: u64) -> bool {
        (mark ^ superblock.mark.load(Relaxed)) >> 48 << 48 == BATCH_MARK
    }

    /// The superblock of an arena; `None` if there is none yet, and nothing else.
    fn superblock_of(arena: &Arena) -> Result<Option<NonNull<Superblock>>> {
        let damaged = |why| Error::Format { name: arena.name(), why };
        if arena.root(ROOT)? == 0 {
            let empty = arena.metrics().live_blocks() == 0;
            return if empty { Ok(None) } else { Err(damaged("it holds blocks, but no service's: another program's region?")) };
        }
        let block = Self::at_root(arena).ok_or_else(|| damaged("its root leads to no superblock of a service"))?;
        // The process died before it was whole; nothing else was allocated before.
        if arena.root(MAKING_ROOT)? == MAKING && arena.metrics().live_blocks() == 1 {
            return Ok(None);
        }
        // SAFETY: M1, R1: a live block of at least this size, whatever is in it: atomics.
        let superblock = unsafe { block.as_ref() };
        if superblock.magic.load(Acquire) != MAGIC {
            return Err(damaged("its superblock is damaged, or another program's"));
        }
        let mark = superblock.mark.load(Relaxed);
        if superblock.mark_check.load(Relaxed) != checksum(&mark.to_le_bytes()) || ![OPEN, CLOSED].contains(&superblock.state.load(Relaxed))
        {
            return Err(damaged("the superblock of its service is damaged"));
        }
        Ok(Some(block))
    }

    /// The block that the root leads to, if it does and that is as large as a superblock.
    fn at_root(arena: &Arena) -> Option<NonNull<Superblock>> {
        let offset = arena.root(ROOT).ok().filter(|&offset| offset != 0)?;
        let block = NonNull::new(arena.at(usize::try_from(offset).ok()?)?)?;
        (arena.usable_size(block.as_ptr()) >= Some(size_of::<Superblock>())).then_some(block.cast())
    }

    /// Makes the superblock of an arena that has none, in the block that is there for it if the process died before.
    fn make_superblock(arena: &Arena) -> Result<NonNull<Superblock>> {
        arena.set_root(MAKING_ROOT, MAKING)?;
        let publish = || arena.publish_root(None, core::alloc::Layout::new::<Superblock>(), SpikeTime::NONE, ROOT);
        let block = Self::at_root(arena).map_or_else(|| publish().map(NonNull::cast), Ok)?;
        // SAFETY: M1: a live block of this size, the only one, and our root leads to it; zero is a valid superblock.
        unsafe { block.write_bytes(0, 1) };
        // SAFETY: as above.
        let superblock = unsafe { block.as_ref() };
        let mark = RandomState::new().build_hasher().finish() | 1;
        superblock.mark.store(mark, Relaxed);
        superblock.mark_check.store(checksum(&mark.to_le_bytes()), Relaxed);
        superblock.state.store(OPEN, Relaxed);
        superblock.magic.store(MAGIC, Release);
        arena.set_root(MAKING_ROOT, 0)?;
        Ok(block)
    }

    /// The numbers in the region of all of a service's pools. Those that it does not know yet get numbers without a name or, once all
    /// have one, of pools that the service has not: nothing that is kept is charged to them. `None` if several have the same name.
    fn numbers_of(names: &[Option<ConceptType>], pools: &[Pool]) -> Option<Box<[u8]>> {
        let unnamed = (0..POOLS).filter(|&number| names[number].is_none());
        let is_unused = |name| pools.iter().all(|pool| pool.concept_type() != name);
        let mut free = unnamed.chain((0..POOLS).filter(|&number| names[number].is_some_and(is_unused)));
        let known = |pool: &Pool| names.iter().position(|&name| name == Some(pool.concept_type()));
        pools.iter().map(|pool| known(pool).or_else(|| free.next()).map(|number| number as u8)).collect()
    }

    /// Gives a pool of the region its name, if it has another or none.
    fn name_pool(superblock: &Superblock, number: u8, concept_type: ConceptType) {
        let pool = &superblock.pools[usize::from(number)];
        if pool.read() == Ok(Some(concept_type)) {
            return;
        }
        let text = concept_type.as_bytes();
        let mut name = [0; ConceptType::LONGEST];
        name[..text.len()].copy_from_slice(text);
        // First: nobody finds a part of the one name and a part of the other.
        pool.length.store(0, Relaxed);
        for (word, bytes) in pool.name.iter().zip(name.chunks_exact(8)) {
            // Release: it has no name by then.
            word.store(bytes.try_into().map_or(0, u64::from_le_bytes), Release);
        }
        // Last: who finds a length, after a kill too, finds the name.
        pool.length.store(PoolName::checked(&name, text.len()), Release);
    }

    /// The names of the region's pools.
    fn pool_names(superblock: &Superblock) -> core::result::Result<Vec<Option<ConceptType>>, DamagedName> {
        superblock.pools.iter().map(PoolName::read).collect()
    }
}

impl PoolName {
    /// The length of a name, with the checksum.
    fn checked(name: &[u8], length: usize) -> u64 {
        length as u64 | checksum(&[name, &[length as u8]].concat()) << 8
    }

    /// The name, if it has one.
    fn read(&self) -> core::result::Result<Option<ConceptType>, DamagedName> {
        let length = self.length.load(Acquire);
        if length == 0 {
            return Ok(None);
        }
        let name: Vec<u8> = self.name.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        let bytes = (length & 0xff) as usize;
        let text = name.get(..bytes).filter(|_| length == Self::checked(&name, bytes)).ok_or(DamagedName)?;
        core::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).map(Some).ok_or(DamagedName)
    }
}

/// The checksum of what is written once.
fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_128::oneshot_with_seed(MAGIC, bytes) as u64
}

#[cfg(test)]
mod tests;
