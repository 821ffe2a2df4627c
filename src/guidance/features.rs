//! What a stimulus means, as a vector: its features, hashed into a fixed number of components.
//!
//! ```text
//! The cat purrs!      words        the  cat  purrs  !            each adds +1 or -1 to one of
//!                     word pairs   the cat  cat purrs            256 components, as its hash says
//!                     3-grams      _th the he_ _ca cat at_ ...
//!
//! 384 numbers         number i adds itself, or its opposite, to component i mod 256
//! ```
//!
//! Signed hashing keeps inner products: that of two hashed vectors is, on average over hashes, that of the
//! whole ones (Weinberger, Dasgupta, Langford, Smola and Attenberg 2009, "Feature hashing for large
//! scale multitask learning"). The vector is brought to length 1 in whole numbers ([`ONE`] stands for
//! 1), so that a comparison is exact, in whatever order it is added up.
//!
//! **Measured** on WordNet, 117,659 texts of 96 bytes: how often two related concepts are more alike than two
//! taken at random. In 128 components 0.86, in 256 0.89, in 512 0.91; exact, without hashing, 0.92.
//! Each doubling doubles what a comparison costs. Words alone 0.78; words and pairs with four times
//! and twice the weight of 3-grams 0.83; all with the same weight, as here, 0.89.
//!
//! **Letters** are ASCII letters, which count as lower case, digits, and everything beyond ASCII, bytes
//! that are no UTF-8 included. All else stands between words; ASCII punctuation is a feature, too. No
//! table of Unicode is asked, so that no other version of one can change a vector.
//!
//! **Bounded**: of content above 4 KiB sixteen stretches of 256 bytes are read, from its first byte
//! to its last, evenly spaced. Nothing is allocated.

use super::error::AllocationError;
use super::request::{Stimulus, check_embedding};

/// Components of a vector.
pub const DIMENSIONS: usize = 256;
/// What stands for 1 in a component.
pub const ONE: i16 = 1 << 14;

/// Content up to this many bytes is read whole.
const READ_WHOLE: usize = 4 << 10;
/// Stretches that are read of longer content, and the bytes of each.
const STRETCHES: usize = 16;
const STRETCH: usize = READ_WHOLE / STRETCHES;

/// 2^64 / golden ratio, odd: multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stimulus as a vector of length 1, or of zeros if the stimulus is empty or all zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    components: [i16; DIMENSIONS],
    information: f64,
    tone: f64,
}

impl Features {
    /// The features of a stimulus. Takes time that grows with its length, content up to 4 KiB. Any
    /// thread, no lock, no host allocation, the same bits on every platform.
    ///
    /// # Errors
    /// [`AllocationError::Invalid`] if an embedding is empty or not finite throughout.
    pub fn of(stimulus: Stimulus<'_>) -> Result<Self, AllocationError> {
        let sums = match stimulus {
            Stimulus::Content(content) => damped(&counts(content)),
            Stimulus::Embedding(embedding) => folded(embedding)?,
        };
        Ok(Self::of_sums(&sums))
    }

    fn of_sums(sums: &[f64; DIMENSIONS]) -> Self {
        let length = length(sums);
        let scale = if length > 0.0 { f64::from(ONE) / length } else { 0.0 };
        let components = sums.map(|sum| nearest(sum * scale));
        let projection = components.iter().zip(&DIRECTION).map(|(&component, &way)| i32::from(component) * i32::from(way)).sum::<i32>();
        let tone = f64::from(projection) * length / (f64::from(ONE) * f64::from(ONE));
        Self { components, information: information(&components), tone }
    }

    /// The vector; [`ONE`] stands for 1.
    pub const fn components(&self) -> &[i16; DIMENSIONS] {
        &self.components
    }

    /// How much there is to the stimulus, 0 (nothing, or one feature alone) to 1 (spread over all
    /// components): its collision entropy, as a part of the greatest one.
    ///
    /// With `p_i` the share of component `i` in the squared length, `-log2(sum p_i^2) / log2(256)`:
    /// the entropy of order 2 (Rényi 1961, "On measures of entropy and information"). A title has
    /// about 0.5, a sentence 0.7; long text levels off near 0.85, and repeating adds nothing.
    pub const fn information(&self) -> f64 {
        self.information
    }

    /// Where the stimulus lies along one fixed direction: any number, close for stimuli that are
    /// close (a random projection; Datar, Immorlica, Indyk and Mirrokni 2004, "Locality-sensitive
    /// hashing scheme based on p-stable distributions").
    pub const fn tone(&self) -> f64 {
        self.tone
    }

    /// How alike two stimuli are: the cosine of their vectors, -1 to 1; 0 if one of them is zero.
    pub fn similarity(&self, other: &Self) -> f64 {
        let product: i32 = self.components.iter().zip(&other.components).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        f64::from(product) / (f64::from(ONE) * f64::from(ONE))
    }
}

/// The parts of content that are read.
pub(super) fn stretches(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (count, bytes) = if content.len() <= READ_WHOLE { (1, content.len()) } else { (STRETCHES, STRETCH) };
    let last = content.len() - bytes;
    (0..count).map(move |index| {
        let start = last * index / (count - 1).max(1);
        &content[start..start + bytes]
    })
}

/// The component and the sign of a feature: the highest bits of its hash, and the next one.
fn place(feature: u64) -> (usize, f32) {
    const SHIFT: u32 = u64::BITS - DIMENSIONS.ilog2();
    let hash = feature.wrapping_mul(GOLDEN);
    ((hash >> SHIFT) as usize, if hash >> (SHIFT - 1) & 1 == 0 { 1.0 } else { -1.0 })
}

/// How often the features of each component occur, less those of the opposite sign.
fn counts(content: &[u8]) -> [f32; DIMENSIONS] {
    let mut counts = [0.0; DIMENSIONS];
    for stretch in stretches(content) {
        let mut reader = Reader { counts: &mut counts, word: Reader::NO_WORD, before: None, window: Reader::SPACE };
        for chunk in stretch.utf8_chunks() {
            chunk.valid().chars().for_each(|letter| reader.read(u32::from(letter)));
            chunk.invalid().iter().for_each(|&byte| reader.read(Reader::BEYOND_UNICODE + u32::from(byte)));
        }
        reader.end_word();
    }
    counts
}

/// Reads text letter by letter and adds its features.
struct Reader<'a> {
    counts: &'a mut [f32; DIMENSIONS],
    /// The hash of the word so far: FNV-1a, letter by letter.
    word: u64,
    /// The hash of the word before.
    before: Option<u64>,
    /// The last three letters, 21 bits each.
    window: u64,
}

impl Reader<'_> {
    const NO_WORD: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x100_0000_01b3;
    const SPACE: u64 = b' ' as u64;
    const BEYOND_UNICODE: u32 = char::MAX as u32 + 1;

    fn read(&mut self, letter: u32) {
        match u8::try_from(letter) {
            Ok(ascii) if ascii.is_ascii_alphanumeric() => self.read_letter(ascii.to_ascii_lowercase().into()),
            Ok(ascii) if ascii.is_ascii() => {
                self.end_word();
                if ascii.is_ascii_punctuation() {
                    self.add(ascii.into());
                }
            }
            _ => self.read_letter(letter.into()),
        }
    }

    fn read_letter(&mut self, letter: u64) {
        let first = self.word == Self::NO_WORD;
        self.word = (self.word ^ letter).wrapping_mul(Self::PRIME);
        self.window = self.window << 21 | letter;
        if !first {
            self.add_window();
        }
    }

    fn end_word(&mut self) {
        if self.word == Self::NO_WORD {
            return;
        }
        self.window = self.window << 21 | Self::SPACE;
        self.add_window();
        self.add(self.word);
        if let Some(before) = self.before {
            self.add(before.rotate_left(32) ^ self.word);
        }
        self.before = Some(self.word);
        self.word = Self::NO_WORD;
        self.window = Self::SPACE;
    }

    fn add_window(&mut self) {
        self.add(self.window & (u64::MAX >> 1));
    }

    fn add(&mut self, feature: u64) {
        let (component, sign) = place(feature);
        self.counts[component] += sign;
    }
}

/// Each count's square root, with its sign: the more often a feature occurs, the less each time counts, so
/// that the commonest words do not drown the rest (power normalisation; Perronnin, Sánchez and Mensink
/// 2010, "Improving the Fisher kernel for large-scale image classification"). In single precision, which
/// holds the counts of 4 KiB exactly and has the faster root.
fn damped(counts: &[f32; DIMENSIONS]) -> [f64; DIMENSIONS] {
    counts.map(|count| f64::from(count.abs().sqrt().copysign(count)))
}

/// Number `i` goes to component `i mod 256`: up to 256 numbers keep their angles exactly.
fn folded(embedding: &[f32]) -> Result<[f64; DIMENSIONS], AllocationError> {
    check_embedding(embedding)?;
    let mut sums = [0.0; DIMENSIONS];
    for (index, &number) in embedding.iter().enumerate() {
        let (_, sign) = place(index as u64);
        sums[index % DIMENSIONS] += f64::from(sign * number);
    }
    Ok(sums)
}

/// The Euclidean length. Added up in a fixed order, eight sums side by side.
fn length(sums: &[f64; DIMENSIONS]) -> f64 {
    let mut squares = [0.0; 8];
    for eight in sums.as_chunks::<8>().0 {
        for (square, sum) in squares.iter_mut().zip(eight) {
            *square += sum * sum;
        }
    }
    squares.iter().sum::<f64>().sqrt()
}

/// The nearest whole number; `number` is at most [`ONE`] in size. (Added to 1.5 * 2^52, whose last bit
/// counts ones, it lies in the last bits: this takes a fifth of the time of a conversion.)
fn nearest(number: f64) -> i16 {
    const WHOLE: f64 = (3_u64 << 51) as f64;
    (number + WHOLE).to_bits() as i16
}

fn information(components: &[i16; DIMENSIONS]) -> f64 {
    let squares = components.map(|component| (i32::from(component) * i32::from(component)).cast_unsigned());
    let sum: u32 = squares.iter().sum();
    if sum == 0 {
        return 0.0;
    }
    let of_squares: u64 = squares.iter().map(|&square| u64::from(square) * u64::from(square)).sum();
    let spread = f64::from(sum) * f64::from(sum) / of_squares as f64;
    (libm::log2(spread) / f64::from(DIMENSIONS.ilog2())).clamp(0.0, 1.0)
}

/// The direction of [`Features::tone`]: multiples of the golden ratio, from -1/4 to 1/4 of [`ONE`].
const DIRECTION: [i16; DIMENSIONS] = {
    let mut direction = [0; DIMENSIONS];
    let mut index = 0;
    while index < DIMENSIONS {
        direction[index] = ((index as u64 + 1).wrapping_mul(GOLDEN) as i64 >> 48) as i16 >> 3;
        index += 1;
    }
    direction
};

#[cfg(test)]
mod tests;
