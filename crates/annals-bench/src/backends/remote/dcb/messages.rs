//! The messages of `UmaDB`'s gRPC service, with the numbers that `umadb.proto` gives to their fields.

use prost::Message;

use crate::store::{NewEvent, Result, StoreError};

/// The place of an event's version: `UmaDB` assigns only a position.
const VERSION: &str = "version";

#[derive(Clone, PartialEq, Message)]
pub(in crate::backends) struct Event {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, repeated, tag = "2")]
    pub(in crate::backends) tags: Vec<String>,
    #[prost(bytes = "vec", tag = "3")]
    pub(in crate::backends) data: Vec<u8>,
    #[prost(message, repeated, tag = "5")]
    metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl Metadata {
    fn new(key: &str, value: String) -> Self {
        let key = key.to_owned();
        Self { key, value }
    }
}

impl Event {
    pub(in crate::backends) fn new(event: &NewEvent<'_>, tag: &str, version: u64) -> Self {
        Self {
            kind: event.event_type.to_owned(),
            tags: vec![tag.to_owned()],
            data: event.data.to_vec(),
            metadata: vec![
                Metadata::new(VERSION, version.to_string()),
                Metadata::new("correlation_id", event.correlation.to_owned()),
                Metadata::new("time", event.micros.to_string()),
            ],
        }
    }

    pub(in crate::backends) fn version(&self) -> Result<u64> {
        let entry = self.metadata.iter().find(|entry| entry.key == VERSION);
        let version = entry.and_then(|entry| entry.value.parse().ok());
        version.ok_or_else(|| StoreError::Failed("an event of UmaDB has no version".to_owned()))
    }
}

/// An event with its position.
#[derive(Clone, PartialEq, Message)]
pub(in crate::backends) struct Sequenced {
    #[prost(uint64, tag = "1")]
    pub(in crate::backends) position: u64,
    #[prost(message, tag = "2")]
    pub(in crate::backends) event: Option<Event>,
}

impl Sequenced {
    pub(in crate::backends) fn version(&self) -> Result<u64> {
        self.event.as_ref().map_or(Ok(0), Event::version)
    }
}

/// Matches the events that have all tags of an item.
#[derive(Clone, PartialEq, Message)]
pub(in crate::backends) struct Query {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Item>,
}

#[derive(Clone, PartialEq, Message)]
struct Item {
    #[prost(string, repeated, tag = "2")]
    tags: Vec<String>,
}

impl Query {
    pub(in crate::backends) fn of_tag(tag: &str) -> Self {
        let tags = vec![tag.to_owned()];
        Self {
            items: vec![Item { tags }],
        }
    }
}

/// The condition of an append: no event after a position matches.
#[derive(Clone, PartialEq, Message)]
pub(in crate::backends) struct Condition {
    #[prost(message, tag = "1")]
    pub(in crate::backends) query: Option<Query>,
    #[prost(uint64, optional, tag = "2")]
    pub(in crate::backends) after: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::backends) struct Append {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::backends) events: Vec<Event>,
    #[prost(message, tag = "2")]
    pub(in crate::backends) condition: Option<Condition>,
}

/// A position: that of the last event.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Head {
    #[prost(uint64, optional, tag = "1")]
    pub(super) position: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Nothing {}

/// The events to read. The first position is inclusive.
#[derive(Clone, PartialEq, Message)]
pub(in crate::backends) struct Read {
    #[prost(message, tag = "1")]
    pub(in crate::backends) query: Option<Query>,
    #[prost(uint64, optional, tag = "2")]
    pub(in crate::backends) start: Option<u64>,
    #[prost(bool, optional, tag = "3")]
    pub(in crate::backends) backwards: Option<bool>,
    #[prost(uint32, optional, tag = "4")]
    pub(in crate::backends) limit: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    pub(in crate::backends) page: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Subscribe {
    #[prost(uint64, optional, tag = "2")]
    pub(super) after: Option<u64>,
}

/// Events that come together.
#[derive(Clone, PartialEq, Message)]
pub(in crate::backends) struct Page {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::backends) events: Vec<Sequenced>,
}
