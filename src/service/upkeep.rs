//! Maintenance: bounded steps on the caller's thread, in order of worth.
//!
//! ```text
//! 1 place   a step of re-placement; the group that it names moves to its column, all of it or nobody
//! 2 sort    once an eighth of the concepts was freed or updated, or three quarters placed anew at a time: groups, a
//!           column's concepts of one size class, that lie out of order are laid out anew, in fresh spans: from
//!           neighbour to neighbour, and then those without any in spike order
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
//! each layout of a group leaves it in order and in as few spans as it needs. What does not fill a page of its own *lodges* with the next
//! larger group of the column, if that is small, in slots at most a quarter larger, and if that takes less than a page: so most
//! small groups of a column share the pages that they do not fill. (Blocks are in address order within each chunk; the next chunk
//! may lie at a lower address.) What was listed is laid out only until an eighth of the concepts was freed or
//! updated since: what changes faster is put off, and the next list begins with it.

use core::num::NonZero;
use core::ptr::NonNull;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_epoch::Guard;
use smallvec::SmallVec;

use super::lock::MutexGuard;
use super::node::{Node, State};
use super::registry::TOGETHER;
use super::result::MaintenanceReport;
use super::service::MemoryAllocationService;
use super::slot::{Concept, Slot};
use crate::arena::{BatchFlags, Berth, Kept, Request};
use crate::column::ColumnId;
use crate::guidance::{AllocationStrategyType, Move, Step};
use crate::maintain::Maintained;
use crate::region::PAGE;
use crate::size_class::SPAN;
use crate::spike::SpikeTime;
use crate::sync::Ordering::{Acquire, Relaxed};

#[cfg(test)]
mod tests;

/// Numbers that one step looks at.
const LOOKS: u32 = 64;
/// Bytes of the largest concept that is moved: to copy more takes longer than a budget may be exceeded, and what is larger than
/// many pages gains little by its neighbours.
const LARGEST_MOVED: usize = 1 << 20;
/// Concepts that one step lays out.
const LAID: usize = 64;
/// A group is laid out anew if more than one in this many neighbours in the order lie in the wrong order,
const WRONG: usize = 8;
/// or if less than this part of its spans, or of its pages, would do. After that all of them are needed.
const DENSE: (usize, usize) = (3, 4);
/// What stays where it is gives the pages between back in which no block lies, if it has at most so many spans: of more that are not
/// sparse most are full.
const LONELY: usize = 4;
/// Spans of a group with which others may lodge: it is laid out with them, however it lies, and a page is not worth more.
const HOSTS: usize = 2;
/// In one of this many calls, the arena comes first: it must not starve while there is always something to place.
const TIDIED: u32 = 2;
/// Groups are looked at once one in this many concepts was freed or updated, and a list of them is good for as long as no more were,
const CHURN: u64 = 8;
/// or this part of all was placed anew at a time: seldom while concepts come, since each layout leaves pages behind that
/// nothing fills up again.
const MOVED: (u64, u64) = (3, 4);
/// Collections after which something is given back if nobody is pinned: what is discarded waits for two epochs.
pub(super) const EPOCHS: u32 = 4;
/// The rank of concepts that have no neighbours in their columns: behind all others, in spike order.
const ALONE: u32 = u32::MAX;

/// A concept's place in the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    group: Group,
    rank: u32,
    spike: u32,
    number: u32,
    /// Bytes of a block of its own class: less than the group's where it lodges.
    own: u32,
}

impl Place {
    /// The first that a group may have.
    fn first_of(group: Group) -> Self {
        Self { group, rank: 0, spike: 0, number: 0, own: 0 }
    }

    /// What comes behind all of a group.
    fn end_of(group: Group) -> Self {
        Self::first_of(Group { bytes: group.bytes + 1, ..group })
    }

    fn lodges(&self) -> bool {
        self.own < self.group.bytes
    }
}

/// What is laid out together: a column's concepts of one size class, whose blocks share spans.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    column: u32,
    /// Bytes of a block: 16 to 4,096, but 0 of none.
    bytes: u32,
}

impl Group {
    /// Blocks of it that a span has room for.
    fn slots(self) -> usize {
        SPAN / self.bytes as usize
    }

    /// Of so many blocks one behind the other, those that lie on a page with room for more.
    fn beyond_full_pages(self, blocks: usize) -> usize {
        let (bytes, last) = (self.bytes as usize, blocks % self.slots());
        let full = ((last + 1) * bytes - 1) / PAGE;
        last - last.min(full * PAGE / bytes)
    }

    /// Whether so many of its concepts had better lodge with another.
    fn gains_by(self, lodgers: usize, host: Self) -> bool {
        host.column == self.column && (1..PAGE).contains(&(lodgers * host.bytes as usize))
    }
}

/// Bytes of the largest slot that a concept lodges in whose own class has so many. Its pool is charged for its own.
pub(super) const fn most_lodged(bytes: usize) -> usize {
    bytes + bytes / 4
}

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
    /// Whether slots were given back since the arena's maintenance began its round.
    untidied: bool,
    /// How often nothing was given back, one time after the other.
    held_up: u32,
    /// Concepts that were placed anew since there was nothing to place.
    moved: u64,
    /// Those that a plan moves next, each a step of its own, and where to: contents may be large.
    moving: VecDeque<(u32, u32)>,
}

/// Steps of sorting.
#[derive(Default)]
enum Sort {
    #[default]
    Idle,
    /// Concepts are listed.
    List(List),
    /// Groups are laid out, the first of what is listed next.
    Lay(Layout),
}

/// A list of all concepts, each column's from neighbour to neighbour: breadth first, so that a spreading activation finds
/// on few pages what it reaches.
#[derive(Default)]
struct List {
    places: BTreeSet<Place>,
    /// Neighbours of those that are listed.
    found: VecDeque<u32>,
    /// A bit for each number that is listed or found.
    seen: Vec<u64>,
    /// If no more are found, it goes on with this number.
    next: u32,
    /// Concepts that have a rank of their own so far.
    ranked: u32,
}

impl List {
    /// Whether a number is met for the first time.
    fn meets(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        first
    }
}

/// A list that is being carried out.
#[derive(Default)]
struct Layout {
    /// What is left of it, from the group on that was put off first last time.
    places: BTreeSet<Place>,
    /// What comes before that group, and is carried out then.
    before: BTreeSet<Place>,
    /// Where looking at the first group goes on: behind this one.
    from: Option<Place>,
    /// What was seen of it so far.
    seen: Tally,
    /// The group that was looked at, and whether it is laid out anew.
    judged: Option<(Group, bool)>,
    /// The group with which some of one lodge that is laid out anew: it is, too.
    host: Option<Group>,
}

impl Layout {
    fn new(mut before: BTreeSet<Place>, start: Option<Group>) -> Self {
        let places = before.split_off(&Place::first_of(start.unwrap_or_default()));
        Self { places, before, ..Self::default() }
    }

    /// The group whose turn it is.
    fn group(&mut self) -> Option<Group> {
        if self.places.is_empty() {
            self.places = core::mem::take(&mut self.before);
        }
        self.places.first().map(|place| place.group)
    }

    /// Those of a group of so many blocks that fill no page of their own, if they had better lodge with the next larger group of the
    /// column, and that one. They are the last in the order whose slots may be so large.
    fn lodgers(&self, group: Group, blocks: usize) -> Option<(Vec<Place>, Group)> {
        let host = self.places.range(Place::end_of(group)..).next()?.group;
        let beyond = group.beyond_full_pages(blocks);
        let hosts = self.places.range(Place::first_of(host)..Place::end_of(host));
        if !group.gains_by(beyond, host) || hosts.take(HOSTS * host.slots() + 1).count() > HOSTS * host.slots() {
            return None;
        }
        let last = self.places.range(Place::first_of(group)..Place::end_of(group)).rev().take(beyond + LAID);
        let may = |place: &&Place| host.bytes as usize <= most_lodged(place.own as usize);
        let lodgers: Vec<_> = last.filter(may).take(beyond).copied().collect();
        (lodgers.len() == beyond).then_some((lodgers, host))
    }

    /// These go there.
    fn lodge(&mut self, (lodgers, host): (Vec<Place>, Group)) {
        for place in lodgers {
            self.places.remove(&place);
            self.places.insert(Place { group: host, ..place });
        }
        self.host = Some(host);
    }
}

/// How a group's blocks lie.
#[derive(Default)]
struct Tally {
    blocks: usize,
    /// The address of the last one.
    last: Option<NonZero<usize>>,
    /// Neighbours in the order that lie in the wrong order.
    wrong: usize,
    /// The spans in which blocks lie, and the pages in which they begin.
    spans: HashSet<u32>,
    pages: HashSet<usize>,
}

impl Tally {
    /// The next block in the order.
    fn add(&mut self, block: NonNull<u8>, berth: Berth) {
        self.blocks += 1;
        self.wrong += usize::from(self.last.is_some_and(|last| last > block.addr()));
        self.last = Some(block.addr());
        self.spans.insert(berth.span);
        self.pages.insert(block.addr().get() / PAGE);
    }

    /// Spans that the blocks fill.
    fn spans_needed(&self, group: Group) -> usize {
        self.blocks.div_ceil(group.slots())
    }

    /// Whether the blocks lie in few pages of few spans: what was there before may have touched the others.
    fn is_lonely(&self) -> bool {
        let pages = self.spans.len() * (SPAN / PAGE);
        self.spans.len() <= LONELY && self.pages.len() * DENSE.1 < pages * DENSE.0
    }

    /// Whether the order is wrong too often.
    fn is_disordered(&self) -> bool {
        self.wrong * WRONG > self.blocks.saturating_sub(1)
    }

    /// Whether the blocks are too few for what they lie in, or will be once so many lodge elsewhere.
    fn is_sparse(&self, group: Group, lodgers: usize) -> bool {
        let few = |needed: usize, taken: usize| needed * DENSE.1 < taken * DENSE.0;
        let pages = ((self.blocks - lodgers) * group.bytes as usize).div_ceil(PAGE);
        few(self.spans_needed(group), self.spans.len()) || few(pages, self.pages.len())
    }
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
    /// region file it compacts the log of edges once half of that says nothing any more, in one piece whatever the budget is: about
    /// 0.1 us for each of its entries.
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
        // Nobody has the arena but us, and one thread at a time gets here: nobody else is at it.
        let left = budget.saturating_sub(start.elapsed());
        let (maintained, decommitted) = self.arena.maintain_and_count(left).unwrap_or((Maintained::All, 0));
        report.decommitted_bytes += decommitted;
        // What was given back after a round began may lie in columns that the round had passed.
        report.more = more || maintained == Maintained::More || core::mem::take(&mut upkeep.untidied);
        for pool in &self.pools {
            pool.shrink();
        }
        if let Some(durable) = &self.durable {
            // It needs no memory; it could only fail if a block of the log were none.
            let _ = durable.compact(&self.arena, self.cortex.edges());
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
            if let Some(node) = self.registry.numbered(number) {
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

    fn step_sort(&self, upkeep: &mut Upkeep, report: &mut MaintenanceReport) -> Went {
        match core::mem::take(&mut upkeep.sort) {
            Sort::Idle => {
                let (churn, live) = (self.churn.load(Relaxed), u64::from(self.cortex.live()));
                let moved = core::mem::take(&mut upkeep.moved);
                let changed = churn.saturating_sub(upkeep.listed_at) > live / CHURN || moved * MOVED.1 > live * MOVED.0;
                if !changed && upkeep.put_off.is_none() {
                    return Went::Done;
                }
                upkeep.listed_at = churn;
                upkeep.sort = Sort::List(List::default());
            }
            Sort::List(mut list) => {
                upkeep.sort = match self.list(&mut list) {
                    Went::More => Sort::List(list),
                    Went::Done => Sort::Lay(Layout::new(list.places, upkeep.put_off.take())),
                };
            }
            Sort::Lay(mut layout) => {
                let Some(group) = layout.group() else { return Went::Done };
                match layout.judged {
                    Some((judged, anew)) if judged == group => {
                        let goes_on = self.lay(&mut layout.places, group, anew, report);
                        layout.judged = Some((group, anew && goes_on));
                    }
                    _ => self.look(&mut layout, group, upkeep),
                }
                upkeep.sort = Sort::Lay(layout);
            }
        }
        Went::More
    }

    /// Lists some more concepts.
    fn list(&self, list: &mut List) -> Went {
        let end = self.registry.numbers();
        let pinned = self.epoch.pin();
        let mut near = Vec::new();
        let mut looks = 0;
        while looks < LOOKS as usize {
            looks += 1;
            let number = match list.found.pop_front() {
                Some(number) => number,
                None if list.next >= end => return Went::Done,
                None => {
                    list.next += 1;
                    if !list.meets(list.next - 1) {
                        continue;
                    }
                    list.next - 1
                }
            };
            let Some(node) = self.registry.numbered(number) else { continue };
            let Some(block) = node.block() else { continue };
            let column = self.cortex.near(number, &mut near).unwrap_or(0);
            let rank = if near.is_empty() { ALONE } else { list.ranked };
            list.ranked += u32::from(!near.is_empty());
            // Larger ones share no page with others: their order means nothing.
            if let Some(berth) = self.arena.berth(block) {
                let concept = Slot::at(block).read(&pinned);
                let spike = concept.strategy.placement().spike(concept.spike).as_nanos().unwrap_or(u32::MAX);
                let own = self.arena.good_size(concept.block_bytes()).map_or(berth.bytes, |own| own as u32);
                list.places.insert(Place { group: Group { column, bytes: berth.bytes }, rank, spike, number, own });
            }
            looks += near.len() / LOOKS as usize;
            for tie in &near {
                if list.meets(tie.node) {
                    list.found.push_back(tie.node);
                }
            }
        }
        Went::More
    }

    /// Looks at some more concepts of the first group; after the last it is known whether the group is laid out anew.
    fn look(&self, layout: &mut Layout, group: Group, upkeep: &mut Upkeep) {
        let pinned = self.epoch.pin();
        let Layout { places, from, seen, .. } = layout;
        let mut looks: u32 = 0;
        let after = from.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = places.range((after, Bound::Unbounded)).take_while(|place| place.group == group);
        for place in rest.take(LOOKS as usize) {
            looks += 1;
            *from = Some(*place);
            let there = self.registry.numbered(place.number).filter(|node| self.cortex.column(node.number) == Some(group.column));
            let block = there.and_then(|node| node.block());
            let found = block.and_then(|block| Some((block, self.arena.berth(block)?)));
            if let Some((block, berth)) = found.filter(|(_, berth)| berth.bytes == group.bytes || place.lodges()) {
                seen.add(block, berth);
            }
        }
        drop(pinned);
        if looks < LOOKS {
            let seen = core::mem::take(seen);
            // Where there may be no room for their host they stay.
            let lodgers = if self.spare.is_scarce() { None } else { layout.lodgers(group, seen.blocks) };
            let sparse = seen.is_sparse(group, lodgers.as_ref().map_or(0, |(lodgers, _)| lodgers.len()));
            let wanted = layout.host.take() == Some(group) || seen.is_disordered() || sparse;
            // What came since is not in the list, and would keep the spans that the group leaves.
            let stale = self.churn.load(Relaxed).saturating_sub(upkeep.listed_at) * CHURN > u64::from(self.cortex.live());
            if wanted && stale {
                upkeep.put_off.get_or_insert(group);
            }
            let anew = wanted && !stale && self.has_room_for(&seen, group);
            (layout.from, layout.judged) = (None, Some((group, anew)));
            if anew || seen.is_lonely() {
                // What the group before has left serves this one: a column takes few spans more than it gives back.
                (0..EPOCHS).for_each(|_| self.collect_once());
            }
            let column = ColumnId::new(group.column);
            if anew {
                if let Some(lodgers) = lodgers {
                    layout.lodge(lodgers);
                }
                if layout.group() == Some(group) {
                    self.arena.begin_order(column, group.bytes as usize);
                }
            } else if seen.is_lonely() {
                self.arena.decommit_between(column, seen.spans);
            }
        }
    }

    /// Whether there are fresh spans for a group beside those that it has, and some more: a group that is laid out in part is in
    /// no better order, and looks for memory everywhere.
    fn has_room_for(&self, seen: &Tally, group: Group) -> bool {
        !self.spare.is_scarce() || self.arena.free_spans() > 2 * seen.spans_needed(group) as u64
    }

    /// Lays the next concepts of a group out in their order, if it is laid out anew: those that are still in its column, and
    /// that nobody keeps where they are. Whether there was memory for all of them: else the rest stays where it is.
    fn lay(&self, places: &mut BTreeSet<Place>, group: Group, anew: bool, report: &mut MaintenanceReport) -> bool {
        let mut nodes: Vec<Arc<Node>> = Vec::with_capacity(LAID);
        let pinned = self.epoch.pin();
        let Group { column, bytes } = group;
        for _ in 0..LAID {
            if places.first().is_none_or(|next| next.group != group) {
                break;
            }
            if let Some(place) = places.pop_first().filter(|_| anew)
                && let Some(node) = self.registry.numbered(place.number)
                && let Some(block) = node.block()
                && self.cortex.column(node.number) == Some(column)
                && self.arena.berth(block).is_some_and(|berth| berth.bytes == bytes || place.lodges())
                && !self.pins.holds(block)
            {
                nodes.push(node);
            }
        }
        drop(pinned);
        let request = |rank| Request {
            size: bytes as usize,
            column: Some(ColumnId::new(column)),
            spike: SpikeTime::from_nanos(rank as u32),
            align: 0,
        };
        let requests: Vec<_> = (0..nodes.len()).map(request).collect();
        let mut blocks = vec![core::ptr::null_mut(); requests.len()];
        // Those that are not served keep their places.
        let _ = self.arena.alloc_batch(&requests, BatchFlags::ORDERED, &mut blocks);
        let served = !blocks.contains(&core::ptr::null_mut());
        for (node, block) in nodes.iter().zip(blocks) {
            if let Some(block) = NonNull::new(block) {
                report.relocated += u64::from(self.relocate(node, column, Some(block)));
            }
        }
        if anew && (!served || places.first().is_none_or(|next| next.group != group)) {
            self.arena.end_order(ColumnId::new(column), bytes as usize);
        }
        served
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
