use std::collections::{BTreeMap, BTreeSet};

use super::super::allocation::Learnt;
use super::super::node::Node;
use super::super::{
    AllocationEngine, AllocationPriority, AllocationRequest, AllocationServiceConfig, ConceptType, MemoryAllocationService,
    MultiColumnProcessor, PoolConfig, ResourceRequirements, TtfsIntegrationService,
};
use crate::guidance::GraphLimits;

fn hinting(id: String, hints: Vec<String>) -> AllocationRequest {
    AllocationRequest { locality_hints: hints, ..AllocationRequest::new(id, ConceptType::ENTITY, "content") }
}

fn tight(path: Option<std::path::PathBuf>) -> AllocationServiceConfig {
    AllocationServiceConfig {
        capacity_bytes: 8 << 20,
        columns: 2,
        path,
        pool_configurations: vec![PoolConfig::new(ConceptType::ENTITY, 16)],
        ..AllocationServiceConfig::default()
    }
}

/// Runs a test of a service in memory, and of one in a file.
fn in_memory_and_in_a_file(name: &str, test: impl Fn(AllocationServiceConfig)) {
    let file = std::env::temp_dir().join(format!("engram-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&file);
    test(tight(None));
    test(tight(Some(file.clone())));
    std::fs::remove_file(file).unwrap();
}

/// The same with room for events.
fn with_room_for_events(mut config: AllocationServiceConfig) -> AllocationServiceConfig {
    config.pool_configurations.push(PoolConfig::new(ConceptType::EVENT, 1 << 20));
    config
}

/// Whoever is refused again and again would fill the host's memory.
#[test]
fn refused_requests_leave_neither_nodes_nor_edges_behind() {
    in_memory_and_in_a_file("refused", |config| {
        let service = MemoryAllocationService::open(config).unwrap();
        for round in 0..50 {
            let request =
                |which: u32| hinting(format!("r{round} {which}"), vec![format!("h{round} {which}"), format!("r{round} {}", which + 1)]);
            service.allocate_memory(request(0)).unwrap_err();
            service.batch_allocate_memory((0..20).map(request).collect()).unwrap_err();
            assert!(service.batch_allocate_each((0..20).map(request).collect()).iter().all(Result::is_err));
        }
        assert_eq!((service.cortex.edges(), service.registry.numbers.read().free.len()), (0, service.registry.numbers() as usize));
    });
}

/// The same where concepts that are there name them, or are named by them: these would be known to so many that they could know no
/// one else, and those that are named beside them would be known when they are no more.
#[test]
fn refused_requests_leave_nothing_behind_that_concepts_which_are_there_have_not_said() {
    in_memory_and_in_a_file("refused-there", |config| {
        let config = with_room_for_events(config);
        let service = MemoryAllocationService::open(config.clone()).unwrap();
        let known = |service: &MemoryAllocationService| service.registry.numbers() as usize - service.registry.numbers.read().free.len();
        for round in 0..50 {
            let names = vec![format!("r{round} 0"), format!("r{round} 1")];
            let there = AllocationRequest { concept_type: ConceptType::EVENT, ..hinting("there".to_owned(), names) };
            service.allocate_memory(there).unwrap();
            let request = |which: u32| {
                let mut hints = vec![format!("h{round} {which}"), format!("r{round} {}", which + 1)];
                // Who is named by it names nobody that is there.
                hints.extend((which > 1).then(|| "there".to_owned()));
                hinting(format!("r{round} {which}"), hints)
            };
            service.allocate_memory(request(1)).unwrap_err();
            service.batch_allocate_memory((1..20).map(request).collect()).unwrap_err();
            assert!(service.batch_allocate_each((1..20).map(request).collect()).iter().all(Result::is_err));
            assert_eq!((service.cortex.edges(), known(&service)), (2, 3), "what it has named itself");
            service.deallocate_memory("there".into()).unwrap();
            assert_eq!((service.cortex.edges(), known(&service)), (0, 0));
        }
        // In the file, too: one that was refused comes again without its hint.
        let event = |id: &str, hints| AllocationRequest { concept_type: ConceptType::EVENT, ..hinting(id.to_owned(), hints) };
        service.allocate_memory(event("there", vec!["r0".to_owned()])).unwrap();
        for id in ["r0", "r1", "r2"] {
            service.allocate_memory(hinting(id.to_owned(), vec!["there".to_owned()])).unwrap_err();
        }
        service.allocate_memory(event("r0", vec![])).unwrap();
        service.allocate_memory(event("r1", vec!["there".to_owned()])).unwrap();
        service.allocate_memory(event("r2", vec![])).unwrap();
        // What "there" has named itself, and what "r1" names now.
        assert_eq!((service.cortex.edges(), known(&service)), (2, 4));
        drop(service);
        if config.path.is_some() {
            let service = MemoryAllocationService::open(config).unwrap();
            assert_eq!((service.cortex.edges(), known(&service)), (2, 4));
        }
    });
}

/// However many hints there are beside the one that says what is known.
#[test]
fn a_refused_request_of_many_hints_forgets_only_what_it_made_known() {
    in_memory_and_in_a_file("refused-many", |config| {
        let service = MemoryAllocationService::open(with_room_for_events(config)).unwrap();
        let there = AllocationRequest { concept_type: ConceptType::EVENT, ..hinting("there".to_owned(), vec!["r".to_owned()]) };
        service.allocate_memory(there).unwrap();
        for place in [0, 62, 63, 64, 127, 128, 199] {
            let mut hints: Vec<_> = (0..199).map(|which| format!("h{which}")).collect();
            hints.insert(place, "there".to_owned());
            let request = || hinting("r".to_owned(), hints.clone());
            service.allocate_memory(request()).unwrap_err();
            assert_eq!(service.cortex.edges(), 1, "what \"there\" has named itself");
            service.batch_allocate_memory(vec![request()]).unwrap_err();
            assert!(service.batch_allocate_each(vec![request()])[0].is_err());
            assert_eq!(service.cortex.edges(), 1);
        }
    });
}

/// One that others have forgotten and made known again, the other way round.
#[test]
fn an_edge_is_forgotten_in_a_file_whichever_end_made_it_known() {
    let path = std::env::temp_dir().join(format!("engram-edge-ends-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let config =
        AllocationServiceConfig { pool_configurations: vec![PoolConfig::new(ConceptType::ENTITY, 1 << 20)], ..tight(Some(path.clone())) };
    let service = MemoryAllocationService::open(config.clone()).unwrap();
    for id in ["a", "b", "c"] {
        service.allocate_memory(hinting(id.to_owned(), vec![])).unwrap();
    }
    for id in ["b", "c"] {
        service.link("a", id).unwrap();
    }
    let [a, b] = ["a", "b"].map(|id| service.registry.node(id));
    let durable = service.durable.as_ref().unwrap();
    durable.unlink(&service.arena, [b.id(), a.id()], || service.cortex.unlink(b.number, a.number)).unwrap();
    assert_eq!(service.cortex.edges(), 1);
    drop((a, b, service));
    assert_eq!(MemoryAllocationService::open(config).unwrap().cortex.edges(), 1);
    std::fs::remove_file(path).unwrap();
}

/// What has no room behind the log makes some in it. Seen with: ends for which there is no room left out.
#[test]
fn what_ends_in_a_full_file_is_not_known_after_reopening() {
    let path = std::env::temp_dir().join(format!("engram-ends-full-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let pool_configurations = [ConceptType::ENTITY, ConceptType::EVENT].map(|name| PoolConfig::new(name, 2 << 20)).to_vec();
    let config = AllocationServiceConfig { capacity_bytes: 2 << 20, columns: 1, pool_configurations, ..tight(Some(path.clone())) };
    let service = MemoryAllocationService::open(config.clone()).unwrap();
    service.allocate_memory(hinting("hub".to_owned(), vec![])).unwrap();
    // As many as have room in one block of the log beside what is kept for ends.
    for leaf in 0..890 {
        service.allocate_memory(hinting(leaf.to_string(), vec!["hub".to_owned()])).unwrap();
    }
    let large = |id: u32| AllocationRequest::new(format!("large {id}"), ConceptType::EVENT, "x".repeat(16_000));
    while service.allocate_memory(large(service.cortex.live())).is_ok() {}
    for leaf in (0..890).step_by(2) {
        service.deallocate_memory(leaf.to_string().as_str().into()).unwrap();
    }
    for leaf in (0..890).step_by(2) {
        service.allocate_memory(hinting(leaf.to_string(), vec![])).unwrap();
    }
    assert_eq!(service.cortex.edges(), 445);
    drop(service);
    assert_eq!(MemoryAllocationService::open(config).unwrap().cortex.edges(), 445);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn of_several_with_one_id_in_a_batch_the_hints_of_the_served_one_are_known() {
    let with_room =
        |bytes| AllocationServiceConfig { pool_configurations: vec![PoolConfig::new(ConceptType::ENTITY, bytes)], ..tight(None) };
    let hinting = |id: &str, hint: &str| hinting(id.to_owned(), vec![hint.to_owned()]);
    let large = |request| AllocationRequest {
        priority: AllocationPriority::Critical,
        resource_requirements: ResourceRequirements { memory_size: 1 << 20, ..ResourceRequirements::default() },
        ..request
    };
    let served =
        |service: &MemoryAllocationService, batch| service.batch_allocate_each(batch).iter().map(Result::is_ok).collect::<Vec<_>>();
    // The second is refused for the first's sake, then the first for want of room.
    let service = MemoryAllocationService::open(with_room(1 << 16)).unwrap();
    assert_eq!(served(&service, vec![hinting("it", "one"), hinting("it", "other")]), [true, false]);
    assert_eq!(service.cortex.edges(), 1);
    let service = MemoryAllocationService::open(with_room(1 << 16)).unwrap();
    service.allocate_memory(hinting("there", "it")).unwrap();
    assert_eq!(served(&service, vec![large(hinting("it", "one")), hinting("it", "one")]), [false, true]);
    assert_eq!(service.cortex.edges(), 2);
    // Who is refused is named by who is served later.
    let service = MemoryAllocationService::open(with_room(1 << 16)).unwrap();
    assert_eq!(served(&service, vec![large(hinting("it", "other")), hinting("other", "it")]), [false, true]);
    assert_eq!(service.cortex.edges(), 1);
}

/// Both say that they know each other, and one is refused, whichever is asked for first and whichever is served first.
#[test]
fn what_a_served_request_of_a_batch_has_said_stays_known_when_who_it_names_is_refused() {
    use AllocationPriority::{Critical, Low};
    let config = with_room_for_events(tight(None));
    for (of_refused, of_served) in [(Low, Critical), (Critical, Low)] {
        let refused = AllocationRequest { priority: of_refused, ..hinting("refused".to_owned(), vec!["served".to_owned()]) };
        let served = hinting("served".to_owned(), vec!["refused".to_owned()]);
        let served = AllocationRequest { concept_type: ConceptType::EVENT, priority: of_served, ..served };
        for batch in [vec![refused.clone(), served.clone()], vec![served, refused]] {
            let service = MemoryAllocationService::open(config.clone()).unwrap();
            assert_eq!(service.batch_allocate_each(batch).iter().filter(|answer| answer.is_ok()).count(), 1);
            assert_eq!(service.cortex.edges(), 1);
        }
    }
}

/// The same where who is served names others, too, so that its node stays when the edge is forgotten. Seen with: its hints not made
/// known again.
#[test]
fn what_a_served_request_of_a_batch_has_said_stays_known_also_if_it_names_others() {
    in_memory_and_in_a_file("said-again", |config| {
        let service = MemoryAllocationService::open(with_room_for_events(config)).unwrap();
        let refused = hinting("refused".to_owned(), vec!["served".to_owned()]);
        let refused = AllocationRequest { priority: AllocationPriority::Critical, ..refused };
        let served = hinting("served".to_owned(), vec!["refused".to_owned(), "other".to_owned()]);
        let served = AllocationRequest { concept_type: ConceptType::EVENT, priority: AllocationPriority::Low, ..served };
        let answers = service.batch_allocate_each(vec![refused, served]);
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
        assert_eq!(service.cortex.edges(), 2);
    });
}

#[test]
fn a_batch_refused_for_an_id_that_is_taken_tells_that_concept_nothing() {
    let service = MemoryAllocationService::open(AllocationServiceConfig { columns: 2, ..AllocationServiceConfig::default() }).unwrap();
    service.allocate_memory(hinting("taken".to_owned(), vec![])).unwrap();
    let batch = vec![hinting("new".to_owned(), vec![]), hinting("taken".to_owned(), vec!["hinted".to_owned()])];
    service.batch_allocate_memory(batch).unwrap_err();
    assert_eq!(service.cortex.edges(), 0);
}

/// Hints beyond what is kept of edges.
#[test]
fn a_hint_that_is_not_kept_leaves_no_node_behind() {
    let processor = MultiColumnProcessor::new().with_limits(GraphLimits { edges: 3, ..GraphLimits::default() });
    let config = AllocationServiceConfig { columns: 2, ..AllocationServiceConfig::default() };
    let service = MemoryAllocationService::new(AllocationEngine::new(), TtfsIntegrationService::new(), processor, config).unwrap();
    service.allocate_memory(hinting("it".to_owned(), (0..1000).map(|hint| hint.to_string()).collect())).unwrap();
    let known = service.registry.numbers() as usize - service.registry.numbers.read().free.len();
    assert_eq!((service.cortex.edges(), known), (3, 4));
}

/// The neighbours of each concept that is there.
fn edges(service: &MemoryAllocationService) -> BTreeMap<String, BTreeSet<String>> {
    let id = |node: &Node| String::from_utf8_lossy(node.id()).into_owned();
    let mut edges = BTreeMap::new();
    service.registry.each_live(|node, _| {
        let mut near = Vec::new();
        service.cortex.near(node.number, &mut near);
        let near = near.iter().filter_map(|tie| service.registry.numbered(tie.node)).filter(|near| near.block().is_some());
        edges.insert(id(node), near.map(|near| id(&near)).collect());
    });
    edges
}

/// A batch makes hints known before it holds the nodes of its ids.
#[test]
fn who_was_buried_meanwhile_knows_nobody_in_a_file() {
    let path = std::env::temp_dir().join(format!("engram-edges-buried-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let service = MemoryAllocationService::open(tight(Some(path.clone()))).unwrap();
    let (node, hinted) = (service.registry.node("it"), service.registry.node("hinted"));
    service.registry.bury(node.number);
    service.learn_hints(&node, &hinting("it".to_owned(), vec!["hinted".to_owned()]).asked(), &mut Learnt::default());
    assert_eq!(service.cortex.edges(), 0, "of {} and whoever has the number {} next", hinted.number, node.number);
    std::fs::remove_file(path).unwrap();
}

/// Whoever is named while nobody knows it any more would be buried with its edge, which whoever has its number next would have, and
/// only until the file is opened again.
#[test]
fn memory_and_file_know_the_same_edges_whatever_threads_did() {
    let path = std::env::temp_dir().join(format!("engram-edges-raced-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let mut config = tight(Some(path.clone()));
    config.pool_configurations.push(PoolConfig::new(ConceptType::EVENT, 1 << 20));
    for round in 0..6 {
        let service = MemoryAllocationService::open(config.clone()).unwrap();
        let act = |state: &mut u64| {
            let mut next = |below: u64| {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (*state >> 33) % below
            };
            let request = |next: &mut dyn FnMut(u64) -> u64| {
                let hints = (0..next(6)).map(|_| next(30).to_string()).collect();
                // Those of the one pool are refused.
                let concept_type = if next(3) == 0 { ConceptType::ENTITY } else { ConceptType::EVENT };
                AllocationRequest { concept_type, ..hinting(next(30).to_string(), hints) }
            };
            match next(6) {
                0 | 1 => drop(service.allocate_memory(request(&mut next))),
                2 => drop(service.batch_allocate_memory((0..=next(8)).map(|_| request(&mut next)).collect())),
                3 => drop(service.batch_allocate_each((0..=next(8)).map(|_| request(&mut next)).collect())),
                _ => drop(service.deallocate_memory(next(30).to_string().into())),
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..12 {
                let act = &act;
                scope.spawn(move || {
                    let mut state = round * 12 + thread;
                    (0..3_000).for_each(|_| act(&mut state));
                });
            }
        });
        while service.maintain(std::time::Duration::from_millis(20)).more {}
        for number in 0..service.registry.numbers() {
            assert!(service.registry.numbered(number).is_some() || service.cortex.is_lonely(number), "edges of nobody");
        }
        let known = edges(&service);
        drop(service);
        assert_eq!(edges(&MemoryAllocationService::open(config.clone()).unwrap()), known, "round {round}");
    }
    std::fs::remove_file(path).unwrap();
}

/// The numbers that are free, in order.
fn free(service: &MemoryAllocationService) -> Vec<u32> {
    let mut free = service.registry.numbers.read().free.clone();
    free.sort_unstable();
    free
}

/// A request for what was only hinted at is refused while maintenance forgets the hint. Two that live would have one number.
#[test]
fn a_number_is_free_once_whoever_gives_it_back() {
    let service = MemoryAllocationService::open(AllocationServiceConfig { columns: 2, ..AllocationServiceConfig::default() }).unwrap();
    service.allocate_memory(hinting("hub".to_owned(), (0..600).map(|hint| hint.to_string()).collect())).unwrap();
    service.deallocate_memory("hub".into()).unwrap();
    // Some of its hints are forgotten at once, from one end.
    let [one, other] = ["0", "599"].map(|id| service.registry.find(id));
    let node = one.or(other).unwrap();
    std::thread::scope(|scope| {
        let mut state = node.lock().unwrap();
        let maintained = scope.spawn(|| while service.maintain(std::time::Duration::from_secs(1)).more {});
        std::thread::sleep(std::time::Duration::from_millis(100));
        service.abandon(&node, &mut state, &hinting(String::new(), vec![]).asked(), &Learnt::default());
        drop(state);
        maintained.join().unwrap();
    });
    assert_eq!(free(&service), (0..service.registry.numbers()).collect::<Vec<_>>());
}

#[test]
fn a_number_whose_node_somebody_is_at_is_released_later_and_once() {
    let service = MemoryAllocationService::open(tight(None)).unwrap();
    let registry = &service.registry;
    let node = registry.node("it");
    let number = node.number;
    let mut state = node.lock().unwrap();
    assert!(!registry.release(number, || false));
    registry.detach_locked(&node, &mut state);
    assert!(!registry.release(number, || false));
    drop(state);
    assert!(registry.release(number, || true));
    assert_eq!(free(&service), [], "some of its edges are left");
    assert!(registry.release(number, || false));
    assert!(registry.release(number, || false));
    assert_eq!(free(&service), [number]);
    // Somebody else has it.
    assert_eq!(registry.node("other").number, number);
    registry.forget_number(&node);
    assert_eq!(registry.numbered(number).map(|other| other.id().to_vec()), Some(b"other".to_vec()));
}

/// Who asks for an id that is only hinted at has its node locked, and leaves it as it is. Seen with: nobody
/// buries it then.
#[test]
fn a_node_that_somebody_is_at_when_its_last_edge_goes_is_buried_in_maintenance() {
    in_memory_and_in_a_file("buried-later", |config| {
        let service = MemoryAllocationService::open(with_room_for_events(config)).unwrap();
        let goes_at_last = |act: &dyn Fn()| {
            let node = service.registry.find("hinted").unwrap();
            let held = node.lock().unwrap();
            act();
            assert!(service.registry.has(&node), "somebody is at it");
            drop(held);
            while service.maintain(std::time::Duration::from_secs(10)).more {}
            assert!(!service.registry.has(&node));
        };
        let name = |id: &str| AllocationRequest { concept_type: ConceptType::EVENT, ..hinting(id.to_owned(), vec!["hinted".to_owned()]) };
        service.allocate_memory(name("cat")).unwrap();
        goes_at_last(&|| _ = service.deallocate_memory("cat".into()).unwrap());
        // One that is refused.
        let (node, mut learnt) = (service.registry.node("refused"), Learnt::default());
        service.learn_hints(&node, &name("refused").asked(), &mut learnt);
        goes_at_last(&|| service.abandon(&node, &mut node.lock().unwrap(), &name("refused").asked(), &learnt));
    });
}
