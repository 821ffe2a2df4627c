//! Opening a service on a region file: from the slots to the registry, the pools and the graph.
//!
//! ```text
//! every live block --> a slot that counts?  yes, and no newer one of its id --> kept: node, home, charge
//!                      no, older, superblock or log?                            --> freed, freed, kept
//! the log          --> edges between those that are kept
//! ```
//!
//! Nothing is freed before all that is kept was found whole, and is configured for: a region that is refused is as it
//! was.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::config::AllocationServiceError;
use super::super::pool::Pool;
use super::super::registry::Registry;
use super::super::slot::{MARK, Slot};
use super::log::hash;
use super::{Durable, Log};
use crate::error::Error;
use crate::guidance::{Cortex, Linked};
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
use crate::{Arena, ConceptType};

/// A slot that was found.
struct Found {
    slot: Slot,
    usable: usize,
    column: u32,
}

impl Durable {
    /// Finds what is in the arena's region and makes it known to the parts of a service that is being opened.
    pub(in crate::service) fn open(
        arena: &Arena,
        pools: &[Pool],
        registry: &Registry,
        cortex: &Cortex,
    ) -> Result<Self, AllocationServiceError> {
        let block = Self::superblock_of(arena)?;
        // SAFETY: M1, R1: a live block of the region, as large; nobody else knows it yet.
        let superblock = unsafe { block.as_ref() };
        let pinned = crossbeam_epoch::pin();
        let mut kept: HashMap<&[u8], Found> = HashMap::new();
        let mut unused = Vec::new();
        arena.each_block(|column, block, usable| {
            let found = Found { slot: Slot::at(block), usable, column };
            if !Self::counts(superblock, found.slot.mark()) {
                unused.push(block);
                return Ok(());
            }
            if !found.slot.is_whole(usable) {
                return Err(Error::Format { name: arena.name(), why: "the slot of a concept in it is damaged" });
            }
            let concept = found.slot.read(&pinned);
            match kept.entry(concept.id.as_bytes()) {
                Entry::Vacant(entry) => {
                    entry.insert(found);
                }
                Entry::Occupied(mut entry) => {
                    let newer = concept.version > entry.get().slot.read(&pinned).version;
                    unused.push(if newer { entry.insert(found).slot.block() } else { block });
                }
            }
            Ok(())
        })?;
        let by_hash: HashMap<u64, &[u8]> = kept.keys().map(|&id| (hash(id), id)).collect();
        let log = Log::find(arena, &superblock.log)?;
        let mut charged = Vec::with_capacity(kept.len());
        for (&id, found) in &kept {
            let number = found.slot.read(&pinned).pool;
            let name = Self::pool_name(superblock, usize::from(number));
            let pool = pools.iter().position(|pool| Some(pool.concept_type()) == name);
            let pool = pool.ok_or_else(|| Self::unknown_pool(name, number))?;
            charged.push((id, found, pool));
        }
        // In the order of their places, so that numbers are the same in every run.
        charged.sort_unstable_by_key(|(_, found, _)| found.slot.block());
        let numbers = Self::numbers_of(superblock, pools.iter().map(Pool::concept_type));
        let numbers = numbers.ok_or(AllocationServiceError::Invalid {
            what: "pool_configurations",
            given: "another pool in a region that has known 256".to_owned(),
            allowed: "one of those that the region knows",
        })?;
        let mut special = log.blocks();
        special.insert(block.cast());
        // Nothing is refused from here on.
        for (_, found, pool) in &charged {
            let concept = found.slot.read(&pinned);
            let node = registry.node(concept.id);
            if let Some(mut state) = node.lock() {
                (state.pool, state.bytes, state.strategy) = (*pool as u8, found.usable as u64, Some(concept.strategy));
                found.slot.set_mark(MARK);
                node.set_block(&state, Some(found.slot.block()));
            }
            pools[*pool].charge_found(found.usable as u64);
            cortex.relocated(node.number, found.column);
        }
        let number = |id: u64| by_hash.get(&id).and_then(|id| registry.find(core::str::from_utf8(id).ok()?)).map(|node| node.number);
        // An edge of which one end is no more, or that is known already, says nothing.
        log.retain(arena, &superblock.log, |a, b| match (number(a), number(b)) {
            (Some(a), Some(b)) => cortex.link(a, b) != Linked::Known,
            _ => false,
        })?;
        for block in unused.into_iter().filter(|block| !special.contains(block)) {
            Slot::at(block).clear_mark();
            // SAFETY: B1: no slot that counts, and nothing leads to it: it was on its way when the process died.
            unsafe { arena.free(block)? };
        }
        for record in &superblock.batches {
            record.store(0, Relaxed);
        }
        Ok(Self { superblock: block, pools: numbers, batches: AtomicU64::new(1), log })
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
