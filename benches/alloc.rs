//! How long the operations take: `cargo bench --bench alloc`.
#![allow(missing_docs)] // criterion_group's own function has none

use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::{NonNull, null_mut};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engram::{Arena, BatchFlags, Column, ColumnId, Request, SpikeTime};

const BATCH: usize = 256;
const BYTES: usize = 96;

fn arena() -> Arena {
    Arena::builder().capacity(64 << 20).columns(4).build().expect("an arena")
}

fn free_all(column: &Column<'_>, blocks: &[*mut u8]) {
    for block in blocks.iter().filter_map(|&block| NonNull::new(block)) {
        // SAFETY: the blocks are ours, and nothing uses them afterwards.
        unsafe { column.free(block) }.expect("a block");
    }
}

fn one_thread(criterion: &mut Criterion) {
    let arena = arena();
    let column = arena.column(ColumnId::new(0)).expect("nobody holds it");
    let spike = SpikeTime::from_nanos(4_462_871);
    for size in [16, BYTES, 1024, 4096, 40_000] {
        criterion.bench_function(&format!("pair, held, {size} bytes"), |bencher| {
            bencher.iter(|| {
                let block = column.alloc(black_box(size), 16, spike).expect("a block");
                // SAFETY: the block is ours, and nothing uses it afterwards.
                unsafe { column.free(black_box(block)) }
            });
        });
    }
    for (name, id) in [("a column that is free", 1), ("a column that is held", 0)] {
        criterion.bench_function(&format!("pair, unheld, {name}"), |bencher| {
            let layout = Layout::from_size_align(BYTES, 16).expect("a layout");
            bencher.iter(|| {
                let block = arena.alloc(Some(ColumnId::new(id)), black_box(layout), spike).expect("a block");
                // SAFETY: the block is ours, and nothing uses it afterwards.
                unsafe { arena.free(black_box(block)) }
            });
        });
    }
}

fn batches(criterion: &mut Criterion) {
    let arena = arena();
    let mut group = criterion.benchmark_group(format!("batch of {BATCH}"));
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut out = vec![null_mut(); BATCH];
    let column = arena.column(ColumnId::new(0)).expect("nobody holds it");
    group.bench_function("held, and freed", |bencher| {
        bencher.iter(|| {
            assert_eq!(column.alloc_batch(BYTES, 16, SpikeTime::NONE, &mut out), BATCH);
            free_all(&column, &out);
        });
    });
    group.bench_function("remote free", |bencher| {
        let other = arena.column(ColumnId::new(1)).expect("nobody holds it");
        let blocks = || {
            let mut blocks = vec![null_mut(); BATCH];
            assert_eq!(column.alloc_batch(BYTES, 16, SpikeTime::NONE, &mut blocks), BATCH);
            blocks
        };
        bencher.iter_batched(blocks, |blocks| free_all(&other, &blocks), BatchSize::SmallInput);
    });
    drop(column);
    let spikes = (0..BATCH as u32).map(|index| SpikeTime::from_nanos((2 + index * 37 % 99) * 1_000_000));
    let requests: Vec<Request> = spikes.map(|spike| Request { size: BYTES, align: 16, column: Some(ColumnId::new(2)), spike }).collect();
    for (name, flags) in [("by spike time, and freed", BatchFlags::empty()), ("ordered, and freed", BatchFlags::ORDERED)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                arena.alloc_batch(&requests, flags, &mut out).expect("all are served");
                let column = arena.column(ColumnId::new(2)).expect("nobody holds it");
                free_all(&column, &out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, one_thread, batches);
criterion_main!(benches);
