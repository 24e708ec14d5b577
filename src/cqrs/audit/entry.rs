//! The events of the chain, and the bytes of an event that are hashed.

use uuid::Uuid;

use crate::{ContentType, Event, EventRef, Position, Timestamp, Version};

/// The hash of an event.
pub(super) type Leaf = [u8; 32];

/// The version of these bytes, and what they are: a leaf, never the bytes of a block.
const LEAF: &[u8; 4] = b"AEv1";

/// The length that stands for an absent name.
const ABSENT: u32 = u32::MAX;

/// All fields of a stored event, as every journal returns them. The chain hashes each of them.
///
/// ```
/// use annals::{Expected, NewEvent, Position, Store, StreamId};
/// use annals::cqrs::audit::ChainEntry;
///
/// let store = Store::in_memory();
/// store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced")])?;
/// let placed = store.event_at(Position(1)).unwrap();
/// assert_eq!(ChainEntry::from(&placed).event_type, "OrderPlaced");
/// # Ok::<(), annals::Error>(())
/// ```
///
/// Exhaustive: the fields are what the hash covers, and a new field would be a new format.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainEntry<'a> {
    /// The position in the log.
    pub position: Position,
    /// The version in the stream.
    pub version: Version,
    /// The id of the event.
    pub id: Uuid,
    /// When the event happened.
    pub timestamp: Timestamp,
    /// When the store recorded it.
    pub recorded_at: Timestamp,
    /// The type of the aggregate.
    pub aggregate_type: &'a str,
    /// The id of the aggregate.
    pub aggregate_id: &'a str,
    /// The type of the event.
    pub event_type: &'a str,
    /// The version of the payload's schema.
    pub schema_version: u32,
    /// The user.
    pub user_id: Option<&'a str>,
    /// The organization.
    pub organization_id: Option<&'a str>,
    /// The correlation id.
    pub correlation_id: Option<&'a str>,
    /// The causation id.
    pub causation_id: Option<&'a str>,
    /// The tags.
    pub tags: Vec<&'a str>,
    /// The content type of the metadata.
    pub metadata_type: ContentType,
    /// The metadata.
    pub metadata: &'a [u8],
    /// The content type of the data.
    pub data_type: ContentType,
    /// The data.
    pub data: &'a [u8],
}

macro_rules! entry_of {
    ($event:ident) => {
        ChainEntry {
            position: $event.position(),
            version: $event.version(),
            id: $event.id(),
            timestamp: $event.timestamp(),
            recorded_at: $event.recorded_at(),
            aggregate_type: $event.aggregate_type(),
            aggregate_id: $event.aggregate_id(),
            event_type: $event.event_type(),
            schema_version: $event.schema_version(),
            user_id: $event.user_id(),
            organization_id: $event.organization_id(),
            correlation_id: $event.correlation_id(),
            causation_id: $event.causation_id(),
            tags: $event.tags().collect(),
            metadata_type: $event.metadata_type(),
            metadata: $event.metadata(),
            data_type: $event.data_type(),
            data: $event.data(),
        }
    };
}

impl<'a> From<EventRef<'a>> for ChainEntry<'a> {
    #[inline]
    fn from(event: EventRef<'a>) -> Self {
        entry_of!(event)
    }
}

impl<'a> From<&'a Event> for ChainEntry<'a> {
    fn from(event: &'a Event) -> Self {
        entry_of!(event)
    }
}

impl ChainEntry<'_> {
    /// Whether the chain contains the event.
    ///
    /// It does not contain snapshots: the store drops each when a later one replaces it, and a snapshot is derived from events. It does not contain
    /// `$archived` either: a store with the archive attached has the archived events in its place.
    pub fn is_chained(&self) -> bool {
        !matches!(self.event_type, "$snapshotted" | "$archived")
    }

    /// Writes the bytes that are hashed. Every field of variable length has its length before it, so no two events have the same bytes.
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(LEAF);
        out.extend_from_slice(&self.position.0.to_le_bytes());
        out.extend_from_slice(&self.version.0.to_le_bytes());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.timestamp.as_micros().to_le_bytes());
        out.extend_from_slice(&self.recorded_at.as_micros().to_le_bytes());
        out.extend_from_slice(&self.schema_version.to_le_bytes());
        write_type(&self.data_type, out);
        write_type(&self.metadata_type, out);
        for text in [self.aggregate_type, self.aggregate_id, self.event_type] {
            write_bytes(text.as_bytes(), out);
        }
        for name in [
            self.user_id,
            self.organization_id,
            self.correlation_id,
            self.causation_id,
        ] {
            match name {
                Some(name) => write_bytes(name.as_bytes(), out),
                None => out.extend_from_slice(&ABSENT.to_le_bytes()),
            }
        }
        out.extend_from_slice(&length(self.tags.len()));
        self.tags.iter().for_each(|tag| write_bytes(tag.as_bytes(), out));
        write_bytes(self.metadata, out);
        write_bytes(self.data, out);
    }

    /// The hash of the event. `buffer` is room to write in.
    #[inline]
    pub(super) fn leaf(&self, buffer: &mut Vec<u8>) -> Leaf {
        buffer.clear();
        self.write(buffer);
        *blake3::hash(buffer).as_bytes()
    }
}

#[inline]
fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&length(bytes.len()));
    out.extend_from_slice(bytes);
}

/// One byte for the types that nearly all events have: an event then fits into fewer blocks of the hash. The name decides, since journals return
/// `Json` for an `Other` with its name.
fn write_type(content_type: &ContentType, out: &mut Vec<u8>) {
    let name = content_type.as_str();
    if name == ContentType::Json.as_str() {
        out.push(0);
    } else if name == ContentType::Bytes.as_str() {
        out.push(1);
    } else {
        out.push(2);
        write_bytes(name.as_bytes(), out);
    }
}

/// Payloads are shorter than 4 GiB.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(ABSENT).to_le_bytes()
}
