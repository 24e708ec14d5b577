//! The lease: it admits one writer at a time, and passes to the next writer when its holder is gone.
//!
//! Safety depends on the head only: every transaction of a writer starts with an update of that row that only the holder of the lease can
//! make. The expiry, the heartbeat and the advisory lock only shorten the wait for a writer that is gone.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connect::{Session, in_time};
use super::head::{Head, Lease};
use super::server::Server;
use crate::journal::{JournalError, JournalErrorKind};
use crate::{Clock, IdSource, RandomIds, SystemClock};

/// The poll interval while waiting for the lease.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a holder may take to reconnect after the server has started. It retries every second.
const COME_BACK_WITHIN: Duration = Duration::from_secs(3);

const HAS_JUST_STARTED: &str = "SELECT clock_timestamp() < pg_postmaster_start_time() + make_interval(secs => $1)";
const TAKE: &str = "UPDATE head SET epoch = $1, lease = $2, holder = $3, held_since = clock_timestamp(), \
                    lease_expires = clock_timestamp() + make_interval(secs => $4)";
const RENEW: &str = "UPDATE head SET lease_expires = clock_timestamp() + make_interval(secs => $2::float8) \
                     WHERE lease = $1 AND lease_expires < clock_timestamp() + make_interval(secs => 0.7 * $2::float8)";
/// A lease remains while its store has not finished partitioning the table. The first append after its expiry removes the bound of the table.
const RELEASE: &str = "UPDATE head SET lease = NULL, holder = NULL, held_since = NULL, lease_expires = NULL WHERE lease = $1 \
                       AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint \
                       WHERE conrelid = 'events'::regclass AND conname = 'events_recorded_before')";
/// Appends queue for the head by this lock, and rely on no lease being taken meanwhile.
const QUEUE: &str = "BEGIN; SELECT pg_advisory_xact_lock('pg_class'::regclass::oid::int, 'head'::regclass::oid::int)";

/// Takes the lease, waiting for at most `lease_wait`.
///
/// # Errors
///
/// Locked while another writer holds it; the message names the holder.
pub(super) async fn take(server: &Server, session: &Session) -> Result<Lease, JournalError> {
    let deadline = Instant::now() + server.settings.lease_wait;
    loop {
        let what = "the store cannot be taken";
        let held = match in_time(server, what, try_take(server, session)).await? {
            Ok(lease) => return Ok(lease),
            Err(held) => held,
        };
        if Instant::now() + LOOK_AGAIN > deadline {
            return Err(locked(server, &held));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn locked(server: &Server, head: &Head) -> JournalError {
    let message = format!(
        "the store is open in another process: the lease is held by {}, and expires in {} s unless it is renewed; close the store there, or wait \
         with lease_wait: {}",
        head.holder(),
        head.seconds_left,
        server.place()
    );
    JournalError::new(JournalErrorKind::Locked, message)
}

/// Takes the lease if it is free; otherwise returns the head with the holder.
async fn try_take(server: &Server, session: &Session) -> Result<Result<Lease, Head>, Error> {
    let client = &session.client;
    client.batch_execute(QUEUE).await?;
    let head = Head::lock(client).await?;
    let is_held = head.lease.is_some() && head.seconds_left > 0;
    if is_held && !is_gone(session, &head).await? {
        client.batch_execute("ROLLBACK").await?;
        return Ok(Err(head));
    }
    let lease = Lease {
        store: head.store,
        epoch: head.epoch + 1,
        number: RandomIds.next(SystemClock.now()),
    };
    hold(session, &lease).await?;
    let seconds = server.settings.lease.as_secs_f64();
    client
        .execute(TAKE, &[&lease.epoch, &lease.number, &holder(server), &seconds])
        .await?;
    client.batch_execute("COMMIT").await?;
    Ok(Ok(lease))
}

/// Whether the sessions of the holder have ended, which frees the advisory lock. A server start ends all sessions, so a holder has time to
/// reconnect after it.
async fn is_gone(session: &Session, head: &Head) -> Result<bool, Error> {
    let key = key(head.store, head.epoch);
    let client = &session.client;
    let grace = COME_BACK_WITHIN.as_secs_f64();
    if client.query_one_scalar(HAS_JUST_STARTED, &[&grace]).await? {
        return Ok(false);
    }
    let was_free = client
        .query_one_scalar("SELECT pg_try_advisory_lock($1)", &[&key])
        .await?;
    if was_free {
        client.execute("SELECT pg_advisory_unlock($1)", &[&key]).await?;
    }
    Ok(was_free)
}

/// Holds the advisory lock of the lease while the session lives. Both sessions of a writer hold it, so that one may end.
pub(super) async fn hold(session: &Session, lease: &Lease) -> Result<(), Error> {
    let key = key(lease.store, lease.epoch);
    // Waits only for a process that tests the lock, which releases it at once.
    session
        .client
        .execute("SELECT pg_advisory_lock_shared($1)", &[&key])
        .await
        .map(drop)
}

/// The number of the advisory lock. All programs of a database share these numbers.
fn key(store: Uuid, epoch: i64) -> i64 {
    let (high, low) = store.as_u64_pair();
    (high ^ low.rotate_left(32)).cast_signed().wrapping_add(epoch)
}

fn holder(server: &Server) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.as_deref().map_or("an unknown host", str::trim);
    format!("{} (process {} on {host})", server.application(), std::process::id())
}

/// Releases the lease.
pub(super) async fn release(session: &Session, lease: &Lease) -> Result<(), Error> {
    session.client.execute(RELEASE, &[&lease.number]).await.map(drop)
}

/// Renews a lease on a separate connection until it is dropped.
#[derive(Debug)]
pub(super) struct Heartbeat(AbortHandle);

impl Heartbeat {
    /// Starts to renew the lease over `session`, which took it.
    pub(super) fn start(server: std::sync::Arc<Server>, lease: Lease, session: Session) -> Self {
        let beats = async move {
            let mut session = Some(session);
            loop {
                pause(&server, session.as_mut()).await;
                session = beat(&server, &lease, session).await;
            }
        };
        Self(tokio::spawn(beats).abort_handle())
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for a third of the lease, or until the connection ends; without a connection, for at most a second.
async fn pause(server: &Server, session: Option<&mut Session>) {
    let third = server.settings.lease / 3;
    match session.filter(|session| !session.is_closed()) {
        // The next beat detects that the connection ended.
        Some(session) => drop(tokio::time::timeout(third, session.closed()).await),
        None => tokio::time::sleep(third.min(Duration::from_secs(1))).await,
    }
}

/// Renews the lease, over a new connection if the last one was lost. The next write detects a lost lease.
async fn beat(server: &Server, lease: &Lease, session: Option<Session>) -> Option<Session> {
    let session = match session.filter(|session| !session.is_closed()) {
        None => reconnect(server, lease).await?,
        Some(session) => session,
    };
    let seconds = server.settings.lease.as_secs_f64();
    let parameters: [&(dyn ToSql + Sync); 2] = [&lease.number, &seconds];
    let renew = session.client.execute(RENEW, &parameters);
    let answered = tokio::time::timeout(server.patience(), renew).await;
    // A server that became read-only may have been replaced by a standby: reconnect.
    matches!(answered, Ok(Ok(_))).then_some(session)
}

async fn reconnect(server: &Server, lease: &Lease) -> Option<Session> {
    let session = server.connect_to_write().await.ok()?;
    in_time(server, "", hold(&session, lease)).await.ok()?;
    Some(session)
}
