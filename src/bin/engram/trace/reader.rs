//! A cursor over a trace's bytes that knows where it is and what it was reading, for the errors' sake.

use super::{Fault, MAX_ALIGN_LOG2, MAX_SIZE, TraceError};

/// Reads the fields of the format; every error carries the offset of the field's first byte, or, where the bytes
/// end too early, the offset of the first byte that is missing.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The operation being read, and how many the header states.
    operation: Option<(u64, u64)>,
}

impl<'a> Reader<'a> {
    /// Starts at byte 0.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, operation: None }
    }

    /// The offset of the next byte.
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    pub const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// From here on errors name this operation.
    pub const fn begin_operation(&mut self, index: u64, of: u64) {
        self.operation = Some((index, of));
    }

    /// An error at the next byte.
    pub const fn fault_here(&self, fault: Fault) -> TraceError {
        TraceError { at: self.at, fault }
    }

    /// One byte.
    pub fn byte(&mut self, wanted: &'static str) -> Result<u8, TraceError> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(|| self.cut_short(wanted))?;
        self.at += 1;
        Ok(byte)
    }

    /// `N` bytes.
    pub fn array<const N: usize>(&mut self, wanted: &'static str) -> Result<[u8; N], TraceError> {
        let array = self.bytes[self.at..].first_chunk::<N>().copied().ok_or_else(|| self.cut_short(wanted))?;
        self.at += N;
        Ok(array)
    }

    /// A size in bytes, at most [`MAX_SIZE`].
    pub fn size(&mut self) -> Result<u64, TraceError> {
        let at = self.at;
        let size = self.varint("its size")?;
        if size > MAX_SIZE {
            return Err(TraceError { at, fault: Fault::Size { size } });
        }
        Ok(size)
    }

    /// An alignment as a power of two, at most [`MAX_ALIGN_LOG2`].
    pub fn align_log2(&mut self) -> Result<u8, TraceError> {
        let at = self.at;
        let align_log2 = self.byte("its alignment")?;
        if align_log2 > MAX_ALIGN_LOG2 {
            return Err(TraceError { at, fault: Fault::Alignment { align_log2 } });
        }
        Ok(align_log2)
    }

    /// A live object, named by its distance from the newest one.
    pub fn object(&mut self, live: &[bool]) -> Result<u32, TraceError> {
        let at = self.at;
        let distance = self.varint("its object")?;
        let unknown = TraceError { at, fault: Fault::UnknownObject { distance, objects: live.len() } };
        let Some(index) = usize::try_from(distance).ok().and_then(|d| live.len().checked_sub(d)?.checked_sub(1)) else {
            return Err(unknown);
        };
        let Ok(object) = u32::try_from(index) else {
            return Err(unknown);
        };
        if !live[index] {
            return Err(TraceError { at, fault: Fault::DeadObject { object } });
        }
        Ok(object)
    }

    /// A LEB128 number of at most 64 bits, so of at most ten bytes.
    fn varint(&mut self, wanted: &'static str) -> Result<u64, TraceError> {
        let at = self.at;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(wanted)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(TraceError { at, fault: Fault::VarintTooLong })
    }

    fn cut_short(&self, wanted: &'static str) -> TraceError {
        TraceError { at: self.bytes.len(), fault: Fault::CutShort { wanted, operation: self.operation } }
    }
}
