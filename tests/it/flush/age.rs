//! How long events may be unwritten, where that is enforced.

use super::*;

/// A store whose journal writes nothing until it is released.
fn held(settings: FlushSettings) -> (Store, MemoryStorage) {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(settings));
    storage.hold();
    (store, storage)
}

fn enforced(when_behind: WhenBehind) -> FlushSettings {
    FlushSettings::default()
        .write_within(Duration::from_millis(5))
        .enforce_write_within(true)
        .when_behind(when_behind)
}

#[test]
fn appends_outran_the_time_in_which_events_are_written() {
    let (store, storage) = held(enforced(WhenBehind::Refuse));
    append(&store).expect("the first is never held back");
    let_the_journal_sleep(&store);
    let refused = append(&store);
    assert!(
        matches!(&refused, Err(Error::Backlog { reason: why }) if why.contains("within 5ms") && why.contains("write_within")),
        "{refused:?}"
    );
    let stats = store.stats();
    assert_eq!((stats.events, stats.events_at_risk), (1, 1));
    assert!(stats.at_risk_for >= Duration::from_millis(5), "{stats:?}");
    assert!(serde_json::to_value(stats).expect("JSON")["atRiskSeconds"].as_f64() >= Some(0.005));
    storage.release();
    store.wait_durable(Position(1)).expect("synced");
    assert_eq!(
        (store.stats().events_at_risk, store.stats().at_risk_for),
        (0, Duration::ZERO)
    );
    // After a pause nothing is old.
    let_the_journal_sleep(&store);
    append(&store).expect("nothing is unwritten");
}

#[test]
fn appends_wait_until_the_oldest_event_is_written() {
    let (store, storage) = held(enforced(WhenBehind::Wait));
    append(&store).expect("the first is never held back");
    let_the_journal_sleep(&store);
    std::thread::scope(|scope| {
        let part = annals::Append::new(order(), Expected::Any, vec![NewEvent::new("Placed")]);
        let second = scope.spawn(|| append(&store));
        let store_again = store.clone();
        let third = scope.spawn(move || store_again.append_all(vec![part]));
        let_the_journal_sleep(&store);
        assert_eq!(store.visible(), Position(1));
        storage.release();
        assert!(second.join().expect("no panic").is_ok());
        assert!(third.join().expect("no panic").is_ok());
    });
    assert_eq!(store.visible(), Position(3));
}

#[test]
fn without_the_setting_the_backlog_alone_holds_appends_back() {
    let settings = enforced(WhenBehind::Refuse).enforce_write_within(false);
    let (store, storage) = held(settings);
    for _ in 0..3 {
        append(&store).expect("there is room");
        let_the_journal_sleep(&store);
    }
    assert_eq!(store.stats().events_at_risk, 3);
    storage.release();
}

#[test]
fn a_fast_journal_holds_nothing_back() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(enforced(WhenBehind::Wait)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5_000).try_for_each(|_| append(&store).map(drop)).expect("appended"));
        }
    });
    assert_eq!(store.visible(), Position(20_000));
    store.close().expect("closed");
    assert_eq!(open(&storage, Settings::default()).visible(), Position(20_000));
}

/// An append that comes again holds room before the journal while it waits for a sync, and adds nothing that could be old.
#[test]
fn an_append_was_refused_for_its_age_when_all_was_written() {
    let settings = enforced(WhenBehind::Refuse).sync_within(LONG);
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(settings));
    let placed = || vec![NewEvent::new("Placed").id(uuid::Uuid::from_u128(7))];
    let written = store.with_durability(Durability::Written).expect("a handle");
    written.append(&order(), Expected::Any, placed()).expect("appended");
    storage.hold();
    std::thread::scope(|scope| {
        let synced = store.with_durability(Durability::Synced).expect("a handle");
        let again = scope.spawn(move || synced.append(&order(), Expected::Any, placed()));
        while store.stats().backlog_bytes == 0 {
            std::thread::yield_now();
        }
        let_the_journal_sleep(&store);
        let next = append(&store);
        // Others hold room, and this one is the oldest that is not written.
        let_the_journal_sleep(&store);
        let refused = append(&store);
        storage.release();
        next.expect("nothing is old");
        assert!(matches!(refused, Err(Error::Backlog { .. })), "{refused:?}");
        assert!(again.join().expect("no panic").expect("stored").repeated);
    });
    assert_eq!(store.visible(), Position(2));
}
