//! The memory of a region: anonymous, from the system by way of memmap2, with a file laid over it or not; or
//! given by the caller. Under Miri, which has no real mappings, zeroed heap memory stands in.

use super::file::{RegionFile, code_of};
use super::opener::Opener;
use super::{Given, PAGE};
use crate::error::{Error, Result};
use crate::sync::{AtomicU8, Ordering};
use core::ptr::NonNull;
use std::io;

fn refused(what: &'static str, error: &io::Error) -> Error {
    Error::Os { what, code: code_of(error) }
}

/// Refuses a system whose pages are larger than [`PAGE`] (R3): with a page that holds no block it would give back neighbours that hold
/// some.
///
/// # Errors
/// [`Error::PageSize`].
pub(crate) fn check_pages() -> Result<()> {
    #[cfg(all(unix, not(miri)))]
    {
        // SAFETY: nothing but a number is asked for.
        let told = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        // Every Unix says it.
        let bytes = usize::try_from(told).unwrap_or(PAGE);
        if bytes > PAGE {
            return Err(Error::PageSize(bytes));
        }
    }
    Ok(())
}

/// A region's memory. What is mapped is unmapped with it; what was given is unlocked.
pub(crate) enum Mapping {
    /// From the system.
    Mapped(Mapped),
    /// The caller's.
    Given(Lent),
}

/// Memory of the caller's, which stays.
pub(crate) struct Lent {
    memory: Given,
    /// Who has locked it: a forked child has no such locks, and those that it may have made are its own.
    locked_by: Option<Opener>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.locked_by.is_some_and(Opener::is_this) {
            #[cfg(all(unix, not(miri)))]
            // SAFETY: the caller's memory, whose pages stay where they are. If they are not locked, nothing happens.
            unsafe {
                libc::munlock(self.memory.base.as_ptr().cast(), self.memory.bytes);
            }
        }
    }
}

impl Mapping {
    /// Maps `bytes` of zeroed memory without reserving swap for it.
    pub(crate) fn anonymous(bytes: usize) -> Result<Self> {
        Ok(Self::Mapped(Mapped::anonymous(bytes, "map the arena's address space")?))
    }

    /// Memory of the caller's.
    pub(crate) fn given(memory: Given) -> Self {
        Self::Given(Lent { memory, locked_by: None })
    }

    pub(crate) fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        match self {
            Self::Mapped(mapped) => mapped.base(),
            Self::Given(lent) => lent.memory.base,
        }
    }

    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Mapped(mapped) => mapped.len(),
            Self::Given(lent) => lent.memory.bytes,
        }
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.base().as_ptr().wrapping_add(offset)
    }

    /// Lays the first `bytes` of a file over the mapping, from `offset` on.
    #[cfg(all(unix, not(miri)))]
    pub(crate) fn lay_file(&self, offset: usize, file: &RegionFile, bytes: usize) -> Result<()> {
        use std::os::fd::AsRawFd;
        assert!(!self.is_given() && offset.is_multiple_of(PAGE) && offset + bytes <= self.len(), "R2");
        let (access, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
        // SAFETY: R2: the range is inside a mapping that is ours, as just asserted, and in which nothing is yet; it
        // is unmapped with it.
        let laid = unsafe { libc::mmap(self.at(offset).cast(), bytes, access, how, file.file().as_raw_fd(), 0) };
        if laid == libc::MAP_FAILED { Err(file.refused("map it", &io::Error::last_os_error())) } else { Ok(()) }
    }

    #[cfg(any(not(unix), miri))]
    pub(crate) fn lay_file(&self, _offset: usize, _file: &RegionFile, _bytes: usize) -> Result<()> {
        Err(Error::Unsupported("region files are offered on Unix systems only"))
    }

    /// Brings what was written to a range to the disk of the file that is laid over it.
    pub(crate) fn sync(&self, offset: usize, bytes: usize) -> io::Result<()> {
        #[cfg(all(unix, not(miri)))]
        // SAFETY: R2: the range is inside the mapping.
        if unsafe { libc::msync(self.at(offset).cast(), bytes, libc::MS_SYNC) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let _ = (offset, bytes);
        Ok(())
    }

    /// Asks for huge pages from here on, now and by and by; where the system has none, ordinary ones serve. Or, if they are not
    /// `wanted`, has the system keep the pages that there are, of whatever size, as they are.
    pub(crate) fn ask_for_huge_pages(&self, offset: usize, bytes: usize, wanted: bool) {
        if let Self::Mapped(mapped) = self {
            mapped.ask_for_huge_pages(offset, bytes, wanted);
        }
    }

    /// Keeps all of it in memory, as long as it is there.
    pub(crate) fn lock(&mut self) -> Result<()> {
        match self {
            Self::Mapped(mapped) => mapped.lock(),
            #[cfg(all(unix, not(miri)))]
            Self::Given(lent) => {
                // Before: what is refused may have locked a part.
                lent.locked_by = Some(Opener::this());
                // SAFETY: the caller's memory, whose pages stay where they are.
                let locked = unsafe { libc::mlock(lent.memory.base.as_ptr().cast(), lent.memory.bytes) };
                if locked == 0 { Ok(()) } else { Err(refused("lock the given memory", &io::Error::last_os_error())) }
            }
            #[cfg(any(not(unix), miri))]
            Self::Given(_) => Ok(()),
        }
    }

    /// Touches every page of a range, so that later accesses do not fault. Nothing changes.
    pub(crate) fn prefault(&self, offset: usize, bytes: usize) {
        for page in (offset..offset + bytes).step_by(PAGE) {
            // SAFETY: R2: the range is inside the mapping; atomic, so that others may be using it.
            let byte = unsafe { AtomicU8::from_ptr(self.at(page)) };
            // A store that changes nothing. (An addition of 0 would become a load.) None is preceded by a load: that would bring a page of
            // zeros first, also in place of a huge page, which many a Linux (5.8 to 6.12) replaces by small pages at the store.
            if let Err(now) = byte.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed) {
                let _ = byte.compare_exchange(now, now, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Bytes of its pages that this process has touched; `None` if the system does not tell. Calls it once for each 64 MiB.
    pub(crate) fn resident_bytes(&self, has_file: bool) -> Option<u64> {
        #[cfg(all(target_os = "linux", not(miri)))]
        {
            const PAGES: usize = 1 << 14;
            // What is in memory of a file says nothing: the system reads ahead, and keeps what others have read. What a process has
            // touched, the system tells seven times slower, and only one that may open a file more and look at itself.
            let pagemap = if has_file { Some(std::fs::File::open("/proc/self/pagemap").ok()?) } else { None };
            let ranges = (0..self.len()).step_by(PAGES * PAGE).map(|from| (from, (self.len() - from).div_ceil(PAGE).min(PAGES)));
            let pages = match pagemap {
                Some(pagemap) => ranges.map(|(from, pages)| self.mapped_pages(&pagemap, from, pages)).sum::<usize>(),
                None => ranges.map(|(from, pages)| self.cached_pages(from, pages)).sum(),
            };
            Some((pages * PAGE) as u64)
        }
        #[cfg(any(not(target_os = "linux"), miri))]
        {
            let _ = has_file;
            None
        }
    }

    /// How many of `pages` pages are mapped, as `/proc/self/pagemap` says: a word for each, whose highest bit tells.
    #[cfg(all(target_os = "linux", not(miri)))]
    fn mapped_pages(&self, pagemap: &std::fs::File, from: usize, pages: usize) -> usize {
        use std::os::unix::fs::FileExt;
        let mut words = vec![0_u8; pages * 8];
        let told = pagemap.read_exact_at(&mut words, (self.at(from).addr() / PAGE * 8) as u64);
        if told.is_ok() { words.iter().skip(7).step_by(8).filter(|&&byte| byte & 0x80 != 0).count() } else { 0 }
    }

    /// How many of `pages` pages are in memory.
    #[cfg(all(target_os = "linux", not(miri)))]
    fn cached_pages(&self, from: usize, pages: usize) -> usize {
        let mut told = vec![0_u8; pages];
        let bytes = (self.len() - from).min(pages * PAGE);
        // SAFETY: R2: the range is inside the mapping, and there is a byte for each of its pages.
        let done = unsafe { libc::mincore(self.at(from).cast(), bytes, told.as_mut_ptr()) };
        if done == 0 { told.iter().filter(|&&page| page & 1 != 0).count() } else { 0 }
    }

    /// Gives a range back to the system, which may then read as zero. Whether the system took it: it does not if the program
    /// has locked all its memory.
    pub(crate) fn decommit(&self, offset: usize, bytes: usize) -> bool {
        matches!(self, Self::Mapped(mapped) if mapped.decommit(offset, bytes))
    }
}

/// Zeroed words from the system, for a while: for who may take nothing from the host.
pub(crate) struct Scratch(Mapped);

impl Scratch {
    pub(crate) fn new(words: usize) -> Result<Self> {
        Ok(Self(Mapped::anonymous(words.max(1) * size_of::<u64>(), "map memory to work in")?))
    }

    pub(crate) fn words(&mut self) -> &mut [u64] {
        let words = self.0.len() / size_of::<u64>();
        // SAFETY: R1: the words are the mapping's, zeroed and aligned to a page; it is this one's alone, which is borrowed as long.
        unsafe { core::slice::from_raw_parts_mut(self.0.base().as_ptr().cast(), words) }
    }
}

#[cfg(not(miri))]
pub(crate) struct Mapped(memmap2::MmapRaw);

#[cfg(not(miri))]
impl Mapped {
    fn anonymous(bytes: usize, what: &'static str) -> Result<Self> {
        let map = memmap2::MmapOptions::new().len(bytes).no_reserve_swap().map_anon().map_err(|error| refused(what, &error))?;
        Ok(Self(map.into()))
    }

    fn base(&self) -> NonNull<u8> {
        // A mapping never starts at address 0, so there is nothing to report here.
        NonNull::new(self.0.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn ask_for_huge_pages(&self, offset: usize, bytes: usize, wanted: bool) {
        #[cfg(target_os = "linux")]
        let _ = self.0.advise_range(if wanted { memmap2::Advice::HugePage } else { memmap2::Advice::NoHugePage }, offset, bytes);
        #[cfg(not(target_os = "linux"))]
        let _ = (offset, bytes, wanted);
    }

    fn lock(&self) -> Result<()> {
        #[cfg(unix)]
        let locked = self.0.lock();
        #[cfg(not(unix))]
        let locked: io::Result<()> = Err(io::ErrorKind::Unsupported.into());
        locked.map_err(|error| refused("lock the arena into memory", &error))
    }

    fn decommit(&self, offset: usize, bytes: usize) -> bool {
        #[cfg(unix)]
        // SAFETY: the range holds no block (the caller owns it), nor do the system's pages in which it lies (R3), and may read as zero
        // afterwards.
        let done = unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, bytes) }.is_ok();
        #[cfg(not(unix))]
        let (done, _) = (false, (offset, bytes));
        done
    }
}

#[cfg(miri)]
pub(crate) struct Mapped {
    base: NonNull<u8>,
    layout: core::alloc::Layout,
}

#[cfg(miri)]
impl Mapped {
    fn anonymous(bytes: usize, what: &'static str) -> Result<Self> {
        let layout = core::alloc::Layout::from_size_align(bytes, 4096).map_err(|_| Error::Capacity(bytes))?;
        // SAFETY: the layout is not empty: a region has at least one page of metadata, and `Scratch` a word.
        let base = unsafe { std::alloc::alloc_zeroed(layout) };
        let base = NonNull::new(base).ok_or_else(|| refused(what, &std::io::Error::from_raw_os_error(12)))?;
        Ok(Self { base, layout })
    }

    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.layout.size()
    }

    fn ask_for_huge_pages(&self, _offset: usize, _bytes: usize, _wanted: bool) {}

    fn lock(&self) -> Result<()> {
        Ok(())
    }

    fn decommit(&self, offset: usize, bytes: usize) -> bool {
        // SAFETY: R2: inside the allocation; the caller owns the range.
        unsafe { self.base.as_ptr().add(offset).write_bytes(0, bytes) };
        true
    }
}

#[cfg(miri)]
impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: allocated by `anonymous` with this layout.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}
