//! Errors of journals, classified by the reaction of the store.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The reaction of the store to an error of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalErrorKind {
    /// Retries: nothing of the batch was stored, or the journal finds out on the next call that all of it was. For example, the disk is full or
    /// the server is unreachable.
    Retry,
    /// Rejects appends until the store is opened again.
    Failed,
    /// Does not open: the stored data cannot be read.
    Corrupt,
    /// Does not open now: another process holds the journal.
    Locked,
    /// Rejects the request: the journal does not support it.
    Unsupported,
}

/// An error of a journal: the failure, the file or server, and the cause.
#[derive(Clone, Debug)]
pub struct JournalError {
    kind: JournalErrorKind,
    message: Box<str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl JournalError {
    /// Creates an error of this kind. The message names the failure and the object, in lowercase, without a full stop.
    pub fn new(kind: JournalErrorKind, message: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Creates an error after which the journal is unusable.
    pub fn failed(message: impl Into<Box<str>>) -> Self {
        Self::new(JournalErrorKind::Failed, message)
    }

    /// Creates an error for stored data that cannot be read.
    pub fn corrupt(message: impl Into<Box<str>>) -> Self {
        Self::new(JournalErrorKind::Corrupt, message)
    }

    /// Sets the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The error that caused this one, which the message ends with.
    pub fn cause(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }

    /// The reaction of the store.
    pub fn kind(&self) -> JournalErrorKind {
        self.kind
    }
}

impl PartialEq for JournalError {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.message == other.message
    }
}

impl Eq for JournalError {}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // The cause is a short error of the system, and logs often show only this line.
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for JournalError {
    /// What caused the [cause](JournalError::cause): the message contains the cause, and a report of all sources would print it twice.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause()?.source()
    }
}
