use super::*;

#[test]
fn the_usual_range_spreads_over_the_zones_and_order_is_kept() {
    let zones: Vec<_> = [0, 2_107_210, 4_462_871, 10_216_512, 21_972_246, 47_957_905, 90_000_000, u32::MAX]
        .map(|ns| SpikeTime::from_nanos(ns).zone())
        .to_vec();
    assert_eq!(zones, [0, 1, 2, 3, 4, 5, 6, 7]);
    let mut last = 0;
    for ns in (0..u32::MAX - 100_000).step_by(99_991) {
        let zone = SpikeTime::from_nanos(ns).zone();
        assert!(zone >= last && zone < ZONES);
        assert_eq!([0, 1, 16].map(|align| zone_of_octave(octave(ns, align))), [zone; 3]);
        last = zone;
    }
}
