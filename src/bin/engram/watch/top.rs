//! `engram top`: what the columns hold, and what is done in them each second, look after look.
//!
//! A terminal shows the latest look, as many columns as fit; elsewhere each look is a few lines, or with `--json` one.
//! Rates are differences of the file's own counters; they begin with the second look.

use std::collections::HashMap;
use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use engram::{ColumnView, RegionState, RegionView};
use serde::Serialize;

use super::{look, state_word, state_words};
use crate::cli::Top;
use crate::failure::Failure;
use crate::report::style::{Style, bytes, grouped, in_line, is_screen};

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug)]
struct Screen {
    lines: usize,
    width: usize,
}

impl Screen {
    /// Of a terminal that does not say.
    const USUAL: Self = Self { lines: 24, width: 80 };

    /// Of how many of so many columns it shows the line, beside the two above and the sum, and the empty line that the cursor is left
    /// in; if not of all, one line says so.
    fn room(self, columns: usize) -> usize {
        let room = self.lines.saturating_sub(4);
        if columns <= room { columns } else { room.saturating_sub(1) }
    }
}

/// One look.
#[derive(Debug, Serialize)]
struct Look {
    /// Seconds since the first look.
    seconds: f64,
    state: &'static str,
    all: Row,
    columns: Vec<Row>,
}

/// A column, or all of them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    /// Somebody holds it; of all: how many are held.
    held: u32,
    live_blocks: u64,
    bytes_live: u64,
    spans: u64,
    allocs_per_second: Option<f64>,
    frees_per_second: Option<f64>,
    remote_frees_per_second: Option<f64>,
}

impl Row {
    /// What was done since `before` took `seconds`.
    fn new(now: ColumnView, before: Option<(&ColumnView, f64)>) -> Self {
        // Counters begin anew when a region is opened.
        let rate = |of: fn(&ColumnView) -> u64| before.map(|(before, seconds)| of(&now).saturating_sub(of(before)) as f64 / seconds);
        Self {
            column: Some(now.column),
            held: u32::from(now.held),
            live_blocks: now.live_blocks,
            bytes_live: now.bytes_live,
            spans: now.spans,
            allocs_per_second: rate(|column| column.allocs),
            frees_per_second: rate(|column| column.frees),
            remote_frees_per_second: rate(|column| column.remote_frees),
        }
    }

    fn and(self, other: &Self) -> Self {
        let both = |one: Option<f64>, other: Option<f64>| one.zip(other).map(|(one, other)| one + other).or(one).or(other);
        Self {
            column: None,
            held: self.held + other.held,
            live_blocks: self.live_blocks + other.live_blocks,
            bytes_live: self.bytes_live + other.bytes_live,
            spans: self.spans + other.spans,
            allocs_per_second: both(self.allocs_per_second, other.allocs_per_second),
            frees_per_second: both(self.frees_per_second, other.frees_per_second),
            remote_frees_per_second: both(self.remote_frees_per_second, other.remote_frees_per_second),
        }
    }
}

/// Looks at the file again and again.
///
/// # Errors
/// [`Failure::Found`] when the file cannot be looked at any more; [`Failure::Region`] if it cannot be from the start on;
/// [`Failure::Output`].
pub fn top(options: &Top, json: bool) -> Result<(), Failure> {
    let mut view = look(&options.file.path)?;
    let screen = is_screen() && !json;
    let (first, mut taken, mut before) = (Instant::now(), Instant::now(), None);
    for number in 1.. {
        let columns = view.columns();
        let state = view.state();
        let now = read(state, &columns, before.as_ref(), first, taken);
        show(&view, state, &now, json, screen)?;
        if options.count == Some(number) {
            break;
        }
        before = Some((columns, taken));
        sleep(Duration::from_millis(options.interval));
        taken = Instant::now();
        view.refresh().map_err(|error| Failure::Found(format!("{error}; there is nothing left to watch")))?;
    }
    Ok(())
}

fn read(state: RegionState, columns: &[ColumnView], before: Option<&(Vec<ColumnView>, Instant)>, first: Instant, taken: Instant) -> Look {
    let earlier = before.map(|(columns, at)| {
        let by_number: HashMap<_, _> = columns.iter().map(|column| (column.column, column)).collect();
        (by_number, taken.duration_since(*at).as_secs_f64())
    });
    let unused = ColumnView::default();
    let row = |&column: &ColumnView| {
        let before = earlier.as_ref().map(|(columns, seconds)| (columns.get(&column.column).copied().unwrap_or(&unused), *seconds));
        Row::new(column, before)
    };
    let columns: Vec<_> = columns.iter().map(row).collect();
    let all = columns.iter().fold(Row::default(), Row::and);
    Look { seconds: taken.duration_since(first).as_secs_f64(), state: state_word(state), all, columns }
}

fn show(view: &RegionView, state: RegionState, look: &Look, json: bool, screen: bool) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer(&mut out, look).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    let style = Style::of_stdout();
    let screen = screen.then(screen_size);
    let shown = screen.map_or(look.columns.len(), |screen| screen.room(look.columns.len()));
    let left_out = look.columns.len() - shown;
    // A line that goes on in the next one would push the first out of sight.
    let cut = |line: String| match screen {
        Some(screen) => line.chars().take(screen.width).collect(),
        None => line,
    };
    if screen.is_some() {
        write!(out, "\x1b[2J\x1b[H")?;
    }
    let head = format!("{}  {}, {:.1} s", in_line(&view.path().display().to_string()), state_words(state), look.seconds);
    writeln!(out, "{}", style.bold(&cut(head)))?;
    let names = ["column", "held", "live blocks", "bytes live", "spans", "allocs/s", "frees/s", "remote/s"].map(str::to_owned);
    writeln!(out, "{}", style.dim(&cut(line(&names))))?;
    for row in look.columns.iter().take(shown) {
        writeln!(out, "{}", cut(cells(row)))?;
    }
    if left_out > 0 {
        writeln!(out, "{}", style.dim(&cut(format!("and {} more columns", grouped(left_out as u64)))))?;
    }
    writeln!(out, "{}", style.bold(&cut(cells(&look.all))))?;
    if screen.is_none() {
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

fn cells(row: &Row) -> String {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| grouped(rate.round() as u64));
    line(&[
        row.column.map_or_else(|| "all".to_owned(), |column| column.to_string()),
        match (row.column, row.held) {
            (Some(_), 0) => String::new(),
            (Some(_), _) => "held".to_owned(),
            (None, held) => held.to_string(),
        },
        grouped(row.live_blocks),
        bytes(row.bytes_live),
        grouped(row.spans),
        rate(row.allocs_per_second),
        rate(row.frees_per_second),
        rate(row.remote_frees_per_second),
    ])
}

fn line(cells: &[String; 8]) -> String {
    let [column, held, blocks, bytes, spans, allocs, frees, remote] = cells;
    format!("{column:>6} {held:>5} {blocks:>13} {bytes:>11} {spans:>9} {allocs:>13} {frees:>13} {remote:>13}")
}

/// The terminal's size.
#[cfg(unix)]
fn screen_size() -> Screen {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: room for a size.
    let told = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) } == 0 && size.ws_row > 0 && size.ws_col > 0;
    if told { Screen { lines: size.ws_row.into(), width: size.ws_col.into() } } else { Screen::USUAL }
}

#[cfg(not(unix))]
fn screen_size() -> Screen {
    Screen::USUAL
}

#[cfg(test)]
mod tests;
