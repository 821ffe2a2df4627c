//! Room for the adapters' thread-local storage.
//!
//! jemalloc's is larger than what glibc keeps for libraries that are loaded late, and glibc reads the size of that
//! reserve from the environment at start only: so the program starts itself anew with it set.

use anyhow::{Context, Result};
use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

const VARIABLE: &str = "GLIBC_TUNABLES";
const TUNABLE: &str = "glibc.rtld.optional_static_tls";
const BYTES: usize = 65536;

/// Returns if the reserve is set; starts the program anew if it is not.
pub fn make_room() -> Result<()> {
    let others = env::var(VARIABLE).unwrap_or_default();
    if others.contains(TUNABLE) {
        return Ok(());
    }
    let separator = if others.is_empty() { "" } else { ":" };
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let error = Command::new(program).args(env::args_os().skip(1)).env(VARIABLE, format!("{others}{separator}{TUNABLE}={BYTES}")).exec();
    Err(error).context("cannot start this program anew with more room for thread-local storage")
}
