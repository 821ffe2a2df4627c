use proptest::prelude::*;

use super::AllocationPriority::{Critical, High, Low, Normal};
use super::*;

const PRIORITIES: [AllocationPriority; 4] = [Low, Normal, High, Critical];

fn encode(content: &str, priority: AllocationPriority, accesses: f32) -> TtfsEncoding {
    TtfsIntegrationService::new().encode(Stimulus::Content(content.as_bytes()), priority, accesses).unwrap()
}

#[test]
fn strengths_spike_when_the_formula_says() {
    let vectors = [
        (1.0, 2.107_210),
        (0.75, 2.862_017),
        (0.5, 4.462_871),
        (0.25, 10.216_512),
        (0.2, 13.862_944),
        (0.15, 21.972_246),
        (0.11, 47.957_905),
    ];
    for (strength, ms) in vectors {
        let nanos = first_spike(strength).unwrap().as_nanos().unwrap();
        assert!((f64::from(nanos) / 1e6 - ms).abs() < 2e-6, "{strength}: {nanos} ns");
    }
}

#[test]
fn at_and_below_the_threshold_there_is_no_spike() {
    for strength in [0.0, -0.0, f64::MIN_POSITIVE, 0.05, 0.1_f64.next_down(), 0.1] {
        assert_eq!(first_spike(strength), Ok(SpikeTime::NONE), "{strength}");
    }
}

#[test]
fn the_latest_spike_is_far_from_the_largest_time() {
    assert_eq!(first_spike(0.1_f64.next_up()).unwrap().as_nanos(), Some(730_273_140));
}

#[test]
fn strengths_above_1_are_allowed_and_saturate_at_0() {
    assert_eq!(first_spike(2.0).unwrap().as_nanos(), Some(1_025_866));
    assert_eq!(first_spike(3_000_000.0).unwrap().as_nanos(), Some(1));
    assert_eq!(first_spike(4_000_001.0).unwrap().as_nanos(), Some(0));
    assert_eq!(first_spike(f64::MAX).unwrap().as_nanos(), Some(0));
}

#[test]
fn a_strength_that_is_not_finite_or_negative_is_an_error() {
    for strength in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -f64::MIN_POSITIVE, -1.0] {
        let error = first_spike(strength).expect_err("out of range").to_string();
        assert_eq!(error, format!("strength is {strength:?}; it must be finite and at least 0"));
        assert!(error.len() < 80, "{error}"); // not hundreds of zeros
    }
}

#[test]
fn milliseconds_are_taken_from_0_to_4294_9() {
    assert_eq!(SpikeTime::from_millis(0.0), Ok(SpikeTime::from_nanos(0)));
    assert_eq!(SpikeTime::from_millis(2.107_210_4), Ok(SpikeTime::from_nanos(2_107_210)));
    assert_eq!(SpikeTime::from_millis(4_294.9), Ok(SpikeTime::from_nanos(4_294_900_000)));
    for ms in [f64::NAN, f64::INFINITY, -1e-9, 4_294.900_001] {
        assert!(SpikeTime::from_millis(ms).is_err(), "{ms}");
    }
}

#[test]
fn bands_meet_and_do_not_overlap() {
    let bands = PRIORITIES.map(AllocationPriority::band);
    assert_eq!(bands.map(|(low, _)| low.to_bits()), [0.1, 0.35, 0.55, 0.75].map(f64::to_bits));
    assert_eq!(bands.map(|(_, high)| high.to_bits()), [0.35, 0.55, 0.75, 1.0].map(f64::to_bits));
}

#[test]
fn even_at_the_ends_of_its_band_a_priority_spikes_apart_from_the_others() {
    for pair in PRIORITIES.windows(2) {
        let [less, more] = [(pair[0], 1.0), (pair[1], 0.0)].map(|(priority, place)| {
            let strength = strength(priority, place, place);
            let (low, high) = priority.band();
            assert!(low < strength && strength <= high, "{priority:?}: {strength}");
            first_spike(strength).unwrap().as_nanos().unwrap()
        });
        assert!(more + 15_000 < less, "{pair:?}: {more} and {less} ns");
    }
}

#[test]
fn one_request_has_one_encoding() {
    let encoding = encode("a cat is a small carnivore that purrs", High, 12.5);
    assert_eq!(encoding, encode("a cat is a small carnivore that purrs", High, 12.5));
    assert_eq!(encoding.first_spike, first_spike(encoding.strength).unwrap());
    assert_eq!(encoding.first_spike.as_nanos(), Some(3_116_763), "it is the same on every platform");
}

#[test]
fn unknown_accesses_leave_the_place_to_the_content() {
    let features = Features::of(Stimulus::Content(b"a cat")).unwrap();
    let encoded = TtfsIntegrationService::new().encode_features(&features, Normal, 0.0).unwrap();
    assert_eq!(encoded.strength.to_bits(), strength(Normal, salience(&features), 0.0).to_bits());
}

#[test]
fn more_accesses_spike_earlier() {
    let rates = [0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e6, 1e12, f32::MAX];
    let spikes = rates.map(|rate| encode("a cat", Normal, rate).first_spike);
    assert!(spikes.windows(2).all(|pair| pair[1] < pair[0]), "{spikes:?}");
}

#[test]
fn the_rate_that_counts_for_half_can_be_set() {
    let slow = TtfsIntegrationService::with_half_at(1.0).unwrap();
    assert!((slow.familiarity(1.0) - 0.5).abs() < 1e-12);
    assert!((TtfsIntegrationService::default().familiarity(1000.0) - 0.5).abs() < 1e-12);
    assert_eq!(TtfsIntegrationService::with_half_at(1000.0).unwrap(), TtfsIntegrationService::new());
    for rate in [0.0, -1.0, -0.5, f64::NAN, f64::INFINITY] {
        assert!(TtfsIntegrationService::with_half_at(rate).is_err(), "{rate}");
    }
}

#[test]
fn accesses_out_of_range_are_an_error() {
    for rate in [-1.0, f32::NAN, f32::INFINITY] {
        let encoded = TtfsIntegrationService::new().encode(Stimulus::Content(b"a cat"), Normal, rate);
        assert!(matches!(encoded, Err(AllocationError::Invalid { what: "expected_accesses_per_s", .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_two_strengths_the_greater_never_spikes_later(a in 0.0..3.0_f64, b in 0.0..3.0_f64) {
        let (less, more) = (a.min(b), a.max(b));
        prop_assert!(first_spike(more).unwrap() <= first_spike(less).unwrap());
    }

    #[test]
    fn strengths_that_are_apart_spike_apart(x in 0.1..10.0_f64) {
        let next = x + 5e-7 * x * (x - THETA);
        prop_assume!(x > THETA && next > x);
        prop_assert!(first_spike(next).unwrap() < first_spike(x).unwrap());
    }

    #[test]
    fn any_place_lies_in_the_band(salience in 0.0..=1.0_f64, familiarity in 0.0..=1.0_f64, index in 0..4_usize) {
        let (low, high) = PRIORITIES[index].band();
        let strength = strength(PRIORITIES[index], salience, familiarity);
        prop_assert!(low < strength && strength <= high);
    }
}
