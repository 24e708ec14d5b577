//! The events of the threads that write to one lane, in the order they were written.
//!
//! A thread always writes to the same lane, so events written consecutively are adjacent in memory, whatever their aggregates.
//! That makes appending, replaying and reading a conversation fast.

mod dropped;
mod list;
mod sealed;
mod snapshot;
mod stretch;

use std::sync::Arc;

use self::dropped::Dropped;
use self::list::SealedList;
use self::sealed::Sealed;
pub(crate) use self::snapshot::Snapshot;
pub(crate) use self::stretch::Stretch;
use crate::event::chunk::{Bytes, CHUNK_EVENTS, Chunk, Header, Payload};
use crate::event::names::Names;
use crate::event::{SchemaRef, Schemas};
use crate::journal::Batch;
use crate::store::append::prepare::PreparedAppend;
use crate::store::log::directory::PlaceRun;
use crate::store::retention::budget::EventCost;
use crate::{EventRef, NewEvent, StreamId, Timestamp};

const CHUNK: u64 = CHUNK_EVENTS as u64;

/// Kinds that a lane retains when it seals a chunk; a chunk has at most half as many.
const KINDS_MAX: usize = 2 * CHUNK_EVENTS;

/// Bytes of events that a reader copies under one lock; bounds how long a writer waits.
const COPIED_BYTES: usize = 64 * 1024;

/// Kinds of events that are found by one comparison, without the table.
const RECENT_KINDS: usize = 32;

/// The last chunk to whose table a kind was added, and its place in that.
#[derive(Clone, Copy, Debug)]
struct InChunk {
    chunk: u64,
    place: u16,
}

/// The events of one lane. A slot is the number of a chunk and the place of an event in it; a chunk that is sealed before it is
/// full leaves slots unused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    kinds: Schemas<Option<InChunk>>,
    /// Places of recent kinds, by their event types' hashes. The kind is compared before its place is used.
    recent_kinds: [u16; RECENT_KINDS],
    sealed: SealedList,
    first_chunk: u64,
    open: Chunk,
    open_dropped: Option<Box<Dropped>>,
    live_events: u64,
    /// Numbers of sealed chunks whose events are all dropped, and which are not released yet.
    emptied: Vec<u64>,
}

impl Lane {
    fn open_chunk(&self) -> u64 {
        self.first_chunk + self.sealed.len() as u64
    }

    /// The slot that the next event will have.
    pub(crate) fn next_slot(&self) -> u64 {
        self.open_chunk() * CHUNK + self.open.len() as u64
    }

    /// Seals the open chunk if `count` events do not fit in it but fit in a new one. Called before positions are reserved.
    pub(crate) fn make_room(&mut self, count: usize) {
        let fits = self.open.len() + count <= CHUNK_EVENTS && !self.open.is_full();
        if !fits && count <= CHUNK_EVENTS {
            self.seal();
        }
    }

    /// The places of the events from `slot` on. They have gaps where a chunk was sealed before it was full.
    pub(crate) fn runs_since(&self, lane: usize, slot: u64) -> Vec<PlaceRun> {
        let mut runs = Vec::new();
        for number in slot / CHUNK..=self.open_chunk() {
            let sealed = self.sealed.get((number - self.first_chunk) as usize);
            let len = sealed.map_or(self.open.len(), Sealed::len) as u64;
            let first = slot.max(number * CHUNK);
            runs.push(PlaceRun::new(lane, first, number * CHUNK + len - first));
        }
        runs
    }

    /// Appends event `place` of a prepared append.
    pub(crate) fn push(&mut self, prepared: &PreparedAppend<'_>, place: usize, position: u64, version: u32) {
        if self.open.is_full() {
            self.seal();
        }
        let (event, meta) = (&prepared.events[place], &prepared.meta);
        let extra = meta.extra(place);
        let header = Header {
            position,
            version,
            id: meta.ids[place],
            time: event.timestamp.map_or(meta.recorded, Timestamp::as_micros),
            recorded: meta.recorded,
            kind: self.place_of_kind(prepared.stream, event, meta.hashes[place].event_type),
        };
        let names = Names {
            aggregate_id: &prepared.stream.aggregate_id,
            correlation_id: event.correlation_id.as_deref(),
            causation_id: event.causation_id.as_deref(),
            user_id: event.user_id.as_deref(),
            organization_id: event.organization_id.as_deref(),
            tags: extra.and_then(|extra| extra.tags.as_deref()),
        };
        let payload = match extra.and_then(|extra| extra.large.as_ref()) {
            Some(both) => Payload::Large {
                both,
                metadata_bytes: u32::try_from(event.metadata.len()).unwrap_or(u32::MAX),
            },
            None => Payload::Small {
                metadata: &event.metadata,
                data: &event.data,
            },
        };
        self.open
            .push_hashed(&header, &names, &meta.hashes[place].parts, payload);
        self.live_events += 1;
    }

    /// The place of an event's kind in the table of the open chunk. `type_hash` is of its event type.
    #[inline]
    fn place_of_kind(&mut self, stream: &StreamId, event: &NewEvent<'_>, type_hash: u32) -> u16 {
        let recent = type_hash as usize % RECENT_KINDS;
        let place = self.recent_kinds[recent];
        let known = self.open.kind_at(place);
        if known.is_some_and(|kind| kind.is_of(stream, event)) {
            return place;
        }
        self.recent_kinds[recent] = self.find_kind(&SchemaRef::of(stream, event));
        self.recent_kinds[recent]
    }

    fn find_kind(&mut self, schema: &SchemaRef<'_>) -> u16 {
        let chunk = self.open_chunk();
        let known = self.kinds.intern(schema);
        if let Some(found) = known.note.filter(|found| found.chunk == chunk) {
            return found.place;
        }
        let place = self.open.add_kind(Arc::clone(&known.schema));
        known.note = Some(InChunk { chunk, place });
        place
    }

    fn seal(&mut self) {
        let next = Chunk::with_room_like(&mut self.open);
        self.seal_before(next);
    }

    /// Seals the open chunk, so that forks and readers share it; the next chunk starts with no capacity.
    pub(crate) fn seal_to_share(&mut self) {
        if self.open.len() > 0 {
            self.seal_before(Chunk::default());
        }
    }

    fn seal_before(&mut self, next: Chunk) {
        let mut chunk = std::mem::replace(&mut self.open, next);
        chunk.shrink();
        let dropped = self.open_dropped.take().map(|dropped| Arc::new(*dropped));
        if dropped.as_ref().is_some_and(|dropped| dropped.count == chunk.len()) {
            self.emptied.push(self.open_chunk());
        }
        self.forget_kinds();
        self.sealed.push(Sealed {
            chunk: Some(Arc::new(chunk)),
            dropped,
            purged: 0,
        });
    }

    /// Forgets the kinds that the chunk being sealed does not have, when there are more than [`KINDS_MAX`].
    fn forget_kinds(&mut self) {
        if self.kinds.len() > KINDS_MAX {
            let chunk = self.open_chunk();
            self.kinds
                .retain(|known| known.note.is_some_and(|found| found.chunk == chunk));
        }
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

    /// The consecutive events from `slot`, which has position `position`, up to position `to`.
    pub(crate) fn stretch(&self, slot: u64, position: u64, to: u64) -> Option<Stretch<'_>> {
        let place = usize::try_from((slot / CHUNK).checked_sub(self.first_chunk)?).ok()?;
        match self.sealed.get(place) {
            Some(sealed) => sealed.stretch(slot, (position, to)),
            None => Stretch::new(&self.open, slot, (position, to), self.open_dropped.as_deref()),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            sealed: self.sealed.clone(),
            first_chunk: self.first_chunk,
        }
    }

    /// Whether `slot` is in the open chunk, and that has at least `least` events.
    pub(crate) fn has_open(&self, slot: u64, least: usize) -> bool {
        self.is_open(slot) && self.open.len() >= least
    }

    /// Seals the open chunk if `slot` is in it and it has at least `least` events.
    pub(crate) fn seal_open(&mut self, slot: u64, least: usize) {
        if self.has_open(slot, least) {
            self.seal_to_share();
        }
    }

    /// Whether `slot` is in the open chunk.
    pub(crate) fn is_open(&self, slot: u64) -> bool {
        slot / CHUNK == self.open_chunk()
    }

    /// Copies the events of open `slots` to `copies`, except dropped ones. Returns how many slots it took: it stops at a sealed one,
    /// and beyond [`COPIED_BYTES`].
    pub(crate) fn copy_open(&self, slots: impl Iterator<Item = u64>, copies: &mut Chunk) -> usize {
        let (mut taken, mut before) = (0, None);
        for slot in slots {
            if !self.is_open(slot) || copies.bytes() > COPIED_BYTES {
                break;
            }
            let index = (slot % CHUNK) as usize;
            if self.open_event(index).is_some() {
                copies.push_short_lived(&self.open, index, before);
                before = Some(index);
            }
            taken += 1;
        }
        taken
    }

    /// Drops the event in `slot`; returns its cost, unless it was dropped before.
    pub(crate) fn drop_slot(&mut self, slot: u64) -> Option<EventCost> {
        let cost = EventCost::of(self.event(slot)?);
        let place = usize::try_from((slot / CHUNK) - self.first_chunk).ok()?;
        let index = (slot % CHUNK) as usize;
        if let Some(sealed) = self.sealed.get_mut(place) {
            let dropped = Arc::make_mut(sealed.dropped.get_or_insert_with(|| Arc::new(Dropped::none())));
            dropped.insert(index);
            if sealed.chunk.as_ref().is_some_and(|chunk| chunk.len() == dropped.count) {
                self.emptied.push(slot / CHUNK);
            }
        } else {
            self.open_dropped
                .get_or_insert_with(|| Box::new(Dropped::none()))
                .insert(index);
        }
        self.live_events -= 1;
        Some(cost)
    }

    /// Releases the chunks whose events are all dropped, if the journal has them: up to position `journaled`.
    pub(crate) fn release(&mut self, journaled: u64) {
        if self.emptied.is_empty() {
            return;
        }
        let (sealed, first_chunk) = (&mut self.sealed, self.first_chunk);
        self.emptied.retain(|number| {
            let place = (number - first_chunk) as usize;
            let is_needed = sealed
                .get(place)
                .is_some_and(|sealed| sealed.last_position() > journaled);
            if let Some(sealed) = sealed.get_mut(place).filter(|_| !is_needed) {
                sealed.chunk = None;
            }
            is_needed
        });
        let gone = sealed.iter().take_while(|sealed| sealed.chunk.is_none()).count();
        sealed.drop_front(gone);
        self.first_chunk += gone as u64;
    }

    /// Whether there are chunks to release.
    pub(crate) fn has_emptied(&self) -> bool {
        !self.emptied.is_empty()
    }

    /// Rewrites the chunks that have lost events, up to position `journaled`.
    pub(crate) fn compact(&mut self, journaled: u64) {
        if self.open_dropped.is_some() {
            self.seal_before(Chunk::default());
        }
        // Its capacity is that of the chunk before it, which may be far more than it needs.
        self.open.shrink();
        self.release(journaled);
        for place in 0..self.sealed.len() {
            let is_due = |sealed: &Sealed| sealed.dropped.is_some() && sealed.last_position() <= journaled;
            if self.sealed.get(place).is_some_and(is_due)
                && let Some(sealed) = self.sealed.get_mut(place)
            {
                sealed.compact();
            }
        }
        self.kinds.retain(|known| Arc::strong_count(&known.schema) > 1);
        self.kinds.shrink();
    }

    /// Copies the events from `slot` on that have the positions from `first` to `last`, including dropped ones, until one is in
    /// another place. Returns the first position that was not copied.
    pub(crate) fn copy_run(&self, first: u64, last: u64, mut slot: u64, batch: &mut Batch) -> u64 {
        let mut next = first;
        while next <= last
            && let Some((chunk, index)) = self.raw(slot)
            && chunk.position(index) == next
        {
            batch.push_copy(chunk, index);
            (next, slot) = (next + 1, slot + 1);
        }
        assert!(
            next > first,
            "the event at position {first} was released before the journal had it"
        );
        next
    }

    /// The chunk and index of the event in `slot`, dropped or not.
    fn raw(&self, slot: u64) -> Option<(&Chunk, usize)> {
        let place = (slot / CHUNK).checked_sub(self.first_chunk)? as usize;
        let index = (slot % CHUNK) as usize;
        let chunk = match self.sealed.get(place) {
            Some(sealed) => sealed.chunk.as_deref()?,
            None => &self.open,
        };
        (index < chunk.len()).then_some((chunk, index))
    }

    /// Adds a full chunk of recovered events. Returns its first slot.
    pub(crate) fn adopt(&mut self, mut chunk: Chunk) -> u64 {
        if self.open.len() > 0 {
            self.seal_before(Chunk::default());
        }
        let slot = self.next_slot();
        chunk.shrink();
        self.live_events += chunk.len() as u64;
        self.sealed.push(Sealed {
            chunk: Some(Arc::new(chunk)),
            dropped: None,
            purged: 0,
        });
        slot
    }

    /// Adds a copy of event `index` of `chunk`, and returns its slot.
    pub(crate) fn push_copy(&mut self, chunk: &Chunk, index: usize) -> u64 {
        if self.open.is_full() {
            self.seal();
        }
        let slot = self.next_slot();
        self.open.push_copy(chunk, index, Bytes::Keep);
        self.live_events += 1;
        slot
    }

    pub(crate) fn usage(&self) -> LaneUsage {
        let chunks = || {
            self.sealed
                .iter()
                .filter_map(|sealed| sealed.chunk.as_deref())
                .chain([&self.open])
        };
        LaneUsage {
            events: self.live_events,
            payload_bytes: chunks().map(Chunk::payload_bytes).sum::<usize>() as u64,
            memory_bytes: chunks().map(Chunk::memory_bytes).sum::<usize>() as u64,
        }
    }
}

/// The usage of a lane.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LaneUsage {
    pub(crate) events: u64,
    pub(crate) payload_bytes: u64,
    /// Including payloads.
    pub(crate) memory_bytes: u64,
}

#[cfg(test)]
mod tests {
    use crate::{Expected, NewEvent, Query, Settings, Store, StreamId};

    fn append(store: &Store, id: &str, event: NewEvent<'_>) {
        let stream = StreamId::new("Note", id);
        store.append(&stream, Expected::Any, event).expect("anything goes");
    }

    fn with_tags(number: usize) -> NewEvent<'static> {
        (0..32).fold(NewEvent::new("Noted"), |event, tag| {
            event.tag(format!("{number:0>400}-{tag:0>400}"))
        })
    }

    fn open() -> Store {
        let mut settings = Settings::default();
        settings.limits.name_bytes_max = 1_024;
        Store::builder().settings(settings).open().expect("a store")
    }

    #[test]
    fn the_open_chunk_kept_room_for_long_names_after_a_compaction() {
        let store = open();
        (0..1_000).for_each(|number| append(&store, "long", with_tags(number)));
        for lane in 0..store.engine().core.lane_count() {
            let mut own = store.engine().core.write_lane(lane);
            own.lane.write().seal();
        }
        append(&store, "kept", NewEvent::new("Noted"));
        store.delete("long", Expected::Any).expect("it exists");
        store.compact();
        let bytes = store.stats().memory_bytes;
        assert!(bytes < 1 << 20, "{bytes} bytes for an event");
        append(&store, "kept", with_tags(1));
        assert_eq!(store.read_stream("kept").events().len(), 2);
    }

    #[test]
    fn names_made_a_chunk_of_many_megabytes() {
        let store = open();
        (0..1_000).for_each(|number| append(&store, "long", with_tags(number)));
        let core = &store.engine().core;
        for lane in 0..core.lane_count() {
            let own = core.read_lane(lane);
            let sealed = own.lane.sealed.iter().filter_map(|sealed| sealed.chunk.as_deref());
            for chunk in sealed.chain([&own.lane.open]) {
                assert!(chunk.memory_bytes() < 16 << 20, "{} bytes", chunk.memory_bytes());
            }
        }
        let tag = format!("{:0>400}-{:0>400}", 999, 31);
        assert_eq!(store.query(Query::all().tag(tag)).count().expect("a query"), 1);
    }

    #[test]
    fn kinds_of_events_that_had_gone_piled_up_under_a_budget() {
        let mut settings = Settings::default();
        settings.budget.events = Some(100);
        settings.budget.when_full = crate::WhenFull::DropOldest;
        let store = Store::builder().settings(settings).open().expect("a store");
        for number in 0..20_000_u32 {
            let event = NewEvent::new(format!("Noted{}", number % 10_000)).schema_version(number);
            append(&store, "a", event);
        }
        let core = &store.engine().core;
        let kinds = (0..core.lane_count()).map(|lane| core.read_lane(lane).lane.kinds.len());
        assert!(kinds.clone().sum::<usize>() < 7_000, "{:?}", kinds.collect::<Vec<_>>());
        for number in [19_999, 19_950] {
            let found = store.query(Query::all().event_type(format!("Noted{}", number % 10_000)));
            let versions = found
                .events()
                .expect("a query")
                .iter()
                .map(crate::Event::schema_version)
                .collect::<Vec<_>>();
            assert_eq!(versions, [number]);
        }
    }

    #[test]
    fn the_keys_of_names_were_in_no_statistics() {
        let store = Store::in_memory();
        for number in 0..2_000_u32 {
            append(&store, "a", NewEvent::new("Noted").user(number.to_string()));
        }
        assert_eq!(store.query(Query::all().user("7")).count().expect("a query"), 1);
        // A fork shares the terms but has no keys yet: 12 bytes for each of 2,000 names.
        let keys = store.stats().index_bytes - store.fork().stats().index_bytes;
        assert!(keys > 24_000, "{keys} bytes");
    }
}
