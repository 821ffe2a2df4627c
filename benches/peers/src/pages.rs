//! The size of pages.
//!
//! Where the system gives huge pages to those who ask for them, an allocator that asks is compared with others that do not.

use anyhow::{Result, ensure};
use std::io::Error;

/// From now on this process and those that it starts get no huge pages.
pub fn keep_small() -> Result<()> {
    // SAFETY: this request takes a number and three zeroes, and touches no memory.
    let status = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    ensure!(status == 0, "cannot do without huge pages: {}", Error::last_os_error());
    Ok(())
}
