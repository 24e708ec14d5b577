//! Converts events of the framework to events of the log, and back.

use annals::{Event, NewEvent, StreamId};
use cqrs_es::Aggregate;
use cqrs_es::persist::{PersistenceError, SerializedEvent};
use serde_json::{Value, json};

/// The id of an aggregate of the framework in the store: `TYPE/ID`. Use it for reads and queries of the store.
pub fn aggregate_id<A: Aggregate>(id: &str) -> String {
    format!("{}/{id}", A::TYPE)
}

pub(crate) fn stream<A: Aggregate>(id: &str) -> StreamId {
    StreamId::new(A::TYPE, aggregate_id::<A>(id))
}

/// An error that the framework passes on with its text.
pub(crate) fn unknown(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PersistenceError {
    PersistenceError::UnknownError(error.into())
}

/// The leading number of a version such as `2.1`, at least 1.
fn schema_version(version: &str) -> u32 {
    let digits = version.split(|character: char| !character.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(1).max(1)
}

pub(crate) fn to_new(event: &SerializedEvent) -> NewEvent<'static> {
    let metadata = json!({"eventVersion": event.event_version, "metadata": event.metadata});
    let mut new = NewEvent::new(event.event_type.clone())
        .schema_version(schema_version(&event.event_version))
        .metadata(metadata.to_string())
        .data(event.payload.to_string());
    let name = |key: &str| event.metadata.get(key).and_then(Value::as_str).map(str::to_owned);
    if let Some(id) = name("correlation_id") {
        new = new.correlation(id);
    }
    if let Some(id) = name("causation_id") {
        new = new.causation(id);
    }
    if let Some(id) = name("user_id") {
        new = new.user(id);
    }
    if let Some(id) = name("organization_id") {
        new = new.organization(id);
    }
    new
}

pub(crate) fn to_serialized(event: &Event) -> Result<SerializedEvent, PersistenceError> {
    let undecodable = |error: serde_json::Error| {
        let what = format!("event {} at position {}: {error}", event.id(), event.position());
        PersistenceError::DeserializationError(what.into())
    };
    let aggregate_id = event.aggregate_id();
    let prefix = format!("{}/", event.aggregate_type());
    // An event that something else has appended has other metadata.
    let metadata = match event.metadata() {
        b"" => Value::Null,
        bytes => serde_json::from_slice(bytes).map_err(undecodable)?,
    };
    let version = metadata.get("eventVersion").and_then(Value::as_str);
    Ok(SerializedEvent {
        aggregate_id: aggregate_id.strip_prefix(&prefix).unwrap_or(aggregate_id).to_owned(),
        sequence: usize::try_from(event.version().0).map_err(unknown)?,
        aggregate_type: event.aggregate_type().to_owned(),
        event_type: event.event_type().to_owned(),
        event_version: version.map_or_else(|| format!("{}.0", event.schema_version()), str::to_owned),
        payload: serde_json::from_slice(event.data()).map_err(undecodable)?,
        metadata: metadata.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}
