//! Reads a segment frame by frame, in blocks that can be decoded in parallel.

use std::collections::VecDeque;
use std::io;

use uuid::Uuid;

use super::disk::DiskFile;
use super::format::{
    ALIGNMENT, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, NoHeader, SEGMENT_HEADER_BYTES, SegmentHeader, aligned,
};
use super::{compress, record, sparse};
use crate::journal::Batch;

/// The size of a block, unless one batch is larger.
pub(super) const BLOCK_BYTES: usize = 256 << 10;
/// The number of bytes read at once while searching.
const SEARCH_BYTES: usize = 1 << 20;
const CUT_OFF: &str = "a frame is truncated";

/// Consecutive whole batches of a segment, encoded.
#[derive(Debug)]
pub(super) struct Block {
    /// The offset in the segment.
    pub(super) offset: u64,
    /// Frames one after another.
    pub(super) bytes: Vec<u8>,
    pub(super) store: Uuid,
}

/// The place where reading stops before the end: the next batch is missing or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// The end of the last whole batch.
    pub(super) offset: u64,
    /// The position that is expected next.
    pub(super) position: u64,
    pub(super) what: String,
    pub(super) cause: Cause,
}

/// The reason why reading stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A crash, or damage if the place is known to have been synced.
    CrashOrDamage,
    /// Damage that no crash can cause.
    Damage,
    /// The data is intact, but this program lacks a feature that is required to read it.
    Unsupported,
}

/// The result of one read step.
#[derive(Debug)]
pub(super) enum Next {
    Block(Block),
    /// The end of the segment.
    End,
    Stop(Stop),
}

/// Reads one segment from start to end.
#[derive(Debug)]
pub(super) struct Scan {
    file: Box<dyn DiskFile>,
    length: u64,
    store: Uuid,
    /// The offset of the next frame.
    offset: u64,
    /// The expected first position of the next frame.
    position: u64,
    /// The highest synced position in the frames read.
    synced: u64,
    /// The frames with positions above `synced`.
    unsynced: VecDeque<Unsynced>,
    /// The buffered part of the file, from `window_offset`.
    window: Vec<u8>,
    window_offset: u64,
}

/// Why no frame starts at an offset.
#[derive(Debug)]
enum NoFrame {
    /// The rest of the segment is zeros.
    Zeros,
    /// The damage that was found.
    Broken(String),
}

impl NoFrame {
    fn broken(what: &str) -> Self {
        Self::Broken(what.to_owned())
    }
}

/// A frame that no later frame records as synced.
#[derive(Clone, Copy, Debug)]
struct Unsynced {
    /// Its offset.
    offset: u64,
    /// Its last position.
    last: u64,
}

/// A buffer for what the file has from `offset`, of at most `most` bytes. A read that does not fill it has reached the end.
fn buffer(file: &dyn DiskFile, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let left = file.length()?.saturating_sub(offset);
    Ok(vec![0; usize::try_from(left + 1).unwrap_or(most).min(most)])
}

/// Whether the file contains only zeros from `offset`.
pub(super) fn is_zero_from(file: &dyn DiskFile, mut offset: u64) -> io::Result<bool> {
    let mut bytes = buffer(file, offset, SEARCH_BYTES)?;
    loop {
        let read = file.read_at(offset, &mut bytes)?;
        if bytes[..read].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
        offset += read as u64;
    }
}

/// The offset after the last nonzero byte from `offset`; `offset` when there is none.
pub(super) fn end_of_bytes(file: &dyn DiskFile, mut offset: u64) -> io::Result<u64> {
    let mut bytes = buffer(file, offset, SEARCH_BYTES)?;
    let mut end = offset;
    loop {
        let read = file.read_at(offset, &mut bytes)?;
        if let Some(last) = bytes[..read].iter().rposition(|byte| *byte != 0) {
            end = offset + last as u64 + 1;
        }
        if read == 0 {
            return Ok(end);
        }
        offset += read as u64;
    }
}

impl Scan {
    /// Starts after the header of a segment.
    pub(super) fn new(file: Box<dyn DiskFile>, header: &SegmentHeader) -> io::Result<Self> {
        Ok(Self {
            length: file.length()?,
            file,
            store: header.store,
            offset: SEGMENT_HEADER_BYTES as u64,
            position: header.first,
            synced: header.first.saturating_sub(1),
            unsynced: VecDeque::new(),
            window: Vec::new(),
            window_offset: 0,
        })
    }

    /// The offset of the next batch.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The first position of the next batch.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next block.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        let mut block = Block {
            offset: self.offset,
            bytes: Vec::new(),
            store: self.store,
        };
        // The end of the last whole batch in the block, and the position after it.
        let (mut end, mut after) = (0, self.position);
        let mut position = self.position;
        while end < BLOCK_BYTES {
            let offset = block.offset + block.bytes.len() as u64;
            let header = match self.header_at(offset, position)? {
                Ok(header) => header,
                Err(reason) => {
                    block.bytes.truncate(end);
                    self.advance(end as u64, after);
                    return Ok(self.end_of_batches(block, offset, reason));
                }
            };
            self.read_frame(&header, offset, &mut block.bytes)?;
            position = header.last + 1;
            if !header.part.goes_on() {
                (end, after) = (block.bytes.len(), position);
            }
        }
        self.advance(end as u64, after);
        Ok(Next::Block(block))
    }

    fn advance(&mut self, bytes: u64, position: u64) {
        self.offset += bytes;
        self.position = position;
    }

    /// Reads the header of the frame at `offset`, which must start with `position`.
    fn header_at(&mut self, offset: u64, position: u64) -> io::Result<Result<FrameHeader, NoFrame>> {
        let store = self.store;
        let bytes = self.bytes_at(offset, FRAME_HEADER_BYTES)?;
        let header = bytes.try_into().map(|bytes| FrameHeader::decode(bytes, store));
        if bytes.iter().all(|byte| *byte == 0) && is_zero_from(&*self.file, offset)? {
            return Ok(Err(NoFrame::Zeros));
        }
        match header {
            Ok(header) => Ok(self.check_header(header, offset, position)),
            Err(_) => Ok(Err(NoFrame::broken(CUT_OFF))),
        }
    }

    /// Up to `length` bytes from `offset`, fewer at the end of the file.
    fn bytes_at(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = offset + length as u64;
        if offset < self.window_offset || end > self.window_offset + self.window.len() as u64 {
            let wanted = length.max(SEARCH_BYTES) as u64;
            let there = wanted.min(self.length.saturating_sub(offset));
            self.window.resize(there as usize, 0);
            let read = self.file.read_at(offset, &mut self.window)?;
            self.window.truncate(read);
            self.window_offset = offset;
        }
        let start = (offset - self.window_offset) as usize;
        let length = length.min(self.window.len() - start);
        Ok(&self.window[start..start + length])
    }

    fn check_header(
        &mut self,
        header: Result<FrameHeader, NoHeader>,
        offset: u64,
        position: u64,
    ) -> Result<FrameHeader, NoFrame> {
        let header = header.map_err(|reason| match reason {
            NoHeader::Magic => NoFrame::broken("there is no frame"),
            NoHeader::Checksum | NoHeader::Version(_) | NoHeader::NoFile => {
                NoFrame::broken("the checksum of a frame's header is wrong")
            }
        })?;
        if header.frame_bytes() > aligned(self.length.saturating_sub(offset)) || header.stored_bytes > FRAME_BYTES_MAX {
            return Err(NoFrame::broken(CUT_OFF));
        }
        if header.span().is_none_or(|span| span.start != position) {
            return Err(NoFrame::Broken(format!(
                "a frame contains the positions {} to {}, and position {position} is expected",
                header.first, header.last
            )));
        }
        self.synced = self.synced.max(header.synced);
        let last = header.last;
        self.unsynced.push_back(Unsynced { offset, last });
        let synced = self.synced;
        while self.unsynced.front().is_some_and(|frame| frame.last <= synced) {
            self.unsynced.pop_front();
        }
        Ok(header)
    }

    /// Reads to `end`, and returns the offset from which no frame records that the segment was synced.
    pub(super) fn unsynced_from(mut self, end: u64) -> io::Result<u64> {
        let begin = self.position;
        while self.offset < end && matches!(self.next()?, Next::Block(_)) {}
        if self.synced < begin {
            // Even the header may not be synced.
            return Ok(0);
        }
        Ok(self.unsynced.front().map_or(end, |frame| frame.offset.min(end)))
    }

    fn read_frame(&mut self, header: &FrameHeader, offset: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        let start = bytes.len();
        let length = header.frame_bytes() as usize;
        bytes.extend_from_slice(self.bytes_at(offset, length)?);
        // The padding of the last frame may be missing; the checksum detects any other missing byte.
        bytes.resize(start + length, 0);
        Ok(())
    }

    /// Returns the batches before the end first, and on the next call the end itself.
    fn end_of_batches(&self, block: Block, offset: u64, reason: NoFrame) -> Next {
        if !block.bytes.is_empty() {
            return Next::Block(block);
        }
        let in_a_batch = offset > self.offset;
        match reason {
            NoFrame::Zeros if !in_a_batch => Next::End,
            NoFrame::Zeros => Next::Stop(self.stop("the last frames of a batch are missing".to_owned())),
            NoFrame::Broken(what) => Next::Stop(self.stop(what)),
        }
    }

    /// A stop at the end of the last whole batch.
    fn stop(&self, what: String) -> Stop {
        Stop {
            offset: self.offset,
            position: self.position,
            what,
            cause: Cause::CrashOrDamage,
        }
    }

    /// The highest position that any frame of the segment records as synced: no crash causes a stop before it. Depends on the file only, not on how
    /// far it was read.
    pub(super) fn synced(&self) -> io::Result<u64> {
        let mut synced = 0;
        self.search(SEGMENT_HEADER_BYTES as u64, |_, header| {
            synced = synced.max(header.synced);
            false
        })?;
        Ok(synced)
    }

    /// Resumes after damage at the next batch with positions from `position` to below `until`. Returns whether
    /// there is one.
    pub(super) fn resume(&mut self, offset: u64, position: u64, until: u64) -> io::Result<bool> {
        let length = self.length;
        let follows = |at: u64, header: &FrameHeader| {
            let Some(span) = header.span() else {
                return false;
            };
            let is_next = span.start > position || (span.start == position && at > offset);
            let fits = header.frame_bytes() <= aligned(length - at) && header.stored_bytes <= FRAME_BYTES_MAX;
            is_next && span.end <= until && fits && !header.part.began_before()
        };
        let found = self.search(offset, follows)?;
        let Some((at, span)) = found.and_then(|(at, header)| Some((at, header.span()?))) else {
            return Ok(false);
        };
        self.offset = at;
        self.position = span.start;
        self.unsynced.clear();
        Ok(true)
    }

    /// Finds the first `wanted` frame header from `offset`, with its offset.
    fn search(
        &self,
        mut offset: u64,
        mut wanted: impl FnMut(u64, &FrameHeader) -> bool,
    ) -> io::Result<Option<(u64, FrameHeader)>> {
        // A header may span two reads.
        let mut bytes = buffer(&*self.file, offset, SEARCH_BYTES + FRAME_HEADER_BYTES)?;
        bytes.resize(bytes.len().max(2 * FRAME_HEADER_BYTES), 0);
        loop {
            let read = self.file.read_at(offset, &mut bytes)?;
            let found = headers(&bytes[..read], offset, self.store).find(|(at, header)| wanted(*at, header));
            if found.is_some() || read < bytes.len() {
                return Ok(found);
            }
            // The buffer is full although it has room for all that there was: the file has grown.
            offset += (bytes.len() - FRAME_HEADER_BYTES) as u64 / ALIGNMENT * ALIGNMENT;
        }
    }
}

/// All frame headers in `bytes`, which were read at `offset`, with their offsets.
fn headers(bytes: &[u8], offset: u64, store: Uuid) -> impl Iterator<Item = (u64, FrameHeader)> {
    let windows = bytes.windows(FRAME_HEADER_BYTES).step_by(ALIGNMENT as usize);
    let offsets = (offset..).step_by(ALIGNMENT as usize);
    offsets.zip(windows).filter_map(move |(offset, window)| {
        let header = FrameHeader::decode(window.try_into().ok()?, store).ok()?;
        Some((offset, header))
    })
}

/// The frames of a batch, with their offsets in the block.
pub(super) type Group = Vec<(FrameHeader, usize)>;

/// The decoded events of a block, and the stop before its end, if any.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) batch: Batch,
    pub(super) stop: Option<Stop>,
    /// The offset in the segment after the decoded batches.
    pub(super) end: u64,
}

impl Block {
    /// Decodes the batches up to the first invalid checksum or content.
    pub(super) fn decode(&self) -> Decoded {
        let mut decoded = Decoded {
            batch: Batch::new(),
            stop: None,
            end: self.offset,
        };
        // A batch of several frames is decoded whole or not at all.
        for group in self.groups() {
            if let Err(stop) = self.decode_group(&group, &mut decoded.batch) {
                decoded.stop = Some(stop);
                return decoded;
            }
            decoded.end = self.end_of(&group);
        }
        decoded
    }

    /// The batches in the block.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let mut group = Group::new();
            loop {
                let header = self.header(offset)?;
                group.push((header, offset));
                offset += header.frame_bytes() as usize;
                if !header.part.goes_on() {
                    return Some(group);
                }
            }
        })
    }

    /// The offset in the segment after a batch.
    fn end_of(&self, group: &[(FrameHeader, usize)]) -> u64 {
        let end = group
            .last()
            .map_or(0, |(header, offset)| *offset as u64 + header.frame_bytes());
        self.offset + end
    }

    fn header(&self, offset: usize) -> Option<FrameHeader> {
        let bytes = self.bytes.get(offset..offset + FRAME_HEADER_BYTES)?;
        FrameHeader::decode(bytes.try_into().ok()?, self.store).ok()
    }

    /// Adds the events of a batch to `batch`. On an error, part of them may have been added.
    pub(super) fn decode_group(&self, group: &[(FrameHeader, usize)], batch: &mut Batch) -> Result<(), Stop> {
        let Some((first, start)) = group.first() else {
            return Ok(());
        };
        let stop = |what: String, cause| Stop {
            offset: self.offset + *start as u64,
            position: first.first,
            what,
            cause,
        };
        let mut contents = Vec::with_capacity(group.len());
        for (header, offset) in group {
            let begin = offset + FRAME_HEADER_BYTES;
            let content = &self.bytes[begin..begin + header.stored_bytes as usize];
            if crc32fast::hash(content) != header.checksum {
                return Err(stop(
                    "the checksum of a frame is wrong".to_owned(),
                    Cause::CrashOrDamage,
                ));
            }
            if header.compressed && !compress::IS_SUPPORTED {
                return Err(stop(compress::MISSING.to_owned(), Cause::Unsupported));
            }
            contents.push((header, content));
        }
        for (header, content) in contents {
            let content = compress::expand(content, header).map_err(|what| stop(what, Cause::Damage))?;
            let decoded = if header.sparse {
                sparse::decode(&content, header.events, (header.first, header.last), batch)
            } else {
                record::decode(&content, header.events, header.first, batch)
            };
            decoded.map_err(|reason| stop(format!("a frame cannot be read: {reason}"), Cause::Damage))?;
        }
        Ok(())
    }
}
