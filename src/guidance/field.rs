//! Receptive fields: what each column has seen most of, and how a column learns it.
//!
//! A field is a prototype `w` of [`FIELD`] numbers; longer feature vectors are folded onto it (feature
//! `i` adds to number `i mod FIELD`: hashing once more, Weinberger et al. 2009). Only the winner
//! learns:
//!
//! ```text
//! w += eta (x - w)      eta = max(1 / wins, 1/64): the mean of the first 64, then a moving one
//! ```
//!
//! **Conscience** (De Sieno 1988). A column that has won more than its share is less attractive, one
//! that has won less is more so, so that no column takes everything:
//!
//! ```text
//! attraction = cos(x, w) + CONSCIENCE * (1 - k p)     p: the column's share of the wins, k columns
//! ```
//!
//! Wins are forgotten: all counts halve every `32 k` wins, each when it is looked at next.
//!
//! **Threads.** Prototypes are read without any lock: words of two numbers, relaxed. A reader may see
//! a prototype half learnt, which is as good as either half. A learner marks the field with one
//! compare-and-swap; who finds it marked does not learn. On one thread everybody learns.

use core::alloc::Layout;

use crate::guidance::features::{DIMENSIONS, Features};
use crate::guidance::list_of;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicU32, AtomicU64};

/// Numbers of a prototype.
pub(crate) const FIELD: usize = 64;
/// Words of a prototype: two numbers each.
const WORDS: usize = FIELD / 2;
const _: () = assert!(DIMENSIONS.is_multiple_of(FIELD) && FIELD.is_multiple_of(8));
/// The least learning rate.
const RATE: f32 = 1.0 / 64.0;
/// How much a column's share of the wins counts against it.
const CONSCIENCE: f32 = 0.1;
/// Wins for each column after which all counts halve.
const REMEMBERED: u64 = 32;

/// Features, folded and of length 1; all 0 if there are none.
pub(crate) struct Folded([f32; FIELD]);

impl Folded {
    /// Folds a feature vector.
    pub(crate) fn new(features: &Features) -> Self {
        let mut sums = [0_i32; FIELD];
        for part in features.components().chunks_exact(FIELD) {
            for (sum, &component) in sums.iter_mut().zip(part) {
                *sum += i32::from(component);
            }
        }
        Self::of(sums.map(|sum| sum as f32))
    }

    fn of(mut numbers: [f32; FIELD]) -> Self {
        let length = dot(&numbers, &numbers).sqrt();
        let scale = if length > 0.0 && length.is_finite() { 1.0 / length } else { 0.0 };
        for number in &mut numbers {
            *number = if scale > 0.0 { *number * scale } else { 0.0 };
        }
        Self(numbers)
    }

    /// Nothing to be seen.
    pub(crate) fn blank() -> Self {
        Self([0.0; FIELD])
    }

    /// Of a few numbers, the others 0.
    #[cfg(test)]
    pub(crate) fn few(first: &[f32]) -> Self {
        let mut numbers = [0.0; FIELD];
        numbers[..first.len()].copy_from_slice(first);
        Self::of(numbers)
    }

    /// Whether there is anything to be seen.
    pub(crate) fn is_blank(&self) -> bool {
        self.0.iter().all(|&feature| feature == 0.0)
    }
}

/// The inner product, summed in eight lanes: the same order, and so the same bits, everywhere.
fn dot(a: &[f32; FIELD], b: &[f32; FIELD]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum()
}

/// One column's field.
#[repr(align(64))]
struct Field {
    prototype: [AtomicU64; WORDS],
    /// The bits of 1 / length of the prototype; 0 before the first win.
    scale: AtomicU32,
    /// 1 while somebody learns.
    busy: AtomicU32,
    /// Wins, with what older ones still count, in the lower half; in the upper the period when it was so.
    wins: AtomicU64,
}

impl Field {
    fn new() -> Self {
        Self { prototype: [const { AtomicU64::new(0) }; WORDS], scale: AtomicU32::new(0), busy: AtomicU32::new(0), wins: AtomicU64::new(0) }
    }

    fn read(&self) -> [f32; FIELD] {
        let mut numbers = [0.0; FIELD];
        for (pair, word) in numbers.chunks_exact_mut(2).zip(&self.prototype) {
            let word = word.load(Relaxed);
            pair[0] = f32::from_bits(word as u32);
            pair[1] = f32::from_bits((word >> 32) as u32);
        }
        numbers
    }

    /// Wins as they count in `period`.
    fn wins(&self, period: u64) -> u32 {
        let wins = self.wins.load(Relaxed);
        let halvings = period.saturating_sub(wins >> 32);
        (wins as u32).checked_shr(halvings as u32).unwrap_or(0)
    }
}

/// The fields of all columns.
pub(crate) struct Fields {
    fields: Box<[Field]>,
    /// Wins of all columns, ever.
    total: AtomicU64,
}

impl Fields {
    /// Fields that have seen nothing. The layout of what there is no host memory for is an error.
    pub(crate) fn try_new(columns: u32) -> Result<Self, Layout> {
        Ok(Self { fields: list_of(columns, Field::new)?, total: AtomicU64::new(0) })
    }

    /// Wins of a period, how many periods passed, and the wins of all columns as they count now.
    fn period(&self) -> (u64, f32) {
        let length = REMEMBERED * self.fields.len() as u64;
        let total = self.total.load(Relaxed);
        let (period, now) = (total / length, total % length);
        // What older periods still count: length * (1/2 + 1/4 + ...).
        let before = length as f32 * (1.0 - 1.0 / (1_u64 << period.min(32)) as f32);
        (period, before + now as f32)
    }

    /// How attractive a stimulus finds a column: similarity and conscience; 0 for a column that has
    /// seen nothing.
    pub(crate) fn attraction(&self, column: u32, stimulus: &Folded) -> f32 {
        let field = &self.fields[column as usize];
        let scale = f32::from_bits(field.scale.load(Relaxed));
        if scale == 0.0 {
            return 0.0;
        }
        let similarity = dot(&field.read(), &stimulus.0) * scale;
        let (period, total) = self.period();
        let share = field.wins(period) as f32 / total.max(1.0);
        let conscience = CONSCIENCE * (1.0 - share * self.fields.len() as f32);
        similarity + conscience
    }

    /// The winner learns.
    pub(crate) fn learn(&self, column: u32, stimulus: &Folded) {
        let field = &self.fields[column as usize];
        let (period, _) = self.period();
        if stimulus.is_blank() || field.busy.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            return;
        }
        self.total.fetch_add(1, Relaxed);
        let wins = field.wins(period).saturating_add(1);
        field.wins.store(period << 32 | u64::from(wins), Relaxed);
        let rate = if field.scale.load(Relaxed) == 0 { 1.0 } else { RATE.max(1.0 / wins as f32) };
        let mut prototype = field.read();
        for (number, feature) in prototype.iter_mut().zip(&stimulus.0) {
            *number += rate * (feature - *number);
        }
        for (word, pair) in field.prototype.iter().zip(prototype.chunks_exact(2)) {
            word.store(u64::from(pair[0].to_bits()) | u64::from(pair[1].to_bits()) << 32, Relaxed);
        }
        let length = dot(&prototype, &prototype).sqrt();
        field.scale.store(if length > 0.0 { (1.0 / length).to_bits() } else { 0 }, Relaxed);
        field.busy.store(0, Release);
    }

    /// Bytes of host memory taken.
    pub(crate) fn bytes(&self) -> usize {
        self.fields.len() * size_of::<Field>()
    }
}

#[cfg(test)]
mod tests;
