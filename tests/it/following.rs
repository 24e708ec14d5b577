//! A store that follows a log whose feed or remote breaks the contract: it fails with an error that says what is wrong, and shows no hole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use annals::journal::{
    Batch, Feed, Followed, JournalError, JournalErrorKind, Record, Recover, Recovered, Remote, RemoteAppend,
};
use annals::{Appended, Durability, Error, Expected, NewEvent, Position, Query, Result, Store, Version};
use futures_executor::block_on;
use futures_util::future::join_all;
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use crate::support::{positions, stream};

/// How long a test waits for a thread that must end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a call of the feed does.
#[derive(Clone, Debug)]
enum Call {
    Passes(Vec<Batch>),
    Fails(JournalErrorKind),
    Panics,
    /// Passes batches until its receiver refuses one.
    PassesForEver,
}

/// What a feed and its remote share.
#[derive(Debug, Default)]
struct State {
    calls: VecDeque<Call>,
    is_stopped: bool,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>, Condvar);

impl Shared {
    fn add(&self, call: Call) {
        self.0.lock().calls.push_back(call);
        self.1.notify_all();
    }
}

#[derive(Debug)]
struct Script {
    shared: Arc<Shared>,
    /// Whether a wait lasts beyond `Remote::stop`.
    is_deaf: bool,
}

impl Feed for Script {
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let call = self.shared.0.lock().calls.pop_front();
        match call {
            None => {}
            Some(Call::Passes(batches)) => batches.into_iter().try_for_each(|batch| into.batch(batch))?,
            Some(Call::Fails(kind)) => return Err(JournalError::new(kind, "as the script says")),
            Some(Call::Panics) => panic!("as the script says"),
            Some(Call::PassesForEver) => {
                for position in after.0 + 1.. {
                    into.batch(batch([(position, position, "a")]))?;
                    std::thread::yield_now();
                }
            }
        }
        Ok(Recovered::default())
    }

    fn wait(&mut self) {
        let mut state = self.shared.0.lock();
        self.shared.1.wait_while(&mut state, |state| {
            state.calls.is_empty() && (self.is_deaf || !state.is_stopped)
        });
    }
}

/// Acknowledges each append as `acknowledges` says; `None` panics.
#[derive(Debug)]
struct Parrot {
    shared: Arc<Shared>,
    acknowledges: Option<Appended>,
    timeout: Duration,
}

impl Remote for Parrot {
    fn append(&self, _: &RemoteAppend<'_>) -> Result<Appended> {
        Ok(self.acknowledges.expect("the remote panics"))
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn wake(&self) {}

    fn stop(&self) {
        self.shared.0.lock().is_stopped = true;
        self.shared.1.notify_all();
    }
}

/// A batch of events, each with its position, version and aggregate.
fn batch<'a>(events: impl IntoIterator<Item = (u64, u64, &'a str)>) -> Batch {
    let mut batch = Batch::new();
    for (position, version, id) in events {
        let id_of_event = Uuid::from_u128(u128::from(position));
        let mut record = Record::new(Position(position), Version(version), id_of_event);
        record.aggregate_id = id;
        record.aggregate_type = "Account";
        record.event_type = if id.starts_with('$') { "$unknown" } else { "Noted" };
        record.data = b"1";
        batch.push(&record);
    }
    batch
}

fn acknowledgement(versions: (u64, u64), positions: (u64, u64)) -> Appended {
    // The only way to make one outside of the library.
    let store = Store::in_memory();
    let mut appended = store
        .append(&stream("a"), Expected::Any, [NewEvent::new("Noted")])
        .expect("appended");
    (appended.first_version, appended.last_version) = (Version(versions.0), Version(versions.1));
    (appended.first_position, appended.last_position) = (Position(positions.0), Position(positions.1));
    appended.durability = Durability::Synced;
    appended
}

/// A store that has read three events of the aggregate `a`.
fn follow(acknowledges: Option<Appended>, timeout: Duration) -> (Store, Arc<Shared>) {
    open(acknowledges, timeout, false)
}

fn open(acknowledges: Option<Appended>, timeout: Duration, is_deaf: bool) -> (Store, Arc<Shared>) {
    let shared = Arc::new(Shared::default());
    shared.add(Call::Passes(vec![batch([(1, 1, "a"), (2, 2, "a"), (3, 3, "a")])]));
    let script = Script {
        shared: Arc::clone(&shared),
        is_deaf,
    };
    let parrot = Parrot {
        shared: Arc::clone(&shared),
        acknowledges,
        timeout,
    };
    let store = Store::builder().follow_log(Followed::new(script, parrot));
    (store.expect("it follows"), shared)
}

/// Runs `work` on a thread, and fails if it does not end.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).expect("it does not hang")
}

/// What a store shows that has read three events and then a round that it must refuse.
fn check_unharmed(store: &Store, what: &str) {
    assert_eq!(store.visible(), Position(3), "{what}");
    assert_eq!(positions(&store.read_all().events()), [1, 2, 3], "{what}");
    assert_eq!(positions(&store.read_stream("a").events()), [1, 2, 3], "{what}");
    assert_eq!(store.read_stream("b").events().len(), 0, "{what}");
    let refused = store.append(&stream("a"), Expected::Any, [NewEvent::new("Noted")]);
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{what}: {refused:?}");
}

#[test]
fn half_of_a_damaged_round_was_visible() {
    let timeout = Duration::from_secs(5);
    let good = || batch([(4, 4, "a"), (5, 1, "b")]);
    for (what, batches) in [
        ("a hole before the first batch", vec![batch([(5, 4, "a")])]),
        ("a batch again", vec![batch([(3, 3, "a")])]),
        ("a hole within a batch", vec![batch([(4, 4, "a"), (6, 5, "a")])]),
        ("a hole between batches", vec![good(), batch([(7, 5, "a")])]),
        ("batches in the wrong order", vec![batch([(6, 5, "a")]), good()]),
        ("a version again", vec![batch([(4, 4, "a"), (5, 4, "a")])]),
        ("a version again in a later batch", vec![good(), batch([(6, 4, "a")])]),
        (
            "an earlier version",
            vec![batch([(4, 1, "b"), (5, 2, "b"), (6, 1, "b")])],
        ),
        (
            "an event of the system that no version writes",
            vec![good(), batch([(6, 1, "$b")])],
        ),
    ] {
        let (store, shared) = follow(None, timeout);
        let mut tail = store.tail(Query::all(), Position(3)).expect("a tail");
        shared.add(Call::Passes(batches));
        store.wait_visible(Position(1000));
        let fault = store.fault().expect("why it does not follow");
        assert_eq!(fault.kind(), JournalErrorKind::Corrupt, "{what}: {fault}");
        assert!(fault.to_string().contains("position"), "{what}: {fault}");
        check_unharmed(&store, what);
        assert!(tail.next().is_none(), "{what}: the tail ends");
        store.close().expect("it closes");
    }
}

#[test]
fn a_feed_that_fails_for_a_while_loses_nothing() {
    let (store, shared) = follow(None, Duration::from_secs(5));
    shared.add(Call::Fails(JournalErrorKind::Retry));
    shared.add(Call::Passes(vec![batch([(4, 4, "a")])]));
    store.wait_visible(Position(4));
    assert_eq!(positions(&store.read_stream("a").events()), [1, 2, 3, 4]);
}

#[test]
fn a_feed_that_fails_or_panics_ends_waits_and_appends() {
    for call in [
        Call::Fails(JournalErrorKind::Failed),
        Call::Fails(JournalErrorKind::Unsupported),
        Call::Panics,
    ] {
        let (store, shared) = follow(Some(acknowledgement((4, 4), (4, 4))), PATIENCE);
        shared.add(call);
        let fault = ends(move || {
            store.wait_visible(Position(4));
            let refused = store.append(&stream("a"), Expected::Any, [NewEvent::new("Noted")]);
            (refused, store.fault(), store.close())
        });
        assert!(
            matches!(fault.0, Err(Error::Failed { .. } | Error::Closed)),
            "{fault:?}"
        );
        assert!(fault.1.is_some() && fault.2.is_ok(), "{fault:?}");
    }
}

#[test]
fn closing_waited_for_ever_for_an_endless_round_or_wait() {
    let (store, shared) = follow(None, Duration::from_millis(50));
    shared.add(Call::PassesForEver);
    ends(move || store.close()).expect("it closes");
    let (store, _shared) = open(None, Duration::from_millis(50), true);
    ends(move || store.close()).expect("it closes");
    let (store, shared) = open(None, Duration::from_millis(50), true);
    ends(move || drop(store));
    // The thread that was left reads nothing more.
    shared.add(Call::Passes(vec![batch([(4, 4, "a")])]));
}

#[test]
fn an_acknowledgement_of_positions_that_never_come_ends_in_time() {
    let (store, _shared) = follow(Some(acknowledgement((4, 4), (4, 4))), Duration::from_millis(20));
    let future = store.append_async(&stream("a"), Expected::Any, [NewEvent::new("Noted")]);
    let (blocking, awaited) = ends(move || {
        let blocking = store.append(&stream("a"), Expected::Any, [NewEvent::new("Noted")]);
        (blocking, block_on(future))
    });
    for refused in [blocking, awaited] {
        let is_right =
            matches!(&refused, Err(Error::Unavailable { cause: error }) if error.to_string().contains("position 4"));
        assert!(is_right, "{refused:?}");
    }
}

#[test]
fn an_acknowledgement_of_other_events_was_passed_on() {
    for (what, versions, positions, count) in [
        ("no position", (0, 0), (0, 0), 1),
        ("positions in the wrong order", (1, 1), (3, 2), 1),
        ("too few positions", (1, 2), (2, 2), 2),
        ("too few versions", (2, 2), (1, 2), 2),
        ("versions in the wrong order", (3, 2), (2, 3), 2),
        ("the events of another append", (3, 3), (3, 3), 1),
        ("a range that ends with the events of another append", (1, 3), (1, 3), 3),
    ] {
        let (store, _shared) = follow(Some(acknowledgement(versions, positions)), Duration::from_secs(5));
        let events = vec![NewEvent::new("Noted"); count];
        let future = store.append_async(&stream("a"), Expected::Any, &events);
        let blocking = store.append(&stream("a"), Expected::Any, &events);
        for refused in [blocking, block_on(future)] {
            assert!(matches!(&refused, Err(Error::Corrupt { .. })), "{what}: {refused:?}");
        }
        assert_eq!(store.visible(), Position(3), "{what}: the store goes on reading");
    }
    let (store, _shared) = follow(Some(acknowledgement((3, 3), (3, 3))), Duration::from_secs(5));
    let again = store.append(
        &stream("a"),
        Expected::Any,
        [NewEvent::new("Noted").id(Uuid::from_u128(3))],
    );
    assert!(again.is_ok(), "the event with this id: {again:?}");
}

#[test]
fn futures_in_the_queue_hung_when_a_remote_panicked() {
    let (store, _shared) = follow(None, Duration::from_secs(5));
    let results = ends(move || {
        let append =
            |number: usize| store.append_async(&stream(&number.to_string()), Expected::Any, [NewEvent::new("Noted")]);
        block_on(join_all((0..300).map(append)))
    });
    for result in results {
        let is_right =
            matches!(&result, Err(Error::Unavailable { cause: error }) if error.to_string().contains("panicked"));
        assert!(is_right, "{result:?}");
    }
}
