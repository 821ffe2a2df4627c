//! A plan: where all concepts should live, found without moving any.
//!
//! Moving a concept costs; thinking does not. So the search moves concepts in the plan alone, as often
//! as it likes, and each is moved once at most when the plan is carried out.
//!
//! The search is a multilevel one, as in METIS (Karypis and Kumar 1998) and `KaHIP` (Sanders and Schulz
//! 2013), in bounded steps and from where concepts are now. One *cycle* (a V-cycle: Walshaw 2004):
//!
//! ```text
//! concepts   clusters   clusters of clusters
//!    0 ---->    1 ---->    2                  coarsen, within columns, while it shrinks
//!                          2  refine
//!               1 <----------                 take over its columns, refine
//!    0 <-------                               take over its columns, refine; measure
//! ```
//!
//! **Stars.** A hub has too many ties to join a group, and no cluster outgrows a part of a column. So a hub
//! that lies apart from its leaves, concepts with no tie but to it, is not found a better place step by step.
//! If one in [`STRAYS`] of the edges that are cut lead to such leaves, one more cycle comes first: the
//! leaves follow their hub in the plan, as many as a column of the mean has room for, and each star is a
//! cluster. Columns that are too full then give stars up as they give up anything.
//!
//! **Who knows nobody** has no reason to lie anywhere, but takes the room of those who have one. If it is one concept in
//! [`LONELY`] and more, they are left out, and come in when the others have their places: each in its column if there is room,
//! else where there is less than the mean. That costs moves; if these make a plan too dear, one [of all](Plan::of_all) is tried.
//!
//! **Spread.** Where all columns in use are full and others empty, nothing can move but into an empty one, at a loss. So, once, a cycle
//! begins with that: empty columns take nodes of the others, up to the mean. Then there is room everywhere, and refining mends what was
//! torn.
//!
//! Refining visits each node of a level alone, and then each with its group until nothing moves
//! ([`group`](crate::guidance::group)). Cycles go on while they pay; the best plan counts, and where
//! concepts are now is one of them.
//!
//! Concepts that come while a plan is made are not in it. Those that go are passed over when it is
//! carried out, and so is who has the number of one that went ([`Homes::was_seen`]).
//!
//! Invariants
//! - **W1** `loads` is the weight of each column's nodes, on every level; who is left out is planned for no column.
//! - **W2** no column above the limit grows but by leaves that follow their hub, and the lowest level leaves
//!   none above it.

use std::collections::BTreeMap;

use crate::guidance::graph::{Graph, ROW_MOST};
use crate::guidance::group::{AROUND, Look, Search};
use crate::guidance::homes::{Homes, NOWHERE};
use crate::guidance::level::{Coarsening, Level, STROKE, is_hub};
use crate::guidance::net::{Net, Tie};

/// Times that the levels are gone up and down at most, counted anew from a spread, which is the second,
const CYCLES: u32 = 4;
/// as long as each leaves fewer edges cut, by more than one of so many.
const WORTH_WHILE: u64 = 100;
/// A plan is worth carrying out, whatever else is moved, if it moves no more concepts for each edge that it saves.
pub(crate) const MOVERS_FOR_AN_EDGE: u64 = 8;
/// Stars are gathered if one in so many edges that are cut leads to a leaf; else it would be a cycle for little.
const STRAYS: u64 = 4;
/// Columns that are used are tight if together they are filled to so many parts of one more.
const TIGHT: u64 = 7;
/// Concepts without ties are left out if they are one in so many at least; for fewer the slack of columns has room.
const LONELY: usize = 16;
/// Levels at most.
const LEVELS: usize = 12;
/// A level of at most so many nodes for each column is not made coarser,
const COLUMN_NODES: usize = 8;
/// nor is one of at most so many nodes.
const FEW: usize = 500;
/// How nodes are looked at on each level, one stage after the other.
const STAGES: [Look; 2] = [Look::Alone, Look::Together];
/// Visits of one stage at most, for each node.
const VISITS: usize = 8;

/// What comes next; numbers are the next concept or node.
enum Phase {
    /// Where are the concepts below this number?
    Gather(usize),
    /// How good is the plan? The next concept, the next of its ties, and what those so far said.
    Measure(usize, usize, Worth),
    /// Who knows nobody is left out: the next of them.
    LeaveOut(usize),
    /// Leaves follow their hubs: is this one?
    Stars(usize),
    Coarsen(Box<Coarsening>),
    /// Empty columns take something of the others: the next node, and the next of these columns.
    Spread(usize, usize),
    Refine(Stage),
    /// The level below takes over the columns of the top level.
    Follow(usize),
    /// The plan is kept as the best.
    Keep(usize),
    /// The best plan is taken up again.
    Restore(usize),
    /// Those who were left out stay where there is room for them,
    Stay(usize),
    /// and the others go where there is less than the mean: the next of them, and of these columns.
    Fill(usize, usize),
    Done,
}

/// Whether a spread has been made.
#[derive(PartialEq, Eq)]
enum Spreading {
    NotYet,
    /// This cycle begins with it.
    Next,
    Done,
}

/// Whether who knows nobody is left out.
#[derive(PartialEq, Eq)]
enum LeftOut {
    /// However many they are.
    Never,
    /// Not so far, or they are too few.
    No,
    Yes,
    /// And some of them have to make room.
    Ousted,
}

/// What a plan is worth; less is better.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    /// Concepts above the limits of their columns.
    excess: u64,
    /// Ties to other columns.
    cut: u64,
}

/// A stage of refining.
struct Stage {
    number: usize,
    /// The node to look at next, if it is queued.
    next: usize,
    /// Nodes that are queued.
    waiting: usize,
    /// Visits that are left.
    visits: usize,
}

/// A plan that is being made, or is made.
pub(crate) struct Plan {
    phase: Phase,
    cycle: u32,
    /// Whether this cycle gathers stars.
    gathers: bool,
    spreading: Spreading,
    /// Leaves in the column of their hub, for each hub that has some elsewhere or there.
    stars: BTreeMap<u32, u32>,
    /// Leaves elsewhere.
    strays: u64,
    /// Concepts without ties, and where each is.
    lonely: Vec<(u32, u32)>,
    left_out: LeftOut,
    /// Concepts at the bottom.
    levels: Vec<Level>,
    /// The columns of the best plan so far, at first where concepts are.
    kept: Vec<u32>,
    best: Worth,
    /// What there was before.
    before: Worth,
    loads: Vec<u32>,
    limit: u32,
    /// Columns that were empty when the stage began: the next that is taken last.
    spare: Vec<u32>,
    concepts: u32,
    /// A bit for each node that waits for its visit.
    queued: Vec<u64>,
    row: Vec<Tie>,
}

/// The top level, as the search sees it.
struct Planned<'a> {
    graph: &'a Graph,
    level: &'a Level,
    loads: &'a [u32],
    limit: u32,
    spare: Option<u32>,
}

impl Net for Planned<'_> {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn load(&self, column: u32) -> u32 {
        self.loads[column as usize]
    }

    fn columns(&self) -> u32 {
        self.loads.len() as u32
    }

    fn roomiest(&self) -> u32 {
        (0..self.loads.len()).min_by_key(|&column| self.loads[column]).unwrap_or(0) as u32
    }

    fn spare(&self) -> Option<u32> {
        self.spare
    }

    fn column(&self, node: u32) -> u32 {
        self.level.planned(node)
    }

    fn weight(&self, node: u32) -> u32 {
        self.level.weight(node)
    }

    fn sample(&self, node: u32, most: usize, row: &mut Vec<Tie>) {
        self.level.sample(self.graph, node, most, row);
    }

    fn whole(&self, node: u32, most: usize, row: &mut Vec<Tie>) -> bool {
        self.level.whole(self.graph, node, most, row)
    }
}

impl Plan {
    /// Of where the concepts of `homes` should live.
    pub(crate) fn new(homes: &Homes) -> Self {
        let numbers = homes.numbers() as usize;
        Self {
            phase: Phase::Gather(numbers),
            cycle: 0,
            gathers: false,
            spreading: Spreading::NotYet,
            stars: BTreeMap::new(),
            strays: 0,
            lonely: Vec::with_capacity(numbers),
            left_out: LeftOut::No,
            levels: vec![Level::lowest(numbers)],
            kept: Vec::with_capacity(numbers),
            best: Worth::default(),
            before: Worth::default(),
            loads: vec![0; homes.columns() as usize],
            limit: 0,
            spare: Vec::new(),
            concepts: 0,
            queued: Vec::new(),
            row: Vec::with_capacity(ROW_MOST),
        }
    }

    /// The same, but nobody is left out.
    pub(crate) fn of_all(homes: &Homes) -> Self {
        Self { left_out: LeftOut::Never, ..Self::new(homes) }
    }

    /// Whether some who know nobody have to make room for others.
    pub(crate) fn ousts(&self) -> bool {
        self.left_out == LeftOut::Ousted
    }

    /// Where each concept should live, by number; [`NOWHERE`] where there is none.
    pub(crate) fn columns(&self) -> &[u32] {
        &self.levels[0].column
    }

    /// The same, to be changed: see [`Plan::rename_loads`], [`Plan::shift`] and [`Plan::trimmed`].
    pub(crate) fn columns_mut(&mut self) -> &mut [u32] {
        &mut self.levels[0].column
    }

    /// Each column has another name: a permutation (W1).
    pub(crate) fn rename_loads(&mut self, names: &[u32]) {
        let loads = self.loads.clone();
        names.iter().zip(loads).for_each(|(&name, load)| self.loads[name as usize] = load);
    }

    /// So many concepts are to be in `to` instead of `from`, if there is room (W1, W2).
    pub(crate) fn shift(&mut self, from: u32, to: u32, concepts: u32) -> bool {
        let fits = self.loads[to as usize].saturating_add(concepts) <= self.limit;
        if fits {
            self.loads[from as usize] -= concepts;
            self.loads[to as usize] += concepts;
        }
        fits
    }

    /// It saves so many edges now.
    pub(crate) fn trimmed(&mut self, saved: u64) {
        self.best.cut = self.before.cut.saturating_sub(2 * saved);
    }

    /// Concepts that it is made for.
    pub(crate) fn concepts(&self) -> u64 {
        self.concepts.into()
    }

    /// Edges that are cut without it.
    pub(crate) fn cut_before(&self) -> u64 {
        self.before.cut / 2
    }

    /// Edges that it saves.
    pub(crate) fn saved(&self) -> u64 {
        self.before.cut.saturating_sub(self.best.cut) / 2
    }

    /// Whether columns above the limit have less above it then.
    pub(crate) fn balances(&self) -> bool {
        self.before.excess > self.best.excess
    }

    /// Whether it is worth moving so many concepts, whatever else is moved.
    pub(crate) fn pays(&self, movers: usize) -> bool {
        self.balances() || self.saved() * MOVERS_FOR_AN_EDGE >= movers as u64
    }

    /// Works on for one stroke; ties read are added to `read`. True while there is more to do.
    pub(crate) fn step(&mut self, graph: &Graph, homes: &Homes, search: &mut Search, read: &mut u64) -> bool {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Gather(numbers) => self.gather(homes, numbers),
            Phase::Measure(next, tie, worth) => self.measure(graph, (next, tie, worth), read),
            Phase::LeaveOut(next) => self.leave_out(graph, next),
            Phase::Stars(next) => self.gather_stars(graph, next),
            Phase::Coarsen(coarsening) => self.coarsen(graph, coarsening, read),
            Phase::Spread(next, turn) => self.spread(next, turn),
            Phase::Refine(stage) => self.refine(graph, stage, search, read),
            Phase::Follow(next) => self.follow(next),
            Phase::Keep(next) => self.keep(graph, next),
            Phase::Restore(next) => self.restore(graph, next),
            Phase::Stay(next) => self.stay(next),
            Phase::Fill(next, turn) => self.fill(next, turn),
            Phase::Done => return false,
        };
        true
    }

    fn top(&self) -> usize {
        self.levels.len() - 1
    }

    /// Nodes of the top level that are somewhere.
    fn nodes(&self) -> usize {
        // On the lowest level these are the concepts with ties; on the others there are no more than those.
        self.levels[self.top()].len().min(self.tied() as usize)
    }

    fn gather(&mut self, homes: &Homes, numbers: usize) -> Phase {
        let lowest = &mut self.levels[0].column;
        let end = numbers.min(lowest.len() + STROKE);
        for concept in lowest.len()..end {
            let column = homes.see(concept as u32);
            lowest.push(column);
            self.kept.push(column);
            if column != NOWHERE {
                self.loads[column as usize] += 1;
                self.concepts += 1;
            }
        }
        if end < numbers {
            return Phase::Gather(numbers);
        }
        self.limit = homes.limit_of(self.concepts);
        Phase::Measure(0, 0, Worth::default())
    }

    /// Every tie is read: a plan that follows the sample of a hub's ties that the search saw would seem better than it is.
    fn measure(&mut self, graph: &Graph, at: (usize, usize, Worth), read: &mut u64) -> Phase {
        let concepts = self.levels[0].len();
        let (mut concept, mut tie, mut worth) = at;
        let mut work = 0;
        while concept < concepts && work < STROKE {
            let lowest = &self.levels[0];
            let column = lowest.column[concept];
            let mut rest = None;
            if column != NOWHERE {
                rest = graph.part(concept as u32, tie, ROW_MOST, &mut self.row);
                let elsewhere = |tie: &&Tie| ![column, NOWHERE].contains(&lowest.planned(tie.node));
                worth.cut += self.row.iter().filter(elsewhere).count() as u64;
                work += self.row.len();
                if self.cycle == 0 && !self.gathers && tie == 0 {
                    self.count_leaf(graph, column);
                    if self.row.is_empty() {
                        self.lonely.push((concept as u32, column));
                    }
                }
            }
            work += 1;
            concept += usize::from(rest.is_none());
            tie = rest.unwrap_or(0);
        }
        *read += work as u64;
        if concept < concepts {
            return Phase::Measure(concept, tie, worth);
        }
        worth.excess = self.excess();
        self.measured(graph, worth)
    }

    fn excess(&self) -> u64 {
        self.loads.iter().map(|&load| u64::from(load.saturating_sub(self.limit))).sum()
    }

    fn measured(&mut self, graph: &Graph, worth: Worth) -> Phase {
        let before = std::mem::replace(&mut self.best, worth);
        if std::mem::take(&mut self.gathers) {
            if worth >= before {
                self.best = before;
                return Phase::Restore(0);
            }
            return Phase::Keep(0);
        }
        if self.cycle == 0 {
            self.before = worth;
            if self.left_out == LeftOut::No && self.lonely.len() * LONELY >= self.concepts as usize {
                self.left_out = LeftOut::Yes;
                return Phase::LeaveOut(0);
            }
            return self.begin_cycles(graph);
        }
        if worth >= before {
            self.best = before;
            return Phase::Restore(0);
        }
        let paid = worth.excess < before.excess || (before.cut - worth.cut) * WORTH_WHILE > before.cut;
        if self.cycle < CYCLES && paid || self.may_spread() { Phase::Keep(0) } else { Phase::Stay(0) }
    }

    /// Whether one more cycle begins with a spread: once, where columns are empty and the others have hardly any room.
    fn may_spread(&mut self) -> bool {
        let used = self.loads.iter().filter(|&&load| load > 0).count();
        let tight = u64::from(self.tied()) * (TIGHT + 1) > u64::from(self.limit) * used as u64 * TIGHT;
        let spreads = self.spreading == Spreading::NotYet && used < self.loads.len() && tight && self.best.cut > 0;
        if spreads {
            (self.spreading, self.cycle) = (Spreading::Next, 1);
        }
        spreads
    }

    fn spread(&mut self, next: usize, mut turn: usize) -> Phase {
        let mean = self.tied().div_ceil(self.loads.len() as u32);
        let top = self.top();
        let level = &mut self.levels[top];
        let end = level.len().min(next + STROKE);
        for node in next..end {
            let (from, weight) = (level.column[node], level.weight(node as u32));
            if from == NOWHERE || self.loads[from as usize] <= mean {
                continue;
            }
            while self.spare.get(turn).is_some_and(|&to| self.loads[to as usize] + weight > mean) {
                turn += 1;
            }
            let Some(&to) = self.spare.get(turn) else { return self.begin_stage(0) };
            level.column[node] = to;
            self.loads[from as usize] -= weight;
            self.loads[to as usize] += weight;
        }
        if end < level.len() { Phase::Spread(end, turn) } else { self.begin_stage(0) }
    }

    /// The top level is refined, after a spread if there is to be one.
    fn begin_refining(&mut self) -> Phase {
        if self.spreading == Spreading::Next {
            self.spreading = Spreading::Done;
            self.find_spare();
            return Phase::Spread(0, 0);
        }
        self.begin_stage(0)
    }

    fn find_spare(&mut self) {
        self.spare.clear();
        self.spare.extend((0..self.loads.len() as u32).rev().filter(|&column| self.loads[column as usize] == 0));
    }

    fn begin_cycles(&mut self, graph: &Graph) -> Phase {
        self.gathers = self.strays * 2 * STRAYS > self.before.cut;
        if self.gathers { Phase::Stars(0) } else { self.begin_level(graph) }
    }

    fn leave_out(&mut self, graph: &Graph, next: usize) -> Phase {
        let end = self.lonely.len().min(next + STROKE);
        for &(concept, column) in &self.lonely[next..end] {
            self.levels[0].column[concept as usize] = NOWHERE;
            self.kept[concept as usize] = NOWHERE;
            self.loads[column as usize] -= 1;
        }
        if end < self.lonely.len() {
            return Phase::LeaveOut(end);
        }
        self.best.excess = self.excess();
        self.begin_cycles(graph)
    }

    fn stay(&mut self, next: usize) -> Phase {
        if !self.leaves_out() {
            return Phase::Done;
        }
        let end = self.lonely.len().min(next + STROKE);
        for &(concept, column) in &self.lonely[next..end] {
            if self.loads[column as usize] < self.limit {
                self.levels[0].column[concept as usize] = column;
                self.loads[column as usize] += 1;
            }
        }
        if end < self.lonely.len() { Phase::Stay(end) } else { Phase::Fill(0, 0) }
    }

    /// The mean of all, times the columns, is room for all.
    fn fill(&mut self, next: usize, mut turn: usize) -> Phase {
        let mean = self.concepts.div_ceil(self.loads.len() as u32);
        let end = self.lonely.len().min(next + STROKE);
        for &(concept, _) in &self.lonely[next..end] {
            let planned = &mut self.levels[0].column[concept as usize];
            if *planned == NOWHERE {
                while self.loads[turn] >= mean {
                    turn += 1;
                }
                *planned = turn as u32;
                self.loads[turn] += 1;
                self.left_out = LeftOut::Ousted;
            }
        }
        if end < self.lonely.len() {
            return Phase::Fill(end, turn);
        }
        self.best.excess = self.excess();
        Phase::Done
    }

    /// Whether who knows nobody is left out.
    fn leaves_out(&self) -> bool {
        matches!(self.left_out, LeftOut::Yes | LeftOut::Ousted)
    }

    /// Concepts that are not left out.
    fn tied(&self) -> u32 {
        self.concepts - if self.leaves_out() { self.lonely.len() as u32 } else { 0 }
    }

    fn keep(&mut self, graph: &Graph, next: usize) -> Phase {
        let lowest = &self.levels[0].column;
        let end = lowest.len().min(next + STROKE);
        self.kept[next..end].copy_from_slice(&lowest[next..end]);
        if end < lowest.len() { Phase::Keep(end) } else { self.begin_level(graph) }
    }

    fn restore(&mut self, graph: &Graph, next: usize) -> Phase {
        let lowest = &mut self.levels[0].column;
        let end = lowest.len().min(next + STROKE);
        for (column, &kept) in lowest[next..end].iter_mut().zip(&self.kept[next..end]) {
            if kept != NOWHERE {
                self.loads[*column as usize] -= 1;
                self.loads[kept as usize] += 1;
            }
            *column = kept;
        }
        if end < lowest.len() {
            Phase::Restore(end)
        } else if self.cycle == 0 || self.may_spread() {
            self.begin_level(graph)
        } else {
            Phase::Stay(0)
        }
    }

    /// Counts the concept whose row was read, which lives in `column`, if it is a leaf.
    fn count_leaf(&mut self, graph: &Graph, column: u32) {
        if let [Tie { node: hub, .. }] = self.row[..]
            && is_hub(graph, hub)
        {
            let there = self.levels[0].planned(hub) == column;
            self.strays += u64::from(!there);
            *self.stars.entry(hub).or_default() += u32::from(there);
        }
    }

    /// What a star may weigh: a column of the mean has room for it.
    fn star(&self) -> u32 {
        self.concepts / self.loads.len() as u32
    }

    fn gather_stars(&mut self, graph: &Graph, next: usize) -> Phase {
        let most = self.star();
        let lowest = &mut self.levels[0];
        let end = lowest.len().min(next + STROKE);
        for leaf in next..end {
            let from = lowest.column[leaf];
            if from == NOWHERE || !graph.whole(leaf as u32, 1, &mut self.row) {
                continue;
            }
            if let [Tie { node: hub, .. }] = self.row[..]
                && let Some(leaves) = self.stars.get_mut(&hub)
                && *leaves + 1 < most
            {
                let to = lowest.planned(hub);
                if to != NOWHERE && to != from {
                    *leaves += 1;
                    lowest.column[leaf] = to;
                    self.loads[from as usize] -= 1;
                    self.loads[to as usize] += 1;
                }
            }
        }
        if end < lowest.len() {
            return Phase::Stars(end);
        }
        self.stars = BTreeMap::new();
        self.begin_level(graph)
    }

    /// The top level is made coarser, if that is worth while; else it is refined.
    fn begin_level(&mut self, graph: &Graph) -> Phase {
        let nodes = self.nodes();
        if nodes > FEW.max(self.loads.len() * COLUMN_NODES) && self.levels.len() < LEVELS {
            let star = if self.gathers { self.star() } else { 0 };
            let top = self.top();
            let concepts = self.tied();
            let coarsening = Coarsening::new(graph, &mut self.levels[top], nodes, concepts, self.limit);
            Phase::Coarsen(Box::new(coarsening.with_stars(star)))
        } else {
            self.begin_refining()
        }
    }

    fn coarsen(&mut self, graph: &Graph, mut coarsening: Box<Coarsening>, read: &mut u64) -> Phase {
        let top = self.top();
        let Some(above) = coarsening.step(graph, &mut self.levels[top], read) else {
            return Phase::Coarsen(coarsening);
        };
        if above.len() * 10 < self.nodes() * 9 {
            self.levels.push(above);
            self.begin_level(graph)
        } else {
            self.begin_refining()
        }
    }

    /// All nodes of the top level wait.
    fn begin_stage(&mut self, number: usize) -> Phase {
        let nodes = self.levels[self.top()].len();
        self.queued.clear();
        self.queued.resize(nodes.div_ceil(64), u64::MAX);
        if let (Some(last), 1..) = (self.queued.last_mut(), nodes % 64) {
            *last = (1 << (nodes % 64)) - 1;
        }
        self.find_spare();
        Phase::Refine(Stage { number, next: 0, waiting: nodes, visits: nodes * VISITS })
    }

    fn refine(&mut self, graph: &Graph, mut stage: Stage, search: &mut Search, read: &mut u64) -> Phase {
        let look = STAGES[stage.number];
        let mut work = 0;
        while work < STROKE as u64 && stage.waiting > 0 && stage.visits > 0 {
            let node = next_queued(&mut self.queued, &mut stage.next);
            stage.waiting -= 1;
            stage.visits -= 1;
            while self.spare.pop_if(|column| self.loads[*column as usize] > 0).is_some() {}
            let spare = self.spare.last().copied();
            let net = Planned { graph, level: &self.levels[self.top()], loads: &self.loads, limit: self.limit, spare };
            let to = search.visit(&net, node, look);
            work += 1 + search.take_read();
            if let Some(to) = to {
                work += self.move_all(graph, search.movers(), to, &mut stage);
            }
        }
        *read += work;
        if stage.waiting > 0 && stage.visits > 0 {
            Phase::Refine(stage)
        } else if stage.number + 1 < STAGES.len() {
            self.begin_stage(stage.number + 1)
        } else if self.levels.len() > 1 {
            Phase::Follow(0)
        } else {
            self.cycle += u32::from(!self.gathers);
            Phase::Measure(0, 0, Worth::default())
        }
    }

    /// Nodes of the top level move in the plan (W1). After a group has, its neighbours are looked at
    /// again. Ties read.
    fn move_all(&mut self, graph: &Graph, movers: &[u32], to: u32, stage: &mut Stage) -> u64 {
        let top = self.top();
        let level = &mut self.levels[top];
        let mut read = 0;
        for &mover in movers {
            let weight = level.weight(mover);
            let from = std::mem::replace(&mut level.column[mover as usize], to);
            self.loads[from as usize] -= weight;
            self.loads[to as usize] += weight;
            if STAGES[stage.number] == Look::Together {
                level.sample(graph, mover, AROUND, &mut self.row);
                read += self.row.len() as u64;
                let queued = &mut self.queued;
                stage.waiting += self.row.iter().filter(|tie| queue(queued, tie.node)).count();
            }
        }
        read
    }

    fn follow(&mut self, next: usize) -> Phase {
        let top = self.top();
        let (below, above) = self.levels.split_at_mut(top);
        let level = &mut below[top - 1];
        let end = level.len().min(next + STROKE);
        level.follow(&above[0], next..end);
        if end < level.len() {
            return Phase::Follow(end);
        }
        self.levels.pop();
        self.begin_stage(0)
    }

    /// Bytes of host memory taken.
    pub(crate) fn bytes(&self) -> usize {
        let levels: usize = self.levels.iter().map(Level::bytes).sum();
        let coarsening = if let Phase::Coarsen(coarsening) = &self.phase { coarsening.bytes() } else { 0 };
        let words = self.loads.capacity() + self.spare.capacity() + self.kept.capacity() + 2 * self.queued.capacity();
        let lonely = self.lonely.len() * size_of::<(u32, u32)>();
        levels + coarsening + lonely + words * size_of::<u32>() + self.stars.len() * 2 * size_of::<(u32, u32)>()
    }
}

/// Takes the next queued node from `next` on, around the end. At least one is queued.
fn next_queued(queued: &mut [u64], next: &mut usize) -> u32 {
    let mut word = *next / 64;
    let mut bits = queued[word] & (u64::MAX << (*next % 64));
    while bits == 0 {
        word = (word + 1) % queued.len();
        bits = queued[word];
    }
    let node = word * 64 + bits.trailing_zeros() as usize;
    queued[word] &= !(1 << (node % 64));
    *next = (node + 1) % (queued.len() * 64);
    node as u32
}

/// Queues a node. False if it is queued already, or is none of the level.
fn queue(queued: &mut [u64], node: u32) -> bool {
    let bit = 1 << (node % 64);
    match queued.get_mut(node as usize / 64) {
        Some(word) if *word & bit == 0 => {
            *word |= bit;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
