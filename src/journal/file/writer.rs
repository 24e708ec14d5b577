//! Writing segments: frames one after another, room made ahead, and a new segment when one is long enough.

use std::sync::Arc;

use uuid::Uuid;

use super::disk::{Disk, DiskFile};
use super::errors::{fault, final_fault};
use super::format::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader, aligned};
use super::record::FrameEncoder;
use super::{FileSettings, segments};
use crate::journal::{Batch, JournalError, JournalErrorKind};

/// Bytes of events in a frame, unless one event has more.
const FRAME_BYTES: usize = 1 << 20;
/// After so many syncs without room made ahead, room is made: whoever syncs rarely does not need it.
const SYNCS_UNTIL_ROOM: u32 = 4;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Where the journal writes.
#[derive(Debug)]
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    settings: FileSettings,
    store: Uuid,
    segment: Segment,
    encoder: FrameEncoder,
    bytes: Vec<u8>,
    /// The position of the last event written, and of the last one synced.
    written: u64,
    synced: u64,
    /// The last mark of what was synced that is in the file.
    marked: u64,
}

/// What a frame has of its batch.
#[derive(Clone, Copy)]
struct Part {
    first: u64,
    last: u64,
    goes_on: bool,
    began_before: bool,
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) file: Box<dyn DiskFile>,
    /// Where the next frame goes.
    pub(super) offset: u64,
    /// Up to here the file is long, with zeros behind `offset`.
    pub(super) length: u64,
    syncs: u32,
}

impl Segment {
    pub(super) fn new(name: String, file: Box<dyn DiskFile>, offset: u64, length: u64) -> Self {
        Self {
            name,
            file,
            offset,
            length,
            syncs: 0,
        }
    }

    /// Makes a new segment whose first event has position `first`. When this returns it survives a crash.
    pub(super) fn create(disk: &dyn Disk, header: &SegmentHeader) -> Result<Self, JournalError> {
        let name = segments::name_of(header.first);
        let failed = |error| fault(disk, "a new segment cannot be made", &name, error);
        let mut file = disk.create(&name).map_err(failed)?;
        let begun = file
            .write_at(0, &header.encode())
            .and_then(|()| file.sync())
            .and_then(|()| disk.sync_names());
        begun.map_err(|error| {
            // What is left of it holds nothing.
            drop(disk.remove(&name));
            failed(error)
        })?;
        let offset = SEGMENT_HEADER_BYTES as u64;
        Ok(Self::new(name, file, offset, offset))
    }
}

impl Writer {
    /// Goes on behind the event at position `last`, all of which is synced.
    pub(super) fn new(disk: Arc<dyn Disk>, settings: FileSettings, store: Uuid, segment: Segment, last: u64) -> Self {
        Self {
            disk,
            settings,
            store,
            segment,
            encoder: FrameEncoder::default(),
            bytes: Vec::new(),
            written: last,
            synced: last,
            marked: last,
        }
    }

    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let (first, last) = (batch.first_position().0, batch.last_position().0);
        if batch.is_empty() {
            return Ok(());
        }
        if first != self.written + 1 || last - first + 1 != batch.len() as u64 {
            return Err(JournalError::failed(format!(
                "a batch of {} events with the positions {first} to {last} does not come after position {}",
                batch.len(),
                self.written
            )));
        }
        if self.segment.offset >= self.settings.segment_bytes {
            self.begin_segment()?;
        }
        self.encode(batch)?;
        self.append()?;
        self.written = last;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        self.segment
            .file
            .sync()
            .map_err(|error| final_fault(&*self.disk, "the segment cannot be synced", &self.segment.name, error))?;
        self.segment.syncs += 1;
        self.synced = self.written;
        Ok(())
    }

    /// Syncs, and leaves a mark of it behind, so that damage found later is known not to come from a crash.
    pub(super) fn close(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        if self.marked == self.written {
            return Ok(());
        }
        self.bytes.clear();
        let mut content = Vec::new();
        self.encoder.finish(&mut content).map_err(|_| too_long())?;
        let part = Part {
            first: self.written,
            last: self.written,
            goes_on: false,
            began_before: false,
        };
        self.push_frame(&content, 0, part)?;
        match self.append() {
            Ok(()) => self.sync(),
            // Everything is safe without the mark.
            Err(error) if error.kind() == JournalErrorKind::Retry => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn begin_segment(&mut self) -> Result<(), JournalError> {
        // The end is cut and synced first: only the last segment may end in the middle of a frame.
        let segment = &mut self.segment;
        segment
            .file
            .set_length(segment.offset)
            .map_err(|error| fault(&*self.disk, "the segment cannot be ended", &segment.name, error))?;
        segment.length = segment.offset;
        self.sync()?;
        let header = SegmentHeader {
            store: self.store,
            first: self.written + 1,
            created: super::now(),
        };
        self.segment = Segment::create(&*self.disk, &header)?;
        Ok(())
    }

    /// Encodes a batch into frames.
    fn encode(&mut self, batch: &Batch) -> Result<(), JournalError> {
        self.bytes.clear();
        let mut part = Part {
            first: batch.first_position().0,
            last: batch.last_position().0,
            goes_on: true,
            began_before: false,
        };
        let mut content = Vec::new();
        for event in batch.events() {
            let bytes = event.names_bytes() + event.metadata().len() + event.data().len();
            if self.encoder.events() > 0 && self.encoder.bytes() + bytes > FRAME_BYTES {
                self.end_frame(&mut content, &mut part)?;
            }
            self.encoder.push(event).map_err(|_| too_long())?;
        }
        part.goes_on = false;
        self.end_frame(&mut content, &mut part)
    }

    /// Ends a frame; what `part` is then is for the next.
    fn end_frame(&mut self, content: &mut Vec<u8>, part: &mut Part) -> Result<(), JournalError> {
        content.clear();
        let events = self.encoder.finish(content).map_err(|_| too_long())?;
        part.last = part.first + u64::from(events) - 1;
        self.push_frame(content, events, *part)?;
        part.first = part.last + 1;
        part.began_before = true;
        Ok(())
    }

    fn push_frame(&mut self, content: &[u8], events: u32, part: Part) -> Result<(), JournalError> {
        let compressed = self.compress(content);
        let stored = compressed.as_deref().unwrap_or(content);
        let raw_bytes = u32::try_from(content.len()).map_err(|_| too_long())?;
        if raw_bytes > FRAME_BYTES_MAX {
            return Err(too_long());
        }
        let header = FrameHeader {
            goes_on: part.goes_on,
            began_before: part.began_before,
            compressed: compressed.is_some(),
            stored_bytes: u32::try_from(stored.len()).map_err(|_| too_long())?,
            raw_bytes,
            events,
            checksum: crc32fast::hash(stored),
            first: part.first,
            last: part.last,
            synced: self.synced,
        };
        self.bytes.extend_from_slice(&header.encode(self.store));
        self.bytes.extend_from_slice(stored);
        self.bytes.resize(aligned(self.bytes.len() as u64) as usize, 0);
        debug_assert!(self.bytes.len() >= FRAME_HEADER_BYTES);
        Ok(())
    }

    #[cfg(feature = "lz4")]
    fn compress(&self, content: &[u8]) -> Option<Vec<u8>> {
        self.settings
            .compress
            .then(|| super::compress::shrink(content))
            .flatten()
    }

    #[cfg(not(feature = "lz4"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    fn compress(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Writes the frames that were encoded behind those that are there.
    fn append(&mut self) -> Result<(), JournalError> {
        let segment = &mut self.segment;
        segment
            .file
            .write_at(segment.offset, &self.bytes)
            .map_err(|error| fault(&*self.disk, "events cannot be written", &segment.name, error))?;
        segment.offset += self.bytes.len() as u64;
        if segment.offset > segment.length {
            segment.length = segment.offset;
            self.make_room();
        }
        self.marked = self.synced;
        Ok(())
    }

    /// Makes the file longer ahead of need, with zeros that are written: a sync that only overwrites is several times cheaper than
    /// one that makes the file longer. That there is no room is found when there is something to write.
    fn make_room(&mut self) {
        let segment = &mut self.segment;
        if segment.syncs < SYNCS_UNTIL_ROOM {
            return;
        }
        let end = segment.offset + self.settings.preallocate_bytes;
        while segment.length < end {
            let bytes = (end - segment.length).min(ZEROS.len() as u64);
            if segment.file.write_at(segment.length, &ZEROS[..bytes as usize]).is_err() {
                return;
            }
            segment.length += bytes;
        }
    }
}

fn too_long() -> JournalError {
    JournalError::failed(format!(
        "an event is longer than the {FRAME_BYTES_MAX} bytes that the journal takes"
    ))
}
