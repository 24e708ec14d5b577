//! Appends that are made again: recognised by the ids of their events.

use annals::{Append, Appended, Error, Expected, NewEvent, Position, Store, Version};
use uuid::Uuid;

use super::everything;
use crate::support::{fill, noted, stream};

fn with_ids(ids: std::ops::Range<u128>) -> Vec<NewEvent> {
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
        let first = store.append(&stream("a"), expected, with_ids(1..4)).expect("it holds");
        fill(&store, "a", 5);
        let position = store.visible();
        let again = store.append(&stream("a"), expected, with_ids(1..4));
        assert_eq!(
            again,
            Ok(Appended {
                repeated: true,
                ..first
            }),
            "{expected}"
        );
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
    events[1].id = None;
    for count in 1..4 {
        let appended = store
            .append(&stream("a"), Expected::Any, events.clone())
            .expect("anything goes");
        assert_eq!((appended.repeated, appended.last_version), (false, Version(2 * count)));
    }
}

#[test]
fn a_dropped_repetition_is_a_conflict() {
    let store = Store::in_memory();
    store
        .append(&stream("a"), Expected::NoStream, with_ids(1..3))
        .expect("there is none");
    store.truncate("a", Version(2)).expect("it exists");
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
    assert_eq!(store.stream("a").events()[0].to_new(), event);
}
