//! What readers see of events that are not safe yet, and what is dropped when.

use super::*;

#[test]
fn nothing_is_deleted_before_its_deletion_is_safe() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = synced(&storage);
    append(&store).expect("appended");
    storage.fail_next(&[JournalErrorKind::Failed]);
    assert!(matches!(
        store.tombstone("order-1", Expected::Any),
        Err(Error::Failed { .. })
    ));
    assert_eq!(store.read_stream("order-1").events().len(), 1);
    assert!(store.gaps().is_empty());
}

#[test]
fn events_dropped_before_they_were_written_are_written_all_the_same() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(lazy()));
    append(&store).expect("appended");
    let limits = StreamLimits::default().max_count(1);
    store.set_limits("order-1", limits).expect("limited");
    // Several chunks of events, all dropped but the last.
    for _ in 0..5000 {
        append(&store).expect("appended");
    }
    store.compact();
    store.close().expect("closed");
    assert_eq!(store.stats().events, 1);
    drop(store);
    let store = open(&storage, Settings::default());
    assert_eq!((store.recovery().events, store.recovery().dropped), (5002, 5000));
    assert_eq!(
        store.stream_info("order-1").map(|info| (info.version.0, info.events)),
        Some((5001, 1))
    );
}

#[test]
fn more_durability_than_there_is_is_refused() {
    let in_memory = Store::in_memory();
    assert!(matches!(
        in_memory.with_durability(Durability::Written),
        Err(Error::Invalid { .. })
    ));
    assert!(matches!(
        in_memory.wait_durable(Position(0)),
        Err(Error::Invalid { .. })
    ));
    let storage = MemoryStorage::new(Durability::Written);
    let journal = storage.journal().expect("a journal");
    let settings = Settings::default().durability(Durability::Synced);
    let opened = Store::builder().settings(settings.clone()).journal(journal).open();
    assert!(matches!(opened, Err(Error::Invalid { .. })));
    assert!(matches!(
        Store::builder().settings(settings).open(),
        Err(Error::Invalid { .. })
    ));
    let store = open(&storage, Settings::default());
    let written = store.with_durability(Durability::Written).expect("a handle");
    assert_eq!(append(&written).expect("appended").durability, Durability::Written);
    assert!(matches!(
        store.when_durable(Position(2), Durability::Written),
        Err(Error::Invalid { .. })
    ));
}

#[test]
fn a_fork_of_a_durable_store_is_in_memory() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = synced(&storage);
    append(&store).expect("appended");
    let fork = store.fork();
    assert_eq!(append(&fork).expect("appended").durability, Durability::Volatile);
    assert_eq!((store.visible(), fork.visible()), (Position(1), Position(2)));
    drop(fork);
    append(&store).expect("the fork took nothing along");
    assert_eq!(storage.written(), Position(2));
}

#[test]
fn tails_of_a_synced_store_deliver_what_is_synced() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = synced(&storage);
    let mut tail = store.tail(annals::Query::all(), Position(0)).expect("a tail");
    std::thread::scope(|scope| {
        storage.hold();
        let writer = scope.spawn(|| append(&store).expect("appended"));
        while store.reached(Durability::Volatile) < Position(1) {
            std::thread::yield_now();
        }
        assert!(tail.try_next().is_none());
        storage.release();
        assert_eq!(tail.events().next().map(|event| event.position()), Some(Position(1)));
        writer.join().expect("the writer ends");
    });
    store.close().expect("closed");
    assert!(tail.next().is_none());
}

/// A store whose readers see what is synced, and a journal that is held.
fn synced(storage: &MemoryStorage) -> Store {
    open(storage, flush(lazy()).durability(Durability::Synced))
}

/// Does `look` while `change` waits for the journal.
fn meanwhile(storage: &MemoryStorage, store: &Store, change: impl FnOnce() + Send, look: impl FnOnce()) {
    let before = store.reached(Durability::Volatile);
    storage.hold();
    std::thread::scope(|scope| {
        let release = Release(storage);
        scope.spawn(change);
        while store.reached(Durability::Volatile) == before {
            std::thread::yield_now();
        }
        look();
        drop(release);
    });
}

struct Release<'a>(&'a MemoryStorage);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[test]
fn what_is_past_a_limit_is_seen_until_what_comes_instead_is_safe() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = synced(&storage);
    append(&store).expect("appended");
    let limits = StreamLimits::default().max_count(1);
    store.set_limits("order-1", limits).expect("limited");
    let versions = |store: &Store| -> Vec<_> {
        let events = store.read_stream("order-1").events();
        events.iter().map(|event| event.version().0).collect()
    };
    let look = |version| {
        assert_eq!(versions(&store), [version]);
        let info = store.stream_info("order-1").map(|info| (info.version.0, info.events));
        assert_eq!(info, Some((version, 1)));
    };
    meanwhile(&storage, &store, || assert!(append(&store).is_ok()), || look(1));
    look(2);
    let both = || {
        let part = |id| annals::Append::new(StreamId::new("Order", id), Expected::Any, vec![NewEvent::new("Paid")]);
        store
            .append_all(vec![part("order-1"), part("order-2")])
            .expect("appended");
    };
    meanwhile(&storage, &store, both, || look(2));
    look(3);
    assert_eq!(store.gaps().iter().map(|gap| gap.count).sum::<u64>(), 2);
    drop(store);
    let store = open(&storage, Settings::default());
    assert_eq!(versions(&store), [3]);
}

#[test]
fn terms_and_statistics_do_not_count_what_is_not_safe() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = synced(&storage);
    append(&store).expect("appended");
    let look = |events| {
        let terms = store.terms(&annals::Field::Aggregate);
        assert_eq!(terms, [("order-1".into(), events)]);
        assert_eq!(store.terms(&annals::Field::EventType), [("Placed".into(), events)]);
        let stats = store.stats();
        assert_eq!(
            (stats.events, stats.aggregates, stats.position),
            (events, 1, Position(events))
        );
    };
    meanwhile(&storage, &store, || assert!(append(&store).is_ok()), || look(1));
    look(2);
    let other = || {
        let other = StreamId::new("Order", "order-2");
        store
            .append(&other, Expected::Any, vec![NewEvent::new("Paid")])
            .expect("appended");
    };
    meanwhile(&storage, &store, other, || look(2));
    assert_eq!(store.stats().aggregates, 2);
}

#[test]
fn a_journal_that_promises_nothing_acknowledges_nothing() {
    let storage = MemoryStorage::new(Durability::Volatile);
    let store = open(&storage, flush(lazy().events(1)));
    append(&store).expect("appended");
    while storage.written() < Position(1) {
        std::thread::yield_now();
    }
    let_the_journal_sleep(&store);
    assert_eq!(store.reached(Durability::Written), Position(0));
    let again = NewEvent::new("Placed").id(uuid::Uuid::from_u128(1));
    let repeated = |()| {
        store
            .append(&order(), Expected::Any, vec![again.clone()])
            .expect("appended")
    };
    let appended = [(); 2].map(repeated);
    let_the_journal_sleep(&store);
    assert_eq!(appended[1].durability, Durability::Volatile);
}
