//! What the service is asked for: plain data, and the checks that each part must pass.

use core::fmt;
use core::str::FromStr;

use super::concept_type::{ConceptType, LONGEST};
use super::error::AllocationError;

/// Bytes of the longest concept id.
pub const CONCEPT_ID_MAX: usize = 255;
/// Bytes of the longest content: 16 MiB.
pub const CONTENT_MAX: usize = 16 << 20;

impl ConceptType {
    /// The type called `name`. No lock, no host allocation.
    ///
    /// # Errors
    /// [`AllocationError::Invalid`] if `name` is empty, longer than 32 bytes, or has other bytes than
    /// `a-z`, `0-9`, `_` and `-`.
    pub fn new(name: &str) -> Result<Self, AllocationError> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if name.is_empty() || name.len() > LONGEST || !name.bytes().all(allowed) {
            let given = if name.len() > LONGEST { format!("{} bytes long", name.len()) } else { format!("{name:?}") };
            return Err(AllocationError::invalid("a concept type's name", &given, "1 to 32 bytes of a-z, 0-9, _ and -"));
        }
        Ok(Self::padded(name.as_bytes()))
    }
}

impl FromStr for ConceptType {
    type Err = AllocationError;

    fn from_str(name: &str) -> Result<Self, AllocationError> {
        Self::new(name)
    }
}

/// How urgent a request is. Each priority has a band of strengths of its own, so that every critical
/// request spikes before every high one, and so on; see [`crate::guidance::encoder`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AllocationPriority {
    /// Strengths in (0.1, 0.35].
    Low,
    /// Strengths in (0.35, 0.55].
    #[default]
    Normal,
    /// Strengths in (0.55, 0.75].
    High,
    /// Strengths in (0.75, 1]: the most urgent.
    Critical,
}

/// What a concept needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResourceRequirements {
    /// Bytes wanted; the slot holds at least this and the content.
    pub memory_size: usize,
    /// How often a second it will be read, finite and at least 0; 0 means unknown.
    pub expected_accesses_per_s: f32,
}

/// A request for memory for one concept.
#[derive(Clone, Debug, PartialEq)]
pub struct AllocationRequest {
    /// Its name, 1 to 255 bytes.
    pub concept_id: String,
    /// Its type, which names the pool.
    pub concept_type: ConceptType,
    /// What is stored, byte for byte; up to 16 MiB.
    pub content: String,
    /// What the content means, if the caller knows better than a hash of it: at least one number,
    /// all finite. Used instead of the content to place the concept and to time its spike.
    pub semantic_embedding: Option<Vec<f32>>,
    /// How urgent it is.
    pub priority: AllocationPriority,
    /// What it needs.
    pub resource_requirements: ResourceRequirements,
    /// Ids of concepts to lie near, allocated already or not. Each is a known edge. Text that could
    /// not be an id names nobody, and is not an error.
    pub locality_hints: Vec<String>,
}

impl AllocationRequest {
    /// A request of normal priority with no embedding, no requirements and no hints.
    pub fn new(concept_id: impl Into<String>, concept_type: ConceptType, content: impl Into<String>) -> Self {
        Self {
            concept_id: concept_id.into(),
            concept_type,
            content: content.into(),
            semantic_embedding: None,
            priority: AllocationPriority::default(),
            resource_requirements: ResourceRequirements::default(),
            locality_hints: Vec::new(),
        }
    }

    /// Whether every part is in its range. Takes time that grows with the embedding alone.
    ///
    /// # Errors
    /// [`AllocationError::Invalid`], naming the first part that is not.
    pub fn validate(&self) -> Result<(), AllocationError> {
        self.asked().validate()
    }

    /// What guides the request: its embedding, or else its content.
    pub fn stimulus(&self) -> Stimulus<'_> {
        self.asked().stimulus()
    }

    /// Bytes that its slot must hold: what was asked for, and at least the content.
    pub fn bytes(&self) -> usize {
        self.asked().bytes()
    }

    /// The same, borrowed.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            concept_id: &self.concept_id,
            concept_type: self.concept_type,
            content: self.content.as_bytes(),
            semantic_embedding: self.semantic_embedding.as_deref(),
            priority: self.priority,
            resource_requirements: self.resource_requirements,
            locality_hints: &self.locality_hints,
        }
    }
}

/// What a request asks for, borrowed from whoever made it: the parts of [`AllocationRequest`], but for the content,
/// which may be any bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) concept_id: &'a str,
    pub(crate) concept_type: ConceptType,
    pub(crate) content: &'a [u8],
    pub(crate) semantic_embedding: Option<&'a [f32]>,
    pub(crate) priority: AllocationPriority,
    pub(crate) resource_requirements: ResourceRequirements,
    pub(crate) locality_hints: &'a [String],
}

impl<'a> Asked<'a> {
    /// As [`AllocationRequest::validate`].
    pub(crate) fn validate(&self) -> Result<(), AllocationError> {
        check_concept_id(self.concept_id)?;
        check_content(self.content.len())?;
        check_accesses(self.resource_requirements.expected_accesses_per_s)?;
        self.semantic_embedding.map_or(Ok(()), check_embedding)
    }

    /// As [`AllocationRequest::stimulus`].
    pub(crate) fn stimulus(&self) -> Stimulus<'a> {
        self.semantic_embedding.map_or(Stimulus::Content(self.content), Stimulus::Embedding)
    }

    /// As [`AllocationRequest::bytes`].
    pub(crate) fn bytes(&self) -> usize {
        self.content.len().max(self.resource_requirements.memory_size)
    }
}

/// What guides a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stimulus<'a> {
    /// What is stored; text, or any bytes.
    Content(&'a [u8]),
    /// What the caller says that it means: at least one number, all finite.
    Embedding(&'a [f32]),
}

/// A request to free a concept's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeallocationRequest {
    /// The concept's id.
    pub concept_id: String,
}

impl From<&str> for DeallocationRequest {
    fn from(concept_id: &str) -> Self {
        Self::from(concept_id.to_owned())
    }
}

impl From<String> for DeallocationRequest {
    fn from(concept_id: String) -> Self {
        Self { concept_id }
    }
}

/// Whether text could be an id.
pub(crate) fn is_concept_id(id: &str) -> bool {
    (1..=CONCEPT_ID_MAX).contains(&id.len())
}

/// An id is 1 to 255 bytes long.
pub(crate) fn check_concept_id(id: &str) -> Result<(), AllocationError> {
    ensure(is_concept_id(id), "concept_id", &format_args!("{} bytes long", id.len()), "1 to 255 bytes long")
}

/// Content is at most 16 MiB long.
pub(crate) fn check_content(bytes: usize) -> Result<(), AllocationError> {
    ensure(bytes <= CONTENT_MAX, "content", &format_args!("{bytes} bytes long"), "at most 16777216 bytes (16 MiB) long")
}

/// A rate is finite and at least 0.
pub(crate) fn check_accesses(per_s: f32) -> Result<(), AllocationError> {
    ensure(per_s.is_finite() && per_s >= 0.0, "expected_accesses_per_s", &per_s, "finite and at least 0 (0 if unknown)")
}

/// An embedding has at least one number, and all are finite.
pub(crate) fn check_embedding(embedding: &[f32]) -> Result<(), AllocationError> {
    ensure(!embedding.is_empty(), "the embedding", &"empty", "at least one number, or left out")?;
    match embedding.iter().position(|number| !number.is_finite()) {
        None => Ok(()),
        Some(at) => Err(AllocationError::invalid("the embedding", &format_args!("{} at index {at}", embedding[at]), "finite throughout")),
    }
}

fn ensure(holds: bool, what: &'static str, given: &dyn fmt::Display, allowed: &'static str) -> Result<(), AllocationError> {
    if holds { Ok(()) } else { Err(AllocationError::invalid(what, given, allowed)) }
}

#[cfg(test)]
mod tests;
