//! Where messages are published, and what becomes of each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals::{Event, Name};

use crate::Message;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The target has it, and acknowledged it.
    Delivered,
    /// The target did not take this message. It is sent again after a pause, and is a dead letter after the last attempt.
    Retry {
        /// The reason, without secrets.
        reason: String,
    },
    /// The target does not take this message and never will: it is a dead letter.
    Refused {
        /// The reason.
        reason: String,
    },
    /// Whether the target has it is not known. It is sent again after a pause, without a limit.
    Unknown {
        /// The reason.
        reason: String,
    },
    /// The target takes no message now. All are sent again after a pause, without a limit.
    Unavailable {
        /// The reason.
        reason: String,
        /// The time that the target asks for; `None` for the pause of the relay.
        after: Option<Duration>,
    },
    /// The target takes no message until a person has changed something: the relay stops.
    Stop {
        /// The reason.
        reason: String,
    },
}

impl Outcome {
    /// [`Outcome::Unavailable`] without a time.
    pub fn unavailable(reason: impl fmt::Display) -> Self {
        Self::Unavailable {
            reason: reason.to_string(),
            after: None,
        }
    }

    /// [`Outcome::Unknown`].
    pub fn unknown(reason: impl fmt::Display) -> Self {
        Self::Unknown {
            reason: reason.to_string(),
        }
    }

    /// [`Outcome::Refused`].
    pub fn refused(reason: impl fmt::Display) -> Self {
        Self::Refused {
            reason: reason.to_string(),
        }
    }
}

/// How much a target takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capacity {
    /// Messages of one call, at most.
    pub batch: usize,
    /// Calls at once, each on a thread, at most 64.
    pub calls: usize,
}

impl Capacity {
    /// Both numbers; 0 means 1.
    pub fn new(batch: usize, calls: usize) -> Self {
        Self {
            batch: batch.max(1),
            calls: calls.clamp(1, 64),
        }
    }
}

/// A system that messages are published to.
pub trait Target: fmt::Debug + Send + Sync {
    /// Publishes messages of different [lanes](Self::lane), ascending by position, and waits for the acknowledgements, for a bounded time. Returns what became
    /// of each, in their order; one that is missing counts as [`Outcome::Unknown`].
    ///
    /// A message is smaller than the limit of the target, or is refused before it is sent: a large one must not harm the others.
    fn publish(&self, messages: &[Arc<Message>]) -> Vec<Outcome>;

    /// The lane of an event: the messages of a lane are published one at a time, ascending by position. By default, the aggregate. If a lane has several
    /// aggregates, the target must take one call at a time: otherwise the lane is not in the order of the log. Dead letters that are replayed come behind it.
    fn lane(&self, event: &Event) -> Name {
        event.aggregate_id().into()
    }

    /// How much it takes at once.
    fn capacity(&self) -> Capacity;
}
