//! The report as text, for a screen of [`WIDTH`] columns.

mod concepts;
mod replay;
#[cfg(test)]
mod tests;
mod wordnet;

use std::io::{self, Write};

use super::Report;
use super::style::{Style, short_time};
use crate::stats::Spread;

/// Columns of the screen that is written for.
pub const WIDTH: usize = 100;

/// Writes all of it.
///
/// # Errors
/// What the output says.
pub fn write(out: &mut impl Write, report: &Report, style: Style) -> io::Result<()> {
    for replay in &report.replays {
        replay::write(out, replay, report.clock, style)?;
    }
    if let Some(wordnet) = &report.wordnet {
        wordnet::write(out, wordnet, style)?;
    }
    if let Some(report) = &report.concepts {
        concepts::write(out, report, style)?;
    }
    match report.complaint() {
        None => writeln!(out, "{}", style.bold("Every content was as it should be, and nothing was refused.")),
        Some(complaint) => paragraph(out, &complaint, |line| style.sgr("1;31", line)),
    }
}

/// A line that begins a part.
fn heading(out: &mut impl Write, text: &str, style: Style) -> io::Result<()> {
    let rule = if style.blocks { "━" } else { "=" };
    let rule = rule.repeat((WIDTH - 1).saturating_sub(text.chars().count()));
    writeln!(out, "{} {}", style.bold(text), style.dim(&rule))
}

/// Text in lines of at most [`WIDTH`] columns, broken between words, each line painted.
fn paragraph(out: &mut impl Write, text: &str, paint: impl Fn(&str) -> String) -> io::Result<()> {
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(out, "{}", paint(&line))?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{}", paint(&line))
}

/// Columns that a line takes on a screen: its characters without the escapes.
#[cfg(test)]
pub fn width(line: &str) -> usize {
    let mut parts = line.split('\x1b');
    let first = parts.next().map_or(0, |part| part.chars().count());
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, shown)| shown.chars().count())).sum::<usize>()
}

/// The lowest and the highest round.
fn ends(spread: Spread) -> String {
    format!("{}-{}", short_time(spread.lowest), short_time(spread.highest))
}
