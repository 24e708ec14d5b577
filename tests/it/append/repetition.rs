//! Appends that are made again: recognised by the ids of their events.

use annals::{Append, Error, Expected, NewEvent, Position, Store, Version};
use uuid::Uuid;

use super::everything;
use crate::support::{fill, noted, stream};

fn with_ids(ids: std::ops::Range<u128>) -> Vec<NewEvent<'static>> {
    ids.map(|id| noted(1).id(Uuid::from_u128(id))).collect()
}

#[test]
fn a_repetition_is_answered_with_the_first_acknowledgement() {
    for expected in [
        Expected::Any,
        Expected::NoStream,
        Expected::exactly(0),
        Expected::StreamExists,
        Expected::exactly(1),
    ] {
        let store = Store::in_memory();
        if matches!(expected, Expected::StreamExists) || expected == Expected::exactly(1) {
            fill(&store, "a", 1);
        }
        let mut first = store.append(&stream("a"), expected, with_ids(1..4)).expect("it holds");
        fill(&store, "a", 5);
        let position = store.visible();
        let again = store.append(&stream("a"), expected, with_ids(1..4));
        first.repeated = true;
        assert_eq!(again, Ok(first), "{expected}");
        assert_eq!(store.visible(), position, "{expected}");
    }
}

#[test]
fn a_partial_repetition_is_a_conflict() {
    for (ids, what) in [(1..5, "longer"), (2..5, "shifted"), (0..3, "begun earlier")] {
        let store = Store::in_memory();
        store
            .append(&stream("a"), Expected::NoStream, with_ids(1..4))
            .expect("there is none");
        let before = everything(&store);
        for expected in [Expected::NoStream, Expected::exactly(0)] {
            let got = store.append(&stream("a"), expected, with_ids(ids.clone()));
            assert!(matches!(got, Err(Error::Conflict(_))), "{what}: {got:?}");
        }
        assert_eq!(everything(&store), before, "{what}");
    }
}

#[test]
fn events_without_ids_are_no_repetition() {
    let store = Store::in_memory();
    let mut events = with_ids(1..3);
    for event in &mut events {
        event.id = None;
    }
    for count in 1..4 {
        let appended = store
            .append(&stream("a"), Expected::Any, events.clone())
            .expect("anything goes");
        assert_eq!((appended.repeated, appended.last_version), (false, Version(2 * count)));
    }
}

/// Appends to an aggregate that has the events 1 to 3 and then `more` without ids. Answers what there is to it, and nothing is stored.
fn refused(expected: Expected, more: u64, events: Vec<NewEvent<'static>>) -> Error {
    let store = Store::in_memory();
    store
        .append(&stream("a"), Expected::NoStream, with_ids(1..4))
        .expect("there is none");
    if more > 0 {
        fill(&store, "a", more);
    }
    let before = everything(&store);
    let error = store
        .append(&stream("a"), expected, events.clone())
        .expect_err("it is refused");
    let part = Append::new(stream("a"), expected, events);
    assert_eq!(store.append_all(vec![part]).expect_err("it is refused"), error);
    assert_eq!(everything(&store), before);
    error
}

#[test]
fn a_batch_with_known_and_new_ids_stored_an_event_twice() {
    let mut mixed = with_ids(3..5);
    mixed[1].id = None;
    let reversed: Vec<_> = with_ids(1..4).into_iter().rev().collect();
    // In a stream that is scanned, and in one that is not.
    for more in [0, 5, 40, 200, 1500] {
        for (events, what, id) in [
            (with_ids(3..5), "the last and a new one", 3),
            (with_ids(0..2), "a new one and the first", 1),
            (with_ids(1..9), "all and more", 1),
            (
                with_ids(2..3).into_iter().chain(with_ids(1..2)).collect(),
                "two in another order",
                2,
            ),
            (reversed.clone(), "all in another order", 3),
            (mixed.clone(), "a known one, and one without id", 3),
            (
                with_ids(1..2).into_iter().chain(with_ids(3..4)).collect(),
                "two that are not neighbours",
                1,
            ),
        ] {
            for expected in [Expected::Any, Expected::StreamExists, Expected::exactly(3 + more)] {
                let error = refused(expected, more, events.clone());
                let Some(annals::Conflict::EventKnown {
                    id: known,
                    version,
                    position,
                    ..
                }) = error.conflict()
                else {
                    panic!("{what} behind {more}, {expected}: {error:?}");
                };
                assert_eq!(
                    (*known, version.0, position.0),
                    (Uuid::from_u128(id), id as u64, id as u64),
                    "{what}"
                );
            }
            let error = refused(Expected::exactly(4 + more), more, events);
            assert!(
                matches!(error.conflict(), Some(annals::Conflict::Version { .. })),
                "{what}: {error:?}"
            );
        }
    }
}

#[test]
fn a_repetition_was_forgotten_after_sixteen_events() {
    for more in [15, 17, 64, 65, 500, 3000] {
        let store = Store::in_memory();
        let first = store
            .append(&stream("a"), Expected::Any, with_ids(1..4))
            .expect("anything goes");
        fill(&store, "b", 10);
        fill(&store, "a", more);
        // The index of ids, if there is one by now, is behind.
        for ids in [1..4, 2..3, 1..3] {
            let again = store
                .append(&stream("a"), Expected::Any, with_ids(ids.clone()))
                .expect("it is known");
            assert!(again.repeated, "{ids:?} behind {more}");
            assert_eq!(again.first_version.0, ids.start as u64);
            assert_eq!(again.first_position.0, first.first_position.0 + ids.start as u64 - 1);
            fill(&store, "a", 1);
        }
        assert_eq!(store.visible(), Position(13 + more + 3));
    }
}

#[test]
fn an_id_twice_in_one_append_was_taken() {
    let store = Store::in_memory();
    for events in [
        [with_ids(1..2), with_ids(1..2)].concat(),
        [with_ids(1..9), vec![noted(1)], with_ids(5..6)].concat(),
        [with_ids(1..600), with_ids(599..600)].concat(),
    ] {
        let error = store
            .append(&stream("a"), Expected::Any, events.clone())
            .expect_err("it is refused");
        assert!(
            matches!(&error, Error::Invalid { message } if message.contains("the same id")),
            "{error}"
        );
        let parts = vec![
            Append::new(stream("b"), Expected::Any, with_ids(1..2)),
            Append::new(stream("a"), Expected::Any, events),
        ];
        assert!(matches!(store.append_all(parts), Err(Error::Invalid { .. })));
        assert_eq!(store.visible(), Position(0));
    }
    // Uniqueness across aggregates is the caller's.
    let parts = vec![
        Append::new(stream("b"), Expected::Any, with_ids(1..2)),
        Append::new(stream("a"), Expected::Any, with_ids(1..2)),
    ];
    assert!(store.append_all(parts).is_ok());
}

type Change = fn(&Store);

/// An id is known as long as its event is retained: then the same append is a new one.
#[test]
fn an_id_is_known_as_long_as_its_event_is_retained() {
    let drops: [(&str, Change); 4] = [
        ("truncated", |store| {
            store.truncate_before("a", Version(4)).expect("it exists");
        }),
        ("deleted", |store| {
            store.delete("a", Expected::Any).expect("it exists");
        }),
        ("limited", |store| {
            let limits = annals::StreamLimits::default().max_count(1);
            store.set_limits("a", limits).expect("it exists");
            fill(store, "a", 1);
        }),
        ("archived", |store| {
            let archived = store.archive(annals::Timestamp::MAX, "old", |_| Ok::<_, Error>(()));
            assert_eq!(archived.expect("archived").aggregates, 1);
        }),
    ];
    for (what, change) in drops {
        for (more, is_looked_up) in [(0, false), (0, true), (10, true), (100, false), (100, true)] {
            let store = Store::in_memory();
            let first = store
                .append(&stream("a"), Expected::Any, with_ids(1..4))
                .expect("anything goes");
            fill(&store, "a", more);
            if is_looked_up {
                // Now the index of ids has all events.
                assert!(store.event(Uuid::from_u128(1)).is_some());
            }
            let again = store.append(&stream("a"), Expected::Any, with_ids(1..4));
            assert!(again.expect("it is known").repeated, "{what}");
            change(&store);
            let again = store
                .append(&stream("a"), Expected::Any, with_ids(1..4))
                .expect("it is new");
            assert!(
                !again.repeated && again.first_version > first.last_version,
                "{what}: {again:?}"
            );
        }
    }
}

#[test]
fn a_dropped_repetition_is_a_conflict() {
    let store = Store::in_memory();
    store
        .append(&stream("a"), Expected::NoStream, with_ids(1..3))
        .expect("there is none");
    store.truncate_before("a", Version(2)).expect("it exists");
    let got = store.append(&stream("a"), Expected::exactly(0), with_ids(1..3));
    assert!(matches!(got, Err(Error::Conflict(_))), "{got:?}");
}

#[test]
fn an_append_to_several_is_recognised_again() {
    let store = Store::in_memory();
    let parts = |last: std::ops::Range<u128>| {
        vec![
            Append::new(stream("a"), Expected::NoStream, with_ids(1..3)),
            Append::new(stream("b"), Expected::NoStream, with_ids(last)),
        ]
    };
    let first = store.append_all(parts(3..5)).expect("there are none");
    let again = store.append_all(parts(3..5)).expect("they are the same");
    assert!(again.iter().all(|part| part.repeated));
    assert_eq!(again[1].first_position, first[1].first_position);
    // One part stored, the other not: another append than the first.
    let got = store.append_all(parts(5..7));
    assert!(matches!(got, Err(Error::Conflict(_))), "{got:?}");
    assert_eq!(store.visible(), Position(4));
}

#[test]
fn an_event_appended_again_is_the_same() {
    let store = Store::in_memory();
    let event = NewEvent::new("Paid")
        .id(Uuid::from_u128(5))
        .schema_version(3)
        .timestamp(annals::Timestamp::from_micros(-1))
        .correlation("c")
        .causation("k")
        .user("u")
        .organization("o")
        .tag("one")
        .tag("two")
        .metadata(" {\"a\" : 1}\n")
        .data("[1, 2 ]");
    store
        .append(&stream("a"), Expected::Any, vec![event.clone()])
        .expect("it is valid");
    assert_eq!(store.read_stream("a").events()[0].to_new(), event);
}
