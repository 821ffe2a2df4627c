//! The competition: cortical columns are driven by four voters, and the first to spike wins.
//!
//! ```text
//! x = (w1 structural + w2 semantic + w3 temporal + w4 exception) / (w of the first three that have an opinion)
//! ```
//!
//! A column spikes when [`first_spike`] says that a neuron under this drive does. All columns have the same tau and theta, so
//! that the strongest drive spikes first; ties go to the lowest number. At or below theta a column is silent; if all are, the
//! least loaded column is recruited. The voters, each 0 to 1 (the semantic one a little more):
//!
//! - **structural**: the concept's known neighbours. Each placed one of at most [`VOTING`] votes for its
//!   column. One that is not placed has a quarter of a vote, shared by the columns of at most [`SECONDS`]
//!   of its own neighbours, which will draw it near. A column at its limit `C` gets no vote; the others'
//!   are discounted by load (LDG: Stanton and Kliot 2012), relative to the strongest:
//!   `s (1 - load/C) / max s (1 - load/C)`.
//! - **semantic**: how attractive the features find the column's receptive field
//!   ([`field`](crate::guidance::field)). Structure first: columns with votes compete among themselves,
//!   and content breaks ties. Without any vote at most [`COMPARED`] columns are compared.
//! - **temporal**: the columns that this thread used lately ([`recent`](crate::guidance::recent)).
//! - **exception**: novelty, if there are no votes: it drives the least loaded column. A concept whose
//!   neighbours are all yet to come is new: 1. One without neighbours is new as far as no column finds it
//!   familiar: `1 - attraction / FAMILIAR`. Overload is the other exception, and no matter of weight: a
//!   column at its limit takes no part.
//!
//! Semantic and temporal drive shrink with a column's room, relative to the emptiest.
//!
//! **Strategy.** The strategy of a request ([`strategy`](crate::guidance::strategy)) sets what content
//! counts for beside structure: `w2 = w1 c / (1 - c)`, `c` its content weight, if both vote. Its load
//! weight `l` is the power of the discount, `(1 - load/C)^l`: 0 leaves only the limit.
//!
//! **Lateral inhibition.** The winner suppresses the others. What that leaves here is how sure the
//! decision is: `confidence = 1 - x2 / x1`, 0 if a column was recruited in silence.

use core::alloc::Layout;
use std::cmp::Reverse;

use crate::guidance::encoder::{THETA, first_spike};
use crate::guidance::field::{Fields, Folded};
use crate::guidance::graph::Graph;
use crate::guidance::homes::{Homes, NOWHERE};
use crate::guidance::recent::Recent;
use crate::guidance::strategy::Placement;
use crate::guidance::tally::Tally;
use crate::spike::SpikeTime;

/// Neighbours that vote.
const VOTING: usize = 64;
/// Neighbours of a neighbour that share its vote.
const SECONDS: usize = 16;
/// What the vote of a neighbour that is not placed counts.
const SECOND_HAND: f32 = 0.25;
/// Columns that content is compared with if there are no votes.
const COMPARED: u32 = 128;
/// Attraction from which on nothing is new.
const FAMILIAR: f32 = 0.25;
/// Drive up to which a column is silent.
const SILENT: f32 = THETA as f32;
/// The weight of a voter at most: sums and ratios of weights stay finite.
const WEIGHT_MOST: f32 = 1e6;
/// Content has at most this part of what structure and content weigh together.
const CONTENT_MOST: f32 = 0.95;
/// A power of the discount at most; above it everything but the emptiest column is as good as full.
const LOAD_WEIGHT_MOST: f32 = 16.0;

/// The weight of each voter; 0, or what is no weight, switches it off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voters {
    /// Known neighbours.
    pub structural: f32,
    /// Similarity to what a column has seen. Beside structure this only switches it on: there the strategy
    /// of the request says what it weighs.
    pub semantic: f32,
    /// Recent use.
    pub temporal: f32,
    /// Novelty.
    pub exception: f32,
}

impl Voters {
    /// Structure first, content to break ties.
    pub const ALL: Self = Self { structural: 0.8, semantic: 0.1, temporal: 0.2, exception: 0.3 };
    /// Nobody votes: every concept goes to the least loaded column.
    pub const NONE: Self = Self { structural: 0.0, semantic: 0.0, temporal: 0.0, exception: 0.0 };
}

impl Default for Voters {
    /// [`Voters::ALL`].
    fn default() -> Self {
        Self::ALL
    }
}

/// Who won, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Winner {
    /// The column.
    pub column: u32,
    /// Its drive; 0 if it was recruited in silence.
    pub drive: f32,
    /// When it spiked; no spike if it was recruited in silence.
    pub spike: SpikeTime,
    /// 0 to 1: how far the second was behind.
    pub confidence: f32,
}

/// Sums for as many columns as can have votes of one decision, or most of them.
type Votes = Tally<f32, 64, 128>;

/// How full columns are.
struct Room<'a> {
    homes: &'a Homes,
    limit: f32,
    load_weight: f32,
    roomiest: u32,
    /// Of the roomiest column. Above 0, even if all are full.
    most: f32,
}

impl<'a> Room<'a> {
    fn new(homes: &'a Homes, load_weight: f32) -> Self {
        let limit = homes.limit_for_one_more() as f32;
        let (roomiest, least) = homes.roomiest();
        let most = discount(1.0 - least as f32 / limit, load_weight).max(f32::MIN_POSITIVE);
        Self { homes, limit, load_weight, roomiest, most }
    }

    /// `(1 - load/C)^l`, 0 if the column is full.
    fn of(&self, column: u32) -> f32 {
        discount(1.0 - self.homes.load(column) as f32 / self.limit, self.load_weight)
    }
}

/// `room^weight`, 0 where there is no room, whatever the weight is.
fn discount(room: f32, weight: f32) -> f32 {
    if room <= 0.0 {
        0.0
    } else if (weight - 1.0).abs() < f32::EPSILON {
        room
    } else {
        libm::powf(room, weight)
    }
}

/// A weight in `0..=most`; `otherwise` if it is no number.
fn weight(weight: f64, most: f32, otherwise: f32) -> f32 {
    if weight.is_nan() { otherwise } else { (weight as f32).clamp(0.0, most) }
}

/// What a concept's neighbours say.
struct Structure {
    /// Discounted votes, the strongest 1.
    votes: Votes,
    /// Whether there are any neighbours, placed or not.
    expected: bool,
}

impl Structure {
    fn none() -> Self {
        Self { votes: Votes::new(), expected: false }
    }

    fn of(graph: &Graph, room: &Room, concept: u32) -> Self {
        let mut votes = Votes::new();
        let mut vote = |column: u32, weight: f32| {
            if let Some(sum) = votes.entry(column) {
                *sum += weight;
            }
        };
        let (mut neighbours, mut seconds) = (Vec::new(), Vec::new());
        graph.sample(concept, VOTING, &mut neighbours);
        for neighbour in &neighbours {
            let column = room.homes.column(neighbour.node);
            if column != NOWHERE {
                vote(column, 1.0);
                continue;
            }
            graph.sample(neighbour.node, SECONDS, &mut seconds);
            let columns = || seconds.iter().map(|tie| room.homes.column(tie.node)).filter(|&column| column != NOWHERE);
            let share = SECOND_HAND / columns().count() as f32;
            columns().for_each(|column| vote(column, share));
        }
        votes.update(|column, votes| votes * room.of(column));
        let strongest = votes.values().iter().fold(0.0, |most: f32, &pull| most.max(pull));
        if strongest > 0.0 {
            votes.update(|_, pull| pull / strongest);
        } else {
            votes.clear();
        }
        Self { votes, expected: !neighbours.is_empty() }
    }
}

/// The competition of all columns.
pub(crate) struct Columns {
    voters: Voters,
    fields: Fields,
    recent: Recent,
}

impl Columns {
    /// Columns that know nothing. The layout of what there is no host memory for is an error.
    pub(crate) fn try_new(columns: u32, voters: Voters) -> Result<Self, Layout> {
        let weight = |weight: f32| if weight.is_finite() { weight.clamp(0.0, WEIGHT_MOST) } else { 0.0 };
        let voters = Voters {
            structural: weight(voters.structural),
            semantic: weight(voters.semantic),
            temporal: weight(voters.temporal),
            exception: weight(voters.exception),
        };
        Ok(Self { voters, fields: Fields::try_new(columns.max(1))?, recent: Recent::new() })
    }

    /// A column was used: evidence for the temporal voter.
    pub(crate) fn used(&self, column: u32) {
        self.recent.used(column);
    }

    /// The winner learns.
    pub(crate) fn learn(&self, column: u32, features: &Folded) {
        self.fields.learn(column, features);
    }

    /// What content counts for: the strategy's part of what it weighs together with structure.
    fn semantic_weight(&self, effect: &Placement) -> f32 {
        let Voters { structural, semantic, .. } = self.voters;
        if structural > 0.0 && semantic > 0.0 {
            let content = weight(effect.content_weight, CONTENT_MOST, 0.0);
            structural * content / (1.0 - content)
        } else {
            semantic
        }
    }

    /// Which column a concept should go to. Changes nothing.
    ///
    /// Reads at most `VOTING * (1 + SECONDS)` edges and compares with at most `COMPARED` columns or, if
    /// there are votes, those that have some; one look at each column's load.
    pub(crate) fn decide(&self, graph: &Graph, homes: &Homes, concept: u32, features: &Folded, effect: &Placement) -> Winner {
        let room = Room::new(homes, weight(effect.load_weight, LOAD_WEIGHT_MOST, 1.0));
        let structure = if self.voters.structural > 0.0 { Structure::of(graph, &room, concept) } else { Structure::none() };
        let recent = self.recent_use();

        let heard = |weight: f32, has_opinion: bool| if has_opinion { weight } else { 0.0 };
        let voted = !structure.votes.keys().is_empty();
        let structural = heard(self.voters.structural, voted);
        let semantic = heard(self.semantic_weight(effect), !features.is_blank());
        let temporal = heard(self.voters.temporal, !recent.keys().is_empty());
        let all = structural + semantic + temporal;
        let all = if all > 0.0 { all } else { 1.0 };

        let attraction = |column: u32| if semantic > 0.0 { self.fields.attraction(column, features).max(0.0) } else { 0.0 };
        let drive = |column: u32, attraction: f32| {
            let room = room.of(column) / room.most;
            let votes = structure.votes.get(column).unwrap_or(0.0);
            let recent = recent.get(column).unwrap_or(0.0);
            (structural * votes + (semantic * attraction + temporal * recent) * room) / all
        };
        let mut contest = Contest::default();
        if voted {
            for &column in structure.votes.keys() {
                contest.enter(column, drive(column, attraction(column)));
            }
            return contest.winner(room.roomiest);
        }

        let exception = self.voters.exception / all;
        let columns = homes.columns();
        // What is sure to be new need not be compared.
        let compared = if structure.expected && exception > 0.0 { 0 } else { COMPARED.min(columns) };
        let first = if compared < columns { concept % columns } else { 0 };
        let is_compared = |column: u32| (column + columns - first) % columns < compared;
        let others = recent.keys().iter().copied().filter(|&column| !is_compared(column));
        let mut familiar: f32 = 0.0;
        for column in (0..compared).map(|turn| (first + turn) % columns).chain(others) {
            let attraction = attraction(column);
            familiar = familiar.max(attraction);
            if column != room.roomiest {
                contest.enter(column, drive(column, attraction));
            }
        }
        let novelty = if structure.expected { 1.0 } else { (1.0 - familiar / FAMILIAR).max(0.0) };
        contest.enter(room.roomiest, drive(room.roomiest, attraction(room.roomiest)) + exception * novelty);
        contest.winner(room.roomiest)
    }

    /// Whether `column`, which was decided for a request like this one, still has one of the concept's neighbours, or no other column
    /// with room has: where they are may have changed since. Reads at most `VOTING` edges.
    pub(crate) fn suits(&self, graph: &Graph, homes: &Homes, concept: u32, column: u32) -> bool {
        if self.voters.structural <= 0.0 {
            return true;
        }
        let limit = homes.limit_for_one_more();
        let mut would_fit = false;
        let is_there = |node| {
            let home = homes.column(node);
            would_fit |= home != NOWHERE && homes.load(home) < limit;
            home == column
        };
        graph.any_neighbour(concept, VOTING, is_there) || !would_fit
    }

    /// The columns used lately, if that matters.
    fn recent_use(&self) -> Votes {
        let mut recent = Votes::new();
        if self.voters.temporal > 0.0 {
            for (column, weight) in self.recent.columns() {
                if let Some(sum) = recent.entry(column) {
                    *sum += weight;
                }
            }
        }
        recent
    }

    /// Bytes of host memory taken.
    pub(crate) fn bytes(&self) -> usize {
        self.fields.bytes()
    }
}

/// The two strongest so far. No column enters twice.
#[derive(Default)]
struct Contest {
    first: Option<(f32, u32)>,
    second: f32,
}

impl Contest {
    fn enter(&mut self, column: u32, drive: f32) {
        match self.first {
            Some((most, first)) if (drive, Reverse(column)) < (most, Reverse(first)) => self.second = self.second.max(drive),
            first => {
                self.second = first.map_or(0.0, |(most, _)| most);
                self.first = Some((drive, column));
            }
        }
    }

    fn winner(self, roomiest: u32) -> Winner {
        match self.first {
            Some((drive, column)) if drive > SILENT => {
                let confidence = (1.0 - self.second / drive).clamp(0.0, 1.0);
                Winner { column, drive, spike: first_spike(drive.into()).unwrap_or(SpikeTime::NONE), confidence }
            }
            _ => Winner { column: roomiest, drive: 0.0, spike: SpikeTime::NONE, confidence: 0.0 },
        }
    }
}

#[cfg(test)]
mod tests;
