use core::alloc::Layout;
use core::cell::Cell;

use super::*;

#[test]
fn a_lead_remembers_one_column_and_whether_it_is_the_only_one() {
    let one = Lead::NOWHERE.and(7);
    assert!(one.is_only() && one.column() == 7);
    assert!(one.and(7) == one);
    let two = one.and(9);
    assert!(!two.is_only() && two.column() == 9);
    assert!(!two.and(9).is_only() && Lead::NOWHERE != one);
}

/// An arena of two chunks of 64 spans, of which so many are free.
fn with_free(spans: usize) -> Arena {
    let arena = Arena::builder().capacity(4 << 20).columns(4).build().unwrap();
    for taken in [64, 64 - spans] {
        block(&arena, 0, taken * SPAN);
    }
    assert_eq!(arena.free_spans(), spans as u64);
    arena
}

fn block(arena: &Arena, column: u32, bytes: usize) -> NonNull<u8> {
    arena.alloc(Some(ColumnId::new(column)), Layout::from_size_align(bytes, 1).unwrap(), SpikeTime::NONE).unwrap()
}

/// Who knows that spans are scarce, and of no slot.
fn scarce() -> Spare {
    let spare = Spare::new();
    spare.scarce.store(1, Relaxed);
    spare.leads.iter().for_each(|lead| lead.store(Lead::NOWHERE.0, Relaxed));
    spare
}

fn lead(spare: &Spare, bytes: usize) -> Lead {
    Lead(spare.leads[class_of(bytes)].load(Relaxed))
}

fn column_for(spare: &Spare, arena: &Arena, column: u32, bytes: usize) -> Option<u32> {
    spare.serve(arena, column, bytes, SpikeTime::NONE).map(|(_, column)| column)
}

#[test]
fn spans_are_scarce_by_use_or_when_the_last_eighth_is_begun_and_plentiful_again_after() {
    let spare = Spare::new();
    let counted = |free: usize, used_spans: usize| {
        spare.count(&with_free(free), (used_spans * SPAN) as u64);
        spare.is_scarce()
    };
    assert!(!counted(48, 80), "what is taken is in use");
    assert!(counted(48, 59), "three of four of what is taken would be 60");
    assert!(!counted(48, 60));
    assert!(!counted(16, 112), "an eighth is left");
    assert!(counted(15, 113), "less is left");
    assert!(!counted(16, 112));
}

#[test]
fn where_spans_are_scarce_they_are_not_counted_for_each_request() {
    let (arena, spare, counts) = (with_free(10), scarce(), Cell::new(0));
    for _ in 0..30 {
        spare.count_down(&arena, 1, || {
            counts.set(counts.get() + 1);
            0
        });
    }
    assert!((5..=15).contains(&counts.get()), "{}", counts.get());
    assert!(spare.is_scarce());
}

/// Seen with: a large block that counts as one span.
#[test]
fn all_spans_of_a_large_block_count_until_the_next_look() {
    let (arena, spare) = (with_free(48), Spare::new());
    spare.uncounted.store(100, Relaxed);
    for (bytes, left) in [(1 << 20, 68), (64, 67)] {
        spare.note_grown(&arena, block(&arena, 1, bytes), bytes, || 0);
        assert_eq!(spare.uncounted.load(Relaxed), left, "{bytes} bytes");
    }
}

#[test]
fn leads_begin_anew_when_spans_are_scarce_again() {
    let spare = scarce();
    spare.count(&with_free(16), 112 * SPAN as u64);
    assert!(!spare.is_scarce() && lead(&spare, 64) == Lead::NOWHERE);
    spare.count(&with_free(15), 113 * SPAN as u64);
    assert!(spare.is_scarce() && lead(&spare, 64) == Lead::first(0));
    assert_eq!(spare.unsearched.load(Relaxed), 4 << 20, "all may have been emptied");
    // As long as they are scarce, what was noted holds.
    spare.leads[class_of(64)].store(Lead::only(3).0, Relaxed);
    spare.count(&with_free(15), 113 * SPAN as u64);
    assert!(lead(&spare, 64) == Lead::only(3));
}

#[test]
fn a_columns_own_slots_come_before_those_of_others() {
    let (arena, spare) = (with_free(15), scarce());
    for column in [0, 1] {
        // More than a stack holds, so that a span is left in the list.
        let blocks: Vec<_> = (0..200).map(|_| block(&arena, column, 64)).collect();
        // SAFETY: ours, and not used again.
        blocks.into_iter().for_each(|block| unsafe { spare.give_back(&arena, block) });
    }
    spare.leads[class_of(64)].store(Lead::first(0).0, Relaxed);
    assert_eq!([1, 0, 1].map(|column| column_for(&spare, &arena, column, 64)), [1, 0, 1].map(Some));
    assert_eq!(column_for(&spare, &arena, 2, 64), Some(0));
    assert_eq!(arena.free_spans(), 13);
}

#[test]
fn a_slot_is_found_wherever_it_was_taken_or_given_back() {
    let (arena, spare) = (with_free(15), scarce());
    // The span that column 3 had to take serves the others.
    assert_eq!([3, 0, 1].map(|column| column_for(&spare, &arena, column, 96)), [Some(3); 3]);
    // So does one that was taken in the usual way,
    spare.note_grown(&arena, block(&arena, 2, 160), 160, || 0);
    assert_eq!([0, 1].map(|column| column_for(&spare, &arena, column, 160)), [Some(2); 2]);
    // and the slot of what was freed: there is no other. Seen with: the free held back.
    let filled: Vec<_> = (0..SPAN / 224).map(|_| block(&arena, 1, 224)).collect();
    let freed = filled[17];
    // SAFETY: ours, and not used again.
    unsafe { spare.give_back(&arena, freed) };
    assert_eq!(column_for(&spare, &arena, 0, 224), Some(1));
    assert_eq!(arena.free_spans(), 12);
}

/// Seen with: a column at which somebody is taken for one without slots.
#[test]
fn a_lead_to_a_column_that_somebody_holds_stays() {
    let (arena, spare) = (with_free(15), scarce());
    spare.note_grown(&arena, block(&arena, 2, 160), 160, || 0);
    let held = arena.column(ColumnId::new(2)).unwrap();
    assert!(spare.find(&arena, class_of(160), SpikeTime::NONE).is_none());
    drop(held);
    assert!(spare.find(&arena, class_of(160), SpikeTime::NONE).is_some_and(|(_, column)| column == 2));
}

/// Seen with: slots of its own size alone.
#[test]
fn a_request_for_which_nothing_else_is_left_is_served_from_a_larger_slot_of_any_column() {
    let (arena, spare) = (with_free(1), scarce());
    spare.note_grown(&arena, block(&arena, 2, 160), 160, || 0);
    assert_eq!([1, 3].map(|column| column_for(&spare, &arena, column, 64)), [Some(2); 2]);
}

/// Seen with: a search for each request.
#[test]
fn what_was_searched_for_in_vain_is_not_searched_for_again_before_more_was_given_back() {
    let (arena, spare) = (with_free(0), scarce());
    spare.unsearched.store(4 << 20, Relaxed);
    assert_eq!(column_for(&spare, &arena, 1, 64), None);
    assert_eq!(spare.unsearched.load(Relaxed), 0);
}

#[test]
fn a_search_remembers_where_it_found_a_slot_or_that_there_is_none() {
    let (arena, spare) = (with_free(15), scarce());
    block(&arena, 2, 64);
    spare.leads[class_of(64)].store(Lead::first(0).0, Relaxed);
    assert!(spare.find(&arena, class_of(64), SpikeTime::NONE).is_some_and(|(_, column)| column == 2));
    assert!(lead(&spare, 64) == Lead::first(2));
    spare.leads[class_of(96)].store(Lead::first(0).0, Relaxed);
    assert!(spare.find(&arena, class_of(96), SpikeTime::NONE).is_none() && lead(&spare, 96) == Lead::NOWHERE);
}
