//! Converts events of the framework to events of the log, and back.

use annals::{Event, NewEvent, StreamId};
use cqrs_es::Aggregate;
use cqrs_es::persist::{PersistenceError, SerializedEvent};
use serde_json::{Value, json};

/// Maximum bytes of a name. A longer one is in the metadata only.
const NAME_BYTES_MAX: usize = 255;

/// The id of an aggregate of the framework in the store: `TYPE/ID`. Use it for reads and queries of the store. In the type `/` becomes `%2F` and `%`
/// becomes `%25`, so that no two aggregates have the same id.
pub fn aggregate_id<A: Aggregate>(id: &str) -> String {
    format!("{}{id}", prefix(A::TYPE))
}

fn prefix(aggregate_type: &str) -> String {
    format!("{}/", aggregate_type.replace('%', "%25").replace('/', "%2F"))
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
    // What is no name of the store does not fail the command: the framework takes any text.
    let is_name = |text: &&str| !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains('\0');
    let name = |key: &str| {
        let text = event.metadata.get(key).and_then(Value::as_str);
        text.filter(is_name).map(str::to_owned)
    };
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
    let prefix = prefix(event.aggregate_type());
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
