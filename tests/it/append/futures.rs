//! Appends as futures: nothing of the journal blocks the thread that polls, and nothing is lost or left when a future is dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use annals::journal::JournalErrorKind;
use annals::testing::faults::{Effect, Fault, Faults, Operation};
use annals::testing::personality::{Anomaly, Personality};
use annals::testing::storage::MemoryStorage;
use annals::{
    AppendFuture, Appended, Conflict, Durability, Error, Expected, FlushSettings, NewEvent, Position, Settings, Store,
    StreamId, StreamLimits, Version, WhenBehind,
};
use futures_executor::block_on;
use futures_util::future::join_all;
use uuid::Uuid;

use crate::support::stream;

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls a future once.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn open(storage: &MemoryStorage, flush: FlushSettings, durability: Durability) -> Store {
    let settings = Settings::default().flush(flush).durability(durability);
    let journal = storage.journal().expect("a journal");
    let builder = Store::builder().settings(settings).journal(journal);
    builder.open().expect("a store")
}

fn synced() -> (Store, MemoryStorage) {
    let storage = MemoryStorage::new(Durability::Synced);
    let store = open(&storage, FlushSettings::default(), Durability::Volatile);
    let store = store.with_durability(Durability::Synced).expect("it can sync");
    (store, storage)
}

/// A store whose backlog has room for some 20 events.
fn narrow() -> (Store, MemoryStorage) {
    let storage = MemoryStorage::new(Durability::Synced);
    let flush = FlushSettings::default().backlog_bytes(4096);
    (open(&storage, flush, Durability::Volatile), storage)
}

fn note() -> [NewEvent<'static>; 1] {
    [NewEvent::new("Noted").data([b'x'; 100])]
}

fn append(store: &Store, number: usize) -> AppendFuture {
    store.append_async(&stream(&format!("a-{number}")), Expected::Any, note())
}

/// Appends until the backlog has no room.
fn fill_backlog(store: &Store, storage: &MemoryStorage) -> usize {
    storage.hold();
    let mut count = 0;
    while let Ok(pending) = store.try_append(&stream("filler"), Expected::Any, note()) {
        drop(pending);
        count += 1;
    }
    count
}

fn appended(results: &[annals::Result<Appended>]) -> usize {
    let mut positions: Vec<_> = results
        .iter()
        .flatten()
        .map(|appended| appended.last_position)
        .collect();
    positions.sort_unstable();
    positions.dedup();
    positions.len()
}

#[test]
fn a_thousand_appends_wait_for_a_stalled_journal_on_one_thread() {
    let (store, storage) = synced();
    storage.hold();
    let mut appends: Vec<_> = (0..1000).map(|number| append(&store, number)).collect();
    assert_eq!(store.visible(), Position(0), "nothing happens before the first poll");
    for append in &mut appends {
        assert!(poll(append).is_pending());
    }
    assert_eq!(store.visible(), Position(1000));
    assert_eq!(store.reached(Durability::Synced), Position(0));
    storage.release();
    let results = block_on(join_all(appends));
    assert_eq!(appended(&results), 1000);
    assert!(
        results
            .iter()
            .flatten()
            .all(|appended| appended.durability == Durability::Synced)
    );
}

#[test]
fn a_full_backlog_waits_by_wakers() {
    let (store, storage) = narrow();
    let filled = fill_backlog(&store, &storage);
    let mut appends: Vec<_> = (0..1000).map(|number| append(&store, number)).collect();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    for append in &mut appends {
        assert!(Pin::new(append).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(
        store.visible(),
        Position(filled as u64),
        "nothing is written without room"
    );
    assert_eq!(
        count.0.load(Ordering::SeqCst),
        0,
        "a task that waits must not wake the others"
    );
    assert!(store.stats().backlog_bytes <= 4096);
    storage.release();
    assert_eq!(appended(&block_on(join_all(appends))), 1000);
    assert_eq!(store.visible(), Position(filled as u64 + 1000));
}

#[test]
fn an_append_without_waiting_is_refused_when_the_backlog_is_full() {
    let (store, storage) = narrow();
    let filled = fill_backlog(&store, &storage);
    assert!((5..40).contains(&filled), "{filled}");
    let refused = store
        .try_append(&stream("a"), Expected::NoStream, note())
        .expect_err("no room");
    assert!(matches!(refused, Error::Backlog { .. }), "{refused:?}");
    assert!(refused.to_string().contains("of 4096 allowed"), "{refused}");
    storage.release();
    block_on(append(&store, 1)).expect("there is room again");
    let pending = store
        .try_append(&stream("a"), Expected::NoStream, note())
        .expect("room");
    assert_eq!(pending.appended().last_version, Version(1));
    assert_eq!(pending.wait().map(|appended| appended.last_version), Ok(Version(1)));
}

#[test]
fn settings_that_refuse_refuse_a_future_too() {
    let storage = MemoryStorage::new(Durability::Synced);
    let flush = FlushSettings::default()
        .backlog_bytes(4096)
        .when_behind(WhenBehind::Refuse);
    let store = open(&storage, flush, Durability::Volatile);
    fill_backlog(&store, &storage);
    let refused = block_on(append(&store, 1));
    assert!(matches!(refused, Err(Error::Backlog { .. })), "{refused:?}");
    storage.release();
}

#[test]
fn dropped_futures_append_nothing_before_they_have_room_and_leave_no_waker() {
    let (store, storage) = narrow();
    let filled = fill_backlog(&store, &storage);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let never_polled = append(&store, 1);
    let mut waiting: Vec<_> = (0..50).map(|number| append(&store, number)).collect();
    for append in &mut waiting {
        assert!(Pin::new(append).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop((never_polled, waiting));
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1, "a waker is left");
    storage.release();
    store.wait_durable(Position(filled as u64)).expect("durable");
    assert_eq!(store.visible(), Position(filled as u64));
    block_on(append(&store, 1)).expect("the store goes on");
}

#[test]
fn a_dropped_future_whose_events_are_written_loses_nothing() {
    let (store, storage) = synced();
    storage.hold();
    let (order, id) = (stream("a"), Uuid::from_u128(7));
    let events = || [NewEvent::new("Noted").id(id)];
    let mut future = store.append_async(&order, Expected::NoStream, events());
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    assert!(
        Pin::new(&mut future)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop((future, waker));
    assert_eq!(Arc::strong_count(&count), 1, "a waker is left");
    storage.release();
    let again = block_on(store.append_async(&order, Expected::NoStream, events())).expect("a repetition");
    assert!(again.repeated && again.durability == Durability::Synced, "{again:?}");
    store.close().expect("closed");
    drop(store);
    let store = Store::open(storage.journal().expect("a journal")).expect("a store");
    assert_eq!(store.read_stream("a").events().len(), 1);
}

#[test]
fn a_journal_that_fails_fails_every_future() {
    for is_narrow in [false, true] {
        let (store, storage) = if is_narrow { narrow() } else { synced() };
        let store = store.with_durability(Durability::Synced).expect("it can sync");
        if is_narrow {
            fill_backlog(&store, &storage);
        }
        storage.hold();
        let mut appends: Vec<_> = (0..20).map(|number| append(&store, number)).collect();
        assert!(appends.iter_mut().all(|append| poll(append).is_pending()));
        storage.fail_next(&[JournalErrorKind::Failed]);
        storage.release();
        for mut append in appends {
            let failed = block_on(&mut append);
            assert!(matches!(failed, Err(Error::Failed { .. })), "{is_narrow}: {failed:?}");
            assert_eq!(poll(&mut append), Poll::Ready(failed), "it is polled again");
        }
        let failed = block_on(append(&store, 1));
        assert!(matches!(failed, Err(Error::Failed { .. })), "{failed:?}");
    }
}

#[test]
fn futures_complete_when_the_store_is_closed() {
    let (store, storage) = synced();
    storage.hold();
    let mut written = append(&store, 1);
    let new = append(&store, 2);
    assert!(poll(&mut written).is_pending());
    std::thread::scope(|scope| {
        scope.spawn(|| store.close().expect("closed"));
        storage.release();
    });
    assert_eq!(
        block_on(written).map(|appended| appended.durability),
        Ok(Durability::Synced)
    );
    assert_eq!(block_on(new), Err(Error::Closed));
}

#[test]
fn a_future_does_not_keep_the_store_open() {
    let (store, storage) = synced();
    let future = append(&store, 1);
    drop(store);
    assert_eq!(block_on(future), Err(Error::Closed));
    assert_eq!(storage.written(), Position(0));
}

#[test]
fn conflicts_invalid_names_and_empty_appends_are_as_in_append() {
    for store in [Store::in_memory(), synced().0, narrow().0] {
        let order = stream("a");
        let first = block_on(store.append_async(&order, Expected::NoStream, note())).expect("appended");
        let conflict = block_on(store.append_async(&order, Expected::NoStream, note()));
        assert_eq!(conflict, store.append(&order, Expected::NoStream, note()));
        assert!(matches!(conflict, Err(Error::Conflict(reason)) if matches!(*reason, Conflict::Version { .. })));
        let invalid = block_on(store.append_async(&StreamId::new("Note", ""), Expected::Any, note()));
        assert_eq!(invalid, store.append(&StreamId::new("Note", ""), Expected::Any, note()));
        let none: [NewEvent<'_>; 0] = [];
        let empty = block_on(store.append_async(&order, Expected::Exactly(Version(1)), none.clone()));
        assert_eq!(empty, store.append(&order, Expected::Exactly(Version(1)), none));
        assert_eq!(store.visible(), first.last_position);
    }
}

#[test]
fn a_limit_is_applied_when_the_future_was_dropped() {
    for waits in [true, false] {
        let storage = MemoryStorage::new(Durability::Synced);
        let store = open(&storage, FlushSettings::default(), Durability::Synced);
        let order = stream("a");
        store.append(&order, Expected::Any, note()).expect("appended");
        let limits = StreamLimits::default().max_count(1);
        store.set_limits("a", limits).expect("limited");
        storage.hold();
        let mut future = store.append_async(&order, Expected::Any, note());
        assert!(poll(&mut future).is_pending());
        assert_eq!(
            store.read_stream("a").events().len(),
            1,
            "the last one is not visible yet"
        );
        storage.release();
        if waits {
            block_on(future).expect("appended");
        } else {
            drop(future);
            store.wait_visible(Position(3));
            // The journal's thread has applied the limit when it has closed.
            store.close().expect("closed");
        }
        assert_eq!(store.read_stream("a").events().len(), 1, "{waits}");
    }
}

#[test]
fn visibility_is_a_future_too() {
    let (store, storage) = synced();
    storage.hold();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut visible = store.when_visible(Position(1));
    assert!(
        Pin::new(&mut visible)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    store
        .try_append(&stream("a"), Expected::Any, note())
        .map(drop)
        .expect("appended");
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    block_on(visible);
    let mut never = store.when_visible(Position(9));
    assert!(Pin::new(&mut never).poll(&mut Context::from_waker(&waker)).is_pending());
    drop((never, waker));
    assert_eq!(Arc::strong_count(&count), 1);
    let ended = store.when_visible(Position(9));
    storage.release();
    store.close().expect("closed");
    block_on(ended);
}

#[test]
fn a_follower_appends_on_its_own_threads() {
    let personality = Personality::none().with(Anomaly::StaleReads);
    let leader = Store::in_memory();
    let follower = leader.followed_like(&personality).expect("a follower");
    personality.pause_replay();
    let mut appends: Vec<_> = (0..200).map(|number| append(&follower, number)).collect();
    assert!(appends.iter_mut().all(|append| poll(append).is_pending()));
    drop(appends.split_off(100));
    personality.resume_replay();
    assert_eq!(appended(&block_on(join_all(appends))), 100);
    let refused = follower.try_append(&stream("a"), Expected::Any, note());
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    let pending = append(&follower, 1);
    follower.close().expect("closed");
    assert_eq!(block_on(pending), Err(Error::Closed));
}

#[test]
fn faults_of_a_test_act_on_futures() {
    for effect in [Effect::Fail, Effect::CommitThenTimeout] {
        let store = Store::in_memory();
        let faults = Faults::new([Fault::new(Operation::Append, effect)]).expect("faults");
        let handle = store.with_faults(&faults);
        let failed = block_on(append(&handle, 1));
        assert!(matches!(failed, Err(Error::Unavailable { .. })), "{failed:?}");
        assert_eq!(store.visible().0, u64::from(effect == Effect::CommitThenTimeout));
        block_on(append(&handle, 1)).expect("the fault acts once");
        faults.assert_all_fired();
    }
}
