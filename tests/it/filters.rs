//! `Not`, prefixes and ranges: alone and together, in every call that takes a query.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::{
    Append, Between, CacheState, Condition, Conflict, Delivery, Error, Expected, Field, Filter, NewEvent, Order,
    Position, Query, Store, StreamId, Timestamp, Version,
};

use crate::support::{START, drain, fill, found, stream};

/// Fifty events: of ten aggregates in turn, four types, three users or none, a second apart.
fn store() -> Store {
    let store = Store::in_memory();
    for number in 0..50_u64 {
        let mut event = NewEvent::new(["OrderPlaced", "OrderPaid", "Order", "Payment"][number as usize % 4])
            .timestamp(START.after(Duration::from_secs(number)))
            .tag(format!("tag-{}", number % 7));
        if number % 4 < 3 {
            event = event.user(format!("user-{}", number % 4));
        }
        let (kind, id) = (number % 2, number % 10);
        let stream = StreamId::new(format!("Type{kind}"), format!("aggregate-{id}"));
        store.append(&stream, Expected::Any, event).expect("anything goes");
    }
    store
}

/// A filter, and whether it holds for the event with this number from 0.
type Case = (Filter, fn(u64) -> bool);

fn cases() -> Vec<Case> {
    let is = |field, value: &str| Filter::is(field, value);
    let time = |seconds| START.after(Duration::from_secs(seconds));
    vec![
        (Filter::not(is(Field::User, "user-0")), |n| n % 4 != 0),
        (Filter::not(is(Field::User, "unknown")), |_| true),
        (Filter::not(is(Field::Aggregate, "aggregate-3")), |n| n % 10 != 3),
        (Filter::not(Filter::not(is(Field::Tag, "tag-2"))), |n| n % 7 == 2),
        (Filter::not(Filter::All(Vec::new())), |_| false),
        (Filter::not(Filter::Any(Vec::new())), |_| true),
        (Filter::not(Filter::Text("x".to_owned())), |_| true),
        (Filter::prefix(Field::EventType, "Order"), |n| n % 4 < 3),
        (Filter::prefix(Field::EventType, "OrderP"), |n| n % 4 < 2),
        (Filter::prefix(Field::EventType, "order"), |_| false),
        (Filter::prefix(Field::EventType, "Payment and more"), |_| false),
        (Filter::prefix(Field::User, ""), |n| n % 4 < 3),
        (Filter::not(Filter::prefix(Field::User, "")), |n| n % 4 == 3),
        (Filter::prefix(Field::Aggregate, "aggregate-"), |_| true),
        (Filter::prefix(Field::Aggregate, "aggregate-7"), |n| n % 10 == 7),
        (Filter::not(Filter::prefix(Field::Aggregate, "aggregate-7")), |n| {
            n % 10 != 7
        }),
        (Filter::prefix(Field::AggregateType, "Type"), |_| true),
        (Filter::prefix(Field::Day, "2026-01"), |_| true),
        (Filter::prefix(Field::Day, "2025"), |_| false),
        (Filter::prefix(Field::Correlation, ""), |_| false),
        (Filter::versions(..=Version(2)), |n| n < 20),
        (Filter::versions(Version(2)..Version(2)), |_| false),
        (Filter::not(Filter::versions(Version(2)..)), |n| n < 10),
        (Filter::positions(Position(5)..Position(8)), |n| (4..7).contains(&n)),
        (Filter::positions(Position(8)..Position(5)), |_| false),
        (Filter::not(Filter::positions(..=Position(45))), |n| n > 44),
        (Filter::times(time(3)..=time(5)), |n| (3..=5).contains(&n)),
        (Filter::not(Filter::times(time(3)..)), |n| n < 3),
        (
            Filter::All(vec![
                Filter::prefix(Field::EventType, "Order"),
                Filter::not(is(Field::EventType, "Order")),
                Filter::not(is(Field::Tag, "tag-0")),
            ]),
            |n| n % 4 < 2 && n % 7 != 0,
        ),
        (
            Filter::Any(vec![
                Filter::positions(..=Position(2)),
                Filter::not(Filter::Any(vec![
                    Filter::prefix(Field::User, "user-"),
                    Filter::times(..time(40)),
                ])),
            ]),
            |n| n < 2 || (n % 4 == 3 && n >= 40),
        ),
    ]
}

#[test]
fn every_call_finds_the_same_events() {
    let store = store();
    let compacted = store.fork();
    compacted.delete("aggregate-3", Expected::Any).expect("it exists");
    let dropped = compacted.fork();
    compacted.compact();
    for (filter, holds) in cases() {
        let want: Vec<_> = (0..50)
            .filter(|number| holds(*number))
            .map(|number| number + 1)
            .collect();
        let query = Query::all().filter(filter);
        assert_eq!(found(&store, query.clone()), want, "{query:?}");
        assert_eq!(store.query(query.clone()).count(), Ok(want.len() as u64), "{query:?}");
        let mut backwards = found(&store, query.clone().order(Order::PositionDescending));
        backwards.reverse();
        assert_eq!(backwards, want, "{query:?} backwards");
        let mut tail = store.tail(query.clone(), Position(0)).expect("it is valid");
        assert_eq!(drain(&mut tail), want, "{query:?} as a tail");
        let blocking = store
            .tail(query.clone().until(Position(50)), Position(0))
            .expect("it is valid");
        let event = |delivery| match delivery {
            Delivery::Event(event) => Some(event.position().0),
            Delivery::Gap(_) => None,
        };
        let followed: Vec<_> = blocking.filter_map(event).collect();
        assert_eq!(followed, want, "{query:?} followed");
        let left: Vec<_> = want
            .iter()
            .copied()
            .filter(|position| (position - 1) % 10 != 3)
            .collect();
        for other in [&compacted, &dropped] {
            assert_eq!(found(other, query.clone()), left, "{query:?} after a deletion");
        }
    }
}

#[test]
fn a_condition_conflicts_if_and_only_if_an_event_matches() {
    for (filter, holds) in cases() {
        for after in [0, 25, 49, 50] {
            let store = store();
            let want = (after..50)
                .find(|number| holds(*number))
                .map(|number| Position(number + 1));
            let condition = Condition::none_after(Query::all().filter(filter.clone()), Position(after));
            let part = Append::new(StreamId::new("New", "new"), Expected::Any, NewEvent::new("Noted"));
            let got = store.append_if(&condition, part).err().map(|error| {
                let Some(Conflict::Condition { position }) = error.conflict() else {
                    panic!("{error}");
                };
                *position
            });
            assert_eq!(got, want, "{filter:?} after {after}");
        }
    }
}

#[test]
fn a_cached_result_is_extended_and_never_stale() {
    let store = Store::in_memory();
    fill(&store, "a", 500);
    fill(&store, "b", 500);
    let query = Query::all()
        .except(Filter::is(Field::Aggregate, "b"))
        .filter(Filter::prefix(Field::EventType, "Not"));
    let cache = || store.query(query.clone()).explain().expect("it is valid").cache;
    assert_eq!((cache(), cache()), (CacheState::Miss, CacheState::Hit));
    fill(&store, "c", 1);
    fill(&store, "b", 1);
    assert_eq!(cache(), CacheState::Extended);
    assert_eq!(store.query(query.clone()).count(), Ok(501));
    store.truncate_before("a", Version(101)).expect("it exists");
    assert_eq!(cache(), CacheState::Miss);
    assert_eq!(store.query(query.clone()).count(), Ok(401));
    store.compact();
    assert_eq!(store.query(query.clone()).uncached().count(), Ok(401));
    assert_eq!(store.query(query.clone()).count(), Ok(401));
}

#[test]
fn an_explanation_says_that_an_exception_alone_scans() {
    let store = store();
    let explain = |query: Query| store.query(query).uncached().explain().expect("it is valid");
    let without = Filter::not(Filter::is(Field::User, "user-1"));
    let alone = explain(Query::all().filter(without.clone()));
    assert!(alone.scanned && !alone.tried_on_events, "{alone}");
    let text = alone.to_string();
    assert!(
        text.contains("user is not user-1: 13 events") && text.contains("\nscan  "),
        "{text}"
    );

    let beside = explain(Query::all().tag("tag-0").filter(without));
    assert!(!beside.scanned && !beside.tried_on_events, "{beside}");
    assert!(beside.candidates < 8, "{beside}");
    let prefix = explain(Query::all().filter(Filter::prefix(Field::EventType, "OrderP")));
    assert!(
        !prefix.scanned && !prefix.tried_on_events && prefix.candidates == 26,
        "{prefix}"
    );
    assert!(
        prefix.to_string().contains("event type begins with OrderP: 26 events"),
        "{prefix}"
    );
    let ids = explain(Query::all().except(Filter::prefix(Field::Aggregate, "aggregate-1")));
    assert!(
        ids.to_string()
            .contains("aggregate does not begin with aggregate-1: 5 events"),
        "{ids}"
    );
    let range = explain(Query::all().filter(Filter::positions(Position(3)..=Position(5))));
    assert_eq!((range.candidates, range.matches), (3, 3), "{range}");
}

#[test]
fn a_filter_that_cannot_be_evaluated_is_refused_inside_another_too() {
    let store = store();
    let mut deep = Filter::is(Field::User, "anna");
    for _ in 0..17 {
        deep = Filter::not(deep);
    }
    let many = (0..100_001).map(|number| Filter::versions(Version(number)..)).collect();
    for (filter, why) in [
        (deep, "more than 16 deep"),
        (Filter::not(Filter::Any(many)), "more than 100000 conditions"),
        (Filter::not(Filter::is(Field::Index("no".into()), "x")), "no index 'no'"),
        (Filter::prefix(Field::Index("no".into()), "x"), "no index 'no'"),
        (Filter::not(Filter::is(Field::Day, "today")), "'today' is not a day"),
    ] {
        let query = Query::all().filter(filter);
        let part = Append::new(stream("new"), Expected::Any, NewEvent::new("Noted"));
        for refused in [
            store.query(query.clone()).count().map(drop),
            store.query(query.clone()).fold((), |(), _| ()),
            store.tail(query.clone(), Position(0)).map(drop),
            store.append_if(&Condition::none(query), part).map(drop),
        ] {
            assert!(
                matches!(&refused, Err(Error::Invalid { message: text }) if text.contains(why)),
                "{why}: {refused:?}"
            );
        }
    }
}

#[test]
fn a_prefix_of_many_values_is_tested_on_the_events() {
    const VALUES: u64 = 16 * 1024 + 1;
    let store = Store::in_memory();
    for first in (0..2 * VALUES).step_by(500) {
        let events = (first..(first + 500).min(2 * VALUES))
            .map(|number| NewEvent::new("Seen").user(format!("{}-{number}", ["user", "guest"][number as usize % 2])));
        let events: Vec<_> = events.collect();
        store
            .append(&stream("log"), Expected::Any, events)
            .expect("anything goes");
    }
    for (prefix, count, tried) in [
        ("user-", VALUES, true),
        ("user-1", 5_555, false),
        ("", 2 * VALUES, true),
    ] {
        let query = Query::all().filter(Filter::prefix(Field::User, prefix));
        let explanation = store.query(query.clone()).uncached().explain().expect("it is valid");
        assert_eq!(explanation.tried_on_events, tried, "{explanation}");
        assert_eq!(explanation.matches, count, "{explanation}");
        let except = store
            .query(Query::all().except(Filter::prefix(Field::User, prefix)))
            .count();
        assert_eq!(except, Ok(2 * VALUES - count), "{prefix}");
    }
}

#[test]
fn an_aggregate_that_is_being_deleted_is_in_no_exception_from_it() {
    let store = Store::in_memory();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300 {
                fill(&store, "a", 20);
                fill(&store, "b", 1);
                store.delete("a", Expected::Any).expect("it exists");
            }
            done.store(true, Ordering::Release);
        });
        let filters = [
            Filter::not(Filter::is(Field::Aggregate, "a")),
            Filter::not(Filter::prefix(Field::Aggregate, "a")),
            Filter::not(Filter::Any(vec![
                Filter::is(Field::Aggregate, "a"),
                Filter::is(Field::User, "unknown"),
            ])),
        ];
        while !done.load(Ordering::Acquire) {
            for filter in &filters {
                let last = store.visible().0;
                let found = store
                    .query(Query::all().filter(filter.clone()))
                    .count()
                    .expect("it is valid");
                // An event of `b` follows twenty of `a`, and one of the system follows it.
                assert!(found <= store.visible().0.div_ceil(22), "{found} of {last}: {filter:?}");
            }
        }
    });
}

#[test]
fn ranges_are_normalized() {
    let versions = |range: Between<Version>| (range.from.0, range.to.0);
    assert_eq!(versions(Between::new(..)), (0, u64::MAX));
    assert_eq!(versions(Between::new(Version(3)..Version(5))), (3, 4));
    let after = (std::ops::Bound::Excluded(Version(3)), std::ops::Bound::Unbounded);
    assert_eq!(versions(Between::new(after)), (4, u64::MAX));
    let beyond = (std::ops::Bound::Excluded(Version(u64::MAX)), std::ops::Bound::Unbounded);
    for empty in [
        Between::new(beyond),
        Between::new(..Version(0)),
        Between::new(Version(7)..Version(7)),
        Between::new(Version(9)..=Version(7)),
    ] {
        assert_eq!(empty, Between::new(..Version(0)));
        assert!(!empty.contains(Version(0)) && !empty.contains(Version(u64::MAX)));
    }
    let time = Between::new(Timestamp::MIN..START);
    assert!(time.contains(Timestamp::MIN) && !time.contains(START));
    assert_eq!(
        format!("{:?}", Between::new(START..=START)),
        "2026-01-31T12:00:00Z..=2026-01-31T12:00:00Z"
    );
}

#[test]
fn many_prefixes_or_aggregates_in_one_query_took_memory_without_bound() {
    let store = Store::in_memory();
    for number in 0..300 {
        let event = NewEvent::new("Seen").user(format!("user-{}", number % 100));
        let id = format!("aggregate-{}", number % 150);
        store.append(&stream(&id), Expected::Any, event).expect("anything goes");
    }
    let run = |filter: Filter, want: u64| {
        let query = Query::all().filter(filter);
        let explained = store.query(query.clone()).uncached().explain().expect("it is valid");
        assert_eq!(explained.matches, want, "{query:?}");
        assert_eq!(store.query(query).count().expect("it is valid"), want);
        explained.scanned
    };
    let is = Filter::is(Field::Aggregate, "aggregate-7");
    assert!(!run(Filter::Any(vec![is.clone(); 3]), 2));
    assert!(run(Filter::Any(vec![is.clone(); 10_000]), 2), "aggregates");
    run(Filter::not(Filter::Any(vec![is; 10_000])), 298);
    let repeated = Filter::one_of(Field::Aggregate, vec!["aggregate-7"; 10_000]);
    assert!(run(repeated, 2), "one aggregate, many times");
    let every = Filter::one_of(Field::Aggregate, (0..150).map(|id| format!("aggregate-{id}")));
    assert!(!run(Filter::Any(vec![every; 16]), 300), "each of all aggregates");
    for (field, prefix, matches) in [
        (Field::User, "user-1", 33),
        (Field::Aggregate, "aggregate-1", 122),
        (Field::EventType, "Seen", 300),
    ] {
        let prefixes = |count| vec![Filter::prefix(field.clone(), prefix); count];
        assert!(!run(Filter::Any(prefixes(3)), matches), "{field}");
        assert!(run(Filter::Any(prefixes(10_000)), matches), "{field}");
        assert!(
            !run(Filter::All(prefixes(10_000)), matches),
            "{field}: the first ones are lists"
        );
        run(Filter::not(Filter::Any(prefixes(10_000))), 300 - matches);
        run(
            Filter::All(vec![Filter::Not(Box::new(Filter::prefix(field, prefix))); 10_000]),
            300 - matches,
        );
    }
}

#[test]
fn an_explained_prefix_without_text_ended_in_a_blank() {
    let store = store();
    for (filter, told) in [
        (Filter::prefix(Field::User, ""), "user is any"),
        (Filter::not(Filter::prefix(Field::User, "")), "user is none"),
        (Filter::prefix(Field::User, "u"), "user begins with u"),
        (
            Filter::not(Filter::prefix(Field::Tag, "t")),
            "tag does not begin with t",
        ),
        (Filter::is(Field::User, "user-0"), "user is user-0"),
    ] {
        let explained = store.query(Query::all().filter(filter)).explain().expect("it is valid");
        assert_eq!(explained.terms[0].to_string(), told);
    }
}
