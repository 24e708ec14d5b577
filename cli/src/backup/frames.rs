//! The frames of a segment, as `docs/file-format.md` specifies them: as much of them as it takes to find whole batches.

use annals::journal::file::DiskFile;

use std::io;

pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
const FRAME_HEADER_BYTES: usize = 56;
const CONTENT_BYTES_MAX: u32 = (1 << 30) + (1 << 20);
const VERSION: [u8; 2] = 1_u16.to_le_bytes();

/// The batch goes on in the next frame.
const GOES_ON: u8 = 2;
/// Events are gone.
const SPARSE: u8 = 8;

pub(super) type StoreId = [u8; 16];

/// The checksum of the parts, one after another.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut checksum = flate2::Crc::new();
    for part in parts {
        checksum.update(part);
    }
    checksum.sum()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) store: StoreId,
    /// The position of its first event.
    pub(super) first: u64,
}

impl Segment {
    /// Reads the header; `None` if it is not one of this format.
    pub(super) fn read(file: &dyn DiskFile) -> io::Result<Option<Self>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let is_whole = file.read_at(0, &mut bytes)? == bytes.len();
        let is_segment = is_whole
            && bytes.starts_with(b"ANNALSEG")
            && bytes[8..10] == VERSION
            && checksum(&[&bytes[..60]]) == u32::from_le_bytes(array(&bytes, 60));
        Ok(is_segment.then(|| Self {
            store: array(&bytes, 16),
            first: u64::from_le_bytes(array(&bytes, 32)),
        }))
    }
}

/// The contents of the file `head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) store: StoreId,
    /// The first position of the newest segment.
    pub(super) newest: u64,
    /// Every event up to this position is safe on the disk.
    pub(super) synced: u64,
}

impl Head {
    pub(super) const BYTES: usize = 64;

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(b"ANNALHED");
        bytes[8..10].copy_from_slice(&VERSION);
        bytes[16..32].copy_from_slice(&self.store);
        bytes[32..40].copy_from_slice(&self.newest.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.synced.to_le_bytes());
        let checksum = checksum(&[&bytes[..60]]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` for a head that is torn, or of another version: it is to be ignored.
    pub(super) fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let is_head = bytes.starts_with(b"ANNALHED")
            && bytes[8..10] == VERSION
            && checksum(&[&bytes[..60]]) == u32::from_le_bytes(array(bytes, 60));
        is_head.then(|| Self {
            store: array(bytes, 16),
            newest: u64::from_le_bytes(array(bytes, 32)),
            synced: u64::from_le_bytes(array(bytes, 40)),
        })
    }
}

/// A frame whose header is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) offset: u64,
    flags: u8,
    stored: u32,
    events: u32,
    pub(super) checksum: u32,
    first: u64,
    pub(super) last: u64,
}

impl Frame {
    fn decode(bytes: &[u8; FRAME_HEADER_BYTES], offset: u64, store: &StoreId) -> Option<Self> {
        let is_frame =
            bytes.starts_with(b"FRAM") && checksum(&[store, &bytes[..52]]) == u32::from_le_bytes(array(bytes, 52));
        let frame = Self {
            offset,
            flags: bytes[4],
            stored: u32::from_le_bytes(array(bytes, 8)),
            events: u32::from_le_bytes(array(bytes, 16)),
            checksum: u32::from_le_bytes(array(bytes, 20)),
            first: u64::from_le_bytes(array(bytes, 24)),
            last: u64::from_le_bytes(array(bytes, 32)),
        };
        (is_frame && frame.stored <= CONTENT_BYTES_MAX).then_some(frame)
    }

    pub(super) fn content(&self) -> u64 {
        self.offset + FRAME_HEADER_BYTES as u64
    }

    /// Where its content ends, before its padding.
    pub(super) fn end(&self) -> u64 {
        self.content() + u64::from(self.stored)
    }

    /// Whether its positions follow `last`. One without events is a mark, which repeats the last position.
    fn follows(&self, last: u64) -> bool {
        let is_mark = self.events == 0 && self.flags & SPARSE == 0;
        if is_mark {
            self.last == last
        } else {
            last.checked_add(1) == Some(self.first) && self.last >= self.first
        }
    }
}

/// Where the whole batches of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The offset behind the last of them.
    pub(super) offset: u64,
    /// The last position.
    pub(super) last: u64,
}

/// Walks through the frames of a segment in `length` bytes of `file`, until one is not whole or `take` declines it.
pub(super) fn walk<E: From<io::Error>>(
    file: &dyn DiskFile,
    segment: &Segment,
    length: u64,
    mut take: impl FnMut(&Frame) -> Result<bool, E>,
) -> Result<End, E> {
    let mut whole = End {
        offset: SEGMENT_HEADER_BYTES as u64,
        last: segment.first.saturating_sub(1),
    };
    let (mut offset, mut last) = (whole.offset, whole.last);
    let mut header = [0; FRAME_HEADER_BYTES];
    while file.read_at(offset, &mut header)? == header.len() {
        let frame = Frame::decode(&header, offset, &segment.store);
        let Some(frame) = frame.filter(|frame| frame.end() <= length && frame.follows(last)) else {
            break;
        };
        if !take(&frame)? {
            break;
        }
        (offset, last) = (frame.end().next_multiple_of(8), frame.last);
        if frame.flags & GOES_ON == 0 {
            whole = End { offset, last };
        }
    }
    Ok(whole)
}
