//! Threads at work in one arena: columns change hands, blocks are freed by others than allocated
//! them, anybody allocates in columns that somebody else holds, columns are reset, the arena is
//! maintained meanwhile. Every block says whose it is, and is checked before it is freed; when all
//! threads rest the arena must hold exactly the blocks that they know of.
//!
//! Takes 3 seconds; `ENGRAM_STRESS_SECONDS` for longer, `ENGRAM_STRESS_SEED` for another course.
#![cfg(not(any(loom, miri)))]

use std::alloc::Layout;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use engram::{Arena, BatchFlags, Column, ColumnId, Error, Request, SpikeTime};

/// An arena and how hard its threads make it for each other.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    capacity: usize,
    columns: u32,
    /// Columns at the end that are reset now and then; nobody else's blocks lie there.
    reset: u32,
    threads: usize,
    /// Blocks that a thread keeps at most.
    keep: usize,
    zero_freed: bool,
    limits: bool,
}

const SCENARIOS: [Scenario; 5] = [
    // Room for all: the usual paths.
    Scenario { capacity: 64 << 20, columns: 8, reset: 2, threads: 4, keep: 1500, zero_freed: false, limits: false },
    // Scarce: what others keep is taken, requests are refused.
    Scenario { capacity: 4 << 20, columns: 4, reset: 1, threads: 4, keep: 3000, zero_freed: false, limits: false },
    // One column for all but its resets: everybody allocates where somebody else holds.
    Scenario { capacity: 16 << 20, columns: 1, reset: 0, threads: 4, keep: 1000, zero_freed: false, limits: false },
    Scenario { capacity: 16 << 20, columns: 6, reset: 2, threads: 3, keep: 1000, zero_freed: true, limits: true },
    // Small blocks in few spans, many threads.
    Scenario { capacity: 2 << 20, columns: 3, reset: 0, threads: 6, keep: 400, zero_freed: false, limits: true },
];

/// Marsaglia's xorshift: three shifts, period 2^64 - 1.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) as usize) % end
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn size(&mut self) -> usize {
        match self.below(64) {
            0 if self.one_in(16) => 1 + self.below(3 << 20),
            0 => 1 + self.below(600_000),
            1..4 => 1 + self.below(40_000),
            4..8 => 1 + self.below(5000),
            8..32 => [16, 24, 64, 96, 256, 1024][self.below(6)],
            _ => 1 + self.below(300),
        }
    }

    fn align(&mut self) -> usize {
        if self.one_in(8) { 16 << self.below(9) } else { 16 }
    }

    fn spike(&mut self) -> SpikeTime {
        if self.one_in(3) { SpikeTime::NONE } else { SpikeTime::from_nanos(self.below(200) as u32 * 1_000_000) }
    }
}

/// A block, and the number that its content says.
struct Stamped {
    start: NonNull<u8>,
    size: usize,
    number: u64,
}

// SAFETY: whoever has the value is the only one to use the block.
unsafe impl Send for Stamped {}

impl Stamped {
    fn new(start: NonNull<u8>, size: usize, number: u64) -> Self {
        let block = Self { start, size, number };
        // SAFETY: as in `is_whole`.
        block.each_byte(|at, byte| unsafe { at.write(byte) });
        block
    }

    fn is_whole(&self) -> bool {
        let mut whole = true;
        // SAFETY: the places lie in the block, which is ours.
        self.each_byte(|at, byte| whole &= unsafe { at.read() } == byte);
        whole
    }

    /// All bytes of small blocks, the first and last and some of larger ones.
    fn each_byte(&self, mut see: impl FnMut(*mut u8, u8)) {
        let start = self.start.as_ptr();
        for at in 0..self.size {
            if at < 2048 || at % 1021 == 0 || at + 16 > self.size {
                see(start.wrapping_add(at), (self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ (at * 7) as u8);
            }
        }
    }
}

/// A column that is reset: while somebody reads, there may be others' blocks in it.
#[derive(Default)]
struct Pool {
    in_use: RwLock<()>,
    left: Mutex<Vec<Stamped>>,
}

struct Shared<'a> {
    arena: &'a Arena,
    scenario: Scenario,
    mail: Vec<Mutex<Vec<Stamped>>>,
    handed_over: Mutex<Vec<Column<'a>>>,
    pools: Vec<Pool>,
    stop: AtomicBool,
}

struct Worker<'s, 'a> {
    shared: &'s Shared<'a>,
    arena: &'a Arena,
    random: Random,
    number: u64,
    column: Option<Column<'a>>,
    mine: Vec<Stamped>,
}

impl Worker<'_, '_> {
    fn run(mut self) -> Vec<Stamped> {
        while !self.shared.stop.load(Relaxed) {
            self.step();
        }
        self.mine
    }

    fn some_column(&mut self) -> ColumnId {
        let shared = &self.shared.scenario;
        ColumnId::new(self.random.below((shared.columns - shared.reset) as usize) as u32)
    }

    /// One of those, or the thread's home, which may be any column.
    fn some_column_or_home(&mut self) -> Option<ColumnId> {
        let some = self.some_column();
        (self.shared.scenario.reset > 0 || self.random.one_in(2)).then_some(some)
    }

    fn step(&mut self) {
        match self.random.below(1000) {
            0..8 => self.change_column(),
            8..10 => self.maintain(),
            10..14 => self.look_around(),
            14..30 => self.leave_in_a_pool(),
            30..32 => self.reset_a_pool(),
            32..34 if self.shared.scenario.limits => self.limit(),
            34..60 => self.batch(),
            60..90 => self.column_batch(),
            90..110 => self.misuse(),
            110..160 => self.realloc(),
            160..200 => self.read_mail(),
            200..620 => self.alloc(),
            _ => self.part_with_some(),
        }
    }

    fn keep(&mut self, start: NonNull<u8>, size: usize, align: usize) {
        assert_eq!(start.addr().get() % align.max(16), 0, "{size} bytes aligned to {align}");
        let usable = self.arena.usable_size(start.as_ptr());
        assert!(usable >= Some(size), "{size} bytes asked for, {usable:?} usable");
        if self.shared.scenario.zero_freed {
            // SAFETY: the block is ours and has `size` bytes.
            let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), size) };
            assert!(bytes.iter().all(|&byte| byte == 0), "freed memory was given again as it was");
        }
        self.number += 1;
        self.mine.push(Stamped::new(start, size, self.number));
    }

    fn free(&mut self, block: &Stamped) {
        assert!(block.is_whole(), "somebody wrote into {:?} ({} bytes)", block.start, block.size);
        // SAFETY: the block is ours, and nobody uses it afterwards.
        let freed = unsafe {
            match &self.column {
                Some(column) if !self.random.one_in(4) => column.free(block.start),
                _ => self.arena.free(block.start),
            }
        };
        assert_eq!(freed, Ok(()), "{:?} ({} bytes)", block.start, block.size);
    }

    fn alloc(&mut self) {
        if self.mine.len() >= self.shared.scenario.keep {
            return self.part_with_some();
        }
        let (size, align, spike) = (self.random.size(), self.random.align(), self.random.spike());
        let way = self.random.below(8);
        let some = self.some_column_or_home();
        let layout = Layout::from_size_align(size, align).expect("a layout");
        let given = match (&self.column, way) {
            (Some(column), 0..5) => column.alloc(size, align, spike),
            (_, 5) => self.arena.alloc_zeroed(some, layout, spike),
            _ => self.arena.alloc(some, layout, spike),
        };
        match given {
            Ok(start) => {
                if way == 5 {
                    // SAFETY: the block is ours and has `size` bytes.
                    let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), size) };
                    assert!(bytes.iter().all(|&byte| byte == 0));
                }
                self.keep(start, size, align);
            }
            Err(error) => self.refused(error),
        }
    }

    fn refused(&self, error: Error) {
        let quota = self.shared.scenario.limits && matches!(error, Error::Quota { .. });
        let large = matches!(error, Error::SizeAboveCapacity { .. });
        assert!(quota || large || matches!(error, Error::NoMemory { .. }), "{error}");
    }

    /// Frees some blocks, or sends them to others.
    fn part_with_some(&mut self) {
        for _ in 0..=self.random.below(3) {
            if self.mine.is_empty() {
                return;
            }
            let at = self.random.below(self.mine.len());
            let block = self.mine.swap_remove(at);
            if self.random.one_in(3) {
                let to = self.random.below(self.shared.mail.len());
                self.shared.mail[to].lock().expect("a mailbox").push(block);
            } else {
                self.free(&block);
            }
        }
    }

    fn read_mail(&mut self) {
        let from = self.random.below(self.shared.mail.len());
        let blocks = std::mem::take(&mut *self.shared.mail[from].lock().expect("a mailbox"));
        for block in blocks {
            if self.random.one_in(4) && self.mine.len() < self.shared.scenario.keep {
                self.mine.push(block);
            } else {
                self.free(&block);
            }
        }
    }

    fn change_column(&mut self) {
        let before = self.column.take();
        if self.random.one_in(3) {
            let mut handed_over = self.shared.handed_over.lock().expect("the columns handed over");
            let next = handed_over.pop();
            handed_over.extend(before);
            self.column = next;
            return;
        }
        drop(before);
        let id = self.some_column();
        match self.arena.column(id) {
            Ok(column) => self.column = Some(column),
            Err(error) => assert_eq!(error, Error::ColumnHeld(id.index())),
        }
    }

    fn maintain(&mut self) {
        match self.arena.maintain(Duration::from_micros(self.random.below(200) as u64)) {
            Ok(_) | Err(Error::Maintaining) => (),
            Err(error) => panic!("{error}"),
        }
    }

    fn look_around(&mut self) {
        let metrics = self.arena.metrics();
        assert!(metrics.frees <= metrics.allocs, "{metrics:?}");
        if let Some(column) = &self.column {
            // Others free and allocate meanwhile: only what is at rest is shown in order and whole.
            column.walk(|block| {
                let end = block.start.as_ptr().wrapping_add(block.usable - 1);
                assert!(block.usable >= 16 && self.arena.contains(block.start.as_ptr()) && self.arena.contains(end), "{block:?}");
                true
            });
        } else {
            assert_eq!(self.arena.map().len(), self.arena.capacity() >> 21);
        }
    }

    fn limit(&mut self) {
        let bytes = (!self.random.one_in(2)).then(|| self.random.below(2 << 20));
        let id = self.some_column();
        self.arena.limit_column(id, bytes).expect("a column of the arena");
    }

    fn batch(&mut self) {
        let flags = [BatchFlags::empty(), BatchFlags::ATOMIC, BatchFlags::ORDERED, BatchFlags::ATOMIC | BatchFlags::ORDERED];
        let flags = flags[self.random.below(4)];
        let requests: Vec<Request> = (0..=self.random.below(40))
            .map(|_| Request {
                size: self.random.size(),
                align: self.random.align(),
                column: self.some_column_or_home(),
                spike: self.random.spike(),
            })
            .collect();
        let mut out = vec![null_mut(); requests.len()];
        match self.arena.alloc_batch(&requests, flags, &mut out) {
            Ok(served) => assert_eq!(served, requests.len()),
            Err(error) => {
                self.refused(error);
                assert!(!flags.contains(BatchFlags::ATOMIC) || out.iter().all(|p| p.is_null()));
            }
        }
        for (start, request) in out.into_iter().zip(requests) {
            if let Some(start) = NonNull::new(start) {
                self.keep(start, request.size, request.align);
            }
        }
    }

    fn column_batch(&mut self) {
        let (size, align, spike) = (self.random.size(), self.random.align(), self.random.spike());
        let mut out = vec![null_mut(); 1 + self.random.below(if size < 1000 { 100 } else { 4 })];
        let Some(column) = &self.column else { return };
        let served = column.alloc_batch(size, align, spike, &mut out);
        if served < out.len() {
            self.refused(column.last_error());
        }
        assert!(out[served..].iter().all(|p| p.is_null()));
        for &start in &out[..served] {
            self.keep(NonNull::new(start).expect("served"), size, align);
        }
    }

    /// Pointers into our own blocks, and to nowhere, are refused whatever the others do.
    fn misuse(&mut self) {
        let Some(block) = self.mine.last() else { return };
        let inside = block.start.as_ptr().wrapping_add(1 + self.random.below(block.size.min(4096)));
        let outside = self.arena.at(0).expect("user memory").wrapping_sub(16);
        for wrong in [inside, outside] {
            if wrong.addr() < block.start.addr().get() + block.size || wrong == outside {
                let wrong = NonNull::new(wrong).expect("an address");
                // SAFETY: no block starts there: refused.
                let refused = unsafe {
                    match &self.column {
                        Some(column) => column.free(wrong),
                        None => self.arena.free(wrong),
                    }
                };
                assert!(refused.is_err(), "{wrong:?} was freed");
            }
        }
    }

    fn realloc(&mut self) {
        if self.mine.is_empty() {
            return;
        }
        let at = self.random.below(self.mine.len());
        let block = self.mine.swap_remove(at);
        let (size, spike) = (self.random.size(), self.random.spike());
        assert!(block.is_whole());
        // SAFETY: the block is ours, and the old address is not used again.
        let moved = unsafe {
            match &self.column {
                Some(column) if self.random.one_in(2) => column.realloc(block.start, size, spike),
                _ => self.arena.realloc(block.start, size, spike),
            }
        };
        match moved {
            Ok(start) => {
                let kept = Stamped { start, size: block.size.min(size).min(2048), number: block.number };
                assert!(kept.is_whole(), "content was lost on the way to {start:?}");
                self.number += 1;
                self.mine.push(Stamped::new(start, size, self.number));
            }
            Err(error) => {
                self.refused(error);
                self.mine.push(block);
            }
        }
    }

    /// Blocks in a column that will be reset: some are freed again, others are left to the reset.
    fn leave_in_a_pool(&mut self) {
        if self.shared.pools.is_empty() {
            return;
        }
        let at = self.random.below(self.shared.pools.len());
        let id = ColumnId::new(self.shared.scenario.columns - self.shared.scenario.reset + at as u32);
        let pool = &self.shared.pools[at];
        let _in_use = pool.in_use.read().expect("a pool");
        for _ in 0..self.random.below(20) {
            let layout = Layout::from_size_align(self.random.size(), self.random.align()).expect("a layout");
            let spike = self.random.spike();
            match self.arena.alloc(Some(id), layout, spike) {
                Ok(start) => self.keep(start, layout.size(), layout.align()),
                Err(error) => {
                    self.refused(error);
                    continue;
                }
            }
            let block = self.mine.pop().expect("just kept");
            let mut left = pool.left.lock().expect("a pool");
            if left.len() > 200 || self.random.one_in(3) {
                drop(left);
                self.free(&block);
            } else {
                left.push(block);
            }
        }
    }

    fn reset_a_pool(&mut self) {
        if self.shared.pools.is_empty() {
            return;
        }
        let at = self.random.below(self.shared.pools.len());
        let id = ColumnId::new(self.shared.scenario.columns - self.shared.scenario.reset + at as u32);
        let Ok(_alone) = self.shared.pools[at].in_use.try_write() else { return };
        // Whoever looks for memory may have the column for a moment.
        let Ok(column) = self.arena.column(id) else { return };
        let mut left = self.shared.pools[at].left.lock().expect("a pool");
        for _ in 0..self.random.below(50) {
            let (size, spike) = (self.random.size(), self.random.spike());
            if let Ok(start) = column.alloc(size, 16, spike) {
                self.number += 1;
                left.push(Stamped::new(start, size, self.number));
            }
        }
        check_walk(&column, left.iter());
        assert!(left.iter().all(Stamped::is_whole));
        left.clear();
        // SAFETY: nobody but us knows of blocks in this column, and we have forgotten them.
        unsafe { column.reset() };
        column.walk(|block| panic!("{block:?} was not freed by the reset"));
    }
}

/// A walk shows exactly these blocks.
fn check_walk<'b>(column: &Column<'_>, blocks: impl Iterator<Item = &'b Stamped>) {
    let mut known: Vec<usize> = blocks.map(|block| block.start.addr().get()).collect();
    known.sort_unstable();
    let mut seen = Vec::new();
    column.walk(|block| {
        seen.push(block.start.addr().get());
        true
    });
    assert_eq!(seen, known, "the walk of {:?} shows other blocks than there are", column.id());
}

/// Threads at work for a while; then everything is checked, freed, and checked again.
fn work(arena: &Arena, scenario: Scenario, seed: u64, time: Duration) {
    let shared = Shared {
        arena,
        scenario,
        mail: (0..scenario.threads).map(|_| Mutex::default()).collect(),
        handed_over: Mutex::default(),
        pools: (0..scenario.reset).map(|_| Pool::default()).collect(),
        stop: AtomicBool::new(false),
    };
    let blocks: Vec<Stamped> = std::thread::scope(|scope| {
        let shared = &shared;
        let threads: Vec<_> = (0..scenario.threads as u64)
            .map(|thread| {
                let random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (thread + 1) << 40 ^ 0x9e37_79b9);
                let number = thread << 48;
                let worker = Worker { shared, arena: shared.arena, random, number, column: None, mine: Vec::new() };
                scope.spawn(move || worker.run())
            })
            .collect();
        let end = Instant::now() + time;
        while Instant::now() < end && !threads.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(5));
        }
        shared.stop.store(true, Relaxed);
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread failed")).collect()
    });
    let in_mail = shared.mail.into_iter().flat_map(|mail| mail.into_inner().expect("a mailbox"));
    let left = shared.pools.into_iter().flat_map(|pool| pool.left.into_inner().expect("a pool"));
    let blocks: Vec<Stamped> = blocks.into_iter().chain(in_mail).chain(left).collect();
    drop(shared.handed_over);

    arena.verify().expect("after the work");
    assert_eq!(arena.metrics().live_blocks(), blocks.len() as u64);
    assert!(blocks.iter().all(Stamped::is_whole));
    let mut shown = Vec::new();
    for index in 0..scenario.columns {
        arena.limit_column(ColumnId::new(index), None).expect("a column of the arena");
        let column = arena.column(ColumnId::new(index)).expect("everybody has released");
        column.walk(|block| {
            shown.push(block.start.addr().get());
            true
        });
    }
    let mut known: Vec<usize> = blocks.iter().map(|block| block.start.addr().get()).collect();
    shown.sort_unstable();
    known.sort_unstable();
    assert!(shown == known, "the walks show {} blocks, there are {}", shown.len(), known.len());

    for block in blocks {
        // SAFETY: the block is ours, and nobody uses it afterwards.
        unsafe { arena.free(block.start) }.expect("a block");
    }
    arena.verify().expect("with all freed");
    let metrics = arena.metrics();
    assert_eq!((metrics.bytes_live, metrics.live_blocks()), (0, 0), "{metrics:?}");
}

#[test]
fn threads_never_get_a_block_twice_and_never_lose_one() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seconds = number("ENGRAM_STRESS_SECONDS").unwrap_or(3);
    let first = number("ENGRAM_STRESS_SEED").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    for seed in first.. {
        let scenario = SCENARIOS[seed as usize % SCENARIOS.len()];
        eprintln!("seed {seed}, {scenario:?}");
        let arena = Arena::builder()
            .capacity(scenario.capacity)
            .columns(scenario.columns)
            .zero_freed(scenario.zero_freed)
            .build()
            .expect("an arena");
        for again in 0..2 {
            work(&arena, scenario, seed * 2 + again, Duration::from_millis(200));
        }
        // Nothing was lost: all of it can be had in one piece.
        arena.maintain(Duration::MAX).expect("nobody else maintains");
        let layout = Layout::from_size_align(scenario.capacity, 16).expect("a layout");
        let whole = arena.alloc(None, layout, SpikeTime::NONE).expect("the whole arena");
        // SAFETY: the block is ours, and nobody uses it afterwards.
        unsafe { arena.free(whole) }.expect("a block");
        arena.verify().expect("at the end");
        if Instant::now() >= end {
            break;
        }
    }
}

/// Who holds a column, fills it and rests, and who frees its blocks and takes its spans for other columns.
struct Scarce<'a> {
    arena: &'a Arena,
    /// The resting holder's blocks, on their way to who frees them.
    mail: Mutex<Vec<Stamped>>,
    /// How many of them are not freed yet.
    abroad: AtomicUsize,
    stop: AtomicBool,
}

/// Few slots a span, a few dozen, many; slots in runs; runs of one slot.
const SCARCE_SIZES: [usize; 9] = [4096, 2048, 1024, 512, 500, 128, 5000, 36 << 10, 200 << 10];

impl Scarce<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn free(&self, block: &Stamped) {
        assert!(block.is_whole(), "somebody wrote into {:?} ({} bytes)", block.start, block.size);
        // SAFETY: the block is ours, and nobody uses it afterwards.
        unsafe { self.arena.free(block.start) }.expect("it is handed out");
    }

    fn wait_until_all_is_freed(&self) {
        while self.abroad.load(Acquire) != 0 && !self.stopped() {
            std::thread::yield_now();
        }
    }

    /// Holds column 0, in which nobody else allocates.
    fn rest(&self, mut random: Random) -> Vec<Stamped> {
        let mut number = 0;
        let mut mine: Vec<Stamped> = Vec::new();
        let mut column = None;
        while !self.stopped() {
            if column.is_none() {
                // Whoever looks for memory may have it for a moment.
                column = self.arena.column(ColumnId::new(0)).ok();
            }
            let Some(held) = &column else { continue };
            let size = SCARCE_SIZES[random.below(SCARCE_SIZES.len())];
            let some = if random.one_in(3) { 1 + random.below(300) } else { usize::MAX };
            let spike = random.spike();
            let given = core::iter::from_fn(|| held.alloc(size, 16, spike).ok());
            mine.extend(given.take(some).map(|start| {
                number += 1;
                Stamped::new(start, size, number)
            }));
            let keep = if random.one_in(2) { 0 } else { random.below(4) };
            let sent = mine.split_off(keep.min(mine.len()));
            self.abroad.fetch_add(sent.len(), Relaxed);
            self.mail.lock().expect("the mail").extend(sent);
            match random.below(8) {
                0..3 => {
                    self.wait_until_all_is_freed();
                    std::thread::sleep(Duration::from_micros(random.below(1500) as u64));
                }
                3 => {
                    for block in mine.drain(..) {
                        assert!(block.is_whole());
                        // SAFETY: the block is ours, and nobody uses it afterwards.
                        unsafe { held.free(block.start) }.expect("it is handed out");
                    }
                }
                4..6 => {
                    self.wait_until_all_is_freed();
                    if self.abroad.load(Acquire) == 0 {
                        check_walk(held, mine.iter());
                        assert!(mine.iter().all(Stamped::is_whole));
                        mine.clear();
                        // SAFETY: nobody but us knows of blocks in this column, and we have forgotten them.
                        unsafe { held.reset() };
                        held.walk(|block| panic!("{block:?} was not freed by the reset"));
                    }
                }
                6 if random.one_in(16) => column = None,
                _ => (),
            }
        }
        mine
    }

    /// Frees the holder's blocks, and allocates in the other columns until refused.
    fn take(&self, mut random: Random, mut number: u64) -> Vec<Stamped> {
        let mut mine: Vec<Stamped> = Vec::new();
        while !self.stopped() {
            let mail = {
                let mut mail = self.mail.lock().expect("the mail");
                let some = if random.one_in(2) { mail.len() } else { 1 + random.below(64) };
                let left = mail.len().saturating_sub(some);
                mail.split_off(left)
            };
            for block in mail {
                self.free(&block);
                self.abroad.fetch_sub(1, Release);
            }
            let id = ColumnId::new(1 + random.below(2) as u32);
            let size = SCARCE_SIZES[random.below(SCARCE_SIZES.len())];
            let mut out = [null_mut(); 64];
            let count = 1 + random.below(out.len());
            if random.one_in(4) {
                let request = Request { size: size.min(4096), align: 16, column: Some(id), spike: random.spike() };
                let _ = self.arena.alloc_batch(&vec![request; count], BatchFlags::ORDERED, &mut out[..count]);
            } else {
                let layout = Layout::from_size_align(size, 16).expect("a layout");
                for p in &mut out[..count] {
                    let Ok(start) = self.arena.alloc(Some(id), layout, SpikeTime::NONE) else { break };
                    *p = start.as_ptr();
                }
            }
            let refused = out[count - 1].is_null();
            for start in out.into_iter().filter_map(NonNull::new) {
                number += 1;
                mine.push(Stamped::new(start, size.min(4096), number));
            }
            if refused {
                // Most of them, one here and there, or all.
                let (one_in, times) = (1 + random.below(8), if random.one_in(3) { mine.len() } else { mine.len() / 2 });
                for _ in 0..times {
                    let block = mine.swap_remove(random.below(mine.len()));
                    if one_in > 4 && random.one_in(one_in) {
                        mine.push(block);
                    } else {
                        self.free(&block);
                    }
                }
            }
        }
        mine
    }
}

#[test]
fn spans_are_taken_away_from_a_holder_who_rests_and_nothing_is_given_twice() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seconds = number("ENGRAM_STRESS_SECONDS").unwrap_or(3);
    let first = number("ENGRAM_STRESS_SEED").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    for seed in first.. {
        let capacity = [2 << 20, 4 << 20, 6 << 20][seed as usize % 3];
        let zero_freed = seed.is_multiple_of(4);
        eprintln!("seed {seed}, {capacity} bytes");
        let arena = Arena::builder().capacity(capacity).columns(3).zero_freed(zero_freed).build().expect("an arena");
        let scarce = Scarce { arena: &arena, mail: Mutex::default(), abroad: AtomicUsize::new(0), stop: AtomicBool::new(false) };
        let blocks: Vec<Stamped> = std::thread::scope(|scope| {
            let scarce = &scarce;
            let random = |thread: u64| Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (thread + 1) << 40 ^ 0x9e37_79b9);
            let threads = [0, 1, 2, 3].map(|thread| {
                scope.spawn(move || if thread == 0 { scarce.rest(random(0)) } else { scarce.take(random(thread), thread << 48) })
            });
            let until = Instant::now() + Duration::from_millis(200);
            while Instant::now() < until && !threads.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                std::thread::sleep(Duration::from_millis(5));
            }
            scarce.stop.store(true, Relaxed);
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread failed")).collect()
        });
        arena.verify().expect("after the work");
        let left = scarce.mail.into_inner().expect("the mail");
        assert_eq!(arena.metrics().live_blocks(), (blocks.len() + left.len()) as u64);
        for block in blocks.iter().chain(&left) {
            assert!(block.is_whole());
            // SAFETY: the block is ours, and nobody uses it afterwards.
            unsafe { arena.free(block.start) }.expect("a block");
        }
        arena.verify().expect("with all freed");
        let metrics = arena.metrics();
        assert_eq!((metrics.bytes_live, metrics.live_blocks()), (0, 0), "{metrics:?}");
        // Nothing was lost: all of it can be had in one piece.
        let layout = Layout::from_size_align(capacity, 16).expect("a layout");
        let whole = arena.alloc(None, layout, SpikeTime::NONE).expect("the whole arena");
        // SAFETY: the block is ours, and nobody uses it afterwards.
        unsafe { arena.free(whole) }.expect("a block");
        arena.verify().expect("at the end");
        if Instant::now() >= end {
            break;
        }
    }
}

/// A snapshot that finds a slot in a stack before it was counted would have 2^64 allocations, less one.
/// A thread may be interrupted while it tells of what it freed, for as long as others run. That must not hide from them what is freed
/// meanwhile: they would take ever more memory for the few blocks that they keep. And snapshots tell of no more than those blocks,
/// whoever is interrupted.
#[test]
fn threads_that_keep_few_blocks_are_never_refused_while_one_is_interrupted() {
    const KEEP: usize = 64;
    /// What is live at most, and as much again that is on its way.
    const MOST: u64 = 2 * 4 * KEEP as u64 * 4096;
    let arena = Arena::builder().capacity(16 << 20).columns(1).build().expect("there is memory");
    let layout = Layout::from_size_align(4096, 16).expect("a block's");
    let end = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        for seed in 1..5 {
            let arena = &arena;
            scope.spawn(move || {
                let mut random = Random(seed);
                let mut kept = Vec::new();
                while Instant::now() < end {
                    for _ in 0..1000 {
                        if kept.len() < KEEP && random.one_in(2) {
                            kept.push(arena.alloc(Some(ColumnId::new(0)), layout, SpikeTime::NONE).expect("nearly all is free"));
                        } else if !kept.is_empty() {
                            // SAFETY: this thread's own block, forgotten.
                            unsafe { arena.free(kept.swap_remove(random.below(kept.len()))) }.expect("it is handed out");
                        }
                    }
                }
            });
        }
        while Instant::now() < end {
            let live = arena.metrics().bytes_live;
            assert!(live <= MOST, "{live}");
        }
    });
    assert!(arena.verify().is_ok());
    let peak = arena.metrics().bytes_peak;
    assert!(peak <= MOST, "{peak}");
}

#[test]
fn a_snapshot_is_never_absurd_while_a_holder_is_at_work() {
    const SIZES: usize = 64;
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let arena = Arena::builder().capacity(8 << 20).columns(1).build().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let column = arena.column(ColumnId::new(0)).unwrap();
                for turn in 0..20 {
                    // First uses of cells: the counts are smallest.
                    for size in (1..=SIZES).map(|size| size * 16) {
                        let block = column.alloc(size, 16, SpikeTime::from_nanos(turn << 20)).unwrap();
                        // SAFETY: ours, and not used again.
                        unsafe { column.free(block).unwrap() };
                    }
                }
                done.store(true, Release);
            });
            while !done.load(Acquire) {
                let metrics = arena.metrics();
                // The free that is going on may be counted twice: as held back, and as made.
                assert!(metrics.allocs <= 20 * SIZES as u64 + 1, "{metrics:?}");
            }
        });
        assert_eq!(arena.metrics().live_blocks(), 0);
    }
}
