//! The keys of terms by the codes of a chunk's dictionary: a name is hashed and compared once per chunk, not once per event.
//!
//! Events are added a stretch at a time, field by field: the events of one chunk at consecutive positions.

use smallvec::SmallVec;

use crate::Timestamp;
use crate::event::names::{Part, Tags};
use crate::store::core::Core;
use crate::store::index::source::{AGGREGATE_TYPE, CORRELATION, EVENT_TYPE, ORGANIZATION, TAG, USER};
use crate::store::index::terms::{DAY, FieldNumber, TermIndex};
use crate::store::log::lane::Stretch;
use crate::time::MICROS_PER_DAY;

/// The names that are terms.
const FIELDS: [(Part, FieldNumber); 3] = [
    (Part::Correlation, CORRELATION),
    (Part::User, USER),
    (Part::Organization, ORGANIZATION),
];

/// The fields of a kind that are terms.
const KIND_FIELDS: [FieldNumber; 2] = [EVENT_TYPE, AGGREGATE_TYPE];

/// The key of a term that has not been looked up yet.
const UNKNOWN: u32 = u32::MAX;

/// Consecutive events with the same term of a field, added to it together.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    key: u32,
    first: u64,
    /// The position after the last event.
    end: u64,
}

impl Run {
    #[inline]
    fn add(&mut self, index: &mut TermIndex, key: u32, position: u64) {
        if self.key == key && self.end == position {
            self.end += 1;
            return;
        }
        if self.first < self.end {
            self.finish(index);
        }
        *self = Self {
            key,
            first: position,
            end: position + 1,
        };
    }

    fn finish(&self, index: &mut TermIndex) {
        index.add_run(self.key, self.first, self.end - self.first);
    }
}

/// The keys of the terms of one chunk, by the places of kinds and names in it.
#[derive(Clone, Debug, Default)]
struct ChunkKeys {
    /// The number of the chunk in its lane, and its revision.
    chunk: (u64, u32),
    kinds: Vec<[u32; KIND_FIELDS.len()]>,
    names: Vec<[u32; FIELDS.len()]>,
    tags: Vec<SmallVec<[u32; 4]>>,
}

/// The day of the last event.
#[derive(Clone, Debug)]
struct LastDay {
    /// Its first microsecond.
    start: i64,
    key: u32,
}

/// The keys of the terms of each lane's latest chunk, and of the latest day.
#[derive(Clone, Debug)]
pub(crate) struct KeyCache {
    lanes: Vec<ChunkKeys>,
    day: LastDay,
}

impl Default for KeyCache {
    fn default() -> Self {
        Self {
            lanes: Vec::new(),
            day: LastDay { start: 0, key: UNKNOWN },
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
        core.each_stretch(index.complete_to(), to, |lane, stretch| {
            self.lanes[lane].add(index, stretch);
            self.day.add(index, stretch);
            add_system(index, stretch);
        });
        index.set_complete_to(to);
    }
}

impl LastDay {
    fn add(&mut self, index: &mut TermIndex, stretch: &Stretch<'_>) {
        let mut run = Run::default();
        for (place, position) in stretch.places() {
            let time = stretch.chunk.time(place);
            let is_same = (0..MICROS_PER_DAY).contains(&time.wrapping_sub(self.start));
            if !is_same || self.key == UNKNOWN {
                self.turn_to(index, Timestamp::from_micros(time));
            }
            run.add(index, self.key, position);
        }
        run.finish(index);
    }

    fn turn_to(&mut self, index: &mut TermIndex, time: Timestamp) {
        self.start = time.day() * MICROS_PER_DAY;
        self.key = index.key(DAY, &time.date());
    }
}

fn add_system(index: &mut TermIndex, stretch: &Stretch<'_>) {
    if stretch.chunk.has_system() {
        let system = stretch.places().filter(|(place, _)| stretch.chunk.is_system(*place));
        system.for_each(|(_, position)| index.add_system(position));
    }
}

impl ChunkKeys {
    fn memory_bytes(&self) -> usize {
        let spilled = self.tags.iter().filter(|keys| keys.spilled());
        size_of::<Self>()
            + self.kinds.capacity() * size_of::<[u32; KIND_FIELDS.len()]>()
            + self.names.capacity() * size_of::<[u32; FIELDS.len()]>()
            + self.tags.capacity() * size_of::<SmallVec<[u32; 4]>>()
            + spilled.map(|keys| keys.capacity() * size_of::<u32>()).sum::<usize>()
    }

    fn turn_to(&mut self, stretch: &Stretch<'_>) {
        let chunk = (stretch.number, stretch.chunk.revision());
        if self.chunk != chunk {
            self.chunk = chunk;
            self.kinds.clear();
            self.names.clear();
            self.tags.clear();
        }
    }

    fn add(&mut self, index: &mut TermIndex, stretch: &Stretch<'_>) {
        self.turn_to(stretch);
        self.add_kinds(index, stretch);
        for slot in 0..FIELDS.len() {
            self.add_names(index, slot, stretch);
        }
        self.add_tags(index, stretch);
    }

    fn add_kinds(&mut self, index: &mut TermIndex, stretch: &Stretch<'_>) {
        let mut runs = [Run::default(); KIND_FIELDS.len()];
        for (place, position) in stretch.places() {
            let kind = stretch.chunk.kind_place(place);
            let keys = match self.kinds.get(kind) {
                Some(keys) if keys[0] != UNKNOWN => *keys,
                _ => self.look_kind_up(index, stretch, place),
            };
            for (run, key) in runs.iter_mut().zip(keys) {
                run.add(index, key, position);
            }
        }
        for run in runs {
            run.finish(index);
        }
    }

    #[cold]
    fn look_kind_up(&mut self, index: &mut TermIndex, stretch: &Stretch<'_>, place: usize) -> [u32; KIND_FIELDS.len()] {
        let schema = stretch.chunk.kind(place);
        let names = [&schema.event_type, &schema.aggregate_type];
        let kind = stretch.chunk.kind_place(place);
        if self.kinds.len() <= kind {
            self.kinds.resize(kind + 1, [UNKNOWN; KIND_FIELDS.len()]);
        }
        self.kinds[kind] = std::array::from_fn(|field| index.key(KIND_FIELDS[field], names[field]));
        self.kinds[kind]
    }

    fn add_names(&mut self, index: &mut TermIndex, slot: usize, stretch: &Stretch<'_>) {
        let (part, field) = FIELDS[slot];
        let mut run = Run::default();
        for (place, position) in stretch.places() {
            let Some(name) = stretch.chunk.code(place, part).place() else {
                continue;
            };
            let mut key = self.names.get(name).map_or(UNKNOWN, |keys| keys[slot]);
            if key == UNKNOWN {
                let text = stretch.chunk.name(place, part).unwrap_or_default();
                key = self.learn(name, slot, index.key(field, text));
            }
            run.add(index, key, position);
        }
        if run.first < run.end {
            run.finish(index);
        }
    }

    fn learn(&mut self, name: usize, slot: usize, key: u32) -> u32 {
        if self.names.len() <= name {
            self.names.resize(name + 1, [UNKNOWN; FIELDS.len()]);
        }
        self.names[name][slot] = key;
        key
    }

    fn add_tags(&mut self, index: &mut TermIndex, stretch: &Stretch<'_>) {
        for (place, position) in stretch.places() {
            let Some(name) = stretch.chunk.code(place, Part::Tags).place() else {
                continue;
            };
            if self.tags.get(name).is_none_or(|keys| keys.is_empty()) {
                if self.tags.len() <= name {
                    self.tags.resize_with(name + 1, SmallVec::new);
                }
                let tags = Tags::new(stretch.chunk.name(place, Part::Tags).unwrap_or_default());
                self.tags[name] = tags.map(|tag| index.key(TAG, tag)).collect();
            }
            for key in &self.tags[name] {
                index.add(*key, position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Expected, NewEvent, Query, Store, StreamId};

    /// Rewrites the chunks that have lost events, as a compaction does before it compacts the index.
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
            // These events are not in the index yet when their chunk is rewritten without the first ones.
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
