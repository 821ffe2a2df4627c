use super::Head;
use crate::arena::Arena;
use crate::column::ColumnId;
use crate::column::block::Hold;
use crate::map::{ChunkId, Granule, Owner};
use crate::spike::SpikeTime;
use crate::sync::Ordering::Relaxed;

fn arena() -> Arena {
    Arena::builder().capacity(4 << 20).columns(2).build().unwrap()
}

fn block(arena: &Arena, column: u32, size: usize) -> Granule {
    let block = arena.alloc_sized(Some(ColumnId::new(column)), size, 16, SpikeTime::NONE).unwrap();
    arena.core.granule(block.as_ptr()).unwrap()
}

/// Seen with: runs that are followed wherever they end.
#[test]
fn a_run_that_reaches_beyond_its_chunk_is_damage() {
    let arena = arena();
    let core = &arena.core;
    let head = block(&arena, 0, 36_000).span();
    let spans = core.read_owned(head).unwrap().spans();
    assert!(spans > 1);
    for (place, fits) in [(64 - spans, true), (65 - spans, false), (63, false)] {
        let there = ChunkId(2).span(place);
        core.page(there).write(core.page(head).read());
        match core.read_owned(there) {
            Ok(found) => assert!(fits && found.spans() == spans),
            Err(damage) => assert!(!fits && damage.invariant == "M3", "{damage:?}"),
        }
    }
}

/// Seen with: no look at where it ends.
#[test]
fn a_large_block_that_reaches_beyond_its_chunk_or_all_memory_is_damage() {
    let arena = arena();
    let core = &arena.core;
    let head = |place: u32, chunk: u32| ChunkId(chunk).span(place);
    // Two chunks of 64 spans.
    let fits = [(head(0, 1), 64), (head(0, 1), 128), (head(0, 2), 64), (head(60, 2), 4), (head(63, 1), 1)];
    let reaches = [(head(0, 1), 0), (head(0, 1), 65), (head(0, 1), 192), (head(0, 2), 128), (head(60, 1), 5), (head(60, 2), 64)];
    for (index, (head, spans)) in fits.into_iter().chain(reaches).enumerate() {
        core.page(head).set(Owner::large(0), 0);
        core.span(head).spans.store(spans, Relaxed);
        match core.read_owned(head) {
            Ok(found) => assert!(index < fits.len() && found == Head::Large { index: 0, spans }),
            Err(damage) => assert!(index >= fits.len() && damage.invariant == "M3", "{damage:?}"),
        }
    }
}

/// Who was killed while it was freed had cleared its bit. Seen with: what its page entry says believed.
#[test]
fn a_large_block_that_is_not_live_is_nothing() {
    let arena = arena();
    let core = &arena.core;
    let large = block(&arena, 0, 300_000);
    assert_eq!(core.read_head(large.span()).unwrap(), Head::Large { index: 0, spans: 10 });
    core.live_word(large).fetch_and(!large.bit(), Relaxed);
    assert_eq!(core.read_head(large.span()).unwrap(), Head::Free);
}

/// Seen with: a closed region that is looked at as one of a process that died.
#[test]
fn a_block_that_starts_where_nothing_is_is_damage_in_a_closed_region() {
    let arena = arena();
    let core = &arena.core;
    let chunks = core.used_chunks();
    core.audit(&chunks, true).unwrap();
    core.live_word(ChunkId(2).span(7).first()).store(1 << 5, Relaxed);
    assert!(core.audit(&chunks, true).is_err());
    core.audit(&chunks, false).unwrap();
}

/// Who looks for a slot may have turned it on, found a block there, and died. Seen with: remote bits taken for frees wherever they
/// are.
#[test]
fn a_remote_bit_says_nothing_of_a_published_block() {
    let arena = arena();
    let core = &arena.core;
    for size in [64, 300_000] {
        let layout = core::alloc::Layout::from_size_align(size, 16).unwrap();
        let block = arena.publish_root(Some(ColumnId::new(0)), layout, SpikeTime::NONE, 0).unwrap();
        let block = core.granule(block.as_ptr()).unwrap();
        core.remote_word(block).fetch_or(block.bit(), Relaxed);
        core.settle_frees(&core.used_chunks());
        assert_eq!(core.remote_word(block).load(Relaxed), 0);
        // SAFETY: nothing uses the block.
        unsafe { arena.unpublish_root(0) }.unwrap();
    }
    assert_eq!(arena.metrics().live_blocks(), 0);
    arena.verify().unwrap();
}

/// Seen with: no look at whose the span is; none at whether there is such a place.
#[test]
fn a_block_that_a_column_holds_back_by_mistake_stays() {
    let arena = arena();
    let core = &arena.core;
    let [ours, theirs] = [0, 1].map(|column| block(&arena, column, 64));
    let is_live = |block: Granule| core.live_word(block).load(Relaxed) & block.bit() != 0;
    for held in [theirs, Granule(core.region.granules()), Granule(u64::MAX)] {
        for hold in Hold::ALL {
            core.block(0).holds.set(hold, held);
        }
        core.settle_holds(0);
        assert!(is_live(ours) && is_live(theirs));
    }
    for hold in Hold::ALL {
        core.block(0).holds.set(hold, Granule(0));
    }
    arena.verify().unwrap();
}
