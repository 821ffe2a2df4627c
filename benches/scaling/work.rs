//! The work that is measured.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Duration;

use engram::{Arena, Column, ColumnId, SpikeTime};

use super::clock::timed;

/// What is allocated: 64 bytes, of which the first word is written.
#[repr(align(16))]
pub struct Block {
    _words: [u64; 8],
}

const SPIKE: SpikeTime = SpikeTime::from_nanos(4_462_871);

/// Where blocks come from.
pub trait Heap {
    /// A block that was not written to.
    fn alloc(&self) -> NonNull<Block>;

    /// # Safety
    /// The block came from this heap, and nothing uses it afterwards.
    unsafe fn free(&self, block: NonNull<Block>);
}

impl Heap for Column<'_> {
    #[inline]
    fn alloc(&self) -> NonNull<Block> {
        Column::alloc(self, size_of::<Block>(), align_of::<Block>(), SPIKE).expect("a block").cast()
    }

    #[inline]
    unsafe fn free(&self, block: NonNull<Block>) {
        // SAFETY: the caller's promise.
        unsafe { Column::free(self, block.cast()) }.expect("a block");
    }
}

/// The system's.
pub struct Malloc;

impl Heap for Malloc {
    #[inline]
    fn alloc(&self) -> NonNull<Block> {
        // SAFETY: the layout has a size.
        NonNull::new(unsafe { System.alloc(Layout::new::<Block>()) }).expect("a block").cast()
    }

    #[inline]
    unsafe fn free(&self, block: NonNull<Block>) {
        // SAFETY: the caller's promise: it came from `alloc`, with this layout.
        unsafe { System.dealloc(block.as_ptr().cast(), Layout::new::<Block>()) };
    }
}

/// A block with its first word written.
#[inline]
fn written(heap: &impl Heap, word: u32) -> NonNull<Block> {
    let block = heap.alloc();
    // SAFETY: the block is ours, and has room for the word.
    unsafe { block.cast::<u64>().write(u64::from(word)) };
    block
}

/// `count` blocks.
fn fill(heap: &impl Heap, count: u32) -> Vec<NonNull<Block>> {
    (0..count).map(|word| written(heap, word)).collect()
}

fn free_all(heap: &impl Heap, blocks: impl IntoIterator<Item = NonNull<Block>>) {
    for block in blocks {
        // SAFETY: the caller has the blocks from this heap, and gives them up.
        unsafe { heap.free(block) };
    }
}

/// xorshift64 (Marsaglia 2003).
pub struct Random(u64);

impl Random {
    pub const fn new() -> Self {
        Self(88_172_645_463_325_252)
    }

    /// A number below `bound`.
    #[inline]
    fn below(&mut self, bound: u32) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high half, scaled.
        (((self.0 >> 32) * u64::from(bound)) >> 32) as usize
    }

    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for left in (1..values.len()).rev() {
            values.swap(left, self.below(left as u32 + 1));
        }
    }
}

/// Nanoseconds for each of `count` operations.
fn each(time: Duration, count: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(count)
}

/// Live blocks, one of which is replaced at a time.
pub struct Churn<'a, H: Heap> {
    heap: &'a H,
    blocks: Vec<NonNull<Block>>,
    places: u32,
    random: Random,
}

impl<'a, H: Heap> Churn<'a, H> {
    /// `live` blocks, each of which may be replaced.
    pub fn new(heap: &'a H, live: u32) -> Self {
        Self { heap, blocks: fill(heap, live), places: live, random: Random::new() }
    }

    /// Nanoseconds a replacement, with the caches as they are after many of them.
    pub fn turn(&mut self) -> f64 {
        const TIMES: u32 = 300_000;
        self.replace(self.places.min(1_000_000));
        each(timed(|| self.replace(TIMES)), TIMES)
    }

    fn replace(&mut self, times: u32) {
        for word in 0..times {
            let place = &mut self.blocks[self.random.below(self.places)];
            // SAFETY: the block is ours, and another one takes its place.
            unsafe { self.heap.free(*place) };
            *place = written(self.heap, word);
        }
    }
}

impl<H: Heap> Drop for Churn<'_, H> {
    fn drop(&mut self) {
        free_all(self.heap, self.blocks.drain(..));
    }
}

/// Allocates `count` blocks and frees them in the same order: nanoseconds a pair. What is noted of them is put into
/// `blocks`, which has room: allocating and freeing that between measurements would have malloc merge what is free, and
/// give it back to the system.
pub fn whole(heap: &impl Heap, count: u32, blocks: &mut Vec<NonNull<Block>>) -> f64 {
    let times = (500_000 / count).max(1);
    let mut once = |_| {
        blocks.clear();
        blocks.extend((0..count).map(|word| written(heap, word)));
        free_all(heap, blocks.iter().copied());
    };
    // Touches the pages.
    once(0);
    each(timed(|| (0..times).for_each(once)), times * count)
}

/// What an arena is opened with, in anonymous memory that is touched where it is used.
#[derive(Clone, Copy)]
pub struct Shape {
    pub capacity: usize,
    pub columns: u32,
}

impl Shape {
    pub fn open(self) -> Arena {
        Arena::builder().capacity(self.capacity).columns(self.columns).build().expect("an arena")
    }

    /// Microseconds for opening one.
    pub fn opening(self) -> f64 {
        const TIMES: u32 = 300;
        let mut arenas = Vec::with_capacity(TIMES as usize);
        let time = timed(|| arenas.extend((0..TIMES).map(|_| self.open())));
        each(time, TIMES) / 1e3
    }

    /// Replaces one of `live` blocks in the last column of a new one: nanoseconds a replacement.
    pub fn churn(self, live: u32) -> f64 {
        let arena = self.open();
        let column = last_column(&arena);
        Churn::new(&column, live).turn()
    }

    /// [`whole`] in a new one.
    pub fn whole(self, count: u32, blocks: &mut Vec<NonNull<Block>>) -> f64 {
        let arena = self.open();
        whole(&last_column(&arena), count, blocks)
    }

    /// The first 32 MiB of a new one, which are not touched: nanoseconds an allocation.
    pub fn growth(self) -> f64 {
        const COUNT: u32 = ((32 << 20) / size_of::<Block>()) as u32;
        let arena = self.open();
        let column = last_column(&arena);
        let time = timed(|| (0..COUNT).for_each(|_| _ = black_box(Heap::alloc(&column))));
        each(time, COUNT)
    }
}

/// The last column of an arena.
fn last_column(arena: &Arena) -> Column<'_> {
    arena.column(ColumnId::new(arena.columns() - 1)).expect("nobody holds it")
}

/// What the spans have room for whose occupancy is varied.
const SLOTS: u32 = 100_000;
/// Blocks of them that are replaced: as many at every occupancy, so that the caches see the same.
const REPLACED: u32 = SLOTS / 10;
/// Blocks that are freed, and then allocated.
pub const TOGETHER: u32 = 2000;

/// Blocks in spans of which `percent` are live, at random places and in random order.
fn sparse(heap: &impl Heap, percent: u32, random: &mut Random) -> Vec<NonNull<Block>> {
    let mut blocks = fill(heap, SLOTS);
    random.shuffle(&mut blocks);
    free_all(heap, blocks.drain((SLOTS / 100 * percent) as usize..));
    blocks
}

/// Replaces some of such blocks of a new arena, one at a time: nanoseconds a replacement.
pub fn one_at_a_time(shape: Shape, percent: u32) -> f64 {
    let arena = shape.open();
    let column = last_column(&arena);
    let mut random = Random::new();
    let blocks = sparse(&column, percent, &mut random);
    Churn { heap: &column, blocks, places: REPLACED, random }.turn()
}

/// Frees [`TOGETHER`] of such blocks of a new arena and allocates as many, in spans that are as before each time:
/// nanoseconds a replacement.
pub fn together(shape: Shape, percent: u32) -> f64 {
    const TIMES: u32 = 40;
    let arena = shape.open();
    let column = last_column(&arena);
    // Goes on from one time to the next: what is the same each time, the processor learns to predict.
    let (mut random, mut time) = (Random::new(), Duration::ZERO);
    for _ in 0..TIMES {
        let mut blocks = sparse(&column, percent, &mut random);
        let replaced = &mut blocks[..TOGETHER as usize];
        time += timed(|| {
            free_all(&column, replaced.iter().copied());
            replaced.iter_mut().zip(0..).for_each(|(place, word)| *place = written(&column, word));
        });
        free_all(&column, blocks);
    }
    each(time, TIMES * TOGETHER)
}
