//! The processors of a program behind a server, and dead letters.

use std::time::Duration;

use annals::{Position, Timestamp};
use serde::Deserialize;
use uuid::Uuid;

use super::Client;
use super::error::{self, ClientError};
use super::http::{add_query, segment};

/// A processor of a program.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RemoteProcessor {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: RemoteState,
    /// The reason for which it has stopped, if it has.
    pub stop_reason: Option<String>,
    /// The position up to which it has handled or skipped every event.
    pub position: Position,
    /// The number of positions after it.
    pub lag_events: u64,
    /// The age of its next event.
    pub lag: Duration,
    /// Events that it has handled since it started.
    pub handled: u64,
    /// Events that it has parked since it started.
    pub parked: u64,
    /// The last event that its handler has failed at.
    pub last_error: Option<RemoteFailure>,
    /// What it waits for, if it waits for something else than events.
    pub waits_for: Option<String>,
    /// The number of its dead letters; `None` if it keeps none.
    pub dead_letters: Option<u64>,
}

/// The state of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum RemoteState {
    /// It handles events.
    Running,
    /// It has handled all events, and waits for the next.
    CaughtUp,
    /// It was paused.
    Paused,
    /// A failure has stopped it.
    Stopped,
    /// It has ended: only its program can start it.
    Ended,
    /// A state that this version of the client does not know.
    #[serde(other)]
    Other,
}

/// An event that a handler has failed at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RemoteFailure {
    /// Its position.
    pub position: Position,
    /// Its id.
    pub event_id: Uuid,
    /// Its type.
    pub event_type: String,
    /// Its aggregate.
    pub aggregate_id: String,
    /// The reason of the handler.
    pub reason: String,
}

/// An event that a processor or the consumers of a group could not handle.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RemoteLetter {
    /// The position of the event.
    pub position: Position,
    /// The id of the event.
    pub event_id: Uuid,
    /// The type of the event.
    pub event_type: String,
    /// The aggregate of the event.
    pub aggregate_id: String,
    /// The reason for which it was parked.
    pub reason: String,
    /// The number of attempts.
    pub attempts: u32,
    /// The time at which it was parked.
    pub parked_at: Timestamp,
}

/// A page of dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Letters {
    /// The letters, ascending by position.
    pub letters: Vec<RemoteLetter>,
    /// The position after which the next page begins; `None` for the last page.
    pub next: Option<Position>,
    /// The number of all letters.
    pub total: u64,
    /// Records of letters that the store has dropped: letters among them are not listed.
    pub lost_records: u64,
}

/// The result of a retry of dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Retried {
    /// Events that were handled.
    pub handled: u64,
    /// Letters that are left: of the aggregate, or of all.
    pub left: u64,
    /// The first of them.
    pub next: Option<RemoteLetter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    name: String,
    state: RemoteState,
    stop_reason: Option<String>,
    position: Position,
    lag_events: u64,
    lag_seconds: f64,
    handled: u64,
    parked: u64,
    last_error: Option<RemoteFailure>,
    waits_for: Option<String>,
    dead_letters: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct WireProcessors {
    processors: Vec<Wire>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLetters {
    dead_letters: Vec<RemoteLetter>,
    next: Option<String>,
    total: u64,
    lost_records: u64,
}

#[derive(Debug, Deserialize)]
struct Discarded {}

impl From<Wire> for RemoteProcessor {
    fn from(wire: Wire) -> Self {
        // No server sends a negative time, or one that is too long.
        let lag = Duration::try_from_secs_f64(wire.lag_seconds).unwrap_or_default();
        Self {
            lag,
            name: wire.name,
            state: wire.state,
            stop_reason: wire.stop_reason,
            position: wire.position,
            lag_events: wire.lag_events,
            handled: wire.handled,
            parked: wire.parked,
            last_error: wire.last_error,
            waits_for: wire.waits_for,
            dead_letters: wire.dead_letters,
        }
    }
}

fn path(name: &str) -> String {
    format!("/processors/{}", segment(name))
}

impl Client {
    /// The processors of the program of this namespace, ascending by name.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused) if the server has no program here.
    pub fn processors(&self) -> Result<Vec<RemoteProcessor>, ClientError> {
        let all: WireProcessors = self.http.get("/processors")?;
        Ok(all.processors.into_iter().map(Into::into).collect())
    }

    /// A processor; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn processor(&self, name: &str) -> Result<Option<RemoteProcessor>, ClientError> {
        let found: Option<Wire> = error::found(self.http.get(&path(name)))?;
        Ok(found.map(Into::into))
    }

    /// Pauses a processor after its current batch, and returns it as it is after 5 seconds at most: it may still run then, and pauses later.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused) if there is no such processor.
    pub fn pause_processor(&self, name: &str) -> Result<RemoteProcessor, ClientError> {
        self.control(&format!("{}/pause", path(name)))
    }

    /// Resumes a processor that is paused or stopped, after its checkpoint.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused) if there is no such processor, or it has ended.
    pub fn resume_processor(&self, name: &str) -> Result<RemoteProcessor, ClientError> {
        self.control(&format!("{}/resume", path(name)))
    }

    /// Waits until a processor has handled the events up to a position, or without one all that are visible. `wait` is cut to whole seconds, and to 30.
    ///
    /// # Errors
    ///
    /// [`Refused`](ClientError::Refused), with `not-reached` and the last error of the processor, if it has not in time or has stopped; a
    /// [`ClientError`] otherwise.
    pub fn wait_for_processor(
        &self,
        name: &str,
        position: Option<Position>,
        wait: Duration,
    ) -> Result<RemoteProcessor, ClientError> {
        let mut target = format!("{}/wait", path(name));
        let position = position.map(|position| ("position", position.to_string()));
        let wait = ("timeoutSeconds", wait.as_secs().to_string());
        add_query(&mut target, position.into_iter().chain([wait]));
        let reached: Wire = self.http.get(&target)?;
        Ok(reached.into())
    }

    fn control(&self, target: &str) -> Result<RemoteProcessor, ClientError> {
        let wire: Wire = self.http.post_empty(target)?;
        Ok(wire.into())
    }

    /// At most `limit` dead letters of a processor after a position; up to 1,000.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused) if there is no such processor, or it keeps no letters.
    pub fn dead_letters(&self, name: &str, after: Position, limit: usize) -> Result<Letters, ClientError> {
        self.letters_at(&path(name), after, limit)
    }

    pub(super) fn letters_at(&self, owner: &str, after: Position, limit: usize) -> Result<Letters, ClientError> {
        let mut target = format!("{owner}/dead-letters");
        add_query(
            &mut target,
            [("cursor", after.to_string()), ("limit", limit.to_string())],
        );
        let wire: WireLetters = self.http.get(&target)?;
        let next = wire.next.map(|next| next.parse().map(Position)).transpose();
        Ok(Letters {
            letters: wire.dead_letters,
            next: next.map_err(|_| self.http.bad_answer("the cursor of a page of letters is no position"))?,
            total: wire.total,
            lost_records: wire.lost_records,
        })
    }

    /// Calls the handler with the dead letters of the aggregate of this letter, in order, up to the first that fails.
    ///
    /// # Errors
    ///
    /// A [`ClientError`]; [`Refused`](ClientError::Refused) if there is no such letter.
    pub fn retry_dead_letter(&self, name: &str, position: Position) -> Result<Retried, ClientError> {
        self.http
            .post_empty(&format!("{}/dead-letters/{position}/retry", path(name)))
    }

    /// Calls the handler with the dead letters of one aggregate after the other, for 20 seconds: repeat it while `left` falls.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn retry_dead_letters(&self, name: &str) -> Result<Retried, ClientError> {
        self.http.post_empty(&format!("{}/dead-letters/retry", path(name)))
    }

    /// Drops a dead letter: its event is not handled. Returns `false` if there is none at this position.
    ///
    /// # Errors
    ///
    /// A [`ClientError`].
    pub fn discard_dead_letter(&self, name: &str, position: Position) -> Result<bool, ClientError> {
        self.discard_at(&path(name), position)
    }

    pub(super) fn discard_at(&self, owner: &str, position: Position) -> Result<bool, ClientError> {
        let discarded = self
            .http
            .post_empty(&format!("{owner}/dead-letters/{position}/discard"));
        let found: Option<Discarded> = error::found(discarded)?;
        Ok(found.is_some())
    }
}
