use std::thread;

use proptest::prelude::*;

use super::*;
use crate::guidance::{AllocationPriority, AllocationRequest, ConceptType};

const SECOND: u64 = 1_000_000_000;

fn key(number: u64) -> DecisionKey {
    let request = AllocationRequest::new("any", ConceptType::ENTITY, number.to_string());
    DecisionKey::of(&request, &[])
}

fn decision(number: u32) -> Decision {
    Decision {
        column: number,
        encoding: TtfsEncoding { first_spike: SpikeTime::from_nanos(number), strength: f64::from(number) },
        strategy: AllocationStrategyType::ALL[number as usize % 4],
        confidence: 1.0 / f64::from(number + 1),
    }
}

fn cache(decisions: usize) -> DecisionCache {
    DecisionCache::new(decisions, Duration::from_secs(10)).unwrap()
}

fn remember(cache: &DecisionCache, number: u32, now_ns: u64) -> bool {
    match cache.recall(key(number.into()), now_ns) {
        Recall::Miss(undecided) => cache.remember(undecided, &decision(number), now_ns),
        Recall::Hit(_) => false,
    }
}

fn known(cache: &DecisionCache, number: u32, now_ns: u64) -> bool {
    match cache.recall(key(number.into()), now_ns) {
        Recall::Hit(found) => {
            assert_eq!(found, decision(number));
            true
        }
        Recall::Miss(_) => false,
    }
}

#[test]
fn a_decision_comes_back_as_it_was() {
    let cache = cache(16);
    for number in [0, 1, 2, 3, u32::MAX - 1] {
        assert!(remember(&cache, number, SECOND));
        assert!(known(&cache, number, SECOND));
    }
    assert!(!known(&cache, 4, SECOND));
}

#[test]
fn a_decision_is_forgotten_when_its_time_is_over() {
    let cache = cache(16);
    remember(&cache, 1, SECOND);
    assert!(known(&cache, 1, 11 * SECOND - 1));
    assert!(!known(&cache, 1, 11 * SECOND));
    assert!(known(&cache, 1, 0), "a clock that is behind by a little does no harm");
}

#[test]
fn a_new_generation_forgets_all_and_what_is_under_way_too() {
    let cache = cache(16);
    remember(&cache, 1, 0);
    let Recall::Miss(under_way) = cache.recall(key(2), 0) else { panic!("it is new") };
    cache.forget_all();
    assert!(cache.remember(under_way, &decision(2), 0));
    assert!(!known(&cache, 1, 0) && !known(&cache, 2, 0));
    remember(&cache, 1, 0);
    assert!(known(&cache, 1, 0));
}

#[test]
fn hits_and_misses_are_counted() {
    let cache = cache(16);
    for turn in 0..10 {
        for number in 0..5 {
            remember(&cache, number, turn);
        }
    }
    assert_eq!((cache.hits(), cache.misses()), (45, 5));
}

#[test]
fn a_cache_of_size_0_or_time_0_remembers_nothing_and_does_not_fail() {
    for cache in [cache(0), DecisionCache::new(8, Duration::ZERO).unwrap()] {
        remember(&cache, 1, 0);
        assert!(!known(&cache, 1, 0));
    }
}

#[test]
fn as_many_decisions_as_it_is_made_for_stay() {
    for decisions in [1, 7, 100, 1024] {
        let cache = cache(decisions);
        let count = decisions as u32;
        for number in 0..count {
            remember(&cache, number, number.into());
        }
        let stayed = (0..count).filter(|&number| known(&cache, number, 2000)).count();
        assert!(stayed * 100 >= decisions * 98, "{stayed} of {decisions}");
    }
}

#[test]
fn what_is_new_replaces_what_is_oldest() {
    let cache = cache(WAYS / 2);
    for number in 0..100 {
        remember(&cache, number, number.into());
    }
    let stayed: Vec<_> = (0..100).filter(|&number| known(&cache, number, 200)).collect();
    assert_eq!(stayed, (92..100).collect::<Vec<_>>());
}

#[test]
fn entries_that_hold_no_more_are_replaced_first() {
    let cache = cache(WAYS / 2);
    for number in 0..WAYS as u32 {
        remember(&cache, number, if number < 4 { 0 } else { 9 * SECOND });
    }
    for number in 100..104 {
        remember(&cache, number, 12 * SECOND);
    }
    assert!((4..8).chain(100..104).all(|number| known(&cache, number, 12 * SECOND)));
}

#[test]
fn threads_that_remember_and_forget_never_see_a_mixed_decision() {
    let cache = cache(4);
    let rounds = if cfg!(miri) { 50 } else { 20_000 };
    thread::scope(|scope| {
        for first in 0..3 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..rounds {
                    remember(cache, (first + round) % 24, 0);
                }
            });
        }
        for round in 0..rounds {
            known(&cache, round % 24, 0);
            if round % 24 == 0 {
                cache.forget_all();
            }
        }
    });
}

#[test]
fn each_thing_that_determines_a_decision_changes_its_key_and_the_id_does_not() {
    let plain = AllocationRequest::new("a", ConceptType::ENTITY, "a cat");
    let base = DecisionKey::of(&plain, &[]);
    assert_eq!(DecisionKey::of(&AllocationRequest { concept_id: "b".into(), ..plain.clone() }, &[]), base);

    let hints = ["dog".to_owned(), "cow".to_owned()];
    let mut sized = plain.clone();
    sized.resource_requirements.memory_size = 100;
    let mut read = plain.clone();
    read.resource_requirements.expected_accesses_per_s = 1.0;
    let with_embedding = |numbers: &[f32]| AllocationRequest { semantic_embedding: Some(numbers.to_vec()), ..plain.clone() };
    let mut keys = vec![base, DecisionKey::of(&plain, &hints), DecisionKey::of(&plain, &hints[..1])];
    for other in [
        AllocationRequest { content: "a dog".into(), ..plain.clone() },
        AllocationRequest { content: "x".repeat(10_000), ..plain.clone() },
        AllocationRequest { content: "x".repeat(10_001), ..plain.clone() },
        AllocationRequest { concept_type: ConceptType::EVENT, ..plain.clone() },
        AllocationRequest { priority: AllocationPriority::Low, ..plain.clone() },
        with_embedding(&[1.0]),
        with_embedding(&[1.0, 0.0]),
        sized,
        read,
    ] {
        keys.push(DecisionKey::of(&other, &[]));
    }
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
}

#[test]
fn every_hint_of_many_and_every_letter_of_a_long_one_changes_the_key() {
    let request = AllocationRequest::new("a", ConceptType::ENTITY, "");
    let hints: Vec<_> = (0..64).map(|hint| format!("{hint}").repeat(if hint % 8 == 0 { 100 } else { 9 })).collect();
    let mut keys = std::collections::HashSet::from([DecisionKey::of(&request, &hints)]);
    for changed in 0..64 {
        let mut hints = hints.clone();
        let last = hints[changed].pop();
        hints[changed].push(if last == Some('x') { 'y' } else { 'x' });
        assert!(keys.insert(DecisionKey::of(&request, &hints)), "hint {changed}");
    }
}

#[test]
fn parts_do_not_run_together() {
    let request = AllocationRequest::new("a", ConceptType::ENTITY, "");
    let of = |hints: &[&str]| DecisionKey::of(&request, &hints.iter().map(|&hint| hint.to_owned()).collect::<Vec<_>>());
    assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    assert_ne!(of(&["", "a"]), of(&["a", ""]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a map that forgets nothing but by time and generation: what the cache knows is what the map knows.
    #[test]
    fn what_is_recalled_was_remembered_and_holds_still(steps in proptest::collection::vec((0..30_u32, 0..4 * SECOND, 0..20_u8), 0..200)) {
        let cache = cache(8);
        let mut made = std::collections::HashMap::new();
        let mut now = 0;
        for (number, passed, chance) in steps {
            now += passed;
            if chance == 0 {
                cache.forget_all();
                made.clear();
            } else if known(&cache, number, now) {
                prop_assert!(now - made[&number] < 10 * SECOND);
            } else if remember(&cache, number, now) {
                made.insert(number, now);
                prop_assert!(known(&cache, number, now));
            }
        }
    }
}
