//! `table+postgres://…`: a table of events in PostgreSQL as people write it by hand.
//!
//! A unique constraint on the aggregate and its version decides between two writers. `bigserial` numbers the events when they are inserted, and
//! transactions commit in another order: a reader that follows the log beside several writers can miss an event.

use std::sync::Arc;

use annals::{Expected, Position, Version};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::annals::failed;
use super::naive::holds;
use super::pool::Pool;
use super::postgres::{config_of, drop_schema};
use crate::crash::owner;
use crate::store::{
    Backend, BatchUnit, By, ConsistencyCheck, Description, EventStore, Look, NewEvent, Place, Question, Result,
    StoreError, StoredEvent,
};

/// How the URLs of this backend begin, before that of the database.
pub(super) const PREFIX: &str = "table+";
/// How often an append without a condition is tried again after it has lost a race.
const TRIES_MAX: usize = 1_000;
const TABLE: &str = include_str!("postgres_table.sql");
const APPEND: &str = "INSERT INTO events (aggregate_id, version, event_type, correlation_id, occurred_at, data) \
    SELECT $1, $2 + n, t, c, timestamptz 'epoch' + m * interval '1 microsecond', d::jsonb \
    FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[]) WITH ORDINALITY AS e (t, c, m, d, n) \
    WHERE (SELECT coalesce(max(version), 0) FROM events WHERE aggregate_id = $1) = $2 ORDER BY n";
const VERSION: &str = "SELECT coalesce(max(version), 0) FROM events WHERE aggregate_id = $1";
const FIELDS: &str = "SELECT aggregate_id, version, position, data::text FROM events";

/// A table in a database.
#[derive(Clone, Debug)]
pub struct PostgresTable {
    config: Config,
    url: String,
    schema: String,
    description: Description,
}

impl PostgresTable {
    /// Connects to the server at `url`, which begins with `table+`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] if the URL has a password, or a schema, or the server cannot be reached without TLS.
    pub fn connect(url: &str) -> Result<Self> {
        let (config, server) = config_of(url.strip_prefix(PREFIX).unwrap_or(url))?;
        Ok(Self {
            config,
            url: url.to_owned(),
            schema: format!("annals_bench_table_{}", owner()),
            description: Description {
                name: "postgres-table".to_owned(),
                software: format!("a table in PostgreSQL {}", server.version),
                settings: format!("bigserial, jsonb, a trigger for NOTIFY; {}", server.settings),
                durability: server.durability,
                batch_unit: BatchUnit::Append,
                check: ConsistencyCheck::StreamVersion,
                keeps_events: true,
                has_log: true,
                has_queries: true,
            },
        })
    }
}

impl Backend for PostgresTable {
    fn description(&self) -> Description {
        self.description.clone()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Arc::new(runtime.map_err(|error| failed(&error))?);
        let (config, schema, own) = (self.config.clone(), self.schema.clone(), Arc::clone(&runtime));
        let sessions = Pool::new(move || Session::connect(&own, &config, &schema))?;
        Ok(Arc::new(Table { runtime, sessions }))
    }

    fn wipe(&self) -> Result<()> {
        drop_schema(&self.config, &self.schema)
    }

    fn place(&self) -> Option<Place> {
        Some(Place::of_name(&self.url))
    }
}

/// A connection with its statements.
struct Session {
    client: Client,
    append: Statement,
    version: Statement,
    stream: Statement,
    log: Statement,
}

impl Session {
    fn connect(runtime: &Runtime, config: &Config, schema: &str) -> Result<Self> {
        let work = async {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            let make = TABLE.replace("own_schema", schema);
            client.batch_execute(&make).await?;
            let by = |rest: &str| format!("{FIELDS} {rest}");
            Ok(Self {
                append: client.prepare(APPEND).await?,
                version: client.prepare(VERSION).await?,
                stream: client
                    .prepare(&by("WHERE aggregate_id = $1 AND version > $2 ORDER BY version"))
                    .await?,
                log: client
                    .prepare(&by("WHERE position > $1 ORDER BY position LIMIT $2"))
                    .await?,
                client,
            })
        };
        runtime.block_on(work).map_err(|error| told(&error))
    }
}

/// The table.
struct Table {
    runtime: Arc<Runtime>,
    sessions: Pool<Session>,
}

/// Why a call failed, in the words of the server.
fn told(error: &tokio_postgres::Error) -> StoreError {
    match error.as_db_error() {
        Some(reason) => failed(reason),
        None => failed(error),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Table {
    fn version(&self, session: &Session, stream: &str) -> Result<u64> {
        let row = self
            .runtime
            .block_on(session.client.query_one(&session.version, &[&stream]));
        let version = row
            .and_then(|row| row.try_get::<_, i64>(0))
            .map_err(|error| failed(&error))?;
        Ok(version.unsigned_abs())
    }

    fn insert(&self, session: &Session, stream: &str, version: u64, events: &[NewEvent<'_>]) -> Result<Version> {
        let types: Vec<&str> = events.iter().map(|event| event.event_type).collect();
        let correlations: Vec<&str> = events.iter().map(|event| event.correlation).collect();
        let micros: Vec<i64> = events.iter().map(|event| event.micros).collect();
        let data: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(event.data)).collect();
        let data: Vec<&str> = data.iter().map(AsRef::as_ref).collect();
        let values: [&(dyn ToSql + Sync); 6] = [&stream, &signed(version), &types, &correlations, &micros, &data];
        match self.runtime.block_on(session.client.execute(&session.append, &values)) {
            Ok(0) => Err(StoreError::Conflict),
            Ok(_) => Ok(Version(version + 1)),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Err(StoreError::Conflict),
            Err(error) => Err(told(&error)),
        }
    }

    fn show(
        &self,
        session: &Session,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
        look: Look<'_>,
    ) -> Result<()> {
        let rows = self.runtime.block_on(session.client.query(statement, values));
        rows.map_err(|error| told(&error))?
            .iter()
            .try_for_each(|row| show(row, look))
    }
}

/// The payload as the program has it: `jsonb` keeps the fields, in an order of its own.
#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    id: &'a str,
    amount: u64,
    token: &'a str,
    note: &'a str,
}

fn show(row: &Row, look: Look<'_>) -> Result<()> {
    let number = |column| {
        row.try_get::<_, i64>(column)
            .map(i64::unsigned_abs)
            .map_err(|error| failed(&error))
    };
    let text: &str = row.try_get(3).map_err(|error| failed(&error))?;
    let payload: Payload<'_> = serde_json::from_str(text).map_err(|error| failed(&error))?;
    look(StoredEvent {
        stream: row.try_get(0).map_err(|error| failed(&error))?,
        version: Version(number(1)?),
        position: Some(Position(number(2)?)),
        data: &serde_json::to_vec(&payload).map_err(|error| failed(&error))?,
    });
    Ok(())
}

impl EventStore for Table {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        self.sessions.with(|session| {
            for _ in 0..TRIES_MAX {
                let version = match expected {
                    Expected::NoStream => 0,
                    Expected::Exactly(version) => version.0,
                    Expected::Any | Expected::StreamExists => self.version(session, stream)?,
                };
                if !holds(expected, version) {
                    return Err(StoreError::Conflict);
                }
                match self.insert(session, stream, version, events) {
                    Err(StoreError::Conflict) if matches!(expected, Expected::Any | Expected::StreamExists) => {}
                    done => return done,
                }
            }
            Err(StoreError::Conflict)
        })
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        let after = signed(after.0);
        self.sessions
            .with(|session| self.show(session, &session.stream, &[&stream, &after], look))
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let (after, limit) = (signed(after.0), signed(limit as u64));
        self.sessions
            .with(|session| self.show(session, &session.log, &[&after, &limit], look))
    }

    fn query(&self, question: &Question, look: Look<'_>) -> Result<()> {
        let limit = signed(question.limit as u64);
        let epoch = "timestamptz 'epoch' + interval '1 microsecond' *";
        let (condition, values): (String, Vec<&(dyn ToSql + Sync)>) = match &question.by {
            By::Type(name) => ("event_type = $2".to_owned(), vec![&limit, name]),
            By::Correlation(id) => ("correlation_id = $2".to_owned(), vec![&limit, id]),
            By::Time(from, to) => (
                format!("occurred_at >= {epoch} $2::bigint AND occurred_at < {epoch} $3::bigint"),
                vec![&limit, from, to],
            ),
        };
        let text = format!("{FIELDS} WHERE {condition} ORDER BY position DESC LIMIT $1");
        self.sessions.with(|session| {
            let statement = self
                .runtime
                .block_on(session.client.prepare(&text))
                .map_err(|error| failed(&error))?;
            self.show(session, &statement, &values, look)
        })
    }
}
