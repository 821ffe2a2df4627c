//! The evidence: which concepts are known to belong together.
//!
//! An undirected graph over concept numbers, placed or not: a hint names a concept that may be
//! allocated later. A hint from both ends is one edge; a concept has no edge to itself.
//!
//! ```text
//! shard = concept % 64    RwLock { pages of 256 nodes } -> node: the list of its neighbours, a mark
//! ```
//!
//! Each edge stands in the lists of both ends. Whoever changes it holds the locks of both shards, the
//! lower first, so that lists always agree; readers hold one lock, for as long as it takes to copy some
//! hundred numbers. Nothing is called and nothing waits while a lock is held.
//!
//! **Hubs.** A concept may have any number of edges. Readers ask for at most so many and get every
//! `s`-th of the list, each with the weight `s` of those that it stands for ([`Graph::sample`]).
//! Linking looks for the edge in the shorter of two lists. Forgetting a concept does so much work a
//! call, in which searching a hub's list counts as dropping many edges ([`Graph::forget`]).
//!
//! **Bounds.** [`GraphLimits`] bounds edges and bytes, [`DEGREE_MOST`] the edges of one concept, and so the
//! time that a list takes to search. At a bound new edges are dropped and counted
//! ([`Graph::dropped`]): placement then rests on the edges known until then.
//!
//! Invariants
//! - **G1** `b` is in the list of `a` as often as `a` in that of `b`: once or never.
//! - **G2** [`Graph::bytes`] is the memory of all lists and pages, and not above the limit.
//! - **G3** the marked concepts of a shard, those whose evidence changed, form one chain.

use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::guidance::homes::CONCEPTS;
use crate::guidance::net::Tie;
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;

/// Shards: so many threads can link at once.
const SHARDS: usize = 64;
/// Nodes of a page.
const PAGE: usize = 256;
/// Neighbours that a reader gets at most.
pub(crate) const ROW_MOST: usize = 256;
/// Neighbours that lie in the concept's node; more have memory of their own.
const FIRST_LIST: usize = 4;

/// Edges of a neighbour that are searched in about the time that it takes to drop one.
const SEARCHED: usize = 256;

/// Edges of one concept at most.
pub(crate) const DEGREE_MOST: usize = 1 << 16;
/// Edges at most, whatever the limits say: places of a list of all ends are numbered in 32 bits.
const EDGES_MOST: u64 = 1 << 30;

/// How much evidence is kept. What exceeds it is dropped; so are edges of a concept beyond 65,536.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphLimits {
    /// Edges at most; above 2^30 counts as that.
    pub edges: u64,
    /// Bytes of host memory at most.
    pub bytes: u64,
}

impl Default for GraphLimits {
    /// 16 Mi edges, 512 MiB.
    fn default() -> Self {
        Self { edges: 16 << 20, bytes: 512 << 20 }
    }
}

/// What became of a new edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It is known now.
    New,
    /// It was known before, or both ends are one concept.
    Known,
    /// A bound is reached, or an end is no number below [`CONCEPTS`]: it is not kept.
    Dropped,
}

/// Neighbours of a concept.
type List = SmallVec<[u32; FIRST_LIST]>;

/// Bytes that a list takes beside its node.
fn beside(list: &List) -> usize {
    if list.spilled() { list.capacity() * size_of::<u32>() } else { 0 }
}

/// A [`Node`] that is not marked as changed.
const UNMARKED: u32 = u32::MAX;
/// A marked node, the first that was marked of those that still are.
const LAST_MARKED: u32 = u32::MAX - 1;

struct Node {
    neighbours: List,
    /// [`UNMARKED`], or the concept that was marked as changed before this one, or [`LAST_MARKED`].
    marked_before: u32,
}

struct Shard {
    pages: Vec<Box<[Node]>>,
    /// The concept that was marked last, or [`LAST_MARKED`]: the head of the chain.
    marked: u32,
}

/// Of a list one in so many is looked at, if it is not to be more than `most`.
fn stride(list: &[u32], most: usize) -> usize {
    list.len().div_ceil(most).max(1)
}

/// Page of the concept's node, and its place there.
const fn place(concept: u32) -> (usize, usize) {
    let index = concept as usize / SHARDS;
    (index / PAGE, index % PAGE)
}

impl Shard {
    const fn new() -> Self {
        Self { pages: Vec::new(), marked: LAST_MARKED }
    }

    fn node(&self, concept: u32) -> Option<&Node> {
        let (page, place) = place(concept);
        self.pages.get(page).map(|page| &page[place])
    }

    fn node_mut(&mut self, concept: u32) -> Option<&mut Node> {
        let (page, place) = place(concept);
        self.pages.get_mut(page).map(|page| &mut page[place])
    }

    fn neighbours(&self, concept: u32) -> &[u32] {
        self.node(concept).map_or(&[], |node| &node.neighbours)
    }

    /// Bytes of the pages that must be made for `concept` to have a node.
    fn page_growth(&self, concept: u32) -> usize {
        (place(concept).0 + 1).saturating_sub(self.pages.len()) * PAGE * size_of::<Node>()
    }

    /// Bytes that the list of `concept` grows by if it gets one more neighbour.
    fn list_growth(&self, concept: u32) -> usize {
        match self.node(concept).map(|node| &node.neighbours) {
            Some(list) if list.len() == list.capacity() => 2 * list.capacity() * size_of::<u32>() - beside(list),
            _ => 0,
        }
    }

    fn add(&mut self, concept: u32, neighbour: u32) {
        let page = place(concept).0;
        while self.pages.len() <= page {
            self.pages.push((0..PAGE).map(|_| Node { neighbours: List::new(), marked_before: UNMARKED }).collect());
        }
        if let Some(node) = self.node_mut(concept) {
            let list = &mut node.neighbours;
            if list.len() == list.capacity() {
                list.reserve_exact(list.capacity());
            }
            list.push(neighbour);
            self.mark(concept);
        }
    }

    /// Bytes that were given back, `None` if there was no such neighbour.
    fn remove(&mut self, concept: u32, neighbour: u32) -> Option<usize> {
        let list = &mut self.node_mut(concept)?.neighbours;
        // From the end: that is where `Graph::forget` looks.
        let at = list.iter().rposition(|&other| other == neighbour)?;
        list.swap_remove(at);
        let before = beside(list);
        if list.len() * 4 <= list.capacity() {
            list.shrink_to_fit();
        }
        let given_back = before - beside(list);
        self.mark(concept);
        Some(given_back)
    }

    fn mark(&mut self, concept: u32) {
        let head = self.marked;
        if let Some(node) = self.node_mut(concept)
            && node.marked_before == UNMARKED
        {
            node.marked_before = head;
            self.marked = concept;
        }
    }

    /// The concept that was marked last, which is marked no longer.
    fn unmark(&mut self) -> Option<u32> {
        let concept = self.marked;
        self.marked = std::mem::replace(&mut self.node_mut(concept)?.marked_before, UNMARKED);
        Some(concept)
    }
}

/// How many edges connect placed concepts, and how many of them two columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Edges whose ends are both placed.
    pub edges: u64,
    /// Of them, those whose ends lie in different columns.
    pub cut: u64,
}

impl Cut {
    /// The share of edges that are cut, 0 if there are none.
    pub fn share(self) -> f64 {
        if self.edges == 0 { 0.0 } else { self.cut as f64 / self.edges as f64 }
    }
}

/// Known edges between concepts.
pub(crate) struct Graph {
    shards: Box<[RwLock<Shard>]>,
    limits: GraphLimits,
    edges: AtomicU64,
    /// Edges that came or went, ever.
    changes: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl Graph {
    /// No edges.
    pub(crate) fn new(limits: GraphLimits) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::new(Shard::new())).collect(),
            limits: GraphLimits { edges: limits.edges.min(EDGES_MOST), ..limits },
            edges: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    fn shard(&self, concept: u32) -> &RwLock<Shard> {
        &self.shards[concept as usize % SHARDS]
    }

    /// Runs `act` with the shards of two concepts, `None` for the second's if both are in one.
    fn with_both<T>(&self, a: u32, b: u32, act: impl FnOnce(&mut Shard, Option<&mut Shard>) -> T) -> T {
        let (first, second) = (a as usize % SHARDS, b as usize % SHARDS);
        if first == second {
            return act(&mut self.shards[first].write(), None);
        }
        // The lower first: two threads with the same shards cannot wait for each other.
        let mut lower = self.shards[first.min(second)].write();
        let mut upper = self.shards[first.max(second)].write();
        if first < second { act(&mut lower, Some(&mut upper)) } else { act(&mut upper, Some(&mut lower)) }
    }

    /// Makes an edge known. It is looked for in the shorter of the two lists (G1).
    pub(crate) fn link(&self, a: u32, b: u32) -> Linked {
        if a == b {
            return Linked::Known;
        }
        if a.max(b) >= CONCEPTS {
            self.dropped.fetch_add(1, Relaxed);
            return Linked::Dropped;
        }
        self.with_both(a, b, |one, other| {
            let shared = other.as_deref().unwrap_or(one);
            let (of_a, of_b) = (one.neighbours(a), shared.neighbours(b));
            let known = if of_a.len() <= of_b.len() { of_a.contains(&b) } else { of_b.contains(&a) };
            if known {
                return Linked::Known;
            }
            let pages = match &other {
                Some(other) => one.page_growth(a) + other.page_growth(b),
                None => one.page_growth(a.max(b)),
            };
            let full = of_a.len().max(of_b.len()) >= DEGREE_MOST;
            if full || !self.claim((pages + one.list_growth(a) + shared.list_growth(b)) as u64) {
                self.dropped.fetch_add(1, Relaxed);
                return Linked::Dropped;
            }
            self.changes.fetch_add(1, Relaxed);
            one.add(a, b);
            other.unwrap_or(one).add(b, a);
            Linked::New
        })
    }

    /// Counts one more edge and `growth` bytes, if the limits allow it (G2).
    fn claim(&self, growth: u64) -> bool {
        if self.edges.fetch_add(1, Relaxed) >= self.limits.edges {
            self.edges.fetch_sub(1, Relaxed);
            return false;
        }
        if self.bytes.fetch_add(growth, Relaxed).saturating_add(growth) > self.limits.bytes {
            self.bytes.fetch_sub(growth, Relaxed);
            self.edges.fetch_sub(1, Relaxed);
            return false;
        }
        true
    }

    /// Forgets an edge. How many edges `b` has left, `None` if there was no such edge.
    pub(crate) fn unlink(&self, a: u32, b: u32) -> Option<usize> {
        self.with_both(a, b, |one, other| {
            let of_a = one.remove(a, b)?;
            let shared = other.unwrap_or(one);
            let of_b = shared.remove(b, a)?;
            self.bytes.fetch_sub((of_a + of_b) as u64, Relaxed);
            self.edges.fetch_sub(1, Relaxed);
            self.changes.fetch_add(1, Relaxed);
            Some(shared.neighbours(b).len())
        })
    }

    /// Drops edges of a concept, the latest first, and reports each neighbour that has no edge left. An edge is a unit of
    /// work, and so are [`SEARCHED`] edges of the neighbour; none is begun after `work` units. True if the concept has no
    /// edge left either.
    pub(crate) fn forget(&self, concept: u32, work: usize, mut lonely: impl FnMut(u32)) -> bool {
        let mut done = 0;
        while done < work {
            let Some(&neighbour) = self.shard(concept).read().neighbours(concept).last() else { return true };
            let left = self.unlink(concept, neighbour);
            if left == Some(0) {
                lonely(neighbour);
            }
            done += 1 + left.unwrap_or(0) / SEARCHED;
        }
        self.degree(concept) == 0
    }

    /// Edges of a concept.
    pub(crate) fn degree(&self, concept: u32) -> usize {
        self.shard(concept).read().neighbours(concept).len()
    }

    /// Whether this holds of any of at most `most` neighbours of a concept: all of them, or every `s`-th. Its shard's lock is held
    /// meanwhile.
    pub(crate) fn any_neighbour(&self, concept: u32, most: usize, mut holds: impl FnMut(u32) -> bool) -> bool {
        let shard = self.shard(concept).read();
        let list = shard.neighbours(concept);
        list.iter().step_by(stride(list, most)).any(|&node| holds(node))
    }

    /// Replaces `row` by at most `most` neighbours of a concept: all of them, or every `s`-th with the
    /// weight `s`.
    pub(crate) fn sample(&self, concept: u32, most: usize, row: &mut Vec<Tie>) {
        row.clear();
        let shard = self.shard(concept).read();
        let list = shard.neighbours(concept);
        let stride = stride(list, most);
        row.extend(list.iter().step_by(stride).map(|&node| Tie { node, weight: stride as u32 }));
    }

    /// Replaces `row` by at most `most` neighbours of a concept, the one at `from` first. Where the next part begins, if there
    /// is one.
    pub(crate) fn part(&self, concept: u32, from: usize, most: usize, row: &mut Vec<Tie>) -> Option<usize> {
        row.clear();
        let shard = self.shard(concept).read();
        let rest = shard.neighbours(concept).get(from..).unwrap_or_default();
        row.extend(rest.iter().take(most).map(|&node| Tie { node, weight: 1 }));
        (rest.len() > most).then_some(from + most)
    }

    /// Replaces `row` by all neighbours of a concept, unless there are more than `most`: then by none,
    /// and false.
    pub(crate) fn whole(&self, concept: u32, most: usize, row: &mut Vec<Tie>) -> bool {
        row.clear();
        let shard = self.shard(concept).read();
        let list = shard.neighbours(concept);
        if list.len() <= most {
            row.extend(list.iter().map(|&node| Tie { node, weight: 1 }));
        }
        list.len() <= most
    }

    /// Marks a concept as changed: it was placed. Without edges it is of no interest.
    pub(crate) fn touch(&self, concept: u32) {
        let mut shard = self.shard(concept).write();
        if !shard.neighbours(concept).is_empty() {
            shard.mark(concept);
        }
    }

    /// Takes at most `most` concepts of a shard whose evidence has changed (G3); shards are counted
    /// from 0, and `None` is past the last. True if there are more.
    pub(crate) fn take_changes(&self, shard: usize, most: usize, mut take: impl FnMut(u32)) -> Option<bool> {
        let shard = self.shards.get(shard)?;
        if shard.read().marked == LAST_MARKED {
            return Some(false);
        }
        let mut shard = shard.write();
        for _ in 0..most {
            match shard.unmark() {
                Some(concept) => take(concept),
                None => return Some(false),
            }
        }
        Some(shard.marked != LAST_MARKED)
    }

    /// Counts the edges between placed concepts and those between two columns. Reads all edges.
    pub(crate) fn cut(&self, column: impl Fn(u32) -> Option<u32>) -> Cut {
        let mut ends = Cut::default();
        for (number, shard) in self.shards.iter().enumerate() {
            let mut page = 0;
            // A page at a time, so that nobody waits for the whole.
            while let Some(nodes) = shard.read().pages.get(page) {
                for (place, node) in nodes.iter().enumerate() {
                    let Some(home) = column(((page * PAGE + place) * SHARDS + number) as u32) else { continue };
                    for other in node.neighbours.iter().filter_map(|&neighbour| column(neighbour)) {
                        ends.edges += 1;
                        ends.cut += u64::from(other != home);
                    }
                }
                page += 1;
            }
        }
        Cut { edges: ends.edges / 2, cut: ends.cut / 2 }
    }

    /// Edges that are known.
    pub(crate) fn edges(&self) -> u64 {
        self.edges.load(Relaxed)
    }

    /// Edges that came or went, ever.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// Edges that a bound did not admit.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Bytes of host memory that edges and nodes take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

#[cfg(test)]
mod tests;
