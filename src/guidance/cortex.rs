//! The cortex: evidence, homes, the competition and re-placement behind one door.
//!
//! ```text
//! a concept comes    link (its hints), place         its column, by competition
//!                    place_in                        its column, remembered
//! it may get none    choose, enter                   the same two, but nothing is learnt or noted
//! it got memory      learn, keep                     that is made up for
//! it got no memory   unplace                         as if it had not come, but for its edges
//! it is used         accessed                        evidence for the temporal voter
//! it is linked       link                            evidence for re-placement
//! in maintenance     step                            what should move where; relocated, once it did; stays, if it cannot
//! it goes            remove                          its edges go too, and its number is free again
//! ```
//!
//! Concepts are dense numbers below [`CONCEPTS`], given out by the caller: to those that exist, and to
//! those that are only hinted at. What is linked or placed with another number is not kept.
//!
//! **A removed concept's edges are dropped.** If they were kept for the case that its id comes again, a
//! hub that outlives its neighbours would keep an edge to each that ever was. So an edge never outlives
//! either end, and a number is free as soon as it has no edge and no home.
//!
//! **Threads.** Everything may be called from any number of threads. Nothing waits but for a lock of
//! the [`graph`](crate::guidance::graph), held for some ten nanoseconds to some ten microseconds. Homes, loads
//! and fields are atomics. One thread at a time steps; others are told that there is nothing to do. With
//! one thread everything is deterministic: the same calls lead to the same columns and moves.

use parking_lot::Mutex;
use std::alloc::{Layout, handle_alloc_error};
use std::collections::BTreeSet;

use crate::guidance::columns::{Columns, Voters, Winner};
use crate::guidance::features::Features;
use crate::guidance::field::Folded;
use crate::guidance::graph::{Cut, Graph, GraphLimits, Linked};
#[cfg(doc)]
use crate::guidance::homes::CONCEPTS;
use crate::guidance::homes::{Homes, NOWHERE};
use crate::guidance::net::Tie;
use crate::guidance::replace::{Replacement, Step};
use crate::guidance::strategy::Placement;
use crate::spike::SpikeTime;

/// Decisions for one concept at most: other threads may fill the winner first.
const DECISIONS: u32 = 4;
/// Edges of a removed concept that are dropped in one call or step; fewer if its neighbours are hubs
/// ([`Graph::forget`]).
const DROPPED: usize = 256;

/// Ties that [`Cortex::near`] looks at.
const NEAR: usize = 1024;

/// How columns compete for concepts: who votes, and how much evidence is kept.
///
/// Plain data; [`start`](Self::start) makes a [`Cortex`] of it.
///
/// ```
/// use engram::guidance::{MultiColumnProcessor, Voters};
/// let by_structure_alone = MultiColumnProcessor::new().with_voters(Voters { structural: 1.0, ..Voters::NONE });
/// assert_eq!(by_structure_alone.start(4).live(), 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MultiColumnProcessor {
    voters: Voters,
    limits: GraphLimits,
}

impl MultiColumnProcessor {
    /// All voters, the usual limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// With other weights of the voters. What is negative, infinite or no number counts as 0.
    #[must_use]
    pub fn with_voters(self, voters: Voters) -> Self {
        Self { voters, ..self }
    }

    /// With other bounds on the evidence.
    #[must_use]
    pub fn with_limits(self, limits: GraphLimits) -> Self {
        Self { limits, ..self }
    }

    /// A cortex that knows nothing, of `columns` columns (at least 1). Takes host memory for each of them.
    pub fn start(&self, columns: u32) -> Cortex {
        self.try_start(columns).unwrap_or_else(|refused| handle_alloc_error(refused))
    }

    /// The same; the layout of what there is no host memory for is an error.
    pub(crate) fn try_start(&self, columns: u32) -> Result<Cortex, Layout> {
        let columns = columns.max(1);
        Ok(Cortex {
            graph: Graph::new(self.limits),
            homes: Homes::try_new(columns)?,
            columns: Columns::try_new(columns, self.voters)?,
            replacement: Mutex::new(Box::new(Replacement::new())),
            removed: Mutex::default(),
        })
    }
}

/// Where concepts belong.
///
/// ```
/// use engram::guidance::{AllocationStrategyType::Balanced, Features, MultiColumnProcessor, Step, Stimulus};
/// # fn main() -> Result<(), engram::AllocationError> {
/// let cortex = MultiColumnProcessor::new().start(8);
/// let (cat, feline) = (0, 1);
/// cortex.link(cat, feline);
/// let first = cortex.place(cat, &Features::of(Stimulus::Content(b"a cat"))?, &Balanced.placement());
/// let second = cortex.place(feline, &Features::of(Stimulus::Content(b"a feline"))?, &Balanced.placement());
/// assert_eq!(first.column, second.column);
///
/// loop {
///     match cortex.step() {
///         Step::Idle => break,
///         Step::Worked | Step::Free(_) => {}
///         Step::Move(group) => group.concepts.iter().for_each(|&concept| cortex.relocated(concept, group.column)),
///     }
/// }
/// assert_eq!(cortex.cut().cut, 0);
/// # Ok(())
/// # }
/// ```
pub struct Cortex {
    graph: Graph,
    homes: Homes,
    columns: Columns,
    /// Some 5 KB, which is much for the stack of whoever opens a service.
    replacement: Mutex<Box<Replacement>>,
    /// Removed concepts that still have edges.
    removed: Mutex<BTreeSet<u32>>,
}

impl Cortex {
    /// Whether nothing is known to belong to the concept.
    pub(crate) fn is_lonely(&self, concept: u32) -> bool {
        self.graph.degree(concept) == 0
    }

    /// Makes known that two concepts, placed or not, belong together.
    pub fn link(&self, a: u32, b: u32) -> Linked {
        self.graph.link(a, b)
    }

    /// Two concepts are not known to belong together any more. Whether they were. Looks through the edges of both, from the latest on.
    pub(crate) fn unlink(&self, a: u32, b: u32) -> bool {
        self.graph.unlink(a, b).is_some()
    }

    /// Chooses a column for a concept by all that is known of it, and makes it its home. `effect` is what
    /// the strategy of the request says of the weights of content and load.
    pub fn place(&self, concept: u32, features: &Features, effect: &Placement) -> Winner {
        self.place_folded(concept, &Folded::new(features), effect)
    }

    /// The same, with the features folded.
    pub(crate) fn place_folded(&self, concept: u32, features: &Folded, effect: &Placement) -> Winner {
        let winner = self.choose(concept, features, effect);
        self.learn(winner.column, features);
        self.keep(concept, winner.column);
        winner
    }

    /// The same, but nothing is learnt or noted by it: for a concept that may still get no memory.
    pub(crate) fn choose(&self, concept: u32, features: &Folded, effect: &Placement) -> Winner {
        let decide = || self.columns.decide(&self.graph, &self.homes, concept, features, effect);
        let mut winner = decide();
        let mut decisions = 1;
        while !self.homes.try_enter(concept, winner.column) {
            if decisions == DECISIONS {
                let (column, _) = self.homes.roomiest();
                winner = Winner { column, drive: 0.0, spike: SpikeTime::NONE, confidence: 0.0 };
                self.homes.enter(concept, column);
                break;
            }
            winner = decide();
            decisions += 1;
        }
        winner
    }

    /// A column that was chosen learns.
    pub(crate) fn learn(&self, column: u32, features: &Folded) {
        self.columns.learn(column, features);
    }

    /// A concept stays in a column that was chosen, or entered: that was used, and the concept's place has changed.
    pub(crate) fn keep(&self, concept: u32, column: u32) {
        self.columns.used(column);
        self.graph.touch(concept);
    }

    /// Makes `column` the home of a concept without a decision, for one that was remembered. False, and
    /// nothing is changed, if the column has no room or does not exist.
    pub fn place_in(&self, concept: u32, column: u32) -> bool {
        let entered = self.enter(concept, column);
        if entered {
            self.keep(concept, column);
        }
        entered
    }

    /// The same, but nothing is noted by it: for a concept that may still get no memory.
    pub(crate) fn enter(&self, concept: u32, column: u32) -> bool {
        self.homes.try_enter(concept, column)
    }

    /// Whether a column that was remembered still has one of the concept's neighbours, or no other column with room has.
    pub(crate) fn suits(&self, concept: u32, column: u32) -> bool {
        self.columns.suits(&self.graph, &self.homes, concept, column)
    }

    /// The concept is placed nowhere any more: it was placed, but got no memory. Its edges stay. True if
    /// it has none: then its number may be given to another concept.
    pub fn unplace(&self, concept: u32) -> bool {
        self.homes.leave(concept);
        self.graph.degree(concept) == 0
    }

    /// The concept lies in `column` now, room or not: it was moved, or found there on opening.
    pub fn relocated(&self, concept: u32, column: u32) {
        self.homes.enter(concept, column);
    }

    /// The concept was used.
    pub fn accessed(&self, concept: u32) {
        let column = self.homes.column(concept);
        if column != NOWHERE {
            self.columns.used(column);
        }
    }

    /// The concept is no more. `free` is told which numbers have neither home nor edges now, and may be
    /// given to other concepts: its own, unless it has more than 256 edges, or some to hubs (then [`Cortex::step`]
    /// drops the rest), and those of neighbours that were only hinted at.
    ///
    /// To be called once for each concept. Another thread may be about to link or place a number that
    /// `free` is told of: the caller, who maps ids to numbers, must see that none is in use.
    pub fn remove(&self, concept: u32, mut free: impl FnMut(u32)) {
        self.homes.leave(concept);
        if self.drop_edges(concept, &mut free) {
            free(concept);
        } else {
            self.removed.lock().insert(concept);
        }
    }

    fn drop_edges(&self, concept: u32, free: &mut impl FnMut(u32)) -> bool {
        self.graph.forget(concept, DROPPED, |neighbour| {
            if self.homes.column(neighbour) == NOWHERE {
                free(neighbour);
            }
        })
    }

    /// One bounded step of maintenance: at most [`STEP_TIES`](crate::guidance::STEP_TIES) edges are read.
    ///
    /// [`Step::Idle`] also if another thread is at it. What [`Step::Free`] tells is meant as in
    /// [`Cortex::remove`].
    pub fn step(&self) -> Step {
        let Some(mut replacement) = self.replacement.try_lock() else { return Step::Idle };
        match self.forget_some() {
            Step::Idle => replacement.step(&self.graph, &self.homes),
            step => step,
        }
    }

    /// A concept that was to be moved cannot be: it is not proposed again, but by a plan of all, until some evidence has changed. May
    /// wait for a step of another thread.
    pub fn stays(&self, concept: u32) {
        self.replacement.lock().stays(concept);
    }

    /// The same, of what is left to forget of removed concepts alone.
    pub(crate) fn forget_some(&self) -> Step {
        let removed = self.removed.lock().pop_last();
        removed.map_or(Step::Idle, |concept| self.step_removed(concept))
    }

    /// Whether edges of a removed concept are still to be forgotten: its number is not free then.
    pub(crate) fn is_to_forget(&self, concept: u32) -> bool {
        self.removed.lock().contains(&concept)
    }

    /// Whether a plan that is carried out means this concept: not if it came since, with the number of another.
    pub(crate) fn is_planned(&self, concept: u32) -> bool {
        self.homes.was_seen(concept)
    }

    fn step_removed(&self, concept: u32) -> Step {
        if self.homes.column(concept) != NOWHERE {
            // It has come again: its edges are its own.
            return Step::Worked;
        }
        let mut numbers = Vec::new();
        if self.drop_edges(concept, &mut |number| numbers.push(number)) {
            numbers.push(concept);
        } else {
            self.removed.lock().insert(concept);
        }
        if numbers.is_empty() { Step::Worked } else { Step::Free(numbers) }
    }

    /// The concept's column, if it is placed.
    pub fn column(&self, concept: u32) -> Option<u32> {
        let column = self.homes.column(concept);
        (column != NOWHERE).then_some(column)
    }

    /// The concept's column, if it is placed, and in place of `near` its ties to others there; of more than 1,024 ties, a
    /// sample.
    pub(crate) fn near(&self, concept: u32, near: &mut Vec<Tie>) -> Option<u32> {
        self.graph.sample(concept, NEAR, near);
        let column = self.homes.column(concept);
        near.retain(|tie| self.homes.column(tie.node) == column);
        (column != NOWHERE).then_some(column)
    }

    /// Concepts that are placed.
    pub fn live(&self) -> u32 {
        self.homes.live()
    }

    /// Concepts in a column; 0 if it does not exist.
    pub fn load(&self, column: u32) -> u32 {
        if column < self.homes.columns() { self.homes.load(column) } else { 0 }
    }

    /// Edges that are known.
    pub fn edges(&self) -> u64 {
        self.graph.edges()
    }

    /// Edges that were not kept because a bound was reached.
    pub fn dropped_edges(&self) -> u64 {
        self.graph.dropped()
    }

    /// Edges between placed concepts, and how many of them connect two columns. Reads all edges.
    pub fn cut(&self) -> Cut {
        self.graph.cut(|concept| self.column(concept))
    }

    /// Edges read by all steps so far. May wait for a step of another thread.
    pub fn edges_read(&self) -> u64 {
        self.replacement.lock().read()
    }

    /// Bytes of host memory taken, by a plan that is being made, too. May wait for a step of another
    /// thread.
    pub fn bytes(&self) -> u64 {
        let others = self.homes.bytes() + self.columns.bytes() + self.replacement.lock().bytes();
        self.graph.bytes() + others as u64
    }
}

impl std::fmt::Debug for Cortex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (columns, live, edges) = (self.homes.columns(), self.live(), self.edges());
        f.debug_struct("Cortex").field("columns", &columns).field("live", &live).field("edges", &edges).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
