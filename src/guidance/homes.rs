//! Homes: the column of each concept, how many concepts each column has, and how many it may have.
//!
//! Reading is wait-free. Entering claims a place with one compare-and-swap loop on the column's count
//! (lock-free), so that threads that enter at the same time cannot overfill a column together.
//!
//! Columns are balanced: with `n` concepts in `k` columns none may have more than
//!
//! ```text
//! C = SLACK * n / k,   SLACK = 1.1,   but at least ROOMY
//! ```
//!
//! A limit that grew from zero with `n` would scatter the first concepts over all columns, and with
//! them everything that is placed near them later. So the first [`ROOMY`] concepts of a column are
//! free. Maintenance leaves these alone as well: spreading them evenly would separate neighbours that arrival placed together.
//! It evens out what is above the limit because others have gone.
//!
//! Invariants
//! - **D1** a column's count is the number of concepts whose home it is, and of claims in flight.
//! - **D2** [`Homes::try_enter`] leaves no column above the limit that held when it looked.
//! - **D3** a number that [was seen](Homes::was_seen) is still the concept's that it was then: whoever comes is unseen.

use core::alloc::Layout;
use std::sync::OnceLock;

use crate::guidance::list_of;
use crate::sync::AtomicU32;
use crate::sync::Ordering::{AcqRel, Relaxed};

/// No column: the concept is not placed.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Concepts that a column may have before balance matters.
const ROOMY: u32 = 64;

/// Concept numbers there are: a number from here on has no home.
pub const CONCEPTS: u32 = 1 << 28;
/// Homes of a shelf, shelves of a hall, halls: as powers of two, [`CONCEPTS`] together. A first home
/// makes a shelf of 4 KiB and a hall of 12 KiB at most, so that none takes long.
const SHELF: u32 = 10;
const HALL: u32 = 9;
const HALLS: u32 = 9;
const _: () = assert!(1 << (SHELF + HALL + HALLS) == CONCEPTS);

/// Set in a concept's home once a plan has seen it there. There are fewer columns.
const SEEN: u32 = 1 << 31;

/// One more than the column of each concept, or 0; and [`SEEN`].
type Shelf = Box<[AtomicU32]>;
/// Made when a concept first needs it.
type Lazily<T> = Box<[OnceLock<T>]>;

/// `SLACK * live / columns`.
fn balanced(live: u32, columns: u32) -> u32 {
    let balanced = u64::from(live) * 11 / (u64::from(columns) * 10);
    balanced.min(u64::from(u32::MAX)) as u32
}

/// Where each concept lives. Concepts are dense numbers: the highest decides how much memory is taken.
pub(crate) struct Homes {
    halls: Lazily<Lazily<Shelf>>,
    loads: Box<[AtomicU32]>,
    live: AtomicU32,
    /// One more than the highest number that ever had a home.
    numbers: AtomicU32,
    /// Concepts that [were seen](Self::was_seen) and went; it begins anew with 0.
    gone: AtomicU32,
}

/// What a home says.
const fn column_of(home: u32) -> u32 {
    (home & !SEEN).wrapping_sub(1)
}

fn lazily<T>(count: u32) -> Lazily<T> {
    (0..1 << count).map(|_| OnceLock::new()).collect()
}

/// Hall, shelf and place of a concept's home.
const fn address(concept: u32) -> (usize, usize, usize) {
    ((concept >> (SHELF + HALL)) as usize, (concept >> SHELF) as usize % (1 << HALL), concept as usize % (1 << SHELF))
}

impl Homes {
    /// Nobody lives in any of `columns` columns. The layout of what there is no host memory for is an error.
    pub(crate) fn try_new(columns: u32) -> Result<Self, Layout> {
        let loads = list_of(columns.max(1), || AtomicU32::new(0))?;
        Ok(Self { halls: lazily(HALLS), loads, live: AtomicU32::new(0), numbers: AtomicU32::new(0), gone: AtomicU32::new(0) })
    }

    /// Columns there are.
    pub(crate) fn columns(&self) -> u32 {
        self.loads.len() as u32
    }

    /// Concepts that are placed.
    pub(crate) fn live(&self) -> u32 {
        self.live.load(Relaxed)
    }

    /// One more than the highest number that ever had a home.
    pub(crate) fn numbers(&self) -> u32 {
        self.numbers.load(Relaxed)
    }

    /// Concepts that [were seen](Self::was_seen) and went; it begins anew with 0.
    pub(crate) fn gone(&self) -> u32 {
        self.gone.load(Relaxed)
    }

    /// Concepts in `column`.
    pub(crate) fn load(&self, column: u32) -> u32 {
        self.loads.get(column as usize).map_or(u32::MAX, |load| load.load(Relaxed))
    }

    /// The column with the fewest concepts (ties: the lowest number), and how many those are.
    pub(crate) fn roomiest(&self) -> (u32, u32) {
        let mut best = (0, u32::MAX);
        for (column, load) in self.loads.iter().enumerate() {
            let load = load.load(Relaxed);
            if load < best.1 {
                best = (column as u32, load);
            }
        }
        best
    }

    /// Concepts in the fullest column.
    pub(crate) fn fullest(&self) -> u32 {
        self.loads.iter().map(|load| load.load(Relaxed)).max().unwrap_or(0)
    }

    /// What a column may have once one more concept is placed.
    pub(crate) fn limit_for_one_more(&self) -> u32 {
        self.limit_of(self.live().saturating_add(1))
    }

    /// What a column may have if `live` concepts are placed: the `C` of the module's documentation.
    pub(crate) fn limit_of(&self, live: u32) -> u32 {
        balanced(live, self.columns()).max(ROOMY)
    }

    /// The concept's column, [`NOWHERE`] if it is not placed.
    pub(crate) fn column(&self, concept: u32) -> u32 {
        let (hall, shelf, place) = address(concept);
        let shelf = self.halls.get(hall).and_then(OnceLock::get).and_then(|hall| hall[shelf].get());
        shelf.map_or(NOWHERE, |shelf| column_of(shelf[place].load(Relaxed)))
    }

    /// The same, and from now on the concept [was seen](Self::was_seen).
    pub(crate) fn see(&self, concept: u32) -> u32 {
        let (hall, shelf, place) = address(concept);
        let Some(shelf) = self.halls.get(hall).and_then(OnceLock::get).and_then(|hall| hall[shelf].get()) else { return NOWHERE };
        let home = shelf[place].load(Relaxed);
        // Who goes at this moment takes the mark along (D3).
        column_of(if home & SEEN == 0 { shelf[place].fetch_or(SEEN, Relaxed) } else { home })
    }

    /// Whether it was [seen](Self::see) since it came, however often it has moved: if not, the number was another's then, or nobody's (D3).
    pub(crate) fn was_seen(&self, concept: u32) -> bool {
        let (hall, shelf, place) = address(concept);
        let shelf = self.halls.get(hall).and_then(OnceLock::get).and_then(|hall| hall[shelf].get());
        shelf.is_some_and(|shelf| shelf[place].load(Relaxed) & SEEN != 0)
    }

    /// The column that `column` takes the place of. `concept` is below [`CONCEPTS`].
    fn set(&self, concept: u32, column: u32) -> u32 {
        let (hall, shelf, place) = address(concept);
        let hall = self.halls[hall].get_or_init(|| lazily(HALL));
        let shelf = hall[shelf].get_or_init(|| (0..1 << SHELF).map(|_| AtomicU32::new(0)).collect());
        // Who changes a home is the only one to, but may be seen meanwhile, and then was not.
        let home = shelf[place].load(Relaxed);
        let seen = if column == NOWHERE || column_of(home) == NOWHERE { 0 } else { home & SEEN };
        // Acquire and release: who takes a home away sees the count that it was entered with, so that no
        // count falls below 0 on the way.
        column_of(shelf[place].swap(column.wrapping_add(1) | seen, AcqRel))
    }

    /// Makes `column` the home of a concept if it has room, counted with this concept (D2), or is its home.
    pub(crate) fn try_enter(&self, concept: u32, column: u32) -> bool {
        if concept >= CONCEPTS {
            return false;
        }
        if column != NOWHERE && self.column(concept) == column {
            return true;
        }
        let limit = self.limit_for_one_more();
        let Some(load) = self.loads.get(column as usize) else { return false };
        if load.fetch_update(Relaxed, Relaxed, |load| (load < limit).then(|| load + 1)).is_err() {
            return false;
        }
        self.moved_in(concept, column);
        true
    }

    /// Makes `column` the home of a concept, room or not: it lies there already. Columns that do not
    /// exist are nobody's home, and numbers from [`CONCEPTS`] on have none.
    pub(crate) fn enter(&self, concept: u32, column: u32) {
        if concept >= CONCEPTS {
            return;
        }
        if let Some(load) = self.loads.get(column as usize) {
            load.fetch_add(1, Relaxed);
            self.moved_in(concept, column);
        }
    }

    /// `column` has counted the concept already; its old home must not any longer.
    fn moved_in(&self, concept: u32, column: u32) {
        if self.numbers() <= concept {
            self.numbers.fetch_max(concept.saturating_add(1), Relaxed);
        }
        match self.set(concept, column) {
            NOWHERE => self.live.fetch_add(1, Relaxed),
            old => self.loads[old as usize].fetch_sub(1, Relaxed),
        };
    }

    /// The concept is placed nowhere any more.
    pub(crate) fn leave(&self, concept: u32) {
        if self.column(concept) == NOWHERE {
            return;
        }
        let was_seen = self.was_seen(concept);
        let old = self.set(concept, NOWHERE);
        if old != NOWHERE {
            self.gone.fetch_add(u32::from(was_seen), Relaxed);
            self.loads[old as usize].fetch_sub(1, Relaxed);
            self.live.fetch_sub(1, Relaxed);
        }
    }

    /// Bytes of host memory taken.
    pub(crate) fn bytes(&self) -> usize {
        let made = |hall: &Lazily<Shelf>| {
            (1 << HALL) * size_of::<OnceLock<Shelf>>() + hall.iter().filter_map(OnceLock::get).count() * (4 << SHELF)
        };
        let halls: usize = self.halls.iter().filter_map(OnceLock::get).map(made).sum();
        halls + self.halls.len() * size_of::<OnceLock<Lazily<Shelf>>>() + self.loads.len() * size_of::<AtomicU32>()
    }
}

#[cfg(test)]
mod tests;
