//! Why events cannot be taken, for whoever fills a store and for whoever checks that it could be filled.

use super::Mark;
use crate::EventRef;

/// Why an event of the system cannot be taken.
pub(crate) fn unknown(event: EventRef<'_>) -> String {
    format!(
        "the system's event at position {} is of the unknown type '{}': a newer program has written it",
        event.position(),
        event.event_type()
    )
}

/// Why an event cannot be taken in the stream where it is.
pub(crate) fn misplaced(event: EventRef<'_>) -> String {
    format!(
        "the event at position {} is of the type '{}', which the stream '{}' does not have",
        event.position(),
        event.event_type(),
        event.aggregate_id()
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
