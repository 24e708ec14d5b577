//! Sparse frames: gaps and marks of events that are gone, then the remaining events.

use bincode::error::EncodeError;
use hashbrown::HashMap;

use super::codec;
use super::format::BatchPart;
use super::frame::{FRAME_BYTES, Framing, Span, too_long};
use super::record::{self, BadContent, FrameEncoder};
use crate::event::system::{self, STREAM_BYTES_MAX};
use crate::journal::{Batch, JournalError, Mark, PurgeSet};
use crate::settings::NAME_BYTES_MAX;
use crate::{EventRef, Gap, GapReason, Name, Position, Version};

/// The most gaps in a frame.
const GAPS_MAX: usize = 1 << 12;
/// The most marks in a frame, and the number at which the frame is ended.
const MARKS_MAX: usize = 1 << 18;
const MARKS_ENOUGH: usize = 1 << 16;

#[derive(Debug, bincode::Encode, bincode::BorrowDecode)]
struct WireGap<'a> {
    first: u64,
    last: u64,
    count: u64,
    reason: WireReason<'a>,
}

#[derive(Debug, bincode::Encode, bincode::BorrowDecode)]
enum WireReason<'a> {
    Budget,
    Age,
    Limit(&'a str),
    Truncated(&'a str),
    Deleted(&'a str),
    Archived(&'a str),
    Lost,
    Several,
    Elsewhere,
    Snapshot,
}

#[derive(Debug, bincode::Encode, bincode::BorrowDecode)]
struct WireMark<'a> {
    /// Positions from the mark before, or from the first of the frame.
    step: u64,
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    version: u32,
    /// The index of the gap that covers its event.
    gap: u32,
}

impl<'a> From<&'a GapReason> for WireReason<'a> {
    fn from(reason: &'a GapReason) -> Self {
        match reason {
            GapReason::Budget => Self::Budget,
            GapReason::Age => Self::Age,
            GapReason::Limit(id) => Self::Limit(id),
            GapReason::Truncated(id) => Self::Truncated(id),
            GapReason::Deleted(id) => Self::Deleted(id),
            GapReason::Archived(archive) => Self::Archived(archive),
            GapReason::Lost => Self::Lost,
            GapReason::Several => Self::Several,
            GapReason::Elsewhere => Self::Elsewhere,
            GapReason::Snapshot => Self::Snapshot,
        }
    }
}

impl From<WireReason<'_>> for GapReason {
    fn from(wire: WireReason<'_>) -> Self {
        match wire {
            WireReason::Budget => Self::Budget,
            WireReason::Age => Self::Age,
            WireReason::Limit(id) => Self::Limit(id.into()),
            WireReason::Truncated(id) => Self::Truncated(id.into()),
            WireReason::Deleted(id) => Self::Deleted(id.into()),
            WireReason::Archived(archive) => Self::Archived(archive.into()),
            WireReason::Lost => Self::Lost,
            WireReason::Several => Self::Several,
            WireReason::Elsewhere => Self::Elsewhere,
            WireReason::Snapshot => Self::Snapshot,
        }
    }
}

/// Encodes the remaining events, the gaps and the marks into sparse frames.
#[derive(Debug)]
pub(super) struct SparseEncoder {
    framing: Framing,
    /// The synced position in the headers.
    synced: u64,
    /// The encoded frames.
    bytes: Vec<u8>,
    encoder: FrameEncoder,
    gaps: Vec<Gap>,
    /// The index of the gap of each reason.
    places: HashMap<GapReason, usize, foldhash::fast::RandomState>,
    /// The mark of the last dropped event of each aggregate, until an event needs it.
    latest: HashMap<Name, Mark, foldhash::fast::RandomState>,
    /// Marks that a later event needs: an event of the aggregate, or a system event about it.
    needed: Vec<Mark>,
    /// The first position of the frame, the next position, and the position after the last remaining event.
    first: u64,
    next: u64,
    after_event: u64,
}

impl SparseEncoder {
    /// Starts at position `first`.
    pub(super) fn new(framing: Framing, first: u64, synced: u64) -> Self {
        Self {
            framing,
            synced,
            bytes: Vec::new(),
            encoder: FrameEncoder::default(),
            gaps: Vec::new(),
            places: HashMap::default(),
            latest: HashMap::default(),
            needed: Vec::new(),
            first,
            next: first,
            after_event: first,
        }
    }

    /// Adds a batch without the purged events. Returns the number of remaining events that may be dropped later.
    pub(super) fn add(&mut self, batch: &Batch, purge: &PurgeSet) -> Result<u64, JournalError> {
        if self.is_full(batch.marks().len()) {
            self.end_frame()?;
        }
        for gap in batch.gaps() {
            self.add_gap(gap);
        }
        let mut marks = batch.marks().iter().cloned().peekable();
        let mut kept = 0;
        for event in batch.events() {
            while let Some(mark) = marks.next_if(|mark| mark.position < event.position()) {
                self.latest.insert(mark.aggregate_id.clone(), mark);
            }
            match purge.reason(event) {
                Some(reason) => self.leave_out(event, reason),
                None => kept += u64::from(self.keep(event)?),
            }
            self.next = event.position().0 + 1;
            // A gap may cover any part of the batch, so a batch with gaps is not split.
            if batch.gaps().is_empty() && self.is_full(0) {
                self.end_frame()?;
            }
        }
        self.latest.extend(marks.map(|mark| (mark.aggregate_id.clone(), mark)));
        self.next = batch.last_position().0 + 1;
        Ok(kept)
    }

    /// Ends the last frame, and returns all frames.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, JournalError> {
        self.end_frame()?;
        Ok(self.bytes)
    }

    /// The encoded frames, to be written and cleared.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Whether the frame should be ended before `marks` more marks are added.
    fn is_full(&self, marks: usize) -> bool {
        self.encoder.bytes() > FRAME_BYTES || self.latest.len() + self.needed.len() + marks > MARKS_ENOUGH
    }

    fn add_gap(&mut self, gap: &Gap) {
        let place = self.place_of(&gap.reason);
        let same = &mut self.gaps[place];
        if same.count == 0 {
            (same.first, same.last, same.count) = (gap.first, gap.last, gap.count);
        } else {
            same.merge(gap);
        }
    }

    /// The index of the gap of this reason, or of the gap for several reasons when the frame has too many gaps.
    fn place_of(&mut self, reason: &GapReason) -> usize {
        if let Some(place) = self.places.get(reason) {
            return *place;
        }
        if self.gaps.len() + 1 >= GAPS_MAX && *reason != GapReason::Several {
            return self.place_of(&GapReason::Several);
        }
        let place = self.gaps.len();
        let none = Gap {
            count: 0,
            ..Gap::at(self.first, reason.clone())
        };
        self.gaps.push(none);
        self.places.insert(reason.clone(), place);
        place
    }

    fn leave_out(&mut self, event: EventRef<'_>, reason: GapReason) {
        let mark = Mark::new(event, reason.clone());
        self.add_gap(&Gap::at(mark.position.0, reason));
        self.latest.insert(mark.aggregate_id.clone(), mark);
    }

    /// Adds an event. Returns whether it may be dropped later.
    fn keep(&mut self, event: EventRef<'_>) -> Result<bool, JournalError> {
        let position = event.position().0;
        let pushed = self.encoder.skip(position - self.after_event);
        pushed.and_then(|()| self.encoder.push(event)).map_err(|_| too_long())?;
        self.after_event = position + 1;
        // Decoding needs the version of its stream, and of the aggregate that it is about.
        let id = event.aggregate_id();
        for stream in [id, system::target(id)] {
            self.needed.extend(self.latest.remove(stream));
        }
        Ok(!event.is_change())
    }

    /// Ends the frame, unless it is empty.
    pub(super) fn end_frame(&mut self) -> Result<(), JournalError> {
        if self.next == self.first {
            return Ok(());
        }
        let mut content = Vec::new();
        let events = self.encode(&mut content).map_err(|_| too_long())?;
        let span = Span {
            first: self.first,
            last: self.next - 1,
            events,
            part: BatchPart::Whole,
            sparse: true,
            synced: self.synced,
        };
        let mut bytes = std::mem::take(&mut self.bytes);
        self.framing.push(&content, &span, &mut bytes)?;
        *self = Self {
            bytes,
            ..Self::new(self.framing, self.next, self.synced)
        };
        Ok(())
    }

    fn encode(&mut self, content: &mut Vec<u8>) -> Result<u32, EncodeError> {
        let mut marks = std::mem::take(&mut self.needed);
        marks.extend(self.latest.drain().map(|(_, mark)| mark));
        marks.sort_unstable_by_key(|mark| mark.position);
        // Every mark needs a gap, and gaps are encoded first.
        let places: Vec<_> = marks.iter().map(|mark| self.place_of(&mark.reason)).collect();
        codec::encode(&(self.gaps.len() as u32), content)?;
        for gap in &self.gaps {
            let wire = WireGap {
                first: gap.first.0,
                last: gap.last.0,
                count: gap.count,
                reason: (&gap.reason).into(),
            };
            codec::encode(&wire, content)?;
        }
        codec::encode(&(marks.len() as u32), content)?;
        let mut before = self.first;
        for (mark, place) in marks.iter().zip(places) {
            let wire = WireMark {
                step: mark.position.0 - before,
                aggregate_type: &mark.aggregate_type,
                aggregate_id: &mark.aggregate_id,
                version: u32::try_from(mark.version.0).unwrap_or(u32::MAX),
                gap: place as u32,
            };
            codec::encode(&wire, content)?;
            before = mark.position.0;
        }
        self.encoder.finish(content)
    }
}

/// Decodes the content of a sparse frame with the positions `first` to `last` into `batch`.
pub(super) fn decode(
    mut content: &[u8],
    events: u32,
    (first, last): (u64, u64),
    batch: &mut Batch,
) -> Result<(), BadContent> {
    let bytes = &mut content;
    let gaps = decode_gaps(bytes, first, last)?;
    let gone = last - first + 1 - u64::from(events);
    if gaps.iter().try_fold(0_u64, |sum, gap| sum.checked_add(gap.count)) != Some(gone) {
        return Err(BadContent::Value("the gaps do not match the number of missing events"));
    }
    decode_marks(bytes, &gaps, first, last, batch)?;
    for gap in gaps.into_iter().filter(|gap| gap.count > 0) {
        batch.push_gap(gap);
    }
    let mut next = first;
    let mut left = u64::from(events);
    let position = |bytes: &mut &[u8], batch: &mut Batch| {
        let skip: u64 = codec::decode(bytes)?;
        // The remaining positions must hold the remaining events.
        let position = next.checked_add(skip).filter(|position| last + 1 - left >= *position);
        let position = position.ok_or(BadContent::Value("an event lies after the last position"))?;
        skip_to(batch, next, position);
        (next, left) = (position + 1, left - 1);
        Ok(position)
    };
    record::decode_events(bytes, events, position, batch)?;
    skip_to(batch, next, last + 1);
    Ok(())
}

/// Skips the positions from `first` to `next`, exclusive.
fn skip_to(batch: &mut Batch, first: u64, next: u64) {
    if next > first {
        batch.skip(Position(first), Position(next - 1));
    }
}

fn decode_gaps(bytes: &mut &[u8], first: u64, last: u64) -> Result<Vec<Gap>, BadContent> {
    let count: u32 = codec::decode(bytes)?;
    if count as usize > GAPS_MAX {
        return Err(BadContent::Value("it has too many gaps"));
    }
    let mut gaps = Vec::new();
    for _ in 0..count {
        let wire: WireGap<'_> = codec::decode(bytes)?;
        if wire.first < first || wire.last < wire.first || wire.last > last {
            return Err(BadContent::Value("a gap exceeds the positions of the frame"));
        }
        let reason = GapReason::from(wire.reason);
        if let Some(name) = reason.name() {
            check_name(name, NAME_BYTES_MAX)?;
        }
        gaps.push(Gap {
            first: Position(wire.first),
            last: Position(wire.last),
            count: wire.count,
            reason,
        });
    }
    Ok(gaps)
}

fn decode_marks(bytes: &mut &[u8], gaps: &[Gap], first: u64, last: u64, batch: &mut Batch) -> Result<(), BadContent> {
    let count: u32 = codec::decode(bytes)?;
    if count as usize > MARKS_MAX {
        return Err(BadContent::Value("it has too many marks"));
    }
    let mut before = None;
    for _ in 0..count {
        let wire: WireMark<'_> = codec::decode(bytes)?;
        let from = before.unwrap_or(first);
        let position = from.checked_add(wire.step).filter(|position| *position <= last);
        let position = position.filter(|position| before.is_none_or(|before| before < *position));
        let gap = gaps.get(wire.gap as usize);
        let (Some(position), Some(gap)) = (position, gap) else {
            return Err(BadContent::Value("a mark has an invalid position or gap"));
        };
        check_name(wire.aggregate_type, NAME_BYTES_MAX)?;
        check_name(wire.aggregate_id, STREAM_BYTES_MAX)?;
        let (id, is_system) = (wire.aggregate_id, wire.aggregate_id.starts_with('$'));
        let is_changes = is_system && !system::is_snapshot_stream(id) && !system::is_command_stream(id);
        if wire.version == 0 || is_changes {
            return Err(BadContent::Value("a mark has no version, or its aggregate is invalid"));
        }
        batch.push_mark(Mark {
            position: Position(position),
            aggregate_type: wire.aggregate_type.into(),
            aggregate_id: wire.aggregate_id.into(),
            version: Version(u64::from(wire.version)),
            reason: gap.reason.clone(),
        });
        before = Some(position);
    }
    Ok(())
}

fn check_name(name: &str, bytes_max: usize) -> Result<(), BadContent> {
    if name.is_empty() || name.len() > bytes_max || name.contains('\0') {
        return Err(BadContent::Value("a name is empty or too long, or contains U+0000"));
    }
    Ok(())
}
