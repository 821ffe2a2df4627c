//! The lease of a column.

use std::sync::Arc;

use super::fixture::check;
use crate::column::lease::Lease;
use crate::map::set_owned;
use crate::sync::{AtomicU64, Ordering::Relaxed};
use loom::cell::UnsafeCell;
use loom::thread;

/// A lease and what only its holder touches: a field, and a live word that it writes without
/// read-modify-writes.
struct Leased {
    lease: Lease,
    field: UnsafeCell<u64>,
    live: AtomicU64,
}

impl Leased {
    fn hold(&self, bit: u64, for_long: bool) -> bool {
        if !(if for_long { self.lease.try_hold() } else { self.lease.try_take() }) {
            return false;
        }
        // SAFETY: the lease; loom reports it if another access is not ordered with this one.
        self.field.with_mut(|field| unsafe { *field |= bit });
        set_owned(&self.live, bit);
        self.lease.give_back();
        true
    }
}

/// Two holders at a time, or a holder that does not see what the last one did.
/// Seen with: `Lease::give_back` relaxed; `Lease::try_take` relaxed; `Lease::try_hold` relaxed.
#[test]
fn the_next_holder_sees_all_that_the_last_one_did() {
    check(3, || {
        let column = Arc::new(Leased { lease: Lease::new(), field: UnsafeCell::new(0), live: AtomicU64::new(0) });
        let others = [1, 2].map(|bit| {
            let column = column.clone();
            thread::spawn(move || if column.hold(bit, false) { bit } else { 0 })
        });
        let mine = if column.hold(4, true) { 4 } else { 0 };
        let held = others.into_iter().fold(mine, |held, other| held | other.join().unwrap());
        assert_ne!(held, 0, "somebody is first");
        // SAFETY: the others are gone.
        assert_eq!(column.field.with(|field| unsafe { *field }), held);
        assert_eq!(column.live.load(Relaxed), held);
        assert!(!column.lease.is_held());
    });
}
