//! Change capture: what anyone writes to the table of events, as a stream, by PostgreSQL's logical decoding.
//!
//! Every event comes at least once, in the order of positions. What has been taken care of is [acknowledged](ChangeCapture::acknowledge),
//! and goes on from there after whatever end. The server keeps its log for a reader that does not come: [`status`](ChangeCapture::status)
//! says how much, and [`drop_slot`](ChangeCapture::drop_slot) ends that. Nothing is lost by it: what was not acknowledged is read from the table.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{PgLsn, ToSql};

use super::connect::{Server, Session, quoted, unsupported};
use super::errors::fault;
use super::parts::PART_POSITIONS;
use super::pgoutput::{Decoder, Message};
use super::recover::{self, Span};
use super::row::{Mark, Reader, Row};
use super::runtime::Runtime;
use super::{Address, PostgresSettings, schema};
use crate::Position;
use crate::journal::{Batch, JournalError, JournalErrorKind, Recover};

/// Events that are asked for at once, of the table and of the log. The log's come by whole transactions.
const CHANGES: u64 = 4096;

const WHAT: &str = "changes cannot be read";

/// How changes are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSettings {
    /// The name of the replication slot, and of its checkpoint: lower-case letters, digits and `_`; `annals` by default. Each reader
    /// needs one of its own.
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
    /// Bytes of its log that the server keeps for the slot; `None` when there is no slot.
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
    /// [`Retry`](JournalErrorKind::Retry) when the server cannot be reached; [`Unsupported`](JournalErrorKind::Unsupported) when it refuses,
    /// has no store, or does not run with `wal_level = logical`, or the name of the slot cannot be one.
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
        check_slot(&settings.slot)?;
        check_schema(&server)?;
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
    /// [`Retry`](JournalErrorKind::Retry) when the server is away: the same can be asked again, and goes on behind what was
    /// acknowledged. [`Corrupt`](JournalErrorKind::Corrupt) when what comes is no row of a store.
    pub fn take(&mut self) -> Result<Option<Changes>, JournalError> {
        let read = self.begin().and_then(|()| {
            let Some(at) = &mut self.at else {
                return Ok(Read::Nothing);
            };
            self.runtime.block_on(read(&self.server, &self.settings.slot, at))
        });
        match read {
            Ok(Read::Changes(changes)) => Ok(Some(changes)),
            Ok(Read::Nothing) => Ok(None),
            Ok(Read::NoSlot) => {
                // It was dropped: it is made anew, and what lies between is in the table.
                self.at = None;
                Ok(None)
            }
            Err(error) => {
                self.at = None;
                Err(error)
            }
        }
    }

    /// Says that these events, and all before, are taken care of: they will not come again, not even to another process.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take); then they may come again. [`Failed`](JournalErrorKind::Failed) when the server that is there now does not
    /// have them, as after a fail-over to a standby that was behind: whatever was made of them is not of the store any more, and what
    /// comes next is what has their positions now.
    pub fn acknowledge(&mut self, changes: &Changes) -> Result<(), JournalError> {
        let acknowledged = self.begin().and_then(|()| {
            let Some(at) = &self.at else { return Ok(()) };
            let work = acknowledge(&self.server, at, &self.settings.slot, changes);
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
            within(server, status(&session, slot)).await
        })
    }

    /// Drops the slot, so that the server keeps nothing for it any more. The checkpoint stays: whoever comes again goes on behind it.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn drop_slot(&mut self) -> Result<(), JournalError> {
        self.at = None;
        let (server, slot) = (&self.server, &self.settings.slot);
        self.runtime.block_on(async {
            let session = server.connect_to_write().await?;
            let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active";
            within(server, session.client.execute(drop, &[slot])).await.map(|_| ())
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

fn check_slot(name: &str) -> Result<(), JournalError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.is_empty() && name.len() <= 63 && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(JournalError::new(
        JournalErrorKind::Unsupported,
        "a slot's name has 1 to 63 lower-case letters, digits and _",
    ))
}

/// The publication has its name, and a little more.
fn check_schema(server: &Server) -> Result<(), JournalError> {
    if server.settings.schema.len() <= 56 {
        return Ok(());
    }
    Err(unsupported(
        server,
        "changes are captured of schemas with names of up to 56 bytes",
    ))
}

async fn within<T>(
    server: &Server,
    calls: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, JournalError> {
    super::connect::in_time(server, WHAT, calls).await
}

async fn begin(server: &Server, settings: &CaptureSettings, connection: u64) -> Result<At, JournalError> {
    let session = server.connect_to_write().await?;
    if within(server, schema::applied(server, &session)).await? == 0 {
        return Err(unsupported(server, "there is no store: `annals import` makes one"));
    }
    schema::prepare(server, &session).await?;
    make(server, &session, settings).await?;
    let (position, copied_to) = within(server, checkpoint(&session, settings)).await?;
    Ok(At {
        session,
        connection,
        position,
        copied_to,
    })
}

/// Makes the publication and the slot where they are not there.
async fn make(server: &Server, session: &Session, settings: &CaptureSettings) -> Result<(), JournalError> {
    let client = &session.client;
    let level = client.query_one_scalar("SELECT current_setting('wal_level')", &[]);
    let level: String = within(server, level).await?;
    if level != "logical" {
        return Err(unsupported(
            server,
            "the server must run with wal_level = logical to tell of changes",
        ));
    }
    let publish = format!(
        "CREATE PUBLICATION {} FOR TABLE events WITH (publish = 'insert', publish_via_partition_root = true)",
        publication(server)
    );
    match client.batch_execute(&publish).await {
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => {}
        made => made.map_err(|error| fault(server, WHAT, &error))?,
    }
    // Noted before: whoever ends between making the slot and noting it must not take for read what came before the slot.
    let note = "UPDATE checkpoints SET copied_to = NULL \
                WHERE name = $1 AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)";
    within(server, client.execute(note, &[&settings.slot])).await?;
    let make = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
    match client.execute(make, &[&settings.slot]).await {
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => Ok(()),
        created => created.map(|_| ()).map_err(|error| fault(server, WHAT, &error)),
    }
}

/// One for the schema: two stores in a database have two.
fn publication(server: &Server) -> String {
    quoted(&format!("{}_events", server.settings.schema))
}

/// The position behind which the reader goes on, and the one up to which it reads the table: what was written after a slot was made
/// comes from the slot.
async fn checkpoint(session: &Session, settings: &CaptureSettings) -> Result<(u64, u64), tokio_postgres::Error> {
    let note = "INSERT INTO checkpoints (name, position, copied_to) \
                SELECT $1, CASE WHEN $2 THEN 0 ELSE position END, position FROM head \
                ON CONFLICT (name) DO UPDATE SET copied_to = coalesce(checkpoints.copied_to, excluded.copied_to) \
                RETURNING position, copied_to";
    let row = session
        .client
        .query_one(note, &[&settings.slot, &settings.from_the_first])
        .await?;
    let number = |column: usize| row.try_get::<_, i64>(column).map(i64::cast_unsigned);
    Ok((number(0)?, number(1)?))
}

/// What was found.
enum Read {
    Changes(Changes),
    Nothing,
    NoSlot,
}

async fn read(server: &Server, slot: &str, at: &mut At) -> Result<Read, JournalError> {
    while at.position < at.copied_to {
        let batch = read_table(server, at).await?;
        // Where all are gone there is nothing to tell of.
        if !batch.is_empty() {
            return Ok(Read::Changes(Changes {
                batch,
                lsn: None,
                connection: at.connection,
            }));
        }
    }
    read_log(server, slot, at).await
}

/// Events that were there before the slot: the next of them.
async fn read_table(server: &Server, at: &mut At) -> Result<Batch, JournalError> {
    let last = at.copied_to.min(at.position + CHANGES);
    let mut taken = Taken(Batch::new());
    let part = Span::Next {
        after: at.position,
        last,
    };
    recover::recover(server, &at.session, part, &mut taken).await?;
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

/// Whole transactions of the log, which stay there until they are acknowledged.
async fn read_log(server: &Server, slot: &str, at: &mut At) -> Result<Read, JournalError> {
    let peek = "SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, $2, 'proto_version', '1', 'binary', 'true', \
                'publication_names', $3)";
    let changes = i32::try_from(CHANGES).unwrap_or(i32::MAX);
    let publication = publication(server);
    let parameters: [&(dyn ToSql + Sync); 3] = [&slot, &changes, &publication];
    let peeked = at.session.client.query(peek, &parameters);
    let rows = match tokio::time::timeout(server.patience(), peeked).await {
        Ok(Err(error)) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => return Ok(Read::NoSlot),
        Ok(rows) => rows.map_err(|error| fault(server, WHAT, &error))?,
        Err(_) => return Err(super::errors::timeout(server, WHAT, server.patience())),
    };
    let mut taking = Taking::new(server, at.position);
    for row in &rows {
        let message: &[u8] = row.try_get(0).map_err(|error| fault(server, WHAT, &error))?;
        taking.take(message)?;
    }
    at.position = taking.position;
    match taking.end {
        None => Ok(Read::Nothing),
        Some(end) if taking.batch.is_empty() => {
            // Nothing of events, or nothing new: the slot goes on by itself.
            within(server, advance(&at.session, slot, end)).await?;
            Ok(Read::Nothing)
        }
        end => Ok(Read::Changes(Changes {
            batch: taking.batch,
            lsn: end,
            connection: at.connection,
        })),
    }
}

/// Messages being read.
struct Taking<'a> {
    server: &'a Server,
    decoder: Decoder,
    reader: Reader,
    batch: Batch,
    position: u64,
    end: Option<Lsn>,
}

impl<'a> Taking<'a> {
    fn new(server: &'a Server, position: u64) -> Self {
        Self {
            server,
            decoder: Decoder::default(),
            reader: Reader::default(),
            batch: Batch::new(),
            position,
            end: None,
        }
    }

    fn take(&mut self, message: &[u8]) -> Result<(), JournalError> {
        let message = self.decoder.decode(message);
        match message.map_err(|error| self.corrupt(&error.to_string()))? {
            Message::Insert(row) => self.insert(&row)?,
            Message::Commit { end } => self.end = Some(Lsn(end)),
            Message::Other => {}
        }
        Ok(())
    }

    fn insert(&mut self, row: &Row<'_>) -> Result<(), JournalError> {
        let position = row[0].and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let position = position.ok_or_else(|| self.corrupt("a row has no position"))?;
        // Those before came before: from the table, or before a connection broke.
        if position > self.position {
            let read = self.reader.read(row, position, &mut self.batch);
            read.map_err(|error| self.corrupt(&format!("position {position}: {error}")))?;
            self.position = position;
        }
        Ok(())
    }

    fn corrupt(&self, what: &str) -> JournalError {
        JournalError::corrupt(format!(
            "the changes of the table events, {}: {what}",
            self.server.place()
        ))
    }
}

/// Moves the checkpoint behind events that are there, and the slot to where they came from.
async fn acknowledge(server: &Server, at: &At, slot: &str, changes: &Changes) -> Result<(), JournalError> {
    let session = &at.session;
    let Some(last) = changes.batch.events().last() else {
        return Ok(());
    };
    // A server that took over since may have come to other places in its log, and have had other events where rows are gone.
    let is_same = changes.connection == at.connection;
    let lsn = changes.lsn.filter(|_| is_same);
    // The event is there, or it is known to be gone.
    let note = "UPDATE checkpoints SET position = greatest(checkpoints.position, $2), lsn = coalesce($3, lsn), updated_at = now() \
                FROM (SELECT) AS one LEFT JOIN events ON events.position = $2 WHERE name = $1 \
                AND (event_id = $4 AND timestamptz_send(recorded_at) = $5 OR $7 AND event_id IS NULL AND EXISTS \
                (SELECT FROM gaps WHERE part > $2 - $6 AND part <= $2 AND $2 BETWEEN first_position AND last_position))";
    let (position, mark) = (last.position().0.cast_signed(), Mark::of(last));
    let place = lsn.map(|lsn| PgLsn::from(lsn.0));
    let part = PART_POSITIONS.cast_signed();
    let parameters: [&(dyn ToSql + Sync); 7] = [&slot, &position, &place, &mark.id, &mark.recorded, &part, &is_same];
    if within(server, session.client.execute(note, &parameters)).await? == 0 {
        // Where nothing is lost, rows have left: what was read comes again.
        return check_lost(server, session, &changes.batch).await;
    }
    match lsn {
        Some(lsn) => within(server, advance(session, slot, lsn)).await,
        None => Ok(()),
    }
}

/// # Errors
///
/// Failed when events are not there any more, and not gone either: with the first of them.
async fn check_lost(server: &Server, session: &Session, batch: &Batch) -> Result<(), JournalError> {
    let ask = "SELECT min(taken.position) FROM unnest($1::bigint[], $2::uuid[], $3::bytea[]) AS taken (position, id, recorded) \
               LEFT JOIN events ON events.position = taken.position \
               WHERE (event_id = id AND timestamptz_send(recorded_at) = recorded) IS NOT TRUE AND (event_id IS NOT NULL OR NOT EXISTS \
               (SELECT FROM gaps WHERE part > taken.position - $4 AND part <= taken.position \
                AND taken.position BETWEEN first_position AND last_position))";
    let positions: Vec<_> = batch.events().map(|event| event.position().0.cast_signed()).collect();
    let (ids, times): (Vec<_>, Vec<_>) = batch
        .events()
        .map(Mark::of)
        .map(|mark| (mark.id, mark.recorded))
        .unzip();
    let part = PART_POSITIONS.cast_signed();
    let parameters: [&(dyn ToSql + Sync); 4] = [&positions, &ids, &times, &part];
    let first: Option<i64> = within(server, session.client.query_one_scalar(ask, &parameters)).await?;
    first.map_or(Ok(()), |first| {
        Err(JournalError::failed(format!(
            "the server has lost events that were read from it, from position {first} on, or it was set back: {}",
            server.place()
        )))
    })
}

/// Lets the server forget its log up to a place. A slot that was dropped meanwhile is none of its business.
async fn advance(session: &Session, slot: &str, lsn: Lsn) -> Result<(), tokio_postgres::Error> {
    let advance = "SELECT pg_replication_slot_advance(slot_name, $2) FROM pg_replication_slots \
                   WHERE slot_name = $1 AND confirmed_flush_lsn < $2";
    let place = PgLsn::from(lsn.0);
    session.client.execute(advance, &[&slot, &place]).await.map(|_| ())
}

async fn status(session: &Session, slot: &str) -> Result<SlotStatus, tokio_postgres::Error> {
    let ask = "SELECT coalesce((SELECT position FROM checkpoints WHERE name = $1), 0), \
               pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, coalesce(wal_status = 'lost', false) \
               FROM (SELECT) AS one LEFT JOIN pg_replication_slots ON slot_name = $1";
    let row = session.client.query_one(ask, &[&slot]).await?;
    let lag: Option<i64> = row.try_get(1)?;
    Ok(SlotStatus {
        position: Position(row.try_get::<_, i64>(0)?.cast_unsigned()),
        lag_bytes: lag.and_then(|bytes| u64::try_from(bytes).ok()),
        is_lost: row.try_get(2)?,
    })
}
