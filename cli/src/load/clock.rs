//! The clock of a loaded log. It shows the time of the log, so that loading the same file twice gives the same store.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use annals::{Clock, Timestamp};

/// Shows the latest time of the events loaded so far; it never goes back.
#[derive(Debug)]
pub(crate) struct LogClock(AtomicI64);

impl Default for LogClock {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl LogClock {
    /// Moves the clock to `time`, if that is later.
    pub(crate) fn show(&self, time: Timestamp) {
        self.0.fetch_max(time.as_micros(), Ordering::Relaxed);
    }
}

impl Clock for LogClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn fork(self: Arc<Self>) -> Arc<dyn Clock> {
        Arc::new(Self(AtomicI64::new(self.0.load(Ordering::Relaxed))))
    }
}
