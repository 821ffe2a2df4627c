//! A level of a plan: concepts, or clusters of them, and how a level is made from the one below.
//!
//! **Clusters.** Size-constrained label propagation (Meyerhenke, Sanders and Schulz 2014): every node
//! starts as a cluster of its own; each in turn joins the cluster with most ties to it that has room,
//! within its column. The rounds end when few change. Clusters become the nodes of the next level, whose
//! ties are the sums of theirs: moving one node there moves what belongs together here.
//!
//! **Stars**, where they are wanted: a concept whose only tie leads to a [hub](is_hub) joins the hub's cluster
//! even if that gets as heavy as a column; and hubs join none.
//!
//! Everything is done in strokes of about [`STROKE`] nodes or ties, so that no step takes long. No list grows by copying
//! itself: each is made for as much as there can be, of which the system gives only what is written.

use std::ops::Range;

use crate::guidance::graph::{Graph, ROW_MOST};
use crate::guidance::group::MEMBER_ROW;
use crate::guidance::homes::NOWHERE;
use crate::guidance::net::Tie;
use crate::guidance::tally::Tally;

/// Nodes and ties that one step handles, about.
pub(crate) const STROKE: usize = 512;

/// Rounds of label propagation at most.
const ROUNDS: u32 = 5;
/// The rounds end when fewer than one of so many nodes changed its cluster.
const SETTLED: usize = 50;
/// A cluster may weigh so many times what nodes weigh on average,
const SHRINK: usize = 16;
/// but not more than this part of a column.
const COLUMN_PART: u32 = 8;

/// Ties of a hub, at least: one more than a group's members have.
const HUB: usize = MEMBER_ROW + 1;

/// No node.
const NONE: u32 = u32::MAX;
/// Set where a label has its number. Numbers and weights are below it: there are fewer than 2^31 concepts.
const NUMBERED: u32 = 1 << 31;

/// Whether a concept has so many ties that it joins no group.
pub(crate) fn is_hub(graph: &Graph, concept: u32) -> bool {
    graph.degree(concept) >= HUB
}

/// One level.
#[derive(Default)]
pub(crate) struct Level {
    /// The column of each node, as planned.
    pub(crate) column: Vec<u32>,
    /// The node of the next level that each node belongs to; while clusters form, any node of it.
    cluster: Vec<u32>,
    /// Concepts of each node. Empty on the lowest level, where each node is a concept.
    weights: Vec<u32>,
    /// Where each node's ties start. Empty on the lowest level, whose ties are the graph's edges.
    starts: Vec<u32>,
    ties: Vec<Tie>,
}

impl Level {
    /// The lowest level, for so many concepts.
    pub(crate) fn lowest(concepts: usize) -> Self {
        Self { column: Vec::with_capacity(concepts), ..Self::default() }
    }

    /// The column of `node`, [`NOWHERE`] if it is none of the level: a concept that came later.
    pub(crate) fn planned(&self, node: u32) -> u32 {
        self.column.get(node as usize).copied().unwrap_or(NOWHERE)
    }

    /// Nodes of the level, those that are nowhere included.
    pub(crate) fn len(&self) -> usize {
        self.column.len()
    }

    /// Concepts of `node`.
    pub(crate) fn weight(&self, node: u32) -> u32 {
        self.weights.get(node as usize).copied().unwrap_or(1)
    }

    /// All ties of `node`, `None` on the lowest level.
    fn ties(&self, node: u32) -> Option<&[Tie]> {
        let start = *self.starts.get(node as usize)? as usize;
        let end = self.starts.get(node as usize + 1).map_or(self.ties.len(), |&end| end as usize);
        Some(&self.ties[start..end])
    }

    /// [`Net::sample`](crate::guidance::net::Net::sample), of this level.
    pub(crate) fn sample(&self, graph: &Graph, node: u32, most: usize, row: &mut Vec<Tie>) {
        let Some(ties) = self.ties(node) else { return graph.sample(node, most, row) };
        row.clear();
        let stride = ties.len().div_ceil(most).max(1);
        let heavier = |tie: &Tie| Tie { node: tie.node, weight: tie.weight.saturating_mul(stride as u32) };
        row.extend(ties.iter().step_by(stride).map(heavier));
    }

    /// [`Net::whole`](crate::guidance::net::Net::whole), of this level.
    pub(crate) fn whole(&self, graph: &Graph, node: u32, most: usize, row: &mut Vec<Tie>) -> bool {
        let Some(ties) = self.ties(node) else { return graph.whole(node, most, row) };
        row.clear();
        if ties.len() <= most {
            row.extend_from_slice(ties);
        }
        ties.len() <= most
    }

    /// Takes over the columns of the level above for some nodes.
    pub(crate) fn follow(&mut self, above: &Self, nodes: Range<usize>) {
        for node in nodes {
            if self.column[node] != NOWHERE {
                self.column[node] = above.column[self.cluster[node] as usize];
            }
        }
    }

    /// Bytes of host memory taken.
    pub(crate) fn bytes(&self) -> usize {
        let words = self.column.len() + self.cluster.len() + self.weights.len() + self.starts.len();
        words * size_of::<u32>() + self.ties.len() * size_of::<Tie>()
    }
}

/// What comes next in making a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Every node is a cluster of its own.
    Single,
    /// One round of label propagation.
    Join { round: u32, changes: usize },
    /// Number the clusters, chain their nodes.
    Number,
    /// Add up the ties of each cluster.
    Tie,
}

/// A level that is being made.
pub(crate) struct Coarsening {
    task: Task,
    /// The node, or in the last task the cluster, that is next.
    next: usize,
    /// The node of the next cluster whose ties are next, [`NONE`]: its first.
    member: u32,
    /// Concepts of each cluster, by label; later [`NUMBERED`] and its number.
    of_label: Vec<u32>,
    /// The next node of the same cluster, for each node.
    chain: Vec<u32>,
    /// The first node of each cluster.
    first: Vec<u32>,
    /// Where the tie to a cluster lies in the row that is being added up, if it is there at all.
    place: Vec<u32>,
    /// What a cluster may weigh.
    most: u32,
    /// What a star may weigh, 0 if they are clusters as others.
    star: u32,
    row: Vec<Tie>,
    near: Tally<i64, ROW_MOST, 512>,
    above: Level,
}

impl Coarsening {
    /// Of `level`, whose `nodes` nodes that are somewhere stand for `concepts` concepts, in columns for `limit` each.
    pub(crate) fn new(graph: &Graph, level: &mut Level, nodes: usize, concepts: u32, limit: u32) -> Self {
        let average = (concepts as usize * SHRINK / nodes.max(1)) as u32;
        // No more than below, unless edges come meanwhile.
        let ties = if level.starts.is_empty() { 2 * graph.edges() as usize } else { level.ties.len() };
        level.cluster.reserve_exact(level.len() - level.cluster.len());
        Self {
            task: Task::Single,
            next: 0,
            member: NONE,
            of_label: Vec::with_capacity(level.len()),
            chain: Vec::with_capacity(level.len()),
            first: Vec::with_capacity(nodes),
            place: Vec::with_capacity(nodes),
            most: (limit / COLUMN_PART).min(average).max(2),
            star: 0,
            row: Vec::with_capacity(ROW_MOST),
            near: Tally::new(),
            above: Level {
                column: Vec::with_capacity(nodes),
                cluster: Vec::new(),
                weights: Vec::with_capacity(nodes),
                starts: Vec::with_capacity(nodes),
                ties: Vec::with_capacity(ties),
            },
        }
    }

    /// With stars that weigh so much at most; 0 is none.
    pub(crate) fn with_stars(self, star: u32) -> Self {
        Self { star, ..self }
    }

    /// Works on for one stroke. The next level when it is complete; ties read are added to `read`.
    pub(crate) fn step(&mut self, graph: &Graph, level: &mut Level, read: &mut u64) -> Option<Level> {
        let mut work = 0;
        while work < STROKE {
            let clusters = self.above.len();
            let end = if self.task == Task::Tie { clusters } else { level.len() };
            if self.next == end {
                match self.task {
                    Task::Join { round, changes } if round + 1 < ROUNDS && changes * SETTLED >= level.len() => {
                        self.task = Task::Join { round: round + 1, changes: 0 };
                    }
                    Task::Single => self.task = Task::Join { round: 0, changes: 0 },
                    Task::Join { .. } => self.task = Task::Number,
                    Task::Number => self.task = Task::Tie,
                    Task::Tie => {
                        *read += work as u64;
                        return Some(std::mem::take(&mut self.above));
                    }
                }
                self.next = 0;
                continue;
            }
            work += match self.task {
                Task::Single => self.single(level),
                Task::Join { .. } => self.join(graph, level),
                Task::Number => self.number(level),
                Task::Tie => self.tie(graph, level),
            };
        }
        *read += work as u64;
        None
    }

    fn single(&mut self, level: &mut Level) -> usize {
        let node = self.next as u32;
        match level.cluster.get_mut(self.next) {
            Some(cluster) => *cluster = node,
            None => level.cluster.push(node),
        }
        self.of_label.push(level.weight(node));
        self.next += 1;
        1
    }

    /// The next node joins the cluster that it has most ties to, if that has room.
    fn join(&mut self, graph: &Graph, level: &mut Level) -> usize {
        let node = self.next as u32;
        self.next += 1;
        let column = level.column[node as usize];
        if column == NOWHERE {
            return 1;
        }
        level.sample(graph, node, ROW_MOST, &mut self.row);
        self.near.clear();
        for tie in &self.row {
            if level.planned(tie.node) == column
                && let Some(sum) = self.near.entry(level.cluster[tie.node as usize])
            {
                *sum += i64::from(tie.weight);
            }
        }
        let (own, weight) = (level.cluster[node as usize], level.weight(node));
        let mut most = self.most;
        if self.star > 0 && level.starts.is_empty() {
            if is_hub(graph, node) {
                // It waits for its leaves: two hubs in one cluster would share them out.
                return 1 + self.row.len();
            }
            if let [Tie { node: hub, .. }] = self.row[..]
                && is_hub(graph, hub)
            {
                most = self.star;
            }
        }
        let mut best = (self.near.get(own).unwrap_or(0), own);
        for (label, sum) in self.near.iter() {
            if sum > best.0 && self.of_label[label as usize].saturating_add(weight) <= most {
                best = (sum, label);
            }
        }
        if best.1 != own {
            self.of_label[own as usize] -= weight;
            self.of_label[best.1 as usize] += weight;
            level.cluster[node as usize] = best.1;
            if let Task::Join { changes, .. } = &mut self.task {
                *changes += 1;
            }
        }
        1 + self.row.len()
    }

    /// The next node gets the number of its cluster, and joins the chain of its nodes.
    fn number(&mut self, level: &mut Level) -> usize {
        let node = self.next;
        self.next += 1;
        let column = level.column[node];
        if column == NOWHERE {
            level.cluster[node] = NONE;
            self.chain.push(NONE);
            return 1;
        }
        let of_label = &mut self.of_label[level.cluster[node] as usize];
        if *of_label & NUMBERED == 0 {
            *of_label = NUMBERED | self.above.len() as u32;
            self.above.column.push(column);
            self.above.weights.push(0);
            self.first.push(NONE);
            self.place.push(0);
        }
        let cluster = *of_label & !NUMBERED;
        level.cluster[node] = cluster;
        self.above.weights[cluster as usize] += level.weight(node as u32);
        self.chain.push(std::mem::replace(&mut self.first[cluster as usize], node as u32));
        1
    }

    /// Adds the ties of the next node of the next cluster to the cluster's.
    fn tie(&mut self, graph: &Graph, level: &Level) -> usize {
        let cluster = self.next as u32;
        if self.member == NONE {
            self.member = self.first[self.next];
            self.above.starts.push(self.above.ties.len() as u32);
        }
        let start = self.above.starts[self.next] as usize;
        level.sample(graph, self.member, ROW_MOST, &mut self.row);
        for tie in &self.row {
            let other = level.cluster.get(tie.node as usize).copied().unwrap_or(NONE);
            if other == NONE || other == cluster {
                continue;
            }
            let place = self.place[other as usize] as usize;
            match self.above.ties.get_mut(place) {
                Some(known) if place >= start && known.node == other => known.weight = known.weight.saturating_add(tie.weight),
                _ => {
                    self.place[other as usize] = self.above.ties.len() as u32;
                    self.above.ties.push(Tie { node: other, weight: tie.weight });
                }
            }
        }
        self.member = self.chain[self.member as usize];
        self.next += usize::from(self.member == NONE);
        1 + self.row.len()
    }

    /// Bytes of host memory taken.
    pub(crate) fn bytes(&self) -> usize {
        let words = self.of_label.len() + self.chain.len() + self.first.len() + self.place.len();
        words * size_of::<u32>() + self.above.bytes()
    }
}

#[cfg(test)]
mod tests;
