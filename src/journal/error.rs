//! What can go wrong with a journal, sorted by what the store does next.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What the store does about an error of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalErrorKind {
    /// Tries again: nothing of the batch was kept, or the journal will know that all of it was. The disk is full, the server is away.
    Retry,
    /// Refuses appends until it is opened anew.
    Failed,
    /// Does not open: what is kept cannot be read.
    Corrupt,
    /// Does not open now: another process has the journal.
    Locked,
    /// Refuses what was asked for: the journal cannot do it.
    Unsupported,
}

/// An error of a journal: what happened, to which file or server, and why.
#[derive(Clone, Debug)]
pub struct JournalError {
    kind: JournalErrorKind,
    message: Box<str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl JournalError {
    /// An error of this kind. The message says what happened to which thing, in lowercase, without a full stop.
    pub fn new(kind: JournalErrorKind, message: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// An error that ends the journal's work.
    pub fn failed(message: impl Into<Box<str>>) -> Self {
        Self::new(JournalErrorKind::Failed, message)
    }

    /// What is kept cannot be read.
    pub fn corrupt(message: impl Into<Box<str>>) -> Self {
        Self::new(JournalErrorKind::Corrupt, message)
    }

    /// With what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What the store does about it.
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
        // The cause is an error of the system, a few words: whoever reads one line must find it there.
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for JournalError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}
