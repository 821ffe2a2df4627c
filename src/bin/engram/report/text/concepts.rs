//! WordNet through the service: the load, what guidance is worth, maintenance, quotas.

use std::io::{self, Write};

use super::{heading, paragraph};
use crate::report::concepts::{ConceptsReport, Load};
use crate::report::style::{Style, bytes, grouped, short_time};

/// Columns of the longest bar.
const BAR: usize = 50;

/// Writes it.
pub fn write(out: &mut impl Write, report: &ConceptsReport, style: Style) -> io::Result<()> {
    heading(out, "WordNet 3.0 through the memory allocation service", style)?;
    let description = format!(
        "{} concepts with {} known edges in {} columns, allocated one by one; each content read back and compared.",
        grouped(report.concepts as u64),
        grouped(report.edges as u64),
        report.columns
    );
    paragraph(out, &description, str::to_owned)?;
    writeln!(out)?;
    let header = format!("{:22}{:>12}{:>9}{:>9}{:>9}{:>9}{:>9}", "allocations", "a second", "p50", "p99", "p99.99", "worst", "hits");
    writeln!(out, "{}", style.dim(&header))?;
    write_load(out, "every decision new", &report.fresh)?;
    write_load(out, "decisions remembered", &report.again)?;
    writeln!(out, "a read from the caches{:>21} ns", short_time(report.read_ns))?;
    writeln!(out)?;

    writeln!(out, "{}", style.dim("edges between two columns, by who decides"))?;
    for worth in &report.worth {
        let length = (worth.cut * BAR as f64).round() as usize;
        let bar = if style.blocks { "█" } else { "#" }.repeat(length);
        writeln!(out, "   {:22}{:>6.3}  {}", worth.name, worth.cut, style.sgr("36", &bar))?;
    }
    let pages = &report.pages;
    let note = format!(
        "Pages of 4 KiB that a spreading activation of two steps touches: {:.1} placed by hash, {:.1} as loaded, {:.1} after \
         maintenance ({:.2} of the first).",
        pages.hashed,
        pages.loaded,
        pages.maintained,
        pages.maintained / pages.hashed
    );
    paragraph(out, &note, str::to_owned)?;
    let maintenance = &report.maintenance;
    let note = format!(
        "Maintenance: {} calls of 2 ms, {:.1} s in all, {:.2} moves a concept. Concepts' own bytes fill {:.0} % of the touched pages after loading, \
         {:.0} % after maintenance.",
        grouped(maintenance.calls),
        maintenance.seconds,
        maintenance.relocations_a_concept,
        100.0 * report.utilization,
        100.0 * maintenance.utilization
    );
    paragraph(out, &note, |line| style.dim(line))?;
    writeln!(out)?;

    writeln!(
        out,
        "{}",
        style.dim(&format!("{:14}{:>12}{:>12}{:>12}{:>20}", "first spikes", "earliest", "median", "latest", "different times"))
    )?;
    for spikes in &report.spikes {
        let times = format!("{} of {}", grouped(spikes.distinct as u64), grouped(spikes.of as u64));
        writeln!(
            out,
            "   {:11}{:>9.3} ms{:>9.3} ms{:>9.3} ms{:>20}",
            spikes.priority, spikes.earliest_ms, spikes.median_ms, spikes.latest_ms, times
        )?;
    }
    writeln!(out)?;
    writeln!(out, "{}", style.dim(&format!("{:14}{:>12}{:>12}{:>14}{:>14}", "pools", "used", "peak", "allocations", "expansions")))?;
    for pool in &report.pools {
        writeln!(
            out,
            "   {:11}{:>12}{:>12}{:>14}{:>14}",
            pool.pool,
            bytes(pool.used_bytes),
            bytes(pool.peak_bytes),
            grouped(pool.allocations),
            grouped(pool.expansions)
        )?;
    }
    let refusals = &report.refusals;
    let note = format!(
        "A batch of {} for a pool of {}, half of it kept for spikes within 2.9 ms: {} critical and {} normal concepts served, {} used. A refusal \
         reads: {}",
        grouped(refusals.asked as u64),
        bytes(refusals.quota_bytes),
        grouped(refusals.served_critical as u64),
        grouped(refusals.served_normal as u64),
        bytes(refusals.used_bytes),
        refusals.message
    );
    paragraph(out, &note, str::to_owned)?;
    match &report.page {
        Some(page) => writeln!(out, "Heap map: {}", page.display())?,
        None => writeln!(out, "Heap map: none, because the folder for temporary files did not take it")?,
    }
    writeln!(out)
}

fn write_load(out: &mut impl Write, name: &str, load: &Load) -> io::Result<()> {
    let time = |ns: u32| short_time(f64::from(ns));
    writeln!(
        out,
        "   {:19}{:>12}{:>9}{:>9}{:>9}{:>9}{:>7.0} %",
        name,
        grouped(load.a_second.round() as u64),
        time(load.p50_ns),
        time(load.p99_ns),
        time(load.p9999_ns),
        time(load.worst_ns),
        100.0 * load.hits
    )
}
