//! Files for `engram replay`, whatever their bytes: the reader gives a trace that is consistent, or an error that names a
//! byte of theirs. It never panics, and never takes more memory than follows from the file's length.
//!
//! The first byte says what the others are: a file as it is, plain or zstd; or operations, sound ones and now and then one
//! that cannot be. Of these the reader must say exactly what is known of them; then the file is compressed or not, some of
//! its bytes are changed, and it is read as any other.
#![no_main]

#[allow(dead_code, reason = "the command line uses all of it")]
#[path = "../../src/bin/engram/trace/mod.rs"]
mod trace;
#[allow(dead_code, reason = "tests use all of it")]
#[path = "../../src/bin/engram/trace/writer.rs"]
mod writer;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use trace::{Action, Fault, Op, Trace, TraceError, packed};
use writer::Writer;

/// The most bytes that are unpacked here, so that a run is short.
const LIMIT: usize = 1 << 20;
/// The most that a byte of a compressed file stands for: a block of 128 KiB takes four.
const RATIO: usize = (128 << 10) / 4;
/// What the decoder's tables take, whatever the file.
const TABLES: usize = 1 << 20;

/// The system's allocator, which remembers the most that was taken from it at once.
struct Measured;

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Measured {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let taken = TAKEN.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(taken, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static MEMORY: Measured = Measured;

/// What `run` gives; it must not take more than `most` bytes at once.
fn within<T>(most: usize, run: impl FnOnce() -> T) -> T {
    let before = TAKEN.load(Relaxed);
    MOST.store(before, Relaxed);
    let result = run();
    let taken = MOST.load(Relaxed) - before;
    assert!(taken <= most, "{taken} bytes of memory were taken, at most {most} are allowed");
    result
}

/// Reads a file as the command line does, and checks what it says.
fn read(file: &[u8]) -> Option<Trace> {
    // The decoder's window and its next size, and the content and its next size.
    let most = TABLES + file.len() + 3 * (file.len() * RATIO + LIMIT);
    match within(most, || packed::unpack_within(LIMIT, file.to_vec())) {
        Ok(bytes) => {
            assert!(bytes.len() <= LIMIT);
            decode(&bytes)
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && !said.contains('\n'), "not one line: {said}");
            None
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Trace> {
    // An operation takes two bytes at least and 24 when it is decoded, an object three and one; a vector that grows is
    // there twice.
    let most = 40 * bytes.len() + 1024;
    match within(most, || trace::decode(bytes)) {
        Ok(trace) => {
            assert_consistent(&trace, bytes);
            Some(trace)
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.contains('\n') && said.starts_with(&format!("at byte {} of the decompressed trace: ", error.at)), "{said}");
            if let Fault::CutShort { .. } = error.fault {
                assert_eq!(error.at, bytes.len(), "{said}");
                return None;
            }
            assert!(error.at < bytes.len(), "{said}");
            // All before the byte at fault is right: only its end is missing.
            if !matches!(error.fault, Fault::MoreThanStated { .. }) {
                let before = trace::decode(&bytes[..error.at]).expect_err("cut at the byte at fault, it is read");
                assert!(before.at == error.at && matches!(before.fault, Fault::CutShort { .. }), "{said}, and cut there: {before}");
            }
            None
        }
    }
}

/// The invariants T1 to T4, the header's counts, and that written again it is the same trace.
fn assert_consistent(trace: &Trace, bytes: &[u8]) {
    let stated = |at: usize, length: usize| bytes[at..at + length].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
    assert!((1..=64).contains(&trace.threads()));
    assert_eq!(u64::from(trace.threads()), stated(12, 4));
    assert_eq!(trace.ops().len() as u64, stated(16, 8));
    assert_eq!(u64::from(trace.objects()), stated(24, 8));
    let mut live = Vec::new();
    for op in trace.ops() {
        assert!(op.thread < trace.threads(), "T3: {op:?}");
        let is_live = live.get(op.object as usize) == Some(&true);
        match op.action {
            Action::Allocate { size, align_log2 } => {
                assert_eq!(op.object as usize, live.len(), "T1: {op:?}");
                assert!(size <= 1 << 40 && align_log2 <= 21, "T4: {op:?}");
                live.push(true);
            }
            Action::Free => {
                assert!(is_live, "T2: {op:?}");
                live[op.object as usize] = false;
            }
            Action::Reallocate { size } => {
                assert!(is_live, "T2: {op:?}");
                assert!(size <= 1 << 40, "T4: {op:?}");
            }
        }
    }
    assert_eq!(trace.objects() as usize, live.len());
    let again = trace::decode(&written(trace.threads(), trace.ops())).expect("what was read can be written and read again");
    assert_eq!(again, *trace);
}

fn written(threads: u8, ops: &[Op]) -> Vec<u8> {
    let mut writer = Writer::new(u32::from(threads));
    for &Op { object, thread, action } in ops {
        match action {
            Action::Allocate { size, align_log2 } => {
                writer.allocate(thread, size, align_log2);
            }
            Action::Free => writer.free(thread, u64::from(object)),
            Action::Reallocate { size } => writer.reallocate(thread, u64::from(object), size),
        }
    }
    writer.finish()
}

/// A trace made of the fuzzer's bytes, and what the reader must say of it.
struct Made {
    file: Writer,
    threads: u8,
    ops: Vec<Op>,
    /// The first thing that is wrong; the operations end with it.
    fault: Option<TraceError>,
}

impl Made {
    /// Operations as long as there are choices: now and then one that cannot be.
    fn of(choices: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let threads = choices.int_in_range(1..=64)?;
        let mut made = Self { file: Writer::new(u32::from(threads)), threads, ops: Vec::new(), fault: None };
        let mut live = Vec::new();
        while !choices.is_empty() && made.fault.is_none() {
            made.add(choices, &mut live)?;
        }
        Ok(made)
    }

    /// Adds an operation; `live` has an entry for each object so far.
    fn add(&mut self, choices: &mut Unstructured<'_>, live: &mut Vec<bool>) -> arbitrary::Result<()> {
        let (kind, thread, may_be_wrong) = (choices.int_in_range(0..=3_u8)?, choices.int_in_range(0..=63_u8)?, choices.ratio(1, 16_u8)?);
        let thread = if may_be_wrong { thread } else { thread % self.threads };
        let at = self.file.at();
        let fault = |at: usize, fault: Fault| Some(TraceError { at, fault });
        if thread >= self.threads {
            self.file.raw(&[kind | thread << 2, 0, 0]);
            self.fault = fault(at, Fault::Thread { thread, threads: self.threads });
            return Ok(());
        }
        let size = u64::from(choices.arbitrary::<u16>()?) << choices.int_in_range(0..=if may_be_wrong { 30 } else { 24 })?;
        let too_large = |after: usize| (size > 1 << 40).then_some(TraceError { at: after, fault: Fault::Size { size } });
        if kind == 3 && may_be_wrong {
            self.file.raw(&[kind | thread << 2, 0, 0]);
            self.fault = fault(at, Fault::UnknownOperation);
        } else if kind % 3 == 0 || live.is_empty() {
            let align_log2 = choices.int_in_range(0..=if may_be_wrong { 24 } else { 21 })?;
            self.file.allocate(thread, size, align_log2);
            let wrong_align = (align_log2 > 21).then_some(TraceError { at: self.file.at() - 1, fault: Fault::Alignment { align_log2 } });
            self.fault = too_large(at + 1).or(wrong_align);
            self.ops.push(Op { object: live.len() as u32, thread, action: Action::Allocate { size, align_log2 } });
            live.push(true);
        } else {
            let distance = choices.choose_index(live.len() + usize::from(may_be_wrong))?;
            let Some(newest_live) = (0..live.len()).rev().find(|&object| live[object]) else { return Ok(()) };
            let object = match live.len().checked_sub(distance + 1) {
                Some(object) if live[object] || may_be_wrong => object,
                Some(_) => newest_live,
                None => {
                    if distance < 0x80 {
                        self.file.raw(&[kind | thread << 2, distance as u8, 0]);
                        self.fault = fault(at + 1, Fault::UnknownObject { distance: distance as u64, objects: live.len() });
                    }
                    return Ok(());
                }
            };
            let action = if kind == 1 { Action::Free } else { Action::Reallocate { size } };
            if kind == 1 {
                self.file.free(thread, object as u64);
            } else {
                self.file.reallocate(thread, object as u64, size);
                self.fault = too_large(self.file.at() - varint_bytes(size));
            }
            if !live[object] {
                self.fault = fault(at + 1, Fault::DeadObject { object: object as u32 });
            }
            live[object] &= kind != 1;
            self.ops.push(Op { object: object as u32, thread, action });
        }
        Ok(())
    }

    /// The reader must say just that.
    fn check(&self) {
        let file = self.file.finish();
        match (read(&file), &self.fault) {
            (Some(trace), None) => assert_eq!((trace.threads(), trace.ops()), (self.threads, self.ops.as_slice())),
            (None, Some(fault)) => assert_eq!(trace::decode(&file).as_ref(), Err(fault)),
            (trace, fault) => panic!("read: {}, expected: {fault:?}", trace.is_some()),
        }
    }
}

fn varint_bytes(value: u64) -> usize {
    ((64 - value.leading_zeros()).div_ceil(7)).max(1) as usize
}

/// Some bytes changed, put in or taken out.
fn damaged(mut file: Vec<u8>, choices: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    for _ in 0..choices.int_in_range(1..=4)? {
        if file.is_empty() {
            break;
        }
        let at = choices.choose_index(file.len())?;
        match choices.int_in_range(0..=4_u8)? {
            0 => file[at] = choices.arbitrary()?,
            1 => file[at] ^= 1 << choices.int_in_range(0..=7)?,
            2 => file.insert(at, choices.arbitrary()?),
            3 => drop(file.remove(at)),
            _ => file.truncate(at),
        }
    }
    Ok(file)
}

/// The operations, then the same file compressed or not, and with some of its bytes changed.
fn made_then_damaged(bytes: &[u8]) -> arbitrary::Result<()> {
    let (changes, ops) = bytes.split_at(bytes.len().min(16) / 2);
    let mut changes = Unstructured::new(changes);
    let made = Made::of(&mut Unstructured::new(ops))?;
    made.check();
    let mut file = made.file.finish();
    if changes.arbitrary()? {
        let plain = file;
        file = ruzstd::encoding::compress_to_vec(plain.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
        assert_eq!(packed::unpack(file.clone()).expect("what was packed can be unpacked"), plain);
    }
    read(&damaged(file, &mut changes)?);
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((kind, file)) if kind % 2 == 0 => drop(read(file)),
        // Without choices there is nothing to try.
        Some((_, choices)) => drop(made_then_damaged(choices)),
        None => {}
    }
});
