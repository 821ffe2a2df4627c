//! Size classes: from a request's bytes to the slots that serve it.
//!
//! Eight classes an octave, multiples of 16 bytes, so that a slot exceeds the request by at most
//! 12.5 % from 128 bytes on (below, by less than a granule; for an alignment above 16 bytes the
//! size is rounded up to that first):
//!
//! ```text
//! class     0   1 ...  7 |   8   9 ...  15 |  16 ... |  47 |   48 ...      95
//! bytes    16  32 ... 128| 144 160 ... 256 | 288 ... |4096 | 4608 ... 262 144
//!          '------ small: a span of 32 KiB ----------------'  medium: a run of spans
//! ```
//!
//! **Units.** A span's summary has a bit for each *unit*. For classes below 512 bytes a unit is
//! one 64-bit word of the live map (1 KiB of memory); from 512 bytes on, when a span has at most
//! 64 slots, a unit is one slot. Either way the unit of a granule is one multiplication.
//!
//! Invariants
//! - **C1** `size <= CLASSES[class_of(size)].bytes`, and no smaller class would do.
//! - **C2** slots of a class lie at multiples of its size from the start of their span or run.
//! - **C3** a run's leftover is at most 1/16 of it, and nothing from 32 KiB up.

/// Bytes of a granule: the unit of the live map and the least block.
pub(crate) const GRANULE: usize = 16;
/// Bytes of a span.
pub(crate) const SPAN: usize = 32 << 10;
/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 2 << 20;
/// Spans of a chunk: one 64-bit word maps them.
pub(crate) const CHUNK_SPANS: usize = CHUNK / SPAN;
/// Granules of a span.
pub(crate) const SPAN_GRANULES: usize = SPAN / GRANULE;
/// Words of the live map for each span.
pub(crate) const SPAN_WORDS: usize = SPAN_GRANULES / 64;

/// Largest small size.
pub(crate) const SMALL_MAX: usize = 4096;
/// Largest medium size; above it blocks are whole spans or chunks.
pub(crate) const MEDIUM_MAX: usize = 256 << 10;
/// Small classes.
pub(crate) const SMALL_CLASSES: usize = 48;
/// Small and medium classes.
pub(crate) const CLASS_COUNT: usize = 96;
/// Classes below 512 bytes, whose units are words.
const WORD_CLASSES: usize = 23;
/// Granules of the least class whose units are slots.
pub(crate) const WORD_CLASS_GRANULES: u64 = 32;
/// Entries of the stack of a wide cell: of a small class, and not narrow.
pub(crate) const SMALL_STACK: usize = 47;
/// Entries of the stack of a medium cell, or of another narrow one.
pub(crate) const NARROW_STACK: usize = 7;
/// Bytes that a cell's stack may keep from their spans.
const STACK_BYTES: usize = 32 << 10;

/// Which of two stack sizes a cell has; the place of what it takes over in [`Class::of_cells`]. As wide as a place, so that the fast
/// path converts nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Width {
    /// As many as its class wants.
    Wide = 0,
    /// [`NARROW_STACK`].
    Narrow = 1,
}

/// What a cell takes over from its class at its first use, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub(crate) struct OfCell {
    /// Entries that the stack may hold; above a span's size one, and above two spans' none, so that
    /// runs whose blocks are free are empty.
    pub(crate) stack: u8,
    /// The class' number.
    pub(crate) index: u8,
    /// Granules of a slot.
    pub(crate) granules: u16,
    /// [`Class::reciprocal`] of a small class, 0 of a medium one.
    pub(crate) reciprocal: u32,
}

impl OfCell {
    /// As one word.
    #[inline(always)]
    pub(crate) const fn to_bits(self) -> u64 {
        // SAFETY: plain integers without padding between them.
        unsafe { core::mem::transmute(self) }
    }

    /// The other way.
    #[inline(always)]
    pub(crate) const fn of_bits(bits: u64) -> Self {
        // SAFETY: as above; any bits are valid.
        unsafe { core::mem::transmute(bits) }
    }
}

/// A size class.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Class {
    /// All units of a fresh span or run.
    pub(crate) units: u64,
    /// Units of a fresh span that a cell leaves behind when it checks the first one out.
    pub(crate) later_units: u64,
    /// The checked-out word of a fresh span's first unit, whose first slot is taken at once.
    pub(crate) first_word: u64,
    /// Bytes of a slot.
    pub(crate) bytes: u32,
    /// 2^32 / granules of a unit, rounded up: `unit = (granule * reciprocal) >> 32`.
    pub(crate) reciprocal: u32,
    /// Slots of a span or run.
    pub(crate) slots: u16,
    /// Spans of a run; 1 for small classes.
    pub(crate) spans: u16,
    /// What its cells take over, by their [`Width`].
    pub(crate) of_cells: [OfCell; 2],
    /// Granules of a slot.
    pub(crate) granules: u16,
    /// Its number.
    pub(crate) index: u8,
    /// Whether units are words of the live map (else slots).
    pub(crate) by_word: bool,
}

impl Class {
    /// The unit of the slot `granule` granules from the start of its span or run.
    #[inline(always)]
    pub(crate) const fn unit(&self, granule: u64) -> u32 {
        ((granule * self.reciprocal as u64) >> 32) as u32
    }

    /// Whether slots lie in runs of spans.
    #[inline(always)]
    pub(crate) const fn is_medium(&self) -> bool {
        self.index as usize >= SMALL_CLASSES
    }

    /// The largest power of two (up to a span) that all slots are aligned to.
    pub(crate) const fn natural_align(&self) -> usize {
        let align = 1 << self.bytes.trailing_zeros();
        if align < SPAN { align } else { SPAN }
    }
}

/// The class of `size`, 1 to [`MEDIUM_MAX`] bytes (C1).
#[inline]
pub(crate) const fn class_of(size: usize) -> usize {
    let last = size - 1;
    if size <= 128 {
        last >> 4
    } else {
        let octave = last.ilog2() as usize;
        8 + (octave - 7) * 8 + ((last >> (octave - 3)) & 7)
    }
}

const fn classes_of_granules() -> [&'static Class; SMALL_MAX / GRANULE] {
    let mut all = [&CLASSES[0]; SMALL_MAX / GRANULE];
    let mut granules = 0;
    while granules < all.len() {
        all[granules] = &CLASSES[class_of((granules + 1) * GRANULE)];
        granules += 1;
    }
    all
}

/// The class of each number of granules up to [`SMALL_MAX`], less one.
static CLASS_OF_GRANULES: [&Class; SMALL_MAX / GRANULE] = classes_of_granules();

/// The class of a size up to [`SMALL_MAX`]; `None` for size 0 and above.
#[inline(always)]
pub(crate) fn small_class_of(size: usize) -> Option<&'static Class> {
    CLASS_OF_GRANULES.get(size.wrapping_sub(1) / GRANULE).copied()
}

const fn class_bytes(class: usize) -> usize {
    if class < 8 { 16 * (class + 1) } else { (9 + (class - 8) % 8) << ((class - 8) / 8 + 4) }
}

/// Spans of a run: the fewest that leave over at most 1/16, and nothing from a span's size up (C3).
const fn run_spans(bytes: usize) -> usize {
    if bytes <= SMALL_MAX {
        return 1;
    }
    let share = if bytes < SPAN { 16 } else { usize::MAX };
    let mut spans = bytes.div_ceil(SPAN);
    while spans * SPAN % bytes > spans * SPAN / share {
        spans += 1;
    }
    spans
}

const fn min(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

const fn class(index: usize) -> Class {
    let bytes = class_bytes(index);
    let spans = run_spans(bytes);
    let slots = spans * SPAN / bytes;
    let by_word = index < WORD_CLASSES;
    let unit_granules = if by_word { 64 } else { bytes / GRANULE };
    let units = if by_word { SPAN_WORDS } else { slots };
    let most = if index < SMALL_CLASSES { SMALL_STACK } else { NARROW_STACK };
    let wanted = STACK_BYTES / bytes;
    let units = if units == 64 { u64::MAX } else { (1 << units) - 1 };
    let reciprocal = (1u64 << 32).div_ceil(unit_granules as u64) as u32;
    let stack = if bytes > 2 * SPAN {
        0
    } else if bytes > SPAN {
        1
    } else if wanted < 4 {
        4
    } else {
        wanted
    };
    let of_cell = OfCell {
        stack: 0,
        index: index as u8,
        granules: (bytes / GRANULE) as u16,
        reciprocal: if index < SMALL_CLASSES { reciprocal } else { 0 },
    };
    Class {
        units,
        later_units: if by_word || bytes > SPAN { units & !1 } else { 0 },
        first_word: if by_word {
            PATTERNS[index][0] & !1
        } else if bytes > SPAN {
            0
        } else {
            units & !1
        },
        bytes: bytes as u32,
        reciprocal,
        slots: slots as u16,
        spans: spans as u16,
        of_cells: [OfCell { stack: min(stack, most) as u8, ..of_cell }, OfCell { stack: min(stack, NARROW_STACK) as u8, ..of_cell }],
        granules: (bytes / GRANULE) as u16,
        index: index as u8,
        by_word,
    }
}

/// Rows of the table of classes: what a byte can name, so that one needs no check.
const CLASS_ROWS: usize = 1 << u8::BITS;

const fn classes() -> [Class; CLASS_ROWS] {
    let mut all = [class(0); CLASS_ROWS];
    let mut index = 0;
    while index < CLASS_COUNT {
        all[index] = class(index);
        index += 1;
    }
    all
}

/// Every class, smallest first, up to [`CLASS_COUNT`].
pub(crate) static CLASSES: [Class; CLASS_ROWS] = classes();

impl Class {
    /// The class of this number.
    #[inline(always)]
    pub(crate) fn at(index: u32) -> &'static Self {
        debug_assert!((index as usize) < CLASS_COUNT);
        &CLASSES[index as usize % CLASS_ROWS]
    }
}

/// Rows of the table of patterns: a power of two, so that a masked index needs no check.
const PATTERN_ROWS: usize = WORD_CLASSES.next_power_of_two();

const fn patterns() -> [[u64; SPAN_WORDS]; PATTERN_ROWS] {
    let mut all = [[0; SPAN_WORDS]; PATTERN_ROWS];
    let mut class = 0;
    while class < WORD_CLASSES {
        let granules = class_bytes(class) / GRANULE;
        let mut start = 0;
        while start + granules <= SPAN_GRANULES {
            all[class][start / 64] |= 1 << (start % 64);
            start += granules;
        }
        class += 1;
    }
    all
}

const PATTERNS: [[u64; SPAN_WORDS]; PATTERN_ROWS] = patterns();
static PATTERN: [[u64; SPAN_WORDS]; PATTERN_ROWS] = PATTERNS;

/// The slot starts of `class` (whose units are words) in word `unit` of a span.
#[inline(always)]
pub(crate) fn pattern(class: usize, unit: u32) -> u64 {
    debug_assert!(class < WORD_CLASSES && (unit as usize) < SPAN_WORDS);
    PATTERN[class % PATTERN_ROWS][unit as usize % SPAN_WORDS]
}

/// The slot starts of a class in word `index` of its span or run.
#[cfg(not(loom))]
pub(crate) fn slot_starts(class_index: usize, index: u64) -> u64 {
    let class = &CLASSES[class_index];
    if class.by_word {
        return pattern(class_index, index as u32);
    }
    let stride = u64::from(class.granules);
    (0..u64::from(class.slots))
        .map(|slot| slot * stride)
        .filter(|start| start / 64 == index)
        .fold(0, |word, start| word | 1 << (start % 64))
}

/// What a request of `size` bytes takes, `None` if it is 0 or no arena could serve it.
pub(crate) fn good_size(size: usize, capacity: usize) -> Option<usize> {
    if size == 0 || size > capacity {
        None
    } else if size <= MEDIUM_MAX {
        Some(CLASSES[class_of(size)].bytes as usize)
    } else {
        let unit = if size <= CHUNK { SPAN } else { CHUNK };
        size.checked_next_multiple_of(unit)
    }
}

#[cfg(test)]
mod tests;
