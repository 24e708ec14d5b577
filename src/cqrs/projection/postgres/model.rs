//! A read model in a database: the projection, and how its events are applied.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use uuid::Uuid;

use super::SqlProjection;
use super::batch::Batch;
use super::rows::{Rows, SqlError};
use crate::cqrs::typed::Reader;
use crate::cqrs::{HandlerError, OnFailure, StartFrom};
use crate::journal::postgres::Database;
use crate::{Delivery, Event, Gap, Name, Position, Query, Store};

/// What the processor's thread and its handles share.
pub(super) struct Model<P: SqlProjection> {
    pub(super) store: Store,
    pub(super) name: Name,
    pub(super) projection: P,
    pub(super) reader: Reader<P::Event>,
    pub(super) query: Query,
    pub(super) on_failure: OnFailure,
    pub(super) from: StartFrom,
    pub(super) batch_size: usize,
    pub(super) database: Database,
    /// The epoch of the running processor; 0 before it has begun.
    pub(super) epoch: AtomicU64,
    /// Locked while the read model is rebuilt.
    pub(super) rebuilding: Mutex<()>,
}

/// Why an event was not applied.
pub(super) enum NotApplied {
    /// The handler failed, or a statement of it.
    Failed(HandlerError),
    /// The database is unavailable.
    Interrupted(SqlError),
}

impl<P: SqlProjection> Model<P> {
    /// Applies an event in the open transaction. With `at_once`, deferred constraints are checked, too.
    pub(super) fn apply(&self, batch: &mut Batch<'_>, event: &Event, at_once: bool) -> Result<(), NotApplied> {
        call(batch, |rows| {
            let mut applied = Ok(());
            let read = self.reader.read(event, &mut |typed| {
                if applied.is_ok() {
                    applied = self.projection.apply(typed, event, rows);
                }
            });
            read.map_err(|error| HandlerError::permanent(error.to_string()))?;
            applied?;
            if at_once {
                rows.execute("SET CONSTRAINTS ALL IMMEDIATE", &[])?;
            }
            Ok(())
        })
    }

    pub(super) fn gap(&self, batch: &mut Batch<'_>, gap: &Gap) -> Result<(), NotApplied> {
        call(batch, |rows| self.projection.gap(gap, rows))
    }

    /// The id of the event at a position: it tells a log that was replaced by another.
    pub(super) fn id_at(&self, position: Position) -> Option<Uuid> {
        self.store.event_at(position).map(|event| event.id())
    }
}

/// Calls a handler. A statement that failed counts, whatever the handler returns.
fn call(
    batch: &mut Batch<'_>,
    handler: impl FnOnce(&mut Rows<'_>) -> Result<(), HandlerError>,
) -> Result<(), NotApplied> {
    let mut rows = batch.rows();
    let done = handler(&mut rows);
    match (rows.into_failed(), done) {
        (Some(error), _) if error.is_of_database() => Err(NotApplied::Interrupted(error)),
        (Some(error), Ok(())) => Err(NotApplied::Failed(HandlerError::transient(format!(
            "a statement failed, and the handler returned no error: {error}"
        )))),
        (_, Err(error)) => Err(NotApplied::Failed(error)),
        (None, Ok(())) => Ok(()),
    }
}

/// The position before a delivery: where the next start goes on to handle it again.
pub(super) fn before(delivery: &Delivery) -> Position {
    Position(match delivery {
        Delivery::Event(event) => event.position().0 - 1,
        Delivery::Gap(gap) => gap.first.0 - 1,
    })
}

/// The aggregates of the events of a chunk.
pub(super) fn aggregates(chunk: &[Delivery]) -> BTreeSet<&str> {
    chunk
        .iter()
        .filter_map(|delivery| match delivery {
            Delivery::Event(event) => Some(event.aggregate_id()),
            Delivery::Gap(_) => None,
        })
        .collect()
}

/// The number of deliveries to commit together: at least one, and up to an event, because a gap may overlap what follows it.
pub(super) fn chunk_len(batch: &[Delivery], size: usize) -> usize {
    let later = batch.iter().enumerate().skip(size.max(1));
    later
        .filter(|(_, delivery)| matches!(delivery, Delivery::Event(_)))
        .map(|(place, _)| place)
        .next()
        .unwrap_or(batch.len())
}
