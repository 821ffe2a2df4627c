//! The work that is measured. Each function does one turn of it and returns nanoseconds (`tail`: cycles).

pub mod churn;
mod cold;
pub mod growth;
pub mod handoff;
pub mod phases;
mod random;
pub mod replay;
pub mod sizes;
pub mod tail;
pub mod threads;
mod together;
pub mod visits;

use std::time::Duration;

/// Nanoseconds for each of `count` operations.
fn each(time: Duration, count: usize) -> f64 {
    time.as_nanos() as f64 / count as f64
}
