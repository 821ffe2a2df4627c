//! What a service does where the system refuses host memory: an error if it is for what grows with the config, else the process is
//! aborted, and nothing unwinds.
#![cfg(all(unix, not(any(loom, miri))))]

#[path = "common/child.rs"]
mod child;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use child::{End, fork};
use engram::{AllocationRequest, AllocationServiceConfig, AllocationServiceError, ConceptType, Error, MemoryAllocationService};

/// The system's allocator, which refuses one request in a forked child.
struct Refusing;

/// Requests of so many bytes count.
static FROM: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Of those that count, so many are served before the one that is refused.
static LEFT: AtomicUsize = AtomicUsize::new(usize::MAX);

fn is_refused(bytes: usize) -> bool {
    bytes >= FROM.load(Relaxed) && LEFT.fetch_sub(1, Relaxed) == 0
}

/// Refuses the request that comes after so many others of as many bytes.
fn refuse(after: usize, from: usize) {
    LEFT.store(after, Relaxed);
    FROM.store(from, Relaxed);
}

/// Refuses nothing more. Whether something was refused.
fn serve() -> bool {
    FROM.store(usize::MAX, Relaxed);
    LEFT.load(Relaxed) > usize::MAX / 2
}

// SAFETY: the system's, asked for the same, or nothing.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(p, layout) }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_refused(size) {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.realloc(p, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

/// The endings of children of which each refuses one request more: 0 of the last, in which none was left to be refused.
fn endings(child: impl Fn(usize)) -> Vec<End> {
    let mut endings = Vec::new();
    while endings.last() != Some(&End::Exit(0)) {
        let run = |_| {
            // SAFETY: one thread is all that a forked child has. Hundreds of backtraces would take a minute.
            unsafe { std::env::set_var("RUST_BACKTRACE", "0") };
            child(endings.len());
        };
        endings.push(fork(run).end);
    }
    endings
}

/// Ends a child, which is no panic.
fn leave(code: i32) -> ! {
    // SAFETY: a forked child's way out.
    unsafe { libc::_exit(code) }
}

/// Seen with: lists of all columns that are collected.
#[test]
fn a_config_that_asks_for_too_much_host_memory_is_an_error() {
    let endings = endings(|after| {
        let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1 << 16, ..AllocationServiceConfig::default() };
        refuse(after, 64 << 10);
        let opened = MemoryAllocationService::open(config).map(|_| ());
        match (serve(), opened) {
            (true, Err(AllocationServiceError::Arena(Error::Os { code: libc::ENOMEM, .. }))) => leave(3),
            (false, Ok(())) => {}
            other => panic!("{other:?}"),
        }
    });
    // Remembered decisions, loads, receptive fields.
    assert!(endings.len() > 3 && endings[..endings.len() - 1].iter().all(|end| *end == End::Exit(3)), "{endings:?}");
}

/// Seen with: scratch of batches that bumpalo makes at once, which unwinds.
#[test]
fn a_batch_that_finds_no_host_memory_does_not_unwind() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 4, allocation_cache_size: 0, ..Default::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    for all in [true, false] {
        let endings = endings(|after| {
            let requests = (0..3).map(|id| AllocationRequest::new(id.to_string(), ConceptType::ENTITY, "content")).collect();
            refuse(after, 0);
            if all {
                drop(service.batch_allocate_memory(requests));
            } else {
                drop(service.batch_allocate_each(requests));
            }
            if serve() {
                leave(3);
            }
        });
        // What is refused may be asked for again, and had.
        assert!(endings.len() > 3 && !endings.contains(&End::Exit(101)), "{endings:?}");
        assert!(endings.contains(&End::Signal(libc::SIGABRT)), "{endings:?}");
    }
}
