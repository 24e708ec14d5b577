//! The contracts of a [`Feed`] and its [`Remote`] as tests: one line runs them all for a log.
//!
//! ```
//! # mod tests {
//! use annals::Store;
//! use annals::journal::{Followed, JournalError};
//! use annals::testing::conformance::Log;
//! use annals::testing::personality::Personality;
//!
//! struct Memory(Store);
//!
//! impl Log for Memory {
//!     fn connect(&self) -> Result<Followed, JournalError> {
//!         Ok(self.0.log_like(&Personality::postgres()))
//!     }
//! }
//!
//! annals::feed_conformance!(memory, Memory(Store::in_memory()));
//! # }
//! ```

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::journal::{Batch, Feed, Followed, JournalError, JournalErrorKind, Recover, Remote, RemoteAppend};
use crate::{
    Appended, Conflict, ContentType, Durability, Error, Event, Expected, NewEvent, Position, Result, Store, StreamId,
    Timestamp, Version,
};

/// How long a rule waits for a feed that lags behind its remote, and repeats an append that is unavailable.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A log that can be followed.
pub trait Log {
    /// Connects to the log. Several connections exist at once.
    ///
    /// # Errors
    ///
    /// Those of the log.
    fn connect(&self) -> Result<Followed, JournalError>;
}

/// Generates a module `$name` with a test for every rule of the contracts of a feed and its remote; `$log` is an expression for an empty
/// [`Log`](crate::testing::conformance::Log).
#[macro_export]
macro_rules! feed_conformance {
    ($name:ident, $log:expr) => {
        mod $name {
            use super::*;

            $crate::feed_conformance! {
                @rules $log;
                an_empty_log_passes_nothing_on
                every_field_of_an_append_is_read
                an_append_is_consecutive
                an_append_that_does_not_fit_stores_nothing
                an_append_with_the_same_ids_is_stored_once
                an_append_with_some_known_ids_stores_nothing
                appends_of_several_threads_leave_no_hole
                a_read_ends_with_a_whole_append
                a_read_continues_after_a_position
                a_read_that_its_receiver_ends_can_be_repeated
                a_wait_ends_when_it_is_woken
                a_stopped_log_ends_waits
                stores_that_follow_see_the_same
            }
        }
    };
    (@rules $log:expr; $($rule:ident)*) => {
        $(
            #[test]
            fn $rule() {
                let log = $log;
                $crate::testing::conformance::feed::$rule(&log);
            }
        )*
    };
}

/// A connection to a log.
struct Connection {
    feed: Box<dyn Feed>,
    remote: Box<dyn Remote>,
}

#[expect(
    clippy::expect_used,
    reason = "a rule that does not hold fails the test that runs this"
)]
fn connect(log: &dyn Log) -> Connection {
    let (feed, remote) = log.connect().expect("the log can be followed").into_parts();
    Connection { feed, remote }
}

/// Takes what a feed passes on, and refuses batches from the first after `refuses_after` events on.
#[derive(Debug)]
struct Taker {
    events: Vec<Event>,
    /// The last position.
    last: u64,
    refuses_after: usize,
}

impl Taker {
    fn after(position: u64) -> Self {
        Self {
            events: Vec::new(),
            last: position,
            refuses_after: usize::MAX,
        }
    }
}

impl Recover for Taker {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.events.len() >= self.refuses_after {
            return Err(JournalError::corrupt("the taker does not like it"));
        }
        assert!(batch.is_whole(), "{batch:?} does not say what is at every position");
        assert_eq!(batch.first_position().0, self.last + 1, "a hole before {batch:?}");
        self.last = batch.last_position().0;
        self.events.extend(batch.events().map(crate::EventRef::to_event));
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total}");
    }
}

impl Connection {
    /// Appends, again while the log is unavailable.
    fn try_append(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.remote.append(append) {
                Err(Error::Unavailable { .. }) if Instant::now() < deadline => std::thread::yield_now(),
                result => return result,
            }
        }
    }

    #[expect(clippy::expect_used, reason = "as above")]
    fn append(&self, id: &str, events: &[NewEvent<'_>], first_id: u128) -> Appended {
        let (stream, ids) = (order(id), ids(first_id, events.len()));
        let append = RemoteAppend::new(&stream, Expected::Any, events, &ids, false);
        self.try_append(&append).expect("the events are appended")
    }

    /// Reads the events after `after` until the one at `last` is there: a feed may lag behind its remote.
    #[expect(clippy::expect_used, reason = "as above")]
    fn read(&mut self, after: u64, last: u64) -> Vec<Event> {
        let deadline = Instant::now() + TIMEOUT;
        let mut taker = Taker::after(after);
        loop {
            self.feed
                .next(Position(taker.last), &mut taker)
                .expect("the log is read");
            if taker.last >= last {
                return taker.events;
            }
            assert!(
                Instant::now() < deadline,
                "the feed ends at {}, and not at {last}",
                taker.last
            );
            self.feed.wait();
        }
    }
}

fn order(id: &str) -> StreamId {
    StreamId::new("Order", id)
}

fn ids(first: u128, count: usize) -> Vec<Uuid> {
    (first..).take(count).map(Uuid::from_u128).collect()
}

fn plain(count: usize) -> Vec<NewEvent<'static>> {
    let event = |number: usize| NewEvent::new("OrderPlaced").data(number.to_string());
    (0..count).map(event).collect()
}

/// A feed of an empty log succeeds and passes nothing on.
pub fn an_empty_log_passes_nothing_on(log: &dyn Log) {
    let mut connection = connect(log);
    assert!(connection.read(0, 0).is_empty());
    assert!(connection.read(0, 0).is_empty(), "the second time");
}

/// Every field of an appended event is read byte for byte, also at its limits.
pub fn every_field_of_an_append_is_read(log: &dyn Log) {
    let text = "é".repeat(127);
    let mut full = NewEvent::new(&*text)
        .data(r#"{ "spaced" : 1 }"#)
        .timestamp(Timestamp::from_micros(-1))
        .correlation("c")
        .causation("cause")
        .user(&*text)
        .organization("\u{1}\u{10ffff}\"\\");
    full.schema_version = u32::MAX;
    full.tags = (0..32).map(|number| format!("tag-{number}").into()).collect();
    let mut bytes = NewEvent::new("Bytes").data([0, 255, 0, 254]);
    bytes.data_type = ContentType::Bytes;
    bytes.metadata = b"\xff plain".into();
    bytes.metadata_type = ContentType::from("text/plain");
    let events = [full, bytes, NewEvent::new("Empty")];
    let mut connection = connect(log);
    let appended = connection.append(&text, &events, 7);
    let read = connection.read(0, appended.last_position.0);
    assert_eq!(read.len(), events.len());
    for (place, (event, new)) in read.iter().zip(&events).enumerate() {
        let mut expected = new.clone().id(Uuid::from_u128(7 + place as u128));
        // The store fills in the time of recording.
        expected.timestamp.get_or_insert(event.recorded_at());
        assert_eq!(event.to_new(), expected);
        assert_eq!((event.aggregate_id(), event.aggregate_type()), (&*text, "Order"));
    }
}

/// Positions and versions of an append are consecutive, and go on where the last append ended; the acknowledgement names them.
pub fn an_append_is_consecutive(log: &dyn Log) {
    let mut connection = connect(log);
    let (mut last, mut versions) = (0, [0; 2]);
    for (round, count) in [1, 3, 1, 200].into_iter().enumerate() {
        let name = round % 2;
        let appended = connection.append(&format!("order-{name}"), &plain(count), 1000 * round as u128);
        let count = count as u64;
        let expected = Appended {
            first_version: Version(versions[name] + 1),
            last_version: Version(versions[name] + count),
            first_position: Position(last + 1),
            last_position: Position(last + count),
            durability: Durability::Synced,
            repeated: false,
        };
        assert_eq!(appended, expected);
        (last, versions[name]) = (last + count, versions[name] + count);
    }
    let read = connection.read(0, last);
    let positions = read.iter().map(|event| event.position().0);
    assert!(positions.eq(1..=last));
    let second = read.iter().filter(|event| *event.aggregate_id() == *"order-1");
    assert!(second.map(|event| event.version().0).eq(1..=versions[1]));
}

/// A version that does not hold is a conflict with the actual version, another type is invalid, and neither stores an event.
pub fn an_append_that_does_not_fit_stores_nothing(log: &dyn Log) {
    let mut connection = connect(log);
    let last = connection.append("order-1", &plain(2), 1).last_position;
    let (events, new_ids) = (plain(2), ids(100, 2));
    for (id, expected, actual) in [
        ("order-1", Expected::NoStream, 2),
        ("order-1", Expected::Exactly(Version(1)), 2),
        ("order-1", Expected::Exactly(Version(3)), 2),
        ("order-2", Expected::StreamExists, 0),
        ("order-2", Expected::Exactly(Version(1)), 0),
    ] {
        let stream = order(id);
        let refused = connection.try_append(&RemoteAppend::new(&stream, expected, &events, &new_ids, false));
        let conflict = refused.as_ref().err().and_then(Error::conflict);
        let is_right = matches!(conflict, Some(Conflict::Version { actual: at, .. }) if at.0 == actual);
        assert!(is_right, "{id}, {expected}: {refused:?}");
    }
    let other = StreamId::new("Invoice", "order-1");
    let refused = connection.try_append(&RemoteAppend::new(&other, Expected::Any, &events, &new_ids, false));
    assert!(
        matches!(refused, Err(Error::Invalid { .. })),
        "another type: {refused:?}"
    );
    let fits = [
        ("order-1", Expected::StreamExists),
        ("order-1", Expected::Exactly(Version(3))),
        ("order-2", Expected::NoStream),
    ];
    for ((id, expected), new_id) in fits.into_iter().zip(200..) {
        let (stream, events, new_ids) = (order(id), plain(1), ids(new_id, 1));
        let appended = connection.try_append(&RemoteAppend::new(&stream, expected, &events, &new_ids, false));
        assert!(appended.is_ok(), "{id}, {expected}: {appended:?}");
    }
    assert_eq!(
        connection.read(0, last.0 + 3).len(),
        5,
        "what was refused is not stored"
    );
}

/// An append that comes again is acknowledged as the first time; it is a repetition for a caller that chose the ids.
pub fn an_append_with_the_same_ids_is_stored_once(log: &dyn Log) {
    let mut connection = connect(log);
    let other = connect(log);
    for (round, has_own_ids) in [false, true].into_iter().enumerate() {
        let (stream, events) = (order(&format!("order-{round}")), plain(3));
        let ids = ids(1 + 10 * round as u128, 3);
        let append = RemoteAppend::new(&stream, Expected::NoStream, &events, &ids, has_own_ids);
        let first = connection.try_append(&append);
        for connection in [&connection, &other, &connection] {
            let again = connection.try_append(&append);
            let expected = first.clone().map(|first| Appended {
                repeated: has_own_ids,
                ..first
            });
            assert_eq!(again, expected);
        }
    }
    assert_eq!(connection.read(0, 6).len(), 6);
}

/// An append that has ids of stored events and other events is a conflict.
pub fn an_append_with_some_known_ids_stores_nothing(log: &dyn Log) {
    let mut connection = connect(log);
    let last = connection.append("order-1", &plain(2), 1).last_position.0;
    let (stream, events) = (order("order-1"), plain(2));
    for ids in [[2, 3], [3, 1], [2, 1]] {
        let ids = ids.map(Uuid::from_u128);
        let refused = connection.try_append(&RemoteAppend::new(&stream, Expected::Any, &events, &ids, true));
        let conflict = refused.as_ref().err().and_then(Error::conflict);
        assert!(matches!(conflict, Some(Conflict::EventKnown { .. })), "{refused:?}");
    }
    assert_eq!(connection.read(0, last).len(), 2);
}

/// Appends of several threads and connections are whole, and leave no hole.
pub fn appends_of_several_threads_leave_no_hole(log: &dyn Log) {
    const THREADS: u64 = 4;
    const APPENDS: u64 = 10;
    let connections: Vec<_> = (0..2).map(|_| connect(log)).collect();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let remote = &connections[thread as usize % 2].remote;
            scope.spawn(move || append_in_turn(&**remote, thread, APPENDS));
        }
    });
    let last = THREADS * APPENDS * 3;
    let read = connect(log).read(0, last);
    assert_eq!(read.len() as u64, last);
    for append in read.chunks(3) {
        assert!(
            append
                .iter()
                .all(|event| event.aggregate_id() == append[0].aggregate_id()),
            "{append:?}"
        );
    }
}

#[expect(clippy::expect_used, reason = "as above")]
fn append_in_turn(remote: &dyn Remote, thread: u64, appends: u64) {
    let (stream, events) = (order(&format!("order-{thread}")), plain(3));
    for number in 0..appends {
        let ids = ids(u128::from(1 + thread * 1000 + number * 3), 3);
        let expected = Expected::Exactly(Version(number * 3));
        let append = RemoteAppend::new(&stream, expected, &events, &ids, false);
        let deadline = Instant::now() + TIMEOUT;
        while let Err(error) = remote.append(&append) {
            let is_transient = matches!(error, Error::Unavailable { .. }) && Instant::now() < deadline;
            is_transient
                .then_some(())
                .ok_or(error)
                .expect("the events are appended");
        }
    }
}

/// A read that succeeds ends with the last event of an append, also while other threads append.
pub fn a_read_ends_with_a_whole_append(log: &dyn Log) {
    const APPENDS: u64 = 20;
    let (writer, mut reader) = (connect(log), connect(log));
    let deadline = Instant::now() + TIMEOUT;
    std::thread::scope(|scope| {
        let remote = &*writer.remote;
        scope.spawn(move || append_in_turn(remote, 0, APPENDS));
        let mut taker = Taker::after(0);
        while taker.last < APPENDS * 3 && Instant::now() < deadline {
            let read = reader.feed.next(Position(taker.last), &mut taker);
            assert!(read.is_ok(), "{read:?}");
            assert!(
                taker.last.is_multiple_of(3),
                "a read ends at {}, within an append of three events",
                taker.last
            );
            reader.feed.wait();
        }
        assert_eq!(taker.last, APPENDS * 3);
    });
}

/// A read begins behind the position where the one before ended, and no event changes.
pub fn a_read_continues_after_a_position(log: &dyn Log) {
    let (mut writer, mut reader) = (connect(log), connect(log));
    let mut all = Vec::new();
    for round in 0..4 {
        let after = 5 * round;
        let last = writer
            .append("order-1", &plain(5), 1 + u128::from(after))
            .last_position
            .0;
        let read = reader.read(after, last);
        assert_eq!(writer.read(after, last), read);
        all.extend(read);
        assert!(reader.read(last, last).is_empty());
    }
    assert!(all.iter().map(|event| event.position().0).eq(1..=20));
    assert_eq!(connect(log).read(0, 20), all);
}

/// The error of the receiver ends a read, which can be repeated from the same position.
pub fn a_read_that_its_receiver_ends_can_be_repeated(log: &dyn Log) {
    let mut connection = connect(log);
    let last = connection.append("order-1", &plain(10), 1).last_position.0;
    let all = connection.read(0, last);
    let mut later = connect(log);
    let mut refusing = Taker {
        refuses_after: 0,
        ..Taker::after(0)
    };
    let deadline = Instant::now() + TIMEOUT;
    let error = loop {
        match later.feed.next(Position(0), &mut refusing) {
            Ok(_) if Instant::now() < deadline => later.feed.wait(),
            ended => break ended.err(),
        }
    };
    assert_eq!(error.map(|error| error.kind()), Some(JournalErrorKind::Corrupt));
    assert_eq!(later.read(0, last), all);
}

/// A wait ends when the remote wakes the feed, before or during the wait.
pub fn a_wait_ends_when_it_is_woken(log: &dyn Log) {
    let Connection { mut feed, remote } = connect(log);
    let mut taker = Taker::after(0);
    for _ in 0..3 {
        let read = feed.next(Position(0), &mut taker);
        assert!(read.is_ok(), "{read:?}");
        remote.wake();
        feed.wait();
    }
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| feed.wait());
        remote.wake();
        assert!(waiting.join().is_ok());
    });
}

/// Once stopped, neither the feed nor an append blocks.
pub fn a_stopped_log_ends_waits(log: &dyn Log) {
    let Connection { mut feed, remote } = connect(log);
    let mut taker = Taker::after(0);
    let read = feed.next(Position(0), &mut taker);
    assert!(read.is_ok(), "{read:?}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| feed.wait());
        remote.stop();
        assert!(waiting.join().is_ok());
    });
    drop(feed.next(Position(0), &mut taker));
    assert!(taker.events.is_empty());
}

/// Two stores that follow the log see each other's events, in the same order.
#[expect(clippy::expect_used, reason = "as above")]
pub fn stores_that_follow_see_the_same(log: &dyn Log) {
    let follow = || {
        Store::builder()
            .follow_log(log.connect().expect("it can be followed"))
            .expect("a store")
    };
    let stores = [follow(), follow()];
    let mut last = Position(0);
    for number in 0..10 {
        let event = || NewEvent::new("OrderPlaced").data(number.to_string());
        let stream = order(&format!("order-{}", number % 3));
        let append = || {
            stores[number % 2].append(
                &stream,
                Expected::Any,
                vec![event().id(Uuid::from_u128(number as u128 + 1))],
            )
        };
        let deadline = Instant::now() + TIMEOUT;
        let mut appended = append();
        while matches!(appended, Err(Error::Unavailable { .. })) && Instant::now() < deadline {
            appended = append();
        }
        last = appended.expect("it is appended").last_position;
    }
    for store in &stores {
        store.wait_visible(last);
    }
    let [first, second] = stores.each_ref().map(|store| store.read_all().events());
    assert_eq!((first.len(), &first), (10, &second));
    let late = follow();
    assert_eq!(late.read_all().events(), first);
}
