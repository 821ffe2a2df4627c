//! Promise 3: **spike order**: an ordered batch lies in address order of spike time, so that visiting
//! it in that order is a plain walk; and a single allocation lies in the zone of its rank.
//!
//! A batch that takes recycled slots as they come, a sort that forgets to move the request's number
//! with its block, a cell shared by two zones, or a slot that is freed into another zone's cell would
//! break it.
#![cfg(not(loom))]

#[path = "common/promises.rs"]
mod promises;

use core::ptr::{NonNull, null_mut};
use std::collections::BTreeMap;

use engram::{Arena, BatchFlags, Request, SpikeTime};
use promises::{Random, SPAN, arena, built, column, held, in_zone, layout};

/// Requests of all columns, with many sizes and spike times, and with ties.
fn population(random: &mut Random, count: usize, align: usize, sizes: &[usize]) -> Vec<Request> {
    let request = |_| Request {
        size: sizes[random.below(sizes.len())],
        align,
        column: Some(column(random.below(4) as u32)),
        spike: if random.below(4) == 0 { in_zone(random.below(8) as u32) } else { random.spike() },
    };
    (0..count).map(request).collect()
}

fn alloc_ordered(arena: &Arena, requests: &[Request]) -> Vec<*mut u8> {
    let mut out = vec![null_mut(); requests.len()];
    assert_eq!(arena.alloc_batch(requests, BatchFlags::ORDERED, &mut out), Ok(requests.len()));
    out
}

/// Fails unless addresses ascend with spike time, and with the request's number where times are
/// equal, within each column and size class.
fn assert_ordered(arena: &Arena, requests: &[Request], out: &[*mut u8]) {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for (index, (request, block)) in requests.iter().zip(out).enumerate() {
        let class = arena.good_size(request.size.next_multiple_of(request.align));
        groups.entry((request.column, class)).or_default().push((request.spike, index, *block));
    }
    for (group, mut blocks) in groups {
        blocks.sort_unstable();
        assert!(blocks.is_sorted_by_key(|&(_, _, block)| block), "{group:?}");
    }
    arena.verify().expect("every invariant holds");
}

fn free_all(arena: &Arena, blocks: &[*mut u8]) {
    for block in blocks.iter().filter_map(|&block| NonNull::new(block)) {
        // SAFETY: the test's own blocks, forgotten.
        unsafe { arena.free(block) }.expect("it is handed out");
    }
}

/// Leaves holes of all sizes in all columns, some known to the holder and some freed by others.
fn churned(random: &mut Random) -> Arena {
    let arena = arena(256 << 20);
    for index in 0..4 {
        let holder = held(&arena, index);
        let blocks: Vec<_> =
            (0..20_000).map(|_| holder.alloc(random.below(1024) + 1, 16, random.spike()).expect("there is memory")).collect();
        for block in blocks {
            // SAFETY: the test's own block, forgotten.
            let freed = unsafe {
                match random.below(4) {
                    0 => Ok(()),
                    1 => arena.free(block),
                    _ => holder.free(block),
                }
            };
            freed.expect("it is handed out");
        }
    }
    arena
}

const SMALL: [usize; 9] = [1, 16, 24, 48, 96, 100, 250, 1000, 4096];
const ALL: [usize; 8] = [16, 90, 1000, 4096, 5000, 20_000, 36 << 10, 300 << 10];

#[test]
fn an_ordered_batch_lies_in_address_order_of_spike_time() {
    let mut random = Random(11);
    let arena = arena(256 << 20);
    for (count, align, sizes) in
        [(5000, 16, &SMALL[..]), (5000, 16, &SMALL[4..5]), (2000, 64, &SMALL[..]), (400, 16, &ALL[..]), (1, 16, &ALL[..])]
    {
        let requests = population(&mut random, count, align, sizes);
        let out = alloc_ordered(&arena, &requests);
        assert_ordered(&arena, &requests, &out);
    }
}

#[test]
fn an_ordered_batch_of_blocks_larger_than_a_chunk_does_too() {
    let mut random = Random(18);
    let arena = arena(512 << 20);
    let requests = population(&mut random, 40, 16, &[5 << 19, 3 << 20, 4 << 20]);
    let out = alloc_ordered(&arena, &requests);
    assert_ordered(&arena, &requests, &out);
}

#[test]
fn an_ordered_batch_of_large_blocks_with_alignments_of_up_to_16_bytes_does_too() {
    let arena = arena(8 << 20);
    let alloc = |size| arena.alloc(Some(column(0)), layout(size, 16), SpikeTime::NONE).expect("there is memory").as_ptr();
    let first: Vec<_> = (0..3).map(|_| alloc(2 << 20)).collect();
    // The chunk that the column's next large block comes from lies behind those that become free.
    alloc(300 << 10);
    free_all(&arena, &first);
    let request = |(index, align)| Request { size: 1500 << 10, align, column: Some(column(0)), spike: in_zone(index) };
    let requests: Vec<_> = (0..).zip([16, 2, 0, 1]).map(request).collect();
    let out = alloc_ordered(&arena, &requests);
    assert!(out.is_sorted(), "{out:?}");
}

/// Blocks of one class may have been asked for with any alignment that its slots have. Seen with: each alignment served by a cell
/// of its own.
#[test]
fn an_ordered_batch_of_many_alignments_does_too() {
    let mut random = Random(21);
    for (arena, sizes) in [(arena(64 << 20), &SMALL[..]), (arena(64 << 20), &ALL[..7]), (churned(&mut random), &SMALL[..])] {
        let mut requests = population(&mut random, 3000, 16, sizes);
        for request in &mut requests {
            request.align = 1 << random.below(10);
        }
        let out = alloc_ordered(&arena, &requests);
        assert!(requests.iter().zip(&out).all(|(request, block)| block.addr().is_multiple_of(request.align)));
        assert_ordered(&arena, &requests, &out);
        free_all(&arena, &out);
    }
}

/// Seen with: what was asked for of any column ordered by itself.
#[test]
fn an_ordered_batch_for_any_column_and_for_that_very_one_does_too() {
    let (mut random, arena) = (Random(22), arena(64 << 20));
    let columns_of_all = || {
        let mut blocks = BTreeMap::new();
        for index in 0..4 {
            held(&arena, index).walk(|block| blocks.insert(block.start.as_ptr(), column(index)).is_none());
        }
        blocks
    };
    let mut requests = population(&mut random, 3000, 16, &SMALL);
    requests[0].column = None;
    let first = alloc_ordered(&arena, &requests[..1]);
    let home = columns_of_all()[&first[0]];
    for request in &mut requests {
        request.column = (random.below(2) == 0).then_some(home);
    }
    let out = alloc_ordered(&arena, &requests);
    let blocks = columns_of_all();
    let lie_in: Vec<_> = requests.iter().zip(&out).map(|(request, block)| Request { column: Some(blocks[block]), ..*request }).collect();
    assert_ordered(&arena, &lie_in, &out);
}

#[test]
fn an_ordered_batch_on_a_churned_arena_does_too() {
    let mut random = Random(12);
    let arena = churned(&mut random);
    for round in 0..20 {
        let requests = population(&mut random, 2000, 16, &SMALL);
        let out = alloc_ordered(&arena, &requests);
        assert_ordered(&arena, &requests, &out);
        if round % 2 == 0 {
            free_all(&arena, &out);
        }
    }
}

/// Such a batch is served from the front as it is. Seen with: what it is given taken for ascending, whatever it is.
#[test]
fn a_batch_of_one_kind_that_is_in_spike_order_does_too_wherever_its_memory_comes_from() {
    let mut random = Random(19);
    // Full of blocks that lie anywhere, and then with holes: spans of the batches before have lower addresses than the latest.
    let arena = arena(4 << 20);
    let mut live: Vec<*mut u8> = Vec::new();
    for round in 0..200 {
        let (size, spikes) = (SMALL[round % SMALL.len()], random.below(1000) as u32);
        let request = |number| Request { size, align: 16, column: Some(column(1)), spike: SpikeTime::from_nanos(number * spikes) };
        let requests: Vec<_> = (0..random.below(3000) as u32).map(request).collect();
        let mut out = vec![null_mut(); requests.len()];
        // Refused in part as soon as memory is scarce.
        let _ = arena.alloc_batch(&requests, BatchFlags::ORDERED, &mut out);
        out.retain(|block| !block.is_null());
        assert!(out.is_sorted(), "round {round}");
        live.extend(out);
        let keep = random.below(100);
        let holder = (round % 2 == 0).then(|| held(&arena, 1));
        live.retain(|&block| {
            let kept = random.below(100) < keep;
            match (&holder, NonNull::new(block)) {
                _ if kept => {}
                // SAFETY: the test's own block, forgotten.
                (Some(holder), Some(block)) => unsafe { holder.free(block) }.expect("it is handed out"),
                _ => free_all(&arena, &[block]),
            }
            kept
        });
        drop(holder);
        arena.verify().expect("every invariant holds");
    }
}

/// Seen with: what comes of the span of the batch before taken for ascending.
#[test]
fn a_batch_of_one_kind_does_too_where_slots_before_the_last_batch_became_free() {
    for size in [16, 100, 496, 512, 1000, 2000, 4096] {
        let arena = arena(4 << 20);
        let batch = |count| {
            let request = Request { size, align: 16, column: Some(column(1)), spike: in_zone(2) };
            alloc_ordered(&arena, &vec![request; count])
        };
        let in_span = SPAN / arena.good_size(size).expect("a size that there is");
        let first = batch(in_span * 2 / 3);
        let holder = held(&arena, 1);
        for block in first[1..4].iter().filter_map(|&block| NonNull::new(block)) {
            // SAFETY: the test's own block, forgotten.
            unsafe { holder.free(block) }.expect("it is handed out");
        }
        drop(holder);
        assert!(batch(in_span).is_sorted(), "{size}");
        arena.verify().expect("every invariant holds");
    }
}

#[test]
fn an_ordered_batch_for_columns_that_others_hold_does_too() {
    let mut random = Random(13);
    let arena = churned(&mut random);
    let holders = [held(&arena, 0), held(&arena, 2)];
    for _ in 0..5 {
        let requests = population(&mut random, 2000, 16, &SMALL);
        let out = alloc_ordered(&arena, &requests);
        assert_ordered(&arena, &requests, &out);
        free_all(&arena, &out[..1000]);
    }
    drop(holders);
}

#[test]
fn an_ordered_batch_under_scarcity_does_too() {
    let mut random = Random(14);
    let arena = arena(2 << 20);
    let requests = population(&mut random, 120_000, 16, &SMALL[..4]);
    let mut out = vec![null_mut(); requests.len()];
    assert!(arena.alloc_batch(&requests, BatchFlags::ORDERED, &mut out).is_err());
    let served: Vec<_> = (0..requests.len()).filter(|&index| !out[index].is_null()).collect();
    assert!(served.len() > 60_000, "2 MiB hold more blocks of 28 bytes than {}", served.len());
    let of = |index: &usize| (requests[*index], out[*index]);
    let (requests, out): (Vec<_>, Vec<_>) = served.iter().map(of).unzip();
    assert_ordered(&arena, &requests, &out);
}

#[test]
fn every_block_of_a_batch_answers_its_request() {
    let mut random = Random(15);
    let arena = arena(64 << 20);
    for flags in [BatchFlags::empty(), BatchFlags::ORDERED, BatchFlags::ATOMIC | BatchFlags::ORDERED] {
        let requests = population(&mut random, 3000, 16, &SMALL);
        let mut out = vec![null_mut(); requests.len()];
        assert_eq!(arena.alloc_batch(&requests, flags, &mut out), Ok(requests.len()));
        let mut columns = BTreeMap::new();
        for index in 0..4 {
            held(&arena, index).walk(|block| columns.insert(block.start.as_ptr(), column(index)).is_none());
        }
        for (request, block) in requests.iter().zip(&out) {
            assert_eq!(arena.usable_size(*block), arena.good_size(request.size));
            assert_eq!(columns.get(block).copied(), request.column);
        }
        free_all(&arena, &out);
    }
}

/// The zone of each span's first block, and how many blocks lie in a span of another zone.
struct Zones {
    of_span: BTreeMap<usize, usize>,
    mixed: usize,
}

/// How a single block is allocated.
#[derive(Clone, Copy, Debug)]
enum Way {
    Held,
    Unheld,
    WhileHeld,
}

fn zones_of_singles(arena: &Arena, way: Way) -> Zones {
    let mut random = Random(16);
    let holder = (!matches!(way, Way::Unheld)).then(|| held(arena, 1));
    let mut live = Vec::new();
    for _ in 0..100_000 {
        let (size, spike) = (random.below(600) + 1, random.spike());
        let block = match (&holder, way) {
            (Some(holder), Way::Held) => holder.alloc(size, 16, spike),
            _ => arena.alloc(Some(column(1)), layout(size, 16), spike),
        };
        live.push((block.expect("there is memory"), spike));
        if live.len() > 20_000 {
            let (block, _) = live.swap_remove(random.below(live.len()));
            // SAFETY: the test's own block, forgotten.
            let freed = unsafe {
                match &holder {
                    Some(holder) if random.below(2) == 0 => holder.free(block),
                    _ => arena.free(block),
                }
            };
            freed.expect("it is handed out");
        }
    }
    arena.verify().expect("every invariant holds");
    note_zones(arena, &live)
}

fn note_zones(arena: &Arena, live: &[(NonNull<u8>, SpikeTime)]) -> Zones {
    let mut zones = Zones { of_span: BTreeMap::new(), mixed: 0 };
    for (block, spike) in live {
        let span = arena.offset_of(block.as_ptr()).expect("in the arena") / SPAN;
        let zone = *zones.of_span.entry(span).or_insert(spike.zone());
        zones.mixed += usize::from(zone != spike.zone());
    }
    zones
}

#[test]
fn single_allocations_of_one_zone_lie_in_spans_of_their_own() {
    for way in [Way::Held, Way::Unheld, Way::WhileHeld] {
        let zones = zones_of_singles(&arena(64 << 20), way);
        assert_eq!(zones.mixed, 0, "{way:?}");
        assert!((0..8).all(|zone| zones.of_span.values().any(|&of| of == zone)), "{way:?}: all zones are in use");
    }
}

#[test]
fn an_arena_without_zones_mixes_spike_times_in_a_span() {
    for way in [Way::Held, Way::Unheld, Way::WhileHeld] {
        let arena = built(Arena::builder().capacity(64 << 20).columns(4).zones(false));
        assert!(zones_of_singles(&arena, way).mixed > 10_000, "{way:?}");
    }
}

#[test]
fn an_ordered_batch_of_an_arena_without_zones_is_ordered_too() {
    let arena = built(Arena::builder().capacity(64 << 20).columns(4).zones(false));
    let requests = population(&mut Random(17), 5000, 16, &SMALL);
    let out = alloc_ordered(&arena, &requests);
    assert_ordered(&arena, &requests, &out);
}
