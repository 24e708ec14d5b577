//! What the system's events say, for whoever fills a store and for whoever checks that it could be filled.

use std::time::Duration;

use super::Mark;
use crate::{EventRef, StreamLimits};

/// The type of events in place of those that were lost.
pub(crate) const LOST: &str = "$lost";

/// What became of a stream, or of a position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SystemEvent {
    Truncated { to_version: u64 },
    Deleted,
    Tombstoned,
    Limited(StreamLimits),
    Lost,
}

/// The version up to which an aggregate's events were gone by age before the event was written, if that is said: it depended on
/// the clock, and cannot be found out again.
pub(crate) fn gone_to(event: EventRef<'_>) -> Option<u32> {
    number(str::from_utf8(event.data()).ok()?, "goneTo")?.parse().ok()
}

/// What a system's event says; `None` if this program does not know.
pub(crate) fn parse(event: EventRef<'_>) -> Option<SystemEvent> {
    let data = str::from_utf8(event.data()).ok()?;
    match event.event_type() {
        "$truncated" => number(data, "toVersion")?
            .parse()
            .ok()
            .map(|to_version| SystemEvent::Truncated { to_version }),
        "$deleted" => Some(SystemEvent::Deleted),
        "$tombstoned" => Some(SystemEvent::Tombstoned),
        "$limited" => Some(SystemEvent::Limited(limits(data))),
        LOST => Some(SystemEvent::Lost),
        _ => None,
    }
}

fn limits(data: &str) -> StreamLimits {
    let age = number(data, "maxAgeSeconds").and_then(|text| text.parse().ok());
    StreamLimits {
        max_count: number(data, "maxCount").and_then(|text| text.parse().ok()),
        max_age: age.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
    }
}

/// The number behind `key` in an object that the store itself has written, without spaces.
fn number<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = object.split_once(&format!("\"{key}\":"))?;
    rest.split([',', '}']).next()
}

/// Why an event of the system cannot be taken.
pub(crate) fn unknown(event: EventRef<'_>) -> String {
    format!(
        "the system's event at position {} is of the unknown type '{}': a newer program has written it",
        event.position(),
        event.event_type()
    )
}

/// Why an event of a version that an aggregate has passed cannot be taken.
pub(crate) fn passed(event: EventRef<'_>, known: u32) -> String {
    format!(
        "the event at position {} is version {} of aggregate '{}', which is at version {known} already",
        event.position(),
        event.version(),
        event.aggregate_id()
    )
}

/// The same of what is left of an event that is gone.
pub(crate) fn mark_passed(mark: &Mark, known: u32) -> String {
    format!(
        "what is left of position {} is version {} of aggregate '{}', which is at version {known} already",
        mark.position, mark.version, mark.aggregate_id
    )
}
