//! WordNet through the memory allocation service: what guidance makes of a knowledge graph.
//!
//! Every synset is allocated as a concept, with its neighbours as hints, in the order of the file. Then maintenance
//! runs until it has nothing left to do, contents are read back and checked, and all is freed and allocated once more,
//! from remembered decisions. The same load with one voter switched off at a time shows what each is worth. A pool
//! with a small quota shows how refusals read.

pub mod graph;
mod page;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use engram::guidance::Voters;
use engram::service::{
    AllocationEngine, AllocationError, AllocationPriority, AllocationRequest, AllocationServiceConfig, AllocationServiceError, ConceptType,
    MemoryAllocationService, MultiColumnProcessor, PoolConfig, TtfsIntegrationService,
};

use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::concepts::{ActivationPages, ConceptsReport, Load, Maintenance, PoolRow, Refusals, Spikes, Worth};
use crate::stats::quantile;
use graph::Graph;

const NAME: &str = "concepts";
const COLUMNS: u32 = 64;
/// Of a call of maintenance.
const BUDGET: Duration = Duration::from_millis(2);
/// Concepts that are read again and again.
const HOT: usize = 1000;
const READS: usize = 1_000_000;
/// Concepts from which an activation spreads.
const SEEDS: usize = 20_000;
/// Quota of the small pool, in bytes.
const SMALL: usize = 1 << 20;

/// Steps of progress that [`measure`] takes.
pub const fn steps() -> u64 {
    5 + WITHOUT.len() as u64
}

/// What each voter is worth: the load without it.
const WITHOUT: [(&str, Voters); 5] = [
    ("without known edges", Voters { structural: 0.0, ..Voters::ALL }),
    ("without content", Voters { semantic: 0.0, ..Voters::ALL }),
    ("without recent use", Voters { temporal: 0.0, ..Voters::ALL }),
    ("without novelty", Voters { exception: 0.0, ..Voters::ALL }),
    ("known edges alone", Voters { structural: 0.8, ..Voters::NONE }),
];

/// Loads, maintains, reads and frees it.
///
/// # Errors
/// [`Failure`] if the shipped files are damaged or the service refuses what it should not.
pub fn measure(progress: &Progress) -> Result<ConceptsReport, Failure> {
    progress.stage(NAME, "reading the graph");
    let graph = Graph::shipped()?;
    progress.step();

    progress.stage(NAME, "allocating 117,659 concepts");
    let service = open(config(), Voters::ALL)?;
    let fresh = load(&service, &graph)?;
    let loaded = service.get_allocation_metrics();
    progress.step();

    let pages_loaded = activation_pages(&service, &graph)?;
    progress.stage(NAME, "maintenance");
    let began = Instant::now();
    let (mut relocated, mut calls) = (0, 0_u64);
    loop {
        let report = service.maintain(BUDGET);
        (relocated, calls) = (relocated + report.relocated, calls + 1);
        if !report.more {
            break;
        }
    }
    let took = began.elapsed();
    let maintained = service.get_allocation_metrics();
    let maintenance = Maintenance {
        seconds: took.as_secs_f64(),
        calls,
        relocations_a_concept: relocated as f64 / graph.requests.len() as f64,
        cut: maintained.edge_cut,
        utilization: maintained.memory_utilization,
    };
    let pages_maintained = activation_pages(&service, &graph)?;
    let page = page::write(&service);
    progress.step();

    progress.stage(NAME, "reading and allocating again");
    let (read_ns, damaged) = reads(&service, &graph)?;
    for request in &graph.requests {
        service.deallocate_memory(request.concept_id.as_str().into()).map_err(|source| refused("freeing", &source))?;
    }
    let again = load(&service, &graph)?;
    let pools = service.get_allocation_metrics().pool_statistics;
    let pools = pools.into_iter().filter(|pool| pool.allocations > 0).map(|pool| PoolRow {
        pool: pool.pool_id,
        used_bytes: pool.used_bytes,
        peak_bytes: pool.peak_bytes,
        allocations: pool.allocations,
        expansions: pool.expansions,
    });
    let pools = pools.collect();
    progress.step();

    let unguided = AllocationServiceConfig { guidance: false, ..config() };
    let hashed = open(unguided, Voters::ALL)?;
    load(&hashed, &graph)?;
    let mut worth = vec![
        Worth { name: "all voters".to_owned(), cut: loaded.edge_cut },
        Worth { name: "after maintenance".to_owned(), cut: maintained.edge_cut },
        Worth { name: "a hash of the id".to_owned(), cut: hashed.get_allocation_metrics().edge_cut },
    ];
    let pages = ActivationPages { hashed: activation_pages(&hashed, &graph)?, loaded: pages_loaded, maintained: pages_maintained };
    progress.step();
    for (name, voters) in WITHOUT {
        progress.stage(NAME, name);
        worth.push(Worth { name: name.to_owned(), cut: cut_of(config(), voters, &graph)? });
        progress.step();
    }
    Ok(ConceptsReport {
        concepts: graph.requests.len(),
        edges: graph.edges,
        columns: COLUMNS,
        fresh,
        again,
        read_ns,
        utilization: loaded.memory_utilization,
        worth,
        pages,
        maintenance,
        spikes: spikes(&graph)?,
        pools,
        refusals: refusals(&graph)?,
        page,
        damaged,
    })
}

fn config() -> AllocationServiceConfig {
    AllocationServiceConfig { columns: COLUMNS, allocation_cache_size: 1 << 17, ..AllocationServiceConfig::default() }
}

fn open(config: AllocationServiceConfig, voters: Voters) -> Result<MemoryAllocationService, Failure> {
    let processor = MultiColumnProcessor::new().with_voters(voters);
    let opened = MemoryAllocationService::new(AllocationEngine::new(), TtfsIntegrationService::new(), processor, config);
    opened
        .map_err(|source: AllocationServiceError| Failure::Service { doing: "opening the service".to_owned(), message: source.to_string() })
}

fn refused(doing: &str, source: &AllocationError) -> Failure {
    Failure::Service { doing: doing.to_owned(), message: source.to_string() }
}

/// Allocates all concepts, one by one.
fn load(service: &MemoryAllocationService, graph: &Graph) -> Result<Load, Failure> {
    let requests = graph.requests.clone();
    let mut times = Vec::with_capacity(requests.len());
    let mut hits = 0;
    let began = Instant::now();
    for request in requests {
        let result = service.allocate_memory(request).map_err(|source| refused("allocating", &source))?;
        hits += u64::from(result.cache_hit);
        times.push(result.allocation_time.as_nanos().try_into().unwrap_or(u32::MAX));
    }
    let took = began.elapsed();
    times.sort_unstable();
    Ok(Load {
        a_second: times.len() as f64 / took.as_secs_f64(),
        p50_ns: quantile(&times, 0.5),
        p99_ns: quantile(&times, 0.99),
        p9999_ns: quantile(&times, 0.9999),
        worst_ns: times.last().copied().unwrap_or(0),
        hits: hits as f64 / times.len() as f64,
    })
}

fn cut_of(config: AllocationServiceConfig, voters: Voters, graph: &Graph) -> Result<f64, Failure> {
    let service = open(config, voters)?;
    load(&service, graph)?;
    Ok(service.get_allocation_metrics().edge_cut)
}

/// Pages of 4 KiB that hold the contents which a spreading activation reaches from a concept: its neighbours, and
/// theirs. The mean over [`SEEDS`] concepts.
fn activation_pages(service: &MemoryAllocationService, graph: &Graph) -> Result<f64, Failure> {
    let mut page_of = Vec::with_capacity(graph.requests.len());
    for request in &graph.requests {
        let guard = service.read(&request.concept_id).map_err(|source| refused("reading", &source))?;
        page_of.push(guard.as_ptr().addr() >> 12);
    }
    let mut touched = 0;
    let mut pages = HashSet::new();
    for turn in 0..SEEDS {
        // A multiplier that is coprime to the number of concepts spreads the seeds evenly.
        let seed = turn * 7919 % graph.requests.len();
        pages.clear();
        pages.insert(page_of[seed]);
        for &near in &graph.neighbours[seed] {
            pages.insert(page_of[near]);
            pages.extend(graph.neighbours[near].iter().map(|&far| page_of[far]));
        }
        touched += pages.len();
    }
    Ok(touched as f64 / SEEDS as f64)
}

/// Nanoseconds of a read of what is in the caches, and contents that are not as they were stored.
fn reads(service: &MemoryAllocationService, graph: &Graph) -> Result<(f64, u64), Failure> {
    let mut damaged = 0;
    for request in &graph.requests {
        let guard = service.read(&request.concept_id).map_err(|source| refused("reading", &source))?;
        damaged += u64::from(&*guard != request.content.as_bytes());
    }
    let hot = &graph.requests[..HOT.min(graph.requests.len())];
    let began = Instant::now();
    let mut bytes = 0;
    for turn in 0..READS {
        // A step that is coprime to the number of ids visits all of them.
        bytes += service.read(&hot[turn * 7919 % hot.len()].concept_id).map_or(0, |guard| guard.len());
    }
    std::hint::black_box(bytes);
    Ok((began.elapsed().as_nanos() as f64 / READS as f64, damaged))
}

/// First spikes by priority.
fn spikes(graph: &Graph) -> Result<Vec<Spikes>, Failure> {
    use AllocationPriority::{Critical, High, Low, Normal};
    let encoder = TtfsIntegrationService::new();
    [(Critical, "critical"), (High, "high"), (Normal, "normal"), (Low, "low")]
        .into_iter()
        .map(|(priority, name)| {
            let mut times = Vec::new();
            for request in graph.requests.iter().step_by(100) {
                let encoding = encoder.encode(request.stimulus(), priority, 0.0).map_err(|source| refused("encoding", &source))?;
                times.extend(encoding.first_spike.as_nanos());
            }
            times.sort_unstable();
            let distinct = {
                let mut distinct = times.clone();
                distinct.dedup();
                distinct.len()
            };
            let ms = |share| f64::from(quantile(&times, share)) / 1e6;
            Ok(Spikes { priority: name, earliest_ms: ms(0.0), median_ms: ms(0.5), latest_ms: ms(1.0), distinct, of: times.len() })
        })
        .collect()
}

/// Fills a small pool, half of it kept for early spikes.
fn refusals(graph: &Graph) -> Result<Refusals, Failure> {
    let mut pool = PoolConfig::new(ConceptType::ENTITY, SMALL);
    pool.reserve_bytes = SMALL / 2;
    pool.reserve_spike = engram::SpikeTime::from_nanos(2_900_000);
    let service = open(AllocationServiceConfig { pool_configurations: vec![pool], ..config() }, Voters::ALL)?;
    let requests: Vec<_> = graph
        .requests
        .iter()
        .take(20_000)
        .enumerate()
        .map(|(index, request)| AllocationRequest {
            concept_type: ConceptType::ENTITY,
            priority: if index % 4 == 0 { AllocationPriority::Critical } else { AllocationPriority::Normal },
            ..request.clone()
        })
        .collect();
    let asked = requests.len();
    let urgent: Vec<_> = requests.iter().map(|request| request.priority == AllocationPriority::Critical).collect();
    let results = service.batch_allocate_each(requests);
    let message = results.iter().find_map(|result| result.as_ref().err()).map_or_else(String::new, ToString::to_string);
    let served = |of: bool| results.iter().zip(&urgent).filter(|(result, urgent)| result.is_ok() && **urgent == of).count();
    let used = service.get_allocation_metrics().pool_statistics.first().map_or(0, |pool| pool.used_bytes);
    Ok(Refusals {
        asked,
        served_critical: served(true),
        served_normal: served(false),
        quota_bytes: SMALL as u64,
        used_bytes: used,
        message,
    })
}
