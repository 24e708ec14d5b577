//! Connections to a server: which of several it is, how they are made, what every session is set to, and how they end.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::config::{LoadBalanceHosts, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::errors::{Refusal, timeout, unreachable};
use super::{Address, PostgresSettings, password};
use crate::journal::{JournalError, JournalErrorKind};
use crate::{Clock as _, IdSource as _, RandomIds, SystemClock};

/// Where a store is, and how to come there. Its `Debug` shows no password.
pub(super) struct Server {
    hosts: Vec<Host>,
    /// Which of them are read.
    to_read: TargetSessionAttrs,
    is_shuffled: bool,
    connector: MakeRustlsConnect,
    pub(super) settings: PostgresSettings,
    place: String,
    application: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("place", &self.place)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// One of the servers that an address names: at most one of them can be written, and the others are copies of it.
#[derive(Clone)]
struct Host {
    name: String,
    config: Config,
}

/// A connection; it is cut when it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    task: JoinHandle<()>,
    /// Which process of the server has answered first.
    backend: String,
}

/// Which process of which server answers.
const BACKEND: &str = "pg_catalog.concat(pg_catalog.pg_backend_pid(), ' ', pg_catalog.pg_postmaster_start_time())";

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) fn new(address: &Address, settings: PostgresSettings) -> Result<Self, JournalError> {
        settings.check()?;
        let hosts = address.hosts().into_iter().map(|(name, mut config)| {
            password::find(&mut config)?;
            // Which it is, every session is asked when it is set up.
            config.target_session_attrs(TargetSessionAttrs::Any);
            Ok(Host { name, config })
        });
        Ok(Self {
            hosts: hosts.collect::<Result<_, JournalError>>()?,
            to_read: address.config.get_target_session_attrs(),
            is_shuffled: address.config.get_load_balance_hosts() == LoadBalanceHosts::Random,
            connector: address.tls.connector()?,
            place: format!("{address}, schema {}", settings.schema),
            application: address.config.get_application_name().unwrap_or_default().to_owned(),
            settings,
        })
    }

    /// What it is called in messages.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The longest time that a server may take to answer.
    pub(super) fn patience(&self) -> Duration {
        self.settings.timeout
    }

    /// What the program calls itself.
    pub(super) fn application(&self) -> &str {
        &self.application
    }

    /// Makes a connection to the server that can be written, ready for the tables of the store.
    pub(super) async fn connect_to_write(&self) -> Result<Session, JournalError> {
        self.connect(TargetSessionAttrs::ReadWrite, &Arc::default()).await
    }

    /// The same to one that can be read: the first that is there, if the address does not say which.
    pub(super) async fn connect_to_read(&self) -> Result<Session, JournalError> {
        self.connect_to_hear(&Arc::default()).await
    }

    /// The same for a connection that listens: `heard` is notified of what comes, and when the connection ends.
    pub(super) async fn connect_to_hear(&self, heard: &Arc<Notify>) -> Result<Session, JournalError> {
        self.connect(self.to_read, heard).await
    }

    /// Tries the hosts one after the other. None has more than its part of the time: one that is silent hides no other.
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

    /// The hosts as they are tried: in the order of the address, or from any of them on.
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

    /// What every session is set to, whatever is set for the role, the database or the server. The last answer says whether the server can only
    /// be read, and which of its processes has answered.
    fn set_up(&self) -> String {
        let values = SETTINGS.map(|(name, value)| format!("('{name}', '{value}')"));
        format!(
            "START TRANSACTION ISOLATION LEVEL READ COMMITTED; \
             SET search_path TO {}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SELECT pg_catalog.set_config(name, value, false) FROM (VALUES {}) AS settings (name, value) \
             WHERE pg_catalog.current_setting(name, true) IS NOT NULL; \
             SELECT pg_catalog.set_config('synchronous_commit', 'on', false) \
             WHERE pg_catalog.current_setting('synchronous_commit') IN ('off', 'local'); \
             SELECT pg_catalog.pg_is_in_recovery(), {BACKEND}; COMMIT",
            quoted(&self.settings.schema),
            // A statement that the server has not carried out within the time to answer is given up by both.
            self.settings.timeout.as_millis(),
            // A session that is forgotten within a transaction keeps the head no longer than a lease.
            self.settings.lease.as_millis(),
            values.join(", "),
        )
    }
}

/// The settings that change what a statement means, what it waits for, or when a session ends, in the one place where they are set. Those
/// that a server does not have are left out. A commit is on the server's disk at least; a server that waits for more may.
const SETTINGS: [(&str, &str); 21] = [
    // Each statement sees what was committed before it, and may write.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    // The statement's time, and nothing shorter; an idle session stays, as its end gives the lease away.
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

/// What the last of the answers to the set-up says: whether the server can only be read, and which process has answered.
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

/// Works for a connection until it ends. What ended it is told to whoever waits for an answer.
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

/// A name as SQL writes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Session {
    /// Waits until the server has gone away.
    pub(super) async fn closed(&mut self) {
        // Whatever it ended with, it has.
        drop((&mut self.task).await);
    }

    /// Whether the server has gone away.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// A connection to a server that can be read, which is a session of its own.
///
/// # Errors
///
/// As [`check_pooler`].
pub(super) async fn connect_checked(server: &Server) -> Result<Session, JournalError> {
    let session = server.connect_to_read().await?;
    // A role that may have one connection alone is not asked for another.
    if let Ok(other) = server.connect_to_read().await {
        check_pooler(server, &session, &other).await?;
    }
    Ok(session)
}

/// Makes sure that two connections are sessions of their own. A pooler that lends its connections for a transaction shows both the same process,
/// or one of them another than before, while the other has a transaction open.
///
/// # Errors
///
/// Unsupported when it does.
pub(super) async fn check_pooler(server: &Server, one: &Session, two: &Session) -> Result<(), JournalError> {
    let is_shared =
        one.backend == two.backend || in_time(server, "the sessions cannot be compared", is_switched(one, two)).await?;
    if !is_shared {
        return Ok(());
    }
    Err(unsupported(
        server,
        "a connection pooler shares the sessions of this address by transaction, as pgbouncer does with pool_mode = transaction: settings, locks \
         and notifications would be those of others; connect to the server itself, or to a pool with pool_mode = session",
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

/// Runs calls to the server, as long as it answers in time.
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

/// The server cannot do what a store needs.
pub(super) fn unsupported(server: &Server, what: &str) -> JournalError {
    JournalError::new(JournalErrorKind::Unsupported, format!("{what}: {}", server.place()))
}
