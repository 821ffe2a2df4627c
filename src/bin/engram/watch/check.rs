//! `engram check`: which invariants do not hold.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use engram::{Arena, Error, Finding, RegionState, RegionView};
use serde::Serialize;

use super::{say_json, state_word, state_words};
use crate::failure::{Failure, heard_or_not};
use crate::report::style::{Style, in_line};

/// The most findings of an invariant that are told.
const MOST: usize = 20;
/// Copies of an open region, until one was taken while nothing changed. Only that one proves anything: what a process works in may
/// be copied half before and half after, and look alike copy after copy. (Who is stopped in the middle of an operation changes nothing
/// either, and cannot be told from who is at rest.)
const COPIES: u32 = 25;
/// From one of them to the next.
const PAUSE: Duration = Duration::from_millis(20);

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    /// None if the header does not say.
    state: Option<&'static str>,
    /// A process has the region open: what was found is a picture of a moment.
    moving: bool,
    repaired: bool,
    /// None if what was found may be of a moment.
    sound: Option<bool>,
    findings: Vec<Found>,
    /// The invariants of which there are more than are told.
    more: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Found {
    invariant: &'static str,
    at: u64,
    what: String,
    derived: bool,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        Self { invariant: finding.invariant, at: finding.at, what: finding.what, derived: finding.derived }
    }
}

/// Says which invariants of the region file at `path` do not hold, after a repair if that is wanted.
///
/// # Errors
/// [`Failure::Found`] if there are any, or the repair is refused because of them; [`Failure::Usage`] if it is refused because a process
/// has the file open; [`Failure::Region`] also if the file is none of a region; [`Failure::Output`].
pub fn check(path: &Path, repair: bool, json: bool) -> Result<(), Failure> {
    let refusal = if repair { repaired(path)? } else { None };
    let report = look_for_findings(path, repair && refusal.is_none())?;
    let said = if json { say_json(&report) } else { write(&report, Style::of_stdout()).map_err(Failure::from) };
    heard_or_not(said)?;
    match refusal {
        Some(error) => Err(Failure::Found(format!("the repair was refused, and nothing was changed: {error}"))),
        None if report.sound == Some(false) => Err(Failure::Found(format!("{}: not every invariant holds", report.file))),
        None => Ok(()),
    }
}

/// Opens the region and closes it. Why that was refused, if what is in the file is the reason.
fn repaired(path: &Path) -> Result<Option<Error>, Failure> {
    let info = match RegionView::open(path).and_then(|view| view.info()) {
        Err(error @ Error::Format { .. }) if RegionView::is_region(path) => return Ok(Some(error)),
        info => info.map_err(Failure::Region)?,
    };
    if info.state == RegionState::Open {
        let file = path.display();
        return Err(Failure::Usage(format!("{file}: it is open in a process; a region is repaired while nobody has it open")));
    }
    let capacity = usize::try_from(info.capacity).unwrap_or(usize::MAX);
    // Sparse: its space is reserved or not, as it was.
    match Arena::builder().columns(info.columns).capacity(capacity).path(path).sparse(true).build() {
        Ok(_) => Ok(None),
        Err(error @ Error::Format { .. }) => Ok(Some(error)),
        Err(error) => Err(Failure::Region(error)),
    }
}

fn look_for_findings(path: &Path, repaired: bool) -> Result<Report, Failure> {
    let file = path.display().to_string();
    let mut view = match RegionView::open(path) {
        Ok(view) => view,
        // What was never a region is a wrong file, not a damaged one.
        Err(Error::Format { why, .. }) if RegionView::is_region(path) => {
            let findings = vec![Found { invariant: "F1", at: 0, what: why.to_owned(), derived: false }];
            return Ok(Report { file, state: None, moving: false, repaired, sound: Some(false), findings, more: Vec::new() });
        }
        Err(error) => return Err(Failure::Region(error)),
    };
    let state = view.state();
    let mut findings = view.findings(MOST + 1);
    let mut proven = state != RegionState::Open;
    for _ in 1..COPIES {
        if proven || findings.is_empty() {
            break;
        }
        sleep(PAUSE);
        let before = view.columns();
        view.refresh().map_err(|error| Failure::Found(format!("{error}; there is nothing left to check")))?;
        let again = view.findings(usize::MAX);
        findings.retain(|finding| again.contains(finding));
        proven = view.columns() == before;
    }
    let sound = if findings.is_empty() { Some(true) } else { proven.then_some(false) };
    let (mut told, mut more) = (HashMap::new(), Vec::new());
    findings.retain(|finding| {
        let told = told.entry(finding.invariant).or_insert(0);
        *told += 1;
        if *told == MOST + 1 {
            more.push(finding.invariant);
        }
        *told <= MOST
    });
    let findings = findings.into_iter().map(Found::from).collect();
    Ok(Report { file, state: Some(state_word(state)), moving: state == RegionState::Open, repaired, sound, findings, more })
}

fn write(report: &Report, style: Style) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    writeln!(out, "{}", style.bold(&in_line(&report.file)))?;
    let state = match report.state {
        Some("open") => state_words(RegionState::Open),
        Some("closed") => state_words(RegionState::Closed),
        Some(_) => state_words(RegionState::Unclosed),
        None => "not to be told",
    };
    writeln!(out, "state: {state}")?;
    if report.moving {
        writeln!(out, "A picture of a moment: what copies in a row show, up to {COPIES}, is told.")?;
    }
    if report.repaired {
        writeln!(out, "It was opened and closed: all that is derived is made anew.")?;
    }
    for found in &report.findings {
        let derived = if found.derived { style.dim(" (derived)") } else { String::new() };
        writeln!(out, "{} {}{derived}", style.sgr("1;31", &format!("{:<9}", found.invariant)), found.what)?;
    }
    if report.state == Some(state_word(RegionState::Unclosed)) && !report.findings.is_empty() {
        writeln!(out, "Its process died: what was under way then is found here, too. Opening the region settles that.")?;
    }
    if !report.more.is_empty() {
        writeln!(out, "and more of {}: {MOST} of each invariant are told", report.more.join(", "))?;
    }
    let derived = report.findings.iter().filter(|found| found.derived).count();
    if report.sound.is_none() {
        writeln!(out, "It changed during each copy: this may be of the moment, and is no proof.")?;
        return out.flush();
    }
    match (report.findings.len(), derived) {
        (0, _) => writeln!(out, "Every invariant that is checked holds.")?,
        (all, derived) if all == derived => writeln!(out, "All of this is derived: engram check --repair makes it anew.")?,
        (_, 0) => writeln!(out, "None of this is derived: opening the region is refused, or gives up what is damaged.")?,
        (_, derived) => writeln!(
            out,
            "{derived} of these are derived; opening the region is refused because of the others, or gives up what is damaged."
        )?,
    }
    out.flush()
}
