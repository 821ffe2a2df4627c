//! The heap map as an HTML page that needs no other file: what is used, packed, and the script that draws it.
//!
//! A span is `[kind, live, spans]` with the place of its kind in a table (column, class, slots, what for), or
//! `[kind, live, spans, 1]` where a large block goes on in the next chunk; a number is so many free spans. Wholly free
//! chunks are left out, and the page says where.

use std::collections::HashMap;

use engram::{BlockKind, ChunkView, ColumnView, Metrics, RegionState, SpanView};
use serde::Serialize;

use super::state_words;
use crate::report::style::{bytes, grouped};

/// The page, with places for a title, an introduction and the data.
const PAGE: &str = include_str!("page.html");

#[derive(Serialize)]
struct Data {
    chunks: usize,
    kinds: Vec<Kind>,
    used: Vec<(u32, Vec<Cell>)>,
}

/// What a span can be, but for how much of it is live.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
struct Kind {
    column: u32,
    /// Bytes of a slot, 0 of a large block.
    bytes: u32,
    slots: u32,
    shared: bool,
    /// The first zone, if it is of zones.
    zone: Option<u8>,
    what: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Cell {
    Free(u32),
    Head(usize, u32, u32),
    Rest(usize, u32, u32, u8),
}

/// The page for a map.
pub fn page(file: &str, state: RegionState, metrics: &Metrics, columns: &[ColumnView], map: &[ChunkView]) -> String {
    let about = format!(
        "The region is {}. {} in {} blocks are live, {} committed, of {} in {} chunks of 2 MiB; {} of {} columns are in use.",
        state_words(state),
        bytes(metrics.bytes_live),
        grouped(columns.iter().map(|column| column.live_blocks).sum()),
        bytes(metrics.bytes_committed),
        bytes(metrics.bytes_capacity),
        grouped(map.len() as u64),
        grouped(columns.len() as u64),
        grouped(metrics.columns.into()),
    );
    let data = serde_json::to_string(&pack(map)).unwrap_or_default().replace('<', "\\u003c");
    PAGE.replace("{{title}}", &escaped(file)).replace("{{about}}", &escaped(&about)).replace("{{data}}", &data)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('{', "&#123;")
}

fn pack(map: &[ChunkView]) -> Data {
    let mut numbers = HashMap::new();
    let mut kinds = Vec::new();
    let mut used = Vec::new();
    // What goes on from chunk to chunk.
    let mut last = None;
    for chunk in map {
        let mut cells = Vec::new();
        for span in &chunk.spans {
            match (span, cells.last_mut(), last) {
                (SpanView::Free, Some(Cell::Free(spans)), _)
                | (SpanView::Run, Some(Cell::Head(_, _, spans) | Cell::Rest(_, _, spans, _)), _) => *spans += 1,
                (SpanView::Run, None, Some((kind, live))) => cells.push(Cell::Rest(kind, live, 1, 1)),
                (SpanView::Free | SpanView::Run, ..) => cells.push(Cell::Free(1)),
                _ => {
                    let (kind, live) = kind(span);
                    let number = *numbers.entry(kind.clone()).or_insert_with(|| {
                        kinds.push(kind);
                        kinds.len() - 1
                    });
                    last = Some((number, live));
                    cells.push(Cell::Head(number, live, 1));
                }
            }
        }
        if !matches!(cells[..], [Cell::Free(_)]) {
            used.push((chunk.index, cells));
        }
    }
    Data { chunks: map.len(), kinds, used }
}

fn kind(span: &SpanView) -> (Kind, u32) {
    match *span {
        SpanView::Small { column, class_bytes, live, slots, kind } => (slots_of(column, class_bytes, slots, kind, false), live),
        SpanView::Shared { column, class_bytes, live, slots, kind } => (slots_of(column, class_bytes, slots, kind, true), live),
        SpanView::Large { column } => (Kind { column, bytes: 0, slots: 1, shared: false, zone: None, what: "a large block".to_owned() }, 1),
        SpanView::Free | SpanView::Run => (Kind { column: 0, bytes: 0, slots: 1, shared: false, zone: None, what: String::new() }, 0),
    }
}

fn slots_of(column: u32, bytes: u32, slots: u32, kind: BlockKind, shared: bool) -> Kind {
    let (zone, what) = match kind {
        BlockKind::Zones { first, last } if first == last => (Some(first), format!("spike zone {first}")),
        BlockKind::Zones { first, last } => (Some(first), format!("spike zones {first} to {last}")),
        BlockKind::Aligned => (None, "aligned blocks".to_owned()),
        BlockKind::Ordered => (None, "ordered batches".to_owned()),
        BlockKind::Medium => (None, "blocks above 4 KiB".to_owned()),
        BlockKind::Published => (None, "published blocks".to_owned()),
    };
    Kind { column, bytes, slots, shared, zone, what }
}
