//! Statuses, and the last error of each thread.

use core::cell::{Cell, RefCell};
use core::ffi::c_char;
use core::fmt::{self, Write};

use crate::error::{Error, Result};
use crate::guidance::AllocationError;
use crate::service::AllocationServiceError;

/// 0 success, above 0 success with news, below 0 an error. Values never change meaning.
pub type engram_status = i32;

/// Success.
pub const ENGRAM_OK: engram_status = 0;
/// Success, and more is to be done.
pub const ENGRAM_MORE: engram_status = 1;
/// Success, and the region file had not been closed.
pub const ENGRAM_RECOVERED: engram_status = 2;
/// A required pointer is NULL.
pub const ENGRAM_E_NULL: engram_status = -1;
/// An argument is out of its range.
pub const ENGRAM_E_INVALID: engram_status = -2;
/// No free memory would serve the request.
pub const ENGRAM_E_NO_MEMORY: engram_status = -3;
/// A limit would be exceeded.
pub const ENGRAM_E_QUOTA: engram_status = -4;
/// Somebody holds it at the moment.
pub const ENGRAM_E_BUSY: engram_status = -5;
/// There is no such thing.
pub const ENGRAM_E_NOT_FOUND: engram_status = -6;
/// The system refused.
pub const ENGRAM_E_OS: engram_status = -7;
/// The region file is foreign, truncated, of another version or damaged.
pub const ENGRAM_E_FORMAT: engram_status = -8;
/// The pointer is not the start of a slot of this arena.
pub const ENGRAM_E_BAD_POINTER: engram_status = -9;
/// The slot is not handed out.
pub const ENGRAM_E_DOUBLE_FREE: engram_status = -10;
/// Not offered by this version or platform.
pub const ENGRAM_E_UNSUPPORTED: engram_status = -11;
/// It exists already.
pub const ENGRAM_E_EXISTS: engram_status = -12;
/// An invariant is broken: a bug, or a stray write.
pub const ENGRAM_E_INTERNAL: engram_status = -13;

pub(crate) fn status_of(error: &Error) -> engram_status {
    match error {
        Error::Null(_) => ENGRAM_E_NULL,
        Error::NoMemory { .. } | Error::SizeAboveCapacity { .. } => ENGRAM_E_NO_MEMORY,
        Error::Quota { .. } => ENGRAM_E_QUOTA,
        Error::ColumnHeld(_) | Error::ArenaHeld(_) | Error::Maintaining | Error::FileBusy(_) | Error::Publishing => ENGRAM_E_BUSY,
        Error::Os { .. } | Error::File { .. } => ENGRAM_E_OS,
        Error::FileExists(_) => ENGRAM_E_EXISTS,
        Error::Format { .. } => ENGRAM_E_FORMAT,
        Error::BadPointer(_) | Error::NotPublished(_) | Error::NoName(_) => ENGRAM_E_BAD_POINTER,
        Error::DoubleFree(_) => ENGRAM_E_DOUBLE_FREE,
        Error::Unsupported(_) | Error::PageSize(_) => ENGRAM_E_UNSUPPORTED,
        Error::Broken { .. } => ENGRAM_E_INTERNAL,
        Error::ZeroSize
        | Error::Alignment(_)
        | Error::AlignmentHere { .. }
        | Error::Place(_)
        | Error::Root(_)
        | Error::Columns { .. }
        | Error::Shrinks { .. }
        | Error::GivenMemory { .. }
        | Error::GivenAlignment { .. }
        | Error::ColumnOutOfRange { .. }
        | Error::Capacity(_)
        | Error::ColumnCount(_)
        | Error::Flags { .. }
        | Error::Reserved
        | Error::StructSize { .. }
        | Error::Config(_)
        | Error::OutLength { .. }
        | Error::BatchLength(_)
        | Error::ArrayLength { .. }
        | Error::NotHeld => ENGRAM_E_INVALID,
    }
}

/// Why a call to the service failed. Unlike [`enum@Error`] it may hold host memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A pointer, a flag or a struct.
    #[error(transparent)]
    Argument(#[from] Error),
    /// The service refused.
    #[error(transparent)]
    Refused(#[from] AllocationError),
    /// It was not opened.
    #[error(transparent)]
    Unopened(#[from] AllocationServiceError),
    /// It was not closed.
    #[error(
        "the service cannot be closed while something in it is pinned; hand each of its pins ({0} by now) back with engram_service_unpin first"
    )]
    Pinned(u64),
    /// One of many.
    #[error("concepts[{0}]: {1}")]
    Among(usize, Box<Failure>),
}

impl Failure {
    pub(crate) fn status(&self) -> engram_status {
        match self {
            Self::Argument(error) | Self::Unopened(AllocationServiceError::Arena(error)) => status_of(error),
            Self::Refused(error) => match error {
                AllocationError::QuotaExceeded { .. } => ENGRAM_E_QUOTA,
                AllocationError::PoolNotFound { .. } | AllocationError::NotFound { .. } => ENGRAM_E_NOT_FOUND,
                AllocationError::AlreadyExists { .. } => ENGRAM_E_EXISTS,
                AllocationError::OutOfMemory { .. } => ENGRAM_E_NO_MEMORY,
                AllocationError::Busy { .. } => ENGRAM_E_BUSY,
                AllocationError::Invalid { .. } => ENGRAM_E_INVALID,
                AllocationError::Internal { .. } => ENGRAM_E_INTERNAL,
            },
            Self::Unopened(AllocationServiceError::Invalid { .. }) => ENGRAM_E_INVALID,
            Self::Pinned(_) => ENGRAM_E_BUSY,
            Self::Among(_, failure) => failure.status(),
        }
    }
}

/// A thread's last failure. The core's is a plain value, so that failing takes no host memory; the service's is its
/// status, and a text beside it.
#[derive(Clone, Copy)]
enum Last {
    Error(Error),
    Told(engram_status),
}

thread_local! {
    static LAST: Cell<Option<Last>> = const { Cell::new(None) };
    static TOLD: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Remembers a failure of this thread and gives its status.
#[cold]
pub(crate) fn fail(error: Error) -> engram_status {
    LAST.set(Some(Last::Error(error)));
    status_of(&error)
}

/// The same for a failure of the service.
#[cold]
pub(crate) fn fail_with(failure: &Failure) -> engram_status {
    let status = failure.status();
    LAST.set(Some(Last::Told(status)));
    // A thread that is just ending has no text any more; the status stays.
    let _ = TOLD.try_with(|told| *told.borrow_mut() = failure.to_string());
    status
}

/// The status of a result.
pub(crate) fn status(result: Result<()>) -> engram_status {
    result.map_or_else(fail, |()| ENGRAM_OK)
}

/// Major * 1000000 + minor * 1000 + patch. Any, RT.
#[unsafe(no_mangle)]
pub extern "C" fn engram_version() -> u32 {
    const PARTS: [u32; 3] =
        [number(env!("CARGO_PKG_VERSION_MAJOR")), number(env!("CARGO_PKG_VERSION_MINOR")), number(env!("CARGO_PKG_VERSION_PATCH"))];
    PARTS[0] * 1_000_000 + PARTS[1] * 1000 + PARTS[2]
}

const fn number(text: &str) -> u32 {
    let (mut value, mut index) = (0, 0);
    while index < text.len() {
        value = value * 10 + (text.as_bytes()[index] - b'0') as u32;
        index += 1;
    }
    value
}

/// The version as text, static. Any, RT.
#[unsafe(no_mangle)]
pub extern "C" fn engram_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The name of a status, static: `"ENGRAM_E_QUOTA"`; `"ENGRAM_E_?"` if unknown. Any, RT.
#[unsafe(no_mangle)]
pub extern "C" fn engram_status_name(status: engram_status) -> *const c_char {
    let name = match status {
        ENGRAM_OK => c"ENGRAM_OK",
        ENGRAM_MORE => c"ENGRAM_MORE",
        ENGRAM_RECOVERED => c"ENGRAM_RECOVERED",
        ENGRAM_E_NULL => c"ENGRAM_E_NULL",
        ENGRAM_E_INVALID => c"ENGRAM_E_INVALID",
        ENGRAM_E_NO_MEMORY => c"ENGRAM_E_NO_MEMORY",
        ENGRAM_E_QUOTA => c"ENGRAM_E_QUOTA",
        ENGRAM_E_BUSY => c"ENGRAM_E_BUSY",
        ENGRAM_E_NOT_FOUND => c"ENGRAM_E_NOT_FOUND",
        ENGRAM_E_OS => c"ENGRAM_E_OS",
        ENGRAM_E_FORMAT => c"ENGRAM_E_FORMAT",
        ENGRAM_E_BAD_POINTER => c"ENGRAM_E_BAD_POINTER",
        ENGRAM_E_DOUBLE_FREE => c"ENGRAM_E_DOUBLE_FREE",
        ENGRAM_E_UNSUPPORTED => c"ENGRAM_E_UNSUPPORTED",
        ENGRAM_E_EXISTS => c"ENGRAM_E_EXISTS",
        ENGRAM_E_INTERNAL => c"ENGRAM_E_INTERNAL",
        _ => c"ENGRAM_E_?",
    };
    name.as_ptr()
}

/// The calling thread's last failure; a success does not clear it. Any, RT.
#[unsafe(no_mangle)]
pub extern "C" fn engram_last_error() -> engram_status {
    match LAST.get() {
        None => ENGRAM_OK,
        Some(Last::Error(error)) => status_of(&error),
        Some(Last::Told(status)) => status,
    }
}

/// Writes what the calling thread's last failure was about, as `snprintf` would: at most `capacity`
/// bytes with the NUL; returns the full length without it. Empty if nothing failed yet. Any, RT, but for
/// `ENGRAM_E_OS`, whose text the system gives; takes host memory then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engram_last_error_message(buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's buffer is NULL or has `capacity` bytes.
    let mut text = unsafe { Text::new(buffer, capacity) };
    let _ = match LAST.get() {
        None => Ok(()),
        Some(Last::Error(error)) => write!(text, "{error}"),
        Some(Last::Told(_)) => TOLD.try_with(|told| text.write_str(&told.borrow())).unwrap_or(Ok(())),
    };
    text.finish()
}

/// Text into a C buffer, as `snprintf` writes it.
pub(crate) struct Text {
    buffer: *mut u8,
    room: usize,
    length: usize,
}

impl Text {
    /// # Safety
    /// `buffer` is null or has `capacity` writable bytes for as long as the value lives.
    pub(crate) unsafe fn new(buffer: *mut c_char, capacity: usize) -> Self {
        Self { buffer: buffer.cast(), room: if buffer.is_null() { 0 } else { capacity }, length: 0 }
    }

    /// Ends the text with a NUL, if there is any room, and returns its full length.
    pub(crate) fn finish(self) -> usize {
        if self.room > 0 {
            // SAFETY: `new`'s promise: the index is below the capacity.
            unsafe { self.buffer.add(self.length.min(self.room - 1)).write(0) };
        }
        self.length
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = self.length.min(self.room);
        let fits = text.len().min(self.room - start);
        if fits > 0 {
            // SAFETY: `new`'s promise: `start + fits` is at most the capacity.
            unsafe { self.buffer.add(start).copy_from_nonoverlapping(text.as_ptr(), fits) };
        }
        self.length += text.len();
        Ok(())
    }
}
