//! The heap map: one row for each chunk of 2 MiB, one cell for each span of 32 KiB.
//!
//! On a terminal the colour is the size class and the height of the block how full the span is; the first span of a run is a shade lighter. In plain ASCII a letter is
//! the class, a capital one where at least half of the slots are live. Chunks that are wholly free are drawn together.

use std::fmt::Write;
use std::ops::RangeInclusive;

use engram::{BlockKind, ChunkView, SpanView};
use serde::{Serialize, Serializer};

use super::style::{Style, grouped};
use super::text::WIDTH;

/// Spans in a chunk.
const SPANS: usize = 64;
/// Bytes of a chunk.
const CHUNK_BYTES: u64 = 2 << 20;
/// The most rows that are drawn.
const MAX_ROWS: usize = 96;
/// Colours of the size classes up to 16 B, 32 B, 64 B ... 256 KiB, as codes of the 256-colour palette: violet to red.
const COLOURS: [u8; 15] = [97, 61, 67, 74, 73, 72, 71, 107, 143, 179, 173, 167, 131, 132, 139];
/// The colour of blocks larger than that.
const LARGE_COLOUR: u8 = 250;
/// Behind a span, and behind the first span of a run.
const BACKGROUNDS: [u8; 2] = [236, 241];
/// Sevenths of a span that are live; the eighth is left out, so that rows stay apart.
const HEIGHTS: [char; 7] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇'];

/// One chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chunk {
    /// Its place in the arena.
    pub chunk: u32,
    /// Its spans.
    pub spans: Vec<Span>,
}

/// One span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Span {
    /// Nobody's.
    Free,
    /// Slots of one class.
    Slots {
        /// The column it serves.
        column: u32,
        /// Bytes of a slot.
        class_bytes: u32,
        /// Slots that are live.
        live: u32,
        /// Slots.
        slots: u32,
        /// Served to threads that hold no column.
        shared: bool,
        /// What they are for.
        blocks: Blocks,
    },
    /// The span before it goes on.
    Run,
    /// A block of its own.
    Large {
        /// The column it serves.
        column: u32,
    },
}

/// What the slots of a span are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocks {
    /// Single allocations of the spike zones from the first to the last.
    Zones(u8, u8),
    /// Requests with an alignment above 16 bytes.
    Aligned,
    /// Ordered batches.
    Ordered,
    /// Requests above 4 KiB.
    Medium,
    /// Publications.
    Published,
}

impl From<BlockKind> for Blocks {
    fn from(kind: BlockKind) -> Self {
        match kind {
            BlockKind::Zones { first, last } => Self::Zones(first, last),
            BlockKind::Aligned => Self::Aligned,
            BlockKind::Ordered => Self::Ordered,
            BlockKind::Medium => Self::Medium,
            BlockKind::Published => Self::Published,
        }
    }
}

impl From<SpanView> for Span {
    fn from(view: SpanView) -> Self {
        match view {
            SpanView::Free => Self::Free,
            SpanView::Small { column, class_bytes, live, slots, kind } => {
                Self::Slots { column, class_bytes, live, slots, shared: false, blocks: kind.into() }
            }
            SpanView::Shared { column, class_bytes, live, slots, kind } => {
                Self::Slots { column, class_bytes, live, slots, shared: true, blocks: kind.into() }
            }
            SpanView::Run => Self::Run,
            SpanView::Large { column } => Self::Large { column },
        }
    }
}

impl From<&ChunkView> for Chunk {
    fn from(view: &ChunkView) -> Self {
        Self { chunk: view.index, spans: view.spans.iter().copied().map(Span::from).collect() }
    }
}

impl Chunk {
    fn is_free(&self) -> bool {
        self.spans.iter().all(|span| *span == Span::Free)
    }

    /// Its spans, each with the head of its run; a run may come from the chunk before, and go on in the `next`.
    fn cells(&self, head: &mut Span, next: Span) -> Vec<Cell> {
        let next = self.spans.iter().skip(1).chain([&next]);
        let cell = |(span, next): (&Span, &Span)| {
            if *span != Span::Run {
                *head = *span;
            }
            Cell { span: *span, head: *head, leads: *span != Span::Run && *next == Span::Run }
        };
        self.spans.iter().zip(next).map(cell).collect()
    }

    /// The columns that have spans here.
    fn columns(&self) -> Option<RangeInclusive<u32>> {
        let columns = || {
            self.spans.iter().filter_map(|span| match span {
                Span::Slots { column, .. } | Span::Large { column } => Some(*column),
                Span::Free | Span::Run => None,
            })
        };
        Some(columns().min()?..=columns().max()?)
    }
}

/// A span with the span whose slots it holds: the head of its run, or itself.
#[derive(Clone, Copy)]
struct Cell {
    span: Span,
    head: Span,
    /// The next span goes on with it.
    leads: bool,
}

/// Draws the map, with its legend.
pub fn draw(map: &[Chunk], style: Style) -> String {
    let mut text = String::new();
    let mut bands = [false; COLOURS.len() + 1];
    let mut head = Span::Free;
    let mut rest = map;
    for row in 0.. {
        let [chunk, after @ ..] = rest else { break };
        if row == MAX_ROWS {
            let _ = writeln!(text, "       and {} more chunks", grouped(rest.len() as u64));
            break;
        }
        let free = rest.iter().take_while(|chunk| chunk.is_free()).count();
        if free > 1 {
            let last = chunk.chunk as usize + free - 1;
            let line = format!("{:>6} to {last}: {} chunks, all free", chunk.chunk, grouped(free as u64));
            let _ = writeln!(text, "{}", style.dim(&line));
            rest = &rest[free..];
            continue;
        }
        let next = after.first().and_then(|chunk| chunk.spans.first());
        let cells = chunk.cells(&mut head, next.copied().unwrap_or(Span::Free));
        draw_chunk(&mut text, chunk, &cells, style);
        cells.iter().filter_map(|cell| band(cell.head)).for_each(|band| bands[band] = true);
        rest = after;
    }
    draw_legend(&mut text, &bands, style);
    text
}

/// One row: the chunk's number, its spans, how much of it is live, whose it is.
fn draw_chunk(text: &mut String, chunk: &Chunk, cells: &[Cell], style: Style) {
    let _ = write!(text, "{:>6} ", chunk.chunk);
    let mut painted = String::new();
    for cell in cells {
        let paint = cell.paint();
        if style.colour && painted != paint {
            let _ = write!(text, "\x1b[0m{paint}");
            painted = paint;
        }
        text.push(if style.blocks { cell.block() } else { cell.letter() });
    }
    let reset = if style.colour { "\x1b[0m" } else { "" };
    let live = cells.iter().map(|cell| cell.live()).sum::<f64>() / SPANS as f64;
    let owner = match chunk.columns().map(RangeInclusive::into_inner) {
        None => String::new(),
        Some((first, last)) if first == last => format!("column {first}"),
        Some((first, last)) => format!("columns {first}-{last}"),
    };
    let aside = format!("{:>3.0} % {owner}", live * 100.0);
    let _ = writeln!(text, "{reset} {}", style.dim(aside.trim_end()));
}

/// The index of a span's colour.
fn band(span: Span) -> Option<usize> {
    match span {
        Span::Slots { class_bytes, .. } => {
            let exponent = class_bytes.clamp(16, 1 << 30).next_power_of_two().ilog2() as usize;
            Some((exponent - 4).min(COLOURS.len() - 1))
        }
        Span::Large { .. } => Some(COLOURS.len()),
        Span::Free | Span::Run => None,
    }
}

fn band_colour(band: usize) -> u8 {
    COLOURS.get(band).copied().unwrap_or(LARGE_COLOUR)
}

fn band_letter(band: usize) -> char {
    char::from(b'a' + u8::try_from(band).unwrap_or(25).min(25))
}

impl Cell {
    /// The share of it that is live, 0 to 1.
    fn live(self) -> f64 {
        match self.head {
            Span::Slots { live, slots, .. } => f64::from(live.min(slots)) / f64::from(slots.max(1)),
            Span::Large { .. } => 1.0,
            Span::Free | Span::Run => 0.0,
        }
    }

    /// Its colours, and an underline where it is shared.
    fn paint(self) -> String {
        let Some(band) = band(self.head) else {
            return "\x1b[2m".to_owned();
        };
        let underline = if matches!(self.head, Span::Slots { shared: true, .. }) { "4;" } else { "" };
        let background = BACKGROUNDS[usize::from(self.leads)];
        format!("\x1b[{underline}38;5;{};48;5;{background}m", band_colour(band))
    }

    /// A block whose height is its fill.
    fn block(self) -> char {
        match self.head {
            Span::Free | Span::Run => '·',
            Span::Slots { live: 0, .. } => ' ',
            _ => {
                let sevenths = (self.live() * HEIGHTS.len() as f64).ceil() as usize;
                HEIGHTS[sevenths.clamp(1, HEIGHTS.len()) - 1]
            }
        }
    }

    /// The letter of its class, a capital where at least half of it is live.
    fn letter(self) -> char {
        match self.span {
            Span::Free => '.',
            Span::Run => '-',
            Span::Large { .. } => '#',
            Span::Slots { shared, .. } => {
                let letter = if shared { 's' } else { band_letter(band(self.span).unwrap_or(0)) };
                if self.live() >= 0.5 { letter.to_ascii_uppercase() } else { letter }
            }
        }
    }
}

/// The classes that occur, and what else a cell can be.
fn draw_legend(text: &mut String, bands: &[bool], style: Style) {
    let mut line = String::from("       slots of up to");
    let mut width = line.len();
    for band in (0..bands.len()).filter(|band| bands[*band]) {
        let size = if band < COLOURS.len() { binary(16 << band) } else { "more".to_owned() };
        let sample = match (style.blocks, band < COLOURS.len()) {
            (true, _) => '■',
            (false, true) => band_letter(band),
            (false, false) => '#',
        };
        let colour = format!("38;5;{}", band_colour(band));
        if width + size.len() + 4 > WIDTH {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(21);
            width = line.len();
        }
        let _ = write!(line, "  {} {size}", style.sgr(&colour, &sample.to_string()));
        width += size.len() + 4;
    }
    let _ = writeln!(text, "{line}");
    let cells = if style.blocks {
        "height, %: share that is live; lighter: a run begins; ·: free; underlined: shared"
    } else {
        "capital: half of the slots live or more; -: a run goes on; .: free; s: shared; %: live"
    };
    let _ = writeln!(text, "       {cells}");
}

/// A power of two in bytes, as short as it goes: `512`, `4K`.
fn binary(number: u32) -> String {
    if number < 1024 { number.to_string() } else { format!("{}K", number / 1024) }
}

/// Serializes the chunks in which anything is.
pub fn serialize_used<S: Serializer>(map: &[Chunk], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.iter().filter(|chunk| !chunk.is_free()))
}

/// Bytes of the chunks in which anything is, and of the free spans in them.
pub fn in_use(map: &[Chunk]) -> (u64, u64) {
    let used = map.iter().filter(|chunk| !chunk.is_free());
    let free_spans = used.clone().flat_map(|chunk| &chunk.spans).filter(|span| **span == Span::Free).count();
    (used.count() as u64 * CHUNK_BYTES, free_spans as u64 * (CHUNK_BYTES / SPANS as u64))
}

#[cfg(test)]
mod tests;
