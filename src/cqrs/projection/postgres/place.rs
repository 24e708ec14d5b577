//! Where a read model is: in the schema of its readers, or in one beside it while it is rebuilt.

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::SqlProjection;
use super::batch::{Owner, number, signed, unreadable};
use super::model::Model;
use super::rows::Rows;
use super::tables::{Tables, create_schema, lock_creation};
use super::trouble::Trouble;
use crate::Position;
use crate::cqrs::{StartFrom, StopReason};
use crate::journal::postgres::{Database, Failure, Link};

/// The schema that the tables of a read model are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The first of the `search_path`.
    Live,
    /// This one, which comes first in the `search_path`.
    Beside(String),
}

/// A connection whose sessions create tables in the place.
pub(super) struct Opened {
    pub(super) link: Link,
    pub(super) tables: Tables,
}

/// Connects to a place. The first time, the schema of the URL is created, and a pooler is detected.
pub(super) fn open(database: &Database, place: &Place, is_first: bool) -> Result<Opened, Trouble> {
    let mut link = if is_first {
        database.connect_checked()?
    } else {
        database.connect()?
    };
    if is_first && let Some(schema) = database.schema() {
        create_schema(&mut link, schema)?;
    }
    if let Place::Beside(schema) = place {
        let path = "SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', pg_catalog.quote_ident($1), \
                    NULLIF(pg_catalog.current_setting('search_path'), '')), false)";
        link.query(None, path, &[schema])?;
    }
    let tables = Tables::of(&mut link)?;
    Ok(Opened { link, tables })
}

impl Opened {
    /// Creates the tables of checkpoints and letters, if they are missing.
    pub(super) fn prepare(&mut self) -> Result<(), Trouble> {
        let Self { link, tables } = self;
        link.batch("BEGIN")?;
        tables.create(link)?;
        Ok(link.batch("COMMIT")?)
    }

    /// Has the projection create its tables, all or none, one process at a time.
    pub(super) fn create<P: SqlProjection>(&mut self, projection: &P, is_rebuild: bool) -> Result<(), Trouble> {
        self.link.batch("BEGIN")?;
        lock_creation(&mut self.link)?;
        let (mut pending, mut is_set) = (None, false);
        let mut rows = Rows::new(&mut self.link, &mut pending, &mut is_set).of_rebuild(is_rebuild);
        let created = projection.create(&mut rows);
        let failed = rows.into_failed();
        if let Some(error) = failed.as_ref().filter(|error| error.is_of_database()) {
            return Err(Trouble::interrupted(error));
        }
        let failed = failed.map(|error| error.to_string());
        let failed = created.err().map(|error| error.to_string()).or(failed);
        if let Some(text) = failed {
            return Err(Trouble::refused(format!(
                "its tables cannot be created: {text}; fix `create`, or rebuild where their shape has changed"
            )));
        }
        Ok(self.link.batch("COMMIT")?)
    }

    /// Begins a new epoch. Every earlier owner of the name stops at its next transaction; one that has a transaction open is waited for.
    pub(super) fn take<P: SqlProjection>(&mut self, model: &Model<P>, place: &Place) -> Result<Owner, Trouble> {
        let first = first_position(model, place);
        let (name, first, id): (&str, _, _) = (&model.name, signed(first.0), model.id_at(first));
        let rows = self.link.query(None, &self.tables.take, &[&name, &first, &id])?;
        let row = rows
            .first()
            .ok_or_else(|| Trouble::refused("the checkpoint cannot be written"))?;
        let saved = Position(number(row, 0)?);
        let epoch = number(row, 1)?;
        if *place == Place::Live {
            model.epoch.store(epoch, Ordering::Release);
        }
        let id: Option<Uuid> = row.try_get(2).map_err(|error| unreadable(&error))?;
        check_log(model, saved, id)?;
        Ok(Owner {
            name: model.name.clone(),
            epoch,
            saved,
            is_rebuild: *place != Place::Live,
        })
    }

    /// Executes statements in one transaction.
    pub(super) fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Link) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.link.batch("BEGIN")?;
        let done = work(&mut self.link)?;
        self.link.batch("COMMIT")?;
        Ok(done)
    }
}

/// Where a read model begins that has no checkpoint. A rebuild begins at the first event.
fn first_position<P: SqlProjection>(model: &Model<P>, place: &Place) -> Position {
    match (model.from, place) {
        (StartFrom::After(position), _) => position,
        (StartFrom::End, Place::Live) => model.store.visible(),
        (StartFrom::Beginning, _) | (StartFrom::End, Place::Beside(_)) => Position(0),
    }
}

/// # Errors
///
/// [`StopReason::Database`] when another event is at the position of the checkpoint: the store was replaced, or has lost events in a crash and
/// recorded others in their place.
fn check_log<P: SqlProjection>(model: &Model<P>, saved: Position, id: Option<Uuid>) -> Result<(), Trouble> {
    let (Some(expected), Some(found)) = (id, model.id_at(saved)) else {
        return Ok(());
    };
    if expected == found {
        return Ok(());
    }
    Err(Trouble::Stop(StopReason::Database {
        reason: format!(
            "the event at its checkpoint, position {saved}, was {expected} and is {found} in this store: the store was replaced, or lost events in a \
         crash; rebuild the read model, or use another name"
        ),
    }))
}
