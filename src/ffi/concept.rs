//! Concepts: what is asked for, and what was given.

use core::ffi::{c_char, c_void};

use super::status::{ENGRAM_OK, Failure, engram_status, fail_with};
use crate::error::Error;
use crate::guidance::{Asked, CONCEPT_ID_MAX, check_content, is_concept_id};
use crate::service::{AllocationError, AllocationPriority, AllocationStrategyType, ConceptType, Granted, ResourceRequirements};

/// Spikes after all others.
pub const ENGRAM_PRIORITY_LOW: u32 = 0;
/// The usual.
pub const ENGRAM_PRIORITY_NORMAL: u32 = 1;
/// Spikes before all that are normal or low.
pub const ENGRAM_PRIORITY_HIGH: u32 = 2;
/// Spikes before all others.
pub const ENGRAM_PRIORITY_CRITICAL: u32 = 3;

/// Rich content: likeness counts more.
pub const ENGRAM_STRATEGY_HIGH_COMPLEXITY: u32 = 0;
/// Read often: an earlier zone, near its neighbours.
pub const ENGRAM_STRATEGY_HIGH_PERFORMANCE: u32 = 1;
/// A large slot: where there is room.
pub const ENGRAM_STRATEGY_RESOURCE_OPTIMIZED: u32 = 2;
/// None of these.
pub const ENGRAM_STRATEGY_BALANCED: u32 = 3;

/// What is asked for. Set it to zeros first: what is not named then is at its default, but for the priority, which
/// is low. Everything that it points to is copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct engram_concept {
    /// The concept's name: UTF-8, not NUL-ended; not NULL.
    pub id: *const c_char,
    /// Its bytes, 1 to 255.
    pub id_length: usize,
    /// Its type, which names the pool: bytes of `a-z`, `0-9`, `_` and `-`, not NUL-ended; not NULL.
    pub r#type: *const c_char,
    /// Their number, 1 to 32.
    pub type_length: usize,
    /// What is stored, any bytes; may be NULL if there are none.
    pub content: *const c_void,
    /// Their number, 0 to 16 MiB.
    pub content_length: usize,
    /// What the content means, as finite numbers; NULL with length 0: a hash of the content is used.
    pub embedding: *const f32,
    /// Their number, at least 1 if `embedding` is not NULL.
    pub embedding_length: usize,
    /// Ids of concepts to lie near, allocated already or not: UTF-8, not NUL-ended. Each is a known edge. One that is
    /// empty or longer than 255 bytes names nobody. May be NULL if there are none, and so may the lengths.
    pub hints: *const *const c_char,
    /// The bytes of each.
    pub hint_lengths: *const usize,
    /// Their number.
    pub hint_count: usize,
    /// Bytes wanted; the slot holds at least this and the content. 0: the content's length.
    pub memory_size: usize,
    /// How often a second it will be read, finite and at least 0; 0: unknown.
    pub expected_accesses_per_s: f32,
    /// `ENGRAM_PRIORITY_*`.
    pub priority: u32,
}

/// What was given. After a failure all is zero but the status.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct engram_placement {
    /// Bytes from the start of the service's memory to the content's first byte; no two concepts have the same.
    /// Maintenance may move it.
    pub offset: u64,
    /// Bytes that the content may take there.
    pub size: u64,
    /// 1 when it is allocated, one more with each update.
    pub version: u64,
    /// The column.
    pub column: u32,
    /// Nanoseconds to the first spike, or `ENGRAM_TTFS_NONE`.
    pub ttfs_ns: u32,
    /// `ENGRAM_STRATEGY_*`.
    pub strategy: u32,
    /// How clear the column's victory was, 0 to 1; 0 if no guidance decided.
    pub confidence: f32,
    /// 1 if the decision was remembered, else 0.
    pub cache_hit: u32,
    /// 1 if guidance chose the column, 0 if a hash of the id did.
    pub guided: u32,
    /// Nanoseconds that it took, waiting included.
    pub time_ns: u64,
    /// `ENGRAM_OK`, or why it was refused.
    pub status: engram_status,
}

/// Names the first of some pointers that is null.
pub(crate) fn required(pointers: &[(&'static str, bool)]) -> Result<(), Failure> {
    match pointers.iter().find(|(_, is_null)| *is_null) {
        Some((name, _)) => Err(Error::Null(name).into()),
        None => Ok(()),
    }
}

/// A text or other bytes of the caller.
///
/// # Safety
/// `start` is null or has `length` bytes for as long as the result is used.
pub(crate) unsafe fn bytes_of<'a>(start: *const c_void, length: usize, what: &'static str) -> Result<&'a [u8], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    if start.is_null() {
        return Err(Error::Null(what).into());
    }
    // SAFETY: not null; the caller's promise. A length that no memory has is refused before this is called.
    Ok(unsafe { core::slice::from_raw_parts(start.cast(), length) })
}

/// UTF-8, or `Invalid`.
fn utf8<'a>(bytes: &'a [u8], what: &'static str, allowed: &'static str) -> Result<&'a str, Failure> {
    core::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        AllocationError::invalid(what, &format_args!("no UTF-8 from its byte {at} ({:#04x}) on", bytes[at]), allowed).into()
    })
}

/// An id: 1 to 255 bytes of UTF-8.
///
/// # Safety
/// `start` is null or has `length` bytes for as long as the result is used.
pub(crate) unsafe fn id_of<'a>(start: *const c_char, length: usize, what: &'static str) -> Result<&'a str, Failure> {
    const ALLOWED: &str = "1 to 255 bytes of UTF-8";
    if start.is_null() {
        return Err(Error::Null(what).into());
    }
    if !(1..=CONCEPT_ID_MAX).contains(&length) {
        return Err(AllocationError::invalid(what, &format_args!("{length} bytes long"), ALLOWED).into());
    }
    // SAFETY: the caller's promise.
    utf8(unsafe { bytes_of(start.cast(), length, what) }?, what, ALLOWED)
}

/// A type: 1 to 32 bytes of a few letters.
///
/// # Safety
/// `start` is null or has `length` bytes.
pub(crate) unsafe fn type_of(start: *const c_char, length: usize, what: &'static str) -> Result<ConceptType, Failure> {
    const ALLOWED: &str = "1 to 32 bytes of a-z, 0-9, _ and -";
    if start.is_null() {
        return Err(Error::Null(what).into());
    }
    if !(1..=32).contains(&length) {
        return Err(AllocationError::invalid(what, &format_args!("{length} bytes long"), ALLOWED).into());
    }
    // SAFETY: the caller's promise.
    let name = utf8(unsafe { bytes_of(start.cast(), length, what) }?, what, ALLOWED)?;
    Ok(ConceptType::new(name)?)
}

/// Content: up to 16 MiB of any bytes.
///
/// # Safety
/// `start` is null or has `length` bytes for as long as the result is used.
pub(crate) unsafe fn content_of<'a>(start: *const c_void, length: usize) -> Result<&'a [u8], Failure> {
    required(&[("content", start.is_null() && length > 0)])?;
    check_content(length)?;
    // SAFETY: the caller's promise.
    unsafe { bytes_of(start, length, "content") }
}

/// As many entries as an array can have.
fn check_count(count: usize, entry: usize, what: &'static str) -> Result<(), Failure> {
    if count <= isize::MAX as usize / entry {
        return Ok(());
    }
    Err(AllocationError::invalid(what, &count, "a number of entries that memory can hold").into())
}

/// An array of the caller; `what` names its count.
///
/// # Safety
/// `start` has `count` entries for as long as the result is used; it may be null if there are none.
pub(crate) unsafe fn array_of<'a, T>(start: *const T, count: usize, what: &'static str) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    check_count(count, size_of::<T>(), what)?;
    // SAFETY: the caller's promise; no longer than memory can be.
    Ok(unsafe { core::slice::from_raw_parts(start, count) })
}

/// A concept's parts, checked as far as their memory goes.
pub(crate) struct ConceptRequest<'a> {
    asked: Asked<'a>,
    hints: Vec<String>,
}

impl ConceptRequest<'_> {
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked { locality_hints: &self.hints, ..self.asked }
    }
}

impl engram_concept {
    /// Whether all pointers are there that must be.
    fn is_there(&self) -> Result<(), Failure> {
        required(&[
            ("id", self.id.is_null()),
            ("type", self.r#type.is_null()),
            ("content", self.content.is_null() && self.content_length > 0),
            ("embedding", self.embedding.is_null() && self.embedding_length > 0),
            ("hints", self.hints.is_null() && self.hint_count > 0),
            ("hint_lengths", self.hint_lengths.is_null() && self.hint_count > 0),
        ])
    }

    fn priority(&self) -> Result<AllocationPriority, Failure> {
        Ok(match self.priority {
            ENGRAM_PRIORITY_LOW => AllocationPriority::Low,
            ENGRAM_PRIORITY_NORMAL => AllocationPriority::Normal,
            ENGRAM_PRIORITY_HIGH => AllocationPriority::High,
            ENGRAM_PRIORITY_CRITICAL => AllocationPriority::Critical,
            other => return Err(AllocationError::invalid("priority", &other, "0 (low) to 3 (critical)").into()),
        })
    }

    /// # Safety
    /// All pointers are there that must be, and have as many bytes or entries as are said beside them.
    unsafe fn hints(&self) -> Result<Vec<String>, Failure> {
        // SAFETY: the caller's promise.
        let (starts, lengths) =
            unsafe { (array_of(self.hints, self.hint_count, "hint_count")?, array_of(self.hint_lengths, self.hint_count, "hint_count")?) };
        let mut hints = Vec::with_capacity(starts.len());
        for (start, length) in starts.iter().zip(lengths) {
            if start.is_null() && *length > 0 {
                return Err(Error::Null("a hint").into());
            }
            if (1..=CONCEPT_ID_MAX).contains(length) {
                // SAFETY: the caller's promise.
                let hint = unsafe { bytes_of(start.cast(), *length, "a hint") }?;
                hints.push(utf8(hint, "a hint", "an id: UTF-8")?.to_owned());
            }
        }
        debug_assert!(hints.iter().all(|hint| is_concept_id(hint)));
        Ok(hints)
    }

    /// What is asked for; the first thing wrong with it otherwise.
    ///
    /// # Safety
    /// The pointers are null or have as many bytes or entries as are said beside them, for as long as the result is
    /// used.
    pub(crate) unsafe fn request<'a>(&self) -> Result<ConceptRequest<'a>, Failure> {
        self.is_there()?;
        let priority = self.priority()?;
        // SAFETY: the caller's promise.
        let (concept_id, concept_type, content, embedding, hints) = unsafe {
            (
                id_of(self.id, self.id_length, "id")?,
                type_of(self.r#type, self.type_length, "type")?,
                content_of(self.content, self.content_length)?,
                array_of(self.embedding, self.embedding_length, "embedding_length")?,
                self.hints()?,
            )
        };
        let asked = Asked {
            concept_id,
            concept_type,
            content,
            semantic_embedding: (!self.embedding.is_null()).then_some(embedding),
            priority,
            resource_requirements: ResourceRequirements {
                memory_size: self.memory_size,
                expected_accesses_per_s: self.expected_accesses_per_s,
            },
            locality_hints: &[],
        };
        Ok(ConceptRequest { asked, hints })
    }
}

impl engram_placement {
    /// Nothing, and why.
    pub(crate) fn refused(status: engram_status) -> Self {
        Self {
            offset: 0,
            size: 0,
            version: 0,
            column: 0,
            ttfs_ns: 0,
            strategy: 0,
            confidence: 0.0,
            cache_hit: 0,
            guided: 0,
            time_ns: 0,
            status,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a confidence is 0 to 1")]
    pub(crate) fn given(granted: &Granted) -> Self {
        let slot = &granted.memory_slot;
        Self {
            offset: slot.offset,
            size: slot.size_bytes as u64,
            version: slot.version,
            column: slot.column,
            ttfs_ns: granted.ttfs_encoding.first_spike.raw(),
            strategy: strategy_of(granted.strategy.strategy_type),
            confidence: granted.confidence_score as f32,
            cache_hit: granted.cache_hit.into(),
            guided: granted.guided.into(),
            time_ns: granted.allocation_time.as_nanos().try_into().unwrap_or(u64::MAX),
            status: ENGRAM_OK,
        }
    }

    /// Says in `*out`, if that is not null, what came of a request, and gives its status.
    ///
    /// # Safety
    /// `out` is null or writable.
    pub(crate) unsafe fn answer(out: *mut Self, answer: Result<Granted, Failure>) -> engram_status {
        let placement = answer.map_or_else(|failure| Self::refused(fail_with(&failure)), |granted| Self::given(&granted));
        if !out.is_null() {
            // SAFETY: not null; the caller's promise.
            unsafe { out.write(placement) };
        }
        placement.status
    }
}

fn strategy_of(strategy: AllocationStrategyType) -> u32 {
    match strategy {
        AllocationStrategyType::HighComplexity => ENGRAM_STRATEGY_HIGH_COMPLEXITY,
        AllocationStrategyType::HighPerformance => ENGRAM_STRATEGY_HIGH_PERFORMANCE,
        AllocationStrategyType::ResourceOptimized => ENGRAM_STRATEGY_RESOURCE_OPTIMIZED,
        AllocationStrategyType::Balanced => ENGRAM_STRATEGY_BALANCED,
    }
}
