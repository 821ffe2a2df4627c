//! WordNet's synsets as concepts: what each holds, which column it belongs to, when it spikes.
//!
//! Simple rules, for the comparison's sake; nothing is learnt here:
//! - **content**: lemmas and gloss as they are in the file;
//! - **column**: a hash (FNV-1a) of the type and the first two letters of the first lemma, modulo 64: words of one kind that
//!   begin alike stay together;
//! - **strength**: `x = 0.1 + 0.9 s`, where `s` is the share of the lemmas in the content, in (0, 1]: a concept of many names
//!   and few explaining words is a familiar one;
//! - **spike time**: the first spike of a leaky integrate-and-fire neuron driven by that strength,
//!   `t = 20 ms * ln(x / (x - 0.1))` (closed form of `tau dv/dt = x - v`, v(0) = 0, v(t) = 0.1; Gerstner et al., *Neuronal
//!   Dynamics*, 2014, section 1.3), rounded to nanoseconds.

use std::ops::Range;

use super::visit::sum_of;
use crate::failure::Failure;
use crate::trace::packed;

/// Columns that the concepts are spread over.
pub const COLUMNS: u32 = 64;

/// Where the concepts lie in the repository.
pub const PATH: &str = "data/wordnet-nodes.tsv.zst";
/// The file, packed with zstd.
pub const SHIPPED: &[u8] = include_bytes!("../../../../data/wordnet-nodes.tsv.zst");

/// One synset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concept {
    /// Its column, below [`COLUMNS`].
    pub column: u32,
    /// Its first spike, in nanoseconds after the stimulus.
    pub spike_ns: u32,
    content: Range<usize>,
}

/// All of them, in the order of the file.
pub struct Concepts {
    text: Vec<u8>,
    each: Vec<Concept>,
    sum: u64,
}

impl Concepts {
    /// Those that the program carries.
    ///
    /// # Errors
    /// [`Failure::WordNet`] if the file is damaged.
    pub fn shipped() -> Result<Self, Failure> {
        let wrong = |wrong| Failure::WordNet { path: PATH, wrong };
        let text = packed::decompress(SHIPPED).map_err(|error| wrong(error.to_string()))?;
        Self::parse(text).map_err(wrong)
    }

    /// Of a table with a header line and the columns id, type, lemmas, gloss, parted by tabs.
    ///
    /// # Errors
    /// The number of the first line that is wrong, and what was expected.
    pub fn parse(text: Vec<u8>) -> Result<Self, String> {
        let mut concepts = Vec::new();
        let mut start = 0;
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let end = start + line.trim_ascii_end().len();
            if index > 0 {
                let concept = Concept::parse(&text, start..end);
                concepts.push(
                    concept.ok_or_else(|| format!("line {}: expected id, type, lemmas and gloss parted by tabs, none empty", index + 1))?,
                );
            }
            start += line.len();
        }
        let sum = concepts.iter().fold(0_u64, |sum, concept| sum.wrapping_add(sum_of(&text[concept.content.clone()])));
        Ok(Self { text, each: concepts, sum })
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.each.len()
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Concept> {
        self.each.iter()
    }

    /// The bytes that a concept's record holds besides its header.
    pub fn content(&self, concept: &Concept) -> &[u8] {
        &self.text[concept.content.clone()]
    }

    /// The sum over all contents, which every walk must find.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Bytes of all records.
    pub fn record_bytes(&self) -> u64 {
        self.each.iter().map(|concept| super::store::size_of_record(concept.content.len()) as u64).sum()
    }

    /// The numbers of all concepts, sorted by a key and, where that is the same, as in the file.
    pub fn order<K: Ord>(&self, key: impl Fn(&Concept) -> K) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.each.len() as u32).collect();
        order.sort_by_key(|index| key(&self.each[*index as usize]));
        order
    }
}

impl Concept {
    fn parse(text: &[u8], line: Range<usize>) -> Option<Self> {
        let mut fields = text[line.clone()].split(|byte| *byte == b'\t');
        let (id, kind, lemmas, gloss) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() || [id, kind, lemmas, gloss].iter().any(|field| field.is_empty()) {
            return None;
        }
        let start = line.start + id.len() + kind.len() + 2;
        let hash = fnv1a(kind.iter().chain(lemmas.to_ascii_lowercase().iter().take(2)));
        let share = lemmas.len() as f64 / (lemmas.len() + gloss.len()) as f64;
        Some(Self { column: hash % COLUMNS, spike_ns: spike_ns(0.1 + 0.9 * share), content: start..line.end })
    }
}

/// The first spike at strength `x`, which is above 0.1 and at most 1: from 2.1 ms to some 200 ms.
fn spike_ns(x: f64) -> u32 {
    (20e6 * (x / (x - 0.1)).ln()).round() as u32
}

/// Fowler, Noll and Vo's hash, 32 bits, variant 1a.
fn fnv1a<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
