//! Which events of a journal a store takes, given the version of their aggregates: one rule for recovery and for verification.

use super::Mark;
use crate::EventRef;
use crate::event::system::{self, SystemEvent};

/// Checks an event whose aggregate is at version `known`. Returns what a system event says, `None` for an event of the user.
///
/// # Errors
///
/// Why the store does not take it.
pub(crate) fn check(event: EventRef<'_>, known: u32) -> Result<Option<SystemEvent>, String> {
    if system::is_misplaced(event) {
        return Err(misplaced(event));
    }
    if event.raw_version() <= known {
        return Err(passed(event, known));
    }
    if event.is_system() {
        return system::parse(event).map(Some).ok_or_else(|| unknown(event));
    }
    Ok(None)
}

/// Checks the mark of an event that is gone, whose aggregate is at version `known`. Returns its version.
///
/// # Errors
///
/// Why the store does not take it.
pub(crate) fn check_mark(mark: &Mark, known: u32) -> Result<u32, String> {
    let version = u32::try_from(mark.version.0).unwrap_or(u32::MAX);
    if version <= known {
        return Err(mark_passed(mark, known));
    }
    Ok(version)
}

/// The message for a system event of an unknown type.
fn unknown(event: EventRef<'_>) -> String {
    format!(
        "the system event at position {} has the unknown type '{}': a newer version of annals wrote it; use that version",
        event.position(),
        event.event_type()
    )
}

/// The message for an event in a stream that its type does not belong to.
fn misplaced(event: EventRef<'_>) -> String {
    format!(
        "the event at position {} has the type '{}', which is not allowed in the stream '{}'",
        event.position(),
        event.event_type(),
        event.aggregate_id()
    )
}

/// The message for an event whose version is not higher than that of its aggregate.
fn passed(event: EventRef<'_>, known: u32) -> String {
    format!(
        "the event at position {} is version {} of aggregate '{}', which is already at version {known}",
        event.position(),
        event.version(),
        event.aggregate_id()
    )
}

/// The same for the mark of an event that is gone.
fn mark_passed(mark: &Mark, known: u32) -> String {
    format!(
        "the mark at position {} is version {} of aggregate '{}', which is already at version {known}",
        mark.position, mark.version, mark.aggregate_id
    )
}
