//! Medians and quantiles of what was measured.

use serde::Serialize;

/// What was measured in each round, in brief.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub lowest: f64,
    /// The most.
    pub highest: f64,
}

impl Spread {
    /// Of one value for each round; all 0 if there was none.
    pub fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| rounds.get(index).copied().unwrap_or(0.0);
        let middle = rounds.len() / 2;
        let median = if rounds.len().is_multiple_of(2) { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) } else { at(middle) };
        Self { median, lowest: at(0), highest: at(rounds.len().saturating_sub(1)) }
    }
}

/// The same thing of both allocators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pair<T> {
    /// The system's.
    pub malloc: T,
    /// Ours.
    pub engram: T,
}

impl<T> Pair<T> {
    /// The same of both, turned into something else.
    pub fn map<U>(self, mut turn: impl FnMut(T) -> U) -> Pair<U> {
        Pair { malloc: turn(self.malloc), engram: turn(self.engram) }
    }

    /// Both, borrowed.
    pub const fn each_ref(&self) -> Pair<&T> {
        Pair { malloc: &self.malloc, engram: &self.engram }
    }
}

impl<T> Pair<Vec<T>> {
    /// One more of both.
    pub fn push(&mut self, one: Pair<T>) {
        self.malloc.push(one.malloc);
        self.engram.push(one.engram);
    }
}

/// The least value that at least `share` of the values do not exceed (nearest rank); 0 of none.
pub fn quantile(sorted: &[u32], share: f64) -> u32 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
