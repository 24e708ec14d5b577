//! Errors of PostgreSQL as errors of a journal, classified by the reaction of the store.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};
use uuid::Uuid;

use super::server::Server;
use crate::journal::{JournalError, JournalErrorKind, RemoteAppend};
use crate::{Conflict, Position, Version};

/// An error of the server or the network, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Reason(String);

/// An error while the journal is opened. An error that is not transient is for the caller to fix.
pub(super) fn refused(server: &Server, what: &str, error: &Error) -> JournalError {
    sorted(server, what, error, JournalErrorKind::Unsupported)
}

/// An error of an open journal.
pub(super) fn fault(server: &Server, what: &str, error: &Error) -> JournalError {
    sorted(server, what, error, JournalErrorKind::Failed)
}

/// A timeout, which may be retried.
pub(super) fn timeout(server: &Server, what: &str, waited: Duration) -> JournalError {
    let message = format!(
        "{what}: {} did not respond within {} ms",
        server.place(),
        waited.as_millis()
    );
    JournalError::new(JournalErrorKind::Retry, message)
}

/// Why a connection to a host was not made.
#[derive(Debug)]
pub(super) enum Refusal {
    Error(Error),
    /// No response within this time.
    Silent(Duration),
    /// The server is read-only.
    ReadOnly,
    /// The server is writable.
    NotReadOnly,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Refusal {
    fn may_pass(&self) -> bool {
        match self {
            Self::Error(error) => is_transient(error),
            // A fail-over may be in progress.
            Self::Silent(_) | Self::ReadOnly | Self::NotReadOnly => true,
        }
    }

    /// Whether the server rejected the connection.
    fn is_answer(&self) -> bool {
        matches!(self, Self::Error(error) if error.as_db_error().is_some())
    }

    fn reason(&self) -> String {
        match self {
            Self::Error(error) => reason_of(error),
            Self::Silent(waited) => format!("no response within {} ms", waited.as_millis()),
            Self::ReadOnly => "the server is read-only, as a replica is".to_owned(),
            Self::NotReadOnly => {
                "the server is writable, and target_session_attrs=read-only requires a replica".to_owned()
            }
        }
    }
}

/// The error when no host accepts the connection. It is transient if the refusal of one host is, because one host is enough.
pub(super) fn unreachable(server: &Server, refusals: &[(&str, Refusal)]) -> JournalError {
    let reason = match refusals {
        [(_, Refusal::Silent(waited))] => return timeout(server, UNREACHED, *waited),
        [(_, Refusal::ReadOnly)] => {
            "the server is read-only, as a replica is; appends need the primary: name it as well, as in \
             postgres://USER@REPLICA,PRIMARY/DATABASE"
                .to_owned()
        }
        [(_, refusal)] => refusal.reason(),
        several => {
            let each = several
                .iter()
                .map(|(host, refusal)| format!("{host}: {}", refusal.reason()));
            each.collect::<Vec<_>>().join("; ")
        }
    };
    let kind = if refusals.iter().any(|(_, refusal)| refusal.may_pass()) {
        JournalErrorKind::Retry
    } else {
        JournalErrorKind::Unsupported
    };
    let what = match refusals {
        [(_, Refusal::ReadOnly)] => "PostgreSQL cannot be written to",
        all if all.iter().all(|(_, refusal)| refusal.is_answer()) => "PostgreSQL refuses the connection",
        _ => UNREACHED,
    };
    JournalError::new(kind, format!("{what}: {}", server.place())).caused_by(Reason(reason))
}

const UNREACHED: &str = "PostgreSQL cannot be reached";

fn sorted(server: &Server, what: &str, error: &Error, otherwise: JournalErrorKind) -> JournalError {
    let kind = match error.code() {
        _ if is_transient(error) => JournalErrorKind::Retry,
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => JournalErrorKind::Unsupported,
        _ => otherwise,
    };
    JournalError::new(kind, format!("{what}: {}", server.place())).caused_by(Reason(reason_of(error)))
}

/// A refusal by `append_events` as an error of the store; `None` for an error of the server or the network.
pub(super) fn refusal(server: &Server, append: &RemoteAppend<'_>, error: &Error) -> Option<crate::Error> {
    let answer = error.as_db_error()?;
    let detail = answer.detail().unwrap_or_default();
    refusal_of(server, append, [answer.code().code(), answer.message(), detail])
}

/// The same from its state, message and detail.
pub(super) fn refusal_of(
    server: &Server,
    append: &RemoteAppend<'_>,
    [state, message, detail]: [&str; 3],
) -> Option<crate::Error> {
    match state {
        "ZA400" => Some(crate::Error::invalid(message)),
        "ZA409" => Some(conflict(append, detail).into()),
        "ZA410" => Some(crate::Error::Deleted {
            aggregate_id: append.stream().aggregate_id.clone(),
        }),
        "ZA423" => {
            let message = format!("{message}: {}", server.place());
            Some(JournalError::new(JournalErrorKind::Locked, message).into())
        }
        _ => None,
    }
}

/// The conflict that the detail of a refusal describes.
fn conflict(append: &RemoteAppend<'_>, detail: &str) -> Conflict {
    let stream = append.stream().clone();
    let position = Position(number(detail, "\"position\""));
    match known_id(detail) {
        Some(id) => Conflict::EventKnown {
            stream,
            id,
            version: Version(number(detail, "\"version\"")),
            position,
        },
        None => Conflict::Version {
            stream,
            expected: append.expected(),
            actual: Version(number(detail, "\"actualVersion\"")),
            position,
        },
    }
}

/// The id in a detail of the form `{"eventId" : "…", …}`.
fn known_id(detail: &str) -> Option<Uuid> {
    let (_, behind) = detail.split_once("\"eventId\"")?;
    behind.split('"').nth(1)?.parse().ok()
}

/// Whether the server reported that a single-statement transaction was rolled back. An error that ends the connection does not report that:
/// the commit may have preceded it.
pub(super) fn is_rolled_back(error: &Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|answer| answer.parsed_severity() == Some(Severity::Error))
}

/// Whether the server is read-only.
pub(super) fn is_read_only(error: &Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// The number after `key` in a JSON object of numbers.
fn number(object: &str, key: &str) -> u64 {
    let behind = object.split_once(key).map_or("", |(_, behind)| behind);
    let digits = behind.trim_start_matches([' ', ':']);
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or_default()
}

fn reason_of(error: &Error) -> String {
    let text = plain(error);
    match error.as_db_error().and_then(advice) {
        Some(advice) => format!("{text}; {advice}"),
        None => text,
    }
}

/// The error in one line, without advice about the tables of a store.
pub(super) fn plain(error: &Error) -> String {
    let Some(answer) = error.as_db_error() else {
        return chain(error);
    };
    let mut text = format!("{} {}: {}", answer.severity(), answer.code().code(), answer.message());
    for more in [answer.detail(), answer.hint()].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

/// Advice for missing privileges.
fn advice(answer: &DbError) -> Option<&'static str> {
    match *answer.code() {
        SqlState::INSUFFICIENT_PRIVILEGE => Some(
            "let the owner of the schema open the store once, and grant the role what docs/postgresql.md of annals lists for what it does",
        ),
        SqlState::UNDEFINED_TABLE => Some("if it is there, the role may not use the schema: GRANT USAGE"),
        _ => None,
    }
}

/// The error and its causes, in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Whether the error is transient: the server is unreachable, starting, stopping, full, or read-only.
pub(super) fn is_transient(error: &Error) -> bool {
    match error.as_db_error() {
        Some(answer) => state_may_pass(answer),
        None => error.is_closed() || is_of_the_network(error),
    }
}

fn state_may_pass(answer: &DbError) -> bool {
    let code = answer.code().code();
    // Connections, serialization failures, resources, operator intervention, system errors.
    let classes = ["08", "40", "53", "57", "58"];
    // A lock timeout, a slot in use by another session, and a standby that is not promoted.
    let states = ["55P03", "55006", "25006"];
    classes.iter().any(|class| code.starts_with(class)) || states.contains(&code) || is_without_partition(answer)
}

/// Whether a partition was dropped, which a new connection creates again. A user's CHECK that rejects a row has the same code, and a name.
fn is_without_partition(answer: &DbError) -> bool {
    answer.code().code() == "23514" && answer.constraint().is_none() && answer.table() == Some("events")
}

/// Whether the network caused the error, and not an invalid certificate.
fn is_of_the_network(error: &Error) -> bool {
    let mut source = error.source();
    let mut of_the_network = false;
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            of_the_network = !matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
        }
        source = cause.source();
    }
    of_the_network
}
