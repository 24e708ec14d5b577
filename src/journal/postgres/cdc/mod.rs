//! Change capture: streams every event that is written to the table, by PostgreSQL's logical decoding.
//!
//! Every event is delivered at least once, in ascending order of positions. A reader [acknowledges](ChangeCapture::acknowledge) the events that
//! it has processed, and resumes after them. The server retains its log for an inactive reader: [`status`](ChangeCapture::status) returns how
//! much, and [`drop_slot`](ChangeCapture::drop_slot) releases it. No event is lost by that: events that were not acknowledged are read from the
//! table.
//!
//! The delivered positions have no gap, except for events whose rows were deleted. Other programs can advance, drop or use a slot, and drop or
//! alter a publication: events that the log lacks are then read from the table.

mod log;
mod pgoutput;
mod publication;
mod repair;
mod slot;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use uuid::Uuid;

use self::log::Look;
use super::connect::{Session, check_pooler, unsupported};
use super::recover::{self, Span};
use super::runtime::Runtime;
use super::server::Server;
use super::{Address, PostgresSettings, schema};
use crate::Position;
use crate::journal::{Batch, JournalError, JournalErrorKind, Recover};
use crate::setters::setters;

/// The most events requested at once from the table or the log. The log returns whole transactions.
const CHANGES: u64 = 4096;

const WHAT: &str = "changes cannot be read";

/// How often one call creates the slot again after another process dropped it.
const REPAIRS_MAX: usize = 3;

/// Settings of change capture.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureSettings {
    /// The name of the replication slot, and of its checkpoint: lower-case letters, digits and `_`; `annals` by default. Each reader
    /// needs its own name. Slots are named for the whole server: readers of stores in other schemas and databases need other names too.
    pub slot: String,
    /// Whether a new slot starts with the first event of the table (the default), or with the next new event.
    pub from_the_first: bool,
}

setters! {
    CaptureSettings {
        slot: impl Into<String>,
        from_the_first: bool,
    }
}

impl Default for CaptureSettings {
    fn default() -> Self {
        Self {
            slot: "annals".to_owned(),
            from_the_first: true,
        }
    }
}

/// A log sequence number: a place in the write-ahead log of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A batch of captured events.
#[derive(Debug)]
pub struct Changes {
    /// The events, in ascending order of positions.
    pub batch: Batch,
    /// The end of these events in the log of the server; `None` when they were read from the table.
    pub lsn: Option<Lsn>,
    /// The number of the connection that they were read from.
    connection: u64,
}

/// The status of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SlotStatus {
    /// The last acknowledged position.
    pub position: Position,
    /// Bytes of log that the server retains for the slot; `None` when this store has no slot of this name.
    pub lag_bytes: Option<u64>,
    /// Whether the server has discarded log that the slot needs.
    pub is_lost: bool,
}

/// Captures the changes of a store in PostgreSQL.
///
/// ```no_run
/// use annals::journal::postgres::cdc::{CaptureSettings, ChangeCapture};
///
/// let mut capture = ChangeCapture::open("postgres://orders@localhost/orders", CaptureSettings::default())?;
/// loop {
///     match capture.take()? {
///         Some(changes) => {
///             for event in changes.batch.events() {
///                 println!("{} {}", event.position(), event.event_type());
///             }
///             capture.acknowledge(&changes)?;
///         }
///         None => std::thread::sleep(std::time::Duration::from_millis(100)),
///     }
/// }
/// # #[expect(unreachable_code, reason = "the loop does not end")]
/// # Ok::<(), annals::JournalError>(())
/// ```
#[derive(Debug)]
pub struct ChangeCapture {
    server: Arc<Server>,
    settings: CaptureSettings,
    /// `None` until it is needed, and after an error.
    at: Option<At>,
    /// The number of connections so far.
    connections: u64,
    // The last field: dropping the connections requires it.
    runtime: Runtime,
}

/// The connection and position of a reader.
#[derive(Debug)]
struct At {
    session: Session,
    connection: u64,
    /// The store of the checkpoint.
    store: Uuid,
    /// The last position that was delivered.
    position: u64,
    /// The last position that is read from the table instead of the log.
    copied_to: u64,
}

impl ChangeCapture {
    /// Captures the changes of the store at `url`, `postgres://user:password@host:port/database`, in the schema `annals`. The slot, and the
    /// publication `annals_events`, are created if they do not exist, which requires the REPLICATION attribute.
    ///
    /// # Errors
    ///
    /// [`Retry`](crate::journal::JournalErrorKind::Retry) when the server is unreachable; [`Unsupported`](crate::journal::JournalErrorKind::Unsupported) when it refuses,
    /// contains no store, or does not run with `wal_level = logical`, when the name of the slot is invalid, or when a slot of this name
    /// belongs to another store, database or plug-in.
    pub fn open(url: &str, settings: CaptureSettings) -> Result<Self, JournalError> {
        Self::open_with(url, PostgresSettings::default(), settings)
    }

    /// Like [`open`](Self::open), with other settings.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(url: &str, postgres: PostgresSettings, settings: CaptureSettings) -> Result<Self, JournalError> {
        Self::open_at(&Address::parse(url)?, postgres, settings)
    }

    /// Like [`open_with`](Self::open_with), with a parsed address.
    pub(crate) fn open_at(
        address: &Address,
        postgres: PostgresSettings,
        settings: CaptureSettings,
    ) -> Result<Self, JournalError> {
        let mut capture = Self::of_slot(address, postgres, settings)?;
        capture.begin()?;
        Ok(capture)
    }

    /// Like [`open_at`](Self::open_at), without connecting or creating anything until the first read.
    pub(crate) fn of_slot(
        address: &Address,
        postgres: PostgresSettings,
        settings: CaptureSettings,
    ) -> Result<Self, JournalError> {
        let server = Arc::new(Server::new(address, postgres)?);
        slot::check_slot(&settings.slot)?;
        slot::check_schema(&server)?;
        Ok(Self {
            server,
            settings,
            at: None,
            connections: 0,
            runtime: Runtime::new()?,
        })
    }

    /// Returns the next events; `None` when there are none yet: call it again later.
    ///
    /// # Errors
    ///
    /// [`Retry`](crate::journal::JournalErrorKind::Retry) when the server is unavailable: retry, which resumes after the acknowledged
    /// events. [`Corrupt`](crate::journal::JournalErrorKind::Corrupt) when a change is not a row of a store.
    pub fn take(&mut self) -> Result<Option<Changes>, JournalError> {
        for _ in 0..REPAIRS_MAX {
            match self.read_once() {
                Ok(Read::Changes(changes)) => return Ok(Some(changes)),
                Ok(Read::Nothing) => return Ok(None),
                // The next attempt creates the slot again, and reads the missing events from the table.
                Ok(Read::NoSlot) => self.at = None,
                Err(error) => {
                    self.at = None;
                    return Err(error);
                }
            }
        }
        let message = format!(
            "{WHAT}: the slot '{}' or its publication was dropped {REPAIRS_MAX} times while it was read; find out what drops it: {}",
            self.settings.slot,
            self.server.place()
        );
        Err(JournalError::new(JournalErrorKind::Retry, message))
    }

    fn read_once(&mut self) -> Result<Read, JournalError> {
        self.begin()?;
        let Some(at) = &mut self.at else {
            return Ok(Read::Nothing);
        };
        self.runtime.block_on(read(&self.server, &self.settings.slot, at))
    }

    /// Acknowledges these events and all before them: they are not delivered again, also not to another process.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take); the events may be delivered again then. [`Failed`](crate::journal::JournalErrorKind::Failed) when the checkpoint
    /// of the slot was deleted, or when the server does not have the events any more, as after a fail-over to a standby that lagged behind: the
    /// store has lost these events, and other events may have their positions.
    pub fn acknowledge(&mut self, changes: &Changes) -> Result<(), JournalError> {
        let acknowledged = self.begin().and_then(|()| {
            let Some(at) = &self.at else { return Ok(()) };
            let work = slot::acknowledge(&self.server, at, &self.settings.slot, changes);
            self.runtime.block_on(work)
        });
        if acknowledged.is_err() {
            self.at = None;
        }
        acknowledged
    }

    /// Returns the status of the slot.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn status(&mut self) -> Result<SlotStatus, JournalError> {
        let (server, slot) = (&self.server, &self.settings.slot);
        self.runtime.block_on(async {
            let session = server.connect_to_write().await?;
            within(server, slot::status(&session, slot)).await
        })
    }

    /// Drops the slot, so that the server retains no log for it. The checkpoint is kept: the next reader of this name resumes after it. A slot
    /// of this name that belongs to another store, database or plug-in is not dropped.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take); [`Retry`](crate::journal::JournalErrorKind::Retry) while another process reads from the slot.
    pub fn drop_slot(&mut self) -> Result<(), JournalError> {
        self.at = None;
        let (server, slot) = (&self.server, &self.settings.slot);
        self.runtime.block_on(async {
            let session = server.connect_to_write().await?;
            within(server, slot::release(&session, slot)).await
        })
    }

    /// Connects, and creates what is missing.
    fn begin(&mut self) -> Result<(), JournalError> {
        if self.at.as_ref().is_some_and(|at| !at.session.is_closed()) {
            return Ok(());
        }
        self.connections += 1;
        let begun = begin(&self.server, &self.settings, self.connections);
        self.at = Some(self.runtime.block_on(begun)?);
        Ok(())
    }
}

async fn within<T>(
    server: &Server,
    calls: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, JournalError> {
    super::connect::in_time(server, WHAT, calls).await
}

async fn begin(server: &Server, settings: &CaptureSettings, connection: u64) -> Result<At, JournalError> {
    let session = server.connect_to_write().await?;
    if connection == 1 {
        check_pooler(server, &session, &server.connect_to_write().await?).await?;
    }
    if within(server, schema::applied(server, &session)).await? == 0 {
        return Err(unsupported(
            server,
            "there is no store: create one with `annals import`",
        ));
    }
    schema::prepare(server, &session).await?;
    schema::settle(server, &session).await?;
    slot::make(server, &session, settings).await?;
    let store = within(server, slot::table(&session)).await?.store;
    let (position, copied_to) = within(server, slot::checkpoint(&session, settings)).await?;
    Ok(At {
        session,
        connection,
        store,
        position,
        copied_to,
    })
}

/// The result of a read.
enum Read {
    Changes(Changes),
    Nothing,
    NoSlot,
}

async fn read(server: &Server, slot: &str, at: &mut At) -> Result<Read, JournalError> {
    // The last position that was in the table before a flush: what came since may not be flushed.
    let mut flushed = 0;
    let deadline = Instant::now() + server.patience();
    loop {
        if let Some(changes) = read_copied(server, at).await? {
            return Ok(Read::Changes(changes));
        }
        // Read before the log, which then contains everything that was committed and flushed.
        let table = within(server, slot::table(&at.session)).await?;
        recover::check_store(server, at.store, table.store)?;
        check_set_back(server, at, table.position)?;
        match log::read_log(server, slot, at, table.numbers).await? {
            Look::Changes(changes) => return Ok(Read::Changes(changes)),
            Look::NoSlot => return Ok(Read::NoSlot),
            Look::Passed if Instant::now() >= deadline => return Ok(Read::Nothing),
            Look::Passed => {}
            Look::Missing { next } => fill(server, at, next - 1).await?,
            Look::AtItsEnd if at.position >= table.position => return Ok(Read::Nothing),
            // Another program advanced the slot, or the publication lacks the table.
            Look::AtItsEnd if at.position < flushed => fill(server, at, flushed).await?,
            Look::AtItsEnd => {
                // A commit that is not flushed is visible in the table, but not in the log.
                within(server, slot::flush(&at.session, slot)).await?;
                flushed = table.position;
            }
        }
    }
}

/// Has the events up to `last`, which the log lacks, read from the table. Restores the publication, so that later events come from the log: since
/// version 18, the server only warns of a publication that was dropped.
async fn fill(server: &Server, at: &mut At, last: u64) -> Result<(), JournalError> {
    publication::arrange(server, &at.session).await?;
    at.copied_to = last;
    Ok(())
}

/// The next events that are read from the table; `None` when there are none, or all of them are gone.
async fn read_copied(server: &Server, at: &mut At) -> Result<Option<Changes>, JournalError> {
    while at.position < at.copied_to {
        let batch = read_table(server, at).await?;
        if !batch.is_empty() {
            return Ok(Some(Changes {
                batch,
                lsn: None,
                connection: at.connection,
            }));
        }
    }
    Ok(None)
}

/// # Errors
///
/// Failed when the table ends before the last event that was read.
fn check_set_back(server: &Server, at: &At, position: u64) -> Result<(), JournalError> {
    if position >= at.position {
        return Ok(());
    }
    Err(JournalError::failed(format!(
        "{WHAT}: the table was set back to position {position}, and changes were read up to {}; drop the slot and its row in the table \
         checkpoints to begin again: {}",
        at.position,
        server.place()
    )))
}

/// Reads the next events from the table.
async fn read_table(server: &Server, at: &mut At) -> Result<Batch, JournalError> {
    let last = at.copied_to.min(at.position + CHANGES);
    let mut taken = Taken(Batch::new());
    let part = Span::Next {
        after: at.position,
        last,
    };
    recover::recover(server, &at.session, (at.store, part), &mut taken).await?;
    at.position = last;
    Ok(taken.0)
}

struct Taken(Batch);

impl Recover for Taken {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        for event in batch.events() {
            self.0.push_ref(event);
        }
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}
