//! Which concepts there are: a node for each id, of those allocated and of those that are only hinted at.
//!
//! ```text
//! id --> node --> slot      null, or where the concept lies: what readers follow
//!          |----> state     for those who change it, one at a time
//!          '----> number    what guidance knows it by;  number --> node
//! ```
//!
//!
//! The invariants are those of [`node`](super::node).

use core::borrow::Borrow;
use core::hash::{Hash, Hasher};
use core::ptr::NonNull;
use parking_lot::RwLock;
use smallvec::SmallVec;
use std::sync::Arc;

use super::node::{Node, State};

/// All nodes.
pub(super) struct Registry {
    nodes: papaya::HashMap<Named, (), foldhash::fast::RandomState>,
    numbers: RwLock<Numbers>,
}

/// A node, which is found by its id.
struct Named(Arc<Node>);

impl Borrow<[u8]> for Named {
    fn borrow(&self) -> &[u8] {
        self.0.id()
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for Named {}

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
        self.nodes.pin().get_key_value(id.as_bytes()).map(|(named, ())| named.0.clone())
    }

    /// Looks at the node of an id without keeping it.
    pub(super) fn look<T>(&self, id: &str, look: impl FnOnce(&Node) -> T) -> Option<T> {
        self.nodes.pin().get_key_value(id.as_bytes()).map(|(named, ())| look(&named.0))
    }

    /// The node of an id, made if it is not known.
    pub(super) fn node(&self, id: &str) -> Arc<Node> {
        let nodes = self.nodes.pin();
        loop {
            if let Some((named, ())) = nodes.get_key_value(id.as_bytes()) {
                return named.0.clone();
            }
            let node = self.number(id);
            if nodes.try_insert(Named(node.clone()), ()).is_ok() {
                return node;
            }
            self.forget_number(node.number);
        }
    }

    /// The numbers of some ids, each made known if it is not. One look after the other, with no locked instruction in
    /// between, so that they need not wait for each other's memory.
    pub(super) fn numbers_of<'a>(&self, ids: impl Iterator<Item = &'a str>) -> SmallVec<[u32; 16]> {
        let nodes = self.nodes.pin();
        let number = |id: &str| match nodes.get_key_value(id.as_bytes()) {
            Some((named, ())) => named.0.number,
            None => self.node(id).number,
        };
        ids.map(number).collect()
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
            && let Some(mut state) = node.try_lock()
        {
            self.bury_locked(&node, &mut state);
        }
    }

    /// The same for a node whose lock the caller holds.
    pub(super) fn bury_locked(&self, node: &Arc<Node>, state: &mut State) {
        if !node.die(state) {
            return;
        }
        self.nodes.pin().remove(node.id());
        self.forget_number(node.number);
    }

    /// A node whose lock the caller holds has no slot any more, but edges that are still to be forgotten: they are not those of whoever
    /// has its id next. Its number is kept until [`release`](Self::release).
    pub(super) fn detach_locked(&self, node: &Arc<Node>, state: &mut State) {
        if node.die(state) {
            self.nodes.pin().remove(node.id());
        }
    }

    /// The edges of a number are forgotten: if its node was detached, somebody else may have the number.
    pub(super) fn release(&self, number: u32) {
        if self.numbered(number).is_some_and(|node| node.lock().is_none()) {
            self.forget_number(number);
        }
    }

    /// Visits every node that is allocated at its time.
    pub(super) fn each_live(&self, mut visit: impl FnMut(&Arc<Node>, NonNull<u8>)) {
        for (Named(node), ()) in &self.nodes.pin() {
            if let Some(block) = node.block() {
                visit(node, block);
            }
        }
    }
}
