//! A copy of a region in a file of its own.

use std::fs::{File, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::ops::Range;
#[cfg(unix)]
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::file::{OPEN_TRIES, Share, Unlocking, hold, is_at, is_taken, may_be_as_long, named, open_to_read, refused, try_lock, write_at};
use super::{PAGE, Region};
use crate::error::{Error, Result};

/// Bytes that are copied, looked at, and written, at a time.
const PIECE: usize = 1 << 20;

impl Region {
    /// Copies the region into a new file at `path`, in place of what is there, as a closed one: `parts` of it, all that
    /// was ever written. Nobody writes meanwhile.
    pub(crate) fn snapshot(&self, path: &Path, parts: &[Range<usize>]) -> Result<()> {
        if path.as_os_str().is_empty() {
            return Err(Error::Config("path is empty; it must name a file"));
        }
        // In place of a file, or of what leads to one or to nothing; not of a device, a pipe or a folder.
        let there = std::fs::metadata(path);
        if there.as_ref().is_ok_and(|there| !there.is_file()) {
            return Err(Error::Format { name: named(path), why: "it is no ordinary file" });
        }
        // A copy that could not get its name need not be made.
        drop(hold(path, Share::WithReaders)?);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Nor one whose name could not be brought to disk.
        let opened = File::open(folder).map_err(|error| refused(named(path), "open its folder, to bring its name to disk", &error))?;
        sweep(folder);
        // As what it replaces, or else the region.
        let like = there.ok().or_else(|| self.file().and_then(|file| file.metadata().ok())).map(|about| about.permissions());
        let unfinished = Unfinished::new(folder, like.as_ref()).map_err(|error| not_copied(path, &error))?;
        self.copy_to(&unfinished.file, parts).map_err(|error| not_copied(path, &error))?;
        unfinished.take_name(path)?;
        opened.sync_all().map_err(|error| refused(named(path), "bring its name to disk; the copy is made, and has that name", &error))
    }

    fn copy_to(&self, file: &File, parts: &[Range<usize>]) -> io::Result<()> {
        may_be_as_long(self.extent().bytes())?;
        file.set_len(self.extent().bytes() as u64)?;
        if !self.clone_into(file) {
            for part in parts.iter().flat_map(|part| self.written(part.clone())) {
                self.copy_part(file, part)?;
            }
        }
        let mut header = self.header().copy();
        header.close();
        write_at(file, &header.to_bytes(), 0)?;
        file.sync_all()
    }

    /// Shares the disk's blocks with the copy, where the file system can.
    #[cfg(target_os = "linux")]
    fn clone_into(&self, to: &File) -> bool {
        use std::os::fd::AsRawFd;
        // `FICLONE` of linux/fs.h, the same on all architectures that Rust supports but MIPS, PowerPC and SPARC, where
        // the call fails and the bytes are copied.
        const FICLONE: libc::c_ulong = 0x4004_9409;
        self.file().is_some_and(|from| {
            // SAFETY: both files are open, and neither is used in other ways meanwhile.
            (unsafe { libc::ioctl(to.as_raw_fd(), FICLONE as _, from.file().as_raw_fd()) }) == 0
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn clone_into(&self, _to: &File) -> bool {
        false
    }

    /// Copies a part of the region, whole pages: those that are zero stay holes. If others write meanwhile, what is copied is of
    /// moments far apart, but no more than that.
    fn copy_part(&self, to: &File, part: Range<usize>) -> io::Result<()> {
        let mut words = vec![0; PIECE / 8];
        for start in part.clone().step_by(PIECE) {
            let words = &mut words[..PIECE.min(part.end - start) / 8];
            self.read(start, words);
            // SAFETY: the words' own bytes.
            let piece = unsafe { core::slice::from_raw_parts(words.as_ptr().cast::<u8>(), size_of_val(words)) };
            let mut at = 0;
            while at < piece.len() {
                let is_zero = |at: usize| piece[at..piece.len().min(at + PAGE)].iter().all(|&byte| byte == 0);
                let from = at;
                let zero = is_zero(at);
                while at < piece.len() && is_zero(at) == zero {
                    at += PAGE;
                }
                if !zero {
                    write_at(to, &piece[from..at.min(piece.len())], (start + from) as u64)?;
                }
            }
        }
        Ok(())
    }
}

fn not_copied(path: &Path, error: &io::Error) -> Error {
    refused(named(path), "copy the region to it", error)
}

/// What the names of unfinished copies begin and end with; between is a number that no other has, in 16 hexadecimal digits.
const UNFINISHED: [&str; 2] = [".engram.", ".unfinished"];

/// Whether a file has such a name.
fn is_unfinished(name: &str) -> bool {
    let number = name.strip_prefix(UNFINISHED[0]).and_then(|rest| rest.strip_suffix(UNFINISHED[1]));
    number.is_some_and(|number| number.len() == 16 && number.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')))
}

/// A copy that is being made. It is locked, which tells it from what a killed process left, and its name goes away with this.
struct Unfinished {
    file: Unlocking,
    path: PathBuf,
}

impl Unfinished {
    /// With these permissions, or those of any new file.
    fn new(folder: &Path, like: Option<&Permissions>) -> io::Result<Self> {
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if let Some(like) = like {
            // From the first moment on. What the process' mask takes away is given back below.
            options.mode(like.mode() & 0o777);
        }
        for _ in 0..OPEN_TRIES {
            let random = RandomState::new().build_hasher().finish();
            let path = folder.join(format!("{}{random:016x}{}", UNFINISHED[0], UNFINISHED[1]));
            match options.open(&path).map(Unlocking::new) {
                // Who sweeps may have it by then. Where there are no locks, nobody sweeps.
                Ok(file) if is_taken(&try_lock(&file, Share::Nobody)) || !is_at(&file, &path) => {}
                Ok(file) => {
                    let copy = Self { file, path };
                    copy.allow(like);
                    return Ok(copy);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Gives the copy these permissions. A file system that has none keeps its own.
    fn allow(&self, like: Option<&Permissions>) {
        #[cfg(unix)]
        let like = like.map(|like| Permissions::from_mode(like.mode() & 0o777));
        #[cfg(not(unix))]
        let like = like.cloned();
        let _ = like.map(|like| self.file.set_permissions(like));
    }

    /// Gives the copy its name, in place of what is there, but of no region that somebody has open.
    fn take_name(self, path: &Path) -> Result<()> {
        // A link replaces nothing: so nothing is there, or what is there can be locked.
        if std::fs::hard_link(&self.path, path).is_ok() {
            return Ok(());
        }
        let held = hold(path, Share::Nobody)?;
        // They may have been changed since.
        self.allow(held.as_ref().and_then(|held| held.metadata().ok()).map(|about| about.permissions()).as_ref());
        std::fs::rename(&self.path, path).map_err(|error| not_copied(path, &error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After it was renamed there is none.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes the copies that killed processes left in a folder: those that nobody has locked.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_unfinished(&entry.file_name().to_string_lossy())
            && let Ok(left) = open_to_read(&entry.path()).map(Unlocking::new)
            && try_lock(&left, Share::Nobody).is_ok()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
