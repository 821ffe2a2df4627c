//! Why the program stops, and the exit code that says so.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::trace::TraceError;
use crate::trace::packed::PackedError;

/// Why the program stops; the message is one line: what was wrong, and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An option that cannot be met.
    #[error("{0}")]
    Usage(String),
    /// A file that cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A region file that cannot be looked at.
    #[error("{0}")]
    Region(engram::Error),
    /// A file that does not decompress.
    #[error("{}: {source}", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PackedError,
    },
    /// A file that is not a sound trace.
    #[error("{}: {source}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TraceError,
    },
    /// WordNet's records are not as they should be.
    #[error("{path}: {wrong}")]
    WordNet {
        /// The file.
        path: &'static str,
        /// What is wrong with it.
        wrong: String,
    },
    /// A trace that does not fit this machine.
    #[error("{name}: up to {demand} bytes are live at once, but this machine has {available} bytes of memory available for two such heaps")]
    Demand {
        /// The trace.
        name: String,
        /// What it demands.
        demand: u128,
        /// What there is.
        available: u64,
    },
    /// The arena says no.
    #[error("{doing}: {source}")]
    Engram {
        /// What was asked of it.
        doing: String,
        /// Its answer.
        source: engram::Error,
    },
    /// The service says no.
    #[error("{doing}: {message}")]
    Service {
        /// What was asked of it.
        doing: String,
        /// Its answer.
        message: String,
    },
    /// The report is out, but what it reports is not as it should be.
    #[error("{0}")]
    Found(String),
    /// The report cannot be written.
    #[error("the report cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    /// Nobody reads standard output any more: what was still to be said is nobody's loss.
    pub fn is_unheard(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// 2 for what the caller can mend (options, files), 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Read { .. } | Self::Write { .. } | Self::Region(_) | Self::Packed { .. } | Self::Trace { .. } => {
                ExitCode::from(2)
            }
            _ => ExitCode::FAILURE,
        }
    }
}

/// What was said, whether or not somebody read it to its end.
///
/// # Errors
/// Any other failure than that nobody reads on.
pub fn heard_or_not(said: Result<(), Failure>) -> Result<(), Failure> {
    said.or_else(|failure| if failure.is_unheard() { Ok(()) } else { Err(failure) })
}
