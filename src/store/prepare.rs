//! What an append does before it takes a lock: checks its input, and adds ids, times and hashes.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use uuid::Uuid;

use super::repetition::OwnIds;
use crate::event::chunk::LARGE_PAYLOAD_BYTES;
use crate::event::names;
use crate::settings::Limits;
use crate::{Clock, ContentType, Error, IdSource, NewEvent, NewSnapshot, Result, StreamId};

/// What the store adds to new events.
#[derive(Debug)]
pub(crate) struct EventMeta {
    /// When they are recorded, in microseconds since 1970.
    pub(crate) recorded: i64,
    pub(crate) ids: SmallVec<[Uuid; 1]>,
    /// One for each event, or none where no event needs one.
    extras: Vec<Extra>,
}

/// What few events have.
#[derive(Debug)]
pub(crate) struct Extra {
    /// Tags as one part of the names.
    pub(crate) tags: Option<Box<str>>,
    /// Metadata and data, when they are large.
    pub(crate) large: Option<Arc<[u8]>>,
}

/// One aggregate's part of an append, ready to be written.
#[derive(Debug)]
pub(crate) struct PreparedAppend<'a> {
    pub(crate) stream: &'a StreamId,
    pub(crate) stream_hash: u64,
    pub(crate) expected: crate::Expected,
    pub(crate) events: &'a [NewEvent<'a>],
    pub(crate) meta: EventMeta,
    /// The ids that the caller brings, by which a repetition is recognised.
    pub(crate) own_ids: OwnIds,
}

impl EventMeta {
    pub(crate) fn of(events: &[NewEvent<'_>], clock: &dyn Clock, ids: &dyn IdSource) -> Self {
        let now = clock.now();
        let id = |event: &NewEvent<'_>| event.id.unwrap_or_else(|| ids.next(now));
        let needs_extra = |event: &NewEvent<'_>| !event.tags.is_empty() || is_large(event);
        Self {
            recorded: now.as_micros(),
            ids: match events {
                [event] => smallvec![id(event)],
                events => events.iter().map(id).collect(),
            },
            extras: if events.iter().any(needs_extra) {
                events.iter().map(Extra::of).collect()
            } else {
                Vec::new()
            },
        }
    }

    #[inline]
    pub(crate) fn extra(&self, place: usize) -> Option<&Extra> {
        self.extras.get(place)
    }
}

impl Extra {
    fn of(event: &NewEvent<'_>) -> Self {
        let tags = || names::write_tags(event.tags.iter().map(AsRef::as_ref)).into();
        Self {
            tags: (!event.tags.is_empty()).then(tags),
            large: is_large(event).then(|| [&event.metadata[..], &event.data[..]].concat().into()),
        }
    }
}

fn is_large(event: &NewEvent<'_>) -> bool {
    event.metadata.len() + event.data.len() >= LARGE_PAYLOAD_BYTES
}

/// # Errors
///
/// [`Error::Invalid`] with the field, the length and the limit.
pub(crate) fn check(stream: &StreamId, events: &[NewEvent<'_>], limits: &Limits) -> Result<()> {
    check_own_name("aggregate type", &stream.aggregate_type, limits)?;
    check_own_name("aggregate id", &stream.aggregate_id, limits)?;
    if events.len() > limits.batch_events_max {
        return Err(Error::invalid(format!(
            "{} events in one append: at most {} are allowed",
            events.len(),
            limits.batch_events_max
        )));
    }
    let mut batch_bytes = 0;
    for event in events {
        check_event(event, limits)?;
        batch_bytes += event.metadata.len() + event.data.len();
    }
    check_batch_bytes(batch_bytes, limits)
}

/// # Errors
///
/// [`Error::Invalid`] when there are too many.
pub(crate) fn check_batch_bytes(bytes: usize, limits: &Limits) -> Result<()> {
    if bytes > limits.batch_bytes_max {
        return Err(too_long("an append's metadata and data", bytes, limits.batch_bytes_max));
    }
    Ok(())
}

fn check_event(event: &NewEvent<'_>, limits: &Limits) -> Result<()> {
    check_own_name("event type", &event.event_type, limits)?;
    let names = [
        ("correlation id", &event.correlation_id),
        ("causation id", &event.causation_id),
        ("user id", &event.user_id),
        ("organization id", &event.organization_id),
    ];
    for (what, name) in names {
        if let Some(name) = name {
            check_name(what, name, limits.name_bytes_max)?;
        }
    }
    if event.tags.len() > limits.tags_max {
        return Err(Error::invalid(format!(
            "{} tags: at most {} are allowed",
            event.tags.len(),
            limits.tags_max
        )));
    }
    for tag in &event.tags {
        check_name("tag", tag, limits.name_bytes_max)?;
    }
    for content_type in [&event.data_type, &event.metadata_type] {
        // The well-known ones are no names of the caller's.
        if let ContentType::Other(name) = content_type {
            check_text("content type", name, limits.name_bytes_max)?;
        }
    }
    let bytes = event.metadata.len() + event.data.len();
    if bytes > limits.payload_bytes_max {
        return Err(too_long(
            "an event's metadata and data",
            bytes,
            limits.payload_bytes_max,
        ));
    }
    Ok(())
}

/// # Errors
///
/// [`Error::Invalid`] when the data, or the name of what they are, is too long.
pub(crate) fn check_snapshot(snapshot: &NewSnapshot, limits: &Limits) -> Result<()> {
    if let ContentType::Other(name) = &snapshot.data_type {
        check_text("content type", name, limits.name_bytes_max)?;
    }
    let bytes = snapshot.data.len();
    if bytes > limits.payload_bytes_max {
        return Err(too_long("a snapshot's data", bytes, limits.payload_bytes_max));
    }
    Ok(())
}

#[inline]
fn check_own_name(what: &str, name: &str, limits: &Limits) -> Result<()> {
    if name.as_bytes().first() == Some(&b'$') {
        return Err(reserved(what, name));
    }
    check_name(what, name, limits.name_bytes_max)
}

#[inline]
fn check_name(what: &str, name: &str, bytes_max: usize) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("the {what} is empty")));
    }
    check_text(what, name, bytes_max)
}

#[inline]
fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    if text.len() > bytes_max {
        return Err(too_long(&format!("the {what}"), text.len(), bytes_max));
    }
    if has_zero(text.as_bytes()) {
        return Err(with_zero(what, text));
    }
    Ok(())
}

#[cold]
fn reserved(what: &str, name: &str) -> Error {
    Error::invalid(format!("{what} '{name}' begins with '$': such names are the system's"))
}

#[cold]
fn with_zero(what: &str, text: &str) -> Error {
    Error::invalid(format!(
        "the {what} {text:?} has a U+0000 in it: databases, and programs in C, cannot hold such a name"
    ))
}

/// Whether a byte is 0, eight at a time: names are too short for a vectorised search to pay its call.
#[inline]
fn has_zero(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // A borrow out of a byte's lowest bit reaches its highest only where the byte was 0, or a lower one was.
    let zero_in = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        word.wrapping_sub(ONES) & !word & (ONES << 7) != 0
    };
    match bytes.last_chunk() {
        // The last word overlaps the one before.
        Some(last) => bytes.as_chunks().0.iter().any(zero_in) || zero_in(last),
        None => bytes.contains(&0),
    }
}

#[cold]
fn too_long(what: &str, bytes: usize, max: usize) -> Error {
    Error::invalid(format!("{what} has {bytes} bytes: at most {max} are allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_zero_is_found_wherever_it_is(bytes in proptest::collection::vec(0_u8..4, 0..40), high in proptest::bool::ANY) {
            let bytes: Vec<_> = bytes.into_iter().map(|byte| if high && byte > 0 { byte + 0x7e } else { byte }).collect();
            proptest::prop_assert_eq!(has_zero(&bytes), bytes.contains(&0));
        }
    }
}
