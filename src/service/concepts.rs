//! What is done with concepts that are there: reading, freeing, linking, listing.

use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_epoch::Guard;

use super::allocation::Learnt;
use super::durable::Durable;
use super::lock::MutexGuard;
use super::node::{Node, State};
use super::result::DeallocationResult;
use super::service::MemoryAllocationService;
use super::slot::Slot;
use crate::guidance::{AllocationError, Asked, ConceptType, DeallocationRequest, Linked};
use crate::spike::SpikeTime;
use crate::sync::Ordering::Relaxed;

/// A concept's content, pinned: it neither changes nor moves while the guard lives, whatever others do. Tied
/// to its thread. Memory that others free meanwhile is given back after it, so hold it briefly.
pub struct ConceptGuard<'a> {
    content: &'a [u8],
    concept_type: ConceptType,
    version: u64,
    spike: SpikeTime,
    /// Dropped last: it keeps the content (V2).
    _pinned: Guard,
}

impl ConceptGuard<'_> {
    /// The concept's type.
    pub fn concept_type(&self) -> &ConceptType {
        &self.concept_type
    }

    /// 1 when it was allocated, one more with each update.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When it first spikes.
    pub fn spike(&self) -> SpikeTime {
        self.spike
    }
}

impl Deref for ConceptGuard<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.content
    }
}

impl core::fmt::Debug for ConceptGuard<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let bytes = self.content.len();
        f.debug_struct("ConceptGuard")
            .field("concept_type", &self.concept_type)
            .field("version", &self.version)
            .field("bytes", &bytes)
            .finish()
    }
}

impl MemoryAllocationService {
    /// A concept's content. Counts as an access. Waits for no writer. Now and then it gives back what others freed, up to 512 blocks,
    /// and then takes the lock of pins for a few instructions.
    ///
    /// # Errors
    /// [`AllocationError::NotFound`].
    pub fn read(&self, concept_id: &str) -> Result<ConceptGuard<'_>, AllocationError> {
        let pinned = self.epoch.pin();
        let block = self.access(concept_id)?;
        let (content, concept_type, version, spike) = Slot::at(block).glance(&pinned);
        // SAFETY: V1, V2: the content lies in the slot, which stays as it is while the guard beside it is pinned; and
        // the service, whose memory it is, outlives the guard.
        let content = unsafe { core::slice::from_raw_parts(content.as_ptr(), content.len()) };
        Ok(ConceptGuard { content, concept_type, version, spike, _pinned: pinned })
    }

    /// The block of a concept that is accessed; the caller is pinned (V2).
    pub(super) fn access(&self, concept_id: &str) -> Result<NonNull<u8>, AllocationError> {
        let found = self.registry.look(concept_id, |node| {
            let block = node.block()?;
            node.reads.fetch_add(1, Relaxed);
            if self.was_read.load(Relaxed) == 0 {
                self.was_read.store(1, Relaxed);
            }
            self.cortex.accessed(node.number);
            Some(block)
        });
        found.flatten().ok_or_else(|| AllocationError::NotFound { concept_id: concept_id.to_owned() })
    }

    /// Frees a concept's memory. Its edges are forgotten, in maintenance if it has many or its neighbours do. The pool's
    /// used bytes have fallen when this returns, even if somebody still has the content pinned.
    ///
    /// Any thread. Takes host memory. Waits for whoever is changing the same id, and takes the locks of its neighbours' edges for
    /// a list's length each; in a region file it waits for whoever is writing to the log of edges, and now and then compacts that, which
    /// grows with the log.
    ///
    /// # Errors
    /// [`AllocationError::NotFound`]; [`Busy`](AllocationError::Busy) if a batch under way has allocated it, and may still undo that: it
    /// is not waited for.
    pub fn deallocate_memory(&self, request: DeallocationRequest) -> Result<DeallocationResult, AllocationError> {
        let start = Instant::now();
        let id = request.concept_id;
        let (pool, bytes) = self.take_back(&id)?;
        self.pools[pool].count_deallocation();
        let deallocation_time = start.elapsed();
        let pool_id = self.pools[pool].concept_type().to_string();
        Ok(DeallocationResult { concept_id: id, freed_memory_size: bytes as usize, deallocation_time, pool_id })
    }

    /// Frees a concept's memory, if it is allocated, and not by a batch that may still be undone. Its pool and the bytes that were
    /// charged; the caller counts it.
    fn take_back(&self, concept_id: &str) -> Result<(usize, u64), AllocationError> {
        let not_found = || AllocationError::NotFound { concept_id: concept_id.to_owned() };
        let node = self.registry.find(concept_id).ok_or_else(not_found)?;
        let mut state = node.lock().ok_or_else(not_found)?;
        let slot = node.block().map(Slot::at).ok_or_else(not_found)?;
        self.stands(concept_id, &state)?;
        let (pool, bytes) = self.vacate(&node, &state, slot);
        self.forget_edges(&node, &mut state);
        Ok((pool, bytes))
    }

    /// Forgets the edges of a node that has no block, and buries it.
    pub(super) fn forget_edges(&self, node: &Arc<Node>, state: &mut MutexGuard<State>) {
        let mut forget = || {
            let was_lonely = self.cortex.is_lonely(node.number);
            let mut gone = false;
            self.cortex.remove(node.number, |number| {
                if number == node.number {
                    gone = true;
                    self.registry.bury_locked(node, state);
                } else {
                    self.bury_or_leave(number);
                }
            });
            if !gone {
                self.registry.detach_locked(node, state);
            }
            !was_lonely
        };
        match &self.durable {
            // It finds room, or makes it: its edges are forgotten in the file, too.
            Some(durable) => drop(durable.end(&self.arena, node.id(), forget)),
            None => drop(forget()),
        }
    }

    /// Undoes what a batch that is under way allocated for a request.
    pub(super) fn undo_of(&self, batch: u64, request: &Asked, learnt: &Learnt) {
        if let Some(node) = self.registry.find(request.concept_id)
            && let Some(mut state) = node.lock()
            && state.batch == batch
            && let Some(slot) = node.block().map(Slot::at)
        {
            self.vacate(&node, &state, slot);
            self.abandon(&node, &mut state, request, learnt);
        }
    }

    /// Gives a node's slot back. Its pool and the bytes that were charged.
    fn vacate(&self, node: &Node, state: &MutexGuard<State>, slot: Slot) -> (usize, u64) {
        node.set_block(state, None);
        let (pool, bytes) = (usize::from(state.pool), state.bytes);
        self.pools[pool].refund(bytes);
        self.churn.fetch_add(1, Relaxed);
        self.discard(slot);
        (pool, bytes)
    }

    /// Makes known that two concepts belong together: evidence for where maintenance puts them. An edge is
    /// known once, from both ends; one from a concept to itself says nothing, and is dropped. So is one beyond 65,536 of a concept, or
    /// beyond the service's [`GraphLimits`](crate::guidance::GraphLimits).
    ///
    /// Any thread. Takes host memory for the edge, and a lock for as long as the list of its ends' edges is; in a region file it waits
    /// for whoever is writing to the log of edges, and now and then compacts that, which grows with the log.
    ///
    /// # Errors
    /// [`AllocationError::NotFound`] if one of them is not allocated; [`AllocationError::OutOfMemory`] if the service lies in a
    /// file that has no room left for the edge.
    pub fn link(&self, from: &str, to: &str) -> Result<(), AllocationError> {
        let live = |id: &str| self.registry.look(id, |node| node.block().map(|_| node.number)).flatten();
        for id in [from, to] {
            live(id).ok_or_else(|| AllocationError::NotFound { concept_id: id.to_owned() })?;
        }
        // Looked for again where nobody forgets edges meanwhile, if there is a file: it and memory must say the same.
        let link = || match (live(from), live(to)) {
            (Some(a), Some(b)) => self.cortex.link(a, b),
            _ => Linked::Dropped,
        };
        let Some(durable) = &self.durable else {
            link();
            return Ok(());
        };
        durable
            .link(&self.arena, [from.as_bytes(), to.as_bytes()], link)
            .map_err(|_| AllocationError::OutOfMemory { asked_bytes: Durable::EDGE_BYTES, capacity_bytes: self.arena.capacity() as u64 })
    }

    /// The column in which a concept lies, if it is allocated and has a number below [`CONCEPTS`](crate::guidance::CONCEPTS). Any
    /// thread; waits as [`read`](Self::read) does: for no writer.
    pub fn column_of(&self, concept_id: &str) -> Option<u32> {
        let number = self.registry.look(concept_id, |node| node.block().map(|_| node.number)).flatten()?;
        self.cortex.column(number)
    }

    /// The ids of all concepts in address order within columns, columns in order. Those that come and go
    /// meanwhile may be there or not. Any thread; grows with the concepts, in time and in host memory.
    pub fn concept_ids(&self) -> Vec<String> {
        let mut nodes = Vec::new();
        self.registry.each_live(|node, _| nodes.push(node.clone()));
        self.ids_of(&nodes)
    }

    /// The ids of those nodes of a visit that are still allocated, by their places. Each once: who was freed and allocated anew meanwhile,
    /// and was visited under both numbers, has no block any more under the first.
    fn ids_of(&self, nodes: &[Arc<Node>]) -> Vec<String> {
        let place = |node: &Arc<Node>| {
            let column = self.cortex.column(node.number).unwrap_or(u32::MAX);
            Some((column, node.block()?.addr(), String::from_utf8_lossy(node.id()).into_owned()))
        };
        let mut places: Vec<_> = nodes.iter().filter_map(place).collect();
        places.sort_unstable();
        places.into_iter().map(|(_, _, id)| id).collect()
    }
}

#[cfg(test)]
mod tests;
