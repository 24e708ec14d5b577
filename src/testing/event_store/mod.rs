//! The trait [`EventStore`], which event stores of every kind implement, and its contract as tests.
//!
//! [`Store`](crate::Store) implements it on every journal. A client, a distributed log or the backend of a benchmark implements it too.
//! [`event_store_conformance!`](crate::event_store_conformance) generates a test for each rule of the contract. An operation that a store lacks is left out
//! of its [`Capabilities`], and its rule asserts that the store rejects it:
//!
//! ```
//! # mod tests {
//! use annals::Store;
//!
//! annals::event_store_conformance!(memory, Store::in_memory());
//! # }
//! ```

mod capability;
#[cfg(test)]
mod defects;
mod guarded;
pub mod rules;
mod store;

use std::time::Duration;

pub use self::capability::{Capabilities, Capability};
pub use self::guarded::Guarded;
use crate::{Append, Appended, Condition, Delivery, Error, Event, Position, Query, Result, Version};

/// An event store: appends with an expected version, and reads.
///
/// Each call blocks until the store replies. When an append returns, every later read of this handle returns its events. An append changes nothing when it fails with
/// [`Conflict`](Error::Conflict), [`Invalid`](Error::Invalid) or [`Unsupported`](Error::Unsupported); after [`Unavailable`](Error::Unavailable) its events
/// may be stored or not. Whether an acknowledged append survives a crash depends on the store: see [`Appended::durability`].
///
/// A store leaves an operation that it lacks out of its [capabilities](Self::capabilities), and rejects it with [`unsupported`].
pub trait EventStore: Send + Sync {
    /// The operations of this store beyond appending to one aggregate and reading in ascending order. The same for every call.
    fn capabilities(&self) -> Capabilities;

    /// Appends to one aggregate, or with [`Capability::AppendAll`] to several, all or none.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when an expected version does not match; [`Error::Invalid`] for events that the store cannot keep; [`Error::Unsupported`] for
    /// several aggregates without [`Capability::AppendAll`]; [`Error::Unavailable`] and others of the store's medium.
    fn append(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>>;

    /// Appends to one or several aggregates, all or none, if the condition holds: [`Capability::AppendIf`].
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); [`Error::Conflict`] also when the condition does not hold.
    fn append_if(&self, condition: &Condition, appends: &[Append<'_>]) -> Result<Vec<Appended>>;

    /// Reads events of an aggregate, in the order of `range`. An aggregate without events gives an empty list.
    ///
    /// # Errors
    ///
    /// Those of the store's medium; [`Error::Unsupported`] for descending order without [`Capability::Backwards`].
    fn read_stream(&self, aggregate_id: &str, range: Range<Version>) -> Result<Vec<Event>>;

    /// Reads the log, in the order of `range`, without the events of system streams.
    ///
    /// # Errors
    ///
    /// As [`read_stream`](Self::read_stream).
    fn read_all(&self, range: Range<Position>) -> Result<Vec<Event>>;

    /// Reads the events that match a query: [`Capability::Query`].
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a query that cannot be answered; [`Error::Unsupported`]; those of the store's medium.
    fn query(&self, query: &Query) -> Result<Vec<Event>>;

    /// Follows the events that match a query, beginning after a position; later appends too: [`Capability::Tail`].
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    fn tail(&self, query: &Query, after: Position) -> Result<Box<dyn EventTail>>;
}

/// A reader that follows a store's log: it delivers each matching event once, ascending by position.
pub trait EventTail: Send {
    /// Waits up to `timeout` for the next delivery; `None` when the time is over, or the tail has ended.
    ///
    /// # Errors
    ///
    /// Those of the store's medium.
    fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Delivery>>;
}

/// A part of a stream or of the log. The default is [all](Self::all) of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Range<T> {
    /// The version or position to begin with, inclusive; `None` for the first, or the last if the order is descending.
    pub from: Option<T>,
    /// Whether the order is descending.
    pub is_backwards: bool,
    /// The largest number of events.
    pub limit: usize,
}

impl<T> Default for Range<T> {
    fn default() -> Self {
        Self::all()
    }
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

/// The error of a call that needs a capability which the store lacks.
pub fn unsupported(capability: Capability) -> Error {
    Error::Unsupported {
        message: capability.as_str().into(),
    }
}
