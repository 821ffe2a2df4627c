//! How much memory is resident at its peak, for each byte that is live at its peak, while a trace is replayed.
//!
//! Each allocator gets a process of its own, this program with `--rss`. There every page of every block is written to,
//! as the recorded program did sooner or later, and the kernel's high-water mark is read before the allocator is
//! started and after the replay. The allocator's code is in memory before: how much of it a start reads for the first time, and how
//! much when it is loaded, says nothing about blocks.

use crate::adapters::{Adapter, Demand};
use crate::heap::{Block, Library};
use crate::lines::Resident;
use crate::report::Report;
use crate::trace;
use crate::workload::replay::Places;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, ptr};

/// Measures every allocator on every trace.
pub fn measure(residents: &[Resident], adapters: &[&Adapter], report: &mut Report) -> Result<()> {
    for resident in residents {
        for (index, adapter) in adapters.iter().enumerate().filter(|(_, adapter)| adapter.serves(Demand::Thrift)) {
            let ratio = ask_child(adapter, &resident.trace)?;
            report.add(std::slice::from_ref(&resident.line), index, &[ratio]);
        }
    }
    Ok(())
}

fn ask_child(adapter: &Adapter, trace: &Path) -> Result<f64> {
    let program = env::current_exe().context("cannot tell where this program lies")?;
    let mut command = Command::new(program);
    command.arg("--rss").arg(adapter.name).arg(trace).stderr(Stdio::inherit());
    let output = command.output().context("cannot start this program anew to measure memory")?;
    ensure!(output.status.success(), "measuring the memory of {} failed ({})", adapter.name, output.status);
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [resident, live] = numbers[..] else {
        anyhow::bail!("measuring the memory of {}: not two numbers: {text:?}", adapter.name);
    };
    Ok(resident / live)
}

/// The child's work: prints the bytes resident and the bytes live, at their peaks.
pub fn child(adapter: &Adapter, trace: &Path) -> Result<()> {
    let trace = trace::read(trace)?;
    let mut places = Places::new(trace.places);
    let library = Library::load(adapter)?;
    // What reading the trace left in the system's malloc would serve the replay without being counted.
    // SAFETY: no argument is wrong.
    unsafe { libc::malloc_trim(0) };
    read_code(&adapter.library()?)?;
    let before = reset_peak()?;
    let heap = library.start().enter();
    places.replay(&heap, &trace, Block::touch_pages);
    println!("{} {}", peak()?.saturating_sub(before), trace.peak);
    Ok(())
}

/// Brings the file of a library into memory, wherever it is mapped.
fn read_code(library: &Path) -> Result<()> {
    let library = library.canonicalize().with_context(|| library.display().to_string())?;
    let name = library.to_string_lossy();
    for line in fs::read_to_string("/proc/self/maps").context("/proc/self/maps")?.lines().filter(|line| line.ends_with(&*name)) {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let ends = range.and_then(|(start, end)| Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?)));
        let (start, end) = ends.with_context(|| format!("a line of /proc/self/maps: {line}"))?;
        // SAFETY: a mapping of ours; nothing but reading is asked for.
        let read = unsafe { libc::madvise(ptr::without_provenance_mut(start), end - start, libc::MADV_POPULATE_READ) };
        ensure!(read == 0, "cannot read {}: {}", library.display(), std::io::Error::last_os_error());
    }
    Ok(())
}

/// Sets the high-water mark to what is resident now, and returns it.
fn reset_peak() -> Result<u64> {
    let path = "/proc/self/clear_refs";
    fs::write(path, "5").with_context(|| format!("cannot reset the peak of resident memory: {path}"))?;
    peak()
}

/// The high-water mark of resident memory, in bytes.
fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes.context("/proc/self/status has no VmHWM in kB")?.parse()?;
    Ok(kibibytes * 1024)
}
