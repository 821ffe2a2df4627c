use crate::sync::Ordering::Relaxed;
use crate::{Arena, ColumnId, SpikeTime};

const SPAN: u64 = 32 << 10;

/// Seen with: `spans` told; `had` not kept when a limit is set.
#[test]
fn what_is_refused_at_the_limit_is_never_told_as_committed() {
    let arena = Arena::builder().capacity(8 << 20).columns(1).build().unwrap();
    let column = ColumnId::new(0);
    let alloc = || arena.alloc_sized(Some(column), SPAN as usize, 0, SpikeTime::NONE);
    let committed = || arena.metrics().bytes_committed;
    // What is being charged, until it is refused.
    let open = &arena.core.block(0).open;
    let beside_a_charge = || {
        open.spans.fetch_add(50, Relaxed);
        let told = committed();
        open.spans.fetch_sub(50, Relaxed);
        told
    };
    arena.limit_column(column, Some(10 * SPAN as usize)).unwrap();
    let blocks: Vec<_> = core::iter::from_fn(|| alloc().ok()).collect();
    assert_eq!((blocks.len(), committed(), beside_a_charge()), (10, 10 * SPAN, 10 * SPAN));
    // It keeps what it has above a limit that is set later.
    arena.limit_column(column, Some(4 * SPAN as usize)).unwrap();
    assert_eq!((committed(), beside_a_charge()), (10 * SPAN, 10 * SPAN));
    for &block in &blocks[..8] {
        // SAFETY: nothing uses the block afterwards.
        unsafe { arena.free(block) }.unwrap();
    }
    while arena.maintain(core::time::Duration::MAX) == Ok(crate::Maintained::More) {}
    assert_eq!(committed(), 2 * SPAN);
    arena.limit_column(column, Some(4 * SPAN as usize)).unwrap();
    assert_eq!(beside_a_charge(), 4 * SPAN);
    arena.verify().unwrap();
}
/// Seen with: `had` not kept when a region is opened again.
#[test]
#[cfg_attr(miri, ignore = "region files")]
fn nor_is_it_in_a_region_that_was_opened_again() {
    let path = std::env::temp_dir().join(format!("engram-refused-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let open = || Arena::builder().capacity(8 << 20).columns(1).path(&path).build().unwrap();
    open().limit_column(ColumnId::new(0), Some(10 * SPAN as usize)).unwrap();
    let arena = open();
    arena.alloc_sized(Some(ColumnId::new(0)), 64, 0, SpikeTime::NONE).unwrap();
    // As by who is refused at this moment.
    arena.core.block(0).open.spans.fetch_add(50, Relaxed);
    assert_eq!(arena.metrics().bytes_committed, 10 * SPAN);
    drop(arena);
    std::fs::remove_file(path).unwrap();
}
