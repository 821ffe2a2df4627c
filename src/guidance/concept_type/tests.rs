use super::*;
use proptest::prelude::*;

#[test]
fn the_constants_are_lower_case_words() {
    let names: Vec<_> = ConceptType::ALL.iter().map(ConceptType::as_str).collect();
    assert_eq!(names, ["entity", "abstract", "event", "category", "relationship", "property", "temporal", "spatial"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_type_reads_prints_and_sorts_as_its_name(a in "[a-z0-9_-]{1,32}", b in "[a-z0-9_-]{1,32}") {
        let (first, second) = (ConceptType::new(&a).unwrap(), ConceptType::new(&b).unwrap());
        prop_assert_eq!(first.as_str(), a.as_str());
        prop_assert_eq!(first.to_string().parse::<ConceptType>().unwrap(), first);
        prop_assert_eq!(first.cmp(&second), a.cmp(&b));
    }
}
