//! Blocks of which each leads to the next.

use super::Block;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

/// What a block of a chain begins with.
#[repr(C)]
struct Link {
    /// What [`Block::read`] reads.
    first: u64,
    next: *mut Link,
}

/// Blocks chained in some order.
pub struct Chain<'a> {
    first: *mut Link,
    blocks: PhantomData<&'a [Block]>,
}

impl<'a> Chain<'a> {
    /// Writes to each of `blocks` where the one after it lies.
    ///
    /// # Panics
    /// If a block is too short for that, or its first bytes are not what [`super::Heap::alloc`] wrote.
    pub fn new(blocks: &'a [Block]) -> Self {
        let link = |block: &Block| block.start.cast::<Link>().as_ptr();
        let after = blocks.iter().skip(1).map(link).chain([null_mut()]);
        for (block, next) in blocks.iter().zip(after) {
            assert!(block.read() >= size_of::<Link>() as u64, "a block holds its size, and has room for a link");
            // SAFETY: the block is as long as a link, aligned to 8, and nobody else's.
            unsafe { (&raw mut (*link(block)).next).write(next) };
        }
        Self { first: blocks.first().map_or(null_mut(), link), blocks: PhantomData }
    }

    /// Visits all, each when the one before has told where it lies; the sum of what [`Block::read`] reads.
    #[inline(never)]
    pub fn walk(&self) -> u64 {
        let mut sum = 0;
        let mut place = self.first;
        while let Some(link) = NonNull::new(place) {
            // SAFETY: `new` has written where the next of the blocks lies, which live as long as the chain.
            let link = unsafe { link.read_volatile() };
            sum += link.first;
            place = link.next;
        }
        sum
    }
}
