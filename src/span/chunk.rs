//! A chunk's map: 64 spans, one word, a set bit is a free span (S2).

use crate::sync::{AtomicU64, Ordering};

/// How often a claim is tried again when others claim from the same chunk at the same time; then
/// the caller looks elsewhere. Bounds the steps of a claim.
const TRIES: u32 = 8;

/// The spans of one chunk.
#[repr(transparent)]
pub(crate) struct ChunkMap(AtomicU64);

impl ChunkMap {
    /// A map with the given free spans, for models.
    #[cfg(loom)]
    pub(crate) fn new(free: u64) -> Self {
        Self(AtomicU64::new(free))
    }

    /// The free spans at this moment.
    #[inline(always)]
    pub(crate) fn free(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A run of `spans` (1 to 64) free spans whose first place is a multiple of `align`: claims the
    /// lowest. Returns its place and how many tries failed. Acquire: pairs with `give`, so that
    /// what the last owner did to the span comes before what the new one does.
    pub(crate) fn claim(&self, spans: u32, align: u32) -> (Option<u32>, u32) {
        for failed in 0..TRIES {
            let free = self.free();
            let starts = run_starts(free, spans) & aligned_places(align);
            if starts == 0 {
                return (None, failed);
            }
            let place = starts.trailing_zeros();
            let run = run_mask(spans) << place;
            let old = self.0.fetch_and(!run, Ordering::Acquire);
            if old & run == run {
                return (Some(place), failed);
            }
            // Part of the run went to somebody else: give back what we got of it.
            if old & run != 0 {
                self.0.fetch_or(old & run, Ordering::Release);
            }
        }
        (None, TRIES)
    }

    /// The lowest free span: claims it. Also returns how many tries failed.
    #[inline(always)]
    pub(crate) fn claim_one(&self) -> (Option<u32>, u32) {
        for failed in 0..TRIES {
            let free = self.free();
            if free == 0 {
                return (None, failed);
            }
            let place = free.trailing_zeros();
            if self.claim_place(place) {
                return (Some(place), failed);
            }
        }
        (None, TRIES)
    }

    /// Claims this span if it is free: one try, wait-free.
    #[inline(always)]
    pub(crate) fn claim_place(&self, place: u32) -> bool {
        // Only the one bit of the old value is looked at: a single instruction, not a loop.
        let bit = 1_u64.wrapping_shl(place);
        self.0.fetch_and(!bit, Ordering::Acquire) & bit != 0
    }

    /// Gives spans back; the caller owned them. Wait-free.
    #[inline(always)]
    pub(crate) fn give(&self, place: u32, spans: u32) {
        self.0.fetch_or(run_mask(spans) << place, Ordering::Release);
    }

    /// Gives one span back; the caller owned it. Wait-free.
    #[inline(always)]
    pub(crate) fn give_one(&self, place: u32) {
        self.0.fetch_or(1 << (place % 64), Ordering::Release);
    }

    /// Takes the whole chunk if all of it is free.
    pub(crate) fn claim_all(&self) -> bool {
        self.0.compare_exchange(u64::MAX, 0, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Sets which spans are free, while nobody else uses the chunk.
    pub(crate) fn restore(&self, free: u64) {
        self.0.store(free, Ordering::Relaxed);
    }

    /// Opens a chunk that the caller owns whole, all spans free but the first `taken`.
    pub(crate) fn open(&self, taken: u32) {
        self.0.store(if taken == 64 { 0 } else { u64::MAX << taken }, Ordering::Release);
    }
}

const fn run_mask(spans: u32) -> u64 {
    u64::MAX >> (64 - spans)
}

/// The places at which `spans` free spans in a row start.
fn run_starts(free: u64, spans: u32) -> u64 {
    let mut starts = free;
    let mut have = 1;
    while have < spans {
        let step = have.min(spans - have);
        starts &= starts >> step;
        have += step;
    }
    starts
}

/// The places that are multiples of `align` (a power of two up to 64).
const fn aligned_places(align: u32) -> u64 {
    u64::MAX / (u64::MAX >> (64 - align))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_exactly_where_all_its_spans_are_free() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let free = state | (state << 1) | (state >> 3);
            let spans = (state >> 32) as u32 % 64 + 1;
            let align = 1 << ((state >> 40) % 7);
            let map = ChunkMap(AtomicU64::new(free));
            let expected = (0..=64 - spans).find(|&place| place % align == 0 && (free >> place) & run_mask(spans) == run_mask(spans));
            assert_eq!(map.claim(spans, align).0, expected);
            if let Some(place) = expected {
                assert_eq!(map.free(), free & !(run_mask(spans) << place));
                map.give(place, spans);
            }
            assert_eq!(map.free(), free);
        }
    }
}
