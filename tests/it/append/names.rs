//! Names: which are refused, and how long they may be.

use annals::{ContentType, Expected, Limits, NewEvent, Position, Store, StreamId, Version};

use super::{everything, is_invalid, store};
use crate::support::{fill, noted, stream, with_limits};

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
        store.truncate_before("$three", Version(1)),
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

#[test]
fn a_zero_is_refused_in_every_name_and_none_in_a_payload() {
    let store = Store::in_memory();
    let fields = [
        "aggregate type",
        "aggregate id",
        "event type",
        "correlation id",
        "causation id",
        "user id",
        "organization id",
        "tag",
        "content type",
        "content type",
    ];
    for (place, field) in fields.into_iter().enumerate() {
        for name in [
            "\0",
            "order\0",
            "\0order",
            "a long name, longer than any other: or\0der",
        ] {
            let (stream, event) = with_name(place, name);
            let refusal = store.append(&stream, Expected::Any, vec![event]).expect_err(field);
            let part = format!("the {field} {name:?} has a U+0000");
            assert!(refusal.to_string().contains(&part), "{refusal}");
        }
    }
    let payload = NewEvent::new("Noted").metadata("\0").data("\0");
    assert!(store.append(&stream("a"), Expected::Any, vec![payload]).is_ok());
}

/// An append of one event with a name of this many bytes in the place of this number.
fn named(place: usize, bytes: usize) -> (StreamId, NewEvent<'static>) {
    with_name(place, &"n".repeat(bytes))
}

fn with_name(place: usize, name: &str) -> (StreamId, NewEvent<'static>) {
    let name = name.to_owned();
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
        8 => event = event.content_type(ContentType::from(&*name)),
        _ => event.metadata_type = ContentType::from(&*name),
    }
    (stream, event)
}

#[test]
fn a_name_may_have_its_limit_and_no_more() {
    for max in [7, 23, 24, 255, 1024] {
        let store = || with_limits(Limits::default().name_bytes_max(max));
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
    let store = with_limits(Limits::default().name_bytes_max(1));
    let appended = store.append(&StreamId::new("A", "a"), Expected::Any, vec![NewEvent::new("N")]);
    assert!(appended.is_ok(), "{appended:?}");
}

#[test]
fn a_name_that_begins_with_the_sign_of_the_system_had_a_byte_more() {
    let store = with_limits(Limits::default().name_bytes_max(10));
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
        let store = with_limits(Limits::default().name_bytes_max(max));
        let id = "n".repeat(max);
        fill(&store, &id, 2);
        assert_eq!(store.delete(&id, Expected::exactly(2)), Ok(Position(3)));
        assert_eq!(store.read_stream(&id).events().len(), 0);
    }
}

#[test]
fn the_longest_names_all_at_once_survive() {
    let store = with_limits(Limits::default().name_bytes_max(1024));
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
    let kept = &store.read_stream(&id).events()[0];
    assert_eq!(kept.aggregate_type(), long('t'));
    assert_eq!(kept.event_type(), long('e'));
    assert_eq!(kept.correlation_id(), Some(long('c').as_str()));
    assert_eq!(kept.causation_id(), Some(long('k').as_str()));
    assert_eq!(kept.user_id(), Some(long('u').as_str()));
    assert_eq!(kept.organization_id(), Some(long('o').as_str()));
    assert_eq!(kept.tags().collect::<Vec<_>>(), tags);
}
