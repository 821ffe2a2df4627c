//! What determined a decision, in 128 bits.

use twox_hash::XxHash3_128;

use crate::guidance::features::stretches;
use crate::guidance::{AllocationRequest, Asked, Stimulus};

/// A hash of all that a decision is made from; two requests with the same key are decided alike.
///
/// XXH3, 128 bits: among a million requests two that differ share a key with a probability of 1e-27.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DecisionKey(pub(super) [u64; 2]);

impl DecisionKey {
    /// The key of a request: its content (as much of it as the encoder reads) or its embedding, its
    /// priority, accesses, type and sizes, but not its id; and the `hints` that vote on its column. Any thread; no lock, no host
    /// allocation.
    pub fn of(request: &AllocationRequest, hints: &[String]) -> Self {
        Self::of_asked(&request.asked(), hints)
    }

    /// The same, of a request whose content may be any bytes.
    pub(crate) fn of_asked(request: &Asked, hints: &[String]) -> Self {
        let mut chain = Chain::new();
        let embedded = match request.stimulus() {
            Stimulus::Content(content) => {
                stretches(content).for_each(|stretch| chain.add(stretch));
                false
            }
            Stimulus::Embedding(embedding) => {
                chain.add(bytes_of(embedding));
                true
            }
        };
        chain.add(request.concept_type.as_bytes());
        let accesses = request.resource_requirements.expected_accesses_per_s.to_bits();
        let small = u64::from(accesses) << 32 | (request.priority as u64) << 1 | u64::from(embedded);
        let numbers = [small, request.content.len() as u64, request.bytes() as u64].map(u64::to_le_bytes);
        chain.add(numbers.as_flattened());
        for hint in hints {
            chain.add(hint.as_bytes());
        }
        let hash = chain.hash();
        Self([hash as u64, (hash >> 64) as u64])
    }
}

#[cfg(loom)]
impl DecisionKey {
    /// Some key.
    pub(crate) fn for_models(number: u64) -> Self {
        Self([number, number])
    }
}

/// Parts above so many bytes are hashed before they are gathered.
const LONG: usize = 64;
/// Bytes that are gathered before they are hashed.
const GATHERED: usize = 256;

/// A hash of parts. Each is gathered with its length before it, so that no other parts that read the same have the
/// same hash; a long one is hashed first. What is gathered begins with the hash of what was gathered before.
struct Chain {
    gathered: [u8; GATHERED],
    len: usize,
}

impl Chain {
    fn new() -> Self {
        Self { gathered: [0; GATHERED], len: 0 }
    }

    fn add(&mut self, part: &[u8]) {
        let length = (part.len() as u64).to_le_bytes();
        let hashed;
        let bytes = if part.len() <= LONG {
            part
        } else {
            hashed = XxHash3_128::oneshot(part).to_le_bytes();
            &hashed
        };
        if self.len + length.len() + bytes.len() > GATHERED {
            let before = self.hash().to_le_bytes();
            self.len = 0;
            self.gather(&before);
        }
        self.gather(&length);
        self.gather(bytes);
    }

    fn gather(&mut self, bytes: &[u8]) {
        self.gathered[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn hash(&self) -> u128 {
        XxHash3_128::oneshot(&self.gathered[..self.len])
    }
}

fn bytes_of(embedding: &[f32]) -> &[u8] {
    // SAFETY: the same memory for as long; an `f32` is initialised throughout, and `u8` is aligned anywhere.
    unsafe { core::slice::from_raw_parts(embedding.as_ptr().cast(), size_of_val(embedding)) }
}
