//! The errors of loading aggregates and executing commands, by what the caller does next.

use std::fmt;

use uuid::Uuid;

use super::CodecError;
use crate::{Conflict, Error, Event, EventRef, Name, Position, Version};

/// An event that does not decode: its type is unknown, its data is not that of the variant, or no upcaster leads to the newest schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read event {event_id} (type '{event_type}', position {position}) of aggregate '{aggregate_id}': {error}"
)]
#[non_exhaustive]
pub struct Undecodable {
    /// The aggregate.
    pub aggregate_id: Name,
    /// The event.
    pub event_id: Uuid,
    /// Its type.
    pub event_type: Name,
    /// Its position.
    pub position: Position,
    /// Why it does not decode.
    pub error: CodecError,
}

impl Undecodable {
    pub(super) fn new(event: EventRef<'_>, error: CodecError) -> Self {
        Self {
            aggregate_id: event.aggregate_id().into(),
            event_id: event.id(),
            event_type: event.event_type().into(),
            position: event.position(),
            error,
        }
    }

    pub(super) fn of_event(event: &Event, error: CodecError) -> Self {
        Self {
            aggregate_id: event.aggregate_id().into(),
            event_id: event.id(),
            event_type: event.event_type().into(),
            position: event.position(),
            error,
        }
    }
}

/// A failure to load an aggregate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] crate::Error),
    /// An event does not decode. Add a variant, a default or an upcaster; or skip types that are unknown.
    #[error(transparent)]
    Undecodable(#[from] Box<Undecodable>),
    /// Events that the state depends on are gone. If they were archived, attach the archive.
    #[error(
        "aggregate '{aggregate_id}' cannot be loaded: its events from version {first} to version {last} are gone (truncated, deleted, archived, \
         or past a limit or a budget); if they were archived, attach the archive"
    )]
    Incomplete {
        /// The aggregate.
        aggregate_id: Name,
        /// The first version that is gone.
        first: Version,
        /// The last version that is gone.
        last: Version,
    },
    /// The aggregate was deleted for good; use another id.
    #[error("aggregate '{aggregate_id}' was deleted for good: use another id")]
    Deleted {
        /// The aggregate.
        aggregate_id: Name,
    },
    /// The id belongs to an aggregate of another type; use another id, or load it as what it is.
    #[error("aggregate '{aggregate_id}' is of type '{actual}', not '{wanted}': an id belongs to one type")]
    OtherType {
        /// The aggregate.
        aggregate_id: Name,
        /// The type that was to be loaded.
        wanted: Name,
        /// The type that it has.
        actual: Name,
    },
    /// The id of the aggregate is personal data, and has no pseudonym to load it by: its subject was erased, or the key store cannot be read.
    #[error("the aggregate has no stored id to load it by: {reason}")]
    NoPseudonym {
        /// Why. It does not contain the id.
        reason: String,
    },
    /// The snapshot cannot be saved.
    #[error("cannot save a snapshot of aggregate '{aggregate_id}': {error}")]
    Snapshot {
        /// The aggregate.
        aggregate_id: Name,
        /// The store's error.
        error: Error,
    },
    /// The aggregate has no such version yet.
    #[error("aggregate '{aggregate_id}' has no version {wanted}: its last version is {last}")]
    NoSuchVersion {
        /// The aggregate.
        aggregate_id: Name,
        /// The requested version.
        wanted: Version,
        /// The version of its last event.
        last: Version,
    },
}

/// A failure of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError<R> {
    /// The rules of the domain reject the command. Nothing was appended; tell the user.
    Rejected(R),
    /// The aggregate cannot be loaded. Nothing was appended.
    Load(LoadError),
    /// The aggregate decided on an event that cannot be written, or could not be read again. Nothing was appended; fix the event's type.
    Unwritable {
        /// The aggregate.
        aggregate_id: Name,
        /// The event's type, where it is known.
        event_type: Option<Name>,
        /// Why it cannot be written.
        error: Box<CodecError>,
    },
    /// An inline projection rejects an event, or has failed. Nothing was appended; reset a projection that has failed.
    Inline {
        /// The projection's reason.
        reason: String,
    },
    /// Another command had this id. Nothing was appended; use a new id for a new command.
    Reused {
        /// The id of both commands.
        command_id: Uuid,
        /// The aggregate.
        aggregate_id: Name,
        /// The position of the other command's first event.
        position: Position,
    },
    /// Every attempt conflicted with another append. Nothing was appended; retry later, or allow more attempts.
    Contended {
        /// The number of attempts.
        attempts: u32,
        /// The conflict of the last attempt.
        conflict: Box<Conflict>,
    },
    /// The store rejects the append, or has failed; whether the events are stored depends on the [`Error`].
    Store(Error),
}

impl<R: fmt::Display> fmt::Display for CommandError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => write!(f, "the command is rejected: {rejection}"),
            Self::Load(error) => error.fmt(f),
            Self::Unwritable {
                aggregate_id,
                event_type,
                error,
            } => {
                let event_type = event_type.as_deref().unwrap_or("unknown");
                write!(
                    f,
                    "cannot append an event of type '{event_type}' to aggregate '{aggregate_id}': {error}"
                )
            }
            Self::Inline { reason } => write!(f, "an inline projection refuses the command: {reason}"),
            Self::Reused {
                command_id,
                aggregate_id,
                position,
            } => write!(
                f,
                "another command with the id {command_id} was executed on aggregate '{aggregate_id}' (event at position {position}): a new command \
                 needs an id of its own"
            ),
            Self::Contended { attempts, conflict } => {
                write!(
                    f,
                    "the command conflicted with other appends in all {attempts} attempts: {conflict}; retry later, or allow more attempts"
                )
            }
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl<R: fmt::Debug + fmt::Display> std::error::Error for CommandError<R> {}

impl<R> CommandError<R> {
    /// The same error with the rejection converted, for example to a type that several aggregates share.
    pub fn map_rejection<T>(self, map: impl FnOnce(R) -> T) -> CommandError<T> {
        match self {
            Self::Rejected(rejection) => CommandError::Rejected(map(rejection)),
            Self::Load(error) => CommandError::Load(error),
            Self::Unwritable {
                aggregate_id,
                event_type,
                error,
            } => CommandError::Unwritable {
                aggregate_id,
                event_type,
                error,
            },
            Self::Inline { reason } => CommandError::Inline { reason },
            Self::Reused {
                command_id,
                aggregate_id,
                position,
            } => CommandError::Reused {
                command_id,
                aggregate_id,
                position,
            },
            Self::Contended { attempts, conflict } => CommandError::Contended { attempts, conflict },
            Self::Store(error) => CommandError::Store(error),
        }
    }
}

impl<R> From<LoadError> for CommandError<R> {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}
