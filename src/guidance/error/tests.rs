use super::*;

#[test]
fn a_message_alone_says_what_was_asked_and_what_was_possible() {
    let quota =
        AllocationError::QuotaExceeded { pool: ConceptType::EVENT, asked_bytes: 96, used_bytes: 4_000, quota_bytes: 4_096, kept_bytes: 64 };
    assert_eq!(quota.to_string(), "pool event may hold 4096 bytes, holds 4000 and keeps 64 for earlier spikes; 96 more were asked for");
    let pool = AllocationError::PoolNotFound { concept_type: ConceptType::SPATIAL, known: vec![ConceptType::ENTITY, ConceptType::EVENT] };
    assert_eq!(pool.to_string(), "there is no pool for the type spatial; this service has pools for entity, event");
    let id = AllocationError::invalid("concept_id", &"0 bytes long", "1 to 255 bytes long");
    assert_eq!(id.to_string(), "concept_id is 0 bytes long; it must be 1 to 255 bytes long");
    let busy = |what| AllocationError::Busy { what }.to_string();
    let (permits, waited) = (4, Duration::from_millis(20));
    let services = "all 4 permits were taken for 20ms; try again, or raise the admission timeout or the number of permits";
    assert_eq!(busy(Occupied::Permits { permits, waited }), services);
    let files = "all 4 permits that a region file has for batches that are all or nothing were taken for 20ms; try again, or raise \
                 the admission timeout, or have each request served on its own";
    assert_eq!(busy(Occupied::FilePermits { permits, waited }), files);
    let undecided =
        "the concept \"cat\" is part of a batch that is under way, and may be undone; try again once the batch has been answered";
    assert_eq!(busy(Occupied::Concept { concept_id: "cat".to_owned() }), undecided);
    let internal = AllocationError::Internal { what: "reading a concept", error: Error::DoubleFree(16) };
    assert_eq!(internal.to_string(), "reading a concept failed: 0x10 is not handed out: it was freed before, or never given");
}
