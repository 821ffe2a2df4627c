//! Publication: a block that is live if and only if a word in the arena names it, also after a crash.
//!
//! A program that dies between an allocation and the store of the block's address has lost the block. Here both
//! are one step to who looks after a crash: the block's offset is stored at a *place*, a word in user memory or a root
//! of the header, and what is published is taken back the same way.
//!
//! ```text
//!                publish                                  unpublish
//!  1  remote bit set: the slot is ours, of all who would    intent: this block, that place
//!     publish it; not live yet
//!  2  intents about its former blocks say nothing more      place: named the block, names nothing (0): we are the one who
//!                                                             frees it
//!  3  intent: this block, that place                        live bit clear: anybody may publish it
//!  4  live bit set                                          intent gone
//!  5  remote bit clear
//!  6  place: names the block
//!  7  intent gone
//! ```
//!
//! Published blocks have spans of their own: shared ones, of cells that do not exist ([`CellId::published`]). There a slot is
//! claimed by its remote bit, so that nobody else can have it while it is free (H3). Once the place names it, it is a block as any
//! other: whoever sees the name may free or unpublish it, also if who publishes has not come to (7). A plain
//! [`free`](crate::Arena::free) clears the live bit, and leaves the place. Large blocks are claimed as spans, and need no remote bit;
//! their span says that they were published.
//!
//! Recovery (Y5) takes a published block for free if an intent is about it and no intent's place names it: that is so between (4) and
//! (6), and between (2) and (3) of an unpublication. All other live ones stay. So no intent may be about a block that is none of its
//! own: who died, or rests, after its block was taken back may have left one, and whoever gives the slot again, in whatever way,
//! first makes those say nothing (2). An intent is noted before its place names the block, or while it does, so that all of them are
//! seen by who finds the slot free; who unpublishes looks at the place once more for that, with the intent proposed.
//!
//! Offset 0 names nothing: the first 16 bytes of user memory are never published.

use core::ptr::NonNull;

use super::core::{Core, Misuse, span_bytes};
use super::rows::CellId;
use super::unusual::Route;
use crate::error::{Error, Result};
use crate::map::{Entry, Granule, Owner, SpanId};
use crate::size_class::{CHUNK, CHUNK_SPANS, Class, GRANULE, SPAN_GRANULES, SPAN_WORDS, pattern};
use crate::span::{Claim, Intent, PublishedSlot, SharedKey};
use crate::sync::{AtomicU64, Ordering, Ordering::Relaxed};

/// Publications that may be under way at a time.
pub(crate) const INTENTS: usize = 256;
// SAFETY: atomics; zero: nobody's.
unsafe impl crate::region::Plain for Intent {}

/// A word that names a block by its offset; 0 names none.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    word: &'a AtomicU64,
    /// Bytes from the start of user memory; or, above the largest capacity, a root.
    code: u64,
}

/// No place's code.
const NOWHERE: u64 = u64::MAX;
/// Codes of roots begin here: no offset is as large.
const ROOTS_FROM: u64 = 1 << 48;

impl Core {
    /// The word at `p`, if it is an aligned one in user memory, or a root.
    pub(crate) fn place_at(&self, p: *mut u64) -> Result<Place<'_>> {
        let offset = self.offset(p.cast()).filter(|_| p.is_aligned()).ok_or(Error::Place(p.addr()))?;
        // SAFETY: aligned, and inside user memory (R2), which is mapped as long as the core lives (R1). That it is not
        // used in other ways meanwhile is the caller's promise.
        Ok(Place { word: unsafe { AtomicU64::from_ptr(p) }, code: offset })
    }

    /// The place of a root.
    pub(crate) fn root_place(&self, slot: usize) -> Result<Place<'_>> {
        let word = self.header.root(slot).ok_or(Error::Root(slot))?;
        Ok(Place { word, code: ROOTS_FROM + slot as u64 })
    }

    /// The place of a code, from an intent that may be damaged.
    fn place_of(&self, code: u64) -> Option<Place<'_>> {
        if code >= ROOTS_FROM {
            return self.root_place(usize::try_from(code - ROOTS_FROM).ok()?).ok();
        }
        self.place_at(self.data().wrapping_add(usize::try_from(code).ok()?).cast()).ok()
    }

    /// Where user memory starts.
    pub(crate) fn data(&self) -> *mut u8 {
        self.region.origin().wrapping_add(CHUNK)
    }

    /// Bytes from the start of user memory.
    pub(crate) fn offset(&self, p: *const u8) -> Option<u64> {
        let offset = p.addr().wrapping_sub(self.data().addr());
        (offset < self.region.capacity()).then_some(offset as u64)
    }

    /// The name of a block.
    fn name(granule: Granule) -> u64 {
        granule.0 * GRANULE as u64 - CHUNK as u64
    }

    /// Whether a granule's name is that of nothing.
    fn has_no_name(granule: Granule) -> bool {
        Self::name(granule) == 0
    }

    /// Spans of which a slot can be published, for which column `index` has been charged: if the only slot of those that come
    /// first has no name, others, and those back.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_to_publish(&self, index: u32, class: &Class) -> Option<SpanId> {
        let spans = u32::from(class.spans);
        let head = self.take_open(index, spans, 1)?;
        if class.slots > 1 || !Self::has_no_name(head.first()) {
            return Some(head);
        }
        let other = self.take_open(index, spans, 1);
        // The charge is for the others.
        self.block(index).open.add_found(spans);
        self.return_open(index, head, spans);
        other
    }

    /// Claims the slot of a fresh span, of [`Self::take_to_publish`], that is published first.
    #[cold]
    #[inline(never)]
    pub(crate) fn first_to_publish(&self, head: SpanId, class: &Class) -> Granule {
        let first = head.first();
        let granule = if Self::has_no_name(first) { Granule(first.0 + u64::from(class.granules)) } else { first };
        self.remote_word(granule).fetch_or(granule.bit(), Relaxed);
        granule
    }

    /// A slot of this span, which is a shared one of the column and published class, if there is room: by its remote bit, not
    /// live yet.
    #[cold]
    #[inline(never)]
    pub(crate) fn claim_to_publish(&self, index: u32, id: CellId, head: SpanId) -> Option<Granule> {
        let class = id.class_of();
        let slots = u32::from(class.slots) - u32::from(Self::has_no_name(head.first()));
        let mut retries = 0;
        let reserved = self.span(head).shared.reserve(SharedKey { column: index, cell: id.0 }, slots, &mut retries);
        // As for other shared spans: a slot that is free and that somebody else has claimed is counted by its reservation (H3).
        let granule = reserved.then(|| {
            loop {
                if let Some(granule) = self.find_unpublished(head, id.class(), class, &mut retries) {
                    return granule;
                }
                retries += 1;
            }
        });
        self.count_retries(retries);
        granule
    }

    /// A slot that is neither live nor about to be, by its remote bit; the caller has a reservation.
    fn find_unpublished(&self, head: SpanId, index: usize, class: &Class, retries: &mut u64) -> Option<Granule> {
        let mut claim = |granule: Granule| {
            let claim = if Self::has_no_name(granule) { Claim::Taken } else { self.published(granule).claim() };
            *retries += u64::from(claim == Claim::Lost);
            claim == Claim::Ours
        };
        let first = head.first().0;
        let slots = (0..SPAN_WORDS as u32).flat_map(|unit| {
            let mut starts = if class.by_word { pattern(index, unit) } else { 0 };
            core::iter::from_fn(move || {
                let bit = starts.trailing_zeros();
                starts = (starts != 0).then(|| starts & (starts - 1))?;
                Some(Granule(first + u64::from(unit) * 64 + u64::from(bit)))
            })
        });
        let others =
            (0..if class.by_word { 0 } else { u64::from(class.slots) }).map(|slot| Granule(first + slot * u64::from(class.granules)));
        slots.chain(others).find(|&granule| claim(granule))
    }

    /// Makes a slot that was claimed for publication a block that no place names.
    pub(crate) fn give_unpublished(&self, granule: Granule) {
        self.forget_intents(granule, NOWHERE);
        self.published(granule).give();
    }

    fn published(&self, granule: Granule) -> PublishedSlot<'_> {
        PublishedSlot { live: self.live_word(granule), remote: self.remote_word(granule), bit: granule.bit() }
    }

    /// Allocates a block of column `home`, or, for a request for `any`, of another one if that has no memory for it, and names
    /// it at `place`. Lock-free.
    pub(crate) fn publish(&self, home: u32, any: bool, size: usize, align: usize, spike: u32, place: Place<'_>) -> Result<NonNull<u8>> {
        let route = self.route(size, align, spike)?;
        let intent = self.take_intent()?;
        let published = match route {
            Route::Cell(id) => self.publish_slot(home, any, CellId::published(id.class()), align, intent, place),
            // Taken from anywhere already.
            Route::Large { size, align } => {
                self.publish_large(home, size, align, intent, place).map(|(granule, bytes)| (granule, home, bytes))
            }
        };
        intent.clear();
        let (granule, index, bytes) = published?;
        self.note_alloc_by_others(index, bytes);
        Ok(NonNull::new(self.address(granule)).unwrap_or(NonNull::dangling()))
    }

    /// The block, its column and its bytes.
    fn publish_slot(
        &self,
        home: u32,
        any: bool,
        id: CellId,
        align: usize,
        intent: &Intent,
        place: Place<'_>,
    ) -> Result<(Granule, u32, u64)> {
        let (granule, index) = self.claim_for_publication(home, id).map(|granule| (granule, home)).or_else(|error| match error {
            Error::NoMemory { .. } if any => self.claim_shared_of_any(id).ok_or(error),
            _ => Err(error),
        })?;
        if align > GRANULE {
            // Before it is a block.
            self.note_asked(self.address(granule), align);
        }
        self.name_at(granule, intent, place, || self.published(granule).give());
        Ok((granule, index, u64::from(id.class_of().bytes)))
    }

    /// A slot that the column has for publication, or of a fresh span.
    fn claim_for_publication(&self, index: u32, id: CellId) -> Result<Granule> {
        let ask = || self.alloc_shared::<true>(index, id);
        ask().or_else(|error| {
            let again = self.ask_again(index, error, ask);
            again.or_else(|error| self.claim_shared_anywhere(index, id).ok_or(error))
        })
    }

    fn publish_large(&self, index: u32, size: usize, align: usize, intent: &Intent, place: Place<'_>) -> Result<(Granule, u64)> {
        let ask = || self.take_large(index, size, align);
        let (head, spans) = ask().or_else(|error| self.ask_again(index, error, ask))?;
        if Self::has_no_name(head.first()) {
            // Another one, which lies behind the first span, for which alone the column is not charged meanwhile; and that one back.
            self.shrink_large(index, head, spans, 1);
            let open = &self.block(index).open;
            open.refund(1);
            let other = self.publish_large(index, size, align, intent, place);
            open.add_found(1);
            self.leave_large(index, head, 1);
            return other;
        }
        let granule = head.first();
        // Before it is a block.
        self.span(head).published.store(1, Relaxed);
        self.name_at(granule, intent, place, || {
            self.live_word(granule).fetch_or(granule.bit(), Ordering::AcqRel);
            self.page(head).set(Owner::large(index), 0);
        });
        self.note_used(index);
        Ok((granule, span_bytes(u64::from(spans)) as u64))
    }

    /// Steps 2 to 6 for a slot, or a large block, that the caller has; `give` are (4) and (5).
    fn name_at(&self, granule: Granule, intent: &Intent, place: Place<'_>, give: impl FnOnce()) {
        self.forget_intents(granule, place.code);
        intent.set(granule, place.code);
        give();
        // Release: pairs with who reads the name.
        place.word.store(Self::name(granule), Ordering::Release);
    }

    /// Frees the published block that is named at `place`, which names nothing afterwards: wait-free. Returns the
    /// column and the bytes.
    pub(crate) fn unpublish(&self, place: Place<'_>) -> Result<(u32, u64)> {
        let name = place.word.load(Ordering::Acquire);
        if name == 0 {
            return Err(Error::NoName(core::ptr::from_ref(place.word).addr()));
        }
        let p: *const u8 = usize::try_from(name).map_or(core::ptr::null(), |name| self.data().wrapping_add(name));
        let granule = self.granule(p).ok_or(Misuse::NoBlock.of(p))?;
        let owner = self.published_in(granule, p)?.1.owner();
        let slot = self.published(granule);
        if !slot.is_live() {
            // What starts no slot never was a block. (Of a large block it is looked at above.)
            let misuse = if owner.is_large() { Misuse::Twice } else { Self::not_live(granule, self.place_under(granule, owner)) };
            return Err(misuse.of(p));
        }
        let intent = self.take_intent()?;
        // Before the place names it no more: without an intent the block would be live for good.
        if !intent.take_name(granule, place.word, place.code, name) {
            intent.clear();
            return Err(Misuse::Twice.of(p));
        }
        // Only now: until then others may have taken it back, and given something else that has its name.
        let (index, entry) = self.published_in(granule, p).inspect_err(|_| {
            let _ = place.word.compare_exchange(0, name, Ordering::AcqRel, Ordering::Acquire);
            intent.clear();
        })?;
        let (owner, head, id) = (entry.owner(), granule.span(), CellId::of(entry));
        let (spans, granules) = if owner.is_large() {
            let spans = self.span(head).spans.load(Relaxed);
            (spans, u64::from(spans) * SPAN_GRANULES as u64)
        } else {
            (0, u64::from(id.class_of().granules))
        };
        if self.options.zero_freed {
            self.zero(granule, granules as usize * GRANULE);
        }
        let was_live = slot.take_back();
        intent.clear();
        if !was_live {
            // Somebody freed it in the same instant.
            return Err(Misuse::Twice.of(p));
        }
        if owner.is_large() {
            self.leave_large(index, head, spans);
        } else {
            self.release_shared(index, self.head_of(head), id, id.class_of(), 1);
        }
        let open = &self.block(index).open;
        // Release: pairs with the snapshot, which reads frees before allocations.
        open.frees_by_others.fetch_add(1, Ordering::Release);
        open.count_freed(granules);
        Ok((index, granules * GRANULE as u64))
    }

    /// The column and the entry of the span, or of the large block, in which a published block may start at `granule`, which is at
    /// `p`.
    fn published_in(&self, granule: Granule, p: *const u8) -> Result<(u32, Entry)> {
        let entry = self.page(granule.span()).read();
        let owner = entry.owner();
        let index = owner.index().ok_or(Misuse::NoBlock.of(p))?;
        let publishes = if owner.is_large() {
            granule == granule.span().first() && self.span(granule.span()).published.load(Relaxed) != 0
        } else {
            owner.is_shared() && CellId::of(entry).is_published()
        };
        if publishes { Ok((index, entry)) } else { Err(Error::NotPublished(p.addr())) }
    }

    /// Takes an intent: one look at each, wait-free.
    fn take_intent(&self) -> Result<&Intent> {
        let index = (0..INTENTS).find(|&index| self.intents.at(index).try_take()).ok_or(Error::Publishing)?;
        let (used, ever) = (index as u32 + 1, &self.counters().intents);
        if ever.load(Relaxed) < used {
            // Relaxed: it is seen by who sees what the intent is about.
            ever.fetch_max(used, Relaxed);
        }
        Ok(self.intents.at(index))
    }

    /// No intent is about a former block of this slot any more (2), but for who takes away the name that it is to have `here`; it is the
    /// caller's, and free. Looks at those that were ever taken, which are as many as were under way at a time.
    fn forget_intents(&self, granule: Granule, here: u64) {
        let ever = self.counters().intents.load(Relaxed) as usize;
        (0..ever.min(INTENTS)).for_each(|index| self.intents.at(index).forget(granule, here));
    }

    /// The blocks that intents are about, and that no intent's place names (Y5). While nobody uses the arena.
    pub(crate) fn unnamed(&self) -> Vec<Granule> {
        // They may be damaged.
        let granules = (CHUNK / GRANULE) as u64..self.region.granules();
        let noted = || (0..INTENTS).filter_map(|index| self.intents.at(index).noted().filter(|(block, _)| granules.contains(&block.0)));
        let names = |granule: Granule, code| self.place_of(code).is_some_and(|place| place.word.load(Relaxed) == Self::name(granule));
        let named = |granule: Granule| noted().any(|(block, code)| block == granule && names(granule, code));
        noted().map(|(block, _)| block).filter(|&block| !named(block)).collect()
    }
}

const _: () = assert!(CHUNK_SPANS * SPAN_GRANULES * GRANULE == CHUNK && ROOTS_FROM > crate::region::CAPACITY_MAX as u64);

#[cfg(all(test, not(loom)))]
mod tests;
