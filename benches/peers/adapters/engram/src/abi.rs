//! The part of engram's C face that the adapter calls, declared as `engram.h` has it.
#![allow(dead_code, reason = "each adapter calls its part")]

use core::ffi::{c_char, c_void};
use core::mem::MaybeUninit;

/// `engram_status`: 0 is success, below 0 an error.
pub type Status = i32;

/// `ENGRAM_OK`.
pub const OK: Status = 0;
/// `ENGRAM_E_BUSY`: somebody holds the column.
pub const E_BUSY: Status = -5;
/// `ENGRAM_ARENA_PREFAULT`: all memory is touched at open.
pub const ARENA_PREFAULT: u32 = 1 << 0;
/// `ENGRAM_ARENA_HUGE_PAGES`: huge pages where the system has them.
pub const ARENA_HUGE_PAGES: u32 = 1 << 2;
/// `ENGRAM_ARENA_ABORT`: misuse prints one line and aborts.
pub const ARENA_ABORT: u32 = 1 << 4;
/// `ENGRAM_ARENA_NO_ZONES`: spike times are ignored.
pub const ARENA_NO_ZONES: u32 = 1 << 6;
/// `ENGRAM_BATCH_ATOMIC`: all or none.
pub const BATCH_ATOMIC: u32 = 1 << 0;
/// `ENGRAM_BATCH_ORDERED`: addresses ascend with spike time.
pub const BATCH_ORDERED: u32 = 1 << 1;
/// `ENGRAM_TTFS_NONE`: no spike.
pub const TTFS_NONE: u32 = u32::MAX;

/// `engram_arena`.
#[repr(C)]
pub struct Arena {
    opaque: [u8; 0],
}

/// `engram_column`.
#[repr(C)]
pub struct Column {
    opaque: [u8; 0],
}

/// `engram_arena_config`.
#[repr(C)]
pub struct ArenaConfig {
    pub struct_size: u32,
    pub flags: u32,
    pub path: *const c_char,
    pub capacity: usize,
    pub columns: u32,
    pub reserved0: u32,
    pub memory: *mut c_void,
    pub memory_size: usize,
    pub reserved: [u32; 8],
}

/// `engram_request`.
#[repr(C)]
pub struct Request {
    pub size: usize,
    pub align: usize,
    pub column: u32,
    pub ttfs_ns: u32,
}

impl ArenaConfig {
    /// The library's defaults.
    pub fn default_config() -> Result<Self, Status> {
        let mut config = MaybeUninit::<Self>::zeroed();
        // SAFETY: it points to a live variable of the size that is told.
        let status = unsafe { engram_arena_config_init(config.as_mut_ptr(), size_of::<Self>()) };
        // SAFETY: all zeroes is a config too.
        let config = unsafe { config.assume_init() };
        if status == OK { Ok(config) } else { Err(status) }
    }
}

unsafe extern "C" {
    fn engram_arena_config_init(config: *mut ArenaConfig, struct_size: usize) -> Status;
    pub fn engram_arena_open(config: *const ArenaConfig, out: *mut *mut Arena) -> Status;
    pub fn engram_arena_close(arena: *mut Arena) -> Status;
    pub fn engram_column_acquire(arena: *mut Arena, index: u32, out: *mut *mut Column) -> Status;
    pub fn engram_column_release(column: *mut Column) -> Status;
    pub fn engram_column_alloc(column: *mut Column, size: usize, align: usize, ttfs_ns: u32) -> *mut c_void;
    pub fn engram_column_free(column: *mut Column, block: *mut c_void) -> Status;
    pub fn engram_column_realloc(column: *mut Column, block: *mut c_void, size: usize, ttfs_ns: u32) -> *mut c_void;
    pub fn engram_alloc(arena: *mut Arena, column: u32, size: usize, align: usize, ttfs_ns: u32) -> *mut c_void;
    pub fn engram_free(arena: *mut Arena, block: *mut c_void) -> Status;
    pub fn engram_realloc(arena: *mut Arena, block: *mut c_void, size: usize, ttfs_ns: u32) -> *mut c_void;
    pub fn engram_alloc_batch(
        arena: *mut Arena,
        requests: *const Request,
        count: usize,
        flags: u32,
        out: *mut *mut c_void,
        served: *mut usize,
    ) -> Status;
}
