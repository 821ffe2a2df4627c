use super::*;

#[test]
fn spike_times_fill_eight_octaves_alike() {
    let mut random = Random::new(1);
    let mut counts = [0; 8];
    for _ in 0..80_000 {
        counts[spike_ns(&mut random).ilog2() as usize - 20] += 1;
    }
    assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
}

#[test]
fn shuffling_keeps_every_number_once() {
    let mut order: Vec<usize> = (0..1_000).collect();
    shuffle(&mut order, &mut Random::new(1));
    assert!(!order.is_sorted());
    order.sort_unstable();
    assert!(order.into_iter().eq(0..1_000));
}
