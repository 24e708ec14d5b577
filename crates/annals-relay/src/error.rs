//! Errors of settings and of starting.

use annals::Name;
use annals::cqrs::StartError;

/// A relay that cannot be set up or started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// A setting is invalid; fix it.
    #[error("{message}")]
    Invalid {
        /// Which setting, and what it must be.
        message: String,
    },
    /// The checkpoint or the dead letters cannot be read, or the name or the query is invalid.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The operating system starts no thread.
    #[error("cannot start a thread for relay '{name}': {reason}")]
    NoThread {
        /// The relay.
        name: Name,
        /// The reason.
        reason: String,
    },
}

impl RelayError {
    /// An invalid setting.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid {
            message: message.into(),
        }
    }
}
