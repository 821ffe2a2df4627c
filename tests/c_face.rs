//! The C face as programs use it: the C and C++ programs of `tests/c` and `examples/c` are compiled
//! with every warning an error, linked with the library, and run.
//!
//! `CC` and `CXX` choose the compilers. Without a C++ compiler the C++ parts say so and pass.
#![cfg(all(target_os = "linux", not(any(loom, miri))))]

#[path = "common/c.rs"]
mod c;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::process::Command;

use c::{C, compiler, folder, libraries, program, root, run, run_c, strict};

const CXX: [&str; 5] = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// The C++ compiler, if there is one; else one line says that there is none.
fn cxx() -> Option<OsString> {
    let named = std::env::var_os("CXX").into_iter().chain(["c++".into(), "g++".into()]);
    let found = named.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok());
    if found.is_none() {
        println!("no C++ compiler: set CXX to try the C++ parts");
    }
    found
}

/// Compiles a program that makes files, and runs it where they may be.
fn run_in_folder(source: &str) {
    run(Command::new(program(compiler(), &C, source)).current_dir(folder()));
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(root().join("include/engram.h")).expect("include/engram.h");
    let lines = header.lines().filter(|line| !line.starts_with([' ', '/', '#', '*']));
    let names = lines.filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next());
    names.filter(|name| name.starts_with("engram_")).map(str::to_owned).collect()
}

#[test]
fn signatures_values_and_layouts_are_those_that_programs_are_written_against() {
    let object = |name: &str| folder().join(format!("c_face-{name}.o"));
    let source = root().join("tests/c/signatures.c");
    run(strict(compiler(), &C).arg("-c").arg(&source).arg("-o").arg(object("signatures")));
    let text = std::fs::read_to_string(source).expect("signatures.c");
    for function in declared() {
        assert!(text.contains(&format!("{function}(")), "signatures.c does not say what {function} takes");
    }
    if let Some(cxx) = cxx() {
        let alone = folder().join("c_face-alone.cpp");
        std::fs::write(&alone, "#include \"engram.h\"\nint main() { return engram_version() == 0; }\n").expect("a source file");
        for standard in ["-std=c++11", "-std=c++17", "-std=c++20"] {
            run(strict(&cxx, &CXX).arg(standard).arg("-c").arg(&alone).arg("-o").arg(object("alone")));
        }
    }
}

#[test]
fn ordinary_use_works_and_the_metrics_are_json_and_openmetrics() {
    let output = run_c("tests/c/ordinary.c");
    let (_, output) = output.split_once("json:\n").expect("the JSON text");
    let (json, output) = output.split_once("\nopenmetrics:\n").expect("the OpenMetrics text");
    let (open, numbers) = output.split_once("\nstruct: ").expect("the struct's numbers");

    let json: BTreeMap<String, u64> = serde_json::from_str(json).expect("one JSON object of numbers");
    let open = openmetrics(open).unwrap_or_else(|error| panic!("{error} in\n{open}"));
    let named = |name: &str| match name.strip_prefix("bytes_") {
        Some(what) => format!("engram_{what}_bytes"),
        None => format!("engram_{name}"),
    };
    let expected: BTreeMap<String, u64> = json.iter().map(|(name, value)| (named(name), *value)).collect();
    assert_eq!(open, expected);
    let numbers: Vec<u64> = numbers.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    assert_eq!(numbers, [json["allocs"], json["frees"], json["bytes_peak"]]);
}

#[test]
fn the_service_works_and_refuses_every_misuse_and_its_metrics_are_json() {
    let output = run_c("tests/c/service.c");
    let json: serde_json::Value = serde_json::from_str(output.strip_prefix("json:\n").expect("the JSON text")).expect("JSON");
    let all = json.as_object().expect("an object");
    let counts = ["total_allocations", "active_allocations", "retries", "relocations"];
    let times = ["average_allocation_time_ns", "allocation_time_p50_ns", "allocation_time_p99_ns", "allocation_time_max_ns"];
    let shares = ["memory_utilization", "fragmentation_level", "cache_hit_rate", "edge_cut"];
    let named: BTreeSet<&str> = [&counts[..], &times, &shares, &["pool_statistics"]].concat().into_iter().collect();
    assert_eq!(all.keys().map(String::as_str).collect::<BTreeSet<_>>(), named);
    assert!(counts.iter().chain(&times).all(|name| all[*name].is_u64()));
    assert!(shares.iter().all(|name| (0.0..=1.0).contains(&all[*name].as_f64().expect("a number"))));
    assert_eq!((&all["total_allocations"], &all["active_allocations"]), (&2.into(), &1.into()));
    assert!(times.iter().all(|name| all[*name].as_u64() > Some(0)));

    let pools = all["pool_statistics"].as_array().expect("an array");
    assert_eq!(pools.iter().map(|pool| &pool["pool_id"]).collect::<Vec<_>>(), ["thing_1", "thing-2"]);
    let numbers =
        |pool: &serde_json::Value, names: &[&str]| names.iter().map(|name| pool[*name].as_u64().expect("a number")).collect::<Vec<_>>();
    for (pool, gone) in pools.iter().zip([0, 1]) {
        assert_eq!(pool.as_object().map(serde_json::Map::len), Some(11));
        assert_eq!(pool["concept_type"], pool["pool_id"]);
        assert_eq!(numbers(pool, &["quota_bytes", "reserve_bytes"]), [1 << 20, gone * 64]);
        assert_eq!(numbers(pool, &["allocations", "deallocations", "refusals", "alternatives_served"]), [1, gone, 0, 0]);
        assert_eq!(numbers(pool, &["used_bytes"])[0] == 0, gone == 1);
        assert!(numbers(pool, &["peak_bytes"])[0] > 0 && pool["expansions"].is_u64());
    }
}

#[test]
fn every_misuse_has_its_status_and_message_and_changes_nothing() {
    run_c("tests/c/misuse.c");
}

#[test]
fn what_the_header_says_in_passing_holds() {
    run_c("tests/c/details.c");
}

#[test]
fn region_files_and_given_memory_hold_what_was_not_freed() {
    run_in_folder("tests/c/region.c");
}

/// Seen with: no look at the size; one only where memory is the arena's own.
#[test]
fn nothing_is_opened_where_the_systems_pages_are_larger() {
    let program = program(compiler(), &C, "tests/c/pages.c");
    run(Command::new(program).arg(folder().join("c_face-pages.engram")));
}

/// Seen with: a refusal; zeros written over all that is there; only the first half written.
#[test]
fn space_is_taken_where_the_file_system_reserves_none() {
    run_in_folder("tests/c/unreserved.c");
}

#[test]
fn a_forked_child_is_known_where_the_system_only_pretends() {
    run_in_folder("tests/c/pretending.c");
}

#[test]
fn a_thread_that_is_to_be_cancelled_ends_after_a_call() {
    run_in_folder("tests/c/cancelled.c");
}

#[test]
fn threads_share_an_arena() {
    run_c("tests/c/threads.c");
}

/// The header says so. Seen with: half as much for the core; what a service plans inside of it, so that its opening took more than 64 KiB.
#[test]
fn every_call_has_room_in_the_stack_that_the_header_tells() {
    let program = program(compiler(), &C, "tests/c/stack.c");
    let said = run(Command::new(program).args(["32768", "65536", "300000"]).arg(folder())).stdout;
    println!("{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_service_may_be_used_while_a_thread_or_the_program_ends() {
    assert_eq!(run_c("tests/c/ending.c"), "closed\n");
}

#[test]
fn the_library_exports_the_face_and_nothing_else_and_can_be_loaded() {
    let library = libraries().join("libengram.so");
    let exported = exports(&std::fs::read(&library).expect("libengram.so")).expect("a dynamic library for this machine");
    assert_eq!(exported, declared());
    let program = program(compiler(), &C, "tests/c/loaded.c");
    run(Command::new(program).arg(library).args(exported));
}

/// Else a program that is linked with it by its path would look for it there, from wherever it is run.
#[test]
fn a_program_that_is_linked_with_the_library_by_its_path_looks_for_its_name() {
    let program = folder().join("c_face-shared");
    let mut command = strict(compiler(), &C);
    command.arg(root().join("examples/c/spiking.c")).arg("./libengram.so").arg("-o").arg(&program);
    run(command.current_dir(libraries()));
    run(Command::new(program).current_dir(folder()).env("LD_LIBRARY_PATH", libraries()));
}

#[test]
fn standard_containers_live_in_a_column() {
    if let Some(cxx) = cxx() {
        run(&mut Command::new(program(cxx, &CXX, "tests/c/resource.cpp")));
    }
}

#[test]
fn the_example_runs() {
    let said = run_c("examples/c/spiking.c");
    assert!(said.lines().count() >= 3 && said.contains("spikes"), "{said}");
}

/// Seen with: what a thread needs to get ready not taken from the C library (it never came back); every block freed through the C
/// library; a reallocation that leaves the arena without its content; no zeros from `calloc`; nothing from the C library; no abort.
#[cfg(target_env = "gnu")]
#[test]
fn programs_that_are_not_changed_live_in_an_arena_by_the_example_of_malloc() {
    let shared = |name: &str, more: &[&str]| {
        let library = folder().join(name);
        let mut command = strict(compiler(), &["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-shared"]);
        command.args(more).arg(root().join("examples/c/malloc.c")).arg(libraries().join("libengram.a"));
        run(command.args(["-lpthread", "-ldl", "-lm", "-Wl,--exclude-libs,ALL", "-o"]).arg(&library));
        library
    };
    let program = folder().join("c_face-unchanged");
    run(strict(compiler(), &C).arg(root().join("tests/c/unchanged.c")).args(["-lpthread", "-o"]).arg(&program));
    let small = shared("c_face-small-malloc.so", &["-DCAPACITY=((size_t)8<<20)"]);
    run(Command::new(program).env("LD_PRELOAD", small));

    // A compiler makes the same of the same.
    let usual = shared("c_face-malloc.so", &[]);
    let made = |preloaded: &[&std::ffi::OsStr]| {
        let object = folder().join(format!("c_face-made-{}.o", preloaded.len()));
        let mut command = strict(compiler(), &C);
        command.envs(preloaded.iter().map(|library| ("LD_PRELOAD", library)));
        run(command.arg("-c").arg(root().join("tests/c/details.c")).arg("-o").arg(&object));
        std::fs::read(object).expect("an object")
    };
    assert!(made(&[usual.as_os_str()]) == made(&[]), "another object");
}

/// The type of an ELF section of dynamic symbols.
const DYNAMIC_SYMBOLS: usize = 11;

/// The names that an ELF library of 64 bits defines for others.
fn exports(file: &[u8]) -> Option<BTreeSet<String>> {
    let number = |at: usize, bytes: usize| {
        let bytes = file.get(at..at + bytes)?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    };
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (sections, section_bytes, count) = (number(40, 8)?, number(58, 2)?, number(60, 2)?);
    let section = |index: usize| sections + index * section_bytes;
    let symbols = (0..count).map(section).find(|&at| number(at + 4, 4) == Some(DYNAMIC_SYMBOLS))?;
    let names = number(section(number(symbols + 40, 4)?) + 24, 8)?;
    let (start, bytes) = (number(symbols + 24, 8)?, number(symbols + 32, 8)?);
    let mut exported = BTreeSet::new();
    for symbol in (start..start + bytes).step_by(24) {
        let (local, undefined) = (number(symbol + 4, 1)? >> 4 == 0, number(symbol + 6, 2)? == 0);
        if !local && !undefined {
            let name = &file[names + number(symbol, 4)?..];
            let end = name.iter().position(|&byte| byte == 0)?;
            exported.insert(String::from_utf8(name[..end].to_vec()).ok()?);
        }
    }
    Some(exported)
}

/// Reads an exposition of gauges and counters without labels: each family once, its `TYPE`, `UNIT`
/// (by which its name ends) and `HELP` before its one sample, and `EOF` at the end.
fn openmetrics(text: &str) -> Result<BTreeMap<String, u64>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("no # EOF at the end")?;
    let mut families = BTreeMap::new();
    let mut lines = body.split_terminator('\n').peekable();
    while let Some(line) = lines.next() {
        let wrong = || format!("{line:?} is out of place");
        let (name, kind) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')).ok_or_else(wrong)?;
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && name.starts_with("engram_");
        if !plain || name.ends_with("_total") {
            return Err(format!("{name:?} is no name of a family"));
        }
        if let Some(unit) = lines.next_if(|line| line.starts_with("# UNIT ")) {
            let unit = unit.strip_prefix(&format!("# UNIT {name} ")).ok_or_else(wrong)?;
            if !name.ends_with(&format!("_{unit}")) {
                return Err(format!("{name} does not end with its unit, {unit}"));
            }
        }
        let help = lines.next().and_then(|line| line.strip_prefix(&format!("# HELP {name} "))).ok_or_else(wrong)?;
        if help.is_empty() || help.contains(['"', '\\']) {
            return Err(format!("help of {name}: {help:?}"));
        }
        let sample = match kind {
            "gauge" => name.to_owned(),
            "counter" => format!("{name}_total"),
            _ => return Err(format!("{kind:?} is no type of ours")),
        };
        let value = lines.next().and_then(|line| line.strip_prefix(&format!("{sample} "))).ok_or_else(wrong)?;
        let value = value.parse().map_err(|error| format!("{sample} is {value:?}: {error}"))?;
        if families.insert(name.to_owned(), value).is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    Ok(families)
}

#[test]
fn the_checker_of_openmetrics_refuses_what_is_wrong() {
    let right = "# TYPE engram_live_bytes gauge\n# UNIT engram_live_bytes bytes\n# HELP engram_live_bytes Live.\nengram_live_bytes 7\n\
                 # TYPE engram_frees counter\n# HELP engram_frees Freed.\nengram_frees_total 9\n# EOF\n";
    assert_eq!(
        openmetrics(right).expect("right").into_iter().collect::<Vec<_>>(),
        [("engram_frees".to_owned(), 9), ("engram_live_bytes".to_owned(), 7)]
    );
    for (from, to) in [
        ("# EOF\n", ""),
        ("# EOF\n", "# EOF"),
        ("frees_total 9", "frees 9"),
        ("live_bytes 7", "live_bytes -7"),
        (" counter", " gauge"),
        (" gauge", " number"),
        ("bytes bytes", "bytes octets"),
        ("# HELP engram_frees Freed.\n", ""),
        ("# TYPE engram_frees", "\n# TYPE engram_frees"),
        ("engram_frees", "engram_live_bytes"),
    ] {
        assert!(openmetrics(&right.replacen(from, to, 1)).is_err(), "{from:?} to {to:?}");
    }
    let twice = right.replace("# EOF\n", "") + right;
    assert!(openmetrics(&twice).is_err());
}
