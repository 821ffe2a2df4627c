//! Region files, looked at while a process has them open or not: [`info()`], [`map()`], [`top()`], [`check()`], [`export()`].
//!
//! All of them go through [`RegionView`], which reads copies: the process that has the file open is neither asked nor
//! stopped, and whatever becomes of the file ends in a message. Standard output is text for a person, or JSON.

mod check;
mod info;
mod map;
mod page;
mod top;

use std::io::{self, Write};
use std::path::Path;

use engram::{RegionState, RegionView};
use serde::Serialize;

use crate::failure::Failure;

pub use check::check;
pub use info::info;
pub use map::map;
pub use top::top;

/// The metrics as `OpenMetrics` text, or as JSON.
///
/// # Errors
/// [`Failure::Region`], [`Failure::Output`].
pub fn export(path: &Path, json: bool) -> Result<(), Failure> {
    let metrics = look(path)?.metrics();
    let mut text = String::new();
    // A string takes whatever is written.
    let _ = if json { metrics.write_json(&mut text).map(|()| text.push('\n')) } else { metrics.write_openmetrics(&mut text) };
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

fn look(path: &Path) -> Result<RegionView, Failure> {
    RegionView::open(path).map_err(Failure::Region)
}

/// One JSON document on standard output.
fn say_json(document: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut out, document).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// A state as a word for JSON.
const fn state_word(state: RegionState) -> &'static str {
    match state {
        RegionState::Open => "open",
        RegionState::Closed => "closed",
        RegionState::Unclosed => "unclosed",
    }
}

/// A state in words for a person.
const fn state_words(state: RegionState) -> &'static str {
    match state {
        RegionState::Open => "open in a process",
        RegionState::Closed => "closed",
        RegionState::Unclosed => "left unclosed: its process died, and it is recovered when it is opened",
    }
}
