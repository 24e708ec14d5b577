//! How old the oldest event is that the journal has not written: kept only where appends are held back by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A time before which no event was appended that is not written.
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

    /// The time, to be [noted](Self::note) once all that was published before is written.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Everything that was published before this time is written.
    pub(super) fn note(&self, time: u64) {
        self.since.fetch_max(time, Ordering::AcqRel);
    }

    /// The age of the oldest event that is not written, at most, if there is one.
    pub(super) fn get(&self) -> Duration {
        Duration::from_micros(self.now().saturating_sub(self.since.load(Ordering::Acquire)))
    }
}
