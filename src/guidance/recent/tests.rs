use super::*;

#[test]
fn the_latest_column_weighs_half_and_each_older_one_half_of_that() {
    let recent = Recent::new();
    assert_eq!(recent.columns().count(), 0);
    for column in [4, 4, 2, 2, 4] {
        recent.used(column);
    }
    assert_eq!(recent.columns().collect::<Vec<_>>(), [(4, 0.5), (2, 0.25), (4, 0.125)]);
    (0..100).for_each(|column| recent.used(column));
    assert_eq!(recent.columns().count(), KEPT);
    assert_eq!(recent.columns().last(), Some((92, 1.0 / 256.0)));
}

#[test]
fn another_thread_has_another_memory() {
    let recent = Recent::new();
    recent.used(1);
    let mine = RING.with(|ring| *ring);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Many threads may have begun in between: the ring may be the same by chance.
            if RING.with(|ring| *ring) != mine {
                assert_eq!(recent.columns().count(), 0);
                recent.used(2);
            }
        });
    });
    assert_eq!(recent.columns().collect::<Vec<_>>(), [(1, 0.5)]);
}
