//! What PostgreSQL says, as errors of a journal: sorted by what the store does next.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};
use uuid::Uuid;

use super::connect::Server;
use crate::journal::{JournalError, JournalErrorKind, RemoteAppend};
use crate::{Conflict, Position, Version};

/// What the server, or the way to it, says, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// An error while the journal is opened: what does not pass by itself is the caller's to mend.
pub(super) fn refused(server: &Server, what: &str, error: &Error) -> JournalError {
    sorted(server, what, error, JournalErrorKind::Unsupported)
}

/// An error of a journal at work.
pub(super) fn fault(server: &Server, what: &str, error: &Error) -> JournalError {
    sorted(server, what, error, JournalErrorKind::Failed)
}

/// The server did not answer in time: it may, later.
pub(super) fn timeout(server: &Server, what: &str, waited: Duration) -> JournalError {
    let message = format!(
        "{what}: {} has not answered within {} ms",
        server.place(),
        waited.as_millis()
    );
    JournalError::new(JournalErrorKind::Retry, message)
}

/// Why a connection to a host was not made.
#[derive(Debug)]
pub(super) enum Refusal {
    Error(Error),
    /// It has not answered for so long.
    Silent(Duration),
    /// It cannot be written.
    ReadOnly,
    /// It can be written.
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
            Self::Error(error) => may_pass(error),
            // A standby takes over.
            Self::Silent(_) | Self::ReadOnly | Self::NotReadOnly => true,
        }
    }

    /// Whether the server has answered, and said no.
    fn is_answer(&self) -> bool {
        matches!(self, Self::Error(error) if error.as_db_error().is_some())
    }

    fn said(&self) -> String {
        match self {
            Self::Error(error) => said(error),
            Self::Silent(waited) => format!("it has not answered within {} ms", waited.as_millis()),
            Self::ReadOnly => "it can only be read, as a replica can".to_owned(),
            Self::NotReadOnly => "it can be written, and target_session_attrs=read-only asks for a replica".to_owned(),
        }
    }
}

/// None of the hosts would do. It may be gone when one may: the others are not needed then.
pub(super) fn unreachable(server: &Server, refusals: &[(&str, Refusal)]) -> JournalError {
    let said = match refusals {
        [(_, Refusal::Silent(waited))] => return timeout(server, UNREACHED, *waited),
        [(_, Refusal::ReadOnly)] => {
            "it can only be read, as a replica can; what is written goes to the primary: name it as well, as in \
             postgres://USER@REPLICA,PRIMARY/DATABASE"
                .to_owned()
        }
        [(_, refusal)] => refusal.said(),
        several => {
            let each = several
                .iter()
                .map(|(host, refusal)| format!("{host}: {}", refusal.said()));
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
    JournalError::new(kind, format!("{what}: {}", server.place())).caused_by(Said(said))
}

const UNREACHED: &str = "PostgreSQL cannot be reached";

fn sorted(server: &Server, what: &str, error: &Error, otherwise: JournalErrorKind) -> JournalError {
    let kind = match error.code() {
        _ if may_pass(error) => JournalErrorKind::Retry,
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => JournalErrorKind::Unsupported,
        _ => otherwise,
    };
    JournalError::new(kind, format!("{what}: {}", server.place())).caused_by(Said(said(error)))
}

/// What the function that appends has decided, as the store would say it; `None` for an error of the server or of the way to it.
pub(super) fn refusal(server: &Server, append: &RemoteAppend<'_>, error: &Error) -> Option<crate::Error> {
    let said = error.as_db_error()?;
    let detail = said.detail().unwrap_or_default();
    match said.code().code() {
        "ZA400" => Some(crate::Error::invalid(said.message())),
        "ZA409" => Some(conflict(append, detail).into()),
        "ZA410" => Some(crate::Error::Deleted(append.stream.aggregate_id.clone())),
        "ZA423" => {
            let message = format!("{}: {}", said.message(), server.place());
            Some(JournalError::new(JournalErrorKind::Locked, message).into())
        }
        _ => None,
    }
}

/// The conflict that the detail of a refusal describes.
fn conflict(append: &RemoteAppend<'_>, detail: &str) -> Conflict {
    let stream = append.stream.clone();
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
            expected: append.expected,
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

/// Whether the server has answered that a statement, which is a transaction, was rolled back. An error that ends the connection does not say
/// so: the commit may have come before it.
pub(super) fn is_rolled_back(error: &Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|said| said.parsed_severity() == Some(Severity::Error))
}

/// Whether the server can only be read.
pub(super) fn is_read_only(error: &Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// The number behind `key` in an object of numbers.
fn number(object: &str, key: &str) -> u64 {
    let behind = object.split_once(key).map_or("", |(_, behind)| behind);
    let digits = behind.trim_start_matches([' ', ':']);
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or_default()
}

fn said(error: &Error) -> String {
    let Some(said) = error.as_db_error() else {
        return chain(error);
    };
    let mut text = format!("{} {}: {}", said.severity(), said.code().code(), said.message());
    for more in [said.detail(), said.hint(), way_out(said)].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

/// What to do about what a role may not do.
fn way_out(said: &DbError) -> Option<&'static str> {
    match *said.code() {
        SqlState::INSUFFICIENT_PRIVILEGE => Some(
            "let the owner of the schema open the store once, and grant the role what POSTGRESQL.md of annals lists for what it does",
        ),
        SqlState::UNDEFINED_TABLE => Some("if it is there, the role may not use the schema: GRANT USAGE"),
        _ => None,
    }
}

/// The error and what caused it: each a few words.
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

/// Whether it may be gone when the call is made again: the server is away, starting, stopping, full, or only for reading.
fn may_pass(error: &Error) -> bool {
    match error.as_db_error() {
        Some(said) => state_may_pass(said),
        None => error.is_closed() || is_of_the_way(error),
    }
}

fn state_may_pass(said: &DbError) -> bool {
    let code = said.code().code();
    // Connections, rollbacks for others' sake, resources, the operator, the machine.
    let classes = ["08", "40", "53", "57", "58"];
    // A lock that was not to be had, a slot that another session has, and a standby that has not taken over.
    let states = ["55P03", "55006", "25006"];
    classes.iter().any(|class| code.starts_with(class)) || states.contains(&code) || is_without_partition(said)
}

/// Whether a partition was dropped: another connection makes it anew. A check that forbids a row has the same code, and a name.
fn is_without_partition(said: &DbError) -> bool {
    said.code().code() == "23514" && said.constraint().is_none() && said.table() == Some("events")
}

/// Whether it comes from the network, and not from what is wrong with a certificate.
fn is_of_the_way(error: &Error) -> bool {
    let mut source = error.source();
    let mut of_the_way = false;
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            of_the_way = !matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
        }
        source = cause.source();
    }
    of_the_way
}
