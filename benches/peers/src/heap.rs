//! An allocator as the workloads see it.
//!
//! [`Library`] is loaded, [`Peer`] is started, and a [`Heap`] is one thread's use of it. A [`Block`] is handed out once
//! and given back once, so the workloads need no unsafe code.

mod chain;

use crate::adapters::Adapter;
use anyhow::{Context, Result};
use libloading::os::unix::{Library as Shared, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::arch::x86_64::_mm_clflush;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::process::exit;
use std::ptr::{self, NonNull, null_mut};

pub use chain::Chain;

type Alloc = unsafe extern "C" fn(usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type Realloc = unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void;
type AllocSpiking = unsafe extern "C" fn(usize, u32) -> *mut c_void;
type AllocBatch = unsafe extern "C" fn(usize, *const u32, usize, *mut *mut c_void);
type Hook = unsafe extern "C" fn();

const PAGE: usize = 4096;

/// The least that is asked for: a block holds the 8 bytes that are written to it.
pub const LEAST: usize = 8;

/// An adapter's library, loaded but not started.
pub struct Library {
    peer: Peer,
    init: Option<Hook>,
}

/// A started allocator.
#[derive(Clone, Copy)]
pub struct Peer {
    /// Which it is.
    pub adapter: Adapter,
    alloc: Alloc,
    free: Free,
    realloc: Realloc,
    alloc_spiking: Option<AllocSpiking>,
    alloc_batch: Option<AllocBatch>,
    thread: Option<Hook>,
    thread_end: Option<Hook>,
}

impl Library {
    /// Loads the library that `adapters::build` made. It stays loaded.
    pub fn load(adapter: &Adapter) -> Result<Self> {
        let path = adapter.library()?;
        // SAFETY: an adapter's library does nothing when loaded but what its allocator's constructors do.
        let shared =
            unsafe { Shared::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.with_context(|| format!("cannot load {}", adapter.name))?;
        // SAFETY: every adapter exports these three with these types.
        let (alloc, free, realloc) =
            unsafe { (shared.get::<Alloc>(b"ad_alloc")?, shared.get::<Free>(b"ad_free")?, shared.get::<Realloc>(b"ad_realloc")?) };
        // SAFETY: where an adapter exports one of these, it has the type that the field has.
        let library = unsafe {
            Self {
                init: optional(&shared, b"ad_init"),
                peer: Peer {
                    adapter: *adapter,
                    alloc: *alloc,
                    free: *free,
                    realloc: *realloc,
                    alloc_spiking: optional(&shared, b"ad_alloc_spiking"),
                    alloc_batch: optional(&shared, b"ad_alloc_batch"),
                    thread: optional(&shared, b"ad_thread"),
                    thread_end: optional(&shared, b"ad_thread_end"),
                },
            }
        };
        std::mem::forget(shared);
        Ok(library)
    }

    /// Starts the allocator.
    pub fn start(self) -> Peer {
        call(self.init);
        self.peer
    }
}

/// A function that not every adapter exports.
///
/// # Safety
/// Where it is exported, it has this type.
unsafe fn optional<F: Copy>(shared: &Shared, name: &[u8]) -> Option<F> {
    // SAFETY: the caller's promise.
    let symbol: Option<Symbol<F>> = unsafe { shared.get(name) }.ok();
    symbol.map(|symbol| *symbol)
}

fn call(hook: Option<Hook>) {
    if let Some(hook) = hook {
        // SAFETY: `Library::start` runs once; `Peer::enter` and the end of a `Heap` run in turn on one thread.
        unsafe { hook() }
    }
}

impl Peer {
    /// The calling thread begins to use the allocator.
    pub fn enter(&self) -> Heap {
        call(self.thread);
        Heap { peer: *self, one_thread: PhantomData }
    }
}

/// One thread's use of an allocator, until it is dropped.
pub struct Heap {
    peer: Peer,
    one_thread: PhantomData<*const ()>,
}

impl Heap {
    /// The allocator.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    fn name(&self) -> &'static str {
        self.peer.adapter.name
    }

    /// Allocates `size` bytes, [`LEAST`] or more, and writes the first of them.
    #[inline]
    pub fn alloc(&self, size: usize) -> Block {
        // SAFETY: this thread has entered.
        let Some(start) = NonNull::new(unsafe { (self.peer.alloc)(size) }) else { refused(self.name(), size) };
        Block::begin(start, size)
    }

    /// As [`Heap::alloc`], of an owner that spikes so many nanoseconds from now, for an allocator to which that is something.
    pub fn alloc_spiking(&self, size: usize, spike_ns: u32) -> Block {
        let Some(alloc) = self.peer.alloc_spiking else { return self.alloc(size) };
        // SAFETY: this thread has entered.
        let Some(start) = NonNull::new(unsafe { alloc(size, spike_ns) }) else { refused(self.name(), size) };
        Block::begin(start, size)
    }

    /// A block of `size` bytes for each of these spike times, all placed at once, if that is what the allocator is here for. The
    /// blocks of its last batch have been freed.
    pub fn alloc_batch(&self, size: usize, spikes_ns: &[u32]) -> Option<Vec<Block>> {
        let alloc = self.peer.alloc_batch?;
        let mut starts = vec![null_mut(); spikes_ns.len()];
        // SAFETY: this thread has entered; there is a place for each spike time.
        unsafe { alloc(size, spikes_ns.as_ptr(), spikes_ns.len(), starts.as_mut_ptr()) };
        let begin = |start| Block::begin(NonNull::new(start).unwrap_or_else(|| refused(self.name(), size)), size);
        Some(starts.into_iter().map(begin).collect())
    }

    /// Makes a block of `old` bytes, which is as [`Heap::alloc`] left it, `new` bytes long, and writes the first of them.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the block may have moved")]
    pub fn realloc(&self, block: Block, old: usize, new: usize) -> Block {
        let start = block.start.as_ptr().cast();
        // SAFETY: a block exists until here, and is of this allocator; nothing else uses it.
        let Some(start) = NonNull::new(unsafe { (self.peer.realloc)(start, old, new) }) else { refused(self.name(), new) };
        let moved = Block { start: start.cast() };
        if moved.read() != old as u64 {
            lost(self.name(), old, new);
        }
        Block::begin(start, new)
    }

    /// Frees a block of this allocator, whichever thread allocated it.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the block is gone")]
    pub fn free(&self, block: Block) {
        // SAFETY: a block exists from its allocation until here, and is of this allocator.
        unsafe { (self.peer.free)(block.start.as_ptr().cast()) }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        call(self.peer.thread_end);
    }
}

/// A block that was handed out and not yet freed.
pub struct Block {
    start: NonNull<u64>,
}

impl Block {
    /// A block of `size` bytes, [`LEAST`] or more, that was just handed out: writes the first of them.
    #[inline]
    fn begin(start: NonNull<c_void>, size: usize) -> Self {
        let start = start.cast::<u64>();
        // SAFETY: the block is ours, 8 bytes or more, and aligned to 8.
        unsafe { start.write_volatile(size as u64) };
        Self { start }
    }

    /// Writes to every page of the block, which is `size` bytes long.
    pub fn touch_pages(&self, size: usize) {
        for offset in (0..size).step_by(PAGE).chain(size.checked_sub(1)) {
            // SAFETY: inside the block, which is ours.
            unsafe { self.start.cast::<u8>().add(offset).write_volatile(1) };
        }
    }

    /// Reads the block's first bytes.
    #[inline]
    pub fn read(&self) -> u64 {
        // SAFETY: the block is ours, and its first bytes were written when it was allocated.
        unsafe { self.start.read_volatile() }
    }

    /// Where it lies.
    pub fn address(&self) -> usize {
        self.start.addr().get()
    }

    /// Takes the block's first bytes, and the place where this value is kept, out of every cache.
    pub fn flush(&self) {
        // SAFETY: every x86-64 processor has the instruction; both addresses are ours, and nothing changes there.
        unsafe {
            _mm_clflush(self.start.as_ptr().cast());
            _mm_clflush(ptr::from_ref(self).cast());
        }
    }

    /// The block as a pointer, to be handed to another thread.
    #[inline]
    pub fn into_raw(self) -> *mut u64 {
        self.start.as_ptr()
    }

    /// The other way.
    ///
    /// # Safety
    /// `raw` comes from [`Block::into_raw`], and is taken back once.
    #[inline]
    pub unsafe fn from_raw(raw: *mut u64) -> Self {
        // SAFETY: `into_raw` gave a pointer that was not null.
        let start = unsafe { NonNull::new_unchecked(raw) };
        Self { start }
    }
}

#[cold]
fn refused(name: &str, size: usize) -> ! {
    eprintln!("engram-peers: {name} refused {size} bytes");
    exit(1)
}

#[cold]
fn lost(name: &str, old: usize, new: usize) -> ! {
    eprintln!("engram-peers: {name} lost the content of {old} bytes that became {new}");
    exit(1)
}
