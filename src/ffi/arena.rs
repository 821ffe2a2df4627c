//! Opening, closing, checking an arena; addresses and offsets.

use core::ffi::{CStr, c_char, c_void};
use core::ptr::NonNull;
use std::path::PathBuf;

use super::cancel::Uncancelled;
use super::status::{ENGRAM_MORE, ENGRAM_OK, ENGRAM_RECOVERED, engram_status, fail, status};

use crate::arena::{Arena, ArenaBuilder};
use crate::column::ColumnId;
use crate::error::{Error, Result};
use crate::maintain::Maintained;

/// An open arena.
pub struct engram_arena {
    pub(crate) arena: Arena,
}

/// Touch every page of user memory and of the metadata at open: no page fault later. (The columns' part of the metadata, 200 KiB each,
/// or less in a file, is left out if it takes more than user memory and more than 64 MiB. In a file on a disk the first store to a page
/// faults once more whenever the system has written it back, `engram_arena_sync` included; in a file in memory (tmpfs) none does.)
pub const ENGRAM_ARENA_PREFAULT: u32 = 1 << 0;
/// Keep the arena in memory (mlock). Of given memory, as much as the arena takes: it is unlocked when the arena is closed, or not opened
/// (also if the program had locked it itself; not in a forked child).
pub const ENGRAM_ARENA_LOCK: u32 = 1 << 1;
/// Ask for huge pages; falls back silently. Together with `ENGRAM_ARENA_PREFAULT`, what is touched at open is touched in huge pages, and
/// none are made later: to make one makes whoever touches it meanwhile fault. Opening takes longer where the system has to make room.
pub const ENGRAM_ARENA_HUGE_PAGES: u32 = 1 << 2;
/// Region files: the file must not exist.
pub const ENGRAM_ARENA_CREATE_NEW: u32 = 1 << 3;
/// Misuse (bad pointer, double free) prints one line and aborts, instead of an error status.
pub const ENGRAM_ARENA_ABORT: u32 = 1 << 4;
/// Freed memory is zeroed before it can be given again; a free then takes time that grows with the block.
pub const ENGRAM_ARENA_ZERO_FREED: u32 = 1 << 5;
/// Single allocations ignore their spike time (batches do not).
pub const ENGRAM_ARENA_NO_ZONES: u32 = 1 << 6;
/// Region files: do not reserve disk space at open. On a full disk the process then dies of SIGBUS.
pub const ENGRAM_ARENA_SPARSE: u32 = 1 << 7;
const KNOWN_FLAGS: u32 = 0xff;

/// The calling thread's home column, or any other if that has no memory: threads are numbered as they first ask for it.
pub const ENGRAM_COLUMN_ANY: u32 = u32::MAX;
/// No spike: the lowest priority.
pub const ENGRAM_TTFS_NONE: u32 = u32::MAX;

/// What an arena is opened with; set it up with `engram_arena_config_init`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct engram_arena_config {
    /// Set by `engram_arena_config_init`.
    pub struct_size: u32,
    /// `ENGRAM_ARENA_*`; default 0.
    pub flags: u32,
    /// Region file, or NULL (default): anonymous memory. It is created, or opened with everything that is in it.
    pub path: *const c_char,
    /// Bytes of user memory, 1 to 1 TiB; default 64 MiB; rounded up to 2 MiB.
    pub capacity: usize,
    /// 1 to 65536; default 64.
    pub columns: u32,
    /// Zero.
    pub reserved0: u32,
    /// Memory to use instead of mapping some; NULL (default). It starts at a multiple of 4096, and is zeroed or holds an arena. Only the
    /// columns' handles, 512 bytes each, lie elsewhere: they are mapped. User memory of an arena that is made there is aligned to
    /// 32 KiB at least, to 2 MiB if there is room for that: a request with a larger alignment than that is `ENGRAM_E_INVALID`, and the
    /// message says what there is. An arena that was moved to another address has the alignment that it has there; if a block with a
    /// larger one was ever served in it, freed since or not, opening it is `ENGRAM_E_INVALID`.
    pub memory: *mut c_void,
    /// Its bytes: at least `engram_arena_size`, which says what it takes to grow there. Beyond the end of the address space:
    /// `ENGRAM_E_INVALID`.
    pub memory_size: usize,
    /// Zero.
    pub reserved: [u32; 8],
}

impl engram_arena_config {
    fn default_config() -> Self {
        let options = ArenaBuilder::default().options;
        Self {
            struct_size: size_of::<Self>() as u32,
            flags: 0,
            path: core::ptr::null(),
            capacity: options.capacity,
            columns: options.columns,
            reserved0: 0,
            memory: core::ptr::null_mut(),
            memory_size: 0,
            reserved: [0; 8],
        }
    }

    /// # Safety
    /// `path` is null or ends with a NUL.
    unsafe fn builder(&self) -> Result<ArenaBuilder> {
        if self.flags & !KNOWN_FLAGS != 0 {
            return Err(Error::Flags { unknown: self.flags & !KNOWN_FLAGS, known: KNOWN_FLAGS });
        }
        if self.reserved0 != 0 || self.reserved != [0; 8] {
            return Err(Error::Reserved);
        }
        if !self.path.is_null() && !self.memory.is_null() {
            return Err(Error::Config("path and memory are both set; an arena lies in a file or in given memory, not in both"));
        }
        if self.memory.is_null() && self.memory_size != 0 {
            return Err(Error::Config("memory_size is set but memory is NULL; give both or neither"));
        }
        // SAFETY: not null; the caller's promise.
        if !self.path.is_null() && unsafe { self.path.read() } == 0 {
            return Err(EMPTY_PATH);
        }
        let flag = |bit: u32| self.flags & bit != 0;
        let builder = Arena::builder()
            .capacity(self.capacity)
            .columns(self.columns)
            .prefault(flag(ENGRAM_ARENA_PREFAULT))
            .lock(flag(ENGRAM_ARENA_LOCK))
            .huge_pages(flag(ENGRAM_ARENA_HUGE_PAGES))
            .abort_on_misuse(flag(ENGRAM_ARENA_ABORT))
            .zero_freed(flag(ENGRAM_ARENA_ZERO_FREED))
            .zones(!flag(ENGRAM_ARENA_NO_ZONES));
        builder.size()?;
        Ok(builder.sparse(flag(ENGRAM_ARENA_SPARSE)))
    }

    /// The same, and where the arena is to lie.
    unsafe fn backed(&self) -> Result<ArenaBuilder> {
        // SAFETY: the caller's promise.
        let builder = unsafe { self.builder() }?;
        if let Some(memory) = NonNull::new(self.memory) {
            // SAFETY: the caller's promise: the memory is the arena's until it is closed.
            return Ok(unsafe { builder.memory(memory.cast(), self.memory_size) });
        }
        if self.path.is_null() {
            return Ok(builder);
        }
        // SAFETY: not null; the caller's promise: it ends with a NUL.
        let path = path_of(unsafe { CStr::from_ptr(self.path) })?;
        Ok(if self.flags & ENGRAM_ARENA_CREATE_NEW != 0 { builder.new_file(path) } else { builder.path(path) })
    }
}

const EMPTY_PATH: Error = Error::Config("path is empty; it must name a file, or be NULL");

/// A path as the system takes it; of a config, which may have none.
pub(crate) fn path_of(path: &CStr) -> Result<PathBuf> {
    #[cfg(unix)]
    let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(path.to_bytes());
    #[cfg(not(unix))]
    let path: &std::ffi::OsStr = path.to_str().map_err(|_| Error::Config("path is not UTF-8"))?.as_ref();
    if path.is_empty() { Err(EMPTY_PATH) } else { Ok(path.into()) }
}

/// The config behind a pointer that is null (the defaults) or valid. Only `struct_size` is read if it
/// is not ours.
unsafe fn config_or_default(config: *const engram_arena_config) -> Result<engram_arena_config> {
    if config.is_null() {
        return Ok(engram_arena_config::default_config());
    }
    let expected = size_of::<engram_arena_config>();
    // SAFETY: not null, and every version of the struct starts with its size.
    let asked = unsafe { (&raw const (*config).struct_size).read() } as usize;
    if asked != expected {
        return Err(Error::StructSize { asked, expected });
    }
    // SAFETY: the caller says that it has this size.
    Ok(unsafe { config.read() })
}

/// The arena behind a handle.
pub(crate) unsafe fn arena_of<'a>(arena: *const engram_arena) -> Result<&'a Arena> {
    // SAFETY: the caller's promise: null, or an open arena.
    unsafe { arena.as_ref() }.map(|handle| &handle.arena).ok_or(Error::Null("arena"))
}

/// The column of a number, `ENGRAM_COLUMN_ANY` for the thread's own.
pub(crate) fn column_of(index: u32) -> Option<ColumnId> {
    (index != ENGRAM_COLUMN_ANY).then_some(ColumnId::new(index))
}

/// Sets a config to its defaults. `struct_size` is `sizeof(engram_arena_config)`; another size is
/// `ENGRAM_E_INVALID`, and then nothing is written. Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_arena_config_init(config: *mut engram_arena_config, struct_size: usize) -> engram_status {
    if config.is_null() {
        return fail(Error::Null("config"));
    }
    let expected = size_of::<engram_arena_config>();
    if struct_size != expected {
        return fail(Error::StructSize { asked: struct_size, expected });
    }
    // SAFETY: not null, and the caller says that it has this size.
    unsafe { config.write(engram_arena_config::default_config()) };
    ENGRAM_OK
}

/// Opens an arena; `config` may be NULL for the defaults. On failure `*out` is NULL. `ENGRAM_E_UNSUPPORTED` where the system's pages have
/// more than 4096 bytes. `ENGRAM_RECOVERED`: the region file, or the given memory, had not been closed; everything that was not passed to a
/// free is there. Of region files: `ENGRAM_E_BUSY` if it is open already, `ENGRAM_E_EXISTS` if it was to be new, `ENGRAM_E_FORMAT` if it is
/// no region file or a damaged one, `ENGRAM_E_OS` if the system refuses, `ENGRAM_E_INVALID` if it has other columns or a larger capacity
/// than asked for; the file is as it was then. `ENGRAM_E_BUSY` also if the file is replaced again and again while it is being opened. A
/// link that leads to nothing is followed: the file is made there (with `ENGRAM_ARENA_CREATE_NEW`, `ENGRAM_E_EXISTS`). Any, blocking. Takes
/// host memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_arena_open(config: *const engram_arena_config, out: *mut *mut engram_arena) -> engram_status {
    let _uncancelled = Uncancelled::new();
    if out.is_null() {
        return fail(Error::Null("out"));
    }
    // SAFETY: not null; the caller's promise.
    unsafe { out.write(core::ptr::null_mut()) };
    // SAFETY: the caller's promise.
    let config = unsafe { config_or_default(config) };
    // SAFETY: the caller's promise.
    let opened = config.and_then(|config| unsafe { config.backed() }?.build());
    match opened {
        Ok(arena) => {
            let news = if arena.was_recovered() { ENGRAM_RECOVERED } else { ENGRAM_OK };
            // SAFETY: as above.
            unsafe { out.write(Box::into_raw(Box::new(engram_arena { arena }))) };
            news
        }
        Err(error) => fail(error),
    }
}

/// Bytes that such an arena takes in a file or in given memory, metadata included: what `memory_size` must be at least; 0
/// if the config is wrong. `config` may be NULL for the defaults. Memory in which an arena is to grow takes more: this size for
/// the largest capacity, once more what it has above that capacity, and 2 MiB. Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_arena_size(config: *const engram_arena_config) -> usize {
    // SAFETY: the caller's promise.
    let config = unsafe { config_or_default(config) };
    // SAFETY: as above.
    config.and_then(|config| unsafe { config.builder() }?.size()).unwrap_or_else(|error| {
        fail(error);
        0
    })
}

/// Closes an arena; its blocks must not be used afterwards. NULL is fine. `ENGRAM_E_BUSY` while a column is held, and then it
/// stays open. A forked child has a copy of an anonymous arena: columns that other threads held, and maintenance that one was
/// at, are `ENGRAM_E_BUSY` in it for good, and `engram_arena_verify` may name an invariant that one was about to restore; it
/// may allocate and free. It may not use its parent's arena in a file, or in memory that they share; if it closes it, as the
/// end of a program may, its parent's stays open. A column of a file that it releases stays held, so that it cannot close
/// the arena: `ENGRAM_E_BUSY`. It does not keep the file locked once its parent has closed it, but if its
/// parent dies first it does, until it ends or executes another program. One thread, while no other uses the arena; blocking. Frees
/// host memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_arena_close(arena: *mut engram_arena) -> engram_status {
    let _uncancelled = Uncancelled::new();
    if arena.is_null() {
        return ENGRAM_OK;
    }
    // SAFETY: the caller's promise: an open arena that nobody else uses.
    let held = unsafe { (*arena).arena.held_column() };
    if let Some(column) = held {
        return fail(Error::ArenaHeld(column));
    }
    // SAFETY: made by `engram_arena_open`, and closed once.
    drop(unsafe { Box::from_raw(arena) });
    ENGRAM_OK
}

/// Checks the invariants that ARCHITECTURE.md lists as checked: `ENGRAM_E_INTERNAL`, and a message that names it, if one is
/// broken. `ENGRAM_E_OS` if the system gives no memory to work in, which is mapped meanwhile: none is the host's. One thread, while
/// nothing else runs; blocking.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_arena_verify(arena: *const engram_arena) -> engram_status {
    let _uncancelled = Uncancelled::new();
    // SAFETY: the caller's promise.
    status(unsafe { arena_of(arena) }.and_then(Arena::verify))
}

/// Whether `p` points into the arena's user memory. Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_arena_contains(arena: *const engram_arena, p: *const c_void) -> bool {
    // SAFETY: the caller's promise.
    match unsafe { arena_of(arena) } {
        Ok(arena) => arena.contains(p.cast()),
        Err(error) => {
            fail(error);
            false
        }
    }
}

/// Bytes from the start of user memory to `p`; `SIZE_MAX` if it is foreign, or `arena` NULL. Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_arena_offset(arena: *const engram_arena, p: *const c_void) -> usize {
    // SAFETY: the caller's promise.
    match unsafe { arena_of(arena) } {
        Ok(arena) => arena.offset_of(p.cast()).unwrap_or(usize::MAX),
        Err(error) => {
            fail(error);
            usize::MAX
        }
    }
}

/// The address at an offset; NULL if it is out of range. Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_arena_at(arena: *const engram_arena, offset: usize) -> *mut c_void {
    // SAFETY: the caller's promise.
    match unsafe { arena_of(arena) } {
        Ok(arena) => arena.at(offset).map_or(core::ptr::null_mut(), <*mut u8>::cast),
        Err(error) => {
            fail(error);
            core::ptr::null_mut()
        }
    }
}

/// Limits the spans that a column may have to `bytes` (rounded down to 32 KiB); `SIZE_MAX` = no
/// limit (default). Past it allocations are `ENGRAM_E_QUOTA`; while one is being refused, so may be another thread's that would fit.
/// What the column has above it stays. A region file keeps it. Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_column_limit(arena: *mut engram_arena, index: u32, bytes: usize) -> engram_status {
    let limit = (bytes != usize::MAX).then_some(bytes);
    // SAFETY: the caller's promise.
    status(unsafe { arena_of(arena) }.and_then(|arena| arena.limit_column(ColumnId::new(index), limit)))
}

/// Background work for about `budget_ns` nanoseconds: takes back what others freed, gives empty spans
/// to their chunks, chunks to the arena, and their memory to the system. Held columns are left to their holders: what they keep, what
/// others freed of them, too, goes back once they are released. `ENGRAM_MORE` if work is
/// left of this round, with which the next call goes on. `ENGRAM_OK` ends a round, also one that earlier calls began: what
/// they had passed is looked at again as far as the budget lasts, and else by the next round. One thread at a time, others get
/// `ENGRAM_E_BUSY`; calls the system.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_maintain(arena: *mut engram_arena, budget_ns: u64) -> engram_status {
    let _uncancelled = Uncancelled::new();
    let budget = core::time::Duration::from_nanos(budget_ns);
    // SAFETY: the caller's promise.
    match unsafe { arena_of(arena) }.and_then(|arena| arena.maintain(budget)) {
        Ok(Maintained::All) => ENGRAM_OK,
        Ok(Maintained::More) => ENGRAM_MORE,
        Err(error) => fail(error),
    }
}
