//! Tails: what is there, then what comes, once and in order, however it is waited for.

mod calls;
mod stream;

use std::time::Duration;

use annals::journal::file::FileJournal;
use annals::journal::{Batch, Journal as _, JournalError, Record, Recover};
use annals::{
    Delivery, Error, Expected, Gap, GapReason, NewEvent, Order, Position, Query, Store, StreamId, Tail, Version,
};

use crate::support::{TempFolder, drain, fill, keeping, noted, stream};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

fn follow(store: &Store, after: u64) -> Tail {
    store.tail(Query::all(), Position(after)).expect("the query is valid")
}

fn position(delivery: Option<Delivery>) -> Option<u64> {
    match delivery? {
        Delivery::Event(event) => Some(event.position().0),
        Delivery::Gap(_) => None,
    }
}

#[test]
fn a_tail_begins_after_any_position() {
    let store = Store::in_memory();
    fill(&store, "a", 10);
    for after in 0..12 {
        let mut tail = follow(&store, after);
        assert_eq!(drain(&mut tail), (after + 1..=10).collect::<Vec<_>>());
        fill(&store.fork(), "a", 3);
        assert!(tail.try_next().is_none(), "a fork is another store");
    }
    let mut later = follow(&store, 12);
    fill(&store, "a", 4);
    assert_eq!(drain(&mut later), [13, 14]);
}

#[test]
fn a_tail_delivers_what_comes_while_it_waits() {
    let store = Store::in_memory();
    let mut tail = follow(&store, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for count in 1..=50 {
                fill(&store, "a", count % 5 + 1);
            }
        });
        for wanted in 1..=150 {
            assert_eq!(position(tail.next()), Some(wanted));
        }
    });
    assert!(tail.try_next().is_none());
}

#[test]
fn a_timeout_ends_the_wait_and_not_the_tail() {
    let store = Store::in_memory();
    let mut tail = follow(&store, 0);
    assert!(tail.next_timeout(Duration::ZERO).is_none());
    assert!(tail.next_timeout(Duration::from_millis(1)).is_none());
    fill(&store, "a", 1);
    assert_eq!(position(tail.next_timeout(Duration::ZERO)), Some(1));
    std::thread::scope(|scope| {
        scope.spawn(|| fill(&store, "a", 1));
        assert_eq!(position(tail.next_timeout(LONG)), Some(2));
    });
}

#[test]
fn closing_the_store_ends_its_tails() {
    let store = Store::in_memory();
    fill(&store, "a", 2);
    let mut tail = follow(&store, 0);
    let mut waiting = follow(&store, 2);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || waiting.next());
        store.close().expect("closed");
        assert_eq!(waiter.join().expect("it ends"), None);
    });
    // What is there is delivered first.
    assert_eq!(position(tail.next()), Some(1));
    assert_eq!(position(tail.next_timeout(LONG)), Some(2));
    assert_eq!((tail.next(), tail.next_timeout(LONG)), (None, None));
}

#[test]
fn dropping_the_last_handle_ends_its_tails() {
    let store = Store::in_memory();
    fill(&store, "a", 1);
    let other = store.clone();
    let mut tail = follow(&store, 0);
    drop(store);
    fill(&other, "a", 1);
    assert_eq!(position(tail.next()), Some(1));
    let waiter = std::thread::spawn(move || (tail.next(), tail.next()));
    drop(other);
    let (second, end) = waiter.join().expect("it ends");
    assert_eq!((position(second), end), (Some(2), None));
}

#[test]
fn a_tail_ends_where_its_query_does() {
    let store = Store::in_memory();
    fill(&store, "a", 5);
    let query = Query::all().after(Position(1)).until(Position(3));
    let mut tail = store.tail(query, Position(0)).expect("the query is valid");
    assert_eq!(drain(&mut tail), [2, 3]);
    assert_eq!(tail.next(), None);
}

#[test]
fn a_tail_has_no_order_limit_cursor_or_past() {
    let store = Store::in_memory();
    fill(&store, "a", 2);
    let next = store
        .query(Query::all().limit(1))
        .page()
        .expect("the query is valid")
        .next;
    for query in [
        Query::all().order(Order::Time),
        Query::all().order(Order::PositionDescending),
        Query::all().limit(1),
        Query::all().cursor(next.expect("there is more")),
        Query::all().as_of(Position(1)),
        Query::all().index("unknown", "x"),
    ] {
        assert!(matches!(store.tail(query, Position(0)), Err(Error::Invalid { .. })));
    }
}

#[test]
fn a_filtered_tail_delivers_what_matches() {
    let store = Store::in_memory();
    let query = Query::all().user("anna").tag("even");
    let mut tail = store.tail(query, Position(0)).expect("the query is valid");
    let mut wanted = Vec::new();
    for number in 1..=2000_u64 {
        let user = if number % 3 == 0 { "anna" } else { "bob" };
        let mut event = noted(number).user(user);
        if number % 2 == 0 {
            event = event.tag("even");
        }
        store
            .append(&stream("a"), Expected::Any, vec![event])
            .expect("anything goes");
        if number % 6 == 0 {
            wanted.push(number);
        }
    }
    assert_eq!(drain(&mut tail), wanted);
    // It has looked past what does not match.
    assert_eq!(tail.position(), Position(2000));
}

#[test]
fn the_events_of_the_system_are_delivered_when_asked_for() {
    let store = Store::in_memory();
    fill(&store, "a", 1);
    let mut with = store.tail(Query::all().include_system(), Position(0)).expect("valid");
    let mut without = follow(&store, 0);
    store
        .set_limits("a", annals::StreamLimits::default())
        .expect("it exists");
    fill(&store, "a", 1);
    assert_eq!((drain(&mut with), drain(&mut without)), (vec![1, 2, 3], vec![1, 3]));
}

#[test]
fn what_was_dropped_is_delivered_as_a_gap() {
    let store = Store::in_memory();
    fill(&store, "a", 5);
    let mut tail = follow(&store, 0);
    store.truncate_before("a", Version(4)).expect("it exists");
    let Some(Delivery::Gap(gap)) = tail.next() else {
        panic!("the gap comes first");
    };
    assert_eq!((gap.first, gap.last, gap.count), (Position(1), Position(3), 3));
    assert_eq!(gap.reason, GapReason::Truncated("a".into()));
    assert_eq!(drain(&mut tail), [4, 5]);
}

#[test]
fn a_tail_that_was_overtaken_is_told_how_much_it_missed() {
    let store = keeping(100);
    let mut tail = follow(&store, 0);
    for _ in 0..50 {
        fill(&store, "a", 20);
    }
    let (mut events, mut missed) = (Vec::new(), 0);
    while let Some(delivery) = tail.try_next() {
        match delivery {
            Delivery::Event(event) => events.push(event.position().0),
            Delivery::Gap(gap) => {
                assert_eq!(gap.reason, GapReason::Budget);
                missed += gap.count;
            }
        }
    }
    assert_eq!(missed + events.len() as u64, 1000);
    assert_eq!(events, (missed + 1..=1000).collect::<Vec<_>>());
}

#[test]
fn a_tail_that_nobody_reads_holds_no_writer() {
    let store = Store::in_memory();
    let mut slow = follow(&store, 0);
    assert!(slow.try_next().is_none());
    std::thread::scope(|scope| {
        for id in ["a", "b"] {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..200 {
                    fill(store, id, 10);
                }
            });
        }
    });
    assert_eq!(drain(&mut slow), (1..=4000).collect::<Vec<_>>());
}

#[test]
fn the_position_of_a_tail_is_where_it_can_go_on() {
    let store = Store::in_memory();
    fill(&store, "a", 600);
    let mut tail = follow(&store, 0);
    for taken in 1..=600 {
        assert_eq!(position(tail.try_next()), Some(taken));
        let mut again = follow(&store, tail.position().0);
        assert_eq!(position(again.try_next()), (taken < 600).then_some(taken + 1));
    }
}

#[test]
fn an_iterator_of_events_leaves_gaps_out() {
    let store = keeping(10);
    fill(&store, "a", 30);
    let mut tail = follow(&store, 0);
    store
        .append(&stream("a"), Expected::Any, vec![NewEvent::new("Last")])
        .expect("anything goes");
    store.close().expect("closed");
    let types: Vec<_> = tail.events().map(|event| event.event_type().to_owned()).collect();
    assert_eq!(types.last().map(String::as_str), Some("Last"));
    assert!(types.len() <= 10, "{} events of 10", types.len());
}

#[test]
fn a_gap_was_told_again_with_events_that_had_been_delivered() {
    let store = crate::support::keeping(300);
    let mut tail = store.tail(Query::all(), Position(0)).expect("the query is valid");
    let (mut delivered, mut missing) = (0, 0);
    for _ in 0..20 {
        for number in 0..400 {
            let stream = StreamId::new("Noise", format!("noise-{number}"));
            store
                .append(&stream, Expected::Any, vec![NewEvent::new("Heard")])
                .expect("the oldest make room");
        }
        while let Some(delivery) = tail.try_next() {
            match delivery {
                Delivery::Event(_) => delivered += 1,
                Delivery::Gap(gap) => missing += gap.count,
            }
        }
    }
    assert_eq!(delivered + missing, 8_000, "{delivered} delivered, {missing} missing");
}

#[test]
fn a_timeout_beyond_the_clock_panicked() {
    let store = Store::in_memory();
    let mut tail = store.tail(Query::all(), Position(0)).expect("the query is valid");
    store.close().expect("closed");
    assert_eq!(tail.next_timeout(std::time::Duration::MAX), None);
}

/// Takes what an empty journal has.
struct Nothing;

impl Recover for Nothing {
    fn batch(&mut self, _: Batch) -> Result<(), JournalError> {
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}

fn record(position: u64, version: u64) -> Record<'static> {
    let id = uuid::Uuid::from_u128(u128::from(position));
    let mut record = Record::new(Position(position), Version(version), id);
    record.aggregate_id = "a";
    record.aggregate_type = "Note";
    record.event_type = "Noted";
    record.data = b"{}";
    record
}

/// A gap.
fn gone() -> Gap {
    let store = keeping(1);
    fill(&store, "a", 2);
    store.gaps().pop().expect("a gap")
}

/// As of an archive of the latest events: a tail went through every position before them, one by one.
#[test]
fn a_tail_looked_at_every_position_that_never_had_an_event() {
    const GONE: u64 = 1 << 32;
    let folder = TempFolder::new();
    let mut journal = FileJournal::open(folder.path()).expect("a journal");
    journal.recover(&mut Nothing).expect("recovered");
    let mut batch = Batch::new();
    batch.push(&record(1, 1));
    batch.skip(Position(2), Position(GONE));
    let mut gap = gone();
    (gap.first, gap.last, gap.count) = (Position(2), Position(GONE), GONE - 1);
    gap.reason = GapReason::Elsewhere;
    batch.push_gap(gap);
    batch.push(&record(GONE + 1, 2));
    journal.write(&batch).expect("written");
    Box::new(journal).close().expect("closed");

    let store = Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store");
    for (after, first) in [(0, 2), (1, 2), (7, 8), (GONE - 1, GONE)] {
        let mut tail = follow(&store, after);
        let mut told = 0;
        let mut seen = Vec::new();
        while let Some(delivery) = tail.try_next() {
            match delivery {
                Delivery::Event(event) => seen.push(event.position().0),
                Delivery::Gap(gap) => {
                    assert!(told > 0 || gap.first == Position(first), "{after}: {gap}");
                    told += gap.count;
                }
            }
        }
        assert_eq!(told, GONE + 1 - first, "{after}");
        assert_eq!(seen.len(), if after == 0 { 2 } else { 1 }, "{after}");
    }
}
