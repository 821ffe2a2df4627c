//! Which concepts there are: a node for each id, of those allocated and of those that are only hinted at.
//!
//! ```text
//! id --> node --> slot      null, or where the concept lies: what readers follow
//!          |----> state     for those who change it, one at a time
//!          '----> number    what guidance knows it by;  number --> node
//! ```
//!
//! Invariants
//! - **N1** who changes a node's slot holds its state's lock. So of all who race to allocate one id the first
//!   to hold it wins, and the others find the slot taken.
//! - **N2** a node that is dead stays so, is in no map, and its number may be another's. Who finds one dead
//!   looks again.
//! - **N3** a node dies only while nobody holds its lock, without a slot, and without edges: so nothing is
//!   lost with it. (Somebody who has looked it up and adds an edge at that moment adds it to whoever gets the
//!   number next: evidence is a hint, and that is the price of taking one lock and not two.)

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::sync::Arc;

use crate::guidance::{AccessRate, AllocationStrategyType};

/// What is known of an id.
pub(super) struct Node {
    pub(super) id: Box<str>,
    pub(super) number: u32,
    /// Its block; null if it has none (N1).
    slot: AtomicPtr<u8>,
    /// Reads since maintenance looked last.
    pub(super) reads: AtomicU32,
    state: Mutex<State>,
}

/// What belongs to whoever changes a node.
#[derive(Default)]
pub(super) struct State {
    /// N2.
    dead: bool,
    /// The pool that its slot is charged to, an index.
    pub(super) pool: usize,
    /// Bytes charged.
    pub(super) bytes: u64,
    /// How often it was read lately.
    pub(super) rate: AccessRate,
    /// How it was served.
    pub(super) strategy: Option<AllocationStrategyType>,
}

impl State {
    /// Adds the reads since the last look to the rate.
    pub(super) fn note_reads(&mut self, node: &Node, now_ns: u64) {
        self.rate.record_many(node.reads.swap(0, Ordering::Relaxed), now_ns);
    }
}

impl Node {
    /// Its block, if it is allocated. Acquire: who finds a slot sees it whole (V1).
    pub(super) fn block(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.slot.load(Ordering::Acquire))
    }

    /// Sets its block; the caller holds the lock (N1).
    pub(super) fn set_block(&self, _held: &MutexGuard<State>, block: Option<NonNull<u8>>) {
        self.slot.store(block.map_or(core::ptr::null_mut(), NonNull::as_ptr), Ordering::Release);
    }

    /// Its state, for who changes it; `None` if it is dead.
    pub(super) fn lock(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.state.lock();
        (!state.dead).then_some(state)
    }
}

/// All nodes.
pub(super) struct Registry {
    nodes: papaya::HashMap<Box<str>, Arc<Node>, foldhash::fast::RandomState>,
    numbers: RwLock<Numbers>,
}

#[derive(Default)]
struct Numbers {
    nodes: Vec<Option<Arc<Node>>>,
    free: Vec<u32>,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self { nodes: papaya::HashMap::default(), numbers: RwLock::default() }
    }

    /// The node of an id, if it is known.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Node>> {
        self.nodes.pin().get(id).cloned()
    }

    /// Looks at the node of an id without keeping it.
    pub(super) fn look<T>(&self, id: &str, look: impl FnOnce(&Node) -> T) -> Option<T> {
        self.nodes.pin().get(id).map(|node| look(node))
    }

    /// The node of an id, made if it is not known.
    pub(super) fn node(&self, id: &str) -> Arc<Node> {
        let nodes = self.nodes.pin();
        if let Some(node) = nodes.get(id) {
            return node.clone();
        }
        let node = self.number(id);
        match nodes.try_insert(id.into(), node.clone()) {
            Ok(_) => node,
            Err(taken) => {
                let other = taken.current.clone();
                self.forget_number(node.number);
                other
            }
        }
    }

    /// A node for an id, with a number of its own.
    fn number(&self, id: &str) -> Arc<Node> {
        let mut numbers = self.numbers.write();
        let number = numbers.free.pop().unwrap_or(numbers.nodes.len() as u32);
        let node = Arc::new(Node {
            id: id.into(),
            number,
            slot: AtomicPtr::new(core::ptr::null_mut()),
            reads: AtomicU32::new(0),
            state: Mutex::default(),
        });
        if number as usize == numbers.nodes.len() {
            numbers.nodes.push(None);
        }
        numbers.nodes[number as usize] = Some(node.clone());
        node
    }

    fn forget_number(&self, number: u32) {
        let mut numbers = self.numbers.write();
        numbers.nodes[number as usize] = None;
        numbers.free.push(number);
    }

    /// The node with a number.
    pub(super) fn numbered(&self, number: u32) -> Option<Arc<Node>> {
        self.numbers.read().nodes.get(number as usize)?.clone()
    }

    /// One more than the highest number.
    pub(super) fn numbers(&self) -> u32 {
        self.numbers.read().nodes.len() as u32
    }

    /// Buries a node that has neither slot nor edges, unless somebody is at it.
    pub(super) fn bury(&self, number: u32) {
        if let Some(node) = self.numbered(number)
            && let Some(mut state) = node.state.try_lock()
        {
            self.bury_locked(&node, &mut state);
        }
    }

    /// The same for a node whose lock the caller holds.
    pub(super) fn bury_locked(&self, node: &Arc<Node>, state: &mut State) {
        if state.dead || node.block().is_some() {
            return;
        }
        state.dead = true;
        self.nodes.pin().remove(&node.id);
        self.forget_number(node.number);
    }

    /// Visits every node that is allocated at its time.
    pub(super) fn each_live(&self, mut visit: impl FnMut(&Arc<Node>, NonNull<u8>)) {
        for (_, node) in &self.nodes.pin() {
            if let Some(block) = node.block() {
                visit(node, block);
            }
        }
    }
}
