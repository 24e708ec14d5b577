//! The usage of a store, counted only if its budget needs it.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::event::names::tag_bytes;
use crate::journal::Batch;
use crate::settings::{Budget, WhenFull};
use crate::store::append::prepare::PreparedAppend;
use crate::{Error, EventRef, NewEvent, Result};

/// Events and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) events: i64,
    pub(crate) bytes: i64,
}

impl Cost {
    pub(crate) fn of(parts: &[PreparedAppend<'_>]) -> Self {
        let mut cost = Self::default();
        for part in parts {
            let id_bytes = part.stream.aggregate_id.len();
            for event in part.events {
                cost.events += 1;
                cost.bytes += signed(id_bytes + event_bytes(event));
            }
        }
        cost
    }

    /// The cost of a batch's events, including system events.
    pub(crate) fn of_batch(batch: &Batch) -> Self {
        let events = batch.len() as u64;
        Self::new(events, batch.bytes() as u64 + events * EVENT_OVERHEAD_BYTES)
    }

    /// The cost of a batch's user events.
    pub(crate) fn of_users(batch: &Batch) -> Self {
        let mut cost = Self::default();
        for event in batch.events() {
            let event = EventCost::of(event);
            cost.events += signed(event.events as usize);
            cost.bytes += signed(event.bytes as usize);
        }
        cost
    }

    pub(crate) fn new(events: u64, bytes: u64) -> Self {
        Self {
            events: i64::try_from(events).unwrap_or(i64::MAX),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Bytes of names, payload and overhead. [`EventCost`] computes the same when the event is dropped.
fn event_bytes(event: &NewEvent<'_>) -> usize {
    let names = [
        &event.correlation_id,
        &event.causation_id,
        &event.user_id,
        &event.organization_id,
    ];
    let names: usize = names.into_iter().flatten().map(|name| name.len()).sum();
    let tags: usize = event.tags.iter().map(|tag| tag_bytes(tag)).sum();
    let overhead = usize::try_from(EVENT_OVERHEAD_BYTES).unwrap_or(usize::MAX);
    overhead + names + tags + event.metadata.len() + event.data.len()
}

/// The cost of one event, as the budget counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventCost {
    pub(crate) position: u64,
    /// 0 for system events.
    pub(crate) events: u64,
    /// 0 for changes of aggregates, which no budget counts.
    pub(crate) bytes: u64,
}

/// Bytes of an event beyond its names and payload: its record, its entry in the directory, its postings.
pub(crate) const EVENT_OVERHEAD_BYTES: u64 = 100;

impl EventCost {
    pub(crate) fn of(event: EventRef<'_>) -> Self {
        let position = event.position().0;
        if event.is_change() {
            return Self {
                position,
                events: 0,
                bytes: 0,
            };
        }
        let bytes = event.names_bytes() + event.metadata().len() + event.data().len();
        Self {
            position,
            events: u64::from(!event.is_system()),
            bytes: bytes as u64 + EVENT_OVERHEAD_BYTES,
        }
    }
}

/// Events that were dropped together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DroppedRun {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u64,
    /// Number of these that the budget counts.
    pub(crate) counted: u64,
    pub(crate) bytes: u64,
}

impl DroppedRun {
    pub(crate) fn starting(cost: &EventCost) -> Self {
        Self {
            first: cost.position,
            last: cost.position,
            count: 0,
            counted: 0,
            bytes: 0,
        }
    }

    pub(crate) fn add(&mut self, cost: &EventCost) {
        self.first = self.first.min(cost.position);
        self.last = self.last.max(cost.position);
        self.count += 1;
        self.counted += cost.events;
        self.bytes += cost.bytes;
    }
}

/// Events and bytes that threads count.
#[derive(Debug, Default)]
struct Counter {
    events: AtomicI64,
    bytes: AtomicI64,
}

impl Counter {
    fn starting(cost: Cost) -> Self {
        Self {
            events: AtomicI64::new(cost.events),
            bytes: AtomicI64::new(cost.bytes),
        }
    }

    fn now(&self) -> Cost {
        Cost {
            events: self.events.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Returns the sum.
    fn add(&self, cost: Cost) -> Cost {
        Cost {
            events: self.events.fetch_add(cost.events, Ordering::Relaxed) + cost.events,
            bytes: self.bytes.fetch_add(cost.bytes, Ordering::Relaxed) + cost.bytes,
        }
    }

    fn subtract(&self, cost: Cost) {
        self.events.fetch_sub(cost.events, Ordering::Relaxed);
        self.bytes.fetch_sub(cost.bytes, Ordering::Relaxed);
    }
}

/// The current usage.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Including appends in progress, which have reserved their room.
    held: Counter,
    /// Without them. Changed under the lock of a shard, so that a fork, which locks all shards, counts exactly its own events.
    written: Counter,
}

impl Usage {
    /// The usage of a fork, while all shards are locked.
    pub(crate) fn fork(&self) -> Self {
        let written = self.written.now();
        Self {
            held: Counter::starting(written),
            written: Counter::starting(written),
        }
    }

    pub(crate) fn held(&self) -> Cost {
        self.held.now()
    }

    /// Counts an append with reserved room as written.
    pub(crate) fn add_written(&self, cost: Cost) {
        self.written.add(cost);
    }

    /// Releases the room of dropped events.
    pub(crate) fn drop_written(&self, cost: Cost) {
        self.written.subtract(cost);
        self.held.subtract(cost);
    }

    /// Reserves room for `cost`.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if there is not enough and the budget is to refuse; nothing is reserved then.
    pub(crate) fn take(&self, cost: Cost, budget: &Budget) -> Result<()> {
        let Cost { events, bytes } = self.held.add(cost);
        if budget.when_full == WhenFull::DropOldest {
            return Ok(());
        }
        let over = over("events", events, budget.events).or_else(|| over("bytes", bytes, budget.bytes));
        match over {
            Some(message) => {
                self.release(cost);
                Err(Error::Full {
                    message: message.into(),
                })
            }
            None => Ok(()),
        }
    }

    /// Counts existing events, whether or not they fit.
    pub(crate) fn add(&self, cost: Cost) {
        self.held.add(cost);
        self.written.add(cost);
    }

    /// Releases the room of an append that was not written.
    pub(crate) fn release(&self, cost: Cost) {
        self.held.subtract(cost);
    }

    /// Whether the usage exceeds the budget.
    pub(crate) fn is_over(&self, budget: &Budget) -> bool {
        let held = self.held();
        over("events", held.events, budget.events).is_some() || over("bytes", held.bytes, budget.bytes).is_some()
    }
}

fn over(what: &str, held: i64, max: Option<u64>) -> Option<String> {
    let max = max?;
    let held = u64::try_from(held).unwrap_or(0);
    (held > max)
        .then(|| format!("with this append it holds {held} {what}, of {max} allowed; drop events, or raise the budget"))
}
