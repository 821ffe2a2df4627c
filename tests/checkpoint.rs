//! The examples that live in a region file: killed again and again, a network goes on where it was and fires the same spikes
//! as one that was never killed; and it is the same network in Rust and in C.
#![cfg(all(target_os = "linux", not(any(loom, miri))))]

#[path = "common/c.rs"]
mod c;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// So many that a run takes longer than most kills wait.
const STEPS: u64 = 12_000;
/// Kills of a run at least, and at most; then it is let go.
const KILLS: std::ops::Range<usize> = 4..15;

/// The two programs.
fn programs() -> &'static [PathBuf; 2] {
    static PROGRAMS: OnceLock<[PathBuf; 2]> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let built = c::libraries().parent().expect("target/PROFILE");
        let profile = if built.ends_with("debug") { "dev" } else { "release" };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "checkpoint", "--profile", profile, "--manifest-path"]);
        c::run(cargo.arg(c::root().join("Cargo.toml")).arg("--target-dir").arg(built.parent().unwrap()));
        [built.join("examples/checkpoint"), c::program(c::compiler(), &c::C, "examples/c/checkpoint.c")]
    })
}

/// A region file that goes away with the test.
struct Region(PathBuf);

impl Region {
    fn new(name: &str) -> Self {
        let path = c::folder().join(format!("checkpoint-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn start(program: &Path, region: &Region, more: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.arg(&region.0).arg(STEPS.to_string()).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The spikes that a run to the end prints.
fn spikes(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The spikes of a network that is never killed, the same for all.
fn expected() -> &'static str {
    static EXPECTED: OnceLock<String> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let [rust, c] = programs().each_ref().map(|program| {
            let region = Region::new("whole");
            spikes(start(program, &region, &[]).wait_with_output().unwrap())
        });
        assert!(rust == c, "in C other spikes are fired");
        assert_eq!(rust.lines().count() as u64, STEPS);
        // A network that is neither silent nor in a fit.
        let fired = rust.split([' ', '\n']).filter(|word| !word.is_empty() && !word.ends_with(':')).count() as u64;
        assert!((STEPS..STEPS * 100).contains(&fired), "{fired} spikes");
        rust
    })
}

/// Kills runs of `programs` in turn at random moments until one comes to its end: its spikes.
fn killed_at_random(name: &str, programs: &[&Path]) {
    let region = Region::new(name);
    let mut random = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    let mut kills = 0;
    let output = loop {
        let mut child = start(programs[kills % programs.len()], &region, &[]);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // In the first runs early, so that the network's creation is cut short too.
        let most = if kills < 3 { 6_000 } else { 25_000 };
        if kills < KILLS.end {
            std::thread::sleep(Duration::from_micros(random % most));
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        if output.status.signal() != Some(9) {
            break output;
        }
        kills += 1;
    };
    assert!(spikes(output) == expected(), "{name}: other spikes after {kills} kills");
    println!("{name}: {kills} kills");
    assert!(kills >= KILLS.start, "{name}: only {kills} kills: a run is too short");
}

#[test]
fn a_network_that_is_killed_at_random_moments_fires_the_same_spikes() {
    let [rust, c] = programs();
    expected();
    killed_at_random("rust", &[rust]);
    killed_at_random("c", &[c]);
    killed_at_random("both", &[rust, c]);
}

#[test]
fn a_network_that_is_killed_in_the_middle_of_a_step_does_that_step_again() {
    for program in programs() {
        let region = Region::new("at");
        for at in ["0", "1", "2", "777", "778"] {
            let output = start(program, &region, &["--kill-at", at]).wait_with_output().unwrap();
            assert_eq!(output.status.signal(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let output = start(program, &region, &[]).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with(&format!("recovered at step 778 of {STEPS}")), "{said}");
        assert!(spikes(output) == expected());
        // It is done, and was closed.
        let output = start(program, &region, &[]).wait_with_output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).starts_with(&format!("opened at step {STEPS}")));
        assert!(spikes(output) == expected());
    }
}
