//! The program from outside: options, exit codes, both forms of the report.
#![allow(missing_docs, reason = "tests are named after what they prove")]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::writer::{Writer, every_operation};
use common::{Scratch, engram, refusal, stderr, stdout, unread};
use serde_json::Value;

fn replay(file: &Path, options: &[&str]) -> std::process::Output {
    let mut arguments = vec!["replay".as_ref(), file.as_os_str()];
    arguments.extend(options.iter().map(std::ffi::OsStr::new));
    engram(arguments)
}

/// The report of a run that must succeed.
fn json(file: &Path, options: &[&str]) -> Value {
    let output = replay(file, &[options, &["--json", "--rounds", "2"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn help_and_version_go_to_standard_output() {
    let help = engram(["--help"]);
    assert!(help.status.success());
    for word in ["replay", "--json", "--rounds", "--version"] {
        assert!(stdout(&help).contains(word), "{word}");
    }
    assert!(!stdout(&help).contains("measure-peak"));
    let version = engram(["--version"]);
    assert_eq!(stdout(&version), format!("engram {}\n", env!("CARGO_PKG_VERSION")));
    let replay = stdout(&engram(["replay", "--help"]));
    for word in ["--capacity", "--columns", "--no-verify"] {
        assert!(replay.contains(word), "{word}");
    }
}

#[test]
fn wrong_options_are_refused_in_one_line_that_names_them() {
    let trace = Scratch::new("options.egt", &every_operation().finish());
    let file = trace.name();
    let cases: [(&[&str], &str); 10] = [
        (&["--frobnicate"], "--frobnicate"),
        (&["rplay"], "rplay"),
        (&["replay"], "<FILE>"),
        (&["--rounds", "0"], "1..=1000"),
        (&["replay", &file, "--rounds", "many"], "many"),
        (&["replay", &file, "--columns", "0"], "1..=65536"),
        (&["replay", &file, "--columns", "65537"], "1..=65536"),
        (&["replay", &file, "--capacity", "0"], "a whole number of bytes above 0"),
        (&["replay", &file, "--capacity", "12Q"], "with K, M or G"),
        (&["replay", &file, "--capacity"], "--capacity"),
    ];
    for (arguments, named) in cases {
        let said = refusal(&engram(arguments), 2);
        assert!(said.contains(named), "{said}");
    }
    let output = replay(trace.path(), &["--columns", "1"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("--columns 1 is too few: each of the trace's 2 threads holds one"), "{said}");
}

#[test]
fn what_one_of_several_traces_cannot_have_is_refused_before_anything_is_measured() {
    let mut first = Writer::new(1);
    first.allocate(0, 1, 4);
    let first = Scratch::new("first.egt", &first.finish());
    let of_two_threads = Scratch::new("second.egt", &every_operation().finish());
    let output = engram(["replay", &first.name(), &of_two_threads.name(), "--columns", "1", "--rounds", "1"]);
    let said = refusal(&output, 2);
    assert!(said.contains("second: --columns 1 is too few"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_refused_by_name_before_anything_is_measured() {
    let trace = Scratch::new("there.egt", &every_operation().finish());
    let output = engram(["replay".as_ref(), trace.path().as_os_str(), "no/such/file.egt".as_ref()]);
    let said = refusal(&output, 2);
    assert!(said.starts_with("no/such/file.egt: cannot be read: "), "{said}");
}

#[test]
fn every_operation_is_replayed_without_a_fault_and_reported() {
    let trace = Scratch::new("every.egt", &every_operation().finish());
    let report = json(trace.path(), &[]);
    assert_eq!(report["engram"], env!("CARGO_PKG_VERSION"));
    assert!(report["clock"]["overhead_ns"].as_f64().unwrap() > 0.0);
    assert!(report.get("wordnet").is_none());
    let replays = report["replays"].as_array().unwrap();
    assert_eq!(replays.len(), 1);
    let replay = &replays[0];
    assert!(replay["name"].as_str().unwrap().ends_with("-every"));
    for (field, value) in [("operations", 15), ("objects", 6), ("threads", 2), ("cross_thread_frees", 3), ("columns", 2)] {
        assert_eq!(replay[field], value, "{field}");
    }
    assert_eq!(replay["peak_live_bytes"], 1_009_000 + 77);
    assert_eq!((&replay["rounds"], &replay["verified"]), (&Value::from(2), &Value::from(true)));
    for side in ["malloc", "engram"] {
        for fault in ["refused", "damaged", "misaligned", "free_refused"] {
            assert_eq!(replay["faults"][side][fault], 0, "{side} {fault}");
        }
        assert!(replay["calls_ns"][side]["median"].as_f64().unwrap() > 0.0);
        assert!(replay["content_ns"][side]["median"].as_f64().unwrap() > 0.0);
        let single = |name: &str| replay["single_ns"][side][name].as_f64().unwrap();
        assert!(0.0 < single("p50") && single("p50") <= single("p99") && single("p99") <= single("worst"));
        assert!(single("worst_common_to_all_rounds") <= single("worst") * 2.0);
        let memory = &replay["memory"][side];
        if cfg!(target_os = "linux") {
            assert!(memory["growth_bytes"].as_u64().unwrap() >= 600_000, "{memory}");
        } else {
            assert!(memory["not_available"].is_string());
        }
    }
    // Six allocated, three freed; a reallocation may count as one of each.
    let metric = |name: &str| replay["metrics"][name].as_u64().unwrap();
    assert_eq!(metric("allocs") - metric("frees"), 3);
    assert!(metric("allocs") >= 6 && metric("remote_frees") >= 3, "{}", replay["metrics"]);
    assert_eq!((metric("failed"), metric("misuse")), (0, 0));
    let spans = replay["map"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 64);
    assert!(
        replay["map"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|chunk| chunk["spans"].as_array().unwrap())
            .any(|span| { span["kind"] == "slots" && span["live"].as_u64() > Some(0) || span["kind"] == "large" })
    );
}

#[test]
fn the_text_for_a_pipe_is_plain_and_progress_goes_to_standard_error() {
    let trace = Scratch::new("plain.egt", &every_operation().finish());
    let output = replay(trace.path(), &["--rounds", "2"]);
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(text.is_ascii() && !text.contains('\x1b'), "{text}");
    assert!(text.contains("15 operations on 6 blocks by 2 threads; 3 blocks are freed by another thread"), "{text}");
    assert!(text.contains("Every content was as it should be, and nothing was refused."), "{text}");
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    assert!(stderr(&output).contains("round 2 of 2"), "{}", stderr(&output));
}

#[test]
fn whoever_stops_reading_hears_no_complaint_of_it() {
    let trace = Scratch::new("unread.egt", &every_operation().finish());
    let file = trace.name();
    for arguments in [&["--help"][..], &["--version"], &["replay", &file, "--rounds", "1"], &["replay", &file, "--rounds", "1", "--json"]] {
        let output = unread(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("cannot be written"), "{}", stderr(&output));
    }
    // What was found is in the exit code, whoever reads.
    let mut large = Writer::new(1);
    for _ in 0..64 {
        large.allocate(0, 1_000_000, 4);
    }
    let large = Scratch::new("unread-large.egt", &large.finish());
    let output = unread(["replay", &large.name(), "--capacity", "8M", "--rounds", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).lines().last().unwrap().contains("operations refused by engram"), "{}", stderr(&output));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    for arguments in [&["--help"][..], &["--version"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let program = Command::new(env!("CARGO_BIN_EXE_engram")).args(arguments).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let said = refusal(&program.wait_with_output().unwrap(), 1);
        assert!(said.starts_with("the report cannot be written: No space left"), "{said}");
    }
}

#[test]
fn rounds_are_an_option_of_what_is_measured_alone() {
    let trace = Scratch::new("rounds.egt", &every_operation().finish());
    for arguments in [&["--rounds", "1", "replay", &trace.name()][..], &["replay", "--rounds", "1", &trace.name()]] {
        let output = engram(arguments);
        assert!(output.status.success() && stderr(&output).contains("round 1 of 1"), "{}", stderr(&output));
    }
    for command in ["info", "map", "top", "check", "export"] {
        for arguments in [[command, "none.engram", "--rounds", "1"], ["--rounds", "1", command, "none.engram"]] {
            let said = refusal(&engram(arguments), 2);
            assert!(said.contains("--rounds"), "{said}");
        }
        assert!(!stdout(&engram([command, "--help"])).contains("--rounds"), "{command}");
    }
}

#[test]
fn what_alignments_take_has_room_in_the_arena_of_a_trace() {
    let mut trace = Writer::new(2);
    for log2 in 0..22 {
        for number in 0..20 {
            let object = trace.allocate(number % 2, 1 << (log2 / 2), log2);
            if number % 5 == 0 {
                trace.reallocate(1 - number % 2, object, 3 << (log2 / 2));
            }
        }
    }
    for _ in 0..100 {
        trace.allocate(0, 1, 21);
    }
    let trace = Scratch::new("aligned.egt", &trace.finish());
    let replay = &json(trace.path(), &[])["replays"][0];
    assert_eq!(replay["faults"]["engram"]["refused"], 0);
}

#[test]
fn spans_of_which_each_thread_uses_little_have_room_in_the_arena_of_a_trace() {
    let mut trace = Writer::new(64);
    let classes = (16..128).step_by(16).chain((0..41).map(|step| (8 + step % 8) << (4 + step / 8)));
    for size in classes {
        for thread in 0..64 {
            trace.allocate(thread, size, 4);
        }
    }
    let trace = Scratch::new("sparse.egt", &trace.finish());
    let replay = &json(trace.path(), &[])["replays"][0];
    assert_eq!(replay["faults"]["engram"]["refused"], 0);
}

#[test]
fn the_arena_s_own_peak_is_not_below_what_the_trace_has_live() {
    let mut trace = Writer::new(16);
    let objects: Vec<_> = (0..16).map(|thread| trace.allocate(thread, 1_000, 4)).collect();
    (0..16).zip(objects).for_each(|(thread, object)| trace.free(thread, object));
    let trace = Scratch::new("peak.egt", &trace.finish());
    let replay = &json(trace.path(), &[])["replays"][0];
    assert_eq!(replay["peak_live_bytes"], 16_000);
    // Each is rounded to its class of 1,024 bytes.
    assert_eq!(replay["metrics"]["bytes_peak"], 16_384);
}

#[cfg(target_os = "linux")]
#[test]
fn no_more_of_a_file_is_read_than_a_trace_may_have() {
    let endless = Scratch::new("endless.egt", b"EGTRACE1");
    std::fs::OpenOptions::new().write(true).open(endless.path()).unwrap().set_len(3 << 30).unwrap();
    let limited = "ulimit -v 2097152; exec \"$0\" replay \"$1\"";
    let output = Command::new("sh").args(["-c", limited, env!("CARGO_BIN_EXE_engram"), &endless.name()]).output().unwrap();
    let said = refusal(&output, 2);
    assert!(said.ends_with("at byte 536870912 of the file: too large: expected at most 536870912 bytes decompressed"), "{said}");
}

#[test]
fn a_compressed_trace_is_the_same_trace_and_files_are_reported_in_order() {
    let bytes = every_operation().finish();
    let packed = ruzstd::encoding::compress_to_vec(bytes.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
    let packed = Scratch::new("packed.egt.zst", &packed);
    let mut other = Writer::new(1);
    other.allocate(0, 1, 4);
    let other = Scratch::new("other.egt", &other.finish());
    let report = json(packed.path(), &[&other.name(), "--no-verify", "--columns", "5", "--capacity", "16M"]);
    let replays = report["replays"].as_array().unwrap();
    assert!(replays[0]["name"].as_str().unwrap().ends_with("-packed"));
    assert!(replays[1]["name"].as_str().unwrap().ends_with("-other"));
    assert_eq!(replays[0]["operations"], 15);
    for replay in replays {
        assert_eq!((&replay["verified"], &replay["content_ns"]), (&Value::from(false), &Value::Null));
        assert_eq!((&replay["columns"], &replay["capacity_bytes"]), (&Value::from(5), &Value::from(16 << 20)));
    }
}

#[test]
fn a_trace_of_no_operations_and_one_of_64_threads_are_replayed() {
    let none = Scratch::new("none.egt", &Writer::new(1).finish());
    let report = json(none.path(), &[]);
    assert_eq!(report["replays"][0]["operations"], 0);
    let mut many = Writer::new(64);
    for round in 0..20_u8 {
        for thread in 0..64 {
            let object = many.allocate(thread, 16 * u64::from(thread), 4);
            many.reallocate((thread + 1) % 64, object, 40 * u64::from(round));
            many.free((thread + round) % 64, object);
        }
    }
    let many = Scratch::new("many.egt", &many.finish());
    let report = json(many.path(), &[]);
    let replay = &report["replays"][0];
    assert_eq!((&replay["threads"], &replay["columns"], &replay["operations"]), (&64.into(), &64.into(), &3_840.into()));
    assert_eq!(replay["cross_thread_frees"], 19 * 64);
}

#[test]
fn an_arena_that_is_too_small_is_reported_and_ends_with_code_1() {
    let mut trace = Writer::new(1);
    for _ in 0..64 {
        trace.allocate(0, 1_000_000, 4);
    }
    let trace = Scratch::new("large.egt", &trace.finish());
    let output = replay(trace.path(), &["--capacity", "8M", "--rounds", "1", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let faults = &report["replays"][0]["faults"];
    assert!(faults["engram"]["refused"].as_u64().unwrap() > 56);
    assert_eq!((&faults["engram"]["damaged"], &faults["malloc"]["refused"]), (&0.into(), &0.into()));
    let said = stderr(&output);
    let last = said.lines().last().unwrap();
    assert!(last.contains("operations refused by engram, a larger --capacity than 8388608 bytes may serve them"), "{last}");
}

#[test]
fn the_process_that_measures_memory_refuses_what_is_not_a_trace() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_engram"))
        .args(["measure-peak", "malloc"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"EGTRACE9 and more").unwrap();
    let said = refusal(&child.wait_with_output().unwrap(), 2);
    assert!(said.starts_with("standard input: at byte 0 "), "{said}");
}

/// Not even a folder for temporary files, into which it writes a page.
#[test]
fn the_main_run_needs_nothing_and_finds_nothing_wrong() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
    let output = command.args(["--json", "--rounds", "1"]).env("TMPDIR", "/nowhere").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nest = &report["replays"][0];
    for (field, value) in [("operations", 719_780), ("objects", 384_717), ("threads", 2), ("cross_thread_frees", 5_000)] {
        assert_eq!(nest[field], value, "{field}");
    }
    assert_eq!(nest["peak_live_bytes"], 129_452_113);
    let wordnet = &report["wordnet"];
    assert_eq!((&wordnet["concepts"], &wordnet["damaged"]), (&117_659.into(), &0.into()));
    let rows = wordnet["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    for row in rows {
        for placement in ["malloc", "singles", "batch", "plain"] {
            assert!(row[placement]["median"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
}

#[test]
fn a_trace_that_no_machine_has_memory_for_is_refused_without_trying() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let mut trace = Writer::new(1);
    for _ in 0..3_000 {
        trace.allocate(0, 1 << 40, 4);
    }
    let trace = Scratch::new("beyond.egt", &trace.finish());
    let output = replay(trace.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("bytes are live at once, but this machine has "), "{}", stderr(&output));
}
