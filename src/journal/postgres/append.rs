//! Appends through the function `append_events`, which needs no lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::calls::Calls;
use super::connect::{Session, in_time};
use super::errors::{is_read_only, is_rolled_back, refusal, refusal_of, refused, timeout};
use super::gather::{Gathering, Joined, Lead, Turn, Waiting};
use super::recover::check_store;
use super::row::Content;
use super::runtime::Runtime;
use super::server::Server;
use crate::journal::{JournalError, JournalErrorKind, Remote, RemoteAppend};
use crate::{
    Appended, Clock as _, Durability, Expected, IdSource as _, NewEvent, Position, RandomIds, Result, SystemClock,
    Version,
};

/// Calls the function only if the schema contains the store that is followed, and the server has every event that was read; otherwise returns
/// no row.
const CALL: &str = "SELECT appended.* FROM \
                    (SELECT store FROM head WHERE (store = $5 OR $5::uuid IS NULL) AND position >= $6 OFFSET 0) AS own, \
                    LATERAL append_events(CASE WHEN own.store IS NOT NULL THEN $1 END, $2, $3, $4::text::jsonb) AS appended";
/// The same for several appends.
const CALL_MANY: &str = "SELECT made.* FROM \
                         (SELECT store FROM head WHERE (store = $2 OR $2::uuid IS NULL) AND position >= $3 OFFSET 0) AS own, \
                         LATERAL append_many(CASE WHEN own.store IS NOT NULL THEN $1::text::jsonb END) AS made ORDER BY place";
/// Notifies followers after the commit, because commits with notifications are serialized. Nothing is lost with a notification, so it does not wait
/// for a flush.
const ANNOUNCE: &str = "SELECT set_config('synchronous_commit', 'off', true), notify_followers()";
/// Appends within this time share one notification.
const GATHER: Duration = Duration::from_millis(5);
/// The most that closing a store waits for its last notification. Followers poll in any case.
const LAST_WITHIN: Duration = Duration::from_secs(1);
const STORE: &str = "SELECT store FROM head";
const WHAT: &str = "the events cannot be appended";
/// The same when the server has rolled the append back.
const NOTHING: &str = "the events cannot be appended, and nothing was written";
/// The most attempts for an append that the server rolls back with a transient error.
const SENDS_MAX: u32 = 10;
/// The first back-off; it doubles with each attempt, with up to half of it removed as jitter.
const PAUSE_FIRST: Duration = Duration::from_millis(4);
const PAUSE_LONGEST: Duration = Duration::from_millis(250);

/// Appends over a connection that all threads share.
#[derive(Debug)]
pub(super) struct PostgresRemote {
    server: Arc<Server>,
    runtime: Arc<Runtime>,
    calls: Arc<Calls>,
    session: Mutex<Option<Arc<Session>>>,
    /// Whether a notification is scheduled.
    is_announcing: Arc<AtomicBool>,
    /// The last position that followers were notified of.
    announced: Arc<AtomicU64>,
    gathering: Gathering,
}

impl PostgresRemote {
    pub(super) fn new(server: Arc<Server>, runtime: Arc<Runtime>, calls: Arc<Calls>) -> Self {
        Self {
            server,
            runtime,
            calls,
            session: Mutex::new(None),
            is_announcing: Arc::default(),
            announced: Arc::default(),
            gathering: Gathering::default(),
        }
    }

    /// The connection, or a new one if it was lost.
    async fn session(&self) -> Result<Arc<Session>, JournalError> {
        let known = self.session.lock().clone();
        if let Some(session) = known.filter(|session| !session.is_closed()) {
            return Ok(session);
        }
        let session = Arc::new(self.server.connect_to_write().await?);
        *self.session.lock() = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Calls the function. Retries an append that the server rolled back with a transient error, and, once and over a new connection, an append
    /// whose response was lost: the ids of its events make it idempotent.
    async fn call(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        let events = json(append);
        let deadline = Instant::now() + self.server.patience();
        let (mut sends, mut is_in_doubt) = (0, false);
        loop {
            sends += 1;
            let error = match self.send(append, &events).await {
                Sent::Answered(answer) => return *answer,
                Sent::Lost(error) if is_in_doubt => error,
                Sent::Lost(_) => {
                    is_in_doubt = true;
                    continue;
                }
                Sent::RolledBack(error) if error.kind() != JournalErrorKind::Retry => error,
                Sent::RolledBack(_) if sends < SENDS_MAX && Instant::now() < deadline => {
                    tokio::time::sleep(pause(sends)).await;
                    continue;
                }
                Sent::RolledBack(error) | Sent::Unsent(error) => error,
            };
            return Err(if is_in_doubt {
                in_doubt(error).into()
            } else {
                error.into()
            });
        }
    }

    /// Sends the append at once, or with others when the statement under way has ended.
    async fn send(&self, append: &RemoteAppend<'_>, events: &str) -> Sent {
        let (number, mut told) = match self.gathering.join(|| member(append, events)) {
            Joined::Leads(lead) => return self.call_with_others(append, events, lead).await,
            Joined::Waits(number, told) => (number, told),
            Joined::Alone => return self.call_once(append, events).await,
        };
        let turn = match tokio::time::timeout(self.server.patience(), &mut told).await {
            Ok(turn) => turn,
            Err(_) if self.gathering.leave(number) => {
                return Sent::Unsent(timeout(&self.server, NOTHING, self.server.patience()));
            }
            // The statement that has it is bounded too.
            Err(_) => told.await,
        };
        match turn {
            Ok(Turn::Lead) => self.call_with_others(append, events, self.gathering.led()).await,
            Ok(Turn::Sent(row)) => self.answered_by(append, &row),
            Ok(Turn::Alone) => self.call_once(append, events).await,
            Ok(Turn::Lost(message)) => Sent::Lost(JournalError::new(JournalErrorKind::Retry, message)),
            Err(_) => Sent::Lost(JournalError::new(JournalErrorKind::Retry, WHAT)),
        }
    }

    /// Sends the append with those that wait.
    async fn call_with_others(&self, append: &RemoteAppend<'_>, events: &str, lead: Lead<'_>) -> Sent {
        let others = lead.take();
        if others.is_empty() {
            return self.call_once(append, events).await;
        }
        match self.call_many(append, events, &others).await {
            Called::Rows(rows) => self.hand_out(append, others, rows),
            // The error may be that of another, so each is sent by itself.
            Called::RolledBack => {
                for other in others {
                    other.tell(Turn::Alone);
                }
                self.call_once(append, events).await
            }
            Called::Lost(error) => {
                let message = error.to_string();
                for other in others {
                    other.tell(Turn::Lost(message.clone()));
                }
                Sent::Lost(error)
            }
        }
    }

    async fn call_many(&self, append: &RemoteAppend<'_>, events: &str, others: &[Waiting]) -> Called {
        let Ok(session) = self.session().await else {
            return Called::RolledBack;
        };
        let mut appends = format!("[{}", member(append, events));
        for other in others {
            appends.push(',');
            appends.push_str(&other.json);
        }
        appends.push(']');
        let read = self.calls.read.load(Ordering::SeqCst).cast_signed();
        let parameters: [&(dyn ToSql + Sync); 3] = [&appends, &self.calls.store.get(), &read];
        let call = async {
            session
                .client
                .query(&session.prepared(CALL_MANY).await?, &parameters)
                .await
        };
        match tokio::time::timeout(self.server.patience(), call).await {
            Ok(Ok(rows)) if rows.len() == others.len() + 1 => {
                self.announce(session);
                Called::Rows(rows)
            }
            Ok(Ok(_)) => Called::RolledBack,
            Ok(Err(error)) => self.failed_together(&error),
            Err(_) => {
                *self.session.lock() = None;
                Called::Lost(timeout(&self.server, WHAT, self.server.patience()))
            }
        }
    }

    fn failed_together(&self, error: &Error) -> Called {
        let denied = [&SqlState::INSUFFICIENT_PRIVILEGE, &SqlState::UNDEFINED_FUNCTION];
        if error.code().is_some_and(|code| denied.contains(&code)) {
            self.gathering.stop();
        }
        if is_read_only(error) {
            *self.session.lock() = None;
        }
        if is_rolled_back(error) {
            Called::RolledBack
        } else {
            Called::Lost(refused(&self.server, WHAT, error))
        }
    }

    /// Gives each append its row. The first is that of the append that led.
    fn hand_out(&self, append: &RemoteAppend<'_>, others: Vec<Waiting>, rows: Vec<Row>) -> Sent {
        let mut rows = rows.into_iter();
        let own = rows.next();
        for (other, row) in others.into_iter().zip(rows) {
            other.tell(Turn::Sent(row));
        }
        match own {
            Some(row) => self.answered_by(append, &row),
            None => Sent::Lost(JournalError::new(JournalErrorKind::Retry, WHAT)),
        }
    }

    /// The outcome in a row of `append_many`.
    fn answered_by(&self, append: &RemoteAppend<'_>, row: &Row) -> Sent {
        let outcome = match outcome(&self.server, append, row) {
            Ok(outcome) => outcome,
            Err(error) => Err(refused(&self.server, WHAT, &error).into()),
        };
        if let Ok(appended) = &outcome {
            self.calls
                .appended
                .fetch_max(appended.last_position.0, Ordering::SeqCst);
        }
        Sent::Answered(Box::new(outcome))
    }

    async fn call_once(&self, append: &RemoteAppend<'_>, events: &str) -> Sent {
        let session = match self.session().await {
            Ok(session) => session,
            Err(error) => return Sent::Unsent(error),
        };
        let stream = append.stream();
        let (id, kind) = (&*stream.aggregate_id, &*stream.aggregate_type);
        let (expected, store) = (number_of(append.expected()), self.calls.store.get());
        let read = self.calls.read.load(Ordering::SeqCst).cast_signed();
        let parameters: [&(dyn ToSql + Sync); 6] = [&id, &kind, &expected, &events, &store, &read];
        let call = async {
            session
                .client
                .query_opt(&session.prepared(CALL).await?, &parameters)
                .await
        };
        match tokio::time::timeout(self.server.patience(), call).await {
            Ok(Ok(row)) => self.answered(session, append, row.as_ref()).await,
            Ok(Err(error)) => self.failed(append, &error),
            Err(_) => {
                // The call may still complete; later calls use another connection.
                *self.session.lock() = None;
                Sent::Lost(timeout(&self.server, WHAT, self.server.patience()))
            }
        }
    }

    async fn answered(&self, session: Arc<Session>, append: &RemoteAppend<'_>, row: Option<&Row>) -> Sent {
        let Some(row) = row else {
            return Sent::RolledBack(self.not_called(&session).await);
        };
        match appended(row, 0, append.has_own_ids()) {
            Ok(appended) => {
                let last = appended.last_position.0;
                self.calls.appended.fetch_max(last, Ordering::SeqCst);
                // The response to an append that is repeated may have been lost, and with it the notification.
                if last > self.announced.load(Ordering::SeqCst) {
                    self.announce(session);
                }
                Sent::Answered(Box::new(Ok(appended)))
            }
            Err(error) => Sent::Answered(Box::new(Err(refused(&self.server, WHAT, &error).into()))),
        }
    }

    /// Why the function was not called. A replica may show a commit before its primary does, so a log that ends too early is transient.
    async fn not_called(&self, session: &Session) -> JournalError {
        let found = in_time(&self.server, WHAT, session.client.query_one_scalar(STORE, &[])).await;
        let checked = found.and_then(|found| match self.calls.store.get() {
            Some(known) => check_store(&self.server, *known, found),
            None => Ok(()),
        });
        let message = format!(
            "{NOTHING}: the table ends before position {}, which was read from it before: {}",
            self.calls.read.load(Ordering::SeqCst),
            self.server.place()
        );
        checked.map_or_else(|error| error, |()| JournalError::new(JournalErrorKind::Retry, message))
    }

    fn failed(&self, append: &RemoteAppend<'_>, error: &Error) -> Sent {
        if let Some(refusal) = refusal(&self.server, append, error) {
            return Sent::Answered(Box::new(Err(refusal)));
        }
        if is_read_only(error) {
            // The server is no longer the primary: the next connection looks for the new one.
            *self.session.lock() = None;
        }
        if is_rolled_back(error) {
            Sent::RolledBack(refused(&self.server, NOTHING, error))
        } else {
            Sent::Lost(refused(&self.server, WHAT, error))
        }
    }

    /// Schedules a notification of followers.
    fn announce(&self, session: Arc<Session>) {
        if self.is_announcing.swap(true, Ordering::SeqCst) {
            return;
        }
        let is_announcing = Arc::clone(&self.is_announcing);
        let (calls, announced) = (Arc::clone(&self.calls), Arc::clone(&self.announced));
        tokio::spawn(async move {
            tokio::time::sleep(GATHER).await;
            // Later appends schedule the next notification.
            is_announcing.store(false, Ordering::SeqCst);
            notify(&session, &calls, &announced).await;
        });
    }

    /// Notifies followers of the last appends, whose scheduled notification ends with the runtime.
    fn announce_last(&self) {
        if self.calls.appended.load(Ordering::SeqCst) <= self.announced.load(Ordering::SeqCst) {
            return;
        }
        let Some(session) = self.session.lock().clone() else {
            return;
        };
        let last = notify(&session, &self.calls, &self.announced);
        self.runtime
            .block_on(async { drop(tokio::time::timeout(LAST_WITHIN, last).await) });
    }
}

/// Without the right to notify, followers find the events by polling.
async fn notify(session: &Session, calls: &Calls, announced: &AtomicU64) {
    let appended = calls.appended.load(Ordering::SeqCst);
    let told = async { session.client.query(&session.prepared(ANNOUNCE).await?, &[]).await };
    if told.await.is_ok() {
        announced.fetch_max(appended, Ordering::SeqCst);
    }
}

/// The outcome of a call.
enum Sent {
    /// The function returned: it appended or refused.
    Answered(Box<Result<Appended>>),
    /// Nothing was sent.
    Unsent(JournalError),
    /// The server reported that it rolled the append back.
    RolledBack(JournalError),
    /// The response was lost.
    Lost(JournalError),
}

/// The outcome of a call for several appends.
enum Called {
    /// Each has a row.
    Rows(Vec<Row>),
    /// None was written, and some may be.
    RolledBack,
    /// The response was lost.
    Lost(JournalError),
}

/// The back-off after a number of attempts, with jitter, so that conflicting calls do not retry at the same time.
fn pause(sends: u32) -> Duration {
    let longest = PAUSE_FIRST.saturating_mul(1 << sends.min(10)).min(PAUSE_LONGEST);
    let random = RandomIds.next(SystemClock.now()).as_u64_pair().1 % 1024;
    longest / 2 + longest / 2 * u32::try_from(random).unwrap_or_default() / 1024
}

impl Remote for PostgresRemote {
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        self.runtime.block_on(self.call(append))
    }

    fn timeout(&self) -> Duration {
        self.server.patience()
    }

    fn wake(&self) {
        self.calls.heard.notify_one();
    }

    fn stop(&self) {
        self.announce_last();
        self.calls.stop.notify_one();
        self.calls.heard.notify_one();
        *self.session.lock() = None;
    }
}

fn in_doubt(error: JournalError) -> JournalError {
    let message = "whether the events were appended is not known: read the aggregate before you append them again";
    JournalError::new(JournalErrorKind::Retry, message).caused_by(error)
}

/// The expected version as the function encodes it.
fn number_of(expected: Expected) -> Option<i64> {
    match expected {
        Expected::Any => None,
        Expected::NoStream => Some(0),
        Expected::StreamExists => Some(-1),
        Expected::Exactly(Version(0)) => Some(-2),
        // No aggregate has a version of 2^32.
        Expected::Exactly(version) => Some(version.0.min(1 << 32).cast_signed()),
    }
}

/// The outcome in a row of `append_many`, after the column `place`.
fn outcome(server: &Server, append: &RemoteAppend<'_>, row: &Row) -> Result<Result<Appended>, Error> {
    let Some(state) = row.try_get::<_, Option<&str>>(6)? else {
        return appended(row, 1, append.has_own_ids()).map(Ok);
    };
    let message: &str = row.try_get(7)?;
    let detail = row.try_get::<_, Option<&str>>(8)?.unwrap_or_default();
    let refusal = refusal_of(server, append, [state, message, detail]);
    // The function has no other states.
    Ok(Err(refusal.unwrap_or_else(|| {
        JournalError::new(JournalErrorKind::Failed, format!("{WHAT}: {state}: {message}")).into()
    })))
}

/// The acknowledgement in the columns from `first` on.
fn appended(row: &Row, first: usize, has_own_ids: bool) -> Result<Appended, Error> {
    let number = |column| row.try_get::<_, i64>(first + column).map(i64::cast_unsigned);
    let was_there: bool = row.try_get(first + 4)?;
    Ok(Appended {
        first_position: Position(number(0)?),
        last_position: Position(number(1)?),
        first_version: Version(number(2)?),
        last_version: Version(number(3)?),
        durability: Durability::Synced,
        // With generated ids, only an earlier attempt of this call can have appended them.
        repeated: was_there && has_own_ids,
    })
}

/// One of several appends as JSON for the function.
fn member(append: &RemoteAppend<'_>, events: &str) -> String {
    let mut out = String::with_capacity(events.len() + 128);
    out.push_str("{\"aggregateId\":");
    put_text(&mut out, &append.stream().aggregate_id);
    put_field(&mut out, "aggregateType");
    put_text(&mut out, &append.stream().aggregate_type);
    put_field(&mut out, "expectedVersion");
    match number_of(append.expected()) {
        Some(version) => out.push_str(&version.to_string()),
        None => out.push_str("null"),
    }
    put_field(&mut out, "events");
    out.push_str(events);
    out.push('}');
    out
}

/// The events as JSON for the function.
fn json(append: &RemoteAppend<'_>) -> String {
    let mut out = String::from("[");
    for (event, id) in append.events().iter().zip(append.ids()) {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str("{\"eventId\":");
        put_text(&mut out, &id.to_string());
        put_event(&mut out, event);
        out.push('}');
    }
    out.push(']');
    out
}

fn put_event(out: &mut String, event: &NewEvent<'_>) {
    let names = [
        ("eventType", Some(&event.event_type)),
        ("correlationId", event.correlation_id.as_ref()),
        ("causationId", event.causation_id.as_ref()),
        ("userId", event.user_id.as_ref()),
        ("organizationId", event.organization_id.as_ref()),
    ];
    for (field, name) in names {
        if let Some(name) = name {
            put_field(out, field);
            put_text(out, name);
        }
    }
    put_field(out, "eventVersion");
    out.push_str(&event.schema_version.to_string());
    if let Some(timestamp) = event.timestamp {
        put_field(out, "timestampMicros");
        out.push_str(&timestamp.as_micros().to_string());
    }
    put_field(out, "tags");
    for (place, tag) in event.tags.iter().enumerate() {
        out.push(if place == 0 { '[' } else { ',' });
        put_text(out, tag);
    }
    out.push_str(if event.tags.is_empty() { "[]" } else { "]" });
    put_content(
        out,
        ["metadata", "metadataHex"],
        &Content::of(&event.metadata, &event.metadata_type),
    );
    put_content(
        out,
        ["eventData", "eventDataHex"],
        &Content::of(&event.data, &event.data_type),
    );
    for (field, kind) in [
        ("metadataType", &event.metadata_type),
        ("eventDataType", &event.data_type),
    ] {
        put_field(out, field);
        put_text(out, kind.as_str());
    }
}

/// Writes JSON unchanged, and also as bytes when `jsonb` would not preserve it.
fn put_content(out: &mut String, [json, hex]: [&str; 2], content: &Content<'_>) {
    // The function treats null as a missing field.
    let null = content.json.filter(|text| text.trim_ascii() == b"null");
    if let Some(text) = content.json.and_then(|text| str::from_utf8(text).ok()) {
        put_field(out, json);
        out.push_str(text);
    }
    if let Some(bytes) = content.bytes.or(null) {
        put_field(out, hex);
        out.push('"');
        out.extend(bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit));
        out.push('"');
    }
}

fn digit(number: u8) -> char {
    char::from_digit(u32::from(number), 16).unwrap_or_default()
}

fn put_field(out: &mut String, name: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}

fn put_text(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\0'..' ' => {
                out.push_str("\\u00");
                out.extend([char as u8 >> 4, char as u8 & 15].map(digit));
            }
            char => out.push(char),
        }
    }
    out.push('"');
}
