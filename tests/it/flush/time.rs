//! When the journal writes and syncs, and how much at once.

use super::*;

#[test]
fn what_nobody_waits_for_is_written_and_synced_in_time() {
    let storage = MemoryStorage::new(Durability::Synced);
    let soon = Duration::from_millis(1);
    let store = open(
        &storage,
        flush(FlushSettings::default().write_within(soon).sync_within(soon)),
    );
    let appended = append(&store).expect("appended");
    assert_eq!(appended.durability, Durability::Volatile);
    // The ticket waits; it asks for nothing that would not come by itself.
    while store.reached(Durability::Synced) < appended.last_position {
        std::thread::yield_now();
    }
    assert_eq!(store.stats().events_at_risk, 0);
}

#[test]
fn what_is_not_synced_yet_does_not_hold_up_what_is_not_written() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(
        &storage,
        flush(
            FlushSettings::default()
                .write_within(Duration::from_millis(1))
                .sync_within(LONG),
        ),
    );
    for _ in 0..2 {
        let appended = append(&store).expect("appended");
        while store.reached(Durability::Written) < appended.last_position {
            std::thread::yield_now();
        }
        let mut tail = store
            .tail(annals::Query::all(), appended.last_position)
            .expect("a tail");
        // Nothing comes; when this ends, the journal's thread sleeps.
        assert!(tail.next_timeout(Duration::from_millis(50)).is_none());
    }
    assert_eq!(store.reached(Durability::Synced), Position(0));
}

#[test]
fn enough_events_are_written_at_once() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(lazy().events(10)));
    // The journal writes what there is when its thread starts, which may be some of the events: this one.
    let written = store.with_durability(Durability::Written).expect("a handle");
    append(&written).expect("appended");
    for _ in 0..10 {
        append(&store).expect("appended");
    }
    while store.reached(Durability::Written) < Position(11) {
        std::thread::yield_now();
    }
    assert_eq!(store.stats().backlog_bytes, 0);
    assert_eq!(store.stats().events_at_risk, 11);
}

#[test]
fn the_longest_time_there_is_does_not_end_the_journal() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(
        &storage,
        flush(
            FlushSettings::default()
                .write_within(Duration::MAX)
                .sync_within(Duration::MAX)
                .retry_for(Duration::MAX),
        ),
    );
    let written = store.with_durability(Durability::Written).expect("a handle");
    append(&store).expect("appended");
    let_the_journal_sleep(&store);
    append(&written).expect("appended");
    let_the_journal_sleep(&store);
    let appended = append(&store).expect("appended");
    store.wait_durable(appended.last_position).expect("durable");
    assert_eq!(store.fault(), None);
}

#[test]
fn a_journal_that_cannot_sync_does_not_write_each_event_alone() {
    let storage = MemoryStorage::new(Durability::Written);
    let store = open(&storage, flush(lazy().sync_within(Duration::ZERO)));
    let written = store.with_durability(Durability::Written).expect("a handle");
    append(&written).expect("appended");
    for _ in 0..1000 {
        append(&store).expect("appended");
    }
    assert_eq!(store.reached(Durability::Written), Position(1));
}

#[test]
fn many_who_wait_share_a_sync() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(lazy()));
    storage.hold();
    for _ in 0..100 {
        append(&store).expect("appended");
    }
    let tickets: Vec<_> = (1..=100)
        .map(|position| {
            store
                .when_durable(Position(position), Durability::Synced)
                .expect("a ticket")
        })
        .collect();
    storage.release();
    for ticket in tickets {
        ticket.wait().expect("durable");
    }
    assert!(storage.syncs() <= 2, "{} syncs", storage.syncs());
}

#[test]
fn no_more_events_are_written_together_than_the_settings_say() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(lazy().events(3)));
    storage.hold();
    for _ in 0..100 {
        append(&store).expect("appended");
    }
    storage.release();
    store.close().expect("closed");
    drop(store);
    let mut longest = Longest(0);
    let mut journal = storage.journal().expect("a journal");
    journal.recover(&mut longest).expect("recovered");
    assert_eq!(longest.0, 3);
}

struct Longest(usize);

impl annals::journal::Recover for Longest {
    fn batch(&mut self, batch: annals::journal::Batch) -> Result<(), annals::journal::JournalError> {
        self.0 = self.0.max(batch.len());
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}
