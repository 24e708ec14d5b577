//! Failures of handlers, in the form that clients receive.

use std::convert::Infallible;
use std::fmt::Display;

use annals::Error;
use annals::cqrs::{CommandError, DispatchError, LoadError, ReadError};

use crate::problem::{Kind, Problem};

/// A failure of a command or a query, in the form that clients receive.
///
/// The errors of the toolkit convert to it. Implement `From<YourError> for Failure` for the error of your own message:
///
/// ```
/// use annals_server::Failure;
///
/// enum SeatError {
///     Taken,
///     Unknown { seat: u32 },
/// }
///
/// impl From<SeatError> for Failure {
///     fn from(error: SeatError) -> Self {
///         match error {
///             SeatError::Taken => Failure::refused("the seat is taken"),
///             SeatError::Unknown { seat } => Failure::not_found(format!("there is no seat {seat}")),
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Failure(pub(super) Problem);

impl Failure {
    /// The rules of the domain refuse the message: 422, `message-refused`. This is also what a text converts to.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self(Problem::new(Kind::MessageRefused, reason))
    }

    /// The message conflicts with what has happened meanwhile, and can be decided on again: 409, `message-conflict`.
    pub fn conflict(reason: impl Into<String>) -> Self {
        Self(Problem::new(Kind::MessageConflict, reason))
    }

    /// The object of the message does not exist: 404, `not-found`.
    pub fn not_found(reason: impl Into<String>) -> Self {
        Self(Problem::new(Kind::NotFound, reason))
    }

    /// The client may not do this: 403, `forbidden`.
    pub fn forbidden(reason: impl Into<String>) -> Self {
        Self(Problem::new(Kind::Forbidden, reason))
    }

    /// A resource of the handler is unavailable: 503, `store-unavailable`, with `Retry-After`.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self(Problem::new(Kind::Unavailable, reason))
    }

    /// A fault of the program: 500, `internal-error`. Clients see the reason.
    pub fn internal(reason: impl Into<String>) -> Self {
        Self(Problem::new(Kind::Internal, reason))
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::refused(reason)
    }
}

impl From<&'static str> for Failure {
    fn from(reason: &'static str) -> Self {
        Self::refused(reason)
    }
}

impl From<Infallible> for Failure {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let text = error.to_string();
        match error {
            LoadError::Store(error) | LoadError::Snapshot { error, .. } => error.into(),
            LoadError::Deleted { .. } => Self(Problem::new(Kind::Gone, text)),
            LoadError::OtherType { .. } => Self::conflict(text),
            LoadError::NoSuchVersion { .. } => Self::not_found(text),
            // Events are gone or do not decode: the program has to change.
            LoadError::Undecodable(_) | LoadError::Incomplete { .. } | LoadError::NoPseudonym { .. } | _ => {
                Self::internal(text)
            }
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        match error {
            ReadError::Store(error) => error.into(),
            ReadError::Undecodable(_) | ReadError::MissingPaths(_) | ReadError::NoPseudonym { .. } | _ => {
                Self::internal(text)
            }
        }
    }
}

impl<R: Display> From<CommandError<R>> for Failure {
    fn from(error: CommandError<R>) -> Self {
        let text = error.to_string();
        match error {
            CommandError::Rejected(reason) => Self::refused(reason.to_string()),
            CommandError::Load(error) => error.into(),
            CommandError::Inline { .. } => Self::refused(text),
            CommandError::Reused { .. } => Self(Problem::new(Kind::KeyReused, text)),
            CommandError::Contended { conflict, .. } => Error::from(*conflict).into(),
            CommandError::Store(error) => error.into(),
            CommandError::Unwritable { .. } | _ => Self::internal(text),
        }
    }
}

impl<E: Into<Failure>> From<DispatchError<E>> for Failure {
    fn from(error: DispatchError<E>) -> Self {
        match error {
            DispatchError::Failed(error) => error.into(),
            DispatchError::Refused {
                by: "authorize",
                reason,
                ..
            } => Self::forbidden(reason),
            DispatchError::Refused { by: "bus", reason, .. } => Self::internal(reason),
            DispatchError::Refused { reason, .. } => Self::refused(reason),
            // The text of a panic may contain data that the client must not see.
            DispatchError::Panicked { message, place, .. } => {
                Self::internal(format!("the {place} of '{message}' panicked"))
            }
            // A handler that is missing, or a middleware that answers for it with another type.
            DispatchError::NoHandler { .. } | DispatchError::OtherType { .. } | _ => {
                Self::internal("the bus of the program is not set up for this message")
            }
        }
    }
}
