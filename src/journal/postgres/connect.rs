//! Connections: the choice among several servers, the settings of every session, and the detection of poolers.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, SimpleQueryMessage};

use super::errors::{Refusal, timeout, unreachable};
use super::server::{Host, Server};
use crate::journal::{JournalError, JournalErrorKind};
use crate::{Clock as _, IdSource as _, RandomIds, SystemClock};

/// A connection, which is aborted when it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    task: JoinHandle<()>,
    /// The server process that responded first.
    backend: String,
    /// The statements that were prepared, by their text.
    prepared: parking_lot::Mutex<Vec<(&'static str, tokio_postgres::Statement)>>,
}

/// Identifies the server process of a session.
const BACKEND: &str = "pg_catalog.concat(pg_catalog.pg_backend_pid(), ' ', pg_catalog.pg_postmaster_start_time())";

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Connects to the writable server.
    pub(super) async fn connect_to_write(&self) -> Result<Session, JournalError> {
        self.connect(TargetSessionAttrs::ReadWrite, &Arc::default()).await
    }

    /// Connects to a readable server: the first that responds, unless the address restricts it.
    pub(super) async fn connect_to_read(&self) -> Result<Session, JournalError> {
        self.connect_to_hear(&Arc::default()).await
    }

    /// Like `connect_to_read`, for a connection that listens: signals `heard` on notifications, and when the connection ends.
    pub(super) async fn connect_to_hear(&self, heard: &Arc<Notify>) -> Result<Session, JournalError> {
        self.connect(self.to_read, heard).await
    }

    /// Tries the hosts in order. Each gets an equal part of the timeout, so that an unresponsive host does not block the others.
    async fn connect(&self, wanted: TargetSessionAttrs, heard: &Arc<Notify>) -> Result<Session, JournalError> {
        let count = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1);
        let share = self.patience() / count;
        let mut refusals = Vec::new();
        for host in self.in_order() {
            match tokio::time::timeout(share, self.open(host, wanted, Arc::clone(heard))).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(refusal)) => refusals.push((host.name.as_str(), refusal)),
                Err(_) => refusals.push((&host.name, Refusal::Silent(share))),
            }
        }
        Err(unreachable(self, &refusals))
    }

    /// The hosts in the order of the address, starting at a random one if `load_balance_hosts=random`.
    fn in_order(&self) -> impl Iterator<Item = &Host> {
        let any = || RandomIds.next(SystemClock.now()).as_u128() % self.hosts.len().max(1) as u128;
        let first = if self.is_shuffled { any() as usize } else { 0 };
        self.hosts.iter().cycle().skip(first).take(self.hosts.len())
    }

    async fn open(&self, host: &Host, wanted: TargetSessionAttrs, heard: Arc<Notify>) -> Result<Session, Refusal> {
        let (client, connection) = host.config.connect(self.connector.clone()).await?;
        let task = tokio::spawn(drive(connection, heard));
        let mut session = Session {
            client,
            task,
            backend: String::new(),
            prepared: parking_lot::Mutex::default(),
        };
        let answers = session.client.simple_query(&self.set_up()).await?;
        let (is_read_only, backend) = standing(&answers)?;
        session.backend = backend;
        match (wanted, is_read_only) {
            (TargetSessionAttrs::ReadWrite, true) => Err(Refusal::ReadOnly),
            (TargetSessionAttrs::ReadOnly, false) => Err(Refusal::NotReadOnly),
            _ => Ok(session),
        }
    }

    /// The statements that set up every session, overriding the settings of the role, the database and the server. The last result contains
    /// whether the server is read-only, and the server process.
    fn set_up(&self) -> String {
        let path = self
            .schema
            .as_ref()
            .map(|schema| format!("SET search_path TO {}; ", quoted(schema)));
        let values = SETTINGS.map(|(name, value)| format!("('{name}', '{value}')"));
        format!(
            "START TRANSACTION ISOLATION LEVEL READ COMMITTED; \
             {}SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SELECT pg_catalog.set_config(name, value, false) FROM (VALUES {}) AS settings (name, value) \
             WHERE pg_catalog.current_setting(name, true) IS NOT NULL; \
             SELECT pg_catalog.set_config('synchronous_commit', 'on', false) \
             WHERE pg_catalog.current_setting('synchronous_commit') IN ('off', 'local'); \
             SELECT pg_catalog.pg_is_in_recovery(), {BACKEND}; COMMIT",
            path.unwrap_or_default(),
            // The server cancels a statement when the client's timeout expires.
            self.settings.timeout.as_millis(),
            // An abandoned transaction locks the head for at most the time of a lease.
            self.settings.lease.as_millis(),
            values.join(", "),
        )
    }
}

/// The settings that change what a statement means, what it waits for, or when a session ends. Settings that a server does not have are
/// skipped. `synchronous_commit` is raised to `on`, and stays higher if it is.
const SETTINGS: [(&str, &str); 21] = [
    // Each statement sees what was committed before it, and may write.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    // Only the statement timeout applies; an idle session must stay open, because its end releases the lease.
    ("lock_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
    // An error ends the transaction, and not the session: only then does it say that the transaction was rolled back.
    ("exit_on_error", "off"),
    // How statements, and the bodies of functions, are read.
    ("standard_conforming_strings", "on"),
    ("escape_string_warning", "off"),
    ("backslash_quote", "safe_encoding"),
    ("transform_null_equals", "off"),
    ("array_nulls", "on"),
    ("quote_all_identifiers", "off"),
    ("restrict_nonsystem_relation_kind", ""),
    ("row_security", "on"),
    // How values are written and read as text.
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
];

/// Reads the last result of the set-up: whether the server is read-only, and the server process.
fn standing(answers: &[SimpleQueryMessage]) -> Result<(bool, String), Error> {
    let (mut is_read_only, mut backend) = (false, String::new());
    for answer in answers {
        if let SimpleQueryMessage::Row(row) = answer
            && row.len() == 2
        {
            is_read_only = row.try_get(0)? == Some("t");
            row.try_get(1)?.unwrap_or_default().clone_into(&mut backend);
        }
    }
    Ok((is_read_only, backend))
}

/// Drives a connection until it ends. Pending calls receive the error that ended it.
async fn drive<S, T>(mut connection: Connection<S, T>, heard: Arc<Notify>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if matches!(message, AsyncMessage::Notification(_)) {
            heard.notify_one();
        }
    }
    heard.notify_one();
}

/// Quotes a name for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Session {
    /// The statement, which the server prepares once for each connection.
    pub(super) async fn prepared(&self, text: &'static str) -> Result<tokio_postgres::Statement, Error> {
        let known = self
            .prepared
            .lock()
            .iter()
            .find(|(of, _)| *of == text)
            .map(|(_, known)| known.clone());
        if let Some(known) = known {
            return Ok(known);
        }
        let statement = self.client.prepare(text).await?;
        self.prepared.lock().push((text, statement.clone()));
        Ok(statement)
    }

    /// Waits until the connection ends.
    pub(super) async fn closed(&mut self) {
        // The reason does not matter.
        drop((&mut self.task).await);
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// A connection to a readable server, checked not to share its session by a pooler.
///
/// # Errors
///
/// As [`check_pooler`].
pub(super) async fn connect_checked(server: &Server) -> Result<Session, JournalError> {
    let session = server.connect_to_read().await?;
    // The check is skipped for a role that is limited to one connection.
    if let Ok(other) = server.connect_to_read().await {
        check_pooler(server, &session, &other).await?;
    }
    Ok(session)
}

/// Checks that two connections have separate sessions. With a pooler in transaction mode, both show the same server process, or one of them
/// shows another process than before while the other has a transaction open.
///
/// # Errors
///
/// Unsupported with a pooler in transaction mode.
pub(super) async fn check_pooler(server: &Server, one: &Session, two: &Session) -> Result<(), JournalError> {
    let is_shared =
        one.backend == two.backend || in_time(server, "the sessions cannot be compared", is_switched(one, two)).await?;
    if !is_shared {
        return Ok(());
    }
    Err(unsupported(
        server,
        "a connection pooler shares the sessions of this address by transaction, as pgbouncer does with pool_mode = transaction: clients would share \
         settings, locks and notifications; connect to the server directly, or to a pool with pool_mode = session",
    ))
}

async fn is_switched(one: &Session, two: &Session) -> Result<bool, Error> {
    two.client.batch_execute("BEGIN").await?;
    let backends = [backend(&one.client).await?, backend(&two.client).await?];
    two.client.batch_execute("COMMIT").await?;
    let [first, second] = &backends;
    Ok(first == second || *first != one.backend || *second != two.backend)
}

async fn backend(client: &Client) -> Result<String, Error> {
    let answers = client.simple_query(&format!("SELECT NULL, {BACKEND}")).await?;
    standing(&answers).map(|(_, backend)| backend)
}

/// Runs calls to the server within the timeout.
pub(super) async fn in_time<T>(
    server: &Server,
    what: &str,
    calls: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, JournalError> {
    match tokio::time::timeout(server.patience(), calls).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(super::errors::fault(server, what, &error)),
        Err(_) => Err(timeout(server, what, server.patience())),
    }
}

/// The server does not support what the store needs.
pub(super) fn unsupported(server: &Server, what: &str) -> JournalError {
    JournalError::new(JournalErrorKind::Unsupported, format!("{what}: {}", server.place()))
}
