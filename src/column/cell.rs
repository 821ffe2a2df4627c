//! Cells: the few cache lines in front of the free slots of one (column, size class, zone).
//!
//! ```text
//! offset  0   8      16     24             32    40      48     52      56
//!         n | word | base | of the class | out | frees | list | drain | counted
//! offset  64      68     72
//!         inbox | hint | e[0] e[1] ... e[limit-1]
//! ```
//!
//! An allocation pops `e[n-1]`, or else takes slots of `word`, the free slots of one unit (granule
//! `base + bit * step`), or else refills. A free pushes, or else spills to the span's summary. Entries
//! are granules. The inbox and the hint are anybody's: what others freed, and the shared span that had room lately. They share
//! a line with the bottom of the stack, which is written to seldom enough: once for each span that others begin to free into.
//!
//! A *wide* cell takes 448 bytes, a *narrow* one 128: its stack has room for seven. Where the cells of a column lie: see `rows`.
//!
//! Invariants
//! - **K1** only the holder of the column writes a cell, but for its inbox and hint, and what comes from its class only once; a
//!   zeroed cell is empty, and full at the same time (n = limit = 0): its first use goes through the slow
//!   paths, which set it up.
//! - **K2** allocations = frees + out - n: `out` counts the slots that left their span less those that went back to it. (What others
//!   freed is not among the frees, and leaves its span again when it is handed out.)
//! - **K3** the slots of the word are counted as free by their span (`counted` = 1) or, as long as the
//!   word came from what others freed, not yet (0): see S4.

use core::num::{NonZeroU32, NonZeroU64};
use core::sync::atomic::compiler_fence;

use crate::map::{Granule, SpanId};
use crate::size_class::{Class, NARROW_STACK, OfCell, SMALL_CLASSES, SMALL_STACK, WORD_CLASS_GRANULES, Width};
use crate::span::Inbox;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst, bump, by_one_register, opaque};

use super::rows::CellId;

/// The first line of a cell.
#[repr(C)]
pub(crate) struct CellHead {
    /// Entries of the stack.
    n: AtomicU64,
    word: AtomicU64,
    base: AtomicU64,
    class: AtomicU64,
    out: AtomicU64,
    frees: AtomicU64,
    list: AtomicU32,
    drain: AtomicU32,
    counted: AtomicU32,
    reserved: u32,
}

/// What anybody writes of a cell.
#[repr(C)]
pub(crate) struct OpenHead {
    pub(crate) inbox: Inbox,
    hint: AtomicU32,
}

impl OpenHead {
    /// The shared span of the cell that had room lately. A hint: its state decides.
    #[inline(always)]
    pub(crate) fn hint(&self) -> &AtomicU32 {
        &self.hint
    }
}

/// How often a cell's counts are looked at again while its holder changes them.
const LOOKS: u32 = 16;
/// Bytes of a cell before its stack.
pub(super) const HEAD_BYTES: usize = size_of::<CellHead>() + size_of::<OpenHead>();

/// Bytes of a cell: whole lines.
pub(super) const fn bytes_of(width: Width) -> usize {
    match width {
        Width::Wide => HEAD_BYTES + 8 * SMALL_STACK,
        Width::Narrow => HEAD_BYTES + 8 * NARROW_STACK,
    }
}
const _: () = assert!(HEAD_BYTES == 72 && bytes_of(Width::Wide) == 7 * 64 && bytes_of(Width::Narrow) == 2 * 64);

/// A cell of a column. `Copy`: a pointer into the region (R1).
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Cell(*const CellHead);

impl Cell {
    /// The cell at `offset` bytes from `block`.
    ///
    /// # Safety
    /// `block` is a column's block or one of its rows, and a cell lies at `offset`.
    #[inline(always)]
    pub(crate) unsafe fn new(block: *const u8, offset: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { block.add(offset).cast() })
    }

    /// The same cell, for the fast path: each pop and push loads the counter that the one before stored.
    #[inline(always)]
    pub(crate) fn by_one_register(self) -> Self {
        Self(by_one_register(self.0))
    }

    #[inline(always)]
    fn head(&self) -> &CellHead {
        // SAFETY: made by `new`: a cell of a mapped region (R1); atomics.
        unsafe { &*self.0 }
    }

    #[inline(always)]
    fn entry(&self, index: u64) -> &AtomicU64 {
        // SAFETY: entries follow the heads; K1: index < limit, which is at most the cell's room.
        unsafe { &*self.0.add(1).cast::<OpenHead>().add(1).cast::<AtomicU64>().add(index as usize) }
    }

    /// What anybody writes of it.
    #[inline(always)]
    pub(crate) fn open<'a>(self) -> &'a OpenHead {
        // SAFETY: it follows the cell's head, in the mapped region (R1); atomics.
        unsafe { &*self.0.add(1).cast() }
    }

    /// Whether the cell may have free slots: it has one, or is told of one.
    pub(crate) fn may_have_slots(self) -> bool {
        let (head, open) = (self.head(), self.open());
        let kept = head.n.load(Relaxed) | self.word_bits();
        let listed = self.list().0 | self.drain().0 | open.hint.load(Relaxed);
        kept != 0 || listed != SpanId::NONE.0 || !open.inbox.is_empty()
    }

    /// Takes the latest slot of the stack.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<Granule> {
        let head = self.head();
        // Its sign says that it was 0: one instruction and a jump. Else the compiler compares first, or keeps both numbers.
        let below = head.n.load(Relaxed).wrapping_sub(1);
        if below.cast_signed() < 0 {
            return None;
        }
        let below = opaque(below);
        head.n.store(below, Relaxed);
        Some(Granule(self.entry(below).load(Relaxed)))
    }

    /// Keeps a freed slot, if there is room.
    #[inline(always)]
    pub(crate) fn push(&self, granule: Granule) -> bool {
        let head = self.head();
        let n = head.n.load(Relaxed);
        if n as u8 == self.limit() {
            return false;
        }
        self.entry(n).store(granule.0, Relaxed);
        head.n.store(n + 1, Relaxed);
        // Last: no load of the next operation waits for this store, which changes memory in one instruction.
        compiler_fence(SeqCst);
        bump(&head.frees, 1);
        true
    }

    /// Takes the lowest slot of the word, and moves up to three more onto the empty stack, so that they
    /// will be taken in order of address. `None` if the word is empty; else the slot, and how many were taken.
    #[inline(always)]
    pub(crate) fn pop_ahead(&self) -> Option<(Granule, u32)> {
        let (head, mut word) = (self.head(), self.word());
        let first = word.next()?;
        let mut ahead = 0_u64;
        if let Some(second) = word.next() {
            ahead = 1;
            if let Some(third) = word.next() {
                ahead = 2;
                if let Some(fourth) = word.next() {
                    ahead = 3;
                    self.entry(0).store(fourth.0, Relaxed);
                }
                self.entry(ahead - 2).store(third.0, Relaxed);
            }
            self.entry(ahead - 1).store(second.0, Relaxed);
        }
        head.n.store(head.n.load(Relaxed) + ahead, Relaxed);
        head.word.store(word.bits, Relaxed);
        Some((first, ahead as u32 + 1))
    }

    /// The checked-out slots, lowest first.
    #[inline(always)]
    pub(crate) fn word(&self) -> Slots {
        self.word_of(self.granules())
    }

    /// The same of a cell whose slots have so many granules, for checks, too.
    #[inline(always)]
    pub(crate) fn word_of(&self, granules: u64) -> Slots {
        let head = self.head();
        let step = if granules < WORD_CLASS_GRANULES { 1 } else { granules };
        Slots { bits: head.word.load(Relaxed), base: head.base.load(Relaxed), step }
    }

    /// The checked-out word's bits.
    pub(crate) fn word_bits(&self) -> u64 {
        self.head().word.load(Relaxed)
    }

    /// Changes which slots of the word are left.
    #[inline(always)]
    pub(crate) fn set_word(&self, bits: u64) {
        self.head().word.store(bits, Relaxed);
    }

    /// Gives the checked-out word up: its slots are under the summary, or their span is given back.
    #[inline(always)]
    pub(crate) fn drop_word(&self) {
        self.set_word(0);
    }

    /// Forgets where its word, which is empty, was checked out from.
    pub(crate) fn forget_unit(&self) {
        self.head().base.store(0, Relaxed);
    }

    /// Counts slots that left their span.
    #[inline(always)]
    pub(crate) fn count_out(&self, slots: u64) {
        bump(&self.head().out, slots);
    }

    /// Counts a slot that went back to its span.
    #[inline(always)]
    fn count_in(&self) {
        bump(&self.head().out, 1_u64.wrapping_neg());
    }

    /// Counts a freed slot that went past the full stack to its span.
    #[inline(always)]
    pub(crate) fn count_spill(&self) {
        // First: who looks in between sees one allocation too few, not one too many.
        self.count_in();
        bump(&self.head().frees, 1);
    }

    /// Whether it was used before.
    #[inline(always)]
    pub(crate) fn is_set_up(&self) -> bool {
        self.granules() != 0
    }

    /// Whether it checks units out, which takes room for a few slots on its stack. Else its word is always empty: what is
    /// free stays with its run, but for one slot at most.
    #[inline(always)]
    pub(crate) fn checks_out(&self) -> bool {
        self.limit() > 1
    }

    /// First use. The stack of a narrow cell has room for less than the class says.
    #[inline(always)]
    pub(crate) fn set_up(&self, class: OfCell) {
        self.head().class.store(class.to_bits(), Relaxed);
    }

    /// What comes from its class; zero before it is set up. For the holder.
    #[inline(always)]
    fn of_class(&self) -> OfCell {
        // SAFETY: K1: nobody but the holder, who asks, writes it. Not an atomic load: of that no part alone would be read.
        unsafe { self.head().class.as_ptr().cast::<OfCell>().read() }
    }

    /// Entries that the stack may hold; 0 before it is set up.
    #[inline(always)]
    fn limit(&self) -> u8 {
        self.of_class().stack
    }

    /// Granules of a slot.
    #[inline(always)]
    pub(crate) fn granules(&self) -> u64 {
        u64::from(self.of_class().granules)
    }

    /// Whether units of its spans are words (else slots); it is set up.
    #[inline(always)]
    pub(crate) fn is_by_word(&self) -> bool {
        self.granules() < WORD_CLASS_GRANULES
    }

    /// Its class' number; it is set up.
    #[inline(always)]
    pub(crate) fn class_index(&self) -> u32 {
        u32::from(self.of_class().index)
    }

    /// Its class; it is set up.
    #[inline(always)]
    pub(crate) fn class(&self) -> &'static Class {
        Class::at(self.class_index())
    }

    /// Whether its slots lie in runs of spans; it is set up.
    #[inline(always)]
    pub(crate) fn is_medium(&self) -> bool {
        self.class_index() >= SMALL_CLASSES as u32
    }

    /// What [`Class::unit`] multiplies with; `None` if it is medium, or the sink.
    #[inline(always)]
    pub(crate) fn small_reciprocal(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.of_class().reciprocal)
    }

    /// Its address.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.0.cast()
    }

    /// Checks a word out: the bits of `word` are free slots from granule `base` on; `counted` as in K3.
    #[inline(always)]
    pub(crate) fn check_out(&self, base: Granule, word: u64, counted: u32) {
        let head = self.head();
        head.base.store(base.0, Relaxed);
        head.word.store(word, Relaxed);
        head.counted.store(counted, Relaxed);
    }

    /// Whether the word's slots are counted as free by their span (K3): 1, else 0.
    #[inline(always)]
    pub(crate) fn counted(&self) -> u32 {
        self.head().counted.load(Relaxed)
    }

    /// Takes the latest entry of the stack out of the cell, on its way back to its span.
    pub(crate) fn evict_entry(&self) -> Option<Granule> {
        if self.head().n.load(Relaxed) == 0 {
            return None;
        }
        // First, as in `count_spill`.
        self.count_in();
        self.pop()
    }

    /// The span that the word was checked out from.
    #[inline(always)]
    pub(crate) fn word_span(&self) -> SpanId {
        self.word_base().span()
    }

    /// The lowest granule of the unit that the word was checked out from.
    #[inline(always)]
    pub(crate) fn word_base(&self) -> Granule {
        Granule(self.head().base.load(Relaxed))
    }

    /// Whether its numbers are such as a cell of this place can have (K1), for checks: of one that is not, nothing else may
    /// be asked. `granules` is one past the last granule.
    pub(crate) fn is_sound(&self, id: CellId, granules: u64) -> bool {
        let head = self.head();
        // Atomic: its holder may set it up at this moment.
        let of_class = OfCell::of_bits(head.class.load(Relaxed));
        let (n, limit) = (head.n.load(Relaxed), u64::from(of_class.stack));
        if limit <= 1 && self.word_bits() != 0 {
            return false;
        }
        if of_class.granules == 0 {
            return limit == 0 && n == 0;
        }
        of_class == id.of_cell() && n <= limit && self.counted() <= 1 && self.word_base().0 < granules
    }

    /// How many entries its stack has, for whoever does not hold it: a number as a stack may have, whatever a file holds.
    fn entries(&self) -> u64 {
        self.head().n.load(Acquire) & u64::from(u8::MAX)
    }

    /// Entries of the stack, for checks.
    pub(crate) fn stack(&self) -> impl Iterator<Item = Granule> + '_ {
        (0..self.entries()).map(|index| Granule(self.entry(index).load(Relaxed)))
    }

    /// Blocks allocated from it, freed through it (K2), and slots in its stack. Of a cell in use the numbers are of
    /// slightly different moments, and may be some allocations behind.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let head = self.head();
        // Acquire: one after the other. They are of one moment if none has changed in between. In this order: a push, a spill or a
        // refill that comes in between hides what was given, and shows nothing that was not.
        let look = || (head.frees.load(Acquire), head.out.load(Acquire), self.entries());
        let mut now = look();
        for _ in 0..LOOKS {
            let before = now;
            now = look();
            if now == before {
                break;
            }
        }
        let (frees, out, stack) = now;
        // A slot may be in the stack before it is counted as out of its span.
        let allocs = frees.wrapping_add(out).wrapping_sub(stack).cast_signed().max(0);
        (allocs.cast_unsigned(), frees, stack)
    }

    /// The first span with free slots that no cell keeps (S5).
    #[inline(always)]
    pub(crate) fn list(&self) -> SpanId {
        SpanId(self.head().list.load(Relaxed))
    }

    #[inline(always)]
    pub(crate) fn set_list(&self, span: SpanId) {
        self.head().list.store(span.0, Relaxed);
    }

    /// The rest of a chain that was taken from the inbox.
    pub(crate) fn drain(&self) -> SpanId {
        SpanId(self.head().drain.load(Relaxed))
    }

    pub(crate) fn set_drain(&self, span: SpanId) {
        self.head().drain.store(span.0, Relaxed);
    }
}

/// Free slots of one unit, lowest first.
pub(crate) struct Slots {
    bits: u64,
    base: u64,
    step: u64,
}

impl Iterator for Slots {
    type Item = Granule;

    #[inline(always)]
    fn next(&mut self) -> Option<Granule> {
        let bits = NonZeroU64::new(self.bits)?;
        self.bits &= self.bits - 1;
        Some(Granule(self.base + u64::from(bits.trailing_zeros()) * self.step))
    }
}
