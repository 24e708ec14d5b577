//! One lock's worth of the store: the streams that hash to it, and their events in the order they came.

use std::sync::Arc;

use hashbrown::HashTable;

use super::ascending::Ascending;
use super::chunk::{Bytes, CHUNK_EVENTS, Chunk, Header, Payload};
use super::directory::PageCache;
use super::draft::Stamp;
use super::names::{self, Names};
use super::slab::Slab;
use crate::event::Kind;
use crate::{Error, EventRef, Name, NewEvent, Result, StreamId, StreamLimits};

const CHUNK: u64 = CHUNK_EVENTS as u64;

/// What a lock guards. The shard itself is shared with forks until one of them writes to it.
#[derive(Debug, Default)]
pub(crate) struct Guarded {
    shard: Arc<Shard>,
    pub(crate) pages: PageCache,
}

impl Guarded {
    pub(crate) fn new(shard: Arc<Shard>) -> Self {
        Self {
            shard,
            pages: PageCache::default(),
        }
    }

    /// The shard, to share with a fork.
    pub(crate) fn share(&self) -> Arc<Shard> {
        Arc::clone(&self.shard)
    }

    /// The shard, to write to; a copy of its own is made first if a fork shares it.
    pub(crate) fn write(&mut self) -> (&mut Shard, &mut PageCache) {
        (Arc::make_mut(&mut self.shard), &mut self.pages)
    }
}

impl std::ops::Deref for Guarded {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.shard
    }
}

/// What a stream keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) limits: StreamLimits,
    /// When its first event will be too old, if that is noted: microseconds since 1970.
    pub(crate) due: Option<i64>,
}

/// One aggregate's run of events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) id: Name,
    /// The place of its type in [`Shard::types`].
    aggregate_type: u32,
    /// The version of the last event.
    pub(crate) version: u32,
    /// Events up to this version are gone.
    pub(crate) dropped_to: u32,
    pub(crate) tombstoned: bool,
    pub(crate) deleted: bool,
    pub(crate) policy: Option<Box<Policy>>,
    /// Where the latest events are; the last of them has version `version`.
    slots: Ascending,
}

impl Stream {
    /// The version of the first slot that is listed.
    fn first_listed(&self) -> u64 {
        u64::from(self.version) + 1 - self.slots.len()
    }

    /// Where the events from version `from` on are, with their versions.
    pub(crate) fn slots_from(&self, from: u64) -> impl Iterator<Item = u64> {
        let from = from.max(u64::from(self.dropped_to) + 1);
        self.slots.from_nth(from.saturating_sub(self.first_listed()))
    }

    pub(crate) fn live_events(&self) -> u64 {
        u64::from(self.version - self.dropped_to)
    }

    pub(crate) fn limits(&self) -> StreamLimits {
        self.policy.as_ref().map(|policy| policy.limits).unwrap_or_default()
    }

    pub(crate) fn exists(&self) -> bool {
        self.version > 0 && !self.deleted
    }
}

/// Which events of a chunk are dropped.
#[derive(Clone, Debug)]
struct Dropped {
    bits: [u64; CHUNK_EVENTS / 64],
    count: usize,
}

impl Dropped {
    fn none() -> Self {
        Self {
            bits: [0; CHUNK_EVENTS / 64],
            count: 0,
        }
    }

    fn contains(&self, index: usize) -> bool {
        self.bits[index / 64] & (1 << (index % 64)) != 0
    }

    /// Whether it was not in before.
    fn insert(&mut self, index: usize) -> bool {
        let new = !self.contains(index);
        self.bits[index / 64] |= 1 << (index % 64);
        self.count += usize::from(new);
        new
    }
}

/// A full chunk, which no one changes any more.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    /// `None` when all its events are dropped.
    chunk: Option<Arc<Chunk>>,
    dropped: Option<Arc<Dropped>>,
}

impl Sealed {
    #[inline]
    fn event(&self, index: usize) -> Option<EventRef<'_>> {
        if self.dropped.as_ref().is_some_and(|dropped| dropped.contains(index)) {
            return None;
        }
        Some(EventRef::new(self.chunk.as_deref()?, index))
    }
}

/// The sealed chunks of a shard at one moment, to read without its lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    sealed: Arc<Vec<Sealed>>,
    first_chunk: u64,
}

impl Snapshot {
    /// The first slot that is not sealed.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        (self.first_chunk + self.sealed.len() as u64) * CHUNK
    }

    /// The event of a sealed slot, unless it was dropped.
    #[inline]
    pub(crate) fn sealed_event(&self, slot: u64) -> Option<EventRef<'_>> {
        let place = (slot / CHUNK).checked_sub(self.first_chunk)?;
        self.sealed.get(place as usize)?.event((slot % CHUNK) as usize)
    }
}

#[derive(Clone, Debug)]
struct KnownKind {
    kind: Arc<Kind>,
    hash: u64,
    /// The chunk in whose table it has `place`.
    chunk: u64,
    place: u16,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Shard {
    /// Half of the hash of an id, and its place in `streams`.
    ids: HashTable<(u32, u32)>,
    streams: Slab<Stream>,
    types: Vec<Name>,
    kinds: HashTable<KnownKind>,
    sealed: Arc<Vec<Sealed>>,
    first_chunk: u64,
    open: Chunk,
    open_dropped: Option<Box<Dropped>>,
    dropped_events: u64,
}

/// Spreads half a hash over the bits that the table looks at.
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The half of an id's hash that the table keeps; the other half chose the shard.
fn half(hash: u64) -> u32 {
    hash as u32
}

impl Shard {
    // Streams.

    pub(crate) fn find(&self, hash: u64, id: &str) -> Option<u32> {
        let half = half(hash);
        let found = self
            .ids
            .find(spread(half), |known| known.0 == half && self.streams[known.1].id == *id);
        found.map(|known| known.1)
    }

    pub(crate) fn stream(&self, key: u32) -> &Stream {
        &self.streams[key]
    }

    pub(crate) fn stream_mut(&mut self, key: u32) -> &mut Stream {
        &mut self.streams[key]
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(|stream| stream.version > 0)
    }

    pub(crate) fn stream_id(&self, stream: &Stream) -> StreamId {
        StreamId::new(self.types[stream.aggregate_type as usize].clone(), stream.id.clone())
    }

    /// # Errors
    ///
    /// [`Error::Invalid`] when the stream is of another type.
    pub(crate) fn check_type(&self, stream: &Stream, id: &StreamId) -> Result<()> {
        let known = &self.types[stream.aggregate_type as usize];
        if *known == id.aggregate_type {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "aggregate '{}' is of type '{known}', not '{}': an id belongs to one type",
            id.aggregate_id, id.aggregate_type
        )))
    }

    pub(crate) fn create(&mut self, hash: u64, id: &StreamId) -> u32 {
        let aggregate_type = self.place_of_type(&id.aggregate_type);
        let stream = Stream {
            id: id.aggregate_id.clone(),
            aggregate_type,
            ..Stream::default()
        };
        let key = self.streams.insert(stream);
        self.ids
            .insert_unique(spread(half(hash)), (half(hash), key), |known| spread(known.0));
        key
    }

    fn place_of_type(&mut self, name: &Name) -> u32 {
        let place = self.types.iter().position(|known| known == name).unwrap_or_else(|| {
            self.types.push(name.clone());
            self.types.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    // Events.

    /// The slot that the next event will have.
    pub(crate) fn next_slot(&self) -> u64 {
        (self.first_chunk + self.sealed.len() as u64) * CHUNK + self.open.len() as u64
    }

    /// Makes room before positions are reserved, so that nothing large happens between reserving and publishing.
    pub(crate) fn make_room(&mut self) {
        if self.open.is_full() {
            self.seal();
        }
    }

    /// Appends `event` to the stream `key`.
    pub(crate) fn push(&mut self, key: u32, event: &NewEvent, stamp: &Stamp, position: u64) {
        self.make_room();
        let slot = self.next_slot();
        let kind = self.place_of_kind(key, event, stamp.kind_hash);
        let stream = &mut self.streams[key];
        stream.version += 1;
        stream.deleted = false;
        stream.slots.push(slot);
        let header = Header {
            position,
            version: stream.version,
            id: stamp.id,
            time: stamp.time,
            recorded: stamp.recorded,
            kind,
        };
        let names = Names {
            aggregate_id: &stream.id,
            correlation_id: event.correlation_id.as_deref(),
            causation_id: event.causation_id.as_deref(),
            user_id: event.user_id.as_deref(),
            organization_id: event.organization_id.as_deref(),
            tags: stamp.tags.as_deref(),
        };
        self.open.push(&header, &names, stamp.payload(event));
    }

    fn place_of_kind(&mut self, stream: u32, event: &NewEvent, hash: u64) -> u16 {
        let chunk = self.first_chunk + self.sealed.len() as u64;
        let aggregate_type = &self.types[self.streams[stream].aggregate_type as usize];
        let found = self.kinds.find_mut(hash, |known| {
            known.kind.event_type == event.event_type
                && known.kind.aggregate_type == *aggregate_type
                && known.kind.schema_version == event.schema_version
                && known.kind.data_type == event.data_type
                && known.kind.metadata_type == event.metadata_type
        });
        if let Some(known) = found {
            if known.chunk != chunk {
                known.chunk = chunk;
                known.place = self.open.add_kind(Arc::clone(&known.kind));
            }
            return known.place;
        }
        let kind = Arc::new(Kind {
            aggregate_type: aggregate_type.clone(),
            event_type: event.event_type.clone(),
            schema_version: event.schema_version,
            data_type: event.data_type.clone(),
            metadata_type: event.metadata_type.clone(),
        });
        let place = self.open.add_kind(Arc::clone(&kind));
        self.kinds.insert_unique(
            hash,
            KnownKind {
                kind,
                hash,
                chunk,
                place,
            },
            |known| known.hash,
        );
        place
    }

    fn seal(&mut self) {
        let next = Chunk::with_room_like(&self.open);
        let mut chunk = std::mem::replace(&mut self.open, next);
        chunk.shrink();
        let dropped = self.open_dropped.take().map(|dropped| Arc::new(*dropped));
        let all_dropped = dropped.as_ref().is_some_and(|dropped| dropped.count == CHUNK_EVENTS);
        let chunk = (!all_dropped).then(|| Arc::new(chunk));
        Arc::make_mut(&mut self.sealed).push(Sealed { chunk, dropped });
    }

    /// The event in `slot`, unless it was dropped.
    #[inline]
    pub(crate) fn event(&self, slot: u64) -> Option<EventRef<'_>> {
        let place = usize::try_from((slot / CHUNK).checked_sub(self.first_chunk)?).ok()?;
        let index = usize::try_from(slot % CHUNK).ok()?;
        match self.sealed.get(place) {
            Some(sealed) => sealed.event(index),
            None => self.open_event(index),
        }
    }

    fn open_event(&self, index: usize) -> Option<EventRef<'_>> {
        let dropped = self
            .open_dropped
            .as_ref()
            .is_some_and(|dropped| dropped.contains(index));
        (!dropped && index < self.open.len()).then(|| EventRef::new(&self.open, index))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            sealed: Arc::clone(&self.sealed),
            first_chunk: self.first_chunk,
        }
    }

    /// The events of a stream from a version on.
    pub(crate) fn events_from(&self, stream: &Stream, version: u64) -> impl Iterator<Item = EventRef<'_>> {
        stream.slots_from(version).filter_map(|slot| self.event(slot))
    }

    pub(crate) fn first_event(&self, stream: &Stream) -> Option<EventRef<'_>> {
        (stream.live_events() > 0)
            .then(|| self.events_from(stream, 0).next())
            .flatten()
    }

    pub(crate) fn last_event(&self, stream: &Stream) -> Option<EventRef<'_>> {
        stream.slots.last().and_then(|slot| self.event(slot))
    }

    /// The events of a stream above a position.
    pub(crate) fn events_after(&self, stream: &Stream, position: u64) -> impl Iterator<Item = EventRef<'_>> {
        let any = self
            .last_event(stream)
            .is_some_and(|event| event.position().0 > position);
        let from = if any {
            self.version_after(stream, position)
        } else {
            u64::from(stream.version) + 1
        };
        self.events_from(stream, from)
    }

    /// The version of the first event of a stream above a position, by halving.
    fn version_after(&self, stream: &Stream, position: u64) -> u64 {
        let (mut low, mut high) = (u64::from(stream.dropped_to) + 1, u64::from(stream.version));
        while low < high {
            let middle = low.midpoint(high);
            let above = self
                .events_from(stream, middle)
                .next()
                .is_none_or(|event| event.position().0 > position);
            if above {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// Copies the event of an open `slot` into `scratch`, unless it was dropped.
    pub(crate) fn copy_open(&self, slot: u64, scratch: &mut Chunk) -> bool {
        let index = (slot % CHUNK) as usize;
        let found = self.open_event(index).is_some();
        if found {
            scratch.push_copy(&self.open, index, Bytes::Keep);
        }
        found
    }

    // Dropping.

    /// Drops the event in `slot`; answers its position if it was there.
    fn drop_slot(&mut self, slot: u64) -> Option<EventCost> {
        let event = self.event(slot)?;
        let cost = EventCost::of(event);
        let place = usize::try_from((slot / CHUNK) - self.first_chunk).ok()?;
        let index = (slot % CHUNK) as usize;
        if place < self.sealed.len() {
            let sealed = &mut Arc::make_mut(&mut self.sealed)[place];
            let dropped = Arc::make_mut(sealed.dropped.get_or_insert_with(|| Arc::new(Dropped::none())));
            dropped.insert(index);
            if dropped.count == CHUNK_EVENTS {
                sealed.chunk = None;
            }
        } else {
            self.open_dropped
                .get_or_insert_with(|| Box::new(Dropped::none()))
                .insert(index);
        }
        self.dropped_events += 1;
        Some(cost)
    }

    /// Drops the events of a stream up to `version`.
    pub(crate) fn drop_stream_to(&mut self, key: u32, version: u32) -> Option<DroppedRun> {
        let stream = &self.streams[key];
        let version = version.min(stream.version);
        let count = u64::from(version.saturating_sub(stream.dropped_to));
        let slots: Vec<u64> = stream
            .slots_from(0)
            .take(usize::try_from(count).unwrap_or(usize::MAX))
            .collect();
        let mut run: Option<DroppedRun> = None;
        for cost in slots
            .iter()
            .filter_map(|slot| self.drop_slot(*slot))
            .collect::<Vec<_>>()
        {
            run.get_or_insert_with(|| DroppedRun::starting(&cost)).add(&cost);
        }
        let stream = &mut self.streams[key];
        stream.dropped_to = stream.dropped_to.max(version);
        if let Some(last) = slots.last() {
            stream.slots.drop_to(*last);
        }
        self.release_dropped_chunks();
        run
    }

    /// Drops the oldest events of the shard: those in `slots`, which ascend. Streams with nothing left are forgotten.
    pub(crate) fn drop_oldest(&mut self, slots: &[u64], hash: impl Fn(&str) -> u64) -> DroppedCount {
        let mut dropped = DroppedCount::default();
        for slot in slots {
            if let Some(event) = self.event(*slot) {
                let (id, version) = (Name::from(event.aggregate_id()), event.raw_version());
                dropped.events += 1;
                dropped.bytes += self.drop_slot(*slot).map_or(0, |cost| cost.bytes);
                self.drop_first_of_stream(hash(&id), &id, version, *slot);
            }
        }
        self.release_dropped_chunks();
        dropped
    }

    fn drop_first_of_stream(&mut self, hash: u64, id: &str, version: u32, slot: u64) {
        let Some(key) = self.find(hash, id) else {
            return;
        };
        let stream = &mut self.streams[key];
        stream.dropped_to = stream.dropped_to.max(version);
        stream.slots.drop_to(slot);
        if stream.live_events() == 0 && !stream.tombstoned && !stream.deleted && stream.policy.is_none() {
            self.forget(hash, key);
        }
    }

    /// Gives back the chunks at the front of which nothing is left.
    fn release_dropped_chunks(&mut self) {
        let gone = self.sealed.iter().take_while(|sealed| sealed.chunk.is_none()).count();
        if gone > 0 {
            Arc::make_mut(&mut self.sealed).drain(..gone);
            self.first_chunk += gone as u64;
            self.dropped_events -= (gone * CHUNK_EVENTS) as u64;
        }
    }

    fn forget(&mut self, hash: u64, key: u32) {
        if let Ok(entry) = self.ids.find_entry(spread(half(hash)), |known| known.1 == key) {
            entry.remove();
            self.streams.remove(key);
        }
    }

    /// Rewrites what holds more than it must; answers nothing, the caller compares the bytes before and after.
    pub(crate) fn compact(&mut self) {
        for sealed in Arc::make_mut(&mut self.sealed) {
            compact_sealed(sealed);
        }
        self.open.shrink();
        for stream in self.streams.iter_mut() {
            stream.slots.shrink();
        }
        self.kinds.retain(|known| Arc::strong_count(&known.kind) > 1);
        self.kinds.shrink_to_fit(|known| known.hash);
        self.ids.shrink_to_fit(|known| spread(known.0));
    }

    // Counting.

    pub(crate) fn usage(&self) -> ShardUsage {
        let chunks = || {
            self.sealed
                .iter()
                .filter_map(|sealed| sealed.chunk.as_deref())
                .chain([&self.open])
        };
        let held = self.sealed.len() * CHUNK_EVENTS + self.open.len();
        let system = || self.streams().filter(|stream| stream.id.starts_with('$'));
        ShardUsage {
            events: held as u64 - self.dropped_events,
            system_events: system().map(Stream::live_events).sum(),
            streams: self.streams().filter(|stream| !stream.id.starts_with('$')).count() as u64,
            payload_bytes: chunks().map(Chunk::payload_bytes).sum::<usize>() as u64,
            record_bytes: chunks().map(Chunk::memory_bytes).sum::<usize>() as u64,
            stream_bytes: self.stream_bytes() as u64,
        }
    }

    fn stream_bytes(&self) -> usize {
        let heap: usize = self
            .streams
            .iter()
            .map(|stream| stream.slots.heap_bytes() + stream.id.heap_bytes())
            .sum();
        self.streams.memory_bytes() + self.ids.capacity() * 9 + heap
    }
}

fn compact_sealed(sealed: &mut Sealed) {
    let Some((chunk, dropped)) = sealed.chunk.as_ref().zip(sealed.dropped.as_ref()) else {
        return;
    };
    let mut copy = Chunk::default();
    for index in 0..chunk.len() {
        let bytes = if dropped.contains(index) {
            Bytes::Drop
        } else {
            Bytes::Keep
        };
        copy.push_copy(chunk, index, bytes);
    }
    copy.shrink();
    if copy.memory_bytes() < chunk.memory_bytes() {
        sealed.chunk = Some(Arc::new(copy));
    }
}

/// What one event holds, by the measure of the budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventCost {
    pub(crate) position: u64,
    pub(crate) bytes: u64,
}

/// What an event costs beyond its names and payload: its columns, its entry in the directory, its postings.
pub(crate) const EVENT_OVERHEAD_BYTES: u64 = 100;

impl EventCost {
    pub(crate) fn of(event: EventRef<'_>) -> Self {
        let bytes = event.names_bytes() + event.metadata().len() + event.data().len();
        Self {
            position: event.position().0,
            bytes: bytes as u64 + EVENT_OVERHEAD_BYTES,
        }
    }
}

/// How much was dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DroppedCount {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// Events that were dropped together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DroppedRun {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl DroppedRun {
    fn starting(cost: &EventCost) -> Self {
        Self {
            first: cost.position,
            last: cost.position,
            count: 0,
            bytes: 0,
        }
    }

    fn add(&mut self, cost: &EventCost) {
        self.last = cost.position;
        self.count += 1;
        self.bytes += cost.bytes;
    }
}

/// What a shard holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShardUsage {
    pub(crate) events: u64,
    pub(crate) system_events: u64,
    pub(crate) streams: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) record_bytes: u64,
    pub(crate) stream_bytes: u64,
}

impl Stamp {
    fn payload<'a>(&'a self, event: &'a NewEvent) -> Payload<'a> {
        match &self.large {
            Some(both) => Payload::Large {
                both,
                metadata_bytes: u32::try_from(event.metadata.len()).unwrap_or(u32::MAX),
            },
            None => Payload::Small {
                metadata: &event.metadata,
                data: &event.data,
            },
        }
    }
}

/// Tags as one part of the names, if there are any.
pub(crate) fn tag_part(event: &NewEvent) -> Option<Box<str>> {
    (!event.tags.is_empty()).then(|| names::write_tags(event.tags.iter().map(Name::as_str)).into())
}
