//! Instances from their streams.

use std::collections::BTreeMap;

use super::instance::Instance;
use super::record::SagaEvent;
use crate::cqrs::TypedEvents;
use crate::cqrs::process::StopReason;
use crate::{Event, Query, Store, StreamId};

/// The instances of a saga that have not ended.
pub(super) fn restored_all(store: &Store, saga_type: &str) -> Result<Vec<Instance>, StopReason> {
    let mut streams: BTreeMap<StreamId, Vec<_>> = BTreeMap::new();
    for (event, record) in read(store, Query::all().aggregate_type(saga_type))? {
        streams.entry(record.stream_id()).or_default().push((event, record));
    }
    let mut instances = Vec::new();
    for (stream, events) in streams {
        let id = stream.aggregate_id.clone();
        let key = id.strip_prefix(saga_type).and_then(|rest| rest.strip_prefix('/'));
        let instance = folded(store, stream, key.unwrap_or(&id), events)?;
        if !instance.is_ended() {
            instances.push(instance);
        }
    }
    Ok(instances)
}

/// The instance with a key, as its stream says.
pub(super) fn restored(store: &Store, stream: StreamId, key: &str) -> Result<Instance, StopReason> {
    let events = read_stream(store, &stream.aggregate_id)?;
    folded(store, stream, key, events)
}

/// An instance from its events.
///
/// # Errors
///
/// [`StopReason::Storage`] when it has not ended and events are gone: what it has done and has still to do is not known.
fn folded(store: &Store, stream: StreamId, key: &str, events: Vec<(SagaEvent, Event)>) -> Result<Instance, StopReason> {
    let mut instance = Instance::new(stream, key);
    let mut gone = None;
    for (event, record) in events {
        let (before, last) = (record.version().0 - 1, instance.version.0);
        if before > last && (last > 0 || before > deleted_to(store, &record)) {
            gone = gone.or(Some((last + 1, before)));
        }
        instance.apply(event, &record);
    }
    match gone {
        Some((first, last)) if !instance.is_ended() => Err(StopReason::Storage {
            reason: format!(
                "the events of '{}' in versions {first} to {last} are gone, and it has not ended: limits must not drop the streams of sagas; \
             delete the stream to give the instance up",
                instance.stream.aggregate_id
            ),
        }),
        _ => Ok(instance),
    }
}

fn deleted_to(store: &Store, record: &Event) -> u64 {
    store
        .stream_info(record.aggregate_id())
        .map_or(0, |info| info.deleted_to.0)
}

/// The events of an instance.
fn read_stream(store: &Store, id: &str) -> Result<Vec<(SagaEvent, Event)>, StopReason> {
    let read = TypedEvents::<SagaEvent>::new().read_stream(store, id);
    Ok(pairs(read.map_err(|error| StopReason::Storage {
        reason: error.to_string(),
    })?))
}

fn read(store: &Store, query: Query) -> Result<Vec<(SagaEvent, Event)>, StopReason> {
    let read = TypedEvents::<SagaEvent>::new().query(store, query);
    Ok(pairs(read.map_err(|error| StopReason::Storage {
        reason: error.to_string(),
    })?))
}

fn pairs(read: Vec<crate::cqrs::Recorded<SagaEvent>>) -> Vec<(SagaEvent, Event)> {
    read.into_iter()
        .map(|recorded| (recorded.event, recorded.record))
        .collect()
}
