use super::*;

#[test]
fn a_slot_says_what_was_written_and_that_it_is_whole() {
    let concept = Concept {
        id: "cat",
        concept_type: ConceptType::ENTITY,
        content: b"purrs",
        version: 7,
        spike: SpikeTime::from_nanos(4_462_871),
        wanted: 40,
        accesses: 2.5,
        priority: AllocationPriority::High,
        strategy: AllocationStrategyType::Balanced,
        pool: 3,
    };
    assert_eq!(concept.block_bytes(), 48 + 6 + 3 + 40);
    let mut block = [[0_u64; 2]; 8];
    let start: NonNull<u8> = NonNull::from(&mut block).cast();
    // SAFETY: a block of 128 bytes on the stack.
    let slot = unsafe { Slot::write(start, &concept, MARK) };
    assert!(slot.is_whole(128) && slot.mark() == MARK && !slot.is_whole(61) && !slot.is_whole(8));
    let pinned = crossbeam_epoch::pin();
    let read = slot.read(&pinned);
    assert_eq!(format!("{read:?}"), format!("{concept:?}"));
    assert_eq!((slot.content_at(), slot.used_bytes()), (57, 62));
    slot.clear_mark();
    assert_eq!(slot.mark(), 0);
    let change = |byte| {
        // SAFETY: as above; nobody reads meanwhile.
        unsafe { start.add(byte).write(start.add(byte).read() ^ 4) };
    };
    for byte in 16..62 {
        change(byte);
        assert!(!slot.is_whole(128));
        change(byte);
    }
    assert!(slot.is_whole(128));
}
