//! What the models are made of: a span of two words in a column, other threads, a holder.

use std::sync::Arc;

use crate::column::remote::{
    Incoming, RemoteFree, collect, collect_and_give, hand_over, hand_slot_over, hand_slot_over_at_once, hold_instead, not_given,
};
use crate::column::steal::Unit;
use crate::map::{Granule, Owner, PageEntry, SpanId};
use crate::span::{Inbox, Pending};
use crate::sync::Ordering::{Relaxed, Release};
use crate::sync::{AtomicU32, AtomicU64};

/// Explores `model` with at most `preemptions` forced thread switches.
pub(super) fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// The span's number.
pub(super) const SPAN: SpanId = SpanId(1);

/// The block at bit `bit` of word `word` of the span.
pub(super) fn block(word: u64, bit: u64) -> Granule {
    Granule(SPAN.first().0 + word * 64 + bit)
}

/// Bytes from a column's block to the cell with inbox `cell`.
pub(super) fn offset(cell: usize) -> u32 {
    64 * (cell as u32 + 1)
}

/// A span of two words, whose units are words, and the cells it may belong to, one a column.
pub(super) struct Arena {
    pub(super) page: PageEntry,
    pub(super) busy: AtomicU32,
    pub(super) pending: Pending,
    /// The slots of the span: those that are handed out at first.
    slots: [u64; 2],
    pub(super) live: [AtomicU64; 2],
    pub(super) remote: [AtomicU64; 2],
    pub(super) hold: [AtomicU64; 2],
    pub(super) inbox: [Inbox; 2],
}

impl Arena {
    /// The span is column 0's, and the blocks of `live` are handed out.
    pub(super) fn new(live: [u64; 2]) -> Arc<Self> {
        Arc::new(Self {
            page: PageEntry::new(Owner::column(0), offset(0)),
            busy: AtomicU32::new(0),
            pending: Pending::new(),
            slots: live,
            live: live.map(AtomicU64::new),
            remote: [0, 0].map(AtomicU64::new),
            hold: [0, 0].map(AtomicU64::new),
            inbox: [Inbox::new(), Inbox::new()],
        })
    }

    fn remote_free(&self, granule: Granule, column: usize) -> RemoteFree<'_> {
        let word = granule.word() - SPAN.first().word();
        RemoteFree { page: &self.page, hold: &self.hold[column], live: &self.live[word], remote: &self.remote[word] }
    }

    /// Frees a block from a thread that does not hold the column.
    pub(super) fn free(&self, granule: Granule) -> bool {
        let Some(column) = self.page.owner().index() else { return false };
        let unit = granule.word() - SPAN.first().word();
        let freed = self.remote_free(granule, column as usize).free(granule, |_| ());
        if freed.is_some() && self.pending.announce(1 << unit) {
            self.send_on();
        }
        freed.is_some()
    }

    pub(super) fn incoming(&self) -> Incoming<'_> {
        Incoming { span: SPAN, page: &self.page, busy: &self.busy, pending: &self.pending }
    }

    fn units(&self) -> impl Iterator<Item = Unit<'_>> {
        (0..2).map(|unit| Unit { live: &self.live[unit], remote: &self.remote[unit], slots: self.slots[unit] })
    }

    /// A thief looks into the inbox of a column: `Core::rob` with one span. True if it took it away:
    /// it owns it, and whose it was is gone from the page entry.
    pub(super) fn steal(&self, column: usize) -> bool {
        if self.inbox[column].take() == SpanId::NONE {
            return false;
        }
        let incoming = self.incoming();
        if self.pending.unlink().is_none() {
            // Nobody else pushes it, and there is no other span.
            assert!(self.inbox[column].put_back(SPAN), "a span that is queued twice");
            return false;
        }
        let entry = self.page.read();
        if entry.owner().holder().is_some() && incoming.steal(entry, || self.units()) {
            return true;
        }
        self.send_on();
        false
    }

    /// As `Core::send_on`.
    fn send_on(&self) {
        let incoming = self.incoming();
        match self.page.owner().index() {
            Some(index) if incoming.is_head() => self.inbox[index as usize].push(SPAN, &self.pending),
            _ => {
                let units = self.pending.take();
                incoming.pass_on(units, |column, _| &self.inbox[column as usize]);
            }
        }
    }
}

/// The holder of a column: what it alone writes.
pub(super) struct Holder {
    pub(super) arena: Arc<Arena>,
    pub(super) column: usize,
    drain: SpanId,
    waiting: u64,
    /// What it collected so far of each unit.
    pub(super) freed: [u64; 2],
    /// The live word of the block that was held back when none was.
    sink: AtomicU64,
}

impl Holder {
    pub(super) fn new(arena: &Arc<Arena>, column: usize) -> Self {
        Self { arena: arena.clone(), column, drain: SpanId::NONE, waiting: 0, freed: [0; 2], sink: AtomicU64::new(0) }
    }

    /// Takes the next span out of the inbox. False if there is none, or none that is linked.
    pub(super) fn accept(&mut self) -> bool {
        let arena = &self.arena;
        if self.drain == SpanId::NONE {
            self.drain = arena.inbox[self.column].take();
        }
        if self.drain == SpanId::NONE {
            return false;
        }
        let incoming = arena.incoming();
        let Some(rest) = incoming.unlink() else {
            self.drain = arena.inbox[self.column].exchange(self.drain);
            return false;
        };
        self.drain = rest;
        let arrival = incoming.accept(incoming.is_of(self.column as u32, offset(self.column)));
        if arrival.ours {
            self.waiting |= arrival.units;
            self.unlist();
        } else {
            incoming.pass_on(arrival.units, |column, _| &arena.inbox[column as usize]);
        }
        true
    }

    /// The span is in no list if no unit is waiting.
    fn unlist(&self) {
        if self.waiting == 0 {
            self.arena.busy.store(0, Release);
        }
    }

    /// Takes back what others freed of the units that are waiting and were not announced again. No block comes back twice.
    pub(super) fn collect(&mut self) {
        self.waiting = self.arena.pending.not_again(self.waiting);
        self.unlist();
        for unit in 0..2 {
            if self.waiting >> unit & 1 != 0 {
                let collected = collect(&self.arena.live[unit], &self.arena.remote[unit], u64::MAX);
                assert_eq!(self.freed[unit] & collected.freed, 0, "a slot that is given twice");
                self.freed[unit] |= collected.freed;
                if !collected.more {
                    self.waiting &= !(1 << unit);
                    self.unlist();
                }
            }
        }
    }

    /// Whether units of the span are waiting.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting != 0
    }

    /// Hands a block out again that others freed of a unit that is waiting.
    pub(super) fn hand_over(&mut self) -> Option<Granule> {
        if self.waiting == 0 {
            return None;
        }
        let unit = u64::from(self.waiting.trailing_zeros());
        let found = hand_over(&self.arena.remote[unit as usize], u64::MAX);
        if !found.more {
            self.waiting &= !(1 << unit);
            self.unlist();
        }
        found.place.map(|place| block(unit, u64::from(place)))
    }

    /// The same of a unit that is one slot.
    pub(super) fn hand_slot_over(&mut self) -> Option<Granule> {
        if self.waiting == 0 {
            return None;
        }
        let unit = u64::from(self.waiting.trailing_zeros());
        self.waiting &= self.waiting - 1;
        let (live, remote) = (&self.arena.live[unit as usize], &self.arena.remote[unit as usize]);
        let found = hand_slot_over_at_once(live, remote, 0) || hand_slot_over(remote, 0);
        self.unlist();
        found.then(|| block(unit, 0))
    }

    /// Takes back what others freed of a unit that is waiting, and hands the first block out again.
    pub(super) fn collect_and_give(&mut self) -> Option<Granule> {
        self.waiting = self.arena.pending.not_again(self.waiting);
        self.unlist();
        if self.waiting == 0 {
            return None;
        }
        let unit = self.waiting.trailing_zeros() as usize;
        let found = collect_and_give(&self.arena.live[unit], &self.arena.remote[unit]);
        if !found.more {
            self.waiting &= !(1 << unit);
            self.unlist();
        }
        if found.freed == 0 {
            return None;
        }
        self.freed[unit] |= found.freed & (found.freed - 1);
        Some(block(unit as u64, u64::from(found.freed.trailing_zeros())))
    }

    /// Takes all that has arrived, when nobody else runs any more.
    pub(super) fn take_the_rest(&mut self) {
        while self.accept() {}
        self.collect();
        assert_eq!(self.waiting, 0, "a unit that is looked at for ever");
    }

    /// Frees a block as the holder does: the remote bit counts if the span was marked.
    pub(super) fn free(&mut self, granule: Granule) -> bool {
        let arena = &self.arena;
        let word = granule.word() - SPAN.first().word();
        let owner = arena.page.owner();
        if !owner.is_column(self.column as u32) {
            return false;
        }
        let live = &arena.live[word];
        let hold = &arena.hold[self.column];
        let held = Granule(hold.load(Relaxed));
        let live_of_held = if held == Granule(0) { &self.sink } else { &arena.live[held.word() - SPAN.first().word()] };
        hold_instead(hold, live_of_held, held, granule, || {
            let not_given = if owner.is_seen() { not_given(live, &arena.remote[word]) } else { !live.load(Relaxed) };
            not_given & granule.bit() == 0
        })
    }
}
