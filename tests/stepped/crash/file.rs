//! Region files of tests, mapped beside the arena that uses them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

const PAGE: usize = 4096;
/// Where a header says which of its two extents holds, where these are, and which words of an extent are the starts of
/// user memory and of the metadata (see the region's header).
const EXTENT: usize = 6;
const EXTENTS: usize = 8;
const DATA: usize = 1;
const METADATA: usize = 2;

/// A file's bytes, as they are at each moment.
pub(crate) struct Mapped {
    start: *mut u8,
    bytes: usize,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}

impl Mapped {
    /// Maps a file, made `bytes` long if that is not 0.
    pub(crate) fn new(path: &Path, bytes: usize) -> Self {
        let file = File::options().read(true).write(true).create(bytes != 0).truncate(false).open(path).unwrap();
        if bytes != 0 {
            file.set_len(bytes as u64).unwrap();
        }
        let bytes = usize::try_from(file.metadata().unwrap().len()).unwrap();
        // SAFETY: a new mapping of a file that is open.
        let start =
            unsafe { libc::mmap(core::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Self { start: start.cast(), bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// The bytes, while nobody writes them.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped by `new`; the caller says that nobody writes.
        unsafe { core::slice::from_raw_parts(self.start, self.bytes) }
    }

    /// Becomes the same as `other`, page by page.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        assert_eq!(self.bytes, other.bytes);
        // SAFETY: mapped by `new`, by nobody else.
        let own = unsafe { core::slice::from_raw_parts_mut(self.start, self.bytes) };
        for (own, other) in own.chunks_mut(PAGE).zip(other.bytes().chunks(PAGE)) {
            if own != other {
                own.copy_from_slice(other);
            }
        }
    }

    /// The word at this many bytes.
    fn word(&self, at: usize) -> usize {
        usize::from_ne_bytes(self.bytes()[at..][..8].try_into().unwrap())
    }

    fn extent_word(&self, index: usize) -> usize {
        self.word(8 * (EXTENTS + 8 * self.word(8 * EXTENT) + index))
    }

    /// The word at this offset of user memory.
    pub(crate) fn user_word(&self, offset: usize) -> usize {
        self.word(self.extent_word(DATA) + offset)
    }

    /// Where the metadata starts.
    pub(crate) fn metadata(&self) -> usize {
        self.extent_word(METADATA)
    }
}
