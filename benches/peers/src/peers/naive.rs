//! The store one writes by hand in an afternoon: a lock around a vector and hash maps.

use std::collections::HashMap;

use annals::{Clock, SystemClock, Timestamp};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::peer::{Peer, Result};
use crate::work::{Batch, Content, Facts, Work};

/// An event as this store keeps it.
#[derive(Clone, Debug)]
#[expect(
    dead_code,
    clippy::struct_field_names,
    reason = "a store keeps them; nothing here looks at all of them"
)]
struct Event {
    /// Its own id. Counted, not random: a random one costs as much as the rest of the append.
    id: Uuid,
    /// When it happened.
    timestamp: Timestamp,
    /// To what.
    aggregate_id: String,
    /// Its place in the stream.
    version: usize,
    /// What happened.
    event_type: String,
    /// In which conversation.
    correlation_id: String,
    /// By whom.
    user_id: String,
    /// For whom.
    organization_id: String,
    /// 128 bytes.
    data: Vec<u8>,
}

#[derive(Debug, Default)]
struct Tables {
    events: Vec<Event>,
    by_stream: HashMap<String, Vec<usize>>,
    by_type: HashMap<String, Vec<usize>>,
    by_correlation: Option<HashMap<String, Vec<usize>>>,
}

impl Tables {
    fn append(&mut self, aggregate: &str, version: usize, events: Vec<Event>) -> Result<()> {
        let actual = self.by_stream.get(aggregate).map_or(0, Vec::len);
        if actual != version {
            return Err(format!("{aggregate} is at version {actual}, expected {version}").into());
        }
        for (event, version) in events.into_iter().zip(version + 1..) {
            let index = self.events.len();
            add(&mut self.by_stream, aggregate, index);
            add(&mut self.by_type, &event.event_type, index);
            if let Some(map) = &mut self.by_correlation {
                add(map, &event.correlation_id, index);
            }
            self.events.push(Event {
                id: Uuid::from_u128(index as u128),
                version,
                ..event
            });
        }
        Ok(())
    }

    fn copies(&self, indexes: Option<&Vec<usize>>) -> Vec<Event> {
        indexes
            .into_iter()
            .flatten()
            .map(|index| self.events[*index].clone())
            .collect()
    }
}

fn add(map: &mut HashMap<String, Vec<usize>>, key: &str, index: usize) {
    match map.get_mut(key) {
        Some(list) => list.push(index),
        None => {
            map.insert(key.to_owned(), vec![index]);
        }
    }
}

/// A lock around a vector and two hash maps: by stream and by type. A conversation is found by looking at every event.
#[derive(Debug)]
pub struct Naive(Mutex<Tables>);

/// The same with a third hash map: by correlation.
#[derive(Debug)]
pub struct Indexed(Naive);

impl Naive {
    fn append(&self, content: &Content, batch: &Batch) -> Result<()> {
        let aggregate = content.aggregate(batch.aggregate);
        let events = content.batch(batch).map(|facts| event(aggregate, &facts)).collect();
        self.0.lock().append(aggregate, batch.version, events)
    }

    fn load(&self, aggregate: &str) -> Vec<Event> {
        let tables = self.0.lock();
        tables.copies(tables.by_stream.get(aggregate))
    }

    fn by_type(&self, event_type: &str) -> Vec<Event> {
        let tables = self.0.lock();
        tables.copies(tables.by_type.get(event_type))
    }

    fn conversation(&self, correlation: &str) -> Vec<Event> {
        let tables = self.0.lock();
        match &tables.by_correlation {
            Some(map) => tables.copies(map.get(correlation)),
            None => tables
                .events
                .iter()
                .filter(|event| event.correlation_id == correlation)
                .cloned()
                .collect(),
        }
    }
}

fn event(aggregate: &str, facts: &Facts<'_>) -> Event {
    Event {
        id: Uuid::nil(),
        timestamp: SystemClock.now(),
        aggregate_id: aggregate.to_owned(),
        version: 0,
        event_type: facts.event_type.to_owned(),
        correlation_id: facts.correlation.to_owned(),
        user_id: facts.user.to_owned(),
        organization_id: facts.organization.to_owned(),
        data: facts.data.as_bytes().to_vec(),
    }
}

impl Peer for Naive {
    const NAME: &'static str = "naive";
    const CAN: &'static [Work] = &Work::ALL;

    fn empty() -> Self {
        Self(Mutex::default())
    }

    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()> {
        Self::append(self, content, batch)
    }

    async fn load(&self, aggregate: &str) -> Result<usize> {
        Ok(Self::load(self, aggregate).len())
    }

    fn by_type(&self, event_type: &str) -> Result<usize> {
        Ok(Self::by_type(self, event_type).len())
    }

    fn conversation(&self, correlation: &str) -> Result<usize> {
        Ok(Self::conversation(self, correlation).len())
    }
}

impl Peer for Indexed {
    const NAME: &'static str = "naive, indexed";
    const CAN: &'static [Work] = &Work::ALL;

    fn empty() -> Self {
        let tables = Tables {
            by_correlation: Some(HashMap::new()),
            ..Tables::default()
        };
        Self(Naive(Mutex::new(tables)))
    }

    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()> {
        self.0.append(content, batch)
    }

    async fn load(&self, aggregate: &str) -> Result<usize> {
        Ok(self.0.load(aggregate).len())
    }

    fn by_type(&self, event_type: &str) -> Result<usize> {
        Ok(self.0.by_type(event_type).len())
    }

    fn conversation(&self, correlation: &str) -> Result<usize> {
        Ok(self.0.conversation(correlation).len())
    }
}
