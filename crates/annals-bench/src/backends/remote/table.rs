//! The statements of a table of events in PostgreSQL, and its numbers, which have a sign there.

use std::sync::Arc;

use annals::{Position, Version};
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::{ANSWER, OrFailed as _, answered, in_own_order};
use crate::backends::postgres::told;
use crate::store::{Look, NewEvent, Result, StoreError, StoredEvent};

const APPEND: &str = "INSERT INTO events (aggregate_id, version, event_type, correlation_id, causation_id, occurred_at, data) \
    SELECT $1, $2 + n, t, c, k, timestamptz 'epoch' + m * interval '1 microsecond', d::jsonb \
    FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[]) WITH ORDINALITY AS e (t, c, k, m, d, n) \
    WHERE (SELECT coalesce(max(version), 0) FROM events WHERE aggregate_id = $1) = $2 ORDER BY n";
const VERSION: &str = "SELECT coalesce(max(version), 0) FROM events WHERE aggregate_id = $1";
pub(in crate::backends) const FIELDS: &str = "SELECT aggregate_id, version, position, data::text FROM events";
const STREAM: &str = "WHERE aggregate_id = $1 AND version > $2 ORDER BY version";
const LOG: &str = "WHERE position > $1 ORDER BY position LIMIT $2";
pub(in crate::backends) const TIME: &str = "occurred_at >= timestamptz 'epoch' + interval '1 microsecond' * $2::bigint \
    AND occurred_at < timestamptz 'epoch' + interval '1 microsecond' * $3::bigint";

const TRACES: &str = "SELECT position, data::text, correlation_id, causation_id FROM events";
const EXPIRE: &str = "DELETE FROM events WHERE recorded_at < clock_timestamp() - interval '1 microsecond' * $1::bigint";

/// A connection with its statements.
pub(in crate::backends) struct Session {
    runtime: Arc<Runtime>,
    client: Client,
    append: Statement,
    pub(in crate::backends) version: Statement,
    pub(in crate::backends) stream: Statement,
    pub(in crate::backends) log: Statement,
    expire: Statement,
    pub(in crate::backends) traces: Statement,
}

impl Session {
    pub(in crate::backends) fn connect(runtime: &Arc<Runtime>, config: &Config, schema: &str) -> Result<Self> {
        let work = async {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            let make = include_str!("../postgres_table.sql").replace("own_schema", schema);
            client.batch_execute(&make).await?;
            Ok(Self {
                append: client.prepare(APPEND).await?,
                version: client.prepare(VERSION).await?,
                stream: client.prepare(&format!("{FIELDS} {STREAM}")).await?,
                log: client.prepare(&format!("{FIELDS} {LOG}")).await?,
                expire: client.prepare(EXPIRE).await?,
                traces: client.prepare(&format!("{TRACES} {LOG}")).await?,
                runtime: Arc::clone(runtime),
                client,
            })
        };
        answered(runtime, ANSWER, work)?.map_err(|error| told(&error))
    }

    pub(in crate::backends) fn rows(&self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let rows = answered(&self.runtime, ANSWER, self.client.query(statement, values))?;
        rows.map_err(|error| told(&error))
    }

    /// The statement `text`.
    pub(in crate::backends) fn prepare(&self, text: &str) -> Result<Statement> {
        answered(&self.runtime, ANSWER, self.client.prepare(text))?.or_failed()
    }

    /// Deletes the rows that were appended at least `micros` microseconds ago.
    pub(in crate::backends) fn expire(&self, micros: i64) -> Result<()> {
        let deleted = answered(&self.runtime, ANSWER, self.client.execute(&self.expire, &[&micros]))?;
        deleted.map(drop).map_err(|error| told(&error))
    }

    pub(in crate::backends) fn insert(&self, stream: &str, version: u64, events: &[NewEvent<'_>]) -> Result<Version> {
        let types: Vec<&str> = events.iter().map(|event| event.event_type).collect();
        let correlations: Vec<&str> = events.iter().map(|event| event.correlation).collect();
        let causes: Vec<&str> = events.iter().map(|event| event.causation).collect();
        let micros: Vec<i64> = events.iter().map(|event| event.micros).collect();
        let data: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(event.data)).collect();
        let version_before = signed(version);
        let values: [&(dyn ToSql + Sync); 7] =
            [&stream, &version_before, &types, &correlations, &causes, &micros, &data];
        match answered(&self.runtime, ANSWER, self.client.execute(&self.append, &values))? {
            Ok(1..) => Ok(Version(version + 1)),
            Err(error) if error.code() != Some(&SqlState::UNIQUE_VIOLATION) => Err(told(&error)),
            Ok(0) | Err(_) => Err(StoreError::Conflict),
        }
    }

    pub(in crate::backends) fn show(
        &self,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
        look: Look<'_>,
    ) -> Result<()> {
        for row in self.rows(statement, values)? {
            look(StoredEvent {
                stream: row.try_get(0).or_failed()?,
                version: Version(number(&row, 1)?),
                position: Some(Position(number(&row, 2)?)),
                data: &in_own_order(row.try_get(3).or_failed()?)?,
            });
        }
        Ok(())
    }
}

pub(in crate::backends) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(in crate::backends) fn number(row: &Row, column: usize) -> Result<u64> {
    row.try_get(column).map(i64::unsigned_abs).or_failed()
}
