//! Promise 2: **bounded steps**. The bound is stated in machine instructions, and found by stepping
//! every operation of a run: `examples/steps` does that, in a release build whatever this test is
//! built as, and this test holds its table against the ceilings below.
//!
//! A loop over spans, slots or frees on any path, a function that is no longer inlined, or a system
//! call inside an operation would break it.
//!
//! Instructions can be stepped on Linux on x86-64; on other platforms nothing is tested here.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(loom)))]

use std::process::Command;
use std::sync::OnceLock;

/// What README states, call and return included: the row, its median, its most.
const STATED: [(&str, usize, usize); 20] = [
    ("churn: allocation", 28, 95),
    ("churn: free", 43, 78),
    ("churn over all zones: allocation", 28, 95),
    ("churn over all zones: free", 43, 78),
    ("growth: allocation", 28, 132),
    ("growth: free", 70, 112),
    ("growth over all zones: allocation", 28, 132),
    ("growth over all zones: free", 70, 112),
    ("taking back: allocation", 28, 95),
    ("taking back: free", 80, 113),
    ("taking back: free by another column's holder", 145, 182),
    ("exhaustion: allocation", 28, 132),
    ("exhaustion: refused allocation", 6000, 8000),
    ("4 to 256 KiB: allocation", 83, 1225),
    ("4 to 256 KiB: free", 43, 180),
    ("ordered batch of 500: each block", 760, 760),
    ("not held: allocation", 100, 645),
    ("not held: free", 135, 175),
    ("held by another: allocation", 320, 2600),
    ("held by another: free", 128, 128),
];

/// A row of the table.
#[derive(Debug)]
struct Row {
    name: String,
    operations: usize,
    median: usize,
    most: usize,
}

/// The table, counted once for all tests, or what went wrong.
fn table() -> &'static [Row] {
    static TABLE: OnceLock<Result<Vec<Row>, String>> = OnceLock::new();
    match TABLE.get_or_init(count) {
        Ok(rows) => rows,
        Err(error) => panic!("{error}"),
    }
}

fn count() -> Result<Vec<Row>, String> {
    // The build that ships, whatever flags this one has. Only engram is optimised: no step of an operation is in another
    // package, and the tests' own take most of the time otherwise.
    let output = Command::new(env!("CARGO"))
        .args(["--config", "profile.release.package.'*'.opt-level=0", "--config", "profile.release.package.'*'.debug=false"])
        .args(["run", "--release", "--quiet", "--example", "steps"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(text.lines().filter_map(parse).collect())
}

/// A row of a line `| name | operations | p50 | p99 | p99.9 | most |`; none of the head.
fn parse(line: &str) -> Option<Row> {
    let cells: Vec<_> = line.split('|').map(str::trim).collect();
    let number = |index: usize| cells.get(index)?.parse().ok();
    Some(Row { name: (*cells.get(1)?).to_owned(), operations: number(2)?, median: number(3)?, most: number(6)? })
}

fn row(name: &str) -> &'static Row {
    table().iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name:?} in {:#?}", table()))
}

#[test]
fn no_operation_calls_the_system() {
    // The program that counts stops at the first that does.
    assert_eq!(table().len(), STATED.len());
    assert!(table().iter().all(|row| row.operations > 0));
}

#[test]
fn every_operation_stays_within_the_bound_stated_for_it() {
    let above: Vec<_> = STATED.iter().filter(|(name, median, most)| row(name).median > *median || row(name).most > *most).collect();
    assert!(above.is_empty(), "above {above:#?}: {:#?}", table());
}
