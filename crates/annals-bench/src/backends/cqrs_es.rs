//! `cqrs-es`: the store in memory of the crate cqrs-es.
//!
//! It checks no version, and it reads and writes a stream under two locks, one after the other: with several workers it loses events, which the oracle finds.
//! It prints a line for each load and each append.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use annals::{Expected, Position, Version};
use cqrs_es::event_sink::EventSink;
use cqrs_es::mem_store::{MemStore, MemStoreAggregateContext};
use cqrs_es::{Aggregate, DomainEvent, EventEnvelope, EventStore as _};
use futures_executor::block_on;
use serde::{Deserialize, Serialize};

use super::silence::Silence;
use crate::store::{
    Backend, BatchUnit, ConsistencyCheck, Description, DurabilityClass, EventStore, Look, NewEvent, Result, StoreError,
    StoredEvent,
};

/// The backend `cqrs-es`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CqrsEs;

/// A stored event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    name: String,
    data: Vec<u8>,
}

impl DomainEvent for Kept {
    fn event_type(&self) -> String {
        self.name.clone()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

/// An aggregate without behaviour: the benchmark measures the store below it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Plain;

impl Aggregate for Plain {
    const TYPE: &'static str = "Bench";
    type Command = ();
    type Event = Kept;
    type Error = Infallible;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(&mut self, _: Kept) {}
}

struct CqrsEsStore {
    inner: MemStore<Plain>,
    _silence: Silence,
}

impl Backend for CqrsEs {
    fn description(&self) -> Description {
        Description {
            name: "cqrs-es".to_owned(),
            software: "cqrs-es 0.5.0".to_owned(),
            settings: "MemStore::default(), which checks no version; the lines that it prints are discarded".to_owned(),
            durability: DurabilityClass::Volatile,
            batch_unit: BatchUnit::Append,
            check: ConsistencyCheck::None,
            keeps_events: true,
            has_log: false,
            has_queries: false,
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        Ok(Arc::new(CqrsEsStore {
            inner: MemStore::default(),
            _silence: Silence::begin()?,
        }))
    }

    fn wipe(&self) -> Result<()> {
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn metadata(event: &NewEvent<'_>) -> HashMap<String, String> {
    HashMap::from([
        ("correlation_id".to_owned(), event.correlation.to_owned()),
        ("time".to_owned(), event.micros.to_string()),
    ])
}

impl CqrsEsStore {
    fn read(&self, stream: &str) -> Result<Vec<EventEnvelope<Plain>>> {
        block_on(self.inner.load_events(stream)).map_err(failed)
    }

    /// The version that the new events follow: that of the caller, or the last one. The store does not check it.
    fn last(&self, stream: &str, expected: Expected) -> Result<usize> {
        match expected {
            Expected::NoStream => Ok(0),
            Expected::Exactly(version) => usize::try_from(version.0).map_err(failed),
            Expected::Any | Expected::StreamExists => {
                Ok(self.read(stream)?.last().map_or(0, |envelope| envelope.sequence))
            }
        }
    }
}

impl EventStore for CqrsEsStore {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let keep = |event: &NewEvent<'_>| Kept {
            name: event.event_type.to_owned(),
            data: event.data.to_vec(),
        };
        let last = self.last(stream, expected)?;
        let context = MemStoreAggregateContext {
            aggregate_id: stream.to_owned(),
            aggregate: Plain,
            current_sequence: last,
        };
        let metadata = events.first().map(metadata).unwrap_or_default();
        let commit = self.inner.commit(events.iter().map(keep).collect(), context, metadata);
        block_on(commit).map_err(failed)?;
        Ok(Version(last as u64 + 1))
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        for envelope in self.read(stream)? {
            let version = Version(envelope.sequence as u64);
            if version > after {
                look(StoredEvent {
                    stream,
                    version,
                    position: None,
                    data: &envelope.payload.data,
                });
            }
        }
        Ok(())
    }

    fn read_log(&self, _: Position, _: usize, _: Look<'_>) -> Result<()> {
        Err(StoreError::Unsupported("read a log over all streams"))
    }
}
