//! Promise 5: **misuse is caught, always on, exactly**: what is not a block is an error whatever the
//! pointer, what was freed is an error whoever freed it and whoever tries again, and nothing has
//! changed afterwards: every other block has its content, every invariant holds, and exactly one
//! misuse was counted. Or, if the arena is to, one line is printed and the process aborts.
//!
//! A free that trusts a pointer's slot without looking at the live bit, a free held back that others
//! do not see, a remote bit that the holder does not look at, or memory zeroed before a free is
//! checked would break it.
#![cfg(not(loom))]

#[path = "common/promises.rs"]
mod promises;

use core::ptr::NonNull;
use std::sync::Barrier;
use std::thread;

use engram::{Arena, Column, Error, Result, SpikeTime};
use promises::{CHUNK, Loose, Marked, SPAN, arena, built, column, freed_elsewhere, held, is_child, layout, run_again};

/// By whom a pointer is freed.
#[derive(Clone, Copy, Debug)]
enum Door {
    /// The handle of the block's column.
    Holder,
    /// Another column's handle.
    Neighbour,
    /// No handle, the same thread.
    Arena,
    /// No handle, another thread.
    Thread,
}

const DOORS: [Door; 4] = [Door::Holder, Door::Neighbour, Door::Arena, Door::Thread];

/// An arena with two held columns, and blocks of all kinds in the first that nothing may change.
struct Scene<'a> {
    arena: &'a Arena,
    holder: Column<'a>,
    neighbour: Column<'a>,
    others: Vec<Marked>,
}

impl<'a> Scene<'a> {
    fn new(arena: &'a Arena) -> Self {
        let (holder, neighbour) = (held(arena, 1), held(arena, 2));
        let mut scene = Self { arena, holder, neighbour, others: Vec::new() };
        for size in [16, 48, 64, 96, 1000, 4096, 5000, 36 << 10, 300 << 10] {
            for _ in 0..3 {
                let held = scene.alloc(size);
                let shared = arena.alloc(Some(column(1)), layout(size, 16), SpikeTime::NONE).expect("there is memory");
                scene.mark(held, size);
                scene.mark(shared, size);
            }
        }
        scene
    }

    fn alloc(&self, size: usize) -> NonNull<u8> {
        self.holder.alloc(size, 16, SpikeTime::NONE).expect("there is memory")
    }

    fn mark(&mut self, block: NonNull<u8>, bytes: usize) {
        let mark = self.others.len() as u8 + 1;
        self.others.push(Marked::new(block, bytes, mark));
    }

    fn free(&self, door: Door, p: *mut u8) -> Result<()> {
        let block = NonNull::new(p).expect("not null");
        // SAFETY: nothing uses what is freed; what is no block is an error.
        unsafe {
            match door {
                Door::Holder => self.holder.free(block),
                Door::Neighbour => self.neighbour.free(block),
                Door::Arena => self.arena.free(block),
                Door::Thread => freed_elsewhere(self.arena, p),
            }
        }
    }

    /// Frees `p` by `door`, and fails unless that is `wrong`, counted once, and changes nothing.
    fn assert_refused(&self, door: Door, p: *mut u8, wrong: Error) {
        let before = self.arena.metrics();
        assert_eq!(self.free(door, p), Err(wrong), "{door:?}");
        let after = self.arena.metrics();
        assert_eq!(after.misuse, before.misuse + 1);
        assert_eq!((after.allocs, after.frees, after.bytes_live), (before.allocs, before.frees, before.bytes_live));
        assert!(self.others.iter().all(Marked::is_intact), "{door:?} {wrong}");
        self.arena.verify().expect("nothing has changed");
    }

    /// The same by every door.
    fn assert_bad(&self, p: *mut u8) {
        for door in DOORS {
            self.assert_refused(door, p, Error::BadPointer(p.addr()));
        }
    }

    fn assert_not_handed_out(&self, p: *mut u8) {
        for door in DOORS {
            self.assert_refused(door, p, Error::DoubleFree(p.addr()));
        }
    }
}

/// Runs a test on an ordinary arena, and on one that zeroes what is freed.
fn on_both(test: impl Fn(Scene)) {
    for zero_freed in [false, true] {
        let arena = built(Arena::builder().capacity(16 << 20).columns(4).zero_freed(zero_freed));
        test(Scene::new(&arena));
        arena.verify().expect("every invariant holds");
    }
}

/// Frees a block by each door and then again by each: every pair of ways to free a block twice.
/// `between` happens in between.
fn freed_twice(size: usize, between: impl Fn(&Scene)) {
    on_both(|scene| {
        for first in DOORS {
            for second in DOORS {
                // Its neighbour keeps the span in use.
                let (block, keeper) = (scene.alloc(size), scene.alloc(size));
                assert_eq!(scene.free(first, block.as_ptr()), Ok(()));
                between(&scene);
                scene.assert_refused(second, block.as_ptr(), Error::DoubleFree(block.addr().get()));
                assert_eq!(scene.free(Door::Holder, keeper.as_ptr()), Ok(()));
            }
        }
    });
}

#[test]
fn a_wild_pointer_is_a_bad_pointer() {
    on_both(|scene| {
        let mut local = [0_u64; 4];
        let host = Box::into_raw(Box::new(0_u64));
        for wild in [local.as_mut_ptr().cast(), host.cast(), 16 as *mut u8, usize::MAX as *mut u8, (usize::MAX & !15) as *mut u8] {
            scene.assert_bad(wild);
        }
        // SAFETY: made by `Box::into_raw` above.
        drop(unsafe { Box::from_raw(host) });
    });
}

#[test]
fn a_pointer_before_the_start_or_past_the_end_is_a_bad_pointer() {
    on_both(|scene| {
        let start = scene.arena.at(0).expect("the start of user memory");
        let end = start.wrapping_add(scene.arena.capacity());
        for outside in [16, 1024, SPAN, CHUNK, 16 << 20] {
            scene.assert_bad(start.wrapping_sub(outside));
            scene.assert_bad(end.wrapping_add(outside - 16));
        }
    });
}

#[test]
fn a_pointer_off_the_grid_is_a_bad_pointer() {
    on_both(|scene| {
        for block in &scene.others {
            for off in [1, 2, 4, 8, 15] {
                let p = block.start.as_ptr().wrapping_add(off);
                scene.assert_refused(Door::Holder, p, Error::BadPointer(p.addr()));
                scene.assert_refused(Door::Arena, p, Error::BadPointer(p.addr()));
            }
        }
    });
}

#[test]
fn a_pointer_into_a_block_is_a_bad_pointer() {
    on_both(|scene| {
        for block in &scene.others {
            for inside in [16, 32, 4096, SPAN, block.bytes.saturating_sub(1) & !15] {
                if 0 < inside && inside < block.bytes {
                    scene.assert_bad(block.start.as_ptr().wrapping_add(inside));
                }
            }
        }
    });
}

#[test]
fn a_pointer_into_memory_that_serves_nothing_is_a_bad_pointer() {
    on_both(|scene| {
        let last = scene.arena.at(scene.arena.capacity() - SPAN).expect("the last span");
        scene.assert_bad(last);
        scene.assert_bad(last.wrapping_add(SPAN / 2));
        // What is left over behind the last slot of a span.
        let first = scene.others.iter().find(|block| block.bytes == 48).expect("one of 48 bytes").start.as_ptr();
        let offset = scene.arena.offset_of(first).expect("in the arena");
        scene.assert_bad(first.wrapping_sub(offset % SPAN).wrapping_add(SPAN / 48 * 48));
    });
}

#[test]
fn a_slot_that_was_never_given_is_not_handed_out() {
    on_both(|scene| {
        for size in [16, 48, 1024, 4096] {
            let first = scene.alloc(size).as_ptr();
            let offset = scene.arena.offset_of(first).expect("in the arena") % SPAN;
            let last = first.wrapping_sub(offset).wrapping_add((SPAN / size - 1) * size);
            scene.assert_not_handed_out(last);
        }
        let run = scene.alloc(40 << 10).as_ptr();
        scene.assert_not_handed_out(run.wrapping_add(40 << 10));
    });
}

#[test]
fn a_block_of_another_arena_is_a_bad_pointer() {
    let foreign = arena(8 << 20);
    on_both(|scene| {
        for size in [16, 1000, 5000, 300 << 10] {
            let block = foreign.alloc(None, layout(size, 16), SpikeTime::NONE).expect("there is memory");
            let block = Marked::new(block, size, 7);
            scene.assert_bad(block.start.as_ptr());
            assert!(block.is_intact() && foreign.metrics().misuse == 0);
            // SAFETY: the test's own block.
            unsafe { foreign.free(block.start) }.expect("it is handed out");
        }
    });
    foreign.verify().expect("nobody has touched it");
}

#[test]
fn a_small_block_freed_twice_by_whomever_is_a_double_free() {
    freed_twice(16, |_| ());
    freed_twice(64, |_| ());
    freed_twice(1000, |_| ());
}

#[test]
fn a_medium_block_freed_twice_by_whomever_is_a_double_free() {
    freed_twice(5000, |_| ());
    freed_twice(36 << 10, |_| ());
}

#[test]
fn a_block_whose_free_is_not_held_back_any_more_is_a_double_free() {
    freed_twice(64, |scene| {
        let (one, two) = (scene.alloc(96), scene.alloc(96));
        assert_eq!(scene.free(Door::Holder, one.as_ptr()), Ok(()));
        assert_eq!(scene.free(Door::Holder, two.as_ptr()), Ok(()));
    });
}

#[test]
fn a_shared_block_freed_twice_by_whomever_is_a_double_free() {
    on_both(|scene| {
        for first in DOORS {
            for size in [16, 64, 1000, 5000] {
                let shared = || scene.arena.alloc(Some(column(1)), layout(size, 16), SpikeTime::NONE).expect("there is memory");
                let (block, keeper) = (shared(), shared());
                assert_eq!(scene.free(first, block.as_ptr()), Ok(()));
                scene.assert_not_handed_out(block.as_ptr());
                assert_eq!(scene.free(Door::Arena, keeper.as_ptr()), Ok(()));
            }
        }
    });
}

#[test]
fn a_large_block_freed_twice_is_a_bad_pointer() {
    on_both(|scene| {
        for first in DOORS {
            for size in [300 << 10, CHUNK, 2 * CHUNK] {
                let block = scene.alloc(size);
                assert_eq!(scene.free(first, block.as_ptr()), Ok(()));
                scene.assert_bad(block.as_ptr());
            }
        }
    });
}

#[test]
fn a_block_that_was_reset_is_an_error() {
    on_both(|mut scene| {
        let block = scene.alloc(64).as_ptr();
        scene.others.clear();
        // SAFETY: nothing uses the column's blocks any more.
        unsafe { scene.holder.reset() };
        // Its span may serve the class still, or nothing.
        for door in DOORS {
            assert!(matches!(scene.free(door, block), Err(Error::BadPointer(_) | Error::DoubleFree(_))));
        }
        assert_eq!((scene.arena.metrics().misuse, scene.arena.metrics().live_blocks()), (4, 0));
    });
}

#[test]
fn a_block_freed_twice_is_given_to_one_caller_only() {
    on_both(|scene| {
        for first in DOORS {
            let blocks: Vec<_> = (0..200).map(|_| scene.alloc(64)).collect();
            for block in &blocks {
                assert_eq!(scene.free(first, block.as_ptr()), Ok(()));
                for second in [Door::Holder, Door::Arena] {
                    assert!(scene.free(second, block.as_ptr()).is_err());
                }
            }
            let mut again: Vec<_> = (0..2000).map(|_| scene.alloc(64)).collect();
            let given = again.len();
            again.sort_unstable();
            again.dedup();
            assert_eq!(again.len(), given);
            scene.arena.verify().expect("every block is owned once");
            assert!(again.into_iter().all(|block| scene.free(Door::Thread, block.as_ptr()).is_ok()));
        }
    });
}

/// Frees each of `blocks` in several threads at once; how many of the frees were served.
fn freed_by_many(arena: &Arena, blocks: &[Loose]) -> usize {
    const THREADS: usize = 4;
    let start = Barrier::new(THREADS);
    let free = || {
        start.wait();
        // SAFETY: nothing uses the blocks; of several frees all but one are errors.
        blocks.iter().filter(|block| unsafe { arena.free(block.0) }.is_ok()).count()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(free)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a free does not panic")).sum()
    })
}

/// Seen with: of two frees of a large block both served (where freed memory is zeroed they take long enough to meet).
#[test]
fn a_block_freed_by_many_threads_at_once_is_freed_once() {
    for (size, zeroed) in [(16, false), (1000, false), (5000, false), (300 << 10, false), (300 << 10, true)] {
        let arena = built(Arena::builder().capacity(64 << 20).columns(4).zero_freed(zeroed));
        let holder = held(&arena, 1);
        let own = || holder.alloc(size, 16, SpikeTime::NONE);
        let shared = || arena.alloc(Some(column(1)), layout(size, 16), SpikeTime::NONE);
        for block in [&own as &dyn Fn() -> Result<NonNull<u8>>, &shared] {
            let blocks: Vec<_> = (0..50_000).map_while(|_| block().ok()).map(Loose).take((16 << 20) / size).collect();
            let before = arena.metrics();
            assert_eq!(freed_by_many(&arena, &blocks), blocks.len());
            let after = arena.metrics();
            assert_eq!(after.misuse - before.misuse, 3 * blocks.len() as u64);
            assert_eq!(after.live_blocks(), before.live_blocks() - blocks.len() as u64);
            arena.verify().expect("every invariant holds");
        }
    }
}

#[test]
fn resizing_what_is_no_block_is_an_error_and_changes_nothing() {
    on_both(|scene| {
        let block = scene.alloc(64);
        assert_eq!(scene.free(Door::Holder, block.as_ptr()), Ok(()));
        let inside = NonNull::new(scene.others[0].start.as_ptr().wrapping_add(8)).expect("not null");
        // SAFETY: neither is a block, which is an error.
        unsafe {
            assert_eq!(scene.arena.realloc(block, 5000, SpikeTime::NONE), Err(Error::DoubleFree(block.addr().get())));
            assert_eq!(scene.holder.realloc(inside, 5000, SpikeTime::NONE), Err(Error::BadPointer(inside.addr().get())));
        }
        assert_eq!(scene.holder.last_error(), Error::BadPointer(inside.addr().get()));
        assert!(scene.others.iter().all(Marked::is_intact));
        scene.arena.verify().expect("nothing has changed");
    });
}

/// Frees a block twice in an arena that aborts: never returns.
#[cfg(all(unix, not(miri)))]
fn misuse_that_aborts(by_holder: bool) {
    let arena = built(Arena::builder().capacity(CHUNK).columns(4).abort_on_misuse(true));
    let holder = held(&arena, 1);
    let block = holder.alloc(64, 16, SpikeTime::NONE).expect("there is memory");
    // SAFETY: nothing uses the block; the second free aborts.
    unsafe {
        holder.free(block).expect("it is handed out");
        let _ = if by_holder { holder.free(block) } else { arena.free(block) };
    }
}

/// Runs `test` again as a child, and fails unless it aborts with one line on standard error.
#[cfg(all(unix, not(miri)))]
fn assert_aborts(test: &str) {
    use std::os::unix::process::ExitStatusExt;
    let output = run_again(test);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "SIGABRT: {said}");
    assert!(said.lines().count() == 1 && said.starts_with("engram: ") && said.contains("was freed before"), "{said}");
}

#[cfg(all(unix, not(miri)))]
#[test]
fn an_arena_that_is_to_aborts_with_one_line_at_a_holders_misuse() {
    if is_child() {
        misuse_that_aborts(true);
    } else {
        assert_aborts("an_arena_that_is_to_aborts_with_one_line_at_a_holders_misuse");
    }
}

#[cfg(all(unix, not(miri)))]
#[test]
fn an_arena_that_is_to_aborts_with_one_line_at_anybodys_misuse() {
    if is_child() {
        misuse_that_aborts(false);
    } else {
        assert_aborts("an_arena_that_is_to_aborts_with_one_line_at_anybodys_misuse");
    }
}

/// Seen with: a line whose loss is a panic, which somebody may catch.
#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn an_arena_that_is_to_aborts_also_if_its_line_cannot_be_written() {
    use std::os::unix::process::ExitStatusExt;
    if is_child() {
        misuse_that_aborts(true);
    } else {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device that is full");
        let output = promises::run_again_with("an_arena_that_is_to_aborts_also_if_its_line_cannot_be_written", full);
        assert_eq!(output.status.signal(), Some(6), "SIGABRT: {:?}", output.status);
    }
}
