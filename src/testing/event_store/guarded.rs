//! A store together with a resource that it needs.

use super::{Capabilities, EventStore, EventTail, Range};
use crate::{Append, Appended, Condition, Event, Position, Query, Result, Version};

/// A store, and a resource that must outlive it: a temporary folder, a schema of a database, a server. The store is dropped first. It implements
/// [`EventStore`], so [`event_store_conformance!`](crate::event_store_conformance) accepts it.
#[derive(Clone, Copy, Debug)]
pub struct Guarded<S, G> {
    /// The store.
    pub store: S,
    /// Dropped after the store.
    pub guard: G,
}

impl<S: EventStore, G: Send + Sync> EventStore for Guarded<S, G> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn append(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.store.append(appends)
    }

    fn append_if(&self, condition: &Condition, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.store.append_if(condition, appends)
    }

    fn read_stream(&self, aggregate_id: &str, range: Range<Version>) -> Result<Vec<Event>> {
        self.store.read_stream(aggregate_id, range)
    }

    fn read_all(&self, range: Range<Position>) -> Result<Vec<Event>> {
        self.store.read_all(range)
    }

    fn query(&self, query: &Query) -> Result<Vec<Event>> {
        self.store.query(query)
    }

    fn tail(&self, query: &Query, after: Position) -> Result<Box<dyn EventTail>> {
        self.store.tail(query, after)
    }
}
