//! Batches: whole appends, written to a journal and returned by recovery.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::chunk::{Bytes, Chunk, Header, LARGE_PAYLOAD_BYTES, Payload};
use crate::event::names::{self, Names};
use crate::event::{EventSchema, SchemaRef, Schemas};
use crate::{EventRef, Gap, GapReason, Name, Position, Timestamp, Version};

/// The media type of [`ContentType::Json`].
const JSON: &str = "application/json";

/// Events in ascending order of positions: one or more whole appends.
///
/// A batch is serialized by serde with everything that a journal must return, in any format: see the example `directory_journal`. A format for
/// people gets data that are UTF-8 as a string. A batch from recovery may [skip](Self::skip) positions whose events are gone; its gaps and marks describe them then.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    chunks: Vec<Chunk>,
    events: usize,
    /// Positions that were skipped.
    skipped: u64,
    gaps: Vec<Gap>,
    marks: Vec<Mark>,
    first: u64,
    last: u64,
    bytes: usize,
    kinds: Schemas,
    /// Empty chunks, kept to reuse their allocations.
    spare: Vec<Chunk>,
}

/// One event, as a journal returns it. [`Record::new`] makes one whose other fields can then be set.
///
/// ```
/// use annals::journal::{Batch, Record};
/// use annals::{Position, Version};
///
/// let mut record = Record::new(Position(1), Version(1), uuid::Uuid::from_u128(1));
/// record.aggregate_type = "Order";
/// record.aggregate_id = "order-1";
/// record.event_type = "OrderPlaced";
/// record.data = br#"{"total": 250}"#;
/// let mut batch = Batch::new();
/// batch.push(&record);
/// assert_eq!(batch.len(), 1);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The position in the store.
    pub position: Position,
    /// The version in its stream.
    pub version: Version,
    /// The id of the event.
    pub id: Uuid,
    /// When it happened.
    pub timestamp: Timestamp,
    /// When the store recorded it.
    pub recorded_at: Timestamp,
    /// The id of its aggregate.
    pub aggregate_id: &'a str,
    /// The type of that aggregate.
    pub aggregate_type: &'a str,
    /// The type of the event.
    pub event_type: &'a str,
    /// The version of the payload's schema.
    pub schema_version: u32,
    /// The conversation it belongs to.
    pub correlation_id: Option<&'a str>,
    /// The event or command that caused it.
    pub causation_id: Option<&'a str>,
    /// The user who caused it.
    pub user_id: Option<&'a str>,
    /// The organization of the user.
    pub organization_id: Option<&'a str>,
    /// The tags that it can be found by.
    pub tags: &'a [&'a str],
    /// The content type of `metadata`.
    pub metadata_type: &'a str,
    /// The metadata.
    pub metadata: &'a [u8],
    /// The content type of `data`.
    pub data_type: &'a str,
    /// The data.
    pub data: &'a [u8],
}

impl Record<'_> {
    /// An event with these numbers, with empty names and data, at the time zero, and with content type JSON.
    pub fn new(position: Position, version: Version, id: Uuid) -> Self {
        Self {
            position,
            version,
            id,
            timestamp: Timestamp::default(),
            recorded_at: Timestamp::default(),
            aggregate_id: "",
            aggregate_type: "",
            event_type: "",
            schema_version: 1,
            correlation_id: None,
            causation_id: None,
            user_id: None,
            organization_id: None,
            tags: &[],
            metadata_type: JSON,
            metadata: b"",
            data_type: JSON,
            data: b"",
        }
    }
}

/// The version of an aggregate at an event that is gone.
///
/// Without marks, an aggregate without any remaining event would start at version 1 again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Mark {
    /// The position of the event.
    pub position: Position,
    /// The type of its aggregate.
    pub aggregate_type: Name,
    /// The id of its aggregate.
    pub aggregate_id: Name,
    /// The version of the event: the events of the aggregate up to this version are gone.
    pub version: Version,
    /// The reason.
    pub reason: GapReason,
}

impl Mark {
    /// The mark of an event that is gone for `reason`.
    pub fn new(event: EventRef<'_>, reason: GapReason) -> Self {
        Self {
            position: event.position(),
            aggregate_type: event.aggregate_type().into(),
            aggregate_id: event.aggregate_id().into(),
            version: event.version(),
            reason,
        }
    }
}

/// The fields of an event that its kind does not contain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unique<'a> {
    pub(crate) position: u64,
    pub(crate) version: u32,
    pub(crate) id: Uuid,
    pub(crate) time: i64,
    pub(crate) recorded: i64,
    pub(crate) names: Names<'a>,
    pub(crate) metadata: &'a [u8],
    pub(crate) data: &'a [u8],
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.events
    }

    /// Whether the batch has neither events nor skipped positions.
    pub fn is_empty(&self) -> bool {
        self.last == 0
    }

    /// The first position, skipped or not; 0 for an empty batch.
    pub fn first_position(&self) -> Position {
        Position(self.first)
    }

    /// The last position, skipped or not; 0 for an empty batch.
    pub fn last_position(&self) -> Position {
        Position(self.last)
    }

    /// The number of skipped positions.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether every position from the first to the last has an event or was skipped.
    pub fn is_whole(&self) -> bool {
        self.is_empty() || self.last - self.first + 1 == self.events as u64 + self.skipped
    }

    /// The number of events that may be dropped later: all except changes.
    #[cfg(feature = "file")]
    pub(crate) fn removable(&self) -> u64 {
        self.events().filter(|event| !event.is_change()).count() as u64
    }

    /// The reasons why the skipped events are gone.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The marks of the skipped events, in ascending order of positions.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Bytes of names, metadata and data.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The events, in the order of their positions.
    pub fn events(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.chunks
            .iter()
            .flat_map(|chunk| (0..chunk.len()).map(move |index| EventRef::new(chunk, index)))
    }

    /// Adds an event with a higher position than the last.
    ///
    /// # Panics
    ///
    /// When the position is not higher, or the version is 2^32 or more.
    pub fn push(&mut self, record: &Record<'_>) {
        let kind = self.kinds.shared(&SchemaRef {
            aggregate_type: record.aggregate_type,
            event_type: record.event_type,
            schema_version: record.schema_version,
            data_type: &record.data_type.into(),
            metadata_type: &record.metadata_type.into(),
        });
        let tags = names::write_tags(record.tags.iter().copied());
        let version = u32::try_from(record.version.0).unwrap_or(u32::MAX);
        assert!(u64::from(version) == record.version.0, "a version of 2^32 or more");
        let unique = Unique {
            position: record.position.0,
            version,
            id: record.id,
            time: record.timestamp.as_micros(),
            recorded: record.recorded_at.as_micros(),
            names: Names {
                aggregate_id: record.aggregate_id,
                correlation_id: record.correlation_id,
                causation_id: record.causation_id,
                user_id: record.user_id,
                organization_id: record.organization_id,
                tags: (!tags.is_empty()).then_some(&tags),
            },
            metadata: record.metadata,
            data: record.data,
        };
        self.push_unique(&kind, &unique);
    }

    /// Skips the positions from `first` to `last`: their events are gone.
    ///
    /// # Panics
    ///
    /// When `first` is not higher than the last position, or `last` is lower.
    pub fn skip(&mut self, first: Position, last: Position) {
        assert!(
            first.0 > self.last && last >= first,
            "positions {first} to {last} do not come after {}",
            self.last
        );
        if self.is_empty() {
            self.first = first.0;
        }
        self.last = last.0;
        self.skipped += last.0 - first.0 + 1;
    }

    /// Adds the reason for skipped positions, before or after they are skipped.
    pub fn push_gap(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    /// Adds the mark of a skipped event, before or after its position is skipped.
    ///
    /// # Panics
    ///
    /// When its position is not higher than that of the mark before, or its version is 2^32 or more.
    pub fn push_mark(&mut self, mark: Mark) {
        assert!(
            self.marks.last().is_none_or(|last| last.position < mark.position),
            "the mark at position {} does not come after the one before",
            mark.position
        );
        assert!(u32::try_from(mark.version.0).is_ok(), "a version of 2^32 or more");
        self.marks.push(mark);
    }

    /// The kind with these fields, which the events of a batch share.
    #[cfg(feature = "file")]
    pub(crate) fn kind(&mut self, fields: &SchemaRef<'_>) -> Arc<EventSchema> {
        self.kinds.shared(fields)
    }

    /// Adds an event of a kind that is shared between events.
    pub(crate) fn push_unique(&mut self, kind: &Arc<EventSchema>, unique: &Unique<'_>) {
        self.note(unique.position);
        let chunk = self.open_chunk();
        let header = Header {
            position: unique.position,
            version: unique.version,
            id: unique.id,
            time: unique.time,
            recorded: unique.recorded,
            kind: chunk.place_of_kind(kind),
        };
        let bytes = unique.metadata.len() + unique.data.len();
        if bytes < LARGE_PAYLOAD_BYTES {
            let payload = Payload::Small {
                metadata: unique.metadata,
                data: unique.data,
            };
            chunk.push(&header, &unique.names, payload);
        } else {
            let payload = Payload::Large {
                both: &[unique.metadata, unique.data].concat().into(),
                metadata_bytes: u32::try_from(unique.metadata.len()).unwrap_or(u32::MAX),
            };
            chunk.push(&header, &unique.names, payload);
        }
        let names = unique.names.parts().into_iter().flatten().map(str::len);
        self.bytes += bytes + names.sum::<usize>();
    }

    /// Adds a copy of an event with a higher position than the last.
    ///
    /// # Panics
    ///
    /// When the position is not higher.
    pub fn push_ref(&mut self, event: EventRef<'_>) {
        let (chunk, index) = event.place();
        self.push_copy(chunk, index);
    }

    /// Adds a copy of event `index` of `chunk`.
    pub(crate) fn push_copy(&mut self, chunk: &Chunk, index: usize) {
        self.note(chunk.position(index));
        let event = EventRef::new(chunk, index);
        self.bytes += event.names_bytes() + event.metadata().len() + event.data().len();
        self.open_chunk().push_copy(chunk, index, Bytes::Keep);
    }

    /// Clears the batch and keeps its allocations.
    pub(crate) fn clear(&mut self) {
        let mut spare = std::mem::take(&mut self.spare);
        spare.append(&mut self.chunks);
        spare.iter_mut().for_each(Chunk::clear);
        *self = Self {
            spare,
            chunks: std::mem::take(&mut self.chunks),
            kinds: std::mem::take(&mut self.kinds),
            ..Self::default()
        };
    }

    /// Returns the chunks of events, the gaps and the marks.
    pub(crate) fn into_parts(self) -> (Vec<Chunk>, Vec<Gap>, Vec<Mark>) {
        (self.chunks, self.gaps, self.marks)
    }

    fn note(&mut self, position: u64) {
        assert!(
            position > self.last,
            "position {position} does not come after {}",
            self.last
        );
        if self.is_empty() {
            self.first = position;
        }
        self.last = position;
        self.events += 1;
    }

    #[expect(clippy::expect_used, reason = "a chunk was pushed if there was none with room")]
    fn open_chunk(&mut self) -> &mut Chunk {
        if self.chunks.last().is_none_or(Chunk::is_full) {
            let spare = self.spare.pop();
            let like_last = || {
                self.chunks
                    .last_mut()
                    .map_or_else(Chunk::default, Chunk::with_room_like)
            };
            let next = spare.unwrap_or_else(like_last);
            self.chunks.push(next);
        }
        self.chunks.last_mut().expect("there is a chunk with room")
    }
}
