//! One trace: what it is, both allocators side by side, the heap map.

use std::io::{self, Write};

use super::{ends, heading, paragraph};
use crate::clock::Clock;
use crate::replay::peak::Peak;
use crate::report::map;
use crate::report::replay::{ReplayReport, Single};
use crate::report::style::{Style, bytes, grouped, in_line, time};
use crate::stats::{Pair, Spread};

/// Width of the labels at the left of the table.
const LABEL: usize = 35;
/// Width of a number.
const NUMBER: usize = 11;
/// Width of what stands beside a number.
const ASIDE: usize = 15;

/// Writes it.
pub fn write(out: &mut impl Write, replay: &ReplayReport, clock: Clock, style: Style) -> io::Result<()> {
    heading(out, &format!("{}, replayed", in_line(&replay.name)), style)?;
    paragraph(out, &description(replay), str::to_owned)?;
    writeln!(out)?;
    write_table(out, replay, style)?;
    writeln!(out)?;
    for note in notes(replay, clock) {
        paragraph(out, &note, |line| style.dim(line))?;
    }
    writeln!(out)?;
    let (used, free) = map::in_use(&replay.map);
    writeln!(
        out,
        "{}; in use: {}, {} of it free spans",
        style.bold("The heap at its peak: a row for each chunk of 2 MiB"),
        bytes(used),
        bytes(free)
    )?;
    writeln!(out, "{}", map::draw(&replay.map, style))
}

fn description(replay: &ReplayReport) -> String {
    format!(
        "{} operations on {} blocks by {}; {} blocks are freed by another thread than allocated them; {} live at the peak. \
         Arena: {}, {}, opened in {:.0} ms, pages {}. {}.",
        grouped(replay.operations as u64),
        grouped(u64::from(replay.objects)),
        counted(replay.threads as u64, "thread"),
        grouped(replay.cross_thread_frees),
        bytes(replay.peak_live_bytes),
        counted(u64::from(replay.columns), "column"),
        bytes(replay.capacity_bytes as u64),
        replay.open_ms,
        if replay.prefaulted { "touched then" } else { "not touched" },
        counted(u64::from(replay.rounds), "round"),
    )
}

fn notes(replay: &ReplayReport, clock: Clock) -> Vec<String> {
    let metrics = replay.metrics;
    let mut notes = vec![format!(
        "Medians, lowest-highest; wall time, the threads side by side. Nothing is subtracted: the driver alone takes {} ns an \
         operation, reading the clock {} ns of a single call ({}). Between rounds all blocks are freed: what an \
         allocator then gives back to the system it takes again in page faults.",
        time(replay.driver_ns.median),
        time(clock.overhead_ns),
        clock.source
    )];
    if replay.verified {
        notes.push(
            "Stamped: first and last 8 bytes and a word every 256 bytes (below 16 bytes: all), checked before and after a \
             reallocation, at the free, and at the end."
                .to_owned(),
        );
    }
    notes.push(format!(
        "Engram's own count: {} at most in blocks, {} in spans at the end, {} frees from outside the block's column, {} retries.",
        bytes(metrics.bytes_peak),
        bytes(metrics.bytes_committed),
        grouped(metrics.remote_frees),
        grouped(metrics.retries),
    ));
    notes
}

fn write_table(out: &mut impl Write, replay: &ReplayReport, style: Style) -> io::Result<()> {
    let header = format!("{:LABEL$}{:>NUMBER$}{:ASIDE$}{:>NUMBER$}{:ASIDE$}{:>13}", "", "malloc", "", "engram", "", "engram/malloc");
    writeln!(out, "{}", style.dim(&header))?;
    write_rates(out, replay, style)?;
    let mut quantile = |label: &str, of: fn(Single) -> f64| {
        let pair = replay.single_ns.map(of);
        row(out, label, &pair.map(|ns| cell(&time(ns), "", style)), Some(pair), style)
    };
    quantile("ns for a single call, p50", |single| single.p50)?;
    quantile("   p99", |single| single.p99)?;
    quantile("   p99.99", |single| single.p9999)?;
    quantile("   worst", |single| single.worst)?;
    quantile("   worst common to all rounds", |single| single.worst_common_to_all_rounds)?;
    write_memory(out, replay, style)?;
    let count = |count: u64| cell(&grouped(count), "", style);
    row(out, "operations refused", &replay.faults.map(|faults| count(faults.refused + faults.free_refused)), None, style)?;
    if replay.verified {
        let broken = replay.faults.map(|faults| count(faults.damaged + faults.misaligned));
        row(out, "blocks damaged or misaligned", &broken, None, style)?;
    }
    Ok(())
}

fn write_rates(out: &mut impl Write, replay: &ReplayReport, style: Style) -> io::Result<()> {
    let mut rate = |label: &str, pair: Pair<Spread>| {
        let cells = pair.map(|spread| cell(&time(spread.median), &ends(spread), style));
        row(out, label, &cells, Some(pair.map(|spread| spread.median)), style)
    };
    rate("ns an operation, calls alone", replay.calls_ns)?;
    if let Some(content) = replay.content_ns {
        rate("   every block stamped and checked", content)?;
    }
    if let Some(page_faults) = replay.page_faults {
        let cells = page_faults.map(|spread| cell(&grouped(spread.median as u64), "", style));
        row(out, "page faults in a round of calls", &cells, None, style)?;
    }
    Ok(())
}

fn write_memory(out: &mut impl Write, replay: &ReplayReport, style: Style) -> io::Result<()> {
    let live = replay.peak_live_bytes.max(1) as f64;
    let growths = replay.memory.each_ref().map(|peak| match peak {
        Peak::GrowthBytes(growth) => Some(*growth),
        Peak::NotAvailable(_) => None,
    });
    let cells = growths.map(|growth| match growth {
        Some(growth) => cell(&format!("{:.3}", growth as f64 / live), &bytes(growth), style),
        None => cell("n/a", "", style),
    });
    let both = growths.malloc.zip(growths.engram);
    let ratio = both.map(|(malloc, engram)| Pair { malloc: malloc as f64, engram: engram as f64 });
    row(out, "peak resident over peak live", &cells, ratio, style)?;
    for peak in [&replay.memory.malloc, &replay.memory.engram] {
        if let Peak::NotAvailable(why) = peak {
            paragraph(out, &format!("   n/a: {why}"), |line| style.dim(line))?;
        }
    }
    Ok(())
}

/// A number, and what stands beside it.
fn cell(number: &str, aside: &str, style: Style) -> String {
    let aside = format!("  {aside:<width$}", width = ASIDE - 2);
    format!("{number:>NUMBER$}{}", if aside.trim().is_empty() { aside } else { style.dim(&aside) })
}

/// A label, a cell for each allocator, and the ratio of engram's number to malloc's.
fn row(out: &mut impl Write, label: &str, cells: &Pair<String>, numbers: Option<Pair<f64>>, style: Style) -> io::Result<()> {
    let cells = format!("{label:LABEL$}{}{}", cells.malloc, cells.engram);
    match numbers {
        Some(numbers) if numbers.malloc > 0.0 => {
            writeln!(out, "{cells}{:9}{}", "", style.ratio(numbers.engram / numbers.malloc))
        }
        _ => writeln!(out, "{}", cells.trim_end()),
    }
}

fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}
