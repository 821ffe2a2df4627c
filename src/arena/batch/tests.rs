use super::*;

const EARLY: SpikeTime = SpikeTime::from_nanos(1_000_000);

fn arena() -> super::super::ArenaBuilder {
    Arena::builder().capacity(2 << 20).columns(1)
}

fn request(size: usize, align: usize, spike: SpikeTime) -> Request {
    Request { size, align, column: None, spike }
}

/// Seen with: numbers of requests, or of groups, that stay in the blocks.
#[test]
fn where_freed_memory_is_zero_the_blocks_of_a_batch_are() {
    let arena = arena().zero_freed(true).build().unwrap();
    let requests: Vec<_> = (0..40).map(|index| request(64 + index % 3 * 200, 0, SpikeTime::from_nanos(index as u32))).collect();
    for flags in [BatchFlags::empty(), BatchFlags::ORDERED] {
        let mut out = [core::ptr::null_mut(); 40];
        assert_eq!(arena.alloc_batch(&requests, flags, &mut out), Ok(40));
        for block in out {
            // SAFETY: a block of ours, of at least 64 bytes.
            assert_eq!(unsafe { block.cast::<[u64; 8]>().read() }, [0; 8]);
        }
    }
}

/// Seen with: all of one size served as the first of them.
#[test]
fn of_a_batch_of_several_sizes_each_lies_with_its_spike_zone() {
    let arena = arena().build().unwrap();
    let requests = [request(64, 0, EARLY), request(64, 0, SpikeTime::NONE), request(200, 0, EARLY), request(64, 0, EARLY)];
    let mut out = [core::ptr::null_mut(); 4];
    assert_eq!(arena.alloc_batch(&requests, BatchFlags::empty(), &mut out), Ok(4));
    let span = |block: *mut u8| arena.berth(core::ptr::NonNull::new(block).unwrap()).unwrap().span;
    assert_eq!(span(out[0]), span(out[3]));
    assert_ne!(span(out[0]), span(out[1]));
    assert_eq!(span(arena.alloc_sized(None, 64, 16, SpikeTime::NONE).unwrap().as_ptr()), span(out[1]));
}
