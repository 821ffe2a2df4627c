use super::*;

fn request() -> AllocationRequest {
    AllocationRequest::new("a", ConceptType::ENTITY, "")
}

fn refused(request: &AllocationRequest) -> String {
    request.validate().expect_err("out of range").to_string()
}

#[test]
fn what_new_leaves_out_is_at_its_default() {
    let request = AllocationRequest::new("cat", ConceptType::ENTITY, String::from("purrs"));
    assert_eq!((request.concept_id.as_str(), request.content.as_str()), ("cat", "purrs"));
    assert_eq!(request.priority, AllocationPriority::Normal);
    assert_eq!(request.resource_requirements, ResourceRequirements { memory_size: 0, expected_accesses_per_s: 0.0 });
    assert!(request.semantic_embedding.is_none() && request.locality_hints.is_empty());
    assert_eq!(request.validate(), Ok(()));
}

#[test]
fn names_out_of_range_are_refused_and_the_error_says_what_is_allowed() {
    for name in ["", "Entity", "a b", "\u{e9}t\u{e9}", "a\0b", &"x".repeat(33)] {
        let error = ConceptType::new(name).expect_err(name).to_string();
        assert!(error.ends_with("must be 1 to 32 bytes of a-z, 0-9, _ and -"), "{error}");
    }
}

#[test]
fn ids_are_1_to_255_bytes_long() {
    for (length, fits) in [(0, false), (1, true), (255, true), (256, false)] {
        assert_eq!(AllocationRequest { concept_id: "x".repeat(length), ..request() }.validate().is_ok(), fits);
    }
    let error = refused(&AllocationRequest { concept_id: String::new(), ..request() });
    assert_eq!(error, "concept_id is 0 bytes long; it must be 1 to 255 bytes long");
}

#[test]
fn content_is_up_to_16_mib_long() {
    let mut request = AllocationRequest { content: "x".repeat(16 << 20), ..request() };
    assert_eq!(request.validate(), Ok(()));
    request.content.push('x');
    assert_eq!(refused(&request), "content is 16777217 bytes long; it must be at most 16777216 bytes (16 MiB) long");
}

#[test]
fn accesses_are_finite_and_at_least_0() {
    for (per_s, fits) in [(0.0, true), (-0.0, true), (f32::MAX, true), (-1.0, false), (f32::NAN, false), (f32::INFINITY, false)] {
        assert_eq!(check_accesses(per_s).is_ok(), fits, "{per_s}");
    }
    let error = check_accesses(f32::NAN).expect_err("not a number").to_string();
    assert_eq!(error, "expected_accesses_per_s is NaN; it must be finite and at least 0 (0 if unknown)");
}

#[test]
fn embeddings_are_not_empty_and_finite() {
    let with = |embedding: &[f32]| AllocationRequest { semantic_embedding: Some(embedding.to_vec()), ..request() };
    assert_eq!(with(&[0.0]).validate(), Ok(()));
    assert_eq!(refused(&with(&[])), "the embedding is empty; it must be at least one number, or left out");
    assert_eq!(refused(&with(&[1.0, f32::NEG_INFINITY])), "the embedding is -inf at index 1; it must be finite throughout");
}

#[test]
fn critical_is_the_greatest_priority_and_normal_the_default() {
    use AllocationPriority::{Critical, High, Low, Normal};
    assert!(Low < Normal && Normal < High && High < Critical);
    assert_eq!(AllocationPriority::default(), Normal);
}

#[test]
fn a_slot_holds_the_content_and_what_was_asked_for() {
    let mut request = AllocationRequest { content: "four".into(), ..request() };
    assert_eq!(request.bytes(), 4);
    request.resource_requirements.memory_size = 100;
    assert_eq!(request.bytes(), 100);
}

#[test]
fn a_deallocation_is_made_of_an_id() {
    assert_eq!(DeallocationRequest::from("cat"), DeallocationRequest::from(String::from("cat")));
}
