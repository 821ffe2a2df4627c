use super::*;
use crate::guidance::{AllocationError, AllocationRequest, ConceptType};
use crate::service::{AllocationServiceConfig, PoolConfig};

fn given_back(service: &MemoryAllocationService) -> u64 {
    service.spare.given_back.load(Acquire)
}

/// Another thread may give it back while memory is looked for, and others discard as much at the same time.
#[test]
fn what_came_back_since_a_search_began_is_worth_another() {
    let service = MemoryAllocationService::open(AllocationServiceConfig { columns: 2, ..AllocationServiceConfig::default() }).unwrap();
    for id in ["a", "b", "c"] {
        service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "content")).unwrap();
    }
    let free = |id: &str| _ = service.deallocate_memory(id.into()).unwrap();
    let later = || Instant::now() + Duration::from_secs(60);
    let before = given_back(&service);
    assert!(!service.reclaim(before, later()), "nothing is to come");
    free("a");
    while given_back(&service) == before {
        service.collect_once();
    }
    assert!(service.reclaim(before, Instant::now()), "nothing is left that could come, but something came");
    let pinned = service.epoch.pin();
    free("b");
    free("c");
    assert!(service.reclaim(before, Instant::now()), "more was discarded than came");
    let now = given_back(&service);
    assert!(!service.reclaim(now, Instant::now()), "it is held up");
    drop(pinned);
    assert!(service.reclaim(now, Instant::now()), "nobody holds it up");
}

fn full() -> (MemoryAllocationService, usize) {
    let pool_configurations = vec![PoolConfig::new(ConceptType::ENTITY, 8 << 20)];
    let config = AllocationServiceConfig { capacity_bytes: 8 << 20, columns: 1, pool_configurations, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let stored = (0..10_000).take_while(|&id| service.allocate_memory(large(id)).is_ok()).count();
    (service, stored)
}

pub(in crate::service) fn large(id: usize) -> AllocationRequest {
    AllocationRequest::new(id.to_string(), ConceptType::ENTITY, "x".repeat(3000))
}

/// Seen with: each request as patient as the first, 40 seconds.
#[test]
fn a_batch_waits_for_memory_as_long_as_one_request_does() {
    let (service, stored) = full();
    // It does not come back before this one is done.
    let _pinned = service.epoch.pin();
    service.deallocate_memory("0".into()).unwrap();
    let start = Instant::now();
    let answers = service.batch_allocate_each((stored..stored + 2000).map(large).collect());
    let took = start.elapsed();
    assert!(answers.iter().all(|answer| matches!(answer, Err(AllocationError::OutOfMemory { .. }))));
    assert!(took >= RECLAIM && took < RECLAIM * 1000, "{took:?}");
}

/// Seen with: no patience left for what was undone.
#[test]
fn a_batch_waits_for_what_it_has_undone_itself() {
    let (service, stored) = full();
    (0..3).for_each(|id| drop(service.deallocate_memory(id.to_string().as_str().into()).unwrap()));
    while service.maintain(Duration::from_secs(10)).more {}
    let discarded = || service.spare.discarded.load(Relaxed);
    let service = &service;
    let served = |attempt: usize| {
        std::thread::scope(|scope| {
            let pinned = service.epoch.pin();
            service.deallocate_memory((3 + attempt).to_string().as_str().into()).unwrap();
            let (before, first) = (discarded(), stored + 5 * attempt);
            let batch = scope.spawn(move || service.batch_allocate_each((first..first + 5).map(large).collect()));
            while discarded() < before + 3 && !batch.is_finished() {
                std::thread::yield_now();
            }
            std::thread::sleep(RECLAIM / 10);
            drop(pinned);
            batch.join().unwrap().into_iter().flatten().count()
        })
    };
    // This thread may be interrupted for longer than the batch waits, but hardly twice.
    let all: Vec<_> = (0..2).map(served).take_while(|&served| served < 3).collect();
    assert!(all.len() < 2, "{all:?}");
}

/// Whether a forked child, which ends then, finds that all is well.
#[cfg(unix)]
fn in_a_child(is_well: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child goes on in this thread alone, and leaves by `_exit`.
    match unsafe { libc::fork() } {
        // SAFETY: always sound; nothing of the parent's is run or dropped.
        0 => unsafe { libc::_exit(i32::from(!is_well())) },
        child => {
            let mut status = 1;
            // SAFETY: our own child, waited for once.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status == 0
        }
    }
}

/// It has what was on its way back when it was forked, as its parent has. Seen with: a child that gives back what was discarded; one that
/// gives back what was pinned; one that does neither in memory of its own.
#[test]
#[cfg(unix)]
#[cfg_attr(miri, ignore = "forks")]
fn a_forked_child_gives_memory_back_to_its_own_copy_and_none_to_its_parents_file() {
    let path = std::env::temp_dir().join(format!("engram-forked-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    for path in [None, Some(path)] {
        let config = AllocationServiceConfig { capacity_bytes: 4 << 20, columns: 1, path: path.clone(), ..Default::default() };
        let service = MemoryAllocationService::open(config).unwrap();
        (0..4).for_each(|id| _ = service.allocate_memory(large(id)).unwrap());
        let live = || service.arena.metrics().live_blocks();
        let retired = |service: &MemoryAllocationService| service.pins.blocks() == (1, 1);
        // One is pinned, and waits for that alone; of the two others the child finds both on their way.
        let mut pin = Some(service.pin("0").unwrap());
        service.deallocate_memory("0".into()).unwrap();
        while !retired(&service) {
            service.collect_once();
        }
        service.deallocate_memory("1".into()).unwrap();
        service.collect_once();
        service.deallocate_memory("2".into()).unwrap();
        let (before, bytes) = (live(), || path.as_ref().map(|path| std::fs::read(path).unwrap()));
        let file = bytes();
        let well = in_a_child(|| {
            (0..EPOCHS).for_each(|_| service.collect_once());
            pin.take().into_iter().for_each(|pin| service.hand_back(pin));
            live() == if path.is_some() { before } else { before - 3 }
        });
        assert!(well && bytes() == file && live() == before, "{path:?}");
        (0..EPOCHS).for_each(|_| service.collect_once());
        pin.take().into_iter().for_each(|pin| service.hand_back(pin));
        assert_eq!(live(), before - 3, "{path:?}");
        if let Some(path) = &path {
            std::fs::remove_file(path).unwrap();
        }
    }
}
