//! Without the feature `tracing`: every call is empty.

use std::time::Duration;

use crate::journal::{JournalError, RecoveryReport};
use crate::{Error, Position};

/// An append that is under way.
pub(crate) struct AppendSpan;

#[inline]
pub(crate) fn append(_appends: usize, _events: usize) -> AppendSpan {
    AppendSpan
}

impl AppendSpan {
    #[expect(clippy::unused_self, reason = "with the feature, it has the span")]
    #[inline]
    pub(crate) fn end(self, _result: Result<Option<Position>, &Error>) {}
}

#[inline]
pub(crate) fn recovered(_report: &RecoveryReport) {}

#[inline]
pub(crate) fn journal_retried(_error: &JournalError, _left: Duration) {}

#[inline]
pub(crate) fn journal_failed(_error: &JournalError) {}

#[cfg(feature = "cache")]
#[inline]
pub(crate) fn cache_asked(_outcome: crate::CacheState) {}

#[cfg(feature = "cqrs")]
#[inline]
pub(crate) fn batch(_processor: &str, _events: usize, _position: Position) -> Option<std::convert::Infallible> {
    None
}

#[cfg(feature = "cqrs")]
#[inline]
pub(crate) fn processor_changed(_processor: &str, _state: &crate::cqrs::ProcessorState) {}

#[cfg(feature = "cqrs")]
#[inline]
pub(crate) fn handler_failed(_processor: &str, _position: Position) {}
