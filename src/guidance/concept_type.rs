//! The types of concepts, which name the pools.

use core::fmt;

/// Bytes of the longest name.
pub(super) const LONGEST: usize = 32;

/// A concept's type: the name of its pool, 1 to 32 bytes of `a-z`, `0-9`, `_` and `-`.
///
/// The name lies in the value itself, so that making, copying and comparing one takes no memory and
/// no lock, and any number of names may come and go. Ordered by name.
///
/// ```
/// use engram::ConceptType;
/// # fn main() -> Result<(), engram::AllocationError> {
/// let synapse = ConceptType::new("synapse-2")?;
/// assert_eq!(synapse.as_str(), "synapse-2");
/// assert_eq!("entity".parse::<ConceptType>()?, ConceptType::ENTITY);
/// assert!(ConceptType::new("No spaces").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConceptType([u8; LONGEST]); // padded with zeros, which no name has: the order of the bytes is that of the names

impl ConceptType {
    /// Things.
    pub const ENTITY: Self = Self::padded(b"entity");
    /// Ideas.
    pub const ABSTRACT: Self = Self::padded(b"abstract");
    /// What happens.
    pub const EVENT: Self = Self::padded(b"event");
    /// Kinds of things.
    pub const CATEGORY: Self = Self::padded(b"category");
    /// What holds between concepts.
    pub const RELATIONSHIP: Self = Self::padded(b"relationship");
    /// What concepts are like.
    pub const PROPERTY: Self = Self::padded(b"property");
    /// Times.
    pub const TEMPORAL: Self = Self::padded(b"temporal");
    /// Places.
    pub const SPATIAL: Self = Self::padded(b"spatial");

    /// The constants above, in their order.
    pub const ALL: [Self; 8] =
        [Self::ENTITY, Self::ABSTRACT, Self::EVENT, Self::CATEGORY, Self::RELATIONSHIP, Self::PROPERTY, Self::TEMPORAL, Self::SPATIAL];

    /// Bytes of the longest name.
    pub(crate) const LONGEST: usize = LONGEST;

    /// `name` is at most 32 bytes long.
    pub(crate) const fn padded(name: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        let (head, _) = bytes.split_at_mut(name.len());
        head.copy_from_slice(name);
        Self(bytes)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The name's bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0[..self.0.partition_point(|&byte| byte != 0)]
    }
}

impl fmt::Display for ConceptType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ConceptType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConceptType({})", self.as_str())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ConceptType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
