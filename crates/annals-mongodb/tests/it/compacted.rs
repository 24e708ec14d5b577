//! Truncation, deletion, snapshots and the archive: what is purged, and what is left of it.

use annals::{Expected, NewEvent, NewSnapshot, Store, Version};
use mongodb::bson::doc;

use crate::raw::Raw;
use crate::{new_url, open, order};

fn append(store: &Store, id: &str, count: usize) {
    let events = (0..count).map(|number| NewEvent::new("Counted").data(format!("{number}")));
    store
        .append(&order(id), Expected::Any, events.collect::<Vec<_>>())
        .unwrap();
}

/// Appends to three aggregates, drops events of two, and compacts.
fn compacted(url: &str) -> Store {
    let store = open(url);
    for id in ["kept", "cut", "gone"] {
        append(&store, id, 20);
    }
    store.truncate_before("cut", Version(15)).unwrap();
    store.delete("gone", Expected::Any).unwrap();
    store.compact_journal().unwrap();
    store
}

#[test]
fn a_purged_event_came_back_or_a_retained_one_was_lost() {
    let url = new_url();
    let store = compacted(&url);
    let (events, gaps, raw) = (store.read_all().events(), store.gaps(), Raw::of(&url));
    assert_eq!(events.iter().filter(|event| event.aggregate_id() == "cut").count(), 6);
    assert!(raw.find("events", doc! { "aggregateId": "gone" }).is_none());
    assert!(
        raw.find("events", doc! { "aggregateId": "cut", "sequenceNumber": 14 })
            .is_none()
    );
    assert!(
        raw.find("events", doc! { "aggregateId": "cut", "sequenceNumber": 15 })
            .is_some()
    );
    store.close().unwrap();
    let follower = Store::builder()
        .read_log(annals_mongodb::connect(&url).unwrap().into_parts().0)
        .unwrap();
    assert_eq!(follower.read_all().events(), events);
    let store = open(&url);
    assert_eq!((store.read_all().events(), store.gaps().len()), (events, gaps.len()));
    append(&store, "gone", 1);
    assert_eq!(store.read_stream("gone").events()[0].version(), Version(21));
}

/// An insert that arrives after its event was purged, and one that a crash kept from being deleted.
#[test]
fn a_purged_event_that_was_stored_again_was_read() {
    let url = new_url();
    compacted(&url).close().unwrap();
    let raw = Raw::of(&url);
    raw.insert("events", crate::raw::document(21, "cut", 1, 1));
    let store = open(&url);
    assert_eq!(store.read_stream("cut").events().len(), 6);
    append(&store, "kept", 1);
    store.truncate_before("kept", Version(19)).unwrap();
    store.compact_journal().unwrap();
    assert!(raw.find("events", doc! { "_id": format!("{:020}", 21) }).is_none());
    assert_eq!(store.read_stream("kept").events().len(), 3);
}

#[test]
fn an_event_that_is_missing_was_skipped() {
    let url = new_url();
    let store = open(&url);
    append(&store, "a", 5);
    store.close().unwrap();
    Raw::of(&url).delete("events", doc! { "_id": format!("{:020}", 3) });
    let error = annals_mongodb::open(&url).expect_err("an event is missing");
    assert!(matches!(error, annals::Error::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("position 3"), "{error}");
}

#[test]
fn a_snapshot_was_lost_or_the_superseded_one_stayed() {
    let url = new_url();
    let store = open(&url);
    append(&store, "a", 5);
    for state in ["one", "two"] {
        store
            .save_snapshot("a", NewSnapshot::new(Version(5)).data(state))
            .unwrap();
        append(&store, "b", 1);
    }
    let raw = Raw::of(&url);
    assert_eq!(raw.count("snapshots"), 2);
    store.compact_journal().unwrap();
    assert_eq!(raw.count("snapshots"), 1);
    store.close().unwrap();
    let store = open(&url);
    assert_eq!(store.snapshot("a").unwrap().data, b"two");
}

#[test]
fn a_purged_event_was_not_archived_or_a_deleted_one_was() {
    let url = format!("{}&archive=true", new_url());
    compacted(&url).close().unwrap();
    let raw = Raw::of(&url);
    assert_eq!(raw.count("events_archive"), 14);
    assert!(raw.find("events_archive", doc! { "aggregateId": "gone" }).is_none());
    assert_eq!(open(&url).read_stream("cut").events().len(), 6);
}
