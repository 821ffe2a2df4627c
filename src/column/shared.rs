//! Allocation for a column whose lease somebody else has: single bits of its shared spans.
//!
//! A hint for each cell names a shared span with room. It stays there until that span is full, so that others become empty; then
//! other spans of the same cell are looked for, in its chunk and a few behind it, then a fresh span serves. States decide, hints
//! only guide; see `span::shared`.

use super::core::{Core, Freed, Misuse};
use super::rows::CellId;
use super::unusual::Route;
use crate::error::{Error, Result};
use crate::map::{ChunkId, Entry, Granule, Owner, SpanId};
use crate::size_class::{CHUNK_SPANS, CLASSES, Class, SPAN_WORDS, pattern};
use crate::span::{SharedKey, claim_bit};
use crate::sync::Ordering::{AcqRel, Relaxed};
use core::ptr::NonNull;

/// Chunks that are looked through for a shared span with room before a fresh one is taken.
const LOOKS: u32 = 8;

impl Core {
    /// Serves a request without the lease. Returns the block and its bytes.
    pub(crate) fn try_without_lease(&self, index: u32, route: Route) -> Result<(NonNull<u8>, u64)> {
        let (p, bytes) = match route {
            Route::Large { size, align } => self.alloc_large(index, size, align)?,
            Route::Cell(id) => (self.address(self.alloc_shared::<false>(index, id)?), u64::from(id.class_of().bytes)),
        };
        // Not null: the region's data does not start at address 0.
        Ok((NonNull::new(p).unwrap_or(NonNull::dangling()), bytes))
    }

    /// Opens a span that is set up, with so many live slots, to all.
    pub(crate) fn open_shared(&self, head: SpanId, index: u32, id: CellId, live: u32) {
        if !id.is_published() {
            // For who looks for its slots. Anybody may: a note is set once, and stays.
            self.block(index).holder.note_cell(id);
        }
        self.span(head).shared.open(SharedKey { column: index, cell: id.0 }, live);
    }

    /// A slot of a shared span of column `index`: lock-free. Of a published class it is the caller's, but not yet live (see
    /// `publish`); the same goes for what is claimed below.
    pub(crate) fn alloc_shared<const PUBLISHED: bool>(&self, index: u32, id: CellId) -> Result<Granule> {
        if let Some(granule) = self.claim_shared::<PUBLISHED>(index, id) {
            return Ok(granule);
        }
        let class = id.class_of();
        let spans = u32::from(class.spans);
        let open = &self.block(index).open;
        self.charge(index, spans)?;
        let taken = if PUBLISHED { self.take_to_publish(index, class) } else { self.take_open(index, spans, 1) };
        let Some(head) = taken else {
            open.refund(spans);
            return Err(Error::NoMemory { size: class.bytes as usize, align: 16 });
        };
        let meta = self.span(head);
        meta.summary.store(0, Relaxed);
        meta.align.store(0, Relaxed);
        let first = if PUBLISHED { self.first_to_publish(head, class) } else { self.first_shared(head) };
        let entry = Entry::new(Owner::shared(index), id.offset());
        for after in 0..spans {
            self.page(SpanId(head.0 + after)).write(entry.after(after));
        }
        // Last: from here on others claim slots, and free them.
        self.open_shared(head, index, id, 1);
        self.note_used(index);
        self.hint::<PUBLISHED>(index, id).store(head.0, Relaxed);
        Ok(first)
    }

    /// The first slot of a fresh span is handed out.
    fn first_shared(&self, head: SpanId) -> Granule {
        let first = head.first();
        self.live_word(first).fetch_or(first.bit(), Relaxed);
        first
    }

    /// A slot of a shared span that the column has: the hinted one, or another of its chunk or of a few behind it.
    pub(crate) fn claim_shared<const PUBLISHED: bool>(&self, index: u32, id: CellId) -> Option<Granule> {
        let hint = SpanId(self.hint::<PUBLISHED>(index, id).load(Relaxed));
        if hint == SpanId::NONE {
            return None;
        }
        if let Some(granule) = self.claim_in::<PUBLISHED>(index, id, hint) {
            return Some(granule);
        }
        self.look_around::<PUBLISHED>(index, id, hint)
    }

    /// The same: one of the span's chunk, or of a few behind it.
    #[cold]
    #[inline(never)]
    fn look_around<const PUBLISHED: bool>(&self, index: u32, id: CellId, hint: SpanId) -> Option<Granule> {
        let word = self.hint::<PUBLISHED>(index, id);
        // From there on, so that looks go round.
        let chunks = self.chunks.len() as u32 - 1;
        (0..LOOKS.min(chunks)).map(|after| ChunkId((hint.chunk().0 - 1 + after) % chunks + 1)).find_map(|chunk| {
            let mut used = if self.chunk(chunk).owner.load(Relaxed) == 0 { 0 } else { !self.chunk(chunk).map.free() };
            core::iter::from_fn(|| {
                let place = used.trailing_zeros();
                used &= used.wrapping_sub(1);
                (place < CHUNK_SPANS as u32).then(|| chunk.span(place))
            })
            .find_map(|span| self.claim_in::<PUBLISHED>(index, id, span).inspect(|_| word.store(span.0, Relaxed)))
        })
    }

    /// A slot of any shared span of the column that would serve: of the class, whatever the zone.
    /// Looks at every span in use.
    pub(crate) fn claim_shared_anywhere(&self, index: u32, id: CellId) -> Option<Granule> {
        let mut found = None;
        self.each_head(|head, entry| {
            if entry.owner().is_shared_of(index) {
                found = self.claim_kin_in(index, id, head);
            }
            found.is_none()
        });
        found
    }

    /// The same of whatever column; and which one that is.
    pub(crate) fn claim_shared_of_any(&self, id: CellId) -> Option<(Granule, u32)> {
        let mut found = None;
        self.each_head(|head, entry| {
            let owner = entry.owner();
            if owner.is_shared()
                && let Some(index) = owner.index()
            {
                found = self.claim_kin_in(index, id, head).map(|granule| (granule, index));
            }
            found.is_none()
        });
        found
    }

    /// A slot of this shared span of the column, if it would serve and there is room.
    #[cold]
    #[inline(never)]
    fn claim_kin_in(&self, index: u32, id: CellId, head: SpanId) -> Option<Granule> {
        let kin = CellId::at_offset(self.page(head).cell());
        let serves = kin.class() == id.class() && kin.is_aligned() >= id.is_aligned() && (kin.is_published() || !id.is_published());
        if !serves {
            return None;
        }
        if !kin.is_published() {
            return self.claim_in::<false>(index, kin, head);
        }
        let granule = self.claim_in::<true>(index, kin, head)?;
        if !id.is_published() {
            self.give_unpublished(granule);
        }
        Some(granule)
    }

    /// A slot of this span, if it is a shared one of the column and cell with room.
    fn claim_in<const PUBLISHED: bool>(&self, index: u32, id: CellId, head: SpanId) -> Option<Granule> {
        let entry = self.page(head).read();
        let owner = entry.owner();
        if !owner.is_shared_of(index) || entry.cell() != id.offset() || owner.head(head) != head {
            return None;
        }
        if PUBLISHED {
            return self.claim_to_publish(index, id, head);
        }
        let class_index = id.class();
        let class = &CLASSES[class_index];
        let mut retries = 0;
        let reserved = self.span(head).shared.reserve(SharedKey { column: index, cell: id.0 }, u32::from(class.slots), &mut retries);
        // With a reservation there is a clear bit, now or after those who are freeing have finished
        // theirs (H1): a round that finds none means that another thread took one.
        let granule = reserved.then(|| {
            loop {
                if let Some(granule) = self.find_clear(head, class_index, class, &mut retries) {
                    return granule;
                }
                retries += 1;
            }
        });
        self.count_retries(retries);
        granule
    }

    fn find_clear(&self, head: SpanId, class_index: usize, class: &Class, retries: &mut u64) -> Option<Granule> {
        let first = head.first().0;
        if class.by_word {
            return (0..SPAN_WORDS as u32).find_map(|unit| {
                let base = first + u64::from(unit) * 64;
                let bit = claim_bit(self.live_word(Granule(base)), pattern(class_index, unit), retries)?;
                Some(Granule(base + u64::from(bit)))
            });
        }
        (0..u64::from(class.slots)).find_map(|slot| {
            let granule = Granule(first + slot * u64::from(class.granules));
            claim_bit(self.live_word(granule), granule.bit(), retries).map(|_| granule)
        })
    }

    /// Frees a block of a shared span: wait-free.
    #[inline(never)]
    pub(crate) fn free_shared(&self, granule: Granule, index: u32, owner: Owner) -> core::result::Result<Freed, Misuse> {
        let place = self.place_under(granule, owner);
        let class = place.class();
        // Release: pairs with `claim_bit`: the last use of the block comes before the next owner's first. Acquire: of two frees the
        // second sees the first.
        if self.live_word(granule).fetch_and(!granule.bit(), AcqRel) & granule.bit() == 0 {
            return Err(Self::not_live(granule, place));
        }
        self.release_shared(index, place.head, place.cell, class, 1);
        Ok(Freed::new(index, u64::from(class.granules)))
    }

    /// Gives up reservations of `slots` blocks whose bits are clear, of a span of this cell and class; an empty span goes back.
    #[inline(always)]
    pub(crate) fn release_shared(&self, index: u32, head: SpanId, id: CellId, class: &Class, slots: u32) {
        let shared = &self.span(head).shared;
        if shared.release(slots) {
            self.return_open(index, head, u32::from(class.spans));
            return;
        }
        // Where the last one had room goes on having it: the others may become empty.
        let hint = self.hint_at(index, id.offset());
        if !self.span(SpanId(hint.load(Relaxed))).shared.has_room_like(shared, u32::from(class.slots)) {
            hint.store(head.0, Relaxed);
        }
    }
}
