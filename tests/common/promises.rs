//! What the tests of the promises share: random numbers, blocks that know their content, every way
//! to allocate, and child processes.
#![allow(dead_code, reason = "each test uses its part")]

use core::alloc::Layout;
use core::ptr::NonNull;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use engram::{Arena, ArenaBuilder, Column, ColumnId, Result, SpikeTime};

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 2 << 20;
/// Bytes of a span.
pub(crate) const SPAN: usize = 32 << 10;

/// Set in child processes that a test starts by running its own program again: how many were started before.
const CHILD: &str = "ENGRAM_PROMISES_CHILD";

/// An arena of `capacity` bytes with four columns.
pub(crate) fn arena(capacity: usize) -> Arena {
    built(Arena::builder().capacity(capacity).columns(4))
}

pub(crate) fn built(builder: ArenaBuilder) -> Arena {
    builder.build().expect("the system gives the address space")
}

pub(crate) fn verify(arena: &Arena) {
    arena.verify().expect("every invariant holds");
}

pub(crate) const fn column(index: u32) -> ColumnId {
    ColumnId::new(index)
}

pub(crate) fn held(arena: &Arena, index: u32) -> Column<'_> {
    arena.column(column(index)).expect("nobody holds the column")
}

pub(crate) fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a power of two")
}

/// A spike time in the middle of a zone.
pub(crate) const fn in_zone(zone: u32) -> SpikeTime {
    SpikeTime::from_nanos((1 << (20 + zone)) + (1 << (19 + zone)))
}

/// Random numbers, the same in each run for the same beginning, which is not 0 (Marsaglia's xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Other ones each time.
    pub(crate) fn of_now() -> Self {
        Self(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }

    /// A spike time of a random zone.
    pub(crate) fn spike(&mut self) -> SpikeTime {
        let octaves = self.below(12);
        SpikeTime::from_nanos((self.next() as u32) >> octaves)
    }

    /// Mostly small sizes, some medium, few large.
    pub(crate) fn size(&mut self) -> usize {
        1 + match self.below(100) {
            0..88 => self.below(1024),
            88..96 => self.below(4096),
            96..99 => self.below(40_000),
            _ => self.below(600_000),
        }
    }
}

/// A block, handed from thread to thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Loose(pub(crate) NonNull<u8>);

// SAFETY: one test owns the block, and uses it in one thread at a time.
unsafe impl Send for Loose {}
// SAFETY: as above.
unsafe impl Sync for Loose {}

/// Frees blocks in `threads` threads that hold no column.
pub(crate) fn free_elsewhere(arena: &Arena, blocks: &[Loose], threads: usize) {
    thread::scope(|scope| {
        for part in blocks.chunks(blocks.len().div_ceil(threads).max(1)) {
            scope.spawn(move || {
                for block in part {
                    // SAFETY: the block is the test's, and nothing uses it afterwards.
                    unsafe { arena.free(block.0) }.expect("it is handed out");
                }
            });
        }
    });
}

/// What one other thread is told when it frees `p`.
pub(crate) fn freed_elsewhere(arena: &Arena, p: *mut u8) -> Result<()> {
    let p = Loose(NonNull::new(p).expect("not null"));
    thread::scope(|scope| {
        // SAFETY: nothing uses the block afterwards; what is no block is an error.
        let freeing = scope.spawn(move || unsafe { arena.free({ p }.0) });
        freeing.join().expect("a free does not panic")
    })
}

/// A block full of a byte that tells it from others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marked {
    pub(crate) start: NonNull<u8>,
    pub(crate) bytes: usize,
    mark: u8,
}

impl Marked {
    pub(crate) fn new(start: NonNull<u8>, bytes: usize, mark: u8) -> Self {
        // SAFETY: the caller's own block of at least these bytes.
        unsafe { start.write_bytes(mark, bytes) };
        Self { start, bytes, mark }
    }

    pub(crate) fn is_intact(&self) -> bool {
        // SAFETY: the block is live, and all of it was written.
        let content = unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.bytes) };
        content[0] == self.mark && content[1..] == content[..self.bytes - 1]
    }
}

/// Runs one test of this program again as a child, which [`is_child`] tells it.
pub(crate) fn run_again(test: &str) -> Output {
    run_again_with(test, std::process::Stdio::piped())
}

/// The same, with another standard error.
pub(crate) fn run_again_with(test: &str, error: impl Into<std::process::Stdio>) -> Output {
    static BEFORE: AtomicUsize = AtomicUsize::new(0);
    Command::new(std::env::current_exe().expect("the program knows itself"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, BEFORE.fetch_add(1, Relaxed).to_string())
        .stderr(error)
        .output()
        .expect("the program runs")
}

pub(crate) fn is_child() -> bool {
    children_before().is_some()
}

/// In such a child, how many were started before.
pub(crate) fn children_before() -> Option<usize> {
    std::env::var(CHILD).ok()?.parse().ok()
}
