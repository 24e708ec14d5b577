//! Leased events, by the ids of their leases.

use std::collections::{BTreeSet, HashMap};

use annals::Timestamp;
use annals::cqrs::Received;
use uuid::Uuid;

/// The result of a leased event.
#[derive(Clone, Debug)]
pub(crate) enum Settlement {
    /// It is handled or skipped.
    Ack,
    /// It is delivered again after a pause, or parked after the last attempt.
    Retry(String),
    /// It becomes a dead letter.
    Park(String),
}

/// Leases. Those that have ended stay until they are taken.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: HashMap<Uuid, (Timestamp, Received<()>)>,
    due: BTreeSet<(Timestamp, Uuid)>,
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn add(&mut self, id: Uuid, until: Timestamp, received: Received<()>) {
        self.due.insert((until, id));
        self.held.insert(id, (until, received));
    }

    pub(super) fn take(&mut self, id: Uuid) -> Option<Received<()>> {
        let (until, received) = self.held.remove(&id)?;
        self.due.remove(&(until, id));
        Some(received)
    }

    /// Removes the leases that have ended.
    #[must_use = "dropping them tells the group, which must not happen under a lock of these"]
    pub(super) fn take_ended(&mut self, now: Timestamp) -> Vec<Received<()>> {
        let mut ended = Vec::new();
        while let Some((_, id)) = self.due.first().filter(|(until, _)| *until <= now).copied() {
            ended.extend(self.take(id));
        }
        ended
    }

    /// Removes all leases.
    #[must_use = "dropping them tells the group, which must not happen under a lock of these"]
    pub(super) fn take_all(&mut self) -> Vec<Received<()>> {
        self.due.clear();
        self.held.drain().map(|(_, (_, received))| received).collect()
    }
}
