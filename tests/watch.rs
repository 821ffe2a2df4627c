//! Region files seen from another process: `engram info`, `map`, `top`, `check` and `export` beside a live writer, and over
//! files that vanish, shrink, lie, or are none.
#![allow(missing_docs, reason = "tests are named after what they prove")]
#![cfg(target_os = "linux")]

mod common;
#[path = "common/folder.rs"]
mod folder;

use core::alloc::Layout;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{engram, refusal, stderr, stdout, unread};
use engram::{Arena, ArenaBuilder, ColumnId, RegionView, SpikeTime};
use folder::Folder;
use serde_json::Value;

/// Set in the writer's process: the file.
const WRITER: &str = "ENGRAM_WATCH_WRITER";
/// The same of one that replaces blocks.
const REPLACER: &str = "ENGRAM_WATCH_REPLACER";

fn builder(file: &str) -> ArenaBuilder {
    Arena::builder().capacity(256 << 20).columns(12).path(file).sparse(true)
}

/// Blocks of many sizes and zones in columns 2, 5 and 7.
fn populate(arena: &Arena) {
    for (index, mut size) in [(2, 48), (5, 640), (7, 20_000)] {
        let column = arena.column(ColumnId::new(index)).unwrap();
        for round in 0..1000_u32 {
            size = 16 + (size * 31 + 7) % (40 << index);
            let block = column.alloc(size, 16, SpikeTime::from_nanos(1 << (20 + round % 8))).unwrap();
            if round % 3 == 0 {
                // SAFETY: ours, and not used again.
                unsafe { column.free(block).unwrap() };
            }
        }
    }
    arena.alloc(Some(ColumnId::new(2)), Layout::from_size_align(5 << 20, 16).unwrap(), SpikeTime::NONE).unwrap();
    arena.publish_root(Some(ColumnId::new(5)), Layout::from_size_align(200, 16).unwrap(), SpikeTime::NONE, 3).unwrap();
}

fn closed(file: &str) {
    populate(&builder(file).build().unwrap());
}

/// Not a test by itself: the writer's process. It ends when its standard input does.
#[test]
fn writer() {
    let Ok(file) = std::env::var(WRITER) else { return };
    let arena = builder(&file).build().unwrap();
    populate(&arena);
    println!("ready");
    let gone = std::thread::spawn(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let column = arena.column(ColumnId::new(7)).unwrap();
    while !gone.is_finished() {
        for size in [64, 200, 5000, 70_000] {
            let block = column.alloc(size, 16, SpikeTime::from_nanos(4_000_000)).unwrap();
            let other = arena.alloc(Some(ColumnId::new(2)), Layout::from_size_align(size, 16).unwrap(), SpikeTime::NONE).unwrap();
            // SAFETY: ours, and not used again.
            unsafe { column.free(block).and_then(|()| column.free(other)).unwrap() };
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A process that has the file open and works in it until this is dropped, and what it says.
struct Writer(Child, #[expect(dead_code, reason = "open as long as it may say something")] BufReader<ChildStdout>);

impl Writer {
    fn start(file: &str) -> Self {
        Self::start_as(WRITER, "writer", file)
    }

    fn start_as(variable: &str, name: &str, file: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(variable, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        assert!(said.by_ref().lines().map_while(Result::ok).any(|line| line.ends_with("ready")));
        Self(child, said)
    }

    /// Ends it as a crash does.
    fn kill(mut self) {
        self.0.kill().unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", stdout(output), stderr(output)))
}

fn sound(arguments: &[&str]) -> Output {
    let output = engram(arguments);
    assert!(output.status.success(), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
    output
}

#[test]
fn info_says_what_a_file_is_while_a_process_writes_after_it_died_and_when_it_is_closed() {
    let folder = Folder::new("watch-info");
    let file = folder.file("region.engram").display().to_string();
    let writer = Writer::start(&file);
    let text = stdout(&sound(&["info", &file]));
    assert!(text.starts_with(&file) && text.contains("open in a process") && text.contains("256.0 MiB in 128 chunks"), "{text}");
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 100 || line == file), "{text}");
    let info = json(&sound(&["info", &file, "--json"]));
    assert_eq!((&info["state"], &info["columns"], &info["capacity"]), (&"open".into(), &12.into(), &(256 << 20).into()));
    assert!(info["bytes_live"].as_u64() > Some(5 << 20) && info["bytes_committed"].as_u64() >= info["bytes_live"].as_u64(), "{info}");
    assert_eq!(info["metadata"]["end"], info["file_bytes"]);
    assert_ne!(info["roots"][3], 0);
    writer.kill();
    let text = stdout(&sound(&["info", &file]));
    assert!(text.contains("left unclosed: its process died"), "{text}");
    drop(builder(&file).build().unwrap());
    assert_eq!(json(&sound(&["info", &file, "--json"]))["state"], "closed");
}

#[test]
fn what_is_no_region_file_is_refused_in_one_line_by_every_command() {
    let folder = Folder::new("watch-foreign");
    let (missing, foreign) = (folder.file("region.engram").display().to_string(), folder.file("foreign").display().to_string());
    std::fs::write(&foreign, "no region. ".repeat(1000)).unwrap();
    let directory = folder.path().display().to_string();
    let empty = folder.file("empty").display().to_string();
    std::fs::write(&empty, "").unwrap();
    for command in [&["info"][..], &["map"], &["top"], &["export"], &["check"], &["check", "--repair"]] {
        for (file, why) in [
            (&missing, "the system refused to open it: No such file or directory"),
            (&foreign, "it is no region file"),
            (&directory, "it is no ordinary file"),
            (&empty, "it is empty"),
        ] {
            let said = refusal(&engram([command, &[file]].concat()), 2);
            assert!(said.starts_with(&format!("{file}: {why}")), "{command:?}: {said}");
        }
    }
    assert!(!Path::new(&missing).exists(), "a look does not make a file");
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "no region. ".repeat(1000));
    assert!(refusal(&engram(["top", &foreign, "--count", "0"]), 2).contains("--count"));
    assert!(refusal(&engram(["top", &foreign, "--interval", "0"]), 2).contains("--interval"));
}

#[test]
fn check_finds_damage_by_name_repairs_what_is_derived_and_refuses_the_rest() {
    let folder = Folder::new("watch-check");
    let file = folder.file("region.engram").display().to_string();
    closed(&file);
    let text = stdout(&sound(&["check", &file]));
    assert!(text.contains("state: closed\nEvery invariant that is checked holds.\n"), "{text}");
    let bytes = std::fs::read(&file).unwrap();
    let live = RegionView::open(&file).unwrap().metrics().bytes_live;

    // The chunk index is what the metadata begins with: now every chunk is free.
    let metadata = RegionView::open(&file).unwrap().info().unwrap().metadata;
    let write = |at: u64, bytes: &[u8]| std::fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(bytes, at).unwrap();
    write(metadata.start, &[0xff; 8]);
    let checked = engram(["check", &file]);
    assert_eq!(checked.status.code(), Some(1));
    let text = stdout(&checked);
    assert!(text.contains("S2        chunk 1 is in the chunk index, and somebody's (derived)"), "{text}");
    assert!(text.contains("All of this is derived: engram check --repair makes it anew."), "{text}");
    assert_eq!(stderr(&checked), format!("engram: {file}: not every invariant holds\n"));
    let report = json(&engram(["check", &file, "--json"]));
    assert_eq!((&report["sound"], &report["state"], &report["moving"]), (&false.into(), &"closed".into(), &false.into()));
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.len() > 2 && findings.iter().all(|finding| finding["invariant"] == "S2" && finding["derived"] == true), "{report}");
    let repaired = stdout(&sound(&["check", "--repair", &file]));
    assert!(
        repaired.contains("all that is derived is made anew") && repaired.contains("Every invariant that is checked holds."),
        "{repaired}"
    );
    // Seen with: its space reserved.
    let taken = std::fs::metadata(&file).unwrap().blocks() * 512;
    assert!(taken < 128 << 20, "{taken} bytes of the disk");
    assert_eq!(json(&sound(&["check", &file, "--json"]))["findings"], Value::Array(vec![]));
    assert_eq!(RegionView::open(&file).unwrap().metrics().bytes_live, live);

    // Of one whose process died, what is found may be what was under way.
    let left = folder.file("left.engram").display().to_string();
    Writer::start(&left).kill();
    let start = RegionView::open(&left).unwrap().info().unwrap().metadata.start;
    std::fs::OpenOptions::new().write(true).open(&left).unwrap().write_all_at(&[0xff; 8], start).unwrap();
    let text = stdout(&engram(["check", &left]));
    assert!(text.contains("S2 ") && text.contains("Opening the region settles that."), "{text}");
    assert!(stdout(&sound(&["check", "--repair", &left])).contains("Every invariant that is checked holds."));

    // Bytes of a lie over all of the metadata: nothing can be repaired, and nothing is changed.
    std::fs::write(&file, &bytes).unwrap();
    write(metadata.start + 4096, &vec![0xa5; usize::try_from(metadata.end - metadata.start).unwrap() - 4096]);
    let before = std::fs::read(&file).unwrap();
    let checked = engram(["check", "--repair", &file]);
    assert_eq!(checked.status.code(), Some(1));
    let (text, said) = (stdout(&checked), stderr(&checked));
    assert!(text.contains("M3 ") && text.contains("and more of S2") && text.contains("20 of each invariant are told"), "{text}");
    assert!(said.starts_with("engram: the repair was refused, and nothing was changed: ") && said.lines().count() == 1, "{said}");
    assert!(std::fs::read(&file).unwrap() == before);

    // A header that is damaged is F1.
    std::fs::write(&file, &bytes).unwrap();
    write(24, &[9]);
    let text = stdout(&engram(["check", &file]));
    assert!(text.contains("F1        its header is damaged"), "{text}");
    assert!(refusal(&engram(["info", &file]), 2).contains("its header is damaged"));
}

#[test]
fn whoever_stops_reading_hears_no_complaint_of_it() {
    let folder = Folder::new("watch-unread");
    let file = folder.file("region.engram").display().to_string();
    closed(&file);
    for command in [&["info"][..], &["map"], &["check"], &["export"], &["top", "--interval", "1"]] {
        for json in [&[][..], &["--json"]] {
            let output = unread([command, &[&file], json].concat());
            assert!(output.status.success() && output.stderr.is_empty(), "{command:?}: {}", stderr(&output));
        }
    }
    // What was found is in the exit code, whoever reads.
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&[9], 24).unwrap();
    for json in [&[][..], &["--json"]] {
        let output = unread([&["check", &file][..], json].concat());
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stderr(&output), format!("engram: {file}: not every invariant holds\n"));
    }
}

#[test]
fn check_of_an_open_region_is_a_picture_of_a_moment_and_repairs_nothing() {
    let folder = Folder::new("watch-moving");
    let file = folder.file("region.engram").display().to_string();
    let writer = Writer::start(&file);
    let checked = engram(["check", &file]);
    let text = stdout(&checked);
    assert!(text.contains("open in a process\nA picture of a moment"), "{text}");
    assert!(matches!(checked.status.code(), Some(0 | 1)), "{}", stderr(&checked));
    assert_eq!(json(&engram(["check", &file, "--json"]))["moving"], true);
    let said = refusal(&engram(["check", "--repair", &file]), 2);
    assert!(said.contains("it is open in a process; a region is repaired while nobody has it open"), "{said}");
    writer.kill();
    // Whatever it was at, it is recovered.
    sound(&["check", "--repair", &file]);
    drop(Writer::start(&file));
    sound(&["check", &file]);
    // Open, and at rest.
    let arena = builder(&file).build().unwrap();
    let text = stdout(&sound(&["check", &file]));
    assert!(text.contains("A picture of a moment") && text.contains("Every invariant that is checked holds."), "{text}");
    // The chunk index is what the metadata begins with: now every chunk is free.
    let metadata = RegionView::open(&file).unwrap().info().unwrap().metadata;
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&[0xff; 8], metadata.start).unwrap();
    let checked = engram(["check", &file, "--json"]);
    assert_eq!((checked.status.code(), &json(&checked)["sound"]), (Some(1), &false.into()), "{}", stdout(&checked));
    drop(arena);
}

/// Not a test by itself: a process that replaces a thousand blocks, rests, and so on. It ends when its standard input does.
#[test]
fn replacer() {
    let Ok(file) = std::env::var(REPLACER) else { return };
    let arena = Arena::builder().capacity(64 << 20).columns(8).path(file).build().unwrap();
    let column = arena.column(ColumnId::new(3)).unwrap();
    let alloc = |size: u32, spike: u32| column.alloc(size as usize, 16, SpikeTime::from_nanos(spike)).unwrap();
    let mut blocks: Vec<_> = (16..3016).map(|size| (size, alloc(size, 10_000 * size))).collect();
    // One of three goes, one stays, one is replaced.
    // SAFETY: ours, and not used again.
    blocks.iter().step_by(3).for_each(|&(_, block)| unsafe { column.free(block).unwrap() });
    println!("ready");
    let gone = std::thread::spawn(|| std::io::stdin().read_to_end(&mut Vec::new()));
    while !gone.is_finished() {
        for (size, block) in blocks.iter_mut().skip(1).step_by(3) {
            // SAFETY: ours, and not used again.
            unsafe { column.free(*block).unwrap() };
            *block = alloc(*size, *size);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn check_of_a_region_in_which_much_is_done_proves_nothing() {
    let folder = Folder::new("watch-replaced");
    let file = folder.file("region.engram").display().to_string();
    let _writer = Writer::start_as(REPLACER, "replacer", &file);
    for _ in 0..30 {
        let checked = sound(&["check", &file, "--json"]);
        let report = json(&checked);
        let found = report["findings"].as_array().unwrap().len();
        assert_eq!(report["sound"], if found == 0 { Value::Bool(true) } else { Value::Null }, "{report}");
    }
}

#[test]
fn the_map_of_a_live_region_is_drawn_as_text_as_json_and_as_a_page() {
    let folder = Folder::new("watch-map");
    let file = folder.file("region.engram").display().to_string();
    let writer = Writer::start(&file);
    let text = stdout(&sound(&["map", &file]));
    assert!(text.is_ascii() && text.contains("open in a process; ") && text.contains("chunks, all free"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("     0 ") && line.contains("column")), "{text}");
    let map = json(&sound(&["map", &file, "--json"]));
    assert_eq!(map["chunks"], 128);
    let spans: Vec<_> = map["map"].as_array().unwrap().iter().flat_map(|chunk| chunk["spans"].as_array().unwrap()).collect();
    for (field, value) in [("kind", Value::from("large")), ("blocks", Value::from("medium")), ("blocks", Value::from("published"))] {
        assert!(spans.iter().any(|span| span[field] == value), "{field} {value}");
    }
    let latest = |span: &&Value| span["blocks"]["zones"][0].as_u64() > Some(0) && span["blocks"]["zones"][1] == 7;
    assert!(spans.iter().any(latest), "the latest zone");

    let page = folder.file("map <of> \"this\".html");
    let said = stdout(&sound(&["map", &file, "--html", page.to_str().unwrap()]));
    assert!(said.ends_with(": a map of 128 chunks\n"), "{said}");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains(&file) && !html.contains("{{"), "{}", &html[..400]);
    assert!(!html.contains("http") && !html.contains("src="), "it needs nothing else");
    let data = html.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["chunks"], 128);
    for (_, cells) in data["used"].as_array().unwrap().iter().map(|row| (&row[0], row[1].as_array().unwrap())) {
        let spans: u64 = cells.iter().map(|cell| cell.as_u64().unwrap_or_else(|| cell[2].as_u64().unwrap())).sum();
        assert_eq!(spans, 64, "{cells:?}");
    }
    let said = refusal(&engram(["map", &file, "--html", "no/such/folder/map.html"]), 2);
    assert!(said.starts_with("no/such/folder/map.html: cannot be written: "), "{said}");
    let link = folder.file("link.engram");
    std::fs::hard_link(&file, &link).unwrap();
    let said = refusal(&engram(["map", &file, "--html", link.to_str().unwrap()]), 2);
    assert!(said.contains("link.engram: is a region file, and stays as it is"), "{said}");
    // So does one of a later version, which only begins as one that can be looked at.
    let later = folder.file("later.engram");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8] += 1;
    std::fs::write(&later, &bytes).unwrap();
    let said = refusal(&engram(["map", &file, "--html", later.to_str().unwrap()]), 2);
    assert!(said.contains("later.engram: is a region file, and stays as it is"), "{said}");
    assert!(std::fs::read(&later).unwrap() == bytes);
    assert!(sound(&["check", &file]).status.success(), "it is left as it was");
    drop(writer);
}

/// Nobody can tell whether it is a region file. Seen with: what cannot be opened overwritten as if it were none.
#[test]
fn a_file_that_may_be_written_and_not_read_stays_as_it_is() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let folder = Folder::new("watch-unread");
    let [file, target, program] = ["region.engram", "target.engram", "engram"].map(|name| folder.file(name));
    closed(file.to_str().unwrap());
    std::fs::write(&target, "some bytes").unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_engram"), &program).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&file, 0o644), (&target, 0o222), (&program, 0o755)] {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new(&program);
    command.arg("map").arg(&file).arg("--html").arg(&target).stdin(Stdio::null());
    // SAFETY: no pointers.
    if unsafe { libc::geteuid() } == 0 {
        // Who may read whatever there is.
        command.uid(65534);
    }
    let said = refusal(&command.output().unwrap(), 2);
    assert!(said.contains("target.engram: cannot be read (") && said.contains("--html needs another name"), "{said}");
    set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"some bytes");
}

/// Seen with: names as they are.
#[test]
fn no_name_of_a_file_ends_its_line_or_tells_the_terminal_anything() {
    let folder = Folder::new("watch-names");
    let file = folder.file("a\n\x1b[31mb\u{9b}.engram").display().to_string();
    closed(&file);
    let page = format!("{file}.html");
    let commands =
        [&["info", &file][..], &["map", &file], &["map", &file, "--html", &page], &["check", &file], &["top", &file, "--count", "1"]];
    for command in commands {
        let said = stdout(&sound(command));
        assert!(said.contains(r"a\n\u{1b}[31mb\u{9b}.engram") && !said.contains('\x1b'), "{said}");
    }
    let info: Value = serde_json::from_str(&stdout(&sound(&["info", &file, "--json"]))).unwrap();
    assert_eq!(info["file"], *file);
    for command in [["info", &format!("{file}.gone")], ["replay", &format!("{file}.gone")]] {
        let said = refusal(&engram(command), 2);
        assert!(said.contains(r"a\n\u{1b}[31mb\u{9b}.engram"), "{said}");
    }
    let said = refusal(&engram([&file]), 2);
    assert!(said.contains(r"b\u{9b}.engram") && !said.contains('\x1b'), "{said}");
}

#[test]
fn top_shows_each_column_and_what_is_done_in_it_each_second() {
    let folder = Folder::new("watch-top");
    let file = folder.file("region.engram").display().to_string();
    let writer = Writer::start(&file);
    let looks = stdout(&sound(&["top", &file, "--count", "3", "--interval", "200", "--json"]));
    let looks: Vec<Value> = looks.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(looks.len(), 3);
    assert_eq!(looks[0]["all"]["allocs_per_second"], Value::Null);
    for look in &looks[1..] {
        let columns = look["columns"].as_array().unwrap();
        assert_eq!(columns.iter().map(|row| row["column"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 5, 7]);
        let rate = |row: usize, name: &str| columns[row][name].as_f64().unwrap();
        assert!(rate(0, "allocs_per_second") > 10.0 && rate(2, "frees_per_second") > 10.0, "{look}");
        assert!(rate(1, "allocs_per_second") == 0.0 && rate(2, "remote_frees_per_second") > 10.0, "{look}");
        assert_eq!((&columns[2]["held"], &columns[1]["held"], &look["state"]), (&1.into(), &0.into(), &"open".into()));
        assert!(look["all"]["live_blocks"].as_u64() > Some(1900) && look["seconds"].as_f64() > Some(0.19), "{look}");
    }
    let text = stdout(&sound(&["top", &file, "--count", "2", "--interval", "50"]));
    assert!(text.is_ascii() && !text.contains('\x1b') && text.lines().all(|line| line.len() <= 100 || line.contains(&file)), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("   all ")).count(), 2, "{text}");
    assert!(text.contains("column  held   live blocks  bytes live     spans      allocs/s       frees/s      remote/s"), "{text}");
    drop(writer);
}

/// Runs `engram top`, waits for its first look, does something to the file, and waits for the end.
fn top_until(file: &str, change: impl FnOnce()) -> (Option<i32>, String) {
    let mut top = Command::new(env!("CARGO_BIN_EXE_engram"))
        .args(["top", file, "--interval", "20"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(top.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    let reading = std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    change();
    let began = Instant::now();
    while top.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(30), "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
    reading.join().unwrap().unwrap();
    let mut complaint = String::new();
    top.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    (top.wait().unwrap().code(), complaint)
}

#[test]
fn top_ends_with_a_message_when_its_file_shrinks_or_vanishes() {
    let folder = Folder::new("watch-shrinks");
    let file = folder.file("region.engram").display().to_string();
    closed(&file);
    let (code, said) = top_until(&file, || std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(100_000).unwrap());
    assert_eq!(
        (code, said),
        (Some(1), format!("engram: {file}: it is truncated: shorter than its header says; there is nothing left to watch\n"))
    );
    std::fs::remove_file(&file).unwrap();
    closed(&file);
    let (code, said) = top_until(&file, || std::fs::remove_file(&file).unwrap());
    assert_eq!(code, Some(1));
    assert!(said.contains("No such file or directory") && said.ends_with("; there is nothing left to watch\n"), "{said}");
}

#[test]
fn a_file_whose_length_and_bytes_change_all_the_time_is_read_or_refused() {
    let folder = Folder::new("watch-changes");
    let file = folder.file("region.engram").display().to_string();
    closed(&file);
    let bytes = std::fs::read(&file).unwrap();
    let metadata = RegionView::open(&file).unwrap().info().unwrap().metadata;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let open = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
            let (start, end) = (usize::try_from(metadata.start).unwrap(), usize::try_from(metadata.end).unwrap());
            for round in (0_usize..).take_while(|_| !stop.load(std::sync::atomic::Ordering::Relaxed)) {
                let length = start + round * 40_961 % (end - start);
                open.set_len(length as u64).unwrap();
                open.write_all_at(&bytes[length..], length as u64).unwrap();
                let at = start + round * 7919 % (end - start - 64);
                open.write_all_at(&[round as u8; 64], at as u64).unwrap();
                open.write_all_at(&bytes[at..at + 64], at as u64).unwrap();
            }
        });
        for command in [&["info"][..], &["map"], &["check"], &["export"], &["top", "--count", "20", "--interval", "1"]] {
            for _ in 0..6 {
                let output = engram([&command[..1], &[&file], &command[1..]].concat());
                assert!(matches!(output.status.code(), Some(0..=2)), "{command:?}: {:?} {}", output.status, stderr(&output));
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn export_is_openmetrics_of_a_live_region() {
    let folder = Folder::new("watch-export");
    let file = folder.file("region.engram").display().to_string();
    let writer = Writer::start(&file);
    let text = stdout(&sound(&["export", &file]));
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name} in {text}"));
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!((value("engram_columns"), value("engram_capacity_bytes")), (12, 256 << 20));
    assert!(value("engram_allocs_total") > 3000 && value("engram_live_bytes") > 5 << 20);
    assert!(text.lines().filter(|line| line.starts_with("# TYPE ")).count() == 12);
    let metrics = json(&sound(&["export", &file, "--json"]));
    assert!(
        metrics["allocs"].as_u64() >= Some(value("engram_allocs_total"))
            && metrics["bytes_peak"].as_u64() >= metrics["bytes_live"].as_u64()
    );
    drop(writer);
}
