//! Consumer groups: consumers that compete for the events of a query, each event to one of them, the events of an aggregate in order.

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
use super::process::{Letter, StartFrom, StopReason, check_name, panic_text};
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
/// Each event goes to one consumer, which acknowledges it. An event that is not acknowledged goes to another consumer: when its consumer gives it
/// back, drops it, or does not answer in time. After its last attempt it is parked as a dead letter. The events of one aggregate are handed
/// out in order, one at a time; behind a dead letter, later events of the aggregate are parked, too. Events of different aggregates are handed
/// out in parallel.
///
/// The group's checkpoint and its dead letters are kept in the store. Leases and pauses follow the store's clock. A group has no thread of its own.
/// Cheap to clone: a clone for each consumer.
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

/// How a group is opened. See [`Group::builder`].
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
    /// Sets the codec, the upcasters, and what is done with unknown types. By default events are JSON of the newest schema.
    pub fn events<C: Codec>(mut self, events: &TypedEvents<E, C>) -> Self {
        self.reader = events.reader();
        self.query = events.all();
        self
    }

    /// Sets the events that the group consumes. By default those of its event types. The events by which processors store their starts and dead
    /// letters are left out.
    pub fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Sets how long a consumer has an event before it goes to another. 30 seconds by default.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// Sets how often an event is handed out, and the pauses between, before it is parked. 5 attempts by default, with random pauses of up to 1 s,
    /// 2 s, and so on.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.settings.retry = retry;
        self
    }

    /// Sets how many events are fetched and not acknowledged at most: 1,024 by default, at least 1.
    pub fn max_in_flight(mut self, events: usize) -> Self {
        self.settings.max_in_flight = events.max(1);
        self
    }

    /// Sets where the group begins that has no checkpoint yet.
    pub fn start_from(mut self, from: StartFrom) -> Self {
        self.settings.from = from;
        self
    }

    /// Goes on where events are gone before a consumer saw them. By default the group stops there, with the gap as the reason.
    pub fn skip_gaps(mut self) -> Self {
        self.settings.skips_gaps = true;
        self
    }

    /// Opens the group. An earlier opening of the same name stops: its consumers get [`StopReason::Superseded`].
    ///
    /// # Errors
    ///
    /// [`StopReason`] when the checkpoint or the dead letters cannot be read, or the name or the query is invalid.
    pub fn open(self) -> Result<Group<E>, StopReason> {
        check_name(&self.name).map_err(|error| StopReason::Storage(error.to_string()))?;
        let signal = Arc::<Signal>::default();
        let broker = Broker::open(
            &self.store,
            &self.name,
            self.query,
            self.reader,
            self.settings,
            Arc::clone(&signal),
        )?;
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

/// What a group is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its name.
    pub name: Name,
    /// Everything up to here is acknowledged or parked.
    pub position: Position,
    /// The number of positions after that, of whatever events.
    pub lag_events: u64,
    /// The events that are fetched, and neither acknowledged nor parked.
    pub in_flight: usize,
    /// The aggregates with an event that can be handed out.
    pub ready: usize,
    /// The aggregates whose event a consumer has, or which is to be handed out again later.
    pub waiting: usize,
    /// The dead letters.
    pub letters: usize,
    /// Why it hands out nothing more, until it is [resumed](Group::resume).
    pub stopped: Option<StopReason>,
}

/// Why a consumer gets no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The group has stopped. Resume it when the cause is gone.
    #[error("group '{name}' has stopped: {reason}")]
    Stopped {
        /// The group.
        name: Name,
        /// Why.
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
    /// The group of this name, for the events of the types of `E` in `store`.
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
    /// Waits for an event, for at most `timeout`. Returns `None` when the time is over.
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

    /// An event, if one can be handed out now.
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
        let lease = broker.run(Broker::next);
        let (waits, is_closed) = (broker.waits(), broker.is_closed());
        drop(broker);
        match lease {
            Ok(Some(lease)) => Ok((Some(Received::new(&self.shared, lease)), waits)),
            Ok(None) if is_closed && !waits => Err(GroupError::Ended { name: name() }),
            Ok(None) => Ok((None, waits)),
            Err(reason) => Err(GroupError::Stopped { name: name(), reason }),
        }
    }

    /// Handles events with `handler` on this thread until the group is [ended](Self::end) or stops: an event that is handled is acknowledged,
    /// one that fails is given back, and one that fails [for good](HandlerError::permanent) is parked. A panic is a failure. Call it on as
    /// many threads as there are to be consumers. Returns the number of events handled.
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

    /// Ends the group for all its handles: consumers that wait return. What is handed out can still be acknowledged. The checkpoint is saved.
    pub fn end(&self) {
        self.shared.is_ended.store(true, Ordering::Release);
        // A failure is told by the status.
        drop(self.shared.broker.lock().run(Broker::save));
        self.shared.signal.notify();
    }

    /// Goes on after the checkpoint when the group has stopped. What is handed out and not acknowledged is handed out again.
    ///
    /// # Errors
    ///
    /// [`StopReason`] when it cannot.
    pub fn resume(&self) -> Result<(), StopReason> {
        let resumed = self.shared.broker.lock().resume();
        self.shared.signal.notify();
        resumed
    }

    /// What the group is doing.
    pub fn status(&self) -> GroupStatus {
        self.shared.broker.lock().status()
    }

    /// Waits until everything up to `position` is acknowledged or parked, for at most `timeout`. Returns whether it is.
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

    /// Hands the dead letters of an aggregate out again, or all of them, in order. Returns their number. An event is a letter no more when it is
    /// acknowledged; when it fails, it and those behind it are parked again. The checkpoint stays where it is.
    pub fn replay_letters(&self, aggregate_id: Option<&str>) -> u64 {
        let count = self.shared.broker.lock().replay(aggregate_id);
        self.shared.signal.notify();
        count
    }

    /// Drops a dead letter: no consumer gets it. Returns whether there was one that is not being replayed.
    ///
    /// # Errors
    ///
    /// [`StopReason::Storage`] when that cannot be stored.
    pub fn drop_letter(&self, position: Position) -> Result<bool, StopReason> {
        self.shared.broker.lock().run(|broker| broker.drop_letter(position))
    }

    /// The store of the group.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }
}
