//! What waits for the journal: how much may, and who waits for room.

use super::*;

#[test]
fn a_backlog_that_is_full_refuses_or_waits() {
    let small = lazy().backlog_bytes(1000).when_behind(WhenBehind::Refuse);
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(small.clone()));
    storage.hold();
    let refused = std::iter::repeat_with(|| append(&store))
        .find(Result::is_err)
        .expect("it fills up");
    let held = store.visible();
    // Before anything can fail: the store waits for the journal when it is dropped.
    storage.release();
    let message = refused.expect_err("refused").to_string();
    assert!(message.starts_with("the backlog of the journal is full: "), "{message}");
    assert!(
        message.ends_with("try later, or raise `flush.backlog_bytes`"),
        "{message}"
    );
    store.wait_durable(held).expect("durable");
    append(&store).expect("there is room again");

    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(small.when_behind(WhenBehind::Wait)));
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
    let tight = lazy().backlog_bytes(300);
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
fn a_refused_append_has_the_journal_make_room() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(
        &storage,
        flush(lazy().backlog_bytes(1000).when_behind(WhenBehind::Refuse)),
    );
    let refused = (0..100).find_map(|_| append(&store).err());
    assert!(matches!(refused, Some(Error::Backlog { .. })), "{refused:?}");
    while append(&store).is_err() {
        std::thread::yield_now();
    }
}

/// A flood of deletions filled memory while the disk was slow.
#[test]
fn changes_wait_for_room_as_appends_do() {
    let storage = MemoryStorage::new(Durability::Synced);
    let small = lazy().backlog_bytes(1000).when_behind(WhenBehind::Refuse);
    let store = open(&storage, flush(small));
    append(&store).expect("appended");
    storage.hold();
    let change = || store.set_limits("order-1", StreamLimits::default());
    let changed = std::iter::repeat_with(change)
        .take_while(Result::is_ok)
        .take(1000)
        .count();
    let refused = store.delete("order-1", Expected::Any);
    storage.release();
    assert!(changed < 100, "{changed} changes");
    assert!(matches!(refused, Err(Error::Backlog { .. })), "{refused:?}");
    store.wait_durable(store.visible()).expect("durable");
    store.delete("order-1", Expected::Any).expect("there is room again");
}

/// It was refused by what itself had begun.
#[test]
fn archiving_many_aggregates_needs_no_large_backlog() {
    let storage = MemoryStorage::new(Durability::Synced);
    let small = lazy().backlog_bytes(1000);
    let store = open(&storage, flush(small.clone()));
    for number in 0..3000 {
        let order = StreamId::new("Order", format!("order-{number}"));
        let placed = NewEvent::new("Placed").timestamp(Timestamp::from_micros(0));
        store.append(&order, Expected::Any, vec![placed]).expect("appended");
    }
    store.close().expect("closed");
    let refusing = small.when_behind(WhenBehind::Refuse);
    let store = open(&storage, flush(refusing));
    let archived = store.archive(Timestamp::from_micros(1), "old", |_| Ok::<_, Error>(()));
    assert_eq!(archived.map(|archived| archived.aggregates), Ok(3000));
    assert_eq!(store.read_all().events(), []);
}
