//! Maintenance: bounded steps on the caller's thread, in order of worth.
//!
//! ```text
//! 1 place   a step of re-placement; the group that it names moves to its column, all of it or nobody
//! 2 sort    once an eighth of the concepts was freed or updated, or three quarters placed anew at a time: groups, a
//!           column's concepts of one size class, that lie out of order are laid out anew, in fresh spans: from
//!           neighbour to neighbour, and then those without any in spike order (`sort.rs`)
//!   compact the same with groups that are sparse: less than three of four of their spans, or pages, would do
//! 3 warm    what was read often since, or is no more, is served accordingly, and moves to its zone
//! 4 tidy    what others freed is taken back, empty spans and chunks are given back, and their memory to the system
//! ```
//!
//! In every other call a quarter of the budget goes to 4 first. The clock is read after every step: mostly a few
//! microseconds of work, and some hundred where 64 concepts are moved. All moves are the same: a copy beside the old slot,
//! one swap under the node's lock, and the old one is given back when nobody is pinned (V2). A node that somebody else has locked is
//! passed over: who changes a concept may be looking for memory, or waiting for it. In 2, what is pinned beyond an
//! epoch stays where it is. Where spans are scarce (see `spare`) 1 and 3 move into slots that their columns have, and 2 lays out
//! what there is room for.
//!
//! **It comes to an end**, and moves nothing more before enough has changed: in 1 because a group of which somebody cannot move stays
//! where it is, as it would gain nothing without him (see `guidance/replace.rs` for what falls with each move); in 2 because
//! each layout of a group leaves it in order and in as few spans as it needs.

use core::ptr::NonNull;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_epoch::Guard;
use smallvec::SmallVec;

use super::discards::EPOCHS;
use super::lock::MutexGuard;
use super::node::{Node, State};
use super::registry::TOGETHER;
use super::result::MaintenanceReport;
use super::service::MemoryAllocationService;
use super::slot::{Concept, Slot};
use crate::arena::Kept;
use crate::guidance::{AllocationStrategyType, Move, Step};
use crate::maintain::Maintained;
use crate::sync::Ordering::{Acquire, Relaxed};

mod sort;
#[cfg(test)]
mod tests;

pub(super) use sort::most_lodged;
use sort::{Group, Sort};

/// Numbers that one step looks at.
const LOOKS: u32 = 64;
/// Bytes of the largest concept that is moved: to copy more takes longer than a budget may be exceeded, and what is larger than
/// many pages gains little by its neighbours.
const LARGEST_MOVED: usize = 1 << 20;
/// In one of this many calls, the arena comes first: it must not starve while there is always something to place.
const TIDIED: u32 = 2;

/// Where maintenance goes on.
#[derive(Default)]
pub(super) struct Upkeep {
    sort: Sort,
    /// The next number that is looked at for warmth; none if nothing was read since.
    warm: Option<u32>,
    /// Whether the last such round found something that is read often: it may have cooled since.
    hot: bool,
    /// Calls so far.
    calls: u32,
    /// The churn when the last list was begun.
    listed_at: u64,
    /// The first group that was put off since, because too much had changed: the next list begins with it.
    put_off: Option<Group>,
    /// Whether slots, or blocks of the log, were given back since the arena's maintenance began its round.
    untidied: bool,
    /// How often nothing was given back, one time after the other.
    held_up: u32,
    /// Concepts that were placed anew since there was nothing to place.
    moved: u64,
    /// Those that a plan moves next, each a step of its own, and where to: contents may be large.
    moving: VecDeque<(u32, u32)>,
}

/// Whether a phase has more to do.
#[derive(PartialEq, Eq)]
enum Went {
    More,
    Done,
}

impl MemoryAllocationService {
    /// Does about `budget` of background work on the caller's thread, and says whether more is left; other
    /// threads go on meanwhile. If another thread is at it, nothing is done. Any thread; calls the system, and takes host memory. In a
    /// region file it compacts the log of edges once half of that says nothing any more, or no edge is left, in one piece whatever the
    /// budget is: about 0.1 us for each of its entries.
    pub fn maintain(&self, budget: Duration) -> MaintenanceReport {
        let start = Instant::now();
        let mut report = MaintenanceReport::default();
        let Some(mut upkeep) = self.upkeep.try_lock() else {
            report.more = true;
            return report;
        };
        upkeep.calls = upkeep.calls.wrapping_add(1);
        let busy = core::mem::take(&mut *self.busy.lock());
        self.free_all(busy);
        // Whether all is tidy: then the round is over. To begin the next one would be to have more to do for ever, where a
        // round takes as many steps without a budget as there are between two such calls.
        let mut tidy = false;
        if upkeep.calls.is_multiple_of(TIDIED) {
            self.tidy(&mut upkeep, budget / 4, &mut report);
            tidy = !report.more;
        }
        let phases = [Self::step_place, Self::step_sort, Self::step_warm];
        for phase in phases {
            while phase(self, &mut upkeep, &mut report) == Went::More {
                tidy = false;
                if start.elapsed() >= budget {
                    report.more = true;
                    return report;
                }
            }
        }
        if !tidy {
            self.tidy(&mut upkeep, budget.saturating_sub(start.elapsed()), &mut report);
        }
        // The next call begins with it: where all changes all the time, this one would go on for ever.
        report.more |= upkeep.put_off.is_some() || !self.busy.lock().is_empty();
        report
    }

    fn tidy(&self, upkeep: &mut Upkeep, budget: Duration, report: &mut MaintenanceReport) {
        let start = Instant::now();
        let more = self.collect(start, budget, upkeep);
        if let Some(durable) = &self.durable {
            // It needs no memory; it could only fail if a block of the log were none.
            upkeep.untidied |= durable.compact(&self.arena, self.cortex.edges()).unwrap_or(false);
        }
        loop {
            // Nobody has the arena but us, and one thread at a time gets here: nobody else is at it.
            let left = budget.saturating_sub(start.elapsed());
            let (maintained, decommitted) = self.arena.maintain_and_count(left).unwrap_or((Maintained::All, 0));
            report.decommitted_bytes += decommitted;
            // What was given back after a round began may lie in columns that the round had passed: then one more follows.
            let again = !more && maintained == Maintained::All && core::mem::take(&mut upkeep.untidied);
            report.more = more || maintained == Maintained::More || again;
            if !again || start.elapsed() >= budget {
                break;
            }
        }
        for pool in &self.pools {
            pool.shrink();
        }
    }

    /// Gives back what was discarded: until as much came back as there is now, or readers hold it up, or the budget is used up;
    /// something is done whatever the budget is. Whether more can be given back now.
    fn collect(&self, start: Instant, budget: Duration, upkeep: &mut Upkeep) -> bool {
        let discarded = || self.spare.discarded.load(Relaxed);
        let mut before = self.spare.given_back.load(Acquire);
        // What others discard meanwhile is for the next call: they may go on for ever.
        let all = discarded();
        while before < all && upkeep.held_up < EPOCHS {
            self.collect_once();
            let now = self.spare.given_back.load(Acquire);
            upkeep.held_up = if now == before { upkeep.held_up + 1 } else { 0 };
            upkeep.untidied |= now != before;
            before = now;
            if before < all && start.elapsed() >= budget {
                return true;
            }
        }
        core::mem::take(&mut upkeep.held_up) < EPOCHS && discarded() != before
    }

    fn step_place(&self, upkeep: &mut Upkeep, report: &mut MaintenanceReport) -> Went {
        if let Some((number, column)) = upkeep.moving.pop_front() {
            if let Some(node) = self.registry.numbered(number).filter(|_| self.cortex.is_planned(number)) {
                let relocated = u64::from(self.relocate(&node, column, None));
                upkeep.moved += relocated;
                report.relocated += relocated;
            }
            return Went::More;
        }
        // Without guidance nothing moves, but what is known of the dead is forgotten all the same.
        match if self.guidance { self.cortex.step() } else { self.cortex.forget_some() } {
            Step::Idle => return Went::Done,
            Step::Worked => {}
            Step::Free(numbers) => self.free_all(numbers),
            Step::Move(group) if group.together => match self.relocate_together(&group) {
                Ok(()) => {
                    upkeep.moved += group.concepts.len() as u64;
                    report.relocated += group.concepts.len() as u64;
                }
                Err(staying) => self.cortex.stays(staying),
            },
            Step::Move(group) => upkeep.moving.extend(group.concepts.into_iter().map(|number| (number, group.column))),
        }
        Went::More
    }

    /// These numbers may be free; the next call looks again at those whose nodes somebody is at.
    fn free_all(&self, numbers: impl IntoIterator<Item = u32>) {
        let busy: Vec<_> = numbers.into_iter().filter(|&number| !self.free(number)).collect();
        self.busy.lock().extend(busy);
    }

    /// A number has no edges any more: it is free, unless somebody has named it since. False if somebody is at its node, who may take
    /// a while, and may leave it to us.
    fn free(&self, number: u32) -> bool {
        self.while_edges_stay(|| self.bury_lonely(number)) && self.registry.release(number, || self.cortex.is_to_forget(number))
    }

    fn step_warm(&self, upkeep: &mut Upkeep, report: &mut MaintenanceReport) -> Went {
        let Some(from) = upkeep.warm else {
            let begins = self.was_read.swap(0, Relaxed) != 0 || upkeep.hot;
            (upkeep.warm, upkeep.hot) = (begins.then_some(0), false);
            return if begins { Went::More } else { Went::Done };
        };
        let end = self.registry.numbers();
        let mut next = from;
        // A move is a step of its own: contents may be large.
        let mut moved = false;
        while next < end.min(from + LOOKS) && !moved {
            moved = self.registry.numbered(next).is_some_and(|node| self.warm(&node, &mut upkeep.hot));
            next += 1;
        }
        report.relocated += u64::from(moved);
        upkeep.warm = (next < end).then_some(next);
        if upkeep.warm.is_some() { Went::More } else { Went::Done }
    }

    /// Reconsiders how a concept is served that was read, or was read often. True if it has moved. (Rich content, or what was
    /// allocated by a rich embedding, stays what it is however often it is read; nothing else becomes so by being read.)
    fn warm(&self, node: &Arc<Node>, hot: &mut bool) -> bool {
        let changed = (|| {
            let reads = node.reads.load(Relaxed);
            // Who was only hinted at is never hot.
            node.block()?;
            let Some(mut state) = node.try_lock() else {
                // Passed over, and looked at in the next round: there is one.
                *hot = true;
                return None;
            };
            let before = state.strategy?;
            let is_read = reads != 0 && before != AllocationStrategyType::HighComplexity;
            if !is_read && before != AllocationStrategyType::HighPerformance {
                return None;
            }
            let pinned = self.epoch.pin();
            let concept = Slot::at(node.block()?).read(&pinned);
            let strategy = self.reconsider(node, &mut state, &concept, 0.0).strategy_type;
            state.strategy = Some(strategy);
            *hot |= strategy == AllocationStrategyType::HighPerformance;
            (strategy != before).then(|| self.cortex.column(node.number))?
        })();
        changed.is_some_and(|column| self.relocate(node, column, None))
    }

    /// A block of this column for a concept to move to. A move is not worth a search, and not a span where they are scarce.
    fn berth_of(&self, concept: &Concept, column: u32) -> Option<NonNull<u8>> {
        let (bytes, spike) = (concept.block_bytes(), concept.strategy.placement().spike(concept.spike));
        if self.spare.is_scarce() {
            // They may have become free since a request last looked.
            self.spare.count_down(&self.arena, 1, || self.used_bytes());
        }
        if !self.spare.is_scarce() {
            let block = self.arena.alloc_growing(column, bytes, spike)?;
            self.spare.note_grown(&self.arena, block, bytes, || self.used_bytes());
            return Some(block);
        }
        match self.arena.alloc_kept_in(column, bytes, spike) {
            Kept::Slot(block, _) => Some(block),
            Kept::Nothing | Kept::Unsure => None,
        }
    }

    /// Moves a group to its column, all of it or nobody: nobody if one is locked, or none any more, or has no slot there, or if they
    /// take more together than one that is moved. Who it was: of those that take too much the largest.
    fn relocate_together(&self, group: &Move) -> Result<(), u32> {
        let numbered = |&number: &u32| self.registry.numbered(number).ok_or(number);
        let nodes = group.concepts.iter().map(numbered).collect::<Result<Vec<_>, _>>()?;
        // Tried, not waited for: who has one may wait for another. From here on nothing changes about them.
        let locked = nodes.iter().map(|node| node.try_lock().ok_or(node.number));
        let states = locked.collect::<Result<SmallVec<[_; TOGETHER]>, _>>()?;
        let pinned = self.epoch.pin();
        let found = |(node, state): (&Arc<Node>, &MutexGuard<State>)| movable(node, state, &pinned).ok_or(node.number);
        let concepts = nodes.iter().zip(&states).map(found).collect::<Result<Vec<_>, _>>()?;
        let sizes = || nodes.iter().zip(&concepts).map(|(node, concept)| (concept.block_bytes(), node.number));
        if sizes().map(|(bytes, _)| bytes).sum::<usize>() > LARGEST_MOVED {
            return Err(sizes().max().map_or(0, |(_, number)| number));
        }
        let mut blocks = SmallVec::<[_; TOGETHER]>::new();
        for (node, concept) in nodes.iter().zip(&concepts) {
            let Some(block) = self.berth_of(concept, group.column) else {
                // SAFETY: V1: they are ours, and were never published.
                blocks.into_iter().for_each(|unused| unsafe { self.spare.give_back(&self.arena, unused) });
                return Err(node.number);
            };
            blocks.push(block);
        }
        for (((node, mut state), concept), block) in nodes.iter().zip(states).zip(&concepts).zip(blocks) {
            // SAFETY: V1: the block is ours, large enough, and nobody knows of it.
            if let Some(old) = unsafe { self.move_into(node, &mut state, concept, group.column, block) } {
                self.discard(old);
            }
        }
        Ok(())
    }

    /// Writes a concept into another block, of `column`. The slot that it had, which the caller discards.
    ///
    /// # Safety
    /// The block is the caller's, has [`Concept::block_bytes`], and nobody else knows of it (V1).
    unsafe fn move_into(
        &self,
        node: &Node,
        state: &mut MutexGuard<State>,
        concept: &Concept,
        column: u32,
        block: NonNull<u8>,
    ) -> Option<Slot> {
        let old = node.block().map(Slot::at)?;
        // SAFETY: the caller's promise.
        let slot = unsafe { Slot::write(block, concept, old.mark()) };
        node.set_block(state, Some(slot.block()));
        self.cortex.relocated(node.number, column);
        // What had a larger slot, because nothing else was left, has one of its size now, or lodges, which is not charged.
        let size = self.arena.good_size(concept.block_bytes()).map_or(state.bytes, |size| size as u64);
        self.pools[usize::from(state.pool)].refund(state.bytes.saturating_sub(size));
        state.bytes = state.bytes.min(size);
        self.relocations.fetch_add(1, Relaxed);
        Some(old)
    }

    /// Moves a concept to `column`, into `block` if that is given and fits, unless somebody else has its node locked. True if it has
    /// moved.
    fn relocate(&self, node: &Arc<Node>, column: u32, block: Option<NonNull<u8>>) -> bool {
        let moved = (|| {
            let mut state = node.try_lock()?;
            let pinned = self.epoch.pin();
            let concept = movable(node, &state, &pinned)?;
            let size = self.arena.good_size(concept.block_bytes())?;
            let fits = |block: &NonNull<u8>| {
                self.arena.berth(*block).is_some_and(|berth| (size..=most_lodged(size)).contains(&(berth.bytes as usize)))
            };
            let to = match block {
                Some(block) => Some(block).filter(fits),
                None => self.berth_of(&concept, column),
            }?;
            // SAFETY: V1: the block is ours, large enough, and nobody knows of it.
            let old = unsafe { self.move_into(node, &mut state, &concept, column, to) }?;
            if block.is_some() {
                // What came back while a group is laid out would serve the rest of it, out of order.
                self.put_aside(old);
            } else {
                self.discard(old);
            }
            Some(to)
        })();
        if let (None, Some(unused)) = (moved, block) {
            // SAFETY: V1: it is ours, and was never published.
            unsafe { self.spare.give_back(&self.arena, unused) };
        }
        moved.is_some()
    }
}

/// A concept as it is to be written elsewhere, if it is there and small enough; the caller has its node's lock.
fn movable<'g>(node: &Node, state: &State, pinned: &'g Guard) -> Option<Concept<'g>> {
    // One that is dead has none.
    let concept = Slot::at(node.block()?).read(pinned);
    let concept = Concept { strategy: state.strategy.unwrap_or(concept.strategy), ..concept };
    (concept.block_bytes() <= LARGEST_MOVED).then_some(concept)
}
