//! The contract of an [`EventStore`] as tests: one line runs them all for an implementation.
//!
//! No rule is skipped. Where a store declares that it lacks a capability, its rule asserts the refusal.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::panic,
    reason = "every rule panics where it does not hold: that is what it is for"
)]

mod details;
mod races;

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

pub use self::details::{
    a_condition_has_every_filter_of_its_query, each_filter_of_a_query_selects,
    every_expected_version_of_an_append_is_checked, many_events_are_read_whole, names_that_look_alike_are_different,
    payloads_of_every_kind_are_read_as_they_were_appended,
};
pub use self::races::{
    a_reader_of_the_log_misses_no_event, one_of_many_conditional_appends_is_stored,
    one_writer_of_many_gets_each_version,
};
use super::{Capability, EventStore, Range};
use crate::{
    Append, Appended, Condition, Conflict, Delivery, Error, Event, Expected, NewEvent, Position, Query, Result,
    StreamId, Timestamp, Version,
};

/// Generates a module `$name` with a test for every rule of the contract; `$store` is an expression for an empty
/// [`EventStore`](crate::testing::event_store::EventStore).
#[macro_export]
macro_rules! event_store_conformance {
    ($name:ident, $store:expr) => {
        mod $name {
            use super::*;

            $crate::event_store_rules! { event_store_conformance, @rules $store }
        }
    };
    (@rules $store:expr; $($rule:ident)*) => {
        $(
            #[test]
            fn $rule() {
                let store = $store;
                $crate::testing::event_store::rules::$rule(&store);
            }
        )*
    };
    (@list; $($rule:ident)*) => {
        &[$((stringify!($rule), $rule as Rule),)*]
    };
}

/// Hands the names of the rules to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! event_store_rules {
    ($macro:ident, $($arguments:tt)*) => {
        $crate::$macro! {
            $($arguments)*;
            an_empty_store_has_no_events
            every_field_is_read_as_it_was_appended
            versions_and_positions_ascend
            an_append_is_readable_when_it_returns
            each_expectation_is_checked
            a_conflict_changes_nothing
            an_invalid_append_changes_nothing
            an_append_of_no_events_changes_nothing
            streams_are_read_in_parts
            the_log_is_read_in_parts
            reading_backwards_gives_the_same_events
            appends_to_several_aggregates_are_all_or_none
            a_condition_is_checked_against_the_whole_log
            a_repeated_append_is_acknowledged_once
            queries_find_what_they_ask_for
            a_tail_delivers_each_event_once
            payloads_of_every_kind_are_read_as_they_were_appended
            names_that_look_alike_are_different
            many_events_are_read_whole
            every_expected_version_of_an_append_is_checked
            a_condition_has_every_filter_of_its_query
            each_filter_of_a_query_selects
            one_writer_of_many_gets_each_version
            one_of_many_conditional_appends_is_stored
            a_reader_of_the_log_misses_no_event
        }
    };
}

/// A rule of the contract, which panics where it does not hold.
pub type Rule = fn(&dyn EventStore);

/// Every rule with its name, for programs that report which hold. Each needs an empty store of its own.
pub const ALL: &[(&str, Rule)] = crate::event_store_rules! { event_store_conformance, @list };

/// How long a rule waits for an event that has been appended.
const SOON: Duration = Duration::from_secs(30);
/// How long a rule waits for an event that must not come.
const QUIET: Duration = Duration::from_millis(50);

fn event(event_type: &'static str) -> NewEvent<'static> {
    NewEvent::new(event_type).data(r#"{"total":5}"#)
}

fn part(id: &str, expected: Expected, types: &[&'static str]) -> Append<'static> {
    let events: Vec<_> = types.iter().map(|event_type| event(event_type)).collect();
    Append::new(StreamId::new("Order", id), expected, events)
}

fn append(store: &dyn EventStore, id: &str, expected: Expected, types: &[&'static str]) -> Result<Appended> {
    store.append(&[part(id, expected, types)]).map(|appended| appended[0])
}

fn append_any(store: &dyn EventStore, id: &str, types: &[&'static str]) -> Appended {
    append(store, id, Expected::Any, types).expect("the events are appended")
}

fn stream(store: &dyn EventStore, id: &str) -> Vec<Event> {
    store.read_stream(id, Range::all()).expect("the stream is read")
}

fn log(store: &dyn EventStore) -> Vec<Event> {
    store.read_all(Range::all()).expect("the log is read")
}

fn types(events: &[Event]) -> Vec<&str> {
    events.iter().map(Event::event_type).collect()
}

/// Asserts that a store refuses what it says it cannot do.
fn assert_refused<T>(capability: Capability, result: Result<T>) {
    match result {
        Err(Error::Unsupported { message: what }) => {
            assert_eq!(&*what, capability.as_str(), "the error names what is missing");
        }
        Err(other) => panic!("{capability:?} is missing, and the error is not `Unsupported`: {other}"),
        Ok(_) => panic!("{capability:?} is declared missing, and works"),
    }
}

/// An empty store reads as empty, and its aggregates as aggregates without events.
pub fn an_empty_store_has_no_events(store: &dyn EventStore) {
    assert!(log(store).is_empty());
    assert!(stream(store, "order-1").is_empty());
}

/// Every field is read byte for byte, from the stream and from the log.
pub fn every_field_is_read_as_it_was_appended(store: &dyn EventStore) {
    let id = Uuid::from_u128(7);
    let timestamp = Timestamp::from_micros(1_769_860_800_123_456);
    let new = NewEvent::new("Größe geändert")
        .id(id)
        .schema_version(3)
        .timestamp(timestamp)
        .correlation("checkout-7")
        .causation("command-9")
        .user("anna")
        .organization("north")
        .tag("course:1")
        .tag("student:2")
        .metadata(r#"{"b":1,"a":[ 2 ]}"#)
        .data(r#"{"ü":"\n", "z":1.50,"y":null}"#);
    let order = StreamId::new("Order", "order-1");
    let appended = store.append(&[Append::new(order, Expected::NoStream, vec![new.clone()])]);
    if !store.capabilities().has(Capability::Fields) {
        assert_refused(Capability::Fields, appended);
        assert!(log(store).is_empty(), "what is refused is not stored");
        return;
    }
    let appended = appended.expect("the event is appended")[0];
    assert!(!appended.repeated);
    let events = stream(store, "order-1");
    assert_eq!(events, log(store));
    let [event] = events.as_slice() else {
        panic!("one event was appended, and these are read: {events:?}");
    };
    assert_eq!(event.to_new(), new);
    assert_eq!((event.aggregate_type(), event.aggregate_id()), ("Order", "order-1"));
    assert_eq!(
        (event.version(), event.position()),
        (appended.first_version, appended.first_position)
    );
    assert_eq!(appended.first_version, Version(1));
}

/// Versions count from 1 without a gap, positions ascend in the order of the appends, and ids differ.
pub fn versions_and_positions_ascend(store: &dyn EventStore) {
    let mut last = Position(0);
    for round in 0..3_u64 {
        for id in ["order-1", "order-2"] {
            let appended = append_any(store, id, &["OrderPlaced", "OrderPaid"]);
            assert_eq!(appended.first_version, Version(2 * round + 1));
            assert_eq!(appended.last_version, Version(2 * round + 2));
            assert!(last < appended.first_position && appended.first_position < appended.last_position);
            last = appended.last_position;
        }
    }
    let events = log(store);
    assert!(events.is_sorted_by_key(Event::position));
    let ids: BTreeSet<_> = events.iter().map(Event::id).collect();
    assert_eq!((events.len(), ids.len()), (12, 12));
    for id in ["order-1", "order-2"] {
        let versions: Vec<_> = stream(store, id).iter().map(|event| event.version().0).collect();
        assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    }
}

/// What is acknowledged can be read at once.
pub fn an_append_is_readable_when_it_returns(store: &dyn EventStore) {
    for count in 1..=50_usize {
        let appended = append_any(store, "order-1", &["OrderPlaced"]);
        let events = stream(store, "order-1");
        assert_eq!(events.len(), count);
        assert_eq!(events.last().map(Event::position), Some(appended.last_position));
        assert_eq!(log(store).len(), count);
    }
}

/// Each expected version is held against the aggregate, whether it has events or not.
pub fn each_expectation_is_checked(store: &dyn EventStore) {
    let check = |id: &str, cases: &[(Expected, bool)]| {
        for (expected, fits) in cases {
            let appended = append(store, id, *expected, &["OrderPaid"]);
            assert_eq!(appended.is_ok(), *fits, "{id}, {expected:?}: {appended:?}");
        }
    };
    let exactly = |version| Expected::Exactly(Version(version));
    check(
        "order-1",
        &[
            (Expected::StreamExists, false),
            (exactly(1), false),
            (exactly(2), false),
        ],
    );
    check("order-1", &[(Expected::NoStream, true), (Expected::NoStream, false)]);
    check(
        "order-1",
        &[
            (exactly(0), false),
            (exactly(2), false),
            (exactly(1), true),
            (exactly(1), false),
        ],
    );
    check(
        "order-1",
        &[
            (Expected::StreamExists, true),
            (Expected::Any, true),
            (exactly(4), true),
        ],
    );
    check("order-2", &[(exactly(0), true), (exactly(0), false)]);
    check("order-3", &[(Expected::Any, true)]);
    assert_eq!(stream(store, "order-1").len(), 5);
}

/// A conflict names the aggregate and both versions, and nothing is stored.
pub fn a_conflict_changes_nothing(store: &dyn EventStore) {
    append_any(store, "order-1", &["OrderPlaced"]);
    let before = log(store);
    let error = append(store, "order-1", Expected::NoStream, &["OrderPlaced", "OrderPaid"]).expect_err("a conflict");
    match error.conflict() {
        Some(Conflict::Version {
            stream,
            expected,
            actual,
            ..
        }) => {
            assert_eq!(stream.aggregate_id, "order-1");
            assert_eq!((*expected, *actual), (Expected::NoStream, Version(1)));
        }
        other => panic!("a conflict of versions was expected, not {other:?}: {error}"),
    }
    assert_eq!(log(store), before);
    assert_eq!(append_any(store, "order-1", &["OrderPaid"]).first_version, Version(2));
}

/// An append that no store can take is refused as such, and nothing is stored: a name without a character, a system name, another aggregate
/// type.
pub fn an_invalid_append_changes_nothing(store: &dyn EventStore) {
    append_any(store, "order-1", &["OrderPlaced"]);
    let before = log(store);
    let other_type = Append::new(
        StreamId::new("Invoice", "order-1"),
        Expected::Any,
        vec![event("OrderPaid")],
    );
    for (what, append) in [
        ("an empty id", part("", Expected::Any, &["OrderPlaced"])),
        (
            "an empty event type",
            part("order-1", Expected::Any, &["OrderPaid", ""]),
        ),
        (
            "an event type that begins with $",
            part("order-1", Expected::Any, &["$placed"]),
        ),
        ("an aggregate of another type", other_type),
    ] {
        match store.append(&[append]) {
            Err(Error::Invalid { .. }) => {}
            other => panic!("{what} gave {other:?}"),
        }
    }
    assert_eq!(log(store), before);
}

/// An append without events checks the expected version and stores nothing.
pub fn an_append_of_no_events_changes_nothing(store: &dyn EventStore) {
    append_any(store, "order-1", &["OrderPlaced"]);
    append(store, "order-1", Expected::Exactly(Version(1)), &[]).expect("the version matches");
    append(store, "order-1", Expected::NoStream, &[]).expect_err("it has an event");
    assert_eq!(log(store).len(), 1);
}

/// A stream is read from a version, and up to a number of events.
pub fn streams_are_read_in_parts(store: &dyn EventStore) {
    for _ in 0..3 {
        append_any(store, "order-1", &["OrderPlaced", "OrderPaid"]);
        append_any(store, "order-2", &["OrderPlaced"]);
    }
    let read = |range| -> Vec<u64> {
        let events = store.read_stream("order-1", range).expect("the stream is read");
        events.iter().map(|event| event.version().0).collect()
    };
    assert_eq!(read(Range::all()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(read(Range::all().limit(2)), [1, 2]);
    assert_eq!(read(Range::all().from(Version(5))), [5, 6]);
    assert_eq!(read(Range::all().from(Version(2)).limit(3)), [2, 3, 4]);
    assert_eq!(read(Range::all().from(Version(7))), [0_u64; 0]);
    assert_eq!(read(Range::all().limit(0)), [0_u64; 0]);
}

/// The log is read from a position, which need not be that of an event.
pub fn the_log_is_read_in_parts(store: &dyn EventStore) {
    for id in ["order-1", "order-2", "order-3"] {
        append_any(store, id, &["OrderPlaced", "OrderPaid"]);
    }
    let all: Vec<_> = log(store).iter().map(Event::position).collect();
    let read = |range| -> Vec<Position> {
        let events = store.read_all(range).expect("the log is read");
        events.iter().map(Event::position).collect()
    };
    for (at, position) in all.iter().enumerate() {
        assert_eq!(read(Range::all().from(*position)), all[at..]);
        assert_eq!(
            read(Range::all().from(*position).limit(2)),
            all[at..(at + 2).min(all.len())]
        );
    }
    assert_eq!(read(Range::all().from(Position(0))), all);
    assert_eq!(read(Range::all().from(Position(all[5].0 + 1))), []);
}

/// Reading backwards gives the same events in the other order, and begins where it is told.
pub fn reading_backwards_gives_the_same_events(store: &dyn EventStore) {
    for _ in 0..3 {
        append_any(store, "order-1", &["OrderPlaced", "OrderPaid"]);
    }
    let backwards = Range::all().backwards();
    if !store.capabilities().has(Capability::Backwards) {
        assert_refused(Capability::Backwards, store.read_stream("order-1", backwards));
        assert_refused(Capability::Backwards, store.read_all(Range::all().backwards()));
        return;
    }
    let mut events = log(store);
    events.reverse();
    assert_eq!(store.read_all(Range::all().backwards()).expect("readable"), events);
    assert_eq!(store.read_stream("order-1", backwards).expect("readable"), events);
    let part = store.read_stream("order-1", backwards.from(Version(4)).limit(2));
    assert_eq!(part.expect("readable"), events[2..4]);
    let part = store.read_all(Range::all().backwards().from(events[1].position()).limit(3));
    assert_eq!(part.expect("readable"), events[1..4]);
}

/// Several aggregates are appended to in the given order, and none of them if one conflicts.
pub fn appends_to_several_aggregates_are_all_or_none(store: &dyn EventStore) {
    append_any(store, "order-1", &["OrderPlaced"]);
    let both = |second: Expected| {
        store.append(&[
            part("order-2", Expected::NoStream, &["OrderPlaced", "OrderPaid"]),
            part("order-1", second, &["OrderPaid"]),
        ])
    };
    if !store.capabilities().has(Capability::AppendAll) {
        assert_refused(Capability::AppendAll, both(Expected::Any));
        assert_eq!(log(store).len(), 1, "what is refused is not stored");
        return;
    }
    let before = log(store);
    both(Expected::NoStream).expect_err("order-1 has an event");
    assert_eq!(log(store), before);
    let appended = both(Expected::Exactly(Version(1))).expect("both versions match");
    let versions: Vec<_> = appended
        .iter()
        .map(|one| (one.first_version.0, one.last_version.0))
        .collect();
    assert_eq!(versions, [(1, 2), (2, 2)]);
    assert!(appended[0].last_position < appended[1].first_position);
    assert_eq!(
        types(&log(store)),
        ["OrderPlaced", "OrderPlaced", "OrderPaid", "OrderPaid"]
    );
    let twice = [
        part("order-3", Expected::Any, &["OrderPlaced"]),
        part("order-3", Expected::Any, &["OrderPaid"]),
    ];
    assert!(
        matches!(store.append(&twice), Err(Error::Invalid { .. })),
        "an aggregate named twice"
    );
}

/// An append on a condition is stored if no event after its position matches, whatever aggregate it belongs to.
pub fn a_condition_is_checked_against_the_whole_log(store: &dyn EventStore) {
    let seen = append_any(store, "order-1", &["OrderPlaced"]).last_position;
    let paid = || Query::all().event_type("OrderPaid");
    let append_if =
        |condition: &Condition| store.append_if(condition, &[part("order-2", Expected::Any, &["OrderPaid"])]);
    if !store.capabilities().has(Capability::AppendIf) {
        assert_refused(Capability::AppendIf, append_if(&Condition::none(paid())));
        assert_eq!(log(store).len(), 1, "what is refused is not stored");
        return;
    }
    let position = append_if(&Condition::none_after(paid(), seen)).expect("none was paid")[0].last_position;
    let error = append_if(&Condition::none_after(paid(), seen)).expect_err("one was paid");
    assert!(
        matches!(error.conflict(), Some(Conflict::Condition { position: found }) if *found == position),
        "{error}"
    );
    append_if(&Condition::none(paid())).expect_err("one was paid, ever");
    append_if(&Condition::none(Query::all().event_type("OrderLost"))).expect("none was lost");
    append_if(&Condition::none_after(paid(), Position(position.0 + 1))).expect("none was paid since");
    assert_eq!(log(store).len(), 4);
}

/// The same events with the same ids are stored once; their second acknowledgement is the first.
pub fn a_repeated_append_is_acknowledged_once(store: &dyn EventStore) {
    let events: Vec<_> = (1..=2).map(|id| event("OrderPlaced").id(Uuid::from_u128(id))).collect();
    let append = Append::new(StreamId::new("Order", "order-1"), Expected::NoStream, events);
    let first = store.append(std::slice::from_ref(&append));
    if !store.capabilities().has(Capability::Fields) {
        assert_refused(Capability::Fields, first);
        return;
    }
    let first = first.expect("it is new")[0];
    append_any(store, "order-1", &["OrderPaid"]);
    let again = store.append(std::slice::from_ref(&append));
    if !store.capabilities().has(Capability::Idempotence) {
        again.expect_err("without ids, the expected version refuses it");
        assert_eq!(log(store).len(), 3);
        return;
    }
    let again = again.expect("it is known")[0];
    assert_eq!(
        (again.first_position, again.last_position),
        (first.first_position, first.last_position)
    );
    assert_eq!(
        (again.first_version, again.last_version),
        (first.first_version, first.last_version)
    );
    assert!(again.repeated);
    let events = vec![
        event("OrderPlaced").id(Uuid::from_u128(2)),
        event("OrderPaid").id(Uuid::from_u128(3)),
    ];
    let mixed = Append::new(StreamId::new("Order", "order-1"), Expected::Any, events);
    let error = store
        .append(&[mixed])
        .expect_err("one of its ids is known, the other is not");
    assert!(matches!(error.conflict(), Some(Conflict::EventKnown { .. })), "{error}");
    assert_eq!(log(store).len(), 3);
}

/// Queries find events by each field that an event has, combined, in parts, and as of a position.
pub fn queries_find_what_they_ask_for(store: &dyn EventStore) {
    if !store.capabilities().has(Capability::Query) {
        assert_refused(Capability::Query, store.query(&Query::all()));
        return;
    }
    let at = |second: i64| Timestamp::from_micros(1_769_860_800_000_000 + second * 1_000_000);
    for (second, id, event_type, user, tag) in [
        (0, "order-1", "OrderPlaced", "anna", "a"),
        (1, "order-2", "OrderPlaced", "bert", "b"),
        (2, "order-1", "OrderPaid", "bert", "a"),
        (3, "order-2", "OrderPaid", "anna", "b"),
    ] {
        let event = event(event_type)
            .timestamp(at(second))
            .user(user)
            .tag(tag)
            .correlation(format!("c-{id}"));
        let append = Append::new(
            StreamId::new("Order", id),
            Expected::Any,
            vec![event.organization("north")],
        );
        store.append(&[append]).expect("the event is appended");
    }
    let all: Vec<_> = log(store).iter().map(Event::position).collect();
    let found = |query: Query| -> Vec<usize> {
        let events = store.query(&query).expect("the query is answered");
        let places = events
            .iter()
            .map(|event| all.iter().position(|one| *one == event.position()));
        places.map(|place| place.expect("it is in the log")).collect()
    };
    assert_eq!(found(Query::all()), [0, 1, 2, 3]);
    assert_eq!(found(Query::all().event_type("OrderPaid")), [2, 3]);
    assert_eq!(
        found(Query::all().event_types(["OrderPaid", "OrderPlaced"])),
        [0, 1, 2, 3]
    );
    assert_eq!(found(Query::all().aggregate("order-1")), [0, 2]);
    assert_eq!(found(Query::all().aggregate_type("Order").limit(3)), [0, 1, 2]);
    assert_eq!(found(Query::all().aggregate_type("Invoice")), [0_usize; 0]);
    assert_eq!(found(Query::all().correlation("c-order-2")), [1, 3]);
    assert_eq!(found(Query::all().user("anna")), [0, 3]);
    assert_eq!(found(Query::all().user("anna").event_type("OrderPaid")), [3]);
    assert_eq!(found(Query::all().organization("north").tag("b")), [1, 3]);
    assert_eq!(found(Query::all().since(at(1)).before(at(3))), [1, 2]);
    assert_eq!(found(Query::all().after(all[1]).limit(1)), [2]);
    assert_eq!(found(Query::all().as_of(all[1])), [0, 1]);
    assert_eq!(
        found(Query::all().order(crate::Order::PositionDescending).limit(2)),
        [3, 2]
    );
}

fn next(tail: &mut dyn super::EventTail, timeout: Duration) -> Option<Event> {
    match tail.next_timeout(timeout).expect("the tail is read") {
        Some(Delivery::Event(event)) => Some(event),
        Some(Delivery::Gap(gap)) => panic!("nothing was dropped, and the tail delivered {gap:?}"),
        None => None,
    }
}

/// A tail delivers what is there, then what comes, each event once and in order, and nothing else.
pub fn a_tail_delivers_each_event_once(store: &dyn EventStore) {
    let first = append_any(store, "order-1", &["OrderPlaced", "OrderPaid"]);
    let paid = Query::all().event_type("OrderPaid");
    if !store.capabilities().has(Capability::Tail) {
        assert_refused(Capability::Tail, store.tail(&paid, Position(0)).map(drop));
        return;
    }
    let mut tail = store.tail(&paid, Position(0)).expect("it is followed");
    let mut late = store.tail(&Query::all(), first.first_position).expect("it is followed");
    let old = next(&mut *tail, SOON).expect("the tail delivers what was there");
    assert_eq!(old.position(), first.last_position);
    assert_eq!(next(&mut *tail, QUIET), None);
    let second = append_any(store, "order-2", &["OrderPlaced", "OrderPaid"]);
    let new = next(&mut *tail, SOON).expect("the tail delivers what comes");
    assert_eq!((new.position(), new.aggregate_id()), (second.last_position, "order-2"));
    assert_eq!(next(&mut *tail, QUIET), None);
    let positions = [first.last_position, second.first_position, second.last_position];
    for position in positions {
        assert_eq!(next(&mut *late, SOON).map(|event| event.position()), Some(position));
    }
    assert_eq!(next(&mut *late, QUIET), None);
}
