//! The way of an allocation: planned, let in, decided, placed, charged, published.
//!
//! ```text
//! check --> plan: first spike,      --> gate --> node's lock --> column: remembered, --> a pool with room
//!           strategy, or remembered    (spike                   or by competition,       take a block
//!                                       order)                  or by hash               charge the pool
//!                                                                                        write the slot
//!                                                                                        learn, remember
//!                                                                                        publish it
//! ```
//!
//! A step that fails undoes those before it, so that a refusal changes nothing but counts. No pool is charged for memory that is still
//! looked for: what cannot be had would keep room from what can. Hints are made known before the column is chosen, and stay known if it
//! is served. What the column learns, and the decision, are kept once the memory is there; a batch whose requests teach each other
//! does not forget that when it is undone, and its pools keep the peaks that it raised.

use core::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use twox_hash::XxHash3_128;

use super::admission::Permit;
use super::discards::WaitBudget;
use super::durable::Durable;
use super::lock::MutexGuard;
use super::node::{Node, State};
use super::pool::{Full, Pool};
use super::registry::TOGETHER;
use super::result::{AllocationResult, Granted, MemorySlot};
use super::service::MemoryAllocationService;
use super::slot::{Concept, MARK, Slot};
use crate::column::ColumnId;
use crate::error::Error;
use crate::guidance::{
    AccessRate, AllocationError, AllocationRequest, Asked, ConceptType, Decision, DecisionKey, Evidence, Features, Folded, Linked,
    Occupied, Recall, Stimulus, Strategy, TtfsEncoding, Undecided, check_content, is_concept_id,
};
use crate::spike::SpikeTime;
use crate::sync::Ordering::{Acquire, Relaxed};

/// Hints that enter the key of a decision, and so those that a remembered decision was made with.
const KEYED_HINTS: usize = 64;
/// What is known of a request before it is let in.
pub(super) struct Plan<'p> {
    pub(super) encoding: TtfsEncoding,
    pub(super) strategy: Strategy,
    /// When it was looked for, since the service was opened.
    planned_ns: u64,
    column: Column<'p>,
}

/// Whether a request is planned for the first time: then its decision counts as remembered or not.
#[derive(Clone, Copy)]
pub(super) enum Seen {
    First,
    Again,
}

impl Plan<'_> {
    /// Whether it was decided before.
    pub(super) fn is_remembered(&self) -> bool {
        matches!(self.column, Column::Remembered(_))
    }
}

/// How a planned request is served.
#[derive(Clone, Copy)]
pub(super) struct Terms<'c> {
    /// The batch that it is part of; 0 if of none.
    pub(super) batch: u64,
    /// What its slot is marked with: see [`Slot::write`].
    pub(super) mark: u64,
    /// Whether a full pool is no refusal yet: no alternative serves, and nothing is counted.
    pub(super) on_trial: bool,
    /// Whether it is counted at once; else the caller counts it, when nothing can undo it any more.
    pub(super) stands: bool,
    /// The call's.
    pub(super) patience: &'c WaitBudget,
}

impl<'c> Terms<'c> {
    /// Those of a request on its own, whose slot gets this mark.
    pub(super) const fn alone(mark: u64, patience: &'c WaitBudget) -> Self {
        Self { batch: 0, mark, on_trial: false, stands: true, patience }
    }
}

/// Which of a request's hints have made an edge known that was not known before: a bit for each, since those that were known are
/// not to be forgotten with them.
#[derive(Default)]
pub(super) struct Learnt(SmallVec<[u64; 2]>);

impl Learnt {
    fn note(&mut self, hint: usize) {
        let word = hint / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (hint % 64);
    }

    fn has(&self, hint: usize) -> bool {
        self.0.get(hint / 64).is_some_and(|bits| bits >> (hint % 64) & 1 != 0)
    }
}

/// What became of a request's hints.
#[derive(Default)]
pub(super) struct Hints {
    /// The node of its id, once they are edges of that.
    pub(super) node: Option<Arc<Node>>,
    /// Which of them are new.
    pub(super) learnt: Learnt,
}

/// How its column is found.
enum Column<'p> {
    /// It was decided before.
    Remembered(Decision),
    /// By competition; then it is remembered.
    Compete(&'p Folded, Undecided),
    /// By a hash of the id.
    Hashed,
}

/// A block that was found, and its column.
struct Found {
    block: NonNull<u8>,
    column: u32,
    /// Whether it may be larger than usual, because nothing else was left.
    any_size: bool,
}

/// A column that was chosen for a concept, which has entered it.
struct Choice {
    column: u32,
    /// 0 to 1.
    confidence: f64,
    /// Whether it was remembered.
    cache_hit: bool,
}

/// A slot that was taken, its column, the pool that is charged for it, and how much.
struct Taken {
    slot: Slot,
    column: u32,
    pool: usize,
    bytes: u64,
}

/// Where a concept came to lie.
struct Placed {
    taken: Taken,
    confidence: f64,
    cache_hit: bool,
    guided: bool,
}

impl MemoryAllocationService {
    /// Allocates memory for a concept, and stores its content.
    ///
    /// Any thread. Waits for a permit if all are taken, the admission timeout at most, and for whoever is changing the same id. Before a
    /// refusal for want of memory it waits up to 20 ms for what readers still have pinned, and gives its turn on the processor away (a
    /// system call) meanwhile; so does who waits for the same id. Takes host memory for what is known of the id, and for the answer.
    ///
    /// # Errors
    /// [`AllocationError::Invalid`], [`PoolNotFound`](AllocationError::PoolNotFound),
    /// [`Busy`](AllocationError::Busy), [`AlreadyExists`](AllocationError::AlreadyExists),
    /// [`QuotaExceeded`](AllocationError::QuotaExceeded), [`OutOfMemory`](AllocationError::OutOfMemory), and
    /// [`Internal`](AllocationError::Internal), which would be a bug here; no concept was allocated then.
    /// `Busy` is also an id that a batch under way has allocated, and may still undo: that is not waited for.
    pub fn allocate_memory(&self, request: AllocationRequest) -> Result<AllocationResult, AllocationError> {
        let granted = self.allocate_asked(&request.asked())?;
        // First: so the answer's texts come to lie where it was, in the caches.
        drop(request);
        Ok(self.told(&granted))
    }

    /// As [`allocate_memory`](Self::allocate_memory), with content of any bytes.
    pub(crate) fn allocate_asked(&self, request: &Asked) -> Result<Granted, AllocationError> {
        let start = Instant::now();
        let own = self.checked(request)?;
        let mut folded = None;
        let plan = self.plan(request, self.since_open_ns(start), Seen::First, |features| folded.insert(features))?;
        let _permit = self.admit(plan.encoding.first_spike, self.admission_timeout)?;
        let granted = self.allocate(request, own, &plan, Terms::alone(self.mark(), &WaitBudget::new()), &mut Hints::default(), start)?;
        self.allocations.record(granted.allocation_time);
        Ok(granted)
    }

    /// Whether a request can be served at all; its pool.
    pub(crate) fn checked(&self, request: &Asked) -> Result<usize, AllocationError> {
        request.validate()?;
        self.pool_of(request.concept_type)
    }

    fn pool_of(&self, concept_type: ConceptType) -> Result<usize, AllocationError> {
        self.find_pool(concept_type)
            .ok_or_else(|| AllocationError::PoolNotFound { concept_type, known: self.pools.iter().map(Pool::concept_type).collect() })
    }

    pub(super) fn find_pool(&self, concept_type: ConceptType) -> Option<usize> {
        self.pools.iter().position(|pool| pool.concept_type() == concept_type)
    }

    /// A permit, in spike order.
    pub(super) fn admit(&self, spike: SpikeTime, timeout: Duration) -> Result<Permit<'_>, AllocationError> {
        let entered = self.gate.enter(spike, timeout);
        let permits = self.gate.permits();
        entered.map_err(|refused| AllocationError::Busy { what: Occupied::Permits { permits, waited: refused.waited } })
    }

    /// What is known of a request: remembered, or worked out; then `keep` is given what the plan refers to.
    pub(super) fn plan<'p>(
        &self,
        request: &Asked,
        planned_ns: u64,
        seen: Seen,
        keep: impl FnOnce(Folded) -> &'p mut Folded,
    ) -> Result<Plan<'p>, AllocationError> {
        let accesses = request.resource_requirements.expected_accesses_per_s;
        if !self.guidance {
            let features = Features::of(request.stimulus())?;
            let encoding = self.ttfs.encode_features(&features, request.priority, accesses)?;
            return Ok(Plan { encoding, strategy: self.engine.strategy_of(request, &features), planned_ns, column: Column::Hashed });
        }
        let hints = request.locality_hints;
        let key = DecisionKey::of_asked(request, &hints[..hints.len().min(KEYED_HINTS)]);
        let recall = match seen {
            Seen::First => self.decisions.recall(key, planned_ns),
            Seen::Again => self.decisions.recall_again(key, planned_ns),
        };
        match recall {
            Recall::Hit(decision) => Ok(Plan {
                encoding: decision.encoding,
                strategy: Strategy { strategy_type: decision.strategy, placement: decision.strategy.placement() },
                planned_ns,
                column: Column::Remembered(decision),
            }),
            Recall::Miss(undecided) => {
                let features = Features::of(request.stimulus())?;
                let encoding = self.ttfs.encode_features(&features, request.priority, accesses)?;
                let strategy = self.engine.strategy_of(request, &features);
                let column = Column::Compete(keep(Folded::new(&features)), undecided);
                Ok(Plan { encoding, strategy, planned_ns, column })
            }
        }
    }

    /// Serves a planned request that was let in. Times are counted from `start`.
    pub(super) fn allocate(
        &self,
        request: &Asked,
        own: usize,
        plan: &Plan<'_>,
        terms: Terms,
        hints: &mut Hints,
        start: Instant,
    ) -> Result<Granted, AllocationError> {
        let id = request.concept_id;
        loop {
            let known = hints.node.take();
            let hints_known = known.is_some();
            let node = known.unwrap_or_else(|| self.registry.node(id));
            let Some(mut state) = node.lock() else { continue };
            if node.block().is_some() {
                // Of what is part of its own batch a request is told that it exists.
                if state.batch != terms.batch {
                    self.stands(id, &state)?;
                }
                return Err(AllocationError::AlreadyExists { concept_id: id.to_owned() });
            }
            if !hints_known {
                self.learn_hints(&node, request, &mut hints.learnt);
            }
            let concept = Concept {
                id,
                concept_type: request.concept_type,
                content: request.content,
                version: 1,
                spike: plan.encoding.first_spike,
                wanted: request.resource_requirements.memory_size,
                accesses: request.resource_requirements.expected_accesses_per_s,
                priority: request.priority,
                strategy: plan.strategy.strategy_type,
                pool: 0,
            };
            let placed = match self.place(&node, own, plan, terms, &concept) {
                Ok(placed) => placed,
                Err(error) => {
                    self.abandon(&node, &mut state, request, &std::mem::take(&mut hints.learnt));
                    return Err(error);
                }
            };
            let Taken { slot, pool, bytes, .. } = placed.taken;
            (state.pool, state.bytes, state.rate) = (pool as u8, bytes, AccessRate::since(self.since_open_ns(start)));
            (state.strategy, state.batch) = (Some(concept.strategy), terms.batch);
            if terms.stands {
                // Counted before anybody can find it, and free it.
                self.pools[pool].count_allocation();
            }
            node.set_block(&state, Some(slot.block()));
            return Ok(self.granted(&placed, plan.encoding, plan.strategy, concept.version, start));
        }
    }

    /// Chooses a column for a node, and puts the concept there.
    fn place(&self, node: &Node, own: usize, plan: &Plan, terms: Terms, concept: &Concept) -> Result<Placed, AllocationError> {
        let choice = self.choose(node, plan);
        let Choice { column, confidence, cache_hit } = choice;
        let spike = plan.strategy.placement.spike(concept.spike);
        let taken = self.take(own, column, concept, spike, terms)?;
        self.keep(node, plan, &choice);
        if taken.column != column {
            self.cortex.relocated(node.number, taken.column);
        }
        Ok(Placed { taken, confidence, cache_hit, guided: !matches!(plan.column, Column::Hashed) })
    }

    /// The column of a node, its home from here on. Nothing is learnt by it yet.
    fn choose(&self, node: &Node, plan: &Plan) -> Choice {
        let compete = |features: &Folded, cache_hit| {
            let winner = self.cortex.choose(node.number, features, &plan.strategy.placement);
            Choice { column: winner.column, confidence: f64::from(winner.confidence), cache_hit }
        };
        match &plan.column {
            Column::Hashed => {
                let hash = XxHash3_128::oneshot_with_seed(self.seed, node.id()) as u64;
                let column = ((u128::from(hash) * u128::from(self.arena.columns())) >> 64) as u32;
                self.cortex.relocated(node.number, column);
                Choice { column, confidence: 0.0, cache_hit: false }
            }
            Column::Remembered(decision) => {
                let Decision { column, confidence, .. } = *decision;
                if self.cortex.suits(node.number, column) && self.cortex.enter(node.number, column) {
                    return Choice { column, confidence, cache_hit: true };
                }
                // All but the column holds, which is full by now, or has none of the neighbours: they decide, or else room does.
                compete(&Folded::blank(), true)
            }
            Column::Compete(features, _) => compete(features, false),
        }
    }

    /// A choice stands, as there is memory for it: its column learns, and it is remembered.
    fn keep(&self, node: &Node, plan: &Plan, &Choice { column, confidence, .. }: &Choice) {
        match &plan.column {
            Column::Hashed => {}
            Column::Remembered(_) => self.cortex.keep(node.number, column),
            Column::Compete(features, undecided) => {
                self.cortex.learn(column, features);
                self.cortex.keep(node.number, column);
                let decision = Decision { column, encoding: plan.encoding, strategy: plan.strategy.strategy_type, confidence };
                self.decisions.remember(*undecided, &decision, plan.planned_ns);
            }
        }
    }

    /// Makes a request's hints known as edges, and notes which of them were not. One for which the file has no room is not made known:
    /// memory and file say the same.
    pub(super) fn learn_hints(&self, node: &Node, request: &Asked, learnt: &mut Learnt) {
        if let Some(durable) = &self.durable {
            for (place, hint) in others_named(request).enumerate() {
                // Both numbers are looked for where nobody forgets edges, or buries a node, meanwhile: memory and file must say the same.
                let linked = || {
                    if !self.registry.has(node) {
                        return Linked::Dropped;
                    }
                    let hinted = self.registry.node(hint);
                    let linked = self.cortex.link(node.number, hinted.number);
                    if linked == Linked::New {
                        learnt.note(place);
                    }
                    self.bury_or_leave(hinted.number);
                    linked
                };
                let _ = durable.link(&self.arena, [node.id(), hint.as_bytes()], linked);
            }
            return;
        }
        let mut hints = others_named(request);
        for from in (0..).step_by(TOGETHER) {
            let numbers = self.registry.numbers_of(&mut hints);
            for (place, &number) in numbers.iter().enumerate() {
                match self.cortex.link(node.number, number) {
                    Linked::New => learnt.note(from + place),
                    Linked::Known => {}
                    Linked::Dropped => self.bury_or_leave(number),
                }
            }
            if numbers.len() < TOGETHER {
                return;
            }
        }
    }

    /// A request was refused or undone: its node has no home. The edges that its hints made known are forgotten, and the node is buried
    /// unless others have named it: who is refused again and again leaves nothing behind.
    pub(super) fn abandon(&self, node: &Arc<Node>, state: &mut MutexGuard<State>, request: &Asked, learnt: &Learnt) {
        let places = (0..others_named(request).count()).rev();
        // The latest first: that is where they are looked for.
        for (_, hint) in places.zip(others_named(request).rev()).filter(|&(place, _)| learnt.has(place)) {
            let unlinked = || {
                let Some(named) = self.registry.find(hint) else { return false };
                let unlinked = self.cortex.unlink(node.number, named.number);
                self.bury_or_leave(named.number);
                unlinked
            };
            match &self.durable {
                // It finds room, or makes it.
                Some(durable) => drop(durable.unlink(&self.arena, [node.id(), hint.as_bytes()], unlinked)),
                None => _ = unlinked(),
            }
        }
        self.while_edges_stay(|| {
            if self.cortex.unplace(node.number) {
                self.registry.bury_locked(node, state);
            }
        });
    }

    /// Does something while nobody makes an edge known that the file is told of: who is buried then has none, and gets none.
    pub(super) fn while_edges_stay<T>(&self, act: impl FnOnce() -> T) -> T {
        match &self.durable {
            Some(durable) => durable.while_edges_stay(act),
            None => act(),
        }
    }

    /// Nobody else would bury who was only hinted at, and has no edge. In a file, while edges stay as they are. False if it is to be
    /// buried, but somebody is at it.
    pub(super) fn bury_lonely(&self, number: u32) -> bool {
        !self.cortex.is_lonely(number) || self.registry.bury(number)
    }

    /// The same; maintenance buries it if somebody is at it, who may take a while, and may leave it as it is.
    pub(super) fn bury_or_leave(&self, number: u32) {
        if !self.bury_lonely(number) {
            self.busy.lock().insert(number);
        }
    }

    /// Writes a concept into a block, of `column` if that has memory for it, and charges a pool that had room for it before memory
    /// was looked for. (Of several who race for the last room each may have a block for a moment.)
    fn take(&self, own: usize, column: u32, concept: &Concept, spike: SpikeTime, terms: Terms) -> Result<Taken, AllocationError> {
        let asked = concept.block_bytes();
        let bytes = self.arena.good_size(asked).ok_or_else(|| self.no_memory(asked))? as u64;
        let full = |full: Full| full.error(self.pools[own].concept_type());
        let room = |pool: &Pool| pool.room(bytes, concept.spike);
        let (asked_before, mut pool) = self.first_with_room(own, terms.on_trial, 0, room).map_err(full)?;
        let Found { block, column, any_size } = self.block(column, asked, spike, terms.patience)?;
        // Only then it is asked, which touches memory that nothing else needs yet.
        let bytes = if any_size { self.arena.usable_size(block.as_ptr()).map_or(bytes, |usable| usable as u64) } else { bytes };
        let charge = |pool: &Pool| pool.charge(bytes, concept.spike);
        if charge(&self.pools[pool]).is_err() {
            // Others have the room by now, or the block is larger than what there was room for: another pool may have it, as if it had
            // been asked for at once.
            (_, pool) = self.first_with_room(own, terms.on_trial, asked_before, charge).map_err(|refused| {
                // SAFETY: V1: it is ours, and nobody knows of it.
                unsafe { self.spare.give_back(&self.arena, block) };
                full(refused)
            })?;
        }
        if pool != own {
            self.pools[own].count_alternative();
            self.pools[pool].count_alternative();
        }
        let concept = Concept { pool: self.pool_number(pool), ..*concept };
        // SAFETY: V1: the block has at least `asked` bytes and is ours alone.
        Ok(Taken { slot: unsafe { Slot::write(block, &concept, terms.mark) }, column, pool, bytes })
    }

    #[cold]
    fn no_memory(&self, asked: usize) -> AllocationError {
        AllocationError::OutOfMemory { asked_bytes: asked as u64, capacity_bytes: self.arena.capacity() as u64 }
    }

    /// A pool's number in the region.
    pub(super) fn pool_number(&self, pool: usize) -> u8 {
        self.durable.as_ref().map_or(pool as u8, |durable| durable.pool_number(pool))
    }

    /// A pool, or else the first of its alternatives, that does not refuse what it is asked, and how many have. Refusals are counted, but
    /// not of the first `counted`, for whom that was done. If it is only tried, alternatives are not asked, and nothing is counted.
    fn first_with_room(
        &self,
        own: usize,
        on_trial: bool,
        counted: usize,
        ask: impl Fn(&Pool) -> Result<(), Full>,
    ) -> Result<(usize, usize), Full> {
        let others = self.pools[own].alternatives().iter().filter_map(|other| self.find_pool(*other));
        let mut refused = None;
        for (refusals, pool) in core::iter::once(own).chain(others).enumerate() {
            let Err(full) = ask(&self.pools[pool]) else { return Ok((refusals, pool)) };
            if on_trial {
                return Err(full);
            }
            if refusals >= counted {
                self.pools[pool].count_refusal();
            }
            refused.get_or_insert(full);
        }
        Err(refused.expect("the pool itself was asked"))
    }

    /// A block, of this column if that has memory for it, else of any. What was discarded lately may still have readers:
    /// before a refusal they are waited for, as long as the call may.
    fn block(&self, column: u32, bytes: usize, spike: SpikeTime, patience: &WaitBudget) -> Result<Found, AllocationError> {
        let id = ColumnId::new(column);
        let usual = |block| Ok(Found { block, column, any_size: false });
        let anywhere = |(block, column)| Ok(Found { block, column, any_size: true });
        // With this one, which is charged once its block is there.
        let used = || self.used_bytes() + self.arena.good_size(bytes).unwrap_or(bytes) as u64;
        if let Some(block) = self.arena.alloc_at_once(id, bytes, 0, spike) {
            return usual(block);
        }
        let mut waiting = None;
        let mut is_last = false;
        loop {
            // First: what comes back from here on may not be found.
            let given_back = self.spare.given_back.load(Acquire);
            if self.spare.is_scarce() {
                self.spare.count_down(&self.arena, 1, used);
                if let Some(found) = self.spare.serve(&self.arena, column, bytes, spike) {
                    return anywhere(found);
                }
            }
            match self.arena.alloc_at_length(Some(id), bytes, 0, spike) {
                Ok(block) => {
                    self.spare.note_grown(&self.arena, block, bytes, used);
                    return usual(block);
                }
                Err(Error::NoMemory { .. }) => {}
                // The column's limit, which a region file keeps.
                Err(Error::Quota { .. }) => return Err(self.no_memory(bytes)),
                Err(error) => return Err(AllocationError::Internal { what: "allocating a block", error }),
            }
            if let Some(found) = self.arena.alloc_kept(bytes, spike) {
                return anywhere(found);
            }
            let until = waiting.get_or_insert_with(|| patience.begin()).until;
            if is_last || !self.reclaim(given_back, until) {
                return Err(self.no_memory(bytes));
            }
            // Others may give back all the time, and nothing that would do.
            is_last = Instant::now() >= until;
        }
    }

    /// Bytes that concepts use.
    pub(super) fn used_bytes(&self) -> u64 {
        self.pools.iter().map(Pool::used_bytes).sum()
    }

    fn granted(&self, placed: &Placed, encoding: TtfsEncoding, strategy: Strategy, version: u64, start: Instant) -> Granted {
        Granted {
            memory_slot: self.slot_of(&placed.taken, version),
            ttfs_encoding: encoding,
            allocation_time: start.elapsed(),
            confidence_score: placed.confidence,
            pool: placed.taken.pool,
            strategy,
            cache_hit: placed.cache_hit,
            guided: placed.guided,
        }
    }

    /// The answer in full.
    pub(super) fn told(&self, granted: &Granted) -> AllocationResult {
        let Granted { memory_slot, ttfs_encoding, allocation_time, confidence_score, pool, strategy, cache_hit, guided } = *granted;
        let (column, pool) = (memory_slot.column, self.pools[pool].concept_type());
        let zone = strategy.placement.spike(ttfs_encoding.first_spike).zone();
        AllocationResult {
            memory_slot,
            allocation_path: vec![
                joined("pool ", pool.as_str()),
                joined("strategy ", strategy.strategy_type.name()),
                numbered("column ", column),
                numbered("rank ", zone as u32),
            ],
            neural_pathway_id: numbered("column-", column),
            ttfs_encoding,
            cortical_column_id: column,
            allocation_time,
            confidence_score,
            memory_pool_id: pool.as_str().to_owned(),
            allocation_strategy: strategy.strategy_type,
            cache_hit,
            guided,
        }
    }

    fn slot_of(&self, taken: &Taken, version: u64) -> MemorySlot {
        let Taken { slot, column, bytes, .. } = *taken;
        let before = slot.content_at();
        MemorySlot {
            offset: (self.arena.offset_of(slot.block().as_ptr()).unwrap_or(0) + before) as u64,
            size_bytes: bytes as usize - before,
            column,
            version,
        }
    }

    /// A new version of a concept beside the old one, and then one swap: readers see the one or the other.
    ///
    /// Its id, type, links and column stay, and so do its priority and what it asked for (`resource_requirements`: the new slot
    /// holds at least `memory_size`, too); its first spike is that of the new content. Both versions count against the quota for a
    /// moment. Waits as [`allocate_memory`](Self::allocate_memory) does.
    ///
    /// # Errors
    /// [`AllocationError::NotFound`], [`Invalid`](AllocationError::Invalid) if the content is above 16 MiB,
    /// [`Busy`](AllocationError::Busy), [`QuotaExceeded`](AllocationError::QuotaExceeded),
    /// [`OutOfMemory`](AllocationError::OutOfMemory), and [`Internal`](AllocationError::Internal), which would be a bug here; the old
    /// version stays then. `Busy` is also a concept that a batch under way has allocated, and may still undo: that is not waited for.
    pub fn update(&self, concept_id: &str, content: &str) -> Result<AllocationResult, AllocationError> {
        self.update_bytes(concept_id, content.as_bytes()).map(|granted| self.told(&granted))
    }

    /// As [`update`](Self::update), with content of any bytes.
    pub(crate) fn update_bytes(&self, concept_id: &str, content: &[u8]) -> Result<Granted, AllocationError> {
        let start = Instant::now();
        check_content(content.len())?;
        let not_found = || AllocationError::NotFound { concept_id: concept_id.to_owned() };
        let asked = self.with_concept(concept_id, |old| (old.priority, old.accesses)).ok_or_else(not_found)?;
        let features = Features::of(Stimulus::Content(content))?;
        let encoding = self.ttfs.encode_features(&features, asked.0, asked.1)?;
        let _permit = self.admit(encoding.first_spike, self.admission_timeout)?;
        let node = self.registry.find(concept_id).ok_or_else(not_found)?;
        let mut state = node.lock().ok_or_else(not_found)?;
        let old = node.block().map(Slot::at).ok_or_else(not_found)?;
        self.stands(concept_id, &state)?;
        // Nobody is pinned while memory is looked for: what was freed just now could not come back (V2). The old version cannot go, its
        // node is locked.
        let (before, encoding) = {
            let pinned = self.epoch.pin();
            let Concept { concept_type, version, wanted, accesses, priority, strategy, pool, .. } = old.read(&pinned);
            // Freed and allocated anew since, it is another concept, with a priority of its own.
            let is_same = (priority, accesses) == asked;
            let encoding = if is_same { encoding } else { self.ttfs.encode_features(&features, priority, accesses)? };
            let spike = encoding.first_spike;
            (Concept { id: concept_id, concept_type, content, version, spike, wanted, accesses, priority, strategy, pool }, encoding)
        };
        let strategy = self.reconsider(&node, &mut state, &before, features.information());
        let column = self.cortex.column(node.number).unwrap_or(0);
        let concept = Concept { version: before.version + 1, strategy: strategy.strategy_type, ..before };
        // That of its type may be gone since the region was written, if another one has served it.
        let own = self.find_pool(before.concept_type).unwrap_or(usize::from(state.pool));
        let spike = strategy.placement.spike(concept.spike);
        let taken = self.take(own, column, &concept, spike, Terms::alone(old.mark(), &WaitBudget::new()))?;
        let Taken { slot, pool, bytes, .. } = taken;
        if taken.column != column {
            self.cortex.relocated(node.number, taken.column);
        }
        node.set_block(&state, Some(slot.block()));
        let old_pool = usize::from(state.pool);
        self.pools[old_pool].refund(state.bytes);
        self.churn.fetch_add(1, Relaxed);
        (state.pool, state.bytes, state.strategy) = (pool as u8, bytes, Some(concept.strategy));
        self.discard(old);
        let placed = Placed { taken, confidence: 0.0, cache_hit: false, guided: self.guidance };
        Ok(self.granted(&placed, encoding, strategy, concept.version, start))
    }

    /// Refuses what a batch under way has allocated, and may still undo. The caller has the lock of its node, which has a slot.
    pub(super) fn stands(&self, concept_id: &str, state: &State) -> Result<(), AllocationError> {
        if self.batches.has(state.batch) {
            return Err(AllocationError::Busy { what: Occupied::Concept { concept_id: concept_id.to_owned() } });
        }
        Ok(())
    }

    /// What slots are marked with that are no part of a batch under way.
    pub(super) fn mark(&self) -> u64 {
        self.durable.as_ref().map_or(MARK, Durable::mark)
    }

    /// How a concept is served from here on, by how often it was read lately, and how much information it carries.
    pub(super) fn reconsider(&self, node: &Node, state: &mut State, concept: &Concept, information: f64) -> Strategy {
        let now = self.since_open_ns(Instant::now());
        state.note_reads(node, now);
        let evidence = Evidence {
            information,
            content_bytes: concept.content.len(),
            slot_bytes: concept.content.len().max(concept.wanted),
            expected_per_s: f64::from(concept.accesses),
            observed_per_s: state.rate.per_s(now),
        };
        Strategy::of(&evidence, state.strategy)
    }

    /// Looks at a concept as it is now.
    pub(super) fn with_concept<T>(&self, concept_id: &str, look: impl FnOnce(&Concept) -> T) -> Option<T> {
        let pinned = self.epoch.pin();
        let block = self.registry.look(concept_id, Node::block)??;
        Some(look(&Slot::at(block).read(&pinned)))
    }
}

/// The hints that name other concepts: what could not be an id names nobody.
pub(super) fn others_named<'a>(request: &Asked<'a>) -> impl DoubleEndedIterator<Item = &'a str> {
    let id = request.concept_id;
    request.locality_hints.iter().map(String::as_str).filter(move |&hint| hint != id && is_concept_id(hint))
}

/// Two texts in one: `concat` without its detours, five times for each answer.
fn joined(label: &str, rest: &str) -> String {
    let mut text = String::with_capacity(label.len() + rest.len());
    text.push_str(label);
    text.push_str(rest);
    text
}

/// A label and a number.
fn numbered(label: &str, number: u32) -> String {
    joined(label, itoa::Buffer::new().format(number))
}

#[cfg(test)]
mod tests;
