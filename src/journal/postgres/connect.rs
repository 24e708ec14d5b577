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
}

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
        let session = Session { client, task };
        let answers = session.client.simple_query(&self.set_up()).await?;
        match (wanted, is_read_only(&answers)?) {
            (TargetSessionAttrs::ReadWrite, true) => Err(Refusal::ReadOnly),
            (TargetSessionAttrs::ReadOnly, false) => Err(Refusal::NotReadOnly),
            _ => Ok(session),
        }
    }

    /// What a session is set to. A commit is on the server's disk at least; a server that waits for more may. A session that is
    /// forgotten within a transaction keeps the head no longer than a lease. The last answer says whether it may write.
    fn set_up(&self) -> String {
        format!(
            "SET search_path TO {}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local'); \
             SHOW transaction_read_only",
            quoted(&self.settings.schema),
            self.settings.timeout.as_millis(),
            self.settings.lease.as_millis(),
        )
    }
}

/// What the last of the answers to the set-up says.
fn is_read_only(answers: &[SimpleQueryMessage]) -> Result<bool, Error> {
    let mut is_read_only = false;
    for answer in answers {
        if let SimpleQueryMessage::Row(row) = answer {
            is_read_only = row.try_get(0)? == Some("on");
        }
    }
    Ok(is_read_only)
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
