//! Reads a recorded run of a real program (`*.egt.zst`) into steps that cost nothing to follow.
//!
//! A step names one of as many places as blocks live at once, so the table of places stays as small as the program's
//! own. A reallocation becomes an allocation and a free. Threads are not told apart, nor alignments above malloc's.

#[cfg(test)]
mod tests;

use crate::heap::LEAST;
use anyhow::{Context, Result, bail, ensure};
use ruzstd::decoding::StreamingDecoder;
use std::fs::File;
use std::io::Read;
use std::path::Path;

const MAGIC: &[u8; 8] = b"EGTRACE1";
const HEADER: usize = 32;

/// One allocation or free.
#[derive(Clone, Copy)]
pub struct Step {
    /// Where the block is kept, below [`Trace::places`].
    pub place: u32,
    /// Bytes to allocate; 0: free the block kept there.
    pub size: u32,
}

/// A whole trace.
pub struct Trace {
    /// In the order recorded.
    pub steps: Vec<Step>,
    /// The most blocks live at once.
    pub places: usize,
    /// The most bytes live at once.
    pub peak: u64,
}

/// Reads the trace at `path`.
pub fn read(path: &Path) -> Result<Trace> {
    let name = || path.display().to_string();
    let file = File::open(path).with_context(name)?;
    let mut bytes = Vec::new();
    let mut decoder = StreamingDecoder::new(file).with_context(name)?;
    decoder.read_to_end(&mut bytes).with_context(name)?;
    decode(&bytes).with_context(name)
}

fn decode(bytes: &[u8]) -> Result<Trace> {
    let header = bytes.get(..HEADER).context("cut short in its header, at byte 0")?;
    ensure!(header.starts_with(MAGIC), "not a trace: wrong magic at byte 0");
    let version = u32::from_le_bytes(header[8..12].try_into()?);
    ensure!(version == 1, "version {version} at byte 8: only 1 is known");
    let operations = u64::from_le_bytes(header[16..24].try_into()?);
    let mut cursor = Cursor { bytes, at: HEADER };
    let mut writer = Writer::default();
    for _ in 0..operations {
        let start = cursor.at;
        operation(&mut cursor, &mut writer).with_context(|| format!("the operation at byte {start}"))?;
    }
    ensure!(cursor.at == bytes.len(), "goes on after its last operation, at byte {}", cursor.at);
    Ok(Trace { steps: writer.steps, places: writer.places, peak: writer.peak })
}

fn operation(cursor: &mut Cursor, writer: &mut Writer) -> Result<()> {
    match cursor.byte()? & 3 {
        0 => {
            let size = cursor.size()?;
            cursor.byte()?;
            let place = writer.alloc(size);
            writer.objects.push(Some((place, size)));
        }
        1 => {
            let object = writer.object(cursor.varint()?)?;
            writer.free(object)?;
        }
        2 => {
            let object = writer.object(cursor.varint()?)?;
            let size = cursor.size()?;
            let place = writer.alloc(size);
            writer.free(object)?;
            writer.objects[object] = Some((place, size));
        }
        kind => bail!("unknown kind {kind}"),
    }
    Ok(())
}

/// The bytes still to be read.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Result<u8> {
        let byte = *self.bytes.get(self.at).with_context(|| format!("cut short at byte {}", self.at))?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a number longer than 9 bytes ends at byte {}", self.at)
    }

    fn size(&mut self) -> Result<u32> {
        let size = self.varint()?.max(LEAST as u64);
        u32::try_from(size).with_context(|| format!("a block of {size} bytes"))
    }
}

/// The steps so far, and what is live after them.
#[derive(Default)]
struct Writer {
    steps: Vec<Step>,
    /// For each object of the trace: its place and size while it lives.
    objects: Vec<Option<(u32, u32)>>,
    free_places: Vec<u32>,
    places: usize,
    live: u64,
    peak: u64,
}

impl Writer {
    fn alloc(&mut self, size: u32) -> u32 {
        let place = self.free_places.pop().unwrap_or_else(|| self.new_place());
        self.steps.push(Step { place, size });
        self.live += u64::from(size);
        self.peak = self.peak.max(self.live);
        place
    }

    fn new_place(&mut self) -> u32 {
        let place = u32::try_from(self.places).expect("fewer live blocks than 2^32");
        self.places += 1;
        place
    }

    fn free(&mut self, object: usize) -> Result<()> {
        let (place, size) = self.objects[object].take().context("names a block that was freed before")?;
        self.steps.push(Step { place, size: 0 });
        self.free_places.push(place);
        self.live -= u64::from(size);
        Ok(())
    }

    /// The object that was allocated `back` allocations before the last.
    fn object(&self, back: u64) -> Result<usize> {
        let back = usize::try_from(back)?;
        let last = self.objects.len().checked_sub(1);
        last.and_then(|last| last.checked_sub(back)).context("names a block before the first")
    }
}
