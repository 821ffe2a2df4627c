//! Promise 4: **the urgent are served first**: a batch is served in spike order, whatever the order
//! of its requests; where memory does not suffice for all, those with the earliest spikes have it.
//!
//! A batch that serves requests as they come, or groups them by column or size before it looks at
//! their spikes, a sort that does not keep the order of equals, or an atomic batch that forgets a
//! block would break it.
#![cfg(not(loom))]

#[path = "common/promises.rs"]
mod promises;

use core::ptr::{NonNull, null_mut};

use engram::{Arena, BatchFlags, ColumnId, Error, Request, Result, SpikeTime};
use promises::{CHUNK, Random, arena, column, held, in_zone};

const ATOMIC: BatchFlags = BatchFlags::ATOMIC;
const ORDERED: BatchFlags = BatchFlags::ORDERED;

fn request(size: usize, column_index: u32, spike: SpikeTime) -> Request {
    Request { size, align: 16, column: Some(column(column_index)), spike }
}

/// Serves a batch; the numbers of the requests that were served, in spike order (equals as given).
fn served(arena: &Arena, requests: &[Request], flags: BatchFlags) -> (Result<usize>, Vec<bool>) {
    let mut out = vec![null_mut(); requests.len()];
    let result = arena.alloc_batch(requests, flags, &mut out);
    arena.verify().expect("every invariant holds");
    let mut order: Vec<_> = (0..requests.len()).collect();
    order.sort_by_key(|&index| requests[index].spike);
    let served = order.iter().map(|&index| !out[index].is_null()).collect();
    for block in out.into_iter().filter_map(NonNull::new) {
        // SAFETY: the test's own block, forgotten.
        unsafe { arena.free(block) }.expect("it is handed out");
    }
    (result, served)
}

/// Fails unless exactly the `count` most urgent were served.
fn assert_urgent(served: &[bool], count: usize) {
    assert_eq!(served.iter().filter(|&&served| served).count(), count);
    assert!(served[..count].iter().all(|&served| served), "an urgent request was refused, a later one served");
}

/// More requests of one size than a small arena can serve, in no order.
fn too_many(size: usize, spike: impl FnMut() -> SpikeTime) -> Vec<Request> {
    let count = 2 * CHUNK / size + 3;
    core::iter::repeat_with(spike).take(count).map(|spike| request(size, 1, spike)).collect()
}

/// How many blocks of a size a fresh small arena can give to one column.
fn most(size: usize) -> usize {
    let arena = arena(CHUNK);
    let holder = held(&arena, 1);
    core::iter::from_fn(|| holder.alloc(size, 16, SpikeTime::NONE).ok()).count()
}

#[test]
fn a_batch_is_served_in_spike_order_when_memory_is_scarce() {
    let mut random = Random(21);
    for size in [1000, 5000, 36 << 10, 300 << 10] {
        for flags in [BatchFlags::empty(), ORDERED] {
            let requests = too_many(size, || random.spike());
            let (result, served) = served(&arena(CHUNK), &requests, flags);
            assert!(matches!(result, Err(Error::NoMemory { .. })), "{result:?}");
            // Small blocks of eight zones lie in spans of their own: at most one is left over in each.
            let count = served.iter().filter(|&&served| served).count();
            assert!(count * 100 >= most(size) * 97, "{count} of {} blocks of {size} bytes", most(size));
            assert_urgent(&served, count);
        }
    }
}

#[test]
fn requests_of_one_spike_time_are_served_in_the_order_given() {
    for size in [1000, 5000, 300 << 10] {
        for flags in [BatchFlags::empty(), ORDERED] {
            let requests = too_many(size, || in_zone(3));
            let (_, served) = served(&arena(CHUNK), &requests, flags);
            assert_urgent(&served, most(size));
        }
    }
}

#[test]
fn the_columns_of_a_batch_share_what_there_is_in_spike_order() {
    let mut random = Random(22);
    let mut requests = too_many(300 << 10, || random.spike());
    for (index, request) in requests.iter_mut().enumerate() {
        request.column = Some(column(index as u32 % 4));
    }
    let (_, served) = served(&arena(CHUNK), &requests, BatchFlags::empty());
    assert_urgent(&served, most(300 << 10));
}

#[test]
fn the_others_are_served_when_one_request_is_refused() {
    let mut requests = vec![request(64, 1, in_zone(5)); 100];
    requests[40] = request(2 * CHUNK, 1, in_zone(0));
    let (result, served) = served(&arena(CHUNK), &requests, BatchFlags::empty());
    assert!(matches!(result, Err(Error::SizeAboveCapacity { .. })));
    assert!(!served[0] && served[1..].iter().all(|&served| served));
}

#[test]
fn the_error_is_that_of_the_most_urgent_request_refused() {
    let requests =
        [request(64, 1, in_zone(1)), request(64, 99, in_zone(6)), request(0, 1, in_zone(4)), request(4 << 20, 1, SpikeTime::NONE)];
    for flags in [BatchFlags::empty(), ATOMIC, ORDERED] {
        assert_eq!(served(&arena(CHUNK), &requests, flags).0, Err(Error::ZeroSize));
    }
}

#[test]
fn an_atomic_batch_gives_all_or_none() {
    let mut random = Random(23);
    for size in [64, 1000, 5000, 300 << 10] {
        for flags in [ATOMIC, ATOMIC | ORDERED] {
            let arena = arena(CHUNK);
            let requests = too_many(size, || random.spike());
            let (result, none) = served(&arena, &requests, flags);
            assert!(result.is_err() && none.iter().all(|&served| !served));
            let metrics = arena.metrics();
            assert_eq!((metrics.live_blocks(), metrics.bytes_live, metrics.batches), (0, 0, 1));
            let fitting = &requests[..most(size) * 9 / 10];
            let (result, all) = served(&arena, fitting, flags);
            assert_eq!(result, Ok(fitting.len()));
            assert!(all.iter().all(|&served| served));
        }
    }
}

#[test]
fn an_atomic_batch_that_is_refused_changes_no_other_block() {
    let arena = arena(CHUNK);
    let others: Vec<_> = (0..64)
        .map(|index| {
            let block = held(&arena, 1).alloc(1000, 16, in_zone(index % 8)).expect("there is memory");
            promises::Marked::new(block, 1000, index as u8 + 1)
        })
        .collect();
    let requests = too_many(1000, || in_zone(2));
    assert!(served(&arena, &requests, ATOMIC).0.is_err());
    assert!(others.iter().all(promises::Marked::is_intact));
    assert_eq!(arena.metrics().live_blocks(), 64);
}

/// Whatever is the same of two requests but one thing, and in whatever order they come. Seen with: a column that no arena has taken
/// for the thread's own.
#[test]
fn one_request_that_is_not_like_the_others_is_answered_by_itself() {
    let arena = arena(CHUNK);
    let usual = Request { size: 64, align: 16, column: None, spike: SpikeTime::from_nanos(5) };
    let refused = [Request { size: 0, ..usual }, Request { align: 3, ..usual }, Request { column: Some(ColumnId::new(u32::MAX)), ..usual }];
    let served = [
        Request { size: 100, ..usual },
        Request { align: 64, ..usual },
        Request { column: Some(ColumnId::new(3)), ..usual },
        Request { spike: SpikeTime::NONE, ..usual },
    ];
    for (others, is_refused) in [(&refused[..], true), (&served[..], false)] {
        for &other in others {
            for (at, flags) in (0..9).flat_map(|at| [(at, BatchFlags::empty()), (at, BatchFlags::ORDERED)]) {
                let mut requests = [usual; 9];
                requests[at] = other;
                let mut out = [null_mut(); 9];
                assert_eq!(arena.alloc_batch(&requests, flags, &mut out).is_err(), is_refused, "{other:?} at {at}");
                for (index, (request, block)) in requests.iter().zip(out).enumerate() {
                    assert_eq!(block.is_null(), is_refused && index == at, "{other:?} at {at}");
                    let Some(block) = NonNull::new(block) else { continue };
                    assert_eq!(arena.usable_size(block.as_ptr()), arena.good_size(request.size.next_multiple_of(request.align)));
                    assert!(block.addr().get().is_multiple_of(request.align));
                    // SAFETY: the test's own block, forgotten.
                    unsafe { arena.free(block) }.expect("it is handed out");
                }
            }
        }
    }
}

#[test]
fn a_batch_and_an_output_of_different_lengths_are_an_error() {
    let arena = arena(CHUNK);
    let mut out = [null_mut(); 2];
    let result = arena.alloc_batch(&[request(64, 1, SpikeTime::NONE)], ATOMIC, &mut out);
    assert_eq!(result, Err(Error::OutLength { out: 2, requests: 1 }));
    assert_eq!(arena.metrics().live_blocks(), 0);
}
