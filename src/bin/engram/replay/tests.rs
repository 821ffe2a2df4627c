//! Order and faults: with malloc, and with heaps that do wrong on purpose.

use std::ptr::NonNull;
use std::sync::Mutex;

use super::heap::{Heap, Local, Malloc};
use super::plan::Plan;
use super::play::{Calls, Content, Exact, Faults, Pass, Timed, play};
use super::table::Table;
#[cfg(target_os = "linux")]
use super::{ArenaOptions, Failure, Shape, resident};
use crate::trace::writer::{Writer, every_operation};
use crate::trace::{Action, Trace, decode};

fn planned(writer: &Writer) -> Plan {
    Plan::of(&decode(&writer.finish()).unwrap())
}

fn played<H: Heap, P: Pass>(heap: &H, plan: &Plan, pass: impl Fn(usize) -> P) -> Faults {
    let mut table = Table::new(plan.objects, plan.threads());
    let passes = (0..plan.threads()).map(pass).collect();
    play(heap, plan, &mut table, passes).unwrap().clear(plan, &table)
}

/// A trace in which the threads do to each other's blocks whatever they like; the numbers are of a fixed sequence
/// (Knuth's MMIX generator).
fn tangle(threads: u64, operations: u64) -> Writer {
    let mut state = 1_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut trace = Writer::new(threads as u32);
    let mut live = Vec::new();
    for _ in 0..operations {
        let thread = below(threads) as u8;
        match below(8) {
            0..4 => live.push(trace.allocate(thread, below(2_000), 4 + below(4) as u8)),
            4..6 if !live.is_empty() => trace.reallocate(thread, live[below(live.len() as u64) as usize], below(3_000)),
            _ if !live.is_empty() => {
                trace.free(thread, live.swap_remove(below(live.len() as u64) as usize));
            }
            _ => {}
        }
    }
    trace
}

#[test]
fn malloc_plays_a_tangle_of_threads_without_a_fault_in_every_pass() {
    for (threads, operations) in [(1, 2_000), (2, 20_000), (8, 20_000), (64, 3_000)] {
        let plan = planned(&tangle(threads, operations));
        assert_eq!(played(&Malloc, &plan, |_| Content), Faults::default());
        assert_eq!(played(&Malloc, &plan, |_| Calls), Faults::default());
        assert_eq!(played(&Malloc, &plan, |_| Timed(Vec::new())), Faults::default());
        assert_eq!(played(&Malloc, &plan, |_| Exact::<true> { at: None, look: &|| {} }), Faults::default());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_trace_that_has_no_room_in_two_heaps_side_by_side_is_refused() {
    let mut trace = Writer::new(1);
    trace.allocate(0, resident::available().unwrap() / 16 * 13, 4);
    let shape = Shape::of("large", &planned(&trace), ArenaOptions::default());
    assert!(matches!(shape, Err(Failure::Demand { .. })), "{shape:?}");
}

#[test]
fn every_single_call_is_timed() {
    let plan = planned(&every_operation());
    let mut table = Table::new(plan.objects, plan.threads());
    let played = play(&Malloc, &plan, &mut table, vec![Timed(Vec::new()), Timed(Vec::new())]).unwrap();
    let timed: usize = played.passes.iter().map(|pass| pass.0.len()).sum();
    assert_eq!(timed, plan.operations());
    assert!(!played.clear(&plan, &table).any());
}

/// A heap of malloc's that does one thing wrong, or only notes what is asked of it.
#[derive(Default)]
struct Flawed {
    flaw: Option<Flaw>,
    asked: Mutex<Vec<(u32, &'static str, usize)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// Refuses what is larger than 1,000 bytes.
    Refuses,
    /// Loses the last byte of a block that is resized.
    Forgets,
    /// Gives the same block to two who ask for 64 bytes.
    GivesTwice,
    /// Knows no alignment above 16.
    Misaligns,
    /// Does not take blocks back.
    Keeps,
}

struct FlawedLocal<'a> {
    heap: &'a Flawed,
    thread: u32,
    given: Option<NonNull<u8>>,
}

impl FlawedLocal<'_> {
    fn note(&self, what: &'static str, size: usize) {
        self.heap.asked.lock().unwrap().push((self.thread, what, size));
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.heap.flaw == Some(flaw)
    }
}

impl Heap for Flawed {
    type Local<'a> = FlawedLocal<'a>;

    const NAME: &'static str = "flawed";

    fn enter(&self, thread: u32) -> engram::Result<FlawedLocal<'_>> {
        Ok(FlawedLocal { heap: self, thread, given: None })
    }
}

// SAFETY: the pointer in it is only compared, and given out on one thread.
unsafe impl Send for FlawedLocal<'_> {}

impl Local for FlawedLocal<'_> {
    fn allocate(&mut self, size: usize, align: usize) -> *mut u8 {
        self.note("allocate", size);
        if self.has(Flaw::Refuses) && size > 1_000 {
            return std::ptr::null_mut();
        }
        if self.has(Flaw::GivesTwice) && size == 64 {
            let given = self.given.get_or_insert_with(|| NonNull::new(Malloc.allocate(64, 16)).unwrap());
            return given.as_ptr();
        }
        if self.has(Flaw::Misaligns) && align > 16 {
            return Malloc.allocate(size + 16, align).wrapping_add(16);
        }
        Malloc.allocate(size, align)
    }

    unsafe fn release(&mut self, block: NonNull<u8>, size: usize, align: usize) -> bool {
        self.note("release", size);
        if self.has(Flaw::Keeps) || self.given == Some(block) || self.has(Flaw::Misaligns) && align > 16 {
            return !self.has(Flaw::Keeps);
        }
        // SAFETY: the caller's promise.
        unsafe { Malloc.release(block, size, align) }
    }

    unsafe fn resize(&mut self, block: NonNull<u8>, size: usize, align: usize, new_size: usize) -> *mut u8 {
        self.note("resize", new_size);
        if self.has(Flaw::Refuses) && new_size > 1_000 {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise; the byte forgotten lies in both sizes.
        unsafe {
            let moved = Malloc.resize(block, size, align, new_size);
            if self.has(Flaw::Forgets) {
                *moved.add(size.min(new_size) - 1) ^= 1;
            }
            moved
        }
    }
}

fn flawed(flaw: Flaw, writer: &Writer) -> Faults {
    let heap = Flawed { flaw: Some(flaw), ..Flawed::default() };
    played(&heap, &planned(writer), |_| Content)
}

#[test]
fn the_exact_pass_keeps_the_order_of_the_trace() {
    let writer = tangle(6, 3_000);
    let trace = decode(&writer.finish()).unwrap();
    let heap = Flawed::default();
    let plan = Plan::of(&trace);
    played(&heap, &plan, |_| Exact::<false> { at: None, look: &|| {} });
    let asked = heap.asked.into_inner().unwrap();
    assert_eq!(asked[..trace.ops().len()], expected(&trace));
}

/// What a heap is asked if the order of the trace is kept.
fn expected(trace: &Trace) -> Vec<(u32, &'static str, usize)> {
    let mut sizes = vec![0; trace.objects() as usize];
    let step = |op: &crate::trace::Op| {
        let what = match op.action {
            Action::Allocate { size, .. } => ("allocate", size),
            Action::Free => ("release", sizes[op.object as usize]),
            Action::Reallocate { size } => ("resize", size),
        };
        sizes[op.object as usize] = what.1;
        (u32::from(op.thread), what.0, (what.1 as usize).max(1))
    };
    trace.ops().iter().map(step).collect()
}

#[test]
fn the_look_is_taken_once_after_its_step() {
    let plan = planned(&every_operation());
    let heap = Flawed::default();
    let seen = Mutex::new(Vec::new());
    let look = || seen.lock().unwrap().push(heap.asked.lock().unwrap().len());
    let (thread, step) = plan.demand.peak_at;
    played(&heap, &plan, |of| Exact::<true> { at: (of == thread).then_some(step), look: &look });
    // The peak is the allocation of a megabyte, the twelfth operation.
    assert_eq!(seen.into_inner().unwrap(), [12]);
}

#[test]
fn a_refusal_is_counted_and_the_trace_goes_on_without_the_block() {
    // 5,000 and 1,000,000 and 600,000 allocated, 100,000 resized to: four are refused; what follows on them is left out.
    let faults = flawed(Flaw::Refuses, &every_operation());
    assert_eq!(faults, Faults { refused: 4, ..Faults::default() });
}

#[test]
fn a_block_that_loses_content_when_it_is_resized_is_damaged() {
    let mut writer = Writer::new(1);
    writer.allocate(0, 5_000, 4);
    writer.reallocate(0, 0, 9_000);
    assert_eq!(flawed(Flaw::Forgets, &writer), Faults { damaged: 1, ..Faults::default() });
}

#[test]
fn a_block_that_is_given_to_two_is_damaged() {
    let mut writer = Writer::new(1);
    writer.allocate(0, 64, 4);
    writer.allocate(0, 64, 4);
    assert_eq!(flawed(Flaw::GivesTwice, &writer), Faults { damaged: 1, ..Faults::default() });
}

#[test]
fn a_wrong_alignment_and_a_refused_free_are_counted() {
    let mut writer = Writer::new(1);
    writer.allocate(0, 100, 9);
    writer.allocate(0, 100, 4);
    assert_eq!(flawed(Flaw::Misaligns, &writer), Faults { misaligned: 1, ..Faults::default() });
    assert_eq!(flawed(Flaw::Keeps, &writer), Faults { free_refused: 2, ..Faults::default() });
}
