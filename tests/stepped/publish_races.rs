//! A publication that rests after each of its instructions, while another thread publishes and takes back in the same span.
//!
//! Who rests is a forked child, stepped through; the other is its parent, which has the same region mapped. What a kill of all would
//! leave at a moment is a copy of the region as it is.
use core::alloc::Layout;
use core::ptr::NonNull;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::child::{Child, Stop, ran_alone, stay_on_one_processor, stop_to_be_stepped};
use super::folder::Folder;
use engram::{Arena, ArenaBuilder, ColumnId, SpikeTime};

/// In it the child says that it has published.
const ANSWER: usize = 10;
/// The roots that name blocks.
const NAMES: core::ops::Range<usize> = 0..ANSWER;

fn builder(file: &Path) -> ArenaBuilder {
    Arena::builder().capacity(2 << 20).columns(1).path(file).sparse(true)
}

fn publish(arena: &Arena, size: usize, root: usize) {
    let layout = Layout::from_size_align(size, 16).unwrap();
    arena.publish_root(Some(ColumnId::new(0)), layout, SpikeTime::NONE, root).unwrap();
}

/// A child that stops before it publishes at root 0.
fn publisher(arena: &Arena, size: usize) -> Child {
    let mut child = Child::fork(|| {
        stop_to_be_stepped();
        publish(arena, size, 0);
        arena.set_root(ANSWER, 1).unwrap();
    });
    assert_eq!(child.wait(), Stop::Signal(libc::SIGSTOP));
    child
}

/// What roots name is what is live.
fn check_names(arena: &Arena, what: &str) {
    let names = NAMES.map(|root| arena.root(root).unwrap() as usize).filter(|&name| name != 0);
    let usable =
        names.map(|name| arena.usable_size(arena.at(name).unwrap()).unwrap_or_else(|| panic!("{what}: {name} is named, and lost")));
    assert_eq!(usable.sum::<usize>() as u64, arena.metrics().bytes_live, "{what}");
    arena.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// A kill at this moment.
fn check_killed(file: &Path, what: &str) {
    let copy = file.with_extension("copy");
    let bytes = std::fs::read(file).unwrap();
    // What is zero is a hole, so that it is opened quickly.
    let to = File::create(&copy).unwrap();
    to.set_len(bytes.len() as u64).unwrap();
    for (at, page) in (0..).step_by(4096).zip(bytes.chunks(4096)).filter(|(_, page)| page.iter().any(|&byte| byte != 0)) {
        to.write_all_at(page, at).unwrap();
    }
    let arena = builder(&copy).build().unwrap();
    assert!(arena.was_recovered());
    check_names(&arena, what);
}

/// False if it ended sooner than after so many instructions.
fn rested(file: &Path, size: usize, instructions: usize) -> bool {
    let _ = std::fs::remove_file(file);
    let arena = builder(file).build().unwrap();
    // The span.
    publish(&arena, size, 5);
    let mut child = publisher(&arena, size);
    for _ in 0..instructions {
        child.step();
        if arena.root(ANSWER) != Ok(0) {
            return false;
        }
    }
    let what = format!("{size} bytes, after {instructions} instructions");
    publish(&arena, size, 1);
    // It comes late to the slot that it had found free.
    for late in 0..4 {
        check_killed(file, &format!("{what} and {late} more"));
        child.step();
    }
    // SAFETY: nothing uses the block.
    let unpublish = |root| unsafe { arena.unpublish_root(root) }.unwrap_or_else(|error| panic!("{what}: root {root}: {error}"));
    unpublish(1);
    if arena.root(0) != Ok(0) {
        // Whoever sees the name may take the block back, and publish another in its place.
        unpublish(0);
        publish(&arena, size, 2);
        check_killed(file, &what);
    }
    while arena.root(ANSWER) == Ok(0) {
        assert!(child.step_or_stop(), "{what}: the child has failed");
    }
    child.kill();
    check_names(&arena, &what);
    true
}

#[test]
fn a_block_that_was_published_is_its_owners_while_another_publication_rests() {
    if ran_alone() {
        return;
    }
    stay_on_one_processor();
    let folder = Folder::in_memory("publish-rests");
    let file = folder.file("region");
    let moments = (0..).step_by(3).take_while(|&instructions| rested(&file, 64, instructions)).count();
    assert!(moments > 30, "{moments} moments");
}

#[test]
fn a_publication_comes_back_while_that_of_a_freed_block_rests() {
    if ran_alone() {
        return;
    }
    stay_on_one_processor();
    let folder = Folder::in_memory("publish-comes-back");
    let file = folder.file("region");
    for instructions in 0..8 {
        let _ = std::fs::remove_file(&file);
        let arena = builder(&file).build().unwrap();
        // All slots of the span but the first, which has no name, and that of the child.
        (2..8).for_each(|root| publish(&arena, 4096, root));
        let mut child = publisher(&arena, 4096);
        while arena.root(0) == Ok(0) {
            child.step();
        }
        (0..instructions).for_each(|_| child.step());
        let named = NonNull::new(arena.at(arena.root(0).unwrap() as usize).unwrap()).unwrap();
        // SAFETY: nothing uses the block.
        unsafe { arena.free(named) }.unwrap();
        arena.set_root(0, 0).unwrap();
        let mut other = Child::fork(|| publish(&arena, 4096, 1));
        let begun = Instant::now();
        while !other.has_ended() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{instructions} instructions after the name");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_ne!(arena.root(1), Ok(0));
        check_killed(&file, "published in its place");
        while arena.root(ANSWER) == Ok(0) {
            assert!(child.step_or_stop(), "the child has failed");
        }
        child.kill();
        check_names(&arena, "both have ended");
    }
}

/// An unpublication of root 0 that rests after so many instructions, while another one takes the block back, and publishes one in its
/// place that `root` names. False if it ended sooner, or had come to the end of its own.
fn overtaken(file: &Path, size: usize, instructions: usize, root: usize) -> bool {
    let _ = std::fs::remove_file(file);
    let arena = builder(file).build().unwrap();
    // SAFETY: nothing uses the block.
    let unpublish = || unsafe { arena.unpublish_root(0) };
    // The span.
    publish(&arena, size, 5);
    publish(&arena, size, 0);
    let mut child = Child::fork(|| {
        stop_to_be_stepped();
        let _ = unpublish();
        arena.set_root(ANSWER, 1).unwrap();
    });
    assert_eq!(child.wait(), Stop::Signal(libc::SIGSTOP));
    for _ in 0..instructions {
        child.step();
        if arena.root(ANSWER) != Ok(0) {
            return false;
        }
    }
    if arena.root(0) == Ok(0) {
        return false;
    }
    unpublish().unwrap();
    publish(&arena, size, root);
    for more in 0.. {
        if more % 5 == 0 {
            check_killed(file, &format!("{size} bytes, root {root}, after {instructions} instructions and {more} more"));
        }
        child.step();
        if more == 100 || arena.root(ANSWER) != Ok(0) {
            break;
        }
    }
    true
}

/// Seen with: the intent of an unpublication noted at once, and not proposed.
#[test]
fn what_is_published_in_the_place_of_a_block_stays_though_another_comes_late_to_take_that_back() {
    if ran_alone() {
        return;
    }
    stay_on_one_processor();
    let folder = Folder::in_memory("unpublish-late");
    let file = folder.file("region");
    for (size, root) in [(64, 0), (64, 1), (300 << 10, 0), (300 << 10, 1)] {
        let moments = (0..).step_by(5).take_while(|&instructions| overtaken(&file, size, instructions, root)).count();
        assert!(moments > 5, "{moments} moments of {size} bytes");
    }
}
