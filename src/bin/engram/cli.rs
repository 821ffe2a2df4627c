//! The command line: what can be asked, and within which limits.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "Exit codes: 0 all is well; 1 something was refused, damaged or cannot be measured; \
                          2 wrong options or files";

/// Lock-free real-time arena allocator, at work beside the system's malloc
///
/// Without a command it replays the recorded heap calls of a NEST simulation and visits the concepts of WordNet in spike
/// order, engram beside malloc, every block's content checked. It takes well under two minutes and needs no files.
#[derive(Debug, Parser)]
#[command(name = "engram", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; the main run if nothing is named.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Of the main run, and of `replay`, where they may also stand.
    #[command(flatten)]
    pub rounds: Rounds,

    /// One JSON document on standard output instead of the text.
    #[arg(long, global = true)]
    pub json: bool,
}

/// How often it is measured.
#[derive(Clone, Copy, Debug, Args)]
pub struct Rounds {
    /// Rounds measured of each pass; medians are reported [default: 7].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
}

impl Rounds {
    /// Their number.
    pub fn number(self) -> u32 {
        self.rounds.unwrap_or(7)
    }

    /// These, or if they are not named, others.
    pub fn or(self, others: Self) -> Self {
        Self { rounds: self.rounds.or(others.rounds) }
    }
}

/// What can be done besides the main run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replay recorded heap traces (EGTRACE1, plain or zstd-compressed), each beside malloc.
    Replay(Replay),
    /// What a region file is: its format, its parts, whether it is open, closed or left unclosed.
    Info(RegionFile),
    /// The heap map of a region file, live: each chunk a row, each span a cell.
    Map(Map),
    /// The columns of a region file, live: what they hold, and what is done in them each second.
    Top(Top),
    /// Check the invariants of a region file that can be seen from outside, and name those that do not hold.
    Check(Check),
    /// The metrics of a region file as OpenMetrics text.
    Export(RegionFile),
    /// Measure the peak of resident memory of one replay, in a process of its own.
    #[command(hide = true)]
    MeasurePeak(MeasurePeak),
}

/// Options of `engram replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The traces, of up to 64 threads each.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// How the arena is made and used.
    #[command(flatten)]
    pub arena: ArenaOptions,

    /// Do not stamp and check the content of blocks.
    #[arg(long)]
    pub no_verify: bool,

    /// How often it is measured.
    #[command(flatten)]
    pub rounds: Rounds,
}

/// How the arena is made.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ArenaOptions {
    /// Columns of the arena [default: one for each thread of the trace].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub columns: Option<u32>,

    /// Capacity of the arena in bytes; K, M and G stand for 2^10, 2^20 and 2^30 [default: from the trace, generously].
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub capacity: Option<usize>,
}

/// The file that is looked at. It is read only, and whoever has it open is not stopped.
#[derive(Debug, Args)]
pub struct RegionFile {
    /// The region file.
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
}

/// Options of `engram map`.
#[derive(Debug, Args)]
pub struct Map {
    /// What is looked at.
    #[command(flatten)]
    pub file: RegionFile,

    /// Write the whole map into this file, as one HTML page that needs no other.
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
}

/// Options of `engram top`.
#[derive(Debug, Args)]
pub struct Top {
    /// What is looked at.
    #[command(flatten)]
    pub file: RegionFile,

    /// Looks, after which it ends [default: no end].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Milliseconds from one look to the next.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub interval: u64,
}

/// Options of `engram check`.
#[derive(Debug, Args)]
pub struct Check {
    /// What is looked at.
    #[command(flatten)]
    pub file: RegionFile,

    /// Open the region, which makes all anew that is derived, and close it; refused while a process has it open.
    #[arg(long)]
    pub repair: bool,
}

/// Options of the hidden `engram measure-peak`, which reads a decompressed trace from standard input.
#[derive(Debug, Args)]
pub struct MeasurePeak {
    /// Against which allocator.
    pub allocator: Allocator,

    /// How the arena is made.
    #[command(flatten)]
    pub arena: ArenaOptions,
}

/// An allocator's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Allocator {
    /// The system's.
    Malloc,
    /// Ours.
    Engram,
}

impl Allocator {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malloc => "malloc",
            Self::Engram => "engram",
        }
    }
}

/// A number of bytes such as `4096`, `64M` or `2G`.
fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || "expected a whole number of bytes above 0, or one with K, M or G, such as 256M; at most 1024G".to_owned();
    let (digits, shift) = match text.trim_end_matches(['K', 'M', 'G', 'k', 'm', 'g']) {
        digits if digits.len() == text.len() => (digits, 0),
        digits => match text[digits.len()..].to_ascii_uppercase().as_str() {
            "K" => (digits, 10),
            "M" => (digits, 20),
            "G" => (digits, 30),
            _ => return Err(wrong()),
        },
    };
    let number: usize = digits.parse().map_err(|_| wrong())?;
    match number.checked_mul(1 << shift) {
        Some(bytes) if (1..=1 << 40).contains(&bytes) => Ok(bytes),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests;
