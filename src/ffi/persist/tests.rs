use core::ptr::null_mut;

use super::*;
use crate::column::publish::INTENTS;
use crate::ffi::{ENGRAM_E_BUSY, ENGRAM_OK, engram_alloc_zeroed, engram_last_error};

/// Seen with: "no memory" for it.
#[test]
fn while_256_publish_or_unpublish_others_are_told_that_it_is_busy_and_nothing_has_changed() {
    assert_eq!(INTENTS, 256);
    let mut open = engram_arena { arena: crate::Arena::builder().capacity(2 << 20).columns(1).build().unwrap() };
    let arena = &raw mut open;
    // SAFETY: open.
    let places = unsafe { engram_alloc_zeroed(arena, 0, 16, 0, 0) }.cast::<[u64; 2]>();
    // SAFETY: two zeroed words, which are ours.
    let [one, other] = unsafe { [&raw mut (*places)[0], &raw mut (*places)[1]] };
    // SAFETY: places in an open arena; nothing uses the blocks.
    let (publish, unpublish) =
        unsafe { (|place| engram_alloc_publish(arena, 0, 64, 0, 0, place), |place| engram_free_unpublish(arena, place)) };
    assert!(!publish(one).is_null());
    // SAFETY: open; nobody changes anything meanwhile.
    let look = || unsafe { ((*arena).arena.metrics().live_blocks(), (*arena).arena.metrics().misuse, *places) };
    let before = look();
    // SAFETY: open.
    let intents = unsafe { &(*arena).arena.core.intents };
    assert!((0..INTENTS).all(|index| intents.at(index).try_take()));
    assert_eq!((publish(other), engram_last_error()), (null_mut(), ENGRAM_E_BUSY));
    assert_eq!((unpublish(one), look()), (ENGRAM_E_BUSY, before));
    intents.at(7).clear();
    assert!(!publish(other).is_null());
    assert_eq!([unpublish(one), unpublish(other)], [ENGRAM_OK; 2]);
}
