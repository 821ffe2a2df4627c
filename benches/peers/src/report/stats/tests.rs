use super::*;

#[test]
fn the_median_of_an_even_number_of_values_lies_between_the_middle_two() {
    assert!((Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap().median - 2.5).abs() < 1e-9);
}

#[test]
fn quartiles_are_told_only_of_several_values() {
    let five = Summary::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
    assert_eq!(five.text(2), "3.00 [2.0 4.0]");
    assert_eq!(Summary::of(&[7.0]).unwrap().text(2), "7.00");
    assert!(Summary::of(&[]).is_none());
}
