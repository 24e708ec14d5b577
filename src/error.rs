//! What can go wrong, sorted by what the caller does next.

use std::fmt;

use uuid::Uuid;

use crate::journal::{JournalError, JournalErrorKind};
use crate::{Expected, Name, Position, StreamId, Version};

/// The error of a call to the store, classified by what the caller should do next.
///
/// The message of an error contains the messages of what caused it, so [`source`](std::error::Error::source) does not return them again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The version check or the condition failed. Nothing was written; read again and decide again.
    #[error(transparent)]
    Conflict(Box<Conflict>),
    /// The request is invalid and nothing was written; fix the arguments.
    #[error("{message}")]
    Invalid {
        /// What is wrong, and what to do.
        message: Box<str>,
    },
    /// The aggregate is tombstoned. Nothing was written; use another id.
    #[error("aggregate '{aggregate_id}' was deleted for good: use another id")]
    Deleted {
        /// The aggregate.
        aggregate_id: Name,
    },
    /// A budget is full and the settings say to refuse. Nothing was written; drop events, or raise the budget: a retry alone does not help.
    #[error("the store is full: {message}")]
    Full {
        /// What is full, and what to do.
        message: Box<str>,
    },
    /// The journal's backlog has no room, and the settings say to refuse, or [`try_append`](crate::Store::try_append) does not wait. Nothing was
    /// written; retry later, or wait by [`append_async`](crate::Store::append_async).
    #[error("the backlog of the journal is full: {reason}")]
    Backlog {
        /// How full the backlog is, and what to do.
        reason: Box<str>,
    },
    /// The store was closed. Nothing was written, unless it was closed while the append waited for durability; open the store again.
    #[error("the store is closed: open a new one")]
    Closed,
    /// The store does not support the operation. Nothing was written; use a store that does.
    #[error("this store cannot {message}")]
    Unsupported {
        /// The operation, such as `append on a condition`.
        message: Box<str>,
    },
    /// The store was opened read-only. Nothing was written; open it for writing.
    #[error("the store can only be read: {reason}")]
    ReadOnly {
        /// Why it was.
        reason: &'static str,
    },
    /// The journal is temporarily unavailable: another process has it open, the disk is full, the folder is missing. Retry later.
    #[error("the journal is temporarily unavailable: {cause}")]
    Unavailable {
        /// What failed in the journal.
        cause: JournalError,
    },
    /// A reader cannot read the journal, and a retry does not help. Nothing was changed; the message names what failed.
    #[error("{cause}")]
    Unreadable {
        /// What failed in the journal.
        cause: JournalError,
    },
    /// The journal is damaged. Nothing was changed; repair it, or restore it from a copy.
    #[error("the journal is damaged: {cause}")]
    Corrupt {
        /// What failed in the journal.
        cause: JournalError,
    },
    /// The journal failed, now or before. Whether the events of *this* append survive is unknown until the store is opened again;
    /// everything that was acknowledged as durable survives. The store can still be read.
    #[error("the journal has failed, and the store rejects appends until it is reopened: {cause}")]
    Failed {
        /// What failed in the journal.
        cause: JournalError,
    },
}

impl Error {
    /// An [`Invalid`](Self::Invalid) with this message.
    pub(crate) fn invalid(message: impl Into<Box<str>>) -> Self {
        Self::Invalid {
            message: message.into(),
        }
    }

    /// The same for a caller that only reads: it has no appends to take, and none in doubt.
    pub(crate) fn of_reader(self) -> Self {
        if let Self::Failed { cause: error } = self {
            return Self::Unreadable { cause: error };
        }
        self
    }

    /// The conflict, if the error is one.
    pub fn conflict(&self) -> Option<&Conflict> {
        if let Self::Conflict(conflict) = self {
            Some(conflict)
        } else {
            None
        }
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        match error.kind() {
            JournalErrorKind::Corrupt => Self::Corrupt { cause: error },
            JournalErrorKind::Locked | JournalErrorKind::Retry => Self::Unavailable { cause: error },
            JournalErrorKind::Failed => Self::Failed { cause: error },
            JournalErrorKind::Unsupported => Self::invalid(error.to_string()),
        }
    }
}

impl From<Conflict> for Error {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(Box::new(conflict))
    }
}

/// The failed check of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// The stream has another version.
    Version {
        /// The aggregate.
        stream: StreamId,
        /// The expected version.
        expected: Expected,
        /// The version of its last event.
        actual: Version,
        /// The position to wait for before reading it again.
        position: Position,
    },
    /// The condition does not hold.
    Condition {
        /// The first event that matches.
        position: Position,
    },
    /// The append contains the id of an event that the aggregate already has, and is not a duplicate of the append that stored it:
    /// some of its events are new, or their order differs. A retry does not help; append the new events alone.
    EventKnown {
        /// The aggregate.
        stream: StreamId,
        /// The id that both events have.
        id: Uuid,
        /// The version of the stored event.
        version: Version,
        /// Its position.
        position: Position,
    },
}

impl Conflict {
    /// The position to [wait for](crate::Store::wait_visible) before reading again: until it is visible, a reader does not see what the
    /// append conflicts with, and would decide the same again.
    pub fn wait_for(&self) -> Position {
        match self {
            Self::Version { position, .. } | Self::Condition { position } | Self::EventKnown { position, .. } => {
                *position
            }
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version {
                stream,
                expected,
                actual,
                ..
            } => {
                write!(
                    f,
                    "aggregate '{}' is at version {actual}, expected {expected}",
                    stream.aggregate_id
                )
            }
            Self::Condition { position } => {
                write!(
                    f,
                    "the condition does not hold: the event at position {position} matches its query"
                )
            }
            Self::EventKnown {
                stream, id, version, ..
            } => {
                write!(
                    f,
                    "event {id} is version {version} of aggregate '{}' already, and other events of the append are not: append the new \
                     ones alone",
                    stream.aggregate_id
                )
            }
        }
    }
}

impl std::error::Error for Conflict {}
