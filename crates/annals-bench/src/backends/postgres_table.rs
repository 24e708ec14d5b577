//! `table+postgres://…`: a table of events in PostgreSQL as people write it by hand.
//!
//! A unique constraint decides between two writers. `bigserial` numbers events before they are committed: a reader beside several writers can miss one.

use std::sync::Arc;
use std::time::Duration;

use annals::{Expected, Position, Version};
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::pool::Pool;
use super::postgres::{config_of, drop_schema, told};
use super::postgres_listen::Listener;
use super::remote::{OrFailed as _, append_after_read, described, in_own_order, runtime};
use crate::crash::owner;
use crate::store::{
    Backend, By, Description, EventStore, Follow, Look, LookAtTrace, NewEvent, Place, Question, Result, StoreError,
    StoredEvent, Trace,
};

/// How the URLs of this backend begin, before that of the database.
pub(super) const PREFIX: &str = "table+";
const APPEND: &str = "INSERT INTO events (aggregate_id, version, event_type, correlation_id, causation_id, occurred_at, data) \
    SELECT $1, $2 + n, t, c, k, timestamptz 'epoch' + m * interval '1 microsecond', d::jsonb \
    FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[]) WITH ORDINALITY AS e (t, c, k, m, d, n) \
    WHERE (SELECT coalesce(max(version), 0) FROM events WHERE aggregate_id = $1) = $2 ORDER BY n";
const VERSION: &str = "SELECT coalesce(max(version), 0) FROM events WHERE aggregate_id = $1";
const FIELDS: &str = "SELECT aggregate_id, version, position, data::text FROM events";
const STREAM: &str = "WHERE aggregate_id = $1 AND version > $2 ORDER BY version";
const LOG: &str = "WHERE position > $1 ORDER BY position LIMIT $2";
const TIME: &str = "occurred_at >= timestamptz 'epoch' + interval '1 microsecond' * $2::bigint \
    AND occurred_at < timestamptz 'epoch' + interval '1 microsecond' * $3::bigint";

/// What the trigger notifies.
const CHANNEL: &str = "events";
const TRACES: &str = "SELECT position, data::text, correlation_id, causation_id FROM events";
const EXPIRE: &str = "DELETE FROM events WHERE recorded_at < clock_timestamp() - interval '1 microsecond' * $1::bigint";

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
        let software = format!("a table in PostgreSQL {}", server.version);
        let settings = format!("bigserial, jsonb, a trigger for NOTIFY; {}", server.settings);
        Ok(Self {
            config,
            url: url.to_owned(),
            schema: format!("annals_bench_table_{}", owner()),
            description: described("postgres-table", software, settings, server.durability),
        })
    }
}

impl Backend for PostgresTable {
    fn description(&self) -> Description {
        self.description.clone()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let runtime = Arc::new(runtime(1)?);
        let (config, schema, own) = (self.config.clone(), self.schema.clone(), Arc::clone(&runtime));
        let sessions = Pool::new(move || Session::connect(&own, &config, &schema))?;
        Ok(Arc::new(Table {
            config: self.config.clone(),
            runtime,
            sessions,
        }))
    }

    fn wipe(&self) -> Result<()> {
        drop_schema(&self.config, &self.schema)
    }

    fn place(&self) -> Option<Place> {
        Some(Place::of_name(&self.url))
    }

    fn expires(&self) -> bool {
        true
    }

    fn unshared(&self) -> Option<&'static str> {
        None
    }
}

/// A connection with its statements.
struct Session {
    client: Client,
    append: Statement,
    version: Statement,
    stream: Statement,
    log: Statement,
    expire: Statement,
    traces: Statement,
}

impl Session {
    fn connect(runtime: &Runtime, config: &Config, schema: &str) -> Result<Self> {
        let work = async {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            let make = include_str!("postgres_table.sql").replace("own_schema", schema);
            client.batch_execute(&make).await?;
            Ok(Self {
                append: client.prepare(APPEND).await?,
                version: client.prepare(VERSION).await?,
                stream: client.prepare(&format!("{FIELDS} {STREAM}")).await?,
                log: client.prepare(&format!("{FIELDS} {LOG}")).await?,
                expire: client.prepare(EXPIRE).await?,
                traces: client.prepare(&format!("{TRACES} {LOG}")).await?,
                client,
            })
        };
        runtime.block_on(work).map_err(|error| told(&error))
    }
}

/// The table.
struct Table {
    config: Config,
    runtime: Arc<Runtime>,
    sessions: Pool<Session>,
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Table {
    fn rows(&self, session: &Session, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let rows = self.runtime.block_on(session.client.query(statement, values));
        rows.map_err(|error| told(&error))
    }

    fn insert(&self, session: &Session, stream: &str, version: u64, events: &[NewEvent<'_>]) -> Result<Version> {
        let types: Vec<&str> = events.iter().map(|event| event.event_type).collect();
        let correlations: Vec<&str> = events.iter().map(|event| event.correlation).collect();
        let causes: Vec<&str> = events.iter().map(|event| event.causation).collect();
        let micros: Vec<i64> = events.iter().map(|event| event.micros).collect();
        let data: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(event.data)).collect();
        let version_before = signed(version);
        let values: [&(dyn ToSql + Sync); 7] =
            [&stream, &version_before, &types, &correlations, &causes, &micros, &data];
        match self.runtime.block_on(session.client.execute(&session.append, &values)) {
            Ok(1..) => Ok(Version(version + 1)),
            Err(error) if error.code() != Some(&SqlState::UNIQUE_VIOLATION) => Err(told(&error)),
            Ok(0) | Err(_) => Err(StoreError::Conflict),
        }
    }

    fn show(&self, of: &Session, statement: &Statement, values: &[&(dyn ToSql + Sync)], look: Look<'_>) -> Result<()> {
        for row in self.rows(of, statement, values)? {
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

/// A reader that the trigger of the table wakes. It looks at the table all the same when nothing has come for a while: a notification is lost with its connection.
struct Listening<'a> {
    table: &'a Table,
    after: Position,
    listener: Listener,
}

impl Follow for Listening<'_> {
    fn next(&mut self, limit: usize, wait: Duration, look: Look<'_>) -> Result<()> {
        for is_first in [true, false] {
            let before = self.after;
            self.table.read_log(before, limit, &mut |event| {
                self.after = event.position.unwrap_or(before);
                look(event);
            })?;
            if self.after != before {
                break;
            }
            if is_first {
                self.listener.wait(wait);
            }
        }
        Ok(())
    }
}

fn number(row: &Row, column: usize) -> Result<u64> {
    row.try_get(column).map(i64::unsigned_abs).or_failed()
}

impl EventStore for Table {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        self.sessions.with(|session| {
            let last = || match expected {
                Expected::NoStream => Ok(((), 0)),
                Expected::Exactly(version) => Ok(((), version.0)),
                Expected::Any | Expected::StreamExists => {
                    let rows = self.rows(session, &session.version, &[&stream])?;
                    Ok(((), rows.first().map_or(Ok(0), |row| number(row, 0))?))
                }
            };
            append_after_read(expected, last, |(), version| {
                self.insert(session, stream, version, events)
            })
        })
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        let after = signed(after.0);
        let read = |own: &mut Session| self.show(own, &own.stream, &[&stream, &after], look);
        self.sessions.with(read)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let (after, limit) = (signed(after.0), signed(limit as u64));
        let read = |own: &mut Session| self.show(own, &own.log, &[&after, &limit], look);
        self.sessions.with(read)
    }

    fn keeps_bytes(&self) -> bool {
        // `jsonb` has an order of keys and a way to write numbers of its own.
        false
    }

    fn follow(&self, after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        Ok(Some(Box::new(Listening {
            table: self,
            after,
            listener: Listener::of(&self.runtime, &self.config, CHANNEL)?,
        })))
    }

    fn read_traces(&self, after: Position, limit: usize, look: LookAtTrace<'_>) -> Result<()> {
        let (after, limit) = (signed(after.0), signed(limit as u64));
        self.sessions.with(|session| {
            for row in self.rows(session, &session.traces, &[&after, &limit])? {
                look(Trace {
                    position: Position(number(&row, 0)?),
                    data: &in_own_order(row.try_get(1).or_failed()?)?,
                    correlation: row.try_get(2).or_failed()?,
                    causation: row.try_get(3).or_failed()?,
                });
            }
            Ok(())
        })
    }

    fn expire(&self, age: Duration) -> Result<()> {
        let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        self.sessions.with(|session| {
            let deleted = self
                .runtime
                .block_on(session.client.execute(&session.expire, &[&micros]));
            deleted.map(drop).map_err(|error| told(&error))
        })
    }

    fn query(&self, question: &Question, look: Look<'_>) -> Result<()> {
        let limit = signed(question.limit as u64);
        let (condition, values): (_, Vec<&(dyn ToSql + Sync)>) = match &question.by {
            By::Type(name) => ("event_type = $2", vec![&limit, name]),
            By::Correlation(id) => ("correlation_id = $2", vec![&limit, id]),
            By::Time(from, to) => (TIME, vec![&limit, from, to]),
        };
        let text = format!("{FIELDS} WHERE {condition} ORDER BY position DESC LIMIT $1");
        self.sessions.with(|session| {
            let statement = self.runtime.block_on(session.client.prepare(&text)).or_failed()?;
            self.show(session, &statement, &values, look)
        })
    }
}
