use crate::arena::Arena;
use crate::column::holding::ColumnId;
use crate::spike::SpikeTime;

/// What a walk shows whose first visit frees all blocks, and allocates others from the spans that are free then.
/// Seen with: no look at the page entry after each word; no look at the cell that it names.
#[test]
fn a_walk_shows_no_block_of_another_column_or_class_that_lies_where_blocks_were() {
    for (size, by_holder) in [(4096, true), (4096, false), (512, false), (40_000, true), (40_000, false), (300_000, true)] {
        for (next, to) in [(1024, 0), (16, 0), (1024, 1), (16, 1)] {
            let arena = Arena::builder().capacity(2 << 20).columns(2).build().unwrap();
            let column = arena.column(ColumnId::new(0)).unwrap();
            let alloc = |column, size| arena.alloc_sized(Some(ColumnId::new(column)), size, 0, SpikeTime::NONE);
            // Of what the holder has, and of shared spans.
            let blocks: Vec<_> = (0..if size == 512 { 60 } else { 4 })
                .map(|_| if by_holder { column.alloc(size, 0, SpikeTime::NONE) } else { alloc(0, size) }.unwrap())
                .collect();
            let mut others = Vec::new();
            let mut visited = 0;
            column.walk(|block| {
                let class = arena.usable_size(block.start.as_ptr());
                assert_eq!(class, Some(block.usable), "{size} by the holder: {by_holder}, then {next} in column {to}");
                assert!(to == 0 || !others.contains(&block.start), "a block of column {to}");
                if visited == 0 {
                    for &block in &blocks {
                        // SAFETY: nothing uses the blocks afterwards.
                        unsafe { column.free(block) }.unwrap();
                    }
                    others.extend(
                        (0..5000).map_while(|_| if to == 0 { column.alloc(next, 0, SpikeTime::NONE) } else { alloc(to, next) }.ok()),
                    );
                }
                visited += 1;
                true
            });
            assert!(visited > 0);
            drop(column);
            arena.verify().unwrap();
        }
    }
}
/// Seen with: blocks in spans, in shared spans, and large ones left as they were.
#[test]
fn what_a_reset_frees_is_zero_if_freed_memory_is_zeroed() {
    for (size, by_holder) in [(64, true), (64, false), (5000, true), (5000, false), (300_000, true)] {
        let arena = Arena::builder().capacity(4 << 20).columns(1).zero_freed(true).build().unwrap();
        let column = arena.column(ColumnId::new(0)).unwrap();
        let other = || arena.alloc_sized(Some(ColumnId::new(0)), size, 0, SpikeTime::NONE);
        let blocks = [(); 3].map(|()| if by_holder { column.alloc(size, 0, SpikeTime::NONE) } else { other() }.unwrap());
        for block in blocks {
            // SAFETY: ours, and as large.
            unsafe { block.write_bytes(0xa5, size) };
        }
        // SAFETY: nothing uses the blocks afterwards.
        unsafe { column.reset() };
        for block in blocks {
            // SAFETY: the arena's memory, which nobody uses.
            let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), size) };
            assert!(bytes.iter().all(|&byte| byte == 0), "{size} bytes, by the holder: {by_holder}");
        }
    }
}
