//! The keys of terms by the codes of a chunk's dictionary: a name is hashed and compared once a chunk, not once an event.

use smallvec::SmallVec;

use super::super::core::{Core, IndexInput};
use super::super::directory::{PageCache, Place};
use super::source::{AGGREGATE_TYPE, CORRELATION, DAY, EVENT_TYPE, ORGANIZATION, TAG, USER};
use super::terms::{FieldNumber, TermIndex};
use crate::event::chunk::CHUNK_EVENTS;
use crate::event::names::{Part, Tags};
use crate::{EventRef, Timestamp};

/// The names that are terms, one each.
const FIELDS: [(Part, FieldNumber); 3] = [
    (Part::Correlation, CORRELATION),
    (Part::User, USER),
    (Part::Organization, ORGANIZATION),
];

/// Events so few that they are looked at in their lanes rather than copied.
const FEW: u64 = 32;

/// The key of a term that was not looked up yet.
const UNKNOWN: u32 = u32::MAX;

/// The keys of the terms of one chunk, by the places of kinds and names in it.
#[derive(Clone, Debug, Default)]
struct ChunkKeys {
    /// The number of the chunk in its lane, and its revision.
    chunk: (u64, u32),
    /// Event type and aggregate type.
    kinds: Vec<[u32; 2]>,
    names: Vec<[u32; FIELDS.len()]>,
    tags: Vec<SmallVec<[u32; 4]>>,
}

/// The keys of the terms of each lane's latest chunk, and of the latest day.
#[derive(Clone, Debug)]
pub(crate) struct KeyCache {
    lanes: Vec<ChunkKeys>,
    day_number: i64,
    day: u32,
}

impl Default for KeyCache {
    fn default() -> Self {
        Self {
            lanes: Vec::new(),
            day_number: i64::MIN,
            day: UNKNOWN,
        }
    }
}

impl KeyCache {
    pub(super) fn memory_bytes(&self) -> usize {
        self.lanes.iter().map(ChunkKeys::memory_bytes).sum()
    }

    /// Adds the events above those in the index, up to `to`.
    pub(super) fn extend(&mut self, index: &mut TermIndex, core: &Core, to: u64) {
        self.lanes.resize_with(core.lane_count(), ChunkKeys::default);
        if to.saturating_sub(index.complete_to()) <= FEW {
            self.extend_in_place(index, core, to);
        } else {
            self.extend_from_copies(index, core, to);
        }
        index.set_complete_to(to);
    }

    /// Adds a few events, each under the lock of its lane.
    fn extend_in_place(&mut self, index: &mut TermIndex, core: &Core, to: u64) {
        let mut pages = PageCache::default();
        for position in index.complete_to() + 1..=to {
            let Some(place) = core.log.place(position, &mut pages) else {
                continue;
            };
            let own = core.read_lane(place.lane);
            let Some(event) = own.lane.event(place.slot) else {
                continue;
            };
            self.add_event(index, place, event, position);
        }
    }

    /// Adds many events, without holding up the lanes that they are in.
    fn extend_from_copies(&mut self, index: &mut TermIndex, core: &Core, to: u64) {
        let lanes = &self.lanes;
        let mut events = IndexInput::new(core, index.complete_to(), |lane| {
            (lanes[lane].chunk.0, lanes[lane].names.len())
        });
        for position in events.positions(index.complete_to() + 1, to) {
            let Some((place, event)) = events.placed(position) else {
                continue;
            };
            if !self.add_event(index, place, event, position) {
                add_left_out(index, &events, position);
            }
        }
    }

    /// Adds an event to its terms. Returns `false` if a name that is not known was left out of the input.
    #[inline]
    fn add_event(&mut self, index: &mut TermIndex, place: Place, event: EventRef<'_>, position: u64) -> bool {
        let keys = &mut self.lanes[place.lane];
        keys.turn_to(place.slot, event);
        let is_known = keys.add_kind_and_names(index, event, position);
        self.add_day(index, event.timestamp(), position);
        if event.is_system() {
            index.add_system(position);
        }
        is_known
    }

    fn add_day(&mut self, index: &mut TermIndex, time: Timestamp, position: u64) {
        if time.day() != self.day_number {
            self.day_number = time.day();
            self.day = index.key(DAY, &time.date());
        }
        index.add(self.day, position);
    }
}

impl ChunkKeys {
    fn memory_bytes(&self) -> usize {
        let spilled = self.tags.iter().filter(|keys| keys.spilled());
        size_of::<Self>()
            + self.kinds.capacity() * size_of::<[u32; 2]>()
            + self.names.capacity() * size_of::<[u32; FIELDS.len()]>()
            + self.tags.capacity() * size_of::<SmallVec<[u32; 4]>>()
            + spilled.map(|keys| keys.capacity() * size_of::<u32>()).sum::<usize>()
    }

    #[inline]
    fn turn_to(&mut self, slot: u64, event: EventRef<'_>) {
        let chunk = (slot / CHUNK_EVENTS as u64, event.place().0.revision());
        if self.chunk != chunk {
            self.chunk = chunk;
            self.kinds.clear();
            self.names.clear();
            self.tags.clear();
        }
    }

    /// Adds an event to its terms. Returns `false` if a name that is not known was left out of the input.
    #[inline]
    fn add_kind_and_names(&mut self, index: &mut TermIndex, event: EventRef<'_>, position: u64) -> bool {
        let [event_type, aggregate_type] = self.kind(index, event);
        index.add(event_type, position);
        index.add(aggregate_type, position);
        let (chunk, place) = event.place();
        let mut is_known = true;
        for (slot, (part, field)) in FIELDS.into_iter().enumerate() {
            let Some(name) = chunk.code(place, part).place() else {
                continue;
            };
            let mut key = self.names.get(name).map_or(UNKNOWN, |keys| keys[slot]);
            if key == UNKNOWN {
                let Some(text) = chunk.name(place, part) else {
                    is_known = false;
                    continue;
                };
                key = self.learn(name, slot, index.key(field, text));
            }
            index.add(key, position);
        }
        is_known && self.add_tags(index, event, position)
    }

    #[inline]
    fn kind(&mut self, index: &mut TermIndex, event: EventRef<'_>) -> [u32; 2] {
        let (chunk, place) = event.place();
        let kind = chunk.kind_place(place);
        if let Some(keys) = self.kinds.get(kind).filter(|keys| keys[0] != UNKNOWN) {
            return *keys;
        }
        let keys = [
            index.key(EVENT_TYPE, event.event_type()),
            index.key(AGGREGATE_TYPE, event.aggregate_type()),
        ];
        if self.kinds.len() <= kind {
            self.kinds.resize(kind + 1, [UNKNOWN; 2]);
        }
        self.kinds[kind] = keys;
        keys
    }

    fn learn(&mut self, name: usize, slot: usize, key: u32) -> u32 {
        if self.names.len() <= name {
            self.names.resize(name + 1, [UNKNOWN; FIELDS.len()]);
        }
        self.names[name][slot] = key;
        key
    }

    /// Returns `false` if the tags are not known and were left out of the input.
    fn add_tags(&mut self, index: &mut TermIndex, event: EventRef<'_>, position: u64) -> bool {
        let (chunk, place) = event.place();
        let Some(name) = chunk.code(place, Part::Tags).place() else {
            return true;
        };
        if self.tags.get(name).is_none_or(|keys| keys.is_empty()) {
            let Some(text) = chunk.name(place, Part::Tags) else {
                return false;
            };
            if self.tags.len() <= name {
                self.tags.resize_with(name + 1, SmallVec::new);
            }
            self.tags[name] = Tags::new(text).map(|tag| index.key(TAG, tag)).collect();
        }
        for key in &self.tags[name] {
            index.add(*key, position);
        }
        true
    }
}

/// Adds an event to its terms, with names that come from its lane: a name may be known in one field, and not in another.
fn add_left_out(index: &mut TermIndex, events: &IndexInput<'_>, position: u64) {
    for (part, field) in FIELDS {
        if let Some(text) = events.name(position, part) {
            let key = index.key(field, &text);
            index.add(key, position);
        }
    }
    for tag in events
        .name(position, Part::Tags)
        .iter()
        .flat_map(|tags| Tags::new(tags))
    {
        let key = index.key(TAG, tag);
        index.add(key, position);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Expected, NewEvent, Query, Store, StreamId};

    /// Rewrites the chunks that have lost events, as a compaction does before it comes to the index.
    fn rewrite_chunks(store: &Store) {
        let core = &store.engine().core;
        for lane in 0..core.lane_count() {
            core.write_lane(lane).lane.write().compact(u64::MAX);
        }
    }

    #[test]
    fn events_indexed_while_their_chunk_was_rewritten_got_the_terms_of_others() {
        let store = Store::in_memory();
        let append = |id: &str, user: &str| {
            let event = NewEvent::new("Noted").user(user).tag(user);
            let stream = StreamId::new("Note", id);
            store.append(&stream, Expected::Any, event).expect("anything goes");
        };
        let count = |query: Query| store.query(query).uncached().count().expect("a query");
        for round in 0..3 {
            for user in ["anna", "bert", "cleo"] {
                append(&format!("gone-{round}"), user);
            }
            assert_eq!(count(Query::all().user("anna")), round + 1);
            // The next are not in the index yet when their chunk is rewritten without the first.
            for user in ["cleo", "anna", "bert"] {
                append("kept", user);
            }
            store
                .delete(&format!("gone-{round}"), Expected::Any)
                .expect("it exists");
            rewrite_chunks(&store);
            for user in ["anna", "bert", "cleo"] {
                let queries = [Query::all().user(user), Query::all().tag(user)];
                assert_eq!(queries.map(count), [round + 1; 2], "{user}");
            }
        }
    }
}
