//! Names and files: what may be at a path, and what others do there while a region is opened, copied or grown. It happens in the
//! middle of the call, for certain.

use core::alloc::Layout;
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::mpsc;

use engram::{Arena, ColumnId, Error, RegionView, SpikeTime};

use super::folder::Folder;
use super::{builder, check, has_limit, stamp};

/// What is done in the middle of a call into the library, so that others come between for certain: the library's system calls
/// come by here, on their way to the system.
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

/// Seen with: what has its name by then removed in its stead.
#[test]
fn what_cannot_become_a_region_takes_nothing_away_but_itself() {
    let folder = Folder::in_memory("region-renamed");
    let (path, other) = (folder.file("region"), folder.file("other"));
    std::fs::write(&other, "somebody else's").unwrap();
    let target = path.clone();
    between::before(&[between::Call::Length], move |_| {
        std::fs::rename(&other, &target).unwrap();
        false
    });
    assert!(matches!(builder().capacity(1 << 40).path(&path).build(), Err(Error::File { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody else's");
    // What was empty is so again.
    std::fs::write(&path, "").unwrap();
    assert!(matches!(builder().capacity(1 << 40).path(&path).build(), Err(Error::File { .. })));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}

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

/// As another snapshot does that replaces the same file. Seen with: one look whether somebody has it open.
#[test]
fn a_snapshot_waits_for_who_has_locked_what_it_replaces_for_a_moment() {
    use std::os::fd::AsRawFd;
    let folder = Folder::new("region-momentary");
    let path = folder.file("region");
    let source = builder().build().unwrap();
    source.snapshot(&path).unwrap();
    for stays in [false, true] {
        let (other, mut locked) = (path.clone(), None);
        between::before(&[between::Call::Lock], move |_| {
            if locked.is_none() {
                let file = std::fs::File::open(&other).unwrap();
                // SAFETY: no pointers. Not by the way that is looked at here.
                assert_eq!(unsafe { libc::syscall(libc::SYS_flock, file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }, 0);
                locked = Some(file);
                return true;
            }
            // Closed, it is not locked any more, once this is over.
            stays
        });
        let snapshot = source.snapshot(&path);
        between::nothing();
        match snapshot {
            Ok(()) => assert!(!stays),
            Err(error) => assert!(stays && matches!(error, Error::FileBusy(_)), "{error}"),
        }
    }
    source.snapshot(&path).unwrap();
    assert_eq!(folder.files(), 1);
}

/// What this thread does there is done by somebody who may open no more than anybody.
#[cfg(target_os = "linux")]
fn as_anybody<T>(what: impl FnOnce() -> T) -> T {
    // SAFETY: plain numbers; it is the thread's own.
    let was = unsafe { libc::setfsuid(65534) };
    let result = what();
    // SAFETY: as above.
    unsafe { libc::setfsuid(was.cast_unsigned()) };
    result
}

#[test]
#[cfg(target_os = "linux")]
fn a_snapshot_replaces_nothing_that_cannot_be_opened_to_see_whether_somebody_has_it_open() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("region-unreadable");
    set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let path = folder.file("region");
    let source = builder().build().unwrap();
    for meanwhile in [false, true] {
        let ((opened, open), other) = (mpsc::channel(), path.clone());
        let open_it = move |_| {
            opened.send(builder().path(&other).build().unwrap()).unwrap();
            set_permissions(&other, Permissions::from_mode(0o000)).unwrap();
            false
        };
        let refused = as_anybody(|| {
            if meanwhile {
                // All of the copy is written by then.
                between::before(&[between::Call::Sync], open_it);
            } else {
                open_it(0);
            }
            source.snapshot(&path).unwrap_err()
        });
        assert!(matches!(refused, Error::File { code: libc::EACCES, .. }), "{refused}");
        let arena = open.recv().unwrap();
        arena.set_root(0, 5).unwrap();
        drop(arena);
        set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(builder().path(&path).build().unwrap().root(0), Ok(5));
        assert_eq!(folder.files(), 1);
        std::fs::remove_file(&path).unwrap();
    }
}

/// Seen with: a folder that is opened once the copy has its name.
#[test]
#[cfg(target_os = "linux")]
fn a_snapshot_whose_name_could_not_be_brought_to_disk_is_not_made() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("region-unlisted");
    let inner = folder.file("inner");
    let path = inner.join("region");
    let set = |path: &std::path::Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
    set(folder.path(), 0o777);
    let source = builder().build().unwrap();
    // A file may be made in it, and not seen there.
    let refused = as_anybody(|| {
        std::fs::create_dir(&inner).unwrap();
        source.snapshot(&path).unwrap();
        source.set_root(0, 1).unwrap();
        set(&inner, 0o300);
        source.snapshot(&path).unwrap_err()
    });
    assert!(matches!(refused, Error::File { code: libc::EACCES, .. }), "{refused}");
    set(&inner, 0o700);
    assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 1);
    assert_eq!(as_anybody(|| builder().path(&path).build().unwrap()).root(0), Ok(0));
}

/// Seen with: the words of a copy that was not made.
#[test]
fn a_snapshot_that_is_made_and_perhaps_not_on_disk_says_both() {
    let folder = Folder::new("region-unsynced");
    let path = folder.file("region");
    let source = builder().build().unwrap();
    source.set_root(0, 1).unwrap();
    let mut syncs = 0;
    between::before(&[between::Call::Sync], move |file| {
        syncs += 1;
        if syncs == 2 {
            // The folder's, which then is something that cannot be brought to disk.
            let mut pipe = [0; 2];
            // SAFETY: room for two descriptors, which stay open with this process.
            unsafe { assert!(libc::pipe(pipe.as_mut_ptr()) == 0 && libc::dup2(pipe[0], file) == file) };
        }
        syncs < 2
    });
    let refused = source.snapshot(&path).unwrap_err();
    assert!(matches!(refused, Error::File { what, .. } if what.contains("the copy is made")), "{refused}");
    assert_eq!(builder().path(&path).build().unwrap().root(0), Ok(1));
}

#[test]
fn a_snapshot_can_have_a_name_of_any_length() {
    let folder = Folder::new("region-long");
    let path = folder.file(&"n".repeat(255));
    builder().build().unwrap().snapshot(&path).unwrap();
    drop(builder().path(&path).build().unwrap());
    assert_eq!(folder.files(), 1);
}

/// Seen with: a copy that is made as any new file is.
#[test]
fn a_snapshot_may_be_read_by_whom_what_it_replaces_could_or_the_region() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let folder = Folder::new("region-mode");
    let [path, region, link] = ["copy", "region", "link"].map(|name| folder.file(name));
    let set = |path: &std::path::Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    let source = builder().build().unwrap();
    source.snapshot(&path).unwrap();
    std::fs::write(folder.file("any"), "").unwrap();
    assert_eq!(mode(&path), mode(&folder.file("any")));
    for wanted in [0o600, 0o666, 0o640] {
        set(&path, wanted);
        source.snapshot(&path).unwrap();
        assert_eq!(mode(&path), wanted);
    }
    // Nor can others read it while it is written. It is changed until it is replaced.
    let (other, (told, tell)) = (folder.path().to_owned(), mpsc::channel());
    between::before(&[between::Call::Sync], move |_| {
        let copy = std::fs::read_dir(&other).unwrap().find(|file| file.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'.');
        told.send(copy.unwrap().unwrap().metadata().unwrap().mode() & 0o777).unwrap();
        set_permissions(other.join("copy"), Permissions::from_mode(0o400)).unwrap();
        false
    });
    source.snapshot(&path).unwrap();
    assert_eq!((tell.recv().unwrap(), mode(&path)), (0o640, 0o400));
    // Of a link, what it leads to.
    std::os::unix::fs::symlink(&path, &link).unwrap();
    source.snapshot(&link).unwrap();
    assert_eq!(mode(&link), 0o400);
    // Nothing is there: as the region's own file.
    std::fs::remove_file(&path).unwrap();
    let source = builder().path(&region).build().unwrap();
    for wanted in [0o600, 0o666] {
        let _ = std::fs::remove_file(&path);
        set(&region, wanted);
        source.snapshot(&path).unwrap();
        assert_eq!(mode(&path), wanted);
    }
}

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
    // SAFETY: the file is open.
    assert_eq!(unsafe { libc::flock(std::os::fd::AsRawFd::as_raw_fd(&file), libc::LOCK_EX | libc::LOCK_NB) }, 0);
    source.snapshot(&path).unwrap();
    assert!(!left.exists() && written.exists(), "{name}");
    for other in &others {
        std::fs::remove_file(other).unwrap();
    }
    drop(file);
    source.snapshot(&path).unwrap();
    assert_eq!(folder.files(), 1);
}

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
        // So it is in its new one: if its metadata was still aside, it has gone on. Seen with: only what has fewer chunks grows.
        assert_eq!(path.metadata().unwrap().len(), builder(6 << 20, path.clone()).size().unwrap() as u64);
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
