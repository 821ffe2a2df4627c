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
    /// for each entry, who makes an edge known waits.
    pub(super) fn compact(&self, arena: &Arena, edges: u64) -> Result<()> {
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
mod tests {
    use super::*;
    use crate::service::{AllocationRequest, AllocationServiceConfig, MemoryAllocationService};

    #[test]
    fn a_superblock_that_was_being_made_is_made_anew_whatever_was_stored_there_before() {
        let arena = Arena::builder().capacity(2 << 20).columns(1).build().unwrap();
        let layout = core::alloc::Layout::from_size_align(1000, 16).unwrap();
        let blocks: Vec<_> = core::iter::from_fn(|| arena.alloc(None, layout, SpikeTime::NONE).ok()).collect();
        for block in blocks {
            // SAFETY: ours, as large, and not used afterwards.
            unsafe { block.write_bytes(0xa5, layout.size()) };
            // SAFETY: as above.
            unsafe { arena.free(block) }.unwrap();
        }
        // As far as a process came that was killed then.
        arena.set_root(MAKING_ROOT, MAKING).unwrap();
        arena.publish_root(None, core::alloc::Layout::new::<Superblock>(), SpikeTime::NONE, ROOT).unwrap();
        assert_eq!(Durable::superblock_of(&arena).unwrap(), None);
        let made = Durable::make_superblock(&arena).unwrap();
        assert_eq!((Durable::superblock_of(&arena).unwrap(), arena.metrics().live_blocks()), (Some(made), 1));
        assert_eq!(arena.root(MAKING_ROOT), Ok(0));
        // Where there is more than it, it is whole, whatever that root says. Seen with: no look at what else there is.
        arena.alloc_sized(None, 64, 16, SpikeTime::NONE).unwrap();
        arena.set_root(MAKING_ROOT, MAKING).unwrap();
        assert_eq!(Durable::superblock_of(&arena).unwrap(), Some(made));
        // SAFETY: M1: the superblock.
        unsafe { made.as_ref() }.magic.store(0xa5, Relaxed);
        assert!(Durable::superblock_of(&arena).is_err());
    }

    fn file(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("engram-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    /// A closed file with 50 concepts, and what it is opened with.
    fn fifty(name: &str) -> (std::path::PathBuf, AllocationServiceConfig) {
        let path = file(name);
        let config = AllocationServiceConfig { path: Some(path.clone()), capacity_bytes: 2 << 20, columns: 2, ..Default::default() };
        let service = MemoryAllocationService::open(config.clone()).unwrap();
        for index in 0..50 {
            service.allocate_memory(AllocationRequest::new(format!("c{index}"), ConceptType::ALL[index % 8], "content")).unwrap();
        }
        service.link("c1", "c2").unwrap();
        (path, config)
    }

    fn arena_of(config: &AllocationServiceConfig) -> Arena {
        Arena::builder().capacity(config.capacity_bytes).columns(config.columns).path(config.path.as_ref().unwrap()).build().unwrap()
    }

    /// Either the file is refused as damaged, or the concepts are there: whether that is so.
    fn is_refused(config: &AllocationServiceConfig) -> bool {
        use crate::service::AllocationServiceError;
        match MemoryAllocationService::open(config.clone()) {
            Ok(service) => {
                assert_eq!(service.concept_ids().len(), 50);
                false
            }
            Err(AllocationServiceError::Arena(Error::Format { .. })) => true,
            Err(error) => panic!("{error}"),
        }
    }

    /// Seen with: no checksum of the mark; none of names; one of names without their lengths.
    #[test]
    #[cfg_attr(miri, ignore = "region files")]
    fn a_bit_of_the_superblock_that_flips_is_damage_or_does_not_matter() {
        let (path, config) = fifty("flips");
        let killed = AllocationServiceConfig { path: Some(file("flips-killed")), ..config.clone() };
        let flip = |arena: &Arena, word: usize, bit: u32| {
            let block = Durable::at_root(arena).unwrap().cast::<AtomicU64>();
            // SAFETY: M1: the superblock is made of such words, and has more.
            unsafe { block.add(word).as_ref() }.fetch_xor(1 << bit, Relaxed);
        };
        let pools = core::mem::offset_of!(Superblock, pools) / 8;
        // Magic, mark and its checksum, state, sum, log; a batch; a name, and a part of what has none.
        for word in (0..7).chain(pools..pools + 5).chain(pools + 8 * 5..pools + 8 * 5 + 2) {
            for bit in 0..64 {
                let arena = arena_of(&config);
                flip(&arena, word, bit);
                std::fs::copy(&path, killed.path.as_ref().unwrap()).unwrap();
                drop(arena);
                let refused = is_refused(&config);
                // What a killed process had, and was at with the log or a batch, nobody knows.
                assert!(is_refused(&killed) == refused || [4, 5].contains(&word), "word {word}, bit {bit}");
                let is_said_twice = word < 6 || (pools..pools + 5).contains(&word);
                assert!(refused || !is_said_twice, "word {word}, bit {bit}");
                let arena = arena_of(&config);
                if refused {
                    flip(&arena, word, bit);
                }
                drop(arena);
            }
            assert!(!is_refused(&config), "word {word}: it is as it was");
        }
        let service = MemoryAllocationService::open(config).unwrap();
        assert_eq!(service.cortex.edges(), 1);
        drop(service);
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(killed.path.unwrap()).unwrap();
    }

    /// Seen with: a closed file judged as one that was not closed.
    #[test]
    #[cfg_attr(miri, ignore = "region files")]
    fn a_bit_of_a_slots_mark_that_flips_in_a_closed_file_is_damage() {
        let (path, config) = fifty("slot-flips");
        let mark_of_one = |arena: &Arena| {
            let mut slot = None;
            // SAFETY: M1: a live block, the superblock.
            let superblock = unsafe { Durable::at_root(arena).unwrap().as_ref() };
            arena
                .each_block(|_, block, _| {
                    // SAFETY: M1: a live block has at least two words.
                    let word = unsafe { block.cast::<AtomicU64>().as_ref() };
                    if Durable::counts(superblock, word.load(Relaxed)) {
                        slot = Some(block.cast::<AtomicU64>());
                    }
                    Ok(())
                })
                .unwrap();
            slot.unwrap()
        };
        for bit in 0..64 {
            let arena = arena_of(&config);
            let mark = mark_of_one(&arena);
            let offset = arena.offset_of(mark.as_ptr().cast()).unwrap();
            // SAFETY: M1: as above.
            unsafe { mark.as_ref() }.fetch_xor(1 << bit, Relaxed);
            drop(arena);
            assert!(is_refused(&config), "bit {bit}");
            let arena = arena_of(&config);
            let mark = arena.at(offset).unwrap().cast::<u64>();
            // SAFETY: the block is still there, and nobody else uses it.
            unsafe { *mark ^= 1 << bit };
        }
        assert!(!is_refused(&config));
        std::fs::remove_file(path).unwrap();
    }

    /// As it is if a bit of the live map, or of the remote map, flips. Seen with: no look at what they come to.
    #[test]
    #[cfg_attr(miri, ignore = "region files")]
    fn a_concept_that_is_missing_in_a_closed_file_is_damage() {
        use crate::service::AllocationServiceError;
        let (path, config) = fifty("missing");
        let killed = AllocationServiceConfig { path: Some(file("missing-killed")), ..config.clone() };
        let service = MemoryAllocationService::open(config.clone()).unwrap();
        // One of them has come and gone, and others were moved and stored anew.
        service.allocate_memory(AllocationRequest::new("gone", ConceptType::ENTITY, "content")).unwrap();
        service.deallocate_memory("gone".into()).unwrap();
        (0..50).step_by(7).for_each(|index| _ = service.update(&format!("c{index}"), "another content").unwrap());
        let block = service.registry.find("c7").unwrap().block().unwrap();
        let offset = service.arena.offset_of(block.as_ptr()).unwrap();
        drop(service);
        assert!(!is_refused(&config), "all are there");
        let arena = arena_of(&config);
        // SAFETY: nobody uses it.
        unsafe { arena.free(NonNull::new(arena.at(offset).unwrap()).unwrap()) }.unwrap();
        std::fs::copy(&path, killed.path.as_ref().unwrap()).unwrap();
        drop(arena);
        match MemoryAllocationService::open(config) {
            Err(AllocationServiceError::Arena(Error::Format { why, .. })) => assert!(why.contains("missing"), "{why}"),
            other => panic!("{:?}", other.map(|service| service.concept_ids().len())),
        }
        // What was on its way when a process died, nobody knows.
        assert_eq!(MemoryAllocationService::open(killed.clone()).unwrap().concept_ids().len(), 49);
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(killed.path.unwrap()).unwrap();
    }

    /// Seen with: hashes without the mark.
    #[test]
    fn the_mark_of_a_region_enters_the_hashes_of_ids_in_its_log() {
        let entries = [1, 2].map(|number| {
            let path = std::env::temp_dir().join(format!("engram-hashes-{number}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let config = AllocationServiceConfig { path: Some(path.clone()), capacity_bytes: 4 << 20, columns: 2, ..Default::default() };
            let service = MemoryAllocationService::open(config).unwrap();
            for id in ["cat", "feline"] {
                service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "purrs")).unwrap();
            }
            service.link("cat", "feline").unwrap();
            let log = service.durable.as_ref().unwrap().superblock().log.load(Relaxed);
            let block = service.arena.at(log as usize).unwrap().cast::<[u64; 4]>();
            // SAFETY: M1: the log's first block, in which two words come before the first entry.
            let [_, _, one, other] = unsafe { block.read() };
            std::fs::remove_file(&path).unwrap();
            [one, other]
        });
        assert!(entries.as_flattened().iter().all(|&hash| hash % 2 == 1), "an edge");
        assert!(entries[0][0] != entries[1][0] && entries[0][1] != entries[1][1]);
    }

    /// Seen with: a batch that waits for a record with a permit in its hand.
    #[test]
    fn who_waits_for_a_record_keeps_no_permit_from_others() {
        let path = std::env::temp_dir().join(format!("engram-records-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let config = AllocationServiceConfig {
            path: Some(path.clone()),
            capacity_bytes: 4 << 20,
            columns: 2,
            max_concurrent_allocations: 1,
            admission_timeout: Duration::from_secs(60),
            ..AllocationServiceConfig::default()
        };
        let service = MemoryAllocationService::open(config).unwrap();
        let durable = service.durable.as_ref().unwrap();
        let begin = || durable.begin(|| SpikeTime::NONE, Duration::ZERO);
        let mut begun: Vec<_> = (0..BATCHES).map(|_| begin().unwrap()).collect();
        assert!(begin().is_err());
        let request = |id: &str| AllocationRequest::new(id, ConceptType::ENTITY, "purrs");
        let (waited, alone, done) = std::thread::scope(|scope| {
            let batch = scope.spawn(|| service.batch_allocate_memory(vec![request("waits")]).map(|served| served.len()));
            while durable.gate.waiting() == 0 {
                std::thread::yield_now();
            }
            let (done, is_done) = std::sync::mpsc::channel();
            let alone = scope.spawn(|| {
                let alone = service.allocate_memory(request("alone")).map(|_| ());
                drop(done);
                alone
            });
            let went = is_done.recv_timeout(Duration::from_secs(20));
            begun.pop();
            (batch.join().unwrap(), alone.join().unwrap(), went)
        });
        assert_eq!((waited, alone, done), (Ok(1), Ok(()), Err::<(), _>(std::sync::mpsc::RecvTimeoutError::Disconnected)));
        drop(begun);
        std::fs::remove_file(path).unwrap();
    }

    /// Seen with: the service's permits in the message, as if there were 256.
    #[test]
    fn where_the_records_of_batches_are_taken_the_error_says_so_and_only_batches_wait() {
        use crate::guidance::AllocationError;
        let path = file("records-taken");
        let config = AllocationServiceConfig {
            path: Some(path.clone()),
            capacity_bytes: 4 << 20,
            columns: 2,
            admission_timeout: Duration::ZERO,
            ..AllocationServiceConfig::default()
        };
        let service = MemoryAllocationService::open(config).unwrap();
        let durable = service.durable.as_ref().unwrap();
        let begun: Vec<_> = (0..BATCHES).map(|_| durable.begin(|| SpikeTime::NONE, Duration::ZERO).unwrap()).collect();
        let batch = |id: &str| vec![AllocationRequest::new(id, ConceptType::ENTITY, "purrs")];
        let refused = service.batch_allocate_memory(batch("cat")).unwrap_err();
        assert_eq!(refused, AllocationError::Busy { permits: BATCHES, of_file: true, waited: Duration::ZERO });
        assert!(service.batch_allocate_each(batch("cat"))[0].is_ok());
        drop(begun);
        service.batch_allocate_memory(batch("feline")).unwrap();
        std::fs::remove_file(path).unwrap();
    }

    /// What a test of a file has: a service in it, and a way to open a copy of the file as it is at that moment.
    fn in_a_file(name: &str, test: impl Fn(&MemoryAllocationService, &dyn Fn() -> core::result::Result<MemoryAllocationService, Error>)) {
        use crate::service::AllocationServiceError;
        let [path, copy] = ["", "-copy"].map(|end| std::env::temp_dir().join(format!("engram-{name}{end}-{}", std::process::id())));
        let open = |path: &std::path::PathBuf| {
            let config = AllocationServiceConfig { path: Some(path.clone()), capacity_bytes: 4 << 20, columns: 2, ..Default::default() };
            MemoryAllocationService::open(config).map_err(|error| match error {
                AllocationServiceError::Arena(error) => error,
                other => panic!("{other}"),
            })
        };
        let _ = std::fs::remove_file(&path);
        let service = open(&path).unwrap();
        test(&service, &|| {
            std::fs::copy(&path, &copy).unwrap();
            open(&copy)
        });
        drop(std::fs::remove_file(copy));
        std::fs::remove_file(path).unwrap();
    }

    /// Where memory is scarce it may be on its way to be a concept, or back, when the process dies. Seen with: all that was published
    /// refused.
    #[test]
    fn what_lies_beside_the_superblock_of_a_file_that_nobody_closed_goes_like_any_other() {
        in_a_file("beside", |service, reopened| {
            let take = || service.arena.alloc_sized(None, 13_000, 16, SpikeTime::NONE);
            let beside = |block: &NonNull<u8>| service.arena.lie_together(*block, service.durable.as_ref().unwrap().superblock.cast());
            assert!(core::iter::from_fn(|| take().ok()).filter(beside).count() > 0);
            assert_eq!(reopened().unwrap().arena.metrics().live_blocks(), 1);
        });
    }

    /// B1, wherever they lie. Seen with: the last one that is found kept.
    #[test]
    fn of_several_slots_of_a_concept_the_one_with_the_highest_version_counts() {
        use crate::guidance::{AllocationPriority, AllocationStrategyType};
        use crate::service::slot::{Concept, Slot};
        in_a_file("versions", |service, reopened| {
            let pool = service.pool_number(service.find_pool(ConceptType::ENTITY).unwrap());
            let mut blocks = [(); 3].map(|()| service.arena.alloc_sized(None, 128, 16, SpikeTime::NONE).unwrap());
            blocks.sort_unstable();
            for (block, version) in blocks.into_iter().zip([1, 3, 2]) {
                let content = [b'0' + version];
                let concept = Concept {
                    id: "cat",
                    concept_type: ConceptType::ENTITY,
                    content: &content,
                    version: version.into(),
                    spike: SpikeTime::NONE,
                    wanted: 0,
                    accesses: 0.0,
                    priority: AllocationPriority::Normal,
                    strategy: AllocationStrategyType::Balanced,
                    pool,
                };
                // SAFETY: V1: the block is ours, and as large.
                unsafe { Slot::write(block, &concept, service.mark()) };
            }
            let service = reopened().unwrap();
            let read = service.read("cat").unwrap();
            assert_eq!((&*read, read.version()), (&b"3"[..], 3));
            // It, and the superblock.
            assert_eq!(service.arena.metrics().live_blocks(), 2);
        });
    }

    /// Seen with: no look at the slot's checksum.
    #[test]
    fn a_file_with_a_damaged_slot_is_refused_and_says_so() {
        in_a_file("damaged-slot", |service, reopened| {
            service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, "purrs")).unwrap();
            let block = service.registry.find("cat").unwrap().block().unwrap();
            // SAFETY: the first byte of the content, which nobody reads meanwhile.
            let change = || unsafe { *block.add(crate::service::slot::Slot::at(block).content_at()).as_ptr() ^= 1 };
            change();
            let refused = reopened().unwrap_err();
            assert!(matches!(refused, Error::Format { why, .. } if why.contains("slot of a concept")), "{refused}");
            change();
            assert_eq!(&*reopened().unwrap().read("cat").unwrap(), b"purrs");
        });
    }

    /// Seen with: blocks that are followed however often they come.
    #[test]
    fn a_file_whose_log_leads_back_to_itself_is_refused_and_says_so() {
        in_a_file("log-circle", |service, reopened| {
            for id in ["cat", "feline"] {
                service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "purrs")).unwrap();
            }
            service.link("cat", "feline").unwrap();
            let first = service.durable.as_ref().unwrap().superblock().log.load(Relaxed);
            // SAFETY: M1: the log's first block, which begins with what leads to the next.
            let next = unsafe { service.arena.at(first as usize).unwrap().cast::<AtomicU64>().as_ref() }.unwrap();
            next.store(first, Relaxed);
            let refused = reopened().unwrap_err();
            assert!(matches!(refused, Error::Format { why, .. } if why.contains("log of its edges")), "{refused}");
            next.store(0, Relaxed);
            reopened().unwrap();
        });
    }

    /// Seen with: maintenance that leaves the log as it is.
    #[test]
    fn maintenance_compacts_the_log_once_half_of_it_says_nothing_any_more() {
        in_a_file("log-compacted", |service, _| {
            service.allocate_memory(AllocationRequest::new("hub", ConceptType::ENTITY, "a hub")).unwrap();
            for leaf in 0..500 {
                let request = AllocationRequest::new(leaf.to_string(), ConceptType::ENTITY, "a leaf");
                service.allocate_memory(AllocationRequest { locality_hints: vec!["hub".to_owned()], ..request }).unwrap();
            }
            (0..500).for_each(|leaf: u32| _ = service.deallocate_memory(leaf.to_string().into()).unwrap());
            let blocks = || service.durable.as_ref().unwrap().log.blocks().len();
            assert_eq!(blocks(), 1);
            while service.maintain(Duration::from_secs(60)).more {}
            assert_eq!(blocks(), 0);
        });
    }

    /// Leaves of 40 hubs, each of whose edges is in the log.
    fn leaves(service: &MemoryAllocationService, leaves: core::ops::Range<u32>) {
        for leaf in leaves {
            let request = AllocationRequest::new(leaf.to_string(), ConceptType::ENTITY, "");
            let hub = format!("hub {}", leaf % 40);
            service.allocate_memory(AllocationRequest { locality_hints: vec![hub], ..request }).unwrap();
        }
    }

    /// Seen with: edges that take all there is; a log that is cut off behind its last edge.
    #[test]
    fn a_log_has_room_for_ends_also_when_it_was_compacted() {
        in_a_file("log-room", |service, _| {
            let durable = service.durable.as_ref().unwrap();
            // Of the 1,023 entries of a block they leave 128.
            for (range, blocks) in [(0..895, 1), (895..1000, 2)] {
                leaves(service, range);
                assert_eq!(durable.log.blocks().len(), blocks);
            }
            for (kept, blocks) in [(1000, 2), (800, 1), (0, 0)] {
                let mut edges = 0;
                let keep = |_, _| {
                    edges += 1;
                    edges <= kept
                };
                durable.log.retain(&service.arena, &durable.superblock().log, keep).unwrap();
                assert_eq!(durable.log.blocks().len(), blocks, "{kept} edges");
            }
        });
    }

    /// Else each block would take as long as reading all. Seen with: no note of what was left.
    #[test]
    fn a_log_of_which_much_is_live_grows_to_several_times_that_before_it_is_compacted() {
        in_a_file("log-grows", |service, _| {
            leaves(service, 0..2000);
            let mut most = 0;
            for _ in 0..3500 {
                let request = AllocationRequest::new("comes and goes", ConceptType::ENTITY, "");
                service.allocate_memory(AllocationRequest { locality_hints: vec!["hub 1".to_owned()], ..request }).unwrap();
                service.deallocate_memory("comes and goes".into()).unwrap();
                most = most.max(service.durable.as_ref().unwrap().log.blocks().len());
            }
            assert!((6..=9).contains(&most), "{most} blocks");
        });
    }
    /// Seen with: edges written each time that they are said; ends of what has no edges.
    #[test]
    fn what_says_nothing_new_is_not_written_into_the_log() {
        in_a_file("log-known", |service, _| {
            let blocks = || service.durable.as_ref().unwrap().log.blocks().len();
            for id in ["cat", "feline", "lonely"] {
                service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "purrs")).unwrap();
            }
            service.deallocate_memory("lonely".into()).unwrap();
            assert_eq!(blocks(), 0);
            // More than a block has entries.
            (0..1100).for_each(|_| service.link("feline", "cat").unwrap());
            assert_eq!(blocks(), 1);
        });
    }

    /// However few edges there were, or even none: room was made for one that was known, or of a concept to itself. Seen with: a log
    /// that is compacted only once it has half a block of entries.
    #[test]
    fn a_file_of_which_all_was_freed_holds_as_much_as_a_new_one_whatever_was_linked() {
        in_a_file("log-emptied", |service, _| {
            let request = |id: &str, content: String| AllocationRequest::new(id, ConceptType::ENTITY, content);
            let free = |id: &str| drop(service.deallocate_memory(id.into()).unwrap());
            // A chunk.
            let is_there_room = || service.allocate_memory(request("large", "x".repeat(2_093_056))).map(|_| free("large"));
            let blocks = || service.durable.as_ref().unwrap().log.blocks().len();
            let longest = || service.arena.longest_free_bytes();
            let as_new = (0, longest(), Ok(()));
            is_there_room().unwrap();
            let emptied = [0, 1, 100].map(|edges| {
                // The log's block comes to lie in another chunk than the superblock.
                (0..33).for_each(|index| drop(service.allocate_memory(request(&format!("full{index}"), "y".repeat(60_000))).unwrap()));
                service.link("full0", "full0").unwrap();
                for index in 0..edges {
                    let request = request(&format!("near{index}"), "z".to_owned());
                    service.allocate_memory(AllocationRequest { locality_hints: vec!["full0".to_owned()], ..request }).unwrap();
                }
                assert_eq!(blocks(), 1);
                service.concept_ids().iter().for_each(|id| free(id));
                while service.maintain(Duration::from_secs(60)).more {}
                (blocks(), longest(), is_there_room())
            });
            assert_eq!(emptied, [(); 3].map(|()| as_new.clone()));
        });
    }
}
