//! Frames: headers and padding around encoded contents.

use uuid::Uuid;

use super::format::{BatchPart, FRAME_BYTES_MAX, FrameHeader, aligned};
use crate::journal::JournalError;

/// The target size of a frame, unless one event is larger.
pub(super) const FRAME_BYTES: usize = 1 << 20;

/// Encodes the frames of one store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framing {
    pub(super) store: Uuid,
    #[cfg_attr(
        not(feature = "lz4"),
        expect(dead_code, reason = "nothing is compressed without the feature")
    )]
    pub(super) compress: bool,
}

/// The header fields of a frame that are independent of its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) events: u32,
    pub(super) part: BatchPart,
    /// The content starts with gaps and marks of events that are gone.
    pub(super) sparse: bool,
    /// Every event up to this position is synced.
    pub(super) synced: u64,
}

impl Framing {
    /// Appends a frame to `bytes`.
    ///
    /// # Errors
    ///
    /// [`Failed`](crate::journal::JournalErrorKind::Failed) when the content is too long.
    pub(super) fn push(&self, content: &[u8], span: &Span, bytes: &mut Vec<u8>) -> Result<(), JournalError> {
        let compressed = self.compress(content);
        let stored = compressed.as_deref().unwrap_or(content);
        let raw_bytes = u32::try_from(content.len()).map_err(|_| too_long())?;
        if raw_bytes > FRAME_BYTES_MAX {
            return Err(too_long());
        }
        let header = FrameHeader {
            part: span.part,
            sparse: span.sparse,
            compressed: compressed.is_some(),
            stored_bytes: u32::try_from(stored.len()).map_err(|_| too_long())?,
            raw_bytes,
            events: span.events,
            checksum: crc32fast::hash(stored),
            first: span.first,
            last: span.last,
            synced: span.synced,
        };
        bytes.extend_from_slice(&header.encode(self.store));
        bytes.extend_from_slice(stored);
        bytes.resize(aligned(bytes.len() as u64) as usize, 0);
        Ok(())
    }

    #[cfg(feature = "lz4")]
    fn compress(&self, content: &[u8]) -> Option<Vec<u8>> {
        self.compress.then(|| super::compress::shrink(content)).flatten()
    }

    #[cfg(not(feature = "lz4"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    fn compress(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

pub(super) fn too_long() -> JournalError {
    JournalError::failed(format!(
        "an event exceeds the journal's limit of {FRAME_BYTES_MAX} bytes per frame: make it smaller"
    ))
}
