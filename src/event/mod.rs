//! Events: new ones (`new.rs`), borrowed ones that are read in place, and owned ones.

pub(crate) mod chunk;
mod dictionary;
pub(crate) mod names;
mod new;
mod received;
mod schema;
pub(crate) mod system;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use self::chunk::Chunk;
pub use self::names::Tags;
use self::names::{PARTS, Part};
pub use self::new::{ContentType, IntoBytes, IntoText, MediaType, NewEvent};
pub(crate) use self::schema::{EventSchema, SchemaRef, Schemas};
use crate::{Position, StreamId, Timestamp, Version};

/// An event read in place, without copying it.
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    chunk: &'a Chunk,
    index: usize,
}

impl<'a> EventRef<'a> {
    pub(crate) fn new(chunk: &'a Chunk, index: usize) -> Self {
        Self { chunk, index }
    }

    /// The chunk of the event, and its index in the chunk.
    pub(crate) fn place(self) -> (&'a Chunk, usize) {
        (self.chunk, self.index)
    }

    /// Returns an owned copy.
    pub fn to_event(self) -> Event {
        let names = self.chunk.names_bytes(self.index);
        let (metadata, data) = self.chunk.payload(self.index);
        let mut name_bytes = [ABSENT; PARTS];
        let mut bytes_count = metadata.len() + data.len();
        for (bytes, name) in name_bytes.iter_mut().zip(&names) {
            if let Some(name) = name {
                *bytes = length(name.len());
                bytes_count += name.len();
            }
        }
        let mut bytes = Vec::with_capacity(bytes_count);
        for name in names.iter().flatten() {
            bytes.extend_from_slice(name);
        }
        bytes.extend_from_slice(metadata);
        bytes.extend_from_slice(data);
        Event {
            position: self.chunk.position(self.index),
            time: self.chunk.time(self.index),
            recorded: self.chunk.recorded(self.index),
            id: self.chunk.id(self.index),
            version: self.chunk.version(self.index),
            name_bytes,
            metadata_bytes: length(metadata.len()),
            kind: Arc::clone(self.chunk.kind(self.index)),
            bytes: bytes.into_boxed_slice(),
        }
    }

    #[inline]
    pub(crate) fn is_system(self) -> bool {
        self.chunk.is_system(self.index)
    }

    /// Whether the event is a snapshot.
    pub(crate) fn is_snapshot(self) -> bool {
        self.is_system() && self.event_type() == system::SNAPSHOTTED
    }

    /// Whether the event is a [change](system::is_change).
    pub(crate) fn is_change(self) -> bool {
        self.is_system() && system::is_change(self.event_type())
    }

    /// The fields that the event shares with others of its kind.
    #[cfg(any(feature = "file", feature = "postgres"))]
    pub(crate) fn kind_arc(self) -> &'a Arc<EventSchema> {
        self.chunk.kind(self.index)
    }

    fn kind(self) -> &'a EventSchema {
        self.chunk.kind(self.index)
    }

    fn name(self, part: Part) -> Option<&'a str> {
        self.chunk.name(self.index, part)
    }

    fn payload(self) -> (&'a [u8], &'a [u8]) {
        self.chunk.payload(self.index)
    }

    /// Bytes of the event's names.
    pub(crate) fn names_bytes(self) -> usize {
        self.all_names().into_iter().flatten().map(str::len).sum()
    }

    /// All names, in the order of [`Part`].
    pub(crate) fn all_names(self) -> [Option<&'a str>; PARTS] {
        self.chunk.names(self.index)
    }

    pub(crate) fn raw_position(self) -> u64 {
        self.chunk.position(self.index)
    }

    pub(crate) fn raw_version(self) -> u32 {
        self.chunk.version(self.index)
    }

    fn raw_id(self) -> Uuid {
        self.chunk.id(self.index)
    }

    pub(crate) fn raw_time(self) -> i64 {
        self.chunk.time(self.index)
    }

    pub(crate) fn raw_recorded(self) -> i64 {
        self.chunk.recorded(self.index)
    }
}

/// The length that stands for an absent name.
const ABSENT: u32 = u32::MAX;

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// An owned event: what happened, to which aggregate, and when.
///
/// It owns a copy of its data, and keeps no other memory alive.
#[derive(Clone)]
pub struct Event {
    position: u64,
    time: i64,
    recorded: i64,
    id: Uuid,
    version: u32,
    /// Bytes of each name; [`ABSENT`] for an absent name.
    name_bytes: [u32; PARTS],
    metadata_bytes: u32,
    kind: Arc<EventSchema>,
    /// Names, metadata and data, in one allocation.
    bytes: Box<[u8]>,
}

impl Event {
    fn kind(&self) -> &EventSchema {
        &self.kind
    }

    fn name(&self, part: Part) -> Option<&str> {
        let part = part as usize;
        let bytes = Some(self.name_bytes[part]).filter(|bytes| *bytes != ABSENT)? as usize;
        let start = self.names_bytes(part);
        str::from_utf8(&self.bytes[start..start + bytes]).ok()
    }

    /// Bytes of the first `parts` names.
    fn names_bytes(&self, parts: usize) -> usize {
        let names = self.name_bytes[..parts].iter().filter(|bytes| **bytes != ABSENT);
        names.map(|bytes| *bytes as usize).sum()
    }

    fn payload(&self) -> (&[u8], &[u8]) {
        let (_, payload) = self.bytes.split_at(self.names_bytes(PARTS));
        payload.split_at(self.metadata_bytes as usize)
    }

    fn raw_position(&self) -> u64 {
        self.position
    }

    fn raw_version(&self) -> u32 {
        self.version
    }

    fn raw_id(&self) -> Uuid {
        self.id
    }

    fn raw_time(&self) -> i64 {
        self.time
    }

    fn raw_recorded(&self) -> i64 {
        self.recorded
    }

    /// Returns a new event with the same id, time, names and bytes, without position and version. It borrows from this one.
    pub fn to_new(&self) -> NewEvent<'_> {
        NewEvent {
            id: Some(self.id),
            event_type: self.event_type().into(),
            schema_version: self.kind.schema_version,
            timestamp: Some(self.timestamp()),
            correlation_id: self.correlation_id().map(Cow::Borrowed),
            causation_id: self.causation_id().map(Cow::Borrowed),
            user_id: self.user_id().map(Cow::Borrowed),
            organization_id: self.organization_id().map(Cow::Borrowed),
            tags: self.tags().map(Cow::Borrowed).collect(),
            metadata_type: self.kind.metadata_type.clone(),
            metadata: self.metadata().into(),
            data_type: self.kind.data_type.clone(),
            data: self.data().into(),
        }
    }
}

/// The fields of an event, the same on [`Event`] and [`EventRef`].
macro_rules! fields {
    ([$($generics:tt)*] $type:ty, $self:ident: $receiver:ty, $text:ty, $bytes:ty, $tags:ty) => {
        impl $($generics)* $type {
            /// The position of the event in the log.
            #[inline]
            pub fn position($self: $receiver) -> Position {
                Position($self.raw_position())
            }

            /// The version of the event in its stream.
            #[inline]
            pub fn version($self: $receiver) -> Version {
                Version(u64::from($self.raw_version()))
            }

            /// The id of the event.
            pub fn id($self: $receiver) -> Uuid {
                $self.raw_id()
            }

            /// When the event happened.
            #[inline]
            pub fn timestamp($self: $receiver) -> Timestamp {
                Timestamp::from_micros($self.raw_time())
            }

            /// When the store recorded the event.
            pub fn recorded_at($self: $receiver) -> Timestamp {
                Timestamp::from_micros($self.raw_recorded())
            }

            /// The id of the event's aggregate.
            pub fn aggregate_id($self: $receiver) -> $text {
                $self.name(Part::AggregateId).unwrap_or_default()
            }

            /// The type of the event's aggregate.
            pub fn aggregate_type($self: $receiver) -> $text {
                &$self.kind().aggregate_type
            }

            /// The stream of the event.
            pub fn stream_id($self: $receiver) -> StreamId {
                StreamId::new($self.aggregate_type(), $self.aggregate_id())
            }

            /// The type of the event.
            pub fn event_type($self: $receiver) -> $text {
                &$self.kind().event_type
            }

            /// The version of the payload's schema.
            pub fn schema_version($self: $receiver) -> u32 {
                $self.kind().schema_version
            }

            /// The correlation id: the conversation of the event.
            pub fn correlation_id($self: $receiver) -> Option<$text> {
                $self.name(Part::Correlation)
            }

            /// The causation id: the event or command that caused the event.
            pub fn causation_id($self: $receiver) -> Option<$text> {
                $self.name(Part::Causation)
            }

            /// The id of the user who caused the event.
            pub fn user_id($self: $receiver) -> Option<$text> {
                $self.name(Part::User)
            }

            /// The id of the organization of the event.
            pub fn organization_id($self: $receiver) -> Option<$text> {
                $self.name(Part::Organization)
            }

            /// The tags of the event.
            pub fn tags($self: $receiver) -> $tags {
                Tags::new($self.name(Part::Tags).unwrap_or_default())
            }

            /// The content type of [`data`](Self::data).
            pub fn data_type($self: $receiver) -> ContentType {
                $self.kind().data_type.clone()
            }

            /// The content type of [`metadata`](Self::metadata).
            pub fn metadata_type($self: $receiver) -> ContentType {
                $self.kind().metadata_type.clone()
            }

            /// The data, byte for byte as appended.
            #[inline]
            pub fn data($self: $receiver) -> $bytes {
                $self.payload().1
            }

            /// The metadata, byte for byte as appended; without the fields that have their own method.
            pub fn metadata($self: $receiver) -> $bytes {
                $self.payload().0
            }

            /// Deserializes the data from JSON.
            ///
            /// # Errors
            ///
            /// [`Invalid`](crate::Error::Invalid), which names the event, if the data is not JSON or not a `T`.
            #[cfg(feature = "json")]
            pub fn json<T: serde::de::DeserializeOwned>($self: $receiver) -> Result<T, crate::Error> {
                crate::json::read($self.data(), || {
                    format!(
                        "{} (version {} of '{}', at position {})",
                        $self.event_type(),
                        $self.version(),
                        $self.aggregate_id(),
                        $self.position()
                    )
                })
            }
        }

        impl $($generics)* fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct("Event")
                    .field("position", &self.position().0)
                    .field("aggregate_id", &self.aggregate_id())
                    .field("version", &self.version().0)
                    .field("event_type", &self.event_type())
                    .field("timestamp", &format_args!("{}", self.timestamp()))
                    .field("data", &String::from_utf8_lossy(self.data()))
                    .finish_non_exhaustive()
            }
        }
    };
}

fields!([<'a>] EventRef<'a>, self: Self, &'a str, &'a [u8], Tags<'a>);
fields!([] Event, self: &Self, &str, &[u8], Tags<'_>);

impl PartialEq for Event {
    /// Two events are equal if all their fields are equal.
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position
            && self.version == other.version
            && self.id == other.id
            && self.time == other.time
            && self.recorded == other.recorded
            && self.name_bytes == other.name_bytes
            && self.metadata_bytes == other.metadata_bytes
            && self.bytes == other.bytes
            && self.kind == other.kind
    }
}

impl Eq for Event {}
