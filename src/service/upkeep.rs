//! Maintenance: bounded steps on the caller's thread, in order of worth.
//!
//! ```text
//! 1 place   a step of re-placement; the group that it names moves to its column
//! 2 sort    once an eighth of the concepts was freed or updated: columns whose concepts lie out of spike
//!           order are laid out anew, from untouched memory
//! 3 warm    what was read often since, or is no more, is served accordingly, and moves to its zone
//! 4 tidy    what others freed is taken back, empty spans and chunks are given back, and their memory to the system
//! ```
//!
//! In one of eight calls a quarter of the budget goes to 4 first. The clock is read after every step, a few
//! microseconds of work. All moves are the same: a copy beside the
//! old slot, one swap under the node's lock, and the old one is given back when nobody is pinned (V2).

use core::ptr::NonNull;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::node::Node;
use super::result::MaintenanceReport;
use super::service::MemoryAllocationService;
use super::slot::{Concept, Slot};
use crate::arena::{BatchFlags, Request};
use crate::column::ColumnId;
use crate::guidance::{AllocationStrategyType, Features, Step, Stimulus};
use crate::maintain::Maintained;
use crate::spike::SpikeTime;
use crate::sync::Ordering::Relaxed;

/// Numbers that one step looks at.
const LOOKS: u32 = 64;
/// Concepts that one step lays out.
const LAID: usize = 64;
/// A column is laid out anew if more than one in this many neighbours in spike order lie in the wrong order.
const WRONG: usize = 8;
/// In one of this many calls, the arena comes first: it must not starve while there is always something to place.
const TIDIED: u32 = 8;
/// Columns are looked at once one in this many concepts was freed or updated.
const CHURN: u64 = 8;

/// A concept's place in the order: column, pool, spike, number.
type Place = (u32, usize, u32, u32);

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
    /// Churn that the last sort has seen.
    sorted_at: u64,
}

/// Steps of sorting.
#[derive(Default)]
enum Sort {
    #[default]
    Idle,
    /// Concepts are listed, from this number on.
    List(u32, BTreeSet<Place>),
    /// Columns are laid out, the first of what is listed next.
    Lay(BTreeSet<Place>),
}

/// Whether a phase has more to do.
#[derive(PartialEq, Eq)]
enum Went {
    More,
    Done,
}

impl MemoryAllocationService {
    /// Does about `budget` of background work on the caller's thread, and says whether more is left; other
    /// threads go on meanwhile. If another thread is at it, nothing is done. Calls the system.
    pub fn maintain(&self, budget: Duration) -> MaintenanceReport {
        let start = Instant::now();
        let mut report = MaintenanceReport::default();
        let Some(mut upkeep) = self.upkeep.try_lock() else {
            report.more = true;
            return report;
        };
        upkeep.calls = upkeep.calls.wrapping_add(1);
        if upkeep.calls.is_multiple_of(TIDIED) {
            self.tidy(budget / 4, &mut report);
        }
        let phases = [Self::step_place, Self::step_sort, Self::step_warm];
        for phase in phases {
            while phase(self, &mut upkeep, &mut report) == Went::More {
                if start.elapsed() >= budget {
                    report.more = true;
                    return report;
                }
            }
        }
        self.tidy(budget.saturating_sub(start.elapsed()), &mut report);
        report
    }

    fn tidy(&self, budget: Duration, report: &mut MaintenanceReport) {
        self.epoch.pin().flush();
        // Nobody has the arena but us, and one thread at a time gets here: nobody else is at it.
        let (maintained, decommitted) = self.arena.maintain_and_count(budget).unwrap_or((Maintained::All, 0));
        report.decommitted_bytes += decommitted;
        report.more = maintained == Maintained::More;
        for pool in &self.pools {
            pool.shrink();
        }
    }

    fn step_place(&self, _upkeep: &mut Upkeep, report: &mut MaintenanceReport) -> Went {
        if !self.guidance {
            return Went::Done;
        }
        match self.cortex.step() {
            Step::Idle => return Went::Done,
            Step::Worked => {}
            Step::Free(numbers) => numbers.into_iter().for_each(|number| self.registry.bury(number)),
            Step::Move(group) => {
                for number in group.concepts {
                    if let Some(node) = self.registry.numbered(number) {
                        report.relocated += u64::from(self.relocate(&node, group.column, None));
                    }
                }
            }
        }
        Went::More
    }

    fn step_sort(&self, upkeep: &mut Upkeep, report: &mut MaintenanceReport) -> Went {
        match core::mem::take(&mut upkeep.sort) {
            Sort::Idle => {
                let churn = self.churn.load(Relaxed);
                if churn.saturating_sub(upkeep.sorted_at) <= u64::from(self.cortex.live()) / CHURN {
                    return Went::Done;
                }
                upkeep.sorted_at = churn;
                upkeep.sort = Sort::List(0, BTreeSet::new());
            }
            Sort::List(from, mut places) => {
                let end = self.registry.numbers();
                let pinned = self.epoch.pin();
                for number in from..end.min(from + LOOKS) {
                    if let Some(node) = self.registry.numbered(number)
                        && let Some(block) = node.block()
                    {
                        let concept = Slot::at(block).read(&pinned);
                        let column = self.cortex.column(number).unwrap_or(0);
                        let pool = self.find_pool(concept.concept_type).unwrap_or(0);
                        let spike = concept.strategy.placement().spike(concept.spike);
                        places.insert((column, pool, spike.as_nanos().unwrap_or(u32::MAX), number));
                    }
                }
                upkeep.sort = if from + LOOKS < end { Sort::List(from + LOOKS, places) } else { Sort::Lay(places) };
            }
            Sort::Lay(mut places) => {
                let Some(&first) = places.first() else { return Went::Done };
                self.lay(&mut places, first, report);
                upkeep.sort = Sort::Lay(places);
            }
        }
        Went::More
    }

    /// Lays the next concepts of one column and pool out in spike order, unless they lie so.
    fn lay(&self, places: &mut BTreeSet<Place>, first: Place, report: &mut MaintenanceReport) {
        let mut nodes: Vec<(Arc<Node>, NonNull<u8>, usize)> = Vec::with_capacity(LAID);
        let pinned = self.epoch.pin();
        while nodes.len() < LAID
            && let Some(&(column, pool, ..)) = places.first()
            && (column, pool) == (first.0, first.1)
            && let Some((_, _, _, number)) = places.pop_first()
        {
            if let Some(node) = self.registry.numbered(number)
                && let Some(block) = node.block()
            {
                let bytes = Slot::at(block).read(&pinned).block_bytes();
                nodes.push((node, block, bytes));
            }
        }
        drop(pinned);
        let class = |bytes: usize| self.arena.good_size(bytes);
        // Blocks of one class lie in rows of their own: only among those can an order be right.
        let mut last = BTreeMap::new();
        let wrong =
            nodes.iter().filter(|(_, block, bytes)| last.insert(class(*bytes), block.addr()).is_some_and(|before| before > block.addr()));
        if wrong.count() * WRONG <= nodes.len() {
            return;
        }
        let requests: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(rank, (_, _, bytes))| Request {
                size: *bytes,
                column: Some(ColumnId::new(first.0)),
                spike: SpikeTime::from_nanos(rank as u32),
                align: 0,
            })
            .collect();
        let mut blocks = vec![core::ptr::null_mut(); requests.len()];
        // Those that are not served keep their places.
        let _ = self.arena.alloc_batch(&requests, BatchFlags::ORDERED, &mut blocks);
        for ((node, ..), block) in nodes.iter().zip(blocks) {
            if let Some(block) = NonNull::new(block) {
                report.relocated += u64::from(self.relocate(node, first.0, Some(block)));
            }
        }
    }

    fn step_warm(&self, upkeep: &mut Upkeep, report: &mut MaintenanceReport) -> Went {
        let Some(from) = upkeep.warm else {
            let begins = self.was_read.swap(0, Relaxed) != 0 || upkeep.hot;
            (upkeep.warm, upkeep.hot) = (begins.then_some(0), false);
            return if begins { Went::More } else { Went::Done };
        };
        let end = self.registry.numbers();
        for number in from..end.min(from + LOOKS) {
            if let Some(node) = self.registry.numbered(number) {
                report.relocated += u64::from(self.warm(&node, &mut upkeep.hot));
            }
        }
        upkeep.warm = (from + LOOKS < end).then_some(from + LOOKS);
        if upkeep.warm.is_some() { Went::More } else { Went::Done }
    }

    /// Reconsiders how a concept is served that was read, or was read often. True if it has moved.
    fn warm(&self, node: &Arc<Node>, hot: &mut bool) -> bool {
        let changed = (|| {
            let reads = node.reads.load(Relaxed);
            let mut state = node.lock()?;
            let before = state.strategy?;
            if reads == 0 && before != AllocationStrategyType::HighPerformance {
                return None;
            }
            let pinned = self.epoch.pin();
            let concept = Slot::at(node.block()?).read(&pinned);
            let features = Features::of(Stimulus::Content(concept.content)).ok()?;
            let strategy = self.reconsider(node, &mut state, &concept, &features).strategy_type;
            state.strategy = Some(strategy);
            *hot |= strategy == AllocationStrategyType::HighPerformance;
            (strategy != before).then(|| self.cortex.column(node.number))?
        })();
        changed.is_some_and(|column| self.relocate(node, column, None))
    }

    /// Moves a concept to `column`, into `block` if that is given and fits. True if it has moved.
    fn relocate(&self, node: &Arc<Node>, column: u32, block: Option<NonNull<u8>>) -> bool {
        let moved = (|| {
            let state = node.lock()?;
            let old = Slot::at(node.block()?);
            let pinned = self.epoch.pin();
            let concept = old.read(&pinned);
            let concept = Concept { strategy: state.strategy.unwrap_or(concept.strategy), ..concept };
            let bytes = concept.block_bytes();
            let spike = concept.strategy.placement().spike(concept.spike);
            let fits = |block: &NonNull<u8>| self.arena.usable_size(block.as_ptr()) == self.arena.good_size(bytes);
            let to = block.filter(fits).or_else(|| if block.is_none() { self.block(column, bytes, spike) } else { None })?;
            // SAFETY: V1: the block is ours, of that size, and nobody knows of it.
            let slot = unsafe { Slot::write(to, &concept) };
            node.set_block(&state, Some(slot.block()));
            self.cortex.relocated(node.number, column);
            self.discard(old);
            Some(to)
        })();
        match (moved, block) {
            (None, Some(unused)) => {
                // SAFETY: V1: it is ours, and was never published.
                let freed = unsafe { self.arena.free(unused) };
                debug_assert!(freed.is_ok(), "{freed:?}");
            }
            (Some(_), _) => {
                self.relocations.fetch_add(1, Relaxed);
            }
            (None, None) => {}
        }
        moved.is_some()
    }
}
