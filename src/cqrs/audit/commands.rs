//! Records commands: the user, the command, the time and the outcome.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::cqrs::Context;
use crate::event::system::COMMAND;
use crate::{Appended, Error, NewEvent, Position, Store, StreamId, Timestamp};

/// Maximum bytes of a recorded payload. A longer one is left out, and its length is recorded.
const PAYLOAD_MAX: usize = 64 * 1_024;

/// A reason is cut after this number of bytes.
const REASON_MAX: usize = 2_048;

/// The outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CommandOutcome {
    /// It was executed. It may have led to no event.
    Accepted,
    /// The rules of the domain, a validation or an authorization rejected it.
    Rejected,
    /// It ended with another error, or with a panic.
    Failed,
}

impl CommandOutcome {
    /// `accepted`, `rejected` or `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// The record of a command: the data of a `$command` event, as JSON. User, organization, correlation and causation are those of the event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CommandRecord {
    /// The name of the command, such as `Deposit`.
    pub command: String,
    /// The id that the command was [executed once](crate::cqrs::Aggregates::execute_once) with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command_id: Option<Uuid>,
    /// The type of the aggregate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub aggregate_type: Option<String>,
    /// The id of the aggregate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub aggregate_id: Option<String>,
    /// The outcome.
    pub outcome: CommandOutcome,
    /// Why it was rejected or failed, cut after 2,048 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The position of the first event that it led to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_position: Option<Position>,
    /// The position of the last event that it led to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_position: Option<Position>,
    /// Whether an earlier execution of the command with this id led to the events.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub repeated: bool,
    /// How long it took, all attempts included, in microseconds.
    pub duration_micros: u64,
    /// The command as JSON, if it has at most 64 KiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<Box<RawValue>>,
    /// The length in bytes of a payload that was too long to be recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload_bytes: Option<usize>,
}

type OnError = dyn Fn(&CommandRecord, &Error) + Send + Sync;

/// Records commands in the log, as `$command` system events.
///
/// A record is written after the command, and the command's result does not depend on it: a record that cannot be written is
/// [counted](Self::failures) and passed to [`on_error`](Self::on_error), which writes to standard error by default. A crash between the two loses
/// the record, not the events. A record is as durable as an append of this store's handle. To make commands wait less, create the log with a handle of
/// lower [durability](Store::with_durability).
///
/// Reads, projections, subscriptions and sagas do not get records, unless a query [includes](crate::Query::include_system) system events.
/// A budget may drop records as it drops events. A store that [follows](crate::Store::follow) another cannot write records: each is a failure.
///
/// ```
/// use annals::Store;
/// use annals::cqrs::audit::{CommandLog, Trail};
/// use annals::cqrs::{Aggregates, Context};
/// # mod domain { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cqrs/guide.rs")); }
/// # use domain::*;
///
/// let store = Store::in_memory();
/// let accounts = CommandLog::new(&store).aggregates(&Aggregates::<Account>::new(&store));
/// let accounts = accounts.with_context(Context::new().user("anna"));
/// accounts.execute("account-1", &AccountCommand::Open { owner: "anna".into() })?;
/// accounts.execute("account-1", &AccountCommand::Withdraw { amount: 900 }).unwrap_err();
///
/// let mut csv = Vec::new();
/// Trail::new().aggregate("account-1").write_csv(&store, &mut csv)?;
/// assert!(String::from_utf8(csv)?.contains("rejected"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CommandLog {
    store: Store,
    pub(super) has_payload: bool,
    failures: Arc<AtomicU64>,
    on_error: Arc<OnError>,
}

impl fmt::Debug for CommandLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandLog")
            .field("has_payload", &self.has_payload)
            .field("failures", &self.failures())
            .finish_non_exhaustive()
    }
}

/// A command that is being executed.
#[derive(Debug)]
pub(super) struct Begun {
    at: Timestamp,
    since: Instant,
}

/// A command and its target.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) name: String,
    pub(super) command_id: Option<Uuid>,
    pub(super) stream: Option<StreamId>,
    pub(super) context: Option<&'a Context>,
    pub(super) payload: Option<Box<RawValue>>,
}

/// The outcome of a command, and the events that it led to.
#[derive(Debug)]
pub(super) struct Became {
    pub(super) outcome: CommandOutcome,
    pub(super) reason: Option<String>,
    pub(super) appended: Option<Appended>,
}

impl CommandLog {
    /// Records commands in `store`, with their payloads.
    pub fn new(store: &Store) -> Self {
        let on_error = |record: &CommandRecord, error: &Error| {
            use std::io::Write as _;
            let line = format!(
                "annals: the record of command '{}' was not written: {error}\n",
                record.command
            );
            // Standard error may be closed; the failure is counted too.
            drop(std::io::stderr().write_all(line.as_bytes()));
        };
        Self {
            store: store.clone(),
            has_payload: true,
            failures: Arc::default(),
            on_error: Arc::new(on_error),
        }
    }

    /// Records commands without their payloads, for payloads with secrets or personal data.
    #[must_use]
    pub fn without_payloads(mut self) -> Self {
        self.has_payload = false;
        self
    }

    /// Calls `on_error` with each record that cannot be written, instead of writing a line to standard error.
    #[must_use]
    pub fn on_error(mut self, on_error: impl Fn(&CommandRecord, &Error) + Send + Sync + 'static) -> Self {
        self.on_error = Arc::new(on_error);
        self
    }

    /// The number of records that could not be written, by this log and its clones.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) -> Begun {
        Begun {
            at: self.store.now(),
            since: Instant::now(),
        }
    }

    /// The command as JSON, if payloads are recorded and it can be written.
    pub(super) fn payload(&self, command: &impl Serialize) -> Option<Box<RawValue>> {
        let write = || serde_json::value::to_raw_value(command).ok();
        self.has_payload.then(write).flatten()
    }

    pub(super) fn record(&self, begun: &Begun, asked: &Asked<'_>, became: Became) {
        let record = CommandRecord::new(begun.since.elapsed(), asked, became);
        if let Err(error) = self.append(begun.at, asked, &record) {
            self.failures.fetch_add(1, Ordering::Relaxed);
            (self.on_error)(&record, &error);
        }
    }

    fn append(&self, at: Timestamp, asked: &Asked<'_>, record: &CommandRecord) -> Result<Position, Error> {
        let mut event = NewEvent::json(COMMAND, record)?.timestamp(at);
        if let Some(context) = asked.context {
            context.apply(&mut event);
        }
        let aggregate_id = asked.stream.as_ref().map_or("", |stream| &stream.aggregate_id);
        self.store.append_command(aggregate_id, &event)
    }
}

impl CommandRecord {
    fn new(duration: Duration, asked: &Asked<'_>, became: Became) -> Self {
        let payload = asked.payload.clone();
        let payload_bytes = payload.as_ref().map(|payload| payload.get().len());
        let too_long = payload_bytes.filter(|bytes| *bytes > PAYLOAD_MAX);
        let stream = asked.stream.as_ref();
        Self {
            command: asked.name.clone(),
            command_id: asked.command_id,
            aggregate_type: stream.map(|stream| stream.aggregate_type.to_string()),
            aggregate_id: stream.map(|stream| stream.aggregate_id.to_string()),
            outcome: became.outcome,
            reason: became.reason.map(cut),
            first_position: became.appended.map(|appended| appended.first_position),
            last_position: became.appended.map(|appended| appended.last_position),
            repeated: became.appended.is_some_and(|appended| appended.repeated),
            duration_micros: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            payload: payload.filter(|_| too_long.is_none()),
            payload_bytes: too_long,
        }
    }
}

/// Cuts a reason at a character.
fn cut(mut reason: String) -> String {
    if reason.len() > REASON_MAX {
        let end = (0..=REASON_MAX).rev().find(|end| reason.is_char_boundary(*end));
        reason.truncate(end.unwrap_or_default());
        reason.push('…');
    }
    reason
}
