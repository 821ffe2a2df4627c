//! A trace made ready to be played: one script for each thread, and who waits for whom.
//!
//! **What for.** The threads of a replay must keep the trace's order wherever it matters (a block freed by another thread
//! must have been allocated first) and pay as little as possible for it, the same under both allocators.
//!
//! **How.** The operations on one object form a chain. Where two neighbours of a chain belong to the same thread, program
//! order is enough. Where they do not, the object is *handed over*: the earlier step publishes the object's turn, the
//! later one awaits it ([`crate::replay::table`]). Everything else runs free. When an exact order is wanted (memory at its
//! peak), the trace is cut into runs of one thread and a baton goes from run to run.
//!
//! ```text
//! thread 0   A0 ............ R0 publishes turn 1           F1 awaits turn 1
//! thread 1        A1 .............. R1 publishes turn 1         F0 awaits turn 1
//! ```

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::trace::{Action, Trace};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Allocates the object.
    Allocate,
    /// Frees it; the step's size is the one it has.
    Free,
    /// Gives it the step's size.
    Reallocate,
}

/// One operation, in 16 bytes, so that reading the script disturbs the caches as little as it can.
///
/// ```text
/// bits 0..41  size | 41..46 log2 of the alignment | 46..48 kind | 48 awaits | 49 publishes | 50 starts a run | 51 ends it
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The block.
    pub object: u32,
    /// How often it was handed over before this step.
    pub turn: u32,
    word: u64,
}

const _: () = assert!(size_of::<Step>() == 16);

impl Step {
    const AWAITS: u64 = 1 << 48;
    const PUBLISHES: u64 = 1 << 49;
    const STARTS_RUN: u64 = 1 << 50;
    const ENDS_RUN: u64 = 1 << 51;

    const fn new(object: u32, kind: Kind, size: u64, align_log2: u8) -> Self {
        let word = size | (align_log2 as u64) << 41 | (kind as u64) << 46;
        Self { object, turn: 0, word }
    }

    /// What it does.
    #[inline]
    pub const fn kind(self) -> Kind {
        match self.word >> 46 & 3 {
            0 => Kind::Allocate,
            1 => Kind::Free,
            _ => Kind::Reallocate,
        }
    }

    /// The size that is asked for, or that the block has when it is freed. A size of 0 becomes 1: what an allocator does
    /// with none is its own matter (C lets `realloc` free the block), and the object lives on in the trace.
    #[inline]
    pub const fn size(self) -> usize {
        let size = (self.word & ((1 << 41) - 1)) as usize;
        if size == 0 { 1 } else { size }
    }

    /// The alignment in bytes.
    #[inline]
    pub const fn align(self) -> usize {
        1 << (self.word >> 41 & 31)
    }

    /// The step before it on this object is another thread's.
    #[inline]
    pub const fn awaits(self) -> bool {
        self.word & Self::AWAITS != 0
    }

    /// The step after it on this object is another thread's.
    #[inline]
    pub const fn publishes(self) -> bool {
        self.word & Self::PUBLISHES != 0
    }

    /// The step before it in the trace is another thread's, or there is none.
    #[inline]
    pub const fn starts_run(self) -> bool {
        self.word & Self::STARTS_RUN != 0
    }

    /// The step after it in the trace is another thread's, or there is none.
    #[inline]
    pub const fn ends_run(self) -> bool {
        self.word & Self::ENDS_RUN != 0
    }
}

/// A stretch of the trace that one thread does alone.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Its place among all runs.
    pub turn: u32,
    /// The thread of the run after it.
    pub next: u8,
}

/// What one thread does.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// In this order.
    pub steps: Vec<Step>,
    /// The size before each reallocation, in the order of the steps.
    pub sizes_before: Vec<usize>,
    /// The runs its steps form.
    pub runs: Vec<Run>,
}

/// A block that the trace leaves behind.
#[derive(Clone, Copy, Debug)]
pub struct Leftover {
    /// Its number.
    pub object: u32,
    /// The thread that allocated it.
    pub thread: u8,
    /// Its last size, at least 1.
    pub size: usize,
    /// Its alignment.
    pub align: usize,
}

/// A trace, ready to be played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One for each thread.
    pub scripts: Vec<Script>,
    /// What is live at the end.
    pub leftovers: Vec<Leftover>,
    /// Number of objects.
    pub objects: u32,
    /// What it demands.
    pub demand: Demand,
}

/// What a trace demands of memory, in bytes asked for. A trace may ask for more than 64 bits can count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The most that is live at once, in the trace's order.
    pub peak_live: u128,
    /// The most that can be live at once, however the threads drift apart, each block rounded up as a class would.
    pub bound: u128,
    /// What the threads' spans and runs take if each kind that a thread asks for has one, however few of its slots are live.
    pub begun: u128,
    /// The thread and its step after which the peak is reached first.
    pub peak_at: (usize, usize),
    /// Frees by another thread than the one that allocated.
    pub cross_thread_frees: u64,
}

/// What is known of an object while planning.
#[derive(Clone, Copy)]
struct Object {
    thread: u8,
    align_log2: u8,
    turn: u32,
    size: u64,
    /// Thread and index of the last step on it.
    last: (u8, u32),
}

impl Plan {
    /// Makes the scripts of a trace.
    pub fn of(trace: &Trace) -> Self {
        let mut planner = Planner::new(trace);
        for op in trace.ops() {
            planner.add(op.thread, op.object, op.action);
        }
        planner.finish(trace.objects())
    }

    /// Number of threads.
    pub const fn threads(&self) -> usize {
        self.scripts.len()
    }

    /// Number of operations.
    pub fn operations(&self) -> usize {
        self.scripts.iter().map(|script| script.steps.len()).sum()
    }
}

struct Planner {
    scripts: Vec<Script>,
    objects: Vec<Object>,
    /// Freed objects, by number.
    freed: Vec<bool>,
    current: Option<u8>,
    runs: u32,
    live: u128,
    /// Bytes allocated less bytes freed by each thread, rounded up, and the most that was.
    balances: Vec<(i128, i128)>,
    /// What each thread asks for, by the slots that serve it: their bytes, and whether they are aligned.
    kinds: HashSet<(u8, u64, bool)>,
    demand: Demand,
}

impl Planner {
    fn new(trace: &Trace) -> Self {
        let threads = usize::from(trace.threads());
        Self {
            scripts: vec![Script::default(); threads],
            objects: Vec::new(),
            freed: Vec::new(),
            current: None,
            runs: 0,
            live: 0,
            balances: vec![(0, 0); threads],
            kinds: HashSet::new(),
            demand: Demand::default(),
        }
    }

    fn add(&mut self, thread: u8, object: u32, action: Action) {
        let index = object as usize;
        let before = self.objects.get(index).copied();
        let (kind, size) = match action {
            Action::Allocate { size, .. } => (Kind::Allocate, size),
            Action::Free => (Kind::Free, before.map_or(0, |before| before.size)),
            Action::Reallocate { size } => (Kind::Reallocate, size),
        };
        let align_log2 = match action {
            Action::Allocate { align_log2, .. } => align_log2,
            _ => before.map_or(4, |before| before.align_log2),
        };
        let mut step = Step::new(object, kind, size, align_log2);
        step.turn = before.map_or(0, |before| self.hand_over(before, thread, &mut step));
        self.weigh(thread, before.map(|before| before.size), kind, size, align_log2);
        if kind != Kind::Free {
            self.begin_span(thread, size, align_log2);
        }
        self.begin_run(thread, &mut step);

        let script = &mut self.scripts[usize::from(thread)];
        // In range: a trace has at most 2^26 operations.
        let last = (thread, script.steps.len() as u32);
        script.steps.push(step);
        match before {
            None => {
                self.objects.push(Object { thread, align_log2, turn: 0, size, last });
                self.freed.push(false);
            }
            Some(before) => {
                if kind == Kind::Reallocate {
                    script.sizes_before.push((before.size as usize).max(1));
                }
                self.demand.cross_thread_frees += u64::from(kind == Kind::Free && before.thread != thread);
                self.objects[index] = Object { turn: step.turn, size, last, ..before };
                self.freed[index] = kind == Kind::Free;
            }
        }
        if self.live > self.demand.peak_live {
            self.demand.peak_live = self.live;
            self.demand.peak_at = (usize::from(thread), last.1 as usize);
        }
    }

    /// Marks both ends of a hand-over, if there is one; the turn of the later step.
    fn hand_over(&mut self, before: Object, thread: u8, step: &mut Step) -> u32 {
        let (giver, index) = before.last;
        if giver == thread {
            return before.turn;
        }
        self.scripts[usize::from(giver)].steps[index as usize].word |= Step::PUBLISHES;
        step.word |= Step::AWAITS;
        before.turn + 1
    }

    /// Marks where the trace passes from one thread to another.
    fn begin_run(&mut self, thread: u8, step: &mut Step) {
        if self.current == Some(thread) {
            return;
        }
        if let Some(giver) = self.current {
            let script = &mut self.scripts[usize::from(giver)];
            if let (Some(last), Some(run)) = (script.steps.last_mut(), script.runs.last_mut()) {
                last.word |= Step::ENDS_RUN;
                run.next = thread;
            }
        }
        step.word |= Step::STARTS_RUN;
        self.scripts[usize::from(thread)].runs.push(Run { turn: self.runs, next: thread });
        self.runs += 1;
        self.current = Some(thread);
    }

    /// The slots of a span or a run are one thread's, and of one class.
    fn begin_span(&mut self, thread: u8, size: u64, align_log2: u8) {
        let size = lying(size, align_log2).max(1);
        // Eight classes from one power of two to the next, 16 bytes apart at least; nothing is shared above 256 KiB.
        let class = size.next_multiple_of((size.next_power_of_two() / 16).max(16));
        if class <= 256 << 10 && self.kinds.insert((thread, class, align_log2 > 4)) {
            self.demand.begun += u128::from((8 * class).max(32 << 10));
        }
    }

    fn weigh(&mut self, thread: u8, before: Option<u64>, kind: Kind, size: u64, align_log2: u8) {
        let after = if kind == Kind::Free { 0 } else { size };
        self.live = self.live - u128::from(before.unwrap_or(0)) + u128::from(after);
        let released = before.map_or(0, |before| rounded(before, align_log2));
        let taken = if kind == Kind::Free { 0 } else { rounded(size, align_log2) };
        let (balance, most) = &mut self.balances[usize::from(thread)];
        // A block that grows may lie in two places while it moves.
        *most = (*most).max(*balance + taken);
        *balance += taken - released;
    }

    fn finish(mut self, objects: u32) -> Plan {
        if let Some(step) = self.current.and_then(|thread| self.scripts[usize::from(thread)].steps.last_mut()) {
            step.word |= Step::ENDS_RUN;
        }
        // Each thread at its own most at the same time: no interleaving can have more live.
        let bound: i128 = self.balances.iter().map(|&(_, most)| most).sum();
        self.demand.bound = bound.unsigned_abs();
        let leftovers = (0..objects)
            .zip(self.objects.iter().zip(&self.freed))
            .filter(|(_, (_, freed))| !**freed)
            .map(|(object, (at_end, _))| Leftover {
                object,
                thread: at_end.thread,
                size: (at_end.size as usize).max(1),
                align: 1 << at_end.align_log2,
            })
            .collect();
        Plan { scripts: self.scripts, leftovers, objects, demand: self.demand }
    }
}

/// What a block of `size` bytes takes at most: an eighth more, at least 16 bytes; one with an alignment above that all up to the next
/// that is aligned so.
fn rounded(size: u64, align_log2: u8) -> i128 {
    let size = lying(size, align_log2);
    i128::from(size + size / 8 + 16)
}

/// What a block with an alignment that not all have lies in: up to the next one.
fn lying(size: u64, align_log2: u8) -> u64 {
    if align_log2 > 4 { size.max(1).next_multiple_of(1 << align_log2) } else { size }
}
