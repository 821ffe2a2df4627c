//! Which process opened something: a forked child has it, too, but it is not the child's to close.

#[cfg(all(target_os = "linux", not(miri)))]
use core::ptr::{from_ref, null_mut};

#[cfg(all(target_os = "linux", not(miri)))]
use super::PAGE;
#[cfg(all(target_os = "linux", not(miri)))]
use crate::sync::{AtomicPtr, AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

/// The process that opened something. On Linux it is told by a page that the system hands a child as zeros (`MADV_WIPEONFORK`),
/// whichever way it was forked: not by its number, which in a pid namespace of its own may be its parent's. By its number
/// elsewhere, and where the system has no such pages (before Linux 4.14, and in qemu's user mode, which says that it has). What shares its
/// parent's memory, as after `vfork`, is the same process here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opener(u32);

impl Opener {
    pub(super) fn this() -> Self {
        #[cfg(all(target_os = "linux", not(miri)))]
        if let Some(number) = wiped_in_children() {
            return Self(numbered(number));
        }
        Self(std::process::id())
    }

    pub(super) fn is_this(self) -> bool {
        self == Self::this()
    }
}

/// The number of this process that `number` holds. A new process has 0 there, and takes one that none of those had from which it was
/// forked: each of them counted `LAST` up, and it has it as it was then.
#[cfg(all(target_os = "linux", not(miri)))]
fn numbered(number: &AtomicU32) -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    match number.load(Relaxed) {
        0 => {
            let next = LAST.fetch_add(1, Relaxed) + 1;
            // Another thread may be first.
            number.compare_exchange(0, next, Relaxed, Relaxed).map_or_else(|first| first, |_| next)
        }
        now => now,
    }
}

/// A word that is 0 in a forked child, made by who asks first and kept for good; `None`, then and ever after, if the system has none.
/// No lock: a forked child would inherit it as it is.
#[cfg(all(target_os = "linux", not(miri)))]
fn wiped_in_children() -> Option<&'static AtomicU32> {
    static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());
    // Never looked at: `WORD` leads here if there is no such page.
    static NONE: AtomicU32 = AtomicU32::new(0);
    let none = from_ref(&NONE).cast_mut();
    let mut word = WORD.load(Acquire);
    if word.is_null() {
        let page = wiped_page();
        word = match WORD.compare_exchange(null_mut(), page.unwrap_or(none), AcqRel, Acquire) {
            Ok(_) => page.unwrap_or(none),
            Err(first) => {
                // SAFETY: ours alone: nobody else has heard of it.
                page.map(|page| unsafe { libc::munmap(page.cast(), PAGE) });
                first
            }
        };
    }
    // SAFETY: a page that stays, zeroed at first, and used as this alone.
    (word != none).then(|| unsafe { &*word })
}

/// Maps such a page.
#[cfg(all(target_os = "linux", not(miri)))]
fn wiped_page() -> Option<*mut AtomicU32> {
    let (access, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, wherever there is room.
    let page = unsafe { libc::mmap(null_mut(), PAGE, access, how, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping is ours, and nothing is in it.
    let does = |advice| unsafe { libc::madvise(page, PAGE, advice) } == 0;
    // What does an advice that there is none of only pretends, as qemu does for the programs of another processor.
    if !does(-1) && does(libc::MADV_WIPEONFORK) {
        return Some(page.cast());
    }
    // SAFETY: as above.
    unsafe { libc::munmap(page, PAGE) };
    None
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests;
