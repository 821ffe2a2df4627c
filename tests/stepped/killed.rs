//! A service whose process is killed: what was answered for is there, what was in flight is whole or absent.
//!
//! At random moments, `ENGRAM_CRASH_ROUNDS` times (20); and after each instruction of an allocation, an update, a free, a
//! link, a batch, a relocation and of writing less into the log of edges, or every so many of them unless `ENGRAM_CRASH_ALL` is set.

mod allocation_service_tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::super::child::{self, ran_alone};
    use super::super::folder::Folder;
    use engram::service::{AllocationServiceConfig, MemoryAllocationService};
    use engram::{AllocationRequest, ConceptType};

    const THREADS: usize = 2;
    /// Ids that each thread has for itself.
    const IDS: u64 = 300;

    /// What a thread does as its `number`th operation, whatever happened before.
    #[derive(Clone, Debug)]
    enum Operation {
        Allocate(u64),
        Update(u64),
        Deallocate(u64),
        /// All or nothing.
        Batch(Vec<u64>),
        Link(u64, u64),
        Maintain,
    }

    fn mixed(mut x: u64) -> u64 {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn operation(thread: usize, number: u64) -> Operation {
        let random = mixed(number.wrapping_mul(2) + thread as u64 + 0x9e37_79b9_7f4a_7c15);
        let id = mixed(random) % IDS;
        match random % 16 {
            0..5 => Operation::Allocate(id),
            5..8 => Operation::Update(id),
            8..11 => Operation::Deallocate(id),
            11..13 => Operation::Batch((0..8).map(|index| (id + index * 7) % IDS).collect()),
            13 => Operation::Link(id, mixed(id) % IDS),
            _ => Operation::Maintain,
        }
    }

    fn name(thread: usize, id: u64) -> String {
        format!("thread {thread} concept {id}")
    }

    /// The content that an operation gives a concept: of any length, and another each time.
    fn content(thread: usize, number: u64, id: u64) -> String {
        let random = mixed(number ^ id << 32 ^ (thread as u64) << 62);
        let words = random % 60;
        (0..words).map(|word| format!("{:x}", mixed(random + word) % 9999)).collect::<Vec<_>>().join(" ")
    }

    fn request(thread: usize, number: u64, id: u64) -> AllocationRequest {
        let mut request = AllocationRequest::new(name(thread, id), ConceptType::ALL[id as usize % 8], content(thread, number, id));
        request.locality_hints = vec![name(thread, id / 2), name(thread, (id + 1) % IDS)];
        request
    }

    /// Content and version of each concept of a thread.
    type Model = BTreeMap<u64, (String, u64)>;

    fn apply(model: &mut Model, thread: usize, number: u64) {
        match operation(thread, number) {
            Operation::Allocate(id) => {
                model.entry(id).or_insert_with(|| (content(thread, number, id), 1));
            }
            Operation::Update(id) => {
                if let Some(concept) = model.get_mut(&id) {
                    *concept = (content(thread, number, id), concept.1 + 1);
                }
            }
            Operation::Deallocate(id) => {
                model.remove(&id);
            }
            Operation::Batch(ids) => {
                if ids.iter().all(|id| !model.contains_key(id)) {
                    model.extend(ids.into_iter().map(|id| (id, (content(thread, number, id), 1))));
                }
            }
            Operation::Link(..) | Operation::Maintain => {}
        }
    }

    fn perform(service: &MemoryAllocationService, thread: usize, number: u64) {
        // What is refused is refused to the model, too.
        match operation(thread, number) {
            Operation::Allocate(id) => drop(service.allocate_memory(request(thread, number, id))),
            Operation::Update(id) => drop(service.update(&name(thread, id), &content(thread, number, id))),
            Operation::Deallocate(id) => drop(service.deallocate_memory(name(thread, id).as_str().into())),
            Operation::Batch(ids) => drop(service.batch_allocate_memory(ids.iter().map(|&id| request(thread, number, id)).collect())),
            Operation::Link(a, b) => drop(service.link(&name(thread, a), &name(thread, b))),
            Operation::Maintain => drop(service.maintain(Duration::from_micros(300))),
        }
    }

    fn open(path: &Path) -> MemoryAllocationService {
        let config = AllocationServiceConfig {
            path: Some(path.to_owned()),
            capacity_bytes: 16 << 20,
            columns: 4,
            ..AllocationServiceConfig::default()
        };
        MemoryAllocationService::open(config).unwrap()
    }

    /// The number of each thread's next operation, in memory that outlives the process.
    fn progress(path: &Path) -> memmap2::MmapRaw {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(4096).unwrap();
        memmap2::MmapOptions::new().map_raw(&file).unwrap()
    }

    fn next(progress: &memmap2::MmapRaw, thread: usize) -> &AtomicU64 {
        // SAFETY: the mapping has a page, and both sides use its words as atomics.
        unsafe { AtomicU64::from_ptr(progress.as_mut_ptr().cast::<u64>().add(thread)) }
    }

    /// What the process does that is killed: not a test of its own.
    #[test]
    #[ignore = "run by the other test"]
    fn a_process_to_be_killed() {
        let Ok(folder) = std::env::var("ENGRAM_KILLED_FOLDER").map(PathBuf::from) else { return };
        let progress = progress(&folder.join("progress"));
        let service = open(&folder.join("concepts"));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (service, done) = (&service, next(&progress, thread));
                scope.spawn(move || {
                    loop {
                        let number = done.load(Ordering::SeqCst);
                        perform(service, thread, number);
                        done.store(number + 1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    /// A thread's concepts as the service has them.
    fn found(service: &MemoryAllocationService, thread: usize) -> Model {
        let mut model = Model::new();
        for id in 0..IDS {
            if let Ok(guard) = service.read(&name(thread, id)) {
                assert_eq!(guard.concept_type(), &ConceptType::ALL[id as usize % 8]);
                assert!(service.column_of(&name(thread, id)).is_some());
                model.insert(id, (String::from_utf8(guard.to_vec()).unwrap(), guard.version()));
            }
        }
        model
    }

    #[test]
    fn a_process_that_is_killed_at_any_moment_leaves_what_it_answered_for() {
        if ran_alone() {
            return;
        }
        let rounds: u32 = std::env::var("ENGRAM_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
        let folder = Folder::new("killed");
        let progress = progress(&folder.file("progress"));
        let mut models = [const { (Model::new(), 0) }; THREADS];
        let (mut in_flight, mut done) = (0, 0);
        for round in 0..rounds {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["killed::allocation_service_tests::a_process_to_be_killed", "--exact", "--ignored", "--nocapture"])
                .env("ENGRAM_KILLED_FOLDER", folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Most of the time it works; now and then it has hardly begun, or opens the file.
            let before = next(&progress, 0).load(Ordering::SeqCst);
            for _ in 0..10_000 {
                if round % 8 == 7 || next(&progress, 0).load(Ordering::SeqCst) > before {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_micros(mixed(u64::from(round)) % 40_000));
            assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
            child.kill().unwrap();
            child.wait().unwrap();
            let service = open(&folder.file("concepts"));
            let mut bytes = 0;
            for (thread, (model, number)) in models.iter_mut().enumerate() {
                let reached = next(&progress, thread).load(Ordering::SeqCst);
                done += reached - *number;
                while *number < reached {
                    apply(model, thread, *number);
                    *number += 1;
                }
                let found = found(&service, thread);
                if found != *model {
                    // Then what was in flight has happened.
                    apply(model, thread, *number);
                    *number += 1;
                    in_flight += 1;
                    next(&progress, thread).store(*number, Ordering::SeqCst);
                    assert_eq!(found, *model, "round {round}, thread {thread}, {:?}", operation(thread, *number - 1));
                }
                bytes += found.len();
            }
            assert_eq!(service.get_allocation_metrics().active_allocations, bytes as u64);
            assert_eq!(service.concept_ids().len(), bytes);
        }
        println!("{rounds} kills, {done} operations, {in_flight} of those in flight had happened");
        let service = open(&folder.file("concepts"));
        for id in service.concept_ids() {
            service.deallocate_memory(id.as_str().into()).unwrap();
        }
        assert!(service.get_allocation_metrics().pool_statistics.iter().all(|pool| pool.used_bytes == 0));
    }

    /// All concepts of a service: content, version, type.
    fn contents(service: &MemoryAllocationService) -> BTreeMap<String, (Vec<u8>, u64, ConceptType)> {
        let read = |id: &String| {
            let guard = service.read(id).unwrap();
            (guard.to_vec(), guard.version(), *guard.concept_type())
        };
        service.concept_ids().iter().map(|id| (id.clone(), read(id))).collect()
    }

    fn open_small(path: &Path) -> MemoryAllocationService {
        let config = AllocationServiceConfig {
            path: Some(path.to_owned()),
            capacity_bytes: 2 << 20,
            columns: 2,
            ..AllocationServiceConfig::default()
        };
        MemoryAllocationService::open(config).unwrap()
    }

    fn concept(id: &str, content: &str, hints: &[&str]) -> AllocationRequest {
        let mut request = AllocationRequest::new(id, ConceptType::ENTITY, content);
        request.locality_hints = hints.iter().map(|&hint| hint.to_owned()).collect();
        request
    }

    type Stepped = (&'static str, fn(&MemoryAllocationService));

    const STEPPED: [Stepped; 6] = [
        ("allocation", |service| drop(service.allocate_memory(concept("new", "something new", &["a", "unknown"])).unwrap())),
        ("update", |service| drop(service.update("a", "a second version of a").unwrap())),
        ("free", |service| drop(service.deallocate_memory("a".into()).unwrap())),
        ("link", |service| service.link("c", "d").unwrap()),
        ("batch, all or nothing", |service| {
            let requests = vec![concept("x", "one", &["y"]), concept("y", "two", &[]), concept("z", "three", &["a"])];
            drop(service.batch_allocate_memory(requests).unwrap());
        }),
        ("maintenance", |service| assert!(service.maintain(Duration::from_secs(100)).relocated > 0, "nothing was moved")),
    ];

    /// After how many instructions it is looked what a kill leaves.
    fn stride(otherwise: u64) -> u64 {
        if std::env::var_os("ENGRAM_CRASH_ALL").is_some() { 1 } else { otherwise }
    }

    /// Concepts in both columns, of which two become neighbours: maintenance has something to move.
    fn prepare(service: &MemoryAllocationService) {
        for index in 0..24 {
            service.allocate_memory(concept(&format!("filler {index}"), &format!("filler number {index}"), &[])).unwrap();
        }
        for id in ["a", "b", "c", "d"] {
            service.allocate_memory(concept(id, &format!("the content of {id}"), &[])).unwrap();
        }
        let column = |id: &str| service.column_of(id).unwrap();
        let ids: Vec<_> = (0..24).map(|index| format!("filler {index}")).collect();
        let away = ids.iter().find(|id| column(id) != column("a")).expect("concepts in both columns");
        service.link("a", away).unwrap();
    }

    #[test]
    fn a_kill_after_any_instruction_of_an_operation_leaves_it_done_or_not_done() {
        if ran_alone() {
            return;
        }
        child::stay_on_one_processor();
        let stride = stride(25);
        let folder = Folder::in_memory("stepped");
        let (file, copy) = (folder.file("concepts"), folder.file("copy"));
        println!("| operation | instructions | states |");
        for (name, operation) in STEPPED {
            let _ = std::fs::remove_file(&file);
            let service = open_small(&file);
            prepare(&service);
            let before = contents(&service);
            drop(service);
            std::fs::copy(&file, &copy).unwrap();
            let service = open_small(&copy);
            operation(&service);
            let after = contents(&service);
            drop(service);
            let mut child = child::Child::fork(|| {
                let service = open_small(&file);
                child::stop_to_be_stepped();
                operation(&service);
                // The end of what is stepped through.
                // SAFETY: no pointers.
                unsafe { libc::raise(libc::SIGSTOP) };
            });
            assert_eq!(child.wait(), child::Stop::Signal(libc::SIGSTOP));
            let mapped = memmap2::MmapOptions::new().map_raw_read_only(&std::fs::File::open(&file).unwrap()).unwrap();
            // SAFETY: the child is stopped whenever the bytes are looked at.
            let bytes = || unsafe { core::slice::from_raw_parts(mapped.as_ptr(), mapped.len()) };
            let mut seen = Vec::new();
            let (mut instructions, mut states, mut done) = (0_u64, 0, 0);
            while child.step_or_stop() {
                instructions += 1;
                if instructions.is_multiple_of(stride) && bytes() != seen {
                    seen = bytes().to_vec();
                    states += 1;
                    std::fs::write(&copy, &seen).unwrap();
                    let service = open_small(&copy);
                    let found = contents(&service);
                    assert!(found == before || found == after, "{name}, after {instructions} instructions: {found:?}");
                    // Once it has happened it stays so.
                    assert!(done == 0 || found == after || before == after, "{name}, after {instructions} instructions");
                    done += u32::from(found == after && before != after);
                    let used: u64 = service.get_allocation_metrics().pool_statistics.iter().map(|pool| pool.used_bytes).sum();
                    for id in service.concept_ids() {
                        service.deallocate_memory(id.as_str().into()).unwrap();
                    }
                    assert!(used > 0 && service.get_allocation_metrics().pool_statistics.iter().all(|pool| pool.used_bytes == 0));
                }
            }
            println!("| {name} | {instructions} | {states} |");
            assert!(states > 0 && (before == after || done > 0), "{name} was not stepped through");
        }
    }

    /// Edges in both columns and between them, some of which had ended before; and among them so many that are no more that the
    /// next link compacts the log.
    fn fill_log(service: &MemoryAllocationService) {
        prepare(service);
        for round in 0..418 {
            if round % 36 == 0 {
                let (id, other) = (format!("filler {}", round / 36), format!("filler {}", 12 + round / 36));
                service.link("a", &id).unwrap();
                service.deallocate_memory(id.as_str().into()).unwrap();
                service.allocate_memory(concept(&id, "again", &[])).unwrap();
                service.link("a", &id).unwrap();
                service.link("filler 12", &other).unwrap();
                service.link(&id, &other).unwrap();
            }
            let (id, hint) = (format!("temporary {}", round % 3), format!("filler {}", round % 24));
            service.allocate_memory(concept(&id, "", &[&hint])).unwrap();
            service.deallocate_memory(id.as_str().into()).unwrap();
        }
    }

    fn cut(service: &MemoryAllocationService) -> f64 {
        service.get_allocation_metrics().edge_cut
    }

    #[test]
    fn a_kill_after_any_instruction_of_writing_less_into_the_log_leaves_its_edges() {
        if ran_alone() {
            return;
        }
        child::stay_on_one_processor();
        let stride = stride(499);
        let folder = Folder::in_memory("stepped-log");
        let (file, copy) = (folder.file("concepts"), folder.file("copy"));
        let service = open_small(&copy);
        fill_log(&service);
        let (before, edges) = (contents(&service), cut(&service));
        assert!(edges > 0.0 && edges < 1.0, "{edges}");
        drop(service);
        let mut child = child::Child::fork(|| {
            let service = open_small(&file);
            fill_log(&service);
            child::stop_to_be_stepped();
            // An edge that is known: nothing changes but the log.
            service.link("a", "filler 0").unwrap();
            // SAFETY: no pointers.
            unsafe { libc::raise(libc::SIGSTOP) };
        });
        assert_eq!(child.wait(), child::Stop::Signal(libc::SIGSTOP));
        let (mut instructions, mut states, mut seen) = (0_u64, 0, Vec::new());
        while child.step_or_stop() {
            instructions += 1;
            if instructions.is_multiple_of(stride) {
                let bytes = std::fs::read(&file).unwrap();
                if bytes == seen {
                    continue;
                }
                states += 1;
                std::fs::write(&copy, &bytes).unwrap();
                seen = bytes;
                let service = open_small(&copy);
                assert_eq!(contents(&service), before, "after {instructions} instructions");
                assert!((cut(&service) - edges).abs() < 1e-12, "after {instructions} instructions: {} and {edges}", cut(&service));
            }
        }
        println!("{instructions} instructions, {states} states");
        assert!(states > 100, "{states}: the log was not written");
    }
}
