//! The one door to atomics: `std`'s, or loom's under `cfg(loom)`.
//!
//! Every lock-free structure of the crate is built of the types below, so that a loom model
//! runs the code that ships and not a copy of it. Elsewhere `core::sync::atomic` is named only for the compiler's fences. (Bytes are
//! never modelled.)

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::AtomicU8;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use modelled::{AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Loom's atomics, each access after a store to one word that all share. Loom tries another order of
/// two accesses only if the second is the first of its thread that meets the other: a thread's own
/// look at a word hides what it does to the word next. With the shared word every access meets
/// every other, so all orders are tried (up to the model's number of preemptions).
#[cfg(loom)]
mod modelled {
    pub(crate) use loom::sync::atomic::Ordering;

    loom::lazy_static! {
        static ref TURN: loom::sync::atomic::AtomicU32 = loom::sync::atomic::AtomicU32::new(0);
    }

    macro_rules! modelled {
        ($name:ident, $value:ty) => {
            pub(crate) struct $name(loom::sync::atomic::$name);

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                fn in_turn(&self) -> &loom::sync::atomic::$name {
                    TURN.store(0, Ordering::Relaxed);
                    &self.0
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.in_turn().load(order)
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.in_turn().store(value, order);
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.in_turn().swap(value, order)
                }

                pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    self.in_turn().fetch_add(value, order)
                }

                pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                    self.in_turn().fetch_sub(value, order)
                }

                pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    self.in_turn().fetch_or(value, order)
                }

                pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                    self.in_turn().fetch_and(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    old: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.in_turn().compare_exchange(old, new, success, failure)
                }

                pub(crate) fn compare_exchange_weak(
                    &self,
                    old: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.in_turn().compare_exchange_weak(old, new, success, failure)
                }
            }
        };
    }

    modelled!(AtomicI64, i64);
    modelled!(AtomicU32, u32);
    modelled!(AtomicU64, u64);

    pub(crate) struct AtomicPtr<T>(loom::sync::atomic::AtomicPtr<T>);

    impl<T> AtomicPtr<T> {
        pub(crate) fn new(value: *mut T) -> Self {
            Self(loom::sync::atomic::AtomicPtr::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> *mut T {
            TURN.store(0, Ordering::Relaxed);
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: *mut T, order: Ordering) {
            TURN.store(0, Ordering::Relaxed);
            self.0.store(value, order);
        }
    }
}

/// The same address, in a register of its own. Some processors hand what one operation stored to the next one's load at once,
/// not in five to eight cycles, if both give their addresses by a register and a constant, and nothing else is added up on the way.
/// No instruction.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read there: the address alone passes through")]
#[inline(always)]
pub(crate) fn by_one_register<T>(mut address: *const T) -> *const T {
    // SAFETY: no instruction; the address comes out as it went in.
    unsafe {
        core::arch::asm!("/* {0} */", inlateout(reg) address, options(pure, nomem, nostack, preserves_flags));
    }
    address
}

/// The same address.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline(always)]
pub(crate) fn by_one_register<T>(address: *const T) -> *const T {
    address
}

/// The same number, in a register of which the compiler does not know how it came about. No instruction.
#[inline(always)]
pub(crate) fn opaque(number: u64) -> u64 {
    by_one_register(core::ptr::without_provenance::<u8>(number as usize)).addr() as u64
}

/// A read-modify-write that is not atomic: for words that one thread writes (the holder of a
/// column) and others only read. On x86-64 it compiles to one plain instruction.
#[inline(always)]
pub(crate) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}
