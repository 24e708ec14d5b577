//! Events of an answer.

use annals::{Event, Gap, Position, StreamId, Timestamp, Version};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::page::Page;
use crate::wire::new_event::parse_one;

/// The place of an event. Its other members are those of a new event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    position: u64,
    version: u64,
    recorded_at: Timestamp,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePage<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    as_of: u64,
    gaps: Vec<Gap>,
    next: Option<String>,
}

/// # Errors
///
/// The fault of the event.
pub(super) fn event(json: &str) -> Result<Event, String> {
    let place: Place = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let incoming = parse_one(json)?;
    let (Some(kind), Some(id)) = (incoming.aggregate_type, incoming.aggregate_id) else {
        return Err("an event names no aggregate".to_owned());
    };
    let stream = StreamId::new(kind, id);
    let (version, position) = (Version(place.version), Position(place.position));
    let event = Event::received(&stream, version, position, place.recorded_at, &incoming.event);
    event.map_err(|error| error.to_string())
}

pub(super) fn event_of_bytes(bytes: &[u8]) -> Result<Event, String> {
    event(str::from_utf8(bytes).map_err(|error| error.to_string())?)
}

/// # Errors
///
/// The fault of the page.
pub(super) fn page(bytes: &[u8]) -> Result<Page, String> {
    let text = str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let wire: WirePage<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let events = wire.events.iter().map(|raw| event(raw.get()));
    Ok(Page {
        events: events.collect::<Result<_, _>>()?,
        as_of: Position(wire.as_of),
        gaps: wire.gaps,
        next: wire.next,
    })
}
