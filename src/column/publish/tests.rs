use crate::arena::{Arena, SpanView};
use crate::column::ColumnId;
use crate::spike::SpikeTime;
use crate::sync::Ordering::Relaxed;
use core::alloc::Layout;

/// Who looks for a slot, and finds that it was published meanwhile, has turned its remote bit on, and rests. Seen with: remote bits
/// taken off in a walk, or in a picture.
#[test]
fn a_block_is_there_whoever_looks_for_a_slot() {
    let arena = Arena::builder().capacity(2 << 20).columns(1).build().unwrap();
    let column = ColumnId::new(0);
    let block = arena.publish_root(Some(column), Layout::new::<[u64; 8]>(), SpikeTime::NONE, 0).unwrap();
    let granule = arena.core.granule(block.as_ptr()).unwrap();
    arena.core.remote_word(granule).fetch_or(granule.bit(), Relaxed);
    let mut seen = Vec::new();
    arena.column(column).unwrap().walk(|block| {
        seen.push(block.start);
        true
    });
    assert_eq!(seen, [block]);
    let shown = arena.map()[0].spans.iter().any(|span| matches!(span, SpanView::Shared { live: 1, .. }));
    assert!(shown, "{:?}", arena.map());
    // SAFETY: nothing uses the block.
    unsafe { arena.unpublish_root(0) }.unwrap();
    arena.core.remote_word(granule).fetch_and(!granule.bit(), Relaxed);
    assert_eq!(arena.metrics().bytes_live, 0);
    arena.verify().unwrap();
}

/// Whose publication was taken back before it came to its end may rest; its slot is given to who wants no name for it, and must
/// not be free to who recovers. Seen with: no `forget_intents` in `give_unpublished`.
#[test]
fn no_intent_is_about_a_slot_among_published_blocks_that_was_given_without_a_name() {
    let arena = Arena::builder().capacity(2 << 20).columns(1).build().unwrap();
    let layout = Layout::from_size_align(4096, 16).unwrap();
    // Its span stays one of published blocks.
    arena.publish_root(None, layout, SpikeTime::NONE, 1).unwrap();
    let block = arena.publish_root(None, layout, SpikeTime::NONE, 0).unwrap();
    let granule = arena.core.granule(block.as_ptr()).unwrap();
    let resting = arena.core.take_intent().unwrap();
    resting.set(granule, arena.core.root_place(0).unwrap().code);
    // SAFETY: nothing uses the block.
    unsafe { arena.unpublish_root(0) }.unwrap();
    assert_eq!(arena.core.unnamed(), [granule]);
    let given: Vec<_> = core::iter::from_fn(|| arena.alloc(None, layout, SpikeTime::NONE).ok()).collect();
    assert!(given.contains(&block));
    assert_eq!(arena.core.unnamed(), []);
    resting.clear();
    arena.verify().unwrap();
}

/// Seen with: blocks that are zeroed only where a plain free takes them back.
#[test]
fn what_is_unpublished_is_zero_from_then_on_if_freed_memory_is_zeroed() {
    let arena = Arena::builder().capacity(4 << 20).columns(1).zero_freed(true).build().unwrap();
    for size in [64, 5000, 300_000] {
        let block = arena.publish_root(None, Layout::from_size_align(size, 16).unwrap(), SpikeTime::NONE, 0).unwrap();
        // SAFETY: ours, and as large.
        unsafe { block.write_bytes(0xa5, size) };
        // SAFETY: nothing uses the block afterwards.
        unsafe { arena.unpublish_root(0) }.unwrap();
        // SAFETY: the arena's memory, which nobody uses.
        let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), size) };
        assert!(bytes.iter().all(|&byte| byte == 0), "{size} bytes");
    }
}
