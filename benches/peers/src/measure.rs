//! Runs the work: for each job some rounds, in each round every allocator in turn, so that what disturbs the machine for
//! a while disturbs all of them alike.
//!
//! A job's rounds follow each other closely. Were all jobs done in each round, an allocator would come back to a job
//! after seconds, in which some give their memory back to the system: then the next round measures page faults.

use crate::heap::{Heap, Peer};
use crate::lines::{Job, Section};
use crate::report::Report;

/// Measures `jobs` over `rounds` rounds each, after one that warms up and does not count.
pub fn time(jobs: &[Job], peers: &[Peer], rounds: u32, report: &mut Report) {
    if jobs.is_empty() {
        return;
    }
    let heaps: Vec<Heap> = peers.iter().map(Peer::enter).collect();
    for job in jobs {
        turns(job, &heaps, 0);
        for round in 1..=rounds as usize {
            for (index, values) in turns(job, &heaps, round) {
                report.add(&job.lines, index, &values);
            }
        }
        // Lines by address have the names of those in spike order.
        let shown = job.lines.iter().filter(|line| line.section != Section::ByAddress);
        let names: Vec<&str> = shown.map(|line| line.text.as_str()).collect();
        eprintln!("measured: {}", names.join("; "));
    }
}

/// Each allocator's turn at a job, with the allocator's index. Each round begins with another allocator.
fn turns(job: &Job, heaps: &[Heap], round: usize) -> Vec<(usize, Vec<f64>)> {
    (0..heaps.len())
        .map(|step| (step + round) % heaps.len())
        .filter(|&index| heaps[index].peer().adapter.serves(job.demand))
        .map(|index| (index, job.run(&heaps[index], round as u64)))
        .collect()
}
