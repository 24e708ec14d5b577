//! With the feature `tracing`: spans and events of the target `annals`.

use std::time::Duration;

use tracing::span::EnteredSpan;
use tracing::{debug, debug_span, error, field, info, warn};

use crate::journal::{JournalError, RecoveryReport};
use crate::{Error, Position};

/// An append that is under way.
pub(crate) struct AppendSpan(EnteredSpan);

/// Enters the span of an append. `appends` is its number of aggregates.
#[inline]
pub(crate) fn append(appends: usize, events: usize) -> AppendSpan {
    AppendSpan(debug_span!(target: "annals", "append", appends, events, outcome = field::Empty).entered())
}

impl AppendSpan {
    /// Tells how the append ended, with its last position, and leaves the span.
    #[inline]
    pub(crate) fn end(self, result: Result<Option<Position>, &Error>) {
        let outcome = match result {
            Ok(Some(Position(position))) => {
                debug!(target: "annals", position, "appended");
                "success"
            }
            Ok(None) => "success",
            Err(Error::Failed { .. } | Error::Corrupt { .. } | Error::Unavailable { .. }) => {
                warn!(target: "annals", "the append failed");
                "failed"
            }
            Err(Error::Conflict(_)) => {
                debug!(target: "annals", "the append conflicts");
                "conflict"
            }
            Err(_) => {
                debug!(target: "annals", "the append is refused");
                "refused"
            }
        };
        self.0.record("outcome", outcome);
    }
}

pub(crate) fn recovered(report: &RecoveryReport) {
    let milliseconds = report.elapsed.as_millis();
    info!(
        target: "annals",
        events = report.events,
        position = report.position.0,
        torn_tail_bytes = report.torn_tail_bytes,
        %milliseconds,
        "recovered"
    );
}

pub(crate) fn journal_retried(error: &JournalError, left: Duration) {
    warn!(target: "annals", %error, seconds_left = left.as_secs(), "the journal is tried again");
}

pub(crate) fn journal_failed(error: &JournalError) {
    error!(target: "annals", %error, "the journal failed: the store takes no more appends");
}

#[cfg(feature = "cache")]
#[inline]
pub(crate) fn cache_asked(outcome: crate::CacheState) {
    tracing::trace!(target: "annals", ?outcome, "the cache was asked");
}

/// Enters the span of a batch of a processor, until the result is dropped. A batch without events has none.
#[cfg(feature = "cqrs")]
pub(crate) fn batch(processor: &str, events: usize, position: Position) -> Option<EnteredSpan> {
    let position = position.0;
    (events > 0).then(|| debug_span!(target: "annals", "process", processor, events, position).entered())
}

#[cfg(feature = "cqrs")]
pub(crate) fn processor_changed(processor: &str, state: &crate::cqrs::ProcessorState) {
    use crate::cqrs::ProcessorState::{CaughtUp, Ended, Paused, Running, Stopped};
    match state {
        Stopped(_) => error!(target: "annals", processor, "the processor stopped"),
        Running => debug!(target: "annals", processor, "the processor runs"),
        CaughtUp => debug!(target: "annals", processor, "the processor is caught up"),
        Paused => info!(target: "annals", processor, "the processor is paused"),
        Ended => info!(target: "annals", processor, "the processor ended"),
    }
}

#[cfg(feature = "cqrs")]
pub(crate) fn handler_failed(processor: &str, position: Position) {
    let position = position.0;
    warn!(target: "annals", processor, position, "a handler failed");
}
