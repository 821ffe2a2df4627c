//! What a request's content, embedding, priority and expected accesses say about its first spike, and how
//! requests, errors and decisions look from outside.
#![cfg(not(any(loom, miri)))]

mod allocation_service_tests {
    use std::collections::{BTreeSet, HashSet};
    use std::fmt::Write;
    use std::time::Duration;

    use engram::guidance::{
        AllocationStrategyType, Decision, DecisionCache, DecisionKey, Evidence, Features, Placement, Recall, Stimulus, Strategy,
        TtfsEncoding, TtfsIntegrationService, first_spike,
    };
    use engram::{AllocationError, AllocationPriority, AllocationRequest, ConceptType, ResourceRequirements, SpikeTime};
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    const PRIORITIES: [AllocationPriority; 4] =
        [AllocationPriority::Critical, AllocationPriority::High, AllocationPriority::Normal, AllocationPriority::Low];

    fn encode(request: &AllocationRequest) -> TtfsEncoding {
        let accesses = request.resource_requirements.expected_accesses_per_s;
        TtfsIntegrationService::default().encode(request.stimulus(), request.priority, accesses).expect("a valid request")
    }

    fn entity(content: &str) -> AllocationRequest {
        AllocationRequest::new("any", ConceptType::ENTITY, content)
    }

    /// The strengths and times that Nengo gives, from the file that `tests/crosscheck/first_spike.py` makes.
    fn nengo() -> Vec<(f64, f64)> {
        let number = |text: &str| text.parse().expect("a number");
        include_str!("crosscheck/first_spike.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once(' ').map(|(strength, nanos)| (number(strength), number(nanos))).expect("two numbers"))
            .collect()
    }

    /// To within 1 ns: half of it is our rounding; next to the threshold, 1e-9 above it, Nengo's division by the
    /// threshold is off by as much again.
    #[test]
    fn first_spikes_are_those_of_nengo() {
        let vectors = nengo();
        assert!(vectors.len() > 300);
        let mut worst = [0.0_f64; 2];
        for (strength, expected) in vectors {
            let nanos = first_spike(strength).expect("a valid strength").as_nanos().expect("above the threshold");
            let near = usize::from(strength < 0.1001);
            worst[near] = worst[near].max((f64::from(nanos) - expected).abs());
        }
        assert!(worst[0] < 0.501 && worst[1] < 1.0, "off by {worst:?} ns");
    }

    #[test]
    fn two_hundred_contents_have_well_over_fifty_first_spikes() {
        let families: [fn(usize) -> String; 4] = [
            |number| number.to_string(),
            |number| format!("concept {number}"),
            |number| format!("The quick brown fox jumps over the lazy dog, for the {number}th time."),
            |number| "x".repeat(number + 1),
        ];
        for family in families {
            for priority in PRIORITIES {
                let spikes: HashSet<_> =
                    (0..200).map(|number| encode(&AllocationRequest { priority, ..entity(&family(number)) }).first_spike).collect();
                assert!(spikes.len() > 190, "{} of 200 like {:?}", spikes.len(), family(17));
            }
        }
    }

    #[test]
    fn every_more_urgent_priority_spikes_before_every_less_urgent_one() {
        let mut long = String::new();
        for number in 0..2000 {
            write!(long, "word{number} ").expect("a string takes it");
        }
        let contents = ["", "a", "a cat", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "???", long.as_str()];
        let mut last = None;
        for priority in PRIORITIES {
            let mut spikes = BTreeSet::new();
            for content in contents {
                for expected_accesses_per_s in [0.0, 1e-30, 1.0, 1e6, f32::MAX] {
                    let resource_requirements = ResourceRequirements { expected_accesses_per_s, ..Default::default() };
                    let request = AllocationRequest { priority, resource_requirements, ..entity(content) };
                    let encoding = encode(&request);
                    let (low, high) = priority.band();
                    assert!(low < encoding.strength && encoding.strength <= high);
                    spikes.insert(encoding.first_spike);
                }
            }
            assert!(last < spikes.first().copied(), "{priority:?} from {:?}, the one before to {last:?}", spikes.first());
            last = spikes.last().copied();
        }
        assert!(last < Some(SpikeTime::NONE), "the least urgent spikes, too");
    }

    #[test]
    fn the_same_embedding_priority_and_accesses_give_the_same_first_spike_whatever_the_content() {
        let with = |content: &str| AllocationRequest { semantic_embedding: Some(vec![0.1, -0.7, 0.4]), ..entity(content) };
        assert_eq!(encode(&with("a cat")), encode(&with("something else")));
        assert_ne!(encode(&with("a cat")), encode(&entity("a cat")));
    }

    #[test]
    fn embeddings_that_differ_in_direction_or_length_have_different_first_spikes() {
        let of = |numbers: Vec<f32>| encode(&AllocationRequest { semantic_embedding: Some(numbers), ..entity("") }).first_spike;
        let spikes: HashSet<_> = (1..=100_u16).map(|number| of(vec![f32::from(number) / 100.0; 8])).collect();
        assert_eq!(spikes.len(), 100);
        let spikes: HashSet<_> = (0..100).map(|one| of((0..100).map(|index| if index == one { 1.0 } else { 0.0 }).collect())).collect();
        assert!(spikes.len() > 95);
    }

    #[test]
    fn spikes_of_like_contents_lie_closer_together_than_those_of_unlike_ones() {
        let like = ["the cat sat on the mat", "the cat sat on a mat", "a cat sat on the mat"];
        let features = like.map(|content| Features::of(Stimulus::Content(content.as_bytes())).expect("valid"));
        assert!(features[0].similarity(&features[1]) > 0.7 && features[0].similarity(&features[2]) > 0.7);
        let nanos = |content: &str| f64::from(encode(&entity(content)).first_spike.as_nanos().expect("it spikes"));
        let apart = |a: &str, b: &str| (nanos(a) - nanos(b)).abs();
        let unlike = "quarterly revenue of the northern branch, in thousands";
        assert!(apart(like[0], like[1]).max(apart(like[0], like[2])) < apart(like[0], unlike));
    }

    #[test]
    fn a_spike_time_reads_as_nanoseconds_or_none_and_earlier_is_less() {
        assert_eq!(SpikeTime::from_nanos(7).as_nanos(), Some(7));
        assert_eq!(SpikeTime::from_nanos(u32::MAX), SpikeTime::NONE);
        assert_eq!(SpikeTime::NONE.as_nanos(), None);
        assert!(SpikeTime::from_nanos(7) < SpikeTime::from_nanos(8));
        assert!(SpikeTime::from_nanos(u32::MAX - 1) < SpikeTime::NONE);
        assert_eq!(SpikeTime::from_millis(2.5), Ok(SpikeTime::from_nanos(2_500_000)));
    }

    #[test]
    fn errors_are_errors_and_cross_threads() {
        fn is_error<E: std::error::Error + Clone + Send + Sync + 'static>(_: &E) {}
        let error = first_spike(-1.0).expect_err("negative");
        is_error(&error);
        assert!(matches!(error, AllocationError::Invalid { what: "strength", .. }));
    }

    #[test]
    fn a_decision_from_the_cache_is_the_one_that_was_made() {
        let cache = DecisionCache::new(100, Duration::from_secs(3600)).unwrap();
        let encoder = TtfsIntegrationService::new();
        let decide = |request: &AllocationRequest| {
            let features = Features::of(request.stimulus()).expect("valid");
            let evidence = Evidence {
                information: features.information(),
                content_bytes: request.content.len(),
                slot_bytes: request.bytes(),
                ..Default::default()
            };
            Decision {
                column: 3,
                encoding: encoder.encode_features(&features, request.priority, 0.0).expect("valid"),
                strategy: Strategy::of(&evidence, None).strategy_type,
                confidence: 0.25,
            }
        };
        for round in 0..10 {
            for content in ["a cat", "a dog", &"0".repeat(5000)] {
                let request = AllocationRequest { concept_id: format!("{content}-{round}"), ..entity(content) };
                match cache.recall(DecisionKey::of(&request, &request.locality_hints), round) {
                    Recall::Hit(decision) => assert_eq!(decision, decide(&request)),
                    Recall::Miss(undecided) => assert!(cache.remember(undecided, &decide(&request), round)),
                }
            }
        }
        assert_eq!((cache.hits(), cache.misses()), (27, 3));
    }

    #[test]
    fn a_strategy_says_how_a_concept_is_placed() {
        let of = |evidence| Strategy::of(&evidence, None);
        let often = of(Evidence { expected_per_s: 1000.0, ..Default::default() });
        assert_eq!(often.strategy_type, AllocationStrategyType::HighPerformance);
        assert!(often.placement.spike(SpikeTime::from_nanos(5_000_000)) < SpikeTime::from_nanos(5_000_000));
        let large = of(Evidence { slot_bytes: 1 << 20, ..Default::default() });
        assert_eq!(large.strategy_type, AllocationStrategyType::ResourceOptimized);
        assert!(large.placement.load_weight > often.placement.load_weight);
        let earliest = Placement { zones_earlier: u8::MAX, ..often.placement };
        assert_eq!(earliest.spike(SpikeTime::from_nanos(5_000_000)), SpikeTime::from_nanos(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_valid_request_spikes_and_in_the_order_of_priorities(
            content in any::<String>(),
            embedding in proptest::option::of(vec(-1e30_f32..1e30, 1..500)),
            expected_accesses_per_s in 0.0_f32..1e9,
        ) {
            let requirements = ResourceRequirements { expected_accesses_per_s, ..Default::default() };
            let request = AllocationRequest { semantic_embedding: embedding, resource_requirements: requirements, ..entity(&content) };
            prop_assert_eq!(request.validate(), Ok(()));
            let spikes = PRIORITIES.map(|priority| encode(&AllocationRequest { priority, ..request.clone() }).first_spike);
            prop_assert!(spikes.is_sorted_by(|a, b| a < b) && spikes[3] != SpikeTime::NONE);
        }

        #[test]
        fn any_floats_as_an_embedding_are_encoded_or_refused(numbers in vec(any::<f32>(), 0..50), accesses in any::<f32>()) {
            let encoded = TtfsIntegrationService::new().encode(Stimulus::Embedding(&numbers), AllocationPriority::Normal, accesses);
            let valid = !numbers.is_empty() && numbers.iter().all(|number| number.is_finite()) && accesses.is_finite() && accesses >= 0.0;
            prop_assert_eq!(encoded.is_ok(), valid);
        }
    }
}
