//! Promise 9: **deterministic**: the same calls on one thread give the same offsets, on any machine,
//! in any run: in two arenas of one process, in two processes, after a reset and after maintenance.
//!
//! A choice that looks at an address, a clock, a random number, or at what another arena did would
//! break it.
#![cfg(not(any(loom, miri)))]

#[path = "common/promises.rs"]
mod promises;

use core::ptr::{NonNull, null_mut};
use std::time::Duration;

use engram::{Arena, BatchFlags, Column, Maintained, Request, SpikeTime};
use promises::{Random, arena, column, held, is_child, layout, run_again};

/// What opens the line with which a child says what it saw.
const LINE: &str = "offsets:";
const CAPACITY: usize = 32 << 20;
const REFUSED: usize = usize::MAX;

/// A run of calls, and the offset of every block that it was given.
struct Run<'a> {
    arena: &'a Arena,
    random: Random,
    live: Vec<NonNull<u8>>,
    offsets: Vec<usize>,
}

impl<'a> Run<'a> {
    fn on(arena: &'a Arena, seed: u64) -> Vec<usize> {
        let mut run = Self { arena, random: Random(seed), live: Vec::new(), offsets: Vec::new() };
        let holder = held(arena, 1);
        for _ in 0..60_000 {
            run.step(&holder);
        }
        drop(holder);
        for _ in 0..10_000 {
            run.unheld();
        }
        run.note_walk();
        run.offsets
    }

    fn note(&mut self, block: Option<NonNull<u8>>) {
        self.offsets.push(block.map_or(REFUSED, |block| self.arena.offset_of(block.as_ptr()).expect("in the arena")));
        self.live.extend(block);
    }

    fn step(&mut self, holder: &Column) {
        let (size, align, spike) = (self.random.size(), 1 << self.random.below(16), self.random.spike());
        match self.random.below(16) {
            0..6 => self.note(holder.alloc(size, 16, spike).ok()),
            6 => self.note(holder.alloc(size, align, spike).ok()),
            7 => self.note(self.arena.alloc(Some(column(1)), layout(size, 16), spike).ok()),
            8 => self.unheld(),
            9 => self.batch(size % 512 + 1),
            10..13 => self.free(|block| holder_free(holder, block)),
            13 => self.resize(holder, size),
            _ => self.free(|block| arena_free(self.arena, block)),
        }
        if self.live.len() > 4000 {
            self.free(|block| holder_free(holder, block));
        }
    }

    fn unheld(&mut self) {
        let (size, spike) = (self.random.size(), self.random.spike());
        let column = [None, Some(column(0)), Some(column(3))][self.random.below(3)];
        self.note(self.arena.alloc(column, layout(size, 16), spike).ok());
        self.free(|block| arena_free(self.arena, block));
    }

    fn batch(&mut self, size: usize) {
        let flags = [BatchFlags::empty(), BatchFlags::ORDERED][self.random.below(2)];
        let requests: [_; 20] = core::array::from_fn(|index| Request {
            size: size + index,
            align: 16,
            column: Some(column(index as u32 % 4)),
            spike: self.random.spike(),
        });
        let mut out = [null_mut(); 20];
        // Refused requests are null, which is noted too.
        let _ = self.arena.alloc_batch(&requests, flags, &mut out);
        for block in out {
            self.note(NonNull::new(block));
        }
    }

    fn resize(&mut self, holder: &Column, size: usize) {
        if let Some(block) = self.any() {
            // SAFETY: the run's own block; its address is forgotten.
            let block = unsafe { holder.realloc(block, size, SpikeTime::NONE) }.unwrap_or(block);
            self.note(Some(block));
        }
    }

    fn free(&mut self, free: impl FnOnce(NonNull<u8>)) {
        if let Some(block) = self.any() {
            free(block);
        }
    }

    /// Any live block, which is live no more.
    fn any(&mut self) -> Option<NonNull<u8>> {
        let index = self.random.below(self.live.len().max(1));
        (index < self.live.len()).then(|| self.live.swap_remove(index))
    }

    /// Notes every block that is live at the end.
    fn note_walk(&mut self) {
        for index in 0..self.arena.columns() {
            held(self.arena, index).walk(|block| {
                self.offsets.push(self.arena.offset_of(block.start.as_ptr()).expect("in the arena"));
                true
            });
        }
    }
}

fn holder_free(holder: &Column, block: NonNull<u8>) {
    // SAFETY: the run's own block, forgotten.
    unsafe { holder.free(block) }.expect("it is handed out");
}

fn arena_free(arena: &Arena, block: NonNull<u8>) {
    // SAFETY: the run's own block, forgotten.
    unsafe { arena.free(block) }.expect("it is handed out");
}

fn reset(arena: &Arena) {
    for index in 0..arena.columns() {
        // SAFETY: nothing uses the blocks of a run that is over.
        unsafe { held(arena, index).reset() };
    }
}

/// The offsets of a run, of one after a reset, and of one after maintenance.
fn three_runs(arena: &Arena) -> [Vec<usize>; 3] {
    let first = Run::on(arena, 1);
    reset(arena);
    let second = Run::on(arena, 2);
    reset(arena);
    assert_eq!(arena.maintain(Duration::from_secs(60)), Ok(Maintained::All));
    let third = Run::on(arena, 3);
    arena.verify().expect("every invariant holds");
    [first, second, third]
}

/// FNV-1a over all offsets.
fn digest(offsets: &[usize]) -> u64 {
    let step = |hash: u64, &offset: &usize| (hash ^ offset as u64).wrapping_mul(0x0000_0100_0000_01b3);
    offsets.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[test]
fn two_arenas_give_the_same_offsets_to_the_same_calls() {
    let (one, other) = (arena(CAPACITY), arena(CAPACITY));
    let (of_one, of_other) = (three_runs(&one), three_runs(&other));
    for (one, other) in of_one.iter().zip(&of_other) {
        let first = one.iter().zip(other).position(|(one, other)| one != other);
        assert_eq!(first, None, "the first block that lies elsewhere");
        assert_eq!(one.len(), other.len());
    }
    let refused = of_one[0].iter().filter(|&&offset| offset == REFUSED).count();
    assert!(of_one[0].len() > 50_000 && refused > 0, "the run met exhaustion: {refused}");
}

#[test]
fn two_arenas_give_the_same_offsets_though_a_third_is_busy_in_between() {
    let (one, other, busy) = (arena(CAPACITY), arena(CAPACITY), arena(CAPACITY));
    let first = Run::on(&one, 4);
    Run::on(&busy, 5);
    assert_eq!(digest(&first), digest(&Run::on(&other, 4)));
}

#[test]
fn two_processes_give_the_same_offsets_to_the_same_calls() {
    let said = || {
        let output = run_again("two_processes_say_what_offsets_they_give");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|line| Some(line.split_once(LINE)?.1.to_owned())).unwrap_or_else(|| panic!("{text}"))
    };
    let one = said();
    assert_eq!(one, said());
    assert!(one.split_whitespace().count() == 3, "{one}");
}

/// In a child of the test above; alone, that a run can be described at all.
#[test]
fn two_processes_say_what_offsets_they_give() {
    let digests = three_runs(&arena(CAPACITY)).map(|offsets| format!("{:016x}", digest(&offsets)));
    if is_child() {
        println!("\n{LINE} {}", digests.join(" "));
    }
}
