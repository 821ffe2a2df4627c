//! Anonymous memory from the system, by way of memmap2. Under Miri, which has no real mappings,
//! zeroed heap memory stands in.

use crate::error::{Error, Result};
use core::ptr::NonNull;

fn refused(what: &'static str, error: &std::io::Error) -> Error {
    Error::Os { what, code: error.raw_os_error().unwrap_or(0) }
}

#[cfg(not(miri))]
pub(crate) struct Mapping {
    map: memmap2::MmapRaw,
}

#[cfg(not(miri))]
impl Mapping {
    /// Maps `bytes` of zeroed memory without reserving swap for it.
    pub(crate) fn anonymous(bytes: usize) -> Result<Self> {
        let map = memmap2::MmapOptions::new()
            .len(bytes)
            .no_reserve_swap()
            .map_anon()
            .map_err(|error| refused("map the arena's address space", &error))?;
        Ok(Self { map: map.into() })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        // A mapping never starts at address 0, so there is nothing to report here.
        NonNull::new(self.map.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    /// Bytes mapped.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Asks for huge pages; where the system has none, ordinary ones serve.
    pub(crate) fn ask_for_huge_pages(&self, offset: usize, bytes: usize) {
        #[cfg(target_os = "linux")]
        let _ = self.map.advise_range(memmap2::Advice::HugePage, offset, bytes);
        #[cfg(not(target_os = "linux"))]
        let _ = (offset, bytes);
    }

    /// Keeps the whole mapping in memory.
    pub(crate) fn lock(&self) -> Result<()> {
        self.map.lock().map_err(|error| refused("lock the arena into memory", &error))
    }

    /// Touches every page of a range, so that later accesses do not fault.
    pub(crate) fn prefault(&self, offset: usize, bytes: usize) {
        for page in (offset..offset + bytes).step_by(4096) {
            // SAFETY: R2: the range is inside the mapping, and no thread but this one knows it yet.
            unsafe { self.base().as_ptr().add(page).write_volatile(0) };
        }
    }

    /// Bytes of the mapping's pages that are in memory. Calls the system once for each 64 MiB.
    pub(crate) fn resident_bytes(&self) -> u64 {
        #[cfg(target_os = "linux")]
        {
            const PAGE: usize = 4096;
            let mut resident = 0;
            let mut pages = vec![0_u8; 1 << 14];
            for offset in (0..self.len()).step_by(pages.len() * PAGE) {
                let bytes = (self.len() - offset).min(pages.len() * PAGE);
                // SAFETY: R2: the range is inside the mapping, and there is a byte for each of its pages.
                if unsafe { libc::mincore(self.base().as_ptr().add(offset).cast(), bytes, pages.as_mut_ptr()) } == 0 {
                    resident += pages[..bytes.div_ceil(PAGE)].iter().filter(|&&page| page & 1 != 0).count() * PAGE;
                }
            }
            resident as u64
        }
        // Elsewhere nobody can tell: all of it.
        #[cfg(not(target_os = "linux"))]
        {
            self.len() as u64
        }
    }

    /// Gives a range back to the system. If the system refuses, the memory stays, which is allowed.
    pub(crate) fn decommit(&self, offset: usize, bytes: usize) {
        #[cfg(unix)]
        // SAFETY: the range holds no block (the caller owns the chunk) and may read as zero afterwards.
        let _ = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, bytes) };
        #[cfg(not(unix))]
        let _ = (offset, bytes);
    }
}

#[cfg(miri)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    layout: core::alloc::Layout,
}

#[cfg(miri)]
impl Mapping {
    pub(crate) fn anonymous(bytes: usize) -> Result<Self> {
        let layout = core::alloc::Layout::from_size_align(bytes, 4096).map_err(|_| Error::Capacity(bytes))?;
        // SAFETY: the layout is not empty: a region has at least one page of metadata.
        let base = unsafe { std::alloc::alloc_zeroed(layout) };
        let base = NonNull::new(base).ok_or_else(|| refused("map", &std::io::Error::from_raw_os_error(12)))?;
        Ok(Self { base, layout })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.layout.size()
    }

    pub(crate) fn ask_for_huge_pages(&self, _offset: usize, _bytes: usize) {}

    pub(crate) fn lock(&self) -> Result<()> {
        Ok(())
    }

    pub(crate) fn prefault(&self, _offset: usize, _bytes: usize) {}

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.len() as u64
    }

    pub(crate) fn decommit(&self, offset: usize, bytes: usize) {
        // SAFETY: R2: inside the allocation; the caller owns the range.
        unsafe { self.base.as_ptr().add(offset).write_bytes(0, bytes) };
    }
}

#[cfg(miri)]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: allocated by `anonymous` with this layout.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}
