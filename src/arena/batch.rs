//! Many blocks in one call, the earliest spike first.
//!
//! Nothing is allocated for it: the order of serving is sorted in the output array, and the number
//! of the request that a block serves is written into the block itself until the end.
//!
//! ```text
//! 1  out = request numbers, sorted by spike time (ties: as given)        5 3 0 1 ...
//! 2  each in turn: out[k] = block, number -> block's first word          A B - C ...   (5)(3) 0 (1)
//! 3  ordered: within a column and size class, sort the addresses         C A - B ...   (5)(3) 0 (1)
//! 4  each block to the place of its number, null where refused           0:- 1:B 3:A 5:C
//! ```
//!
//! Requests of one kind that are in spike order as given need none of this: blocks fill the output from the front.

use super::Arena;
use super::alike::are_alike;
use crate::column::core::{Core, asked_for};
use crate::column::unusual::Route;
use crate::column::{ColumnId, Leased};
use crate::error::{Error, Result};
use crate::size_class::{CLASS_COUNT, GRANULE};
use crate::spike::SpikeTime;
use crate::sync::Ordering::Relaxed;

/// One allocation of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bytes, 1 to the capacity.
    pub size: usize,
    /// A power of two up to 2 MiB; 0 means 16.
    pub align: usize,
    /// The column, `None` for the calling thread's home column, or any other if that has no memory for it.
    pub column: Option<ColumnId>,
    /// How urgent it is.
    pub spike: SpikeTime,
}

/// How a batch is served; combine with `|`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct BatchFlags(u32);

impl BatchFlags {
    /// All or none.
    pub const ATOMIC: Self = Self(1);
    /// Within a column and size class, addresses ascend with spike time; from untouched memory if there is some. (Above 256 KiB: within a
    /// column, size in spans of 32 KiB and alignment, all up to 16 bytes being one.)
    pub const ORDERED: Self = Self(2);

    /// No flag.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// From the C face's bits.
    pub(crate) fn from_bits(bits: u32) -> Result<Self> {
        let known = Self::ATOMIC.0 | Self::ORDERED.0;
        if bits & !known == 0 { Ok(Self(bits)) } else { Err(Error::Flags { unknown: bits & !known, known }) }
    }
}

impl core::ops::BitOr for BatchFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const _: () = assert!(CLASS_COUNT <= u128::BITS as usize);

/// Requests of a batch at most.
pub(crate) const REQUESTS_MAX: usize = 1 << 31;

/// An entry of the output while a batch is served: a request, its spike above its number and a set bit, so that entries
/// are in spike order as they are; or a block (even).
#[derive(Clone, Copy, PartialEq, Eq)]
struct OutEntry(*mut u8);

impl OutEntry {
    fn new(spike: SpikeTime, index: usize) -> Self {
        Self(core::ptr::without_provenance_mut((spike.raw() as usize) << 32 | index << 1 | 1))
    }

    fn is_block(self) -> bool {
        self.0.addr() & 1 == 0
    }

    /// The number of the request that it stands for.
    fn request(self) -> usize {
        if self.is_block() {
            // SAFETY: a block that this batch has just allocated: ours, and at least 16 bytes.
            unsafe { self.0.cast::<usize>().read() }
        } else {
            (self.0.addr() as u32 >> 1) as usize
        }
    }

    /// Makes the block stand for a request.
    fn set_request(self, index: usize) {
        // SAFETY: as in `request`; only called for blocks.
        unsafe { self.0.cast::<usize>().write(index) };
    }

    /// The number of its column and what served it: blocks of the same may stand for each other. That of refusals comes last.
    fn group(self) -> u64 {
        // SAFETY: as in `request`; written by `set_group` before.
        if self.is_block() { unsafe { self.0.cast::<u64>().add(1).read() } } else { u64::MAX }
    }

    /// Remembers a block's group in its second word.
    fn set_group(self, group: u64) {
        // SAFETY: as in `request`: the block has at least 16 bytes; only called for blocks.
        unsafe { self.0.cast::<u64>().add(1).write(group) };
    }
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) blocks: usize,
    /// The first refusal in the order of serving.
    pub(crate) refused: Option<Error>,
}

impl Arena {
    /// Allocates many blocks, the earliest spike first: `out[i]` answers `requests[i]`, null where
    /// refused. Lock-free, no system call, nothing allocated on the side; takes time that grows
    /// with `n log n`. Returns how many were served: all of them.
    ///
    /// # Errors
    /// [`Error::OutLength`], [`Error::BatchLength`], or the first refusal in the order of serving: then, with
    /// [`BatchFlags::ATOMIC`], every `out[i]` is null; without, the others are served.
    pub fn alloc_batch(&self, requests: &[Request], flags: BatchFlags, out: &mut [*mut u8]) -> Result<usize> {
        let served = self.serve_batch(requests, flags, out)?;
        served.refused.map_or(Ok(served.blocks), Err)
    }

    /// As above, for requests in whatever form.
    pub(crate) fn serve_batch<R: AsRequest>(&self, requests: &[R], flags: BatchFlags, out: &mut [*mut u8]) -> Result<Served> {
        let count = requests.len();
        if count != out.len() {
            return Err(Error::OutLength { out: out.len(), requests: count });
        }
        if count > REQUESTS_MAX {
            return Err(Error::BatchLength(count));
        }
        self.core.counters().batches.fetch_add(1, Relaxed);
        let ordered = flags.contains(BatchFlags::ORDERED);
        let mut server = Server { arena: self, leased: None, ordered, in_order: false };
        let served = match requests.first() {
            Some(&first) if are_alike(requests, ordered) => server.serve_alike(first.request(), out),
            _ => server.serve_mixed(requests, out, flags.contains(BatchFlags::ATOMIC)),
        };
        server.give_back();
        if served.refused.is_some() {
            let atomic = flags.contains(BatchFlags::ATOMIC);
            self.core.counters().failed.fetch_add(if atomic { 1 } else { (count - served.blocks) as u64 }, Relaxed);
            if atomic {
                self.roll_back(out);
                return Ok(Served { blocks: 0, ..served });
            }
        }
        Ok(served)
    }

    /// Frees what the batch was given.
    fn roll_back(&self, out: &mut [*mut u8]) {
        for block in out {
            if !block.is_null() {
                // Cannot be refused: the block was allocated a moment ago.
                let freed = self.core.free_for(*block);
                debug_assert!(freed.is_ok());
                *block = core::ptr::null_mut();
            }
        }
    }
}

/// A request in three words: the size, the alignment, and the spike time above the column. All those for any column are the same
/// there, and no others are like them.
pub(crate) type Words = [u64; 3];

/// A request in the form that a face has.
pub(crate) trait AsRequest: Copy {
    fn request(self) -> Request;
    fn words(self) -> Words;

    /// The words of each of some requests: of all, or if they have another form, of as many as the buffer holds.
    #[inline(always)]
    fn words_of<'a>(requests: &'a [Self], buffer: &'a mut [Words; RUN]) -> &'a [Words] {
        for (words, request) in buffer.iter_mut().zip(requests) {
            *words = request.words();
        }
        &buffer[..requests.len().min(RUN)]
    }
}

impl AsRequest for Request {
    #[inline(always)]
    fn request(self) -> Request {
        self
    }

    #[inline(always)]
    fn words(self) -> Words {
        // No arena has the last two columns: whichever of them is asked for, it is refused.
        let column = self.column.map_or(u32::MAX, |column| column.index().min(u32::MAX - 1));
        [self.size as u64, self.align as u64, u64::from(self.spike.raw()) << 32 | u64::from(column)]
    }
}

impl Request {
    /// Whether the same blocks serve both, whatever their spike times.
    fn is_like(&self, other: &Self) -> bool {
        self.size == other.size && self.align == other.align && self.column == other.column
    }
}

/// Whether the blocks of each group lie in address order, as far as can be told without sorting them.
fn lie_in_order(out: &[*mut u8]) -> bool {
    let mut last = [(u64::MAX, core::ptr::null_mut()); GROUPS_TOLD_APART];
    out.iter().filter(|&&entry| OutEntry(entry).is_block()).all(|&block| {
        let group = OutEntry(block).group();
        let seen = &mut last[group as usize % GROUPS_TOLD_APART];
        let in_order = seen.0 == u64::MAX || (seen.0 == group && seen.1 < block);
        *seen = (group, block);
        in_order
    })
}

/// As many groups as one column has, and then some.
const GROUPS_TOLD_APART: usize = 256;

/// Within each group, gives the lowest address to the earliest spike.
fn order_addresses<R: AsRequest>(out: &mut [*mut u8], requests: &[R]) {
    let group = |entry: *mut u8| OutEntry(entry).group();
    out.sort_unstable_by_key(|&entry| {
        let index = OutEntry(entry).request();
        (group(entry), requests[index].request().spike, index)
    });
    for same in out.chunk_by_mut(|&a, &b| group(a) == group(b)) {
        sort_addresses_of_group(same);
    }
}

/// Sorts the addresses of a group, unless it is one of refusals or in order already.
fn sort_addresses_of_group(group: &mut [*mut u8]) {
    if group.first().is_some_and(|&first| OutEntry(first).is_block()) && !group.is_sorted() {
        sort_addresses(group);
    }
}

/// Sorts blocks by address; the request numbers in them stay in place.
fn sort_addresses(blocks: &mut [*mut u8]) {
    let swap = |blocks: &mut [*mut u8], a: usize, b: usize| {
        let (at_a, at_b) = (OutEntry(blocks[a]).request(), OutEntry(blocks[b]).request());
        blocks.swap(a, b);
        OutEntry(blocks[a]).set_request(at_a);
        OutEntry(blocks[b]).set_request(at_b);
    };
    // A heap sort: in place, and n log n whatever the order.
    let sift = |blocks: &mut [*mut u8], mut root: usize, end: usize| {
        while root * 2 + 1 < end {
            let mut child = root * 2 + 1;
            if child + 1 < end && blocks[child] < blocks[child + 1] {
                child += 1;
            }
            if blocks[root] >= blocks[child] {
                return;
            }
            swap(blocks, root, child);
            root = child;
        }
    };
    for root in (0..blocks.len() / 2).rev() {
        sift(blocks, root, blocks.len());
    }
    for end in (1..blocks.len()).rev() {
        swap(blocks, 0, end);
        sift(blocks, 0, end);
    }
}

/// Moves each entry to the place of its request, and clears the numbers.
fn settle(out: &mut [*mut u8]) {
    for place in 0..out.len() {
        loop {
            let index = OutEntry(out[place]).request();
            if index == place {
                break;
            }
            out.swap(place, index);
        }
    }
    for entry in out {
        if OutEntry(*entry).is_block() {
            OutEntry(*entry).set_request(0);
            OutEntry(*entry).set_group(0);
        } else {
            *entry = core::ptr::null_mut();
        }
    }
}

/// Requests that are looked at together.
pub(crate) const RUN: usize = 64;

/// Serves the requests of a batch, keeping the lease of a column for as long as they stay in it.
struct Server<'a> {
    arena: &'a Arena,
    leased: Option<Leased<'a>>,
    ordered: bool,
    /// Whether the blocks that were served last, with one handle, are known to ascend.
    in_order: bool,
}

impl<'a> Server<'a> {
    /// Serves requests of one kind, which are in spike order.
    fn serve_alike(&mut self, request: Request, out: &mut [*mut u8]) -> Served {
        let (blocks, refused) = self.serve(request, out);
        let (blocks_out, rest) = out.split_at_mut(blocks);
        rest.fill(core::ptr::null_mut());
        if self.ordered && !self.in_order {
            blocks_out.sort_unstable();
        }
        Served { blocks, refused }
    }

    /// Serves requests of many kinds, the earliest spike first.
    fn serve_mixed<R: AsRequest>(&mut self, requests: &[R], out: &mut [*mut u8], atomic: bool) -> Served {
        let aligned = if self.ordered { self.aligned_classes(requests) } else { 0 };
        for (index, (entry, request)) in out.iter_mut().zip(requests).enumerate() {
            *entry = OutEntry::new(request.request().spike, index).0;
        }
        out.sort_unstable();
        let mut served = Served { blocks: 0, refused: None };
        let (mut numbers, mut place) = ([0; RUN], 0);
        while place < out.len() && !(atomic && served.refused.is_some()) {
            let first = requests[OutEntry(out[place]).request()].request();
            let mut run = 0;
            for (number, &entry) in numbers.iter_mut().zip(&out[place..]) {
                *number = OutEntry(entry).request();
                let next = requests[*number].request();
                if !(first.is_like(&next) && (self.ordered || first.spike == next.spike)) {
                    break;
                }
                run += 1;
            }
            let part = &mut out[place..place + run];
            let kind = if aligned == 0 { first } else { self.aligned_as(first, aligned) };
            let (blocks, refused) = self.serve(kind, part);
            let refused = refused.map(|error| asked_for(error, first.size, first.align));
            let served_by = if self.ordered { self.arena.core.served_by(kind.size, kind.align) } else { 0 };
            let group = |column: u32| u64::from(column) << 40 | served_by;
            let named = if self.ordered { first.column.map(|column| group(column.index())) } else { Some(0) };
            for (&entry, &number) in part[..blocks].iter().zip(&numbers) {
                OutEntry(entry).set_request(number);
                OutEntry(entry).set_group(named.unwrap_or_else(|| group(self.column_of(entry))));
            }
            served.blocks += blocks;
            served.refused = served.refused.or(refused);
            place += run;
        }
        if self.ordered && !lie_in_order(out) {
            order_addresses(out, requests);
        }
        settle(out);
        served
    }

    /// Fills `out` with blocks of one kind, from the front; how many were served, and why not more.
    fn serve(&mut self, request: Request, out: &mut [*mut u8]) -> (usize, Option<Error>) {
        let index = match self.arena.column_or_home(request.column) {
            Ok(index) => index,
            Err(error) => return (0, Some(error)),
        };
        match self.serve_in(index, request, out) {
            (served, Some(error)) => self.serve_from_any(request, out, served, error),
            (served, None) => (served, None),
        }
    }

    /// Goes on, after so many were served and `error` came, with slots of whatever column, if the request names none.
    #[cold]
    fn serve_from_any(&mut self, request: Request, out: &mut [*mut u8], served: usize, error: Error) -> (usize, Option<Error>) {
        let refused = Some(asked_for(error, request.size, request.align));
        if request.column.is_some() || !matches!(error, Error::NoMemory { .. }) {
            return (served, refused);
        }
        self.give_back();
        self.in_order = false;
        for (more, place) in out[served..].iter_mut().enumerate() {
            match self.arena.core.alloc_from_any(request.size, request.align, request.spike.raw()) {
                Some(block) => *place = block.as_ptr(),
                None => return (served + more, refused),
            }
        }
        (out.len(), None)
    }

    /// As `serve`, of column `index` alone.
    fn serve_in(&mut self, index: u32, request: Request, out: &mut [*mut u8]) -> (usize, Option<Error>) {
        let core: &'a Core = &self.arena.core;
        if self.leased.as_ref().is_none_or(|handle| handle.index() != index) {
            self.give_back();
            self.leased = core.lease(index);
        }
        let (size, align, spike) = (request.size, request.align, request.spike.raw());
        let Some(handle) = &self.leased else {
            for (served, place) in out.iter_mut().enumerate() {
                match core.alloc_without_lease(index, size, align, spike) {
                    Ok(block) => *place = block.as_ptr(),
                    Err(error) => return (served, Some(error)),
                }
            }
            return (out.len(), None);
        };
        let served = if self.ordered {
            let (served, in_order) = handle.alloc_many_ordered(size, align, spike, out);
            self.in_order = in_order;
            served
        } else {
            handle.alloc_many(size, align, spike, out)
        };
        (served, (served < out.len()).then(|| handle.error()))
    }

    /// The size classes, a bit each, in which a request asks for an alignment above 16 bytes.
    fn aligned_classes<R: AsRequest>(&self, requests: &[R]) -> u128 {
        requests.iter().filter(|request| request.words()[1] > GRANULE as u64).fold(0, |classes, request| {
            let request = request.request();
            match self.arena.core.route(request.size, request.align, u32::MAX) {
                Ok(Route::Cell(id)) => classes | 1 << id.class(),
                _ => classes,
            }
        })
    }

    /// The request, or one that asks for an alignment too, if its size class is one of these: blocks for any alignment come from the
    /// same cell then, and may stand for each other. (All slots of a class are aligned alike.)
    fn aligned_as(&self, request: Request, classes: u128) -> Request {
        match self.arena.core.route(request.size, request.align, u32::MAX) {
            Ok(Route::Cell(id)) if classes >> id.class() & 1 != 0 => Request { align: request.align.max(2 * GRANULE), ..request },
            _ => request,
        }
    }

    /// The column of a block that was just allocated.
    #[cold]
    fn column_of(&self, block: *mut u8) -> u32 {
        let core = &self.arena.core;
        core.granule(block).and_then(|granule| core.place(granule).owner.index()).expect("a block of ours lies in a column")
    }

    fn give_back(&mut self) {
        if let Some(handle) = self.leased.take() {
            handle.end();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
