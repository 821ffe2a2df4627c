//! A concept's slot, which describes itself: what it is, how it was decided, and whether it is whole.
//!
//! ```text
//! offset  0      8          16        24               28      32       40         44 45 46 47   48
//!         mark | checksum | version | content length | spike | wanted | accesses | lengths, ... | type | id | content
//! ```
//!
//! The mark is written last, and becomes its complement before the slot is discarded, and 0 before it is given back: a slot without it
//! is none. (That of a batch which is all or nothing names the batch until it is done: see `durable`.) The checksum covers all that comes
//! after it. With both, everything that is known of a concept but its edges is found again from the slots alone.
//!
//! Invariants
//! - **V1** a slot is written by whoever allocated its block, before anybody else can know of it, and never
//!   again but for its mark: so whoever finds a slot sees it whole, and its bytes do not change.
//! - **V2** a block is given back only when nobody who might have found its slot is still pinned: the guard that a
//!   reader shows is the proof. A forked child, which has all that waits for that, too, gives nothing of its parent's file back.

use core::ptr::NonNull;
use crossbeam_epoch::Guard;
use twox_hash::XxHash3_128;

use crate::guidance::{AllocationPriority, AllocationStrategyType, ConceptType};
use crate::spike::SpikeTime;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Release};

/// What a slot that is whole begins with where nobody looks for slots: "engramc1" in ASCII. Each region file has a mark of its own.
pub(super) const MARK: u64 = u64::from_le_bytes(*b"engramc1");
/// Bytes before the type.
const HEAD: usize = size_of::<Head>();
/// Where the checksum begins to count.
const CHECKED: usize = 16;

#[repr(C)]
struct Head {
    mark: AtomicU64,
    checksum: u64,
    version: u64,
    content: u32,
    spike: u32,
    wanted: u64,
    accesses: f32,
    type_length: u8,
    id_length: u8,
    /// Priority, and strategy from bit 4 on.
    served: u8,
    /// The pool that it is charged to, by its number in the region.
    pool: u8,
}

const _: () = assert!(HEAD == 48 && align_of::<Head>() <= 16);

/// All that a slot says.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "`type` is taken")]
pub(super) struct Concept<'a> {
    pub(super) id: &'a str,
    pub(super) concept_type: ConceptType,
    pub(super) content: &'a [u8],
    pub(super) version: u64,
    pub(super) spike: SpikeTime,
    /// Bytes that the caller wanted for the content.
    pub(super) wanted: usize,
    /// Accesses a second that the caller expected.
    pub(super) accesses: f32,
    pub(super) priority: AllocationPriority,
    pub(super) strategy: AllocationStrategyType,
    /// The pool that it is charged to, by its number in the region.
    pub(super) pool: u8,
}

impl Concept<'_> {
    /// Bytes before the content.
    fn before(&self) -> usize {
        HEAD + self.concept_type.as_bytes().len() + self.id.len()
    }

    /// Bytes that its block must have: more than there are, if more are wanted than can be.
    pub(super) fn block_bytes(&self) -> usize {
        self.before().saturating_add(self.content.len().max(self.wanted))
    }
}

/// The slot at the start of a block.
#[derive(Clone, Copy)]
pub(super) struct Slot(NonNull<u8>);

impl Slot {
    /// Writes a concept into a block, and the mark last: [`MARK`], or that of a batch.
    ///
    /// # Safety
    /// The block is the caller's, has [`Concept::block_bytes`] bytes, and nobody else knows of it (V1).
    pub(super) unsafe fn write(block: NonNull<u8>, concept: &Concept, mark: u64) -> Self {
        let name = concept.concept_type.as_bytes();
        let head = Head {
            mark: AtomicU64::new(0),
            checksum: 0,
            version: concept.version,
            content: concept.content.len() as u32,
            spike: concept.spike.as_nanos().unwrap_or(u32::MAX),
            wanted: concept.wanted as u64,
            accesses: concept.accesses,
            type_length: name.len() as u8,
            id_length: concept.id.len() as u8,
            served: concept.priority as u8 | (concept.strategy as u8) << 4,
            pool: concept.pool,
        };
        let mut at = HEAD;
        // SAFETY: V1: the block is ours and long enough, its start aligned to a granule, 16 bytes; the parts
        // are somebody else's memory, so that they do not overlap with it.
        unsafe {
            block.cast::<Head>().write(head);
            for part in [name, concept.id.as_bytes(), concept.content] {
                block.add(at).copy_from_nonoverlapping(NonNull::from(part).cast(), part.len());
                at += part.len();
            }
        }
        let slot = Self(block);
        // SAFETY: V1: as above.
        unsafe { (&raw mut (*slot.0.cast::<Head>().as_ptr()).checksum).write(slot.checksum(at)) };
        slot.head().mark.store(mark, Release);
        slot
    }

    /// The slot at the start of a block that was written as one.
    pub(super) const fn at(block: NonNull<u8>) -> Self {
        Self(block)
    }

    /// The block.
    pub(super) const fn block(self) -> NonNull<u8> {
        self.0
    }

    fn head<'a>(self) -> &'a Head {
        // SAFETY: V1: a slot begins with a head, which does not change but for its mark, an atomic; V2: for as
        // long as somebody is pinned.
        unsafe { self.0.cast().as_ref() }
    }

    /// The slot's bytes from `start` on, `length` of them, all within what was written.
    fn bytes<'a>(self, start: usize, length: usize) -> &'a [u8] {
        // SAFETY: V1, V2: written, and unchanged for as long as somebody is pinned.
        unsafe { core::slice::from_raw_parts(self.0.add(start).as_ptr(), length) }
    }

    /// The checksum that was written, of a slot that is whole.
    pub(super) fn known_checksum(self) -> u64 {
        self.head().checksum
    }

    fn checksum(self, end: usize) -> u64 {
        XxHash3_128::oneshot(self.bytes(CHECKED, end - CHECKED)) as u64
    }

    fn concept_type(self) -> ConceptType {
        ConceptType::padded(self.bytes(HEAD, usize::from(self.head().type_length)))
    }

    /// What a reader wants to know, at less cost: content, type, version, first spike.
    pub(super) fn glance(self, _pinned: &Guard) -> (&[u8], ConceptType, u64, SpikeTime) {
        let head = self.head();
        (self.bytes(self.content_at(), head.content as usize), self.concept_type(), head.version, SpikeTime::from_nanos(head.spike))
    }

    /// What the slot says; valid while the guard pins it (V2).
    pub(super) fn read(self, _pinned: &Guard) -> Concept<'_> {
        let head = self.head();
        let (type_length, id_length) = (usize::from(head.type_length), usize::from(head.id_length));
        let id = HEAD + type_length;
        let text = |start, length| core::str::from_utf8(self.bytes(start, length)).unwrap_or_default();
        Concept {
            id: text(id, id_length),
            concept_type: self.concept_type(),
            content: self.bytes(id + id_length, head.content as usize),
            version: head.version,
            spike: SpikeTime::from_nanos(head.spike),
            wanted: head.wanted as usize,
            accesses: head.accesses,
            priority: match head.served & 15 {
                0 => AllocationPriority::Low,
                1 => AllocationPriority::Normal,
                2 => AllocationPriority::High,
                _ => AllocationPriority::Critical,
            },
            strategy: AllocationStrategyType::ALL[usize::from(head.served >> 4) % AllocationStrategyType::ALL.len()],
            pool: head.pool,
        }
    }

    /// Whether the slot at the start of a live block of `usable` bytes, whatever is in it, is whole but for its mark:
    /// its parts fit into the block and to its checksum. Nobody writes meanwhile.
    pub(super) fn is_whole(self, usable: usize) -> bool {
        if usable < HEAD {
            return false;
        }
        let end = self.used_bytes();
        // Bytes of any value are a head; nothing beyond it is read before it is known to fit.
        end <= usable
            && usize::from(self.head().type_length) <= ConceptType::LONGEST
            && self.head().checksum == self.checksum(end)
            && core::str::from_utf8(self.bytes(HEAD, self.content_at() - HEAD)).is_ok()
    }

    /// Its mark: [`MARK`], that of a batch, or anything else for a block that is no slot. (Every block has as many bytes.)
    pub(super) fn mark(self) -> u64 {
        self.head().mark.load(Acquire)
    }

    /// Sets the mark of a slot that is the caller's to change: it holds the node's lock, or nobody else knows the slot.
    pub(super) fn set_mark(self, mark: u64) {
        self.head().mark.store(mark, Release);
    }

    /// What a slot has in place of the region's mark from when it is discarded until its block is given back.
    pub(super) const fn retired(mark: u64) -> u64 {
        !mark
    }

    /// The block is no slot any more, nor one that waits: before it is given back.
    pub(super) fn clear_mark(self) {
        self.set_mark(0);
    }

    /// Bytes from the block's start to the content.
    pub(super) fn content_at(self) -> usize {
        let head = self.head();
        HEAD + usize::from(head.type_length) + usize::from(head.id_length)
    }

    /// Bytes that the concept really uses.
    pub(super) fn used_bytes(self) -> usize {
        self.content_at() + self.head().content as usize
    }
}

#[cfg(test)]
mod tests;
