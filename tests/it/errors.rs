//! Errors: a report that prints an error and all of its sources prints nothing twice, and loses nothing.

use std::error::Error as StdError;
use std::io;

use annals::cqrs::{CommandError, DispatchError, LiveError, LoadError, ReadError, StartError};
use annals::journal::{JournalError, JournalErrorKind};
use annals::{Conflict, Error, Expected, Position, StreamId, Version};

const CAUSE: &str = "the disk said so";

/// An error with two causes below it: the message of the first contains that of the second.
fn journal_error(kind: JournalErrorKind) -> JournalError {
    let inner = JournalError::new(JournalErrorKind::Retry, "the file ends").caused_by(io::Error::other(CAUSE));
    JournalError::new(kind, "the segment cannot be read").caused_by(inner)
}

fn store_errors() -> Vec<Error> {
    let error = || journal_error(JournalErrorKind::Failed);
    let conflict = Conflict::Version {
        stream: StreamId::new("Order", "order-1"),
        expected: Expected::NoStream,
        actual: Version(1),
        position: Position(1),
    };
    vec![
        conflict.into(),
        Error::Unavailable { cause: error() },
        Error::Unreadable { cause: error() },
        Error::Corrupt { cause: error() },
        Error::Failed { cause: error() },
        journal_error(JournalErrorKind::Unsupported).into(),
    ]
}

/// Every error type that wraps another error.
fn errors() -> Vec<Box<dyn StdError>> {
    let mut all: Vec<Box<dyn StdError>> = vec![Box::new(journal_error(JournalErrorKind::Corrupt))];
    for error in store_errors() {
        all.push(Box::new(LoadError::from(error.clone())));
        all.push(Box::new(ReadError::from(error.clone())));
        all.push(Box::new(LiveError::from(error.clone())));
        all.push(Box::new(StartError::from(error.clone())));
        all.push(Box::new(CommandError::<String>::Store(error.clone())));
        all.push(Box::new(CommandError::<String>::Load(error.clone().into())));
        all.push(Box::new(DispatchError::Failed(error.clone())));
        #[cfg(feature = "audit")]
        all.push(Box::new(annals::cqrs::audit::TrailError::from(error.clone())));
        all.push(Box::new(error));
    }
    #[cfg(feature = "audit")]
    all.push(Box::new(annals::cqrs::audit::TrailError::from(io::Error::other(CAUSE))));
    #[cfg(feature = "migration")]
    all.extend(migration_errors());
    all
}

#[cfg(feature = "migration")]
fn migration_errors() -> impl Iterator<Item = Box<dyn StdError>> {
    use annals::cqrs::migration::{MigrationError, MigrationReport};
    store_errors().into_iter().map(|error| {
        let report = Box::new(MigrationReport::default());
        Box::new(MigrationError::Store { error, report }) as Box<dyn StdError>
    })
}

#[test]
fn the_message_of_an_error_was_printed_again_with_its_source() {
    for error in errors() {
        let mut at: &dyn StdError = &*error;
        while let Some(source) = at.source() {
            let (message, below) = (at.to_string(), source.to_string());
            assert!(!message.contains(&below), "'{message}' contains its source '{below}'");
            at = source;
        }
    }
}

#[test]
fn a_report_of_an_error_loses_no_cause() {
    for error in errors().iter().filter(|error| !error.to_string().contains("order-1")) {
        let (mut report, mut at) = (error.to_string(), error.source());
        while let Some(source) = at {
            report = format!("{report}: {source}");
            at = source.source();
        }
        assert_eq!(report.matches(CAUSE).count(), 1, "{report}");
    }
    let error = journal_error(JournalErrorKind::Corrupt);
    assert_eq!(
        error.cause().map(ToString::to_string).as_deref(),
        Some("the file ends: the disk said so")
    );
}
