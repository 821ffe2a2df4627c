//! What was freed is zero before it is given again, also if the process was killed before it came to zeroing it.

use core::alloc::Layout;
use std::path::Path;

use engram::{Arena, ArenaBuilder, ColumnId, SpikeTime};

use super::super::child::{Child, Stop, stay_on_one_processor, stop_to_be_stepped};
use super::super::folder::Folder;

const SIZE: usize = 4096;
const MARK: u8 = 0x5a;

fn builder() -> ArenaBuilder {
    Arena::builder().capacity(4 << 20).columns(2).zero_freed(true)
}

fn layout() -> Layout {
    Layout::from_size_align(SIZE, 16).unwrap()
}

/// Marked bytes of all that can be had of what is in the file.
fn marked(file: &Path) -> usize {
    let arena = builder().path(file).build().unwrap();
    let free = core::iter::from_fn(|| arena.alloc(None, layout(), SpikeTime::NONE).ok());
    // SAFETY: ours, of that size; a region is initialised.
    free.flat_map(|block| unsafe { core::slice::from_raw_parts(block.as_ptr(), SIZE) }).filter(|&&byte| byte == MARK).count()
}

/// Kills `free` of what is published in root 0, and of the blocks of column 1, after each so many instructions.
fn killed(stride: usize, free: impl Fn(&Arena)) {
    stay_on_one_processor();
    let folder = Folder::in_memory("zeroed");
    let (file, copy) = (folder.file("region"), folder.file("copy"));
    let mut child = Child::fork(|| {
        let arena = builder().path(&file).build().unwrap();
        let published = arena.publish_root(Some(ColumnId::new(0)), layout(), SpikeTime::NONE, 0).unwrap();
        let others = (0..4).map(|_| arena.alloc(Some(ColumnId::new(1)), layout(), SpikeTime::NONE).unwrap());
        for block in others.chain([published]) {
            // SAFETY: ours, of that size.
            unsafe { block.write_bytes(MARK, SIZE) };
        }
        stop_to_be_stepped();
        free(&arena);
        // SAFETY: always sound.
        unsafe { libc::raise(libc::SIGSTOP) };
    });
    assert_eq!(child.wait(), Stop::Signal(libc::SIGSTOP));
    for instructions in 1.. {
        if !child.step_or_stop() {
            assert!(instructions > 4 * stride, "{instructions} instructions");
            return;
        }
        if instructions % stride == 0 {
            std::fs::copy(&file, &copy).unwrap();
            assert_eq!(marked(&copy), 0, "killed after {instructions} instructions");
        }
    }
}

pub(crate) fn all() {
    // SAFETY: nothing uses the block.
    killed(97, |arena| unsafe { arena.unpublish_root(0).unwrap() });
    // SAFETY: nothing uses any block.
    killed(499, |arena| unsafe { arena.column(ColumnId::new(1)).unwrap().reset() });
}
