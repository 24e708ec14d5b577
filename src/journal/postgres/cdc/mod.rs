//! Change capture: what anyone writes to the table of events, as a stream, by PostgreSQL's logical decoding.
//!
//! Every event comes at least once, in the order of positions. What has been taken care of is [acknowledged](ChangeCapture::acknowledge),
//! and goes on from there after whatever end. The server keeps its log for a reader that does not come: [`status`](ChangeCapture::status)
//! says how much, and [`drop_slot`](ChangeCapture::drop_slot) ends that. Nothing is lost by it: what was not acknowledged is read from the table.
//!
//! The positions that are handed on have no gap, except for events whose rows were deleted. A slot can be advanced, dropped or used by other
//! programs, and a publication can be dropped or altered: the events that the log does not have then are read from the table.

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
use super::connect::{Server, Session, check_pooler, unsupported};
use super::recover::{self, Span};
use super::runtime::Runtime;
use super::{Address, PostgresSettings, schema};
use crate::Position;
use crate::journal::{Batch, JournalError, JournalErrorKind, Recover};

/// Events that are asked for at once, of the table and of the log. The log's come by whole transactions.
const CHANGES: u64 = 4096;

const WHAT: &str = "changes cannot be read";

/// How often one call creates the slot again after another process dropped it.
const REPAIRS_MAX: usize = 3;

/// How changes are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSettings {
    /// The name of the replication slot, and of its checkpoint: lower-case letters, digits and `_`; `annals` by default. Each reader
    /// needs its own name. Slots are named for the whole server: readers of stores in other schemas and databases need other names too.
    pub slot: String,
    /// Whether a slot that is made begins with the first event of the table, or with what comes next. The first by default.
    pub from_the_first: bool,
}

impl Default for CaptureSettings {
    fn default() -> Self {
        Self {
            slot: "annals".to_owned(),
            from_the_first: true,
        }
    }
}

/// A place in the log of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// Events that have come.
#[derive(Debug)]
pub struct Changes {
    /// The events, in the order of positions.
    pub batch: Batch,
    /// Up to where they come from the log of the server; `None` when they were in the table before the slot was.
    pub lsn: Option<Lsn>,
    /// On which of the reader's connections they came.
    connection: u64,
}

/// What a slot costs the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SlotStatus {
    /// The position that was acknowledged.
    pub position: Position,
    /// Bytes of its log that the server keeps for the slot; `None` when this store has no slot of this name.
    pub lag_bytes: Option<u64>,
    /// Whether the server has thrown away what the slot needs.
    pub is_lost: bool,
}

/// Reads the changes of a store in PostgreSQL.
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
/// # #[expect(unreachable_code, reason = "it goes on for ever")]
/// # Ok::<(), annals::JournalError>(())
/// ```
#[derive(Debug)]
pub struct ChangeCapture {
    server: Arc<Server>,
    settings: CaptureSettings,
    /// `None` until it is needed, and after it broke.
    at: Option<At>,
    /// How many connections were made.
    connections: u64,
    // The last field: connections end on it.
    runtime: Runtime,
}

/// Where a reader is.
#[derive(Debug)]
struct At {
    session: Session,
    connection: u64,
    /// The store that the checkpoint is of.
    store: Uuid,
    /// The last event that was handed out.
    position: u64,
    /// The last event that is read from the table.
    copied_to: u64,
}

impl ChangeCapture {
    /// Captures the changes of the store at `url`, `postgres://user:password@host:port/database`, in the schema `annals`. The slot, and the
    /// publication `annals_events`, are made when they are not there: that needs the right to replicate.
    ///
    /// # Errors
    ///
    /// [`Retry`](crate::journal::JournalErrorKind::Retry) when the server cannot be reached; [`Unsupported`](crate::journal::JournalErrorKind::Unsupported) when it refuses,
    /// has no store, or does not run with `wal_level = logical`, or the name of the slot is invalid, or a slot of this name belongs to
    /// another store, database or plug-in.
    pub fn open(url: &str, settings: CaptureSettings) -> Result<Self, JournalError> {
        Self::open_with(url, PostgresSettings::default(), settings)
    }

    /// The same with another schema, or other times.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(url: &str, postgres: PostgresSettings, settings: CaptureSettings) -> Result<Self, JournalError> {
        Self::open_at(&Address::parse(url)?, postgres, settings)
    }

    /// The same with an address that was read before.
    pub(crate) fn open_at(
        address: &Address,
        postgres: PostgresSettings,
        settings: CaptureSettings,
    ) -> Result<Self, JournalError> {
        let mut capture = Self::of_slot(address, postgres, settings)?;
        capture.begin()?;
        Ok(capture)
    }

    /// The same without connecting, and so without making anything, until that is asked for.
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

    /// The next events, if there are any; `None` is no end, but to be asked again a little later.
    ///
    /// # Errors
    ///
    /// [`Retry`](crate::journal::JournalErrorKind::Retry) when the server is away: the same can be asked again, and goes on behind what was
    /// acknowledged. [`Corrupt`](crate::journal::JournalErrorKind::Corrupt) when what comes is no row of a store.
    pub fn take(&mut self) -> Result<Option<Changes>, JournalError> {
        for _ in 0..REPAIRS_MAX {
            match self.read_once() {
                Ok(Read::Changes(changes)) => return Ok(Some(changes)),
                Ok(Read::Nothing) => return Ok(None),
                // The slot is created again, and the missing part is read from the table.
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

    /// Says that these events, and all before, are taken care of: they will not come again, not even to another process.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take); then they may come again. [`Failed`](crate::journal::JournalErrorKind::Failed) when the server that is there now does not
    /// have them, as after a fail-over to a standby that was behind: whatever was made of them is not of the store any more, and what
    /// comes next is what has their positions now.
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

    /// How far the slot is behind.
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

    /// Drops the slot, so that the server keeps nothing for it any more. The checkpoint stays: the next reader of this name goes on behind
    /// it. Slots of this name that belong to other stores, databases or plug-ins stay.
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

    /// Connects, and makes what is not there.
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
        return Err(unsupported(server, "there is no store: `annals import` makes one"));
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

/// What a call has led to.
enum Read {
    Changes(Changes),
    Nothing,
    NoSlot,
}

async fn read(server: &Server, slot: &str, at: &mut At) -> Result<Read, JournalError> {
    let mut is_flushed = false;
    let deadline = Instant::now() + server.patience();
    loop {
        if let Some(changes) = read_copied(server, at).await? {
            return Ok(Read::Changes(changes));
        }
        // Asked before the log is read, which has all that was committed and flushed by then.
        let table = within(server, slot::table(&at.session)).await?;
        recover::check_store(server, at.store, table.store)?;
        check_set_back(server, at, table.position)?;
        match log::read_log(server, slot, at, table.numbers).await? {
            Look::Changes(changes) => return Ok(Read::Changes(changes)),
            Look::NoSlot => return Ok(Read::NoSlot),
            Look::Passed if Instant::now() >= deadline => return Ok(Read::Nothing),
            Look::Passed => {}
            Look::Missing { next } => at.copied_to = next - 1,
            Look::AtItsEnd if at.position >= table.position => return Ok(Read::Nothing),
            // The slot was advanced by others, or the publication does not have the table.
            Look::AtItsEnd if is_flushed => at.copied_to = table.position,
            Look::AtItsEnd => {
                // A commit that is not on the disk is in the table already, and not in the log.
                within(server, slot::flush(&at.session, slot)).await?;
                is_flushed = true;
            }
        }
    }
}

/// The next events of those that are read from the table. Where all are gone there is nothing to tell of.
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
/// Failed when the table ends before the event that was read last.
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

/// Events that were there before the slot: the next of them.
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
