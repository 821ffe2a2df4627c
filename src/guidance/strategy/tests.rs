use proptest::prelude::{ProptestConfig, prop_assert, proptest};

use super::AllocationStrategyType::{Balanced, HighComplexity, HighPerformance, ResourceOptimized};
use super::{AllocationStrategyType, DENSE_INFORMATION, Evidence, FREQUENT_PER_S, LARGE_BYTES, LONG_BYTES, SpikeTime, Strategy};
use crate::guidance::{AccessRate, Features, Stimulus};

fn chosen(evidence: &Evidence) -> AllocationStrategyType {
    Strategy::of(evidence, None).strategy_type
}

fn evidence(content: &str) -> Evidence {
    let features = Features::of(Stimulus::Content(content.as_bytes())).unwrap();
    Evidence {
        information: features.information(),
        content_bytes: content.len(),
        slot_bytes: content.len(),
        expected_per_s: 0.0,
        observed_per_s: 0.0,
    }
}

const RICH: &str = "An engram is the physical trace that a memory leaves in the brain. Karl Lashley looked for it with lesions in \
    the cortex of rats and found no single place; later work tagged the neurons that were active while a mouse learnt, \
    and woke the memory by light alone.";

#[test]
fn the_first_strategy_that_matches_is_taken() {
    let complex = Evidence { information: DENSE_INFORMATION, content_bytes: LONG_BYTES, ..Evidence::default() };
    let frequent = Evidence { expected_per_s: FREQUENT_PER_S, ..Evidence::default() };
    let large = Evidence { slot_bytes: LARGE_BYTES, ..Evidence::default() };
    let all = Evidence { slot_bytes: large.slot_bytes, expected_per_s: frequent.expected_per_s, ..complex };
    assert_eq!([complex, frequent, large, Evidence::default()].map(|e| chosen(&e)), AllocationStrategyType::ALL);
    assert_eq!(chosen(&all), HighComplexity);
    assert_eq!(chosen(&Evidence { information: 0.0, ..all }), HighPerformance);
    assert_eq!(chosen(&Evidence { information: 0.0, expected_per_s: 0.0, ..all }), ResourceOptimized);
}

#[test]
fn rich_text_is_complex_and_short_or_repetitive_text_is_not() {
    assert_eq!(chosen(&evidence(RICH)), HighComplexity);
    assert_eq!(chosen(&evidence(&RICH[..100])), Balanced);
    assert_eq!(chosen(&evidence(&"tick tock ".repeat(40))), Balanced);
    assert_eq!(chosen(&evidence(&"0".repeat(100_000))), ResourceOptimized);
}

#[test]
fn a_page_is_not_large_and_one_byte_more_is() {
    assert_eq!(chosen(&Evidence { slot_bytes: 4096, ..Evidence::default() }), Balanced);
    assert_eq!(chosen(&Evidence { slot_bytes: 4097, ..Evidence::default() }), ResourceOptimized);
}

#[test]
fn the_strategy_follows_the_observed_rate_and_comes_back() {
    let mut rate = AccessRate::default();
    let mut now = 0;
    let mut strategy = Balanced;
    let mut seen = vec![strategy];
    // A minute of 100 accesses a second, then two of one in two seconds.
    for step in std::iter::repeat_n(10_000_000, 6_000).chain(std::iter::repeat_n(2_000_000_000, 60)) {
        now += step;
        rate.record(now);
        strategy = Strategy::of(&Evidence { observed_per_s: rate.per_s(now), ..Evidence::default() }, Some(strategy)).strategy_type;
        if seen.last() != Some(&strategy) {
            seen.push(strategy);
        }
    }
    assert_eq!(seen, [Balanced, HighPerformance, Balanced]);
}

#[test]
fn a_rate_that_wavers_around_the_threshold_changes_the_strategy_once() {
    let mut strategy = Balanced;
    let mut changes = 0;
    for turn in 0..1000 {
        let observed_per_s = if turn % 2 == 0 { FREQUENT_PER_S * 1.1 } else { FREQUENT_PER_S * 0.6 };
        let next = Strategy::of(&Evidence { observed_per_s, ..Evidence::default() }, Some(strategy)).strategy_type;
        changes += usize::from(next != strategy);
        strategy = next;
    }
    assert_eq!((changes, strategy), (1, HighPerformance));
}

#[test]
fn each_strategy_places_in_a_way_of_its_own() {
    let placements = AllocationStrategyType::ALL.map(AllocationStrategyType::placement);
    for (index, placement) in placements.iter().enumerate() {
        assert!((0.0..=1.0).contains(&placement.content_weight));
        assert!(placements[..index].iter().all(|other| other != placement));
    }
}

#[test]
fn what_is_read_often_lies_one_zone_earlier_and_what_does_not_spike_stays_last() {
    let spike = SpikeTime::from_nanos(5_000_000);
    assert_eq!(Balanced.placement().spike(spike), spike);
    assert_eq!(HighPerformance.placement().spike(spike).zone() + 1, spike.zone());
    assert_eq!(HighPerformance.placement().spike(SpikeTime::NONE), SpikeTime::NONE);
}

#[test]
fn a_strategy_prints_its_name() {
    let names = AllocationStrategyType::ALL.map(|strategy| strategy.to_string());
    assert_eq!(names, ["HighComplexity", "HighPerformance", "ResourceOptimized", "Balanced"]);
    assert_eq!(format!("{HighPerformance:>16}"), " HighPerformance");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn placement_keeps_the_order_of_spikes(a: u32, b: u32) {
        for strategy in AllocationStrategyType::ALL {
            let place = |nanos| strategy.placement().spike(SpikeTime::from_nanos(nanos));
            prop_assert!((a <= b) <= (place(a) <= place(b)));
        }
    }
}
