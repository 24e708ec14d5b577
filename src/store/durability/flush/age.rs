//! The age of the oldest event that the journal has not written, tracked only if it holds appends back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A lower bound of the time at which the oldest unwritten event was appended.
#[derive(Debug)]
pub(super) struct UnwrittenAge {
    origin: Instant,
    /// Microseconds since `origin`.
    since: AtomicU64,
}

impl UnwrittenAge {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            since: AtomicU64::new(0),
        }
    }

    /// The time now, to be [noted](Self::note) once everything published before it is written.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Records that everything published before this time is written.
    pub(super) fn note(&self, time: u64) {
        self.since.fetch_max(time, Ordering::AcqRel);
    }

    /// An upper bound of the age of the oldest unwritten event, if there is one.
    pub(super) fn get(&self) -> Duration {
        Duration::from_micros(self.now().saturating_sub(self.since.load(Ordering::Acquire)))
    }
}
