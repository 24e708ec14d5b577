//! Appending through the function in the database, as everybody else does who has no lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::connect::{Server, Session};
use super::errors::{refusal, refused, timeout};
use super::follow::Calls;
use super::row::Content;
use super::runtime::Runtime;
use crate::journal::{JournalError, JournalErrorKind, Remote, RemoteAppend};
use crate::{Appended, Durability, Expected, NewEvent, Position, Result, Version};

const CALL: &str = "SELECT * FROM append_events($1, $2, $3, $4::text::jsonb)";
/// What others are told, when it is committed: commits that notify wait for each other.
const ANNOUNCE: &str = "SELECT notify_followers()";
/// Appends within so long are told of together.
const GATHER: Duration = Duration::from_millis(5);
const WHAT: &str = "the events cannot be appended";

/// Appends over a connection that all threads share.
#[derive(Debug)]
pub(super) struct PostgresRemote {
    server: Arc<Server>,
    runtime: Arc<Runtime>,
    calls: Arc<Calls>,
    session: Mutex<Option<Arc<Session>>>,
    /// Whether others are about to be told.
    is_announcing: Arc<AtomicBool>,
}

impl PostgresRemote {
    pub(super) fn new(server: Arc<Server>, runtime: Arc<Runtime>, calls: Arc<Calls>) -> Self {
        Self {
            server,
            runtime,
            calls,
            session: Mutex::new(None),
            is_announcing: Arc::default(),
        }
    }

    /// The connection, or another if it was lost.
    async fn session(&self) -> Result<Arc<Session>, JournalError> {
        let known = self.session.lock().clone();
        if let Some(session) = known.filter(|session| !session.is_closed()) {
            return Ok(session);
        }
        let session = Arc::new(self.server.connect_to_write().await?);
        *self.session.lock() = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Calls the function, once more over another connection if the first was lost: its ids say whether it was carried out.
    async fn call(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        let events = json(append);
        match self.call_once(append, &events).await? {
            Err(error) if error.kind() == JournalErrorKind::Retry => {}
            answer => return Ok(answer?),
        }
        match self.call_once(append, &events).await {
            Ok(Err(error)) | Err(crate::Error::Unavailable(error)) if error.kind() == JournalErrorKind::Retry => {
                Err(in_doubt(error).into())
            }
            answer => Ok(answer??),
        }
    }

    async fn call_once(&self, append: &RemoteAppend<'_>, events: &str) -> Result<Result<Appended, JournalError>> {
        let session = self.session().await?;
        let stream = append.stream;
        let (id, kind) = (&*stream.aggregate_id, &*stream.aggregate_type);
        let expected = number_of(append.expected);
        let parameters: [&(dyn ToSql + Sync); 4] = [&id, &kind, &expected, &events];
        let call = session.client.query_one(CALL, &parameters);
        match tokio::time::timeout(self.server.patience(), call).await {
            Ok(Ok(row)) => {
                let appended =
                    appended(&row, append.has_own_ids).map_err(|error| refused(&self.server, WHAT, &error))?;
                let last = appended.last_position.0;
                self.calls.appended.fetch_max(last, Ordering::SeqCst);
                self.announce(session, &appended);
                Ok(Ok(appended))
            }
            Ok(Err(error)) => match refusal(&self.server, append, &error) {
                Some(refusal) => Err(refusal),
                None => Ok(Err(refused(&self.server, WHAT, &error))),
            },
            Err(_) => {
                // Whatever comes of it, nobody waits for it on this connection.
                *self.session.lock() = None;
                Ok(Err(timeout(&self.server, WHAT, self.server.patience())))
            }
        }
    }

    /// Tells others that there is more, in a moment.
    fn announce(&self, session: Arc<Session>, appended: &Appended) {
        let is_new = !appended.repeated && appended.last_position >= appended.first_position;
        if !is_new || self.is_announcing.swap(true, Ordering::SeqCst) {
            return;
        }
        let is_announcing = Arc::clone(&self.is_announcing);
        tokio::spawn(async move {
            tokio::time::sleep(GATHER).await;
            // What is appended from here on is told of the next time.
            is_announcing.store(false, Ordering::SeqCst);
            // Whoever may not tell others leaves it to them to look.
            drop(session.client.execute(ANNOUNCE, &[]).await);
        });
    }
}

impl Remote for PostgresRemote {
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        self.runtime.block_on(self.call(append))
    }

    fn patience(&self) -> Duration {
        self.server.patience()
    }

    fn wake(&self) {
        self.calls.heard.notify_one();
    }

    fn stop(&self) {
        self.calls.stop.notify_one();
        self.calls.heard.notify_one();
        *self.session.lock() = None;
    }
}

fn in_doubt(error: JournalError) -> JournalError {
    let message = "whether the events were appended is not known: read the aggregate before they are appended again";
    JournalError::new(JournalErrorKind::Retry, message).caused_by(error)
}

/// What is expected, as the function takes it.
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

fn appended(row: &Row, has_own_ids: bool) -> Result<Appended, Error> {
    let number = |column| row.try_get::<_, i64>(column).map(i64::cast_unsigned);
    let was_there: bool = row.try_get(4)?;
    Ok(Appended {
        first_position: Position(number(0)?),
        last_position: Position(number(1)?),
        first_version: Version(number(2)?),
        last_version: Version(number(3)?),
        durability: Durability::Synced,
        // With ids that were made for this append, it was the same call that came before.
        repeated: was_there && has_own_ids,
    })
}

/// The events as the function takes them.
fn json(append: &RemoteAppend<'_>) -> String {
    let mut out = String::from("[");
    for (event, id) in append.events.iter().zip(append.ids) {
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

fn put_event(out: &mut String, event: &NewEvent) {
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

/// JSON as it is, and as bytes too what would not come back as it is.
fn put_content(out: &mut String, [json, hex]: [&str; 2], content: &Content<'_>) {
    // A field that is null is none.
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
