//! Children with two threads that do all that can be done, killed at random moments.

use std::path::Path;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::{Duration, Instant};

use engram::{Arena, ArenaBuilder, BatchFlags, Column, ColumnId, Request, SpikeTime};

use super::super::child::{Child, Stop};
use super::super::folder::Folder;
use super::super::promises::Random;
use super::judge;
use super::operations::{column, layout};
use super::table::{ENTRIES, Place, Table, Taken, state};

/// Entries of the blocks of the column that is reset.
const RESET: core::ops::Range<usize> = 0..24;
/// Of the block whose words are places.
const PLACES: usize = 24;
/// Of blocks that are published in roots, and at those words.
const IN_ROOTS: core::ops::Range<usize> = 32..48;
const IN_WORDS: core::ops::Range<usize> = 48..PUBLISHED;
const PUBLISHED: usize = 112;
/// The column that is reset.
const RESET_COLUMN: u32 = 2;
/// Rounds after which everything is freed and begun anew.
const CHAIN: usize = 4;
/// Stamped bytes of a block at most.
const STAMPED: u64 = 4096;

fn builder() -> ArenaBuilder {
    Arena::builder().capacity(16 << 20).columns(3)
}

/// A thread of the child: the first holds column 0, the other none.
struct Worker<'a> {
    arena: &'a Arena,
    table: &'a Table,
    random: Random,
    places: usize,
}

impl<'a> Worker<'a> {
    /// Holds a column; the other thread may have it for one operation.
    fn hold(&self, index: u32) -> Column<'a> {
        loop {
            if let Ok(held) = self.arena.column(ColumnId::new(index)) {
                return held;
            }
        }
    }

    fn run(&mut self, holds: bool) -> ! {
        self.table.phase.fetch_add(1, AcqRel);
        loop {
            let held = holds.then(|| self.hold(0));
            for _ in 0..self.random.below(1000) {
                self.step(held.as_ref());
            }
            if held.is_some() {
                drop(held);
                self.reset();
            }
        }
    }

    fn step(&mut self, held: Option<&Column<'_>>) {
        let index = IN_ROOTS.start + self.random.below(ENTRIES - IN_ROOTS.start);
        let Some(entry) = self.table.take(index) else { return };
        match (index, entry.state()) {
            (0..PUBLISHED, state::EMPTY) => {
                let place = if IN_ROOTS.contains(&index) {
                    Place::Root(index - IN_ROOTS.start)
                } else {
                    Place::Word(self.places + 8 * (index - IN_WORDS.start))
                };
                entry.publish(self.arena, self.random.below(2) as u32, self.random.size(), place);
            }
            (0..PUBLISHED, _) => {
                entry.check(self.arena);
                entry.unpublish(self.arena);
            }
            (_, state::EMPTY) if self.random.below(16) == 0 => self.batch(entry),
            (_, state::EMPTY) => {
                let (size, spike) = (self.random.size(), self.random.spike());
                if let Some(held) = held {
                    entry.alloc(self.arena, 0, size, || held.alloc(size, 16, spike));
                } else {
                    let index = self.random.below(2) as u32;
                    entry.alloc(self.arena, index, size, || self.arena.alloc(column(index), layout(size), spike));
                }
            }
            (_, _) => {
                entry.check(self.arena);
                if self.random.below(4) == 0 {
                    let (size, spike) = (self.random.size(), self.random.spike());
                    entry.realloc(self.arena, size, |p| {
                        // SAFETY: ours, and the old address is not used afterwards.
                        unsafe { held.map_or_else(|| self.arena.realloc(p, size, spike), |held| held.realloc(p, size, spike)) }
                    });
                } else {
                    entry.free(self.arena, |p| {
                        // SAFETY: ours, and not used afterwards.
                        unsafe { held.map_or_else(|| self.arena.free(p), |held| held.free(p)) }
                    });
                }
            }
        }
    }

    /// Up to three blocks in one call.
    fn batch(&mut self, first: Taken<'_>) {
        let from = IN_WORDS.end + self.random.below(ENTRIES - IN_WORDS.end - 2);
        let more = (from..from + 2).filter_map(|index| self.table.take(index)).filter(|entry| entry.state() == state::EMPTY);
        let entries: Vec<_> = core::iter::once(first).chain(more).collect();
        let mut requests = Vec::new();
        for _ in &entries {
            let index = self.random.below(2) as u32;
            requests.push(Request { size: self.random.size(), align: 16, column: column(index), spike: self.random.spike() });
        }
        let mut out = vec![core::ptr::null_mut(); entries.len()];
        let flags = [BatchFlags::empty(), BatchFlags::ATOMIC, BatchFlags::ORDERED][self.random.below(3)];
        for (entry, request) in entries.iter().zip(&requests) {
            entry.intend(request.column.unwrap().index(), request.size);
        }
        // What was refused is null.
        let _ = self.arena.alloc_batch(&requests, flags, &mut out);
        for (entry, p) in entries.iter().zip(out) {
            entry.given(self.arena, core::ptr::NonNull::new(p));
        }
    }

    /// Fills a column with blocks of all kinds, and resets it.
    fn reset(&mut self) {
        let held = self.hold(RESET_COLUMN);
        for index in RESET {
            let entry = self.table.take(index).unwrap();
            let (size, spike) = (self.random.size(), self.random.spike());
            match (entry.state(), index % 3) {
                (state::EMPTY, 0) => {
                    entry.alloc(self.arena, RESET_COLUMN, size, || self.arena.alloc(column(RESET_COLUMN), layout(size), spike));
                }
                (state::EMPTY, _) => {
                    entry.alloc(self.arena, RESET_COLUMN, size, || held.alloc(size, 16, spike));
                }
                // SAFETY: ours, and not used afterwards.
                (_, 0) => entry.free(self.arena, |p| unsafe { self.arena.free(p) }),
                // SAFETY: as above.
                (_, 1) => entry.free(self.arena, |p| unsafe { held.free(p) }),
                _ => entry.check(self.arena),
            }
        }
        // SAFETY: the column's blocks are ours, and not used afterwards.
        self.table.reset(RESET_COLUMN, || unsafe { held.reset() });
    }
}

/// The child: two threads, until it is killed.
fn child(path: &Path, table: &Table, seed: u64) {
    let arena = builder().path(path).build().unwrap();
    let entry = table.take(PLACES).unwrap();
    if entry.state() == state::EMPTY {
        let bytes = 8 * IN_WORDS.len();
        assert!(entry.alloc(&arena, 1, bytes, || arena.alloc(column(1), layout(bytes), SpikeTime::NONE)));
        entry.make_places(&arena);
    }
    let places = arena.offset_of(entry.block(&arena).as_ptr()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let random = Random(seed * 2 + thread + 1);
            let mut worker = Worker { arena: &arena, table, random, places };
            scope.spawn(move || {
                // A panic in one thread would wait for the other.
                let run = std::panic::AssertUnwindSafe(|| worker.run(thread == 0));
                let _ = std::panic::catch_unwind(run);
                // SAFETY: always sound.
                unsafe { libc::_exit(101) };
            });
        }
    });
}

/// How many entries were in the middle of something.
fn in_flight(table: &Table) -> usize {
    let at_rest = [state::EMPTY, state::LIVE, state::PUBLISHED];
    table.entries.iter().filter(|entry| !at_rest.contains(&entry.state.load(Acquire))).count()
}

pub(crate) fn all(rounds: usize) {
    // The disk's file system: the other test has files in memory.
    let folder = Folder::new("crash-churn");
    let path = folder.file("region");
    let fresh = judge::fresh(builder().path(folder.file("fresh")));
    let table = Table::shared();
    table.clear();
    table.stamp_limit.store(STAMPED, Relaxed);
    let mut random = Random::of_now();
    let (start, mut blocks, mut flying, mut kept) = (Instant::now(), 0, 0, 0);
    for round in 0..rounds {
        let seed = random.next() >> 2;
        let mut running = Child::fork(|| child(&path, table, seed));
        while table.phase.load(Acquire) != 2 {
            assert!(!running.has_ended(), "round {round}: the child ended by itself");
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(random.below(20_000) as u64));
        assert_eq!(running.kill(), Stop::Killed(libc::SIGKILL), "round {round}");
        let arena = builder().path(&path).build().unwrap_or_else(|error| panic!("round {round}, seed {seed}: {error}"));
        assert!(arena.was_recovered());
        flying += in_flight(table);
        let verdict = judge::judge(&arena, table).unwrap_or_else(|why| panic!("round {round}, seed {seed}: {why}"));
        blocks += verdict.alive.len();
        kept += verdict.unknown.len();
        table.settle(&verdict.alive);
        for offset in verdict.unknown {
            // SAFETY: nobody's block.
            unsafe { arena.free(core::ptr::NonNull::new(arena.at(offset).unwrap()).unwrap()) }.unwrap();
        }
        if round % CHAIN == CHAIN - 1 {
            judge::empty(&arena, fresh).unwrap_or_else(|why| panic!("round {round}, seed {seed}: {why}"));
            drop(arena);
            std::fs::remove_file(&path).unwrap();
            table.clear();
            table.stamp_limit.store(STAMPED, Relaxed);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{rounds} kills, {flying} operations in flight, {kept} of them had given a block; {blocks} blocks kept; {seconds:.2} s");
    assert!(blocks > 0);
}
