//! `table+postgres://…`: a table of events in PostgreSQL as people write it by hand.
//!
//! A unique constraint decides between two writers. `bigserial` numbers events before they are committed: a reader beside several writers can miss one.

use std::sync::Arc;
use std::time::Duration;

use annals::{Expected, Position, Version};
use tokio::runtime::Runtime;
use tokio_postgres::Config;
use tokio_postgres::types::ToSql;

use super::pool::Pool;
use super::postgres::{config_of, drop_schema};
use super::postgres_listen::Listener;
use super::remote::table::{FIELDS, Session, TIME, number, signed};
use super::remote::{OrFailed as _, Pass, Reader, append_after_read, described, in_own_order, runtime};
use crate::crash::owner;
use crate::store::{
    Backend, By, Description, EventStore, Follow, Look, LookAtTrace, NewEvent, Place, Question, Result, Trace,
};

/// The beginning of the URLs of this backend, before the URL of the database.
pub(super) const PREFIX: &str = "table+";
/// The channel that the trigger notifies.
const CHANNEL: &str = "events";
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
    /// [`StoreError::Failed`](crate::StoreError::Failed) if the URL has a password, or a schema, or the server cannot be reached without TLS.
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

/// The table.
struct Table {
    config: Config,
    runtime: Arc<Runtime>,
    sessions: Pool<Session>,
}

impl Table {
    /// Reads the rows after a position. It also polls, because a notification is lost with its connection.
    fn read_behind(&self, listener: &Listener, read: (Position, usize, Duration), pass: Pass<'_>) -> Result<()> {
        let (after, limit, wait) = read;
        let mut is_end = true;
        for is_first in [true, false] {
            self.read_log(after, limit, &mut |event| {
                is_end = false;
                pass(event.position.unwrap_or(after), Some(event));
            })?;
            if !is_end {
                break;
            }
            if is_first {
                listener.wait(wait);
            }
        }
        Ok(())
    }
}

impl EventStore for Table {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        self.sessions.with(|session| {
            let last = || match expected {
                Expected::NoStream => Ok(((), 0)),
                Expected::Exactly(version) => Ok(((), version.0)),
                Expected::Any | Expected::StreamExists => {
                    let rows = session.rows(&session.version, &[&stream])?;
                    Ok(((), rows.first().map_or(Ok(0), |row| number(row, 0))?))
                }
            };
            append_after_read(expected, last, |(), version| session.insert(stream, version, events))
        })
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        let after = signed(after.0);
        let read = |own: &mut Session| own.show(&own.stream, &[&stream, &after], look);
        self.sessions.with(read)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let (after, limit) = (signed(after.0), signed(limit as u64));
        let read = |own: &mut Session| own.show(&own.log, &[&after, &limit], look);
        self.sessions.with(read)
    }

    fn keeps_bytes(&self) -> bool {
        // `jsonb` changes the order of keys and the spelling of numbers.
        false
    }

    fn follow(&self, after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        let listener = Listener::of(&self.runtime, &self.config, CHANNEL)?;
        let read = move |after, limit, wait, pass: Pass<'_>| self.read_behind(&listener, (after, limit, wait), pass);
        Ok(Some(Box::new(Reader::new(after, read))))
    }

    fn read_traces(&self, after: Position, limit: usize, look: LookAtTrace<'_>) -> Result<()> {
        let (after, limit) = (signed(after.0), signed(limit as u64));
        self.sessions.with(|session| {
            for row in session.rows(&session.traces, &[&after, &limit])? {
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
        self.sessions.with(|session| session.expire(micros))
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
            let statement = session.prepare(&text)?;
            session.show(&statement, &values, look)
        })
    }
}
