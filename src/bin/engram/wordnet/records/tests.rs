use super::*;

#[test]
fn a_spike_comes_earlier_the_stronger_the_concept() {
    assert_eq!(spike_ns(1.0), 2_107_210);
    assert_eq!(spike_ns(0.75), 2_862_017);
    assert_eq!(spike_ns(0.5), 4_462_871);
    assert_eq!(spike_ns(0.2), 13_862_944);
    assert_eq!(spike_ns(0.11), 47_957_905);
}

#[test]
fn the_shipped_wordnet_is_whole() {
    let concepts = Concepts::shipped().unwrap();
    assert_eq!(concepts.len(), 117_659);
    assert!(concepts.iter().all(|concept| concept.column < COLUMNS && concept.spike_ns >= 2_107_210));
    let first = concepts.content(&concepts.each[0]);
    assert!(first.starts_with(b"entity\tthat which is perceived"));
    assert!(first.ends_with(b"(living or nonliving)"));
}

#[test]
fn a_line_that_lacks_a_field_is_refused_by_its_number() {
    let wrong = |text: &str| Concepts::parse(text.as_bytes().to_vec()).err().unwrap_or_default();
    assert_eq!(wrong("id\ttype\tlemmas\tgloss\nn1\tnoun\tcat\ta feline\n"), "");
    assert!(wrong("id\ttype\tlemmas\tgloss\nn1\tnoun\tcat\ta feline\nn2\tnoun\tdog\n").starts_with("line 3:"));
    assert!(wrong("id\ttype\tlemmas\tgloss\nn1\tnoun\t\ta feline\n").starts_with("line 2:"));
    assert!(wrong("id\ttype\tlemmas\tgloss\nn1\tnoun\tcat\ta\tb\n").starts_with("line 2:"));
}

#[test]
fn an_order_is_by_key_and_then_as_in_the_file() {
    let text = "h\nn1\tnoun\tcat\tabcdef\nn2\tnoun\tcat|tom\tabc\nn3\tnoun\tdog\tabcdef\n";
    let concepts = Concepts::parse(text.as_bytes().to_vec()).unwrap();
    assert_eq!(concepts.order(|concept| concept.spike_ns), [1, 0, 2]);
}
