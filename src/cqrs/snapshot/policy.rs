//! When snapshots are saved, and how many are retained.

use std::time::Duration;

use uuid::Uuid;

use crate::Timestamp;

/// When a command saves a snapshot of the state that it leads to: every 100 events by default.
///
/// Conditions compose: a snapshot is saved when one of them holds. They look at what came since the last snapshot of the same shape, or since the
/// first event.
///
/// ```
/// use std::time::Duration;
///
/// use annals::cqrs::SnapshotPolicy;
///
/// let policy = SnapshotPolicy::every(500).or_bytes(1024 * 1024).or_after(Duration::from_secs(3600)).keep(3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a policy is given to `Aggregates::snapshots`"]
pub struct SnapshotPolicy {
    events: Option<u64>,
    age: Option<Duration>,
    bytes: Option<u64>,
    pub(super) keep: u32,
    pub(super) state_version: u32,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self::every(100)
    }
}

impl SnapshotPolicy {
    /// Saves no snapshot by itself: [`Aggregates::save_snapshot`](crate::cqrs::Aggregates::save_snapshot) does.
    pub fn on_demand() -> Self {
        Self {
            events: None,
            age: None,
            bytes: None,
            keep: 1,
            state_version: 1,
        }
    }

    /// Saves a snapshot when at least this many events came since the last one. 0 means 1.
    pub fn every(events: u64) -> Self {
        Self::on_demand().or_every(events)
    }

    /// Saves a snapshot when at least this many events came since the last one, too. 0 means 1.
    pub fn or_every(mut self, events: u64) -> Self {
        self.events = Some(events.max(1));
        self
    }

    /// Saves a snapshot when the first event since the last one is at least this old, too.
    pub fn or_after(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// Saves a snapshot when the data of the events since the last one has at least this many bytes, too.
    pub fn or_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Sets how many snapshots of an aggregate are retained: 1 by default, at most 64. Loads of the past begin at the nearest.
    pub fn keep(mut self, snapshots: u32) -> Self {
        self.keep = snapshots.max(1);
        self
    }

    /// Sets the version of the state: 1 by default. Raise it when [`evolve`](crate::cqrs::Aggregate::evolve) or an upcaster changes its meaning
    /// while the shape of the state stays the same, so that older snapshots are ignored.
    pub fn state_version(mut self, version: u32) -> Self {
        self.state_version = version;
        self
    }

    /// Whether a snapshot is due at this time.
    pub(super) fn is_due(&self, since: &Since, now: Timestamp) -> bool {
        let is_old = |age| since.oldest.is_some_and(|oldest| oldest.is_past(age, now));
        since.events > 0
            && (self.events.is_some_and(|events| since.events >= events)
                || self.bytes.is_some_and(|bytes| since.bytes >= bytes)
                || self.age.is_some_and(is_old))
    }
}

/// What came since the last snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cqrs) struct Since {
    pub(in crate::cqrs) events: u64,
    pub(in crate::cqrs) bytes: u64,
    /// The time of the first event.
    pub(in crate::cqrs) oldest: Option<Timestamp>,
    /// The epoch of [`DerivedData`](crate::cqrs::DerivedData) in which the load began.
    pub(in crate::cqrs) epoch: Option<Uuid>,
}

impl Since {
    /// Nothing yet, after a load that began in this epoch.
    pub(in crate::cqrs) fn of_epoch(epoch: Option<Uuid>) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    /// Counts an event with this many bytes of data, which was recorded at this time.
    pub(in crate::cqrs) fn add(&mut self, bytes: usize, at: Timestamp) {
        self.events += 1;
        self.bytes += bytes as u64;
        self.oldest.get_or_insert(at);
    }
}
