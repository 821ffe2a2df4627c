//! Region files and given memory: what was not freed is there again.

#[path = "common/folder.rs"]
mod folder;

use core::alloc::Layout;
use core::ptr::NonNull;
use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::{os::fd::RawFd, sync::mpsc};

use engram::{Arena, ArenaBuilder, ColumnId, Error, RegionView, SpikeTime};
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
fn a_publication_that_is_refused_is_counted_and_says_what_was_asked_for() {
    let arena = Arena::builder().capacity(2 << 20).columns(1).build().unwrap();
    let publish = |column, size, root| {
        arena.publish_root(Some(ColumnId::new(column)), Layout::from_size_align(size, 64).unwrap(), SpikeTime::NONE, root)
    };
    assert!(matches!(publish(0, 64, 16), Err(Error::Root(16))));
    assert!(matches!(publish(1, 64, 0), Err(Error::ColumnOutOfRange { .. })));
    while publish(0, 100_000, 0).is_ok() {}
    assert_eq!(publish(0, 100_000, 0), Err(Error::NoMemory { size: 100_000, align: 64 }));
    assert_eq!(arena.metrics().failed, 4);
}

/// The first slot of all has no name. Of some classes it is the only one of its spans.
#[test]
fn the_first_blocks_of_an_arena_that_are_published_lie_apart_whatever_their_size() {
    let folder = Folder::in_memory("first-published");
    let file = folder.file("region");
    let builder = || Arena::builder().capacity(4 << 20).columns(2);
    let any = builder().build().unwrap();
    let mut sizes: Vec<_> = (16..400_000).step_by(16).filter_map(|size| any.good_size(size)).collect();
    sizes.dedup();
    for size in sizes {
        let _ = std::fs::remove_file(&file);
        let arena = builder().path(&file).build().unwrap();
        let layout = Layout::from_size_align(size, 16).unwrap();
        let blocks = [0, 1, 2].map(|root| {
            let p = arena.publish_root(Some(ColumnId::new(1)), layout, SpikeTime::NONE, root).unwrap();
            assert_eq!(arena.usable_size(p.as_ptr()), Some(size));
            stamp(&arena, p, size)
        });
        let check = |arena: &Arena| {
            arena.verify().unwrap_or_else(|error| panic!("{size} bytes: {error}"));
            assert!(blocks.iter().all(|&offset| is_stamped(arena, offset, size)), "{size} bytes: {blocks:?} overlap");
        };
        check(&arena);
        drop(arena);
        let arena = builder().path(&file).build().unwrap();
        check(&arena);
        for (root, offset) in blocks.into_iter().enumerate() {
            assert_eq!(arena.root(root), Ok(offset as u64));
            // SAFETY: nothing uses the block afterwards.
            unsafe { arena.unpublish_root(root) }.unwrap();
        }
        arena.verify().unwrap();
        assert_eq!(arena.metrics().bytes_committed, 0, "{size} bytes");
    }
}

#[test]
fn a_block_is_published_though_there_is_no_room_for_two() {
    for (capacity, size) in [(2 << 20, (2 << 20) - (32 << 10)), (6 << 20, 4 << 20)] {
        let arena = Arena::builder().capacity(capacity).columns(1).build().unwrap();
        let publish = |size| arena.publish_root(None, Layout::from_size_align(size, 16).unwrap(), SpikeTime::NONE, 0);
        assert!(publish(capacity).is_err(), "the first of all spans has no name");
        for _ in 0..2 {
            let block = publish(size).unwrap();
            assert_eq!(arena.usable_size(block.as_ptr()), Some(size));
            assert_eq!(arena.metrics().bytes_committed, size as u64);
            arena.verify().unwrap();
            // SAFETY: nothing uses the block afterwards.
            unsafe { arena.unpublish_root(0) }.unwrap();
        }
        let all = arena.alloc(None, Layout::from_size_align(capacity, 16).unwrap(), SpikeTime::NONE);
        assert!(all.is_ok(), "nothing of what was looked at is kept");
    }
}

#[test]
fn the_first_block_that_is_published_needs_no_more_than_a_limit_leaves() {
    for size in [1000, 32 << 10, 64 << 10, 300_000, 2 << 20, 3 << 20] {
        let arena = builder().build().unwrap();
        let column = ColumnId::new(1);
        let publish = |root| arena.publish_root(Some(column), Layout::from_size_align(size, 16).unwrap(), SpikeTime::NONE, root);
        let limit = arena.good_size(size).unwrap().next_multiple_of(32 << 10);
        arena.limit_column(column, Some(limit)).unwrap();
        publish(0).unwrap_or_else(|error| panic!("{size} bytes: {error}"));
        assert_eq!(arena.metrics().bytes_committed, limit as u64);
        if size >= 32 << 10 {
            assert!(matches!(publish(1), Err(Error::Quota { .. })));
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_region_is_made_where_a_link_leads_to_nothing_and_the_link_stays() {
    // There the system looks whether there is room before it takes any.
    let folder = Folder::in_memory("region-link");
    let (link, path) = (folder.file("link"), folder.file("region"));
    std::os::unix::fs::symlink("region", &link).unwrap();
    // What cannot become a region is taken away again, and not the link.
    assert!(matches!(builder().capacity(1 << 40).path(&link).build(), Err(Error::File { .. })));
    assert!(link.is_symlink() && !path.exists());
    drop(builder().path(&link).build().unwrap());
    assert!(link.is_symlink() && path.metadata().unwrap().is_file());
    assert!(!builder().path(&path).build().unwrap().was_recovered());
}

/// What is done in the middle of a call into the library, so that others come between for certain: the library's system calls
/// come by here, on their way to the system.
#[cfg(target_os = "linux")]
mod between {
    use super::RawFd;
    use std::cell::RefCell;

    /// The calls that come by.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum Call {
        Lock,
        Sync,
        Length,
        Seek,
    }

    type Deed = Box<dyn FnMut(RawFd) -> bool>;

    thread_local! {
        static DEED: RefCell<Option<(&'static [Call], Deed)>> = const { RefCell::new(None) };
    }

    /// Does `deed` before this thread's next call of these, with its descriptor; and again as long as it says so.
    pub fn before(calls: &'static [Call], deed: impl FnMut(RawFd) -> bool + 'static) {
        DEED.set(Some((calls, Box::new(deed))));
    }

    /// Does nothing more.
    pub fn nothing() {
        DEED.set(None);
    }

    fn passing(call: Call, file: RawFd) {
        // While it is done, there is none.
        match DEED.take() {
            Some((calls, mut deed)) if calls.contains(&call) => {
                if deed(file) {
                    DEED.set(Some((calls, deed)));
                }
            }
            other => DEED.set(other),
        }
    }

    #[unsafe(no_mangle)]
    extern "C" fn fsync(file: libc::c_int) -> libc::c_int {
        passing(Call::Sync, file);
        // SAFETY: no pointers.
        unsafe { libc::syscall(libc::SYS_fsync, file) as libc::c_int }
    }

    #[unsafe(no_mangle)]
    extern "C" fn ftruncate64(file: libc::c_int, bytes: i64) -> libc::c_int {
        passing(Call::Length, file);
        // SAFETY: no pointers.
        unsafe { libc::syscall(libc::SYS_ftruncate, file, bytes) as libc::c_int }
    }

    #[unsafe(no_mangle)]
    extern "C" fn lseek(file: libc::c_int, to: i64, how: libc::c_int) -> i64 {
        passing(Call::Seek, file);
        // SAFETY: no pointers.
        unsafe { libc::syscall(libc::SYS_lseek, file, to, how) }
    }

    #[unsafe(no_mangle)]
    extern "C" fn flock(file: libc::c_int, how: libc::c_int) -> libc::c_int {
        if how & libc::LOCK_UN == 0 {
            passing(Call::Lock, file);
        }
        // SAFETY: no pointers.
        unsafe { libc::syscall(libc::SYS_flock, file, how) as libc::c_int }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn who_makes_a_region_in_a_file_before_its_maker_has_locked_it_keeps_it() {
    let folder = Folder::new("region-faster");
    for new in [false, true] {
        let path = folder.file("region");
        let other = path.clone();
        between::before(&[between::Call::Lock], move |_| {
            builder().path(&other).build().unwrap().set_root(1, 77).unwrap();
            false
        });
        if new {
            assert!(matches!(builder().new_file(&path).build(), Err(Error::FileExists(_))));
        } else {
            let arena = builder().path(&path).build().unwrap();
            assert_eq!(arena.root(1), Ok(77));
            arena.set_root(2, 78).unwrap();
        }
        let arena = builder().path(&path).build().unwrap();
        assert_eq!((arena.root(1), arena.root(2)), (Ok(77), Ok(if new { 0 } else { 78 })));
        std::fs::remove_file(&path).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_lost_its_name_before_it_was_locked_is_not_opened() {
    let folder = Folder::new("region-nameless");
    let path = folder.file("region");
    let with_root = |path: &std::path::Path, root| {
        let arena = builder().path(path).build().unwrap();
        arena.set_root(0, root).unwrap();
        arena
    };
    // Removed, as by who created it, and failed.
    let gone = path.clone();
    between::before(&[between::Call::Lock], move |_| {
        std::fs::remove_file(&gone).unwrap();
        false
    });
    drop(with_root(&path, 1));
    assert_eq!(builder().path(&path).build().unwrap().root(0), Ok(1));
    // Replaced by a snapshot.
    let (source, target) = (with_root(&folder.file("source"), 2), path.clone());
    between::before(&[between::Call::Lock], move |_| {
        source.snapshot(&target).unwrap();
        false
    });
    assert_eq!(builder().path(&path).build().unwrap().root(0), Ok(2));
    // Again and again.
    let (aside, target) = (folder.file("aside"), path.clone());
    between::before(&[between::Call::Lock], move |_| {
        std::fs::copy(&target, &aside).unwrap();
        std::fs::rename(&aside, &target).unwrap();
        true
    });
    assert!(matches!(builder().path(&path).build(), Err(Error::FileBusy(_))));
    between::nothing();
    assert_eq!(builder().path(&path).build().unwrap().root(0), Ok(2));
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_file_is_not_locked_any_more_although_a_forked_child_has_it_open() {
    let folder = Folder::new("region-forked");
    let path = folder.file("region");
    let (copy, taken) = mpsc::channel();
    between::before(&[between::Call::Lock], move |file| {
        // What a child has of a file: the same one opened once, and so the same lock.
        // SAFETY: no pointers.
        copy.send(unsafe { libc::dup(file) }).unwrap();
        false
    });
    drop(builder().path(&path).build().unwrap());
    let again = builder().path(&path).build();
    // SAFETY: the copy is ours.
    assert_eq!(unsafe { libc::close(taken.recv().unwrap()) }, 0);
    again.unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_snapshot_replaces_no_region_that_was_opened_while_it_was_made() {
    let folder = Folder::new("region-overtaken");
    let path = folder.file("region");
    let source = builder().build().unwrap();
    for there in [false, true] {
        if there {
            drop(builder().path(&path).build().unwrap());
        }
        let ((opened, open), other) = (mpsc::channel(), path.clone());
        // All of the copy is written by then.
        between::before(&[between::Call::Sync], move |_| {
            opened.send(builder().path(&other).build().unwrap()).unwrap();
            false
        });
        let refused = source.snapshot(&path).unwrap_err();
        let arena = open.recv().unwrap();
        assert!(matches!(refused, Error::FileBusy(_)), "{refused}");
        arena.set_root(0, 5).unwrap();
        drop(arena);
        assert_eq!(builder().path(&path).build().unwrap().root(0), Ok(5));
        assert_eq!(folder.files(), 1);
        // What is closed again is replaced.
        source.snapshot(&path).unwrap();
        assert_eq!(builder().path(&path).build().unwrap().root(0), Ok(0));
        std::fs::remove_file(&path).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_snapshot_can_have_a_name_of_any_length() {
    let folder = Folder::new("region-long");
    let path = folder.file(&"n".repeat(255));
    builder().build().unwrap().snapshot(&path).unwrap();
    drop(builder().path(&path).build().unwrap());
    assert_eq!(folder.files(), 1);
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

#[cfg(target_os = "linux")]
#[test]
fn a_snapshot_takes_the_place_of_no_pipe_and_no_device() {
    let folder = Folder::new("region-pipe");
    let (path, link) = (folder.file("pipe"), folder.file("link"));
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for path in [&path, &link] {
        let error = builder().build().unwrap().snapshot(path).unwrap_err();
        assert!(matches!(error, Error::Format { why: "it is no ordinary file", .. }), "{error}");
    }
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&std::fs::metadata(&path).unwrap().file_type()));
    assert_eq!(folder.files(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn what_killed_snapshots_left_goes_away_with_the_next_and_what_is_being_written_stays() {
    let folder = Folder::new("region-left");
    let path = folder.file("region");
    let source = builder().build().unwrap();
    // What copies are called while they are written; such files with other numbers are what others left, or write.
    let ((name, names), other) = (mpsc::channel(), folder.path().to_owned());
    between::before(&[between::Call::Sync], move |_| {
        name.send(std::fs::read_dir(&other).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap()).unwrap();
        false
    });
    source.snapshot(&path).unwrap();
    let name = names.recv().unwrap();
    let with = |digit| folder.file(&name.replace(|any: char| any.is_ascii_digit(), digit));
    let [left, written] = ["1", "2"].map(with);
    std::fs::write(&left, [7; 5000]).unwrap();
    // Nobody's copies.
    let others = [".engram.mine.unfinished", ".engram.0123456789abcdef0.unfinished"].map(|name| folder.file(name));
    for other in &others {
        std::fs::write(other, "mine").unwrap();
    }
    let file = std::fs::File::create(&written).unwrap();
    file.try_lock().unwrap();
    source.snapshot(&path).unwrap();
    assert!(!left.exists() && written.exists(), "{name}");
    for other in &others {
        std::fs::remove_file(other).unwrap();
    }
    drop(file);
    source.snapshot(&path).unwrap();
    assert_eq!(folder.files(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn snapshots_at_the_same_time_do_not_disturb_each_other() {
    let folder = Folder::new("region-together");
    let path = folder.file("region");
    let sources = [1, 2].map(|root| {
        let arena = builder().build().unwrap();
        arena.set_root(0, root).unwrap();
        arena
    });
    let [source, other] = sources;
    let last = |root| {
        assert_eq!(builder().path(&path).build().unwrap().root(0), Ok(root));
        assert_eq!(folder.files(), 1);
    };
    // Of the same file, from processes of the same number, as two containers have them.
    let (other, target) = (std::sync::Arc::new(other), path.clone());
    let another = other.clone();
    between::before(&[between::Call::Sync], move |_| {
        another.snapshot(&target).unwrap();
        false
    });
    source.snapshot(&path).unwrap();
    last(1);
    // The copy is made, and not yet locked, when another comes and sweeps. (The first lock looks whether the file is open.)
    let (target, mut locks) = (path.clone(), 0);
    between::before(&[between::Call::Lock], move |_| {
        locks += 1;
        if locks == 2 {
            other.snapshot(&target).unwrap();
        }
        locks < 2
    });
    source.snapshot(&path).unwrap();
    last(1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_region_that_is_killed_while_it_grows_has_its_old_shape_or_its_new_one() {
    let folder = Folder::in_memory("region-growth");
    let path = folder.file("region");
    // With so many columns the new metadata would overlap the old.
    let builder = |capacity: usize, path| Arena::builder().capacity(capacity).columns(64).sparse(true).path(path);
    let arena = builder(4 << 20, path.clone()).build().unwrap();
    let mut blocks = BTreeMap::new();
    for bytes in [100, 1000, 5000, 100_000, 1_000_000] {
        let p = arena.alloc(None, Layout::from_size_align(bytes, 16).unwrap(), SpikeTime::NONE).unwrap();
        blocks.insert(stamp(&arena, p, bytes), bytes);
    }
    // It lies in the part of the old metadata that the new one will have.
    arena.limit_column(ColumnId::new(63), Some(3 << 15)).unwrap();
    drop(arena);
    // What the file is at all these moments is what a kill would leave.
    let ((seen, states), file) = (mpsc::channel(), path.clone());
    let mut last = Vec::new();
    between::before(&[between::Call::Length, between::Call::Seek], move |_| {
        let state = std::fs::read(&file).unwrap();
        if state != last {
            last.clone_from(&state);
            seen.send(state).unwrap();
        }
        true
    });
    drop(builder(6 << 20, path.clone()).build().unwrap());
    between::nothing();
    let states: Vec<_> = states.iter().collect();
    assert!(states.len() > 10);
    let arena_bytes = builder(8 << 20, path.clone()).size().unwrap();
    let mut old = 0;
    for state in &states {
        std::fs::write(&path, state).unwrap();
        // In its old shape it is as long as before: what was to become of it takes no room for good.
        if let Ok(arena) = builder(4 << 20, path.clone()).build() {
            assert_eq!(path.metadata().unwrap().len(), builder(4 << 20, path.clone()).size().unwrap() as u64);
            check(&arena, &blocks);
            old += 1;
        }
        std::fs::write(&path, state).unwrap();
        check(&builder(6 << 20, path.clone()).build().unwrap(), &blocks);
        let arena = builder(8 << 20, path.clone()).build().unwrap();
        assert_eq!(path.metadata().unwrap().len(), arena_bytes as u64);
        check(&arena, &blocks);
        has_limit(&arena, 63);
    }
    assert!(old > 1 && old < states.len(), "{old}");
    // The metadata is still aside: who looks while it grows on, and becomes shorter, looks again.
    for seeks in [1, 2] {
        std::fs::write(&path, &states[states.len() - 2]).unwrap();
        let (file, mut left) = (path.clone(), seeks);
        between::before(&[between::Call::Seek], move |_| {
            left -= 1;
            if left == 0 {
                drop(builder(8 << 20, file.clone()).build().unwrap());
            }
            left > 0
        });
        assert_eq!(RegionView::open(&path).unwrap().metrics().live_blocks(), blocks.len() as u64);
        between::nothing();
    }
}

/// Published blocks lie in spans of their own, which have no row for alignments.
#[test]
fn a_published_block_keeps_its_alignment_when_it_is_reallocated() {
    let folder = Folder::in_memory("published-alignment");
    let file = folder.file("region");
    let builder = || Arena::builder().capacity(8 << 20).columns(2).path(&file);
    let column = Some(ColumnId::new(1));
    let layout = |size, align| Layout::from_size_align(size, align).unwrap();
    let root_at = |arena: &Arena| NonNull::new(arena.at(arena.root(0).unwrap() as usize).unwrap()).unwrap();
    for align in [16, 32, 64, 1024, 4096, 32 << 10] {
        for (size, new) in [(48, 76), (64, 96), (200, 100), (1000, 1266), (5000, 6266), (40_000, 80_000)] {
            let is_kept = |arena: &Arena, p: NonNull<u8>| {
                // So that the next slot of such a size is not the first of its span.
                arena.alloc(column, layout(new, 16), SpikeTime::NONE).unwrap();
                // SAFETY: ours, and not used at the old address.
                let moved = unsafe { arena.realloc(p, new, SpikeTime::NONE) }.unwrap();
                assert!(moved.addr().get().is_multiple_of(align), "{size} bytes at {align} to {new}");
                assert!(align > 16 || arena.usable_size(moved.as_ptr()) == arena.good_size(new), "no more than without an alignment");
                arena.verify().unwrap();
            };
            let _ = std::fs::remove_file(&file);
            let arena = builder().build().unwrap();
            is_kept(&arena, arena.publish_root(column, layout(size, align), SpikeTime::NONE, 0).unwrap());
            arena.publish_root(column, layout(size, align), SpikeTime::NONE, 0).unwrap();
            drop(arena);
            let arena = builder().build().unwrap();
            is_kept(&arena, root_at(&arena));
        }
    }
}

/// Seen with: every large block taken for a published one.
#[test]
fn a_word_that_names_a_block_that_was_not_published_unpublishes_nothing_whatever_its_size() {
    let folder = Folder::in_memory("never-published");
    let path = folder.file("region");
    let published = {
        let arena = builder().path(&path).build().unwrap();
        let mut published = Vec::new();
        for (slot, size) in (1..).zip(SIZES) {
            let layout = Layout::from_size_align(size, 16).unwrap();
            let plain = arena.alloc(Some(ColumnId::new(1)), layout, SpikeTime::NONE).unwrap();
            arena.set_root(0, arena.offset_of(plain.as_ptr()).unwrap() as u64).unwrap();
            // SAFETY: refused. (The first block's name, 0, is that of nothing.)
            let refused = unsafe { arena.unpublish_root(0) };
            assert!(matches!(refused, Err(Error::NotPublished(_) | Error::BadPointer(_))), "{size}: {refused:?}");
            // SAFETY: the test's own block, not used again.
            unsafe { arena.free(plain) }.unwrap();
            arena.publish_root(Some(ColumnId::new(1)), layout, SpikeTime::NONE, slot).unwrap();
            published.push((slot, size));
        }
        arena.verify().unwrap();
        published
    };
    let arena = builder().path(&path).build().unwrap();
    for (slot, size) in published {
        // SAFETY: nothing uses the block.
        unsafe { arena.unpublish_root(slot) }.unwrap_or_else(|error| panic!("{size}: {error}"));
    }
    assert_eq!(arena.metrics().live_blocks(), 0);
}

/// Where its metadata was, too. Seen with: what was metadata left as it was.
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
    }
}

#[test]
fn a_word_that_names_no_start_of_a_block_unpublishes_nothing_and_says_so() {
    let arena = Arena::builder().capacity(4 << 20).columns(2).build().unwrap();
    for size in [64, 3000, 40_000, 300_000] {
        let block = arena.publish_root(None, Layout::from_size_align(size, 16).unwrap(), SpikeTime::NONE, 0).unwrap();
        let name = arena.root(0).unwrap();
        for inside in [1, 8, 16, 48] {
            arena.set_root(1, name + inside).unwrap();
            // SAFETY: nothing uses the block.
            let refused = unsafe { arena.unpublish_root(1) };
            assert!(matches!(refused, Err(Error::BadPointer(_) | Error::NotPublished(_))), "{size} + {inside}: {refused:?}");
            assert_eq!(arena.root(1), Ok(name + inside));
        }
        assert!(arena.usable_size(block.as_ptr()).is_some());
        arena.set_root(1, name).unwrap();
        // SAFETY: nothing uses the block any more.
        unsafe { arena.unpublish_root(0) }.unwrap();
        // SAFETY: nothing uses it.
        let again = unsafe { arena.unpublish_root(1) };
        assert!(matches!(again, Err(Error::DoubleFree(_) | Error::BadPointer(_))), "{again:?}");
    }
    arena.verify().unwrap();
}
