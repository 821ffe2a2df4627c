//! A program's own allocator out of an arena: every `Box`, `Vec` and `HashMap` lies in it, and each thread holds a column as long as it
//! lives. What the arena refuses, and what it takes to open it, comes from the system's allocator. On Linux with glibc; elsewhere it takes
//! Rust 1.93, where what is done at a thread's end may be noted by an allocator.
//!
//! `cargo run --release --example global_allocator`

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::OnceLock;

use engram::{Arena, Column, ColumnId, SpikeTime};

/// Bytes that the arena may grow to. They are addresses: memory is taken as it is used.
const CAPACITY: usize = 64 << 20;
const COLUMNS: u32 = 64;

#[global_allocator]
static ALLOCATOR: InArena = InArena;

struct InArena;

/// Opened by the first allocation; `None` if it could not be.
static ARENA: OnceLock<Option<Arena>> = OnceLock::new();

thread_local! {
    static THREAD: Thread = const { Thread { is_getting_ready: Cell::new(false), column: OnceCell::new() } };
}

struct Thread {
    is_getting_ready: Cell<bool>,
    /// `None` if all were held. Given back when the thread ends.
    column: OnceCell<Option<Column<'static>>>,
}

impl Thread {
    /// The lowest column that nobody holds. What is allocated meanwhile is not the arena's.
    fn get_ready(&self) -> Option<Column<'static>> {
        self.is_getting_ready.set(true);
        let opened = ARENA.get_or_init(|| Arena::builder().capacity(CAPACITY).columns(COLUMNS).abort_on_misuse(true).build().ok());
        let column = opened.as_ref().and_then(|arena| (0..COLUMNS).find_map(|index| arena.column(ColumnId::new(index)).ok()));
        self.is_getting_ready.set(false);
        column
    }
}

fn arena() -> Option<&'static Arena> {
    ARENA.get()?.as_ref()
}

/// Does something with the thread's column, or without one; `None` while the thread gets ready, and when it has given its column back
/// and is about to end.
fn with_column<T>(act: impl Fn(Option<&Column>) -> T) -> Option<T> {
    let while_it_lives = THREAD.try_with(|thread| {
        let is_ready = !thread.is_getting_ready.get();
        is_ready.then(|| act(thread.column.get_or_init(|| thread.get_ready()).as_ref()))
    });
    while_it_lives.ok().flatten()
}

// SAFETY: blocks are the arena's or the system's, which both give each to one caller, as large and as aligned as was asked; a block of
// the arena's lies in it, and so each is freed where it came from. Nothing here unwinds.
unsafe impl GlobalAlloc for InArena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = with_column(|column| match column {
            Some(column) => column.alloc(layout.size(), layout.align(), SpikeTime::NONE).ok(),
            None => arena()?.alloc(None, layout, SpikeTime::NONE).ok(),
        });
        // SAFETY: the caller's promise.
        block.flatten().map_or_else(|| unsafe { System.alloc(layout) }, NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        let (Some(arena), Some(block)) = (arena().filter(|arena| arena.contains(p)), NonNull::new(p)) else {
            // SAFETY: the caller's promise: it is not the arena's, so it is the system's.
            return unsafe { System.dealloc(p, layout) };
        };
        // SAFETY: the caller's promise: nobody uses it any more.
        let freed = with_column(|column| column.map(|column| unsafe { column.free(block) })).flatten();
        // SAFETY: as above. An error would have ended the program.
        let _ = freed.unwrap_or_else(|| unsafe { arena.free(block) });
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some(arena), Some(block)) = (arena().filter(|arena| arena.contains(p)), NonNull::new(p)) else {
            // SAFETY: the caller's promise: it is not the arena's, so it is the system's.
            return unsafe { System.realloc(p, layout, size) };
        };
        // SAFETY: the caller's promise: nobody uses it any more, unless it stays.
        let moved = with_column(|column| column.map(|column| unsafe { column.realloc(block, size, SpikeTime::NONE) })).flatten();
        // SAFETY: as above.
        let moved = moved.unwrap_or_else(|| unsafe { arena.realloc(block, size, SpikeTime::NONE) });
        moved.map_or_else(
            |_| {
                // SAFETY: the caller's promise: a size that fits a layout; both have room for the smaller size, and are two blocks.
                unsafe {
                    let new = System.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !new.is_null() {
                        new.copy_from_nonoverlapping(p, size.min(layout.size()));
                        self.dealloc(p, layout);
                    }
                    new
                }
            },
            NonNull::as_ptr,
        )
    }
}

/// More threads than columns each build a graph of their own, which the first one drops; and one large table leaves the arena.
fn main() {
    let grow = |seed: u64| {
        let mut graph: HashMap<String, Vec<u64>> = HashMap::new();
        for edge in 0..2000 {
            graph.entry(format!("concept {}", edge * seed % 97)).or_default().push(edge);
        }
        graph
    };
    let threads: Vec<_> = (1..=2 * u64::from(COLUMNS)).map(|seed| std::thread::spawn(move || grow(seed))).collect();
    let graphs: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a thread")).collect();
    assert!(graphs.iter().all(|graph| graph.values().flatten().sum::<u64>() == (0..2000).sum()));
    drop(graphs);

    let mut table = vec![7_u64; 1000];
    let arena = arena().expect("an arena");
    assert!(arena.contains(table.as_ptr().cast()));
    table.resize(CAPACITY / 8, 7);
    assert!(!arena.contains(table.as_ptr().cast()) && table.iter().all(|&entry| entry == 7));

    let metrics = arena.metrics();
    let (given, by_others) = (metrics.allocs, metrics.remote_frees);
    println!("{given} blocks given, {by_others} freed by other threads than theirs; {} bytes at most", metrics.bytes_peak);
}

#[test]
fn the_program_lives_in_an_arena() {
    main();
}
