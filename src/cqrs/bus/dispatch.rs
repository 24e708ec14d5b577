//! The dispatch, the next step and the outcome, as middleware sees them.

use std::any::{Any, type_name};
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{DispatchError, Message};
use crate::cqrs::Context;

/// The number of dispatches that may be nested on one thread. A chain of handlers that leads back to itself would overflow the stack.
const MAX_DEPTH: u32 = 64;

thread_local! {
    /// The number of dispatches that this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Counts a dispatch of this thread until it is dropped.
pub(super) struct Nesting {
    /// The number of dispatches around it.
    outer: u32,
}

impl Nesting {
    /// `None` when too many dispatches are nested.
    pub(super) fn enter() -> Option<Self> {
        let outer = DEPTH.get();
        if outer >= MAX_DEPTH {
            return None;
        }
        DEPTH.set(outer + 1);
        Some(Self { outer })
    }
}

impl Drop for Nesting {
    fn drop(&mut self) {
        DEPTH.set(self.outer);
    }
}

pub(super) fn too_deep() -> Outcome {
    let reason = format!("more than {MAX_DEPTH} dispatches are nested: a handler leads back to itself");
    Outcome::refused("bus", reason)
}

/// The attempt of a dispatch, and whether it is nested.
pub(super) struct Progress {
    attempt: Cell<u32>,
    is_nested: bool,
}

impl Progress {
    pub(super) fn new(nesting: &Nesting) -> Self {
        Self {
            attempt: Cell::new(1),
            is_nested: nesting.outer > 0,
        }
    }
}

/// One dispatch of a message, as middleware sees it.
pub struct Dispatch<'a> {
    name: &'static str,
    message: &'a dyn Any,
    context: &'a Context,
    progress: &'a Progress,
}

impl fmt::Debug for Dispatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch")
            .field("name", &self.name)
            .field("context", &self.context)
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

impl<'a> Dispatch<'a> {
    pub(super) fn new<M: Message>(message: &'a M, context: &'a Context, progress: &'a Progress) -> Self {
        Self {
            name: M::NAME,
            message,
            context,
            progress,
        }
    }

    /// The [name](Message::NAME) of the message.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The message, when it is of type `M`.
    pub fn message<M: Message>(&self) -> Option<&'a M> {
        self.message.downcast_ref()
    }

    /// The type of the message.
    #[cfg(feature = "audit")]
    pub(in crate::cqrs) fn message_type(&self) -> std::any::TypeId {
        self.message.type_id()
    }

    /// The context that the handler gets.
    pub fn context(&self) -> &'a Context {
        self.context
    }

    /// The number of the current attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.progress.attempt.get()
    }

    /// Counts another attempt. A middleware that runs [`Next`] again calls this before, so that all of them count the same attempts.
    pub fn begin_attempt(&self) {
        let attempt = self.progress.attempt.get();
        self.progress.attempt.set(attempt.saturating_add(1));
    }

    /// Whether another dispatch, on any bus, is in progress on this thread. A nested dispatch leaves retries to the outermost one.
    pub fn is_nested(&self) -> bool {
        self.progress.is_nested
    }

    /// The same dispatch with another context for the middleware inside and the handler.
    #[must_use]
    pub fn with_context<'b>(&self, context: &'b Context) -> Dispatch<'b>
    where
        'a: 'b,
    {
        Dispatch { context, ..*self }
    }
}

/// The rest of a dispatch: the middleware inside, then the handler.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    layers: &'a [Box<dyn Middleware>],
    handler: &'a dyn Fn(&Dispatch<'_>) -> Outcome,
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next")
            .field("layers", &self.layers.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Next<'a> {
    pub(super) fn new(layers: &'a [Box<dyn Middleware>], handler: &'a dyn Fn(&Dispatch<'_>) -> Outcome) -> Self {
        Self { layers, handler }
    }

    /// Runs the middleware inside and the handler. When one of them panics, the outcome is [`Outcome::Panicked`].
    pub fn run(self, dispatch: &Dispatch<'_>) -> Outcome {
        match self.layers.split_first() {
            Some((first, layers)) => caught("middleware", || first(dispatch, Next { layers, ..self })),
            None => caught("handler", || (self.handler)(dispatch)),
        }
    }
}

fn caught(place: &'static str, run: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| Outcome::Panicked {
        place,
        reason: panic_message(&*payload),
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let literal = payload.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("the panic has no text").to_owned()
}

/// A function around the handlers of a bus. It runs [`Next`] once, several times, or not at all, and returns an outcome.
///
/// All functions and closures of this signature implement it. The bus calls it for all messages, from many threads at once.
pub trait Middleware: Fn(&Dispatch<'_>, Next<'_>) -> Outcome + Send + Sync + 'static {}

impl<F: Fn(&Dispatch<'_>, Next<'_>) -> Outcome + Send + Sync + 'static> Middleware for F {}

/// The error of a handler, of any type.
pub trait HandlerError: Any + fmt::Display {}

impl<E: Any + fmt::Display> HandlerError for E {}

/// The outcome of a dispatch, or of one attempt.
///
/// It displays as text, such as `ok` or `failed: the balance is 3`.
#[non_exhaustive]
pub enum Outcome {
    /// The handler returned this [reply](Message::Reply).
    Replied(Box<dyn Any>),
    /// The handler returned this [error](Message::Error).
    Failed(Box<dyn HandlerError>),
    /// A middleware refused the message.
    Refused {
        /// The middleware.
        by: &'static str,
        /// The reason.
        reason: String,
    },
    /// The handler or a middleware panicked.
    Panicked {
        /// `handler` or `middleware`.
        place: &'static str,
        /// The panic message.
        reason: String,
    },
}

impl Outcome {
    /// The outcome of a middleware that does not run the handler, or rejects its reply.
    pub fn refused(by: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::Refused { by, reason }
    }

    /// Whether the handler returned a reply.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Replied(_))
    }

    /// The error of the handler, when it is of type `E`.
    pub fn error<E: Any>(&self) -> Option<&E> {
        let Self::Failed(error) = self else {
            return None;
        };
        let error: &dyn Any = &**error;
        error.downcast_ref()
    }

    pub(super) fn of<M: Message>(result: Result<M::Reply, M::Error>) -> Self {
        match result {
            Ok(reply) => Self::Replied(Box::new(reply)),
            Err(error) => Self::Failed(Box::new(error)),
        }
    }

    pub(super) fn into_result<M: Message>(self) -> Result<M::Reply, DispatchError<M::Error>> {
        let message = M::NAME;
        Err(match self {
            Self::Replied(reply) => return unboxed(reply, message),
            Self::Failed(error) => unboxed(error, message).map_or_else(|error| error, DispatchError::Failed),
            Self::Refused { by, reason } => DispatchError::Refused { message, by, reason },
            Self::Panicked { place, reason } => DispatchError::Panicked { message, place, reason },
        })
    }
}

fn unboxed<T: Any, E>(boxed: Box<dyn Any>, message: &'static str) -> Result<T, DispatchError<E>> {
    let wanted = type_name::<T>();
    let value = boxed.downcast();
    value
        .map(|value| *value)
        .map_err(|_| DispatchError::OtherType { message, wanted })
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replied(_) => f.write_str("ok"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Refused { by, reason } => write!(f, "refused by '{by}': {reason}"),
            Self::Panicked { place, reason } => write!(f, "the {place} panicked: {reason}"),
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outcome({self})")
    }
}
