//! What scenarios share: the time at which they begin, and how they fail.

use std::fmt::Display;
use std::sync::Arc;

pub(super) use super::fail::fail;
use crate::cqrs::{Codec, Decided, Json};
use crate::{Clock, Event, Expected, ManualClock, NewEvent, Store, Timestamp};

/// The time at which a scenario begins: 2026-01-01T00:00:00Z.
pub(super) const BEGIN: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// An empty store, and its clock.
#[track_caller]
pub(super) fn empty_store() -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(BEGIN));
    let store = Store::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).open();
    (must(store), clock)
}

/// Appends an event that has happened.
#[track_caller]
pub(super) fn append<E: serde::Serialize>(store: &Store, given: &Decided<E>) {
    let encoded = must(Json.encode(given.event()));
    let event = NewEvent::new(&encoded.event_type).data(&encoded.data);
    let event = given.tags().iter().fold(event, |event, tag| event.tag(tag.as_str()));
    must(store.append(given.stream(), Expected::Any, event));
}

/// An event of the store, as a scenario states it.
#[track_caller]
pub(super) fn decided<E: serde::de::DeserializeOwned>(event: &Event) -> Decided<E> {
    let typed = must(Json.decode(event.event_type(), event.data()));
    event
        .tags()
        .fold(Decided::new(event.stream_id(), typed), |decided, tag| decided.tag(tag))
}

#[track_caller]
pub(super) fn must<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| fail(&format!("the scenario cannot be carried out: {error}")))
}
