//! Random sequences of all operations against a reference allocator: no block overlaps another, each
//! is aligned, as large as promised and keeps its content; walks and metrics are exact.
//!
//! `PROPTEST_CASES` for more sequences.
#![cfg(not(any(loom, miri)))]

mod model;

use proptest::collection::vec;
use proptest::prelude::*;

fn steps(most: usize) -> impl Strategy<Value = Vec<model::Step>> {
    vec(any::<model::Step>(), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn short_sequences_do_what_the_model_does(steps in steps(60)) {
        model::run(&steps);
    }

    #[test]
    fn long_sequences_do_what_the_model_does(steps in steps(600)) {
        model::run(&steps);
    }
}
