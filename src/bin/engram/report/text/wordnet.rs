//! WordNet in spike order: each way of visiting, in each placement.

use std::io::{self, Write};

use super::{ends, heading, paragraph};
use crate::report::style::{Style, bytes, grouped, time};
use crate::report::wordnet::{Order, VisitRow, WordNetReport};
use crate::stats::Spread;

/// Writes it.
pub fn write(out: &mut impl Write, wordnet: &WordNetReport, style: Style) -> io::Result<()> {
    heading(out, "WordNet 3.0, visited in spike order", style)?;
    let ms = |ns: u32| f64::from(ns) / 1e6;
    let description = format!(
        "{} concepts, {} of records, {} columns; first spikes from {:.1} to {:.1} ms after the stimulus. {} rounds.",
        grouped(wordnet.concepts as u64),
        bytes(wordnet.record_bytes),
        wordnet.columns,
        ms(wordnet.spikes.0),
        ms(wordnet.spikes.1),
        wordnet.rounds
    );
    paragraph(out, &description, str::to_owned)?;
    writeln!(out)?;
    let header = format!(
        "{:15}{:>8}{:13}{:>8}{:19}{:>8}{:16}{:>13}",
        "ns a visit", "malloc", "", "engram,", " one by one", "engram,", " one batch", "plain walk"
    );
    writeln!(out, "{}", style.dim(&header))?;
    let mut last = None;
    for visits in &wordnet.rows {
        let group = (visits.order, visits.cold);
        if last.replace(group) != Some(group) {
            writeln!(out, "{}", title(visits))?;
        }
        write_visits(out, visits, style)?;
    }
    writeln!(out)?;
    let note = format!(
        "Medians, lowest-highest, ratio to malloc. Cold: after a walk over 96 MiB. Chained: the next record's address \
         lies in this one. One by one: each in the zone of its spike, {} in spans; one batch: atomic and ordered, {} in spans. Plain walk: malloc's records in the \
         order of their addresses.",
        bytes(wordnet.committed_bytes.0),
        bytes(wordnet.committed_bytes.1)
    );
    paragraph(out, &note, |line| style.dim(line))?;
    writeln!(out)
}

fn title(visits: &VisitRow) -> String {
    let order = match visits.order {
        Order::All => "All by spike time",
        Order::ColumnByColumn => "Column after column, each by spike time",
    };
    format!("{order}, {}", if visits.cold { "from cold caches" } else { "warm" })
}

fn write_visits(out: &mut impl Write, visits: &VisitRow, style: Style) -> io::Result<()> {
    let cell = |spread: Spread| format!("{:>8} {}", time(spread.median), style.dim(&format!("{:<12}", ends(spread))));
    let against = |spread: Spread| format!("{}{}  ", cell(spread), style.ratio(spread.median / visits.malloc.median));
    writeln!(
        out,
        "   {:12}{}{}{}  {:>8}",
        if visits.dependent { "chained" } else { "from a list" },
        cell(visits.malloc),
        against(visits.singles),
        against(visits.batch),
        time(visits.plain.median),
    )
}
