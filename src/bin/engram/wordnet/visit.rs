//! Visiting records: by a list of their addresses, or along the chain of those that they hold.

use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

use super::store::{Header, Store};

/// One sequence of visits to the records of a store, as a list and as a chain.
pub struct Visits<'a> {
    list: Vec<NonNull<Header>>,
    store: PhantomData<&'a Store>,
}

impl<'a> Visits<'a> {
    /// Chains the records in this sequence.
    pub fn new(store: &'a Store, sequence: &[u32]) -> Self {
        let list: Vec<_> = sequence.iter().map(|index| store.records()[*index as usize]).collect();
        let after = list.iter().skip(1).map(|record| record.as_ptr()).chain([null_mut()]);
        for (record, next) in list.iter().zip(after) {
            // SAFETY: X1, X2: a record of the store's; no walk is under way.
            unsafe { (*record.as_ptr()).next = next };
        }
        Self { list, store: PhantomData }
    }

    /// Visits all, along the chain or by the list; the sum of their contents.
    #[inline(never)]
    pub fn walk(&self, chained: bool) -> u64 {
        let mut sum = 0_u64;
        if chained {
            let mut record = self.list.first().map_or(null_mut(), |first| first.as_ptr());
            while let Some(here) = NonNull::new(record) {
                // SAFETY: X1, X2: a record of the store's, which lives.
                unsafe {
                    sum = sum.wrapping_add(visit(here));
                    record = here.as_ref().next;
                }
            }
        } else {
            for record in &self.list {
                // SAFETY: X1, X2: a record of the store's, which lives.
                sum = sum.wrapping_add(unsafe { visit(*record) });
            }
        }
        sum
    }
}

/// Reads all of a record.
///
/// # Safety
/// X1 and X2 hold for it.
#[inline]
unsafe fn visit(record: NonNull<Header>) -> u64 {
    // SAFETY: X2: the content follows the header and has its length.
    sum_of(unsafe {
        let length = record.as_ref().length as usize;
        std::slice::from_raw_parts(record.add(1).cast::<u8>().as_ptr(), length)
    })
}

/// The sum of all bytes as words of 8, the rest as one word.
#[inline]
pub fn sum_of(content: &[u8]) -> u64 {
    let words = content.chunks_exact(8);
    let rest = words.remainder();
    let sum = words.fold(0_u64, |sum, word| sum.wrapping_add(word.try_into().map_or(0, u64::from_le_bytes)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte) << 32))
}

/// What empties the caches: a walk that writes to every line of more memory than they hold.
pub struct Caches(Vec<u8>);

impl Caches {
    const BYTES: usize = 96 << 20;
    const LINE: usize = 64;

    /// The memory for it.
    pub fn new() -> Self {
        Self(vec![1; Self::BYTES])
    }

    /// Nothing that was cached before is cached after.
    pub fn flush(&mut self) {
        for line in self.0.iter_mut().step_by(Self::LINE) {
            *line = line.wrapping_add(1);
        }
        std::hint::black_box(&mut self.0);
    }
}
