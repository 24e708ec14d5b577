//! Between the store and its journal: what waits, what is refused, what a failing journal does to the store.

mod age;
mod backlog;
mod failing;
mod safety;
mod time;

use std::time::Duration;

use annals::journal::{Journal as _, JournalErrorKind};
use annals::testing::storage::MemoryStorage;
use annals::{
    Durability, Error, Expected, FlushSettings, NewEvent, Position, Settings, Store, StreamId, StreamLimits, Timestamp,
    WhenBehind,
};

/// Long enough that what waits for it has failed.
const LONG: Duration = Duration::from_secs(3600);

fn open(storage: &MemoryStorage, settings: Settings) -> Store {
    let journal = storage.journal().expect("a journal");
    Store::builder()
        .settings(settings)
        .journal(journal)
        .open()
        .expect("a store")
}

fn flush(flush: FlushSettings) -> Settings {
    Settings::default().flush(flush)
}

/// Nothing is written but what somebody waits for.
fn lazy() -> FlushSettings {
    FlushSettings::default().write_within(LONG).sync_within(LONG)
}

fn order() -> StreamId {
    StreamId::new("Order", "order-1")
}

fn append(store: &Store) -> annals::Result<annals::Appended> {
    store.append(&order(), Expected::Any, vec![NewEvent::new("Placed").data("{}")])
}

/// Waits for nothing: when this ends, the journal's thread has nothing to do and sleeps.
fn let_the_journal_sleep(store: &Store) {
    let mut tail = store.tail(annals::Query::all(), store.visible()).expect("a tail");
    assert!(tail.next_timeout(Duration::from_millis(50)).is_none());
}
