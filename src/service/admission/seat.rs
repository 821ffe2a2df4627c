//! How a waiter sleeps: `parking_lot`'s way, or loom's under `cfg(loom)`.

#[cfg(loom)]
pub(super) use modelled::{Patience, Seat};
#[cfg(not(loom))]
pub(super) use sleeping::{Patience, Seat};

#[cfg(not(loom))]
mod sleeping {
    use core::time::Duration;
    use std::time::Instant;

    use crate::service::lock::{Mutex, MutexGuard};

    /// How long a caller wants to wait.
    pub(in super::super) struct Patience {
        since: Instant,
        /// None: for ever, or longer than the clock can tell.
        until: Option<Instant>,
    }

    impl Patience {
        pub(in super::super) fn new(timeout: Duration) -> Self {
            let since = Instant::now();
            Self { since, until: since.checked_add(timeout) }
        }

        pub(in super::super) fn is_over(&self) -> bool {
            self.until.is_some_and(|until| Instant::now() >= until)
        }

        pub(in super::super) fn waited(&self) -> Duration {
            self.since.elapsed()
        }
    }

    /// Where one waiter sleeps. One for each, so that calling one wakes no other.
    pub(in super::super) struct Seat(parking_lot::Condvar);

    impl Seat {
        pub(in super::super) fn new() -> Self {
            Self(parking_lot::Condvar::new())
        }

        /// Sleeps without the lock, until it is called, or the patience is over, or for no reason.
        pub(in super::super) fn wait<'a, T>(
            &self,
            _: &'a Mutex<T>,
            mut guard: MutexGuard<'a, T>,
            patience: &mut Patience,
        ) -> MutexGuard<'a, T> {
            match patience.until {
                Some(until) => drop(self.0.wait_until(&mut guard, until)),
                None => self.0.wait(&mut guard),
            }
            guard
        }

        /// Under the lock.
        pub(in super::super) fn call(&self) {
            self.0.notify_one();
        }
    }
}

/// Models have no clock: a timeout of [`Duration::MAX`](core::time::Duration::MAX) is for ever, any other
/// is over when the lock was free once.
#[cfg(loom)]
mod modelled {
    use core::time::Duration;

    use crate::service::lock::{Mutex, MutexGuard};

    pub(in super::super) enum Patience {
        ForEver,
        ForAMoment,
        Over,
    }

    impl Patience {
        pub(in super::super) fn new(timeout: Duration) -> Self {
            if timeout == Duration::MAX { Self::ForEver } else { Self::ForAMoment }
        }

        pub(in super::super) fn is_over(&self) -> bool {
            matches!(self, Self::Over)
        }

        pub(in super::super) fn waited(&self) -> Duration {
            Duration::ZERO
        }
    }

    pub(in super::super) struct Seat(loom::sync::Condvar);

    impl Seat {
        pub(in super::super) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(in super::super) fn wait<'a, T>(
            &self,
            mutex: &'a Mutex<T>,
            guard: MutexGuard<'a, T>,
            patience: &mut Patience,
        ) -> MutexGuard<'a, T> {
            if let Patience::ForEver = patience {
                return self.0.wait(guard).unwrap();
            }
            *patience = Patience::Over;
            drop(guard);
            loom::thread::yield_now();
            mutex.lock()
        }

        pub(in super::super) fn call(&self) {
            self.0.notify_one();
        }
    }
}
