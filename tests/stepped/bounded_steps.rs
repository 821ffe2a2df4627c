//! Promise 2: **bounded steps**. The bound is stated in machine instructions, and found by stepping
//! every operation of a run: `examples/steps` does that with `libengram.so` in a release build, whatever
//! this test is built as, and this test holds its table against the ceilings below.
//!
//! A loop over spans, slots or frees on any path, a function that is no longer inlined, or a system
//! call inside an operation would break it.
//!
//! The first test is in the order of names before the others here: while it waits for a build, they run.

use std::ffi::CString;
use std::path::PathBuf;
use std::process::Command;

/// Ceilings for the rows of the table in `benches/RESULTS.md`, call and return included: the row, its median, its most; with some room
/// above what it states, because what this test builds differs in what was inlined where.
const STATED: [(&str, usize, usize); 56] = [
    ("churn: free", 39, 80),
    ("churn: allocation", 25, 98),
    ("churn over all zones: free", 39, 80),
    ("churn over all zones: allocation", 25, 98),
    ("growth: allocation", 25, 100),
    ("growth: free", 67, 108),
    ("growth over all zones: allocation", 25, 100),
    ("growth over all zones: free", 67, 108),
    ("growth past 128 MiB: allocation", 25, 329),
    ("shrinking in no order: free", 67, 112),
    ("taking back: free by another column's holder", 130, 180),
    ("taking back: free", 77, 113),
    ("taking back: allocation", 25, 210),
    ("others freed there: free", 50, 50),
    ("others freed elsewhere: free", 50, 50),
    ("others freed elsewhere, released since: free", 39, 47),
    ("exhaustion: allocation", 25, 100),
    ("exhaustion: refused allocation", 6320, 8010),
    ("exhaustion: allocation after a free", 25, 254),
    ("misuse: refused free", 195, 740),
    ("near the column's limit: allocation", 67, 195),
    ("at the column's limit: refused allocation", 4600, 7550),
    ("no free chunk: allocation", 25, 780),
    ("no free chunk, 65,536 columns: allocation", 25, 780),
    ("growth beside large blocks: allocation", 25, 212),
    ("aligned to 1 to 8 bytes: allocation", 32, 303),
    ("aligned to 32 to 4,096 bytes: allocation", 100, 332),
    ("4 to 256 KiB: free", 95, 250),
    ("4 to 256 KiB: allocation", 32, 402),
    ("4 to 256 KiB, any alignment: allocation", 128, 645),
    ("4 to 256 KiB, any alignment: free", 95, 252),
    ("up to 4 KiB among larger ones: free", 39, 74),
    ("up to 4 KiB among larger ones: allocation", 25, 94),
    ("batch of 500 of a held column, 64 B: each block", 5, 5),
    ("ordered batch of 500, 64 B, spikes ascending: each block", 12, 12),
    ("ordered batch of 500, 64 B: each block", 206, 206),
    ("ordered batch of 500, mixed sizes: each block", 599, 599),
    ("not held: allocation", 55, 725),
    ("not held: free", 137, 175),
    ("held by another: allocation", 370, 950),
    ("held by another: free", 156, 180),
    ("31 of 32 chunks full: allocation", 1050, 1095),
    ("at the column's limit, all freed: allocation", 85, 17_200),
    ("growth beside blocks above 4 KiB: allocation", 25, 230),
    ("first of a column, 126 MiB in use: allocation", 305, 305),
    ("first of an arena, aligned to 32 bytes: allocation", 420, 450),
    ("of a shared span: free", 180, 232),
    ("of a shared span: free by another column's holder", 188, 241),
    ("1 MiB: allocation", 372, 475),
    ("1 MiB: free", 277, 277),
    ("256 MiB: allocation", 10_450, 14_700),
    ("256 MiB: free", 4150, 4150),
    ("held by another, eight chunks full: allocation", 552, 10_950),
    ("batch of 500 of a held column, one slot of 16 free: each block", 74, 74),
    ("few spans that others freed: allocation", 25, 100),
    ("few spans that others freed, at the column's limit: allocation", 25, 100),
];

/// A row of the table.
#[derive(Debug)]
struct Row {
    name: String,
    operations: usize,
    median: usize,
    most: usize,
}

/// The table, or what went wrong.
fn count() -> Result<Vec<Row>, String> {
    let library = library()?;
    // The build that ships, whatever flags this one has, but for what changes no step of an operation: the command line's packages are
    // left out, nothing is told to debuggers, and of the packages only engram is optimised.
    cargo(&["rustc", "--release", "--lib", "--crate-type", "cdylib", "--no-default-features"], |build| {
        build.args(["--config", "profile.release.debug=false", "--config", "profile.release.package.'*'.opt-level=0"]);
        build.arg("--target-dir").args(library.ancestors().nth(2));
    })?;
    let text = cargo(&["run", "--example", "steps"], |run| {
        run.env("ENGRAM_STEPS_LIBRARY", &library);
    })?;
    println!("{text}");
    Ok(text.lines().filter_map(parse).collect())
}

/// Whether it is the compiler that the table in `benches/RESULTS.md` was made with.
fn compiled_as_stated() -> bool {
    let compiler = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into())).arg("--version").output();
    compiler.is_ok_and(|output| output.stdout.starts_with(b"rustc 1.95."))
}

/// Where the library that was stepped through lies.
fn library() -> Result<PathBuf, String> {
    let target = std::env::current_exe().map_err(|error| error.to_string())?;
    // A folder of its own, so that nobody else takes what is built here for the library that ships.
    Ok(target.ancestors().nth(3).ok_or("this test lies in target/PROFILE/deps")?.join("steps/release/libengram.so"))
}

/// What a cargo command prints, or what went wrong.
fn cargo(arguments: &[&str], and: impl FnOnce(&mut Command)) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).arg("--quiet").current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    and(&mut command);
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A row of a line `| name | operations | p50 | p99 | p99.9 | most |`; none of the head.
fn parse(line: &str) -> Option<Row> {
    let cells: Vec<_> = line.split('|').map(str::trim).collect();
    let number = |index: usize| cells.get(index)?.parse().ok();
    Some(Row { name: (*cells.get(1)?).to_owned(), operations: number(2)?, median: number(3)?, most: number(6)? })
}

#[test]
fn every_operation_is_bounded_and_none_calls_the_system() {
    let table = count().unwrap_or_else(|error| panic!("{error}"));
    // The program that counts stops at the first that calls the system.
    assert_eq!(table.len(), STATED.len());
    assert!(table.iter().all(|row| row.operations > 0));
    the_two_hot_functions_begin_a_line();
    let row = |name: &str| table.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name:?} in {table:#?}"));
    // Its requests are looked at by instructions that not every processor has: without them the look takes 17 steps.
    let more = |name: &str| if name.contains("ascending") && !std::arch::is_x86_feature_detected!("avx2") { 14 } else { 0 };
    // Other compilers make other steps of what is seldom done.
    let room = |steps: usize| if compiled_as_stated() { steps } else { steps * 5 / 4 };
    let ceilings = STATED.map(|(name, median, most)| (name, room(median + more(name)), room(most + more(name))));
    let above: Vec<_> = ceilings.iter().filter(|(name, median, most)| row(name).median > *median || row(name).most > *most).collect();
    assert!(above.is_empty(), "above {above:#?}: {table:#?}");
    // Once others have freed something all frees go one way: those that go two in no order cost more than the longer way, because a
    // processor cannot tell which comes next (L3).
    assert_eq!(row("others freed elsewhere: free").median, row("others freed there: free").median);
    assert_eq!(row("others freed elsewhere, released since: free").median, row("churn: free").median);
}

/// README has the most important rows of the table, and `benches/RESULTS.md` all. Seen with: a row of README changed; a row of the table
/// left out.
#[test]
fn readme_has_rows_of_the_results() {
    let rows = |text: &'static str| text.lines().filter(|line| parse(line).is_some()).collect::<Vec<_>>();
    let all = rows(include_str!("../../benches/RESULTS.md"));
    let names: Vec<_> = all.iter().filter_map(|line| parse(line)).map(|row| row.name).collect();
    assert_eq!(names, STATED.map(|(name, ..)| name));
    let some = rows(include_str!("../../README.md"));
    assert!(some.len() > 10, "{some:#?}");
    assert_eq!(some.into_iter().filter(|row| !all.contains(row)).collect::<Vec<_>>(), [""; 0]);
}

/// Where they lie decides up to a quarter of their time, and without a word to the linker any line before them moves them. Seen with:
/// no `src/column/lines.rs`.
fn the_two_hot_functions_begin_a_line() {
    let path = CString::new(library().unwrap().into_os_string().into_encoded_bytes()).unwrap();
    // SAFETY: a library of ours, which does nothing when loaded; it stays loaded.
    let loaded = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!loaded.is_null());
    for name in [c"engram_column_alloc", c"engram_column_free"] {
        // SAFETY: it is loaded; a name with a zero at its end.
        let place = unsafe { libc::dlsym(loaded, name.as_ptr()) };
        assert!(!place.is_null() && place.addr().is_multiple_of(64), "{name:?} at {place:?}");
    }
}
