//! Writes segments: appends frames, preallocates, and starts a new segment when one is full.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::disk::{Disk, DiskFile};
use super::errors::{fault, final_fault, unreadable};
use super::format::{BatchPart, HeadRecord, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::frame::{FRAME_BYTES, Framing, Span, too_long};
use super::record::FrameEncoder;
use super::sparse::SparseEncoder;
use super::{FileSettings, head, segments};
use crate::Position;
use crate::journal::{Batch, JournalError, JournalErrorKind, Part, PurgeSet};

/// The number of syncs of a segment before it is preallocated: a store that rarely syncs does not need it.
const SYNCS_UNTIL_ROOM: u32 = 4;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The state of the writing journal.
#[derive(Debug)]
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    settings: FileSettings,
    framing: Framing,
    segment: Segment,
    /// The earlier segments, which are not written to any more.
    sealed: Vec<Part>,
    /// A segment whose creation failed. Its file may exist, so it must be removed before the current segment is appended to.
    unmade: Option<String>,
    encoder: FrameEncoder,
    bytes: Vec<u8>,
    /// The position of the last event written, and of the last one synced.
    written: u64,
    synced: u64,
    /// The synced position in the last frame of the file.
    marked: u64,
    /// The contents of the file `head`, if this writer wrote it.
    noted: Option<HeadRecord>,
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) file: Box<dyn DiskFile>,
    /// The position of its first event.
    pub(super) first: u64,
    /// The number of user events.
    pub(super) events: u64,
    /// The offset of the next frame.
    pub(super) offset: u64,
    /// The length of the file, with zeros after `offset`.
    pub(super) length: u64,
    pub(super) syncs: u32,
}

impl Segment {
    /// Creates and syncs a segment.
    pub(super) fn create(disk: &dyn Disk, header: &SegmentHeader) -> Result<Self, JournalError> {
        let name = segments::name_of(header.first);
        let failed = |error| fault(disk, "a new segment cannot be made", &name, error);
        let mut file = disk.create(&name).map_err(failed)?;
        let begun = file
            .write_at(0, &header.encode())
            .and_then(|()| file.sync())
            .and_then(|()| disk.sync_names());
        begun.map_err(failed)?;
        Ok(Self {
            name,
            file,
            first: header.first,
            events: 0,
            offset: SEGMENT_HEADER_BYTES as u64,
            length: SEGMENT_HEADER_BYTES as u64,
            syncs: 0,
        })
    }
}

impl Writer {
    /// Continues after position `last`; every event up to it is synced.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        settings: FileSettings,
        store: Uuid,
        segment: Segment,
        sealed: Vec<Part>,
        last: u64,
    ) -> Self {
        let compress = settings.compress;
        Self {
            disk,
            settings,
            framing: Framing { store, compress },
            segment,
            sealed,
            unmade: None,
            encoder: FrameEncoder::default(),
            bytes: Vec::new(),
            written: last,
            synced: last,
            marked: last,
            noted: None,
        }
    }

    pub(super) fn sealed(&self) -> &[Part] {
        &self.sealed
    }

    pub(super) fn sealed_mut(&mut self) -> &mut [Part] {
        &mut self.sealed
    }

    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let (first, last) = (batch.first_position().0, batch.last_position().0);
        if batch.is_empty() {
            return Ok(());
        }
        if first != self.written + 1 || !batch.is_whole() {
            return Err(JournalError::failed(format!(
                "a batch of {} events with the positions {first} to {last} does not follow position {}",
                batch.len(),
                self.written
            )));
        }
        if self.segment.offset >= self.settings.segment_bytes {
            self.begin_segment()?;
        }
        self.bytes.clear();
        if batch.skipped() == 0 {
            self.encode(batch)?;
        } else {
            let mut encoder = SparseEncoder::new(self.framing, first, self.synced);
            encoder.add(batch, &PurgeSet::default())?;
            self.bytes = encoder.finish()?;
        }
        self.append()?;
        self.written = last;
        self.segment.events += batch.removable();
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

    /// Updates the file `head`. A failure is ignored: the previous head is still valid and claims less.
    pub(super) fn note_head(&mut self) {
        let head = HeadRecord {
            store: self.framing.store,
            segment: self.segment.first,
            synced: self.synced,
        };
        if self.noted != Some(head) {
            self.noted = head::write(&*self.disk, &head).is_ok().then_some(head);
        }
    }

    /// Syncs, and writes a sync mark, so that damage found later is not taken for a torn end.
    pub(super) fn close(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        self.note_head();
        if self.marked == self.written {
            return Ok(());
        }
        self.bytes.clear();
        let mut content = Vec::new();
        self.encoder.finish(&mut content).map_err(|_| too_long())?;
        self.framing
            .push(&content, &self.span(self.written, self.written), &mut self.bytes)?;
        match self.append() {
            Ok(()) => self.sync(),
            // Every event is synced without the mark.
            Err(error) if error.kind() == JournalErrorKind::Retry => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A frame of these positions that is a whole batch.
    fn span(&self, first: u64, last: u64) -> Span {
        Span {
            first,
            last,
            events: 0,
            part: BatchPart::Whole,
            sparse: false,
            synced: self.synced,
        }
    }

    /// Seals the segment and starts the next. A segment without events is kept.
    pub(super) fn begin_segment(&mut self) -> Result<(), JournalError> {
        if self.segment.first > self.written {
            return self.sync();
        }
        // Truncate and sync first: only the last segment may have a torn end.
        let segment = &mut self.segment;
        segment
            .file
            .set_length(segment.offset)
            .map_err(|error| fault(&*self.disk, "the segment cannot be ended", &segment.name, error))?;
        segment.length = segment.offset;
        self.sync()?;
        let header = SegmentHeader {
            store: self.framing.store,
            first: self.written + 1,
            created: super::now(),
        };
        self.remove_unmade()?;
        self.unmade = Some(segments::name_of(header.first));
        let next = Segment::create(&*self.disk, &header)?;
        self.unmade = None;
        let ended = std::mem::replace(&mut self.segment, next);
        let (first, last) = (Position(ended.first), Position(self.written));
        self.sealed.push(Part::new(first, last, ended.events, ended.offset));
        self.note_head();
        Ok(())
    }

    /// Removes the file of a segment whose creation failed: it must not follow the frames that are appended now.
    fn remove_unmade(&mut self) -> Result<(), JournalError> {
        let Some(name) = &self.unmade else { return Ok(()) };
        let removed = match self.disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.disk.sync_names(),
        };
        removed.map_err(|error| unreadable(&*self.disk, name, error))?;
        self.unmade = None;
        Ok(())
    }

    /// Encodes a batch into frames.
    fn encode(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let mut span = self.span(batch.first_position().0, batch.last_position().0);
        let mut content = Vec::new();
        for event in batch.events() {
            let bytes = event.names_bytes() + event.metadata().len() + event.data().len();
            if self.encoder.events() > 0 && self.encoder.bytes() + bytes > FRAME_BYTES {
                span.part = if span.part == BatchPart::Whole {
                    BatchPart::First
                } else {
                    BatchPart::Middle
                };
                self.end_frame(&mut content, &mut span)?;
            }
            self.encoder.push(event).map_err(|_| too_long())?;
        }
        if span.part != BatchPart::Whole {
            span.part = BatchPart::Last;
        }
        self.end_frame(&mut content, &mut span)
    }

    /// Ends a frame, and advances `span` to the next.
    fn end_frame(&mut self, content: &mut Vec<u8>, span: &mut Span) -> Result<(), JournalError> {
        content.clear();
        span.events = self.encoder.finish(content).map_err(|_| too_long())?;
        span.last = span.first + u64::from(span.events) - 1;
        self.framing.push(content, span, &mut self.bytes)?;
        span.first = span.last + 1;
        Ok(())
    }

    /// Appends the encoded frames to the segment.
    fn append(&mut self) -> Result<(), JournalError> {
        self.remove_unmade()?;
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

    /// Preallocates by writing zeros: a sync after overwriting is several times cheaper than one that extends the file. A full disk is
    /// ignored here, and reported by the next write.
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
