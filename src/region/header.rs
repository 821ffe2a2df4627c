//! The first page of a region: what it is, where its parts lie, and whether it was closed.
//!
//! ```text
//! word   0      1        2           3               4        5      6       7
//!        magic  version  geometry    columns, rows   check    state  extent  alignment
//! word   8..16 extent 0   16..24 extent 1      chunks, data, metadata, its bytes, check
//! word   32..48 roots
//! ```
//!
//! Where the parts lie is said twice, and word 6 says which of the two holds: a region grows by writing the
//! other one and changing that word, so that it has either its old shape or its new one at any instant.
//!
//! Invariants
//! - **F1** words 0 to 4, and the extent that holds, are what they were when they were written (their checks fit), or the
//!   region is refused; so is one whose numbers do not fit together.
//! - **F2** the state is `CLOSED` only from a close to the next open; whoever finds another one recovers.
//! - **F3** while the header of a new region is written the state is `CREATING`, and there is no magic: what is cut short is told from
//!   what is not ours, and is nothing yet.

use twox_hash::XxHash3_128;

use super::{CAPACITY_MAX, Extent, PAGE, Table};
use crate::size_class::{CHUNK, GRANULE, SPAN};
use crate::sync::{AtomicU64, Ordering, Ordering::Relaxed};

/// Words of the header.
pub(crate) const WORDS: usize = PAGE / 8;
/// "engram", and what no text has.
const MAGIC: u64 = u64::from_ne_bytes(*b"\x89engram\n");
/// Of the format: raised when older libraries cannot read it, or newer ones not it. 1 was never released.
pub(crate) const VERSION: u64 = 2;
const GEOMETRY: u64 = (GRANULE as u64) << 48 | (SPAN as u64) << 24 | CHUNK as u64;

const CHECK: usize = 4;
const STATE: usize = 5;
const EXTENT: usize = 6;
const ALIGNMENT: usize = 7;
const EXTENTS: usize = 8;
const EXTENT_WORDS: usize = 8;
const EXTENT_CHECK: usize = 4;
const ROOTS: usize = 32;
/// Offsets that a program may keep in the header.
pub(crate) const ROOT_SLOTS: usize = 16;

// Words, so that no changed bit turns one into another: what is being created is not kept.
const CREATING: u64 = u64::from_ne_bytes(*b"creating");
const OPEN: u64 = u64::from_ne_bytes(*b"is open.");
const CLOSED: u64 = u64::from_ne_bytes(*b"is shut.");

/// What a header says of its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// Columns.
    pub(crate) columns: u32,
    /// Which rows of cells its columns have: log2 of the zones that share one, or one more than any of those for narrow ones.
    pub(crate) rows: u32,
    /// Where its parts lie.
    pub(crate) extent: Extent,
}

/// What a region is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing yet, or one whose creation was cut short.
    Nothing,
    /// A region that was closed.
    Closed(Described),
    /// A region whose process died.
    Unclosed(Described),
}

/// A copy of a header: a page, which is much for the stack of whoever opens a region.
pub(crate) struct Copied(pub(crate) Box<[u64]>);

impl Copied {
    /// The header of a region that is being created. What it says of the state is not final.
    pub(crate) fn new(described: Described) -> Self {
        let mut words = vec![0; WORDS];
        words[..CHECK].copy_from_slice(&[MAGIC, VERSION, GEOMETRY, u64::from(described.columns) | u64::from(described.rows) << 32]);
        words[CHECK] = check(&words[..CHECK]);
        words[STATE] = CREATING;
        words[EXTENTS..EXTENTS + EXTENT_WORDS].copy_from_slice(&extent_words(described.extent));
        Self(words.into())
    }

    /// As bytes, for a file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// From the first bytes of a file; what is missing is zero.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = vec![0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes.try_into().map_or(0, u64::from_ne_bytes);
        }
        Self(words.into())
    }

    /// Whether there is nothing at all.
    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Whether it begins as one of a region does, whatever comes then.
    pub(crate) fn has_magic(&self) -> bool {
        self.0[0] == MAGIC
    }

    /// The words and what is stored there when it is written, in order (F3).
    fn stores(&self) -> impl Iterator<Item = (usize, u64)> {
        let rest = (1..WORDS).filter(|&index| index != STATE);
        core::iter::once((0, 0)).chain([STATE].into_iter().chain(rest).chain([0]).map(|index| (index, self.0[index])))
    }

    /// Marks the copy of an open region as that of a closed one.
    pub(crate) fn close(&mut self) {
        self.0[STATE] = CLOSED;
    }

    /// What the header says (F1), or what is wrong with it.
    pub(crate) fn read(&self) -> Result<Found, &'static str> {
        let words = &self.0;
        if words[0] == 0 && words[STATE] == CREATING {
            // `Header::write` was cut short.
            return Ok(Found::Nothing);
        }
        if !self.has_magic() {
            return Err("it is no region file: the first bytes are not the magic ones");
        }
        if words[1] != VERSION {
            return Err("its format is of another version of engram; this one reads version 2");
        }
        if words[CHECK] != check(&words[..CHECK]) {
            return Err("its header is damaged: the check of what it is does not fit");
        }
        if words[2] != GEOMETRY {
            return Err("it has other granules, spans or chunks than this build of engram");
        }
        if words[STATE] == CREATING {
            return Ok(Found::Nothing);
        }
        if words[EXTENT] > 1 {
            return Err("its header is damaged: neither of its two extents holds");
        }
        let at = EXTENTS + words[EXTENT] as usize * EXTENT_WORDS;
        let extent = &words[at..at + EXTENT_WORDS];
        if extent[EXTENT_CHECK] != check(&extent[..EXTENT_CHECK]) {
            return Err("its header is damaged: the check of its extent does not fit");
        }
        let extent = Extent {
            chunks: extent[0] as usize,
            data: extent[1] as usize,
            metadata: extent[2] as usize,
            metadata_bytes: extent[3] as usize,
        };
        let fits = (1..=CAPACITY_MAX / CHUNK).contains(&extent.chunks)
            && (PAGE..=PAGE + CHUNK).contains(&extent.data)
            && extent.metadata >= extent.data + extent.chunks * CHUNK + PAGE
            && extent.metadata <= 4 * CAPACITY_MAX
            && extent.metadata_bytes <= CAPACITY_MAX
            && (extent.data | extent.metadata | extent.metadata_bytes).is_multiple_of(PAGE);
        if !fits {
            return Err("its header is damaged: its parts do not fit together");
        }
        let described = Described { columns: words[3] as u32, rows: (words[3] >> 32) as u32, extent };
        match words[STATE] {
            OPEN => Ok(Found::Unclosed(described)),
            CLOSED => Ok(Found::Closed(described)),
            _ => Err("its header is damaged: it is neither open nor closed"),
        }
    }
}

/// The header of an open region.
#[derive(Clone, Copy)]
pub(crate) struct Header(Table<AtomicU64>);

impl Header {
    pub(crate) fn new(words: Table<AtomicU64>) -> Self {
        Self(words)
    }

    /// A copy of all of it.
    pub(crate) fn copy(self) -> Copied {
        Copied((0..WORDS).map(|index| self.0.at(index).load(Relaxed)).collect())
    }

    /// Writes the header of a region that is being created (F3).
    pub(crate) fn write(self, copied: &Copied) {
        for (index, word) in copied.stores() {
            // Release: the stores before it come first.
            self.0.at(index).store(word, Ordering::Release);
        }
    }

    /// From here on it has to be recovered, until it is closed (F2). Release: what was written before is there.
    pub(crate) fn set_open(self) {
        self.0.at(STATE).store(OPEN, Ordering::Release);
    }

    /// All that was written is there, and nothing is in flight (F2).
    pub(crate) fn set_closed(self) {
        self.0.at(STATE).store(CLOSED, Ordering::Release);
    }

    /// From here on `extent` holds, whose metadata is laid out.
    pub(crate) fn set_extent(self, extent: Extent) {
        let other = self.0.at(EXTENT).load(Relaxed) ^ 1;
        let at = EXTENTS + other as usize * EXTENT_WORDS;
        for (index, word) in extent_words(extent).into_iter().enumerate() {
            self.0.at(at + index).store(word, Relaxed);
        }
        // Release: the other extent, and all that lies where it says, comes before.
        self.0.at(EXTENT).store(other, Ordering::Release);
    }

    /// The largest alignment that was asked for, 0 for none above 16 bytes.
    pub(crate) fn alignment(self) -> usize {
        self.0.at(ALIGNMENT).load(Relaxed) as usize
    }

    /// Notes that a block of this alignment is asked for.
    pub(crate) fn note_alignment(self, align: usize) {
        if self.alignment() < align {
            self.0.at(ALIGNMENT).fetch_max(align as u64, Relaxed);
        }
    }

    /// A root's word.
    pub(crate) fn root(&self, slot: usize) -> Option<&AtomicU64> {
        (slot < ROOT_SLOTS).then(|| self.0.at(ROOTS + slot))
    }
}

fn extent_words(extent: Extent) -> [u64; EXTENT_WORDS] {
    let mut words = [extent.chunks as u64, extent.data as u64, extent.metadata as u64, extent.metadata_bytes as u64, 0, 0, 0, 0];
    words[EXTENT_CHECK] = check(&words[..EXTENT_CHECK]);
    words
}

/// The check of some words.
fn check(words: &[u64]) -> u64 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    XxHash3_128::oneshot(&bytes) as u64
}

#[cfg(test)]
mod tests;
