//! The map from ids to nodes: a table in shards. Readers take no lock, and wait for nobody.
//!
//! ```text
//! hash of id --> shard --> table   | node | empty | gone | node | node | empty | ...
//!                                    '--> where it belongs, or in the next place that is free
//! ```
//!
//! A place is one word: empty, gone, or a node's address with three bits of the hash in its lowest bits, which are 0
//! there: so most places of others are passed over without a look at their nodes. A place that is gone is taken again by
//! the next that comes by. When half of a shard's places are no longer empty, what is left goes to a new table.
//!
//! Invariants
//! - **I1** who changes a shard holds its lock. So an id is in it once.
//! - **I2** who looks is pinned, and what was taken out, a table or a node, is freed when nobody is pinned any more who
//!   might have found it.
//! - **I3** a table always has empty places: a search ends.

use core::ptr::{NonNull, null_mut, without_provenance_mut};
use std::sync::Arc;

use super::lock::{Mutex, MutexGuard};
use super::node::Node;
use crate::sync::AtomicPtr;
use crate::sync::Ordering::{Acquire, Release};

/// Shards: others go on while one of them grows. That moves a 64th of the ids, under the shard's lock: at ten million ids it is about
/// a million places, which takes milliseconds.
const SHARDS_LOG2: u32 = if cfg!(loom) { 0 } else { 6 };
/// Places of the first tables.
const PLACES: usize = if cfg!(loom) { 4 } else { 16 };
/// Bits of the hash in a word.
const TAG: usize = align_of::<Node>() - 1;
const _: () = assert!(TAG == 7);

/// The address in a place whose node is gone.
const GONE: usize = TAG + 1;

/// The part of a hash that a word has.
fn tag(hash: u64) -> usize {
    (hash >> 32) as usize & TAG
}

/// The node whose word this is; `None` if it is empty or gone.
fn node_of(word: *mut Node) -> Option<NonNull<Node>> {
    NonNull::new(word.map_addr(|address| address & !TAG)).filter(|node| node.addr().get() != GONE)
}

/// The nodes of a shard.
pub(crate) struct Table(Box<[AtomicPtr<Node>]>);

impl Table {
    /// With so many places, a power of two. To be freed as a box.
    fn leaked(places: usize) -> NonNull<Self> {
        NonNull::from(Box::leak(Box::new(Self((0..places).map(|_| AtomicPtr::new(null_mut())).collect()))))
    }

    /// The places at which a node with this hash may be, in order.
    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, &AtomicPtr<Node>)> {
        let (first, mask) = (hash as usize, self.0.len() - 1);
        (0..=mask).map(move |after| first.wrapping_add(after) & mask).map(|place| (place, &self.0[place]))
    }

    /// The node with an id, and its place.
    fn find(&self, hash: u64, id: &[u8]) -> Option<(usize, NonNull<Node>)> {
        // Acquire, with `Writer::insert`: who finds a node sees it whole.
        for (place, word) in self.places(hash).map(|(place, word)| (place, word.load(Acquire))) {
            if word.is_null() {
                return None;
            }
            if word.addr() & TAG == tag(hash)
                && let Some(node) = node_of(word)
                // SAFETY: I2: it is not freed while the caller is pinned, or has the lock.
                && unsafe { node.as_ref() }.id() == id
            {
                return Some((place, node));
            }
        }
        None
    }
}

struct Shard {
    table: AtomicPtr<Table>,
    writer: Mutex<Filling>,
}

/// What the writers of a shard know.
struct Filling {
    /// The hash of what is in each place.
    hashes: Box<[u64]>,
    /// Places that are not empty.
    used: usize,
    /// Nodes.
    live: usize,
}

impl Shard {
    fn new() -> Self {
        let counts = Filling { hashes: vec![0; PLACES].into(), used: 0, live: 0 };
        Self { table: AtomicPtr::new(Table::leaked(PLACES).as_ptr()), writer: Mutex::new(counts) }
    }

    fn table(&self) -> &Table {
        // SAFETY: I2; made by `Table::leaked`. Acquire, with `Writer::grow`: who finds a table sees what is in it.
        unsafe { &*self.table.load(Acquire) }
    }
}

/// Nodes by id.
pub(crate) struct Ids {
    shards: Box<[Shard]>,
}

/// What was taken out of a map, to be dropped when nobody finds it any more (I2).
#[must_use = "it is dropped at once otherwise"]
pub(crate) enum Retired {
    /// A node.
    Node { _node: Arc<Node> },
    /// A table that has become too small. Others may still look at it.
    Table(*mut Table),
}

// SAFETY: nodes and tables are made of atomics and locks; I2: a table that was taken out is this one's alone to free.
unsafe impl Send for Retired {}

impl Drop for Retired {
    fn drop(&mut self) {
        if let Self::Table(table) = self {
            // SAFETY: made by `Table::leaked`; I2: nobody looks at it any more.
            drop(unsafe { Box::from_raw(*table) });
        }
    }
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self { shards: (0..1 << SHARDS_LOG2).map(|_| Shard::new()).collect() }
    }

    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[hash.rotate_left(SHARDS_LOG2) as usize & ((1 << SHARDS_LOG2) - 1)]
    }

    /// The node with an id. Lock-free.
    ///
    /// # Safety
    /// The caller is pinned, as long as it has the node (I2).
    pub(crate) unsafe fn find(&self, hash: u64, id: &[u8]) -> Option<NonNull<Node>> {
        self.shard(hash).table().find(hash, id).map(|(_, node)| node)
    }

    /// For who changes where ids with this hash are.
    pub(crate) fn lock(&self, hash: u64) -> Writer<'_> {
        let shard = self.shard(hash);
        Writer { counts: shard.writer.lock(), shard, hash }
    }
}

impl Drop for Ids {
    fn drop(&mut self) {
        for shard in &self.shards {
            // SAFETY: nobody else has the map: the last table and the nodes in it are ours.
            let table = unsafe { Box::from_raw(shard.table.load(Acquire)) };
            for node in table.0.iter().filter_map(|word| node_of(word.load(Acquire))) {
                // SAFETY: as above; made by `Arc::into_raw`.
                drop(unsafe { Arc::from_raw(node.as_ptr().cast_const()) });
            }
        }
    }
}

/// The right to change where ids with one hash are (I1).
pub(crate) struct Writer<'a> {
    counts: MutexGuard<'a, Filling>,
    shard: &'a Shard,
    hash: u64,
}

impl Writer<'_> {
    /// The node with an id.
    pub(crate) fn find(&self, id: &[u8]) -> Option<Arc<Node>> {
        let (_, node) = self.shard.table().find(self.hash, id)?;
        // SAFETY: made by `Arc::into_raw`, and in the table, which has a count of it, as long as we have the lock.
        Some(unsafe {
            Arc::increment_strong_count(node.as_ptr());
            Arc::from_raw(node.as_ptr())
        })
    }

    /// Puts a node in whose id is in no place.
    pub(crate) fn insert(&mut self, node: Arc<Node>) -> Option<Retired> {
        let too_small = (self.counts.used + 1) * 2 > self.counts.hashes.len();
        let retired = too_small.then(|| self.grow());
        self.put(self.shard.table(), self.hash, Arc::into_raw(node).cast_mut().map_addr(|address| address | tag(self.hash)));
        self.counts.live += 1;
        retired
    }

    /// Puts a word in the first place that is empty or gone.
    fn put(&mut self, table: &Table, hash: u64, word: *mut Node) {
        let free = table.places(hash).find(|(_, at)| node_of(at.load(Acquire)).is_none());
        // I3.
        let Some((place, at)) = free else { unreachable!("a table without an empty place") };
        self.counts.used += usize::from(at.load(Acquire).is_null());
        self.counts.hashes[place] = hash;
        // Release, with `Table::find`.
        at.store(word, Release);
    }

    /// A table with room takes the place of this one.
    fn grow(&mut self) -> Retired {
        let places = ((self.counts.live + 1) * 4).next_power_of_two().max(PLACES);
        let new = Table::leaked(places);
        // SAFETY: nobody else knows it.
        let table = unsafe { new.as_ref() };
        let hashes = core::mem::replace(&mut self.counts.hashes, vec![0; places].into());
        self.counts.used = 0;
        for (word, hash) in self.shard.table().0.iter().map(|word| word.load(Acquire)).zip(hashes) {
            if node_of(word).is_some() {
                self.put(table, hash, word);
            }
        }
        // As it was leaked: who has it from a reference may not free it.
        let old = self.shard.table.load(Acquire);
        // Release, with `Shard::table`.
        self.shard.table.store(new.as_ptr(), Release);
        Retired::Table(old)
    }

    /// Takes a node out, if it is in.
    pub(crate) fn remove(&mut self, id: &[u8]) -> Option<Retired> {
        let (place, node) = self.shard.table().find(self.hash, id)?;
        self.shard.table().0[place].store(without_provenance_mut(GONE), Release);
        self.counts.live -= 1;
        // SAFETY: made by `Arc::into_raw`, and out of the table.
        Some(Retired::Node { _node: unsafe { Arc::from_raw(node.as_ptr().cast_const()) } })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
