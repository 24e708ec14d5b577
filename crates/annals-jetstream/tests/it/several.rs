//! Appends to several aggregates, and under a condition.

use std::sync::atomic::{AtomicBool, Ordering};

use annals::{Append, Appended, Condition, Conflict, Error, Expected, NewEvent, Position, Query, Result, Store};
use uuid::Uuid;

use crate::{new_url, old_url, open, order};

annals::event_store_conformance!(a_store, open(&new_url()));
annals::event_store_conformance!(a_store_of_an_old_server, open(&old_url()));

fn placed() -> NewEvent<'static> {
    NewEvent::new("Placed")
}

/// An aggregate, its expected version, and a count of events.
type Part<'a> = (&'a str, Expected, u128);

/// Appends events whose ids begin with `first_id`.
fn append(store: &Store, parts: &[Part<'_>], first_id: u128) -> Result<Vec<Appended>> {
    let mut ids = first_id..;
    let parts = parts.iter().map(|(id, expected, count)| {
        let events = ids.by_ref().take(*count as usize);
        let events: Vec<_> = events.map(|id| placed().id(Uuid::from_u128(id))).collect();
        Append::new(order(id), *expected, events)
    });
    store.append_all(parts.collect::<Vec<_>>())
}

/// The same appends to a stream and to a store in memory have the same results.
#[test]
fn an_append_to_several_aggregates_was_not_as_in_memory() {
    use Expected::{Any, NoStream, StreamExists};
    let (store, memory) = (open(&new_url()), Store::in_memory());
    let steps: [(&[Part<'_>], u128); 14] = [
        (&[("a", NoStream, 2), ("b", NoStream, 1), ("c", Any, 3)], 1),
        (&[("a", NoStream, 2), ("b", NoStream, 1), ("c", Any, 3)], 1),
        (&[("b", Expected::exactly(1), 1), ("a", Expected::exactly(2), 1)], 20),
        (&[("b", Expected::exactly(1), 1), ("a", Expected::exactly(3), 1)], 30),
        (&[("a", Any, 1), ("d", StreamExists, 1)], 40),
        (&[("a", Expected::exactly(3), 0), ("d", NoStream, 1)], 50),
        (&[("a", Expected::exactly(2), 0), ("e", NoStream, 1)], 60),
        (&[("d", NoStream, 1), ("a", Expected::exactly(3), 0)], 50),
        (&[("a", Expected::exactly(3), 0), ("nothing", NoStream, 0)], 70),
        (&[("a", Expected::exactly(9), 0), ("nothing", NoStream, 0)], 70),
        // The ids of the first append, with a new event beside them.
        (&[("a", Any, 2), ("f", Any, 1)], 1),
        (&[("a", Any, 1), ("a", Any, 1)], 80),
        (&[("f", Any, 1), ("b", Any, 1)], 90),
        (&[("b", Any, 1), ("f", Any, 1)], 92),
    ];
    for (step, (parts, first_id)) in steps.iter().enumerate() {
        let results = [&store, &memory].map(|store| {
            let appended = append(store, parts, *first_id);
            let place = |part: &Appended| {
                // A part without events has no position of its own.
                let is_empty = part.first_version > part.last_version;
                let positions = (part.first_position, part.last_position);
                let versions = (part.first_version, part.last_version);
                (versions, (!is_empty).then_some(positions), part.repeated)
            };
            appended.map(|appended| appended.iter().map(place).collect::<Vec<_>>())
        });
        assert_eq!(results[0], results[1], "step {step}");
    }
    let ids = |store: &Store| {
        store.read_all().fold(Vec::new(), |mut all, event| {
            all.push((event.id(), event.version()));
            all
        })
    };
    assert_eq!(ids(&store), ids(&memory));
}

/// Appends pairs to two of three aggregates, until the end.
fn append_pairs(store: &Store, number: u128) {
    for count in 0..60 {
        let [one, other] = [count % 3, (count + 1 + count / 3 % 2) % 3].map(|number| format!("account-{number}"));
        let parts = [(&*one, Expected::Any, 1), (&*other, Expected::Any, 1)];
        append(store, &parts, 1 + (number * 60 + count) * 2).expect("any version goes");
    }
}

/// Checks that whole pairs are there.
fn check_pairs(store: &Store) -> usize {
    let ids = store.read_all().fold(Vec::new(), |mut ids, event| {
        ids.push(event.id().as_u128());
        ids
    });
    let (pairs, rest) = ids.as_chunks::<2>();
    assert!(rest.is_empty(), "half of an append is there after {} events", ids.len());
    assert!(pairs.iter().all(|[one, other]| one % 2 == 1 && other - one == 1));
    pairs.len()
}

#[test]
fn a_reader_saw_half_of_an_append_to_two_aggregates() {
    let url = new_url();
    let stores = [open(&url), open(&url)];
    let (reader, is_over) = (open(&url), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writers = [0, 1, 2, 3].map(|number| {
            let store = &stores[number % 2];
            scope.spawn(move || append_pairs(store, number as u128))
        });
        let watcher = scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                check_pairs(&reader);
            }
        });
        let results = writers.map(std::thread::ScopedJoinHandle::join);
        is_over.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
        assert!(results.iter().all(Result::is_ok));
    });
    assert_eq!(check_pairs(&open(&url)), 240);
}

/// The server has at most 50 batches of a stream open.
#[test]
fn an_append_beside_many_others_was_refused() {
    let store = open(&new_url());
    std::thread::scope(|scope| {
        for number in 0..80 {
            let store = &store;
            scope.spawn(move || {
                let ids = ["one", "other"].map(|kind| format!("{kind}-{number}"));
                let parts = ids.each_ref().map(|id| (&**id, Expected::NoStream, 1));
                append(store, &parts, 1 + number * 2).expect("it waits for its turn");
            });
        }
    });
    assert_eq!(check_pairs(&store), 80);
}

/// Each of several processes registers the same name, under an aggregate of its own.
#[test]
fn a_condition_held_for_two_processes_at_once() {
    let url = new_url();
    let stores = [open(&url), open(&url), open(&url)];
    for round in 0..15 {
        let register = |number: usize| {
            let name = format!("name:{round}");
            let condition = Condition::none(Query::all().tag(name.as_str()));
            let user = order(&format!("user-{round}-{number}"));
            let register = Append::new(user, Expected::NoStream, vec![placed().tag(name.clone())]);
            stores[number].append_if(&condition, register)
        };
        let results = std::thread::scope(|scope| {
            let threads = [0, 1, 2].map(|number| scope.spawn(move || register(number)));
            threads.map(|thread| thread.join().unwrap())
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "round {round}: {won:?} {lost:?}");
        let position = won[0].as_ref().unwrap()[0].first_position;
        for lost in lost {
            assert_eq!(lost, Err(Error::from(Conflict::Condition { position })));
        }
    }
}

/// Other appends go on meanwhile, so the end of the stream moves between an evaluation and its append.
#[test]
fn a_condition_that_holds_was_a_conflict_beside_other_appends() {
    let url = new_url();
    let (store, other) = (open(&url), open(&url));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                other.append(&order("busy"), Expected::Any, placed()).unwrap();
            }
        });
        let results: Vec<_> = (0..20)
            .map(|number| {
                let name = format!("name:{number}");
                let condition = Condition::none_after(Query::all().tag(name.as_str()), Position(0));
                let parts = ["user", "index"].map(|kind| {
                    let event = placed().tag(name.clone());
                    Append::new(order(&format!("{kind}-{number}")), Expected::NoStream, event)
                });
                store.append_if(&condition, parts)
            })
            .collect();
        is_over.store(true, Ordering::SeqCst);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    });
}

#[test]
fn a_server_without_batches_did_not_say_what_is_needed() {
    let store = open(&old_url());
    let two = |store: &Store| append(store, &[("a", Expected::Any, 1), ("b", Expected::Any, 1)], 1);
    let error = two(&store).expect_err("the server is too old");
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    assert!(
        error.to_string().contains("atomic batches need 2.15 or later"),
        "{error}"
    );
    assert_eq!(store.read_all().events(), []);
    // A condition for one aggregate needs no batch.
    let condition = Condition::none(Query::all().event_type("Placed"));
    let part = |id: &str| Append::new(order(id), Expected::Any, placed());
    store.append_if(&condition, part("a")).expect("there is none");
    let refused = store.append_if(&condition, part("b"));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
}

#[test]
fn more_aggregates_than_a_batch_takes_were_sent() {
    let store = open(&new_url());
    let part = |number: u32| Append::new(order(&format!("order-{number}")), Expected::Any, placed());
    let error = store.append_all((0..1001).map(part).collect::<Vec<_>>());
    assert!(matches!(&error, Err(Error::Invalid { .. })), "{error:?}");
    assert!(error.unwrap_err().to_string().contains("1000 at most"));
    let appended = store.append_all((0..1000).map(part).collect::<Vec<_>>()).unwrap();
    assert_eq!(appended[999].last_position, Position(1000));
}
