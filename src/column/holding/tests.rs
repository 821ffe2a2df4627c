use crate::arena::Arena;
use crate::error::Error;
use crate::spike::SpikeTime;

/// Seen with: `Lease::is_held` not telling what it was taken for; `Leased` not giving the lease back.
#[test]
fn a_column_that_is_taken_for_one_operation_is_not_held() {
    let arena = Arena::builder().capacity(2 << 20).columns(1).build().unwrap();
    let hold = || arena.column(super::ColumnId::new(0));
    let handle = arena.core.lease(0).unwrap();
    assert_eq!((hold().unwrap_err(), arena.held_column()), (Error::ColumnHeld(0), None));
    drop(handle);
    let held = hold().unwrap();
    assert_eq!((hold().unwrap_err(), arena.held_column()), (Error::ColumnHeld(0), Some(0)));
    assert!(arena.core.lease(0).is_none());
    drop(held);
    assert!(arena.core.lease(0).is_some());
}

#[test]
fn who_frees_at_once_is_the_holder_unless_there_is_one() {
    let arena = Arena::builder().capacity(8 << 20).columns(1).build().unwrap();
    let column = Some(super::ColumnId::new(0));
    let [first, second, large] = [64, 64, 3 << 20].map(|size| arena.alloc_sized(column, size, 0, SpikeTime::NONE).unwrap());
    let freed = || (arena.metrics().frees, arena.metrics().remote_frees);
    // SAFETY: nothing uses the blocks.
    let free = |block| unsafe { arena.free_at_once(block) };
    assert_eq!((free(first), freed()), (Ok(()), (1, 0)));
    assert_eq!(free(first), Err(Error::DoubleFree(first.as_ptr().addr())));
    let held = arena.column(super::ColumnId::new(0)).unwrap();
    assert_eq!((free(second), freed()), (Ok(()), (2, 1)));
    drop(held);
    assert_eq!(free(second), Err(Error::DoubleFree(second.as_ptr().addr())));
    assert_eq!((free(large), freed(), arena.metrics().misuse), (Ok(()), (3, 2), 2));
    assert!(arena.column(super::ColumnId::new(0)).is_ok());
    arena.verify().unwrap();
}
