//! Errors of the client, classified by the store's reaction.

use annals::journal::{JournalError, JournalErrorKind as Kind};
use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::address::Address;

/// The code of a duplicate key.
const DUPLICATE: i32 = 11_000;

/// Codes of a server that cannot execute a command now: it is not the primary, shuts down, or a write was not replicated in time.
const TRANSIENT: [i32; 18] = [
    6, 7, 24, 50, 64, 89, 91, 100, 112, 133, 134, 189, 262, 9001, 10_058, 10_107, 11_600, 11_602,
];
/// More of them: a primary that is not one any more.
const NOT_PRIMARY: [i32; 2] = [13_435, 13_436];
/// Codes of a refused login or a missing right.
const REFUSED: [i32; 4] = [11, 13, 18, 8000];

/// An error of the client when it was to do `what`.
pub(crate) fn of_client(address: &Address, what: &str, error: &Error) -> JournalError {
    let (kind, advice) = classify(error);
    let cause = address.without_secrets(&error.to_string());
    JournalError::new(kind, format!("cannot {what} {address}{advice}: {cause}"))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an error that a later version of the client adds is not retried"
)]
fn classify(error: &Error) -> (Kind, &'static str) {
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => (Kind::Unsupported, "; check the user and the password of the URL"),
        ErrorKind::InvalidTlsConfig { .. } => (Kind::Unsupported, "; check the TLS parameters of the URL"),
        ErrorKind::InvalidArgument { .. } | ErrorKind::IncompatibleServer { .. } => (Kind::Unsupported, ""),
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Shutdown => (Kind::Retry, ""),
        ErrorKind::InsertMany(error) => match &error.write_errors {
            Some(errors) => of_code(errors.first().map_or(0, |error| error.code)),
            None => (Kind::Retry, "; the write was not acknowledged by a majority"),
        },
        ErrorKind::Write(WriteFailure::WriteConcernError(_)) => {
            (Kind::Retry, "; the write was not acknowledged by a majority")
        }
        ErrorKind::Write(WriteFailure::WriteError(error)) => of_code(error.code),
        ErrorKind::Command(error) => of_code(error.code),
        _ => (Kind::Failed, ""),
    }
}

fn of_code(code: i32) -> (Kind, &'static str) {
    if TRANSIENT.contains(&code) || NOT_PRIMARY.contains(&code) {
        return (Kind::Retry, "");
    }
    if REFUSED.contains(&code) {
        return (
            Kind::Unsupported,
            "; the user of the URL needs the right to read and write the database",
        );
    }
    (Kind::Failed, "")
}

/// The documents that an ordered insert stored before it failed, if it failed because the next one has a key that exists.
pub(crate) fn duplicate_at(error: &Error) -> Option<usize> {
    let ErrorKind::InsertMany(error) = error.kind.as_ref() else {
        return None;
    };
    let first = error.write_errors.as_ref()?.first()?;
    (first.code == DUPLICATE).then_some(first.index)
}

/// Whether inserts failed only because keys exist.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    if let ErrorKind::Write(WriteFailure::WriteError(error)) = error.kind.as_ref() {
        return error.code == DUPLICATE;
    }
    let ErrorKind::InsertMany(error) = error.kind.as_ref() else {
        return false;
    };
    let errors = error.write_errors.as_deref().unwrap_or_default();
    let are_duplicates = !errors.is_empty() && errors.iter().all(|error| error.code == DUPLICATE);
    are_duplicates && error.write_concern_error.is_none()
}
