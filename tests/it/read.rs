//! Reads: streams, the log, single events, and queries, as they are and as they were.

use std::time::Duration;

use annals::{
    AsOf, Budget, Cursor, Error, Expected, Field, Filter, NewEvent, Order, Position, Query, Store, StreamId, Timestamp,
    Version,
};
use uuid::Uuid;

use crate::support::{START, clocked, events, fill, found, keeping, noted, positions, stream};

/// Three aggregates whose events take turns; each event is recorded a second after the one before.
fn store() -> Store {
    let (store, clock) = clocked(Budget::default());
    for number in 1..=1500_u64 {
        clock.advance(Duration::from_secs(1));
        let id = ["a", "b", "c"][usize::try_from(number % 3).expect("it is below 3")];
        let event = NewEvent::new(if number % 2 == 0 { "Even" } else { "Odd" })
            .id(Uuid::from_u128(u128::from(number)))
            .data(format!("{{\"number\":{number},\"tens\":[{}]}}", number / 10))
            .metadata(format!("{{\"ip\":\"10.0.0.{}\"}}", number % 7))
            .user(format!("user-{}", number % 5))
            .correlation(format!("order-{}", number / 10))
            .tag(format!("t{}", number % 11));
        store
            .append(&stream(id), Expected::Any, vec![event])
            .expect("anything goes");
    }
    store
}

/// What `limit` leaves of the positions, read from either end.
fn part(mut all: Vec<u64>, backwards: bool, limit: usize) -> Vec<u64> {
    if backwards {
        all.reverse();
    }
    all.truncate(limit);
    all
}

fn pasts() -> Vec<(Option<AsOf>, u64)> {
    vec![
        (None, 1500),
        (Some(Position(0).into()), 0),
        (Some(Position(700).into()), 700),
        (Some(Position(9999).into()), 1500),
        (Some(START.into()), 0),
        (Some(START.after(Duration::from_secs(700)).into()), 700),
        (Some(START.after(Duration::from_micros(700_999_999)).into()), 700),
        (Some(Timestamp::MAX.into()), 1500),
    ]
}

/// One way to read a stream or the log.
#[derive(Clone, Copy, Debug)]
struct Reading {
    as_of: Option<AsOf>,
    /// The last position that there was then.
    last: u64,
    from: Option<u64>,
    backwards: bool,
    limit: usize,
}

/// Every past, from each of `from`, both ways, with and without a limit.
fn readings(from: &[u64], limit: usize) -> Vec<Reading> {
    let starts = || [None].into_iter().chain(from.iter().copied().map(Some));
    let ways = [
        (false, 0),
        (false, limit),
        (false, usize::MAX),
        (true, limit),
        (true, usize::MAX),
    ];
    let mut all = Vec::new();
    for (as_of, last) in pasts() {
        for from in starts() {
            all.extend(ways.map(|(backwards, limit)| Reading {
                as_of,
                last,
                from,
                backwards,
                limit,
            }));
        }
    }
    all
}

/// Reads as `$reading` says; what it begins with is a `$number`. Answers the positions of what is kept, and of what is shown.
macro_rules! read {
    ($read:expr, $number:ident, $reading:expr) => {{
        let mut read = $read.limit($reading.limit);
        if let Some(from) = $reading.from {
            read = read.from($number(from));
        }
        if $reading.backwards {
            read = read.backwards();
        }
        if let Some(as_of) = $reading.as_of {
            read = read.as_of(as_of);
        }
        let mut shown = Vec::new();
        read.for_each(|event| shown.push(event.position().0));
        (positions(&read.events()), shown)
    }};
}

/// Checks what a reading answered. `number` says of a position what a reading begins with, and `None` of those not read.
fn check(reading: Reading, answered: (Vec<u64>, Vec<u64>), number: impl Fn(u64) -> Option<u64>) {
    let is_read = |position: u64| {
        number(position).is_some_and(|number| match reading.from {
            None => true,
            Some(from) if reading.backwards => number <= from,
            Some(from) => number >= from,
        })
    };
    let all = (1..=reading.last).filter(|position| is_read(*position)).collect();
    let want = part(all, reading.backwards, reading.limit);
    let (kept, shown) = answered;
    assert_eq!(kept, want, "kept, {reading:?}");
    assert_eq!(shown, want, "shown, {reading:?}");
}

#[test]
fn a_stream_is_read_from_any_version_both_ways() {
    let store = store();
    let version = |position: u64| (position % 3 == 1).then_some(position.div_ceil(3));
    for reading in readings(&[0, 1, 2, 250, 500, 501, u64::MAX], 7) {
        check(reading, read!(store.read_stream("b"), Version, reading), version);
    }
}

#[test]
fn the_log_is_read_from_any_position_both_ways() {
    let store = store();
    for reading in readings(&[0, 1, 513, 1500, 1501, u64::MAX], 600) {
        check(reading, read!(store.read_all(), Position, reading), Some);
    }
    assert_eq!(store.read_all().after(Position(1498)).events().len(), 2);
    assert_eq!(store.read_all().after(Position(u64::MAX)).events().len(), 0);
}

#[test]
fn an_unknown_aggregate_has_no_events() {
    let store = store();
    for id in ["", "z", "$a"] {
        assert!(store.read_stream(id).events().is_empty(), "{id}");
        assert!(store.stream_info(id).is_none(), "{id}");
    }
}

#[test]
fn an_event_is_found_by_its_id_and_its_position() {
    let store = store();
    for number in [1, 2, 700, 1500] {
        let event = store.event(Uuid::from_u128(number)).expect("it was appended");
        assert_eq!(u128::from(event.position().0), number);
        assert_eq!(store.event_at(event.position()), Some(event));
    }
    assert_eq!(store.event(Uuid::from_u128(1501)), None);
    for position in [0, 1501, u64::MAX] {
        assert_eq!(store.event_at(Position(position)), None);
    }
    // The index of ids follows.
    let late = noted(1).id(Uuid::from_u128(1501));
    store
        .append(&stream("a"), Expected::Any, vec![late])
        .expect("anything goes");
    assert!(store.event(Uuid::from_u128(1501)).is_some());
    store.truncate_before("b", Version(2)).expect("it exists");
    assert_eq!(store.event(Uuid::from_u128(1)), None);
    assert_eq!(store.event_at(Position(1)), None);
}

#[test]
fn the_first_of_several_events_with_one_id_is_found() {
    let store = Store::in_memory();
    let id = Uuid::from_u128(1);
    for aggregate in ["a", "b"] {
        store
            .append(&stream(aggregate), Expected::Any, vec![noted(1).id(id)])
            .expect("ids are the caller's promise");
    }
    assert_eq!(store.event(id).map(|event| event.position()), Some(Position(1)));
    store.delete("a", Expected::Any).expect("it exists");
    assert_eq!(store.event(id).map(|event| event.position()), Some(Position(2)));
}

/// Whether the event with a number is wanted.
type Test = fn(u64) -> bool;

#[test]
fn a_query_finds_what_a_look_at_every_event_finds() {
    let store = store();
    let order = |number: u64| format!("order-{}", number / 10);
    let cases: Vec<(Query, Test)> = vec![
        (Query::all(), |_| true),
        (Query::all().event_type("Even"), |n| n % 2 == 0),
        (Query::all().event_type("Never"), |_| false),
        (Query::all().event_types(["Even", "Odd"]), |_| true),
        (Query::all().aggregate("a"), |n| n % 3 == 0),
        (Query::all().aggregates(["a", "c", "zz"]), |n| n % 3 != 1),
        (Query::all().aggregate_type("Account"), |_| true),
        (Query::all().aggregate_type("Order"), |_| false),
        (Query::all().correlation(order(700)), |n| n / 10 == 70),
        (Query::all().user("user-3").tag("t4"), |n| n % 5 == 3 && n % 11 == 4),
        (Query::all().tags(["t1", "t2"]).event_type("Odd"), |n| {
            matches!(n % 11, 1 | 2) && n % 2 == 1
        }),
        (Query::all().data("/number", 77), |n| n == 77),
        (Query::all().data("/tens/0", 5), |n| n / 10 == 5),
        (Query::all().metadata("/ip", "10.0.0.3").user("user-0"), |n| {
            n % 7 == 3 && n % 5 == 0
        }),
        (Query::all().text("10.0.0.6"), |n| n % 7 == 6),
        (Query::all().text("NUMBER\":15"), |n| n.to_string().starts_with("15")),
        (Query::all().after(Position(10)).until(Position(20)), |n| {
            n > 10 && n <= 20
        }),
        (
            Query::all()
                .since(START.after(Duration::from_secs(10)))
                .before(START.after(Duration::from_secs(20))),
            |n| (10..20).contains(&n),
        ),
        (Query::all().day("2026-01-31"), |_| true),
        (Query::all().day("2026-02-01"), |_| false),
        (
            Query::all().filter(Filter::Any(vec![
                Filter::is(Field::User, "user-1"),
                Filter::All(vec![Filter::is(Field::EventType, "Even"), Filter::is(Field::Tag, "t0")]),
                Filter::Text("\"number\":9}".to_owned()),
            ])),
            |n| n % 5 == 1 || (n % 2 == 0 && n % 11 == 0),
        ),
        (Query::all().filter(Filter::Any(Vec::new())), |_| false),
        (Query::all().filter(Filter::All(Vec::new())), |_| true),
        (Query::all().as_of(Position(40)).event_type("Odd"), |n| {
            n <= 40 && n % 2 == 1
        }),
        (Query::all().as_of(START.after(Duration::from_secs(40))), |n| n <= 40),
    ];
    for (query, test) in cases {
        let all: Vec<_> = (1..=1500).filter(|number| test(*number)).collect();
        for backwards in [false, true] {
            for limit in [0, 1, 17, usize::MAX] {
                let want = part(all.clone(), backwards, limit);
                let orders = if backwards {
                    [Order::PositionDescending, Order::TimeDescending]
                } else {
                    [Order::Position, Order::Time]
                };
                for order in orders {
                    let query = query.clone().order(order).limit(limit);
                    assert_eq!(found(&store, query.clone()), want, "{query:?}");
                    let kept = store.query(query.clone()).events().expect("the query is valid");
                    assert_eq!(positions(&kept), want, "{query:?}");
                }
            }
        }
    }
}

#[test]
fn a_query_that_cannot_be_answered_is_refused() {
    let store = store();
    let first = store.query(Query::all().limit(1)).page().expect("it is valid").next;
    let mut deep = Filter::Any(Vec::new());
    for _ in 0..10_000 {
        deep = Filter::All(vec![deep]);
    }
    let queries = [
        Query::all().index("unknown", "x"),
        Query::all().data("number", 1),
        Query::all().metadata("ip", 1),
        Query::all().order(Order::Time).cursor(first.expect("there is more")),
        Query::all().filter(deep),
    ];
    for (number, query) in queries.into_iter().enumerate() {
        let answer = store.query(query);
        for refused in [
            answer.events().map(|_| ()),
            answer.count().map(|_| ()),
            answer.fold((), |(), _| ()),
            answer.explain().map(|_| ()),
        ] {
            assert!(
                matches!(refused, Err(Error::Invalid { .. })),
                "query {number}: {refused:?}"
            );
        }
    }
}

#[test]
fn a_day_written_otherwise_is_refused() {
    let store = store();
    for day in ["yesterday", "2026-1-31", "2026-01-31T12:00:00Z", ""] {
        let answer = store.query(Query::all().day(day)).count();
        assert!(matches!(answer, Err(Error::Invalid { .. })), "{day}: {answer:?}");
    }
}

#[test]
fn pages_are_the_whole_answer_whatever_is_appended_between_them() {
    for order in [
        Order::Position,
        Order::PositionDescending,
        Order::Time,
        Order::TimeDescending,
    ] {
        let store = store();
        let query = Query::all().event_type("Odd").order(order);
        let want = found(&store, query.clone());
        let (mut seen, mut cursor) = (Vec::new(), None::<Cursor>);
        loop {
            let mut next = query.clone().limit(37);
            if let Some(cursor) = cursor {
                // As a link would carry it.
                next = next.cursor(cursor.to_string().parse().expect("it is a cursor"));
            }
            let page = store.query(next).page().expect("the query is valid");
            assert!(page.events.len() <= 37);
            assert_eq!(page.as_of, store.visible());
            seen.extend(positions(&page.events));
            let Some(next) = page.next else { break };
            cursor = Some(next);
            assert!(seen.len() < 3 * want.len(), "it never ends");
            // Beyond where a page of this order can still reach, or before it: either way nothing is shifted.
            store
                .append(&stream("z"), Expected::Any, events(2))
                .expect("anything goes");
        }
        seen.retain(|position| *position <= 1500);
        assert_eq!(seen, want, "{order:?}");
    }
}

#[test]
fn the_last_page_names_no_next() {
    let store = Store::in_memory();
    fill(&store, "a", 10);
    let page = |limit| store.query(Query::all().limit(limit)).page().expect("it is valid");
    assert!(page(9).next.is_some());
    assert!(page(10).next.is_none());
    assert!(page(11).next.is_none());
    assert!(store.query(Query::all()).page().expect("it is valid").next.is_none());
}

#[test]
fn an_explanation_names_the_rarest_term_first() {
    let store = store();
    let query = Query::all().event_type("Odd").correlation("order-70").text("number");
    let explanation = store.query(query).explain().expect("the query is valid");
    let terms: Vec<_> = explanation
        .terms
        .iter()
        .map(|term| (&term.field, term.events))
        .collect();
    assert_eq!(terms, [(&Field::Correlation, 10), (&Field::EventType, 750)]);
    assert_eq!(explanation.matches, 5);
    assert!(explanation.tried_on_events);
    assert!(
        explanation.candidates <= 10 && explanation.examined <= 10,
        "{explanation:?}"
    );
    assert!(explanation.to_string().contains("event type is Odd: 750 events"));
    let simple = store
        .query(Query::all().event_type("Odd"))
        .explain()
        .expect("it is valid");
    assert!(!simple.tried_on_events, "{simple:?}");
}

#[test]
fn an_indexer_finds_what_it_was_written_for() {
    let store = Store::builder()
        .indexer("last digit", |event, values| {
            let last = event.data().last().map(|byte| char::from(*byte).to_string());
            values.extend(last.map(annals::Name::from));
        })
        .indexer("length", |event, values| {
            values.push(event.data().len().to_string().into());
        })
        .open()
        .expect("the names differ");
    fill(&store, "a", 100);
    let query = || Query::all().index("last digit", "7").index("length", "2");
    assert_eq!(found(&store, query()).len(), 9);
    fill(&store, "a", 20);
    assert_eq!(found(&store, query()).len(), 10);
    store.truncate_before("a", Version(101)).expect("it exists");
    store.compact();
    assert_eq!(found(&store, query()).len(), 1);
    let terms = store.terms(&Field::Index("length".into()));
    assert_eq!(terms, [("1".into(), 9), ("2".into(), 11)]);
    let fork = store.fork();
    fill(&fork, "a", 17);
    assert_eq!((found(&fork, query()).len(), found(&store, query()).len()), (2, 1));
}

#[test]
fn the_events_of_the_system_were_counted_among_the_terms_of_an_indexer() {
    let store = Store::builder()
        .indexer("length", |event, values| {
            values.push(event.data().len().to_string().into());
        })
        .open()
        .expect("there is one");
    fill(&store, "a", 2);
    store.truncate_before("a", Version(2)).expect("it exists");
    store.compact();
    assert_eq!(store.terms(&Field::Index("length".into())), [("1".into(), 1)]);
}

#[test]
fn two_indexers_of_one_name_are_refused() {
    let opened = Store::builder().indexer("x", |_, _| {}).indexer("x", |_, _| {}).open();
    assert!(matches!(opened, Err(Error::Invalid { .. })));
}

#[test]
fn the_events_of_the_system_are_left_out_unless_asked_for() {
    let store = Store::in_memory();
    fill(&store, "a", 3);
    store.truncate_before("a", Version(2)).expect("it exists");
    store.delete("a", Expected::Any).expect("it exists");
    fill(&store, "a", 1);
    assert_eq!(positions(&store.read_all().events()), [6]);
    assert_eq!(positions(&store.read_all().include_system().events()), [4, 5, 6]);
    assert_eq!(found(&store, Query::all()), [6]);
    assert_eq!(found(&store, Query::all().include_system()), [4, 5, 6]);
    assert_eq!(found(&store, Query::all().include_system().event_type("$deleted")), [5]);
    assert_eq!(found(&store, Query::all().event_type("$deleted")), [0; 0]);
    let types = store.terms(&Field::EventType);
    assert_eq!(types, [("Noted".into(), 1)]);
    let told = store.event_at(Position(4)).expect("it is kept");
    assert_eq!(told.stream_id(), StreamId::new("$aggregate", "$a"));
    assert_eq!(told.data(), br#"{"toVersion":1}"#);
}

#[test]
fn terms_count_the_events_that_can_be_read() {
    let store = store();
    let users = store.terms(&Field::User);
    assert_eq!(users.len(), 5);
    assert!(users.iter().all(|(_, events)| *events == 300), "{users:?}");
    store.delete("a", Expected::Any).expect("it exists");
    assert!(store.terms(&Field::User).iter().all(|(_, events)| *events == 200));
    assert_eq!(store.terms(&Field::Aggregate), [("b".into(), 500), ("c".into(), 500)]);
}

#[test]
fn a_page_omitted_what_a_budget_dropped_before_its_first_event() {
    let store = keeping(10);
    fill(&store, "a", 100);
    let pages = [
        store.query(Query::all()).page(),
        store.query(Query::all().limit(3)).page(),
        store.query(Query::all().order(Order::TimeDescending)).page(),
    ];
    for page in pages {
        assert_eq!(page.expect("a page").gaps, store.gaps());
    }
    let behind = store.query(Query::all().after(store.visible())).page();
    assert_eq!(behind.expect("a page").gaps, []);
}
