//! Counts the machine instructions of every operation of a run of `libengram.so`, exactly, by single-stepping it.
//!
//! ```text
//! cargo run --release --example steps             the table
//! cargo run --release --example steps -- where    and in which functions each row's worst was spent
//! ```
//!
//! Each workload runs in a process of its own, as many at a time as there are processors: stepping takes some 20 us an
//! instruction. No clock and no noise: the figures of a build are the same on any machine. A figure is everything
//! from the `call` to the `ret`, both included: these two are the whole overhead of the frame, and
//! nothing is subtracted. A system call inside an operation ends the run with an error.
//!
//! Linux on x86-64; elsewhere it says so and does nothing. `where` wants `addr2line` of the binutils.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod arena;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod count;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod face;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod stepper;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod workloads;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() {
    let explain = std::env::args().any(|argument| argument == "where");
    if let Some(workload) = std::env::var(WORKLOAD).ok().and_then(|index| workloads::ALL.get(index.parse::<usize>().ok()?)) {
        let mut stepper = stepper::Stepper::install();
        let mut counter = count::Counter::new(&mut stepper);
        workload(&mut counter);
        counter.print(explain);
    } else {
        println!("| instructions | operations | p50 | p99 | p99.9 | most |\n|---|---|---|---|---|---|");
        for text in in_processes(workloads::ALL.len()) {
            print!("{text}");
        }
    }
}

/// In the environment of a child: the number of its workload.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const WORKLOAD: &str = "ENGRAM_STEPS_WORKLOAD";

/// What this program prints for each workload.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn in_processes(workloads: usize) -> Vec<String> {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    let program = std::env::current_exe().expect("this program");
    let child = |index: usize| {
        let mut child = std::process::Command::new(&program);
        let output =
            child.args(std::env::args_os().skip(1)).env(WORKLOAD, index.to_string()).stderr(std::process::Stdio::inherit()).output();
        let output = output.expect("this program, anew");
        assert!(output.status.success(), "workload {index}: {}", output.status);
        String::from_utf8(output.stdout).expect("text")
    };
    let next = AtomicUsize::new(0);
    let work =
        || std::iter::from_fn(|| Some(next.fetch_add(1, Relaxed)).filter(|&index| index < workloads).map(|index| (index, child(index))));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(|| work().collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("its child did not fail")).collect()
    });
    all.sort_unstable();
    all.into_iter().map(|(_, text)| text).collect()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    println!("instructions are counted on Linux on x86-64 only");
}
