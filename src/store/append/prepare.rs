//! The work of an append before it takes a lock: checking its input, and adding ids, times and hashes.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use uuid::Uuid;

use crate::event::chunk::LARGE_PAYLOAD_BYTES;
use crate::event::names::{self, NameHash, PARTS, Part};
use crate::settings::Limits;
use crate::store::append::own_ids::OwnIds;
use crate::{Clock, ContentType, Error, IdSource, NewEvent, NewSnapshot, Result, StreamId};

/// Maximum number of snapshots that an aggregate retains.
const SNAPSHOTS_MAX: u32 = 64;

/// The hashes of an event's names.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NameHashes {
    pub(crate) event_type: u32,
    /// In the order of [`Part`]; 0 where there is no name.
    pub(crate) parts: [u32; PARTS],
}

/// The hashes of each event's names.
pub(crate) type Hashes = SmallVec<[NameHashes; 1]>;

/// The data that the store adds to new events.
#[derive(Debug)]
pub(crate) struct EventMeta {
    /// When they are recorded, in microseconds since 1970.
    pub(crate) recorded: i64,
    pub(crate) ids: SmallVec<[Uuid; 1]>,
    pub(crate) hashes: Hashes,
    /// One for each event, or empty if no event needs one.
    extras: Vec<Extra>,
}

/// Data that few events have.
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
    /// The ids set by the caller, by which a duplicate is detected.
    pub(crate) own_ids: OwnIds,
}

impl EventMeta {
    pub(crate) fn of(events: &[NewEvent<'_>], mut hashes: Hashes, clock: &dyn Clock, ids: &dyn IdSource) -> Self {
        let now = clock.now();
        let id = |event: &NewEvent<'_>| event.id.unwrap_or_else(|| ids.next(now));
        let needs_extra = |event: &NewEvent<'_>| !event.tags.is_empty() || is_large(event);
        let extras: Vec<_> = if events.iter().any(needs_extra) {
            events.iter().map(Extra::of).collect()
        } else {
            Vec::new()
        };
        for (hashes, extra) in hashes.iter_mut().zip(&extras) {
            let tags = extra.tags.as_deref();
            hashes.parts[Part::Tags as usize] = tags.map_or(0, |tags| NameHash::of(tags).hash());
        }
        Self {
            recorded: now.as_micros(),
            ids: match events {
                [event] => smallvec![id(event)],
                events => events.iter().map(id).collect(),
            },
            hashes,
            extras,
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

/// Checks names and hashes them in the same pass.
///
/// # Errors
///
/// [`Error::Invalid`] with the field, the length and the limit.
pub(crate) fn check(stream: &StreamId, events: &[NewEvent<'_>], limits: &Limits) -> Result<Hashes> {
    check_own_name("aggregate type", &stream.aggregate_type, limits)?;
    check_own_name("aggregate id", &stream.aggregate_id, limits)?;
    if events.len() > limits.batch_events_max {
        return Err(Error::invalid(format!(
            "{} events in one append: at most {} are allowed",
            events.len(),
            limits.batch_events_max
        )));
    }
    let id_hash = NameHash::of(&stream.aggregate_id).hash();
    let mut hashes = Hashes::with_capacity(events.len());
    let mut batch_bytes = 0;
    for event in events {
        let mut names = NameCheck::new(limits);
        hashes.push(names.hashes(id_hash, event));
        let bytes = event.metadata.len() + event.data.len();
        if !names.are_sound || bytes > limits.payload_bytes_max {
            check_event(event, limits)?;
        }
        batch_bytes += bytes;
    }
    check_batch_bytes(batch_bytes, limits)?;
    Ok(hashes)
}

/// Detects invalid names without describing the fault.
struct NameCheck<'a> {
    limits: &'a Limits,
    are_sound: bool,
}

impl<'a> NameCheck<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            are_sound: true,
        }
    }

    #[inline]
    fn hashes(&mut self, id_hash: u32, event: &NewEvent<'_>) -> NameHashes {
        let is_plain = |content_type: &ContentType| !matches!(content_type, ContentType::Other(_));
        self.are_sound &= !event.event_type.starts_with('$')
            && event.tags.is_empty()
            && is_plain(&event.data_type)
            && is_plain(&event.metadata_type);
        NameHashes {
            event_type: self.hash(Some(&event.event_type)),
            parts: [
                id_hash,
                self.hash(event.correlation_id.as_deref()),
                self.hash(event.causation_id.as_deref()),
                self.hash(event.user_id.as_deref()),
                self.hash(event.organization_id.as_deref()),
                0,
            ],
        }
    }

    #[inline]
    fn hash(&mut self, name: Option<&str>) -> u32 {
        let Some(name) = name else { return 0 };
        if name.is_empty() || name.len() > self.limits.name_bytes_max {
            self.are_sound = false;
            return 0;
        }
        let hash = NameHash::of(name);
        self.are_sound &= !hash.has_zero();
        hash.hash()
    }
}

/// The hashes of a system event, whose names need no check.
pub(crate) fn hashes_unchecked(stream: &StreamId, event: &NewEvent<'_>, limits: &Limits) -> Hashes {
    let id_hash = NameHash::of(&stream.aggregate_id).hash();
    smallvec![NameCheck::new(limits).hashes(id_hash, event)]
}

/// # Errors
///
/// [`Error::Invalid`] when `bytes` exceeds `batch_bytes_max`.
pub(crate) fn check_batch_bytes(bytes: usize, limits: &Limits) -> Result<()> {
    if bytes > limits.batch_bytes_max {
        return Err(too_long("an append's metadata and data", bytes, limits.batch_bytes_max));
    }
    Ok(())
}

/// Checks an event field by field. Called only if a check may fail.
fn check_event(event: &NewEvent<'_>, limits: &Limits) -> Result<()> {
    check_own_name("event type", &event.event_type, limits)?;
    check_fields(event, limits)
}

/// Checks the record of a command to `aggregate_id`, which is empty where there is none.
///
/// # Errors
///
/// [`Error::Invalid`] with the field, the length and the limit.
#[cfg(feature = "audit")]
pub(crate) fn check_command(aggregate_id: &str, event: &NewEvent<'_>, limits: &Limits) -> Result<()> {
    check_text("aggregate id", aggregate_id, limits.name_bytes_max)?;
    check_fields(event, limits)
}

fn check_fields(event: &NewEvent<'_>, limits: &Limits) -> Result<()> {
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
    check_tags(event, limits)?;
    for content_type in [&event.data_type, &event.metadata_type] {
        // The well-known content types are not names set by the caller.
        if let ContentType::Other(name) = content_type {
            check_text("content type", name, limits.name_bytes_max)?;
        }
    }
    let bytes = event.metadata.len() + event.data.len();
    if bytes > limits.payload_bytes_max {
        let what = "an event's metadata and data";
        return Err(too_long(what, bytes, limits.payload_bytes_max));
    }
    Ok(())
}

fn check_tags(event: &NewEvent<'_>, limits: &Limits) -> Result<()> {
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
    Ok(())
}

/// # Errors
///
/// [`Error::Invalid`] when the data or the name of the content type is too long.
pub(crate) fn check_snapshot(snapshot: &NewSnapshot, limits: &Limits) -> Result<()> {
    if let ContentType::Other(name) = &snapshot.data_type {
        check_text("content type", name, limits.name_bytes_max)?;
    }
    if snapshot.keep > SNAPSHOTS_MAX {
        return Err(Error::invalid(format!(
            "{} snapshots of an aggregate cannot be kept: the limit is {SNAPSHOTS_MAX}",
            snapshot.keep
        )));
    }
    let bytes = snapshot.data.len();
    if bytes > limits.payload_bytes_max {
        return Err(too_long("a snapshot's data", bytes, limits.payload_bytes_max));
    }
    Ok(())
}

#[inline]
fn check_own_name(what: &str, name: &str, limits: &Limits) -> Result<()> {
    if name.starts_with('$') {
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
    if NameHash::of(text).has_zero() {
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
        "the {what} {text:?} has a U+0000 in it, which databases and programs in C cannot store: remove it"
    ))
}

#[cold]
fn too_long(what: &str, bytes: usize, max: usize) -> Error {
    Error::invalid(format!("{what} has {bytes} bytes: at most {max} are allowed"))
}
