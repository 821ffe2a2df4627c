//! What is counted.

use engram::ffi::{ENGRAM_TTFS_NONE, engram_request};

use crate::arena::{Arena, RowName};
use crate::count::Counter;

/// All workloads, in the order of the table.
pub(crate) const ALL: &[fn(&mut Counter)] = &[
    churn,
    churn_over_zones,
    growth,
    growth_over_zones,
    growth_past_a_leaf,
    shrinking,
    take_back,
    watchful,
    exhaustion,
    misuse,
    near_limit,
    without_chunks,
    without_chunks_of_many,
    beside_large,
    alignments,
    medium,
    medium_aligned,
    among_medium,
    batches,
    not_held,
    held_by_another,
];

/// Sizes of the parts of neurons, small ones most often.
const MIX: [usize; 16] = [16, 16, 24, 32, 32, 40, 48, 64, 64, 96, 128, 160, 256, 384, 512, 1024];
/// Live blocks of a churn.
const LIVE: usize = 10_000;
/// Replacements of a churn that are counted: what goes past a full stack, takes a span out of the midst of a list and raises the
/// peak of what lives comes once in some 30,000.
const CHURNED: usize = 100_000;
/// Blocks of a growth, more than fill several chunks; each is counted twice, when it is allocated and when it is freed.
const GROWN: usize = 60_000;
/// Blocks of a batch.
const BATCH: usize = 500;
/// Blocks that are taken back, and others.
const SHARED: usize = 20_000;

/// A xorshift generator: the same numbers in every run.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(88_172_645_463_325_252)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 11) % end as u64) as usize
    }

    fn mixed(&mut self) -> usize {
        MIX[self.below(MIX.len())]
    }

    /// Above 4 KiB, up to 256 KiB, each octave as often as any other.
    fn medium(&mut self) -> usize {
        let octave = 4096 << self.below(6);
        octave + 1 + self.below(octave)
    }

    /// A spike time in any of the zones.
    fn spike(&mut self) -> u32 {
        (1 << 20) << self.below(12)
    }
}

fn no_spike(_: &mut Random) -> u32 {
    ENGRAM_TTFS_NONE
}

/// How a churn goes.
struct Churn {
    rows: [RowName; 2],
    size: fn(&mut Random) -> usize,
    spike: fn(&mut Random) -> u32,
    live: usize,
    counted: usize,
}

impl Churn {
    /// Replaces one of the live blocks after the other; four rounds come first that are not counted.
    fn run(&self, counter: &mut Counter) {
        let (arena, mut random) = (Arena::open(512 << 20), Random::new());
        let column = arena.hold(1);
        let mut blocks: Vec<_> = (0..self.live).map(|_| column.alloc((self.size)(&mut random), (self.spike)(&mut random))).collect();
        for _ in 0..self.live * 4 {
            let k = random.below(self.live);
            column.free(blocks[k]);
            blocks[k] = column.alloc((self.size)(&mut random), (self.spike)(&mut random));
        }
        for _ in 0..self.counted {
            let k = random.below(self.live);
            column.count_free(counter, self.rows[1], blocks[k]);
            blocks[k] = column.count_alloc(counter, self.rows[0], (self.size)(&mut random), (self.spike)(&mut random));
        }
    }
}

fn churn(counter: &mut Counter) {
    let rows = ["churn: allocation", "churn: free"];
    Churn { rows, size: Random::mixed, spike: no_spike, live: LIVE, counted: CHURNED }.run(counter);
}

fn churn_over_zones(counter: &mut Counter) {
    let rows = ["churn over all zones: allocation", "churn over all zones: free"];
    Churn { rows, size: Random::mixed, spike: Random::spike, live: LIVE, counted: CHURNED }.run(counter);
}

/// Up to 4 KiB with the alignments of small types, and with those of cache lines and pages.
fn alignments(counter: &mut Counter) {
    let (arena, mut random) = (Arena::open(512 << 20), Random::new());
    let column = arena.hold(1);
    let mut blocks = vec![None; 1000];
    for round in 0..40_000 {
        let k = random.below(blocks.len());
        if let Some(block) = blocks[k].take() {
            column.free(block);
        }
        let (row, align) = if round % 2 == 0 {
            ("aligned to 1 to 8 bytes: allocation", 1 << random.below(4))
        } else {
            ("aligned to 32 to 4,096 bytes: allocation", 32 << random.below(8))
        };
        blocks[k] = Some(column.count_aligned(counter, [row, row], random.mixed(), align, random.spike()));
    }
}

/// Frees of what is no live block: freed already, by the holder and as the block held back, between blocks, and of nobody.
fn misuse(counter: &mut Counter) {
    let (arena, mut random) = (Arena::open(256 << 20), Random::new());
    let (column, other) = (arena.hold(1), arena.hold(2));
    for _ in 0..200 {
        let size = random.mixed();
        let [block, live, theirs] = [&column, &column, &other].map(|column| column.alloc(size, ENGRAM_TTFS_NONE));
        let inside = live.wrapping_byte_add(8 << random.below(2));
        column.free(block);
        other.free(theirs);
        for pointer in [block, inside, theirs, (&raw mut random).cast(), std::ptr::without_provenance_mut(16)] {
            column.count_misuse(counter, "misuse: refused free", pointer);
        }
    }
}

/// A column up to its limit, and whenever something has become free there: of one size, and of all.
fn near_limit(counter: &mut Counter) {
    let (arena, mut random) = (Arena::open(256 << 20), Random::new());
    arena.limit(1, 512 << 10);
    let column = arena.hold(1);
    let rows = ["near the column's limit: allocation", "at the column's limit: refused allocation"];
    let mut blocks = Vec::new();
    for round in 0..20_000 {
        if round > 4000 && random.below(2) == 0 && !blocks.is_empty() {
            column.free(blocks.swap_remove(random.below(blocks.len())));
        } else {
            let block = column.count_alloc_or(counter, rows, random.mixed(), ENGRAM_TTFS_NONE);
            blocks.extend((!block.is_null()).then_some(block));
        }
    }
}

fn without_chunks(counter: &mut Counter) {
    grow_without_chunks(counter, "no free chunk: allocation", &Arena::open(16 << 20), 1);
}

fn without_chunks_of_many(counter: &mut Counter) {
    grow_without_chunks(counter, "no free chunk, 65,536 columns: allocation", &Arena::open_with(16 << 20, Some(1 << 16)), 6000);
}

/// More columns than chunks: one after the other, `step` columns apart, takes a block, and whoever comes then finds no free chunk, but free spans in
/// all of them.
fn grow_without_chunks(counter: &mut Counter, row: RowName, arena: &Arena, step: u32) {
    for index in 0..10 {
        arena.hold(index * step).alloc(64, ENGRAM_TTFS_NONE);
    }
    let (column, mut random) = (arena.hold(11), Random::new());
    for _ in 0..2000 {
        column.count_alloc(counter, row, random.mixed(), ENGRAM_TTFS_NONE);
    }
}

/// A column that grows beside blocks of 1 MiB, half of which are freed again.
fn beside_large(counter: &mut Counter) {
    let (arena, mut random) = (Arena::open(512 << 20), Random::new());
    let column = arena.hold(1);
    for round in 0..40 {
        let large = column.alloc(1 << 20, ENGRAM_TTFS_NONE);
        for _ in 0..200 {
            column.count_alloc(counter, "growth beside large blocks: allocation", 1 + random.below(4096), ENGRAM_TTFS_NONE);
        }
        if round % 2 == 0 {
            column.free(large);
        }
    }
}

fn medium(counter: &mut Counter) {
    let rows = ["4 to 256 KiB: allocation", "4 to 256 KiB: free"];
    Churn { rows, size: Random::medium, spike: no_spike, live: 1000, counted: 20_000 }.run(counter);
}

/// The same with any alignment that such blocks may have.
fn medium_aligned(counter: &mut Counter) {
    let (arena, mut random) = (Arena::open(512 << 20), Random::new());
    let column = arena.hold(1);
    let mut blocks: Vec<_> = vec![None; 300];
    for _ in 0..20_000 {
        let k = random.below(blocks.len());
        if let Some(block) = blocks[k].take() {
            column.count_free(counter, "4 to 256 KiB, any alignment: free", block);
        }
        let row = "4 to 256 KiB, any alignment: allocation";
        blocks[k] = Some(column.count_aligned(counter, [row, row], random.medium(), 1 << random.below(18), random.spike()));
    }
}

/// Blocks of up to 4 KiB among such of up to 256 KiB, by a holder whose live blocks come to be many and few again.
fn among_medium(counter: &mut Counter) {
    let (arena, mut random) = (Arena::open(512 << 20), Random::new());
    let column = arena.hold(1);
    let size = |random: &mut Random| match random.below(20) {
        0 => random.medium(),
        1..6 => 1 + random.below(4096),
        _ => random.mixed(),
    };
    let mut blocks: Vec<_> = (0..3000).map(|_| size(&mut random)).map(|size| (column.alloc(size, ENGRAM_TTFS_NONE), size)).collect();
    for round in 0..40_000 {
        let k = random.below(if round / 4000 % 2 == 0 { 3000 } else { 800 });
        let ((block, old), new) = (blocks[k], size(&mut random));
        if round % 20 == 0 && old <= 4096 {
            column.count_free(counter, "up to 4 KiB among larger ones: free", block);
        } else {
            column.free(block);
        }
        let block = if round % 20 == 0 && new <= 4096 {
            column.count_alloc(counter, "up to 4 KiB among larger ones: allocation", new, ENGRAM_TTFS_NONE)
        } else {
            column.alloc(new, ENGRAM_TTFS_NONE)
        };
        blocks[k] = (block, new);
    }
}

fn growth(counter: &mut Counter) {
    grow(counter, ["growth: allocation", "growth: free"], GROWN, no_spike);
}

fn growth_over_zones(counter: &mut Counter) {
    grow(counter, ["growth over all zones: allocation", "growth over all zones: free"], GROWN / 2, Random::spike);
}

/// From empty, fresh spans and chunks included, and then down to empty again.
fn grow(counter: &mut Counter, rows: [RowName; 2], count: usize, spike: fn(&mut Random) -> u32) {
    let (arena, mut random) = (Arena::open(256 << 20), Random::new());
    let column = arena.hold(1);
    let blocks: Vec<_> = (0..count).map(|_| column.count_alloc(counter, rows[0], random.mixed(), spike(&mut random))).collect();
    for block in blocks {
        column.count_free(counter, rows[1], block);
    }
}

/// Past the chunks of one word of the chunk index, 64 of 2 MiB.
fn growth_past_a_leaf(counter: &mut Counter) {
    const BLOCK: usize = 4096;
    let arena = Arena::open(1 << 30);
    let column = arena.hold(1);
    (0..(120 << 20) / BLOCK).for_each(|_| _ = column.alloc(BLOCK, ENGRAM_TTFS_NONE));
    for _ in 0..(16 << 20) / BLOCK {
        column.count_alloc(counter, "growth past 128 MiB: allocation", BLOCK, ENGRAM_TTFS_NONE);
    }
}

/// Down to empty in no order: spans go back that lie in the midst of their cells' lists.
fn shrinking(counter: &mut Counter) {
    let (arena, mut random) = (Arena::open(256 << 20), Random::new());
    let column = arena.hold(1);
    let mut blocks: Vec<_> = (0..GROWN).map(|_| column.alloc(random.mixed(), ENGRAM_TTFS_NONE)).collect();
    while !blocks.is_empty() {
        column.count_free(counter, "shrinking in no order: free", blocks.swap_remove(random.below(blocks.len())));
    }
}

/// Half of the blocks are freed by the holder of another column, at random or in whole stretches; the
/// owner frees the others, from the same spans, and takes all back as it allocates.
fn take_back(counter: &mut Counter) {
    let (arena, mut random) = (Arena::open(256 << 20), Random::new());
    let (owner, other) = (arena.hold(1), arena.hold(2));
    let mut blocks: Vec<_> = (0..SHARED).map(|_| owner.alloc(random.mixed(), ENGRAM_TTFS_NONE)).collect();
    for round in 0..2 {
        for (index, &block) in blocks.iter().enumerate() {
            let by_other = if round == 0 { random.below(2) == 0 } else { index < SHARED / 2 };
            if by_other {
                other.count_free(counter, "taking back: free by another column's holder", block);
            } else {
                owner.count_free(counter, "taking back: free", block);
            }
        }
        blocks.fill_with(|| owner.count_alloc(counter, "taking back: allocation", random.mixed(), ENGRAM_TTFS_NONE));
    }
}

/// A holder that has freed a block of a span that others freed into: there, in spans of its own alone, and once it has
/// released the column. So few of a size that no stack is full.
fn watchful(counter: &mut Counter) {
    let arena = Arena::open(256 << 20);
    let (owner, other) = (arena.hold(1), arena.hold(2));
    let [mut shared, mut own] = [64, 128].map(|size| (0..40).map(|_| owner.alloc(size, ENGRAM_TTFS_NONE)).collect::<Vec<_>>());
    shared.drain(..10).for_each(|block| other.free(block));
    owner.free(shared[0]);
    for &block in &shared[1..] {
        owner.count_free(counter, "others freed there: free", block);
    }
    for block in own.drain(..20) {
        owner.count_free(counter, "others freed elsewhere: free", block);
    }
    drop(owner);
    let owner = arena.hold(1);
    for block in own {
        owner.count_free(counter, "others freed elsewhere, released since: free", block);
    }
}

/// Until nothing is left, and a few times more.
fn exhaustion(counter: &mut Counter) {
    let (arena, mut random) = (Arena::open(2 << 20), Random::new());
    let column = arena.hold(1);
    let rows = ["exhaustion: allocation", "exhaustion: refused allocation"];
    let (mut blocks, mut refused) = (Vec::new(), 0);
    while refused < 20 {
        let size = random.mixed();
        let block = column.count_alloc_or(counter, rows, size, ENGRAM_TTFS_NONE);
        if block.is_null() {
            refused += 1;
        } else {
            blocks.push((block, size));
        }
    }
    for _ in 0..2_000 {
        let k = random.below(blocks.len());
        column.free(blocks[k].0);
        blocks[k].0 = column.count_alloc(counter, "exhaustion: allocation after a free", blocks[k].1, ENGRAM_TTFS_NONE);
    }
}

/// Each in an arena of its own.
fn batches(counter: &mut Counter) {
    let mut random = Random::new();
    Arena::open(256 << 20).hold(1).count_batch(counter, "batch of 500 of a held column, 64 B: each block", 64, BATCH);
    let mut ordered = |row, request: &mut dyn FnMut(&mut Random, u32) -> (usize, u32)| {
        let requests: Vec<_> = (0..BATCH as u32)
            .map(|number| request(&mut random, number))
            .map(|(size, ttfs_ns)| engram_request { size, align: 0, column: 1, ttfs_ns })
            .collect();
        Arena::open(256 << 20).count_ordered_batch(counter, row, &requests);
    };
    ordered("ordered batch of 500, 64 B, spikes ascending: each block", &mut |_, number| (64, number * 1000));
    ordered("ordered batch of 500, 64 B: each block", &mut |random, _| (64, random.next() as u32));
    ordered("ordered batch of 500, mixed sizes: each block", &mut |random, _| (random.mixed(), random.next() as u32));
}

fn not_held(counter: &mut Counter) {
    let arena = Arena::open(256 << 20);
    churn_without_holding(counter, &arena, ["not held: allocation", "not held: free"]);
}

fn held_by_another(counter: &mut Counter) {
    let arena = Arena::open(256 << 20);
    let _column = arena.hold(1);
    churn_without_holding(counter, &arena, ["held by another: allocation", "held by another: free"]);
}

/// From empty to a churn over 500 blocks, by any thread's calls.
fn churn_without_holding(counter: &mut Counter, arena: &Arena, rows: [RowName; 2]) {
    let mut random = Random::new();
    let mut blocks: Vec<_> = (0..500).map(|_| arena.count_alloc(counter, rows[0], random.mixed())).collect();
    for _ in 0..10_000 {
        let k = random.below(blocks.len());
        arena.count_free(counter, rows[1], blocks[k]);
        blocks[k] = arena.count_alloc(counter, rows[0], random.mixed());
    }
}
