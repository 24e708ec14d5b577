//! What an append does before it takes a lock: checks its input, and stamps ids, times and hashes.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use super::lane::tag_part;
use super::repetition::OwnIds;
use crate::event::chunk::LARGE_PAYLOAD_BYTES;
use crate::settings::Limits;
use crate::{Clock, ContentType, Error, IdSource, Name, NewEvent, NewSnapshot, Result, StreamId};

/// What the store adds to a new event.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) id: Uuid,
    pub(crate) time: i64,
    pub(crate) recorded: i64,
    pub(crate) kind_hash: u64,
    pub(crate) tags: Option<Box<str>>,
    /// Metadata and data, when they are large.
    pub(crate) large: Option<Arc<[u8]>>,
}

pub(crate) type Stamps = SmallVec<[Stamp; 1]>;

/// One aggregate's part of an append, ready to be written.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) stream: &'a StreamId,
    pub(crate) stream_hash: u64,
    pub(crate) expected: crate::Expected,
    pub(crate) events: &'a [NewEvent],
    pub(crate) stamps: Stamps,
    /// The ids that the caller brings, by which a repetition is recognised.
    pub(crate) own_ids: OwnIds,
}

/// Stamps new events.
#[derive(Debug)]
pub(crate) struct Stamper<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) ids: &'a dyn IdSource,
    pub(crate) hasher: &'a foldhash::fast::RandomState,
}

impl Stamper<'_> {
    pub(crate) fn stamp(&self, stream: &StreamId, events: &[NewEvent]) -> Stamps {
        let now = self.clock.now();
        let recorded = now.as_micros();
        let stamp = |event: &NewEvent| Stamp {
            id: event.id.unwrap_or_else(|| self.ids.next(now)),
            time: event.timestamp.map_or(recorded, crate::Timestamp::as_micros),
            recorded,
            kind_hash: self.kind_hash(stream, event),
            tags: tag_part(event),
            large: large_payload(event),
        };
        events.iter().map(stamp).collect()
    }

    fn kind_hash(&self, stream: &StreamId, event: &NewEvent) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(event.event_type.as_bytes());
        hasher.write(stream.aggregate_type.as_bytes());
        // The rest is nearly always the same; it is compared, not hashed.
        hasher.finish()
    }
}

fn large_payload(event: &NewEvent) -> Option<Arc<[u8]>> {
    let bytes = event.metadata.len() + event.data.len();
    (bytes >= LARGE_PAYLOAD_BYTES).then(|| [&event.metadata[..], &event.data[..]].concat().into())
}

/// # Errors
///
/// [`Error::Invalid`] with the field, the length and the limit.
pub(crate) fn check(stream: &StreamId, events: &[NewEvent], limits: &Limits) -> Result<()> {
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

fn check_event(event: &NewEvent, limits: &Limits) -> Result<()> {
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

fn check_own_name(what: &str, name: &Name, limits: &Limits) -> Result<()> {
    if name.starts_with('$') {
        return Err(Error::invalid(format!(
            "{what} '{name}' begins with '$': such names are the system's"
        )));
    }
    check_name(what, name, limits.name_bytes_max)
}

fn check_name(what: &str, name: &Name, bytes_max: usize) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("the {what} is empty")));
    }
    check_text(what, name, bytes_max)
}

fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    if text.len() > bytes_max {
        return Err(too_long(&format!("the {what}"), text.len(), bytes_max));
    }
    if text.as_bytes().contains(&0) {
        return Err(Error::invalid(format!(
            "the {what} {text:?} has a U+0000 in it: databases, and programs in C, cannot hold such a name"
        )));
    }
    Ok(())
}

fn too_long(what: &str, bytes: usize, max: usize) -> Error {
    Error::invalid(format!("{what} has {bytes} bytes: at most {max} are allowed"))
}
