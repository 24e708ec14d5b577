//! Consumer groups: competing consumers of the events of a query, in order within each aggregate.

mod broker;
mod lanes;
mod received;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use self::broker::{Broker, Signal};
pub use self::received::{LeaseLost, Received};
use super::process::{Letter, StartError, StartFrom, StopReason, check_name, panic_text};
use super::typed::Reader;
use super::{Codec, HandlerError, Retry, TypedEvents};
use crate::{Name, Position, Query, Store};

/// The longest time between two looks at the store's clock: a clock that a test moves wakes nothing.
const TICK: Duration = Duration::from_millis(200);

/// How a group hands out events.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupSettings {
    lease: Duration,
    retry: Retry,
    max_in_flight: usize,
    from: StartFrom,
    skips_gaps: bool,
}

/// A named group of consumers that compete for events, at least once.
///
/// Each event goes to one consumer, which acknowledges it. If the consumer rejects it, drops it, or does not acknowledge it before the lease
/// expires, it is delivered again after a pause. After the last attempt it is parked as a dead letter. The events of one aggregate are
/// delivered in order, one at a time; events of different aggregates in parallel. Later events of an aggregate with a dead letter are parked
/// behind it.
///
/// The store keeps the group's checkpoint and dead letters. Leases and pauses follow the store's clock. A group has no thread. Cheap to clone: give
/// each consumer a clone. A name has 1 to 200 bytes; a group, a subscription or a saga that is started later with the same
/// name stops it.
///
/// ```
/// use std::time::Duration;
///
/// use annals::cqrs::Group;
/// use annals::{Expected, NewEvent, Store, StreamId};
///
/// #[derive(serde::Deserialize)]
/// enum OrderEvent {
///     Paid { total: u64 },
/// }
///
/// let store = Store::in_memory();
/// let billing = Group::<OrderEvent>::builder(&store, "billing").open()?;
/// store.append(&StreamId::new("Order", "order-1"), Expected::Any, NewEvent::new("Paid").data(r#"{"total":250}"#))?;
///
/// // In each consumer:
/// if let Some(message) = billing.receive(Duration::from_secs(5))? {
///     let OrderEvent::Paid { total } = message.event;
///     // charge(message.key, total)?;
///     message.ack()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Group<E> {
    shared: Arc<Shared<E>>,
}

pub(super) struct Shared<E> {
    name: Name,
    store: Store,
    broker: Mutex<Broker<E>>,
    signal: Arc<Signal>,
    is_ended: AtomicBool,
}

impl<E> Clone for Group<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<E> fmt::Debug for Group<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("status", &self.status()).finish()
    }
}

/// The settings of a group. See [`Group::builder`].
#[must_use = "a group is opened by `open`"]
pub struct GroupBuilder<E> {
    store: Store,
    name: Name,
    reader: Reader<E>,
    query: Query,
    settings: GroupSettings,
}

impl<E> fmt::Debug for GroupBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupBuilder")
            .field("name", &self.name)
            .field("query", &self.query)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<E: DeserializeOwned + 'static> GroupBuilder<E> {
    /// Sets the codec, the upcasters and the policy for unknown types, and resets the query to these types: call it before `query`.
    ///
    /// By default, events are JSON of the newest schema.
    pub fn events<C: Codec>(mut self, events: &TypedEvents<E, C>) -> Self {
        self.reader = events.reader();
        self.query = events.all();
        self
    }

    /// Sets the query of the events. By default, all events of the types of `E`. Events in which processors store their starts and dead letters are
    /// excluded.
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Sets how long a consumer may hold an event before the attempt counts as failed. 30 seconds by default.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// Sets the attempts at an event before it is parked, and the pauses between them. By default, 5 attempts, with random pauses of up to 1 s, 2 s
    /// and so on, at most 60 s.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.settings.retry = retry;
        self
    }

    /// Sets the maximum number of events that are fetched and not acknowledged. 1,024 by default; 0 means 1.
    pub fn max_in_flight(mut self, events: usize) -> Self {
        self.settings.max_in_flight = events.max(1);
        self
    }

    /// Sets where a group without a checkpoint begins. By default, at the first event.
    pub fn start_from(mut self, from: StartFrom) -> Self {
        self.settings.from = from;
        self
    }

    /// Continues where events were dropped before a consumer saw them. By default, the group stops there, with the gap as the reason.
    pub fn skip_gaps(mut self) -> Self {
        self.settings.skips_gaps = true;
        self
    }

    /// Opens the group. A group of the same name that was opened earlier stops: its consumers get [`StopReason::Superseded`].
    ///
    /// # Errors
    ///
    /// [`StartError::InvalidName`]; [`StartError::Store`] when the query is invalid; [`StartError::Stopped`] when the checkpoint or the dead letters cannot be
    /// read or written, or the checkpoint is beyond the end of the log.
    pub fn open(self) -> Result<Group<E>, StartError> {
        check_name(&self.name)?;
        // An invalid query is an error of the caller, not of the storage.
        drop(self.store.tail(self.query.clone(), Position(0))?);
        let signal = Arc::<Signal>::default();
        let query = self.reader.stored_query(self.query)?;
        let broker = Broker::open(
            &self.store,
            &self.name,
            query,
            self.reader,
            self.settings,
            Arc::clone(&signal),
        )
        .map_err(|reason| StartError::Stopped {
            name: self.name.clone(),
            reason,
        })?;
        Ok(Group {
            shared: Arc::new(Shared {
                name: self.name,
                store: self.store,
                broker: Mutex::new(broker),
                signal,
                is_ended: AtomicBool::new(false),
            }),
        })
    }
}

/// The status of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its name.
    pub name: Name,
    /// The position up to which every event is acknowledged or parked.
    pub position: Position,
    /// The number of visible positions after `position`, including those of events that the group does not read.
    pub lag_events: u64,
    /// The number of events that are fetched, and neither acknowledged nor parked.
    pub in_flight: usize,
    /// The number of aggregates whose next event can be delivered.
    pub ready: usize,
    /// The number of aggregates whose next event is held by a consumer, or waits for its next attempt.
    pub waiting: usize,
    /// The number of dead letters.
    pub letters: usize,
    /// The number of records of dead letters that a limit or a truncation of the store has dropped, 0 if none: letters among them cannot be listed
    /// or replayed any more.
    pub lost_letter_records: u64,
    /// The reason for which it has stopped, until it is [resumed](Group::resume); `None` while it runs.
    pub stopped: Option<StopReason>,
}

/// A failure to receive an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The group has stopped. Fix the cause, and resume it.
    #[error("group '{name}' has stopped: {reason}")]
    Stopped {
        /// The group.
        name: Name,
        /// The reason.
        reason: StopReason,
    },
    /// The group was [ended](Group::end), or the store is closed.
    #[error("group '{name}' has ended")]
    Ended {
        /// The group.
        name: Name,
    },
}

impl<E: DeserializeOwned + 'static> Group<E> {
    /// Builds a group of this name for the events of the types of `E` in `store`.
    pub fn builder(store: &Store, name: impl Into<Name>) -> GroupBuilder<E> {
        let events = TypedEvents::<E>::new();
        GroupBuilder {
            store: store.clone(),
            name: name.into(),
            reader: events.reader(),
            query: events.all(),
            settings: GroupSettings {
                lease: Duration::from_secs(30),
                retry: Retry {
                    attempts: 5,
                    first_pause: Duration::from_secs(1),
                    longest_pause: Duration::from_secs(60),
                },
                max_in_flight: 1_024,
                from: StartFrom::default(),
                skips_gaps: false,
            },
        }
    }
}

impl<E> Group<E> {
    /// Waits for an event, for at most `timeout`. Returns `None` when the timeout elapses.
    ///
    /// # Errors
    ///
    /// [`GroupError::Stopped`]; [`GroupError::Ended`].
    pub fn receive(&self, timeout: Duration) -> Result<Option<Received<E>>, GroupError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let seen = self.shared.signal.generation();
            let (message, waits) = self.try_receive_or_wait()?;
            if message.is_some() {
                return Ok(message);
            }
            let tick = Instant::now() + TICK;
            let until = if waits {
                deadline.map(|deadline| deadline.min(tick)).or(Some(tick))
            } else {
                deadline
            };
            let is_over = self.shared.signal.wait(seen, until);
            if is_over && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
        }
    }

    /// Returns an event if one can be delivered now; does not wait. It examines at most 16,384 positions of the log: after a long stretch of other
    /// events it may return `None` before [`receive`](Self::receive) would.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    pub fn try_receive(&self) -> Result<Option<Received<E>>, GroupError> {
        self.try_receive_or_wait().map(|(message, _)| message)
    }

    /// An event, and whether time makes one ready.
    fn try_receive_or_wait(&self) -> Result<(Option<Received<E>>, bool), GroupError> {
        let name = || self.shared.name.clone();
        if self.shared.is_ended.load(Ordering::Acquire) {
            return Err(GroupError::Ended { name: name() });
        }
        let mut broker = self.shared.broker.lock();
        let before = broker.position();
        let lease = broker.run(Broker::next);
        let has_moved = broker.position() != before;
        let (waits, is_closed) = (broker.waits(), broker.is_closed());
        drop(broker);
        if has_moved {
            // It has parked or passed events without a consumer: others may wait for these.
            self.shared.signal.notify();
        }
        match lease {
            Ok(Some(lease)) => Ok((Some(Received::new(&self.shared, lease)), waits)),
            Ok(None) if is_closed && !waits => Err(GroupError::Ended { name: name() }),
            Ok(None) => Ok((None, waits)),
            Err(reason) => Err(GroupError::Stopped { name: name(), reason }),
        }
    }

    /// Calls `handler` with events on this thread until the group is [ended](Self::end) or stops. Call it on one thread per consumer.
    ///
    /// A handled event is acknowledged. A transient error or a panic is an attempt that failed; a [permanent](HandlerError::permanent) error parks the
    /// event. Returns the number of deliveries that were acknowledged, retried or parked, which excludes lost leases.
    ///
    /// # Errors
    ///
    /// [`GroupError::Stopped`].
    pub fn consume(&self, handler: impl Fn(&Received<E>) -> Result<(), HandlerError>) -> Result<u64, GroupError> {
        let mut count = 0;
        loop {
            let message = match self.receive(Duration::MAX) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(GroupError::Ended { .. }) => return Ok(count),
                Err(error) => return Err(error),
            };
            let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handler(&message)));
            // A lease that is lost meanwhile: another consumer has the event.
            let lost = match called {
                Ok(Ok(())) => message.ack(),
                Ok(Err(error)) if error.is_permanent() => message.park(&error.to_string()),
                Ok(Err(error)) => message.nack(&error.to_string()),
                Err(panic) => message.nack(&format!("the handler panicked: {}", panic_text(&*panic))),
            };
            count += u64::from(lost.is_ok());
        }
    }

    /// Ends the group for all its handles, and saves the checkpoint. Waiting consumers return; events that are held can still be acknowledged.
    pub fn end(&self) {
        self.shared.is_ended.store(true, Ordering::Release);
        // A failure is told by the status.
        drop(self.shared.broker.lock().run(Broker::save));
        self.shared.signal.notify();
    }

    /// Resumes a stopped group after its checkpoint. Events that are not acknowledged are delivered again.
    ///
    /// # Errors
    ///
    /// As [`GroupBuilder::open`]; the group stays stopped.
    pub fn resume(&self) -> Result<(), StopReason> {
        let resumed = self.shared.broker.lock().resume();
        self.shared.signal.notify();
        resumed
    }

    /// The status of the group.
    pub fn status(&self) -> GroupStatus {
        self.shared.broker.lock().status()
    }

    /// Waits until every event up to `position` is acknowledged or parked, for at most `timeout`. Returns `false` when the timeout elapses.
    ///
    /// # Errors
    ///
    /// [`GroupError::Stopped`].
    pub fn when_processed(&self, position: Position, timeout: Duration) -> Result<bool, GroupError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let seen = self.shared.signal.generation();
            let status = self.status();
            if let Some(reason) = status.stopped {
                let name = status.name;
                return Err(GroupError::Stopped { name, reason });
            }
            if status.position >= position {
                return Ok(true);
            }
            if self.shared.signal.wait(seen, deadline) {
                return Ok(false);
            }
        }
    }

    /// The dead letters, ascending by position.
    pub fn letters(&self) -> Vec<Letter> {
        self.shared.broker.lock().letters()
    }

    /// Delivers the dead letters of an aggregate again, or those of all aggregates with `None`, in order. Returns their number.
    ///
    /// A letter that is acknowledged is removed. If one fails, it and those behind it are parked again. A letter whose event was dropped from the
    /// store is not delivered. The checkpoint does not change.
    pub fn replay_letters(&self, aggregate_id: Option<&str>) -> u64 {
        let count = self.shared.broker.lock().replay(aggregate_id);
        self.shared.signal.notify();
        count
    }

    /// Drops a dead letter: it is not replayed. Returns `false` if there is none at `position`, or its aggregate's letters are being replayed.
    ///
    /// # Errors
    ///
    /// [`StopReason::Storage`] when the drop cannot be stored; the reason of the stop when the group has stopped.
    pub fn drop_letter(&self, position: Position) -> Result<bool, StopReason> {
        self.shared.broker.lock().run(|broker| broker.drop_letter(position))
    }

    /// The store of the group.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }
}
