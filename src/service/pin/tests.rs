use super::*;
use crate::guidance::{AllocationRequest, ConceptType};
use crate::service::AllocationServiceConfig;
use std::time::{Duration, Instant};

/// Waits until all pinned blocks are retired.
fn collect(service: &MemoryAllocationService) {
    let start = Instant::now();
    loop {
        let (pinned, retired) = service.pins.blocks();
        if retired == pinned {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "they are not retired");
        service.maintain(Duration::from_millis(1));
        std::thread::yield_now();
    }
}

fn live(service: &MemoryAllocationService) -> u64 {
    service.arena.metrics().bytes_live
}

#[test]
fn a_pinned_block_is_kept_by_each_of_its_pins_and_freed_with_the_last_on_any_thread() {
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 2, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let empty = live(&service);
    service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, "purrs")).unwrap();
    let (first, second) = (service.pin("cat").unwrap(), service.pin("cat").unwrap());
    service.update("cat", "sleeps").unwrap();
    let third = service.pin("cat").unwrap();
    assert_eq!(service.pinned(), 3);
    service.deallocate_memory("cat".into()).unwrap();
    collect(&service);
    let pinned = live(&service);
    assert!(pinned > empty);
    // SAFETY: neither is handed back.
    unsafe { assert_eq!((first.content().as_ref(), third.content().as_ref()), (&b"purrs"[..], &b"sleeps"[..])) };
    service.hand_back(first);
    assert_eq!(live(&service), pinned);
    std::thread::scope(|scope| scope.spawn(|| service.hand_back(second)).join().unwrap());
    let one = live(&service);
    assert!(empty < one && one < pinned);
    service.hand_back(third);
    assert_eq!((live(&service), service.pinned(), service.pins.blocks()), (empty, 0, (0, 0)));
}

#[test]
fn a_pin_that_ended_before_its_block_is_retired_leaves_the_block_alone() {
    let service = MemoryAllocationService::open(AllocationServiceConfig::default()).unwrap();
    service.allocate_memory(AllocationRequest::new("cat", ConceptType::ENTITY, "purrs")).unwrap();
    let before = live(&service);
    let pin = service.pin("cat").unwrap();
    service.hand_back(pin);
    assert_eq!(live(&service), before);
    assert_eq!(&*service.read("cat").unwrap(), b"purrs");
}
