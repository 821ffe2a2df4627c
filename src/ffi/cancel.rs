//! Threads that are to be cancelled (`pthread_cancel`).

use core::ffi::c_int;

/// While it lives, the thread is not cancelled; who wants that waits until the call is over. The system would end the thread in the
/// middle of what it was asked for, by an exception that must not pass through Rust: the process would abort.
///
/// Each function that calls the system or the program has one, but for those that take host memory alone, or wait for others: that cancels
/// nobody.
pub(crate) struct Uncancelled {
    before: c_int,
}

impl Uncancelled {
    pub(crate) fn new() -> Self {
        const PTHREAD_CANCEL_DISABLE: c_int = if cfg!(target_vendor = "apple") { 0 } else { 1 };
        Self { before: set(PTHREAD_CANCEL_DISABLE) }
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        set(self.before);
    }
}

/// Sets whether this thread may be cancelled, and gives what was set before.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn set(state: c_int) -> c_int {
    // Here, so that the header does not have it.
    unsafe extern "C" {
        fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    }
    let mut before = 0;
    // SAFETY: one of the system's two states, and room for the other. It changes this thread alone.
    unsafe { pthread_setcancelstate(state, &raw mut before) };
    before
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn set(state: c_int) -> c_int {
    state
}
