//! `eventually`: the store in memory of the crate eventually.

use std::sync::Arc;

use annals::{Expected, Position, Version};
use eventually::EventStore as _;
use eventually::inmemory::EventStore as Inner;
use eventually::store::{Expected as InnerExpected, Persisted, Select};
use eventually::versioning::Versioned as _;
use futures_executor::block_on;
use futures_util::TryStreamExt as _;

use super::naive::holds;
use crate::store::{
    Backend, BatchUnit, ConsistencyCheck, Description, DurabilityClass, EventStore, Look, NewEvent, Result, StoreError,
    StoredEvent,
};

/// The backend `eventually`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Eventually;

/// A stored event.
#[derive(Clone, Debug)]
struct Kept {
    data: Vec<u8>,
    #[expect(
        dead_code,
        reason = "a program keeps them with an event, and nothing here reads them"
    )]
    names: (String, String, i64),
}

struct EventuallyStore(Inner<String, Kept>);

impl Backend for Eventually {
    fn description(&self) -> Description {
        Description {
            name: "eventually".to_owned(),
            software: "eventually 0.4.0".to_owned(),
            settings: "EventStore::default()".to_owned(),
            durability: DurabilityClass::Volatile,
            batch_unit: BatchUnit::Append,
            check: ConsistencyCheck::StreamVersion,
            keeps_events: true,
            has_log: false,
            has_queries: false,
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        Ok(Arc::new(EventuallyStore(Inner::default())))
    }

    fn wipe(&self) -> Result<()> {
        Ok(())
    }
}

fn version(version: u64) -> Result<u32> {
    u32::try_from(version).map_err(|_| StoreError::Failed("a version has at most 32 bits".to_owned()))
}

impl EventuallyStore {
    fn read(&self, stream: &str, select: Select) -> Result<Vec<Persisted<String, Kept>>> {
        let read = async { self.0.stream(stream.to_owned(), select).await?.try_collect().await };
        block_on(read).map_err(|error| StoreError::Failed(error.to_string()))
    }
}

impl EventStore for EventuallyStore {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let keep = |event: &NewEvent<'_>| Kept {
            data: event.data.to_vec(),
            names: (event.event_type.to_owned(), event.correlation.to_owned(), event.micros),
        };
        let kept: Vec<Kept> = events.iter().map(keep).collect();
        let expected = match expected {
            Expected::Any => InnerExpected::Any,
            Expected::NoStream => InnerExpected::Exact(0),
            Expected::Exactly(exactly) => InnerExpected::Exact(version(exactly.0)?),
            Expected::StreamExists => {
                let last = self
                    .read(stream, Select::All)?
                    .last()
                    .map_or(0, |event| u64::from(event.version()));
                if !holds(expected, last) {
                    return Err(StoreError::Conflict);
                }
                InnerExpected::Any
            }
        };
        // `append` takes `&mut self`, and the shared handle is a reference: clone it.
        let mut handle = self.0.clone();
        let last = block_on(handle.append(stream.to_owned(), expected, kept)).map_err(|_| StoreError::Conflict)?;
        Ok(Version((u64::from(last) + 1).saturating_sub(events.len() as u64)))
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        for event in self.read(stream, Select::From(version(after.0.saturating_add(1))?))? {
            look(StoredEvent {
                stream,
                version: Version(u64::from(event.version())),
                position: None,
                data: &event.data,
            });
        }
        Ok(())
    }

    fn read_log(&self, _: Position, _: usize, _: Look<'_>) -> Result<()> {
        Err(StoreError::Unsupported("read a log over all streams"))
    }
}
