//! The errors of building a bus, and of a dispatch.

use std::fmt;

use super::BusKind;

/// Why a bus cannot be built or has no sender for a message. Fix the registration of its handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusError {
    /// The name of the bus, such as `command bus`.
    pub bus: &'static str,
    /// The messages that must have a handler and have none.
    pub unhandled: Vec<&'static str>,
    /// The messages that have more than one handler.
    pub handled_twice: Vec<&'static str>,
    /// The names that more than one message type has.
    pub ambiguous: Vec<&'static str>,
}

impl BusError {
    pub(super) fn new<K: BusKind>() -> Self {
        Self {
            bus: K::NAME,
            unhandled: Vec::new(),
            handled_twice: Vec::new(),
            ambiguous: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unhandled.is_empty() && self.handled_twice.is_empty() && self.ambiguous.is_empty()
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.bus)?;
        let mut separator = ":";
        for (problem, names, remedy) in [
            (
                "no handler for",
                &self.unhandled,
                "register one with `handle` before `build`",
            ),
            ("more than one handler for", &self.handled_twice, "register one"),
            (
                "more than one message type with the name",
                &self.ambiguous,
                "change `NAME` of one",
            ),
        ] {
            if !names.is_empty() {
                write!(f, "{separator} {problem} '{}' ({remedy})", names.join("', '"))?;
                separator = ";";
            }
        }
        Ok(())
    }
}

impl std::error::Error for BusError {}

/// Why a dispatch returned no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DispatchError<E> {
    /// The handler returned this error.
    Failed(E),
    /// A middleware refused the message, or the outcome of its handler.
    Refused {
        /// The message.
        message: &'static str,
        /// The middleware, such as `authorize`; `bus` when too many dispatches were nested.
        by: &'static str,
        /// The reason.
        reason: String,
    },
    /// The handler or a middleware panicked, before or after the handler had an effect. The bus stays usable; fix the code that panicked.
    Panicked {
        /// The message.
        message: &'static str,
        /// What panicked: `handler` or `middleware`.
        place: &'static str,
        /// The panic message.
        reason: String,
    },
    /// The message has no handler, and was not declared with [`require`](super::BusBuilder::require). Register a handler.
    NoHandler {
        /// The bus.
        bus: &'static str,
        /// The message.
        message: &'static str,
    },
    /// A middleware returned a reply or an error of another type than the message has. Fix the middleware.
    OtherType {
        /// The message.
        message: &'static str,
        /// The type that the outcome must have.
        wanted: &'static str,
    },
}

impl<E: fmt::Display> fmt::Display for DispatchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Refused { message, by, reason } => write!(f, "message '{message}' is refused by '{by}': {reason}"),
            Self::Panicked { message, place, reason } => {
                write!(
                    f,
                    "message '{message}': its {place} panicked: {reason}; fix the {place}"
                )
            }
            Self::NoHandler { bus, message } => write!(
                f,
                "{bus}: no handler for '{message}': register one with `handle` before `build`"
            ),
            Self::OtherType { message, wanted } => write!(
                f,
                "message '{message}': a middleware returned an outcome that is not of type {wanted}; fix the middleware"
            ),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for DispatchError<E> {}
