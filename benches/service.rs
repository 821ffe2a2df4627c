//! The service's operations: what a remembered decision saves, and what a read costs.
//!
//! `cargo bench --bench service`

use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use engram::guidance::{
    AllocationStrategyType::Balanced, Decision, DecisionCache, DecisionKey, Evidence, Features, MultiColumnProcessor, Recall, Strategy,
    TtfsIntegrationService,
};
use engram::service::{AllocationRequest, AllocationServiceConfig, ConceptType, MemoryAllocationService};

const TEXT: &str = "a small carnivore of the family Felidae, kept as a pet or for catching mice; it purrs";

fn request(id: usize) -> AllocationRequest {
    AllocationRequest::new(format!("concept-{id}"), ConceptType::ENTITY, TEXT)
}

/// A decision made afresh (features, first spike, strategy, competition of 64 columns), and remembered.
fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    let request = request(0);
    let encoder = TtfsIntegrationService::new();
    let cortex = MultiColumnProcessor::new().start(64);
    (0..1000).for_each(|concept| _ = cortex.link(concept, (concept * 7 + 1) % 1000));
    let mut next = 0;
    group.bench_function("fresh", |bencher| {
        bencher.iter(|| {
            let features = Features::of(request.stimulus()).expect("content is in range");
            let encoding = encoder.encode_features(&features, request.priority, 0.0);
            let evidence = Evidence { information: features.information(), ..Evidence::default() };
            let strategy = Strategy::of(&evidence, None);
            next = (next + 1) % 1000;
            (encoding, cortex.place(next, &features, &strategy.placement))
        });
    });
    let cache = DecisionCache::new(1000, Duration::from_secs(3600)).expect("memory for 1,000 decisions");
    let encoding = encoder.encode(request.stimulus(), request.priority, 0.0).expect("content is in range");
    let decision = Decision { column: 3, encoding, strategy: Balanced, confidence: 0.5 };
    if let Recall::Miss(undecided) = cache.recall(DecisionKey::of(&request, &[]), 0) {
        cache.remember(undecided, &decision, 0);
    }
    group.bench_function("remembered", |bencher| bencher.iter(|| cache.recall(DecisionKey::of(&request, &[]), 1)));
    group.finish();
}

fn concepts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("concept");
    let service = MemoryAllocationService::open(AllocationServiceConfig::default()).expect("the default config is in range");
    (0..10_000).for_each(|id| _ = service.allocate_memory(request(id)));
    let ids: Vec<_> = (0..1000).map(|id| format!("concept-{id}")).collect();
    let mut next = 0;
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            next = (next + 7) % ids.len();
            service.read(&ids[next]).map(|guard| guard.len())
        });
    });
    let mut id = 10_000;
    group.bench_function("allocate and deallocate", |bencher| {
        bencher.iter_batched(
            || {
                id += 1;
                request(id)
            },
            |request| {
                let concept_id = request.concept_id.clone();
                service.allocate_memory(request).and_then(|_| service.deallocate_memory(concept_id.into()))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// 10,000 concepts that know their neighbours, into an empty service: one by one, by a caller that keeps the answers and by one
/// that does not, and in one call.
fn batch(criterion: &mut Criterion) {
    const CONCEPTS: usize = 10_000;
    let mut requests: Vec<_> = (0..CONCEPTS)
        .map(|id| AllocationRequest::new(format!("concept-{id}"), ConceptType::ENTITY, format!("{TEXT} {}", id * 7919)))
        .collect();
    for (id, request) in requests.iter_mut().enumerate() {
        request.locality_hints = [1, 2, 97].map(|apart| format!("concept-{}", (id + apart) % CONCEPTS)).to_vec();
    }
    let ready = || {
        let service = MemoryAllocationService::open(AllocationServiceConfig::default()).expect("the default config is in range");
        (service, requests.clone())
    };
    let mut group = criterion.benchmark_group("10,000 allocations");
    group.sample_size(20);
    group.bench_function("one by one", |bencher| {
        let serve = |(service, requests): (MemoryAllocationService, Vec<AllocationRequest>)| {
            for request in requests {
                let _ = service.allocate_memory(request);
            }
            service
        };
        bencher.iter_batched(ready, serve, BatchSize::PerIteration);
    });
    group.bench_function("one by one, answers kept", |bencher| {
        let serve = |(service, requests): (MemoryAllocationService, Vec<AllocationRequest>)| {
            let answers: Vec<_> = requests.into_iter().map(|request| service.allocate_memory(request)).collect();
            (service, answers)
        };
        bencher.iter_batched(ready, serve, BatchSize::PerIteration);
    });
    group.bench_function("in one call", |bencher| {
        let serve = |(service, requests): (MemoryAllocationService, Vec<AllocationRequest>)| {
            let answers = service.batch_allocate_memory(requests);
            (service, answers)
        };
        bencher.iter_batched(ready, serve, BatchSize::PerIteration);
    });
    group.finish();
}

/// All concepts of a service, visited column after column in spike order, after churn and after maintenance: each on its
/// own, and each only after the last, as by whoever learns there where to go next. Then the same bytes one after the other.
fn visit(criterion: &mut Criterion) {
    const CONCEPTS: usize = 200_000;
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut of = |id: usize| {
        let seed = random();
        let bytes = 64 + (seed % 193) as usize;
        let words = (0..40_u64).map(|word| format!("{:x}", seed.wrapping_mul(word * 2 + 1) >> 40)).collect::<Vec<_>>().join(" ");
        AllocationRequest::new(format!("concept-{id}"), ConceptType::ENTITY, &words[..bytes.min(words.len())])
    };
    let service = MemoryAllocationService::open(AllocationServiceConfig::default()).expect("the default config is in range");
    (0..CONCEPTS).for_each(|id| _ = service.allocate_memory(of(id)));
    for turn in 0..2 * CONCEPTS {
        let id = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) % CONCEPTS;
        let _ = service.deallocate_memory(format!("concept-{id}").into());
        let _ = service.allocate_memory(of(id));
    }
    let mut group = criterion.benchmark_group("200,000 visits in spike order");
    group.sample_size(10);
    for name in ["after churn", "after maintenance"] {
        let mut order: Vec<_> = service.concept_ids().into_iter().filter_map(|id| Some((service.column_of(&id)?, id))).collect();
        order.sort_by_key(|(column, id)| (*column, service.read(id).map(|guard| guard.spike()).ok()));
        let guards: Vec<_> = order.iter().filter_map(|(_, id)| service.read(id).ok()).collect();
        group.bench_function(name, |bencher| {
            bencher.iter(|| at_once(guards.iter().map(|guard| &**guard)));
        });
        group.bench_function(format!("{name}, each waiting for the last"), |bencher| {
            bencher.iter(|| in_turn(guards.iter().map(|guard| &**guard)));
        });
        let plain: Vec<_> = guards.iter().flat_map(|guard| guard.iter().copied()).collect();
        if name == "after maintenance" {
            let mut rest = &plain[..];
            let slices: Vec<_> = guards.iter().filter_map(|guard| rest.split_off(..guard.len())).collect();
            group.bench_function("one after the other", |bencher| bencher.iter(|| at_once(slices.iter().copied())));
            group.bench_function("one after the other, each waiting for the last", |bencher| {
                bencher.iter(|| in_turn(slices.iter().copied()));
            });
        }
        drop(guards);
        while service.maintain(Duration::from_millis(5)).more {}
    }
    group.finish();
}

/// A byte of each line of each, whichever the processor comes to first.
fn at_once<'a>(contents: impl Iterator<Item = &'a [u8]>) -> u64 {
    contents.flat_map(|content| content.chunks(64)).fold(0, |sum, line| sum.wrapping_add(u64::from(line[0])))
}

/// The same; where the next one is looked at depends on what was read of the last.
fn in_turn<'a>(contents: impl Iterator<Item = &'a [u8]>) -> u64 {
    contents.fold(0, |sum, content| {
        // Never true, which the processor does not know before it has the byte.
        let skip = usize::from(sum == u64::MAX);
        content.get(skip..).unwrap_or_default().chunks(64).fold(sum, |sum, line| sum.wrapping_add(u64::from(line[0])))
    })
}

criterion_group!(benches, decide, concepts, batch, visit);
criterion_main!(benches);
