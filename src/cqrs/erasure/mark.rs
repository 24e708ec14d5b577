//! The marks of destroyed keys in the log: events that a restored copy of the key store cannot take back.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::KeyError;
use crate::cqrs::{Json, NewEventId, TypedEvents, UnknownEvents};
use crate::{Expected, Position, Store, StreamId, Version};

/// The stream of the marks.
pub(super) const STREAM: &str = "annals.erasure";

/// The event of an erasure, as processors see it. It has no name of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum MarkEvent {
    #[serde(rename = "annals.Erased")]
    Erased(Mark),
}

/// The keys that an erasure destroys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The id of the subject's key.
    pub(super) key: Uuid,
    pub(super) generation: u32,
    /// The id of the key of derived data until then.
    pub(super) derived: Uuid,
}

pub(super) fn version(store: &Store) -> Version {
    store.stream_info(STREAM).map_or(Version(0), |info| info.version)
}

pub(super) fn read(store: &Store) -> Result<Vec<Mark>, KeyError> {
    let events = TypedEvents::<MarkEvent, Json>::new().unknown_events(UnknownEvents::Skip);
    let read = events.read_stream(store, STREAM);
    let read = read.map_err(|error| KeyError::Storage {
        reason: format!("cannot read the marks of erasures: {error}"),
    })?;
    Ok(read
        .into_iter()
        .map(|recorded| {
            let MarkEvent::Erased(mark) = recorded.event;
            mark
        })
        .collect())
}

/// Appends a mark with the durability of the store's handle; the same mark once.
pub(super) fn append(store: &Store, mark: Mark) -> Result<Position, KeyError> {
    let failed = |error: String| KeyError::Storage {
        reason: format!("cannot append the mark of the erasure, and no key is destroyed: {error}; try again"),
    };
    let events = TypedEvents::<MarkEvent, Json>::new();
    let id = Uuid::new_v5(&mark.key, mark.derived.as_bytes());
    let (encoded, _) = events
        .encode(
            &MarkEvent::Erased(mark),
            NewEventId {
                id,
                aggregate_id: STREAM,
            },
        )
        .map_err(|(_, error)| failed(error.to_string()))?;
    let new = crate::NewEvent {
        id: Some(id),
        ..events.new_event(encoded)
    };
    let stream = StreamId::new("annals.Erasure", STREAM);
    let appended = store
        .append(&stream, Expected::Any, new)
        .map_err(|error| failed(error.to_string()))?;
    Ok(appended.last_position)
}
