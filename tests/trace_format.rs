//! `engram replay` refuses what is not a sound trace: exit code 2, one line that names the file, the byte and what was
//! expected there, nothing on standard output.
#![allow(missing_docs, reason = "tests are named after what they prove")]

mod common;

use common::writer::{Writer, every_operation};
use common::{Scratch, engram, refusal};

/// What is said of these bytes, after the file's name.
fn said_of(name: &str, bytes: &[u8]) -> String {
    let file = Scratch::new(name, bytes);
    let said = refusal(&engram(["replay".as_ref(), file.path().as_os_str()]), 2);
    let about = said.strip_prefix(&format!("{}: ", file.name()));
    about.unwrap_or_else(|| panic!("the file is not named: {said}")).to_owned()
}

fn changed(at: usize, to: &[u8]) -> Vec<u8> {
    let mut bytes = every_operation().finish();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn a_header_that_is_wrong_is_refused_at_its_field() {
    let at = |at: usize, to: &[u8]| said_of(&format!("header-{at}"), &changed(at, to));
    let place = "of the decompressed trace";
    assert_eq!(at(0, b"PK"), format!("at byte 0 {place}: expected the magic EGTRACE1, found \"PKTRACE1\""));
    assert_eq!(at(8, &[2]), format!("at byte 8 {place}: expected version 1, found 2"));
    assert_eq!(at(12, &[0]), format!("at byte 12 {place}: expected 1 to 64 threads, found 0"));
    assert_eq!(at(23, &[1]), format!("at byte 16 {place}: expected at most 67108864 operations, found 72057594037927951"));
    assert_eq!(at(24, &[7]), format!("at byte 24 {place}: the header states 7 objects, but 6 are allocated"));
}

#[test]
fn a_trace_cut_short_is_refused_at_its_end_wherever_that_is() {
    let whole = every_operation().finish();
    for length in 0..whole.len() {
        let said = said_of(&format!("cut-{length}"), &whole[..length]);
        assert!(said.starts_with(&format!("at byte {length} of the decompressed trace: cut short: expected ")), "{said}");
    }
}

#[test]
fn bytes_after_the_last_operation_are_refused() {
    let mut bytes = every_operation().finish();
    let end = bytes.len();
    bytes.extend([0, 8, 4]);
    let said = said_of("surplus", &bytes);
    assert!(said.starts_with(&format!("at byte {end} ")), "{said}");
    assert!(said.ends_with("expected the end after the 15 operations that the header states, found 3 more bytes"), "{said}");
}

#[test]
fn an_operation_that_cannot_be_is_refused_at_the_byte_that_says_so() {
    let after_two_blocks_of_which_one_is_free = |name: &str, operation: &[u8]| {
        let mut trace = Writer::new(2);
        trace.allocate(0, 100, 4);
        trace.allocate(1, 100, 4);
        trace.free(0, 1);
        assert_eq!(trace.at(), 40);
        trace.raw(operation);
        said_of(name, &trace.finish())
    };
    let cases: [(&str, &[u8], &str); 9] = [
        ("dead", &[1, 0], "at byte 41 *: object 1 was freed before: expected a live one"),
        ("dead-resized", &[2, 0, 9], "at byte 41 *: object 1 was freed before: expected a live one"),
        ("unknown", &[1, 2], "at byte 41 *: unknown object: 2 before the newest, but only 2 were allocated so far"),
        ("thread", &[1 | 2 << 2, 1], "at byte 40 *: thread 2 is out of range: the header states 2 (0..=1)"),
        ("three", &[3, 1], "at byte 40 *: expected operation 0 (allocate), 1 (free) or 2 (reallocate), found 3"),
        ("align", &[0, 9, 22], "at byte 42 *: alignment 2^22 is too large: expected at most 2^21"),
        (
            "size",
            &[2, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            "at byte 42 *: size 4398046511103 is too large: expected at most 1099511627776",
        ),
        (
            "endless",
            &[0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 4],
            "at byte 41 *: varint too long: expected at most 10 bytes and 64 bits",
        ),
        (
            "wide",
            &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 4],
            "at byte 41 *: varint too long: expected at most 10 bytes and 64 bits",
        ),
    ];
    for (name, operation, expected) in cases {
        let expected = expected.replace('*', "of the decompressed trace");
        assert_eq!(after_two_blocks_of_which_one_is_free(name, operation), expected);
    }
}

#[test]
fn a_damaged_zstd_stream_is_refused() {
    let bytes = every_operation().finish();
    let mut packed = ruzstd::encoding::compress_to_vec(bytes.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
    let said = said_of("cut.zst", &packed[..packed.len() - 9]);
    assert_eq!(said, format!("at byte {} of the file: damaged zstd stream: it is cut short", packed.len() - 9));
    let last = packed.len() - 1;
    packed[last] ^= 1;
    let said = said_of("checksum.zst", &packed);
    assert!(said.starts_with(&format!("at byte {} of the file: damaged zstd stream: its checksum is ", packed.len())), "{said}");
}
