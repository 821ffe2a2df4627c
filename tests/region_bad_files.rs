//! Files that are no regions, damaged ones, and systems that refuse: an error that says why, and an unchanged file; or an
//! arena that may give wrong blocks, but never leaves its memory, and always comes to an end.
#![cfg(all(unix, not(loom)))]

#[path = "common/child.rs"]
mod child;
#[path = "common/folder.rs"]
mod folder;

use core::alloc::Layout;
use core::ptr::NonNull;
use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use child::{End, fork};
use engram::{Arena, ArenaBuilder, ColumnId, Error, RegionState, RegionView, SpikeTime};
use folder::Folder;

const PAGE: usize = 4096;
const COLUMNS: u32 = 2;
/// Where the header has its state, and where its first extent has the metadata's start and length.
const STATE: usize = 8 * 5;
const METADATA: usize = 8 * 10;

/// One test at a time: some fork.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn builder() -> ArenaBuilder {
    Arena::builder().capacity(4 << 20).columns(COLUMNS)
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap()
}

const SIZES: [usize; 12] = [1, 16, 100, 100, 128, 500, 700, 1024, 4096, 5000, 35_000, 300_000];

/// Blocks of all kinds, each full of a byte of its own.
fn populate(arena: &Arena) -> BTreeMap<usize, usize> {
    let mut blocks = BTreeMap::new();
    let mut keep = |p: NonNull<u8>, size: usize| {
        let offset = arena.offset_of(p.as_ptr()).unwrap();
        // SAFETY: the block has these bytes.
        unsafe { p.write_bytes(mark(offset), size) };
        blocks.insert(offset, size);
    };
    for index in 0..COLUMNS {
        let id = ColumnId::new(index);
        let held = arena.column(id).unwrap();
        let mut gone = Vec::new();
        for size in SIZES {
            keep(held.alloc(size, 16, SpikeTime::NONE).unwrap(), size);
            gone.extend([
                held.alloc(size.min(9000), 16, SpikeTime::NONE).unwrap(),
                held.alloc(size.min(9000), 16, SpikeTime::NONE).unwrap(),
            ]);
            keep(arena.alloc(Some(id), layout(size.min(6000)), SpikeTime::NONE).unwrap(), size.min(6000));
        }
        for (number, p) in gone.into_iter().enumerate() {
            // SAFETY: ours, and not used afterwards.
            unsafe { if number % 2 == 0 { held.free(p) } else { arena.free(p) } }.unwrap();
        }
        keep(arena.publish_root(Some(id), layout(200), SpikeTime::NONE, index as usize).unwrap(), 200);
    }
    blocks
}

fn mark(offset: usize) -> u8 {
    (offset >> 4) as u8 ^ 0x5a
}

/// A region with a population, as its bytes are when it was closed, and when it was not.
struct Original {
    closed: Vec<u8>,
    open: Vec<u8>,
    blocks: BTreeMap<usize, usize>,
}

impl Original {
    fn new() -> Self {
        let folder = Folder::new("bad-original");
        let arena = builder().path(folder.file("region")).build().unwrap();
        let blocks = populate(&arena);
        let open = std::fs::read(folder.file("region")).unwrap();
        drop(arena);
        Self { closed: std::fs::read(folder.file("region")).unwrap(), open, blocks }
    }

    fn check(&self, arena: &Arena) {
        arena.verify().unwrap();
        assert_eq!(arena.metrics().live_blocks(), self.blocks.len() as u64);
        for (&offset, &size) in &self.blocks {
            let p = arena.at(offset).unwrap();
            assert!(arena.usable_size(p).is_some_and(|usable| usable >= size), "{offset:#x}");
            // SAFETY: the block has these bytes.
            assert!(unsafe { core::slice::from_raw_parts(p, size) }.iter().all(|&byte| byte == mark(offset)), "{offset:#x}");
        }
    }
}

/// The file must be refused, and stay as it is.
fn refused(path: &Path) -> Error {
    let before = std::fs::read(path).unwrap();
    let error = builder().path(path).build().expect_err("a bad file");
    assert!(std::fs::read(path).unwrap() == before, "{error}, and the file has changed");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    error
}

/// Why a file is no region.
fn why(error: Error) -> &'static str {
    let Error::Format { why, .. } = error else { panic!("{error}") };
    why
}

#[test]
fn what_is_no_region_of_this_version_is_refused_and_not_touched() {
    let (_alone, folder) = (alone(), Folder::new("bad-foreign"));
    let original = Original::new();
    let path = folder.file("region");
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = original.closed.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(&path, changed).unwrap();
        why(refused(&path))
    };
    assert!(with(0, b"\x7fELF").contains("no region file"));
    assert!(with(0, &[0; 8]).contains("no region file"));
    for other in [0_u64, 1, 3] {
        assert!(with(8, &other.to_ne_bytes()).contains("version"));
    }
    assert!(with(16, &[1]).contains("damaged"));
    assert!(with(STATE, &u64::MAX.to_ne_bytes()).contains("neither open nor closed"));
    for text in [&b"x"[..], b"a text that somebody wrote, of no use here\n", &[b'y'; 5000], &[0; 4095], &[0; 10_000]] {
        std::fs::write(&path, text).unwrap();
        why(refused(&path));
    }
}

#[test]
fn a_region_that_is_cut_off_anywhere_is_refused_and_not_touched() {
    let (_alone, folder) = (alone(), Folder::new("bad-truncated"));
    let original = Original::new();
    let path = folder.file("region");
    let whole = original.closed.len();
    let metadata = usize::from_ne_bytes(original.closed[METADATA..METADATA + 8].try_into().unwrap());
    let some = (1..64).map(|part| whole * part / 64);
    let edges = [1, 7, 8, 100, PAGE - 1, PAGE, PAGE + 1, 8 * PAGE, metadata - 1, metadata, metadata + 1, whole - PAGE, whole - 1];
    for bytes in some.chain(edges) {
        std::fs::write(&path, &original.closed[..bytes]).unwrap();
        why(refused(&path));
    }
    // Nothing is missing.
    std::fs::write(&path, &original.closed).unwrap();
    original.check(&builder().path(&path).build().unwrap());
}

#[test]
fn every_changed_byte_of_the_header_is_noticed_or_does_not_matter() {
    let (_alone, folder) = (alone(), Folder::new("bad-header"));
    let original = Original::new();
    let path = folder.file("region");
    std::fs::write(&path, &original.closed).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let (mut accepted, mut recovered) = (0, 0);
    let bits = (0..8 * 16 * 8).map(|bit| (bit / 8, 1 << (bit % 8)));
    for (at, change) in (0..PAGE).map(|at| (at, 0xff)).chain(bits) {
        file.write_all_at(&[original.closed[at] ^ change], at as u64).unwrap();
        match builder().path(&path).build() {
            Ok(arena) => {
                accepted += 1;
                recovered += usize::from(arena.was_recovered());
                original.check(&arena);
                drop(arena);
                // What it has derived is as good; the header is not.
                file.write_all_at(&original.closed[..PAGE], 0).unwrap();
            }
            Err(error) => {
                why(error);
                assert_eq!(std::fs::metadata(&path).unwrap().len(), original.closed.len() as u64);
                file.write_all_at(&original.closed[at..=at], at as u64).unwrap();
            }
        }
    }
    // All was put back: so nothing else had been changed.
    original.check(&builder().path(&path).build().unwrap());
    // Words 7 and 13 to 31 do not matter, nor do the roots, nor what is after them; and what is not closed is recovered.
    assert!(accepted > PAGE - 8 * 16 && accepted < PAGE + 1000, "{accepted}");
    println!("{accepted} accepted, {recovered} of them recovered");
}

/// Random numbers (Marsaglia's xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }
}

/// Does everything with an arena of which nothing is known.
fn explore(arena: &Arena, random: &mut Random) {
    let _ = arena.verify();
    let _ = arena.metrics();
    let mut blocks = Vec::new();
    for index in 0..COLUMNS {
        arena.column(ColumnId::new(index)).unwrap().walk(|block| {
            assert!(arena.offset_of(block.start.as_ptr()).is_some_and(|offset| offset + block.usable <= arena.capacity()));
            blocks.push(block.start);
            true
        });
    }
    for _ in 0..200 {
        let size = SIZES[random.below(SIZES.len())];
        let column = ColumnId::new(random.below(COLUMNS as usize) as u32);
        let block = (!blocks.is_empty()).then(|| random.below(blocks.len()));
        let given = match (random.below(8), block) {
            (0..=1, _) => arena.alloc(Some(column), layout(size), SpikeTime::NONE).ok(),
            (2..=3, _) => arena.column(column).unwrap().alloc(size, 16, SpikeTime::NONE).ok(),
            (4, _) => {
                let root = random.below(4);
                // SAFETY: nothing uses the block afterwards.
                let _ = unsafe { arena.unpublish_root(root) };
                if arena.root(root) == Ok(0) {
                    let _ = arena.publish_root(Some(column), layout(size), SpikeTime::NONE, root);
                }
                None
            }
            (5, Some(block)) => {
                // SAFETY: not used afterwards; what is no block is refused.
                unsafe { arena.realloc(blocks.swap_remove(block), size, SpikeTime::NONE) }.ok()
            }
            (6, Some(block)) => {
                // SAFETY: as above.
                let _ = unsafe { arena.free(blocks.swap_remove(block)) };
                None
            }
            (_, Some(block)) => {
                // SAFETY: as above.
                let _ = unsafe { arena.column(column).unwrap().free(blocks.swap_remove(block)) };
                None
            }
            _ => None,
        };
        if let Some(p) = given {
            let usable = arena.usable_size(p.as_ptr()).unwrap_or(16);
            assert!(arena.offset_of(p.as_ptr()).is_some_and(|offset| offset + usable <= arena.capacity()));
            // SAFETY: user memory, as just asserted, which nobody else uses.
            unsafe { p.add(usable - 1).write(1) };
            blocks.push(p);
        }
    }
    // SAFETY: what the column's blocks were is not used afterwards.
    unsafe { arena.column(ColumnId::new(0)).unwrap().reset() };
    for p in blocks {
        // SAFETY: not used afterwards; what is no block is refused.
        let _ = unsafe { arena.free(p) };
    }
    let _ = arena.verify();
}

#[test]
fn whatever_its_metadata_says_an_arena_stays_in_its_memory_and_comes_to_an_end() {
    const SEEDS: u64 = 400;
    let (_alone, folder) = (alone(), Folder::new("bad-metadata"));
    let original = Original::new();
    let path = folder.file("region");
    let word = |at: usize| usize::from_ne_bytes(original.closed[at..at + 8].try_into().unwrap());
    let (metadata, length) = (word(METADATA), word(METADATA + 8));
    let set: Vec<_> = (metadata..metadata + length).filter(|&at| original.open[at] != 0).collect();
    // A crash, or an endless loop, ends the child alone.
    let outcome = fork(|report| {
        let mut accepted = 0;
        for seed in 1..=SEEDS {
            report.say(&format!("seed {seed}"));
            // SAFETY: no pointers; who is not done by then is killed.
            unsafe { libc::alarm(20) };
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut bytes = if seed % 2 == 0 { &original.closed } else { &original.open }.clone();
            for _ in 0..=random.below(if seed % 3 == 0 { 200 } else { 4 }) {
                let at = if random.below(4) == 0 { metadata + random.below(length) } else { set[random.below(set.len())] };
                bytes[at] = if random.below(2) == 0 { random.next() as u8 } else { bytes[at] ^ 1 << random.below(8) };
            }
            std::fs::write(&path, &bytes).unwrap();
            match builder().path(&path).build() {
                Ok(arena) => {
                    accepted += 1;
                    explore(&arena, &mut random);
                    drop(arena);
                    if let Ok(arena) = builder().path(&path).build() {
                        explore(&arena, &mut random);
                    }
                }
                Err(error) => {
                    why(error);
                    assert!(std::fs::read(&path).unwrap() == bytes, "{error}, and the file has changed");
                }
            }
        }
        report.say(&format!("{accepted} of {SEEDS} accepted"));
    });
    assert_eq!(outcome.end, End::Exit(0), "{}", outcome.last());
    println!("{}", outcome.last());
    assert!(!outcome.last().starts_with("0 ") && !outcome.last().starts_with(&SEEDS.to_string()), "both must happen: {}", outcome.last());
}

#[test]
fn a_large_block_with_an_alignment_that_none_has_is_refused() {
    let (_alone, folder) = (alone(), Folder::new("bad-alignment"));
    let path = folder.file("region");
    // Two files that differ in the alignment alone, as a power of two.
    let [plain, aligned] = [16, 4096].map(|align: usize| {
        let _ = std::fs::remove_file(&path);
        let arena = builder().path(&path).build().unwrap();
        arena.alloc(None, Layout::from_size_align(300_000, align).unwrap(), SpikeTime::NONE).unwrap();
        drop(arena);
        std::fs::read(&path).unwrap()
    });
    let says = |bytes: &[u8], at: usize, align: u32| bytes[at..at + 4] == align.to_ne_bytes();
    let places: Vec<_> = (PAGE..plain.len() - 3).step_by(4).filter(|&at| says(&plain, at, 4) && says(&aligned, at, 12)).collect();
    assert_eq!(places.len(), 1);
    for (align, known) in [(0, true), (4, true), (21, true), (22, false), (32, false), (64, false), (u32::MAX, false)] {
        let mut changed = plain.clone();
        changed[places[0]..places[0] + 4].copy_from_slice(&align.to_ne_bytes());
        std::fs::write(&path, changed).unwrap();
        if known {
            explore(&builder().path(&path).build().unwrap(), &mut Random(1));
        } else {
            assert!(why(refused(&path)).contains("alignment"));
        }
    }
}

/// Spans of the run that [`entries_of_run`] finds.
const RUN: usize = 8;

/// Where in a file with one run its page entries start: the same in each, but for how far back the first span lies.
fn entries_of_run(file: &[u8]) -> usize {
    let metadata = usize::from_ne_bytes(file[METADATA..METADATA + 8].try_into().unwrap());
    let words: Vec<_> = file[metadata..].chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
    let goes_on = |at: usize| words[at] != 0 && (1..RUN).all(|after| words[at + after] == words[at].wrapping_add((after as u64) << 18));
    metadata + 8 * (1..words.len() - RUN).find(|&at| goes_on(at)).unwrap()
}

/// A region of these bytes was not closed, holds nothing, and is sound.
fn recovers_empty(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    let arena = builder().path(path).build().unwrap();
    assert!(arena.was_recovered());
    assert_eq!(arena.metrics().live_blocks(), 0);
    arena.verify().unwrap();
    explore(&arena, &mut Random(7));
}

#[test]
fn what_is_left_of_a_run_that_was_being_given_back_is_nothing() {
    let (_alone, folder) = (alone(), Folder::new("bad-left"));
    let path = folder.file("region");
    let original = {
        let arena = builder().path(&path).build().unwrap();
        let held = arena.column(ColumnId::new(0)).unwrap();
        // Its cell keeps the slot, and so the run.
        let p = held.alloc(36_000, 16, SpikeTime::NONE).unwrap();
        // SAFETY: ours, and not used afterwards.
        unsafe { held.free(p) }.unwrap();
        drop(held);
        std::fs::read(&path).unwrap()
    };
    let first = entries_of_run(&original);
    let nobodys = 1_u64 << 32;
    for spans in 0..=RUN {
        let mut changed = original.clone();
        (0..spans).for_each(|span| changed[first + 8 * span..][..8].copy_from_slice(&nobodys.to_ne_bytes()));
        recovers_empty(&path, &changed);
    }
}

#[test]
fn what_lay_under_a_run_that_was_freed_is_looked_at_again() {
    let (_alone, folder) = (alone(), Folder::new("bad-covered"));
    let path = folder.file("region");
    let mut original = Vec::new();
    {
        let arena = builder().path(&path).build().unwrap();
        let held = arena.column(ColumnId::new(0)).unwrap();
        // Freed by others, and not yet taken back: recovery finds a run, and frees it.
        let p = held.alloc(70_000, 16, SpikeTime::NONE).unwrap();
        // SAFETY: ours, and not used afterwards.
        unsafe { arena.free(p) }.unwrap();
        original.extend(std::fs::read(&path).unwrap());
    }
    let first = entries_of_run(&original);
    let columns = [1, 2, 3, 5, 1 << 17];
    let kinds = [0, 1 << 18, 63 << 18, 1 << 26, 1 << 28, 1 << 30, 1 << 31, 3 << 30];
    for owner in columns.into_iter().flat_map(|column| kinds.map(|kind: u32| column | kind)) {
        let mut changed = original.clone();
        changed[first + 8..first + 12].copy_from_slice(&owner.to_ne_bytes());
        recovers_empty(&path, &changed);
    }
}

#[test]
fn a_limit_that_none_can_be_is_none() {
    let (_alone, folder) = (alone(), Folder::new("bad-limit"));
    let path = folder.file("region");
    let arena = builder().path(&path).build().unwrap();
    arena.limit_column(ColumnId::new(1), Some(1 << 20)).unwrap();
    drop(arena);
    let original = std::fs::read(&path).unwrap();
    // What a limit of 32 spans leaves out.
    let word = (i64::MAX - 32).to_ne_bytes();
    let places: Vec<_> = (PAGE..original.len() - 7).step_by(8).filter(|&at| original[at..at + 8] == word).collect();
    assert!(!places.is_empty());
    for left_out in [i64::MIN, -1, 0, 1, i64::MAX] {
        let mut changed = original.clone();
        for &at in &places {
            changed[at..at + 8].copy_from_slice(&left_out.to_ne_bytes());
        }
        std::fs::write(&path, changed).unwrap();
        let arena = builder().path(&path).build().unwrap();
        arena.verify().unwrap();
        let served = arena.alloc(Some(ColumnId::new(1)), layout(100), SpikeTime::NONE);
        assert_eq!(served.is_ok(), left_out != i64::MAX, "{left_out}: {served:?}");
        explore(&arena, &mut Random(11));
    }
}

#[test]
fn what_cannot_be_a_file_is_refused() {
    let (_alone, folder) = (alone(), Folder::new("bad-places"));
    let open = |path: &Path| builder().path(path).build().unwrap_err();
    let code = |error| if let Error::File { code, .. } = error { code } else { panic!("{error}") };
    assert_eq!(code(open(folder.path())), libc::EISDIR);
    assert!(matches!(builder().new_file(folder.path()).build().unwrap_err(), Error::FileExists(_)));
    assert_eq!(code(open(&folder.file("missing/region"))), libc::ENOENT);
    assert_eq!(code(builder().new_file(folder.file("missing/region")).build().unwrap_err()), libc::ENOENT);
    std::fs::write(folder.file("plain"), b"text").unwrap();
    assert_eq!(code(open(&folder.file("plain/region"))), libc::ENOTDIR);
    assert!(matches!(open(Path::new("/dev/null")), Error::Format { .. }));
    assert!(matches!(builder().new_file(folder.file("plain")).build().unwrap_err(), Error::FileExists(_)));
    assert_eq!(std::fs::read(folder.file("plain")).unwrap(), b"text");
    assert_eq!(folder.files(), 1);
    let path = folder.file("region");
    drop(builder().new_file(&path).build().unwrap());
    assert!(matches!(builder().new_file(&path).build().unwrap_err(), Error::FileExists(_)));
    // SAFETY: no pointers.
    if unsafe { libc::geteuid() } != 0 {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        assert_eq!(code(open(&path)), libc::EACCES);
    }
}

/// Lets no file of this process, a child, become longer. Who tries all the same is killed, as the system does it if nobody asks it not to.
fn limit_files(bytes: usize) {
    let limit = libc::rlimit { rlim_cur: bytes as libc::rlim_t, rlim_max: bytes as libc::rlim_t };
    // SAFETY: the limit is there.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
}

#[test]
fn a_file_that_there_is_no_room_for_is_not_made_and_one_that_cannot_grow_stays_as_it_is() {
    let (_alone, folder) = (alone(), Folder::new("bad-room"));
    let original = Original::new();
    let path = folder.file("region");
    let other = folder.file("other");
    std::fs::write(&path, &original.closed).unwrap();
    let outcome = fork(|_| {
        let larger = || builder().capacity(16 << 20);
        limit_files(original.closed.len() + PAGE);
        let no_room = |error: Error| assert!(matches!(error, Error::File { code: libc::EFBIG, .. }), "{error}");
        no_room(larger().path(&other).build().unwrap_err());
        no_room(larger().new_file(&other).build().unwrap_err());
        assert!(!other.exists());
        no_room(larger().path(&path).build().unwrap_err());
        assert!(std::fs::read(&path).unwrap() == original.closed);
        std::fs::write(&other, b"").unwrap();
        no_room(larger().path(&other).build().unwrap_err());
        assert_eq!(std::fs::metadata(&other).unwrap().len(), 0);
        no_room(larger().build().unwrap().snapshot(&other).unwrap_err());
        // As it is, there is room.
        original.check(&builder().path(&path).build().unwrap());
    });
    assert_eq!(outcome.end, End::Exit(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_region_larger_than_the_disk_is_not_made() {
    let _alone = alone();
    let parent = Path::new("/dev/shm");
    // SAFETY: plain numbers, for which zero is valid.
    let mut about: libc::statfs = unsafe { core::mem::zeroed() };
    // SAFETY: a path that ends with a zero, and room for the answer.
    let known = unsafe { libc::statfs(c"/dev/shm".as_ptr(), &raw mut about) } == 0;
    // There the system looks before it takes anything; elsewhere the disk would be full for a while.
    let disk = about.f_blocks.saturating_mul(about.f_bsize.unsigned_abs());
    if !known || about.f_type != libc::TMPFS_MAGIC || disk == 0 || disk > 1 << 39 {
        return;
    }
    let folder = Folder::inside(parent, "bad-disk");
    let larger = || builder().capacity(usize::try_from(disk).unwrap() + (2 << 20));
    let full = |error: Error| assert!(matches!(error, Error::File { code: libc::ENOSPC, .. }), "{error}");
    full(larger().path(folder.file("region")).build().unwrap_err());
    assert_eq!(folder.files(), 0);
    let arena = builder().path(folder.file("region")).build().unwrap();
    let blocks = populate(&arena);
    drop(arena);
    let before = std::fs::read(folder.file("region")).unwrap();
    full(larger().path(folder.file("region")).build().unwrap_err());
    assert!(std::fs::read(folder.file("region")).unwrap() == before);
    Original { closed: Vec::new(), open: Vec::new(), blocks }.check(&builder().path(folder.file("region")).build().unwrap());
}

#[test]
fn a_file_is_open_once_and_its_lock_dies_with_its_process() {
    let (_alone, folder) = (alone(), Folder::new("bad-busy"));
    let path = folder.file("region");
    let is_busy = |path: &Path| matches!(builder().path(path).build(), Err(Error::FileBusy(_)));
    let arena = builder().path(&path).build().unwrap();
    assert!(is_busy(&path));
    let outcome = fork(|_| assert!(matches!(builder().path(&path).build(), Err(Error::FileBusy(_)))));
    assert_eq!(outcome.end, End::Exit(0));
    let linked = folder.file("linked");
    std::os::unix::fs::symlink(&path, &linked).unwrap();
    assert!(is_busy(&linked));
    drop(arena);
    assert!(!is_busy(&path));
    let outcome = fork(|report| {
        let arena = builder().path(&path).build().unwrap();
        arena.alloc(None, layout(100), SpikeTime::NONE).unwrap();
        report.say("open");
        // SAFETY: always sound.
        unsafe { libc::raise(libc::SIGKILL) };
        drop(arena);
    });
    assert_eq!((outcome.end, outcome.said), (End::Signal(libc::SIGKILL), vec!["open".to_owned()]));
    let arena = builder().path(&path).build().unwrap();
    assert!(arena.was_recovered());
    assert_eq!(arena.metrics().live_blocks(), 1);
}

#[test]
fn a_forked_child_that_closes_its_parents_arena_leaves_it_open() {
    let (_alone, folder) = (alone(), Folder::new("bad-inherited"));
    let path = folder.file("region");
    let arena = Box::into_raw(Box::new(builder().path(&path).build().unwrap()));
    // SAFETY: the child's own copy.
    let outcome = fork(|_| drop(unsafe { Box::from_raw(arena) }));
    assert_eq!(outcome.end, End::Exit(0));
    assert_eq!(RegionView::open(&path).unwrap().state(), RegionState::Open);
    assert!(matches!(builder().path(&path).build(), Err(Error::FileBusy(_))));
    // What a kill would leave is known to be unclosed.
    let killed = folder.file("killed");
    std::fs::copy(&path, &killed).unwrap();
    assert!(builder().path(&killed).build().unwrap().was_recovered());
    // SAFETY: ours, and closed once in this process.
    drop(unsafe { Box::from_raw(arena) });
    assert!(!builder().path(&path).build().unwrap().was_recovered());
}

/// A child that returns from where it was forked drops it. Seen with: a child that gives it back.
#[test]
fn a_forked_child_that_drops_its_parents_column_leaves_it_held() {
    let (_alone, folder) = (alone(), Folder::new("bad-inherited-column"));
    for path in [None, Some(folder.file("region"))] {
        let arena = path.iter().fold(builder(), ArenaBuilder::path).build().unwrap();
        let mut held = Some(arena.column(ColumnId::new(0)).unwrap());
        let block = held.as_ref().unwrap().alloc(64, 16, SpikeTime::NONE).unwrap();
        // SAFETY: nothing uses it. It is held back until the column is given back.
        unsafe { held.as_ref().unwrap().free(block) }.unwrap();
        let bytes = || path.as_ref().map(|path| std::fs::read(path).unwrap());
        let before = bytes();
        let outcome = fork(|_| {
            held.take();
            // Of memory of its own it has a copy.
            assert_eq!(arena.column(ColumnId::new(0)).is_ok(), path.is_none());
        });
        assert_eq!(outcome.end, End::Exit(0));
        assert!(bytes() == before && arena.column(ColumnId::new(0)).is_err());
        drop(held);
        assert!(arena.column(ColumnId::new(0)).is_ok());
    }
}

/// Puts the children of this process into a pid namespace of their own; whether the system lets it.
#[cfg(target_os = "linux")]
fn children_are_numbered_anew(flags: libc::c_int) -> bool {
    // SAFETY: no pointers; this process has one thread.
    unsafe { libc::unshare(flags | libc::CLONE_NEWPID) == 0 }
}

/// A container's first process that puts a child into a container of its own: both are process 1. Seen with: a child that is told by
/// its number.
#[test]
#[cfg(target_os = "linux")]
fn a_forked_child_that_has_its_parents_number_leaves_its_arena_open() {
    let (_alone, folder) = (alone(), Folder::new("bad-namesake"));
    let path = folder.file("region");
    let outcome = fork(|report| {
        if !children_are_numbered_anew(libc::CLONE_NEWUSER) {
            return report.say("refused");
        }
        let first = fork(|report| {
            assert_eq!(std::process::id(), 1);
            let arena = Box::into_raw(Box::new(builder().path(&path).build().unwrap()));
            if !children_are_numbered_anew(0) {
                return report.say("refused");
            }
            let second = fork(|_| {
                assert_eq!(std::process::id(), 1);
                // SAFETY: the child's own copy.
                drop(unsafe { Box::from_raw(arena) });
            });
            assert_eq!(second.end, End::Exit(0));
            assert_eq!(RegionView::open(&path).unwrap().state(), RegionState::Open);
            assert!(matches!(builder().path(&path).build(), Err(Error::FileBusy(_))));
            // SAFETY: ours, and closed once in this process.
            drop(unsafe { Box::from_raw(arena) });
            assert!(!builder().path(&path).build().unwrap().was_recovered());
            report.say("left open");
        });
        assert_eq!(first.end, End::Exit(0));
        report.say(first.last());
    });
    assert_eq!(outcome.end, End::Exit(0));
    match outcome.last() {
        "refused" => println!("the system lets nobody number processes anew"),
        said => assert_eq!(said, "left open"),
    }
}
