//! Messages for events that a store rejects, shared by recovery and verification.

use super::Mark;
use crate::EventRef;

/// The message for a system event of an unknown type.
pub(crate) fn unknown(event: EventRef<'_>) -> String {
    format!(
        "the system event at position {} has the unknown type '{}': a newer version of annals wrote it; use that version",
        event.position(),
        event.event_type()
    )
}

/// The message for an event in a stream that its type does not belong to.
pub(crate) fn misplaced(event: EventRef<'_>) -> String {
    format!(
        "the event at position {} has the type '{}', which is not allowed in the stream '{}'",
        event.position(),
        event.event_type(),
        event.aggregate_id()
    )
}

/// The message for an event whose version is not higher than that of its aggregate.
pub(crate) fn passed(event: EventRef<'_>, known: u32) -> String {
    format!(
        "the event at position {} is version {} of aggregate '{}', which is already at version {known}",
        event.position(),
        event.version(),
        event.aggregate_id()
    )
}

/// The same for the mark of an event that is gone.
pub(crate) fn mark_passed(mark: &Mark, known: u32) -> String {
    format!(
        "the mark at position {} is version {} of aggregate '{}', which is already at version {known}",
        mark.position, mark.version, mark.aggregate_id
    )
}
