//! The events that are appended, made from names that were made before the clock starts.

use annals::{Expected, Name, NewEvent, Store, StreamId};
use parking_lot::Mutex;

use crate::naive::{ByHand, OwnedEvent};
use crate::sure;

/// Types of events: 1,000,000 events have 125,000 of each.
const TYPES: usize = 8;
/// Consecutive events with one correlation.
const CONVERSATION_EVENTS: usize = 10;
/// 128 bytes of JSON.
pub(crate) const PAYLOAD: &[u8; 128] = br#"{"amount":1250,"currency":"EUR","reference":"2026-01-31/0004711","channel":"mobile","note":"a payment like the others, in time"}"#;

/// What a store has to do to be filled.
pub(crate) trait Log: Sync {
    fn empty() -> Self;
    /// Makes the events of a batch and appends them.
    fn append(&self, work: &Work, batch: Batch);
}

impl Log for Store {
    fn empty() -> Self {
        Self::in_memory()
    }

    fn append(&self, work: &Work, batch: Batch) {
        let (stream, expected) = (work.stream(batch.aggregate), Expected::exactly(batch.version as u64));
        if batch.count == 1 {
            sure(Self::append(self, stream, expected, work.event(batch.first)));
        } else {
            sure(Self::append(self, stream, expected, work.events(batch)));
        }
    }
}

impl<S: ByHand> Log for Mutex<S> {
    fn empty() -> Self {
        Self::default()
    }

    fn append(&self, work: &Work, batch: Batch) {
        let events = work.kept(batch);
        let appended = self
            .lock()
            .append(work.stream(batch.aggregate), batch.version as u64, events);
        assert!(appended, "the store refused");
    }
}

/// Consecutive events for one aggregate.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) aggregate: usize,
    /// The version that the aggregate has before.
    pub(crate) version: usize,
    /// The number of the first event.
    pub(crate) first: usize,
    pub(crate) count: usize,
}

/// `rounds` batches of `count` events for each of `aggregates` aggregates, one round after the other.
pub(crate) fn interleaved(aggregates: usize, rounds: usize, count: usize) -> impl Iterator<Item = Batch> {
    (0..aggregates * rounds).map(move |number| Batch {
        aggregate: number % aggregates,
        version: number / aggregates * count,
        first: number * count,
        count,
    })
}

/// The names in the events.
pub(crate) struct Work {
    streams: Vec<StreamId>,
    types: Vec<Name>,
    correlations: Vec<Name>,
    users: Vec<Name>,
    organizations: Vec<Name>,
}

impl Work {
    pub(crate) fn new(aggregates: usize, events: usize) -> Self {
        let names = |kind: &str, count: usize| -> Vec<Name> {
            (0..count)
                .map(|number| Name::from(format!("{kind}-{number:07}")))
                .collect()
        };
        Self {
            streams: names("account", aggregates)
                .into_iter()
                .map(|id| StreamId::new("Account", id))
                .collect(),
            types: names("MoneyMoved", TYPES),
            correlations: names("request", events.div_ceil(CONVERSATION_EVENTS)),
            users: names("user", 1_000),
            organizations: names("org", 100),
        }
    }

    pub(crate) fn stream(&self, number: usize) -> &StreamId {
        &self.streams[number % self.streams.len()]
    }

    pub(crate) fn event_type(&self, number: usize) -> &Name {
        &self.types[number % TYPES]
    }

    pub(crate) fn correlation(&self, number: usize) -> &Name {
        &self.correlations[number % self.correlations.len()]
    }

    pub(crate) fn event(&self, number: usize) -> NewEvent<'_> {
        // Types and users are mixed, so that an aggregate has several.
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        NewEvent::new(self.event_type(mixed))
            .correlation(self.correlation(number / CONVERSATION_EVENTS))
            .user(&self.users[mixed % self.users.len()])
            .organization(&self.organizations[mixed % self.organizations.len()])
            .data(PAYLOAD)
    }

    pub(crate) fn events(&self, batch: Batch) -> Vec<NewEvent<'_>> {
        (batch.first..batch.first + batch.count)
            .map(|number| self.event(number))
            .collect()
    }

    /// The same events as a store keeps that needs its own names and bytes.
    pub(crate) fn kept(&self, batch: Batch) -> Vec<OwnedEvent> {
        let numbers = batch.first..batch.first + batch.count;
        numbers.map(|number| OwnedEvent::from(&self.event(number))).collect()
    }

    pub(crate) fn fill(&self, log: &impl Log, batches: impl Iterator<Item = Batch>) {
        for batch in batches {
            log.append(self, batch);
        }
    }

    /// As [`fill`](Self::fill) with single events, two threads with half of the aggregates each.
    pub(crate) fn fill_with_two_threads(&self, log: &impl Log, aggregates: usize, rounds: usize) {
        std::thread::scope(|scope| {
            for half in 0..2 {
                let is_mine = move |batch: &Batch| batch.aggregate % 2 == half;
                scope.spawn(move || self.fill(log, interleaved(aggregates, rounds, 1).filter(is_mine)));
            }
        });
    }
}
