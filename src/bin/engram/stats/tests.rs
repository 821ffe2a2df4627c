use super::*;

#[test]
fn a_spread_has_the_middle_and_both_ends() {
    assert_eq!(Spread::of(vec![5.0, 1.0, 9.0]), Spread { median: 5.0, lowest: 1.0, highest: 9.0 });
    let even = Spread::of(vec![4.0, 1.0, 9.0, 2.0]);
    assert_eq!(even, Spread { median: 3.0, lowest: 1.0, highest: 9.0 });
    assert_eq!(Spread::of(Vec::new()), Spread { median: 0.0, lowest: 0.0, highest: 0.0 });
}

#[test]
fn a_quantile_is_the_value_of_the_nearest_rank() {
    let sorted: Vec<u32> = (1..=100).collect();
    assert_eq!(quantile(&sorted, 0.5), 50);
    assert_eq!(quantile(&sorted, 0.99), 99);
    assert_eq!(quantile(&sorted, 0.9999), 100);
    assert_eq!(quantile(&[], 0.5), 0);
}
