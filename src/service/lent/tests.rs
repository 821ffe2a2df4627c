use super::*;

/// Seen with: no waiting.
#[test]
fn it_is_closed_when_it_was_dropped_though_another_thread_has_it_at_that_moment() {
    let lent = LentArena::new(Arena::builder().capacity(2 << 20).columns(1).build().unwrap());
    let (weak, other) = (lent.weak(), lent.weak().upgrade().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            drop(other);
        });
        drop(lent);
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn who_keeps_it_for_good_is_not_waited_for() {
    let lent = LentArena::new(Arena::builder().capacity(2 << 20).columns(1).build().unwrap());
    let other = lent.weak().upgrade().unwrap();
    drop(lent);
    other.verify().unwrap();
}
