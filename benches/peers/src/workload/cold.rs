//! Caches that hold nothing of what comes next.

use std::hint::black_box;
use std::sync::LazyLock;

/// Reads a word of each line of 96 MiB: what was in the caches before has to be fetched anew, if from a larger cache that
/// several processors share.
pub fn fill_caches() {
    const WORDS: usize = (96 << 20) / size_of::<u64>();
    const LINE: usize = 64 / size_of::<u64>();
    static MEMORY: LazyLock<Vec<u64>> = LazyLock::new(|| vec![1; WORDS]);
    black_box(MEMORY.iter().step_by(LINE).sum::<u64>());
}
