//! Whether an arena that was recovered is what its program left: see [`judge`].

use core::ptr::NonNull;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use engram::{Arena, ArenaBuilder, ColumnId, SpikeTime};

use super::table::{Place, Table, is_stamped, state};

/// Blocks by offset: their usable bytes and column.
pub(crate) type Blocks = BTreeMap<usize, (usize, u32)>;

macro_rules! ensure {
    ($condition:expr, $($why:tt)*) => {
        if !$condition {
            return Err(format!($($why)*));
        }
    };
}

/// All blocks that there are; no two overlap.
pub(crate) fn blocks(arena: &Arena) -> Result<Blocks, String> {
    let mut blocks = Blocks::new();
    for index in 0..arena.columns() {
        let column = arena.column(ColumnId::new(index)).map_err(|error| error.to_string())?;
        column.walk(|block| {
            blocks.insert(arena.offset_of(block.start.as_ptr()).unwrap(), (block.usable, index));
            true
        });
    }
    for ((&offset, &(usable, _)), (&next, _)) in blocks.iter().zip(blocks.iter().skip(1)) {
        ensure!(offset + usable <= next, "blocks {offset:#x} and {next:#x} overlap");
    }
    Ok(blocks)
}

/// What is there of an entry's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Live,
    Maybe,
    Dead,
}

/// An entry's block, where it is to be.
struct Owned {
    index: usize,
    state: u32,
    expected: Expected,
    offset: usize,
    size: usize,
    stamp: u64,
    stamped: usize,
}

/// What is found.
pub(crate) struct Verdict {
    /// Blocks that no entry knows.
    pub(crate) unknown: Vec<usize>,
    /// Entries whose block is there, and its offset.
    pub(crate) alive: Vec<(usize, usize)>,
}

/// The blocks of the entries, and the sizes of those that were being allocated.
fn owned(arena: &Arena, table: &Table) -> Result<(Vec<Owned>, Vec<usize>), String> {
    let (mut owned, mut coming) = (Vec::new(), Vec::new());
    let (resetting, reset) = (table.resetting.load(Acquire), table.reset.load(Acquire));
    for (index, entry) in table.entries.iter().enumerate() {
        let state = entry.state.load(Acquire);
        let place = Place::of(entry.place.load(Relaxed));
        let mut it = Owned {
            index,
            state,
            expected: Expected::Live,
            offset: entry.offset.load(Relaxed) as usize,
            size: entry.size.load(Relaxed) as usize,
            stamp: entry.stamp.load(Relaxed),
            stamped: entry.stamped.load(Relaxed) as usize,
        };
        let to_size = entry.to_size.load(Relaxed) as usize;
        match state {
            state::EMPTY => continue,
            state::ALLOCATING => {
                coming.push(it.size);
                continue;
            }
            state::LIVE => {}
            state::FREEING => it.expected = Expected::Maybe,
            state::MOVING => {
                coming.push(to_size);
                it.expected = Expected::Maybe;
            }
            state::MOVED => {
                (it.offset, it.size) = (entry.to_offset.load(Relaxed) as usize, to_size);
                it.stamped = it.stamped.min(to_size);
            }
            state::PUBLISHING => {
                (it.offset, it.stamped) = (place.name(arena), 0);
                if it.offset == 0 {
                    continue;
                }
            }
            state::PUBLISHED => {
                let name = place.name(arena);
                ensure!(name == it.offset, "entry {index}: {place:?} names {name:#x}; published there is {:#x}", it.offset);
            }
            state::UNPUBLISHING => match place.name(arena) {
                0 => it.expected = Expected::Dead,
                name if name == it.offset => {}
                name => return Err(format!("entry {index}: {place:?} names {name:#x}; unpublished was {:#x}", it.offset)),
            },
            _ => return Err(format!("entry {index} is in state {state}")),
        }
        let column = entry.column.load(Relaxed) + 1;
        if column == reset {
            it.expected = Expected::Dead;
        } else if column == resetting {
            it.expected = Expected::Maybe;
        }
        owned.push(it);
    }
    Ok((owned, coming))
}

/// Checks an arena that was recovered against what its program noted: what was handed out is there, with its content, and
/// what was freed is not; of each operation that was in flight all or nothing was done, and a publication if and
/// only if its place says so; nothing else is there.
pub(crate) fn judge(arena: &Arena, table: &Table) -> Result<Verdict, String> {
    arena.verify().map_err(|error| format!("verify: {error}"))?;
    let found = blocks(arena)?;
    let live = arena.metrics().live_blocks();
    ensure!(live == found.len() as u64, "{live} blocks are counted, {} found", found.len());
    let mut unknown: BTreeMap<usize, usize> = found.iter().map(|(&offset, &(usable, _))| (offset, usable)).collect();
    let (mut owned, mut coming) = owned(arena, table)?;
    // What is certain comes first: a block that was freed may be another entry's already.
    owned.sort_by_key(|it| it.expected != Expected::Live);
    let mut alive = Vec::new();
    let mut lost = Vec::new();
    for it in &owned {
        let about = || format!("entry {} (state {}): the block of {} bytes at {:#x}", it.index, it.state, it.size, it.offset);
        let p = arena.at(it.offset).ok_or_else(about)?;
        let Some(&usable) = unknown.get(&it.offset) else {
            ensure!(it.expected != Expected::Live, "{} is gone", about());
            lost.push(it);
            continue;
        };
        // A block that was being moved may have become smaller where it is.
        let to_size = table.entries[it.index].to_size.load(Relaxed) as usize;
        let size = if it.state == state::MOVING && usable < it.size { to_size } else { it.size };
        let stamped = is_stamped(p, it.stamp, it.stamped.min(size));
        if it.expected == Expected::Dead || it.expected == Expected::Maybe && !stamped {
            // Another thread's, if one was about to be given.
            ensure!(!coming.is_empty(), "{} is there, with {} content", about(), if stamped { "its" } else { "another" });
            lost.push(it);
            continue;
        }
        unknown.remove(&it.offset);
        ensure!(usable >= size && arena.usable_size(p) == Some(usable), "{}: {usable} bytes are usable", about());
        ensure!(stamped, "{} has another content", about());
        alive.push((it.index, it.offset));
    }
    let resetting = table.resetting.load(Acquire);
    let was_reset = |index: usize| table.entries[index].column.load(Relaxed) + 1 == resetting;
    let kept = alive.iter().filter(|&&(index, _)| was_reset(index)).count();
    let gone = lost.iter().filter(|it| was_reset(it.index)).count();
    ensure!(kept == 0 || gone == 0, "a reset has freed {gone} blocks, and {kept} not");
    for it in lost.iter().filter(|it| it.state == state::MOVING) {
        let size = table.entries[it.index].to_size.load(Relaxed) as usize;
        let is_it =
            |(&offset, &usable): (&usize, &usize)| usable >= size && is_stamped(arena.at(offset).unwrap(), it.stamp, it.stamped.min(size));
        ensure!(unknown.iter().any(is_it), "entry {}: a block that was being moved is neither here nor there", it.index);
    }
    ensure!(unknown.len() <= coming.len(), "nobody knows the blocks {unknown:x?}; {} were being allocated", coming.len());
    coming.sort_unstable();
    let mut usable: Vec<_> = unknown.values().copied().collect();
    usable.sort_unstable();
    // Which is which is not known; the smallest must serve for the smallest at least.
    let serves = usable.iter().zip(&coming).all(|(usable, size)| usable >= size);
    ensure!(serves, "blocks of {usable:?} bytes were given for {coming:?}");
    Ok(Verdict { unknown: unknown.into_keys().collect(), alive })
}

/// An arena that is used goes on: it gives blocks of all kinds, which overlap with none that is there.
pub(crate) fn goes_on(arena: &Arena) -> Result<(), String> {
    for index in 0..arena.columns() {
        let column = ColumnId::new(index);
        for size in [16, 100, 128, 700, 1024, 4096, 35_000, 300_000] {
            let layout = core::alloc::Layout::from_size_align(size, 16).unwrap();
            // Memory may be short.
            let _ = arena.alloc(Some(column), layout, SpikeTime::NONE);
        }
    }
    blocks(arena)?;
    arena.verify().map_err(|error| format!("verify, after going on: {error}"))
}

/// Frees all, and then the arena holds as many blocks as a new one, `fresh`.
pub(crate) fn empty(arena: &Arena, fresh: usize) -> Result<(), String> {
    for &offset in blocks(arena)?.keys() {
        let p = NonNull::new(arena.at(offset).unwrap()).unwrap();
        // SAFETY: a block that nobody uses.
        unsafe { arena.free(p) }.map_err(|error| format!("{offset:#x} cannot be freed: {error}"))?;
    }
    arena.verify().map_err(|error| format!("verify, when empty: {error}"))?;
    let metrics = arena.metrics();
    ensure!((metrics.live_blocks(), metrics.bytes_live) == (0, 0), "empty, it counts {} bytes", metrics.bytes_live);
    let holds = fill(arena);
    ensure!(holds == fresh, "empty, it holds {holds} blocks, a new one {fresh}");
    Ok(())
}

/// How many blocks of 1,000 bytes there is room for.
pub(crate) fn fill(arena: &Arena) -> usize {
    let column = arena.column(ColumnId::new(1)).unwrap();
    let mut served = 0;
    while column.alloc(1000, 16, SpikeTime::NONE).is_ok() {
        served += 1;
    }
    served
}

/// How many blocks a new arena holds.
pub(crate) fn fresh(builder: ArenaBuilder) -> usize {
    fill(&builder.build().unwrap())
}
