//! The seam below a store that follows: a log that others write.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::{JournalError, Recover, Recovered};
use crate::{Appended, Expected, NewEvent, Position, Result, StreamId};

/// Reads what others write. One thread at a time calls it.
pub(crate) trait Feed: Send + fmt::Debug {
    /// Hands on what there is after position `after`, at once. What is handed on ends with a whole append, if nothing failed.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Retry`](super::JournalErrorKind::Retry) when the same may succeed later; any other is final: the log is not the
    /// one that was read before, or cannot be read.
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError>;

    /// Waits until there may be more, not for long: nobody has to say that there is.
    fn wait(&mut self);
}

/// Where the same log is written.
pub(crate) trait Remote: Send + Sync + fmt::Debug {
    /// Appends, and returns when that is synced.
    ///
    /// # Errors
    ///
    /// Those of an append to a store; [`Error::Unavailable`](crate::Error::Unavailable) when it is not known whether it was carried out: then
    /// the same may be done again.
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended>;

    /// The longest time that one may take.
    fn patience(&self) -> Duration;

    /// Ends the wait of the feed.
    fn wake(&self);

    /// Ends what the feed does now, and whatever is held to append.
    fn stop(&self);
}

/// An append to one aggregate.
#[cfg_attr(
    not(feature = "postgres"),
    expect(dead_code, reason = "a database alone can be followed")
)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteAppend<'a> {
    pub(crate) stream: &'a StreamId,
    pub(crate) expected: Expected,
    pub(crate) events: &'a [NewEvent<'a>],
    /// Their ids, one for each.
    pub(crate) ids: &'a [Uuid],
    /// Whether the caller brought them.
    pub(crate) has_own_ids: bool,
}

/// A log that can be followed.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) feed: Box<dyn Feed>,
    pub(crate) remote: Box<dyn Remote>,
}
