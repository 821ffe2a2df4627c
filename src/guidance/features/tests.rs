use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn text(content: &str) -> Features {
    Features::of(Stimulus::Content(content.as_bytes())).unwrap()
}

fn embedding(numbers: &[f32]) -> Features {
    Features::of(Stimulus::Embedding(numbers)).unwrap()
}

fn squared_length(features: &Features) -> f64 {
    features.similarity(features)
}

#[test]
fn the_components_of_one_sentence_never_change() {
    let components = text("The cat purrs.").components;
    let set: Vec<_> = components.iter().enumerate().filter(|(_, component)| **component != 0).collect();
    let whole: i64 = set.iter().map(|&(index, &component)| (index as i64 + 1) * i64::from(component)).sum();
    assert_eq!((set.len(), whole), (17, 1_780_352));
}

#[test]
fn letters_are_read_alike_in_both_cases_and_spaces_as_one() {
    assert_eq!(text("The  CAT\n\tpurrs "), text("the cat purrs"));
    assert_ne!(text("the cat purrs!"), text("the cat purrs"));
}

#[test]
fn the_order_of_words_is_seen() {
    assert_ne!(text("dog bites man"), text("man bites dog"));
    assert!(text("dog bites man").similarity(&text("man bites dog")) > 0.5);
}

#[test]
fn a_word_is_a_feature_and_has_as_many_more_as_letters() {
    let count = |word: &str| counts(word.as_bytes()).iter().filter(|count| count.abs() > 0.5).count();
    assert_eq!(["a", "cat", "\u{5922}", "a cat"].map(count), [2, 4, 2, 7]);
}

#[test]
fn related_texts_are_more_alike_than_unrelated_ones() {
    let cat = text("a small domesticated carnivore kept as a pet");
    let dog = text("a domesticated carnivore kept as a pet or for hunting");
    let tax = text("money that a state takes from its citizens");
    assert!(cat.similarity(&dog) > cat.similarity(&tax) + 0.3);
}

#[test]
fn what_is_no_text_has_features_too() {
    let bytes: Vec<u8> = (0..=255).collect();
    let binary = Features::of(Stimulus::Content(&bytes)).unwrap();
    assert!(binary.information() > 0.6);
    assert_ne!(binary, Features::of(Stimulus::Content(&bytes[..255])).unwrap());
}

#[test]
fn nothing_and_all_zero_have_no_direction() {
    for features in [text(""), text(" \n"), embedding(&[0.0]), embedding(&[0.0; 1000])] {
        assert_eq!(features.components, [0; DIMENSIONS]);
        assert!(features.information().abs() < f64::EPSILON && features.tone().abs() < f64::EPSILON);
    }
}

#[test]
fn information_grows_with_what_is_said_and_not_with_saying_it_again() {
    let [one, two, all] = ["cat", "cat and dog", "cat and dog, each with a bowl, a bed, and some very firm opinions"].map(text);
    assert!(one.information() < two.information() && two.information() < all.information());
    let again = text(&"cat and dog ".repeat(50));
    assert!((again.information() - two.information()).abs() < 0.1);
    assert!(text(&"x".repeat(4096)).information() < 0.2);
}

#[test]
fn information_is_that_of_equal_shares() {
    for (components, information) in [(1, 0.0), (2, 0.125), (16, 0.5), (256, 1.0)] {
        assert_eq!(embedding(&vec![3.5; components]).information().to_bits(), f64::to_bits(information), "{components} equal components");
    }
}

#[test]
fn embeddings_keep_their_angles() {
    let (a, b) = ([0.6, 0.8, 0.0], [0.8, -0.6, 0.0]);
    assert!(embedding(&a).similarity(&embedding(&b)).abs() < 1e-3);
    assert!((embedding(&a).similarity(&embedding(&[6.0, 8.0])) - 1.0).abs() < 1e-3);
    assert!((embedding(&a).similarity(&embedding(&[-0.6, -0.8])) + 1.0).abs() < 1e-3);
}

#[test]
fn the_largest_and_smallest_numbers_are_no_trouble() {
    for number in [f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1)] {
        let features = embedding(&vec![number; 100_000]);
        assert!((squared_length(&features) - 1.0).abs() < 1e-2);
        assert!(features.tone().is_finite());
    }
}

#[test]
fn an_embedding_that_is_empty_or_not_finite_is_refused() {
    for numbers in [&[][..], &[f32::NAN], &[1.0, f32::INFINITY]] {
        assert!(matches!(Features::of(Stimulus::Embedding(numbers)), Err(AllocationError::Invalid { what: "the embedding", .. })));
    }
}

#[test]
fn of_long_content_both_ends_are_read_and_no_more_than_4_kib() {
    for length in [0, 1, READ_WHOLE - 1, READ_WHOLE, READ_WHOLE + 1, 1 << 20] {
        let content = vec![b'x'; length];
        let read: Vec<_> = stretches(&content).collect();
        assert_eq!(read.iter().map(|stretch| stretch.len()).sum::<usize>(), length.min(READ_WHOLE));
        assert_eq!(read[0].as_ptr(), content.as_ptr());
        assert_eq!(read[read.len() - 1].as_ptr_range().end, content.as_ptr_range().end);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_content_has_length_1_or_0(content in vec(any::<u8>(), 0..300)) {
        let features = Features::of(Stimulus::Content(&content)).unwrap();
        let length = squared_length(&features);
        prop_assert!(length < f64::EPSILON || (length - 1.0).abs() < 1e-2, "{}", length);
        prop_assert!((0.0..=1.0).contains(&features.information()));
        prop_assert!(features.tone().is_finite());
    }

    #[test]
    fn any_embedding_has_length_1_or_0(numbers in vec(proptest::num::f32::NORMAL | proptest::num::f32::ZERO, 1..2000)) {
        let features = embedding(&numbers);
        let length = squared_length(&features);
        prop_assert!(length < f64::EPSILON || (length - 1.0).abs() < 1e-2, "{}", length);
        prop_assert!((0.0..=1.0).contains(&features.information()));
        prop_assert!(features.tone().is_finite());
    }

    #[test]
    fn short_embeddings_keep_their_cosines(a in vec(-1.0_f32..1.0, 200), b in vec(-1.0_f32..1.0, 200)) {
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let cosine = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
        prop_assert!((embedding(&a).similarity(&embedding(&b)) - cosine).abs() < 1e-3);
    }
}
