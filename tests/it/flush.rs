//! Between the store and its journal: what waits, what is refused, what a failing journal does to the store.

use std::time::Duration;

use annals::journal::{Journal as _, JournalErrorKind};
use annals::testing::storage::MemoryStorage;
use annals::{
    Durability, Error, Expected, FlushSettings, NewEvent, Position, Settings, Store, StreamId, StreamLimits, WhenBehind,
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
    Settings {
        flush,
        ..Settings::default()
    }
}

/// Nothing is written but what somebody waits for.
fn lazy() -> FlushSettings {
    FlushSettings {
        write_within: LONG,
        sync_within: LONG,
        ..FlushSettings::default()
    }
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

#[test]
fn what_nobody_waits_for_is_written_and_synced_in_time() {
    let storage = MemoryStorage::new(Durability::Synced);
    let soon = Duration::from_millis(1);
    let store = open(
        &storage,
        flush(FlushSettings {
            write_within: soon,
            sync_within: soon,
            ..FlushSettings::default()
        }),
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
        flush(FlushSettings {
            write_within: Duration::from_millis(1),
            sync_within: LONG,
            ..FlushSettings::default()
        }),
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
    let store = open(&storage, flush(FlushSettings { events: 10, ..lazy() }));
    for _ in 0..10 {
        append(&store).expect("appended");
    }
    while store.reached(Durability::Written) < Position(10) {
        std::thread::yield_now();
    }
    assert_eq!(store.stats().backlog_bytes, 0);
    assert_eq!(store.stats().events_at_risk, 10);
}

#[test]
fn the_longest_time_there_is_does_not_end_the_journal() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(
        &storage,
        flush(FlushSettings {
            write_within: Duration::MAX,
            sync_within: Duration::MAX,
            retry_for: Duration::MAX,
            ..FlushSettings::default()
        }),
    );
    let written = store.acknowledging(Durability::Written).expect("a handle");
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
    let store = open(
        &storage,
        flush(FlushSettings {
            sync_within: Duration::ZERO,
            ..lazy()
        }),
    );
    let written = store.acknowledging(Durability::Written).expect("a handle");
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
fn a_backlog_that_is_full_refuses_or_waits() {
    let small = FlushSettings {
        backlog_bytes: 1000,
        when_behind: WhenBehind::Refuse,
        ..lazy()
    };
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(small.clone()));
    storage.hold();
    let refused = std::iter::repeat_with(|| append(&store))
        .find(Result::is_err)
        .expect("it fills up");
    let message = refused.expect_err("refused").to_string();
    assert!(message.starts_with("the store is full: "), "{message}");
    assert!(
        message.ends_with("try later, or raise `flush.backlog_bytes`"),
        "{message}"
    );
    let held = store.visible();
    storage.release();
    store.wait_durable(held).expect("durable");
    append(&store).expect("there is room again");

    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(
        &storage,
        flush(FlushSettings {
            when_behind: WhenBehind::Wait,
            ..small
        }),
    );
    std::thread::scope(|scope| {
        storage.hold();
        let writer = scope.spawn(|| (0..50).try_for_each(|_| append(&store).map(drop)));
        while store.stats().backlog_bytes < 500 {
            std::thread::yield_now();
        }
        storage.release();
        writer.join().expect("the writer ends").expect("appended");
    });
    assert_eq!(store.visible(), Position(50));
}

#[test]
fn who_waits_for_room_is_woken_by_appends_that_are_refused_too() {
    let storage = MemoryStorage::new(Durability::Synced);
    let tight = FlushSettings {
        backlog_bytes: 300,
        ..lazy()
    };
    let store = open(&storage, flush(tight));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for version in 0..500 {
                    // Nearly all of these are conflicts.
                    drop(store.append(&order(), Expected::exactly(version), vec![NewEvent::new("Placed")]));
                    append(&store).expect("appended");
                }
            });
        }
    });
    assert!(store.visible() >= Position(2000));
}

#[test]
fn what_may_succeed_later_is_tried_again() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(lazy()));
    storage.fail_next(&[JournalErrorKind::Retry, JournalErrorKind::Retry]);
    let appended = append(&store).expect("appended");
    store.wait_durable(appended.last_position).expect("durable");
    assert_eq!(store.fault(), None);
}

#[test]
fn what_never_succeeds_is_given_up() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(
        &storage,
        flush(FlushSettings {
            retry_for: Duration::ZERO,
            ..lazy()
        }),
    );
    storage.fail_next(&[JournalErrorKind::Retry]);
    let failed = store.acknowledging(Durability::Synced).expect("a handle");
    assert!(matches!(append(&failed), Err(Error::Failed(_))));
}

#[test]
fn a_failed_journal_leaves_the_store_readable_and_refuses_appends() {
    for visible in [Durability::Volatile, Durability::Synced] {
        let storage = MemoryStorage::new(Durability::Synced);
        let store = open(
            &storage,
            Settings {
                durability: visible,
                ..flush(lazy())
            },
        );
        let safe = store.acknowledging(Durability::Synced).expect("a handle");
        append(&safe).expect("appended");
        storage.fail_next(&[JournalErrorKind::Failed]);
        let failed = append(&safe).expect_err("the journal failed").to_string();
        assert!(failed.contains("the memory failed, as it was told to"), "{failed}");
        assert!(failed.contains("opened anew"), "{failed}");
        assert!(matches!(append(&store), Err(Error::Failed(_))));
        assert!(matches!(store.delete("order-1", Expected::Any), Err(Error::Failed(_))));
        assert!(store.fault().is_some());
        assert!(matches!(store.close(), Err(Error::Failed(_))));
        // What was never safe was never seen, where that was asked for.
        let seen = if visible == Durability::Synced { 1 } else { 2 };
        assert_eq!(store.stream("order-1").events().len(), seen);
        assert_eq!(
            store.stream_info("order-1").map(|info| info.version.0),
            Some(seen as u64)
        );
        drop((safe, store));
        assert_eq!(open(&storage, Settings::default()).visible(), Position(1));
    }
}

#[test]
fn nothing_is_deleted_before_its_deletion_is_safe() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(
        &storage,
        Settings {
            durability: Durability::Synced,
            ..flush(lazy())
        },
    );
    append(&store).expect("appended");
    storage.fail_next(&[JournalErrorKind::Failed]);
    assert!(matches!(
        store.tombstone("order-1", Expected::Any),
        Err(Error::Failed(_))
    ));
    assert_eq!(store.stream("order-1").events().len(), 1);
    assert!(store.gaps().is_empty());
}

#[test]
fn events_dropped_before_they_were_written_are_written_all_the_same() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(lazy()));
    append(&store).expect("appended");
    let limits = StreamLimits {
        max_count: Some(1),
        ..StreamLimits::default()
    };
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
        in_memory.acknowledging(Durability::Written),
        Err(Error::Invalid(_))
    ));
    assert!(matches!(in_memory.wait_durable(Position(0)), Err(Error::Invalid(_))));
    let storage = MemoryStorage::new(Durability::Written);
    let journal = storage.journal().expect("a journal");
    let settings = Settings {
        durability: Durability::Synced,
        ..Settings::default()
    };
    let opened = Store::builder().settings(settings.clone()).journal(journal).open();
    assert!(matches!(opened, Err(Error::Invalid(_))));
    assert!(matches!(
        Store::builder().settings(settings).open(),
        Err(Error::Invalid(_))
    ));
    let store = open(&storage, Settings::default());
    let written = store.acknowledging(Durability::Written).expect("a handle");
    assert_eq!(append(&written).expect("appended").durability, Durability::Written);
    assert!(matches!(
        store.when_durable(Position(2), Durability::Written),
        Err(Error::Invalid(_))
    ));
}

#[test]
fn a_fork_of_a_durable_store_is_in_memory() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(
        &storage,
        Settings {
            durability: Durability::Synced,
            ..flush(lazy())
        },
    );
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
    let store = open(
        &storage,
        Settings {
            durability: Durability::Synced,
            ..flush(lazy())
        },
    );
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
    open(
        storage,
        Settings {
            durability: Durability::Synced,
            ..flush(lazy())
        },
    )
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
    let limits = StreamLimits {
        max_count: Some(1),
        ..StreamLimits::default()
    };
    store.set_limits("order-1", limits).expect("limited");
    let versions = |store: &Store| -> Vec<_> {
        let events = store.stream("order-1").events();
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
    let store = open(&storage, flush(FlushSettings { events: 1, ..lazy() }));
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

#[test]
fn a_refused_append_has_the_journal_make_room() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(
        &storage,
        flush(FlushSettings {
            backlog_bytes: 1000,
            when_behind: WhenBehind::Refuse,
            ..lazy()
        }),
    );
    let refused = (0..100).find_map(|_| append(&store).err());
    assert!(matches!(refused, Some(Error::Full(_))), "{refused:?}");
    while append(&store).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn no_more_events_are_written_together_than_the_settings_say() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(FlushSettings { events: 3, ..lazy() }));
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

/// A waker that has a handle of the store, as a task has that is dropped where it is woken.
struct LastHandle(parking_lot::Mutex<Option<Store>>);

impl std::task::Wake for LastHandle {
    fn wake(self: std::sync::Arc<Self>) {
        drop(self.0.lock().take());
    }
}

#[test]
fn the_last_handle_may_be_dropped_on_the_journals_thread() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(lazy()));
    let mut tail = store.tail(annals::Query::all(), Position(0)).expect("a tail");
    storage.hold();
    append(&store).expect("appended");
    let mut ticket = Box::pin(store.when_durable(Position(1), Durability::Synced).expect("a ticket"));
    let waker = std::sync::Arc::new(LastHandle(parking_lot::Mutex::new(Some(store)))).into();
    let polled = ticket.as_mut().poll(&mut std::task::Context::from_waker(&waker));
    assert!(polled.is_pending());
    storage.release();
    assert_eq!(tail.events().count(), 1);
    futures_executor::block_on(ticket).expect("durable");
    while storage.journal().is_err() {
        std::thread::yield_now();
    }
}
