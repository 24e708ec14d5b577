//! An open group: takes, settlements and dead letters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::cqrs::{Group, GroupError, GroupStatus, Letter, Received, StartError, TypedEvents};
use annals::{Event, Position, Store, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::definition::Definition;
use super::leases::{Leases, Settlement};
use super::raw::Raw;
use crate::guard::next_id;
use crate::problem::{Kind, Problem};

/// The time for which a take skips events that the group does not deliver. Then its thread is free for other requests.
const SEARCH_TIME: Duration = Duration::from_millis(100);
/// The number of dead letters after which a replay starts no further aggregate.
const REPLAYED_MAX: u64 = 1_000;

/// A group that consumers use.
#[derive(Debug)]
pub(crate) struct Served {
    group: Group<()>,
    lease: Duration,
    leases_max: usize,
    leases: Mutex<Leases>,
    /// Notified when events may be ready that were not.
    pub(crate) changed: Notify,
}

/// An event with its lease.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) lease: Uuid,
    pub(crate) until: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) key: Uuid,
    pub(crate) record: Arc<Event>,
}

impl Served {
    /// # Errors
    ///
    /// A [`Problem`] if the store cannot follow the filter, or the place of the group cannot be read or written.
    pub(super) fn open(store: &Store, name: &str, definition: &Definition) -> Result<Self, Problem> {
        let query = definition.query()?;
        let builder = Group::<()>::builder(store, name)
            .events(&TypedEvents::with_codec(Raw))
            .query(query);
        let group = definition.apply(builder).open().map_err(|error| {
            let text = error.to_string();
            match error {
                StartError::Store(error) => error.into(),
                StartError::NameTaken { .. }
                | StartError::InvalidName { .. }
                | StartError::NoThread { .. }
                | StartError::Stopped { .. }
                | _ => Problem::new(Kind::GroupStopped, text),
            }
        })?;
        Ok(Self {
            group,
            lease: Duration::from_secs(definition.lease_seconds),
            leases_max: definition.max_in_flight,
            leases: Mutex::default(),
            changed: Notify::new(),
        })
    }

    pub(crate) fn status(&self) -> GroupStatus {
        self.group.status()
    }

    /// Takes events that are ready: at most `limit`, and no further one after `bytes` bytes of data and metadata.
    ///
    /// # Errors
    ///
    /// [`Kind::GroupStopped`]; [`Kind::Unavailable`] if the group was deleted or redefined, or the store is closed.
    pub(crate) fn take(&self, limit: usize, bytes: usize) -> Result<Vec<Taken>, Problem> {
        self.end_leases();
        let (mut taken, mut size) = (Vec::new(), 0);
        while taken.len() < limit && size < bytes && self.leases.lock().len() < self.leases_max {
            let received = match self.next(taken.is_empty()) {
                Ok(Some(received)) => received,
                // A group that stops behind these says so when it is asked again.
                Ok(None) => break,
                Err(_) if !taken.is_empty() => break,
                Err(problem) => return Err(problem),
            };
            size += received.record.data().len() + received.record.metadata().len();
            taken.push(self.hold(received));
        }
        Ok(taken)
    }

    /// The next ready event. With `searches`, it skips a long run of events that the group does not deliver.
    fn next(&self, searches: bool) -> Result<Option<Received<()>>, Problem> {
        let begun = Instant::now();
        loop {
            let before = self.group.status().position;
            if let Some(received) = self.group.try_receive().map_err(|error| refusal(&error))? {
                return Ok(Some(received));
            }
            let has_moved = self.group.status().position > before;
            if !searches || !has_moved || begun.elapsed() >= SEARCH_TIME {
                return Ok(None);
            }
        }
    }

    fn hold(&self, received: Received<()>) -> Taken {
        let (lease, until) = (Uuid::from_bytes(next_id()), self.group.store().now().after(self.lease));
        let taken = Taken {
            lease,
            until,
            attempt: received.attempt,
            key: received.key,
            record: Arc::clone(&received.record),
        };
        self.leases.lock().add(lease, until, received);
        taken
    }

    /// Returns the events of ended leases to the group.
    fn end_leases(&self) {
        let ended = self.leases.lock().take_ended(self.group.store().now());
        drop(ended);
    }

    /// Settles events. Returns the leases that had ended.
    pub(crate) fn settle(&self, leases: &[Uuid], settlement: &Settlement) -> Vec<Uuid> {
        let mut lost = Vec::new();
        for id in leases {
            let received = self.leases.lock().take(*id);
            let settled = received.is_some_and(|received| settle(received, settlement));
            if !settled {
                lost.push(*id);
            }
        }
        self.changed.notify_waiters();
        lost
    }

    /// Saves the position, and delivers no more events.
    pub(super) fn save(&self) {
        self.group.end();
        self.changed.notify_waiters();
    }

    /// Ends the group for all consumers. Their leases end, which does not count as an attempt.
    pub(super) fn end(&self) {
        self.group.end();
        // Leases of an earlier epoch have no effect when they are dropped. If the group cannot begin a new epoch, it has stopped, with the same result.
        drop(self.group.resume());
        let held = self.leases.lock().take_all();
        drop(held);
        self.changed.notify_waiters();
    }

    /// Resumes the group after its position. Leases end, and their events are delivered again.
    ///
    /// # Errors
    ///
    /// [`Kind::GroupStopped`] with the reason for which it remains stopped.
    pub(crate) fn resume(&self) -> Result<(), Problem> {
        let resumed = self.group.resume();
        let held = self.leases.lock().take_all();
        drop(held);
        self.changed.notify_waiters();
        resumed.map_err(|reason| Problem::new(Kind::GroupStopped, reason.to_string()))
    }

    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.group.letters()
    }

    /// Delivers the dead letters of an aggregate again, or of aggregates until there are many. Returns their number.
    pub(crate) fn replay(&self, aggregate_id: Option<&str>) -> u64 {
        let count = match aggregate_id {
            Some(id) => self.group.replay_letters(Some(id)),
            None => self.replay_some(),
        };
        self.changed.notify_waiters();
        count
    }

    fn replay_some(&self) -> u64 {
        let mut count = 0;
        for letter in self.group.letters() {
            if count >= REPLAYED_MAX {
                break;
            }
            // An aggregate whose letters are being delivered already adds none.
            count += self.group.replay_letters(Some(&letter.aggregate_id));
        }
        count
    }

    /// Drops a dead letter. Returns `false` if there is none, or the letters of its aggregate are being delivered.
    ///
    /// # Errors
    ///
    /// [`Kind::GroupStopped`].
    pub(crate) fn discard(&self, position: Position) -> Result<bool, Problem> {
        let dropped = self.group.drop_letter(position);
        dropped.map_err(|reason| Problem::new(Kind::GroupStopped, reason.to_string()))
    }
}

fn settle(received: Received<()>, settlement: &Settlement) -> bool {
    let settled = match settlement {
        Settlement::Ack => received.ack(),
        Settlement::Retry(reason) => received.nack(reason),
        Settlement::Park(reason) => received.park(reason),
    };
    settled.is_ok()
}

fn refusal(error: &GroupError) -> Problem {
    let kind = match error {
        GroupError::Stopped { .. } => Kind::GroupStopped,
        GroupError::Ended { .. } | _ => Kind::Unavailable,
    };
    Problem::new(kind, error.to_string())
}
