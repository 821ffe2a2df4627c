//! A chunk's map: 64 spans, one word, a set bit is a free span (S2).

use core::num::NonZeroU64;

use crate::map::Owner;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// How often a claim is tried again when others claim from the same chunk at the same time; then
/// the caller looks elsewhere. Bounds the steps of a claim.
const TRIES: u32 = 8;

/// Lists of a column's chunks, by the longest run of free spans: list 1 to 15 for as many, 16 for up to 63, 17 for all.
/// List 0 is none: no span is free.
pub(crate) const LISTS: u32 = 17;
/// The list of a chunk of which the first few spans are taken.
pub(crate) const FRESH_LIST: u32 = 16;

/// The list for a longest run of so many spans.
#[inline(always)]
pub(crate) const fn list_of_run(spans: u32) -> u32 {
    if spans < 16 { spans } else { 16 + (spans == 64) as u32 }
}

/// The list for a chunk with these free spans.
#[inline(always)]
const fn list_of(free: u64) -> u32 {
    let two = free & free >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    let sixteen = eight & eight >> 8;
    if sixteen != 0 {
        return 16 + (free == u64::MAX) as u32;
    }
    // The length's binary digits, the highest first; `starts` is where runs of the length so far start.
    let (mut starts, mut length) = (u64::MAX, 0);
    let runs = [free, two, four, eight];
    let mut digit = runs.len();
    while digit > 0 {
        digit -= 1;
        let longer = starts & runs[digit] >> length;
        if longer != 0 {
            starts = longer;
            length += 1 << digit;
        }
    }
    length
}

/// The map was changed by somebody else meanwhile.
pub(crate) struct Raced;

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

    /// A run of `spans` (1 to 64) free spans whose first place is a multiple of `align`: claims the lowest of those at a multiple of
    /// `spans`, else the lowest. Returns its place and how many tries failed. Acquire: pairs with `give`, so that what the last owner did
    /// to the span comes before what the new one does.
    pub(crate) fn claim(&self, spans: u32, align: u32) -> (Option<u32>, u32) {
        for failed in 0..TRIES {
            if let Ok(place) = self.try_claim(spans, align) {
                return (place, failed);
            }
        }
        (None, TRIES)
    }

    /// One try of `claim`.
    #[inline(always)]
    pub(crate) fn try_claim(&self, spans: u32, align: u32) -> Result<Option<u32>, Raced> {
        let free = self.free();
        let Some(starts) = NonZeroU64::new(run_starts(free, spans) & aligned_places(align)) else { return Ok(None) };
        let place = NonZeroU64::new(starts.get() & MULTIPLES[spans as usize % 64]).unwrap_or(starts).trailing_zeros();
        let rest = free & !(run_mask(spans) << place);
        // Acquire: pairs with `give`: what was done with the spans before comes first.
        match self.0.compare_exchange(free, rest, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(Some(place)),
            Err(_) => Err(Raced),
        }
    }

    /// How many spans in a row are free around this one; 0 if it is not.
    #[inline(always)]
    pub(crate) fn run_around(&self, place: u32) -> u32 {
        let free = self.free();
        ((free >> place).trailing_ones() + (free << (63 - place)).leading_ones()).saturating_sub(1)
    }

    /// The list for a chunk with these free spans.
    #[inline(always)]
    pub(crate) fn list(&self) -> u32 {
        list_of(self.free())
    }

    /// Claims these spans, if all of them are free. False, too, if others change the map at the same time too often.
    pub(crate) fn claim_at(&self, place: u32, spans: u32) -> bool {
        let run = run_mask(spans) << place;
        for _ in 0..TRIES {
            let free = self.free();
            if free & run != run {
                return false;
            }
            // Acquire: as in `claim`.
            if self.0.compare_exchange(free, free & !run, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        false
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

    /// Takes a chunk of large blocks that is wholly free away from its column. If so it is nobody's, and the caller's to give to the
    /// arena. `owner` is what the chunk says whose it is.
    pub(crate) fn sweep(&self, owner: &AtomicU32) -> bool {
        Owner(owner.load(Ordering::Relaxed)).is_large() && self.claim_all() && self.disown(owner)
    }

    /// Leaves a chunk that the caller owns whole to whom it belongs: to the column that reserved it (it may be in its
    /// holder's list), or else, and then that is true, to the arena, which the caller tells.
    pub(crate) fn disown(&self, owner: &AtomicU32) -> bool {
        // Looked at now, not before it was claimed: the column's holder may have adopted it meanwhile.
        let reserved = Owner(owner.load(Ordering::Relaxed));
        let arenas = reserved == Owner::NONE || reserved.is_large();
        if arenas {
            owner.store(Owner::NONE.0, Ordering::Release);
        } else {
            self.give(0, u64::BITS);
        }
        arenas
    }

    /// Makes a chunk of a column's large blocks its holder's, who owns a span of it: so nobody claims it whole meanwhile. False if it is
    /// not a chunk of this column's large blocks.
    pub(crate) fn adopt(owner: &AtomicU32, index: u32) -> bool {
        // Relaxed: published with the span, by the release in `give_one` and `give`, to whoever claims it whole.
        owner.compare_exchange(Owner::large(index).0, Owner::column(index).0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
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

#[inline(always)]
const fn run_mask(spans: u32) -> u64 {
    u64::MAX >> (64 - spans)
}

/// The places at which `spans` free spans in a row start.
#[inline(always)]
fn run_starts(free: u64, spans: u32) -> u64 {
    let (mut starts, mut have) = (free, 1);
    while 2 * have <= spans {
        starts &= starts >> have;
        have *= 2;
    }
    starts & starts >> (spans - have)
}

/// The places that are multiples of so many spans (of 64 as of none: all), where runs lie that fill an empty chunk. So a span that is
/// in use, or only looks so because what it has is still in a stack or with those who freed it, costs one run and not two.
const MULTIPLES: [u64; 64] = {
    let mut all = [u64::MAX; 64];
    let mut spans = 1;
    while spans < 64 {
        let (mut places, mut place) = (0, 0);
        while place < 64 {
            places |= 1 << place;
            place += spans;
        }
        all[spans] = places;
        spans += 1;
    }
    all
};

/// The places that are multiples of `align` (a power of two up to 64).
const fn aligned_places(align: u32) -> u64 {
    u64::MAX / (u64::MAX >> (64 - align))
}

#[cfg(all(test, not(loom)))]
mod tests;
