//! Decisions over a query: commands that depend on any set of events, not on one aggregate.

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::names;
use super::part::{CommandId, Part};
use super::retry::with_retry;
use super::{
    Codec, CodecError, CommandError, Context, Json, LoadError, NameKind, NewEventId, Retry, TypedEvents, UnknownEvents,
    Upcasters,
};
use crate::{Append, Appended, Condition, Error, Event, EventRef, Expected, Name, Query, Store, StreamId, Version};

/// A command whose rules depend on the events of a query, of any aggregates: a *dynamic consistency boundary*.
///
/// The implementing type is the command. Its functions are pure, like those of an [`Aggregate`](super::Aggregate).
///
/// ```
/// use annals::cqrs::{CommandError, Decided, Decision, Decisions};
/// use annals::{EventRef, Query, Store, StreamId};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Booking {
///     SeatBooked { seat: u32 },
/// }
///
/// /// Books a seat of a show, if it is free and the guest has none.
/// struct BookSeat {
///     show: String,
///     seat: u32,
///     guest: String,
/// }
///
/// impl Decision for BookSeat {
///     type State = Vec<(u32, String)>;
///     type Event = Booking;
///     type Rejection = &'static str;
///
///     fn query(&self) -> Query {
///         Query::all().event_type("SeatBooked").tag(format!("show:{}", self.show))
///     }
///
///     fn initial(&self) -> Self::State {
///         Vec::new()
///     }
///
///     fn evolve(&self, taken: &mut Self::State, Booking::SeatBooked { seat }: Booking, record: EventRef<'_>) {
///         taken.push((seat, record.aggregate_id().to_owned()));
///     }
///
///     fn decide(&self, taken: &Self::State) -> Result<Vec<Decided<Booking>>, &'static str> {
///         if taken.iter().any(|(seat, guest)| *seat == self.seat || *guest == self.guest) {
///             return Err("the seat is taken, or the guest has one");
///         }
///         let booked = Decided::new(StreamId::new("Guest", self.guest.as_str()), Booking::SeatBooked { seat: self.seat });
///         Ok(vec![booked.tag(format!("show:{}", self.show))])
///     }
/// }
///
/// let decisions = Decisions::new(&Store::in_memory());
/// let book = |seat, guest: &str| decisions.execute(&BookSeat { show: "hamlet".into(), seat, guest: guest.into() });
/// book(7, "anna")?;
/// assert!(matches!(book(7, "bert"), Err(CommandError::Rejected(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Decision {
    /// The state that the events of the query are folded into.
    type State;

    /// The event types that the decision reads and writes: a serde enum.
    type Event: Serialize + DeserializeOwned;

    /// The reason for which the rules of the domain reject the command.
    type Rejection;

    /// The events that the decision depends on. If the query gets another event before the append, the decision is retried.
    fn query(&self) -> Query;

    /// The state before the first event.
    fn initial(&self) -> Self::State;

    /// Applies an event to the state.
    fn evolve(&self, state: &mut Self::State, event: Self::Event, record: EventRef<'_>);

    /// Decides the command in this state. Returns the events to append; an empty list appends nothing.
    ///
    /// # Errors
    ///
    /// The rejection, when the rules of the domain reject the command. It is not retried.
    fn decide(&self, state: &Self::State) -> Result<Vec<Decided<Self::Event>>, Self::Rejection>;
}

/// An event that a [`Decision`] appends, with its aggregate and tags.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided<E> {
    stream: StreamId,
    event: E,
    tags: Vec<Name>,
}

impl<E> Decided<E> {
    /// An event of this aggregate.
    pub fn new(stream: StreamId, event: E) -> Self {
        Self {
            stream,
            event,
            tags: Vec::new(),
        }
    }

    /// The aggregate.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// The event.
    pub fn event(&self) -> &E {
        &self.event
    }

    /// The tags.
    pub fn tags(&self) -> &[Name] {
        &self.tags
    }

    /// Adds a tag, by which queries find the event.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Name>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

/// Executes [decisions](Decision) on a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Decisions<C = Json> {
    store: Store,
    codec: C,
    upcasters: Upcasters,
    unknown: UnknownEvents,
    context: Context,
    retry: Retry,
}

impl Decisions {
    /// Decisions on the events of `store`, with events as JSON.
    pub fn new(store: &Store) -> Self {
        Self::with_codec(store, Json)
    }
}

impl<C: Codec> Decisions<C> {
    /// Decisions on the events of `store`, with events in the format of `codec`.
    pub fn with_codec(store: &Store, codec: C) -> Self {
        Self {
            store: store.clone(),
            codec,
            upcasters: Upcasters::new(),
            unknown: UnknownEvents::default(),
            context: Context::new(),
            retry: Retry::default(),
        }
    }

    /// Sets the number of attempts and the pauses between them; see [`Retry`] for the defaults.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the upcasters, which convert events of older schemas.
    #[must_use]
    pub fn upcasters(mut self, upcasters: &Upcasters) -> Self {
        self.upcasters = upcasters.clone();
        self
    }

    /// Sets whether events of the query with unknown types are skipped. By default they are an error.
    #[must_use]
    pub fn unknown_events(mut self, unknown: UnknownEvents) -> Self {
        self.unknown = unknown;
        self
    }

    /// Returns a handle whose decisions append events with this context.
    #[must_use]
    pub fn with_context(&self, context: Context) -> Self {
        Self {
            context,
            ..self.clone()
        }
    }

    /// Folds the events of the decision's query, decides, and appends the events on the condition that the query has no newer events.
    ///
    /// If the condition fails, it folds and decides again, as [`Retry`] says. Returns one acknowledgement per aggregate, in the order of their
    /// first events; the events of one aggregate keep their order. The decision does not see events that limits, truncation or deletion dropped.
    ///
    /// # Errors
    ///
    /// See [`CommandError`]. Nothing was appended, unless the store [failed](Error::Failed), or was [closed](Error::Closed) or
    /// [unavailable](Error::Unavailable) while the append waited.
    ///
    /// # Panics
    ///
    /// When the decision's functions panic. Nothing was appended, and the store is unaffected.
    pub fn execute<D: Decision>(&self, decision: &D) -> Result<Vec<Appended>, CommandError<D::Rejection>> {
        with_retry(&self.store, self.retry, |_| self.attempt(None, decision))
    }

    /// Executes a decision at most once: if its events are already stored, it returns their acknowledgements without deciding again.
    ///
    /// Works like [`Aggregates::execute_once`](super::Aggregates::execute_once), but finds the events in any aggregate. The first call builds the
    /// store's index of event ids.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute); [`CommandError::Reused`] when another command had this id.
    ///
    /// # Panics
    ///
    /// As [`execute`](Self::execute).
    pub fn execute_once<D: Decision + Serialize>(
        &self,
        command_id: Uuid,
        decision: &D,
    ) -> Result<Vec<Appended>, CommandError<D::Rejection>> {
        let command_id = CommandId::new(command_id, decision)?.blinded(self.codec.derived_data().as_deref());
        with_retry(&self.store, self.retry, |_| {
            if let Some(known) = self.known(&command_id)? {
                return self.store.append_all(known).map_err(CommandError::Store);
            }
            self.attempt(Some(&command_id), decision)
        })
    }

    fn attempt<D: Decision>(
        &self,
        command_id: Option<&CommandId>,
        decision: &D,
    ) -> Result<Vec<Appended>, CommandError<D::Rejection>> {
        let events = TypedEvents::with_codec(self.codec.clone())
            .upcasters(&self.upcasters)
            .unknown_events(self.unknown);
        let as_of = self.store.visible();
        let query = names::stored_query(&self.codec, decision.query()).map_err(|error| no_pseudonym(&error))?;
        let state = self.fold(&events, decision, query.clone().as_of(as_of))?;
        let decided = decision.decide(&state).map_err(CommandError::Rejected)?;
        if decided.is_empty() {
            return Ok(Vec::new());
        }
        let appends = self.write(&events, command_id, decided)?;
        let condition = Condition::none_after(query, as_of);
        self.store.append_if(&condition, appends).map_err(CommandError::Store)
    }

    fn fold<D: Decision>(
        &self,
        events: &TypedEvents<D::Event, C>,
        decision: &D,
        query: Query,
    ) -> Result<D::State, CommandError<D::Rejection>> {
        let read = self.store.query(query);
        let state = read.fold(Ok(decision.initial()), |state: Result<D::State, LoadError>, record| {
            let mut state = state?;
            events.each(record, |event| decision.evolve(&mut state, event, record))?;
            Ok(state)
        });
        Ok(state.map_err(CommandError::Store)??)
    }

    fn write<E: Serialize + DeserializeOwned, R>(
        &self,
        events: &TypedEvents<E, C>,
        command_id: Option<&CommandId>,
        decided: Vec<Decided<E>>,
    ) -> Result<Vec<Append<'static>>, CommandError<R>> {
        let mut parts: Vec<Part> = Vec::new();
        let context = names::stored_context(&self.codec, &self.context).map_err(|error| no_pseudonym(&error))?;
        for (
            place,
            Decided {
                stream: named,
                event,
                tags,
            },
        ) in (0..).zip(decided)
        {
            let stream = names::stored_stream(&self.codec, &named).map_err(|error| no_pseudonym(&error))?;
            let there = parts.iter().position(|part| part.stream == stream);
            let there = there.unwrap_or_else(|| {
                parts.push(Part::anywhere(stream));
                parts.len() - 1
            });
            let part = &mut parts[there];
            let id = command_id.map(|command_id| command_id.event("", place));
            let id = TypedEvents::<E, C>::new_id(&self.store, id);
            let identity = NewEventId {
                id: id.unwrap_or_default(),
                aggregate_id: &named.aggregate_id,
            };
            let encoded = events.encode(&event, identity);
            let (encoded, _) = encoded.map_err(|error| part.unwritable(error))?;
            let mut new = events.new_event(encoded);
            for tag in tags {
                let tag = names::stored_name(&self.codec, NameKind::Tag, &tag);
                new = new.tag(tag.map_err(|error| part.unwritable((None, error)))?);
            }
            let metadata = command_id.filter(|_| place == 0).map(CommandId::metadata);
            part.add(new, &context, id, metadata);
        }
        Ok(parts.into_iter().map(Part::into_append).collect())
    }

    /// The events of a command that the store has already, as appends that it recognizes.
    fn known<R>(&self, command_id: &CommandId) -> Result<Option<Vec<Append<'static>>>, CommandError<R>> {
        let event = |place| self.store.event(command_id.event("", place));
        let Some(first) = event(0) else {
            return Ok(None);
        };
        command_id.check(&first)?;
        let all = std::iter::once(first).chain((1..).map_while(event));
        let mut appends: Vec<Append<'static>> = Vec::new();
        for event in all {
            let stream = event.stream_id();
            let new = event.to_new().into_owned();
            match appends.iter_mut().find(|append| *append.stream == stream) {
                Some(append) => append.events.push(new),
                None => appends.push(Append::new(stream, before(&event), vec![new])),
            }
        }
        Ok(Some(appends))
    }
}

fn no_pseudonym<R>(error: &CodecError) -> CommandError<R> {
    let reason = error.to_string();
    CommandError::Load(LoadError::NoPseudonym { reason })
}

/// The expected version that an event was appended at.
fn before(event: &Event) -> Expected {
    Expected::Exactly(Version(event.version().0 - 1))
}

impl<R> From<Error> for CommandError<R> {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}
