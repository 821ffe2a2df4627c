//! Blocks that a word in the arena names.

use core::alloc::Layout;
use core::ptr::NonNull;

use engram::{Arena, ColumnId, Error, SpikeTime};

use super::folder::Folder;
use super::{SIZES, builder, is_stamped, stamp};

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

/// No block is at fault, so that nothing is counted as misuse, and nothing aborts.
#[test]
fn a_place_that_cannot_be_one_unpublishes_nothing_and_is_no_misuse() {
    let arena = Arena::builder().capacity(2 << 20).columns(1).abort_on_misuse(true).build().unwrap();
    let mut outside = 0_u64;
    let place = NonNull::from(&mut outside);
    // SAFETY: there is no block.
    let refused = unsafe { [arena.unpublish(place), arena.unpublish_root(16)] };
    assert_eq!(refused, [Err(Error::Place(place.addr().get())), Err(Error::Root(16))]);
    assert_eq!(arena.metrics().misuse, 0);
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
            let name = arena.offset_of(plain.as_ptr()).unwrap();
            arena.set_root(0, name as u64).unwrap();
            // SAFETY: refused. (The first block's name, 0, is that of nothing.)
            let refused = unsafe { arena.unpublish_root(0) };
            match refused {
                Err(Error::NoName(_)) => assert_eq!(name, 0),
                Err(Error::NotPublished(_) | Error::BadPointer(_)) => assert_ne!(name, 0),
                _ => panic!("{size}: {refused:?}"),
            }
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

/// Seen with: a large block that seems published because one was that lay there before.
#[test]
fn a_large_block_where_a_published_one_lay_is_none() {
    let arena = builder().build().unwrap();
    let layout = Layout::from_size_align(300_000, 16).unwrap();
    let alloc = || arena.alloc(Some(ColumnId::new(1)), layout, SpikeTime::NONE).unwrap();
    alloc();
    let published = arena.publish_root(Some(ColumnId::new(1)), layout, SpikeTime::NONE, 0).unwrap();
    let name = arena.root(0).unwrap();
    // SAFETY: nothing uses the block.
    unsafe { arena.unpublish_root(0) }.unwrap();
    assert_eq!(alloc(), published);
    arena.set_root(0, name).unwrap();
    // SAFETY: refused.
    assert!(matches!(unsafe { arena.unpublish_root(0) }, Err(Error::NotPublished(_))));
    assert_eq!(arena.metrics().live_blocks(), 2);
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

/// Seen with: the first block of the arena, which is alive, blamed for it.
#[test]
fn a_word_that_is_0_unpublishes_nothing_and_blames_no_block() {
    let arena = Arena::builder().capacity(4 << 20).columns(2).build().unwrap();
    let place = arena.alloc(None, Layout::new::<u64>(), SpikeTime::NONE).unwrap().cast::<u64>();
    assert_eq!(arena.offset_of(place.as_ptr().cast()), Some(0));
    // SAFETY: the word is ours.
    unsafe { place.write(0) };
    // SAFETY: nothing is named there.
    let refused = unsafe { arena.unpublish(place) }.unwrap_err();
    assert_eq!(refused, Error::NoName(place.addr().get()));
    assert_eq!(refused.to_string(), format!("the word at {place:p} is 0: it names no block to unpublish"));
    // SAFETY: nothing is named there either.
    assert!(matches!(unsafe { arena.unpublish_root(3) }, Err(Error::NoName(_))));
    assert_eq!(arena.metrics().misuse, 2);
    arena.verify().unwrap();
}
