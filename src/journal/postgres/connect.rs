//! Connections to a server: how they are made, what every session is set to, and how they end.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, Connection};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::errors::{refused, timeout};
use super::{Address, PostgresSettings, password};
use crate::journal::{JournalError, JournalErrorKind};

/// Where a store is, and how to come there. Its `Debug` shows no password.
pub(super) struct Server {
    config: Config,
    connector: MakeRustlsConnect,
    pub(super) settings: PostgresSettings,
    place: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("place", &self.place)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A connection; it is cut when it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    task: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) fn new(mut address: Address, settings: PostgresSettings) -> Result<Self, JournalError> {
        settings.check()?;
        password::find(&mut address.config)?;
        Ok(Self {
            connector: address.tls.connector()?,
            place: format!("{address}, schema {}", settings.schema),
            config: address.config,
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
        self.config.get_application_name().unwrap_or_default()
    }

    /// Makes a connection, ready for the tables of the store.
    pub(super) async fn connect(&self) -> Result<Session, JournalError> {
        self.connect_to_hear(&Arc::default()).await
    }

    /// The same for a connection that listens: `heard` is notified of what comes, and when the connection ends.
    pub(super) async fn connect_to_hear(&self, heard: &Arc<Notify>) -> Result<Session, JournalError> {
        let what = "PostgreSQL cannot be reached";
        match tokio::time::timeout(self.patience(), self.open(Arc::clone(heard))).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(refused(self, what, &error)),
            Err(_) => Err(timeout(self, what, self.patience())),
        }
    }

    async fn open(&self, heard: Arc<Notify>) -> Result<Session, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.connector.clone()).await?;
        let task = tokio::spawn(drive(connection, heard));
        let session = Session { client, task };
        session.client.batch_execute(&self.set_up()).await?;
        Ok(session)
    }

    /// What a session is set to. A commit is on the server's disk at least; a server that waits for more may. A session that is
    /// forgotten within a transaction keeps the head no longer than a lease.
    fn set_up(&self) -> String {
        format!(
            "SET search_path TO {}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')",
            quoted(&self.settings.schema),
            self.settings.timeout.as_millis(),
            self.settings.lease.as_millis(),
        )
    }
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
