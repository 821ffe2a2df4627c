//! The arena that an adapter works in.

use crate::abi::{self, Arena, Status};
use crate::capacity;
use core::ptr::null_mut;
use std::process::exit;

/// Its columns.
pub const COLUMNS: u32 = 64;

/// Opens it, with more flags.
pub fn open(flags: u32) -> *mut Arena {
    let mut config = abi::ArenaConfig::default_config().unwrap_or_else(|status| fail("arena_config_init", status));
    config.capacity = capacity::capacity();
    config.columns = COLUMNS;
    // A refused free would cost nothing and leak: make it fatal instead.
    config.flags = abi::ARENA_ABORT | flags;
    let mut arena = null_mut();
    // SAFETY: both point to live variables; the path in the config is null.
    let status = unsafe { abi::engram_arena_open(&raw const config, &raw mut arena) };
    if status != abi::OK {
        fail("arena_open", status);
    }
    arena
}

/// Ends the program: a call of the C face failed.
pub fn fail(call: &str, status: Status) -> ! {
    eprintln!("engram: engram_{call} failed with status {status}");
    exit(1)
}
