//! Epochs of a service's own: who is pinned in one service holds back no other's memory.
//!
//! A thread registers with a service's collector when it first comes, and keeps its handles in a list of
//! its own: mostly one. Who closes a service drops its own: with the last handle goes all that was still waiting for readers.
//! Those of other threads are dropped when the thread meets a new service, or ends.

use core::cell::RefCell;
use std::sync::{Arc, Weak};

use crossbeam_epoch::{Collector, Guard, LocalHandle};

thread_local! {
    static HANDLES: RefCell<Vec<(Weak<()>, LocalHandle)>> = const { RefCell::new(Vec::new()) };
}

/// A service's epochs.
#[derive(Clone)]
pub(super) struct Epoch {
    collector: Collector,
    /// Tells the threads' handles that the service is open.
    open: Arc<()>,
}

impl Epoch {
    pub(super) fn new() -> Self {
        Self { collector: Collector::new(), open: Arc::new(()) }
    }

    /// Pins the calling thread: what it can find from here on is not given back while the guard lives.
    pub(super) fn pin(&self) -> Guard {
        let pinned = HANDLES.try_with(|handles| {
            let mut handles = handles.try_borrow_mut().ok()?;
            let known = handles.iter().find(|(_, handle)| handle.collector() == &self.collector);
            if let Some((_, handle)) = known {
                return Some(handle.pin());
            }
            handles.retain(|(open, _)| open.strong_count() > 0);
            let handle = self.collector.register();
            let guard = handle.pin();
            handles.push((Arc::downgrade(&self.open), handle));
            Some(guard)
        });
        // The thread is ending, or is in the midst of dropping a handle: a handle for this once.
        pinned.ok().flatten().unwrap_or_else(|| self.collector.register().pin())
    }

    /// The calling thread is done with it.
    pub(super) fn leave(&self) {
        // A thread that is ending, or in the midst of dropping handles, drops this one anyway.
        let _ = HANDLES.try_with(|handles| {
            if let Ok(mut handles) = handles.try_borrow_mut() {
                handles.retain(|(_, handle)| handle.collector() != &self.collector);
            }
        });
    }
}
