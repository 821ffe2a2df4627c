//! A region whose bytes lie. A population is made, some of its header and metadata is changed, and then the arena is
//! opened and used in every way: it may be refused, and what is given may be wrong, but nothing panics, nothing hangs, and
//! no access leaves the region.
#![no_main]

use core::alloc::Layout;
use core::ptr::NonNull;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arbitrary::Unstructured;
use engram::{Arena, ArenaBuilder, BatchFlags, ColumnId, Request, SpikeTime};
use libfuzzer_sys::fuzz_target;

const PAGE: usize = 4096;
const COLUMNS: u32 = 2;
/// Capacities: as it is made, and as it may be opened.
const SMALL: usize = 4 << 20;
const LARGE: usize = 6 << 20;

fn builder(capacity: usize) -> ArenaBuilder {
    Arena::builder().capacity(capacity).columns(COLUMNS)
}

/// Memory for regions, whose bounds the sanitizer knows: where a region lives, and where its copy dies.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    fn new() -> Self {
        // A region that grew takes room for its old metadata as well.
        let bytes = builder(LARGE).size().expect("a size") + 2 * (builder(SMALL).size().expect("a size") - SMALL);
        let layout = Layout::from_size_align(bytes.next_multiple_of(PAGE), PAGE).expect("a layout");
        // SAFETY: the layout is not empty.
        Self { start: NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).expect("memory"), layout }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: ours, initialised, and no arena is open in it.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }

    fn open(&mut self, capacity: usize) -> engram::Result<Arena> {
        // SAFETY: ours; one arena at a time is open in it, and is dropped before it is used otherwise.
        unsafe { builder(capacity).memory(self.start, self.layout.size()).build() }
    }
}

thread_local! {
    static MEMORY: RefCell<(Memory, Memory)> = RefCell::new((Memory::new(), Memory::new()));
}

const SIZES: [usize; 16] = [1, 16, 100, 100, 128, 300, 500, 700, 1024, 2000, 4096, 5000, 35_000, 200_000, 300_000, 2_100_000];

/// A block that is given, or found: all of it is the arena's user memory.
fn touch(arena: &Arena, p: NonNull<u8>, bytes: usize) {
    let offset = arena.offset_of(p.as_ptr()).expect("a block lies in user memory");
    assert!(bytes != 0 && offset + bytes <= arena.capacity(), "a block of {bytes} bytes at {offset:#x}");
    // SAFETY: inside user memory, as just asserted; nobody else uses it.
    unsafe {
        p.write(1);
        p.add(bytes - 1).write(2);
    }
}

/// Does something of everything; true if there is more to do.
fn step(arena: &Arena, blocks: &mut Vec<NonNull<u8>>, bytes: &mut Unstructured<'_>) -> arbitrary::Result<bool> {
    if bytes.is_empty() {
        return Ok(false);
    }
    let (kind, number) = (bytes.int_in_range(0..=15_u8)?, bytes.arbitrary::<u8>()?);
    let size = SIZES[usize::from(number) % SIZES.len()];
    let spike = if number < 128 { SpikeTime::NONE } else { SpikeTime::from_nanos(1 << (number % 32)) };
    let column = ColumnId::new(u32::from(number / 16) % COLUMNS);
    let layout = Layout::from_size_align(size, if kind == 1 { 64 } else { 16 }).expect("a layout");
    let slot = usize::from(number) % 4;
    let given = match kind {
        0..=2 => arena.alloc(Some(column), layout, spike).ok(),
        3..=5 => arena.column(column).and_then(|held| held.alloc(size, 16, spike)).ok(),
        6 => {
            let requests = [16, size, 100].map(|size| Request { size, align: 16, column: Some(column), spike });
            let mut out = [core::ptr::null_mut(); 3];
            let flags = if number < 128 { BatchFlags::empty() } else { BatchFlags::ORDERED | BatchFlags::ATOMIC };
            let _ = arena.alloc_batch(&requests, flags, &mut out);
            let given: Vec<_> = out.into_iter().filter_map(NonNull::new).collect();
            blocks.extend(given.iter().skip(1));
            given.first().copied()
        }
        7 => {
            // Not over another name: then nobody could take that back.
            if arena.root(slot) == Ok(0) {
                let _ = arena.publish_root(Some(column), layout, spike, slot);
            }
            None
        }
        8 => {
            // SAFETY: nothing uses the block afterwards.
            let _ = unsafe { arena.unpublish_root(slot) };
            None
        }
        9 | 10 => {
            let at = usize::from(number) % blocks.len().max(1);
            if let Some(&p) = blocks.get(at) {
                blocks.swap_remove(at);
                // SAFETY, both: not used afterwards; what is no block is refused.
                let _ = if kind == 9 { unsafe { arena.free(p) } } else { arena.column(column).and_then(|held| unsafe { held.free(p) }) };
            }
            None
        }
        11 => {
            let at = usize::from(number) % blocks.len().max(1);
            let Some(&p) = blocks.get(at) else { return Ok(true) };
            blocks.swap_remove(at);
            // SAFETY: the old address is not used afterwards.
            unsafe { arena.realloc(p, size, spike) }.ok()
        }
        12 => {
            if number < 64
                && let Ok(held) = arena.column(column)
            {
                // SAFETY: what its blocks were is refused from here on.
                unsafe { held.reset() };
            }
            None
        }
        13 => {
            // Several free blocks in a row, the last of which is held back.
            if let Ok(held) = arena.column(column) {
                for p in blocks.drain(..blocks.len() / 2) {
                    // SAFETY: not used afterwards; what is no block is refused.
                    let _ = unsafe { held.free(p) };
                }
            }
            None
        }
        14 => {
            // A word in a block, at which something is published, and perhaps taken back.
            if let Ok(p) = arena.alloc(Some(column), Layout::new::<[u64; 8]>(), spike) {
                let place = p.cast::<u64>();
                // SAFETY: a block that was just given, and nobody else uses.
                unsafe {
                    AtomicU64::from_ptr(place.as_ptr()).store(0, Relaxed);
                    let _ = arena.publish(Some(column), layout, spike, place);
                    if number < 100 {
                        let _ = arena.unpublish(place);
                    }
                }
            }
            None
        }
        _ => {
            let _ = arena.maintain(core::time::Duration::from_micros(50));
            None
        }
    };
    if let Some(p) = given {
        if let Some(usable) = arena.usable_size(p.as_ptr()) {
            touch(arena, p, usable);
        }
        blocks.push(p);
    }
    Ok(true)
}

/// Changes some of the bytes, mostly where something is.
fn damage(region: &mut [u8], bytes: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let word = |region: &[u8], at: usize| u64::from_ne_bytes(region[at..at + 8].try_into().expect("eight bytes"));
    // Where the metadata is: the header's first extent.
    let (start, length) = (word(region, 8 * 10) as usize, word(region, 8 * 11) as usize);
    let set: Vec<usize> = (start..start + length).step_by(4).filter(|&at| region[at..at + 4] != [0; 4]).collect();
    for _ in 0..bytes.int_in_range(0..=8_u8)? {
        let at = match bytes.int_in_range(0..=9_u8)? {
            0 => 4 * bytes.choose_index(PAGE / 4)?,
            1..=2 => start + 4 * bytes.choose_index(length / 4)?,
            // Next to something: an entry that is to be.
            3..=4 if !set.is_empty() => {
                (set[bytes.choose_index(set.len())?] + 4 * bytes.int_in_range(0..=64_usize)?).min(start + length - 4)
            }
            _ if !set.is_empty() => set[bytes.choose_index(set.len())?],
            _ => continue,
        };
        let old = u32::from_ne_bytes(region[at..at + 4].try_into().expect("four bytes"));
        let new = match bytes.int_in_range(0..=6_u8)? {
            0 => old ^ 1 << bytes.int_in_range(0..=31_u8)?,
            1 => bytes.arbitrary::<u8>()?.into(),
            2 => u32::MAX,
            3 => old.wrapping_add(1),
            // Owners: large, shared, of a column that there is or not.
            4 => u32::from(bytes.arbitrary::<u8>()?) << 24 | u32::from(bytes.int_in_range(0..=4_u8)?),
            // What stands elsewhere.
            5 if !set.is_empty() => {
                let from = set[bytes.choose_index(set.len())?];
                u32::from_ne_bytes(region[from..from + 4].try_into().expect("four bytes"))
            }
            _ => bytes.arbitrary()?,
        };
        region[at..at + 4].copy_from_slice(&new.to_ne_bytes());
    }
    Ok(())
}

/// Uses an arena of which nothing is known.
fn explore(arena: &Arena, bytes: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let _ = arena.verify();
    let _ = arena.metrics();
    let mut blocks = Vec::new();
    for index in 0..COLUMNS {
        let column = arena.column(ColumnId::new(index)).expect("nobody holds it");
        column.walk(|block| {
            assert!(arena.offset_of(block.start.as_ptr()).is_some_and(|offset| offset + block.usable <= arena.capacity()));
            blocks.push(block.start);
            true
        });
    }
    for &p in &blocks {
        if let Some(usable) = arena.usable_size(p.as_ptr()) {
            touch(arena, p, usable);
        }
    }
    for _ in 0..64 {
        if !step(arena, &mut blocks, bytes)? {
            break;
        }
    }
    for p in blocks {
        // SAFETY: not used afterwards; what is no block is refused.
        let _ = unsafe { arena.free(p) };
    }
    let _ = arena.verify();
    Ok(())
}

fn run((living, dying): &mut (Memory, Memory), bytes: &[u8]) -> arbitrary::Result<()> {
    // Choices of their own for each part, so that one more step is not another damage.
    let (first, rest) = bytes.split_at(bytes.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    let (mut made, mut damaged, mut used) = (Unstructured::new(first), Unstructured::new(second), Unstructured::new(third));
    let (closed, capacity) = (made.arbitrary::<bool>()?, if made.ratio(1, 8_u8)? { LARGE } else { SMALL });
    living.bytes()[..PAGE].fill(0);
    {
        let arena = living.open(SMALL).expect("a new arena");
        let mut blocks = Vec::new();
        for _ in 0..64 {
            if !step(&arena, &mut blocks, &mut made)? {
                break;
            }
        }
        arena.verify().expect("an arena that was not damaged");
        let held = arena.column(ColumnId::new(0)).expect("nobody holds it");
        if let Some(p) = blocks.pop() {
            // A free that is held back.
            // SAFETY: not used afterwards.
            let _ = unsafe { held.free(p) };
        }
        // SAFETY: all of the memory is initialised; the arena does nothing meanwhile.
        let now = unsafe { core::slice::from_raw_parts(living.start.as_ptr(), living.layout.size()) };
        dying.bytes().copy_from_slice(now);
    }
    if closed {
        dying.bytes().copy_from_slice(living.bytes());
    }
    damage(dying.bytes(), &mut damaged)?;
    for _ in 0..2 {
        // What is refused is refused.
        let Ok(arena) = dying.open(capacity) else { return Ok(()) };
        explore(&arena, &mut used)?;
    }
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    // Without choices there is nothing more to try.
    let _ = MEMORY.with_borrow_mut(|memory| run(memory, bytes));
});
