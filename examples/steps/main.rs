//! Counts the machine instructions of every operation of a run of `libengram.so`, exactly, by stepping through it.
//!
//! ```text
//! cargo run --release --example steps             the table
//! cargo run --release --example steps -- where    and in which functions each row's worst was spent
//! ```
//!
//! No clock and no noise: the figures of a build are the same on any machine. A figure is everything
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
mod rare;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod stepper;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod workloads;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() {
    let explain = std::env::args().any(|argument| argument == "where");
    let mut stepper = stepper::Stepper::install();
    println!("| instructions | operations | p50 | p99 | p99.9 | most |\n|---|---|---|---|---|---|");
    for workload in workloads::ALL.iter().chain(rare::ALL) {
        let mut counter = count::Counter::new(&mut stepper);
        // In a thread of its own, whose first refusal makes room for what is told of it.
        std::thread::scope(|scope| scope.spawn(|| workload(&mut counter)).join()).expect("the workload went through");
        counter.print(explain);
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    println!("instructions are counted on Linux on x86-64 only");
}
