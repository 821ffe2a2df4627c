//! The decoder against whatever bytes there are.

use super::packed::unpack;
use super::writer::{Writer, every_operation};
use super::*;

/// The fault of bytes that must be refused, and where it is.
fn fault(bytes: &[u8]) -> (usize, Fault) {
    let error = decode(bytes).expect_err("a trace that must be refused was read");
    (error.at, error.fault)
}

/// T1 to T4, checked by other means than the decoder's.
fn assert_consistent(trace: &Trace) {
    let mut live = std::collections::HashSet::new();
    let mut next = 0;
    assert!((1..=64).contains(&trace.threads()));
    for op in trace.ops() {
        assert!(op.thread < trace.threads(), "T3");
        match op.action {
            Action::Allocate { size, align_log2 } => {
                assert_eq!(op.object, next, "T1");
                assert!(size <= 1 << 40 && align_log2 <= 21, "T4");
                live.insert(next);
                next += 1;
            }
            Action::Free => assert!(live.remove(&op.object), "T2"),
            Action::Reallocate { size } => {
                assert!(live.contains(&op.object), "T2");
                assert!(size <= 1 << 40, "T4");
            }
        }
    }
    assert_eq!(trace.objects(), next, "T1");
}

#[test]
fn every_operation_is_read_as_it_was_written() {
    let trace = decode(&every_operation().finish()).unwrap();
    assert_consistent(&trace);
    assert_eq!((trace.threads(), trace.objects(), trace.ops().len()), (2, 6, 15));
    let first = Op { object: 0, thread: 0, action: Action::Allocate { size: 0, align_log2: 4 } };
    assert_eq!(trace.ops()[0], first);
    assert_eq!(trace.ops()[3].action, Action::Allocate { size: 5_000, align_log2: 12 });
    assert_eq!(trace.ops()[4], Op { object: 1, thread: 0, action: Action::Reallocate { size: 100_000 } });
    assert_eq!(trace.ops()[9], Op { object: 2, thread: 0, action: Action::Free });
}

#[test]
fn the_shipped_trace_is_the_one_that_its_description_counts() {
    let shipped = include_bytes!("../../../../traces/nest_brunel.egt.zst");
    let trace = decode(&unpack(shipped.to_vec()).unwrap()).unwrap();
    assert_consistent(&trace);
    assert_eq!((trace.threads(), trace.ops().len(), trace.objects()), (2, 719_780, 384_717));
}

#[test]
fn a_trace_cut_at_any_byte_is_refused_where_it_ends() {
    let whole = every_operation().finish();
    for length in 0..whole.len() {
        let (at, fault) = fault(&whole[..length]);
        assert_eq!(at, length);
        let Fault::CutShort { operation, .. } = fault else { panic!("cut at {length}: {fault}") };
        assert_eq!(operation.is_none(), length < Writer::HEADER, "cut at {length}");
    }
}

#[test]
fn a_trace_with_any_bits_changed_is_consistent_or_refused() {
    let whole = every_operation().finish();
    let mut refused = 0;
    for at in 0..whole.len() {
        for change in 1..=255 {
            let mut changed = whole.clone();
            changed[at] ^= change;
            match decode(&changed) {
                Ok(trace) => assert_consistent(&trace),
                Err(error) => {
                    refused += 1;
                    assert!(error.at <= changed.len(), "{error}");
                    assert!(at < Writer::HEADER || error.at >= Writer::HEADER || error.at == 24, "{error}");
                }
            }
        }
    }
    assert!(refused > whole.len() * 128, "only {refused} of {} changes were refused", whole.len() * 255);
}

#[test]
fn a_changed_header_is_refused_at_the_field_that_was_changed() {
    let whole = every_operation().finish();
    let changed = |at: usize, to: u8| {
        let mut bytes = whole.clone();
        bytes[at] = to;
        fault(&bytes)
    };
    assert_eq!(changed(7, b'2'), (0, Fault::Magic { found: "EGTRACE2".to_owned() }));
    assert_eq!(changed(8, 2), (8, Fault::Version { found: 2 }));
    assert_eq!(changed(12, 0), (12, Fault::Threads { stated: 0 }));
    assert_eq!(changed(12, 65), (12, Fault::Threads { stated: 65 }));
    assert_eq!(changed(20, 1), (16, Fault::TooManyOperations { stated: (1 << 32) + 15 }));
    assert_eq!(changed(24, 9), (24, Fault::ObjectCount { stated: 9, found: 6 }));
    assert_eq!(changed(31, 1), (24, Fault::ObjectCount { stated: (1 << 56) + 6, found: 6 }));
}

#[test]
fn a_count_of_operations_that_is_not_the_trace_s_is_refused() {
    let mut bytes = every_operation().finish();
    let end = bytes.len();
    bytes[16] = 16;
    assert_eq!(fault(&bytes), (end, Fault::CutShort { wanted: "its first byte", operation: Some((15, 16)) }));
    bytes[16] = 14;
    assert_eq!(fault(&bytes), (end - 5, Fault::MoreThanStated { operations: 14, surplus: 5 }));
}

#[test]
fn a_free_or_a_reallocation_of_an_object_that_is_not_live_is_refused_at_its_number() {
    for second in [1, 2] {
        let mut trace = Writer::new(1);
        trace.allocate(0, 8, 4);
        trace.allocate(0, 8, 4);
        trace.free(0, 0);
        let at = trace.at() + 1;
        let mut unknown = trace.clone();
        trace.raw(&[second, 1, 0]);
        assert_eq!(fault(&trace.finish()), (at, Fault::DeadObject { object: 0 }));
        unknown.raw(&[second, 2, 0]);
        assert_eq!(fault(&unknown.finish()), (at, Fault::UnknownObject { distance: 2, objects: 2 }));
    }
    let mut empty = Writer::new(1);
    empty.raw(&[1, 0]);
    assert_eq!(fault(&empty.finish()), (33, Fault::UnknownObject { distance: 0, objects: 0 }));
    let mut far = Writer::new(1);
    far.allocate(0, 8, 4);
    far.raw(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    assert_eq!(fault(&far.finish()), (36, Fault::UnknownObject { distance: u64::MAX, objects: 1 }));
}

#[test]
fn a_thread_an_operation_or_an_alignment_out_of_range_is_refused_at_its_byte() {
    let one = |bytes: &[u8]| {
        let mut trace = Writer::new(2);
        trace.allocate(1, 8, 4);
        trace.raw(bytes);
        fault(&trace.finish())
    };
    assert_eq!(one(&[2 << 2, 8, 4]), (35, Fault::Thread { thread: 2, threads: 2 }));
    assert_eq!(one(&[3, 8, 4]), (35, Fault::UnknownOperation));
    assert_eq!(one(&[0, 8, 22]), (37, Fault::Alignment { align_log2: 22 }));
}

#[test]
fn a_size_is_at_most_a_tebibyte_and_a_varint_at_most_ten_bytes() {
    let one = |bytes: &[u8]| {
        let mut trace = Writer::new(1);
        trace.raw(bytes);
        fault(&trace.finish())
    };
    let mut most = Writer::new(1);
    most.allocate(0, 1 << 40, 21);
    assert_eq!(decode(&most.finish()).unwrap().ops().len(), 1);
    assert_eq!(one(&[0, 0x81, 0x80, 0x80, 0x80, 0x80, 0x20, 4]), (33, Fault::Size { size: (1 << 40) + 1 }));
    let mut long = vec![0];
    long.extend([0x80; 10]);
    long.extend([0, 4]);
    assert_eq!(one(&long), (33, Fault::VarintTooLong));
    let mut wide = vec![0];
    wide.extend([0xff; 9]);
    wide.extend([2, 4]);
    assert_eq!(one(&wide), (33, Fault::VarintTooLong));
}

#[test]
fn an_error_says_where_and_what_was_expected() {
    let mut bytes = every_operation().finish();
    bytes.truncate(40);
    let said = decode(&bytes).unwrap_err().to_string();
    assert_eq!(said, "at byte 40 of the decompressed trace: cut short: expected its size in operation 2 (the header states 15)");
    let said = decode(b"EGTRACE").unwrap_err().to_string();
    assert_eq!(said, "at byte 7 of the decompressed trace: cut short: expected the magic EGTRACE1 in the header");
    let said = decode(b"\x00GIF89a~~~~").unwrap_err().to_string();
    assert_eq!(said, "at byte 0 of the decompressed trace: expected the magic EGTRACE1, found \"\\x00GIF89a~\"");
}
