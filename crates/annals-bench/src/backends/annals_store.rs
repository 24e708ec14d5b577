//! A store of Annals, whatever its journal is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use annals::{Delivery, Error, EventRef, Expected, Order, Position, Query, Store, StreamId, Tail, Timestamp, Version};

use crate::store::{
    By, EventStore, Follow, Look, LookAtTrace, NewEvent, Question, Result, StoreError, StoredEvent, Trace, Usage,
};

/// The type of all aggregates.
const AGGREGATE_TYPE: &str = "Bench";

/// A store of Annals.
#[derive(Debug)]
pub(crate) struct AnnalsStore {
    pub(crate) store: Store,
    /// The directory of its files, if any.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) has_journal: bool,
}

pub(crate) fn failed(error: &dyn std::error::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

pub(crate) fn of_store(error: &Error) -> StoreError {
    if matches!(error, Error::Conflict(_)) {
        StoreError::Conflict
    } else {
        failed(error)
    }
}

fn to_append<'a>(event: &NewEvent<'a>) -> annals::NewEvent<'a> {
    let new = annals::NewEvent::new(event.event_type)
        .timestamp(Timestamp::from_micros(event.micros))
        .data(event.data);
    // An event of a log may belong to none.
    let new = if event.correlation.is_empty() {
        new
    } else {
        new.correlation(event.correlation)
    };
    if event.causation.is_empty() {
        new
    } else {
        new.causation(event.causation)
    }
}

fn stored(event: EventRef<'_>) -> StoredEvent<'_> {
    StoredEvent {
        stream: event.aggregate_id(),
        version: event.version(),
        position: Some(event.position()),
        data: event.data(),
    }
}

impl EventStore for AnnalsStore {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let stream = StreamId::new(AGGREGATE_TYPE, stream);
        let events = events.iter().map(to_append).collect::<Vec<_>>();
        let appended = self
            .store
            .append(&stream, expected, events)
            .map_err(|error| of_store(&error))?;
        Ok(appended.first_version)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        let read = self.store.read_stream(stream).after(after);
        read.for_each(|event| look(stored(event)));
        Ok(())
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let read = self.store.read_all().after(after).limit(limit);
        read.for_each(|event| look(stored(event)));
        Ok(())
    }

    fn read_traces(&self, after: Position, limit: usize, look: LookAtTrace<'_>) -> Result<()> {
        let read = self.store.read_all().after(after).limit(limit);
        read.for_each(|event| {
            look(Trace {
                position: event.position(),
                data: event.data(),
                correlation: event.correlation_id().unwrap_or_default(),
                causation: event.causation_id().unwrap_or_default(),
            });
        });
        Ok(())
    }

    fn query(&self, question: &Question, look: Look<'_>) -> Result<()> {
        let query = match &question.by {
            By::Type(name) => Query::all().event_type(name.as_str()),
            By::Correlation(id) => Query::all().correlation(id.as_str()),
            By::Time(from, to) => Query::all()
                .since(Timestamp::from_micros(*from))
                .before(Timestamp::from_micros(*to)),
        };
        let query = query.order(Order::PositionDescending).limit(question.limit);
        let run = self.store.query(query);
        let run = if question.is_cached { run } else { run.uncached() };
        run.for_each(|event| look(stored(event)))
            .map_err(|error| of_store(&error))
    }

    fn follow(&self, after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        let tail = self.store.tail(Query::all(), after).map_err(|error| of_store(&error))?;
        Ok(Some(Box::new(Live(tail))))
    }

    fn drain(&self) -> Result<()> {
        if self.has_journal {
            self.store.close().map_err(|error| of_store(&error))
        } else {
            Ok(())
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            memory_bytes: Some(self.store.stats().memory_bytes),
            disk_bytes: self.folder.as_deref().map(bytes_in),
        }
    }
}

/// A live tail.
struct Live(Tail);

impl Follow for Live {
    fn next(&mut self, limit: usize, wait: Duration, look: Look<'_>) -> Result<()> {
        let first = self.0.next_timeout(wait);
        let more = if first.is_some() {
            self.0.try_batch(limit.saturating_sub(1))
        } else {
            Vec::new()
        };
        for delivery in first.into_iter().chain(more) {
            if let Delivery::Event(event) = delivery {
                look(StoredEvent {
                    stream: event.aggregate_id(),
                    version: event.version(),
                    position: Some(event.position()),
                    data: event.data(),
                });
            }
        }
        Ok(())
    }
}

/// The bytes of the files in a folder.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|data| data.len())
        .sum()
}
