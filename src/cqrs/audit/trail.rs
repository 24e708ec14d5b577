//! The audit trail: events and commands of an aggregate, a user, a correlation or a period, in the order of the log.

use std::io::{self, Write};

use super::row::{self, Row};
use crate::event::system::{change_stream, command_stream};
use crate::{Delivery, Error, Field, Filter, GapReason, Name, Position, Query, Store, Timestamp};

/// Deliveries taken from the log at once.
const BATCH: usize = 1_024;

/// An error of writing a trail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrailError {
    /// The filters are invalid.
    #[error(transparent)]
    Store(#[from] Error),
    /// The output cannot be written.
    #[error("cannot write the audit trail: {error}")]
    Io {
        /// The error of the output, which the message contains. It is no [source](std::error::Error::source).
        error: io::Error,
    },
}

impl From<io::Error> for TrailError {
    fn from(error: io::Error) -> Self {
        Self::Io { error }
    }
}

/// Selects events and commands, and writes them. All filters must match; without filters, it is the trail of the whole store.
///
/// It contains the events of the store, the `$command` records of a [`CommandLog`](super::CommandLog), and changes of aggregates, such as `$deleted`, but no
/// snapshots. A gap in the log is a row of the kind `gap`, so a trail shows that events are missing.
///
/// It is read and written in batches of 1,024 events, so its memory does not depend on its length. It ends at the position that is visible when the call
/// begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a trail is written by one of its methods"]
pub struct Trail {
    aggregate: Option<Name>,
    user: Option<Name>,
    correlation: Option<Name>,
    since: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Trail {
    /// The trail of everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only events, commands and changes of this aggregate.
    pub fn aggregate(mut self, id: impl Into<Name>) -> Self {
        self.aggregate = Some(id.into());
        self
    }

    /// Only events and commands of this user.
    pub fn user(mut self, id: impl Into<Name>) -> Self {
        self.user = Some(id.into());
        self
    }

    /// Only events and commands of this correlation.
    pub fn correlation(mut self, id: impl Into<Name>) -> Self {
        self.correlation = Some(id.into());
        self
    }

    /// Only events and commands at this time or later. The filter compares the time of the event, which a writer may set; a row also has the time at which
    /// the store recorded it.
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Only events and commands before this time.
    pub fn before(mut self, time: Timestamp) -> Self {
        self.before = Some(time);
        self
    }

    fn query(&self) -> Query {
        let mut query = Query::all().include_system();
        if let Some(id) = &self.aggregate {
            let streams = [id.clone(), change_stream(id), command_stream(id)];
            query = query.filter(Filter::one_of(Field::Aggregate, streams));
        }
        if let Some(user) = &self.user {
            query = query.user(user.clone());
        }
        if let Some(correlation) = &self.correlation {
            query = query.correlation(correlation.clone());
        }
        if let Some(since) = self.since {
            query = query.since(since);
        }
        if let Some(before) = self.before {
            query = query.before(before);
        }
        query
    }

    /// Writes one JSON object per line. Returns the number of rows.
    ///
    /// # Errors
    ///
    /// See [`TrailError`].
    pub fn write_jsonl(&self, store: &Store, out: &mut dyn Write) -> Result<u64, TrailError> {
        self.write(store, &mut |row| row.write_json(out))
    }

    /// Writes CSV with a header, as RFC 4180 says, with `\n` at the end of each line. Returns the number of rows.
    ///
    /// Spreadsheets execute cells that begin like a formula. A text that begins with `=`, `+`, `-`, `@`, their full-width forms, a tab, a carriage
    /// return or a line feed gets a `'` before it. JSON lines contain every text unchanged.
    ///
    /// # Errors
    ///
    /// See [`TrailError`].
    pub fn write_csv(&self, store: &Store, out: &mut dyn Write) -> Result<u64, TrailError> {
        row::write_header(out)?;
        self.write(store, &mut |row| row.write_csv(out))
    }

    fn write(&self, store: &Store, write: &mut dyn FnMut(&Row<'_>) -> io::Result<()>) -> Result<u64, TrailError> {
        let mut tail = store.tail(self.query().until(store.visible()), Position(0))?;
        let mut rows = 0;
        loop {
            let mut batch = tail.next_batch(BATCH);
            if batch.is_empty() {
                return Ok(rows);
            }
            // A tail delivers a gap before the events of its batch.
            batch.sort_by_key(position_of);
            for delivery in &batch {
                if is_shown(delivery) {
                    row::with(delivery, &mut *write)?;
                    rows += 1;
                }
            }
        }
    }
}

fn position_of(delivery: &Delivery) -> Position {
    match delivery {
        Delivery::Event(event) => event.position(),
        Delivery::Gap(gap) => gap.first,
    }
}

fn is_shown(delivery: &Delivery) -> bool {
    match delivery {
        Delivery::Event(event) => event.event_type() != crate::event::system::SNAPSHOTTED,
        Delivery::Gap(gap) => gap.reason != GapReason::Snapshot,
    }
}
