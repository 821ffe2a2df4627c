//! Promise 1: **no system call, no lock, no host allocation** in any allocation or free, raw, batched
//! or by column, once the arena is open; and no page fault where memory was touched at open.
//!
//! A child process opens an arena, forbids itself all system calls but `write` (by which it says how
//! far it came) and `exit`, and all host allocation; then it does everything that an arena can do. A
//! lock that waits is a system call too. A vector on the side of a batch, a mutex, memory mapped when
//! an arena grows, an error that formats itself, or a decommit inside a free would break it. Two
//! controls show that the child does end at a system call and at a host allocation.
//!
//! What may call the system, and takes no host memory, is done in a child that may not have the latter alone.
//!
//! System calls can be forbidden on Linux; on other platforms nothing is tested here.
#![cfg(all(target_os = "linux", not(loom), not(miri)))]

#[path = "common/child.rs"]
mod child;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/promises.rs"]
mod promises;

use core::alloc::{GlobalAlloc, Layout};
use core::hint::black_box;
use core::ptr::{NonNull, null_mut};
use std::alloc::System;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use child::{End, Outcome, Report, fork};
use engram::{Arena, ArenaBuilder, BatchFlags, Column, Error, Maintained, Request, SpikeTime};
use folder::Folder;
use promises::{CHUNK, Random, arena, built, column, held, in_zone, layout};

/// How a child ends that allocates from the host.
const ALLOCATED: i32 = 99;

/// The host's allocator, until it is forbidden.
struct Watched;

static FORBIDDEN: AtomicBool = AtomicBool::new(false);

fn check_allowed() {
    if FORBIDDEN.load(Relaxed) {
        // SAFETY: always sound. (`abort` would need system calls that are forbidden by now.)
        unsafe { libc::_exit(ALLOCATED) };
    }
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check_allowed();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        check_allowed();
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(p, layout) };
    }
}

#[global_allocator]
static WATCHED: Watched = Watched;

/// Forbids all system calls but `write`, `exit` and `exit_group`: any other kills the process.
fn forbid_system_calls() {
    let allowed = [libc::SYS_write, libc::SYS_exit, libc::SYS_exit_group].map(|call| u32::try_from(call).expect("a small number"));
    let statement = |code: u32, k: u32, jt: u8| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let load_number = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0);
    let jump_to_end = |call: u32, ahead: u8| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call, ahead);
    let end = |action: u32| statement(libc::BPF_RET | libc::BPF_K, action, 0);
    let mut filter = [
        load_number,
        jump_to_end(allowed[0], 3),
        jump_to_end(allowed[1], 2),
        jump_to_end(allowed[2], 1),
        end(libc::SECCOMP_RET_KILL_PROCESS),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter is read during the call only.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    assert_eq!(refused, 0, "{}", std::io::Error::last_os_error());
}

/// Forks a child that opens an arena of 64 MiB, and does `work` with everything else forbidden.
fn forbidding(work: impl FnOnce(&mut Child)) -> Outcome {
    forbidding_in(Arena::builder(), forbid_system_calls, work)
}

/// Forks a child that opens an arena of 64 MiB as `builder` says, and does `work` without host memory, and without what `forbid` forbids.
fn forbidding_in(builder: ArenaBuilder, forbid: fn(), work: impl FnOnce(&mut Child)) -> Outcome {
    fork(|report| {
        // Never dropped: that would call the system.
        let arena: &'static Arena = Box::leak(Box::new(built(builder.capacity(64 << 20).columns(4))));
        drop(held(arena, 0));
        arena.alloc(None, layout(16, 16), SpikeTime::NONE).expect("there is memory");
        let blocks = Vec::with_capacity(1 << 23);
        let mut child = Child { arena, blocks, report };
        FORBIDDEN.store(true, Relaxed);
        forbid();
        work(&mut child);
        report.say("finished");
        // SAFETY: always sound; dropping anything would free host memory.
        unsafe { libc::_exit(0) };
    })
}

/// What a child does, and its name.
type Step = (&'static str, fn(&mut Child));

/// Runs `steps` in such a child, and fails unless it finished.
fn assert_silent(steps: &[Step]) {
    assert_finished(&forbidding(|child| take(steps, child)));
}

/// The same, but that only host memory is forbidden, in an arena as `builder` says.
fn assert_without_host_memory(builder: ArenaBuilder, steps: &[Step]) {
    assert_finished(&forbidding_in(builder, || (), |child| take(steps, child)));
}

fn take(steps: &[Step], child: &mut Child) {
    for (name, step) in steps {
        child.report.say(name);
        step(child);
    }
}

fn assert_finished(outcome: &Outcome) {
    assert_eq!(outcome.end, End::Exit(0), "a system call or host allocation in {:?}", outcome.said.last());
    assert_eq!(outcome.last(), "finished", "{outcome:?}");
}

/// What the child works with; room for all blocks is there from the start.
struct Child {
    arena: &'static Arena,
    blocks: Vec<NonNull<u8>>,
    report: Report,
}

impl Child {
    /// Ends the child if `holds` is false. (A panic would allocate.)
    fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.report.say(what);
            // SAFETY: always sound.
            unsafe { libc::_exit(1) };
        }
    }

    /// Keeps a block that must have been given.
    fn keep(&mut self, block: engram::Result<NonNull<u8>>) {
        self.check(block.is_ok(), "an allocation was refused");
        self.blocks.extend(block);
    }

    /// Frees everything kept by `free`, none of which may be refused.
    fn free_all(&mut self, free: impl Fn(&Arena, NonNull<u8>) -> engram::Result<()>) {
        for index in 0..self.blocks.len() {
            let freed = free(self.arena, self.blocks[index]);
            self.check(freed.is_ok(), "a free was refused");
        }
        self.blocks.clear();
    }
}

/// # Safety
/// As [`Arena::free`].
unsafe fn free(arena: &Arena, p: NonNull<u8>) -> engram::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { arena.free(p) }
}

fn free_unheld(child: &mut Child) {
    // SAFETY: the child's own blocks, forgotten afterwards.
    child.free_all(|arena, p| unsafe { free(arena, p) });
}

/// Small, medium and large sizes, and a run of chunks.
const SIZES: [usize; 10] = [1, 16, 100, 1024, 4096, 5000, 36 << 10, 300 << 10, CHUNK, 3 * CHUNK];

/// Calls `alloc` for each size, plain and aligned, in each zone.
fn each_kind(child: &mut Child, alloc: impl Fn(&Arena, usize, usize, SpikeTime) -> engram::Result<NonNull<u8>>) {
    for zone in 0..8 {
        for size in SIZES.into_iter().filter(|&size| size <= 4096 || zone == 0) {
            for align in [16, 64, 4096] {
                let block = alloc(child.arena, size, align, in_zone(zone));
                child.keep(block);
            }
        }
    }
}

fn hold(child: &Child, index: u32) -> Column<'static> {
    match child.arena.column(column(index)) {
        Ok(column) => column,
        // SAFETY: always sound.
        Err(_) => unsafe { libc::_exit(1) },
    }
}

fn held_allocations(child: &mut Child) {
    let column = hold(child, 1);
    each_kind(child, |_, size, align, spike| column.alloc(size, align, spike));
    // SAFETY: the child's own blocks, forgotten afterwards.
    child.free_all(|_, p| unsafe { column.free(p) });
    each_kind(child, |_, size, align, spike| column.alloc_zeroed(size, align, spike));
    free_unheld(child);
}

fn unheld_allocations(child: &mut Child) {
    each_kind(child, |arena, size, align, spike| arena.alloc(Some(column(2)), layout(size, align), spike));
    free_unheld(child);
    each_kind(child, |arena, size, align, spike| arena.alloc_zeroed(None, layout(size, align), spike));
    free_unheld(child);
}

fn allocations_while_the_column_is_held(child: &mut Child) {
    let holder = hold(child, 2);
    each_kind(child, |arena, size, align, spike| arena.alloc(Some(column(2)), layout(size, align), spike));
    // SAFETY: the child's own blocks, forgotten afterwards.
    child.free_all(|_, p| unsafe { holder.free(p) });
    each_kind(child, |arena, size, align, spike| arena.alloc(Some(column(2)), layout(size, align), spike));
    free_unheld(child);
}

fn reallocations(child: &mut Child) {
    let holder = hold(child, 1);
    for (from, to) in [(100, 101), (100, 5000), (5000, 300 << 10), (300 << 10, 40), (CHUNK, CHUNK - 5), (CHUNK, 3 * CHUNK)] {
        let block = holder.alloc(from, 64, SpikeTime::NONE);
        child.keep(block);
        let block = child.blocks.remove(0);
        // SAFETY: the child's own block.
        let block = unsafe { holder.realloc(block, to, SpikeTime::NONE) };
        child.keep(block);
        let block = child.blocks.remove(0);
        // SAFETY: as above.
        let block = unsafe { child.arena.realloc(block, from, SpikeTime::NONE) };
        child.keep(block);
        free_unheld(child);
    }
}

const BATCH: usize = 500;

fn batch(child: &mut Child, flags: BatchFlags, size: usize) -> engram::Result<usize> {
    let mut requests = [Request { size, align: 16, column: None, spike: SpikeTime::NONE }; BATCH];
    let mut random = Random(7);
    for (index, request) in requests.iter_mut().enumerate() {
        request.column = (index % 3 > 0).then_some(column(index as u32 % 4));
        request.spike = random.spike();
    }
    let mut out = [null_mut(); BATCH];
    let served = child.arena.alloc_batch(&requests, flags, &mut out);
    child.blocks.extend(out.into_iter().filter_map(NonNull::new));
    served
}

fn batches(child: &mut Child) {
    for flags in [BatchFlags::empty(), BatchFlags::ATOMIC, BatchFlags::ORDERED, BatchFlags::ATOMIC | BatchFlags::ORDERED] {
        for size in [48, 1000, 5000] {
            let served = batch(child, flags, size);
            child.check(served == Ok(BATCH), "a batch was not served");
        }
        free_unheld(child);
    }
}

fn batches_that_are_refused(child: &mut Child) {
    for flags in [BatchFlags::empty(), BatchFlags::ORDERED, BatchFlags::ATOMIC, BatchFlags::ATOMIC | BatchFlags::ORDERED] {
        let served = batch(child, flags, 300 << 10);
        child.check(matches!(served, Err(Error::NoMemory { .. })), "a batch above the capacity was served");
        child.check(child.blocks.is_empty() == flags.contains(BatchFlags::ATOMIC), "not all or none");
        free_unheld(child);
    }
}

fn batches_by_column(child: &mut Child) {
    let holder = hold(child, 3);
    let mut out = [null_mut(); BATCH];
    for size in SIZES {
        holder.alloc_batch(size, 16, SpikeTime::NONE, &mut out);
        child.blocks.extend(out.into_iter().filter_map(NonNull::new));
    }
    // SAFETY: the child's own blocks, forgotten afterwards.
    child.free_all(|_, p| unsafe { holder.free(p) });
}

/// Grows over fresh spans and chunks; another column's handle, then `Arena::free`, frees what was
/// allocated, and the first column takes it back.
fn growth_and_taking_back(child: &mut Child) {
    let (first, second) = (hold(child, 0), hold(child, 1));
    for round in 0..3 {
        for index in 0..100_000 {
            let block = first.alloc(16 + index % 300, 16, in_zone(index as u32 % 8));
            child.keep(block);
        }
        // SAFETY: the child's own blocks, forgotten afterwards.
        child.free_all(|arena, p| if round == 0 { unsafe { second.free(p) } } else { unsafe { free(arena, p) } });
    }
}

/// Fills the arena with one size after the other; frees all from the outside each time.
fn exhaustion(child: &mut Child) {
    for size in [16, 1000, 5000, 36 << 10, 300 << 10, CHUNK] {
        let holder = hold(child, 1);
        while let Ok(block) = holder.alloc(size, 16, SpikeTime::NONE) {
            child.blocks.push(block);
        }
        let unheld = child.arena.alloc(Some(column(2)), layout(size, 16), SpikeTime::NONE);
        let shared = child.arena.alloc(Some(column(1)), layout(size, 16), SpikeTime::NONE);
        child.check(unheld.is_err() && shared.is_err(), "the arena was not full");
        free_unheld(child);
    }
}

fn refusals(child: &mut Child) {
    let holder = hold(child, 1);
    let capacity = child.arena.capacity();
    for (size, align) in [(0, 16), (capacity + 1, 16), (16, 3), (16, 4 << 20)] {
        child.check(holder.alloc(size, align, SpikeTime::NONE).is_err(), "a wrong request was served");
    }
    let unheld = child.arena.alloc(Some(column(70)), layout(16, 16), SpikeTime::NONE);
    child.check(matches!(unheld, Err(Error::ColumnOutOfRange { .. })), "a column that does not exist");
    child.check(matches!(child.arena.column(column(1)), Err(Error::ColumnHeld(1))), "held twice");
    child.check(child.arena.limit_column(column(3), Some(0)).is_ok(), "no limit");
    let limited = child.arena.alloc(Some(column(3)), layout(48, 16), SpikeTime::NONE);
    child.check(matches!(limited, Err(Error::Quota { .. })), "above the limit");
    child.check(child.arena.limit_column(column(3), None).is_ok(), "no limit");
}

fn misuse(child: &mut Child) {
    let holder = hold(child, 1);
    for size in SIZES {
        let block = holder.alloc(size, 16, SpikeTime::NONE);
        child.keep(block);
        let block = child.blocks.remove(0);
        for wrong in [block.addr().get() + 1, block.addr().get() + 16, 0x1000, usize::MAX] {
            let wrong = NonNull::new(block.as_ptr().with_addr(wrong)).unwrap_or(block);
            // SAFETY: not a block, which is an error.
            let refused = unsafe { holder.free(wrong).is_err() && child.arena.free(wrong).is_err() };
            child.check(refused, "a bad pointer was freed");
        }
        // SAFETY: the child's own block; the other frees are errors.
        let freed = unsafe { [holder.free(block), holder.free(block), child.arena.free(block)] }.map(|freed| freed.is_ok());
        child.check(freed == [true, false, false], "freed twice");
    }
}

fn looking_and_resetting(child: &mut Child) {
    let holder = hold(child, 1);
    each_kind(child, |_, size, align, spike| holder.alloc(size, align, spike));
    let mut visited = 0;
    holder.walk(|block| {
        visited += usize::from(child.arena.usable_size(block.start.as_ptr()) == Some(block.usable));
        true
    });
    child.check(visited == child.blocks.len(), "the walk missed a block");
    child.check(child.arena.metrics().live_blocks() > visited as u64, "the metrics miss a block");
    // SAFETY: the child's own blocks, forgotten.
    unsafe { holder.reset() };
    child.blocks.clear();
    child.check(child.arena.metrics().live_blocks() == 1, "the reset left blocks");
}

/// Into words of a block, and into roots.
fn publications(child: &mut Child) {
    let named = child.arena.alloc_zeroed(Some(column(1)), layout(4096, 4096), SpikeTime::NONE);
    child.keep(named);
    let words = child.blocks[0].as_ptr().cast::<u64>();
    for (index, size) in SIZES.into_iter().enumerate() {
        let any = (index % 2 == 0).then_some(column(2));
        let Some(place) = NonNull::new(words.wrapping_add(index)) else { continue };
        // SAFETY: a word of the child's own block, which nobody else uses.
        let done = unsafe {
            child.arena.publish(any, layout(size, 16), SpikeTime::NONE, place).is_ok()
                && child.arena.unpublish(place).is_ok()
                && child.arena.unpublish(place).is_err()
                && child.arena.publish_root(any, layout(size, 64), in_zone(2), 5).is_ok()
                && child.arena.unpublish_root(5).is_ok()
        };
        child.check(done, "no publication");
    }
    let roots = child.arena.set_root(3, 77).is_ok() && child.arena.root(3) == Ok(77) && child.arena.root(16).is_err();
    child.check(roots, "no root");
    free_unheld(child);
}

/// Text of at most so many bytes.
struct Page([u8; 8192], usize);

impl core::fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let place = self.0.get_mut(self.1..self.1 + text.len()).ok_or(core::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.1 += text.len();
        Ok(())
    }
}

fn questions(child: &mut Child) {
    let mut page = Page([0; 8192], 0);
    let metrics = child.arena.metrics();
    child.check(metrics.write_json(&mut page).is_ok() && metrics.write_openmetrics(&mut page).is_ok(), "no text");
    let block = child.arena.alloc(Some(column(3)), layout(100, 16), SpikeTime::NONE);
    child.keep(block);
    let (arena, p) = (child.arena, child.blocks[0].as_ptr());
    let there = arena.offset_of(p).and_then(|offset| arena.at(offset)) == Some(p) && arena.contains(p);
    child.check(there && arena.good_size(100) == arena.usable_size(p), "the block is elsewhere");
    free_unheld(child);
}

/// With blocks of every kind, some of them freed by others, some columns held.
fn verifying(child: &mut Child) {
    let holder = hold(child, 1);
    each_kind(child, |_, size, align, spike| holder.alloc(size, align, spike));
    each_kind(child, |arena, size, align, spike| arena.alloc(Some(column(1)), layout(size, align), spike));
    // SAFETY: a block of the child's own, forgotten.
    let freed = child.blocks.pop().is_some_and(|block| unsafe { child.arena.free(block) }.is_ok());
    child.check(freed && child.arena.verify().is_ok(), "an invariant is broken");
    free_unheld(child);
    child.check(child.arena.verify().is_ok(), "an invariant is broken");
    drop(holder);
    child.check(child.arena.verify().is_ok(), "an invariant is broken");
}

fn maintaining(child: &mut Child) {
    each_kind(child, |arena, size, align, spike| arena.alloc(Some(column(2)), layout(size, align), spike));
    free_unheld(child);
    let maintained = (0..100).any(|_| child.arena.maintain(Duration::from_millis(50)) == Ok(Maintained::All));
    child.check(maintained, "not maintained");
}

fn syncing(child: &mut Child) {
    child.check(child.arena.sync().is_ok(), "not on disk");
}

/// So an arena may be what a program has its memory from. Seen with: a check that gathers in vectors and tables of the host's.
#[test]
fn no_maintenance_check_or_sync_takes_host_memory() {
    let steps: &[Step] = &[("maintaining", maintaining), ("verifying", verifying), ("syncing", syncing), ("maintaining", maintaining)];
    assert_without_host_memory(Arena::builder(), steps);
    let folder = Folder::new("without-host-memory");
    assert_without_host_memory(Arena::builder().path(folder.file("arena.engram")), steps);
    assert_without_host_memory(Arena::builder().path(folder.file("arena.engram")), steps);
}

#[test]
fn no_allocation_and_no_free_on_a_held_column_calls_the_system_or_the_host_allocator() {
    assert_silent(&[
        ("held allocations", held_allocations),
        ("reallocations", reallocations),
        ("batches by column", batches_by_column),
        ("misuse", misuse),
        ("looking and resetting", looking_and_resetting),
    ]);
}

#[test]
fn no_allocation_and_no_free_without_holding_a_column_does() {
    assert_silent(&[
        ("unheld allocations", unheld_allocations),
        ("allocations while the column is held", allocations_while_the_column_is_held),
        ("publications", publications),
        ("questions", questions),
    ]);
}

#[test]
fn no_batch_does_served_or_refused() {
    assert_silent(&[("batches", batches), ("batches that are refused", batches_that_are_refused)]);
}

#[test]
fn no_growth_exhaustion_or_refusal_does() {
    assert_silent(&[("growth and taking back", growth_and_taking_back), ("exhaustion", exhaustion), ("refusals", refusals)]);
}

#[test]
fn a_child_that_calls_the_system_is_killed() {
    let outcome = forbidding(|_| {
        // SAFETY: always sound.
        black_box(unsafe { libc::getppid() });
    });
    assert_eq!(outcome.end, End::Signal(libc::SIGSYS));
    assert!(outcome.said.is_empty());
}

#[test]
fn a_child_that_allocates_from_the_host_ends() {
    let outcome = forbidding(|_| drop(black_box(Box::new(7))));
    assert_eq!(outcome.end, End::Exit(ALLOCATED));
    assert!(outcome.said.is_empty());
}

/// Page faults of this process so far.
fn faults() -> libc::c_long {
    // SAFETY: zeroed integers are a valid value.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    // SAFETY: there is room for the answer.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) }, 0);
    usage.ru_minflt + usage.ru_majflt
}

/// Allocates and frees blocks of all sizes.
fn churn(arena: &Arena, index: u32, kept: &mut [Option<NonNull<u8>>], operations: u32) {
    let holder = held(arena, index);
    let mut random = Random(88_172_645_463_325_252);
    for _ in 0..operations {
        let place = random.below(kept.len());
        match kept[place].take() {
            // SAFETY: the churn's own block.
            Some(block) => unsafe { holder.free(block) }.expect("it is handed out"),
            None => kept[place] = Some(holder.alloc(random.size(), 16, random.spike()).expect("there is memory")),
        }
    }
    for block in kept.iter_mut().filter_map(Option::take) {
        // SAFETY: as above.
        unsafe { holder.free(block) }.expect("it is handed out");
    }
}

#[test]
fn a_prefaulted_arena_takes_no_page_fault_over_ten_million_operations() {
    // In a child: a fork in this process would make all of its memory fault once more.
    let outcome = fork(|report| {
        let prefaulted = || built(Arena::builder().capacity(128 << 20).columns(4).prefault(true));
        let mut kept = vec![None; 4000];
        // The program's own pages: code and stack.
        churn(&prefaulted(), 1, &mut kept, 100_000);
        // In an arena of its own each time. Where the system moves pages in memory, they fault as well: in one of three it may.
        let mut taken = [(); 3].map(|()| {
            let arena = prefaulted();
            let before = faults();
            churn(&arena, 1, &mut kept, 10_000_000);
            faults() - before
        });
        taken.sort_unstable();
        report.say(&taken[1].to_string());
    });
    assert_eq!(outcome.end, End::Exit(0), "{outcome:?}");
    assert_eq!(outcome.last(), "0", "page faults");
}

#[test]
fn nor_does_one_with_many_columns_that_are_all_used() {
    for capacity in [8 << 20, 64 << 20] {
        let outcome = fork(|report| {
            let prefaulted = || built(Arena::builder().capacity(capacity).columns(64).prefault(true));
            let mut kept = vec![None; 8];
            let use_all = |arena: &Arena, kept: &mut [Option<NonNull<u8>>]| {
                for index in 0..64 {
                    let block = arena.alloc(Some(column(index)), layout(100, 16), SpikeTime::NONE).expect("there is memory");
                    // SAFETY: our own block.
                    unsafe { arena.free(block) }.expect("it is handed out");
                }
                (0..64).for_each(|index| churn(arena, index, kept, 5000));
            };
            use_all(&prefaulted(), &mut kept);
            let arena = prefaulted();
            let before = faults();
            use_all(&arena, &mut kept);
            report.say(&(faults() - before).to_string());
        });
        assert_eq!(outcome.end, End::Exit(0), "{outcome:?}");
        assert_eq!(outcome.last(), "0", "page faults in {capacity} bytes");
    }
}

#[test]
fn nor_does_one_that_has_grown_when_its_file_was_opened() {
    let folder = Folder::in_memory("prefaulted");
    let outcome = fork(|report| {
        let opened = |capacity| Arena::builder().capacity(capacity).columns(4).path(folder.file("grown.engram"));
        let fill = |arena: &Arena| {
            let holder = held(arena, 1);
            while let Ok(block) = holder.alloc(4096, 16, SpikeTime::NONE) {
                // SAFETY: our own block of 4096 bytes.
                unsafe { block.write_bytes(1, 4096) };
            }
        };
        // The program's own pages.
        fill(&arena(2 << 20));
        drop(built(opened(4 << 20)));
        let arena = built(opened(32 << 20).prefault(true));
        let before = faults();
        fill(&arena);
        report.say(&(faults() - before).to_string());
    });
    assert_eq!(outcome.end, End::Exit(0), "{outcome:?}");
    assert_eq!(outcome.last(), "0", "page faults");
}

/// Of the mapping in which an address lies: KiB in huge pages, and whether the system gathers no small ones to huge ones.
fn huge_kib(at: *const u8) -> (usize, bool) {
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("Linux has it");
    let (mut inside, mut kib) = (false, 0);
    for line in smaps.lines() {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some((from, to)) = first.split_once('-') {
            let address = |text| usize::from_str_radix(text, 16).expect("an address");
            inside = (address(from)..address(to)).contains(&at.addr());
        } else if inside && first == "AnonHugePages:" {
            kib = rest.trim().trim_end_matches(" kB").parse().expect("a number");
        } else if inside && first == "VmFlags:" {
            return (kib, rest.split(' ').any(|flag| flag == "nh"));
        }
    }
    panic!("{at:?} is not mapped");
}

/// Seen with: no advice before all is touched; with small pages gathered later, whose users fault.
#[test]
fn an_arena_that_is_prefaulted_in_huge_pages_has_them_and_they_stay_as_they_are() {
    const BYTES: usize = 64 << 20;
    if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists() {
        return;
    }
    let arena = built(Arena::builder().capacity(BYTES).columns(1).prefault(true).huge_pages(true));
    let (kib, kept) = huge_kib(arena.at(BYTES / 2).expect("user memory"));
    assert!(kept);
    // As many as whoever asks for them gets at the moment, if not all.
    let (access, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a mapping of our own, which stays.
    let control = unsafe { libc::mmap(core::ptr::null_mut(), BYTES, access, how, -1, 0) };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::madvise(control, BYTES, libc::MADV_HUGEPAGE) }, 0);
    // SAFETY: as above.
    (0..BYTES).step_by(4096).for_each(|offset| unsafe { control.cast::<u8>().add(offset).write(1) });
    let (most, _) = huge_kib(control.cast::<u8>().wrapping_add(BYTES / 2));
    assert!(kib >= 60 << 10 || kib * 2 >= most, "{kib} KiB of 64 MiB, and {most} where asked for");
}

/// A load before the store would bring a page of zeros first: twice as many faults, and on many a Linux no huge page. Seen with: that.
/// (Where a read-modify-write of a page that is missing is a load to the system, as on aarch64, there is no better way.)
#[test]
#[cfg(target_arch = "x86_64")]
fn each_page_is_touched_by_a_store_at_once() {
    const PAGES: libc::c_long = (64 << 20) / 4096;
    let outcome = fork(|report| {
        // SAFETY: concerns this child alone.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) }, 0);
        let before = faults();
        let arena = built(Arena::builder().capacity(64 << 20).columns(1).prefault(true));
        let taken = faults() - before;
        drop(arena);
        // User memory, and what tells of it.
        report.say(if (PAGES..PAGES + PAGES / 8).contains(&taken) { "once" } else { "more or less than once" });
    });
    assert_eq!(outcome.end, End::Exit(0), "{outcome:?}");
    assert_eq!(outcome.last(), "once", "page faults");
}
