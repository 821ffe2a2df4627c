//! A column's chunks: where its spans come from.
//!
//! ```text
//! single    the chunk that single spans come from, until it is full
//! list      1   2   3  ...  15   16         17            by the longest run of free spans
//! spans     1   2   3  ...  15   16 to 63   all 64
//! waiting   those that single spans came back to since they were last put in a list
//! ```
//!
//! A run is taken from the first chunk of the first list that has it: from where the least is left over, so that long runs
//! stay whole. If no list has enough, chunks that wait are put in their lists, then the chunk for single spans serves, then what
//! large blocks have left over in the chunk that had the last one, which becomes one of the column's, and
//! then the column reserves the lowest free chunk; when there is none, any chunk's free spans serve, whoever reserved it
//! (that search looks at every chunk: see `scarce`). The next chunk for single spans is one that waits, or the first of the
//! first list that has any: where there is the least.
//!
//! A chunk may have less than its list says, because others took some, and more, because others gave some back. In the first case
//! it is found out when a run is looked for, and put right; the second lasts until the holder gives spans back to it.

use core::num::{NonZeroU32, NonZeroU64};

use super::held::Handle;
use crate::map::{ChunkId, Owner, SpanId};
use crate::span::{ChunkMap, ChunkMeta, FRESH_LIST, IndexWords, claim_in, list_of_run};
use crate::sync::Ordering::Relaxed;

/// Chunks that are looked at before a new one is reserved: more than the first that a list offers only if that has less than
/// its list says, or if none has enough and chunks wait.
const LOOKS: u32 = 4;

/// What the chunk for single spans has given.
pub(crate) enum Single {
    /// A span.
    Span(SpanId),
    /// Its last one.
    Last(SpanId),
    /// None.
    None,
}

impl Handle {
    /// Takes `spans` (1 to 16) spans in a row from the column's chunks or from a new one. Bounded.
    #[inline(always)]
    pub(crate) fn take_spans(&self, spans: u32) -> Option<SpanId> {
        if spans == 1 { self.take_single() } else { self.take_run(spans) }
    }

    #[inline(always)]
    fn take_run(&self, spans: u32) -> Option<SpanId> {
        debug_assert!(list_of_run(spans) == spans);
        for _ in 0..LOOKS {
            let Some(chunk) = self.first_with(spans) else {
                if self.list_waiting() {
                    continue;
                }
                break;
            };
            let meta = self.chunk(chunk);
            let span = self.claim_run(chunk, meta, spans);
            self.put_in_list(chunk, meta, meta.map.list());
            if span.is_some() {
                return span;
            }
        }
        let single = self.single();
        if let Some(span) = self.claim_run(single, self.chunk(single), spans) {
            return Some(span);
        }
        if self.may_have_leftover()
            && let Some(span) = self.take_leftover(spans)
        {
            return Some(span);
        }
        let chunk = self.reserve_chunk(spans)?;
        self.link_chunk(chunk, self.chunk(chunk), FRESH_LIST);
        Some(chunk.span(0))
    }

    /// Whether the column had a large block.
    #[inline(always)]
    fn may_have_leftover(&self) -> bool {
        self.block().open.large_chunk.load(Relaxed) != ChunkId::NONE.0
    }

    /// Takes `spans` (1 to 16) spans in a row of what large blocks have left over in the chunk that the column last had one in. The
    /// chunk becomes the holder's, as if it had reserved it, unless it is another column's.
    #[cold]
    #[inline(never)]
    fn take_leftover(&self, spans: u32) -> Option<SpanId> {
        let chunk = ChunkId(self.block().open.large_chunk.load(Relaxed));
        if chunk == self.single() {
            return None;
        }
        let (meta, ours) = (self.chunk(chunk), self.as_owner().0);
        if ![Owner::large(self.index()).0, ours].contains(&meta.owner.load(Relaxed)) {
            return None;
        }
        let span = self.claim_run(chunk, meta, spans)?;
        // A chunk of ours that does not wait to be put in a list may be put in one.
        if ChunkMap::adopt(&meta.owner, self.index()) || meta.told.load(Relaxed) == ours {
            if spans == 1 {
                self.make_single(chunk, meta);
            } else {
                meta.told.store(ours, Relaxed);
                self.put_in_list(chunk, meta, meta.map.list());
            }
        }
        Some(span)
    }

    fn take_single(&self) -> Option<SpanId> {
        for looks in 1..=LOOKS {
            let chunk = self.single();
            if chunk != ChunkId::NONE {
                let meta = self.chunk(chunk);
                if let Some(span) = self.claim_run(chunk, meta, 1) {
                    return Some(span);
                }
                meta.told.store(self.as_owner().0, Relaxed);
            }
            if looks == LOOKS || !self.choose_single() {
                break;
            }
        }
        let chunk = self.reserve_chunk(1)?;
        self.set_single(chunk, self.chunk(chunk));
        Some(chunk.span(0))
    }

    /// Claims a run of `spans` free spans of a chunk: see `ChunkMap::claim`.
    #[inline(always)]
    fn claim_run(&self, chunk: ChunkId, meta: &ChunkMeta, spans: u32) -> Option<SpanId> {
        let place = meta.map.try_claim(spans, 1).unwrap_or_else(|_| self.claim_again(meta, spans));
        place.map(|place| chunk.span(place))
    }

    /// The same after others claimed from it, or gave to it, at the same time.
    #[cold]
    #[inline(never)]
    fn claim_again(&self, meta: &ChunkMeta, spans: u32) -> Option<u32> {
        let (place, failed) = meta.map.claim(spans, 1);
        self.core().count_retries(u64::from(failed) + 1);
        place
    }

    /// The first chunk of the first list from this one on that has any.
    #[inline(always)]
    fn first_with(&self, list: u32) -> Option<ChunkId> {
        let holder = &self.block().holder;
        let filled = NonZeroU32::new(holder.filled() & u32::MAX << list)?;
        Some(holder.first_of(filled.trailing_zeros()))
    }

    /// Claims the lowest free span of the column's chunk for single ones, and counts it against the column's limit.
    #[inline(always)]
    pub(crate) fn claim_first_span(&self) -> Single {
        // Without one it is the chunk that does not exist, which has no free spans.
        let meta = self.single_meta();
        let Some(free) = NonZeroU64::new(meta.map.free()) else { return Single::None };
        let open = &self.block().open;
        if !open.charge(1) {
            return Single::None;
        }
        let place = free.trailing_zeros();
        if !meta.map.claim_place(place) {
            open.refund(1);
            return Single::None;
        }
        let span = self.single_span(place);
        if free.is_power_of_two() { Single::Last(span) } else { Single::Span(span) }
    }

    /// The chunk for single spans is full: there is none. Whether the column may have others to choose from.
    #[inline(always)]
    pub(crate) fn leave_single(&self) -> bool {
        self.single_meta().told.store(self.as_owner().0, Relaxed);
        self.set_single(ChunkId::NONE, self.chunk(ChunkId::NONE));
        let holder = &self.block().holder;
        holder.waiting().0 | holder.filled() | self.block().open.large_chunk.load(Relaxed) != 0
    }

    /// Chooses the chunk for single spans, if the column has any, or large blocks have left any over.
    #[inline(always)]
    pub(crate) fn choose_next_single(&self) {
        if !self.choose_single()
            && self.may_have_leftover()
            && let Some(span) = self.take_leftover(1)
        {
            // Nobody has asked for it yet: it was taken so that the chunk could be adopted.
            self.chunk(span.chunk()).map.give_one(span.place());
        }
    }

    /// Chooses the chunk for single spans. False if the column has none.
    #[inline(always)]
    pub(crate) fn choose_single(&self) -> bool {
        let holder = &self.block().holder;
        let chunk = if holder.waiting() == ChunkId::NONE { self.first_with(1) } else { self.next_waiting() };
        let meta = self.chunk(chunk.unwrap_or(ChunkId::NONE));
        match chunk {
            Some(chunk) => self.make_single(chunk, meta),
            None => self.set_single(ChunkId::NONE, meta),
        }
        chunk.is_some()
    }

    /// Single spans are taken from this chunk of the column from here on. It is in no list, and does not wait.
    #[inline(always)]
    fn make_single(&self, chunk: ChunkId, meta: &ChunkMeta) {
        self.set_single(chunk, meta);
        self.put_in_list(chunk, meta, 0);
        meta.told.store(0, Relaxed);
    }

    /// Claims the first span of a free chunk beside the column's last one, and counts it against the
    /// column's limit. Only if the column has no other chunk with free spans. Also the column as owner: read late, when there is a
    /// register for it.
    #[inline(always)]
    pub(crate) fn claim_near_chunk(&self) -> Option<(SpanId, Owner)> {
        let (holder, open) = (&self.block().holder, &self.block().open);
        if self.single_span(0).0 | holder.waiting().0 | holder.filled() != 0 || !open.charge(1) {
            return None;
        }
        let (leaf, first) = self.leaf();
        let Some(chunk) = claim_in(leaf, first) else {
            open.refund(1);
            return None;
        };
        let (meta, owner) = (self.chunk(chunk), self.as_owner());
        Self::open_chunk(meta, owner, 1);
        self.set_single(chunk, meta);
        Some((chunk.span(0), owner))
    }

    /// Reserves the lowest free chunk and takes its first `spans` spans.
    fn reserve_chunk(&self, spans: u32) -> Option<ChunkId> {
        let core = self.core();
        let (chunk, failed) = core.index.claim_first();
        if failed != 0 {
            core.count_retries(u64::from(failed));
        }
        let chunk = chunk?;
        self.look_in_leaf(core.index.leaf_of(chunk));
        let meta = self.chunk(chunk);
        Self::open_chunk(meta, self.as_owner(), spans);
        if spans > 1 {
            meta.told.store(self.as_owner().0, Relaxed);
        }
        Some(chunk)
    }

    /// Opens a claimed chunk for its owner; its first `taken` spans, 16 at most, are taken.
    #[inline(always)]
    fn open_chunk(meta: &ChunkMeta, owner: Owner, taken: u32) {
        meta.owner.store(owner.0, Relaxed);
        meta.dirty.store(1, Relaxed);
        meta.map.open(taken);
    }

    /// A single span was given back to a chunk: if it is the column's, it waits to be put in a list.
    #[inline(always)]
    pub(crate) fn note_single_back(&self, chunk: ChunkId, meta: &ChunkMeta) {
        if meta.told.load(Relaxed) == self.as_owner().0 {
            let holder = &self.block().holder;
            meta.told.store(0, Relaxed);
            meta.after.store(holder.waiting().0, Relaxed);
            holder.set_waiting(chunk);
        }
    }

    /// Takes a chunk out of those that wait.
    #[inline(always)]
    fn next_waiting(&self) -> Option<ChunkId> {
        let holder = &self.block().holder;
        let chunk = holder.waiting();
        if chunk == ChunkId::NONE {
            return None;
        }
        let meta = self.chunk(chunk);
        holder.set_waiting(meta.after());
        Some(chunk)
    }

    /// Puts one of the chunks that wait in the list that its free spans ask for. False if there is none.
    #[inline(always)]
    fn list_waiting(&self) -> bool {
        let Some(chunk) = self.next_waiting() else { return false };
        let meta = self.chunk(chunk);
        meta.told.store(self.as_owner().0, Relaxed);
        self.put_in_list(chunk, meta, meta.map.list());
        true
    }

    /// A run was given back around `place` of a chunk: if it is the column's, it may have more than its list says.
    #[inline(always)]
    pub(crate) fn note_run_back(&self, chunk: ChunkId, meta: &ChunkMeta, place: u32) {
        if meta.owner.load(Relaxed) == self.as_owner().0 && self.single() != chunk {
            let list = list_of_run(meta.map.run_around(place));
            if list > meta.list() {
                self.put_in_list(chunk, meta, list);
            }
        }
    }

    /// Puts a chunk, if it is the column's and not the one for single spans, in the list that its free spans ask for.
    pub(crate) fn list_anew(&self, chunk: ChunkId) {
        let meta = self.chunk(chunk);
        if meta.owner.load(Relaxed) == self.as_owner().0 && self.single() != chunk {
            self.put_in_list(chunk, meta, meta.map.list());
        }
    }

    /// Puts a chunk of the column in this list, and out of the one that it is in; list 0 is none.
    #[inline(always)]
    fn put_in_list(&self, chunk: ChunkId, meta: &ChunkMeta, list: u32) {
        let listed = meta.list();
        if listed != list {
            if listed != 0 {
                self.unlink_chunk(chunk, meta, listed);
            }
            if list != 0 {
                self.link_chunk(chunk, meta, list);
            }
        }
    }

    #[inline(always)]
    fn link_chunk(&self, chunk: ChunkId, meta: &ChunkMeta, list: u32) {
        let next = self.block().holder.put_first(list, chunk);
        if next != ChunkId::NONE {
            self.chunk(next).prev.store(chunk.0, Relaxed);
        }
        meta.next.store(next.0, Relaxed);
        meta.list.store(list, Relaxed);
    }

    #[inline(always)]
    fn unlink_chunk(&self, chunk: ChunkId, meta: &ChunkMeta, list: u32) {
        let (next, prev) = (meta.next(), meta.prev());
        if !self.block().holder.drop_first(list, chunk, next) {
            self.chunk(prev).next.store(next.0, Relaxed);
        }
        if next != ChunkId::NONE {
            self.chunk(next).prev.store(prev.0, Relaxed);
        }
        meta.list.store(0, Relaxed);
    }

    /// Gives the column's wholly free chunks back to the arena. Grows with the chunks that have free spans.
    pub(crate) fn release_free_chunks(&self) {
        while self.list_waiting() {}
        let holder = &self.block().holder;
        let single = self.single();
        if single != ChunkId::NONE && self.release_chunk(single) {
            self.set_single(ChunkId::NONE, self.chunk(ChunkId::NONE));
        }
        // From the last list down: a chunk that comes to a lower one is seen again, and then stays.
        let mut lists = holder.filled();
        while let Some(list) = lists.checked_ilog2() {
            lists ^= 1 << list;
            let mut chunk = holder.first_of(list);
            while chunk != ChunkId::NONE {
                let meta = self.chunk(chunk);
                let next = meta.next();
                if !self.release_chunk(chunk) {
                    self.put_in_list(chunk, meta, meta.map.list());
                }
                chunk = next;
            }
        }
    }

    /// Gives a chunk of the column back to the arena, if it is wholly free.
    fn release_chunk(&self, chunk: ChunkId) -> bool {
        let meta = self.chunk(chunk);
        self.core().passings.pass(|| {
            let free = meta.map.claim_all();
            if free {
                self.put_in_list(chunk, meta, 0);
                meta.told.store(0, Relaxed);
                meta.owner.store(0, Relaxed);
                self.core().index.give(chunk);
            }
            free
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
