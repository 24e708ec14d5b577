//! What the journal is trying again, while it does: the full disk or the absent server, of which an operator must know before the store gives up.

use std::time::{Duration, Instant};

use crate::journal::JournalError;
use crate::store::Store;
use crate::store::sync::Mutex;
use crate::telemetry;

/// A call of the journal that has failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retrying {
    /// What the last attempt said.
    pub error: JournalError,
    /// The time until the store gives up, and takes no more appends until it is reopened.
    pub left: Duration,
}

/// The call that is tried again, if there is one.
#[derive(Debug, Default)]
pub(super) struct Retry(Mutex<Option<Failed>>);

#[derive(Clone, Debug)]
struct Failed {
    error: JournalError,
    began: Instant,
    retry_for: Duration,
}

impl Retry {
    /// Notes that a call which began at `began` failed, and is tried again for `retry_for`.
    pub(super) fn note(&self, error: JournalError, began: Instant, retry_for: Duration) {
        telemetry::journal_retried(&error, retry_for.saturating_sub(began.elapsed()));
        *self.0.lock() = Some(Failed {
            error,
            began,
            retry_for,
        });
    }

    /// Notes that the call is over.
    pub(super) fn end(&self) {
        self.0.lock().take();
    }

    pub(super) fn get(&self) -> Option<Retrying> {
        let failed = self.0.lock().clone()?;
        Some(Retrying {
            left: failed.retry_for.saturating_sub(failed.began.elapsed()),
            error: failed.error,
        })
    }
}

impl Store {
    /// Returns what the journal is trying again, while it does. `None` when it works, and when it has [failed](Self::fault) for good.
    ///
    /// Appends go on meanwhile, until the backlog is full: show this to an operator, who can make room on the disk before the store gives up.
    pub fn retrying(&self) -> Option<Retrying> {
        self.engine().flushing.as_ref()?.retrying()
    }
}
