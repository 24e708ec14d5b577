//! Collections of another program as the first events of aggregates.

use annals::Store;
use annals_mongodb::import_collection;
use mongodb::bson::{DateTime, Document, doc};

use crate::raw::Raw;
use crate::{new_url, open};

fn foreign(id: &str, sequence: i32, millis: i64) -> Document {
    doc! {
        "aggregateId": id,
        "aggregateType": "Order",
        "eventType": "OrderPlaced",
        "eventVersion": 2,
        "eventData": { "a.b": sequence, "at": DateTime::from_millis(0) },
        "metadata": { "correlationId": "c-1", "userId": "anna", "client": "web" },
        "timestamp": DateTime::from_millis(millis),
        "sequenceNumber": sequence,
    }
}

#[test]
fn a_repeated_import_stored_events_twice() {
    let (source, target) = (new_url(), new_url());
    let raw = Raw::of(&source);
    for document in [
        foreign("b", 1, 5),
        foreign("a", 0, 9),
        foreign("a", 1, 3),
        foreign("b", 2, 6),
    ] {
        raw.insert("old", document);
    }
    let store = open(&target);
    let first = import_collection(&source, "old", &store).unwrap();
    let again = import_collection(&source, "old", &store).unwrap();
    assert_eq!((first.events, first.repeated, first.aggregates), (4, 0, 2));
    assert_eq!((again.events, again.repeated, again.aggregates), (0, 4, 2));
    check(&store);
}

fn check(store: &Store) {
    let events = store.read_all().events();
    let found: Vec<_> = events
        .iter()
        .map(|event| (event.aggregate_id(), event.version().0))
        .collect();
    assert_eq!(found, [("b", 1), ("b", 2), ("a", 1), ("a", 2)]);
    let event = &events[0];
    assert_eq!(event.data(), br#"{"a.b":1,"at":"1970-01-01T00:00:00Z"}"#);
    assert_eq!((event.correlation_id(), event.user_id()), (Some("c-1"), Some("anna")));
    assert_eq!(
        (event.metadata(), event.schema_version()),
        (&br#"{"client":"web"}"#[..], 2)
    );
    assert_eq!(event.timestamp().as_micros(), 5000);
}

#[test]
fn a_part_of_a_damaged_collection_was_imported() {
    for damaged in [foreign("a", 3, 1), doc! { "aggregateId": "a" }] {
        let source = new_url();
        let raw = Raw::of(&source);
        raw.insert("old", foreign("a", 1, 1));
        raw.insert("old", damaged);
        let store = Store::in_memory();
        let error = import_collection(&source, "old", &store).unwrap_err();
        assert!(matches!(error, annals::Error::Invalid { .. }), "{error:?}");
        assert!(store.read_all().events().is_empty());
    }
}
