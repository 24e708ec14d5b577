//! `naive`: the store that one writes in an afternoon, a lock around a vector and a map.

use std::collections::HashMap;
use std::sync::Arc;

use annals::{Expected, Position, Version};
use parking_lot::Mutex;

use super::annals::IN_MEMORY;
use crate::store::{
    Backend, BatchUnit, ConsistencyCheck, Description, DurabilityClass, EventStore, Look, NewEvent, Place, Result,
    StoreError, StoredEvent, Usage,
};

/// The backend `naive`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Naive;

impl Backend for Naive {
    fn description(&self) -> Description {
        Description {
            name: "naive".to_owned(),
            software: "a lock around a vector".to_owned(),
            settings: String::new(),
            durability: DurabilityClass::Volatile,
            batch_unit: BatchUnit::Append,
            check: ConsistencyCheck::StreamVersion,
            keeps_events: true,
            has_log: true,
            has_queries: false,
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        Ok(Arc::new(NaiveStore::default()))
    }

    fn wipe(&self) -> Result<()> {
        Ok(())
    }

    fn place(&self) -> Option<Place> {
        Some(Place::of_name("naive"))
    }

    fn unshared(&self) -> Option<&'static str> {
        Some(IN_MEMORY)
    }
}

/// A stored event.
#[derive(Clone, Debug)]
struct Kept {
    stream: Arc<str>,
    version: Version,
    data: Vec<u8>,
    names: (String, String, i64),
}

/// A lock around a vector, and a map from streams to places in it.
#[derive(Debug, Default)]
pub(crate) struct NaiveStore(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    log: Vec<Kept>,
    streams: HashMap<Arc<str>, Vec<usize>>,
}

/// Whether a stream that is at `version` is as `expected`.
pub(crate) fn holds(expected: Expected, version: u64) -> bool {
    match expected {
        Expected::Any => true,
        Expected::NoStream => version == 0,
        Expected::StreamExists => version > 0,
        Expected::Exactly(exactly) => exactly.0 == version,
    }
}

impl Tables {
    fn append(&mut self, stream: &str, events: Vec<(Vec<u8>, (String, String, i64))>) -> Version {
        if !self.streams.contains_key(stream) {
            self.streams.insert(Arc::from(stream), Vec::new());
        }
        let name = self.streams.get_key_value(stream).map(|(name, _)| Arc::clone(name));
        let name = name.unwrap_or_else(|| Arc::from(stream));
        let places = self.streams.entry(Arc::clone(&name)).or_default();
        let first = places.len() as u64 + 1;
        for ((data, names), version) in events.into_iter().zip(first..) {
            places.push(self.log.len());
            self.log.push(Kept {
                stream: Arc::clone(&name),
                version: Version(version),
                data,
                names,
            });
        }
        Version(first)
    }

    fn show(&self, places: impl Iterator<Item = usize>, look: Look<'_>) {
        for place in places {
            if let Some(kept) = self.log.get(place) {
                look(StoredEvent {
                    stream: &kept.stream,
                    version: kept.version,
                    position: Some(Position(place as u64 + 1)),
                    data: &kept.data,
                });
            }
        }
    }
}

impl EventStore for NaiveStore {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let copy = |event: &NewEvent<'_>| {
            let names = (event.event_type.to_owned(), event.correlation.to_owned(), event.micros);
            (event.data.to_vec(), names)
        };
        let copies = events.iter().map(copy).collect();
        let mut tables = self.0.lock();
        let version = tables.streams.get(stream).map_or(0, |places| places.len() as u64);
        if holds(expected, version) {
            Ok(tables.append(stream, copies))
        } else {
            Err(StoreError::Conflict)
        }
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        let tables = self.0.lock();
        let places = tables.streams.get(stream).map_or(&[][..], Vec::as_slice);
        let after = usize::try_from(after.0).unwrap_or(usize::MAX);
        tables.show(places.iter().skip(after).copied(), look);
        Ok(())
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let tables = self.0.lock();
        let after = usize::try_from(after.0).unwrap_or(usize::MAX).min(tables.log.len());
        tables.show((after..tables.log.len()).take(limit), look);
        Ok(())
    }

    fn usage(&self) -> Usage {
        let tables = self.0.lock();
        let bytes =
            |kept: &Kept| (size_of::<Kept>() + kept.data.len() + kept.names.0.len() + kept.names.1.len()) as u64;
        Usage {
            memory_bytes: Some(tables.log.iter().map(bytes).sum()),
            disk_bytes: None,
        }
    }
}
