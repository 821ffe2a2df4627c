//! `engram map`: the heap map, as text or as a page.

use std::io::{self, Write};
use std::path::Path;

use engram::RegionView;
use serde::Serialize;

use super::{look, page, say_json, state_words};
use crate::failure::Failure;
use crate::report::map::{Chunk, draw, serialize_used};
use crate::report::style::{Style, bytes, grouped, in_line};

/// What is told; chunks of which nothing is used are left out.
#[derive(Debug, Serialize)]
struct Drawn {
    file: String,
    chunks: usize,
    #[serde(serialize_with = "serialize_used")]
    map: Vec<Chunk>,
}

/// Draws the map of the file at `path`; into the file `html`, if one is named.
///
/// # Errors
/// [`Failure::Region`], [`Failure::Write`], [`Failure::Output`].
pub fn map(path: &Path, html: Option<&Path>, json: bool) -> Result<(), Failure> {
    let view = look(path)?;
    let (chunks, metrics) = (view.map(), view.metrics());
    let file = path.display().to_string();
    if let Some(to) = html {
        // Whatever name leads to it, this file's or another one's: it may be open. If it is damaged, something of it may be saved.
        if RegionView::is_region(to) {
            return Err(Failure::Usage(format!("{}: is a region file, and stays as it is: --html needs another name", to.display())));
        }
        // It may be one.
        if std::fs::metadata(to).is_ok_and(|there| there.is_file())
            && let Err(error) = std::fs::File::open(to)
        {
            let why = "stays as it is, because it may be a region file: --html needs another name";
            return Err(Failure::Usage(format!("{}: cannot be read ({error}), and {why}", to.display())));
        }
        let page = page::page(&file, view.state(), &metrics, &view.columns(), &chunks);
        std::fs::write(to, page).map_err(|source| Failure::Write { path: to.to_owned(), source })?;
    }
    let map: Vec<_> = chunks.iter().map(Chunk::from).collect();
    if json {
        return say_json(&Drawn { file, chunks: map.len(), map });
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    if let Some(to) = html {
        writeln!(out, "{}: a map of {} chunks", in_line(&to.display().to_string()), grouped(map.len() as u64))?;
        return Ok(out.flush()?);
    }
    let style = Style::of_stdout();
    writeln!(out, "{}", style.bold(&in_line(&file)))?;
    writeln!(out, "{}; {} live of {}\n", state_words(view.state()), bytes(metrics.bytes_live), bytes(metrics.bytes_capacity))?;
    out.write_all(draw(&map, style).as_bytes())?;
    Ok(out.flush()?)
}
