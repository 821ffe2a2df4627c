//! Sorting and compaction: groups that lie out of order, or sparsely, are laid out anew.
//!
//! ```text
//! idle --> list: all concepts, each column's   --> look: the next group; is it out of --> lay: 64 at a time, in fresh
//!  ^       from neighbour to neighbour, then       order, or sparse? do some lodge?       spans, old blocks put aside
//!  |       who has none, in spike order            '------------- group after group ------------------'
//!  '------------------------------------------------------------------------------------ the list is empty
//! ```
//!
//! A *group* is a column's concepts of one size class, whose blocks share spans. What does not fill a page of its own *lodges* with the
//! next larger group of the column, if that is small, in slots at most a quarter larger, and if that takes less than a page: so most
//! small groups of a column share the pages that they do not fill. (Blocks are in address order within each chunk; the next chunk
//! may lie at a lower address.) What was listed is laid out only until an eighth of the concepts was freed or
//! updated since: what changes faster is put off, and the next list begins with it.
//!
//! It comes to an end: each layout of a group leaves it in order and in as few spans as it needs.

use core::num::NonZero;
use core::ptr::NonNull;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::{LOOKS, Upkeep, Went};
use crate::arena::{BatchFlags, Berth, Request};
use crate::column::ColumnId;
use crate::region::PAGE;
use crate::service::discards::EPOCHS;
use crate::service::node::Node;
use crate::service::result::MaintenanceReport;
use crate::service::service::MemoryAllocationService;
use crate::service::slot::Slot;
use crate::size_class::SPAN;
use crate::spike::SpikeTime;
use crate::sync::Ordering::Relaxed;

#[cfg(test)]
mod tests;

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
/// Groups are looked at once one in this many concepts was freed or updated, and a list of them is good for as long as no more were,
const CHURN: u64 = 8;
/// or this part of all was placed anew at a time: seldom while concepts come, since each layout leaves pages behind that
/// nothing fills up again.
const MOVED: (u64, u64) = (3, 4);
/// The rank of concepts that have no neighbours in their columns: behind all others, in spike order.
const ALONE: u32 = u32::MAX;

/// A concept of the list, by its place in the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    group: Group,
    rank: u32,
    spike: u32,
    number: u32,
    /// Bytes of a block of its own class: less than the group's where it lodges.
    own: u32,
}

impl Listed {
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
pub(super) struct Group {
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
pub(in crate::service) const fn most_lodged(bytes: usize) -> usize {
    bytes + bytes / 4
}

/// Steps of sorting.
#[derive(Default)]
pub(super) enum Sort {
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
pub(super) struct List {
    places: BTreeSet<Listed>,
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
pub(super) struct Layout {
    /// What is left of it, from the group on that was put off first last time.
    places: BTreeSet<Listed>,
    /// What comes before that group, and is carried out then.
    before: BTreeSet<Listed>,
    /// Where looking at the first group goes on: behind this one.
    from: Option<Listed>,
    /// What was seen of it so far.
    seen: Tally,
    /// The group that was looked at, and whether it is laid out anew.
    judged: Option<(Group, bool)>,
    /// The group with which some of one lodge that is laid out anew: it is, too.
    host: Option<Group>,
}

impl Layout {
    fn new(mut before: BTreeSet<Listed>, start: Option<Group>) -> Self {
        let places = before.split_off(&Listed::first_of(start.unwrap_or_default()));
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
    fn lodgers(&self, group: Group, blocks: usize) -> Option<(Vec<Listed>, Group)> {
        let host = self.places.range(Listed::end_of(group)..).next()?.group;
        let beyond = group.beyond_full_pages(blocks);
        let hosts = self.places.range(Listed::first_of(host)..Listed::end_of(host));
        if !group.gains_by(beyond, host) || hosts.take(HOSTS * host.slots() + 1).count() > HOSTS * host.slots() {
            return None;
        }
        let last = self.places.range(Listed::first_of(group)..Listed::end_of(group)).rev().take(beyond + LAID);
        let may = |place: &&Listed| host.bytes as usize <= most_lodged(place.own as usize);
        let lodgers: Vec<_> = last.filter(may).take(beyond).copied().collect();
        (lodgers.len() == beyond).then_some((lodgers, host))
    }

    /// These go there.
    fn lodge(&mut self, (lodgers, host): (Vec<Listed>, Group)) {
        for place in lodgers {
            self.places.remove(&place);
            self.places.insert(Listed { group: host, ..place });
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

impl MemoryAllocationService {
    pub(super) fn step_sort(&self, upkeep: &mut Upkeep, report: &mut MaintenanceReport) -> Went {
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
                list.places.insert(Listed { group: Group { column, bytes: berth.bytes }, rank, spike, number, own });
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
    fn lay(&self, places: &mut BTreeSet<Listed>, group: Group, anew: bool, report: &mut MaintenanceReport) -> bool {
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
}
