//! A service whose process is killed at random moments: what was answered for is there, what was in flight is whole
//! or absent. `ENGRAM_CRASH_ROUNDS` says how often (20).

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    let config =
        AllocationServiceConfig { path: Some(path.to_owned()), capacity_bytes: 16 << 20, columns: 4, ..AllocationServiceConfig::default() };
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
    let rounds: u32 = std::env::var("ENGRAM_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    let folder = std::env::temp_dir().join(format!("engram-killed-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let progress = progress(&folder.join("progress"));
    let mut models = [const { (Model::new(), 0) }; THREADS];
    let (mut in_flight, mut done) = (0, 0);
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_process_to_be_killed", "--exact", "--ignored", "--nocapture"])
            .env("ENGRAM_KILLED_FOLDER", &folder)
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
        let service = open(&folder.join("concepts"));
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
    let service = open(&folder.join("concepts"));
    for id in service.concept_ids() {
        service.deallocate_memory(id.as_str().into()).unwrap();
    }
    assert!(service.get_allocation_metrics().pool_statistics.iter().all(|pool| pool.used_bytes == 0));
    drop(service);
    std::fs::remove_dir_all(&folder).unwrap();
}
