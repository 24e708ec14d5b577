//! Tails as streams: wakers, bounded polls, cancellation, and no retention work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use annals::{
    Budget, Delivery, Expected, GapReason, ManualClock, NewEvent, Position, Query, Settings, Store, StreamLimits,
    TailStream,
};
use futures_core::Stream;
use futures_util::StreamExt;

use super::{LONG, follow, position};
use crate::support::{START, events, fill, stream};

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(tail: &mut TailStream, waker: &Arc<Count>) -> Poll<Option<Delivery>> {
    let waker = Waker::from(Arc::clone(waker));
    std::pin::Pin::new(tail).poll_next(&mut Context::from_waker(&waker))
}

#[test]
fn a_task_is_woken_by_an_append() {
    let store = Store::in_memory();
    let mut tail = follow(&store, 0).into_stream();
    let waker = Arc::new(Count::default());
    assert_eq!(poll(&mut tail, &waker), Poll::Pending);
    fill(&store, "a", 1);
    assert_eq!(waker.0.load(Ordering::SeqCst), 1);
    assert!(matches!(poll(&mut tail, &waker), Poll::Ready(Some(Delivery::Event(_)))));
    // The task is not registered any more.
    fill(&store, "a", 1);
    assert_eq!(waker.0.load(Ordering::SeqCst), 1);
}

#[test]
fn a_task_polled_often_waits_once() {
    let store = Store::in_memory();
    let mut tail = follow(&store, 0).into_stream();
    let (old, new) = (Arc::new(Count::default()), Arc::new(Count::default()));
    for _ in 0..10_000 {
        assert_eq!(poll(&mut tail, &old), Poll::Pending);
    }
    assert_eq!(poll(&mut tail, &new), Poll::Pending);
    fill(&store, "a", 1);
    // The last waker is the one that counts, once.
    assert_eq!((old.0.load(Ordering::SeqCst), new.0.load(Ordering::SeqCst)), (0, 1));
    assert_eq!(Arc::strong_count(&old), 1, "a waker of an earlier poll is kept");
}

#[test]
fn a_dropped_tail_leaves_no_waker_behind() {
    let store = Store::in_memory();
    let waker = Arc::new(Count::default());
    for _ in 0..100 {
        assert_eq!(poll(&mut follow(&store, 0).into_stream(), &waker), Poll::Pending);
    }
    assert_eq!(Arc::strong_count(&waker), 1);
    fill(&store, "a", 1);
    assert_eq!(waker.0.load(Ordering::SeqCst), 0);
}

#[test]
fn closing_wakes_the_tasks() {
    let store = Store::in_memory();
    let mut tail = follow(&store, 0).into_stream();
    let waker = Arc::new(Count::default());
    assert_eq!(poll(&mut tail, &waker), Poll::Pending);
    drop(store);
    assert_eq!(waker.0.load(Ordering::SeqCst), 1);
    assert_eq!(poll(&mut tail, &waker), Poll::Ready(None));
}

#[test]
fn tasks_on_many_threads_get_every_event() {
    let store = Store::in_memory();
    let next = |tail: &mut TailStream| {
        futures_executor::block_on(std::future::poll_fn(|context| {
            std::pin::Pin::new(&mut *tail).poll_next(context)
        }))
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut tail = follow(&store, 0).into_stream();
            scope.spawn(move || {
                for wanted in 1..=2000 {
                    assert_eq!(position(next(&mut tail)), Some(wanted));
                }
                assert_eq!(next(&mut tail), None);
            });
        }
        let writers: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|id| {
                let store = &store;
                scope.spawn(move || {
                    for _ in 0..500 {
                        store
                            .append(&stream(id), Expected::Any, events(2))
                            .expect("anything goes");
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("a writer ends");
        }
        store.close().expect("closed");
    });
}

/// The deliveries of one poll after another, until a poll finds nothing and does not wake its task; with the number of polls, and
/// the most positions that one of them examined.
fn poll_through(tail: &mut TailStream) -> (Vec<Delivery>, u64, u64) {
    let waker = Arc::new(Count::default());
    let (mut seen, mut polls, mut most) = (Vec::new(), 0, 0);
    loop {
        let (before, woken) = (tail.position().0, waker.0.load(Ordering::SeqCst));
        let polled = poll(tail, &waker);
        polls += 1;
        most = most.max(tail.position().0 - before);
        match polled {
            Poll::Ready(Some(delivery)) => seen.push(delivery),
            Poll::Pending if waker.0.load(Ordering::SeqCst) > woken => {}
            Poll::Ready(None) | Poll::Pending => return (seen, polls, most),
        }
    }
}

/// As many events as a poll must not look through at once, the last of which is `Rare`.
fn million() -> Store {
    let store = Store::in_memory();
    for _ in 0..1_000 {
        store
            .append(&stream("a"), Expected::Any, vec![NewEvent::new("Common"); 1_000])
            .expect("anything goes");
    }
    store
        .append(&stream("a"), Expected::Any, vec![NewEvent::new("Rare")])
        .expect("anything goes");
    store
}

#[test]
fn a_poll_looked_through_the_whole_log_at_once() {
    let store = million();
    let by_text = Query::all().text("nowhere");
    let by_cause = Query::all().causation("nothing");
    for (query, found) in [
        (Query::all().event_type("Rare"), vec![1_000_001]),
        (Query::all().event_type("Rare").aggregate("a"), vec![1_000_001]),
        (by_text, vec![]),
        // Its index is not there, and a poll does not build it.
        (by_cause, vec![]),
    ] {
        let mut tail = store.tail(query.clone(), Position(0)).expect("valid").into_stream();
        let (seen, polls, most) = poll_through(&mut tail);
        let seen: Vec<_> = seen
            .into_iter()
            .filter_map(|delivery| position(Some(delivery)))
            .collect();
        assert_eq!(seen, found, "{query:?}");
        assert!(most <= 16_384, "{query:?}: {most} positions in a poll");
        assert!(polls >= 1_000_000 / 16_384, "{query:?}: {polls} polls");
        assert_eq!(tail.position(), Position(1_000_001), "{query:?}");

        let mut tail = tail.into_tail();
        assert!(tail.is_caught_up(), "{query:?}");
        assert_eq!(tail.try_next(), None);
        let mut again = store.tail(query.clone(), Position(0)).expect("valid");
        let mut tries = 0;
        while !again.is_caught_up() {
            tries += 1;
            again.try_next();
        }
        assert!(tries >= 1_000_000 / 16_384, "{query:?}: {tries} tries");
        // A blocking call goes through all of it.
        let mut blocking = store.tail(query.clone(), Position(0)).expect("valid");
        let timeout = if found.is_empty() { Duration::ZERO } else { LONG };
        let next = position(blocking.next_timeout(timeout));
        assert_eq!(next, found.first().copied(), "{query:?}");
    }
}

#[test]
fn a_stream_beside_an_iterator_was_ambiguous() {
    let store = Store::in_memory();
    fill(&store, "a", 3);
    let mut tail = follow(&store, 0);
    // Both traits are in scope here.
    assert_eq!(position(tail.next()), Some(1));
    let mut tail = tail.into_stream();
    assert_eq!(position(futures_executor::block_on(tail.next())), Some(2));
    let mut tail = tail.into_tail();
    assert_eq!(position(tail.by_ref().take(1).next()), Some(3));
    store.close().expect("closed");
    let rest = futures_executor::block_on(tail.into_stream().collect::<Vec<_>>());
    assert_eq!(rest, []);
}

#[test]
fn a_stream_that_waits_is_cancelled() {
    let store = Store::in_memory();
    let mut tail = follow(&store, 0).into_stream();
    let (waker, bystander) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let mut other = follow(&store, 0).into_stream();
    assert_eq!(poll(&mut tail, &waker), Poll::Pending);
    assert_eq!(poll(&mut other, &bystander), Poll::Pending);
    let cancel = tail.cancel_handle();
    std::thread::scope(|scope| {
        let cancel = cancel.clone();
        scope.spawn(move || {
            cancel.cancel();
            cancel.cancel();
        });
    });
    assert_eq!(waker.0.load(Ordering::SeqCst), 1);
    assert_eq!(bystander.0.load(Ordering::SeqCst), 0, "another stream was woken");
    assert_eq!(poll(&mut tail, &waker), Poll::Ready(None));
    assert!(cancel.is_cancelled());
    // The other goes on.
    fill(&store, "a", 1);
    assert_eq!(bystander.0.load(Ordering::SeqCst), 1);
    assert_eq!(poll(&mut tail, &waker), Poll::Ready(None));
    assert!(matches!(poll(&mut other, &bystander), Poll::Ready(Some(_))));
}

#[test]
fn a_stream_is_cancelled_while_a_task_awaits_it() {
    let store = Store::in_memory();
    for when in ["before", "meanwhile"] {
        let mut tail = follow(&store, 0).into_stream();
        let cancel = tail.cancel_handle();
        if when == "before" {
            cancel.cancel();
        }
        std::thread::scope(|scope| {
            let task = scope.spawn(move || futures_executor::block_on(tail.next()));
            cancel.cancel();
            assert_eq!(task.join().expect("it ends"), None, "{when}");
        });
    }
}

#[test]
fn a_stream_that_became_a_tail_leaves_no_waker_behind() {
    let store = Store::in_memory();
    let waker = Arc::new(Count::default());
    let mut tail = follow(&store, 0).into_stream();
    assert_eq!(poll(&mut tail, &waker), Poll::Pending);
    let mut tail = tail.into_tail();
    assert_eq!(Arc::strong_count(&waker), 1);
    fill(&store, "a", 1);
    assert_eq!(waker.0.load(Ordering::SeqCst), 0);
    assert_eq!(position(tail.next()), Some(1));
}

/// A store that keeps events for 60 seconds, and its clock.
fn aging() -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(START));
    let settings = Settings::default().budget(Budget::default().age(Duration::from_secs(60)));
    let builder = Store::builder()
        .settings(settings)
        .clock(Arc::<ManualClock>::clone(&clock));
    (builder.open().expect("the settings are in range"), clock)
}

fn gaps(seen: &[Delivery]) -> Vec<(u64, GapReason)> {
    let gap = |delivery: &Delivery| match delivery {
        Delivery::Gap(gap) => Some((gap.count, gap.reason.clone())),
        Delivery::Event(_) => None,
    };
    seen.iter().filter_map(gap).collect()
}

#[test]
fn a_poll_drops_nothing_and_delivers_nothing_too_old() {
    let (store, clock) = aging();
    fill(&store, "a", 3);
    clock.advance(Duration::from_secs(30));
    fill(&store, "a", 2);
    let mut tail = follow(&store, 0).into_stream();
    clock.advance(Duration::from_secs(31));

    let (seen, ..) = poll_through(&mut tail);
    assert_eq!(gaps(&seen), [(3, GapReason::Age)]);
    let events: Vec<_> = seen
        .into_iter()
        .filter_map(|delivery| position(Some(delivery)))
        .collect();
    assert_eq!(events, [4, 5]);
    // Every read of the store itself would drop them now.
    clock.set(START);
    assert_eq!(store.read_stream("a").events().len(), 5);
}

#[test]
fn an_event_that_aged_after_a_poll_took_it_was_delivered() {
    for expired in [false, true] {
        let (store, clock) = aging();
        fill(&store, "a", 3);
        let mut tail = follow(&store, 0).into_stream();
        let waker = Arc::new(Count::default());
        assert!(matches!(poll(&mut tail, &waker), Poll::Ready(Some(Delivery::Event(_)))));
        clock.advance(Duration::from_secs(61));
        if expired {
            assert_eq!(store.read_stream("a").events(), []);
        }
        let (seen, ..) = poll_through(&mut tail);
        assert_eq!(gaps(&seen), [(2, GapReason::Age)], "{expired}");
        assert_eq!((seen.len(), tail.position()), (1, Position(3)), "{expired}");
    }
}

#[test]
fn a_limit_by_age_holds_for_a_poll() {
    for blocking in [false, true] {
        let clock = Arc::new(ManualClock::at(START));
        let store = Store::builder()
            .clock(Arc::<ManualClock>::clone(&clock))
            .open()
            .expect("a store");
        fill(&store, "a", 2);
        fill(&store, "b", 2);
        let limits = StreamLimits::default().max_age(Duration::from_secs(60));
        store.set_limits("a", limits).expect("limited");
        let mut tail = follow(&store, 0).into_stream();
        clock.advance(Duration::from_secs(61));
        let seen = if blocking {
            store.close().expect("closed");
            tail.into_tail().collect()
        } else {
            poll_through(&mut tail).0
        };
        let reason = GapReason::Limit("a".into());
        assert_eq!(gaps(&seen), [(2, reason)], "{blocking}");
        let events: Vec<_> = seen
            .into_iter()
            .filter_map(|delivery| position(Some(delivery)))
            .collect();
        assert_eq!(events, [3, 4], "{blocking}");
    }
}

/// A waker that does what an executor may do when it polls at once: it reads and changes the store.
struct CallsTheStore(Store);

impl Wake for CallsTheStore {
    fn wake(self: Arc<Self>) {
        let store = &self.0;
        assert_eq!(store.read_stream("a").fold(0, |count, _| count + 1), store.visible().0);
        fill(&store.fork(), "a", 1);
    }
}

/// Runs `work`, and fails if it does not end.
fn ends(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        work();
        done.send(()).expect("the test waits");
    });
    ended
        .recv_timeout(Duration::from_secs(60))
        .expect("an append waited for itself");
    thread.join().expect("it ended well");
}

#[test]
fn a_waker_that_called_the_store_waited_for_the_append_that_woke_it() {
    let wait = |store: &Store| {
        let mut tail = follow(store, store.visible().0).into_stream();
        let waker = Waker::from(Arc::new(CallsTheStore(store.clone())));
        let polled = std::pin::Pin::new(&mut tail).poll_next(&mut Context::from_waker(&waker));
        assert_eq!(polled, Poll::Pending);
        tail
    };
    ends(move || {
        let store = Store::in_memory();
        let tail = wait(&store);
        fill(&store, "a", 1);
        drop(tail);
        let tail = wait(&store);
        let append = annals::Append::new(stream("a"), Expected::exactly(1), events(2));
        store.append_all(append.clone()).expect("two events");
        drop((tail, append));
    });
}
