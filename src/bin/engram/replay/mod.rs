//! Replays a trace beside the system's malloc and reports both.
//!
//! Read in this order: [`plan`] makes scripts of a trace, [`table`] is what their threads share, [`heap`] the allocators,
//! [`stamp`] the content, [`play`] the loop, [`rounds`] what is
//! measured with it; [`peak`] measures memory in a process of its own.
//!
//! The passes of [`measure`], each with both allocators in turn, every other round the other one first:
//! 1. *exact*: the trace's own order, once, in a fresh arena: heap map at the peak, metrics, faults;
//! 2. *peak*: resident memory, in two processes of their own;
//! 3. rounds of *calls* (throughput of the calls alone), *content* (with every block stamped and checked) and *timed* (the
//!    time of every single call). Both allocators live through all rounds and one more, before them, that does not count:
//!    what is measured is a warm heap. The driver alone is measured the same way, and reported, not subtracted.

pub mod heap;
pub mod peak;
pub mod plan;
pub mod play;
mod rounds;
mod stamp;
pub mod table;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use engram::{Arena, Metrics};

use crate::cli::{Allocator, ArenaOptions};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::map::Chunk;
use crate::report::replay::{MetricsReport, ReplayReport};
use crate::resident;
use crate::stats::Pair;
use crate::trace::Trace;
use plan::Plan;
use play::{Exact, Faults, play};
use rounds::{Rounds, Series};
use table::Table;

/// A trace to be replayed.
pub struct Source {
    /// What it is called in the report.
    pub name: String,
    /// Its decompressed bytes.
    pub bytes: Vec<u8>,
    /// The same, decoded.
    pub trace: Trace,
}

/// How it is to be replayed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rounds that count.
    pub rounds: u32,
    /// The arena.
    pub arena: ArenaOptions,
    /// Content is stamped and checked.
    pub verify: bool,
}

/// Steps of progress that [`measure`] takes.
pub const fn steps(options: &Options) -> u64 {
    options.rounds as u64 + 3
}

/// The shape of the arena that a trace is played in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Columns, at least one for each thread.
    pub columns: u32,
    /// Bytes.
    pub capacity: usize,
}

impl Shape {
    /// As the options say, else as the trace needs: twice what can be live at once, and 64 MiB more, or what the threads' spans take
    /// if most of their slots are free.
    ///
    /// # Errors
    /// [`Failure::Usage`] if there are fewer columns than threads, [`Failure::Demand`] if the machine is too small.
    pub fn of(name: &str, plan: &Plan, options: ArenaOptions) -> Result<Self, Failure> {
        let threads = plan.threads() as u32;
        let columns = options.columns.unwrap_or(threads);
        if columns < threads {
            return Err(Failure::Usage(format!("{name}: --columns {columns} is too few: each of the trace's {threads} threads holds one")));
        }
        let (demand, available) = (plan.demand.bound, resident::available());
        // Both heaps keep what they had while the other one is played.
        if let Some(available) = available.filter(|available| demand * 2 > u128::from(*available)) {
            return Err(Failure::Demand { name: name.to_owned(), demand, available });
        }
        let generous = (demand * 2 + plan.demand.begun.max(64 << 20)).next_multiple_of(2 << 20);
        let capacity = options.capacity.unwrap_or(usize::try_from(generous).unwrap_or(usize::MAX));
        Ok(Self { columns, capacity })
    }

    /// Whether every page may be touched at opening: a third of what the machine has left at most.
    fn may_prefault(self) -> bool {
        resident::available().is_some_and(|available| self.capacity as u64 <= available / 3)
    }
}

/// Opens an arena.
///
/// # Errors
/// [`Failure::Engram`] with what the arena says.
pub fn open(shape: Shape, prefault: bool) -> Result<Arena, Failure> {
    let Shape { columns, capacity } = shape;
    Arena::builder().capacity(capacity).columns(columns).prefault(prefault).build().map_err(|source| Failure::Engram {
        doing: format!("an arena of {capacity} bytes with {columns} columns cannot be opened"),
        source,
    })
}

/// Whether a trace can be played as the options say.
///
/// # Errors
/// As [`Shape::of`].
pub fn fits(source: &Source, options: &Options) -> Result<(), Failure> {
    Shape::of(&source.name, &Plan::of(&source.trace), options.arena).map(|_| ())
}

/// Plays a trace in all passes.
///
/// # Errors
/// [`Failure`] if the arena does not open or the options cannot be met; faults of an allocator are in the report.
pub fn measure(source: &Source, options: &Options, clock: Clock, progress: &Progress) -> Result<ReplayReport, Failure> {
    let name = source.name.as_str();
    let plan = Plan::of(&source.trace);
    let shape = Shape::of(name, &plan, options.arena)?;
    let mut table = Table::new(plan.objects, plan.threads());

    progress.stage(name, "in the trace's exact order");
    let exact = Picture::take(&plan, &mut table, shape, options.verify)?;
    progress.step();
    progress.stage(name, "peak memory, in processes of their own");
    let memory = Pair { malloc: Allocator::Malloc, engram: Allocator::Engram };
    let memory = memory.map(|allocator| peak::measure(allocator, &source.bytes, shape));
    progress.step();

    let prefault = shape.may_prefault();
    let began = Instant::now();
    let arena = open(shape, prefault)?;
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    let mut rounds = Rounds::new(&plan, &mut table, &arena, options.verify);
    progress.stage(name, "a round that does not count");
    rounds.play(0)?;
    progress.step();
    let mut series = Series::default();
    for round in 1..=options.rounds {
        progress.stage(name, &format!("round {round} of {}", options.rounds));
        series.add(rounds.play(round)?);
        progress.step();
    }
    let sums = series.sum_up(clock);
    let mut faults = rounds.faults;
    faults.engram = faults.engram.and(exact.faults);

    let demand = plan.demand;
    Ok(ReplayReport {
        name: name.to_owned(),
        operations: plan.operations(),
        objects: plan.objects,
        threads: plan.threads(),
        cross_thread_frees: demand.cross_thread_frees,
        peak_live_bytes: u64::try_from(demand.peak_live).unwrap_or(u64::MAX),
        columns: arena.columns(),
        capacity_bytes: arena.capacity(),
        prefaulted: prefault,
        open_ms,
        rounds: options.rounds,
        verified: options.verify,
        driver_ns: sums.driver_ns,
        calls_ns: sums.calls_ns,
        page_faults: sums.page_faults,
        content_ns: sums.content_ns,
        single_ns: sums.single_ns,
        memory,
        faults,
        metrics: MetricsReport::from(exact.metrics),
        map: exact.map,
    })
}

/// What the exact pass sees.
struct Picture {
    /// The heap map at the peak.
    map: Vec<Chunk>,
    /// At the end of the trace, before what it leaves behind is freed.
    metrics: Metrics,
    faults: Faults,
}

impl Picture {
    fn take(plan: &Plan, table: &mut Table, shape: Shape, verify: bool) -> Result<Self, Failure> {
        if verify { Self::played::<true>(plan, table, shape) } else { Self::played::<false>(plan, table, shape) }
    }

    fn played<const CONTENT: bool>(plan: &Plan, table: &mut Table, shape: Shape) -> Result<Self, Failure> {
        let arena = open(shape, false)?;
        let map = Mutex::new(Vec::new());
        let look = || {
            *map.lock().unwrap_or_else(PoisonError::into_inner) = arena.map();
            // What all columns have together is known to the arena when it is asked.
            arena.metrics();
        };
        let (peak_thread, peak_step) = plan.demand.peak_at;
        let at = |thread| (thread == peak_thread).then_some(peak_step);
        let passes = (0..plan.threads()).map(|thread| Exact::<CONTENT> { at: at(thread), look: &look }).collect();
        let played = play(&arena, plan, table, passes).map_err(playing)?;
        let metrics = arena.metrics();
        let faults = played.clear(plan, table);
        let seen = map.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Self { map: seen.iter().map(Chunk::from).collect(), metrics, faults })
    }
}

fn playing(source: engram::Error) -> Failure {
    Failure::Engram { doing: "a thread of the trace cannot hold its column".to_owned(), source }
}
