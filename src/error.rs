//! What can go wrong, sorted by what the caller does next.

use std::fmt;

use crate::{Expected, Name, Position, StreamId, Version};

/// What can go wrong, sorted by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store is not where the caller believed. Nothing was written: read again and decide again.
    #[error(transparent)]
    Conflict(Box<Conflict>),
    /// The call cannot be carried out as it is. Nothing was written: mend the call.
    #[error("{0}")]
    Invalid(Box<str>),
    /// The aggregate was deleted for good. Nothing was written: use another id.
    #[error("aggregate '{0}' was deleted for good: use another id")]
    Deleted(Name),
    /// A budget is used up and the store is set to refuse. Nothing was written: drop something, or try later.
    #[error("the store is full: {0}")]
    Full(Box<str>),
    /// The store was closed. Nothing was written: open a new one.
    #[error("the store is closed: open a new one")]
    Closed,
}

impl Error {
    /// An [`Invalid`](Self::Invalid) with this message.
    pub(crate) fn invalid(message: impl Into<Box<str>>) -> Self {
        Self::Invalid(message.into())
    }

    /// The conflict, if that is what it is.
    pub fn conflict(&self) -> Option<&Conflict> {
        if let Self::Conflict(conflict) = self {
            Some(conflict)
        } else {
            None
        }
    }
}

impl From<Conflict> for Error {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(Box::new(conflict))
    }
}

/// Where the store differs from what the writer believed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// A stream is at another version.
    Version {
        /// Which stream.
        stream: StreamId,
        /// What the writer believed.
        expected: Expected,
        /// The version of its last event.
        actual: Version,
        /// The position to wait for before reading it again.
        position: Position,
    },
    /// A condition on the whole store does not hold.
    Condition {
        /// The first event that matches.
        position: Position,
    },
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
        }
    }
}

impl std::error::Error for Conflict {}
