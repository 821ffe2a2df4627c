//! Which concepts there are: a node for each id, of those allocated and of those that are only hinted at.
//!
//! ```text
//! id --> node --> slot      null, or where the concept lies: what readers follow
//!          |----> state     for those who change it, one at a time
//!          '----> number    what guidance knows it by;  number --> node
//! ```
//!
//! The invariants are those of [`node`](super::node) and [`ids`](super::ids).

use core::hash::BuildHasher;
use core::ptr::NonNull;
use parking_lot::RwLock;
use smallvec::SmallVec;
use std::sync::Arc;

use super::epoch::Epoch;
use super::ids::{Ids, Retired};
use super::node::{Node, State};

/// Ids that are looked up together.
pub(super) const TOGETHER: usize = 16;

/// All nodes.
pub(super) struct Registry {
    ids: Ids,
    /// The same in each run: when a table of ids is replaced decides when what it holds back comes back, and so where things lie.
    hasher: foldhash::fast::FixedState,
    numbers: RwLock<Numbers>,
    epoch: Epoch,
}

#[derive(Default)]
struct Numbers {
    nodes: Vec<Option<Arc<Node>>>,
    free: Vec<u32>,
}

impl Registry {
    /// None. `seed` enters the hashes.
    pub(super) fn new(seed: u64) -> Self {
        let hasher = foldhash::fast::FixedState::with_seed(seed);
        Self { ids: Ids::new(), hasher, numbers: RwLock::default(), epoch: Epoch::new() }
    }

    /// Whose readers hold nodes back.
    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    fn hash(&self, id: &[u8]) -> u64 {
        self.hasher.hash_one(id)
    }

    /// The node of an id, if it is known.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Node>> {
        let _pinned = self.epoch.pin();
        // SAFETY: I2: we are pinned; a node that is found has a count, which is given back when nobody is.
        unsafe {
            let node = self.ids.find(self.hash(id.as_bytes()), id.as_bytes())?.as_ptr();
            Arc::increment_strong_count(node);
            Some(Arc::from_raw(node))
        }
    }

    /// Looks at the node of an id without keeping it.
    pub(super) fn look<T>(&self, id: &str, look: impl FnOnce(&Node) -> T) -> Option<T> {
        let _pinned = self.epoch.pin();
        // SAFETY: I2: we are pinned for as long as we look.
        unsafe { self.ids.find(self.hash(id.as_bytes()), id.as_bytes()).map(|node| look(node.as_ref())) }
    }

    /// Whether a node is still that of its id.
    pub(super) fn has(&self, node: &Node) -> bool {
        let _pinned = self.epoch.pin();
        // SAFETY: I2: we are pinned.
        unsafe { self.ids.find(self.hash(node.id()), node.id()) == Some(NonNull::from(node)) }
    }

    /// The node of an id, made if it is not known.
    pub(super) fn node(&self, id: &str) -> Arc<Node> {
        self.find(id).unwrap_or_else(|| self.make(id))
    }

    /// The same of an id that was not known a moment ago.
    fn make(&self, id: &str) -> Arc<Node> {
        let mut writer = self.ids.lock(self.hash(id.as_bytes()));
        if let Some(node) = writer.find(id.as_bytes()) {
            return node;
        }
        let node = self.number(id);
        let retired = writer.insert(node.clone());
        drop(writer);
        self.retire(retired);
        node
    }

    /// The numbers of the next [`TOGETHER`] ids, each made known if it is not. One look after the other, pinned once, so that they
    /// need not wait for each other's memory.
    pub(super) fn numbers_of<'a>(&self, ids: &mut impl Iterator<Item = &'a str>) -> SmallVec<[u32; TOGETHER]> {
        let _pinned = self.epoch.pin();
        let number = |id: &str| {
            // SAFETY: I2: we are pinned.
            let known = unsafe { self.ids.find(self.hash(id.as_bytes()), id.as_bytes()).map(|node| node.as_ref().number) };
            known.unwrap_or_else(|| self.make(id).number)
        };
        ids.take(TOGETHER).map(number).collect()
    }

    /// Takes a node out of the map.
    fn forget_id(&self, node: &Node) {
        let retired = self.ids.lock(self.hash(node.id())).remove(node.id());
        self.retire(retired);
    }

    fn retire(&self, retired: Option<Retired>) {
        if let Some(retired) = retired {
            let is_table = matches!(retired, Retired::Table(_));
            let guard = self.epoch.pin();
            guard.defer(move || drop(retired));
            if is_table {
                // It may be large: it is not to lie with this thread for as long as that rests.
                guard.flush();
            }
        }
    }

    /// A node for an id, with a number of its own.
    fn number(&self, id: &str) -> Arc<Node> {
        let mut numbers = self.numbers.write();
        let number = numbers.free.pop().unwrap_or(numbers.nodes.len() as u32);
        let node = Arc::new(Node::new(id, number));
        if number as usize == numbers.nodes.len() {
            numbers.nodes.push(None);
        }
        numbers.nodes[number as usize] = Some(node.clone());
        node
    }

    /// Gives a node's number back, once: unless somebody else did so before, and the number may be another's.
    fn forget_number(&self, node: &Arc<Node>) {
        let mut numbers = self.numbers.write();
        let numbered = &mut numbers.nodes[node.number as usize];
        if numbered.as_ref().is_some_and(|numbered| Arc::ptr_eq(numbered, node)) {
            *numbered = None;
            numbers.free.push(node.number);
        }
    }

    /// The node with a number.
    pub(super) fn numbered(&self, number: u32) -> Option<Arc<Node>> {
        self.numbers.read().nodes.get(number as usize)?.clone()
    }

    /// One more than the highest number.
    pub(super) fn numbers(&self) -> u32 {
        self.numbers.read().nodes.len() as u32
    }

    /// Buries a node that has neither slot nor edges. False if somebody is at it: then nothing is done.
    pub(super) fn bury(&self, number: u32) -> bool {
        let Some(node) = self.numbered(number) else { return true };
        let Some(mut state) = node.try_lock() else { return false };
        self.bury_locked(&node, &mut state);
        true
    }

    /// The same for a node whose lock the caller holds.
    pub(super) fn bury_locked(&self, node: &Arc<Node>, state: &mut State) {
        if !node.die(state) {
            return;
        }
        self.forget_id(node);
        self.forget_number(node);
    }

    /// A node whose lock the caller holds has no slot any more, but edges that are still to be forgotten: they are not those of whoever
    /// has its id next. Its number is kept until [`release`](Self::release).
    pub(super) fn detach_locked(&self, node: &Arc<Node>, state: &mut State) {
        if node.die(state) {
            self.forget_id(node);
        }
    }

    /// The last edge of a detached node is gone, unless `is_to_forget` says otherwise: its number may be given to another id. False if
    /// somebody is at the node: it may be about to be detached, or buried, so that the number is to be released later.
    pub(super) fn release(&self, number: u32, is_to_forget: impl FnOnce() -> bool) -> bool {
        let Some(node) = self.numbered(number) else { return true };
        let Some(state) = node.try_lock() else { return false };
        // Asked under the lock: who detaches the node says before it lets go of the lock what is left. Buried since it was found, it
        // is dead, too, but has its number no more.
        if state.is_dead() && !is_to_forget() {
            self.forget_number(&node);
        }
        true
    }

    /// Visits every node that is allocated at its time. An id that is freed and allocated anew meanwhile may have two of them, of which
    /// the first has no block by then.
    pub(super) fn each_live(&self, mut visit: impl FnMut(&Arc<Node>, NonNull<u8>)) {
        for node in (0..self.numbers()).filter_map(|number| self.numbered(number)) {
            if let Some(block) = node.block() {
                visit(&node, block);
            }
        }
    }
}

#[cfg(test)]
mod tests;
