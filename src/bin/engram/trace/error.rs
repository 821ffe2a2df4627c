//! What can be wrong with a trace, said so that it can be found and mended.

use super::{MAX_ALIGN_LOG2, MAX_OPERATIONS, MAX_SIZE, MAX_THREADS, VERSION};

/// A fault and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at} of the decompressed trace: {fault}")]
pub struct TraceError {
    /// Offset in the decompressed bytes: the first byte of the field at fault, or the first byte that is missing.
    pub at: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong; each message says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a trace.
    #[error("expected the magic EGTRACE1, found \"{found}\"")]
    Magic {
        /// The first eight bytes, escaped.
        found: String,
    },
    /// Another version of the format.
    #[error("expected version {VERSION}, found {found}")]
    Version {
        /// The version stated.
        found: u32,
    },
    /// A number of threads that six bits cannot name, or none.
    #[error("expected 1 to {MAX_THREADS} threads, found {stated}")]
    Threads {
        /// The number stated.
        stated: u32,
    },
    /// More than is read.
    #[error("expected at most {MAX_OPERATIONS} operations, found {stated}")]
    TooManyOperations {
        /// The number stated.
        stated: u64,
    },
    /// The bytes end too early.
    #[error("cut short: expected {wanted}{}", of_operation(*operation))]
    CutShort {
        /// The field that is missing.
        wanted: &'static str,
        /// The operation it belongs to, and how many there should be; none in the header.
        operation: Option<(u64, u64)>,
    },
    /// Operation 3.
    #[error("expected operation 0 (allocate), 1 (free) or 2 (reallocate), found 3")]
    UnknownOperation,
    /// A thread that the header does not have.
    #[error("thread {thread} is out of range: the header states {threads} (0..={})", threads - 1)]
    Thread {
        /// The thread named.
        thread: u8,
        /// The number of threads.
        threads: u8,
    },
    /// A number that does not fit 64 bits, or does not end.
    #[error("varint too long: expected at most 10 bytes and 64 bits")]
    VarintTooLong,
    /// A block that no machine has room for.
    #[error("size {size} is too large: expected at most {MAX_SIZE}")]
    Size {
        /// The size stated.
        size: u64,
    },
    /// An alignment above a chunk's.
    #[error("alignment 2^{align_log2} is too large: expected at most 2^{MAX_ALIGN_LOG2}")]
    Alignment {
        /// The power of two stated.
        align_log2: u8,
    },
    /// A block that was never allocated.
    #[error("unknown object: {distance} before the newest, but only {objects} were allocated so far")]
    UnknownObject {
        /// The distance stated.
        distance: u64,
        /// Objects so far.
        objects: usize,
    },
    /// A block that was freed.
    #[error("object {object} was freed before: expected a live one")]
    DeadObject {
        /// Its number.
        object: u32,
    },
    /// Bytes after the last operation.
    #[error("expected the end after the {operations} operations that the header states, found {surplus} more bytes")]
    MoreThanStated {
        /// Operations stated.
        operations: u64,
        /// Bytes left over.
        surplus: usize,
    },
    /// A count of objects that is not the trace's.
    #[error("the header states {stated} objects, but {found} are allocated")]
    ObjectCount {
        /// Objects stated.
        stated: u64,
        /// Objects allocated.
        found: usize,
    },
}

fn of_operation(operation: Option<(u64, u64)>) -> String {
    operation.map_or_else(|| " in the header".to_owned(), |(index, of)| format!(" in operation {index} (the header states {of})"))
}
