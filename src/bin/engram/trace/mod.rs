//! Recorded heap traces: the format `EGTRACE1` and its decoder.
//!
//! **What for.** A trace holds every heap call of a real program in the order in which it made them, so that two allocators
//! can be asked exactly the same. It comes from outside, so nothing in it is trusted: whatever the bytes, [`decode`] returns
//! a trace that is consistent or an error that names the byte, and it never panics.
//!
//! **How.** One pass over the bytes, little-endian:
//!
//! ```text
//! header   | magic EGTRACE1 | u32 version = 1 | u32 threads | u64 operations | u64 objects |     32 bytes
//! allocate | 0 + 4 * thread | varint size     | u8 log2 of the alignment |                        object = next number
//! free     | 1 + 4 * thread | varint d        |                                                   object = next - 1 - d
//! resize   | 2 + 4 * thread | varint d        | varint size |                                     the object keeps its number
//! ```
//!
//! A varint is LEB128: 7 bits a byte, low first. Memory follows the bytes that are there, never a count that the header
//! states: an operation takes at least two bytes.
//!
//! Invariants of a [`Trace`], on which the replay builds:
//! - **T1** objects are numbered 0, 1, 2 ... in the order of their allocation; every operation names one allocated before it.
//! - **T2** no operation names an object that was freed before it.
//! - **T3** every thread is below [`Trace::threads`], which is 1..=64.
//! - **T4** sizes are at most [`MAX_SIZE`], alignments at most 2^[`MAX_ALIGN_LOG2`].

mod error;
pub mod packed;
mod reader;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod writer;

pub use error::{Fault, TraceError};
use reader::Reader;

/// What a trace starts with.
pub const MAGIC: [u8; 8] = *b"EGTRACE1";
/// The version of the format that is read.
pub const VERSION: u32 = 1;
/// The most threads a trace may have: six bits name one.
pub const MAX_THREADS: u32 = 64;
/// The most operations that are read: 67 million, about 1.6 GB decoded.
pub const MAX_OPERATIONS: u64 = 1 << 26;
/// The largest block in bytes: 1 TiB.
pub const MAX_SIZE: u64 = 1 << 40;
/// The largest alignment, as a power of two: 2 MiB, a chunk.
pub const MAX_ALIGN_LOG2: u8 = 21;

/// What an operation asks for. Sizes are in bytes, 0 included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A new block.
    Allocate {
        /// Its size.
        size: u64,
        /// The power of two that its address must be a multiple of; 4 is what malloc promises.
        align_log2: u8,
    },
    /// The end of a block.
    Free,
    /// Another size for a block, which keeps its number, its alignment and the content that fits.
    Reallocate {
        /// Its new size.
        size: u64,
    },
}

/// One operation of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The block, by its number in the order of allocation.
    pub object: u32,
    /// The thread that did it.
    pub thread: u8,
    /// What was done.
    pub action: Action,
}

/// A whole trace; T1 to T4 hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    threads: u8,
    objects: u32,
    ops: Vec<Op>,
}

impl Trace {
    /// Number of threads, 1..=64.
    pub const fn threads(&self) -> u8 {
        self.threads
    }

    /// Number of blocks allocated.
    pub const fn objects(&self) -> u32 {
        self.objects
    }

    /// The operations, in the order in which they happened.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
}

/// Reads a trace from its decompressed bytes.
///
/// # Errors
/// [`TraceError`] at the first thing that is wrong, with its offset in `bytes` and what was expected there.
pub fn decode(bytes: &[u8]) -> Result<Trace, TraceError> {
    let mut reader = Reader::new(bytes);
    let header = Header::read(&mut reader)?;
    let mut ops = Vec::new();
    let mut live = Vec::new();
    for index in 0..header.operations {
        reader.begin_operation(index, header.operations);
        ops.push(read_op(&mut reader, header.threads, &mut live)?);
    }
    if reader.left() > 0 {
        return Err(reader.fault_here(Fault::MoreThanStated { operations: header.operations, surplus: reader.left() }));
    }
    if header.objects != live.len() as u64 {
        return Err(TraceError { at: Header::OBJECTS_AT, fault: Fault::ObjectCount { stated: header.objects, found: live.len() } });
    }
    let objects = u32::try_from(live.len())
        .map_err(|_| TraceError { at: Header::OBJECTS_AT, fault: Fault::TooManyOperations { stated: header.objects } })?;
    Ok(Trace { threads: header.threads, objects, ops })
}

/// The header, checked.
struct Header {
    threads: u8,
    operations: u64,
    objects: u64,
}

impl Header {
    /// Where the header states the number of objects.
    const OBJECTS_AT: usize = 24;

    fn read(reader: &mut Reader<'_>) -> Result<Self, TraceError> {
        let magic = reader.array("the magic EGTRACE1")?;
        if magic != MAGIC {
            return Err(TraceError { at: 0, fault: Fault::Magic { found: magic.escape_ascii().to_string() } });
        }
        let at = reader.at();
        let version = u32::from_le_bytes(reader.array("the version")?);
        if version != VERSION {
            return Err(TraceError { at, fault: Fault::Version { found: version } });
        }
        let at = reader.at();
        let stated = u32::from_le_bytes(reader.array("the number of threads")?);
        let threads = match u8::try_from(stated) {
            Ok(threads) if (1..=MAX_THREADS).contains(&stated) => threads,
            _ => {
                return Err(TraceError { at, fault: Fault::Threads { stated } });
            }
        };
        let at = reader.at();
        let operations = u64::from_le_bytes(reader.array("the number of operations")?);
        if operations > MAX_OPERATIONS {
            return Err(TraceError { at, fault: Fault::TooManyOperations { stated: operations } });
        }
        let objects = u64::from_le_bytes(reader.array("the number of objects")?);
        Ok(Self { threads, operations, objects })
    }
}

/// Reads one operation; `live` has an entry for each object so far.
fn read_op(reader: &mut Reader<'_>, threads: u8, live: &mut Vec<bool>) -> Result<Op, TraceError> {
    let at = reader.at();
    let first = reader.byte("its first byte")?;
    let thread = first >> 2;
    if thread >= threads {
        return Err(TraceError { at, fault: Fault::Thread { thread, threads } });
    }
    match first & 3 {
        0 => {
            let size = reader.size()?;
            let align_log2 = reader.align_log2()?;
            // In range: MAX_OPERATIONS bounds the number of objects.
            let object =
                u32::try_from(live.len()).map_err(|_| TraceError { at, fault: Fault::TooManyOperations { stated: live.len() as u64 } })?;
            live.push(true);
            Ok(Op { object, thread, action: Action::Allocate { size, align_log2 } })
        }
        1 => {
            let object = reader.object(live)?;
            live[object as usize] = false;
            Ok(Op { object, thread, action: Action::Free })
        }
        2 => {
            let object = reader.object(live)?;
            let size = reader.size()?;
            Ok(Op { object, thread, action: Action::Reallocate { size } })
        }
        _ => Err(TraceError { at, fault: Fault::UnknownOperation }),
    }
}
