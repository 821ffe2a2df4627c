use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::named;

#[test]
fn each_name_is_kept_once() {
    let names = std::thread::scope(|scope| {
        let name = || ["one of two", "the other"].map(|name| named(Path::new(name)));
        [(); 4].map(|()| scope.spawn(name)).map(|thread| thread.join().unwrap())
    });
    assert_eq!(names[0], ["one of two", "the other"]);
    assert!(names.iter().flatten().zip(names[0].iter().cycle()).all(|(name, first)| core::ptr::eq(*name, *first)));
}

/// A child that is forked while other threads name files, and names one. Seen with: a lock around the names.
#[cfg(unix)]
#[test]
#[cfg_attr(miri, ignore = "forks")]
fn a_forked_child_names_files_whatever_its_parent_was_at() {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for name in ["one of two", "the other"] {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Relaxed) {
                    named(Path::new(name));
                }
            });
        }
        let mut statuses = (0..300).map(|_| {
            // SAFETY: the child goes on in this thread alone, ends itself if it waits for ever, and leaves by `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: as above.
                unsafe { libc::alarm(10) };
                let status = i32::from(named(Path::new("the other")) != "the other");
                // SAFETY: as above.
                unsafe { libc::_exit(status) };
            }
            let mut status = 0;
            // SAFETY: our own child, waited for once.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status
        });
        let ended = statuses.find(|&status| status != 0);
        over.store(true, Relaxed);
        assert_eq!(ended, None, "a child that waits for a lock of its parent's");
    });
}
