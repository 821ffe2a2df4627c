//! What a service leaves when it is closed: nothing on the heap, though the thread that used it goes on.
#![cfg(not(any(loom, miri)))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use engram::{AllocationRequest, AllocationServiceConfig, ConceptType, MemoryAllocationService};

/// The system's allocator, and how many bytes it has given.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's, asked for the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn what_waited_for_readers_does_not_outlive_the_service() {
    let before = LIVE.load(Relaxed);
    let service = MemoryAllocationService::open(AllocationServiceConfig { columns: 4, ..AllocationServiceConfig::default() }).unwrap();
    let request = |id: usize| AllocationRequest::new(id.to_string(), ConceptType::ENTITY, "content");
    for id in 0..10_000 {
        service.allocate_memory(request(id)).unwrap();
    }
    let reader = service.read("0").unwrap();
    for id in 1..10_000 {
        service.deallocate_memory(id.to_string().as_str().into()).unwrap();
    }
    drop(reader);
    drop(service);
    let left = LIVE.load(Relaxed).saturating_sub(before);
    // What the thread has once and for all: lists of handles, locks' tables.
    assert!(left < 64 << 10, "{left} bytes are left");
}
