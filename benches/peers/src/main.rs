//! Tells how fast engram allocates and frees beside other allocators: one process, the same work, round by round.
//!
//! Read in this order: `args`, `adapters` (building them), `heap` (loading one, and a thread's use of it), `trace`,
//! `workload` (the work), `lines` (which work makes which line of the report), `measure`, `resident`, `report`.

mod adapters;
mod args;
mod heap;
mod lines;
mod measure;
mod pages;
mod report;
mod resident;
mod tls;
mod trace;
mod workload;

use anyhow::{Result, ensure};
use args::Args;
use clap::Parser;
use heap::{Library, Peer};
use report::Report;
use std::process::ExitCode;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the comparison runs on Linux on x86-64 only: it reads /proc and the time stamp counter");

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engram-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "build with --release: times of a debug build say nothing");
    tls::make_room()?;
    if args.small_pages {
        pages::keep_small()?;
    }
    if let Some((allocator, trace)) = args.resident_child()? {
        return resident::child(allocator, &trace);
    }
    let lines::Chosen { jobs, residents } = lines::chosen(&args.traces, args.only.as_deref())?;
    let chosen = args.allocators();
    adapters::build(&chosen)?;
    let libraries = chosen.iter().map(|adapter| Library::load(adapter)).collect::<Result<Vec<_>>>()?;
    let peers: Vec<Peer> = libraries.into_iter().map(Library::start).collect();
    let mut report = Report::new(&chosen, args.variants_apart());
    measure::time(&jobs, &peers, args.rounds, &mut report);
    resident::measure(&residents, &chosen, &mut report)?;
    let text = report.render(args.markdown);
    ensure!(!text.is_empty(), "nothing measured: none of these allocators takes part in these lines");
    print!("{text}");
    Ok(())
}
