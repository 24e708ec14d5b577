//! How a read model in PostgreSQL is set up and started.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::model::Model;
use super::place::Place;
use super::sink::SqlSink;
use super::{SqlProjected, SqlProjection};
use crate::cqrs::process::{Processors, StartError};
use crate::cqrs::typed::Reader;
use crate::cqrs::{Codec, OnFailure, StartFrom, TypedEvents};
use crate::{Name, Position, Query};

/// The events of a transaction by default. A transaction of more than 64 savepoints slows down the server's other sessions.
const BATCH_SIZE: usize = 64;

/// The most events of a transaction: those that a processor handles at once.
const BATCH_SIZE_MAX: usize = 256;

impl Processors {
    /// A read model in tables of the PostgreSQL database at `url`, which a thread of its own keeps up to date. See [`SqlProjection`].
    ///
    /// The URL has the form and the options of [`Store::open_url`](crate::Store::open_url). `schema` is the schema of the tables, and is created if
    /// it is missing; without it, the tables are in the first schema of the role's `search_path`. `timeout` bounds each statement. A transaction
    /// that is idle for the time of `lease` is ended by the server. The options of a store have no effect.
    pub fn project_to_postgres<P: SqlProjection>(
        &self,
        name: impl Into<Name>,
        url: impl Into<String>,
        projection: P,
    ) -> SqlProjectionBuilder<P> {
        let events = TypedEvents::<P::Event>::new();
        SqlProjectionBuilder {
            processors: self.clone(),
            name: name.into(),
            url: url.into(),
            projection,
            reader: events.reader(),
            query: events.all(),
            on_failure: OnFailure::default(),
            from: StartFrom::default(),
            batch_size: BATCH_SIZE,
        }
    }
}

/// How a read model in PostgreSQL is run. See [`Processors::project_to_postgres`].
#[must_use = "a projection runs when it is started"]
pub struct SqlProjectionBuilder<P: SqlProjection> {
    processors: Processors,
    name: Name,
    url: String,
    projection: P,
    reader: Reader<P::Event>,
    query: Query,
    on_failure: OnFailure,
    from: StartFrom,
    batch_size: usize,
}

/// Without the URL, which may contain a password.
impl<P: SqlProjection> fmt::Debug for SqlProjectionBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlProjectionBuilder")
            .field("name", &self.name)
            .field("query", &self.query)
            .field("on_failure", &self.on_failure)
            .field("from", &self.from)
            .field("batch_size", &self.batch_size)
            .finish_non_exhaustive()
    }
}

impl<P: SqlProjection> SqlProjectionBuilder<P> {
    /// Sets the codec, the upcasters, and what is done with unknown types. By default events are JSON of the newest schema.
    pub fn events<C: Codec>(mut self, events: &TypedEvents<P::Event, C>) -> Self {
        self.reader = events.reader();
        self.query = events.all();
        self
    }

    /// Sets the events that the projection reads. By default those of its event types.
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Sets what happens when an event cannot be applied. A parked event is a row of `annals_dead_letters`, and the later events of its aggregate
    /// are parked behind it.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sets where the projection begins when its name has no checkpoint in the database. By default at the first event.
    pub fn start_from(mut self, from: StartFrom) -> Self {
        self.from = from;
        self
    }

    /// Sets the number of events that commit together: 1 to 256, 64 by default.
    pub fn batch_size(mut self, events: usize) -> Self {
        self.batch_size = events.clamp(1, BATCH_SIZE_MAX);
        self
    }

    /// Starts the thread, which connects to the database. While the database is unavailable, it retries, and the status says why.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the name is taken or invalid, or the URL or the query is.
    pub fn start(self) -> Result<SqlProjected<P>, StartError> {
        let store = self.processors.store().clone();
        // An invalid query or URL is an error here, not on the thread.
        let query = self.reader.stored_query(self.query)?;
        drop(store.tail(query.clone(), Position(0))?);
        let database = crate::url::database_at(&self.url)?;
        let model = Arc::new(Model {
            store,
            name: self.name.clone(),
            projection: self.projection,
            reader: self.reader,
            query,
            on_failure: self.on_failure,
            from: self.from,
            batch_size: self.batch_size,
            database,
            epoch: AtomicU64::new(0),
            rebuilding: Mutex::new(()),
        });
        let make = |control: &Arc<_>| SqlSink::new(&model, control, Place::Live);
        let processor = self.processors.start(&self.name, make)?;
        Ok(SqlProjected::new(model, processor))
    }
}
