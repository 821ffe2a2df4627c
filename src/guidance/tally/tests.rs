use super::*;

#[test]
fn sums_are_found_again_and_a_full_table_takes_no_new_key() {
    let mut tally = Tally::<i64, 4, 8>::new();
    for key in [7, 15, 7, u32::MAX, 0] {
        *tally.entry(key).unwrap() += 1;
    }
    assert!(tally.entry(8).is_none());
    *tally.entry(15).unwrap() += 5;
    *tally.get_mut(0).unwrap() += 1;
    assert_eq!(tally.iter().collect::<Vec<_>>(), [(7, 2), (15, 6), (u32::MAX, 1), (0, 2)]);
    assert_eq!((tally.get(15), tally.get(8)), (Some(6), None));
    assert!(tally.get_mut(8).is_none());
    tally.update(|key, value| if key == 7 { 0 } else { value });
    assert_eq!(tally.values(), [0, 6, 1, 2]);
    tally.clear();
    assert_eq!((tally.keys().len(), tally.values().len(), tally.get(7)), (0, 0, None));
}
