//! What a failing journal does to the store.

use super::*;

/// A waker that has a handle of the store, as a task has that is dropped where it is woken.
struct LastHandle(parking_lot::Mutex<Option<Store>>);

impl std::task::Wake for LastHandle {
    fn wake(self: std::sync::Arc<Self>) {
        drop(self.0.lock().take());
    }
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
fn a_retry_was_told_to_nobody() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(lazy()));
    assert_eq!(store.retrying(), None);
    storage.fail_next(&[JournalErrorKind::Retry; 6]);
    let appended = append(&store).expect("appended");
    let written = store
        .when_durable(appended.last_position, Durability::Written)
        .expect("a ticket");
    let is_unwritten = || store.reached(Durability::Written) < appended.last_position;
    let retrying = std::iter::from_fn(|| is_unwritten().then(|| store.retrying()))
        .flatten()
        .next();
    drop(written);
    let retrying = retrying.expect("it is tried again for more than half a second");
    assert!(retrying.error.to_string().contains("as it was told to"), "{retrying:?}");
    assert!(retrying.left > Duration::from_secs(20), "{retrying:?}");
    store.wait_durable(appended.last_position).expect("durable");
    assert_eq!(store.retrying(), None);
}

#[test]
fn what_never_succeeds_is_given_up() {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, flush(lazy().retry_for(Duration::ZERO)));
    storage.fail_next(&[JournalErrorKind::Retry]);
    let failed = store.with_durability(Durability::Synced).expect("a handle");
    assert!(matches!(append(&failed), Err(Error::Failed { .. })));
}

#[test]
fn a_failed_journal_leaves_the_store_readable_and_refuses_appends() {
    for visible in [Durability::Volatile, Durability::Synced] {
        let storage = MemoryStorage::new(Durability::Synced);
        let store = open(&storage, flush(lazy()).durability(visible));
        let safe = store.with_durability(Durability::Synced).expect("a handle");
        append(&safe).expect("appended");
        storage.fail_next(&[JournalErrorKind::Failed]);
        let failed = append(&safe).expect_err("the journal failed").to_string();
        assert!(failed.contains("the memory failed, as it was told to"), "{failed}");
        assert!(failed.contains("until it is reopened"), "{failed}");
        assert!(matches!(append(&store), Err(Error::Failed { .. })));
        assert!(matches!(
            store.delete("order-1", Expected::Any),
            Err(Error::Failed { .. })
        ));
        assert!(store.fault().is_some());
        assert!(matches!(store.close(), Err(Error::Failed { .. })));
        // What was never safe was never seen, where that was asked for.
        let seen = if visible == Durability::Synced { 1 } else { 2 };
        assert_eq!(store.read_stream("order-1").events().len(), seen);
        assert_eq!(
            store.stream_info("order-1").map(|info| info.version.0),
            Some(seen as u64)
        );
        drop((safe, store));
        assert_eq!(open(&storage, Settings::default()).visible(), Position(1));
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
