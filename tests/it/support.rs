//! What the tests share: stores, streams and events, made in one word.

use std::sync::Arc;

use annals::{
    Appended, Budget, Delivery, Event, Expected, Limits, ManualClock, NewEvent, Query, SeededIds, Settings, Store,
    StreamId, Tail, Timestamp, WhenFull,
};

/// Where the clocks of tests start: 2026-01-31T12:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_769_860_800_000_000);

pub(crate) fn stream(id: &str) -> StreamId {
    StreamId::new("Account", id)
}

/// An event of type `Noted`, with its number as JSON.
pub(crate) fn noted(number: u64) -> NewEvent<'static> {
    NewEvent::new("Noted").data(number.to_string())
}

pub(crate) fn events(count: u64) -> Vec<NewEvent<'static>> {
    (1..=count).map(noted).collect()
}

/// Appends `count` events whatever the aggregate has.
pub(crate) fn fill(store: &Store, id: &str, count: u64) -> Appended {
    store
        .append(&stream(id), Expected::Any, events(count))
        .expect("nothing is expected of the stream")
}

pub(crate) fn open(settings: Settings) -> Store {
    Store::builder()
        .settings(settings)
        .open()
        .expect("the settings are in range")
}

pub(crate) fn with_limits(limits: Limits) -> Store {
    open(Settings::default().limits(limits))
}

pub(crate) fn with_budget(budget: Budget) -> Store {
    open(Settings::default().budget(budget))
}

/// A store that keeps this many events, and drops the oldest beyond.
pub(crate) fn keeping(events: u64) -> Store {
    with_budget(Budget::default().events(events).when_full(WhenFull::DropOldest))
}

/// A store whose ids and time are its test's.
pub(crate) fn clocked(budget: Budget) -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(START));
    let store = Store::builder()
        .settings(Settings::default().budget(budget))
        .clock(Arc::<ManualClock>::clone(&clock))
        .ids(Arc::new(SeededIds::new(7)))
        .open()
        .expect("the settings are in range");
    (store, clock)
}

pub(crate) fn positions<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<u64> {
    events.into_iter().map(|event| event.position().0).collect()
}

/// The positions that answer a query.
pub(crate) fn found(store: &Store, query: Query) -> Vec<u64> {
    let answered = store.query(query).positions().expect("the query is valid");
    answered.into_iter().map(|position| position.0).collect()
}

/// The data of every event of an aggregate, as numbers.
pub(crate) fn numbers(store: &Store, id: &str) -> Vec<u64> {
    let events = store.read_stream(id).events();
    events
        .iter()
        .map(|event| event.json().expect("the data is a number"))
        .collect()
}

/// The positions of what a tail has now.
pub(crate) fn drain(tail: &mut Tail) -> Vec<u64> {
    let mut seen = Vec::new();
    while !tail.is_caught_up() {
        if let Some(Delivery::Event(event)) = tail.try_next() {
            seen.push(event.position().0);
        }
    }
    seen
}

/// A folder of its own, removed at the end.
pub(crate) struct TempFolder(std::path::PathBuf);

impl TempFolder {
    pub(crate) fn new() -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("annals-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
