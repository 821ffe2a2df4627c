//! The service itself: its parts, how it is opened, and its metrics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::admission::Gate;
use super::batches::Batches;
use super::config::{AllocationServiceConfig, AllocationServiceError, PoolConfig};
use super::discards::SendBlock;
use super::durable::{Durable, Judged, Sum};
use super::engine::AllocationEngine;
use super::epoch::Epoch;
use super::latencies::Latencies;
use super::lent::LentArena;
use super::pins::Pins;
use super::pool::{Limits, Pool};
use super::registry::Registry;
use super::result::AllocationMetrics;
use super::slot::Slot;
use super::spare::Spare;
use super::upkeep::Upkeep;
use crate::arena::{Arena, ChunkView};
use crate::column::core::COLUMNS_MAX;
use crate::error::Error;
use crate::guidance::{Cortex, DecisionCache, MultiColumnProcessor, TtfsIntegrationService};
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU32, AtomicU64};

/// Memory for concepts: pools with quotas, placement by meaning, neighbours and first spike, batches,
/// maintenance and metrics. See the [module](crate::service).
///
/// Any number of threads may use one, through a shared reference.
///
/// ```
/// use engram::{AllocationRequest, ConceptType, MemoryAllocationService};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let service = MemoryAllocationService::open(Default::default())?;
/// let mut cat = AllocationRequest::new("cat", ConceptType::ENTITY, "a small carnivore that purrs");
/// cat.locality_hints = vec!["feline".to_owned()];
/// let placed = service.allocate_memory(cat)?;
/// let feline = service.allocate_memory(AllocationRequest::new("feline", ConceptType::ENTITY, "of the cats"))?;
/// assert_eq!(placed.cortical_column_id, feline.cortical_column_id);
///
/// assert_eq!(&*service.read("cat")?, b"a small carnivore that purrs");
/// service.update("cat", "it sleeps")?;
/// assert_eq!(service.read("cat")?.version(), 2);
/// service.deallocate_memory("cat".into())?;
/// assert!(service.read("cat").is_err());
/// # Ok(())
/// # }
/// ```
pub struct MemoryAllocationService {
    /// Blocks on their way back know it weakly: once the service is closed, there is nothing to give back.
    pub(super) arena: LentArena,
    /// Needed by them, too.
    pub(super) pins: Arc<Pins>,
    /// And what is known of memory that is free.
    pub(super) spare: Arc<Spare>,
    /// What it keeps in its file beside slots.
    pub(super) durable: Option<Durable>,
    pub(super) engine: AllocationEngine,
    pub(super) ttfs: TtfsIntegrationService,
    pub(super) cortex: Cortex,
    pub(super) decisions: DecisionCache,
    pub(super) pools: Box<[Pool]>,
    pub(super) registry: Registry,
    /// Who still reads what.
    pub(super) epoch: Epoch,
    /// What was discarded, and is not the epoch's yet.
    pub(super) discards: Mutex<Vec<SendBlock>>,
    pub(super) gate: Gate,
    pub(super) admission_timeout: Duration,
    pub(super) batch_size: usize,
    pub(super) guidance: bool,
    pub(super) seed: u64,
    pub(super) upkeep: Mutex<Upkeep>,
    /// 1 if anything was read since maintenance looked.
    pub(super) was_read: AtomicU32,
    /// Concepts freed or updated.
    pub(super) churn: AtomicU64,
    pub(super) batches: Batches,
    /// Numbers that may be free, but somebody was at their nodes: maintenance sees.
    pub(super) busy: Mutex<BTreeSet<u32>>,
    pub(super) relocations: AtomicU64,
    pub(super) allocations: Latencies,
    opened: Instant,
}

impl MemoryAllocationService {
    /// A service of the given parts. Calls the system: it reserves the memory, and touches what the pools
    /// are to have ready. In a region file that was there before, every concept is there again, with its id, type, content,
    /// version, first spike, column and links, and the pools hold what they held.
    ///
    /// # Errors
    /// [`AllocationServiceError::Invalid`] names what is wrong with the config;
    /// [`Arena`](AllocationServiceError::Arena) says why the memory, or the file, could not be had. So it does of host memory that
    /// grows with the config. Where there is none for smaller things, here or later, the process ends, as it does wherever a
    /// `Vec` finds none; a region file is as after a kill then.
    #[expect(clippy::needless_pass_by_value, reason = "the face of the specification")]
    pub fn new(
        engine: AllocationEngine,
        ttfs: TtfsIntegrationService,
        processor: MultiColumnProcessor,
        config: AllocationServiceConfig,
    ) -> Result<Self, AllocationServiceError> {
        config.validate()?;
        let no_memory = |what| Error::Os { what, code: libc::ENOMEM };
        let decisions = DecisionCache::new(config.allocation_cache_size, config.allocation_cache_ttl);
        let decisions = decisions.map_err(|_| no_memory("give memory for remembered decisions"))?;
        // Before anything is opened; the arena refuses what is above the most.
        let cortex = processor.try_start(config.columns.min(COLUMNS_MAX)).map_err(|_| no_memory("give memory for what columns learn"))?;
        let builder = Arena::builder().capacity(config.capacity_bytes).columns(config.columns).narrow();
        let builder = config.path.as_ref().map_or(builder.clone(), |path| builder.path(path));
        let pools: Box<[Pool]> = config.pool_configurations.iter().map(pool_of).collect();
        let registry = Registry::new(config.seed);
        let epoch = registry.epoch().clone();
        let pinned = epoch.pin();
        let judge = |arena: &Arena| config.path.is_some().then(|| Judged::of(arena, &pools, &pinned)).transpose();
        let (mut arena, judged) = builder.build_if(judge)?;
        let initial = config.pool_configurations.iter().map(|pool| pool.initial_bytes).sum();
        arena.touch(initial);
        let durable = judged.map(|judged| Durable::open(&arena, judged, &pools, &registry, &cortex)).transpose()?;
        drop(pinned);
        Ok(Self {
            durable,
            cortex,
            arena: LentArena::new(arena),
            pins: Arc::new(Pins::new()),
            spare: Arc::new(Spare::new()),
            engine,
            ttfs,
            decisions,
            pools,
            registry,
            epoch,
            discards: Mutex::default(),
            gate: Gate::new(config.max_concurrent_allocations),
            admission_timeout: config.admission_timeout,
            batch_size: config.batch_size,
            guidance: config.guidance,
            seed: config.seed,
            upkeep: Mutex::default(),
            was_read: AtomicU32::new(0),
            churn: AtomicU64::new(0),
            batches: Batches::new(),
            busy: Mutex::default(),
            relocations: AtomicU64::new(0),
            allocations: Latencies::new(),
            opened: Instant::now(),
        })
    }

    /// A service whose parts are made from the config.
    ///
    /// # Errors
    /// As [`MemoryAllocationService::new`].
    pub fn open(config: AllocationServiceConfig) -> Result<Self, AllocationServiceError> {
        Self::new(AllocationEngine::new(), TtfsIntegrationService::new(), MultiColumnProcessor::new(), config)
    }

    /// Nanoseconds from the service's opening to a later moment.
    pub(super) fn since_open_ns(&self, moment: Instant) -> u64 {
        moment.duration_since(self.opened).as_nanos() as u64
    }

    /// A snapshot of all counters, taken without stopping anyone. Grows with the concepts, the known edges
    /// and the capacity: for a look now and then, not for each allocation. Calls the system.
    pub fn get_allocation_metrics(&self) -> AllocationMetrics {
        // All that was freed before all that was allocated: whatever was freed is found allocated, in whichever pool.
        let freed: Vec<_> = self.pools.iter().map(Pool::deallocations).collect();
        let pool_statistics: Vec<_> = self.pools.iter().zip(freed).map(|(pool, freed)| pool.statistics(freed)).collect();
        let total: u64 = pool_statistics.iter().map(|pool| pool.allocations).sum();
        let gone: u64 = pool_statistics.iter().map(|pool| pool.deallocations).sum();
        let found: u64 = self.pools.iter().map(Pool::found).sum();
        let times = self.allocations.summary();
        let (hits, misses) = (self.decisions.hits(), self.decisions.misses());
        let cut = self.cortex.cut();
        AllocationMetrics {
            total_allocations: total,
            active_allocations: (total + found).saturating_sub(gone),
            average_allocation_time: times.mean,
            allocation_time_p50: times.p50,
            allocation_time_p99: times.p99,
            allocation_time_max: times.max,
            memory_utilization: self.utilization(),
            fragmentation_level: fragmentation(&self.arena),
            cache_hit_rate: share(hits, hits + misses),
            retries: self.arena.metrics().retries,
            relocations: self.relocations.load(Relaxed),
            edge_cut: cut.share(),
            pool_statistics,
        }
    }

    /// Bytes that live concepts use over bytes of the pages that hold them.
    fn utilization(&self) -> f64 {
        let _pinned = self.epoch.pin();
        let mut used = 0;
        self.registry.each_live(|_, block| used += Slot::at(block).used_bytes() as u64);
        if used == 0 { 1.0 } else { share(used, self.arena.resident_bytes().max(used)) }
    }

    /// What each chunk and span of the memory serves, in address order: see [`Arena::map`]. Any thread; grows with the chunks, in time
    /// and in host memory.
    pub fn heap_map(&self) -> Vec<ChunkView> {
        self.arena.map()
    }

    /// Brings all that was written to the disk of the region file; of anonymous memory there is nothing to bring. After it has
    /// returned, and as long as nothing changes, the file outlives a loss of power. Blocks.
    ///
    /// # Errors
    /// [`AllocationServiceError::Arena`] if the system refuses.
    pub fn sync(&self) -> Result<(), AllocationServiceError> {
        Ok(self.arena.sync()?)
    }

    /// Whether the region file had not been closed when it was opened: its process died.
    pub fn was_recovered(&self) -> bool {
        self.arena.was_recovered()
    }
}

impl Drop for MemoryAllocationService {
    fn drop(&mut self) {
        // In a forked child its parent goes on, and may have been at a concept when it was forked.
        let durable = self.durable.as_ref().filter(|_| !self.arena.is_parents());
        let mut slots = Sum::default();
        if durable.is_some() {
            self.registry.each_live(|_, block| slots.add(Slot::at(block)));
        }
        // Nobody reads any more, but what waited for readers would stay on the heap for as long as this thread's handle.
        self.epoch.leave();
        if let Some(durable) = durable {
            self.arena.close(|_| durable.note_closed(&slots));
        }
    }
}

impl core::fmt::Debug for MemoryAllocationService {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MemoryAllocationService").field("arena", &*self.arena).field("pools", &self.pools.len()).finish_non_exhaustive()
    }
}

fn pool_of(config: &PoolConfig) -> Pool {
    let limits = Limits {
        initial_bytes: config.initial_bytes as u64,
        quota_bytes: config.quota_bytes as u64,
        reserve_bytes: config.reserve_bytes as u64,
        reserve_spike: config.reserve_spike,
    };
    Pool::new(config.concept_type, limits, &config.alternatives)
}

#[expect(clippy::cast_precision_loss, reason = "bytes and counts, far below 2^53")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// 1 less the longest run of free spans over all bytes that are free, 0 to 1; 0 if nothing is. Looks at every chunk.
fn fragmentation(arena: &Arena) -> f64 {
    let free = (arena.capacity() as u64).saturating_sub(arena.metrics().bytes_live);
    if free == 0 { 0.0 } else { 1.0 - share(arena.longest_free_bytes().min(free), free) }
}

#[cfg(test)]
mod tests;
