//! Recovery, killed too: what is recovered after that is the same.

use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use super::super::child::{Child, Stop, be_killed_after, stop_to_be_stepped};
use super::super::folder::Folder;
use super::super::promises::Random;
use super::file::Mapped;
use super::judge;
use super::operations::ALL;
use super::steps::{Watched, builder, crash, recover};
use super::table::Table;

/// Operations that leave something to settle when they are killed, and of how many parts of their instructions.
const KILLED: [(&str, usize, usize); 6] = [
    ("reset", 1, 2),
    ("taking back: 128 bytes", 1, 20),
    ("free: past a full stack", 1, 2),
    ("publication: beside others, and taken back", 1, 2),
    ("publication: large, and taken back", 9, 10),
    ("batch of 3, all or none, ordered", 1, 2),
];

/// Recoveries of each that are killed at random moments.
const KILLS: u32 = 40;

/// A child that opens a file, after `begin`.
fn opening(path: &Path, table: &Table, begin: impl FnOnce()) -> Child {
    table.phase.store(0, Release);
    Child::fork(|| {
        begin();
        table.phase.store(1, Release);
        let arena = builder().path(path).build().unwrap();
        table.phase.store(2, Release);
        core::mem::forget(arena);
        loop {
            std::thread::park();
        }
    })
}

/// What is in a region file once it is recovered.
fn recovered(path: &Path) -> judge::Blocks {
    judge::blocks(&builder().path(path).build().unwrap()).unwrap()
}

/// A recovery that was killed and is done again must find the same.
struct Scene<'a> {
    name: &'static str,
    table: &'a Table,
    fresh: usize,
    /// The file as the operation left it, and what is in it.
    crashed: &'a Path,
    expected: judge::Blocks,
    /// Of two processes: the one that is killed, and the one that judges.
    path: &'a Path,
    copied: &'a Path,
}

impl Scene<'_> {
    fn judge(&self, region: &Mapped, copy: &mut Mapped, when: &str) {
        // Once to look, and once to judge; each changes the copy.
        copy.copy_from(region);
        let found = recovered(self.copied);
        let lost: Vec<_> = self.expected.iter().filter(|&(offset, it)| found.get(offset) != Some(it)).collect();
        let new: Vec<_> = found.iter().filter(|&(offset, it)| self.expected.get(offset) != Some(it)).collect();
        assert!(lost.is_empty() && new.is_empty(), "{}: recovery, killed {when}: lost {lost:x?}, new {new:x?}", self.name);
        copy.copy_from(region);
        if let Err(why) = recover(self.copied, self.table, self.fresh) {
            panic!("{}: recovery, killed {when}: {why}", self.name);
        }
    }

    /// How long a recovery takes, so that it can be killed meanwhile.
    fn duration(&self, region: &mut Mapped, crashed: &Mapped) -> Duration {
        let once = |_| {
            region.copy_from(crashed);
            let start = Instant::now();
            drop(builder().path(self.path).build().unwrap());
            start.elapsed()
        };
        (0..3).map(once).min().unwrap()
    }

    /// Kills at random moments; returns how many recoveries were not done.
    fn kill(&self, random: &mut Random) -> usize {
        std::fs::copy(self.crashed, self.path).unwrap();
        let (crashed, mut copy) = (Mapped::new(self.crashed, 0), Mapped::new(self.copied, 0));
        let mut region = Mapped::new(self.path, 0);
        let most = self.duration(&mut region, &crashed).as_nanos() as usize;
        let mut midway = 0;
        for kill in 0..KILLS {
            region.copy_from(&crashed);
            let after = random.below(2 * most);
            let mut child = opening(self.path, self.table, || be_killed_after(after));
            assert_eq!(child.wait(), Stop::Killed(libc::SIGKILL));
            midway += usize::from(self.table.phase.load(Acquire) == 1);
            self.judge(&region, &mut copy, &format!("in earnest ({kill})"));
        }
        midway
    }

    /// Steps through a recovery, which takes minutes: most of it looks for what is not zero. Returns its instructions, and how many states were judged.
    fn step(&self) -> (usize, usize) {
        std::fs::copy(self.crashed, self.path).unwrap();
        let (region, mut copy) = (Mapped::new(self.path, 0), Mapped::new(self.copied, 0));
        let mut child = opening(self.path, self.table, stop_to_be_stepped);
        assert_eq!(child.wait(), Stop::Signal(libc::SIGSTOP));
        let mut watched = Watched::new(&region, self.table);
        let (mut instructions, mut states) = (0, 0);
        while self.table.phase.load(Acquire) != 2 {
            child.step();
            instructions += 1;
            if watched.changed() {
                states += 1;
                self.judge(&region, &mut copy, &format!("after instruction {instructions}"));
            }
        }
        (instructions, states)
    }
}

pub(crate) fn all() {
    let folder = Folder::in_memory("crash-recovery");
    let (path, copied, crashed) = (folder.file("region"), folder.file("copy"), folder.file("crashed"));
    let table = Table::shared();
    let fresh = judge::fresh(builder().path(folder.file("fresh")));
    let mut random = Random::of_now();
    println!("| recovery after | kills, midway | instructions | states judged | seconds |\n|---|---|---|---|---|");
    let mut killed_midway = 0;
    for (name, part, parts) in KILLED {
        let start = Instant::now();
        let operation = ALL.iter().find(|operation| operation.name == name).unwrap();
        crash(operation, &crashed, table, part, parts);
        std::fs::copy(&crashed, &copied).unwrap();
        let expected = recovered(&copied);
        let scene = Scene { name, table, fresh, crashed: &crashed, expected, path: &path, copied: &copied };
        let midway = scene.kill(&mut random);
        killed_midway += midway;
        let (instructions, states) = if std::env::var_os("ENGRAM_CRASH_ALL").is_some() { scene.step() } else { (0, 0) };
        println!("| {name} | {midway} of {KILLS} | {instructions} | {states} | {:.2} |", start.elapsed().as_secs_f64());
    }
    assert!(killed_midway > 0);
}
