use super::*;

/// A trace of these records.
fn trace(operations: u64, records: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(operations.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(records);
    bytes
}

fn refusal(bytes: &[u8]) -> String {
    match decode(bytes) {
        Ok(_) => panic!("a bad trace was accepted"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn a_reallocation_is_an_allocation_and_a_free() {
    // Allocate 300 bytes, make them 16, free them.
    let bytes = trace(3, &[0, 0xac, 0x02, 4, 2, 0, 16, 1, 0]);
    let trace = decode(&bytes).unwrap();
    let steps: Vec<_> = trace.steps.iter().map(|step| (step.place, step.size)).collect();
    assert_eq!(steps, [(0, 300), (1, 16), (0, 0), (1, 0)]);
    assert_eq!((trace.places, trace.peak), (2, 316));
}

#[test]
fn a_freed_place_is_used_again_and_no_block_is_too_small_to_write_to() {
    let bytes = trace(3, &[0, 0, 4, 1, 0, 0, 1, 4]);
    let trace = decode(&bytes).unwrap();
    let steps: Vec<_> = trace.steps.iter().map(|step| (step.place, step.size)).collect();
    assert_eq!(steps, [(0, 8), (0, 0), (0, 8)]);
    assert_eq!(trace.places, 1);
}

#[test]
fn a_bad_trace_is_refused_and_the_place_is_named() {
    assert!(refusal(b"EGTRACE1").contains("byte 0"));
    assert!(refusal(&[0; 40]).contains("wrong magic at byte 0"));
    assert!(refusal(&trace(1, &[0])).contains("cut short at byte 33"));
    assert!(refusal(&trace(1, &[3])).contains("byte 32: unknown kind 3"));
    assert!(refusal(&trace(1, &[1, 0])).contains("byte 32: names a block before the first"));
    assert!(refusal(&trace(3, &[0, 8, 4, 1, 0, 1, 0])).contains("byte 37: names a block that was freed"));
    assert!(refusal(&trace(1, &[0, 8, 4, 0])).contains("byte 35"));
}
