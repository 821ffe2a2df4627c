//! Re-placement: concepts move to better columns as evidence comes, in bounded steps.
//!
//! ```text
//!            changes?            an eighth of all edges is new, or a column is too full
//!   idle  ------------>  look  -------------------------------------------->  plan  --> trim --> carry out --> idle
//!                         |  few changes
//!                         '--------------->  visit the changed concepts where they live  --> idle
//! ```
//!
//! - Few changes: each concept whose evidence changed is visited once, and a group that would gain by
//!   moving is moved at once ([`group`](crate::guidance::group)).
//! - Many: a [`Plan`] of the whole, of which [`Trim`] leaves what pays. Then each concept whose planned column is
//!   not its own moves there, column after column; a column is given no more than it has room for. While
//!   `WordNet` grows, with maintenance after every 1,000 concepts, plans that save less than an edge for eight
//!   moves make a fourth of all moves and change the cut by less than 0.01. So those have a *credit*: a move for
//!   each concept once all edges are new, and as many fewer as fewer are. All moves are paid from it; what
//!   saves more is carried out though it is used up.
//!
//! - A plan of which an eighth of the concepts has gone, with as many edges, is given up, however far it is: what it says of the others
//!   is as old, and of those that came since it says nothing. (Who went and knew nobody makes nothing old.) Then what has changed
//!   meanwhile is visited, so that something is done although concepts may be replaced faster than plans are made; and then all is
//!   planned anew. Who came with the number of one that went is not moved by a plan.
//!
//! A step only says what to move. The caller moves it, or does not, and may say of whom it could not move that they
//! [stay](Replacement::stays).
//!
//! **It comes to an end**, whatever the caller does with what it is told. While nothing changes from outside, each visit makes the
//! first of these that it changes smaller, and none of them falls below 0:
//!
//! 1. concepts that are not known to stay;
//! 2. concepts that columns have above their limit; then edges that are cut;
//! 3. concepts that are to be visited.
//!
//! A visit that proposes nothing, or a group of which then nobody moves, takes one out of the queue, and adds none. A group that moves
//! as a whole makes 2 smaller: its gain is exact, an edge at least, and its column is not filled above the limit; or it leaves a column
//! that is above it. (In this case alone neighbours are to be visited again.) A gain is one of the whole group: a small concept that
//! follows an immovable neighbour, which then does not go, comes to lie worse, and has to come back for ever. So if only some of a
//! group have moved, the others are known to stay: from then on they join no group. (Then all of it are to be visited again.) Who
//! stays may move again when evidence has changed somewhere, or by a plan. A plan is made once for what has changed, or twice if the
//! first one moves nobody, and moves each concept once at most; it is given up only because of what changes from outside.
//!
//! **Bound.** A concept is queued once at a time. A step reads at most [`STEP_TIES`] ties and looks at each column once.

use std::collections::{HashSet, VecDeque};

use crate::guidance::graph::Graph;
use crate::guidance::group::{AROUND, Look, Search, VISIT_TIES};
use crate::guidance::homes::{Homes, NOWHERE};
use crate::guidance::level::STROKE;
use crate::guidance::net::{Net, Tie};
use crate::guidance::plan::Plan;
use crate::guidance::trim::Trim;

/// Everything is planned anew when one of so many edges changed since the last plan.
const REPLAN: u64 = 8;
/// A plan is given up once one of so many of its concepts has gone, and one of so many edges came or went.
const OUTDATED: u64 = 8;
/// Concepts of one move at most.
const MOVED: usize = 64;
/// Ties that one step reads at most.
pub const STEP_TIES: u64 = STROKE as u64 + VISIT_TIES;

/// Concepts that should move to one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Their numbers.
    pub concepts: Vec<u32>,
    /// Where they should go.
    pub column: u32,
    /// Whether they gain by it only if all of them move: they should, or else none. At most 16.
    pub together: bool,
}

/// What one step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is nothing to do until something changes.
    Idle,
    /// Work was done, there is more.
    Worked,
    /// These should be moved, there is more.
    Move(Move),
    /// These numbers are free: a removed concept's, whose last edges were dropped, and those of
    /// neighbours that were only hinted at. There is more.
    Free(Vec<u32>),
}

enum Phase {
    /// Nothing to do, as far as is known.
    Idle,
    /// Finding out what changed: the shard of the graph that is next.
    Look(usize),
    /// Visiting the concepts that changed.
    Visit,
    Plan(Box<Plan>),
    Trim(Box<Trim>),
    Carry(Box<Carry>),
}

/// What is to come because a plan was given up.
#[derive(PartialEq, Eq)]
enum Redo {
    Nothing,
    /// What has changed is visited, and then all is planned anew.
    Visits,
    /// All is planned anew.
    Plan,
}

/// A plan that is being carried out.
struct Carry {
    plan: Plan,
    /// Concepts that are not sorted yet: all below this number.
    unsorted: usize,
    /// Concepts that move.
    movers: usize,
    /// The next concept for the same column, for each that moves.
    chain: Vec<u32>,
    /// The first one for each column.
    first: Vec<u32>,
    /// The column whose turn it is.
    turn: u32,
    /// Whether a column may be filled by one concept above its limit.
    forced: bool,
    /// So many moves are made whatever they save.
    allowance: u64,
}

/// Concepts as they live now.
struct Living<'a> {
    graph: &'a Graph,
    homes: &'a Homes,
    limit: u32,
    staying: &'a HashSet<u32>,
}

impl Net for Living<'_> {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn load(&self, column: u32) -> u32 {
        self.homes.load(column)
    }

    fn columns(&self) -> u32 {
        self.homes.columns()
    }

    fn roomiest(&self) -> u32 {
        self.homes.roomiest().0
    }

    fn column(&self, node: u32) -> u32 {
        self.homes.column(node)
    }

    fn weight(&self, _node: u32) -> u32 {
        1
    }

    fn sample(&self, node: u32, most: usize, row: &mut Vec<Tie>) {
        self.graph.sample(node, most, row);
    }

    /// Who stays is as one with too many ties: it joins no group.
    fn whole(&self, node: u32, most: usize, row: &mut Vec<Tie>) -> bool {
        let moves = !self.staying.contains(&node);
        self.graph.whole(node, if moves { most } else { 0 }, row) && moves
    }
}

/// Concepts to be visited, each once at a time.
#[derive(Default)]
struct Queue {
    concepts: VecDeque<u32>,
    /// A bit for each number that is queued.
    queued: Vec<u64>,
}

impl Queue {
    /// Room for so many: it never grows by copying itself, and the system gives only what is written.
    fn reserve(&mut self, concepts: u32) {
        self.concepts.reserve((concepts as usize).saturating_sub(self.concepts.len()));
    }

    fn push(&mut self, concept: u32) {
        let (word, bit) = (concept as usize / 64, 1 << (concept % 64));
        if word >= self.queued.len() {
            self.queued.resize(word + 1, 0);
        }
        if self.queued[word] & bit == 0 {
            self.queued[word] |= bit;
            self.concepts.push_back(concept);
        }
    }

    fn pop(&mut self) -> Option<u32> {
        let concept = self.concepts.pop_front()?;
        self.queued[concept as usize / 64] &= !(1 << (concept % 64));
        Some(concept)
    }

    fn bytes(&self) -> usize {
        self.concepts.len() * size_of::<u32>() + self.queued.len() * size_of::<u64>()
    }
}

/// The search for better places, and how far it is.
pub(crate) struct Replacement {
    phase: Phase,
    search: Search,
    /// Concepts to be visited.
    changed: Queue,
    /// What was to be moved last, by a visit.
    proposed: Option<Move>,
    /// Who is known to stay, until something changes.
    staying: HashSet<u32>,
    /// The graph's changes and the number of concepts when the last plan was begun.
    planned_at: (u64, u32),
    /// How many had [gone](Homes::gone) by then.
    gone_before: u32,
    redo: Redo,
    /// Moves that plans may make for less than an edge for eight.
    credit: u64,
    row: Vec<Tie>,
    read: u64,
}

impl Replacement {
    /// Nothing is planned.
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Idle,
            search: Search::new(),
            changed: Queue::default(),
            proposed: None,
            staying: HashSet::new(),
            planned_at: (0, 0),
            gone_before: 0,
            redo: Redo::Nothing,
            credit: 0,
            row: Vec::with_capacity(AROUND),
            read: 0,
        }
    }

    /// Ties read by all steps so far.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// A concept that was to be moved could not be.
    pub(crate) fn stays(&mut self, concept: u32) {
        self.staying.insert(concept);
    }

    /// Does a bounded piece of work.
    pub(crate) fn step(&mut self, graph: &Graph, homes: &Homes) -> Step {
        if matches!(self.phase, Phase::Plan(_) | Phase::Trim(_) | Phase::Carry(_)) && self.is_outdated(graph, homes) {
            self.phase = Phase::Idle;
            self.redo = Redo::Visits;
            return Step::Worked;
        }
        match &mut self.phase {
            Phase::Idle => self.look(graph, homes, 0),
            Phase::Look(shard) => {
                let shard = *shard;
                self.look(graph, homes, shard)
            }
            Phase::Visit => self.visit(graph, homes),
            Phase::Plan(plan) => {
                if !plan.step(graph, homes, &mut self.search, &mut self.read) {
                    self.begin_trimming(homes);
                }
                Step::Worked
            }
            Phase::Trim(trim) => {
                if !trim.step(graph, homes, &mut self.read) {
                    self.begin_carrying(homes);
                }
                Step::Worked
            }
            Phase::Carry(carry) => match carry.step(homes) {
                Step::Idle => {
                    // Without that others make room it may be cheap enough.
                    let again = carry.plan.ousts() && !carry.is_agreed();
                    self.phase = if again { Phase::Plan(Box::new(Plan::of_all(homes))) } else { Phase::Idle };
                    Step::Worked
                }
                Step::Move(group) => self.pay(group),
                step => step,
            },
        }
    }

    /// Whether one of [`OUTDATED`] of the plan's concepts has gone, and as many edges came or went.
    fn is_outdated(&self, graph: &Graph, homes: &Homes) -> bool {
        let gone = u64::from(homes.gone().wrapping_sub(self.gone_before));
        gone * OUTDATED > u64::from(self.planned_at.1) && (graph.changes() - self.planned_at.0) * OUTDATED > graph.edges()
    }

    /// A move is paid for.
    fn pay(&mut self, group: Move) -> Step {
        self.credit = self.credit.saturating_sub(group.concepts.len() as u64);
        Step::Move(group)
    }

    /// Collects the concepts that changed, from `shard` on, and decides what to do about them.
    fn look(&mut self, graph: &Graph, homes: &Homes, shard: usize) -> Step {
        let (mut shard, mut room) = (shard, STROKE);
        self.changed.reserve(homes.numbers());
        while room > 0 {
            let changed = &mut self.changed;
            let more = graph.take_changes(shard, room, |concept| {
                room -= 1;
                changed.push(concept);
            });
            match more {
                Some(true) => {}
                Some(false) => shard += 1,
                None => return self.decide(graph, homes),
            }
        }
        self.phase = Phase::Look(shard);
        Step::Worked
    }

    fn decide(&mut self, graph: &Graph, homes: &Homes) -> Step {
        let now = (graph.changes(), homes.live());
        let many = self.redo != Redo::Nothing || (now.0 - self.planned_at.0) * REPLAN > graph.edges();
        let too_full = now != self.planned_at && homes.fullest() > homes.limit_of(now.1);
        let has_visits = self.redo == Redo::Visits && !self.changed.concepts.is_empty();
        if (many || too_full) && !has_visits {
            self.redo = Redo::Nothing;
            self.gone_before = homes.gone();
            self.changed = Queue::default();
            self.staying = HashSet::new();
            // The credit grows with the part of all edges that is new.
            let live = u64::from(now.1);
            let new = u128::from(live) * u128::from(now.0 - self.planned_at.0) / u128::from(graph.edges().max(1));
            self.credit = self.credit.saturating_add(new as u64).min(live);
            self.planned_at = now;
            self.phase = Phase::Plan(Box::new(Plan::new(homes)));
        } else if self.changed.concepts.is_empty() {
            self.phase = Phase::Idle;
            return Step::Idle;
        } else {
            if has_visits {
                self.redo = Redo::Plan;
            }
            self.staying = HashSet::new();
            self.phase = Phase::Visit;
        }
        Step::Worked
    }

    fn visit(&mut self, graph: &Graph, homes: &Homes) -> Step {
        if let Some(done) = self.proposed.take() {
            self.look_around(graph, homes, &done);
        }
        let net = Living { graph, homes, limit: homes.limit_of(homes.live()), staying: &self.staying };
        let before = self.read;
        while self.read - before < STROKE as u64 {
            let Some(concept) = self.changed.pop() else {
                self.phase = Phase::Idle;
                return Step::Worked;
            };
            let column = self.search.visit(&net, concept, Look::Together);
            self.read += 1 + self.search.take_read();
            if let Some(column) = column {
                let proposed = Move { concepts: self.search.movers().to_vec(), column, together: true };
                self.proposed = Some(proposed.clone());
                return self.pay(proposed);
            }
        }
        Step::Worked
    }

    /// What became of a group. The neighbours of what was really moved may want to follow; if only a part was, or one is known to stay
    /// by now, the others may lie better elsewhere.
    fn look_around(&mut self, graph: &Graph, homes: &Homes, done: &Move) {
        let has_moved = |concept: u32| homes.column(concept) == done.column;
        if done.concepts.iter().any(|&concept| has_moved(concept)) {
            self.staying.extend(done.concepts.iter().filter(|&&concept| !has_moved(concept)));
        }
        if done.concepts.iter().any(|concept| self.staying.contains(concept)) {
            done.concepts.iter().for_each(|&concept| self.changed.push(concept));
        }
        for &concept in done.concepts.iter().filter(|&&concept| has_moved(concept)) {
            graph.sample(concept, AROUND, &mut self.row);
            self.read += self.row.len() as u64;
            for tie in self.row.iter().filter(|tie| !has_moved(tie.node)) {
                self.changed.push(tie.node);
            }
        }
    }

    fn begin_trimming(&mut self, homes: &Homes) {
        if let Phase::Plan(plan) = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.phase = Phase::Trim(Box::new(Trim::new(*plan, homes, self.credit)));
        }
    }

    fn begin_carrying(&mut self, homes: &Homes) {
        if let Phase::Trim(trim) = std::mem::replace(&mut self.phase, Phase::Idle) {
            let (plan, allowance) = trim.into_plan();
            self.phase = Phase::Carry(Box::new(Carry::new(plan, homes.columns(), allowance)));
        }
    }

    /// Bytes of host memory taken.
    pub(crate) fn bytes(&self) -> usize {
        let phase = match &self.phase {
            Phase::Plan(plan) => plan.bytes(),
            Phase::Trim(trim) => trim.bytes(),
            Phase::Carry(carry) => carry.plan.bytes() + (carry.chain.capacity() + carry.first.capacity()) * size_of::<u32>(),
            _ => 0,
        };
        phase + self.changed.bytes() + self.staying.len() * size_of::<u32>()
    }
}

impl Carry {
    fn new(plan: Plan, columns: u32, allowance: u64) -> Self {
        let concepts = plan.columns().len();
        Self {
            plan,
            unsorted: concepts,
            movers: 0,
            chain: vec![0; concepts],
            first: vec![NOWHERE; columns as usize],
            turn: 0,
            forced: false,
            allowance,
        }
    }

    fn step(&mut self, homes: &Homes) -> Step {
        if self.unsorted > 0 {
            self.sort(homes);
            return if self.unsorted > 0 || self.is_agreed() { Step::Worked } else { Step::Idle };
        }
        let limit = homes.limit_of(homes.live());
        let mut work = STROKE;
        for _ in 0..self.first.len() {
            let column = self.turn;
            self.turn = (self.turn + 1) % self.first.len() as u32;
            let room = (limit + u32::from(self.forced)).saturating_sub(homes.load(column)) as usize;
            let most = if self.forced { room.min(1) } else { room.min(MOVED) };
            let mut concepts = Vec::new();
            while concepts.len() < most && work > 0 && self.first[column as usize] != NOWHERE {
                let concept = self.first[column as usize];
                self.first[column as usize] = self.chain[concept as usize];
                work -= 1;
                let home = homes.column(concept);
                if home != NOWHERE && home != column && homes.was_seen(concept) {
                    concepts.push(concept);
                }
            }
            if !concepts.is_empty() {
                self.forced = false;
                return Step::Move(Move { concepts, column, together: false });
            }
            if work == 0 {
                return Step::Worked;
            }
        }
        // Full columns may wait for each other in a circle: one concept above the limit opens it.
        if !self.forced && self.first.iter().any(|&first| first != NOWHERE) {
            self.forced = true;
            return Step::Worked;
        }
        Step::Idle
    }

    /// Whether the plan is worth the moves of all who were sorted.
    fn is_agreed(&self) -> bool {
        self.movers as u64 <= self.allowance || self.plan.pays(self.movers)
    }

    /// Chains some of the concepts by the column that they should move to.
    fn sort(&mut self, homes: &Homes) {
        let start = self.unsorted.saturating_sub(STROKE);
        for concept in (start..self.unsorted).rev() {
            let (planned, home) = (self.plan.columns()[concept], homes.column(concept as u32));
            if planned != NOWHERE && home != NOWHERE && planned != home && homes.was_seen(concept as u32) {
                self.movers += 1;
                self.chain[concept] = std::mem::replace(&mut self.first[planned as usize], concept as u32);
            }
        }
        self.unsorted = start;
    }
}

#[cfg(test)]
mod tests;
