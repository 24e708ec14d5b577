//! A chunk of up to 2,048 events: records of one size, a dictionary of names, and payloads in blocks.

use std::sync::Arc;

use uuid::Uuid;

use super::dictionary::{Code, Dictionary};
use super::names::{NameHash, Names, PARTS, Part};
use crate::event::{EventRef, EventSchema};

/// Events in a full chunk.
pub(crate) const CHUNK_EVENTS: usize = 2048;

// Every name of every event can have its own code.
const _: () = assert!(CHUNK_EVENTS * PARTS < u16::MAX as usize);

/// A payload of at least this size has its own allocation, so that growing a block never copies it.
pub(crate) const LARGE_PAYLOAD_BYTES: usize = 16 * 1024;

/// Bytes of a block of payloads. Below the size for which the allocator makes a system call each time, 128 KiB in glibc.
const BLOCK_BYTES: usize = 64 * 1024;

/// A chunk with more blocks than this is full, whatever its number of events.
const BLOCKS: usize = 16;

/// A chunk with this many bytes of names is full, whatever its number of events: it bounds the time to grow a dictionary.
const NAMES_BYTES: usize = 4 << 20;

/// A column that is mostly empty: it stores nothing before the first value that is not the default.
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

/// The fields of an event other than its names and payload.
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

/// The fixed-size part of an event, so that appending or reading one touches one or two cache lines.
#[derive(Clone, Copy, Debug)]
struct Record {
    position: u64,
    time: i64,
    id: Uuid,
    version: u32,
    /// The number of a block times [`BLOCK_BYTES`], plus the offset in it.
    payload_start: u32,
    payload_bytes: u16,
    kind: u16,
    names: [Code; PARTS],
}

const _: () = assert!(size_of::<Record>() == 56);

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
    names: Dictionary,
    blocks: Vec<Vec<u8>>,
    kind_table: Vec<Arc<EventSchema>>,
    /// Whether any event may be a system event.
    has_system: bool,
    /// Number of rewrites: codes and places of kinds are valid for one revision.
    revision: u32,
}

impl Chunk {
    /// Creates an empty chunk with the capacity that the full chunk `like` uses.
    pub(crate) fn with_room_like(like: &mut Self) -> Self {
        let block = Vec::with_capacity(like.payload_bytes().min(BLOCK_BYTES));
        Self {
            records: Vec::with_capacity(CHUNK_EVENTS),
            names: Dictionary::with_room_like(&mut like.names),
            blocks: vec![block],
            kind_table: Vec::with_capacity(like.kind_table.len()),
            ..Self::default()
        }
    }

    /// Creates an empty chunk for a rewrite of `of`.
    pub(crate) fn next_revision(of: &Self) -> Self {
        Self {
            revision: of.revision + 1,
            ..Self::default()
        }
    }

    pub(crate) fn revision(&self) -> u32 {
        self.revision
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records.len() == CHUNK_EVENTS || self.blocks.len() > BLOCKS || self.names.text_bytes() >= NAMES_BYTES
    }

    /// Adds `kind` to the table and returns its place, for [`Header::kind`]. A chunk has fewer events than places.
    pub(crate) fn add_kind(&mut self, kind: Arc<EventSchema>) -> u16 {
        self.has_system |= kind.event_type.starts_with('$');
        self.kind_table.push(kind);
        u16::try_from(self.kind_table.len() - 1).unwrap_or(u16::MAX)
    }

    /// The kind at a place of the table. `place` may be any number.
    #[inline]
    pub(crate) fn kind_at(&self, place: u16) -> Option<&EventSchema> {
        self.kind_table.get(usize::from(place)).map(AsRef::as_ref)
    }

    /// Appends an event.
    pub(crate) fn push(&mut self, header: &Header, names: &Names<'_>, payload: Payload<'_>) {
        self.push_hashed(header, names, &names.hashes(), payload);
    }

    /// Appends an event whose names have these hashes.
    #[inline]
    pub(crate) fn push_hashed(
        &mut self,
        header: &Header,
        names: &Names<'_>,
        hashes: &[u32; PARTS],
        payload: Payload<'_>,
    ) {
        let codes = self.intern(names.parts(), hashes);
        self.push_record(header, codes, payload);
    }

    #[inline]
    fn intern(&mut self, names: [Option<&str>; PARTS], hashes: &[u32; PARTS]) -> [Code; PARTS] {
        let mut codes = [Code::NONE; PARTS];
        for ((code, name), hash) in codes.iter_mut().zip(names).zip(hashes) {
            if let Some(name) = name {
                *code = self.names.intern(name, *hash);
            }
        }
        codes
    }

    /// Appends an event whose names have codes.
    fn push_record(&mut self, header: &Header, names: [Code; PARTS], payload: Payload<'_>) {
        let index = self.records.len();
        let (payload_start, payload_bytes) = self.push_payload(index, payload);
        self.delays.set(index, header.recorded.wrapping_sub(header.time));
        self.records.push(Record {
            position: header.position,
            time: header.time,
            id: header.id,
            version: header.version,
            payload_start,
            payload_bytes,
            kind: header.kind,
            names,
        });
    }

    /// Appends metadata and data; returns their start and their length in the blocks.
    fn push_payload(&mut self, index: usize, payload: Payload<'_>) -> (u32, u16) {
        match payload {
            Payload::Small { metadata, data } => {
                let bytes = metadata.len() + data.len();
                assert!(
                    bytes < LARGE_PAYLOAD_BYTES,
                    "a payload of {bytes} bytes needs an allocation of its own"
                );
                self.metadata_bytes.set(index, length(metadata.len()));
                let number = self.block_with_room(bytes);
                let block = &mut self.blocks[number];
                let start = length(number * BLOCK_BYTES + block.len());
                block.extend_from_slice(metadata);
                block.extend_from_slice(data);
                (start, u16::try_from(bytes).unwrap_or(u16::MAX))
            }
            Payload::Large { both, metadata_bytes } => {
                self.large.set(index, Some(Arc::clone(both)));
                self.metadata_bytes.set(index, metadata_bytes);
                (0, 0)
            }
        }
    }

    /// The number of a block with room for `bytes`, which is less than [`LARGE_PAYLOAD_BYTES`].
    #[inline]
    fn block_with_room(&mut self, bytes: usize) -> usize {
        if self.blocks.last().is_none_or(|block| block.len() + bytes > BLOCK_BYTES) {
            // The first block of a small store grows as it fills.
            let room = if self.blocks.is_empty() { 0 } else { BLOCK_BYTES };
            self.blocks.push(Vec::with_capacity(room));
        }
        self.blocks.len() - 1
    }

    /// Appends a copy of event `index` of `other`; without names, metadata and data if `bytes` is [`Bytes::Drop`].
    pub(crate) fn push_copy(&mut self, other: &Self, index: usize, bytes: Bytes) {
        let kind = self.place_of_kind(other.kind(index));
        let header = Header {
            kind,
            ..other.header(index)
        };
        if bytes == Bytes::Drop {
            let payload = Payload::Small {
                metadata: &[],
                data: &[],
            };
            self.push_record(&header, [Code::NONE; PARTS], payload);
            return;
        }
        let names = other.names(index);
        let hashes = names.map(|name| name.map_or(0, |name| NameHash::of(name).hash()));
        let names = self.intern(names, &hashes);
        self.push_record(&header, names, other.payload_to_copy(index));
    }

    /// Appends a copy of event `index` of `other`, for a chunk that is cleared soon. Looks no name up: a name is added again unless event
    /// `before` of `other`, which was copied last, has it.
    pub(crate) fn push_short_lived(&mut self, other: &Self, index: usize, before: Option<usize>) {
        let header = Header {
            kind: self.place_of_kind(other.kind(index)),
            ..other.header(index)
        };
        let known = before.map_or([Code::NONE; PARTS], |before| other.records[before].names);
        let mut codes = self.records.last().map_or([Code::NONE; PARTS], |last| last.names);
        for ((code, from), known) in codes.iter_mut().zip(other.records[index].names).zip(known) {
            if from != known {
                *code = self.names.push_name(&other.names, from);
            }
        }
        self.push_record(&header, codes, other.payload_to_copy(index));
    }

    /// The place of `kind` in the table, to which it is added if it is new.
    pub(crate) fn place_of_kind(&mut self, kind: &Arc<EventSchema>) -> u16 {
        match self.kind_table.iter().position(|known| Arc::ptr_eq(known, kind)) {
            Some(place) => u16::try_from(place).unwrap_or(u16::MAX),
            None => self.add_kind(Arc::clone(kind)),
        }
    }

    /// Releases unused capacity. Called when no event will be added soon.
    pub(crate) fn shrink(&mut self) {
        self.records.shrink_to_fit();
        self.names.shrink();
        if let Some(last) = self.blocks.last_mut() {
            last.shrink_to_fit();
        }
        self.blocks.shrink_to_fit();
        self.delays.0.shrink_to_fit();
        self.metadata_bytes.0.shrink_to_fit();
        self.large.0.shrink_to_fit();
        self.kind_table.shrink_to_fit();
    }

    /// Empties the chunk and keeps its capacity.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.delays.0.clear();
        self.metadata_bytes.0.clear();
        self.large.0.clear();
        self.names.clear();
        self.blocks.truncate(1);
        self.blocks.iter_mut().for_each(Vec::clear);
        self.kind_table.clear();
        self.has_system = false;
    }

    /// The event at a place; `None` after the last one.
    #[inline]
    pub(crate) fn event(&self, index: usize) -> Option<EventRef<'_>> {
        (index < self.len()).then(|| EventRef::new(self, index))
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
    pub(crate) fn kind(&self, index: usize) -> &Arc<EventSchema> {
        &self.kind_table[usize::from(self.records[index].kind)]
    }

    /// The place of an event's kind in the table.
    #[inline]
    pub(crate) fn kind_place(&self, index: usize) -> usize {
        usize::from(self.records[index].kind)
    }

    /// Whether any event may be a system event.
    pub(crate) fn has_system(&self) -> bool {
        self.has_system
    }

    #[inline]
    pub(crate) fn is_system(&self, index: usize) -> bool {
        self.has_system && self.kind(index).event_type.starts_with('$')
    }

    /// The names of an event, in the order of [`Part`].
    #[inline]
    pub(crate) fn names(&self, index: usize) -> [Option<&str>; PARTS] {
        self.records[index].names.map(|code| self.names.get(code))
    }

    /// The bytes of the names of an event, in the order of [`Part`].
    #[inline]
    pub(crate) fn names_bytes(&self, index: usize) -> [Option<&[u8]>; PARTS] {
        let codes = &self.records[index].names;
        let mut names = [None; PARTS];
        for (name, code) in names.iter_mut().zip(codes) {
            *name = self.names.bytes(*code);
        }
        names
    }

    #[inline]
    pub(crate) fn name(&self, index: usize, part: Part) -> Option<&str> {
        self.names.get(self.code(index, part))
    }

    /// The code of a name of an event.
    #[inline]
    pub(crate) fn code(&self, index: usize, part: Part) -> Code {
        self.records[index].names[part as usize]
    }

    fn large_payload(&self, index: usize) -> Option<&Arc<[u8]>> {
        self.large.get(index).and_then(Option::as_ref)
    }

    /// Metadata and data.
    #[inline]
    pub(crate) fn payload(&self, index: usize) -> (&[u8], &[u8]) {
        let both = match self.large_payload(index) {
            Some(both) => both,
            None => self.small_payload(index),
        };
        both.split_at(self.metadata_bytes.get(index).copied().unwrap_or(0) as usize)
    }

    fn payload_to_copy(&self, index: usize) -> Payload<'_> {
        let (metadata, data) = self.payload(index);
        match self.large_payload(index) {
            Some(both) => Payload::Large {
                both,
                metadata_bytes: length(metadata.len()),
            },
            None => Payload::Small { metadata, data },
        }
    }

    #[inline]
    fn small_payload(&self, index: usize) -> &[u8] {
        let record = &self.records[index];
        let (number, start) = (
            record.payload_start as usize / BLOCK_BYTES,
            record.payload_start as usize % BLOCK_BYTES,
        );
        let block = self.blocks.get(number).map_or(&[][..], Vec::as_slice);
        &block[start..start + usize::from(record.payload_bytes)]
    }

    /// Bytes of metadata and data.
    pub(crate) fn payload_bytes(&self) -> usize {
        let large = self.large.0.iter().flatten().map(|both| both.len());
        self.blocks.iter().map(Vec::len).chain(large).sum()
    }

    /// Bytes of names, metadata and data, without payloads that have their own allocation.
    pub(crate) fn bytes(&self) -> usize {
        self.names.text_bytes() + self.blocks.iter().map(Vec::len).sum::<usize>()
    }

    /// Allocated bytes, including payloads.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
            + self.delays.0.capacity() * 8
            + self.metadata_bytes.0.capacity() * 4
            + self.large.0.capacity() * size_of::<Option<Arc<[u8]>>>()
            + self.large.0.iter().flatten().map(|both| both.len()).sum::<usize>()
            + self.names.memory_bytes()
            + self.blocks.capacity() * size_of::<Vec<u8>>()
            + self.blocks.iter().map(Vec::capacity).sum::<usize>()
            + self.kind_table.capacity() * 8
    }
}

/// Whether a copy of an event has its names, metadata and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    Keep,
    Drop,
}

/// A length within a chunk. The limits of payloads keep every buffer of a chunk far below 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
