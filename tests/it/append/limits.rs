//! Limits of tags, payloads and batches: what is at one is taken, what is beyond it refused.

use annals::{Append, Expected, Limits, NewEvent, Position, StreamId, Version};

use super::is_invalid;
use crate::support::{events, noted, stream, with_limits};

#[test]
fn low_limits_were_in_the_way_of_a_deletion() {
    let store = with_limits(
        Limits::default()
            .name_bytes_max(1)
            .payload_bytes_max(0)
            .batch_bytes_max(0),
    );
    let appended = store.append(&StreamId::new("A", "a"), Expected::Any, vec![NewEvent::new("N")]);
    assert!(appended.is_ok(), "{appended:?}");
    assert_eq!(store.truncate_before("a", Version(1)), Ok(Position(2)));
    assert_eq!(store.delete("a", Expected::Any), Ok(Position(3)));
}

#[test]
fn an_event_may_have_its_tags_and_no_more() {
    for max in [0, 1, 32] {
        let store = with_limits(Limits::default().tags_max(max));
        let tagged = |count: usize| (0..count).fold(noted(1), |event, tag| event.tag(format!("t{tag}")));
        let append = |count| store.append(&stream("a"), Expected::Any, vec![tagged(count)]);
        assert!(append(max).is_ok(), "{max} tags");
        assert!(is_invalid(&append(max + 1)), "{} tags", max + 1);
    }
}

#[test]
fn a_payload_may_have_its_limit_and_no_more() {
    for max in [0, 10, 1 << 20] {
        let store = with_limits(Limits::default().payload_bytes_max(max));
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
    let store = with_limits(Limits::default().batch_events_max(7));
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
    let store = with_limits(Limits::default().batch_events_max(100_000));
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
    let store = with_limits(Limits::default().batch_bytes_max(100));
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
