//! One visit: would a concept, or a small connected group around it, lie better in another column?
//!
//! Moving single concepts stops far from what partitioners reach that know the whole graph: where a
//! cluster straddles two columns, each concept alone is held back by its neighbours. A group grown
//! from one concept crosses together:
//!
//! ```text
//! for the TARGETS columns with most ties to the seed (ties: the lighter one; with room):
//!   group = {}, frontier = {seed: ties to the column - ties to its own}
//!   while |group| < GROUP and there is a frontier and room:
//!     take the frontier's best gain into the group; the total grows by it
//!     remember this prefix if its total is the best so far; give up PATIENCE nodes later
//!     each of its neighbours in the old column: in the frontier: its gain grows by twice the tie;
//!       else, while the frontier has fewer than FRONTIER: it joins the frontier
//! the best prefix of all moves
//! ```
//!
//! This is the move of Kernighan and Lin (1970), with a prefix kept, in the one-sided and bounded form
//! that Fiduccia and Mattheyses (1982) made linear. A visit that looks at a concept *alone* moves it by
//! the streaming rule that also places concepts, LDG (Stanton and Kliot 2012): most ties, discounted
//! by load.
//!
//! Two full columns that have a part of a cluster each cannot give it to one another. While a plan is made, in which moves
//! cost nothing, and there are empty columns, a group whose neighbours are in a full one may begin such a column though it
//! gains nothing: the others follow.
//!
//! A column above its limit must give up concepts: there any total will do, and the lightest column is
//! a target, too.
//!
//! **Hubs.** A group's gain is exact, so that every move saves what it promises and none is undone by the
//! next. What has more ties than are read joins no group; it moves alone, by a sample of them. So a
//! visit reads at most [`VISIT_TIES`] ties, whatever the degrees are.

use crate::guidance::graph::ROW_MOST;
use crate::guidance::homes::NOWHERE;
use crate::guidance::net::{Net, Tie};
use crate::guidance::tally::Tally;

/// Nodes of a group at most.
const GROUP: usize = 16;
/// Nodes that wait to join a group at most.
const FRONTIER: usize = 16;
/// Nodes by which a group grows beyond its best prefix before it is given up.
const PATIENCE: usize = 8;
/// Columns that a group is grown for.
const TARGETS: usize = 2;
/// Ties of a node that are read when it joins a frontier, and again when it joins the group.
pub(crate) const MEMBER_ROW: usize = 64;

/// Neighbours of each mover that are looked at again.
pub(crate) const AROUND: usize = 64;

/// Columns that are looked at in about the time that it takes to read a tie.
const LOADS_FOR_A_TIE: u32 = 64;
/// Ties that one visit reads at most: the seed's, those of all that join a frontier and of all that join
/// a group, and those around the movers.
pub(crate) const VISIT_TIES: u64 = (ROW_MOST + (TARGETS + 1) * ((GROUP + FRONTIER) + GROUP) * MEMBER_ROW + GROUP * AROUND) as u64;

/// How a visit looks at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Move it alone, by the streaming rule.
    Alone,
    /// Move the best group that saves at least one edge.
    Together,
}

/// A waiting or taken node's gain; taken nodes have [`TAKEN`].
type Frontier = Tally<i64, { GROUP + FRONTIER }, 64>;

const TAKEN: i64 = i64::MIN;

/// The scratch memory of visits, and what the last one found.
pub(crate) struct Search {
    near: Tally<i64, ROW_MOST, 512>,
    frontier: Frontier,
    /// Rows of the seed, of a node that joins the group, of one that joins the frontier.
    seed_row: Vec<Tie>,
    row: Vec<Tie>,
    inner: Vec<Tie>,
    group: Vec<u32>,
    best: Vec<u32>,
    read: u64,
}

impl Search {
    /// Nothing visited yet.
    pub(crate) fn new() -> Self {
        Self {
            near: Tally::new(),
            frontier: Tally::new(),
            seed_row: Vec::with_capacity(ROW_MOST),
            row: Vec::with_capacity(MEMBER_ROW),
            inner: Vec::with_capacity(MEMBER_ROW),
            group: Vec::with_capacity(GROUP),
            best: Vec::with_capacity(GROUP),
            read: 0,
        }
    }

    /// Ties read since this was asked last.
    pub(crate) fn take_read(&mut self) -> u64 {
        std::mem::take(&mut self.read)
    }

    /// The nodes that the last visit would move.
    pub(crate) fn movers(&self) -> &[u32] {
        &self.best
    }

    /// Where [`Search::movers`] should move, if anything should.
    pub(crate) fn visit(&mut self, net: &impl Net, node: u32, look: Look) -> Option<u32> {
        self.best.clear();
        let from = net.column(node);
        if from == NOWHERE {
            return None;
        }
        match look {
            Look::Alone => net.sample(node, ROW_MOST, &mut self.seed_row),
            Look::Together if net.whole(node, ROW_MOST, &mut self.seed_row) => {}
            Look::Together => return None,
        }
        self.read += self.seed_row.len() as u64;
        self.near.clear();
        for tie in &self.seed_row {
            let column = net.column(tie.node);
            if column != NOWHERE
                && let Some(ties) = self.near.entry(column)
            {
                *ties += i64::from(tie.weight);
            }
        }
        match look {
            Look::Alone => self.visit_alone(net, node, from),
            Look::Together => self.visit_together(net, node, from),
        }
    }

    /// `n_j (1 - load_j / C) > n_cur (1 - (load_cur - w) / C)`, multiplied by `C`.
    fn visit_alone(&mut self, net: &impl Net, node: u32, from: u32) -> Option<u32> {
        let (limit, weight) = (i64::from(net.limit()), net.weight(node));
        let must = net.load(from) > net.limit();
        let stay = self.near.get(from).unwrap_or(0) * (limit - i64::from(net.load(from)) + i64::from(weight));
        let mut best = (if must { -1 } else { stay }, NOWHERE);
        for (column, ties) in self.near.iter() {
            let load = net.load(column);
            if column != from && load.saturating_add(weight) <= net.limit() {
                let pull = ties * (limit - i64::from(load));
                if pull > best.0 {
                    best = (pull, column);
                }
            }
        }
        if must && best.1 == NOWHERE {
            let roomiest = self.roomiest(net);
            if net.load(roomiest).saturating_add(weight) <= net.limit() {
                best.1 = roomiest;
            }
        }
        if best.1 == NOWHERE {
            return None;
        }
        self.best.push(node);
        Some(best.1)
    }

    fn visit_together(&mut self, net: &impl Net, node: u32, from: u32) -> Option<u32> {
        let excess = net.load(from).saturating_sub(net.limit());
        let mut best: Option<(i64, u32)> = None;
        let targets = self.targets(net, from, net.weight(node), excess > 0);
        // Torn from neighbours where there is no room, those here may begin a column, for them to follow.
        let is_full = |column| net.load(column).saturating_add(net.weight(node)) > net.limit();
        let is_torn = || self.near.iter().any(|(column, _)| column != from && is_full(column));
        let begun = net.spare().filter(|_| is_torn()).map(|spare| (0, spare));
        for (ties, column) in targets.into_iter().flatten().chain(begun) {
            let gain = ties - self.near.get(from).unwrap_or(0);
            if let Some((total, size)) = self.grow(net, node, from, column, gain, excess)
                && best.is_none_or(|best| total > best.0)
            {
                best = Some((total, column));
                self.best.clear();
                self.best.extend_from_slice(&self.group[..size]);
            }
        }
        best.map(|(_, column)| column)
    }

    /// The lightest column. Where there are many it counts as ties that are read, so that a step ends.
    fn roomiest(&mut self, net: &impl Net) -> u32 {
        self.read += u64::from(net.columns() / LOADS_FOR_A_TIE);
        net.roomiest()
    }

    /// The columns to grow for, best first, each with the seed's ties there.
    fn targets(&mut self, net: &impl Net, from: u32, weight: u32, must: bool) -> [Option<(i64, u32)>; TARGETS] {
        let mut targets = [None; TARGETS];
        let roomiest = must.then(|| self.roomiest(net));
        let mut offer = |ties: i64, column: u32| {
            let load = net.load(column);
            if column == from || load.saturating_add(weight) > net.limit() {
                return;
            }
            let mut offered = Some((ties, column));
            for target in &mut targets {
                let better = match (offered, *target) {
                    (Some((ties, column)), Some((most, other))) => {
                        ties > most || (ties == most && (net.load(column), column) < (net.load(other), other))
                    }
                    (offered, _) => offered.is_some(),
                };
                if better {
                    std::mem::swap(target, &mut offered);
                }
            }
        };
        for (column, ties) in self.near.iter() {
            offer(ties, column);
        }
        if let Some(roomiest) = roomiest
            && self.near.get(roomiest).is_none()
        {
            offer(0, roomiest);
        }
        targets
    }

    /// Grows a group from `seed`, whose move to `to` gains `gain`: the best prefix's total and length.
    fn grow(&mut self, net: &impl Net, seed: u32, from: u32, to: u32, gain: i64, excess: u32) -> Option<(i64, usize)> {
        let room = net.limit().saturating_sub(net.load(to));
        let (mut weight, mut total, mut waiting) = (0_u32, 0_i64, 1_usize);
        let mut best = None;
        self.group.clear();
        self.frontier.clear();
        if let Some(place) = self.frontier.entry(seed) {
            *place = gain;
        }
        while self.group.len() < GROUP && best.is_none_or(|(_, size)| self.group.len() <= size + PATIENCE) {
            let Some((node, gain)) = best_waiting(&self.frontier) else { break };
            if let Some(gain) = self.frontier.get_mut(node) {
                *gain = TAKEN;
                waiting -= 1;
            }
            if weight + net.weight(node) > room {
                continue;
            }
            self.group.push(node);
            weight += net.weight(node);
            total += gain;
            // An empty column may be begun for no gain, but not by all that another one has: that would only change which one is empty,
            // for ever. So each such move leaves one fewer.
            let begins = total == 0 && net.spare() == Some(to) && weight < net.load(from);
            if (total > 0 || begins || excess > 0) && best.is_none_or(|(most, _)| total > most) {
                best = Some((total, self.group.len()));
            }
            if excess > 0 && weight >= excess {
                break;
            }
            if node == seed {
                let row = std::mem::take(&mut self.seed_row);
                waiting += self.meet(net, &row, from, to, FRONTIER - waiting);
                self.seed_row = row;
            } else {
                let mut row = std::mem::take(&mut self.row);
                _ = net.whole(node, MEMBER_ROW, &mut row);
                self.read += row.len() as u64;
                waiting += self.meet(net, &row, from, to, FRONTIER - waiting);
                self.row = row;
            }
        }
        best
    }

    /// The neighbours of a node that has just joined the group gain by that; at most `places` new ones
    /// join the frontier. How many did.
    fn meet(&mut self, net: &impl Net, row: &[Tie], from: u32, to: u32, places: usize) -> usize {
        let mut joined = 0;
        for tie in row.iter().filter(|tie| net.column(tie.node) == from) {
            match self.frontier.get_mut(tie.node) {
                Some(gain) if *gain != TAKEN => *gain += 2 * i64::from(tie.weight),
                None if joined < places => {
                    if let Some(gain) = self.gain(net, tie.node, from, to)
                        && let Some(place) = self.frontier.entry(tie.node)
                    {
                        *place = gain;
                        joined += 1;
                    }
                }
                _ => {}
            }
        }
        joined
    }

    /// Edges that `node` would save by following the group: its ties to the new column and to the
    /// group less those to what stays. `None` if it has too many to tell.
    fn gain(&mut self, net: &impl Net, node: u32, from: u32, to: u32) -> Option<i64> {
        if !net.whole(node, MEMBER_ROW, &mut self.inner) {
            return None;
        }
        self.read += self.inner.len() as u64;
        let mut gain = 0;
        for tie in &self.inner {
            let column = net.column(tie.node);
            if column == to || (column == from && self.group.contains(&tie.node)) {
                gain += i64::from(tie.weight);
            } else if column == from {
                gain -= i64::from(tie.weight);
            }
        }
        Some(gain)
    }
}

/// The waiting node with the greatest gain, the earliest of equals.
fn best_waiting(frontier: &Frontier) -> Option<(u32, i64)> {
    let mut best = None;
    for (node, gain) in frontier.iter() {
        if gain != TAKEN && best.is_none_or(|(_, most)| gain > most) {
            best = Some((node, gain));
        }
    }
    best
}

#[cfg(test)]
mod tests;
