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
    let cache = DecisionCache::new(1000, Duration::from_secs(3600));
    let encoding = encoder.encode(request.stimulus(), request.priority, 0.0).expect("content is in range");
    let decision = Decision { column: 3, encoding, strategy: Balanced, confidence: 0.5 };
    if let Recall::Miss(undecided) = cache.recall(DecisionKey::of(&request, &[], 0), 0) {
        cache.remember(undecided, &decision, 0);
    }
    group.bench_function("remembered", |bencher| bencher.iter(|| cache.recall(DecisionKey::of(&request, &[], 0), 1)));
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

criterion_group!(benches, decide, concepts);
criterion_main!(benches);
