//! What a stamp notices.

use super::*;

#[test]
fn a_stamp_notices_another_object_and_a_change_at_each_of_its_places() {
    for size in [1, 2, 7, 15, 16, 17, 24, 255, 256, 264, 265, 271, 272, 273, 4_096, 100_001] {
        let mut memory = vec![0_u8; size];
        let block = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the block is `size` bytes of the vector's, used here only.
        unsafe {
            write(block, size, 7);
            assert!(is_whole(block, size, size, 7), "{size}");
            assert!(!is_whole(block, size, size, 8), "{size}");
            let places = [0, size.min(8) - 1, size / 512 * 256, size - 1, size.saturating_sub(8)];
            for at in places {
                *block.add(at).as_ptr() ^= 0x80;
                assert!(!is_whole(block, size, size, 7), "{size} at {at}");
                *block.add(at).as_ptr() ^= 0x80;
            }
        }
    }
}

#[test]
fn a_stamp_notices_content_from_another_place_of_the_same_object() {
    let mut memory = vec![0_u8; 4_096];
    let block = NonNull::new(memory.as_mut_ptr()).unwrap();
    // SAFETY: the block is 4,096 bytes of the vector's, used here only.
    unsafe {
        write(block, 4_096, 7);
        block.copy_from(block.add(SPACING), 2_048);
        assert!(!is_whole(block, 4_096, 4_096, 7));
        write(block, 12, 7);
        block.add(1).copy_from(block, 11);
        assert!(!is_whole(block, 12, 12, 7));
    }
}

#[test]
fn a_stamp_is_checked_as_far_as_it_was_kept() {
    let mut memory = vec![0_u8; 3_000];
    let block = NonNull::new(memory.as_mut_ptr()).unwrap();
    // SAFETY: the block is 3,000 bytes of the vector's, used here only.
    unsafe {
        write(block, 3_000, 7);
        block.add(1_024).write_bytes(0, 1_976);
        assert!(is_whole(block, 3_000, 1_024, 7));
        assert!(is_whole(block, 3_000, 1_031, 7));
        assert!(!is_whole(block, 3_000, 1_032, 7));
        assert!(!is_whole(block, 3_000, 3_000, 7));
    }
}
