//! The records in memory, placed by one allocator or the other.
//!
//! ```text
//! | address of the next record to visit | spike time u32 | length u32 | content ...
//! 0                                     8                12           16
//! ```
//!
//! - **X1** a record is a block of its own, of [`size_of_record`] bytes, aligned to 16, and lives as long as its [`Store`].
//! - **X2** its header was written by [`Store::filled`], its content follows it and has the header's length.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{NonNull, null_mut};

use engram::{Arena, BatchFlags, ColumnId, Request, SpikeTime};

use super::records::{COLUMNS, Concept, Concepts};
use crate::failure::Failure;

/// The start of a record.
#[repr(C, align(16))]
pub struct Header {
    /// The record that is visited after this one; null after the last.
    pub next: *mut Header,
    /// When it spikes.
    pub spike_ns: u32,
    /// Bytes of content.
    pub length: u32,
}

const _: () = assert!(size_of::<Header>() == 16 || size_of::<usize>() != 8);

/// Capacity of an arena: sixteen times the records, so that no column, class and zone is short of a span. It costs nothing
/// until it is used.
const CAPACITY: usize = 256 << 20;

/// Bytes of a record with so much content.
pub const fn size_of_record(content: usize) -> usize {
    size_of::<Header>() + content
}

/// All records, and what they lie in.
pub struct Store {
    records: Vec<NonNull<Header>>,
    memory: Memory,
}

/// What records lie in.
enum Memory {
    /// Blocks of the system's, of these sizes, freed at the end.
    System(Vec<Layout>),
    /// An arena, closed at the end.
    Arena(Arena),
}

impl Store {
    /// One by one from the system's malloc, in the order of the file.
    pub fn malloc(concepts: &Concepts) -> Self {
        // SAFETY: 16 is a power of two, and no record overflows when rounded up. An alignment of 1 makes it `malloc`, which
        // aligns to 16 by itself where the machine's words are 8 bytes.
        let layout = |size| unsafe { Layout::from_size_align_unchecked(size, if cfg!(target_pointer_width = "64") { 1 } else { 16 }) };
        let layouts: Vec<_> = sizes(concepts).map(layout).collect();
        let blocks = layouts.iter().map(|layout| {
            // SAFETY: a record has at least its header.
            let block = unsafe { System.alloc(*layout) };
            NonNull::new(block).unwrap_or_else(|| std::alloc::handle_alloc_error(*layout))
        });
        let records = blocks.map(NonNull::cast).collect();
        Self { records, memory: Memory::System(layouts) }.filled(concepts)
    }

    /// One by one from columns that are held, in the order of the file, each with its spike time.
    ///
    /// # Errors
    /// [`Failure::Engram`] with what the arena says.
    pub fn singles(concepts: &Concepts) -> Result<Self, Failure> {
        let arena = open()?;
        let columns = (0..COLUMNS).map(|column| arena.column(ColumnId::new(column)));
        let columns = columns.collect::<engram::Result<Vec<_>>>().map_err(placing)?;
        let place =
            |(concept, size): (&Concept, usize)| columns[concept.column as usize].alloc(size, 16, SpikeTime::from_nanos(concept.spike_ns));
        let blocks = concepts.iter().zip(sizes(concepts)).map(place).collect::<engram::Result<Vec<_>>>().map_err(placing)?;
        drop(columns);
        let records = blocks.into_iter().map(NonNull::cast).collect();
        Ok(Self { records, memory: Memory::Arena(arena) }.filled(concepts))
    }

    /// All in one ordered batch.
    ///
    /// # Errors
    /// [`Failure::Engram`] with what the arena says.
    pub fn batch(concepts: &Concepts) -> Result<Self, Failure> {
        let arena = open()?;
        let request = |(concept, size): (&Concept, usize)| Request {
            size,
            align: 16,
            column: Some(ColumnId::new(concept.column)),
            spike: SpikeTime::from_nanos(concept.spike_ns),
        };
        let requests: Vec<_> = concepts.iter().zip(sizes(concepts)).map(request).collect();
        let mut blocks = vec![null_mut(); requests.len()];
        arena.alloc_batch(&requests, BatchFlags::ATOMIC | BatchFlags::ORDERED, &mut blocks).map_err(placing)?;
        let records = blocks.into_iter().filter_map(NonNull::new).map(NonNull::cast).collect();
        let store = Self { records, memory: Memory::Arena(arena) };
        if store.records.len() < concepts.len() {
            let missing = concepts.len() - store.records.len();
            return Err(Failure::Found(format!("wordnet: an atomic batch that was served lacks {missing} blocks")));
        }
        Ok(store.filled(concepts))
    }

    /// The record of each concept.
    pub fn records(&self) -> &[NonNull<Header>] {
        &self.records
    }

    /// The concepts' numbers in the order of their records' addresses.
    pub fn order_of_addresses(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.records.len() as u32).collect();
        order.sort_unstable_by_key(|index| self.records[*index as usize]);
        order
    }

    /// Bytes in spans handed to columns; 0 for malloc.
    pub fn committed(&self) -> u64 {
        match &self.memory {
            Memory::System(_) => 0,
            Memory::Arena(arena) => arena.metrics().bytes_committed,
        }
    }

    fn filled(self, concepts: &Concepts) -> Self {
        for (record, concept) in self.records.iter().zip(concepts.iter()) {
            let content = concepts.content(concept);
            // In range: the file is smaller than 4 GiB.
            let header = Header { next: null_mut(), spike_ns: concept.spike_ns, length: content.len() as u32 };
            // SAFETY: X1: the block is ours and holds the header and the content behind it.
            unsafe {
                record.write(header);
                record.add(1).cast::<u8>().copy_from_nonoverlapping(NonNull::from(content).cast(), content.len());
            }
        }
        self
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Memory::System(layouts) = &self.memory {
            for (record, layout) in self.records.iter().zip(layouts) {
                // SAFETY: X1: a live block of this layout, and nobody has it any more.
                unsafe { System.dealloc(record.cast().as_ptr(), *layout) };
            }
        }
    }
}

fn sizes(concepts: &Concepts) -> impl Iterator<Item = usize> {
    concepts.iter().map(|concept| size_of_record(concepts.content(concept).len()))
}

fn open() -> Result<Arena, Failure> {
    Arena::builder().capacity(CAPACITY).columns(COLUMNS).zones(true).build().map_err(placing)
}

fn placing(source: engram::Error) -> Failure {
    Failure::Engram { doing: "wordnet: the records cannot be placed".to_owned(), source }
}
