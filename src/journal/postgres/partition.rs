//! Opt-in partitions of the table of events, one per month.
//!
//! The month is that of `recorded_at`, by the clock of the store. Only the server knows which partitions exist.

use std::ops::Range;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::Partition;
use super::connect::{Session, in_time};
use super::errors::refused;
use super::head::Lease;
use super::row::time_in_table;
use super::server::Server;
use super::wire::Binary;
use crate::journal::{Batch, JournalError};

const STANDING: &str = "SELECT partitioned_by IS NOT NULL, EXISTS (SELECT FROM pg_catalog.pg_constraint \
                        WHERE conname = 'events_recorded_before' AND conrelid = 'events'::regclass) FROM head";
const FREE: &str = "SELECT free_events($1)";

/// Partitions the table if the settings ask for it and it is not partitioned. The caller holds the lease, so no other program appends.
///
/// # Errors
///
/// Unsupported when the role may not alter the table, or when objects depend on the table that partitions do not support.
pub(super) async fn arrange(server: &Server, session: &Session, lease: &Lease) -> Result<(), JournalError> {
    let what = "the tables of the store cannot be read";
    let (is_partitioned, is_bound) = in_time(server, what, standing(session)).await?;
    let arranged = match server.settings.partition {
        Partition::ByMonth if !is_partitioned => convert(server, session, lease).await,
        // An earlier conversion was interrupted.
        Partition::AsItIs | Partition::ByMonth if is_bound => {
            session.client.execute(FREE, &[&lease.number]).await.map(drop)
        }
        Partition::AsItIs | Partition::ByMonth => Ok(()),
    };
    arranged.map_err(|error| refused(server, "the table of events cannot be partitioned", &error))
}

/// Whether the table is partitioned, and whether a conversion has started.
async fn standing(session: &Session) -> Result<(bool, bool), Error> {
    let row = session.client.query_one(STANDING, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Converts the table. A large table takes long: the heartbeat renews the lease, and other sessions can read. The lock timeout bounds the wait
/// for long readers, because all later sessions would queue behind the lock.
async fn convert(server: &Server, session: &Session, lease: &Lease) -> Result<(), Error> {
    let client = &session.client;
    let patience = server.patience().as_millis();
    let without_end = format!("SET statement_timeout = 0; SET lock_timeout = {patience}");
    client.batch_execute(&without_end).await?;
    let converted = convert_fenced(client, lease).await;
    if converted.is_err() {
        // The first error is more informative than a failure here.
        drop(client.execute(FREE, &[&lease.number]).await);
    }
    let reset = format!("SET statement_timeout = {patience}; SET lock_timeout = 0");
    converted.and(client.batch_execute(&reset).await)
}

/// Each step checks the lease again: a writer that was delayed beyond its lease must not drop events of another writer.
async fn convert_fenced(client: &Client, lease: &Lease) -> Result<(), Error> {
    let bound = "SELECT bound_events($1)::text";
    let bound: Option<String> = client.query_one_scalar(bound, &[&lease.number]).await?;
    if bound.is_some() {
        let validate = "ALTER TABLE events VALIDATE CONSTRAINT events_recorded_before";
        client.batch_execute(validate).await?;
    }
    let convert = "SELECT partition_by_month($1, $2::text::timestamptz)";
    client.execute(convert, &[&lease.number, &bound]).await.map(drop)
}

/// The partitions that a connection knows.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    /// The range of `recorded_at` of each, in microseconds since 1970.
    known: Vec<Range<i64>>,
}

impl Partitions {
    /// An empty list; `None` for a table without partitions.
    pub(super) async fn of(client: &Client) -> Result<Option<Self>, Error> {
        let is_partitioned: bool = client
            .query_one_scalar("SELECT partitioned_by IS NOT NULL FROM head", &[])
            .await?;
        Ok(is_partitioned.then(Self::default))
    }

    /// Creates the partitions for the events of `batch` before they are written. An empty partition is harmless.
    pub(super) async fn make_for(&mut self, client: &Client, batch: &Batch) -> Result<(), Error> {
        for event in batch.events() {
            let recorded = event.raw_recorded();
            if !self.known.iter().rev().any(|known| known.contains(&recorded)) {
                self.known.push(make(client, recorded).await?);
            }
        }
        Ok(())
    }
}

/// The partition for a time of recording, which is created if it does not exist.
async fn make(client: &Client, recorded: i64) -> Result<Range<i64>, Error> {
    let time = time_in_table(recorded).to_be_bytes();
    let parameters: [&(dyn ToSql + Sync); 1] = [&Binary(&time)];
    let row = client
        .query_one("SELECT * FROM make_partition($1)", &parameters)
        .await?;
    let first: Option<i64> = row.try_get(0)?;
    Ok(first.unwrap_or(i64::MIN)..row.try_get(1)?)
}
