//! Which work makes which line of the report.

use crate::adapters::Demand;
use crate::heap::Heap;
use crate::trace::{self, Trace};
use crate::workload::sizes::{EIGHT, FIXED, LARGE, MIXED, Sizes};
use crate::workload::{churn, growth, handoff, phases, replay, tail, threads, visits};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::rc::Rc;

const TRACES: [&str; 3] = ["brian_coba", "nest_brunel", "neuron_net"];

/// The work chosen.
pub struct Chosen {
    /// Done in this process, in turn.
    pub jobs: Vec<Job>,
    /// Done in a process for each allocator.
    pub residents: Vec<Resident>,
}

/// Work that fills a line, or several at once.
pub struct Job {
    /// The lines, in the order of what [`Job::run`] returns.
    pub lines: Vec<Name>,
    /// What it takes of an allocator.
    pub demand: Demand,
    work: Work,
}

/// Which line of the report it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Name {
    /// The part of the report.
    pub section: Section,
    /// What it is called there.
    pub text: String,
}

/// A trace whose memory is measured.
pub struct Resident {
    /// The line.
    pub line: Name,
    /// The trace's file.
    pub trace: PathBuf,
}

/// A part of the report.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Nanoseconds for an operation.
    Time,
    /// Cycles of single operations.
    Tail,
    /// Memory resident for memory asked for.
    Resident,
    /// Nanoseconds for a visit, in spike order.
    Visits,
    /// The same of the same blocks, in the order of their addresses.
    ByAddress,
}

enum Work {
    Phases(usize),
    Replace(usize, &'static Sizes),
    Growth,
    HandOff(usize, &'static Sizes),
    Threads(usize),
    Replay(Rc<Trace>),
    ReplayCold(Rc<Trace>),
    Tail(usize),
    Visits(usize),
}

impl Job {
    /// One turn: a value for each line. `seed` tells one round's random numbers from another's.
    pub fn run(&self, heap: &Heap, seed: u64) -> Vec<f64> {
        match &self.work {
            Work::Phases(count) => vec![phases::run(heap, *count)],
            Work::Replace(live, sizes) => vec![churn::run(heap, *live, sizes, seed)],
            Work::Growth => vec![growth::run(heap, seed)],
            Work::HandOff(frees, sizes) => vec![handoff::run(heap.peer(), *frees, sizes)],
            Work::Threads(count) => vec![threads::run(heap.peer(), *count, seed)],
            Work::Replay(trace) => vec![replay::run(heap, trace)],
            Work::ReplayCold(trace) => vec![replay::run_cold(heap, trace)],
            Work::Tail(live) => tail::run(heap, *live, seed).to_vec(),
            Work::Visits(size) => visits::run(heap, *size, seed),
        }
    }

    fn time(line: &str, work: Work) -> Self {
        let threads = matches!(work, Work::HandOff(..) | Work::Threads(_));
        let demand = if threads { Demand::Threads } else { Demand::OneThread };
        Self { lines: vec![Section::Time.line(line)], demand, work }
    }

    fn tail(of: &str, live: usize) -> Self {
        let lines = ["p99", "p99.99"].map(|part| Section::Tail.line(&format!("{part}, {of}")));
        Self { lines: lines.into(), demand: Demand::OneThread, work: Work::Tail(live) }
    }

    fn visits(size: usize) -> Self {
        let lines = |section: Section| visits::KINDS.map(|kind| section.line(&format!("visits {size} B, {kind}")));
        let lines = [Section::Visits, Section::ByAddress].map(lines);
        Self { lines: lines.into_iter().flatten().collect(), demand: Demand::Spikes, work: Work::Visits(size) }
    }
}

impl Section {
    fn line(self, text: &str) -> Name {
        Name { section: self, text: text.to_owned() }
    }
}

/// The work whose lines contain `only`. A trace that is not in `folder` is left out, which is told.
pub fn chosen(folder: &Path, only: Option<&str>) -> Result<Chosen> {
    let wanted = |line: &str| only.is_none_or(|only| line.contains(only));
    let mut jobs = synthetic();
    let mut residents = Vec::new();
    for name in TRACES {
        let path = folder.join(format!("{name}.egt.zst"));
        let [time, cold, line] = [format!("trace {name}"), format!("trace {name}, caches cold"), format!("resident / live, {name}")];
        if ![&time, &cold, &line].into_iter().any(|line| wanted(line)) {
            continue;
        }
        if !path.is_file() {
            eprintln!("left out, as {} is not there: {time}; {cold}; {line}", path.display());
            continue;
        }
        let trace = Rc::new(trace::read(&path)?);
        jobs.push(Job::time(&time, Work::Replay(trace.clone())));
        jobs.push(Job::time(&cold, Work::ReplayCold(trace)));
        residents.push(Resident { line: Section::Resident.line(&line), trace: path });
    }
    jobs.push(Job::tail("replace 1 of 1,000, mixed sizes", 1_000));
    jobs.push(Job::tail("replace 1 of 100,000, mixed", 100_000));
    jobs.extend([32, 64, 256].map(Job::visits));
    jobs.retain(|job| job.lines.iter().any(|line| wanted(&line.text)));
    residents.retain(|resident| wanted(&resident.line.text));
    ensure!(
        !jobs.is_empty() || !residents.is_empty(),
        "nothing to measure: no line with {:?}, or only such as were left out",
        only.unwrap_or_default()
    );
    Ok(Chosen { jobs, residents })
}

/// The lines that need no recording.
fn synthetic() -> Vec<Job> {
    vec![
        Job::time("alloc+free pair, 64 B", Work::Phases(1)),
        Job::time("100 allocs, 100 frees, 64 B", Work::Phases(100)),
        Job::time("10,000 and 10,000, 64 B", Work::Phases(10_000)),
        Job::time("replace 1 of 1,000, 64 B", Work::Replace(1_000, &FIXED)),
        Job::time("replace 1 of 1,000, mixed sizes", Work::Replace(1_000, &MIXED)),
        Job::time("replace 1 of 100,000, 64 B", Work::Replace(100_000, &FIXED)),
        Job::time("replace 1 of 100,000, mixed", Work::Replace(100_000, &MIXED)),
        Job::time("replace 1 of 1,000, 4 to 64 KiB", Work::Replace(1_000, &LARGE)),
        Job::time("growing vectors", Work::Growth),
        Job::time("hand-off to another thread, 64 B", Work::HandOff(1, &FIXED)),
        Job::time("producer and consumer, 8 sizes", Work::HandOff(1, &EIGHT)),
        Job::time("one allocates, four free, 64 B", Work::HandOff(4, &FIXED)),
        Job::time("two threads, mixed", Work::Threads(2)),
        Job::time("four threads, mixed", Work::Threads(4)),
        Job::time("thirty-two threads, mixed", Work::Threads(32)),
    ]
}
