use crate::{Arena, ColumnId, SpikeTime};
use core::alloc::Layout;

/// Who finds nothing, with nobody else there, has looked once (Z1). Seen with: each look for a fresh chunk a passing.
#[test]
fn a_refusal_does_not_disturb_its_own_look() {
    let arena = Arena::builder().capacity(16 << 20).columns(2).build().unwrap();
    let alloc = |size| arena.alloc(Some(ColumnId::new(1)), Layout::from_size_align(size, 16).unwrap(), SpikeTime::NONE);
    while alloc(300 << 10).is_ok() {}
    while alloc(64).is_ok() {}
    let passings = || arena.core.passings.begun();
    for size in [300 << 10, 5 << 20, 64, 5000] {
        let before = passings();
        assert!(alloc(size).is_err());
        assert_eq!(passings(), before, "{size} bytes");
        assert!(arena.publish_root(Some(ColumnId::new(0)), Layout::from_size_align(size, 16).unwrap(), SpikeTime::NONE, 0).is_err());
        assert_eq!(passings(), before, "{size} bytes, published");
    }
}
