//! A region file: opened, locked, made as long as the region, its space reserved.

use std::fs::{File, Metadata};
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use super::PAGE;
use super::header::Copied;
use super::opener::Opener;
use crate::error::{Error, Result};
use crate::sync::AtomicPtr;
use crate::sync::Ordering::{AcqRel, Acquire};

/// The file of a region. Its lock ends with it, or with the process.
pub(crate) struct RegionFile {
    file: Unlocking,
    path: PathBuf,
    name: &'static str,
    /// What becomes of it if it does not become a region.
    undo: Undo,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// It is one, or none of ours.
    Nothing,
    /// It had length 0.
    Empty,
    /// It did not exist.
    Remove,
    /// It was shorter.
    Shorten(usize),
}

/// What is wrong with a file that ends too soon.
pub(crate) const TRUNCATED: &str = "it is truncated: shorter than its header says";

/// Names of files that are kept: who goes through ever new ones has these in its messages, and of those that come later only that they
/// are files.
const NAMES: usize = 4096;

/// A name that is kept, and those that were kept before it.
struct Kept {
    name: Box<str>,
    /// How many were kept before it.
    place: usize,
    before: Option<&'static Self>,
}

/// The name of a file for errors, which are plain values: each name is kept for good, once. No lock: a forked child would inherit it
/// as it is, taken by a thread that the child does not have.
pub(crate) fn named(path: &Path) -> &'static str {
    static LAST: AtomicPtr<Kept> = AtomicPtr::new(core::ptr::null_mut());
    let name = path.to_string_lossy();
    let mut last = LAST.load(Acquire);
    loop {
        // SAFETY: null, or one of those below, which are never changed or dropped. Acquire: it is seen whole.
        let before: Option<&'static Kept> = unsafe { last.as_ref() };
        if let Some(kept) = core::iter::successors(before, |kept| kept.before).find(|kept| *kept.name == *name) {
            return &kept.name;
        }
        let place = before.map_or(0, |before| before.place + 1);
        if place == NAMES {
            return "a region file";
        }
        let kept = Box::into_raw(Box::new(Kept { name: name.clone().into(), place, before }));
        // Release: the name comes before.
        match LAST.compare_exchange(last, kept, AcqRel, Acquire) {
            // SAFETY: ours, and kept for good from here on.
            Ok(_) => return unsafe { &(*kept).name },
            Err(now) => {
                // SAFETY: it is still ours alone.
                drop(unsafe { Box::from_raw(kept) });
                last = now;
            }
        }
    }
}

pub(crate) fn refused(name: &'static str, what: &'static str, error: &io::Error) -> Error {
    Error::File { name, what, code: code_of(error) }
}

/// The system's number of an error; what never came to the system, as a path with a NUL in it does not, gets that which it would
/// have.
pub(super) fn code_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::InvalidInput => libc::EINVAL,
        _ => libc::EIO,
    })
}

/// How often an open tries to lock a file, a millisecond apart: who looks whether it is open has a lock of it for a moment, or as long
/// as it is interrupted then.
const LOCK_TRIES: u32 = 50;
/// How often what opens a file begins again because the file was removed or replaced before it was locked.
pub(super) const OPEN_TRIES: u32 = 20;

/// Whether somebody has the region file at `path` open. A lock that others may have at the same time is taken for a moment.
///
/// # Errors
/// [`Error::File`]: something is there that cannot be opened, so that nobody can tell.
pub(crate) fn is_open_elsewhere(path: &Path) -> Result<bool> {
    Ok(open_to_look(path)?.is_some_and(|file| is_taken(&try_lock(&file, Share::WithReaders))))
}

/// Opens the file at `path` to lock it; `None` if nothing is there.
fn open_to_look(path: &Path) -> Result<Option<Unlocking>> {
    match open_to_read(path) {
        Ok(file) => Ok(Some(Unlocking::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(named(path), "open it", &error)),
    }
}

/// A file that is unlocked when it is closed: closing it does not, as long as a forked child has it open. A child that closes it
/// leaves the lock, which is its parent's.
pub(super) struct Unlocking {
    file: File,
    opened_by: Opener,
}

impl Unlocking {
    pub(super) fn new(file: File) -> Self {
        Self { file, opened_by: Opener::this() }
    }
}

impl Deref for Unlocking {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Unlocking {
    fn drop(&mut self) {
        if self.opened_by.is_this() {
            unlock(&self.file);
        }
    }
}

/// Who may have a lock of the file at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Nobody,
    WithReaders,
}

/// Opens a file to read it; what is no ordinary file is not waited for.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options.read(true).open(path)
}

/// Opens a file, or makes it, also where a link leads to nothing; and whether it was not there.
fn open_or_make(path: &Path, create_new: bool) -> (io::Result<File>, bool) {
    let mut options = File::options();
    options.read(true).write(true);
    if create_new {
        return (options.create_new(true).open(path), true);
    }
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (options.create(true).open(path), true),
        opened => (opened, false),
    }
}

/// Whether `path` leads to this file.
#[cfg(unix)]
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let which = |about: io::Result<std::fs::Metadata>| about.map(|about| (about.dev(), about.ino())).ok();
    which(std::fs::metadata(path)).is_some_and(|there| which(file.metadata()) == Some(there))
}

#[cfg(not(unix))]
pub(super) fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(unix)]
pub(super) fn try_lock(file: &File, share: Share) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let how = if share == Share::Nobody { libc::LOCK_EX } else { libc::LOCK_SH };
    // SAFETY: the file is open.
    if unsafe { libc::flock(file.as_raw_fd(), how | libc::LOCK_NB) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(unix))]
pub(super) fn try_lock(_file: &File, _share: Share) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn unlock(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: the file is open. If it is not locked, nothing happens.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
}

#[cfg(not(unix))]
fn unlock(_file: &File) {}

/// Whether this process may make a file so long. Were it tried beyond its limit, the system would end the process (`SIGXFSZ`),
/// unless that ignores it, and only then refuse.
#[cfg(unix)]
pub(super) fn may_be_as_long(bytes: usize) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for a limit.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } == 0;
    if told && limit.rlim_cur < bytes as libc::rlim_t { Err(io::Error::from_raw_os_error(libc::EFBIG)) } else { Ok(()) }
}

#[cfg(not(unix))]
pub(super) fn may_be_as_long(_bytes: usize) -> io::Result<()> {
    Ok(())
}

/// Whether a lock is refused because somebody has one.
pub(super) fn is_taken(tried: &io::Result<()>) -> bool {
    tried.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Locks a file; who has a lock of it for a moment is waited for.
fn lock(file: &File, share: Share) -> io::Result<()> {
    let mut tried = try_lock(file, share);
    for _ in 1..LOCK_TRIES {
        if !is_taken(&tried) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
        tried = try_lock(file, share);
    }
    tried
}

/// Locks what is at `path`, so that nobody opens it as a region before it is replaced, if it is not shared, or else to see that nobody has;
/// `None` if nothing is there. Where there are no locks, nobody has a region open.
///
/// # Errors
/// [`Error::FileBusy`]; [`Error::File`] if what is there cannot be opened.
pub(super) fn hold(path: &Path, share: Share) -> Result<Option<Unlocking>> {
    for _ in 0..OPEN_TRIES {
        let Some(file) = open_to_look(path)? else { return Ok(None) };
        if is_taken(&lock(&file, share)) {
            break;
        }
        if is_at(&file, path) {
            return Ok(Some(file));
        }
    }
    Err(Error::FileBusy(named(path)))
}

impl RegionFile {
    /// Opens a file, or makes it, and locks it: nobody else may have it open. With `create_new` it must not exist.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::FileExists`], [`Error::FileBusy`], [`Error::Format`].
    pub(crate) fn open(path: &Path, create_new: bool) -> Result<Self> {
        for _ in 0..OPEN_TRIES {
            let (opened, created) = open_or_make(path, create_new);
            if create_new && opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
                return Err(Error::FileExists(named(path)));
            }
            let mut file = Self::of(opened, path)?;
            lock(&file.file, Share::Nobody).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => Error::FileBusy(file.name),
                _ => file.refused("lock it", &error),
            })?;
            // Until then its name may have been taken away, or given to another file.
            if !is_at(&file.file, path) {
                continue;
            }
            // Only what is empty is new: who was faster to lock the file may have made it a region.
            if created && file.bytes()? == 0 {
                file.undo = Undo::Remove;
            } else if create_new {
                return Err(Error::FileExists(file.name));
            }
            return Ok(file);
        }
        Err(Error::FileBusy(named(path)))
    }

    /// Opens a file to read it, whoever has it open: no lock is taken, and nothing is written.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Format`].
    pub(crate) fn look(path: &Path) -> Result<Self> {
        Self::of(open_to_read(path), path)
    }

    fn of(opened: io::Result<File>, path: &Path) -> Result<Self> {
        let name = named(path);
        let file = Self {
            file: Unlocking::new(opened.map_err(|error| refused(name, "open it", &error))?),
            path: path.to_owned(),
            name,
            undo: Undo::Nothing,
        };
        match file.file.metadata() {
            Ok(about) if about.is_file() => Ok(file),
            Ok(_) => Err(file.damaged("it is no ordinary file")),
            Err(error) => Err(file.refused("look at it", &error)),
        }
    }

    /// The file, for a mapping.
    #[cfg(unix)]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// What the system says about it.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Its name, for errors.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The system refused to do something with it.
    pub(crate) fn refused(&self, what: &'static str, error: &io::Error) -> Error {
        refused(self.name, what, error)
    }

    /// It is no region, or a damaged one.
    pub(crate) fn damaged(&self, why: &'static str) -> Error {
        Error::Format { name: self.name, why }
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> Result<usize> {
        let about = self.file.metadata().map_err(|error| self.refused("look at it", &error))?;
        Ok(usize::try_from(about.len()).unwrap_or(usize::MAX))
    }

    /// A copy of its header, if the file has one; `None` for a file of length 0.
    pub(crate) fn header(&self) -> Result<Option<Copied>> {
        match self.bytes()? {
            0 => return Ok(None),
            bytes if bytes < PAGE => return Err(self.damaged("it is too short for a header")),
            _ => {}
        }
        let mut bytes = vec![0; PAGE];
        self.read(&mut bytes, 0)?;
        Ok(Some(Copied::from_bytes(&bytes)))
    }

    /// Reads bytes of it.
    pub(crate) fn read(&self, bytes: &mut [u8], at: usize) -> Result<()> {
        read_at(&self.file, bytes, at as u64).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(TRUNCATED),
            _ => self.refused("read it", &error),
        })
    }

    /// Makes a new region of the file: the header first, in one piece, so that a creation that is cut short is
    /// known as one; then all its bytes, zero. Until [`RegionFile::keep`] it is undone when the file is closed.
    pub(crate) fn create(&mut self, header: &Copied, bytes: usize, sparse: bool) -> Result<()> {
        if self.undo == Undo::Nothing {
            self.undo = Undo::Empty;
        }
        self.may_take(bytes)?;
        self.set_bytes(0)?;
        write_at(&self.file, &header.to_bytes(), 0).map_err(|error| self.refused("write to it", &error))?;
        self.set_bytes(bytes)?;
        self.reserve(bytes, sparse)
    }

    /// The region in it is whole, and takes so many bytes. What it took on the way is cut off; if that fails, it is only longer.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.undo = Undo::Nothing;
        let _ = self.file.set_len(bytes as u64);
    }

    /// Makes the file as long as it has to be, if it is shorter: what is new is zero, and what was behind the region is there until it
    /// is whole. It is undone like a creation.
    pub(crate) fn grow(&mut self, to: usize, sparse: bool) -> Result<()> {
        self.may_take(to)?;
        let was = self.bytes()?;
        if was < to {
            self.undo = Undo::Shorten(was);
            self.set_bytes(to)?;
        }
        self.reserve(to, sparse)
    }

    fn may_take(&self, bytes: usize) -> Result<()> {
        may_be_as_long(bytes).map_err(|error| self.refused("set its length", &error))
    }

    fn set_bytes(&self, bytes: usize) -> Result<()> {
        self.file.set_len(bytes as u64).map_err(|error| self.refused("set its length", &error))
    }

    /// Reserves the file's disk space, so that no write into the mapping finds the disk full. Where the system knows no such thing
    /// nothing is reserved.
    #[cfg(all(unix, not(target_vendor = "apple")))]
    pub(crate) fn reserve(&self, bytes: usize, sparse: bool) -> Result<()> {
        use std::os::fd::AsRawFd;
        if sparse {
            return Ok(());
        }
        let refused = |error: &io::Error| self.refused("reserve its space on the disk", error);
        let length = libc::off_t::try_from(bytes).unwrap_or(libc::off_t::MAX);
        loop {
            // SAFETY: the file is open.
            match unsafe { libc::posix_fallocate(self.file.as_raw_fd(), 0, length) } {
                0 => return Ok(()),
                libc::EINTR => {}
                libc::EOPNOTSUPP => return self.fill(bytes).map_err(|error| refused(&error)),
                code => return Err(refused(&io::Error::from_raw_os_error(code))),
            }
        }
    }

    /// The same where the file system does not do it: zeros are written where there are zeros. (glibc does so itself, other C libraries do
    /// not.) The file is as long as that, and nobody else writes to it.
    #[cfg(all(unix, not(target_vendor = "apple")))]
    fn fill(&self, bytes: usize) -> io::Result<()> {
        may_be_as_long(bytes)?;
        let mut page = vec![0; PAGE];
        for at in (0..bytes).step_by(PAGE) {
            let page = &mut page[..PAGE.min(bytes - at)];
            read_at(&self.file, page, at as u64)?;
            if page.iter().all(|&byte| byte == 0) {
                write_at(&self.file, page, at as u64)?;
            }
        }
        Ok(())
    }

    #[cfg(not(all(unix, not(target_vendor = "apple"))))]
    pub(crate) fn reserve(&self, _bytes: usize, _sparse: bool) -> Result<()> {
        Ok(())
    }

    /// The parts of a range that are no holes.
    pub(crate) fn written(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        self.each_written(range, |part| parts.push(part));
        parts
    }

    /// Calls `each` with each of them. Takes no host memory.
    #[cfg(target_os = "linux")]
    pub(crate) fn each_written(&self, range: Range<usize>, mut each: impl FnMut(Range<usize>)) {
        use std::os::fd::AsRawFd;
        let seek = |from: usize, whence| {
            // SAFETY: the file is open.
            usize::try_from(unsafe { libc::lseek(self.file.as_raw_fd(), from as libc::off_t, whence) }).ok()
        };
        let mut at = range.start;
        while at < range.end {
            let Some(start) = seek(at, libc::SEEK_DATA) else {
                // Nothing but holes is left, or the file system cannot tell.
                if io::Error::last_os_error().raw_os_error() != Some(libc::ENXIO) {
                    each(at..range.end);
                }
                break;
            };
            if start >= range.end {
                break;
            }
            let end = seek(start, libc::SEEK_HOLE).unwrap_or(range.end).min(range.end).max(start + 1);
            each(start.max(at)..end);
            at = end;
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn each_written(&self, range: Range<usize>, mut each: impl FnMut(Range<usize>)) {
        each(range);
    }
}

impl Drop for RegionFile {
    fn drop(&mut self) {
        // Nobody is left to be told if this fails.
        let _ = match self.undo {
            Undo::Empty => self.file.set_len(0),
            // The file, not a link that leads to it, nor what has its name by now.
            Undo::Remove if is_at(&self.file, &self.path) => std::fs::canonicalize(&self.path).and_then(std::fs::remove_file),
            Undo::Nothing | Undo::Remove => Ok(()),
            Undo::Shorten(bytes) => self.file.set_len(bytes as u64),
        };
    }
}

#[cfg(unix)]
pub(crate) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(unix)]
pub(crate) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(not(unix))]
pub(crate) fn read_at(_file: &File, _bytes: &mut [u8], _at: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
pub(crate) fn write_at(_file: &File, _bytes: &[u8], _at: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests;
