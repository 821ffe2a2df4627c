//! One line of the cache: a few words under a sequence lock.
//!
//! ```text
//! version | word | word | ...      version even: at rest; odd: being written
//! ```
//!
//! A writer makes the version odd, stores the words, makes it even again. A reader loads the version,
//! the words, the version: if it was even and is the same, the words belong together. Nobody waits: a
//! writer that finds another one at work, and a reader that met a writer, go away empty-handed.
//!
//! The words are atomics of their own, so that a race is no data race, and their accesses carry the
//! order that a fence would (Boehm 2012, "Can seqlocks get along with programming language memory models?"):
//! who sees a word that a writer stored sees that writer's odd version afterwards.

use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

/// `WORDS` words that are read together. On a line of its own.
#[repr(align(64))]
pub(crate) struct Entry<const WORDS: usize> {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Entry<WORDS> {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self { version: AtomicU64::new(0), words: core::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// One word, which need not belong with any other: a hint.
    pub(crate) fn peek(&self, word: usize) -> u64 {
        self.words[word].load(Relaxed)
    }

    /// The words, unless a writer is or was at work. Wait-free.
    pub(crate) fn read(&self) -> Option<[u64; WORDS]> {
        // Acquire, with `write`'s last store: whoever sees a version sees its words, or later ones.
        let version = self.version.load(Acquire);
        if version % 2 == 1 {
            return None;
        }
        // Acquire, with `write`'s stores of words: of a later word the odd version is seen below.
        let words = core::array::from_fn(|word| self.words[word].load(Acquire));
        (self.version.load(Relaxed) == version).then_some(words)
    }

    /// Replaces the words. False, and nothing changed, if another thread is writing. Wait-free.
    pub(crate) fn write(&self, words: [u64; WORDS]) -> bool {
        let version = self.version.load(Relaxed);
        // Acquire, with the last writer's last store: its words come before ours.
        if version % 2 == 1 || self.version.compare_exchange(version, version + 1, Acquire, Relaxed).is_err() {
            return false;
        }
        for (place, word) in self.words.iter().zip(words) {
            place.store(word, Release);
        }
        self.version.store(version + 2, Release);
        true
    }
}
