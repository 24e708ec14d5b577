//! A thousand events: what all have in records of one size, names and payloads in one buffer each.

use std::sync::Arc;

use uuid::Uuid;

use super::names::{self, Names, Part};
use crate::event::Kind;

/// Events in a full chunk.
pub(crate) const CHUNK_EVENTS: usize = 1024;

/// A payload from this size on has an allocation of its own, so that growing a chunk never copies it.
pub(crate) const LARGE_PAYLOAD_BYTES: usize = 16 * 1024;

/// A column that is mostly empty: nothing is kept until the first value that is not the default.
#[derive(Clone, Debug)]
struct Sparse<T>(Vec<T>);

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone + Default + PartialEq> Sparse<T> {
    fn set(&mut self, index: usize, value: T) {
        if value == T::default() {
            return;
        }
        self.0.resize(index, T::default());
        self.0.push(value);
    }

    fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index)
    }
}

/// The bytes of one event: metadata first, then data.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'a> {
    Small { metadata: &'a [u8], data: &'a [u8] },
    Large { both: &'a Arc<[u8]>, metadata_bytes: u32 },
}

/// Everything of one event but its names and bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) position: u64,
    pub(crate) version: u32,
    pub(crate) id: Uuid,
    pub(crate) time: i64,
    pub(crate) recorded: i64,
    /// The place of the event's kind in the chunk's table.
    pub(crate) kind: u16,
}

/// What a chunk keeps of every event: 48 bytes, so that appending or reading one touches a line or two of memory.
#[derive(Clone, Copy, Debug)]
struct Record {
    position: u64,
    time: i64,
    id: Uuid,
    version: u32,
    names_end: u32,
    payload_end: u32,
    kind: u16,
}

const _: () = assert!(size_of::<Record>() == 48);

/// Up to [`CHUNK_EVENTS`] events of one lane, in the order of their positions.
///
/// A chunk is filled under its lane's lock, then sealed and shared: readers of a sealed chunk need no lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    records: Vec<Record>,
    /// Microseconds from the event's time to its recording.
    delays: Sparse<i64>,
    metadata_bytes: Sparse<u32>,
    large: Sparse<Option<Arc<[u8]>>>,
    names: String,
    payload: Vec<u8>,
    kind_table: Vec<Arc<Kind>>,
    /// Whether any event may be the system's.
    has_system: bool,
}

impl Chunk {
    /// An empty chunk with room for as much as `like` holds.
    pub(crate) fn with_room_like(like: &Self) -> Self {
        Self {
            records: Vec::with_capacity(CHUNK_EVENTS),
            names: String::with_capacity(like.names.len() + like.names.len() / 32),
            payload: Vec::with_capacity(like.payload.len() + like.payload.len() / 32),
            ..Self::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of all names.
    pub(crate) fn names_bytes(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records.len() == CHUNK_EVENTS
    }

    /// Gives `kind` a place in the table, for [`Header::kind`]. A chunk has fewer events than places.
    pub(crate) fn add_kind(&mut self, kind: Arc<Kind>) -> u16 {
        self.has_system |= kind.event_type.starts_with('$');
        self.kind_table.push(kind);
        u16::try_from(self.kind_table.len() - 1).unwrap_or(u16::MAX)
    }

    pub(crate) fn push(&mut self, header: &Header, names: &Names<'_>, payload: Payload<'_>) {
        names.write(&mut self.names);
        self.push_record(header, payload);
    }

    /// Appends an event whose names are written already.
    fn push_record(&mut self, header: &Header, payload: Payload<'_>) {
        let index = self.records.len();
        self.push_payload(index, payload);
        self.delays.set(index, header.recorded.wrapping_sub(header.time));
        self.records.push(Record {
            position: header.position,
            time: header.time,
            id: header.id,
            version: header.version,
            names_end: end(self.names.len()),
            payload_end: end(self.payload.len()),
            kind: header.kind,
        });
    }

    fn push_payload(&mut self, index: usize, payload: Payload<'_>) {
        match payload {
            Payload::Small { metadata, data } => {
                self.payload.reserve(metadata.len() + data.len());
                self.payload.extend_from_slice(metadata);
                self.payload.extend_from_slice(data);
                self.metadata_bytes.set(index, end(metadata.len()));
            }
            Payload::Large { both, metadata_bytes } => {
                self.large.set(index, Some(Arc::clone(both)));
                self.metadata_bytes.set(index, metadata_bytes);
            }
        }
    }

    /// Appends a copy of event `index` of `other`; without names, metadata and data if `bytes` is [`Bytes::Drop`].
    pub(crate) fn push_copy(&mut self, other: &Self, index: usize, bytes: Bytes) {
        let kind = self.place_of_kind(other.kind(index));
        let header = Header {
            kind,
            ..other.header(index)
        };
        if bytes == Bytes::Keep {
            self.names.push_str(other.names(index));
        }
        let (metadata, data) = if bytes == Bytes::Keep {
            other.payload(index)
        } else {
            (&[][..], &[][..])
        };
        let payload = match other.large_payload(index).filter(|_| bytes == Bytes::Keep) {
            Some(both) => Payload::Large {
                both,
                metadata_bytes: end(metadata.len()),
            },
            None => Payload::Small { metadata, data },
        };
        self.push_record(&header, payload);
    }

    /// The place of the first event above a position.
    pub(crate) fn first_after(&self, position: u64) -> usize {
        self.records.partition_point(|record| record.position <= position)
    }

    /// A copy of the events from place `first` on, without metadata and data.
    pub(crate) fn outline(&self, first: usize) -> Self {
        let names_start = if first == 0 {
            0
        } else {
            self.records[first - 1].names_end
        };
        let outline = |record: &Record| Record {
            names_end: record.names_end - names_start,
            payload_end: 0,
            ..*record
        };
        Self {
            records: self.records[first..].iter().map(outline).collect(),
            names: self.names[names_start as usize..].to_owned(),
            kind_table: self.kind_table.clone(),
            has_system: self.has_system,
            ..Self::default()
        }
    }

    /// The place of `kind` in the table, given now if it has none.
    pub(crate) fn place_of_kind(&mut self, kind: &Arc<Kind>) -> u16 {
        match self.kind_table.iter().position(|known| Arc::ptr_eq(known, kind)) {
            Some(place) => u16::try_from(place).unwrap_or(u16::MAX),
            None => self.add_kind(Arc::clone(kind)),
        }
    }

    /// Gives back the room that is not used.
    pub(crate) fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.payload.shrink_to_fit();
        self.delays.0.shrink_to_fit();
        self.metadata_bytes.0.shrink_to_fit();
        self.large.0.shrink_to_fit();
        self.kind_table.shrink_to_fit();
    }

    /// Empties the chunk and keeps its room.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.delays.0.clear();
        self.metadata_bytes.0.clear();
        self.large.0.clear();
        self.names.clear();
        self.payload.clear();
        self.kind_table.clear();
        self.has_system = false;
    }

    fn header(&self, index: usize) -> Header {
        Header {
            position: self.position(index),
            version: self.version(index),
            id: self.id(index),
            time: self.time(index),
            recorded: self.recorded(index),
            kind: self.records[index].kind,
        }
    }

    #[inline]
    pub(crate) fn position(&self, index: usize) -> u64 {
        self.records[index].position
    }

    #[inline]
    pub(crate) fn time(&self, index: usize) -> i64 {
        self.records[index].time
    }

    #[inline]
    pub(crate) fn recorded(&self, index: usize) -> i64 {
        self.records[index]
            .time
            .wrapping_add(self.delays.get(index).copied().unwrap_or(0))
    }

    #[inline]
    pub(crate) fn id(&self, index: usize) -> Uuid {
        self.records[index].id
    }

    #[inline]
    pub(crate) fn version(&self, index: usize) -> u32 {
        self.records[index].version
    }

    #[inline]
    pub(crate) fn kind(&self, index: usize) -> &Arc<Kind> {
        &self.kind_table[usize::from(self.records[index].kind)]
    }

    #[inline]
    pub(crate) fn is_system(&self, index: usize) -> bool {
        self.has_system && self.kind(index).event_type.starts_with('$')
    }

    #[inline]
    pub(crate) fn names(&self, index: usize) -> &str {
        let start = if index == 0 {
            0
        } else {
            self.records[index - 1].names_end
        };
        &self.names[start as usize..self.records[index].names_end as usize]
    }

    pub(crate) fn name(&self, index: usize, part: Part) -> Option<&str> {
        names::read(self.names(index), part)
    }

    fn large_payload(&self, index: usize) -> Option<&Arc<[u8]>> {
        self.large.get(index).and_then(Option::as_ref)
    }

    /// Metadata and data.
    #[inline]
    pub(crate) fn payload(&self, index: usize) -> (&[u8], &[u8]) {
        let both = if let Some(both) = self.large_payload(index) {
            both
        } else {
            let start = if index == 0 {
                0
            } else {
                self.records[index - 1].payload_end
            };
            &self.payload[start as usize..self.records[index].payload_end as usize]
        };
        both.split_at(self.metadata_bytes.get(index).copied().unwrap_or(0) as usize)
    }

    /// Bytes of metadata and data.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.len() + self.large.0.iter().flatten().map(|both| both.len()).sum::<usize>()
    }

    /// Bytes taken from the system, payload included.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
            + self.delays.0.capacity() * 8
            + self.metadata_bytes.0.capacity() * 4
            + self.large.0.capacity() * size_of::<Option<Arc<[u8]>>>()
            + self.large.0.iter().flatten().map(|both| both.len()).sum::<usize>()
            + self.names.capacity()
            + self.payload.capacity()
            + self.kind_table.capacity() * 8
    }
}

/// What becomes of an event's names, metadata and data when it is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    Keep,
    Drop,
}

/// A length within a chunk. The limits of names and payloads keep every buffer of a chunk far below 4 GiB.
fn end(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
