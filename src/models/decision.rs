//! Remembered decisions: what is read was written together, and nothing is recalled that is forgotten.

use std::sync::Arc;

use super::fixture::check;
use crate::guidance::decision::entry::Entry;
use crate::guidance::{AllocationStrategyType, Decision, DecisionCache, DecisionKey, Recall, TtfsEncoding};
use crate::spike::SpikeTime;
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
use loom::thread;

/// An entry whose words are of two writers.
/// Seen with: `Entry::read` not looking at the version again; not minding that it is odd; its words read relaxed; its
/// version read relaxed. `Entry::write` storing words relaxed; storing its odd version instead of exchanging it;
/// exchanging it relaxed; storing its even version relaxed.
#[test]
fn what_is_read_was_written_together() {
    check(3, || {
        let entry = Arc::new(Entry::<2>::new());
        let writers = [1, 2].map(|word| {
            let entry = entry.clone();
            thread::spawn(move || entry.write([word, word]))
        });
        if let Some([first, second]) = entry.read() {
            assert_eq!(first, second, "a torn entry");
        }
        let wrote = writers.map(|writer| writer.join().unwrap());
        assert!(wrote[0] || wrote[1], "somebody is first");
        let [first, second] = entry.read().expect("nobody is at work");
        assert_eq!(first, second, "a torn entry that stays");
        assert!(first != 0 && wrote[first as usize - 1], "words of a writer that gave up");
    });
}

/// A decision that was made by the state of things before everything was forgotten, and is recalled after.
/// Seen with: `DecisionCache::forget_all` relaxed; `DecisionCache::recall` reading the generation relaxed;
/// `DecisionCache::remember` taking the generation of its own time.
#[test]
fn what_was_decided_before_all_was_forgotten_is_not_recalled() {
    check(2, || {
        let key = DecisionKey::for_models(7);
        let shared = Arc::new((DecisionCache::new(1, core::time::Duration::MAX).unwrap(), AtomicU64::new(0)));
        let decider = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (cache, state) = &*shared;
                if let Recall::Miss(undecided) = cache.recall(key, 0) {
                    let decision = Decision {
                        column: state.load(Relaxed) as u32,
                        encoding: TtfsEncoding { first_spike: SpikeTime::NONE, strength: 0.0 },
                        strategy: AllocationStrategyType::Balanced,
                        confidence: 0.0,
                    };
                    cache.remember(undecided, &decision, 0);
                }
            })
        };
        let (cache, state) = &*shared;
        state.store(1, Relaxed);
        cache.forget_all();
        if let Recall::Hit(decision) = cache.recall(key, 0) {
            assert_eq!(decision.column, 1, "decided by what is no more");
        }
        decider.join().unwrap();
        if let Recall::Hit(decision) = cache.recall(key, 0) {
            assert_eq!(decision.column, 1, "decided by what is no more");
        }
    });
}
