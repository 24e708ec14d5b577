//! What a duplicate key means: an earlier attempt of the same batch, a leftover behind the head, or a document that is in the way.

use annals::{Durability, Error, Expected, NewEvent, Settings, Store};
use mongodb::bson::doc;
use uuid::Uuid;

use crate::proxy::{Cut, Proxy};
use crate::raw::{Raw, document};
use crate::{new_url, open, order};

/// The part of the head's compare-and-set that no other request has: a document of 23 bytes with the position alone.
const HEAD: &[u8] = b"$set\0\x17\0\0\0\x12position\0";

fn append(store: &Store, kind: &'static str) -> Result<(), Error> {
    let appended = store.append(
        &order("a"),
        Expected::Any,
        vec![NewEvent::new(kind), NewEvent::new("Second")],
    );
    appended.map(drop)
}

/// Appends while the connection is cut, and checks that both events are there once.
fn check_cut(mark: &'static [u8], cut: Cut) {
    let url = new_url();
    let (proxy, through) = Proxy::to(&url);
    let store = open(&through);
    append(&store, "First").unwrap();
    proxy.arm(mark, cut);
    append(&store, "LostAnswer").unwrap();
    assert!(proxy.is_met());
    proxy.release();
    append(&store, "Last").unwrap();
    store.close().unwrap();
    let events = open(&url).read_stream("a").events();
    let kinds: Vec<_> = events.iter().map(|event| event.event_type().to_owned()).collect();
    assert_eq!(kinds, ["First", "Second", "LostAnswer", "Second", "Last", "Second"]);
    assert_eq!(Raw::of(&url).count("events"), 6);
}

#[test]
fn an_insert_whose_answer_was_lost_was_a_conflict() {
    check_cut(b"LostAnswer", Cut::After);
    check_cut(b"LostAnswer", Cut::Before);
}

#[test]
fn an_insert_that_arrived_after_its_repetition_was_stored_twice() {
    check_cut(b"LostAnswer", Cut::Late);
}

#[test]
fn a_head_whose_answer_was_lost_was_taken_for_the_head_of_another_writer() {
    check_cut(HEAD, Cut::After);
    check_cut(HEAD, Cut::Before);
    check_cut(HEAD, Cut::Late);
}

#[test]
fn a_leftover_behind_the_head_was_a_conflict() {
    let url = new_url();
    open(&url).close().unwrap();
    let (store, raw) = (open(&url), Raw::of(&url));
    append(&store, "First").unwrap();
    // One at the next position, and others with the next versions at positions that follow later.
    for stray in [document(3, "b", 1, 1), document(9, "a", 3, 1), document(10, "a", 4, 1)] {
        raw.insert("events", stray);
    }
    append(&store, "Next").unwrap();
    for _ in 0..4 {
        append(&store, "More").unwrap();
    }
    store.close().unwrap();
    let events = open(&url).read_all().events();
    assert!(events.iter().all(|event| event.event_type() != "Stray"), "{events:?}");
    assert!(events.iter().map(|event| event.version().0).eq(1..=12));
}

#[test]
fn a_document_of_another_program_was_overwritten_or_skipped() {
    let url = new_url();
    let (store, raw) = (open(&url), Raw::of(&url));
    append(&store, "First").unwrap();
    raw.insert(
        "events",
        doc! { "aggregateId": "a", "sequenceNumber": 3_i64, "eventType": "Foreign" },
    );
    let error = append(&store, "Next").unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("document without a position of another program"),
        "{error}"
    );
    drop(store);
    raw.delete("events", doc! { "eventType": "Foreign" });
    let store = open(&url);
    append(&store, "Next").unwrap();
    assert_eq!(store.read_stream("a").events().len(), 4);
}

#[test]
fn an_event_with_a_known_id_made_the_store_fail() {
    let url = new_url();
    let store = open(&url);
    let event = || NewEvent::new("Placed").id(Uuid::from_u128(5));
    let append = |id: &str, expected| store.append(&order(id), expected, vec![event()]);
    assert!(!append("a", Expected::NoStream).unwrap().repeated);
    assert!(append("a", Expected::NoStream).unwrap().repeated);
    assert!(!append("b", Expected::NoStream).unwrap().repeated);
    let other = vec![event(), NewEvent::new("Other")];
    assert!(matches!(
        store.append(&order("a"), Expected::Any, other),
        Err(Error::Conflict(_))
    ));
    store.close().unwrap();
    assert_eq!(open(&url).read_all().events().len(), 2);
}

#[test]
fn a_payload_with_dots_and_dollars_was_refused_or_changed() {
    let url = new_url();
    let data = br#"{"a.b":1,"$set":{"$x.y":[1,2]},"":0}"#;
    let store = open(&url);
    let event = || NewEvent::new("Placed").data(data.to_vec()).metadata(data.to_vec());
    store.append(&order("a.$b"), Expected::Any, vec![event()]).unwrap();
    store
        .append(&order("b"), Expected::Any, vec![event().data(vec![0, 255, 0])])
        .unwrap();
    store.close().unwrap();
    let events = open(&url).read_all().events();
    assert_eq!((events[0].data(), events[0].metadata()), (&data[..], &data[..]));
    assert_eq!(events[1].data(), [0, 255, 0]);
    assert_eq!(events[0].aggregate_id(), "a.$b");
}

#[test]
fn a_part_of_an_append_with_a_large_event_was_stored() {
    let url = new_url();
    let mut settings = Settings::default().durability(Durability::Synced);
    settings.limits.payload_bytes_max = 64 << 20;
    let store = annals_mongodb::open_with(&url, Store::builder().settings(settings)).unwrap();
    let (small, large) = (
        NewEvent::new("Small"),
        NewEvent::new("Large").data(vec![b'x'; 17 << 20]),
    );
    let error = store
        .append(&order("a"), Expected::Any, vec![small, large])
        .unwrap_err();
    assert!(error.to_string().contains("the server takes 16777216"), "{error}");
    drop(store);
    assert_eq!(Raw::of(&url).count("events"), 0);
    append(&open(&url), "First").unwrap();
}
