//! Statistics of a store, by part.

use std::time::Duration;

use serde::Serialize;

use crate::store::collections::posting_list::PostingList;
use crate::store::durability::flush::Flushing;
use crate::store::log::directory::PageCache;
use crate::store::reader::EventReader;
use crate::store::streams::stream::Stream;
use crate::store::{Engine, Store};
use crate::{Durability, Field, Name, Position};

/// Statistics of a store.
///
/// Memory is counted as allocated: including unused capacity, without the allocator's overhead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StoreStats {
    /// Visible events, without system events.
    pub events: u64,
    /// System events.
    pub system_events: u64,
    /// Aggregates, including deleted ones.
    pub aggregates: u64,
    /// The position of the last event.
    pub position: Position,
    /// Bytes of metadata and data.
    pub payload_bytes: u64,
    /// Bytes of events beyond their payload: records, names, unused capacity, and the directory of positions.
    pub record_bytes: u64,
    /// Bytes of the table of aggregates.
    pub stream_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// The sum of these.
    pub memory_bytes: u64,
    /// Events that would be lost if the machine stopped now: those that the journal has not synced. Without a journal, all events.
    pub events_at_risk: u64,
    /// The age of the oldest of them, by the store's clock; serialised in seconds. Zero if there are none, and without a
    /// journal.
    #[serde(rename = "atRiskSeconds", serialize_with = "crate::journal::seconds")]
    pub at_risk_for: Duration,
    /// Bytes of events that wait to be written by the journal.
    pub backlog_bytes: u64,
    /// Statistics of the query cache.
    #[cfg(feature = "cache")]
    pub cache: crate::store::query::cache::CacheStats,
}

impl Store {
    /// Returns the statistics of the store.
    pub fn stats(&self) -> StoreStats {
        let engine = self.engine();
        let mut stats = StoreStats {
            position: Position(engine.visible()),
            ..StoreStats::default()
        };
        let mut unseen = 0;
        for shard in 0..engine.core.shard_count() {
            let usage = engine.core.read(shard).usage(stats.position.0);
            unseen += usage.unseen_events;
            stats.system_events += usage.system_events;
            stats.aggregates += usage.streams;
            stats.stream_bytes += usage.memory_bytes;
        }
        for lane in 0..engine.core.lane_count() {
            let usage = engine.core.read_lane(lane).lane.usage();
            stats.events += usage.events;
            stats.payload_bytes += usage.payload_bytes;
            stats.record_bytes += usage.memory_bytes.saturating_sub(usage.payload_bytes);
        }
        stats.events_at_risk = engine.events_at_risk();
        stats.at_risk_for = engine.at_risk_for();
        stats.backlog_bytes = engine.flushing.as_ref().map_or(0, Flushing::backlog_bytes);
        stats.events = stats.events.saturating_sub(stats.system_events + unseen);
        stats.record_bytes += engine.core.log.memory_bytes() as u64;
        stats.index_bytes = engine.indexes.memory_bytes() as u64;
        stats.memory_bytes = stats.payload_bytes + stats.record_bytes + stats.stream_bytes + stats.index_bytes;
        #[cfg(feature = "cache")]
        {
            stats.cache = engine.caches.stats();
        }
        stats
    }
}

impl Engine {
    fn events_at_risk(&self) -> u64 {
        let log = &self.core.log;
        // `synced` first: `published` is read later, so it is not below.
        let synced = log.reached(Durability::Synced);
        log.published() - synced.min(log.published())
    }

    fn at_risk_for(&self) -> Duration {
        if self.flushing.is_none() {
            return Duration::ZERO;
        }
        let log = &self.core.log;
        let (synced, published) = (log.reached(Durability::Synced), log.published());
        let mut pages = PageCache::default();
        let recorded = log
            .positions(synced.max(log.floor()) + 1, published)
            .find_map(|position| self.core.with_event(position, &mut pages, |event| event.recorded_at()));
        let now = self.clock.now().as_micros();
        let age = recorded.map_or(0, |recorded| now.saturating_sub(recorded.as_micros()));
        Duration::from_micros(u64::try_from(age).unwrap_or(0))
    }

    /// Number of events that the index has for a value, including dropped ones.
    pub(crate) fn count_of(&self, field: &Field, value: &str) -> u64 {
        if let Some((index, number)) = self.indexes.of(field) {
            return index
                .read(&self.core, self.core.log.visible())
                .positions(number, value)
                .map_or(0, PostingList::len);
        }
        let hash = self.core.hash(value);
        let shard = self.core.read(self.core.shard_of(hash));
        shard.find(hash, value).map_or(0, |key| shard.stream(key).live_events())
    }

    /// Number of events that the index has for the values with a prefix, including dropped ones.
    pub(crate) fn count_with_prefix(&self, field: &Field, prefix: &str) -> u64 {
        if let Some((index, number)) = self.indexes.of(field) {
            let terms = index.read(&self.core, self.core.log.visible());
            return terms.with_prefix(number, prefix).map(|(_, list)| list.len()).sum();
        }
        let of_shard = |shard| {
            let shard = self.core.read(shard);
            let matching = shard.streams().filter(|stream| stream.id.starts_with(prefix));
            matching.map(Stream::live_events).sum::<u64>()
        };
        (0..self.core.shard_count()).map(of_shard).sum()
    }

    /// Every value of a field, with its number of events up to `visible`.
    pub(crate) fn terms(&self, field: &Field, visible: u64) -> Vec<(Name, u64)> {
        if *field == Field::Aggregate {
            return self.aggregates(visible);
        }
        let Some((index, number)) = self.indexes.of(field) else {
            return Vec::new();
        };
        // Only the main index knows which events are system events.
        let no_system = self.indexes.main.read_whole(&self.core, visible).system().is_empty();
        let lists: Vec<(Name, Vec<u64>)> = {
            let terms = index.read_whole(&self.core, visible);
            let exact = no_system && !self.retention.drops.are_indexed() && terms.complete_to() == visible;
            if exact {
                return terms
                    .values(number)
                    .map(|(text, list)| (text.clone(), list.len()))
                    .collect();
            }
            let floor = self.core.log.floor();
            terms
                .values(number)
                .map(|(text, list)| (text.clone(), list.range(floor, visible).collect()))
                .collect()
        };
        let mut reader = EventReader::new(&self.core);
        let mut count = |positions: Vec<u64>| {
            let seen = reader.matching(positions.iter().copied(), |event| !event.is_system());
            seen.count() as u64
        };
        let counted = lists.into_iter().map(|(text, positions)| (text, count(positions)));
        counted.filter(|(_, events)| *events > 0).collect()
    }

    fn aggregates(&self, visible: u64) -> Vec<(Name, u64)> {
        let mut all = Vec::new();
        for shard in 0..self.core.shard_count() {
            let shard = self.core.read(shard);
            let own = shard.streams().filter(|stream| !stream.id.starts_with('$'));
            let seen = own.map(|stream| (stream, stream.live_events() - stream.unseen_events(visible)));
            all.extend(
                seen.filter(|(_, events)| *events > 0)
                    .map(|(stream, events)| (stream.id.clone(), events)),
            );
        }
        all
    }
}
