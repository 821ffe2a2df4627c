//! Opening a service on a region file: from the slots to the registry, the pools and the graph.
//!
//! ```text
//! every live block --> a slot that counts?  yes, and no newer one of its id --> kept: node, home, charge
//!                      no, older, superblock or log?                            --> freed, freed, kept
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
use super::{BATCHES, Durable, Log, Superblock};
use crate::error::Error;
use crate::guidance::{Cortex, Linked};
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
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
        let mut special = log.blocks();
        special.insert(block.cast());
        let mut newest: HashMap<&str, (Concept<'_>, FoundSlot)> = HashMap::new();
        let mut unused = Vec::new();
        arena.each_block(|column, block, usable| {
            let found = FoundSlot { slot: Slot::at(block), usable, column };
            if !Durable::counts(superblock, found.slot.mark()) {
                unused.extend(Some(block).filter(|block| !special.contains(block)));
                return Ok(());
            }
            if !found.slot.is_whole(usable) {
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
        let mut kept = Vec::with_capacity(newest.len());
        for (concept, found) in newest.into_values() {
            let name = Durable::pool_name(superblock, usize::from(concept.pool));
            let pool = pools.iter().position(|pool| Some(pool.concept_type()) == name);
            kept.push((concept, found, pool.ok_or_else(|| Durable::unknown_pool(name, concept.pool))?));
        }
        kept.sort_unstable_by_key(|(_, found, _)| found.slot.block());
        let damaged = || Error::Format { name: arena.name(), why: "the names of its pools are damaged" };
        let numbers = Durable::numbers_of(superblock, pools).ok_or_else(damaged)?;
        Ok(Self { superblock: Some(block), kept, unused, log, numbers })
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
            // SAFETY: B1: no slot that counts, and nothing leads to it: it was on its way when the process died.
            unsafe { arena.free(block)? };
        }
        for record in &superblock.batches {
            record.store(0, Relaxed);
        }
        Ok(Self { superblock: block, mark, pools: numbers, batches: AtomicU64::new(1), gate: Gate::new(BATCHES), log })
    }

    fn unknown_pool(name: Option<ConceptType>, number: u8) -> AllocationServiceError {
        let name = name.as_ref().map_or_else(|| number.to_string(), ConceptType::to_string);
        AllocationServiceError::Invalid {
            what: "pool_configurations",
            given: format!("without {name:?}, of which the region has concepts"),
            allowed: "every pool that has concepts in the region",
        }
    }
}
