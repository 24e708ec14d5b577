//! Why a transaction of a read model did not commit, and what follows.

use super::rows::SqlError;
use crate::cqrs::StopReason;
use crate::journal::postgres::Failure;
use crate::journal::{JournalError, JournalErrorKind};

/// The states of a statement of this module that lost against another transaction: cancelled by its timeout, or a lock that is not available.
const LOST: [&str; 2] = ["57014", "55P03"];

/// Why a transaction did not commit.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The database is unavailable, or another transaction was in the way: the processor retries.
    Away(String),
    /// A deferred constraint failed at the commit: some event of the batch violates it.
    Deferred(String),
    /// The processor stops.
    Stop(StopReason),
}

impl Trouble {
    /// The database or the connection failed in the middle of a transaction.
    pub(super) fn interrupted(error: &SqlError) -> Self {
        Self::Away(format!("the transaction of its read model was interrupted: {error}"))
    }

    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::Stop(StopReason::Database { reason: text.into() })
    }

    /// The reason for a caller that does not retry.
    pub(super) fn into_reason(self) -> StopReason {
        match self {
            Self::Away(text) | Self::Deferred(text) => StopReason::Database { reason: text },
            Self::Stop(reason) => reason,
        }
    }
}

/// A statement of this module failed.
impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let has_lost = failure.code.as_deref().is_some_and(|code| LOST.contains(&code));
        let is_away = failure.is_of_database || has_lost;
        let error = SqlError::from(failure);
        if is_away {
            Self::interrupted(&error)
        } else {
            Self::refused(error.to_string())
        }
    }
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        if error.kind() == JournalErrorKind::Retry {
            Self::Away(error.to_string())
        } else {
            Self::refused(error.to_string())
        }
    }
}
