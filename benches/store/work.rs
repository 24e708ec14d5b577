//! The events that are appended, made from names that were made before the clock starts.

use std::time::{Duration, Instant};

use annals::{Expected, Name, NewEvent, Store, StreamId};
use parking_lot::Mutex;
use uuid::{Builder, Uuid};

use crate::naive::{ByHand, OwnedEvent};
use crate::sure;

/// Types of events: 1,000,000 events have 125,000 of each.
const TYPES: usize = 8;
/// Consecutive events with one correlation.
const CONVERSATION_EVENTS: usize = 10;
/// Batches that are made at a time where making them does not count: few enough to stay in the processor's cache.
const MADE_AT_ONCE: usize = 256;
/// 128 bytes of JSON.
pub(crate) const PAYLOAD: &[u8; 128] = br#"{"amount":1250,"currency":"EUR","reference":"2026-01-31/0004711","channel":"mobile","note":"a payment like the others, in time"}"#;

/// What a store has to do to be filled.
pub(crate) trait Log: Sync {
    /// The events of a batch, as the store takes them.
    type Made<'a>;

    fn empty() -> Self;
    fn make(work: &Work, batch: Batch) -> Self::Made<'_>;
    /// Appends the events of a batch, which were made before.
    fn append_made(&self, work: &Work, batch: Batch, made: &mut Self::Made<'_>);
    /// Makes the events of a batch and appends them.
    fn append(&self, work: &Work, batch: Batch);
}

impl Log for Store {
    type Made<'a> = Vec<NewEvent<'a>>;

    fn empty() -> Self {
        Self::in_memory()
    }

    fn make(work: &Work, batch: Batch) -> Vec<NewEvent<'_>> {
        work.events(batch)
    }

    fn append_made(&self, work: &Work, batch: Batch, made: &mut Vec<NewEvent<'_>>) {
        let (stream, expected) = (work.stream(batch.aggregate), Expected::exactly(batch.version as u64));
        sure(Self::append(self, stream, expected, &*made));
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
    type Made<'a> = Vec<OwnedEvent>;

    fn empty() -> Self {
        Self::default()
    }

    fn make(work: &Work, batch: Batch) -> Vec<OwnedEvent> {
        work.kept(batch)
    }

    fn append_made(&self, work: &Work, batch: Batch, made: &mut Vec<OwnedEvent>) {
        let (stream, events) = (work.stream(batch.aggregate), std::mem::take(made));
        let appended = self.lock().append(stream, batch.version as u64, events);
        assert!(appended, "the store refused");
    }

    fn append(&self, work: &Work, batch: Batch) {
        let mut events = work.kept(batch);
        self.append_made(work, batch, &mut events);
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

/// How aggregates, conversations, users and organizations are named.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ids {
    /// At most 15 characters, which a [`Name`] keeps without an allocation.
    Short,
    /// 36 characters.
    Uuid,
}

impl Ids {
    fn name(self, kind: &str, number: usize) -> Name {
        match self {
            Self::Short => Name::from(format!("{kind}-{number:07}")),
            Self::Uuid => Name::from(uuid(kind, number).to_string()),
        }
    }

    fn names(self, kind: &str, count: usize) -> Vec<Name> {
        (0..count).map(|number| self.name(kind, number)).collect()
    }
}

/// The same for the same arguments, and as if it were random.
fn uuid(kind: &str, number: usize) -> Uuid {
    let half = |salt: u64| {
        let mixed = (number as u64 ^ salt << 40).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB)
    };
    let bits = u128::from(half(kind.len() as u64)) << 64 | u128::from(half(kind.len() as u64 + 100));
    Builder::from_random_bytes(bits.to_le_bytes()).into_uuid()
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
    pub(crate) fn new(ids: Ids, aggregates: usize, events: usize) -> Self {
        let streams = ids.names("account", aggregates).into_iter();
        Self {
            streams: streams.map(|id| StreamId::new("Account", id)).collect(),
            types: Ids::Short.names("MoneyMoved", TYPES),
            correlations: ids.names("request", events.div_ceil(CONVERSATION_EVENTS)),
            users: ids.names("user", 1_000),
            organizations: ids.names("org", 100),
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

    pub(crate) fn user(&self, number: usize) -> &Name {
        &self.users[number % self.users.len()]
    }

    pub(crate) fn event(&self, number: usize) -> NewEvent<'_> {
        // Types and users are mixed, so that an aggregate has several.
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        NewEvent::new(self.event_type(mixed))
            .correlation(self.correlation(number / CONVERSATION_EVENTS))
            .user(self.user(mixed))
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

    /// As [`fill`](Self::fill), and returns how long the appends took without making the events.
    pub(crate) fn fill_made_before<L: Log>(&self, log: &L, mut batches: impl Iterator<Item = Batch>) -> Duration {
        let mut took = Duration::ZERO;
        loop {
            let few = batches.by_ref().take(MADE_AT_ONCE);
            let mut made: Vec<_> = few.map(|batch| (batch, L::make(self, batch))).collect();
            if made.is_empty() {
                return took;
            }
            let start = Instant::now();
            for (batch, events) in &mut made {
                log.append_made(self, *batch, events);
            }
            took += start.elapsed();
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
