//! The allocators compared, and the building of their adapters: each is a shared library of its own.

use anyhow::{Context, Result, ensure};
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// One allocator.
#[derive(Clone, Copy)]
pub struct Adapter {
    /// Its name; `adapters/NAME` is its package, `peer-NAME`.
    pub name: &'static str,
    /// Whether it is engram in another way, not one of its peers.
    pub variant: bool,
    serves: &'static [Demand],
}

/// What a line asks of an allocator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// One thread that allocates and frees.
    OneThread,
    /// Several threads at once.
    Threads,
    /// Blocks with spike times, to be visited in the order of these.
    Spikes,
    /// To touch no more memory than it needs.
    Thrift,
}

/// The allocator that the others are compared with.
pub const SUBJECT: &str = "engram";
/// The variant of it that places a whole population at once.
pub const BATCH: &str = "engram-batch";

/// Every allocator, in the order of the report's columns.
pub const ALL: [Adapter; 14] = [
    Adapter::new(SUBJECT),
    Adapter::new("mimalloc"),
    Adapter::new("snmalloc"),
    Adapter::new("rpmalloc"),
    Adapter::new("jemalloc"),
    Adapter::new("system"),
    Adapter { serves: &[Demand::OneThread, Demand::Spikes, Demand::Thrift], ..Adapter::new("tlsf") },
    Adapter::variant("engram-held", &[Demand::OneThread, Demand::Thrift]),
    Adapter::variant("engram-rust", &[Demand::OneThread, Demand::Thrift]),
    Adapter::variant("engram-spikes", &[Demand::OneThread, Demand::Thrift]),
    Adapter::variant("engram-nozones", &[Demand::OneThread, Demand::Spikes, Demand::Thrift]),
    Adapter::variant("engram-prefault", &[Demand::OneThread, Demand::Threads]),
    Adapter::variant("engram-unheld", &[Demand::OneThread, Demand::Threads, Demand::Thrift]),
    Adapter::variant(BATCH, &[Demand::Spikes]),
];

impl Adapter {
    const fn new(name: &'static str) -> Self {
        Self { name, variant: false, serves: &[Demand::OneThread, Demand::Threads, Demand::Spikes, Demand::Thrift] }
    }

    const fn variant(name: &'static str, serves: &'static [Demand]) -> Self {
        Self { name, variant: true, serves }
    }

    /// Whether it takes part in lines that ask for this.
    pub fn serves(&self, demand: Demand) -> bool {
        self.serves.contains(&demand)
    }

    /// Whether the subject is compared with it.
    pub fn is_peer(&self) -> bool {
        !self.variant && self.name != SUBJECT
    }

    /// Where [`build`] puts the shared library.
    pub fn library(&self) -> Result<PathBuf> {
        let file = format!("libpeer_{}.so", self.name.replace('-', "_"));
        Ok(target_folder()?.join("release").join(file))
    }
}

/// Builds the adapters beside this program.
pub fn build(adapters: &[&Adapter]) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from(env!("CARGO")));
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    command.arg("--target-dir").arg(target_folder()?);
    for adapter in adapters {
        command.arg("--package").arg(format!("peer-{}", adapter.name));
    }
    command.env("CXXFLAGS", cxxflags());
    let status = command.status().context("cannot run cargo to build the adapters")?;
    ensure!(status.success(), "cannot build the adapters ({status}); --alloc NAME,... leaves allocators out");
    Ok(())
}

/// The user's flags, and `NDEBUG`: without it snmalloc's `build_cc` compiles its assertions in, which slows it down.
fn cxxflags() -> OsString {
    let mut flags = env::var_os("CXXFLAGS").unwrap_or_default();
    flags.push(" -DNDEBUG");
    flags
}

/// Cargo's target folder: this program lies in `TARGET/PROFILE/`.
fn target_folder() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let folder = program.ancestors().nth(2).context("this program does not lie in a target folder")?;
    Ok(folder.to_owned())
}
