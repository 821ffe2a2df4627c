//! Each operation, killed after each of its instructions.

use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Instant;

use engram::{Arena, ArenaBuilder};

use super::super::child::{Child, Stop, stay_on_one_processor, stop_to_be_stepped};
use super::super::folder::Folder;
use super::file::Mapped;
use super::judge;
use super::operations::{ALL, Operation, Stage};
use super::table::{Place, Table};

/// Each operation is killed in earnest at so many of its instructions: fewer of one that is long, if it has not been
/// asked for all.
fn kills(instructions: usize) -> usize {
    if std::env::var_os("ENGRAM_CRASH_ALL").is_some() { 10 } else { (50_000 / instructions).clamp(2, 10) }
}

/// Beyond so many instructions, there is something wrong with the test.
const TOO_MANY: usize = 1_000_000;

pub(crate) fn builder() -> ArenaBuilder {
    Arena::builder().capacity(8 << 20).columns(2)
}

/// The child's side: opens the arena and runs the operation, with `begin` before what is watched.
fn perform(operation: &Operation, path: &Path, table: &Table, begin: &dyn Fn()) {
    let arena = builder().path(path).build().unwrap();
    (operation.run)(&Stage { arena: &arena, table, begin });
    table.phase.store(2, Release);
    // SAFETY: always sound; the region is not closed, and the child does nothing more.
    unsafe { libc::_exit(0) };
}

/// A child that has stopped where the operation begins.
fn ready(operation: &Operation, path: &Path, table: &Table) -> Child {
    let _ = std::fs::remove_file(path);
    table.clear();
    let mut child = Child::fork(|| {
        perform(operation, path, table, &|| {
            stop_to_be_stepped();
            table.phase.store(1, Release);
        });
    });
    assert_eq!(child.wait(), Stop::Signal(libc::SIGSTOP), "{}", operation.name);
    child
}

/// What is compared at each instruction: whatever bears on the outcome.
pub(crate) struct Watched<'a> {
    region: &'a Mapped,
    table: &'a Table,
    metadata: usize,
    last: Vec<u8>,
    entries: Vec<u8>,
    names: Vec<usize>,
}

impl<'a> Watched<'a> {
    pub(crate) fn new(region: &'a Mapped, table: &'a Table) -> Self {
        Self { region, table, metadata: region.metadata(), last: Vec::new(), entries: Vec::new(), names: Vec::new() }
    }

    /// What the places name that lie in user memory. (Nothing else there bears on the outcome before the table says so.)
    fn names(&self) -> Vec<usize> {
        let places = self.table.entries.iter().map(|entry| Place::of(entry.place.load(Relaxed)));
        let words = places.filter_map(|place| if let Place::Word(offset) = place { Some(offset) } else { None });
        words.map(|offset| self.region.user_word(offset)).collect()
    }

    /// Whether anything has changed since the last call.
    pub(crate) fn changed(&mut self) -> bool {
        let bytes = self.region.bytes();
        let parts = [&bytes[..4096], &bytes[self.metadata..]];
        let names = self.names();
        let entries = self.table.bytes();
        if self.last.len() == parts[0].len() + parts[1].len()
            && self.last[..4096] == *parts[0]
            && self.last[4096..] == *parts[1]
            && self.names == names
            && self.entries == entries
        {
            return false;
        }
        self.last.clear();
        for part in parts {
            self.last.extend_from_slice(part);
        }
        entries.clone_into(&mut self.entries);
        self.names = names;
        true
    }
}

/// Opens a file whose process is gone, and judges it.
pub(crate) fn recover(path: &Path, table: &Table, fresh: usize) -> Result<(), String> {
    let arena = builder().path(path).build().map_err(|error| error.to_string())?;
    if !arena.was_recovered() {
        return Err("it was not recovered".to_owned());
    }
    judge::judge(&arena, table)?;
    judge::goes_on(&arena)?;
    judge::empty(&arena, fresh)
}

/// Steps through an operation; returns its instructions and the states of the region that were judged.
fn step_through(operation: &Operation, folder: &Folder, table: &Table, fresh: usize) -> (usize, usize) {
    let (path, copied) = (folder.file("region"), folder.file("copy"));
    let mut child = ready(operation, &path, table);
    let region = Mapped::new(&path, 0);
    let _ = std::fs::remove_file(&copied);
    let mut copy = Mapped::new(&copied, region.len());
    let mut watched = Watched::new(&region, table);
    let (mut instructions, mut states) = (0, 0);
    while table.phase.load(Acquire) != 2 {
        child.step();
        if table.phase.load(Acquire) == 0 {
            continue;
        }
        instructions += 1;
        assert!(instructions < TOO_MANY, "{}: more than {TOO_MANY} instructions", operation.name);
        if watched.changed() {
            states += 1;
            copy.copy_from(&region);
            if let Err(why) = recover(&copied, table, fresh) {
                panic!("{}, killed after instruction {instructions}: {why}", operation.name);
            }
        }
    }
    (instructions, states)
}

/// Kills a child after so many instructions of an operation.
fn kill_after(operation: &Operation, path: &Path, table: &Table, instructions: usize) {
    let mut child = ready(operation, path, table);
    let mut done = 0;
    // The standard library does not take the same steps each time.
    while done < instructions && table.phase.load(Acquire) != 2 {
        child.step();
        done += usize::from(table.phase.load(Acquire) != 0);
    }
    assert_eq!(child.kill(), Stop::Killed(libc::SIGKILL));
}

/// Kills a child after so many `parts` of the instructions of an operation, and leaves its file.
pub(crate) fn crash(operation: &Operation, path: &Path, table: &Table, part: usize, parts: usize) {
    let mut child = ready(operation, path, table);
    let mut instructions = 0;
    while table.phase.load(Acquire) != 2 {
        child.step();
        instructions += usize::from(table.phase.load(Acquire) == 1);
    }
    child.kill();
    kill_after(operation, path, table, instructions * part / parts);
}

pub(crate) fn all() {
    stay_on_one_processor();
    let folder = Folder::in_memory("crash-steps");
    let table = Table::shared();
    let fresh = judge::fresh(builder().path(folder.file("fresh")));
    let (start, mut total, mut total_states) = (Instant::now(), 0, 0);
    println!("| operation | kill points | states | killed in earnest | seconds |\n|---|---|---|---|---|");
    for operation in ALL {
        let start = Instant::now();
        let (instructions, states) = step_through(operation, &folder, table, fresh);
        let kills = kills(instructions);
        for kill in 0..kills {
            let after = 1 + (instructions - 1) * kill / (kills - 1);
            let path = folder.file("region");
            kill_after(operation, &path, table, after);
            if let Err(why) = recover(&path, table, fresh) {
                panic!("{}, really killed after instruction {after}: {why}", operation.name);
            }
        }
        println!("| {} | {instructions} | {states} | {kills} | {:.2} |", operation.name, start.elapsed().as_secs_f64());
        total += instructions;
        total_states += states;
    }
    println!("| all | {total} | {total_states} | | {:.2} |", start.elapsed().as_secs_f64());
}
