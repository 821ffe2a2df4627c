//! engram behind the face that the runner loads, with nobody holding a column: all threads allocate from the same one,
//! which is as contended as it can be.

#[path = "../../engram/src/abi.rs"]
mod abi;
#[path = "../../engram/src/capacity.rs"]
mod capacity;
#[path = "../../engram/src/open.rs"]
mod open;
#[path = "../../engram/src/unheld.rs"]
mod unheld;

use core::sync::atomic::Ordering;
use engram as _;
use unheld::ARENA;

/// Opens the arena, before any thread begins; it is never closed.
#[unsafe(no_mangle)]
pub extern "C" fn ad_init() {
    ARENA.store(open::open(0), Ordering::Release);
}
