//! How large the arena is.

use std::process::exit;

const CAPACITY: usize = 1 << 30;

/// `ENGRAM_PEERS_CAPACITY` bytes, 1 GiB if unset.
pub fn capacity() -> usize {
    let Ok(text) = std::env::var("ENGRAM_PEERS_CAPACITY") else {
        return CAPACITY;
    };
    text.parse().unwrap_or_else(|_| {
        eprintln!("engram: ENGRAM_PEERS_CAPACITY is not a number of bytes: {text:?}");
        exit(1)
    })
}
