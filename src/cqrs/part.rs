//! One aggregate's part of a command: the events that were decided, before they are appended.

use std::fmt;

use serde::Serialize;
use smallvec::SmallVec;
use uuid::Uuid;

use super::codec::DerivedData;
use super::projection::Typed;
use super::snapshot::Since;
use super::{Aggregate, CodecError, CommandError, Context, Loaded};
use crate::{Append, Appended, Event, EventRef, Expected, Name, NewEvent, Store, StreamId, Timestamp, Version};

/// The id of a command, and a digest of what it asks for: the same command comes again with both, another one with the id alone.
#[derive(Clone, Debug)]
pub(super) struct CommandId {
    id: Uuid,
    digest: Uuid,
}

impl CommandId {
    pub(super) fn new<R>(id: Uuid, command: &impl Serialize) -> Result<Self, CommandError<R>> {
        // As a value: its maps are sorted.
        let json = serde_json::to_value(command).map_err(|error| {
            let what =
                format!("the command cannot be written as JSON, which tells it from others with its id: {error}");
            CommandError::Store(crate::Error::invalid(what))
        })?;
        let digest = Uuid::new_v5(&id, json.to_string().as_bytes());
        Ok(Self { id, digest })
    }

    /// The same command with a digest that confirms no guess of the command, where the codec hides data.
    pub(super) fn blinded(self, derived: Option<&dyn DerivedData>) -> Self {
        let digest = derived.map_or(self.digest, |derived| derived.blind(self.digest));
        Self { digest, ..self }
    }

    /// The id of the command's event with this place, counted from 0: a UUID of version 5 (RFC 9562), with the command's as the namespace. The
    /// aggregate is part of it: a command to several aggregates has events of its own in each.
    pub(super) fn event(&self, aggregate_id: &str, place: u64) -> Uuid {
        let name = [&place.to_be_bytes()[..], aggregate_id.as_bytes()].concat();
        Uuid::new_v5(&self.id, &name)
    }

    /// # Errors
    ///
    /// [`CommandError::Reused`] when `first` is the first event of another command.
    pub(super) fn check<R>(&self, first: &Event) -> Result<(), CommandError<R>> {
        if first.metadata() == self.metadata().as_bytes() {
            return Ok(());
        }
        Err(CommandError::Reused {
            command_id: self.id,
            aggregate_id: first.aggregate_id().into(),
            position: first.position(),
        })
    }

    /// The metadata of the command's first event.
    pub(super) fn metadata(&self) -> String {
        format!("{{\"command\":\"{}\"}}", self.digest)
    }
}

/// The events of one aggregate that a command appends.
pub(super) struct Part {
    pub(super) stream: StreamId,
    /// The id of the aggregate as the caller names it, where another one is stored: it is personal data.
    named: Option<Name>,
    /// The version of the aggregate that the command was decided on.
    pub(super) version: Version,
    expected: Expected,
    /// An event is large, and most commands decide on one: it has no allocation of its own.
    events: SmallVec<[NewEvent<'static>; 1]>,
    is_known: bool,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("stream", &self.stream)
            .field("expected", &self.expected)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Part {
    /// A part without events, that is appended wherever the aggregate stands.
    #[inline]
    pub(super) fn anywhere(stream: StreamId) -> Self {
        Self::named(stream, None)
    }

    /// The same, of an aggregate that the caller names differently.
    #[inline]
    pub(super) fn named(stream: StreamId, named: Option<Name>) -> Self {
        Self {
            stream,
            named,
            version: Version(0),
            expected: Expected::Any,
            events: SmallVec::new(),
            is_known: false,
        }
    }

    /// The id of the aggregate as the caller names it.
    #[inline]
    pub(super) fn name(&self) -> &str {
        self.named.as_ref().unwrap_or(&self.stream.aggregate_id)
    }

    /// Begins again, without events: this number is decided on `version` of the aggregate, and appended there.
    pub(super) fn begin(&mut self, version: Version, events: usize) {
        self.version = version;
        self.expected = match version {
            Version(0) => Expected::NoStream,
            version => Expected::Exactly(version),
        };
        self.events.clear();
        self.events.reserve_exact(events);
        self.is_known = false;
    }

    /// Begins again with the events of a command that the aggregate has already, up to version `last`. Returns whether it has them.
    ///
    /// Appended once more, the store recognizes them by their ids, and acknowledges them when they have the requested durability. The expected
    /// version is the one they were appended at: if the aggregate was deleted meanwhile, the append conflicts instead of storing them a
    /// second time.
    pub(super) fn begin_known<R>(
        &mut self,
        store: &Store,
        command_id: &CommandId,
        last: Version,
    ) -> Result<bool, CommandError<R>> {
        let id = self.stream.aggregate_id.as_str();
        let mut next = command_id.event(id, 0);
        let mut events: Vec<Event> = Vec::new();
        store.read_stream(id).for_each(|event: EventRef<'_>| {
            if event.id() == next && event.version() <= last {
                events.push(event.to_event());
                next = command_id.event(id, events.len() as u64);
            }
        });
        let Some(first) = events.first() else {
            return Ok(false);
        };
        command_id.check(first)?;
        self.begin(last, events.len());
        self.is_known = true;
        self.expected = Expected::Exactly(Version(first.version().0 - 1));
        self.events
            .extend(events.iter().map(|event| event.to_new().into_owned()));
        Ok(true)
    }

    #[inline]
    pub(super) fn add(
        &mut self,
        event: NewEvent<'static>,
        context: &Context,
        id: Option<Uuid>,
        metadata: Option<String>,
    ) {
        let event = NewEvent { id, ..event };
        self.events.push(match metadata {
            Some(metadata) => event.metadata(metadata),
            None => event,
        });
        if let Some(event) = self.events.last_mut() {
            context.apply(event);
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.events.len() as u64
    }

    /// Those that are new: a repetition has been checked before.
    pub(super) fn events(&self) -> &[NewEvent<'static>] {
        if self.is_known { &[] } else { &self.events }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn append_to<R>(&self, store: &Store) -> Result<Appended, CommandError<R>> {
        store
            .append(&self.stream, self.expected, &self.events)
            .map_err(CommandError::Store)
    }

    pub(super) fn into_append(self) -> Append<'static> {
        Append::new(self.stream, self.expected, self.events.into_vec())
    }

    pub(super) fn unwritable<R>(&self, (event_type, error): (Option<String>, CodecError)) -> CommandError<R> {
        CommandError::Unwritable {
            aggregate_id: self.stream.aggregate_id.clone(),
            event_type: event_type.map(Into::into),
            error: Box::new(error),
        }
    }
}

/// What is left to do when the events of a command are appended: the state that they lead to may be worth a snapshot.
pub(super) struct Settle<A: Aggregate> {
    loaded: Loaded<A>,
    since: Since,
    /// The events as they are read back; none when there is no use for them.
    pub(super) events: Typed<A::Event>,
    /// The bytes of the data of each event.
    bytes: SmallVec<[usize; 1]>,
}

impl<A: Aggregate> Settle<A> {
    pub(super) fn of(loaded: Loaded<A>, since: Since) -> Self {
        Self {
            loaded,
            since,
            events: Typed::new(),
            bytes: SmallVec::new(),
        }
    }

    /// Nothing is left to do.
    pub(super) fn nothing(loaded: Loaded<A>) -> Self {
        Self::of(loaded, Since::default())
    }

    pub(super) fn add(&mut self, event: A::Event, bytes: usize) {
        self.events.push(event);
        self.bytes.push(bytes);
    }

    /// The state after the events, which were recorded now.
    pub(super) fn evolved(mut self, now: Timestamp) -> (Loaded<A>, Since) {
        for (event, bytes) in self.events.into_iter().zip(self.bytes) {
            self.loaded.state.evolve(event);
            self.loaded.version.0 += 1;
            self.since.add(bytes, now);
        }
        (self.loaded, self.since)
    }
}
