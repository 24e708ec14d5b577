//! Partitions: what the store takes in a month as a table of its own, where somebody has asked for it.
//!
//! A month is that of `recorded_at`, as the store's clock has it. Which partitions there are says the server alone.

use std::ops::Range;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::Partition;
use super::connect::{Server, Session, in_time};
use super::errors::refused;
use super::head::Lease;
use super::row::time_in_table;
use super::write::Binary;
use crate::journal::{Batch, JournalError};

const STANDING: &str = "SELECT partitioned_by IS NOT NULL, EXISTS (SELECT FROM pg_catalog.pg_constraint \
                        WHERE conname = 'events_recorded_before' AND conrelid = 'events'::regclass) FROM head";
const FREE: &str = "SELECT free_events($1)";

/// Partitions the table, if that is asked for and was not done. Whoever calls it has the lease, so nobody writes meanwhile.
///
/// # Errors
///
/// Unsupported when the table may not be altered, or something belongs to it that partitions would not have.
pub(super) async fn arrange(server: &Server, session: &Session, lease: &Lease) -> Result<(), JournalError> {
    let what = "the tables of the store cannot be read";
    let (is_partitioned, is_bound) = in_time(server, what, standing(session)).await?;
    let arranged = match server.settings.partition {
        Partition::ByMonth if !is_partitioned => convert(server, session, lease).await,
        // Whoever began to partition it has not come to the end.
        Partition::AsItIs | Partition::ByMonth if is_bound => {
            session.client.execute(FREE, &[&lease.number]).await.map(drop)
        }
        Partition::AsItIs | Partition::ByMonth => Ok(()),
    };
    arranged.map_err(|error| refused(server, "the table of events cannot be partitioned", &error))
}

/// Whether the table is partitioned, and whether somebody has begun to partition it.
async fn standing(session: &Session) -> Result<(bool, bool), Error> {
    let row = session.client.query_one(STANDING, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// A long table takes long: the lease is renewed meanwhile, and others can read. Who reads for long is not waited for, because whoever
/// comes then would wait as well.
async fn convert(server: &Server, session: &Session, lease: &Lease) -> Result<(), Error> {
    let client = &session.client;
    let patience = server.patience().as_millis();
    let without_end = format!("SET statement_timeout = 0; SET lock_timeout = {patience}");
    client.batch_execute(&without_end).await?;
    let converted = convert_fenced(client, lease).await;
    if converted.is_err() {
        // What failed says more than what this may fail with.
        drop(client.execute(FREE, &[&lease.number]).await);
    }
    let reset = format!("SET statement_timeout = {patience}; SET lock_timeout = 0");
    converted.and(client.batch_execute(&reset).await)
}

/// That the lease is held is found out anew by what changes the table: one that was held up for longer would drop what others have written.
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

/// The partitions that a connection has found, or made, as it came to them.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    /// When what is in each was recorded, in microseconds since 1970.
    known: Vec<Range<i64>>,
}

impl Partitions {
    /// Nothing is known yet; `None` for a table without partitions.
    pub(super) async fn of(client: &Client) -> Result<Option<Self>, Error> {
        let is_partitioned: bool = client
            .query_one_scalar("SELECT partitioned_by IS NOT NULL FROM head", &[])
            .await?;
        Ok(is_partitioned.then(Self::default))
    }

    /// Makes those that the events of `batch` go to, before they are written: one that stays empty harms nobody.
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

/// The partition for what is recorded at a time, which is made if it is not there.
async fn make(client: &Client, recorded: i64) -> Result<Range<i64>, Error> {
    let time = time_in_table(recorded).to_be_bytes();
    let parameters: [&(dyn ToSql + Sync); 1] = [&Binary(&time)];
    let row = client
        .query_one("SELECT * FROM make_partition($1)", &parameters)
        .await?;
    let first: Option<i64> = row.try_get(0)?;
    Ok(first.unwrap_or(i64::MIN)..row.try_get(1)?)
}
