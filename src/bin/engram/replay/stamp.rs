//! Stamps in blocks, by which a block's content is known to be its own.
//!
//! A stamp depends on the object and on the place in the block, so that a block given out twice, moved without its content,
//! or written by somebody else does not pass. A block of 16 bytes or more carries it in its first 8 bytes, in a word every
//! [`SPACING`] bytes and in its last 8 bytes (so on every page); a smaller one in every byte.

#[cfg(test)]
mod tests;

use std::ptr::NonNull;

/// Bytes from one stamped word to the next.
pub const SPACING: usize = 256;

/// Stamps the whole of a block.
///
/// # Safety
/// `block` points to `size` bytes that only the caller uses.
pub unsafe fn write(block: NonNull<u8>, size: usize, object: u32) {
    let start = block.as_ptr();
    if size < 16 {
        for at in 0..size {
            // SAFETY: at < size.
            unsafe { start.add(at).write(byte(object, at)) };
        }
        return;
    }
    for at in (0..=size - 16).step_by(SPACING) {
        // SAFETY: at + 8 < size; unaligned words are written as such.
        unsafe {
            start.add(at).cast::<u64>().write_unaligned(word(object, at));
        };
    }
    // SAFETY: the last 8 of at least 16 bytes.
    unsafe {
        start.add(size - 8).cast::<u64>().write_unaligned(word(object, size - 8));
    };
}

/// Whether the stamp of a block of `size` bytes is whole as far as `kept` bytes go: all of it before it is freed or
/// resized, what fits the smaller of both sizes afterwards.
///
/// # Safety
/// `block` points to `kept` bytes at least, which only the caller uses.
pub unsafe fn is_whole(block: NonNull<u8>, size: usize, kept: usize, object: u32) -> bool {
    let start = block.as_ptr();
    if size < 16 {
        // SAFETY: at < kept.
        return (0..size.min(kept)).all(|at| unsafe { start.add(at).read() } == byte(object, at));
    }
    let has = |at: usize| {
        // SAFETY: called with at + 8 <= kept only.
        at + 8 > kept || unsafe { start.add(at).cast::<u64>().read_unaligned() } == word(object, at)
    };
    (0..=size - 16).step_by(SPACING).take_while(|at| at + 8 <= kept).all(has) && has(size - 8)
}

/// The byte that belongs at a place of a small object: the best mixed one of the word's.
const fn byte(object: u32, at: usize) -> u8 {
    (word(object, at) >> 56) as u8
}

/// The word that belongs at a place of an object: two rounds of a multiplicative hash (Fibonacci hashing, Knuth 6.4).
const fn word(object: u32, at: usize) -> u64 {
    let mixed = ((object as u64) << 40 ^ at as u64 ^ 0x5ee_d0f_e36).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
