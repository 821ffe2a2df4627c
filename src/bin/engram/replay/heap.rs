//! The allocators that a trace is played against, behind one small trait.
//!
//! [`Heap`] is what all threads share, [`Local`] what each has of it. The replay is generic over both, so each allocator is
//! called directly and the driver around the calls is the same code.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;

use engram::{Arena, Column, ColumnId, SpikeTime};

/// An allocator.
pub trait Heap: Sync {
    /// What one thread has of it.
    type Local<'a>: Local + Send
    where
        Self: 'a;

    /// Its name in a report.
    const NAME: &'static str;

    /// The share of thread number `thread`.
    ///
    /// # Errors
    /// What the allocator says if that thread cannot have one.
    fn enter(&self, thread: u32) -> engram::Result<Self::Local<'_>>;
}

/// One thread's access to an allocator. Sizes are at least 1; alignments are powers of two, 16 what any block has.
pub trait Local {
    /// A new block, or null.
    fn allocate(&mut self, size: usize, align: usize) -> *mut u8;

    /// Ends a block; `false` if the allocator refuses the pointer.
    ///
    /// # Safety
    /// `block` is a live block of this heap with this size and alignment, and nobody uses it any more.
    unsafe fn release(&mut self, block: NonNull<u8>, size: usize, align: usize) -> bool;

    /// Gives a block another size and keeps what fits of its content; null if refused, the block is then as before.
    ///
    /// # Safety
    /// `block` is a live block of this heap with this size and alignment, and nobody else uses it.
    unsafe fn resize(&mut self, block: NonNull<u8>, size: usize, align: usize, new_size: usize) -> *mut u8;
}

impl Heap for Arena {
    type Local<'a> = Column<'a>;

    const NAME: &'static str = "engram";

    fn enter(&self, thread: u32) -> engram::Result<Column<'_>> {
        self.column(ColumnId::new(thread))
    }
}

impl Local for Column<'_> {
    #[inline]
    fn allocate(&mut self, size: usize, align: usize) -> *mut u8 {
        self.alloc(size, align, SpikeTime::NONE).map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn release(&mut self, block: NonNull<u8>, _: usize, _: usize) -> bool {
        // SAFETY: the caller's promise: a live block of this arena that nobody uses.
        unsafe { self.free(block) }.is_ok()
    }

    #[inline]
    unsafe fn resize(&mut self, block: NonNull<u8>, _: usize, _: usize, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: a live block of this arena that nobody else uses.
        unsafe { self.realloc(block, new_size, SpikeTime::NONE) }.map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }
}

/// The system's `malloc`, `realloc` and `free` (`posix_memalign` above 16 bytes of alignment).
pub struct Malloc;

impl Malloc {
    /// Any block is aligned to 16, so that is not asked for: to ask would be another, slower, call.
    #[inline]
    const fn layout(size: usize, align: usize) -> Layout {
        let align = if align <= 16 { 1 } else { align };
        // SAFETY: alignments are powers of two, sizes at most 2^40: no overflow when rounded up.
        unsafe { Layout::from_size_align_unchecked(size, align) }
    }
}

impl Heap for Malloc {
    type Local<'a> = Self;

    const NAME: &'static str = "malloc";

    fn enter(&self, _: u32) -> engram::Result<Self> {
        Ok(Self)
    }
}

impl Local for Malloc {
    #[inline]
    fn allocate(&mut self, size: usize, align: usize) -> *mut u8 {
        // SAFETY: sizes are at least 1.
        unsafe { System.alloc(Self::layout(size, align)) }
    }

    #[inline]
    unsafe fn release(&mut self, block: NonNull<u8>, size: usize, align: usize) -> bool {
        // SAFETY: the caller's promise: a live block of this size and alignment.
        unsafe { System.dealloc(block.as_ptr(), Self::layout(size, align)) };
        true
    }

    #[inline]
    unsafe fn resize(&mut self, block: NonNull<u8>, size: usize, align: usize, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: a live block of this size and alignment; the new size is at least 1.
        unsafe { System.realloc(block.as_ptr(), Self::layout(size, align), new_size) }
    }
}

/// No allocator: every block is the same few bytes. Playing it takes what the driver itself takes.
pub struct Nothing;

/// A thread's few bytes.
pub struct Scrap(Box<u128>);

impl Heap for Nothing {
    type Local<'a> = Scrap;

    const NAME: &'static str = "driver alone";

    fn enter(&self, _: u32) -> engram::Result<Scrap> {
        Ok(Scrap(Box::new(0)))
    }
}

impl Local for Scrap {
    #[inline]
    fn allocate(&mut self, _: usize, _: usize) -> *mut u8 {
        (&raw mut *self.0).cast()
    }

    #[inline]
    unsafe fn release(&mut self, _: NonNull<u8>, _: usize, _: usize) -> bool {
        true
    }

    #[inline]
    unsafe fn resize(&mut self, block: NonNull<u8>, _: usize, _: usize, _: usize) -> *mut u8 {
        block.as_ptr()
    }
}
