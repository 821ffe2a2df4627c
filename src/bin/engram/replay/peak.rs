//! Peak memory, as the system sees it, of one replay in a process of its own.
//!
//! **What for.** What an allocator takes from the machine shows only from outside it, and only in a process that does nothing
//! else. So the program starts itself once for each allocator, gives it the trace, and gets one number back.
//!
//! **How.** The child reads and plans the trace and touches its tables, resets the system's high-water mark, reads what is
//! resident, then opens the allocator and plays the trace in its exact order with every block's pages written. The growth of
//! the high-water mark is the answer: for engram with all its metadata, for malloc with its own.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde::Serialize;

use super::heap::{Heap, Malloc};
use super::plan::Plan;
use super::play::{Exact, play};
use super::table::Table;
use super::{Shape, open};
use crate::cli::{Allocator, MeasurePeak};
use crate::failure::Failure;
use crate::resident::{Resident, reset_peak};
use crate::trace::{self, packed};

/// What a replay took from the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Peak {
    /// Growth of resident memory at its highest, in bytes.
    GrowthBytes(u64),
    /// Why there is no answer.
    NotAvailable(String),
}

/// Measures in a child of this program; `bytes` is the decompressed trace.
pub fn measure(allocator: Allocator, bytes: &[u8], shape: Shape) -> Peak {
    ask_child(allocator, bytes, shape).unwrap_or_else(Peak::NotAvailable)
}

fn ask_child(allocator: Allocator, bytes: &[u8], shape: Shape) -> Result<Peak, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program's own file is not known: {error}"))?;
    let mut child = Command::new(program)
        .args(["measure-peak", allocator.name()])
        .args(["--columns", &shape.columns.to_string(), "--capacity", &shape.capacity.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("no process of its own can be started: {error}"))?;
    let sent = child.stdin.take().map(|mut stdin| stdin.write_all(bytes));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&output.stdout).trim().parse();
    if let (true, Ok(growth), Some(Ok(()))) = (output.status.success(), answer, sent) {
        return Ok(Peak::GrowthBytes(growth));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("the process of its own ended without an answer");
    Err(said.trim_start_matches("engram: ").to_owned())
}

/// The child's side: prints the growth in bytes.
///
/// # Errors
/// [`Failure`] if the trace is not sound, or the system tells nothing about memory.
pub fn child(options: &MeasurePeak) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let limit = packed::MAX_BYTES as u64;
    let unreadable = |source| Failure::Read { path: "standard input".into(), source };
    std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    let trace = trace::decode(&bytes).map_err(|source| Failure::Trace { path: "standard input".into(), source })?;
    let plan = Plan::of(&trace);
    let mut table = Table::new(plan.objects, plan.threads());
    let shape = Shape::of("standard input", &plan, options.arena)?;

    let unknown = || Failure::Found("this system does not tell the peak of a process's memory".to_owned());
    if !reset_peak() {
        return Err(unknown());
    }
    let before = Resident::read().ok_or_else(unknown)?;
    match options.allocator {
        Allocator::Malloc => touch_all(&Malloc, &plan, &mut table)?,
        Allocator::Engram => touch_all(&open(shape, false)?, &plan, &mut table)?,
    }
    let after = Resident::read().ok_or_else(unknown)?;
    writeln!(std::io::stdout(), "{}", after.peak.saturating_sub(before.now))?;
    // Until here, so that nothing of the driver's was given back and taken again while measuring.
    drop((bytes, trace));
    Ok(())
}

fn touch_all<H: Heap>(heap: &H, plan: &Plan, table: &mut Table) -> Result<(), Failure> {
    let passes = (0..plan.threads()).map(|_| Exact::<true> { at: None, look: &|| {} }).collect();
    let played = play(heap, plan, table, passes).map_err(|source| Failure::Engram { doing: "playing".to_owned(), source })?;
    let faults = played.clear(plan, table);
    if faults.any() {
        return Err(Failure::Found(format!("{} refused {} operations, {} blocks were damaged", H::NAME, faults.refused, faults.damaged)));
    }
    Ok(())
}
