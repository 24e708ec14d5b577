//! Batches beside readers and tails: whole, in order, and seen at once by their writers.

use annals::{
    Append, Appended, Delivery, Event, EventRef, Expected, Field, Name, NewEvent, Order, Position, Query, Store,
};
use uuid::Uuid;

use super::{WRITERS, run};
use crate::support::{fill, found, numbers, positions, stream};

const ROUNDS: u64 = 400;

/// One event of a batch, which says in its data which batch, how long that is, and its place in it.
fn member(writer: u64, round: u64, place: u64, length: u64) -> NewEvent<'static> {
    let batch = writer * 1_000_000 + round;
    NewEvent::new(if batch.is_multiple_of(2) { "Even" } else { "Odd" })
        .id(Uuid::from_u128(u128::from(batch * 100 + place)))
        .data(format!("[{batch},{place},{length}]"))
        .correlation(format!("batch-{batch}"))
        .user(format!("writer-{writer}"))
        .tag("all")
}

fn read_member(event: EventRef<'_>) -> [u64; 3] {
    event.json().expect("the data is three numbers")
}

/// Checks that batches come whole, one event after the other.
#[derive(Default)]
struct Whole {
    batch: u64,
    left: u64,
    events: u64,
    last: u64,
}

impl Whole {
    fn next(mut self, event: EventRef<'_>) -> Self {
        let [batch, place, length] = read_member(event);
        if self.left == 0 {
            assert_eq!(place, 0, "batch {batch} begins in its middle");
            self.left = length;
        } else {
            assert_eq!((batch, place), (self.batch, length - self.left), "a batch was torn");
        }
        let position = event.position().0;
        assert!(position > self.last, "{position} comes after {}", self.last);
        Self {
            batch,
            left: self.left - 1,
            events: self.events + 1,
            last: position,
        }
    }

    fn end(&self) {
        assert_eq!(self.left, 0, "only a part of batch {} is seen", self.batch);
    }
}

/// Appends batches to one or several of 24 aggregates, and checks that it reads them at once.
fn write(store: &Store, writer: u64) {
    for round in 0..ROUNDS {
        let length = round % 6 + 1;
        let all: Vec<_> = (0..length).map(|place| member(writer, round, place, length)).collect();
        let id = |part: u64| format!("a{}", (writer * 7 + round + part) % 24);
        let appended: Vec<(String, Appended)> = if length % 2 == 1 {
            let one = store.append(&stream(&id(0)), Expected::Any, all.clone());
            vec![(id(0), one.expect("anything goes"))]
        } else {
            let part =
                |(part, events): (u64, &[NewEvent<'static>])| Append::new(stream(&id(part)), Expected::Any, events);
            let parts = (0..).zip(all.chunks(2)).map(part).collect::<Vec<_>>();
            let several = store.append_all(parts).expect("anything goes");
            (0..).map(id).zip(several).collect()
        };
        check_own(store, &all, &appended);
    }
}

fn check_own(store: &Store, all: &[NewEvent<'_>], appended: &[(String, Appended)]) {
    let (first, last) = (
        appended[0].1.first_position,
        appended[appended.len() - 1].1.last_position,
    );
    let want: Vec<_> = (first.0..=last.0).collect();
    assert_eq!(want.len(), all.len(), "the batch is not contiguous");
    let of_log = store.read_all().from(first).limit(all.len()).events();
    assert_eq!(positions(&of_log), want);
    for (event, new) in of_log.iter().zip(all) {
        assert_eq!(Some(event.id()), new.id);
    }
    for (id, part) in appended {
        let versions = store.read_stream(id).from(part.first_version).events();
        assert_eq!(versions[0].position(), part.first_position);
    }
    let correlation = all[0].correlation_id.as_ref().expect("it has one");
    assert_eq!(found(store, Query::all().correlation(correlation)), want);
    assert_eq!(
        found(
            store,
            Query::all().tag("all").after(Position(first.0 - 1)).limit(all.len())
        ),
        want
    );
    let last_event = store.event(all[all.len() - 1].id.expect("it has one"));
    assert_eq!(last_event.map(|event| event.position()), Some(last));
}

fn check_prefix(store: &Store) {
    let floor = store.visible();
    let seen = store.read_all().fold(Whole::default(), Whole::next);
    seen.end();
    assert_eq!(seen.events, seen.last, "there is a gap");
    assert!(seen.last >= floor.0);
    let kept: Vec<Event> = store.read_all().backwards().limit(50).events();
    assert!(
        kept.windows(2)
            .all(|pair| pair[0].position().0 == pair[1].position().0 + 1)
    );
}

fn check_queries(store: &Store, writer: u64) {
    let query = Query::all().user(format!("writer-{writer}"));
    let seen = store.query(query.clone()).fold(Whole::default(), Whole::next);
    seen.expect("the query is valid").end();
    for query in [
        query.clone(),
        query.clone().order(Order::TimeDescending).limit(100),
        query.order(Order::PositionDescending),
        Query::all().event_type("Even"),
        Query::all(),
    ] {
        let cached = store.query(query.clone()).page().expect("the query is valid");
        let then = query.clone().as_of(cached.as_of);
        let uncached = store.query(then).uncached().events().expect("the query is valid");
        assert_eq!(
            positions(&cached.events),
            positions(&uncached),
            "{query:?} as of {}",
            cached.as_of
        );
    }
}

#[test]
fn readers_see_a_prefix_of_whole_batches() {
    let store = Store::in_memory();
    run(
        &store,
        |writer| write(&store, writer),
        |round| {
            check_prefix(&store);
            check_queries(&store, round % WRITERS);
        },
    );
    let events: u64 = (0..ROUNDS).map(|round| round % 6 + 1).sum();
    assert_eq!(store.visible(), Position(events * WRITERS));
    for number in 0..24 {
        let versions: Vec<_> = store
            .read_stream(&format!("a{number}"))
            .events()
            .iter()
            .map(|event| event.version().0)
            .collect();
        assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn tails_deliver_every_event_once_and_in_order() {
    let store = Store::in_memory();
    let tail = |query: Query| store.tail(query, Position(0)).expect("the query is valid");
    let (mut all, mut filtered, polled) = (
        tail(Query::all()),
        tail(Query::all().event_type("Odd").user("writer-1")),
        tail(Query::all()),
    );
    let (of_all, of_filtered, of_polled) = std::thread::scope(|scope| {
        let of_all = scope.spawn(move || all.events().map(|event| event.position().0).collect::<Vec<_>>());
        let of_filtered = scope.spawn(move || filtered.events().map(|event| event.position().0).collect::<Vec<_>>());
        let of_polled = scope.spawn(move || {
            let mut polled = polled.into_stream();
            let next = |tail: &mut annals::TailStream| {
                let poll = |context: &mut std::task::Context<'_>| {
                    futures_core::Stream::poll_next(std::pin::Pin::new(&mut *tail), context)
                };
                futures_executor::block_on(std::future::poll_fn(poll))
            };
            let mut seen = Vec::new();
            while let Some(Delivery::Event(event)) = next(&mut polled) {
                seen.push(event.position().0);
            }
            seen
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || write(store, writer))
            })
            .collect();
        for writer in writers {
            writer.join().expect("a writer ends");
        }
        store.close().expect("closed");
        let ended = |thread: std::thread::ScopedJoinHandle<'_, Vec<u64>>| thread.join().expect("a tail ends");
        (ended(of_all), ended(of_filtered), ended(of_polled))
    });
    let want: Vec<_> = (1..=store.visible().0).collect();
    assert_eq!(of_all, want);
    assert_eq!(of_polled, want);
    assert_eq!(
        of_filtered,
        found(&store, Query::all().event_type("Odd").user("writer-1"))
    );
}

#[test]
fn a_first_batch_longer_than_a_page_of_the_directory_was_never_visible() {
    let store = Store::in_memory();
    std::thread::scope(|scope| {
        for id in ["a", "b"] {
            let store = &store;
            scope.spawn(move || fill(store, id, 9_000));
        }
    });
    assert_eq!(store.visible(), Position(18_000));
    assert_eq!(numbers(&store, "a"), (1..=9_000).collect::<Vec<_>>());
}

#[test]
fn indexers_answer_beside_writers() {
    let store = Store::builder()
        .indexer("writer", |event, values| values.extend(event.user_id().map(Name::from)))
        .indexer("length", |event, values| {
            let [_, _, length] = read_member(event);
            values.push(length.to_string().into());
        })
        .open()
        .expect("the names differ");
    let of_writer = |writer| Query::all().index("writer", format!("writer-{writer}"));
    run(
        &store,
        |writer| write(&store, writer),
        |round| {
            let writer = round % WRITERS;
            let seen = store.query(of_writer(writer)).fold(Whole::default(), Whole::next);
            seen.expect("the query is valid").end();
            let page = store.query(of_writer(writer)).page().expect("the query is valid");
            let by_user = Query::all().user(format!("writer-{writer}")).as_of(page.as_of);
            assert_eq!(positions(&page.events), found(&store, by_user));
        },
    );
    for writer in 0..WRITERS {
        let by_user = found(&store, Query::all().user(format!("writer-{writer}")));
        assert_eq!(found(&store, of_writer(writer)), by_user);
    }
    let batches = (0..ROUNDS).filter(|round| round % 6 + 1 == 3).count() as u64 * WRITERS;
    let of_length = found(&store, Query::all().index("length", "3"));
    assert_eq!(of_length.len() as u64, 3 * batches);
    let terms = store.terms(&Field::Index("length".into()));
    let counted: u64 = terms.iter().map(|(_, events)| events).sum();
    assert_eq!(counted, store.visible().0);
}
