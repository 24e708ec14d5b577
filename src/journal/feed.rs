//! The interface below a store that follows: a log that other processes write.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::{JournalError, Recover, Recovered};
use crate::{Appended, Expected, NewEvent, Position, Result, StreamId};

/// Reads the events that other processes append. One thread at a time calls it.
pub(crate) trait Feed: Send + fmt::Debug {
    /// Passes the events after position `after` to `into` without waiting. Unless it fails, the last of them ends an append.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Retry`](super::JournalErrorKind::Retry) when a later call may succeed; any other error is final: the log is not the
    /// one that was read before, or cannot be read.
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError>;

    /// Blocks until new events may be available, for at most the poll interval; may return spuriously.
    fn wait(&mut self);
}

/// Appends to the log that a [`Feed`] reads.
pub(crate) trait Remote: Send + Sync + fmt::Debug {
    /// Appends, and returns when the events are synced.
    ///
    /// # Errors
    ///
    /// Those of an append to a store; [`Error::Unavailable`](crate::Error::Unavailable) when it is unknown whether the events were appended: the
    /// same append may be retried.
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended>;

    /// The timeout of an append.
    fn patience(&self) -> Duration;

    /// Wakes the feed from [`Feed::wait`].
    fn wake(&self);

    /// Interrupts the feed and closes the connection for appends.
    fn stop(&self);
}

/// An append to one aggregate.
#[cfg_attr(
    not(any(feature = "postgres", feature = "testing")),
    expect(dead_code, reason = "a database alone can be followed")
)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteAppend<'a> {
    pub(crate) stream: &'a StreamId,
    pub(crate) expected: Expected,
    pub(crate) events: &'a [NewEvent<'a>],
    /// The ids of the events, in the same order.
    pub(crate) ids: &'a [Uuid],
    /// Whether the caller supplied them.
    pub(crate) has_own_ids: bool,
}

/// A log that can be followed.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) feed: Box<dyn Feed>,
    pub(crate) remote: Box<dyn Remote>,
}
