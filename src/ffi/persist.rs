//! What region files are for: publication, roots, snapshots.

use core::ffi::{CStr, c_char, c_void};
use std::path::PathBuf;

use super::arena::{arena_of, column_of, engram_arena, path_of};
use super::cancel::Uncancelled;
use super::status::{engram_status, fail, status};
use crate::error::Error;
use crate::spike::SpikeTime;

/// Brings all that was written to the disk of the region file; for other memory there is nothing to do. After it has
/// returned, and as long as nothing is written, the file outlives a loss of power. Any, blocking.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_arena_sync(arena: *mut engram_arena) -> engram_status {
    let _uncancelled = Uncancelled::new();
    // SAFETY: the caller's promise.
    status(unsafe { arena_of(arena) }.and_then(crate::Arena::sync))
}

/// Copies the arena, whatever it lies in, into a region file at `path`, a closed one: opening it is going back to this
/// moment. It is written under a name of its own in the same folder (`.engram.*.unfinished`), brought to disk, and then takes
/// the place of what is there; what killed processes left of such copies in the folder is removed first. A link at `path` to
/// a file, or to nothing, is replaced, not followed; a folder, a pipe or a device, and what leads to one, stays:
/// `ENGRAM_E_FORMAT`. `ENGRAM_E_BUSY` while a column is held, or if the file is an open region, also one that was opened
/// meanwhile: it is not replaced; nor is what cannot be opened to see that, or whose folder cannot be opened to
/// bring the name to disk: `ENGRAM_E_OS`. (If that is refused at last, the copy has its name, and the message says so.) Its mode is that
/// of what it replaces, or else of the arena's own file, or else of any new file. While nothing else uses the arena; blocking. Takes
/// host memory: if that comes from the arena itself, it is in the copy, too, as blocks that nobody frees.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_arena_snapshot(arena: *mut engram_arena, path: *const c_char) -> engram_status {
    let _uncancelled = Uncancelled::new();
    if path.is_null() {
        return fail(Error::Null("path"));
    }
    // SAFETY: the caller's promise: it ends with a NUL.
    let path = unsafe { CStr::from_ptr(path) };
    // What an empty one lacks the copy says: here it must not be missing.
    let path = if path.is_empty() { Ok(PathBuf::new()) } else { path_of(path) };
    // SAFETY: the caller's promise.
    status(unsafe { arena_of(arena) }.and_then(|arena| arena.snapshot(path?)))
}

/// Allocates a block and stores its offset at `where`, a word of a block of the arena (a multiple of 8), in one step as far
/// as a crash can tell: afterwards the block is live if and only if `*where` names it. Its offset is never 0. `where` is not
/// used in other ways meanwhile. NULL if refused, and then `*where` is as it was: as `engram_alloc`, but that published
/// blocks have spans of their own, so that free slots of other blocks do not serve; `ENGRAM_E_INVALID` for a `where` that is
/// no multiple of 8 or lies outside user memory; `ENGRAM_E_BUSY` while 256 others publish. (Whether a block is there is not
/// checked: in one that was freed, or behind a block, the name is lost, or found by whoever is given that memory next.)
/// `engram_free`, and `engram_realloc` if the block moves, leave `*where` as it is: it is to be changed then. (A block that has
/// moved is an ordinary one, not a published one.) Any, lock-free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_alloc_publish(
    arena: *mut engram_arena,
    column: u32,
    size: usize,
    align: usize,
    ttfs_ns: u32,
    r#where: *mut u64,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    let published = unsafe { arena_of(arena) }.and_then(|arena| {
        if r#where.is_null() {
            return Err(Error::Null("where"));
        }
        arena.publish_sized(column_of(column), size, align, SpikeTime::from_nanos(ttfs_ns), r#where)
    });
    match published {
        Ok(p) => p.as_ptr().cast(),
        Err(error) => {
            fail(error);
            core::ptr::null_mut()
        }
    }
}

/// Frees the published block that `*where` names and stores 0 there, in one step as far as a crash can tell.
/// `ENGRAM_E_BAD_POINTER` if it is 0 or names no block that was published, `ENGRAM_E_DOUBLE_FREE` if that block is free already, in
/// a span that still serves its class, or another thread takes it back at this moment, `ENGRAM_E_INVALID` for a `where` that cannot be
/// one, `ENGRAM_E_BUSY` while 256 others publish or unpublish; nothing has changed then. (Where memory is scarce a slot among published
/// blocks may serve `engram_alloc`, and what has it counts as published.) Any, RT, wait-free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_free_unpublish(arena: *mut engram_arena, r#where: *mut u64) -> engram_status {
    // SAFETY: the caller's promise.
    status(unsafe { arena_of(arena) }.and_then(|arena| {
        if r#where.is_null() {
            return Err(Error::Null("where"));
        }
        arena.unpublish_at(r#where)
    }))
}

/// One of 16 words (`slot` 0 to 15) that the arena keeps for its program, 0 at first: an offset, so that the program finds its
/// data again. 0 also if `slot` is out of range or `arena` NULL (see `engram_last_error`). Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_root(arena: *const engram_arena, slot: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { arena_of(arena) }.and_then(|arena| arena.root(slot as usize)).unwrap_or_else(|error| {
        fail(error);
        0
    })
}

/// Sets such a word. `ENGRAM_E_INVALID` if `slot` is out of range. The first block of an arena has offset 0, too: a published
/// block never has (`engram_alloc_publish`). Any, RT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_set_root(arena: *mut engram_arena, slot: u32, offset: u64) -> engram_status {
    // SAFETY: the caller's promise.
    status(unsafe { arena_of(arena) }.and_then(|arena| arena.set_root(slot as usize, offset)))
}

#[cfg(test)]
mod tests;
