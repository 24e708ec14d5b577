//! Writers, readers and droppers at once: what each of them may rely on.

use std::collections::{BTreeMap, HashSet};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annals::{
    Append, Appended, Condition, Conflict, Delivery, Error, Event, EventRef, Expected, Field, NewEvent, Order,
    Position, Query, Store, StreamLimits, Version,
};
use uuid::Uuid;

use crate::support::{drain, events, fill, found, keeping, noted, numbers, positions, stream};

const WRITERS: u64 = 4;
const ROUNDS: u64 = 400;

/// One event of a batch, which says in its data which batch, how long that is, and its place in it.
fn member(writer: u64, round: u64, place: u64, length: u64) -> NewEvent {
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
                |(part, events): (u64, &[NewEvent])| Append::new(stream(&id(part)), Expected::Any, events.to_vec());
            let parts = (0..).zip(all.chunks(2)).map(part).collect();
            let several = store.append_all(parts).expect("anything goes");
            (0..).map(id).zip(several).collect()
        };
        check_own(store, &all, &appended);
    }
}

fn check_own(store: &Store, all: &[NewEvent], appended: &[(String, Appended)]) {
    let (first, last) = (
        appended[0].1.first_position,
        appended[appended.len() - 1].1.last_position,
    );
    let want: Vec<_> = (first.0..=last.0).collect();
    assert_eq!(want.len(), all.len(), "the batch is not contiguous");
    let of_log = store.log().from(first).limit(all.len()).events();
    assert_eq!(positions(&of_log), want);
    for (event, new) in of_log.iter().zip(all) {
        assert_eq!(Some(event.id()), new.id);
    }
    for (id, part) in appended {
        let versions = store.stream(id).from(part.first_version).events();
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
    let seen = store.log().fold(Whole::default(), Whole::next);
    seen.end();
    assert_eq!(seen.events, seen.last, "there is a gap");
    assert!(seen.last >= floor.0);
    let kept: Vec<Event> = store.log().backwards().limit(50).events();
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

/// Calls `look` with every second number from `first` on, and once more when all is done.
fn repeat(first: u64, done: &AtomicBool, look: &impl Fn(u64)) {
    let mut round = first;
    while !done.load(Ordering::Acquire) {
        look(round);
        round += 2;
    }
    look(round);
}

/// Runs `work` on this many threads, and `beside` on two others over and over until they are done.
fn run(store: &Store, work: impl Fn(u64) + Sync, beside: impl Fn(u64) + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for other in 0..2 {
            let (done, beside) = (&done, &beside);
            scope.spawn(move || repeat(other, done, beside));
        }
        let workers: Vec<_> = (0..WRITERS)
            .map(|worker| {
                let work = &work;
                scope.spawn(move || work(worker))
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Release);
        for result in results {
            assert!(result.is_ok(), "a writer failed, with {} visible", store.visible());
        }
    });
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
            .stream(&format!("a{number}"))
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
    let (mut all, mut filtered, mut polled) = (
        tail(Query::all()),
        tail(Query::all().event_type("Odd").user("writer-1")),
        tail(Query::all()),
    );
    let (of_all, of_filtered, of_polled) = std::thread::scope(|scope| {
        let of_all = scope.spawn(move || all.events().map(|event| event.position().0).collect::<Vec<_>>());
        let of_filtered = scope.spawn(move || filtered.events().map(|event| event.position().0).collect::<Vec<_>>());
        let of_polled = scope.spawn(move || {
            let next = |tail: &mut annals::Tail| {
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
fn one_writer_wins_each_version() {
    let store = Store::in_memory();
    let wins = AtomicU64::new(0);
    run(
        &store,
        |writer| {
            let mut version = 0;
            while version < 300 {
                let event = noted(writer);
                match store.append(&stream("a"), Expected::exactly(version), vec![event]) {
                    Ok(appended) => {
                        assert_eq!(appended.last_version, Version(version + 1));
                        wins.fetch_add(1, Ordering::Relaxed);
                        version += 1;
                    }
                    Err(Error::Conflict(conflict)) => {
                        let Conflict::Version { actual, position, .. } = *conflict else {
                            panic!("{conflict:?} is no conflict of versions");
                        };
                        assert!(actual.0 > version, "{actual} is where {version} was expected");
                        // What the conflict names can be read when it is waited for.
                        store.await_visible(position);
                        let kept = store.event_at(position).expect("it is visible");
                        assert_eq!(kept.version(), actual);
                        version = actual.0;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        },
        |_| {
            let versions: Vec<_> = store
                .stream("a")
                .events()
                .iter()
                .map(|event| event.version().0)
                .collect();
            assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>());
        },
    );
    assert_eq!(wins.load(Ordering::Relaxed), 300);
    assert_eq!(store.visible(), Position(300));
}

#[test]
fn aggregates_appended_to_at_once_move_at_once() {
    let store = Store::in_memory();
    let ids = ["x", "y", "z"];
    run(
        &store,
        |writer| {
            let mut version = 0;
            while version < 150 {
                // Each names the aggregates in another order: the locks must not care.
                let turn = usize::try_from(writer).expect("it is small");
                let part = |place: usize| {
                    let event = noted(version).correlation(format!("{writer}-{version}"));
                    Append::new(stream(ids[(place + turn) % 3]), Expected::exactly(version), vec![event])
                };
                match store.append_all((0..3).map(part).collect()) {
                    Ok(appended) => {
                        assert_eq!(appended[2].last_position.0, appended[0].first_position.0 + 2);
                        version += 1;
                    }
                    Err(Error::Conflict(conflict)) => {
                        let Conflict::Version { actual, .. } = *conflict else {
                            panic!("{conflict:?} is no conflict of versions");
                        };
                        version = actual.0.max(version);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        },
        |_| {
            let counts = store.log().fold(BTreeMap::new(), |mut counts, event| {
                *counts.entry(event.aggregate_id().to_owned()).or_insert(0) += 1;
                counts
            });
            let distinct: HashSet<_> = counts.values().collect();
            assert!(distinct.len() <= 1 && matches!(counts.len(), 0 | 3), "{counts:?}");
        },
    );
    for id in ids {
        assert_eq!(numbers(&store, id), (0..150).collect::<Vec<_>>());
    }
}

/// What writers race for in a round: their condition, and what each appends.
type Race = fn(u64, u64) -> (Condition, Append);

fn append_to(id: &str, event: NewEvent) -> Append {
    Append::new(stream(id), Expected::Any, vec![event])
}

/// Whether the append was made; if not, what the conflict names can be read.
fn wins_race(store: &Store, condition: &Condition, append: Append) -> bool {
    match store.append_if(condition, vec![append]) {
        Ok(_) => true,
        Err(Error::Conflict(conflict)) => {
            let Conflict::Condition { position } = *conflict else {
                panic!("{conflict:?} is no conflict of a condition");
            };
            store.await_visible(position);
            assert!(store.event_at(position).is_some(), "{condition:?}");
            false
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn one_writer_wins_each_condition() {
    let races: [(&str, Race); 6] = [
        ("a type", |round, writer| {
            let event_type = format!("Happened{round}");
            let condition = Condition::none(Query::all().event_type(event_type.as_str()));
            (condition, append_to(&format!("w{writer}"), NewEvent::new(event_type)))
        }),
        ("a tag", |round, writer| {
            let condition = Condition::none(Query::all().tag(format!("seat-{round}")));
            (
                condition,
                append_to(&format!("w{writer}"), noted(round).tag(format!("seat-{round}"))),
            )
        }),
        ("a tag and a type", |round, writer| {
            let query = Query::all().tag("seat").event_type(format!("Reserved{round}"));
            let event = NewEvent::new(format!("Reserved{round}")).tag("seat");
            (Condition::none(query), append_to(&format!("w{writer}"), event))
        }),
        ("an aggregate", |round, _| {
            let id = format!("room-{round}");
            (
                Condition::none(Query::all().aggregate(id.as_str())),
                append_to(&id, noted(round)),
            )
        }),
        ("one of two aggregates", |round, writer| {
            let ids = [format!("left-{round}"), format!("right-{round}")];
            let id = &ids[usize::from(writer.is_multiple_of(2))];
            (
                Condition::none(Query::all().aggregates(ids.clone())),
                append_to(id, noted(round)),
            )
        }),
        ("the whole log", |round, writer| {
            (
                Condition::none_after(Query::all(), Position(round)),
                append_to(&format!("w{writer}"), noted(round)),
            )
        }),
    ];
    for (what, race) in races {
        let store = Store::in_memory();
        let barrier = Barrier::new(usize::try_from(WRITERS).expect("it is small"));
        let wins: Vec<_> = (0..80).map(|_| AtomicU64::new(0)).collect();
        run(
            &store,
            |writer| {
                for (round, wins) in (0..).zip(&wins) {
                    barrier.wait();
                    let (condition, append) = race(round, writer);
                    wins.fetch_add(u64::from(wins_race(&store, &condition, append)), Ordering::Relaxed);
                }
            },
            |_| {
                found(&store, Query::all().tag("seat"));
            },
        );
        for (round, wins) in wins.iter().enumerate() {
            assert_eq!(wins.load(Ordering::Relaxed), 1, "{what}, round {round}");
        }
        assert_eq!(store.visible(), Position(80), "{what}");
    }
}

#[test]
fn a_decision_is_never_made_on_an_old_answer() {
    let store = Store::in_memory();
    run(
        &store,
        |writer| {
            let mut added = 0;
            while added < 50 {
                let query = Query::all().tag("counter");
                let page = store.query(query.clone()).page().expect("the query is valid");
                let next = page.events.len() as u64 + 1;
                let append = append_to(&format!("w{writer}"), noted(next).tag("counter"));
                match store.append_if(&Condition::none_after(query, page.as_of), vec![append]) {
                    Ok(_) => added += 1,
                    Err(error) => assert!(error.conflict().is_some(), "{error}"),
                }
                // What does not match makes no conflict.
                let other = append_to(&format!("v{writer}"), noted(0));
                store.append_all(vec![other]).expect("anything goes");
            }
        },
        |_| {},
    );
    let counted = store
        .query(Query::all().tag("counter"))
        .events()
        .expect("the query is valid");
    let counted: Vec<u64> = counted
        .iter()
        .map(|event| event.json().expect("it is a number"))
        .collect();
    assert_eq!(counted, (1..=50 * WRITERS).collect::<Vec<_>>());
}

/// Drops some of what was just appended, in one of four ways; answers the first position that is kept.
fn drop_some(store: &Store, id: &str, round: u64, appended: &Appended) -> u64 {
    let (first, last) = (appended.first_position.0, appended.last_position.0);
    match round % 4 {
        0 => {
            let version = Version(appended.first_version.0 + 5);
            store.truncate(id, version).expect("it exists");
            first + 5
        }
        1 => {
            let expected = Expected::Exactly(appended.last_version);
            store.delete(id, expected).expect("nobody else writes");
            last + 1
        }
        2 => {
            let three = StreamLimits {
                max_count: Some(3),
                max_age: None,
            };
            store.set_limits(id, three).expect("it exists");
            store.set_limits(id, StreamLimits::default()).expect("it exists");
            last - 2
        }
        _ => {
            store.compact();
            store.delete(id, Expected::Any).expect("it exists");
            last + 1
        }
    }
}

/// Checks that of the positions from `first` to `last`, all of `id`, those from `kept_from` on are seen and no other.
fn check_kept(store: &Store, id: &str, first: u64, kept_from: u64, last: u64) {
    let want: Vec<_> = (kept_from..=last).collect();
    assert_eq!(positions(&store.stream(id).events()), want, "the stream {id}");
    for query in [
        Query::all().aggregate(id),
        Query::all().correlation(format!("c-{id}")),
        Query::all().aggregate(id).order(Order::TimeDescending),
        Query::all().tag("all").aggregate(id),
        Query::all().tag("all").after(Position(first - 1)).until(Position(last)),
    ] {
        let mut seen = found(store, query.clone());
        seen.sort_unstable();
        assert_eq!(seen, want, "{query:?}");
    }
    let mut of_tag = found(store, Query::all().tag("all"));
    of_tag.retain(|position| (first..=last).contains(position));
    assert_eq!(of_tag, want, "by tag");
    for position in first..kept_from {
        assert_eq!(store.event_at(Position(position)), None);
    }
    let of_log = store.log().from(Position(first)).limit(200).events();
    let is_gone = |event: &Event| event.aggregate_id() == id && event.position().0 < kept_from;
    assert!(!of_log.iter().any(is_gone), "the log");
}

#[test]
fn what_was_dropped_is_not_seen_however_busy_the_store_is() {
    let store = Store::in_memory();
    run(
        &store,
        |worker| {
            for round in 0..150 {
                let id = format!("w{worker}-{}", round % 20);
                let event = |number| noted(number).correlation(format!("c-{id}")).tag("all");
                let appended = store
                    .append(&stream(&id), Expected::Any, (1..=10).map(event).collect())
                    .expect("anything goes");
                if round >= 20 {
                    // Nothing of an earlier round is left.
                    store.truncate(&id, appended.first_version).expect("it exists");
                }
                let kept_from = drop_some(&store, &id, round, &appended);
                check_kept(
                    &store,
                    &id,
                    appended.first_position.0,
                    kept_from,
                    appended.last_position.0,
                );
            }
        },
        |round| {
            let mut last = 0;
            store.log().include_system().for_each(|event| {
                assert!(event.position().0 > last);
                last = event.position().0;
            });
            if round % 8 == 0 {
                let fork = store.fork();
                let then = fork.visible();
                fill(&fork, "fork", 3);
                assert_eq!(fork.visible(), Position(then.0 + 3));
                assert!(store.stream_info("fork").is_none());
            }
            store.terms(&Field::Aggregate);
            store.stats();
        },
    );
    assert_eq!(found(&store, Query::all()), positions(&store.log().events()));
    let gone: u64 = store.gaps().iter().map(|gap| gap.count).sum();
    let held = store.stats();
    assert_eq!(gone + held.events + held.system_events, store.visible().0);
}

#[test]
fn a_budget_holds_beside_writers() {
    let store = keeping(500);
    let mut tail = store.tail(Query::all(), Position(0)).expect("the query is valid");
    run(
        &store,
        |writer| {
            for round in 0..800 {
                let id = format!("w{writer}-{round}");
                store
                    .append(&stream(&id), Expected::NoStream, events(round % 5 + 1))
                    .expect("the oldest make room");
            }
        },
        |_| {
            let kept = positions(&store.log().events());
            assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
            let held = store.query(Query::all()).count().expect("the query is valid");
            // Each writer may be one batch ahead of what is dropped.
            assert!(held <= 500 + WRITERS * 5 + 1024, "{held} events");
        },
    );
    let held = store.stats().events;
    assert!(held <= 500, "{held} events at rest");
    assert_eq!(store.visible(), Position(WRITERS * 160 * 15));
    let gone: u64 = store.gaps().iter().map(|gap| gap.count).sum();
    assert_eq!(gone + held, store.visible().0);
    let kept = positions(&store.log().events());
    assert_eq!(
        kept,
        (store.visible().0 - held + 1..=store.visible().0).collect::<Vec<_>>()
    );
    assert_eq!(drain(&mut tail), kept);
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
