//! Opening a service on a region file: from the slots to the registry, the pools and the graph.
//!
//! ```text
//! every live block --> a slot that counts?  yes, and no newer one of its id --> kept: node, home, charge
//!                      older                                                    --> freed
//!                      no: superblock or log?                                   --> kept
//!                          else: may it be what a kill, or a close, left?       --> freed, or the region is refused
//! all that are kept    --> those that there were when it was closed?            no --> the region is refused
//! the log          --> edges between those that are kept
//! ```
//!
//! A region is judged first, and nothing of it is changed: all that is kept was found whole, and is configured for. Then
//! nothing is refused any more.

use core::ptr::NonNull;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crossbeam_epoch::Guard;

use super::super::admission::Gate;
use super::super::config::AllocationServiceError;
use super::super::pool::Pool;
use super::super::registry::Registry;
use super::super::slot::{Concept, Slot};
use super::super::upkeep::most_lodged;
use super::log::hash;
use super::{BATCHES, CLOSED, Durable, Log, OPEN, ROOT, Sum, Superblock};
use crate::error::Error;
use crate::guidance::{Cortex, Linked};
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Relaxed, Release};
use crate::{Arena, ConceptType};

/// A slot that was found.
struct FoundSlot {
    slot: Slot,
    usable: usize,
    column: u32,
}

/// What a service is opened with: all that is in a region, read while `'a` is pinned.
pub(in crate::service) struct Judged<'a> {
    superblock: Option<NonNull<Superblock>>,
    /// What is kept, and the pool that it is charged to, in the order of its places: so numbers are the same in every run.
    kept: Vec<(Concept<'a>, FoundSlot, usize)>,
    /// Other blocks than superblock and log.
    unused: Vec<NonNull<u8>>,
    log: Log,
    /// The number in the region of each pool.
    numbers: Box<[u8]>,
}

impl<'a> Judged<'a> {
    /// Looks at what is in the arena's region, and changes nothing.
    pub(in crate::service) fn of(arena: &Arena, pools: &[Pool], pinned: &'a Guard) -> Result<Self, AllocationServiceError> {
        let Some(block) = Durable::superblock_of(arena)? else {
            let numbers = (0..).zip(pools).map(|(number, _)| number).collect();
            return Ok(Self { superblock: None, kept: Vec::new(), unused: Vec::new(), log: Log::default(), numbers });
        };
        // SAFETY: M1, R1: a live block of the region, as large; nobody else knows it yet.
        let superblock = unsafe { block.as_ref() };
        let log = Log::find(arena, &superblock.log)?;
        let leftovers = Leftovers::of(arena, superblock)?;
        let mut special = log.blocks();
        special.insert(block.cast());
        let mut newest: HashMap<&str, (Concept<'_>, FoundSlot)> = HashMap::new();
        let mut unused = Vec::new();
        arena.each_block(|column, block, usable| {
            let found = FoundSlot { slot: Slot::at(block), usable, column };
            if !Durable::counts(superblock, found.slot.mark()) {
                if !special.contains(&block) {
                    leftovers.check(&found)?;
                    unused.push(block);
                }
                return Ok(());
            }
            if special.contains(&block) || !found.slot.is_whole(usable) {
                return Err(Error::Format { name: arena.name(), why: "the slot of a concept in it is damaged" });
            }
            let concept = found.slot.read(pinned);
            match newest.entry(concept.id) {
                Entry::Vacant(entry) => {
                    entry.insert((concept, found));
                }
                Entry::Occupied(mut entry) => {
                    let newer = concept.version > entry.get().0.version;
                    unused.push(if newer { entry.insert((concept, found)).1.slot.block() } else { block });
                }
            }
            Ok(())
        })?;
        leftovers.check_kept(newest.values().map(|(_, found)| found.slot))?;
        let damaged = || Error::Format { name: arena.name(), why: "the names of its pools are damaged" };
        let names = Durable::pool_names(superblock).map_err(|_| damaged())?;
        let mut kept = Vec::with_capacity(newest.len());
        for (concept, found) in newest.into_values() {
            let name = names[usize::from(concept.pool)].ok_or_else(damaged)?;
            let pool = pools.iter().position(|pool| pool.concept_type() == name);
            kept.push((concept, found, pool.ok_or_else(|| Durable::unknown_pool(name))?));
        }
        kept.sort_unstable_by_key(|(_, found, _)| found.slot.block());
        let numbers = Durable::numbers_of(&names, pools).ok_or_else(damaged)?;
        Ok(Self { superblock: Some(block), kept, unused, log, numbers })
    }
}

/// What may be in a region beside what is kept.
struct Leftovers<'a> {
    arena: &'a Arena,
    superblock: &'a Superblock,
    /// Whether its service has closed it (B4).
    closed: bool,
    /// The words of the roots that are the program's, which may name blocks.
    roots: Vec<u64>,
}

impl<'a> Leftovers<'a> {
    fn of(arena: &'a Arena, superblock: &'a Superblock) -> Result<Self, Error> {
        let closed = !arena.was_recovered() && superblock.state.load(Relaxed) == CLOSED;
        let roots = (0..ROOT).map(|root| arena.root(root)).filter(|word| *word != Ok(0)).collect::<Result<_, _>>()?;
        Ok(Self { arena, superblock, closed, roots })
    }

    /// All that are kept: what was closed lacks none.
    fn check_kept(&self, slots: impl Iterator<Item = Slot>) -> Result<(), Error> {
        let mut sum = Sum::default();
        slots.for_each(|slot| sum.add(slot));
        if self.closed && sum != Sum(self.superblock.sum.load(Relaxed)) {
            return Err(Error::Format { name: self.arena.name(), why: "concepts are missing that it had when its service closed it" });
        }
        Ok(())
    }

    /// A block that is none of those that are kept: it was on its way, or the region is refused.
    fn check(&self, found: &FoundSlot) -> Result<(), Error> {
        let refused = |why| Err(Error::Format { name: self.arena.name(), why });
        let (mark, is_whole) = (found.slot.mark(), found.slot.is_whole(found.usable));
        let is_of_a_batch = is_whole && Durable::is_of_a_batch(self.superblock, mark);
        // Whatever names it: a program may note where a concept lay. A batch that was not committed has none left when it is over.
        if mark == Slot::retired(self.superblock.mark.load(Relaxed)) || !self.closed && is_of_a_batch {
            return Ok(());
        }
        let block = found.slot.block();
        let offset = self.arena.offset_of(block.as_ptr()).map(|offset| offset as u64);
        if self.closed {
            refused(if is_whole {
                "the mark of a concept in it is damaged"
            } else {
                "it holds a block that is not its service's: another program's, or damaged"
            })
        } else if offset.is_some_and(|offset| self.roots.contains(&offset)) {
            refused("a root that is not its service's names a block that is no concept's: another program's, or damaged")
        } else if self.arena.is_published(block) && !self.arena.lie_together(block, NonNull::from(self.superblock).cast()) {
            // (Where memory is scarce, what lies beside the superblock serves as well.)
            refused("it holds a block that was published, and is not its service's: another program's, or damaged")
        } else {
            Ok(())
        }
    }
}

impl Durable {
    /// Makes what is in the arena's region known to the parts of a service that is being opened.
    pub(in crate::service) fn open(
        arena: &Arena,
        judged: Judged<'_>,
        pools: &[Pool],
        registry: &Registry,
        cortex: &Cortex,
    ) -> Result<Self, Error> {
        let Judged { superblock, kept, unused, log, numbers } = judged;
        let block = superblock.map_or_else(|| Self::make_superblock(arena), Ok)?;
        // SAFETY: M1, R1: a live block of the region, as large; nobody else knows it yet.
        let superblock = unsafe { block.as_ref() };
        let mark = superblock.mark.load(Relaxed);
        // Before anything is changed (B4).
        superblock.state.store(OPEN, Release);
        for (&number, pool) in numbers.iter().zip(pools) {
            Self::name_pool(superblock, number, pool.concept_type());
        }
        for (concept, found, pool) in &kept {
            let own = arena.good_size(concept.block_bytes()).unwrap_or(found.usable);
            // What lodges is not charged for its slot; what scarcity gave a still larger one is.
            let charged = if found.usable <= most_lodged(own) { own } else { found.usable } as u64;
            let node = registry.node(concept.id);
            if let Some(mut state) = node.lock() {
                (state.pool, state.bytes, state.strategy) = (*pool as u8, charged, Some(concept.strategy));
                found.slot.set_mark(mark);
                node.set_block(&state, Some(found.slot.block()));
            }
            pools[*pool].charge_found(charged);
            cortex.relocated(node.number, found.column);
        }
        let by_hash: HashMap<u64, &str> = kept.iter().map(|(concept, ..)| (hash(mark, concept.id.as_bytes()), concept.id)).collect();
        let number = |id: u64| by_hash.get(&id).and_then(|id| registry.find(id)).map(|node| node.number);
        // An edge of which one end is no more, or that is known already, says nothing.
        log.retain(arena, &superblock.log, |a, b| match (number(a), number(b)) {
            (Some(a), Some(b)) => cortex.link(a, b) != Linked::Known,
            _ => false,
        })?;
        for block in unused {
            Slot::at(block).clear_mark();
            // SAFETY: B1, B4: no slot that counts, and nothing leads to it: it was on its way when the process died, or discarded.
            unsafe { arena.free(block)? };
        }
        for record in &superblock.batches {
            record.store(0, Relaxed);
        }
        Ok(Self { superblock: block, mark, pools: numbers, batches: AtomicU64::new(1), gate: Gate::new(BATCHES), log })
    }

    fn unknown_pool(name: ConceptType) -> AllocationServiceError {
        AllocationServiceError::Invalid {
            what: "the list of pools",
            given: format!("one without {:?}, of which the region has concepts", name.as_str()),
            allowed: "one with every pool that has concepts there",
        }
    }
}
