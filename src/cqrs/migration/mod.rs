//! Migration: rows of a table become the first events of aggregates.
//!
//! Each row becomes one event, such as `CustomerMigrated`, the first of a new aggregate. [`rows`] reads JSON lines and CSV, and with the feature `postgres`
//! the result of a query. The example `migrate_a_table` also shows the switch that reads an aggregate from the old table until it is migrated.
//!
//! A migration keeps no checkpoint. After a crash or an error, run it again: rows that were migrated are recognized, and stay as they are.
//!
//! ```
//! use annals::cqrs::migration::{Migrated, Migration, rows};
//! use annals::Store;
//!
//! let store = Store::in_memory();
//! let table = "{\"id\": 7, \"name\": \"Anna\"}\n{\"name\": \"Bert\"}\n";
//! let customers = Migration::new(&store, "customers", |row| {
//!     let id = row["id"].as_u64().ok_or("it has no id")?;
//!     Ok(Migrated::new("Customer", format!("customer-{id}")).data(row))
//! });
//! let report = customers.run(rows::json_lines(table.as_bytes()))?;
//! assert_eq!((report.migrated, report.refused_count), (1, 1));
//! assert_eq!(report.refused[0].to_string(), "row 2: it has no id");
//! assert_eq!(store.read_stream("customer-7").events()[0].event_type(), "CustomerMigrated");
//! // The second run recognizes the row.
//! assert_eq!(customers.run(rows::json_lines(table.as_bytes()))?.already_migrated, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod report;
pub mod rows;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

pub use self::report::{MigrationError, MigrationReport, RefusedRow};
use self::rows::RowError;
use crate::{Append, Appended, Error, Expected, NewEvent, Position, Store, StreamId, Timestamp};

/// The number of rows that are appended at once.
const BATCH: usize = 256;
/// The bytes of data after which a batch is appended, whatever the number of its rows.
const BATCH_BYTES: usize = 16 << 20;
/// The namespace of the ids of migrated events.
const NAMESPACE: Uuid = Uuid::from_u128(0x5f8e_64d1_27c3_5b0a_9d41_f2ce_8a63_70be);

/// The event that a row becomes: the first one of an aggregate.
#[derive(Clone, Debug)]
#[must_use = "a row is migrated by `Migration::run`"]
pub struct Migrated {
    stream: StreamId,
    event: NewEvent<'static>,
    /// Why the data cannot be stored.
    broken: Option<String>,
}

impl Migrated {
    /// The event `…Migrated` of an aggregate of this type: `CustomerMigrated` for a `Customer`.
    pub fn new(aggregate_type: &str, aggregate_id: impl Into<String>) -> Self {
        let id: String = aggregate_id.into();
        Self {
            stream: StreamId::new(aggregate_type, id),
            event: NewEvent::new(format!("{aggregate_type}Migrated")),
            broken: None,
        }
    }

    /// Sets the data of the event, as JSON. Data that cannot be written as JSON make the row a refused row.
    pub fn data(mut self, data: &impl Serialize) -> Self {
        match serde_json::to_string(data) {
            Ok(json) => self.event = self.event.data(json),
            Err(error) => self.broken = Some(format!("its data cannot be written as JSON: {error}")),
        }
        self
    }

    /// Sets the time of the event, such as the creation time of the row. By default, it is the time of the migration.
    pub fn timestamp(mut self, at: Timestamp) -> Self {
        self.event = self.event.timestamp(at);
        self
    }

    /// Sets the user of the event.
    pub fn user(mut self, id: impl Into<String>) -> Self {
        let id: String = id.into();
        self.event = self.event.user(id);
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        let tag: String = tag.into();
        self.event = self.event.tag(tag);
        self
    }

    /// The id is derived from the migration, the aggregate and the data: the same row is recognized, and a changed one conflicts.
    fn into_append(mut self, namespace: &Uuid) -> Append<'static> {
        let id = self.stream.aggregate_id.as_bytes();
        let length = (id.len() as u64).to_be_bytes();
        self.event.id = Some(Uuid::new_v5(namespace, &[&length[..], id, &self.event.data].concat()));
        Append::new(self.stream, Expected::NoStream, vec![self.event])
    }
}

type Convert<'a> = Box<dyn Fn(&Value) -> Result<Migrated, String> + 'a>;

/// A migration of the rows of one table.
///
/// It can run again, after a crash or when the table has new rows. A migrated row is recognized by its aggregate and its content, as long as the
/// aggregate retains its first event. An existing aggregate that the migration did not create is not changed, and an aggregate that was deleted after its
/// migration is not created again. Handlers and sagas that should not react to old rows leave the `…Migrated` types out of their events.
pub struct Migration<'a> {
    store: Store,
    namespace: Uuid,
    convert: Convert<'a>,
    progress: Box<dyn Fn(&MigrationReport) + 'a>,
}

impl std::fmt::Debug for Migration<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Migration")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl<'a> Migration<'a> {
    /// A migration of this name, which must stay the same from run to run: the ids of the events are derived from it. `convert` makes an event of a row,
    /// or returns the reason why it cannot.
    ///
    /// Each batch of 256 rows is one append. It waits for the durability of the store's handle, see [`Store::with_durability`].
    pub fn new(store: &Store, name: &str, convert: impl Fn(&Value) -> Result<Migrated, String> + 'a) -> Self {
        Self {
            store: store.clone(),
            namespace: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
            convert: Box::new(convert),
            progress: Box::new(|_| {}),
        }
    }

    /// Calls `progress` with the report so far, after each batch of 256 rows, or of 16 MiB.
    #[must_use]
    pub fn on_progress(mut self, progress: impl Fn(&MigrationReport) + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Migrates the rows, and reports those that it refused.
    ///
    /// # Errors
    ///
    /// [`MigrationError`] when the source of the rows or the store fails. Rows that were migrated stay migrated, and the error contains the report up to
    /// there. Fix the cause, and run the migration again.
    pub fn run(
        &self,
        rows: impl IntoIterator<Item = Result<Value, RowError>>,
    ) -> Result<MigrationReport, MigrationError> {
        let mut report = MigrationReport::default();
        let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), 0);
        for row in rows {
            report.read += 1;
            match row {
                Ok(row) => match self.converted(&row) {
                    Ok(append) => {
                        bytes += append.events.iter().map(|event| event.data.len()).sum::<usize>();
                        batch.push((report.read, append));
                    }
                    Err(reason) => report.refuse(report.read, reason),
                },
                Err(RowError::Row { message: reason }) => report.refuse(report.read, reason),
                Err(RowError::Source { message: reason }) => {
                    // The failure of the source is not a row.
                    report.read -= 1;
                    self.append_batch(&mut batch, &mut report)?;
                    return Err(MigrationError::source(reason, report));
                }
            }
            if batch.len() == BATCH || bytes >= BATCH_BYTES {
                bytes = 0;
                self.append_batch(&mut batch, &mut report)?;
            }
        }
        self.append_batch(&mut batch, &mut report)?;
        Ok(report)
    }

    fn converted(&self, row: &Value) -> Result<Append<'static>, String> {
        let migrated = (self.convert)(row)?;
        match migrated.broken {
            Some(reason) => Err(reason),
            None => Ok(migrated.into_append(&self.namespace)),
        }
    }

    /// Appends a batch at once, or row by row if the store rejects one of its rows.
    fn append_batch(
        &self,
        batch: &mut Vec<(u64, Append<'static>)>,
        report: &mut MigrationReport,
    ) -> Result<(), MigrationError> {
        let rows = std::mem::take(batch);
        let live = rows.into_iter().filter(|(row, append)| match self.refusal(append) {
            Some(reason) => {
                report.refuse(*row, reason);
                false
            }
            None => true,
        });
        let (numbers, appends): (Vec<u64>, Vec<_>) = live.unzip();
        match self.store.append_all(&appends) {
            Ok(appended) => appended.iter().for_each(|appended| report.count(appended)),
            Err(error) if is_of_a_row(&error) => {
                for (row, append) in numbers.into_iter().zip(appends) {
                    self.append_row(row, &append, report)?;
                }
            }
            Err(error) => return Err(MigrationError::store(error, std::mem::take(report))),
        }
        (self.progress)(report);
        Ok(())
    }

    fn append_row(
        &self,
        row: u64,
        append: &Append<'static>,
        report: &mut MigrationReport,
    ) -> Result<(), MigrationError> {
        match self.store.append(&append.stream, append.expected, &append.events) {
            Ok(appended) => report.count(&appended),
            Err(error) if is_of_a_row(&error) => report.refuse(row, self.reason(append, &error)),
            Err(error) => return Err(MigrationError::store(error, std::mem::take(report))),
        }
        Ok(())
    }

    /// Why a row must not be appended although the store would accept it.
    fn refusal(&self, append: &Append<'_>) -> Option<String> {
        let id = &append.stream.aggregate_id;
        let info = self.store.stream_info(id)?;
        let is_gone = info.tombstoned || info.deleted_to.0 > 0;
        is_gone.then(|| format!("aggregate '{id}' was deleted in the store, and a migration does not create it again"))
    }

    fn reason(&self, append: &Append<'_>, error: &Error) -> String {
        let id = &append.stream.aggregate_id;
        let first = self.store.read_stream(id).limit(1).events();
        let is_migrated = first.first().zip(append.events.first());
        match is_migrated {
            Some((there, new)) if error.conflict().is_some() && there.event_type() == new.event_type => format!(
                "aggregate '{id}' was migrated with other data, at position {}: the row has changed since, or another row has the same id",
                there.position()
            ),
            Some((there, _)) if error.conflict().is_some() => {
                format!("aggregate '{id}' exists already, since position {}", there.position())
            }
            _ => error.to_string(),
        }
    }
}

/// Whether the error is about this row alone, so that the next row can succeed.
fn is_of_a_row(error: &Error) -> bool {
    matches!(
        error,
        Error::Conflict(_) | Error::Invalid { .. } | Error::Deleted { .. } | Error::Unsupported { .. }
    )
}

impl MigrationReport {
    fn count(&mut self, appended: &Appended) {
        if appended.repeated {
            self.already_migrated += 1;
        } else {
            self.migrated += 1;
            self.last_position = Some(self.last_position.map_or(appended.last_position, |last: Position| {
                last.max(appended.last_position)
            }));
        }
    }
}
