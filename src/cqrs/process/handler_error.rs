//! The error of a handler.

use std::error::Error;
use std::fmt;

/// The error of a handler: transient or permanent.
///
/// Every [`Error`] converts to a transient one, which is retried, so `?` works in handlers. [`permanent`](Self::permanent) makes one that is
/// not retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerError {
    pub(super) reason: String,
    is_permanent: bool,
}

impl HandlerError {
    /// A transient error: the event is retried.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_permanent: false,
        }
    }

    /// A permanent error: the event is not retried.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_permanent: true,
        }
    }

    /// Whether the error is permanent.
    pub fn is_permanent(&self) -> bool {
        self.is_permanent
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<E: Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::transient(error.to_string())
    }
}
