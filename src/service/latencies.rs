//! How long operations took: a histogram for each kind.
//!
//! Threads record into stripes, so that they seldom meet; a snapshot adds the stripes up, one after the
//! other, and stops nobody but for the moment of a copy.

use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::sync::AtomicU32;
use crate::sync::Ordering::Relaxed;

const STRIPES: usize = 8;
/// Two digits: 1 % of a time.
const DIGITS: u8 = 2;
/// Longer times count as this, a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// The times of one kind of operation.
pub(super) struct Latencies([Stripe; STRIPES]);

#[repr(align(64))]
struct Stripe(Mutex<Histogram<u64>>);

/// What times were like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Summary {
    pub(super) mean: Duration,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("bounds and digits are in range")
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self(core::array::from_fn(|_| Stripe(Mutex::new(empty()))))
    }

    pub(super) fn record(&self, took: Duration) {
        let nanos = took.as_nanos().try_into().unwrap_or(u64::MAX);
        self.0[stripe()].0.lock().saturating_record(nanos);
    }

    pub(super) fn summary(&self) -> Summary {
        let mut all = empty();
        for stripe in &self.0 {
            // Both have the same bounds, so that nothing is out of range.
            let _ = all.add(&*stripe.0.lock());
        }
        if all.is_empty() {
            return Summary::default();
        }
        #[expect(clippy::cast_sign_loss, reason = "a mean of times")]
        let mean = Duration::from_nanos(all.mean() as u64);
        let at = |quantile| Duration::from_nanos(all.value_at_quantile(quantile));
        Summary { mean, p50: at(0.5), p99: at(0.99), max: Duration::from_nanos(all.max()) }
    }
}

/// The calling thread's stripe.
fn stripe() -> usize {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Relaxed) as usize % STRIPES;
    }
    // While a thread ends its number may be gone: then any will do.
    MINE.try_with(|mine| *mine).unwrap_or(0)
}
