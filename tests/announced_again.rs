//! Others free into units that wait to be collected, so that these are announced again: whichever of the two finds a slot, each is
//! given once, none is lost, and an announcement with nothing behind it does no harm.
#![cfg(not(loom))]

use core::ptr::NonNull;

use engram::{Arena, Column, ColumnId, SpikeTime};

/// Bytes of a block; a unit of its class is a word of the live map, 1 KiB.
const SIZE: usize = 64;
const UNIT: usize = 1024 / SIZE;
const SPAN: usize = (32 << 10) / SIZE;

fn get(column: &Column) -> NonNull<u8> {
    column.alloc(SIZE, 16, SpikeTime::NONE).unwrap()
}

fn give_back(column: &Column, blocks: impl IntoIterator<Item = NonNull<u8>>) {
    // SAFETY: the test's own blocks, not used again.
    blocks.into_iter().for_each(|block| unsafe { column.free(block) }.unwrap());
}

#[test]
fn of_units_that_are_announced_again_while_they_wait_each_slot_is_given_once() {
    let arena = Arena::builder().capacity(8 << 20).columns(2).build().unwrap();
    let column = arena.column(ColumnId::new(0)).unwrap();
    let mut first: Vec<_> = (0..2 * SPAN).map(|_| get(&column)).collect();
    first.sort();
    let second = first.split_off(SPAN);

    // Two units of the first span. The refill takes both out of the inbox, and one of them back; the other waits.
    let freed_elsewhere = [[5 * UNIT, 6 * UNIT], [5 * UNIT + 1, 6 * UNIT + 1]];
    let free_elsewhere = |places: [usize; 2]| {
        for place in places {
            // SAFETY: the test's own block, not used again.
            unsafe { arena.free(first[place]) }.unwrap();
        }
    };
    free_elsewhere(freed_elsewhere[0]);
    let mut back = vec![get(&column)];
    free_elsewhere(freed_elsewhere[1]);
    for _ in 0..3 {
        back.push(get(&column));
        arena.verify().unwrap();
    }
    // All four slots came back, and nothing else was taken for them.
    let mut places = freed_elsewhere.concat();
    places.sort_unstable();
    back.sort();
    assert_eq!(back, places.iter().map(|&place| first[place]).collect::<Vec<_>>());

    // The holder frees all of the first span, blocks of another one push it out of the stack, and it serves again.
    let (last, others) = second.split_first().unwrap();
    give_back(&column, others.iter().copied());
    give_back(&column, first.iter().enumerate().filter(|(place, _)| !places.contains(place)).map(|(_, &block)| block));
    give_back(&column, back);
    give_back(&column, [*last]);
    arena.verify().unwrap();
    let again: Vec<_> = (0..2000)
        .map(|_| {
            let block = get(&column);
            arena.verify().unwrap();
            block
        })
        .collect();
    give_back(&column, again);
    arena.verify().unwrap();
    assert_eq!(arena.metrics().live_blocks(), 0);
}
