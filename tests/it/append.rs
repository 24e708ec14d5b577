//! Appending: what is expected, what conflicts, what is a repetition, and what is beyond a limit.

use annals::{
    Append, Appended, Condition, Conflict, ContentType, Error, Expected, Limits, NewEvent, Position, Query, Result,
    Store, StreamId, Version,
};
use uuid::Uuid;

use crate::support::{events, fill, noted, numbers, positions, stream, with_limits};

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

fn with_ids(ids: std::ops::Range<u128>) -> Vec<NewEvent> {
    ids.map(|id| noted(1).id(Uuid::from_u128(id))).collect()
}

fn is_invalid<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Invalid(_)))
}

/// Everything that an append could have changed.
fn everything(store: &Store) -> (Vec<u64>, Position, u64) {
    let log = store.log().include_system().events();
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
fn a_soft_deletion_does_not_start_versions_anew() {
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
        let got = store.append_all((0..3).map(part).collect());
        assert!(matches!(got, Err(Error::Conflict(_))), "{got:?}");
        assert_eq!(everything(&store), before, "part {bad} was wrong");
    }
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
fn names_of_the_system_are_refused() {
    let store = store();
    let before = everything(&store);
    for (stream, event) in [
        (StreamId::new("$Account", "a"), noted(1)),
        (StreamId::new("Account", "$a"), noted(1)),
        (stream("a"), NewEvent::new("$deleted")),
    ] {
        assert!(
            is_invalid(&store.append(&stream, Expected::Any, vec![event])),
            "{stream}"
        );
    }
    for refused in [
        store.truncate("$three", Version(1)),
        store.delete("$three", Expected::Any),
        store.tombstone("$deleted", Expected::Any),
    ] {
        assert!(is_invalid(&refused));
    }
    assert_eq!(everything(&store), before);
    // Elsewhere the sign is like any other.
    let event = noted(1)
        .user("$u")
        .correlation("$c")
        .causation("$k")
        .organization("$o")
        .tag("$t");
    let kept = store.append(&stream("a"), Expected::Any, vec![event]);
    assert!(kept.is_ok(), "{kept:?}");
}

#[test]
fn empty_names_are_refused() {
    let store = Store::in_memory();
    for (stream, event) in [
        (StreamId::new("", "a"), noted(1)),
        (StreamId::new("Account", ""), noted(1)),
        (stream("a"), NewEvent::new("")),
        (stream("a"), noted(1).user("")),
        (stream("a"), noted(1).correlation("")),
        (stream("a"), noted(1).causation("")),
        (stream("a"), noted(1).organization("")),
        (stream("a"), noted(1).tag("")),
    ] {
        assert!(
            is_invalid(&store.append(&stream, Expected::Any, vec![event])),
            "{stream}"
        );
    }
}

/// An append of one event with a name of this many bytes in the place of this number.
fn named(place: usize, bytes: usize) -> (StreamId, NewEvent) {
    let name = "n".repeat(bytes);
    let mut stream = stream("a");
    let mut event = noted(1);
    match place {
        0 => stream.aggregate_type = name.into(),
        1 => stream.aggregate_id = name.into(),
        2 => event.event_type = name.into(),
        3 => event = event.correlation(name),
        4 => event = event.causation(name),
        5 => event = event.user(name),
        6 => event = event.organization(name),
        7 => event = event.tag(name),
        8 => event = event.content_type(ContentType::Other(name.into())),
        _ => event.metadata_type = ContentType::Other(name.into()),
    }
    (stream, event)
}

#[test]
fn a_name_may_have_its_limit_and_no_more() {
    for max in [7, 23, 24, 255, 1024] {
        let store = || {
            with_limits(Limits {
                name_bytes_max: max,
                ..Limits::default()
            })
        };
        for place in 0..10 {
            let append = |bytes| {
                let (stream, event) = named(place, bytes);
                store().append(&stream, Expected::Any, vec![event])
            };
            assert!(append(max).is_ok(), "place {place} with {max} bytes");
            assert!(is_invalid(&append(max + 1)), "place {place} with {} bytes", max + 1);
        }
    }
}

#[test]
fn a_low_limit_of_names_refused_json_for_its_content_type() {
    let store = with_limits(Limits {
        name_bytes_max: 1,
        ..Limits::default()
    });
    let appended = store.append(&StreamId::new("A", "a"), Expected::Any, vec![NewEvent::new("N")]);
    assert!(appended.is_ok(), "{appended:?}");
}

#[test]
fn low_limits_were_in_the_way_of_a_deletion() {
    let store = with_limits(Limits {
        name_bytes_max: 1,
        payload_bytes_max: 0,
        batch_bytes_max: 0,
        ..Limits::default()
    });
    let appended = store.append(&StreamId::new("A", "a"), Expected::Any, vec![NewEvent::new("N")]);
    assert!(appended.is_ok(), "{appended:?}");
    assert_eq!(store.truncate("a", Version(1)), Ok(Position(2)));
    assert_eq!(store.delete("a", Expected::Any), Ok(Position(3)));
}

#[test]
fn a_name_that_begins_with_the_sign_of_the_system_had_a_byte_more() {
    let store = with_limits(Limits {
        name_bytes_max: 10,
        ..Limits::default()
    });
    let name = format!("${}", "n".repeat(10));
    for event in [
        noted(1).user(name.as_str()),
        noted(1).correlation(name.as_str()),
        noted(1).tag(name.as_str()),
    ] {
        assert!(is_invalid(&store.append(&stream("a"), Expected::Any, vec![event])));
    }
}

#[test]
fn an_aggregate_with_the_longest_name_can_be_deleted() {
    for max in [255, 1024] {
        let store = with_limits(Limits {
            name_bytes_max: max,
            ..Limits::default()
        });
        let id = "n".repeat(max);
        fill(&store, &id, 2);
        assert_eq!(store.delete(&id, Expected::exactly(2)), Ok(Position(3)));
        assert_eq!(store.stream(&id).events().len(), 0);
    }
}

#[test]
fn the_longest_names_all_at_once_survive() {
    let store = with_limits(Limits {
        name_bytes_max: 1024,
        ..Limits::default()
    });
    let long = |first: char| format!("{first}{}", "ü".repeat(511)) + "x";
    let id = long('i');
    let mut event = NewEvent::new(long('e'))
        .correlation(long('c'))
        .causation(long('k'))
        .user(long('u'))
        .organization(long('o'));
    let tags: Vec<_> = ('A'..='Z').chain('0'..='5').map(long).collect();
    for tag in &tags {
        event = event.tag(tag.as_str());
    }
    store
        .append(&StreamId::new(long('t'), id.as_str()), Expected::Any, vec![event])
        .expect("each name has 1,024 bytes");
    let kept = &store.stream(&id).events()[0];
    assert_eq!(kept.aggregate_type(), long('t'));
    assert_eq!(kept.event_type(), long('e'));
    assert_eq!(kept.correlation_id(), Some(long('c').as_str()));
    assert_eq!(kept.causation_id(), Some(long('k').as_str()));
    assert_eq!(kept.user_id(), Some(long('u').as_str()));
    assert_eq!(kept.organization_id(), Some(long('o').as_str()));
    assert_eq!(kept.tags().collect::<Vec<_>>(), tags);
}

#[test]
fn an_event_may_have_its_tags_and_no_more() {
    for max in [0, 1, 32] {
        let store = with_limits(Limits {
            tags_max: max,
            ..Limits::default()
        });
        let tagged = |count: usize| (0..count).fold(noted(1), |event, tag| event.tag(format!("t{tag}")));
        let append = |count| store.append(&stream("a"), Expected::Any, vec![tagged(count)]);
        assert!(append(max).is_ok(), "{max} tags");
        assert!(is_invalid(&append(max + 1)), "{} tags", max + 1);
    }
}

#[test]
fn a_payload_may_have_its_limit_and_no_more() {
    for max in [0, 10, 1 << 20] {
        let store = with_limits(Limits {
            payload_bytes_max: max,
            ..Limits::default()
        });
        for metadata in [0, max / 2, max] {
            let append = |data: usize| {
                let event = NewEvent::new("Noted")
                    .metadata(vec![b'm'; metadata])
                    .data(vec![b'd'; data]);
                store.append(&stream("a"), Expected::Any, vec![event])
            };
            assert!(append(max - metadata).is_ok(), "{max} bytes");
            assert!(is_invalid(&append(max - metadata + 1)), "{} bytes", max + 1);
        }
    }
}

#[test]
fn a_batch_may_have_its_events_and_no_more() {
    let store = with_limits(Limits {
        batch_events_max: 7,
        ..Limits::default()
    });
    assert!(store.append(&stream("a"), Expected::Any, events(7)).is_ok());
    assert!(is_invalid(&store.append(&stream("a"), Expected::Any, events(8))));
    let parts = |counts: [u64; 2]| {
        let part = |(id, count)| Append::new(stream(id), Expected::Any, events(count));
        ["b", "c"].into_iter().zip(counts).map(part).collect::<Vec<_>>()
    };
    assert!(store.append_all(parts([3, 4])).is_ok());
    assert!(is_invalid(&store.append_all(parts([4, 4]))));
    assert_eq!(store.visible(), Position(14));
}

#[test]
fn the_largest_batch_is_one() {
    let store = with_limits(Limits {
        batch_events_max: 100_000,
        ..Limits::default()
    });
    let appended = store
        .append(&stream("a"), Expected::NoStream, vec![NewEvent::new("Noted"); 100_000])
        .expect("it is at the limit");
    assert_eq!(
        (appended.last_version, store.visible()),
        (Version(100_000), Position(100_000))
    );
    assert!(is_invalid(&store.append(
        &stream("a"),
        Expected::Any,
        vec![NewEvent::new("Noted"); 100_001]
    )));
}

#[test]
fn a_batch_may_have_its_bytes_and_no_more() {
    let store = with_limits(Limits {
        batch_bytes_max: 100,
        ..Limits::default()
    });
    let of = |bytes: usize| NewEvent::new("Noted").data(vec![b' '; bytes]);
    assert!(store.append(&stream("a"), Expected::Any, vec![of(60), of(40)]).is_ok());
    assert!(is_invalid(&store.append(
        &stream("a"),
        Expected::Any,
        vec![of(60), of(41)]
    )));
    let parts = |bytes| {
        vec![
            Append::new(stream("b"), Expected::Any, vec![of(60)]),
            Append::new(stream("c"), Expected::Any, vec![of(bytes)]),
        ]
    };
    assert!(store.append_all(parts(40)).is_ok());
    assert!(is_invalid(&store.append_all(parts(41))));
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
    closed(store.truncate(THREE, Version(1)).map(|_| ()));
    closed(store.delete(THREE, Expected::Any).map(|_| ()));
    closed(store.tombstone(THREE, Expected::Any).map(|_| ()));
    closed(store.set_limits(THREE, annals::StreamLimits::default()).map(|_| ()));
    assert_eq!(numbers(&store, THREE), [1, 2, 3]);
    store.await_visible(Position(1_000));
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
    let kept = store.stream("a").events();
    for (event, (metadata, data)) in kept.iter().zip(&wanted) {
        assert!(event.metadata() == metadata && event.data() == data, "{event:?}");
    }
    let mut in_place = 0;
    store.log().for_each(|event| {
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
        ContentType::Other("text/csv; charset=utf-8".into()),
        ContentType::Other("application/protobuf".into()),
    ];
    for data in &types {
        for metadata in &types {
            let mut event = NewEvent::new("Noted")
                .content_type(data.clone())
                .data(vec![0, 255, 128]);
            event.metadata_type = metadata.clone();
            event.metadata = vec![254, 0];
            store
                .append(&stream("a"), Expected::Any, vec![event])
                .expect("it is valid");
        }
    }
    let kept = store.stream("a").events();
    let pairs = types
        .iter()
        .flat_map(|data| types.iter().map(move |metadata| (data, metadata)));
    for (event, (data, metadata)) in kept.iter().zip(pairs) {
        assert_eq!((&event.data_type(), &event.metadata_type()), (data, metadata));
        assert_eq!((event.data(), event.metadata()), (&[0, 255, 128][..], &[254, 0][..]));
    }
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
