//! The seam below a store that follows: a log that others write.

use std::fmt;

use super::{JournalError, Recover, Recovered};
use crate::Position;

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
    /// Ends the wait of the feed.
    fn wake(&self);
}

/// A log that can be followed.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) feed: Box<dyn Feed>,
    pub(crate) remote: Box<dyn Remote>,
}
