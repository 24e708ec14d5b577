//! Typed events: writes the variants of a serde enum to a store, and reads them back.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{DerivedData, Encoded, NewEventId};
use super::names::{stored_context, stored_query};
use super::reasons::Reasons;
use super::upcast::{MissingPaths, Upcasters};
use super::{Codec, CodecError, Context, Json, Letter, NameKind, Undecodable};
use uuid::Uuid;

use crate::{Event, EventRef, NewEvent, Position, Query, Store};

/// What a reader does with an event whose type is not a variant of its enum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownEvents {
    /// The read fails with [`Undecodable`].
    #[default]
    Fail,
    /// The reader skips the event.
    Skip,
}

/// The codec, the upcasters and the policy for unknown types of a serde enum `E`.
///
/// Aggregates, decisions, projections, subscriptions, groups and sagas read events through one, so all of them decode an event alike. Cheap to
/// clone.
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
/// // `all` selects the types of the enum: it does not read `Audited`.
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

/// A typed event with the stored event that it was decoded from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recorded<E> {
    /// The variant.
    pub event: E,
    /// The stored event: position, version, time and names. The typed events that an upcaster splits it into share it.
    pub record: Event,
}

impl<E> TypedEvents<E> {
    /// The events of `E` as JSON, without upcasters. Unknown types are an error.
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
    /// The events of `E` in the format of `codec`, without upcasters. Unknown types are an error.
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

    /// The id that an aggregate is stored by.
    #[inline]
    pub(super) fn stored_id<'a>(&self, id: &'a str) -> Result<Cow<'a, str>, CodecError> {
        self.codec.stored_name(NameKind::Aggregate, id)
    }

    /// Whether an aggregate may be stored by this id.
    #[inline]
    pub(super) fn knows_id(&self, id: &str) -> Result<bool, CodecError> {
        self.codec.knows_name(NameKind::Aggregate, id)
    }

    /// The context with the names that are stored.
    #[inline]
    pub(super) fn stored_context<'a>(&self, context: &'a Context) -> Result<Cow<'a, Context>, CodecError> {
        stored_context(&self.codec, context)
    }

    fn stored_query(&self, query: Query) -> Result<Query, ReadError> {
        stored_query(&self.codec, query).map_err(|error| no_pseudonym(&error))
    }

    /// What protects data that is derived from the events.
    pub(super) fn derived_data(&self) -> Option<Arc<dyn DerivedData>> {
        self.codec.derived_data()
    }

    /// The id of a new event: one that the store would assign later, where the codec needs it earlier.
    #[inline]
    pub(super) fn new_id(store: &Store, id: Option<Uuid>) -> Option<Uuid> {
        if C::BINDS_ID {
            return Some(id.unwrap_or_else(|| store.new_event_id()));
        }
        id
    }

    /// A new event of this type and data, with the newest schema version that the upcasters know.
    #[inline]
    pub(super) fn new_event(&self, encoded: Encoded) -> NewEvent<'static> {
        let schema_version = self.upcasters.newest(&encoded.event_type);
        NewEvent::new(encoded.event_type)
            .schema_version(schema_version)
            .data(encoded.data)
            .content_type(self.codec.content_type())
    }
}

impl<E: DeserializeOwned, C: Codec> TypedEvents<E, C> {
    /// Returns a query for the events of these types, and of the older types that the upcasters convert to them.
    ///
    /// It compares event types by name alone. If aggregates of several types share an event type's name, add
    /// [`aggregate_type`](Query::aggregate_type). If serde does not report the variants of `E`, for example of an untagged enum, the query selects
    /// every event; events that are no variant then fail to decode instead of being skipped silently.
    pub fn all(&self) -> Query {
        let known = self.codec.event_types::<E>();
        if known.is_empty() {
            return Query::all();
        }
        let older = self.upcasters.leading_to(known);
        Query::all().event_types(known.iter().copied().chain(older.iter().map(String::as_str)))
    }

    /// Decodes a stored event. Returns one typed event; none if an upcaster drops it or its type is unknown and skipped; several if an upcaster
    /// splits it.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] when the event does not decode.
    pub fn decode(&self, event: EventRef<'_>) -> Result<Vec<E>, Box<Undecodable>> {
        let mut decoded = Vec::with_capacity(1);
        self.each(event, |event| decoded.push(event))?;
        Ok(decoded)
    }

    /// Decodes an owned event, such as one that a [`Tail`](crate::Tail) delivers. Otherwise as [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// [`Undecodable`] when the event does not decode.
    pub fn decode_event(&self, event: &Event) -> Result<Vec<E>, Box<Undecodable>> {
        let mut decoded = Vec::with_capacity(1);
        self.each_of(Stored::of_event(event), &mut |event| {
            decoded.push(event);
        })
        .map_err(|error| Box::new(Undecodable::of_event(event, error)))?;
        Ok(decoded)
    }

    /// Reads the events of an aggregate, ascending by version. Of an id that the codec hides, it reads by the stored one.
    ///
    /// # Errors
    ///
    /// [`ReadError::Undecodable`] for the first event that does not decode; [`ReadError::NoPseudonym`].
    pub fn read_stream(&self, store: &Store, aggregate_id: &str) -> Result<Vec<Recorded<E>>, ReadError> {
        if !self.knows_id(aggregate_id).map_err(|error| no_pseudonym(&error))? {
            return Ok(Vec::new());
        }
        let id = self.stored_id(aggregate_id).map_err(|error| no_pseudonym(&error))?;
        let read = store.read_stream(&id);
        let events = read.fold(Ok(Vec::new()), |all, event| self.record(all, event));
        Ok(events?)
    }

    /// Reads the events that match a query, such as [`all`](Self::all) with further filters, in the query's order. It queries by the stored names
    /// where the codec hides names.
    ///
    /// # Errors
    ///
    /// [`ReadError::Undecodable`] for the first event that does not decode; [`ReadError::Store`] when the query is invalid;
    /// [`ReadError::NoPseudonym`].
    pub fn query(&self, store: &Store, query: Query) -> Result<Vec<Recorded<E>>, ReadError> {
        let read = store.query(self.stored_query(query)?);
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

    /// Checks that every stored event of `query` has a path to its newest schema and to a variant of the enum.
    ///
    /// Call it when the program starts, to find a missing upcaster before the first event needs it. It reads the type and schema version of every
    /// event of the query, not the data; the cost is linear in their number.
    ///
    /// # Errors
    ///
    /// [`ReadError::MissingPaths`] with the types and versions that have no path; [`ReadError::Store`] when the query is invalid;
    /// [`ReadError::NoPseudonym`].
    pub fn check(&self, store: &Store, query: Query) -> Result<(), ReadError> {
        let query = self.stored_query(query)?;
        let known = self.codec.event_types::<E>();
        let skip = self.unknown == UnknownEvents::Skip;
        let mut missing = MissingPaths::default();
        let count = |event: EventRef<'_>| missing.count(&self.upcasters, known, skip, event);
        store.query(query).for_each(count)?;
        missing.into_result().map_err(ReadError::MissingPaths)
    }

    /// Calls `take` with each typed event that a stored event decodes to.
    #[inline]
    pub(super) fn each(&self, event: EventRef<'_>, mut take: impl FnMut(E)) -> Result<(), Box<Undecodable>> {
        let stored = Stored {
            event_type: event.event_type(),
            version: event.schema_version(),
            data: event.data(),
            // The id is read only where the codec needs it.
            id: if C::BINDS_ID { event.id() } else { Uuid::nil() },
        };
        self.each_of(stored, &mut take)
            .map_err(|error| Box::new(Undecodable::new(event, error)))
    }

    #[inline]
    fn each_of(&self, event: Stored<'_>, take: &mut impl FnMut(E)) -> Result<(), CodecError> {
        let Stored {
            event_type,
            version,
            data,
            id,
        } = event;
        if self.is_newest(event_type, version) {
            return self.decode_one(event_type, data, id, take);
        }
        let data = self.codec.to_value_of(event_type, data, id)?;
        for upcast in self.upcasters.upcast(event_type, version, data)? {
            let data = self.codec.from_value(&upcast.data)?;
            self.decode_one(&upcast.event_type, &data, id, take)?;
        }
        Ok(())
    }

    /// Whether an event is decoded as it is stored, without a conversion.
    #[inline]
    fn is_newest(&self, event_type: &str, version: u32) -> bool {
        !self.upcasters.concern(event_type) || self.upcasters.is_newest(event_type, version)
    }

    #[inline]
    fn decode_one(&self, event_type: &str, data: &[u8], id: Uuid, take: &mut impl FnMut(E)) -> Result<(), CodecError> {
        match self.codec.decode_of(event_type, data, id) {
            Ok(event) => take(event),
            Err(CodecError::UnknownType { .. }) if self.unknown == UnknownEvents::Skip => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What a typed event is decoded from.
#[derive(Clone, Copy)]
struct Stored<'a> {
    event_type: &'a str,
    version: u32,
    data: &'a [u8],
    id: Uuid,
}

impl<'a> Stored<'a> {
    #[inline]
    fn of_event(event: &'a Event) -> Self {
        Self {
            event_type: event.event_type(),
            version: event.schema_version(),
            data: event.data(),
            id: event.id(),
        }
    }
}

/// Reads typed events; erases the codec's type.
trait ReadTyped<E>: Send + Sync {
    fn read(&self, event: Stored<'_>, take: &mut dyn FnMut(E)) -> Result<(), CodecError>;

    fn stored_query(&self, query: Query) -> Result<Query, ReadError>;

    fn derived_data(&self) -> Option<Arc<dyn DerivedData>>;

    /// Whether it decodes an event as a codec of this type does, without a conversion.
    fn reads_like(&self, codec: TypeId, event_type: &str, version: u32) -> bool;
}

impl<E: DeserializeOwned, C: Codec> ReadTyped<E> for TypedEvents<E, C> {
    fn read(&self, event: Stored<'_>, mut take: &mut dyn FnMut(E)) -> Result<(), CodecError> {
        self.each_of(event, &mut take)
    }

    fn stored_query(&self, query: Query) -> Result<Query, ReadError> {
        self.stored_query(query)
    }

    fn derived_data(&self) -> Option<Arc<dyn DerivedData>> {
        self.codec.derived_data()
    }

    fn reads_like(&self, codec: TypeId, event_type: &str, version: u32) -> bool {
        // A codec without a field has no settings that two of its type could differ in.
        size_of::<C>() == 0 && TypeId::of::<C>() == codec && self.is_newest(event_type, version)
    }
}

/// [`TypedEvents`] without the codec's type.
pub(super) struct Reader<E>(Arc<dyn ReadTyped<E>>);

impl<E> Clone for Reader<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> Reader<E> {
    pub(super) fn read(&self, event: &Event, take: &mut dyn FnMut(E)) -> Result<(), Box<Undecodable>> {
        self.0
            .read(Stored::of_event(event), take)
            .map_err(|error| Box::new(Undecodable::of_event(event, error)))
    }

    /// The query with the names that are stored: a processor that reads by another name would receive no events.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when a name has no pseudonym.
    pub(super) fn stored_query(&self, query: Query) -> Result<Query, crate::Error> {
        let stored = self.0.stored_query(query);
        stored.map_err(|error| crate::Error::invalid(error.to_string()))
    }

    /// Decodes an event that is about to be appended; nothing if its type is unknown.
    pub(super) fn read_new(&self, event: &NewEvent<'_>, take: &mut dyn FnMut(E)) -> Result<(), CodecError> {
        let stored = Stored {
            event_type: &event.event_type,
            version: event.schema_version,
            data: &event.data,
            id: event.id.unwrap_or_default(),
        };
        match self.0.read(stored, take) {
            Err(CodecError::UnknownType { .. }) => Ok(()),
            read => read,
        }
    }

    /// Begins to handle an event: the reason of its failure is derived from what it decodes to from now on.
    pub(super) fn reasons(&self) -> Reasons {
        Reasons::begin(self.0.derived_data())
    }

    /// The reason of a dead letter as it was before it was stored.
    pub(super) fn open_reason(&self, letter: Letter) -> Letter {
        Letter {
            reason: Reasons::open(self.0.derived_data(), letter.reason),
            ..letter
        }
    }

    /// Whether it decodes an event that is about to be appended as a codec of this type does, without a conversion.
    pub(super) fn reads_like(&self, codec: TypeId, event: &NewEvent<'_>) -> bool {
        self.0.reads_like(codec, &event.event_type, event.schema_version)
    }
}

impl<E: DeserializeOwned + 'static, C: Codec> TypedEvents<E, C> {
    pub(super) fn reader(&self) -> Reader<E> {
        Reader(Arc::new(self.clone()))
    }
}

impl<E: Serialize + DeserializeOwned, C: Codec> TypedEvents<E, C> {
    /// Encodes an event and decodes it again, because an event that is stored and does not decode makes its aggregate unusable. Returns both.
    pub(super) fn encode(&self, event: &E, new: NewEventId<'_>) -> Result<(Encoded, E), (Option<String>, CodecError)> {
        let encoded = self.codec.encode_new(event, new).map_err(|error| (None, error))?;
        let read = self
            .codec
            .decode_of(&encoded.event_type, &encoded.data, new.id)
            .and_then(|read| self.codec.check_new::<E>(&encoded, new.id).map(|()| read));
        match read {
            Ok(read) => Ok((encoded, read)),
            Err(error) => Err((Some(encoded.event_type.into_owned()), error)),
        }
    }
}

fn no_pseudonym(error: &CodecError) -> ReadError {
    ReadError::NoPseudonym {
        reason: error.to_string(),
    }
}

/// A failure to read or check typed events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// An event does not decode. Add a variant, a default or an upcaster; or skip unknown types.
    #[error(transparent)]
    Undecodable(#[from] Box<Undecodable>),
    /// Stored events have no path to the newest schema of their type. Register upcasters, or add variants.
    #[error(transparent)]
    MissingPaths(MissingPaths),
    /// A name to read by is personal data, and has no pseudonym: its subject was erased, or the key store cannot be read.
    #[error("a name to read by has no stored form: {reason}")]
    NoPseudonym {
        /// Why. It does not contain the name.
        reason: String,
    },
    /// The store rejects the query, or cannot be read.
    #[error(transparent)]
    Store(#[from] crate::Error),
}

impl ReadError {
    /// The position of the event that does not decode; `None` for other errors.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Undecodable(error) => Some(error.position),
            Self::MissingPaths(_) | Self::NoPseudonym { .. } | Self::Store(_) => None,
        }
    }
}
