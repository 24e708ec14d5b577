//! What the test API keeps of a namespace beside its store: a timeline of what happened, and the rules of faults.

mod faults;
mod timeline;

use annals::Timestamp;
use parking_lot::Mutex;

pub(crate) use self::faults::{Effect, Faults, Rule, Strike, Subject, Target};
pub(crate) use self::timeline::{Happening, Slice, Timeline};

/// The timeline and the faults of a namespace. They outlast a reset, which clears the faults alone.
#[derive(Debug, Default)]
pub(crate) struct TestState {
    timeline: Mutex<Timeline>,
    faults: Mutex<Faults>,
}

impl TestState {
    /// Adds an entry to the timeline; `at` is the time of the namespace's clock.
    pub(crate) fn record(&self, at: Timestamp, happening: &Happening<'_>) {
        self.timeline.lock().record(at, happening);
    }

    /// At most `limit` entries of the timeline after the entry with this number.
    pub(crate) fn timeline(&self, after: u64, limit: usize) -> Slice {
        self.timeline.lock().slice(after, limit)
    }

    /// Runs `work` on the rules of faults.
    pub(crate) fn with_faults<T>(&self, work: impl FnOnce(&mut Faults) -> T) -> T {
        work(&mut self.faults.lock())
    }
}
