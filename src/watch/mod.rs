//! Watching a region file, from any process, while it is open or not, and whatever it holds.
//!
//! ```text
//!  the arena's process                        who watches
//!  region file, mapped       --- pread --->   a copy of header and metadata, in memory of its own
//!                                             '-> the tables of an arena laid over it: metrics, map, checks
//! ```
//!
//! The file is opened to be read, and nothing of it is mapped: a mapped file that becomes shorter ends the process that
//! reads it (SIGBUS); a read that comes too late is an error. User memory is never read. Holes are passed over.
//!
//! Nobody is stopped for a copy, so what is read last may be newer than what was read first, and a file that somebody
//! damaged may say anything. Hence the invariants:
//! - **O1** nothing that a copy says is an index before it was compared with what there is. Numbers are added as they
//!   are, wrapping.
//! - **O2** a look changes nothing, and makes nobody wait: no lock is taken, but for a moment, beside others, to see
//!   whether the file is open ([`RegionView::state`]); who opens the file in that moment tries again.

use std::path::{Path, PathBuf};

use crate::arena::{ChunkView, Finding, Holdings};
use crate::column::core::Core;
use crate::error::Result;
use crate::map::ChunkId;
use crate::metrics::{Counts, Metrics};
use crate::region::header::{Found, ROOT_SLOTS, VERSION};
use crate::region::{RegionFile, is_open_elsewhere};
use crate::size_class::CHUNK;
use crate::sync::Ordering::Relaxed;

/// What a region file says of its arena, as it was at one moment. Reading it needs nothing of the arena's process.
///
/// ```
/// use engram::{Arena, RegionView, SpikeTime};
/// # fn main() -> engram::Result<()> {
/// # let path = std::env::temp_dir().join(format!("engram-doc-{}", std::process::id()));
/// let arena = Arena::builder().capacity(4 << 20).columns(2).path(&path).build()?;
/// let mut view = RegionView::open(&path)?;
/// assert_eq!(view.metrics().live_blocks(), 0);
/// arena.alloc(None, core::alloc::Layout::new::<[u64; 8]>(), SpikeTime::NONE)?;
/// view.refresh()?;
/// assert_eq!((view.metrics().live_blocks(), view.metrics().bytes_live), (1, 64));
/// # drop(arena);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok(())
/// # }
/// ```
pub struct RegionView {
    path: PathBuf,
    core: Core,
    found: Found,
    used: Vec<ChunkId>,
}

/// Whether a region is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionState {
    /// A process has it open.
    Open,
    /// It was closed.
    Closed,
    /// Nobody has it open, and nobody closed it: its process died. It is recovered when it is opened.
    Unclosed,
}

/// What a region file is. Sizes and places in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionInfo {
    /// Version of the format.
    pub version: u64,
    /// Whether it is in use.
    pub state: RegionState,
    /// Columns.
    pub columns: u32,
    /// User memory.
    pub capacity: u64,
    /// Rows of cells for spike zones: 8, or fewer in an arena that is small for its columns.
    pub zone_rows: u32,
    /// Length of the file.
    pub file_bytes: u64,
    /// Where user memory lies in it.
    pub user_memory: core::ops::Range<u64>,
    /// Where the metadata lies in it.
    pub metadata: core::ops::Range<u64>,
    /// The words that it keeps for its program.
    pub roots: [u64; ROOT_SLOTS],
}

/// What a column has, and what was done in it since the region was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnView {
    /// Its number.
    pub column: u32,
    /// Whether somebody holds it.
    pub held: bool,
    /// Blocks that are handed out.
    pub live_blocks: u64,
    /// Their bytes, rounded to their classes.
    pub bytes_live: u64,
    /// Spans of 32 KiB.
    pub spans: u64,
    /// Blocks given.
    pub allocs: u64,
    /// Blocks taken back.
    pub frees: u64,
    /// Of them, not through the column's handle.
    pub remote_frees: u64,
}

impl core::fmt::Debug for RegionView {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RegionView").field("path", &self.path).field("found", &self.found).finish_non_exhaustive()
    }
}

impl RegionView {
    /// Looks at the region file at `path`.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File), [`Error::Format`](crate::Error::Format).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let (core, found) = Core::look(&path)?;
        let used = core.used_chunks();
        Ok(Self { path, core, found, used })
    }

    /// Whether the file at `path` begins as a region file does: also one that is damaged, or of another version of the format.
    pub fn is_region(path: impl AsRef<Path>) -> bool {
        let header = RegionFile::look(path.as_ref()).and_then(|file| file.header());
        header.is_ok_and(|header| header.is_some_and(|header| header.has_magic()))
    }

    /// Looks again. If it is refused, what was seen before is still there.
    ///
    /// # Errors
    /// As [`RegionView::open`].
    pub fn refresh(&mut self) -> Result<()> {
        *self = Self::open(self.path.clone())?;
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the region is in use: whether it is open is asked now.
    pub fn state(&self) -> RegionState {
        match self.found {
            // O2: a lock that others may have at the same time is tried for a moment.
            _ if is_open_elsewhere(&self.path).unwrap_or(false) => RegionState::Open,
            Found::Closed(_) => RegionState::Closed,
            _ => RegionState::Unclosed,
        }
    }

    /// What the file is.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File).
    pub fn info(&self) -> Result<RegionInfo> {
        let (extent, rows) = (self.core.region.extent(), self.core.rows());
        let file_bytes = self.core.region.file().map_or(Ok(extent.bytes()), crate::region::RegionFile::bytes)?;
        let range = |start: usize, bytes: usize| start as u64..(start + bytes) as u64;
        Ok(RegionInfo {
            version: VERSION,
            state: self.state(),
            columns: self.core.column_count(),
            capacity: (extent.chunks * CHUNK) as u64,
            zone_rows: rows.zones() as u32,
            file_bytes: file_bytes as u64,
            user_memory: range(extent.data, extent.chunks * CHUNK),
            metadata: range(extent.metadata, extent.metadata_bytes),
            roots: core::array::from_fn(|slot| self.core.header.root(slot).map_or(0, |word| word.load(Relaxed))),
        })
    }

    /// Metrics, as [`Arena::metrics`](crate::Arena::metrics), but that bytes are counted in the maps.
    pub fn metrics(&self) -> Metrics {
        let mut all = (Counts::default(), Holdings::default());
        for (_, counts, holdings) in self.columns_with_counts() {
            all = (all.0.and(counts), all.1.and(holdings));
        }
        self.core.metrics_of(all.0, all.1.spans, all.1.bytes, self.core.counters().peak.load(Relaxed))
    }

    /// The columns that were ever used, in order.
    pub fn columns(&self) -> Vec<ColumnView> {
        self.columns_with_counts()
            .map(|(column, counts, holdings)| ColumnView {
                column,
                held: self.core.block(column).open.lease.is_held(),
                live_blocks: holdings.blocks,
                bytes_live: holdings.bytes,
                spans: holdings.spans,
                allocs: counts.allocs,
                frees: counts.frees,
                remote_frees: counts.remote,
            })
            .collect()
    }

    fn columns_with_counts(&self) -> impl Iterator<Item = (u32, Counts, Holdings)> + '_ {
        let all = self.core.holdings(&self.used);
        let mut known = vec![false; all.len()];
        for index in self.core.used_columns() {
            if let Some(known) = known.get_mut(index as usize) {
                *known = true;
            }
        }
        (0..)
            .zip(all)
            .zip(known)
            .filter(|((_, holdings), known)| *known || holdings.spans != 0)
            .map(|((index, holdings), _)| (index, self.core.counts(index), holdings))
    }

    /// What each chunk and span serves, in address order.
    pub fn map(&self) -> Vec<ChunkView> {
        self.core.picture(&self.used)
    }

    /// The invariants that do not hold, up to `most` findings of each. While a process has the region open some of them say no
    /// more than that it was moving: those that are found in copy after copy are to be believed.
    pub fn findings(&self, most: usize) -> Vec<Finding> {
        self.core.findings(&self.used, most)
    }
}

#[cfg(all(test, unix))]
mod tests;
