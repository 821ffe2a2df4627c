//! The median of some values, and how far they spread.

#[cfg(test)]
mod tests;

/// The quartiles of some values.
pub struct Summary {
    /// Half of the values are below.
    pub median: f64,
    low: f64,
    high: f64,
    several: bool,
}

impl Summary {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        // The nearest rank below, from each end: with few values the outermost are told.
        let quarter = last / 4;
        Some(Self {
            median: f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]),
            low: sorted[quarter],
            high: sorted[last - quarter],
            several: last > 0,
        })
    }

    /// The median and, of several values, the quartiles, these with a decimal less.
    pub fn text(&self, decimals: usize) -> String {
        let Self { median, low, high, several } = self;
        let fewer = decimals.saturating_sub(1);
        if *several { format!("{median:.decimals$} [{low:.fewer$} {high:.fewer$}]") } else { format!("{median:.decimals$}") }
    }
}
