//! The wrapping of a trace: zstd, or nothing.
//!
//! Compressed bytes are known by the four bytes that every zstd frame starts with; anything else is taken as it is. The
//! decompressed size is limited, so that a small file cannot fill the memory, and the frames' checksums are compared.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::io::{self, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// The most bytes that are unpacked: 512 MiB.
pub const MAX_BYTES: usize = 512 << 20;
/// The largest window a frame may ask for: 128 MiB, as `zstd --long` makes them.
const MAX_WINDOW: u64 = 128 << 20;

const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why compressed bytes were refused, and where.
#[derive(Debug, thiserror::Error)]
#[error("at byte {at} of the file: {fault}")]
pub struct PackedError {
    /// Offset in the file up to which it had been read.
    pub at: usize,
    /// What is wrong.
    pub fault: PackedFault,
}

/// What is wrong with compressed bytes.
#[derive(Debug, thiserror::Error)]
pub enum PackedFault {
    /// The decoder found them broken.
    #[error("damaged zstd stream: {0}")]
    Damaged(String),
    /// They decode, but not to what was packed.
    #[error("damaged zstd stream: its checksum is {stated:08x}, that of its content {found:08x}")]
    Checksum {
        /// In the frame.
        stated: u32,
        /// Of what was decoded.
        found: u32,
    },
    /// They decode to something of another length than stated.
    #[error("damaged zstd stream: expected {stated} bytes of content, found {found}")]
    Length {
        /// In the frame's header.
        stated: u64,
        /// Decoded.
        found: u64,
    },
    /// Too much.
    #[error("too large: expected at most {0} bytes decompressed")]
    TooLarge(usize),
}

/// The bytes themselves, decompressed if they were compressed.
///
/// # Errors
/// [`PackedError`] if they are a zstd stream that is damaged, or longer than [`MAX_BYTES`].
pub fn unpack(bytes: Vec<u8>) -> Result<Vec<u8>, PackedError> {
    unpack_within(MAX_BYTES, bytes)
}

/// [`unpack`], with another limit than [`MAX_BYTES`].
///
/// # Errors
/// As [`unpack`].
pub fn unpack_within(limit: usize, bytes: Vec<u8>) -> Result<Vec<u8>, PackedError> {
    let unpacked = if is_zstd(&bytes) { decompress_within(limit, &bytes)? } else { bytes };
    if unpacked.len() > limit {
        return Err(PackedError { at: limit, fault: PackedFault::TooLarge(limit) });
    }
    Ok(unpacked)
}

/// A frame, or one of the skippable ones (0x184D2A50 to 0x184D2A5F) that may come before it.
fn is_zstd(bytes: &[u8]) -> bool {
    match bytes.first_chunk::<4>() {
        Some(&FRAME) => true,
        Some(first) => u32::from_le_bytes(*first) & !0xf == 0x184d_2a50,
        None => false,
    }
}

/// All frames, one after the other.
///
/// # Errors
/// As [`unpack`].
pub fn decompress(bytes: &[u8]) -> Result<Vec<u8>, PackedError> {
    decompress_within(MAX_BYTES, bytes)
}

/// [`decompress`], with another limit than [`MAX_BYTES`].
fn decompress_within(limit: usize, bytes: &[u8]) -> Result<Vec<u8>, PackedError> {
    let (mut content, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        append_next(&mut rest, &mut content, limit).map_err(|fault| PackedError { at: bytes.len() - rest.len(), fault })?;
    }
    Ok(content)
}

/// The next frame; `rest` begins where it was read up to.
fn append_next(rest: &mut &[u8], content: &mut Vec<u8>, limit: usize) -> Result<(), PackedFault> {
    match StreamingDecoder::new_with_max_window_size(&mut *rest, MAX_WINDOW) {
        Ok(frame) => append_frame(frame, content, limit),
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
            let behind = usize::try_from(length).ok().and_then(|length| rest.get(length..));
            *rest = behind.ok_or_else(|| PackedFault::Damaged("a skippable frame is cut short".to_owned()))?;
            Ok(())
        }
        Err(error) => Err(damaged(&error)),
    }
}

fn append_frame(mut frame: StreamingDecoder<&mut &[u8], FrameDecoder>, content: &mut Vec<u8>, limit: usize) -> Result<(), PackedFault> {
    let before = content.len();
    let room = (limit - before) as u64 + 1;
    (&mut frame).take(room).read_to_end(content).map_err(|error| damaged(&error))?;
    if content.len() > limit {
        return Err(PackedFault::TooLarge(limit));
    }
    let frame = &frame.decoder;
    let (stated, found) = (frame.content_size(), (content.len() - before) as u64);
    if stated != 0 && stated != found {
        return Err(PackedFault::Length { stated, found });
    }
    match (frame.get_checksum_from_data(), frame.get_calculated_checksum()) {
        (Some(stated), Some(found)) if stated != found => Err(PackedFault::Checksum { stated, found }),
        _ => Ok(()),
    }
}

/// What lies at the bottom of the decoder's error.
fn damaged(error: &(dyn Error + 'static)) -> PackedFault {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    let cut = root.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
    PackedFault::Damaged(if cut { "it is cut short".to_owned() } else { root.to_string().replace('\n', " ") })
}
