use super::*;

#[test]
fn every_number_has_a_home_of_its_own() {
    let numbers = (0..70_000).chain((0..28).map(|octave| (1 << octave) + 70_000)).chain([CONCEPTS - 1]);
    let homes = Homes::try_new(u32::from(u16::MAX)).unwrap();
    let of = |concept: u32| concept.wrapping_mul(0x9e37_79b9) >> 17;
    numbers.clone().for_each(|concept| homes.enter(concept, of(concept)));
    assert!(numbers.clone().all(|concept| homes.column(concept) == of(concept)));
    assert_eq!((homes.live() as usize, homes.numbers()), (numbers.count(), CONCEPTS));
}

#[test]
fn numbers_beyond_the_last_have_no_home_and_are_no_error() {
    let homes = Homes::try_new(2).unwrap();
    for concept in [CONCEPTS, u32::MAX] {
        homes.enter(concept, 0);
        assert!(!homes.try_enter(concept, 0));
        homes.leave(concept);
        assert_eq!((homes.column(concept), homes.load(0), homes.numbers()), (NOWHERE, 0, 0));
    }
}

#[test]
fn who_lives_in_a_full_column_may_stay() {
    let homes = Homes::try_new(2).unwrap();
    (0..ROOMY).for_each(|concept| homes.enter(concept, 0));
    assert!(homes.try_enter(5, 0) && !homes.try_enter(ROOMY, 0) && !homes.try_enter(ROOMY, NOWHERE));
    assert_eq!(homes.load(0), ROOMY);
}

#[test]
fn counts_follow_homes() {
    let homes = Homes::try_new(4).unwrap();
    for concept in 0..3000 {
        assert!(homes.try_enter(concept, concept % 4));
    }
    homes.enter(5, 0);
    homes.leave(6);
    homes.leave(6);
    homes.leave(1 << 30);
    homes.enter(7, 4);
    assert!(!homes.try_enter(7, 4));
    let loads: Vec<_> = (0..5).map(|column| homes.load(column)).collect();
    assert_eq!(loads, [751, 749, 749, 750, u32::MAX], "D1");
    assert_eq!((homes.live(), homes.roomiest(), homes.fullest()), (2999, (1, 749), 751));
    assert_eq!((homes.column(5), homes.column(6), homes.column(7), homes.column(1 << 30)), (0, NOWHERE, 3, NOWHERE));
    assert!(homes.bytes() >= 12_000);
}

/// Seen with: the mark stays when a concept goes, or is gone when it moves.
#[test]
fn who_comes_with_the_number_of_one_that_was_seen_was_not() {
    let homes = Homes::try_new(3).unwrap();
    homes.enter(5, 2);
    assert_eq!((homes.see(4), homes.see(5), homes.see(1 << 27), homes.was_seen(1 << 27)), (NOWHERE, 2, NOWHERE, false));
    homes.enter(4, 1);
    assert!(homes.was_seen(5) && !homes.was_seen(4), "nobody had the number 4 then");
    homes.enter(5, 0);
    assert!(homes.was_seen(5) && homes.column(5) == 0, "it has only moved");
    homes.leave(4);
    homes.leave(5);
    assert_eq!((homes.column(5), homes.gone()), (NOWHERE, 1));
    homes.enter(5, 0);
    assert!(!homes.was_seen(5) && homes.see(5) == 0 && homes.was_seen(5), "D3");
    assert_eq!([0, 1, 2].map(|column| homes.load(column)), [1, 0, 0], "D1");
}

#[test]
fn a_column_takes_no_more_than_a_tenth_above_the_mean() {
    let homes = Homes::try_new(8).unwrap();
    let entered = (0..10_000).filter(|&concept| homes.try_enter(concept, 0) || homes.try_enter(concept, 1 + concept % 7)).count();
    assert_eq!(entered, 10_000);
    assert!(homes.fullest() * 80 <= 11 * 10_000, "D2: {}", homes.fullest());
    assert_eq!(balanced(9, 1), 9);
    assert_eq!(balanced(u32::MAX, 1), u32::MAX);
}

#[test]
fn maintenance_leaves_what_arrival_may_gather() {
    let homes = Homes::try_new(64).unwrap();
    assert_eq!([0, 1000, 3723, 3782, 3841].map(|live| homes.limit_of(live)), [ROOMY, ROOMY, ROOMY, 65, 66]);
}

#[test]
fn threads_cannot_overfill_a_column_together() {
    let homes = Homes::try_new(2).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let homes = &homes;
            scope.spawn(move || (0..5000).for_each(|turn| _ = homes.try_enter(thread * 5000 + turn, 0)));
        }
    });
    assert_eq!((homes.load(0), homes.live()), (ROOMY, ROOMY), "D1, D2");
}
