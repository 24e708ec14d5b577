//! LZ4 compression of frames.

use std::borrow::Cow;

#[cfg(feature = "lz4")]
use super::format::FRAME_BYTES_MAX;
use super::format::FrameHeader;

/// Whether this program can read compressed frames.
pub(super) const IS_SUPPORTED: bool = cfg!(feature = "lz4");

/// The message when this program cannot read compressed frames.
pub(super) const MISSING: &str =
    "frames are compressed, and this program was built without the feature `lz4`: build it with that feature";

/// The highest ratio of raw to stored bytes that LZ4 reaches.
#[cfg(feature = "lz4")]
const RATIO_MAX: u64 = 256;

/// The compressed content; `None` when it is not smaller.
#[cfg(feature = "lz4")]
pub(super) fn shrink(content: &[u8]) -> Option<Vec<u8>> {
    let compressed = lz4_flex::block::compress(content);
    (compressed.len() < content.len()).then_some(compressed)
}

/// Decompresses the content of a frame, if it is compressed.
#[cfg(feature = "lz4")]
pub(super) fn expand<'a>(content: &'a [u8], header: &FrameHeader) -> Result<Cow<'a, [u8]>, String> {
    if !header.compressed {
        return Ok(Cow::Borrowed(content));
    }
    let possible = u64::from(header.stored_bytes) * RATIO_MAX;
    if header.raw_bytes > FRAME_BYTES_MAX || u64::from(header.raw_bytes) > possible {
        return Err("the uncompressed size in a frame's header is impossible".to_owned());
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
