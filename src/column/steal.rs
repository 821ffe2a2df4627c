//! Taking empty spans away from a column that somebody else holds, before a request is refused.
//!
//! A holder that rests takes nothing back. But a span of which every slot was handed out and then
//! freed by others is empty, and its holder *H* can come upon it in one way only: through an inbox. A
//! *thief* is faster: it empties the inbox by the same exchange, and takes away what is empty.
//!
//! ```text
//! thief                                              who else might have the span, and why not
//! 1 take the inbox: one exchange                     H, through the inbox: one exchange, one taker
//! 2 unlink a span; it stays "queued"                 nobody pushes it, so nobody can take it out
//! 3 claim it in the page entry: compare-and-swap     another thief: needs 2; H's reset: see 5
//! 4 not busy? every slot handed out and marked?      H, who keeps it in a list, or slots of it
//! 5 owner, claimed --> nobody: compare-and-swap      H's reset, or a new owner, has ended the claim
//! 6 clear the maps, then "queued"; give it back      a late announcement: finds nothing
//!
//! not so? give the claim up, push the span again, still "queued", with its units as they are
//! not linked yet? put the rest back into the inbox, or else park it where every flush looks
//! ```
//!
//! **Why nobody has it.** Let the claim hold from 3 to 5: then the span has had one owner all the time
//! (a new owner is a store to the page entry), and no reset has begun. The holder sets "busy" *before* it
//! takes a span's pending units, and clears it when the span leaves its list. Whoever announces
//! after that and pushes the span publishes the "busy" of before, so that the thief of (2) sees this one
//! or a later one. It sees 0: then the span was in no list after it was last accepted, everything that
//! was announced until then was collected or has been announced again, and nothing more is accepted before (6), because the
//! thief keeps the span "queued". So the holder takes no marked slot back any more, and marks that the thief sees
//! one after the other stand there together in the end (S7). Then no slot is left for a stack, a word, the
//! summary or the held free, and the span in no list: what the holder last did to it comes before it
//! handed the last slot out, and that before its free, which the thief has seen.
//!
//! **Why no slot is lost.** A thief takes the pending units only of a span that it gives back whole: what was
//! announced of another stays with it, and the span goes on its way. A span that is on a wrong way, because its
//! owner has changed meanwhile, is passed on by whoever finds it.
//!
//! **Why none is given twice.** Of a thief and a reset, one gets the span: each changes the owner by
//! a compare-and-swap, and only a thief that has the span sets the claim, so that a claim that stands in (5)
//! is the one of (3). What the holder still knows of a span that it lost is the place of the last
//! unit that its cell checked out, and that it makes sure of by a read-modify-write
//! ([`PageEntry::is_still`](crate::map::PageEntry::is_still)).
//!
//! **Late announcements.** A thief sees marks that are not announced yet. Who announces one after (6) sees that the
//! span is not the column's any more, and pushes it onto the inbox of its next owner, if it has one, or nowhere.
//! The span may be inside a run by then, or in the inbox of a column that it left (as with blocks that were collected
//! with others of their unit: see `remote`): who finds it there drops it, or passes it on, and a thief finds
//! those too.
//!
//! What is not taken away: spans with a slot that is not handed out, those in the holder's list, and what it
//! keeps of a chain that it has begun to walk (`Cell::drain`). While a thief has a chain, its holder does not see
//! it, and grows or is refused as if it came a moment later.

#[cfg(not(loom))]
use super::core::Core;
use super::remote::{Incoming, clear};
#[cfg(not(loom))]
use super::rows::CellId;
use crate::map::Entry;
#[cfg(not(loom))]
use crate::map::{Granule, PageEntry, SpanId};
#[cfg(not(loom))]
use crate::size_class::{CHUNK_SPANS, pattern};
#[cfg(not(loom))]
use crate::span::{Inbox, Next, Parked, SpanMeta};
use crate::sync::{AtomicU64, Ordering};

/// A unit of a span: its words, and the places of its slots in them.
pub(crate) struct Unit<'a> {
    pub(crate) live: &'a AtomicU64,
    pub(crate) remote: &'a AtomicU64,
    pub(crate) slots: u64,
}

#[cfg(not(loom))]
impl<'a> Incoming<'a> {
    /// The span with this page entry and metadata.
    #[inline(always)]
    pub(crate) fn of(span: SpanId, page: &'a PageEntry, meta: &'a SpanMeta) -> Self {
        Self { span, page, busy: &meta.busy, pending: &meta.pending }
    }
}

impl Incoming<'_> {
    /// Whether it may be taken away as long as nobody else can have it: a look, exact with a claim.
    pub(crate) fn is_empty<'a>(&self, mut units: impl Iterator<Item = Unit<'a>>) -> bool {
        // Acquire, both: what the holder took back comes before "not busy", and what it did before it
        // handed a slot out before that slot's free.
        self.is_head()
            && self.busy.load(Ordering::Acquire) == 0
            && units.all(|unit| {
                unit.remote.load(Ordering::Acquire) & unit.slots == unit.slots
                    && unit.live.load(Ordering::Relaxed) & unit.slots == unit.slots
            })
    }

    /// Takes the span away, whose page entry said `entry`, if it is empty (steps 3 to 6). The caller took it out of an
    /// inbox; if this succeeds it owns it, and no block is in it.
    pub(crate) fn steal<'a, U: Iterator<Item = Unit<'a>>>(&self, entry: Entry, units: impl Fn() -> U) -> bool {
        if !self.page.claim(entry) {
            return false;
        }
        if !self.is_empty(units()) || !self.page.take_claimed(entry) {
            self.page.unclaim();
            return false;
        }
        for unit in units() {
            clear(unit.live, unit.remote);
        }
        // Last: what is announced from here on is not dropped with what was announced before.
        self.pending.take();
        true
    }
}

#[cfg(not(loom))]
impl Core {
    /// Takes away from column `index`, which somebody else holds, the spans that others have freed
    /// whole. Grows with the column's cells and with what is in their inboxes. Lock-free.
    pub(crate) fn steal_from(&self, index: u32) {
        let block = self.block(index);
        for id in block.holder.cells_near_used(self.rows()) {
            // Not by the handle: nothing says that its holder is done with setting it up.
            let inbox = &self.columns.cell_of(index, id).open().inbox;
            if self.is_worth_it(inbox, index, id) {
                self.rob(inbox.take());
            }
        }
    }

    /// Looks after the chains that could not be walked to their end.
    pub(crate) fn unpark(&self) {
        let mut rest = self.counters().parked.take();
        while rest != SpanId::NONE {
            let next = Parked::after(&self.span(rest).pending);
            self.rob(rest);
            rest = next;
        }
    }

    /// Whether there is a span in the cell's inbox that may be taken away, or is on a wrong way. A look:
    /// spans that would only come back are left to their holder.
    fn is_worth_it(&self, inbox: &Inbox, index: u32, id: CellId) -> bool {
        let mut span = inbox.first();
        // Others move the spans meanwhile, so that the way may lead in a circle.
        for _ in 0..self.spans.len() {
            if span == SpanId::NONE {
                return false;
            }
            let incoming = self.incoming(span);
            if !incoming.is_of(index, id.offset()) || incoming.is_empty(self.units(span, incoming.page.read())) {
                return true;
            }
            let Next::Span(next) = incoming.pending.next() else { return false };
            span = next;
        }
        false
    }

    /// Walks a chain: takes away what is empty, and sends the others on.
    fn rob(&self, mut chain: SpanId) {
        while chain != SpanId::NONE {
            let incoming = self.incoming(chain);
            let Some(rest) = incoming.unlink() else { return self.leave(&incoming) };
            let entry = incoming.page.read();
            if let Some(index) = entry.owner().holder()
                && incoming.steal(entry, || self.units(chain, entry))
            {
                let class = CellId::of(entry).class_of();
                // Its slots were all away (S7), and stay so in its holder's eyes until that hears of this.
                self.block(index).open.bytes_stolen.fetch_add(u64::from(class.slots) * u64::from(class.bytes), Ordering::Relaxed);
                self.return_spans(index, chain, u32::from(class.spans));
            } else {
                self.send_on(&incoming);
            }
            chain = rest;
        }
    }

    /// Leaves a chain whose first span is not linked yet in the inbox of that span, or aside.
    fn leave(&self, rest: &Incoming) {
        if self.inbox_of(rest).is_none_or(|inbox| !inbox.put_back(rest.span)) {
            self.counters().parked.park(rest.span, rest.pending);
        }
    }

    /// Pushes a span whose flag "queued" the caller has set: wait-free.
    #[cold]
    #[inline(never)]
    pub(crate) fn announce(&self, span: SpanId) {
        self.send_on(&self.incoming(span));
    }

    /// Pushes a span that is "queued", and in the caller's hands alone, onto the inbox of its cell, with
    /// its pending units; one that has no holder to go to is dropped.
    fn send_on(&self, incoming: &Incoming) {
        let (entry, span) = (incoming.page.read(), incoming.span);
        match entry.owner().holder() {
            Some(index) if entry.owner().head(span) == span => self.inbox(index, entry.cell()).push(span, incoming.pending),
            _ => {
                let units = incoming.pending.take();
                incoming.pass_on(units, |index, cell| self.inbox(index, cell));
            }
        }
    }

    fn inbox_of(&self, incoming: &Incoming) -> Option<&Inbox> {
        let entry = incoming.page.read();
        Some(self.inbox(entry.owner().holder()?, entry.cell()))
    }

    /// A span that came out of an inbox.
    pub(crate) fn incoming(&self, span: SpanId) -> Incoming<'_> {
        Incoming::of(span, self.page(span), self.span(span))
    }

    /// The units of a span or run whose page entry says, or said, `entry`.
    fn units(&self, head: SpanId, entry: Entry) -> impl Iterator<Item = Unit<'_>> {
        let class = CellId::of(entry).class_of();
        // One that does not fit is on its way to another owner: its slots stay inside the chunk all the same.
        let fits = head.place() + u32::from(class.spans) <= CHUNK_SPANS as u32;
        let first = head.first().0;
        let mut units = if fits { class.units } else { 1 };
        core::iter::from_fn(move || {
            let unit = units.trailing_zeros();
            units = (units != 0).then(|| units & (units - 1))?;
            let granule = Granule(first + u64::from(unit) * if class.by_word { 64 } else { u64::from(class.granules) });
            let slots = if class.by_word { pattern(usize::from(class.index), unit) } else { granule.bit() };
            Some(Unit { live: self.live_word(granule), remote: self.remote_word(granule), slots })
        })
    }
}
