//! The trait [`EventStore`]: what every store can do, and what it declares that it cannot; and its contract as tests.
//!
//! [`Store`](crate::Store) implements it on every journal. A client, a distributed log or the backend of a benchmark implements it too, and proves with
//! [`event_store_conformance!`](crate::event_store_conformance) that a program may use one instead of the other:
//!
//! ```
//! # mod tests {
//! use annals::Store;
//!
//! annals::event_store_conformance!(memory, Store::in_memory());
//! # }
//! ```

mod capability;
mod guarded;
pub mod rules;
mod store;

use std::time::Duration;

pub use self::capability::{Capabilities, Capability};
pub use self::guarded::Guarded;
use crate::{Append, Appended, Condition, Delivery, Error, Event, Position, Query, Result, Version};

/// An event store: appends with an expected version, and reads.
///
/// Each call waits for its answer. An append is readable by every later call when it returns, and changes nothing when it fails with
/// [`Conflict`](Error::Conflict) or [`Invalid`](Error::Invalid). What a store cannot do it leaves out of its
/// [capabilities](Self::capabilities), and refuses with [`Error::Unsupported`].
pub trait EventStore: Send + Sync {
    /// What this store can do beyond appending to one aggregate and reading.
    fn capabilities(&self) -> Capabilities;

    /// Appends to one aggregate, or with [`Capability::AppendAll`] to several, all or none.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when an expected version does not match; [`Error::Invalid`]; [`Error::Unsupported`]; those of the store's medium.
    fn append(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>>;

    /// Appends if the condition holds: [`Capability::AppendIf`].
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    fn append_if(&self, condition: &Condition, appends: &[Append<'_>]) -> Result<Vec<Appended>>;

    /// Reads events of an aggregate, in the order of `range`.
    ///
    /// # Errors
    ///
    /// Those of the store's medium. An aggregate without events is no error.
    fn read_stream(&self, aggregate_id: &str, range: Range<Version>) -> Result<Vec<Event>>;

    /// Reads the log, in the order of `range`, without the events of system streams.
    ///
    /// # Errors
    ///
    /// Those of the store's medium.
    fn read_all(&self, range: Range<Position>) -> Result<Vec<Event>>;

    /// Reads the events that match a query: [`Capability::Query`].
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a query that cannot be answered; [`Error::Unsupported`]; those of the store's medium.
    fn query(&self, query: &Query) -> Result<Vec<Event>>;

    /// Follows the events that match a query after a position: [`Capability::Tail`].
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    fn tail(&self, query: &Query, after: Position) -> Result<Box<dyn EventTail>>;
}

/// Follows a store's log: each matching event once, in order.
pub trait EventTail: Send {
    /// The next delivery; `None` when the time is over, or the tail has ended.
    ///
    /// # Errors
    ///
    /// Those of the store's medium.
    fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Delivery>>;
}

/// A part of a stream or of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<T> {
    /// The first version or position that is read; `None` for the first there is, or the last if it reads backwards.
    pub from: Option<T>,
    /// Reads in descending order.
    pub is_backwards: bool,
    /// At most this number of events.
    pub limit: usize,
}

impl<T> Range<T> {
    /// Everything, in ascending order.
    pub fn all() -> Self {
        Self {
            from: None,
            is_backwards: false,
            limit: usize::MAX,
        }
    }

    /// Begins with this version or position.
    #[must_use]
    pub fn from(mut self, from: T) -> Self {
        self.from = Some(from);
        self
    }

    /// Reads in descending order.
    #[must_use]
    pub fn backwards(mut self) -> Self {
        self.is_backwards = true;
        self
    }

    /// Reads at most `limit` events.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// The error of a call that a store cannot answer.
pub fn unsupported(capability: Capability) -> Error {
    Error::Unsupported(capability.as_str().into())
}
