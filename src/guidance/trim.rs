//! What of a plan is carried out: the same plan for fewer moves, and without the parts that do not pay.
//!
//! A plan is found as if moving cost nothing. Two things are done about that before anything moves:
//!
//! ```text
//!            planned column         a b c        named after where most of its concepts are:
//!   homes of its concepts  0  . 9 1              a = 1, b = 0, c = 2 and not 0, 1, 2
//!                          1  8 . .
//!                          2  1 . 7
//! ```
//!
//! - **Names.** To exchange two columns of a plan changes no edge and no load, but who has to move. The
//!   greatest overlap gives its column its name, and so on down (a greedy matching), unless the names
//!   that the plan has keep more concepts where they are.
//! - **Groups.** Connected concepts that move from one column to another together are a group. Of each it
//!   is known how many edges would be cut if it stayed while the others went. A group that saves none stays,
//!   if its column has room. If the rest is still too dear, more stay: those below a price, in edges saved
//!   for each concept moved, that doubles from round to round.
//!
//! **The price.** What saves [an edge for eight moves](crate::guidance::plan) is always worth them. Below that
//! a plan is worth it within an allowance of moves that the caller gives, and if the share of the cut that it saves is
//! at least a fourth, and that of all concepts that it moves: a path whose 71 cut edges of 20,000 could be 17 is
//! worth moving two of five concepts, once. A half of the cut is worth the whole allowance: a grid that came row by
//! row lies in strips, and to lie in squares, with a third of the cut, most of its concepts have to move.
//!
//! Everything is done in strokes of about [`STROKE`] concepts, ties or groups; a column is looked at once a step. Lists are made for
//! as much as there can be, as a [level](crate::guidance::level)'s.
//!
//! Invariants
//! - **U1** names are a permutation of the columns.
//! - **U2** no group stays in a column that the others who go there fill.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::guidance::graph::{Graph, ROW_MOST};
use crate::guidance::homes::{Homes, NOWHERE};
use crate::guidance::level::STROKE;
use crate::guidance::net::Tie;
use crate::guidance::plan::{MOVERS_FOR_AN_EDGE, Plan};

/// Prices are edges for so many moves.
const UNIT: u64 = 1 << 24;
/// The highest price: what saves more is always worth it.
const HIGHEST: u64 = UNIT / MOVERS_FOR_AN_EDGE;
/// A plan that saves one in so many cut edges at least is worth dear moves; little is left to the next plan.
const PART: u64 = 4;
/// One that saves one in so many is worth the whole allowance: what is dropped would leave more than half of the cut.
const MOST: u64 = 2;
/// No concept, group or name.
const NONE: u32 = u32::MAX;

/// How many of a planned column's concepts are in one column already: the most first, then those whose
/// name stays, then the lowest numbers.
type Overlap = (u32, bool, Reverse<u32>, Reverse<u32>);

/// Connected concepts that move together.
struct Group {
    first: u32,
    concepts: u32,
    /// Whether it stays where it is.
    stays: bool,
}

/// How far a round is.
#[derive(Clone, Copy)]
struct Reached {
    group: usize,
    /// The next concept of the group, and the next of its ties.
    next: u32,
    tie: usize,
    /// Edges that would be cut if the group stayed, as far as is known.
    lost: i64,
}

/// What comes next; numbers are the next concept, column or group.
enum Phase {
    /// Chain the concepts of each planned column.
    Chain(usize),
    /// Count whose concepts are where: a planned column, and the next of its concepts.
    Count(usize, u32),
    /// Name columns, the greatest overlap first.
    Name,
    /// Give the concepts' columns their names.
    Rename(usize),
    /// Find the groups: from this concept on.
    Group(usize),
    /// Which groups are not worth this price?
    Round {
        price: u64,
        at: Reached,
    },
    /// Take back what stays.
    Stay(usize),
    Done,
}

/// A plan that is being trimmed, or is.
pub(crate) struct Trim {
    plan: Plan,
    phase: Phase,
    /// Moves that may be made for less than an edge for eight.
    allowance: u64,
    /// Whether the plan is worth its moves within the allowance.
    agreed: bool,
    /// Where each concept was when it was chained.
    home: Vec<u32>,
    /// The next concept of the same planned column, later of the same group.
    chain: Vec<u32>,
    /// The first concept of each planned column.
    first: Vec<u32>,
    /// Concepts of the planned column that is counted, by where they are; and where that is.
    counts: Vec<u32>,
    met: Vec<u32>,
    overlaps: BinaryHeap<Overlap>,
    /// The name of each planned column.
    names: Vec<u32>,
    taken: Vec<bool>,
    /// Concepts that stay with new names, and with the old ones.
    staying: (u64, u64),
    /// The group of each concept that moves.
    group: Vec<u32>,
    groups: Vec<Group>,
    /// Those of the group that are to be looked at.
    front: Vec<u32>,
    movers: u64,
    /// Edges that the plan saves.
    saved: u64,
    row: Vec<Tie>,
}

impl Trim {
    /// Of a plan that is made, for `homes`. So many moves may be made for less than an edge for eight.
    pub(crate) fn new(plan: Plan, homes: &Homes, allowance: u64) -> Self {
        let (concepts, columns) = (plan.columns().len(), homes.columns() as usize);
        let saved = plan.saved();
        Self {
            plan,
            phase: Phase::Chain(0),
            allowance,
            agreed: false,
            home: Vec::with_capacity(concepts),
            chain: Vec::with_capacity(concepts),
            first: vec![NONE; columns],
            counts: vec![0; columns],
            met: Vec::with_capacity(columns),
            overlaps: BinaryHeap::with_capacity(concepts.min(columns * columns)),
            names: vec![NONE; columns],
            taken: vec![false; columns],
            staying: (0, 0),
            group: Vec::with_capacity(concepts),
            groups: Vec::with_capacity(concepts),
            front: Vec::with_capacity(concepts),
            movers: 0,
            saved,
            row: Vec::with_capacity(ROW_MOST),
        }
    }

    /// The plan as it is now, and the moves that it may make for whatever it saves.
    pub(crate) fn into_plan(self) -> (Plan, u64) {
        let allowance = if self.agreed { self.allowance } else { 0 };
        (self.plan, allowance)
    }

    /// Works on for one stroke; ties read are added to `read`. True while there is more to do.
    pub(crate) fn step(&mut self, graph: &Graph, homes: &Homes, read: &mut u64) -> bool {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Chain(next) => self.chain(homes, next),
            Phase::Count(column, next) => self.count(column, next),
            Phase::Name => self.name(),
            Phase::Rename(next) => self.rename(next),
            Phase::Group(next) => self.find_groups(graph, next, read),
            Phase::Round { price, at } => self.round(graph, price, at, read),
            Phase::Stay(next) => self.stay(next),
            Phase::Done => return false,
        };
        true
    }

    fn chain(&mut self, homes: &Homes, next: usize) -> Phase {
        let end = self.plan.columns().len().min(next + STROKE);
        for concept in next..end {
            let (planned, mut home) = (self.plan.columns()[concept], homes.column(concept as u32));
            let mut after = NONE;
            if planned == NOWHERE || home == NOWHERE || !homes.was_seen(concept as u32) {
                // It came or went since the plan was begun, or another has its number now.
                home = NOWHERE;
            } else {
                after = std::mem::replace(&mut self.first[planned as usize], concept as u32);
            }
            self.home.push(home);
            self.chain.push(after);
        }
        if end < self.plan.columns().len() { Phase::Chain(end) } else { Phase::Count(0, self.first.first().copied().unwrap_or(NONE)) }
    }

    fn count(&mut self, mut column: usize, mut next: u32) -> Phase {
        for _ in 0..STROKE {
            if next != NONE {
                let home = self.home[next as usize];
                if self.counts[home as usize] == 0 {
                    self.met.push(home);
                }
                self.counts[home as usize] += 1;
                next = self.chain[next as usize];
            } else if let Some(home) = self.met.pop() {
                let shared = std::mem::take(&mut self.counts[home as usize]);
                let same = home as usize == column;
                self.staying.1 += if same { u64::from(shared) } else { 0 };
                self.overlaps.push((shared, same, Reverse(column as u32), Reverse(home)));
            } else {
                column += 1;
                match self.first.get(column) {
                    Some(&first) => next = first,
                    None => return Phase::Name,
                }
            }
        }
        Phase::Count(column, next)
    }

    fn name(&mut self) -> Phase {
        for _ in 0..STROKE {
            let Some((shared, _, Reverse(column), Reverse(home))) = self.overlaps.pop() else {
                self.name_others();
                return Phase::Rename(0);
            };
            if self.names[column as usize] == NONE && !self.taken[home as usize] {
                self.give(column as usize, home as usize);
                self.staying.0 += u64::from(shared);
            }
        }
        Phase::Name
    }

    fn give(&mut self, column: usize, name: usize) {
        self.names[column] = name as u32;
        self.taken[name] = true;
    }

    /// Who has no name yet keeps its own, if that is free, or else gets any (U1).
    fn name_others(&mut self) {
        let columns = 0..self.names.len();
        if self.staying.0 <= self.staying.1 {
            columns.for_each(|column| self.names[column] = column as u32);
            return;
        }
        for column in columns.clone() {
            if self.names[column] == NONE && !self.taken[column] {
                self.give(column, column);
            }
        }
        let mut free = 0;
        for column in columns {
            if self.names[column] == NONE {
                while self.taken[free] {
                    free += 1;
                }
                self.give(column, free);
            }
        }
    }

    fn rename(&mut self, next: usize) -> Phase {
        let columns = self.plan.columns_mut();
        let end = columns.len().min(next + STROKE);
        for column in &mut columns[next..end] {
            *column = self.names.get(*column as usize).copied().unwrap_or(NOWHERE);
        }
        if end < columns.len() {
            return Phase::Rename(end);
        }
        self.plan.rename_loads(&self.names);
        Phase::Group(0)
    }

    fn moves(&self, concept: usize) -> bool {
        ![NOWHERE, self.plan.columns()[concept]].contains(&self.home[concept])
    }

    fn find_groups(&mut self, graph: &Graph, mut next: usize, read: &mut u64) -> Phase {
        let mut work = 0;
        while work < STROKE {
            work += 1;
            if self.group.len() < self.home.len() {
                // No concept is looked at before all have a place.
                self.group.push(NONE);
            } else if let Some(concept) = self.front.pop() {
                work += self.look_around(graph, concept);
            } else if next == self.home.len() {
                *read += work as u64;
                self.front = Vec::new();
                return Phase::Round { price: 0, at: self.place(0) };
            } else {
                if self.group[next] == NONE && self.moves(next) {
                    work += self.begin_group(graph, next as u32);
                }
                next += 1;
            }
        }
        *read += work as u64;
        Phase::Group(next)
    }

    /// The group of a concept that was found from none: a hub is known to have more neighbours than were read. Ties read.
    fn begin_group(&mut self, graph: &Graph, concept: u32) -> usize {
        graph.sample(concept, ROW_MOST, &mut self.row);
        let found = self.row.iter().find(|tie| self.go_together(tie.node, concept) && self.group[tie.node as usize] != NONE);
        let group = found.map_or(self.groups.len() as u32, |tie| self.group[tie.node as usize]);
        if group as usize == self.groups.len() {
            self.groups.push(Group { first: NONE, concepts: 0, stays: false });
        }
        self.join(concept, group);
        self.row.len()
    }

    /// Whether two concepts move from the same column to the same, if the second one moves.
    fn go_together(&self, one: u32, other: u32) -> bool {
        let way = |concept: u32| self.home.get(concept as usize).map(|&home| (home, self.plan.columns()[concept as usize]));
        way(one) == way(other)
    }

    fn join(&mut self, concept: u32, number: u32) {
        let group = &mut self.groups[number as usize];
        self.chain[concept as usize] = std::mem::replace(&mut group.first, concept);
        group.concepts += 1;
        self.group[concept as usize] = number;
        self.front.push(concept);
        self.movers += 1;
    }

    /// Neighbours that move the same way join a concept's group. Ties read.
    fn look_around(&mut self, graph: &Graph, concept: u32) -> usize {
        let mut row = std::mem::take(&mut self.row);
        graph.sample(concept, ROW_MOST, &mut row);
        for tie in &row {
            if self.go_together(tie.node, concept) && self.group[tie.node as usize] == NONE {
                self.join(tie.node, self.group[concept as usize]);
            }
        }
        self.row = row;
        self.row.len()
    }

    /// Where a concept will be, as far as is decided.
    fn settled(&self, concept: u32) -> u32 {
        let concept = concept as usize;
        match self.group.get(concept) {
            Some(&group) if group != NONE && self.groups[group as usize].stays => self.home[concept],
            Some(_) => self.plan.columns()[concept],
            None => NOWHERE,
        }
    }

    /// Where a round begins with a group.
    fn place(&self, group: usize) -> Reached {
        Reached { group, next: self.groups.get(group).map_or(NONE, |group| group.first), tie: 0, lost: 0 }
    }

    /// Goes on with the group at hand. Every tie is read: the plan follows what the search saw of a hub's.
    fn round(&mut self, graph: &Graph, price: u64, mut at: Reached, read: &mut u64) -> Phase {
        let mut work = 0;
        while work < STROKE {
            work += 1;
            if at.group == self.groups.len() {
                *read += work as u64;
                return self.end_round(price);
            }
            if at.next == NONE || self.groups[at.group].stays {
                self.decide(price, at.group, at.lost);
                at = self.place(at.group + 1);
                continue;
            }
            let (home, planned) = (self.home[at.next as usize], self.plan.columns()[at.next as usize]);
            let rest = graph.part(at.next, at.tie, ROW_MOST, &mut self.row);
            work += self.row.len();
            for tie in &self.row {
                if self.group.get(tie.node as usize) != Some(&(at.group as u32)) {
                    let there = self.settled(tie.node);
                    at.lost += i64::from(there == planned) - i64::from(there == home);
                }
            }
            at.tie = rest.unwrap_or(0);
            if rest.is_none() {
                at.next = self.chain[at.next as usize];
            }
        }
        *read += work as u64;
        Phase::Round { price, at }
    }

    /// A group that would cost `lost` edges by staying stays if that is less than the price of its moves (U2).
    fn decide(&mut self, price: u64, number: usize, lost: i64) {
        let group = &mut self.groups[number];
        let dear = lost <= 0 || lost.unsigned_abs() * UNIT < price * u64::from(group.concepts);
        if group.stays || !dear {
            return;
        }
        let (home, planned) = (self.home[group.first as usize], self.plan.columns()[group.first as usize]);
        if self.plan.shift(planned, home, group.concepts) {
            group.stays = true;
            self.movers -= u64::from(group.concepts);
            self.saved = self.saved.saturating_add_signed(-lost);
        }
    }

    /// Whether what is left is worth its moves; or how much it has to be worth in the next round.
    fn end_round(&mut self, price: u64) -> Phase {
        let least = self.plan.cut_before() * UNIT / self.plan.concepts().max(1);
        let worth = |price: u64| self.saved * UNIT >= price * self.movers;
        let saves = |part: u64| self.saved * part >= self.plan.cut_before();
        let dear = saves(MOST) || saves(PART) && worth(least.min(HIGHEST));
        self.agreed = self.movers <= self.allowance && dear;
        if self.agreed || worth(HIGHEST) || self.plan.balances() || price >= HIGHEST {
            return Phase::Stay(0);
        }
        let price = (2 * price).max(least).clamp(1, HIGHEST);
        Phase::Round { price, at: self.place(0) }
    }

    fn stay(&mut self, next: usize) -> Phase {
        let end = self.home.len().min(next + STROKE);
        for concept in next..end {
            let group = self.group[concept];
            if group != NONE && self.groups[group as usize].stays {
                self.plan.columns_mut()[concept] = self.home[concept];
            }
        }
        if end < self.home.len() {
            return Phase::Stay(end);
        }
        self.plan.trimmed(self.saved);
        Phase::Done
    }

    /// Bytes of host memory taken.
    pub(crate) fn bytes(&self) -> usize {
        let of_concepts = self.home.len() + self.chain.len() + self.group.len() + self.front.len();
        let of_columns = self.first.len() + self.counts.len() + self.met.len() + self.names.len();
        let words = (of_concepts + of_columns) * size_of::<u32>();
        words + self.taken.len() + self.overlaps.len() * size_of::<Overlap>() + self.groups.len() * size_of::<Group>() + self.plan.bytes()
    }
}

#[cfg(test)]
mod tests;
