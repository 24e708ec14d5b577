//! Following the tables: reads the events that other programs commit, in ascending order of positions.
//!
//! A notification, or an append by the follower, only triggers an earlier poll: correctness does not depend on it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Notify;
use uuid::Uuid;

use super::append::PostgresRemote;
use super::calls::Calls;
use super::connect::{Session, connect_checked, in_time};
use super::recover::{self, Span};
use super::row::Mark;
use super::runtime::Runtime;
use super::server::Server;
use super::{Address, PostgresSettings, schema};
use crate::Position;
use crate::journal::{Batch, Feed, Followed, JournalError, JournalErrorKind, Recover, Recovered};

/// The poll interval. A poll reads one row by its key.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The poll interval while a replica has not received the events that were appended from here.
const LOOK_SOON: Duration = Duration::from_millis(10);

const WHAT: &str = "new events cannot be read";
/// The last position, and the event at the position of the follower. Tables of an older version have no column `unsynced`.
const TOP: &str = "SELECT store, head.position, pg_is_in_recovery(), event_id, timestamptz_send(recorded_at), \
                   coalesce((to_jsonb(head) ->> 'unsynced')::bigint >= head.position, false) \
                   FROM head LEFT JOIN events ON events.position = $1";
/// Its commit waits for the flush of all commits before it.
const SYNC: &str = "SELECT pg_logical_emit_message(true, 'annals', '')";

/// The log of the store in the database at `url`, to be [followed](crate::Builder::follow_log). Creates missing tables; a lease is not needed.
///
/// [`Store::follow`](crate::Store::follow) does this and opens the store.
///
/// ```no_run
/// use annals::Store;
/// use annals::journal::postgres::{PostgresSettings, follow};
///
/// let followed = follow("postgres://orders@localhost/orders", PostgresSettings::default())?;
/// let store = Store::builder().follow_log(followed)?;
/// # Ok::<(), annals::Error>(())
/// ```
///
/// # Errors
///
/// As [`PostgresJournal::open_with`](super::PostgresJournal::open_with), without the lease.
pub fn follow(url: &str, settings: PostgresSettings) -> Result<Followed, JournalError> {
    follow_at(&Address::parse(url)?, settings)
}

/// Like [`follow`], with a parsed address.
pub(crate) fn follow_at(address: &Address, settings: PostgresSettings) -> Result<Followed, JournalError> {
    let server = Arc::new(Server::new(address, settings)?);
    let runtime = Arc::new(Runtime::new()?);
    let calls = Arc::new(Calls::default());
    runtime.block_on(prepare(&server))?;
    let remote = PostgresRemote::new(Arc::clone(&server), Arc::clone(&runtime), Arc::clone(&calls));
    let feed = PostgresFeed {
        server,
        calls,
        session: None,
        known: None,
        position: 0,
        runtime,
    };
    Ok(Followed::new(feed, remote))
}

/// Creates or migrates the tables. A role without that right follows readable tables of an older version.
async fn prepare(server: &Server) -> Result<(), JournalError> {
    let session = connect_checked(server).await?;
    let applied = in_time(server, WHAT, schema::applied(server, &session)).await?;
    if schema::is_current(applied) {
        return schema::prepare(server, &session).await;
    }
    match make(server, &session).await {
        Err(error)
            if !schema::is_readable(applied)
                || error.kind() == JournalErrorKind::Retry
                || schema::is_newer(applied) =>
        {
            Err(error)
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Migrates the tables on the primary, and waits until the server of `session` has them: a replica receives them later.
async fn make(server: &Server, session: &Session) -> Result<(), JournalError> {
    schema::prepare(server, &server.connect_to_write().await?).await?;
    let copied = async {
        while !schema::is_current(schema::applied(server, session).await?) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    in_time(server, WHAT, copied).await
}

/// Reads the tables as they grow.
#[derive(Debug)]
struct PostgresFeed {
    server: Arc<Server>,
    calls: Arc<Calls>,
    /// The connection; `None` after it broke.
    session: Option<Session>,
    /// What the last poll found; `None` before the first.
    known: Option<Known>,
    /// The last position of the log at the last poll.
    position: u64,
    runtime: Arc<Runtime>,
}

/// The state that the server must still have at the next poll.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    store: Uuid,
    /// The event at the last position read, unless it was gone.
    last: Option<Mark>,
}

/// The end of the log.
#[derive(Clone, Debug)]
struct Top {
    store: Uuid,
    position: u64,
    /// Whether the server is a replica, which may lag behind its primary.
    is_replica: bool,
    /// Whether the last append did not wait for its flush.
    is_unsynced: bool,
    /// The event at the requested position, if it exists.
    mark: Option<Mark>,
}

impl Top {
    async fn read(session: &Session, after: u64) -> Result<Self, tokio_postgres::Error> {
        let row = session
            .client
            .query_one(&session.prepared(TOP).await?, &[&after.cast_signed()])
            .await?;
        let position: i64 = row.try_get(1)?;
        let (id, recorded) = (row.try_get(3)?, row.try_get(4)?);
        Ok(Self {
            store: row.try_get(0)?,
            position: u64::try_from(position).unwrap_or_default(),
            is_replica: row.try_get(2)?,
            is_unsynced: row.try_get(5)?,
            mark: Option::zip(id, recorded).map(|(id, recorded)| Mark { id, recorded }),
        })
    }
}

impl Feed for PostgresFeed {
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let session = self.session.take().filter(|session| !session.is_closed());
        let known = self.known.clone();
        let known = (known.as_ref(), after.0);
        let read = pin!(read_on(&self.server, &self.calls.heard, session, known, into));
        let stop = pin!(self.calls.stop.notified());
        let read = match self.runtime.block_on(select(read, stop)) {
            Either::Left((read, _)) => read?,
            Either::Right(_) => return Err(JournalError::new(JournalErrorKind::Retry, "the store was closed")),
        };
        self.session = Some(read.session);
        self.calls.store.get_or_init(|| read.known.store);
        self.calls.read.fetch_max(read.position, Ordering::SeqCst);
        self.known = Some(read.known);
        self.position = read.position;
        Ok(Recovered {
            bytes: read.bytes,
            torn_tail_bytes: 0,
        })
    }

    fn wait(&mut self) {
        let is_behind = self.calls.appended.load(Ordering::SeqCst) > self.position;
        let pause = if is_behind { LOOK_SOON } else { LOOK_AGAIN };
        let heard = async { tokio::time::timeout(pause, self.calls.heard.notified()).await };
        // A timeout triggers a poll too.
        drop(self.runtime.block_on(heard));
    }
}

/// The result of a poll.
struct Read {
    /// The connection for the next poll.
    session: Session,
    known: Known,
    position: u64,
    bytes: u64,
}

/// Reads the events after position `after`, over a new connection if the last one was lost.
async fn read_on(
    server: &Server,
    heard: &Arc<Notify>,
    session: Option<Session>,
    (known, after): (Option<&Known>, u64),
    into: &mut dyn Recover,
) -> Result<Read, JournalError> {
    let session = match session {
        Some(session) => session,
        None => listen(server, heard).await?,
    };
    let top = in_time(server, WHAT, Top::read(&session, after)).await?;
    check(server, &top, known, after)?;
    let mut noting = Noting {
        into,
        last: known.and_then(|known| known.last.clone()),
    };
    let mut bytes = 0;
    if top.position > after {
        if top.is_unsynced && !top.is_replica {
            // What is shown must survive a crash of the server. A replica receives only what its primary has flushed.
            in_time(server, WHAT, session.client.batch_execute(SYNC)).await?;
        }
        let last = top.position;
        bytes = recover::recover(server, &session, (top.store, Span::Next { after, last }), &mut noting).await?;
    } else {
        noting.progress(top.position, top.position);
    }
    Ok(Read {
        session,
        known: Known {
            store: top.store,
            last: noting.last,
        },
        position: top.position,
        bytes,
    })
}

/// Records the last event that is passed on.
struct Noting<'a> {
    into: &'a mut dyn Recover,
    last: Option<Mark>,
}

impl Recover for Noting<'_> {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        let last = batch
            .events()
            .last()
            .filter(|event| event.position() == batch.last_position());
        self.last = last.map(Mark::of);
        self.into.batch(batch)
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.into.progress(done, total);
    }
}

/// A connection that listens for notifications of appends. A replica does not support LISTEN.
async fn listen(server: &Server, heard: &Arc<Notify>) -> Result<Session, JournalError> {
    let session = server.connect_to_hear(heard).await?;
    let listening = async {
        let top = Top::read(&session, 0).await?;
        if !top.is_replica {
            let listen = format!("LISTEN \"annals-{}\"", top.store);
            session.client.batch_execute(&listen).await?;
        }
        Ok(())
    };
    in_time(server, WHAT, listening).await?;
    Ok(session)
}

/// # Errors
///
/// Failed when the server does not have the events that were read before.
fn check(server: &Server, top: &Top, known: Option<&Known>, after: u64) -> Result<(), JournalError> {
    let failed = |message: String| JournalError::failed(format!("{message}: {}", server.place()));
    let Some(known) = known else { return Ok(()) };
    recover::check_store(server, known.store, top.store)?;
    // The row of an event that is gone may have been deleted.
    let differs = known
        .last
        .as_ref()
        .zip(top.mark.as_ref())
        .is_some_and(|(read, there)| read != there);
    if top.position >= after && differs {
        return Err(failed(format!(
            "the event at position {after} differs from the one that was read: the server has lost committed events, and other events have \
             their positions; open the store again"
        )));
    }
    if top.position < after && !top.is_replica {
        return Err(failed(format!(
            "the table was set back to position {}, and this follower has read up to {after}: open the store again",
            top.position
        )));
    }
    Ok(())
}
