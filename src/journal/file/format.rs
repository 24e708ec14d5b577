//! The headers and checksums of segments and frames, as specified in `docs/file-format.md`.

use std::ops::Range;

use uuid::Uuid;

/// The version of the format that this program writes, and the only one that exists.
pub(super) const FORMAT_VERSION: u16 = 1;

pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
pub(super) const FRAME_HEADER_BYTES: usize = 56;

const SEGMENT_MAGIC: [u8; 8] = *b"ANNALSEG";
const FRAME_MAGIC: [u8; 4] = *b"FRAM";

/// Frames begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 8;

/// The most bytes of a frame's content: an event's metadata and data may have 1 GiB.
pub(super) const FRAME_BYTES_MAX: u32 = (1 << 30) + (1 << 20);

/// The highest position: adding the number of events of a frame to it does not overflow 64 bits.
pub(super) const POSITION_MAX: u64 = i64::MAX as u64;

/// The offset rounded up to where a frame may begin.
pub(super) fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGNMENT)
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The store that the segment belongs to.
    pub(super) store: Uuid,
    /// The position of its first event.
    pub(super) first: u64,
    /// When it was created, in microseconds since 1970.
    pub(super) created: i64,
}

/// Why bytes are not a valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoHeader {
    /// The name does not lead to a regular file.
    #[error("it is not a regular file, but a directory, a pipe, a device or a dangling link")]
    NoFile,
    /// The magic bytes are missing.
    #[error("it is not a segment: its first bytes are not those of a segment")]
    Magic,
    /// The version is unknown to this program.
    #[error("its format version {0} is unknown to this version of annals: use a newer version")]
    Version(u16),
    /// The checksum does not match.
    #[error("the checksum of its header is wrong")]
    Checksum,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        put(&mut bytes, 0, &SEGMENT_MAGIC);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 16, self.store.as_bytes());
        put(&mut bytes, 32, &self.first.to_le_bytes());
        put(&mut bytes, 40, &self.created.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..60]);
        put(&mut bytes, 60, &checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, NoHeader> {
        if take::<8>(bytes, 0) != SEGMENT_MAGIC {
            return Err(NoHeader::Magic);
        }
        if crc32fast::hash(&bytes[..60]) != u32::from_le_bytes(take(bytes, 60)) {
            return Err(NoHeader::Checksum);
        }
        let version = u16::from_le_bytes(take(bytes, 8));
        if version != FORMAT_VERSION {
            return Err(NoHeader::Version(version));
        }
        Ok(Self {
            store: Uuid::from_bytes(take(bytes, 16)),
            first: u64::from_le_bytes(take(bytes, 32)),
            created: i64::from_le_bytes(take(bytes, 40)),
        })
    }
}

const HEAD_MAGIC: [u8; 8] = *b"ANNALHED";

/// The contents of the file `head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadRecord {
    pub(super) store: Uuid,
    /// The first position of the newest segment.
    pub(super) segment: u64,
    /// A position up to which everything was synced.
    pub(super) synced: u64,
}

impl HeadRecord {
    pub(super) const BYTES: usize = 64;

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        put(&mut bytes, 0, &HEAD_MAGIC);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 16, self.store.as_bytes());
        put(&mut bytes, 32, &self.segment.to_le_bytes());
        put(&mut bytes, 40, &self.synced.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..60]);
        put(&mut bytes, 60, &checksum.to_le_bytes());
        bytes
    }

    /// Decodes a head; `None` when a crash has torn it, or another version wrote it: such a head is ignored.
    pub(super) fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let is_head = take::<8>(bytes, 0) == HEAD_MAGIC
            && u16::from_le_bytes(take(bytes, 8)) == FORMAT_VERSION
            && crc32fast::hash(&bytes[..60]) == u32::from_le_bytes(take(bytes, 60));
        let head = Self {
            store: Uuid::from_bytes(take(bytes, 16)),
            segment: u64::from_le_bytes(take(bytes, 32)),
            synced: u64::from_le_bytes(take(bytes, 40)),
        };
        (is_head && (1..=POSITION_MAX).contains(&head.segment) && head.synced <= POSITION_MAX).then_some(head)
    }
}

/// Whether the first bytes of a segment may be a header torn by a crash: each is the byte of a header, or zero.
pub(super) fn is_torn_header(bytes: &[u8]) -> bool {
    let mut fixed = [0; 16];
    put(&mut fixed, 0, &SEGMENT_MAGIC);
    put(&mut fixed, 8, &FORMAT_VERSION.to_le_bytes());
    bytes
        .iter()
        .zip(fixed)
        .all(|(byte, header)| *byte == 0 || *byte == header)
}

/// The part of a batch that a frame contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchPart {
    Whole,
    First,
    Middle,
    Last,
}

impl BatchPart {
    fn new(began_before: bool, goes_on: bool) -> Self {
        match (began_before, goes_on) {
            (false, false) => Self::Whole,
            (false, true) => Self::First,
            (true, true) => Self::Middle,
            (true, false) => Self::Last,
        }
    }

    /// The batch goes on in the next frame.
    pub(super) fn goes_on(self) -> bool {
        matches!(self, Self::First | Self::Middle)
    }

    /// The batch started in an earlier frame: reading cannot resume at this frame after damage.
    pub(super) fn began_before(self) -> bool {
        matches!(self, Self::Middle | Self::Last)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// The part of its batch.
    pub(super) part: BatchPart,
    /// The content is compressed.
    pub(super) compressed: bool,
    /// Events between the first and the last position are gone, and the content starts with their gaps and marks.
    pub(super) sparse: bool,
    /// The size of the content as stored, and before compression.
    pub(super) stored_bytes: u32,
    pub(super) raw_bytes: u32,
    /// Events in the content.
    pub(super) events: u32,
    /// The checksum of the content as it is stored.
    pub(super) checksum: u32,
    /// The positions of the first and the last event, retained or gone; in a sync mark both are the last position before it.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Everything up to this position was synced before this frame was written.
    pub(super) synced: u64,
}

const COMPRESSED: u8 = 1;
const GOES_ON: u8 = 2;
const BEGAN_BEFORE: u8 = 4;
const SPARSE: u8 = 8;

impl FrameHeader {
    /// Encodes the header. Its checksum is valid only in a segment of this store.
    pub(super) fn encode(&self, store: Uuid) -> [u8; FRAME_HEADER_BYTES] {
        let flags = (u8::from(self.compressed) * COMPRESSED)
            | (u8::from(self.part.goes_on()) * GOES_ON)
            | (u8::from(self.part.began_before()) * BEGAN_BEFORE)
            | (u8::from(self.sparse) * SPARSE);
        let mut bytes = [0; FRAME_HEADER_BYTES];
        put(&mut bytes, 0, &FRAME_MAGIC);
        put(&mut bytes, 4, &[flags]);
        put(&mut bytes, 8, &self.stored_bytes.to_le_bytes());
        put(&mut bytes, 12, &self.raw_bytes.to_le_bytes());
        put(&mut bytes, 16, &self.events.to_le_bytes());
        put(&mut bytes, 20, &self.checksum.to_le_bytes());
        put(&mut bytes, 24, &self.first.to_le_bytes());
        put(&mut bytes, 32, &self.last.to_le_bytes());
        put(&mut bytes, 40, &self.synced.to_le_bytes());
        let checksum = checksum_of_header(&bytes, store);
        put(&mut bytes, 52, &checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; FRAME_HEADER_BYTES], store: Uuid) -> Result<Self, NoHeader> {
        if take::<4>(bytes, 0) != FRAME_MAGIC {
            return Err(NoHeader::Magic);
        }
        if checksum_of_header(bytes, store) != u32::from_le_bytes(take(bytes, 52)) {
            return Err(NoHeader::Checksum);
        }
        let [flags] = take(bytes, 4);
        Ok(Self {
            part: BatchPart::new(flags & BEGAN_BEFORE != 0, flags & GOES_ON != 0),
            compressed: flags & COMPRESSED != 0,
            sparse: flags & SPARSE != 0,
            stored_bytes: u32::from_le_bytes(take(bytes, 8)),
            raw_bytes: u32::from_le_bytes(take(bytes, 12)),
            events: u32::from_le_bytes(take(bytes, 16)),
            checksum: u32::from_le_bytes(take(bytes, 20)),
            first: u64::from_le_bytes(take(bytes, 24)),
            last: u64::from_le_bytes(take(bytes, 32)),
            synced: u64::from_le_bytes(take(bytes, 40)),
        })
    }

    /// The range of positions of the frame, which is empty for a sync mark; `None` when its numbers contradict each other.
    pub(super) fn span(&self) -> Option<Range<u64>> {
        let begin = if self.events == 0 && !self.sparse {
            self.first.checked_add(1)?
        } else {
            self.first
        };
        let end = self.last.checked_add(1)?;
        let positions = end.checked_sub(begin)?;
        let fits = if self.sparse {
            positions >= u64::from(self.events).max(1)
        } else {
            positions == u64::from(self.events)
        };
        (begin > 0 && fits && end <= POSITION_MAX).then_some(begin..end)
    }

    /// The size of the frame, padded to the alignment.
    pub(super) fn frame_bytes(&self) -> u64 {
        aligned(FRAME_HEADER_BYTES as u64 + u64::from(self.stored_bytes))
    }
}

fn checksum_of_header(bytes: &[u8; FRAME_HEADER_BYTES], store: Uuid) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(store.as_bytes());
    hasher.update(&bytes[..52]);
    hasher.finalize()
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

fn take<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[offset..offset + N]);
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STORE: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

    #[test]
    fn a_segment_header_is_these_bytes() {
        let header = SegmentHeader {
            store: STORE,
            first: 1,
            created: 2,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        assert_eq!(&bytes[..12], b"ANNALSEG\x01\0\0\0");
        assert_eq!(&bytes[32..48], &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(u32::from_le_bytes(take(&bytes, 60)), 0xe3d4_6902);
    }

    /// The frame of the example in `docs/file-format.md`.
    #[test]
    fn a_frame_header_is_these_bytes() {
        let header = FrameHeader {
            part: BatchPart::Whole,
            sparse: false,
            compressed: false,
            stored_bytes: 60,
            raw_bytes: 60,
            events: 1,
            checksum: 0x4e60_ebcd,
            first: 1,
            last: 1,
            synced: 0,
        };
        let bytes = header.encode(Uuid::from_u128(0x0192_f0e0_0000_7000_8000_0000_0000_0001));
        let expected = b"FRAM\0\0\0\0\x3c\0\0\0\x3c\0\0\0\x01\0\0\0\xcd\xeb\x60\x4e\
            \x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x71\x66\x6a\xc4";
        assert_eq!(&bytes, expected);
    }

    proptest! {
        #[test]
        fn a_frame_header_survives_its_bytes(
            flags in any::<(bool, bool, bool, bool)>(),
            lengths in any::<(u32, u32, u32, u32)>(),
            positions in any::<(u64, u64, u64)>(),
            flipped in 0..FRAME_HEADER_BYTES * 8,
        ) {
            let header = FrameHeader {
                part: BatchPart::new(flags.0, flags.2),
                compressed: flags.1,
                sparse: flags.3,
                stored_bytes: lengths.0,
                raw_bytes: lengths.1,
                events: lengths.2,
                checksum: lengths.3,
                first: positions.0,
                last: positions.1,
                synced: positions.2,
            };
            let mut bytes = header.encode(STORE);
            prop_assert_eq!(FrameHeader::decode(&bytes, STORE), Ok(header));
            prop_assert_eq!(FrameHeader::decode(&bytes, Uuid::nil()), Err(NoHeader::Checksum));
            bytes[flipped / 8] ^= 1 << (flipped % 8);
            prop_assert!(FrameHeader::decode(&bytes, STORE).is_err());
        }
    }
}
