//! Executing commands: load, decide, append at the version that was loaded, and again after a conflict.

use uuid::Uuid;

use super::aggregates::Until;
use super::codec::Encoded;
use super::{Aggregate, Aggregates, Codec, CodecError, CommandError, Loaded};
use crate::{Appended, Conflict, Error, Event, EventRef, Expected, NewEvent, StreamId, Version};

/// What a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The acknowledgement of its events; `None` when it decided on none.
    pub appended: Option<Appended>,
    /// The version of the aggregate after the command.
    pub version: Version,
    /// The number of attempts, the first one included.
    pub attempts: u32,
}

/// A command with an id, for one aggregate: the ids that its events get, so that the command is recognized when it comes again.
#[derive(Clone, Copy)]
struct CommandId<'a> {
    id: Uuid,
    aggregate_id: &'a str,
}

impl CommandId<'_> {
    /// The id of the command's event with this place, counted from 0: a UUID of version 5 (RFC 9562), with the command's as the namespace. The
    /// aggregate is part of it: a command to several aggregates has events of its own in each.
    fn event(self, place: u64) -> Uuid {
        let name = [&place.to_be_bytes()[..], self.aggregate_id.as_bytes()].concat();
        Uuid::new_v5(&self.id, &name)
    }
}

/// The events of a command that the aggregate has already.
struct Known<'a> {
    command: Option<CommandId<'a>>,
    /// The id of the next event, if there is one.
    next: Option<Uuid>,
    events: Vec<Event>,
}

impl<'a> Known<'a> {
    fn of(command: Option<CommandId<'a>>) -> Self {
        Self {
            command,
            next: command.map(|command| command.event(0)),
            events: Vec::new(),
        }
    }

    fn see(&mut self, event: EventRef<'_>) {
        if self.next == Some(event.id()) {
            self.events.push(event.to_event());
            self.next = self.command.map(|command| command.event(self.events.len() as u64));
        }
    }
}

impl<A: Aggregate, C: Codec> Aggregates<A, C> {
    /// Loads the aggregate, decides the command on its state, and appends the events at the version that was loaded.
    ///
    /// When another append came in between, the whole attempt is repeated on the new state, as often as [`Retry`](super::Retry) says. A
    /// rejection is not retried. A command that decides on no events appends nothing. The events are readable when this returns, and as safe as
    /// the store's handle asks for.
    ///
    /// A soft deletion keeps the version of an aggregate, so a command that was decided before it may be appended after it, as the first event
    /// of the new beginning.
    ///
    /// # Errors
    ///
    /// See [`CommandError`]. Nothing was appended, unless the store [failed](Error::Failed), or was [closed](Error::Closed) or
    /// [unavailable](Error::Unavailable) while the append waited.
    ///
    /// # Panics
    ///
    /// When the aggregate's functions panic. Nothing was appended, and the store is unaffected.
    pub fn execute(&self, id: &str, command: &A::Command) -> Result<Executed, CommandError<A::Rejection>> {
        self.execute_as(None, id, command)
    }

    /// Executes a command that has an id. When its events are in the store already, they are acknowledged again, and nothing is decided.
    ///
    /// The command is recognized by the ids of its events, which follow from its id and the aggregate's. So it is recognized after a restart, on
    /// another machine, and as long as the aggregate retains these events. The id alone identifies the command: another command with a used id
    /// is acknowledged with the first result. On another aggregate the same id is another command. A command that was rejected, or
    /// decided on no events, is decided again.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    ///
    /// # Panics
    ///
    /// As [`execute`](Self::execute).
    pub fn execute_once(
        &self,
        command_id: Uuid,
        id: &str,
        command: &A::Command,
    ) -> Result<Executed, CommandError<A::Rejection>> {
        let command_id = CommandId {
            id: command_id,
            aggregate_id: id,
        };
        self.execute_as(Some(command_id), id, command)
    }

    fn execute_as(
        &self,
        command_id: Option<CommandId<'_>>,
        id: &str,
        command: &A::Command,
    ) -> Result<Executed, CommandError<A::Rejection>> {
        let stream = StreamId::new(A::TYPE, id);
        let mut attempts = 1;
        loop {
            match self.attempt(command_id, &stream, command, attempts) {
                Err(CommandError::Store(Error::Conflict(conflict))) if is_version(&conflict) => {
                    if attempts >= self.retry.attempts {
                        return Err(CommandError::Contended { attempts, conflict });
                    }
                    self.store.wait_visible(conflict.wait_for());
                    self.retry.pause(attempts);
                    attempts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn attempt(
        &self,
        command_id: Option<CommandId<'_>>,
        stream: &StreamId,
        command: &A::Command,
        attempts: u32,
    ) -> Result<Executed, CommandError<A::Rejection>> {
        let id = stream.aggregate_id.as_str();
        let (loaded, known) = self.load_seeing(id, Until::Now, || Known::of(command_id), Known::see)?;
        let mut executed = Executed {
            appended: None,
            version: loaded.version,
            attempts,
        };
        if let Some(first) = known.events.first() {
            let before = Version(first.version().0 - 1);
            executed.appended = Some(self.acknowledge_again(stream, before, &known.events)?);
            return Ok(executed);
        }
        let events = loaded.state.decide(command).map_err(CommandError::Rejected)?;
        if !events.is_empty() {
            let appended = self.append(command_id, stream, &loaded, &events)?;
            executed.version = appended.last_version;
            executed.appended = Some(appended);
        }
        Ok(executed)
    }

    /// Appends known events once more. The store recognizes them by their ids, and acknowledges them when they have the durability of this handle.
    ///
    /// The expected version is `before`, the one they were appended at. If the aggregate was deleted meanwhile, the append conflicts
    /// instead of storing the events a second time.
    fn acknowledge_again(
        &self,
        stream: &StreamId,
        before: Version,
        known: &[Event],
    ) -> Result<Appended, CommandError<A::Rejection>> {
        let events: Vec<_> = known.iter().map(Event::to_new).collect();
        self.store
            .append(stream, Expected::Exactly(before), events)
            .map_err(CommandError::Store)
    }

    fn append(
        &self,
        command_id: Option<CommandId<'_>>,
        stream: &StreamId,
        loaded: &Loaded<A>,
        events: &[A::Event],
    ) -> Result<Appended, CommandError<A::Rejection>> {
        let encode = |event| self.encode(stream, event);
        let encoded: Vec<_> = events.iter().map(encode).collect::<Result<_, _>>()?;
        let new: Vec<_> = (0..)
            .zip(&encoded)
            .map(|(place, encoded)| NewEvent {
                id: command_id.map(|command| command.event(place)),
                ..self.context.apply(
                    NewEvent::new(&encoded.event_type)
                        .data(&encoded.data)
                        .content_type(self.codec.content_type()),
                )
            })
            .collect();
        let expected = match loaded.version {
            Version(0) => Expected::NoStream,
            version => Expected::Exactly(version),
        };
        self.store.append(stream, expected, new).map_err(CommandError::Store)
    }

    fn encode(&self, stream: &StreamId, event: &A::Event) -> Result<Encoded, CommandError<A::Rejection>> {
        let unwritable = |event_type: Option<&str>, error: CodecError| CommandError::Unwritable {
            aggregate_id: stream.aggregate_id.clone(),
            event_type: event_type.map(Into::into),
            error: Box::new(error),
        };
        let encoded = self.codec.encode(event).map_err(|error| unwritable(None, error))?;
        self.verify(&encoded)
            .map_err(|error| unwritable(Some(&encoded.event_type), error))?;
        Ok(encoded)
    }

    /// Reads an event back before it is stored: an event that can be written and never read would make its aggregate unusable.
    fn verify(&self, encoded: &Encoded) -> Result<(), CodecError> {
        self.codec
            .decode::<A::Event>(&encoded.event_type, &encoded.data)
            .map(drop)
    }
}

/// Whether deciding again on a newer state can resolve the conflict.
fn is_version(conflict: &Conflict) -> bool {
    matches!(conflict, Conflict::Version { .. })
}
