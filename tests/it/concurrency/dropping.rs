//! Dropping beside writers and readers: what is gone is gone for everyone.

use std::sync::{Arc, Barrier};

use annals::{
    Append, Appended, Budget, Condition, Event, Expected, Field, Order, Position, Query, Settings, Store, StreamLimits,
    Version,
};

use super::{WRITERS, run};
use crate::support::{drain, events, fill, found, keeping, noted, positions, stream};

/// Drops some of what was just appended, in one of four ways; answers the first position that is kept.
fn drop_some(store: &Store, id: &str, round: u64, appended: &Appended) -> u64 {
    let (first, last) = (appended.first_position.0, appended.last_position.0);
    match round % 4 {
        0 => {
            let version = Version(appended.first_version.0 + 5);
            store.truncate_before(id, version).expect("it exists");
            first + 5
        }
        1 => {
            let expected = Expected::Exactly(appended.last_version);
            store.delete(id, expected).expect("nobody else writes");
            last + 1
        }
        2 => {
            let three = StreamLimits::default().max_count(3);
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
    assert_eq!(positions(&store.read_stream(id).events()), want, "the stream {id}");
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
    let of_log = store.read_all().from(Position(first)).limit(200).events();
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
                    .append(&stream(&id), Expected::Any, (1..=10).map(event).collect::<Vec<_>>())
                    .expect("anything goes");
                if round >= 20 {
                    // Nothing of an earlier round is left.
                    store.truncate_before(&id, appended.first_version).expect("it exists");
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
            store.read_all().include_system().for_each(|event| {
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
    assert_eq!(found(&store, Query::all()), positions(&store.read_all().events()));
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
            let kept = positions(&store.read_all().events());
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
    let kept = positions(&store.read_all().events());
    assert_eq!(
        kept,
        (store.visible().0 - held + 1..=store.visible().0).collect::<Vec<_>>()
    );
    assert_eq!(drain(&mut tail), kept);
}

#[test]
fn a_fork_counted_an_append_under_way_against_its_budget() {
    let barrier = Arc::new([(); 2].map(|()| Barrier::new(2)));
    let waits = Arc::clone(&barrier);
    let budget = Budget::default().events(10);
    let store = Store::builder()
        .settings(Settings::default().budget(budget))
        // The condition is looked at when its append has taken room, and before it is written.
        .indexer("slow", move |_, _| waits.iter().for_each(|barrier| _ = barrier.wait()))
        .open()
        .expect("a store");
    fill(&store, "a", 1);
    let fork = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let condition = Condition::none(Query::all().index("slow", "x"));
            store.append_if(&condition, vec![Append::new(stream("b"), Expected::Any, events(3))])
        });
        barrier[0].wait();
        let fork = store.fork();
        barrier[1].wait();
        let appended = writer.join().expect("the writer ends").expect("nothing matches");
        assert_eq!(appended[0].last_position, Position(4));
        fork
    });
    for (store, room) in [(&fork, 9), (&store.fork(), 6), (&store, 6)] {
        assert_eq!(fill(store, "c", room).last_position, Position(10));
        assert!(store.append(&stream("c"), Expected::Any, events(1)).is_err());
        store.delete("c", Expected::Any).expect("it exists");
        fill(store, "c", room);
    }
    let second = fork.fork();
    second.delete("a", Expected::Any).expect("it exists");
    fill(&second, "c", 1);
    assert!(second.append(&stream("c"), Expected::Any, events(1)).is_err());
}
