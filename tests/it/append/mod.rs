//! Appending: what is expected, what conflicts, and what an append answers.

mod chunks;
mod futures;
mod limits;
mod names;
mod repetition;
mod wakeups;

use annals::{
    Append, Condition, Conflict, ContentType, Error, Expected, NewEvent, Position, Query, Result, Store, StreamId,
    Version,
};

use crate::support::{events, fill, numbers, positions, stream};

const MISSING: &str = "missing";
const DELETED: &str = "deleted";
const THREE: &str = "three";

/// Three streams: one never written, one softly deleted at version 2, one at version 3 (position 6).
fn store() -> Store {
    let store = Store::in_memory();
    fill(&store, DELETED, 2);
    store.delete(DELETED, Expected::Any).expect("it exists");
    fill(&store, THREE, 3);
    store
}

fn is_invalid<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Invalid { .. }))
}

/// Everything that an append could have changed.
fn everything(store: &Store) -> (Vec<u64>, Position, u64) {
    let log = store.read_all().include_system().events();
    (positions(&log), store.visible(), store.stats().aggregates)
}

#[test]
fn expected_is_checked_against_the_stream() {
    let cases = [
        (MISSING, Expected::Any, true),
        (MISSING, Expected::NoStream, true),
        (MISSING, Expected::StreamExists, false),
        (MISSING, Expected::exactly(0), true),
        (MISSING, Expected::exactly(1), false),
        (DELETED, Expected::Any, true),
        (DELETED, Expected::NoStream, true),
        (DELETED, Expected::StreamExists, false),
        (DELETED, Expected::exactly(0), false),
        (DELETED, Expected::exactly(2), true),
        (THREE, Expected::Any, true),
        (THREE, Expected::NoStream, false),
        (THREE, Expected::StreamExists, true),
        (THREE, Expected::exactly(0), false),
        (THREE, Expected::exactly(2), false),
        (THREE, Expected::exactly(3), true),
        (THREE, Expected::exactly(4), false),
        (THREE, Expected::exactly(u64::MAX), false),
    ];
    for (id, expected, holds) in cases {
        for count in [0, 1, 3] {
            let store = store();
            let got = store.append(&stream(id), expected, events(count));
            assert_eq!(got.is_ok(), holds, "{count} events to {id}, {expected}: {got:?}");
        }
    }
}

#[test]
fn conflict_changes_nothing() {
    let store = store();
    let before = everything(&store);
    for (id, expected) in [
        (MISSING, Expected::StreamExists),
        (MISSING, Expected::exactly(1)),
        (DELETED, Expected::exactly(0)),
        (THREE, Expected::NoStream),
        (THREE, Expected::exactly(2)),
    ] {
        let got = store.append(&stream(id), expected, events(5));
        assert!(matches!(got, Err(Error::Conflict(_))), "{got:?}");
        assert_eq!(everything(&store), before, "after {id}, {expected}");
    }
    assert!(store.stream_info(MISSING).is_none());
}

#[test]
fn a_conflict_names_both_versions_and_the_position_to_wait_for() {
    let store = store();
    let error = store
        .append(&stream(THREE), Expected::exactly(2), events(1))
        .expect_err("the stream is at version 3");
    assert_eq!(
        error.to_string(),
        "aggregate 'three' is at version 3, expected version 2"
    );
    let Some(Conflict::Version {
        stream: at,
        expected,
        actual,
        position,
        ..
    }) = error.conflict()
    else {
        panic!("{error:?} is no conflict of versions");
    };
    assert_eq!(*at, stream(THREE));
    assert_eq!(
        (*expected, *actual, *position),
        (Expected::exactly(2), Version(3), Position(6))
    );
    assert_eq!(store.event_at(*position).map(|event| event.version()), Some(Version(3)));
}

#[test]
fn an_append_answers_where_its_events_are() {
    let store = store();
    let appended = fill(&store, THREE, 2);
    assert_eq!(
        (appended.first_version, appended.last_version),
        (Version(4), Version(5))
    );
    assert_eq!(
        (appended.first_position, appended.last_position),
        (Position(7), Position(8))
    );
    assert!(!appended.repeated);
}

#[test]
fn a_soft_deletion_does_not_restart_versions() {
    let store = store();
    let appended = store
        .append(&stream(DELETED), Expected::NoStream, events(1))
        .expect("it was deleted");
    assert_eq!(appended.first_version, Version(3));
}

#[test]
fn an_empty_append_changes_nothing() {
    let store = store();
    let before = everything(&store);
    let appended = store
        .append(&stream(THREE), Expected::exactly(3), Vec::new())
        .expect("the version is right");
    assert_eq!(
        (appended.first_version, appended.last_version),
        (Version(4), Version(3))
    );
    assert_eq!(
        (appended.first_position, appended.last_position),
        (Position(7), Position(6))
    );
    store
        .append(&stream(MISSING), Expected::NoStream, Vec::new())
        .expect("there is none");
    assert_eq!(store.append_all(Vec::new()), Ok(Vec::new()));
    assert_eq!(everything(&store), before);
    assert!(store.stream_info(MISSING).is_none());
}

#[test]
fn an_append_to_several_is_in_the_order_given() {
    let store = store();
    let parts = vec![
        Append::new(stream(THREE), Expected::exactly(3), events(2)),
        Append::new(stream("new"), Expected::NoStream, events(1)),
        Append::new(stream(MISSING), Expected::NoStream, Vec::new()),
        Append::new(stream(DELETED), Expected::Any, events(2)),
    ];
    let appended = store.append_all(parts).expect("every part holds");
    let firsts: Vec<_> = appended
        .iter()
        .map(|part| (part.first_version.0, part.first_position.0))
        .collect();
    assert_eq!((firsts[0], firsts[1], firsts[3]), ((4, 7), (1, 9), (3, 10)));
    assert_eq!(store.visible(), Position(11));
}

#[test]
fn one_conflict_refuses_every_part() {
    let store = store();
    let before = everything(&store);
    for bad in 0..3 {
        let part = |number: usize| {
            let expected = if number == bad {
                Expected::exactly(9)
            } else {
                Expected::Any
            };
            Append::new(stream(["x", THREE, "y"][number]), expected, events(2))
        };
        let got = store.append_all((0..3).map(part).collect::<Vec<_>>());
        assert!(matches!(got, Err(Error::Conflict(_))), "{got:?}");
        assert_eq!(everything(&store), before, "part {bad} was wrong");
    }
}

#[test]
fn an_aggregate_named_twice_is_refused() {
    let store = store();
    let part = || Append::new(stream("a"), Expected::Any, events(1));
    assert!(is_invalid(&store.append_all(vec![part(), part()])));
    assert_eq!(store.visible(), Position(6));
}

#[test]
fn an_aggregate_keeps_its_type() {
    let store = store();
    for id in [THREE, DELETED] {
        let other = StreamId::new("Invoice", id);
        assert!(is_invalid(&store.append(&other, Expected::Any, events(1))), "{id}");
        assert!(is_invalid(&store.append_all(vec![Append::new(
            other,
            Expected::Any,
            events(1)
        )])));
    }
}

#[test]
fn a_closed_store_refuses_appends_and_answers_reads() {
    let store = store();
    store.close().expect("closed");
    let closed = |result: Result<()>| assert_eq!(result, Err(Error::Closed));
    closed(store.append(&stream(THREE), Expected::Any, events(1)).map(|_| ()));
    closed(
        store
            .append_all(vec![Append::new(stream("a"), Expected::Any, events(1))])
            .map(|_| ()),
    );
    closed(store.truncate_before(THREE, Version(1)).map(|_| ()));
    closed(store.delete(THREE, Expected::Any).map(|_| ()));
    closed(store.tombstone(THREE, Expected::Any).map(|_| ()));
    closed(store.set_limits(THREE, annals::StreamLimits::default()).map(|_| ()));
    assert_eq!(numbers(&store, THREE), [1, 2, 3]);
    store.wait_visible(Position(1_000));
}

#[test]
fn payloads_survive_to_the_byte() {
    let store = Store::in_memory();
    let sizes = [0, 1, 127, 128, 16_383, 16_384, 16_385, 70_000, 1 << 19];
    let bytes = |size: usize, salt: usize| {
        (0..size)
            .map(|byte| ((byte * 31 + salt) % 251) as u8)
            .collect::<Vec<_>>()
    };
    let mut wanted = Vec::new();
    for (metadata, data) in sizes
        .iter()
        .flat_map(|metadata| sizes.iter().map(move |data| (*metadata, *data)))
    {
        let event = NewEvent::new("Noted")
            .content_type(ContentType::Bytes)
            .metadata(bytes(metadata, 1))
            .data(bytes(data, 2));
        store
            .append(&stream("a"), Expected::Any, vec![event])
            .expect("it is within the limits");
        wanted.push((bytes(metadata, 1), bytes(data, 2)));
    }
    let kept = store.read_stream("a").events();
    for (event, (metadata, data)) in kept.iter().zip(&wanted) {
        assert!(event.metadata() == metadata && event.data() == data, "{event:?}");
    }
    let mut in_place = 0;
    store.read_all().for_each(|event| {
        let (metadata, data) = &wanted[in_place];
        assert!(event.metadata() == metadata && event.data() == data, "{event:?}");
        in_place += 1;
    });
    assert_eq!((kept.len(), in_place), (wanted.len(), wanted.len()));
}

#[test]
fn content_types_are_kept() {
    let store = Store::in_memory();
    let types = [
        ContentType::Json,
        ContentType::Bytes,
        ContentType::from("text/csv; charset=utf-8"),
        ContentType::from("application/protobuf"),
    ];
    for data in &types {
        for metadata in &types {
            let mut event = NewEvent::new("Noted")
                .content_type(data.clone())
                .data(vec![0, 255, 128]);
            event.metadata_type = metadata.clone();
            event.metadata = vec![254, 0].into();
            store
                .append(&stream("a"), Expected::Any, vec![event])
                .expect("it is valid");
        }
    }
    let kept = store.read_stream("a").events();
    let pairs = types
        .iter()
        .flat_map(|data| types.iter().map(move |metadata| (data, metadata)));
    for (event, (data, metadata)) in kept.iter().zip(pairs) {
        assert_eq!((&event.data_type(), &event.metadata_type()), (data, metadata));
        assert_eq!((event.data(), event.metadata()), (&[0, 255, 128][..], &[254, 0][..]));
    }
}

#[test]
fn a_condition_after_the_last_position_of_all_panicked() {
    let store = Store::in_memory();
    for query in [Query::all(), Query::all().user("nobody"), Query::all().aggregate("a")] {
        let condition = Condition::none_after(query, Position(u64::MAX));
        let part = Append::new(
            StreamId::new("Account", "a"),
            Expected::Any,
            vec![NewEvent::new("Opened")],
        );
        store.append_if(&condition, vec![part]).expect("nothing comes after it");
    }
}

#[test]
fn a_condition_that_fails_leaves_no_stream_behind() {
    let store = Store::in_memory();
    store.append(&stream("a"), Expected::Any, events(1)).expect("it is new");
    let condition = Condition::none(Query::all().aggregate("a"));
    let refused = store.append_if(&condition, Append::new(stream("b"), Expected::NoStream, events(1)));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!((store.stream_info("b"), store.stats().aggregates), (None, 1));
    // Not even its type is known.
    let other = StreamId::new("Other", "b");
    store.append(&other, Expected::NoStream, events(1)).expect("it is new");
}
