//! Futures in every state: moved between tasks, dropped while they complete, polled again, and in great numbers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use annals::testing::personality::{Anomaly, Personality};
use annals::testing::storage::MemoryStorage;
use annals::{
    AppendFuture, Budget, Durability, Error, Expected, FlushSettings, NewEvent, Position, Settings, Store, WhenFull,
};
use futures_executor::block_on;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;

use crate::support::stream;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_with(future, Waker::noop())
}

/// Runs `work` on a thread, and fails if it does not end.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).expect("it does not hang")
}

fn note() -> [NewEvent<'static>; 1] {
    [NewEvent::new("Noted").data([b'x'; 100])]
}

fn append(store: &Store, number: usize) -> AppendFuture {
    store.append_async(&stream(&format!("a-{number}")), Expected::Any, note())
}

/// A store with a small backlog, at this durability.
fn narrow(durability: Durability, budget: Budget) -> (Store, MemoryStorage) {
    let storage = MemoryStorage::new(Durability::Synced);
    let flush = FlushSettings::default().backlog_bytes(4096);
    let settings = Settings::default().flush(flush).durability(durability).budget(budget);
    let builder = Store::builder()
        .settings(settings)
        .journal(storage.journal().expect("a journal"));
    (builder.open().expect("a store"), storage)
}

fn fill_backlog(store: &Store, storage: &MemoryStorage) -> usize {
    storage.hold();
    let mut count = 0;
    while let Ok(pending) = store.try_append(&stream("filler"), Expected::Any, note()) {
        drop(pending);
        count += 1;
    }
    count
}

/// Polls a future on two tasks, completes it, and checks that the last task was woken.
fn check_moved<F: Future + Unpin>(mut future: F, what: &str, complete: impl FnOnce()) {
    let counts = [(); 2].map(|()| Arc::new(Count::default()));
    let wakers = counts.each_ref().map(|count| Waker::from(Arc::clone(count)));
    for waker in [&wakers[0], &wakers[1], &wakers[0], &wakers[1]] {
        assert!(poll_with(&mut future, waker).is_pending(), "{what}");
    }
    complete();
    let woken = Arc::clone(&counts[1]);
    ends(move || {
        while woken.get() == 0 {
            std::thread::yield_now();
        }
    });
    assert_eq!(counts[0].get(), 0, "{what}: the task that no longer has it");
    drop((future, wakers));
    assert!(
        counts.iter().all(|count| Arc::strong_count(count) == 1),
        "{what}: a waker is left"
    );
}

#[test]
fn a_future_moved_to_another_task_woke_the_first() {
    let (store, storage) = narrow(Durability::Synced, Budget::default());
    storage.hold();
    check_moved(append(&store, 1), "durability", || storage.release());
    storage.hold();
    let last = store.visible().0 + 1;
    drop(store.try_append(&stream("a"), Expected::Any, note()));
    check_moved(store.when_visible(Position(last)), "visible", || storage.release());
    fill_backlog(&store, &storage);
    check_moved(append(&store, 2), "room", || storage.release());
    let personality = Personality::none().with(Anomaly::StaleReads);
    let follower = Store::in_memory().followed_like(&personality).expect("a follower");
    personality.pause_replay();
    check_moved(append(&follower, 1), "a remote", || personality.resume_replay());
}

#[test]
fn a_dropped_append_of_a_follower_left_its_waker_until_the_remote_returned() {
    let personality = Personality::none().with(Anomaly::StaleReads);
    let follower = Store::in_memory().followed_like(&personality).expect("a follower");
    personality.pause_replay();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut appends: Vec<_> = (0..100).map(|number| append(&follower, number)).collect();
    assert!(appends.iter_mut().all(|append| poll_with(append, &waker).is_pending()));
    drop((appends, waker));
    assert_eq!(Arc::strong_count(&count), 1, "a waker is left");
    personality.resume_replay();
    block_on(append(&follower, 0)).expect("the store goes on");
}

#[test]
fn futures_dropped_while_another_thread_completes_them_lose_nothing() {
    for round in 0..40 {
        let (store, storage) = narrow(Durability::Synced, Budget::default());
        fill_backlog(&store, &storage);
        let mut appends: Vec<_> = (0..30).map(|number| append(&store, number)).collect();
        assert!(appends.iter_mut().all(|append| poll(append).is_pending()));
        let kept = appends.split_off(15);
        std::thread::scope(|scope| {
            scope.spawn(|| storage.release());
            scope.spawn(|| drop(appends));
        });
        let results = ends(move || block_on(join_all(kept)));
        assert!(
            results.iter().all(std::result::Result::is_ok),
            "round {round}: {results:?}"
        );
        let (again, visible) = (append(&store, 0), store.visible());
        let last = ends(move || block_on(again)).expect("the store goes on").last_position;
        assert_eq!(last.0, visible.0 + 1, "round {round}");
    }
}

#[test]
fn a_completed_future_returns_its_result_again() {
    let (store, _storage) = narrow(Durability::Synced, Budget::default());
    let mut done = append(&store, 1);
    let mut conflict = store.append_async(&stream("a-1"), Expected::Exactly(annals::Version(7)), note());
    let first = block_on(&mut done);
    let refused = block_on(&mut conflict);
    assert!(first.is_ok() && matches!(refused, Err(Error::Conflict(_))));
    store.close().expect("closed");
    assert_eq!(poll(&mut done), Poll::Ready(first));
    assert_eq!(poll(&mut conflict), Poll::Ready(refused));
    assert_eq!(store.visible(), Position(1));
}

#[test]
fn the_last_handle_can_be_dropped_and_the_store_forked_while_futures_wait() {
    let (store, storage) = narrow(Durability::Synced, Budget::default());
    let filled = fill_backlog(&store, &storage);
    let mut waiting: Vec<_> = (0..100).map(|number| append(&store, number)).collect();
    assert!(waiting.iter_mut().all(|append| poll(append).is_pending()));
    let fork = store.fork();
    fork.append(&stream("a"), Expected::Any, note())
        .expect("a fork has no journal");
    let appends = std::thread::spawn(move || block_on(join_all(waiting)));
    let closing = std::thread::spawn(move || drop(store));
    storage.release();
    let results = ends(move || (closing.join(), appends.join()).1).expect("no panic");
    let stored = results.iter().filter(|result| result.is_ok()).count();
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Ok(_) | Err(Error::Closed))),
        "{results:?}"
    );
    let again = Store::open(storage.journal().expect("it was closed")).expect("it recovers");
    assert_eq!(again.visible(), Position((filled + stored) as u64));
}

#[test]
fn abandoned_waits_take_no_room_and_no_budget() {
    let budget = Budget::default().events(30).when_full(WhenFull::DropOldest);
    let (store, storage) = narrow(Durability::Volatile, budget);
    let filled = fill_backlog(&store, &storage);
    for _ in 0..20 {
        let mut waiting: Vec<_> = (0..50).map(|number| append(&store, number)).collect();
        assert!(waiting.iter_mut().all(|append| poll(append).is_pending()));
    }
    storage.release();
    store.wait_durable(Position(filled as u64)).expect("durable");
    let again = store.clone();
    let results = ends(move || block_on(join_all((0..100).map(|number| append(&again, number)))));
    assert!(results.iter().all(std::result::Result::is_ok));
    assert_eq!(store.visible(), Position(filled as u64 + 100));
    assert_eq!(store.stats().events, 30);
}

/// A waker that appends.
struct Appender(Store, Mutex<Vec<AppendFuture>>);

impl Wake for Appender {
    fn wake(self: Arc<Self>) {
        let mut future = append(&self.0, 7);
        drop(poll(&mut future));
        self.1.lock().push(future);
    }
}

#[test]
fn a_waker_may_append() {
    let (store, storage) = narrow(Durability::Synced, Budget::default());
    let appender = Arc::new(Appender(store.clone(), Mutex::default()));
    let waker = Waker::from(Arc::clone(&appender));
    fill_backlog(&store, &storage);
    let mut waiting: Vec<_> = (0..10).map(|number| append(&store, number)).collect();
    assert!(waiting.iter_mut().all(|append| poll_with(append, &waker).is_pending()));
    storage.release();
    let woken = Arc::clone(&appender);
    // Before another task polls the futures, which would replace the waker.
    ends(move || {
        while woken.1.lock().is_empty() {
            std::thread::yield_now();
        }
    });
    let results = ends(move || block_on(join_all(waiting)));
    assert!(results.iter().all(std::result::Result::is_ok));
    let ended = ends(move || {
        let appends = std::mem::take(&mut *appender.1.lock());
        block_on(join_all(appends))
    });
    assert!(ended.iter().all(std::result::Result::is_ok));
}

/// Counts the polls of a future.
struct Counted<'a>(AppendFuture, &'a AtomicUsize);

impl Future for Counted<'_> {
    type Output = annals::Result<annals::Appended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll(context)
    }
}

#[test]
fn ten_thousand_futures_that_waited_for_room_polled_each_other_for_ever() {
    const FUTURES: usize = 10_000;
    let (polls, count) = ends(|| {
        let (store, storage) = narrow(Durability::Volatile, Budget::default());
        fill_backlog(&store, &storage);
        let polls = AtomicUsize::new(0);
        let mut all: FuturesUnordered<_> = (0..FUTURES)
            .map(|number| Counted(append(&store, number), &polls))
            .collect();
        storage.release();
        let count = block_on(async {
            let mut count = 0;
            while let Some(result) = all.next().await {
                result.expect("appended");
                count += 1;
            }
            count
        });
        drop(all);
        (polls.load(Ordering::Relaxed), count)
    });
    assert_eq!(count, FUTURES);
    // Some 20 have room at a time.
    assert!(polls < FUTURES * FUTURES / 10, "{polls} polls");
}
