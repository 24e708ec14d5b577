//! Typed events: how the variants of an enum are written to a store, and read from it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::Encoded;
use super::upcast::{MissingPaths, Upcasters};
use super::{Codec, CodecError, Json, Undecodable};
use crate::{Event, EventRef, NewEvent, Position, Query, Store};

/// What a reader does with an event whose type is not a variant of its enum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownEvents {
    /// The read fails with [`Undecodable`].
    #[default]
    Fail,
    /// The event is skipped: the reader does not depend on it.
    Skip,
}

/// The events of a serde enum `E`: the codec that writes and reads them, the upcasters of their older schemas, and what is done with others.
///
/// Every typed reader has one: aggregates, decisions, projections, subscriptions and sagas, so that all of them read an event alike. Cheap
/// to clone.
///
/// ```
/// use annals::cqrs::TypedEvents;
/// use annals::{Expected, NewEvent, Query, Store, StreamId};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum AccountEvent {
///     Deposited { amount: u64 },
///     Closed,
/// }
///
/// let store = Store::in_memory();
/// store.append(&StreamId::new("Account", "account-1"), Expected::NoStream, vec![
///     NewEvent::new("Deposited").data(r#"{"amount":250}"#),
///     NewEvent::new("Audited"),
///     NewEvent::new("Closed"),
/// ])?;
///
/// // Events of other types are not among those of the enum.
/// let events = TypedEvents::<AccountEvent>::new();
/// let read = events.query(&store, events.all())?;
/// assert_eq!(read[0].event, AccountEvent::Deposited { amount: 250 });
/// assert_eq!(read[1].record.position().0, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TypedEvents<E, C = Json> {
    codec: C,
    upcasters: Upcasters,
    unknown: UnknownEvents,
    event: PhantomData<fn() -> E>,
}

impl<E, C: Clone> Clone for TypedEvents<E, C> {
    fn clone(&self) -> Self {
        Self {
            codec: self.codec.clone(),
            upcasters: self.upcasters.clone(),
            unknown: self.unknown,
            event: PhantomData,
        }
    }
}

impl<E, C: fmt::Debug> fmt::Debug for TypedEvents<E, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedEvents")
            .field("codec", &self.codec)
            .field("upcasters", &self.upcasters)
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}

/// A typed event, and the event of the store that it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<E> {
    /// The variant.
    pub event: E,
    /// Its position, version, time and names. Several typed events have one record where an upcaster splits it.
    pub record: Event,
}

impl<E> TypedEvents<E> {
    /// The events of `E` as JSON, with no older schemas.
    pub fn new() -> Self {
        Self::with_codec(Json)
    }
}

impl<E> Default for TypedEvents<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E, C: Codec> TypedEvents<E, C> {
    /// The events of `E` in the format of `codec`, with no older schemas.
    pub fn with_codec(codec: C) -> Self {
        Self {
            codec,
            upcasters: Upcasters::new(),
            unknown: UnknownEvents::default(),
            event: PhantomData,
        }
    }

    /// Sets the upcasters, which convert events of older schemas whenever they are read.
    #[must_use]
    pub fn upcasters(mut self, upcasters: &Upcasters) -> Self {
        self.upcasters = upcasters.clone();
        self
    }

    /// Sets whether events of unknown types are skipped. By default they are an error.
    #[must_use]
    pub fn unknown_events(mut self, unknown: UnknownEvents) -> Self {
        self.unknown = unknown;
        self
    }

    /// A new event of this type and data, with the newest schema version that the upcasters know.
    pub(super) fn new_event(&self, encoded: Encoded) -> NewEvent<'static> {
        let schema_version = self.upcasters.newest(&encoded.event_type);
        NewEvent::new(encoded.event_type)
            .schema_version(schema_version)
            .data(encoded.data)
            .content_type(self.codec.content_type())
    }
}

impl<E: DeserializeOwned, C: Codec> TypedEvents<E, C> {
    /// A query for every event of these types, and of the older types that the upcasters convert to them.
    ///
    /// Event types are compared by name alone. Where aggregates of several types have event types of one name, add
    /// [`aggregate_type`](Query::aggregate_type). If serde does not tell the variants of `E`, the query is for every event: those that are none fail to
    /// decode, and are not passed over in silence.
    pub fn all(&self) -> Query {
        let known = self.codec.event_types::<E>();
        if known.is_empty() {
            return Query::all();
        }
        let older = self.upcasters.leading_to(known);
        Query::all().event_types(known.iter().copied().chain(older.iter().map(String::as_str)))
    }

    /// The typed events that an event of the store is: one, or none where an upcaster drops it or its type is unknown and skipped, or several
    /// where an upcaster splits it.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] when the event does not decode.
    pub fn decode(&self, event: EventRef<'_>) -> Result<Vec<E>, Box<Undecodable>> {
        let mut decoded = Vec::with_capacity(1);
        self.each(event, |event| decoded.push(event))?;
        Ok(decoded)
    }

    /// The events of an aggregate, ascending by version.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] for the first event that does not decode.
    pub fn read_stream(&self, store: &Store, aggregate_id: &str) -> Result<Vec<Recorded<E>>, Box<Undecodable>> {
        let read = store.read_stream(aggregate_id);
        read.fold(Ok(Vec::new()), |all, event| self.record(all, event))
    }

    /// The events that match a query, such as [`all`](Self::all) with further filters.
    ///
    /// # Errors
    ///
    /// [`ReadError::Undecodable`] for the first event that does not decode; [`ReadError::Store`] when the query is invalid.
    pub fn query(&self, store: &Store, query: Query) -> Result<Vec<Recorded<E>>, ReadError> {
        let read = store.query(query);
        let events = read.fold(Ok(Vec::new()), |all, event| self.record(all, event))?;
        Ok(events?)
    }

    /// Adds a record's events to those before it.
    fn record(
        &self,
        all: Result<Vec<Recorded<E>>, Box<Undecodable>>,
        record: EventRef<'_>,
    ) -> Result<Vec<Recorded<E>>, Box<Undecodable>> {
        let mut all = all?;
        let add = |event| {
            all.push(Recorded {
                event,
                record: record.to_event(),
            });
        };
        self.each(record, add)?;
        Ok(all)
    }

    /// Checks that every stored event among those of `query` has a path to its newest schema, and that the enum has a variant for it.
    /// Programs call it at their start, to learn of a missing upcaster before the first event that needs it.
    ///
    /// It looks at the types and schema versions of all events of the query, not at their data.
    ///
    /// # Errors
    ///
    /// [`ReadError::MissingPaths`] with the types and versions that have no path; [`ReadError::Store`] when the query is invalid.
    pub fn check(&self, store: &Store, query: Query) -> Result<(), ReadError> {
        let known = self.codec.event_types::<E>();
        let skip = self.unknown == UnknownEvents::Skip;
        let mut missing = MissingPaths::default();
        let count = |event: EventRef<'_>| missing.count(&self.upcasters, known, skip, event);
        store.query(query).for_each(count)?;
        missing.into_result().map_err(ReadError::MissingPaths)
    }

    /// Calls `take` with each typed event that an event of the store is.
    #[inline]
    pub(super) fn each(&self, event: EventRef<'_>, mut take: impl FnMut(E)) -> Result<(), Box<Undecodable>> {
        self.each_of(event.event_type(), event.schema_version(), event.data(), &mut take)
            .map_err(|error| Box::new(Undecodable::new(event, error)))
    }

    #[inline]
    fn each_of(&self, event_type: &str, version: u32, data: &[u8], take: &mut impl FnMut(E)) -> Result<(), CodecError> {
        if !self.upcasters.concern(event_type) || self.upcasters.is_newest(event_type, version) {
            return self.decode_one(event_type, data, take);
        }
        let data = self.codec.to_value(data)?;
        for upcast in self.upcasters.upcast(event_type, version, data)? {
            let data = self.codec.from_value(&upcast.data)?;
            self.decode_one(&upcast.event_type, &data, take)?;
        }
        Ok(())
    }

    #[inline]
    fn decode_one(&self, event_type: &str, data: &[u8], take: &mut impl FnMut(E)) -> Result<(), CodecError> {
        match self.codec.decode(event_type, data) {
            Ok(event) => take(event),
            Err(CodecError::UnknownType { .. }) if self.unknown == UnknownEvents::Skip => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What reads typed events, whatever the codec is.
trait ReadTyped<E>: Send + Sync {
    fn read(&self, event_type: &str, version: u32, data: &[u8], take: &mut dyn FnMut(E)) -> Result<(), CodecError>;
}

impl<E: DeserializeOwned, C: Codec> ReadTyped<E> for TypedEvents<E, C> {
    fn read(&self, event_type: &str, version: u32, data: &[u8], mut take: &mut dyn FnMut(E)) -> Result<(), CodecError> {
        self.each_of(event_type, version, data, &mut take)
    }
}

/// [`TypedEvents`] of whatever codec.
pub(super) struct Reader<E>(Arc<dyn ReadTyped<E>>);

impl<E> Clone for Reader<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> Reader<E> {
    pub(super) fn read(&self, event: &Event, take: &mut dyn FnMut(E)) -> Result<(), Box<Undecodable>> {
        self.0
            .read(event.event_type(), event.schema_version(), event.data(), take)
            .map_err(|error| Box::new(Undecodable::of_event(event, error)))
    }

    /// The typed events that an event to append is; none when its type is unknown.
    pub(super) fn read_new(&self, event: &NewEvent<'_>) -> Result<Vec<E>, CodecError> {
        let mut read = Vec::new();
        match self
            .0
            .read(&event.event_type, event.schema_version, &event.data, &mut |event| {
                read.push(event);
            }) {
            Ok(()) | Err(CodecError::UnknownType { .. }) => Ok(read),
            Err(error) => Err(error),
        }
    }
}

impl<E: DeserializeOwned + 'static, C: Codec> TypedEvents<E, C> {
    pub(super) fn reader(&self) -> Reader<E> {
        Reader(Arc::new(self.clone()))
    }
}

impl<E: Serialize + DeserializeOwned, C: Codec> TypedEvents<E, C> {
    /// Writes an event, and reads it back: an event that can be written and never read would make its aggregate unusable. Returns it as later
    /// reads will see it, too.
    pub(super) fn encode(&self, event: &E) -> Result<(Encoded, E), (Option<String>, CodecError)> {
        let encoded = self.codec.encode(event).map_err(|error| (None, error))?;
        match self.codec.decode(&encoded.event_type, &encoded.data) {
            Ok(read) => Ok((encoded, read)),
            Err(error) => Err((Some(encoded.event_type), error)),
        }
    }
}

/// Why typed events cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// An event does not decode. Add a variant, a default or an upcaster; or skip types that are unknown.
    #[error(transparent)]
    Undecodable(#[from] Box<Undecodable>),
    /// Stored events have no path to the newest schema of their type.
    #[error(transparent)]
    MissingPaths(MissingPaths),
    /// The store refuses the query.
    #[error(transparent)]
    Store(#[from] crate::Error),
}

impl ReadError {
    /// The position of the event that does not decode.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Undecodable(error) => Some(error.position),
            Self::MissingPaths(_) | Self::Store(_) => None,
        }
    }
}
