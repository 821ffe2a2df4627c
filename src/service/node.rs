//! A node: what is known of one id.
//!
//! Invariants
//! - **N1** who changes a node's slot holds its state's lock. So of all who race to allocate one id the first
//!   to hold it wins, and the others find the slot taken.
//! - **N2** a node that is dead stays so, is in no map, and its number may be another's. Who finds one dead
//!   looks again.
//! - **N3** a node dies only while nobody holds its lock, without a slot, and without edges, or with edges that are to be
//!   forgotten (then its number is kept until they are): so nothing is lost with it. (Somebody who has looked it up and
//!   adds an edge at that moment adds it to whoever gets the number next: evidence is a hint, and that is the price of
//!   taking one lock and not two. In a file nobody does: there edges come, and nodes go, one after the other.)

use core::ptr::NonNull;

use smallvec::SmallVec;

use super::lock::{Mutex, MutexGuard};
use crate::guidance::{AccessRate, AllocationStrategyType};
use crate::sync::{AtomicPtr, AtomicU32, Ordering};

/// What is known of an id.
pub(crate) struct Node {
    id: SmallVec<[u8; 24]>,
    pub(crate) number: u32,
    /// Its block; null if it has none (N1).
    slot: AtomicPtr<u8>,
    /// Reads since maintenance looked last.
    pub(crate) reads: AtomicU32,
    state: Mutex<State>,
}

/// What belongs to whoever changes a node.
#[derive(Default)]
pub(crate) struct State {
    /// N2.
    dead: bool,
    /// The pool that its slot is charged to, an index.
    pub(crate) pool: u8,
    /// Bytes charged.
    pub(crate) bytes: u64,
    /// How often it was read lately.
    pub(crate) rate: AccessRate,
    /// How it was served.
    pub(crate) strategy: Option<AllocationStrategyType>,
    /// The batch that allocated it; 0 if none did.
    pub(crate) batch: u64,
}

impl State {
    /// Whether its node is dead (N2).
    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Adds the reads since the last look, or since it was allocated, to the rate.
    pub(crate) fn note_reads(&mut self, node: &Node, now_ns: u64) {
        self.rate.record_many(node.reads.swap(0, Ordering::Relaxed), now_ns);
    }
}

impl Node {
    /// Of an id that is not allocated.
    pub(crate) fn new(id: &str, number: u32) -> Self {
        Self {
            id: SmallVec::from_slice(id.as_bytes()),
            number,
            slot: AtomicPtr::new(core::ptr::null_mut()),
            reads: AtomicU32::new(0),
            state: Mutex::new(State::default()),
        }
    }

    /// The id, as bytes: a short one lies in the node.
    pub(crate) fn id(&self) -> &[u8] {
        &self.id
    }

    /// Its block, if it is allocated. Acquire: who finds a slot sees it whole (V1).
    pub(crate) fn block(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.slot.load(Ordering::Acquire))
    }

    /// Sets its block; the caller holds the lock (N1).
    pub(crate) fn set_block(&self, _held: &MutexGuard<State>, block: Option<NonNull<u8>>) {
        self.slot.store(block.map_or(core::ptr::null_mut(), NonNull::as_ptr), Ordering::Release);
    }

    /// Its state, for who changes it; `None` if it is dead.
    pub(crate) fn lock(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.state.lock();
        (!state.dead).then_some(state)
    }

    /// The same, unless somebody else has it, whether or not the node is dead.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock()
    }

    /// Dies, if it is not allocated and not dead already (N3). Whether it has died now; the caller holds the lock.
    pub(crate) fn die(&self, state: &mut State) -> bool {
        let dies = !state.dead && self.block().is_none();
        state.dead |= dies;
        dies
    }
}
