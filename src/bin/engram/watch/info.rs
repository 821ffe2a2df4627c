//! `engram info`: what a region file is.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use super::{look, say_json, state_word, state_words};
use crate::failure::Failure;
use crate::report::style::{Style, bytes, grouped, in_line};

/// What is told. Sizes and places in bytes.
#[derive(Debug, Serialize)]
struct Info {
    file: String,
    state: &'static str,
    format_version: u64,
    columns: u32,
    capacity: u64,
    zone_rows: u32,
    file_bytes: u64,
    user_memory: Range<u64>,
    metadata: Range<u64>,
    bytes_live: u64,
    bytes_committed: u64,
    live_blocks: u64,
    roots: [u64; 16],
}

/// Says what the file at `path` is.
///
/// # Errors
/// [`Failure::Region`], [`Failure::Output`].
pub fn info(path: &Path, json: bool) -> Result<(), Failure> {
    let view = look(path)?;
    let (info, metrics) = (view.info().map_err(Failure::Region)?, view.metrics());
    let said = Info {
        file: path.display().to_string(),
        state: state_word(info.state),
        format_version: info.version,
        columns: info.columns,
        capacity: info.capacity,
        zone_rows: info.zone_rows,
        file_bytes: info.file_bytes,
        user_memory: info.user_memory.clone(),
        metadata: info.metadata.clone(),
        bytes_live: metrics.bytes_live,
        bytes_committed: metrics.bytes_committed,
        live_blocks: view.columns().iter().map(|column| column.live_blocks).sum(),
        roots: info.roots,
    };
    if json {
        return say_json(&said);
    }
    let part = |range: &Range<u64>| format!("bytes {:#x} to {:#x}, {}", range.start, range.end, bytes(range.end - range.start));
    let share = |part: u64| format!("{}, {:.1} % of the capacity", bytes(part), 100.0 * part as f64 / said.capacity as f64);
    let rows = if said.zone_rows == 1 { "row" } else { "rows" };
    let mut lines = vec![
        ("state", state_words(info.state).to_owned()),
        ("format", format!("version {}, {} of file", said.format_version, bytes(said.file_bytes))),
        ("columns", format!("{}, each with {} {rows} of cells for 8 spike zones", grouped(said.columns.into()), said.zone_rows)),
        ("capacity", format!("{} in {} chunks of 2 MiB", bytes(said.capacity), grouped(said.capacity >> 21))),
        ("user memory", part(&said.user_memory)),
        ("metadata", part(&said.metadata)),
        ("committed", share(said.bytes_committed)),
        ("live", format!("{}, in {} blocks", share(said.bytes_live), grouped(said.live_blocks))),
    ];
    let roots = said.roots.iter().enumerate().filter(|&(_, &root)| root != 0);
    let roots: Vec<_> = roots.map(|(slot, root)| format!("{slot}: {root:#x}")).collect();
    lines.push(("roots", if roots.is_empty() { "none set".to_owned() } else { roots.join(", ") }));
    let mut out = io::BufWriter::new(io::stdout().lock());
    writeln!(out, "{}", Style::of_stdout().bold(&in_line(&said.file)))?;
    for (name, value) in lines {
        writeln!(out, "{name:<12} {value}")?;
    }
    Ok(out.flush()?)
}
