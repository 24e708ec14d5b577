//! The journal in PostgreSQL: events as rows of a table, written by one writer at a time.

mod address;
mod append;
mod calls;
pub mod cdc;
mod connect;
#[cfg(feature = "cqrs")]
mod database;
mod errors;
mod follow;
mod gather;
mod head;
mod json;
mod lease;
mod left;
mod partition;
mod parts;
mod password;
mod recover;
mod rewrite;
mod row;
mod runtime;
mod schema;
mod server;
mod tls;
mod wire;
mod write;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::address::{Address, OPTIONS as ADDRESS_OPTIONS, shown_option};
use self::connect::{Session, check_pooler, connect_checked, in_time};
#[cfg(feature = "cqrs")]
pub(crate) use self::database::{Database, Failure, Link, Parameter};
pub use self::follow::follow;
pub(crate) use self::follow::follow_at;
use self::head::{Head, Lease, Standing};
use self::lease::Heartbeat;
use self::parts::{Counting, Parts};
use self::recover::Span;
use self::rewrite::Kept;
use self::runtime::Runtime;
use self::server::Server;
use self::write::Writer;
use super::{
    Batch, CompactionStep, Compactor, Journal, JournalError, JournalErrorKind, Part, PurgeSet, Recover, Recovered,
};
use crate::Durability;
use crate::setters::setters;

/// Settings of a journal in PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresSettings {
    /// The schema of the tables, which is created if it does not exist. `annals` by default.
    pub schema: String,
    /// How long an unresponsive writer keeps its lease: 100 ms to an hour; 30 s by default. Closing the store releases the lease at once, and so
    /// does the end of the writer's connections on the server, except within 3 s of a server start, when a writer may reconnect.
    pub lease: Duration,
    /// How long opening waits for the lease of another writer: up to 24 hours; 5 s by default.
    pub lease_wait: Duration,
    /// The timeout of a call to the server: 100 ms to an hour; 30 s by default. When a URL names several servers, each gets an equal part of it
    /// to connect.
    pub timeout: Duration,
    /// Whether opening partitions the table of events. By default the table is left unchanged.
    pub partition: Partition,
}

setters! {
    PostgresSettings {
        schema: impl Into<String>,
        lease: Duration,
        lease_wait: Duration,
        timeout: Duration,
        partition: Partition,
    }
}

/// Whether opening a store partitions its table of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Partition {
    /// The table is left unchanged.
    #[default]
    AsItIs,
    /// One partition per month of recording, in UTC. A table that contains events becomes the first partition. The table stays partitioned,
    /// whatever later settings are.
    ByMonth,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            schema: "annals".to_owned(),
            lease: Duration::from_secs(30),
            lease_wait: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            partition: Partition::AsItIs,
        }
    }
}

impl PostgresSettings {
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        let unsupported = |message: &str| Err(JournalError::new(JournalErrorKind::Unsupported, message));
        let schema = &self.schema;
        let range = Duration::from_millis(100)..=Duration::from_secs(60 * 60);
        if schema.is_empty() || schema.len() > 63 || schema.contains('\0') || schema.starts_with("pg_") {
            return unsupported("schema must have 1 to 63 bytes, and not begin with pg_, which PostgreSQL reserves");
        }
        if !range.contains(&self.lease) {
            return unsupported("lease must be from 100 ms to an hour");
        }
        if !range.contains(&self.timeout) {
            return unsupported("timeout must be from 100 ms to an hour");
        }
        if self.lease_wait > Duration::from_secs(24 * 60 * 60) {
            return unsupported("lease_wait must be at most 24 hours");
        }
        Ok(())
    }
}

/// A journal in a PostgreSQL database, written by one writer at a time.
///
/// A batch is one transaction, so a written batch is synced: it survives a crash of the server's machine unless the server runs with
/// `fsync = off`. While the server is unavailable, writes are retried for [`retry_for`](crate::FlushSettings::retry_for). A retry detects
/// whether the batch was committed, and never writes it twice.
///
/// ```no_run
/// use annals::journal::postgres::PostgresJournal;
/// use annals::{Expected, NewEvent, Store, StreamId};
///
/// let store = Store::open(PostgresJournal::open("postgres://orders@localhost/orders")?)?;
/// store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced")])?;
/// store.close()?;
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Debug)]
pub struct PostgresJournal {
    server: Arc<Server>,
    lease: Lease,
    _heartbeat: Heartbeat,
    /// The connection for writes; `None` after it broke, and until the journal is recovered.
    writer: Option<Writer>,
    /// The connection that opened the journal, until recovery uses it.
    session: Option<Session>,
    /// The position of the last event; `None` until the journal is recovered.
    position: Option<u64>,
    /// The numbers of events and bytes in the table.
    parts: Parts,
    /// The final error, after which nothing can be written.
    broken: Option<JournalError>,
    // The last field: dropping the connections requires it.
    runtime: Runtime,
}

/// The timeout for releasing the lease.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

impl PostgresJournal {
    /// Opens the journal in the database at `url`, `postgres://user:password@host:port/database`, and creates missing tables.
    ///
    /// A password that is not in the URL comes from the environment variable `PGPASSWORD` or the file `.pgpass`, as in libpq.
    ///
    /// # Errors
    ///
    /// [`Locked`](JournalErrorKind::Locked) while another writer holds the lease; [`Retry`](JournalErrorKind::Retry) when the server is
    /// unreachable; [`Unsupported`](JournalErrorKind::Unsupported) when the server refuses, or the URL is invalid.
    pub fn open(url: &str) -> Result<Self, JournalError> {
        Self::open_with(url, PostgresSettings::default())
    }

    /// Like [`open`](Self::open), with other settings.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`Unsupported`](JournalErrorKind::Unsupported) when a setting is out of its range.
    pub fn open_with(url: &str, settings: PostgresSettings) -> Result<Self, JournalError> {
        Self::open_at(&Address::parse(url)?, settings)
    }

    /// Like [`open_with`](Self::open_with), with a parsed address.
    pub(crate) fn open_at(address: &Address, settings: PostgresSettings) -> Result<Self, JournalError> {
        let server = Arc::new(Server::new(address, settings)?);
        let runtime = Runtime::new()?;
        runtime.block_on(begin(server)).map(|begun| Self {
            server: begun.server,
            lease: begun.lease,
            _heartbeat: begun.heartbeat,
            writer: None,
            session: Some(begun.session),
            position: None,
            parts: Parts::default(),
            broken: None,
            runtime,
        })
    }

    /// Whether the tables of a store exist. Creates nothing and does not wait for a lease.
    pub(crate) fn exists_at(address: &Address, settings: PostgresSettings) -> Result<bool, JournalError> {
        let server = Server::new(address, settings)?;
        Runtime::new()?.block_on(async {
            let session = connect_checked(&server).await?;
            let what = "the tables of the store cannot be read";
            Ok(in_time(&server, what, schema::applied(&server, &session)).await? > 0)
        })
    }

    /// Drops the connection after an error, and records a final error.
    fn noted<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(error) = &result {
            self.writer = None;
            if error.kind() != JournalErrorKind::Retry {
                self.broken = Some(error.clone());
            }
        }
        result
    }

    fn check(&self) -> Result<u64, JournalError> {
        match (&self.broken, self.position) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(position)) => Ok(position),
            (None, None) => Err(JournalError::failed(
                "the journal was written to before it was recovered",
            )),
        }
    }
}

/// The state of a journal that was opened.
struct Begun {
    server: Arc<Server>,
    lease: Lease,
    heartbeat: Heartbeat,
    session: Session,
}

async fn begin(server: Arc<Server>) -> Result<Begun, JournalError> {
    let session = server.connect_to_write().await?;
    let holder = server.connect_to_write().await?;
    check_pooler(&server, &session, &holder).await?;
    schema::prepare(&server, &session).await?;
    schema::settle(&server, &session).await?;
    let lease = lease::take(&server, &holder).await?;
    let heartbeat = Heartbeat::start(Arc::clone(&server), lease, holder);
    let arranged = partition::arrange(&server, &session, &lease).await;
    if arranged.is_err() {
        // The first error is more informative than a failure to release.
        drop(tokio::time::timeout(RELEASE_WITHIN, lease::release(&session, &lease)).await);
    }
    arranged.map(|()| Begun {
        server,
        lease,
        heartbeat,
        session,
    })
}

impl Journal for PostgresJournal {
    fn durability(&self) -> Durability {
        Durability::Synced
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let session = self.session.take();
        let parts = &mut self.parts;
        let mut counting = Counting { into, parts };
        let read = read(&self.server, &self.lease, session, &mut counting);
        let read = self.runtime.block_on(read);
        let Read {
            writer,
            bytes,
            position,
        } = self.noted(read)?;
        self.writer = Some(writer);
        self.position = Some(position);
        Ok(Recovered {
            bytes,
            torn_tail_bytes: 0,
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let position = self.check()?;
        let (first, last) = (batch.first_position().0, batch.last_position().0);
        if batch.is_empty() {
            return Ok(());
        }
        if first != position + 1 || batch.skipped() > 0 || !batch.is_whole() {
            return Err(JournalError::failed(format!(
                "a batch of {} events with the positions {first} to {last} does not follow position {position}",
                batch.len(),
            )));
        }
        let writer = self.writer.take();
        let written = self
            .runtime
            .block_on(write(&self.server, &self.lease, writer, position, batch));
        let writer = self.noted(written)?;
        self.writer = Some(writer);
        self.position = Some(last);
        self.parts.note(batch);
        Ok(())
    }

    /// A no-op: a written batch is committed, and so synced.
    fn sync(&mut self) -> Result<(), JournalError> {
        self.check().map(drop)
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        Some(self)
    }

    /// Releases the lease. When the server is unavailable, the lease expires.
    fn close(self: Box<Self>) -> Result<(), JournalError> {
        drop(self);
        Ok(())
    }
}

impl Compactor for PostgresJournal {
    /// Ranges of 4,096 positions; the last ends at the last event.
    fn parts(&self) -> Vec<Part> {
        self.parts.all(self.position.unwrap_or_default())
    }

    /// A no-op: rows can be deleted from every part.
    fn seal(&mut self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Always worthwhile: the cost is proportional to the deleted rows, because a part is not rewritten.
    fn should_compact(&self, _: &Part, dropped: u64) -> bool {
        dropped > 0
    }

    fn compact(&mut self, part: &Part, purge: &PurgeSet) -> Result<CompactionStep, JournalError> {
        let position = self.check()?;
        if !self.parts.has(part) {
            let message = format!("there is no part from position {} to {}", part.first, part.last);
            return Err(JournalError::new(JournalErrorKind::Unsupported, message));
        }
        let writer = self.writer.take();
        // An error is not final: the transaction changed nothing or everything, and the next call detects which.
        let compacting = rewrite(&self.server, &self.lease, writer, position, (part, purge));
        let (writer, kept) = self.runtime.block_on(compacting)?;
        self.writer = Some(writer);
        let bytes = self.parts.keep(part, kept.rows, kept.events);
        Ok(if kept.has_more {
            CompactionStep::More
        } else {
            CompactionStep::Done { bytes }
        })
    }
}

/// The result of recovery.
struct Read {
    writer: Writer,
    bytes: u64,
    position: u64,
}

async fn read(
    server: &Server,
    lease: &Lease,
    session: Option<Session>,
    into: &mut dyn Recover,
) -> Result<Read, JournalError> {
    let what = "the events cannot be read";
    let session = match session {
        Some(session) => session,
        None => server.connect_to_write().await?,
    };
    let head = in_time(server, what, lock_and_let_go(&session)).await?;
    head.check(server)?;
    // Detects a lease that was lost already.
    head.standing(server, lease, head.position, head.position)?;
    let bytes = recover::recover(
        server,
        &session,
        (lease.store, Span::Whole { last: head.position }),
        into,
    )
    .await?;
    let writer = in_time(server, what, Writer::new(server, lease, session)).await?;
    Ok(Read {
        writer,
        bytes,
        position: head.position,
    })
}

async fn lock_and_let_go(session: &Session) -> Result<Head, tokio_postgres::Error> {
    session.client.batch_execute("BEGIN").await?;
    let head = Head::lock(&session.client).await?;
    session.client.batch_execute("COMMIT").await?;
    Ok(head)
}

const CANNOT_WRITE: &str = "events cannot be written";

/// Writes `batch` after `position`, over a new connection if the last one was lost; an earlier call may have committed it then. Returns the
/// connection for the next call.
async fn write(
    server: &Server,
    lease: &Lease,
    writer: Option<Writer>,
    position: u64,
    batch: &Batch,
) -> Result<Writer, JournalError> {
    let last = batch.last_position().0;
    let (mut writer, standing) = ready(server, lease, writer, position, last).await?;
    if standing == Standing::Behind {
        return Ok(writer);
    }
    if in_time(server, CANNOT_WRITE, writer.write(lease, batch)).await? {
        return Ok(writer);
    }
    let head = in_time(server, CANNOT_WRITE, lock_and_let_go(&writer.session)).await?;
    match head.standing(server, lease, position, last)? {
        // The commit of an earlier call, over a broken connection, completed only now.
        Standing::Behind => Ok(writer),
        Standing::Before => Err(JournalError::failed(format!(
            "the head moved and moved back: {}",
            server.place()
        ))),
    }
}

/// Deletes the rows of `part` that are gone. Returns the connection for the next call, and what is retained.
async fn rewrite(
    server: &Server,
    lease: &Lease,
    writer: Option<Writer>,
    position: u64,
    (part, purge): (&Part, &PurgeSet),
) -> Result<(Writer, Kept), JournalError> {
    const CANNOT_DELETE: &str = "the rows of events that are gone cannot be deleted";
    let (writer, _) = ready(server, lease, writer, position, position).await?;
    let rewritten = rewrite::rewrite(&writer, lease, position, (part, purge));
    match in_time(server, CANNOT_DELETE, rewritten).await? {
        Some(kept) => Ok((writer, kept)),
        None => Err(JournalError::failed(format!(
            "{CANNOT_DELETE}: another session changed the table at the same time: {}",
            server.place()
        ))),
    }
}

/// The connection for writes, or a new one if it was lost, and whether the server has events after `position`.
async fn ready(
    server: &Server,
    lease: &Lease,
    writer: Option<Writer>,
    position: u64,
    last: u64,
) -> Result<(Writer, Standing), JournalError> {
    if let Some(writer) = writer.filter(|writer| !writer.session.is_closed()) {
        return Ok((writer, Standing::Before));
    }
    let (writer, head) = reconnect(server, lease).await?;
    let standing = head.standing(server, lease, position, last)?;
    Ok((writer, standing))
}

/// A new connection for writes, and the head after every transaction of the previous connection has ended.
async fn reconnect(server: &Server, lease: &Lease) -> Result<(Writer, Head), JournalError> {
    let session = server.connect_to_write().await?;
    let head = in_time(server, CANNOT_WRITE, lock_and_let_go(&session)).await?;
    let writer = in_time(server, CANNOT_WRITE, Writer::new(server, lease, session)).await?;
    Ok((writer, head))
}

impl Drop for PostgresJournal {
    fn drop(&mut self) {
        let session = self
            .writer
            .as_ref()
            .map(|writer| &writer.session)
            .or(self.session.as_ref());
        if let Some(session) = session.filter(|session| !session.is_closed()) {
            let release = async { tokio::time::timeout(RELEASE_WITHIN, lease::release(session, &self.lease)).await };
            // A lease that cannot be released expires.
            drop(self.runtime.block_on(release));
        }
    }
}
