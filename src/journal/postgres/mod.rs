//! The journal in PostgreSQL: events as rows of a table, for one writer at a time.

mod address;
mod append;
pub mod cdc;
mod connect;
mod errors;
mod follow;
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
mod tls;
mod wire;
mod write;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::address::{Address, OPTIONS as ADDRESS_OPTIONS, shown_option};
use self::connect::{Server, Session, check_pooler, connect_checked, in_time};
pub(crate) use self::follow::follow_at;
use self::head::{Head, Lease, Standing};
use self::lease::Heartbeat;
use self::parts::{Counting, Parts};
use self::recover::Span;
use self::rewrite::Kept;
use self::runtime::Runtime;
use self::write::Writer;
use super::{Batch, Gone, Journal, JournalError, JournalErrorKind, Part, Recover, Recovered, Rewriting};
use crate::Durability;

/// How a journal in PostgreSQL is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    /// The schema that the tables are in; it is made if it is not there. `annals` by default.
    pub schema: String,
    /// How long a writer that is not heard of keeps the store: 100 ms to an hour; 30 s by default. It is free at once when the store
    /// is closed, and when the server sees that the writer's connection has ended, but not within 3 s from when the server has started: a
    /// writer may come back.
    pub lease: Duration,
    /// How long opening waits for another writer to be gone: up to 24 hours; 5 s by default.
    pub lease_wait: Duration,
    /// How long the server may take to answer: 100 ms to an hour; 30 s by default. Where a URL names several, each has its part of it to
    /// be connected to.
    pub timeout: Duration,
    /// Whether the table of events is partitioned: left as it is by default.
    pub partition: Partition,
}

/// Whether a store that is opened partitions the table of its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Partition {
    /// The table stays as it is: one table, unless it was partitioned before.
    #[default]
    AsItIs,
    /// What the store takes in a month, in UTC, is a table of its own. A table that has events already becomes the first of them. It stays
    /// so, whatever the next store that is opened asks for.
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
            return unsupported("schema must have 1 to 63 bytes, and not begin with pg_, which is PostgreSQL's");
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

/// A journal in a database, for one writer at a time.
///
/// A batch is one transaction, so what is written is synced: it survives the server's machine, if the server runs with `fsync`, as it
/// does unless told otherwise. While the server is away, writes are tried again for
/// [`retry_for`](crate::FlushSettings::retry_for), and then found to be there or written, never twice.
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
    /// The connection that is written on; `None` when it broke, and until the journal was recovered.
    writer: Option<Writer>,
    /// A connection that nothing was written on yet.
    session: Option<Session>,
    /// The position of the last event; `None` until the journal was recovered.
    position: Option<u64>,
    /// What is in the table.
    parts: Parts,
    /// Why nothing more can be written.
    broken: Option<JournalError>,
    // The last field: connections end on it.
    runtime: Runtime,
}

/// How long an orderly end may take that nobody waits for.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

impl PostgresJournal {
    /// The journal in the database at `url`, `postgres://user:password@host:port/database`, whose tables are made if they are not there.
    ///
    /// Without a password in the URL it is that of the environment's `PGPASSWORD`, or of the file `.pgpass`, as for libpq.
    ///
    /// # Errors
    ///
    /// [`Locked`](JournalErrorKind::Locked) while another writer has the store; [`Retry`](JournalErrorKind::Retry) when the server cannot
    /// be reached; [`Unsupported`](JournalErrorKind::Unsupported) when it refuses, or the URL is none.
    pub fn open(url: &str) -> Result<Self, JournalError> {
        Self::open_with(url, PostgresSettings::default())
    }

    /// The same with other settings.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`Unsupported`](JournalErrorKind::Unsupported) when a setting is out of its range.
    pub fn open_with(url: &str, settings: PostgresSettings) -> Result<Self, JournalError> {
        Self::open_at(&Address::parse(url)?, settings)
    }

    /// The same with an address that was read before.
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

    /// Whether there are a store's tables. Nothing is made, and nobody is waited for.
    pub(crate) fn exists_at(address: &Address, settings: PostgresSettings) -> Result<bool, JournalError> {
        let server = Server::new(address, settings)?;
        Runtime::new()?.block_on(async {
            let session = connect_checked(&server).await?;
            let what = "the tables of the store cannot be read";
            Ok(in_time(&server, what, schema::applied(&server, &session)).await? > 0)
        })
    }

    /// What `result` says of the journal's further life.
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

/// What a journal begins with.
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
        // What it failed with says more than what this may fail with.
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
                "a batch of {} events with the positions {first} to {last} does not come after position {position}",
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

    /// What is written is committed, and so synced.
    fn sync(&mut self) -> Result<(), JournalError> {
        self.check().map(drop)
    }

    /// So many positions each, the last as far as it has come.
    fn parts(&self) -> Vec<Part> {
        self.parts.all(self.position.unwrap_or_default())
    }

    /// A part is not written anew: what it costs is what is deleted.
    fn is_worth_rewriting(&self, _: &Part, gone: u64) -> bool {
        gone > 0
    }

    fn rewrite(&mut self, part: &Part, gone: &Gone) -> Result<Rewriting, JournalError> {
        let position = self.check()?;
        let writer = self.writer.take();
        // What failed is no reason to end: it has changed nothing, or all of it, and the next call finds out.
        let rewriting = rewrite(&self.server, &self.lease, writer, position, (part, gone));
        let (writer, kept) = self.runtime.block_on(rewriting)?;
        self.writer = Some(writer);
        let bytes = self.parts.keep(part, kept.rows, kept.events);
        Ok(if kept.has_more {
            Rewriting::More
        } else {
            Rewriting::Done { bytes }
        })
    }

    /// Gives the lease back. Where the server is away, it ends by itself.
    fn close(self: Box<Self>) -> Result<(), JournalError> {
        drop(self);
        Ok(())
    }
}

/// What reading everything back has led to.
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
    // Nobody else can have moved it: this is to find a lease that was lost already.
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

/// Writes `batch` behind `position`, over a new connection if the last was lost: then an earlier call may have written it already. Answers
/// the connection to go on with.
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
        // What an earlier call had sent over a connection that broke came to the server only now.
        Standing::Behind => Ok(writer),
        Standing::Before => Err(JournalError::failed(format!(
            "the head has moved and come back: {}",
            server.place()
        ))),
    }
}

/// Deletes the rows of `part` that are gone. Answers the connection to go on with, and what is left.
async fn rewrite(
    server: &Server,
    lease: &Lease,
    writer: Option<Writer>,
    position: u64,
    (part, gone): (&Part, &Gone),
) -> Result<(Writer, Kept), JournalError> {
    const CANNOT_DELETE: &str = "the rows of events that are gone cannot be deleted";
    let (writer, _) = ready(server, lease, writer, position, position).await?;
    let rewritten = rewrite::rewrite(&writer, lease, position, (part, gone));
    match in_time(server, CANNOT_DELETE, rewritten).await? {
        Some(kept) => Ok((writer, kept)),
        None => Err(JournalError::failed(format!(
            "{CANNOT_DELETE}: others have changed the table meanwhile: {}",
            server.place()
        ))),
    }
}

/// The connection to write on, or another if it was lost, and where the server stands: it has everything up to `position`, or more.
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
    let (writer, head) = connect_anew(server, lease).await?;
    let standing = head.standing(server, lease, position, last)?;
    Ok((writer, standing))
}

/// A connection to write on, and the head, when whatever the last connection had begun has come to its end.
async fn connect_anew(server: &Server, lease: &Lease) -> Result<(Writer, Head), JournalError> {
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
            // A lease that cannot be given back ends by itself.
            drop(self.runtime.block_on(release));
        }
    }
}
