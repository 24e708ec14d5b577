//! Blocking connections for read models: the addresses, the TLS and the session settings of the journal.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

#[cfg(feature = "erasure")]
use futures_util::StreamExt;
use futures_util::future::join;
use parking_lot::Mutex;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

use super::connect::{Session, check_pooler};
use super::errors::{is_transient, plain};
use super::runtime::Runtime;
use super::server::Server;
use super::{Address, PostgresSettings};
use crate::journal::JournalError;

/// The most prepared statements of a connection. All are dropped when there are more.
const STATEMENTS_MAX: usize = 128;

/// The runtime that the read models of the process share.
static RUNTIME: Mutex<Weak<Runtime>> = Mutex::new(Weak::new());

/// A database, and how to connect to it. Cheap to clone. `Debug` shows no password.
#[derive(Clone)]
pub(crate) struct Database {
    server: Arc<Server>,
    // The last field: dropping the connections requires it.
    runtime: Arc<Runtime>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl Database {
    /// Prepares connections; connects to nothing yet. Without a schema, sessions keep the `search_path` of the role.
    pub(crate) fn new(
        address: &Address,
        settings: PostgresSettings,
        schema: Option<String>,
    ) -> Result<Self, JournalError> {
        let server = Arc::new(Server::with_schema(address, settings, schema)?);
        let mut shared = RUNTIME.lock();
        let runtime = match shared.upgrade() {
            Some(runtime) => runtime,
            None => Arc::new(Runtime::new()?),
        };
        *shared = Arc::downgrade(&runtime);
        drop(shared);
        Ok(Self { server, runtime })
    }

    /// The name of the database in messages.
    pub(crate) fn place(&self) -> &str {
        self.server.place()
    }

    /// The schema that the address names.
    pub(crate) fn schema(&self) -> Option<&str> {
        self.server.schema()
    }

    /// Connects to the writable server.
    pub(crate) fn connect(&self) -> Result<Link, JournalError> {
        let session = self.runtime.block_on(self.server.connect_to_write())?;
        Ok(Link {
            session,
            statements: HashMap::new(),
            database: self.clone(),
        })
    }

    /// Connects, and checks that no pooler shares the session with other clients.
    pub(crate) fn connect_checked(&self) -> Result<Link, JournalError> {
        let link = self.connect()?;
        // The check is skipped for a role that is limited to one connection.
        if let Ok(other) = self.connect() {
            let check = check_pooler(&self.server, &link.session, &other.session);
            self.runtime.block_on(check)?;
        }
        Ok(link)
    }

    /// The longest time that the client waits for the server, which cancels a statement earlier.
    fn patience(&self) -> Duration {
        self.server.patience() * 3 / 2
    }
}

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The SQLSTATE, if the server responded.
    pub(crate) code: Option<Box<str>>,
    pub(crate) text: String,
    /// Whether the server or the connection failed, or the transaction lost against another: the statement can succeed in a new transaction.
    pub(crate) is_of_database: bool,
}

impl Failure {
    fn new(error: &Error) -> Self {
        Self {
            code: error.code().map(|state| state.code().into()),
            text: plain(error),
            is_of_database: is_of_database(error),
        }
    }
}

/// A statement that was cancelled, or waited too long for a lock, may itself be the cause.
fn is_of_database(error: &Error) -> bool {
    let ends_session = error
        .as_db_error()
        .is_some_and(|answer| answer.parsed_severity() != Some(Severity::Error));
    let is_own = [
        &SqlState::QUERY_CANCELED,
        &SqlState::LOCK_NOT_AVAILABLE,
        &SqlState::OBJECT_IN_USE,
        &SqlState::CHECK_VIOLATION,
    ];
    let is_own = error.code().is_some_and(|state| is_own.contains(&state));
    ends_session || is_transient(error) && !is_own
}

/// A parameter of a statement.
pub(crate) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// A connection. An open transaction is rolled back when it is dropped.
pub(crate) struct Link {
    session: Session,
    statements: HashMap<Box<str>, Statement>,
    // The last field: dropping the session requires its runtime.
    database: Database,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    /// Executes statements without parameters.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        let done = self.session.client.batch_execute(sql);
        block(&self.database, done)
    }

    /// Executes a statement, and returns the number of rows. `before` is sent ahead of it, without another round trip.
    pub(crate) fn execute(
        &mut self,
        before: Option<&str>,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<u64, Failure> {
        let statement = self.prepared(before, sql)?;
        let client = &self.session.client;
        let done = client.execute(&statement.0, parameters);
        let done = block(
            &self.database,
            after(statement.1.map(|sql| client.batch_execute(sql)), done),
        );
        self.noted(done)
    }

    /// Executes a statement, and returns its rows.
    pub(crate) fn query(
        &mut self,
        before: Option<&str>,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let statement = self.prepared(before, sql)?;
        let client = &self.session.client;
        let done = client.query(&statement.0, parameters);
        let done = block(
            &self.database,
            after(statement.1.map(|sql| client.batch_execute(sql)), done),
        );
        self.noted(done)
    }

    /// Copies rows out, and calls `take` with the bytes of each.
    #[cfg(feature = "erasure")]
    pub(crate) fn copy_out(&mut self, sql: &str, take: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        let stream = block(&self.database, self.session.client.copy_out(sql))?;
        let mut stream = std::pin::pin!(stream);
        loop {
            let next = async { stream.next().await.transpose() };
            match block(&self.database, next)? {
                Some(row) => take(&row),
                None => return Ok(()),
            }
        }
    }

    /// The prepared statement, and what is still to be sent before it.
    fn prepared<'a>(&mut self, before: Option<&'a str>, sql: &str) -> Result<(Statement, Option<&'a str>), Failure> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok((statement.clone(), before));
        }
        let client = &self.session.client;
        let prepared = block(
            &self.database,
            after(before.map(|sql| client.batch_execute(sql)), client.prepare(sql)),
        );
        let statement = self.noted(prepared)?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(sql.into(), statement.clone());
        Ok((statement, None))
    }

    /// After an error, statements are prepared again: a table may have changed under them.
    fn noted<T>(&mut self, done: Result<T, Failure>) -> Result<T, Failure> {
        if done.is_err() {
            self.statements.clear();
        }
        done
    }
}

/// Runs both calls at once, in this order; the first error counts.
async fn after<T>(
    before: Option<impl Future<Output = Result<(), Error>>>,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match before {
        None => call.await,
        Some(before) => {
            let (before, done) = join(before, call).await;
            before.and(done)
        }
    }
}

/// Runs a call to the server within the timeout.
fn block<T>(database: &Database, call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    let patience = database.patience();
    let call = async { tokio::time::timeout(patience, call).await };
    match database.runtime.block_on(call) {
        Ok(done) => done.map_err(|error| Failure::new(&error)),
        Err(_) => Err(Failure {
            code: None,
            text: format!("no response within {} ms", patience.as_millis()),
            is_of_database: true,
        }),
    }
}
