//! Region files and given memory: what was not freed is there again.

#[cfg(target_os = "linux")]
mod files;
#[path = "../common/folder.rs"]
mod folder;
mod published;

use core::alloc::Layout;
use core::ptr::NonNull;
use std::collections::BTreeMap;

use engram::{Arena, ArenaBuilder, BatchFlags, ColumnId, Error, RegionView, Request, SpikeTime};
use folder::Folder;

fn builder() -> ArenaBuilder {
    Arena::builder().capacity(32 << 20).columns(4)
}

/// A block's bytes: its offset, again and again.
fn stamp(arena: &Arena, p: NonNull<u8>, bytes: usize) -> usize {
    let offset = arena.offset_of(p.as_ptr()).unwrap();
    for (index, byte) in offset.to_le_bytes().iter().cycle().take(bytes).enumerate() {
        // SAFETY: the block has these bytes.
        unsafe { p.add(index).write(*byte) };
    }
    offset
}

fn is_stamped(arena: &Arena, offset: usize, bytes: usize) -> bool {
    let p = arena.at(offset).unwrap();
    // SAFETY: the block has these bytes.
    offset.to_le_bytes().iter().cycle().take(bytes).enumerate().all(|(index, byte)| unsafe { p.add(index).read() } == *byte)
}

const SIZES: [usize; 12] = [1, 16, 48, 100, 200, 500, 640, 4096, 5000, 35_000, 262_144, 300_000];

/// Blocks of all kinds: held, unheld, large, aligned; some freed again in every way.
fn populate(arena: &Arena) -> BTreeMap<usize, usize> {
    let mut blocks = BTreeMap::new();
    let mut keep = |p: NonNull<u8>, bytes| blocks.insert(stamp(arena, p, bytes), bytes);
    let mut gone = Vec::new();
    {
        let column = arena.column(ColumnId::new(1)).unwrap();
        for round in 0..40 {
            for &size in &SIZES[..9] {
                let p = column.alloc(size, 16, SpikeTime::from_nanos(round * 4_000_000)).unwrap();
                if round % 3 == 0 {
                    // SAFETY: ours, and not used again.
                    unsafe { column.free(p).unwrap() };
                } else if round % 3 == 1 {
                    gone.push(p);
                } else {
                    keep(p, size);
                }
            }
        }
        // A column that is held: its shared spans serve.
        for size in SIZES {
            let layout = Layout::from_size_align(size, 64).unwrap();
            keep(arena.alloc(Some(ColumnId::new(1)), layout, SpikeTime::NONE).unwrap(), size);
        }
        for p in gone {
            // SAFETY: ours, and not used again.
            unsafe { arena.free(p).unwrap() };
        }
    }
    for size in SIZES {
        let layout = Layout::from_size_align(size, 16).unwrap();
        keep(arena.alloc(Some(ColumnId::new(3)), layout, SpikeTime::NONE).unwrap(), size);
    }
    blocks
}

fn check(arena: &Arena, blocks: &BTreeMap<usize, usize>) {
    arena.verify().unwrap();
    for (&offset, &bytes) in blocks {
        assert!(arena.usable_size(arena.at(offset).unwrap()).is_some_and(|usable| usable >= bytes), "{offset:#x} of {bytes}");
        assert!(is_stamped(arena, offset, bytes), "{offset:#x} of {bytes}");
    }
    assert_eq!(arena.metrics().live_blocks(), blocks.len() as u64);
}

/// Frees all, and then holds as much as a new arena of the kind.
fn empty(arena: &Arena, blocks: &BTreeMap<usize, usize>, fresh: &Arena) {
    for &offset in blocks.keys() {
        // SAFETY: a block, not used again.
        unsafe { arena.free(NonNull::new(arena.at(offset).unwrap()).unwrap()).unwrap() };
    }
    arena.verify().unwrap();
    let metrics = arena.metrics();
    assert_eq!((metrics.live_blocks(), metrics.bytes_live), (0, 0));
    assert_eq!(fill(arena), fill(fresh));
}

fn fill(arena: &Arena) -> usize {
    let column = arena.column(ColumnId::new(2)).unwrap();
    let mut served = 0;
    while column.alloc(1000, 16, SpikeTime::NONE).is_ok() {
        served += 1;
    }
    served
}

#[test]
fn what_was_not_freed_is_there_after_closing_and_reopening() {
    let folder = Folder::new("region-reopen");
    let arena = builder().path(folder.file("region")).build().unwrap();
    assert!(!arena.was_recovered());
    let blocks = populate(&arena);
    check(&arena, &blocks);
    drop(arena);
    for _ in 0..2 {
        let arena = builder().path(folder.file("region")).build().unwrap();
        assert!(!arena.was_recovered());
        check(&arena, &blocks);
    }
    let arena = builder().path(folder.file("region")).build().unwrap();
    let fresh = Folder::new("region-reopen-fresh");
    empty(&arena, &blocks, &builder().path(fresh.file("region")).build().unwrap());
}

/// Seen with: zeros that are written.
#[test]
fn a_copy_of_little_takes_little() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::in_memory("region-copied-little");
    let arena = builder().build().unwrap();
    arena.alloc(None, Layout::new::<[u64; 8]>(), SpikeTime::NONE).unwrap();
    arena.snapshot(folder.file("copy")).unwrap();
    let about = std::fs::metadata(folder.file("copy")).unwrap();
    assert!(about.len() > 32 << 20 && about.blocks() * 512 < 1 << 20, "{} blocks", about.blocks());
}

/// A copy has the chunks that are known to have been used. Seen with: a copy that looks as if its process had died; without those of
/// blocks above 2 MiB that are not, since they were allocated or since the region was opened.
#[test]
fn a_copy_has_every_block_whole() {
    let folder = Folder::in_memory("region-copied");
    let (path, copy) = (folder.file("region"), folder.file("copy"));
    let mut arena = builder().path(&path).build().unwrap();
    let mut blocks = populate(&arena);
    for bytes in [2 << 20, 5 << 20] {
        let large = arena.alloc(None, Layout::from_size_align(bytes, 16).unwrap(), SpikeTime::NONE).unwrap();
        blocks.insert(stamp(&arena, large, bytes), bytes);
    }
    for _ in 0..2 {
        arena.snapshot(&copy).unwrap();
        let copied = builder().path(&copy).build().unwrap();
        assert!(!copied.was_recovered());
        check(&copied, &blocks);
        drop(arena);
        arena = builder().path(&path).build().unwrap();
    }
}

#[test]
fn what_was_not_freed_is_there_although_nobody_closed() {
    let folder = Folder::new("region-unclosed");
    let arena = builder().path(folder.file("region")).build().unwrap();
    let blocks = populate(&arena);
    let copy = folder.file("copy");
    std::fs::copy(folder.file("region"), &copy).unwrap();
    let again = builder().path(&copy).build().unwrap();
    assert!(again.was_recovered());
    check(&again, &blocks);
    drop(again);
    let again = builder().path(&copy).build().unwrap();
    assert!(!again.was_recovered());
    let fresh = Folder::new("region-unclosed-fresh");
    empty(&again, &blocks, &builder().path(fresh.file("region")).build().unwrap());
}

#[test]
fn what_a_holder_freed_last_is_free_although_nobody_closed() {
    let folder = Folder::new("region-held-back");
    let arena = builder().path(folder.file("region")).build().unwrap();
    let column = arena.column(ColumnId::new(1)).unwrap();
    // One of each kind whose last free is held back, and one whose is not.
    for size in [64, 5000, 300_000] {
        let p = column.alloc(size, 16, SpikeTime::NONE).unwrap();
        // SAFETY: ours, and not used again.
        unsafe { column.free(p).unwrap() };
    }
    let copy = folder.file("copy");
    std::fs::copy(folder.file("region"), &copy).unwrap();
    let again = builder().path(&copy).build().unwrap();
    assert!(again.was_recovered());
    check(&again, &BTreeMap::new());
}

#[test]
fn a_region_grows_and_does_not_shrink() {
    let folder = Folder::new("region-grow");
    let arena = builder().path(folder.file("region")).build().unwrap();
    let mut blocks = populate(&arena);
    drop(arena);
    for capacity in [34 << 20, 64 << 20] {
        let arena = builder().capacity(capacity).path(folder.file("region")).build().unwrap();
        assert_eq!((arena.capacity(), arena.was_recovered()), (capacity, false));
        check(&arena, &blocks);
        let layout = Layout::from_size_align(1 << 20, 16).unwrap();
        let p = arena.alloc(None, layout, SpikeTime::NONE).unwrap();
        blocks.insert(stamp(&arena, p, 1 << 20), 1 << 20);
    }
    let error = builder().path(folder.file("region")).build().unwrap_err();
    assert_eq!(error, Error::Shrinks { has: 64 << 20, asked: 32 << 20 });
    assert!(error.to_string().contains("67108864") && error.to_string().contains("33554432"), "{error}");
    let arena = builder().capacity(64 << 20).path(folder.file("region")).build().unwrap();
    check(&arena, &blocks);
    let columns = Arena::builder().columns(5).path(folder.file("region")).build();
    assert!(matches!(columns.unwrap_err(), Error::FileBusy(_)));
    drop(arena);
    let columns = Arena::builder().columns(5).path(folder.file("region")).build();
    assert_eq!(columns.unwrap_err(), Error::Columns { has: 4, asked: 5 });
}

#[test]
fn a_file_that_grows_in_small_steps_is_as_long_as_a_new_one() {
    let folder = Folder::new("region-steps");
    // With so many columns a step is less than the metadata.
    let builder = |capacity: usize| Arena::builder().capacity(capacity).columns(64).sparse(true).path(folder.file("region"));
    let mut blocks = BTreeMap::new();
    for capacity in (1..12).map(|chunks| chunks << 21) {
        let arena = builder(capacity).build().unwrap();
        assert!(!arena.was_recovered());
        check(&arena, &blocks);
        assert_eq!(std::fs::metadata(folder.file("region")).unwrap().len(), builder(capacity).size().unwrap() as u64);
        let column = arena.column(ColumnId::new(capacity as u32 >> 21)).unwrap();
        for bytes in [1000, 100_000, 1_000_000] {
            blocks.insert(stamp(&arena, column.alloc(bytes, 16, SpikeTime::NONE).unwrap(), bytes), bytes);
        }
    }
}

#[test]
fn a_path_that_no_system_takes_is_refused_with_a_reason() {
    let folder = Folder::new("region-nul");
    let path = folder.file("a\0b");
    let arena = builder().build().unwrap();
    for error in [
        builder().path(&path).build().unwrap_err(),
        builder().new_file(&path).build().unwrap_err(),
        RegionView::open(&path).unwrap_err(),
        arena.snapshot(&path).unwrap_err(),
    ] {
        assert!(matches!(error, Error::File { code: libc::EINVAL, .. }), "{error}");
    }
}

#[test]
fn why_an_arena_is_not_copied_says_nothing_of_closing_alone() {
    let folder = Folder::new("region-held");
    let arena = builder().build().unwrap();
    let _column = arena.column(ColumnId::new(3)).unwrap();
    let error = arena.snapshot(folder.file("copy")).unwrap_err();
    assert_eq!(error, Error::ArenaHeld(3));
    assert_eq!(error.to_string(), "the arena can be neither closed nor copied while column 3 is held; release it first");
    assert_eq!(folder.files(), 0);
}

#[test]
fn a_column_s_limit_stays() {
    let folder = Folder::new("region-limit");
    let arena = builder().path(folder.file("region")).build().unwrap();
    arena.limit_column(ColumnId::new(2), Some(3 << 15)).unwrap();
    drop(arena);
    for capacity in [32 << 20, 40 << 20, 40 << 20] {
        let arena = builder().capacity(capacity).path(folder.file("region")).build().unwrap();
        has_limit(&arena, 2);
    }
}

#[test]
fn what_a_column_has_above_its_limit_is_told_after_reopening_too() {
    let folder = Folder::new("region-above-limit");
    let (open, column) = (|| builder().path(folder.file("region")).build().unwrap(), ColumnId::new(2));
    let arena = open();
    let span = Layout::from_size_align(32 << 10, 16).unwrap();
    for _ in 0..5 {
        _ = arena.alloc(Some(column), span, SpikeTime::NONE).unwrap();
    }
    arena.limit_column(column, Some(3 << 15)).unwrap();
    assert_eq!(arena.metrics().bytes_committed, 5 << 15);
    drop(arena);
    let arena = open();
    assert_eq!(arena.metrics().bytes_committed, 5 << 15);
    arena.verify().unwrap();
}

/// Fills a column up to its limit of three spans.
fn has_limit(arena: &Arena, column: u32) {
    let column = arena.column(ColumnId::new(column)).unwrap();
    while column.alloc(1000, 16, SpikeTime::NONE).is_ok() {}
    let error = column.last_error();
    assert!(matches!(error, Error::Quota { limit, used, .. } if (limit, used) == (3 << 15, 3 << 15)), "{error}");
}

#[test]
fn given_memory_holds_an_arena_and_nothing_else_is_touched() {
    let size = builder().size().unwrap();
    let layout = Layout::from_size_align(size + 3 * 4096, 4096).unwrap();
    // SAFETY: the layout is not empty.
    let memory = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap();
    // SAFETY: inside the memory.
    let (inner, end) = unsafe { (memory.add(4096), memory.add(4096 + size)) };
    // SAFETY: both are ours.
    let build = |at, bytes| unsafe { builder().memory(at, bytes).build() };
    assert_eq!(build(inner, size - 4096).unwrap_err(), Error::GivenMemory { needed: size, given: size - 4096 });
    let arena = build(inner, size).unwrap();
    let blocks = populate(&arena);
    check(&arena, &blocks);
    drop(arena);
    // It may lie elsewhere.
    // SAFETY: inside the memory, both.
    unsafe { memory.copy_from(inner, size) };
    let arena = build(memory, size).unwrap();
    check(&arena, &blocks);
    drop(arena);
    // SAFETY: as above.
    unsafe {
        inner.copy_from(memory, size);
        assert!((0..2 * 4096).all(|at| end.add(at).read() == 0));
        std::alloc::dealloc(memory.as_ptr(), layout);
    }
}

/// The magic is stored last, and that a header is being written first.
#[test]
fn a_creation_that_was_cut_short_in_given_memory_is_begun_anew() {
    let size = builder().size().unwrap();
    let layout = Layout::from_size_align(size, 4096).unwrap();
    // SAFETY: the layout is not empty.
    let memory = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap();
    // SAFETY: it is ours.
    let build = || unsafe { builder().memory(memory, size).build() };
    let header = |word: usize, bytes: [u8; 8]| {
        // SAFETY: the first page of the memory, in which there is no arena at this moment.
        unsafe { memory.cast::<[u8; 8]>().add(word).write(bytes) };
    };
    let arena = build().unwrap();
    let blocks = populate(&arena);
    check(&arena, &blocks);
    drop(arena);
    header(0, [0; 8]);
    assert!(matches!(build().unwrap_err(), Error::Format { .. }), "closed, and without its magic");
    header(5, *b"creating");
    let arena = build().unwrap();
    assert!(!arena.was_recovered());
    assert_eq!(arena.metrics().bytes_live, 0);
    arena.verify().unwrap();
    let blocks = populate(&arena);
    check(&arena, &blocks);
    drop(arena);
    check(&build().unwrap(), &blocks);
    // SAFETY: as it was allocated.
    unsafe { std::alloc::dealloc(memory.as_ptr(), layout) };
}

#[test]
fn a_block_keeps_the_alignment_that_was_asked_for_where_given_memory_lies_now() {
    let size = builder().size().unwrap();
    let layout = Layout::from_size_align(size + 4096, 2 << 20).unwrap();
    // SAFETY: the layout is not empty.
    let memory = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap();
    // SAFETY: both are inside the memory.
    let build = |at| unsafe { builder().memory(at, size).build() }.unwrap();
    let arena = build(memory);
    let [block, larger] = [8000, 20_000].map(|bytes| Layout::from_size_align(bytes, 4096).unwrap());
    let block = arena.alloc(None, block, SpikeTime::NONE).unwrap();
    let offset = stamp(&arena, block, 8000);
    drop(arena);
    // SAFETY: as above.
    let moved = unsafe { memory.add(4096) };
    // SAFETY: as above.
    unsafe { moved.copy_from(memory, size) };
    let arena = build(moved);
    let block = NonNull::new(arena.at(offset).unwrap()).unwrap();
    // SAFETY: the block is ours.
    let block = unsafe { arena.realloc(block, larger.size(), SpikeTime::NONE) }.unwrap();
    assert!(block.addr().get().is_multiple_of(larger.align()));
    drop(arena);
    // SAFETY: as it was allocated.
    unsafe { std::alloc::dealloc(memory.as_ptr(), layout) };
}

/// Whether an arena in given memory, in which `what` was done, may be opened where it is aligned to 4 KiB alone.
fn may_move(what: impl FnOnce(&Arena)) -> bool {
    let builder = || Arena::builder().capacity(2 << 20).columns(1);
    let size = builder().size().unwrap();
    let layout = Layout::from_size_align(size + 4096, 2 << 20).unwrap();
    // SAFETY: the layout is not empty.
    let memory = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap();
    // SAFETY: both are inside the memory.
    let build = |at| unsafe { builder().memory(at, size).build() };
    let arena = build(memory).unwrap();
    what(&arena);
    drop(arena);
    // SAFETY: as above.
    let moved = unsafe { memory.add(4096) };
    // SAFETY: as above.
    unsafe { moved.copy_from(memory, size) };
    let may = build(moved).inspect_err(|error| assert!(matches!(error, Error::GivenAlignment { .. }), "{error}")).is_ok();
    // SAFETY: as it was allocated.
    unsafe { std::alloc::dealloc(memory.as_ptr(), layout) };
    may
}

/// Seen with: an alignment noted before anything is served; the natural alignment of what is reallocated.
#[test]
fn given_memory_may_lie_wherever_the_blocks_that_it_has_served_are_aligned() {
    const SPAN: usize = 32 << 10;
    let alloc = |arena: &Arena, size, align| arena.alloc(None, Layout::from_size_align(size, align).unwrap(), SpikeTime::NONE);
    // SAFETY: the block is ours.
    let realloc = |arena: &Arena, block, size| unsafe { arena.realloc(block, size, SpikeTime::NONE) };
    assert!(may_move(|arena| {
        let block = alloc(arena, 8192, 64).unwrap();
        let block = realloc(arena, block, 8000).unwrap();
        let block = realloc(arena, block, 20_000).unwrap();
        assert_eq!(realloc(arena, block, 0), Err(Error::ZeroSize));
    }));
    // What was refused was not served.
    assert!(may_move(|arena| {
        _ = alloc(arena, 2 << 20, 16).unwrap();
        for size in [16, SPAN, 2 << 20] {
            assert!(matches!(alloc(arena, size, SPAN), Err(Error::NoMemory { .. })));
        }
        let elsewhere = Layout::from_size_align(16, SPAN).unwrap();
        assert!(arena.alloc(Some(ColumnId::new(7)), elsewhere, SpikeTime::NONE).is_err());
        let held = arena.column(ColumnId::new(0)).unwrap();
        assert!(held.alloc(16, SPAN, SpikeTime::NONE).is_err() && held.alloc(16, 3, SpikeTime::NONE).is_err());
    }));
    // What was served counts for good, in whatever way.
    let column = ColumnId::new(0);
    let (request, spike) = (Request { size: 16, align: SPAN, column: Some(column), spike: SpikeTime::NONE }, SpikeTime::NONE);
    let mut out = [core::ptr::null_mut()];
    // SAFETY: the block is ours, and freed.
    assert!(!may_move(|arena| unsafe { arena.free(alloc(arena, 100, SPAN).unwrap()) }.unwrap()));
    assert!(!may_move(|arena| _ = alloc(arena, 1 << 20, SPAN).unwrap()));
    assert!(!may_move(|arena| _ = arena.column(column).unwrap().alloc(9000, SPAN, spike).unwrap()));
    assert!(!may_move(|arena| assert_eq!(arena.column(column).unwrap().alloc_batch(16, SPAN, spike, &mut [core::ptr::null_mut()]), 1)));
    assert!(!may_move(|arena| assert_eq!(arena.alloc_batch(&[request], BatchFlags::ORDERED, &mut out), Ok(1))));
    assert!(!may_move(|arena| {
        let _held = arena.column(column).unwrap();
        _ = alloc(arena, 100, SPAN).unwrap();
    }));
    for size in [100, 1 << 20] {
        assert!(!may_move(|arena| _ = arena.publish_root(Some(column), Layout::from_size_align(size, SPAN).unwrap(), spike, 0).unwrap()));
    }
}

/// Of whatever kind the span of a block is, its alignment is there again.
#[test]
fn a_block_keeps_its_alignment_when_its_region_is_reopened() {
    let folder = Folder::new("region-alignment");
    let open = || builder().path(folder.file("region")).build().unwrap();
    let arena = open();
    let alloc = |size, align| arena.alloc(Some(ColumnId::new(1)), Layout::from_size_align(size, align).unwrap(), SpikeTime::NONE).unwrap();
    let blocks = |of: &dyn Fn(usize, usize) -> NonNull<u8>| {
        let sizes = [200, 4000, 8192, 30_000, 100_000, 600_000].into_iter();
        sizes.flat_map(|size| [64, 4096].map(|align| (arena.offset_of(of(size, align).as_ptr()).unwrap(), align))).collect::<Vec<_>>()
    };
    let mut all = blocks(&alloc);
    let held = arena.column(ColumnId::new(1)).unwrap();
    all.extend(blocks(&alloc));
    drop(held);
    drop(arena);
    let arena = open();
    for (offset, align) in all {
        for to in [9, 300, 5000, 20_000] {
            let block = NonNull::new(arena.at(offset).unwrap()).unwrap();
            // SAFETY: the block is ours; it is freed by the next reallocation of its like.
            let moved = unsafe { arena.realloc(block, to, SpikeTime::NONE) }.unwrap();
            assert!(moved.addr().get().is_multiple_of(align), "{to} aligned to {align}");
            if moved != block {
                break;
            }
        }
    }
    arena.verify().unwrap();
}

#[test]
fn given_memory_to_grow_in_takes_its_metadata_twice_and_two_megabytes() {
    for columns in [3, 64] {
        let builder = |capacity: usize| Arena::builder().capacity(capacity).columns(columns);
        let size = builder(16 << 20).size().unwrap();
        let bytes = size + (size - (16 << 20)) + (2 << 20);
        let layout = Layout::from_size_align(bytes, 4096).unwrap();
        // SAFETY: the layout is not empty.
        let memory = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap();
        let mut blocks = BTreeMap::new();
        for capacity in (2..=8).map(|chunks| chunks << 21) {
            // SAFETY: the memory is ours.
            let arena = unsafe { builder(capacity).memory(memory, bytes) }.build().unwrap();
            check(&arena, &blocks);
            let p = arena.alloc(None, Layout::from_size_align(1 << 20, 16).unwrap(), SpikeTime::NONE).unwrap();
            blocks.insert(stamp(&arena, p, 1 << 20), 1 << 20);
        }
        // SAFETY: as it was allocated.
        unsafe { std::alloc::dealloc(memory.as_ptr(), layout) };
    }
}

#[test]
fn metadata_takes_little_of_a_small_arena() {
    let per_mille = |capacity: usize, columns| {
        let size = Arena::builder().capacity(capacity).columns(columns).size().unwrap();
        (size - capacity) * 1000 / capacity
    };
    assert!(per_mille(4 << 20, 4) < 100, "{}", per_mille(4 << 20, 4));
    for capacity in [64 << 20, 128 << 20, 1 << 30, 64 << 30] {
        assert!(per_mille(capacity, 4) < 30, "{capacity}: {}", per_mille(capacity, 4));
    }
}

#[test]
fn what_is_free_of_shared_spans_serves_who_names_no_column_after_reopening_too() {
    let folder = Folder::new("region-shared");
    let open = || Arena::builder().capacity(4 << 20).columns(64).path(folder.file("region")).build().unwrap();
    let layout = Layout::new::<[u64; 8]>();
    let arena = open();
    let held = arena.column(ColumnId::new(40)).unwrap();
    let blocks: Vec<_> = (0..3000).map(|_| arena.alloc(Some(ColumnId::new(40)), layout, SpikeTime::NONE).unwrap()).collect();
    drop(held);
    for block in blocks.iter().step_by(2) {
        // SAFETY: nothing uses the block.
        unsafe { arena.free(*block) }.unwrap();
    }
    drop(arena);
    let arena = open();
    while arena.alloc(Some(ColumnId::new(1)), layout, SpikeTime::NONE).is_ok() {}
    let served = std::iter::from_fn(|| arena.alloc(None, layout, SpikeTime::NONE).ok()).count();
    assert!(served >= 1500, "{served}");
    arena.verify().unwrap();
}

/// Where its metadata was, too, and what lay behind it in its file. Seen with: either left as it was.
#[test]
fn a_region_that_grows_gives_no_memory_that_is_not_zero_if_freed_memory_is_zeroed() {
    let folder = Folder::in_memory("grown-zero");
    let path = folder.file("region");
    for capacity in [4 << 20, 6 << 20, 16 << 20, 64 << 20] {
        let arena = Arena::builder().capacity(capacity).columns(4).zero_freed(true).path(&path).build().unwrap();
        let layout = Layout::from_size_align(4096, 16).unwrap();
        let blocks: Vec<_> = core::iter::from_fn(|| arena.alloc(None, layout, SpikeTime::NONE).ok()).collect();
        assert_eq!(blocks.len(), capacity / 4096);
        for block in blocks {
            // SAFETY: the block has these bytes.
            let bytes = unsafe { core::slice::from_raw_parts_mut(block.as_ptr(), 4096) };
            assert!(bytes.iter().all(|&byte| byte == 0), "{capacity}: {:?}", arena.offset_of(block.as_ptr()));
            bytes.fill(7);
            // SAFETY: the test's own block, not used again.
            unsafe { arena.free(block) }.unwrap();
        }
        drop(arena);
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, &vec![8; 3 << 20]).unwrap();
    }
}

/// What nothing was ever known of takes no disk space because it is looked at. Seen with: all words of its
/// maps looked at; all entries of its pages and spans.
#[cfg(target_os = "linux")]
#[test]
fn a_sparse_file_takes_no_more_for_a_large_block_when_it_is_reopened() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::in_memory("region-holes");
    let path = folder.file("region");
    let open = || Arena::builder().capacity(2 << 30).columns(2).sparse(true).path(&path).build().unwrap();
    let taken = || std::fs::metadata(&path).unwrap().blocks() * 512;
    let arena = open();
    // What was in some of its spans before is forgotten.
    let layout = |bytes| Layout::from_size_align(bytes, 16).unwrap();
    let take = |arena: &Arena, bytes| arena.alloc(None, layout(bytes), SpikeTime::NONE).unwrap();
    let blocks: Vec<_> = [100, 5000, 40_000, 300_000].into_iter().cycle().take(400).map(|bytes| take(&arena, bytes)).collect();
    for block in blocks {
        // SAFETY: the test's own block, not used again.
        unsafe { arena.free(block) }.unwrap();
    }
    drop(arena);
    let arena = open();
    let block = take(&arena, 1 << 30);
    stamp(&arena, block, 100);
    drop(arena);
    let before = taken();
    for _ in 0..2 {
        let arena = open();
        assert_eq!((arena.metrics().live_blocks(), arena.metrics().bytes_live), (1, 1 << 30));
    }
    assert!(taken() < before + (1 << 20), "{before} bytes before, {} now", taken());
    let arena = open();
    arena.verify().unwrap();
}
