//! Frames made smaller with LZ4, and back.

use std::borrow::Cow;

#[cfg(feature = "lz4")]
use super::format::FRAME_BYTES_MAX;
use super::format::FrameHeader;

/// Whether this program can read compressed frames.
pub(super) const IS_SUPPORTED: bool = cfg!(feature = "lz4");

/// What is missing where it cannot.
pub(super) const MISSING: &str = "frames are compressed: this program was built without the feature `lz4`";

/// LZ4 makes nothing smaller than this.
#[cfg(feature = "lz4")]
const RATIO_MAX: u64 = 256;

/// The content, compressed; `None` where that makes it no smaller, or the feature `lz4` is off.
#[cfg(feature = "lz4")]
pub(super) fn shrink(content: &[u8]) -> Option<Vec<u8>> {
    let compressed = lz4_flex::block::compress(content);
    (compressed.len() < content.len()).then_some(compressed)
}

/// The content of a frame as it was before it was compressed, if it was.
#[cfg(feature = "lz4")]
pub(super) fn expand<'a>(content: &'a [u8], header: &FrameHeader) -> Result<Cow<'a, [u8]>, String> {
    if !header.compressed {
        return Ok(Cow::Borrowed(content));
    }
    let possible = u64::from(header.stored_bytes) * RATIO_MAX;
    if header.raw_bytes > FRAME_BYTES_MAX || u64::from(header.raw_bytes) > possible {
        return Err("a frame says it is longer than it can be".to_owned());
    }
    let raw = lz4_flex::block::decompress(content, header.raw_bytes as usize)
        .map_err(|error| format!("a frame cannot be decompressed: {error}"))?;
    Ok(Cow::Owned(raw))
}

#[cfg(not(feature = "lz4"))]
pub(super) fn expand<'a>(content: &'a [u8], header: &FrameHeader) -> Result<Cow<'a, [u8]>, String> {
    if header.compressed {
        return Err(MISSING.to_owned());
    }
    Ok(Cow::Borrowed(content))
}
