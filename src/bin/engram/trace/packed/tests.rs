//! Frames: plain, several, damaged, too large.

use super::super::writer::every_operation;
use super::*;

fn compressed(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn plain_and_compressed_bytes_unpack_to_the_same() {
    let plain = every_operation().finish();
    assert_eq!(unpack(plain.clone()).unwrap(), plain);
    assert_eq!(unpack(compressed(&plain)).unwrap(), plain);
    assert!(unpack(Vec::new()).unwrap().is_empty());
}

#[test]
fn frames_follow_each_other_and_skippable_ones_are_skipped() {
    let plain = every_operation().finish();
    let (first, second) = plain.split_at(20);
    let mut bytes = vec![0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
    bytes.extend(compressed(first));
    bytes.extend(compressed(second));
    assert_eq!(unpack(bytes.clone()).unwrap(), plain);
    bytes.extend([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 9]);
    let refused = unpack(bytes.clone()).unwrap_err();
    assert!(matches!(refused.fault, PackedFault::Damaged(_)));
    assert_eq!(refused.at, bytes.len() - 1, "{refused}");
}

#[test]
fn a_damaged_stream_is_refused_or_content_that_is_the_same() {
    let shipped = include_bytes!("../../../../../traces/nest_brunel.egt.zst");
    let head = unpack(shipped.to_vec()).unwrap()[..6_000].to_vec();
    let whole = compressed(&head);
    let mut refused = 0;
    for at in 4..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        match unpack(changed) {
            Ok(content) => assert_eq!(content, head, "a change at byte {at} went unnoticed"),
            Err(_) => refused += 1,
        }
        assert!(unpack(whole[..at].to_vec()).is_err_and(|refused| refused.at <= at), "cut at {at}");
    }
    assert!(refused > whole.len() * 9 / 10, "only {refused} of {}", whole.len());
}

#[test]
fn a_small_stream_of_much_content_is_refused() {
    // Window descriptor 0x38: 128 KiB. A block: last, type 1 (one byte repeated), 128 KiB.
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
    let block = |last: u32| [(last | 1 << 1 | 0x2_0000 << 3).to_le_bytes()[..3].to_vec(), vec![0]].concat();
    for _ in 0..8 {
        bytes.extend(block(0));
    }
    bytes.extend(block(1));
    assert_eq!(decompress_within(2 << 20, &bytes).unwrap().len(), 9 << 17);
    assert!(matches!(decompress_within(1 << 20, &bytes), Err(PackedError { fault: PackedFault::TooLarge(_), .. })));
    assert!(matches!(unpack_within(1 << 20, bytes), Err(PackedError { fault: PackedFault::TooLarge(_), .. })));
}

#[test]
fn plain_bytes_are_limited_too() {
    assert_eq!(unpack_within(3, vec![1, 2, 3]).unwrap(), [1, 2, 3]);
    assert!(matches!(unpack_within(2, vec![1, 2, 3]), Err(PackedError { at: 2, fault: PackedFault::TooLarge(2) })));
}
