//! The arena of a service, which closes with it.
//!
//! A thread that gives back what was discarded has the arena meanwhile, through a weak reference: also one that is ending, when the
//! service is dropped already. Were it to close the arena, that would be some time after the service is said to be closed. So who
//! drops the service waits until it is the only one.

use core::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::arena::Arena;

/// How long it waits: longer than a thread is interrupted for others, mostly. In a forked child one of its parent's threads may have
/// the arena for good.
const CLOSING: Duration = Duration::from_millis(500);

/// An arena that others have for moments.
pub(super) struct LentArena(Option<Arc<Arena>>); // none once it is dropped

impl LentArena {
    pub(super) fn new(arena: Arena) -> Self {
        Self(Some(Arc::new(arena)))
    }

    /// For who may come when it is closed.
    pub(super) fn weak(&self) -> Weak<Arena> {
        self.0.as_ref().map(Arc::downgrade).unwrap_or_default()
    }
}

impl Deref for LentArena {
    type Target = Arena;

    fn deref(&self) -> &Arena {
        self.0.as_deref().expect("it is not dropped")
    }
}

impl LentArena {
    /// Closes it; `last` comes before, if nobody else has it any more by then.
    pub(super) fn close(&mut self, last: impl FnOnce(&Arena)) {
        let until = Instant::now() + CLOSING;
        while let Some(arena) = self.0.take() {
            match Arc::try_unwrap(arena) {
                Ok(arena) => return last(&arena),
                Err(_) if Instant::now() >= until => return,
                Err(shared) => self.0 = Some(shared),
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for LentArena {
    fn drop(&mut self) {
        self.close(|_| ());
    }
}

#[cfg(test)]
mod tests;
