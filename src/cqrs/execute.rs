//! Executing commands: load, decide, append at the version that was loaded, and again after a conflict.

use uuid::Uuid;

use super::aggregates::Until;
use super::codec::Encoded;
use super::{Aggregate, Aggregates, Codec, CodecError, CommandError, Loaded};
use crate::{Appended, Conflict, Error, Event, EventRef, Expected, NewEvent, StreamId, Version};

/// What a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Where its events are; `None` when it made nothing happen.
    pub appended: Option<Appended>,
    /// The version of the aggregate after the command.
    pub version: Version,
    /// How often it was decided.
    pub attempts: u32,
}

/// The ids that the events of a command get, so that the command is recognized when it comes again.
#[derive(Clone, Copy)]
struct CommandId(Uuid);

impl CommandId {
    /// The id of the command's event with this place, counted from 0: a UUID of version 5 (RFC 9562), with the command's as the namespace.
    fn event(self, place: u64) -> Uuid {
        Uuid::new_v5(&self.0, &place.to_be_bytes())
    }
}

impl<A: Aggregate, C: Codec> Aggregates<A, C> {
    /// Loads the aggregate, decides the command on its state, and appends the events at the version that was loaded.
    ///
    /// When another append came in between, all of it is done again, on the new state, as often as [`Retry`](super::Retry) says. A rejection is
    /// not retried. A command that decides on no events appends nothing.
    ///
    /// # Errors
    ///
    /// See [`CommandError`]. Nothing was appended, unless the store [failed](Error::Failed).
    pub fn execute(&self, id: &str, command: &A::Command) -> Result<Executed, CommandError<A::Rejection>> {
        self.execute_as(None, id, command)
    }

    /// The same for a command with an id. When its events are there already, they are acknowledged again, and nothing is decided.
    ///
    /// The command is recognized by the ids of its events, so it is recognized after a restart, on another machine, and as long as the aggregate
    /// retains these events. A command that was rejected, or made nothing happen, is decided again.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn execute_once(
        &self,
        command_id: Uuid,
        id: &str,
        command: &A::Command,
    ) -> Result<Executed, CommandError<A::Rejection>> {
        self.execute_as(Some(CommandId(command_id)), id, command)
    }

    fn execute_as(
        &self,
        command_id: Option<CommandId>,
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
        command_id: Option<CommandId>,
        stream: &StreamId,
        command: &A::Command,
        attempts: u32,
    ) -> Result<Executed, CommandError<A::Rejection>> {
        let mut known: Vec<Event> = Vec::new();
        let see = |event: EventRef<'_>| {
            if command_id.is_some_and(|command| command.event(known.len() as u64) == event.id()) {
                known.push(event.to_event());
            }
        };
        let id = stream.aggregate_id.as_str();
        let loaded = self.load_until(id, Until::Now, see)?;
        let mut executed = Executed {
            appended: None,
            version: loaded.version,
            attempts,
        };
        if !known.is_empty() {
            executed.appended = Some(self.acknowledge_again(stream, &known)?);
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

    /// The store recognizes events by their ids, and acknowledges them when they are as safe as this handle asks for.
    fn acknowledge_again(&self, stream: &StreamId, known: &[Event]) -> Result<Appended, CommandError<A::Rejection>> {
        let events: Vec<_> = known.iter().map(Event::to_new).collect();
        self.store
            .append(stream, Expected::Any, events)
            .map_err(CommandError::Store)
    }

    fn append(
        &self,
        command_id: Option<CommandId>,
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
