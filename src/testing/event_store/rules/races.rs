//! Rules about writers and readers at the same time.

use std::time::Instant;

use super::{SOON, append_any, assert_refused, event, log, stream};
use crate::testing::event_store::{Capability, EventStore, Range};
use crate::{Append, Condition, Event, Expected, Position, Query, StreamId, Version};

const WRITERS: usize = 4;
const ROUNDS: u64 = 25;

/// Of several writers that expect the same version, one is served; the others get a conflict, and nothing is lost.
pub fn one_writer_of_many_gets_each_version(store: &dyn EventStore) {
    let write = |writer: usize| {
        let (mut won, begun) = (Vec::new(), Instant::now());
        while (won.len() as u64) < ROUNDS {
            assert!(
                begun.elapsed() < SOON,
                "a writer gets conflicts only, although it reads the version before each append"
            );
            let version = Version(stream(store, "order-1").len() as u64);
            let event = event("OrderPaid").user(writer.to_string());
            let append = Append::new(
                StreamId::new("Order", "order-1"),
                Expected::Exactly(version),
                vec![event],
            );
            match store.append(&[append]) {
                Ok(appended) => {
                    let first = appended[0].first_version;
                    assert_eq!(
                        first,
                        Version(version.0 + 1),
                        "an append comes after the version that it expects"
                    );
                    won.push(first);
                }
                Err(error) => assert!(error.conflict().is_some(), "{error}"),
            }
        }
        won
    };
    let won = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        let won = writers.into_iter().map(|writer| writer.join().expect("a writer ends"));
        won.collect::<Vec<_>>()
    });
    let events = stream(store, "order-1");
    assert_eq!(events.len() as u64, WRITERS as u64 * ROUNDS);
    for (writer, versions) in won.iter().enumerate() {
        for version in versions {
            let at = usize::try_from(version.0 - 1).expect("a small number");
            assert_eq!(
                events[at].user_id(),
                Some(writer.to_string().as_str()),
                "version {version} is its own"
            );
        }
    }
}

/// Of several writers that append on the condition that none of them has, to aggregates of their own, one is served.
pub fn one_of_many_conditional_appends_is_stored(store: &dyn EventStore) {
    let claim = |writer: usize, round: u64| {
        let tag = format!("seat-{round}");
        let new = event("SeatTaken").tag(tag.clone());
        let new = Append::new(
            StreamId::new("Guest", format!("guest-{writer}")),
            Expected::Any,
            vec![new],
        );
        store.append_if(&Condition::none(Query::all().tag(tag)), &[new])
    };
    if !store.capabilities().has(Capability::AppendIf) {
        assert_refused(Capability::AppendIf, claim(0, 0));
        return;
    }
    let start = std::sync::Barrier::new(WRITERS);
    let write = |writer: usize| {
        let won = (0..ROUNDS).filter(|round| {
            start.wait();
            match claim(writer, *round) {
                Ok(_) => true,
                Err(error) => {
                    assert!(error.conflict().is_some(), "{error}");
                    false
                }
            }
        });
        won.count() as u64
    };
    let won: u64 = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer ends"))
            .sum()
    });
    assert_eq!(
        (won, log(store).len() as u64),
        (ROUNDS, ROUNDS),
        "each seat is taken once"
    );
}

/// A reader that goes on after the last position it saw, while others append, sees every event: no position becomes visible below it.
pub fn a_reader_of_the_log_misses_no_event(store: &dyn EventStore) {
    let total = WRITERS as u64 * ROUNDS * 2;
    let write = |writer: usize| {
        for _ in 0..ROUNDS {
            append_any(store, &format!("order-{writer}"), &["OrderPlaced", "OrderPaid"]);
        }
    };
    let read = || {
        let mut seen: Vec<Position> = Vec::new();
        let begun = Instant::now();
        while (seen.len() as u64) < total && begun.elapsed() < SOON {
            let next = Position(seen.last().map_or(0, |last| last.0) + 1);
            let events = store
                .read_all(Range::all().from(next).limit(7))
                .expect("the log is read");
            seen.extend(events.iter().map(Event::position));
        }
        seen
    };
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(read);
        for writer in 0..WRITERS {
            scope.spawn(move || write(writer));
        }
        reader.join().expect("the reader ends")
    });
    let all: Vec<_> = log(store).iter().map(Event::position).collect();
    assert_eq!(seen, all);
    assert_eq!(all.len() as u64, total);
}
