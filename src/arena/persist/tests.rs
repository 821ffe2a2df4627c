use crate::{Arena, ColumnId, SpikeTime};

/// Seen with: wide cells in either.
#[test]
#[cfg(target_os = "linux")]
fn columns_with_narrow_cells_touch_fewer_pages() {
    let touched = |arena: crate::ArenaBuilder| {
        let arena = arena.capacity(128 << 20).columns(64).build().unwrap();
        for index in 0..64 {
            let column = arena.column(ColumnId::new(index)).unwrap();
            (80..=480).step_by(16).for_each(|size| _ = column.alloc(size, 16, SpikeTime::from_nanos(3_000_000)).unwrap());
        }
        arena.resident_bytes() / 4096
    };
    let (wide, narrow) = (touched(Arena::builder()), touched(Arena::builder().narrow()));
    assert!(narrow + 64 <= wide, "{narrow}, {wide}");
}

/// Seen with: a header that says only how many zones share a row.
#[test]
fn a_snapshot_of_an_arena_with_narrow_cells_is_one() {
    let path = std::env::temp_dir().join(format!("engram-narrow-{}", std::process::id()));
    let arena = Arena::builder().capacity(4 << 20).columns(2).narrow().build().unwrap();
    let sizes = || (1..=4096).step_by(61);
    let spike = |size: usize| SpikeTime::from_nanos((size << 14) as u32);
    let mut blocks = Vec::new();
    for index in [0, 1] {
        let column = arena.column(ColumnId::new(index)).unwrap();
        let mut alloc = |size| column.alloc(size, 16, spike(size)).unwrap();
        let all: Vec<_> = (0..3).flat_map(|_| sizes()).map(&mut alloc).collect();
        // SAFETY: nothing uses the blocks afterwards.
        all.iter().skip(1).step_by(2).for_each(|&block| unsafe { column.free(block) }.unwrap());
        blocks.extend(all.iter().step_by(2).map(|block| arena.offset_of(block.as_ptr()).unwrap()));
        arena.verify().unwrap();
    }
    let bytes = arena.metrics().bytes_live;
    drop((arena.snapshot(&path).unwrap(), arena));
    let again = Arena::builder().capacity(4 << 20).columns(2).path(&path).build().unwrap();
    std::fs::remove_file(&path).unwrap();
    again.verify().unwrap();
    assert_eq!(again.metrics().bytes_live, bytes);
    let column = again.column(ColumnId::new(1)).unwrap();
    for offset in blocks {
        // SAFETY: nothing uses the blocks.
        unsafe { column.free(core::ptr::NonNull::new(again.at(offset).unwrap()).unwrap()) }.unwrap();
    }
    assert!(sizes().all(|size| column.alloc(size, 16, spike(size)).is_ok()));
    again.verify().unwrap();
}

/// Seen with: neither counted; a refusal that names what was made of the request.
#[test]
fn a_publication_that_is_refused_is_counted_and_says_what_was_asked() {
    let arena = Arena::builder().capacity(2 << 20).columns(1).build().unwrap();
    let failed = || arena.metrics().failed;
    assert!(arena.alloc(Some(ColumnId::new(1)), core::alloc::Layout::new::<u64>(), SpikeTime::NONE).is_err());
    assert_eq!(failed(), 1);
    let layout = core::alloc::Layout::from_size_align(3 << 19, 4096).unwrap();
    arena.publish_root(None, layout, SpikeTime::NONE, 0).unwrap();
    let error = arena.publish_root(None, layout, SpikeTime::NONE, 1).unwrap_err();
    assert_eq!((error, failed()), (crate::Error::NoMemory { size: 3 << 19, align: 4096 }, 2));
    let layout = core::alloc::Layout::from_size_align(3 << 19, 1).unwrap();
    let error = arena.publish_root(None, layout, SpikeTime::NONE, 1).unwrap_err();
    assert_eq!((error, failed()), (crate::Error::NoMemory { size: 3 << 19, align: 16 }, 3));
}

/// Seen with: a limit that is rounded up.
#[test]
fn a_columns_limit_is_rounded_down_to_spans() {
    let arena = Arena::builder().capacity(2 << 20).columns(1).build().unwrap();
    let column = ColumnId::new(0);
    let span = core::alloc::Layout::from_size_align(32 << 10, 16).unwrap();
    let fit = |bytes| {
        arena.limit_column(column, Some(bytes)).unwrap();
        let blocks: Vec<_> = core::iter::from_fn(|| arena.alloc(Some(column), span, SpikeTime::NONE).ok()).collect();
        for &block in &blocks {
            // SAFETY: nothing uses the block afterwards.
            unsafe { arena.free(block) }.unwrap();
        }
        blocks.len()
    };
    assert_eq!([(32 << 10) - 1, 32 << 10, (64 << 10) - 1, 64 << 10].map(fit), [0, 1, 1, 2]);
}
