//! One error for arenas, in both faces; the service has its own, which may hold host memory. Every variant carries what was
//! asked and what is allowed, so that the message alone is enough to act on. Nothing here allocates: an error is a plain value.

/// Why a call was refused. Nothing has changed when one is returned, but for what a batch that is not atomic served before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A required pointer is null.
    #[error("{0} is null; it must point to a valid object")]
    Null(&'static str),
    /// A size of 0.
    #[error("size 0 was asked for; a block has at least 1 byte")]
    ZeroSize,
    /// A size above the capacity.
    #[error("{asked} bytes were asked for; this arena's capacity is {capacity} bytes")]
    SizeAboveCapacity {
        /// Bytes asked for.
        asked: usize,
        /// Bytes of user memory.
        capacity: usize,
    },
    /// An alignment that is no power of two or too large.
    #[error("alignment {0} was asked for; it must be a power of two up to 2097152, or 0 for 16")]
    Alignment(usize),
    /// A column that this arena does not have.
    #[error("column {asked} is out of range: this arena has {columns} columns (0..={})", columns - 1)]
    ColumnOutOfRange {
        /// The column's number.
        asked: u32,
        /// Columns of the arena.
        columns: u32,
    },
    /// A capacity of 0 or above the largest.
    #[error("a capacity of {0} bytes was asked for; allowed are 1 to 1099511627776 (1 TiB)")]
    Capacity(usize),
    /// A number of columns out of range.
    #[error("{0} columns were asked for; allowed are 1 to 65536")]
    ColumnCount(u32),
    /// Unknown flags.
    #[error("unknown flags {unknown:#x}; the known ones are {known:#x}")]
    Flags {
        /// The bits that are not known.
        unknown: u32,
        /// The bits that are.
        known: u32,
    },
    /// Reserved fields that are not zero.
    #[error("a reserved field is not zero; set the struct up with its init function")]
    Reserved,
    /// A struct of an unknown size.
    #[error("struct_size is {asked}; this library's is {expected}")]
    StructSize {
        /// What the caller gave.
        asked: usize,
        /// What this version has.
        expected: usize,
    },
    /// Fields that exclude each other or miss their partner.
    #[error("{0}")]
    Config(&'static str),
    /// An output slice of another length than the requests.
    #[error("out has {out} entries for {requests} requests; both must have the same length")]
    OutLength {
        /// Entries of the output.
        out: usize,
        /// Requests given.
        requests: usize,
    },
    /// A batch that is too long.
    #[error("a batch of {0} requests; at most 2147483648 are served in one call")]
    BatchLength(usize),
    /// An array that is longer than memory can be.
    #[error("an array of {asked} entries was given; there are at most {most}")]
    ArrayLength {
        /// Its entries, as the caller says.
        asked: usize,
        /// The most that there can be.
        most: usize,
    },
    /// No free memory would serve the request.
    #[error("no free memory would serve {size} bytes aligned to {align}")]
    NoMemory {
        /// Bytes asked for.
        size: usize,
        /// Their alignment.
        align: usize,
    },
    /// The column's limit would be exceeded.
    #[error("column {column} may have {limit} bytes of spans and has {used}; {asked} more were asked for")]
    Quota {
        /// The column.
        column: u32,
        /// Its limit in bytes.
        limit: usize,
        /// What it has in bytes.
        used: usize,
        /// What the request would add in bytes.
        asked: usize,
    },
    /// Somebody holds the column, or has it for an operation, a search or a step of maintenance.
    #[error("column {0} is held, or another thread is at it; it can be acquired once it is released")]
    ColumnHeld(u32),
    /// The arena can be neither closed nor copied while a column is held.
    #[error("the arena can be neither closed nor copied while column {0} is held; release it first")]
    ArenaHeld(u32),
    /// The column handle was already released.
    #[error("this column is not held; acquire it first")]
    NotHeld,
    /// Another thread maintains the arena.
    #[error("another thread is maintaining this arena; one at a time may")]
    Maintaining,
    /// A system call failed.
    #[error("the system refused to {what}: {}", std::io::Error::from_raw_os_error(*code))]
    Os {
        /// What was tried.
        what: &'static str,
        /// `errno`.
        code: i32,
    },
    /// The system refused to do something with a file.
    #[error("{name}: the system refused to {what}: {}", std::io::Error::from_raw_os_error(*code))]
    File {
        /// The file.
        name: &'static str,
        /// What was tried.
        what: &'static str,
        /// `errno`.
        code: i32,
    },
    /// The file exists, and was to be new.
    #[error("{0}: it exists; a new region file was asked for")]
    FileExists(&'static str),
    /// The file is open elsewhere.
    #[error("{0}: it is open, in this or another process; a region file is open once at a time")]
    FileBusy(&'static str),
    /// The file, or the given memory, is no region, or a damaged one. It was not changed.
    #[error("{name}: {why}")]
    Format {
        /// The file.
        name: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// A region has other columns than were asked for.
    #[error("the region has {has} columns; {asked} were asked for")]
    Columns {
        /// Columns of the region.
        has: u32,
        /// Columns asked for.
        asked: u32,
    },
    /// A region is larger than was asked for.
    #[error("the region has a capacity of {has} bytes; {asked} were asked for, and a region does not shrink")]
    Shrinks {
        /// Bytes of user memory of the region.
        has: usize,
        /// Bytes asked for.
        asked: usize,
    },
    /// The given memory is too small.
    #[error("{given} bytes of memory were given; such an arena takes {needed}")]
    GivenMemory {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that were given.
        given: usize,
    },
    /// Blocks of a region need an alignment that the given memory does not have where it lies now.
    #[error("the given memory starts at {at:#x}, where its user memory is aligned to {has}; blocks in it need {needed}")]
    GivenAlignment {
        /// Where the memory starts.
        at: usize,
        /// The alignment that there is.
        has: usize,
        /// The alignment that blocks of it have asked for.
        needed: usize,
    },
    /// An alignment that the given memory does not have.
    #[error("alignment {asked} was asked for; the memory that was given to this arena allows {most}")]
    AlignmentHere {
        /// The alignment asked for.
        asked: usize,
        /// The largest that there is.
        most: usize,
    },
    /// A place for a block's name that cannot be one.
    #[error("{0:#x} is no place for the name of a block: it must be a multiple of 8 inside the arena's user memory")]
    Place(usize),
    /// A root that there is not.
    #[error("root {0} was asked for; there are 16 (0..=15)")]
    Root(usize),
    /// Too many publications at the same time.
    #[error("256 blocks are being published or unpublished at this moment; more at a time are not possible")]
    Publishing,
    /// A block that was not published.
    #[error("{0:#x} is not a block that was published; free it in the ordinary way")]
    NotPublished(usize),
    /// A word that is to name a block that was published, and is 0.
    #[error("the word at {0:#x} is 0: it names no block to unpublish")]
    NoName(usize),
    /// A pointer that is not the start of a slot of this arena.
    #[error("{0:#x} is not the start of a block of this arena")]
    BadPointer(usize),
    /// The start of a slot that is not handed out.
    #[error("{0:#x} is not handed out: it was freed before, or never given")]
    DoubleFree(usize),
    /// Not offered by this version or platform.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The system's pages are larger than an arena's.
    #[error("the system's pages have {0} bytes; an arena is opened only where they have 4096 at most")]
    PageSize(usize),
    /// An internal invariant is broken: a bug here, or a stray write into the metadata.
    #[error("invariant {invariant} is broken at {at:#x}")]
    Broken {
        /// The invariant's name, as in the module docs.
        invariant: &'static str,
        /// Where: a granule, span, chunk, cell or column number, as the invariant says.
        at: u64,
    },
}

/// `Result` with this crate's [`enum@Error`].
pub type Result<T> = core::result::Result<T, Error>;
