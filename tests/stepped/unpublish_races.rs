//! A word that is unpublished while another thread takes its block back and publishes there again, or frees it and has an ordinary
//! one there: each instruction of the one is the moment at which the other does all that.
//!
//! The one is a forked child, stepped through; the other is its parent, which has the same region mapped.
use core::alloc::Layout;
use core::ptr::NonNull;
use std::path::Path;

use super::child::{Child, Stop, ran_alone, stay_on_one_processor, stop_to_be_stepped};
use super::folder::Folder;
use engram::{Arena, ColumnId, Error, SpikeTime};

/// In it the child says what came: 1 if it has taken a block back, 2 if it was refused.
const ANSWER: usize = 10;

fn publish(arena: &Arena, column: u32, size: usize) {
    let layout = Layout::from_size_align(size, 16).unwrap();
    arena.publish_root(Some(ColumnId::new(column)), layout, SpikeTime::NONE, 0).unwrap();
}

fn unpublish(arena: &Arena) -> Result<(), Error> {
    // SAFETY: nothing uses the block.
    unsafe { arena.unpublish_root(0) }
}

/// An arena with something published in root 0 and a block before it, and a child that has come so far in unpublishing. `None` if it
/// ended sooner.
fn under_way(file: &Path, size: usize, instructions: usize) -> Option<(Arena, NonNull<u8>, Child)> {
    let _ = std::fs::remove_file(file);
    let arena = Arena::builder().capacity(4 << 20).columns(2).path(file).sparse(true).build().unwrap();
    // So that what is published begins a chunk, and has a name there.
    let first = arena.alloc(Some(ColumnId::new(0)), Layout::new::<[u64; 2]>(), SpikeTime::NONE).unwrap();
    publish(&arena, 0, size);
    let mut child = Child::fork(|| {
        stop_to_be_stepped();
        let answer = if unpublish(&arena).is_ok() { 1 } else { 2 };
        arena.set_root(ANSWER, answer).unwrap();
    });
    assert_eq!(child.wait(), Stop::Signal(libc::SIGSTOP));
    for _ in 0..instructions {
        child.step();
        if arena.root(ANSWER) != Ok(0) {
            return None;
        }
    }
    Some((arena, first, child))
}

/// False if it ended sooner than after so many instructions.
fn raced(file: &Path, size: usize, instead: usize, instructions: usize) -> bool {
    let Some((arena, first, mut child)) = under_way(file, size, instructions) else { return false };
    let what = format!("{size} bytes, then {instead}, after {instructions} instructions");
    if unpublish(&arena).is_ok() {
        publish(&arena, 1, instead);
    }
    while arena.root(ANSWER) == Ok(0) {
        assert!(child.step_or_stop(), "{what}: the child has failed");
    }
    child.kill();
    arena.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    // SAFETY: nothing uses it.
    unsafe { arena.free(first) }.unwrap_or_else(|error| panic!("{what}: {error}"));
    let live = arena.metrics().bytes_live;
    let named = arena.root(0).unwrap() as usize;
    let usable = if named == 0 { 0 } else { arena.usable_size(arena.at(named).unwrap()).expect("a block that is named is live") };
    assert_eq!(live, usable as u64, "{what}");
    if named != 0 {
        unpublish(&arena).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    assert_eq!(arena.metrics().bytes_live, 0, "{what}");
    arena.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    true
}

#[test]
fn a_word_is_unpublished_of_the_block_that_it_names_then() {
    if ran_alone() {
        return;
    }
    stay_on_one_processor();
    let folder = Folder::in_memory("unpublish-races");
    let file = folder.file("region");
    // Each is the first, or the only one, of its spans, so that its name is that of the others.
    for (size, instead) in [(32 << 10, 64), (40_000, 64 << 10), (64, 300_000), (300_000, 32 << 10)] {
        let moments = (0..).step_by(7).take_while(|&instructions| raced(&file, size, instead, instructions)).count();
        assert!(moments > 10, "{moments} moments");
    }
}

/// The same where an ordinary block comes to lie there: the word is as it was.
fn refused(file: &Path, size: usize, instead: usize, instructions: usize) -> bool {
    let Some((arena, _, mut child)) = under_way(file, size, instructions) else { return false };
    let what = format!("{size} bytes, then {instead}, after {instructions} instructions");
    let name = arena.root(0).unwrap();
    if name != 0 {
        let block = NonNull::new(arena.at(name as usize).unwrap()).unwrap();
        // SAFETY: nothing uses the block.
        unsafe { arena.free(block) }.unwrap();
        let layout = Layout::from_size_align(instead, 16).unwrap();
        assert_eq!(arena.alloc(Some(ColumnId::new(1)), layout, SpikeTime::NONE), Ok(block), "{what}");
    }
    while arena.root(ANSWER) == Ok(0) {
        assert!(child.step_or_stop(), "{what}: the child has failed");
    }
    child.kill();
    assert_eq!((arena.root(0), arena.root(ANSWER)), (Ok(name), Ok(if name == 0 { 1 } else { 2 })), "{what}");
    assert_eq!(arena.metrics().live_blocks(), if name == 0 { 1 } else { 2 }, "{what}");
    arena.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    true
}

/// Seen with: the name not put back.
#[test]
fn a_word_that_names_an_ordinary_block_by_then_is_left_as_it_is() {
    if ran_alone() {
        return;
    }
    stay_on_one_processor();
    let folder = Folder::in_memory("unpublish-refused");
    let file = folder.file("region");
    for instructions in (0..300).step_by(19) {
        assert!(refused(&file, 64, 300_000, instructions), "it ended after {instructions} instructions");
    }
}
