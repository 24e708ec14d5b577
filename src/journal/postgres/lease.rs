//! The lease: one writer at a time, and what becomes of it when its holder is gone.
//!
//! What is safe rests on the head alone: a writer's every transaction begins with a change of that row that only its lease can make. The
//! times, the heartbeat and the advisory lock are there so that a writer that is gone is not waited for longer than needed.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connect::{Server, Session, in_time};
use super::head::{Head, Lease};
use crate::journal::{JournalError, JournalErrorKind};
use crate::{Clock, IdSource, RandomIds, SystemClock};

/// How often it is looked whether a lease is free by now.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a holder has to come back after the server has started: it tries every second.
const COME_BACK_WITHIN: Duration = Duration::from_secs(3);

const HAS_JUST_STARTED: &str = "SELECT clock_timestamp() < pg_postmaster_start_time() + make_interval(secs => $1)";
const TAKE: &str = "UPDATE head SET epoch = $1, lease = $2, holder = $3, held_since = clock_timestamp(), \
                    lease_expires = clock_timestamp() + make_interval(secs => $4)";
const RENEW: &str = "UPDATE head SET lease_expires = clock_timestamp() + make_interval(secs => $2::float8) \
                     WHERE lease = $1 AND lease_expires < clock_timestamp() + make_interval(secs => 0.7 * $2::float8)";
const RELEASE: &str =
    "UPDATE head SET lease = NULL, holder = NULL, held_since = NULL, lease_expires = NULL WHERE lease = $1";

/// Takes the lease, waiting for it as long as the settings say.
///
/// # Errors
///
/// Locked while another has it, with who that is.
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
        "the store is open elsewhere, held by {}, for {} s more at most if that is gone; close it there, or wait with lease_wait: {}",
        head.holder(),
        head.seconds_left,
        server.place()
    );
    JournalError::new(JournalErrorKind::Locked, message)
}

/// Takes the lease if it is free; answers who has it otherwise.
async fn try_take(server: &Server, session: &Session) -> Result<Result<Lease, Head>, Error> {
    let client = &session.client;
    client.batch_execute("BEGIN").await?;
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

/// Whether the sessions of whoever holds the lease have ended: the advisory lock is free. A server that has just started has ended all
/// sessions, and a holder is given time to come back.
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

/// Shows that the holder of a lease is there, as long as the session is. Both of its sessions do, so that one may end.
pub(super) async fn hold(session: &Session, lease: &Lease) -> Result<(), Error> {
    let key = key(lease.store, lease.epoch);
    // Whoever looks whether it is free lets it go at once.
    session
        .client
        .execute("SELECT pg_advisory_lock_shared($1)", &[&key])
        .await
        .map(drop)
}

/// Advisory locks have numbers, and are shared by all that is in a database.
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

/// Gives the lease back.
pub(super) async fn release(session: &Session, lease: &Lease) -> Result<(), Error> {
    session.client.execute(RELEASE, &[&lease.number]).await.map(drop)
}

/// Renews a lease while nothing is written, on a connection of its own, until it is dropped.
#[derive(Debug)]
pub(super) struct Heartbeat(AbortHandle);

impl Heartbeat {
    /// `session` is the one that took the lease.
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

/// A third of a lease, or until the connection ends; without one, a second at most.
async fn pause(server: &Server, session: Option<&mut Session>) {
    let third = server.settings.lease / 3;
    match session.filter(|session| !session.is_closed()) {
        // That it ended is found out by the next beat.
        Some(session) => drop(tokio::time::timeout(third, session.closed()).await),
        None => tokio::time::sleep(third.min(Duration::from_secs(1))).await,
    }
}

/// Renews the lease, over a new connection if the last was lost. That it cannot, or may not, is found by the next write.
async fn beat(server: &Server, lease: &Lease, session: Option<Session>) -> Option<Session> {
    let session = match session.filter(|session| !session.is_closed()) {
        None => connect_anew(server, lease).await?,
        Some(session) => session,
    };
    let seconds = server.settings.lease.as_secs_f64();
    let parameters: [&(dyn ToSql + Sync); 2] = [&lease.number, &seconds];
    let renew = session.client.execute(RENEW, &parameters);
    let answered = tokio::time::timeout(server.patience(), renew).await;
    // A server that answers that it cannot be written may have been taken over from.
    matches!(answered, Ok(Ok(_))).then_some(session)
}

async fn connect_anew(server: &Server, lease: &Lease) -> Option<Session> {
    let session = server.connect_to_write().await.ok()?;
    in_time(server, "", hold(&session, lease)).await.ok()?;
    Some(session)
}
